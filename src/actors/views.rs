//! What the children show: each view is written by the child that is named beside it, and read by whoever needs it.

use crate::client_list::ClientList;
use crate::clock::Stopwatch;
use crate::domain::cluster::LogNews;
use crate::domain::followers::ReaderView;
use crate::domain::followers::lease::{Place, Standing};
use crate::domain::history::Verdicts;
use crate::domain::model::{AcceptedTick, Bar, Gap, Interval, Position, Seam, Symbol, Timestamp};
use crate::domain::pipeline::{AcceptanceView, PairCounts, PipelineCounts, Unchecked};
use crate::domain::vendor::{FeedView, Forecast, KeysView, SeriesRequest};
use crate::exit::Exit;
use crate::limits;
use crate::measures::Measures;
use crate::views::{Overall, ServiceView};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What the children show. Clones share it, and it outlives restarts.
#[derive(Debug, Clone)]
pub struct Views {
    /// The state of the service. Root's.
    pub overall: watch::Sender<Overall>,
    /// Whether prices are wanted. Root's.
    pub wanted: watch::Sender<bool>,
    /// How the process must end, once it must. Root's.
    pub ending: watch::Sender<Option<Exit>>,
    /// The last verdict on each pair's history. Root's.
    pub verdicts: watch::Sender<Arc<Verdicts>>,
    /// How the right to write stands. The LeaseKeeper's.
    pub leases: watch::Sender<Vec<LeaseView>>,
    /// The Recorder's.
    pub latest: watch::Sender<LatestView>,
    /// The Aggregator's.
    pub pipeline: watch::Sender<PipelineView>,
    /// The Feed's.
    pub feed: watch::Sender<FeedView>,
    /// The Writer's.
    pub store: watch::Sender<ReaderView>,
    /// What an edge knows of the cluster log that it follows; nothing on any other node. The LogFollower's.
    pub log: watch::Sender<Option<LogNews>>,
    /// The Publisher's.
    pub cache: watch::Sender<ReaderView>,
    /// The KeyPool's.
    pub keys: watch::Sender<KeysView>,
    /// The Backfill's.
    pub backfill: watch::Sender<BackfillView>,
    /// The Poller's.
    pub poller: watch::Sender<PollerView>,
    /// Where each pair's history ends and its live bars begin. The Validator's.
    pub seams: watch::Sender<BTreeMap<Symbol, Seam>>,
    /// The snapshot that REST reads. Health's.
    pub service: watch::Sender<Arc<ServiceView>>,
    /// The `status` message as a ready frame. Health's.
    pub status_frame: watch::Sender<Bytes>,
    /// What is counted and timed where it happens, for `/metrics`. Everybody's.
    pub measures: Measures,
    /// The clients that are connected. The fan-out's.
    pub clients: ClientList,
}

impl Views {
    /// Before any child has shown anything; `store` and `cache` are kinds: `sqlite`, `redis`, ….
    pub fn new(now: Timestamp, store: &'static str, cache: &'static str) -> Self {
        let [store, cache] = [store, cache].map(|kind| ReaderView {
            kind,
            ..ReaderView::default()
        });
        Self {
            overall: watch::Sender::new(starting(now)),
            wanted: watch::Sender::new(false),
            ending: watch::Sender::default(),
            verdicts: watch::Sender::default(),
            leases: watch::Sender::default(),
            latest: watch::Sender::default(),
            pipeline: watch::Sender::default(),
            feed: watch::Sender::new(FeedView::idle(now)),
            store: watch::Sender::new(store),
            log: watch::Sender::default(),
            cache: watch::Sender::new(cache),
            keys: watch::Sender::default(),
            backfill: watch::Sender::default(),
            poller: watch::Sender::default(),
            seams: watch::Sender::default(),
            service: watch::Sender::default(),
            status_frame: watch::Sender::default(),
            measures: Measures::default(),
            clients: ClientList::default(),
        }
    }
}

/// The state of the service before Root has begun.
fn starting(now: Timestamp) -> Overall {
    Overall {
        name: "initializing".to_owned(),
        since: now,
        reason: "the process started".to_owned(),
        good: true,
        verified: Vec::new(),
        conditions: Vec::new(),
        flag: None,
        changes: Vec::new(),
        changes_total: 0,
    }
}

