//! Tests of `script`.

use super::*;
use proptest::prelude::*;

fn act(text: &str) -> ScenarioAction {
    text.parse().unwrap()
}

const fn once(action: ConnectionAction) -> ScenarioAction {
    ScenarioAction::OnConnection(action)
}

const fn lasting(fault: Fault, span: Option<Duration>) -> ScenarioAction {
    ScenarioAction::Fault(fault, span)
}

fn check_line(text: &str, cue: Cue, expect: ScenarioAction) {
    let scenario: Scenario = text.parse().unwrap();
    assert_eq!(scenario.lines.len(), 1, "{text}");
    assert_eq!(
        (scenario.lines[0].cue, &scenario.lines[0].act),
        (cue, &expect),
        "{text}"
    );
}

fn check_refused(text: &str, expect: &str) {
    let error = text.parse::<Scenario>().unwrap_err().to_string();
    assert!(
        error.starts_with("scenario line 1, ") && error.contains(expect),
        "{text}: {error}"
    );
}

const fn after(secs: u64) -> Cue {
    Cue::At(When::AfterOpen(Duration::from_secs(secs)))
}

#[test]
fn cues_say_when() {
    let drop = || act("drop 1000");
    let clock = NaiveTime::from_hms_opt(8, 17, 30).unwrap();
    check_line("at 08:17:30 drop 1000", Cue::At(When::Clock(clock)), drop());
    check_line("at start drop 1000", Cue::At(When::Start), drop());
    check_line("at +17m drop 1000", after(1_020), drop());
    check_line("at bar 1 drop 1000", after(0), drop());
    check_line("at bar 3 +90s drop 1000", after(690), drop());
    check_line(
        "on subscribe drop 1000",
        Cue::On(Moment::Subscribe, Which::Between(1, 1)),
        drop(),
    );
    check_line(
        "on price #3 drop 1000",
        Cue::On(Moment::Price, Which::Between(3, 3)),
        drop(),
    );
    check_line(
        "on open #2-5 drop 1000",
        Cue::On(Moment::Open, Which::Between(2, 5)),
        drop(),
    );
    check_line(
        "on heartbeat every drop 1000",
        Cue::On(Moment::Heartbeat, Which::Every),
        drop(),
    );
}

#[test]
fn comments_and_empty_lines_are_passed_over_and_lines_counted() {
    let scenario: Scenario = "# a play\n\n  at +1s mute # quiet\non open #2 stall\n".parse().unwrap();
    let numbers: Vec<usize> = scenario.lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(scenario.lines[0].text, "at +1s mute");
}

#[test]
fn acts_say_what() {
    let minute = Some(Duration::from_secs(60));
    for (text, expect) in [
        ("drop 1011", once(ConnectionAction::Drop(Ending::Close(1011)))),
        ("drop 1006", once(ConnectionAction::Drop(Ending::Vanish))),
        ("drop rst", once(ConnectionAction::Drop(Ending::Reset))),
        ("half-open for 1m", once(ConnectionAction::HalfOpen(minute))),
        ("stall", once(ConnectionAction::Stall(None))),
        ("repeat 5", once(ConnectionAction::Repeat(5))),
        ("relent", ScenarioAction::ClearFaults),
        (
            "send not-json",
            once(ConnectionAction::Send(OddFrame::Named("not-json"))),
        ),
        (
            "send text {\"a\": 1}",
            once(ConnectionAction::Send(OddFrame::Text("{\"a\": 1}".to_owned()))),
        ),
        ("mute for 1m", lasting(Fault::Mute, minute)),
        ("late 10s for 1m", lasting(Fault::Late(Duration::from_secs(10)), minute)),
        (
            "refuse upgrades 200 for 1m",
            lasting(Fault::RefuseUpgrades(200), minute),
        ),
        (
            "refuse symbol USD/COP",
            lasting(Fault::RefuseSymbol(Symbol::usdcop()), None),
        ),
        (
            "retry-after 20s",
            lasting(Fault::RetryAfter(Duration::from_secs(20)), None),
        ),
        ("expire key 2", lasting(Fault::ExpiredKey(Some(2)), None)),
        ("exhaust key all day", lasting(Fault::NoDayCredits(None), None)),
        (
            "rest slow 5s",
            lasting(Fault::Rest(RestFault::Slow(Duration::from_secs(5))), None),
        ),
        ("rest status 429", lasting(Fault::Rest(RestFault::Status(429)), None)),
        ("behind 2h", lasting(Fault::Behind(Duration::from_secs(7_200)), None)),
        ("milli-stamps for 1m", lasting(Fault::MilliStamps, minute)),
        (
            "rest refuse USD/COP",
            lasting(Fault::Rest(RestFault::RefuseSymbol(Symbol::usdcop())), None),
        ),
        ("rest cut for 1m", lasting(Fault::Rest(RestFault::Cut), minute)),
    ] {
        assert_eq!(act(text), expect, "{text}");
    }
}

