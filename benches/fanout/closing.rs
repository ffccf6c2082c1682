//! The instant at which most happens at once: a session ends, and the bars of 20 pairs in seven intervals close together. They are decided,
//! written to a ledger with a sync, and told to many clients. Beside it the floor, which writes as many bytes to each client.

use super::load::Load;
use super::reader::{self, Reader, Timing, Wire};
use super::report::{Section, less, more};
use super::served::{self, Shards};
use super::server::{Server, converse};
use candela::actors::messages::{Item, Recorded, Told};
use candela::domain::model::{
    Decoded, Inbound, Input, InputKind, Interval, JournalEntry, LinkChange, Listed, Position, Price, Provenance,
    Session, SessionKind, Symbol, Tick, Timestamp,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::ledger::{Ledger, LedgerOptions};
use candela::limits;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PAIRS: usize = 20;

/// How the 140 channels are followed: by so many clients one each, or by each client those of three intervals.
const AUDIENCES: [(&str, usize, bool); 3] = [
    ("1000 × one bar", 1_000, false),
    ("10000 × one bar", 10_000, false),
    ("100 × 60 bars", 100, true),
];

pub(super) fn section(short: bool) -> Section {
    let columns = [
        less("p50 ms"),
        less("p99 ms"),
        less("max ms"),
        more("messages a client"),
    ];
    let mut section = Section::new(
        "Bar close: 20 pairs × 7 intervals at one instant, after the lateness",
        &columns,
    );
    for (name, clients, many_each) in AUDIENCES {
        if short && clients > 1_000 {
            continue;
        }
        let mut bytes = 0; // to each client at the last close, for the floor: candela goes first
        section.compare(
            name,
            if short { 3 } else { 5 },
            &["candela", "floor"],
            |which| match which {
                "floor" => floor(clients, bytes),
                _ => {
                    let (row, told) = closing(clients, many_each);
                    bytes = told;
                    row
                }
            },
        );
    }
    section.note(
        "candela: decided, in the ledger with a sync, then told; floor: as many bytes, in one write to each client",
    );
    section
}

fn pairs() -> Vec<Symbol> {
    let pair = |i: usize| format!("A{}{}/USD", char::from(b'A' + (i / 10) as u8), i % 10);
    (0..PAIRS).map(|i| pair(i).parse().unwrap()).collect()
}

fn closing(clients: usize, many_each: bool) -> (Vec<f64>, usize) {
    let mut server = Server::start("closing");
    let of = |interval: Interval| {
        pairs()
            .into_iter()
            .map(move |symbol| format!("bars.{interval}:{symbol}"))
    };
    let bars: Vec<String> = Interval::ALL.iter().copied().flat_map(of).collect();
    let bars: Vec<&str> = bars.iter().map(String::as_str).collect();
    let many = &bars[..3 * PAIRS];
    let readers: Vec<Reader> = (0..clients)
        .map(|i| {
            if many_each {
                many
            } else {
                std::slice::from_ref(&bars[i % bars.len()])
            }
        })
        .map(|channels| reader::connect_to(&server.address, Wire::Greeted, channels))
        .collect();
    server.wait_for("clients", clients);
    let reading =
        std::thread::spawn(move || reader::count(readers, usize::MAX, Duration::from_secs(5), Timing::Arrivals));
    server.tell("trade");
    std::thread::sleep(Duration::from_millis(1_500)); // what that told has arrived
    server.tell("close");
    let mut seen = reading.join().unwrap();
    let due = server.ask("due") as u64;
    server.end();
    let frame = seen.bytes / seen.received.max(1);
    seen.arrived_us.retain(|arrived| *arrived >= due);
    let each = seen.arrived_us.len() as f64 / clients as f64;
    let seen = seen.after(due);
    let row = vec![seen.delay_ms(0.5), seen.delay_ms(0.01), seen.delay_ms(0.0), each];
    (row, (each * frame as f64) as usize)
}

fn floor(clients: usize, bytes: usize) -> Vec<f64> {
    let mut server = Server::start("floor");
    let readers = reader::connect(&server.address, clients, server.wire);
    server.wait_for("clients", clients);
    let frame = super::floor::TICK.len() + 4;
    let load = Load::of(clients, bytes.div_ceil(frame), 1, 1);
    let reading = std::thread::spawn(move || {
        reader::count(readers, load.clients * load.burst, Duration::from_secs(8), Timing::ALL)
    });
    server.send(load.burst, load.bursts, load.pause);
    let seen = reading.join().unwrap();
    server.end();
    vec![seen.delay_ms(0.5), seen.delay_ms(0.01), seen.delay_ms(0.0), f64::NAN]
}

/// The child: a session with trades, and its end.
pub(super) fn serve() {
    let (counts, shards) = served::start(50_000, &pairs(), Interval::ALL);
    let (mut market, mut due) = (None, 0);
    converse(|line| match line {
        "clients" => Some(counts.connected.load(Ordering::Relaxed) as f64),
        "due" => Some(due as f64),
        "trade" => {
            market = Some(Market::trade(&shards));
            None
        }
        _ => {
            due = reader::now_us();
            market.as_mut().expect("trades come first").close(&shards);
            None
        }
    });
    std::process::exit(0);
}

/// What decides and writes down, in a session that is about to end.
struct Market {
    pipeline: Pipeline,
    ledger: Ledger,
    /// When the lateness after the session is over, in market time.
    due: Timestamp,
    _folder: tempfile::TempDir,
}

impl Market {
    /// Ticks of all pairs in the last minute of a session of two hours.
    fn trade(shards: &Shards) -> Self {
        let minute = Duration::from_secs(60);
        let opens = Timestamp::from_secs(1_772_456_400);
        let closes = opens + minute * 120;
        let session = Session {
            date: closes.datetime().date_naive(),
            opens,
            closes,
            kind: SessionKind::Spot,
        };
        let sessions = Arc::new(Listed {
            sessions: vec![session],
            zone: chrono_tz::UTC,
        });
        let others = Interval::ALL
            .iter()
            .copied()
            .filter(|interval| *interval != Interval::BASE);
        let intervals: Vec<Interval> = [Interval::BASE].into_iter().chain(others).collect();
        let rules = |symbol| PairRules {
            intervals: intervals.clone(),
            ..PairRules::new(symbol, Arc::clone(&sessions) as Arc<_>)
        };
        let rules: Vec<PairRules> = pairs().into_iter().map(rules).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut market = Self {
            pipeline: Pipeline::new(&rules, Position(0), [], closes - minute),
            ledger: Ledger::open(folder.path(), LedgerOptions::new(session.date, 7)).unwrap(),
            due: closes + limits::LATENESS,
            _folder: folder,
        };
        let mut out = Vec::new();
        trade(&mut market.pipeline, closes - minute, &mut out);
        market.pipeline.advance(closes, &mut out);
        tell(&mut market.ledger, shards, &mut out);
        market
    }

    /// Closes the bars, and tells them.
    fn close(&mut self, shards: &Shards) {
        let mut out = Vec::new();
        self.pipeline.advance(self.due, &mut out);
        tell(&mut self.ledger, shards, &mut out);
    }
}

/// The link is up, and each pair has ticks until the end.
fn trade(pipeline: &mut Pipeline, from: Timestamp, out: &mut Vec<JournalEntry>) {
    let heard = |at, what, says| Inbound {
        heard: Input { at, what },
        says,
    };
    let up = InputKind::Link(LinkChange::Up { symbols: pairs() });
    pipeline.accept(heard(from, up, Decoded::Nothing), out);
    for second in 0..59 {
        let at = from + Duration::from_secs(1 + second);
        for symbol in pairs() {
            let tick = Tick {
                symbol,
                price: Price::from_micros(4_012_350_000 + i64::try_from(second).unwrap() * 10_000),
                bid: None,
                ask: None,
                at,
                provenance: Provenance::Live,
            };
            let frame = InputKind::Frame(bytes::Bytes::from_static(b"{\"event\":\"price\"}"));
            pipeline.accept(heard(at, frame, Decoded::Price(tick)), out);
        }
    }
}

/// Writes what was decided, and tells every shard.
fn tell(ledger: &mut Ledger, shards: &Shards, out: &mut Vec<JournalEntry>) {
    ledger.append(out).unwrap();
    let head = ledger.head();
    let told = out.drain(..).filter_map(|entry| match entry {
        JournalEntry::Event(event) => Some(Told::from(Item::Event(event))),
        JournalEntry::Partial { .. } | JournalEntry::Input(_) => None,
    });
    let recorded = Recorded {
        told: told.collect(),
        head,
    };
    for shard in shards.lock().unwrap().iter() {
        shard.try_send(recorded.clone()).expect("the mailbox holds it");
    }
}
