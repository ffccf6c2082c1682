//! The lists of `/status` as rows for a terminal.

use crate::cmd::page::{age, value_words};
use crate::cmd::top::{
    entries, list,
    state::{Pane, TopState, micros_of},
};
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::time::Duration;

/// The meaning of a text, for its style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

/// A column: its title, and how early it is dropped when the window is narrow (0: never).
#[derive(Debug, Clone, Copy)]
pub(super) struct ListColumn {
    pub(super) title: &'static str,
    pub(super) gives_way: u8,
}

/// A cell, with its sort key if that is not the text.
#[derive(Debug, Clone)]
pub(super) struct ListCell {
    pub(super) text: String,
    pub(super) tone: Tone,
    number: Option<f64>,
}

/// A row, and the object that it shows.
#[derive(Debug, Clone)]
pub(super) struct ListRow {
    pub(super) cells: Vec<ListCell>,
    pub(super) object: Value,
}

/// The columns of each pane.
pub(super) fn columns(pane: Pane) -> Vec<ListColumn> {
    let columns: &[(&'static str, u8)] = match pane {
        Pane::Pairs => &[
            ("pair", 0),
            ("safe to trade", 0),
            ("feed", 1),
            ("last tick", 1),
            ("bars", 2),
            ("set aside", 4),
            ("session", 3),
        ],
        Pane::Conditions => &[
            ("holds", 0),
            ("condition", 0),
            ("pair", 2),
            ("since", 1),
            ("message", 0),
        ],
        Pane::Keys => &[
            ("key", 0),
            ("state", 0),
            ("this minute", 3),
            ("today", 1),
            ("left today", 1),
            ("for", 4),
            ("until", 2),
        ],
        Pane::Actors => &[
            ("actor", 0),
            ("standing", 0),
            ("restarts", 1),
            ("pulse", 2),
            ("mailbox", 3),
            ("last cause", 1),
        ],
        Pane::Readers => &[
            ("reader", 0),
            ("of", 3),
            ("behind", 0),
            ("for", 1),
            ("position", 3),
            ("refused", 2),
            ("trouble", 1),
        ],
        Pane::Gaps => &[
            ("pair", 0),
            ("interval", 3),
            ("from", 0),
            ("to", 2),
            ("bars", 1),
            ("status", 0),
            ("cause", 1),
        ],
        Pane::Journal => &[("at", 0), ("entry", 1), ("pair", 3), ("message", 0)],
    };
    let column = columns.iter().map(|(title, gives_way)| ListColumn {
        title,
        gives_way: *gives_way,
    });
    column.collect()
}

/// The rows of the pane, filtered and sorted.
pub(super) fn rows(state: &TopState) -> Vec<ListRow> {
    let Some(status) = &state.status else { return Vec::new() };
    let now = state.market_now();
    let sessions = &status["sessions"];
    let mut rows: Vec<ListRow> = match state.pane {
        Pane::Pairs => entries(&status["symbols"])
            .map(|(pair, shown)| pair_row(pair, shown, &sessions[pair], now))
            .collect(),
        Pane::Conditions => {
            let mut all: Vec<&Value> = list(&status["conditions"]).iter().collect();
            all.sort_by_key(|one| one["status"] != true);
            all.into_iter().map(|one| condition_row(one, now)).collect()
        }
        Pane::Keys => list(&status["keys"]).iter().map(key_row).collect(),
        Pane::Actors => list(&status["actors"]).iter().map(actor_row).collect(),
        Pane::Readers => list(&status["readers"]).iter().map(reader_row).collect(),
        Pane::Gaps => list(&status["gaps"]).iter().map(gap_row).collect(),
        Pane::Journal => state.events.iter().rev().map(event_row).collect(),
    };
    let wanted = state.filter.to_lowercase();
    rows.retain(|row| {
        let mut texts = row.cells.iter().map(|cell: &ListCell| cell.text.to_lowercase());
        wanted.is_empty() || texts.any(|text| text.contains(&wanted))
    });
    let view = state.view();
    if let Some(column) = view.sorted_by {
        rows.sort_by(|one, other| {
            let order = compare(one.cells.get(column), other.cells.get(column));
            if view.descending { order.reverse() } else { order }
        });
    }
    rows
}

fn compare(one: Option<&ListCell>, other: Option<&ListCell>) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else {
        return Ordering::Equal;
    };
    match (one.number, other.number) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => one.text.cmp(&other.text),
    }
}

