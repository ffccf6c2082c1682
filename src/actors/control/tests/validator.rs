//! Tests of [`super`].

use super::*;
use crate::actors::testing::{self, listen};
use crate::actors::views::PipelineView;
use crate::clock::Clock;
use crate::domain::calendar::CalendarSpec;
use crate::domain::followers::ReaderView;
use crate::domain::history::Spelling;
use crate::domain::model::{Position, Timestamp};
use crate::store::{Sqlite, Store};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;

const NOON: Timestamp = Timestamp::from_secs(1_768_478_400); // Thursday 15 January 2026, 12:00 UTC

/// The inputs of the pipeline, one by one.
struct Facts {
    arrived: mpsc::UnboundedReceiver<Arrived>,
    waiting: VecDeque<InputKind>,
}

impl Facts {
    fn try_recv(&mut self) -> Result<InputKind, mpsc::error::TryRecvError> {
        while self.waiting.is_empty() {
            let Arrived(arrivals) = self.arrived.try_recv()?;
            self.waiting
                .extend(arrivals.into_iter().map(|arrival| arrival.heard.what));
        }
        Ok(self.waiting.pop_front().unwrap())
    }

    async fn recv(&mut self) -> Option<InputKind> {
        while self.waiting.is_empty() {
            let Arrived(arrivals) = self.arrived.recv().await?;
            self.waiting
                .extend(arrivals.into_iter().map(|arrival| arrival.heard.what));
        }
        self.waiting.pop_front()
    }
}

/// A validator and everything that it sends to.
struct Bench {
    validator: Addr<Validator>,
    reports: mpsc::UnboundedReceiver<Report>,
    heard: Facts,
    pipeline: watch::Sender<PipelineView>,
    written: watch::Sender<ReaderView>,
    folder: tempfile::TempDir,
}

/// A validator over a store whose table holds a bar every five minutes of the last days.
fn start(table: &str) -> Bench {
    start_with(table, &[Symbol::usdcop()])
}

fn start_with(table: &str, pairs: &[Symbol]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::Sqlite(Sqlite::open(&path).unwrap());
    let mut db = rusqlite::Connection::open(&path).unwrap();
    let rows = db.transaction().unwrap();
    let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) VALUES ('USDCOP', ?1, 2, 3, 1, 2, 'l0')";
    for back in 1..=8 * 288 {
        rows.execute(insert, [NOON.micros() - back * 300_000_000]).unwrap();
    }
    rows.commit().unwrap();
    let spec = CalendarSpec {
        calendar: "always".to_owned(),
        ..CalendarSpec::default()
    };
    let ((root, reports), (arrived, said)) = (listen(), listen());
    let services = testing::services_over(folder.path(), Clock::manual(NOON), store, root);
    let (pipeline, written) = (services.views.pipeline.clone(), services.views.store.clone());
    let certificates = Certificates::new(services.ledger.clone(), pairs.iter().copied());
    let deps = Deps {
        services,
        table: L0Table::new(table, "datetime", Spelling::Compact).unwrap(),
        pairs: pairs
            .iter()
            .map(|pair| (*pair, watch::channel(Calendar::new(&spec, Arc::default()).unwrap()).1))
            .collect(),
        marked: Arc::default(),
        certificates: Arc::new(Mutex::new(certificates)),
        arrived,
    };
    Bench {
        validator: Validator::new(deps).start(),
        reports,
        heard: Facts {
            arrived: said,
            waiting: VecDeque::new(),
        },
        pipeline,
        written,
        folder,
    }
}

async fn verdicts(reports: &mut mpsc::UnboundedReceiver<Report>) -> Arc<Verdicts> {
    let report = tokio::time::timeout(Duration::from_secs(10), reports.recv()).await;
    match report.expect("verdicts in ten seconds") {
        Some(Report::Judged(verdicts)) => verdicts,
        other => panic!("{other:?}"),
    }
}

