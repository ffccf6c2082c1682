//! The tools: the request that each sends to the service, and the form of its answer.
//!
//! Every answer is `{"data": …, "data_quality": {"complete", "gaps", "safe_to_trade"}}`, so that prices are never read without the
//! information whether any are missing.

use crate::cmd::ask::Service;
use crate::cmd::mcp::expected::ShownBars;
use crate::domain::model::{Interval, Timestamp};
use crate::limits;
use chrono::DateTime;
use serde_json::{Map, Value, json};

/// A tool.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    what: &'static str,
    /// The route that it requests.
    path: &'static str,
    /// Names and descriptions of the arguments; all are texts and optional.
    arguments: &'static [(&'static str, &'static str)],
}

const SYMBOL: (&str, &str) = (
    "symbol",
    "the pair, such as USD/COP; by default the first that is served",
);
const FROM: (&str, &str) = (
    "from",
    "an instant or a date, inclusive, in the market's time without an offset",
);
const TO: (&str, &str) = ("to", "an instant or a date, exclusive");
const LIMIT: (&str, &str) = ("limit", "at most this many, up to 10000; 500 by default");

/// Every tool.
pub(super) static TOOLS: [Tool; 7] = [
    Tool {
        name: "status",
        what: "The state of the service, its conditions, and whether each pair is safe to trade",
        path: "/status",
        arguments: &[],
    },
    Tool {
        name: "explain",
        what: "Why a pair is or is not safe to trade: reasons, conditions with what clears them, missing bars",
        path: "/status",
        arguments: &[SYMBOL],
    },
    Tool {
        name: "bars",
        what: "Open, high, low and close of intervals, earliest first, with revision and provenance; without from, the latest",
        path: "/market/bars",
        arguments: &[
            SYMBOL,
            ("interval", "1m, 5m, 15m, 30m, 1h, session or 1d; 5m by default"),
            FROM,
            TO,
            ("as_of", "bars as they were known at this instant"),
            LIMIT,
        ],
    },
    Tool {
        name: "latest",
        what: "The last price",
        path: "/market/latest",
        arguments: &[SYMBOL],
    },
    Tool {
        name: "gaps",
        what: "Which bars are missing, why, and what became of them, the latest first",
        path: "/market/gaps",
        arguments: &[
            SYMBOL,
            FROM,
            TO,
            ("status", "open, filling, filled or unfillable"),
            LIMIT,
        ],
    },
    Tool {
        name: "session",
        what: "The market's session that is open, or the next one",
        path: "/market/session",
        arguments: &[SYMBOL],
    },
    Tool {
        name: "calendar",
        what: "Each day of a stretch with its session, or why it has none",
        path: "/market/calendar",
        arguments: &[
            SYMBOL,
            ("from", "the first date; today by default"),
            ("to", "the last date"),
        ],
    },
];

impl Tool {
    /// Its entry in `tools/list`.
    pub(super) fn to_listing(&self) -> Value {
        let mut properties = Map::new();
        for (name, what) in self.arguments {
            properties.insert((*name).to_owned(), json!({"type": "string", "description": what}));
        }
        json!({
            "name": self.name,
            "description": self.what,
            "inputSchema": {"type": "object", "properties": properties, "additionalProperties": false},
            "outputSchema": {"type": "object", "required": ["data", "data_quality"], "properties": {
                "data": {"type": "object"},
                "data_quality": {"type": "object", "required": ["complete", "gaps", "safe_to_trade"], "properties": {
                    "complete": {"type": "boolean", "description": "no bar that is expected in what is shown is missing"},
                    "gaps": {"type": "integer", "description": "how many gaps touch it that are not filled"},
                    "safe_to_trade": {"type": "boolean", "description": "whether a strategy may act on the pair now"},
                }},
            }},
            "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false},
        })
    }

