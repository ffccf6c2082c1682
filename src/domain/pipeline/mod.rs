//! From an arriving price to ticks, bars and gaps: filter, numbering, bar building, comparison with the vendor's bars.

pub mod stamp_lag;
pub mod acceptance;
pub mod rejection_log;
pub mod tick_filter;
pub mod sequencer;
pub mod bar_builder;
pub mod compose;
pub mod counts;
pub mod outage_log;
mod set_back;
mod slot_answer;
pub mod gap_tracker;
pub mod vendor_audit;
pub mod market;
#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod pipeline;
mod symbol_state;

pub(crate) use acceptance::Acceptance;
pub use acceptance::{AcceptanceView, AcceptedPrice};
pub use bar_builder::{BarBuilder, ClosedSlot, Pushed};
pub use compose::Longer;
pub use counts::{PairCounts, PipelineCounts};
pub use gap_tracker::{GapChange, GapTracker, MissingSlot};
pub use market::{Boundary, PairRules};
pub use outage_log::OutageLog;
pub use pipeline::Pipeline;
pub use rejection_log::RejectionLog;
pub use sequencer::{ChannelNumbers, Sequencer};
pub(crate) use set_back::SetBack;
pub(in crate::domain) use slot_answer::SlotAnswer;
pub use stamp_lag::{LagReading, StampLag};
pub use symbol_state::ToldDays;
pub(crate) use symbol_state::{Dropped, SymbolState};
pub use tick_filter::{TickFilter, TickVerdict};
pub use vendor_audit::{Compared, OnMismatch, Unchecked, VendorAudit};

#[cfg(test)]
mod tests;
