DROP TABLE quality_log;
DROP INDEX bar_revisions_log;
-- What is still in the ledger is read from its beginning again: rows that are there stay as they are, and a log that is made again
-- gets its messages.
DELETE FROM reader_positions;
