//! The exclusive right to write to a database, a store file or a Redis: one candela has it, as long as it renews its lease.
//!
//! ```text
//!             granted                    the lease expires, or its holder is this process
//!  Unknown ───────────► Held ──┐   ┌──────────────────────────────► Held
//!     │                  ▲     ▼   │
//!     └─ held by another ┼──► Contested ── the other renews it ───► Lost
//!                        └─────────────────── granted ────────────────┘
//! ```

use crate::domain::model::Timestamp;
use crate::limits;
use std::fmt;
use std::time::Duration;

/// A place that only one candela may write to.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A PostgreSQL database.
    Database,
    /// The file of the embedded store.
    StoreFile,
    /// A Redis.
    Redis,
}

impl Place {
    /// Its name for programs, which is the reason of the condition `another_writer`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its name for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Database => "the database",
            Self::StoreFile => "the store file",
            Self::Redis => "Redis",
        }
    }

    /// The setting that configures it.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Database => "DATABASE_URL",
            Self::StoreFile => "store.sqlite_file",
            Self::Redis => "REDIS_URL",
        }
    }
}

/// The holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The identity of its ledger folder. A process with the same folder may take the lease at once.
    pub id: String,
    /// The name of the machine.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// Since when it holds the lease, by the clock of the place.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unknown() {
            return f.write_str(&self.host);
        }
        write!(f, "process {} on {}, since {}", self.pid, self.host, self.since)
    }
}

impl Holder {
    /// The holder as one line, as in Redis and in lock files.
    pub fn line(&self) -> String {
        format!("{} {} {} {}", self.id, self.pid, self.since.micros(), self.host)
    }

    /// The holder of a lease that no candela wrote: `key` is where it stands, `line` what stands there.
    pub fn unknown(key: &str, line: &str) -> Self {
        let id: String = line.chars().take(limits::LEASE_LINE_SHOWN).collect();
        Self {
            host: format!("something that is no candela: {key} is {id:?}"),
            id,
            pid: 0,
            since: Timestamp::from_secs(0),
        }
    }

    /// Whether it is no candela, so that its process and since when it holds the lease are not known.
    pub const fn is_unknown(&self) -> bool {
        self.pid == 0
    }

    /// Parses [`Holder::line`].
    pub fn of_line(line: &str) -> Option<Self> {
        let mut parts = line.trim_end().splitn(4, ' ');
        let [id, pid, since, host] = std::array::from_fn(|_| parts.next().filter(|part| !part.is_empty()));
        Some(Self {
            id: id?.to_owned(),
            pid: pid?.parse().ok()?,
            since: Timestamp::from_micros(since?.parse().ok()?),
            host: host?.to_owned(),
        })
    }
}

/// Another candela writes to the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another candela writes to {}{}: stop that one, or let this one write elsewhere ({})",
    place.words(),
    by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default(),
    place.setting()
)]
pub struct AnotherWriter {
    /// The place.
    pub place: Place,
    /// The other writer, if the place records it.
    pub by: Option<Holder>,
}

/// The answer to a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The lease is granted, under this term, a number that rises with each holder.
    Granted(i64),
    /// Another process holds it.
    Held(Held),
}

/// The process that held a lease before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Succession {
    /// The term under which this process was granted the lease; 0 before that.
    pub term: i64,
    /// The [`Holder::id`] of the last leader, if there was one. A holder that died before it led has published nothing.
    pub from: Option<String>,
    /// Whether everything that it published is in the cluster log.
    pub provable: bool,
}

/// A lease that another process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its holder.
    pub by: Holder,
    /// When it expires, unless it is renewed.
    pub left: Duration,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, left } = self;
        let seconds = left.as_secs();
        let tenths = left.subsec_millis() / 100;
        write!(
            f,
            "held by {by}; it runs out in {seconds}.{tenths} s unless it is renewed"
        )
    }
}

/// The state of a lease for this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// No answer yet.
    #[default]
    Unknown,
    /// Held by this process.
    Held {
        /// The term of the lease.
        term: i64,
    },
    /// Held by another process, which may be dead.
    Contested(Holder),
    /// Held by another process, which renews it.
    Lost(Holder),
}

