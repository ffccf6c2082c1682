//! Deciding and watching: Root, the ready flag, the session clock, validation, leases, the journal, health.

pub mod l0_watcher;
pub mod session_clock;
mod completion;
pub mod certificates;
pub mod validator;
pub mod lease_keeper;
pub mod journal_keeper;
mod evidence;
mod health_keys;
pub mod health;
pub mod root;
mod actions;

pub use certificates::Certificates;
pub use health::Health;
pub use journal_keeper::JournalKeeper;
pub use l0_watcher::L0Watcher;
pub use lease_keeper::LeaseKeeper;
pub use root::Root;
pub use session_clock::SessionClock;
pub use validator::Validator;
