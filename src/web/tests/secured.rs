//! Clients over TLS: the session sends through the body of its response, and must keep the same promises.

use crate::domain::protocol::Close;
use crate::web::server::TlsFiles;
use crate::web::tests::stage::Stage;
use actix_codec::Framed;
use awc::BoxedSocket;
use awc::ws::{Codec, Frame, Message};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct Secured {
    socket: Framed<BoxedSocket, Codec>,
}

impl Secured {
    async fn connect(stage: &Stage, files: &TlsFiles) -> Self {
        Self::connect_to(stage, files, "/ws/USDCOP").await
    }

    async fn connect_to(stage: &Stage, files: &TlsFiles, path: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.cert).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = versions.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = awc::Connector::new().rustls_0_23(Arc::new(config));
        let client = awc::Client::builder().connector(connector).finish();
        let url = format!("wss://localhost:{}{path}", stage.server.address().port());
        let (_, socket) = client.ws(url).connect().await.unwrap();
        Self { socket }
    }

    async fn frame(&mut self) -> Option<Frame> {
        let frame = tokio::time::timeout(Duration::from_secs(10), self.socket.next()).await;
        frame.expect("the server answers in time").map(Result::unwrap)
    }

    async fn until(&mut self, kind: &str) -> Value {
        loop {
            match self.frame().await.unwrap() {
                Frame::Text(text) => {
                    let message: Value = serde_json::from_slice(&text).unwrap();
                    if message["type"] == kind {
                        return message;
                    }
                }
                Frame::Ping(_) => {}
                other => panic!("not a text: {other:?}"),
            }
        }
    }
}

fn secured() -> (tempfile::TempDir, TlsFiles, Stage) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let used = files.clone();
    let stage = Stage::with(move |parts| {
        parts.extras.tls = Some(used);
        parts.extras.twelvedata = true;
    });
    (folder, files, stage)
}

#[actix_rt::test]
async fn ticks_and_answers_come_in_order_over_tls() {
    let (_folder, files, stage) = secured();
    let mut client = Secured::connect(&stage, &files).await;
    assert_eq!(client.until("welcome").await["protocol"], "candela.v1");
    for _ in 0..3 {
        client.until("replay_end").await;
    }
    for round in 0..20 {
        stage.ticks(5);
        for seq in 1..=5 {
            assert_eq!(client.until("market_data").await["seq"], json!(round * 5 + seq));
        }
        let ask = json!({"action": "ping", "id": round}).to_string();
        client.socket.send(Message::Text(ask.into())).await.unwrap();
        assert_eq!(client.until("pong").await["id"], json!(round));
    }
}

#[actix_rt::test]
async fn a_drain_reaches_clients_over_tls() {
    let (_folder, files, stage) = secured();
    let mut client = Secured::connect(&stage, &files).await;
    client.until("replay_end").await;
    let farewell = async {
        client.until("goaway").await;
        match client.frame().await {
            Some(Frame::Close(Some(reason))) => u16::from(reason.code),
            other => panic!("not a close: {other:?}"),
        }
    };
    let (code, ()) = futures_util::future::join(farewell, stage.server.drain(Close::Restarting)).await;
    assert_eq!(code, 1012);
}

#[actix_rt::test]
async fn the_vendors_clients_get_prices_over_tls_and_an_end_without_a_close_frame() {
    let (_folder, files, stage) = secured();
    let mut client = Secured::connect_to(&stage, &files, "/td/quotes/price").await;
    for ask in [
        json!({"action": "subscribe", "params": {"symbols": "USD/COP"}}),
        json!({"action": "heartbeat"}),
    ] {
        client.socket.send(Message::Text(ask.to_string().into())).await.unwrap();
    }
    let mut events = Vec::new();
    while events.len() < 3 {
        let Some(Frame::Text(text)) = client.frame().await else {
            panic!("after {events:?}");
        };
        let event: Value = serde_json::from_slice(&text).unwrap();
        if event["event"] == "heartbeat" {
            stage.ticks(1); // it is subscribed
        }
        events.push(event["event"].clone());
    }
    assert_eq!(events, ["subscribe-status", "heartbeat", "price"]);
    let end = tokio::time::timeout(Duration::from_secs(10), client.socket.next());
    let (end, ()) = futures_util::future::join(end, stage.server.drain(Close::Restarting)).await;
    assert!(matches!(end, Ok(None | Some(Err(_)))), "{end:?}");
}
