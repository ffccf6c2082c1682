//! A calendar that was corrected while the service runs: what it says of the present and of the next session holds from now on.

use super::{Appointment, Book};
use crate::domain::event::SessionPhase;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::limits;

impl Book {
    /// Looks at the calendar again, if it is another than at the last look.
    pub(in crate::domain) fn replan(&mut self, now: Timestamp) {
        let edition = self.market.sessions.edition();
        if std::mem::replace(&mut self.edition, edition) == edition {
            return;
        }
        let present = self.market.sessions.at(now);
        match self.agenda {
            Some(next) if matches!(next.phase, SessionPhase::ClosingSoon | SessionPhase::Closed) => {
                let told = next.session;
                let corrected = present.filter(|session| session.opens == told.opens);
                self.correct(corrected.unwrap_or(Session { closes: now, ..told }), next.phase, now);
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
    }

    /// The session that runs ends at another time than was told.
    fn correct(&mut self, session: Session, phase: SessionPhase, now: Timestamp) {
        self.session = Some(session);
        for builder in &mut self.builders {
            builder.correct_session(session);
        }
        let soon = session.closes - limits::SESSION_SOON;
        let (at, phase) = match phase {
            SessionPhase::ClosingSoon if soon > now => (soon, SessionPhase::ClosingSoon),
            _ => (session.closes, SessionPhase::Closed),
        };
        self.agenda = Some(Appointment { at, phase, session });
    }
}
