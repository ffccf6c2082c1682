//! The cluster log in this process, as the simplest implementation of the contract.

use super::Carry;
use crate::cache::CacheError;
use crate::clock::Stopwatch;
use crate::domain::cluster::{LogAnswer, LogEntry, LogFound, LogHead, LogRead, NodesFound, OpeningMark};
use crate::limits;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Entries by number. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    log: Arc<Mutex<MemoryEntries>>,
    news: Arc<Notify>,
    away: Arc<AtomicBool>,
    /// How often `follow` was called.
    reads: Arc<AtomicU64>,
    keep: usize,
}

#[derive(Debug, Default)]
struct MemoryEntries {
    entries: BTreeMap<u64, LogEntry>,
    openings: VecDeque<OpeningMark>,
    term: u64,
    said: Option<(String, Stopwatch, Duration)>,
    nodes: BTreeMap<String, (String, Stopwatch)>,
    forming: VecDeque<(u64, String)>,
    formed: u64,
}

impl MemoryLog {
    /// A cluster log that keeps `keep` entries.
    pub fn new(keep: usize) -> Self {
        Self {
            log: Arc::default(),
            news: Arc::default(),
            away: Arc::default(),
            reads: Arc::default(),
            keep,
        }
    }

    /// Makes every call fail while it is away.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Removes all entries.
    pub fn empty(&self) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = MemoryEntries::default();
    }

    /// How often `follow` was called.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn log(&self) -> Result<MutexGuard<'_, MemoryEntries>, CacheError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(CacheError::Unreachable("it was told to be away".to_owned()));
        }
        Ok(self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn entries_after(&self, number: u64, limit: usize) -> Result<Vec<LogEntry>, CacheError> {
        let log = self.log()?;
        let entries = log.entries.range(number.saturating_add(1)..);
        Ok(entries.take(limit).map(|(_, entry)| entry.clone()).collect())
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
            self.openings.push_back(OpeningMark {
                number: parcel.number,
                begins_chain: parcel.begins_chain(),
            });
            if u64::try_from(self.openings.len()).is_ok_and(|count| count > limits::CLUSTER_OPENINGS) {
                self.openings.pop_front();
            }
        }
        let entry = LogEntry { term, ..entry.clone() };
        self.entries.insert(entry.parcel.number, entry);
        None
    }
}

impl Carry for MemoryLog {
    async fn append(&self, term: u64, entries: &[LogEntry]) -> LogAnswer {
        let mut log = match self.log() {
            Ok(log) => log,
            Err(away) => return LogAnswer::Away(away.to_string()),
        };
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
        self.reads.fetch_add(1, Ordering::Relaxed);
        let news = self.news.notified(); // made before the look, so that nothing is missed in between
        let found = self.entries_after(after, limit)?;
        if found.is_empty() && tokio::time::timeout(wait, news).await.is_ok() {
            return self.entries_after(after, limit);
        }
        Ok(found)
    }

    async fn read(&self, after: u64, mark: &str, limit: usize, wait: Duration) -> Result<LogRead, CacheError> {
        let mark = match mark.parse::<u64>() {
            Ok(mark) => mark,
            Err(_) => self.log()?.formed,
        };
        let news = self.news.notified();
        let is_still = {
            let log = self.log()?;
            log.formed <= mark && log.entries.range(after.saturating_add(1)..).next().is_none()
        };
        if is_still {
            drop(tokio::time::timeout(wait, news).await);
        }
        let entries = self.follow(after, limit, Duration::ZERO).await?;
        let log = self.log()?;
        let forming = log.forming.iter().filter(|(number, _)| *number > mark);
        Ok(LogRead {
            entries,
            forming: forming.map(|(_, what)| what.clone()).collect(),
            mark: log.formed.to_string(),
        })
    }

    async fn form(&self, term: u64, what: &str) -> Result<bool, CacheError> {
        let mut log = self.log()?;
        if log.term > term {
            return Ok(false);
        }
        log.formed = log.formed.saturating_add(1);
        let number = log.formed;
        log.forming.push_back((number, what.to_owned()));
        if u64::try_from(log.forming.len()).is_ok_and(|count| count > limits::FORMING_KEPT) {
            log.forming.pop_front();
        }
        drop(log);
        self.news.notify_waiters();
        Ok(true)
    }

