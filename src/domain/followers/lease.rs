//! The right to write to a database, a store file or a Redis: one candela at a time, for as long as it renews its lease.
//!
//! ```text
//!             granted                    the lease runs out, or its holder is this one
//!  Unknown ───────────► Held ──┐   ┌──────────────────────────────► Held
//!     │                  ▲     ▼   │
//!     └─ held by another ┼──► Contested ── the other renews it ───► Lost
//!                        └─────────────────── granted ────────────────┘
//! ```

use crate::domain::model::Timestamp;
use crate::limits;
use std::fmt;
use std::time::Duration;

/// What only one candela may write to.
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
    /// Its name for programs: the reason of the condition `another_writer`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What people call it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Database => "the database",
            Self::StoreFile => "the store file",
            Self::Redis => "Redis",
        }
    }

    /// The setting that names it.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Database => "DATABASE_URL",
            Self::StoreFile => "store.sqlite_file",
            Self::Redis => "REDIS_URL",
        }
    }
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The ledger folder on its machine, as it is known there: the same one again may go on at once.
    pub id: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Since when, by the clock of what is written to.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}, since {}", self.pid, self.host, self.since)
    }
}

impl Holder {
    /// One line: what stands in Redis and in lock files.
    pub fn line(&self) -> String {
        format!("{} {} {} {}", self.id, self.pid, self.since.micros(), self.host)
    }

    /// Reads [`Holder::line`].
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

/// Another candela writes there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another candela writes to {}{}: stop that one, or let this one write elsewhere ({})",
    place.words(),
    by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default(),
    place.setting()
)]
pub struct AnotherWriter {
    /// What is written to.
    pub place: Place,
    /// Who that is, where it says so.
    pub by: Option<Holder>,
}

/// What was said to one who asked for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is his, under this term: a number that rises with each holder.
    Granted(i64),
    /// Another has it.
    Held(Held),
}

/// From whom a lease was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Succession {
    /// The term under which it was granted; 0: not yet.
    pub term: i64,
    /// The [`Holder::id`] of the one who led last, if anybody did: who had it and died before he led has told nothing.
    pub from: Option<String>,
    /// Whether that one told nothing that the cluster log does not have.
    pub provable: bool,
}

/// A lease of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Who has it.
    pub by: Holder,
    /// How long it still runs, unless it is renewed.
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

/// How a lease stands with this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nobody has answered yet.
    #[default]
    Unknown,
    /// Ours.
    Held {
        /// Under this term.
        term: i64,
    },
    /// Another has it, and may be dead.
    Contested(Holder),
    /// Another has it and renews it.
    Lost(Holder),
}

/// Something that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// The lease is ours again, or for the first time.
    Gained,
    /// Another has it and lives.
    Lost(Holder),
}

/// Follows one lease. A lease that another holds may be of one that died: only when it is renewed, or does not run out in time, is it
/// lost.
#[derive(Debug, Clone, Default)]
pub struct Tenure {
    standing: Standing,
    last: Option<Held>,
    waited: Duration,
}

impl Tenure {
    /// What was said when it was asked for, `since_last` after the answer before.
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
                // Unless it is renewed it has less left by the time that has passed.
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

    /// How it stands.
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
        // Asked for as often as it is renewed it always has the same time left.
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
    fn one_that_takes_the_lease_from_another_who_waits_is_not_waited_for_again() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.on(held(7, 200), STEP), None);
        assert_eq!(tenure.on(held(8, 100), STEP), Some(LeaseChange::Lost(holder(8))));
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
