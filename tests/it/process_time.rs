//! The real binary when its own time is disturbed: it is stopped and goes on, or the machine's clock jumps.

use crate::child::{Candela, wait_until};
use crate::process_gate::{FLAG, World, prepare, raise_flag};
use candela::domain::model::{Event, Gap, Interval, Position, Sequenced, Timestamp};
use candela::ledger::LedgerReader;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Verified history of twelve days before 2026-03-02, and the flag of that morning.
pub(crate) fn prepared(data: &Path) {
    let first: chrono::NaiveDate = "2026-02-18".parse().unwrap();
    prepare(data, first.iter_days().take(12));
    raise_flag(data, FLAG);
}

/// The condition of a kind, if it holds.
fn condition(status: &Value, kind: &str) -> Option<Value> {
    let all = status["conditions"].as_array()?;
    let holds = |condition: &&Value| condition["type"] == kind && condition["status"] == true;
    all.iter().find(holds).cloned()
}

fn active(world: &World) {
    wait_until("prices in the session", || {
        let status = world.get("/status");
        let heard = status["symbols"]["USD/COP"]["last_tick"].is_object()
            || status["symbols"]["USD/COP"]["last_tick"].is_string();
        (status["state"]["name"] == "active" && heard).then_some(())
    });
}

/// Forty times as fast: two seconds of a stopped process are eighty of the market, and more than a part may be stuck.
#[test]
fn a_process_that_is_stopped_and_goes_on_says_so_and_heals_the_pause() {
    let data = tempfile::tempdir().unwrap();
    let at = "@2026-03-02 13:04:00 x40";
    let simulate = Candela::at(at, &["simulate", "--symbols", "USD/COP", "--json"]);
    prepared(data.path());
    let world = World::of(simulate, Candela::at(at, &["run"]), data.path(), &[]);
    active(&world);
    world.service.signal(libc::SIGSTOP);
    let long = std::env::var_os("CANDELA_TEST_LONG").is_some();
    pass(Duration::from_secs(if long { 15 } else { 2 }));
    world.service.signal(libc::SIGCONT);
    let told = wait_until("the condition", || condition(&world.get("/status"), "process_paused"));
    assert!(told["message"].as_str().unwrap().contains("did not run for"), "{told}");
    wait_until("the line in the log", || world.service.stderr.find("lasted_ms"));
    let gap = wait_until("the gap to be filled", || {
        let gaps = world.get("/market/gaps?symbol=USDCOP");
        let gaps = gaps["gaps"].as_array().cloned().unwrap_or_default();
        let gap = gaps.into_iter().find(|gap| gap["cause"] == "process_paused");
        gap.filter(|gap| gap["status"] == "filled")
    });
    assert!(gap["bars"].as_u64().unwrap() > 0, "{gap}");
    world.stop();
}

/// Lets real time pass: what is tested is that nothing happens in it.
#[expect(
    clippy::disallowed_methods,
    reason = "no condition ends a time in which nothing may happen"
)]
fn pass(time: Duration) {
    std::thread::sleep(time);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock of a process is set against the machine's"
)]
pub(crate) fn real_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// A wall clock that a test moves: the steady clock is the machine's own.
pub(crate) struct Wall {
    file: tempfile::TempPath,
    /// Milliseconds from the real time to the time it shows.
    offset: i64,
}

impl Wall {
    pub(crate) fn at(secs: i64) -> Self {
        let real = i64::try_from(real_time().as_secs()).unwrap();
        Self::offset_by((secs - real) * 1_000)
    }

    /// Another clock that is this much behind this one.
    pub(crate) fn behind(&self, time: Duration) -> Self {
        Self::offset_by(self.offset - i64::try_from(time.as_millis()).unwrap())
    }

    fn offset_by(millis: i64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let wall = Self { file, offset: millis };
        wall.jump(0);
        wall
    }

    /// It shows so many seconds more than it would if it had never jumped.
    pub(crate) fn jump(&self, by: i64) {
        let new = self.file.with_extension("new");
        let millis = self.offset + by * 1_000;
        let sign = if millis < 0 { '-' } else { '+' };
        let millis = millis.unsigned_abs();
        std::fs::write(&new, format!("{sign}{}.{:03}\n", millis / 1_000, millis % 1_000)).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = Candela::at("", args);
        command
            .env_remove("FAKETIME")
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .envs([
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ("DONT_FAKE_MONOTONIC", "1"),
            ]);
        command
    }
}

/// 2026-03-02 08:04 in Bogota.
const IN_SESSION: i64 = 1_772_456_640;

