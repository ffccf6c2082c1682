//! Eight prepared faults and their explanations.

use super::*;
use crate::domain::status::Condition;
use crate::domain::status::health::Runbook;

const NOON: i64 = 1_767_373_200;

/// A service that became active three hours before noon.
fn running() -> Vec<ServiceEvent> {
    vec![
        entry(
            ServiceEventKind::Started,
            -10_800,
            "0.1.0",
            "stopped",
            "candela 0.1.0 started: the run before was stopped.",
        ),
        entry(
            ServiceEventKind::Gate,
            -10_790,
            "flag",
            "flag_good",
            "A good ready flag is there.",
        ),
        entry(
            ServiceEventKind::Verdict,
            -10_780,
            "passed",
            "passed",
            "The history of USD/COP passed its check.",
        )
        .on(cop()),
        entry(
            ServiceEventKind::LinkUp,
            -10_770,
            "link",
            "live",
            "The link to the vendor is up.",
        ),
        entry(
            ServiceEventKind::State,
            -10_760,
            "active",
            "the session of USD/COP opened",
            "The state changed from ready to active.",
        ),
    ]
}

fn cop() -> Option<Symbol> {
    Some(Symbol::usdcop())
}

fn entry(kind: ServiceEventKind, secs: i64, subject: &str, cause: &str, message: &str) -> ServiceEvent {
    ServiceEvent::new(kind, Timestamp::from_secs(NOON + secs), subject, message).with_cause(cause)
}

fn raised(kind: ConditionKind, secs: i64, reason: &str, message: &str) -> ServiceEvent {
    entry(ServiceEventKind::ConditionRaised, secs, kind.name(), reason, message).with("clears_when", kind.clears_when())
}

fn explain(entries: Vec<ServiceEvent>) -> Explanation {
    explain_at(entries, 0)
}

fn explain_at(entries: Vec<ServiceEvent>, secs: i64) -> Explanation {
    let placed = |(position, entry): (u64, ServiceEvent)| PlacedEntry {
        place: JournalPlace { at: entry.at, position },
        entry,
    };
    let entries: Vec<PlacedEntry> = (1..).zip(entries).map(placed).collect();
    Explanation::of(
        &entries,
        cop(),
        Timestamp::from_secs(NOON + secs),
        chrono_tz::America::Bogota,
    )
}

/// Checks that the first sentence names the fault, and that all of `parts` occur.
fn check(fault: Vec<ServiceEvent>, first: &str, parts: &[&str]) {
    let explanation = explain(running().into_iter().chain(fault).collect());
    let all = explanation.sentences.join("\n");
    assert!(explanation.sentences[0].contains(first), "{all}");
    for part in parts {
        assert!(all.contains(part), "{part:?} is missing in\n{all}");
    }
    assert!(!explanation.good, "{all}");
}

#[test]
fn a_service_that_is_well_says_so() {
    let explanation = explain(running());
    assert!(explanation.good);
    assert_eq!(explanation.state.as_deref(), Some("active"));
    assert_eq!(
        explanation.sentences[..2],
        [
            "The state is active since 2026-01-02T09:00:40-05:00, for 2 h: the session of USD/COP opened.".to_owned(),
            "Nothing in the journal makes data bad.".to_owned()
        ]
    );
}

#[test]
fn the_vendor_refuses_the_key() {
    let key = "Key G1_1 (…a91f) is retired: the vendor refuses it, until 2026-01-02T17:15:00Z.";
    check(
        vec![
            entry(ServiceEventKind::Key, -60, "G1_1", "retired", key),
            entry(
                ServiceEventKind::LinkDown,
                -59,
                "link",
                "bad_key",
                "The link to the vendor is down: bad_key.",
            ),
            raised(
                ConditionKind::FeedDown,
                -59,
                "bad_key",
                "The link to the vendor is down: bad_key.",
            ),
            raised(
                ConditionKind::KeysExhausted,
                -58,
                "retired",
                "No API key can be used: the vendor refuses every key (401).",
            ),
        ],
        "No API key can be used: the vendor refuses every key (401) (keys_exhausted, since 2026-01-02T11:59:02-05:00, for 58 s)",
        &[
            "Key G1_1 (…a91f) is retired",
            "no request can be sent to the vendor",
            "feed_down",
            "00:00 UTC",
        ],
    );
}

