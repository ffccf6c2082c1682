//! The market that the demo plays, and when its clock begins: a seeded walk, or a real day from a file; in a folder that was used before,
//! right after the last input.

use crate::cmd::simulate::{read_zone, say_rounded};
use crate::domain::calendar::{Calendar, CalendarSpec};
use crate::domain::model::moment::read_date;
use crate::domain::model::{Interval, Session, Sessions, Symbol, Timestamp, VendorBar};
use crate::ledger::LedgerReader;
use crate::limits;
use crate::sim::market::MarketBar;
use crate::sim::{History, Market};
use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What is played.
#[derive(Debug, Clone, Args)]
pub struct DayArgs {
    /// The seed of the walk, and of the way between a real bar's prices.
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Replay a real day from this file of bars (CSV, plain or gzip).
    #[arg(long, value_name = "FILE", requires = "date")]
    history: Option<PathBuf>,
    /// The day to replay, such as 2025-10-22; without a history file, the day the walk is dated.
    #[arg(long, value_name = "DATE", value_parser = read_date)]
    date: Option<NaiveDate>,
    /// Read the file's times as wall time of this zone, whatever they are labelled, such as America/Bogota.
    #[arg(long, value_name = "ZONE", requires = "history", value_parser = read_zone)]
    history_zone: Option<Tz>,
}

/// The outcome of [`choose_day`].
#[derive(Debug)]
pub struct Chosen {
    /// The market of the simulated upstream.
    pub market: Market,
    /// The session that the demo plays.
    pub session: Session,
    /// Market time when the demo begins.
    pub starts: Timestamp,
    /// Whether the session ends at 13:00, because the file has a bar that opens at 12:55.
    pub closes_late: bool,
    /// The bars of the days before, as a history pipeline would store them.
    pub prepared: Vec<VendorBar>,
    /// Whether the demo ends with the session.
    pub ends_with_session: bool,
    /// The market's zone.
    pub zone: Tz,
}

/// Chooses the day.
///
/// # Errors
/// A sentence that names the file or day that cannot be used, and the remedy.
pub fn choose_day(args: &DayArgs, folder: &Path) -> anyhow::Result<Chosen> {
    let heard = last_heard(&folder.join("ledger"))?;
    let symbol = Symbol::usdcop();
    let mut prepared = None;
    let (market, closes_late, date) = match (&args.history, args.date) {
        (Some(file), Some(date)) => {
            let path = file;
            let file = History::read(path)?;
            say_rounded(path, &file);
            let day = file.day(symbol, date, args.history_zone)?;
            prepared = Some(file.bars_between(symbol, history_begins(date), date, args.history_zone)?);
            let late = day.bars.iter().any(|bar| day.opens + LATE_SLOT <= bar.opens_at);
            (Some(Market::replay(args.seed, &day)), late, Some(date))
        }
        (_, date) => (None, false, date),
    };
    let calendar = demo_calendar(closes_late)?;
    let session = match date {
        Some(date) => session_on(&calendar, date)?,
        None => walk_session(&calendar, heard),
    };
    let begins = session.opens - limits::DEMO_LEAD;
    let starts = heard.map_or(begins, |heard| begins.max(heard + Duration::from_secs(1)));
    if starts >= session.closes {
        anyhow::bail!(
            "the folder {} already holds {} to its end; choose another with --data DIR, or another day with --date",
            folder.display(),
            session.date
        );
    }
    let ends_with_session = args.history.is_some();
    let market = market
        .unwrap_or_else(|| Market::walk(args.seed, &[symbol]))
        .only_in(Arc::new(calendar.clone()));
    let prepared = prepared.unwrap_or_else(|| walked_bars(&market, &calendar, session.date));
    Ok(Chosen {
        market,
        session,
        starts,
        closes_late,
        prepared: prepared.into_iter().map(vendor_bar).collect(),
        ends_with_session,
        zone: calendar.zone(),
    })
}

/// The first day of the prepared history.
fn history_begins(date: NaiveDate) -> NaiveDate {
    date.checked_sub_days(Days::new(limits::DEMO_HISTORY_DAYS))
        .unwrap_or(date)
}

/// The bars of the walk on the days before, which do not depend on whether a program ran then.
fn walked_bars(market: &Market, calendar: &Calendar, date: NaiveDate) -> Vec<MarketBar> {
    let slot = Interval::BASE.vendor_length();
    let sessions = calendar.sessions(history_begins(date), date.pred_opt().unwrap_or(date));
    sessions
        .flat_map(|session| {
            let from = session.opens;
            let to = session.closes;
            market.bars(Symbol::usdcop(), slot, from, to, to, limits::SERIES_BARS)
        })
        .collect()
}

fn vendor_bar(bar: MarketBar) -> VendorBar {
    let MarketBar { opens_at, ohlc } = bar;
    VendorBar { opens_at, ohlc }
}

/// The default calendar, with a session of 60 bars if the file's session has as many.
fn demo_calendar(closes_late: bool) -> anyhow::Result<Calendar> {
    let mut spec = CalendarSpec::default();
    if closes_late {
        spec.close = Some("13:00".to_owned());
    }
    Calendar::new(&spec, Arc::default())
        .map_err(|problems| anyhow::anyhow!("the demo's calendar is wrong: {problems:?}"))
}

/// How far into the session the 12:55 bar opens.
const LATE_SLOT: Duration = Duration::from_secs(4 * 3_600 + 55 * 60);

fn session_on(calendar: &Calendar, date: NaiveDate) -> anyhow::Result<Session> {
    let day = calendar.day(date);
    day.session
        .ok_or_else(|| anyhow::anyhow!("{date} has no USD/COP session ({}); choose a business day", day.reason))
}

/// The session that the ledger is in, else the next one; for an empty ledger a fixed day, so that a seed always gives the same demo.
fn walk_session(calendar: &Calendar, heard: Option<Timestamp>) -> Session {
    let from = heard.unwrap_or(Timestamp::from_secs(limits::DEMO_DATE_SECS));
    let closed = Session {
        date: NaiveDate::default(),
        opens: from,
        closes: from,
        kind: crate::domain::model::SessionKind::Spot,
    };
    calendar
        .at(from + Duration::from_secs(2))
        .or_else(|| calendar.after(from))
        .unwrap_or(closed)
}

/// The time of a ledger's last input.
fn last_heard(folder: &Path) -> anyhow::Result<Option<Timestamp>> {
    if !folder.exists() {
        return Ok(None);
    }
    let reader = LedgerReader::open(folder)?;
    let mut last = None;
    for (date, _) in reader.session_dates().into_iter().rev() {
        for heard in reader.inputs_of(date)? {
            last = last.max(Some(heard?.at));
        }
        if last.is_some() {
            break;
        }
    }
    Ok(last)
}
