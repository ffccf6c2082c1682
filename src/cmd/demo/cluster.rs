//! `candela demo --cluster`: two ingests and an edge on this machine, with a PostgreSQL and a Redis of their own. The leader is killed on
//! schedule and started again, and a client of the edge shows what it sees of that.
//!
//! ```text
//! this process:  simulated vendor ═══► ingest-1 ──► Redis ──► edge ──► client, in this process
//!                                └───► ingest-2 (stands by)
//! ```

use super::cluster_error::ClusterDemoError;
use super::cluster_screen::ClusterScreen;
use super::day;
use super::edge_client::{ClusterTally, Observer, Sight};
use super::node::{Node, SharedTime};
use super::program::wait_for;
use super::servers::{FoundPrograms, Servers};
use super::{DemoArgs, raise_flag};
use crate::carrier::{Carry, RedisLog};
use crate::clock::Stopwatch;
use crate::cmd::ask::{Service, TokenArg};
use crate::cmd::checked_client::CheckedClient;
use crate::domain::cluster::{NodeRole, NodeSeen};
use crate::domain::model::{Ohlc, Symbol, VendorBar};
use crate::exit::Exit;
use crate::limits;
use crate::sim::{self, SimConfig, SimHandle};
use crate::store::{Migrate, Postgres};
use anyhow::Context as _;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::NoTls;

/// What belongs to the demo's cluster.
#[derive(Debug, Clone, Args)]
pub struct ClusterDemoArgs {
    /// Run a cluster: two ingests and an edge, with a PostgreSQL and a Redis of their own, which must be installed. The leader is killed
    /// and started again, and a client of the edge shows what it sees.
    #[arg(long, conflicts_with = "data")]
    pub(super) cluster: bool,
    /// The folder of initdb, postgres and pg_ctl for --cluster; by default the newest PostgreSQL that is installed.
    #[arg(long, value_name = "DIR", env = "CANDELA_POSTGRES_BIN")]
    postgres_bin: Option<PathBuf>,
    /// Where programs are looked for.
    #[arg(long, env = "PATH", hide = true)]
    path: Option<OsString>,
    /// Run as a node of the demo's cluster, with this market time and the settings of the environment.
    #[arg(long, hide = true)]
    pub(super) node_time: Option<SharedTime>,
}

/// Runs the demo to its end.
///
/// # Errors
/// A sentence that names what is missing or cannot be used, and the remedy.
pub(super) fn run(demo: &DemoArgs) -> anyhow::Result<Exit> {
    let args = &demo.cluster;
    let programs = FoundPrograms::find(args.postgres_bin.as_deref(), args.path.as_deref())?;
    let temporary = tempfile::Builder::new()
        .prefix("candela-demo-")
        .permissions(Permissions::from_mode(0o711)) // PostgreSQL's user passes through it
        .tempdir()
        .context("cannot make a temporary folder; set TMPDIR to one that can be written")?;
    let folder = temporary.path();
    std::fs::create_dir(folder.join("logs")).context("make the folder of the logs")?;
    let screen = ClusterScreen::new(demo.json).context("start the thread of the output")?;
    let played = actix_rt::System::new().block_on(play(demo, &programs, folder, &screen))?;
    temporary.close().context("remove the demo's folder")?;
    screen.show_summary(&played);
    screen.finish_writing().context("cannot write to standard output")?;
    Ok(if played.breaks + played.reconnects == 0 {
        Exit::Clean
    } else {
        Exit::Found
    })
}

