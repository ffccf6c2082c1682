//! `/metrics`: the service in numbers, in the text format of Prometheus.
//!
//! Made from the snapshot of `/status` when it is requested: the path of a tick pays nothing for it, and the two pages cannot
//! disagree. `METRICS` lists every name; docs/operations.md explains each, and a test compares.

use crate::actors::fanout::ClientCounts;
use crate::domain::lifecycle::State;
use crate::domain::model::Timestamp;
use crate::domain::status::ConditionView;
use crate::views::ServiceView;
use crate::web::shared::{Thread, Trouble};
use actix_web::{HttpRequest, HttpResponse};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Name, kind and help of every metric, in the order of the page.
const METRICS: [(&str, &str, &str); 31] = [
    ("candela_state", "gauge", "1 for the state the life cycle is in"),
    ("candela_condition", "gauge", "1 while the condition holds"),
    ("candela_uptime_seconds", "gauge", "Time since the process started"),
    ("candela_ticks_accepted_total", "counter", "Ticks accepted and numbered"),
    (
        "candela_ticks_rejected_total",
        "counter",
        "Ticks set aside, by pair and reason",
    ),
    (
        "candela_prices_rounded_total",
        "counter",
        "Prices of which digits beyond the sixth decimal were rounded away, by pair and source",
    ),
    (
        "candela_errors_total",
        "counter",
        "Failures that supervision dealt with",
    ),
    (
        "candela_feed_connected",
        "gauge",
        "1 while the link to the vendor is up",
    ),
    (
        "candela_feed_connections_total",
        "counter",
        "Connections made to the vendor",
    ),
    (
        "candela_feed_message_age_seconds",
        "gauge",
        "Time since the vendor's last frame",
    ),
    (
        "candela_symbol_safe_to_trade",
        "gauge",
        "1 while a strategy should act on the pair",
    ),
    (
        "candela_symbol_last_tick_seconds",
        "gauge",
        "Stamp of the last accepted tick, Unix time",
    ),
    ("candela_symbol_bars_session", "gauge", "Bars closed in the session"),
    ("candela_database_connected", "gauge", "1 while the database answers"),
    (
        "candela_database_response_seconds",
        "gauge",
        "How long its last answer took",
    ),
    ("candela_redis_connected", "gauge", "1 while the cache answers"),
    (
        "candela_redis_response_seconds",
        "gauge",
        "How long its last answer took",
    ),
    (
        "candela_reader_distance",
        "gauge",
        "Events between a reader of the ledger and its end",
    ),
    (
        "candela_reader_age_seconds",
        "gauge",
        "Age of the first event a reader has not dealt with",
    ),
    ("candela_actor_alive", "gauge", "1 while the actor handles its messages"),
    (
        "candela_actor_restarts_total",
        "counter",
        "Restarts of the actor: each is a bug",
    ),
    (
        "candela_key_calls_today",
        "gauge",
        "Calls made with an API key this UTC day",
    ),
    (
        "candela_gaps_pending",
        "gauge",
        "Stretches of missing bars that may still be filled",
    ),
    ("candela_clients_connected", "gauge", "WebSocket clients"),
    (
        "candela_clients_slow",
        "gauge",
        "Clients that read more slowly than data comes",
    ),
    (
        "candela_clients_connections_total",
        "counter",
        "Client connections made",
    ),
    (
        "candela_clients_messages_total",
        "counter",
        "Messages handed to clients",
    ),
    (
        "candela_clients_closed_total",
        "counter",
        "Client connections closed, by reason",
    ),
    ("candela_log_lines_lost_total", "counter", "Log lines that nobody took"),
    (
        "candela_store_prices_rounded_total",
        "counter",
        "Prices of the store with more than six decimals, rounded as they were read",
    ),
    ("candela_memory_resident_bytes", "gauge", "Memory of the process"),
];

/// `GET /metrics`.
pub(crate) async fn metrics(request: HttpRequest) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    let samples = samples(&thread.view(), thread.registry.counts(), thread.registry.clock().now());
    let page = page(&samples);
    Ok(HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(page))
}

/// One value of a metric.
#[derive(Debug)]
struct Sample {
    name: &'static str,
    labels: Vec<(&'static str, String)>,
    value: String,
}

#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn one(&mut self, name: &'static str, value: impl ToString) {
        self.labelled(name, Vec::new(), value);
    }

    fn of(&mut self, name: &'static str, label: &'static str, of: &str, value: impl ToString) {
        self.labelled(name, vec![(label, of.to_owned())], value);
    }

    fn labelled(&mut self, name: &'static str, labels: Vec<(&'static str, String)>, value: impl ToString) {
        let value = value.to_string();
        self.0.push(Sample { name, labels, value });
    }

    /// A condition of the service as a whole has its type alone, one of a pair the pair as well.
    fn conditions(&mut self, conditions: &[ConditionView]) {
        for condition in conditions {
            let symbol = condition.symbol.map(|symbol| ("symbol", symbol.to_string()));
            let labels = std::iter::once(("type", condition.kind.to_string())).chain(symbol);
            self.labelled("candela_condition", labels.collect(), u8::from(condition.status));
        }
    }
}

