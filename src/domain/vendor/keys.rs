//! The pool of API keys: which key may be used now, and otherwise when to ask again (invariant K1).
//!
//! ```text
//!            acquired          spacing over
//!   ready ───────────► spacing ────────────► ready
//!     │ the minute is spent ► cooling ── next minute ──► ready
//!     │ the day is spent    ► spent   ── next UTC day ─► ready
//!     │ 401, 403            ► retired ── next UTC day ─► ready
//!     │ withdrawn by an operator ──► retired ── revived by an operator ─► ready
//! ```
//!
//! A key that the vendor refuses as unknown is retired and used once a day at most. When every key is retired, the vendor may be wrong: the
//! key that was refused first is tried again every quarter of an hour.
//!
//! A `Retry-After` of the vendor takes precedence: a key that it refused (429) is suspended for that time and the next key is used; after a
//! fault of the vendor's own (503) no request is made before then.
//!
//! Handshakes of the link keep the spacing among themselves, as calls do; the next handshake uses the next key. If no other key is ready, a
//! key whose link delivered a price may open the next link at once.
//!
//! Keys rotate across groups, then within them. The link holds a key of its own, which REST calls use only when no other key is ready for
//! the rest of the day. Part of each day's credits is reserved for backfill, which fills what polling cannot. The pool knows slots, never a
//! key's text.

use crate::domain::vendor::{
    DAY, Disposition, Key, KeyPolicy, KeySlot, KeyUse, KeyView, Spendable, Trouble, key::next_day,
};

use crate::domain::model::Timestamp;
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a key is acquired for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The WebSocket: costs no credits; at most one connection per key.
    Link,
    /// Prices over REST.
    Poll,
    /// Missing bars over REST.
    Backfill,
    /// Bars over REST, to compare with ours. Leaves the same reserve for backfill as polling does.
    Compare,
}

/// No key may be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key may be used before {at} ({reason})")]
pub struct NoKey {
    /// When to ask again.
    pub at: Timestamp,
    /// `spacing`, `in_use`, `minute_spent`, `day_spent`, `retry_after`, `reserved`, `retired` or `no_keys`.
    pub reason: &'static str,
}

/// The key pool.
#[derive(Debug, Clone)]
pub struct Pool {
    policy: KeyPolicy,
    keys: Vec<Key>,
    /// Where the rotation continues.
    turn: usize,
    /// The key that the link holds.
    link: Option<KeySlot>,
    /// The key that is being tried after every key was refused.
    trying: Option<KeySlot>,
    /// Until when the vendor's WebSocket, because of its own fault, asked not to be contacted.
    link_away_until: Option<Timestamp>,
    /// Until when its REST interface asked the same.
    rest_away_until: Option<Timestamp>,
}

impl Pool {
    /// A pool with the usage that an earlier run recorded.
    pub fn new(mut slots: Vec<KeySlot>, policy: KeyPolicy, used: &[KeyUse], now: Timestamp) -> Self {
        slots.sort_by_key(|slot| (slot.number, slot.group)); // G1_1, G2_1, G1_2, …: the rotation goes across groups first
        slots.dedup();
        let keys = slots
            .into_iter()
            .map(|slot: KeySlot| Key::new(slot, used.iter().find(|used| used.slot == slot), now))
            .collect();
        Self {
            policy,
            keys,
            turn: 0,
            link: None,
            trying: None,
            link_away_until: None,
            rest_away_until: None,
        }
    }

    /// Acquires a key and spends `credits` credits of it. A key for the link costs none and is held until the link acquires the next one.
    ///
    /// # Errors
    /// [`NoKey`] with the instant at which to ask again.
    pub fn acquire(&mut self, purpose: Purpose, credits: u32, now: Timestamp) -> Result<KeySlot, NoKey> {
        self.turn(now);
        if let Some(at) = self.retry_at() {
            self.link = None;
            let reason = "retired";
            return Err(NoKey { at, reason });
        }
        let away = if purpose == Purpose::Link {
            self.link_away_until
        } else {
            self.rest_away_until
        };
        if let Some(at) = away.filter(|until| *until > now) {
            let reason = "retry_after";
            return Err(NoKey { at, reason });
        }
        if purpose == Purpose::Link {
            return self.acquire_for_link(now);
        }
        if matches!(purpose, Purpose::Poll | Purpose::Compare)
            && self.left_today() < self.reserved_credits().saturating_add(credits)
        {
            return Err(NoKey {
                at: next_day(now),
                reason: "reserved",
            });
        }
        let refused = match self.find_ready(credits, now, false) {
            Ok(i) => return self.spend_credits(i, credits, now),
            Err(refused) => refused,
        };
        if refused.at < next_day(now) {
            return Err(refused); // the link's own key is not risked for a short wait
        }
        match self.find_ready(credits, now, true) {
            Ok(i) => self.spend_credits(i, credits, now),
            Err(other) if other.at < refused.at => Err(other),
            Err(_) => Err(refused),
        }
    }

