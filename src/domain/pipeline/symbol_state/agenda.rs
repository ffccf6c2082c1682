//! Schedules the phases of a pair's session: opening soon, open, closing soon, closed.
//!
//! ```text
//!  … opening soon ──► open ──► closing soon ──► closed ──► (night) ──► opening soon …
//!                       ▲                          │
//!                       └─ its last bars closed ◄──┘  the next session opens where this one closes
//! ```
//!
//! A session that follows without a break opens when the bars of the previous one are closed, a moment after its time. Its prices wait
//! until then and are recorded again in its own file ([`InputKind::CarriedTick`](crate::domain::model::InputKind)), so that its day can be
//! replayed alone.

use crate::domain::model::{AcceptedTick, LinkChange, Session, SessionChange, SessionPhase, Tick, Timestamp};
use crate::domain::pipeline::{BarBuilder, PairCounts, SymbolState};
use crate::limits;
use std::time::Duration;

/// The next phase of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appointment {
    pub(super) at: Timestamp,
    pub(super) phase: SessionPhase,
    pub(super) session: Session,
}

impl SymbolState {
    /// Schedules the opening of the next session.
    pub(super) fn await_session(&mut self, now: Timestamp) {
        let last = self.session.map(|last| last.date);
        let sessions = &self.market.sessions;
        // The next session may have opened already, at the very instant at which the last one closed.
        let follows = sessions
            .at(now)
            .filter(|next| last.is_some_and(|last| last < next.date));
        self.agenda = follows.or_else(|| sessions.after(now)).map(|session| {
            let soon = session.opens - limits::SESSION_SOON;
            let (at, phase) = if soon >= now {
                (soon, SessionPhase::OpeningSoon)
            } else {
                (self.can_open(session), SessionPhase::Open)
            };
            Appointment { at, phase, session }
        });
    }

    /// When a session can open: not before the bars of the previous one are closed, because these belong to their own session's file.
    pub(super) fn can_open(&self, session: Session) -> Timestamp {
        let unclosed = self.builders.iter().any(|builder| builder.next_deadline().is_some());
        let last = self.session.filter(|last| unclosed && last.date != session.date);
        let closed = last.map(|last| last.closes + self.market.lateness + Duration::from_micros(1));
        closed.map_or(session.opens, |closed| closed.max(session.opens))
    }

    /// Since when the link counts as up in a session whose opening at `at` records that it is: the session may have opened a moment late.
    pub(in crate::domain) fn opened_at(&self, at: Timestamp) -> Timestamp {
        let waits = self.market.lateness + Duration::from_millis(1);
        let opened = self.session.filter(|session| at.since(session.opens) <= waits);
        opened.map_or(at, |session| session.opens.min(at))
    }

