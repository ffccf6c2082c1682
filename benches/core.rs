//! Ticks a second through the heart: judge and bars alone, and with the ledger behind them.

use bytes::Bytes;
use candela::clock::Clock;
use candela::domain::model::{
    Always, Decoded, Inbound, Input, InputKind, Interval, JournalEntry, LinkChange, Position, Price, Provenance,
    Symbol, Tick, Timestamp,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::domain::vendor::wire;
use candela::ledger::{Ledger, LedgerOptions};
use candela::limits;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::sync::Arc;
use std::time::Duration;

const NOON: Timestamp = Timestamp::from_secs(1_761_152_400);
const TICKS: i64 = 100_000;

fn main() {
    divan::main();
}

fn markets() -> Vec<PairRules> {
    let symbols = ["USD/COP", "USD/MXN", "EUR/USD"]
        .into_iter()
        .filter_map(|name| name.parse::<Symbol>().ok());
    symbols
        .map(|symbol| PairRules {
            intervals: vec![Interval::M5],
            ..PairRules::new(symbol, Arc::new(Always))
        })
        .collect()
}

/// A busy day: three pairs in turn, a walk, twenty ticks a second.
fn arrivals() -> Vec<Inbound> {
    let mut random = fastrand::Rng::with_seed(7);
    let symbols: Vec<Symbol> = markets().iter().map(|market| market.symbol).collect();
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
    (0..TICKS)
        .zip(symbols.iter().cycle())
        .map(|(i, symbol)| {
            price += random.i64(-50_000..=50_000);
            tick(i, symbol, price)
        })
        .collect()
}

/// A pipeline whose link is up, and what it said when it began.
fn begun() -> (Pipeline, Vec<JournalEntry>) {
    let (mut pipeline, mut said) = (Pipeline::new(&markets(), Position(0), [], NOON), Vec::new());
    let symbols = markets().iter().map(|market| market.symbol).collect();
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
        .with_inputs(|| (begun().0, arrivals()))
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
        .with_inputs(|| (begun().0, arrivals()))
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
            let ((pipeline, mut said), mut ledger) = (begun(), ledger);
            append(ledger.as_mut(), &mut said);
            (pipeline, arrivals(), ledger, folder)
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
    let (mut pipeline, mut said) = begun();
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
