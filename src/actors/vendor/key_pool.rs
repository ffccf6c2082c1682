//! KeyPool: hands out API keys, one use at a time.
//!
//! owns   `domain::vendor::Pool`, the keys' texts, the book of today's credits
//! hears  AcquireKey, KeyAnswered (Feed, Poller, Backfill) · UseKey (Root) · its own timer
//! says   the answer to AcquireKey · `KeysView` → `/status` · Report → Root: no key may be used, or one may be again
//! fails  never on the vendor's refusals: they are states of a key. A panic rebuilds the pool from the book and the list of refused keys

use crate::actors::messages::{AcquireKey, AcquiredKey, KeyAnswered, Report, UseKey};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::domain::model::Timestamp;
use crate::domain::status::ActionRefused;
use crate::domain::vendor::{KeyPolicy, KeySlot, KeyState, KeyView, KeysView, NoKey, Pool, Purpose};
use crate::ledger::KeyUseBook;
use crate::limits;
use actix::{Actor, Context, Handler, Recipient, Supervised};
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The dependencies of a KeyPool; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The keys.
    pub keys: Vec<(KeySlot, SecretString)>,
    /// What the vendor allows on one key.
    pub policy: KeyPolicy,
    /// The credits used today.
    pub book: KeyUseBook,
    /// A key with which another process may still have a link: it is tried last.
    pub away: Option<KeySlot>,
    /// Keys that the vendor refused, and when. They outlive a restart of the actor, not of the process.
    pub retired: Arc<Mutex<BTreeMap<KeySlot, Timestamp>>>,
    /// Keys that an operator took out of use. They outlive a restart of the actor, not of the process.
    pub withdrawn: Arc<Mutex<BTreeSet<KeySlot>>>,
}

/// The addresses of the key pool.
#[derive(Debug, Clone)]
pub struct KeyPoolLink {
    /// Takes requests for a key.
    pub acquire: Recipient<AcquireKey>,
    /// Takes reports of the vendor's answers.
    pub answered: Recipient<KeyAnswered>,
}

/// See the module.
#[derive(Debug)]
pub struct KeyPool {
    deps: Deps,
    pool: Pool,
    /// Whether Root was sent that no key may be used.
    told_exhausted: bool,
}

impl KeyPool {
    /// A pool that continues with the credits used today.
    pub fn new(deps: Deps) -> Self {
        let used = deps.book.newest_uses().unwrap_or_else(|error| {
            tracing::error!(%error, "failed to read the credits spent today: counting from zero");
            Vec::new()
        });
        let now = deps.services.clock.now();
        let slots = deps.keys.iter().map(|(slot, _)| *slot).collect();
        let mut pool = Pool::new(slots, deps.policy, &used, now);
        if let Some(slot) = deps.away {
            pool.handshaken(slot, now);
        }
        for (slot, at) in deps.retired.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            pool.retire(*slot, *at);
        }
        for slot in deps.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            pool.withdraw(*slot);
        }
        Self {
            deps,
            pool,
            told_exhausted: false,
        }
    }

    fn show(&mut self) {
        let shown = self.pool.view(self.deps.services.clock.now());
        self.report(&shown);
        let keys = shown.into_iter().map(|view| (view, self.tail(view.slot))).collect();
        let next = KeysView {
            keys,
            spendable: self.pool.spendable(),
        };
        self.deps.services.views.keys.send_if_modified(|view| {
            let news = *view != next;
            *view = next;
            news
        });
    }

    /// Reports to Root when no key can be used, and when one can again. A report that a full mailbox refuses is sent at the next check.
    fn report(&mut self, keys: &[KeyView]) {
        let exhausted = !keys.is_empty() && keys.iter().all(is_exhausted);
        if exhausted == self.told_exhausted {
            return;
        }
        let next = keys.iter().filter_map(|key| key.until).min();
        let all_retired = keys.iter().all(|key| key.state == KeyState::Retired);
        let told = if exhausted {
            self.deps.services.root.try_send(Report::KeysExhausted {
                reason: if all_retired { "retired" } else { "day_spent" },
                until: self.pool.retry_at().or(next).unwrap_or(self.deps.services.clock.now()),
            })
        } else {
            self.deps.services.root.try_send(Report::KeysUsable)
        };
        if told.is_ok() {
            self.told_exhausted = exhausted;
        }
    }

    /// Updates what changes with time alone.
    fn turn_keys(&mut self) {
        if let Some(slot) = self.pool.turn(self.deps.services.clock.now()) {
            tracing::info!(key.slot = %slot, "every key is refused: one is tried again");
        }
        self.remember();
        self.show();
    }

    fn remember(&self) {
        *self.deps.retired.lock().unwrap_or_else(PoisonError::into_inner) = self.pool.retired();
        *self.deps.withdrawn.lock().unwrap_or_else(PoisonError::into_inner) = self.pool.withdrawn();
    }

    fn write_down(&self, slot: KeySlot) {
        if let Some(used) = self.pool.used(slot)
            && let Err(error) = self.deps.book.save_use(&used)
        {
            tracing::error!(%error, key.slot = %slot, "failed to record the use of a key");
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
        self.deps
            .keys
            .iter()
            .find(|(known, _)| *known == slot)
            .map(|(_, key)| key)
    }
}

