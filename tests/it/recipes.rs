//! The recipes of docs/recipes.md, and the Python of every other document, run as they stand there: on a demo, and on a PostgreSQL
//! database that candela's own store wrote. What they need comes from PyPI.

use crate::child::Candela;
use crate::programs::{packages, run, skip};
use crate::recorded::{Day, after_open, batch};
use crate::servers::{Database, Postgres as Server, Reach};
use candela::domain::calendar::Calendar;
use candela::domain::model::{Event, Interval, Symbol};
use candela::store::{Postgres, Store};
use chrono::NaiveDate;
use secrecy::SecretString;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a group of recipes needs: a folder's name, what is imported, and what is asked of PyPI for it. `clients/python` is taken as
/// it stands; these are its own dependencies. Pinned where a release may change what the recipe calls.
type Needs = (&'static str, &'static [&'static str], &'static [&'static str]);
const TABLES: Needs = (
    "candela-recipes",
    &[
        "pandas",
        "polars",
        "pyarrow",
        "duckdb_extension_sqlite_scanner",
        "sqlalchemy",
        "psycopg",
        "adbc_driver_postgresql",
        "adbc_driver_sqlite",
        "httpx",
        "websockets",
        "twelvedata",
    ],
    &[
        "pandas",
        "polars",
        "pyarrow",
        "duckdb==1.5.5",
        "duckdb-extension-sqlite-scanner==1.5.5",
        "sqlalchemy",
        "psycopg[binary]",
        "adbc-driver-postgresql",
        "adbc-driver-sqlite",
        "httpx",
        "websockets",
        "twelvedata==1.4.0",
    ],
);
const DUCKDB: Needs = (
    "candela-duckdb",
    &["duckdb_extension_postgres_scanner"],
    &["duckdb==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"],
);
const NAUTILUS: Needs = (
    "candela-nautilus",
    &["nautilus_trader", "httpx", "websockets"],
    &["nautilus_trader==1.221.0", "httpx", "websockets"],
);
const FREQTRADE: Needs = (
    "candela-freqtrade",
    &["freqtrade", "httpx", "websockets"],
    &["freqtrade==2026.9", "httpx", "websockets"],
);

/// The programs of a Python 3 with these packages. One test at a time makes them: two use the same folder.
fn installed((name, modules, wanted): Needs) -> Result<PathBuf, String> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    packages(name, modules, wanted)
}

/// Runs a group of recipes with what the environment says beside the service's address.
fn cook(bin: &Path, url: &str, group: &str, environment: &[(&str, &str)]) {
    let built = env!("CARGO_BIN_EXE_candela").into();
    let binary = std::env::var_os("CANDELA_TEST_BINARY").unwrap_or(built);
    let mut command = Command::new("timeout");
    command
        .arg("400")
        .arg(bin.join("python"))
        .arg("tests/surfaces/recipes.py")
        .arg(binary)
        .args([url, group])
        .current_dir(ROOT)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().copied());
    let said = run(&mut command).unwrap_or_else(|why| panic!("{why}"));
    assert!(said.ends_with("ok\n"), "{said}");
}

/// A group of recipes on a demo.
fn on_a_service(group: &str, needs: Needs) {
    let bin = match installed(needs) {
        Ok(bin) => bin,
        Err(why) => return skip(&format!("what the recipes need ({group})"), &why),
    };
    let data = tempfile::tempdir().unwrap();
    let kept = data.path().display().to_string();
    let mut demo = Candela::start(&[
        "demo", "--json", "--seed", "7", "--speed", "100", "--port", "0", "--data", &kept,
    ]);
    let url = format!("http://{}", demo.address());
    cook(&bin, &url, group, &[("CANDELA_DB", &format!("{kept}/candela.db"))]);
}

/// A server over TCP, with the tables as candela makes and fills them: a week that a pipeline prepared, and a recorded half-hour.
async fn written() -> (Server, Database) {
    let server = Server::start(Reach {
        tcp: true,
        password: Some("s3cret"),
        tls: false,
    });
    let database = server.database();
    let store = Store::Postgres(Postgres::new(&SecretString::from(database.url.clone()), 2).unwrap());
    store.migrate_schema().await.unwrap();
    store.write(batch(&Day::recorded())).await.unwrap();
    let days = NaiveDate::from_ymd_opt(2025, 10, 14).unwrap().iter_days().take(8);
    let rows: Vec<String> = days
        .flat_map(|date| Calendar::usdcop().slots_on(date, Interval::M5))
        .map(|slot| {
            format!(
                "('USDCOP', to_timestamp({}), 3900, 3902, 3899, 3901, 'twelvedata')",
                slot.secs()
            )
        })
        .collect();
    let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) VALUES";
    server.sql(&database.name, &format!("{insert} {}", rows.join(", ")));
    (server, database)
}

