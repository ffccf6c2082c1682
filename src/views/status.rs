//! The parts of `/status`, each as it is shown. Instants have the offset of the first pair's market.

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
    /// It runs, and its pulse is not stale.
    pub alive: bool,
    /// Restarts since the process started.
    pub restarts: u32,
    /// The cause of the last failure.
    pub last_cause: Option<String>,
    /// How many messages its mailbox holds at the most.
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
    /// Failed; sleeps in its back-off before it is restarted.
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
    /// Market milliseconds for which the first of them has waited.
    pub age_ms: u64,
    /// Events that were refused and set aside since the process started.
    pub rejected_total: u64,
    /// What is wrong with where it writes to.
    pub trouble: Option<ReaderTrouble>,
}

/// What is wrong with where a reader writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReaderTrouble {
    /// Since when.
    pub since: ZonedInstant,
    /// What was said last.
    pub message: String,
}

impl ReaderStatus {
    /// What the reader of that name shows.
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

/// An API key: its last four characters at the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// Its place, and the end of its text: `G1_1 …a91f`.
    pub id: String,
    /// `G1`.
    pub group: String,
    /// Until when it may not be used.
    pub until: Option<ZonedInstant>,
    /// What it may do, and what it has cost.
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
    /// Used when the session closes.
    pub expected: u32,
    /// What all usable keys have in a day.
    pub available: u32,
    /// Whether that suffices.
    pub fits: bool,
    /// The pairs that are polled now.
    pub polled: Vec<Symbol>,
    /// Between two rounds of polling.
    pub every_seconds: Option<f64>,
}

/// Our bars of the sessions against the vendor's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ComparisonStatus {
    /// How many were compared.
    pub bars: u64,
    /// How many of them tell something else.
    pub mismatched: u64,
    /// The same of each pair.
    pub pairs: BTreeMap<Symbol, PairCounts>,
}

/// A right to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseStatus {
    /// `database`, `store_file` or `redis`.
    pub place: &'static str,
    /// `unknown`, `held`, `contested` or `lost`.
    pub state: &'static str,
    /// A number that rises with each holder, while it is ours.
    pub term: Option<i64>,
    /// Who else has it.
    pub held_by: Option<HolderStatus>,
    /// Why the last request was not answered.
    pub trouble: Option<String>,
}

/// Who has a right to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HolderStatus {
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Since when.
    pub since: ZonedInstant,
}

impl LeaseStatus {
    /// How the lease on a place stands, and the error when the server did not answer.
    pub fn new(place: Place, standing: &Standing, trouble: Option<&str>, zone: Tz) -> Self {
        let (state, term, by) = match standing {
            Standing::Unknown => ("unknown", None, None),
            Standing::Held { term } => ("held", Some(*term), None),
            Standing::Contested(by) => ("contested", None, Some(by)),
            Standing::Lost(by) => ("lost", None, Some(by)),
        };
        let held_by = by.map(|by: &Holder| HolderStatus {
            host: by.host.clone(),
            pid: by.pid,
            since: ZonedInstant::new(by.since, zone),
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
    /// Bars between them that candela has.
    pub ours: usize,
    /// Expected bars between them that nobody has.
    pub missing: usize,
    /// Bars that both have.
    pub overlapping: usize,
    /// Of them, those whose prices differ.
    pub differing: usize,
    /// Some of those, newest first.
    pub examples: Vec<String>,
}

impl SeamStatus {
    /// The seam as it is read in `zone`.
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
    /// The flag that asked for it.
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
    /// When L0 says it was ready.
    pub at: ZonedInstant,
    /// What the file says beyond that.
    #[serde(flatten)]
    pub manifest: Manifest,
}

impl VerdictStatus {
    /// The verdict as it is read in `zone`.
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
