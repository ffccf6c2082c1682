//! What a server with tokens, origins and history shows to which client.

use crate::domain::model::{Always, Symbol};
use crate::store::{Batch, Sqlite, Store};
use crate::web::server::{TlsFiles, tls::config};
use crate::web::tests::{memory_ledger::epoch, stage::Stage};
use crate::web::{Tokens, WebParts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn with_tokens(file: &tempfile::NamedTempFile) -> impl FnOnce(&mut WebParts) {
    let hash = |token: &str| -> String {
        Sha256::digest(token.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    std::fs::write(
        file.path(),
        format!("all:{}\npesos:{}:USD/COP\n", hash("sesame"), hash("peso")),
    )
    .unwrap();
    let tokens = Arc::new(Tokens::open(file.path()).unwrap());
    move |parts| parts.extras.tokens = Some(tokens)
}

#[actix_rt::test]
async fn a_token_is_taken_from_the_header_the_subprotocol_or_the_first_message() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stage = Stage::with(with_tokens(&file));
    for more in [
        "Authorization: Bearer sesame\r\n",
        "Sec-WebSocket-Protocol: candela.v1, bearer.sesame\r\n",
    ] {
        let mut client = stage.raw("/ws", more).await;
        assert!(client.head().await.contains("101"), "{more}");
        assert_eq!(client.json().await["authenticated"], true, "{more}");
    }
    let mut client = stage.client("/ws").await;
    let welcome = client.json().await;
    assert_eq!(
        (&welcome["authenticated"], &welcome["symbols"]),
        (&json!(false), &json!([]))
    );
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:*"]}))
        .await;
    assert_eq!(client.json().await["code"], 1100);
    client.say(&json!({"action": "auth", "token": "peso"})).await;
    let answer = client.json().await;
    assert_eq!(
        (&answer["type"], &answer["symbols"]),
        (&json!("authenticated"), &json!(["USD/COP"]))
    );
    client.until("subscribed").await;
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:EUR/USD"]}))
        .await;
    assert_eq!(client.until("error").await.last().unwrap()["code"], 1105);
}

#[actix_rt::test]
async fn a_token_that_does_not_open_what_is_asked_for_is_told_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stage = Stage::with(with_tokens(&file));
    for path in ["/ws/EURUSD", "/ws?channels=ticks:EUR/USD"] {
        let mut client = stage.raw(path, "Authorization: Bearer peso\r\n").await;
        assert!(client.head().await.contains("101"), "{path}");
        assert_eq!(client.closed().await.0, 4503, "{path}");
    }
    let bearer = "Authorization: Bearer peso\r\n";
    assert!(
        stage
            .get_with("/market/latest?symbol=EURUSD", bearer)
            .await
            .0
            .contains("403")
    );
    assert!(
        stage
            .get_with("/market/latest?symbol=USDCOP", bearer)
            .await
            .0
            .contains("404"),
        "nothing was told yet"
    );
}

#[actix_rt::test]
async fn parcels_of_a_cluster_are_for_tokens_of_every_pair() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stage = Stage::with(with_tokens(&file));
    let path = "/cluster/parcels?from=1";
    for (bearer, code) in [
        ("", "401"),
        ("Authorization: Bearer peso\r\n", "403"),
        ("Authorization: Bearer sesame\r\n", "200"),
    ] {
        let (status, _) = stage.get_with(path, bearer).await;
        assert!(status.contains(code), "{bearer}: {status}");
    }
}

#[actix_rt::test]
async fn a_wrong_token_opens_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stage = Stage::with(with_tokens(&file));
    let mut client = stage.raw("/ws", "Authorization: Bearer guess\r\n").await;
    assert!(client.head().await.contains("401"));
    let mut client = stage.raw("/ws", "Sec-WebSocket-Protocol: bearer.guess\r\n").await;
    assert!(client.head().await.contains("101"));
    assert_eq!(client.closed().await.0, 4501);
    let mut client = stage.client("/ws").await;
    client.say(&json!({"action": "auth", "token": "guess"})).await;
    assert_eq!(client.closed().await.0, 4501);
    assert!(stage.get("/status").await.0.contains("401"));
    assert!(stage.get("/health").await.0.contains("200"));
    let (head, _) = stage.get_with("/status", "Authorization: Bearer sesame\r\n").await;
    assert!(head.contains("200"), "{head}");
}

#[actix_rt::test]
async fn pages_of_listed_origins_may_read_answers() {
    let stage = Stage::new();
    let (head, _) = stage.get_with("/health", "Origin: http://localhost:3000\r\n").await;
    assert!(
        head.contains("access-control-allow-origin: http://localhost:3000"),
        "{head}"
    );
    let (head, _) = stage.get_with("/health", "Origin: https://evil.example\r\n").await;
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    assert!(head.contains("x-request-id") && head.contains("nosniff"), "{head}");
}

