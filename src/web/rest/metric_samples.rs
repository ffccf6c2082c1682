//! The snapshot of `/status` as samples of metrics.

use crate::actors::fanout::ClientCounts;
use crate::domain::cluster::{ClusterView, NodeRole, is_heard};
use crate::domain::lifecycle::State;
use crate::domain::model::Timestamp;
use crate::domain::status::ConditionView;
use crate::views::{ServiceView, status::KeyStatus};
use crate::web::rest::process_numbers::ProcessNumbers;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(u64),
    Part(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Part(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Number {
    fn from(truth: bool) -> Self {
        Self::Whole(u64::from(truth))
    }
}

/// One value of a metric.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Number,
}

#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn one(&mut self, name: &'static str, value: impl Into<Number>) {
        self.labelled(name, Vec::new(), value);
    }

    fn known(&mut self, name: &'static str, value: Option<impl Into<Number>>) {
        if let Some(value) = value {
            self.one(name, value);
        }
    }

    fn of(&mut self, name: &'static str, label: &'static str, of: &str, value: impl Into<Number>) {
        self.labelled(name, vec![(label, of.to_owned())], value);
    }

    fn labelled(&mut self, name: &'static str, labels: Vec<(&'static str, String)>, value: impl Into<Number>) {
        let value = value.into();
        self.0.push(Sample { name, labels, value });
    }

    /// A condition of the whole service has only the label of its type; that of a pair has the pair as well.
    fn conditions(&mut self, conditions: &[ConditionView]) {
        for condition in conditions {
            let symbol = condition.symbol.map(|symbol| ("symbol", symbol.to_string()));
            let labels = std::iter::once(("type", condition.kind.to_string())).chain(symbol);
            self.labelled("candela_condition", labels.collect(), condition.status);
        }
    }
}

/// The samples of everything that is known.
pub(super) fn samples(view: &ServiceView, clients: &ClientCounts, now: Timestamp) -> Vec<Sample> {
    let mut samples = Samples::default();
    let commit = option_env!("CANDELA_COMMIT").filter(|commit| !commit.is_empty());
    let built = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("commit", commit.unwrap_or("unknown").to_owned()),
    ];
    samples.labelled("candela_build_info", built, 1_u64);
    for state in State::ALL.iter().map(|state| state.name()) {
        samples.of("candela_state", "state", state, state == view.state.name);
    }
    samples.conditions(&view.conditions);
    let uptime = view.started_at.map(|started| now.since(started).as_secs_f64());
    samples.known("candela_uptime_seconds", uptime);
    samples.one("candela_ticks_accepted_total", view.processed_ticks);
    samples.one("candela_errors_total", view.error_count);
    samples.one("candela_feed_connected", view.feed.connected);
    samples.one("candela_feed_connections_total", view.feed.connections_total);
    let age = view.feed.last_message_age_ms.map(seconds);
    samples.known("candela_feed_message_age_seconds", age);
    pairs(view, &mut samples);
    keys(view, &mut samples);
    stores(view, &mut samples);
    if let Some(cluster) = &view.cluster {
        self::cluster(cluster, &mut samples);
    }
    for actor in &view.actors {
        samples.of("candela_actor_alive", "actor", &actor.name, actor.alive);
        let restarts = u64::from(actor.restarts);
        samples.of("candela_actor_restarts_total", "actor", &actor.name, restarts);
    }
    samples.one("candela_gaps_pending", view.gaps.len());
    connections(clients, &mut samples);
    samples.one("candela_log_lines_lost_total", view.log_lines_lost);
    samples.one("candela_store_prices_rounded_total", view.rounded_reads);
    process(ProcessNumbers::read(), &mut samples);
    samples.0
}

fn process(numbers: ProcessNumbers, samples: &mut Samples) {
    samples.known("process_start_time_seconds", numbers.started);
    samples.known("process_cpu_seconds_total", numbers.cpu_seconds);
    samples.known("process_resident_memory_bytes", numbers.resident_bytes);
    samples.known("candela_memory_resident_bytes", numbers.resident_bytes);
    samples.known("process_virtual_memory_bytes", numbers.virtual_bytes);
    samples.known("process_open_fds", numbers.open_fds);
    samples.known("process_max_fds", numbers.max_fds);
}

fn connections(clients: &ClientCounts, samples: &mut Samples) {
    let now = &clients.connected;
    samples.one("candela_clients_connected", now.load(Ordering::Relaxed));
    let slow = &clients.conflating;
    samples.one("candela_clients_slow", slow.load(Ordering::Relaxed));
    let made = &clients.connections_total;
    samples.one("candela_clients_connections_total", made.load(Ordering::Relaxed));
    let told = &clients.told_total;
    samples.one("candela_clients_messages_total", told.load(Ordering::Relaxed));
    for (reason, closed) in clients.closed() {
        samples.of("candela_clients_closed_total", "reason", reason, closed);
    }
}

