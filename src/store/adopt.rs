//! How a store goes on with a ledger that took a new name: its reader stands where both have the same events, and gaps that both
//! have are known by their new epoch, so that what becomes of them is written into the same rows.

use crate::domain::model::{Channel, Head, Topic};
use crate::store::{reads::to_stored, sql::Dialect};
use std::collections::BTreeMap;

/// A place in a ledger's new name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Who reads: the name its position is kept under.
    pub reader: &'static str,
    /// The ledger's name now.
    pub lineage: String,
    /// The last position that store and ledger both have.
    pub position: i64,
    /// Of each pair: the name, the epoch of its quality channel then, the epoch now, and the last number that both have.
    pub(super) gaps: Vec<(String, String, String, i64)>,
}

impl Adoption {
    /// Of channels that ended at `then` where the ledger took its name, and are called as in `now`.
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
    /// Parameters: symbol, epoch then, epoch now, last number.
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
