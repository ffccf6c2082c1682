//! An instant as people and programs write it. REST, WebSocket and commands parse it alike.
//!
//! Date and time are joined by `T` or a blank; seconds, fraction and offset are optional. Without an offset the time is in the market's
//! zone. Covers RFC 3339, Python's `datetime.isoformat()`, `str(pandas.Timestamp)`, and what `/status` shows.

use crate::domain::model::Timestamp;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use std::fmt;
use std::str::FromStr;

/// The accepted spellings, for the end of an error message.
pub const MOMENT_FORMS: &str =
    "an instant such as 2026-01-02T08:00:00-05:00 or 2026-01-02 08:00 (market time), or a date such as 2026-01-02";

/// The text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {MOMENT_FORMS}")]
pub struct MomentError(String);

/// An instant, or a local time that becomes one in the market's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Written with an offset.
    Instant(Timestamp),
    /// Written with a time of day and no offset.
    Local(NaiveDateTime),
    /// A date alone.
    Day(NaiveDate),
}

impl Moment {
    /// Parses any of the spellings; `None` when the text is none of them.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() == 10 {
            return parse_date(text).map(Self::Day);
        }
        let day = text.get(..10)?;
        let rest = text.get(10..)?;
        let day = parse_date(day)?;
        let rest = rest.strip_prefix(['T', 't', ' ', '+'])?; // an encoded blank may arrive as a plus sign
        let (time, offset) = split_offset(rest);
        let local = day.and_time(time_of_day(time)?);
        match offset {
            None => Some(Self::Local(local)),
            Some(offset) => {
                let at: DateTime<FixedOffset> = read_offset(offset)?.from_local_datetime(&local).single()?;
                Some(Self::Instant(Timestamp::from_datetime(at)))
            }
        }
    }

    /// The instant in `zone`; a date is its midnight. A local time that occurs twice is the first of the two; one that the clocks skip is
    /// an hour later.
    pub fn in_zone(self, zone: Tz) -> Timestamp {
        let local = match self {
            Self::Instant(at) => return at,
            Self::Local(local) => local,
            Self::Day(day) => day.and_time(NaiveTime::MIN),
        };
        let found = zone.from_local_datetime(&local).earliest().or_else(|| {
            zone.from_local_datetime(&local.checked_add_signed(TimeDelta::hours(1))?)
                .earliest()
        });
        found.map_or_else(|| Timestamp::from_datetime(local.and_utc()), Timestamp::from_datetime)
    }

    /// The end of a range that this moment closes, exclusive: the next midnight for a date, the instant itself otherwise.
    pub fn end_in_zone(self, zone: Tz) -> Timestamp {
        match self {
            Self::Day(day) => Self::Day(day.succ_opt().unwrap_or(day)).in_zone(zone),
            other => other.in_zone(zone),
        }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        Self::read(text).ok_or_else(|| MomentError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Moment {
    /// A spelling that [`Moment::read`] parses and that needs no escaping in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(at) => write!(f, "{at}"),
            Self::Local(local) => write!(f, "{}", local.format("%Y-%m-%dT%H:%M:%S%.f")),
            Self::Day(day) => write!(f, "{day}"),
        }
    }
}

/// The text is not a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date: give one such as 2026-01-02")]
pub struct DateError(String);

/// Parses a date (`2026-01-02`).
///
/// # Errors
/// [`DateError`] when the text is not a date.
pub fn read_date(text: &str) -> Result<NaiveDate, DateError> {
    parse_date(text.trim()).ok_or_else(|| DateError(text.chars().take(40).collect()))
}

fn parse_date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

fn time_of_day(text: &str) -> Option<NaiveTime> {
    ["%H:%M:%S%.f", "%H:%M"]
        .iter()
        .find_map(|form| NaiveTime::parse_from_str(text, form).ok())
}

/// Splits a time of day from its offset: `Z`, `UTC`, `+05:00`, `-0500`, or ` 05:00` where a client did not encode the plus sign.
fn split_offset(text: &str) -> (&str, Option<&str>) {
    let begin = text.find(['Z', 'z', 'U', '+', '-', ' ']);
    match begin.and_then(|at| text.split_at_checked(at)) {
        Some((time, offset)) => (time, Some(offset)),
        None => (text, None),
    }
}

