//! The end of the ledger, which the next entry must continue.

use super::error::LedgerError;
use super::files::{self, Heads};
use super::parcels::Chain;
use super::rows;
use super::tail::Tail;
use crate::domain::model::{Channel, Epoch, Head, Sequenced};
use rusqlite::Connection;
use std::path::Path;

/// The end of the ledger. Replaced as a whole when a transaction is committed.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) head: u64,
    pub(super) heads: Heads,
    pub(super) input: i64,
    pub(super) tail: Tail,
    /// The end of its chain of parcels; `None` if parcels are not counted.
    pub(super) chain: Option<Chain>,
}

impl End {
    pub(super) fn read(db: &Connection, path: &Path) -> Result<Self, LedgerError> {
        let head = files::last_position(db, path)?;
        let input = db
            .query_row("SELECT ifnull(max(id), 0) FROM inputs", [], |row| row.get(0))
            .map_err(|source| LedgerError::from_sqlite("read", path, source))?;
        Ok(Self {
            head,
            heads: files::read_heads(db, path)?,
            input,
            tail: Tail::read(db, path, head)?,
            chain: None,
        })
    }

    /// Adds a channel. Returns its head, or `None` if the channel is known.
    pub(super) fn establish_channel(&mut self, channel: Channel, random: u64) -> Option<Head> {
        if self.heads.contains_key(&channel) {
            return None;
        }
        let head = Head {
            epoch: epoch_of(channel, random),
            seq: 0,
        };
        self.heads.insert(channel, head);
        Some(head)
    }

    /// Checks that the event continues position and channel, and advances both. Returns whether the channel is new.
    pub(super) fn admit_event(&mut self, event: &Sequenced, random: u64) -> Result<bool, LedgerError> {
        if event.position.0 != self.head.saturating_add(1) {
            return Err(LedgerError::Hole {
                head: self.head,
                given: event.position.0,
            });
        }
        if event.channel != rows::channel_of(&event.event) {
            return Err(LedgerError::Misfiled {
                position: event.position.0,
                channel: event.channel,
            });
        }
        self.head = event.position.0;
        self.tail.forget();
        let Some(channel) = event.channel else { return Ok(false) };
        let mut new = false;
        let head = self.heads.entry(channel).or_insert_with(|| {
            new = true;
            Head {
                epoch: epoch_of(channel, random),
                seq: 0,
            }
        });
        if event.seq != head.seq.saturating_add(1) {
            return Err(LedgerError::SeqHole {
                channel,
                head: head.seq,
                given: event.seq,
            });
        }
        head.seq = event.seq;
        Ok(new)
    }
}

/// The epoch of a channel that begins in this run. Different channels get different epochs (FNV-1a over the name, from the run's random
/// number).
pub(super) fn epoch_of(channel: Channel, random: u64) -> Epoch {
    let hash = channel
        .to_string()
        .bytes()
        .fold(random ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Epoch::from_random(hash)
}
