//! The parts of `/status`, as they are shown. Instants have the offset of the first pair's market.

use crate::domain::followers::ReaderView;
use crate::domain::followers::lease::{Holder, Place, Standing};
use crate::domain::history::{Manifest, Verdict};
use crate::domain::model::{Seam, Symbol, Timestamp, ZonedInstant};
use crate::domain::pipeline::PairCounts;
use crate::domain::vendor::KeyView;
use chrono_tz::Tz;
use serde::Serialize;
use std::collections::BTreeMap;

/// An actor under supervision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActorStatus {
    /// Its name in the tree.
    pub name: String,
    /// Whether it runs, waits to be restarted, or is parked.
    pub standing: ActorStanding,
    /// Whether it runs and its pulse is not stale.
    pub alive: bool,
    /// Restarts since the process started.
    pub restarts: u32,
    /// The cause of the last failure.
    pub last_cause: Option<String>,
    /// The capacity of its mailbox, in messages.
    pub mailbox: usize,
    /// Real milliseconds since it last showed that it handles its messages.
    pub pulse_age_ms: u64,
}

/// Whether an actor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorStanding {
    /// Running.
    Alive,
    /// Failed, and in back-off before it is restarted.
    Restarting,
    /// Out of budget: its address is valid, its mailbox fills and then answers `Full`.
    Parked,
}

/// A reader of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReaderStatus {
    /// `writer` or `publisher`.
    pub name: &'static str,
    /// `sqlite`, `postgresql`, `redis` or `memory`.
    pub kind: &'static str,
    /// The last position that it has written.
    pub position: u64,
    /// Events between it and the end of the ledger.
    pub distance: u64,
    /// Market milliseconds that the first of them has waited.
    pub age_ms: u64,
    /// Events that were refused and set aside since the process started.
    pub rejected_total: u64,
    /// The problem of the sink that it writes to, if any.
    pub trouble: Option<ReaderTrouble>,
}

/// The problem of a reader's sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReaderTrouble {
    /// Since when.
    pub since: ZonedInstant,
    /// The last error.
    pub message: String,
}

impl ReaderStatus {
    /// The status of the reader with that name.
    pub fn new(name: &'static str, reader: &ReaderView, now: Timestamp, zone: Tz) -> Self {
        let waited = reader.waiting_since.map_or(0, |at| now.since(at).as_millis());
        let trouble = reader.trouble.as_ref().map(|(since, message)| ReaderTrouble {
            since: ZonedInstant::new(*since, zone),
            message: message.clone(),
        });
        Self {
            name,
            kind: reader.kind,
            position: reader.position.0,
            distance: reader.distance(),
            age_ms: u64::try_from(waited).unwrap_or(u64::MAX),
            rejected_total: reader.rejected_total,
            trouble,
        }
    }
}

/// An API key: at most its last four characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// Its place in the settings, and the end of its text: `G1_1 …a91f`.
    pub id: String,
    /// Its group: `G1`.
    pub group: String,
    /// Until when it may not be used.
    pub until: Option<ZonedInstant>,
    /// Its state, and the credits used.
    #[serde(flatten)]
    pub key: KeyView,
}

impl KeyStatus {
    /// A key whose text ends in `tail`.
    pub fn new(key: &KeyView, tail: &str, zone: Tz) -> Self {
        Self {
            id: format!("{} …{tail}", key.slot),
            group: format!("G{}", key.slot.group),
            until: key.until.map(|until| ZonedInstant::new(until, zone)),
            key: *key,
        }
    }
}

/// What today will have cost, in credits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastStatus {
    /// When it was made.
    pub at: ZonedInstant,
    /// Used so far.
    pub used: u32,
    /// What will have been used when the session closes.
    pub expected: u32,
    /// The credits of all usable keys in a day.
    pub available: u32,
    /// Whether they suffice.
    pub fits: bool,
    /// The pairs that are polled now.
    pub polled: Vec<Symbol>,
    /// The interval between rounds of polling.
    pub every_seconds: Option<f64>,
}