#[test]
fn durations_add_up() {
    for (text, ms) in [
        ("250ms", 250),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
    }
    for text in [
        "",
        "5",
        "m",
        "5x",
        "-5s",
        "1.5s",
        "99999999999999999999s",
        "400d",
        "5 s",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn errors_name_the_line_and_what_is_allowed() {
    check_refused("drop 1000", "begins with no cue; allowed are at start, at HH:MM");
    check_refused(
        "at noon drop 1000",
        "\"noon\" is not a moment; allowed are start, 08:17",
    );
    check_refused("at 25:00 drop 1000", "\"25:00\" is not a moment");
    check_refused("at bar 0 mute", "bar \"0\" is not a number from 1");
    check_refused("on lunch drop 1000", "allowed are connect, upgrade, open, subscribe");
    check_refused("on open #5-2 drop 1000", "allowed are #2, #2-5, every");
    check_refused("on open", "has no act; allowed are drop");
    check_refused("at +1s explode", "\"explode\" is not an act");
    check_refused("at +1s drop", "drop needs one word");
    check_refused("at +1s drop 999", "allowed are close codes 1000–1003");
    check_refused("at +1s drop 1005", "is not a way to drop");
    check_refused("at +1s drop 1000 for 5m", "is done once and takes no \"for\"");
    check_refused("at +1s mute for ever", "\"ever\" is not a duration");
    check_refused(
        "at +1s send flowers",
        "\"flowers\" is nothing to send; allowed are text TEXT, ",
    );
    check_refused("at +1s refuse upgrades 101", "allowed are 400 to 599, 302, and 200");
    check_refused("at +1s refuse symbol COP", "symbol \"COP\" is not a pair");
    check_refused(
        "at +1s rest explode",
        "rest \"explode\" is not known; allowed are status CODE",
    );
    check_refused("at +1s rest status 200", "allowed are 400 to 599");
    check_refused("at +1s expire key zero", "key \"zero\" is neither a number");
    check_refused("at +1s exhaust key 1", "which key?");
    check_refused("at +1s hang around", "hang what?");
    check_refused("at +1s ignore me", "ignore what?");
    check_refused("at +1s repeat 0", "is not a count from 1 to 10000");
    let error = "at +1s mute\n\nat +1s explode"
        .parse::<Scenario>()
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("scenario line 3, \"at +1s explode\": "), "{error}");
}

#[test]
fn the_demo_outage_is_what_its_lines_say() {
    let demo = Scenario::demo();
    let text: String = demo.lines.iter().map(|line| format!("{}\n", line.text)).collect();
    assert_eq!(text.parse::<Scenario>().unwrap(), demo);
}

#[test]
fn an_endless_file_is_refused() {
    let text = "at +1s mute\n".repeat(limits::SIM_SCENARIO_LINES + 1);
    assert!(
        text.parse::<Scenario>()
            .unwrap_err()
            .to_string()
            .contains("at most 1000 acts")
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        drop(text.parse::<Scenario>());
        drop(text.parse::<ScenarioAction>());
    }

    #[test]
    fn no_line_of_known_words_panics(words in proptest::collection::vec("at|on|bar|\\+5m|#2|every|open|drop|1000|for|rest|slow|refuse|key|#|é", 0..8)) {
        drop(words.join(" ").parse::<Scenario>());
    }
}
