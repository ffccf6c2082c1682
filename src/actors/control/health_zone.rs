//! Converts instants for display: the parts write UTC, `/status` shows the market's offset.

use crate::domain::model::Timestamp;
use chrono::DateTime;
use chrono_tz::Tz;
use serde_json::Value;

/// The same value with each text that is an instant in UTC written in `zone`.
pub(crate) fn in_zone(value: Value, zone: Tz) -> Value {
    match value {
        Value::String(text) => Value::String(written_in(text, zone)),
        Value::Array(items) => items.into_iter().map(|item| in_zone(item, zone)).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, in_zone(value, zone)));
            Value::Object(members.collect())
        }
        other => other,
    }
}

fn written_in(text: String, zone: Tz) -> String {
    if !text.ends_with('Z') || !text.starts_with(|first: char| first.is_ascii_digit()) {
        return text;
    }
    DateTime::parse_from_rfc3339(&text).map_or(text, |at| Timestamp::from_datetime(at).rfc3339(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn instants_get_the_markets_offset_and_everything_else_stays() {
        let value = json!({"since": "2025-10-22T13:00:00.5Z", "of": [{"at": "2025-10-22T13:00:00Z"}, 7, null],
            "message": "down since 2025-10-22T13:00:00Z", "name": "2Z"});
        let expect = json!({"since": "2025-10-22T08:00:00-05:00", "of": [{"at": "2025-10-22T08:00:00-05:00"}, 7, null],
            "message": "down since 2025-10-22T13:00:00Z", "name": "2Z"});
        assert_eq!(in_zone(value, chrono_tz::America::Bogota), expect);
    }
}
