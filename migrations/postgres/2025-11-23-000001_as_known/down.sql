DROP INDEX market_data_known;
DROP INDEX bar_revisions_known;
