//! What a whole history looks like against the calendar, from the instants of its rows: which slots are there, which lie
//! outside every session, and whether whole days lie beside their session because their hours were labelled with another zone.

use crate::domain::calendar::Calendar;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use chrono::NaiveDate;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Seconds of an hour.
const HOUR: i64 = 3_600;
/// What one bar spans.
const SLOT: Duration = Duration::from_secs(300);

/// What the store found of the history: every row's instant, and what is odd about its prices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// When each row's bar begins, earliest first; equal instants are rows for the same slot.
    pub rows: Vec<Timestamp>,
    /// How many rows have open = high = low = close.
    pub flat: u64,
    /// Some of them, newest first.
    pub flat_examples: Vec<Timestamp>,
    /// How many rows break low ≤ open, close ≤ high, or have a price that is missing or not positive.
    pub broken: u64,
    /// Some of them, newest first.
    pub broken_examples: Vec<Timestamp>,
    /// Closed bars that candela fetched from the vendor to complete the history, in the last week or so.
    pub fetched: Vec<Timestamp>,
}

/// Which of the twelve five-minute slots of which UTC hours (since 1970) have something; bit 0 is the first slot.
type Masks = HashMap<i64, u16>;

/// A history whose days lie a whole number of hours beside their sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// How far: −5 when Bogota hours are labelled UTC.
    pub hours: i64,
    /// Bars outside sessions that the shift explains.
    pub rows: u64,
    /// Sessions that have more bars beside them than inside.
    pub shifted: Vec<NaiveDate>,
    /// Days that have bars both inside and beside.
    pub mixed: Vec<NaiveDate>,
    /// First day of the last stretch that is not interrupted by [`CLEAN_RUN`] clean sessions.
    pub since: Option<NaiveDate>,
    /// Whether that stretch reaches the last session of the history.
    pub lasting: bool,
}

/// So many sessions in a row without a shifted bar end a stretch of shifted days: a week.
const CLEAN_RUN: usize = 5;

/// The history in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// All rows.
    pub rows: u64,
    /// Rows that do not begin at a whole five minutes, by when they do.
    pub off_grid: Vec<Timestamp>,
    /// Rows beyond the first for the same instant, by instant.
    pub duplicates: Vec<Timestamp>,
    /// Slots that the calendar expects between the first and the last row.
    pub expected: u64,
    /// Of them, those that have a row.
    pub present: u64,
    /// Sessions that lack some bars, with how many.
    pub partial: Vec<(NaiveDate, u64)>,
    /// Sessions without any bar inside.
    pub empty: Vec<NaiveDate>,
    /// Dates without a session that have bars, with how many.
    pub closed_days: Vec<(NaiveDate, u64)>,
    /// Bars that begin exactly when their session closes.
    pub at_close: u64,
    /// Bars before or after the session of their day that no shift explains, by date.
    pub outside: Vec<(NaiveDate, u64)>,
    /// The shift, when there is one.
    pub shift: Option<Shift>,
}

/// Compares a history with the calendar.
#[must_use]
pub fn survey(rows: &[Timestamp], calendar: &Calendar) -> Survey {
    let mut survey = Survey::default();
    let stored = count_rows(&mut survey, rows);
    let sessions = sessions_of(rows, calendar);
    let masks = masks_of(&sessions);
    let shift = find_shift(&sessions, &stored);
    for session in &sessions {
        let (expected, present) = coverage(session, &stored, 0);
        survey.expected += expected;
        survey.present += present;
        match present {
            0 => survey.empty.push(session.date),
            _ if present < expected => survey.partial.push((session.date, expected - present)),
            _ => {}
        }
    }
    let hours_off = shift.as_ref().map_or(0, |found| found.0);
    let (mut closed, mut outside) = (BTreeMap::new(), BTreeMap::new());
    let (mut shifted_rows, mut shifted_dates) = (0, BTreeMap::new());
    for (hour, slots) in stored.iter().map(|(hour, slots)| (*hour, *slots)) {
        let off = slots & !mask(&masks, hour);
        if off == 0 {
            continue;
        }
        let explained = if hours_off == 0 {
            0
        } else {
            off & mask(&masks, hour - hours_off)
        };
        let date = calendar.local_date(Timestamp::from_secs((hour - hours_off) * HOUR));
        if explained != 0 {
            shifted_rows += count(explained);
            *shifted_dates.entry(date).or_insert(0) += count(explained);
        }
        let rest = off & !explained;
        let date = calendar.local_date(Timestamp::from_secs(hour * HOUR));
        match calendar.session_on(date) {
            _ if rest == 0 => {}
            None => *closed.entry(date).or_insert(0) += count(rest),
            Some(session) => {
                let at_close = rest & slot_bit(hour, session.closes);
                survey.at_close += count(at_close);
                if rest != at_close {
                    *outside.entry(date).or_insert(0) += count(rest & !at_close);
                }
            }
        }
    }
    survey.closed_days = closed.into_iter().collect();
    survey.outside = outside.into_iter().collect();
    survey.shift =
        shift.map(|(hours, shifted)| describe(hours, shifted, shifted_rows, &shifted_dates, &sessions, &stored));
    survey
}

