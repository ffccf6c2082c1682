//! Section `market`: which pairs are traded, and when.

use crate::domain::calendar::{CalendarRules, CalendarSpec};
use crate::domain::model::{Interval, Symbol, scale};
use crate::domain::pipeline::Boundary;
use crate::limits;
use crate::settings::{Problem, layers::Given, reader::Reader, server::parse_path};
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Which pairs are traded, and when.
#[derive(Debug, Clone)]
pub struct Market {
    /// The pairs served, in the order given, each with its calendar.
    pub symbols: Vec<SymbolMarket>,
    /// Intervals that are served, 5 minutes among them, shortest first.
    pub intervals: Vec<Interval>,
    /// The side of a bar's boundary on which a stamp of a whole minute falls.
    pub minute_stamps: Boundary,
    /// How long after its interval a bar waits for late ticks.
    pub lateness: Duration,
    /// How far a price may be from the last good one, in hundredths of a percent, before later prices must confirm it.
    pub jump_basis_points: u64,
    /// The file of days that are opened or closed in addition to the calendar's rules.
    pub calendar_file: Option<PathBuf>,
}

/// One pair and when it trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolMarket {
    /// The pair.
    pub symbol: Symbol,
    /// When it trades.
    pub calendar: CalendarRules,
}

impl Market {
    /// The time zone in which times are shown: that of the first pair.
    pub fn zone(&self) -> Tz {
        self.symbols
            .first()
            .map_or(Tz::America__Bogota, |first| first.calendar.zone)
    }
}

pub(super) fn read(reader: &mut Reader) -> Market {
    let symbols = reader.read_list("market.symbols", &["USD/COP"], "the pairs that are served", |text| {
        text.parse::<Symbol>()
            .map_err(|_| "is not a pair such as USD/COP".to_owned())
    });
    let common = read_calendar(reader);
    let mut intervals = reader.read_list(
        "market.intervals",
        &["5m"],
        "bars that are served; 5m always is",
        |text| {
            text.parse::<Interval>()
                .map_err(|_| "is not one of 1m, 5m, 15m, 30m, 1h, session, 1d".to_owned())
        },
    );
    intervals.push(Interval::M5);
    intervals.sort();
    intervals.dedup();
    for refused in symbols.iter().filter_map(|symbol| scale::refusal(*symbol)) {
        reader.report_problem("market.symbols", refused);
    }
    let symbols = read_symbol_markets(reader, &symbols, &common);
    Market {
        symbols,
        intervals,
        minute_stamps: reader.read_choice(
            "market.minute_stamps",
            "opens",
            "a tick stamped 08:05:00 belongs to the bar that opens then (opens), or to the one that closes then (closes)",
            &[("opens", Boundary::Opens), ("closes", Boundary::Closes)],
        ),
        lateness: reader.read_duration(
            "market.lateness_ms",
            "2000",
            Duration::from_millis(1),
            0..=60_000,
            "milliseconds that a bar waits for late ticks before it is closed",
        ),
        jump_basis_points: reader.read_number(
            "market.jump_basis_points",
            "300",
            1..=10_000,
            "a price farther from the last good one (300 = 3 %) is accepted only when later prices confirm it",
        ),
        calendar_file: reader.read_optional("market.calendar_file", "the file of days that are opened or closed against the rules; candela calendar writes it", parse_path),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a reader of texts may fail, this one does not")]
fn as_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// The calendar of every pair without an entry under `market.override`.
fn read_calendar(reader: &mut Reader) -> CalendarSpec {
    CalendarSpec {
        calendar: reader.read_parsed(
            "market.calendar",
            "colombia",
            "which days have sessions: colombia, forex or always",
            as_text,
        ),
        zone: reader.read_optional(
            "market.zone",
            "an IANA zone; empty means the calendar's own, America/Bogota for colombia",
            as_text,
        ),
        open: reader.read_optional(
            "market.open",
            "wall time of the open, a whole five minutes, calendar colombia only; empty means 08:00",
            as_text,
        ),
        close: reader.read_optional(
            "market.close",
            "wall time of the close, exclusive, calendar colombia only; empty means 12:55",
            as_text,
        ),
        next_day: reader.read_optional(
            "market.next_day",
            "run or close on days when dollars settle the next day; empty means run",
            as_text,
        ),
    }
}

/// Each pair with the common calendar or with that of `[market.override.USDMXN]`.
fn read_symbol_markets(reader: &mut Reader, symbols: &[Symbol], common: &CalendarSpec) -> Vec<SymbolMarket> {
    let mut specs: BTreeMap<Symbol, (CalendarSpec, String)> = BTreeMap::new();
    for (key, setting, given) in reader.read_named_sections("market.override") {
        let name = format!("market.override.{key}.{setting}");
        match key.parse::<Symbol>() {
            Ok(symbol) if symbols.contains(&symbol) => {
                let (spec, _) = specs
                    .entry(symbol)
                    .or_insert_with(|| (symbol_calendar(&setting, &given, common), given.origin.clone()));
                if let Err(message) = set_field(spec, &setting, &given) {
                    reader.report_problem(&name, message);
                }
            }
            Ok(symbol) => reader.report_problem(&name, format!("{symbol} is not in market.symbols")),
            Err(error) => reader.report_problem(&name, error),
        }
    }
    let all_are_refused = symbols.is_empty() && reader.has_problem("market.symbols");
    if !all_are_refused && (symbols.is_empty() || symbols.len() > limits::SYMBOLS) {
        reader.report_problem(
            "market.symbols",
            format!(
                "holds {} pairs; from 1 to {} can be served",
                symbols.len(),
                limits::SYMBOLS
            ),
        );
    }
    let mut markets = Vec::new();
    for (symbol, i) in symbols.iter().zip(0..) {
        if symbols.iter().take(i).any(|earlier| earlier == symbol) {
            reader.report_problem("market.symbols", format!("names {symbol} twice"));
        }
        let (spec, origin) = specs
            .get(symbol)
            .cloned()
            .unwrap_or_else(|| (common.clone(), "section market".to_owned()));
        match spec.rules() {
            Ok(calendar) => markets.push(SymbolMarket {
                symbol: *symbol,
                calendar,
            }),
            Err(problems) => {
                let name = format!("calendar of {symbol}");
                for problem in problems {
                    reader.add_problem(Problem::new(&name, &origin, problem.to_string()));
                }
            }
        }
    }
    markets
}

/// A pair whose calendar differs from the common one does not inherit the common hours, which belong to that calendar.
fn symbol_calendar(setting: &str, given: &Given, common: &CalendarSpec) -> CalendarSpec {
    match given.texts.first() {
        Some(calendar) if setting == "calendar" && *calendar != common.calendar => CalendarSpec::default(),
        _ => common.clone(),
    }
}

fn set_field(spec: &mut CalendarSpec, setting: &str, given: &Given) -> Result<(), String> {
    let [text] = given.texts.as_slice() else {
        return Err("is a list; one value is wanted".to_owned());
    };
    let some = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    match setting {
        "calendar" => spec.calendar = text.trim().to_owned(),
        "zone" => spec.zone = some,
        "open" => spec.open = some,
        "close" => spec.close = some,
        "next_day" => spec.next_day = some,
        _ => return Err("is not a setting of a pair: calendar, zone, open, close and next_day are".to_owned()),
    }
    Ok(())
}
