//! How history is read: page by page, as a stream, by caches, and which requests are refused.

use crate::domain::model::{Channel, Event, Head, Interval, Symbol, Timestamp};
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