impl Handler<AcquireKey> for KeyPool {
    type Result = Result<AcquiredKey, NoKey>;

    fn handle(&mut self, wanted: AcquireKey, _: &mut Context<Self>) -> Self::Result {
        let now = self.deps.services.clock.now();
        let found = self.pool.acquire(wanted.purpose, wanted.credits, now);
        self.show();
        let slot = found?;
        self.write_down(slot);
        let key = self.text(slot).cloned().ok_or(NoKey {
            at: now,
            reason: "no_keys",
        })?;
        Ok(AcquiredKey { slot, key })
    }
}

impl Handler<KeyAnswered> for KeyPool {
    type Result = ();

    fn handle(&mut self, answered: KeyAnswered, _: &mut Context<Self>) {
        let now = self.deps.services.clock.now();
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
            // Data that the vendor lacks, or does not serve under this plan, is no fault of the key.
            if trouble.concerns_key() || purpose == Purpose::Link || answered.retry_after.is_some() {
                let retry_after_s = answered.retry_after.map(|wait| wait.as_secs());
                tracing::warn!(key.slot = %slot, cause = trouble.name(), retry_after_s, "key refused");
            }
            self.pool
                .note_refusal(slot, purpose, trouble, answered.retry_after, now);
        } else if answered.used.is_some() || answered.left.is_some() {
            self.pool.served(answered.slot);
        }
        self.remember();
        self.pool.credits(answered.slot, answered.used, answered.left, now);
        self.show();
    }
}

impl Handler<UseKey> for KeyPool {
    type Result = Result<(), ActionRefused>;

    fn handle(&mut self, UseKey { slot, use_it }: UseKey, _: &mut Context<Self>) -> Self::Result {
        let slots: Vec<KeySlot> = self.pool.slots().collect();
        if !slots.contains(&slot) {
            let known: Vec<String> = slots.iter().map(ToString::to_string).collect();
            return Err(ActionRefused::NoSuchKey {
                given: slot,
                known: known.join(", "),
            });
        }
        if !use_it {
            self.pool.withdraw(slot);
        } else if !self.pool.revive(slot) {
            return Err(ActionRefused::NothingToRevive(slot));
        }
        self.remember();
        self.show();
        Ok(())
    }
}

impl Actor for KeyPool {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.show();
        ctx.repeat_every(limits::KEYS_LOOK, |pool, _| pool.turn_keys());
    }
}