fn read_offset(text: &str) -> Option<FixedOffset> {
    if matches!(text.trim(), "Z" | "z" | "UTC") {
        return FixedOffset::east_opt(0);
    }
    let west = text.starts_with('-');
    let digits: String = text
        .strip_prefix(['+', '-', ' '])?
        .chars()
        .filter(|c| *c != ':')
        .collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.as_str(), "0"),
        4 => digits.split_at_checked(2)?,
        _ => return None,
    };
    let hours: i32 = hours.parse().ok()?;
    let minutes: i32 = minutes.parse().ok()?;
    if !(0..=23).contains(&hours) || !(0..=59).contains(&minutes) {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    FixedOffset::east_opt(if west { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOGOTA: Tz = chrono_tz::America::Bogota;

    fn at(text: &str) -> Option<i64> {
        Some(Moment::read(text)?.in_zone(BOGOTA).micros())
    }

    #[test]
    fn every_documented_spelling_of_one_instant_is_read_alike() {
        for text in [
            "2026-01-02T08:00:00-05:00",
            "2026-01-02 08:00:00-05:00", // str(pd.Timestamp)
            "2026-01-02 08:00:00.000000-05:00",
            "2026-01-02 08:00:00.000000000-05:00",
            "2026-01-02T08:00:00",
            "2026-01-02 08:00:00",
            "2026-01-02 08:00",
            "2026-01-02T08:00",
            "2026-01-02T08:00-05:00",
            "2026-01-02T08:00:00-0500",
            "2026-01-02T08:00:00-05",
            "2026-01-02T13:00:00Z",
            "2026-01-02 13:00:00 UTC",
            "2026-01-02 13:00:00+00:00",
            "2026-01-02T13:00:00 00:00", // a plus sign that was not encoded
            "2026-01-02+13:00:00+00:00", // a blank that was encoded as one
            "2026-01-02t13:00:00z",
            " 2026-01-02 08:00 ",
        ] {
            assert_eq!(at(text), Some(1_767_358_800_000_000), "{text}");
        }
        assert_eq!(at("2026-01-02"), Some(1_767_330_000_000_000));
        assert_eq!(at("2026-01-02 08:00:00.25-05:00"), Some(1_767_358_800_250_000));
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-30",
            "2026-01-02T25:00:00Z",
            "2026-01-02T08:00:00-5",
            "2026-01-02T08:00:00-99:00",
            "2026-01-02T08",
            "2026-01-02T",
            "2026-01-02 08:00 COT",
            "1767358800",
            "2026-01-02T08:00:00Zulu",
            "２０２６-01-02",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_ends_with_its_day_and_an_instant_with_itself() {
        let end = |text: &str| Some(Moment::read(text)?.end_in_zone(BOGOTA).secs());
        assert_eq!(end("2026-01-02"), Some(1_767_330_000 + 86_400));
        assert_eq!(end("2026-01-02 08:00"), Some(1_767_358_800));
    }

    #[test]
    fn a_local_time_that_clocks_skip_is_an_hour_later_and_one_shown_twice_is_the_first() {
        let new_york = |text: &str| Some(Moment::read(text)?.in_zone(chrono_tz::America::New_York).secs());
        assert_eq!(new_york("2026-03-08 02:30"), new_york("2026-03-08 03:30"));
        assert_eq!(new_york("2026-11-01 01:30"), Some(1_793_511_000));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _read = at(&text);
        }

        #[test]
        fn what_we_show_is_read_back(secs in -1_500_000_000_i64..4_000_000_000) {
            let shown = Timestamp::from_secs(secs).rfc3339(BOGOTA);
            prop_assert_eq!(at(&shown), Some(secs * 1_000_000));
            prop_assert_eq!(at(&shown.replace('T', " ")), Some(secs * 1_000_000));
            prop_assert_eq!(at(&Moment::read(&shown).unwrap().to_string()), Some(secs * 1_000_000));
        }
    }
}
