//! The throwaway servers do what the tests that use them rely on.

use crate::servers::{Postgres, Reach, Redis, postgres, redis};
use std::time::Duration;

const SECRET: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

/// Connects as a client of the service would and returns the answer to `select current_database()`.
async fn connect(url: &str) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let talk = async move {
        client
            .query_one("select current_database()::text", &[])
            .await
            .map(|row| row.get(0))
    };
    futures_util::future::join(talk, connection).await.0
}

async fn ping(url: &str) -> Result<String, redis::RedisError> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async(&mut connection).await
}

#[tokio::test]
async fn each_test_gets_a_database_of_its_own() {
    let (one, other) = (postgres(), postgres());
    one.sql("create table here (n int)");
    assert!(
        connect(&one.url).await.unwrap() == one.name,
        "the URL leads to the database"
    );
    assert_eq!(other.sql("select count(*) from pg_class where relname = 'here'"), "0");
}

#[tokio::test]
async fn a_cluster_of_ones_own_dies_comes_back_and_hangs_on_demand() {
    let mut postgres = Postgres::start(SECRET);
    let database = postgres.database();
    assert!(connect(&database.url).await.is_ok());
    assert!(
        connect(&database.url.replace("s3cret", "wrong")).await.is_err(),
        "the password counts"
    );
    postgres.sql(&database.name, "create table kept (n int)");

    postgres.kill();
    assert!(connect(&database.url).await.is_err(), "nobody answers after a kill");
    postgres.restart();
    assert_eq!(
        postgres.sql(&database.name, "select count(*) from kept"),
        "0",
        "the data is still there"
    );

    postgres.pause();
    let hanging = tokio::time::timeout(Duration::from_millis(300), connect(&database.url)).await;
    assert!(hanging.is_err(), "a paused server accepts and says nothing");
    postgres.resume();
    assert!(connect(&database.url).await.is_ok());
}

#[tokio::test]
async fn redis_dies_comes_back_and_hangs_on_demand() {
    let mut plain = redis();
    assert_eq!(ping(&plain.url()).await.unwrap(), "PONG");
    plain.kill();
    assert!(ping(&plain.url()).await.is_err(), "nobody answers after a kill");
    plain.restart();
    assert_eq!(ping(&plain.url()).await.unwrap(), "PONG");

    let secret = Redis::start(SECRET);
    assert!(ping(&secret.url()).await.is_ok());
    assert!(
        ping(&secret.url().replace("s3cret", "wrong")).await.is_err(),
        "the password counts"
    );
    secret.pause();
    let hanging = tokio::time::timeout(Duration::from_millis(300), ping(&secret.url())).await;
    assert!(!matches!(hanging, Ok(Ok(_))), "a paused server says nothing");
    secret.resume();
    assert!(ping(&secret.url()).await.is_ok());
}

#[test]
fn servers_with_tls_start_and_show_their_authority() {
    let reach = Reach { tls: true, ..SECRET };
    let postgres = Postgres::start(reach);
    assert!(postgres.database().url.ends_with("?sslmode=require"));
    assert_eq!(postgres.sql("postgres", "show ssl"), "on");
    let is_there = |authority| {
        let text = std::fs::read_to_string(authority).unwrap();
        assert!(text.contains("BEGIN CERTIFICATE"));
    };
    is_there(postgres.authority());
    if Redis::speaks_tls() {
        let redis = Redis::start(reach);
        assert!(redis.url().starts_with("rediss://:s3cret@127.0.0.1:"));
        is_there(redis.authority());
    }
}
