-- Sessions of other pairs go. Where there are some, what is still in the ledger is read from its beginning again: rows that are there
-- stay as they are, and the sessions come back with the step.
DELETE FROM reader_positions WHERE EXISTS (SELECT 1 FROM market_sessions_of_pairs);
DROP TABLE market_sessions_of_pairs;
ALTER TABLE market_sessions DROP COLUMN symbol;
