//! `candela simulate`: the simulated upstream alone, for any client of the vendor, with a scenario of faults.

use crate::clock::{Clock, Stopwatch};
use crate::cmd::output::{Output, lines_lost};
use crate::domain::model::moment::read_date;
use crate::domain::model::{Symbol, Timestamp};
use crate::exit::Exit;
use crate::limits;
use crate::sim::engine::Report;
use crate::sim::market::MARKET_ZONE;
use crate::sim::scenario::script::parse_duration;
use crate::sim::start;
use crate::sim::{
    Day, DayError, History, HistoryError, Market, Scenario, ScenarioError, SimConfig, SimError, SimHandle,
};
use chrono::NaiveDate;
use chrono_tz::Tz;
use clap::Args;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Run a server on loopback that speaks TwelveData's WebSocket and REST, and misbehaves on cue.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The faults, and when they happen: a file as docs/scenarios.md describes. Without it there are none.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Real five-minute bars (.csv or .csv.gz) to replay instead of a generated market.
    #[arg(long, value_name = "FILE", requires = "date")]
    history: Option<PathBuf>,
    /// The day of the file to replay, such as 2025-10-22.
    #[arg(long, value_name = "DATE", value_parser = read_date, requires = "history")]
    date: Option<NaiveDate>,
    /// The zone whose wall time the file really holds, such as America/Bogota; without it its labels are believed.
    #[arg(long, value_name = "ZONE", requires = "history", value_parser = read_zone)]
    history_zone: Option<Tz>,
    /// The pairs of the generated market.
    #[arg(
        long,
        value_name = "PAIRS",
        value_delimiter = ',',
        default_value = "USD/COP,EUR/USD,USD/MXN",
        conflicts_with = "history"
    )]
    symbols: Vec<Symbol>,
    /// Ticks of each generated pair in a second of market time; without it, one every few seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5_000), conflicts_with = "history")]
    per_second: Option<u16>,
    /// The seed of the generated market, and of the path between the prices of real bars.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many seconds of the market pass in one.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = read_speed, allow_hyphen_values = true)]
    speed: f64,
    /// How long before a replayed session opens the clock starts, in market time.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration, requires = "history")]
    lead: Duration,
    /// The port on 127.0.0.1; 0 picks a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// The known API keys, in the order in which a scenario counts them. Without any, every key is accepted.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    keys: Vec<String>,
    /// End after this long, in real time.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    length: Option<Duration>,
    /// One JSON object a line on standard output.
    #[arg(long)]
    json: bool,
}

/// Why the simulator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The file of bars cannot be used.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The day in the file cannot be used.
    #[error(transparent)]
    Day(#[from] DayError),
    /// The scenario cannot be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The server cannot start.
    #[error(transparent)]
    Start(#[from] SimError),
    /// The output cannot be written.
    #[error("write output: {0}")]
    Output(#[from] io::Error),
}

impl SimulateArgs {
    /// Runs until a stop is requested, or its time is over.
    ///
    /// # Errors
    /// A sentence that names the unusable part, and the remedy.
    pub fn run(self) -> anyhow::Result<Exit> {
        let json = self.json;
        let mut out = Output::start(move |count| lines_lost(json, count)).map_err(SimulateError::Output)?;
        let exit = run(&self, &mut out)?;
        out.finish_writing().map_err(SimulateError::Output)?;
        Ok(exit)
    }
}

fn made_up(args: &SimulateArgs) -> Market {
    let market = Market::walk(args.seed, &args.symbols);
    match args.per_second {
        Some(per_second) => market.with_tick_rate(per_second),
        None => market,
    }
}

/// Parses a zone.
pub(super) fn read_zone(text: &str) -> Result<Tz, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a zone of the IANA database, such as America/Bogota or UTC"))
}

fn read_speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|speed| (0.001..=limits::SIM_FASTEST).contains(speed))
        .ok_or_else(|| format!("{text:?} is not a speed from 0.001 to {}", limits::SIM_FASTEST))
}

