//! Safety against an oracle: the rules of the design, computed naively from the test's own actions.
//!
//! The oracle has three answers. *Wrong*: something that must be known is unknown or wrong; no pair may be safe. *Well*: everything is
//! known and well; after two seconds of it the pair must be safe. In between, where the rules leave a moment undecided, it has no answer.

use super::*;
use crate::domain::model::{
    Decoded, Fetched, Inbound, Input, InputKind, Interval, LastClose, LinkChange, Listed, Ohlc, Position, Price,
    SessionKind, Symbol, Tick, VendorBar,
};
use crate::domain::pipeline::{AcceptanceView, PairRules, Pipeline};
use crate::domain::status::evident_conditions::clock_skew_us;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

const OPEN: i64 = 1_761_138_000;
const SLOT: i64 = 60;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(OPEN + secs)
}

/// A fault that lasts for a while, of one pair or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LinkDown,
    Mute,
    StampsOld,
    StampsAhead,
    StampsOfAnotherUnit,
    PricesNegative,
    NoRest,
    ActorHangs,
    AggregatorHangs,
    LedgerFull,
    OtherWriter,
    ClockJumps,
    Unverified,
    InError,
    Frozen,
    RateCollapsed,
    Unconfirmed,
}

const FAULTS: [Fault; 17] = [
    Fault::LinkDown,
    Fault::Mute,
    Fault::StampsOld,
    Fault::StampsAhead,
    Fault::StampsOfAnotherUnit,
    Fault::PricesNegative,
    Fault::NoRest,
    Fault::ActorHangs,
    Fault::AggregatorHangs,
    Fault::LedgerFull,
    Fault::OtherWriter,
    Fault::ClockJumps,
    Fault::Unverified,
    Fault::InError,
    Fault::Frozen,
    Fault::RateCollapsed,
    Fault::Unconfirmed,
];

/// A fault, its start and end, and the pair that it concerns (`None` for all).
type Planned = (Fault, i64, i64, Option<usize>);

/// The oracle's judgement of a slot that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    None,
    Open,
    /// Its prices were timestamped elsewhere, or there may have been none: only the vendor's answer decides.
    Unclear,
}

/// One pair of one day, with the oracle's state.
struct Pair {
    symbol: Symbol,
    session: Session,
    every: i64,
    patience: i64,
    /// Whether the vendor never streams it.
    refused: bool,
    price: i64,
    /// When polling last delivered it.
    polled_at: Option<i64>,
    last_good: Option<i64>,
    last_was_live: bool,
    /// Arrivals of live prices that are evidence about timestamps, newest last: when, and how far the timestamp was off.
    stamps: Vec<(i64, i64)>,
    rejected_since_good: u32,
    /// The first and last arrival of an impossible price in the session since then, and their number.
    impossible: Option<(i64, i64, u32)>,
    /// Whether a price timestamped inside the session came before it.
    early: bool,
    /// Since when the pair is not received; `None` while it is.
    unheard_since: Option<i64>,
    /// Seconds in which it was not received, that have a good price, or in which timestamps were off.
    unheard: Vec<bool>,
    good: Vec<bool>,
    off: Vec<bool>,
    holes: BTreeMap<i64, Hole>,
    well_for: u32,
}

struct Day {
    random: fastrand::Rng,
    plan: Vec<Planned>,
    pairs: Vec<Pair>,
    pipeline: Pipeline,
    /// Arrivals that a hanging aggregator has not taken.
    waiting: Vec<Inbound>,
    shown: BTreeMap<Symbol, (AcceptanceView, bool)>,
    shown_at: Option<i64>,
    link_up: bool,
}

const FIRST: i64 = -20;
const LAST: i64 = 420;
const POLL_EVERY: i64 = 10;