#[test]
fn the_vendor_is_down() {
    check(
        vec![
            entry(
                ServiceEventKind::LinkDown,
                -400,
                "link",
                "refused",
                "The link to the vendor is down: refused.",
            ),
            raised(
                ConditionKind::FeedDown,
                -400,
                "refused",
                "The link to the vendor is down: refused.",
            ),
            entry(
                ServiceEventKind::Gap,
                -100,
                "g-1",
                "upstream_refused",
                "1 bar of USD/COP 5m is missing.",
            )
            .on(cop())
            .with("status", "open"),
        ],
        "Data is not good: The link to the vendor is down: refused (feed_down, since 2026-01-02T11:53:20-05:00, for 6 min)",
        &[
            "It clears when the link is up and the vendor has confirmed a pair on it",
            "One gap is open",
            "upstream_refused",
        ],
    );
}

#[test]
fn the_link_is_silent() {
    check(
        vec![raised(
            ConditionKind::FeedSilent,
            -200,
            "overdue",
            "The link is up, and no price has come for longer than is usual in this half-hour.",
        )],
        "no price has come for longer than is usual in this half-hour (feed_silent",
        &[
            "the last price is older than it should be",
            "a price is accepted, or the session ends",
        ],
    );
}

#[test]
fn the_ready_flag_is_missing() {
    let flag = "The gate stays closed: there is no ready flag.";
    let fault = vec![
        entry(
            ServiceEventKind::Started,
            -600,
            "0.1.0",
            "ended_unasked",
            "candela started: the run before ended without being stopped.",
        ),
        entry(
            ServiceEventKind::State,
            -599,
            "waiting_l0",
            "waiting for the ready flag",
            "The state changed.",
        ),
        entry(ServiceEventKind::Gate, -598, "flag", "flag_missing", flag),
        raised(
            ConditionKind::HistoryUnverified,
            -598,
            "flag_missing",
            "There is no ready flag.",
        ),
    ];
    check(
        fault,
        "There is no ready flag (history_unverified",
        &[
            flag,
            "The state is waiting_l0",
            "ended without being stopped",
            "a good ready flag is there and the history passes",
        ],
    );
}

#[test]
fn the_history_failed_its_check() {
    let verdict = "The history of USD/COP failed its check: 12 of 295 expected slots are missing.";
    check(
        vec![
            entry(ServiceEventKind::Verdict, -90, "failed", "failed", verdict).on(cop()),
            raised(
                ConditionKind::HistoryUnverified,
                -90,
                "incomplete",
                "The history of USD/COP is not complete.",
            )
            .on(cop()),
        ],
        "The history of USD/COP is not complete (history_unverified USD/COP",
        &["12 of 295 expected slots are missing", "it is not safe to trade"],
    );
}

#[test]
fn the_database_is_down_and_data_is_good_nevertheless() {
    let down = raised(
        ConditionKind::StoreBehind,
        -90,
        "unreachable",
        "The database is behind the ledger: connection refused.",
    );
    let explanation = explain(running().into_iter().chain([down]).collect());
    let all = explanation.sentences.join("\n");
    assert!(explanation.good, "{all}");
    assert!(
        all.contains("Besides: The database is behind the ledger: connection refused (store_behind"),
        "{all}"
    );
    assert!(all.contains("live data continues from the ledger"), "{all}");
}

#[test]
fn the_clock_is_skewed() {
    check(
        vec![raised(
            ConditionKind::ClockSkewed,
            -45,
            "behind",
            "The machine's clock is 42 s behind the vendor's stamps.",
        )],
        "The machine's clock is 42 s behind the vendor's stamps (clock_skewed",
        &["no pair is safe to trade", "agree within 20 s"],
    );
}

