//! The writing end of the ledger: appends batches of entries, each in one transaction, and starts a new file for each session date.

use super::checkpoint::Checkpointer;
use super::end::End;
use super::error::LedgerError;
use super::files::{self, DayFile, Heads, sql_int, with_suffix};
use super::follow;
use super::inserts::Inserts;
use super::mark::{Doubt, Mark};
use super::names;
use super::open_files::OpenFiles;
use super::parcel_body::ParcelBody;
use super::parcels::{self, Parcels};
use super::read::LedgerReader;
use super::renumber::{self, Renumbered, renumber};
use super::shared::{Hold, Shared};
use crate::clock::Stopwatch;
use crate::domain::cluster::Parcel;
use crate::domain::followers::lease::Holder;
use crate::domain::model::{Channel, Event, JournalEntry, Position, Sequenced};
use crate::limits;
use crate::lock_file::LockFile;
use chrono::NaiveDate;
use rusqlite::{Connection, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The options of [`Ledger::open`].
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// The session date of the first file, when the folder is empty.
    pub date: NaiveDate,
    /// A random number, from which a new ledger's name and new channels' epochs are made.
    pub random: u64,
    /// How many day files to keep. Older ones are removed when the ledger rolls, unless a holding reader needs them.
    pub days: usize,
    /// Where removed files are moved; `None` deletes them.
    pub backup: Option<PathBuf>,
    /// Channels that will be written. Each gets its epoch at the start, so that a client that subscribes before its first message can
    /// resume later.
    pub channels: Vec<Channel>,
    /// The source of its parcels.
    pub parcels: Parcels,
}

impl LedgerOptions {
    /// The default number of files, beginning with `date`.
    pub const fn new(date: NaiveDate, random: u64) -> Self {
        Self {
            date,
            random,
            days: limits::LEDGER_DAYS,
            backup: None,
            channels: Vec::new(),
            parcels: Parcels::Uncounted,
        }
    }
}

/// The writing end of the ledger. A folder has one at most.
#[derive(Debug)]
pub struct Ledger {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    pub(super) options: LedgerOptions,
    /// Whether `synchronous` is FULL now.
    full: bool,
    /// Whether the result of the last commit is unknown: the end must be read before anything else.
    pub(super) unsure: bool,
    pub(super) end: End,
    pub(super) mark: Mark,
    files: OpenFiles,
    /// When the files were last checked to be in place.
    looked: Stopwatch,
    renumbered: Option<Renumbered>,
    /// The estimated growth of the write-ahead log since the last request for a checkpoint.
    log: usize,
    /// The same since the last request for a flush.
    unflushed: usize,
    pub(super) shared: Arc<Shared>,
    checkpointer: Checkpointer,
    lock: LockFile,
}

