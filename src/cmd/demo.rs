//! `candela demo`: the whole service on embedded parts, with a day that takes minutes and one scripted outage that is repaired.

pub mod day;
pub mod screen;
pub mod cluster;
pub mod cluster_error;
pub mod node;
mod cluster_screen;
mod edge_client;
mod program;
mod servers;

use crate::app::{self, App, Ending};
use crate::clock::Clock;
use crate::cmd::demo::cluster::ClusterDemoArgs;
use crate::cmd::demo::day::{Chosen, DayArgs};
use crate::cmd::demo::screen::{Screen, Summary};
use crate::cmd::run::RunArgs;
use crate::domain::lifecycle::State;
use crate::domain::model::{Symbol, Timestamp, VendorBar};
use crate::domain::protocol::Zones;
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, Sources};
use crate::sim::{self, Scenario, SimConfig};
use crate::store::Sqlite;
use crate::telemetry;
use crate::views::Overall;
use anyhow::Context as _;
use clap::Args;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Watch the service work: a simulated upstream, a compressed session, an outage that is repaired.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// End by itself after this long, such as 30s or 2m, with a summary.
    #[arg(long = "for", value_name = "TIME", value_parser = real_time, allow_hyphen_values = true)]
    run_for: Option<Duration>,
    /// The TCP port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The address to listen on; one other than loopback, such as 0.0.0.0 in a container, shows the demo to everyone who can reach it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Keep the ledger and the database in this folder, and continue from its content; without it they are removed after the demo.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many times faster than real the market runs; at 100 a five-minute bar takes three seconds. With --cluster the default is 20.
    #[arg(
        long,
        value_name = "X",
        default_value_t = 100.0,
        default_value_if("cluster", "true", limits::DEMO_CLUSTER_SPEED),
        value_parser = parse_speed,
        allow_hyphen_values = true
    )]
    speed: f64,
    /// Play this scenario instead of the built-in outage (docs/scenarios.md).
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Print every event as one JSON object a line instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    day: DayArgs,
    #[command(flatten)]
    cluster: ClusterDemoArgs,
}

impl DemoArgs {
    /// Runs the demo to its end.
    ///
    /// # Errors
    /// A sentence that names the unusable part, and the remedy.
    pub fn run(self) -> anyhow::Result<Exit> {
        if let Some(time) = self.cluster.node_time {
            return RunArgs::default().run_on(time.clock());
        }
        if self.cluster.cluster {
            return cluster::run(&self);
        }
        let scenario = self.read_scenario()?.unwrap_or_else(Scenario::demo);
        let (_temporary, folder) = demo_folder(self.data.as_ref())?;
        let chosen = day::choose_day(&self.day, &folder)?;
        actix_rt::System::new().block_on(self.run_demo(scenario, folder, chosen))
    }

    fn read_scenario(&self) -> anyhow::Result<Option<Scenario>> {
        let Some(path) = &self.scenario else {
            return Ok(None);
        };
        let scenario = Scenario::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(scenario))
    }

    /// How long a bar waits for late ticks: the delay that a busy machine adds to a tick does not shrink when the market runs faster.
    fn lateness(&self) -> Duration {
        limits::DEMO_JITTER
            .mul_f64(self.speed)
            .clamp(limits::LATENESS, limits::DEMO_LATENESS)
    }

    async fn run_demo(self, scenario: Scenario, folder: PathBuf, chosen: Chosen) -> anyhow::Result<Exit> {
        let clock = Clock::held(chosen.starts, self.speed);
        let upstream = SimConfig {
            scenario,
            opens: Some(chosen.session.opens),
            ..SimConfig::new(clock.clone(), chosen.market.clone())
        };
        let upstream = sim::start(upstream)?;
        let settings = self.demo_settings(&upstream, &folder, chosen.closes_late)?;
        telemetry::start(&settings.log, chosen.zone, clock.clone()).context("start the log's thread")?;
        let zones = Zones::new(
            settings
                .market
                .symbols
                .iter()
                .map(|pair| (pair.symbol, chosen.zone))
                .collect(),
        );
        let prepared = prepare_store(&folder, &chosen.prepared).await?;
        let (tap, events) = mpsc::channel(limits::TAP_CHANNEL);
        let app = App::start(settings, clock.clone(), vec![tap]).await?;
        let mut screen = Screen::new(self.json, zones).context("start the thread of the output")?;
        screen.show_listening(&app, &folder, self.data.is_some());
        let over = async {
            if let Err(error) = lead_in(&app, &clock, &folder, &chosen, prepared).await {
                tracing::error!(error = format!("{error:#}"), "the demo's history pipeline failed");
            }
            clock.release();
            if !chosen.ends_with_session {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(clock.until(chosen.session.closes + limits::DEMO_AFTERGLOW)).await;
            tokio::time::sleep(limits::DEMO_LAST_WORDS).await;
        };
        let ending = app::until_over(&app, self.run_for, over, screen.follow_events(&app, events)).await?;
        let stopped = app.stop(ending).await;
        screen.show_summary(&Summary::from_stopped(&stopped, chosen.session.date));
        upstream.stop();
        if let Err(error) = screen.finish_writing() {
            return Err(error).context("cannot write to standard output");
        }
        Ok(match ending {
            Ending::Failed(exit) => exit,
            Ending::Asked | Ending::Over | Ending::Leased => Exit::Clean,
        })
    }

    /// Settings without any file or environment.
    fn demo_settings(
        &self,
        upstream: &sim::SimHandle,
        folder: &Path,
        closes_late: bool,
    ) -> anyhow::Result<settings::Valid> {
        let [ledger, store, signals] =
            ["ledger", "candela.db", "ready-signals"].map(|name| folder.join(name).display().to_string());
        let mut flags = vec![
            ("server.port", self.port.to_string()),
            ("server.bind", self.bind.to_string()),
            ("server.allow_open", (!self.bind.is_loopback()).to_string()),
            ("server.test_channels", "true".to_owned()),
            ("server.twelvedata", "true".to_owned()),
            ("upstream.ws_url", upstream.ws_url()),
            ("upstream.rest_url", upstream.rest_url()),
            ("upstream.keys_g1", "demo-key".to_owned()),
            ("ledger.dir", ledger),
            ("store.sqlite_file", store),
            ("l0.dir", signals),
            ("upstream.poll_after_seconds", "900".to_owned()), // the outage is to be seen, and healed
            ("log.format", "text".to_owned()),
            ("log.level", "error".to_owned()),
        ];
        if closes_late {
            flags.push(("market.close", "13:00".to_owned()));
        }
        flags.push(("market.lateness_ms", self.lateness().as_millis().to_string()));
        let flags = flags
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value, format!("demo {name}")))
            .collect();
        Ok(settings::load(&Sources {
            flags,
            ..Sources::default()
        })?)
    }
}