/// Runs until a stop is requested, or its time is over.
///
/// # Errors
/// [`SimulateError`] when a file or the port cannot be used.
pub fn run(args: &SimulateArgs, out: &mut impl Write) -> Result<Exit, SimulateError> {
    let scenario = args
        .scenario
        .as_deref()
        .map(Scenario::read)
        .transpose()?
        .unwrap_or_default();
    let (market, clock, what) = match (&args.history, args.date) {
        (Some(history), Some(date)) => {
            let file = History::read(history)?;
            say_rounded(history, &file);
            let day = file.day(Symbol::usdcop(), date, args.history_zone)?;
            let clock = Clock::scaled(day.opens - args.lead, args.speed);
            (Market::replay(args.seed, &day), clock, describe_day(&day))
        }
        _ => {
            let plain = (args.speed - 1.0).abs() < f64::EPSILON;
            let clock = if plain {
                Clock::system()
            } else {
                Clock::scaled(Clock::system().now(), args.speed)
            };
            let names: Vec<&str> = args.symbols.iter().map(Symbol::as_str).collect();
            (
                made_up(args),
                clock,
                format!("{}, made up from seed {}", names.join(", "), args.seed),
            )
        }
    };
    let mut config = SimConfig::new(clock.clone(), market);
    config.scenario = scenario;
    config.keys.clone_from(&args.keys);
    config.bind = SocketAddr::from(([127, 0, 0, 1], args.port));
    let mut teller = Teller {
        json: args.json,
        out,
        clock,
        told: Report::default(),
    };
    let sim = start(config)?;
    teller.report_listening(&sim, &what, args.speed)?;
    let done = actix_rt::System::new().block_on(watch_simulation(&sim, &mut teller, args.length));
    teller.report_summary(&sim.report())?;
    done?;
    Ok(Exit::Clean)
}

fn describe_day(day: &Day) -> String {
    let left_out = match day.left_out {
        0 => String::new(),
        bars => format!("; {bars} bars outside the session are left out"),
    };
    format!("{} of {}, {} bars{left_out}", day.symbol, day.date, day.bars.len())
}

/// Prints events until a signal arrives or the time is over.
async fn watch_simulation<W: Write>(
    sim: &SimHandle,
    teller: &mut Teller<'_, W>,
    length: Option<Duration>,
) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let begun = Stopwatch::start();
    while length.is_none_or(|length| begun.elapsed() < length) {
        teller.report_news(sim.report())?;
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = actix_rt::time::sleep(limits::SIM_NEWS) => {}
        }
    }
    Ok(())
}

/// Prints events for people or for programs.
struct Teller<'a, W> {
    json: bool,
    out: &'a mut W,
    clock: Clock,
    /// The report that was printed last.
    told: Report,
}

impl<W: Write> Teller<'_, W> {
    fn write_object(&mut self, object: &Value, text: &str) -> io::Result<()> {
        if self.json {
            writeln!(self.out, "{object}")?;
        } else {
            writeln!(self.out, "{text}")?;
        }
        self.out.flush()
    }

    fn report_listening(&mut self, sim: &SimHandle, what: &str, speed: f64) -> io::Result<()> {
        let address = sim.address();
        let ws = sim.ws_url();
        let rest = sim.rest_url();
        let object = json!({"event": "listening", "address": address.to_string(), "ws_url": ws, "rest_url": rest, "market": what, "speed": speed});
        self.write_object(
            &object,
            &format!(
                "The simulated upstream listens: {ws} and {rest}\nIts market: {what}; {speed} market seconds a second"
            ),
        )
    }

    /// Prints what is new since the last report.
    fn report_news(&mut self, report: Report) -> io::Result<()> {
        let told = self.told.counters.played.len();
        for (at, act) in report.counters.played.iter().skip(told) {
            self.write_object(
                &json!({"event": "act", "at": at.to_string(), "act": act}),
                &format!("{}  {act}", wall_time(*at)),
            )?;
        }
        if report.open != self.told.open {
            let open = report.open;
            let now = self.clock.now();
            let object = json!({"event": "connections", "at": now.to_string(), "open": open});
            self.write_object(&object, &format!("{}  {open} connected", wall_time(now)))?;
        }
        self.told = report;
        Ok(())
    }

    fn report_summary(&mut self, report: &Report) -> io::Result<()> {
        let counters = &report.counters;
        let violations = report.violations();
        let object = json!({
            "event": "summary",
            "connections": counters.opened_total,
            "refused": counters.refused_total,
            "dropped": counters.dropped_total,
            "subscribes": counters.subscribes_total,
            "heartbeats": counters.heartbeats_total,
            "prices": counters.prices_total,
            "rest_requests": counters.rest_total,
            "rest_errors": counters.rest_errors_total,
            "violations": violations,
        });
        let text = format!(
            "{} connections granted, {} refused, {} dropped; {} prices sent; {} REST requests, {} answered with an error",
            counters.opened_total,
            counters.refused_total,
            counters.dropped_total,
            counters.prices_total,
            counters.rest_total,
            counters.rest_errors_total
        );
        let broken = match violations.as_slice() {
            [] => "No rule of the vendor was broken.".to_owned(),
            some => format!("Rules of the vendor that were broken: {}", some.join("; ")),
        };
        self.write_object(&object, &format!("{text}\n{broken}"))
    }
}