    /// Sends the request to the service.
    pub(super) async fn call_tool(&self, service: &Service, arguments: &Value) -> Result<Value, String> {
        let mut given = self.given_arguments(arguments)?;
        let takes_symbol = self.arguments.contains(&SYMBOL);
        if takes_symbol && !given.iter().any(|(name, _)| *name == "symbol") {
            let served = service
                .get("/market/symbols")
                .await
                .map_err(|error| error.to_string())?;
            let first = served.pointer("/symbols/0/symbol").and_then(Value::as_str);
            given.push(("symbol", first.ok_or("the service serves no pair")?.to_owned()));
        }
        let status = service.get("/status").await.map_err(|error| error.to_string())?;
        let data = if self.path == "/status" {
            Value::Null
        } else {
            service
                .get(&request_path(self.path, &given))
                .await
                .map_err(|error| error.to_string())?
        };
        let symbols = status.get("symbols").and_then(Value::as_object).cloned();
        let symbols = symbols.unwrap_or_default();
        let named = given.iter().find(|(name, _)| *name == "symbol");
        let symbol = check_symbol(&symbols, named.map(|(_, symbol)| symbol.as_str()))?;
        let about = symbols.get(&symbol).cloned().unwrap_or_default();
        let data = match self.name {
            "status" => status_brief(&status, &symbols),
            "explain" => explain_symbol(&status, &symbol, &about),
            _ => data,
        };
        let stretch = self.given_stretch(&given, &data);
        let lacks_one = match stretch.as_deref().filter(|_| self.name == "bars") {
            None => false,
            Some(stretch) => match shown_bars(&status, &symbol, &given, stretch, &data) {
                None => true, // nothing is shown, and no stretch is named in which nothing would be expected
                Some(shown) => shown.lack_one(service).await.map_err(|error| error.to_string())?,
            },
        };
        let gaps = match stretch {
            None => count_unfilled(
                status.get("gaps"),
                Some(symbol.as_str()).filter(|_| self.name != "status"),
            ),
            Some(stretch) => {
                let mut asked = vec![("symbol", symbol.clone()), ("limit", limits::REST_PAGE_MAX.to_string())];
                asked.extend(stretch);
                let gaps = service
                    .get(&request_path("/market/gaps", &asked))
                    .await
                    .map_err(|error| error.to_string())?;
                count_unfilled(gaps.get("gaps"), Some(&symbol))
            }
        };
        let safe = match self.name {
            "status" => symbols.values().all(is_safe),
            _ => is_safe(&about),
        };
        let quality = json!({"complete": gaps == 0 && !lacks_one, "gaps": gaps, "safe_to_trade": safe});
        Ok(json!({"data": exact_number(data, ""), "data_quality": quality}))
    }

    /// The arguments as text; numbers are taken as they are spelled.
    fn given_arguments(&self, arguments: &Value) -> Result<Vec<(&'static str, String)>, String> {
        let empty = Map::new();
        let members = match arguments {
            Value::Null => &empty,
            Value::Object(members) => members,
            other => return Err(format!("arguments: {other} is not an object")),
        };
        let mut given = Vec::new();
        for (name, value) in members {
            let Some((known, _)) = self.arguments.iter().find(|(known, _)| *known == name.as_str()) else {
                let names: Vec<&str> = self.arguments.iter().map(|(name, _)| *name).collect();
                let there = match names.as_slice() {
                    [] => "there is none".to_owned(),
                    names => format!("there are {}", names.join(", ")),
                };
                return Err(format!("{name:?} is not an argument of {}: {there}", self.name));
            };
            match value {
                Value::String(text) => given.push((*known, text.clone())),
                Value::Number(number) => given.push((*known, number.to_string())),
                Value::Null => {}
                other => return Err(format!("{name}: {other} is not text")),
            }
        }
        Ok(given)
    }