fn pairs(view: &ServiceView, samples: &mut Samples) {
    for (symbol, session) in &view.sessions {
        let symbol = symbol.as_str();
        samples.of("candela_session_open", "symbol", symbol, session.is_open());
        if let Some(expected) = session.expected_bars() {
            samples.of("candela_session_expected_bars", "symbol", symbol, expected);
        }
    }
    for (symbol, each) in &view.symbols {
        let symbol = symbol.as_str();
        samples.of("candela_symbol_safe_to_trade", "symbol", symbol, each.safe_to_trade);
        for name in ["candela_session_present_bars", "candela_symbol_bars_session"] {
            samples.of(name, "symbol", symbol, each.bars_today);
        }
        if let Some(limit) = each.cadence.as_ref().and_then(|cadence| cadence.limit_seconds) {
            samples.of("candela_symbol_cadence_limit_seconds", "symbol", symbol, limit);
        }
        for (reason, count) in &each.rejected {
            let labels = vec![("symbol", symbol.to_owned()), ("reason", reason.name().to_owned())];
            samples.labelled("candela_ticks_rejected_total", labels, *count);
        }
        for (source, count) in &each.rounded {
            let labels = vec![("symbol", symbol.to_owned()), ("source", source.name().to_owned())];
            samples.labelled("candela_prices_rounded_total", labels, *count);
        }
        if let Some(last) = each.last_tick.and_then(|last| u64::try_from(last.secs()).ok()) {
            for name in [
                "candela_symbol_last_tick_timestamp_seconds",
                "candela_symbol_last_tick_seconds",
            ] {
                samples.of(name, "symbol", symbol, last);
            }
        }
    }
    for (symbol, counted) in &view.comparisons.pairs {
        let symbol = symbol.as_str();
        let compared = "candela_vendor_compared_bars_total";
        samples.of(compared, "symbol", symbol, counted.bars_compared);
        let mismatched = "candela_vendor_mismatch_total";
        samples.of(mismatched, "symbol", symbol, counted.bars_mismatched);
    }
}

fn keys(view: &ServiceView, samples: &mut Samples) {
    for KeyStatus { id, key, .. } in &view.keys {
        let slot = key.slot.to_string();
        samples.of("candela_key_calls_total", "key", &slot, key.calls_total);
        samples.of("candela_key_day_calls_used", "key", &slot, u64::from(key.used_day));
        samples.of("candela_key_day_calls_left", "key", &slot, u64::from(key.left_day));
        samples.of("candela_key_calls_today", "key", id, u64::from(key.used_day));
    }
    if let Some(forecast) = &view.forecast {
        samples.one("candela_forecast_calls_expected", u64::from(forecast.expected));
        samples.one("candela_forecast_calls_available", u64::from(forecast.available));
    }
}

fn stores(view: &ServiceView, samples: &mut Samples) {
    samples.one("candela_database_connected", view.database.connected);
    let took = view.database.response_time_ms.map(|ms| ms / 1_000.0);
    samples.known("candela_database_response_seconds", took);
    samples.one("candela_redis_connected", view.redis.connected);
    let took = view.redis.response_time_ms.map(|ms| ms / 1_000.0);
    samples.known("candela_redis_response_seconds", took);
    for reader in &view.readers {
        samples.of("candela_reader_distance", "reader", reader.name, reader.distance);
        let age = seconds(reader.age_ms);
        samples.of("candela_reader_age_seconds", "reader", reader.name, age);
    }
}

/// What a node shows of its cluster.
fn cluster(view: &ClusterView, samples: &mut Samples) {
    let own = &view.own;
    for role in NodeRole::ALL {
        samples.of("candela_cluster_role", "role", role.name(), own.role == *role);
        let heard = view
            .nodes
            .iter()
            .filter(|node| node.news.role == *role && is_heard(node));
        samples.of("candela_cluster_nodes", "role", role.name(), heard.count());
    }
    samples.one("candela_cluster_term", own.term);
    samples.one("candela_cluster_takeovers_total", view.takeovers_total);
    samples.one("candela_cluster_lag_parcels", own.lag_parcels);
    samples.one("candela_cluster_lag_seconds", seconds(own.lag_ms));
    samples.known("candela_cluster_leader_age_seconds", view.leader_age_ms.map(seconds));
    samples.one("candela_cluster_alone", own.alone);
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