/// A change of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// This process has gained the lease, or gained it back.
    Gained,
    /// Another process holds the lease and renews it.
    Lost(Holder),
}

/// Whether the database answers, and since when it does so again. A lease that runs out while nobody can renew it says nothing about its
/// holder. Instants are durations since any fixed one.
#[derive(Debug, Clone, Default)]
pub struct LeaseOutage {
    /// The last request was not answered.
    lasts: bool,
    /// When the first one after that was answered.
    ended: Option<Duration>,
}

impl LeaseOutage {
    /// A request was not answered.
    pub const fn note_silence(&mut self) {
        self.lasts = true;
    }

    /// One was answered.
    pub fn note_answer(&mut self, now: Duration) {
        if std::mem::replace(&mut self.lasts, false) {
            self.ended = Some(now);
        }
    }

    /// Whether a lease that has run out is left to its holder, who may be well and renews it first.
    pub fn spares_holder(&self, now: Duration) -> bool {
        let just_ended = |ended: Duration| now.saturating_sub(ended) < limits::STANDBY_SPARES;
        self.lasts || self.ended.is_some_and(just_ended)
    }
}

/// Follows one lease. Another holder of the lease may be dead: the lease counts as lost only when it is renewed, or does not expire in
/// time.
#[derive(Debug, Clone, Default)]
pub struct Tenure {
    standing: Standing,
    last: Option<Held>,
    waited: Duration,
}

impl Tenure {
    /// Applies the answer to a request, `since_last` after the previous answer.
    pub fn on(&mut self, answer: Answer, since_last: Duration) -> Option<LeaseChange> {
        match answer {
            Answer::Granted(term) => {
                let held = matches!(self.standing, Standing::Held { .. });
                (self.last, self.waited) = (None, Duration::ZERO);
                self.standing = Standing::Held { term };
                (!held).then_some(LeaseChange::Gained)
            }
            Answer::Held(held) => {
                self.waited = match &self.last {
                    Some(_) => self.waited.saturating_add(since_last),
                    None => Duration::ZERO,
                };
                // Unless it was renewed, the time left has decreased by the elapsed time.
                let lives = self.last.as_ref().is_some_and(|last| {
                    let left = last.left.saturating_sub(since_last / 2);
                    held.left > left || held.by != last.by
                });
                let refused = lives || self.waited > limits::LEASE_TTL + limits::LEASE_RENEW;
                let by = held.by.clone();
                self.last = Some(held);
                if !refused && !matches!(self.standing, Standing::Lost(_)) {
                    self.standing = Standing::Contested(by);
                    return None;
                }
                let news = !matches!(&self.standing, Standing::Lost(known) if *known == by);
                self.standing = Standing::Lost(by.clone());
                news.then_some(LeaseChange::Lost(by))
            }
        }
    }

