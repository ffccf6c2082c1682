//! The link as `/status` shows it.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::vendor::{Status, Suspicion};
use std::time::Duration;

/// The state of the link and its pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedView {
    /// `idle`, `connecting`, `confirming`, `live`, `silent` or `waiting`.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Successful handshakes.
    pub connections_total: u64,
    /// When any frame last came.
    pub last_frame_at: Option<Timestamp>,
    /// When a price last came.
    pub last_price_at: Option<Timestamp>,
    /// Why the last link ended.
    pub last_cause: Option<String>,
    /// The key's plan streams none of the pairs. A later attempt subscribes them again.
    pub refused_all: bool,
    /// Each pair.
    pub symbols: Vec<SubscriptionView>,
}

/// One pair on the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// The pair.
    pub symbol: Symbol,
    /// Pending, confirmed or refused.
    pub status: Status,
    /// When one of its prices was last accepted.
    pub last_price_at: Option<Timestamp>,
    /// The learned 99th percentile of the gaps between its accepted prices.
    pub gap_p99: Option<Duration>,
    /// The allowed age of its last price: twice `gap_p99`, or a default before that is learned.
    pub patience: Duration,
    /// Accepted prices are overdue.
    pub silent: bool,
    /// Prices come, but none is accepted.
    pub unaccepted: bool,
    /// Why the prices that come look wrong.
    pub suspicion: Option<Suspicion>,
}

impl SubscriptionView {
    /// Whether the link delivers prices of the pair that are accepted.
    pub fn brings_prices(&self) -> bool {
        self.status == Status::Confirmed && !self.silent && !self.unaccepted
    }
}

impl FeedView {
    /// The view of a link that was never started.
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

    /// Whether the link is up and the prices of every confirmed pair are overdue. One quiet pair does not make the link silent.
    pub fn all_silent(&self) -> bool {
        let mut brought = self.symbols.iter().filter(|line| line.status == Status::Confirmed);
        self.state == "silent" && brought.all(|line| line.silent)
    }
}

/// Decides what to report about silence: overdue from when every pair's prices are, until one is accepted or the link is stopped. A silent
/// link is closed and opened again; that alone changes nothing.
#[derive(Debug, Default)]
pub struct SilenceReport {
    /// The last report; `None` after a start, when an earlier incarnation may have reported either.
    reported: Option<bool>,
    since: Option<Timestamp>,
}

impl SilenceReport {
    /// The report to make after this view: prices are overdue (`true`) or come again (`false`); `None` when nothing changed.
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
