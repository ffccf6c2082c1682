//! The document against what the server answers.

use super::*;
use crate::web::stage::Stage;

/// What of `value` does not fit `schema`; a validator of just the words that the document uses.
fn misfits(value: &Value, schema: &Value, document: &Value, place: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(reference.trim_start_matches('#')).unwrap();
        return misfits(value, named, document, place, found);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = |option: &Value| {
            let mut wrong = Vec::new();
            misfits(value, option, document, place, &mut wrong);
            wrong.is_empty()
        };
        if !options.iter().any(fits) {
            found.push(format!("{place}: {value} fits none of {options:?}"));
        }
        return;
    }
    if let Some(words) = schema["enum"].as_array() {
        if !words.contains(value) {
            found.push(format!("{place}: {value} is none of {words:?}"));
        }
        return;
    }
    let right = match schema["type"].as_str().unwrap() {
        "string" => value.as_str().is_some_and(|text| match schema["format"].as_str() {
            Some("date-time") => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
            Some("date") => text.parse::<chrono::NaiveDate>().is_ok(),
            _ => true,
        }),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !right {
        found.push(format!("{place}: {value} is not {schema}"));
    }
    for item in value.as_array().into_iter().flatten() {
        misfits(item, &schema["items"], document, &format!("{place}[]"), found);
    }
    let Some(members) = value.as_object().filter(|_| schema.get("properties").is_some()) else {
        return;
    };
    for name in schema["required"].as_array().unwrap() {
        if !members.contains_key(name.as_str().unwrap()) {
            found.push(format!("{place}: {name} is missing"));
        }
    }
    for (name, value) in members {
        match schema["properties"].get(name) {
            Some(schema) => misfits(value, schema, document, &format!("{place}.{name}"), found),
            None if schema["additionalProperties"] == true => {}
            None => found.push(format!("{place}: {name} is not in the document")),
        }
    }
}

#[actix_rt::test]
async fn every_address_of_the_document_answers_as_it_says() {
    let stage = Stage::new();
    let mut client = stage.client("/ws").await;
    client.settle().await;
    stage.ticks(1);
    client.json().await;
    let (_, document) = stage.get("/openapi.json").await;
    for read in READS {
        let (status, body) = stage.get(read.path).await;
        let code: u16 = status.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(code == 200 || read.others.contains(&code), "{}: {status}", read.path);
        let answer = &document["paths"][read.path]["get"]["responses"][code.to_string()]["content"];
        let kind = answer.as_object().unwrap().keys().find(|kind| kind.ends_with("json"));
        let mut found = Vec::new();
        if let Some(kind) = kind {
            misfits(&body, &answer[kind]["schema"], &document, read.path, &mut found);
        }
        assert!(found.is_empty(), "{code}: {found:#?}");
    }
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
    assert!(!misfit("Session", json!({"status": "open", "more": 1})));
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
        assert!(SHAPES.iter().any(|(known, _)| known == name), "{name}");
    }
    assert_eq!(names.len(), SHAPES.len(), "a shape that nothing uses");
}
