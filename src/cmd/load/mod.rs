//! `candela load`: many clients at once against a running service, so that a user can size a machine: what is delivered, how late,
//! and what the service needs for it.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value indexed by what is not there gives null, and never panics"
)]

mod delays;

use crate::clock::{Clock, Stopwatch};
use crate::cmd::ask::{Service, ServiceError, TokenArg, read_ws_url};
use crate::cmd::checked_client::CheckedClient;
use crate::exit::Exit;
use crate::limits;
use crate::web::rest::process_numbers::ProcessNumbers;
use clap::Args;
use delays::Delays;
use futures_util::FutureExt;
use futures_util::future::{join_all, select};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

/// Measure a running service under many clients: deliveries, delays, breaks of continuity, evictions, memory.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// The service's WebSocket address.
    #[arg(default_value = "ws://127.0.0.1:8080/ws", value_parser = read_ws_url)]
    url: String,
    /// How many clients.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=limits::LOAD_CLIENTS))]
    clients: u32,
    /// How many seconds to measure, once all clients are connected.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=limits::LOAD_SECONDS))]
    seconds: u32,
    /// How many of the clients read nothing most of the time.
    #[arg(long, default_value_t = 0, value_name = "N")]
    slow: u32,
    /// Cut the connections of all other clients at once, each so many seconds; they come back and resume.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    storm_every: Option<u32>,
    /// What each client follows.
    #[arg(long, value_name = "CHANNELS", value_delimiter = ',', default_value = "ticks:*")]
    channels: Vec<String>,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: TokenArg,
}

/// Why the clients cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("--slow is {slow}, and there are {clients} clients: give a number up to {clients}")]
pub struct LoadError {
    slow: u32,
    clients: u32,
}

/// The counts of all clients.
#[derive(Debug, Default)]
struct Totals {
    /// The measurement began and goes on.
    counting: bool,
    delivered: u64,
    /// Messages that stand for more than one.
    conflated: u64,
    delays: Delays,
    /// Ticks that arrived before the service received them, by the two clocks.
    ahead: u64,
    resumed: Delays,
    reconnects: u64,
    /// Clients without a connection: they are reconnecting, or gave up.
    away: u64,
    closes: BTreeMap<u16, u64>,
    /// How often the service reported that it cannot replay all that a client missed.
    losses: u64,
    breaks: u64,
    examples: Vec<String>,
}

