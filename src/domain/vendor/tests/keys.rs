//! No key is used twice within its spacing, beyond its minute or day, or while it is retired (K1).

use super::*;
use crate::domain::vendor::KeyState;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// 2026-03-02T12:00:00Z.
const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);
const POLICY: KeyPolicy = KeyPolicy {
    spacing: Duration::from_secs(8),
    per_minute: 8,
    per_day: 800,
};

fn slots(count: u8) -> Vec<KeySlot> {
    (0..count)
        .map(|i| KeySlot {
            group: 1 + i / 8,
            number: 1 + i % 8,
        })
        .collect()
}

fn pool(count: u8) -> Pool {
    Pool::new(slots(count), POLICY, &[], NOON)
}

impl Pool {
    /// A call that is answered at once.
    fn spend(&mut self, purpose: Purpose, credits: u32, now: Timestamp) -> Result<KeySlot, NoKey> {
        let slot = self.acquire(purpose, credits, now)?;
        self.answered(slot, now);
        Ok(slot)
    }
}

fn seconds(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn keys_rotate_across_groups_and_then_within_them() {
    let mut pool = pool(16);
    let order: Vec<String> = (0..5)
        .map(|_| pool.spend(Purpose::Poll, 1, NOON).unwrap().to_string())
        .collect();
    assert_eq!(order, ["G1_1", "G2_1", "G1_2", "G2_2", "G1_3"]);
}

#[test]
fn one_key_is_spaced_and_says_when_to_come_back() {
    let mut pool = pool(1);
    pool.spend(Purpose::Backfill, 1, NOON).unwrap();
    let refused = pool.spend(Purpose::Backfill, 1, NOON + seconds(1)).unwrap_err();
    assert_eq!(
        refused,
        NoKey {
            at: NOON + seconds(8),
            reason: "spacing"
        }
    );
    assert!(pool.spend(Purpose::Backfill, 1, refused.at).is_ok());
}

#[test]
fn a_key_is_not_acquired_again_before_its_call_is_over_and_spacing_counts_from_then() {
    let mut pool = pool(1);
    let slot = pool.acquire(Purpose::Backfill, 1, NOON).unwrap();
    let refused = pool.acquire(Purpose::Backfill, 1, NOON + seconds(9)).unwrap_err();
    assert_eq!(
        refused,
        NoKey {
            at: NOON + limits::KEY_USE_LONGEST,
            reason: "in_use"
        }
    );
    pool.answered(slot, NOON + seconds(9));
    assert_eq!(
        pool.acquire(Purpose::Backfill, 1, NOON + seconds(10)).unwrap_err().at,
        NOON + seconds(17)
    );
}

#[test]
fn a_call_for_many_pairs_counts_as_many_credits() {
    let mut pool = pool(1);
    pool.spend(Purpose::Backfill, 6, NOON).unwrap();
    let refused = pool.spend(Purpose::Backfill, 6, NOON + seconds(10)).unwrap_err();
    assert_eq!(
        refused,
        NoKey {
            at: NOON + seconds(60),
            reason: "minute_spent"
        }
    );
    assert!(pool.spend(Purpose::Backfill, 2, NOON + seconds(10)).is_ok());
}

#[test]
fn a_spent_minute_cools_to_the_next_minute_and_a_spent_day_to_the_next_utc_day() {
    let mut pool = pool(1);
    let slot = pool.spend(Purpose::Backfill, 1, NOON + seconds(30)).unwrap();
    pool.note_refusal(slot, Purpose::Backfill, Trouble::MinuteSpent, None, NOON + seconds(31));
    assert_eq!(
        pool.spend(Purpose::Backfill, 1, NOON + seconds(40)).unwrap_err().at,
        NOON + seconds(60)
    );
    pool.note_refusal(slot, Purpose::Backfill, Trouble::DaySpent, None, NOON + seconds(61));
    let refused = pool.spend(Purpose::Backfill, 1, NOON + seconds(100)).unwrap_err();
    assert_eq!(
        refused,
        NoKey {
            at: NOON + seconds(43_200),
            reason: "day_spent"
        }
    );
    assert_eq!(pool.left_today(), 0);
    assert!(pool.spend(Purpose::Backfill, 1, NOON + seconds(43_200)).is_ok());
}

#[test]
fn a_refused_key_is_asked_once_a_day_at_the_most() {
    let mut pool = pool(2);
    let bad = pool.spend(Purpose::Backfill, 1, NOON).unwrap();
    pool.note_refusal(bad, Purpose::Backfill, Trouble::BadKey, None, NOON);
    for day in 0..3 {
        let mut asked = 0;
        for call in 0..50 {
            let now = NOON + DAY * day + seconds(8 * (call + 1));
            if pool.spend(Purpose::Backfill, 1, now) == Ok(bad) {
                pool.note_refusal(bad, Purpose::Backfill, Trouble::BadKey, None, now);
                asked += 1;
            }
        }
        assert_eq!(asked, i32::from(day > 0), "day {day}");
    }
    assert_eq!(pool.usable(), 1);
}

#[test]
fn a_key_that_an_operator_took_out_stays_out_until_he_brings_it_back() {
    let mut pool = pool(2);
    let [first, second] = [1, 2].map(|number| KeySlot { group: 1, number });
    pool.withdraw(first);
    for _ in 0..3 {
        assert_eq!(pool.acquire(Purpose::Link, 0, NOON), Ok(second));
    }
    assert_eq!((pool.usable(), pool.view(NOON)[0].state), (1, KeyState::Retired));
    assert_eq!(pool.view(NOON)[0].until, None, "no instant brings it back");
    // The vendor refuses all other keys; the retry uses one of those, never the withdrawn one.
    pool.note_refusal(second, Purpose::Poll, Trouble::BadKey, None, NOON);
    let later = NOON + limits::KEYS_RETRY;
    assert_eq!(pool.turn(later), Some(second));
    pool.served(second);
    let tomorrow = later + seconds(90_000);
    pool.turn(tomorrow);
    assert_eq!(pool.withdrawn(), BTreeSet::from([first]));
    assert!(pool.revive(first) && !pool.revive(first));
    assert_eq!(pool.usable(), 2);
    // An operator withdrew every key: none is tried.
    pool.withdraw(first);
    pool.withdraw(second);
    assert_eq!(pool.retry_at(), None);
    assert_eq!(
        pool.acquire(Purpose::Backfill, 1, tomorrow).unwrap_err().reason,
        "retired"
    );
    assert_eq!("g1_2".parse(), Ok(second));
    for wrong in ["", "1_2", "G1", "G1_", "Gx_1", "G1_999"] {
        assert!(wrong.parse::<KeySlot>().is_err(), "{wrong}");
    }
}

fn all_refused() -> Pool {
    let mut pool = pool(3);
    for call in 0..3 {
        let now = NOON + seconds(call);
        let slot = pool.spend(Purpose::Backfill, 1, now).unwrap();
        pool.note_refusal(slot, Purpose::Backfill, Trouble::BadKey, None, now);
    }
    pool
}

#[test]
fn when_every_key_is_refused_one_is_tried_again_every_quarter_of_an_hour() {
    let mut pool = all_refused();
    let (mut now, mut tried) = (NOON + seconds(3), Vec::new());
    for _ in 0..4 {
        let refused = pool.spend(Purpose::Backfill, 1, now).unwrap_err();
        assert_eq!(refused.reason, "retired");
        assert_eq!(pool.acquire(Purpose::Link, 0, now), Err(refused));
        now = refused.at;
        tried.push((
            pool.spend(Purpose::Backfill, 1, now).unwrap().to_string(),
            now.since(NOON).as_secs(),
        ));
        let slot = slots(3)
            .into_iter()
            .find(|slot| slot.to_string() == tried[tried.len() - 1].0)
            .unwrap();
        pool.note_refusal(slot, Purpose::Backfill, Trouble::BadKey, None, now);
    }
    let expect = [("G1_1", 902), ("G1_2", 1_802), ("G1_3", 2_702), ("G1_1", 3_602)];
    assert_eq!(tried, expect.map(|(slot, at)| (slot.to_owned(), at)));
}

#[test]
fn a_vendor_that_was_wrong_about_every_key_is_forgiven_all_of_them_at_once() {
    let mut pool = all_refused();
    let later = NOON + limits::KEYS_RETRY + seconds(2);
    let slot = pool.acquire(Purpose::Link, 0, later).unwrap();
    assert_eq!(pool.usable(), 1);
    pool.served(slot);
    assert_eq!(pool.usable(), 3);
}

#[test]
fn polling_leaves_a_share_of_the_day_to_backfill() {
    let mut pool = pool(1);
    let mut now = NOON.floor(DAY);
    let mut polled = 0;
    while pool.spend(Purpose::Poll, 1, now).is_ok() {
        polled += 1;
        now = now + seconds(8);
    }
    assert_eq!(polled, 800 - 800 / limits::BACKFILL_SHARE);
    assert!(pool.spend(Purpose::Backfill, 1, now + seconds(8)).is_ok());
    assert_eq!(
        pool.spend(Purpose::Poll, 1, now + seconds(16)).unwrap_err().reason,
        "reserved"
    );
}

#[test]
fn the_link_keeps_a_key_of_its_own_until_it_is_refused() {
    let mut pool = pool(3);
    let own = pool.acquire(Purpose::Link, 0, NOON).unwrap();
    assert_eq!(pool.acquire(Purpose::Link, 0, NOON), Ok(own));
    for call in 0..60 {
        assert_ne!(pool.spend(Purpose::Poll, 1, NOON + seconds(4 * call)).ok(), Some(own));
    }
    pool.note_refusal(own, Purpose::Link, Trouble::PlanRefused, None, NOON);
    let other = pool.acquire(Purpose::Link, 0, NOON).unwrap();
    assert_ne!(other, own);
    pool.note_refusal(other, Purpose::Link, Trouble::BadKey, None, NOON);
    assert!(![own, other].contains(&pool.acquire(Purpose::Link, 0, NOON).unwrap()));
}

#[test]
fn a_key_whose_handshake_was_refused_rests_as_long_as_the_vendor_asked_and_the_next_is_tried() {
    let mut pool = pool(3);
    let mut tried = Vec::new();
    for second in 0..3 {
        let now = NOON + seconds(second);
        let slot = pool.acquire(Purpose::Link, 0, now).unwrap();
        pool.handshaken(slot, now);
        pool.note_refusal(slot, Purpose::Link, Trouble::MinuteSpent, Some(seconds(20)), now);
        tried.push(slot);
    }
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried.len(), 3, "each key once");
    let refused = pool.acquire(Purpose::Link, 0, NOON + seconds(3)).unwrap_err();
    assert_eq!((refused.at, refused.reason), (NOON + seconds(20), "retry_after"));
    assert_eq!(
        pool.acquire(Purpose::Backfill, 1, NOON + seconds(3)).unwrap_err().at,
        refused.at
    );
    assert!(pool.acquire(Purpose::Link, 0, NOON + seconds(20)).is_ok());
    // Without `Retry-After`, only the link waits for the next minute.
    let mut single = self::pool(1);
    let slot = single.acquire(Purpose::Link, 0, NOON + seconds(50)).unwrap();
    single.note_refusal(slot, Purpose::Link, Trouble::MinuteSpent, None, NOON + seconds(50));
    let refused = single.acquire(Purpose::Link, 0, NOON + seconds(51)).unwrap_err();
    assert_eq!((refused.at, refused.reason), (NOON + seconds(60), "minute_spent"));
    assert!(single.acquire(Purpose::Backfill, 1, NOON + seconds(51)).is_ok());
}

