//! How fast the ledger is: judge + bars + ledger in batches, and one tick at a time. Prints one line each.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints what it measured and may panic"
)]

use candela::domain::model::{
    Always, Decoded, Inbound, Input, InputKind, Interval, JournalEntry, LinkChange, Position, Sessions, Symbol,
    Timestamp,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::domain::vendor::wire;
use candela::ledger::{Ledger, LedgerOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TICKS: i64 = 400_000;
const OPEN: i64 = 1_761_138_000;

fn main() {
    let arrivals: Vec<Inbound> = arrivals();
    for batch in [500, 100, 20] {
        let (wall, cpu, head) = run(&arrivals, batch);
        println!(
            "judge + bars + ledger, {batch} ticks a transaction: {:.0} ticks/s, {:.0} a CPU-second ({head} events)",
            f64::from(400_000) / wall,
            f64::from(400_000) / cpu
        );
    }
    single(&arrivals);
}

fn arrivals() -> Vec<Inbound> {
    let up = InputKind::Link(LinkChange::Up {
        symbols: vec![Symbol::usdcop()],
    });
    let start = Timestamp::from_secs(OPEN);
    let mut all = vec![Inbound {
        heard: Input { at: start, what: up },
        says: Decoded::Nothing,
    }];
    all.extend((0..TICKS).map(|i| {
        let at = start + Duration::from_millis(5) * u32::try_from(i).unwrap();
        let frame = format!(
            r#"{{"event":"price","symbol":"USD/COP","currency_base":"US Dollar","currency_quote":"Colombian Peso","exchange":"PHYSICAL CURRENCY","type":"Physical Currency","timestamp":{},"price":4012.{:04},"bid":4011.5,"ask":4013.5}}"#,
            at.secs(),
            i % 9973
        );
        let heard = Input { at, what: InputKind::Frame(frame.into()) };
        let says = wire::says(&heard).unwrap();
        Inbound { heard, says }
    }));
    all
}

fn pipeline() -> Pipeline {
    let market = PairRules {
        symbol: Symbol::usdcop(),
        sessions: Arc::new(Always),
        intervals: vec![Interval::M5, Interval::H1],
        ..PairRules::new(Symbol::usdcop(), Arc::new(Always))
    };
    Pipeline::new(&[market], Position(0), [], Timestamp::from_secs(OPEN))
}

fn ledger(folder: &std::path::Path) -> Ledger {
    let date = Always.at(Timestamp::from_secs(OPEN)).unwrap().date;
    Ledger::open(folder, LedgerOptions::new(date, 1)).unwrap()
}

/// What this thread has used of its core: on a shared machine the wall clock says more about the neighbours.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let used: f64 = text.split_whitespace().next().unwrap().parse().unwrap();
    used / 1e9
}

fn run(arrivals: &[Inbound], batch: usize) -> (f64, f64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut pipeline, mut ledger) = (pipeline(), ledger(folder.path()));
    let mut entries: Vec<JournalEntry> = Vec::new();
    let (begun, used) = (Instant::now(), cpu_seconds());
    for chunk in arrivals.chunks(batch) {
        for arrival in chunk {
            pipeline.accept(arrival.clone(), &mut entries);
        }
        ledger.append(&entries).unwrap();
        entries.clear();
    }
    (begun.elapsed().as_secs_f64(), cpu_seconds() - used, ledger.head().0)
}

fn single(arrivals: &[Inbound]) {
    let folder = tempfile::tempdir().unwrap();
    let (mut pipeline, mut ledger) = (pipeline(), ledger(folder.path()));
    let mut entries: Vec<JournalEntry> = Vec::new();
    let mut times = Vec::new();
    for arrival in arrivals.iter().take(20_000) {
        pipeline.accept(arrival.clone(), &mut entries);
        let begun = Instant::now();
        ledger.append(&entries).unwrap();
        times.push(begun.elapsed());
        entries.clear();
    }
    times.sort_unstable();
    let part = |share: usize| times.get(times.len() * share / 1_000).copied().unwrap_or_default();
    println!(
        "one tick a transaction: p50 {:?}, p99 {:?}, p99.9 {:?}",
        part(500),
        part(990),
        part(999)
    );
}
