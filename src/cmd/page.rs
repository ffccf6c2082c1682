//! The `/status` object as a page of text.

use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// The page: state, conditions, pairs, feed, keys, actors, readers, clients, gaps. Missing parts are left out.
pub(super) fn status_page(status: &Value, colours: bool) -> String {
    let mut page = Page {
        text: String::new(),
        colours,
    };
    page.push_head(status);
    page.push_conditions(&status["conditions"]);
    page.push_symbols(&status["symbols"]);
    page.push_feed(&status["feed"]);
    page.push_rows(
        "keys",
        &status["keys"],
        &["id", "state", "until", "used_minute", "used_day"],
    );
    page.push_credits(&status["forecast"]);
    page.push_rows(
        "actors",
        &status["actors"],
        &["name", "alive", "restarts", "last_cause"],
    );
    page.push_rows(
        "readers",
        &status["readers"],
        &["name", "position", "distance", "age_ms"],
    );
    page.push_clients(&status["clients"]);
    page.push_rows(
        "gaps",
        &status["gaps"],
        &["symbol", "interval", "from", "to", "bars", "status", "cause"],
    );
    page.text
}

#[derive(Clone, Copy)]
enum Colour {
    Good,
    Bad,
    Faint,
}

struct Page {
    text: String,
    colours: bool,
}

impl Page {
    fn paint_text(&self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::Good => 32,
            Colour::Bad => 31,
            Colour::Faint => 2,
        };
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn push_line(&mut self, text: &str) {
        writeln!(self.text, "{}", text.trim_end()).ok();
    }

    fn push_head(&mut self, status: &Value) {
        let state = &status["state"];
        let name = value_words(&state["name"]).to_uppercase();
        let colour = if name == "ERROR" { Colour::Bad } else { Colour::Good };
        let head = format!(
            "{} since {} ({})",
            self.paint_text(&name, colour),
            instant_text(&state["since"]),
            value_words(&state["reason"])
        );
        self.push_line(&head);
        for (symbol, session) in status["sessions"].as_object().into_iter().flatten() {
            let until = match value_words(&session["status"]).as_str() {
                "open" => format!("open until {}", value_words(&session["current_session_end"])),
                _ => format!("closed, opens {}", value_words(&session["next_open"])),
            };
            self.push_line(&format!("session {symbol}: {until}"));
        }
    }

    fn push_conditions(&mut self, conditions: &Value) {
        let holding: Vec<&Value> = conditions
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["status"] == true)
            .collect();
        if holding.is_empty() {
            let line = self.paint_text("no condition", Colour::Good);
            self.push_line(&line);
        }
        for condition in holding {
            let of = condition["symbol"]
                .as_str()
                .map_or_else(String::new, |symbol| format!(" {symbol}"));
            let kind = self.paint_text(&format!("! {}{of}", value_words(&condition["type"])), Colour::Bad);
            self.push_line(&format!(
                "{kind} since {}: {}",
                value_words(&condition["since"]),
                value_words(&condition["message"])
            ));
            let clears = format!("  clears when {}", value_words(&condition["clears_when"]));
            let clears = self.paint_text(&clears, Colour::Faint);
            self.push_line(&clears);
        }
    }

    fn push_symbols(&mut self, symbols: &Value) {
        let mut rows = vec![
            ["pair", "feed", "last tick", "bars", "safe to trade"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for (symbol, view) in symbols.as_object().into_iter().flatten() {
            let safe = match (view["safe_to_trade"] == true, value_words(&view["reasons"])) {
                (true, _) => "yes".to_owned(),
                (false, reasons) => format!("no: {reasons}"),
            };
            let row = [
                symbol.clone(),
                value_words(&view["feed"]),
                instant_text(&view["last_tick"]),
                value_words(&view["bars_today"]),
                safe,
            ];
            rows.push(row.to_vec());
        }
        self.push_table("pairs", &rows);
    }

    fn push_feed(&mut self, feed: &Value) {
        if feed.is_object() {
            let age = feed["last_message_age_ms"]
                .as_u64()
                .map(|ms| format!(", last message {} ago", age(Duration::from_millis(ms))));
            let total = value_words(&feed["connections_total"]);
            self.push_line(&format!(
                "\nfeed: {}{}, {total} connections so far",
                value_words(&feed["state"]),
                age.unwrap_or_default()
            ));
        }
    }

    fn push_credits(&mut self, forecast: &Value) {
        if forecast.is_object() {
            let expected = value_words(&forecast["expected"]);
            let available = value_words(&forecast["available"]);
            let fits = if forecast["fits"] == true {
                "fits"
            } else {
                "does not fit"
            };
            self.push_line(&format!(
                "  today is expected to cost {expected} of {available} credits: it {fits}"
            ));
        }
    }

    fn push_clients(&mut self, clients: &Value) {
        if clients.is_object() {
            let connected = value_words(&clients["connected"]);
            let slow = value_words(&clients["conflating"]);
            self.push_line(&format!("\nclients: {connected} connected, {slow} of them slow"));
        }
    }

    /// A list of objects, a column for each of `fields`.
    fn push_rows(&mut self, title: &str, list: &Value, fields: &[&str]) {
        let titles = fields
            .iter()
            .map(|field| field.trim_end_matches("_ms").replace('_', " "));
        let mut rows = vec![titles.collect::<Vec<_>>()];
        for item in list.as_array().into_iter().flatten() {
            rows.push(
                fields
                    .iter()
                    .map(|field: &&str| match *field {
                        "from" | "to" => instant_text(&item[*field]),
                        "age_ms" => item[*field]
                            .as_u64()
                            .map_or_else(|| value_words(&item[*field]), |ms| age(Duration::from_millis(ms))),
                        _ => value_words(&item[*field]),
                    })
                    .collect(),
            );
        }
        self.push_table(title, &rows);
    }

    /// Columns as wide as their widest cell; nothing if there are only headings.
    fn push_table(&mut self, title: &str, rows: &[Vec<String>]) {
        if rows.len() < 2 {
            return;
        }
        self.push_line(&format!("\n{title}"));
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths = (0..columns).map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let widths: Vec<usize> = widths.collect();
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            let line = format!("  {}", cells.join("  "));
            let line = if number == 0 {
                self.paint_text(line.trim_end(), Colour::Faint)
            } else {
                line
            };
            self.push_line(&line);
        }
    }
}

