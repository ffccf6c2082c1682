//! Every file of the corpora, and changes of each that a seed decides: `FUZZ_SEED` and `FUZZ_CHANGES` make another run of them.

use super::TARGETS;
use crate::clock::Stopwatch;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many changed inputs a target, unless its time is over before.
const CHANGES: u64 = 3_000;
const TIME: Duration = Duration::from_millis(1_500);

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's switches, not settings of the service"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One to four changes: a flipped bit, another byte, a piece that is cut out, doubled or taken from another file, a cut end.
fn change(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    const ODD: [&[u8]; 12] = [
        b"\0",
        b"\xff",
        b"\"",
        b"\\",
        b"-",
        b"9223372036854775807",
        b"1e309",
        b"null",
        b"{",
        b"[[",
        b"\n",
        b"\xe2\x80\xa8",
    ];
    let mut bytes = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(..16)).min(bytes.len());
        match rng.u8(..8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            2 if at < bytes.len() => bytes[at] = rng.u8(..),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(end..end, piece);
            }
            5 => {
                let other = &corpus[rng.usize(..corpus.len())];
                let from = rng.usize(..=other.len());
                let to = (from + rng.usize(..64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            6 => bytes.truncate(at),
            _ => drop(bytes.splice(at..end, ODD[rng.usize(..ODD.len())].iter().copied())),
        }
    }
    bytes
}

fn replay(name: &str) {
    let (_, run) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let corpus = corpus(name);
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let mut rng = Rng::with_seed(seed);
    let (begun, most) = (Stopwatch::start(), number("FUZZ_CHANGES"));
    let changed = (0..most.unwrap_or(CHANGES))
        .take_while(|_| most.is_some() || begun.elapsed() < TIME)
        .map(|_| change(&mut rng, &corpus));
    let mut failed = BTreeSet::new();
    for input in corpus.iter().cloned().chain(changed) {
        if catch_unwind(|| run(&input)).is_err() {
            failed.insert(String::from_utf8_lossy(&input).into_owned());
            if failed.len() > 2 {
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{name} with seed {seed} fails on {failed:#?}");
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(folder.join("corpus")), targets);
    assert_eq!(names(folder.join("targets")), targets);
}

macro_rules! replays {
    ($($test:ident $target:literal)*) => {
        $(#[test]
        fn $test() {
            replay($target);
        })*
    };
}

replays! {
    frames_of_the_vendor_are_read_or_refused "vendor_frame"
    answers_of_the_vendor_are_read_or_refused "vendor_answer"
    messages_of_clients_are_read_or_refused "client_message"
    bytes_of_clients_become_the_same_messages_however_they_arrive "client_frames"
    settings_are_read_or_refused "settings"
    a_flag_is_read_or_refused "flag"
    a_calendar_is_read_and_printed_or_refused "calendar"
    no_flipped_or_cut_byte_of_a_ledger_is_read_as_another_record "ledger_file"
    a_mark_is_read_and_printed_or_refused "ledger_mark"
    parcels_are_read_and_printed_or_refused "parcel"
    ticks_of_a_file_are_read_or_refused "tick_file"
    bars_of_a_history_are_read_or_refused "history_file"
}
