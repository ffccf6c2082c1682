//! What is read in pages: that none of it is missing or there twice, on both stores, and what it costs a server.

use crate::recorded::{Day, OPEN, batch};
use crate::servers::{Database, postgres};
use crate::store_contract::{Subject, contract};
use candela::clock::Stopwatch;
use candela::domain::model::{Interval, Symbol, Timestamp};
use candela::store::{BarQuery, Postgres, Store, StoredTick, TickQuery};
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

fn all_ticks(limit: u32) -> TickQuery {
    TickQuery {
        symbol: Symbol::usdcop(),
        from: OPEN - DAY,
        to: OPEN + DAY * 3,
        after_seq: None,
        cursor: None,
        limit,
    }
}

/// All pages, one after the other, as a client asks for them.
async fn paged(store: &Store, mut query: TickQuery) -> Vec<StoredTick> {
    let mut all = Vec::new();
    loop {
        let page = store.read_ticks(query.clone()).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= usize::try_from(query.limit).unwrap());
        query.cursor = Some(last.place().to_string().parse().unwrap());
        all.extend(page);
    }
}

/// A ledger that was lost begins anew: the same numbers, a day later, under another epoch.
async fn ticks_of_two_epochs_come_in_pages_and_none_is_missing(subject: Subject) {
    subject.store.write(batch(&Day::recorded())).await.unwrap();
    let day_later = match subject.store {
        Store::Sqlite(_) => "time + 86400000000",
        Store::Postgres(_) => "time + interval '1 day'",
    };
    subject.rows(&format!(
        "INSERT INTO realtime_market_data (symbol, time, bid, ask, last, source, epoch, seq, event_time, provenance)
         SELECT symbol, {day_later}, bid, ask, last, source, 'zzzz', seq, event_time, provenance FROM realtime_market_data"
    ));
    let whole = subject.store.read_ticks(all_ticks(10_000)).await.unwrap();
    let epochs: BTreeSet<String> = whole.iter().map(|tick| tick.epoch.to_string()).collect();
    assert!(whole.len() > 200 && epochs.len() == 2, "{} {epochs:?}", whole.len());
    assert_eq!(paged(&subject.store, all_ticks(37)).await, whole);
    for above in [0, 7, 150, 1_000_000] {
        let query = TickQuery {
            after_seq: Some(above),
            ..all_ticks(37)
        };
        let expect: Vec<_> = whole.iter().filter(|tick| tick.seq > above).cloned().collect();
        assert_eq!(paged(&subject.store, query).await, expect, "above {above}");
    }
}

/// Rows of other programs beside ours: the slot, whose it is, whether it is whole, and when it was put in, in seconds from the open.
const OTHERS: [(u64, &str, bool, u64); 9] = [
    (0, "l0", true, 400),
    (300, "l0", false, 700),
    (600, "twelvedata_websocket_aggregated", true, 700),
    (900, "twelvedata_websocket_aggregated", true, 1_000),
    (900, "l0", true, 90_000),
    (1_200, "l0", true, 90_000),
    (1_800, "l0", true, 2_200),
    (1_800, "other", true, 2_300),
    (2_100, "l0", true, 90_000),
];

fn with_others(subject: &Subject) {
    let at = |secs: u64| {
        let micros = (OPEN + Duration::from_secs(secs)).micros();
        match subject.store {
            Store::Sqlite(_) => micros.to_string(),
            Store::Postgres(_) => format!("'epoch'::timestamptz + {micros} * interval '1 microsecond'"),
        }
    };
    for (slot, source, whole, there) in OTHERS {
        let high = if whole { "4000" } else { "NULL" };
        subject.rows(&format!(
            "INSERT INTO market_data (symbol, datetime, open, high, low, close, source, created_at)
             VALUES ('USDCOP', {}, 4000, {high}, 4000, 4000, '{source}', {})",
            at(slot),
            at(there),
        ));
    }
}

