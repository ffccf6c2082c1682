//! API keys as the vendor accounts for them: credits a minute and a day, events a minute, connections; and, which no vendor reports, how
//! closely two calls followed each other. Pure: time is an argument.

use crate::domain::model::Timestamp;
use crate::limits;
use std::collections::VecDeque;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// What a plan allows each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// REST credits in a wall-clock minute.
    pub credits_per_minute: u32,
    /// REST credits in a UTC day.
    pub credits_per_day: u32,
    /// WebSocket connections at a time; one more closes the oldest.
    pub connections: usize,
    /// Client events in a wall-clock minute, over all connections of the key.
    pub events_per_minute: u32,
    /// Calls closer than this are reported; no vendor refuses them.
    pub spacing: Duration,
}

impl Default for Plan {
    /// The free plan's credits; connections and events of the plans that have a WebSocket.
    fn default() -> Self {
        Self {
            credits_per_minute: 8,
            credits_per_day: 800,
            connections: 3,
            events_per_minute: 100,
            spacing: Duration::from_secs(8),
        }
    }
}

/// Credits after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credits {
    /// Used in this minute, this call included.
    pub used: u32,
    /// Left in this minute.
    pub left: u32,
}

/// Why a call is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// No credits are left this minute; how many were requested in it.
    Minute(u32),
    /// No credits are left this UTC day; how many were requested in it.
    Day(u32),
}

/// One key and its use.
#[derive(Debug, Clone)]
pub struct Account {
    key: String,
    minute: Window,
    day: Window,
    events: Window,
    last_call: Option<Timestamp>,
    last_handshake: Option<Timestamp>,
    /// Until when it was asked to make no handshake, and no call.
    handshakes_from: Option<Timestamp>,
    calls_from: Option<Timestamp>,
    /// When it was last refused for the rest of the UTC day.
    refused_at: Option<Timestamp>,
    /// Its use, for the report.
    pub(crate) use_: KeyUse,
    /// Its connections, oldest first.
    pub(crate) connections: VecDeque<u64>,
}

/// The use of a key, and the rules that it broke.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// WebSocket connections opened.
    pub connections_total: u64,
    /// Connections closed because the key opened a newer one.
    pub evicted_total: u64,
    /// Client events.
    pub events_total: u64,
    /// REST calls.
    pub calls_total: u64,
    /// REST credits charged.
    pub credits_total: u64,
    /// The shortest time between two REST calls.
    pub spacing_min: Option<Duration>,
    /// Calls that came too soon after the one before.
    pub spacing_broken: u64,
    /// WebSocket handshakes requested.
    pub handshakes_total: u64,
    /// The shortest time between two handshakes.
    pub handshakes_apart_min: Option<Duration>,
    /// Handshakes that came too soon after the one before.
    pub handshakes_too_soon: u64,
    /// Uses before the time of a `Retry-After` had passed.
    pub came_early: u64,
    /// Calls beyond the credits of a minute.
    pub minute_broken: u64,
    /// Calls beyond the credits of a day.
    pub day_broken: u64,
    /// Events beyond those of a minute.
    pub events_broken: u64,
    /// Uses after the vendor had refused the key for the rest of the day.
    pub refused_again: u64,
}

/// A count that starts again with each minute or day of the wall clock.
#[derive(Debug, Clone, Copy)]
struct Window {
    length: Duration,
    began: Timestamp,
    count: u32,
}

impl Window {
    const fn with_length(length: Duration) -> Self {
        Self {
            length,
            began: Timestamp::from_micros(i64::MIN),
            count: 0,
        }
    }

    fn add(&mut self, amount: u32, now: Timestamp) -> u32 {
        let began = now.floor(self.length);
        if self.began != began {
            (self.began, self.count) = (began, 0);
        }
        self.count = self.count.saturating_add(amount);
        self.count
    }
}

impl Account {
    fn new(key: &str) -> Self {
        let minute = Window::with_length(Duration::from_secs(60));
        Self {
            key: key.to_owned(),
            minute,
            day: Window::with_length(DAY),
            events: minute,
            last_call: None,
            last_handshake: None,
            handshakes_from: None,
            calls_from: None,
            refused_at: None,
            use_: KeyUse::default(),
            connections: VecDeque::new(),
        }
    }

    /// Its use, and the rules that it broke.
    pub const fn used_for(&self) -> &KeyUse {
        &self.use_
    }

