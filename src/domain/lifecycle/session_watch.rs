//! Follows the sessions of every pair, and reports each turn once, whatever the clock or the calendar does.
//!
//! ```text
//! idle ──lead──► coming ──soon──► soon ──opens──► open ──soon──► closing ──closes──► idle
//! ```
//! The first look reports where each market is, closed markets included. If a look comes late, or the clock jumped ahead, the turns in
//! between are reported in order, skipped sessions included. A clock that steps back a little never opens a session twice.

use crate::domain::calendar::Calendar;
use crate::domain::lifecycle::Event;
use crate::domain::model::{Session, Sessions, Symbol, Timestamp};
use crate::limits;
use std::time::Duration;

/// The stage of a pair's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The next session is not near.
    Idle,
    /// It opens within the gate's lead time.
    Coming,
    /// It opens within [`limits::SESSION_SOON`].
    Soon,
    /// It is open.
    Open,
    /// It closes within [`limits::SESSION_SOON`].
    Closing,
}

/// A change of stage of a pair's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The pair.
    pub symbol: Symbol,
    /// Its session.
    pub session: Session,
    /// The stage that begins; `Idle` when the session closed.
    pub stage: Stage,
    /// Whether the next session follows the one that closes without a break.
    pub unbroken: bool,
}

impl Turn {
    /// The life cycle's event for this turn. A close without a break is none.
    pub const fn event(&self) -> Option<Event> {
        match self.stage {
            Stage::Coming => Some(Event::SessionComing(self.symbol)),
            Stage::Soon => Some(Event::OpeningSoon(self.symbol)),
            Stage::Open => Some(Event::SessionOpened(self.symbol)),
            Stage::Idle if !self.unbroken => Some(Event::SessionClosed(self.symbol)),
            Stage::Idle | Stage::Closing => None,
        }
    }
}

/// The market of one pair.
#[derive(Debug, Clone)]
struct Market {
    symbol: Symbol,
    calendar: Calendar,
    /// The session that is followed, and its stage; `None` before the first look.
    seen: Option<(Session, Stage)>,
}

/// The markets of all pairs.
#[derive(Debug, Clone)]
pub struct SessionWatch {
    markets: Vec<Market>,
    lead: Duration,
}

impl SessionWatch {
    /// Follows these pairs. `lead` is how long before the open the gate begins to wait.
    pub fn new(markets: impl IntoIterator<Item = (Symbol, Calendar)>, lead: Duration) -> Self {
        let markets = markets.into_iter().map(|(symbol, calendar)| Market {
            symbol,
            calendar,
            seen: None,
        });
        Self {
            markets: markets.collect(),
            lead,
        }
    }

    /// Sets a pair's corrected calendar; the next call of `turns_until` reports the turns that follow from it.
    pub fn recalendar(&mut self, symbol: Symbol, calendar: Calendar) {
        for market in self.markets.iter_mut().filter(|market| market.symbol == symbol) {
            market.calendar = calendar.clone();
        }
    }

    /// The present calendars.
    pub fn calendars(&self) -> impl Iterator<Item = (Symbol, &Calendar)> {
        self.markets.iter().map(|market| (market.symbol, &market.calendar))
    }

    /// Reports every turn up to `now`, in order of time for each pair.
    #[must_use]
    pub fn turns_until(&mut self, now: Timestamp) -> Vec<Turn> {
        let lead = self.lead;
        self.markets
            .iter_mut()
            .flat_map(|market| market.turns_until(now, lead))
            .collect()
    }

    /// When the next turn is due; `None` if no calendar has another session.
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        self.markets
            .iter()
            .filter_map(|market| market.next_turn(now, self.lead))
            .min()
    }
}

impl Market {
    /// The session to follow at an instant: the present one, else the next.
    fn session_to_follow(&self, now: Timestamp) -> Option<Session> {
        self.calendar.at(now).or_else(|| self.calendar.after(now))
    }