#[test]
fn no_handshake_follows_another_on_the_same_key_within_its_spacing() {
    let mut pool = pool(2);
    let first = pool.acquire(Purpose::Link, 0, NOON).unwrap();
    pool.handshaken(first, NOON);
    let other = pool.acquire(Purpose::Link, 0, NOON + seconds(1)).unwrap();
    assert_ne!(first, other);
    pool.handshaken(other, NOON + seconds(1));
    let refused = pool.acquire(Purpose::Link, 0, NOON + seconds(2)).unwrap_err();
    assert_eq!((refused.at, refused.reason), (NOON + seconds(8), "spacing"));
    assert_eq!(pool.acquire(Purpose::Link, 0, NOON + seconds(8)), Ok(first));
    // A link that delivered a price and ended is opened again at once, with its own key if no other is ready.
    pool.handshaken(first, NOON + seconds(8));
    pool.link_served(first);
    assert_eq!(pool.acquire(Purpose::Link, 0, NOON + seconds(8)), Ok(first));
    assert_eq!(pool.acquire(Purpose::Link, 0, NOON + seconds(9)), Ok(other));
}

#[test]
fn a_vendor_in_trouble_that_asks_for_time_is_left_alone_with_every_key() {
    let mut pool = pool(3);
    let slot = pool.acquire(Purpose::Link, 0, NOON).unwrap();
    pool.note_refusal(slot, Purpose::Link, Trouble::ServerFault, Some(seconds(30)), NOON);
    let refused = pool.acquire(Purpose::Link, 0, NOON + seconds(1)).unwrap_err();
    assert_eq!((refused.at, refused.reason), (NOON + seconds(30), "retry_after"));
    let call = pool.acquire(Purpose::Backfill, 1, NOON + seconds(1)).unwrap(); // REST is another server
    pool.note_refusal(
        call,
        Purpose::Backfill,
        Trouble::ServerFault,
        Some(seconds(40)),
        NOON + seconds(1),
    );
    assert_eq!(
        pool.acquire(Purpose::Poll, 1, NOON + seconds(2)).unwrap_err().at,
        NOON + seconds(41)
    );
    assert!(pool.acquire(Purpose::Link, 0, NOON + seconds(30)).is_ok());
}

