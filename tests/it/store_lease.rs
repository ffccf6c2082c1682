//! One writer at a time: the lease of a database and of Redis on real servers, also behind a pooler, and what is fenced by it.

use crate::cache_redis::{ask, cache};
use crate::child::Candela;
use crate::recorded::{Day, OPEN, batch};
use crate::servers::{PgBouncer, Postgres as Server, Reach, postgres, redis};
use candela::cache::{Cache, CacheError, News, StreamAdd};
use candela::domain::followers::lease::{Answer, Holder, Succession};
use candela::domain::followers::{Clear, StreamId};
use candela::domain::model::{Channel, Epoch, Symbol, Timestamp};
use candela::limits;
use candela::store::{Batch, HealthRow, Postgres, Store, StoreError};
use redis::Value;
use secrecy::SecretString;
use std::time::Duration;

/// What `candela check` finds of leases: the verdict and what it says.
fn leases_found(database: &str, redis: &str, ledger: &std::path::Path) -> Vec<(String, String)> {
    let folder = format!("ledger.dir={}", ledger.display());
    let mut command = Candela::command(&["check", "--json", "--set", &folder]);
    command
        .env("DATABASE_URL", database)
        .env("REDIS_URL", redis)
        .env("TWELVEDATA_API_KEY_G1_1", "0123456789abcdef0123456789abcdef");
    let said = Candela::of(&mut command).ended().stdout;
    let findings = said
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let leases = findings.filter(|finding| finding["check"] == "lease");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    leases
        .map(|lease| (text(&lease["verdict"]), text(&lease["says"])))
        .collect()
}

#[tokio::test]
async fn check_says_who_has_the_leases_since_when_and_when_they_run_out() {
    let (database, server) = (postgres(), redis());
    let ledger = tempfile::tempdir().unwrap();
    let found = || leases_found(&database.url, &server.url(), ledger.path());
    let nobody: Vec<(String, String)> = ["the database", "Redis"]
        .map(|place| ("ok".to_owned(), format!("no process has the lease of {place}")))
        .into();
    assert_eq!(found(), nobody, "before there is a table for it");
    std::fs::write(ledger.path().join("lock"), "").unwrap();
    let own = candela::ledger::holder_id(ledger.path()).unwrap();
    for (id, verdict) in [("another", "fail"), (own.as_str(), "ok")] {
        let store = claimed(&database.url, id, 77);
        store.migrate_schema().await.unwrap();
        runs_out(&|sql| database.sql(sql));
        assert!(matches!(store.renew_lease().await, Ok(Answer::Granted(_))), "{id}");
        lasts(&|sql| database.sql(sql));
        let cache = cache(&server.url());
        cache.claim(holder(id, 77));
        assert_eq!(cache.renew_lease().await.unwrap(), Answer::Granted(1), "{id}");
        let found = found();
        assert_eq!(found.len(), 2, "{found:?}");
        for (said, what) in &found {
            assert_eq!(said, verdict, "{what}");
            assert!(what.contains("held by process 77 on trading-1, since "), "{what}");
            assert!(what.contains("runs out in "), "{what}");
        }
        cache.release_lease().await;
    }
    runs_out(&|sql| database.sql(sql));
    assert_eq!(found(), nobody);
}

/// Asks the database itself.
type Sql<'s> = &'s dyn Fn(&str) -> String;

fn store(url: &str) -> Store {
    Store::Postgres(Postgres::new(&SecretString::from(url.to_owned()), 3).unwrap())
}

fn holder(id: &str, pid: u32) -> Holder {
    Holder {
        id: id.to_owned(),
        host: "trading-1".to_owned(),
        pid,
        since: OPEN,
    }
}

fn claimed(url: &str, id: &str, pid: u32) -> Store {
    let store = store(url);
    store.claim(holder(id, pid));
    store
}

/// Whose the lease is, when it is not the one's who asks.
fn other(answer: &Answer) -> (&str, u32) {
    match answer {
        Answer::Held(held) => {
            assert!(
                held.left <= limits::LEASE_TTL && held.left > Duration::from_secs(1),
                "{held:?}"
            );
            (held.by.host.as_str(), held.by.pid)
        }
        Answer::Granted(term) => panic!("granted under term {term}"),
    }
}

/// However slow the machine is.
fn lasts(sql: Sql<'_>) {
    sql("UPDATE candela_lease SET expires_at = now() + interval '1 minute'");
}

/// As when its holder died a while ago.
fn runs_out(sql: Sql<'_>) {
    sql("UPDATE candela_lease SET expires_at = now() - interval '1 second'");
}