    /// Applies the passage of time: a new UTC day, or one more try after every key was refused. Returns the key to try.
    pub fn turn(&mut self, now: Timestamp) -> Option<KeySlot> {
        for key in &mut self.keys {
            key.turn_day(now);
        }
        self.retry_at().filter(|at| *at <= now)?;
        let in_use = self.keys.iter_mut().filter(|key| !key.withdrawn);
        let first = in_use.min_by_key(|key| key.retired_at)?;
        first.retired_at = None;
        self.trying = Some(first.slot);
        self.trying
    }

    /// When a key is tried again, if every key that is not withdrawn is refused.
    pub fn retry_at(&self) -> Option<Timestamp> {
        let in_use = self.keys.iter().filter(|key| !key.withdrawn);
        let refused: Option<Vec<Timestamp>> = in_use.map(|key| key.retired_at).collect();
        Some(refused?.into_iter().max()? + limits::KEYS_RETRY)
    }

    /// The vendor served this key. If it was the try after every key had been refused, all refusals are dropped.
    pub fn served(&mut self, slot: KeySlot) {
        if self.trying == Some(slot) {
            self.trying = None;
            self.keys.iter_mut().for_each(|key| key.retired_at = None);
        }
    }

    /// Restores the refusal of a key from an earlier incarnation of the actor.
    pub fn retire(&mut self, slot: KeySlot, at: Timestamp) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.slot == slot) {
            key.retired_at = Some(at);
        }
    }

    /// An operator withdraws this key. A link that it opened stays until it ends.
    pub fn withdraw(&mut self, slot: KeySlot) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.slot == slot) {
            key.withdrawn = true;
        }
    }

    /// An operator makes this key usable again; `false` when it was neither refused nor withdrawn.
    pub fn revive(&mut self, slot: KeySlot) -> bool {
        let Some(key) = self.keys.iter_mut().find(|key| key.slot == slot && key.is_out()) else {
            return false;
        };
        key.withdrawn = false;
        key.retired_at = None;
        true
    }

    /// The keys that an operator withdrew.
    pub fn withdrawn(&self) -> BTreeSet<KeySlot> {
        let out = self.keys.iter().filter(|key| key.withdrawn);
        out.map(|key: &Key| key.slot).collect()
    }

    /// All keys.
    pub fn slots(&self) -> impl Iterator<Item = KeySlot> {
        self.keys.iter().map(|key| key.slot)
    }

    /// The refused keys, with the instant of the refusal.
    pub fn retired(&self) -> BTreeMap<KeySlot, Timestamp> {
        self.keys
            .iter()
            .filter_map(|key: &Key| Some((key.slot, key.retired_at?)))
            .collect()
    }

    /// The call for which this key was acquired ended, with any result.
    pub fn answered(&mut self, slot: KeySlot, now: Timestamp) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.slot == slot) {
            key.answered(now);
        }
    }

    /// The vendor saw this key in a handshake of the link.
    pub fn handshaken(&mut self, slot: KeySlot, now: Timestamp) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.slot == slot) {
            key.handshaken(now);
        }
    }

    /// The link that was opened with this key delivered a price.
    pub fn link_served(&mut self, slot: KeySlot) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.slot == slot) {
            key.link_served();
        }
    }

    /// The vendor refused a call with this key, perhaps with a time to wait: for this key, or for all keys when the fault is the vendor's
    /// own.
    pub fn note_refusal(
        &mut self,
        slot: KeySlot,
        purpose: Purpose,
        trouble: Trouble,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) {
        let key = self.keys.iter_mut().find(|key| key.slot == slot);
        let Some(wait) = retry_after else {
            return key.into_iter().for_each(|key| key.note_refusal(purpose, trouble, now));
        };
        let for_all = trouble.disposition() == Disposition::Retry;
        if let Some(key) = key {
            if trouble != Trouble::MinuteSpent {
                key.note_refusal(purpose, trouble, now);
            }
            if !for_all {
                key.wait_for(wait, now);
            }
        }
        if for_all {
            let away = if purpose == Purpose::Link {
                &mut self.link_away_until
            } else {
                &mut self.rest_away_until
            };
            *away = (*away).max(Some(now + wait));
        }
    }

    /// Applies the vendor's own count of the current minute. It takes precedence over ours, because others may use the key as well.
    pub fn credits(&mut self, slot: KeySlot, used: Option<u32>, left: Option<u32>, now: Timestamp) {
        let Some(key) = self.keys.iter_mut().find(|key| key.slot == slot) else {
            return;
        };
        key.believe(used, left, now);
    }

    /// The usage of a key to record for the next start.
    pub fn used(&self, slot: KeySlot) -> Option<KeyUse> {
        self.keys.iter().find(|key| key.slot == slot)?.used()
    }

    /// Credits that remain today for all keys together.
    pub fn left_today(&self) -> u32 {
        self.keys
            .iter()
            .map(|key: &Key| {
                if key.usable_today() {
                    self.policy.per_day.saturating_sub(key.used_day)
                } else {
                    0
                }
            })
            .fold(0, u32::saturating_add)
    }

    /// The credits that polling may still spend today.
    pub fn spendable(&self) -> Spendable {
        let of_link = self
            .keys
            .iter()
            .filter(|key| Some(key.slot) == self.link && key.usable_today())
            .count();
        let usable = self.usable();
        // Polling does not use the link's key while there is another.
        let polling = if usable > of_link {
            usable.saturating_sub(of_link)
        } else {
            usable
        };
        let used = self.keys.iter().map(|key| key.used_day).fold(0, u32::saturating_add);
        Spendable {
            left: self.left_today().saturating_sub(self.reserved_credits()),
            used,
            available: self.left_today().saturating_add(used),
            keys: u32::try_from(polling).unwrap_or(u32::MAX),
            spacing: self.policy.spacing,
            per_minute: self.policy.per_minute,
        }
    }

    /// The number of keys that may be used today.
    pub fn usable(&self) -> usize {
        self.keys.iter().filter(|key| key.usable_today()).count()
    }

    /// Each key as `/status` shows it.
    pub fn view(&self, now: Timestamp) -> Vec<KeyView> {
        self.keys
            .iter()
            .map(|key| key.view(self.policy, self.link == Some(key.slot), now))
            .collect()
    }

    /// The day's credits that are reserved for backfill.
    fn reserved_credits(&self) -> u32 {
        let usable = u32::try_from(self.usable()).unwrap_or(u32::MAX);
        (self.policy.per_day / limits::BACKFILL_SHARE).saturating_mul(usable)
    }

    /// The link's present key while it is ready; otherwise the last key in the rotation, which REST reaches last.
    fn acquire_for_link(&mut self, now: Timestamp) -> Result<KeySlot, NoKey> {
        let held = self
            .keys
            .iter()
            .filter(|key| key.may_link())
            .find(|key| Some(key.slot) == self.link);
        let others = self.keys.iter().rev().filter(|key| key.may_link());
        let order: Vec<&Key> = held.into_iter().chain(others).collect();
        // The first key that is ready, else the key that is ready first.
        let first = |again: bool| {
            order
                .iter()
                .map(|key: &&Key| (key.link_ready_at(self.policy, again, now), key.slot))
                .min_by_key(|((at, _), _)| *at)
        };
        let next = first(false).filter(|((at, _), _)| *at <= now).or_else(|| first(true));
        match next {
            Some(((at, _), slot)) if at <= now => {
                self.link = Some(slot);
                Ok(slot)
            }
            Some(((at, reason), _)) => Err(NoKey { at, reason }),
            None => {
                self.link = None;
                let reason = if self.keys.is_empty() { "no_keys" } else { "retired" };
                for key in &mut self.keys {
                    key.no_link = false; // plans change; the next round tries again
                }
                Err(NoKey {
                    at: now + limits::RECONNECT_REFUSED,
                    reason,
                })
            }
        }
    }

    /// The next ready key in the rotation; otherwise the earliest instant at which one is ready.
    fn find_ready(&mut self, credits: u32, now: Timestamp, of_link: bool) -> Result<usize, NoKey> {
        let mut earliest = NoKey {
            at: next_day(now) + DAY,
            reason: "no_keys",
        };
        let count = self.keys.len();
        for step in 0..count {
            let i = self.turn.wrapping_add(step).checked_rem(count).unwrap_or(0);
            let Some(key) = self.keys.get_mut(i) else { continue };
            if (self.link == Some(key.slot)) != of_link {
                continue;
            }
            match key.ready_at(self.policy, credits, now) {
                (at, _) if at <= now => return Ok(i),
                (at, reason) if at < earliest.at || earliest.reason == "no_keys" => earliest = NoKey { at, reason },
                _ => {}
            }
        }
        Err(earliest)
    }

    fn spend_credits(&mut self, i: usize, credits: u32, now: Timestamp) -> Result<KeySlot, NoKey> {
        self.turn = i.wrapping_add(1);
        match self.keys.get_mut(i) {
            Some(key) => Ok(key.take(credits, now)),
            None => Err(NoKey {
                at: now,
                reason: "no_keys",
            }),
        }
    }
}

#[cfg(test)]
#[path = "tests/keys.rs"]
mod tests;
