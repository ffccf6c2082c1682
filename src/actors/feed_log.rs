//! What an operator reads of the link: the first of equal failures, every other change, and now and then how often.

use crate::actors::opening::NotOpen;
use crate::domain::event::LinkChange;
use crate::domain::repeats::Repeats;
use crate::domain::timestamp::Timestamp;

/// What was said, so that it is not said again.
#[derive(Debug, Default)]
pub(super) struct FeedLog {
    attempts: Repeats,
    falls: Repeats,
    /// The last fall was said: so is the rise after it.
    fall_said: bool,
    down_since: Option<Timestamp>,
}

impl FeedLog {
    /// An attempt failed.
    pub(super) fn not_open(&mut self, why: &NotOpen, now: Timestamp) {
        match why {
            NotOpen::NoKey(refused) => {
                if let Some(times) = self.attempts.again(refused.reason, now) {
                    tracing::warn!(error = %refused, times, "failed to lease a key for the link");
                }
            }
            NotOpen::Failed(failure) => {
                if let Some(times) = self.attempts.again(failure.kind(), now) {
                    tracing::warn!(error = %failure, times, "failed to open the link");
                }
            }
        }
    }

    /// The link went up or down.
    pub(super) fn changed(&mut self, change: &LinkChange, now: Timestamp) {
        match change {
            LinkChange::Up { symbols } => {
                let failed = self.attempts.over().unwrap_or(0);
                let down_s = self.down_since.take().map_or(0, |since| now.since(since).as_secs());
                if std::mem::replace(&mut self.fall_said, true) || failed > 0 {
                    tracing::info!(?symbols, down_s, failed, "link up");
                }
            }
            LinkChange::Down { cause } => {
                self.down_since = self.down_since.or(Some(now));
                let times = self.falls.again(cause, now);
                self.fall_said = times.is_some();
                match times {
                    Some(times) if cause != "stopped" => tracing::warn!(cause, times, "link down"),
                    _ => tracing::debug!(cause, "link down"),
                }
            }
            LinkChange::Alive | LinkChange::Lost { .. } | LinkChange::Doubt { .. } => {}
        }
    }
}
