//! The ledger when its process is killed, and when its write-ahead log is cut short.

use super::event_script::{EventScript, day};
use super::parcel_tests::{all_from, counted};
use super::tests::{events, read_all};
use super::*;
use crate::domain::model::JournalEntry;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set for the child process: the folder to append to.
const FOLDER: &str = "CANDELA_TEST_LEDGER_FOLDER";

/// The default number of rounds; `CANDELA_TEST_ROUNDS` sets another.
const ROUNDS: u64 = 24;

#[expect(
    clippy::disallowed_methods,
    reason = "a test that talks to itself in another process"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Not a test by itself: the child process of the next test. Appends until it is killed, and prints the last written position after each
/// append.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(folder) = variable(FOLDER) else { return };
    let mut ledger = counted(Path::new(&folder));
    let mut story = EventScript::continue_from(&ledger);
    println!("\nhead {}", ledger.head().0);
    for round in 0_u8.. {
        // single ticks, bursts, and bars, so that both levels of synchronous and all tables are hit
        let moves: Vec<u8> = (0..=round % 40).map(|i| i.wrapping_mul(round)).collect();
        let head = ledger.append(&story.entries_for(&moves)).unwrap();
        println!("\nhead {}", head.0);
        if round == 200 {
            let next = ledger.session_date().succ_opt().unwrap();
            ledger.roll(next).unwrap();
        }
        if round == 255 {
            return;
        }
    }
}

/// Runs the child for at most `life`, kills it with SIGKILL, and returns the position that it printed last.
fn run_and_kill(folder: &Path, life: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "ledger::crash_tests::child_appends_until_it_is_killed",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (said, heard) = std::sync::mpsc::channel();
    let listener = std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if let Some(head) = line.strip_prefix("head ").and_then(|head| head.parse::<u64>().ok()) {
                said.send(head).unwrap();
            }
        }
    });
    let mut last = heard
        .recv_timeout(Duration::from_secs(20))
        .expect("the child opened the ledger");
    // wait on the channel instead of sleeping: the life of the child is the time limit of one receive
    let deadline = crate::clock::Stopwatch::start();
    while let Some(left) = life.checked_sub(deadline.elapsed()) {
        match heard.recv_timeout(left) {
            Ok(head) => last = head,
            Err(_) => break,
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    listener.join().unwrap();
    heard.try_iter().last().unwrap_or(last)
}

#[test]
fn what_was_reported_written_survives_sigkill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let rounds = variable("CANDELA_TEST_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(20_251_022);
    let mut before = 0;
    let mut parcels = BTreeMap::new();
    for round in 0..rounds {
        let reported = run_and_kill(folder.path(), Duration::from_micros(random.u64(100..120_000)));
        let ledger = counted(folder.path());
        for parcel in all_from(&mut ledger.reader(), 1) {
            let known = *parcels.entry(parcel.number).or_insert(parcel.hash);
            assert_eq!(
                known, parcel.hash,
                "round {round}: parcel {} has two contents",
                parcel.number
            );
        }
        let last = parcels.last_key_value().map(|(number, _)| *number);
        assert_eq!(last, Some(ledger.last_parcel()), "round {round}: no parcel is lost");
        assert!(
            ledger.head().0 >= reported,
            "round {round}: {reported} was reported written"
        );
        assert!(ledger.head().0 >= before);
        before = ledger.head().0;
    }
    let ledger = counted(folder.path());
    assert_eq!(
        parcels.len(),
        usize::try_from(ledger.last_parcel()).unwrap(),
        "numbers have no hole"
    );
    // Every reader sees the same: positions without a hole, seqs of each channel without a hole.
    let all = read_all(&mut ledger.reader());
    assert_eq!(u64::try_from(all.len()).unwrap(), ledger.head().0);
    let mut seqs = std::collections::BTreeMap::new();
    for event in &all {
        let Some(channel) = event.channel else { continue };
        let seq = seqs.entry(channel).or_insert(0);
        *seq += 1;
        assert_eq!(event.seq, *seq, "{channel} at {:?}", event.position);
    }
    for (channel, head) in ledger.heads() {
        assert_eq!(seqs.get(channel), Some(&head.seq));
    }
    assert!(before > 100, "the children got somewhere: {before}");
}

#[test]
fn a_log_cut_at_any_byte_never_gives_part_of_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = counted(folder.path());
    let mut story = EventScript::default();
    let mut written: Vec<JournalEntry> = Vec::new();
    let mut ends = vec![0];
    for size in [1_usize, 7, 3, 30, 2, 12] {
        let moves: Vec<u8> = (0..size).map(|i| u8::try_from(i * 37 % 251).unwrap()).collect();
        let batch = story.entries_for(&moves);
        ledger.append(&batch).unwrap();
        written.extend(batch);
        ends.push(ledger.head().0);
    }
    let whole: BTreeMap<_, _> = all_from(&mut ledger.reader(), 1)
        .into_iter()
        .map(|parcel| (parcel.number, parcel.hash))
        .collect();
    let path = files::path_of(folder.path(), day(22));
    let log = path.with_extension("db-wal");
    let (database, log) = (fs::read(&path).unwrap(), fs::read(log).unwrap());
    assert!(
        log.len() > 20_000,
        "the write-ahead log was not emptied meanwhile: {} bytes",
        log.len()
    );
    let mut random = fastrand::Rng::with_seed(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let cut = random.usize(0..=log.len());
        let copy = tempfile::tempdir().unwrap();
        let path = files::path_of(copy.path(), day(22));
        fs::write(&path, &database).unwrap();
        fs::write(path.with_extension("db-wal"), &log[..cut]).unwrap();
        let mut torn = counted(copy.path());
        let head = torn.head().0;
        assert!(
            ends.contains(&head),
            "cut at {cut}: {head} is not the end of a transaction {ends:?}"
        );
        seen.insert(head);
        let kept: Vec<_> = events(&written)
            .into_iter()
            .filter(|event| event.position.0 <= head)
            .collect();
        assert_eq!(read_all(&mut torn.reader()), kept);
        torn.append(&written).unwrap();
        assert_eq!(read_all(&mut torn.reader()), events(&written));
        // A number from before the cut keeps its content or is not assigned again. Without its mark, a ledger that has lost everything is a
        // new ledger; with the mark, the loss is detected.
        for parcel in all_from(&mut torn.reader(), 1) {
            let known = whole.get(&parcel.number);
            assert!(
                head == 0 || known.is_none_or(|hash| *hash == parcel.hash),
                "parcel {} has two contents",
                parcel.number
            );
        }
    }
    assert!(seen.len() > 2, "the cuts hit several transactions: {seen:?}");
}