impl Ledger {
    /// Opens the ledger in `folder`, creating it if there is none.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] when another process has it open, and any error that keeps the newest file from being read.
    pub fn open(folder: &Path, options: LedgerOptions) -> Result<Self, LedgerError> {
        let lock = files::lock_folder(folder)?;
        let log = has_log(folder)?; // before a connection could empty it
        let shared = Arc::new(Shared::scan_folder(folder)?);
        let newest = shared
            .state()
            .files
            .last_key_value()
            .map(|(date, file)| (*date, file.clone()));
        let (date, first, path) = match newest {
            Some((date, file)) => (date, file.first, file.path),
            None => follow::first_file(folder, &options)?,
        };
        let (heads, name) = match follow::begins_with(&options)? {
            Some(opening) if shared.state().files.is_empty() => (opening.heads, opening.lineage),
            _ => (shared.state().heads.clone(), format!("{:016x}", options.random)),
        };
        let mut db = files::open_to_append(&path, first, &heads, &name)?;
        let mut end = End::read(&db, &path)?;
        let mut new_channels = false;
        let (mark, renumbered) = if let Parcels::Followed(begin) = &options.parcels {
            let before = earlier_files(&shared, &path);
            follow::go_on((&db, &path), &mut end, begin.as_ref(), &before)?;
            let mut mark = Mark::open(folder, end.head, false, false)?.0;
            mark.begin_run(end.head)?;
            (mark, None)
        } else {
            new_channels = establish_channels(&db, &path, &mut end, &options)?;
            prove_end(folder, (&mut db, &path), &mut end, log, options.random)?
        };
        let lineage = files::read_lineage(&db, &path)?;
        if options.parcels == Parcels::Counted {
            follow::note_led(folder)?;
            let told = (date, lineage.as_str(), new_channels);
            parcels::go_on((&db, &path), &mut end, told, &earlier_files(&shared, &path))?;
        }
        let ancestors = renumber::read_ancestors(&db, &path)?;
        {
            let mut state = shared.state_mut();
            state.files.insert(
                date,
                DayFile {
                    path: path.clone(),
                    first,
                },
            );
            state.date = date;
            state.head = end.head;
            state.heads = end.heads.clone();
            state.lineage = lineage;
            state.ancestors = ancestors;
            state.opened = end.head;
            state.follows = matches!(options.parcels, Parcels::Followed(_));
        }
        Ok(Self {
            files: OpenFiles::of_day(folder, &path)?,
            looked: Stopwatch::start(),
            mark,
            renumbered,
            db,
            path,
            options,
            full: true,
            unsure: false,
            end,
            log: limits::LEDGER_CHECKPOINT_WAL, // whatever the last run left in the write-ahead log
            unflushed: 0,
            shared,
            checkpointer: Checkpointer::start()?,
            lock,
        })
    }

    /// The holder of the folder: this process, identified by the ledger's folder.
    pub const fn holder(&self) -> &Holder {
        self.lock.holder()
    }

    /// Writes the new entries of `entries` in one transaction, and returns the last written position. Events up to that position are known
    /// and skipped, together with the inputs around them: appending entries again that may have been committed is safe.
    ///
    /// # Errors
    /// [`LedgerError`]; as far as is known nothing was written, and the same entries may be appended again.
    pub fn append(&mut self, entries: &[JournalEntry]) -> Result<Position, LedgerError> {
        if self.looked.elapsed() >= limits::LEDGER_LOOK {
            self.check_folder()?;
        }
        self.be_sure()?;
        let known = self.end.tail.known_prefix(entries, self.end.head);
        let fresh = entries.get(known..).unwrap_or_default();
        if fresh.iter().all(|entry| matches!(entry, JournalEntry::Partial { .. })) {
            return Ok(Position(self.end.head));
        }
        self.sync_fully(fresh.iter().any(needs_sync))?;
        let mut end = self.end.clone();
        if let Err(error) = self.commit_entries(fresh, &mut end) {
            self.unsure = true;
            return Err(error);
        }
        if let Err(error) = self.mark.raise_head(end.head) {
            self.unsure = true;
            return Err(error);
        }
        self.end = end;
        self.shared.advance_head(self.end.head, &self.end.heads);
        self.keep_log_small(fresh.len());
        Ok(Position(self.end.head))
    }

    /// Reads the ledger's end again if it is unknown.
    pub(super) fn be_sure(&mut self) -> Result<(), LedgerError> {
        if !self.unsure {
            return Ok(());
        }
        let mut end = End::read(&self.db, &self.path)?;
        if self.end.chain.is_some() {
            end.chain = parcels::read_last(&self.db, &self.path)?.map(|last| last.chain);
        }
        self.mark.raise_head(end.head)?;
        self.end = end;
        self.shared.advance_head(self.end.head, &self.end.heads);
        self.unsure = false;
        Ok(())
    }

    /// Begins the file of session `date`, unless that file or a later one is the newest. Removes files beyond the number to keep, oldest
    /// first, up to the first that a holding reader still needs.
    ///
    /// # Errors
    /// [`LedgerError`] when the new file cannot be created; appends then continue in the old one.
    pub fn roll(&mut self, date: NaiveDate) -> Result<(), LedgerError> {
        if date <= self.shared.state().date {
            return Ok(());
        }
        self.roll_to(date, None)
    }