    /// The stretch whose gaps the answer's quality counts; `None`: the gaps of now.
    fn given_stretch(&self, given: &[(&'static str, String)], data: &Value) -> Option<Vec<(&'static str, String)>> {
        let named = given.iter().filter(|(name, _)| matches!(*name, "from" | "to")).cloned();
        let named: Vec<_> = named.collect();
        match self.name {
            "gaps" => Some(named),
            "bars" => {
                let bars = data.get("bars").and_then(Value::as_array)?;
                let first = bars.first().and_then(|bar| bar.get("open_time")?.as_str());
                let last = bars.last().and_then(|bar| bar.get("close_time")?.as_str());
                let from = value_of(&named, "from").or(first);
                // A full page ends before the stretch does.
                let whole = data.get("next_cursor").is_none_or(Value::is_null);
                let to = value_of(&named, "to");
                let to = to.filter(|_| whole).or(last).or(to);
                let ends = [("from", from), ("to", to)].into_iter();
                Some(ends.filter_map(|(name, at)| Some((name, at?.to_owned()))).collect())
            }
            _ => None,
        }
    }
}

/// The bars of an answer, with the stretch in which the calendar expects bars. `None` if the stretch has no beginning.
fn shown_bars(
    status: &Value,
    symbol: &str,
    given: &[(&'static str, String)],
    stretch: &[(&'static str, String)],
    data: &Value,
) -> Option<ShownBars> {
    let now = DateTime::parse_from_rfc3339(status.get("timestamp")?.as_str()?).ok()?;
    let interval = value_of(given, "interval");
    Some(ShownBars {
        symbol: symbol.to_owned(),
        interval: interval.map_or(Some(Interval::BASE), |text| text.parse().ok())?,
        from: value_of(stretch, "from")?.parse().ok()?,
        to: value_of(stretch, "to").and_then(|text| text.parse().ok()),
        now: Timestamp::from_datetime(now),
        opens: ShownBars::opens_in(data),
    })
}

/// The path and query of a request.
fn request_path(path: &str, given: &[(&'static str, String)]) -> String {
    let pairs: Vec<String> = given
        .iter()
        .map(|(name, value)| format!("{name}={}", escape_query(value)))
        .collect();
    if pairs.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", pairs.join("&"))
}

fn escape_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn value_of<'g>(given: &'g [(&'static str, String)], wanted: &str) -> Option<&'g str> {
    let found = given.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, value)| value.as_str())
}

/// The pair in the service's spelling; by default the first one.
fn check_symbol(symbols: &Map<String, Value>, named: Option<&str>) -> Result<String, String> {
    let Some(named) = named else {
        let first = symbols.keys().next().cloned();
        return first.ok_or_else(|| "the service serves no pair".to_owned());
    };
    let found = symbols
        .keys()
        .find(|known| compact_name(known) == compact_name(named))
        .cloned();
    found.ok_or_else(|| {
        let names = symbols.keys().cloned().collect::<Vec<_>>().join(", ");
        format!("{named:?} is not served here; there are {names}")
    })
}

fn is_safe(about: &Value) -> bool {
    about.get("safe_to_trade").and_then(Value::as_bool).unwrap_or(false)
}

/// How many gaps of the pair are not filled; without a pair, of all of them.
fn count_unfilled(gaps: Option<&Value>, symbol: Option<&str>) -> usize {
    let all = gaps.and_then(Value::as_array).into_iter().flatten();
    let of = all.filter(|gap| symbol.is_none_or(|symbol| has_text(gap, "symbol", symbol)));
    of.filter(|gap| !has_text(gap, "status", "filled")).count()
}

/// The parts of `/status` that matter at a glance.
fn status_brief(status: &Value, symbols: &Map<String, Value>) -> Value {
    json!({"state": status.get("state"), "conditions": status.get("conditions"), "feed": status.get("feed"),
        "symbols": symbols, "gaps": status.get("gaps"), "timestamp": status.get("timestamp")})
}

/// The view of one pair, with the conditions that concern it.
fn explain_symbol(status: &Value, symbol: &str, about: &Value) -> Value {
    let conditions = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let conditions: Vec<&Value> = conditions
        .filter(|condition: &&Value| {
            let of = condition.get("symbol").and_then(Value::as_str);
            of.is_none_or(|of| of == symbol)
        })
        .collect();
    let session = status.get("sessions").and_then(|sessions| sessions.get(symbol));
    let gaps = status.get("gaps").and_then(Value::as_array).into_iter().flatten();
    let gaps: Vec<&Value> = gaps.filter(|gap: &&Value| has_text(gap, "symbol", symbol)).collect();
    json!({"symbol": symbol, "safe_to_trade": is_safe(about), "reasons": about.get("reasons"), "feed": about.get("feed"),
        "last_tick": about.get("last_tick"), "conditions": conditions, "session": session, "state": status.get("state"),
        "gaps": gaps})
}

/// Replaces prices by texts: an assistant must not round them.
fn exact_number(value: Value, name: &str) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value): (String, Value)| {
                    let shown = exact_number(value, &name);
                    (name, shown)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| exact_number(item, name)).collect()),
        Value::Number(number) if is_price(name) => Value::String(number.to_string()),
        other => other,
    }
}

fn is_price(name: &str) -> bool {
    matches!(
        name,
        "open" | "high" | "low" | "close" | "price" | "bid" | "ask" | "spread"
    )
}

/// A pair without a separator between its currencies.
fn compact_name(text: &str) -> String {
    text.replace(['/', '-', '_'], "").to_ascii_uppercase()
}

fn has_text(object: &Value, name: &str, value: &str) -> bool {
    object.get(name).and_then(Value::as_str) == Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_become_text_and_other_numbers_stay() {
        let bar: Value = serde_json::from_str(r#"{"bars":[{"open":4012.35,"close":4000,"ticks":5}]}"#).unwrap();
        let shown = exact_number(bar, "");
        assert_eq!(
            shown["bars"][0],
            json!({"open": "4012.35", "close": "4000", "ticks": 5})
        );
    }

    #[test]
    fn questions_name_what_was_given_and_nothing_else() {
        let bars = TOOLS.iter().find(|tool| tool.name == "bars").unwrap();
        let given = bars
            .given_arguments(&json!({"symbol": "USD/COP", "limit": 5, "from": null}))
            .unwrap();
        assert_eq!(request_path(bars.path, &given), "/market/bars?limit=5&symbol=USD%2FCOP");
        assert!(
            bars.given_arguments(&json!({"size": 1}))
                .unwrap_err()
                .contains("not an argument of bars")
        );
        assert!(bars.given_arguments(&json!([])).unwrap_err().contains("not an object"));
    }

    #[test]
    fn the_quality_of_bars_is_that_of_their_stretch() {
        let bars = TOOLS.iter().find(|tool| tool.name == "bars").unwrap();
        let data = json!({"bars": [{"open_time": "a", "close_time": "b"}, {"open_time": "c", "close_time": "d"}], "next_cursor": "d"});
        let given = [("from", "2026-01-02".to_owned()), ("to", "2026-01-03".to_owned())];
        let stretch = bars.given_stretch(&given, &data).unwrap();
        assert_eq!(stretch, [("from", "2026-01-02".to_owned()), ("to", "d".to_owned())]);
        let none = bars.given_stretch(&given, &json!({"bars": []})).unwrap();
        assert_eq!(none, given);
    }

    #[test]
    fn an_explanation_has_the_gaps_of_its_pair_and_a_tool_without_arguments_says_so() {
        let status = json!({"gaps": [{"symbol": "USD/COP", "id": "g-1"}, {"symbol": "EUR/USD", "id": "g-2"}]});
        let explained = explain_symbol(&status, "USD/COP", &json!({}));
        assert_eq!(explained["gaps"], json!([{"symbol": "USD/COP", "id": "g-1"}]));
        let tool = TOOLS.iter().find(|tool| tool.name == "status").unwrap();
        let refused = tool.given_arguments(&json!({"symbol": "USD/COP"})).unwrap_err();
        assert_eq!(refused, "\"symbol\" is not an argument of status: there is none");
    }

    #[test]
    fn gaps_of_other_pairs_and_filled_ones_are_not_counted() {
        let gaps = json!([{"symbol": "USD/COP", "status": "open"}, {"symbol": "USD/COP", "status": "filled"},
            {"symbol": "EUR/USD", "status": "open"}, {"symbol": "USD/COP", "status": "unfillable"}]);
        assert_eq!(count_unfilled(Some(&gaps), Some("USD/COP")), 2);
        assert_eq!(count_unfilled(Some(&gaps), None), 3);
    }
}
