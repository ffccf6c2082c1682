//! Faults, and when they happen: scenarios, their parser, odd frames, and lasting faults.

#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod scenario;
pub mod script;
pub mod odd_frames;
mod active_faults;

pub(crate) use active_faults::ActiveFaults;
pub(crate) use odd_frames::Last;
pub use scenario::{
    ConnectionAction, Cue, Ending, Fault, Line, Moment, OddFrame, RestFault, Scenario, ScenarioAction, When, Which,
};
pub use script::ScenarioError;