/// The service's own numbers.
#[derive(Debug, Clone, Default)]
struct ServiceNumbers(BTreeMap<&'static str, f64>);

const NUMBERS: [&str; 4] = [
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_cpu_seconds_total",
];

impl ServiceNumbers {
    /// From `/metrics`; empty where that does not answer.
    async fn read(service: &Service) -> Self {
        let mut page = Vec::new();
        if service.download_to("/metrics", &mut page).await.is_err() {
            return Self::default();
        }
        let page = String::from_utf8_lossy(&page);
        Self(
            NUMBERS
                .into_iter()
                .filter_map(|name| Some((name, number_in(&page, name)?)))
                .collect(),
        )
    }

    fn memory(&self) -> String {
        let bytes = self.get("process_resident_memory_bytes");
        bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} MB", bytes / 1e6))
    }

    fn count(&self, name: &str) -> String {
        self.get(name)
            .map_or_else(|| "unknown".to_owned(), |count| format!("{count:.0}"))
    }

    fn cpu_seconds(&self) -> Option<f64> {
        self.get("process_cpu_seconds_total")
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

/// A sample without labels on a page of metrics.
fn number_in(page: &str, name: &str) -> Option<f64> {
    let mut samples = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    samples.next()?.split_whitespace().next()?.parse().ok()
}

/// The result of a measurement.
struct Measured {
    connected: u32,
    refused: Option<String>,
    seconds: f64,
    totals: Totals,
    /// Messages a second and client, of the clients that are not slow.
    rate: f64,
    idle: ServiceNumbers,
    connected_at: ServiceNumbers,
    loaded: ServiceNumbers,
    /// The part of a core that this program took.
    own_cpu: Option<f64>,
}

impl LoadArgs {
    /// Measures. Code 1 when continuity broke, clients have no connection at the end, or nothing was delivered.
    ///
    /// # Errors
    /// When no service answers at the address.
    pub fn run(self) -> anyhow::Result<Exit> {
        if self.slow > self.clients {
            return Err(LoadError {
                slow: self.slow,
                clients: self.clients,
            }
            .into());
        }
        let measured = actix_rt::System::new().block_on(self.measure())?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", self.for_programs(&measured))?;
        } else {
            self.print(&measured, &mut out)?;
        }
        let totals = &measured.totals;
        let broken = totals.breaks > 0 || totals.away > 0 || totals.delivered == 0;
        Ok(if broken { Exit::Found } else { Exit::Clean })
    }

    async fn measure(&self) -> anyhow::Result<Measured> {
        let service = Service::new(rest_url(&self.url), &self.token);
        let idle = ServiceNumbers::read(&service).await;
        let (clients, refused) = self.connect().await?;
        let connected = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let totals: Rc<RefCell<Totals>> = Rc::default();
        let storms: Rc<Cell<u64>> = Rc::default();
        let over: Rc<Cell<bool>> = Rc::default();
        let tasks = clients.into_iter().zip(0_u32..).map(|(client, i)| {
            let load = Load {
                client,
                totals: Rc::clone(&totals),
                storms: Rc::clone(&storms),
                over: Rc::clone(&over),
                slow: i < self.slow,
            };
            load.follow(self.channels.clone())
        });
        let mut following = Box::pin(join_all(tasks).fuse());
        let settled = Box::pin(actix_rt::time::sleep(limits::LOAD_SETTLES));
        drop(select(settled, &mut following).await);
        let connected_at = ServiceNumbers::read(&service).await;
        let own = ProcessNumbers::read().cpu_seconds;
        totals.borrow_mut().counting = true;
        let watch = Stopwatch::start();
        drop(select(Box::pin(self.wait(&storms)), &mut following).await);
        totals.borrow_mut().counting = false;
        let seconds = watch.elapsed().as_secs_f64();
        let own_cpu = own
            .zip(ProcessNumbers::read().cpu_seconds)
            .map(|(from, to)| (to - from) / seconds);
        let loaded = ServiceNumbers::read(&service).await;
        over.set(true);
        drop(tokio::time::timeout(limits::LOAD_SETTLES, following).await);
        // Its clients may still wait for a service that does not answer: `away` counts them.
        let totals = std::mem::take(&mut *totals.borrow_mut());
        let reading = connected.saturating_sub(self.slow).max(1);
        let rate = float(totals.delivered) / seconds / f64::from(reading);
        Ok(Measured {
            connected,
            refused,
            seconds,
            totals,
            rate,
            idle,
            connected_at,
            loaded,
            own_cpu,
        })
    }

    /// Connects as many clients as the service accepts, a batch at a time; also returns why the last was refused. A service accepts so many
    /// in a second: those that it refuses ask again after one, until none of a batch is accepted.
    async fn connect(&self) -> Result<(Vec<CheckedClient>, Option<String>), ServiceError> {
        let bar = self.progress_bar(u64::from(self.clients), "connect {wide_bar} {pos}/{len} clients");
        let asked = usize::try_from(self.clients).unwrap_or(usize::MAX);
        let mut clients = Vec::new();
        let mut refused: Option<ServiceError> = None;
        while clients.len() < asked {
            let before = clients.len();
            let has_waited = refused.take().is_some();
            let some = asked.saturating_sub(before).min(limits::LOAD_CONNECTS);
            let opened = join_all((0..some).map(|_| CheckedClient::open(&self.url, &self.token))).await;
            for one in opened {
                match one {
                    Ok(client) => clients.push(client),
                    Err(error) => refused = Some(error),
                }
            }
            bar.set_position(u64::try_from(clients.len()).unwrap_or(u64::MAX));
            if refused.is_some() {
                if clients.is_empty() || has_waited && clients.len() == before {
                    break;
                }
                actix_rt::time::sleep(limits::LOAD_ASKS_AGAIN).await;
            }
        }
        bar.finish_and_clear();
        match refused {
            Some(error) if clients.is_empty() => Err(error),
            refused => Ok((clients, refused.map(|error| error.to_string()))),
        }
    }

    /// Waits for the measurement to end, and starts the storms of reconnects.
    async fn wait(&self, storms: &Cell<u64>) {
        let bar = self.progress_bar(u64::from(self.seconds), "measure {wide_bar} {pos}/{len} s");
        for second in 1..=self.seconds {
            actix_rt::time::sleep(Duration::from_secs(1)).await;
            bar.set_position(u64::from(second));
            let due = self.storm_every.is_some_and(|every| second.is_multiple_of(every));
            if due && second < self.seconds {
                storms.set(storms.get().saturating_add(1));
            }
        }
        bar.finish_and_clear();
    }

    fn progress_bar(&self, length: u64, template: &str) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length);
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    }

    fn for_programs(&self, measured: &Measured) -> Value {
        let Measured { totals, .. } = measured;
        json!({
            "clients": {"asked": self.clients, "connected": measured.connected, "slow": self.slow, "refused": measured.refused},
            "seconds": measured.seconds,
            "delivered": totals.delivered,
            "delivered_per_second": float(totals.delivered) / measured.seconds,
            "per_client_per_second": measured.rate,
            "conflated": totals.conflated,
            "delay": totals.delays.for_programs(),
            "before_receipt": totals.ahead,
            "resume": totals.resumed.for_programs(),
            "reconnects": totals.reconnects,
            "closes": totals.closes.iter().map(|(code, count)| (code.to_string(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "evicted": totals.closes.get(&4010).copied().unwrap_or(0),
            "without_connection": totals.away,
            "reported_losses": totals.losses,
            "breaks": totals.breaks,
            "examples": totals.examples,
            "service": {"idle": measured.idle.0, "connected": measured.connected_at.0, "loaded": measured.loaded.0},
            "own_cores": measured.own_cpu,
        })
    }

    fn print(&self, measured: &Measured, out: &mut impl Write) -> std::io::Result<()> {
        let Measured { totals, .. } = measured;
        writeln!(
            out,
            "clients       {} connected of {}, {} of them slow",
            measured.connected, self.clients, self.slow
        )?;
        if let Some(why) = &measured.refused {
            writeln!(out, "              the service took no more: {why}")?;
        }
        let per_second = float(totals.delivered) / measured.seconds;
        let rate = measured.rate;
        writeln!(
            out,
            "deliveries    {} in {:.1} s: {per_second:.0} a second, {rate:.1} a second and reading client",
            totals.delivered, measured.seconds
        )?;
        writeln!(out, "delay         {}", totals.delays.for_people())?;
        if totals.ahead > 0 {
            writeln!(
                out,
                "              {} ticks arrived before the service received them: the two clocks differ, so the delays are not reliable",
                totals.ahead
            )?;
        }
        writeln!(
            out,
            "conflated     {} messages stand for more than one",
            totals.conflated
        )?;
        writeln!(
            out,
            "continuity    {} breaks; the service reported {} losses",
            totals.breaks, totals.losses
        )?;
        for example in &totals.examples {
            writeln!(out, "              {example}")?;
        }
        let resumed = totals.resumed.for_people();
        writeln!(
            out,
            "reconnects    {}; time until everything missed was received: {resumed}",
            totals.reconnects
        )?;
        if totals.away > 0 {
            writeln!(
                out,
                "              {} clients have no connection at the end",
                totals.away
            )?;
        }
        let closes = totals.closes.iter().map(|(code, count)| format!("{count} × {code}"));
        let closes: Vec<String> = closes.collect();
        let closes = if closes.is_empty() {
            "none".to_owned()
        } else {
            closes.join(", ")
        };
        let evicted = totals.closes.get(&4010).copied().unwrap_or(0);
        writeln!(out, "closed        {closes}; evicted as slow: {evicted}")?;
        print_service(measured, out)
    }
}

fn print_service(measured: &Measured, out: &mut impl Write) -> std::io::Result<()> {
    let loaded = &measured.loaded;
    if loaded.0.is_empty() {
        writeln!(out, "service       its /metrics does not answer")?;
    } else {
        let connected = measured.connected_at.memory();
        let idle = measured.idle.memory();
        writeln!(
            out,
            "memory        {idle} before, {connected} with all clients, {} at the end",
            loaded.memory()
        )?;
        let open = loaded.count("process_open_fds");
        writeln!(out, "descriptors   {open} of {}", loaded.count("process_max_fds"))?;
        if let Some((from, to)) = measured.connected_at.cpu_seconds().zip(loaded.cpu_seconds()) {
            writeln!(
                out,
                "processor     {:.2} cores of the service",
                (to - from) / measured.seconds
            )?;
        }
    }
    if let Some(own) = measured.own_cpu {
        let doubt = if own > 0.9 {
            ": it is at its limit, and the delays are its own; run several of it"
        } else {
            ""
        };
        writeln!(out, "this program  {own:.2} cores{doubt}")?;
    }
    Ok(())
}

/// Counts are far below what a float holds.
fn float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// Where REST is answered beside a WebSocket.
fn rest_url(ws: &str) -> String {
    let (scheme, rest) = ws.split_once("://").unwrap_or(("ws", ws));
    let scheme = if matches!(scheme, "wss" | "https") {
        "https"
    } else {
        "http"
    };
    let host = rest.split(['/', '?']).next().unwrap_or(rest);
    format!("{scheme}://{host}")
}

/// One client at work.
struct Load {
    client: CheckedClient,
    totals: Rc<RefCell<Totals>>,
    storms: Rc<Cell<u64>>,
    over: Rc<Cell<bool>>,
    slow: bool,
}

impl Load {
    async fn follow(mut self, channels: Vec<String>) {
        const LOOK: Duration = Duration::from_millis(200);
        self.client.follow_channels(&channels).await;
        let mut seen = self.storms.get();
        let mut cut: Option<Stopwatch> = None;
        let mut reading = Stopwatch::start();
        while !self.over.get() {
            let storm = self.storms.get();
            if storm != seen && !self.slow {
                seen = storm;
                self.client.cut();
                cut = Some(Stopwatch::start());
            }
            if self.slow && reading.elapsed() > limits::LOAD_SLOW_READS {
                let rest = Stopwatch::start();
                while rest.elapsed() < limits::LOAD_SLOW_RESTS && !self.over.get() {
                    actix_rt::time::sleep(LOOK).await;
                }
                reading = Stopwatch::start();
            }
            match self.client.next(LOOK).await {
                Some(message) => self.note(&message, &mut cut),
                None if self.client.is_away() => {
                    self.count_away(1);
                    if !self.client.come_back().await {
                        break;
                    }
                    self.count_away(-1);
                }
                None => {}
            }
            self.take_faults();
        }
        self.take_faults();
        let losses = self.client.message_counts().1;
        let mut totals = self.totals.borrow_mut();
        totals.losses = totals.losses.saturating_add(losses);
        totals.reconnects = totals.reconnects.saturating_add(u64::from(self.client.reconnects));
        for (code, count) in &self.client.closes {
            let sum = totals.closes.entry(*code).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    fn count_away(&self, change: i64) {
        let mut totals = self.totals.borrow_mut();
        totals.away = totals.away.saturating_add_signed(change);
    }

    fn note(&self, message: &Value, cut: &mut Option<Stopwatch>) {
        let mut totals = self.totals.borrow_mut();
        if message["type"] == "replay_end"
            && let Some(cut) = cut.take()
        {
            totals
                .resumed
                .add(u64::try_from(cut.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        if !totals.counting || message.get("seq").is_none() || message.get("data").is_none() {
            return;
        }
        totals.delivered = totals.delivered.saturating_add(1);
        totals.conflated = totals
            .conflated
            .saturating_add(u64::from(message.get("from").is_some()));
        let replayed = cut.is_some(); // what was missed is late by the cut, and no delay of the service's
        if let Some(heard) = message["data"]["received_us"]
            .as_i64()
            .filter(|_| !replayed && !self.slow)
        {
            match u64::try_from(Clock::system().now().micros().saturating_sub(heard)) {
                Ok(late) => totals.delays.add(late),
                Err(_) => totals.ahead = totals.ahead.saturating_add(1),
            }
        }
    }

    fn take_faults(&mut self) {
        let wrong = std::mem::take(&mut self.client.wrong);
        if wrong.is_empty() {
            return;
        }
        let mut totals = self.totals.borrow_mut();
        totals.breaks = totals
            .breaks
            .saturating_add(u64::try_from(wrong.len()).unwrap_or(u64::MAX));
        let room = limits::LOAD_EXAMPLES.saturating_sub(totals.examples.len());
        totals.examples.extend(wrong.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_asked_beside_the_socket() {
        for (ws, rest) in [
            ("ws://127.0.0.1:8080/ws", "http://127.0.0.1:8080"),
            ("wss://data.example/ws/USDCOP?x=1", "https://data.example"),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(rest_url(ws), rest);
        }
    }
}
