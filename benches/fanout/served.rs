//! The real thing: candela's web room with its sessions and fan-out shards, told ticks as the recorder tells them.

use actix::{Addr, Context};
use candela::actors::fanout::{ClientCounts, Fanout, LedgerSource};
use candela::actors::messages::{Item, Recorded, Told};
use candela::clock::Clock;
use candela::domain::model::{
    AcceptedTick, Channel, Event, Head, Interval, Position, Provenance, Sequenced, Symbol, Tick,
};
use candela::domain::protocol::{Window, Zones};
use candela::views::ServiceView;
use candela::web::serve as serve_web;
use candela::web::{DoorLimits, Extras, WebParts};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A ledger without anything in it.
struct Unwritten(Vec<Channel>);

impl LedgerSource for Unwritten {
    fn head(&self) -> Position {
        Position(0)
    }
    fn heads(&self) -> BTreeMap<Channel, Head> {
        let head = Head {
            epoch: "aaaa".parse().unwrap(),
            seq: 0,
        };
        self.0.iter().map(|channel| (*channel, head)).collect()
    }
    fn read(&mut self, _: Position, _: usize) -> Result<Vec<Sequenced>, String> {
        Ok(Vec::new())
    }
    fn read_channel(&mut self, _: Channel, _: u64, _: u64, _: usize) -> Result<Vec<Sequenced>, String> {
        Ok(Vec::new())
    }
    fn first_seq(&mut self, _: Channel) -> Result<Option<u64>, String> {
        Ok(None)
    }
}

pub(super) type Shards = Arc<Mutex<Vec<Addr<Fanout>>>>;

/// Serves these pairs and intervals from a thread of its own, so many clients of one address at the most, and prints where.
pub(super) fn start(per_address: usize, symbols: &[Symbol], intervals: &[Interval]) -> (Arc<ClientCounts>, Shards) {
    let counts: Arc<ClientCounts> = Arc::default();
    let shards: Shards = Arc::default();
    let (address, addressed) = std::sync::mpsc::channel();
    let (serving_counts, serving_shards) = (Arc::clone(&counts), Arc::clone(&shards));
    let (symbols, intervals) = (symbols.to_vec(), intervals.to_vec());
    let bars = symbols
        .iter()
        .flat_map(|symbol| intervals.iter().map(|interval| Channel::bars(*interval, *symbol)));
    let channels: Vec<Channel> = symbols.iter().copied().map(Channel::ticks).chain(bars).collect();
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let (_view, view) = watch::channel(Arc::new(ServiceView::default()));
            let (_status, status) = watch::channel(bytes::Bytes::new());
            let started = Arc::clone(&serving_shards);
            let zones = symbols.iter().map(|symbol| (*symbol, chrono_tz::America::Bogota));
            let mut server = serve_web(WebParts {
                bind: "127.0.0.1:0".parse().unwrap(),
                workers: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
                zones: Zones::new(zones.collect()),
                symbols,
                intervals,
                clock: Clock::system(),
                counts: serving_counts,
                view,
                status,
                ledger: Arc::new(move || Box::new(Unwritten(channels.clone()))),
                session_start: None,
                start_shard: Arc::new(move |_, parts| {
                    let mut context = Context::new();
                    context.set_mailbox_capacity(1_024);
                    let shard = context.run(Fanout::new(parts));
                    started.lock().unwrap().push(shard.clone());
                    shard
                }),
                origins: Vec::new(),
                door: DoorLimits {
                    connections: 50_000,
                    per_address,
                    per_second: 1_000_000,
                },
                extras: Extras::default(),
                window: Window::default(),
                #[cfg(feature = "test-hooks")]
                hooks: candela::web::Hooks::default(),
            })
            .unwrap();
            address.send(server.address()).unwrap();
            server.take_server().unwrap().await.unwrap();
        });
    });
    println!("{}", addressed.recv().unwrap());
    (counts, shards)
}

/// Serves one pair's ticks.
pub(super) fn serve(per_address: usize) {
    let (counts, shards) = start(per_address, &[Symbol::usdcop()], &[Interval::M5]);
    let sent = Arc::new(AtomicUsize::new(0));
    super::server::converse(|line| match line {
        "clients" => Some(counts.connected.load(Ordering::Relaxed) as f64),
        "sent" => Some(sent.load(Ordering::Relaxed) as f64),
        other => {
            let numbers: Vec<u64> = other.split(' ').skip(1).map(|text| text.parse().unwrap()).collect();
            let (shards, sent) = (Arc::clone(&shards), Arc::clone(&sent));
            std::thread::spawn(move || tell(&shards.lock().unwrap(), &numbers, &sent));
            None
        }
    });
    std::process::exit(0);
}

fn tell(shards: &[Addr<Fanout>], numbers: &[u64], sent: &AtomicUsize) {
    let clock = Clock::system();
    let began = Instant::now();
    let mut seq = 0;
    for i in 0..numbers[1] {
        for _ in 0..numbers[0] {
            seq += 1;
            let recorded = recorded(seq, &clock);
            for shard in shards {
                shard.try_send(recorded.clone()).expect("the mailbox holds a burst");
            }
        }
        sent.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_micros(numbers[2] * (i + 1));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

fn recorded(seq: u64, clock: &Clock) -> Recorded {
    Recorded {
        told: Arc::new([Told::from(Item::Event(tick(seq, clock)))]),
        head: Position(seq),
    }
}

fn tick(seq: u64, clock: &Clock) -> Sequenced {
    let symbol = Symbol::usdcop();
    let now = clock.now();
    let tick = Tick {
        symbol,
        price: "4012.35".parse().unwrap(),
        bid: None,
        ask: None,
        at: now,
        provenance: Provenance::Live,
    };
    Sequenced {
        position: Position(seq),
        channel: Some(Channel::ticks(symbol)),
        seq,
        at: now,
        event: Event::Tick(AcceptedTick { tick, received_at: now }),
    }
}
