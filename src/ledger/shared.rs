//! State that the writer shares with its readers: the ledger's end and files, and the first position that each reader still needs.

use super::error::LedgerError;
use super::files::{self, DayFile, DayFiles, Heads};
use super::renumber::{self, Ancestor};
use chrono::NaiveDate;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    /// The last position that readers return; the maximum if nothing has to be elsewhere before it is published.
    told: AtomicU64,
    state: RwLock<State>,
    holds: Mutex<Vec<Weak<AtomicU64>>>,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) head: u64,
    pub(super) heads: Heads,
    pub(super) files: DayFiles,
    /// The session date of the newest file.
    pub(super) date: NaiveDate,
    /// The ledger's name; empty while there is no file.
    pub(super) lineage: String,
    /// The earlier names of the ledger.
    pub(super) ancestors: Vec<Ancestor>,
    /// The last position when the ledger was opened.
    pub(super) opened: u64,
    /// Whether it appends what another ledger appended.
    pub(super) follows: bool,
}

impl Shared {
    /// Reads the state of the folder. A file without tables, whose creation was interrupted, is ignored.
    pub(super) fn scan_folder(folder: &Path) -> Result<Self, LedgerError> {
        let mut state = State {
            head: 0,
            heads: Heads::new(),
            files: DayFiles::new(),
            date: NaiveDate::MIN,
            lineage: String::new(),
            ancestors: Vec::new(),
            opened: 0,
            follows: false,
        };
        for date in files::session_dates(folder)? {
            let path = files::path_of(folder, date);
            let db = files::open_to_read(&path)?;
            if files::format_of(&db, &path)?.is_none() {
                continue;
            }
            state.head = files::last_position(&db, &path)?;
            state.heads = files::read_heads(&db, &path)?;
            state.lineage = files::read_lineage(&db, &path)?;
            state.ancestors = renumber::read_ancestors(&db, &path)?;
            state.opened = state.head;
            let first = files::first_position(&db, &path)?;
            state.add_file(date, path, first);
        }
        Ok(Self {
            folder: folder.to_owned(),
            told: AtomicU64::new(u64::MAX),
            state: RwLock::new(state),
            holds: Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session date of the newest file, and the ledger's name.
    pub(super) fn session_and_lineage(&self) -> (NaiveDate, String) {
        let state = self.state();
        (state.date, state.lineage.clone())
    }

    /// The ledger's end has advanced.
    pub(super) fn advance_head(&self, head: u64, heads: &Heads) {
        let mut state = self.state_mut();
        state.head = head;
        for (channel, head) in heads {
            match state.heads.get_mut(channel) {
                Some(known) => *known = *head,
                None => drop(state.heads.insert(*channel, *head)),
            }
        }
    }

    /// The highest position that readers return.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    pub(super) fn bound_told(&self, position: u64) {
        self.told.store(position, Ordering::Release);
    }

    pub(super) fn raise_told(&self, position: u64) {
        self.told.fetch_max(position, Ordering::AcqRel);
    }

    /// The first position that a holding reader still needs.
    pub(super) fn first_needed(&self) -> u64 {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.retain(|hold| hold.strong_count() > 0);
        let live = holds.iter().filter_map(Weak::upgrade);
        live.map(|hold| hold.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }
}

impl State {
    fn add_file(&mut self, date: NaiveDate, path: PathBuf, first: u64) {
        self.files.insert(date, DayFile { path, first });
        self.date = date;
    }
}

/// The first position that one reader, with all its clones, still needs.
#[derive(Debug, Clone)]
pub(super) struct Hold(Arc<AtomicU64>);

impl Hold {
    pub(super) fn register(shared: &Shared) -> Self {
        let hold = Arc::new(AtomicU64::new(0));
        shared
            .holds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&hold));
        Self(hold)
    }

    pub(super) fn set_position(&self, position: u64) {
        self.0.store(position, Ordering::Release);
    }
}
