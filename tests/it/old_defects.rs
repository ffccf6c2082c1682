//! What was wrong with the feed of the service that candela replaces, each defect as a day on which it shows: a service that
//! behaves as that one did fails here.

use crate::feed_day::{Play, live};
use crate::recorded::{batch, part};
use candela::actors::core::rebuild::rebuild;
use candela::domain::model::{
    AcceptedTick, Bar, Decoded, Event, Inbound, Input, InputKind, Interval, JournalEntry, LastClose, LinkChange,
    Listed, Position, RejectReason, Session, SessionKind, SessionPhase, Symbol, Timestamp,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::domain::vendor::wire;
use candela::ledger::{Ledger, LedgerOptions};
use candela::store::{Sqlite, Store};
use std::sync::Arc;
use std::time::Duration;

/// 2025-10-22 08:00 in Bogota.
const OPEN: i64 = 1_761_138_000;
/// The session: three bars.
const SPAN: i64 = 900;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(OPEN + secs)
}

fn markets() -> Vec<PairRules> {
    let session = Session {
        date: at(0).datetime().date_naive(),
        opens: at(0),
        closes: at(SPAN),
        kind: SessionKind::Spot,
    };
    let sessions = Listed {
        sessions: vec![session],
        zone: chrono_tz::America::Bogota,
    };
    vec![PairRules::new(Symbol::usdcop(), Arc::new(sessions))]
}

/// The pipeline and all that it told.
struct Day {
    pipeline: Pipeline,
    entries: Vec<JournalEntry>,
}

impl Day {
    /// Connected before the open.
    fn begun() -> Self {
        let mut day = Self {
            pipeline: Pipeline::new(&markets(), Position(0), [], at(-600)),
            entries: Vec::new(),
        };
        let close = LastClose::firm(Symbol::usdcop(), "4000".parse().unwrap(), at(-70_000));
        day.pipeline.restore_close(close);
        let symbols = vec![Symbol::usdcop()];
        day.hear(-60, InputKind::Link(LinkChange::Up { symbols }));
        day
    }

    fn hear(&mut self, now: i64, what: InputKind) {
        let heard = Input { at: at(now), what };
        let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
        self.pipeline.accept(Inbound { heard, says }, &mut self.entries);
    }

    /// A frame of the vendor, word for word.
    fn frame(&mut self, now: i64, text: &str) {
        self.hear(now, InputKind::Frame(text.to_owned().into()));
    }

