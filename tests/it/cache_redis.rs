//! The cache on real servers: what the old service's readers see, bounded streams, refusals and outages.

use crate::recorded::{Day, OPEN, ledger, symbols};
use crate::servers::{Reach, Redis as Server, redis};
use crate::writing::{any_store, services};
use actix::Actor;
use candela::actors::followers::Publisher;
use candela::actors::messages::{Recorded, Report};
use candela::cache::{Cache, CacheError, Memory, News, Redis};
use candela::clock::Clock;
use candela::domain::followers::ReaderView;
use candela::domain::model::{JournalEntry, Symbol};
use candela::limits;
use futures_util::StreamExt;
use redis::{AsyncCommands, Value};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn cache(url: &str) -> Cache {
    Cache::Redis(Redis::new(&SecretString::from(url.to_owned())).unwrap())
}

pub(crate) async fn ask(url: &str, command: &[&str]) -> Value {
    let mut connection = redis::Client::open(url)
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let mut built = redis::cmd(command[0]);
    for argument in &command[1..] {
        built.arg(*argument);
    }
    built.query_async(&mut connection).await.unwrap()
}

async fn the_latest_price_is_there_until_it_is_old(cache: Cache) {
    let news = News {
        latest: vec![(Symbol::usdcop(), OPEN, "{\"price\":1}".to_owned())],
        ..News::default()
    };
    cache.tell(news, OPEN).await.unwrap();
    assert_eq!(
        cache.latest(Symbol::usdcop(), OPEN).await.unwrap().as_deref(),
        Some("{\"price\":1}")
    );
    assert_eq!(cache.latest(symbols()[1], OPEN).await.unwrap(), None);
    assert!(cache.ping().await.unwrap() < Duration::from_secs(5));
}

