//! `candela bars`: makes the bars of a pair from a file of ticks, by the rules of a running service, as fast as the file can be read.
//!
//! The file is CSV with a line of column names: `time` and `price`, and optionally `symbol`, `bid` and `ask`; other columns are ignored.
//! Lines are in the order in which the prices arrived.

use super::bar_file::BarFileArgs;
use super::replay::picked;
use crate::app;
use crate::cmd::ask::read_file_path;
use crate::domain::model::moment::MomentError;
use crate::domain::model::{
    AcceptedTick, Bar, Decoded, Event, Inbound, Input, InputKind, Interval, JournalEntry, LinkChange, Moment, Position,
    Price, Provenance, Symbol, Tick, Timestamp,
};
use crate::domain::pipeline::{PairRules, Pipeline};
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, SettingsArgs};
use crate::telemetry;
use anyhow::Context;
use chrono_tz::Tz;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

/// Make bars of the ticks in a file, by the rules of the settings.
#[derive(Debug, Clone, Args)]
pub struct BarsArgs {
    /// CSV with the columns time and price; symbol, bid and ask may be there. Times are RFC 3339, seconds since 1970, or the market's
    /// where no offset is given.
    #[arg(value_name = "FILE", value_parser = read_file_path)]
    file: PathBuf,
    #[command(flatten)]
    bars: BarFileArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Why a line of a tick file cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum TickFileError {
    #[error("the first line has no column {name:?} ({given:?}): name the columns, such as time,price")]
    NoColumn { name: &'static str, given: String },
    #[error("there are {fields} fields where the first line names more: give every line each column, if need be empty")]
    Short { fields: usize },
    #[error("{0}; seconds since 1970 are read as well")]
    Time(#[from] MomentError),
    #[error("{given:?} is not a price: give a positive number with at most six decimals, such as 4012.35")]
    Price { given: String },
    /// Years after the line before: every bar between them would be missing.
    #[error(
        "its time is {days} days after that of the line before: is it right? Give parts that lie more than {} days apart as files of their own",
        limits::TICK_FILE_DAYS
    )]
    Far { days: u64 },
    #[error("it is longer than {} bytes: is the file CSV?", limits::TICK_LINE)]
    Long,
}

/// The index of each column in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TickFields {
    time: usize,
    price: usize,
    symbol: Option<usize>,
    bid: Option<usize>,
    ask: Option<usize>,
}

/// A line of a tick file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TickLine {
    Tick(Tick),
    OtherPair,
    /// Column names, or a blank line.
    Nothing,
}

/// The outcome for a file.
#[derive(Debug, Default)]
struct MadeBars {
    /// By open: the last revision of each bar.
    bars: BTreeMap<Timestamp, Bar>,
    ticks: u64,
    /// Lines of other pairs.
    others: u64,
    accepted: u64,
    set_aside: Vec<String>,
}

impl BarsArgs {
    /// Reads the file, makes the bars, and writes them.
    ///
    /// # Errors
    /// When the settings have problems, the file cannot be read or has a line that is no tick, or the bars cannot be written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let markets = app::markets(&valid, &app::calendars(&valid)?);
        let market = PairRules {
            intervals: intervals(self.bars.interval),
            ..picked(&self.bars, &markets)?.clone()
        };
        let name = self.file.display().to_string();
        let file = File::open(&self.file).with_context(|| format!("read {name}"))?;
        let bar = progress(file.metadata().map_or(0, |metadata| metadata.len()));
        let zone = market.sessions.zone();
        let made = make(
            BufReader::with_capacity(limits::TICK_FILE_READ, bar.wrap_read(file)),
            &market,
            self.bars.interval,
        )
        .with_context(|| format!("read {name}"))?;
        bar.finish_and_clear();
        let mut out = self.bars.begin((market.symbol, zone));
        made.bars.values().for_each(|bar| out.push(*bar));
        let count = out.finish()?;
        telemetry::tell(&made.summary(count));
        Ok(Exit::Clean)
    }
}