/// A duration, for people.
pub(super) fn age(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0 => format!("{:.1} s", time.as_secs_f64()),
        1..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{} days", secs / 86_400),
    }
}

/// A value, for people: null as a dash, a list with commas.
pub(super) fn value_words(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(value_words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Microseconds since 1970 as UTC; anything else unchanged.
fn instant_text(value: &Value) -> String {
    let at = value.as_i64().map(crate::domain::model::Timestamp::from_micros);
    at.map_or_else(|| value_words(value), |at| at.to_string())
}

/// The pages of `/status` as the service serves them.
#[cfg(test)]
pub(super) fn real_pages() -> Vec<Value> {
    // What differs with each run is left out of the pinned text.
    let pinned = include_str!("../web/tests/status.txt").replace(":,", ":5,");
    let pages = serde_json::Deserializer::from_str(&pinned).into_iter::<Value>();
    pages.map(|page| page.expect("a page")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_real_status_is_shown_in_words() {
        let pages = real_pages();
        assert_eq!(pages.len(), 2);
        for real in &pages {
            let page = status_page(real, false);
            assert!(!page.contains(['{', '}', '[', ']']) && !page.contains("null"), "{page}");
            assert!(page.contains("USD/COP") && page.contains("\nreaders\n"), "{page}");
        }
    }

    #[test]
    fn the_page_says_what_is_and_why() {
        let status = json!({
            "state": {"name": "active", "since": 1_767_358_800_000_000_i64, "reason": "the session is open"},
            "sessions": {"USD/COP": {"status": "open", "current_session_end": "2026-01-02T12:55:00-05:00"}},
            "conditions": [
                {"type": "cache_down", "status": false},
                {"type": "store_behind", "status": true, "since": "09:12", "message": "PostgreSQL refuses", "clears_when": "it answers"},
                {"type": "history_unverified", "symbol": "EUR/USD", "status": true, "since": "09:13", "message": "It is old", "clears_when": "it is new"},
            ],
            "symbols": {"USD/COP": {"feed": "live", "safe_to_trade": false, "reasons": ["feed_stale"], "last_tick": 1_767_361_204_000_000_i64, "bars_today": 8}},
            "feed": {"state": "live", "connections_total": 2, "last_message_age_ms": 412},
            "keys": [{"id": "G1_1 …a91f", "state": "ready", "until": null, "used_minute": 0, "used_day": 4}],
            "forecast": {"expected": 1048, "available": 1600, "fits": true},
            "actors": [{"name": "feed", "alive": true, "restarts": 0, "last_cause": null}],
            "clients": {"connected": 3, "conflating": 1},
            "gaps": [{"symbol": "USD/COP", "interval": "5m", "from": 1_767_358_800_000_000_i64, "to": 1_767_359_100_000_000_i64,
                "bars": 1, "status": "open", "cause": "no_ticks"}],
        });
        let expect = "\
ACTIVE since 2026-01-02T13:00:00Z (the session is open)
session USD/COP: open until 2026-01-02T12:55:00-05:00
! store_behind since 09:12: PostgreSQL refuses
  clears when it answers
! history_unverified EUR/USD since 09:13: It is old
  clears when it is new

pairs
  pair     feed  last tick             bars  safe to trade
  USD/COP  live  2026-01-02T13:40:04Z  8     no: feed_stale

feed: live, last message 0.4 s ago, 2 connections so far

keys
  id          state  until  used minute  used day
  G1_1 …a91f  ready  -      0            4
  today is expected to cost 1048 of 1600 credits: it fits

actors
  name  alive  restarts  last cause
  feed  yes    0         -

clients: 3 connected, 1 of them slow

gaps
  symbol   interval  from                  to                    bars  status  cause
  USD/COP  5m        2026-01-02T13:00:00Z  2026-01-02T13:05:00Z  1     open    no_ticks
";
        assert_eq!(status_page(&status, false), expect);
        assert!(status_page(&status, true).contains("\x1b[32mACTIVE\x1b[0m"));
    }

    #[test]
    fn an_object_without_the_parts_gives_a_short_page() {
        assert_eq!(status_page(&json!({}), false), "- since - (-)\nno condition\n");
    }
}