    async fn head(&self) -> Result<Option<LogHead>, CacheError> {
        Ok(self.log()?.head())
    }

    async fn look(&self, own: u64) -> Result<LogFound, CacheError> {
        let log = self.log()?;
        let after = log.entries.range(own.saturating_add(1)..).next();
        Ok(LogFound {
            head: log.head(),
            first: log.entries.first_key_value().map_or(0, |(number, _)| *number),
            at: log.entries.get(&own).map(|entry| entry.parcel.hash),
            after: after.map(|(number, entry)| (*number, entry.parcel.previous)),
            openings: log.openings.iter().cloned().collect(),
        })
    }

    async fn say(&self, term: u64, what: &str, ttl: Duration) -> Result<bool, CacheError> {
        let mut log = self.log()?;
        if log.term > term {
            return Ok(false);
        }
        log.said = Some((what.to_owned(), Stopwatch::start(), ttl));
        Ok(true)
    }

    async fn hear(&self) -> Result<Option<String>, CacheError> {
        let log = self.log()?;
        let fresh = log.said.as_ref().filter(|(_, said, ttl)| said.elapsed() < *ttl);
        Ok(fresh.map(|(what, ..)| what.clone()))
    }

    async fn nodes(&self, own: Option<(&str, &str)>) -> Result<NodesFound, CacheError> {
        let mut log = self.log()?;
        if let Some((name, said)) = own {
            log.nodes.insert(name.to_owned(), (said.to_owned(), Stopwatch::start()));
        }
        log.nodes
            .retain(|_, (_, since)| since.elapsed() < limits::NODE_FORGOTTEN);
        let said = log.nodes.values().take(limits::NODES_SHOWN);
        Ok(NodesFound {
            head: log.head().map_or(0, |head| head.number),
            term: log.term,
            said: said
                .map(|(said, since)| {
                    (
                        u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                        said.clone(),
                    )
                })
                .collect(),
        })
    }

    async fn forget(&self, name: &str) -> Result<(), CacheError> {
        self.log()?.nodes.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::{Parcel, ParcelHash};

    fn opening(number: u64) -> LogEntry {
        let body = bytes::Bytes::from_static(b"{}");
        LogEntry {
            term: 1,
            lineage: "a".to_owned(),
            parcel: Parcel {
                number,
                last: number,
                previous: ParcelHash::NONE,
                hash: ParcelHash::NONE.then(number, &body),
                opens: true,
                body,
            },
        }
    }

    #[tokio::test]
    async fn one_that_is_away_answers_nothing_and_one_that_is_back_has_what_it_had() {
        let log = MemoryLog::new(10);
        let ttl = Duration::from_secs(9);
        assert_eq!(log.append(1, &[opening(1)]).await, LogAnswer::Taken);
        assert!(log.say(1, "here", ttl).await.unwrap());
        log.set_away(true);
        assert!(matches!(log.append(1, &[opening(2)]).await, LogAnswer::Away(_)));
        assert!(log.follow(0, 9, Duration::from_millis(1)).await.is_err());
        assert!(log.head().await.is_err() && log.look(0).await.is_err());
        assert!(log.say(1, "away", ttl).await.is_err() && log.hear().await.is_err());
        log.set_away(false);
        assert_eq!(log.head().await.unwrap().unwrap().number, 1);
        assert_eq!(log.hear().await.unwrap().as_deref(), Some("here"));
    }

    #[tokio::test]
    async fn the_oldest_openings_go_as_those_in_redis_do() {
        let log = MemoryLog::new(10);
        for number in 1..=limits::CLUSTER_OPENINGS + 5 {
            assert_eq!(log.append(1, &[opening(number)]).await, LogAnswer::Taken);
        }
        let openings = log.look(0).await.unwrap().openings;
        assert_eq!(u64::try_from(openings.len()).unwrap(), limits::CLUSTER_OPENINGS);
        assert_eq!(openings.first().unwrap().number, 6);
    }
}
