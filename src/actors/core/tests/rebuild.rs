//! A rebuilt pipeline knows what the pipeline knew whose ledger it reads, also of sessions that go on when a file begins.

use crate::actors::core::{CommitQueue, rebuild::rebuild};
use crate::domain::model::{
    Always, Decoded, Gap, Inbound, Input, InputKind, Interval, JournalEntry, LinkChange, Listed, Position, Session,
    SessionKind, Symbol, Timestamp,
};
use crate::domain::pipeline::{PairRules, Pipeline, Unchecked};
use crate::domain::vendor::wire;
use crate::ledger::{Ledger, LedgerOptions};
use std::sync::Arc;

/// 2025-10-23 00:00 UTC.
const MIDNIGHT: i64 = 1_761_177_600;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(MIDNIGHT + secs)
}

fn euro() -> Symbol {
    "EUR/USD".parse().unwrap()
}

/// USD/COP trades from midnight to midnight, EUR/USD from 22:00 to 22:00: one of them always goes on when the other opens.
fn markets() -> Vec<PairRules> {
    let session = |day: i64| Session {
        date: at(day * 86_400).datetime().date_naive(),
        opens: at(day * 86_400 - 7_200),
        closes: at(day * 86_400 + 79_200),
        kind: SessionKind::Spot,
    };
    let daily = Listed {
        sessions: (-1..4).map(session).collect(),
        zone: chrono_tz::UTC,
    };
    let rules = |symbol, sessions| PairRules {
        intervals: vec![Interval::M5],
        ..PairRules::new(symbol, sessions)
    };
    vec![
        rules(Symbol::usdcop(), Arc::new(Always)),
        rules(euro(), Arc::new(daily)),
    ]
}

fn known(pipeline: &Pipeline) -> (Position, Vec<Gap>, Vec<Unchecked>) {
    (
        pipeline.head(),
        pipeline.pending_gaps().cloned().collect(),
        pipeline.unchecked_bars().collect(),
    )
}

/// Ticks of both pairs between two instants (seconds from midnight), with the link interrupted at others.
fn check_rebuild(from: i64, to: i64, interrupted: &[i64]) {
    let mut pipeline = Pipeline::new(&markets(), Position(0), [], at(from));
    let mut entries = Vec::new();
    let mut hear = |pipeline: &mut Pipeline, secs: i64, what: InputKind| {
        let heard = Input { at: at(secs), what };
        let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
        pipeline.accept(Inbound { heard, says }, &mut entries);
    };
    let up = InputKind::Link(LinkChange::Up {
        symbols: vec![Symbol::usdcop(), euro()],
    });
    hear(&mut pipeline, from, up.clone());
    for stamp in (from..to).step_by(50) {
        for (symbol, price) in [("USD/COP", "4000"), ("EUR/USD", "1.0842")] {
            let stamp = MIDNIGHT + stamp;
            let frame = format!(r#"{{"event":"price","symbol":"{symbol}","timestamp":{stamp},"price":{price}}}"#);
            hear(&mut pipeline, stamp - MIDNIGHT + 1, InputKind::Frame(frame.into()));
        }
        if interrupted.contains(&stamp) {
            let cause = "upstream_close_1006".to_owned();
            hear(&mut pipeline, stamp + 2, InputKind::Link(LinkChange::Down { cause }));
            hear(&mut pipeline, stamp + 9, up.clone());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), LedgerOptions::new(at(from).datetime().date_naive(), 7)).unwrap();
    let queue = CommitQueue::default();
    queue.push_all(&mut entries);
    while let Some(batch) = queue.take(500) {
        if let Some(date) = batch.iter().find_map(JournalEntry::opens_session) {
            ledger.roll(date).unwrap();
        }
        ledger.append(&batch).unwrap();
        queue.written();
    }
    assert!(ledger.reader().session_dates().len() > 1, "more than one file");
    let again = rebuild(&ledger.reader(), &markets(), at(to)).unwrap();
    assert_eq!(known(&again), known(&pipeline));
}

#[test]
fn a_session_that_runs_on_is_rebuilt_from_the_file_in_which_it_opened() {
    check_rebuild(-9_000, -6_000, &[-8_000, -6_500]);
}

#[test]
fn so_is_one_whose_file_began_in_the_middle_of_another() {
    check_rebuild(-9_000, 83_000, &[-8_000, -5_000, 3_000, 80_000]);
}
