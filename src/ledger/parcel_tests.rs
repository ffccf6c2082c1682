//! Parcels: counted, read, followed by another ledger, and begun anew when the chain cannot continue.

use super::event_script::{EventScript, day};
use super::tests::{events, read_all};
use super::*;
use crate::domain::cluster::{Parcel, ParcelHash};
use crate::domain::model::{Channel, Interval, JournalEntry, Position, Symbol};
use crate::limits;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

pub(super) fn counted(folder: &Path) -> Ledger {
    opened(folder, Parcels::Counted)
}

/// A ledger that knows its channels from the start, as a service's does.
fn knowing(folder: &Path) -> Ledger {
    let options = LedgerOptions {
        parcels: Parcels::Counted,
        channels: vec![
            Channel::ticks(Symbol::usdcop()),
            Channel::bars(Interval::M5, Symbol::usdcop()),
        ],
        ..LedgerOptions::new(day(22), 7)
    };
    Ledger::open(folder, options).unwrap()
}

fn opened(folder: &Path, parcels: Parcels) -> Ledger {
    let options = LedgerOptions {
        parcels,
        ..LedgerOptions::new(day(22), 7)
    };
    Ledger::open(folder, options).unwrap()
}

/// All parcels from a number on.
pub(super) fn all_from(reader: &mut LedgerReader, from: u64) -> Vec<Parcel> {
    let mut all: Vec<Parcel> = Vec::new();
    loop {
        let next = all.last().map_or(from, |last| last.number + 1);
        let page = reader.read_parcels(next, 5).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Checks that each parcel follows the previous one, or begins a chain with an opening.
fn check_chain(parcels: &[Parcel]) {
    for (one, next) in parcels.iter().zip(parcels.iter().skip(1)) {
        assert!(next.is_whole());
        if next.begins_chain() {
            assert!(next.opens && next.number > one.number);
        } else {
            assert_eq!((next.number, next.previous), (one.number + 1, one.hash));
        }
    }
}

fn durable(entries: &[JournalEntry]) -> Vec<JournalEntry> {
    let kept = entries
        .iter()
        .filter(|entry| !matches!(entry, JournalEntry::Partial { .. }));
    kept.cloned().collect()
}

/// A ledger that follows another from its first opening on.
fn follow(folder: &Path, parcels: &[Parcel]) -> (Ledger, Vec<JournalEntry>) {
    let (first, rest) = parcels.split_first().unwrap();
    let mut ledger = opened(folder, Parcels::Followed(Some(first.clone())));
    let mut taken = Vec::new();
    for parcel in rest {
        taken.extend(ledger.apply_parcel(parcel).unwrap());
    }
    (ledger, taken)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ledger_that_takes_anothers_parcels_is_the_same(
        moves in prop::collection::vec(any::<u8>(), 1..80),
        cuts in prop::collection::vec(1_usize..20, 80),
        rolls in prop::collection::btree_set(0_usize..8, 0..3),
        reopened in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let entries = EventScript::default().entries_for(&moves);
        let mut ledger = counted(folder.path());
        let mut told = Vec::new();
        let mut rest = entries.as_slice();
        for (round, cut) in cuts.into_iter().enumerate() {
            let (batch, later) = rest.split_at(cut.min(rest.len()));
            if rolls.contains(&round) {
                let next = ledger.session_date().succ_opt().unwrap();
                ledger.roll(next).unwrap();
            }
            ledger.append(batch).unwrap();
            told.extend(durable(batch));
            rest = later;
        }
        if reopened {
            drop(ledger);
            ledger = counted(folder.path());
        }
        let parcels = all_from(&mut ledger.reader(), 1);
        check_chain(&parcels);
        prop_assert_eq!(parcels.last().unwrap().number, ledger.last_parcel());
        let other = tempfile::tempdir().unwrap();
        let (mut follower, taken) = follow(other.path(), &parcels);
        prop_assert_eq!(taken, told);
        prop_assert_eq!(follower.heads(), ledger.heads());
        prop_assert_eq!(follower.reader().lineage(), ledger.reader().lineage());
        prop_assert_eq!(follower.session_date(), ledger.session_date());
        prop_assert_eq!(read_all(&mut follower.reader()), events(&entries));
        prop_assert_eq!(all_from(&mut follower.reader(), 1), parcels);
        // It continues after a restart, and does not take again what it has.
        drop(follower);
        let end = followed_chain(other.path()).unwrap().unwrap();
        prop_assert_eq!(end.number, ledger.last_parcel());
        follower = opened(other.path(), Parcels::Followed(None));
        let mut story = EventScript::continue_from(&ledger);
        ledger.append(&story.entries_for(&[0, 5, 14])).unwrap();
        let next = all_from(&mut ledger.reader(), end.number + 1);
        let taken: Vec<JournalEntry> = next.iter().flat_map(|parcel| follower.apply_parcel(parcel).unwrap()).collect();
        prop_assert_eq!(taken.len(), 3);
        prop_assert!(follower.apply_parcel(next.last().unwrap()).is_err());
        prop_assert_eq!(follower.heads(), ledger.heads());
    }
}

#[test]
fn a_parcel_that_is_not_the_next_or_was_changed_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = knowing(folder.path());
    let mut story = EventScript::default();
    for _ in 0..3 {
        ledger.append(&story.entries_for(&[0, 5])).unwrap();
    }
    let parcels = all_from(&mut ledger.reader(), 1);
    let other = tempfile::tempdir().unwrap();
    let (mut follower, _) = follow(other.path(), &parcels[..2]);
    let mut body = parcels[2].body.to_vec();
    *body.last_mut().unwrap() ^= 1;
    let changed = Parcel {
        body: body.clone().into(),
        ..parcels[2].clone()
    };
    let cut = body[..body.len() - 1].to_vec();
    let cut = Parcel {
        hash: parcels[2].previous.then(3, &cut),
        body: cut.into(),
        ..parcels[2].clone()
    };
    for wrong in [&parcels[1], &parcels[3], &changed, &cut] {
        let refused = follower.apply_parcel(wrong).unwrap_err();
        assert!(matches!(refused, LedgerError::Parcel { .. }), "{refused}");
        assert_eq!(follower.head(), Position(2));
    }
    follower.apply_parcel(&parcels[2]).unwrap();
    assert_eq!(follower.head(), Position(4));
}

#[test]
fn a_parcel_whose_commit_was_not_acknowledged_gives_its_entries_again_and_is_not_written_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = knowing(folder.path());
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&[0, 5])).unwrap();
    ledger.append(&story.entries_for(&[0, 5])).unwrap();
    let parcels = all_from(&mut ledger.reader(), 1);
    let other = tempfile::tempdir().unwrap();
    let (mut follower, _) = follow(other.path(), &parcels[..2]);
    let before = follower.end.clone();
    let taken = follower.apply_parcel(&parcels[2]).unwrap();
    assert_eq!(taken.len(), 2);
    // The state after a commit that reached the disk and reported an error.
    follower.end = before;
    follower.unsure = true;
    let again = follower.apply_parcel(&parcels[2]).unwrap();
    assert_eq!((again, follower.head()), (taken, Position(4)));
    assert_eq!(follower.parcel_end(), (parcels[2].number, parcels[2].hash));
    assert_eq!(read_all(&mut follower.reader()).len(), 4);
    let twice = follower.apply_parcel(&parcels[2]);
    assert!(twice.is_err(), "only what was uncertain is given again");
}

