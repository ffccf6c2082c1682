//! Tests of this room as a whole.

mod events;
mod guarded;
mod history;
mod hostile;
pub(crate) mod misfits;
pub(crate) mod memory_ledger;
mod actions;
mod pattern;
mod replays;
mod restarts;
mod secured;
mod sessions;
mod status;
pub(crate) mod stage;
mod stream;
mod surfaces;
mod td;
mod td_stream;
mod wishes;