async fn is_one_at_a_time(sql: Sql<'_>, url: &str) {
    store(url).migrate_schema().await.unwrap();
    let (one, two) = (claimed(url, "one", 11), claimed(url, "two", 12));
    assert_eq!(one.renew_lease().await.unwrap(), Answer::Granted(1));
    assert_eq!(other(&two.renew_lease().await.unwrap()), ("trading-1", 11));
    assert_eq!(one.renew_lease().await.unwrap(), Answer::Granted(1), "renewed");
    let restarted = claimed(url, "one", 13);
    assert_eq!(restarted.renew_lease().await.unwrap(), Answer::Granted(2), "at once");
    runs_out(sql);
    assert_eq!(two.renew_lease().await.unwrap(), Answer::Granted(3));
    assert_eq!(other(&restarted.renew_lease().await.unwrap()), ("trading-1", 12));
    runs_out(sql);
    assert_eq!(
        two.renew_lease().await.unwrap(),
        Answer::Granted(3),
        "nobody else took it"
    );
    two.release_lease().await;
    assert!(
        matches!(two.renew_lease().await, Err(StoreError::NoLease)),
        "given back"
    );
    assert_eq!(
        restarted.renew_lease().await.unwrap(),
        Answer::Granted(4),
        "nobody waits for one that was given back"
    );
}

#[tokio::test]
async fn one_at_a_time_has_the_lease_of_a_database_and_one_that_died_is_succeeded() {
    let database = postgres();
    is_one_at_a_time(&|sql| database.sql(sql), &database.url).await;
}

#[tokio::test]
async fn behind_a_pooler_that_keeps_no_session_the_lease_holds_as_well() {
    let server = Server::start(Reach::default());
    let database = server.database();
    let pooler = PgBouncer::before(&server.socket());
    let url = pooler.url(&database.name);
    let sql = |sql: &str| server.sql(&database.name, sql);
    is_one_at_a_time(&sql, &url).await;
    fences_what_writes(&sql, &url).await;
}

#[tokio::test]
async fn a_lease_says_who_led_last_and_is_not_taken_again_by_one_that_lost_it() {
    let database = postgres();
    let url = &database.url;
    let sql: Sql<'_> = &|sql| database.sql(sql);
    store(url).migrate_schema().await.unwrap();
    let [one, two, three] = [("one", 11), ("two", 12), ("three", 13)].map(|(id, pid)| claimed(url, id, pid));
    one.claim_for_leader();
    assert_eq!(one.take_free_lease().await.unwrap(), Answer::Granted(1));
    let first = Succession {
        term: 1,
        from: None,
        provable: true,
    };
    assert_eq!(one.succession(), first);
    assert!(one.set_provable(false).await.unwrap());
    assert_eq!(other(&two.take_free_lease().await.unwrap()), ("trading-1", 11));
    runs_out(sql);
    assert_eq!(two.take_free_lease().await.unwrap(), Answer::Granted(2));
    let from_one = |term| Succession {
        term,
        from: Some("one".to_owned()),
        provable: false,
    };
    assert_eq!(two.succession(), from_one(2));
    runs_out(sql);
    assert_eq!(three.take_free_lease().await.unwrap(), Answer::Granted(3));
    assert_eq!(three.succession(), from_one(3), "two never led");
    assert!(!two.set_provable(true).await.unwrap(), "the lease is another's");
    assert!(three.set_provable(true).await.unwrap());
    runs_out(sql);
    for _ in 0..2 {
        let answer = one.renew_lease().await.unwrap();
        assert!(
            matches!(&answer, Answer::Held(held) if held.by.id == "three"),
            "{answer:?}"
        );
    }
    assert_eq!(
        two.renew_lease().await.unwrap(),
        Answer::Granted(4),
        "who may ask again gets it"
    );
    assert_eq!(two.succession().from.as_deref(), Some("three"));
    assert!(two.succession().provable);
}

/// Twenty that begin at once, on a database that nobody has written to.
#[tokio::test]
async fn of_many_that_ask_at_once_one_gets_the_lease() {
    let database = postgres();
    store(&database.url).migrate_schema().await.unwrap();
    let many: Vec<Store> = (0..20)
        .map(|pid| claimed(&database.url, &format!("n{pid}"), pid))
        .collect();
    let answers = futures_util::future::join_all(many.iter().map(Store::renew_lease)).await;
    let granted = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Answer::Granted(_))))
        .count();
    assert_eq!(granted, 1, "{answers:?}");
    assert_eq!(database.sql("SELECT term FROM candela_lease"), "1");
}

