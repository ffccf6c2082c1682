//! The ledger's files under a fuzzer: flipped and cut bytes are noticed, and never read as another record.

use super::mark::MarkText;
use super::parcel_body::{self, ParcelBody};
use super::{Ledger, LedgerOptions, LedgerReader};
use crate::domain::calendar::{Calendar, CalendarSpec};
use crate::domain::model::{
    Channel, Decoded, Epoch, Inbound, Input, InputKind, Interval, JournalEntry, LinkChange, Position, Sequenced,
    Symbol, Timestamp,
};
use crate::domain::pipeline::{PairRules, Pipeline};
use crate::domain::vendor::wire;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// 2025-10-22 08:00 in Bogota, a Wednesday.
const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);

/// A ledger as its files have it, and what is in it.
struct WholeLedger {
    files: Vec<(String, Vec<u8>)>,
    content: Content,
}

/// All that a reader can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    events: Vec<Sequenced>,
    heard: Vec<Input>,
    epochs: BTreeMap<Channel, Epoch>,
    lineage: String,
}

/// The first byte says which ledger: one that was left, or one whose write-ahead log is as a kill leaves it. Each four bytes then damage
/// it: which file, where (two bytes), and the bits that flip; without any bit the file is cut there.
pub(crate) fn read_damaged_file(bytes: &[u8]) {
    static WHOLE: OnceLock<Option<[WholeLedger; 2]>> = OnceLock::new();
    let Some((which, damages)) = bytes.split_first() else {
        return;
    };
    let made = WHOLE.get_or_init(|| Some([make(true)?, make(false)?]));
    let whole = made.as_ref().and_then(|both| both.get(usize::from(which % 2)));
    let Some((whole, folder)) = whole.zip(tempfile::tempdir().ok()) else {
        return;
    };
    let mut files = whole.files.clone();
    let mut mark = false;
    for damage in damages.chunks_exact(4).take(4) {
        let [file, high, low, flip] = *damage else { continue };
        let count = files.len().max(1);
        let Some((name, bytes)) = files.get_mut(usize::from(file).checked_rem(count).unwrap_or(0)) else {
            continue;
        };
        mark |= name == "mark";
        let place = usize::from(u16::from_be_bytes([high, low]));
        let place = place.checked_rem(bytes.len()).unwrap_or(0);
        match bytes.get_mut(place) {
            Some(byte) if flip > 0 => *byte ^= flip,
            _ => bytes.truncate(place),
        }
    }
    for (name, bytes) in &files {
        if fs::write(folder.path().join(name), bytes).is_err() {
            return;
        }
    }
    check_reader(folder.path(), &whole.content);
    check_appender(folder.path(), &whole.content, mark);
}

/// Whatever is read is what was written; a tail may be missing.
fn check_reader(folder: &Path, content: &Content) {
    let Ok(mut reader) = LedgerReader::open(folder) else {
        return;
    };
    if reader.lineage().is_empty() {
        // All of the file was in a log that cannot be read any more: its creation counts as interrupted.
        assert_eq!(reader.head(), Position(0), "a ledger without a name");
        return;
    }
    assert_eq!(reader.lineage(), content.lineage, "the name");
    for (channel, head) in reader.heads() {
        assert_eq!(
            Some(&head.epoch),
            content.epochs.get(&channel),
            "the epoch of {channel}"
        );
    }
    let mut next = reader.first_position();
    assert_eq!(next, Position(1), "the first position");
    while let Ok(page) = reader.read(next, 64) {
        let Some(last) = page.last() else { break };
        next = last.position.next();
        for event in &page {
            let written = usize::try_from(event.position.0.saturating_sub(1)).ok();
            assert_eq!(written.and_then(|at| content.events.get(at)), Some(event), "an event");
        }
    }
    for channel in content.epochs.keys() {
        for event in reader.read_channel(*channel, 1, u64::MAX, 1_024).unwrap_or_default() {
            assert!(content.events.contains(&event), "an event of {channel}: {event:?}");
        }
    }
    for (date, _) in reader.session_dates() {
        let Ok(inputs) = reader.inputs_of(date) else { continue };
        for (heard, written) in inputs.map_while(Result::ok).zip(content.heard.iter()) {
            assert_eq!(heard, *written, "an input");
        }
    }
}

