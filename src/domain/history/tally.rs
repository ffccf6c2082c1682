//! Surveys a whole history against the calendar, by the instants of its rows: which slots have a row, which rows lie outside every session,
//! and whether whole days are displaced because their hours were labelled with another zone.

use crate::domain::calendar::Calendar;
use crate::domain::model::{Interval, Session, SlotGrid, Timestamp};
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Seconds in an hour.
const HOUR: i64 = 3_600;

/// The history as read from the store: the instant of every row, and oddities of its prices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The open of each row's bar, earliest first; equal instants are rows for the same slot.
    pub rows: Vec<Timestamp>,
    /// How many rows have open = high = low = close.
    pub flat: u64,
    /// Examples of them, newest first.
    pub flat_examples: Vec<Timestamp>,
    /// How many rows break low ≤ open, close ≤ high, or have a price that is missing or not positive.
    pub broken: u64,
    /// Examples of them, newest first.
    pub broken_examples: Vec<Timestamp>,
    /// How many rows have a price with more than six decimals, which is rounded when read.
    pub rounded: u64,
    /// Closed bars of the last week or so that candela fetched from the vendor to complete the history.
    pub fetched: Vec<Timestamp>,
}

/// For each UTC hour (since 1970), which of its twelve five-minute slots have a row; bit 0 is the first slot.
type Masks = HashMap<i64, u16>;

/// A displacement of a history's days by a whole number of hours from their sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// The displacement in hours: −5 when Bogota hours are labelled UTC.
    pub hours: i64,
    /// Bars outside sessions that the displacement explains.
    pub rows: u64,
    /// Sessions with more bars displaced than in place.
    pub shifted: Vec<NaiveDate>,
    /// Days with bars both in place and displaced.
    pub mixed: Vec<NaiveDate>,
    /// First day of the last run of displaced days that is not interrupted by [`CLEAN_RUN`] clean sessions.
    pub since: Option<NaiveDate>,
    /// Whether that run reaches the last session of the history.
    pub lasting: bool,
}

/// The number of consecutive sessions without a displaced bar that end a run: a week.
const CLEAN_RUN: usize = 5;

/// The number of bars at times without any session that make a session a displaced one: half an hour. A session that begins late and has
/// gaps does not count.
const STRAYS: u64 = 6;

/// The survey in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// All rows.
    pub rows: u64,
    /// The instants of rows that do not lie on the five-minute grid.
    pub off_grid: Vec<Timestamp>,
    /// The instants of rows beyond the first for the same instant.
    pub duplicates: Vec<Timestamp>,
    /// Slots of the sessions from the first row's date to the last row's date.
    pub expected: u64,
    /// Of these, slots that have a row.
    pub present: u64,
    /// Sessions that lack some bars, with the number of missing bars.
    pub partial: Vec<(NaiveDate, u64)>,
    /// Sessions without any bar inside.
    pub empty: Vec<NaiveDate>,
    /// Dates without a session that have bars, with the number of bars.
    pub closed_days: Vec<(NaiveDate, u64)>,
    /// Bars that begin exactly when their session closes.
    pub at_close: u64,
    /// Bars before or after the session of their day that no displacement explains, by date.
    pub outside: Vec<(NaiveDate, u64)>,
    /// The displacement, if there is one.
    pub shift: Option<Shift>,
}