impl Supervised for KeyPool {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

fn is_exhausted(key: &KeyView) -> bool {
    matches!(key.state, KeyState::Retired | KeyState::Spent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing;
    use crate::actors::vendor::tests::upstream_stage::{Heap, until};
    use crate::clock::Clock;
    use crate::domain::vendor::Trouble;
    use std::time::Duration;
    use tokio::sync::watch;

    const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);

    /// The dependencies of a pool, and the folder that they use.
    fn parts(heap: &Heap) -> (Deps, watch::Receiver<KeysView>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let root = heap.clone().start().recipient();
        let services = testing::services_in(folder.path(), Clock::manual(NOON), root);
        let shown = services.views.keys.subscribe();
        let key = |number: u8, text: &str| (KeySlot { group: 1, number }, SecretString::from(text));
        let deps = Deps {
            away: None,
            services,
            keys: vec![key(1, "0123456789abcdefa91f"), key(2, "abc")],
            policy: KeyPolicy {
                spacing: Duration::from_secs(8),
                per_minute: 8,
                per_day: 800,
            },
            book: KeyUseBook::in_memory().unwrap(),
            retired: Arc::default(),
            withdrawn: Arc::default(),
        };
        (deps, shown, folder)
    }

    const ONE: AcquireKey = AcquireKey {
        purpose: Purpose::Backfill,
        credits: 1,
    };

    #[actix_rt::test]
    async fn a_key_is_acquired_written_down_and_shown_without_its_text() {
        let (deps, shown, _folder) = parts(&Heap::default());
        let pool = KeyPool::new(deps.clone()).start();
        let acquired = pool.send(ONE).await.unwrap().unwrap();
        assert_eq!(acquired.key.expose_secret(), "0123456789abcdefa91f");
        assert!(!format!("{acquired:?}").contains("0123456789"));
        let (view, tail) = shown.borrow().keys[0].clone();
        assert_eq!(
            (view.slot, view.state, tail.as_str()),
            (acquired.slot, KeyState::Spacing, "a91f")
        );
        assert_eq!(shown.borrow().keys[1].1, "", "a short key shows nothing");
        assert_eq!(deps.book.newest_uses().unwrap()[0].calls, 1);
    }

    #[actix_rt::test]
    async fn a_restart_remembers_today_and_who_was_refused() {
        let (deps, shown, _folder) = parts(&Heap::default());
        let pool = KeyPool::new(deps.clone()).start();
        let first = pool.send(ONE).await.unwrap().unwrap().slot;
        let bad = KeyAnswered {
            trouble: Some(Trouble::BadKey),
            ..KeyAnswered::nothing(first, Purpose::Backfill)
        };
        pool.send(bad).await.unwrap();
        let second = pool.send(ONE).await.unwrap().unwrap().slot;
        assert_ne!(first, second);
        let again = KeyPool::new(deps.clone()).start();
        deps.services.clock.advance(Duration::from_secs(4));
        let refused = again.send(ONE).await.unwrap().unwrap_err();
        assert_eq!((refused.at, refused.reason), (NOON + Duration::from_secs(8), "spacing"));
        assert_eq!(shown.borrow().keys[0].0.state, KeyState::Retired);
    }

    #[actix_rt::test]
    async fn when_every_key_is_refused_root_hears_of_it_and_of_the_way_back() {
        let heap = Heap::default();
        let (deps, shown, _folder) = parts(&heap);
        let pool = KeyPool::new(deps.clone()).start();
        for _ in 0..2 {
            let slot = pool.send(ONE).await.unwrap().unwrap().slot;
            let bad = KeyAnswered {
                trouble: Some(Trouble::BadKey),
                ..KeyAnswered::nothing(slot, Purpose::Backfill)
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
        // No request is made: the pool checks the time by itself.
        deps.services.clock.advance(limits::KEYS_RETRY);
        until("usable", || heap.reports() == [told.clone(), Report::KeysUsable]).await;
        assert_eq!(shown.borrow().keys[0].0.state, KeyState::Ready);
        assert_eq!(pool.send(ONE).await.unwrap().unwrap().slot.number, 1);
    }
}
