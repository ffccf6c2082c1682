//! Health: combines the views of all parts into the one snapshot that REST and `welcome` read.
//!
//! owns   the conditions that follow from evidence, and readings of the machine
//! hears  its own timer
//! says   `ServiceView` and the encoded `status` frame → views · LogLinesLost → Root · entries of the journal → Aggregator · a row a minute
//!        → the store's `system_health`
//! fails  a panic restarts it; until then the last snapshot stays

use crate::actors::control::{
    JournalKeeper, evidence,
    health_keys::{forecast, key_statuses, key_usage},
};
use crate::actors::messages::Report;
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::actors::supervision::Vitals;
use crate::actors::views::{LeaseView, PipelineView};
use crate::clock::Stopwatch;
use crate::domain::calendar::{Calendar, SessionView};
use crate::domain::cluster::LogNews;
use crate::domain::followers::ReaderView;
use crate::domain::history::Verdict;
use crate::domain::model::{RoundedSource, Symbol, Timestamp, ZonedInstant};
use crate::domain::pipeline::PairRules;
use crate::domain::protocol::frames;
use crate::domain::status::{
    CadenceView, Condition, ConditionHolder, ConditionView, EvidentConditions, PairEvidence, UnsafeReason,
};
use crate::domain::vendor::FeedView;
use crate::limits;
use crate::log_queue;
use crate::store::{HealthRow, rounded_reads};
use crate::views::status::{ComparisonStatus, LeaseStatus, ReaderStatus, SeamStatus, VerdictStatus};
use crate::views::{FeedStatus, L0View, Overall, Reachable, ResourcesView, ServiceView, StateView, SymbolView};
use actix::{Actor, AsyncContext, Context, Supervised, WrapFuture};
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use sysinfo::{Disks, System};
use tokio::sync::watch;

/// The dependencies of Health; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The pairs.
    pub markets: Vec<PairRules>,
    /// The pairs' calendars, with their latest corrections.
    pub calendars: Vec<(Symbol, watch::Receiver<Calendar>)>,
    /// The children.
    pub children: Vec<Vitals>,
    /// When the process started (market time).
    pub started_at: Timestamp,
    /// Records what Health finds.
    pub journal: JournalKeeper,
    /// The spacing between two calls on a key.
    pub spacing: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Health {
    deps: Deps,
    machine: Option<System>,
    resources: ResourcesView,
    looks: u32,
    last_status: Value,
    /// The conditions that follow from evidence.
    evident: EvidentConditions,
    /// When a row was last written to `system_health`, and the state in it.
    recorded: Option<(Timestamp, String)>,
    /// Whether Root was sent that log lines are lost.
    losing_log_lines: Option<bool>,
}