/// Counts the rows, and says which slots of which hours have one.
fn count_rows(survey: &mut Survey, rows: &[Timestamp]) -> Masks {
    let mut stored = Masks::new();
    let mut before = None;
    for at in rows {
        survey.rows += 1;
        if at.floor(SLOT) != *at {
            survey.off_grid.push(*at);
        } else if before == Some(*at) {
            survey.duplicates.push(*at);
        } else {
            let (hour, slot) = place(*at);
            *stored.entry(hour).or_default() |= slot;
        }
        before = Some(*at);
    }
    stored
}

/// The hour of an instant, and the bit of its slot.
pub(super) fn place(at: Timestamp) -> (i64, u16) {
    (at.secs().div_euclid(HOUR), 1 << (at.secs().rem_euclid(HOUR) / 300))
}

/// The sessions from the day of the first row to the day of the last.
fn sessions_of(rows: &[Timestamp], calendar: &Calendar) -> Vec<Session> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Vec::new();
    };
    calendar
        .sessions(calendar.local_date(*first), calendar.local_date(*last))
        .collect()
}

/// The hours that a session touches, each with the slots that begin inside it.
fn session_hours(session: &Session) -> impl Iterator<Item = (i64, u16)> {
    let (opens, closes) = (session.opens, session.closes);
    (opens.secs().div_euclid(HOUR)..=closes.secs().div_euclid(HOUR)).map(move |hour| {
        let slots = (0..12_u32).filter(|slot| {
            let at = Timestamp::from_secs(hour * HOUR + i64::from(*slot) * 300);
            opens <= at + Duration::from_secs(299) && at < closes
        });
        (hour, slots.fold(0, |mask, slot| mask | 1 << slot))
    })
}

fn masks_of(sessions: &[Session]) -> Masks {
    let mut masks = Masks::new();
    for (hour, slots) in sessions.iter().flat_map(session_hours) {
        *masks.entry(hour).or_default() |= slots;
    }
    masks
}

fn mask(masks: &Masks, hour: i64) -> u16 {
    masks.get(&hour).copied().unwrap_or_default()
}

/// How many slots a session has, and how many of them have a row that lies `shift` hours beside them.
fn coverage(session: &Session, stored: &Masks, shift: i64) -> (u64, u64) {
    session_hours(session).fold((0, 0), |(expected, present), (hour, slots)| {
        (
            expected + count(slots),
            present + count(slots & mask(stored, hour + shift)),
        )
    })
}

/// The number of hours by which sessions lie beside themselves, and the dates of those that do. Of several candidates the
/// one that puts most bars into sessions wins, then the nearest.
fn find_shift(sessions: &[Session], stored: &Masks) -> Option<(i64, Vec<NaiveDate>)> {
    let inside: Vec<u64> = sessions.iter().map(|session| coverage(session, stored, 0).1).collect();
    let mut best = (0, None);
    for hours in (1..=14).flat_map(|hours| [-hours, hours]) {
        let (mut gained, mut dates) = (0, Vec::new());
        for (session, inside) in sessions.iter().zip(&inside) {
            let beside = coverage(session, stored, hours).1;
            if beside > *inside {
                gained += beside - inside;
                dates.push(session.date);
            }
        }
        if gained > best.0 {
            best = (gained, Some((hours, dates)));
        }
    }
    best.1
}

fn describe(
    hours: i64,
    shifted: Vec<NaiveDate>,
    rows: u64,
    touched: &BTreeMap<NaiveDate, u64>,
    sessions: &[Session],
    stored: &Masks,
) -> Shift {
    let with_rows = |session: &&Session| coverage(session, stored, 0).1 > 0;
    let mixed = sessions.iter().filter(with_rows).map(|session| session.date);
    let mixed = mixed.filter(|date| touched.contains_key(date)).collect();
    let (mut since, mut clean, mut lasting) = (None, 0, false);
    for session in sessions.iter().rev() {
        if touched.contains_key(&session.date) {
            lasting |= since.is_none() && clean == 0;
            (since, clean) = (Some(session.date), 0);
        } else if since.is_some() {
            clean += 1;
        } else if with_rows(&session) {
            clean = 1;
        }
        if clean >= CLEAN_RUN && since.is_some() {
            break;
        }
    }
    Shift {
        hours,
        rows,
        shifted,
        mixed,
        since,
        lasting,
    }
}

/// The bit of the slot that begins at `at`, when it lies in `hour`.
fn slot_bit(hour: i64, at: Timestamp) -> u16 {
    let secs = at.secs() - hour * HOUR;
    if (0..HOUR).contains(&secs) {
        1 << (secs / 300)
    } else {
        0
    }
}

fn count(slots: u16) -> u64 {
    u64::from(slots.count_ones())
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
