//! Compares candela's bars of a session with those of another service on the same tables, and names the likely cause of each difference.
//!
//! The other service is candela's predecessor: it assigns prices to bars by arrival, checks no price, writes a bar when the next price
//! comes, and does not reconnect after a clean close. Each cause below is one of its known habits, a statement of candela's about the bar,
//! or [`Cause::Unexplained`].

use crate::domain::model::{AcceptedTick, Bar, Flags, Gap, Interval, Ohlc, Price, Provenance, Slot, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// Prices that differ by more than one part in this many are not of the same market: one of them was never traded.
const IMPOSSIBLE_SHARE: i64 = 50;

/// The data of one session to compare, all of one pair and of the base interval.
#[derive(Debug, Clone, Copy)]
pub struct TwoSessions<'a> {
    /// The slots that the calendar expects, earliest first.
    pub slots: &'a [Slot],
    /// Candela's bars, the last revision of each.
    pub ours: &'a [Bar],
    /// The other service's bars: open time and prices.
    pub theirs: &'a [(Timestamp, Ohlc)],
    /// Candela's gaps.
    pub gaps: &'a [Gap],
    /// The prices that candela accepted, as far as they are still stored.
    pub ticks: &'a [AcceptedTick],
}

/// Why two services differ in a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The other has the same prices with fewer decimals.
    Rounding,
    /// The other's bar equals the bar of candela's ticks when these are assigned by arrival.
    ArrivalTime,
    /// The other has a price in this bar that candela has in the adjacent bar, or the reverse.
    NeighbouringPrice,
    /// The other writes a session's last bar, or the end of it, with the first price of the next session.
    LastBarNotWritten,
    /// The other has no bar from here to the close.
    StoppedBeforeClose,
    /// Candela received prices in the slot, and the other wrote no bar.
    OtherMissed,
    /// Candela's bar was fetched later from the vendor.
    FilledByCandela,
    /// Candela flagged the bar: it was not connected throughout, or the vendor's own bar differs.
    FlaggedByCandela,
    /// The other's bar has a price that is too far off to have been traded; candela rejected it.
    ImpossiblePrice,
    /// The other's range lies inside candela's: it received fewer prices.
    OtherHeardFewer,
    /// The other has a bar where the calendar has no session.
    OutsideSession,
    /// Candela has no bar and gives the cause in a gap.
    GapOfCandela,
    /// None of the above.
    Unexplained,
}

impl Cause {
    /// An explanation as a sentence for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Rounding => "the same prices, stored with fewer decimals by the other service",
            Self::ArrivalTime => "the same prices, assigned to bars by arrival time; candela uses the vendor's stamps",
            Self::NeighbouringPrice => {
                "a price at the edge of the bar is in the next one; the other service uses the arrival time"
            }
            Self::LastBarNotWritten => {
                "the other service writes a session's last bar, or the end of it, with the first price of the next session"
            }
            Self::StoppedBeforeClose => {
                "the other service has nothing from here to the close: it does not reconnect after a clean close"
            }
            Self::OtherMissed => {
                "candela received prices here; the other service was down, disconnected or could not write"
            }
            Self::FilledByCandela => "candela fetched this bar from the vendor; the other service does not",
            Self::FlaggedByCandela => "candela flags this bar as flawed",
            Self::ImpossiblePrice => "the other service accepted a price that candela set aside as impossible",
            Self::OtherHeardFewer => {
                "the other service received fewer prices: it was down or disconnected for part of the bar"
            }
            Self::OutsideSession => {
                "the calendar has no session then; the other service knows neither holidays nor the last bar's end"
            }
            Self::GapOfCandela => "candela has no bar and reports the reason",
            Self::Unexplained => "no cause is known: look at both logs of this time",
        }
    }

    /// Whether the difference needs no attention.
    pub const fn is_explained(self) -> bool {
        !matches!(self, Self::Unexplained)
    }
}

/// One slot in which the two services differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarDifference {
    /// The open of the slot.
    pub opens_at: Timestamp,
    /// Candela's prices, if it has the bar.
    pub ours: Option<Ohlc>,
    /// The other's prices, if it has the bar.
    pub theirs: Option<Ohlc>,
    /// The likely cause.
    pub cause: Cause,
    /// Candela's flags of the bar, or the status and cause of its gap.
    pub said: Option<String>,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// How many bars the calendar expects.
    pub expected: usize,
    /// How many bars candela has.
    pub ours: usize,
    /// How many bars the other has.
    pub theirs: usize,
    /// How many bars are equal to the last decimal.
    pub equal: usize,
    /// The differing slots, earliest first.
    pub differences: Vec<BarDifference>,
}