/// The newest of everything that is written down.
#[derive(Debug, Clone, Default)]
pub struct LatestView {
    /// How far the ledger goes.
    pub head: Position,
    /// The last tick of each pair, with its seq.
    pub ticks: BTreeMap<Symbol, (u64, AcceptedTick)>,
    /// How many entries of the journal this process wrote down.
    pub journal: u64,
    /// The last bar told of each pair and interval.
    pub bars: BTreeMap<(Symbol, Interval), Bar>,
}

/// What the pipeline shows.
#[derive(Debug, Clone, Default)]
pub struct PipelineView {
    /// When it was made; `None`: never.
    pub made_at: Option<Stopwatch>,
    /// The last position given out: everything else shown here came of events up to it.
    pub head: Position,
    /// Counted since the session's file began.
    pub counts: PipelineCounts,
    /// Counted of each pair in its session.
    pub pairs: BTreeMap<Symbol, PairCounts>,
    /// What became of each pair's prices.
    pub prices: BTreeMap<Symbol, AcceptanceView>,
    /// Gaps that may still be filled.
    pub gaps: Vec<Gap>,
    /// Bars that were not yet compared with the vendor's.
    pub unchecked: Vec<Unchecked>,
}

/// What backfill shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackfillView {
    /// What the vendor is being asked now.
    pub asking: Option<SeriesRequest>,
    /// Questions that were answered.
    pub answered_total: u64,
    /// Bars that came.
    pub bars_total: u64,
    /// Questions that failed.
    pub failed_total: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// When to look again, if not at once.
    pub next_at: Option<Timestamp>,
}

/// What polling shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PollerView {
    /// The pairs that are polled now.
    pub polled: Vec<Symbol>,
    /// The last round brought no price of them.
    pub failing: bool,
    /// When a price of each pair was last answered.
    pub answered: BTreeMap<Symbol, Timestamp>,
    /// The pairs whose last answer was none, and what the vendor said.
    pub failed: BTreeMap<Symbol, String>,
    /// Between two rounds.
    pub every: Option<Duration>,
    /// Prices that came.
    pub prices_total: u64,
    /// Calls that failed.
    pub failed_total: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// What today will have cost.
    pub forecast: Option<Forecast>,
}

/// How one lease stands.
#[derive(Debug, Clone)]
pub struct LeaseView {
    /// What may be written to.
    pub place: Place,
    /// Whose it is.
    pub standing: Standing,
    /// When it was asked for what was granted last.
    pub renewed: Option<Stopwatch>,
    /// Why the last request was not answered.
    pub trouble: Option<String>,
}

impl LeaseView {
    /// Of a lease that was not asked for yet.
    pub(crate) const fn new(place: Place) -> Self {
        Self {
            place,
            standing: Standing::Unknown,
            renewed: None,
            trouble: None,
        }
    }

    /// Whether it is ours, as far as we know.
    pub(crate) const fn is_held(&self) -> bool {
        matches!(self.standing, Standing::Held { .. })
    }

    /// Whether no other writer is known, and none can have taken over unnoticed by now. A server that does not answer grants
    /// no lease that we know of, and checks our lease before each write.
    pub fn is_sound(&self) -> bool {
        match self.standing {
            Standing::Held { .. } => {
                self.trouble.is_some()
                    || self
                        .renewed
                        .as_ref()
                        .is_some_and(|renewed: &Stopwatch| renewed.elapsed() <= limits::LEASE_TTL)
            }
            Standing::Unknown => self.trouble.is_some(),
            Standing::Contested(_) | Standing::Lost(_) => false,
        }
    }
}

/// One look at once, then at most one in each [`limits::LOOK_EVERY`] while the snapshot changes.
pub(crate) fn changes<T: Send + Sync + 'static>(mut snapshot: watch::Receiver<T>) -> impl Stream<Item = ()> {
    snapshot.mark_changed();
    stream::unfold(snapshot, |mut snapshot| async move {
        snapshot.changed().await.ok()?;
        snapshot.mark_unchanged();
        tokio::time::sleep(limits::LOOK_EVERY).await;
        Some(((), snapshot))
    })
}
