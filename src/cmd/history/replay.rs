//! `candela replay`: runs a ledger's recorded inputs through the pipeline again. The result is bars, or the proof that they equal those
//! that were published.

use super::bar_file::BarFileArgs;
use crate::actors::core::rebuild::replay_session;
use crate::app;
use crate::cmd::ask::{UnknownPair, known_pair, read_folder_path};
use crate::domain::model::moment::read_date;
use crate::domain::model::{Event, Interval, JournalEntry, Position, Sequenced, Symbol};
use crate::domain::pipeline::PairRules;
use crate::domain::protocol::{Zones, frames};
use crate::exit::Exit;
use crate::ledger::{LedgerError, LedgerReader};
use crate::limits;
use crate::settings::{self, SettingsArgs};
use chrono::NaiveDate;
use clap::Args;
use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;

/// Make bars again from a ledger's recorded inputs, or prove that they equal the published ones.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The ledger's folder; it is only read, even while a service appends to it.
    #[arg(value_name = "LEDGER", value_parser = read_folder_path)]
    ledger: PathBuf,
    /// Only the session of this date; by default every one that the ledger keeps.
    #[arg(long, value_name = "DATE", value_parser = read_date)]
    date: Option<NaiveDate>,
    /// Compare each event with the published one, and name the first that differs; no bars are written.
    #[arg(long, conflicts_with_all = ["symbol", "interval", "format", "output"])]
    verify: bool,
    #[command(flatten)]
    bars: BarFileArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Why a ledger cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum ReplayError {
    #[error("{folder} has no session: give the folder that `ledger.dir` names")]
    Empty { folder: PathBuf },
    #[error("{folder} has no session of {date}; it keeps {first} to {last}")]
    NoSuchDate {
        folder: PathBuf,
        date: NaiveDate,
        first: NaiveDate,
        last: NaiveDate,
    },
    #[error("the settings name no bars of {given}: give --interval one of {known}")]
    UnknownInterval { given: Interval, known: String },
}

/// The first event that differs between the replay and the ledger. One of the two may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReplayDifference {
    position: Position,
    told: Option<Sequenced>,
    again: Option<Sequenced>,
}

impl ReplayArgs {
    /// Replays sessions. Code 1 if one differs from what was published.
    ///
    /// # Errors
    /// When the settings have problems, the ledger cannot be read, or the bars cannot be written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let markets = app::markets(&valid, &app::calendars(&valid)?);
        let reader = LedgerReader::open(&self.ledger)?;
        let dates = self.dates(&reader)?;
        if self.verify {
            return verify(&reader, &markets, &dates);
        }
        let market = picked(&self.bars, &markets)?;
        check_interval(self.bars.interval, market)?;
        let mut file = self.bars.begin((market.symbol, market.sessions.zone()));
        for date in dates {
            replay_session(&reader, &markets, date, |entry| {
                if let JournalEntry::Event(numbered) = entry
                    && let Event::Bar(bar) = numbered.event
                    && (bar.key.symbol, bar.key.interval) == (market.symbol, self.bars.interval)
                {
                    file.push(bar);
                }
            })?;
        }
        file.finish()?;
        Ok(Exit::Clean)
    }

    fn dates(&self, reader: &LedgerReader) -> Result<Vec<NaiveDate>, ReplayError> {
        let dates: Vec<NaiveDate> = reader.session_dates().into_iter().map(|(date, _)| date).collect();
        let folder = self.ledger.clone();
        let Some((first, last)) = dates.first().copied().zip(dates.last().copied()) else {
            return Err(ReplayError::Empty { folder });
        };
        match self.date {
            None => Ok(dates),
            Some(date) if dates.contains(&date) => Ok(vec![date]),
            Some(date) => Err(ReplayError::NoSuchDate {
                folder,
                date,
                first,
                last,
            }),
        }
    }
}

/// The pair whose bars are requested.
pub(super) fn picked<'a>(bars: &BarFileArgs, markets: &'a [PairRules]) -> Result<&'a PairRules, UnknownPair> {
    let known: Vec<Symbol> = markets.iter().map(|market| market.symbol).collect();
    let symbol = known_pair(bars.symbol, &known)?;
    let found = markets.iter().find(|market| market.symbol == symbol);
    found.ok_or_else(|| UnknownPair::new(symbol, &known))
}

/// Checks that the settings have this interval: a replay makes no others.
fn check_interval(given: Interval, market: &PairRules) -> Result<(), ReplayError> {
    if market.intervals.contains(&given) {
        return Ok(());
    }
    let known: Vec<&str> = market.intervals.iter().map(|interval| interval.name()).collect();
    let known = known.join(", ");
    Err(ReplayError::UnknownInterval { given, known })
}

