//! KeyPool: hands out API keys, one use at a time.
//!
//! owns   `domain::keys::Pool`, the keys' texts, the book of what today has cost
//! hears  LeaseKey, KeyAnswered (Feed, Poller, Backfill) · its own timer
//! says   the answer to LeaseKey · `KeysView` → `/status` · Report → Root: no key may be used, one may be again
//! fails  never on the vendor's refusals: they are states of a key. A panic rebuilds the pool from the book; keys that were
//!        refused are remembered beside it

use crate::actors::messages::{KeyAnswered, Lease, LeaseKey, Report};
use crate::clock::Clock;
use crate::domain::keys::{KeyPolicy, KeySlot, NoLease, Pool, Purpose};
use crate::domain::keys_view::{KeyState, KeyView, KeysView};
use crate::domain::timestamp::Timestamp;
use crate::ledger::KeyUseBook;
use crate::limits;
use actix::{Actor, AsyncContext, Context, Handler, Recipient, Supervised};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Everything a pool is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The keys.
    pub keys: Vec<(KeySlot, SecretString)>,
    /// What the vendor allows on one.
    pub policy: KeyPolicy,
    /// Market time.
    pub clock: Clock,
    /// What today has cost.
    pub book: KeyUseBook,
    /// Keys that the vendor refused, and when; they outlive a restart of the actor, not of the process.
    pub retired: Arc<Mutex<BTreeMap<KeySlot, Timestamp>>>,
    /// Root.
    pub up: Recipient<Report>,
    /// What is shown.
    pub view: watch::Sender<KeysView>,
}

/// See the module.
#[derive(Debug)]
pub struct KeyPool {
    parts: Parts,
    pool: Pool,
    /// Root was told that no key may be used.
    told_exhausted: bool,
}

impl KeyPool {
    /// A pool that remembers what today has cost.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let used = parts.book.newest().unwrap_or_else(|error| {
            tracing::error!(%error, "failed to read what today has cost: counting from nothing");
            Vec::new()
        });
        let now = parts.clock.now();
        let slots = parts.keys.iter().map(|(slot, _)| *slot).collect();
        let mut pool = Pool::new(slots, parts.policy, &used, now);
        for (slot, at) in parts.retired.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            pool.retire(*slot, *at);
        }
        Self {
            parts,
            pool,
            told_exhausted: false,
        }
    }

    fn show(&mut self) {
        let shown = self.pool.view(self.parts.clock.now());
        self.report(&shown);
        let keys = shown.into_iter().map(|view| (view, self.tail(view.slot))).collect();
        let next = KeysView {
            keys,
            spendable: self.pool.spendable(),
        };
        self.parts.view.send_if_modified(|view| {
            let news = *view != next;
            *view = next;
            news
        });
    }

    /// Tells Root when the last key is gone, and when one is back. What a full mailbox does not take is told at the next look.
    fn report(&mut self, keys: &[KeyView]) {
        let out = |key: &&KeyView| matches!(key.state, KeyState::Retired | KeyState::Spent);
        let exhausted = !keys.is_empty() && keys.iter().all(|key| out(&key));
        if exhausted == self.told_exhausted {
            return;
        }
        let next = keys.iter().filter_map(|key| key.until).min();
        let all_retired = keys.iter().all(|key| key.state == KeyState::Retired);
        let told = if exhausted {
            self.parts.up.try_send(Report::KeysExhausted {
                reason: if all_retired { "retired" } else { "day_spent" },
                until: self.pool.retry_at().or(next).unwrap_or(self.parts.clock.now()),
            })
        } else {
            self.parts.up.try_send(Report::KeysUsable)
        };
        if told.is_ok() {
            self.told_exhausted = exhausted;
        }
    }

    /// What time alone changes.
    fn look(&mut self) {
        if let Some(slot) = self.pool.turn(self.parts.clock.now()) {
            tracing::info!(key.slot = %slot, "every key is refused: one is tried again");
        }
        self.remember();
        self.show();
    }

    fn remember(&self) {
        *self.parts.retired.lock().unwrap_or_else(PoisonError::into_inner) = self.pool.retired();
    }

    fn write_down(&self, slot: KeySlot) {
        if let Some(used) = self.pool.used(slot)
            && let Err(error) = self.parts.book.save(&used)
        {
            tracing::error!(%error, key.slot = %slot, "failed to write down the use of a key");
        }
    }

    /// The last four characters of a key: enough to tell keys apart, too little to use one.
    fn tail(&self, slot: KeySlot) -> String {
        let text = self
            .text(slot)
            .map(|key| key.expose_secret().chars().rev().take(4).collect::<Vec<_>>());
        text.filter(|tail| tail.len() == 4)
            .map(|tail| tail.into_iter().rev().collect())
            .unwrap_or_default()
    }

    fn text(&self, slot: KeySlot) -> Option<&SecretString> {
        self.parts
            .keys
            .iter()
            .find(|(known, _)| *known == slot)
            .map(|(_, key)| key)
    }
}

impl Handler<LeaseKey> for KeyPool {
    type Result = Result<Lease, NoLease>;

    fn handle(&mut self, wanted: LeaseKey, _: &mut Context<Self>) -> Self::Result {
        let now = self.parts.clock.now();
        let leased = self.pool.lease(wanted.purpose, wanted.credits, now);
        self.show();
        let slot = leased?;
        self.write_down(slot);
        let key = self.text(slot).cloned().ok_or(NoLease {
            at: now,
            reason: "no_keys",
        })?;
        Ok(Lease { slot, key })
    }
}

