//! Parses clients' messages: JSON text in, a request or a problem out. Never panics.

use crate::domain::model::{Channel, ChannelError, Epoch, Moment, Symbol, Topic};
use crate::domain::protocol::{Options, Problem};
use crate::limits;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// A client's request.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// The old service's heartbeat.
    Heartbeat,
    /// A ping in JSON.
    Ping {
        /// Echoed in the answer.
        id: Option<Value>,
    },
    /// A token.
    Auth {
        /// Echoed in the answer.
        id: Option<Value>,
        /// The token's secret.
        token: String,
    },
    /// Subscribe to channels.
    Subscribe(SubscribeRequest),
    /// Unsubscribe from channels.
    Unsubscribe {
        /// Echoed in the answer.
        id: Option<Value>,
        /// The channels.
        channels: Vec<Wanted>,
    },
}

/// A request to subscribe to channels.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscribeRequest {
    /// Echoed in the answer.
    pub id: Option<Value>,
    /// The channels, each with where to begin.
    pub channels: Vec<(Wanted, Since)>,
    /// Where to begin with single channels, which may be among those of a wildcard.
    pub places: Vec<(Channel, Since)>,
    /// The options of the subscriptions.
    pub options: Options,
    /// Whether to send a snapshot first.
    pub snapshot: bool,
}

/// A channel, or a topic for every symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// One channel.
    One(Channel),
    /// A topic for every symbol, such as `ticks:*`.
    Every(Topic),
    /// The service's status.
    Status,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Since {
    /// With the next message.
    #[default]
    Now,
    /// After this position.
    Position {
        /// The incarnation that the client knows.
        epoch: Option<Epoch>,
        /// The last seq that it has.
        seq: u64,
    },
    /// With the first message at or after this instant; a local time is in the zone of the channel's market.
    Time(Moment),
    /// With this number of latest messages.
    Last(u64),
    /// With the first message of the current session.
    SessionStart,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRefusal {
    /// The request's id, to be echoed.
    pub id: Option<Value>,
    /// The kind of problem.
    pub problem: Problem,
    /// The problem as a sentence for people.
    pub message: String,
}

/// The options as they are sent on the wire.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireOptions {
    snapshot: Option<bool>,
    partials: Option<bool>,
    max_hz: Option<f64>,
    on_slow: Option<String>,
}

/// Parses one message of a client.
///
/// # Errors
/// [`RequestRefusal`] when it is not a JSON object, has no known action, or a field is wrong.
pub fn parse(text: &str) -> Result<Request, RequestRefusal> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| refuse(None, Problem::BadJson, &format!("the message is not JSON: {error}")))?;
    let Value::Object(object) = value else {
        return Err(refuse(
            None,
            Problem::BadMessage,
            "a message must be a JSON object with an \"action\"",
        ));
    };
    let id = match object.get("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.len() > 64 => {
            return Err(refuse(
                None,
                Problem::BadMessage,
                "\"id\" must be a number or a string of at most 64 bytes",
            ));
        }
        Some(id @ (Value::Number(_) | Value::String(_))) => Some(id.clone()),
        Some(_) => {
            return Err(refuse(
                None,
                Problem::BadMessage,
                "\"id\" must be a number or a string of at most 64 bytes",
            ));
        }
    };
    let action = object
        .get("action")
        .or_else(|| object.get("type"))
        .and_then(Value::as_str);
    match action {
        Some("heartbeat") => Ok(Request::Heartbeat),
        Some("ping") => Ok(Request::Ping { id }),
        Some("auth") => match object.get("token").and_then(Value::as_str) {
            Some(token) => Ok(Request::Auth {
                id,
                token: token.to_owned(),
            }),
            None => Err(refuse(id, Problem::BadMessage, "\"auth\" needs a \"token\"")),
        },
        Some("subscribe") => parse_subscribe(&object, id),
        Some("unsubscribe") => {
            let channels = wanted_list(&object, id.as_ref())?;
            Ok(Request::Unsubscribe { id, channels })
        }
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            let message = format!("action {other:?} is not one of subscribe, unsubscribe, auth, ping, heartbeat");
            Err(refuse(id, Problem::UnknownAction, &message))
        }
        None => Err(refuse(id, Problem::BadMessage, "the message has no \"action\"")),
    }
}

fn refuse(id: Option<Value>, problem: Problem, message: &str) -> RequestRefusal {
    RequestRefusal {
        id,
        problem,
        message: message.to_owned(),
    }
}