fn verify(reader: &LedgerReader, markets: &[PairRules], dates: &[NaiveDate]) -> anyhow::Result<Exit> {
    let zones = Zones::new(
        markets
            .iter()
            .map(|market| (market.symbol, market.sessions.zone()))
            .collect(),
    );
    let mut out = std::io::stdout().lock();
    let mut exit = Exit::Clean;
    for date in dates {
        let (same, difference) = compare(reader, markets, &zones, *date)?;
        let Some(difference) = difference else {
            writeln!(out, "{date}  {same} events, each as it was published")?;
            continue;
        };
        exit = Exit::Found;
        let position = difference.position.0;
        writeln!(
            out,
            "{date}  {same} events as they were published, then position {position} differs"
        )?;
        for (what, event) in [("told ", difference.told), ("again", difference.again)] {
            let text = event.map_or_else(Vec::new, |numbered| frames::event_json(&zones, &numbered));
            writeln!(out, "  {what}  {}", String::from_utf8_lossy(&text))?;
        }
    }
    Ok(exit)
}

/// Replays a session and compares it with the ledger: how many events are equal byte for byte, and the first that is not.
fn compare(
    reader: &LedgerReader,
    markets: &[PairRules],
    zones: &Zones,
    date: NaiveDate,
) -> Result<(u64, Option<ReplayDifference>), LedgerError> {
    let dates = reader.session_dates();
    let from = dates
        .iter()
        .find(|(known, _)| *known == date)
        .map_or(Position(1), |(_, first)| *first);
    let to = dates
        .iter()
        .find(|(known, _)| *known > date)
        .map_or(Position(reader.head().0.saturating_add(1)), |(_, first)| *first);
    let mut told = ToldEvents {
        reader: reader.clone(),
        page: VecDeque::new(),
        next: from,
        to,
    };
    let mut same = 0_u64;
    let mut difference = None;
    let mut failed = None;
    replay_session(reader, markets, date, |entry| {
        let JournalEntry::Event(again) = entry else { return };
        if difference.is_some() || failed.is_some() || again.position >= to {
            return; // what was heard since the ledger was opened
        }
        match told.next() {
            Err(error) => failed = Some(error),
            Ok(Some(told)) if is_same(zones, &told, &again) => same = same.saturating_add(1),
            Ok(told) => {
                difference = Some(ReplayDifference {
                    position: told.as_ref().map_or(again.position, |told| told.position),
                    told,
                    again: Some(again),
                });
            }
        }
    })?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    if difference.is_none()
        && let Some(told) = told.next()?
    {
        difference = Some(ReplayDifference {
            position: told.position,
            told: Some(told),
            again: None,
        });
    }
    Ok((same, difference))
}

fn is_same(zones: &Zones, told: &Sequenced, again: &Sequenced) -> bool {
    told == again && frames::event_json(zones, told) == frames::event_json(zones, again)
}

/// The events of a session as they were published, a page at a time.
struct ToldEvents {
    reader: LedgerReader,
    page: VecDeque<Sequenced>,
    next: Position,
    to: Position,
}

