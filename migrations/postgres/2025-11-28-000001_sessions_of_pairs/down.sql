DROP TABLE market_sessions_of_pairs;
ALTER TABLE market_sessions DROP COLUMN symbol;
