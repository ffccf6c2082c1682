//! Tables that somebody else made: each difference is named before the first bar, and widened when that is asked for.

use crate::child::Candela;
use crate::recorded::{Day, batch};
use crate::servers::{Database, postgres};
use candela::domain::history::{L0Table, Spelling};
use candela::store::{HistoryQuery, Migrate, Postgres, Store, StoreError, Weight};
use secrecy::SecretString;

const OLD_SERVICE: &str = include_str!("../fixtures/old_service.sql");

fn store(database: &Database) -> Postgres {
    Postgres::new(&SecretString::from(database.url.clone()), 3).unwrap()
}

/// The old service's database, and what was done to it.
fn old(change: &str) -> Database {
    let database = postgres();
    database.sql(OLD_SERVICE);
    database.sql(change);
    database
}

const NARROW: &str = "ALTER TABLE market_data ALTER open TYPE numeric(10,2), ALTER high TYPE numeric(10,2), ALTER low TYPE numeric(10,2), ALTER close TYPE numeric(10,2)";
const NO_SOURCE: &str = "DELETE FROM market_data WHERE source LIKE '%aggregated'; ALTER TABLE market_data ADD CONSTRAINT one_a_slot UNIQUE (symbol, datetime);
    ALTER TABLE market_data DROP CONSTRAINT market_data_symbol_datetime_source_key";