    /// The part of the key that may be shown: its last four characters.
    pub fn key_tail(&self) -> String {
        key_tail(&self.key)
    }

    /// Counts a client event; returns the minute's count as an error if it is beyond the plan.
    pub fn count_event(&mut self, plan: &Plan, now: Timestamp) -> Result<(), u32> {
        self.use_.events_total += 1;
        let count = self.events.add(1, now);
        if count > plan.events_per_minute {
            self.use_.events_broken += 1;
            return Err(count);
        }
        Ok(())
    }

    /// Counts a REST call, and whether it came too soon. `slack` is how much the network may have shortened the spacing.
    pub fn count_call(&mut self, plan: &Plan, slack: Duration, now: Timestamp) {
        self.use_.calls_total += 1;
        if let Some(last) = self.last_call.replace(now) {
            let gap = now.since(last);
            self.use_.spacing_min = Some(self.use_.spacing_min.map_or(gap, |least| least.min(gap)));
            self.use_.spacing_broken += u64::from(gap + slack < plan.spacing);
        }
        self.use_.came_early += u64::from(self.calls_from.is_some_and(|from| now + slack < from));
    }

    /// Counts a handshake, and whether it came too soon.
    pub fn count_handshake(&mut self, plan: &Plan, slack: Duration, now: Timestamp) {
        self.use_.handshakes_total += 1;
        if let Some(last) = self.last_handshake.replace(now) {
            let gap = now.since(last);
            self.use_.handshakes_apart_min = Some(self.use_.handshakes_apart_min.map_or(gap, |least| least.min(gap)));
            self.use_.handshakes_too_soon += u64::from(gap + slack < plan.spacing);
        }
        self.use_.came_early += u64::from(self.handshakes_from.is_some_and(|from| now + slack < from));
    }

    /// Records that the key was asked to make no handshake, or no call, before `until`.
    pub fn ask_to_wait(&mut self, handshakes: bool, calls: bool, until: Timestamp) {
        if handshakes {
            self.handshakes_from = self.handshakes_from.max(Some(until));
        }
        if calls {
            self.calls_from = self.calls_from.max(Some(until));
        }
    }

    /// Records that the key is refused for the rest of the UTC day: as unknown, or because its credits are spent. The pairs of one call are
    /// refused at one instant.
    pub fn count_refusal(&mut self, now: Timestamp) {
        let before = self.refused_at.replace(now);
        let again = before.is_some_and(|at| at != now && at.floor(DAY) == now.floor(DAY));
        self.use_.refused_again += u64::from(again);
    }

    /// Charges credits. A call beyond the budget is refused, not charged, and counted as broken.
    pub fn spend_credits(&mut self, plan: &Plan, cost: u32, now: Timestamp) -> Result<Credits, Shortage> {
        let day_used = self.day.add(0, now).saturating_add(cost);
        if day_used > plan.credits_per_day {
            self.use_.day_broken += 1;
            self.count_refusal(now);
            return Err(Shortage::Day(day_used));
        }
        let minute_used = self.minute.add(0, now).saturating_add(cost);
        if minute_used > plan.credits_per_minute {
            self.use_.minute_broken += 1;
            return Err(Shortage::Minute(minute_used));
        }
        self.refused_at = None;
        self.day.add(cost, now);
        self.use_.credits_total += u64::from(cost);
        let used = self.minute.add(cost, now);
        Ok(Credits {
            used,
            left: plan.credits_per_minute.saturating_sub(used),
        })
    }

    /// Credits used in this minute and day.
    pub fn credits_used(&mut self, now: Timestamp) -> (u32, u32) {
        (self.minute.add(0, now), self.day.add(0, now))
    }
}

/// The last four characters of a key, or fewer of a short one: never half of it.
pub fn key_tail(key: &str) -> String {
    let shown = (key.chars().count() / 2).min(4);
    let skipped = key.chars().count() - shown;
    format!("…{}", key.chars().skip(skipped).collect::<String>())
}

/// All keys.
#[derive(Debug, Clone)]
pub struct Accounts {
    accounts: Vec<Account>,
    any: bool,
}

impl Accounts {
    /// Accounts of the known keys. An empty list accepts every key, in the order of first use.
    pub fn new(keys: &[String]) -> Self {
        Self {
            accounts: keys.iter().map(|key| Account::new(key)).collect(),
            any: keys.is_empty(),
        }
    }

