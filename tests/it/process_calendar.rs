//! A calendar that people correct while the real binary runs: a restart rebuilds the day by what was known of it at each moment.

use crate::child::{Candela, wait_until};
use crate::process_gate::{FLAG, World, prepare, raise_flag};
use crate::process_session::HurriedTime;
use candela::domain::model::InputKind;
use candela::ledger::LedgerReader;
use chrono::{NaiveDate, TimeDelta};
use serde_json::Value;
use std::path::Path;

const DATE: &str = "2026-03-02";

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Corrects the hours of the day: the session closes so many minutes from now.
fn close_in(time: &HurriedTime, days: &str, minutes: i64, more: &[&str]) {
    let closes = time.now() - TimeDelta::hours(5) + TimeDelta::minutes(minutes);
    let closes = closes.format("%H:%M").to_string();
    let args = ["calendar", "open", DATE, "--reason", "a test", "--by", "a test"];
    let args = [&args[..], &["--opens", "08:00", "--closes", &closes], more].concat();
    let done = Candela::of(time.command(&args).env("CANDELA__MARKET__CALENDAR_FILE", days)).ended();
    assert_eq!(done.code(), 0, "{}", done.stderr);
}

fn start(time: &HurriedTime, data: &Path, days: &str) -> World {
    let vendor = Candela::of(&mut time.command(&["simulate", "--symbols", "USD/COP", "--json"]));
    let settings = [("CANDELA__MARKET__CALENDAR_FILE", days)];
    World::beside(vendor, time.command(&["run"]), data, &settings)
}

/// How often a correction was recorded.
fn corrections(data: &Path) -> usize {
    let reader = LedgerReader::open(&data.join("ledger")).unwrap();
    let inputs = reader.inputs_of(date(DATE)).unwrap().map(Result::unwrap);
    let corrected = inputs.filter(|heard| matches!(&heard.what, InputKind::Calendar(known) if !known.carried));
    corrected.count()
}

#[test]
fn a_restart_rebuilds_a_day_whose_calendar_was_corrected_while_it_ran() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    prepare(data, date("2026-02-18").iter_days().take(12));
    raise_flag(data, FLAG);
    let days = data.join("days.toml").display().to_string();
    std::fs::write(&days, "").unwrap();
    let time = HurriedTime::from("2026-03-02T12:58:30Z", 20);
    let world = start(&time, data, &days);
    let bars = |world: &World| -> Vec<Value> {
        let page = world.get("/market/bars?symbol=USDCOP&from=2026-03-02T08:00:00");
        page["bars"].as_array().cloned().unwrap_or_default()
    };
    let shown = |status: &str| world.get("/market/session")["status"] == status;
    wait_until("the first bar", || (!bars(&world).is_empty()).then_some(()));
    close_in(&time, &days, 3, &[]);
    wait_until("the early close", || shown("closed").then_some(()));
    close_in(&time, &days, 60, &["--replace"]);
    wait_until("the session to go on", || shown("open").then_some(()));
    let before = bars(&world).len();
    wait_until("a bar after it", || (bars(&world).len() > before).then_some(()));
    world.stop();
    assert_eq!(corrections(data), 2);

    // The calendar says now what it did not say at the open.
    let world = start(&time, data, &days);
    wait_until("prices", || {
        let status = world.get("/status");
        (status["state"]["name"] == "active").then_some(())
    });
    assert_eq!(world.service.stderr.find("the replay of the session differs"), None);
    world.stop();
    assert_eq!(corrections(data), 2, "nothing is corrected by a restart");
}
