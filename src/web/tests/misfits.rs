//! Checks messages against a document.

use serde_json::Value;

/// The parts of `value` that do not fit `schema`; a validator of only the keywords that the document uses.
pub(crate) fn misfits(value: &Value, schema: &Value, document: &Value, place: &str, found: &mut Vec<String>) {
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
    let Some(kind) = schema["type"].as_str() else {
        return; // anything
    };
    let right = match kind {
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
    if schema.get("properties").is_none() && schema["additionalProperties"].is_object() {
        for (name, value) in value.as_object().into_iter().flatten() {
            misfits(
                value,
                &schema["additionalProperties"],
                document,
                &format!("{place}.{name}"),
                found,
            );
        }
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