impl ToldEvents {
    fn next(&mut self) -> Result<Option<Sequenced>, LedgerError> {
        if self.page.is_empty() && self.next < self.to {
            self.page = self.reader.read(self.next, limits::LEDGER_READ_MAX)?.into();
            self.next = self.page.back().map_or(self.to, |last| last.position.next());
        }
        Ok(self.page.pop_front().filter(|told| told.position < self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::core::CommitQueue;
    use crate::domain::model::{Always, Decoded, Inbound, Input, InputKind, LinkChange, Symbol, Timestamp};
    use crate::domain::pipeline::Pipeline;
    use crate::domain::vendor::wire;
    use crate::ledger::{Ledger, LedgerOptions};
    use std::sync::Arc;

    /// 2025-10-23 00:00 UTC.
    const MIDNIGHT: i64 = 1_761_177_600;

    fn market() -> Vec<PairRules> {
        vec![PairRules::new(Symbol::usdcop(), Arc::new(Always))]
    }

    /// A ledger with two days of ticks; the link is down for a while on the first day.
    fn captured() -> tempfile::TempDir {
        let at = |secs: i64| Timestamp::from_secs(MIDNIGHT + secs);
        let mut pipeline = Pipeline::new(&market(), Position(0), [], at(-3_000));
        let mut entries = Vec::new();
        let mut hear = |secs: i64, what: InputKind| {
            let heard = Input { at: at(secs), what };
            let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
            pipeline.accept(Inbound { heard, says }, &mut entries);
        };
        let symbols = vec![Symbol::usdcop()];
        let up = InputKind::Link(LinkChange::Up { symbols });
        let cause = "upstream_close_1006".to_owned();
        let down = InputKind::Link(LinkChange::Down { cause });
        hear(-3_000, up.clone());
        for secs in (-3_000_i64..3_000).step_by(7) {
            let price = 4_000 + secs.rem_euclid(13);
            let frame = format!(
                r#"{{"event":"price","symbol":"USD/COP","timestamp":{},"price":{price}}}"#,
                MIDNIGHT + secs
            );
            match secs {
                -905..-898 => hear(secs, down.clone()),
                -898..-500 => {}
                -500..-493 => hear(secs, up.clone()),
                _ => hear(secs + 1, InputKind::Frame(frame.into())),
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let first = at(-3_000).datetime().date_naive();
        let mut ledger = Ledger::open(folder.path(), LedgerOptions::new(first, 7)).unwrap();
        let queue = CommitQueue::default();
        queue.push_all(&mut entries);
        while let Some(batch) = queue.take(500) {
            if let Some(date) = batch.iter().find_map(JournalEntry::opens_session) {
                ledger.roll(date).unwrap();
            }
            ledger.append(&batch).unwrap();
            queue.written();
        }
        folder
    }

    fn check(folder: &std::path::Path, date: &str) -> (u64, Option<ReplayDifference>) {
        let reader = LedgerReader::open(folder).unwrap();
        let zones = Zones::new(vec![(Symbol::usdcop(), chrono_tz::UTC)]);
        compare(&reader, &market(), &zones, date.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_is_heard_later_is_no_difference_and_what_no_input_gives_is_one() {
        let folder = captured();
        let reader = LedgerReader::open(folder.path()).unwrap();
        let (first, head) = (reader.session_dates()[1].1, reader.head());
        let date = "2025-10-23".parse().unwrap();
        let zones = Zones::new(vec![(Symbol::usdcop(), chrono_tz::UTC)]);
        let db = rusqlite::Connection::open(folder.path().join("ledger-2025-10-23.db")).unwrap();
        db.execute(
            "INSERT INTO inputs (kind, at_us, after_position, raw, sum)
                SELECT kind, at_us + 900000000, after_position, raw, 0 FROM inputs ORDER BY id DESC LIMIT 1",
            [],
        )
        .unwrap();
        crate::ledger::write_sums(&db).unwrap();
        let compared = compare(&reader, &market(), &zones, date).unwrap();
        let events = head.0 + 1 - first.0;
        assert_eq!(
            compared,
            (events, None),
            "bars that close later are of a time after the ledger was opened"
        );
        db.execute("DELETE FROM inputs WHERE id > (SELECT max(id) - 4 FROM inputs)", [])
            .unwrap();
        let (same, difference) = compare(&reader, &market(), &zones, date).unwrap();
        let difference = difference.unwrap();
        assert_eq!(
            (difference.position, difference.again),
            (Position(first.0 + same), None)
        );
        assert!(difference.told.is_some() && same < events);
    }

    #[test]
    fn what_was_captured_gives_what_was_told_until_one_bar_was_changed() {
        let folder = captured();
        let reader = LedgerReader::open(folder.path()).unwrap();
        let (first, head) = (reader.session_dates()[1].1, reader.head());
        let (one, none) = check(folder.path(), "2025-10-22");
        assert_eq!((one, none), (first.0 - 1, None));
        let (other, none) = check(folder.path(), "2025-10-23");
        assert_eq!((other, none), (head.0 - one, None));

        let file = folder.path().join("ledger-2025-10-23.db");
        let db = rusqlite::Connection::open(file).unwrap();
        let position: i64 = db
            .query_row("SELECT max(position) FROM bars", [], |row| row.get(0))
            .unwrap();
        db.execute(
            "UPDATE bars SET high_micros = high_micros + 1 WHERE position = ?1",
            [position],
        )
        .unwrap();
        crate::ledger::write_sums(&db).unwrap();
        let (same, difference) = check(folder.path(), "2025-10-23");
        let difference = difference.unwrap();
        let position = u64::try_from(position).unwrap();
        assert_eq!((difference.position, same), (Position(position), position - first.0));
        let high = |event: Option<Sequenced>| match event.unwrap().event {
            Event::Bar(bar) => bar.ohlc.high.micros(),
            other => panic!("no bar: {other:?}"),
        };
        assert_eq!(high(difference.told) - high(difference.again), 1);
    }
}
