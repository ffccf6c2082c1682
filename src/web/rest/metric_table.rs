//! Every metric with its kind and meaning, from the table in docs/operations.md: the page `/metrics` is generated from it.

use prometheus_client::metrics::MetricType;
use std::sync::LazyLock;

const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"));

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// Its name for scrapers; a counter's ends in `_total`.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    pub(super) help: &'static str,
}

/// Every metric, in the order of the page. Deprecated metrics go with the next version.
pub(super) static METRICS: LazyLock<Vec<Metric>> = LazyLock::new(|| rows().filter_map(metric).collect());

/// The rows of the table.
pub(super) fn rows() -> impl Iterator<Item = &'static str> {
    let table = GUIDE.lines().skip_while(|line| !line.starts_with("| metric |"));
    table.take_while(|line| line.starts_with('|')).skip(2)
}

fn metric(row: &'static str) -> Option<Metric> {
    let mut cells = row.trim_matches('|').split('|').map(str::trim);
    Some(Metric {
        name: cells.next()?.trim_matches('`'),
        kind: match cells.next()? {
            "gauge" => MetricType::Gauge,
            "counter" => MetricType::Counter,
            "histogram" => MetricType::Histogram,
            _ => return None,
        },
        help: cells.nth(1)?,
    })
}
