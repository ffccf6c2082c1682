//! `candela backfill`: requests the bars of past sessions that the store lacks from the vendor, and writes them.
//!
//! It holds the lock of the ledger's folder while it works: a running service fills gaps by itself, and two programs that use the same keys
//! at once would break their spacing. It writes under the store's lease, as a service does.

use crate::actors::messages::{AcquireKey, AcquiredKey, KeyAnswered};
use crate::actors::vendor::{AskError, KeySource, VendorClient};
use crate::app;
use crate::clock::Clock;
use crate::domain::followers::lease::Holder;
use crate::domain::history::missing_bars;
use crate::domain::model::{
    Channel, Decoded, Epoch, Event, Expected, Flawed, Head, Interval, Moment, Position, Sequenced, SlotGrid, Symbol,
    Timestamp,
};
use crate::domain::pipeline::PairRules;
use crate::domain::vendor::{Disposition, KeySlot, Pool, Purpose, SeriesRequest, Trouble, rest};
use crate::exit::Exit;
use crate::ledger::{self, KeyUseBook, KeyUseError};
use crate::limits;
use crate::settings::{self, SettingsArgs, Valid};
use crate::store::{BarQuery, Batch, Postgres, Sqlite, Store};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde_json::json;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

/// Request missing bars of past sessions from the vendor, and store them.
#[derive(Debug, Clone, Args)]
pub struct BackfillArgs {
    /// The first day (2026-03-02) or instant (2026-03-02T08:00:00-05:00), in the market's time where no offset is given.
    #[arg(long, value_name = "WHEN")]
    from: Moment,
    /// The day or instant to end with, a day included; by default now.
    #[arg(long, value_name = "WHEN")]
    to: Option<Moment>,
    /// Only this pair.
    #[arg(long, value_name = "PAIR")]
    symbol: Option<Symbol>,
    /// Only list what is missing.
    #[arg(long)]
    dry_run: bool,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Why bars could not be requested.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum BackfillError {
    #[error("--to {to} ends before --from {from} begins: give the earlier one first")]
    Backwards { from: Moment, to: Moment },
    #[error("--from {from} lies ahead: only bars of the past can be requested")]
    Ahead { from: Moment },
    #[error(
        "no key may be used before {at} ({why}); what was written stays, and running this again continues from there"
    )]
    NoKey { at: Timestamp, why: String },
    #[error(
        "the vendor does not send the bars: {0}; what was written stays, and running this again continues from there"
    )]
    Vendor(String),
}

impl BackfillError {
    /// The exit code for this error.
    pub const fn exit_code(&self) -> Exit {
        match self {
            Self::Backwards { .. } | Self::Ahead { .. } => Exit::Usage,
            Self::NoKey { .. } => Exit::TryAgain,
            Self::Vendor(_) => Exit::Unavailable,
        }
    }
}

/// The outcome for one pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
struct Summary {
    expected: usize,
    missing: usize,
    written: usize,
    /// Bars that were requested and the vendor does not have.
    unfillable: usize,
    /// Bars of the vendor whose prices were rounded to six decimals.
    rounded: u32,
    /// Bars of the vendor that cannot be read or stored; the vendor has them all the same.
    unusable: usize,
}

impl Summary {
    /// For how many bars the vendor gave an answer.
    const fn answered(&self) -> usize {
        self.written
            .saturating_add(self.unfillable)
            .saturating_add(self.unusable)
    }
}

impl BackfillArgs {
    /// Requests, writes, and sums up. Code 1 when bars are missing that the vendor was not asked for.
    ///
    /// # Errors
    /// When settings, store or ledger folder cannot be used, a service is running, or no key is left.
    pub fn run(self) -> anyhow::Result<Exit> {
        let sources = self.settings.to_sources();
        let system = actix_rt::System::new();
        let done = if self.dry_run {
            // Nobody is asked for anything: that needs no key, and goes on beside a service.
            let valid = settings::load(&sources)?;
            system.block_on(self.count_missing(&valid))?
        } else {
            let valid = settings::load_for_service(&sources)?;
            let held = ledger::lock_folder(&valid.ledger.dir)?;
            system.block_on(self.fill_history(&valid, held.holder()))?
        };
        self.print_summary(&done, &mut std::io::stdout().lock())?;
        Ok(
            if done
                .values()
                .any(|summary: &Summary| summary.missing > summary.answered())
            {
                Exit::Found
            } else {
                Exit::Clean
            },
        )
    }

