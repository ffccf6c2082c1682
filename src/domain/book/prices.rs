//! Which prices of a pair are accepted: its judge, the close that judges the first price, and what is counted.

use super::{Book, Dropped};
use crate::domain::acceptance::AcceptanceView;
use crate::domain::event::Fetched;
use crate::domain::judge::{LastClose, Ruling};
use crate::domain::session::Session;
use crate::domain::tick::{AcceptedTick, SetAside, Tick};
use crate::domain::timestamp::Timestamp;
use crate::limits;

impl Book {
    /// Whether a tick is good and of this session.
    pub(in crate::domain) fn admit(&mut self, tick: &Tick, now: Timestamp) -> (Ruling, Dropped) {
        let place = self.place(tick);
        let ruling = if !self.in_session(place) {
            // Minutes before the open a stamp may already be inside; what is far outside is the vendor's round-the-clock quote.
            Ruling::Aside(SetAside::OffSession)
        } else {
            self.judge.admit(tick, now)
        };
        let open = self.session_at(now);
        let dropped = self.dropped(now);
        match &ruling {
            Ruling::Good => self.prices.note(tick, place, open, Ok(()), now),
            Ruling::Aside(reason) => self.prices.note(tick, place, open, Err(*reason), now),
            Ruling::Held => self.prices.hold(tick, open, now),
            Ruling::Confirmed(ticks) => {
                self.prices.hold(tick, open, now);
                self.note_good(ticks);
            }
        }
        (ruling, dropped)
    }

    /// A close was found. Returns the held ticks that it shows to be good, and what was dropped.
    pub(in crate::domain) fn learn_close(&mut self, found: LastClose, now: Timestamp) -> (Vec<AcceptedTick>, Dropped) {
        let good = self.judge.learn(found, now);
        let dropped = self.dropped(now);
        self.note_good(&good);
        (good, dropped)
    }

    /// A price that cannot be used came.
    pub(in crate::domain) fn unusable(&mut self, reason: SetAside, now: Timestamp) {
        if reason == SetAside::BeyondScale {
            self.judge.is_beyond_scale();
        }
        let open = self.session_at(now);
        self.prices.set_aside(reason, open, now);
    }

    /// What the judge gave up of the ticks that it held.
    pub(in crate::domain) fn dropped(&mut self, now: Timestamp) -> Dropped {
        let (reason, count) = self.judge.take_dropped()?;
        let open = self.session_at(now);
        for _ in 0..count {
            self.prices.set_aside(reason, open, now);
        }
        Some((reason, count))
    }

    fn note_good(&mut self, ticks: &[AcceptedTick]) {
        for accepted in ticks {
            let place = self.place(&accepted.tick);
            self.prices.accept(&accepted.tick, place, accepted.received_at);
        }
    }

    pub(super) fn session_at(&self, now: Timestamp) -> Option<Session> {
        self.session.filter(|session| session.contains(now))
    }

    /// What is shown of the pair's prices.
    pub(in crate::domain) fn prices(&self) -> AcceptanceView {
        AcceptanceView {
            held_since: self.judge.held().map(|(_, since)| since),
            ..self.prices.view()
        }
    }

    /// Where no close is known, the vendor's newest bars tell about where the market is. One of them may be wrong, so it is the
    /// median of a few. Returns the held ticks that it shows to be good.
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