#[test]
fn a_part_hangs() {
    let message = "A part between the vendor and the clients does not respond: aggregator.";
    check(
        vec![
            entry(
                ServiceEventKind::Restarted,
                -300,
                "aggregator",
                "asked",
                "aggregator failed and was restarted (1 times since the start).",
            ),
            raised(ConditionKind::ActorUnresponsive, -30, "aggregator", message),
        ],
        "A part between the vendor and the clients does not respond: aggregator (actor_unresponsive",
        &[
            "One failure of a part in the last hour",
            "every part between the vendor and the clients handles its messages again",
        ],
    );
}

#[test]
fn an_earlier_instant_is_explained_by_what_was_known_then() {
    let all = running().into_iter().chain([
        raised(
            ConditionKind::CacheDown,
            -900,
            "refused",
            "The cache cannot be reached.",
        ),
        entry(
            ServiceEventKind::ConditionCleared,
            -300,
            "cache_down",
            "refused",
            "Over: The cache cannot be reached.",
        ),
        entry(
            ServiceEventKind::State,
            -10,
            "shutdown",
            "the process was asked to stop",
            "The state changed.",
        ),
    ]);
    let all: Vec<ServiceEvent> = all.collect();
    let says = |secs, part: &str| explain_at(all.clone(), secs).sentences.join("\n").contains(part);
    assert!(says(-600, "cache_down") && !says(-200, "cache_down"));
    assert!(says(0, "candela does not run: it was stopped at 2026-01-02T11:59:50-05:00") && !says(-20, "does not run"));
    assert!(says(-20_000, "The journal has no state of the service"));
}

#[test]
fn conditions_of_a_run_before_do_not_hold() {
    let down = raised(
        ConditionKind::FeedDown,
        -20_000,
        "refused",
        "The link to the vendor is down: refused.",
    );
    assert!(explain([down].into_iter().chain(running()).collect()).good);
}

#[test]
fn every_condition_has_a_meaning() {
    for &kind in ConditionKind::ALL {
        assert_eq!(
            MEANINGS.iter().filter(|(known, ..)| *known == kind).count(),
            1,
            "{kind:?}"
        );
    }
}

/// A condition as `/status` shows it.
fn shown(kind: ConditionKind, secs: i64, message: &str) -> ConditionView {
    let condition = Condition {
        kind,
        symbol: None,
        status: true,
        reason: "recorder".to_owned(),
        message: message.to_owned(),
        since: Timestamp::from_secs(NOON + secs),
        clears_when: kind.clears_when(),
        runbook: Runbook(kind),
    };
    ConditionView::new(&condition, chrono_tz::America::Bogota)
}

#[test]
fn a_condition_that_the_journal_cannot_take_is_explained_all_the_same() {
    let mut entries: Vec<PlacedEntry> = (1..)
        .zip(running())
        .map(|(position, entry)| PlacedEntry {
            place: JournalPlace { at: entry.at, position },
            entry,
        })
        .collect();
    let hangs = shown(
        ConditionKind::ActorUnresponsive,
        -20,
        "A part between the vendor and the clients does not respond: recorder.",
    );
    let unwritten = unwritten_conditions(&entries, std::slice::from_ref(&hangs));
    entries.extend(unwritten);
    let noon = Timestamp::from_secs(NOON);
    let explanation = Explanation::of(&entries, cop(), noon, chrono_tz::America::Bogota);
    let first = "Data is not good: A part between the vendor and the clients does not respond: recorder, which is not in the journal yet \
                 (actor_unresponsive, since 2026-01-02T11:59:40-05:00, for 20 s).";
    assert!(
        explanation.sentences[0].starts_with(first),
        "{:?}",
        explanation.sentences
    );
    assert!(
        !explanation.good && !explanation.entries.contains(&0),
        "{:?}",
        explanation.entries
    );
    assert_eq!(
        unwritten_conditions(&entries, std::slice::from_ref(&hangs)),
        [],
        "it is written"
    );
    let over = ConditionView { status: false, ..hangs };
    assert_eq!(unwritten_conditions(&entries[..1], &[over]), [], "it does not hold");
}
