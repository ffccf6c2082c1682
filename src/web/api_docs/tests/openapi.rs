//! Compares the document with the server's responses.

use super::*;
use crate::web::tests::{misfits::misfits, stage::Stage};

#[actix_rt::test]
async fn every_address_of_the_document_answers_as_it_says() {
    let stage = Stage::new();
    let mut client = stage.client("/ws").await;
    client.settle().await;
    stage.ticks(1);
    client.json().await;
    let (_, document) = stage.get("/openapi.json").await;
    for read in &TABLES.reads {
        let (status, body) = match read.answer.as_str() {
            "text/event-stream" => (head_of(&stage, &read.path).await, Value::Null), // it has no end
            _ => stage.get(&read.path).await,
        };
        let code: u16 = status.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(code == 200 || read.others.contains(&code), "{}: {status}", read.path);
        let answer = &document["paths"][&read.path]["get"]["responses"][code.to_string()]["content"];
        let kind = answer.as_object().unwrap().keys().find(|kind| kind.ends_with("json"));
        let mut found = Vec::new();
        if let Some(kind) = kind {
            misfits(&body, &answer[kind]["schema"], &document, &read.path, &mut found);
        }
        assert!(found.is_empty(), "{code}: {found:#?}");
    }
}

async fn head_of(stage: &Stage, path: &str) -> String {
    let mut client = stage.send(&format!("HEAD {path} HTTP/1.1\r\nHost: here\r\n\r\n")).await;
    client.head().await
}

#[test]
fn a_document_that_says_something_else_is_noticed() {
    let document = document(&["5m"]);
    let misfit = |shape: &str, value: Value| {
        let mut found = Vec::new();
        misfits(&value, &schema(shape), &document, "it", &mut found);
        !found.is_empty()
    };
    assert!(!misfit("Live", json!({"status": "alive"})));
    assert!(misfit("Live", json!({"status": "dead"})));
    assert!(misfit("Live", json!({"status": "alive", "more": 1})));
    assert!(misfit("Live", json!({})));
    let closed =
        json!({"status": "closed", "next_open": null, "minutes_until_open": null, "reason": "Sunday", "next": null});
    assert!(!misfit("OpenSession|ClosedSession", closed.clone()));
    assert!(!misfit("{OpenSession|ClosedSession}", json!({"USD/COP": closed})));
    assert!(misfit(
        "{OpenSession|ClosedSession}",
        json!({"USD/COP": {"status": "closed"}})
    ));
    assert!(misfit(
        "OpenSession|ClosedSession",
        json!({"status": "open", "more": 1})
    ));
    assert!(misfit("Reachable", json!({"connected": true, "response_time_ms": "1"})));
    assert!(!misfit(
        "Reachable",
        json!({"connected": true, "response_time_ms": null})
    ));
    assert!(misfit("[integer]", json!([1, 1.5])));
}

#[test]
fn each_shape_that_is_named_is_there() {
    let text = document(&["5m"]).to_string();
    let named = text.split("#/components/schemas/").skip(1);
    let names: std::collections::BTreeSet<&str> = named.map(|rest| rest.split('"').next().unwrap()).collect();
    for name in &names {
        assert!(TABLES.shapes.contains_key(*name), "{name}");
    }
    assert_eq!(names.len(), TABLES.shapes.len(), "a shape that nothing uses");
}
