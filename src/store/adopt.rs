//! How a store continues with a ledger that took a new name: its reader's position is the last that both share, and gaps that both have get
//! their new epoch, so that later changes are written to the same rows.

use crate::domain::model::{Channel, Head, Topic};
use crate::store::{reads::to_stored, sql::Dialect};
use std::collections::BTreeMap;

/// The adoption of a ledger's new name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The reader, under whose name the position is stored.
    pub reader: &'static str,
    /// The ledger's new name.
    pub lineage: String,
    /// The last position that store and ledger share.
    pub position: i64,
    /// For each pair: its name, the old and the new epoch of its quality channel, and the last seq that both share.
    pub(super) gaps: Vec<(String, String, String, i64)>,
}

impl Adoption {
    /// An adoption for channels that had the heads `then` when the ledger took its name, and have the heads `now`.
    pub fn new(
        reader: &'static str,
        lineage: String,
        position: u64,
        then: impl IntoIterator<Item = (Channel, Head)>,
        now: &BTreeMap<Channel, Head>,
    ) -> Self {
        let quality = then.into_iter().filter(|(channel, _)| channel.topic == Topic::Quality);
        let renamed = quality.filter_map(|(channel, old)| {
            let new = now.get(&channel)?;
            let symbol = channel.pair()?.compact();
            Some((symbol, old.epoch.to_string(), new.epoch.to_string(), to_stored(old.seq)))
        });
        Self {
            reader,
            lineage,
            position: to_stored(position),
            gaps: renamed.collect(),
        }
    }
}

impl Dialect {
    /// Parameters: symbol, old epoch, new epoch, last seq.
    pub(super) fn rename_gaps(self) -> String {
        format!(
            "UPDATE gaps SET epoch = {} WHERE symbol = {} AND epoch = {} AND seq <= {}",
            self.parameter(3),
            self.parameter(1),
            self.parameter(2),
            self.parameter(4),
        )
    }
}
