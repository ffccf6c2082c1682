//! The high-water mark: the last acknowledged position, kept outside SQLite's write-ahead log. A ledger that ends before it is detected at
//! the next start.
//!
//! ```text
//!  folder/mark   head 00000000000000000480      overwritten after each commit, without waiting for the disk
//!                state open | clean             clean: a stop synced everything, and nothing was written since
//!                boot 614d90e9-…                the boot of the kernel whose page cache has what is not synced
//!                inode 1311071                  of the mark itself: a copied or restored folder has another
//! ```
//!
//! SIGKILL loses nothing that the kernel has: under the same boot the mark is as recent as the last acknowledged commit. After another boot
//! without a clean stop the unsynced tail may be lost, and the mark's own last write with it: then the mark proves nothing.

use super::error::LedgerError;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const NAME: &str = "mark";

/// Why a ledger cannot be shown to be whole.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It ends before the last acknowledged position.
    LostTail,
    /// The machine went down without a clean stop.
    PowerLoss,
    /// The folder is a copy: another ledger may have continued from the same numbers.
    Copied,
    /// Its mark is missing or unreadable.
    MarkMissing,
    /// A store has events of this ledger that the ledger lacks.
    StoreAhead,
    /// The cluster log has parcels of this ledger that the ledger lacks.
    LogAhead,
    /// It followed another leader, and nothing shows that it has everything that the leader published.
    Unproven,
}

impl Doubt {
    /// Its name, which is the reason of the condition `ledger_renumbered`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its meaning, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::LostTail => "the ledger ends before the last event that was published",
            Self::PowerLoss => "the machine went down without a clean stop, so the ledger's last events may be lost",
            Self::Copied => "the ledger's folder is a copy, and another may have gone on from the same numbers",
            Self::MarkMissing => {
                "the ledger's file `mark` is missing or damaged, so nothing shows that no event is lost"
            }
            Self::StoreAhead => "the database has events of this ledger that the ledger does not have",
            Self::LogAhead => "the cluster log has parcels of this ledger that the ledger does not have",
            Self::Unproven => "nothing proves that everything the previous leader published is in the cluster log",
        }
    }
}

/// What the mark shows about the last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastRun {
    /// The last acknowledged position, as far as the mark shows.
    pub(super) head: u64,
    pub(super) doubt: Option<Doubt>,
}

/// The mark file. Each folder that is appended to has one.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    text: MarkText,
}

/// The content of the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkText {
    /// The last acknowledged position.
    pub head: u64,
    /// Whether a stop synced everything and nothing was written since.
    pub clean: bool,
    /// The boot id of the kernel under which it was written.
    pub boot: String,
    /// The inode of the mark itself.
    pub inode: u64,
}

impl MarkText {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let head = lines.next()?.strip_prefix("head ")?.parse().ok()?;
        let clean = match lines.next()?.strip_prefix("state ")? {
            "clean" => true,
            "open" => false,
            _ => return None,
        };
        let boot = lines.next()?.strip_prefix("boot ")?.to_owned();
        let inode = lines.next()?.strip_prefix("inode ")?.parse().ok()?;
        if lines.next() != Some("end") {
            return None;
        }
        Some(Self {
            head,
            clean,
            boot,
            inode,
        })
    }

    pub(super) fn write(&self) -> String {
        let state = if self.clean { "clean" } else { "open" };
        let head = head_line(self.head);
        let Self { boot, inode, .. } = self;
        format!("{head}\nstate {state}\nboot {boot}\ninode {inode}\nend\n")
    }
}

/// A line of constant length, so that it can be overwritten in place.
fn head_line(head: u64) -> String {
    format!("head {head:020}")
}

impl Mark {
    /// Reads the mark, creating it if there is none, and returns what it shows about the last run. The ledger ends at `head`; `marked`: it
    /// was appended to by a version that keeps a mark; `log`: its newest file has a write-ahead log.
    pub(super) fn open(folder: &Path, head: u64, marked: bool, log: bool) -> Result<(Self, LastRun), LedgerError> {
        let path = folder.join(NAME);
        let error = |source| io_error(&path, source);
        let known = match fs::read_to_string(&path) {
            Ok(text) => MarkText::read(&text),
            Err(source) if source.kind() == io::ErrorKind::NotFound => None,
            Err(source) if source.kind() == io::ErrorKind::InvalidData => None,
            Err(source) => return Err(error(source)),
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(error)?;
        let inode = file.metadata().map_err(error)?.ino();
        let boot = boot_id();
        let last = LastRun {
            head: known.as_ref().map_or(0, |known| known.head),
            doubt: find_doubt(known.as_ref(), head, marked || log, (&boot, inode)),
        };
        let mark = Self {
            file,
            path: path.clone(),
            text: MarkText {
                head,
                clean: false,
                boot,
                inode,
            },
        };
        Ok((mark, last))
    }

    /// Begins a run that appends events after `head`. The mark and its folder entry are durable when this returns.
    pub(super) fn begin_run(&mut self, head: u64) -> Result<(), LedgerError> {
        (self.text.head, self.text.clean) = (head, false);
        self.write_file()?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| io_error(&self.path, source))
    }