#[test]
fn a_single_key_serves_link_and_rest_alike() {
    let mut pool = pool(1);
    assert!(pool.acquire(Purpose::Link, 0, NOON).is_ok());
    assert!(pool.spend(Purpose::Backfill, 1, NOON).is_ok());
    assert_eq!(pool.spend(Purpose::Backfill, 1, NOON).unwrap_err().reason, "spacing");
}

#[test]
fn without_keys_everything_is_refused() {
    let mut pool = pool(0);
    for purpose in [Purpose::Link, Purpose::Poll, Purpose::Backfill] {
        assert!(pool.spend(purpose, 1, NOON).is_err());
    }
}

#[test]
fn a_restart_does_not_forget_what_today_has_cost() {
    let mut before = pool(2);
    let slot = before.spend(Purpose::Backfill, 5, NOON).unwrap();
    let used = [before.used(slot).unwrap()];
    let mut after = Pool::new(slots(2), POLICY, &used, NOON + seconds(3));
    assert_eq!(after.left_today(), 1_595);
    let acquired: Vec<_> = (0..2)
        .map(|_| after.spend(Purpose::Backfill, 1, NOON + seconds(3)))
        .collect();
    assert!(!acquired.contains(&Ok(slot)), "its spacing is not over: {acquired:?}");
    let tomorrow = Pool::new(slots(2), POLICY, &used, NOON + DAY);
    assert_eq!(tomorrow.left_today(), 1_600);
}

