//! The ledger's guarantees, for any entries and any division into batches.

use super::event_script::{EventScript, day};
use super::*;
use crate::clock::Stopwatch;
use crate::domain::model::{
    Channel, Input, JournalEntry, JournalQuery, Position, Sequenced, ServiceEvent, ServiceEventKind, Symbol, Timestamp,
};
use crate::limits;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn options() -> LedgerOptions {
    LedgerOptions::new(day(22), 7)
}

pub(super) fn open(folder: &Path) -> Ledger {
    Ledger::open(folder, options()).unwrap()
}

pub(super) fn events(entries: &[JournalEntry]) -> Vec<Sequenced> {
    let events = entries.iter().filter_map(|entry| match entry {
        JournalEntry::Event(event) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}

fn inputs(entries: &[JournalEntry]) -> Vec<Input> {
    let inputs = entries.iter().filter_map(|entry| match entry {
        JournalEntry::Input(heard) => Some(heard.clone()),
        _ => None,
    });
    inputs.collect()
}

pub(super) fn read_all(reader: &mut LedgerReader) -> Vec<Sequenced> {
    let mut all: Vec<Sequenced> = Vec::new();
    loop {
        let from = all.last().map_or(reader.first_position(), |last| last.position.next());
        let page = reader.read(from, 7).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn heard_in(reader: &LedgerReader) -> Vec<Input> {
    let dates = reader.session_dates().into_iter();
    dates
        .flat_map(|(date, _)| reader.inputs_of(date).unwrap().map(Result::unwrap))
        .collect()
}

fn check(ledger: &Ledger, expect: &[JournalEntry]) {
    let mut reader = ledger.reader();
    assert_eq!(read_all(&mut reader), events(expect));
    assert_eq!(heard_in(&reader), inputs(expect));
    assert_eq!(reader.head(), ledger.head());
    assert_eq!(reader.heads(), *ledger.heads());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_in_any_batches_is_read_back(moves in prop::collection::vec(any::<u8>(), 1..80), cuts in prop::collection::vec(1_usize..20, 80)) {
        let folder = tempfile::tempdir().unwrap();
        let entries = EventScript::default().entries_for(&moves);
        let mut ledger = open(folder.path());
        let mut rest = entries.as_slice();
        for cut in cuts {
            let (batch, later) = rest.split_at(cut.min(rest.len()));
            ledger.append(batch).unwrap();
            rest = later;
        }
        check(&ledger, &entries);
    }

    #[test]
    fn any_stretch_appended_again_changes_nothing(
        moves in prop::collection::vec(any::<u8>(), 1..60),
        again in any::<prop::sample::Index>(),
        upto in any::<prop::sample::Index>(),
        reopen in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let entries = EventScript::default().entries_for(&moves);
        let mut ledger = open(folder.path());
        let written = upto.index(entries.len()) + 1;
        ledger.append(&entries[..written]).unwrap();
        if reopen {
            drop(ledger);
            ledger = open(folder.path());
        }
        let from = again.index(written);
        ledger.append(&entries[from..written]).unwrap();
        check(&ledger, &entries[..written]);
        ledger.append(&entries[from..]).unwrap();
        check(&ledger, &entries);
    }

    #[test]
    fn a_channel_is_read_by_its_numbers_across_files(moves in prop::collection::vec(any::<u8>(), 1..80), rolls in 1_usize..4) {
        let folder = tempfile::tempdir().unwrap();
        let entries = EventScript::default().entries_for(&moves);
        let mut ledger = open(folder.path());
        for (batch, date) in entries.chunks(entries.len() / rolls + 1).zip(23..) {
            ledger.append(batch).unwrap();
            ledger.roll(day(date)).unwrap();
        }
        check(&ledger, &entries);
        let mut reader = ledger.reader();
        for (channel, head) in ledger.heads() {
            let of_channel: Vec<_> = events(&entries).into_iter().filter(|event| event.channel == Some(*channel)).collect();
            prop_assert_eq!(reader.read_channel(*channel, 0, u64::MAX, 1_000).unwrap(), of_channel.clone());
            prop_assert_eq!(reader.first_seq(*channel).unwrap(), Some(1));
            let late = reader.read_channel(*channel, 2, head.seq, 3).unwrap();
            prop_assert_eq!(late, of_channel.into_iter().skip(1).take(3).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_restart_goes_on_with_the_numbers_and_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let mut story = EventScript::default();
    let first = story.entries_for(&[0, 5, 7, 16, 21, 14, 6, 8]);
    let mut ledger = open(folder.path());
    ledger.append(&first).unwrap();
    ledger.roll(day(23)).unwrap();
    let (head, heads, lineage) = (ledger.head(), ledger.heads().clone(), ledger.reader().lineage());
    drop(ledger);

    let mut ledger = Ledger::open(folder.path(), LedgerOptions::new(day(30), 99)).unwrap();
    assert_eq!((ledger.head(), ledger.heads()), (head, &heads));
    assert_eq!(ledger.session_date(), day(23));
    assert_eq!(
        (ledger.reader().lineage(), lineage.as_str()),
        (lineage.clone(), "0000000000000007")
    );
    let second = story.entries_for(&[0, 5, 5, 3]);
    assert_eq!(ledger.append(&second).unwrap(), Position(head.0 + 4));
    check(&ledger, &[first, second].concat());
}

#[test]
fn a_hole_in_positions_or_numbers_is_refused_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let mut entries = EventScript::default().entries_for(&[0, 0, 0, 0]);
    assert!(matches!(
        ledger.append(&entries[1..]),
        Err(LedgerError::Hole { head: 0, given: 2 })
    ));
    if let JournalEntry::Event(event) = &mut entries[3] {
        event.seq = 9;
    }
    let error = ledger.append(&entries).unwrap_err();
    assert!(
        matches!(error, LedgerError::SeqHole { head: 3, given: 9, .. }),
        "{error}"
    );
    assert_eq!(error.disposition(), Disposition::Fatal);
    assert_eq!(ledger.head(), Position(0));
    check(&ledger, &[]);
    ledger.append(&entries[..3]).unwrap();
    check(&ledger, &entries[..3]);
}

#[test]
fn a_second_process_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let error = Ledger::open(folder.path(), options()).unwrap_err();
    assert!(
        error.to_string().contains("in use by another candela (process"),
        "{error}"
    );
    drop(ledger);
    open(folder.path());
}

#[test]
fn a_newer_format_and_a_foreign_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = files::path_of(folder.path(), day(22));
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA user_version=9").unwrap();
    drop(db);
    let error = Ledger::open(folder.path(), options()).unwrap_err();
    assert!(error.to_string().contains("has ledger format 9"), "{error}");
    fs::write(
        &path,
        "this is no database, whatever it is called; it only lies here".repeat(20),
    )
    .unwrap();
    let error = Ledger::open(folder.path(), options()).unwrap_err();
    assert!(matches!(error, LedgerError::NotALedger { .. }), "{error}");
}

#[test]
fn retention_drops_whole_files_but_never_one_that_a_reader_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), LedgerOptions { days: 2, ..options() }).unwrap();
    let holder = ledger.holding_reader();
    let mut story = EventScript::default();
    for date in 23..27 {
        ledger.append(&story.entries_for(&[0, 5])).unwrap();
        ledger.roll(day(date)).unwrap();
    }
    assert_eq!(
        holder.session_dates().len(),
        5,
        "a holder that has not spoken needs everything"
    );
    holder.done_before(Position(4));
    ledger.append(&story.entries_for(&[0, 5])).unwrap();
    ledger.roll(day(27)).unwrap();
    assert_eq!(
        holder.first_position(),
        Position(3),
        "position 4 is in the file that begins at 3"
    );
    drop(holder);
    ledger.roll(day(28)).unwrap();
    let ledger = reopened(ledger, folder.path());
    assert_eq!(files::session_dates(folder.path()).unwrap(), [day(27), day(28)]);
    let mut reader = ledger.reader();
    let error = reader.read(Position(1), 10).unwrap_err();
    assert!(matches!(error, LedgerError::Expired { asked: 1, first: 11 }), "{error}");
    assert_eq!(ledger.heads()[&Channel::ticks(Symbol::usdcop())].seq, 5);
}

/// Closes and opens the ledger. Closing waits for the thread that removes files.
fn reopened(ledger: Ledger, folder: &Path) -> Ledger {
    drop(ledger);
    open(folder)
}

#[test]
fn a_file_that_is_no_longer_kept_is_moved_to_the_backup_folder_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (live, backup) = (folder.path().join("live"), folder.path().join("backup"));
    let kept = LedgerOptions {
        days: 1,
        backup: Some(backup.clone()),
        ..options()
    };
    let mut ledger = Ledger::open(&live, kept).unwrap();
    let entries = EventScript::default().entries_for(&[0, 5, 14, 7]);
    ledger.append(&entries).unwrap();
    ledger.roll(day(23)).unwrap();
    drop(ledger);
    assert_eq!(files::session_dates(&live).unwrap(), [day(23)]);
    assert_eq!(files::session_dates(&backup).unwrap(), [day(22)]);
    let mut archive = LedgerReader::open(&backup).unwrap();
    assert_eq!(read_all(&mut archive), events(&entries));
    assert_eq!(heard_in(&archive), inputs(&entries));
}

