//! Counters and timings, recorded where they happen, for `/metrics` alone: the rest of that page comes from the snapshot that `/status`
//! shows.
//!
//! *Architecture invariant*: no decision of the service reads a measure. Each set of labels is bounded by the settings or by the code.

use crate::domain::model::{AcceptedTick, Bar, BarState, Event, Gap, GapStatus, Timestamp};
use crate::limits;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// A fixed number of labels, each with its name.
pub type Labels<const N: usize> = [(&'static str, String); N];

/// The measures of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Measures {
    /// From the arrival of a price until it is in the ledger and sent to the ledger's readers; real seconds.
    pub tick_delay: Histogram,
    /// From the end of a bar's interval until it is published; real seconds.
    pub bar_delay: Histogram,
    /// How long one append to the ledger takes.
    pub ledger_append: Histogram,
    /// How long the store takes to write one batch.
    pub store_write: Histogram,
    /// How long the head of a response takes, by the pattern of its address.
    pub http_request: Family<Labels<1>, Histogram>,
    /// Bars published, by pair, interval, provenance and state.
    pub bars: Family<Labels<4>, Counter>,
    /// Changes of gaps, by status and cause.
    pub gaps: Family<Labels<2>, Counter>,
    /// Errors sent to WebSocket clients, by code.
    pub ws_errors: Family<Labels<1>, Counter>,
    /// How long the cluster log takes to accept one batch of parcels.
    pub log_append: Histogram,
    /// Writes that were refused because another leads, by what was written to.
    pub fence_refusals: Family<Labels<1>, Counter>,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            tick_delay: seconds(),
            bar_delay: seconds(),
            ledger_append: seconds(),
            store_write: seconds(),
            http_request: Family::new_with_constructor(seconds),
            bars: Family::default(),
            gaps: Family::default(),
            ws_errors: Family::default(),
            log_append: seconds(),
            fence_refusals: Family::default(),
        }
    }
}

/// A histogram of durations.
fn seconds() -> Histogram {
    Histogram::new(limits::METRIC_BUCKETS)
}

impl Measures {
    /// Counts an event that is in the ledger and is published. `real` turns market time into real time.
    pub fn count_event(&self, event: &Event, now: Timestamp, real: impl Fn(Duration) -> Duration) {
        match event {
            Event::Tick(AcceptedTick { received_at, .. }) => {
                self.tick_delay.observe(real(now.since(*received_at)).as_secs_f64());
            }
            Event::Bar(bar) => self.count_bar(bar, now, real),
            Event::Gap(gap) => self.count_gap(gap),
            _ => {}
        }
    }

    fn count_bar(&self, bar: &Bar, now: Timestamp, real: impl Fn(Duration) -> Duration) {
        let labels = [
            ("symbol", bar.key.symbol.as_str().to_owned()),
            ("interval", bar.key.interval.name().to_owned()),
            ("provenance", bar.provenance.name().to_owned()),
            ("state", bar.state.name().to_owned()),
        ];
        self.bars.get_or_create(&labels).inc();
        // A bar made of ticks that closes now. Corrections and fetched bars are late by nature.
        if bar.state == BarState::Closed && bar.ticks > 0 {
            self.bar_delay.observe(real(now.since(bar.closes_at)).as_secs_f64());
        }
    }

    fn count_gap(&self, gap: &Gap) {
        self.expect_gap(&gap.cause);
        self.gaps.get_or_create(&gap_labels(gap.status, &gap.cause)).inc();
    }

    /// Shows the count of every step that a gap of that cause may still take, from zero: the rise of a counter that is first seen at one
    /// is no rise to Prometheus.
    pub fn expect_gap(&self, cause: &str) {
        for status in GapStatus::ALL {
            drop(self.gaps.get_or_create(&gap_labels(*status, cause)));
        }
    }

    /// Counts a response by the pattern of its request's address.
    pub fn count_request(&self, route: Option<String>, took: Duration) {
        let route = route.unwrap_or_else(|| "other".to_owned());
        self.http_request
            .get_or_create(&[("route", route)])
            .observe(took.as_secs_f64());
    }

