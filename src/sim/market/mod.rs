//! A market that is either a seeded walk or a day of real bars.

#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod market;
pub mod walk;
pub mod dice;
pub mod history;
pub mod day;
pub mod weave;

pub use day::{Day, DayError, MARKET_ZONE};
pub use dice::Dice;
pub use history::{History, HistoryError, Row};
pub use market::{Market, MarketBar, Quote, ohlc};
pub use walk::Walk;