#[test]
fn a_file_whose_opening_was_not_acknowledged_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = knowing(folder.path());
    ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
    ledger.roll(day(23)).unwrap();
    let parcels = all_from(&mut ledger.reader(), 1);
    let (opening, rest) = parcels.split_last().unwrap();
    let other = tempfile::tempdir().unwrap();
    let (mut follower, _) = follow(other.path(), rest);
    let path = files::path_of(other.path(), day(23));
    {
        let db = files::open_to_append(&path, 3, follower.heads(), &ledger.reader().lineage()).unwrap();
        let mut end = follower.end.clone();
        parcels::begin_file((&db, &path), &mut end, (day(23), ""), Some(opening)).unwrap();
    }
    follower.apply_parcel(opening).unwrap();
    assert_eq!(follower.session_date(), day(23));
    assert_eq!(all_from(&mut follower.reader(), 1), parcels);
}

#[test]
fn a_body_cut_anywhere_or_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = counted(folder.path());
    let moves: Vec<u8> = (0..=255).collect();
    ledger.append(&EventScript::default().entries_for(&moves)).unwrap();
    let body = all_from(&mut ledger.reader(), 3).remove(0).body;
    let whole = parcel_body::read(&body).unwrap().len();
    for end in (0..body.len()).step_by(7) {
        let read = parcel_body::read(&body[..end]);
        assert!(read.map_or(true, |rows| rows.len() < whole));
    }
    assert!(parcel_body::read(&[9, 0]).is_err());
    assert!(parcel_body::read(&[1, 1, 3, 255, 255, 255, 255, 0]).is_err());
}

