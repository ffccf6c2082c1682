//! Section `cluster`: the role of this node where there is more than one machine.

use crate::limits;
use crate::settings::{Valid, reader::Reader};
use secrecy::SecretString;

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything, alone.
    All,
    /// Is connected to the vendor, decides, writes, and publishes its ledger to the cluster log; serves clients as well.
    Ingest,
    /// Follows the cluster log and serves clients.
    Edge,
}

/// What an ingest does while the cluster log does not take its parcels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// It continues for its own clients, and reports that.
    Tell,
    /// It publishes nothing that the cluster log does not have.
    Hold,
}

/// The role of this node.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The role.
    pub role: Role,
    /// What it does while the cluster log takes nothing.
    pub alone: Alone,
    /// Parcels that the cluster log keeps.
    pub log_entries: u64,
    /// The token that it shows other nodes.
    pub peer_token: Option<SecretString>,
}

pub(super) fn read(reader: &mut Reader) -> Cluster {
    Cluster {
        role: reader.read_choice(
            "cluster.role",
            "all",
            "all (a single node), ingest (connects to the vendor and publishes its ledger to edges) or edge (serves what an ingest publishes)",
            &[("all", Role::All), ("ingest", Role::Ingest), ("edge", Role::Edge)],
        ),
        alone: reader.read_choice(
            "cluster.alone",
            "tell",
            "while an ingest cannot write to the cluster log: tell (it publishes to its own clients) or hold (it publishes nothing)",
            &[("tell", Alone::Tell), ("hold", Alone::Hold)],
        ),
        log_entries: reader.read_number(
            "cluster.log_entries",
            "200000",
            limits::CLUSTER_LOG_LEAST..=limits::CLUSTER_LOG_MOST,
            "parcels that the cluster log keeps: an edge that misses older ones fetches them from another node, or begins a new ledger",
        ),
        peer_token: reader.read_secret(
            "cluster.peer_token",
            "the token for every pair that a node shows others when it fetches parcels from them, if their server.tokens_file requires one",
            |_| Ok(()),
        ),
    }
}

/// Settings that the role requires and that are missing, each with its remedy.
pub fn missing_settings(settings: &Valid) -> Vec<(&'static str, &'static str)> {
    let mut lacking = Vec::new();
    let role = settings.cluster.role;
    if role != Role::All && settings.cache.redis_url.is_none() {
        lacking.push((
            "cache.redis_url",
            "is empty, and an ingest or edge has its log in a Redis: set REDIS_URL, the same on every node, or cluster.role = \"all\"",
        ));
    }
    if role == Role::Ingest && settings.store.database_url.is_none() {
        lacking.push((
            "store.database_url",
            "is empty, and an ingest leads by a lease in PostgreSQL: set DATABASE_URL, or cluster.role = \"all\"",
        ));
    }
    lacking
}
