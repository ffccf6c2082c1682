-- Where there are certificates, what is still in the ledger is read from its beginning again: rows that are there stay as they are, and the
-- certificates come back with the step, as far as the ledger reaches.
DELETE FROM reader_positions WHERE EXISTS (SELECT 1 FROM candela_certificates);
DROP TABLE candela_certificates;
