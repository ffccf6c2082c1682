//! Health: gathers what every part shows into the one snapshot that REST and `welcome` read.
//!
//! owns   nothing but a look at the machine
//! hears  its own timer
//! says   `ServiceView` and the ready `status` frame → views · LogLinesLost → Root
//! fails  a panic restarts it; until then the last snapshot stands

use crate::actors::control::{
    JournalKeeper, evidence,
    health_keys::{forecast, key, key_usage},
    health_zone::in_zone,
};
use crate::actors::messages::Report;
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::actors::supervision::Vitals;
use crate::actors::views::{LeaseView, PipelineView};
use crate::clock::Stopwatch;
use crate::domain;
use crate::domain::calendar::{Calendar, SessionView};
use crate::domain::cluster::LogNews;
use crate::domain::followers::ReaderView;
use crate::domain::followers::lease::Standing;
use crate::domain::history::Verdict;
use crate::domain::model::{RoundedSource, Symbol, Timestamp};
use crate::domain::pipeline::{PairCounts, PairRules};
use crate::domain::protocol::frames;
use crate::domain::status::{ConditionHolder, EvidentConditions, PairEvidence, UnsafeReason};
use crate::domain::vendor::Suspicion;
use crate::limits;
use crate::log_queue;
use crate::store::{HealthRow, rounded_reads};
use crate::views::{FeedView, L0View, Overall, Reachable, ResourcesView, ServiceView, StateView, SymbolView};
use actix::{Actor, AsyncContext, Context, Supervised, WrapFuture};
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use sysinfo::{Disks, System};
use tokio::sync::watch;