impl ListCell {
    fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
            number: None,
        }
    }

    fn plain(value: &Value) -> Self {
        let tone = if value.is_null() { Tone::Faint } else { Tone::Plain };
        Self {
            number: value.as_f64(),
            ..Self::new(value_words(value), tone)
        }
    }

    /// A count that needs no attention while it is 0.
    fn count(value: &Value, tone: Tone) -> Self {
        let none = value.as_u64().is_none_or(|count| count == 0);
        Self {
            tone: if none { Tone::Faint } else { tone },
            ..Self::plain(value)
        }
    }

    /// A duration in milliseconds, for people.
    fn age(value: &Value, ending: &str, late: Duration) -> Self {
        let Some(time) = value.as_u64().map(Duration::from_millis) else {
            return Self::new("-", Tone::Faint);
        };
        Self {
            number: Some(time.as_secs_f64()),
            ..Self::new(
                format!("{}{ending}", age(time)),
                if time > late { Tone::Warning } else { Tone::Plain },
            )
        }
    }

    /// An instant of market time by its age.
    fn since(value: &Value, now: Option<i64>) -> Self {
        let Some(at) = micros_of(value) else {
            return Self::new("-", Tone::Faint);
        };
        let passed = now.map(|now| u64::try_from(now.saturating_sub(at)).unwrap_or(0));
        let passed = passed.map_or_else(String::new, |micros| {
            format!(" ({} ago)", age(Duration::from_micros(micros)))
        });
        Self {
            number: Some(Duration::from_micros(u64::try_from(at).unwrap_or(0)).as_secs_f64()),
            ..Self::new(format!("{}{passed}", clock_of(value)), Tone::Plain)
        }
    }
}

/// The time of day of an instant, in the market's zone.
pub(super) fn clock_of(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let time = text.split('T').nth(1).and_then(|time| time.get(..8));
    time.unwrap_or(text).to_owned()
}

/// Date and time of day.
fn day_and_clock(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.get(..16).unwrap_or(text).replace('T', " ")
}

/// Whether a session is open, and until when.
pub(super) fn session_words(session: &Value, now: Option<i64>) -> String {
    if session["status"] == "open" {
        let end = &session["current_session_end"];
        let left = micros_of(end).zip(now).map(|(end, now)| end.saturating_sub(now));
        let left = left.and_then(|micros| u64::try_from(micros).ok());
        let left = left.map_or_else(String::new, |micros| {
            format!(" (for {})", age(Duration::from_micros(micros)))
        });
        return format!("open until {}{left}", clock_of(end));
    }
    let next = &session["next_open"];
    match next.is_string() {
        true => format!("closed, opens {}", day_and_clock(next)),
        false => value_words(&session["status"]),
    }
}

fn pair_row(pair: &str, shown: &Value, session: &Value, now: Option<i64>) -> ListRow {
    let safe = match shown["safe_to_trade"] == true {
        true => ListCell::new("yes", Tone::Good),
        false => ListCell::new(format!("no: {}", value_words(&shown["reasons"])), Tone::Bad),
    };
    let feed = match shown["feed"].as_str() {
        Some("live") => Tone::Good,
        Some("stale") => Tone::Bad,
        _ => Tone::Warning,
    };
    let set_aside: u64 = entries(&shown["rejected"])
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    let bars = &shown["bars_today"];
    let expected = session["expected_bars"].as_u64();
    let expected = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
    let bars = ListCell {
        text: format!("{}{expected}", value_words(bars)),
        ..ListCell::plain(bars)
    };
    ListRow {
        cells: vec![
            ListCell::new(pair, Tone::Plain),
            safe,
            ListCell::new(value_words(&shown["feed"]), feed),
            ListCell::since(&shown["last_tick"], now),
            bars,
            ListCell::count(&json!(set_aside), Tone::Plain),
            ListCell::new(session_words(session, now), Tone::Plain),
        ],
        object: json!({"pair": pair, "state": shown, "session": session}),
    }
}

