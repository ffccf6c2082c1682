//! A recorded half-hour: ticks, an outage, bars that are revised and backfilled, gaps, a session that opens and closes.

use candela::domain::model::{
    Decoded, Fetched, Inbound, Input, InputKind, Interval, JournalEntry, LastClose, LinkChange, Listed, Ohlc, Position,
    Price, Provenance, Session, SessionKind, Sessions, Symbol, Tick, Timestamp, VendorBar,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::ledger::{Ledger, LedgerOptions};
use candela::store::Batch;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// 2025-10-22 08:00 in Bogota.
pub(crate) const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);
/// Six bars of five minutes.
pub(crate) const SPAN: Duration = Duration::from_secs(1_800);

pub(crate) fn after_open(secs: u64) -> Timestamp {
    OPEN + Duration::from_secs(secs)
}

/// A pipeline that is fed ticks.
pub(crate) struct Day {
    pipeline: Pipeline,
    pub(crate) entries: Vec<JournalEntry>,
}

impl Day {
    pub(crate) fn new() -> Self {
        let session = Session {
            date: OPEN.datetime().date_naive(),
            opens: OPEN,
            closes: OPEN + SPAN,
            kind: SessionKind::Spot,
        };
        let sessions: Arc<dyn Sessions> = Arc::new(Listed {
            sessions: vec![session],
            zone: chrono_tz::America::Bogota,
        });
        let markets: Vec<PairRules> = symbols()
            .into_iter()
            .map(|symbol| PairRules {
                intervals: vec![Interval::M5, Interval::M15, Interval::Session],
                ..PairRules::new(symbol, Arc::clone(&sessions))
            })
            .collect();
        let mut day = Self {
            pipeline: Pipeline::new(&markets, Position(0), [], OPEN - Duration::from_secs(600)),
            entries: Vec::new(),
        };
        for symbol in symbols() {
            let price = Price::from_micros(4_012_000_000);
            let close = LastClose::firm(symbol, price, OPEN - Duration::from_hours(19));
            day.pipeline.restore_close(close);
        }
        let symbols = symbols().to_vec();
        day.hear(
            OPEN - Duration::from_secs(60),
            InputKind::Link(LinkChange::Up { symbols }),
            Decoded::Nothing,
        );
        day
    }

    fn hear(&mut self, at: Timestamp, what: InputKind, says: Decoded) {
        let heard = Input { at, what };
        self.pipeline.accept(Inbound { heard, says }, &mut self.entries);
    }

    /// A tick of each pair that arrives at `at` with the stamp `stamp`.
    pub(crate) fn tick(&mut self, at: Timestamp, stamp: Timestamp, micros: i64) {
        for (symbol, i) in symbols().into_iter().zip(0..) {
            let tick = Tick {
                symbol,
                price: Price::from_micros(micros + i),
                bid: (micros % 3 != 0).then(|| Price::from_micros(micros - 100_000)),
                ask: (micros % 2 == 0).then(|| Price::from_micros(micros + 100_001)),
                at: stamp,
                provenance: Provenance::Live,
            };
            let frame = InputKind::Frame(format!("{{\"price\":{micros}}}").into());
            self.hear(
                at + Duration::from_micros(i.unsigned_abs()),
                frame,
                Decoded::Price(tick),
            );
        }
    }

    /// The whole half-hour.
    pub(crate) fn recorded() -> Vec<JournalEntry> {
        let mut day = Self::new();
        for second in (0..1_800).step_by(5).filter(|second| !(400..1_000).contains(second)) {
            if second == 1_000 {
                let cause = "upstream_close_1006".to_owned();
                day.hear(
                    after_open(410),
                    InputKind::Link(LinkChange::Down { cause }),
                    Decoded::Nothing,
                );
                let symbols = symbols().to_vec();
                day.hear(
                    after_open(999),
                    InputKind::Link(LinkChange::Up { symbols }),
                    Decoded::Nothing,
                );
            }
            let late = if second % 300 == 5 { 10 } else { 0 };
            let stamp = OPEN + Duration::from_secs(second) - Duration::from_secs(late);
            let micros = 4_012_000_000 + i64::try_from(second).unwrap() * 1_117;
            day.tick(after_open(second) + Duration::from_millis(170), stamp, micros);
        }
        day.pipeline.advance(after_open(1_900), &mut day.entries);
        let (symbol, price) = (Symbol::usdcop(), |micros| Price::from_micros(micros));
        let bars = [300, 600, 900].map(|second| VendorBar {
            opens_at: after_open(second),
            ohlc: Ohlc {
                open: price(4_012_400_000),
                high: price(4_013_000_000),
                low: price(4_012_000_000),
                close: price(4_012_700_001),
            },
        });
        let (from, to) = (after_open(300), after_open(1_200));
        let fetched = Fetched {
            symbol,
            interval: Interval::M5,
            from,
            to,
            bars: bars.to_vec(),
            unusable: Vec::new(),
        };
        day.hear(
            after_open(2_000),
            InputKind::Answer("/time_series\n{}".into()),
            Decoded::Bars(fetched),
        );
        day.entries
    }
}

pub(crate) fn symbols() -> [Symbol; 2] {
    [Symbol::usdcop(), "USD/MXN".parse().unwrap()]
}

pub(crate) fn ledger(folder: &Path) -> Ledger {
    Ledger::open(folder, LedgerOptions::new(OPEN.datetime().date_naive(), 77)).unwrap()
}

/// All events of `entries` in one batch, as the Writer would read them.
pub(crate) fn batch(entries: &[JournalEntry]) -> Batch {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(folder.path());
    ledger.append(entries).unwrap();
    let mut reader = ledger.reader();
    Batch {
        reader: "writer",
        lineage: reader.lineage(),
        events: reader.read(Position(1), 5_000).unwrap(),
        heads: Arc::new(reader.heads()),
    }
}

/// The events `from..to` of a batch.
pub(crate) fn part(batch: &Batch, from: usize, to: usize) -> Batch {
    Batch {
        events: batch.events[from..to].to_vec(),
        ..batch.clone()
    }
}
