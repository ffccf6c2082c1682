//! Tests of [`super`], on clocks that run fast and jump.

use super::*;
use crate::actors::testing::{self, listen};
use crate::clock::Clock;
use crate::domain::lifecycle::Stage;
use crate::domain::model::Timestamp;
use tokio::sync::mpsc;

fn at(text: &str) -> Timestamp {
    Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap())
}

/// The reports to Root, each with the market time of its arrival.
struct Reports {
    told: mpsc::UnboundedReceiver<Report>,
    clock: Clock,
    _folder: tempfile::TempDir,
}

/// What a session clock needs: made before the clock that runs fast.
struct Bench {
    services: Services,
    told: mpsc::UnboundedReceiver<Report>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let ((root, told), folder) = (listen(), tempfile::tempdir().unwrap());
        Self {
            services: testing::services_in(folder.path(), Clock::system(), root),
            told,
            folder,
        }
    }

    fn start(self, clock: &Clock, calendar_file: Option<PathBuf>) -> (Reports, watch::Receiver<Calendar>) {
        let (calendar, seen) = watch::channel(Calendar::usdcop());
        let deps = Deps {
            services: Services {
                clock: clock.clone(),
                ..self.services
            },
            calendars: vec![(Symbol::usdcop(), Arc::new(calendar))],
            calendar_file,
            lead: Duration::from_secs(3_600),
        };
        SessionClock::new(deps).start();
        let reports = Reports {
            told: self.told,
            clock: clock.clone(),
            _folder: self.folder,
        };
        (reports, seen)
    }
}

/// The next report; a test that waits ten seconds for it has failed.
async fn next(reports: &mut Reports) -> (Timestamp, Report) {
    let next = tokio::time::timeout(Duration::from_secs(10), reports.told.recv()).await;
    let report = next.expect("a report in ten seconds");
    (reports.clock.now(), report.expect("a session clock that runs"))
}

/// The stage of the next turn; other reports are skipped.
async fn next_stage(reports: &mut Reports) -> (Timestamp, Stage) {
    loop {
        if let (heard, Report::SessionTurned(turn)) = next(reports).await {
            return (heard, turn.stage);
        }
    }
}

#[actix_rt::test]
async fn a_session_opens_within_a_second_of_its_instant() {
    let opens = at("2026-01-15T08:00:00-05:00");
    let bench = Bench::new();
    let clock = Clock::scaled(opens - Duration::from_millis(300), 1.0);
    let mut reports = bench.start(&clock, None).0;
    for stage in [Stage::Idle, Stage::Coming, Stage::Soon] {
        assert_eq!(next_stage(&mut reports).await.1, stage);
    }
    let (heard, stage) = next_stage(&mut reports).await;
    assert_eq!(stage, Stage::Open);
    assert!(opens <= heard && heard < opens + Duration::from_secs(1), "{heard}");
}

#[actix_rt::test]
async fn a_fast_day_has_every_turn_in_order() {
    let bench = Bench::new();
    let clock = Clock::scaled(at("2026-01-15T06:30:00-05:00"), 20_000.0);
    let mut reports = bench.start(&clock, None).0;
    for stage in [
        Stage::Idle,
        Stage::Coming,
        Stage::Soon,
        Stage::Open,
        Stage::Closing,
        Stage::Idle,
    ] {
        assert_eq!(next_stage(&mut reports).await.1, stage);
    }
}

#[actix_rt::test]
async fn a_clock_that_jumps_is_told_and_nothing_turns_until_it_is_trusted() {
    let bench = Bench::new();
    let (clock, hands) = Clock::moved(at("2026-01-15T06:30:00-05:00"));
    let mut reports = bench.start(&clock, None).0;
    assert_eq!(next_stage(&mut reports).await.1, Stage::Idle);
    hands.jump(7_200_000);
    let (heard, Report::ClockStepped(distrust)) = next(&mut reports).await else {
        panic!("a step")
    };
    assert_eq!(
        (heard, distrust.ahead_ms, distrust.reason),
        (at("2026-01-15T06:30:00-05:00"), 7_200_000, "stepped")
    );
    hands.run(Duration::from_secs(12));
    hands.jump(-7_200_000);
    let (heard, Report::ClockStepped(distrust)) = next(&mut reports).await else {
        panic!("that it is back, and no turn")
    };
    assert_eq!(
        (heard, distrust.reason),
        (at("2026-01-15T06:30:12-05:00"), "stepped_back")
    );
    hands.run(limits::CLOCK_TRUSTED_AFTER);
    assert_eq!(next(&mut reports).await.1, Report::ClockTrusted);
}

#[actix_rt::test]
async fn a_jump_that_lasts_is_adopted_and_its_turns_follow() {
    let bench = Bench::new();
    let (clock, hands) = Clock::moved(at("2026-01-15T06:30:00-05:00"));
    let mut reports = bench.start(&clock, None).0;
    assert_eq!(next_stage(&mut reports).await.1, Stage::Idle);
    hands.jump(7_200_000);
    assert!(matches!(next(&mut reports).await.1, Report::ClockStepped(_)));
    hands.run(limits::CLOCK_TRUSTED_AFTER);
    assert_eq!(next(&mut reports).await.1, Report::ClockTrusted);
    let (_, Report::ClockSet(set)) = next(&mut reports).await else {
        panic!("that market time was set")
    };
    assert_eq!(set.by_ms(), 7_200_000);
    assert_eq!(next_stage(&mut reports).await.1, Stage::Open);
}

#[actix_rt::test]
async fn a_day_closed_by_hand_closes_while_it_runs_and_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calendar.toml");
    let bench = Bench::new();
    let clock = Clock::scaled(at("2026-01-15T10:00:00-05:00"), 1.0);
    let (mut reports, calendar) = bench.start(&clock, Some(path.clone()));
    assert_eq!(next_stage(&mut reports).await.1, Stage::Open);
    std::fs::write(&path, "[[day]]\ndate = 2026-99-15\n").unwrap();
    let (_, Report::CalendarRead(Err(problem))) = next(&mut reports).await else {
        panic!("a problem")
    };
    assert!(problem.contains("calendar.toml: line "), "{problem}");
    let entry = "[[day]]\ndate = 2026-01-15\naction = \"close\"\nreason = \"halt\"\n";
    std::fs::write(&path, entry).unwrap();
    assert_eq!(next(&mut reports).await.1, Report::CalendarRead(Ok(())));
    assert_eq!(next_stage(&mut reports).await.1, Stage::Idle);
    assert!(calendar.borrow().session_on("2026-01-15".parse().unwrap()).is_none());
}
