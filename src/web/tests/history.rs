//! How history is read: page by page, as a stream, by caches, and which requests are refused.

use crate::domain::calendar::Calendar;
use crate::domain::model::{Bar, Channel, Event, Head, Interval, Ohlc, Price, Sessions, SlotGrid, Symbol, Timestamp};
use crate::store::{Batch, Sqlite, Store};
use crate::web::tests::{
    memory_ledger::epoch,
    stage::{Stage, bar},
};
use chrono::DateTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

#[actix_rt::test]
async fn an_answer_that_a_client_has_is_not_sent_again_and_caches_are_told_what_it_depends_on() {
    let stage = Stage::new();
    for path in ["/market/symbols", "/openapi.json", "/asyncapi.json"] {
        let (head, _) = stage.get_with(path, "").await;
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        let (head, _) = stage.get_with(path, &format!("If-None-Match: {tag}\r\n")).await;
        assert!(head.contains("304") && head.contains("vary: Origin"), "{path}: {head}");
    }
    for (more, times) in [("", 1), ("Accept-Encoding: gzip\r\n", 1)] {
        let (head, _) = stage.get_with("/market/symbols", more).await;
        let vary = head.to_ascii_lowercase().matches("vary: accept-encoding").count();
        assert_eq!((vary, head.contains("vary: Origin")), (times, true), "{head}");
    }
}

/// A server with `count` stored bars of five minutes, the first at the start of 2025-10-22 UTC.
async fn with_bars(count: u32) -> (tempfile::TempDir, Stage, Vec<String>) {
    const FIRST: Timestamp = Timestamp::from_secs(1_761_091_200);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
    let (kept, asked) = (store.clone(), store);
    let stage = Stage::with(move |parts| parts.extras.store = Some(asked));
    let opens_at = |i: u32| FIRST + Duration::from_secs(300) * i;
    let channel = Channel::bars(Interval::M5, Symbol::usdcop());
    let events: Vec<_> = (0..count)
        .map(|i| stage.number(Some(channel), Event::Bar(bar(opens_at(i)))))
        .collect();
    let head = Head {
        epoch: epoch(),
        seq: u64::from(count),
    };
    let batch = Batch {
        reader: "test",
        lineage: "test".to_owned(),
        events,
        heads: Arc::new(BTreeMap::from([(channel, head)])),
    };
    kept.write(batch).await.unwrap();
    let all = (0..count).map(|i| opens_at(i).rfc3339(chrono_tz::UTC)).collect();
    (folder, stage, all)
}

