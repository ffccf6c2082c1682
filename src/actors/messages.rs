//! Every message between actors, with its sender, its receiver, and what happens when the receiver's mailbox is full.
//!
//! Facts are past tense, commands imperative, questions (marked *Ask*) are named after what is wanted. Data flows right, commands down,
//! reports up.

use crate::domain::followers::Disturbance;
use crate::domain::followers::lease::{AnotherWriter, Place};
use crate::domain::history::{Flag, Sighting, Stretch, Verdicts};
use crate::domain::lifecycle::{Break, Distrust, Turn};
use crate::domain::model::{Bar, Channel, Inbound, Position, Sequenced, Session, Symbol, Timestamp};
use crate::domain::protocol::{Options, Since};
use crate::domain::status::{ActionRefused, ActionRequest};
use crate::domain::vendor::{KeySlot, NoKey, Purpose, Trouble};
use actix::Message;
use bytes::Bytes;
use secrecy::SecretString;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Feed, Poller, Backfill, Validator, Root, Health → Aggregator. Inputs from the vendor, findings about the history, and entries of the
/// journal, in order. *Wait*: a full mailbox stops the reading of the socket, and in the end the vendor's TCP window closes.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Arrived(pub Vec<Inbound>);

/// Recorder, LogKeeper, LogFollower → Writer, Publisher, Fanout, Tap. Events that are in the ledger; immutable and shared. *Lag*: a full
/// mailbox drops the message, and the reader catches up from the ledger when the next message shows it a position beyond its own.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Recorded {
    /// The events and forming bars, in order. Empty when the message only says how far the ledger goes.
    pub told: Arc<[Told]>,
    /// The last position in the ledger.
    pub head: Position,
}

/// An item to publish, with its encoded frame.
#[derive(Debug)]
pub struct Told {
    /// The item.
    pub item: Item,
    /// Its frame for WebSocket clients, encoded on first use and shared by all.
    pub frame: OnceLock<Bytes>,
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A durable event.
    Event(Sequenced),
    /// A forming bar.
    Partial {
        /// The bar so far.
        bar: Bar,
        /// The last durable seq of its channel.
        base: u64,
    },
}

impl From<Item> for Told {
    fn from(item: Item) -> Self {
        Self {
            item,
            frame: OnceLock::new(),
        }
    }
}

/// Children, their supervisors and the app → Root: the only message that travels upward. Facts. *Wait*: the sender keeps a report that
/// finds the mailbox full, and retries.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum Report {
    /// The link to the vendor is up: it has confirmed a pair.
    LinkUp,
    /// The link to the vendor is down.
    LinkDown {
        /// The cause that gaps are given.
        cause: String,
    },
    /// Prices are overdue on a link that is up.
    FeedSilent,
    /// A price is accepted again, or no prices are wanted.
    FeedHeard,
    /// These pairs are polled over REST, because the link does not deliver them.
    Polling(Vec<Symbol>),
    /// The link delivers every pair again, or no prices are wanted.
    PollingOver,
    /// No key may be used before `until`.
    KeysExhausted {
        /// `retired` or `day_spent`.
        reason: &'static str,
        /// When one may be used again.
        until: Timestamp,
    },
    /// A key may be used again.
    KeysUsable,
    /// A child was restarted.
    Restarted {
        /// Its name in the tree.
        child: String,
        /// How often since the process started.
        restarts: u32,
    },
    /// A child failed more often than its budget allows.
    GaveUp {
        /// Its name in the tree.
        child: String,
        /// What its row of the tree says must happen now.
        then: WhenSpent,
    },
    /// A child whose budget was spent has run for the budget's window without a failure.
    Steady {
        /// Its name in the tree.
        child: String,
    },
    /// The ledger cannot be written: nothing new is published.
    LedgerUnwritable {
        /// The error's name, for programs.
        reason: &'static str,
        /// The error, for people.
        cause: String,
    },
    /// The ledger can be written again.
    LedgerWritable,
    /// The store cannot be written: it falls behind the ledger.
    StoreLost {
        /// The error's name, for programs.
        reason: &'static str,
        /// The error, for people.
        cause: String,
    },
    /// The store can be written again.
    StoreBack,
    /// The store has events of this ledger that the ledger itself lacks.
    StoreAhead {
        /// How many.
        events: u64,
        /// Since the start, other events were published under their numbers: the process must restart with new epochs.
        restart: bool,
    },
    /// The store has events of other ledgers only, of which this ledger knows nothing.
    StoreOfAnother {
        /// How many.
        events: u64,
    },
    /// The cache cannot be written.
    CacheLost {
        /// The error's name, for programs.
        reason: &'static str,
        /// The error, for people.
        cause: String,
    },
    /// The cache can be written again.
    CacheBack,
    /// Another program changed a channel's Redis stream, or (repeated with each check) the stream is not whole yet.
    StreamDisturbed {
        /// The channel.
        channel: Channel,
        /// What happened to the stream.
        disturbance: Disturbance,
    },
    /// The current state of the ready flag.
    Flag(Sighting),
    /// A pair's session opened, closed or is about to open. The first report of a session clock also says that a pair's market is closed.
    SessionTurned(Turn),
    /// The wall clock is not trusted; market time runs on the machine's steady clock.
    ClockStepped(Distrust),
    /// The wall clock is trusted again.
    ClockTrusted,
    /// Market time was set to the wall clock.
    ClockSet(Break),
    /// The process did not run for a while.
    ProcessPaused(Break),
    /// The calendar's override file changed and was read. `Err`: the file is invalid, and the previous calendar stays in force.
    CalendarRead(Result<(), String>),
    /// The history of every pair was checked.
    Judged(Arc<Verdicts>),
    /// A pair's missing history was requested, and the request is over: it was answered, there is no such history, or it takes too long.
    HistoryFetched(Symbol),
    /// Log lines are being lost, or (`false`) no longer.
    LogLinesLost(bool),
    /// Another candela holds the right to write here; this one writes nothing there.
    AnotherWriter(AnotherWriter),
    /// The lease of a leader was not renewed for as long as it lasts.
    LeaseUnrenewable {
        /// Why.
        cause: String,
    },
    /// It is renewed again.
    LeaseRenewed,
    /// The cluster log takes no parcels.
    LogAway {
        /// Why.
        cause: String,
    },
    /// The cluster log takes parcels again.
    LogBack,
    /// The cluster log belongs to another leader or to another ledger than this node's: the process must restart.
    LogForeign {
        /// How that shows.
        cause: String,
    },
    /// This process is the only writer there again.
    SoleWriter(Place),
    /// The process was asked to stop: no more prices are wanted. Sent by the app.
    Stopping,
}