impl Comparison {
    /// Compares the two services slot by slot.
    pub fn of(compared: &TwoSessions<'_>) -> Self {
        let ours: BTreeMap<Timestamp, &Bar> = compared.ours.iter().map(|bar| (bar.key.opens_at, bar)).collect();
        let theirs: BTreeMap<Timestamp, Ohlc> = compared.theirs.iter().copied().collect();
        let sides = Sides {
            compared,
            by_arrival: bars_by_arrival(compared),
            ours,
            theirs,
        };
        let mut opens: Vec<Timestamp> = sides.ours.keys().chain(sides.theirs.keys()).copied().collect();
        opens.extend(compared.slots.iter().map(|slot| slot.opens_at));
        opens.sort_unstable();
        opens.dedup();
        let mut equal: usize = 0;
        let mut differences = Vec::new();
        for opens_at in opens {
            let bar = sides.ours.get(&opens_at).copied();
            let other = sides.theirs.get(&opens_at).copied();
            if bar.is_some() && bar.map(|bar| bar.ohlc) == other {
                equal = equal.saturating_add(1);
            } else if let Some((cause, said)) = sides.explain_difference(opens_at, bar, other) {
                differences.push(BarDifference {
                    opens_at,
                    ours: bar.map(|bar| bar.ohlc),
                    theirs: other,
                    cause,
                    said,
                });
            }
        }
        Self {
            expected: compared.slots.len(),
            ours: sides.ours.len(),
            theirs: sides.theirs.len(),
            equal,
            differences,
        }
    }

    /// How many differences have no known cause.
    pub fn unexplained(&self) -> usize {
        self.differences
            .iter()
            .filter(|difference| !difference.cause.is_explained())
            .count()
    }
}

/// Both services' bars, by open time.
struct Sides<'a> {
    compared: &'a TwoSessions<'a>,
    ours: BTreeMap<Timestamp, &'a Bar>,
    theirs: BTreeMap<Timestamp, Ohlc>,
    by_arrival: BTreeMap<Timestamp, Ohlc>,
}

impl Sides<'_> {
    /// The cause, and candela's statement about the slot; `None` where neither has a bar and candela has a gap.
    fn explain_difference(
        &self,
        opens_at: Timestamp,
        bar: Option<&Bar>,
        other: Option<Ohlc>,
    ) -> Option<(Cause, Option<String>)> {
        match (bar, other) {
            (Some(bar), Some(other)) => Some((self.cause_of_prices(bar, other), flags_of(bar))),
            (Some(bar), None) => Some((self.cause_of_absence(bar), flags_of(bar))),
            (None, Some(other)) => Some(self.cause_of_presence(opens_at, other)),
            (None, None) if self.gap_at(opens_at).is_some() => None,
            (None, None) => Some((Cause::Unexplained, None)),
        }
    }

    fn cause_of_prices(&self, bar: &Bar, other: Ohlc) -> Cause {
        let ours = bar.ohlc;
        let opens_at = bar.key.opens_at;
        if is_rounded(ours, other) {
            Cause::Rounding
        } else if self.by_arrival.get(&opens_at) == Some(&other) {
            Cause::ArrivalTime
        } else if is_impossible(ours, other) {
            Cause::ImpossiblePrice
        } else if bar.provenance == Provenance::Backfill {
            Cause::FilledByCandela
        } else if bar.flags.without(Flags::PARTIAL_SESSION) != Flags::default() {
            Cause::FlaggedByCandela
        } else if self.holds_neighbour(opens_at, ours, other) {
            Cause::NeighbouringPrice
        } else if ours.low <= other.low && other.high <= ours.high {
            if Some(opens_at) == self.last_slot() && other.open == ours.open {
                return Cause::LastBarNotWritten;
            }
            Cause::OtherHeardFewer
        } else {
            Cause::Unexplained
        }
    }

    fn cause_of_absence(&self, bar: &Bar) -> Cause {
        let opens_at = bar.key.opens_at;
        if !self.by_arrival.contains_key(&opens_at) && !self.compared.ticks.is_empty() && bar.ticks > 0 {
            Cause::ArrivalTime
        } else if Some(opens_at) == self.last_slot() {
            Cause::LastBarNotWritten
        } else if self.theirs.range(opens_at..).next().is_none() {
            Cause::StoppedBeforeClose
        } else if bar.ticks > 0 {
            Cause::OtherMissed
        } else {
            Cause::FilledByCandela
        }
    }

    fn cause_of_presence(&self, opens_at: Timestamp, other: Ohlc) -> (Cause, Option<String>) {
        if !self.compared.slots.iter().any(|slot| slot.opens_at == opens_at) {
            return (Cause::OutsideSession, None);
        }
        let said = self
            .gap_at(opens_at)
            .map(|gap| format!("{}: {}", gap.status.name(), gap.cause));
        let before = self.ours.range(..opens_at).next_back().map(|(_, bar)| bar.ohlc.close);
        if self.by_arrival.get(&opens_at) == Some(&other) {
            (Cause::ArrivalTime, said)
        } else if before.is_some_and(|close| other == Ohlc::flat_at(close)) {
            (Cause::NeighbouringPrice, said)
        } else if said.is_some() {
            (Cause::GapOfCandela, said)
        } else {
            (Cause::Unexplained, None)
        }
    }

    fn last_slot(&self) -> Option<Timestamp> {
        self.compared.slots.last().map(|slot| slot.opens_at)
    }

    fn gap_at(&self, at: Timestamp) -> Option<&Gap> {
        self.compared.gaps.iter().find(|gap| gap.from <= at && at < gap.to)
    }

    /// Whether the bars are equal except for the last price of the previous bar, which the other has in this one, or for this bar's last
    /// price, which the other has in the next.
    fn holds_neighbour(&self, opens_at: Timestamp, ours: Ohlc, other: Ohlc) -> bool {
        let before = self.ours.range(..opens_at).next_back().map(|(_, bar)| bar.ohlc.close);
        let after = (self.theirs.range(opens_at..).nth(1)).map(|(_, next)| next.open);
        let came_late = before == Some(other.open);
        let goes_late = after == Some(ours.close) && other.close != ours.close;
        let lowest = before.map_or(ours.low, |price| price.min(ours.low));
        let highest = before.map_or(ours.high, |price| price.max(ours.high));
        (came_late || goes_late) && lowest <= other.low && other.high <= highest
    }
}