fn samples(view: &ServiceView, clients: &ClientCounts, now: Timestamp) -> Vec<Sample> {
    let mut samples = Samples::default();
    for state in State::ALL.iter().map(|state| state.name()) {
        samples.of("candela_state", "state", state, u8::from(state == view.state.name));
    }
    samples.conditions(&view.conditions);
    if let Some(started) = view.started_at {
        samples.one("candela_uptime_seconds", now.since(started).as_secs_f64());
    }
    samples.one("candela_ticks_accepted_total", view.processed_ticks);
    samples.one("candela_errors_total", view.error_count);
    samples.one("candela_feed_connected", u8::from(view.feed.connected));
    samples.one("candela_feed_connections_total", view.feed.connections_total);
    if let Some(age) = view.feed.last_message_age_ms {
        samples.one("candela_feed_message_age_seconds", seconds(age));
    }
    pairs(view, &mut samples);
    stores(view, &mut samples);
    for actor in &view.actors {
        samples.of("candela_actor_alive", "actor", &actor.name, u8::from(actor.alive));
        samples.of("candela_actor_restarts_total", "actor", &actor.name, actor.restarts);
    }
    for key in &view.keys {
        samples.of("candela_key_calls_today", "key", &key.id, key.key.used_day);
    }
    samples.one("candela_gaps_pending", view.gaps.len());
    connections(clients, &mut samples);
    samples.one("candela_log_lines_lost_total", view.log_lines_lost);
    samples.one("candela_store_prices_rounded_total", view.rounded_reads);
    if let Some(bytes) = resident() {
        samples.one("candela_memory_resident_bytes", bytes);
    }
    samples.0
}

fn connections(clients: &ClientCounts, samples: &mut Samples) {
    samples.one("candela_clients_connected", clients.connected.load(Ordering::Relaxed));
    samples.one("candela_clients_slow", clients.conflating.load(Ordering::Relaxed));
    samples.one(
        "candela_clients_connections_total",
        clients.connections_total.load(Ordering::Relaxed),
    );
    samples.one(
        "candela_clients_messages_total",
        clients.told_total.load(Ordering::Relaxed),
    );
    for (reason, closed) in clients.closed() {
        samples.of("candela_clients_closed_total", "reason", reason, closed);
    }
}

fn pairs(view: &ServiceView, samples: &mut Samples) {
    for (symbol, each) in &view.symbols {
        samples.of(
            "candela_symbol_safe_to_trade",
            "symbol",
            symbol.as_str(),
            u8::from(each.safe_to_trade),
        );
        samples.of(
            "candela_symbol_bars_session",
            "symbol",
            symbol.as_str(),
            each.bars_today,
        );
        for (reason, count) in &each.rejected {
            let labels = [("symbol", symbol.as_str()), ("reason", reason.name())];
            let labels = labels.map(|(label, of)| (label, of.to_owned())).into();
            samples.labelled("candela_ticks_rejected_total", labels, count);
        }
        for (source, count) in &each.rounded {
            let labels = [("symbol", symbol.as_str()), ("source", source.name())];
            let labels = labels.map(|(label, of)| (label, of.to_owned())).into();
            samples.labelled("candela_prices_rounded_total", labels, count);
        }
        if let Some(last) = each.last_tick {
            samples.of(
                "candela_symbol_last_tick_seconds",
                "symbol",
                symbol.as_str(),
                last.secs(),
            );
        }
    }
}

