//! Renumbers a ledger that cannot be shown to be whole: it gets a new name, and each of its channels a new epoch, so that no number ever
//! has two contents. Its events stay, with the same numbers in the new epochs.

use super::end::{self, End};
use super::error::LedgerError;
use super::files::{self, sql_int};
use super::mark::Doubt;
use super::names;
use crate::domain::model::{Channel, Epoch, Head};
use crate::limits;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

/// An earlier name of this ledger, and the last position that it shares with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The earlier name.
    pub lineage: String,
    /// The last position that both have.
    pub upto: u64,
    /// Each channel's earlier epoch, and its last seq that both have.
    channels: Vec<(String, String, u64)>,
}

impl Ancestor {
    /// Each channel's earlier epoch, and its last seq that both have.
    pub fn heads(&self) -> impl Iterator<Item = (Channel, Head)> + '_ {
        self.channels.iter().filter_map(|(channel, epoch, seq)| {
            let channel = channel.parse().ok()?;
            let epoch = epoch.parse().ok()?;
            Some((channel, Head { epoch, seq: *seq }))
        })
    }
}

/// The renumbering of a ledger at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renumbered {
    /// The reason.
    pub why: Doubt,
    /// The last position in the ledger.
    pub head: u64,
    /// The last position that is known to have been published, if it is higher than `head`; otherwise `head`.
    pub told: u64,
}

/// Gives the ledger a name, and its channels epochs, that were not used before. The first `upto` positions are shared with the ledger's
/// earlier name. One transaction, durable when it returns. Returns the new name.
pub(super) fn renumber(
    db: &mut Connection,
    path: &Path,
    end: &mut End,
    upto: u64,
    random: u64,
) -> Result<String, LedgerError> {
    let error = LedgerError::of_sqlite("renumber", path);
    let lineage = files::read_lineage(db, path)?;
    let mut ancestors = read_ancestors(db, path)?;
    ancestors.push(Ancestor {
        lineage: lineage.clone(),
        upto,
        channels: end
            .heads
            .iter()
            .map(|(channel, head): (&Channel, &Head)| (channel.to_string(), head.epoch.to_string(), head.seq))
            .collect(),
    });
    let surplus = ancestors.len().saturating_sub(limits::LEDGER_ANCESTORS);
    drop(ancestors.drain(..surplus));
    let known: BTreeSet<&str> = ancestors.iter().map(|ancestor| ancestor.lineage.as_str()).collect();
    let (name, mut random) = new_name(&known, &lineage, random);
    let used: Vec<(Channel, Epoch)> = ancestors
        .iter()
        .flat_map(Ancestor::heads)
        .map(|(channel, head)| (channel, head.epoch))
        .collect();
    let transaction = db.transaction().map_err(error)?;
    for (channel, head) in &mut end.heads {
        head.epoch = end::epoch_of(*channel, random);
        while used.contains(&(*channel, head.epoch)) {
            random = random.wrapping_add(1);
            head.epoch = end::epoch_of(*channel, random);
        }
        transaction
            .execute(
                "UPDATE heads SET epoch = ?2 WHERE channel = ?1",
                params![channel.to_string(), head.epoch.as_str()],
            )
            .map_err(error)?;
    }
    let text = serde_json::to_string(&ancestors).unwrap_or_default();
    transaction
        .execute("UPDATE meta SET value = ?1 WHERE key = 'lineage'", params![name])
        .and_then(|_| write_ancestors(&transaction, &text))
        .map_err(error)?;
    transaction.commit().map_err(error)?;
    Ok(name)
}

/// An unused name, and the random number from which it was made.
fn new_name(known: &BTreeSet<&str>, lineage: &str, random: u64) -> (String, u64) {
    let mut random = random;
    loop {
        let name = format!("{random:016x}");
        if name != lineage && !known.contains(name.as_str()) {
            return (name, random);
        }
        random = random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
    }
}

/// The earlier names of the ledger, earliest first.
pub(super) fn read_ancestors(db: &Connection, path: &Path) -> Result<Vec<Ancestor>, LedgerError> {
    let text: Option<String> = db
        .query_row("SELECT value FROM meta WHERE key = 'ancestors'", [], |row| row.get(0))
        .optional()
        .map_err(|source| LedgerError::from_sqlite("read meta of", path, source))?;
    let Some(text) = text else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|problem| LedgerError::Corrupt {
        file: path.to_owned(),
        table: "meta",
        row: 0,
        problem: problem.to_string(),
    })
}

/// Copies the ledger's earlier names into a new day file.
pub(super) fn carry_ancestors(db: &Connection, path: &Path, ancestors: &[Ancestor]) -> Result<(), LedgerError> {
    if ancestors.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_string(ancestors).unwrap_or_default();
    write_ancestors(db, &text).map_err(|source| LedgerError::from_sqlite("write meta of", path, source))
}

fn write_ancestors(db: &Connection, ancestors: &str) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO meta VALUES ('ancestors', ?1)",
        params![ancestors],
    )
    .and_then(|_| names::seal(db))
}

/// The file in which a reader requests a renumbering.
const WORD: &str = "renumber_after";

/// Requests that the next start renumber the ledger: a reader has other events after `shared`, the last position that both have.
pub(super) fn at_next_start(folder: &Path, shared: u64) -> Result<(), LedgerError> {
    let path = folder.join(WORD);
    let partial = folder.join("renumber_after.partial");
    let written = fs::write(&partial, shared.to_string())
        .and_then(|()| File::open(&partial)?.sync_all())
        .and_then(|()| fs::rename(&partial, &path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|source| LedgerError::Folder { path, source })
}

/// The position in a reader's request.
pub(super) fn asked_for(folder: &Path) -> Option<u64> {
    fs::read_to_string(folder.join(WORD)).ok()?.trim().parse().ok()
}

/// Removes the request, once it is fulfilled.
pub(super) fn remove_request(folder: &Path) -> Result<(), LedgerError> {
    let path = folder.join(WORD);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(LedgerError::Folder { path, source }),
        _ => Ok(()),
    }
}

/// Whether a version that keeps a mark has appended to this file.
pub(super) fn is_marked(db: &Connection, path: &Path) -> Result<bool, LedgerError> {
    db.query_row("SELECT count(*) FROM meta WHERE key = 'marked'", [], |row| {
        row.get::<_, i64>(0)
    })
    .map(|found| found > 0)
    .map_err(|source| LedgerError::from_sqlite("read meta of", path, source))
}

/// Records that a version that keeps a mark appends to this file, from this position on.
pub(super) fn set_marked(db: &Connection, path: &Path, head: u64) -> Result<(), LedgerError> {
    db.execute(
        "INSERT OR IGNORE INTO meta VALUES ('marked', ?1)",
        params![sql_int(head)],
    )
    .map(drop)
    .map_err(|source| LedgerError::from_sqlite("write meta of", path, source))
}

/// The position up to which a reader that had written up to `stored` of `lineage` agrees with a ledger of these ancestors, and how many
/// events it has that the ledger lacks; `None` if that name is none of the ledger's.
pub fn surviving_range(ancestors: &[Ancestor], lineage: &str, stored: u64) -> Option<(u64, u64)> {
    let at = ancestors.iter().rposition(|ancestor| ancestor.lineage == lineage)?;
    let shared = ancestors.iter().skip(at).map(|ancestor| ancestor.upto).min()?;
    Some((stored.min(shared), stored.saturating_sub(shared)))
}
