//! Reads the body of a request for an action: a JSON object. All its problems are reported at once.

use crate::client_list::ClientNumber;
use crate::domain::model::{Moment, Symbol, Timestamp};
use crate::domain::status::OperatorAction;
use crate::domain::vendor::{KeySlot, KeySlotError};
use crate::limits;
use crate::web::shared::Thread;
use serde_json::{Map, Value};

/// Every action, with the members of its body in addition to `reason`.
pub(crate) const ACTIONS: [(&str, &[&str]); 7] = [
    ("restart_actor", &["actor"]),
    ("backfill", &["symbol", "from", "to"]),
    ("override_gate", &["symbol", "until"]),
    ("retire_key", &["key"]),
    ("revive_key", &["key"]),
    ("close_client", &["client"]),
    ("drain", &[]),
];

/// The requested action, and the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ActionBody {
    pub(super) action: OperatorAction,
    pub(super) reason: String,
}

/// Reads a body and collects its problems.
struct BodyReader<'a> {
    members: &'a Map<String, Value>,
    thread: &'a Thread,
    problems: Vec<String>,
}

/// Reads `body` as a request for the action of that name.
///
/// # Errors
/// Every problem, a sentence each.
pub(super) fn read(thread: &Thread, action: &str, body: &[u8], now: Timestamp) -> Result<ActionBody, Vec<String>> {
    let example = "send a JSON object such as {\"reason\": \"why\"}";
    let body: Value = if body.is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_slice(body).map_err(|error| vec![format!("the body is not JSON ({error}): {example}")])?
    };
    let Some(members) = body.as_object() else {
        return Err(vec![format!("the body is not a JSON object: {example}")]);
    };
    let allowed = ACTIONS
        .iter()
        .find(|(name, _)| *name == action)
        .map_or(&[][..], |(_, members)| members);
    let mut reader = BodyReader {
        members,
        thread,
        problems: Vec::new(),
    };
    reader.refuse_unknown(allowed);
    let reason = reader.reason();
    let action = match action {
        "restart_actor" => reader.text("actor").map(|actor| OperatorAction::RestartActor {
            actor: actor.to_owned(),
        }),
        "backfill" => reader.backfill(now),
        "override_gate" => reader.override_gate(),
        "retire_key" => reader.key().map(|slot| OperatorAction::RetireKey { slot }),
        "revive_key" => reader.key().map(|slot| OperatorAction::ReviveKey { slot }),
        "close_client" => reader.client().map(|client| OperatorAction::CloseClient { client }),
        _ => Some(OperatorAction::Drain),
    };
    match (action, reason) {
        (Some(action), Some(reason)) if reader.problems.is_empty() => Ok(ActionBody { action, reason }),
        _ => Err(reader.problems),
    }
}

impl<'a> BodyReader<'a> {
    fn refuse_unknown(&mut self, allowed: &[&str]) {
        for name in self.members.keys() {
            if name != "reason" && !allowed.contains(&name.as_str()) {
                let shown: String = name.chars().take(40).collect();
                let known = [&["reason"], allowed].concat().join(", ");
                self.problems
                    .push(format!("{shown:?} is not a member of this action; there are {known}"));
            }
        }
    }

    /// A required text.
    fn text(&mut self, name: &str) -> Option<&'a str> {
        let found = self.members.get(name);
        let text = found.and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        if text.is_none() {
            let problem = match found {
                None => format!("{name} is missing"),
                Some(_) => format!("{name} must be a string that is not empty"),
            };
            self.problems.push(problem);
        }
        text
    }

    /// The reason: one line, which the journal keeps.
    fn reason(&mut self) -> Option<String> {
        let reason = self.text("reason")?.trim();
        if reason.chars().count() > limits::ACTION_REASON || reason.chars().any(char::is_control) {
            let most = limits::ACTION_REASON;
            self.problems
                .push(format!("reason must be one line of at most {most} characters"));
            return None;
        }
        Some(reason.to_owned())
    }

    fn symbol(&mut self) -> Option<Symbol> {
        let text = self.text("symbol")?;
        match self.thread.symbol(text) {
            Ok(symbol) => Some(symbol),
            Err(refused) => {
                self.problems.push(format!("symbol: {refused}"));
                None
            }
        }
    }

    fn key(&mut self) -> Option<KeySlot> {
        match self.text("key")?.parse() {
            Ok(slot) => Some(slot),
            Err(error) => {
                let error: KeySlotError = error;
                self.problems.push(format!("key {error}"));
                None
            }
        }
    }

    fn client(&mut self) -> Option<u64> {
        match self.text("client")?.parse::<ClientNumber>() {
            Ok(client) => Some(client.0),
            Err(error) => {
                self.problems.push(format!("client: {error}"));
                None
            }
        }
    }

    fn moment(&mut self, name: &str) -> Option<Moment> {
        match self.text(name)?.parse() {
            Ok(moment) => Some(moment),
            Err(error) => {
                self.problems.push(format!("{name}: {error}"));
                None
            }
        }
    }

    fn zone(&self, symbol: Option<Symbol>) -> chrono_tz::Tz {
        symbol.map_or_else(|| self.thread.zones.first(), |symbol| self.thread.zones.of(symbol))
    }

    /// Reads a backfill; `to` is now by default.
    fn backfill(&mut self, now: Timestamp) -> Option<OperatorAction> {
        let symbol = self.symbol();
        let zone = self.zone(symbol);
        let from = self.moment("from").map(|from| from.in_zone(zone));
        let to = match self.members.contains_key("to") {
            true => self.moment("to").map(|to| to.end_in_zone(zone)),
            false => Some(now),
        };
        Some(OperatorAction::Backfill {
            symbol: symbol?,
            from: from?,
            to: to?,
        })
    }

    fn override_gate(&mut self) -> Option<OperatorAction> {
        let symbol = self.symbol();
        let zone = self.zone(symbol);
        let until = self.moment("until").map(|until| until.in_zone(zone));
        Some(OperatorAction::OverrideGate {
            symbol: symbol?,
            until: until?,
        })
    }
}