impl Day {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let names = ["USD/COP", "EUR/USD", "USD/MXN"];
        let pairs: Vec<Pair> = names[..random.usize(1..=3)]
            .iter()
            .map(|name| {
                let opens = random.i64(0..3) * SLOT;
                let closes = opens + random.i64(3..6) * SLOT;
                let seconds = usize::try_from(LAST - FIRST + 1).unwrap();
                Pair {
                    symbol: name.parse().unwrap(),
                    session: Session {
                        date: at(0).datetime().date_naive(),
                        opens: at(opens),
                        closes: at(closes),
                        kind: SessionKind::Spot,
                    },
                    every: random.i64(1..4),
                    patience: random.i64(6..20),
                    refused: random.u8(0..10) == 0,
                    price: 4_000_000_000,
                    polled_at: None,
                    last_good: None,
                    last_was_live: false,
                    stamps: Vec::new(),
                    rejected_since_good: 0,
                    impossible: None,
                    early: false,
                    unheard_since: Some(FIRST),
                    unheard: vec![false; seconds],
                    good: vec![false; seconds],
                    off: vec![false; seconds],
                    holes: BTreeMap::new(),
                    well_for: 0,
                }
            })
            .collect();
        let plan = (0..random.usize(0..5))
            .map(|_| {
                let from = random.i64(FIRST..LAST - 60);
                let to = from + random.i64(3..90);
                let pair = random.bool().then(|| random.usize(0..pairs.len()));
                (FAULTS[random.usize(0..FAULTS.len())], from, to, pair)
            })
            .collect();
        let markets: Vec<PairRules> = pairs
            .iter()
            .map(|pair| {
                let sessions = Listed {
                    sessions: vec![pair.session],
                    zone: chrono_tz::UTC,
                };
                PairRules {
                    intervals: vec![Interval::M1],
                    ..PairRules::new(pair.symbol, Arc::new(sessions))
                }
            })
            .collect();
        let mut pipeline = Pipeline::new(&markets, Position(0), [], at(FIRST));
        let close = |pair: &Pair| LastClose::firm(pair.symbol, Price::from_micros(pair.price), at(FIRST - 72_000));
        pairs.iter().map(close).for_each(|close| pipeline.restore_close(close));
        Self {
            pipeline,
            random,
            plan,
            pairs,
            waiting: Vec::new(),
            shown: BTreeMap::new(),
            shown_at: None,
            link_up: false,
        }
    }

    fn is(&self, fault: Fault, pair: Option<usize>, now: i64) -> bool {
        let hits = |planned: &Planned| {
            let (what, from, to, whom) = *planned;
            what == fault && from <= now && now < to && (whom.is_none() || pair.is_none() || whom == pair)
        };
        self.plan.iter().any(hits)
    }

    fn arrive(&mut self, now: i64, what: InputKind, says: Decoded) {
        let heard = Input { at: at(now), what };
        self.waiting.push(Inbound { heard, says });
    }

    /// Simulates one second: the link, polling, prices, the vendor's answers, and the aggregator that processes them.
    fn second(&mut self, now: i64) {
        let index = usize::try_from(now - FIRST).unwrap();
        let link_up = !self.is(Fault::LinkDown, None, now);
        if link_up != self.link_up {
            self.link_up = link_up;
            let streamed: Vec<Symbol> = self
                .pairs
                .iter()
                .filter(|pair| !pair.refused)
                .map(|pair| pair.symbol)
                .collect();
            let change = if link_up {
                LinkChange::Up { symbols: streamed }
            } else {
                LinkChange::Down {
                    cause: "upstream_close_1006".to_owned(),
                }
            };
            for pair in &mut self.pairs {
                if !link_up {
                    pair.unheard_since.get_or_insert(now);
                } else if !pair.refused {
                    pair.unheard_since = None;
                }
            }
            self.arrive(now, InputKind::Link(change), Decoded::Nothing);
        }
        for i in 0..self.pairs.len() {
            self.poll(i, now);
            self.stream(i, now);
            let pair = &mut self.pairs[i];
            pair.unheard[index] |= pair.unheard_since.is_some();
        }
        if now % 15 == 0 && !self.is(Fault::NoRest, None, now) {
            self.answer(now);
        }
        if !self.is(Fault::AggregatorHangs, None, now) {
            let mut out = Vec::new();
            for arrival in std::mem::take(&mut self.waiting) {
                self.pipeline.accept(arrival, &mut out);
            }
            self.pipeline.advance(at(now), &mut out);
            let open: Vec<_> = self
                .pipeline
                .pending_gaps()
                .filter(|gap| gap.is_hole())
                .map(|gap| (gap.symbol, gap.from, gap.to))
                .collect();
            let sessions: BTreeMap<Symbol, Session> =
                self.pairs.iter().map(|pair| (pair.symbol, pair.session)).collect();
            let gap = |symbol: Symbol| {
                let session = sessions[&symbol];
                open.iter()
                    .any(|(of, from, to)| *of == symbol && session.opens < *to && *from < session.closes)
            };
            let prices = self
                .pipeline
                .prices()
                .map(|(symbol, prices)| (symbol, (prices, gap(symbol))));
            self.shown = prices.collect();
            self.shown_at = Some(now);
        }
        for pair in &mut self.pairs {
            pair.close_slots(now);
        }
    }

    /// Polls a pair that the link does not deliver.
    fn poll(&mut self, i: usize, now: i64) {
        let pair = &mut self.pairs[i];
        let wanted = pair.refused || !self.link_up;
        if !wanted {
            pair.polled_at = None;
            return;
        }
        if now % POLL_EVERY != 0 || self.is(Fault::NoRest, None, now) {
            return;
        }
        let tick = self.tick(i, now, now, Provenance::Polled);
        let up = LinkChange::Up {
            symbols: vec![tick.symbol],
        };
        self.arrive(now, InputKind::Link(up), Decoded::Nothing);
        self.arrive(now, InputKind::Answer(Bytes::new()), Decoded::Price(tick));
        let pair = &mut self.pairs[i];
        pair.polled_at = Some(now);
        if pair.unheard_since.take() == Some(now) {
            pair.off[usize::try_from(now - FIRST).unwrap()] = true; // not heard for no time at all: a hole or none
        }
        if pair.session.contains(at(now)) {
            pair.last_good = Some(now);
            pair.last_was_live = false;
            pair.rejected_since_good = 0;
            pair.impossible = None;
            pair.good[usize::try_from(now - FIRST).unwrap()] = true;
        }
    }

    fn stream(&mut self, i: usize, now: i64) {
        let pair = &self.pairs[i];
        let mute = self.is(Fault::Mute, Some(i), now) || self.is(Fault::Unconfirmed, Some(i), now);
        if !self.link_up || pair.refused || now % pair.every != 0 || mute {
            return;
        }
        let mut stamp = now;
        if self.is(Fault::StampsOld, Some(i), now) {
            stamp = now - 45;
        } else if self.is(Fault::StampsAhead, None, now) {
            stamp = now + 45; // our clock is slow: all pairs show it
        }
        let mut tick = self.tick(i, stamp, now, Provenance::Live);
        if self.is(Fault::StampsOfAnotherUnit, Some(i), now) {
            tick.at = Timestamp::from_secs((OPEN + now) * 1_000);
            stamp = (OPEN + now) * 1_000 - OPEN;
        }
        let negative = self.is(Fault::PricesNegative, Some(i), now);
        if negative {
            tick.price = Price::from_micros(-1);
        }
        self.arrive(now, InputKind::Frame(Bytes::new()), Decoded::Price(tick));
        let pair = &mut self.pairs[i];
        if pair.session.contains(at(now)) {
            pair.stamps.push((now, now - stamp));
        }
        let index = usize::try_from(now - FIRST).unwrap();
        if stamp != now {
            pair.off[index] = true;
        }
        // Prices of this session with old timestamps count as prices that are late.
        let good = pair.session.contains(at(now)) && pair.session.contains(tick.at) && !negative && stamp - now <= 60;
        if good {
            pair.last_good = Some(now);
            pair.last_was_live = true;
            pair.rejected_since_good = 0;
            pair.impossible = None;
            if stamp == now {
                pair.good[index] = true;
            }
        } else {
            pair.early |= pair.session.contains(tick.at) && now < pair.session.opens.secs() - OPEN;
            pair.rejected_since_good += 1;
            if negative && pair.session.contains(at(now)) && pair.session.contains(tick.at) {
                let (first, _, count) = pair.impossible.unwrap_or((now, now, 0));
                pair.impossible = Some((first, now, count + 1));
            }
        }
    }

    fn tick(&mut self, i: usize, stamp: i64, _now: i64, provenance: Provenance) -> Tick {
        let step = self.random.i64(1..1_000);
        let pair = &mut self.pairs[i];
        pair.price += step - if pair.price > 4_010_000_000 { 10_000_000 } else { 0 };
        Tick {
            symbol: pair.symbol,
            price: Price::from_micros(pair.price),
            bid: None,
            ask: None,
            at: at(stamp),
            provenance,
        }
    }

    /// The vendor answers with a bar for every slot that is over.
    fn answer(&mut self, now: i64) {
        for i in 0..self.pairs.len() {
            let pair = &mut self.pairs[i];
            let opens = pair.session.opens.secs() - OPEN;
            let closes = (pair.session.closes.secs() - OPEN).min(now - 5);
            let slots: Vec<i64> = (opens..closes)
                .step_by(60)
                .filter(|slot| slot + SLOT <= closes)
                .collect();
            let Some(last) = slots.last().copied() else { continue };
            let flat = Ohlc::flat_at(Price::from_micros(pair.price));
            let bars = slots
                .iter()
                .map(|slot| VendorBar {
                    opens_at: at(*slot),
                    ohlc: flat,
                })
                .collect();
            pair.holes.extend(slots.iter().map(|slot| (*slot, Hole::None)));
            let fetched = Fetched {
                unusable: Vec::new(),
                symbol: pair.symbol,
                interval: Interval::M1,
                from: at(opens),
                to: at(last + SLOT),
                bars,
            };
            self.arrive(now, InputKind::Answer(Bytes::new()), Decoded::Bars(fetched));
        }
    }

    fn evidence(&self, i: usize, now: i64) -> Evidence {
        let pair = &self.pairs[i];
        let fresh = self.shown_at.is_some_and(|shown_at| now - shown_at <= 3);
        let (prices, open_gap) = self.shown.get(&pair.symbol).cloned().unwrap_or_default();
        let readings: Vec<LagReading> = self.shown.values().filter_map(|(prices, _)| prices.lag).collect();
        Evidence {
            session: Some(pair.session).filter(|session| session.contains(at(now))),
            active: !self.is(Fault::InError, None, now),
            history_verified: !self.is(Fault::Unverified, Some(i), now),
            link: LinkEvidence {
                up: self.link_up,
                line: Some(match (pair.refused, self.link_up) {
                    (true, _) => Status::Refused,
                    (false, true) if !self.is(Fault::Unconfirmed, Some(i), now) => Status::Confirmed,
                    (false, _) => Status::Pending,
                }),
                refused_all: false,
                patience: Some(Duration::from_secs(pair.patience.unsigned_abs())),
                suspicion: match (
                    self.is(Fault::Frozen, Some(i), now),
                    self.is(Fault::RateCollapsed, Some(i), now),
                ) {
                    (true, _) => Some(Suspicion::Frozen),
                    (false, true) => Some(Suspicion::Collapsed),
                    (false, false) => None,
                },
            },
            polling: PollingEvidence {
                wanted: pair.refused || !self.link_up,
                every: Some(Duration::from_secs(POLL_EVERY.unsigned_abs())),
                answered_at: pair.polled_at.map(at),
            },
            prices: fresh.then(|| PriceEvidence {
                last: prices.last,
                rejected_in_row: prices.rejection_reason(at(now)) == Some("streak"),
                lag: prices.lag,
                open_gap,
            }),
            unresponsive: self.is(Fault::ActorHangs, None, now),
            clock_stepped: self.is(Fault::ClockJumps, None, now),
            clock_skewed: clock_skew_us(&readings).is_some(),
            ledger_writable: !self.is(Fault::LedgerFull, None, now),
            sole_writer: !self.is(Fault::OtherWriter, None, now),
            jitter: Duration::ZERO,
        }
    }

    /// `Some(false)`: wrong; `Some(true)`: well; `None`: undecided.
    fn oracle(&self, i: usize, now: i64) -> Option<bool> {
        let pair = &self.pairs[i];
        if !pair.session.contains(at(now)) {
            return Some(false);
        }
        let service = [
            Fault::ActorHangs,
            Fault::LedgerFull,
            Fault::OtherWriter,
            Fault::ClockJumps,
            Fault::InError,
        ];
        if service.iter().any(|fault| self.is(*fault, None, now)) || self.is(Fault::Unverified, Some(i), now) {
            return Some(false);
        }
        let heard_at = self.shown_at.unwrap_or(FIRST - 100);
        if now - heard_at > 3 {
            return Some(false); // nobody knows what came since
        }
        let polled =
            (pair.refused || !self.link_up) && pair.polled_at.is_some_and(|at| now - at <= 2 * POLL_EVERY + 15);
        let streamed = self.link_up && !pair.refused && !self.is(Fault::Unconfirmed, Some(i), now);
        if !streamed && !polled {
            return Some(false);
        }
        let suspect = self.is(Fault::Frozen, Some(i), now) || self.is(Fault::RateCollapsed, Some(i), now);
        if streamed && suspect {
            return Some(false);
        }
        let impossible = pair
            .impossible
            .filter(|(first, last, count)| *count >= 6 && last - first >= 12);
        if heard_at == now && impossible.is_some() {
            return Some(false);
        }
        let Some(last) = pair.last_good else {
            // A price of the session that came before our clock reached the open may be known already.
            return if pair.early { None } else { Some(false) };
        };
        let cadence = if streamed {
            pair.patience
        } else {
            pair.patience.max(2 * POLL_EVERY)
        };
        if now - last > cadence {
            return Some(false);
        }
        if heard_at < now {
            return None; // what came in these seconds is not known, and need not be yet
        }
        let newest: Vec<i64> = pair.stamps.iter().rev().take(3).map(|(_, away)| *away).collect();
        let window = pair.stamps.iter().rev().take_while(|(at, _)| now - at <= 70);
        let all = |off: fn(i64) -> bool| window.clone().all(|(_, away)| off(*away));
        let steady = (all(|away| away > 20) || all(|away| away < -20)) && window.clone().count() >= 3;
        if pair.last_was_live && steady {
            return Some(false);
        }
        if pair.holes.values().any(|hole| *hole == Hole::Open) {
            return Some(false);
        }
        let clear = heard_at == now
            && now - last < cadence
            && newest.iter().all(|away| away.abs() <= 1)
            && self
                .pairs
                .iter()
                .all(|pair| pair.stamps.iter().rev().take(64).all(|(_, away)| away.abs() <= 1))
            && pair.rejected_since_good == 0
            && pair.holes.values().all(|hole| *hole == Hole::None)
            && pair.slots_clear(now);
        clear.then_some(true)
    }
}

