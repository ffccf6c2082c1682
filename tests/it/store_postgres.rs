//! PostgreSQL as it is found and as it fails: old databases, refusals, crashes, pauses, TLS.

use crate::equal::assert_equal;
use crate::recorded::{Day, OPEN, SPAN, batch, part};
use crate::servers::{Postgres as Server, Reach, postgres};
use crate::writing::Stage;
use candela::actors::messages::Report;
use candela::domain::model::{Interval, JournalEntry, Symbol};
use candela::store::{BarQuery, Disposition, Migrate, Postgres, Store, StoreError};
use secrecy::SecretString;
use std::time::Duration;

const OLD_SERVICE: &str = include_str!("../fixtures/old_service.sql");
const TCP: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

fn store(url: &str) -> Postgres {
    Postgres::new(&SecretString::from(url.to_owned()), 3).unwrap()
}

async fn problem(url: &str) -> StoreError {
    let error = store(url).migrate_schema(Migrate::Run).await.unwrap_err();
    assert!(
        !error.to_string().contains("s3cret") && !error.to_string().contains("wr0ng"),
        "{error}"
    );
    error
}

/// Folders of `migrations/postgres`. The first makes the old service's tables, which stay.
const MIGRATIONS: usize = 9;

#[tokio::test]
async fn an_old_services_database_keeps_every_row_and_its_writers() {
    let database = postgres();
    database.sql(OLD_SERVICE);
    let sums = "SELECT count(*), sum(open), sum(id), min(created_at) FROM market_data WHERE source <> 'candela'";
    let before = (
        database.sql(sums),
        database.sql("SELECT count(*), sum(last), sum(id) FROM realtime_market_data"),
    );
    let store = store(&database.url);
    assert_eq!(store.migrate_schema(Migrate::Check).await.unwrap().len(), MIGRATIONS);
    assert_eq!(store.migrate_schema(Migrate::Run).await.unwrap().len(), MIGRATIONS);
    assert_eq!(
        store.migrate_schema(Migrate::Check).await.unwrap(),
        Vec::<String>::new()
    );
    let after = (
        database.sql(sums),
        database.sql("SELECT count(*), sum(last), sum(id) FROM realtime_market_data"),
    );
    assert_eq!(before, after);

    let store = Store::Postgres(store);
    store.write(batch(&Day::recorded())).await.unwrap();
    assert_eq!(database.sql(sums), before.0, "our rows stand beside theirs");
    // the old writers go on as they did
    database.sql(
        "INSERT INTO market_data (symbol, datetime, open, high, low, close, volume, source)
         VALUES ('USDCOP', '2025-10-22 13:00Z', 1, 2, 1, 2, 0, 'twelvedata')
         ON CONFLICT (symbol, datetime, source) DO UPDATE SET high = GREATEST(market_data.high, EXCLUDED.high), close = EXCLUDED.close;
         INSERT INTO realtime_market_data (symbol, time, bid, ask, last, spread, volume, session_date, trading_session, source)
         VALUES ('USDCOP', now(), 1, 1, 1, NULL, 0, current_date, true, 'x'), ('USDCOP', now(), 1, 1, 1, NULL, 0, current_date, true, 'x');
         INSERT INTO market_sessions (session_date, start_time, status) VALUES ('2025-10-22', now(), 'active')
         ON CONFLICT (session_date) DO UPDATE SET updated_at = now()",
    );
    let query = BarQuery::between(
        Symbol::usdcop(),
        Interval::M5,
        OPEN - Duration::from_secs(86_400),
        OPEN + SPAN * 4,
        500,
    );
    let bars = store.read_bars(query.clone()).await.unwrap();
    let sources = |from: u64, to: u64| {
        let (from, to) = (OPEN + Duration::from_secs(from), OPEN + Duration::from_secs(to));
        bars.iter()
            .filter(|bar| (from..to).contains(&bar.bar.key.opens_at))
            .map(|bar| bar.source.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(bars.len(), 60 + 10, "one bar a slot, whoever made it");
    assert_eq!(
        sources(1_800, 3_000),
        ["twelvedata"; 4],
        "what we did not see comes from the history"
    );
    assert!(sources(0, 1_800).contains(&"candela"));
    assert_eq!(
        bars[0].source, "twelvedata",
        "prepared history goes before the old service's aggregates"
    );
}

#[tokio::test]
async fn a_migration_is_undone_and_done_again_and_two_at_once_are_one() {
    let database = postgres();
    database.sql(OLD_SERVICE);
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'";
    let before = database.sql(columns);
    let (one, other) = (store(&database.url), store(&database.url));
    let (one_did, other_did) = tokio::join!(one.migrate_schema(Migrate::Run), other.migrate_schema(Migrate::Run));
    assert_eq!(one_did.unwrap().len() + other_did.unwrap().len(), MIGRATIONS);
    for _ in 1..MIGRATIONS {
        assert_eq!(one.migrate_schema(Migrate::Revert).await.unwrap().len(), 1);
    }
    assert_eq!(database.sql(columns), before);
    assert_eq!(one.migrate_schema(Migrate::Run).await.unwrap().len(), MIGRATIONS - 1);
    assert_eq!(database.sql("SELECT count(*) FROM market_data"), "71");
}

#[tokio::test]
async fn what_cannot_work_is_one_sentence_and_never_the_password() {
    let server = Server::start(TCP);
    let database = server.database();
    let wrong = problem(&database.url.replace("s3cret", "wr0ng")).await;
    assert!(matches!(wrong, StoreError::LoginRefused(_)), "{wrong}");
    let missing = problem(&database.url.replace(&database.name, "nowhere")).await;
    assert!(matches!(missing, StoreError::LoginRefused(_)), "{missing}");

    server.sql(
        &database.name,
        "CREATE USER poor PASSWORD 's3cret'; REVOKE CREATE ON SCHEMA public FROM public",
    );
    let poor = problem(&database.url.replace("postgres:", "poor:")).await;
    assert!(matches!(poor, StoreError::NotAllowed(_)), "{poor}");
    server.sql(
        "postgres",
        &format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            database.name
        ),
    );
    let reading = problem(&database.url).await;
    assert!(matches!(reading, StoreError::NotAllowed(_)), "{reading}");
    server.sql(
        "postgres",
        &format!("ALTER DATABASE {} RESET default_transaction_read_only", database.name),
    );

    store(&database.url).migrate_schema(Migrate::Run).await.unwrap();
    server.sql(
        &database.name,
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')",
    );
    let newer = problem(&database.url).await;
    assert!(
        matches!(newer, StoreError::NewerSchema { .. }) && newer.disposition() == Disposition::Fatal,
        "{newer}"
    );
    server.sql(
        &database.name,
        "DELETE FROM __diesel_schema_migrations WHERE version LIKE '2099%'; DROP TABLE realtime_market_data CASCADE",
    );
    let gone = Store::Postgres(store(&database.url))
        .write(batch(&Day::recorded()))
        .await
        .unwrap_err();
    assert!(
        matches!(&gone, StoreError::DifferentTables(all) if all[0].contains("realtime_market_data is missing")),
        "{gone}"
    );
    drop(server);
    let nobody = problem(&database.url).await;
    assert!(
        matches!(nobody, StoreError::Unreachable(_)) && nobody.disposition() == Disposition::Later,
        "{nobody}"
    );
}

#[tokio::test]
async fn a_row_that_is_refused_is_set_aside_alone() {
    let database = postgres();
    let store = Store::Postgres(store(&database.url));
    store.migrate_schema().await.unwrap();
    database.sql("ALTER TABLE realtime_market_data ADD CHECK (seq NOT IN (3, 9))");
    let all = batch(&Day::recorded());
    let written = store.write(all.clone()).await.unwrap();
    assert_eq!(
        (written.position, written.rejected),
        (all.events.last().unwrap().position, 4),
        "two of each pair"
    );
    assert_eq!(
        database.sql("SELECT count(*) FROM rejected_events WHERE reason LIKE '%check%'"),
        "4"
    );
    let ticks = all
        .events
        .iter()
        .filter(|event| matches!(event.event, candela::domain::model::Event::Tick(_)))
        .count();
    assert_eq!(
        database.sql("SELECT count(*) FROM realtime_market_data"),
        (ticks - 4).to_string()
    );
}

/// Ticks of both pairs, `count` of each, in five minutes.
fn many_ticks(count: u64) -> Day {
    let mut day = Day::new();
    for i in 0..count {
        let at = OPEN + Duration::from_micros(i * 290_000_000 / count);
        day.tick(at, OPEN, 4_012_350_000 + i64::try_from(i % 977).unwrap() * 100);
    }
    day
}

#[tokio::test]
async fn a_big_batch_is_copied_and_one_that_is_partly_there_still_goes_in() {
    let (database, other) = (postgres(), postgres());
    let (store, slow) = (
        Store::Postgres(store(&database.url)),
        Store::Postgres(store(&other.url)),
    );
    let all = batch(&many_ticks(2_000).entries);
    store.write(part(&all, 0, 1_500)).await.unwrap();
    store.write(part(&all, 1_000, all.events.len())).await.unwrap();
    store.write(all.clone()).await.unwrap();
    for begin in (0..all.events.len()).step_by(400) {
        slow.write(part(&all, begin, (begin + 400).min(all.events.len())))
            .await
            .unwrap();
    }
    let rows = "SELECT symbol, time, bid, ask, last, spread, volume, session_date, trading_session, source, epoch, seq, event_time,
        provenance FROM realtime_market_data ORDER BY symbol, seq";
    assert_eq!(database.sql("SELECT count(*) FROM realtime_market_data"), "4000");
    assert_eq!(
        database.sql(rows),
        other.sql(rows),
        "copied rows are those that statements make"
    );
}

#[tokio::test]
async fn ticks_that_are_there_though_the_position_says_otherwise_are_not_written_twice() {
    let database = postgres();
    let store = Store::Postgres(store(&database.url));
    let all = batch(&many_ticks(300).entries);
    let ticks: Vec<usize> = (20..80).collect();
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    assert!(
        all.events[first..last]
            .iter()
            .all(|event| matches!(event.event, candela::domain::model::Event::Tick(_)))
    );
    store.write(part(&all, 0, last)).await.unwrap();
    let rows = database.sql("SELECT count(*) FROM realtime_market_data");
    // As if a copy of the database had been restored with an older table of positions.
    database.sql(&format!(
        "UPDATE reader_positions SET position = {}",
        all.events[first].position.0 - 1
    ));
    store.write(part(&all, first, last)).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM realtime_market_data"), rows);
    let position = store.reader_position("writer", all.lineage.clone()).await.unwrap();
    assert_eq!(position, all.events[last - 1].position);
}

#[tokio::test]
async fn sslmode_is_honoured() {
    let server = Server::start(Reach {
        tcp: true,
        password: Some("s3cret"),
        tls: true,
    });
    let database = server.database();
    let base = database.url.split('?').next().unwrap().to_owned();
    let authority = server.authority().display().to_string();
    for (mode, works) in [
        ("require".to_owned(), true),
        ("prefer".to_owned(), true),
        (format!("verify-ca&sslrootcert={authority}"), true),
        (format!("verify-full&sslrootcert={authority}"), true),
        ("verify-full".to_owned(), false),
        ("verify-ca".to_owned(), false),
        ("disable".to_owned(), false),
    ] {
        let done = store(&format!("{base}?sslmode={mode}"))
            .migrate_schema(Migrate::Check)
            .await;
        assert_eq!(done.is_ok(), works, "sslmode={mode}: {done:?}");
    }
    let plain = Server::start(TCP);
    let url = plain.database().url;
    assert!(
        store(&format!("{url}?sslmode=require"))
            .migrate_schema(Migrate::Check)
            .await
            .is_err(),
        "never without TLS"
    );
    assert!(
        store(&format!("{url}?sslmode=prefer"))
            .migrate_schema(Migrate::Check)
            .await
            .is_ok()
    );
}

#[actix_rt::test]
async fn killing_the_server_again_and_again_loses_nothing_and_doubles_nothing() {
    let mut server = Server::start(TCP);
    let database = server.database();
    let mut stage = Stage::new(&database.url);
    let entries = Day::recorded();
    let mut random = fastrand::Rng::with_seed(5);
    let chunks: Vec<&[JournalEntry]> = entries.chunks(entries.len() / 8 + 1).collect();
    for chunk in chunks {
        for part in chunk.chunks(23) {
            stage.record(part);
            stage.breathe(random.u64(1..30)).await;
        }
        server.kill();
        stage.record(&[]);
        server.restart();
    }
    stage.written().await;
    assert_equal(&server, &database, &stage.ledger);
}

#[actix_rt::test]
async fn an_outage_is_a_report_and_a_distance_and_ends_by_itself() {
    let mut server = Server::start(TCP);
    let database = server.database();
    server.kill(); // not there at the start
    let mut stage = Stage::new(&database.url);
    let entries = Day::recorded();
    let (first, second) = entries.split_at(entries.len() / 2);
    stage.record(first);
    stage
        .until("trouble shows", |view| view.trouble.is_some() && view.distance() > 100)
        .await;
    assert!(matches!(stage.reports.lock().unwrap()[..], [Report::StoreLost { .. }]));
    server.restart();
    stage.written().await;
    server.pause(); // takes what is sent, and never answers
    stage.record(second);
    stage.until("the pause shows", |view| view.trouble.is_some()).await;
    server.resume();
    stage.written().await;
    stage.until("trouble clears", |view| view.trouble.is_none()).await;
    assert_equal(&server, &database, &stage.ledger);
    let reports = stage.reports.lock().unwrap().clone();
    let back = reports.iter().filter(|report| **report == Report::StoreBack).count();
    assert_eq!((back, reports.last()), (2, Some(&Report::StoreBack)), "{reports:?}");
}

#[actix_rt::test]
async fn a_connection_cut_inside_a_transaction_is_written_again_once() {
    let server = Server::start(TCP);
    let database = server.database();
    let mut stage = Stage::new(&database.url);
    let entries = Day::recorded();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'candela' AND pid <> pg_backend_pid()";
    let mut random = fastrand::Rng::with_seed(9);
    for part in entries.chunks(60) {
        stage.record(part);
        stage.breathe(random.u64(0..12)).await;
        server.sql("postgres", cut);
    }
    stage.written().await;
    assert_equal(&server, &database, &stage.ledger);
}

#[tokio::test]
async fn readers_who_can_wait_take_turns_and_leave_connections_for_others() {
    let database = postgres();
    let store = Store::Postgres(store(&database.url)); // three connections
    store.migrate_schema().await.unwrap();
    let (lock, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let asked = || BarQuery::between(Symbol::usdcop(), Interval::M5, OPEN, OPEN + SPAN, 10);
    let locked = async {
        let kept_busy = "BEGIN; LOCK TABLE market_data IN ACCESS EXCLUSIVE MODE";
        lock.batch_execute(kept_busy).await.unwrap();
        let readers = futures_util::future::join_all((0..6).map(|_| store.bars_in_turn(asked())));
        let others = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            store.ping().await.expect("a connection is left for others");
            let one = store.read_bars(asked());
            let more = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let refused = store.read_bars(asked()).await.unwrap_err();
                lock.batch_execute("COMMIT").await.unwrap();
                refused
            };
            futures_util::future::join(one, more).await
        };
        let (pages, (one, refused)) = futures_util::future::join(readers, others).await;
        assert!(one.is_ok() && pages.iter().all(Result::is_ok), "{one:?}, {pages:?}");
        assert!(
            matches!(&refused, StoreError::Slow(why) if why.contains("all connections (3) are in use")),
            "{refused}"
        );
        drop(lock);
    };
    futures_util::future::join(locked, connection).await.1.unwrap();
}
