//! `candela backfill`: asks the vendor for the bars of past sessions that the store lacks, and writes them.
//!
//! Holds the ledger's folder while it works: a running service heals by itself, and two programs that use the same keys at
//! once would break their spacing.

use crate::actors::rest_call::Rest;
use crate::app;
use crate::clock::Clock;
use crate::domain::channel::{Channel, Epoch, Head};
use crate::domain::event::{Event, Flawed, Numbered, Position, Says};
use crate::domain::interval::Interval;
use crate::domain::keys::{KeySlot, Pool, Purpose};
use crate::domain::moment::Moment;
use crate::domain::past;
use crate::domain::pipeline::Market;
use crate::domain::rest::{self, SeriesRequest};
use crate::domain::slot_grid::{Expected, SlotGrid};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::trouble::{Disposition, Trouble, refusal};
use crate::exit::Exit;
use crate::ledger::{self, KeyUseBook};
use crate::limits;
use crate::settings::{self, SettingsArgs, Valid};
use crate::store::{BarQuery, Batch, Postgres, Sqlite, Store};
use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

/// Ask the vendor for bars of past sessions that are missing, and keep them.
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
    /// Only say what is missing.
    #[arg(long)]
    dry_run: bool,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Why bars could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The stretch ends before it begins.
    #[error("--to {to} ends before --from {from} begins: give the earlier one first")]
    Backwards {
        /// As it was read.
        from: Moment,
        /// As it was read.
        to: Moment,
    },
    /// There is nothing to ask for yet.
    #[error("--from {from} lies ahead: only bars of the past can be asked for")]
    Ahead {
        /// As it was read.
        from: Moment,
    },
    /// No key may be used for a while.
    #[error(
        "no key may be used before {at} ({why}); what was written stays, and running this again goes on from there"
    )]
    NoKey {
        /// When one may be.
        at: Timestamp,
        /// The vendor's last refusal, or what the pool waits for.
        why: String,
    },
    /// The vendor does not answer, or not well.
    #[error(
        "the vendor does not give the bars: {0}; what was written stays, and running this again goes on from there"
    )]
    Vendor(String),
}

impl BackfillError {
    /// The exit code it deserves.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Backwards { .. } | Self::Ahead { .. } => Exit::Usage,
            Self::NoKey { .. } => Exit::TryAgain,
            Self::Vendor(_) => Exit::Unavailable,
        }
    }
}

/// What became of one pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
struct Summary {
    expected: usize,
    missing: usize,
    written: usize,
    /// The vendor was asked and has none.
    unfillable: usize,
    /// Bars of the vendor of which digits beyond the sixth decimal were rounded away.
    rounded: u32,
    /// Bars of the vendor that cannot be read or kept; they count as bars that it does not have.
    unusable: u32,
}

impl BackfillArgs {
    /// Asks, writes, and sums up. Code 1 when bars are still missing that the vendor was not asked for.
    ///
    /// # Errors
    /// When settings, store or ledger folder cannot be used, a service is running, or no key is left.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load_for_service(&self.settings.sources())?;
        let _held = ledger::hold(&valid.ledger.dir)?;
        let done = actix_rt::System::new().block_on(self.fill(&valid))?;
        self.show(&done, &mut std::io::stdout().lock())?;
        let left = |summary: &Summary| summary.missing > summary.written.saturating_add(summary.unfillable);
        Ok(if done.values().any(left) {
            Exit::Found
        } else {
            Exit::Clean
        })
    }

    async fn fill(&self, valid: &Valid) -> anyhow::Result<BTreeMap<Symbol, Summary>> {
        let clock = Clock::system();
        let store = match &valid.store.database_url {
            Some(url) => Store::Postgres(Postgres::new(url, 2)?),
            None => Store::Sqlite(Sqlite::open(&valid.store.sqlite_file)?),
        };
        store.prepare().await?;
        let mut vendor = Vendor::new(valid, &clock)?;
        let mut done = BTreeMap::new();
        for market in app::markets(valid, &app::calendars(valid)?) {
            if self.symbol.is_none_or(|only| only == market.symbol) {
                let summary = self.fill_pair(&market, &store, &mut vendor).await?;
                done.insert(market.symbol, summary);
            }
        }
        Ok(done)
    }

    async fn fill_pair(&self, market: &Market, store: &Store, vendor: &mut Vendor) -> anyhow::Result<Summary> {
        let zone = market.sessions.zone();
        let settled = vendor.clock.now() - limits::VENDOR_SETTLES;
        let from = self.from.in_zone(zone);
        let to = self.to.map_or(settled, |to| to.end_in_zone(zone));
        if from > vendor.clock.now() {
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
        let missing = missing(store, market.symbol, &expected).await?;
        let mut summary = Summary {
            expected: expected.len(),
            missing: missing.len(),
            ..Summary::default()
        };
        if self.dry_run || missing.is_empty() {
            return Ok(summary);
        }
        let questions = past::questions(market.symbol, &missing);
        let bar = progress(&questions, market.symbol);
        for question in questions {
            let fetched = vendor.ask(&question).await?;
            let asked = past::answered(&fetched, &missing);
            let filled = past::fill(&fetched, &missing);
            summary.written = summary.written.saturating_add(filled.len());
            summary.unfillable = summary.unfillable.saturating_add(asked.saturating_sub(filled.len()));
            write(store, market.symbol, filled, vendor.clock.now()).await?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        for flawed in vendor.flawed.drain(..) {
            let unusable = [flawed.unreadable, flawed.out_of_range, flawed.beyond_scale];
            summary.rounded = summary.rounded.saturating_add(flawed.rounded);
            summary.unusable = summary.unusable.saturating_add(unusable.iter().sum());
        }
        Ok(summary)
    }

    fn show(&self, done: &BTreeMap<Symbol, Summary>, out: &mut impl Write) -> anyhow::Result<()> {
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
            if rounded.max(unusable) > &0 {
                writeln!(
                    out,
                    "{symbol}  {rounded} bars were rounded to six decimals, {unusable} cannot be read or kept"
                )?;
            }
        }
        Ok(())
    }
}