    /// The state of the link when the session opens, for its file: up, down since before, or up again after an outage that reaches into the
    /// session.
    pub(in crate::domain) fn link_at_open(&self) -> Option<LinkChange> {
        let symbols = vec![self.market.symbol];
        let lost = self.session.and_then(|session| self.outages.lost_after(session.opens));
        match lost.map(|(cause, to)| (cause.to_owned(), to)) {
            Some((cause, None)) => Some(LinkChange::Lost { symbols, cause }),
            Some((cause, Some(until))) => Some(LinkChange::Missed { symbols, until, cause }),
            None => self.outages.is_up().then_some(LinkChange::Up { symbols }),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let slots = self.builders.iter().filter_map(BarBuilder::next_deadline);
        // A session does not change phase while bars of the previous one wait to be closed.
        slots.chain(self.agenda.map(|next| next.at)).min()
    }

    /// Whether the next phase is that the session opens.
    pub(crate) fn awaits_opening(&self) -> bool {
        self.agenda
            .as_ref()
            .is_some_and(|next| next.phase == SessionPhase::Open)
    }

    /// Begins the phase that is due.
    pub(in crate::domain) fn turn_session(&mut self, due: Timestamp) -> Option<SessionChange> {
        let Appointment { phase, mut session, .. } = self.agenda.filter(|next| next.at <= due)?;
        match phase {
            SessionPhase::OpeningSoon => self.appoint(self.can_open(session), SessionPhase::Open, session),
            SessionPhase::Open => {
                match self.session.filter(|told| told.date == session.date) {
                    Some(told) => session = self.reopen_session(told, session),
                    None => self.begin_session(session),
                }
                let soon = (session.closes - limits::SESSION_SOON).max(due);
                self.appoint(soon.min(session.closes), SessionPhase::ClosingSoon, session);
            }
            SessionPhase::ClosingSoon => self.appoint(session.closes, SessionPhase::Closed, session),
            SessionPhase::Closed => {
                self.prices.end_session();
                self.await_session(due);
            }
        }
        let Session {
            date,
            opens,
            closes,
            kind,
        } = session;
        Some(SessionChange {
            symbol: self.market.symbol,
            phase,
            date,
            kind,
            opens,
            closes,
        })
    }

    const fn appoint(&mut self, at: Timestamp, phase: SessionPhase, session: Session) {
        self.agenda = Some(Appointment { at, phase, session });
    }

    /// Whether a price is timestamped inside the session that is about to open, no further ahead of our clock than clocks differ.
    pub(in crate::domain) fn opens_with(&self, tick: &Tick, at: Timestamp) -> bool {
        let coming = self.agenda.filter(|next| {
            let opens = next.session.opens;
            next.phase == SessionPhase::Open && at < opens && opens <= at + limits::FUTURE_TOLERANCE
        });
        tick.symbol == self.market.symbol
            && tick.at <= at + limits::FUTURE_TOLERANCE
            && coming.is_some_and(|next| next.session.contains(self.place(tick)))
    }

    /// Opens the next session now.
    pub(in crate::domain) fn open_at(&mut self, at: Timestamp) {
        if let Some(next) = self.agenda.as_mut().filter(|next| next.phase == SessionPhase::Open) {
            next.at = next.at.min(at);
        }
    }

    /// Begins a session of a new date.
    fn begin_session(&mut self, session: Session) {
        self.keep_session();
        self.counted = PairCounts::default();
        self.session = Some(session);
        self.judge.open_session();
        self.audit.forget();
        self.prices.open_session();
        self.held.clear();
        self.pauses.clear();
        self.quiet.clear();
        for builder in &mut self.builders {
            builder.open_session(session);
        }
    }

    /// Keeps a tick of a session that cannot open yet. Returns whether the tick is one.
    pub(in crate::domain) fn keep_for_open(&mut self, tick: &Tick, received_at: Timestamp) -> bool {
        let Some(opening) = self.agenda.as_ref().filter(|next| next.phase == SessionPhase::Open) else {
            return false;
        };
        let place = self.place(tick);
        let waits = opening.session.contains(place) && opening.session.opens <= received_at;
        let follows = self.session.is_some_and(|last| last.closes <= place) && self.waiting.len() < limits::TICKS_HELD;
        if waits && follows {
            self.waiting.push(AcceptedTick {
                tick: *tick,
                received_at,
            });
        }
        waits && follows
    }

    /// The ticks that waited for the session that has just opened.
    pub(in crate::domain) fn take_waiting(&mut self) -> Vec<AcceptedTick> {
        self.carried = std::mem::take(&mut self.waiting);
        self.carried.clone()
    }

    /// Whether ticks that the opening released are still to be replayed. The recorded close before them is then already known.
    pub(in crate::domain) const fn has_carried(&self) -> bool {
        !self.carried.is_empty()
    }

    /// Removes a tick that is recorded again in the session's file. Returns whether the opening has already released it.
    pub(in crate::domain) fn take_carried(&mut self, carried: &AcceptedTick) -> bool {
        let place = self.carried.iter().position(|known| known == carried);
        place.map(|place| self.carried.remove(place)).is_some()
    }

    /// Keeps a tick after the last session's end, in case the session continues.
    pub(crate) fn hold(&mut self, tick: Tick, at: Timestamp) {
        if self
            .session
            .is_some_and(|session: Session| session.closes <= self.place(&tick))
            && self.held.len() < limits::TICKS_HELD
        {
            self.held.push_back((tick, at));
        }
    }

    /// The held ticks that belong to the session as it is now.
    pub(crate) fn release_held(&mut self, now: Timestamp) -> Vec<(Tick, Timestamp)> {
        let held = std::mem::take(&mut self.held);
        if let Some((last, _)) = held.back().filter(|_| held.len() >= limits::TICKS_HELD)
            && self.outages.is_up()
        {
            self.outages.mark_down(last.at, "session_closed"); // what came after it was not kept
            self.outages.mark_up(now);
        }
        held.into_iter()
            .filter(|(tick, _)| self.in_session(self.place(tick)))
            .collect()
    }
}