#[actix_rt::test]
async fn pages_of_bars_are_walked_to_the_end_in_both_directions() {
    let (_folder, stage, all) = with_bars(12).await;
    let walks = [
        ("", false),
        ("&order=desc", false),
        ("&order=asc", true),
        ("&from=2025-10-22T00:00Z", true),
        ("&from=2025-10-22T00:00Z&order=desc", false),
    ];
    for (question, upwards) in walks {
        let (mut walked, mut next, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let (status, body) = stage
                .get(&format!("/market/bars?symbol=USDCOP&limit=5{question}{next}"))
                .await;
            assert!(status.contains("200"), "{status} {body}");
            let page: Vec<String> = body["bars"]
                .as_array()
                .unwrap()
                .iter()
                .map(|bar| bar["open_time"].as_str().unwrap().to_owned())
                .collect();
            assert!(page.is_sorted(), "a page has its earliest bar first: {page:?}");
            if upwards {
                walked.extend(page);
            } else {
                walked.splice(0..0, page);
            }
            pages += 1;
            match body["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        let instants = |texts: &[String]| {
            texts
                .iter()
                .map(|text| DateTime::parse_from_rfc3339(text).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!((instants(&walked), pages), (instants(&all), 3), "{question}");
    }
    let (head, _) = stage.get_with("/market/bars?format=csv&limit=5", "").await;
    assert!(
        head.contains("x-next-cursor: before:2025-10-21T19:35:00-05:00"),
        "{head}"
    );
}

/// A server that made longer bars from 10:00 on 2025-10-21 on, and has five-minute bars of that session and the two before; one of the
/// first session is missing. The price of a bar is the number of its slot, that of an hour that was stored is 9.
async fn with_history() -> (tempfile::TempDir, Stage) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
    let (kept, asked) = (store.clone(), store);
    let stage = Stage::with(move |parts| {
        parts.intervals = vec![Interval::M5, Interval::H1, Interval::D1];
        let calendar: Arc<dyn Sessions> = Arc::new(Calendar::usdcop());
        parts.extras.calendars = vec![(Symbol::usdcop(), calendar)];
        parts.extras.store = Some(asked);
    });
    let calendar = Calendar::usdcop();
    let days = ["2025-10-17", "2025-10-20", "2025-10-21"].map(|day| day.parse().unwrap());
    let mut bars = Vec::new();
    for date in days {
        let session = Sessions::on(&calendar, date).0.unwrap();
        for (slot, number) in SlotGrid::BASE.slots(&session).zip(1..) {
            let mut made = bar(slot.opens_at);
            made.ohlc = Ohlc::flat_at(Price::from_micros(number * 1_000_000));
            made.session_date = date;
            if (date, number) != (days[0], 3) {
                bars.push(made);
            }
        }
        for hour in SlotGrid::of_interval(Interval::H1).slots(&session).skip(2) {
            let mut made = bar(hour.opens_at);
            (made.key.interval, made.closes_at) = (Interval::H1, hour.closes_at);
            (made.ohlc, made.session_date) = (Ohlc::flat_at(Price::from_micros(9_000_000)), date);
            bars.extend((date == days[2]).then_some(made));
        }
    }
    let channel = |bar: &Bar| Channel::bars(bar.key.interval, Symbol::usdcop());
    let events = bars.iter();
    let events: Vec<_> = events
        .map(|bar| stage.number(Some(channel(bar)), Event::Bar(*bar)))
        .collect();
    let head = |interval| {
        let seq = events.len().try_into().unwrap();
        (Channel::bars(interval, Symbol::usdcop()), Head { epoch: epoch(), seq })
    };
    let batch = Batch {
        reader: "test",
        lineage: "test".to_owned(),
        heads: Arc::new(BTreeMap::from([head(Interval::M5), head(Interval::H1)])),
        events,
    };
    kept.write(batch).await.unwrap();
    (folder, stage)
}

/// Each bar as its open, its first and last price, and its flags; by pages of so many.
async fn walk(stage: &Stage, question: &str, limit: usize, order: &str) -> Vec<String> {
    let (mut walked, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/market/bars?{question}&limit={limit}&order={order}{next}");
        let (status, body) = stage.get(&path).await;
        assert!(status.contains("200"), "{status} {body}");
        let page = body["bars"].as_array().unwrap().iter();
        let page: Vec<String> = page
            .map(|bar| {
                let at = bar["open_time"].as_str().unwrap().get(8..16).unwrap();
                let flags = bar["flags"].as_array().map_or(0, Vec::len);
                format!("{at} {} {} {flags}", bar["open"], bar["close"])
            })
            .collect();
        let at = if order == "asc" { walked.len() } else { 0 };
        walked.splice(at..at, page);
        match body["next_cursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return walked,
        }
    }
}

#[actix_rt::test]
async fn longer_bars_of_before_the_first_stored_one_are_composed_of_five_minute_bars() {
    let (_folder, stage) = with_history().await;
    // The hour with the missing part says so, and the last hour of a session is cut at 12:55.
    let expect = [
        "17T08:00 1 12 1",
        "17T09:00 13 24 0",
        "17T10:00 25 36 0",
        "17T11:00 37 48 0",
        "17T12:00 49 59 1",
        "20T08:00 1 12 0",
        "20T09:00 13 24 0",
        "20T10:00 25 36 0",
        "20T11:00 37 48 0",
        "20T12:00 49 59 1",
        "21T08:00 1 12 0",
        "21T09:00 13 24 0",
        "21T10:00 9 9 0",
        "21T11:00 9 9 0",
        "21T12:00 9 9 0",
    ];
    let hours = "symbol=USDCOP&interval=1h&from=2025-10-17&to=2025-10-22";
    for limit in [1, 2, 3, 7, 100] {
        for order in ["asc", "desc"] {
            assert_eq!(walk(&stage, hours, limit, order).await, expect, "{limit} {order}");
        }
    }
    let from_within = "symbol=USDCOP&interval=1h&from=2025-10-20T08:30&to=2025-10-20T10:30";
    assert_eq!(
        walk(&stage, from_within, 9, "asc").await,
        expect[6..8],
        "whole bars only"
    );
    let days = walk(
        &stage,
        "symbol=USDCOP&interval=1d&from=2025-10-01&to=2025-10-30",
        2,
        "asc",
    )
    .await;
    assert_eq!(days, ["17T08:00 1 59 1", "20T08:00 1 59 0", "21T08:00 1 59 0"]);
    let mut client = stage
        .send(&format!("GET /market/bars?{hours}&format=csv HTTP/1.0\r\n\r\n"))
        .await;
    assert!(client.head().await.contains("200"));
    let mut body = client.bytes.to_vec();
    client.stream.read_to_end(&mut body).await.unwrap();
    assert_eq!(String::from_utf8(body).unwrap().lines().count(), expect.len() + 1);
    let (_, chart) = stage
        .get("/udf/history?symbol=USDCOP&resolution=60&from=1&to=1761137999&countback=15")
        .await;
    assert_eq!(chart["t"].as_array().map(Vec::len), Some(expect.len()), "{chart}");
    let (_, chart) = stage
        .get("/udf/history?symbol=USDCOP&resolution=1D&from=1&to=1761137999&countback=9")
        .await;
    assert_eq!(chart["c"].to_string(), "[59,59,59]", "{chart}");
}

#[actix_rt::test]
async fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let (_folder, stage, all) = with_bars(12).await;
    for more in ["", "Connection: keep-alive\r\n"] {
        let mut client = stage
            .send(&format!("GET /market/bars?format=csv HTTP/1.0\r\n{more}\r\n"))
            .await;
        let head = client.head().await.to_ascii_lowercase();
        assert!(
            head.contains(" 200 ") && !head.contains("chunked") && !head.contains("keep-alive"),
            "{head}"
        );
        let mut body = client.bytes.to_vec();
        client.stream.read_to_end(&mut body).await.unwrap();
        let text = String::from_utf8(body).unwrap();
        assert!(text.starts_with("symbol,interval,"), "{text}");
        assert_eq!(text.lines().count(), all.len() + 1, "{text}");
    }
}

#[actix_rt::test]
async fn a_parameter_that_a_websocket_does_not_know_is_refused_with_the_right_way() {
    let stage = Stage::new();
    for (path, parameter) in [
        ("/ws?symbol=EURUSD", "symbol"),
        ("/ws/USDCOP?chanels=status", "chanels"),
    ] {
        let (status, body) = stage.get(path).await;
        assert!(status.contains("400"), "{path}: {status}");
        assert_eq!(body["parameter"], parameter, "{body}");
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains("/ws/USDCOP") && detail.contains("channels"), "{detail}");
    }
}
