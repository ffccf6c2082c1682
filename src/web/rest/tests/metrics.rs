//! The formats of `/metrics` and their table.

use super::super::metric_table::rows;
use super::*;
use crate::actors::fanout::ClientCounts;
use crate::domain::calendar::{Calendar, SessionView};
use crate::domain::cluster::{ClusterView, NodeNews, NodeRole, NodeSeen};
use crate::domain::followers::ReaderView;
use crate::domain::model::{Position, Symbol, Timestamp, ZonedInstant};
use crate::domain::pipeline::PairCounts;
use crate::domain::status::{CadenceView, ConditionKind, ConditionView, Conditions};
use crate::domain::vendor::{KeyState, KeyView};
use crate::views::status::{ActorStanding, ActorStatus, ComparisonStatus, ForecastStatus, KeyStatus, ReaderStatus};
use crate::views::{FeedStatus, Reachable, ServiceView, StateView, SymbolView};
use chrono_tz::Tz;
use std::time::Duration;

fn pair() -> SymbolView {
    SymbolView {
        safe_to_trade: true,
        last_tick: Some(Timestamp::from_secs(1_767_361_204)),
        bars_today: 8,
        cadence: Some(CadenceView {
            gap_p99_seconds: Some(7),
            limit_seconds: Some(14),
            silent: false,
            unaccepted: false,
            suspect: None,
        }),
        rejected: [(crate::domain::model::RejectReason::OffSession, 3)].into(),
        rounded: [(crate::domain::model::RoundedSource::Link, 3)].into(),
        ..SymbolView::default()
    }
}

fn key() -> KeyView {
    KeyView {
        slot: "G1_1".parse().unwrap(),
        state: KeyState::Ready,
        until: None,
        used_minute: 0,
        used_day: 40,
        left_day: 760,
        calls_total: 40,
        of_link: false,
    }
}

fn full() -> ServiceView {
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
    let counted = PairCounts {
        bars_compared: 12,
        bars_mismatched: 1,
        ..PairCounts::default()
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
        symbols: [(Symbol::usdcop(), pair())].into(),
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
        sessions: [(Symbol::usdcop(), SessionView::of(&Calendar::usdcop(), now))].into(),
        forecast: Some(ForecastStatus {
            at: ZonedInstant::new(now, Tz::UTC),
            used: 40,
            expected: 1_048,
            available: 1_600,
            fits: true,
            polled: Vec::new(),
            every_seconds: None,
        }),
        comparisons: ComparisonStatus {
            pairs: [(Symbol::usdcop(), counted)].into(),
            ..ComparisonStatus::default()
        },
        keys: vec![KeyStatus::new(&key(), "a91f", Tz::UTC)],
        readers: vec![ReaderStatus::new("writer", &writer, now, Tz::UTC)],
        cluster: Some(cluster()),
        ..ServiceView::default()
    }
}

/// A standby that is twelve parcels behind, and an edge that is not heard any more.
fn cluster() -> ClusterView {
    let own = NodeNews {
        role: NodeRole::Standby,
        term: 3,
        lag_parcels: 12,
        lag_ms: 340,
        ..NodeNews::default()
    };
    let silent = NodeNews::default();
    ClusterView {
        nodes: vec![
            NodeSeen {
                news: own.clone(),
                age_ms: 20,
            },
            NodeSeen {
                news: silent,
                age_ms: 60_000,
            },
        ],
        own,
        leader_age_ms: Some(700),
        ..ClusterView::default()
    }
}

fn numbers(view: &ServiceView) -> Numbers {
    let measures = Measures::default();
    measures.count_request(Some("/status".to_owned()), Duration::from_millis(3));
    measures.count_ws_error(1_001);
    measures.count_fence_refusal("log");
    Numbers {
        samples: samples(view, &ClientCounts::default(), Timestamp::from_secs(1_767_361_210)),
        measures,
    }
}