/// The environment of recipes on PostgreSQL, with the role that they make first.
fn reader(database: &Database) -> String {
    let read_only = database.url.replace("postgres:s3cret", "candela_reader:choose-one");
    let script = Path::new(ROOT).join("deploy/monitoring/reader.sql");
    run(Command::new("psql")
        .args([&database.url, "-q", "-v", "password=choose-one", "-f"])
        .arg(script))
    .unwrap();
    read_only
}

fn asked(url: &str, sql: &str) -> Result<String, String> {
    run(Command::new("psql").args([url, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]))
}

#[test]
fn recipes_on_a_service_run_as_they_are_written() {
    on_a_service("service", TABLES);
}

#[test]
fn python_of_other_documents_runs_as_it_is_written() {
    on_a_service("documents", TABLES);
}

/// These two bring seven hundred megabytes each from PyPI: the long form only.
fn is_long() -> bool {
    std::env::var_os("CANDELA_TEST_LONG").is_some()
}

#[test]
fn nautilus_trader_gets_every_bar_to_the_last_digit() {
    if is_long() {
        on_a_service("nautilus", NAUTILUS);
    }
}

#[test]
fn freqtrades_own_loader_reads_every_bar() {
    if is_long() {
        on_a_service("freqtrade", FREQTRADE);
    }
}

async fn on_postgres(group: &str, needs: Needs) {
    let bin = match installed(needs) {
        Ok(bin) => bin,
        Err(why) => return skip(&format!("what the recipes need ({group})"), &why),
    };
    let (_server, database) = written().await;
    let read_only = reader(&database);
    let environment = [("DATABASE_URL", database.url.as_str()), ("CANDELA_PG", &read_only)];
    cook(&bin, "http://localhost:8080", group, &environment);
}

#[tokio::test]
async fn recipes_on_postgresql_run_as_they_are_written() {
    on_postgres("postgres", TABLES).await;
}

#[tokio::test]
async fn duckdb_reads_postgresql_by_its_own_extension() {
    on_postgres("duckdb", DUCKDB).await;
}

#[tokio::test]
async fn the_role_that_only_reads_reads_all_and_changes_nothing() {
    let (server, database) = written().await;
    assert_eq!(reader(&database), reader(&database), "it may be run again");
    let url = reader(&database);
    let relations =
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace";
    for table in server.sql(&database.name, relations).lines() {
        asked(&url, &format!("SELECT count(*) FROM \"{table}\"")).unwrap();
    }
    for change in [
        "DELETE FROM market_data",
        "UPDATE market_data SET close = 1",
        "CREATE TABLE mine (a int)",
        "DROP VIEW market_bars",
    ] {
        assert!(asked(&url, change).is_err(), "{change} is not refused");
        // The role may take its own setting back: then its rights refuse. Two statements, each a transaction of its own.
        let taken_back = ["-c", "SET default_transaction_read_only = off", "-c", change];
        let said = run(Command::new("psql")
            .args([&url, "-X", "-v", "ON_ERROR_STOP=1"])
            .args(taken_back))
        .unwrap_err();
        assert!(
            said.contains("denied") || said.contains("must be owner"),
            "{change}: {said}"
        );
    }
    server.sql(&database.name, "CREATE TABLE later (a int)");
    asked(&url, "SELECT count(*) FROM later").unwrap();
    assert_eq!(asked(&url, "SHOW statement_timeout").unwrap(), "1min\n");
}

#[tokio::test]
async fn bars_as_they_were_known_are_those_that_were_told_until_then() {
    let (_server, database) = written().await;
    let document = std::fs::read_to_string(Path::new(ROOT).join("docs/recipes.md")).unwrap();
    let part = document.split_once("## Bars as they were known").unwrap().1;
    let recipe = part.split("```").nth(1).unwrap().trim_start_matches("sql").trim();
    let recipe = recipe.trim_end_matches(';');
    assert!(recipe.contains("2025-10-22 08:25:00 America/Bogota"), "{recipe}");
    for seconds in [1_500, 700, 2_500] {
        let as_of = after_open(seconds);
        let mut told = BTreeMap::new();
        for event in batch(&Day::recorded()).events {
            if let Event::Bar(bar) = event.event
                && (bar.key.symbol, bar.key.interval) == (Symbol::usdcop(), Interval::M5)
                && event.at <= as_of
            {
                let row = (
                    bar.key.opens_at.micros(),
                    bar.ohlc.close.micros(),
                    i64::from(bar.revision),
                );
                told.insert(bar.key.opens_at, row);
            }
        }
        let then = format!("2025-10-22 {} UTC", as_of.datetime().format("%H:%M:%S"));
        let recipe = recipe.replace("2025-10-22 08:25:00 America/Bogota", &then);
        let integers = "(extract(epoch FROM datetime) * 1000000)::bigint, (close * 1000000)::bigint, revision";
        let rows = asked(&database.url, &format!("SELECT {integers} FROM ({recipe}) r")).unwrap();
        let told: Vec<String> = told
            .into_values()
            .map(|(at, close, revision)| format!("{at}|{close}|{revision}"))
            .collect();
        assert!(!told.is_empty());
        assert_eq!(
            rows.lines().collect::<Vec<_>>(),
            told,
            "{seconds} seconds after the open"
        );
    }
}

