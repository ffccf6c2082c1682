//! Published snapshots: the owner of a part publishes its view, and REST reads it without waiting for an actor.
//!
//! The old service's fields keep their names and types; parts without an old name follow them.

pub mod status;

use crate::clock::Stopwatch;
use crate::domain::calendar::SessionView;
use crate::domain::cluster::ClusterView;
use crate::domain::lifecycle::Change;
use crate::domain::model::{Gap, Symbol, Timestamp, ZonedInstant};
pub use crate::domain::status::SymbolView;
use crate::domain::status::{Condition, ConditionKind, ConditionView, Conditions, UnsafeReason};
use crate::limits;
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::{Value, json};
use status::{
    ActorStatus, ComparisonStatus, ForecastStatus, KeyStatus, LeaseStatus, ReaderStatus, SeamStatus, VerdictStatus,
};
use std::collections::BTreeMap;

/// What `/health`, `/status` and `/market/session` show, without what `web` adds itself. The serialized fields are part of `/status`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServiceView {
    /// When this view was made; `None`: never.
    #[serde(skip)]
    pub made_at: Option<Stopwatch>,
    /// It never counts as stale.
    #[cfg(test)]
    #[serde(skip)]
    pub ageless: bool,
    /// When the process started (market time).
    #[serde(skip)]
    pub started_at: Option<Timestamp>,
    /// The life cycle's state.
    pub state: StateView,
    /// Whatever is not as it should be; conditions that hold come first.
    pub conditions: Vec<ConditionView>,
    /// The first pair of the settings, which the old service's fields are about.
    #[serde(skip)]
    pub first: Option<Symbol>,
    /// The time zone of the first pair's market, in which instants are shown.
    #[serde(skip)]
    pub zone: Tz,
    /// Each pair.
    #[serde(skip)]
    pub symbols: BTreeMap<Symbol, SymbolView>,
    /// The link to the vendor.
    pub feed: FeedStatus,
    /// The database.
    #[serde(skip)]
    pub database: Reachable,
    /// The cache.
    #[serde(skip)]
    pub redis: Reachable,
    /// The machine.
    #[serde(skip)]
    pub resources: ResourcesView,
    /// Ticks accepted since the process started.
    #[serde(skip)]
    pub processed_ticks: u64,
    /// Errors since the process started.
    #[serde(skip)]
    pub error_count: u64,
    /// The old `l0_integration` fields.
    #[serde(rename = "l0_integration")]
    pub l0: L0View,
    /// The old `api_key_usage` fields.
    pub api_key_usage: KeyUsageView,
    /// The keys.
    pub keys: Vec<KeyStatus>,
    /// What today will have cost in credits.
    pub forecast: Option<ForecastStatus>,
    /// Our bars compared with the vendor's.
    pub comparisons: ComparisonStatus,
    /// The supervised actors.
    pub actors: Vec<ActorStatus>,
    /// The ledger's readers.
    pub readers: Vec<ReaderStatus>,
    /// Gaps that are not healed.
    #[serde(skip)]
    pub gaps: Vec<Gap>,
    /// Where the history of each pair that has a seam ends and its live data begins.
    pub seams: BTreeMap<Symbol, SeamStatus>,
    /// The last verdict on each pair's history.
    pub verdicts: BTreeMap<Symbol, VerdictStatus>,
    /// Log lines lost since the process started.
    #[serde(skip)]
    pub log_lines_lost: u64,
    /// Prices in the store with more than six decimals, rounded when they were read, since the process started.
    pub rounded_reads: u64,
    /// Whether this process has the right to write to the store.
    pub leader: bool,
    /// The leases, the store's first.
    pub leases: Vec<LeaseStatus>,
    /// The cluster, as this node sees it; nothing on a single node.
    pub cluster: Option<ClusterView>,
    /// The session of each pair.
    pub sessions: BTreeMap<Symbol, SessionView>,
}

impl ServiceView {
    /// The session of the first pair.
    pub fn first_session(&self) -> Option<&SessionView> {
        let first = self.first.and_then(|first| self.sessions.get(&first));
        first.or_else(|| self.sessions.values().next())
    }

    /// Whether it is young enough to describe the present.
    pub fn fresh(&self) -> bool {
        #[cfg(test)]
        if self.ageless {
            return true;
        }
        self.made_at
            .is_some_and(|made_at| made_at.elapsed() <= limits::VIEW_FRESH)
    }

    /// The same view, marked as stale: no pair is safe to trade, and Health does not answer.
    pub fn outdated(&self, now: Timestamp) -> Self {
        let mut view = self.clone();
        for shown in view.symbols.values_mut() {
            shown.safe_to_trade = false;
            "stale".clone_into(&mut shown.feed);
            let unknown = UnsafeReason::StatusUnknown.name().to_owned();
            if !shown.reasons.contains(&unknown) {
                shown.reasons.push(unknown);
            }
        }
        let mut conditions = Conditions::default();
        let message = "The actor health does not respond: this status was true when it was made.";
        conditions.raise(ConditionKind::ActorUnresponsive, None, "health", message, now);
        let said = conditions.list().into_iter();
        let said: Vec<_> = said.map(|one| ConditionView::new(&one, view.zone)).collect();
        view.conditions
            .retain(|condition| !condition.is(ConditionKind::ActorUnresponsive));
        view.conditions.splice(0..0, said);
        view
    }

