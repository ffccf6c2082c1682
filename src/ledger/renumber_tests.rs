//! A ledger that cannot be shown to be whole assigns no number twice.

use super::event_script::{EventScript, day};
use super::files::with_suffix;
use super::tests::{open, read_all};
use super::*;
use crate::domain::model::{Channel, Epoch, Position, Sequenced};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The published content of each number, by channel and epoch, and of each position, by the ledger's name.
#[derive(Default)]
struct Told {
    numbers: BTreeMap<(String, String, u64), String>,
    positions: BTreeMap<(String, u64), String>,
}

impl Told {
    fn note(&mut self, ledger: &Ledger, events: &[Sequenced]) {
        let lineage = ledger.reader().lineage();
        for event in events {
            let content = format!("{:?} {}", event.event, event.at);
            if let Some(channel) = event.channel {
                let epoch = ledger.heads()[&channel].epoch.to_string();
                let number = (channel.to_string(), epoch, event.seq);
                let known = self.numbers.insert(number.clone(), content.clone());
                assert!(
                    known.is_none_or(|known| known == content),
                    "{number:?} has two meanings"
                );
            }
            let place = (lineage.clone(), event.position.0);
            let known = self.positions.insert(place.clone(), content.clone());
            assert!(known.is_none_or(|known| known == content), "{place:?} has two meanings");
        }
    }

    fn tell(&mut self, ledger: &mut Ledger, story: &mut EventScript, moves: &[u8]) {
        let entries = story.entries_for(moves);
        ledger.append(&entries).unwrap();
        self.note(ledger, &super::tests::events(&entries));
    }
}

fn epochs(ledger: &Ledger) -> BTreeMap<Channel, Epoch> {
    let heads = ledger.heads().iter();
    heads.map(|(channel, head)| (*channel, head.epoch)).collect()
}

/// The folder as a process leaves it that is killed now: SQLite does not close the write-ahead log.
fn killed(ledger: Ledger, folder: &Path) {
    let kept = tempfile::tempdir().unwrap();
    let files = || fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let of_sqlite = files().filter(|name| name.to_string_lossy().contains(".db"));
    let of_sqlite: Vec<_> = of_sqlite.collect();
    for name in &of_sqlite {
        fs::copy(folder.join(name), kept.path().join(name)).unwrap();
    }
    drop(ledger);
    for name in &of_sqlite {
        fs::write(folder.join(name), fs::read(kept.path().join(name)).unwrap()).unwrap();
    }
}

#[test]
fn a_log_that_is_cut_after_a_kill_gives_no_number_two_meanings() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_suffix(&files::path_of(folder.path(), day(22)), "-wal");
    let mut random = fastrand::Rng::with_seed(17);
    let (mut told, mut renumbered) = (Told::default(), 0);
    for round in 0..40_u64 {
        let mut ledger = Ledger::open(folder.path(), LedgerOptions::new(day(22), round)).unwrap(); // a start has its own random number
        if let Some(found) = ledger.renumbered() {
            assert_eq!(found.why, Doubt::LostTail, "round {round}");
            assert!(found.told > found.head);
            renumbered += 1;
        }
        told.note(&ledger, &read_all(&mut ledger.reader()));
        let mut story = EventScript::continue_from(&ledger);
        let _ = story.entries_for(&vec![9; usize::try_from(round).unwrap()]); // other instants than the last round's
        for _ in 0..random.usize(1..12) {
            let moves: Vec<u8> = (0..random.usize(1..9)).map(|_| random.u8(..)).collect();
            told.tell(&mut ledger, &mut story, &moves);
        }
        killed(ledger, folder.path());
        let bytes = fs::read(&log).unwrap();
        let cut = random.usize(0..=bytes.len().min(60_000));
        fs::write(&log, &bytes[..bytes.len() - cut]).unwrap();
    }
    assert!(renumbered > 10, "{renumbered}");
}

#[test]
fn a_kill_alone_keeps_epochs_name_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&[0, 5, 7, 16, 21, 14])).unwrap();
    let (heads, lineage) = (ledger.heads().clone(), ledger.reader().lineage());
    killed(ledger, folder.path());
    let ledger = open(folder.path());
    assert_eq!(ledger.renumbered(), None);
    assert_eq!((ledger.heads(), ledger.reader().lineage()), (&heads, lineage));
}

#[test]
fn after_a_loss_of_power_every_channel_has_a_new_epoch_and_what_is_left_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&[0, 5, 7, 16, 21, 14])).unwrap();
    let (before, all, lineage) = (
        epochs(&ledger),
        read_all(&mut ledger.reader()),
        ledger.reader().lineage(),
    );
    drop(ledger);
    let mark = folder.path().join("mark");
    let text = fs::read_to_string(&mark).unwrap();
    fs::write(&mark, text.replace(&mark::boot_id(), "another")).unwrap();
    let ledger = open(folder.path());
    assert_eq!(ledger.renumbered().map(|found| found.why), Some(Doubt::PowerLoss));
    assert!(epochs(&ledger).iter().all(|(channel, epoch)| before[channel] != *epoch));
    assert_eq!(read_all(&mut ledger.reader()), all);
    let ancestors = ledger.reader().ancestors();
    assert_eq!(surviving_range(&ancestors, &lineage, 99), Some((5, 94)));
    assert_eq!(surviving_range(&ancestors, &lineage, 3), Some((3, 0)));
    assert_eq!(surviving_range(&ancestors, "ffff", 3), None);
    drop(ledger);
    assert_eq!(open(folder.path()).renumbered(), None, "it is new once");
}

