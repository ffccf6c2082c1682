-- Whether anything was known at an instant: a history that was loaded after it is not searched for what it cannot hold. Ours cost
-- the first index nothing.

CREATE INDEX market_data_known ON market_data (symbol, created_at) WHERE source <> 'candela';
CREATE INDEX bar_revisions_known ON bar_revisions (symbol, "interval", known_at);
