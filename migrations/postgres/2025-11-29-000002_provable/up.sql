-- Who led last, and whether the log of the cluster has all that was told under his lease: who takes it over goes on with the same numbers
-- only then. Taking the lease changes neither: a process that dies before it leads has told nothing.

ALTER TABLE candela_lease ADD COLUMN provable BOOLEAN NOT NULL DEFAULT true, ADD COLUMN led_by VARCHAR(128);