/// Taking over the ledger of a version that does not count parcels.
#[test]
fn a_ledger_that_was_not_counted_begins_with_an_opening_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = opened(folder.path(), Parcels::Uncounted);
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&[0, 5, 14, 8])).unwrap();
    assert_eq!(all_from(&mut ledger.reader(), 1), []);
    drop(ledger);
    let mut ledger = counted(folder.path());
    ledger.append(&story.entries_for(&[1, 2])).unwrap();
    let parcels = all_from(&mut ledger.reader(), 1);
    let opening = parcels[0].opening().unwrap().unwrap();
    assert_eq!((opening.position, opening.date), (3, day(22)));
    assert_eq!(parcels.iter().map(|parcel| parcel.number).collect::<Vec<_>>(), [1, 2]);
    // A single node again for a while: what it appends belongs to no parcel.
    drop(ledger);
    let mut ledger = opened(folder.path(), Parcels::Uncounted);
    ledger.append(&story.entries_for(&[3])).unwrap();
    drop(ledger);
    assert_eq!(followed_chain(folder.path()).unwrap(), None);
    let mut ledger = counted(folder.path());
    ledger.append(&story.entries_for(&[4])).unwrap();
    let parcels = all_from(&mut ledger.reader(), 1);
    check_chain(&parcels);
    assert_eq!(
        parcels.iter().map(|parcel| parcel.number).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert!(parcels[2].begins_chain());
    assert_eq!(parcels[2].opening().unwrap().unwrap().position, 6);
}

#[test]
fn a_ledger_with_a_new_name_begins_a_chain_beyond_all_that_it_may_have_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = counted(folder.path());
    let mut story = EventScript::default();
    ledger.append(&story.entries_for(&[0, 5])).unwrap();
    let (before, lineage) = (ledger.last_parcel(), ledger.reader().lineage());
    drop(ledger);
    fs::remove_file(folder.path().join("mark")).unwrap();
    let mut ledger = counted(folder.path());
    assert_ne!(ledger.reader().lineage(), lineage);
    assert!(ledger.last_parcel() > before + limits::PARCELS_SKIPPED - 1);
    ledger.renumber(Doubt::StoreAhead, Position(9)).unwrap();
    let renamed = ledger.last_parcel();
    ledger.begin_parcels_after(renamed * 3).unwrap();
    assert_eq!(ledger.last_parcel(), renamed * 3 + 1);
    ledger.append(&story.entries_for(&[1])).unwrap();
    let parcels = all_from(&mut ledger.reader(), 1);
    check_chain(&parcels);
    assert_eq!(parcels.iter().filter(|parcel| parcel.begins_chain()).count(), 4);
    let last = parcels
        .iter()
        .rfind(|parcel| parcel.opens)
        .unwrap()
        .opening()
        .unwrap()
        .unwrap();
    assert_eq!(last.lineage, ledger.reader().lineage());
    assert_eq!(last.heads, {
        let mut heads = ledger.heads().clone();
        heads.values_mut().for_each(|head| head.seq = head.seq.min(1));
        heads
    });
}

#[test]
fn what_follows_is_put_aside_whole_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = knowing(folder.path());
    ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
    let parcels = all_from(&mut ledger.reader(), 1);
    let other = tempfile::tempdir().unwrap();
    let (follower, _) = follow(other.path(), &parcels);
    assert!(matches!(set_aside(other.path()), Err(LedgerError::InUse { .. })));
    drop(follower);
    for _ in 0..2 {
        set_aside(other.path()).unwrap();
        assert_eq!(followed_chain(other.path()).unwrap(), None);
        let (follower, taken) = follow(other.path(), &parcels);
        assert_eq!((taken.len(), follower.head()), (2, Position(2)));
    }
    let aside = LedgerReader::open(&other.path().join("aside")).unwrap();
    assert_eq!(aside.head(), Position(2));
    assert_eq!(followed_chain(&other.path().join("nowhere")).unwrap(), None);
}

#[test]
fn rows_that_do_not_give_a_parcels_hash_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = knowing(folder.path());
    ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
    let path = files::path_of(folder.path(), day(22));
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute("UPDATE ticks SET price_micros = price_micros + 1", [])
        .unwrap();
    let found = ledger.reader().read_parcels(2, 1).unwrap_err();
    assert!(found.to_string().contains("do not give its hash"), "{found}");
    assert_eq!(
        ParcelHash::NONE,
        ledger.reader().read_parcels(1, 1).unwrap()[0].previous
    );
}
