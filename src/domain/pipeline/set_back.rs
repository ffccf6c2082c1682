//! The effect on gaps when a clock that was ahead is set back.

use crate::domain::model::{Bar, Interval, Session, Sessions, Slot, Timestamp};
use crate::domain::pipeline::BarBuilder;

/// The correction of the clock, with what a gap tracker needs to know about it.
pub(crate) struct SetBack<'a> {
    /// Since when the clock was wrong, as far as is known.
    pub(crate) wrong_since: Timestamp,
    /// The last instant of the wrong clock.
    pub(crate) since: Timestamp,
    /// The first instant of the corrected clock, which is earlier.
    pub(crate) until: Timestamp,
    /// A name that can be the cause of a gap.
    pub(crate) cause: &'a str,
    /// The sessions of the market.
    pub(crate) sessions: &'a dyn Sessions,
    /// The session whose slots are open again.
    pub(crate) session: Option<Session>,
    /// The slots that end after this instant are open again.
    pub(crate) from: Timestamp,
    /// The known bars, of every interval.
    pub(crate) builders: &'a [&'a BarBuilder],
}

impl SetBack<'_> {
    /// Whether a closed slot is open again.
    pub(crate) fn reopened(&self, slot: Slot) -> bool {
        let own = self.session.is_some_and(|session| session.contains(slot.opens_at));
        own && self.from < slot.closes_at
    }

    /// Whether the bars of a slot's session are still known.
    fn knows(&self, slot: Slot) -> bool {
        let mut sessions = self.builders.iter().filter_map(|builder| builder.session());
        sessions.any(|session| session.contains(slot.opens_at))
    }

    /// The last revision of a closed bar.
    pub(crate) fn bar(&self, interval: Interval, opens_at: Timestamp) -> Option<Bar> {
        let mut own = self.builders.iter().filter(|builder| builder.interval() == interval);
        own.find_map(|builder| builder.closed_bar(opens_at)).copied()
    }

    /// Whether the slot was not over yet when its outcome was decided, given how far the wrong clock was ahead.
    pub(crate) fn too_early(&self, slot: Slot, decided_at: Timestamp) -> bool {
        let ahead = self.since.since(self.until);
        self.wrong_since <= decided_at && self.knows(slot) && slot.closes_at > decided_at - ahead
    }
}
