-- Whether anything was known at an instant: a history that was loaded after it is not searched for what it cannot hold. Ours cost
-- the first index nothing.

CREATE INDEX market_data_known ON market_data (symbol, created_at) WHERE source <> 'candela';
CREATE INDEX bar_revisions_known ON bar_revisions (symbol, "interval", known_at);

-- The ticks of a session are counted, and those that are no longer kept are found, without reading all the others.
CREATE INDEX realtime_market_data_time ON realtime_market_data (time);
