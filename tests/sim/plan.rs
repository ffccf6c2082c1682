//! What one seed does: pairs, calendars, days, and the faults with their times. A plan is all that a run depends on, so a failing
//! seed can be run again with fewer faults.

use crate::aim::{aimed, is_aimed, is_crowded, is_dense, moves_clocks, of_clock};
use candela::domain::model::{Interval, Symbol};
use candela::domain::pipeline::{Boundary, OnMismatch};
use fastrand::Rng;

/// Seconds of a day.
pub(crate) const DAY: i64 = 86_400;
/// Microseconds of a second.
pub(crate) const S: i64 = 1_000_000;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    LinkCut,
    LinkRefused,
    LinkMute,
    LinkNoPrices,
    LinkPlanRefuses,
    FrameOdd,
    TickLate,
    TickAhead,
    TickFuture,
    TickRepeated,
    TickReordered,
    TickOffSession,
    PriceSpike,
    PriceUnusable,
    RestRefused,
    RestSlow,
    RestEmpty,
    RestGarbage,
    ClockStep,
    ClockSkew,
    Pause,
    Kill,
    PowerLoss,
    Restore,
    MarkLost,
    DiskFull,
    DiskSlow,
    DiskUnsure,
    StoreDown,
    StoreSlow,
    StoreLies,
    StoreRestored,
    CacheDown,
    CacheDisturbed,
    L0Late,
    L0Wrong,
    L0Withdrawn,
    L0Holes,
    CalendarShort,
    CalendarLong,
    ClientStall,
    ClientGone,
    Stop,
    LogCut,
}

impl Fault {
    pub(crate) const ALL: [Self; 44] = [
        Self::LinkCut,
        Self::LinkRefused,
        Self::LinkMute,
        Self::LinkNoPrices,
        Self::LinkPlanRefuses,
        Self::FrameOdd,
        Self::TickLate,
        Self::TickAhead,
        Self::TickFuture,
        Self::TickRepeated,
        Self::TickReordered,
        Self::TickOffSession,
        Self::PriceSpike,
        Self::PriceUnusable,
        Self::RestRefused,
        Self::RestSlow,
        Self::RestEmpty,
        Self::RestGarbage,
        Self::ClockStep,
        Self::ClockSkew,
        Self::Pause,
        Self::Kill,
        Self::PowerLoss,
        Self::Restore,
        Self::MarkLost,
        Self::DiskFull,
        Self::DiskSlow,
        Self::DiskUnsure,
        Self::StoreDown,
        Self::StoreSlow,
        Self::StoreLies,
        Self::StoreRestored,
        Self::CacheDown,
        Self::CacheDisturbed,
        Self::L0Late,
        Self::L0Wrong,
        Self::L0Withdrawn,
        Self::L0Holes,
        Self::CalendarShort,
        Self::CalendarLong,
        Self::ClientStall,
        Self::ClientGone,
        Self::Stop,
        Self::LogCut,
    ];
    /// So many of them are drawn where plans are not aimed: a seed with a name stays what it is.
    const DRAWN: usize = 42;

    /// How many are drawn from in a plan.
    const fn drawn(seed: u64) -> usize {
        if is_dense(seed) { Self::ALL.len() } else { Self::DRAWN }
    }

    /// Happens at one instant; the others last.
    pub(crate) const fn instant(self) -> bool {
        matches!(
            self,
            Self::LinkCut
                | Self::FrameOdd
                | Self::Kill
                | Self::PowerLoss
                | Self::Restore
                | Self::MarkLost
                | Self::StoreRestored
                | Self::L0Withdrawn
                | Self::CalendarShort
                | Self::CalendarLong
                | Self::ClientGone
                | Self::Stop
                | Self::LogCut
        )
    }

    /// Falls on the gate of a session, before its open.
    const fn of_gate(self) -> bool {
        matches!(self, Self::L0Late | Self::L0Wrong | Self::L0Holes)
    }
}

/// A fault and its time, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Which pair or client, where it matters.
    pub(crate) whom: usize,
    /// What the details are drawn from.
    pub(crate) roll: u64,
}

/// The calendars there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Colombia,
    Forex,
    Always,
}

