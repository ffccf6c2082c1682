//! The notation of messages and responses in both documents.
//!
//! A shape is a line of `name:type` pairs: `string`, `integer`, `number`, `boolean`, `instant`, `date`, `object`, `any`, a shape's name,
//! `[type]` for a list, `{type}` for an object whose members all have that type, `type?` where it may be null, `a|b|c` for one of a few
//! words or shapes. `name~` is optional. A shape that ends with `…` may have more members than are named; any other has exactly these.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The schema of one type of the notation.
pub(super) fn schema(kind: &str) -> Value {
    if let Some(of) = kind.strip_suffix('?') {
        return json!({"anyOf": [schema(of), {"type": "null"}]});
    }
    if let Some(of) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        return json!({"type": "array", "items": schema(of)});
    }
    if let Some(of) = kind.strip_prefix('{').and_then(|kind| kind.strip_suffix('}')) {
        return json!({"type": "object", "additionalProperties": schema(of)});
    }
    match kind {
        "any" => json!({}),
        "string" | "integer" | "number" | "boolean" | "object" => json!({"type": kind}),
        "instant" => json!({"type": "string", "format": "date-time"}),
        "date" => json!({"type": "string", "format": "date"}),
        names if names.starts_with(char::is_uppercase) && names.contains('|') => {
            json!({"anyOf": names.split('|').map(schema).collect::<Vec<_>>()})
        }
        name if name.starts_with(char::is_uppercase) => json!({"$ref": format!("#/components/schemas/{name}")}),
        words => json!({"enum": words.split('|').collect::<Vec<_>>()}),
    }
}

/// The schema of a shape.
pub(super) fn object(shape: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, kind) in shape.split_whitespace().filter_map(|member| member.split_once(':')) {
        let always = name.trim_end_matches('~');
        if always == name {
            required.push(always);
        }
        properties.insert(always.to_owned(), schema(kind));
    }
    json!({"type": "object", "required": required, "properties": properties,
        "additionalProperties": shape.ends_with('…')})
}

/// The schemas of named shapes.
pub(super) fn objects(shapes: &BTreeMap<String, String>) -> Map<String, Value> {
    let named = shapes.iter();
    named.map(|(name, shape)| (name.clone(), object(shape))).collect()
}

/// The tables of a document, from a file that is part of the program.
#[expect(
    clippy::expect_used,
    reason = "the file is part of the program, and the tests read it"
)]
pub(super) fn read_tables<T: DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).expect("a table of a document")
}