#[test]
fn a_full_disk_is_an_error_to_try_again_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let mut story = EventScript::default();
    let first = story.entries_for(&[0, 5, 14]);
    ledger.append(&first).unwrap();
    ledger.limit_pages(Some(20));
    let more = story.entries_for(&[0; 3_000]);
    let error = ledger.append(&more).unwrap_err();
    assert!(matches!(error, LedgerError::DiskFull { .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Retry);
    check(&ledger, &first);
    ledger.limit_pages(None);
    ledger.append(&more).unwrap();
    check(&ledger, &[first, more].concat());
}

#[test]
fn a_damaged_row_is_named_with_its_file_table_and_position() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    ledger
        .append(&EventScript::default().entries_for(&[0, 5, 7, 14]))
        .unwrap();
    let db = rusqlite::Connection::open(files::path_of(folder.path(), day(22))).unwrap();
    db.execute_batch("CREATE TEMP TABLE kept AS SELECT body FROM notes")
        .unwrap();
    for (damage, table, row) in [
        ("UPDATE inputs SET kind = 77", "inputs", 1),
        ("UPDATE notes SET body = '{'", "notes", 3),
        ("UPDATE bars SET state = 'wet'", "bars", 2),
        ("UPDATE ticks SET provenance = x'ff'", "ticks", 1),
        (
            "UPDATE ticks SET provenance = 'live'; DELETE FROM bars; UPDATE notes SET body = (SELECT body FROM kept)",
            "ticks, bars or notes",
            2,
        ),
    ] {
        db.execute_batch(damage).unwrap();
        let mut reader = ledger.reader();
        let error = match table {
            "inputs" => reader.inputs_of(day(22)).unwrap().next().unwrap().unwrap_err(),
            _ => reader.read(Position(1), 10).unwrap_err(),
        };
        let text = error.to_string();
        assert!(text.contains(&format!("row {row} of table {table} in ")), "{text}");
        assert!(text.contains("ledger-2025-10-22.db is damaged"), "{text}");
        assert!(text.contains("out of the folder and start again"), "no remedy: {text}");
    }
}