/// Ticks of two pairs.
fn ticks(count: u64) -> Batch {
    let mut day = Day::new();
    for i in 0..count {
        let at = OPEN + Duration::from_micros(i * 290_000_000 / count);
        day.tick(at, OPEN, 4_012_350_000 + i64::try_from(i % 977).unwrap() * 100);
    }
    batch(&day.entries)
}

fn health() -> HealthRow {
    HealthRow {
        status: "active".to_owned(),
        details: serde_json::json!({}),
        response_ms: None,
        error: None,
        at: OPEN,
    }
}

/// The tables that a writer fills.
const WRITTEN: [&str; 8] = [
    "realtime_market_data",
    "market_data",
    "bar_revisions",
    "gaps",
    "quality_log",
    "system_health",
    "reader_positions",
    "rejected_events",
];

/// Each way to write, by one who had the lease and does not know yet that another has it.
async fn fences_what_writes(sql: Sql<'_>, url: &str) {
    let rows = || WRITTEN.map(|table| sql(&format!("SELECT count(*) FROM {table}")));
    sql("DELETE FROM candela_lease");
    let ways: [(&str, Batch); 3] = [
        ("ticks alone", ticks(20)),
        ("by COPY", ticks(2_000)),
        ("a day", batch(&Day::recorded())),
    ];
    for (at, (way, batch)) in ways.into_iter().enumerate() {
        let first = claimed(url, &format!("{way} old"), 1);
        first.renew_lease().await.unwrap();
        first.ping().await.unwrap();
        runs_out(sql);
        let second = claimed(url, &format!("{way} new"), 2);
        second.renew_lease().await.unwrap();
        lasts(sql);
        let before = rows();
        let refused = first.write(batch.clone()).await;
        assert_eq!(refused, Err(StoreError::NoLease), "{way}");
        assert_eq!(rows(), before, "{way}");
        assert_eq!(
            first.write(batch.clone()).await,
            Err(StoreError::NoLease),
            "{way}: also when it is known"
        );
        runs_out(sql);
        let third = claimed(url, &format!("{way} newest"), 3);
        third.renew_lease().await.unwrap();
        lasts(sql);
        let refused = second.record_health(health()).await;
        assert_eq!(
            (refused, rows()),
            (Ok(()), before.clone()),
            "{way}: nothing of its health"
        );
        third.write(batch.clone()).await.unwrap();
        assert_ne!(rows(), before, "{way}: who has it writes");
        third.record_health(health()).await.unwrap();
        assert_eq!(sql("SELECT count(*) FROM system_health"), (at + 1).to_string());
        let all = rows();
        let later = Timestamp::from_secs(2_000_000_000);
        assert_eq!(
            second.forget_ticks(later, 100).await,
            Ok(0),
            "{way}: nor does it delete"
        );
        third.write(batch).await.unwrap();
        assert_eq!(rows(), all, "{way}: what is there is there once");
        runs_out(sql);
    }
    let left = sql("SELECT count(*) FROM realtime_market_data");
    let keeper = claimed(url, "keeper", 4);
    keeper.renew_lease().await.unwrap();
    assert_ne!(left, "0");
    assert_ne!(
        keeper.forget_ticks(Timestamp::from_secs(2_000_000_000), 100_000).await,
        Ok(0)
    );
}

#[tokio::test]
async fn who_lost_the_lease_writes_not_one_row_whatever_the_way() {
    let database = postgres();
    store(&database.url).migrate_schema().await.unwrap();
    fences_what_writes(&|sql| database.sql(sql), &database.url).await;
}

#[tokio::test]
async fn a_row_that_is_refused_is_not_set_aside_by_one_without_the_lease() {
    let database = postgres();
    store(&database.url).migrate_schema().await.unwrap();
    database.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE candela_lease SET holder = 'another', term = term + 1; RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON realtime_market_data FOR EACH ROW WHEN (NEW.seq = 7) EXECUTE FUNCTION refuse()",
    );
    let writer = claimed(&database.url, "one", 1);
    let written = writer.write(ticks(20)).await.unwrap();
    assert_eq!(
        written.rejected, 2,
        "what a trigger does is undone with it: the lease is ours"
    );
    database.sql("UPDATE candela_lease SET holder = 'another', term = term + 1");
    let mut later = ticks(40);
    later.events.drain(..20);
    assert_eq!(writer.write(later).await, Err(StoreError::NoLease));
    assert_eq!(database.sql("SELECT count(*) FROM rejected_events"), "2");
}

