//! When the feed of one symbol was received, and when and why it was not.
//!
//! ```text
//!   never received ──up──► up ◄──up── down(cause)
//!                          └──down──────▲
//! ```

use crate::domain::model::{Flags, Slot, Timestamp};
use crate::limits;
use std::collections::VecDeque;

/// A period in which no price could arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outage {
    from: Timestamp,
    /// `None` while it lasts.
    to: Option<Timestamp>,
    cause: String,
    /// Whether the feed had never been up before it.
    first: bool,
}

/// The outages of one symbol's feed, newest last, as far back as bars may need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutageLog {
    outages: VecDeque<Outage>,
    /// Incremented with each interruption.
    line: u64,
}

impl OutageLog {
    /// A log that is down until the first [`OutageLog::mark_up`].
    pub fn new() -> Self {
        let never = Outage {
            from: Timestamp::from_micros(i64::MIN),
            to: None,
            cause: "not_connected".to_owned(),
            first: true,
        };
        Self {
            outages: VecDeque::from([never]),
            line: 0,
        }
    }

    /// The number of the present uninterrupted line. Changes with each loss of the link, pause of the process and step of the clock.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The feed is up from `now` on.
    pub fn mark_up(&mut self, now: Timestamp) {
        if let Some(outage) = self.outages.back_mut() {
            outage.to.get_or_insert(now);
        }
    }

    /// The feed is down since `from`.
    pub fn mark_down(&mut self, from: Timestamp, cause: &str) {
        self.line = self.line.saturating_add(1);
        match self.outages.back_mut() {
            Some(outage) if outage.to.is_none() => {
                if !outage.first {
                    cause.clone_into(&mut outage.cause);
                }
            }
            _ => self.outages.push_back(Outage {
                from,
                to: None,
                cause: cause.to_owned(),
                first: false,
            }),
        }
        if self.outages.len() > limits::OUTAGES_REMEMBERED {
            self.outages.pop_front();
        }
    }

    /// The cause and the end of the newest outage, if it lasted beyond `since` and the feed had been up before it.
    pub fn lost_after(&self, since: Timestamp) -> Option<(&str, Option<Timestamp>)> {
        let last = self.outages.back()?;
        (!last.first && last.to.is_none_or(|to| since < to)).then_some((last.cause.as_str(), last.to))
    }

    /// Applies a recorded outage to a day that is replayed alone: the feed was up on an earlier day, and then down until `to`.
    pub fn carry_loss(&mut self, cause: &str, to: Option<Timestamp>) {
        if let Some(outage) = self.outages.back_mut().filter(|outage| outage.to.is_none()) {
            (outage.first, outage.to) = (false, to);
            cause.clone_into(&mut outage.cause);
        }
    }

    /// Nothing was received from `from` to `to`, although the link may have been up.
    pub fn mark_unwatched(&mut self, from: Timestamp, to: Timestamp, cause: &str) {
        if self.is_up() {
            self.mark_down(from, cause);
            self.mark_up(to);
        }
    }

    /// The clock was set back to `now`: later instants come from the wrong clock and are moved back. Nothing counts as received before
    /// `now`.
    pub fn set_back(&mut self, now: Timestamp, cause: &str) {
        self.line = self.line.saturating_add(1);
        let up = self.is_up();
        for outage in &mut self.outages {
            outage.from = outage.from.min(now);
            outage.to = outage.to.map(|to| to.min(now));
        }
        // Only the wrong clock knows since when the feed was up.
        if up && let Some(outage) = self.outages.back_mut() {
            outage.to = Some(now);
            if !outage.first {
                cause.clone_into(&mut outage.cause);
            }
        }
    }

    /// Whether the feed is up now.
    pub fn is_up(&self) -> bool {
        self.outages.back().is_none_or(|outage| outage.to.is_some())
    }

    /// The outage flags of a bar of this slot.
    pub fn flags_of(&self, slot: Slot) -> Flags {
        let mut flags = Flags::default();
        for outage in self.outages_in(slot) {
            flags = flags.with(if outage.first {
                Flags::LATE_START
            } else {
                Flags::FEED_GAP
            });
        }
        flags
    }