impl MadeBars {
    fn summary(&self, bars: usize) -> String {
        let mut text = format!("{} ticks read, {} accepted, {bars} bars", self.ticks, self.accepted);
        if !self.set_aside.is_empty() {
            text.push_str(&format!("; set aside: {}", self.set_aside.join(", ")));
        }
        if self.others > 0 {
            text.push_str(&format!("; {} lines of other pairs", self.others));
        }
        text
    }
}

/// The intervals to build; the base interval comes first.
fn intervals(wanted: Interval) -> Vec<Interval> {
    let mut intervals = vec![Interval::M5];
    intervals.extend(Some(wanted).filter(|wanted| *wanted != Interval::M5));
    intervals
}

fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Sends every tick of a file through a pipeline of its own.
fn make(mut lines: impl BufRead, market: &PairRules, interval: Interval) -> anyhow::Result<MadeBars> {
    let mut line = Vec::new();
    let mut made = MadeBars::default();
    let mut decided = Vec::new();
    let mut pipeline: Option<Pipeline> = None;
    let mut newest = Timestamp::from_secs(0);
    let mut run: Vec<AcceptedTick> = Vec::with_capacity(limits::TICK_FILE_RUN);
    let zone = market.sessions.zone();
    let mut columns = None;
    for number in 1_u64.. {
        line.clear();
        let longest = u64::try_from(limits::TICK_LINE).unwrap_or(u64::MAX);
        if lines.by_ref().take(longest).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let read = read_line(&line, &mut columns, market.symbol, zone);
        let tick = match read.with_context(|| format!("line {number}"))? {
            TickLine::Tick(tick) => tick,
            TickLine::OtherPair => {
                made.others = made.others.saturating_add(1);
                continue;
            }
            TickLine::Nothing => continue,
        };
        let pipeline = pipeline.get_or_insert_with(|| {
            newest = tick.at;
            begin(market, tick.at)
        });
        let days = tick.at.since(newest).as_secs() / 86_400;
        if days > limits::TICK_FILE_DAYS {
            return Err(TickFileError::Far { days }).with_context(|| format!("line {number}"));
        }
        made.ticks = made.ticks.saturating_add(1);
        newest = newest.max(tick.at);
        run.push(AcceptedTick {
            tick,
            received_at: newest,
        });
        if run.len() >= limits::TICK_FILE_RUN {
            pipeline.accept_prices(&run, &mut decided);
            run.clear();
            made.take(&mut decided, interval);
        }
    }
    if let Some(mut pipeline) = pipeline {
        pipeline.accept_prices(&run, &mut decided);
        pipeline.advance(pipeline.at() + limits::TICK_FILE_ENDS, &mut decided);
        made.take(&mut decided, interval);
        made.accepted = pipeline.counts().ticks_accepted;
        let aside = pipeline.counts().ticks_set_aside.clone();
        made.set_aside = aside
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| format!("{count} {}", reason.name()))
            .collect();
    }
    Ok(made)
}

/// The five-minute bars of a file, for USD/COP and its usual sessions.
///
/// # Errors
/// When a line of it cannot be used.
#[cfg(any(test, feature = "test-hooks"))]
pub fn make_bars_of(file: &[u8]) -> anyhow::Result<Vec<Bar>> {
    use crate::domain::calendar::{Calendar, CalendarSpec};
    let calendar = Calendar::new(&CalendarSpec::default(), std::sync::Arc::default());
    let calendar = calendar.map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let market = PairRules::new(Symbol::usdcop(), std::sync::Arc::new(calendar));
    Ok(make(file, &market, Interval::M5)?.bars.into_values().collect())
}

