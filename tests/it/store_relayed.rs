//! A database behind a network that fails: every answer late, or a connection that is cut at the worst moment.

use crate::servers::{Manner, Postgres, Reach, Relay};
use crate::store_outages::Scene;
use candela::actors::messages::Report;
use std::time::Duration;

const TCP: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

/// What PostgreSQL's protocol says to have a prepared statement executed, with all its rows, and an answer.
const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";

/// A scene whose Writer reaches the server by way of a relay.
async fn relayed() -> (Scene, Relay) {
    let server = Postgres::start(TCP);
    let mut database = server.database();
    let relay = Relay::before(server.port());
    database.url = relay.of(&database.url);
    (Scene::on(server, database).await, relay)
}

/// The second half is written through connections that are cut in this manner so many times, and then no more.
async fn cut(manner: Manner, times: usize) {
    let (mut scene, relay) = relayed().await;
    relay.set(manner);
    scene.trouble("unreachable", "").await;
    while relay.cuts() < times {
        scene.stage.breathe(50).await;
    }
    relay.set(Manner::Pass);
    scene.healed().await;
}

#[actix_rt::test]
async fn a_connection_that_is_cut_before_its_commit_is_written_again() {
    cut(Manner::CutRequest(b"COMMIT"), 3).await;
}

#[actix_rt::test]
async fn a_commit_whose_answer_was_lost_is_not_written_twice() {
    cut(Manner::CutAnswer(b"COMMIT"), 1).await; // on the next connection it asks where the store stands, and all is there
}

#[actix_rt::test]
async fn a_statement_whose_answer_was_lost_is_not_written_twice() {
    cut(Manner::CutAnswer(EXECUTE), 3).await;
}

#[actix_rt::test]
async fn a_server_that_takes_two_seconds_for_each_answer_is_called_slow_and_still_written_to() {
    let (mut scene, relay) = relayed().await;
    relay.set(Manner::Late(Duration::from_secs(2)));
    scene.trouble("slow", "no answer").await;
    scene.stage.written().await;
    let last = scene.stage.reports.lock().unwrap().last().cloned();
    assert!(
        matches!(last, Some(Report::StoreLost { reason: "slow", .. })),
        "it is still slow: {last:?}"
    );
    relay.set(Manner::Pass);
    scene.healed().await;
}
