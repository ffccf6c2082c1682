//! The settings in the form in which the parts take them.

use super::StartError;
use crate::actors::vendor::{self, FeedSettings, RootsError};
use crate::calendar_file;
use crate::domain::calendar::{Calendar, Overrides};
use crate::domain::history::{L0Table, WaitPolicy};
use crate::domain::model::{Interval, Session, Sessions, Symbol, Timestamp};
use crate::domain::pipeline::PairRules;
use crate::domain::vendor::{KeyPolicy, KeySlot};
use crate::settings::{Group, L0, Valid};
use secrecy::SecretString;
use std::sync::Arc;
use tokio::sync::watch;

/// A pair's calendar, which may be corrected while the service runs.
pub(crate) type Followed = (Symbol, Arc<watch::Sender<Calendar>>);

pub(crate) fn calendars(settings: &Valid) -> Result<Vec<Followed>, StartError> {
    let overrides = match &settings.market.calendar_file {
        Some(path) => calendar_file::load(path)?,
        None => Overrides::default(),
    };
    let overrides = Arc::new(overrides);
    let followed = settings.market.symbols.iter().map(|pair| {
        let calendar = Calendar::from_rules(pair.calendar, Arc::clone(&overrides));
        (pair.symbol, Arc::new(watch::Sender::new(calendar)))
    });
    Ok(followed.collect())
}

/// The pairs' rules; the base interval comes first.
pub(crate) fn markets(settings: &Valid, calendars: &[Followed]) -> Vec<PairRules> {
    let mut intervals = settings.market.intervals.clone();
    intervals.sort_by_key(|interval| *interval != Interval::M5);
    calendars
        .iter()
        .map(|(symbol, calendar): &Followed| PairRules {
            intervals: intervals.clone(),
            boundary: settings.market.minute_stamps,
            lateness: settings.market.lateness,
            jump_basis_points: settings.market.jump_basis_points,
            on_mismatch: settings.upstream.mismatch,
            ..PairRules::new(*symbol, Arc::new(Corrected(calendar.subscribe())))
        })
        .collect()
}

/// A calendar with its latest correction.
#[derive(Debug)]
struct Corrected(watch::Receiver<Calendar>);

impl Sessions for Corrected {
    fn at(&self, at: Timestamp) -> Option<Session> {
        self.0.borrow().at(at)
    }

    fn after(&self, at: Timestamp) -> Option<Session> {
        self.0.borrow().after(at)
    }

    fn zone(&self) -> chrono_tz::Tz {
        self.0.borrow().zone()
    }

    fn edition(&self) -> u64 {
        self.0.borrow().edition()
    }

    fn on(&self, date: chrono::NaiveDate) -> (Option<Session>, String) {
        let day = self.0.borrow().day(date);
        (day.session, day.reason)
    }
}

/// The table that holds the prepared history.
pub(crate) fn l0_table(settings: &Valid) -> Result<L0Table, StartError> {
    let L0 {
        table,
        time_column,
        spelling,
        ..
    } = &settings.l0;
    Ok(L0Table::new(table, time_column, *spelling)?)
}

pub(super) fn policy(settings: &Valid) -> WaitPolicy {
    WaitPolicy {
        wait_max: settings.l0.timeout,
        on_timeout: settings.l0.on_timeout,
    }
}

/// The authorities that are trusted for the vendor's addresses.
pub(crate) fn upstream_tls(settings: &Valid) -> Result<Arc<rustls::ClientConfig>, RootsError> {
    let further = match &settings.upstream.ca_file {
        Some(file) => vendor::roots(file)?,
        None => Vec::new(),
    };
    Ok(vendor::tls(&further))
}

pub(super) fn feed(settings: &Valid, markets: &[PairRules]) -> Result<FeedSettings, StartError> {
    let symbols = markets
        .iter()
        .map(|market| (market.symbol, Arc::clone(&market.sessions)));
    Ok(FeedSettings {
        url: settings.upstream.ws_url.clone(),
        symbols: symbols.collect(),
        tls: upstream_tls(settings)?,
    })
}

pub(crate) const fn key_policy(settings: &Valid) -> KeyPolicy {
    KeyPolicy {
        spacing: settings.upstream.spacing,
        per_minute: settings.upstream.credits_per_minute,
        per_day: settings.upstream.credits_per_day,
    }
}