    /// The `status` message of the WebSocket.
    pub fn status_message(&self) -> Value {
        let each = |of: fn(&SymbolView) -> Value| -> serde_json::Map<String, Value> {
            let symbols = self.symbols.iter();
            symbols.map(|(symbol, shown)| (symbol.to_string(), of(shown))).collect()
        };
        json!({
            "type": "status",
            "server_status": self.state.name,
            "safe_to_trade": each(|shown| json!(shown.safe_to_trade)),
            "unsafe_reasons": each(|shown| json!(shown.reasons)),
            "conditions": self.holding().collect::<Vec<_>>(),
        })
    }

    /// The conditions that hold.
    pub fn holding(&self) -> impl Iterator<Item = &ConditionView> {
        self.conditions.iter().filter(|condition| condition.status)
    }

    /// Whether a part between vendor and clients shows no sign of life.
    pub fn unresponsive(&self) -> bool {
        self.holding()
            .any(|condition| condition.is(ConditionKind::ActorUnresponsive))
    }
}

/// The life cycle.
#[derive(Debug, Clone, Serialize)]
pub struct StateView {
    /// `initializing`, `waiting_l0`, `checking_data`, `ready`, `active`, `market_closed`, `error`, `shutdown`.
    pub name: String,
    /// Since when, for people.
    pub since: Option<ZonedInstant>,
    /// The same instant, for programs.
    pub since_us: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

impl Default for StateView {
    fn default() -> Self {
        Self {
            name: "initializing".to_owned(),
            since: None,
            since_us: None,
            reason: "starting".to_owned(),
        }
    }
}

/// The link to the vendor.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FeedStatus {
    /// `disconnected`, `connecting`, `live`, …
    pub state: String,
    /// Since when, for people.
    pub since: Option<ZonedInstant>,
    /// The same instant, for programs.
    pub since_us: Option<Timestamp>,
    /// Connections made since the process started.
    pub connections_total: u64,
    /// Market milliseconds since the last frame.
    pub last_message_age_ms: Option<u64>,
    /// Whether there is a connection.
    pub connected: bool,
}

/// A server that this service needs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reachable {
    /// Whether the last check reached it.
    pub connected: bool,
    /// How long the check took.
    pub response_time_ms: Option<f64>,
}

/// The machine.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ResourcesView {
    /// Processor time used, over all cores.
    pub cpu_percent: f64,
    /// Memory used.
    pub memory_percent: f64,
    /// Memory free.
    pub memory_available_mb: f64,
    /// Space used on the file system with our data.
    pub disk_percent: f64,
    /// Space free there.
    pub disk_free_gb: f64,
}

/// The history pipeline, in the old fields.
#[derive(Debug, Clone, Default, Serialize)]
pub struct L0View {
    /// Whether the flag exists.
    pub ready_signal_exists: bool,
    /// The flag's time.
    pub ready_signal_timestamp: Option<String>,
    /// Age of the newest bar.
    pub data_freshness_hours: Option<f64>,
    /// The share of expected slots that have a bar.
    pub completeness_percentage: Option<f64>,
    /// How many bars there are.
    pub total_records: u64,
    /// The newest bar is less than 24 trading hours old.
    pub is_fresh: bool,
    /// At least 95 % of the slots have a bar.
    pub is_complete: bool,
}

/// The keys, in the old fields.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KeyUsageView {
    /// How many keys there are.
    pub total_keys: u64,
    /// The key that was used last, from 1.
    pub current_key_index: u64,
    /// Calls today.
    pub total_calls: u64,
    /// Calls of each key: `key_1`, …
    pub calls_per_key: BTreeMap<String, u64>,
    /// Seconds between two calls on a key.
    pub rate_limit_delay: f64,
}

/// The service as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overall {
    /// The state's name: `active`, `market_closed`, …
    pub name: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, as a sentence for people.
    pub reason: String,
    /// Whether nothing is wrong.
    pub good: bool,
    /// The pairs whose session runs and whose history passed the gate for it.
    pub verified: Vec<Symbol>,
    /// The time of the good ready flag, while there is one.
    pub flag: Option<Timestamp>,
    /// The newest changes of state, at most [`limits::CHANGES_SHOWN`], the newest last.
    pub changes: Vec<Change>,
    /// How many changes there were in all.
    pub changes_total: usize,
    /// What is not as it should be with this process itself.
    pub conditions: Vec<Condition>,
}

impl Overall {
    pub(crate) fn holds(&self, kind: ConditionKind) -> bool {
        self.conditions.iter().any(|one| one.kind == kind && one.status)
    }
}
