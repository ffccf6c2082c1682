//! What the supervision tree is made of, and what its children show.

use crate::actors::aggregator::PipelineView;
use crate::actors::backfill::BackfillView;
use crate::actors::feed::FeedSettings;
use crate::actors::poller::PollerView;
use crate::actors::recorder::LatestView;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::domain::batch::ReaderView;
use crate::domain::calendar::Calendar;
use crate::domain::event::Numbered;
use crate::domain::feed_view::FeedView;
use crate::domain::frames::Zones;
use crate::domain::key::{KeyPolicy, KeySlot};
use crate::domain::keys_view::KeysView;
use crate::domain::l0::WaitPolicy;
use crate::domain::l0_table::L0Table;
use crate::domain::pipeline::Market;
use crate::domain::seam::Seam;
use crate::domain::symbol::Symbol;
use crate::domain::verdict::Verdicts;
use crate::ledger::KeyUseBook;
use crate::ledger::Ledger;
use crate::store::Store;
use crate::views::{Overall, ServiceView};
use bytes::Bytes;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What the tree is made of.
#[derive(Debug)]
pub struct TreeParts {
    /// The pairs.
    pub markets: Vec<Market>,
    /// Market time.
    pub clock: Clock,
    /// The appending end of the ledger.
    pub ledger: Ledger,
    /// The link to the vendor.
    pub feed: FeedSettings,
    /// The vendor's REST interface.
    pub rest_url: String,
    /// The vendor's keys.
    pub keys: Vec<(KeySlot, SecretString)>,
    /// What the vendor allows on one key.
    pub key_policy: KeyPolicy,
    /// What today has cost.
    pub key_use: KeyUseBook,
    /// How many HTTP worker threads, each with a fan-out shard, there will be.
    pub shards: usize,
    /// Where bars and ticks are kept.
    pub store: Store,
    /// How long ticks are kept there.
    pub tick_retention: Option<Duration>,
    /// Where latest prices are told.
    pub cache: Cache,
    /// In which zone each market's people read times.
    pub zones: Arc<Zones>,
    /// The pairs' calendars, to follow and to correct.
    pub calendars: Vec<(Symbol, Arc<watch::Sender<Calendar>>)>,
    /// The override file, when there is one.
    pub calendar_file: Option<PathBuf>,
    /// How long the link may be without a pair before it is polled.
    pub poll_after: Duration,
    /// The folder of the ready flag.
    pub flag_folder: PathBuf,
    /// Where the history lies.
    pub l0_table: L0Table,
    /// How long to wait for it, and what then.
    pub policy: WaitPolicy,
    /// Commands that show bars, gaps and sessions.
    pub taps: Vec<mpsc::Sender<Numbered>>,
    /// The snapshot that REST reads.
    pub snapshot: watch::Sender<Arc<ServiceView>>,
    /// The `status` message as a ready frame.
    pub status: watch::Sender<Bytes>,
}

/// What the children show.
#[derive(Debug, Clone)]
pub struct Views {
    /// Root's.
    pub overall: watch::Receiver<Overall>,
    /// How the process must end, once Root knows.
    pub ending: watch::Receiver<Option<crate::exit::Exit>>,
    /// The Recorder's.
    pub latest: watch::Receiver<LatestView>,
    /// The Aggregator's.
    pub pipeline: watch::Receiver<PipelineView>,
    /// The Feed's.
    pub feed: watch::Receiver<FeedView>,
    /// The Writer's.
    pub store: watch::Receiver<ReaderView>,
    /// The key pool's.
    pub keys: watch::Receiver<KeysView>,
    /// The backfill's.
    pub backfill: watch::Receiver<BackfillView>,
    /// The Publisher's.
    pub cache: watch::Receiver<ReaderView>,
    /// The poller's.
    pub poller: watch::Receiver<PollerView>,
    /// The last verdict on each pair's history.
    pub verdicts: watch::Receiver<Arc<Verdicts>>,
    /// Where each pair's history ends and its live bars begin.
    pub seams: watch::Receiver<BTreeMap<Symbol, Seam>>,
}