/// Parses a line. The first one names the columns.
fn read_line(
    line: &[u8],
    columns: &mut Option<TickFields>,
    symbol: Symbol,
    zone: Tz,
) -> Result<TickLine, TickFileError> {
    if line.len() >= limits::TICK_LINE {
        return Err(TickFileError::Long);
    }
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    let Some(columns) = columns else {
        *columns = Some(TickFields::read(text.trim_start_matches('\u{feff}'))?);
        return Ok(TickLine::Nothing);
    };
    if text.is_empty() {
        return Ok(TickLine::Nothing);
    }
    columns.tick(text, symbol, zone)
}

/// A pipeline whose link to the pair is up from the first tick on.
fn begin(market: &PairRules, at: Timestamp) -> Pipeline {
    let mut pipeline = Pipeline::new(std::slice::from_ref(market), Position(0), [], at);
    let up = LinkChange::Up {
        symbols: vec![market.symbol],
    };
    let heard = Input {
        at,
        what: InputKind::Link(up),
    };
    let mut decided = Vec::new();
    pipeline.accept(
        Inbound {
            heard,
            says: Decoded::Nothing,
        },
        &mut decided,
    );
    pipeline
}

impl MadeBars {
    /// Takes the bars from the decided entries.
    fn take(&mut self, decided: &mut Vec<JournalEntry>, interval: Interval) {
        for entry in decided.drain(..) {
            let JournalEntry::Event(numbered) = entry else { continue };
            if let Event::Bar(bar) = numbered.event
                && bar.key.interval == interval
            {
                self.bars.insert(bar.key.opens_at, bar);
            }
        }
    }
}

impl TickFields {
    /// Parses the line with the column names.
    fn read(line: &str) -> Result<Self, TickFileError> {
        let names: Vec<String> = line
            .split(',')
            .map(|name| unquoted(name).to_ascii_lowercase())
            .collect();
        let [time, price, symbol, bid, ask] = [
            &["time", "timestamp", "at", "datetime"][..],
            &["price", "last"],
            &["symbol", "pair"],
            &["bid"],
            &["ask"],
        ]
        .map(|wanted| names.iter().position(|name| wanted.contains(&name.as_str())));
        let name = if time.is_none() { "time" } else { "price" };
        let (Some(time), Some(price)) = (time, price) else {
            let given = line.chars().take(80).collect();
            return Err(TickFileError::NoColumn { name, given });
        };
        Ok(Self {
            time,
            price,
            symbol,
            bid,
            ask,
        })
    }

    fn tick(self, line: &str, symbol: Symbol, zone: Tz) -> Result<TickLine, TickFileError> {
        let mut fields = [None; 5];
        let places = [Some(self.time), Some(self.price), self.symbol, self.bid, self.ask];
        let mut count = 0_usize;
        for (place, field) in line.split(',').enumerate() {
            count = count.saturating_add(1);
            for (found, wanted) in fields.iter_mut().zip(places) {
                if wanted == Some(place) {
                    *found = Some(unquoted(field));
                }
            }
        }
        let [Some(time), Some(price), of, bid, ask] = fields else {
            return Err(TickFileError::Short { fields: count });
        };
        if of.is_some_and(|of| !of.parse::<Symbol>().is_ok_and(|of| of == symbol)) {
            return Ok(TickLine::OtherPair);
        }
        Ok(TickLine::Tick(Tick {
            symbol,
            price: read_price(price)?,
            bid: bid.filter(|text| !text.is_empty()).map(read_price).transpose()?,
            ask: ask.filter(|text| !text.is_empty()).map(read_price).transpose()?,
            at: read_time(time, zone)?,
            provenance: Provenance::Live,
        }))
    }
}

fn unquoted(field: &str) -> &str {
    field.trim().trim_matches('"')
}

fn read_price(text: &str) -> Result<Price, TickFileError> {
    let price = text.parse::<Price>().ok().filter(|price| price.micros() > 0);
    price.ok_or_else(|| TickFileError::Price {
        given: text.chars().take(40).collect(),
    })
}