/// The lease is renewed while a transaction that relies on it goes on, and nobody takes it over until that has ended.
#[tokio::test]
async fn a_long_transaction_keeps_the_lease_from_others_and_not_from_its_holder() {
    let database = postgres();
    store(&database.url).migrate_schema().await.unwrap();
    let (one, two) = (claimed(&database.url, "one", 1), claimed(&database.url, "two", 2));
    one.renew_lease().await.unwrap();
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let driven = async move { connection.await.unwrap() };
    let checks = async move {
        let fence = "BEGIN; SELECT 1 FROM candela_lease WHERE name = 'writer' AND term = 1 FOR KEY SHARE";
        client.batch_execute(fence).await.unwrap();
        assert_eq!(one.renew_lease().await.unwrap(), Answer::Granted(1));
        client.batch_execute("SAVEPOINT s").await.unwrap();
        runs_out(&|sql| database.sql(sql));
        let taken = tokio::time::timeout(Duration::from_millis(300), two.renew_lease()).await;
        assert!(taken.is_err(), "{taken:?}");
        client.batch_execute("COMMIT").await.unwrap();
        let taken = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                if let Ok(Answer::Granted(term)) = two.renew_lease().await {
                    return term;
                }
            }
        });
        assert!(taken.await.unwrap() > 1);
    };
    tokio::select! {
        () = checks => {}
        () = driven => {}
    }
}

fn entry(seq: u64) -> StreamAdd {
    StreamAdd {
        channel: Channel::ticks(Symbol::usdcop()),
        id: StreamId { generation: 1, seq },
        epoch: Epoch::from_random(1),
        message: "{}".to_owned(),
    }
}

fn news(seq: u64) -> News {
    News {
        latest: vec![(Symbol::usdcop(), OPEN, format!("{{\"price\":{seq}}}"))],
        entries: vec![entry(seq)],
        updates: vec!["{}".to_owned()],
    }
}

#[tokio::test]
async fn who_lost_the_lease_of_redis_writes_trims_and_deletes_nothing_there() {
    let server = redis();
    let claimed = |id: &str, pid| {
        let cache = cache(&server.url());
        cache.claim(holder(id, pid));
        cache
    };
    let (one, two) = (claimed("one", 11), claimed("two", 12));
    assert_eq!(one.renew_lease().await.unwrap(), Answer::Granted(1));
    assert_eq!(other(&two.renew_lease().await.unwrap()), ("trading-1", 11));
    one.tell(news(1), OPEN).await.unwrap();
    let stands = || async {
        let stream = ask(&server.url(), &["XRANGE", "candela:stream:ticks:USD/COP", "-", "+"]).await;
        (stream, ask(&server.url(), &["GET", "usdcop:latest_price"]).await)
    };
    let before = stands().await;
    let refuses = async |cache: &Cache| {
        for told in [cache.tell(news(9), OPEN).await.map(drop), fill(cache).await] {
            assert!(
                matches!(&told, Err(CacheError::AnotherWriter(other)) if other.by.is_some()),
                "{told:?}"
            );
        }
    };
    refuses(&two).await;
    assert_eq!(stands().await, before);
    // Its holder died: nobody renews it.
    ask(&server.url(), &["PEXPIRE", "candela:writer", "1"]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    two.tell(news(2), OPEN).await.unwrap();
    let before = stands().await;
    refuses(&one).await;
    assert_eq!(stands().await, before);
    assert_eq!(other(&one.renew_lease().await.unwrap()), ("trading-1", 12));
    // The same ledger folder again is in at once; a flush by a stranger costs nobody his lease.
    let restarted = claimed("two", 13);
    restarted.tell(news(3), OPEN).await.unwrap();
    ask(&server.url(), &["FLUSHALL"]).await;
    restarted.tell(news(4), OPEN).await.unwrap();
    refuses(&one).await;
    restarted.release_lease().await;
    one.tell(news(5), OPEN).await.unwrap();
    assert!(restarted.tell(news(6), OPEN).await.is_err(), "given back");
    let Value::BulkString(line) = ask(&server.url(), &["GET", "candela:writer"]).await else {
        panic!("no holder")
    };
    assert_eq!(
        Holder::of_line(&String::from_utf8(line).unwrap()),
        Some(holder("one", 11))
    );
}

async fn fill(cache: &Cache) -> Result<(), CacheError> {
    let redis = cache.streams().unwrap();
    redis
        .fill(Channel::ticks(Symbol::usdcop()), Clear::Delete, &[entry(7)])
        .await
        .map(drop)
}

#[tokio::test]
async fn a_key_of_somebody_elses_in_the_place_of_the_lease_is_never_taken_for_ours() {
    let server = redis();
    let cache = cache(&server.url());
    cache.claim(holder("one", 11));
    ask(&server.url(), &["SET", "candela:writer", "mine"]).await;
    let said = cache.tell(news(1), OPEN).await.unwrap_err().to_string();
    assert!(said.contains("candela:writer is \"mine\""), "{said}");
}