fn all_bars(interval: Interval) -> BarQuery {
    BarQuery::between(Symbol::usdcop(), interval, OPEN - DAY, OPEN + DAY, 500)
}

async fn sources(store: &Store, query: BarQuery) -> Vec<(i64, String)> {
    let bars = store.read_bars(query).await.unwrap();
    let slot = |at: Timestamp| (at.micros() - OPEN.micros()) / 1_000_000;
    bars.into_iter()
        .map(|bar| (slot(bar.bar.key.opens_at), bar.source))
        .collect()
}

async fn the_best_bar_of_a_slot_is_the_views(subject: Subject) {
    subject.store.write(batch(&Day::recorded())).await.unwrap();
    with_others(&subject);
    for interval in [Interval::M5, Interval::M15, Interval::Session] {
        let rows = subject.rows(&format!(
            "SELECT source FROM market_bars WHERE symbol = 'USDCOP' AND \"interval\" = '{}' AND high IS NOT NULL ORDER BY datetime",
            interval.name()
        ));
        let read = sources(&subject.store, all_bars(interval)).await;
        assert_eq!(read.iter().map(|(_, source)| source.clone()).collect::<Vec<_>>(), rows);
        let latest = BarQuery {
            latest: true,
            limit: 2,
            ..all_bars(interval)
        };
        assert_eq!(
            sources(&subject.store, latest).await,
            read[read.len().saturating_sub(2)..]
        );
    }
}

async fn a_bar_that_was_put_in_later_was_not_known(subject: Subject) {
    subject.store.write(batch(&Day::recorded())).await.unwrap();
    with_others(&subject);
    subject.rows("DELETE FROM bar_revisions WHERE \"interval\" = '5m'"); // so that theirs are the best
    for now in [0, 399, 400, 1_000, 2_200, 2_300, 89_999, 90_000, 900_000] {
        let mut expect: Vec<(i64, String)> = Vec::new();
        for (slot, source, whole, there) in OTHERS {
            let slot = i64::try_from(slot).unwrap();
            if there <= now && whole {
                expect.retain(|(other, _)| *other != slot); // by preference, then the last that was put in
                expect.push((slot, source.to_owned()));
            }
        }
        let as_of = BarQuery {
            as_of: Some(OPEN + Duration::from_secs(now)),
            ..all_bars(Interval::M5)
        };
        assert_eq!(sources(&subject.store, as_of.clone()).await, expect, "{now}");
        let latest = BarQuery {
            latest: true,
            limit: 2,
            ..as_of
        };
        let ends = expect[expect.len().saturating_sub(2)..].to_vec();
        assert_eq!(sources(&subject.store, latest).await, ends, "the latest at {now}");
    }
}

contract! {
    ticks_of_two_epochs_come_in_pages_and_none_is_missing(one);
    the_best_bar_of_a_slot_is_the_views(one);
    a_bar_that_was_put_in_later_was_not_known(one);
}

