//! Reads the parameters of a request, each once, and names what is wrong with them: the parameter, what was given, what is
//! allowed.

use crate::domain::interval::Interval;
use crate::domain::moment::{MOMENT_FORMS, Moment};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::store::{GapPlace, TickPlace};
use crate::web::access::Access;
use crate::web::problem::Trouble;
use crate::web::thread::Thread;
use actix_web::{HttpMessage, HttpRequest, web};
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// Before and after everything there is.
pub(super) const EVER: (Timestamp, Timestamp) = (
    Timestamp::from_secs(-2_208_988_800),
    Timestamp::from_secs(7_258_118_400),
);

/// Where a page of bars begins: behind a bar and towards the latest, or before one and towards the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BarPlace {
    /// Bars that open after this, the earliest of them.
    After(Option<Timestamp>),
    /// Bars that open before this, the latest of them.
    Before(Option<Timestamp>),
}

/// What a cursor towards the earliest begins with.
const BEFORE: &str = "before:";

impl BarPlace {
    /// As `next_cursor` shows it.
    pub(super) fn text(self, zone: chrono_tz::Tz) -> String {
        let shown = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.rfc3339(zone));
        match self {
            Self::After(at) => shown(at),
            Self::Before(at) => format!("{BEFORE}{}", shown(at)),
        }
    }
}

/// The parameters of one request.
pub(super) struct Query {
    given: BTreeMap<String, String>,
    /// Which pairs may be asked for.
    access: Access,
}