/// The market's wall clock.
fn wall_time(at: Timestamp) -> String {
    at.datetime()
        .with_timezone(&MARKET_ZONE)
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// Reports how many bars of a file had prices with more than six decimals.
pub(super) fn say_rounded(path: &Path, file: &History) {
    let count = file.rounded_prices();
    if count > 0 {
        tracing::warn!(file = %path.display(), count, "bars of the history file rounded to six decimals");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parse(line: &str) -> Result<SimulateArgs, String> {
        let words = std::iter::once("simulate").chain(line.split_whitespace());
        Command::try_parse_from(words)
            .map(|command| command.args)
            .map_err(|error| error.to_string())
    }

    fn check_refused(line: &str, expect: &str) {
        let error = parse(line).unwrap_err();
        assert!(error.contains(expect), "{line}: {error}");
    }

    #[test]
    fn arguments_that_make_no_sense_are_named() {
        check_refused("--speed 0", "\"0\" is not a speed from 0.001 to");
        check_refused("--speed fast", "is not a speed");
        check_refused("--history x.csv", "--date <DATE>");
        check_refused("--date 2025-10-22", "--history <FILE>");
        check_refused(
            "--history x.csv --date 2025-10-22 --history-zone Bogota",
            "is not a zone of the IANA database",
        );
        check_refused("--history x.csv --date 22/10/2025", "22/10/2025");
        check_refused("--symbols COP", "symbol \"COP\" is not a pair");
        check_refused("--for ever", "\"ever\" is not a duration");
    }

    fn run_line(line: &str) -> (Result<Exit, SimulateError>, Vec<Value>) {
        let mut out = Vec::new();
        let result = run(&parse(line).unwrap(), &mut out);
        let lines = String::from_utf8(out).unwrap();
        (
            result,
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        )
    }

    #[test]
    fn a_short_run_says_where_it_listens_what_it_did_and_sums_up() {
        let folder = tempfile::tempdir().unwrap();
        let scenario = folder.path().join("quiet.txt");
        std::fs::write(&scenario, "at +0s mute for 1s\n").unwrap();
        let line = format!("--json --for 50ms --speed 100000 --scenario {}", scenario.display());
        let (result, lines) = run_line(&line);
        assert_eq!(result.unwrap(), Exit::Clean);
        assert!(lines[0]["ws_url"].as_str().unwrap().starts_with("ws://127.0.0.1:"));
        assert!(
            lines.iter().any(|line| line["act"] == "at +0s mute for 1s"),
            "{lines:?}"
        );
        assert_eq!(lines.last().unwrap()["violations"], json!([]));
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let error = run_line("--scenario /no/such/play.txt").0.unwrap_err();
        assert_eq!(crate::cmd::failure::from_error(&error.into()).0, Exit::Resource);
        let error = run_line("--scenario /no/such/play.txt").0.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("scenario file /no/such/play.txt cannot be read: "),
            "{error}"
        );
        let error = run_line("--history /no/such/bars.csv --date 2025-10-22").0.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("history file /no/such/bars.csv cannot be read: "),
            "{error}"
        );
    }
}