#[actix_rt::test]
async fn history_is_read_in_pages_and_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
    let (kept, asked) = (store.clone(), store);
    let stage = Stage::with(move |parts| {
        parts.extras.store = Some(asked);
        parts.extras.calendars = vec![(Symbol::usdcop(), Arc::new(Always))];
    });
    let mut events = stage.write_ticks(3);
    events.push(stage.write_bar());
    let head = |event: &crate::domain::model::Sequenced| {
        Some((
            event.channel?,
            crate::domain::model::Head {
                epoch: epoch(),
                seq: event.seq,
            },
        ))
    };
    let heads: BTreeMap<_, _> = events.iter().filter_map(head).collect();
    let batch = Batch {
        reader: "test",
        lineage: "test".to_owned(),
        events,
        heads: Arc::new(heads),
    };
    kept.write(batch).await.unwrap();
    let (_, body) = stage.get("/market/bars?symbol=USDCOP").await;
    assert_eq!(
        (&body["count"], &body["bars"][0]["close"]),
        (&json!(1), &json!(4000)),
        "{body}"
    );
    let (_, body) = stage.get("/market/ticks?limit=2").await;
    assert_eq!(
        (&body["count"], &body["ticks"][1]["seq"]),
        (&json!(2), &json!(2)),
        "{body}"
    );
    let next = body["next_cursor"].as_str().unwrap();
    for rest in [format!("cursor={next}"), "after_seq=2".to_owned()] {
        let (_, body) = stage.get(&format!("/market/ticks?limit=2&{rest}")).await;
        assert_eq!(
            (&body["count"], &body["ticks"][0]["seq"], &body["next_cursor"]),
            (&json!(1), &json!(3), &Value::Null),
            "{rest} {body}"
        );
    }
    let (_, body) = stage.get("/market/calendar?from=2025-10-22&to=2025-10-24").await;
    assert_eq!(body["days"].as_array().unwrap().len(), 3, "{body}");
    assert_eq!(body["days"][0]["date"], "2025-10-22");
    for (path, parameter) in [
        ("/market/bars?interval=7m", "interval"),
        ("/market/bars?limit=0", "limit"),
        ("/market/ticks?cursor=7", "cursor"),
        ("/market/ticks?cursor=9223372036854775807-1", "cursor"),
        ("/market/bars?from=yesterday", "from"),
        ("/market/bars?form=csv", "form"),
        ("/market/bars?limit=1&limit=2", "limit"),
        ("/market/gaps?status=odd", "status"),
        ("/market/certificates?from=yesterday", "from"),
        ("/market/certificates?from=2026-03-02&to=2026-03-01", "to"),
        ("/market/certificates?cursor=2026-03-02", "cursor"),
        ("/market/calendar?from=2025-10-22&to=2035-10-22", "to"),
    ] {
        let (status, body) = stage.get(path).await;
        assert!(status.contains("400"), "{path}: {status}");
        assert_eq!(body["parameter"], parameter, "{body}");
    }
}

#[test]
fn a_certificate_and_its_key_are_used_and_a_strange_pair_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            cert: folder.path().join(format!("{name}.pem")),
            key: folder.path().join(format!("{name}.key")),
        };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    };
    let (one, other) = (write("one"), write("other"));
    assert!(config(&one).is_ok());
    let mixed = TlsFiles {
        key: other.key,
        ..one.clone()
    };
    assert!(config(&mixed).unwrap_err().to_string().contains("private key"));
    let missing = TlsFiles {
        cert: folder.path().join("none.pem"),
        ..one
    };
    assert!(config(&missing).unwrap_err().to_string().contains("none.pem"));
}

#[actix_rt::test]
async fn an_event_stream_asks_for_the_same_tokens() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stage = Stage::with(with_tokens(&file));
    for (path, more, code, kind) in [
        ("/sse", "", "401", "unauthenticated"),
        ("/sse?token=sesame", "", "401", "unauthenticated"), // query tokens are off
        ("/sse", "Authorization: Bearer nonsense\r\n", "401", "auth_failed"),
        (
            "/sse?channels=ticks:EUR/USD",
            "Authorization: Bearer peso\r\n",
            "403",
            "forbidden",
        ),
    ] {
        let (head, body) = stage.get_with(path, more).await;
        assert!(
            head.contains(code) && body["type"].as_str().unwrap().ends_with(kind),
            "{path}: {head} {body}"
        );
    }
    let open = |path: &str| format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer peso\r\n\r\n");
    let mut client = stage.send(&open("/sse?channels=ticks:*")).await;
    assert!(client.head().await.contains("200"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let tokens = with_tokens(&file);
    let stage = Stage::with(|parts| {
        tokens(parts);
        parts.extras.query_tokens = true;
    });
    let mut client = stage.send("GET /sse?token=sesame HTTP/1.0\r\n\r\n").await;
    assert!(client.head().await.contains("200"));
}