fn read_time(text: &str, zone: Tz) -> Result<Timestamp, TickFileError> {
    if let Some((secs, fraction)) = seconds(text) {
        return Ok(Timestamp::from_secs(secs) + Duration::from_micros(fraction));
    }
    Ok(text.parse::<Moment>()?.in_zone(zone))
}

/// Parses seconds since 1970; returns whole seconds and millionths.
fn seconds(text: &str) -> Option<(i64, u64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !(9..=11).contains(&whole.len()) || !digits {
        return None;
    }
    let mut micros = 0_u64;
    for place in 0..6 {
        let digit = fraction
            .as_bytes()
            .get(place)
            .map_or(0, |byte| u64::from(byte.saturating_sub(b'0')));
        micros = micros.saturating_mul(10).saturating_add(digit);
    }
    Some((whole.parse().ok()?, micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Always;
    use std::sync::Arc;

    fn made(text: &str) -> anyhow::Result<MadeBars> {
        let market = PairRules::new(Symbol::usdcop(), Arc::new(Always));
        make(text.as_bytes(), &market, Interval::M5)
    }

    fn refused(text: &str) -> String {
        format!("{:#}", made(text).unwrap_err())
    }

    #[test]
    fn ticks_become_bars_by_the_rules_of_the_service() {
        let text = "price,symbol,time,size\n\
            4000.5,USD/COP,2025-10-23T10:00:01Z,1\n\
            4003,USD/COP,1761213660,1\n\
            1.08,EUR/USD,1761213660,1\n\
            3999.25,USD/COP,2025-10-23 10:04:59,1\n\
            \n\
            4001,\"usd/cop\",1761213900.5,1\n\
            3998,USD/COP,1761213899,1\n";
        let made = made(text).unwrap();
        let bars: Vec<String> = made
            .bars
            .values()
            .map(|bar| {
                let ohlc = bar.ohlc;
                format!(
                    "{} {} {} {} {} {}",
                    bar.key.opens_at.secs(),
                    ohlc.open,
                    ohlc.high,
                    ohlc.low,
                    ohlc.close,
                    bar.ticks
                )
            })
            .collect();
        assert_eq!(
            bars,
            ["1761213600 4000.5 4003 3998 3998 4", "1761213900 4001 4001 4001 4001 1"],
            "a tick of the bar before that came within the lateness counts there"
        );
        assert_eq!((made.ticks, made.others, made.accepted), (5, 1, 5));
        let first = made.bars.values().last().and_then(|bar| bar.first_tick_at).unwrap();
        assert_eq!(first, Timestamp::from_micros(1_761_213_900_500_000));
    }

    #[test]
    fn a_line_that_is_no_tick_is_named_with_what_to_give() {
        for (text, said) in [
            ("when,price\n", "line 1: the first line has no column \"time\""),
            (
                "time,price\n1761213660,4 000\n",
                "line 2: \"4 000\" is not a price: give a positive number",
            ),
            ("time,price\n1761213660,-1\n", "line 2: \"-1\" is not a price"),
            ("time,price\n1761213660,0\n", "line 2: \"0\" is not a price"),
            (
                "time,price\nyesterday,4000\n",
                "line 2: \"yesterday\" is not an instant",
            ),
            ("time,price\n1761213660\n", "line 2: there are 1 fields"),
            (
                "time,price\n1761213660,4000\n1961213660,4000\n",
                "line 3: its time is 2314 days after that of the line before: is it right?",
            ),
        ] {
            let told = refused(text);
            assert!(told.starts_with(said), "{told}");
        }
        let long = format!("time,price\n{}\n", "9".repeat(limits::TICK_LINE));
        assert!(refused(&long).starts_with("line 2: it is longer than 4096 bytes"));
    }

    #[test]
    fn a_file_without_ticks_has_no_bars() {
        assert!(made("time,price\n").unwrap().bars.is_empty());
        assert!(made("").unwrap().bars.is_empty());
    }
}
