//! The types of one client's delivery: limits, options, and the outcome of a message.

use crate::limits;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::time::Duration;

/// Encodes frames for an interface other than the WebSocket. One value is made for each client, and may have state.
pub trait Framing: fmt::Debug {
    /// Encodes `frame`; writes nothing if it has no meaning there.
    fn encode(&mut self, frame: &[u8], into: &mut BytesMut);

    /// Whether its clients are pinged, and must answer.
    fn pings(&self) -> bool;
}

/// How many messages may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Messages in the control lane.
    pub control: usize,
    /// Messages in the data lane.
    pub data: usize,
    /// The maximum age of a control message.
    pub age: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            control: limits::CLIENT_CONTROL_LANE,
            data: limits::CLIENT_DATA_LANE,
            age: limits::CLIENT_CONTROL_AGE,
        }
    }
}

/// The options of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to send forming bars.
    pub partials: bool,
    /// The minimum time between two data messages of the channel; messages in between are conflated.
    pub spacing: Option<Duration>,
    /// Close the connection rather than conflate.
    pub close_when_slow: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partials: true,
            spacing: None,
            close_when_slow: false,
        }
    }
}

/// The outcome of an offered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// It waits to be sent.
    Queued,
    /// The client is not subscribed to anything it belongs to.
    NotFollowed,
    /// The client has received it already.
    Duplicate,
    /// A replay is running that includes this message.
    Held,
    /// The control lane is crowded: a replay sends this message and later ones as there is room. A burst of messages that must not be
    /// dropped does not make a client a slow consumer; only a lane that does not move does.
    Later,
    /// Messages before it are missing: the caller sends those first, or reports them as skipped.
    Hole {
        /// The seq that must come next.
        expected: u64,
    },
}

/// Whether ticks may be written to a client without queueing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Passed {
    /// The ticks from this seq on may be written.
    From(u64),
    /// The client has them already, or does not subscribe to the channel.
    Nothing,
    /// Messages are queued before them: the ticks must be offered.
    No,
}

/// Why a client must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evict {
    /// The control lane is full.
    ControlFull,
    /// The oldest control message has waited too long.
    ControlOld,
    /// The client asked to be closed rather than conflated.
    Refuses,
}

impl Evict {
    /// The close frame's reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ControlFull => "too many messages that must not be dropped are queued",
            Self::ControlOld => "the oldest message that must not be dropped was queued for over 10 s",
            Self::Refuses => "slow, and requested to be closed instead of conflated",
        }
    }
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// An encoded frame.
    Frame(Bytes),
    /// An encoded frame that stands for all messages from `from` up to its own seq.
    Covering {
        /// The frame of the newest message.
        frame: Bytes,
        /// The first seq that it covers.
        from: u64,
    },
    /// A notice that the client has become slow, or is no longer.
    Slow {
        /// Whether it has become slow.
        warn: bool,
        /// How many messages were conflated meanwhile.
        conflated: u64,
    },
}

impl Out {
    /// Its approximate size in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) | Self::Covering { frame, .. } => frame.len(),
            Self::Slow { .. } => 100,
        }
    }
}