/// Thirty thousand bars of a history that was loaded in 2026, as many of ours of each kind that were known by 2025, and minutes that
/// were filled in with it; a hundred thousand ticks.
const FILL: &str = "
    INSERT INTO market_data (symbol, datetime, open, high, low, close, source, created_at)
    SELECT 'USDCOP', '2020-01-01Z'::timestamptz + g * interval '5 min', 1, 1, 1, 1, 'l0', '2026-01-01Z' FROM generate_series(1, 30000) g;
    INSERT INTO bar_revisions SELECT 'USDCOP', '5m', at, 0, 1, 1, 1, 1, 5, at + interval '5 min', NULL, NULL, 'live', 0, '2020-01-01', 'spot',
        'a1b2', g, at + interval '5 min' FROM (SELECT g, '2020-01-01Z'::timestamptz + g * interval '5 min' AS at FROM generate_series(1, 30000) g) s;
    INSERT INTO bar_revisions SELECT 'USDCOP', '1m', at, 0, 1, 1, 1, 1, 5, at + interval '1 min', NULL, NULL, 'backfill', 0, '2020-01-01', 'spot',
        'a1b2', g, '2026-01-01Z' FROM (SELECT g, '2020-01-01Z'::timestamptz + g * interval '1 min' AS at FROM generate_series(1, 30000) g) s;
    INSERT INTO interval_bars (symbol, datetime, open, high, low, close, source, \"interval\")
    SELECT symbol, datetime, open, high, low, close, 'candela', \"interval\" FROM bar_revisions WHERE \"interval\" = '1m';
    INSERT INTO realtime_market_data (symbol, time, last, source, epoch, seq, event_time)
    SELECT 'USDCOP', at, 1, 'candela', 'a1b2', g, at FROM (SELECT g, '2020-01-01Z'::timestamptz + g * interval '1 s' AS at
        FROM generate_series(1, 100000) g) s;
    ANALYZE";

/// How many rows and index entries the server reads for `work`.
async fn read_for<W: Future<Output = usize>>(database: &Database, work: impl FnOnce(Store) -> W) -> (usize, u64) {
    alone(database).await;
    let before = rows_read(database);
    let found = work(Store::Postgres(
        Postgres::new(&SecretString::from(database.url.clone()), 1).unwrap(),
    ))
    .await;
    alone(database).await; // a session counts what it read when it ends
    (found, rows_read(database) - before)
}

fn rows_read(database: &Database) -> u64 {
    let sums = "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)";
    database.sql(sums).trim().parse().unwrap()
}

/// Waits until nobody else is connected.
async fn alone(database: &Database) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'";
    let began = Stopwatch::start();
    while database.sql(others).trim() != "0" {
        assert!(began.elapsed() < Duration::from_secs(20), "others stay connected");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_page_costs_a_server_what_it_returns() {
    let database = postgres();
    let store = Postgres::new(&SecretString::from(database.url.clone()), 1).unwrap();
    store.migrate_schema(candela::store::Migrate::Run).await.unwrap();
    drop(store);
    database.sql(FILL);
    let at = |text: &str| Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap());
    let ever = (at("1990-01-01T00:00:00Z"), at("2100-01-01T00:00:00Z"));
    let bars = |interval, as_of: Option<&str>, latest| BarQuery {
        as_of: as_of.map(at),
        latest,
        ..BarQuery::between(Symbol::usdcop(), interval, ever.0, ever.1, 50)
    };
    for latest in [true, false] {
        for (interval, as_of, expect) in [
            (Interval::M5, None, 50),
            (Interval::M1, None, 50),
            (Interval::H1, None, 0),
            (Interval::M5, Some("2025-01-01T00:00:00Z"), 50),
            (Interval::M5, Some("2026-06-01T00:00:00Z"), 50),
            (Interval::M5, Some("2020-01-01T00:00:00Z"), 0),
            (Interval::M1, Some("2025-01-01T00:00:00Z"), 0),
            (Interval::M1, Some("2026-06-01T00:00:00Z"), 50),
        ] {
            let query = bars(interval, as_of, latest);
            let (found, read) = read_for(&database, async |store| store.read_bars(query).await.unwrap().len()).await;
            assert_eq!(found, expect, "{interval} {as_of:?} {latest}");
            assert!(
                read < 1_500,
                "{interval} as of {as_of:?}, latest {latest}: {read} rows read"
            );
        }
    }
    let ticks = TickQuery {
        from: ever.0,
        to: ever.1,
        ..all_ticks(50)
    };
    let above = TickQuery {
        after_seq: Some(99_900),
        ..ticks.clone()
    };
    let behind = TickQuery {
        cursor: format!("{}-99900", at("2020-01-02T03:45:00Z").micros()).parse().ok(),
        ..ticks.clone()
    };
    for (name, query) in [
        ("from the start", ticks),
        ("above a number", above),
        ("behind a place", behind),
    ] {
        let (found, read) = read_for(&database, async |store| store.read_ticks(query).await.unwrap().len()).await;
        assert_eq!(found, 50, "{name}");
        assert!(read < 1_500, "{name}: {read} rows read");
    }
}
