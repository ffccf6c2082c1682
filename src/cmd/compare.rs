//! `candela compare`: compares a session's bars with those of the service before candela, from the store that both write to.

use crate::app;
use crate::clock::Clock;
use crate::domain::calendar::Calendar;
use crate::domain::history::{BarDifference, Cause, Comparison, TwoSessions};
use crate::domain::model::moment::read_date;
use crate::domain::model::{AcceptedTick, Bar, Interval, Ohlc, Session, Sessions, Slot, SlotGrid, Symbol, Timestamp};
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, SettingsArgs, Valid};
use crate::store::{BarQuery, GapQuery, Postgres, SOURCE, Sqlite, Store, StoredBar, TickQuery};
use chrono::NaiveDate;
use chrono_tz::Tz;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// The `source` of the rows that are bars of the service before candela.
const OTHER_SOURCE: &str = "twelvedata_websocket_aggregated";

/// Compare a session's bars with those of the service before candela, and show why they differ.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// The pair; by default the first one of the settings.
    #[arg(long, value_name = "PAIR")]
    symbol: Option<Symbol>,
    /// The market's date of the session; by default the last one that closed.
    #[arg(long, value_name = "DATE", value_parser = read_date)]
    date: Option<NaiveDate>,
    /// The other service's name in the column `source`.
    #[arg(long, value_name = "NAME", default_value = OTHER_SOURCE)]
    source: String,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Why bars cannot be compared.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum CompareError {
    #[error("{given} is not among the pairs of the settings ({known}): give one of them with --symbol")]
    UnknownPair { given: Symbol, known: String },
    #[error("{date} has no session of {symbol} ({why}): give another day with --date; `candela calendar` lists them")]
    NoSession {
        date: NaiveDate,
        symbol: Symbol,
        why: String,
    },
    #[error("the session of {date} closes at {closes}: compare it when it is over")]
    NotOver { date: NaiveDate, closes: String },
    #[error("the store has no bar of {missing} for {symbol} on {date}; it has {there}{remedy}")]
    NoRows {
        missing: String,
        symbol: Symbol,
        date: NaiveDate,
        there: String,
        remedy: &'static str,
    },
    #[error("there is no store: neither DATABASE_URL is set nor is there a file {0}")]
    NoStore(String),
}

impl CompareError {
    /// The exit code for this error.
    pub const fn exit_code(&self) -> Exit {
        match self {
            Self::UnknownPair { .. } | Self::NoSession { .. } => Exit::Usage,
            Self::NotOver { .. } => Exit::TryAgain,
            Self::NoRows { .. } => Exit::Unavailable,
            Self::NoStore(_) => Exit::Settings,
        }
    }
}

struct PairSession {
    symbol: Symbol,
    session: Session,
    zone: Tz,
}