/// Surveys a history against the calendar.
pub fn survey(rows: &[Timestamp], calendar: &Calendar) -> Survey {
    let mut survey = Survey::default();
    let stored = count_rows(&mut survey, rows);
    let ground = Ground::of(rows, calendar);
    for held in &ground.sessions {
        let date = held.session.date;
        let (expected, present) = count_covered(held, &stored, 0);
        survey.expected += expected;
        survey.present += present;
        match present {
            0 => survey.empty.push(date),
            _ if present < expected => survey.partial.push((date, expected - present)),
            _ => {}
        }
    }
    let shift = find_shift(&ground, &stored);
    let hours_off = shift.as_ref().map_or(0, |found| found.0);
    let mut closed = BTreeMap::new();
    let mut outside = BTreeMap::new();
    let mut beside = BTreeMap::new();
    for (hour, slots) in stored.iter().map(|(hour, slots)| (*hour, *slots)) {
        let off = slots & !mask_of_hour(&ground.inside, hour);
        let at_close = off & mask_of_hour(&ground.at_close, hour);
        survey.at_close += count_slots(at_close);
        let shifted = mask_of_hour(&ground.usual, hour - hours_off) & !mask_of_hour(&ground.usual, hour);
        let explained = off & !at_close & shifted;
        let rest = off & !at_close & !explained;
        let day_of = |hour: i64| calendar.local_date(Timestamp::from_secs(hour * HOUR));
        if explained != 0 {
            *beside.entry(day_of(hour - hours_off)).or_insert(0) += count_slots(explained);
        }
        if rest != 0 {
            let date = day_of(hour);
            let days = if calendar.session_on(date).is_some() {
                &mut outside
            } else {
                &mut closed
            };
            *days.entry(date).or_insert(0) += count_slots(rest);
        }
    }
    survey.closed_days = closed.into_iter().collect();
    survey.outside = outside.into_iter().collect();
    survey.shift = shift.map(|(hours, shifted)| describe_shift(hours, shifted, &beside, &ground, &stored));
    survey
}

/// A session with the hours that it touches, and for each hour the slots that open in it.
struct Held {
    session: Session,
    hours: Vec<(i64, u16)>,
}

/// The calendar over the days of a history.
struct Ground {
    sessions: Vec<Held>,
    /// The sessions that there would be without holidays: a feed does not stop for them.
    usual_sessions: Vec<Held>,
    /// The slots of the sessions.
    inside: Masks,
    /// The slots that open when a session closes.
    at_close: Masks,
    /// The slots of the usual sessions, and those that open when they close.
    usual: Masks,
}

impl Ground {
    fn of(rows: &[Timestamp], calendar: &Calendar) -> Self {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Self {
                sessions: vec![],
                usual_sessions: vec![],
                inside: Masks::new(),
                at_close: Masks::new(),
                usual: Masks::new(),
            };
        };
        let first = calendar.local_date(*first);
        let last = calendar.local_date(*last);
        let sessions: Vec<_> = calendar.sessions(first, last).map(Held::of).collect();
        let days = first.iter_days().take_while(|date| *date <= last);
        let usual = days.filter_map(|date| calendar.usual_session_on(date));
        let usual_sessions: Vec<_> = usual.map(Held::of).collect();
        let usual = usual_sessions
            .iter()
            .flat_map(|held| held.hours.iter().copied().chain([place(held.session.closes)]));
        Self {
            inside: slot_masks(sessions.iter().flat_map(|held| held.hours.iter().copied())),
            at_close: slot_masks(sessions.iter().map(|held: &Held| place(held.session.closes))),
            usual: slot_masks(usual),
            sessions,
            usual_sessions,
        }
    }

    /// The number of bars that a displacement would put into a session and that lie outside every usual session.
    fn count_strays(&self, held: &Held, stored: &Masks, shift: i64) -> u64 {
        let there = held.hours.iter().map(|(hour, slots)| (hour + shift, slots));
        there
            .map(|(hour, slots)| count_slots(slots & mask_of_hour(stored, hour) & !mask_of_hour(&self.usual, hour)))
            .sum()
    }
}

/// Counts the rows. Returns which slots of which hours have one.
fn count_rows(survey: &mut Survey, rows: &[Timestamp]) -> Masks {
    let mut stored = Masks::new();
    let mut before = None;
    let mut present = (0, 0);
    for at in rows {
        survey.rows += 1;
        if at.floor(Interval::BASE.vendor_length()) != *at {
            survey.off_grid.push(*at);
            continue;
        }
        if before.replace(*at) == Some(*at) {
            survey.duplicates.push(*at);
            continue;
        }
        let (hour, slot) = place(*at);
        if hour != present.0 {
            stored.insert(present.0, present.1);
            present = (hour, 0);
        }
        present.1 |= slot;
    }
    stored.insert(present.0, present.1);
    stored
}