    /// What is missing; nobody is asked for it.
    async fn count_missing(&self, valid: &Valid) -> anyhow::Result<BTreeMap<Symbol, Summary>> {
        let store = match &valid.store.database_url {
            Some(url) => Store::Postgres(Postgres::new(url, 2)?),
            None => Store::Sqlite(Sqlite::open(&valid.store.sqlite_file)?),
        };
        store.migrate_schema().await?;
        let now = Clock::system().now();
        let mut done = BTreeMap::new();
        for market in self.markets(valid)? {
            let (summary, _) = self.survey_pair(&market, &store, now).await?;
            done.insert(market.symbol, summary);
        }
        Ok(done)
    }

    /// Fills the history under the store's lease.
    async fn fill_history(&self, valid: &Valid, by: &Holder) -> anyhow::Result<BTreeMap<Symbol, Summary>> {
        let store = match &valid.store.database_url {
            Some(url) => Store::Postgres(Postgres::new(url, 2)?),
            None => Store::Sqlite(Sqlite::alone(&valid.store.sqlite_file)?),
        };
        let fill = async {
            store.migrate_schema().await?;
            let mut vendor = Vendor::new(valid, &Clock::system())?;
            let mut done = BTreeMap::new();
            for market in self.markets(valid)? {
                let summary = self.fill_pair(&market, &store, &mut vendor).await?;
                done.insert(market.symbol, summary);
            }
            anyhow::Ok(done)
        };
        Box::pin(app::while_leased(&store, by.clone(), fill)).await?
    }

    /// The pairs that are looked at.
    fn markets(&self, valid: &Valid) -> anyhow::Result<Vec<PairRules>> {
        let mut markets = app::markets(valid, &app::calendars(valid)?);
        markets.retain(|market| self.symbol.is_none_or(|only| only == market.symbol));
        Ok(markets)
    }

    /// How many bars of a pair are expected and missing, and which.
    async fn survey_pair(
        &self,
        market: &PairRules,
        store: &Store,
        now: Timestamp,
    ) -> anyhow::Result<(Summary, Vec<Expected>)> {
        let zone = market.sessions.zone();
        let settled = now - limits::VENDOR_SETTLES;
        let from = self.from.in_zone(zone);
        let to = self.to.map_or(settled, |to| to.end_in_zone(zone));
        if from > now {
            anyhow::bail!(BackfillError::Ahead { from: self.from });
        }
        if let Some(given) = self.to.filter(|_| to <= from) {
            anyhow::bail!(BackfillError::Backwards {
                from: self.from,
                to: given
            });
        }
        let to = to.min(settled);
        let expected = SlotGrid::BASE.expected(market.sessions.as_ref(), from, to);
        let missing = find_missing(store, market.symbol, &expected).await?;
        let summary = Summary {
            expected: expected.len(),
            missing: missing.len(),
            ..Summary::default()
        };
        Ok((summary, missing))
    }

    async fn fill_pair(&self, market: &PairRules, store: &Store, vendor: &mut Vendor) -> anyhow::Result<Summary> {
        let (mut summary, missing) = self.survey_pair(market, store, vendor.clock.now()).await?;
        let questions = missing_bars::plan_requests(market.symbol, &missing);
        let bar = progress_bar(&questions, market.symbol);
        for question in questions {
            let fetched = vendor.request_series(&question).await?;
            let asked = missing_bars::count_answered(&fetched, &missing);
            let filled = missing_bars::fill_missing(&fetched, &missing);
            let broken = missing_bars::count_broken(&fetched, &missing);
            let lacking = asked.saturating_sub(filled.len()).saturating_sub(broken);
            summary.written = summary.written.saturating_add(filled.len());
            summary.unusable = summary.unusable.saturating_add(broken);
            summary.unfillable = summary.unfillable.saturating_add(lacking);
            write(store, market.symbol, filled, vendor.clock.now()).await?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        for flawed in vendor.flawed.drain(..) {
            summary.rounded = summary.rounded.saturating_add(flawed.rounded);
        }
        Ok(summary)
    }

    fn print_summary(&self, done: &BTreeMap<Symbol, Summary>, out: &mut impl Write) -> anyhow::Result<()> {
        if self.json {
            let by_name: BTreeMap<&str, &Summary> = done
                .iter()
                .map(|(symbol, summary)| (symbol.as_str(), summary))
                .collect();
            return Ok(writeln!(out, "{}", json!({ "backfill": by_name }))?);
        }
        for (symbol, summary) in done {
            let Summary {
                expected,
                missing,
                written,
                unfillable,
                rounded,
                unusable,
            } = summary;
            writeln!(
                out,
                "{symbol}  {expected} bars expected, {missing} were missing: {written} written, {unfillable} the vendor does not have"
            )?;
            if *rounded > 0 || *unusable > 0 {
                writeln!(
                    out,
                    "{symbol}  {rounded} bars were rounded to six decimals, {unusable} that the vendor has cannot be read or kept"
                )?;
            }
        }
        Ok(())
    }
}

/// The vendor, with the keys of the settings.
struct Vendor {
    client: VendorClient<LocalKeys>,
    clock: Clock,
    /// Answers with bars that could not be used unchanged.
    flawed: Vec<Flawed>,
}

/// The keys of the settings, in a pool of this process alone.
struct LocalKeys {
    pool: RefCell<Pool>,
    keys: Vec<(KeySlot, SecretString)>,
    book: KeyUseBook,
    clock: Clock,
    /// Why the use of a key could not be stored.
    unwritten: RefCell<Option<KeyUseError>>,
}

impl KeySource for LocalKeys {
    async fn acquire_key(&self, wanted: AcquireKey) -> Result<AcquiredKey, AskError> {
        let acquired = self
            .pool
            .borrow_mut()
            .acquire(wanted.purpose, wanted.credits, self.clock.now());
        let slot = acquired?;
        let key = self.keys.iter().find(|(known, _)| *known == slot);
        let key = key.map(|(_, key)| key.clone());
        let key = key.ok_or_else(|| AskError::NoPool("the leased key is not there".to_owned()))?;
        Ok(AcquiredKey { slot, key })
    }

