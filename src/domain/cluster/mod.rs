//! More than one machine: the parcels in which the ledger of one node reaches the others, and what a node does with each.
//!
//! Pure decisions. `src/carrier` transports parcels; `src/ledger` numbers and stores them.

mod parcel;
mod log;
mod follow;
mod forming;
mod leader;
mod node;
mod report;

pub use follow::{EntryStep, LogFound, LogPlace, Start, start};
pub use forming::FormingBar;
pub use leader::{LeaderNews, LogNews};
pub use log::{Contact, LogAnswer, LogEntry, LogHead, LogRead, OpeningMark, contact};
pub use node::{ClusterView, LagMeter, NodeNews, NodeRole, NodeSeen, NodesFound};
pub use parcel::{ChainOpening, OpeningError, Parcel, ParcelHash};
pub use report::{ClusterReport, Inquiry, LeaseFound, LogEnd, is_heard, name_of, role_of};