#[test]
fn after_a_clean_stop_and_another_boot_nothing_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
    ledger.empty_log().unwrap();
    drop(ledger);
    let mark = folder.path().join("mark");
    let text = fs::read_to_string(&mark).unwrap();
    fs::write(&mark, text.replace(&mark::boot_id(), "another")).unwrap();
    let mut ledger = open(folder.path());
    assert_eq!(ledger.renumbered(), None);
    let mut story = EventScript::continue_from(&ledger);
    ledger.append(&story.entries_for(&[0])).unwrap();
    drop(ledger);
    let text = fs::read_to_string(&mark).unwrap();
    assert!(text.contains("state open"), "{text}");
}

#[test]
fn a_stop_is_clean_while_a_reader_holds_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
    let path = files::path_of(folder.path(), day(22));
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count = || reader.query_row("SELECT count(*) FROM meta", [], |row| row.get::<_, i64>(0));
    assert!(count().unwrap() > 0);
    ledger.empty_log().unwrap();
    drop(ledger);
    assert!(
        fs::metadata(with_suffix(&path, "-wal")).unwrap().len() > 0,
        "the write-ahead log stays"
    );
    let mark = folder.path().join("mark");
    let text = fs::read_to_string(&mark).unwrap();
    assert!(text.contains("state clean"), "{text}");
    fs::write(&mark, text.replace(&mark::boot_id(), "another")).unwrap();
    assert_eq!(open(folder.path()).renumbered(), None);
}

#[test]
fn a_copied_folder_and_one_without_its_mark_begin_new_epochs() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ledger = open(folder.path());
    ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
    ledger.empty_log().unwrap();
    drop(ledger);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert_eq!(
        open(copy.path()).renumbered().map(|found| found.why),
        Some(Doubt::Copied)
    );
    fs::remove_file(folder.path().join("mark")).unwrap();
    assert_eq!(
        open(folder.path()).renumbered().map(|found| found.why),
        Some(Doubt::MarkMissing)
    );
}

#[test]
fn a_ledger_of_a_version_without_a_mark_goes_on_after_a_clean_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
    ledger.empty_log().unwrap();
    let heads = ledger.heads().clone();
    drop(ledger);
    fs::remove_file(folder.path().join("mark")).unwrap();
    let db = rusqlite::Connection::open(files::path_of(folder.path(), day(22))).unwrap();
    db.execute_batch("DELETE FROM meta WHERE key = 'marked'").unwrap();
    drop(db);
    let ledger = open(folder.path());
    assert_eq!((ledger.renumbered(), ledger.heads()), (None, &heads));
}

#[test]
fn what_a_ledger_was_called_goes_along_into_the_next_day() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path());
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&[0, 5])).unwrap();
    let first = ledger.reader().lineage();
    ledger.renumber(Doubt::StoreAhead, Position(9)).unwrap();
    let second = ledger.reader().lineage();
    ledger.append(&story.entries_for(&[0])).unwrap();
    ledger.roll(day(23)).unwrap();
    ledger.append(&story.entries_for(&[0])).unwrap();
    drop(ledger);
    LedgerReader::open(folder.path())
        .unwrap()
        .renumber_at_next_start(Position(1))
        .unwrap();
    let ledger = open(folder.path());
    let names: Vec<_> = ledger
        .reader()
        .ancestors()
        .into_iter()
        .map(|known| (known.lineage, known.upto))
        .collect();
    assert_eq!(names, [(first.clone(), 2), (second, 1)]);
    assert_eq!(surviving_range(&ledger.reader().ancestors(), &first, 2), Some((1, 1)));
    drop(ledger);
    assert_eq!(open(folder.path()).renumbered(), None);
}

#[test]
fn a_folder_that_is_gone_or_replaced_takes_no_more_and_goes_on_when_it_is_back() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, away) = (parent.path().join("ledger"), parent.path().join("away"));
    let mut ledger = open(&folder);
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&[0])).unwrap();
    ledger.check_folder().unwrap();
    fs::rename(&folder, &away).unwrap();
    let error = ledger.check_folder().unwrap_err();
    assert_eq!(
        (error.reason(), error.disposition()),
        ("folder_gone", Disposition::Retry)
    );
    assert!(error.to_string().contains("put the folder back"), "{error}");
    fs::create_dir(&folder).unwrap();
    for name in ["lock", "mark", "ledger-2025-10-22.db"] {
        fs::copy(away.join(name), folder.join(name)).unwrap();
    }
    assert!(ledger.check_folder().unwrap_err().to_string().contains("was replaced"));
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    ledger.check_folder().unwrap();
    ledger.append(&story.entries_for(&[0])).unwrap();
    fs::remove_file(folder.join("lock")).unwrap();
    assert_eq!(ledger.check_folder().unwrap_err().reason(), "folder_gone");
}
