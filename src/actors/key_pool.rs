//! KeyPool: hands out API keys, one use at a time.
//!
//! owns   `domain::keys::Pool`, the keys' texts, the book of what today has cost
//! hears  LeaseKey, KeyAnswered (Feed, Poller, Backfill)
//! says   the answer to LeaseKey · `KeysView` → `/status`
//! fails  never on the vendor's refusals: they are states of a key. A panic rebuilds the pool from the book; keys that were
//!        refused for good are remembered beside it

use crate::actors::messages::{KeyAnswered, Lease, LeaseKey};
use crate::clock::Clock;
use crate::domain::keys::{KeyPolicy, KeySlot, NoLease, Pool, Purpose};
use crate::domain::keys_view::KeysView;
use crate::domain::trouble::Trouble;
use crate::ledger::KeyUseBook;
use actix::{Actor, Context, Handler, Supervised};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeSet;
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
    /// Keys that the vendor refused for good; they outlive a restart of the actor, not of the process.
    pub retired: Arc<Mutex<BTreeSet<KeySlot>>>,
    /// What is shown.
    pub view: watch::Sender<KeysView>,
}

/// See the module.
#[derive(Debug)]
pub struct KeyPool {
    parts: Parts,
    pool: Pool,
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
        for slot in parts.retired.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            pool.refused(*slot, Purpose::Link, Trouble::BadKey, now);
        }
        Self { parts, pool }
    }

    fn show(&self) {
        let shown = self.pool.view(self.parts.clock.now());
        let keys = shown.into_iter().map(|view| (view, self.tail(view.slot))).collect();
        let spendable = self.pool.spendable();
        self.parts.view.send_replace(KeysView { keys, spendable });
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
        let slot = self.pool.lease(wanted.purpose, wanted.credits, now)?;
        self.write_down(slot);
        self.show();
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
        if answered.purpose != Purpose::Link {
            self.pool.answered(answered.slot, now);
            self.write_down(answered.slot);
        }
        if let Some(trouble) = answered.trouble {
            tracing::warn!(key.slot = %answered.slot, cause = trouble.name(), "key refused");
            self.pool.refused(answered.slot, answered.purpose, trouble, now);
            if trouble == Trouble::BadKey {
                self.parts
                    .retired
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(answered.slot);
            }
        }
        self.pool.credits(answered.slot, answered.used, answered.left, now);
        self.show();
    }
}

impl Actor for KeyPool {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.show();
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
    use crate::domain::keys_view::KeyState;
    use crate::domain::timestamp::Timestamp;
    use std::time::Duration;

    const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);

    fn parts() -> (Parts, watch::Receiver<KeysView>) {
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
        let (parts, shown) = parts();
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
        let (parts, shown) = parts();
        let pool = KeyPool::new(parts.clone()).start();
        let first = pool.send(ONE).await.unwrap().unwrap().slot;
        let bad = KeyAnswered {
            slot: first,
            purpose: Purpose::Backfill,
            trouble: Some(Trouble::BadKey),
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
}