#[test]
fn the_vendors_count_is_believed_over_ours() {
    let mut pool = pool(1);
    let slot = pool.spend(Purpose::Backfill, 1, NOON).unwrap();
    pool.credits(slot, Some(8), Some(0), NOON + seconds(1));
    let refused = pool.spend(Purpose::Backfill, 1, NOON + seconds(20)).unwrap_err();
    assert_eq!(refused.reason, "minute_spent");
    assert_eq!(pool.view(NOON + seconds(2))[0].used_minute, 8);
}

#[test]
fn a_view_shows_each_key_and_its_state() {
    let mut pool = pool(3);
    let used = pool.spend(Purpose::Backfill, 1, NOON).unwrap();
    let view = pool.view(NOON + seconds(1));
    let of = |slot| view.iter().find(|key| key.slot == slot).unwrap();
    assert_eq!(
        (of(used).state, of(used).until),
        (KeyState::Spacing, Some(NOON + seconds(8)))
    );
    assert_eq!(
        (of(used).used_minute, of(used).used_day, of(used).left_day),
        (1, 1, 799)
    );
    assert_eq!(view.iter().filter(|key| key.state == KeyState::Ready).count(), 2);
}

/// Counts usage as the vendor does.
#[derive(Default)]
struct Vendor(BTreeMap<KeySlot, Vec<(Timestamp, u32)>>);