impl Pair {
    /// Judges the slots that are over, after the time for late prices.
    fn close_slots(&mut self, now: i64) {
        let (opens, closes) = (self.session.opens.secs() - OPEN, self.session.closes.secs() - OPEN);
        for slot in (opens..closes).step_by(60).filter(|slot| slot + SLOT + 3 <= now) {
            if self.holes.contains_key(&slot) {
                continue;
            }
            let of = |seconds: &[bool]| {
                let from = usize::try_from(slot - FIRST).unwrap();
                seconds[from..from + 60].iter().any(|is| *is)
            };
            let unclear = {
                let from = usize::try_from((slot - 60).max(FIRST) - FIRST).unwrap();
                let to = usize::try_from((slot + 120).min(LAST) - FIRST).unwrap();
                self.off[from..to].iter().any(|is| *is)
            };
            // While the cadence is not learned, an empty slot between two prices may be a silent market's.
            let before = self.good.iter().take(usize::try_from(slot - FIRST).unwrap());
            let may_be_quiet = !of(&self.unheard) && before.filter(|is| **is).count() < 10;
            let unclear = unclear || (may_be_quiet && !of(&self.good));
            let hole = match (unclear, of(&self.unheard) || !of(&self.good)) {
                (true, _) => Hole::Unclear,
                (false, true) => Hole::Open,
                (false, false) => Hole::None,
            };
            self.holes.insert(slot, hole);
        }
    }