/// One pair.
#[derive(Debug, Clone)]
pub(crate) struct PairPlan {
    pub(crate) symbol: Symbol,
    pub(crate) kind: Kind,
    /// Minutes after midnight in Bogota, for `Kind::Colombia`.
    pub(crate) open: i64,
    pub(crate) close: i64,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) boundary: Boundary,
    /// Seconds between two prices, about.
    pub(crate) every: i64,
    /// Millionths.
    pub(crate) price: i64,
    pub(crate) on_mismatch: OnMismatch,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) pairs: Vec<PairPlan>,
    /// Seconds since 1970: when the world begins, when the last session that counts is over, when everything is to be well again,
    /// and when it ends.
    pub(crate) begins: i64,
    pub(crate) calm: i64,
    pub(crate) ends: i64,
    /// UTC days (since 1970) on which prices are made.
    pub(crate) dates: Vec<i64>,
    pub(crate) clients: usize,
    pub(crate) keys: u8,
    pub(crate) faults: Vec<Planned>,
    /// When L0 writes its flag in addition.
    pub(crate) flags: Vec<i64>,
}

/// Colombian holidays of the simulated time, written down from the official list: days since 1970 are computed from them.
const HOLIDAYS: [(i64, i64, i64); 15] = [
    (2025, 10, 13),
    (2025, 11, 3),
    (2025, 11, 17),
    (2025, 12, 8),
    (2025, 12, 25),
    (2025, 12, 31),
    (2026, 1, 1),
    (2026, 1, 12),
    (2026, 3, 23),
    (2026, 4, 2),
    (2026, 4, 3),
    (2026, 5, 1),
    (2026, 5, 18),
    (2026, 6, 8),
    (2026, 6, 15),
];

/// Days since 1970 of a civil date (Howard Hinnant's algorithm), so that the model does not ask the calendar under test.
pub(crate) const fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Whether Colombia trades on that day.
pub(crate) fn colombian(day: i64) -> bool {
    let weekday = (day + 3).rem_euclid(7); // 0 is Monday
    weekday < 5
        && !HOLIDAYS
            .iter()
            .any(|(year, month, of)| days_of(*year, *month, *of) == day)
}

impl PairPlan {
    /// The session of a UTC day, by the rules as people write them: seconds since 1970, without any correction.
    pub(crate) fn session(&self, day: i64) -> Option<(i64, i64)> {
        let midnight = day * DAY;
        match self.kind {
            Kind::Always => Some((midnight, midnight + DAY)),
            Kind::Colombia => {
                let at = |minutes: i64| midnight + 5 * 3_600 + minutes * 60; // Bogota is five hours behind UTC all year
                colombian(day).then(|| (at(self.open), at(self.close)))
            }
            Kind::Forex => {
                let weekday = (day + 3).rem_euclid(7);
                let turn = |day: i64| day * DAY + (17 + if summer(day) { 4 } else { 5 }) * 3_600;
                (weekday < 5).then(|| (turn(day - 1), turn(day)))
            }
        }
    }
}

/// Whether New York has summer time at 17:00 of that day: 2025-03-09 to 2025-11-02, 2026-03-08 to 2026-11-01.
const fn summer(day: i64) -> bool {
    (days_of(2025, 3, 9) <= day && day < days_of(2025, 11, 2))
        || (days_of(2026, 3, 8) <= day && day < days_of(2026, 11, 1))
}

/// First days of runs: ordinary ones, eves of holidays, and weeks' ends.
const STARTS: [(i64, i64, i64); 8] = [
    (2025, 10, 10),
    (2025, 10, 22),
    (2025, 12, 23),
    (2025, 12, 24),
    (2026, 1, 9),
    (2026, 2, 3),
    (2026, 4, 1),
    (2026, 4, 30),
];

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let (year, month, of) = STARTS[rng.usize(..STARTS.len())];
        let first = days_of(year, month, of);
        let mixed = rng.u8(..10) < 3;
        let pairs = pairs(&mut rng, mixed);
        let (begins, dates, calm) = if mixed {
            let midnight = first * DAY;
            let turns = [12 * 3_600, 3 * 3_600, 15 * 3_600, 23 * 3_600];
            let begins = midnight + turns[rng.usize(..turns.len())];
            let calm = begins + rng.i64(7_200..10_800);
            (begins, vec![first, first + 1], calm)
        } else {
            let days = rng.i64(1..=3);
            let mut dates = Vec::new();
            let mut day = first;
            while i64::try_from(dates.len()).unwrap_or(0) < days {
                if colombian(day) {
                    dates.push(day);
                }
                day += 1;
            }
            let earliest = pairs.iter().map(|pair| pair.open).min().unwrap_or(480);
            let latest = pairs.iter().map(|pair| pair.close).max().unwrap_or(600);
            let begins = first * DAY + 5 * 3_600 + earliest * 60 - rng.i64(300..3_000);
            let calm = dates[dates.len() - 1] * DAY + 5 * 3_600 + latest * 60 + 600;
            (begins, dates, calm)
        };
        let mut plan = Self {
            seed,
            pairs,
            begins,
            calm,
            ends: calm + 4 * 3_600,
            dates,
            clients: rng.usize(1..=3),
            keys: rng.u8(2..=4),
            faults: Vec::new(),
            flags: Vec::new(),
        };
        if is_dense(seed) {
            plan.keys = plan.keys.saturating_sub(1).max(1); // so that there are some that spend all of their credits
        }
        (plan.faults, plan.flags) = if is_aimed(seed) {
            aimed(&mut rng, &plan)
        } else {
            (faults(&mut rng, &plan), Vec::new())
        };
        plan.faults
            .retain(|planned| moves_clocks(seed) || !of_clock(planned.fault));
        plan
    }
}