pub(crate) fn keys(settings: &Valid) -> Vec<(KeySlot, SecretString)> {
    let keys = settings.upstream.keys.iter().map(|key| {
        let slot = KeySlot {
            group: if key.group == Group::G1 { 1 } else { 2 },
            number: key.number,
        };
        (slot, key.secret.clone())
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Event, JournalEntry, Position, SessionPhase};
    use crate::domain::pipeline::Pipeline;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap())
    }

    /// A pipeline whose calendar can be corrected.
    struct Followed {
        calendar: watch::Sender<Calendar>,
        pipeline: Pipeline,
        told: Vec<JournalEntry>,
    }

    impl Followed {
        fn from(now: &str) -> Self {
            let calendar = watch::Sender::new(Calendar::usdcop());
            let market = PairRules::new(Symbol::usdcop(), Arc::new(Corrected(calendar.subscribe())));
            Self {
                pipeline: Pipeline::new(&[market], Position(0), [], at(now)),
                calendar,
                told: Vec::new(),
            }
        }

        fn decide(&self, date: &str, action: &str) {
            let text = format!("[[day]]\ndate = {date}\naction = \"{action}\"\nreason = \"by hand\"\n");
            let overrides = Arc::new(Overrides::read(&text).unwrap());
            self.calendar
                .send_modify(|calendar| *calendar = calendar.with_overrides(overrides));
        }

        fn advance(&mut self, to: &str) {
            self.pipeline.advance(at(to), &mut self.told);
        }

        /// The sessions that opened and closed, with their instants, and how many bars are missing.
        fn lived(&self) -> (Vec<String>, u32) {
            let (mut turns, mut missing) = (Vec::new(), std::collections::BTreeMap::new());
            for entry in &self.told {
                let JournalEntry::Event(numbered) = entry else { continue };
                match &numbered.event {
                    Event::Session(change) if change.phase == SessionPhase::Open => {
                        turns.push(format!("{} opens {}", change.date, numbered.at));
                    }
                    Event::Session(change) if change.phase == SessionPhase::Closed => {
                        turns.push(format!("{} closes {}", change.date, numbered.at));
                    }
                    Event::Gap(gap) => drop(missing.insert(gap.id, gap.bars)),
                    _ => {}
                }
            }
            (turns, missing.values().sum())
        }
    }

    #[test]
    fn a_day_that_is_closed_by_hand_before_its_open_has_no_session_and_misses_no_bar() {
        let mut followed = Followed::from("2026-01-15T07:00:00-05:00");
        followed.advance("2026-01-15T07:30:00-05:00");
        followed.decide("2026-01-15", "close");
        followed.advance("2026-01-15T20:00:00-05:00");
        assert_eq!(followed.lived(), (vec![], 0));
        followed.advance("2026-01-16T08:00:00-05:00");
        assert_eq!(followed.lived().0, ["2026-01-16 opens 2026-01-16T13:00:00Z"]);
    }

    #[test]
    fn a_session_that_is_closed_by_hand_ends_there_and_expects_no_more_bars() {
        let mut followed = Followed::from("2026-01-15T07:00:00-05:00");
        followed.advance("2026-01-15T08:07:00-05:00");
        followed.decide("2026-01-15", "close");
        followed.advance("2026-01-15T08:07:01-05:00"); // the pipeline looks at the clock every second
        followed.advance("2026-01-15T20:00:00-05:00");
        let (turns, missing) = followed.lived();
        assert_eq!(turns.len(), 2, "{turns:?}");
        assert!(turns[1].starts_with("2026-01-15 closes 2026-01-15T13:07:"), "{turns:?}");
        assert_eq!(missing, 2); // nobody quoted: 08:00, and 08:05 as far as it went
    }

    #[test]
    fn a_day_that_is_opened_by_hand_has_its_session() {
        let mut followed = Followed::from("2026-01-16T18:00:00-05:00");
        followed.advance("2026-01-16T19:00:00-05:00");
        followed.decide("2026-01-17", "open"); // a Saturday
        followed.advance("2026-01-16T19:00:01-05:00");
        followed.advance("2026-01-17T13:30:00-05:00");
        let expect = [
            "2026-01-17 opens 2026-01-17T13:00:00Z",
            "2026-01-17 closes 2026-01-17T17:55:00Z",
        ];
        assert_eq!(followed.lived().0, expect);
    }
}
