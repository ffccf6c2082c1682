//! Every message between actors, with its edge and what happens when the receiver's mailbox is full.
//!
//! Facts are past tense, commands imperative, asks name the want. Data flows right, commands down, reports up.

use crate::domain::followers::Disturbance;
use crate::domain::followers::lease::{AnotherWriter, Place};
use crate::domain::history::{Flag, Sighting, Stretch, Verdicts};
use crate::domain::lifecycle::{Break, Distrust, Turn};
use crate::domain::model::{Bar, Channel, Inbound, Position, Sequenced, Session, Symbol, Timestamp};
use crate::domain::protocol::{Options, Since};
use crate::domain::status::{ActionRefused, ActionRequest};
use crate::domain::vendor::{KeySlot, NoLease, Purpose, Trouble};
use actix::Message;
use bytes::Bytes;
use secrecy::SecretString;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Feed, Poller, Backfill, Validator → Aggregator. What was heard from upstream, or found of the history, in order. *Wait*: a
/// full mailbox stops the reading of the socket, and in the end the vendor's TCP window.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Arrived(pub Vec<Inbound>);

/// Recorder → Writer, Publisher, Fanout. Written down; immutable; shared. *Lag*: a full mailbox drops the message, and the
/// reader catches up from the ledger when the next one shows it a position beyond its own.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Recorded {
    /// What was written, in order; may be empty, which only tells how far the ledger goes.
    pub told: Arc<[Told]>,
    /// The last position that is written down.
    pub head: Position,
}

/// One thing to tell.
#[derive(Debug)]
pub struct Told {
    /// What it is.
    pub item: Item,
    /// Its frame for WebSocket clients, encoded by the first who needs it and shared by all.
    pub frame: OnceLock<Bytes>,
}

/// What can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A durable event.
    Event(Sequenced),
    /// A bar still forming; `base` is the last durable seq of its channel.
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

/// children → Root: the only message that travels upward. Facts. *Wait*: the supervisor and the children keep a report that
/// finds the mailbox full and try again.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum Report {
    /// The link to the vendor is up: it has confirmed a pair.
    LinkUp,
    /// The link to the vendor is down.
    LinkDown {
        /// A name fit for a gap's cause.
        cause: String,
    },
    /// Prices are overdue on a link that is up.
    FeedSilent,
    /// A price is accepted again, or none is wanted.
    FeedHeard,
    /// These pairs are asked for over REST, because the link does not bring them.
    Polling(Vec<Symbol>),
    /// The link has every pair again, or none is wanted.
    PollingOver,
    /// No key may be used before then.
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
        /// What its row says must happen now.
        then: WhenSpent,
    },
    /// A child that had given up has run well for its budget's window.
    Steady {
        /// Its name in the tree.
        child: String,
    },
    /// The ledger cannot be written: nothing new is told.
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
    /// The store has events of this ledger that the ledger does not have.
    StoreAhead {
        /// How many.
        events: u64,
        /// Other events were told under their numbers since the start: the process must begin anew, with new epochs.
        restart: bool,
    },
    /// The store has events of other ledgers alone, of which this one knows nothing.
    StoreOfAnother {
        /// How many.
        events: u64,
    },
    /// The cache cannot be told anything.
    CacheLost {
        /// The error's name, for programs.
        reason: &'static str,
        /// The error, for people.
        cause: String,
    },
    /// The cache can be told again.
    CacheBack,
    /// Somebody else changed a channel's stream, or (said again with each look) it is not whole yet.
    StreamDisturbed {
        /// The channel.
        channel: Channel,
        /// What was done.
        disturbance: Disturbance,
    },
    /// What stands in the place of the ready flag now.
    Flag(Sighting),
    /// A pair's session turned. The first look of a session clock also tells that a pair's market is closed.
    SessionTurned(Turn),
    /// The wall clock is not trusted; market time runs on the machine's steady clock.
    ClockStepped(Distrust),
    /// The wall clock is trusted again.
    ClockTrusted,
    /// Market time was set to the wall clock.
    ClockSet(Break),
    /// The process did not run for a while.
    ProcessPaused(Break),
    /// The calendar's override file changed and was read; `Err`: it is wrong, and what it said before holds.
    CalendarRead(Result<(), String>),
    /// The history of every pair was checked.
    Judged(Arc<Verdicts>),
    /// A pair's missing history was asked for: it came, or does not exist, or takes too long.
    HistoryFetched(Symbol),
    /// Log lines are being lost, or (`false`) are not any more.
    LogLinesLost(bool),
    /// Another candela writes where this one should, and nothing of ours is written there.
    AnotherWriter(AnotherWriter),
    /// The log of the cluster takes no parcels.
    LogAway {
        /// Why.
        cause: String,
    },
    /// It takes them again.
    LogBack,
    /// It is of another leader or of another ledger than this node's: the process must begin anew.
    LogForeign {
        /// How that shows.
        cause: String,
    },
    /// Only this one writes there again.
    SoleWriter(Place),
    /// The process is asked to stop: no more prices are wanted. From the app.
    Stopping,
}

