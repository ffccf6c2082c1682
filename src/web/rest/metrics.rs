//! `/metrics`: the service's metrics in the text formats of Prometheus and of OpenMetrics.
//!
//! Most of them come from the snapshot of `/status` at the request, so that the two pages cannot disagree; what a snapshot cannot hold,
//! such as how long things took, is counted where it happens (`src/measures.rs`). docs/operations.md lists every name.

use crate::measures::Measures;
use crate::web::rest::metric_samples::{Number, Sample, samples};
use crate::web::rest::metric_table::{METRICS, Metric};
use crate::web::shared::{HttpError, Thread};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// `GET /metrics`: OpenMetrics if `Accept` names it.
pub(crate) async fn metrics(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let view = thread.view();
    for gap in &view.gaps {
        thread.common.measures.expect_gap(&gap.cause); // it may be of an earlier run
    }
    let numbers = Numbers {
        samples: samples(&view, thread.registry.counts(), thread.registry.clock().now()),
        measures: thread.common.measures.clone(),
    };
    let format = TextFormat::of(&request);
    let page = format.write(numbers);
    Ok(HttpResponse::Ok()
        .insert_header((header::VARY, "Accept"))
        .content_type(format.content_type())
        .body(page))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextFormat {
    Prometheus,
    OpenMetrics,
}

impl TextFormat {
    fn of(request: &HttpRequest) -> Self {
        let accept = request.headers().get_all(header::ACCEPT);
        let named = accept
            .filter_map(|value| value.to_str().ok())
            .any(asks_for_open_metrics);
        if named { Self::OpenMetrics } else { Self::Prometheus }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn write(self, numbers: Numbers) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(numbers));
        let mut page = String::new();
        let written = match self {
            Self::Prometheus => prometheus_text::encode(&mut page, &registry),
            Self::OpenMetrics => text::encode(&mut page, &registry),
        };
        if let Err(error) = written {
            tracing::error!(%error, "failed to write the page of metrics");
        }
        page
    }
}

/// Whether OpenMetrics is among the accepted media types.
fn asks_for_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The sources of one page.
#[derive(Debug)]
struct Numbers {
    samples: Vec<Sample>,
    measures: Measures,
}

impl Collector for Numbers {
    /// Leaves out a metric without samples.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, kind, help } in METRICS.iter() {
            let stem = name.strip_suffix("_total").filter(|_| *kind == MetricType::Counter);
            let stem = stem.unwrap_or(name);
            if let Some(measure) = self.measure(name) {
                measure.encode(encoder.encode_descriptor(stem, help, None, *kind)?)?;
                continue;
            }
            let mut own = self.samples.iter().filter(|sample| sample.name == *name).peekable();
            if own.peek().is_none() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(stem, help, None, *kind)?;
            for sample in own {
                if sample.labels.is_empty() {
                    write_number(&mut metric, *kind, sample.value)?;
                } else {
                    write_number(&mut metric.encode_family(&sample.labels)?, *kind, sample.value)?;
                }
            }
        }
        Ok(())
    }
}

impl Numbers {
    /// The measure with this name, if it is counted where it happens.
    fn measure(&self, name: &str) -> Option<&dyn EncodeMetric> {
        let measures = &self.measures;
        let measure: &dyn EncodeMetric = match name {
            "candela_tick_delay_seconds" => &measures.tick_delay,
            "candela_bar_delay_seconds" => &measures.bar_delay,
            "candela_ledger_append_seconds" => &measures.ledger_append,
            "candela_store_write_seconds" => &measures.store_write,
            "candela_http_request_seconds" => &measures.http_request,
            "candela_bars_total" => &measures.bars,
            "candela_gaps_total" => &measures.gaps,
            "candela_ws_errors_total" => &measures.ws_errors,
            "candela_cluster_append_seconds" => &measures.log_append,
            "candela_cluster_fence_refusals_total" => &measures.fence_refusals,
            _ => return None,
        };
        Some(measure)
    }
}

fn write_number(metric: &mut MetricEncoder<'_>, kind: MetricType, value: Number) -> fmt::Result {
    type NoLabels = Vec<(&'static str, String)>;
    match (kind, value) {
        (MetricType::Counter, Number::Whole(number)) => metric.encode_counter::<NoLabels, _, f64>(&number, None),
        (MetricType::Counter, Number::Part(number)) => metric.encode_counter::<NoLabels, _, f64>(&number, None),
        (_, Number::Whole(number)) => metric.encode_gauge(&number),
        (_, Number::Part(number)) => metric.encode_gauge(&number),
    }
}

#[cfg(test)]
#[path = "tests/metrics.rs"]
mod tests;