fn pairs(rng: &mut Rng, mixed: bool) -> Vec<PairPlan> {
    let names = ["USD/COP", "EUR/USD", "USD/MXN"];
    let prices = [4_012_350_000, 1_084_200, 18_305_000];
    (0..rng.usize(1..=3))
        .map(|i| {
            let kinds = [Kind::Always, Kind::Forex];
            let kind = if mixed {
                kinds[(i + rng.usize(..2)) % 2]
            } else {
                Kind::Colombia
            };
            let open = 480 + 15 * rng.i64(0..3);
            let intervals = match rng.u8(..4) {
                0 => vec![Interval::M5],
                1 => vec![Interval::M5, Interval::M15, Interval::Session],
                2 => vec![Interval::M5, Interval::M1, Interval::H1],
                _ => vec![Interval::M5, Interval::M15, Interval::M30, Interval::H1],
            };
            PairPlan {
                symbol: names[i].parse().expect("a pair"),
                kind,
                open,
                close: open + rng.i64(6..20) * 5 + [0, 0, 2, 3][rng.usize(..4)],
                intervals,
                boundary: if rng.u8(..4) == 0 {
                    Boundary::Closes
                } else {
                    Boundary::Opens
                },
                every: [4, 9, 20, 45, 150][rng.usize(..5)],
                price: prices[i],
                on_mismatch: if rng.bool() {
                    OnMismatch::Flag
                } else {
                    OnMismatch::Replace
                },
            }
        })
        .collect()
}

/// Where the faults of a plan lie: around its sessions, none after the calm.
fn faults(rng: &mut Rng, plan: &Plan) -> Vec<Planned> {
    let most = match () {
        () if is_crowded(plan.seed) => 160,
        () if is_dense(plan.seed) => 70,
        () => 14,
    };
    let count = if rng.u8(..10) == 0 { 0 } else { rng.usize(1..most) };
    let mut list: Vec<Planned> = (0..count)
        .map(|_| {
            let fault = Fault::ALL[rng.usize(..Fault::drawn(plan.seed))];
            let date = plan.dates[rng.usize(..plan.dates.len())];
            let pair = &plan.pairs[rng.usize(..plan.pairs.len())];
            let (opens, closes) = match pair.kind {
                Kind::Colombia => pair.session(date).unwrap_or((plan.begins, plan.calm)),
                Kind::Forex | Kind::Always => (plan.begins + 900, plan.calm - 900),
            };
            let (low, high) = if fault.of_gate() {
                (opens - 2_400, opens - 60)
            } else if rng.u8(..4) == 0 {
                (opens - 600, closes + 600)
            } else {
                (opens, closes)
            };
            let from = rng.i64(low.max(plan.begins + 1)..high.max(plan.begins + 2));
            let longest = [20, 120, 600, 1_500][rng.usize(..4)];
            let lasts = if fault.instant() { 0 } else { rng.i64(2..=longest) };
            Planned {
                fault,
                from: from.min(plan.calm - 1),
                to: (from + lasts).min(plan.calm),
                whom: rng.usize(..6),
                roll: rng.u64(..),
            }
        })
        .collect();
    list.sort_by_key(|planned| (planned.from, planned.fault));
    list
}