/// The vendor, and the keys to ask it with.
struct Vendor {
    rest: Rest,
    pool: Pool,
    keys: Vec<(KeySlot, SecretString)>,
    book: KeyUseBook,
    clock: Clock,
    /// Answers with bars that could not be taken as they were.
    flawed: Vec<Flawed>,
}

impl Vendor {
    fn new(valid: &Valid, clock: &Clock) -> anyhow::Result<Self> {
        let keys = app::keys(valid);
        let book = KeyUseBook::open(&valid.ledger.dir)?;
        let slots = keys.iter().map(|(slot, _)| *slot).collect();
        Ok(Self {
            rest: Rest::new(app::upstream_tls(valid)?, valid.upstream.rest_url.clone()),
            pool: Pool::new(slots, app::key_policy(valid), &book.newest()?, clock.now()),
            keys,
            book,
            clock: clock.clone(),
            flawed: Vec::new(),
        })
    }

    /// Asks until there is an answer, with the keys in turn; gives up when no key can be used today, or the vendor is in trouble.
    async fn ask(&mut self, request: &SeriesRequest) -> anyhow::Result<crate::domain::event::Fetched> {
        let (mut troubles, mut said) = (0_u32, None);
        let path = request.path();
        loop {
            let now = self.clock.now();
            let slot = match self.pool.lease(Purpose::Backfill, 1, now) {
                Ok(slot) => slot,
                Err(refused) if refused.at.since(now) <= limits::LEASE_LONGEST => {
                    tokio::time::sleep(self.clock.until(refused.at)).await;
                    continue;
                }
                Err(refused) => anyhow::bail!(BackfillError::NoKey {
                    at: refused.at,
                    why: said.unwrap_or_else(|| refused.reason.to_owned()),
                }),
            };
            let key = self
                .keys
                .iter()
                .find(|(known, _)| *known == slot)
                .map(|(_, key)| key.clone());
            let key = key.context("find the leased key")?;
            let answer = self.rest.get(&path, &key).await;
            let now = self.clock.now();
            self.pool.answered(slot, now);
            if let Some(used) = self.pool.used(slot) {
                self.book.save(&used)?;
            }
            let retry_after = answer.as_ref().ok().and_then(|answer| answer.retry_after);
            let trouble = match answer {
                Ok(answer) => match refusal(answer.status, &answer.body).filter(|no| no.trouble != Trouble::NoData) {
                    None => {
                        let bars = rest::says(&rest::capture(&path, now, &answer.body), now);
                        return match bars.map_err(|error| BackfillError::Vendor(error.to_string()))? {
                            Says::Bars(fetched) => Ok(fetched),
                            Says::FlawedBars(fetched, flawed) => {
                                self.flawed.push(flawed);
                                Ok(fetched)
                            }
                            Says::Nothing | Says::Price(_) | Says::Rounded(_) | Says::Unusable(_) => {
                                Err(anyhow::anyhow!("the answer to a question about bars holds none"))
                            }
                        };
                    }
                    Some(refusal) => {
                        let wait = retry_after;
                        self.pool
                            .turned_away(slot, Purpose::Backfill, refusal.trouble, wait, now);
                        if refusal.trouble.disposition() == Disposition::Final {
                            anyhow::bail!(BackfillError::Vendor(refusal.to_string()));
                        }
                        (refusal.trouble.disposition(), refusal.to_string())
                    }
                },
                Err(failure) => (Disposition::Retry, failure.to_string()),
            };
            said = Some(trouble.1.clone());
            troubles = troubles.saturating_add(u32::from(trouble.0 == Disposition::Retry));
            if troubles >= limits::BACKFILL_TRIES {
                anyhow::bail!(BackfillError::Vendor(trouble.1));
            }
        }
    }
}

async fn missing(store: &Store, symbol: Symbol, expected: &[Expected]) -> anyhow::Result<Vec<Expected>> {
    let mut present = BTreeSet::new();
    for page in expected.chunks(limits::SERIES_BARS) {
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            continue;
        };
        let to = last.slot.closes_at;
        let limit = u32::try_from(limits::SERIES_BARS).unwrap_or(u32::MAX);
        let query = BarQuery::between(symbol, Interval::M5, first.slot.opens_at, to, limit);
        present.extend(
            store
                .bars(query)
                .await?
                .into_iter()
                .map(|stored| stored.bar.key.opens_at),
        );
    }
    Ok(expected
        .iter()
        .copied()
        .filter(|expected| !present.contains(&expected.slot.opens_at))
        .collect())
}

/// As a log of its own: these numbers continue no channel of the ledger.
async fn write(
    store: &Store,
    symbol: Symbol,
    bars: Vec<crate::domain::bar::Bar>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let channel = Channel::bars(Interval::M5, symbol);
    let seed = fastrand::u64(..);
    let head = Head {
        epoch: Epoch::from_random(seed),
        seq: u64::try_from(bars.len())?,
    };
    for some in bars.chunks(limits::BACKFILL_WRITE) {
        let events = (1..).zip(some).map(|(seq, bar)| Numbered {
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

fn progress(questions: &[SeriesRequest], symbol: Symbol) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(questions.len()).unwrap_or(0));
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} questions, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(symbol.to_string());
    bar
}