/// The hour of an instant, and the bit of its slot in that hour.
pub(crate) fn place(at: Timestamp) -> (i64, u16) {
    (at.secs().div_euclid(HOUR), 1 << (at.secs().rem_euclid(HOUR) / 300))
}

impl Held {
    fn of(session: Session) -> Self {
        let mut hours: Vec<(i64, u16)> = Vec::new();
        for (hour, slot) in SlotGrid::BASE.slots(&session).map(|slot| place(slot.opens_at)) {
            match hours.last_mut() {
                Some((last, slots)) if *last == hour => *slots |= slot,
                _ => hours.push((hour, slot)),
            }
        }
        Self { session, hours }
    }
}

fn slot_masks(slots: impl Iterator<Item = (i64, u16)>) -> Masks {
    let mut masks = Masks::new();
    for (hour, slots) in slots {
        *masks.entry(hour).or_default() |= slots;
    }
    masks
}

fn mask_of_hour(masks: &Masks, hour: i64) -> u16 {
    masks.get(&hour).copied().unwrap_or_default()
}

/// The number of slots of a session, and how many of them have a row `shift` hours away.
fn count_covered(held: &Held, stored: &Masks, shift: i64) -> (u64, u64) {
    held.hours.iter().fold((0, 0), |(expected, present), (hour, slots)| {
        (
            expected + count_slots(*slots),
            present + count_slots(slots & mask_of_hour(stored, hour + shift)),
        )
    })
}

/// The displacement in hours, and the dates of the displaced sessions: those with more bars there than in place, and at least half of all.
/// Of several candidates the one that puts most bars into sessions wins, then the nearest.
fn find_shift(ground: &Ground, stored: &Masks) -> Option<(i64, Vec<NaiveDate>)> {
    if stored
        .iter()
        .all(|(hour, slots)| slots & !mask_of_hour(&ground.usual, *hour) == 0)
    {
        return None; // as in most histories
    }
    let mut best = (0, None);
    for hours in (1..=14).flat_map(|hours| [-hours, hours]) {
        let mut gained = 0;
        let mut dates = Vec::new();
        for held in &ground.sessions {
            let (expected, beside) = count_covered(held, stored, hours);
            if beside * 2 < expected || ground.count_strays(held, stored, hours) < STRAYS {
                continue;
            }
            let inside = count_covered(held, stored, 0).1;
            if beside > inside {
                gained += beside - inside;
                dates.push(held.session.date);
            }
        }
        if gained > best.0 {
            best = (gained, Some((hours, dates)));
        }
    }
    best.1
}

/// Describes a displacement in full; `beside` counts its bars by the date on which they should lie.
fn describe_shift(
    hours: i64,
    shifted: Vec<NaiveDate>,
    beside: &BTreeMap<NaiveDate, u64>,
    ground: &Ground,
    stored: &Masks,
) -> Shift {
    let open: BTreeSet<NaiveDate> = ground.sessions.iter().map(|held| held.session.date).collect();
    let mut mixed = Vec::new();
    let mut since = None;
    let mut clean = 0;
    let mut lasting = false;
    for held in ground.usual_sessions.iter().rev() {
        let date = held.session.date;
        let touched = beside.contains_key(&date);
        let has_rows = count_covered(held, stored, 0).1 > 0;
        if touched && has_rows {
            mixed.push(date);
        }
        if since.is_some() && clean >= CLEAN_RUN {
            continue; // the last stretch is known
        }
        if touched {
            lasting |= since.is_none() && clean == 0;
            (since, clean) = (Some(date), 0);
        } else if open.contains(&date) && (since.is_some() || has_rows) {
            clean += 1;
        }
    }
    mixed.reverse();
    Shift {
        hours,
        rows: beside.values().sum(),
        shifted,
        mixed,
        since,
        lasting,
    }
}

fn count_slots(slots: u16) -> u64 {
    u64::from(slots.count_ones())
}

#[cfg(test)]
#[path = "tests/tally.rs"]
mod tests;
