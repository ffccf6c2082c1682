//! Every metric with its kind, labels and meaning: the page `/metrics` and the table of docs/operations.md are generated from it.

use prometheus_client::metrics::MetricType;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    /// Its name for scrapers; a counter's ends in `_total`.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    /// Its labels, as the document lists them.
    #[cfg_attr(not(test), expect(dead_code, reason = "the document shows them; a test compares it"))]
    pub(super) labels: &'static str,
    pub(super) help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Gauge,
        labels,
        help,
    }
}

const fn counter(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Counter,
        labels,
        help,
    }
}

const fn histogram(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Histogram,
        labels,
        help,
    }
}

/// Every metric, in the order of the page. Deprecated metrics go with the next version.
pub(super) const METRICS: &[Metric] = &[
    gauge(
        "candela_build_info",
        "`version`, `commit`",
        "Always 1; the labels name the build",
    ),
    gauge(
        "candela_state",
        "`state`: the eight states of the life cycle",
        "1 for the state the life cycle is in",
    ),
    gauge(
        "candela_condition",
        "`type`: such as `store_behind`; `symbol` where it concerns one pair alone",
        "1 while the condition holds",
    ),
    gauge("candela_session_open", "`symbol`", "1 while the pair's session is open"),
    gauge(
        "candela_session_expected_bars",
        "`symbol`",
        "Bars that the whole session has",
    ),
    gauge("candela_session_present_bars", "`symbol`", "Bars closed in the session"),
    gauge(
        "candela_symbol_safe_to_trade",
        "`symbol`",
        "1 while a strategy should act on the pair",
    ),
    gauge(
        "candela_symbol_last_tick_timestamp_seconds",
        "`symbol`",
        "Stamp of the last accepted tick, Unix time of the market",
    ),
    gauge(
        "candela_symbol_cadence_limit_seconds",
        "`symbol`",
        "How old the pair's last price may be before it counts as silent",
    ),
    counter("candela_ticks_accepted_total", "", "Ticks accepted and numbered"),
    counter(
        "candela_ticks_rejected_total",
        "`symbol`, `reason`",
        "Ticks set aside, by pair and reason",
    ),
    counter(
        "candela_prices_rounded_total",
        "`symbol`, `source`",
        "Prices of which digits beyond the sixth decimal were rounded away, by pair and source",
    ),
    histogram(
        "candela_tick_delay_seconds",
        "",
        "From the arrival of a price until it is written to the ledger and published",
    ),
    counter(
        "candela_bars_total",
        "`symbol`, `interval`, `provenance`, `state`: closed or revised",
        "Bars published",
    ),
    histogram(
        "candela_bar_delay_seconds",
        "",
        "From the end of a bar's interval until it is published",
    ),
    counter(
        "candela_gaps_total",
        "`status`, `cause`",
        "Steps of gaps: each is opened, requested, and filled or found unfillable",
    ),
    gauge(
        "candela_gaps_pending",
        "",
        "Stretches of missing bars that may still be filled",
    ),
    counter(
        "candela_vendor_compared_bars_total",
        "`symbol`",
        "Bars of the session that were compared with the vendor's; starts again with each session",
    ),
    counter(
        "candela_vendor_mismatch_total",
        "`symbol`",
        "Of these, bars that differ by more than a minimum step",
    ),
    gauge("candela_feed_connected", "", "1 while the link to the vendor is up"),
    counter("candela_feed_connections_total", "", "Connections made to the vendor"),
    gauge(
        "candela_feed_message_age_seconds",
        "",
        "Market time since the vendor's last frame",
    ),
    counter(
        "candela_key_calls_total",
        "`key`: its slot, never its text",
        "Calls made with an API key",
    ),
    gauge(
        "candela_key_day_calls_used",
        "`key`",
        "Calls made with an API key this UTC day",
    ),
    gauge(
        "candela_key_day_calls_left",
        "`key`",
        "Calls that an API key has left this UTC day",
    ),
    gauge(
        "candela_forecast_calls_expected",
        "",
        "Calls that are expected to be used by the end of the day",
    ),
    gauge(
        "candela_forecast_calls_available",
        "",
        "Calls that all keys may make today",
    ),
    histogram(
        "candela_ledger_append_seconds",
        "",
        "How long one append to the ledger takes",
    ),
    gauge(
        "candela_reader_distance",
        "`reader`",
        "Events between a reader of the ledger and its end",
    ),
    gauge(
        "candela_reader_age_seconds",
        "`reader`",
        "Age of the first event that a reader has not processed",
    ),
    histogram(
        "candela_store_write_seconds",
        "",
        "How long the store takes to write one batch",
    ),
    gauge("candela_database_connected", "", "1 while the database answers"),
    gauge("candela_database_response_seconds", "", "How long its last answer took"),
    gauge("candela_redis_connected", "", "1 while the cache answers"),
    gauge("candela_redis_response_seconds", "", "How long its last answer took"),
    counter(
        "candela_store_prices_rounded_total",
        "",
        "Prices of the store with more than six decimals, rounded as they were read",
    ),
    gauge(
        "candela_cluster_role",
        "`role`: `leader`, `standby` or `edge`",
        "1 for what the node does now; absent on a single node",
    ),
    gauge(
        "candela_cluster_term",
        "",
        "The highest term that the node knows: it rises with each leader",
    ),
    counter(
        "candela_cluster_takeovers_total",
        "",
        "Takeovers from another leader by this process",
    ),
    gauge(
        "candela_cluster_lag_parcels",
        "",
        "Parcels of the cluster log that the node lacks; on the leader, parcels that the cluster log lacks",
    ),
    gauge(
        "candela_cluster_lag_seconds",
        "",
        "How long the first of them has been lacking",
    ),
    gauge(
        "candela_cluster_leader_age_seconds",
        "",
        "How long ago a standby or an edge received its leader's last report",
    ),
    gauge(
        "candela_cluster_alone",
        "",
        "1 while the leader publishes to its own clients what the cluster log does not have",
    ),
    gauge(
        "candela_cluster_nodes",
        "`role`: `leader`, `standby` or `edge`",
        "Nodes that reported in the last five seconds",
    ),
    histogram(
        "candela_cluster_append_seconds",
        "",
        "How long the cluster log takes to accept one batch of parcels",
    ),
    counter(
        "candela_cluster_fence_refusals_total",
        "`place`: `database`, `redis` or `log`",
        "Writes that were refused because another candela leads",
    ),
    gauge(
        "candela_actor_alive",
        "`actor`",
        "1 while the actor handles its messages",
    ),
    counter(
        "candela_actor_restarts_total",
        "`actor`",
        "Restarts of the actor: each that no operator requested is a bug",
    ),
    counter("candela_errors_total", "", "Failures that supervision handled"),
    gauge(
        "candela_clients_connected",
        "",
        "Clients that follow live data: WebSocket, event streams and /td",
    ),
    gauge(
        "candela_clients_slow",
        "",
        "Clients that read more slowly than data arrives",
    ),
    counter("candela_clients_connections_total", "", "Client connections accepted"),
    counter("candela_clients_messages_total", "", "Messages sent to clients"),
    counter(
        "candela_clients_closed_total",
        "`reason`",
        "Client connections closed, by reason",
    ),
    counter(
        "candela_ws_errors_total",
        "`code`: of docs/api.md",
        "Errors sent to WebSocket clients",
    ),
    histogram(
        "candela_http_request_seconds",
        "`route`: the pattern of the address, or `other`",
        "How long the head of an answer takes",
    ),
    counter("candela_log_lines_lost_total", "", "Log lines that were lost"),
    gauge("process_start_time_seconds", "", "When the process started, Unix time"),
    counter(
        "process_cpu_seconds_total",
        "",
        "Processor time of the process, its own and the system's for it",
    ),
    gauge(
        "process_resident_memory_bytes",
        "",
        "Memory of the process that is in RAM",
    ),
    gauge(
        "process_virtual_memory_bytes",
        "",
        "Memory that the process has reserved",
    ),
    gauge("process_open_fds", "", "Files and sockets that the process has open"),
    gauge("process_max_fds", "", "Files and sockets that it may have open"),
    gauge(
        "candela_uptime_seconds",
        "",
        "Deprecated: time() - process_start_time_seconds",
    ),
    gauge(
        "candela_symbol_last_tick_seconds",
        "`symbol`",
        "Deprecated: candela_symbol_last_tick_timestamp_seconds",
    ),
    gauge(
        "candela_symbol_bars_session",
        "`symbol`",
        "Deprecated: candela_session_present_bars",
    ),
    gauge(
        "candela_key_calls_today",
        "`key`",
        "Deprecated: candela_key_day_calls_used",
    ),
    gauge(
        "candela_memory_resident_bytes",
        "",
        "Deprecated: process_resident_memory_bytes",
    ),
];

/// The table of docs/operations.md.
#[cfg(test)]
pub(super) fn document() -> String {
    let mut table = "| metric | kind | label | meaning |\n|---|---|---|---|\n".to_owned();
    for Metric {
        name,
        kind,
        labels,
        help,
    } in METRICS
    {
        table.push_str(&format!("| `{name}` | {} | {labels} | {help} |\n", kind.as_str()));
    }
    table
}
