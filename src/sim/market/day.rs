//! One day from a file of bars; its times are read either as the file labels them or as wall time of a zone.
//!
//! Real files hold Bogota wall time under the label `+00:00`, sometimes on the same day as true UTC. A reading that puts bars outside the
//! session is refused with the shift that would explain it; it is never accepted silently.

use crate::domain::model::{Ohlc, Symbol, Timestamp};
use crate::sim::market::{History, MarketBar, Row};
use chrono::{Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use std::path::PathBuf;

/// The zone in which the market's session is defined.
pub const MARKET_ZONE: Tz = Tz::America__Bogota;
const SESSION_OPENS: u32 = 8;
const SESSION_CLOSES: u32 = 13;

/// The bars of one session.
#[derive(Debug, Clone)]
pub struct Day {
    /// The pair.
    pub symbol: Symbol,
    /// The market's date.
    pub date: NaiveDate,
    /// When its session opens.
    pub opens: Timestamp,
    /// When its session closes.
    pub closes: Timestamp,
    /// The bars, earliest first, each slot at most once.
    pub bars: Vec<MarketBar>,
    /// Bars of that date outside the session, left out.
    pub left_out: usize,
}

/// Why a day cannot be replayed. Every text names the file, the day, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum DayError {
    #[error("history file {} has no bars of {symbol} on {date}{}", path.display(), dates_covered(.first, .last))]
    NoBars {
        path: PathBuf,
        symbol: Symbol,
        date: NaiveDate,
        first: Option<NaiveDate>,
        last: Option<NaiveDate>,
    },
    #[error("{bars} bars of {date} lie at {from}–{to} Bogota, {where_}: {remedy}")]
    OffSession {
        bars: usize,
        date: NaiveDate,
        from: String,
        to: String,
        where_: String,
        remedy: String,
    },
    #[error("history file {} has the bar {at} of {symbol} twice, on lines {first} and {second}; remove one of them", path.display())]
    Twice {
        path: PathBuf,
        symbol: Symbol,
        at: Timestamp,
        first: u64,
        second: u64,
    },
    #[error("history file {} line {line}: {wall} does not exist in {zone}, whose clocks skip it; choose another zone or day", path.display())]
    NoSuchTime {
        path: PathBuf,
        line: u64,
        wall: NaiveDateTime,
        zone: Tz,
    },
}

fn dates_covered(first: &Option<NaiveDate>, last: &Option<NaiveDate>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => format!("; it has days from {first} to {last}"),
        _ => ", nor on any other day".to_owned(),
    }
}

/// A row, and its market time under the chosen reading.
struct Placed<'a> {
    row: &'a Row,
    at: Timestamp,
    market: NaiveDateTime,
}

impl History {
    /// The session of `date`. With a `zone` the file's labels are ignored and its times are wall time there; without one they
    /// are taken as labelled.
    ///
    /// # Errors
    /// [`DayError`] when there is no such day, or bars lie outside the session so that this reading is not plausible.
    pub fn day(&self, symbol: Symbol, date: NaiveDate, zone: Option<Tz>) -> Result<Day, DayError> {
        let mut placed = Vec::new();
        for row in self
            .rows
            .iter()
            .filter(|row: &&Row| row.symbol == symbol && (row.wall.date() - date).num_days().abs() <= 1)
        {
            let placed_row = self.place_row(row, zone)?;
            if placed_row.market.date() == date {
                placed.push(placed_row);
            }
        }
        if placed.is_empty() {
            return Err(self.no_bars(symbol, date));
        }
        placed.sort_by_key(|bar| bar.at);
        let (inside, outside): (Vec<_>, Vec<_>) = placed.into_iter().partition(|bar| in_session(bar.market));
        if let Some(error) = check_coverage(date, zone, inside.len(), &outside) {
            return Err(error);
        }
        self.no_slot_twice(symbol, &inside)?;
        Ok(Day {
            symbol,
            date,
            opens: market_time(date, SESSION_OPENS),
            closes: market_time(date, SESSION_CLOSES),
            bars: inside
                .iter()
                .map(|bar: &Placed<'_>| MarketBar {
                    opens_at: bar.at,
                    ohlc: bar.row.ohlc,
                })
                .collect(),
            left_out: outside.len(),
        })
    }

    /// Every bar of the days from `from` to the day before `to`, at whatever time of day, earliest first: what a history pipeline that
    /// trusts the file would have stored.
    ///
    /// # Errors
    /// [`DayError::NoSuchTime`] for a time that the zone skips.
    pub fn bars_between(
        &self,
        symbol: Symbol,
        from: NaiveDate,
        to: NaiveDate,
        zone: Option<Tz>,
    ) -> Result<Vec<MarketBar>, DayError> {
        let mut bars = Vec::new();
        let own = self.rows.iter().filter(|row| row.symbol == symbol);
        for row in own.filter(|row| from.pred_opt() <= Some(row.wall.date()) && row.wall.date() <= to) {
            let placed = self.place_row(row, zone)?;
            if (from..to).contains(&placed.market.date()) {
                bars.push(MarketBar {
                    opens_at: placed.at,
                    ohlc: row.ohlc,
                });
            }
        }
        bars.sort_by_key(|bar| bar.opens_at);
        Ok(bars)
    }

    fn place_row<'a>(&self, row: &'a Row, zone: Option<Tz>) -> Result<Placed<'a>, DayError> {
        let at = match zone {
            None => row
                .label
                .from_local_datetime(&row.wall)
                .earliest()
                .map(Timestamp::from_datetime),
            Some(zone) => zone
                .from_local_datetime(&row.wall)
                .earliest()
                .map(Timestamp::from_datetime),
        };
        let at = at.ok_or_else(|| DayError::NoSuchTime {
            path: self.path.clone(),
            line: row.line,
            wall: row.wall,
            zone: zone.unwrap_or(Tz::UTC),
        })?;
        let market = at.datetime().with_timezone(&MARKET_ZONE).naive_local();
        Ok(Placed { row, at, market })
    }

    fn no_bars(&self, symbol: Symbol, date: NaiveDate) -> DayError {
        let own = self.rows.iter().filter(|row| row.symbol == symbol);
        let days = own.map(|row| row.wall.date());
        DayError::NoBars {
            path: self.path.clone(),
            symbol,
            date,
            first: days.clone().min(),
            last: days.max(),
        }
    }

    fn no_slot_twice(&self, symbol: Symbol, bars: &[Placed<'_>]) -> Result<(), DayError> {
        for (one, next) in bars.iter().zip(bars.iter().skip(1)) {
            if one.at == next.at {
                let first = one.row.line.min(next.row.line);
                let second = one.row.line.max(next.row.line);
                return Err(DayError::Twice {
                    path: self.path.clone(),
                    symbol,
                    at: one.at,
                    first,
                    second,
                });
            }
        }
        Ok(())
    }
}