    /// `head` is written and may be published.
    pub(super) fn raise_head(&mut self, head: u64) -> Result<(), LedgerError> {
        if self.text.clean {
            self.text.clean = false;
            self.write_file()?;
        }
        self.text.head = head;
        let written = self.file.write_all_at(head_line(head).as_bytes(), 0);
        written.map_err(|source| io_error(&self.path, source))
    }

    /// Everything in the ledger is on disk.
    pub(super) fn mark_at_rest(&mut self) -> Result<(), LedgerError> {
        self.text.clean = true;
        self.write_file()
    }

    fn write_file(&self) -> Result<(), LedgerError> {
        let text = self.text.write();
        let length = u64::try_from(text.len()).unwrap_or(0);
        let saved = self
            .file
            .write_all_at(text.as_bytes(), 0)
            .and_then(|()| self.file.set_len(length))
            .and_then(|()| self.file.sync_all());
        saved.map_err(|source| io_error(&self.path, source))
    }
}

fn io_error(path: &Path, source: io::Error) -> LedgerError {
    LedgerError::Folder {
        path: path.to_owned(),
        source,
    }
}

/// Why the ledger, which ends at `head`, cannot be shown to be whole; `None` if it can. Without a mark it is whole if it is empty, or
/// unless `expected`: a version with a mark has written it, or it has a write-ahead log.
pub fn find_doubt(known: Option<&MarkText>, head: u64, expected: bool, (boot, inode): (&str, u64)) -> Option<Doubt> {
    let Some(known) = known else {
        return expected.then_some(Doubt::MarkMissing); // also of an empty one: what it had may be lost with the mark
    };
    if known.head > head {
        return Some(Doubt::LostTail);
    }
    if known.inode != inode {
        return Some(Doubt::Copied); // also of an empty ledger: the other has gone on from the same names
    }
    if head == 0 {
        return None; // nothing was ever numbered
    }
    (!known.clean && (known.boot != boot || boot.is_empty())).then_some(Doubt::PowerLoss)
}

/// The kernel's boot id. Empty if the system has none: then only a clean stop shows a whole ledger.
pub(super) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> MarkText {
        MarkText {
            head: 480,
            clean: false,
            boot: "b1".to_owned(),
            inode: 7,
        }
    }

    #[test]
    fn a_mark_is_read_back_and_any_part_of_it_is_none() {
        for clean in [true, false] {
            let text = MarkText { clean, ..text() };
            assert_eq!(MarkText::read(&text.write()), Some(text));
        }
        let whole = text().write();
        for end in 0..whole.len() - 1 {
            assert_eq!(whole.get(..end).and_then(MarkText::read), None, "{end}");
        }
    }

    #[test]
    fn only_a_mark_that_shows_all_that_was_told_is_no_doubt() {
        let here = ("b1", 7);
        let clean = MarkText { clean: true, ..text() };
        assert_eq!(find_doubt(Some(&text()), 480, true, here), None);
        assert_eq!(
            find_doubt(Some(&text()), 481, true, here),
            None,
            "killed between commit and mark"
        );
        assert_eq!(find_doubt(Some(&text()), 479, true, here), Some(Doubt::LostTail));
        assert_eq!(find_doubt(Some(&text()), 0, true, here), Some(Doubt::LostTail));
        assert_eq!(find_doubt(Some(&text()), 480, true, ("b2", 7)), Some(Doubt::PowerLoss));
        assert_eq!(find_doubt(Some(&text()), 480, true, ("", 7)), Some(Doubt::PowerLoss));
        assert_eq!(find_doubt(Some(&clean), 480, true, ("b2", 7)), None);
        assert_eq!(find_doubt(Some(&clean), 480, true, ("b1", 8)), Some(Doubt::Copied));
        assert_eq!(find_doubt(None, 480, true, here), Some(Doubt::MarkMissing));
        assert_eq!(
            find_doubt(None, 480, false, here),
            None,
            "of a version without a mark, cleanly stopped"
        );
        assert_eq!(
            find_doubt(None, 0, true, here),
            Some(Doubt::MarkMissing),
            "all of it is lost"
        );
        assert_eq!(find_doubt(None, 0, false, here), None, "a new one");
        let empty = MarkText { head: 0, ..text() };
        assert_eq!(find_doubt(Some(&empty), 0, true, here), None);
        assert_eq!(find_doubt(Some(&empty), 0, true, ("b2", 7)), None);
        assert_eq!(
            find_doubt(Some(&empty), 0, true, ("b1", 8)),
            Some(Doubt::Copied),
            "a copy of an empty ledger"
        );
    }
}
