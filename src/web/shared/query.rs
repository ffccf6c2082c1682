//! Reads the parameters of a request, each at most once. An error names the parameter, its value, and what is allowed.

use crate::domain::model::{Interval, JournalPlace, MOMENT_FORMS, Moment, Symbol, Timestamp};
use crate::store::{CertificatePlace, GapPlace, TickPlace};
use crate::web::shared::{Access, HttpError, Thread};
use actix_web::{HttpMessage, HttpRequest, web};
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// Instants before and after all data.
pub(crate) const EVER: (Timestamp, Timestamp) = (
    Timestamp::from_secs(-2_208_988_800),
    Timestamp::from_secs(7_258_118_400),
);

/// Where a page of bars begins: after a bar, towards the latest, or before a bar, towards the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarPlace {
    /// Bars that open after this, the earliest of them.
    After(Option<Timestamp>),
    /// Bars that open before this, the latest of them.
    Before(Option<Timestamp>),
}

/// The prefix of a cursor towards the earliest.
const BEFORE: &str = "before:";

impl BarPlace {
    /// The form of `next_cursor`.
    pub(crate) fn text(self, zone: chrono_tz::Tz) -> String {
        let (before, at) = match self {
            Self::After(at) => ("", at),
            Self::Before(at) => (BEFORE, at),
        };
        let at = at.map_or_else(String::new, |at| at.rfc3339(zone));
        format!("{before}{at}")
    }
}

/// The parameters of one request.
pub(crate) struct Query {
    given: BTreeMap<String, String>,
    /// The pairs that may be requested.
    access: Access,
}