#[test]
fn a_price_that_is_another_than_was_written_is_damage_and_not_a_price() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let entries = EventScript::default().entries_for(&[0, 5, 7, 14]);
    ledger.append(&entries).unwrap();
    let db = rusqlite::Connection::open(files::path_of(folder.path(), day(22))).unwrap();
    for (damage, mended) in [
        (
            "UPDATE ticks SET price_micros = price_micros + 1",
            "UPDATE ticks SET price_micros = price_micros - 1",
        ),
        (
            "UPDATE bars SET high_micros = high_micros + 1",
            "UPDATE bars SET high_micros = high_micros - 1",
        ),
        (
            "UPDATE notes SET at_us = at_us + 1",
            "UPDATE notes SET at_us = at_us - 1",
        ),
        (
            "UPDATE ticks SET bid_micros = bid_micros + 1",
            "UPDATE ticks SET bid_micros = bid_micros - 1",
        ),
        ("UPDATE ticks SET seq = seq + 1", "UPDATE ticks SET seq = seq - 1"),
    ] {
        db.execute_batch(damage).unwrap();
        let error = ledger.reader().read(Position(1), 10).unwrap_err().to_string();
        assert!(error.contains("its check sum is another"), "{damage}: {error}");
        db.execute_batch(mended).unwrap();
        assert_eq!(read_all(&mut ledger.reader()), events(&entries), "{mended}");
    }
    db.execute_batch("UPDATE inputs SET at_us = at_us + 1").unwrap();
    let error = ledger.reader().inputs_of(day(22)).unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("its check sum is another"), "{error}");
    for name in [
        "UPDATE heads SET epoch = 'zzzz'",
        "UPDATE meta SET value = 'other' WHERE key = 'lineage'",
    ] {
        db.execute_batch(name).unwrap();
        let error = LedgerReader::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("the check sum of its names is another"),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_file_of_format_1_gets_its_check_sums_when_it_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut script = EventScript::default();
    let mut entries = script.entries_for(&[0, 5, 7, 14, 16, 10, 8]);
    let mut ledger = open(folder.path());
    ledger.append(&entries).unwrap();
    drop(ledger);
    let db = rusqlite::Connection::open(files::path_of(folder.path(), day(22))).unwrap();
    for table in ["inputs", "ticks", "bars", "notes"] {
        db.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN sum"))
            .unwrap();
    }
    db.execute_batch("DELETE FROM meta WHERE key = 'names_sum'; PRAGMA user_version=1")
        .unwrap();
    let mut reader = LedgerReader::open(folder.path()).unwrap();
    assert_eq!(read_all(&mut reader), events(&entries), "format 1 is read as it is");
    let mut ledger = open(folder.path());
    let more = script.entries_for(&[0, 5, 14]);
    ledger.append(&more).unwrap();
    entries.extend(more);
    check(&ledger, &entries);
    db.execute_batch("UPDATE ticks SET price_micros = price_micros + 1 WHERE position = 1")
        .unwrap();
    assert!(ledger.reader().read(Position(1), 1).is_err());
}

