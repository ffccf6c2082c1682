//! The journal: takes entries from Root and Health, drops those that say nothing new, and holds the rest until they are on their way to the
//! ledger. Pure; bounded in the number of waiting entries and in the entries per minute.

use crate::domain::model::{ServiceEvent, ServiceEventKind, Symbol, Timestamp};
use crate::domain::status::{Condition, ConditionKind};
use crate::domain::vendor::{KeySlot, KeyState, KeysView};
use crate::limits;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The actors that hold conditions. Each knows only its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionHolder {
    /// Root, to which other actors report.
    Root,
    /// Health, which derives them from evidence.
    Health,
}

/// The state of the journal.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    waiting: VecDeque<ServiceEvent>,
    /// The reason of each condition that was noted and holds.
    holding: BTreeMap<(ConditionHolder, ConditionKind, Option<Symbol>), String>,
    /// The last cause and message of entries that are noted only when they change.
    told: BTreeMap<(ServiceEventKind, Option<Symbol>), (String, String)>,
    /// The keys that are out of use, and why.
    keys_out: BTreeMap<KeySlot, &'static str>,
    /// The present minute, and the number of entries in it.
    minute: Option<(Timestamp, u32)>,
    /// Entries of this minute that were dropped.
    left_out: u32,
    /// Entries that were taken for the ledger.
    handed: u64,
}

impl Journal {
    /// Adds an entry.
    pub fn note(&mut self, entry: ServiceEvent, now: Timestamp) {
        self.count(now);
        let counted = self.minute.map_or(0, |(_, count)| count);
        if counted > limits::JOURNAL_A_MINUTE || self.waiting.len() >= limits::JOURNAL_WAITING {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        self.waiting.push_back(entry);
    }

    /// Adds an entry only if its cause or message differs from the last one of its kind and pair.
    pub fn note_news(&mut self, entry: ServiceEvent, now: Timestamp) {
        let kind = match entry.kind {
            ServiceEventKind::LinkUp => ServiceEventKind::LinkDown, // one thing
            kind => kind,
        };
        let said = (entry.cause.clone(), entry.message.clone());
        if self.told.insert((kind, entry.symbol), said.clone()) != Some(said) {
            self.note(entry, now);
        }
    }

    /// Adds entries for conditions that were raised or cleared, or hold for another reason.
    pub fn note_conditions(&mut self, holder: ConditionHolder, conditions: &[Condition], now: Timestamp) {
        for condition in conditions {
            let key = (holder, condition.kind, condition.symbol);
            if !condition.status {
                if self.holding.remove(&key).is_some() {
                    self.note(cleared(condition), now);
                }
            } else if self.holding.get(&key) != Some(&condition.reason) {
                self.holding.insert(key, condition.reason.clone());
                self.note(raised(condition, now), now);
            }
        }
    }

    /// Adds entries for keys that went out of use or became usable again.
    pub fn note_keys(&mut self, keys: &KeysView, now: Timestamp) {
        for (key, tail) in &keys.keys {
            let out = matches!(key.state, KeyState::Retired | KeyState::Spent);
            let was_out = self.keys_out.get(&key.slot).copied();
            if was_out == out.then_some(key.state.name()) {
                continue;
            }
            if out {
                self.keys_out.insert(key.slot, key.state.name());
            } else {
                self.keys_out.remove(&key.slot);
            }
            let what = match key.state {
                KeyState::Retired if key.until.is_none() => "is retired: an operator withdrew it",
                KeyState::Retired => "is retired: the vendor refuses it",
                KeyState::Spent => "is spent for this UTC day",
                KeyState::Ready | KeyState::Spacing | KeyState::Cooling => "may be used again",
            };
            let until = key
                .until
                .filter(|_| out)
                .map_or_else(String::new, |until| format!(", until {until}"));
            let message = format!("Key {} (…{tail}) {what}{until}.", key.slot);
            let entry = ServiceEvent::new(ServiceEventKind::Key, now, key.slot.to_string(), message);
            self.note(entry.with_cause(if out { key.state.name() } else { "usable" }), now);
        }
    }

    /// Takes at most `most` waiting entries, earliest first.
    #[must_use]
    pub fn take(&mut self, most: usize, now: Timestamp) -> Vec<ServiceEvent> {
        self.roll(now);
        let taken: Vec<ServiceEvent> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        self.handed = self
            .handed
            .saturating_add(u64::try_from(taken.len()).unwrap_or(u64::MAX));
        taken
    }

    /// Puts entries back that could not be passed on.
    pub fn put_back(&mut self, entries: Vec<ServiceEvent>) {
        self.handed = self
            .handed
            .saturating_sub(u64::try_from(entries.len()).unwrap_or(u64::MAX));
        entries
            .into_iter()
            .rev()
            .for_each(|entry| self.waiting.push_front(entry));
    }

    /// How many entries were passed on.
    pub const fn handed(&self) -> u64 {
        self.handed
    }

    /// Whether no entry waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn count(&mut self, now: Timestamp) {
        self.roll(now);
        let (began, count) = self.minute.unwrap_or((now, 0));
        self.minute = Some((began, count.saturating_add(1)));
    }