/// Plays until a signal arrives or the time or the session is over; then everything is stopped.
async fn play(
    demo: &DemoArgs,
    programs: &FoundPrograms,
    folder: &Path,
    screen: &ClusterScreen,
) -> anyhow::Result<ClusterTally> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?; // the terminal is closed
    let asked = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    let mut asked = pin!(asked);
    let mut stage = tokio::select! {
        stage = ClusterStage::start(demo, programs, folder, screen) => stage?,
        () = &mut asked => return Ok(ClusterTally::default()),
    };
    let time_is_over = async {
        match demo.run_for {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let session_is_over = tokio::time::sleep(stage.left);
    let why = tokio::select! {
        failed = stage.watch() => return Err(failed),
        () = &mut asked => "a stop was requested",
        () = time_is_over => "the time is over",
        () = session_is_over => "the session is over",
    };
    screen.show_stop(why);
    Ok(stage.tally())
}

/// Where the schedule is.
#[derive(Debug, Clone, Copy)]
enum KillSchedule {
    /// There is no price yet.
    Waiting,
    /// The leader is killed this long after that moment.
    Calm { since: Stopwatch, lasts: Duration },
    /// The leader was killed, and is not started again yet.
    Killed { at: Stopwatch, ingest: usize },
}

/// The whole demo. Fields are dropped in this order: the nodes before their servers.
struct ClusterStage<'a> {
    screen: &'a ClusterScreen,
    client: CheckedClient,
    status: Service,
    observer: Observer,
    /// The processes that are known to stand by.
    standbys: Vec<u32>,
    /// Faults that the client found and that are shown already.
    shown_faults: usize,
    looked: Stopwatch,
    schedule: KillSchedule,
    ingests: Vec<Node>,
    edge: Node,
    _vendor: SimHandle,
    servers: Servers,
    /// Real time until the session is over.
    left: Duration,
}

impl<'a> ClusterStage<'a> {
    /// Starts servers, vendor, nodes and client, in this order.
    async fn start(
        demo: &DemoArgs,
        programs: &FoundPrograms,
        folder: &Path,
        screen: &'a ClusterScreen,
    ) -> anyhow::Result<Self> {
        let scenario = demo.read_scenario()?.unwrap_or_default();
        let chosen = day::choose_day(&demo.day, folder)?;
        screen.show_servers(&programs.postgres, &programs.redis, folder);
        let servers = Servers::start(programs, folder).await?;
        store_history(&servers.database_url(), &chosen.prepared).await?;
        let lead = limits::DEMO_CLUSTER_LEAD.mul_f64(demo.speed).min(limits::DEMO_LEAD);
        let time = SharedTime::begin(chosen.session.opens - lead, demo.speed);
        let clock = time.clock();
        raise_flag(&folder.join("ready-signals"), clock.now(), chosen.prepared.len())?;
        let vendor = sim::start(SimConfig {
            scenario,
            opens: Some(chosen.session.opens),
            ..SimConfig::new(clock.clone(), chosen.market.clone())
        })?;
        let common = node_environment(demo, folder, &servers, &vendor, chosen.closes_late);
        let mut ingests = Vec::new();
        for name in ["ingest-1", "ingest-2"] {
            let mut node = Node::new(name, folder, time, with_role(&common, "ingest", 0))?;
            node.start()?;
            screen.show_node(name, &node.listens().await?, node.pid());
            if ingests.is_empty() {
                wait_for_log(&servers.redis_url()).await?;
            }
            ingests.push(node);
        }
        let mut edge_environment = with_role(&common, "edge", demo.port);
        edge_environment.push(("CANDELA__SERVER__BIND".to_owned(), demo.bind.to_string()));
        let open = (!demo.bind.is_loopback()).to_string();
        edge_environment.push(("CANDELA__SERVER__ALLOW_OPEN".to_owned(), open));
        let mut edge = Node::new("edge", folder, time, edge_environment)?;
        edge.start()?;
        let address = edge.listens().await?;
        screen.show_node("edge", &address, edge.pid());
        let token = TokenArg::default();
        let mut client = CheckedClient::open(&format!("ws://{address}/ws"), &token).await?;
        let channels = ["ticks:*", "bars.5m:*", "quality:*", "session:*", "events"];
        client.follow_channels(&channels.map(str::to_owned)).await;
        screen.show_listening(&address, clock.until(chosen.session.opens));
        Ok(Self {
            screen,
            client,
            status: Service::new(format!("http://{address}"), &token),
            observer: Observer::default(),
            standbys: Vec::new(),
            shown_faults: 0,
            looked: Stopwatch::start(),
            schedule: KillSchedule::Waiting,
            ingests,
            edge,
            _vendor: vendor,
            servers,
            left: clock.until(chosen.session.closes + limits::DEMO_AFTERGLOW),
        })
    }