/// What Health is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// What every actor may use.
    pub services: Services,
    /// The pairs.
    pub markets: Vec<PairRules>,
    /// Their calendars, as they were corrected last.
    pub calendars: Vec<(Symbol, watch::Receiver<Calendar>)>,
    /// The children.
    pub children: Vec<Vitals>,
    /// When the process started (market time).
    pub started_at: Timestamp,
    /// Records what Health finds.
    pub journal: JournalKeeper,
    /// Between two calls on a key.
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
    /// When a row was last put into `system_health`, and the state it told.
    recorded: Option<(Timestamp, String)>,
    /// Whether Root was told that log lines are lost.
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

    fn look(&mut self) {
        if self.looks.is_multiple_of(limits::HEALTH_RESOURCES_EVERY) {
            self.look_at_machine();
        }
        self.looks = self.looks.wrapping_add(1);
        self.look_at_log();
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
        let fresh = |at: &Timestamp| *at <= now && now.since(*at) < limits::HEALTH_ROW_EVERY;
        if recorded.is_some_and(|(at, state)| fresh(at) && *state == view.state.name) {
            return;
        }
        self.recorded = Some((now, view.state.name.clone()));
        let holding = |condition: &&Value| condition["status"] == true;
        let conditions: Vec<&Value> = view.conditions.iter().filter(holding).collect();
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

    /// Root's conditions and those that follow from evidence; those that hold come first.
    fn conditions(&self, overall: &Overall, zone: Tz) -> Vec<Value> {
        let evident = self.evident.list().into_iter();
        let evident = evident.filter_map(|one| serde_json::to_value(one).ok());
        let mut conditions: Vec<Value> = overall.conditions.iter().cloned().chain(evident).collect();
        conditions.sort_by_key(|one| one["status"] != true);
        conditions.into_iter().map(|one| in_zone(one, zone)).collect()
    }

    fn gather(&mut self) -> ServiceView {
        let gathered = evidence::gather(&self.deps);
        self.evident.look(&gathered, self.deps.services.clock.now());
        let (views, now) = (&self.deps.services.views, self.deps.services.clock.now());
        let overall = views.overall.borrow().clone();
        let feed = views.feed.borrow().clone();
        let (store, cache) = (views.store.borrow().clone(), views.cache.borrow().clone());
        let pipeline = views.pipeline.borrow().clone();
        let keys = views.keys.borrow().clone();
        let verdicts = views.verdicts.borrow().clone();
        let seams = views.seams.borrow().clone();
        let leases = views.leases.borrow().clone();
        let market = self.deps.markets.first();
        let first = market.map(|market| market.symbol);
        let verdict = first.and_then(|first| verdicts.get(&first));
        let zone = market.map_or(Tz::UTC, |market| market.sessions.zone());
        let actors = self.deps.children.iter().map(|child| child.signs(limits::PULSE_STALE));
        let age = |at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
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
                since: Some(overall.since),
                reason: overall.reason.clone(),
            },
            conditions: self.conditions(&overall, zone),
            feed: FeedView {
                state: feed.state.to_owned(),
                since: Some(feed.since),
                connections_total: feed.connections_total,
                last_message_age_ms: feed.last_frame_at.map(age),
                connected: feed.state == "live",
            },
            database: reachable(&store),
            redis: reachable(&cache),
            resources: self.resources.clone(),
            processed_ticks: pipeline.counts.ticks_accepted,
            error_count: self.deps.children.iter().map(|child| u64::from(child.restarts())).sum(),
            actors: actors.filter_map(|signs| serde_json::to_value(signs).ok()).collect(),
            readers: [("writer", &store), ("publisher", &cache)]
                .map(|(name, reader)| in_zone(reader_json(name, reader, now), zone))
                .into(),
            keys: keys.keys.iter().map(|one| in_zone(key(one), zone)).collect(),
            comparisons: comparisons(&pipeline),
            first,
            forecast: in_zone(forecast(&keys, &views.poller.borrow(), now), zone),
            api_key_usage: key_usage(&keys, self.deps.spacing),
            l0: l0(&overall, verdict, zone),
            verdict: shown(&verdict, zone),
            verdicts: shown(&*verdicts, zone),
            seam: shown(&first.and_then(|first| seams.get(&first)), zone),
            seams: shown(&seams, zone),
            gaps: match &*views.log.borrow() {
                Some(log) => log.believed().map(|leader| leader.gaps.clone()).unwrap_or_default(),
                None => pipeline.gaps,
            },
            log_lines_lost: log_queue::loss().lost_total,
            rounded_reads: rounded_reads(),
            leader: is_leader(&leases),
            leases: leases.iter().map(|lease| in_zone(lease_json(lease), zone)).collect(),
            #[cfg(test)]
            ageless: false,
        }
    }

    fn symbol(&self, pair: &PairEvidence, feed: &domain::vendor::FeedView, now: Timestamp) -> SymbolView {
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
        SymbolView {
            feed: safety.feed.name().to_owned(),
            cadence: cadence(feed, pair.symbol),
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
    fn look_at_log(&mut self) {
        let losing = log_queue::loss().losing;
        if self.losing_log_lines != Some(losing)
            && self.deps.services.root.try_send(Report::LogLinesLost(losing)).is_ok()
        {
            self.losing_log_lines = Some(losing);
        }
    }

    fn look_at_machine(&mut self) {
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

/// What an edge shows of a pair: what its leader does, while it is heard.
fn log_pair(log: &LogNews, symbol: Symbol) -> SymbolView {
    let shown = log.believed().and_then(|leader| leader.pairs.get(&symbol).cloned());
    shown.unwrap_or_else(|| SymbolView {
        feed: "stale".to_owned(),
        reasons: vec![UnsafeReason::StatusUnknown.name().to_owned()],
        ..SymbolView::default()
    })
}

/// How many bars of the sessions were compared with the vendor's: of all pairs together, and of each.
fn comparisons(pipeline: &PipelineView) -> Value {
    let of = |counted: &PairCounts| json!({"bars": counted.bars_compared, "mismatched": counted.bars_mismatched});
    let pairs: serde_json::Map<String, Value> = pipeline
        .pairs
        .iter()
        .map(|(pair, counted)| (pair.to_string(), of(counted)))
        .collect();
    json!({"bars": pipeline.counts.bars_compared, "mismatched": pipeline.counts.bars_mismatched, "pairs": pairs})
}

/// As JSON, with instants in the zone of the first pair's market.
fn shown(value: &impl serde::Serialize, zone: Tz) -> Value {
    in_zone(serde_json::to_value(value).unwrap_or_default(), zone)
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

fn reader_json(name: &str, reader: &ReaderView, now: Timestamp) -> Value {
    let waited = reader.waiting_since.map_or(0, |at| now.since(at).as_millis());
    json!({
        "name": name, "kind": reader.kind, "position": reader.position.0, "distance": reader.distance(),
        "age_ms": u64::try_from(waited).unwrap_or(u64::MAX), "rejected_total": reader.rejected_total,
        "trouble": reader.trouble.as_ref().map(|(since, what)| json!({"since": since.to_string(), "message": what})),
    })
}

/// Whether this process has the right to write to the store, whose lease is the first.
fn is_leader(leases: &[LeaseView]) -> bool {
    let held = |lease: &LeaseView| matches!(lease.standing, Standing::Held { .. });
    leases.first().is_some_and(held)
}

/// One lease: who holds it, or the error when the server did not answer.
fn lease_json(lease: &LeaseView) -> Value {
    let (state, term, by) = match &lease.standing {
        Standing::Unknown => ("unknown", None, None),
        Standing::Held { term } => ("held", Some(*term), None),
        Standing::Contested(by) => ("contested", None, Some(by)),
        Standing::Lost(by) => ("lost", None, Some(by)),
    };
    let by = by.map(|by| json!({"host": by.host, "pid": by.pid, "since": by.since.to_string()}));
    json!({"place": lease.place.name(), "state": state, "term": term, "held_by": by, "trouble": lease.trouble})
}

/// The old service's fields on the history.
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

fn cadence(feed: &domain::vendor::FeedView, symbol: Symbol) -> Value {
    let line = feed.symbols.iter().find(|line| line.symbol == symbol);
    line.map_or(Value::Null, |line| {
        json!({
            "gap_p99_seconds": line.gap_p99.map(|gap| gap.as_secs()),
            "silent": line.silent,
            "unaccepted": line.unaccepted,
            "suspect": line.suspicion.map(Suspicion::name),
        })
    })
}

/// A pair's session with the old service's fields, and later ones.
fn session((symbol, calendar): &(Symbol, watch::Receiver<Calendar>), now: Timestamp) -> (Symbol, Value) {
    let view = SessionView::of(&calendar.borrow(), now);
    (*symbol, serde_json::to_value(view).unwrap_or_default())
}

impl Actor for Health {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.look();
        ctx.repeat_every(limits::HEALTH_EVERY, |health, ctx| {
            health.look();
            health.record(ctx);
        });
    }
}

impl Supervised for Health {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}
