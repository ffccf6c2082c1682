//! The cluster log: one contract over each kind of it. The Redis is a real one.

use crate::cache_redis::ask;
use crate::servers::redis;
use candela::cache::CacheError;
use candela::carrier::{Carry, MemoryLog, RedisLog};
use candela::clock::Stopwatch;
use candela::domain::cluster::{LogAnswer, LogEntry, LogHead, OpeningMark, Parcel, ParcelHash};
use candela::limits;
use redis::Value;
use secrecy::SecretString;
use std::time::Duration;

/// Parcels from `first` on, each a chain's next; openings where `first` and `begins` are.
fn chain(first: u64, count: u64, begins: &[u64], body: &str) -> Vec<LogEntry> {
    let mut hash = ParcelHash::NONE;
    let entries = (first..first + count).map(|number| {
        let begin = number == first || begins.contains(&number);
        let previous = if begin { ParcelHash::NONE } else { hash };
        let body = [body.as_bytes(), &number.to_be_bytes(), &[0, 255, b'\n']].concat();
        hash = previous.then(number, &body);
        LogEntry {
            term: 0,
            lineage: "00000000000000a1".to_owned(),
            parcel: Parcel {
                number,
                last: number * 10,
                previous,
                hash,
                opens: begin,
                body: body.into(),
            },
        }
    });
    entries.collect()
}

fn of_term(term: u64, entries: &[LogEntry]) -> Vec<LogEntry> {
    let with_term = |entry: &LogEntry| LogEntry { term, ..entry.clone() };
    entries.iter().map(with_term).collect()
}

/// What every log promises.
async fn keeps_the_contract(log: &impl Carry) {
    let ours = chain(1, 12, &[7], "");
    let soon = Duration::from_millis(1);
    assert_eq!(log.head().await.unwrap(), None);
    assert_eq!(log.follow(0, 9, soon).await.unwrap(), []);
    // An empty log begins with an opening, and goes on without a hole.
    assert_eq!(log.append(3, &ours[1..3]).await, LogAnswer::Hole { head: 0 });
    assert_eq!(log.append(3, &ours[..3]).await, LogAnswer::Taken);
    assert_eq!(log.append(3, &ours[4..5]).await, LogAnswer::Hole { head: 3 });
    // What is there already is compared, and is no error when it is the same.
    assert_eq!(log.append(3, &ours[1..5]).await, LogAnswer::Taken);
    let other = chain(1, 12, &[7], "other");
    assert_eq!(log.append(3, &other[2..3]).await, LogAnswer::Differs { number: 3 });
    assert_eq!(
        log.append(3, &other[5..6]).await,
        LogAnswer::Differs { number: 5 },
        "its last is not ours"
    );
    // A later term takes over, and the earlier one appends nothing more.
    assert_eq!(log.append(4, &ours[5..6]).await, LogAnswer::Taken);
    assert_eq!(log.append(3, &ours[6..7]).await, LogAnswer::Stale { term: 4 });
    assert_eq!(log.append(3, &[]).await, LogAnswer::Stale { term: 4 });
    assert!(!log.say(3, "old", Duration::from_secs(9)).await.unwrap());
    assert_eq!(log.hear().await.unwrap(), None);
    assert!(log.say(4, "new", Duration::from_secs(9)).await.unwrap());
    assert_eq!(log.hear().await.unwrap().as_deref(), Some("new"));
    hears_nodes_and_forming_bars(log).await;
    // Another chain begins where it wants, beyond the last.
    assert_eq!(log.append(4, &ours[6..8]).await, LogAnswer::Taken);
    let far = chain(5_000, 2, &[], "far");
    assert_eq!(log.append(4, &far).await, LogAnswer::Taken);
    let head = log.head().await.unwrap().unwrap();
    let expect = LogHead {
        number: 5_001,
        hash: far[1].parcel.hash,
        term: 4,
        lineage: far[1].lineage.clone(),
    };
    assert_eq!(head, expect);
    // Every byte comes back, in order, under the term that wrote it.
    let told = [of_term(3, &ours[..5]), of_term(4, &ours[5..8]), of_term(4, &far)].concat();
    assert_eq!(log.follow(0, 100, soon).await.unwrap(), told);
    assert_eq!(log.follow(4, 2, soon).await.unwrap(), told[4..6]);
    assert_eq!(log.follow(5_001, 2, soon).await.unwrap(), []);
    let found = log.look(5).await.unwrap();
    assert_eq!((found.first, found.at), (1, Some(ours[4].parcel.hash)));
    assert_eq!(found.after, Some((6, ours[4].parcel.hash)));
    let marks = [1, 7, 5_000].map(|number| OpeningMark {
        number,
        begins_chain: true,
    });
    assert_eq!(found.openings, marks);
    assert_eq!(found.head, Some(expect));
}