    /// The place of a key, from 1; `None` if it is not known.
    pub fn find_key(&mut self, key: &str) -> Option<usize> {
        if let Some(at) = self.accounts.iter().position(|account| account.key == key) {
            return Some(at + 1);
        }
        let full = self.accounts.len() >= limits::SIM_KEYS;
        if !self.any || key.is_empty() || full {
            return None;
        }
        self.accounts.push(Account::new(key));
        Some(self.accounts.len())
    }

    /// The account at a place.
    pub fn account_at(&mut self, place: usize) -> Option<&mut Account> {
        self.accounts.get_mut(place.checked_sub(1)?)
    }

    /// All, in order, to note something of each.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Account> {
        self.accounts.iter_mut()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(1_761_134_400);

    fn after(secs: u64) -> Timestamp {
        NOON + Duration::from_secs(secs)
    }

    fn account() -> Account {
        Account::new("secret-key-0001")
    }

    #[test]
    fn the_ninth_credit_of_a_minute_is_refused_and_the_next_minute_is_new() {
        let (mut account, plan) = (account(), Plan::default());
        for call in 1..=8 {
            assert_eq!(
                account.spend_credits(&plan, 1, after(call)),
                Ok(Credits {
                    used: u32::try_from(call).unwrap(),
                    left: 8 - u32::try_from(call).unwrap()
                })
            );
        }
        assert_eq!(account.spend_credits(&plan, 1, after(59)), Err(Shortage::Minute(9)));
        assert!(account.spend_credits(&plan, 1, after(60)).is_ok());
        assert_eq!((account.use_.minute_broken, account.use_.credits_total), (1, 9));
    }

    #[test]
    fn the_day_ends_at_utc_midnight() {
        let (mut account, plan) = (
            account(),
            Plan {
                credits_per_day: 2,
                ..Plan::default()
            },
        );
        assert!(account.spend_credits(&plan, 2, NOON).is_ok());
        assert_eq!(account.spend_credits(&plan, 1, after(43_199)), Err(Shortage::Day(3)));
        assert!(account.spend_credits(&plan, 1, after(43_200)).is_ok());
        assert_eq!(account.use_.day_broken, 1);
    }

    #[test]
    fn the_hundred_and_first_event_of_a_minute_is_too_many() {
        let (mut account, plan) = (account(), Plan::default());
        assert!((0..100).all(|_| account.count_event(&plan, NOON).is_ok()));
        assert_eq!(account.count_event(&plan, NOON), Err(101));
        assert_eq!(account.count_event(&plan, after(60)), Ok(()));
        assert_eq!(account.use_.events_broken, 1);
    }

    #[test]
    fn calls_that_follow_too_closely_are_counted() {
        let (mut account, plan) = (account(), Plan::default());
        for at in [0, 8, 15, 30] {
            account.count_call(&plan, Duration::ZERO, after(at));
        }
        assert_eq!(
            (account.use_.spacing_broken, account.use_.spacing_min),
            (1, Some(Duration::from_secs(7)))
        );
        account.count_call(&plan, Duration::from_secs(1), after(37));
        assert_eq!(account.use_.spacing_broken, 1, "the slack is granted");
    }

    #[test]
    fn a_key_that_was_refused_for_the_day_and_is_used_again_that_day_is_noticed() {
        let mut account = account();
        account.count_refusal(NOON);
        account.count_refusal(after(43_200));
        assert_eq!(
            account.use_.refused_again, 0,
            "once a day is how one learns that it is good again"
        );
        account.count_refusal(after(43_300));
        assert_eq!(account.use_.refused_again, 1);
    }

    #[test]
    fn unknown_keys_are_known_only_when_no_list_was_given() {
        let mut listed = Accounts::new(&["one".to_owned(), "two".to_owned()]);
        assert_eq!(
            (listed.find_key("two"), listed.find_key("three"), listed.find_key("")),
            (Some(2), None, None)
        );
        let mut open = Accounts::new(&[]);
        assert_eq!(
            (
                open.find_key("a"),
                open.find_key("b"),
                open.find_key("a"),
                open.find_key("")
            ),
            (Some(1), Some(2), Some(1), None)
        );
    }

    #[test]
    fn a_key_is_never_shown_whole() {
        assert_eq!(account().key_tail(), "…0001");
        assert_eq!((key_tail("abc"), key_tail("")), ("…c".to_owned(), "…".to_owned()));
    }
}