    /// Counts a write that was refused because another leads. `place` is `database`, `redis` or `log`.
    pub fn count_fence_refusal(&self, place: &'static str) {
        self.fence_refusals.get_or_create(&[("place", place.to_owned())]).inc();
    }

    /// Counts an error that was sent to a WebSocket client.
    pub fn count_ws_error(&self, code: u16) {
        self.ws_errors.get_or_create(&[("code", code.to_string())]).inc();
    }
}

fn gap_labels(status: GapStatus, cause: &str) -> Labels<2> {
    [
        ("status", status.name().to_owned()),
        ("cause", cause_label(cause).to_owned()),
    ]
}

/// The cause without the numbers and the evidence that may follow it: `upstream_close` of `upstream_close_1006`.
fn cause_label(cause: &str) -> &str {
    let end = cause.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
    let name = cause.get(..end.unwrap_or(cause.len())).unwrap_or_default();
    name.trim_end_matches('_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{BarKey, Flags, Interval, Ohlc, Price, Provenance, SessionKind, Symbol, Tick};
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_cause_is_one_of_few_whatever_the_vendor_says() {
        for (cause, label) in [
            ("no_ticks", "no_ticks"),
            ("upstream_close_1006", "upstream_close"),
            ("upstream_close_4999", "upstream_close"),
            ("not_running: the vendor has none", "not_running"),
        ] {
            assert_eq!(cause_label(cause), label);
        }
    }

    #[test]
    fn each_step_that_a_gap_may_take_is_shown_before_it_is_taken() {
        let measures = Measures::default();
        measures.count_event(
            &Event::Gap(gap("upstream_close_1006")),
            Timestamp::from_secs(9),
            |time| time,
        );
        measures.expect_gap("not_running");
        let mut registry = Registry::default();
        registry.register("gaps", "", measures.gaps);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        for (status, cause, count) in [
            ("open", "upstream_close", 1),
            ("unfillable", "upstream_close", 0),
            ("unfillable", "not_running", 0),
        ] {
            let line = format!("gaps_total{{status=\"{status}\",cause=\"{cause}\"}} {count}\n");
            assert!(page.contains(&line), "no {line} in\n{page}");
        }
    }

    fn gap(cause: &str) -> Gap {
        Gap {
            id: 1,
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: Timestamp::from_secs(0),
            to: Timestamp::from_secs(300),
            bars: 1,
            status: GapStatus::Open,
            cause: cause.to_owned(),
        }
    }

    #[test]
    fn market_time_is_measured_as_real_time() {
        let measures = Measures::default();
        let now = Timestamp::from_secs(1_772_460_010);
        let tick = Tick {
            symbol: Symbol::usdcop(),
            price: Price::from_micros(3_886_750_000),
            bid: None,
            ask: None,
            at: now,
            provenance: Provenance::Live,
        };
        let received_at = now - Duration::from_secs(10);
        let tick = AcceptedTick { tick, received_at };
        measures.count_event(&Event::Tick(tick), now, |market| market / 100);
        let whole = Bar {
            key: BarKey {
                symbol: Symbol::usdcop(),
                interval: Interval::M5,
                opens_at: received_at - Duration::from_secs(300),
            },
            closes_at: received_at,
            ohlc: Ohlc::flat_at(Price::from_micros(3_886_750_000)),
            ticks: 1,
            first_tick_at: Some(received_at),
            last_tick_at: Some(received_at),
            state: BarState::Closed,
            revision: 0,
            provenance: Provenance::Live,
            flags: Flags::default(),
            session_date: now.datetime().date_naive(),
            session_kind: SessionKind::Spot,
        };
        let fetched = Bar { ticks: 0, ..whole };
        let corrected = Bar {
            state: BarState::Revised,
            revision: 1,
            ..whole
        };
        for bar in [whole, fetched, corrected] {
            measures.count_event(&Event::Bar(bar), now, |market| market / 100);
        }
        let mut registry = Registry::default();
        registry.register("bar", "", measures.bar_delay);
        registry.register("delay", "", measures.tick_delay);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        assert!(page.contains("\ndelay_sum 0.1\ndelay_count 1\n"), "{page}");
        assert!(
            page.contains("\nbar_sum 0.1\nbar_count 1\n"),
            "what is late by nature is not measured: {page}"
        );
    }
}