    async fn return_key(&self, said: KeyAnswered) {
        let now = self.clock.now();
        let mut pool = self.pool.borrow_mut();
        pool.answered(said.slot, now);
        if let Some(used) = pool.used(said.slot)
            && let Err(error) = self.book.save_use(&used)
        {
            self.unwritten.replace(Some(error));
        }
        if let Some(trouble) = said.trouble {
            pool.note_refusal(said.slot, said.purpose, trouble, said.retry_after, now);
        }
    }
}

impl Vendor {
    fn new(valid: &Valid, clock: &Clock) -> anyhow::Result<Self> {
        let keys = app::keys(valid);
        let book = KeyUseBook::open(&valid.ledger.dir)?;
        let slots = keys.iter().map(|(slot, _)| *slot).collect();
        let pool = Pool::new(slots, app::key_policy(valid), &book.newest_uses()?, clock.now());
        let keys = LocalKeys {
            pool: RefCell::new(pool),
            keys,
            book,
            clock: clock.clone(),
            unwritten: RefCell::default(),
        };
        Ok(Self {
            client: VendorClient::new(app::upstream_tls(valid)?, valid.upstream.rest_url.clone(), keys),
            clock: clock.clone(),
            flawed: Vec::new(),
        })
    }

    /// Retries until there is an answer, with the keys in turn; gives up when no key can be used today, or the vendor fails too often.
    async fn request_series(&mut self, request: &SeriesRequest) -> anyhow::Result<crate::domain::model::Fetched> {
        let mut troubles = 0_u32;
        let mut said = None;
        let path = request.path();
        loop {
            let now = self.clock.now();
            let acquired = match self.client.acquire(Purpose::Backfill, 1).await {
                Ok(acquired) => acquired,
                Err(AskError::NoKey(refused)) if refused.at.since(now) <= limits::KEY_USE_LONGEST => {
                    tokio::time::sleep(self.clock.until(refused.at)).await;
                    continue;
                }
                Err(AskError::NoKey(refused)) => anyhow::bail!(BackfillError::NoKey {
                    at: refused.at,
                    why: said.unwrap_or_else(|| refused.reason.to_owned()),
                }),
                Err(error) => anyhow::bail!(error),
            };
            let asked = self.client.ask(&path, &acquired, Purpose::Backfill).await;
            if let Some(unwritten) = self.client.keys.unwritten.take() {
                anyhow::bail!(unwritten);
            }
            let error = match asked {
                Ok(answer) => return self.take_bars(&path, &answer.body),
                Err(error) => error,
            };
            let disposition = error.trouble().map_or(Disposition::Retry, Trouble::disposition);
            troubles = troubles.saturating_add(u32::from(disposition == Disposition::Retry));
            if disposition == Disposition::Final || troubles >= limits::BACKFILL_TRIES {
                anyhow::bail!(BackfillError::Vendor(error.to_string()));
            }
            said = Some(error.to_string());
        }
    }