    fn turns_until(&mut self, now: Timestamp, lead: Duration) -> Vec<Turn> {
        let Some(session) = self.session_to_follow(now) else {
            let last = self.seen.take();
            return last
                .into_iter()
                .filter_map(|(session, stage)| self.close_turn(session, stage))
                .collect();
        };
        let stage = stage_of(&session, now, lead);
        let turns = match self.seen {
            None => {
                let last = self.calendar.before(now).filter(|_| stage < Stage::Open);
                let closed = last.and_then(|last| self.close_turn(last, Stage::Closing));
                closed
                    .into_iter()
                    .chain(self.turns_between(session, Stage::Idle, stage))
                    .collect()
            }
            Some((seen, before)) if seen.date == session.date => {
                if before >= Stage::Open && stage < Stage::Open && session.opens <= now + limits::CLOCK_STEP {
                    return Vec::new(); // the clock was set back a little: the session stays open
                }
                let closed = if stage < Stage::Open {
                    self.close_turn(seen, before)
                } else {
                    None
                };
                let from = if closed.is_some() { Stage::Idle } else { before };
                closed
                    .into_iter()
                    .chain(self.turns_between(session, from, stage))
                    .collect()
            }
            Some((seen, before)) => {
                let closed = self.close_turn(seen, before).map(|turn| Turn {
                    unbroken: seen.closes == session.opens && stage >= Stage::Open,
                    ..turn
                });
                let skipped = self.skipped_turns(seen, before, session);
                closed
                    .into_iter()
                    .chain(skipped)
                    .chain(self.turns_between(session, Stage::Idle, stage))
                    .collect()
            }
        };
        self.seen = Some((session, stage));
        turns
    }

    /// The turn that closes a session, if it was open.
    fn close_turn(&self, session: Session, stage: Stage) -> Option<Turn> {
        (stage >= Stage::Open).then_some(Turn {
            symbol: self.symbol,
            session,
            stage: Stage::Idle,
            unbroken: false,
        })
    }

    /// The turns of one session from one stage (exclusive) to another. For a session that is already open, `Coming` and `Soon` are left
    /// out.
    fn turns_between(&self, session: Session, from: Stage, to: Stage) -> Vec<Turn> {
        let awaited = [Stage::Coming, Stage::Soon].into_iter().filter(|_| to < Stage::Open);
        let stages = awaited.chain([Stage::Open, Stage::Closing]);
        let passed = stages.filter(|stage| from < *stage && *stage <= to);
        passed
            .map(|stage| Turn {
                symbol: self.symbol,
                session,
                stage,
                unbroken: false,
            })
            .collect()
    }

    /// Opening and closing of the last few sessions during which there was no look.
    fn skipped_turns(&self, seen: Session, before: Stage, present: Session) -> Vec<Turn> {
        let mut sessions = Vec::new();
        let mut cursor = present;
        while let Some(session) = self
            .calendar
            .before(cursor.opens)
            .filter(|_| sessions.len() < limits::SESSIONS_SKIPPED)
        {
            if session.date < seen.date || (session.date == seen.date && before >= Stage::Open) {
                break;
            }
            sessions.push(session);
            cursor = session;
        }
        sessions.reverse();
        let turns = sessions.into_iter().flat_map(|session| {
            [Stage::Open, Stage::Idle].map(|stage| Turn {
                symbol: self.symbol,
                session,
                stage,
                unbroken: false,
            })
        });
        turns.collect()
    }

    fn next_turn(&self, now: Timestamp, lead: Duration) -> Option<Timestamp> {
        let session = self.session_to_follow(now)?;
        let soon = limits::SESSION_SOON;
        let turns = [
            session.opens - lead,
            session.opens - soon,
            session.opens,
            session.closes - soon,
            session.closes,
        ];
        turns.into_iter().find(|turn| *turn > now)
    }
}

fn stage_of(session: &Session, now: Timestamp, lead: Duration) -> Stage {
    match session {
        session if session.contains(now) && session.closes <= now + limits::SESSION_SOON => Stage::Closing,
        session if session.contains(now) => Stage::Open,
        session if session.opens <= now + limits::SESSION_SOON => Stage::Soon,
        session if session.opens <= now + lead => Stage::Coming,
        _ => Stage::Idle,
    }
}

#[cfg(test)]
#[path = "tests/session_watch.rs"]
mod tests;