    /// Begins a file, with `with` as its opening if given: the opening of the file of the ledger that this one follows.
    pub(super) fn roll_to(&mut self, date: NaiveDate, with: Option<&Parcel>) -> Result<(), LedgerError> {
        self.be_sure()?;
        self.seal_file()?;
        let path = files::path_of(&self.shared.folder, date);
        let first = self.end.head.saturating_add(1);
        let (lineage, ancestors) = {
            let state = self.shared.state();
            (state.lineage.clone(), state.ancestors.clone())
        };
        let db = files::open_to_append(&path, first, &self.end.heads, &lineage)?;
        renumber::carry_ancestors(&db, &path, &ancestors)?;
        renumber::set_marked(&db, &path, self.end.head)?;
        let mut end = End::read(&db, &path)?;
        end.chain = self.end.chain;
        let open_files = OpenFiles::of_day(&self.shared.folder, &path)?;
        if end.chain.is_some() {
            parcels::begin_file((&db, &path), &mut end, (date, &lineage), with)?; // last: what failed before it is done again whole
        }
        self.files = open_files;
        self.checkpointer.finish_file(std::mem::replace(&mut self.db, db));
        self.path.clone_from(&path);
        self.full = true;
        self.end = end;
        {
            let mut state = self.shared.state_mut();
            state.files.insert(date, DayFile { path, first });
            state.date = date;
        }
        self.drop_old_files();
        Ok(())
    }

    /// Checks that the open files are still in the folder.
    ///
    /// # Errors
    /// [`LedgerError::Gone`]: entries appended now would be lost with the files.
    pub fn check_folder(&mut self) -> Result<(), LedgerError> {
        self.files.check_present()?;
        self.looked = Stopwatch::start();
        Ok(())
    }

    /// Whether this start renumbered the ledger, and why.
    pub const fn renumbered(&self) -> Option<Renumbered> {
        self.renumbered
    }

    /// Renumbers the ledger before any of its numbers is published; `stored` is a reader's position beyond the end.
    ///
    /// # Errors
    /// [`LedgerError`] when the new names cannot be written.
    pub fn renumber(&mut self, why: Doubt, stored: Position) -> Result<(), LedgerError> {
        let head = self.end.head;
        let lineage = renumber(&mut self.db, &self.path, &mut self.end, head, fastrand::u64(..))?;
        let ancestors = renumber::read_ancestors(&self.db, &self.path)?;
        tracing::warn!(
            why = why.name(),
            head,
            stored = stored.0,
            lineage,
            "the ledger takes new names"
        );
        {
            let mut state = self.shared.state_mut();
            state.heads = self.end.heads.clone();
            (state.lineage, state.ancestors) = (lineage, ancestors);
        }
        if self.end.chain.is_some() {
            self.begin_parcels_after(0)?;
        }
        let told = stored.0.max(head);
        self.renumbered = Some(Renumbered { why, head, told });
        Ok(())
    }

    /// The last written position.
    pub const fn head(&self) -> Position {
        Position(self.end.head)
    }

    /// The head of each channel.
    pub const fn heads(&self) -> &Heads {
        &self.end.heads
    }

    /// The session date of the newest file.
    pub fn session_date(&self) -> NaiveDate {
        self.shared.state().date
    }

    /// A reader that does not keep old files from being removed.
    pub fn reader(&self) -> LedgerReader {
        LedgerReader::with_hold(Arc::clone(&self.shared), None)
    }

    /// A reader whose files are kept until it reports, with [`LedgerReader::done_before`], that it is past them. Before its first report
    /// every file is kept.
    pub fn holding_reader(&self) -> LedgerReader {
        LedgerReader::with_hold(Arc::clone(&self.shared), Some(Hold::register(&self.shared)))
    }

    /// Sets whether the next commit waits for the disk; SQLite accepts the setting only between transactions.
    pub(super) fn sync_fully(&mut self, full: bool) -> Result<(), LedgerError> {
        if full == self.full {
            return Ok(());
        }
        let level = if full {
            "PRAGMA synchronous=FULL"
        } else {
            "PRAGMA synchronous=NORMAL"
        };
        self.db
            .execute_batch(level)
            .map_err(|source| LedgerError::from_sqlite("set up", &self.path, source))?;
        self.full = full;
        Ok(())
    }