    /// Ends a minute: adds one entry with the number of entries that were dropped in it.
    pub fn roll(&mut self, now: Timestamp) {
        if !self
            .minute
            .is_some_and(|(began, _)| now < began || now.since(began) >= Duration::from_secs(60))
        {
            return;
        }
        self.minute = None;
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let message = format!(
                "{left_out} entries were left out: more than {} in a minute.",
                limits::JOURNAL_A_MINUTE
            );
            let entry = ServiceEvent::new(ServiceEventKind::LeftOut, now, "journal", message).with_cause("too_many");
            self.waiting.push_back(entry.with("count", left_out.to_string()));
        }
    }
}

fn raised(condition: &Condition, now: Timestamp) -> ServiceEvent {
    let kind = ServiceEventKind::ConditionRaised;
    ServiceEvent::new(kind, now, condition.kind.name(), condition.message.clone())
        .with_cause(condition.reason.clone())
        .on(condition.symbol)
        .with("clears_when", condition.clears_when)
}

fn cleared(condition: &Condition) -> ServiceEvent {
    let message = format!("Over: {}", condition.message);
    ServiceEvent::new(
        ServiceEventKind::ConditionCleared,
        condition.since,
        condition.kind.name(),
        message,
    )
    .with_cause(condition.reason.clone())
    .on(condition.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::status::Conditions;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn entry(secs: i64) -> ServiceEvent {
        ServiceEvent::new(ServiceEventKind::Restarted, at(secs), "feed", "It was restarted.")
    }

    fn taken(journal: &mut Journal, now: i64) -> Vec<(ServiceEventKind, String)> {
        let entries = journal.take(usize::MAX, at(now));
        entries.into_iter().map(|entry| (entry.kind, entry.subject)).collect()
    }

    #[test]
    fn a_condition_is_told_when_it_begins_when_its_reason_changes_and_when_it_ends() {
        let (mut journal, mut conditions) = (Journal::default(), Conditions::default());
        let kind = ConditionKind::CacheDown;
        let mut told = |conditions: &Conditions, now| {
            journal.note_conditions(ConditionHolder::Root, &conditions.list(), at(now));
            taken(&mut journal, now)
        };
        let raised = (ServiceEventKind::ConditionRaised, "cache_down".to_owned());
        conditions.raise(kind, None, "refused", "Redis refuses.", at(1));
        assert_eq!(told(&conditions, 1), std::slice::from_ref(&raised));
        conditions.raise(kind, None, "refused", "Redis refuses still.", at(2));
        assert_eq!(told(&conditions, 2), []);
        conditions.raise(kind, None, "slow", "Redis is slow.", at(3));
        assert_eq!(told(&conditions, 3), [raised]);
        conditions.clear(kind, None, at(4));
        assert_eq!(
            told(&conditions, 4),
            [(ServiceEventKind::ConditionCleared, "cache_down".to_owned())]
        );
        assert_eq!(told(&conditions, 5), []);
    }

    #[test]
    fn what_is_said_again_is_written_once_until_it_changes() {
        let mut journal = Journal::default();
        let link = |kind, cause: &str| ServiceEvent::new(kind, at(1), "link", "The link changed.").with_cause(cause);
        for entry in [
            link(ServiceEventKind::LinkDown, "refused"),
            link(ServiceEventKind::LinkDown, "refused"),
            link(ServiceEventKind::LinkUp, "live"),
            link(ServiceEventKind::LinkDown, "refused"),
        ] {
            journal.note_news(entry, at(1));
        }
        let kinds: Vec<ServiceEventKind> = taken(&mut journal, 1).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            [
                ServiceEventKind::LinkDown,
                ServiceEventKind::LinkUp,
                ServiceEventKind::LinkDown
            ]
        );
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut journal = Journal::default();
        for _ in 0..limits::JOURNAL_A_MINUTE + 5 {
            journal.note(entry(1), at(1));
        }
        assert_eq!(
            taken(&mut journal, 2).len(),
            usize::try_from(limits::JOURNAL_A_MINUTE).unwrap()
        );
        let later = journal.take(usize::MAX, at(70));
        assert_eq!(later.len(), 1);
        assert_eq!(
            (later[0].kind, later[0].detail("count")),
            (ServiceEventKind::LeftOut, Some("5"))
        );
    }

    #[test]
    fn entries_that_could_not_go_keep_their_order() {
        let mut journal = Journal::default();
        (0..3).for_each(|secs| journal.note(entry(secs), at(5)));
        let two = journal.take(2, at(5));
        assert_eq!(journal.handed(), 2);
        journal.put_back(two);
        let all: Vec<i64> = journal.take(9, at(5)).iter().map(|entry| entry.at.secs()).collect();
        assert_eq!((all, journal.handed()), (vec![0, 1, 2], 3));
    }
}
