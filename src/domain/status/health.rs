//! Conditions beside the state: what is wrong, since when, why, and what would clear it.

use crate::domain::model::{Symbol, Timestamp};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// What can be wrong while the service runs.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionKind {
    /// The gate did not verify the history.
    HistoryUnverified,
    /// The flag that opened the gate is gone or no longer valid.
    FlagWithdrawn,
    /// A pair's history counts as verified because an operator says so.
    GateOverridden,
    /// The wall clock is not trusted: it jumped.
    ClockStepped,
    /// The process did not run for a while.
    ProcessPaused,
    /// The calendar's override file is invalid; the last valid one is in force.
    CalendarFileWrong,
    /// The link to the vendor is down.
    FeedDown,
    /// Prices are polled.
    Polling,
    /// The accepted prices of every pair on the link are overdue.
    FeedSilent,
    /// The database is behind the ledger.
    StoreBehind,
    /// The cache does not answer.
    CacheDown,
    /// The ledger cannot be written: nothing new is published.
    LedgerUnwritable,
    /// An actor used up its restarts.
    ActorParked,
    /// No API key can be used now.
    KeysExhausted,
    /// An actor between the vendor and the clients has no fresh pulse.
    ActorUnresponsive,
    /// Our clock and the vendor's timestamps differ, for every pair alike.
    ClockSkewed,
    /// The timestamps of a pair's prices differ too much from our clock.
    StampsLagging,
    /// Many of a pair's newest prices are rejected.
    TicksRejected,
    /// The vendor refuses a pair on the link, and polling does not deliver it either.
    SymbolRefused,
    /// The reader of the log does not take its lines: they are dropped and counted.
    LogLinesLost,
    /// At this start the ledger could not be shown to be whole: all channels have new epochs.
    LedgerRenumbered,
    /// The database has events that the ledger does not have.
    StoreAhead,
    /// Another program wrote to, trimmed or deleted a Redis stream of candela's.
    StreamDisturbed,
    /// Another candela writes to this one's database or Redis.
    AnotherWriter,
    /// The leader of a cluster cannot renew its lease: nobody can take over.
    LeaseUnrenewable,
    /// The cluster log takes no parcels: edges receive nothing new.
    LogDown,
    /// The cluster log belongs to another leader or to another ledger.
    LogDiverged,
    /// An edge receives nothing from its leader, or is behind the cluster log.
    LogStale,
}

impl ConditionKind {
    /// All kinds.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its name on `/status` and in metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What would clear it, as a sentence for the operator on call.
    pub const fn clears_when(self) -> &'static str {
        match self {
            Self::HistoryUnverified => "a good ready flag is there and the history passes its check",
            Self::FlagWithdrawn => "a good ready flag is there again",
            Self::GateOverridden => "the time of the override is over, or the history passes its check",
            Self::ClockStepped => "the wall clock has kept pace with the machine's steady clock for a minute",
            Self::ProcessPaused => "the process has run again for a minute",
            Self::CalendarFileWrong => "the override file is corrected",
            Self::FeedDown => "the link is up and the vendor has confirmed a pair on it",
            Self::Polling => "the link is up and has replaced polling",
            Self::FeedSilent => "a price is accepted, or the session ends",
            Self::StoreBehind => "the database answers in time and has caught up with the ledger",
            Self::CacheDown => "the cache answers in time",
            Self::LedgerUnwritable => "the ledger's disk can be written again, and its files stand in their folder",
            Self::LedgerRenumbered | Self::StoreAhead => {
                "ten minutes have passed since the start that found it; no action is needed"
            }
            Self::ActorParked => {
                "the actor has run without a failure for its budget's window; a parked actor is started again each minute"
            }
            Self::KeysExhausted => {
                "a key may be used again, at 00:00 UTC; while the vendor refuses every key, one is tried every 15 minutes"
            }
            Self::ActorUnresponsive => "every part between the vendor and the clients handles its messages again",
            Self::ClockSkewed => "the machine's clock and the vendor's stamps agree within 20 s, or the session ends",
            Self::StampsLagging => {
                "a price is received with a stamp within 20 s of the machine's clock, or the session ends"
            }
            Self::TicksRejected => "prices of the pair are accepted again, or the session ends",
            Self::SymbolRefused => "the vendor confirms the pair, or a poll for it succeeds, or the session ends",
            Self::LogLinesLost => "the log accepts lines again, and the line that counts the lost ones is written",
            Self::StreamDisturbed => "the stream is whole again and was not disturbed for a minute",
            Self::AnotherWriter => "the other candela has stopped, or writes elsewhere",
            Self::LeaseUnrenewable => "the database renews the lease",
            Self::LogDown => "the Redis of the cluster log answers and has room, and all parcels are in it",
            Self::LogDiverged => {
                "the node has started again: it continues the cluster log, or begins a new ledger from it"
            }
            Self::LogStale => "this node receives the leader's reports again, and has everything in the cluster log",
        }
    }
}

/// One condition as `/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// The pair that it concerns; `None` for the service as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// Whether it holds now. A cleared condition stays in the list, so that its end is visible.
    pub status: bool,
    /// A name for programs, such as `flag_stale`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when it holds or is cleared.
    #[serde(serialize_with = "crate::domain::model::timestamp::as_text")]
    pub since: Timestamp,
    /// What would clear it.
    pub clears_when: &'static str,
    /// The page that says what to do about it.
    pub runbook: Runbook,
}

/// The address of a condition's runbook on the service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runbook(pub ConditionKind);

impl fmt::Display for Runbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/runbooks?name={}", self.0.name())
    }
}