impl CompareArgs {
    /// Reads the store and compares. Code 1 if a difference has no known cause.
    ///
    /// # Errors
    /// When the settings have problems, the day has no finished session, or the store cannot be read or lacks rows.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let asked = self.find_session(&valid)?;
        let comparison = actix_rt::System::new().block_on(self.compare_session(&valid, &asked))?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", self.for_programs(&asked, &comparison))?;
        } else {
            self.print_comparison(&asked, &comparison, &mut out)?;
        }
        Ok(if comparison.unexplained() == 0 {
            Exit::Clean
        } else {
            Exit::Found
        })
    }

    fn find_session(&self, valid: &Valid) -> anyhow::Result<PairSession> {
        let calendars = app::calendars(valid)?;
        let mut pairs = calendars.iter();
        let found = match self.symbol {
            Some(only) => pairs.find(|(symbol, _)| *symbol == only),
            None => pairs.next(),
        };
        let Some((symbol, calendar)) = found else {
            let known: Vec<&str> = calendars.iter().map(|(symbol, _)| symbol.as_str()).collect();
            anyhow::bail!(CompareError::UnknownPair {
                given: self.symbol.unwrap_or_else(Symbol::usdcop),
                known: known.join(", "),
            });
        };
        let calendar = calendar.borrow();
        Ok(PairSession {
            symbol: *symbol,
            session: self.session_of(*symbol, &calendar, Clock::system().now())?,
            zone: calendar.zone(),
        })
    }

    fn session_of(&self, symbol: Symbol, calendar: &Calendar, now: Timestamp) -> Result<Session, CompareError> {
        let date = self.date.unwrap_or_else(|| calendar.local_date(now));
        let no_session = || CompareError::NoSession {
            date,
            symbol,
            why: calendar.day(date).reason,
        };
        let Some(date) = self.date else {
            return calendar.before(now).ok_or_else(no_session);
        };
        let session = calendar.session_on(date).ok_or_else(no_session)?;
        if now < session.closes {
            let closes = session.closes.rfc3339(calendar.zone());
            return Err(CompareError::NotOver { date, closes });
        }
        Ok(session)
    }

    async fn compare_session(&self, valid: &Valid, asked: &PairSession) -> anyhow::Result<Comparison> {
        let store = open_store(valid)?;
        let session = asked.session;
        let from = session.opens - limits::COMPARED_BESIDE;
        let to = session.closes + limits::COMPARED_BESIDE;
        let query = BarQuery::between(asked.symbol, Interval::BASE, from, to, limits::REST_PAGE_MAX);
        let rows = store.rows_of_each_program(query).await?;
        self.require_complete(asked, &rows)?;
        let ours: Vec<Bar> = rows
            .iter()
            .filter(|row| row.source == SOURCE)
            .map(|row| row.bar)
            .collect();
        let ours: Vec<Bar> = ours
            .into_iter()
            .filter(|bar: &Bar| session.contains(bar.key.opens_at))
            .collect();
        let theirs: Vec<(Timestamp, Ohlc)> = rows
            .iter()
            .filter(|row| row.source == self.source)
            .map(|row| (row.bar.key.opens_at, row.bar.ohlc))
            .collect();
        let gaps = store
            .read_gaps(GapQuery {
                symbol: asked.symbol,
                from: session.opens,
                to: session.closes,
                status: None,
                cursor: None,
                limit: limits::REST_PAGE_MAX,
            })
            .await?;
        let gaps: Vec<_> = gaps.into_iter().map(|stored| stored.gap).collect();
        let ticks = ticks_of(&store, asked).await?;
        let slots: Vec<Slot> = SlotGrid::BASE.slots(&session).collect();
        Ok(Comparison::of(&TwoSessions {
            slots: &slots,
            ours: &ours,
            theirs: &theirs,
            gaps: &gaps,
            ticks: &ticks,
        }))
    }

    /// Both services must have rows: a session in which one of them did not run cannot be compared.
    fn require_complete(&self, asked: &PairSession, rows: &[StoredBar]) -> Result<(), CompareError> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in rows {
            let count = counts.entry(row.source.as_str()).or_default();
            *count = count.saturating_add(1);
        }
        let missing = [SOURCE, self.source.as_str()]
            .into_iter()
            .find(|source| !counts.contains_key(source));
        let Some(missing) = missing else { return Ok(()) };
        let there: Vec<String> = counts
            .iter()
            .map(|(source, count)| format!("{count} of {source}"))
            .collect();
        let has_others = counts.keys().any(|source| *source != SOURCE);
        Err(CompareError::NoRows {
            missing: missing.to_owned(),
            symbol: asked.symbol,
            date: asked.session.date,
            there: if there.is_empty() {
                "none at all".to_owned()
            } else {
                there.join(", ")
            },
            remedy: match missing {
                SOURCE => ": was candela running then, on this database?",
                _ if has_others => ": name the other service's with --source",
                _ => ": was the other service running then, on this database?",
            },
        })
    }

    fn print_comparison(
        &self,
        asked: &PairSession,
        comparison: &Comparison,
        out: &mut impl Write,
    ) -> std::io::Result<()> {
        let Comparison {
            expected,
            ours,
            theirs,
            equal,
            differences,
        } = comparison;
        writeln!(
            out,
            "{}, session of {}: {expected} bars expected, {ours} of candela, {theirs} of {}",
            asked.symbol, asked.session.date, self.source
        )?;
        let unexplained = comparison.unexplained();
        writeln!(
            out,
            "{equal} are equal, {} differ, {unexplained} of them without a known cause",
            differences.len()
        )?;
        if differences.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n{:<25}  {:<47}  {:<47}  cause",
            "bar", "candela: open high low close", "other: open high low close"
        )?;
        for difference in differences {
            let said = difference
                .said
                .as_ref()
                .map(|said| format!(" ({said})"))
                .unwrap_or_default();
            writeln!(
                out,
                "{:<25}  {:<47}  {:<47}  {}{said}",
                difference.opens_at.rfc3339(asked.zone),
                format_prices(difference.ours),
                format_prices(difference.theirs),
                cause_name(difference.cause)
            )?;
        }
        writeln!(out)?;
        let mut counts: BTreeMap<Cause, usize> = BTreeMap::new();
        for difference in differences {
            let count = counts.entry(difference.cause).or_default();
            *count = count.saturating_add(1);
        }
        for (cause, count) in counts {
            writeln!(out, "{count:>4} × {}: {}", cause_name(cause), cause.sentence())?;
        }
        Ok(())
    }

    fn for_programs(&self, asked: &PairSession, comparison: &Comparison) -> Value {
        json!({
            "symbol": asked.symbol,
            "session_date": asked.session.date,
            "source": self.source,
            "expected": comparison.expected,
            "bars": {"candela": comparison.ours, "other": comparison.theirs, "equal": comparison.equal},
            "unexplained": comparison.unexplained(),
            "differences": comparison.differences.iter().map(|difference: &BarDifference| {
            json!({
                "open_time": difference.opens_at.rfc3339(asked.zone),
                "candela": ohlc_json(difference.ours),
                "other": ohlc_json(difference.theirs),
                "cause": difference.cause,
                "explained": difference.cause.is_explained(),
                "message": difference.cause.sentence(),
                "said": difference.said,
            })
        }).collect::<Vec<Value>>(),
        })
    }
}

