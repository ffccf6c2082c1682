//! The vendor's intervals, and where their bars begin: on the UTC grid, weeks on Mondays, months on their first day.

use crate::domain::model::{Interval, Timestamp};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Utc};
use std::time::Duration;

/// The span of a vendor's bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarSpan {
    /// A fixed length.
    Fixed(Duration),
    /// From Monday to Monday.
    Week,
    /// A calendar month.
    Month,
}

/// An interval by the vendor's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesInterval {
    name: &'static str,
    span: BarSpan,
}

const fn fixed(name: &'static str, minutes: u64) -> SeriesInterval {
    SeriesInterval {
        name,
        span: BarSpan::Fixed(Duration::from_secs(minutes * 60)),
    }
}

impl SeriesInterval {
    /// All intervals, shortest first.
    pub const ALL: [Self; 12] = [
        fixed("1min", 1),
        fixed("5min", 5),
        fixed("15min", 15),
        fixed("30min", 30),
        fixed("45min", 45),
        fixed("1h", 60),
        fixed("2h", 120),
        fixed("4h", 240),
        fixed("8h", 480),
        fixed("1day", 1_440),
        Self {
            name: "1week",
            span: BarSpan::Week,
        },
        Self {
            name: "1month",
            span: BarSpan::Month,
        },
    ];

    /// The interval with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.name == name)
    }

    /// `5min`.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The span of its bars.
    pub const fn span(self) -> BarSpan {
        self.span
    }

    /// Whether its bars have dates without times.
    pub fn is_dated(self) -> bool {
        !matches!(self.span, BarSpan::Fixed(length) if length < crate::domain::vendor::DAY)
    }

    /// Our interval with the same bars; bars of the other intervals are composed of five-minute bars.
    pub fn ours(self) -> Option<Interval> {
        [Interval::M1, Interval::M5]
            .into_iter()
            .find(|interval| interval.length().map(BarSpan::Fixed) == Some(self.span))
    }
}

impl From<Duration> for BarSpan {
    fn from(length: Duration) -> Self {
        Self::Fixed(length)
    }
}

impl BarSpan {
    /// The open of the bar that contains `at`.
    pub fn floor(self, at: Timestamp) -> Timestamp {
        let day = at.datetime().date_naive();
        match self {
            Self::Fixed(length) => at.floor(length),
            Self::Week => midnight(day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into()))),
            Self::Month => midnight(day.with_day(1)),
        }
    }

    /// The end of the bar that opens at `opens_at`.
    pub fn end(self, opens_at: Timestamp) -> Timestamp {
        let day = opens_at.datetime().date_naive();
        match self {
            Self::Fixed(length) => opens_at + length,
            Self::Week => midnight(day.checked_add_days(Days::new(7))),
            Self::Month => midnight(day.checked_add_months(Months::new(1))),
        }
    }
}

/// Midnight of a date. `None` occurs only at the ends of the calendar, for which no bars are requested.
fn midnight(day: Option<NaiveDate>) -> Timestamp {
    let at: DateTime<Utc> = day.unwrap_or_default().and_time(NaiveTime::MIN).and_utc();
    Timestamp::from_datetime(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_datetime(text.parse::<DateTime<Utc>>().unwrap())
    }

    fn check(name: &str, within: &str, opens: &str, ends: &str) {
        let span = SeriesInterval::named(name).unwrap().span();
        let [within, opens, ends] = [within, opens, ends].map(at);
        assert_eq!((span.floor(within), span.end(opens)), (opens, ends), "{name}");
        assert_eq!(span.floor(opens), opens, "{name}");
        assert_eq!(span.floor(ends), ends, "{name}");
    }

    #[test]
    fn bars_begin_on_the_grid_of_utc() {
        let within = "2026-02-26T17:50:00Z"; // a Thursday
        check("5min", within, "2026-02-26T17:50:00Z", "2026-02-26T17:55:00Z");
        check("45min", within, "2026-02-26T17:15:00Z", "2026-02-26T18:00:00Z");
        check("8h", within, "2026-02-26T16:00:00Z", "2026-02-27T00:00:00Z");
        check("1day", within, "2026-02-26T00:00:00Z", "2026-02-27T00:00:00Z");
        check("1week", within, "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z");
        check("1month", within, "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
    }

    #[test]
    fn a_day_and_more_has_a_date_and_ours_are_the_shortest() {
        let names = |keep: fn(&SeriesInterval) -> bool| {
            let kept = SeriesInterval::ALL.into_iter().filter(keep);
            kept.map(SeriesInterval::name).collect::<Vec<_>>()
        };
        assert_eq!(names(|interval| interval.is_dated()), ["1day", "1week", "1month"]);
        assert_eq!(names(|interval| interval.ours().is_some()), ["1min", "5min"]);
        assert_eq!(SeriesInterval::named("7min"), None);
    }
}
