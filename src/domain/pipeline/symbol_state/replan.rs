//! Applies a calendar that is corrected while the service runs: its present and next session take effect at once.
//!
//! A session keeps its published open. Its end may move, even after it was closed: the session of the same date then continues, with all
//! its bars and revisions. Slots that a corrected calendar puts before the open are missing history.

use super::agenda::Appointment;
use crate::domain::model::{KnownSessions, MissingBars, RecordedSessions, Session, SessionPhase, Timestamp};
use crate::domain::pipeline::SymbolState;
use crate::limits;
use chrono::NaiveDate;
use std::sync::Arc;

impl SymbolState {
    /// Schedules the opening of the first session.
    pub(super) fn plan_first(&mut self, now: Timestamp) {
        let open = self.market.sessions.at(now).map(|session| Appointment {
            at: now,
            phase: SessionPhase::Open,
            session,
        });
        self.agenda = open;
        if self.agenda.is_none() {
            self.await_session(now);
        }
    }

    /// Whether the calendar has another edition than when this was last asked. Asked with every price.
    pub(in crate::domain) fn edition_changed(&mut self) -> bool {
        let edition = Some(self.calendar.edition());
        std::mem::replace(&mut self.edition, edition) != edition
    }

    /// The present and the next session of a calendar with another edition; `None` if they are already known.
    pub(in crate::domain) fn find_correction(&self, now: Timestamp) -> Option<KnownSessions> {
        let symbol = self.market.symbol;
        let known_to = self.known.as_ref().and_then(|known| known.to.pred_opt());
        let after = known_to.unwrap_or(NaiveDate::MIN);
        let said = KnownSessions::at(now, after, symbol, &*self.calendar, false);
        let same = self.known.is_some() && said == KnownSessions::at(now, after, symbol, &*self.market.sessions, false);
        (!same).then_some(said)
    }

    /// Records the present and the next session, for the file of the date that has just opened.
    pub(in crate::domain) fn carry_calendar(&mut self, opened: NaiveDate, now: Timestamp) -> KnownSessions {
        let known = KnownSessions::at(now, opened, self.market.symbol, &*self.market.sessions, true);
        self.record_calendar(known.clone());
        known
    }

    /// Begins a day with the calendar that its file records, before any replay.
    pub(in crate::domain) fn restore_calendar(&mut self, known: KnownSessions, now: Timestamp) {
        self.record_calendar(known);
        self.plan_first(now);
    }

    pub(in crate::domain) fn knows_calendar(&self, known: &KnownSessions) -> bool {
        self.known.as_ref() == Some(known)
    }

    /// Makes the next check look at the calendar again.
    pub(in crate::domain) const fn doubt_calendar(&mut self) {
        self.edition = None;
    }

    fn record_calendar(&mut self, known: KnownSessions) {
        self.known = Some(known.clone());
        self.market.sessions = Arc::new(RecordedSessions {
            known,
            calendar: Arc::clone(&self.calendar),
        });
    }

    /// Applies a calendar. `heard` is when the last input before it came: a session that was cut to end between the two closes then. Returns
    /// the slots that the calendar puts before the open of a running session, to be requested.
    #[must_use]
    pub(in crate::domain) fn apply_calendar(
        &mut self,
        known: KnownSessions,
        heard: Timestamp,
        now: Timestamp,
    ) -> Option<MissingBars> {
        self.record_calendar(known);
        let present = self.market.sessions.at(now);
        match self.agenda {
            Some(next) if matches!(next.phase, SessionPhase::ClosingSoon | SessionPhase::Closed) => {
                let told = next.session;
                let corrected = present.filter(|session| session.date == told.date);
                let over = self.market.sessions.on(told.date).0;
                let over = over.filter(|session| heard <= session.closes && session.closes <= now);
                let goes_on = corrected.map(|session| Session {
                    opens: told.opens,
                    ..session
                });
                self.correct_end(
                    goes_on.unwrap_or(Session {
                        closes: over.map_or(told.closes.min(now), |session| session.closes.max(told.opens)),
                        ..told
                    }),
                    next.phase,
                    now,
                );
            }
            _ => match present {
                Some(session) => {
                    self.agenda = Some(Appointment {
                        at: self.can_open(session).max(now),
                        phase: SessionPhase::Open,
                        session,
                    });
                }
                None => self.await_session(now),
            },
        }
        let told = self.session?;
        let present = present.filter(|session| session.date == told.date && session.opens < told.opens)?;
        Some(MissingBars {
            symbol: self.market.symbol,
            cause: "calendar_changed".to_owned(),
            stretches: vec![(present.opens, told.opens)],
        })
    }

    /// Sets the end of the running session.
    fn correct_end(&mut self, session: Session, phase: SessionPhase, now: Timestamp) {
        self.go_on(session, session.opens);
        let soon = session.closes - limits::SESSION_SOON;
        let (at, phase) = match phase {
            SessionPhase::ClosingSoon if soon > now => (soon, SessionPhase::ClosingSoon),
            _ => (session.closes, SessionPhase::Closed),
        };
        self.agenda = Some(Appointment { at, phase, session });
    }

    /// Reopens the session of a date that was open before. No bar is expected between its old end and this opening.
    pub(super) fn reopen_session(&mut self, told: Session, session: Session) -> Session {
        let goes_on = Session {
            opens: told.opens,
            ..session
        };
        if told.closes < session.opens {
            self.pauses.push((told.closes, session.opens));
        }
        self.go_on(goes_on, session.opens);
        goes_on
    }

    fn go_on(&mut self, session: Session, from: Timestamp) {
        self.session = Some(session);
        for builder in &mut self.builders {
            builder.correct_session(session, from);
        }
    }
}
