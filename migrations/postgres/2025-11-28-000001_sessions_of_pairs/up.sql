-- One row a pair and session. The programs before candela upsert market_sessions by its date alone and know USD/COP alone: its rows
-- stay where they look. Those of other pairs stand in a table that inherits from it, so that who reads market_sessions reads all.

ALTER TABLE market_sessions ADD COLUMN IF NOT EXISTS symbol VARCHAR(10) NOT NULL DEFAULT 'USDCOP';

CREATE TABLE market_sessions_of_pairs (PRIMARY KEY (session_date, symbol)) INHERITS (market_sessions);