fn parse_subscribe(object: &Map<String, Value>, id: Option<Value>) -> Result<Request, RequestRefusal> {
    let bad = |message: String| refuse(id.clone(), Problem::BadMessage, &message);
    let wanted = wanted_list(object, id.as_ref())?;
    let since = match object.get("since") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value),
    };
    let (all, each) = match since {
        None => (Since::Now, Vec::new()),
        Some(Value::Object(map)) if !map.keys().any(|key| is_position_key(key)) => {
            let mut each = Vec::new();
            for (name, value) in map {
                let wanted = self::wanted(name);
                let wanted = wanted.map_err(|message| refuse(id.clone(), Problem::UnknownChannel, &message))?;
                each.push((wanted, read_since(value, id.as_ref())?));
            }
            (Since::Now, each)
        }
        Some(value) => (read_since(value, id.as_ref())?, Vec::new()),
    };
    let channels = wanted.into_iter().map(|wanted| {
        let own = each.iter().find(|(named, _)| *named == wanted);
        (wanted, own.map_or(all, |(_, since)| *since))
    });
    let channels = channels.collect();
    let single = each.iter().filter_map(|(wanted, since)| match wanted {
        Wanted::One(channel) => Some((*channel, *since)),
        Wanted::Every(_) | Wanted::Status => None,
    });
    let places = single.collect();
    let wire = match object.get("options") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(options @ Value::Object(_)) => options.clone(),
        Some(_) => return Err(bad("\"options\" must be an object".to_owned())),
    };
    let wire: WireOptions = serde_json::from_value(wire).map_err(|error| bad(format!("\"options\": {error}")))?;
    let options = read_options(&wire).map_err(&bad)?;
    Ok(Request::Subscribe(SubscribeRequest {
        id: id.clone(),
        channels,
        places,
        options,
        snapshot: wire.snapshot.unwrap_or(true),
    }))
}

fn is_position_key(key: &str) -> bool {
    matches!(key, "seq" | "epoch" | "time" | "last")
}

fn read_options(wire: &WireOptions) -> Result<Options, String> {
    let spacing = match wire.max_hz {
        None => None,
        Some(hz) if (0.01..=1000.0).contains(&hz) => Some(Duration::from_secs_f64(1.0 / hz)),
        Some(hz) => return Err(format!("\"max_hz\" is {hz:?}; it must lie between 0.01 and 1000")),
    };
    let close_when_slow = match wire.on_slow.as_deref() {
        None | Some("conflate") => false,
        Some("close") => true,
        Some(_) => return Err("\"on_slow\" must be \"conflate\" or \"close\"".to_owned()),
    };
    Ok(Options {
        partials: wire.partials.unwrap_or(true),
        spacing,
        close_when_slow,
    })
}

fn read_since(value: &Value, id: Option<&Value>) -> Result<Since, RequestRefusal> {
    parse_since(value).map_err(|(problem, message)| refuse(id.cloned(), problem, &message))
}

fn parse_since(value: &Value) -> Result<Since, (Problem, String)> {
    let unclear = || {
        let forms = "\"since\" is {\"epoch\":…,\"seq\":…}, {\"time\":…}, {\"last\":n} or \"session_start\"";
        (Problem::BadMessage, forms.to_owned())
    };
    match value {
        Value::String(text) if text == "session_start" => Ok(Since::SessionStart),
        Value::Object(map) => {
            if let Some(seq) = map.get("seq") {
                let seq = seq.as_u64().ok_or_else(unclear)?;
                let epoch = match map.get("epoch") {
                    None | Some(Value::Null) => None,
                    Some(Value::String(text)) => Some(text.parse().map_err(|_| unclear())?),
                    Some(_) => return Err(unclear()),
                };
                return Ok(Since::Position { epoch, seq });
            }
            if let Some(count) = map.get("last") {
                let count = count.as_u64().ok_or_else(unclear)?;
                if count > limits::REPLAY {
                    let message = format!(
                        "the last {count} are requested; a replay sends at most {}",
                        limits::REPLAY
                    );
                    return Err((Problem::ReplayTooLarge, message));
                }
                return Ok(Since::Last(count));
            }
            let time = map.get("time").and_then(Value::as_str).ok_or_else(unclear)?;
            let moment = time.parse::<Moment>();
            moment
                .map(Since::Time)
                .map_err(|error| (Problem::BadMessage, error.to_string()))
        }
        _ => Err(unclear()),
    }
}

fn wanted_list(object: &Map<String, Value>, id: Option<&Value>) -> Result<Vec<Wanted>, RequestRefusal> {
    let bad = |problem, message: &str| refuse(id.cloned(), problem, message);
    let Some(Value::Array(list)) = object.get("channels") else {
        return Err(bad(Problem::BadMessage, "\"channels\" must be a list of channel names"));
    };
    if list.len() > limits::CLIENT_CHANNELS {
        let message = format!(
            "{} channels are requested; {} are allowed",
            list.len(),
            limits::CLIENT_CHANNELS
        );
        return Err(bad(Problem::ChannelLimit, &message));
    }
    list.iter()
        .map(|value: &Value| {
            let text = value
                .as_str()
                .ok_or_else(|| bad(Problem::BadMessage, "a channel's name must be a string"))?;
            wanted(text).map_err(|message| bad(Problem::UnknownChannel, &message))
        })
        .collect()
}

