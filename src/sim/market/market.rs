//! The simulated market: for each pair the ticks of every five-minute slot, whichever client watches. Bars are made of these ticks, so the
//! REST interface gives exactly the bars that an undisturbed client of the stream would build.

use crate::domain::model::{Ohlc, Price, Sessions, Symbol, Timestamp};
use crate::domain::vendor::BarSpan;
use crate::limits;
use crate::sim::market::{Day, SeededRng, Walk, bar_path::ticks_of_bar};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A price of the simulated market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The instant; frames give its whole second.
    pub at: Timestamp,
    /// The price.
    pub price: Price,
}

/// A bar of the simulated market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketBar {
    /// Its first instant.
    pub opens_at: Timestamp,
    /// Its prices.
    pub ohlc: Ohlc,
}

/// All pairs, with their prices at any time.
#[derive(Debug, Clone)]
pub struct Market {
    pairs: BTreeMap<Symbol, Source>,
    sessions: Option<Arc<dyn Sessions>>,
    begins: Timestamp,
    opens: Option<Timestamp>,
    piece: Duration,
}

#[derive(Debug, Clone)]
enum Source {
    Walk(Walk),
    Replay(Arc<BTreeMap<Timestamp, Vec<Quote>>>),
}

impl Market {
    /// A market of seeded walks, round the clock, without a first day.
    pub fn walk(seed: u64, symbols: &[Symbol]) -> Self {
        let pairs = symbols
            .iter()
            .map(|symbol| (*symbol, Source::Walk(Walk::new(seed, *symbol))));
        Self {
            pairs: pairs.collect(),
            sessions: None,
            begins: Timestamp::from_secs(0),
            opens: None,
            piece: limits::SIM_SLOT,
        }
    }

    /// The same market with this many ticks a second of each generated pair.
    pub fn with_tick_rate(mut self, per_second: u16) -> Self {
        for source in self.pairs.values_mut() {
            if let Source::Walk(walk) = source {
                *walk = walk.with_tick_rate(per_second);
                self.piece = limits::SIM_BUSY_PIECE;
            }
        }
        self
    }

    /// A market of one real day: each bar becomes ticks, a missing slot stays empty. The seed decides the path between the four prices of a
    /// bar, never the four.
    pub fn replay(seed: u64, day: &Day) -> Self {
        let rng = SeededRng::new(seed).fork("weave");
        let slots: BTreeMap<_, _> = day
            .bars
            .iter()
            .map(|bar| (bar.opens_at, ticks_of_bar(rng, bar.opens_at, &bar.ohlc)))
            .collect();
        let opens = Some(day.opens);
        Self {
            begins: day.opens,
            opens,
            pairs: BTreeMap::from([(day.symbol, Source::Replay(Arc::new(slots)))]),
            sessions: None,
            piece: limits::SIM_SLOT,
        }
    }

    /// The same market with ticks only inside these sessions.
    pub fn only_in(mut self, sessions: Arc<dyn Sessions>) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// The same market without anything before `begins`, as a vendor's history has a first day.
    pub const fn starting_at(mut self, begins: Timestamp) -> Self {
        self.begins = begins;
        self
    }

    /// When the session opens from which a scenario counts, if the market knows.
    pub const fn opens(&self) -> Option<Timestamp> {
        self.opens
    }

    /// The pairs, in order.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        self.pairs.keys().copied()
    }

    /// Whether the market has this pair.
    pub fn has_symbol(&self, symbol: &Symbol) -> bool {
        self.pairs.contains_key(symbol)
    }

    /// The length of the pieces in which ticks are generated.
    pub const fn piece_length(&self) -> Duration {
        self.piece
    }

    /// The ticks of the piece that begins at `from`; empty when the pair is unknown or the piece silent.
    pub fn ticks_of_piece(&self, symbol: Symbol, from: Timestamp) -> Vec<Quote> {
        self.ticks_since_start(symbol, from, |walk| walk.ticks_of_piece(from))
    }

    fn ticks_since_start(&self, symbol: Symbol, from: Timestamp, of_walk: impl Fn(&Walk) -> Vec<Quote>) -> Vec<Quote> {
        let slot = from.floor(limits::SIM_SLOT);
        let mut ticks = match self.pairs.get(&symbol) {
            _ if slot < self.begins => Vec::new(),
            Some(Source::Walk(walk)) => of_walk(walk),
            Some(Source::Replay(slots)) => slots.get(&slot).cloned().unwrap_or_default(),
            None => Vec::new(),
        };
        if let Some(sessions) = &self.sessions {
            ticks.retain(|tick| sessions.at(tick.at).is_some());
        }
        ticks
    }

    /// Bars of `span` whose open lies in `[from, to)`, made of ticks up to and including `now`, earliest first. The last one
    /// may still be forming. At most `count` of them, the latest.
    pub fn bars(
        &self,
        symbol: Symbol,
        span: impl Into<BarSpan>,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
        count: usize,
    ) -> Vec<MarketBar> {
        let span = span.into();
        let mut bars: Vec<MarketBar> = Vec::new();
        let mut end = to.min(now + Duration::from_micros(1));
        let from = from.max(span.floor(self.begins));
        let mut quiet = Duration::ZERO;
        while from < end && bars.len() < count && quiet < limits::SIM_LOOK_BACK {
            let opens_at = span.floor(end - Duration::from_micros(1));
            if opens_at < from {
                break;
            }
            let ends = span.end(opens_at);
            match ohlc_of(&self.ticks(symbol, opens_at, ends, now)) {
                Some(ohlc) => {
                    bars.push(MarketBar { opens_at, ohlc });
                    quiet = Duration::ZERO;
                }
                None => quiet += ends.since(opens_at),
            }
            end = opens_at;
        }
        bars.reverse();
        bars
    }

    /// The ticks in `[from, to)` up to and including `now`, in order; of a busy second, those that its bar needs.
    pub fn ticks(&self, symbol: Symbol, from: Timestamp, to: Timestamp, now: Timestamp) -> Vec<Quote> {
        let mut ticks = Vec::new();
        let mut slot = from.floor(limits::SIM_SLOT);
        while slot < to && slot <= now {
            let outline = self.ticks_since_start(symbol, slot, |walk| walk.slot_outline(slot, now));
            ticks.extend(
                outline
                    .into_iter()
                    .filter(|tick: &Quote| from <= tick.at && tick.at < to && tick.at <= now),
            );
            slot = slot + limits::SIM_SLOT;
        }
        ticks
    }

    /// The last tick up to and including `now`.
    pub fn last_tick(&self, symbol: Symbol, now: Timestamp) -> Option<Quote> {
        let mut slot = now.floor(limits::SIM_SLOT);
        let earliest = now - limits::SIM_LOOK_BACK;
        while slot >= earliest && slot + limits::SIM_SLOT > self.begins {
            let ticks = self.ticks_since_start(symbol, slot, |walk| walk.slot_outline(slot, now));
            if let Some(last) = ticks.into_iter().rfind(|tick| tick.at <= now) {
                return Some(last);
            }
            slot = slot - limits::SIM_SLOT;
        }
        None
    }
}

