//! When the market is open: holidays, exceptions, the sessions of a day, and their views.

pub mod holidays;
pub mod calendar_spec;
pub mod overrides;
pub mod market_day;
#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod calendar;
pub mod calendar_view;
pub mod session_view;

pub use calendar::{Calendar, Phase};
pub use calendar_spec::{CalendarKind, CalendarProblem, CalendarRules, CalendarSpec, Hours, NextDay};
pub use calendar_view::{CalendarView, DayView};
pub use holidays::{Almanac, COLOMBIA, UNITED_STATES, YEARS};
pub use market_day::{Day, DayBook};
pub use overrides::{Action, Override, Overrides};
pub use session_view::SessionView;
