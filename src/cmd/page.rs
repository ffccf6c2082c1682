//! The `/status` object as a page of text.

use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// The page: state, conditions, pairs, feed, keys, actors, readers, clients, gaps. Parts that are missing are left out.
pub(super) fn page(status: &Value, colours: bool) -> String {
    let mut page = Page {
        text: String::new(),
        colours,
    };
    page.head(status);
    page.conditions(&status["conditions"]);
    page.symbols(&status["symbols"]);
    page.feed(&status["feed"]);
    page.rows(
        "keys",
        &status["keys"],
        &["id", "state", "until", "used_minute", "used_day"],
    );
    page.credits(&status["forecast"]);
    page.rows(
        "actors",
        &status["actors"],
        &["name", "alive", "restarts", "last_cause"],
    );
    page.rows(
        "readers",
        &status["readers"],
        &["name", "position", "distance", "age_ms"],
    );
    page.clients(&status["clients"]);
    page.rows(
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
    fn paint(&self, text: &str, colour: Colour) -> String {
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

    fn line(&mut self, text: &str) {
        writeln!(self.text, "{}", text.trim_end()).ok();
    }

    fn head(&mut self, status: &Value) {
        let state = &status["state"];
        let name = words(&state["name"]).to_uppercase();
        let colour = if name == "ERROR" { Colour::Bad } else { Colour::Good };
        let head = format!(
            "{} since {} ({})",
            self.paint(&name, colour),
            instant(&state["since"]),
            words(&state["reason"])
        );
        self.line(&head);
        for (symbol, session) in status["sessions"].as_object().into_iter().flatten() {
            let until = match words(&session["status"]).as_str() {
                "open" => format!("open until {}", words(&session["current_session_end"])),
                _ => format!("closed, opens {}", words(&session["next_open"])),
            };
            self.line(&format!("session {symbol}: {until}"));
        }
    }

    fn conditions(&mut self, conditions: &Value) {
        let holding: Vec<&Value> = conditions
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["status"] == true)
            .collect();
        if holding.is_empty() {
            let line = self.paint("no condition", Colour::Good);
            self.line(&line);
        }
        for condition in holding {
            let of = condition["symbol"]
                .as_str()
                .map_or_else(String::new, |symbol| format!(" {symbol}"));
            let kind = self.paint(&format!("! {}{of}", words(&condition["type"])), Colour::Bad);
            self.line(&format!(
                "{kind} since {}: {}",
                words(&condition["since"]),
                words(&condition["message"])
            ));
            let clears = format!("  clears when {}", words(&condition["clears_when"]));
            let clears = self.paint(&clears, Colour::Faint);
            self.line(&clears);
        }
    }

    fn symbols(&mut self, symbols: &Value) {
        let mut rows = vec![
            ["pair", "feed", "last tick", "bars", "safe to trade"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for (symbol, view) in symbols.as_object().into_iter().flatten() {
            let safe = match (view["safe_to_trade"] == true, words(&view["reasons"])) {
                (true, _) => "yes".to_owned(),
                (false, reasons) => format!("no: {reasons}"),
            };
            let row = [
                symbol.clone(),
                words(&view["feed"]),
                instant(&view["last_tick"]),
                words(&view["bars_today"]),
                safe,
            ];
            rows.push(row.to_vec());
        }
        self.table("pairs", &rows);
    }

    fn feed(&mut self, feed: &Value) {
        if feed.is_object() {
            let age = feed["last_message_age_ms"]
                .as_u64()
                .map(|ms| format!(", last message {} ago", age(Duration::from_millis(ms))));
            let total = words(&feed["connections_total"]);
            self.line(&format!(
                "\nfeed: {}{}, {total} connections so far",
                words(&feed["state"]),
                age.unwrap_or_default()
            ));
        }
    }

    fn credits(&mut self, forecast: &Value) {
        if forecast.is_object() {
            let expected = words(&forecast["expected"]);
            let available = words(&forecast["available"]);
            let fits = if forecast["fits"] == true {
                "fits"
            } else {
                "does not fit"
            };
            self.line(&format!(
                "  today is expected to cost {expected} of {available} credits: it {fits}"
            ));
        }
    }

    fn clients(&mut self, clients: &Value) {
        if clients.is_object() {
            let connected = words(&clients["connected"]);
            let slow = words(&clients["conflating"]);
            self.line(&format!("\nclients: {connected} connected, {slow} of them slow"));
        }
    }

    /// A list of objects, a column for each of `fields`.
    fn rows(&mut self, title: &str, list: &Value, fields: &[&str]) {
        let titles = fields
            .iter()
            .map(|field| field.trim_end_matches("_ms").replace('_', " "));
        let mut rows = vec![titles.collect::<Vec<_>>()];
        for item in list.as_array().into_iter().flatten() {
            rows.push(
                fields
                    .iter()
                    .map(|field: &&str| match *field {
                        "from" | "to" => instant(&item[*field]),
                        "age_ms" => item[*field]
                            .as_u64()
                            .map_or_else(|| words(&item[*field]), |ms| age(Duration::from_millis(ms))),
                        _ => words(&item[*field]),
                    })
                    .collect(),
            );
        }
        self.table(title, &rows);
    }

    /// Columns as wide as their widest cell; nothing at all when there are only headings.
    fn table(&mut self, title: &str, rows: &[Vec<String>]) {
        if rows.len() < 2 {
            return;
        }
        self.line(&format!("\n{title}"));
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            let line = format!("  {}", cells.join("  "));
            let line = if number == 0 {
                self.paint(line.trim_end(), Colour::Faint)
            } else {
                line
            };
            self.line(&line);
        }
    }
}

/// A stretch of time as people say it.
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

/// A value as people write it: nothing as a dash, a list with commas.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Microseconds since 1970 as UTC; anything else as it is.
fn instant(value: &Value) -> String {
    let at = value.as_i64().map(crate::domain::model::Timestamp::from_micros);
    at.map_or_else(|| words(value), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert_eq!(page(&status, false), expect);
        assert!(page(&status, true).contains("\x1b[32mACTIVE\x1b[0m"));
    }

    #[test]
    fn an_object_without_the_parts_gives_a_short_page() {
        assert_eq!(page(&json!({}), false), "- since - (-)\nno condition\n");
    }
}