/// Opens the store of the settings for reading only. It takes no lease: the service may be running.
pub(super) fn open_store(valid: &Valid) -> anyhow::Result<Store> {
    let file = &valid.store.sqlite_file;
    match &valid.store.database_url {
        Some(url) => Ok(Store::Postgres(Postgres::new(url, 1)?)),
        None if file.exists() => Ok(Store::Sqlite(Sqlite::open(file)?)),
        None => Err(CompareError::NoStore(file.display().to_string()).into()),
    }
}

/// The ticks that candela accepted in the session, in the order of their arrival. Ticks of sessions long past are deleted.
async fn ticks_of(store: &Store, asked: &PairSession) -> anyhow::Result<Vec<AcceptedTick>> {
    let mut query = TickQuery {
        symbol: asked.symbol,
        from: asked.session.opens,
        to: asked.session.closes + limits::COMPARED_BESIDE,
        after_seq: None,
        cursor: None,
        limit: limits::REST_PAGE_MAX,
    };
    let mut ticks = Vec::new();
    loop {
        let page = store.read_ticks(query.clone()).await?;
        let Some(last) = page.last() else { return Ok(ticks) };
        query.cursor = Some(last.place());
        ticks.extend(page.into_iter().map(|stored| stored.tick));
    }
}

/// The name of a cause in JSON.
fn cause_name(cause: Cause) -> String {
    json!(cause).as_str().unwrap_or_default().to_owned()
}

fn format_prices(bar: Option<Ohlc>) -> String {
    bar.map_or_else(
        || "no bar".to_owned(),
        |bar| format!("{} {} {} {}", bar.open, bar.high, bar.low, bar.close),
    )
}

/// Prices as exact text.
fn ohlc_json(bar: Option<Ohlc>) -> Value {
    bar.map_or(Value::Null, |bar| {
        json!({"open": bar.open.to_string(), "high": bar.high.to_string(), "low": bar.low.to_string(), "close": bar.close.to_string()})
    })
}