#[test]
fn a_reader_in_another_process_sees_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let entries = EventScript::default().entries_for(&[0, 5, 7, 14]);
    ledger.append(&entries).unwrap();
    let mut reader = LedgerReader::open(folder.path()).unwrap();
    assert_eq!(read_all(&mut reader), events(&entries));
    assert_eq!(heard_in(&reader), inputs(&entries));
    assert!(matches!(
        LedgerReader::open(&folder.path().join("none")),
        Err(LedgerError::Folder { .. })
    ));
}

#[test]
fn a_channel_has_its_epoch_before_its_first_event_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = |random| LedgerOptions {
        channels: vec![Channel::ticks(Symbol::usdcop()), Channel::quality(Symbol::usdcop())],
        ..LedgerOptions::new(day(22), random)
    };
    let heads = Ledger::open(folder.path(), options(7)).unwrap().heads().clone();
    assert_eq!(heads.len(), 2);
    assert!(heads.values().all(|head| head.seq == 0));
    let mut ledger = Ledger::open(folder.path(), options(99)).unwrap();
    assert_eq!(*ledger.heads(), heads, "another run has another random number");
    ledger
        .append(&EventScript::continue_from(&ledger).entries_for(&[0, 0]))
        .unwrap();
    ledger.roll(day(23)).unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path(), options(5)).unwrap();
    for (channel, head) in ledger.reader().heads() {
        assert_eq!(
            head.epoch,
            heads.get(&channel).map_or(head.epoch, |known| known.epoch),
            "{channel}"
        );
    }
    assert_eq!(ledger.heads()[&Channel::ticks(Symbol::usdcop())].seq, 2);
}

