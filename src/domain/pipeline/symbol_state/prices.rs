//! Which prices of a pair are accepted: its tick filter, the close that the first price is measured against, and the counts.

use crate::domain::model::{AcceptedTick, Fetched, LastClose, Provenance, RejectReason, Session, Tick, Timestamp};
use crate::domain::pipeline::{AcceptanceView, Dropped, SymbolState, TickVerdict};
use crate::limits;

impl SymbolState {
    /// Whether a tick is good and of this session.
    pub(in crate::domain) fn check_tick(&mut self, tick: &Tick, now: Timestamp) -> (TickVerdict, Dropped) {
        let place = self.place(tick);
        let ruling = if !self.in_session(place) {
            // Minutes before the open a stamp may already be inside; what is far outside is the vendor's round-the-clock quote.
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
                self.prices.accept(tick, place, now, self.watch.line());
            }
            TickVerdict::Aside(reason) => {
                if *reason != RejectReason::ExactRepeat {
                    self.prices.note_stamp(tick, open, now);
                }
                let line = live.then(|| self.watch.line());
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

    /// A close was found. Returns the held ticks that it shows to be good, and what was dropped.
    pub(in crate::domain) fn learn_close(&mut self, found: LastClose, now: Timestamp) -> (Vec<AcceptedTick>, Dropped) {
        let good = self.judge.learn(found, now);
        let dropped = self.take_dropped(self.watch.is_up(), now);
        self.note_good(&good);
        (good, dropped)
    }

    /// A price that cannot be used came, over the link or by polling.
    pub(in crate::domain) fn count_unusable(&mut self, reason: RejectReason, live: bool, now: Timestamp) {
        if reason == RejectReason::BeyondScale {
            self.judge.refuse_beyond_scale();
        }
        let open = self.session_at(now);
        let line = live.then(|| self.watch.line());
        self.prices.set_aside(reason, open, line, now);
    }

    /// Held ticks that the filter dropped. `live`: the link brought what made it drop them.
    pub(in crate::domain) fn take_dropped(&mut self, live: bool, now: Timestamp) -> Dropped {
        let (reason, count) = self.judge.take_dropped()?;
        let open = self.session_at(now);
        let line = live.then(|| self.watch.line());
        for _ in 0..count {
            self.prices.set_aside(reason, open, line, now);
        }
        Some((reason, count))
    }

    fn note_good(&mut self, ticks: &[AcceptedTick]) {
        for accepted in ticks {
            let place = self.place(&accepted.tick);
            self.prices
                .accept(&accepted.tick, place, accepted.received_at, self.watch.line());
        }
    }

    pub(super) fn session_at(&self, now: Timestamp) -> Option<Session> {
        self.session.filter(|session| session.contains(now))
    }

    /// What is shown of the pair's prices.
    pub(in crate::domain) fn prices(&self) -> AcceptanceView {
        AcceptanceView {
            held_since: self.judge.held_ticks().map(|(_, since)| since),
            ..self.prices.view()
        }
    }

    /// Where no close is known, the vendor's newest bars give a level. One of them may be wrong, so it is the median of a few.
    /// Returns the held ticks that it shows to be good.
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
