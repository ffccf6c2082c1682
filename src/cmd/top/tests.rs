//! The screen of `candela top`, drawn into memory, and the effect of each key.

use super::keys::Pressed;
use super::screen::draw;
use super::state::{Heard, Pane, TopState};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn status() -> Value {
    json!({
        "timestamp": "2026-01-02T08:40:16-05:00",
        "state": {"name": "active", "since": "2026-01-02T08:00:00-05:00", "reason": "the session opened"},
        "sessions": {"USD/COP": {"status": "open", "current_session_end": "2026-01-02T12:55:00-05:00", "expected_bars": 59},
            "USD/MXN": {"status": "closed", "next_open": "2026-01-05T08:00:00-05:00"}},
        "conditions": [
            {"type": "cache_down", "status": false, "message": "It was away."},
            {"type": "store_behind", "status": true, "since": "2026-01-02T08:38:16-05:00", "message": "PostgreSQL refuses.", "clears_when": "it answers"},
        ],
        "symbols": {
            "USD/COP": {"feed": "live", "safe_to_trade": true, "reasons": [], "last_tick": "2026-01-02T08:40:06-05:00", "bars_today": 8, "rejected": {"exact_repeat": 3}},
            "USD/MXN": {"feed": "stale", "safe_to_trade": false, "reasons": ["market_closed", "feed_stale"], "last_tick": null, "bars_today": 0, "rejected": {}},
        },
        "feed": {"state": "live", "connections_total": 2, "last_message_age_ms": 10029},
        "keys": [{"id": "G1_1 …a91f", "group": "G1", "state": "ready", "until": null, "used_minute": 0, "used_day": 4, "left_day": 796, "of_link": true}],
        "forecast": {"expected": 1048, "available": 1600, "fits": true},
        "actors": [
            {"name": "feed", "alive": true, "standing": "alive", "restarts": 0, "last_cause": null, "mailbox": 64, "pulse_age_ms": 60},
            {"name": "writer", "alive": false, "standing": "restarting", "restarts": 12, "last_cause": "panicked", "mailbox": 256, "pulse_age_ms": 9000},
            {"name": "recorder", "alive": true, "standing": "alive", "restarts": 3, "last_cause": "panicked", "mailbox": 8, "pulse_age_ms": 70},
        ],
        "readers": [{"name": "writer", "kind": "postgres", "distance": 12, "age_ms": 1500, "position": 282, "rejected_total": 0,
            "trouble": {"message": "refused", "since": "2026-01-02T08:38:16-05:00"}}],
        "clients": {"connected": 3, "conflating": 1},
        "gaps": [],
    })
}

fn state() -> TopState {
    TopState::new("http://127.0.0.1:8080", SECOND, false)
}

fn told(status: Value) -> Heard {
    let events = Vec::new();
    Heard {
        status: Ok(status),
        events,
    }
}

fn failed(why: &str) -> Heard {
    Heard {
        status: Err(why.to_owned()),
        events: Vec::new(),
    }
}

fn terminal_of(state: &mut TopState, now: Duration, size: (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(frame, state, now)).unwrap();
    terminal
}

/// The screen as lines of text.
fn drawn(state: &mut TopState, now: Duration, size: (u16, u16)) -> String {
    let terminal = terminal_of(state, now, size);
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(size.0));
    let lines = rows.map(|row| {
        row.iter()
            .map(|cell| cell.symbol())
            .collect::<String>()
            .trim_end()
            .to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn press(state: &mut TopState, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\t' => KeyCode::Tab,
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            letter => KeyCode::Char(letter),
        };
        assert_eq!(
            state.press(KeyEvent::new(code, KeyModifiers::NONE)),
            Pressed::Stay,
            "{key:?}"
        );
    }
}

#[test]
fn each_pane_shows_a_real_status_in_words() {
    for real in crate::cmd::page::real_pages() {
        let mut state = state();
        state.take(told(real), SECOND);
        for pane in 1..=7 {
            press(&mut state, &pane.to_string());
            let screen = drawn(&mut state, SECOND, (400, 60));
            assert!(
                !screen.contains(['{', '}', '[', ']']) && !screen.contains("null"),
                "{screen}"
            );
        }
    }
}