impl Query {
    /// The parameters of `request`; each must be in `known`, and be given once.
    pub(crate) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, HttpError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|error| HttpError::bad_request(format!("the query string cannot be read: {error}")))?;
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
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// `symbol`, in any spelling; by default the first pair that the token allows.
    pub(crate) fn symbol(&self, thread: &Thread) -> Result<Symbol, HttpError> {
        if let Some(text) = self.text("symbol") {
            let names: Vec<&str> = thread.common.symbols.iter().map(Symbol::as_str).collect();
            let symbol = thread
                .symbol(text)
                .map_err(|trouble| name(trouble, "symbol", text, &format!("one of {}", names.join(", "))))?;
            return self
                .access
                .may(symbol)
                .then_some(symbol)
                .ok_or_else(|| HttpError::forbidden(format!("this token does not give access to {symbol}")));
        }
        let mut open = thread.common.symbols.iter().filter(|symbol| self.access.may(**symbol));
        let first = open.next().copied();
        first.ok_or_else(|| HttpError::forbidden("this token gives access to no pair that is served here"))
    }

    /// `interval`; five minutes by default.
    pub(crate) fn interval(&self, thread: &Thread) -> Result<Interval, HttpError> {
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
    pub(crate) fn number(&self, name: &str, default: u32, most: u32) -> Result<u32, HttpError> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| wrong(name, text, &format!("a whole number from 1 to {most}")))
    }

    /// A sequence number.
    pub(crate) fn seq(&self, name: &str) -> Result<Option<u64>, HttpError> {
        self.text(name)
            .map(|text: &str| {
                let number = text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
                number.ok_or_else(|| wrong(name, text, &format!("a whole number from 0 to {}", i64::MAX)))
            })
            .transpose()
    }

    /// The `next_cursor` of a page of bars.
    pub(crate) fn bar_place(&self, name: &str, zone: chrono_tz::Tz) -> Result<Option<BarPlace>, HttpError> {
        self.text(name)
            .map(|text: &str| {
                let place = match text.strip_prefix(BEFORE) {
                    Some(text) => instant(text, zone).map(|at| BarPlace::Before(Some(at))),
                    None => instant(text, zone).map(|at| BarPlace::After(Some(at))),
                };
                place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of bars"))
            })
            .transpose()
    }

    /// The `next_cursor` of a page of gaps.
    pub(crate) fn gap_place(&self, name: &str) -> Result<Option<GapPlace>, HttpError> {
        let ever = EVER.0.micros()..=EVER.1.micros();
        self.text(name)
            .map(|text: &str| {
                let place = text.parse().ok();
                let place = place.filter(|place: &GapPlace| ever.contains(&place.from.micros()));
                place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of gaps"))
            })
            .transpose()
    }

    /// The `next_cursor` of a page of certificates.
    pub(crate) fn certificate_place(&self, name: &str) -> Result<Option<CertificatePlace>, HttpError> {
        let ever = EVER.0.datetime().date_naive()..=EVER.1.datetime().date_naive();
        self.text(name)
            .map(|text: &str| {
                let place = text.parse().ok();
                let place = place.filter(|place: &CertificatePlace| ever.contains(&place.date));
                place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of certificates"))
            })
            .transpose()
    }

    /// The `next_cursor` of a page of the journal.
    pub(crate) fn journal_place(&self, name: &str) -> Result<Option<JournalPlace>, HttpError> {
        let ever = EVER.0.micros()..=EVER.1.micros();
        self.text(name)
            .map(|text: &str| {
                let place = text.parse().ok();
                let place = place.filter(|place: &JournalPlace| ever.contains(&place.at.micros()));
                place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of events"))
            })
            .transpose()
    }

    /// Whether the token allows a pair.
    pub(crate) fn may(&self, symbol: Symbol) -> bool {
        self.access.may(symbol)
    }

    /// The `next_cursor` of a page of ticks.
    pub(crate) fn tick_place(&self, name: &str) -> Result<Option<TickPlace>, HttpError> {
        let ever = EVER.0.micros()..=EVER.1.micros();
        self.text(name)
            .map(|text: &str| {
                let place = text.parse().ok();
                let place = place.filter(|place: &TickPlace| ever.contains(&place.received_at.micros()));
                place.ok_or_else(|| wrong(name, text, "the next_cursor of a page of ticks"))
            })
            .transpose()
    }

    /// An instant, as [`Moment`] reads it; a date means midnight in the market's zone.
    pub(crate) fn instant(&self, name: &str, zone: chrono_tz::Tz) -> Result<Option<Timestamp>, HttpError> {
        self.text(name)
            .map(|text: &str| instant(text, zone).ok_or_else(|| wrong(name, text, MOMENT_FORMS)))
            .transpose()
    }

    /// A date.
    pub(crate) fn date(&self, name: &str) -> Result<Option<NaiveDate>, HttpError> {
        self.text(name)
            .map(|text: &str| {
                let date = text
                    .parse()
                    .ok()
                    .filter(|date: &NaiveDate| (1900..=2200).contains(&chrono::Datelike::year(date)));
                date.ok_or_else(|| wrong(name, text, "a date such as 2026-01-02, from 1900 to 2200"))
            })
            .transpose()
    }

    /// `from` and `to`; `to` may not be before `from`.
    pub(crate) fn stretch(&self, zone: chrono_tz::Tz) -> Result<(Option<Timestamp>, Option<Timestamp>), HttpError> {
        let from = self.instant("from", zone)?;
        let to = self.instant("to", zone)?;
        match (from, to, self.text("to")) {
            (Some(from), Some(to), Some(text)) if to < from => Err(wrong("to", text, "an instant at or after from")),
            _ => Ok((from, to)),
        }
    }

    /// One value of a list; by default the first.
    pub(crate) fn choice(&self, name: &str, allowed: &[&'static str]) -> Result<&'static str, HttpError> {
        let first = allowed.first().copied().unwrap_or_default();
        Ok(self.choice_of(name, allowed)?.unwrap_or(first))
    }

    /// One value of a list, if given.
    pub(crate) fn choice_of(&self, name: &str, allowed: &[&'static str]) -> Result<Option<&'static str>, HttpError> {
        self.text(name)
            .map(|text: &str| {
                let found = allowed.iter().find(|one| **one == text).copied();
                found.ok_or_else(|| wrong(name, text, &format!("one of {}", allowed.join(", "))))
            })
            .transpose()
    }
}

fn instant(text: &str, zone: chrono_tz::Tz) -> Option<Timestamp> {
    // Before and after all bars, every instant is equivalent.
    Some(Moment::read(text)?.in_zone(zone).clamp(EVER.0, EVER.1))
}

/// The error for a value that is not allowed.
pub(crate) fn wrong(parameter: &str, given: &str, allowed: &str) -> HttpError {
    let shown = cut(given);
    let detail = format!("{}: {shown:?} is not {allowed}", cut(parameter));
    name(HttpError::bad_request(detail), parameter, given, allowed)
}

/// The error for a parameter that is given more than once.
pub(crate) fn twice(parameter: &str, given: &str) -> HttpError {
    let detail = format!("{} is given more than once", cut(parameter));
    name(HttpError::bad_request(detail), parameter, given, "one value")
}

/// The name that is nearest to `given`, at most `most` typing errors away.
pub(crate) fn find_nearest<'n>(given: &str, names: impl Iterator<Item = &'n str>, most: usize) -> Option<&'n str> {
    names
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .min_by_key(|(far, _)| *far)
        .filter(|(far, _)| *far <= most)
        .map(|(_, name)| name)
}

/// The error for an unknown parameter; `hint` ends the sentence.
pub(crate) fn unknown(parameter: &str, given: &str, known: &[&str], hint: &str) -> HttpError {
    let there = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let meant = find_nearest(parameter, known.iter().copied(), 2);
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
    let detail = format!(
        "{:?} is not a parameter of this address: there are {there}{meant}{hint}",
        cut(parameter)
    );
    name(HttpError::bad_request(detail), parameter, given, &there)
}

/// Adds the parameter, its value, and what is allowed.
pub(crate) fn name(trouble: HttpError, parameter: &str, given: &str, allowed: &str) -> HttpError {
    let named = trouble.with("parameter", cut(parameter)).with("given", cut(given));
    named.with("allowed", allowed)
}

/// A client's text, cut to a length that is safe to show.
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
