//! The link as `/status` shows it.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::vendor::{Status, Suspicion};
use std::time::Duration;

/// The whole link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedView {
    /// `idle`, `connecting`, `confirming`, `live`, `silent` or `waiting`.
    pub state: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Handshakes that succeeded.
    pub connections_total: u64,
    /// When anything last came.
    pub last_frame_at: Option<Timestamp>,
    /// When a price last came.
    pub last_price_at: Option<Timestamp>,
    /// Why the last link ended.
    pub last_cause: Option<String>,
    /// The plan streams none of the pairs: they are refused, though a later attempt will ask again.
    pub refused_all: bool,
    /// Each pair.
    pub symbols: Vec<SubscriptionView>,
}

/// One pair on the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// The pair.
    pub symbol: Symbol,
    /// Asked, confirmed or refused.
    pub status: Status,
    /// When a price of it was last accepted.
    pub last_price_at: Option<Timestamp>,
    /// Its learned 99th-percentile gap between accepted prices.
    pub gap_p99: Option<Duration>,
    /// Twice that, or a default before it is learned: how old its last price may be.
    pub patience: Duration,
    /// Accepted prices are overdue.
    pub silent: bool,
    /// Prices come, and none is accepted.
    pub unaccepted: bool,
    /// Prices come, and look wrong.
    pub suspicion: Option<Suspicion>,
}

impl SubscriptionView {
    /// Whether the link brings prices of the pair that are accepted.
    pub fn brings_prices(&self) -> bool {
        self.status == Status::Confirmed && !self.silent && !self.unaccepted
    }
}

impl FeedView {
    /// A link before prices were first wanted.
    pub const fn idle(now: Timestamp) -> Self {
        Self {
            state: "idle",
            since: now,
            connections_total: 0,
            last_frame_at: None,
            last_price_at: None,
            last_cause: None,
            refused_all: false,
            symbols: Vec::new(),
        }
    }

    /// Whether the link is up, and the prices of every pair it brings are overdue: one quiet pair does not make the link silent.
    pub fn all_silent(&self) -> bool {
        let mut brought = self.symbols.iter().filter(|line| line.status == Status::Confirmed);
        self.state == "silent" && brought.all(|line| line.silent)
    }
}

/// Whether prices are overdue, as it is reported: from when those of every pair are until one is accepted or the link is stopped. A
/// silent link is ended and opened anew; that proves nothing.
#[derive(Debug, Default)]
pub struct SilenceReport {
    /// What was reported last; `None` at a start, when an earlier incarnation may have reported anything.
    reported: Option<bool>,
    since: Option<Timestamp>,
}

impl SilenceReport {
    /// What is to be reported after this view: prices are overdue (`true`) or come again (`false`); `None` when nothing changed.
    #[must_use]
    pub fn note_view(&mut self, view: &FeedView, now: Timestamp) -> Option<bool> {
        let accepted = view.symbols.iter().any(|line| line.last_price_at > self.since);
        let stopped = view.state == "idle" && self.reported == Some(true);
        let silent = match self.reported {
            None | Some(false) if view.all_silent() => true,
            None | Some(true) if accepted || stopped => false,
            _ => return None,
        };
        self.reported = Some(silent);
        self.since = silent.then_some(now);
        Some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_reported_until_a_price_is_accepted_or_the_link_is_stopped_whatever_links_come_meanwhile() {
        let at = |secs: u32| Timestamp::from_secs(1_772_456_400) + Duration::from_secs(secs.into());
        let view = |state, silent, accepted| FeedView {
            state,
            symbols: vec![SubscriptionView {
                symbol: Symbol::usdcop(),
                status: Status::Confirmed,
                last_price_at: Some(at(accepted)),
                gap_p99: None,
                patience: Duration::from_secs(60),
                silent,
                unaccepted: false,
                suspicion: None,
            }],
            ..FeedView::idle(at(0))
        };
        let mut report = SilenceReport::default();
        let early = view("connecting", false, 0);
        let unheard = FeedView {
            symbols: Vec::new(),
            ..early.clone()
        };
        assert_eq!(report.note_view(&unheard, at(0)), None);
        assert_eq!(
            report.note_view(&early, at(1)),
            Some(false),
            "an earlier incarnation may have reported silence"
        );
        assert_eq!(report.note_view(&view("live", false, 0), at(30)), None);
        assert_eq!(report.note_view(&view("silent", true, 0), at(60)), Some(true));
        for (state, silent) in [
            ("silent", true),
            ("waiting", true),
            ("confirming", false),
            ("live", false),
        ] {
            assert_eq!(report.note_view(&view(state, silent, 0), at(70)), None, "{state}");
        }
        assert_eq!(report.note_view(&view("live", false, 80), at(80)), Some(false));
        assert_eq!(report.note_view(&view("silent", true, 80), at(200)), Some(true));
        assert_eq!(report.note_view(&view("idle", false, 80), at(300)), Some(false));
    }
}
