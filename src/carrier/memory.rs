//! A log in this process: what the contract says, in its plainest form.

use super::Carry;
use crate::cache::CacheError;
use crate::clock::Stopwatch;
use crate::domain::cluster::{LogAnswer, LogEntry, LogFound, LogHead, OpeningMark};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Entries by number. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    log: Arc<Mutex<MemoryEntries>>,
    news: Arc<Notify>,
    away: Arc<AtomicBool>,
    keep: usize,
}

#[derive(Debug, Default)]
struct MemoryEntries {
    entries: BTreeMap<u64, LogEntry>,
    openings: Vec<OpeningMark>,
    term: u64,
    said: Option<(String, Stopwatch, Duration)>,
}

impl MemoryLog {
    /// One that keeps so many entries.
    pub fn new(keep: usize) -> Self {
        Self {
            log: Arc::default(),
            news: Arc::default(),
            away: Arc::default(),
            keep,
        }
    }

    /// Takes nothing while it is away.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    fn log(&self) -> MutexGuard<'_, MemoryEntries> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_after(&self, number: u64, limit: usize) -> Vec<LogEntry> {
        let log = self.log();
        let entries = log.entries.range(number.saturating_add(1)..);
        entries.take(limit).map(|(_, entry)| entry.clone()).collect()
    }
}

impl MemoryEntries {
    fn head(&self) -> Option<LogHead> {
        let entry = self.entries.last_key_value()?.1;
        Some(LogHead {
            number: entry.parcel.number,
            hash: entry.parcel.hash,
            term: entry.term,
            lineage: entry.lineage.clone(),
        })
    }

    fn take(&mut self, term: u64, entry: &LogEntry) -> Option<LogAnswer> {
        let parcel = &entry.parcel;
        let head = self.head();
        let last = head.as_ref().map_or(0, |head| head.number);
        if parcel.number <= last {
            let same = self.entries.get(&parcel.number).map(|known| known.parcel.hash) == Some(parcel.hash);
            return (!same).then_some(LogAnswer::Differs { number: parcel.number });
        }
        if !parcel.begins_chain() {
            let next = parcel.number == last.saturating_add(1) || (last == 0 && parcel.opens);
            if !next {
                return Some(LogAnswer::Hole { head: last });
            }
            if head.is_some_and(|head| head.hash != parcel.previous) {
                return Some(LogAnswer::Differs { number: last });
            }
        }
        if parcel.opens {
            self.openings.push(OpeningMark {
                number: parcel.number,
                begins_chain: parcel.begins_chain(),
            });
        }
        let entry = LogEntry { term, ..entry.clone() };
        self.entries.insert(entry.parcel.number, entry);
        None
    }
}

impl Carry for MemoryLog {
    async fn append(&self, term: u64, entries: &[LogEntry]) -> LogAnswer {
        if self.away.load(Ordering::Relaxed) {
            return LogAnswer::Away("it was told to be".to_owned());
        }
        let mut log = self.log();
        if log.term > term {
            return LogAnswer::Stale { term: log.term };
        }
        log.term = term;
        for entry in entries {
            if let Some(refused) = log.take(term, entry) {
                return refused;
            }
        }
        while log.entries.len() > self.keep {
            log.entries.pop_first();
        }
        drop(log);
        self.news.notify_waiters();
        LogAnswer::Taken
    }

    async fn follow(&self, after: u64, limit: usize, wait: Duration) -> Result<Vec<LogEntry>, CacheError> {
        let news = self.news.notified(); // made before the look, so that nothing is missed in between
        let found = self.entries_after(after, limit);
        if found.is_empty() && tokio::time::timeout(wait, news).await.is_ok() {
            return Ok(self.entries_after(after, limit));
        }
        Ok(found)
    }

    async fn head(&self) -> Result<Option<LogHead>, CacheError> {
        Ok(self.log().head())
    }

    async fn look(&self, own: u64) -> Result<LogFound, CacheError> {
        let log = self.log();
        let after = log.entries.range(own.saturating_add(1)..).next();
        Ok(LogFound {
            head: log.head(),
            first: log.entries.first_key_value().map_or(0, |(number, _)| *number),
            at: log.entries.get(&own).map(|entry| entry.parcel.hash),
            after: after.map(|(number, entry)| (*number, entry.parcel.previous)),
            openings: log.openings.clone(),
        })
    }

    async fn say(&self, term: u64, what: &str, ttl: Duration) -> Result<bool, CacheError> {
        let mut log = self.log();
        if log.term > term {
            return Ok(false);
        }
        log.said = Some((what.to_owned(), Stopwatch::start(), ttl));
        Ok(true)
    }

    async fn hear(&self) -> Result<Option<String>, CacheError> {
        let log = self.log();
        let fresh = log.said.as_ref().filter(|(_, said, ttl)| said.elapsed() < *ttl);
        Ok(fresh.map(|(what, ..)| what.clone()))
    }
}