/// Of a log that ends with parcel 6, under term 4: what stands beside the parcels.
async fn hears_nodes_and_forming_bars(log: &impl Carry) {
    let soon = Duration::from_millis(1);
    // Each node is known by what it said last.
    for (name, said) in [("one", "{\"a\": 1}"), ("two", "2"), ("one", "3 and ó")] {
        log.nodes(Some((name, said))).await.unwrap();
    }
    let found = log.nodes(None).await.unwrap();
    assert_eq!((found.head, found.term), (6, 4));
    let mut said: Vec<&str> = found.said.iter().map(|(_, said)| said.as_str()).collect();
    said.sort_unstable();
    assert_eq!(said, ["2", "3 and ó"]);
    assert!(found.said.iter().all(|(age_ms, _)| *age_ms < 5_000), "{found:?}");
    log.forget("two").await.unwrap();
    log.forget("nobody").await.unwrap();
    let said = log.nodes(None).await.unwrap().said;
    assert_eq!(said.len(), 1, "{said:?}");
    // Bars that form are heard from now on, each after the entries before it, and not from a leader of an earlier term.
    assert!(log.form(4, "unheard").await.unwrap());
    let read = log.read(4, "", 9, soon).await.unwrap();
    assert_eq!((read.entries.len(), read.forming.len()), (2, 0));
    assert!(!log.form(3, "old").await.unwrap());
    assert!(log.form(4, "first").await.unwrap() && log.form(4, "second").await.unwrap());
    let read = log.read(6, &read.mark, 9, soon).await.unwrap();
    assert_eq!(
        (read.entries.len(), read.forming),
        (0, vec!["first".to_owned(), "second".to_owned()])
    );
    assert_eq!(
        log.read(6, &read.mark, 9, soon).await.unwrap().forming,
        Vec::<String>::new()
    );
}

/// Who waits hears at once.
async fn wakes_who_waits(log: &impl Carry) {
    let ours = chain(1, 2, &[], "");
    let began = Stopwatch::start();
    let append_soon = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        log.append(1, &ours).await
    };
    let (found, appended) = tokio::join!(log.follow(0, 9, Duration::from_secs(5)), append_soon);
    assert_eq!((found.unwrap().len(), appended), (2, LogAnswer::Taken));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

fn in_redis(url: &str) -> RedisLog {
    RedisLog::new(&SecretString::from(url.to_owned()), limits::CLUSTER_LOG_LEAST).unwrap()
}

#[tokio::test]
async fn a_log_in_memory_keeps_the_contract() {
    keeps_the_contract(&MemoryLog::new(1_000)).await;
    wakes_who_waits(&MemoryLog::new(1_000)).await;
}

#[tokio::test]
async fn a_log_in_redis_keeps_the_contract() {
    let server = redis();
    keeps_the_contract(&in_redis(&server.url())).await;
    let other = redis();
    wakes_who_waits(&in_redis(&other.url())).await;
}

#[tokio::test]
async fn a_redis_that_lost_its_term_its_end_or_all_of_it_is_seen() {
    let mut server = redis();
    let log = in_redis(&server.url());
    let ours = chain(1, 9, &[], "");
    assert_eq!(log.append(4, &ours[..6]).await, LogAnswer::Taken);
    ask(&server.url(), &["DEL", "{candela}:term"]).await;
    assert_eq!(
        log.append(3, &ours[6..7]).await,
        LogAnswer::Stale { term: 4 },
        "its last entry knows the term"
    );
    assert_eq!(
        ask(&server.url(), &["XDEL", "{candela}:log", "6-0", "5-0"]).await,
        Value::Int(2)
    );
    assert_eq!(log.append(4, &ours[6..7]).await, LogAnswer::Hole { head: 4 });
    // Entries that were deleted cannot be put back under their ids: the server says so, and nothing is taken for done.
    assert!(matches!(log.append(4, &ours[4..7]).await, LogAnswer::Away(_)));
    server.kill();
    assert!(matches!(log.append(4, &ours[6..7]).await, LogAnswer::Away(_)));
    assert!(log.follow(0, 9, Duration::from_millis(1)).await.is_err());
    server.restart();
    assert_eq!(log.append(4, &ours[6..7]).await, LogAnswer::Hole { head: 0 });
    assert_eq!(log.append(4, &ours).await, LogAnswer::Taken);
}

#[tokio::test]
async fn a_redis_without_room_is_full_and_one_with_a_strange_entry_is_not_guessed_at() {
    let server = redis();
    let log = in_redis(&server.url());
    let ours = chain(1, 3, &[], "");
    assert_eq!(log.append(1, &ours[..1]).await, LogAnswer::Taken);
    ask(&server.url(), &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    ask(&server.url(), &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    ask(&server.url(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = log.append(1, &ours[1..]).await;
    assert!(
        matches!(&refused, LogAnswer::Full(why) if why.contains("maxmemory")),
        "{refused:?}"
    );
    ask(&server.url(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(log.append(1, &ours[1..]).await, LogAnswer::Taken);
    ask(&server.url(), &["XADD", "{candela}:log", "9-0", "term", "1"]).await;
    let read = log.follow(0, 9, Duration::from_millis(1)).await;
    assert!(
        matches!(&read, Err(CacheError::Other(why)) if why.contains("9-0")),
        "{read:?}"
    );
}
