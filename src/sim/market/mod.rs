//! A market that is either a seeded walk or a day of real bars.

#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod market;
pub mod walk;
pub mod seeded_rng;
pub mod history;
pub mod day;
pub mod bar_path;

pub use day::{Day, DayError, MARKET_ZONE};
pub use history::{History, HistoryError, Row};
pub use market::{Market, MarketBar, Quote, ohlc_of};
pub use seeded_rng::SeededRng;
pub use walk::Walk;