    fn take_bars(&mut self, path: &str, body: &[u8]) -> anyhow::Result<crate::domain::model::Fetched> {
        let now = self.clock.now();
        let bars = rest::says(&rest::capture(path, now, body), now);
        match bars.map_err(|error| BackfillError::Vendor(error.to_string()))? {
            Decoded::Bars(fetched) => Ok(fetched),
            Decoded::FlawedBars(fetched, flawed) => {
                self.flawed.push(flawed);
                Ok(fetched)
            }
            Decoded::Nothing | Decoded::Price(_) | Decoded::Rounded(_) | Decoded::Unusable(_) => {
                Err(anyhow::anyhow!("the answer to a request for bars has none"))
            }
        }
    }
}

async fn find_missing(store: &Store, symbol: Symbol, expected: &[Expected]) -> anyhow::Result<Vec<Expected>> {
    let mut present = BTreeSet::new();
    for page in expected.chunks(limits::SERIES_BARS) {
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            continue;
        };
        let to = last.slot.closes_at;
        let limit = u32::try_from(limits::SERIES_BARS).unwrap_or(u32::MAX);
        let mut query = BarQuery::between(symbol, Interval::M5, first.slot.opens_at, to, limit);
        loop {
            let bars = store.read_bars(query.clone()).await?;
            query.cursor = bars.last().map(|stored| stored.bar.key.opens_at);
            present.extend(bars.iter().map(|stored| stored.bar.key.opens_at));
            if bars.len() < limits::SERIES_BARS {
                break; // bars that no session expects fill pages too
            }
        }
    }
    Ok(expected
        .iter()
        .copied()
        .filter(|expected| !present.contains(&expected.slot.opens_at))
        .collect())
}

/// Writes bars as a log of its own: their numbers continue no channel of the ledger.
async fn write(
    store: &Store,
    symbol: Symbol,
    bars: Vec<crate::domain::model::Bar>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let channel = Channel::bars(Interval::M5, symbol);
    let seed = fastrand::u64(..);
    let head = Head {
        epoch: Epoch::from_random(seed),
        seq: u64::try_from(bars.len())?,
    };
    for some in bars.chunks(limits::BACKFILL_WRITE) {
        let events = (1..).zip(some).map(|(seq, bar)| Sequenced {
            position: Position(seq),
            channel: Some(channel),
            seq,
            at: now,
            event: Event::Bar(*bar),
        });
        let batch = Batch {
            reader: "backfill",
            lineage: format!("command-{seed:016x}"),
            events: events.collect(),
            heads: Arc::new(BTreeMap::from([(channel, head)])),
        };
        store.write(batch).await?;
    }
    Ok(())
}

fn progress_bar(questions: &[SeriesRequest], symbol: Symbol) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(questions.len()).unwrap_or(0));
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} requests, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(symbol.to_string());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Fetched, Ohlc, Price, Session, SessionKind, Slot, VendorBar};
    use std::time::Duration;

    const FIVE: Duration = Duration::from_secs(300);

    fn vendor_bar(opens_at: Timestamp) -> VendorBar {
        VendorBar {
            opens_at,
            ohlc: Ohlc::flat_at(Price::from_micros(4_000_000_000)),
        }
    }

    #[actix_rt::test]
    async fn bars_that_no_session_expects_hide_none_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::Sqlite(Sqlite::alone(&folder.path().join("candela.db")).unwrap());
        store.migrate_schema().await.unwrap();
        let opens = Timestamp::from_secs(1_761_138_000);
        let count = u32::try_from(limits::SERIES_BARS).unwrap() + 100;
        let slots = (0..=count).map(|number| {
            let opens_at = opens + FIVE * number;
            let closes_at = opens_at + FIVE;
            let session = Session {
                date: opens_at.datetime().date_naive(),
                opens: opens_at,
                closes: closes_at,
                kind: SessionKind::Spot,
            };
            Expected {
                slot: Slot { opens_at, closes_at },
                session,
            }
        });
        let slots: Vec<Expected> = slots.collect();
        let (last, there) = slots.split_last().unwrap();
        let fetched = Fetched {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: opens,
            to: last.slot.opens_at,
            bars: there
                .iter()
                .map(|expected| vendor_bar(expected.slot.opens_at))
                .collect(),
            unusable: Vec::new(),
        };
        let bars = missing_bars::fill_missing(&fetched, there);
        assert_eq!(bars.len(), there.len());
        write(&store, Symbol::usdcop(), bars, opens).await.unwrap();
        let expected = [there[0], there[there.len() - 1], *last];
        let missing = find_missing(&store, Symbol::usdcop(), &expected).await.unwrap();
        assert_eq!(missing, [expected[2]]);
    }
}
