//! Rows that a database refuses for reasons of its own: set aside alone, and the others are written.

use crate::recorded::{Day, OPEN, batch, part};
use crate::servers::{Database, postgres};
use crate::writing::Stage;
use candela::clock::Stopwatch;
use candela::domain::model::Event;
use candela::store::{Postgres, Store, StoreError};
use secrecy::SecretString;
use std::time::Duration;

fn store(database: &Database) -> Store {
    Store::Postgres(Postgres::new(&SecretString::from(database.url.clone()), 3).unwrap())
}

/// A trigger on ticks that does `body` for rows for which `condition` holds.
fn trigger(condition: &str, body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN {body}; END IF; RETURN NEW; END $$;
         DROP TRIGGER IF EXISTS refuse ON realtime_market_data;
         CREATE TRIGGER refuse BEFORE INSERT ON realtime_market_data FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
}

/// Ticks of two pairs.
fn ticks(count: u64) -> Day {
    let mut day = Day::new();
    for i in 0..count {
        let at = OPEN + Duration::from_micros(i * 290_000_000 / count);
        day.tick(at, OPEN, 4_012_350_000 + i64::try_from(i % 977).unwrap() * 100);
    }
    day
}

#[actix_rt::test]
async fn a_row_that_a_trigger_refuses_is_set_aside_and_the_rest_is_written_within_five_seconds() {
    let database = postgres();
    store(&database).migrate_schema().await.unwrap();
    database.sql(&trigger("NEW.last = 4012.351200", "RAISE EXCEPTION 'ese precio no'"));
    let mut stage = Stage::new(&database.url);
    stage.record(&ticks(100).entries);
    let watch = Stopwatch::start();
    stage.written().await;
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    assert_eq!(stage.why(), "");
    assert_eq!(database.sql("SELECT count(*) FROM realtime_market_data"), "199");
    assert_eq!(
        database.sql("SELECT count(*) FROM rejected_events WHERE reason LIKE '%ese precio no%'"),
        "1"
    );
}

#[tokio::test]
async fn whatever_state_a_refusal_gives_its_row_alone_is_set_aside() {
    let states = [
        "42501", "42P01", "53100", "57014", "40001", "08006", "ZX042", "25006", "XX000",
    ];
    let bodies = states.map(|state| format!("RAISE EXCEPTION 'no' USING ERRCODE = '{state}'"));
    let own_mistakes = [
        "PERFORM 1 / 0",
        "INSERT INTO nowhere VALUES (1)",
        "PERFORM nobody(1)",
        "NEW.source := repeat('x', 99)",
    ];
    let all = bodies.iter().map(String::as_str).chain(own_mistakes);
    for body in all {
        let database = postgres();
        let store = store(&database);
        store.migrate_schema().await.unwrap();
        database.sql(&trigger("NEW.seq = 7", body));
        let written = store.write(batch(&ticks(20).entries)).await;
        let written = written.unwrap_or_else(|error| panic!("{body}: {error:?}"));
        assert_eq!(written.rejected, 2, "{body}: one of each pair");
        assert_eq!(
            database.sql("SELECT count(*) FROM realtime_market_data"),
            "38",
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_refusal_at_the_end_of_a_transaction_or_inside_a_copy_is_a_rows_own_as_well() {
    let database = postgres();
    let store = store(&database);
    store.migrate_schema().await.unwrap();
    database.sql(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.seq = 1500 THEN RAISE EXCEPTION 'late'; END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON realtime_market_data DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()",
    );
    let written = store.write(batch(&ticks(2_000).entries)).await.unwrap();
    assert_eq!(written.rejected, 2);
    assert_eq!(database.sql("SELECT count(*) FROM realtime_market_data"), "3998");
}

#[actix_rt::test]
async fn a_table_that_refuses_every_row_is_a_condition_and_not_set_aside_for_ever() {
    let database = postgres();
    store(&database).migrate_schema().await.unwrap();
    database.sql(&trigger("true", "RAISE EXCEPTION 'closed for today'"));
    let mut stage = Stage::new(&database.url);
    stage.record(&ticks(100).entries);
    stage.until("trouble shows", |view| view.trouble.is_some()).await;
    let why = stage.why();
    assert!(
        why.contains("refuses each tick") && why.contains("closed for today"),
        "{why}"
    );
    assert_eq!(
        database.sql("SELECT count(*) FROM rejected_events"),
        "0",
        "all that was refused in vain is as it was"
    );
    database.sql("DROP TRIGGER refuse ON realtime_market_data");
    stage.written().await;
    stage.until("trouble clears", |view| view.trouble.is_none()).await;
    assert_eq!(database.sql("SELECT count(*) FROM realtime_market_data"), "200");
}

#[tokio::test]
async fn a_note_that_is_refused_keeps_the_row_waiting_and_says_so() {
    let database = postgres();
    let store = store(&database);
    store.migrate_schema().await.unwrap();
    database.sql(&trigger("NEW.seq = 7", "RAISE EXCEPTION 'no'"));
    database.sql("ALTER TABLE rejected_events ADD CHECK (false)");
    let all = batch(&ticks(20).entries);
    let error = store.write(all.clone()).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::NotSetAside(text) if text.contains("no")),
        "{error:?}"
    );
    assert_eq!(
        database.sql("SELECT count(*) FROM realtime_market_data"),
        "0",
        "all or nothing"
    );
    database.sql("ALTER TABLE rejected_events DROP CONSTRAINT rejected_events_check");
    assert_eq!(store.write(all).await.unwrap().rejected, 2);
}

#[tokio::test]
async fn a_missing_table_sets_nothing_aside() {
    let database = postgres();
    let store = store(&database);
    let all = batch(&ticks(20).entries);
    let ticks = all
        .events
        .iter()
        .position(|event| matches!(event.event, Event::Tick(_)))
        .unwrap();
    store.write(part(&all, 0, ticks + 1)).await.unwrap();
    database.sql("ALTER TABLE realtime_market_data RENAME TO away");
    let error = store.write(part(&all, ticks + 1, all.events.len())).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongTables(_)), "{error:?}");
    assert_eq!(database.sql("SELECT count(*) FROM rejected_events"), "0");
}