/// Root → L0Watcher. Check the ready flag now and report it, changed or not. *Latest*: when the mailbox is full, another such message is in
/// it.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct LookAtFlag;

/// Root → Validator. A pair's session opened: find where history ends and its live bars begin. *Latest*: the pair's next session
/// replaces it.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct MarkSeam {
    /// The pair.
    pub symbol: Symbol,
    /// Its session.
    pub session: Session,
}

/// Root → Validator. Request these stretches of each pair's missing history, then report `HistoryFetched` for that pair. *Latest*: what
/// finds the mailbox full is requested again with the next check. The answer says whether all of it was requested: a pair with a request
/// under way is skipped.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "bool")]
pub struct FillHistory(pub Vec<(Symbol, Vec<Stretch>)>);

/// Root → Validator. Check the history of every pair. *Latest*: Root asks again when no verdict comes.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Validate {
    /// The flag that the check is for.
    pub flag: Option<Flag>,
}

/// Web → Root. Ask: run an action that an operator requests; the answer says that it was done, or why not. *Wait*: the operator waits, for
/// [`limits::ACTION_ANSWER`](crate::limits::ACTION_ANSWER) at most.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<(), ActionRefused>")]
pub struct RunAction(pub ActionRequest);

/// Root → KeyPool. Take a key out of use, or put it back. *Wait*: the operator's request fails when the mailbox is full.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "Result<(), ActionRefused>")]
pub struct UseKey {
    /// The key.
    pub slot: KeySlot,
    /// Whether it may be used.
    pub use_it: bool,
}

/// App → Writer. Write everything that the ledger holds now, without waiting for count or age; the view shows how far the Writer is.
/// *Latest*: a message that finds the mailbox full may be sent again.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Flush;

/// Aggregator → Recorder. The commit queue has entries. *Latest*: a message that finds the mailbox full adds nothing to those in it.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Handed;
/// Client → Fanout. Ask: subscribe to these channels; the answer, snapshots and replays go to the client's outbox in that order. *Wait*: a
/// full mailbox delays only this client's next request.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// The client.
    pub client: ClientId,
    /// Echoed in the answer.
    pub id: Option<serde_json::Value>,
    /// The channels, each with where to begin.
    pub channels: Vec<(Channel, Since)>,
    /// Also subscribe to the service's status.
    pub status: bool,
    /// The client's options.
    pub options: Options,
    /// Whether a snapshot is sent first.
    pub snapshot: bool,
}

/// Client → Fanout. Unsubscribe from these channels. *Wait*, as [`Subscribe`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Unsubscribe {
    /// The client.
    pub client: ClientId,
    /// Echoed in the answer.
    pub id: Option<serde_json::Value>,
    /// The channels.
    pub channels: Vec<Channel>,
    /// Also unsubscribe from the service's status.
    pub status: bool,
}

/// Feed, Poller, Backfill → KeyPool. Ask: a key to use now, or when to ask again. *Wait*: the sender has nothing else to do.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<AcquiredKey, NoKey>")]
pub struct AcquireKey {
    /// What the key is for.
    pub purpose: Purpose,
    /// What the call will cost; 0 for the link.
    pub credits: u32,
}

/// The right to use one key once, or, for the link, until the vendor refuses the key.
#[derive(Debug, Clone)]
pub struct AcquiredKey {
    /// The key's place in the settings.
    pub slot: KeySlot,
    /// The key's text.
    pub key: SecretString,
}

/// Feed, Poller, Backfill → KeyPool. How the vendor answered a call with an acquired key. *Wait*: without this message the key stays in use.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct KeyAnswered {
    /// The key.
    pub slot: KeySlot,
    /// What it was used for.
    pub purpose: Purpose,
    /// Why the vendor refused, if it did.
    pub trouble: Option<Trouble>,
    /// The link that was opened with it delivered a price.
    pub link_served: bool,
    /// How long the vendor asked us to wait, when it refused.
    pub retry_after: Option<Duration>,
    /// Credits used this minute, as the vendor counts.
    pub used: Option<u32>,
    /// Credits left this minute, as the vendor counts.
    pub left: Option<u32>,
}

impl KeyAnswered {
    /// The key was used, and the vendor's answer said nothing about it.
    pub const fn nothing(slot: KeySlot, purpose: Purpose) -> Self {
        Self {
            slot,
            purpose,
            trouble: None,
            link_served: false,
            retry_after: None,
            used: None,
            left: None,
        }
    }
}

// --- types that messages use -------------------------------------------------------------------------------------------

/// Identifies one connection within its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What happens when a child failed more often than its budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenSpent {
    /// The process ends with exit code 70; the container or service manager restarts it.
    Exit,
    /// The child is parked; the service continues without it, with polling and backfill, and Root resumes it later.
    FallBack,
    /// It keeps restarting at its longest back-off, with a condition on `/status`.
    KeepTrying,
}