/// A start either refuses the ledger, or goes on where it ended, or gives out new names.
fn check_appender(folder: &Path, content: &Content, mark_is_damaged: bool) {
    let date = OPEN.datetime().date_naive();
    let Ok(ledger) = Ledger::open(folder, LedgerOptions::new(date, 9)) else {
        return;
    };
    let lost = usize::try_from(ledger.head().0).ok() != Some(content.events.len());
    assert!(
        !lost || mark_is_damaged || ledger.renumbered().is_some(),
        "the end is lost ({:?}), and the names stay",
        ledger.head()
    );
}

/// An hour of a pair, with an outage, as a pipeline decides it.
fn entries() -> Option<Vec<JournalEntry>> {
    let calendar = Calendar::new(&CalendarSpec::default(), Arc::default()).ok()?;
    let market = PairRules {
        intervals: vec![Interval::M5, Interval::M15],
        ..PairRules::new(Symbol::usdcop(), Arc::new(calendar))
    };
    let mut pipeline = Pipeline::new(
        std::slice::from_ref(&market),
        Position(0),
        [],
        OPEN - Duration::from_secs(60),
    );
    let up = || {
        InputKind::Link(LinkChange::Up {
            symbols: vec![market.symbol],
        })
    };
    let mut entries = Vec::new();
    for second in (0..1_500_u32).step_by(20) {
        let at = OPEN + Duration::from_secs(1) * second;
        let what = match second {
            0 | 720 => up(),
            600 => InputKind::Link(LinkChange::Down {
                cause: "silent".to_owned(),
            }),
            _ => InputKind::Frame(Bytes::from(format!(
                r#"{{"event":"price","symbol":"USD/COP","timestamp":{},"price":{}}}"#,
                at.secs(),
                4_000_u32.saturating_add(second / 20)
            ))),
        };
        let heard = Input { at, what };
        let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
        pipeline.accept(Inbound { heard, says }, &mut entries);
    }
    entries.retain(|entry| !matches!(entry, JournalEntry::Partial { .. }));
    Some(entries)
}

fn as_heard(entry: &JournalEntry) -> Option<Input> {
    match entry {
        JournalEntry::Input(heard) => Some(heard.clone()),
        JournalEntry::Event(_) | JournalEntry::Partial { .. } => None,
    }
}

fn make(left: bool) -> Option<WholeLedger> {
    let folder = tempfile::tempdir().ok()?;
    let entries = entries()?;
    let date = OPEN.datetime().date_naive();
    let mut ledger = Ledger::open(folder.path(), LedgerOptions::new(date, 7)).ok()?;
    for batch in entries.chunks(16) {
        ledger.append(batch).ok()?;
    }
    let epochs = ledger.heads().iter().map(|(channel, head)| (*channel, head.epoch));
    let content = Content {
        events: entries.iter().filter_map(JournalEntry::event).cloned().collect(),
        heard: entries.iter().filter_map(as_heard).collect(),
        epochs: epochs.collect(),
        lineage: ledger.reader().lineage(),
    };
    if left {
        ledger.empty_log().ok()?;
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder.path()).ok()? {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        if name != "lock" && !name.ends_with("-shm") {
            files.push((name, fs::read(&path).ok()?));
        }
    }
    files.retain(|(_, bytes)| !bytes.is_empty());
    files.sort();
    Some(WholeLedger { files, content })
}

pub(crate) fn read_mark(bytes: &[u8]) {
    let read = std::str::from_utf8(bytes).ok().and_then(MarkText::read);
    if let Some(mark) = read {
        assert_eq!(
            MarkText::read(&mark.write()),
            Some(mark),
            "a mark is printed and read again"
        );
    }
}

pub(crate) fn read_parcel(bytes: &[u8]) {
    let Ok(rows) = parcel_body::read(bytes) else { return };
    let mut body = ParcelBody::default();
    for row in &rows {
        let skipped = usize::from(row.kind == parcel_body::RowKind::Input); // the id of an input is no part of it
        body.push_row(row.kind, row.columns.get(skipped..).unwrap_or_default());
    }
    assert_eq!(body.into_bytes(), bytes, "a parcel is printed and read again");
}