/// What Grafana makes of a panel's question (pkg/tsdb/grafana-postgresql-datasource/macros.go, and variables with `:sqlstring`), for
/// the first pair on the recorded day.
fn expanded(sql: &str) -> String {
    let mut sql = sql
        .replace("${symbol:sqlstring}", "'USDCOP'")
        .replace("${interval:sqlstring}", "'5m'")
        .replace("${zone:sqlstring}", "'America/Bogota'")
        .replace("$__timeFrom()", "'2025-10-22T12:00:00Z'")
        .replace("$__timeTo()", "'2025-10-22T18:00:00Z'");
    while let Some((before, rest)) = sql.split_once("$__timeFilter(") {
        let (column, after) = rest.split_once(')').unwrap();
        sql = format!("{before}{column} BETWEEN '2025-10-22T12:00:00Z' AND '2025-10-22T18:00:00Z'{after}");
    }
    assert!(!sql.contains('$'), "a macro or variable is left: {sql}");
    sql
}

#[tokio::test]
async fn every_panel_of_the_market_data_dashboard_has_an_answer_in_candelas_tables() {
    let grafana = Path::new(ROOT).join("deploy/monitoring/grafana");
    let read = |name: &str| std::fs::read_to_string(grafana.join(name)).unwrap();
    let source = read("provisioning/datasources/postgres.yml");
    for line in ["uid: candela-postgres", "user: candela_reader", "url: postgres:5432"] {
        assert!(source.contains(line), "{line}");
    }
    let board: Value = serde_json::from_str(&read("dashboards/market-data.json")).unwrap();
    let (_server, database) = written().await;
    let url = reader(&database);
    let pairs = board["templating"]["list"][0]["query"].as_str().unwrap();
    assert_eq!(asked(&url, pairs).unwrap(), "USDCOP\nUSDMXN\n");

    let panels = board["panels"].as_array().unwrap();
    assert_eq!(panels.len(), 6);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(panel["datasource"]["uid"], "candela-postgres", "{title}");
        let target = &panel["targets"][0];
        let sql = expanded(target["rawSql"].as_str().unwrap());
        // As a row of JSON each: with the names by which Grafana knows the columns, and their types.
        let rows = asked(&url, &format!("SELECT row_to_json(r) FROM ({sql}) r"))
            .unwrap_or_else(|why| panic!("{title}: {why}"));
        let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert!(!rows.is_empty(), "{title}: {sql}");
        if target["format"] == "time_series" || panel["type"] == "candlestick" {
            let times: Vec<&str> = rows.iter().map(|row| row["time"].as_str().unwrap()).collect();
            assert!(
                times.is_sorted(),
                "{title}: Grafana wants rows in the order of time: {times:?}"
            );
            for row in &rows {
                let values = row.as_object().unwrap().iter().filter(|(name, _)| *name != "time");
                assert!(
                    values.clone().count() > 0 && values.clone().all(|(_, value)| value.is_number()),
                    "{title}: {row}"
                );
            }
        }
        if panel["type"] == "candlestick" {
            for (what, column) in panel["options"]["fields"].as_object().unwrap() {
                assert!(
                    rows[0].get(column.as_str().unwrap()).is_some(),
                    "{title}: no column for {what}"
                );
            }
        }
    }
}

/// Who runs the Python of each document.
const PYTHON: [(&str, &str); 5] = [
    ("README.md", "here"),
    ("clients/python/README.md", "clients/python/tests/test_documents.py"),
    ("docs/l0.md", "tests/deploy/book"),
    ("docs/recipes.md", "here"),
    ("docs/surfaces.md", "here"),
];

#[test]
fn no_document_has_python_that_nothing_runs() {
    let root = Path::new(ROOT);
    let mut documents = vec![
        root.join("README.md"),
        root.join("CONTRIBUTING.md"),
        root.join("ARCHITECTURE.md"),
    ];
    for folder in ["docs", "docs/adr", "clients", "clients/python", "clients/js"] {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        documents.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|kind| kind == "md")),
        );
    }
    let mut with_python: Vec<String> = documents
        .iter()
        .filter(|path| std::fs::read_to_string(path).unwrap().contains("```py"))
        .map(|path| path.strip_prefix(root).unwrap().display().to_string())
        .collect();
    with_python.sort_unstable();
    assert_eq!(
        with_python,
        PYTHON.map(|(document, _)| document),
        "see PYTHON: each has who runs it"
    );
}