/// Root → L0Watcher. Look now, and tell what there is, changed or not. *Latest*: one that finds the mailbox full has others
/// before it.
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

/// Root → Validator. Have these stretches of each pair's missing history fetched, then say `HistoryFetched` of that pair. *Latest*:
/// one that finds the mailbox full is asked for again with the next check. The answer is whether all of it is asked for: a pair whose
/// history is waited for already is passed over.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "bool")]
pub struct FillHistory(pub Vec<(Symbol, Vec<Stretch>)>);

/// Root → Validator. Check the history of every pair. *Latest*: Root asks again when no verdict comes.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Validate {
    /// The flag that asks for it.
    pub flag: Option<Flag>,
}

/// Web → Root. Ask: run an action that an operator requests; the answer says that it was done, or why not. *Wait*: the operator waits, for
/// [`limits::ACTION_ANSWER`](crate::limits::ACTION_ANSWER) at the longest.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<(), ActionRefused>")]
pub struct RunAction(pub ActionRequest);

/// Root → KeyPool. Take a key out of use, or use it again. *Wait*: Root tells the operator when the mailbox is full.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "Result<(), ActionRefused>")]
pub struct UseKey {
    /// Which key.
    pub slot: KeySlot,
    /// Whether it is to be used.
    pub use_it: bool,
}

/// Root → Writer, Publisher. Write all that the ledger holds by now without waiting for count or age; how far it has come is in
/// the view. *Latest*: one that finds the mailbox full may be sent again.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Flush;

/// Aggregator → Recorder. There is something on the commit queue. *Latest*: one that finds the mailbox full says nothing new.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Handed;
/// Client → Fanout. Ask: follow these channels; the answer, snapshots and replays go to the client's outbox in their order.
/// *Wait*: a full mailbox holds this client's next request back, and no one else's.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// Who.
    pub client: ClientId,
    /// Echoed in the answer.
    pub id: Option<serde_json::Value>,
    /// What, and where to begin.
    pub channels: Vec<(Channel, Since)>,
    /// Also the service's status.
    pub status: bool,
    /// How.
    pub options: Options,
    /// Whether a snapshot comes first.
    pub snapshot: bool,
}

/// Client → Fanout. Follow these channels no longer. *Wait*, as [`Subscribe`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Unsubscribe {
    /// Who.
    pub client: ClientId,
    /// Echoed in the answer.
    pub id: Option<serde_json::Value>,
    /// What.
    pub channels: Vec<Channel>,
    /// Also the service's status.
    pub status: bool,
}

/// Feed, Poller, Backfill → KeyPool. Ask: a key to use now, or when to come back. *Wait*: whoever asks has nothing else to do.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<Lease, NoLease>")]
pub struct LeaseKey {
    /// What for.
    pub purpose: Purpose,
    /// What the call will cost; nothing for the link.
    pub credits: u32,
}

/// The right to use one key once; for the link, until it is refused.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Which key.
    pub slot: KeySlot,
    /// Its text.
    pub key: SecretString,
}

/// Feed, Poller, Backfill → KeyPool. What the vendor made of a leased key. *Wait*: an answer that is not told leaves the key
/// in use.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct KeyAnswered {
    /// Which key.
    pub slot: KeySlot,
    /// What it was used for.
    pub purpose: Purpose,
    /// Why the vendor refused, if it did.
    pub trouble: Option<Trouble>,
    /// The link that was opened with it delivered a price.
    pub link_served: bool,
    /// How long the vendor asked us to stay away, when it refused.
    pub retry_after: Option<Duration>,
    /// Credits used this minute, as the vendor counts.
    pub used: Option<u32>,
    /// Credits left this minute, as the vendor counts.
    pub left: Option<u32>,
}

impl KeyAnswered {
    /// The key was used, and the vendor said nothing of it.
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

// --- what messages name -----------------------------------------------------------------------------------------------

/// Names one connection within its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What happens when a child failed more often than its budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenSpent {
    /// The process ends with exit code 70, and whoever runs it starts it anew.
    Exit,
    /// The child is parked; the service continues without it, with polling and backfill, and Root resumes it later.
    FallBack,
    /// It keeps restarting at its longest back-off, and is a condition on `/status`.
    KeepTrying,
}