/// The time before the open, on a held clock that is moved: the history pipeline finishes, the service checks the history, becomes ready
/// and connects. The market waits for the link, so that no bar begins unwatched, however slowly this machine starts.
async fn lead_in(app: &App, clock: &Clock, folder: &Path, chosen: &Chosen, prepared: usize) -> anyhow::Result<()> {
    let to = |at: Timestamp| clock.advance(at.since(clock.now()));
    come_to(app, State::WaitingL0).await;
    to((chosen.starts + limits::DEMO_L0_TAKES).min(chosen.session.opens));
    raise_flag(&folder.join("ready-signals"), clock.now(), prepared)?;
    come_to(app, State::Ready).await;
    to(chosen.session.opens - limits::DEMO_HELD);
    drop(tokio::time::timeout(limits::DEMO_LINK_WAIT, app.linked()).await);
    Ok(())
}

/// Waits until the service has reached a state.
async fn come_to(app: &App, state: State) {
    let mut states = app.states();
    drop(
        tokio::time::timeout(
            limits::DEMO_STATE_WAIT,
            states.wait_for(|overall: &Overall| overall.changes.iter().any(|change| change.to == state)),
        )
        .await,
    );
}

/// Acts as the history pipeline: stores the bars of the days before. Returns how many there are.
async fn prepare_store(folder: &Path, bars: &[VendorBar]) -> anyhow::Result<usize> {
    let store = Sqlite::open(&folder.join("candela.db"))?;
    store.prepare_history(Symbol::usdcop(), bars.to_vec()).await?;
    Ok(bars.len())
}

/// Acts as the history pipeline at its end: writes the flag under another name, then renames it.
fn raise_flag(folder: &Path, at: Timestamp, rows: usize) -> anyhow::Result<()> {
    let unusable = || format!("cannot write the ready flag in {}", folder.display());
    std::fs::create_dir_all(folder).with_context(unusable)?;
    let new = folder.join("l0_ready.flag.new");
    std::fs::write(
        &new,
        format!("{{\"ready\": true, \"timestamp\": \"{at}\", \"rows\": {rows}}}\n"),
    )
    .with_context(unusable)?;
    std::fs::rename(new, folder.join("l0_ready.flag")).with_context(unusable)
}

/// The folder for the demo's files; a temporary one is removed when the first value is dropped.
fn demo_folder(given: Option<&PathBuf>) -> anyhow::Result<(Option<tempfile::TempDir>, PathBuf)> {
    let Some(given) = given else {
        let temporary = tempfile::tempdir()
            .context("cannot make a temporary folder; set TMPDIR to one that can be written, or pass --data DIR")?;
        let path = temporary.path().to_owned();
        return Ok((Some(temporary), path));
    };
    let unusable = || {
        format!(
            "cannot write to the folder {}; choose another with --data DIR",
            given.display()
        )
    };
    std::fs::create_dir_all(given).with_context(unusable)?;
    tempfile::tempfile_in(given).with_context(unusable)?;
    Ok((None, given.clone()))
}

/// `30s`, `2m`, `1h`, `500ms`, or plain seconds.
pub(super) fn real_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("{unit:?} is not a unit; write 30s, 2m or 1h")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a time; write 30s, 2m or 1h"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("{text:?} is not a time; write 30s, 2m or 1h"))
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (limits::DEMO_SPEED_MIN..=limits::DEMO_SPEED_MAX).contains(&speed) {
        return Ok(speed);
    }
    Err(format!(
        "{text} is not between {} and {}",
        limits::DEMO_SPEED_MIN,
        limits::DEMO_SPEED_MAX
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, ms) in [
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("500ms", 500),
            ("7", 7_000),
            ("1.5s", 1_500),
        ] {
            assert_eq!(real_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-3s", "3 weeks", "3x", "1e400s", "NaN"] {
            assert!(real_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_speed_that_makes_no_sense_is_refused() {
        assert_eq!(parse_speed("100"), Ok(100.0));
        for text in ["0", "-1", "fast", "NaN", "inf", "1e9"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
    }
}