impl Health {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        let machine = System::new().ok();
        Self {
            deps,
            machine,
            resources: ResourcesView::default(),
            looks: 0,
            last_status: Value::Null,
            evident: EvidentConditions::default(),
            recorded: None,
            losing_log_lines: None,
        }
    }

    fn publish_views(&mut self) {
        if self.looks.is_multiple_of(limits::HEALTH_RESOURCES_EVERY) {
            self.read_machine();
        }
        self.looks = self.looks.wrapping_add(1);
        self.check_log();
        let view = self.gather();
        self.tell_journal();
        self.tell_status(&view);
        self.deps.services.views.service.send_replace(Arc::new(view));
    }

    /// Writes one row a minute to the store's `system_health`, and one whenever the state changes. A row that cannot be
    /// written is dropped: the gap in the table shows the same outage.
    fn record(&mut self, ctx: &mut Context<Self>) {
        if self.deps.services.views.log.borrow().is_some() {
            return; // an edge writes nothing
        }
        let (view, now) = (
            self.deps.services.views.service.borrow().clone(),
            self.deps.services.clock.now(),
        );
        let recorded = self.recorded.as_ref();
        if recorded.is_some_and(|(at, state)| {
            let fresh = *at <= now && now.since(*at) < limits::HEALTH_ROW_EVERY;
            fresh && *state == view.state.name
        }) {
            return;
        }
        self.recorded = Some((now, view.state.name.clone()));
        let conditions: Vec<&ConditionView> = view.holding().collect();
        let row = HealthRow {
            status: view.state.name.clone(),
            details: json!({"reason": view.state.reason, "processed_ticks": view.processed_ticks, "conditions": conditions}),
            response_ms: view.database.response_time_ms.map(whole_ms),
            error: (!conditions.is_empty()).then(|| view.state.reason.clone()),
            at: now,
        };
        let store = self.deps.services.store.clone();
        ctx.spawn(async move { drop(store.record_health(row).await) }.into_actor(self));
    }

    /// Root's conditions (on an edge, those of its leader) and those that follow from evidence; conditions that hold come first.
    fn conditions(&self, overall: &Overall, log: Option<&LogNews>, zone: Tz) -> Vec<ConditionView> {
        let shown = |condition: &Condition| ConditionView::new(condition, zone);
        let mut conditions: Vec<_> = overall.conditions.iter().map(shown).collect();
        if let Some(leader) = log.and_then(LogNews::believed) {
            conditions.extend(leader.conditions.iter().cloned());
        }
        conditions.extend(self.evident.list().iter().map(shown));
        conditions.sort_by_key(|one| !one.status);
        conditions
    }

    fn gather(&mut self) -> ServiceView {
        let gathered = evidence::gather(&self.deps);
        self.evident.update(&gathered, self.deps.services.clock.now());
        let (views, now) = (&self.deps.services.views, self.deps.services.clock.now());
        let overall = views.overall.borrow().clone();
        let feed = views.feed.borrow().clone();
        let (store, cache) = (views.store.borrow().clone(), views.cache.borrow().clone());
        let pipeline = views.pipeline.borrow().clone();
        let keys = views.keys.borrow().clone();
        let verdicts = views.verdicts.borrow().clone();
        let leases = views.leases.borrow().clone();
        let log = views.log.borrow().clone();
        let market = self.deps.markets.first();
        let first = market.map(|market| market.symbol);
        let verdict = first.and_then(|first| verdicts.get(&first));
        let zone = market.map_or(Tz::UTC, |market| market.sessions.zone());
        let actors = self.deps.children.iter().map(|child| child.signs(limits::PULSE_STALE));
        ServiceView {
            made_at: Some(Stopwatch::start()),
            started_at: Some(self.deps.started_at),
            symbols: gathered
                .pairs
                .iter()
                .map(|pair| (pair.symbol, self.symbol(pair, &feed, now)))
                .collect(),
            sessions: self.deps.calendars.iter().map(|pair| session(pair, now)).collect(),
            state: StateView {
                name: overall.name.clone(),
                since: Some(ZonedInstant::new(overall.since, zone)),
                since_us: Some(overall.since),
                reason: overall.reason.clone(),
            },
            conditions: self.conditions(&overall, log.as_ref(), zone),
            feed: FeedStatus {
                state: feed.state.to_owned(),
                since: Some(ZonedInstant::new(feed.since, zone)),
                since_us: Some(feed.since),
                connections_total: feed.connections_total,
                last_message_age_ms: feed.last_frame_at.map(|at| age_ms(at, now)),
                connected: feed.state == "live",
            },
            database: reachable(&store),
            redis: reachable(&cache),
            resources: self.resources.clone(),
            processed_ticks: self.ticks_total(&pipeline),
            error_count: self.deps.children.iter().map(|child| u64::from(child.failures())).sum(),
            actors: actors.collect(),
            readers: [("writer", &store), ("publisher", &cache)]
                .map(|(name, reader)| ReaderStatus::new(name, reader, now, zone))
                .into(),
            keys: key_statuses(&keys, zone),
            comparisons: comparisons(&pipeline),
            first,
            zone,
            forecast: Some(forecast(&keys, &views.poller.borrow(), now, zone)),
            api_key_usage: key_usage(&keys, self.deps.spacing),
            l0: l0(&overall, verdict, zone),
            verdicts: in_zone(&verdicts, VerdictStatus::new, zone),
            seams: in_zone(&views.seams.borrow(), SeamStatus::new, zone),
            gaps: match &log {
                Some(log) => log.believed().map(|leader| leader.gaps.clone()).unwrap_or_default(),
                None => pipeline.gaps,
            },
            log_lines_lost: log_queue::loss().lost_total,
            rounded_reads: rounded_reads(),
            cluster: views.cluster.borrow().clone(),
            leader: is_leader(&leases),
            leases: lease_statuses(&leases, zone),
            #[cfg(test)]
            ageless: false,
        }
    }

    /// An edge has no pipeline: it counts the ticks that it wrote down.
    fn ticks_total(&self, pipeline: &PipelineView) -> u64 {
        let views = &self.deps.services.views;
        if views.log.borrow().is_some() {
            return views.latest.borrow().ticks_total;
        }
        pipeline.counts.ticks_accepted
    }

    fn symbol(&self, pair: &PairEvidence, feed: &FeedView, now: Timestamp) -> SymbolView {
        if let Some(log) = &*self.deps.services.views.log.borrow() {
            return log_pair(log, pair.symbol);
        }
        let safety = pair.evidence.assess(now);
        let latest = self.deps.services.views.latest.borrow();
        let pipeline = self.deps.services.views.pipeline.borrow();
        let counted = pipeline.pairs.get(&pair.symbol).copied();
        let mut rounded = pipeline.counts.rounded.get(&pair.symbol).cloned().unwrap_or_default();
        drop(pipeline);
        if let Some(verdict) = self.deps.services.views.verdicts.borrow().get(&pair.symbol) {
            rounded.insert(RoundedSource::History, verdict.rounded);
        }
        let mut lines = feed.symbols.iter();
        SymbolView {
            feed: safety.feed.name().to_owned(),
            cadence: lines.find(|line| line.symbol == pair.symbol).map(CadenceView::new),
            safe_to_trade: safety.safe(),
            reasons: safety.reasons.iter().map(|reason| reason.name().to_owned()).collect(),
            rejected: pair
                .prices
                .as_ref()
                .map(|prices| prices.rejected.clone())
                .unwrap_or_default(),
            rounded,
            last_tick: latest.ticks.get(&pair.symbol).map(|(_, tick)| tick.tick.at),
            bars_today: counted.map_or(0, |counted| counted.bars_closed),
        }
    }

    /// Sends a `status` message only when something in it has changed.
    fn tell_status(&mut self, view: &ServiceView) {
        let status = view.status_message();
        if status != self.last_status {
            self.deps
                .services
                .views
                .status_frame
                .send_replace(frames::text_frame(status.to_string().as_bytes()));
            self.last_status = status;
        }
    }

    /// Notes the conditions that follow from evidence, and changes of keys. It also sends waiting entries, so that the journal
    /// continues while Root hangs.
    fn tell_journal(&self) {
        let journal = &self.deps.journal;
        journal.note_conditions(ConditionHolder::Health, &self.evident.list());
        journal.note_keys(&self.deps.services.views.keys.borrow());
        journal.hand_over();
    }

    /// Reports to Root when log lines begin to be lost, and when the loss ends.
    fn check_log(&mut self) {
        let losing = log_queue::loss().losing;
        if self.losing_log_lines != Some(losing)
            && self.deps.services.root.try_send(Report::LogLinesLost(losing)).is_ok()
        {
            self.losing_log_lines = Some(losing);
        }
    }

    fn read_machine(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        machine.refresh_cpu_usage();
        machine.refresh_memory();
        let Ok(disks) = Disks::new_with_refreshed_list() else {
            return;
        };
        let (total, free) = disks
            .iter()
            .map(|disk| (disk.total_space(), disk.available_space()))
            .max()
            .unwrap_or((0, 0));
        let (memory, left) = (machine.total_memory(), machine.available_memory());
        self.resources = ResourcesView {
            cpu_percent: f64::from(machine.global_cpu_usage()),
            memory_percent: percent(memory.saturating_sub(left), memory),
            memory_available_mb: ratio(left, 1 << 20),
            disk_percent: percent(total.saturating_sub(free), total),
            disk_free_gb: ratio(free, 1 << 30),
        };
    }
}

