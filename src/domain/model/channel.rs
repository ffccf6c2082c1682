//! A channel: one gapless, numbered log of durable messages that clients subscribe to.

use crate::domain::model::{Interval, IntervalError, Symbol, SymbolError};
use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a channel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Accepted ticks.
    Ticks,
    /// Closed and revised bars of one interval.
    Bars(Interval),
    /// Gaps, seams and certificates.
    Quality,
    /// Opening and closing of sessions, and their announcements.
    Session,
    /// The journal of the service; has no pair.
    Events,
}

/// One topic of one symbol, such as `bars.5m:USD/COP`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// What it carries.
    pub topic: Topic,
    /// The pair; `None` for the journal's channel alone.
    pair: Option<Symbol>,
}

/// Why a text is not a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// No `topic:symbol`, or an unknown topic.
    #[error(
        "channel {0:?} is not ticks:SYMBOL, bars.INTERVAL:SYMBOL, quality:SYMBOL, session:SYMBOL, events or status"
    )]
    Unknown(String),
    /// A known topic with a malformed interval.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// A known topic with a malformed symbol.
    #[error(transparent)]
    Symbol(#[from] SymbolError),
}

/// The name of the journal's channel.
const EVENTS: &str = "events";

impl Channel {
    /// The ticks of a pair.
    pub const fn ticks(symbol: Symbol) -> Self {
        Self {
            topic: Topic::Ticks,
            pair: Some(symbol),
        }
    }

    /// The bars of a pair.
    pub const fn bars(interval: Interval, symbol: Symbol) -> Self {
        Self {
            topic: Topic::Bars(interval),
            pair: Some(symbol),
        }
    }

    /// The gaps, seams and certificates of a pair.
    pub const fn quality(symbol: Symbol) -> Self {
        Self {
            topic: Topic::Quality,
            pair: Some(symbol),
        }
    }

    /// The channel of a topic and a pair; the journal's channel ignores the pair.
    pub const fn of_topic(topic: Topic, symbol: Symbol) -> Self {
        match topic {
            Topic::Events => Self::events(),
            _ => Self {
                topic,
                pair: Some(symbol),
            },
        }
    }

    /// The pair, unless this is the journal's channel.
    pub const fn pair(&self) -> Option<Symbol> {
        self.pair
    }

    /// The journal.
    pub const fn events() -> Self {
        Self {
            topic: Topic::Events,
            pair: None,
        }
    }

    /// The session of a pair.
    pub const fn session(symbol: Symbol) -> Self {
        Self {
            topic: Topic::Session,
            pair: Some(symbol),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = self.pair.as_ref().map_or("", Symbol::as_str);
        match self.topic {
            Topic::Ticks => write!(f, "ticks:{pair}"),
            Topic::Bars(interval) => write!(f, "bars.{interval}:{pair}"),
            Topic::Quality => write!(f, "quality:{pair}"),
            Topic::Session => write!(f, "session:{pair}"),
            Topic::Events => f.write_str(EVENTS),
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Channel {
    type Err = ChannelError;
    fn from_str(text: &str) -> Result<Self, ChannelError> {
        let unknown = || ChannelError::Unknown(text.chars().take(60).collect());
        if text == EVENTS {
            return Ok(Self::events());
        }
        let (topic, symbol) = text.split_once(':').ok_or_else(unknown)?;
        let topic = match topic.strip_prefix("bars.") {
            Some(interval) => Topic::Bars(interval.parse()?),
            None if topic == "ticks" => Topic::Ticks,
            None if topic == "quality" => Topic::Quality,
            None if topic == "session" => Topic::Session,
            None => return Err(unknown()),
        };
        Ok(Self::of_topic(topic, symbol.parse()?))
    }
}

/// The incarnation of a channel's numbers. Changes only when continuity cannot be shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(ArrayString<4>);

impl Epoch {
    /// Four base-36 digits made from a random number; the number is an argument so that tests can choose it.
    pub fn from_random(mut random: u64) -> Self {
        let mut text = ArrayString::new();
        for _ in 0..4 {
            let digit = u32::try_from(random % 36).unwrap_or(0);
            text.push(char::from_digit(digit, 36).unwrap_or('0'));
            random /= 36;
        }
        Self(text)
    }

    /// The four characters.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Epoch {
    type Err = ChannelError;
    fn from_str(text: &str) -> Result<Self, ChannelError> {
        if text.len() != 4 || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(ChannelError::Unknown(text.chars().take(20).collect()));
        }
        ArrayString::from(text)
            .map(Self)
            .map_err(|_| ChannelError::Unknown(text.to_owned()))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of a channel's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The channel's incarnation.
    pub epoch: Epoch,
    /// The last number assigned; 0 before the first.
    pub seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let symbol = Symbol::usdcop();
        for channel in [
            Channel::ticks(symbol),
            Channel::bars(Interval::M5, symbol),
            Channel::bars(Interval::Session, symbol),
            Channel::quality(symbol),
            Channel::session(symbol),
            Channel::events(),
        ] {
            assert_eq!(channel.to_string().parse(), Ok(channel));
        }
        assert_eq!(Channel::bars(Interval::M5, symbol).to_string(), "bars.5m:USD/COP");
    }

    #[test]
    fn what_is_no_channel_is_refused() {
        for text in [
            "",
            "ticks",
            "ticks:",
            "bars:USD/COP",
            "bars.5:USD/COP",
            "trades:USD/COP",
            "ticks:USD",
            "events:USD/COP",
            "ticks:-",
        ] {
            assert!(text.parse::<Channel>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_epoch_is_four_characters_and_read_back() {
        for random in [0, 1, 35, 36, u64::MAX] {
            let epoch = Epoch::from_random(random);
            assert_eq!(epoch.as_str().parse::<Epoch>(), Ok(epoch));
        }
        assert!("K3V9".parse::<Epoch>().is_err());
    }
}