/// The names of a bar's flags, joined.
fn flags_of(bar: &Bar) -> Option<String> {
    let names: Vec<&str> = bar.flags.names().collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The prices of both services, side by side.
fn price_pairs(ours: Ohlc, other: Ohlc) -> [(Price, Price); 4] {
    [
        (ours.open, other.open),
        (ours.high, other.high),
        (ours.low, other.low),
        (ours.close, other.close),
    ]
}

/// Whether the other's prices are ours with two to five decimals.
fn is_rounded(ours: Ohlc, other: Ohlc) -> bool {
    [10_i64, 100, 1_000, 10_000].into_iter().any(|unit| {
        price_pairs(ours, other).into_iter().all(|(our, their)| {
            let apart = our.micros().abs_diff(their.micros());
            their.micros().checked_rem(unit) == Some(0) && apart.saturating_mul(2) <= unit.unsigned_abs()
        })
    })
}

/// Whether a price of the other is too far from every price of ours.
fn is_impossible(ours: Ohlc, other: Ohlc) -> bool {
    let allowed = ours.high.micros().checked_div(IMPOSSIBLE_SHARE).unwrap_or(0);
    let highest = ours.high.micros().saturating_add(allowed);
    let lowest = ours.low.micros().saturating_sub(allowed);
    let possible = lowest..=highest;
    !possible.contains(&other.high.micros()) || !possible.contains(&other.low.micros())
}

/// The bars of candela's ticks when each is assigned to the slot in which it arrived, as the other service does.
fn bars_by_arrival(compared: &TwoSessions<'_>) -> BTreeMap<Timestamp, Ohlc> {
    let Some(first) = compared.slots.first() else {
        return BTreeMap::new();
    };
    let length = Interval::BASE.vendor_length();
    let mut bars: BTreeMap<Timestamp, Ohlc> = BTreeMap::new();
    for tick in compared.ticks.iter().filter(|tick| tick.received_at >= first.opens_at) {
        let price = tick.tick.price;
        let bar = bars
            .entry(tick.received_at.floor(length))
            .or_insert_with(|| Ohlc::flat_at(price));
        bar.high = bar.high.max(price);
        bar.low = bar.low.min(price);
        bar.close = price;
    }
    bars
}

#[cfg(test)]
#[path = "tests/comparison.rs"]
mod tests;
