//! The words in which one client's delivery is spoken of: how much may wait, what was asked for, what became of a message.

use crate::limits;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::time::Duration;

/// How a surface other than the socket writes what the socket's frames say. One is made for each client, and may remember.
pub trait Framing: fmt::Debug {
    /// Writes what `frame` is there; nothing where it has no meaning.
    fn encode(&mut self, frame: &[u8], into: &mut BytesMut);

    /// Whether its clients are pinged, and must answer.
    fn pings(&self) -> bool;
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Messages in the control lane.
    pub control: usize,
    /// Messages in the data lane.
    pub data: usize,
    /// The oldest a control message may become.
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

/// What a client asked for with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Also bars that are still forming.
    pub partials: bool,
    /// At least this long between two data messages of the channel; what comes between is conflated.
    pub spacing: Option<Duration>,
    /// End the connection rather than conflate.
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

/// What became of an offered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// It waits to be sent.
    Queued,
    /// The client follows nothing that this belongs to.
    NotFollowed,
    /// The client has it already.
    Duplicate,
    /// A replay is on its way; this message is part of what it will bring.
    Held,
    /// The control lane is crowded: a replay brings this message, and what follows it, as there is room. A burst of what must not
    /// be dropped makes nobody a slow consumer; only a lane that does not move does.
    Later,
    /// Messages before it are missing: the caller brings those first, or says that they are skipped.
    Hole {
        /// The seq that must come next.
        expected: u64,
    },
}

/// Whether ticks may go to a client past its queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Passed {
    /// Those from this seq on.
    From(u64),
    /// It has them already, or does not follow the channel.
    Nothing,
    /// Something stands before them: they must be offered.
    No,
}

/// Why a client must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evict {
    /// The control lane is full.
    ControlFull,
    /// The oldest control message waits too long.
    ControlOld,
    /// It asked to be closed rather than conflated.
    Refuses,
}

impl Evict {
    /// The close frame's reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ControlFull => "too many messages wait that must not be dropped",
            Self::ControlOld => "the oldest message that must not be dropped waited over 10 s",
            Self::Refuses => "slow, and asked to be closed rather than conflated",
        }
    }
}

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// A ready frame.
    Frame(Bytes),
    /// A ready frame that stands for all from `from` up to its own seq.
    Covering {
        /// The frame of the newest.
        frame: Bytes,
        /// The first seq it covers.
        from: u64,
    },
    /// The client is slow, or no longer.
    Slow {
        /// Slow from now on, or caught up.
        warn: bool,
        /// How many messages were conflated away meanwhile.
        conflated: u64,
    },
}

impl Out {
    /// How many bytes it will be, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) | Self::Covering { frame, .. } => frame.len(),
            Self::Slow { .. } => 100,
        }
    }
}
