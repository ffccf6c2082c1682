//! Reads a store's file from outside, for tests.

use std::path::Path;

pub(crate) fn query_count(path: &Path, sql: &str) -> i64 {
    let db = rusqlite::Connection::open(path).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

pub(crate) fn execute_sql(path: &Path, sql: &str) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.execute_batch(sql).unwrap();
}
