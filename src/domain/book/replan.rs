//! A calendar that was corrected while the service runs: what it says of the present and of the next session holds from now on.
//!
//! A session keeps the open that was told. Its end may move, also after it was closed: the session of the same date goes on then,
//! with every bar and revision that it has. Slots that a corrected calendar puts before the open are missing history.

use super::{Appointment, Book};
use crate::domain::event::{Lacking, SessionPhase};
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::limits;

impl Book {
    /// Looks at the calendar again, if it is another than at the last look. What it puts before the open of a session that runs
    /// comes back, to be asked for.
    #[must_use]
    pub(in crate::domain) fn replan(&mut self, now: Timestamp) -> Option<Lacking> {
        let edition = self.market.sessions.edition();
        if std::mem::replace(&mut self.edition, edition) == edition {
            return None;
        }
        let present = self.market.sessions.at(now);
        match self.agenda {
            Some(next) if matches!(next.phase, SessionPhase::ClosingSoon | SessionPhase::Closed) => {
                let told = next.session;
                let corrected = present.filter(|session| session.date == told.date);
                let goes_on = corrected.map(|session| Session {
                    opens: told.opens,
                    ..session
                });
                self.correct(goes_on.unwrap_or(Session { closes: now, ..told }), next.phase, now);
            }
            _ => match present {
                Some(session) => {
                    self.agenda = Some(Appointment {
                        at: now,
                        phase: SessionPhase::Open,
                        session,
                    });
                }
                None => self.await_session(now),
            },
        }
        let told = self.session?;
        let present = present.filter(|session| session.date == told.date && session.opens < told.opens)?;
        Some(Lacking {
            symbol: self.market.symbol,
            cause: "calendar_changed".to_owned(),
            stretches: vec![(present.opens, told.opens)],
        })
    }

    /// The session that runs ends at another time than was told.
    fn correct(&mut self, session: Session, phase: SessionPhase, now: Timestamp) {
        self.go_on(session, session.opens);
        let soon = session.closes - limits::SESSION_SOON;
        let (at, phase) = match phase {
            SessionPhase::ClosingSoon if soon > now => (soon, SessionPhase::ClosingSoon),
            _ => (session.closes, SessionPhase::Closed),
        };
        self.agenda = Some(Appointment { at, phase, session });
    }

    /// A session opens whose date was open before: it goes on. Nothing is expected from its old end until it opens again.
    pub(super) fn reopen(&mut self, told: Session, session: Session) -> Session {
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