#[tokio::test]
async fn memory_keeps_the_latest_price_until_it_is_old() {
    let cache = Cache::Memory(Memory::default());
    the_latest_price_is_there_until_it_is_old(cache.clone()).await;
    assert_eq!(
        cache.latest(Symbol::usdcop(), OPEN + limits::LATEST_TTL).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn redis_keeps_the_latest_price_until_it_is_old() {
    let server = redis();
    the_latest_price_is_there_until_it_is_old(cache(&server.url())).await;
    let Value::Int(left) = ask(&server.url(), &["TTL", "usdcop:latest_price"]).await else {
        panic!("no TTL")
    };
    assert!((295..=300).contains(&left), "{left}");
    let stale = News {
        latest: vec![(symbols()[1], OPEN, "old".to_owned())],
        ..News::default()
    };
    cache(&server.url())
        .tell(stale, OPEN + limits::LATEST_TTL)
        .await
        .unwrap();
    assert_eq!(
        ask(&server.url(), &["EXISTS", "usdmxn:latest_price"]).await,
        Value::Int(0)
    );
}

#[tokio::test]
async fn password_and_database_number_come_from_the_url() {
    let server = Server::start(Reach {
        tcp: true,
        password: Some("s3cret"),
        tls: false,
    });
    let url = server.url().replace("/0", "/3");
    the_latest_price_is_there_until_it_is_old(cache(&url)).await;
    assert_eq!(ask(&url, &["EXISTS", "usdcop:latest_price"]).await, Value::Int(1));
    assert_eq!(
        ask(&server.url(), &["EXISTS", "usdcop:latest_price"]).await,
        Value::Int(0)
    );
    let error = cache(&url.replace("s3cret", "wr0ng"))
        .tell(price(), OPEN)
        .await
        .unwrap_err();
    assert!(
        matches!(error, CacheError::LoginRefused(_)) && !error.to_string().contains("wr0ng"),
        "{error}"
    );
    let without = cache(&url.replace(":s3cret@", "")).ping().await.unwrap_err();
    assert!(matches!(without, CacheError::LoginRefused(_)), "{without}");
    for (url, part) in [
        ("redis://:s3cret@host:port/0", "%2F"),
        ("redis://:s3/s3cret@host/0", "%2F"),
        ("redis://:s3cret@host/0?colour=red", "unknown option `colour`"),
        ("rediss://:s3cret@host/0?sslrootcert=/nowhere", "/nowhere"),
    ] {
        let bad = Redis::new(&SecretString::from(url.to_owned())).unwrap_err();
        let text = bad.to_string();
        assert!(matches!(bad, CacheError::BadUrl(_)), "{text}");
        assert!(text.contains(part) && !text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn tls_is_spoken_to_a_server_whose_authority_is_known() {
    if !Server::speaks_tls() {
        println!("skipped: this server was built without TLS");
        return;
    }
    let tls = Server::start(Reach {
        tcp: true,
        password: Some("s3cret"),
        tls: true,
    });
    the_latest_price_is_there_until_it_is_old(cache(&format!(
        "{}?sslrootcert={}",
        tls.url(),
        tls.authority().display()
    )))
    .await;
    assert!(
        cache(&tls.url()).tell(price(), OPEN).await.is_err(),
        "an unknown authority is not believed"
    );
}

fn price() -> News {
    News {
        latest: vec![(Symbol::usdcop(), OPEN, "{}".to_owned())],
        ..News::default()
    }
}

#[actix_rt::test]
async fn an_old_subscriber_hears_every_tick_and_an_outage_ends_by_itself() {
    let mut server = Server::start(Reach {
        tcp: true,
        password: None,
        tls: false,
    });
    let url = server.url();
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(folder.path());
    let clock = Clock::manual(OPEN + Duration::from_secs(1));
    let places = (any_store(folder.path()), cache(&url));
    let (services, reports) = services(&ledger, places, clock.clone());
    let mut view = services.views.cache.subscribe();
    let publisher = Publisher::new(services).start();
    let mut listener = redis::Client::open(url.as_str())
        .unwrap()
        .get_async_pubsub()
        .await
        .unwrap();
    listener.subscribe("market_data:realtime").await.unwrap();

    let mut day = Day::new();
    for i in 0..20 {
        let at = OPEN + Duration::from_millis(100 * i);
        day.tick(at, OPEN, 4_012_350_000 + i64::try_from(i).unwrap() * 10_000);
    }
    let told = || Arc::new([]);
    let head = ledger.append(&day.entries).unwrap();
    publisher.try_send(Recorded { told: told(), head }).unwrap();
    let mut messages = listener.on_message();
    for i in 0..20_i64 {
        for symbol in symbols() {
            let message = tokio::time::timeout(Duration::from_secs(10), messages.next())
                .await
                .unwrap()
                .unwrap();
            let value: serde_json::Value = serde_json::from_str(&message.get_payload::<String>().unwrap()).unwrap();
            assert_eq!(value["type"], "price_update");
            assert_eq!(value["data"]["symbol"], symbol.compact());
            let price = value["data"]["price"].as_f64().unwrap();
            let expect = 4_012.35 + f64::from(i32::try_from(i).unwrap()) * 0.01;
            assert!((price - expect).abs() < 1e-4, "{price} {expect}");
        }
    }
    drop(messages);
    let Value::BulkString(latest) = ask(&url, &["GET", "usdcop:latest_price"]).await else {
        panic!("no price")
    };
    assert!(String::from_utf8(latest).unwrap().contains("\"price\":4012.54,"));

    server.kill();
    let more: Vec<JournalEntry> = {
        let begun = day.entries.len();
        day.tick(OPEN + Duration::from_millis(2_500), OPEN, 4_020_000_000);
        day.entries[begun..].to_vec()
    };
    let head = ledger.append(&more).unwrap();
    publisher.try_send(Recorded { told: told(), head }).unwrap();
    let lost = tokio::time::timeout(Duration::from_secs(20), view.wait_for(|view| view.trouble.is_some())).await;
    drop(lost.expect("trouble shows").unwrap());
    server.restart();
    clock.advance(Duration::from_secs(5));
    publisher.try_send(Recorded { told: told(), head }).unwrap();
    let is_back = |view: &ReaderView| view.position == head && view.trouble.is_none();
    let back = tokio::time::timeout(Duration::from_secs(20), view.wait_for(is_back)).await;
    drop(back.expect("it goes on").unwrap());
    let mut connection = redis::Client::open(url.as_str())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let latest: String = connection.get("usdcop:latest_price").await.unwrap();
    assert!(latest.contains("\"price\":4020.0,"), "{latest}");
    let reports = reports.lock().unwrap().clone();
    assert!(
        matches!(reports[..], [Report::CacheLost { .. }, Report::CacheBack]),
        "{reports:?}"
    );
}
