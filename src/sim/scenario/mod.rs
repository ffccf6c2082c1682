//! What goes wrong, and when: scenarios, their parser, odd frames, faults that last.

#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod scenario;
pub mod script;
pub mod oddities;
mod weather;

pub(crate) use oddities::Last;
pub use scenario::{Act, Cue, Deed, Ending, Line, Moment, Oddity, RestTrouble, Scenario, Trouble, When, Which};
pub use script::ScenarioError;
pub(crate) use weather::Weather;
