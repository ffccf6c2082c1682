//! What one seed does: how many nodes, how large the cluster log is, and the faults with their times.

use fastrand::Rng;

/// Microseconds of a millisecond and of a second.
pub(crate) const MS: i64 = 1_000;
pub(crate) const S: i64 = 1_000 * MS;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// SIGKILL of any node, and of the one that leads.
    Kill,
    KillLeader,
    /// SIGSTOP, and SIGCONT later.
    Pause,
    PauseLeader,
    /// SIGTERM of the leader: it hands on.
    HandOver,
    /// SIGTERM of another node.
    Stop,
    PowerLoss,
    /// The machine sleeps: its steady clock stands still meanwhile.
    Sleep,
    /// The wall clock of a node jumps, or runs differently.
    ClockStep,
    ClockSkew,
    DiskFull,
    FolderLost,
    FolderRestored,
    /// A node is off for longer than the cluster log reaches.
    Off,
    /// Every ingest but the leader, which is killed, starts at the same moment.
    TwoStandbys,
    CutLog,
    CutBase,
    CutPeers,
    CutClients,
    LogAway,
    LogSlow,
    LogAnswersLost,
    LogEmptied,
    LogTrimmed,
    LogRestored,
    BaseAway,
    BaseSlow,
    BaseAnswersLost,
    RenewalsLost,
    BaseRestored,
    BaseClock,
}

impl Fault {
    pub(crate) const ALL: [Self; 31] = [
        Self::Kill,
        Self::KillLeader,
        Self::Pause,
        Self::PauseLeader,
        Self::HandOver,
        Self::Stop,
        Self::PowerLoss,
        Self::Sleep,
        Self::ClockStep,
        Self::ClockSkew,
        Self::DiskFull,
        Self::FolderLost,
        Self::FolderRestored,
        Self::Off,
        Self::TwoStandbys,
        Self::CutLog,
        Self::CutBase,
        Self::CutPeers,
        Self::CutClients,
        Self::LogAway,
        Self::LogSlow,
        Self::LogAnswersLost,
        Self::LogEmptied,
        Self::LogTrimmed,
        Self::LogRestored,
        Self::BaseAway,
        Self::BaseSlow,
        Self::BaseAnswersLost,
        Self::RenewalsLost,
        Self::BaseRestored,
        Self::BaseClock,
    ];

    /// Bars that were closed may be nowhere any more.
    pub(crate) const fn loses_history(self) -> bool {
        self.is_grave() || matches!(self, Self::PowerLoss | Self::LogTrimmed)
    }

    /// Takes something away that a node had told and that nothing else need have: not in every plan.
    const fn is_grave(self) -> bool {
        matches!(
            self,
            Self::FolderLost | Self::FolderRestored | Self::LogEmptied | Self::LogRestored | Self::BaseRestored
        )
    }
}

/// A fault and its time, in microseconds of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) whom: usize,
    pub(crate) roll: u64,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) ingests: usize,
    pub(crate) edges: usize,
    pub(crate) clients: usize,
    /// `cluster.alone = "hold"`.
    pub(crate) holds: bool,
    /// Entries that the cluster log keeps, and parcels between two openings.
    pub(crate) keep: usize,
    pub(crate) opening_every: usize,
    /// Milliseconds between two prices, at most.
    pub(crate) every: i64,
    pub(crate) faults: Vec<Planned>,
    /// When faults end, and when the run ends.
    pub(crate) calm: i64,
    pub(crate) ends: i64,
}

/// Before that nothing goes wrong.
const BEGINS: i64 = 12 * S;
/// After the last fault everything has to be well within this time.
pub(crate) const HEALS: i64 = 45 * S;

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let lasts = rng.i64(30..=120) * S;
        let calm = BEGINS + lasts;
        let quiet = seed.is_multiple_of(4); // one fault at a time, far from the next: what follows it can be timed
        let grave = seed.is_multiple_of(3);
        let mut faults: Vec<Planned> = Vec::new();
        let count = if quiet { lasts / (20 * S) } else { rng.i64(4..=40) };
        for i in 0..count {
            let fault = loop {
                let fault = Fault::ALL[rng.usize(..Fault::ALL.len())];
                // Where both the database and the log are older than what was told, nothing can show it.
                let other = if seed.is_multiple_of(2) {
                    Fault::LogRestored
                } else {
                    Fault::BaseRestored
                };
                if (grave || !fault.is_grave()) && fault != other {
                    break fault;
                }
            };
            let from = if quiet {
                BEGINS + i * 20 * S
            } else {
                BEGINS + rng.i64(0..lasts)
            };
            let longest = if quiet { 3 } else { 12 };
            let long = if rng.u8(..) < 200 {
                rng.i64(50..=longest * 400)
            } else {
                rng.i64(1_000..=longest * 2_000)
            } * MS;
            faults.push(Planned {
                fault,
                from,
                to: (from + long).min(calm),
                whom: rng.usize(..64),
                roll: rng.u64(..),
            });
        }
        faults.sort_by_key(|planned| planned.from);
        let opening_every = rng.usize(8..=60);
        Self {
            seed,
            ingests: if rng.u8(..) < 64 { 3 } else { 2 },
            edges: 2,
            clients: rng.usize(1..=3),
            holds: rng.bool(),
            keep: opening_every * 2 + rng.usize(4..=300),
            opening_every,
            every: rng.i64(60..=500),
            faults,
            calm,
            ends: calm + HEALS,
        }
    }
}