impl Query {
    /// Those of `request`; all of them must be in `known`, and come once.
    pub(super) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Trouble> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|error| Trouble::bad_request(format!("the query string cannot be read: {error}")))?;
        let mut given = BTreeMap::new();
        for (name, value) in pairs.into_inner() {
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, &value, known, ""));
            }
            if given.insert(name.clone(), value.clone()).is_some() {
                return Err(twice(&name, &value));
            }
        }
        let access = request.extensions().get::<Access>().cloned();
        let access = access.unwrap_or(Access::Refused);
        Ok(Self { given, access })
    }

    /// The text of a parameter, if it was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// `symbol`, in any spelling; the first that the token opens by default.
    pub(super) fn symbol(&self, thread: &Thread) -> Result<Symbol, Trouble> {
        if let Some(text) = self.text("symbol") {
            let names: Vec<&str> = thread.common.symbols.iter().map(Symbol::as_str).collect();
            let named = |trouble| name(trouble, "symbol", text, &format!("one of {}", names.join(", ")));
            let symbol = thread.symbol(text).map_err(named)?;
            let closed = || Trouble::forbidden(format!("this token does not open {symbol}"));
            return self.access.may(symbol).then_some(symbol).ok_or_else(closed);
        }
        let mut open = thread.common.symbols.iter().filter(|symbol| self.access.may(**symbol));
        let first = open.next().copied();
        first.ok_or_else(|| Trouble::forbidden("this token opens no pair that is served here"))
    }

    /// `interval`; five minutes by default.
    pub(super) fn interval(&self, thread: &Thread) -> Result<Interval, Trouble> {
        let Some(text) = self.text("interval") else {
            return Ok(Interval::M5);
        };
        let made = &thread.common.intervals;
        let names: Vec<&str> = made.iter().map(|interval| interval.name()).collect();
        let allowed = format!("one of {}", names.join(", "));
        let interval: Interval = text.parse().map_err(|_| wrong("interval", text, &allowed))?;
        if made.contains(&interval) {
            return Ok(interval);
        }
        Err(wrong("interval", text, &allowed))
    }

    /// A number within bounds.
    pub(super) fn number(&self, name: &str, default: u32, most: u32) -> Result<u32, Trouble> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| wrong(name, text, &format!("a whole number from 1 to {most}")))
    }

    /// A sequence number.
    pub(super) fn seq(&self, name: &str) -> Result<Option<u64>, Trouble> {
        let read = |text: &str| {
            let number = text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
            number.ok_or_else(|| wrong(name, text, &format!("a whole number from 0 to {}", i64::MAX)))
        };
        self.text(name).map(read).transpose()
    }

    /// The `next_cursor` of a page of bars.
    pub(super) fn bar_place(&self, name: &str, zone: chrono_tz::Tz) -> Result<Option<BarPlace>, Trouble> {
        let read = |text: &str| {
            let place = match text.strip_prefix(BEFORE) {
                Some(text) => instant(text, zone).map(|at| BarPlace::Before(Some(at))),
                None => instant(text, zone).map(|at| BarPlace::After(Some(at))),
            };
            place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of bars"))
        };
        self.text(name).map(read).transpose()
    }

    /// The `next_cursor` of a page of gaps.
    pub(super) fn gap_place(&self, name: &str) -> Result<Option<GapPlace>, Trouble> {
        let ever = EVER.0.micros()..=EVER.1.micros();
        let read = |text: &str| {
            let place = text.parse().ok();
            let place = place.filter(|place: &GapPlace| ever.contains(&place.from.micros()));
            place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of gaps"))
        };
        self.text(name).map(read).transpose()
    }

    /// The `next_cursor` of a page of ticks.
    pub(super) fn tick_place(&self, name: &str) -> Result<Option<TickPlace>, Trouble> {
        let ever = EVER.0.micros()..=EVER.1.micros();
        let read = |text: &str| {
            let place = text.parse().ok();
            let place = place.filter(|place: &TickPlace| ever.contains(&place.received_at.micros()));
            place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of ticks"))
        };
        self.text(name).map(read).transpose()
    }

    /// An instant, as [`Moment`] reads it; a date is its midnight in the market's zone.
    pub(super) fn instant(&self, name: &str, zone: chrono_tz::Tz) -> Result<Option<Timestamp>, Trouble> {
        let read = |text: &str| instant(text, zone).ok_or_else(|| wrong(name, text, MOMENT_FORMS));
        self.text(name).map(read).transpose()
    }

    /// A date.
    pub(super) fn date(&self, name: &str) -> Result<Option<NaiveDate>, Trouble> {
        let read = |text: &str| {
            let date = text
                .parse()
                .ok()
                .filter(|date: &NaiveDate| (1900..=2200).contains(&chrono::Datelike::year(date)));
            date.ok_or_else(|| wrong(name, text, "a date such as 2026-01-02, from 1900 to 2200"))
        };
        self.text(name).map(read).transpose()
    }

    /// `from` and `to`, where the second is not before the first.
    pub(super) fn stretch(&self, zone: chrono_tz::Tz) -> Result<(Option<Timestamp>, Option<Timestamp>), Trouble> {
        let (from, to) = (self.instant("from", zone)?, self.instant("to", zone)?);
        match (from, to, self.text("to")) {
            (Some(from), Some(to), Some(text)) if to < from => Err(wrong("to", text, "an instant at or after from")),
            _ => Ok((from, to)),
        }
    }

    /// One of a list; the first by default.
    pub(super) fn choice(&self, name: &str, allowed: &[&'static str]) -> Result<&'static str, Trouble> {
        let first = allowed.first().copied().unwrap_or_default();
        Ok(self.choice_of(name, allowed)?.unwrap_or(first))
    }

    /// One of a list, if it was given.
    pub(super) fn choice_of(&self, name: &str, allowed: &[&'static str]) -> Result<Option<&'static str>, Trouble> {
        let read = |text: &str| {
            let found = allowed.iter().find(|one| **one == text).copied();
            found.ok_or_else(|| wrong(name, text, &format!("one of {}", allowed.join(", "))))
        };
        self.text(name).map(read).transpose()
    }
}

fn instant(text: &str, zone: chrono_tz::Tz) -> Option<Timestamp> {
    // Before and after all bars that there are, one instant is as good as another.
    Some(Moment::read(text)?.in_zone(zone).clamp(EVER.0, EVER.1))
}

/// An answer to a value that is not what it may be.
pub(super) fn wrong(parameter: &str, given: &str, allowed: &str) -> Trouble {
    let shown = cut(given);
    let detail = format!("{}: {shown:?} is not {allowed}", cut(parameter));
    name(Trouble::bad_request(detail), parameter, given, allowed)
}

/// An answer to a parameter that comes more than once.
pub(super) fn twice(parameter: &str, given: &str) -> Trouble {
    let detail = format!("{} is given more than once", cut(parameter));
    name(Trouble::bad_request(detail), parameter, given, "one value")
}

/// An answer to a parameter that is not known here; `hint` ends the sentence.
pub(super) fn unknown(parameter: &str, given: &str, known: &[&str], hint: &str) -> Trouble {
    let there = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let near = |name: &&&str| strsim::damerau_levenshtein(parameter, name);
    let meant = known.iter().min_by_key(near).filter(|name| near(name) <= 2);
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
    let detail = format!(
        "{:?} is no parameter of this address: there are {there}{meant}{hint}",
        cut(parameter)
    );
    name(Trouble::bad_request(detail), parameter, given, &there)
}

/// Names the parameter, what was given, and what is allowed.
fn name(trouble: Trouble, parameter: &str, given: &str, allowed: &str) -> Trouble {
    let named = trouble.with("parameter", cut(parameter)).with("given", cut(given));
    named.with("allowed", allowed)
}

/// What a client wrote, in a length that is safe to show.
fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_people_write_them() {
        let zone = chrono_tz::America::Bogota;
        for (text, secs) in [
            ("2026-01-02", 1_767_330_000),
            ("2026-01-02T08:00:00-05:00", 1_767_358_800),
            ("2026-01-02T13:00:00Z", 1_767_358_800),
            ("2026-01-02T13:00:00 00:00", 1_767_358_800),
            ("0001-01-01", -2_208_988_800),
            ("9999-12-31T23:59:59Z", 7_258_118_400),
        ] {
            assert_eq!(instant(text, zone), Some(Timestamp::from_secs(secs)), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "+262142-01-01T00:00:00Z",
            "1",
            "2026-01-02T25:00:00Z",
        ] {
            assert_eq!(instant(text, zone), None, "{text}");
        }
    }
}
