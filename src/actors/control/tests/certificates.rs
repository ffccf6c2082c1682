//! Tests of [`super`].

use super::*;
use crate::domain::model::{Always, Decoded, Event, Inbound, Input, InputKind, JournalEntry, LinkChange, Timestamp};
use crate::domain::pipeline::{PairRules, Pipeline};
use crate::domain::vendor::wire;
use crate::ledger::{Ledger, LedgerOptions};
use std::sync::Arc;

/// 2025-10-23 00:00 UTC, where one session of a day ends and the next begins.
const MIDNIGHT: i64 = 1_761_177_600;

/// A ledger that a pipeline writes, with what the certificates are issued from.
struct Bench {
    pipeline: Pipeline,
    ledger: Ledger,
    certificates: Certificates,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn begin() -> Self {
        let symbol = Symbol::usdcop();
        let markets = [PairRules::new(symbol, Arc::new(Always))];
        let at = Timestamp::from_secs(MIDNIGHT - 86_400);
        let folder = tempfile::tempdir().unwrap();
        let options = LedgerOptions::new(at.datetime().date_naive(), 7);
        let ledger = Ledger::open(folder.path(), options).unwrap();
        let mut bench = Self {
            pipeline: Pipeline::new(&markets, Position(0), [], at),
            certificates: Certificates::new(ledger.reader(), [symbol]),
            ledger,
            _folder: folder,
        };
        let symbols = vec![symbol];
        bench.hear(at, InputKind::Link(LinkChange::Up { symbols }));
        bench
    }

    fn hear(&mut self, at: Timestamp, what: InputKind) {
        let heard = Input { at, what };
        let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
        let mut entries: Vec<JournalEntry> = Vec::new();
        self.pipeline.accept(Inbound { heard, says }, &mut entries);
        if let Some(date) = entries.iter().find_map(JournalEntry::opens_session) {
            self.ledger.roll(date).unwrap();
        }
        self.ledger.append(&entries).unwrap();
    }

    /// A price each minute of a day that ends at midnight, and until its last bar is closed.
    fn day(&mut self) {
        for secs in (-86_400_i64..180).step_by(60) {
            let at = MIDNIGHT + secs;
            let price = 4_000 + at.rem_euclid(13);
            let frame = format!(r#"{{"event":"price","symbol":"USD/COP","timestamp":{at},"price":{price}}}"#);
            self.hear(Timestamp::from_secs(at + 1), InputKind::Frame(frame.into()));
        }
    }

    fn issue(&mut self, unchecked: &[Unchecked]) -> Vec<Certificate> {
        let issued = self.certificates.issue(self.pipeline.head(), unchecked).unwrap();
        let of = issued.into_iter().map(|what| match what {
            InputKind::Certificate(certificate) => *certificate,
            other => panic!("{other:?}"),
        });
        of.collect()
    }

    /// The certificates in the ledger.
    fn told(&self) -> Vec<Certificate> {
        let mut reader = self.ledger.reader();
        let quality = Channel::quality(Symbol::usdcop());
        let events = reader.read_channel(quality, 1, u64::MAX, 5_000).unwrap();
        let told = events.into_iter().filter_map(|numbered| match numbered.event {
            Event::Certificate(certificate) => Some(*certificate),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn a_certificate_is_issued_once_and_published_unchanged() {
    let mut bench = Bench::begin();
    bench.day();
    let unchecked: Vec<Unchecked> = vec![Unchecked {
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: Timestamp::from_secs(MIDNIGHT - 300),
        to: Timestamp::from_secs(MIDNIGHT),
        bars: 1,
        over: true,
    }];
    assert_eq!(bench.issue(&unchecked), [], "a bar of it is still to be compared");
    let issued = bench.issue(&[]);
    assert_eq!((issued.len(), issued[0].expected, issued[0].missing), (1, 288, 0));
    assert_eq!(issued[0].through, bench.pipeline.head());
    assert_eq!(bench.issue(&[]), [], "it is on its way");
    bench.hear(
        Timestamp::from_secs(MIDNIGHT + 200),
        InputKind::Certificate(Box::new(issued[0].clone())),
    );
    assert_eq!(bench.told(), issued);
    assert_eq!(bench.issue(&[]), [], "it is there");
    let mut after_a_restart = Certificates::new(bench.ledger.reader(), [Symbol::usdcop()]);
    assert_eq!(after_a_restart.issue(bench.pipeline.head(), &[]).unwrap(), []);
}

#[test]
fn nothing_is_issued_of_what_the_ledger_does_not_have_yet() {
    let mut bench = Bench::begin();
    bench.day();
    let ahead = bench.pipeline.head().next();
    assert_eq!(bench.certificates.issue(ahead, &[]).unwrap(), []);
    assert_eq!(bench.issue(&[]).len(), 1);
}
