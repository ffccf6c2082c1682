//! Ticks a second through the heart: judge and bars in memory beside a bare loop, and with decoding and the ledger.
//!
//! ```text
//! core             everything; the comparison is drawn in `target/bench/core.svg`
//! core --short     the same with fewer rounds
//! core NAME        the benches of that name
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a measuring program: what fails here should fail loudly"
)]

#[path = "shared/plot.rs"]
mod plot;
#[path = "shared/report.rs"]
mod report;

use bytes::Bytes;
use candela::clock::Clock;
use candela::domain::model::{
    AcceptedTick, Always, Decoded, Inbound, Input, InputKind, Interval, JournalEntry, LinkChange, Position, Price,
    Provenance, Symbol, Tick, Timestamp,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::domain::vendor::wire;
use candela::ledger::{Ledger, LedgerOptions};
use candela::limits;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use report::{Section, less, more};
use std::sync::Arc;
use std::time::Duration;

/// The service's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOON: Timestamp = Timestamp::from_secs(1_761_152_400);
const TICKS: i64 = 100_000;

/// Ticks of one round of the comparison, and how many of them are there at once: what arrives is in the processor's cache.
const COMPARED: i64 = 400_000;
const AT_ONCE: usize = 20_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let short = words == ["--short"];
    if !short && !words.is_empty() {
        return divan::main();
    }
    let section = beside_a_bare_loop(if short { 3 } else { 7 });
    section.print();
    println!("\nplot: {}\n", plot::write("core", &[section]).display());
    let benches = divan::Divan::default();
    let benches = if short { benches.sample_count(5) } else { benches };
    benches.run_benches();
}

/// Judge, number and bars by the processor time of this thread, one price at a time and in runs. The bare loop only keeps open, high, low
/// and close of each pair and slot.
fn beside_a_bare_loop(rounds: usize) -> Section {
    let columns = [more("M ticks a CPU-second"), less("ns a tick")];
    let mut section = Section::new("Judge and bars in memory, one thread", &columns);
    let who = ["bare loop", "candela each", "candela runs"];
    let five = vec![Interval::M5];
    let mut all = five.clone();
    all.extend(Interval::ALL.iter().filter(|interval| **interval != Interval::M5));
    for (load, pairs, intervals) in [("3 pairs, 5m", 3, five), ("20 pairs, 7 intervals", 20, all)] {
        let markets = markets(pairs, &intervals);
        let arrivals = arrivals(&markets, COMPARED);
        section.compare(load, rounds, &who, |which| {
            let ns = match which {
                "bare loop" => bare_loop(&markets, &arrivals),
                "candela each" => one_by_one(&markets, &arrivals),
                _ => in_runs(&markets, &arrivals),
            } / COMPARED as f64;
            vec![1_000.0 / ns, ns]
        });
    }
    section.note(
        "each: as they arrive, with an entry for every input and tick; runs: bars alone, as `candela bars` makes them",
    );
    section
}

