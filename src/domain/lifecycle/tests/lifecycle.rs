//! Tests of [`super`]: every pair of state and event (written to `docs/lifecycle.md`), and scenarios of the gate.

use super::*;
use crate::domain::history::{OnTimeout, Verdict, verdict_findings::failure};
use std::sync::Arc;

const HOUR: Duration = Duration::from_secs(3_600);
const START: Timestamp = Timestamp::from_secs(1_768_478_400); // 15 January 2026, 12:00 UTC: 07:00 in Bogota

/// A session must be open before it closes: where the way to a state has no open session, one opens first.
const CLOSED: &str = "the last session closed";

fn flag() -> Flag {
    Flag {
        at: START,
        manifest: crate::domain::history::Manifest::default(),
    }
}

fn good() -> Verdict {
    Verdict {
        reachable: true,
        fresh: true,
        complete: true,
        findings: vec![],
        ..Verdict::unreachable("", None, START)
    }
}

fn lacking() -> Verdict {
    Verdict {
        complete: false,
        missing: vec![START],
        findings: vec![failure("incomplete", 1, "One bar is missing.".to_owned())],
        ..good()
    }
}

fn euro() -> Symbol {
    "EUR/USD".parse().unwrap()
}

fn judged(verdicts: &[(Symbol, Verdict)]) -> Event {
    Event::Judged(Arc::new(verdicts.iter().cloned().collect()))
}

fn passed() -> Event {
    judged(&[(Symbol::usdcop(), good())])
}

fn incomplete() -> Event {
    judged(&[(Symbol::usdcop(), lacking())])
}

fn unreachable() -> Event {
    judged(&[(Symbol::usdcop(), Verdict::unreachable("refused", None, START))])
}

/// The reasons why each pair's history counts as unverified.
fn unverified(life: &Lifecycle) -> Vec<(Symbol, &str)> {
    let holding = life.conditions().holding();
    let of_history = holding.filter(|condition| condition.kind == ConditionKind::HistoryUnverified);
    let of_pairs = of_history.filter_map(|condition| Some((condition.symbol?, condition.reason.as_str())));
    of_pairs.collect()
}

fn withdrawn() -> Event {
    Event::L0Lost(FlagTrouble::Missing)
}

fn opened() -> Event {
    Event::SessionOpened(Symbol::usdcop())
}

fn closed() -> Event {
    Event::SessionClosed(Symbol::usdcop())
}

fn coming() -> Event {
    Event::SessionComing(Symbol::usdcop())
}

fn broken() -> Event {
    Event::Failed {
        part: "ledger",
        reason: "the disk is full".to_owned(),
    }
}

fn healed() -> Event {
    Event::Healed { part: "ledger" }
}

fn machine(on_timeout: OnTimeout, can_fetch: bool) -> Lifecycle {
    machine_of(&[Symbol::usdcop()], on_timeout, can_fetch)
}

fn machine_of(pairs: &[Symbol], on_timeout: OnTimeout, can_fetch: bool) -> Lifecycle {
    let policy = WaitPolicy {
        wait_max: HOUR,
        on_timeout,
    };
    Lifecycle::new(pairs, policy, can_fetch, START)
}

/// A life cycle after these events, a second apart.
fn after(mut life: Lifecycle, events: &[Event]) -> Lifecycle {
    for (second, event) in (1..).zip(events) {
        drop(life.on(event.clone(), START + Duration::from_secs(second)));
    }
    life
}

/// A life cycle of the default policy after these events.
fn lived(events: &[Event]) -> Lifecycle {
    after(machine(OnTimeout::Degrade, false), events)
}

/// The events that ordinarily lead to a state.
fn way_to(state: State) -> Vec<Event> {
    let day = [
        coming(),
        Event::Started,
        Event::L0Ready(flag()),
        passed(),
        opened(),
        closed(),
    ];
    match state {
        State::Initializing => vec![],
        State::WaitingL0 => day[..2].to_vec(),
        State::CheckingData => day[..3].to_vec(),
        State::Ready => day[..4].to_vec(),
        State::Active => day[..5].to_vec(),
        State::MarketClosed => day.to_vec(),
        State::Error => [&day[..4], &[broken()]].concat(),
        State::Shutdown => vec![Event::StopAsked],
    }
}