    /// Whether every slot that is over is judged, so that none waits for late prices.
    fn slots_clear(&self, now: i64) -> bool {
        let (opens, closes) = (self.session.opens.secs() - OPEN, self.session.closes.secs() - OPEN);
        let mut over = (opens..closes).step_by(60).filter(|slot| slot + SLOT <= now);
        over.all(|slot| self.holes.contains_key(&slot))
    }
}

#[test]
fn in_a_thousand_days_with_faults_a_pair_is_safe_only_when_all_is_known_and_then_within_two_seconds() {
    let (mut safe, mut wrong, mut reasons) = (0_u32, 0_u32, BTreeMap::<UnsafeReason, u32>::new());
    for seed in 0..1_000 {
        let mut day = Day::new(seed);
        for now in FIRST..=LAST {
            day.second(now);
            for i in 0..day.pairs.len() {
                let answer = day.evidence(i, now).assess(at(now));
                let oracle = day.oracle(i, now);
                let told = || {
                    format!(
                        "day {seed}, second {now}, {}: {answer:?}, {:?}",
                        day.pairs[i].symbol, day.plan
                    )
                };
                assert!(!answer.safe() || oracle != Some(false), "safe and wrong: {}", told());
                let well_for = if oracle == Some(true) {
                    day.pairs[i].well_for + 1
                } else {
                    0
                };
                assert!(answer.safe() || well_for <= 2, "well and not safe: {}", told());
                day.pairs[i].well_for = well_for;
                safe += u32::from(answer.safe());
                wrong += u32::from(oracle == Some(false));
                for reason in answer.reasons {
                    *reasons.entry(reason).or_default() += 1;
                }
            }
        }
    }
    assert!(safe > 50_000 && wrong > 50_000, "{safe} {wrong}");
    let missing: Vec<&str> = UnsafeReason::ALL
        .iter()
        .filter(|reason| !reasons.contains_key(reason))
        .map(|reason| reason.name())
        .collect();
    assert_eq!(missing, [""; 0], "every reason happens in these days");
}