    fn price(&mut self, now: i64, stamp: i64, price: &str) {
        let stamp = OPEN + stamp;
        self.frame(
            now,
            &format!(r#"{{"event":"price","symbol":"USD/COP","timestamp":{stamp},"price":{price}}}"#),
        );
    }

    /// Nothing more is heard: only the clock goes on.
    fn clock_alone(&mut self, until: i64) {
        while let Some(due) = self.pipeline.next_deadline().filter(|due| *due <= at(until)) {
            self.pipeline.advance(due, &mut self.entries);
        }
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().filter_map(|entry| match entry {
            JournalEntry::Event(numbered) => Some(&numbered.event),
            _ => None,
        })
    }

    fn bars(&self) -> Vec<Bar> {
        let bar = |event: &Event| match event {
            Event::Bar(bar) if bar.key.interval == Interval::M5 => Some(*bar),
            _ => None,
        };
        self.events().filter_map(bar).collect()
    }

    fn ticks(&self) -> Vec<AcceptedTick> {
        let tick = |event: &Event| match event {
            Event::Tick(tick) => Some(*tick),
            _ => None,
        };
        self.events().filter_map(tick).collect()
    }
}

/// It took a clean close for the end of its work and reconnected only after an error: the rest of the day was silent.
#[actix_rt::test]
async fn a_clean_close_in_mid_session_is_not_the_end_of_the_day() {
    let play = Play {
        script: "at +7m drop 1000".to_owned(),
        ..Play::walk(&[], 20)
    };
    let lived = live(&play).await;
    assert_eq!(lived.causes, ["upstream_close_1000"]);
    assert_eq!(lived.report.counters.opened_total, 2, "it came back, once");
    let after = lived
        .bars
        .values()
        .filter(|bar| bar.key.opens_at >= lived.opens + Duration::from_secs(600));
    assert_eq!(
        after.filter(|bar| bar.ticks > 0).count(),
        2,
        "live bars after the close"
    );
    assert!(lived.different().is_empty(), "{:?}", lived.different());
}

/// It waited for a frame without a limit, and so noticed the market's close with the next one, which might be tomorrow's.
#[test]
fn the_close_of_the_market_needs_no_frame_to_be_noticed() {
    let mut day = Day::begun();
    day.price(101, 100, "4000");
    day.clock_alone(SPAN + 5);
    let closed = day.entries.iter().find_map(|entry| match entry {
        JournalEntry::Event(numbered) => match &numbered.event {
            Event::Session(change) if change.phase == SessionPhase::Closed => Some(numbered.at),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(closed, Some(at(SPAN)), "to the second");
}

/// It flushed its bars with the first tick of the next one: a session's last bars waited for the next morning, in memory.
#[test]
fn the_last_bar_of_a_session_is_told_with_its_close_and_survives_a_restart_before_it() {
    let mut day = Day::begun();
    for (stamp, price) in [(10, "4000"), (310, "4001"), (610, "4002"), (890, "4003")] {
        day.price(stamp + 1, stamp, price);
    }
    let unfinished = day.entries.clone();
    day.clock_alone(SPAN + 5);
    let last = *day.bars().last().unwrap();
    assert_eq!((last.key.opens_at, last.ticks), (at(600), 2));
    // The process is killed before the last bar is closed, and started again: nothing of the bar is lost.
    let folder = tempfile::tempdir().unwrap();
    let options = || LedgerOptions::new(at(0).datetime().date_naive(), 7);
    let mut ledger = Ledger::open(folder.path(), options()).unwrap();
    ledger.append(&unfinished).unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path(), options()).unwrap();
    let mut again = Day {
        pipeline: rebuild(&ledger.reader(), &markets(), at(895)).unwrap(),
        entries: Vec::new(),
    };
    again.clock_alone(SPAN + 5);
    assert_eq!(again.bars(), [last]);
}

/// A flush that failed kept its buffer and added the volumes once more at the next try; and while the database was down the
/// buffer grew without limit.
#[actix_rt::test]
async fn a_write_that_failed_is_repeated_and_counts_nothing_twice() {
    let all = batch(&crate::recorded::Day::recorded());
    let sums = |path: &std::path::Path| {
        let db = rusqlite::Connection::open(path).unwrap();
        let sql = "SELECT (SELECT sum(ticks) || '/' || sum(volume) || '/' || count(*) FROM market_data)
                   || ' ' || (SELECT count(*) FROM realtime_market_data)";
        db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let (once, often) = (folder.path().join("once.db"), folder.path().join("often.db"));
    Store::Sqlite(Sqlite::open(&once).unwrap())
        .write(all.clone())
        .await
        .unwrap();
    let store = Store::Sqlite(Sqlite::open(&often).unwrap());
    store.migrate_schema().await.unwrap();
    let rename = |from: &str, to: &str| {
        let db = rusqlite::Connection::open(&often).unwrap();
        db.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    };
    let half = all.events.len() / 2;
    for (begin, end) in [(0, half), (half / 2, all.events.len())] {
        // The position is written last: everything before it was done, and is undone.
        rename("reader_positions", "away");
        assert!(store.write(part(&all, begin, end)).await.is_err());
        rename("away", "reader_positions");
        // Written, but the answer was lost: written again.
        store.write(part(&all, begin, end)).await.unwrap();
        store.write(part(&all, begin, end)).await.unwrap();
    }
    assert_eq!(sums(&often), sums(&once));
}

/// It broadcast whatever frame came as if it were data.
#[test]
fn only_prices_are_told_whatever_else_the_vendor_says() {
    let mut day = Day::begun();
    day.price(11, 10, "4000");
    let before = day
        .entries
        .iter()
        .filter(|entry| !matches!(entry, JournalEntry::Input(_)))
        .count();
    for frame in [
        r#"{"event":"heartbeat","status":"ok"}"#,
        r#"{"event":"subscribe-status","status":"ok","success":[{"symbol":"USD/COP"}],"fails":null}"#,
        r#"{"event":"message-processing","status":"error","messages":["too many"]}"#,
        r#"{"event":"error","code":500,"message":"oh"}"#,
        r#"{"event":"reset-status","status":"ok"}"#,
        r#"{"event":"price","symbol":"USD/COP","timestamp":1761138020}"#,
        r#"{"event":"news","symbol":"USD/COP","price":4001}"#,
        "[1,2,3]",
        "null",
        "{\"event\":\"pri",
    ] {
        day.frame(20, frame);
    }
    let after = day
        .entries
        .iter()
        .filter(|entry| !matches!(entry, JournalEntry::Input(_)))
        .count();
    assert_eq!(after, before, "{:?}", day.ticks());
}

/// It stamped a tick with the time of its receipt: late ones went into the wrong bar, and a bar's close was whatever came last.
#[test]
fn a_tick_has_the_vendors_time_and_belongs_to_the_bar_of_that_time_in_whatever_order_ticks_come() {
    let mut day = Day::begun();
    day.price(299, 290, "4000");
    day.price(300, 280, "4005");
    day.price(301, 299, "3999"); // received in the next bar, stamped in this one
    day.price(312, 310, "4010");
    day.clock_alone(303);
    day.clock_alone(SPAN + 5);
    let first = day.bars()[0];
    let prices = [first.ohlc.open, first.ohlc.high, first.ohlc.low, first.ohlc.close].map(|price| price.to_string());
    assert_eq!(prices, ["4005", "4005", "3999", "3999"]);
    let stamps: Vec<Timestamp> = day.ticks().iter().map(|tick| tick.tick.at).collect();
    assert_eq!(stamps, [at(290), at(280), at(299), at(310)]);
}

/// It neither knew a repeat from a price nor looked at whether a price could be one.
#[test]
fn repeats_and_impossible_prices_are_set_aside_and_counted() {
    let mut day = Day::begun();
    day.price(11, 10, "4000");
    day.price(12, 10, "4000");
    for price in ["0", "-4000", "40000", "4", "\"NaN\""] {
        day.price(13, 12, price);
    }
    day.price(15, 14, "4001");
    let told: Vec<String> = day.ticks().iter().map(|tick| tick.tick.price.to_string()).collect();
    assert_eq!(told, ["4000", "4001"]);
    let aside = &day.pipeline.counts().ticks_set_aside;
    for (reason, count) in [
        (RejectReason::ExactRepeat, 1),
        (RejectReason::NonPositive, 2),
        (RejectReason::AbsurdJump, 2),
    ] {
        assert_eq!(aside.get(&reason), Some(&count), "{reason:?}: {aside:?}");
    }
}