    /// Follows the edge and keeps to the schedule, until something fails that the demo needs.
    async fn watch(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        if let Some(message) = self.client.next(limits::DEMO_CLUSTER_LOOK).await {
            if let Some(sight) = self.observer.hear(&message) {
                self.show(&sight);
            }
        } else if self.client.is_away() {
            self.client.come_back().await;
        }
        for fault in self.client.wrong.iter().skip(self.shown_faults) {
            self.screen.show_break(fault);
        }
        self.shown_faults = self.client.wrong.len();
        if self.looked.elapsed() >= limits::DEMO_CLUSTER_LOOK {
            self.servers.check_running()?;
            self.look_at_nodes()?;
            self.ask_edge().await;
            self.keep_schedule()?;
            self.looked = Stopwatch::start();
        }
        Ok(())
    }

    fn show(&self, sight: &Sight) {
        self.screen
            .show_sight(sight, |pid| self.name_of(pid).unwrap_or("another process"));
    }

    fn name_of(&self, pid: u32) -> Option<&'static str> {
        let mut nodes = self.ingests.iter().chain([&self.edge]);
        nodes.find(|node| node.pid() == Some(pid)).map(|node| node.name)
    }

    /// Starts a node again that asks for it by its exit code, as its supervisor would.
    fn look_at_nodes(&mut self) -> anyhow::Result<()> {
        for node in self.ingests.iter_mut().chain([&mut self.edge]) {
            let Some((status, error)) = node.ended() else { continue };
            if status.code() != Some(Exit::TryAgain.code().into()) {
                return Err(error.into());
            }
            node.start()?;
            self.screen.show_restart(node.name, &error.to_string());
        }
        Ok(())
    }

    /// Asks the edge who leads and who stands by. One that does not answer now is asked again.
    async fn ask_edge(&mut self) {
        let Ok(status) = self.status.get("/status").await else {
            return;
        };
        let nodes = status.pointer("/cluster/nodes").cloned().unwrap_or_default();
        let nodes: Vec<NodeSeen> = serde_json::from_value(nodes).unwrap_or_default();
        let mut standbys = Vec::new();
        for NodeSeen { news, .. } in nodes {
            let Some(name) = self.name_of(news.pid) else { continue };
            match news.role {
                NodeRole::Leader => {
                    if let Some(sight) = self.observer.note_leader(news.term, news.pid) {
                        self.show(&sight);
                    }
                }
                NodeRole::Standby => {
                    if !self.standbys.contains(&news.pid) {
                        self.screen.show_standby(name);
                    }
                    standbys.push(news.pid);
                }
                NodeRole::Edge => {}
            }
        }
        self.standbys = standbys;
    }

    /// Kills the leader, or starts it again, when that is due.
    fn keep_schedule(&mut self) -> anyhow::Result<()> {
        match self.schedule {
            KillSchedule::Waiting if self.observer.tally.prices > 0 => {
                self.schedule = calm_for(limits::DEMO_FIRST_KILL);
            }
            KillSchedule::Calm { since, lasts } if since.elapsed() >= lasts => self.kill_leader(),
            KillSchedule::Killed { at, ingest } => {
                let has_prices = !self.observer.awaits_prices() || at.elapsed() > limits::DEMO_PROGRAM_START;
                if has_prices && at.elapsed() >= limits::DEMO_START_AGAIN {
                    if let Some(node) = self.ingests.get_mut(ingest) {
                        node.start()?;
                        self.screen.show_restart(node.name, "as a supervisor does it");
                    }
                    self.schedule = calm_for(limits::DEMO_KILL_EVERY);
                }
            }
            KillSchedule::Waiting | KillSchedule::Calm { .. } => {}
        }
        Ok(())
    }

    /// Kills the leader, unless nobody stands by: then it is tried again with the next look.
    fn kill_leader(&mut self) {
        let Some(leader) = self.observer.leader.filter(|_| !self.standbys.is_empty()) else {
            return;
        };
        let mut ingests = self.ingests.iter_mut().enumerate();
        let Some((ingest, node)) = ingests.find(|(_, node)| node.pid() == Some(leader)) else {
            return;
        };
        self.screen.show_kill(node.name, leader, self.observer.tally.term);
        self.observer.note_kill();
        node.kill();
        let at = Stopwatch::start();
        self.schedule = KillSchedule::Killed { at, ingest };
    }

    fn tally(&self) -> ClusterTally {
        let (messages, _) = self.client.message_counts();
        ClusterTally {
            messages,
            breaks: u64::try_from(self.client.wrong.len()).unwrap_or(u64::MAX),
            reconnects: self.client.reconnects.into(),
            ..self.observer.tally.clone()
        }
    }
}