#[tokio::test]
async fn a_database_that_candela_made_or_the_old_service_differs_in_nothing() {
    for database in [postgres(), old("SELECT 1")] {
        let store = store(&database);
        assert_eq!(store.schema_differences(None).await.unwrap(), []);
        store.migrate_schema(Migrate::Run).await.unwrap();
        assert_eq!(store.schema_differences(None).await.unwrap(), []);
        assert_eq!(store.plan_changes().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_user_who_may_not_number_rows_is_told_which_sequence_to_open() {
    let database = postgres();
    store(&database).migrate_schema(Migrate::Run).await.unwrap();
    let role = format!("numberless_{}", database.name);
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let url = database.url.replacen("postgres@", &format!("{role}@"), 1);
    let other = Postgres::new(&SecretString::from(url), 1).unwrap();
    let found = other.schema_differences(None).await.unwrap();
    assert!(found.iter().all(|one| one.weight == Weight::Grave), "{found:?}");
    for sequence in [
        "market_data_id_seq",
        "realtime_market_data_id_seq",
        "interval_bars_id_seq",
    ] {
        let named = format!("may not take numbers from sequence {sequence}");
        assert!(found.iter().any(|one| one.says.contains(&named)), "{found:?}");
    }
    for one in &found {
        let remedy = one
            .remedy
            .split_once(": ")
            .unwrap()
            .1
            .replace("TO the user", &format!("TO {role}"));
        database.sql(&remedy);
    }
    assert_eq!(other.schema_differences(None).await.unwrap(), []);
    database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[tokio::test]
async fn columns_that_round_and_a_key_without_source_are_refused_until_they_are_adapted() {
    for (change, says) in [
        (NARROW, "market_data.open is numeric(10,2)"),
        (NO_SOURCE, "unique by (symbol, datetime) alone"),
    ] {
        for after in [false, true] {
            let database = if after { old("SELECT 1") } else { old(change) };
            let store = store(&database);
            if after {
                // Candela was there first: its view stands on the columns.
                store.migrate_schema(Migrate::Run).await.unwrap();
                database.sql("CREATE ROLE reading; GRANT SELECT ON market_bars TO reading");
                let definition = database.sql("SELECT pg_get_viewdef('market_bars'::regclass)");
                database.sql("DROP VIEW market_bars");
                database.sql(change);
                database.sql(&format!("CREATE VIEW market_bars AS {definition} "));
                database.sql("GRANT SELECT ON market_bars TO reading");
            }
            let refused = store.migrate_schema(Migrate::Run).await.unwrap_err();
            assert!(
                matches!(&refused, StoreError::DifferentTables(all) if all.iter().any(|one| one.contains(says))),
                "{refused}"
            );
            let rows = "SELECT count(*), trim_scale(sum(open)), sum(id) FROM market_data";
            let before = database.sql(rows);
            let plan = store.plan_changes().await.unwrap();
            assert_eq!(store.adapt_schema().await.unwrap(), plan);
            assert_eq!(
                store.adapt_schema().await.unwrap(),
                Vec::<String>::new(),
                "once is enough"
            );
            assert_eq!(database.sql(rows), before);
            let written = Store::Postgres(store.clone())
                .write(batch(&Day::recorded()))
                .await
                .unwrap();
            assert_eq!(written.rejected, 0);
            let differs = "SELECT count(*) FROM market_data b JOIN bar_revisions r USING (symbol, \"interval\", datetime, revision)
                WHERE b.source = 'candela' AND (b.open, b.high, b.low, b.close) <> (r.open, r.high, r.low, r.close)";
            assert_eq!(database.sql(differs), "0", "nothing is rounded");
            if after {
                let right = "SELECT has_table_privilege('reading', 'market_bars', 'SELECT')";
                assert_eq!(database.sql(right), "t", "rights on the view stay");
                database.sql("DROP OWNED BY reading; DROP ROLE reading");
            }
        }
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_named_and_nothing_is_changed() {
    let database = old(&format!(
        "{NARROW}; CREATE VIEW of_the_desk AS SELECT open FROM market_data"
    ));
    let store = store(&database);
    let refused = store.adapt_schema().await.unwrap_err().to_string();
    assert!(refused.contains("of_the_desk"), "{refused}");
    database.sql(
        "DROP VIEW of_the_desk; ALTER TABLE market_data DROP CONSTRAINT market_data_symbol_datetime_source_key;
        INSERT INTO market_data (symbol, datetime, source) SELECT symbol, datetime, source FROM market_data LIMIT 1",
    );
    let refused = store.adapt_schema().await.unwrap_err().to_string();
    assert!(
        refused.contains("ADD UNIQUE") && refused.contains("nothing was changed"),
        "{refused}"
    );
    assert_eq!(store.schema_differences(None).await.unwrap().len(), 5);
}

#[tokio::test]
async fn the_table_of_the_history_is_looked_at_as_it_is_named() {
    let database = postgres();
    let store = store(&database);
    let table = L0Table::new("usdcop_m5_ohlcv", "time", Spelling::Slash).unwrap();
    assert_eq!(
        store.schema_differences(Some(&table)).await.unwrap(),
        [],
        "it may come later"
    );
    database.sql("CREATE TABLE usdcop_m5_ohlcv (symbol text, time timestamptz, open real, high real, low real, close real, source text)");
    let found = store.schema_differences(Some(&table)).await.unwrap();
    assert_eq!(
        found
            .iter()
            .filter(|d| d.weight == Weight::Note && d.says.contains("real"))
            .count(),
        4,
        "{found:?}"
    );
    database.sql("ALTER TABLE usdcop_m5_ohlcv ALTER time TYPE timestamp");
    let found = store.schema_differences(Some(&table)).await.unwrap();
    assert!(
        found
            .iter()
            .any(|d| d.weight == Weight::Grave && d.says.contains("without time zone")),
        "{found:?}"
    );
}

#[tokio::test]
async fn prices_of_the_history_with_more_than_six_decimals_are_counted_and_named() {
    let database = postgres();
    let store = store(&database);
    for kind in ["numeric", "double precision"] {
        database.sql(&format!(
            "DROP TABLE IF EXISTS bars; CREATE TABLE bars (symbol text, time timestamptz, open {kind}, high {kind}, low {kind}, close {kind}, source text);
             INSERT INTO bars VALUES ('USD/COP', '2026-03-02 13:00Z', 4000.1234567, 4001, 4000, 4000.5, 'x'), ('USD/COP', '2026-03-02 13:05Z', 4000.123456, 4001, 4000, 4000.5, 'x'),
                ('USD/COP', '2026-03-02 13:10Z', 4000.5, 4000.50000009, 4000, 4000.5, 'x'), ('USD/COP', '2026-03-02 13:15Z', 4000.5, 'NaN', 4000, 4000.5, 'x')"
        ));
        let table = L0Table::new("bars", "time", Spelling::Slash).unwrap();
        assert_eq!(store.rounded_rows(&table).await.unwrap(), 2, "{kind}");
        store.migrate_schema(Migrate::Run).await.unwrap();
        let query = HistoryQuery {
            table,
            symbol: candela::domain::model::Symbol::usdcop(),
            since: candela::domain::model::Timestamp::from_secs(1_772_000_000),
        };
        let history = Store::Postgres(store.clone()).read_history(query).await.unwrap();
        assert_eq!((history.rows.len(), history.rounded), (4, 2), "{kind}");
    }
    let mut command = Candela::command(&[
        "check",
        "--json",
        "--set",
        "l0.table=bars",
        "--set",
        "l0.time_column=time",
    ]);
    command.env("DATABASE_URL", &database.url);
    let said = Candela::of(&mut command).ended().stdout;
    assert!(
        said.contains("2 rows of the history have prices with more than six decimals"),
        "{said}"
    );
}

#[test]
fn check_migrate_and_start_name_every_difference_and_adapt_mends_them() {
    let trigger = "CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER audit BEFORE INSERT ON market_data FOR EACH ROW EXECUTE FUNCTION same()";
    let database = old(&format!("{NARROW}; {NO_SOURCE}; {trigger}"));
    let candela = |args: &[&str]| {
        let mut command = Candela::command(args);
        command
            .env("DATABASE_URL", &database.url)
            .env("TWELVEDATA_API_KEY_G1_1", "0123456789abcdef0123456789abcdef");
        command.env("READY_SIGNALS_DIR", "ready");
        Candela::of(&mut command).ended()
    };
    let all = [
        "market_data.open is numeric(10,2)",
        "market_data.close is numeric(10,2)",
        "unique by (symbol, datetime) alone (one_a_slot)",
    ];
    for (args, code) in [
        (&["check"][..], 1),
        (&["migrate", "--check"][..], 1),
        (&["migrate"][..], 78),
        (&["run", "--set", "server.port=0"][..], 78),
    ] {
        let ended = candela(args);
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code(), code, "{args:?}: {said}");
        for difference in all {
            assert!(said.contains(difference), "{args:?} does not name {difference}: {said}");
        }
        assert!(said.contains("migrate --adapt"), "{args:?}: {said}");
    }
    let ended = candela(&["migrate", "--adapt", "--check"]);
    assert!(
        ended.stdout.contains("would do ALTER TABLE market_data"),
        "{}",
        ended.stdout
    );
    let ended = candela(&["migrate", "--adapt"]);
    assert_eq!(ended.code(), 0, "{}", ended.stdout);
    assert!(
        ended.stdout.contains("adapted  ALTER TABLE market_data") && ended.stdout.contains("done "),
        "{}",
        ended.stdout
    );
    let ended = candela(&["migrate", "--check"]);
    assert_eq!(ended.code(), 0, "{}", ended.stdout);
    assert!(
        ended.stdout.contains("trigger audit on market_data"),
        "a note is no failure: {}",
        ended.stdout
    );
}
