//! The snapshots that children publish: each view is written by the child that its comment names, and read by any part that needs it.

use crate::client_list::ClientList;
use crate::clock::Stopwatch;
use crate::domain::cluster::{ClusterView, LogNews};
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
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The views of all children. Clones share them; they outlive restarts.
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
    /// The state of each lease. The LeaseKeeper's.
    pub leases: watch::Sender<Vec<LeaseView>>,
    /// The newest price, bars and position in the ledger. The Recorder's; the LogKeeper's on an ingest with a cluster log, the
    /// LogFollower's on an edge.
    pub latest: watch::Sender<LatestView>,
    /// The Aggregator's.
    pub pipeline: watch::Sender<PipelineView>,
    /// The Feed's.
    pub feed: watch::Sender<FeedView>,
    /// The Writer's.
    pub store: watch::Sender<ReaderView>,
    /// What an edge knows of the cluster log that it follows; `None` on any other node. The LogFollower's.
    pub log: watch::Sender<Option<LogNews>>,
    /// The cluster as this node sees it; nothing on a single node. The LogKeeper's, or the LogFollower's.
    pub cluster: watch::Sender<Option<ClusterView>>,
    /// Where clients are served, once they are. The app's.
    pub address: watch::Sender<Option<SocketAddr>>,
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
    /// The `status` message as an encoded frame. Health's.
    pub status_frame: watch::Sender<Bytes>,
    /// Counters and timings for `/metrics`, recorded where they happen. Every part's.
    pub measures: Measures,
    /// The connected clients. The fan-out's.
    pub clients: ClientList,
}

impl Views {
    /// Empty views; `store` and `cache` are kinds: `sqlite`, `redis`, ….
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
            cluster: watch::Sender::default(),
            address: watch::Sender::default(),
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

/// The state of the service before Root has started.
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

/// The newest of what the ledger has and readers may see.
#[derive(Debug, Clone, Default)]
pub struct LatestView {
    /// The last position of the ledger.
    pub head: Position,
    /// How many ticks this process wrote down.
    pub ticks_total: u64,
    /// The last tick of each pair, with its seq.
    pub ticks: BTreeMap<Symbol, (u64, AcceptedTick)>,
    /// How many entries of the journal this process has written.
    pub journal: u64,
    /// The last bar published of each pair and interval.
    pub bars: BTreeMap<(Symbol, Interval), Bar>,
}

/// The state of the pipeline.
#[derive(Debug, Clone, Default)]
pub struct PipelineView {
    /// When this view was made; `None`: never.
    pub made_at: Option<Stopwatch>,
    /// The last position assigned: everything else here follows from events up to it.
    pub head: Position,
    /// Counted since the session's file began.
    pub counts: PipelineCounts,
    /// Counts of each pair in its current session.
    pub pairs: BTreeMap<Symbol, PairCounts>,
    /// How many prices of each pair were accepted or set aside, and why.
    pub prices: BTreeMap<Symbol, AcceptanceView>,
    /// Gaps that may still be filled.
    pub gaps: Vec<Gap>,
    /// Bars that are not yet compared with the vendor's.
    pub unchecked: Vec<Unchecked>,
}

/// The state of backfill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackfillView {
    /// The request under way.
    pub asking: Option<SeriesRequest>,
    /// Requests that were answered.
    pub answered_total: u64,
    /// Bars that were received.
    pub bars_total: u64,
    /// Requests that failed.
    pub failed_total: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// When the next attempt is due, unless at once.
    pub next_at: Option<Timestamp>,
}

/// The state of polling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PollerView {
    /// The pairs that are polled now.
    pub polled: Vec<Symbol>,
    /// The last round returned no price of these pairs.
    pub failing: bool,
    /// When the vendor last returned a price of each pair.
    pub answered: BTreeMap<Symbol, Timestamp>,
    /// The pairs whose last request returned no price, and what the vendor said.
    pub failed: BTreeMap<Symbol, String>,
    /// The interval between rounds.
    pub every: Option<Duration>,
    /// Prices that were received.
    pub prices_total: u64,
    /// Calls that failed.
    pub failed_total: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// What polling will have cost by the end of today.
    pub forecast: Option<Forecast>,
}

/// The state of one lease.
#[derive(Debug, Clone)]
pub struct LeaseView {
    /// What the lease guards.
    pub place: Place,
    /// For how long it is granted.
    pub ttl: Duration,
    /// Who holds it.
    pub standing: Standing,
    /// When the last lease that was granted was requested.
    pub renewed: Option<Stopwatch>,
    /// Why the last request had no answer.
    pub trouble: Option<String>,
}

impl LeaseView {
    /// A lease that was not requested yet.
    pub(crate) const fn new(place: Place) -> Self {
        Self {
            place,
            ttl: limits::LEASE_TTL,
            standing: Standing::Unknown,
            renewed: None,
            trouble: None,
        }
    }

    /// Whether this process holds it, as far as it knows.
    pub(crate) const fn is_held(&self) -> bool {
        matches!(self.standing, Standing::Held { .. })
    }

    /// Whether no other writer is known, and none can have taken over unnoticed. A server that does not answer grants no lease to another
    /// writer that we know of, and checks our lease before each write.
    pub fn is_sound(&self) -> bool {
        match self.standing {
            Standing::Held { .. } => {
                self.trouble.is_some()
                    || self
                        .renewed
                        .as_ref()
                        .is_some_and(|renewed: &Stopwatch| renewed.elapsed() <= self.ttl)
            }
            Standing::Unknown => self.trouble.is_some(),
            Standing::Contested(_) | Standing::Lost(_) => false,
        }
    }
}

/// Yields at once, then at most once in each [`limits::LOOK_EVERY`] while the snapshot changes.
pub(crate) fn changes<T: Send + Sync + 'static>(mut snapshot: watch::Receiver<T>) -> impl Stream<Item = ()> {
    snapshot.mark_changed();
    stream::unfold(snapshot, |mut snapshot| async move {
        snapshot.changed().await.ok()?;
        snapshot.mark_unchanged();
        tokio::time::sleep(limits::LOOK_EVERY).await;
        Some(((), snapshot))
    })
}