/// The first words of each row of the list.
fn names(screen: &str, title: &str) -> Vec<String> {
    let rows = screen.lines().skip_while(|line| !line.starts_with(title)).skip(1);
    let rows = rows.take_while(|line| !line.is_empty());
    rows.filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn the_screen_says_in_its_first_lines_what_may_be_traded_on_and_why_not() {
    let mut state = state();
    state.take(told(status()), SECOND);
    let screen = drawn(&mut state, SECOND, (120, 24));
    let expect = "\
candela  ACTIVE  for 40 min, because the session opened                                        2026-01-02 08:40:16-05:00
USD/MXN   NOT SAFE TO TRADE  market_closed, feed_stale  session closed, opens 2026-01-05 08:00
USD/COP  safe to trade  session open until 12:55:00 (for 4 h 14 min)
! store_behind since 08:38:16: PostgreSQL refuses.
  clears when it answers
feed live, received 10 s ago   clients 3, 1 slow   writer 12 behind
 1 pairs  2 conditions 1!  3 keys  4 actors 1!  5 readers  6 gaps  7 journal
pair     safe to trade                  feed   last tick            bars     set aside  session
USD/COP  yes                            live   08:40:06 (10 s ago)  8 of 59  3          open until 12:55:00 (for 4 h 14
USD/MXN  no: market_closed, feed_stale  stale  -                    0        0          closed, opens 2026-01-05 08:00";
    assert_eq!(screen.lines().take(10).collect::<Vec<_>>().join("\n"), expect);
    let last = screen.lines().last().unwrap();
    assert!(
        last.starts_with("q quit  Tab pane  / filter  s sort  p pause  ? help"),
        "{last}"
    );
    assert!(last.ends_with("http://127.0.0.1:8080"), "{last}");
}

#[test]
fn a_narrow_window_keeps_the_columns_that_matter_and_one_that_is_too_small_says_so() {
    let mut state = state();
    state.take(told(status()), SECOND);
    let screen = drawn(&mut state, SECOND, (48, 20));
    assert!(
        screen.contains("\npair     safe to trade                  feed\n"),
        "{screen}"
    );
    let last = screen.lines().last();
    assert_eq!(last, Some("q quit  Tab pane  / filter  s sort  p pause"), "{screen}");
    let screen = drawn(&mut state, SECOND, (40, 20));
    assert!(screen.contains("\npair     safe to trade\n"), "{screen}");
    let screen = drawn(&mut state, SECOND, (120, 10));
    assert_eq!(names(&screen, "pair"), ["USD/COP", "USD/MXN"], "{screen}");
    let screen = drawn(&mut state, SECOND, (39, 9));
    assert!(
        screen.starts_with("candela top needs a window of 40 by 10;"),
        "{screen}"
    );
}

#[test]
fn what_is_old_says_so_with_the_reason_until_the_service_answers_again() {
    let mut state = state();
    state.take(
        failed("candela does not answer at http://127.0.0.1:8080/status"),
        SECOND,
    );
    let screen = drawn(&mut state, SECOND, (120, 24));
    assert!(
        screen.contains(" NO DATA  candela does not answer at http://127.0.0.1:8080/status; requested every 1 s"),
        "{screen}"
    );
    state.take(told(status()), SECOND * 2);
    assert!(!drawn(&mut state, SECOND * 6, (120, 24)).contains("DATA OF"));
    let screen = drawn(&mut state, SECOND * 8, (120, 24));
    assert!(
        screen.contains(" DATA OF 6 s AGO  it does not answer; requested"),
        "{screen}"
    );
    state.take(failed("the connection was refused"), SECOND * 9);
    let screen = drawn(&mut state, SECOND * 14, (120, 24));
    assert!(
        screen.contains(" DATA OF 12 s AGO  the connection was refused; requested"),
        "{screen}"
    );
    assert!(
        screen.contains("USD/COP  safe to trade"),
        "what was heard last is still there: {screen}"
    );
    state.take(told(status()), SECOND * 15);
    assert!(!drawn(&mut state, SECOND * 15, (120, 24)).contains("DATA OF"));
    state.take(failed("the connection was refused"), SECOND * 16);
    let screen = drawn(&mut state, SECOND * 16, (120, 24));
    assert!(
        screen.contains(" DATA OF 1 s AGO "),
        "a failure is told at once: {screen}"
    );
}

#[test]
fn rows_are_selected_sorted_and_filtered_by_keys() {
    let mut state = state();
    state.take(told(status()), SECOND);
    press(&mut state, "4");
    assert_eq!(
        names(&drawn(&mut state, SECOND, (100, 24)), "actor"),
        ["feed", "writer", "recorder"]
    );
    press(&mut state, "sss");
    let screen = drawn(&mut state, SECOND, (100, 24));
    assert!(screen.contains("restarts ▲"), "{screen}");
    assert_eq!(
        names(&screen, "actor"),
        ["feed", "recorder", "writer"],
        "as numbers: 0, 3, 12"
    );
    press(&mut state, "S");
    assert_eq!(
        names(&drawn(&mut state, SECOND, (100, 24)), "actor"),
        ["writer", "recorder", "feed"]
    );
    press(&mut state, "/PANICKED");
    let screen = drawn(&mut state, SECOND, (100, 24));
    assert!(
        screen.ends_with("filter: PANICKED▏   Enter keeps it, Esc drops it"),
        "{screen}"
    );
    press(&mut state, "\n");
    assert_eq!(
        names(&drawn(&mut state, SECOND, (100, 24)), "actor"),
        ["writer", "recorder"]
    );
    press(&mut state, "jjj\n");
    let screen = drawn(&mut state, SECOND, (100, 24));
    assert!(
        screen.contains("│name: recorder"),
        "the last row, and not beyond: {screen}"
    );
    press(&mut state, "\x1b\x1b");
    assert_eq!(
        names(&drawn(&mut state, SECOND, (100, 24)), "actor").len(),
        3,
        "one Esc closes, one drops the filter"
    );
    press(&mut state, "/nobody\n");
    assert!(drawn(&mut state, SECOND, (100, 24)).contains("no row contains \"nobody\"; Esc drops the filter"));
}

#[test]
fn each_pane_is_reached_and_help_names_every_key() {
    let mut state = state();
    state.take(told(status()), SECOND);
    for pane in Pane::ALL {
        assert_eq!(state.pane, pane);
        press(&mut state, "\t");
    }
    assert_eq!(state.pane, Pane::Pairs);
    press(&mut state, "6");
    assert!(drawn(&mut state, SECOND, (80, 24)).contains("no gap: every bar that is due is there"));
    press(&mut state, "?");
    let screen = drawn(&mut state, SECOND, (100, 30));
    for (key, _, explained) in super::keys::KEYS {
        assert!(screen.contains(&format!("{key:<10}{explained}")), "{key}: {screen}");
    }
}

#[test]
fn q_escape_and_control_c_leave() {
    for (code, modifiers) in [
        (KeyCode::Char('q'), KeyModifiers::NONE),
        (KeyCode::Esc, KeyModifiers::NONE),
        (KeyCode::Char('c'), KeyModifiers::CONTROL),
    ] {
        assert_eq!(
            state().press(KeyEvent::new(code, modifiers)),
            Pressed::Leave,
            "{code:?}"
        );
    }
    let mut typing = state();
    press(&mut typing, "/q");
    assert_eq!(typing.filter, "q", "while a filter is written, q is a letter");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(typing.press(control_c), Pressed::Leave);
}

#[test]
fn a_pause_keeps_what_is_shown_and_asks_nothing() {
    let mut state = state();
    state.take(told(status()), SECOND);
    press(&mut state, "p");
    assert!(!state.is_due(SECOND * 100));
    state.take(told(json!({"state": {"name": "error"}})), SECOND * 2);
    let screen = drawn(&mut state, SECOND * 41, (120, 24));
    assert!(screen.contains(" ACTIVE "), "{screen}");
    assert!(
        screen.lines().next().unwrap().ends_with("PAUSED for 40 s: p continues"),
        "{screen}"
    );
    state.note_asked(SECOND * 41);
    press(&mut state, "p");
    assert!(state.is_due(SECOND * 41), "it is asked at once");
}

#[test]
fn a_wish_to_ask_again_outlasts_the_question_that_is_on_its_way() {
    let mut state = state();
    state.note_asked(SECOND * 10);
    press(&mut state, "r");
    let wait = state.next_wait(true, SECOND * 10);
    assert!(wait > Duration::ZERO, "the screen is drawn anew meanwhile");
    state.take(told(status()), SECOND * 10);
    assert_eq!(state.next_wait(false, SECOND * 10), Duration::ZERO);
    assert!(state.is_due(SECOND * 10));
    state.note_asked(SECOND * 10);
    assert!(!state.is_due(SECOND * 10) && state.is_due(SECOND * 11));
}

#[test]
fn market_time_that_runs_otherwise_is_told_apart_from_real_time() {
    let mut state = state();
    let at = |second: u32| {
        let mut status = status();
        status["timestamp"] = json!(format!(
            "2026-01-02T08:{:02}:{:02}-05:00",
            40 + second / 60,
            second % 60
        ));
        told(status)
    };
    state.take(at(0), SECOND);
    state.take(at(60), SECOND * 2);
    assert!(
        !drawn(&mut state, SECOND * 2, (140, 24)).contains("market time"),
        "not seen for long enough"
    );
    state.take(at(300), SECOND * 6);
    let screen = drawn(&mut state, SECOND * 6, (140, 24));
    assert!(screen.contains("market time runs 60 × real time"), "{screen}");
    assert!(screen.contains("received 10 s of market time ago"), "{screen}");
    let screen = drawn(&mut state, SECOND * 6, (90, 24));
    assert!(
        screen.starts_with("candela  ACTIVE  for 45 min, because the session opened")
            && screen.lines().next().unwrap().ends_with(" 60 × real time"),
        "{screen}"
    );
    state.take(failed("gone"), SECOND * 7);
    assert!(!state.is_simulated(), "another start may have another clock");
}

#[test]
fn the_journal_is_asked_for_where_it_is_looked_at_and_goes_on_where_it_ended() {
    let mut state = state();
    state.take(told(status()), SECOND);
    assert_eq!(state.journal_path(), None);
    press(&mut state, "7");
    assert_eq!(state.journal_path().as_deref(), Some("/status/events?limit=500"));
    let event = |position: u64| json!({"position": position, "at": "2026-01-02T13:00:00+00:00", "type": "link_up", "symbol": null, "message": format!("entry-{position}")});
    let heard = |events: Vec<Value>| Heard {
        status: Ok(status()),
        events,
    };
    state.take(heard(vec![event(1), event(2)]), SECOND);
    state.take(heard(vec![event(2), event(3)]), SECOND);
    let screen = drawn(&mut state, SECOND, (100, 24));
    let entries: Vec<&str> = screen.lines().filter_map(|line| line.split("entry-").nth(1)).collect();
    assert_eq!(entries, ["3", "2", "1"], "the newest first, each once: {screen}");
    let path = state.journal_path().unwrap();
    assert_eq!(path, "/status/events?limit=500&from=2026-01-02T13:00:00%2B00:00");
    let second = super::state::journal_page(&path, "5-2");
    assert_eq!(super::state::journal_page(&second, "7-3"), format!("{path}&cursor=7-3"));
}

#[test]
fn without_colours_nothing_is_coloured_and_what_is_wrong_stands_out_still() {
    let mut state = state();
    state.take(told(status()), SECOND);
    let coloured = |terminal: &Terminal<TestBackend>| {
        let cells = terminal.backend().buffer().content().iter();
        cells
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    let terminal = terminal_of(&mut state, SECOND, (120, 24));
    assert_eq!(coloured(&terminal), 0);
    let bold = terminal.backend().buffer().content().iter();
    assert!(
        bold.filter(|cell| cell.modifier.contains(Modifier::BOLD | Modifier::REVERSED))
            .count()
            > 20
    );
    state.colours = true;
    assert!(coloured(&terminal_of(&mut state, SECOND, (120, 24))) > 50);
}

#[test]
fn an_answer_without_the_parts_is_no_panic() {
    let mut state = state();
    state.take(told(json!({})), SECOND);
    for pane in Pane::ALL {
        state.pane = pane;
        drawn(&mut state, SECOND, (80, 24));
    }
}