    /// The state of the lease.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pid: u32, left_ms: u64) -> Answer {
        let by = holder(pid);
        let left = Duration::from_millis(left_ms);
        Answer::Held(Held { by, left })
    }

    fn holder(pid: u32) -> Holder {
        Holder {
            id: format!("folder-{pid}"),
            host: "trading-1".to_owned(),
            pid,
            since: Timestamp::from_secs(1_772_456_400),
        }
    }

    const STEP: Duration = limits::LEASE_TRY;

    #[test]
    fn a_lease_that_is_renewed_while_one_waits_is_of_one_who_lives() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.on(held(7, 4_400), STEP), None);
        assert_eq!(*tenure.standing(), Standing::Contested(holder(7)));
        assert_eq!(tenure.on(held(7, 3_900), STEP), None);
        assert_eq!(tenure.on(held(7, 4_800), STEP), Some(LeaseChange::Lost(holder(7))));
        assert_eq!(tenure.on(held(7, 4_300), STEP), None, "told once");
        assert_eq!(*tenure.standing(), Standing::Lost(holder(7)));
        assert_eq!(tenure.on(held(8, 5_000), STEP), Some(LeaseChange::Lost(holder(8))));
        // When it is renewed as often as it is requested, the time left is always the same.
        let mut tenure = Tenure::default();
        assert_eq!(tenure.on(held(7, 4_400), limits::LEASE_RENEW), None);
        assert_eq!(
            tenure.on(held(7, 4_390), limits::LEASE_RENEW),
            Some(LeaseChange::Lost(holder(7)))
        );
    }

    #[test]
    fn a_lease_that_runs_out_is_taken_over() {
        let mut tenure = Tenure::default();
        for left in [1_200, 700, 200] {
            assert_eq!(tenure.on(held(7, left), STEP), None);
        }
        assert_eq!(tenure.on(Answer::Granted(3), STEP), Some(LeaseChange::Gained));
        assert_eq!(tenure.on(Answer::Granted(3), STEP), None);
        assert_eq!(*tenure.standing(), Standing::Held { term: 3 });
    }

    #[test]
    fn after_an_outage_a_lease_that_ran_out_is_left_to_its_holder_for_a_moment() {
        let mut outage = LeaseOutage::default();
        let mut now = Duration::from_secs(1);
        outage.note_answer(now);
        assert!(
            !outage.spares_holder(now),
            "a leader that dies beside a database that answers is succeeded at once"
        );
        outage.note_silence();
        now += Duration::from_secs(60);
        assert!(outage.spares_holder(now));
        outage.note_answer(now);
        let moment = Duration::from_millis(1);
        now += limits::STANDBY_SPARES - moment;
        outage.note_answer(now);
        assert!(outage.spares_holder(now));
        assert!(!outage.spares_holder(now + moment));
    }

    #[test]
    fn one_that_takes_the_lease_from_another_who_waits_is_not_waited_for_again() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.on(held(7, 200), STEP), None);
        assert_eq!(tenure.on(held(8, 100), STEP), Some(LeaseChange::Lost(holder(8))));
    }

    #[test]
    fn a_lease_that_no_candela_wrote_is_shown_as_it_is_and_not_as_a_process_of_1970() {
        let by = Holder::unknown("candela:writer", &"x".repeat(1_000));
        let held = Held {
            by: by.clone(),
            left: Duration::from_secs(9),
        };
        for text in [by.to_string(), held.to_string()] {
            assert!(text.contains("candela:writer is \"xxx"), "{text}");
            assert!(!text.contains("process") && !text.contains("1970"), "{text}");
            assert!(text.len() < 300, "{text}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_a_lease_lasts_for_one_that_never_runs_out() {
        let mut tenure = Tenure::default();
        let lost = (0..60).find(|_| tenure.on(held(7, 0), STEP).is_some());
        let waited = STEP * lost.unwrap();
        assert!(
            waited > limits::LEASE_TTL && waited < limits::LEASE_TTL * 2,
            "{waited:?}"
        );
    }

    #[test]
    fn a_holder_who_finds_another_in_his_place_waits_to_see_whether_that_one_lives() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.on(Answer::Granted(1), STEP), Some(LeaseChange::Gained));
        assert_eq!(tenure.on(held(7, 4_000), STEP), None);
        assert_eq!(tenure.on(held(7, 4_600), STEP), Some(LeaseChange::Lost(holder(7))));
    }

    #[test]
    fn a_holder_reads_back_as_he_was_written_and_the_sentence_names_him() {
        let known = holder(7);
        assert_eq!(Holder::of_line(&known.line()), Some(known.clone()));
        for broken in ["", "folder-7", "folder-7 x 1 h", "folder-7 7 1 "] {
            assert_eq!(Holder::of_line(broken), None, "{broken:?}");
        }
        let said = AnotherWriter {
            place: Place::Database,
            by: Some(known),
        };
        assert_eq!(
            said.to_string(),
            "another candela writes to the database (process 7 on trading-1, since 2026-03-02T13:00:00Z): stop that one, or let this one \
             write elsewhere (DATABASE_URL)"
        );
    }
}
