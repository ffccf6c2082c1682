//! Compares the document with the messages of sessions, and with the guide.

use super::*;
use crate::actors::messages::Item;
use crate::domain::model::{
    BarEnd, Certificate, Channel, Event, Gap, GapStatus, Head, Interval, Position, Predecessor, Seam, SeamFound,
    Sequenced, ServiceEvent, ServiceEventKind, SessionChange, SessionKind, SessionPhase, Symbol, Timestamp,
};
use crate::domain::protocol::{Zones, frames};
use crate::web::api_docs::openapi;
use crate::web::tests::{
    misfits::misfits,
    stage::{START, Stage, bar},
};
use std::collections::BTreeSet;

const GUIDE: &str = include_str!("../../../../docs/api.md");

/// The rows of the table under a heading, as lists of cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, after) = GUIDE.split_once(heading).unwrap();
    let lines = after
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    lines.skip(2).map(cells).collect()
}

#[test]
fn the_guide_and_the_documents_show_the_same_errors_and_closes() {
    let errors: Vec<Vec<String>> = Problem::ALL
        .iter()
        .map(|p| {
            vec![
                p.code().to_string(),
                p.name().to_owned(),
                if p.temporary() { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    assert_eq!(table("## Errors"), errors);
    let closes: Vec<Vec<String>> = Close::ALL
        .iter()
        .map(|c| vec![c.code().to_string(), c.name().to_owned(), c.advice().to_owned()])
        .collect();
    assert_eq!(table("## Closes"), closes);
    let document = asyncapi_json();
    assert_eq!(document["x-errors"].as_array().unwrap().len(), errors.len());
    assert_eq!(document["x-closes"].as_array().unwrap().len(), closes.len());
}

#[test]
fn the_guide_and_the_documents_show_the_same_addresses_and_messages() {
    let paths: Vec<String> = table("## REST").into_iter().map(|row| row[0].clone()).collect();
    let known: Vec<String> = openapi::TABLES.reads.iter().map(|read| read.path.clone()).collect();
    assert_eq!(paths, known);
    let messages: Vec<String> = table("## Messages").into_iter().map(|row| row[0].clone()).collect();
    let known: Vec<String> = TABLES.messages.iter().map(|message| message.name.clone()).collect();
    assert_eq!(messages, known);
}

/// Checks messages against the document; returns the kinds that occurred.
fn held(messages: &[Value]) -> BTreeSet<String> {
    let document = asyncapi_json();
    let mut seen = BTreeSet::new();
    for message in messages {
        let kind = message["type"].as_str().unwrap();
        let schema = &document["components"]["messages"][kind]["payload"];
        assert!(schema.is_object(), "{kind} is not in the document");
        let mut found = Vec::new();
        misfits(message, schema, &document, kind, &mut found);
        assert!(found.is_empty(), "{message}: {found:#?}");
        seen.insert(kind.to_owned());
    }
    seen
}

fn noted(at: Timestamp) -> ServiceEvent {
    ServiceEvent::new(
        ServiceEventKind::Restarted,
        at,
        "feed",
        "feed failed and was restarted.",
    )
    .with_cause("asked")
    .with("restarts", "1")
}

/// The frames of rare events.
fn seldom() -> Vec<bytes::Bytes> {
    let at = Timestamp::from_secs(START);
    let zones = Zones::default();
    let frame = |channel, event| {
        frames::event(
            &zones,
            &Sequenced {
                position: Position(1),
                channel,
                seq: 1,
                at,
                event,
            },
        )
    };
    let gap = Gap {
        id: 1,
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: at,
        to: at,
        bars: 1,
        status: GapStatus::Filled,
        cause: "upstream_close_1006".to_owned(),
    };
    let end = BarEnd {
        interval: Interval::M5,
        opens_at: at,
        complete: vec![Symbol::usdcop()],
        incomplete: vec![],
    };
    let session = SessionChange {
        symbol: Symbol::usdcop(),
        phase: SessionPhase::Open,
        date: chrono::NaiveDate::from_ymd_opt(2025, 10, 22).unwrap(),
        kind: SessionKind::Spot,
        opens: at,
        closes: at,
    };
    let seam = seam(at);
    let head = |epoch: &str| Head {
        epoch: epoch.parse().unwrap(),
        seq: 3,
    };
    let ticks = Channel::ticks(Symbol::usdcop());
    let tick = frame(
        Some(ticks),
        crate::web::tests::stage::tick_event(Symbol::usdcop(), 1, at),
    );
    vec![
        frame(Some(Channel::quality(Symbol::usdcop())), Event::Gap(gap)),
        frame(
            Some(Channel::quality(Symbol::usdcop())),
            Event::Certificate(Box::new(certificate(Some(seam.seam.clone())))),
        ),
        frame(Some(Channel::quality(Symbol::usdcop())), Event::Seam(seam)),
        frame(None, Event::BarEnd(end)),
        frame(Some(Channel::events()), Event::Journal(Box::new(noted(at)))),
        frame(Some(Channel::session(Symbol::usdcop())), Event::Session(session)),
        frames::discontinuity(ticks, &head("ab12"), &head("cd34")),
        frames::slow(true, 3),
        frames::covering(&tick, 1),
    ]
}

/// A seam with every member that may be null filled.
fn seam(at: Timestamp) -> SeamFound {
    SeamFound {
        symbol: Symbol::usdcop(),
        seam: Seam {
            last_history_bar: Some(at),
            first_live_bar: at,
            ours: 1,
            missing: 2,
            overlapping: 3,
            differing: 0,
            examples: Vec::new(),
        },
    }
}

/// A certificate with every member that may be null filled, or none of them.
fn certificate(seam: Option<Seam>) -> Certificate {
    let date = chrono::NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    Certificate {
        symbol: Symbol::usdcop(),
        date,
        revision: 1,
        interval: Interval::M5,
        opens: Timestamp::from_secs(START),
        closes: Timestamp::from_secs(START + 300),
        expected: 1,
        present: [("live".to_owned(), 1)].into(),
        missing: 0,
        revised: 0,
        mismatched: 0,
        unfillable: Vec::new(),
        previous: seam.as_ref().map(|_| Predecessor {
            date,
            revision: 1,
            hash: "5d".repeat(32),
        }),
        seam,
        hash: "5d".repeat(32),
        through: Position(7),
    }
}

#[actix_rt::test]
async fn every_message_is_as_the_document_says() {
    let stage = Stage::new();
    stage.ticks(3);
    stage.status.send_replace(crate::domain::protocol::frames::text_frame(
        br#"{"type":"status","server_status":"active","safe_to_trade":{},"conditions":[]}"#,
    ));
    let mut client = stage.client("/ws/USDCOP").await;
    let mut messages = client.settle().await;
    stage.ticks(1);
    stage.tell(vec![Item::Partial {
        bar: bar(Timestamp::from_secs(START)),
        base: 0,
    }]);
    let closed = stage.write_bar();
    stage.tell_events(vec![closed]);
    messages.extend(client.until("bar").await);
    for ask in [
        json!({"action": "subscribe", "id": 1, "channels": ["ticks:USDCOP"], "since": {"seq": 9}}),
        json!({"action": "unsubscribe", "id": 2, "channels": ["ticks:USDCOP"]}),
        json!({"action": "leap"}),
        json!({"action": "auth", "token": "any"}),
        json!({"type": "heartbeat"}),
        json!({"action": "ping", "id": "x"}),
    ] {
        client.say(&ask).await;
    }
    messages.extend(client.until("pong").await);
    let seldom = seldom();
    messages.extend(
        seldom
            .iter()
            .map(|frame| serde_json::from_slice::<Value>(frames::payload(frame)).unwrap()),
    );
    let drained = futures_util::future::join(stage.server.drain(Close::Restarting), client.until("goaway"));
    messages.extend(drained.await.1);
    let seen = held(&messages);
    let from_server = TABLES.messages.iter().filter(|message| message.sender == "server");
    let unseen: Vec<&str> = from_server
        .map(|message| message.name.as_str())
        .filter(|name| !seen.contains(*name))
        .collect();
    assert_eq!(
        unseen,
        ["skipped", "heartbeat"],
        "these two take a lost ledger, and fifteen seconds"
    );
}