/// Processor time of this thread so far, nanoseconds.
fn cpu_ns() -> f64 {
    std::thread::yield_now(); // the kernel brings the number up to date
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// The processor time of `work` with each stretch of the arrivals, which `ready` makes of them before.
fn timed<T>(arrivals: &[Inbound], ready: impl Fn(&[Inbound]) -> T, mut work: impl FnMut(T)) -> f64 {
    let mut ns = 0.0;
    for stretch in arrivals.chunks(AT_ONCE) {
        let stretch = ready(stretch);
        let before = cpu_ns();
        work(stretch);
        ns += cpu_ns() - before;
    }
    ns
}

fn one_by_one(markets: &[PairRules], arrivals: &[Inbound]) -> f64 {
    let (mut pipeline, mut out) = (begun(markets).0, Vec::with_capacity(64));
    timed(arrivals, <[Inbound]>::to_vec, |stretch| {
        for arrival in stretch {
            pipeline.accept(arrival, &mut out);
            black_box(&out);
            out.clear();
        }
    })
}

fn in_runs(markets: &[PairRules], arrivals: &[Inbound]) -> f64 {
    let (mut pipeline, mut out) = (begun(markets).0, Vec::with_capacity(64));
    timed(arrivals, prices, |stretch| {
        for run in stretch.chunks(limits::TICK_FILE_RUN) {
            pipeline.accept_prices(run, &mut out);
            black_box(&out);
            out.clear();
        }
    })
}

fn bare_loop(markets: &[PairRules], arrivals: &[Inbound]) -> f64 {
    let place = |tick: &Tick| markets.iter().position(|market| market.symbol == tick.symbol).unwrap();
    let plain = |price: AcceptedTick| (place(&price.tick), price.tick.at.secs(), price.tick.price.micros());
    let mut bars = vec![[i64::MIN, 0, 0, 0, 0]; markets.len()];
    let ready = |stretch: &[Inbound]| prices(stretch).into_iter().map(plain).collect::<Vec<_>>();
    timed(arrivals, ready, |ticks| {
        for (pair, at, price) in ticks {
            let [slot, open, high, low, close] = &mut bars[pair];
            if *slot != at / 300 {
                black_box((*open, *high, *low, *close));
                (*slot, *open, *high, *low) = (at / 300, price, price, price);
            }
            (*high, *low, *close) = ((*high).max(price), (*low).min(price), price);
        }
        black_box(&bars);
    })
}

fn prices(arrivals: &[Inbound]) -> Vec<AcceptedTick> {
    let price = |arrival: &Inbound| match &arrival.says {
        Decoded::Price(tick) => Some(AcceptedTick {
            tick: *tick,
            received_at: arrival.heard.at,
        }),
        _ => None,
    };
    arrivals.iter().filter_map(price).collect()
}

fn markets(pairs: usize, intervals: &[Interval]) -> Vec<PairRules> {
    let names = ["USD/COP", "USD/MXN", "EUR/USD"].map(str::to_owned).into_iter();
    let symbols = names
        .chain((3..).map(|i| format!("P{i:02}/USD")))
        .map(|name| name.parse().unwrap());
    let rules = |symbol: Symbol| PairRules {
        intervals: intervals.to_vec(),
        ..PairRules::new(symbol, Arc::new(Always))
    };
    symbols.take(pairs).map(rules).collect()
}

fn three() -> Vec<PairRules> {
    markets(3, &[Interval::M5])
}

/// A busy day: the pairs in turn, a walk, twenty ticks a second.
fn arrivals(markets: &[PairRules], ticks: i64) -> Vec<Inbound> {
    let mut random = fastrand::Rng::with_seed(7);
    let symbols: Vec<Symbol> = markets.iter().map(|market| market.symbol).collect();
    let mut price = 4_000_000_000;
    let tick = |i: i64, symbol: &Symbol, price: i64| {
        let at = NOON + Duration::from_millis(50 * u64::try_from(i).unwrap_or(0));
        let shown = Price::from_micros(price);
        let frame = format!(
            r#"{{"event":"price","symbol":"{symbol}","currency_base":"US Dollar","currency_quote":"Colombian Peso","type":"Physical Currency","timestamp":{},"price":{shown}}}"#,
            at.secs()
        );
        let tick = Tick {
            symbol: *symbol,
            price: shown,
            bid: None,
            ask: None,
            at: Timestamp::from_secs(at.secs()),
            provenance: Provenance::Live,
        };
        let heard = Input {
            at: at + Duration::from_millis(120),
            what: InputKind::Frame(Bytes::from(frame)),
        };
        Inbound {
            heard,
            says: Decoded::Price(tick),
        }
    };
    (0..ticks)
        .zip(symbols.iter().cycle())
        .map(|(i, symbol)| {
            price += random.i64(-50_000..=50_000);
            tick(i, symbol, price)
        })
        .collect()
}

/// A pipeline whose link is up, and what it said when it began.
fn begun(markets: &[PairRules]) -> (Pipeline, Vec<JournalEntry>) {
    let (mut pipeline, mut said) = (Pipeline::new(markets, Position(0), [], NOON), Vec::new());
    let symbols = markets.iter().map(|market| market.symbol).collect();
    let heard = Input {
        at: NOON,
        what: InputKind::Link(LinkChange::Up { symbols }),
    };
    pipeline.accept(
        Inbound {
            heard,
            says: Decoded::Nothing,
        },
        &mut said,
    );
    (pipeline, said)
}

/// Judge, number, build bars: what one thread does in memory.
#[divan::bench]
fn judge_and_bars(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(u64::try_from(TICKS).unwrap_or(0)))
        .with_inputs(|| (begun(&three()).0, arrivals(&three(), TICKS)))
        .bench_local_values(|(mut pipeline, arrivals)| {
            let mut out = Vec::with_capacity(64);
            for arrival in arrivals {
                pipeline.accept(arrival, &mut out);
                black_box(&out);
                out.clear();
            }
            pipeline
        });
}

