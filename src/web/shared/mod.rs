//! Shared by every route: the context of its thread, authentication, admission, parameters, errors.

mod problem;
mod remembered_actions;
pub(crate) mod query;
mod tokens;
pub(crate) mod access;
mod door;
pub(crate) mod layers;
pub(crate) mod thread;
mod bar_history;
mod file_thread;
#[cfg(feature = "test-hooks")]
#[path = "tests/hooks.rs"]
pub(crate) mod hooks;

pub(crate) use access::{Access, InboundWindow};
pub(crate) use bar_history::BarHistory;
pub use door::DoorLimits;
pub(crate) use door::{Door, Pass};
pub(crate) use file_thread::{FileThread, FileThreadEnded};
pub(crate) use problem::HttpError;
pub(crate) use query::{BarPlace, EVER, Query};
pub(crate) use remembered_actions::{KnownAction, RememberedActions};
pub use thread::StartShard;
pub(crate) use thread::{Common, Drain, Thread};
pub(crate) use tokens::Grant;
pub use tokens::{Tokens, TokensError};