/// The bars of a day by their slots.
impl Day {
    /// The bar that opens at `at`.
    pub fn bar(&self, at: Timestamp) -> Option<Ohlc> {
        let index = self.bars.binary_search_by_key(&at, |bar| bar.opens_at).ok()?;
        self.bars.get(index).map(|bar| bar.ohlc)
    }
}

fn in_session(market: NaiveDateTime) -> bool {
    let [opens, closes] = [SESSION_OPENS, SESSION_CLOSES].map(|hour| NaiveTime::from_hms_opt(hour, 0, 0));
    opens <= Some(market.time()) && Some(market.time()) < closes
}

fn market_time(date: NaiveDate, hour: u32) -> Timestamp {
    date.and_hms_opt(hour, 0, 0)
        .and_then(|wall| MARKET_ZONE.from_local_datetime(&wall).earliest())
        .map_or(Timestamp::from_secs(0), Timestamp::from_datetime)
}

/// The error if the bars outside the session rule out this reading of the day.
fn check_coverage(date: NaiveDate, zone: Option<Tz>, inside: usize, outside: &[Placed<'_>]) -> Option<DayError> {
    let first = outside.first()?;
    let last = outside.last()?;
    let shift = [5, -5].into_iter().chain(-12..=12).find(|hours| {
        let shift = Duration::hours(*hours);
        outside.iter().all(|bar| in_session(bar.market + shift))
    });
    let around_the_clock = shift.is_none();
    if zone.is_some() && inside > 0 && around_the_clock {
        return None; // A dump of the whole day, and a person said how to read it: the session is taken out of it.
    }
    Some(DayError::OffSession {
        bars: outside.len(),
        date,
        from: first.market.format("%H:%M").to_string(),
        to: last.market.format("%H:%M").to_string(),
        where_: describe_bounds(shift, inside),
        remedy: suggest_remedy(zone, shift, inside),
    })
}

fn describe_bounds(shift: Option<i64>, inside: usize) -> String {
    let side = match shift {
        Some(hours) if hours > 0 => format!("{} before the session", hours_text(hours)),
        Some(hours) => format!("{} after the session", hours_text(-hours)),
        None => "outside the session 08:00–13:00".to_owned(),
    };
    match inside {
        0 => side,
        1 => format!("{side}, and 1 bar lies inside it"),
        bars => format!("{side}, and {bars} bars lie inside it"),
    }
}

fn hours_text(hours: i64) -> String {
    if hours == 1 {
        "1 hour".to_owned()
    } else {
        format!("{hours} hours")
    }
}

fn suggest_remedy(zone: Option<Tz>, shift: Option<i64>, inside: usize) -> String {
    let given = zone.map_or_else(
        || "the file's labels".to_owned(),
        |zone| format!("--history-zone {zone}"),
    );
    match (shift, zone) {
        (Some(5 | -5), _) if inside > 0 => format!(
            "the day probably mixes America/Bogota wall time labelled UTC with true UTC, so neither {given} nor any other \
             single zone is right for it; choose another --date"
        ),
        (Some(5), None) => "the file probably holds America/Bogota wall time labelled UTC; pass --history-zone America/Bogota".to_owned(),
        (Some(5), Some(_)) => "the file probably holds America/Bogota wall time; pass --history-zone America/Bogota".to_owned(),
        (Some(-5), None) => "the file probably holds UTC labelled as another zone; pass --history-zone UTC".to_owned(),
        (Some(-5), Some(_)) => format!("the file probably holds true UTC on this day; leave out {given}"),
        (Some(hours), _) => format!("{given} probably is wrong by {}; pass the zone that the file was written in as --history-zone ZONE", hours_text(hours.abs())),
        (None, _) => "they are spread over the day; if the file holds the whole day, say how to read its times: pass --history-zone UTC, or the zone that it was written in".to_owned(),
    }
}

#[cfg(test)]
#[path = "tests/day.rs"]
mod tests;