#[test]
fn a_clock_that_jumps_by_two_hours_in_a_session_and_comes_back_closes_asks_and_declares_nothing() {
    let data = tempfile::tempdir().unwrap();
    prepared(data.path());
    let wall = Wall::at(IN_SESSION);
    let simulate = Wall::at(IN_SESSION);
    let simulate = simulate.command(&["simulate", "--symbols", "USD/COP", "--json"]);
    let world = World::of(simulate, wall.command(&["run"]), data.path(), &[]);
    active(&world);
    let gaps = world.get("/market/gaps?symbol=USDCOP");
    let credits = |status: &Value| status["keys"][0]["used_day"].as_u64();
    for jump in [7_200, -7_200] {
        let asked = credits(&world.get("/status"));
        wall.jump(jump);
        let told = wait_until("the condition", || {
            let told = condition(&world.get("/status"), "clock_stepped")?;
            ["stepped", "contradicted"]
                .contains(&told["reason"].as_str()?)
                .then_some(told)
        });
        let message = told["message"].as_str().unwrap();
        assert!(["7199.", "7200."].iter().any(|size| message.contains(size)), "{told}");
        pass(Duration::from_secs(2));
        let status = world.get("/status");
        assert_eq!(status["state"]["name"], "active", "{status}");
        assert_eq!(world.get("/market/session")["status"], "open");
        assert_eq!(
            world.get("/market/gaps?symbol=USDCOP")["gaps"],
            gaps["gaps"],
            "nothing is declared"
        );
        assert_eq!(credits(&status), asked, "nothing is asked for");
        wall.jump(0);
        wait_until("the clock to be back", || {
            let told = condition(&world.get("/status"), "clock_stepped")?;
            (told["reason"] == "stepped_back").then_some(())
        });
    }
    let latest = world.get("/market/latest?symbol=USDCOP");
    assert!(latest.to_string().contains("2026-03-02T08:0"), "{latest}");
    world.stop();
}

/// Every durable event, in order.
fn told(data: &Path) -> Vec<Sequenced> {
    let Ok(mut reader) = LedgerReader::open(&data.join("ledger")) else {
        return Vec::new();
    };
    reader.read(Position(0), 100_000).unwrap_or_default()
}

/// An hour ahead from the start: every slot of the past hour is closed at once and missed.
#[test]
fn bars_close_in_their_time_when_a_clock_that_was_an_hour_ahead_is_corrected() {
    const AHEAD: i64 = 3_600;
    let data = tempfile::tempdir().unwrap();
    prepared(data.path());
    let wall = Wall::at(IN_SESSION + AHEAD);
    let vendor = Wall::at(IN_SESSION);
    let simulate = vendor.command(&["simulate", "--symbols", "USD/COP", "--per-second", "2", "--json"]);
    let minutes = [("CANDELA__MARKET__INTERVALS", "5m,1m")];
    let world = World::of(simulate, wall.command(&["run"]), data.path(), &minutes);
    active(&world);
    let gaps = |status: &str| -> Vec<Value> {
        let gaps = world.get("/market/gaps?symbol=USDCOP");
        let gaps = gaps["gaps"].as_array().cloned().unwrap_or_default();
        gaps.into_iter().filter(|gap| gap["status"] == status).collect()
    };
    wait_until("the slots of the past hour to be missed", || {
        (!gaps("open").is_empty() || !gaps("filling").is_empty()).then_some(())
    });
    wall.jump(-AHEAD);
    wait_until("the clock to be corrected", || {
        world.service.stderr.find("market time was set to the wall clock")
    });
    let corrected = real_time();
    let ends = |told: &[Sequenced]| -> Vec<(Timestamp, Timestamp)> {
        let end = |numbered: &Sequenced| match &numbered.event {
            Event::BarEnd(end) if end.interval == Interval::M1 => Some((end.opens_at, numbered.at)),
            _ => None,
        };
        told.iter().filter_map(end).collect()
    };
    let hour = Duration::from_secs(1_800);
    let after = |told: Vec<Sequenced>| -> Vec<Sequenced> {
        let back = told.windows(2).rposition(|pair| pair[1].at + hour < pair[0].at);
        told.into_iter()
            .skip(back.map_or(usize::MAX, |back| back + 1))
            .collect()
    };
    // A minute ends within the first wait; where the machine is slow, within the second.
    for _ in 0..2 {
        pass(Duration::from_secs(32));
    }
    let told = after(told(data.path()));
    let ended = ends(&told);
    assert!(
        !ended.is_empty(),
        "{} s after the correction: {told:?}",
        (real_time() - corrected).as_secs()
    );
    for (opens, at) in &ended {
        let closes = *opens + Duration::from_secs(60);
        assert!(closes <= *at && at.since(closes) < Duration::from_secs(10), "{ended:?}");
    }
    // One revision when a minute ends, not one a tick; and what the vendor's bar corrects.
    for (opens, _) in ended.iter().skip(1) {
        let revisions = told.iter().filter(|numbered| {
            matches!(&numbered.event, Event::Bar(bar) if bar.key.interval == Interval::M1 && bar.key.opens_at == *opens)
        });
        assert!((1..=2).contains(&revisions.count()), "{told:?}");
    }
    let now = told.last().unwrap().at;
    let declared = told.iter().filter_map(|numbered| match &numbered.event {
        Event::Gap(gap) if gap.bars > 0 && gap.to > now + Duration::from_secs(60) => Some(gap),
        _ => None,
    });
    assert_eq!(declared.collect::<Vec<_>>(), Vec::<&Gap>::new());
    world.stop();
}
