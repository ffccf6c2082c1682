//! Corrections of what decides when bars close: corrected calendars, and a clock that is set.

use super::Pipeline;
use crate::domain::model::{Input, InputKind, JournalEntry, KnownSessions, Timestamp, Unwatched};
use chrono::NaiveDate;

/// The cause of a period in which nothing was received although the clock was right throughout.
const PROCESS_PAUSED: &str = "process_paused";

impl Pipeline {
    /// Restores the calendar that was known for a pair when the day's file began, before any replay.
    pub fn restore_calendar(&mut self, known: &KnownSessions) {
        let pairs = self.pairs.iter_mut();
        for pair in pairs.filter(|pair| pair.market.symbol == known.symbol) {
            pair.restore_calendar(known.clone(), self.at);
            pair.doubt_calendar();
        }
        self.replan();
    }

    /// Records and applies corrected calendars.
    pub(super) fn correct_calendars(&mut self, now: Timestamp, out: &mut Vec<JournalEntry>) {
        let heard = self.heard;
        // What was due before it comes after it: sessions that were missed open and close by the corrected calendar.
        let missed = self.next_deadline().is_some_and(|due| due <= now);
        let at = if missed { self.at } else { now };
        let mut corrected = false;
        for pair in &mut self.pairs {
            if !pair.edition_changed() {
                continue;
            }
            let Some(known) = pair.find_correction(at) else {
                continue;
            };
            self.at = at;
            corrected = true;
            out.push(JournalEntry::Input(Input {
                at,
                what: InputKind::Calendar(known.clone()),
            }));
            let Some(lacking) = pair.apply_calendar(known, heard, at) else {
                continue;
            };
            out.push(JournalEntry::Input(Input {
                at,
                what: InputKind::MissingBars(lacking.clone()),
            }));
            pair.open_missing(&lacking, at, &mut self.sequencer, &mut self.counts, out);
        }
        if corrected {
            self.replan();
        }
    }

    /// Applies a recorded correction in a replay. The bars that it makes expected are an input of their own; the calendar itself is checked
    /// after the replay.
    pub(super) fn apply_calendar(&mut self, known: &KnownSessions, at: Timestamp) {
        let pairs = self.pairs.iter_mut();
        for pair in pairs.filter(|pair| pair.market.symbol == known.symbol) {
            drop(pair.apply_calendar(known.clone(), self.heard, at));
            pair.doubt_calendar();
        }
    }

    /// An empty ledger begins with the known calendar of every pair, which may be corrected before the first session opens.
    pub(super) fn begin_ledger(&mut self, out: &mut Vec<JournalEntry>) {
        if std::mem::take(&mut self.blank) {
            self.carry_calendars(NaiveDate::MIN, out);
        }
    }

    /// Records the known calendar of every pair at the beginning of a session's file.
    pub(super) fn carry_calendars(&mut self, opened: NaiveDate, out: &mut Vec<JournalEntry>) {
        let pairs = self.pairs.iter_mut();
        out.extend(pairs.map(|pair| {
            JournalEntry::Input(Input {
                at: self.at,
                what: InputKind::Calendar(pair.carry_calendar(opened, self.at)),
            })
        }));
    }

    pub(super) fn knows_calendar(&self, known: &KnownSessions) -> bool {
        self.pairs.iter().any(|pair| pair.knows_calendar(known))
    }

    /// Market time moved from `at` to another instant while nothing was received.
    pub(super) fn apply_unwatched(&mut self, unwatched: &Unwatched, at: Timestamp, out: &mut Vec<JournalEntry>) {
        let Unwatched { until, cause } = unwatched;
        let wrong_since = self.clock_since;
        if cause != PROCESS_PAUSED {
            self.clock_since = *until;
        }
        if at <= *until {
            let pairs = self.pairs.iter_mut();
            return pairs.for_each(|pair| pair.outages.mark_unwatched(at, *until, cause));
        }
        (self.at, self.heard) = (*until, *until);
        for i in 0..self.pairs.len() {
            let findings = self
                .pairs
                .get_mut(i)
                .map(|pair| pair.set_back(wrong_since, at, *until, cause));
            self.tell_findings(i, findings.unwrap_or_default(), *until, out);
        }
    }
}