fn calm_for(lasts: Duration) -> KillSchedule {
    let since = Stopwatch::start();
    KillSchedule::Calm { since, lasts }
}

/// The settings that all nodes have in common.
fn node_environment(
    demo: &DemoArgs,
    folder: &Path,
    servers: &Servers,
    vendor: &SimHandle,
    closes_late: bool,
) -> Vec<(String, String)> {
    let mut all = vec![
        ("DATABASE_URL", servers.database_url().expose_secret().to_owned()),
        ("REDIS_URL", servers.redis_url().expose_secret().to_owned()),
        ("READY_SIGNALS_DIR", folder.join("ready-signals").display().to_string()),
        ("LOG_LEVEL", "INFO".to_owned()),
        ("CANDELA__LOG__FORMAT", "json".to_owned()), // the demo reads where a node listens
        ("CANDELA__UPSTREAM__WS_URL", vendor.ws_url()),
        ("CANDELA__UPSTREAM__REST_URL", vendor.rest_url()),
        ("CANDELA__UPSTREAM__POLL_AFTER_SECONDS", "900".to_owned()), // the outage is to be seen, and healed
        ("CANDELA__MARKET__LATENESS_MS", demo.lateness().as_millis().to_string()),
    ];
    if closes_late {
        all.push(("CANDELA__MARKET__CLOSE", "13:00".to_owned()));
    }
    // A new leader connects with another key than the last one did.
    let keys = [("API_KEY_G1_1", "demo-key-1"), ("API_KEY_G1_2", "demo-key-2")];
    all.extend(keys.map(|(name, key)| (name, key.to_owned())));
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn with_role(common: &[(String, String)], role: &str, port: u16) -> Vec<(String, String)> {
    let mut all = common.to_vec();
    all.push(("CANDELA__CLUSTER__ROLE".to_owned(), role.to_owned()));
    all.push(("PORT".to_owned(), port.to_string()));
    all
}

/// Acts as the history pipeline: creates the tables, and stores the bars of the days before.
async fn store_history(url: &SecretString, bars: &[VendorBar]) -> Result<(), ClusterDemoError> {
    Postgres::new(url, 1)?.migrate_schema(Migrate::Run).await?;
    let symbol = Symbol::usdcop().compact();
    let rows: Vec<String> = bars
        .iter()
        .map(|bar| {
            let Ohlc { open, high, low, close } = bar.ohlc;
            format!("('{symbol}', '{}', {open}, {high}, {low}, {close}, 'l0')", bar.opens_at)
        })
        .collect();
    let insert = format!(
        "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) VALUES {} ON CONFLICT DO NOTHING",
        rows.join(", ")
    );
    let (client, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    tokio::select! {
        done = client.batch_execute(&insert) => Ok(done?),
        ended = connection => Ok(ended?),
    }
}

/// Waits until the cluster log has a parcel: an edge begins with it.
async fn wait_for_log(url: &SecretString) -> anyhow::Result<()> {
    let log = RedisLog::new(url, limits::CLUSTER_LOG_LEAST)?;
    let began = Stopwatch::start();
    while !matches!(log.head().await, Ok(Some(_))) {
        wait_for(&began, "the cluster log")?.await;
    }
    Ok(())
}
