//! A clock that was ahead and was set back, as far as gaps are concerned.

use crate::domain::model::{Bar, Interval, Session, Sessions, Slot, Timestamp};
use crate::domain::pipeline::BarBuilder;

/// The clock was set back, and what a tracker has to know of it.
pub(crate) struct SetBack<'a> {
    /// Since when the clock was wrong, as far as is known.
    pub(crate) wrong_since: Timestamp,
    /// The last instant of the wrong clock.
    pub(crate) since: Timestamp,
    /// The first instant after it, which is earlier.
    pub(crate) until: Timestamp,
    /// Why: a name fit for a gap's cause.
    pub(crate) cause: &'a str,
    /// When there are sessions.
    pub(crate) sessions: &'a dyn Sessions,
    /// The session whose slots are open again.
    pub(crate) session: Option<Session>,
    /// Those that are not over at this instant are.
    pub(crate) from: Timestamp,
    /// What is known of bars, of every interval.
    pub(crate) builders: &'a [&'a BarBuilder],
}

impl SetBack<'_> {
    /// Whether a slot that was closed is open again.
    pub(crate) fn reopened(&self, slot: Slot) -> bool {
        let own = self.session.is_some_and(|session| session.contains(slot.opens_at));
        own && self.from < slot.closes_at
    }

    /// Whether the bars of a slot's session are known still.
    fn knows(&self, slot: Slot) -> bool {
        let mut sessions = self.builders.iter().filter_map(|builder| builder.session());
        sessions.any(|session| session.contains(slot.opens_at))
    }

    /// The last revision of a closed bar.
    pub(crate) fn bar(&self, interval: Interval, opens_at: Timestamp) -> Option<Bar> {
        let mut own = self.builders.iter().filter(|builder| builder.interval() == interval);
        own.find_map(|builder| builder.closed_bar(opens_at)).copied()
    }

    /// Whether a slot was not over yet when something was decided of it: the wrong clock says by how much it was wrong.
    pub(crate) fn too_early(&self, slot: Slot, decided_at: Timestamp) -> bool {
        let ahead = self.since.since(self.until);
        self.wrong_since <= decided_at && self.knows(slot) && slot.closes_at > decided_at - ahead
    }
}
