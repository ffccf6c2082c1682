//! Which bars the calendar expects and an answer lacks: for the time before the service ran, no gap is recorded.

use crate::cmd::ask::{Service, ServiceError};
use crate::domain::model::{Interval, Moment, Session, SessionKind, SlotGrid, Timestamp};
use crate::limits;
use chrono::{DateTime, Days, NaiveDate};
use chrono_tz::Tz;
use serde_json::Value;
use std::collections::BTreeSet;

/// The bars of a stretch in an answer.
#[derive(Debug)]
pub(super) struct ShownBars {
    /// Their pair.
    pub(super) symbol: String,
    /// Their interval.
    pub(super) interval: Interval,
    /// The stretch, `[from, to)`. Without an end it goes to `now`.
    pub(super) from: Moment,
    pub(super) to: Option<Moment>,
    /// Bars that close after it are not expected yet.
    pub(super) now: Timestamp,
    /// Their opens.
    pub(super) opens: BTreeSet<Timestamp>,
}

impl ShownBars {
    /// The opens of the bars in an answer.
    pub(super) fn opens_in(answer: &Value) -> BTreeSet<Timestamp> {
        let bars = answer.get("bars").and_then(Value::as_array).into_iter().flatten();
        bars.filter_map(|bar| instant(bar, "open_time")).collect()
    }

    /// Whether a bar that the calendar expects is missing.
    pub(super) async fn lack_one(&self, service: &Service) -> Result<bool, ServiceError> {
        let address = format!("/market/calendar?symbol={}", self.symbol.replace('/', ""));
        let today = service.get(&address).await?;
        let zone = today.get("zone").and_then(Value::as_str);
        let zone: Tz = zone.and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC);
        let from = self.from.in_zone(zone);
        let to = self.to.map_or(self.now, |to| to.in_zone(zone).min(self.now));
        let (mut first, end) = session_dates(from, to, zone);
        while first <= end {
            let last = end.min(first + Days::new(limits::REST_CALENDAR_DAYS.unsigned_abs()));
            let answer = service.get(&format!("{address}&from={first}&to={last}")).await?;
            let days = answer.get("days").and_then(Value::as_array).into_iter().flatten();
            for session in days.filter_map(session) {
                let expected = self.expected(&session).into_iter();
                let mut expected = expected.filter(|(opens_at, _)| from <= *opens_at && *opens_at < to);
                if expected.any(|(opens_at, closes_at)| {
                    closes_at + limits::BAR_STORED <= self.now && !self.opens.contains(&opens_at)
                }) {
                    return Ok(true);
                }
            }
            first = last + Days::new(1);
        }
        Ok(false)
    }

    /// Open and close of each bar of a session.
    fn expected(&self, session: &Session) -> Vec<(Timestamp, Timestamp)> {
        let slots = SlotGrid::of_interval(self.interval).slots(session);
        slots.map(|slot| (slot.opens_at, slot.closes_at)).collect()
    }
}

/// The first and the last date of sessions that overlap a stretch: one may open on the evening before its date.
fn session_dates(from: Timestamp, to: Timestamp, zone: Tz) -> (NaiveDate, NaiveDate) {
    let [first, last] = [from, to].map(|at| at.datetime().with_timezone(&zone).date_naive());
    let oldest = NaiveDate::from_ymd_opt(1900, 1, 1).unwrap_or_default();
    (first.max(oldest), last + Days::new(1))
}

fn instant(of: &Value, name: &str) -> Option<Timestamp> {
    let text = of.get(name)?.as_str()?;
    DateTime::parse_from_rfc3339(text).ok().map(Timestamp::from_datetime)
}

/// The session of a day of the calendar, if it has one. How it settles does not matter here.
fn session(day: &Value) -> Option<Session> {
    Some(Session {
        date: day.get("date")?.as_str()?.parse().ok()?,
        opens: instant(day, "opens")?,
        closes: instant(day, "closes")?,
        kind: SessionKind::Spot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::{Calendar, CalendarKind, CalendarSpec};
    use crate::domain::model::Sessions;
    use serde_json::json;
    use std::sync::Arc;

    fn shown(interval: Interval) -> ShownBars {
        ShownBars {
            symbol: "USD/COP".to_owned(),
            interval,
            from: "2026-01-02".parse().unwrap(),
            to: None,
            now: Timestamp::from_secs(1_767_400_000),
            opens: BTreeSet::new(),
        }
    }

    #[test]
    fn a_day_expects_a_bar_a_slot_and_one_of_the_whole_day() {
        let day =
            json!({"date": "2026-01-02", "opens": "2026-01-02T08:00:00-05:00", "closes": "2026-01-02T12:55:00-05:00"});
        let session = session(&day).unwrap();
        let of = |interval| shown(interval).expected(&session);
        assert_eq!((of(Interval::M5).len(), of(Interval::H1).len()), (59, 5));
        for interval in [Interval::Session, Interval::D1] {
            assert_eq!(
                of(interval),
                [(session.opens, session.closes)],
                "{interval}: the bars begin at the open"
            );
        }
        assert_eq!(super::session(&json!({"date": "2026-01-03", "opens": null})), None);
    }

    #[test]
    fn the_evening_of_a_day_belongs_to_the_session_of_the_next() {
        let zone = Tz::America__New_York;
        let [from, to] = ["2026-03-01T00:00", "2026-03-01T19:00"].map(|at| at.parse::<Moment>().unwrap().in_zone(zone));
        let (first, last) = session_dates(from, to, zone);
        let forex = CalendarSpec {
            calendar: CalendarKind::Forex.name().to_owned(),
            ..CalendarSpec::default()
        };
        let calendar = Calendar::new(&forex, Arc::default()).unwrap();
        let sessions = first.iter_days().take_while(|date| *date <= last);
        let sessions: Vec<Session> = sessions.filter_map(|date| calendar.on(date).0).collect();
        assert!(
            sessions
                .iter()
                .any(|session| session.contains(to - std::time::Duration::from_secs(1))),
            "{first} to {last}: {sessions:?}"
        );
    }

    #[test]
    fn the_bars_of_an_answer_are_known_by_their_opens() {
        let answer = json!({"bars": [{"open_time": "2026-01-02T08:00:00-05:00"}, {"open_time": 5}]});
        assert_eq!(
            ShownBars::opens_in(&answer).into_iter().collect::<Vec<_>>(),
            [Timestamp::from_secs(1_767_358_800)]
        );
    }
}