impl Handler<KeyAnswered> for KeyPool {
    type Result = ();

    fn handle(&mut self, answered: KeyAnswered, _: &mut Context<Self>) {
        let now = self.parts.clock.now();
        let KeyAnswered { slot, purpose, .. } = answered;
        if answered.link_served {
            self.pool.link_served(slot);
        } else if purpose == Purpose::Link {
            self.pool.handshaken(slot, now);
        } else {
            self.pool.answered(slot, now);
            self.write_down(slot);
        }
        if let Some(trouble) = answered.trouble {
            // What the vendor has not for anybody, or not under this plan, is no fault of the key.
            if trouble.concerns_key() || purpose == Purpose::Link || answered.retry_after.is_some() {
                let retry_after_s = answered.retry_after.map(|wait| wait.as_secs());
                tracing::warn!(key.slot = %slot, cause = trouble.name(), retry_after_s, "key refused");
            }
            self.pool.turned_away(slot, purpose, trouble, answered.retry_after, now);
        } else if answered.used.is_some() || answered.left.is_some() {
            self.pool.served(answered.slot);
        }
        self.remember();
        self.pool.credits(answered.slot, answered.used, answered.left, now);
        self.show();
    }
}

impl Actor for KeyPool {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.show();
        ctx.run_interval(limits::KEYS_LOOK, |pool, _| pool.look());
    }
}

impl Supervised for KeyPool {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::upstream_stage::{Heap, until};
    use crate::domain::trouble::Trouble;
    use std::time::Duration;

    const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);

    fn parts(heap: &Heap) -> (Parts, watch::Receiver<KeysView>) {
        let (view, shown) = watch::channel(KeysView::default());
        let key = |number: u8, text: &str| (KeySlot { group: 1, number }, SecretString::from(text));
        let parts = Parts {
            keys: vec![key(1, "0123456789abcdefa91f"), key(2, "abc")],
            policy: KeyPolicy {
                spacing: Duration::from_secs(8),
                per_minute: 8,
                per_day: 800,
            },
            clock: Clock::manual(NOON),
            book: KeyUseBook::in_memory().unwrap(),
            retired: Arc::default(),
            up: heap.clone().start().recipient(),
            view,
        };
        (parts, shown)
    }

    const ONE: LeaseKey = LeaseKey {
        purpose: Purpose::Backfill,
        credits: 1,
    };

    #[actix_rt::test]
    async fn a_key_is_leased_written_down_and_shown_without_its_text() {
        let (parts, shown) = parts(&Heap::default());
        let pool = KeyPool::new(parts.clone()).start();
        let lease = pool.send(ONE).await.unwrap().unwrap();
        assert_eq!(lease.key.expose_secret(), "0123456789abcdefa91f");
        assert!(!format!("{lease:?}").contains("0123456789"));
        let (view, tail) = shown.borrow().keys[0].clone();
        assert_eq!(
            (view.slot, view.state, tail.as_str()),
            (lease.slot, KeyState::Spacing, "a91f")
        );
        assert_eq!(shown.borrow().keys[1].1, "", "a short key shows nothing");
        assert_eq!(parts.book.newest().unwrap()[0].calls, 1);
    }

    #[actix_rt::test]
    async fn a_restart_remembers_today_and_who_was_refused() {
        let (parts, shown) = parts(&Heap::default());
        let pool = KeyPool::new(parts.clone()).start();
        let first = pool.send(ONE).await.unwrap().unwrap().slot;
        let bad = KeyAnswered {
            slot: first,
            purpose: Purpose::Backfill,
            trouble: Some(Trouble::BadKey),
            link_served: false,
            retry_after: None,
            used: None,
            left: None,
        };
        pool.send(bad).await.unwrap();
        let second = pool.send(ONE).await.unwrap().unwrap().slot;
        assert_ne!(first, second);
        let again = KeyPool::new(parts.clone()).start();
        parts.clock.advance(Duration::from_secs(4));
        let refused = again.send(ONE).await.unwrap().unwrap_err();
        assert_eq!((refused.at, refused.reason), (NOON + Duration::from_secs(8), "spacing"));
        assert_eq!(shown.borrow().keys[0].0.state, KeyState::Retired);
    }

    #[actix_rt::test]
    async fn when_every_key_is_refused_root_hears_of_it_and_of_the_way_back() {
        let heap = Heap::default();
        let (parts, shown) = parts(&heap);
        let pool = KeyPool::new(parts.clone()).start();
        for _ in 0..2 {
            let slot = pool.send(ONE).await.unwrap().unwrap().slot;
            let bad = KeyAnswered {
                slot,
                purpose: Purpose::Backfill,
                trouble: Some(Trouble::BadKey),
                link_served: false,
                retry_after: None,
                used: None,
                left: None,
            };
            pool.send(bad).await.unwrap();
        }
        let until_then = NOON + limits::KEYS_RETRY;
        let told = Report::KeysExhausted {
            reason: "retired",
            until: until_then,
        };
        until("exhausted", || heap.reports() == [told.clone()]).await;
        assert_eq!(pool.send(ONE).await.unwrap().unwrap_err().at, until_then);
        // Nobody asks: the pool looks at the time by itself.
        parts.clock.advance(limits::KEYS_RETRY);
        until("usable", || heap.reports() == [told.clone(), Report::KeysUsable]).await;
        assert_eq!(shown.borrow().keys[0].0.state, KeyState::Ready);
        assert_eq!(pool.send(ONE).await.unwrap().unwrap().slot.number, 1);
    }
}