    fn commit_entries(&mut self, fresh: &[JournalEntry], end: &mut End) -> Result<(), LedgerError> {
        let path = &self.path;
        let random = self.options.random;
        let error = LedgerError::of_sqlite("append to", path);
        let new: Vec<Channel> = match end.chain {
            Some(_) => fresh
                .iter()
                .filter_map(JournalEntry::event)
                .filter_map(|event: &Sequenced| event.channel.filter(|channel| !end.heads.contains_key(channel)))
                .collect(),
            None => Vec::new(),
        };
        let due = end.chain.is_some_and(|chain| chain.opening_is_due() || !new.is_empty());
        let mut body = end.chain.map(|_| ParcelBody::default());
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(error)?;
        {
            let mut insert = Inserts::prepare(&transaction).map_err(error)?;
            for channel in new {
                if end.establish_channel(channel, random).is_some() {
                    insert.insert_head(end, Some(channel)).map_err(error)?;
                }
            }
            if due {
                let (date, lineage) = self.shared.session_and_lineage();
                parcels::open(&transaction, end, &parcels::opening_at(end, date, &lineage), None).map_err(error)?;
            }
            for entry in fresh {
                match entry {
                    JournalEntry::Input(heard) => {
                        if let Some(body) = &mut body {
                            body.push_input(end.head, heard).map_err(error)?;
                        }
                        insert.insert_input(heard, end).map_err(error)?;
                    }
                    JournalEntry::Event(event) => {
                        if let Some(body) = &mut body {
                            body.push_event(event).map_err(error)?;
                        }
                        if end.admit_event(event, random)? {
                            insert.insert_head(end, event.channel).map_err(error)?;
                        }
                        insert.insert_event(event).map_err(error)?;
                    }
                    JournalEntry::Partial { .. } => {}
                }
            }
        }
        if let Some(body) = body {
            parcels::add_parcel(&transaction, end, &body.into_bytes()).map_err(error)?;
        }
        transaction.commit().map_err(error)
    }

    pub(super) fn keep_log_small(&mut self, rows: usize) {
        let grown = rows
            .saturating_mul(limits::LEDGER_WAL_ROW)
            .saturating_add(limits::LEDGER_WAL_COMMIT);
        self.log = self.log.saturating_add(grown);
        self.unflushed = self.unflushed.saturating_add(grown);
        if self.log >= limits::LEDGER_CHECKPOINT_WAL {
            (self.log, self.unflushed) = (0, 0); // it begins with a flush
            self.checkpointer.request_checkpoint(self.path.clone());
        } else if self.unflushed >= limits::LEDGER_FLUSH_WAL {
            self.unflushed = 0;
            self.checkpointer.request_flush(self.path.clone());
        }
    }

    /// Syncs the whole ledger to disk and records that in the mark, then moves the write-ahead log into the file. Called when the process
    /// stops. Waits briefly for readers; if they stay, part of the synced write-ahead log remains.
    ///
    /// # Errors
    /// When the log cannot be synced or moved. Nothing is lost then.
    pub fn empty_log(&mut self) -> Result<(), LedgerError> {
        let path = &self.path;
        files::sync_log(path)?;
        self.mark.mark_at_rest()?;
        let error = LedgerError::of_sqlite("empty the write-ahead log of", path);
        self.db.busy_timeout(limits::STOP_CHECKPOINT / 2).map_err(error)?;
        let mut looks = 0;
        let mut emptied = truncate_log(&self.db);
        // SQLite does not wait for another connection's checkpoint.
        while matches!(emptied, Ok(false)) && looks < limits::STOP_CHECKPOINT_LOOKS {
            looks = looks.saturating_add(1);
            files::look_again(looks);
            emptied = truncate_log(&self.db);
        }
        files::wait_for_lock(&self.db).map_err(error)?;
        emptied.map(drop).map_err(error)
    }

    /// Makes the current file durable before a new file relies on it.
    fn seal_file(&mut self) -> Result<(), LedgerError> {
        self.sync_fully(true)?;
        self.db
            .execute(
                "INSERT OR REPLACE INTO meta VALUES ('last_position', ?1)",
                params![sql_int(self.end.head)],
            )
            .map(|_| ())
            .map_err(|source| LedgerError::from_sqlite("seal", &self.path, source))
    }