/// What an edge shows of a pair: the leader's view, while news of the leader arrive.
fn log_pair(log: &LogNews, symbol: Symbol) -> SymbolView {
    let shown = log.believed().and_then(|leader| leader.pairs.get(&symbol).cloned());
    shown.unwrap_or_else(|| SymbolView {
        feed: "stale".to_owned(),
        reasons: vec![UnsafeReason::StatusUnknown.name().to_owned()],
        ..SymbolView::default()
    })
}

/// Each pair's value, shown in `zone`.
fn in_zone<T, S>(each: &BTreeMap<Symbol, T>, show: fn(&T, Tz) -> S, zone: Tz) -> BTreeMap<Symbol, S> {
    each.iter().map(|(symbol, one)| (*symbol, show(one, zone))).collect()
}

fn age_ms(at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)
}

fn lease_statuses(leases: &[LeaseView], zone: Tz) -> Vec<LeaseStatus> {
    let statuses = leases
        .iter()
        .map(|lease| LeaseStatus::new(lease.place, &lease.standing, lease.trouble.as_deref(), zone));
    statuses.collect()
}

/// How many bars of the sessions were compared with the vendor's: in total, and of each pair.
fn comparisons(pipeline: &PipelineView) -> ComparisonStatus {
    ComparisonStatus {
        bars: pipeline.counts.bars_compared,
        mismatched: pipeline.counts.bars_mismatched,
        pairs: pipeline.pairs.clone(),
    }
}

