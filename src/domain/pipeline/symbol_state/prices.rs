//! Judges the prices of a pair: its tick filter, the close that the first price is measured against, and the counts.

use crate::domain::model::{AcceptedTick, Fetched, LastClose, Provenance, RejectReason, Session, Tick, Timestamp};
use crate::domain::pipeline::{AcceptanceView, Dropped, SymbolState, TickVerdict};
use crate::limits;

impl SymbolState {
    /// Judges a tick by the session and the tick filter.
    pub(in crate::domain) fn check_tick(&mut self, tick: &Tick, now: Timestamp) -> (TickVerdict, Dropped) {
        let place = self.place(tick);
        let ruling = if !self.in_session(place) {
            // Minutes before the open a timestamp may already be inside; one far outside is the vendor's round-the-clock quote.
            TickVerdict::Aside(RejectReason::OffSession)
        } else {
            self.judge.check_tick(tick, now)
        };
        let open = self.session_at(now);
        let live = tick.provenance == Provenance::Live;
        let dropped = self.take_dropped(live, now);
        match &ruling {
            TickVerdict::Good => {
                self.prices.note_stamp(tick, open, now);
                self.prices.accept(tick, place, now, self.outages.line());
            }
            TickVerdict::Aside(reason) => {
                if *reason != RejectReason::ExactRepeat {
                    self.prices.note_stamp(tick, open, now);
                }
                let line = live.then(|| self.outages.line());
                self.prices.set_aside(*reason, open, line, now);
            }
            TickVerdict::Held => self.prices.hold(tick, open, now),
            TickVerdict::Confirmed(ticks) => {
                self.prices.note_stamp(tick, open, now);
                self.note_good(ticks);
            }
        }
        (ruling, dropped)
    }

    /// Applies a close that was found. Returns the held ticks that it confirms, and the dropped ones.
    pub(in crate::domain) fn learn_close(&mut self, found: LastClose, now: Timestamp) -> (Vec<AcceptedTick>, Dropped) {
        let good = self.judge.learn(found, now);
        let dropped = self.take_dropped(self.outages.is_up(), now);
        self.note_good(&good);
        (good, dropped)
    }

    /// A price that cannot be used came, live or polled.
    pub(in crate::domain) fn count_unusable(&mut self, reason: RejectReason, live: bool, now: Timestamp) {
        if reason == RejectReason::BeyondScale {
            self.judge.refuse_beyond_scale();
        }
        let open = self.session_at(now);
        let line = live.then(|| self.outages.line());
        self.prices.set_aside(reason, open, line, now);
    }

    /// Counts held ticks that the filter dropped as rejected. `live`: a live price caused the drop.
    pub(in crate::domain) fn take_dropped(&mut self, live: bool, now: Timestamp) -> Dropped {
        let (reason, count) = self.judge.take_dropped()?;
        let open = self.session_at(now);
        let line = live.then(|| self.outages.line());
        for _ in 0..count {
            self.prices.set_aside(reason, open, line, now);
        }
        Some((reason, count))
    }

    fn note_good(&mut self, ticks: &[AcceptedTick]) {
        for accepted in ticks {
            let place = self.place(&accepted.tick);
            self.prices
                .accept(&accepted.tick, place, accepted.received_at, self.outages.line());
        }
    }

    pub(super) fn session_at(&self, now: Timestamp) -> Option<Session> {
        self.session.filter(|session| session.contains(now))
    }

    /// The judgement of the pair's prices, for views.
    pub(in crate::domain) fn prices(&self) -> AcceptanceView {
        AcceptanceView {
            held_since: self.judge.held_ticks().map(|(_, since)| since),
            ..self.prices.view()
        }
    }

    /// Takes a level from the vendor's newest bars when no close is known. One bar may be wrong, so the level is the median of a few
    /// closes. Returns the held ticks that it confirms.
    pub(in crate::domain) fn learn(&mut self, fetched: &Fetched, at: Timestamp) -> (Vec<AcceptedTick>, Dropped) {
        if self.judge.close().is_some() || fetched.symbol != self.market.symbol {
            return (Vec::new(), None);
        }
        let mut closes: Vec<_> = fetched.bars.iter().rev().take(limits::CLOSES).collect();
        closes.sort_by_key(|bar| bar.ohlc.close);
        let Some(bar) = closes.get(closes.len() / 2) else {
            return (Vec::new(), None);
        };
        let found = LastClose {
            symbol: fetched.symbol,
            price: bar.ohlc.close,
            at: bar.opens_at,
            firm_from: at + limits::FIRM_AFTER,
        };
        self.learn_close(found, at)
    }
}
