//! What the real binary makes of the ends of a session: an open off the grid, a close within a slot, and a clock that is behind at
//! the open.

use crate::child::{Candela, wait_until};
use crate::process_gate::World;
use crate::process_time::{Wall, prepared};
use candela::domain::model::{AcceptedTick, Event, Position, Symbol, Timestamp};
use candela::ledger::LedgerReader;
use candela::sim::Market;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

#[test]
fn an_open_off_the_grid_is_refused_with_the_opens_that_are_on_it() {
    let check = Candela::run(&["check", "--set", "market.open=08:02"]);
    let start = Candela::run(&["run", "--set", "market.open=08:02"]);
    assert_eq!(
        (check.code(), start.code()),
        (78, 78),
        "{}{}",
        check.stderr,
        start.stderr
    );
    for said in [&check.stdout, &start.stderr] {
        assert!(
            said.contains("open 08:02:00") && said.contains("a session may open at 08:00 or 08:05"),
            "{said}"
        );
    }
}

#[test]
fn a_session_that_ends_within_a_slot_has_one_number_of_bars_wherever_it_is_asked_for() {
    let data = tempfile::tempdir().unwrap();
    prepared(data.path());
    let close = [("CANDELA__MARKET__CLOSE", "12:58")];
    let world = World::new("@2026-03-02 13:01:00", data.path(), &close);
    let session = wait_until("the session", || {
        let session = world.get("/market/session?symbol=USDCOP");
        (session["status"] == "open").then_some(session)
    });
    let calendar = world.get("/market/calendar?from=2026-03-02&to=2026-03-02");
    let listed = Candela::run(&["calendar", "--json", "--year", "2026", "--set", "market.close=12:58"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let day = listed["days"]
        .as_array()
        .unwrap()
        .iter()
        .find(|day| day["date"] == "2026-03-02")
        .unwrap();
    let store = data.path().join("empty.db").display().to_string();
    let missing = Candela::of(
        Candela::command(&[
            "backfill",
            "--from",
            "2026-02-27",
            "--to",
            "2026-02-27",
            "--dry-run",
            "--json",
        ])
        .env("CANDELA__STORE__SQLITE_FILE", store)
        .env("API_KEY_G1_1", "f00dfeed")
        .envs(close),
    )
    .ended();
    let missing: Value = serde_json::from_str(&missing.stdout).unwrap();
    let numbers = [
        &session["expected_bars"],
        &calendar["days"][0]["expected_bars"],
        &day["expected_bars"],
        &missing["backfill"]["USD/COP"]["missing"],
    ];
    assert_eq!(
        numbers.map(Value::as_u64),
        [Some(60); 4],
        "{session} {calendar} {missing}"
    );
    world.stop();
}

/// The accepted ticks of the ledger.
fn accepted(data: &Path) -> Vec<AcceptedTick> {
    let Ok(mut reader) = LedgerReader::open(&data.join("ledger")) else {
        return Vec::new();
    };
    let tick = |event: Event| match event {
        Event::Tick(tick) => Some(tick),
        _ => None,
    };
    let told = reader.read(Position(0), 100_000).unwrap_or_default();
    told.into_iter().filter_map(|numbered| tick(numbered.event)).collect()
}

/// 2026-03-02 08:00 in Bogota.
const OPENS: i64 = 1_772_456_400;

#[test]
fn prices_that_are_stamped_in_the_session_belong_to_it_though_our_clock_has_not_opened_it() {
    let data = tempfile::tempdir().unwrap();
    prepared(data.path());
    let vendor = Wall::at(OPENS - 25);
    let simulate = vendor.command(&["simulate", "--symbols", "USD/COP", "--per-second", "20", "--json"]);
    let wall = vendor.behind(Duration::from_millis(1_500));
    let minutes = [("CANDELA__MARKET__INTERVALS", "5m,1m")];
    let world = World::of(simulate, wall.command(&["run"]), data.path(), &minutes);
    let opens = Timestamp::from_secs(OPENS);
    let until = opens + Duration::from_secs(5);
    let told = wait_until("five seconds of the session", || {
        let told = accepted(data.path());
        told.iter().any(|tick| tick.tick.at >= until).then_some(told)
    });
    let symbol = Symbol::usdcop();
    let market = Market::walk(1, &[symbol]).with_tick_rate(20);
    let pieces = std::iter::successors(Some(opens), |from| Some(*from + market.piece_length()));
    let sent = pieces
        .take_while(|from| *from < until)
        .flat_map(|from| market.ticks_of_piece(symbol, from));
    let sent: Vec<_> = sent
        .map(|quote| (Timestamp::from_secs(quote.at.secs()), quote.price))
        .collect();
    let told: Vec<_> = told
        .iter()
        .filter(|tick| tick.tick.at < until)
        .map(|tick| (tick.tick.at, tick.tick.price))
        .collect();
    assert_eq!(told, sent);
    // One wait is shorter than what is left of the minute.
    wait_until("the middle of the first minute", || {
        let told = accepted(data.path());
        told.last()
            .filter(|tick| tick.tick.at >= opens + Duration::from_secs(35))
            .copied()
    });
    let bar = wait_until("the bar of the first minute", || {
        let page = world.get("/market/bars?symbol=USDCOP&interval=1m&from=2026-03-02");
        page["bars"].get(0).cloned()
    });
    assert_eq!(
        (bar["open_time"].as_str(), bar["open"].to_string()),
        (Some("2026-03-02T08:00:00-05:00"), sent[0].1.to_string()),
        "{bar}"
    );
    world.stop();
}