fn whole_ms(ms: f64) -> u32 {
    u32::try_from(Duration::from_secs_f64((ms / 1_000.0).clamp(0.0, 1e6)).as_millis()).unwrap_or(u32::MAX)
}

fn reachable(reader: &ReaderView) -> Reachable {
    Reachable {
        connected: !reader.lost,
        response_time_ms: Some(ratio(reader.answer_us, 1_000)),
    }
}

/// Whether this process may write to the store, whose lease is the first in the list.
fn is_leader(leases: &[LeaseView]) -> bool {
    leases.first().is_some_and(LeaseView::is_held)
}

/// The old service's fields about the history.
fn l0(overall: &Overall, verdict: Option<&Verdict>, zone: Tz) -> L0View {
    L0View {
        ready_signal_exists: overall.flag.is_some(),
        ready_signal_timestamp: overall.flag.map(|at| at.rfc3339(zone)),
        data_freshness_hours: verdict
            .and_then(|verdict| verdict.age)
            .map(|age| age.as_secs_f64() / 3_600.0),
        completeness_percentage: verdict.map(Verdict::completeness_percent),
        total_records: verdict.map_or(0, |verdict| verdict.rows),
        is_fresh: verdict.is_some_and(|verdict| verdict.fresh),
        is_complete: verdict.is_some_and(|verdict| verdict.complete),
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "shown to people with one decimal"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        (part as f64 / whole as f64 * 10.0).round() / 10.0
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    ratio(part.saturating_mul(100), whole)
}

fn session((symbol, calendar): &(Symbol, watch::Receiver<Calendar>), now: Timestamp) -> (Symbol, SessionView) {
    (*symbol, SessionView::of(&calendar.borrow(), now))
}

impl Actor for Health {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.publish_views();
        ctx.repeat_every(limits::HEALTH_EVERY, |health, ctx| {
            health.publish_views();
            health.record(ctx);
        });
    }
}

impl Supervised for Health {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}