fn shown(effects: &[Effect]) -> String {
    let names = effects.iter().map(|effect| match effect {
        Effect::Changed(change) => format!("→ **{}**", change.to),
        Effect::LookForFlag => "look for the flag".to_owned(),
        Effect::Validate(Some(_)) => "check history".to_owned(),
        Effect::Validate(None) => "check history without a flag".to_owned(),
        Effect::FetchHistory(_) => "fetch missing bars".to_owned(),
        Effect::OpenFeed => "open feed".to_owned(),
        Effect::CloseFeed => "close feed".to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn every_event() -> Vec<(&'static str, Event)> {
    vec![
        ("every part is created", Event::Started),
        ("a good flag appeared", Event::L0Ready(flag())),
        ("the flag is gone", withdrawn()),
        (
            "the flag grew stale",
            Event::L0Lost(FlagTrouble::Stale {
                at: START,
                since: START,
            }),
        ),
        ("history passed", passed()),
        ("history failed: bars missing", incomplete()),
        ("history failed: database away", unreachable()),
        ("missing bars were fetched", Event::HistoryFetched(Symbol::usdcop())),
        ("the database answers again", Event::StoreBack),
        ("a session is near", coming()),
        ("a session opens in minutes", Event::OpeningSoon(Symbol::usdcop())),
        ("a session opened", opened()),
        (CLOSED, closed()),
        ("a vital part failed", broken()),
        ("it works again", healed()),
        ("an operator overrides the gate", overridden(START + HOUR * 3)),
        ("the deadline came", Event::Deadline),
        ("a stop was requested", Event::StopAsked),
    ]
}

fn overridden(until: Timestamp) -> Event {
    Event::GateOverridden {
        pair: Symbol::usdcop(),
        until,
        message: "ops overrode the gate: L0 is late, its rows are good".to_owned(),
    }
}

fn table(on_timeout: OnTimeout, can_fetch: bool) -> String {
    let mut text = String::from("| event |");
    for &state in State::ALL {
        text += &format!(" {state} |");
    }
    text += &format!("\n|{}\n", " --- |".repeat(State::ALL.len() + 1));
    for (name, event) in every_event() {
        text += &format!("| {name} |");
        for &state in State::ALL {
            let mut life = after(machine(on_timeout, can_fetch), &way_to(state));
            assert_eq!(life.state(), state);
            let now = START + HOUR + HOUR;
            if name == CLOSED && [State::WaitingL0, State::CheckingData, State::Error].contains(&state) {
                drop(life.on(opened(), now));
            }
            text += &format!(" {} |", shown(&life.on(event.clone(), now)));
            assert!(
                life.next_deadline()
                    .is_none_or(|deadline| deadline > now || event != Event::Deadline),
                "{state} {name}"
            );
        }
        text += "\n";
    }
    text
}

#[test]
fn every_pair_of_state_and_event_is_as_documented() {
    let document = format!(
        "# The life cycle, pair by pair\n\nWritten by the test of `src/domain/lifecycle/lifecycle.rs`: what each event does in each state. An empty cell \
         changes neither state nor\nanything outside; a fact may be noted.\n\n\
         ## `l0.on_timeout = \"degrade\"`, no API keys\n\n{}\n## `l0.on_timeout = \"error\"`, with API keys\n\n{}",
        table(OnTimeout::Degrade, false),
        table(OnTimeout::Error, true),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/lifecycle.md");
    let before = std::fs::read_to_string(path).unwrap_or_default();
    if before != document {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(path, &document).unwrap();
        panic!("the machine changed: docs/lifecycle.md is written anew; read its diff and commit it");
    }
}

#[test]
fn an_overridden_gate_counts_as_passed_until_its_time_is_over_and_a_condition_says_so() {
    let mut life = lived(&[opened(), Event::Started]);
    let until = START + HOUR;
    assert_eq!(
        shown(&life.on(overridden(until), START)),
        "→ **ready**, → **active**, open feed"
    );
    assert_eq!(life.verified(), [Symbol::usdcop()]);
    let holding: Vec<ConditionKind> = life.conditions().holding().map(|one| one.kind).collect();
    assert_eq!(holding, [ConditionKind::GateOverridden]);
    // Whatever flag and history say meanwhile.
    drop(life.on(incomplete(), START));
    drop(life.on(withdrawn(), START));
    assert_eq!(life.verified(), [Symbol::usdcop()]);
    assert_eq!(life.next_deadline().map(|due| due.min(until)), life.next_deadline());
    assert_eq!(shown(&life.on(Event::Deadline, until)), "check history without a flag");
    assert_eq!((life.state(), life.verified()), (State::Active, vec![]));
    let held = |kind| life.conditions().holds(kind, Some(Symbol::usdcop()));
    assert!(held(ConditionKind::HistoryUnverified) && !held(ConditionKind::GateOverridden));
}

#[test]
fn an_override_reaches_over_the_close_and_ends_when_history_passes() {
    let mut life = lived(&way_to(State::Active));
    drop(life.on(overridden(START + HOUR * 20), START));
    drop(life.on(closed(), START + HOUR));
    assert_eq!(shown(&life.on(coming(), START + HOUR * 2)), "→ **ready**");
    drop(life.on(Event::L0Ready(flag()), START + HOUR * 3));
    drop(life.on(passed(), START + HOUR * 3));
    assert!(life.conditions().holding().next().is_none());
    assert_eq!(life.verified(), [Symbol::usdcop()]);
    drop(life.on(Event::Deadline, START + HOUR * 20));
    assert_eq!(life.verified(), [Symbol::usdcop()], "nothing is left of the override");
}

#[test]
fn a_day_goes_from_the_flag_to_the_close() {
    let mut life = lived(&way_to(State::Ready));
    assert!(life.conditions().holding().next().is_none());
    assert_eq!(
        shown(&life.on(Event::OpeningSoon(Symbol::usdcop()), START)),
        "open feed"
    );
    assert_eq!(shown(&life.on(opened(), START)), "→ **active**");
    assert_eq!(shown(&life.on(closed(), START)), "→ **market_closed**");
    assert_eq!(life.next_deadline(), Some(START + limits::FEED_LINGERS));
    assert_eq!(
        shown(&life.on(Event::Deadline, START + limits::FEED_LINGERS)),
        "close feed"
    );
    assert_eq!(life.next_deadline(), None);
    assert_eq!(shown(&life.on(coming(), START)), "→ **waiting_l0**, look for the flag"); // a new day, a new flag
}

#[test]
fn a_service_started_in_mid_session_goes_live_when_the_gate_passes() {
    let mut life = lived(&[opened(), Event::Started, Event::L0Ready(flag())]);
    assert_eq!(shown(&life.on(passed(), START)), "→ **ready**, → **active**, open feed");
}

#[test]
fn a_service_started_on_a_sunday_is_closed_once_history_is_checked() {
    let mut life = lived(&[Event::Started, Event::L0Ready(flag())]);
    assert_eq!(shown(&life.on(passed(), START)), "→ **ready**, → **market_closed**");
    assert_eq!(shown(&life.on(coming(), START + HOUR)), "→ **ready**"); // the flag is of this gate window: it still counts
}

#[test]
fn when_l0_never_comes_the_session_runs_and_says_that_history_is_unverified() {
    let mut life = lived(&[coming(), Event::Started, opened()]);
    assert_eq!(shown(&life.on(Event::Deadline, START + HOUR)), ""); // two seconds early
    let late = START + HOUR + Duration::from_secs(2);
    assert_eq!(
        shown(&life.on(Event::Deadline, late)),
        "→ **checking_data**, check history without a flag"
    );
    assert_eq!(shown(&life.on(passed(), late)), "→ **ready**, → **active**, open feed");
    let held: Vec<_> = life
        .conditions()
        .holding()
        .map(|condition| condition.reason.clone())
        .collect();
    assert_eq!(held, ["flag_missing"]); // V1: good rows without a flag are not verified
    assert_eq!(life.verified(), []);
    assert_eq!(shown(&life.on(Event::L0Ready(flag()), late)), "check history");
    drop(life.on(passed(), late));
    assert_eq!(life.verified(), [Symbol::usdcop()]);
}

#[test]
fn when_l0_never_comes_and_settings_say_error_it_is_an_error_until_the_flag_comes() {
    let mut life = after(machine(OnTimeout::Error, false), &[coming(), Event::Started]);
    let late = START + HOUR + Duration::from_secs(2);
    assert_eq!(shown(&life.on(Event::Deadline, late)), "→ **error**");
    assert_eq!(shown(&life.on(Event::Deadline, late + HOUR)), "look for the flag");
    assert_eq!(
        shown(&life.on(Event::L0Ready(flag()), late + HOUR)),
        "→ **checking_data**, check history"
    );
    assert_eq!(shown(&life.on(passed(), late + HOUR)), "→ **ready**");
}

#[test]
fn missing_history_is_fetched_and_checked_again_before_it_counts_as_failed() {
    let mut life = after(
        machine(OnTimeout::Degrade, true),
        &[coming(), Event::Started, Event::L0Ready(flag())],
    );
    for _ in 0..limits::HISTORY_REQUESTS {
        assert_eq!(shown(&life.on(incomplete(), START)), "fetch missing bars");
        assert_eq!(
            shown(&life.on(Event::HistoryFetched(Symbol::usdcop()), START)),
            "check history"
        );
    }
    assert_eq!(shown(&life.on(incomplete(), START)), "→ **ready**");
    assert!(
        life.conditions()
            .holds(ConditionKind::HistoryUnverified, Some(Symbol::usdcop()))
    );
    let again = life.next_deadline().unwrap();
    assert_eq!(again, START + limits::VERDICT_AGAIN);
    assert_eq!(shown(&life.on(Event::Deadline, again)), "check history"); // history corrected later is noticed
    drop(life.on(passed(), again));
    assert!(
        !life
            .conditions()
            .holds(ConditionKind::HistoryUnverified, Some(Symbol::usdcop()))
    );
}

#[test]
fn a_session_does_not_wait_for_missing_history_which_is_fetched_beside_it() {
    let begun = [coming(), Event::Started, Event::L0Ready(flag())];
    let mut life = after(machine(OnTimeout::Degrade, true), &begun);
    assert_eq!(shown(&life.on(incomplete(), START)), "fetch missing bars");
    assert_eq!(
        shown(&life.on(Event::OpeningSoon(Symbol::usdcop()), START)),
        "→ **ready**, open feed"
    );
    assert_eq!(shown(&life.on(opened(), START)), "→ **active**");
    assert_eq!(life.verified(), []);
    assert_eq!(
        shown(&life.on(Event::HistoryFetched(Symbol::usdcop()), START)),
        "check history"
    );
    drop(life.on(passed(), START));
    assert_eq!(life.verified(), [Symbol::usdcop()]);
    let running = [opened(), Event::Started, Event::L0Ready(flag())];
    let mut late = after(machine(OnTimeout::Degrade, true), &running);
    assert_eq!(
        shown(&late.on(incomplete(), START)),
        "→ **ready**, → **active**, open feed, fetch missing bars"
    );
    let mut strict = after(machine(OnTimeout::Error, true), &running);
    assert_eq!(shown(&strict.on(incomplete(), START)), "fetch missing bars");
}

#[test]
fn history_that_goes_bad_beside_a_session_is_fetched_too_without_touching_the_state() {
    let mut life = after(machine(OnTimeout::Degrade, true), &way_to(State::Active));
    assert_eq!(shown(&life.on(Event::L0Ready(flag()), START)), "check history");
    assert_eq!(shown(&life.on(incomplete(), START)), "fetch missing bars");
    assert!(
        life.conditions()
            .holds(ConditionKind::HistoryUnverified, Some(Symbol::usdcop()))
    );
    assert_eq!(
        shown(&life.on(Event::HistoryFetched(Symbol::usdcop()), START)),
        "check history"
    );
    drop(life.on(passed(), START));
    assert_eq!(life.state(), State::Active);
    assert!(
        !life
            .conditions()
            .holds(ConditionKind::HistoryUnverified, Some(Symbol::usdcop()))
    );
}

#[test]
fn a_validator_that_never_answers_is_asked_again() {
    let mut life = lived(&way_to(State::CheckingData));
    let deadline = life.next_deadline().unwrap();
    assert_eq!(shown(&life.on(Event::Deadline, deadline)), "check history");
    assert!(life.next_deadline().unwrap() > deadline);
}

#[test]
fn a_flag_withdrawn_before_the_open_closes_the_gate_and_in_mid_session_raises_a_condition() {
    let mut ready = lived(&way_to(State::Ready));
    assert_eq!(
        shown(&ready.on(withdrawn(), START)),
        "→ **waiting_l0**, look for the flag"
    );
    assert_eq!(
        shown(&ready.on(Event::L0Ready(flag()), START)),
        "→ **checking_data**, check history"
    );
    let mut active = lived(&way_to(State::Active));
    assert!(active.on(withdrawn(), START).is_empty());
    let held: Vec<_> = active
        .conditions()
        .holding()
        .map(|condition| condition.kind.name())
        .collect();
    assert_eq!(held, ["history_unverified", "flag_withdrawn"]);
    assert_eq!(shown(&active.on(Event::L0Ready(flag()), START)), "check history");
    drop(active.on(passed(), START));
    assert!(active.conditions().holding().next().is_none());
}

#[test]
fn a_flag_that_came_and_went_between_sessions_does_not_open_the_next() {
    let mut life = lived(&way_to(State::Active));
    for event in [closed(), Event::L0Ready(flag()), passed(), withdrawn()] {
        drop(life.on(event, START));
    }
    assert_eq!(life.state(), State::MarketClosed);
    drop(life.on(coming(), START));
    assert_eq!(life.state(), State::WaitingL0);
}

#[test]
fn a_flag_that_grows_stale_with_its_session_is_no_alarm() {
    let mut life = lived(&way_to(State::MarketClosed));
    let stale = Event::L0Lost(FlagTrouble::Stale {
        at: START,
        since: START,
    });
    assert!(life.on(stale, START).is_empty());
    assert!(life.conditions().holding().next().is_none());
}

#[test]
fn an_error_is_tried_again_ever_slower_and_heals_to_where_the_market_is() {
    let mut life = lived(&way_to(State::Active));
    let mut now = START + HOUR;
    assert_eq!(shown(&life.on(broken(), now)), "→ **error**");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let next = life.next_deadline().unwrap();
        pauses.push(next.since(now).as_secs());
        now = next;
        assert_eq!(shown(&life.on(Event::Deadline, now)), "");
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 120, 120]);
    assert_eq!(shown(&life.on(healed(), now)), "→ **ready**, → **active**");
    let mut overnight = lived(&way_to(State::Active));
    drop(overnight.on(broken(), now));
    drop(overnight.on(closed(), now));
    assert_eq!(
        shown(&overnight.on(healed(), now)),
        "→ **waiting_l0**, look for the flag"
    );
}

#[test]
fn one_pair_that_closes_does_not_end_the_session_of_another() {
    let mut life = lived(&way_to(State::Active));
    let euro: Symbol = "EUR/USD".parse().unwrap();
    assert!(life.on(Event::SessionOpened(euro), START).is_empty());
    assert!(life.on(closed(), START).is_empty());
    assert_eq!(life.state(), State::Active);
    assert_eq!(
        shown(&life.on(Event::SessionClosed(euro), START)),
        "→ **market_closed**"
    );
}

#[test]
fn each_pair_has_its_own_gate_and_one_that_fails_does_not_hold_another_back() {
    let mut life = after(
        machine_of(&[Symbol::usdcop(), euro()], OnTimeout::Error, false),
        &[coming(), Event::SessionComing(euro()), Event::Started],
    );
    assert_eq!(
        unverified(&life),
        [(euro(), "unchecked"), (Symbol::usdcop(), "unchecked")]
    );
    drop(life.on(Event::L0Ready(flag()), START));
    let verdicts = judged(&[(Symbol::usdcop(), good()), (euro(), lacking())]);
    assert_eq!(shown(&life.on(verdicts, START)), "→ **ready**");
    assert_eq!(unverified(&life), [(euro(), "incomplete")]);
    assert_eq!(
        (life.gate_of(Symbol::usdcop()), life.gate_of(euro())),
        (Gate::Passed, Gate::Degraded)
    );
    let again = life.next_deadline().unwrap();
    assert_eq!(shown(&life.on(Event::Deadline, again)), "check history");
    drop(life.on(judged(&[(Symbol::usdcop(), good()), (euro(), good())]), again));
    assert_eq!((unverified(&life), life.next_deadline()), (vec![], None));
}

#[test]
fn missing_history_of_one_pair_is_fetched_beside_another_that_runs() {
    let mut life = after(
        machine_of(&[Symbol::usdcop(), euro()], OnTimeout::Degrade, true),
        &[opened(), Event::Started, Event::L0Ready(flag())],
    );
    let verdicts = judged(&[(Symbol::usdcop(), good()), (euro(), lacking())]);
    let effects = life.on(verdicts.clone(), START);
    assert_eq!(
        shown(&effects),
        "→ **ready**, → **active**, open feed, fetch missing bars"
    );
    let stretch = (START, START + Duration::from_secs(300));
    assert_eq!(
        effects.last(),
        Some(&Effect::FetchHistory(vec![(euro(), vec![stretch])]))
    );
    assert!(life.on(verdicts, START).is_empty()); // it is being fetched
    assert_eq!(shown(&life.on(Event::HistoryFetched(euro()), START)), "check history");
    drop(life.on(judged(&[(Symbol::usdcop(), good()), (euro(), good())]), START));
    assert_eq!(unverified(&life), []);
}

#[test]
fn a_pair_whose_session_comes_beside_that_of_another_is_asked_for_its_own_flag_and_history() {
    let both = judged(&[(Symbol::usdcop(), good()), (euro(), good())]);
    let opens = Event::SessionOpened(euro());
    let mut life = after(
        machine_of(&[Symbol::usdcop(), euro()], OnTimeout::Degrade, false),
        &[
            Event::Started,
            Event::L0Ready(flag()),
            both.clone(),
            opens,
            coming(),
            opened(),
        ],
    );
    assert_eq!((life.state(), unverified(&life)), (State::Active, vec![]));
    assert!(life.on(closed(), START).is_empty());
    let stale = Event::L0Lost(FlagTrouble::Stale {
        at: START,
        since: START,
    });
    assert!(life.on(stale, START).is_empty());
    assert_eq!(unverified(&life), []); // nobody waits for it, and the euro's gate was opened by it
    assert_eq!(
        shown(&life.on(coming(), START)),
        "look for the flag, check history without a flag"
    );
    drop(life.on(both.clone(), START));
    assert_eq!(unverified(&life), [(Symbol::usdcop(), "flag_missing")]);
    assert!(life.on(opened(), START).is_empty());
    assert_eq!(shown(&life.on(Event::L0Ready(flag()), START)), "check history");
    drop(life.on(both, START));
    assert_eq!(unverified(&life), []);
}

#[test]
fn a_flag_that_goes_when_its_time_is_over_leaves_the_session_verified_that_opened_by_it() {
    let both = judged(&[(Symbol::usdcop(), good()), (euro(), good())]);
    let opens = Event::SessionOpened(euro());
    let mut life = after(
        machine_of(&[Symbol::usdcop(), euro()], OnTimeout::Degrade, false),
        &[Event::Started, Event::L0Ready(flag()), both.clone(), opens, opened()],
    );
    assert!(life.on(closed(), START).is_empty());
    assert!(life.on(withdrawn(), START).is_empty());
    drop(life.on(both.clone(), START));
    assert_eq!((life.state(), life.verified()), (State::Active, vec![euro()]));
    assert!(!life.conditions().holds(ConditionKind::FlagWithdrawn, None));
    drop(life.on(coming(), START));
    drop(life.on(both, START));
    assert_eq!(life.verified(), [euro()], "the next session asks for a flag of its own");
}

#[test]
fn what_was_found_of_a_pair_after_its_session_is_not_believed_for_its_next_one() {
    let both = judged(&[(Symbol::usdcop(), good()), (euro(), good())]);
    let mut life = after(
        machine_of(&[Symbol::usdcop(), euro()], OnTimeout::Degrade, false),
        &[
            Event::Started,
            Event::L0Ready(flag()),
            both.clone(),
            Event::SessionOpened(euro()),
            opened(),
            Event::SessionClosed(euro()),
        ],
    );
    assert_eq!(shown(&life.on(Event::L0Ready(flag()), START)), "check history");
    drop(life.on(both, START));
    assert_eq!(
        (life.state(), life.verified()),
        (State::Active, vec![euro(), Symbol::usdcop()])
    );
    drop(life.on(closed(), START));
    assert_eq!((life.state(), life.verified()), (State::MarketClosed, vec![]));
    drop(life.on(Event::SessionComing(euro()), START));
    assert_eq!(
        life.state(),
        State::WaitingL0,
        "its next session asks for a flag of its own"
    );
}

#[test]
fn history_that_could_not_be_read_is_checked_as_soon_as_the_database_is_back() {
    let mut life = lived(&[opened(), Event::Started, Event::L0Ready(flag())]);
    drop(life.on(unreachable(), START));
    assert_eq!(unverified(&life), [(Symbol::usdcop(), "database_unreachable")]);
    assert_eq!(life.next_deadline(), Some(START + limits::VERDICT_UNREAD));
    assert_eq!(shown(&life.on(Event::StoreBack, START)), "check history");
    drop(life.on(passed(), START));
    assert_eq!(unverified(&life), []);
    assert!(life.on(Event::StoreBack, START).is_empty()); // nothing was left unread
    let mut strict = after(
        machine(OnTimeout::Error, false),
        &[opened(), Event::Started, Event::L0Ready(flag()), unreachable()],
    );
    assert_eq!(strict.state(), State::Error);
    assert_eq!(
        shown(&strict.on(Event::StoreBack, START)),
        "→ **checking_data**, check history"
    );
}

#[test]
fn a_withdrawn_flag_closes_the_gate_of_every_pair_and_is_told_of_those_that_wait_for_it() {
    let both = judged(&[(Symbol::usdcop(), good()), (euro(), good())]);
    let mut life = after(
        machine_of(&[Symbol::usdcop(), euro()], OnTimeout::Degrade, false),
        &[opened(), Event::Started, Event::L0Ready(flag()), both],
    );
    drop(life.on(withdrawn(), START));
    assert_eq!(unverified(&life), [(Symbol::usdcop(), "flag_withdrawn")]);
    assert_eq!(life.gate_of(euro()), Gate::Unchecked);
    drop(life.on(Event::SessionOpened(euro()), START));
    assert_eq!(
        unverified(&life),
        [(euro(), "unchecked"), (Symbol::usdcop(), "flag_withdrawn")]
    );
}

#[test]
fn it_says_where_it_is_and_since_when() {
    let at = |secs: i64| Timestamp::from_secs(1_768_478_400 + secs);
    let mut life = Lifecycle::new(&[Symbol::usdcop()], WaitPolicy::default(), false, at(0));
    drop(life.on(Event::Started, at(2)));
    drop(life.on(Event::L0Lost(FlagTrouble::HalfWritten), at(3)));
    assert_eq!((life.state(), life.since()), (State::WaitingL0, at(2)));
    assert_eq!(
        life.conditions()
            .list()
            .first()
            .map(|condition| condition.reason.as_str()),
        Some("flag_half_written")
    );
}

#[test]
fn only_a_pair_whose_history_passed_its_gate_is_verified() {
    let at = Timestamp::from_secs(1_768_478_400);
    let mut life = Lifecycle::new(&[Symbol::usdcop()], WaitPolicy::default(), false, at);
    assert_eq!(life.verified(), []);
    drop(life.on(Event::SessionOpened(Symbol::usdcop()), at));
    drop(life.on(Event::Started, at));
    let late = at + WaitPolicy::default().wait_max + Duration::from_secs(1);
    drop(life.on(Event::Deadline, late));
    let verdict = crate::domain::history::Verdict::unreachable("refused", None, late);
    let verdicts = BTreeMap::from([(Symbol::usdcop(), verdict)]);
    drop(life.on(Event::Judged(verdicts.into()), late));
    assert_eq!((life.state(), life.verified()), (State::Active, Vec::new()));
}
