//! A database behind what a house puts before it: a pooler that keeps no session, an address that leads to another server after a
//! failover.

use crate::child::Candela;
use crate::equal::assert_equal;
use crate::recorded::{Day, OPEN, SPAN};
use crate::servers::{Database, PgBouncer, Postgres, Reach, Relay};
use crate::writing::Stage;
use candela::clock::Stopwatch;
use candela::domain::history::{L0Table, Spelling};
use candela::domain::model::{Interval, Symbol};
use candela::store::{BarQuery, HistoryQuery, Store, StoreError, TickQuery};
use std::time::Duration;

const TCP: Reach = Reach {
    tcp: true,
    password: None,
    tls: false,
};

/// How many ticks of the pair a reader sees.
async fn ticks(store: &Store) -> Result<usize, StoreError> {
    let query = TickQuery {
        symbol: Symbol::usdcop(),
        from: OPEN - Duration::from_secs(600),
        to: OPEN + SPAN * 4,
        after_seq: None,
        cursor: None,
        limit: 5_000,
    };
    store.read_ticks(query).await.map(|ticks| ticks.len())
}

async fn ask_everything(store: &Store) -> Result<(), StoreError> {
    let symbol = Symbol::usdcop();
    store
        .read_bars(BarQuery::between(symbol, Interval::M5, OPEN, OPEN + SPAN, 500))
        .await?;
    store.latest_tick(symbol).await?;
    store.read_sessions(5).await?;
    let table = L0Table::new("market_data", "datetime", Spelling::Compact).unwrap();
    let since = OPEN - Duration::from_secs(86_400);
    let query = HistoryQuery { table, symbol, since };
    store.read_history(query.clone()).await?;
    store.seam_bars(query).await?;
    store.ping().await?;
    ticks(store).await.map(drop)
}

/// Eight others that hold and let go connections of the pooler's, and say what limits they found set on them.
#[expect(clippy::disallowed_methods, reason = "strangers, who end with the test's runtime")]
fn neighbours(url: &str) -> Vec<tokio::task::JoinHandle<Vec<String>>> {
    let neighbour = |url: String| async move {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut found = Vec::new();
        for _ in 0..300 {
            let text = "BEGIN; SELECT pg_sleep(0.003), current_setting('statement_timeout'); COMMIT";
            for message in client.simple_query(text).await.unwrap() {
                if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                    found.push(row.get(1).unwrap().to_owned());
                }
            }
        }
        found
    };
    (0..8).map(|_| tokio::spawn(neighbour(url.to_owned()))).collect()
}

#[test]
fn a_pooler_that_keeps_no_transaction_is_named_at_check_and_start() {
    let server = Postgres::start(Reach::default());
    let pooler = PgBouncer::with_mode(&server.socket(), "statement");
    let url = pooler.url(&server.database().name);
    let folder = tempfile::tempdir().unwrap();
    for (args, code) in [(&["run"][..], 78), (&["check", "--port", "0"], 1)] {
        let mut command = Candela::command(args);
        command.env("DATABASE_URL", &url).env("API_KEY_G1_1", "f00dfeed");
        command
            .env("PORT", "0")
            .env("CANDELA__LEDGER__DIR", folder.path().join("ledger"));
        let ended = Candela::of(&mut command).ended();
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code(), code, "{args:?}: {said}");
        assert!(
            said.contains("keeps no transaction") && said.contains("pool_mode to transaction or session"),
            "{said}"
        );
    }
}

#[actix_rt::test]
async fn a_pooler_that_keeps_no_session_serves_writer_and_readers_among_eight_neighbours() {
    let server = Postgres::start(Reach::default());
    let database = server.database();
    let pooler = PgBouncer::before(&server.socket());
    let url = pooler.url(&database.name);
    let neighbours = neighbours(&url);
    let mut stage = Stage::new(&url);
    for part in Day::recorded().chunks(60) {
        stage.record(part);
        stage.breathe(10).await;
        let asked = futures_util::future::join_all((0..6).map(|_| ask_everything(&stage.store))).await;
        // Until the Writer has made them there are no tables.
        let unmade = |asked: &Result<(), StoreError>| matches!(asked, Err(StoreError::WrongTables(_)));
        let failed: Vec<_> = asked
            .into_iter()
            .filter(|asked| !unmade(asked))
            .filter_map(Result::err)
            .collect();
        assert_eq!(failed, [], "{}", pooler.log());
    }
    stage.written().await;
    ask_everything(&stage.store).await.unwrap();
    assert_eq!(stage.why(), "");
    assert_equal(&server, &database, &stage.ledger);
    for neighbour in neighbours {
        let found = neighbour.await.unwrap();
        assert!(
            found.iter().all(|limit| limit == "0"),
            "limits of ours reach nobody else: {found:?}"
        );
    }
    let left = server.sql(
        &database.name,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
    );
    assert_eq!(left, "0", "no lock stays behind");
}

/// Two servers with a database of one name, the first of which a Writer reaches by way of a relay and has written half a day to.
async fn failover() -> (Postgres, Postgres, Database, Relay, Stage) {
    let (old, new) = (Postgres::start(TCP), Postgres::start(TCP));
    let database = old.database();
    new.sql("postgres", &format!("CREATE DATABASE {}", database.name));
    let relay = Relay::before(old.port());
    let mut stage = Stage::new(&relay.of(&database.url));
    let entries = Day::recorded();
    stage.record(entries.split_at(entries.len() / 2).0);
    stage.written().await;
    futures_util::future::join_all((0..3).map(|_| ticks(&stage.store))).await; // the pool is full of connections to the old one
    (old, new, database, relay, stage)
}

#[actix_rt::test]
async fn no_read_comes_from_a_primary_that_was_demoted() {
    let (old, new, database, relay, mut stage) = failover().await;
    relay.lead_to(new.port());
    old.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    old.sql("postgres", "SELECT pg_reload_conf()");
    let entries = Day::recorded();
    stage.record(entries.split_at(entries.len() / 2).1);
    let watch = Stopwatch::start();
    stage.written().await;
    let count = format!(
        "SELECT count(*) FROM realtime_market_data WHERE symbol = '{}'",
        Symbol::usdcop().compact()
    );
    let all = new.sql(&database.name, &count);
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    for _ in 0..6 {
        assert_eq!(ticks(&stage.store).await.unwrap().to_string(), all);
    }
    assert_equal(&new, &database, &stage.ledger);
}

#[actix_rt::test]
async fn an_old_primary_that_still_takes_writes_is_left_when_new_connections_lead_elsewhere() {
    let (old, new, database, relay, mut stage) = failover().await;
    let before = ticks(&stage.store).await.unwrap();
    relay.lead_to(new.port());
    // Nothing fails: only a new connection shows it. The Writer makes one at each look.
    let watch = Stopwatch::start();
    while ticks(&stage.store).await.ok() == Some(before) {
        assert!(
            watch.elapsed() < Duration::from_secs(5),
            "it still reads from the old one"
        );
        stage.breathe(50).await;
    }
    let entries = Day::recorded();
    stage.record(entries.split_at(entries.len() / 2).1);
    stage.written().await;
    assert_equal(&new, &database, &stage.ledger);
    drop(old);
}