impl Serialize for Runbook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All conditions that hold or held: at most one of each kind for the service as a whole, and one of each kind per pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions(BTreeMap<(ConditionKind, Option<Symbol>), Condition>);

impl Conditions {
    /// Raises a condition for one pair or (`None`) for the service as a whole. Returns whether it, or its reason, is new; `since` is kept
    /// while it holds.
    pub fn raise(
        &mut self,
        kind: ConditionKind,
        symbol: Option<Symbol>,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> bool {
        let held = self.0.get(&(kind, symbol)).filter(|condition| condition.status);
        let news = held.is_none_or(|condition| condition.reason != reason);
        let condition = Condition {
            kind,
            symbol,
            status: true,
            reason: reason.to_owned(),
            message: message.to_owned(),
            since: held.map_or(now, |condition| condition.since),
            clears_when: kind.clears_when(),
            runbook: Runbook(kind),
        };
        self.0.insert((kind, symbol), condition);
        news
    }

    /// Clears a condition for one pair or for the service as a whole. Returns whether it held.
    pub fn clear(&mut self, kind: ConditionKind, symbol: Option<Symbol>, now: Timestamp) -> bool {
        let Some(condition) = self.0.get_mut(&(kind, symbol)).filter(|condition| condition.status) else {
            return false;
        };
        condition.status = false;
        condition.since = now;
        true
    }

    /// Whether a condition holds for this pair, or (`None`) for the service as a whole.
    pub fn holds(&self, kind: ConditionKind, symbol: Option<Symbol>) -> bool {
        self.0.get(&(kind, symbol)).is_some_and(|condition| condition.status)
    }

    /// Whether a condition holds for this pair or for the service as a whole.
    pub fn concerns(&self, kind: ConditionKind, symbol: Symbol) -> bool {
        self.holds(kind, Some(symbol)) || self.holds(kind, None)
    }

    /// The conditions that hold.
    pub fn holding(&self) -> impl Iterator<Item = &Condition> {
        self.0.values().filter(|condition| condition.status)
    }

    /// All conditions, those that hold first.
    pub fn list(&self) -> Vec<Condition> {
        let over = self.0.values().filter(|condition| !condition.status);
        self.holding().chain(over).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_condition_keeps_its_beginning_while_its_reason_changes() {
        let mut conditions = Conditions::default();
        let kind = ConditionKind::HistoryUnverified;
        assert!(conditions.raise(kind, None, "flag_missing", "There is no flag.", at(1)));
        assert!(!conditions.raise(kind, None, "flag_missing", "There is no flag.", at(2)));
        assert!(conditions.raise(kind, None, "stale", "The newest bar is old.", at(3)));
        assert_eq!(
            conditions
                .holding()
                .map(|c| (c.since, c.reason.as_str()))
                .collect::<Vec<_>>(),
            [(at(1), "stale")]
        );
    }

    #[test]
    fn a_cleared_condition_stays_readable_and_is_news_once() {
        let mut conditions = Conditions::default();
        conditions.raise(
            ConditionKind::CacheDown,
            None,
            "refused",
            "Redis refuses connections.",
            at(1),
        );
        conditions.raise(ConditionKind::StoreBehind, None, "slow", "The database is slow.", at(1));
        assert!(conditions.clear(ConditionKind::StoreBehind, None, at(5)));
        assert!(!conditions.clear(ConditionKind::StoreBehind, None, at(6)));
        assert!(!conditions.clear(ConditionKind::Polling, None, at(6)));
        let list: Vec<_> = conditions
            .list()
            .iter()
            .map(|c| (c.kind.name(), c.status, c.since))
            .collect();
        assert_eq!(list, [("cache_down", true, at(1)), ("store_behind", false, at(5))]);
        assert!(conditions.raise(ConditionKind::StoreBehind, None, "slow", "The database is slow.", at(9)));
    }

    #[test]
    fn a_condition_of_one_pair_is_apart_from_that_of_another_and_of_the_service() {
        let (cop, eur): (Symbol, Symbol) = (Symbol::usdcop(), "EUR/USD".parse().unwrap());
        let kind = ConditionKind::HistoryUnverified;
        let mut conditions = Conditions::default();
        assert!(conditions.raise(kind, Some(eur), "stale", "The newest bar is old.", at(1)));
        assert!(conditions.raise(kind, Some(cop), "stale", "The newest bar is old.", at(2)));
        assert!(conditions.clear(kind, Some(cop), at(3)));
        assert!(!conditions.clear(kind, None, at(3)));
        assert!(
            conditions.holds(kind, Some(eur)) && !conditions.holds(kind, Some(cop)) && !conditions.holds(kind, None)
        );
        assert!(conditions.concerns(kind, eur) && !conditions.concerns(kind, cop));
        conditions.raise(kind, None, "unchecked", "Nothing was checked.", at(4));
        assert!(conditions.concerns(kind, cop));
        let shown = serde_json::to_value(conditions.list()).unwrap();
        let symbols: Vec<_> = shown.as_array().unwrap().iter().map(|one| one.get("symbol")).collect();
        assert_eq!(symbols, [None, Some(&"EUR/USD".into()), Some(&"USD/COP".into())]);
    }

    #[test]
    fn a_condition_reads_as_the_documented_json() {
        let mut conditions = Conditions::default();
        conditions.raise(
            ConditionKind::CacheDown,
            None,
            "refused",
            "Redis refuses connections.",
            at(1),
        );
        let json = serde_json::to_value(conditions.list()).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{"type": "cache_down", "status": true, "reason": "refused",
                "message": "Redis refuses connections.", "since": "1970-01-01T00:00:01Z", "clears_when": "the cache answers in time",
                "runbook": "/runbooks?name=cache_down"}])
        );
        for &kind in ConditionKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