fn shown(view: &ServiceView) -> String {
    TextFormat::Prometheus.write(numbers(view))
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
        "candela_uptime_seconds 10.0",
        "# TYPE candela_ticks_accepted_total counter\ncandela_ticks_accepted_total 7",
        "candela_feed_message_age_seconds 0.412",
        "candela_ticks_rejected_total{symbol=\"USD/COP\",reason=\"off_session\"} 3",
        "candela_session_open{symbol=\"USD/COP\"} 1",
        "candela_session_expected_bars{symbol=\"USD/COP\"} 59",
        "candela_session_present_bars{symbol=\"USD/COP\"} 8",
        "candela_symbol_last_tick_timestamp_seconds{symbol=\"USD/COP\"} 1767361204",
        "candela_symbol_cadence_limit_seconds{symbol=\"USD/COP\"} 14",
        "candela_vendor_mismatch_total{symbol=\"USD/COP\"} 1",
        "candela_database_response_seconds 0.0025",
        "candela_reader_distance{reader=\"writer\"} 12",
        "candela_reader_age_seconds{reader=\"writer\"} 1.5",
        "candela_actor_restarts_total{actor=\"feed\"} 2",
        "candela_key_day_calls_used{key=\"G1_1\"} 40",
        "candela_forecast_calls_available 1600",
        "candela_http_request_seconds_bucket{route=\"/status\",le=\"0.005\"} 1",
        "candela_http_request_seconds_count{route=\"/status\"} 1",
        "candela_ws_errors_total{code=\"1001\"} 1",
        "candela_clients_closed_total{reason=\"slow_consumer\"} 0",
        "candela_cluster_role{role=\"standby\"} 1",
        "candela_cluster_role{role=\"leader\"} 0",
        "candela_cluster_nodes{role=\"standby\"} 1",
        "candela_cluster_nodes{role=\"edge\"} 0",
        "candela_cluster_lag_parcels 12",
        "candela_cluster_lag_seconds 0.34",
        "candela_cluster_leader_age_seconds 0.7",
        "candela_cluster_fence_refusals_total{place=\"log\"} 1",
    ] {
        assert!(page.contains(&format!("{line}\n")), "no {line} in\n{page}");
    }
}

#[test]
fn what_is_deprecated_says_the_same_as_what_takes_its_place() {
    let page = shown(&full());
    let value = |name: &str| {
        let line = page
            .lines()
            .find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next())
            .unwrap_or_else(|| panic!("no {name}"))
            .to_owned()
    };
    let mut deprecated = 0;
    for Metric { name, help, .. } in METRICS.iter() {
        let Some(instead) = help.strip_prefix("Deprecated: ") else {
            continue;
        };
        deprecated += 1;
        if !instead.contains(' ') {
            assert!(
                METRICS.iter().any(|metric| metric.name == instead),
                "{name}: no {instead}"
            );
            assert_eq!(value(name), value(instead), "{name}");
        }
    }
    assert_eq!(deprecated, 5);
}

#[test]
fn who_accepts_open_metrics_gets_it() {
    for (accept, named) in [
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            true,
        ),
        ("text/plain, Application/OpenMetrics-Text", true),
        ("application/openmetrics-text;q=0, text/plain", false),
        ("text/plain;version=0.0.4", false),
        ("*/*", false),
    ] {
        assert_eq!(asks_for_open_metrics(accept), named, "{accept}");
    }
    let page = TextFormat::OpenMetrics.write(numbers(&full()));
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert!(
        page.contains("# TYPE candela_ticks_accepted counter\ncandela_ticks_accepted_total 7\n"),
        "{page}"
    );
}

#[test]
fn every_sample_has_a_row_and_every_row_can_have_a_sample() {
    let numbers = numbers(&full());
    for Metric { name, .. } in METRICS.iter() {
        let sampled = numbers.samples.iter().any(|sample| sample.name == *name);
        assert!(
            sampled != numbers.measure(name).is_some(),
            "{name} is counted in no place, or in two"
        );
    }
    for sample in numbers.samples {
        assert!(
            METRICS.iter().any(|metric| metric.name == sample.name),
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

#[test]
fn every_row_of_the_operations_guide_is_a_metric() {
    assert_eq!(
        rows().count(),
        METRICS.len(),
        "a row has another kind, or too few cells"
    );
    for (row, Metric { name, kind, help }) in rows().zip(METRICS.iter()) {
        let begins = format!("| `{name}` | {} | ", kind.as_str());
        assert!(row.starts_with(&begins), "{row}");
        assert!(row.ends_with(&format!(" | {help} |")) && !help.is_empty(), "{row}");
        assert_eq!(
            *kind == MetricType::Counter,
            name.ends_with("_total"),
            "{name} ends as its kind does"
        );
    }
}