/// Open, high, low and close of ticks in order; `None` without ticks.
pub fn ohlc_of(ticks: &[Quote]) -> Option<Ohlc> {
    let first = ticks.first()?;
    let last = ticks.last()?;
    let prices = ticks.iter().map(|tick| tick.price);
    Some(Ohlc {
        open: first.price,
        high: prices.clone().max()?,
        low: prices.min()?,
        close: last.price,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Listed, Session, SessionKind};

    const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);
    const FIVE: Duration = Duration::from_secs(300);

    fn market() -> Market {
        Market::walk(1, &[Symbol::usdcop()])
    }

    #[test]
    fn bars_are_what_a_watcher_of_the_ticks_would_build() {
        let market = market();
        let now = OPEN + Duration::from_secs(3_600);
        let bars = market.bars(Symbol::usdcop(), FIVE, OPEN, now, now, 100);
        assert_eq!(bars.len(), 12);
        for bar in bars {
            assert_eq!(
                Some(bar.ohlc),
                ohlc_of(&market.ticks_of_piece(Symbol::usdcop(), bar.opens_at))
            );
            assert!(bar.ohlc.is_ordered());
        }
    }

    #[test]
    fn a_bar_still_forming_holds_only_what_has_happened() {
        let market = market();
        let now = OPEN + Duration::from_secs(60);
        let open_bar = market.bars(Symbol::usdcop(), FIVE, OPEN, OPEN + FIVE, now, 100);
        let seen = market.ticks(Symbol::usdcop(), OPEN, OPEN + FIVE, now);
        assert!(seen.last().unwrap().at <= now);
        assert_eq!(open_bar.first().map(|bar| bar.ohlc), ohlc_of(&seen));
        assert_eq!(market.last_tick(Symbol::usdcop(), now), seen.last().copied());
    }

    #[test]
    fn an_hour_is_made_of_its_twelve_bars() {
        let (market, hour) = (market(), Duration::from_secs(3_600));
        let now = OPEN + hour;
        let twelve = market.bars(Symbol::usdcop(), FIVE, OPEN, now, now, 100);
        let one = market.bars(Symbol::usdcop(), hour, OPEN, now, now, 100);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].ohlc.high, twelve.iter().map(|bar| bar.ohlc.high).max().unwrap());
        assert_eq!(one[0].ohlc.close, twelve[11].ohlc.close);
    }

    #[test]
    fn there_is_nothing_outside_the_sessions_and_before_the_beginning() {
        let session = Session {
            date: OPEN.datetime().date_naive(),
            opens: OPEN,
            closes: OPEN + FIVE,
            kind: SessionKind::Spot,
        };
        let zone = chrono_tz::America::Bogota;
        let now = OPEN + FIVE * 10;
        let market = market().only_in(Arc::new(Listed {
            sessions: vec![session],
            zone,
        }));
        let bars = market.bars(Symbol::usdcop(), FIVE, OPEN - FIVE * 10, now, now, 100);
        assert_eq!(bars.iter().map(|bar| bar.opens_at).collect::<Vec<_>>(), [OPEN]);
        let late = self::market().starting_at(OPEN + FIVE);
        assert_eq!(
            late.bars(Symbol::usdcop(), FIVE, OPEN, now, now, 100)[0].opens_at,
            OPEN + FIVE
        );
        assert_eq!(late.last_tick(Symbol::usdcop(), OPEN), None);
    }
}
