-- A role that reads all of candela's tables and changes nothing, for notebooks and Grafana. Run it as the owner of the tables, and
-- again to change the password:
--   psql "$DATABASE_URL" -v password=… -f deploy/monitoring/reader.sql
\set ON_ERROR_STOP on
SELECT 'CREATE ROLE candela_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'candela_reader') \gexec
ALTER ROLE candela_reader LOGIN PASSWORD :'password';
ALTER ROLE candela_reader SET default_transaction_read_only = on;
-- A question that nobody waits for any more does not take the service's time.
ALTER ROLE candela_reader SET statement_timeout = '60s';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO candela_reader;
-- What a later migration makes is read as well.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO candela_reader;