#[test]
fn the_log_of_a_quiet_market_goes_into_the_file_while_the_day_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let (mut story, mut told) = (EventScript::continue_from(&ledger), Vec::new());
    for _ in 0..2 * limits::LEDGER_CHECKPOINT_WAL / limits::LEDGER_WAL_COMMIT {
        let tick = story.entries_for(&[0]);
        ledger.append(&tick).unwrap(); // a commit each
        told.extend(tick);
    }
    let file = files::path_of(folder.path(), day(22));
    let watch = Stopwatch::start();
    while fs::metadata(&file).unwrap().len() < 100_000 {
        assert!(
            watch.elapsed() < Duration::from_secs(20),
            "all of it is still in the write-ahead log"
        );
        std::thread::yield_now();
    }
    check(&ledger, &told);
}

/// Across a roll to another file and for any page size, no entry is left out or read twice.
#[test]
fn the_journal_is_read_in_pages_across_files() {
    const NOTED: u8 = 135;
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let mut story = EventScript::continue_from(&ledger);
    let mut told = story.entries_for(&[0, 6, NOTED, 7, 8, 5, NOTED, 6]);
    ledger.append(&told).unwrap();
    ledger.roll(day(23)).unwrap();
    let later = story.entries_for(&[7, 0, NOTED, 6]);
    ledger.append(&later).unwrap();
    told.extend(later);
    let expect: Vec<u64> = events(&told)
        .iter()
        .filter(|event| ServiceEvent::of(event).is_some())
        .map(|event| event.position.0)
        .collect();
    assert_eq!(expect.len(), 6);
    let mut reader = ledger.reader();
    let mut pages = |kind: Option<ServiceEventKind>, limit: u32| {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let query = JournalQuery {
                from: Timestamp::from_secs(0),
                to: Timestamp::from_secs(4_000_000_000),
                kind,
                symbol: None,
                after,
                limit,
            };
            let page = reader.read_journal(&query).unwrap();
            let Some(last) = page.last() else { return found };
            after = Some(last.place);
            found.extend(page.iter().map(|placed| placed.place.position));
        }
    };
    for limit in 1..8 {
        assert_eq!(pages(None, limit), expect, "{limit} a page");
    }
    let noted = pages(Some(ServiceEventKind::ConditionRaised), 2);
    assert_eq!(noted.len(), 3);
    assert_eq!(
        reader.last_noted().unwrap().map(|placed| placed.place.position),
        noted.last().copied()
    );
    assert!(reader.journal_begins().unwrap().is_some());
}

#[test]
fn readers_are_shown_no_more_than_may_be_told() {
    const MOVES: [u8; 4] = [0, 0, 5, 135]; // the last is an entry of the journal
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), LedgerOptions::new(day(22), 7)).unwrap();
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&MOVES)).unwrap();
    let bound = ledger.head();
    let told = ledger.heads().clone();
    let mut reader = ledger.reader();
    reader.bound_told(bound);
    ledger.append(&story.entries_for(&MOVES)).unwrap();
    let all = ledger.head();
    assert!(all > bound);
    let ticks = Channel::ticks(Symbol::usdcop());
    let read = |reader: &mut LedgerReader| {
        let events = reader.read(Position(1), 100).unwrap().len();
        let ticks = reader.read_channel(ticks, 1, 100, 100).unwrap().len();
        let query = JournalQuery {
            from: Timestamp::from_secs(0),
            to: Timestamp::from_secs(4_000_000_000),
            kind: None,
            symbol: None,
            after: None,
            limit: 100,
        };
        let entries = reader.read_journal(&query).unwrap().len();
        (reader.head(), events, ticks, entries)
    };
    assert_eq!(read(&mut reader), (bound, 4, 2, 1));
    assert_eq!(reader.heads(), told);
    assert_eq!(read(&mut reader.whole()), (all, 8, 4, 2));
    assert_eq!(reader.whole().heads(), *ledger.heads());
    reader.raise_told(all);
    reader.raise_told(bound); // what was told stays told
    assert_eq!(read(&mut reader), (all, 8, 4, 2));
    assert_eq!(reader.heads(), *ledger.heads());
}