    /// The cause of the longest outage in this slot; `None` when the feed was up throughout.
    pub fn cause_of(&self, slot: Slot) -> Option<&str> {
        let longest = self.outages_in(slot).max_by_key(|outage: &&Outage| {
            outage
                .to
                .unwrap_or(slot.closes_at)
                .min(slot.closes_at)
                .since(outage.from.max(slot.opens_at))
        })?;
        Some(&longest.cause)
    }

    fn outages_in(&self, slot: Slot) -> impl Iterator<Item = &Outage> {
        self.outages
            .iter()
            .filter(move |outage| outage.from < slot.closes_at && outage.to.is_none_or(|to| slot.opens_at < to))
    }
}

impl Default for OutageLog {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn slot(from: i64) -> Slot {
        Slot {
            opens_at: at(from),
            closes_at: at(from + 300),
        }
    }

    #[test]
    fn a_slot_begun_before_we_watched_is_a_late_start_and_an_outage_later_is_a_feed_gap() {
        let mut watch = OutageLog::new();
        assert_eq!(watch.cause_of(slot(0)), Some("not_connected"));
        watch.mark_up(at(100));
        watch.mark_down(at(700), "upstream_close_1006");
        watch.mark_up(at(710));
        assert_eq!(watch.flags_of(slot(0)), Flags::LATE_START);
        assert_eq!(watch.flags_of(slot(300)), Flags::default());
        assert_eq!(watch.cause_of(slot(300)), None);
        assert_eq!(watch.flags_of(slot(600)), Flags::FEED_GAP);
        assert_eq!(watch.cause_of(slot(600)), Some("upstream_close_1006"));
        assert_eq!(watch.flags_of(slot(900)), Flags::default());
    }

    #[test]
    fn of_several_outages_the_longest_is_the_cause() {
        let mut watch = OutageLog::new();
        watch.mark_up(at(0));
        for (down, up, cause) in [(10, 100, "upstream_close_1006"), (110, 120, "silent")] {
            watch.mark_down(at(down), cause);
            watch.mark_up(at(up));
        }
        assert_eq!(watch.cause_of(slot(0)), Some("upstream_close_1006"));
    }

    #[test]
    fn an_outage_that_ends_where_the_slot_begins_does_not_touch_it() {
        let mut watch = OutageLog::new();
        watch.mark_up(at(300));
        assert_eq!(watch.flags_of(slot(300)), Flags::default());
        watch.mark_down(at(600), "x");
        assert_eq!(watch.flags_of(slot(300)), Flags::default());
        assert!(!watch.is_up());
    }

    #[test]
    fn a_stretch_that_nobody_watched_is_an_outage_of_a_feed_that_was_up() {
        let mut watch = OutageLog::new();
        watch.mark_unwatched(at(0), at(100), "process_paused");
        assert_eq!(watch.cause_of(slot(0)), Some("not_connected"));
        watch.mark_up(at(300));
        watch.mark_unwatched(at(700), at(1_300), "process_paused");
        assert!(watch.is_up());
        assert_eq!(
            (watch.flags_of(slot(600)), watch.cause_of(slot(600))),
            (Flags::FEED_GAP, Some("process_paused"))
        );
        assert_eq!(
            (watch.flags_of(slot(1_200)), watch.flags_of(slot(1_500))),
            (Flags::FEED_GAP, Flags::default())
        );
    }

    #[test]
    fn a_clock_set_back_leaves_nothing_watched_before_it() {
        let mut watch = OutageLog::new();
        watch.mark_up(at(3_900));
        watch.set_back(at(400), "clock_stepped");
        assert_eq!(watch.flags_of(slot(300)), Flags::LATE_START);
        assert_eq!(watch.flags_of(slot(600)), Flags::default());
        watch.mark_down(at(950), "silent");
        watch.mark_up(at(4_000));
        watch.set_back(at(1_000), "clock_stepped");
        assert_eq!(
            (watch.flags_of(slot(900)), watch.flags_of(slot(1_200))),
            (Flags::FEED_GAP, Flags::default())
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut watch = OutageLog::new();
        for i in 0..10_000 {
            watch.mark_up(at(i * 10));
            watch.mark_down(at(i * 10 + 5), "flapping");
        }
        assert!(watch.outages.len() <= limits::OUTAGES_REMEMBERED);
    }
}