/// Parses a channel name: `ticks:USD/COP`, `bars.5m:*`, `status`.
///
/// # Errors
/// A sentence when there is no such channel.
pub fn wanted(text: &str) -> Result<Wanted, String> {
    if text == "status" {
        return Ok(Wanted::Status);
    }
    if let Some(topic) = text.strip_suffix(":*") {
        let any = format!("{topic}:{}", Symbol::usdcop());
        let channel = any.parse::<Channel>().map_err(|error| match error {
            ChannelError::Unknown(_) => ChannelError::Unknown(text.chars().take(60).collect()),
            other => other,
        });
        return channel
            .map(|channel| Wanted::Every(channel.topic))
            .map_err(|error| error.to_string());
    }
    text.parse().map(Wanted::One).map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Interval, Timestamp};
    use proptest::prelude::*;
    use serde_json::json;

    fn subscribed(text: &str) -> SubscribeRequest {
        match parse(text).unwrap() {
            Request::Subscribe(subscribe) => subscribe,
            other => panic!("{other:?}"),
        }
    }

    fn problem(text: &str) -> Problem {
        parse(text).unwrap_err().problem
    }

    #[test]
    fn the_documented_subscription_is_read() {
        let read = subscribed(
            r#"{"action":"subscribe","id":7,"channels":["bars.5m:USD/COP","ticks:*","status"],
            "since":{"bars.5m:USD/COP":{"epoch":"k3v9","seq":41207}},
            "options":{"snapshot":false,"partials":false,"max_hz":4,"on_slow":"close"}}"#,
        );
        assert_eq!(read.id, Some(json!(7)));
        let bars = Wanted::One(Channel::bars(Interval::M5, Symbol::usdcop()));
        let since = Since::Position {
            epoch: Some("k3v9".parse().unwrap()),
            seq: 41_207,
        };
        assert_eq!(
            read.channels,
            vec![
                (bars, since),
                (Wanted::Every(Topic::Ticks), Since::Now),
                (Wanted::Status, Since::Now)
            ]
        );
        assert_eq!(
            read.places,
            vec![(Channel::bars(Interval::M5, Symbol::usdcop()), since)]
        );
        assert!(!read.snapshot && !read.options.partials && read.options.close_when_slow);
        assert_eq!(read.options.spacing, Some(Duration::from_millis(250)));
    }

    #[test]
    fn every_way_to_say_where_to_begin_is_read() {
        for (since, expect) in [
            (r#"{"last":5}"#, Since::Last(5)),
            (r#""session_start""#, Since::SessionStart),
            (
                r#"{"time":"2026-01-02T08:00:00-05:00"}"#,
                Since::Time(Moment::Instant(Timestamp::from_secs(1_767_358_800))),
            ),
            (r#"{"seq":9}"#, Since::Position { epoch: None, seq: 9 }),
            ("null", Since::Now),
        ] {
            let text = format!(r#"{{"action":"subscribe","channels":["ticks:USDCOP"],"since":{since}}}"#);
            assert_eq!(subscribed(&text).channels[0].1, expect, "{since}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_code() {
        for (text, expect) in [
            ("", Problem::BadJson),
            ("{", Problem::BadJson),
            ("[1]", Problem::BadMessage),
            ("{}", Problem::BadMessage),
            (r#"{"action":"buy"}"#, Problem::UnknownAction),
            (r#"{"action":"auth"}"#, Problem::BadMessage),
            (r#"{"action":"subscribe"}"#, Problem::BadMessage),
            (r#"{"action":"subscribe","channels":[3]}"#, Problem::BadMessage),
            (
                r#"{"action":"subscribe","channels":["trades:USD/COP"]}"#,
                Problem::UnknownChannel,
            ),
            (
                r#"{"action":"subscribe","channels":[],"options":{"max_hz":0}}"#,
                Problem::BadMessage,
            ),
            (
                r#"{"action":"subscribe","channels":[],"options":{"on_slow":"die"}}"#,
                Problem::BadMessage,
            ),
            (
                r#"{"action":"subscribe","channels":["ticks:*"],"since":{"seq":-1}}"#,
                Problem::BadMessage,
            ),
            (
                r#"{"action":"subscribe","channels":["ticks:*"],"options":[]}"#,
                Problem::BadMessage,
            ),
            (
                r#"{"action":"subscribe","channels":["ticks:*"],"since":{"tocks:USD/COP":{"seq":1}}}"#,
                Problem::UnknownChannel,
            ),
            (
                r#"{"action":"subscribe","channels":["ticks:*"],"since":{"last":100001}}"#,
                Problem::ReplayTooLarge,
            ),
            (r#"{"action":"ping","id":{}}"#, Problem::BadMessage),
        ] {
            assert_eq!(problem(text), expect, "{text}");
        }
        let many = vec!["ticks:USD/COP"; 65];
        assert_eq!(
            problem(&json!({"action": "subscribe", "channels": many}).to_string()),
            Problem::ChannelLimit
        );
    }

    #[test]
    fn an_old_client_is_understood() {
        assert_eq!(parse(r#"{"type":"heartbeat"}"#), Ok(Request::Heartbeat));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            drop(parse(&text));
        }

        #[test]
        fn no_near_miss_panics(a in "[a-z_:.*/0-9]{0,20}", b in "\\PC{0,20}") {
            let message = json!({"action": "subscribe", "channels": [&a], "since": {&a: &b}, "id": &b});
            drop(parse(&message.to_string()));
        }
    }
}