fn just_polled(now: Timestamp) -> AcceptedPrice {
    AcceptedPrice {
        received: now,
        place: now,
        provenance: Provenance::Polled,
    }
}

/// Evidence in which one part always looks good, as for an assessment that ignores it.
type Blind = (&'static str, fn(&mut Evidence, Timestamp));

const BLIND: [Blind; 16] = [
    ("the session", |evidence, now| {
        evidence.session.get_or_insert(Session {
            date: now.datetime().date_naive(),
            opens: now - Duration::from_secs(600),
            closes: now + Duration::from_secs(600),
            kind: SessionKind::Spot,
        });
    }),
    ("the state", |evidence, _| evidence.active = true),
    ("the history", |evidence, _| evidence.history_verified = true),
    ("the link", |evidence, _| {
        if !std::mem::replace(&mut evidence.link.up, true) {
            evidence.link.line = Some(Status::Confirmed);
        }
    }),
    ("the line", |evidence, _| {
        evidence.link.line = Some(Status::Confirmed);
    }),
    ("suspicion", |evidence, _| evidence.link.suspicion = None),
    ("whether anything is known of prices", |evidence, now| {
        evidence.prices.get_or_insert(PriceEvidence {
            last: Some(just_polled(now)),
            ..PriceEvidence::default()
        });
    }),
    ("whether a price was accepted", |evidence, now| {
        if let Some(prices) = &mut evidence.prices {
            prices.last.get_or_insert(just_polled(now));
        }
    }),
    ("the age of the price", |evidence, now| {
        if let Some(last) = evidence.prices.as_mut().and_then(|prices| prices.last.as_mut()) {
            last.received = now;
        }
    }),
    ("set-aside prices", |evidence, _| {
        if let Some(prices) = &mut evidence.prices {
            prices.rejected_in_row = false;
        }
    }),
    ("stamps", |evidence, now| {
        evidence.clock_skewed = false;
        if let Some(prices) = &mut evidence.prices {
            (prices.lag, prices.last) = (None, prices.last.map(|_| just_polled(now)));
        }
    }),
    ("holes", |evidence, _| {
        if let Some(prices) = &mut evidence.prices {
            prices.open_gap = false;
        }
    }),
    ("pulses", |evidence, _| evidence.unresponsive = false),
    ("the clock", |evidence, _| evidence.clock_stepped = false),
    ("the ledger", |evidence, _| evidence.ledger_writable = true),
    ("other writers", |evidence, _| evidence.sole_writer = true),
];

#[test]
fn an_answer_that_is_blind_to_any_part_of_its_evidence_is_found_out() {
    let mut found: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..300 {
        let mut day = Day::new(seed);
        for now in FIRST..=LAST {
            day.second(now);
            for i in 0..day.pairs.len() {
                let evidence = day.evidence(i, now);
                if day.oracle(i, now) != Some(false) {
                    continue;
                }
                for (what, blind) in BLIND {
                    let mut seen = evidence.clone();
                    blind(&mut seen, at(now));
                    *found.entry(what).or_default() += u32::from(seen.assess(at(now)).safe());
                }
            }
        }
    }
    assert_eq!(found.len(), BLIND.len(), "in no second anything was wrong");
    let unnoticed: Vec<_> = found.iter().filter(|(_, times)| **times == 0).collect();
    assert!(
        unnoticed.is_empty(),
        "nobody notices that nothing looks at {unnoticed:?}"
    );
}

#[test]
fn a_line_that_is_asked_for_and_not_confirmed_is_a_reason_of_its_own() {
    let mut day = Day::new(0);
    day.link_up = true;
    let mut evidence = day.evidence(0, 0);
    evidence.session = Some(day.pairs[0].session);
    evidence.link.line = Some(Status::Pending);
    evidence.link.suspicion = Some(Suspicion::Collapsed);
    let answer = evidence.assess(at(0));
    assert!(answer.reasons.contains(&UnsafeReason::LineUnconfirmed), "{answer:?}");
    assert!(
        answer.reasons.contains(&UnsafeReason::StatusUnknown),
        "nothing was ever published: {answer:?}"
    );
    assert_eq!(answer.feed, PriceFeed::Down);
    evidence.link.line = Some(Status::Confirmed);
    let answer = evidence.assess(at(0));
    assert!(answer.reasons.contains(&UnsafeReason::FeedRateCollapsed), "{answer:?}");
    assert_eq!(answer.feed, PriceFeed::Stale);
}

/// A pair for which the link delivers only old timestamps is polled: its polled prices are fresh, and the vendor contradicts itself.
#[test]
fn old_stamps_on_a_link_that_stands_make_polled_prices_no_safer() {
    let mut day = Day::new(0);
    day.link_up = true;
    let mut evidence = day.evidence(0, 0);
    evidence.session = Some(day.pairs[0].session);
    evidence.link.line = Some(Status::Confirmed);
    let polled = AcceptedPrice {
        place: day.pairs[0].session.opens,
        received: at(0),
        provenance: Provenance::Polled,
    };
    let two_hours = LagReading {
        samples: 9,
        least_us: 7_200_000_000,
        median_us: 7_200_000_000,
        whole_minutes: false,
    };
    evidence.prices = Some(PriceEvidence {
        last: Some(polled),
        lag: Some(two_hours),
        ..PriceEvidence::default()
    });
    let lagging = |evidence: &Evidence| evidence.assess(at(0)).reasons.contains(&UnsafeReason::StampsLagging);
    assert!(lagging(&evidence));
    evidence.link.up = false;
    assert!(
        !lagging(&evidence),
        "what a link that is gone brought says nothing of what is polled"
    );
}

#[test]
fn names_and_remedies_are_told_once_each() {
    let names: std::collections::BTreeSet<&str> = UnsafeReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), UnsafeReason::ALL.len());
    assert!(UnsafeReason::ALL.iter().all(|reason| !reason.clears_when().is_empty()));
}