impl Vendor {
    fn call(&mut self, slot: KeySlot, credits: u32, now: Timestamp) {
        let calls = self.0.entry(slot).or_default();
        let sum = |calls: &[(Timestamp, u32)], since: Timestamp| -> u32 {
            calls
                .iter()
                .filter(|(at, _)| *at >= since)
                .map(|(_, credits)| credits)
                .sum()
        };
        if let Some((last, _)) = calls.last() {
            assert!(
                now.since(*last) >= POLICY.spacing,
                "{slot} was used twice within its spacing"
            );
        }
        calls.push((now, credits));
        assert!(
            sum(calls, now.floor(MINUTE)) <= POLICY.per_minute,
            "{slot} is beyond its minute"
        );
        assert!(sum(calls, now.floor(DAY)) <= POLICY.per_day, "{slot} is beyond its day");
    }
}

proptest! {
    #[test]
    fn k1_holds_whatever_is_asked_and_whatever_the_vendor_says(
        count in 1_u8..=16,
        steps in proptest::collection::vec((0_u64..40_000, 1_u32..=8, 0_u8..40), 1..400),
    ) {
        let mut now = NOON;
        let mut pool = pool(count);
        let mut vendor = Vendor::default();
        let mut retired: Vec<(KeySlot, Timestamp)> = Vec::new();
        for (millis, credits, draw) in steps {
            now = now + Duration::from_millis(millis * if draw == 39 { 1_000 } else { 1 });
            let purpose = if draw % 2 == 0 { Purpose::Poll } else { Purpose::Backfill };
            match pool.acquire(purpose, credits, now) {
                Ok(slot) => {
                    let today = |at: Timestamp| at.floor(DAY) == now.floor(DAY);
                    let resting = retired.iter().find(|(known, at)| *known == slot && today(*at));
                    let last = retired.iter().map(|(_, at)| *at).max();
                    let may_try = retired.len() >= usize::from(count)
                        && last.is_some_and(|at| at + limits::KEYS_RETRY <= now);
                    prop_assert!(resting.is_none() || may_try, "{} was retired", slot);
                    retired.retain(|(known, _)| *known != slot);
                    // The vendor sees the call at some time between the acquisition and the answer.
                    let seen = now + Duration::from_millis(millis / 9);
                    vendor.call(slot, credits, seen);
                    now = seen + Duration::from_millis(millis / 7);
                    pool.answered(slot, now);
                    match draw {
                        0 => { pool.note_refusal(slot, purpose, Trouble::BadKey, None, now); retired.push((slot, now)); }
                        1 => pool.note_refusal(slot, purpose, Trouble::MinuteSpent, None, now),
                        2 => pool.note_refusal(slot, purpose, Trouble::DaySpent, None, now),
                        3 => { prop_assert!(pool.acquire(Purpose::Link, 0, now).is_ok() || pool.usable() == 0); }
                        4 => {
                            let used: Vec<KeyUse> = slots(count).into_iter().filter_map(|slot| pool.used(slot)).collect();
                            pool = Pool::new(slots(count), POLICY, &used, now);
                            for (slot, at) in &retired {
                                pool.retire(*slot, *at);
                            }
                        }
                        _ => {}
                    }
                }
                Err(refused) => prop_assert!(refused.at > now, "{} is no time to come back", refused),
            }
        }
    }
}

#[test]
fn a_key_that_was_used_by_a_clock_an_hour_ahead_is_ready_after_its_spacing() {
    let mut pool = pool(1);
    let ahead = NOON + MINUTE * 60;
    let slot = pool.spend(Purpose::Backfill, 1, ahead).unwrap();
    pool.note_refusal(slot, Purpose::Backfill, Trouble::MinuteSpent, None, ahead);
    let refused = pool.spend(Purpose::Backfill, 1, NOON).unwrap_err();
    assert!(refused.at <= NOON + MINUTE, "{refused:?}");
    assert!(pool.spend(Purpose::Backfill, 1, refused.at).is_ok());
}