    /// Removes old files, one whole file at a time. A reader that has a removed file open may finish reading it.
    fn drop_old_files(&self) {
        let needed = self.shared.first_needed();
        let mut state = self.shared.state_mut();
        while state.files.len() > self.options.days.max(1) {
            let ends = state.files.values().nth(1).map_or(u64::MAX, |next| next.first);
            if ends > needed {
                return;
            }
            let Some((_, file)) = state.files.pop_first() else {
                return;
            };
            self.checkpointer.retire_file(file.path, self.options.backup.clone());
        }
    }
}

/// Renumbers the ledger if it cannot be shown to be whole, and begins the mark of this run.
fn prove_end(
    folder: &Path,
    (db, path): (&mut Connection, &Path),
    end: &mut End,
    log: bool,
    random: u64,
) -> Result<(Mark, Option<Renumbered>), LedgerError> {
    let marked = renumber::is_marked(db, path)?;
    let (mut mark, last) = Mark::open(folder, end.head, marked, log)?;
    let asked = renumber::asked_for(folder);
    let why = asked.map(|_| Doubt::StoreAhead).or(last.doubt);
    if let Some(why) = why {
        let upto = asked.map_or(end.head, |shared| shared.min(end.head));
        let lineage = renumber(db, path, end, upto, random)?;
        tracing::warn!(
            why = why.name(),
            head = end.head,
            told = last.head,
            lineage,
            "the ledger takes new names"
        );
    }
    renumber::set_marked(db, path, end.head)?;
    mark.begin_run(end.head)?;
    renumber::remove_request(folder)?;
    let head = end.head;
    let told = last.head.max(end.head);
    Ok((mark, why.map(|why| Renumbered { why, head, told })))
}

/// Empties the write-ahead log. Returns whether all of it is in the file now.
fn truncate_log(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        .map(|busy| busy == 0)
}

/// The day files before the newest, latest first.
fn earlier_files(shared: &Shared, newest: &Path) -> Vec<PathBuf> {
    let state = shared.state();
    let files = state.files.values().rev().map(|file: &DayFile| file.path.clone());
    files.filter(|file| file != newest).collect()
}

/// Whether the newest day file has a write-ahead log.
fn has_log(folder: &Path) -> Result<bool, LedgerError> {
    let newest = files::session_dates(folder)?.last().copied();
    let log = newest.map(|date| with_suffix(&files::path_of(folder, date), "-wal"));
    Ok(log.is_some_and(|log| std::fs::metadata(log).is_ok_and(|found| found.len() > 0)))
}

/// Gives new channels their epochs, durably, before any client can receive them.
fn establish_channels(
    db: &Connection,
    path: &Path,
    end: &mut End,
    options: &LedgerOptions,
) -> Result<bool, LedgerError> {
    let error = LedgerError::of_sqlite("begin", path);
    let transaction = db.unchecked_transaction().map_err(error)?;
    let known = end.heads.len();
    for channel in &options.channels {
        if let Some(head) = end.establish_channel(*channel, options.random) {
            let values = params![channel.to_string(), head.epoch.as_str()];
            transaction
                .execute("INSERT INTO heads VALUES (?1, ?2, 0)", values)
                .map_err(error)?;
        }
    }
    names::seal(&transaction).map_err(error)?;
    transaction.commit().map_err(error)?;
    Ok(end.heads.len() > known)
}

#[cfg(test)]
impl Ledger {
    /// Simulates a disk with room for `pages` pages.
    pub(crate) fn limit_pages(&self, pages: Option<u32>) {
        let pages = pages.unwrap_or(u32::MAX - 1);
        self.db
            .query_row(&format!("PRAGMA max_page_count={pages}"), [], |_| Ok(()))
            .unwrap();
    }
}

/// Whether an entry must be on disk before it is published: every event except a tick.
pub const fn needs_sync(entry: &JournalEntry) -> bool {
    matches!(entry, JournalEntry::Event(numbered) if !matches!(numbered.event, Event::Tick(_)))
}
