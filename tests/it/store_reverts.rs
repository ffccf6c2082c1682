//! A database that is not as it was: steps of its tables undone and done again, a copy that was behind. Nothing is lost unasked, and
//! what is written again is there once.

use crate::equal::assert_equal;
use crate::recorded::{Day, batch};
use crate::servers::{Postgres as Server, Reach};
use crate::store_contract::{Subject, contract};
use crate::writing::Stage;
use candela::domain::model::Position;
use candela::store::{Migrate, Store, StoreError};

/// The newest step of either is of certificates, of which there are none, and the one before it of views or of the lease alone, in which
/// nothing is kept.
async fn undo_newest(subject: &Subject) {
    let newest = match subject.store {
        Store::Sqlite(_) => "views",
        Store::Postgres(_) => "provable",
    };
    for step in ["certificates", newest] {
        let undone = subject.migrate(Migrate::Revert).await.unwrap();
        assert!(undone[0].ends_with(step), "{undone:?}");
    }
}

/// The newest step of PostgreSQL's tables but two is the lease alone, in which nothing is kept.
fn steps_without_rows(subject: &Subject) -> usize {
    usize::from(matches!(subject.store, Store::Postgres(_)))
}

async fn a_revert_loses_nothing_unasked(subject: Subject) {
    subject.store.write(batch(&Day::recorded())).await.unwrap();
    let told = "SELECT kind || position FROM candela_events ORDER BY position";
    let before = subject.rows(told);
    assert!(!before.is_empty());
    undo_newest(&subject).await;
    let refused = subject.migrate(Migrate::Revert).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::WouldLose { step, rows } if step.ends_with("events") && rows.ends_with("entries of the journal")),
        "{refused}"
    );
    assert_eq!(subject.rows(told), before);
    subject.migrate(Migrate::Discard).await.unwrap();
    for _ in 0..steps_without_rows(&subject) {
        let undone = subject.migrate(Migrate::Revert).await.unwrap();
        assert!(undone[0].ends_with("lease"), "{undone:?}");
    }
    let sessions = "SELECT * FROM market_sessions ORDER BY session_date, symbol";
    let before = subject.rows(sessions);
    let refused = subject.migrate(Migrate::Revert).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::WouldLose { step, rows } if step.ends_with("sessions_of_pairs") && rows.starts_with("1 sessions of other pairs")),
        "{refused}"
    );
    assert_eq!(subject.rows(sessions), before);
    subject.migrate(Migrate::Discard).await.unwrap();
    let logged = "SELECT symbol || kind || seq FROM quality_log ORDER BY symbol, epoch, seq";
    let before = subject.rows(logged);
    assert!(!before.is_empty());
    assert_eq!(
        subject.migrate(Migrate::Revert).await.unwrap().len(),
        1,
        "indexes alone"
    );
    for _ in 0..2 {
        let refused = subject.migrate(Migrate::Revert).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::WouldLose { step, rows } if step.ends_with("logs") && rows.ends_with("messages about quality")),
            "{refused}"
        );
        assert!(refused.to_string().contains("--discard"), "{refused}");
    }
    assert_eq!(subject.rows(logged), before);
    subject.migrate(Migrate::Discard).await.unwrap();
    let refused = subject.migrate(Migrate::Revert).await.unwrap_err().to_string();
    assert!(refused.contains(" ticks, ") && refused.contains(" bars, "), "{refused}");
    subject.migrate(Migrate::Run).await.unwrap();
    assert_eq!(subject.migrate(Migrate::Check).await.unwrap(), Vec::<String>::new());
}

async fn what_was_discarded_is_written_again_once(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let before = subject.dump();
    let mut subject = subject;
    for steps in 1.. {
        let mut undone = 0;
        undo_newest(&subject).await;
        for _ in 0..steps {
            undone += subject.migrate(Migrate::Discard).await.unwrap().len();
        }
        subject.migrate(Migrate::Run).await.unwrap();
        subject = subject.again();
        let stands = subject
            .store
            .reader_position("writer", all.lineage.clone())
            .await
            .unwrap();
        assert_eq!(stands, Position(0), "{steps} steps");
        subject.store.write(all.clone()).await.unwrap();
        assert_eq!(subject.dump(), before, "{steps} steps");
        if undone < steps {
            return;
        }
    }
}

contract! {
    a_revert_loses_nothing_unasked(one);
    what_was_discarded_is_written_again_once(one);
}

/// After a failover the copy that answers may lack what was written last; the position is then as old as the rows.
#[actix_rt::test]
async fn a_copy_that_was_behind_gets_what_it_lacks() {
    let server = Server::start(Reach {
        tcp: true,
        password: Some("s3cret"),
        tls: false,
    });
    let database = server.database();
    let mut stage = Stage::new(&database.url);
    let entries = Day::recorded();
    let (first, rest) = entries.split_at(entries.len() / 2);
    let (second, third) = rest.split_at(rest.len() / 2);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'candela' AND pid <> pg_backend_pid()";
    stage.record(first);
    stage.written().await;
    server.sql(&database.name, "CREATE TABLE ticks_then AS SELECT * FROM realtime_market_data; CREATE TABLE positions_then AS SELECT * FROM reader_positions");
    stage.record(second);
    stage.written().await;
    // All connections end while nobody writes: who writes next has done nothing wrong, and hears of no failure.
    server.sql(
        &database.name,
        "DELETE FROM realtime_market_data WHERE id NOT IN (SELECT id FROM ticks_then); DELETE FROM reader_positions;
         INSERT INTO reader_positions SELECT * FROM positions_then",
    );
    server.sql("postgres", cut);
    stage.record(third);
    stage.written().await;
    assert_equal(&server, &database, &stage.ledger);
}
