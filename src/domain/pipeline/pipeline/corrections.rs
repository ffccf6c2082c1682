//! Corrections of what decides when bars close: calendars that people correct, and a clock that is set.

use super::Pipeline;
use crate::domain::model::{Input, InputKind, JournalEntry, KnownSessions, Timestamp, Unwatched};
use chrono::NaiveDate;

/// The cause of a stretch that was not watched where the clock was right all the time.
const PROCESS_PAUSED: &str = "process_paused";

impl Pipeline {
    /// Restores what was known of a pair's calendar when the day's file began. Nothing was replayed yet.
    pub fn restore_calendar(&mut self, known: &KnownSessions) {
        let books = self.books.iter_mut();
        for book in books.filter(|book| book.market.symbol == known.symbol) {
            book.restore_calendar(known.clone(), self.at);
            book.doubt_calendar();
        }
    }

    /// Records and applies calendars that were corrected.
    pub(super) fn correct_calendars(&mut self, now: Timestamp, out: &mut Vec<JournalEntry>) {
        for book in &mut self.books {
            let Some(known) = book.find_correction(now) else {
                continue;
            };
            self.at = now;
            out.push(JournalEntry::Input(Input {
                at: now,
                what: InputKind::Calendar(known.clone()),
            }));
            let Some(lacking) = book.apply_calendar(known, now) else {
                continue;
            };
            out.push(JournalEntry::Input(Input {
                at: now,
                what: InputKind::MissingBars(lacking.clone()),
            }));
            book.open_missing(&lacking, now, &mut self.sequencer, &mut self.counts, out);
        }
    }

    /// A correction is replayed: what it lacks is an input of its own, and the calendar is looked at when the replay is over.
    pub(super) fn apply_calendar(&mut self, known: &KnownSessions, at: Timestamp) {
        let books = self.books.iter_mut();
        for book in books.filter(|book| book.market.symbol == known.symbol) {
            drop(book.apply_calendar(known.clone(), at));
            book.doubt_calendar();
        }
    }

    /// A ledger begins with what is known of every pair's calendar: it may be corrected before the first session opens.
    pub(super) fn begin_ledger(&mut self, out: &mut Vec<JournalEntry>) {
        if std::mem::take(&mut self.blank) {
            self.carry_calendars(NaiveDate::MIN, out);
        }
    }

    /// The file of a session begins with what is known of every pair's calendar.
    pub(super) fn carry_calendars(&mut self, opened: NaiveDate, out: &mut Vec<JournalEntry>) {
        let books = self.books.iter_mut();
        out.extend(books.map(|book| {
            JournalEntry::Input(Input {
                at: self.at,
                what: InputKind::Calendar(book.carry_calendar(opened, self.at)),
            })
        }));
    }

    pub(super) fn knows_calendar(&self, known: &KnownSessions) -> bool {
        self.books.iter().any(|book| book.knows_calendar(known))
    }

    /// Market time went from `at` to another instant while the feed was not watched.
    pub(super) fn apply_unwatched(&mut self, unwatched: &Unwatched, at: Timestamp, out: &mut Vec<JournalEntry>) {
        let Unwatched { until, cause } = unwatched;
        let wrong_since = self.clock_since;
        if cause != PROCESS_PAUSED {
            self.clock_since = *until;
        }
        if at <= *until {
            let books = self.books.iter_mut();
            return books.for_each(|book| book.watch.mark_unwatched(at, *until, cause));
        }
        self.at = *until;
        for i in 0..self.books.len() {
            let findings = self
                .books
                .get_mut(i)
                .map(|book| book.set_back(wrong_since, at, *until, cause));
            self.tell_findings(i, findings.unwrap_or_default(), *until, out);
        }
    }
}