async fn verdict(reports: &mut mpsc::UnboundedReceiver<Report>) -> Verdict {
    verdicts(reports).await[&Symbol::usdcop()].clone()
}

#[actix_rt::test]
async fn a_verdict_is_told_and_kept() {
    let Bench {
        validator,
        mut reports,
        folder,
        ..
    } = start("market_data");
    validator.send(Validate { flag: None }).await.unwrap();
    let verdict = verdict(&mut reports).await;
    assert!(verdict.passed(), "{verdict:?}");
    assert_eq!(
        (verdict.expected, verdict.present, verdict.rows),
        (7 * 288, 7 * 288, 8 * 288)
    );
    let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    let kept = async {
        loop {
            let row = db.query_row("SELECT status, details FROM system_health", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            });
            match row {
                Ok(row) => return row,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let (status, details) = tokio::time::timeout(Duration::from_secs(10), kept).await.unwrap();
    assert_eq!(status, "l0_passed");
    assert!(details.contains("\"present\":2016"), "{details}");
}

/// Stores the third bar of a session that opens at noon, as one of ours.
fn a_live_bar(folder: &std::path::Path) -> (Session, Symbol, rusqlite::Connection) {
    let db = rusqlite::Connection::open(folder.join("store.db")).unwrap();
    let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source, provenance) \
                  VALUES ('USDCOP', ?1, 2, 3, 1, 2, 'candela', 'live')";
    db.execute(insert, [NOON.micros() + 600_000_000]).unwrap();
    let session = Session {
        date: NOON.datetime().date_naive(),
        opens: NOON,
        closes: NOON + Duration::from_secs(3_600),
        kind: crate::domain::model::SessionKind::Spot,
    };
    (session, Symbol::usdcop(), db)
}

#[actix_rt::test]
async fn the_seam_is_found_when_the_first_live_bar_is_there() {
    let Bench {
        validator,
        mut heard,
        written,
        folder,
        ..
    } = start("market_data");
    let (session, symbol, db) = a_live_bar(folder.path());
    validator.send(MarkSeam { symbol, session }).await.unwrap();
    let kept = async {
        loop {
            let row = db.query_row("SELECT details FROM system_health WHERE status = 'seam'", [], |row| {
                row.get(0)
            });
            match row {
                Ok(row) => return row,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let details: String = tokio::time::timeout(Duration::from_secs(10), kept).await.unwrap();
    assert!(
        details.contains("\"last_history_bar\":\"2026-01-15T11:55:00Z\""),
        "{details}"
    );
    assert!(details.contains("\"missing\":2"), "{details}");
    let lacking = next(&mut heard).await;
    let InputKind::MissingBars(lacking) = lacking else {
        panic!("{lacking:?}")
    };
    assert_eq!(
        (lacking.cause.as_str(), lacking.stretches.as_slice()),
        ("seam", [(NOON, NOON + Duration::from_secs(600))].as_slice())
    );
    let told = next(&mut heard).await;
    assert!(
        matches!(&told, InputKind::Seam(found) if found.seam.missing == 2),
        "{told:?}"
    );
    drop(written);
}

async fn next(heard: &mut Facts) -> InputKind {
    let heard = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await;
    heard.expect("something heard in ten seconds").unwrap()
}

fn gap(from: Timestamp, to: Timestamp) -> crate::domain::model::Gap {
    crate::domain::model::Gap {
        id: 1,
        symbol: Symbol::usdcop(),
        interval: crate::domain::model::Interval::M5,
        from,
        to,
        bars: 2,
        status: crate::domain::model::GapStatus::Open,
        cause: "history".to_owned(),
    }
}

#[actix_rt::test]
async fn only_what_nobody_has_is_asked_for_and_waited_for() {
    let mut bench = start("market_data");
    let at = |slot: i32| NOON - Duration::from_secs(300 * 288 * 9) + Duration::from_secs(300) * slot.unsigned_abs();
    let db = rusqlite::Connection::open(bench.folder.path().join("store.db")).unwrap();
    let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source, provenance) \
                  VALUES ('USDCOP', ?1, 2, 3, 1, 2, 'candela', 'live')";
    db.execute(insert, [at(1).micros()]).unwrap(); // made by us, before the history begins
    bench.pipeline.send_modify(|view| view.gaps = vec![gap(at(2), at(4))]);
    bench
        .validator
        .send(FillHistory(vec![(Symbol::usdcop(), vec![(at(0), at(4))])]))
        .await
        .unwrap();
    let InputKind::MissingBars(lacking) = next(&mut bench.heard).await else {
        panic!("nothing is lacking")
    };
    assert_eq!(lacking.stretches, [(at(2), at(4)), (at(0), at(1))]);
    assert!(
        bench.reports.try_recv().is_err(),
        "it says so before the gap is settled"
    );
    bench.pipeline.send_modify(|view| view.gaps.clear());
    let fetched = tokio::time::timeout(Duration::from_secs(10), bench.reports.recv()).await;
    assert_eq!(fetched.unwrap(), Some(Report::HistoryFetched(Symbol::usdcop())));
    bench
        .validator
        .send(FillHistory(vec![(
            Symbol::usdcop(),
            vec![(NOON - Duration::from_secs(900), NOON)],
        )]))
        .await
        .unwrap();
    let fetched = tokio::time::timeout(Duration::from_secs(10), bench.reports.recv()).await;
    assert_eq!(fetched.unwrap(), Some(Report::HistoryFetched(Symbol::usdcop())));
    assert!(bench.heard.try_recv().is_err(), "the history has those bars");
}

#[actix_rt::test]
async fn while_the_store_is_behind_no_seam_is_told() {
    let mut bench = start("market_data");
    bench.written.send_modify(|view| view.head = Position(7));
    let (session, symbol, _) = a_live_bar(bench.folder.path());
    bench.validator.send(MarkSeam { symbol, session }).await.unwrap();
    bench.validator.send(Validate { flag: None }).await.unwrap();
    verdict(&mut bench.reports).await; // asked for after the look, and answered
    let told = bench
        .heard
        .try_recv()
        .expect("the last close is told before the verdict");
    assert!(
        matches!(told, InputKind::LastClose(close) if close.symbol == symbol),
        "{told:?}"
    );
    assert!(bench.heard.try_recv().is_err());
    bench
        .written
        .send_modify(|view| (view.position, view.head) = (Position(7), Position(900)));
    let told = next(&mut bench.heard).await;
    assert!(
        matches!(told, InputKind::MissingBars(_)),
        "the Writer was a moment late, and the store never has all on a busy day: {told:?}"
    );
}

#[actix_rt::test]
async fn history_is_asked_for_and_settled_while_the_ledger_goes_on_all_the_time() {
    let mut bench = start("market_data");
    bench.pipeline.send_modify(|view| view.head = Position(7)); // numbered, and not in the ledger yet
    bench.written.send_modify(|view| view.position = Position(6));
    let missing = NOON - Duration::from_secs(86_400 * 9);
    let wanted = vec![(missing, missing + Duration::from_secs(300))];
    bench
        .validator
        .send(FillHistory(vec![(Symbol::usdcop(), wanted)]))
        .await
        .unwrap();
    assert!(bench.heard.try_recv().is_err(), "a bar may be on its way to the store");
    let behind = |bench: &Bench, position| {
        bench.written.send_modify(|view| {
            (view.position, view.head) = (Position(position), Position(position + 1)); // never all of it
        });
    };
    behind(&bench, 7);
    assert!(matches!(next(&mut bench.heard).await, InputKind::MissingBars(_)));
    behind(&bench, 8);
    let fetched = tokio::time::timeout(Duration::from_secs(10), bench.reports.recv()).await;
    assert_eq!(fetched.unwrap(), Some(Report::HistoryFetched(Symbol::usdcop())));
}

#[actix_rt::test]
async fn a_store_that_stays_behind_is_waited_for_as_long_as_the_limit_says() {
    let mut bench = start("market_data");
    bench.written.send_modify(|view| view.head = Position(7));
    tokio::time::pause();
    let watch = crate::clock::Stopwatch::start();
    let wanted = vec![(NOON - Duration::from_secs(300), NOON)];
    bench
        .validator
        .send(FillHistory(vec![(Symbol::usdcop(), wanted)]))
        .await
        .unwrap();
    assert_eq!(
        bench.reports.recv().await,
        Some(Report::HistoryFetched(Symbol::usdcop()))
    );
    let waited = watch.elapsed();
    assert!(
        limits::STORE_WAIT <= waited && waited < limits::HISTORY_WAIT,
        "{waited:?}"
    );
    assert!(bench.heard.try_recv().is_err(), "nothing is known to be missing");
}

#[actix_rt::test]
async fn a_table_that_is_not_there_is_a_verdict_and_the_last_question_is_answered_last() {
    let Bench {
        validator,
        mut reports,
        folder: _folder,
        ..
    } = start("no_such_table");
    for rows in [None, Some(7), Some(8)] {
        let manifest = crate::domain::history::Manifest {
            rows,
            ..Default::default()
        };
        validator
            .send(Validate {
                flag: Some(Flag { at: NOON, manifest }),
            })
            .await
            .unwrap();
    }
    let first = verdict(&mut reports).await;
    assert_eq!((first.reason(), first.passed()), ("database_unreachable", false));
    assert!(first.message().contains("no_such_table"), "{}", first.message());
    let mut last = verdict(&mut reports).await;
    while last.flag.as_ref().and_then(|flag| flag.manifest.rows) != Some(8) {
        last = verdict(&mut reports).await;
    }
}

#[actix_rt::test]
async fn every_pair_has_a_verdict_and_one_that_the_history_lacks_does_not_fail_another() {
    let euro: Symbol = "EUR/USD".parse().unwrap();
    let mut bench = start_with("market_data", &[Symbol::usdcop(), euro]);
    let manifest = crate::domain::history::Manifest {
        rows: Some(8 * 288), // L0 counts the pair that it is for
        ..Default::default()
    };
    let flag = Some(Flag { at: NOON, manifest });
    bench.validator.send(Validate { flag: flag.clone() }).await.unwrap();
    let both = verdicts(&mut bench.reports).await;
    assert!(both[&Symbol::usdcop()].passed(), "{both:?}");
    let lacks = &both[&euro];
    assert_eq!((lacks.passed(), lacks.reason(), lacks.rows), (false, "no_history", 0));
    assert_eq!(lacks.flag, flag);
    assert!(
        lacks
            .findings
            .iter()
            .all(|finding| finding.name != "fewer_rows_than_the_flag_says")
    );
}

#[actix_rt::test]
async fn each_pair_has_its_own_seam() {
    let euro: Symbol = "EUR/USD".parse().unwrap();
    let mut bench = start_with("market_data", &[Symbol::usdcop(), euro]);
    let (session, symbol, db) = a_live_bar(bench.folder.path());
    let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source, provenance) \
                  VALUES ('EURUSD', ?1, 2, 3, 1, 2, 'candela', 'live')";
    db.execute(insert, [NOON.micros()]).unwrap();
    bench.validator.send(MarkSeam { symbol, session }).await.unwrap();
    let mut told = std::collections::BTreeMap::new();
    bench.validator.send(MarkSeam { symbol: euro, session }).await.unwrap();
    while told.len() < 2 {
        if let InputKind::Seam(found) = next(&mut bench.heard).await {
            told.insert(found.symbol, (found.seam.first_live_bar, found.seam.missing));
        }
    }
    assert_eq!(told[&symbol], (NOON + Duration::from_secs(600), 2));
    assert_eq!(told[&euro], (NOON, 0));
}