/// From the vendor's bytes: decode, judge, number, build bars.
#[divan::bench]
fn decode_judge_and_bars(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(u64::try_from(TICKS).unwrap_or(0)))
        .with_inputs(|| (begun(&three()).0, arrivals(&three(), TICKS)))
        .bench_local_values(|(mut pipeline, arrivals)| {
            let mut out = Vec::with_capacity(64);
            for mut arrival in arrivals {
                arrival.says = wire::says(&arrival.heard).unwrap_or(Decoded::Nothing);
                pipeline.accept(arrival, &mut out);
                black_box(&out);
                out.clear();
            }
            pipeline
        });
}

/// Judge, number, build bars, and write everything down, frames as heard included, in the Recorder's batches.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn judge_bars_and_ledger(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(u64::try_from(TICKS).unwrap_or(0)))
        .with_inputs(|| {
            let folder = tempfile::tempdir().ok();
            let date = NOON.datetime().date_naive();
            let ledger = folder
                .as_ref()
                .and_then(|folder| Ledger::open(folder.path(), LedgerOptions::new(date, 7)).ok());
            let ((pipeline, mut said), mut ledger) = (begun(&three()), ledger);
            append(ledger.as_mut(), &mut said);
            (pipeline, arrivals(&three(), TICKS), ledger, folder)
        })
        .bench_local_values(|(mut pipeline, arrivals, mut ledger, folder)| {
            let mut out: Vec<JournalEntry> = Vec::with_capacity(limits::APPEND_ENTRIES * 2);
            for arrival in arrivals {
                pipeline.accept(arrival, &mut out);
                if out.len() >= limits::APPEND_ENTRIES {
                    append(ledger.as_mut(), &mut out);
                }
            }
            append(ledger.as_mut(), &mut out);
            assert_eq!(
                ledger.as_ref().map(Ledger::head),
                Some(pipeline.head()),
                "everything is written"
            );
            (ledger, folder)
        });
}

fn append(ledger: Option<&mut Ledger>, out: &mut Vec<JournalEntry>) {
    if let Some(Err(error)) = ledger.map(|ledger| ledger.append(out)) {
        panic!("append: {error}");
    }
    out.clear();
}

/// One tick at a time, as a quiet market sends them.
#[divan::bench]
fn append_one_tick(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().ok();
    let date = NOON.datetime().date_naive();
    let mut ledger = folder
        .as_ref()
        .and_then(|folder| Ledger::open(folder.path(), LedgerOptions::new(date, 7)).ok());
    let (mut pipeline, mut said) = begun(&three());
    append(ledger.as_mut(), &mut said);
    let clock = Clock::manual(NOON);
    let mut price = 4_000_000_000;
    bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
        clock.advance(Duration::from_millis(1));
        price += 10;
        let at = clock.now();
        let symbol = Symbol::usdcop();
        let tick = Tick {
            symbol,
            price: Price::from_micros(price),
            bid: None,
            ask: None,
            at,
            provenance: Provenance::Live,
        };
        let heard = Input {
            at,
            what: InputKind::Frame(Bytes::from_static(b"{\"event\":\"price\"}")),
        };
        let mut out = Vec::new();
        pipeline.accept(
            Inbound {
                heard,
                says: Decoded::Price(tick),
            },
            &mut out,
        );
        append(ledger.as_mut(), &mut out);
    });
}
