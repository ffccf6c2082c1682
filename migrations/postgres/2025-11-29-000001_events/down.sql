-- Where there are entries, what is still in the ledger is read from its beginning again: rows that are there stay as they are, and the
-- journal comes back with the step, as far as the ledger reaches.
DELETE FROM reader_positions WHERE EXISTS (SELECT 1 FROM candela_events);
DROP TABLE candela_events;
