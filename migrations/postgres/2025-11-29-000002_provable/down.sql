ALTER TABLE candela_lease DROP COLUMN provable, DROP COLUMN led_by;
