//! More than one machine: the parcels in which the ledger of one node reaches the others, and what a node does with each.
//!
//! Pure decisions. `src/carrier` transports parcels; `src/ledger` numbers and stores them.

mod parcel;
mod log;
mod follow;
mod forming;
mod leader;
mod leading;
mod succeeding;
mod node;
mod report;

pub use follow::{EntryStep, LogFound, LogPlace, Start, is_behind, start};
pub use forming::FormingBar;
pub use leader::{LeaderNews, LogNews};
pub use leading::{Append, AppendStep, Leading, is_young};
pub use log::{Contact, LogAnswer, LogEntry, LogHead, LogRead, OpeningMark, contact};
pub use node::{ClusterView, LagMeter, NodeNews, NodeRole, NodeSeen, NodesFound};
pub use parcel::{ChainOpening, OpeningError, Parcel, ParcelHash, begin_chain};
pub use report::{ClusterReport, Inquiry, LeaseFound, LogEnd, is_heard, name_of, role_of};
pub use succeeding::{Meeting, look_at_end, meet, why_unproven};
