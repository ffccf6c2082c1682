//! Tests of the embedded store alone. The contract of both stores is tested in `tests/it/store_contract.rs`.

use super::*;
use crate::ledger::{
    Ledger, LedgerOptions,
    event_script::{EventScript, day},
};
use crate::limits;
use crate::store::probe::{execute_sql, query_count};
use std::sync::Arc;

fn batch(moves: &[u8]) -> Batch {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), LedgerOptions::new(day(22), 3)).unwrap();
    ledger
        .append(&EventScript::continue_from(&ledger).entries_for(moves))
        .unwrap();
    let mut reader = ledger.reader();
    Batch {
        reader: "writer",
        lineage: reader.lineage(),
        events: reader.read(Position(1), 5_000).unwrap(),
        heads: Arc::new(reader.heads()),
    }
}

#[actix_rt::test]
async fn a_row_that_is_refused_is_set_aside_alone_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::Sqlite(Sqlite::open(&path).unwrap());
    execute_sql(
        &path,
        "CREATE TRIGGER picky BEFORE INSERT ON realtime_market_data WHEN NEW.seq IN (3, 9) BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: picky'); END",
    );
    let written = store.write(batch(&[0; 20])).await;
    let written = written.unwrap();
    assert_eq!((written.position, written.rejected), (Position(20), 2));
    assert_eq!(query_count(&path, "SELECT count(*) FROM realtime_market_data"), 18);
    assert_eq!(
        query_count(
            &path,
            "SELECT count(*) FROM rejected_events WHERE position IN (3, 9) AND reason LIKE '%picky%'"
        ),
        2
    );
    let position = store.reader_position("writer", format!("{:016x}", 3)).await.unwrap();
    assert_eq!(position, Position(20));
}

const REFUSE: &str = "CREATE TRIGGER refuse BEFORE INSERT ON realtime_market_data WHEN";

#[actix_rt::test]
async fn a_row_that_a_trigger_refuses_in_its_own_words_is_set_aside_and_the_others_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::Sqlite(Sqlite::open(&path).unwrap());
    execute_sql(
        &path,
        &format!("{REFUSE} NEW.seq IN (3, 9) BEGIN SELECT RAISE(ABORT, 'no'); END"),
    );
    let written = store.write(batch(&[0; 20])).await.unwrap();
    assert_eq!((written.position, written.rejected), (Position(20), 2));
    assert_eq!(query_count(&path, "SELECT count(*) FROM realtime_market_data"), 18);
}

#[actix_rt::test]
async fn a_table_that_refuses_every_row_is_an_error_and_its_rows_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::Sqlite(Sqlite::open(&path).unwrap());
    let refuse = |words: &str| {
        execute_sql(
            &path,
            &format!("{REFUSE} true BEGIN SELECT RAISE(ABORT, '{words}'); END"),
        );
    };
    refuse("closed for today");
    let all = batch(&[0; 100]);
    let error = store.write(all.clone()).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused(why) if why.contains("closed for today")),
        "{error}"
    );
    assert_eq!(query_count(&path, "SELECT count(*) FROM rejected_events"), 0);

    execute_sql(&path, "DROP TRIGGER refuse");
    refuse("CHECK constraint failed: all");
    let error = store.write(all.clone()).await.unwrap_err();
    let number = limits::REFUSED_IN_A_ROW;
    assert!(
        matches!(&error, StoreError::EveryRowRefused { kind: "tick", number: found, .. } if *found == number + 1),
        "{error}"
    );
    assert_eq!(
        query_count(&path, "SELECT count(*) FROM rejected_events"),
        i64::from(number)
    );
    execute_sql(&path, "DROP TRIGGER refuse");
    store.write(all).await.unwrap();
    assert_eq!(query_count(&path, "SELECT count(*) FROM realtime_market_data"), 100);
}

#[test]
fn the_folder_of_the_file_is_made_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/of/candela.sqlite");
    assert_eq!(Sqlite::migrate_schema(&path, Migrate::Check).unwrap().len(), 7);
    assert!(!folder.path().join("data").exists(), "a check makes nothing");
    drop(Sqlite::open(&path).unwrap());
    assert!(path.exists());
    let below_a_file = path.join("candela.sqlite");
    let error = Sqlite::open(&below_a_file).unwrap_err();
    assert!(error.to_string().contains("its folder cannot be made"), "{error}");
}

#[test]
fn a_schema_that_is_newer_and_a_file_that_is_no_database_are_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Sqlite::open(&path).unwrap());
    execute_sql(
        &path,
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')",
    );
    let error = Sqlite::open(&path).unwrap_err();
    assert!(
        matches!(&error, StoreError::NewerSchema { found } if found == "20991231000000"),
        "{error}"
    );
    std::fs::write(
        &path,
        "no database at all, just text in a file of that name".repeat(100),
    )
    .unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(error.to_string().contains("store.db cannot be used"), "{error}");
}

#[test]
fn every_migration_can_be_undone_and_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Sqlite::open(&path).unwrap());
    let tables =
        "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'";
    let before = query_count(&path, tables);
    assert_eq!(Sqlite::migrate_schema(&path, Migrate::Check), Ok(vec![]));
    let mut undone = 0;
    while !Sqlite::migrate_schema(&path, Migrate::Revert).unwrap().is_empty() {
        undone += 1;
        assert_eq!(Sqlite::migrate_schema(&path, Migrate::Check).unwrap().len(), undone);
    }
    assert_eq!(undone, 7);
    assert_eq!(query_count(&path, tables), 0);
    drop(Sqlite::open(&path).unwrap());
    assert_eq!(query_count(&path, tables), before);
}