fn condition_row(condition: &Value, now: Option<i64>) -> ListRow {
    let holds = match condition["status"] == true {
        true => ListCell::new("yes", Tone::Bad),
        false => ListCell::new("no", Tone::Faint),
    };
    ListRow {
        cells: vec![
            holds,
            ListCell::plain(&condition["type"]),
            ListCell::plain(&condition["symbol"]),
            ListCell::since(&condition["since"], now),
            ListCell::plain(&condition["message"]),
        ],
        object: condition.clone(),
    }
}

fn key_row(key: &Value) -> ListRow {
    let tone = match key["state"].as_str() {
        Some("ready") => Tone::Good,
        Some("retired" | "refused") => Tone::Bad,
        _ => Tone::Warning,
    };
    let until = match key["until"].is_string() {
        true => ListCell::new(day_and_clock(&key["until"]), Tone::Plain),
        false => ListCell::plain(&key["until"]),
    };
    let used_for = if key["of_link"] == true { "link" } else { "-" };
    ListRow {
        cells: vec![
            ListCell::plain(&key["id"]),
            ListCell::new(value_words(&key["state"]), tone),
            ListCell::count(&key["used_minute"], Tone::Plain),
            ListCell::count(&key["used_day"], Tone::Plain),
            ListCell::plain(&key["left_day"]),
            ListCell::new(used_for, Tone::Faint),
            until,
        ],
        object: key.clone(),
    }
}

fn actor_row(actor: &Value) -> ListRow {
    let tone = if actor["alive"] == true { Tone::Good } else { Tone::Bad };
    ListRow {
        cells: vec![
            ListCell::plain(&actor["name"]),
            ListCell::new(value_words(&actor["standing"]), tone),
            ListCell::count(&actor["restarts"], Tone::Warning),
            ListCell::age(&actor["pulse_age_ms"], " ago", crate::limits::PULSE_STALE),
            ListCell::plain(&actor["mailbox"]),
            ListCell::plain(&actor["last_cause"]),
        ],
        object: actor.clone(),
    }
}

fn reader_row(reader: &Value) -> ListRow {
    ListRow {
        cells: vec![
            ListCell::plain(&reader["name"]),
            ListCell::plain(&reader["kind"]),
            ListCell::count(&reader["distance"], Tone::Warning),
            ListCell::age(&reader["age_ms"], "", Duration::from_secs(5)),
            ListCell::plain(&reader["position"]),
            ListCell::count(&reader["rejected_total"], Tone::Bad),
            ListCell {
                tone: if reader["trouble"].is_null() {
                    Tone::Faint
                } else {
                    Tone::Bad
                },
                ..ListCell::plain(reader.pointer("/trouble/message").unwrap_or(&Value::Null))
            },
        ],
        object: reader.clone(),
    }
}

fn gap_row(gap: &Value) -> ListRow {
    let tone = match gap["status"].as_str() {
        Some("filled") => Tone::Good,
        Some("unfillable") => Tone::Bad,
        _ => Tone::Warning,
    };
    ListRow {
        cells: vec![
            ListCell::plain(&gap["symbol"]),
            ListCell::plain(&gap["interval"]),
            ListCell::new(day_and_clock(&gap["from"]), Tone::Plain),
            ListCell::new(clock_of(&gap["to"]), Tone::Plain),
            ListCell::plain(&gap["bars"]),
            ListCell::new(value_words(&gap["status"]), tone),
            ListCell::plain(&gap["cause"]),
        ],
        object: gap.clone(),
    }
}

fn event_row(event: &Value) -> ListRow {
    let tone = match event["type"].as_str() {
        Some("condition_raised" | "actor_restarted") => Tone::Bad,
        Some("condition_cleared") => Tone::Good,
        _ => Tone::Plain,
    };
    ListRow {
        cells: vec![
            ListCell::new(clock_of(&event["at"]), Tone::Faint),
            ListCell::new(value_words(&event["type"]), tone),
            ListCell::plain(&event["symbol"]),
            ListCell::plain(&event["message"]),
        ],
        object: event.clone(),
    }
}
