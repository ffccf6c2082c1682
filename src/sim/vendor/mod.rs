//! The vendor's formats and accounts, as pure values.

pub mod accounts;
pub(crate) mod frames;
pub mod series;

pub use crate::domain::vendor::{ApiError, Params};
pub use accounts::{Account, Accounts, Credits, KeyUse, Plan, Shortage};
pub(crate) use frames::{BINARY, Spelling, TEXT};
pub use series::{Question, Twists};