/// Our bars of the sessions against the vendor's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ComparisonStatus {
    /// How many were compared.
    pub bars: u64,
    /// How many of them differ.
    pub mismatched: u64,
    /// The same for each pair.
    pub pairs: BTreeMap<Symbol, PairCounts>,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseStatus {
    /// `database`, `store_file` or `redis`.
    pub place: &'static str,
    /// `unknown`, `held`, `contested` or `lost`.
    pub state: &'static str,
    /// The term, which rises with each holder; only while this process holds the lease.
    pub term: Option<i64>,
    /// The other holder.
    pub held_by: Option<HolderStatus>,
    /// Why the last request was not answered.
    pub trouble: Option<String>,
}

/// The holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HolderStatus {
    /// The machine, or what stands where a candela writes its name.
    pub host: String,
    /// The process; `null` if it is no candela.
    pub pid: Option<u32>,
    /// Since when; `null` if it is no candela.
    pub since: Option<ZonedInstant>,
}

impl LeaseStatus {
    /// The state of the lease on `place`; `trouble`: the error when the server did not answer.
    pub fn new(place: Place, standing: &Standing, trouble: Option<&str>, zone: Tz) -> Self {
        let (state, term, by) = match standing {
            Standing::Unknown => ("unknown", None, None),
            Standing::Held { term } => ("held", Some(*term), None),
            Standing::Contested(by) => ("contested", None, Some(by)),
            Standing::Lost(by) => ("lost", None, Some(by)),
        };
        let held_by = by.map(|by: &Holder| {
            let known = !by.is_unknown();
            HolderStatus {
                host: by.host.clone(),
                pid: known.then_some(by.pid),
                since: known.then(|| ZonedInstant::new(by.since, zone)),
            }
        });
        Self {
            place: place.name(),
            state,
            term,
            held_by,
            trouble: trouble.map(str::to_owned),
        }
    }
}

/// Where a pair's history ends and its live bars begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeamStatus {
    /// The last bar of the history before the first live one.
    pub last_history_bar: Option<ZonedInstant>,
    /// The first bar made of live prices.
    pub first_live_bar: ZonedInstant,
    /// Bars between them that candela has itself.
    pub ours: usize,
    /// Expected bars between them that neither has.
    pub missing: usize,
    /// Bars that both have.
    pub overlapping: usize,
    /// Those of them whose prices differ.
    pub differing: usize,
    /// Some of those, newest first.
    pub examples: Vec<String>,
}

impl SeamStatus {
    /// The seam, shown in `zone`.
    pub fn new(seam: &Seam, zone: Tz) -> Self {
        Self {
            last_history_bar: seam.last_history_bar.map(|at| ZonedInstant::new(at, zone)),
            first_live_bar: ZonedInstant::new(seam.first_live_bar, zone),
            ours: seam.ours,
            missing: seam.missing,
            overlapping: seam.overlapping,
            differing: seam.differing,
            examples: seam.examples.clone(),
        }
    }
}

/// The last verdict on a pair's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerdictStatus {
    /// When it was made.
    pub at: ZonedInstant,
    /// The flag that the check was for.
    pub flag: Option<FlagStatus>,
    /// The newest bar.
    pub newest: Option<ZonedInstant>,
    /// Everything else.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A ready flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlagStatus {
    /// The time that L0 wrote as that of its completion.
    pub at: ZonedInstant,
    /// The other fields of the file.
    #[serde(flatten)]
    pub manifest: Manifest,
}

impl VerdictStatus {
    /// The verdict, shown in `zone`.
    pub fn new(verdict: &Verdict, zone: Tz) -> Self {
        let flag = verdict.flag.as_ref().map(|flag| FlagStatus {
            at: ZonedInstant::new(flag.at, zone),
            manifest: flag.manifest.clone(),
        });
        Self {
            at: ZonedInstant::new(verdict.at, zone),
            flag,
            newest: verdict.newest.map(|newest| ZonedInstant::new(newest, zone)),
            verdict: verdict.clone(),
        }
    }
}