fn stores(view: &ServiceView, samples: &mut Samples) {
    samples.one("candela_database_connected", u8::from(view.database.connected));
    if let Some(ms) = view.database.response_time_ms {
        samples.one("candela_database_response_seconds", ms / 1_000.0);
    }
    samples.one("candela_redis_connected", u8::from(view.redis.connected));
    if let Some(ms) = view.redis.response_time_ms {
        samples.one("candela_redis_response_seconds", ms / 1_000.0);
    }
    for reader in &view.readers {
        samples.of("candela_reader_distance", "reader", reader.name, reader.distance);
        samples.of(
            "candela_reader_age_seconds",
            "reader",
            reader.name,
            seconds(reader.age_ms),
        );
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// Memory of this process that is in RAM, as Linux counts it.
fn resident() -> Option<u64> {
    const PAGE: u64 = 4_096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(
        pages
            .split_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()?
            .saturating_mul(PAGE),
    )
}

/// The samples, grouped by metric under its help.
fn page(samples: &[Sample]) -> String {
    let mut page = String::new();
    for (name, kind, help) in METRICS {
        let mut own = samples.iter().filter(|sample| sample.name == name).peekable();
        if own.peek().is_some() {
            writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
        }
        for sample in own {
            let labels: Vec<String> = sample.labels.iter().map(|(label, of)| written(label, of)).collect();
            match labels.join(",") {
                none if none.is_empty() => writeln!(page, "{name} {}", sample.value).ok(),
                labels => writeln!(page, "{name}{{{labels}}} {}", sample.value).ok(),
            };
        }
    }
    page
}

/// A label with its value, escaped as the format requires.
fn written(label: &str, of: &str) -> String {
    let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{label}=\"{of}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::followers::ReaderView;
    use crate::domain::model::{Position, Symbol};
    use crate::domain::status::{ConditionKind, Conditions};
    use crate::domain::vendor::{KeyState, KeyView};
    use crate::views::status::{ActorStanding, ActorStatus, KeyStatus, ReaderStatus};
    use crate::views::{FeedStatus, Reachable, StateView, SymbolView};
    use chrono_tz::Tz;

    fn full() -> ServiceView {
        let symbol = SymbolView {
            safe_to_trade: true,
            last_tick: Some(Timestamp::from_secs(1_767_361_204)),
            bars_today: 8,
            rejected: [(crate::domain::model::RejectReason::OffSession, 3)].into(),
            rounded: [(crate::domain::model::RoundedSource::Link, 3)].into(),
            ..SymbolView::default()
        };
        let reachable = Reachable {
            connected: true,
            response_time_ms: Some(2.5),
        };
        let now = Timestamp::from_secs(1_767_361_200);
        let writer = ReaderView {
            head: Position(12),
            waiting_since: Some(now - Duration::from_millis(1_500)),
            ..ReaderView::default()
        };
        let key = KeyView {
            slot: "G1_1".parse().unwrap(),
            state: KeyState::Ready,
            until: None,
            used_minute: 0,
            used_day: 40,
            left_day: 760,
            calls_total: 40,
            of_link: false,
        };
        let mut conditions = Conditions::default();
        let euro: Option<Symbol> = "EUR/USD".parse().ok();
        conditions.raise(ConditionKind::StoreBehind, None, "slow", "It is slow.", now);
        conditions.raise(ConditionKind::HistoryUnverified, euro, "stale", "It is old.", now);
        conditions.clear(ConditionKind::HistoryUnverified, euro, now);
        ServiceView {
            started_at: Some(now),
            state: StateView {
                name: "active".to_owned(),
                ..StateView::default()
            },
            conditions: conditions
                .list()
                .iter()
                .map(|one| ConditionView::new(one, Tz::UTC))
                .collect(),
            symbols: [(Symbol::usdcop(), symbol)].into(),
            feed: FeedStatus {
                connected: true,
                last_message_age_ms: Some(412),
                ..FeedStatus::default()
            },
            database: reachable.clone(),
            redis: reachable,
            processed_ticks: 7,
            actors: vec![ActorStatus {
                name: "feed".to_owned(),
                standing: ActorStanding::Alive,
                alive: true,
                restarts: 2,
                last_cause: None,
                mailbox: 64,
                pulse_age_ms: 0,
            }],
            keys: vec![KeyStatus::new(&key, "a91f", Tz::UTC)],
            readers: vec![ReaderStatus::new("writer", &writer, now, Tz::UTC)],
            ..ServiceView::default()
        }
    }

    fn shown(view: &ServiceView) -> String {
        page(&samples(
            view,
            &ClientCounts::default(),
            Timestamp::from_secs(1_767_361_210),
        ))
    }

    #[test]
    fn the_page_shows_every_part_of_the_view() {
        let page = shown(&full());
        for line in [
            "# HELP candela_state 1 for the state the life cycle is in\n# TYPE candela_state gauge",
            "candela_state{state=\"active\"} 1",
            "candela_state{state=\"error\"} 0",
            "candela_condition{type=\"store_behind\"} 1",
            "candela_condition{type=\"history_unverified\",symbol=\"EUR/USD\"} 0",
            "candela_uptime_seconds 10",
            "candela_ticks_accepted_total 7",
            "candela_feed_message_age_seconds 0.412",
            "candela_ticks_rejected_total{symbol=\"USD/COP\",reason=\"off_session\"} 3",
            "candela_symbol_last_tick_seconds{symbol=\"USD/COP\"} 1767361204",
            "candela_database_response_seconds 0.0025",
            "candela_reader_distance{reader=\"writer\"} 12",
            "candela_reader_age_seconds{reader=\"writer\"} 1.5",
            "candela_actor_restarts_total{actor=\"feed\"} 2",
            "candela_key_calls_today{key=\"G1_1 …a91f\"} 40",
        ] {
            assert!(page.contains(&format!("{line}\n")), "no {line} in\n{page}");
        }
    }

    #[test]
    fn every_sample_has_a_row_and_every_row_can_have_a_sample() {
        let counts = ClientCounts::default();
        let mut samples = samples(&full(), &counts, Timestamp::from_secs(0));
        samples.push(Sample {
            name: "candela_clients_closed_total",
            labels: vec![("reason", "slow".to_owned())],
            value: "1".to_owned(),
        });
        for (name, _, _) in METRICS {
            assert!(
                samples.iter().any(|sample| sample.name == name),
                "nothing counts {name}"
            );
        }
        for sample in samples {
            assert!(
                METRICS.iter().any(|(name, _, _)| *name == sample.name),
                "{sample:?} has no row"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let page = shown(&ServiceView::default());
        assert!(!page.contains("candela_uptime_seconds") && !page.contains("candela_database_response_seconds"));
        assert!(page.contains("candela_state{state=\"initializing\"} 1\n"));
    }
}
