//! Past sessions: the ready flag, the survey of the history and its verdict, the seam to live bars, and the planning of backfill requests.

pub mod l0;
pub mod l0_table;
pub mod tally;
pub mod verdict;
pub mod verdict_findings;
pub mod seam;
pub mod certifier;
pub mod backfill_planner;
pub mod comparison;
pub mod missing_bars;

pub use backfill_planner::{BackfillPlanner, Step};
pub use certifier::Certifier;
pub use comparison::{BarDifference, Cause, Comparison, TwoSessions};
pub use l0::{Flag, FlagTrouble, Found, GateWindow, Manifest, OnTimeout, Sighting, WaitPolicy};
pub use l0_table::{L0Table, Spelling};
pub use tally::{History, Shift, Survey};
pub use verdict::{Finding, Severity, Stretch, Verdict, Verdicts};
