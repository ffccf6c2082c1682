//! Sets back what a clock that was ahead closed or decided too early.
//!
//! Slots that are not over by the right time form again, a session that was closed early continues, and an answer of the vendor about a
//! slot that was not over is no longer evidence.

use super::agenda::Appointment;
use crate::domain::model::{SessionPhase, Timestamp};
use crate::domain::pipeline::{BarBuilder, GapChange, SetBack, SymbolState};
use std::sync::Arc;

impl SymbolState {
    /// Market time, wrong since `wrong_since`, was set back from `since` to `until`. Returns the gaps that change.
    #[must_use]
    pub(in crate::domain) fn set_back(
        &mut self,
        wrong_since: Timestamp,
        since: Timestamp,
        until: Timestamp,
        cause: &str,
    ) -> Vec<GapChange> {
        self.outages.set_back(until, cause);
        self.judge.set_back(until);
        self.prices.set_back(until);
        self.partial_told_at = self.partial_told_at.min(until);
        // When the session was interrupted, no bar is expected before its last part.
        let from = self.pauses.iter().fold(until, |from, (_, to)| from.max(*to));
        self.builders.iter_mut().for_each(|builder| builder.reopen_slots(from));
        self.quiet.retain(|slot| slot.closes_at <= from);
        self.go_on_early(until);

        let sessions = Arc::clone(&self.market.sessions);
        let past = self.past.iter().flat_map(|past| &past.builders);
        let builders: Vec<&BarBuilder> = past.chain(&self.builders).collect();
        let mut findings = Vec::new();
        for gaps in [Some(&mut self.gaps), self.minutes.as_mut()].into_iter().flatten() {
            let back = SetBack {
                wrong_since,
                since,
                until,
                cause,
                sessions: &*sessions,
                session: self.session,
                from,
                builders: &builders,
            };
            findings.extend(gaps.set_back(&back, &mut self.gap_ids));
        }
        findings
    }

    /// Reopens a session that was closed before its time.
    fn go_on_early(&mut self, now: Timestamp) {
        let running = self
            .agenda
            .is_some_and(|next| matches!(next.phase, SessionPhase::ClosingSoon | SessionPhase::Closed));
        let present = self.market.sessions.at(now).filter(|_| !running);
        if let Some(session) = present.filter(|session| self.session.is_some_and(|told| told.date == session.date)) {
            self.agenda = Some(Appointment {
                at: now,
                phase: SessionPhase::Open,
                session,
            });
        }
    }
}
