//! One API key: its usage, and when it may be used again.

use crate::domain::model::Timestamp;
use crate::domain::vendor::{KeyState, KeyView, Purpose, Trouble};
use crate::limits;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The identity of a key: its group, and its number in the group. Shown as `G1_3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeySlot {
    /// The group, from 1.
    pub group: u8,
    /// The number in the group, from 1.
    pub number: u8,
}

impl fmt::Display for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G{}_{}", self.group, self.number)
    }
}

impl FromStr for KeySlot {
    type Err = KeySlotError;

    fn from_str(text: &str) -> Result<Self, KeySlotError> {
        let parts = text.strip_prefix(['G', 'g']).and_then(|rest| rest.split_once('_'));
        let slot = parts.and_then(|(group, number)| {
            Some(Self {
                group: group.parse().ok()?,
                number: number.parse().ok()?,
            })
        });
        slot.ok_or_else(|| KeySlotError(text.chars().take(20).collect()))
    }
}

/// The text does not name a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no key: write its group and number, such as G1_3; `candela keys` lists them")]
pub struct KeySlotError(String);

/// The vendor's limits for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Minimum time between two calls.
    pub spacing: Duration,
    /// Credits in any 60 seconds.
    pub per_minute: u32,
    /// Credits in a UTC day.
    pub per_day: u32,
}

/// The usage of a key that survives restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// The UTC day of the last use.
    pub day: NaiveDate,
    /// The key.
    pub slot: KeySlot,
    /// Credits used on that day.
    pub calls: u32,
    /// Credits used in the 60 seconds up to the last use.
    pub minute: u32,
    /// When it was last used.
    pub last_at: Timestamp,
}

/// The vendor's count of one of its minutes, and our usage since.
#[derive(Debug, Clone, Copy)]
struct VendorMinute {
    starts: Timestamp,
    used: u32,
    left: Option<u32>,
}

/// The state of one key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) slot: KeySlot,
    day: NaiveDate,
    pub(super) used_day: u32,
    calls_total: u64,
    last_at: Option<Timestamp>,
    /// Acquired and not answered yet.
    out: bool,
    /// Recent uses: when, and how many credits.
    recent: VecDeque<(Timestamp, u32)>,
    cooling_until: Option<(Timestamp, &'static str)>,
    /// When the vendor last saw the key in a handshake of the link.
    handshake_at: Option<Timestamp>,
    /// Whether that link delivered a price, so that the vendor is known to serve the key.
    link_served: bool,
    /// Until when the vendor refuses handshakes with the key, and why. Handshakes cost no credits and are refused for their own reasons.
    link_cooling_until: Option<(Timestamp, &'static str)>,
    /// Until when the vendor asked that the key not be used at all.
    wait_until: Option<Timestamp>,
    /// When the vendor reported the key as unknown.
    pub(super) retired_at: Option<Timestamp>,
    /// Whether an operator withdrew it. Only an operator, or a restart of the process, brings it back.
    pub(super) withdrawn: bool,
    /// Whether the key's plan streams nothing.
    pub(super) no_link: bool,
    /// The vendor's count of the current minute.
    vendor: Option<VendorMinute>,
}

const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

impl Key {
    /// A key with the usage that an earlier run recorded.
    pub(crate) fn new(slot: KeySlot, used: Option<&KeyUse>, now: Timestamp) -> Self {
        let mut key = Self {
            slot,
            day: now.datetime().date_naive(),
            used_day: 0,
            calls_total: 0,
            last_at: None,
            out: false,
            recent: VecDeque::new(),
            cooling_until: None,
            handshake_at: None,
            link_served: false,
            link_cooling_until: None,
            wait_until: None,
            retired_at: None,
            withdrawn: false,
            no_link: false,
            vendor: None,
        };
        if let Some(used) = used {
            key.last_at = Some(used.last_at);
            key.recent.push_back((used.last_at, used.minute));
            key.used_day = if used.day == key.day { used.calls } else { 0 };
        }
        key
    }

    /// Whether the key may ever open the link: it is neither out of use nor without streams.
    pub(super) const fn may_link(&self) -> bool {
        !self.is_out() && !self.no_link
    }

    /// Acquires the key for `credits` credits.
    pub(crate) fn take(&mut self, credits: u32, now: Timestamp) -> KeySlot {
        self.used_day = self.used_day.saturating_add(credits);
        self.calls_total = self.calls_total.saturating_add(1);
        self.last_at = Some(now);
        self.out = true;
        self.recent.push_back((now, credits));
        if let Some(vendor) = self.vendor.as_mut().filter(|vendor| vendor.starts == now.floor(MINUTE)) {
            vendor.used = vendor.used.saturating_add(credits);
            vendor.left = vendor.left.map(|left| left.saturating_sub(credits));
        }
        self.slot
    }

    /// The call ended. The vendor saw it at some time since the key was acquired, so spacing is counted from now.
    pub(crate) fn answered(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.out) {
            self.last_at = Some(now);
            if let Some((at, _)) = self.recent.back_mut() {
                *at = now;
            }
        }
    }

    /// The vendor refused a call with this key.
    pub(crate) fn note_refusal(&mut self, purpose: Purpose, trouble: Trouble, now: Timestamp) {
        let cooling = match purpose {
            Purpose::Link => &mut self.link_cooling_until,
            Purpose::Poll | Purpose::Backfill | Purpose::Compare => &mut self.cooling_until,
        };
        match trouble {
            Trouble::MinuteSpent => *cooling = Some((next_minute(now), "minute_spent")),
            Trouble::DaySpent => *cooling = Some((next_day(now), "day_spent")),
            Trouble::BadKey => self.retired_at = Some(now),
            Trouble::PlanRefused if purpose == Purpose::Link => self.no_link = true,
            _ => {}
        }
    }

    /// The vendor asked that the key not be used for `wait`.
    pub(crate) fn wait_for(&mut self, wait: Duration, now: Timestamp) {
        self.wait_until = self.wait_until.max(Some(now + wait));
    }

    /// The vendor saw the key in a handshake of the link.
    pub(super) fn handshaken(&mut self, now: Timestamp) {
        self.handshake_at = Some(now);
        self.link_served = false;
    }

    /// The link that was opened with the key delivered a price.
    pub(super) const fn link_served(&mut self) {
        self.link_served = true;
    }

    /// The earliest instant at which the link may use this key, and the reason for the wait. `again`: no other key is ready, so a key whose
    /// link delivered a price ignores the spacing of handshakes.
    pub(super) fn link_ready_at(&self, policy: KeyPolicy, again: bool, now: Timestamp) -> (Timestamp, &'static str) {
        let handshake_at = self.handshake_at.filter(|_| !(again && self.link_served));
        let spaced = handshake_at.map(|at| (at + policy.spacing, "spacing"));
        let asked_wait = self.wait_until.map(|until| (until, "retry_after"));
        let reasons = [spaced, asked_wait, self.link_cooling_until].into_iter().flatten();
        reasons
            .filter(|(at, _)| *at > now)
            .max_by_key(|(at, _)| *at)
            .unwrap_or((now, "ready"))
    }

    /// Applies the vendor's own count of the current minute.
    pub(super) fn believe(&mut self, used: Option<u32>, left: Option<u32>, now: Timestamp) {
        if used.is_some() || left.is_some() {
            let starts = now.floor(MINUTE);
            let used = used.unwrap_or(0);
            self.vendor = Some(VendorMinute { starts, used, left });
        }
    }

    /// The usage to record for the next start.
    pub(super) fn used(&self) -> Option<KeyUse> {
        let last_at = self.last_at?;
        let minute = self.recent.iter().filter(|(at, _)| last_at.since(*at) < MINUTE);
        Some(KeyUse {
            day: self.day,
            slot: self.slot,
            calls: self.used_day,
            minute: minute.map(|(_, credits)| *credits).fold(0, u32::saturating_add),
            last_at,
        })
    }

    /// Applies the passage of time: a new UTC day resets the day's usage and retired keys; cooling ends.
    pub(super) fn turn_day(&mut self, now: Timestamp) {
        let today = now.datetime().date_naive();
        if today > self.day {
            self.day = today;
            self.used_day = 0;
        }
        self.set_back(now, today);
        if self.cooling_until.is_some_and(|(until, _)| until <= now) {
            self.cooling_until = None;
        }
        if self.retired_at.is_some_and(|at| next_day(at) <= now) {
            self.retired_at = None;
        }
    }

    /// Treats instants in the future as now: they were recorded by a clock that was ahead.
    fn set_back(&mut self, now: Timestamp, today: NaiveDate) {
        self.day = self.day.min(today);
        self.last_at = self.last_at.map(|at| at.min(now));
        self.retired_at = self.retired_at.map(|at| at.min(now));
        for (at, _) in &mut self.recent {
            *at = (*at).min(now);
        }
        if let Some((until, why)) = &mut self.cooling_until {
            *until = (*until).min(if *why == "day_spent" {
                next_day(now)
            } else {
                next_minute(now)
            });
        }
    }

    /// Whether the vendor refused the key, or an operator withdrew it.
    pub(super) const fn is_out(&self) -> bool {
        self.withdrawn || self.retired_at.is_some()
    }

    pub(super) fn usable_today(&self) -> bool {
        !self.is_out() && self.cooling_until.is_none_or(|(_, why)| why != "day_spent")
    }

    /// The earliest instant at which the key may be used for `credits` credits, and the reason for the wait.
    pub(super) fn ready_at(&mut self, policy: KeyPolicy, credits: u32, now: Timestamp) -> (Timestamp, &'static str) {
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) >= MINUTE) {
            self.recent.pop_front();
        }
        if self.is_out() {
            return (next_day(self.retired_at.unwrap_or(now)), "retired");
        }
        if self.used_day.saturating_add(credits) > policy.per_day {
            return (next_day(now), "day_spent");
        }
        let mut ready = (now, "ready");
        let mut not_before = |at: Timestamp, reason| {
            if at > ready.0 {
                ready = (at, reason);
            }
        };
        if let Some((until, reason)) = self.cooling_until {
            not_before(until, reason);
        }
        if let Some(until) = self.wait_until {
            not_before(until, "retry_after");
        }
        if let Some(last) = self.last_at {
            not_before(last + policy.spacing, "spacing");
            if self.out {
                not_before(last + limits::KEY_USE_LONGEST.max(policy.spacing), "in_use");
            }
        }
        let mut used = self
            .recent
            .iter()
            .map(|(_, credits)| *credits)
            .fold(credits, u32::saturating_add);
        for (at, spent) in &self.recent {
            if used > policy.per_minute {
                not_before(*at + MINUTE, "minute_spent");
                used = used.saturating_sub(*spent);
            }
        }
        let vendor = self.vendor.filter(|vendor| vendor.starts == now.floor(MINUTE));
        if vendor.is_some_and(|vendor| {
            vendor.left.is_some_and(|left| left < credits) || vendor.used.saturating_add(credits) > policy.per_minute
        }) {
            not_before(next_minute(now), "minute_spent");
        }
        ready
    }

    pub(crate) fn view(&self, policy: KeyPolicy, of_link: bool, now: Timestamp) -> KeyView {
        let (until, reason) = self.clone().ready_at(policy, 1, now);
        let state = match reason {
            "ready" => KeyState::Ready,
            "spacing" | "in_use" => KeyState::Spacing,
            "retired" => KeyState::Retired,
            "day_spent" => KeyState::Spent,
            _ => KeyState::Cooling,
        };
        let minute = self.recent.iter().filter(|(at, _)| now.since(*at) < MINUTE);
        let counted = minute.map(|(_, credits)| *credits).fold(0, u32::saturating_add);
        let vendor = self.vendor.filter(|vendor| vendor.starts == now.floor(MINUTE));
        KeyView {
            slot: self.slot,
            state,
            // A withdrawn key has no such instant: only an operator makes it usable again.
            until: (until > now && !self.withdrawn).then_some(until),
            used_minute: vendor.map_or(counted, |vendor| vendor.used),
            used_day: self.used_day,
            left_day: policy.per_day.saturating_sub(self.used_day),
            calls_total: self.calls_total,
            of_link,
        }
    }
}

fn next_minute(now: Timestamp) -> Timestamp {
    now.floor(MINUTE) + MINUTE
}

/// The next UTC midnight.
pub(crate) fn next_day(now: Timestamp) -> Timestamp {
    now.floor(DAY) + DAY
}
