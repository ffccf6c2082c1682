//! Every edge of the diagram, and the vendor's faults.

use super::*;
use crate::domain::model::{Always, Sessions, Symbol};
use crate::domain::vendor::wire::decode;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);
const SECOND: Duration = Duration::from_secs(1);
const OK: &str =
    r#"{"event":"subscribe-status","status":"ok","success":[{"symbol":"USD/COP"},{"symbol":"EUR/USD"}],"fails":null}"#;

fn eurusd() -> Symbol {
    "EUR/USD".parse().unwrap()
}

/// A link under test, and its clock.
struct Bench {
    link: Link,
    now: Timestamp,
    /// The number of accepted prices of each pair.
    accepted: std::collections::BTreeMap<Symbol, u64>,
}

impl Bench {
    fn new(symbols: &[Symbol]) -> Self {
        let sessions: Arc<dyn Sessions> = Arc::new(Always);
        let settings = LinkSettings {
            symbols: symbols.iter().map(|symbol| (*symbol, Arc::clone(&sessions))).collect(),
            patience: SECOND * 5,
            jitter: Duration::ZERO,
        };
        Self {
            link: Link::new(settings, NOON),
            now: NOON,
            accepted: std::collections::BTreeMap::new(),
        }
    }

    fn both() -> Self {
        Self::new(&[Symbol::usdcop(), eurusd()])
    }

    /// Connected, confirmed, and streaming.
    fn live() -> Self {
        let mut bench = Self::both();
        bench.on(Event::Started);
        bench.on(Event::Opened);
        bench.hear(OK);
        bench.price(Symbol::usdcop());
        bench
    }

    fn on(&mut self, event: Event<'_>) -> Vec<Effect> {
        self.link.on(event, self.now, 0.5)
    }

    fn hear(&mut self, json: &str) -> Vec<Effect> {
        let frame = decode(json.as_bytes(), self.now).unwrap();
        self.on(Event::Heard(&frame))
    }

    /// Delivers a price that is accepted.
    fn price(&mut self, symbol: Symbol) -> Vec<Effect> {
        let effects = self.unjudged_price(symbol);
        let accepted = self.accepted.entry(symbol).or_default();
        *accepted += 1;
        let judged = Judged {
            accepted: *accepted,
            accepted_at: Some(self.now),
            in_vain: false,
        };
        assert_eq!(self.on(Event::Judged(symbol, judged)), []);
        effects
    }

    fn unjudged_price(&mut self, symbol: Symbol) -> Vec<Effect> {
        let json = format!(
            r#"{{"event":"price","symbol":"{symbol}","price":{}.5}}"#,
            1 + self.now.secs() % 5_000
        );
        self.hear(&json)
    }

    /// Advances to the next deadline.
    fn deadline(&mut self) -> Vec<Effect> {
        self.now = self.link.next_deadline(self.now).expect("a deadline").max(self.now);
        self.on(Event::Deadline)
    }

    fn lose(&mut self, cause: &str) -> Vec<Effect> {
        self.on(Event::Lost(cause.to_owned()))
    }

    fn state(&mut self) -> &'static str {
        self.link.view(self.now).state
    }

    /// Answers heartbeats until something else happens.
    fn until_something_else(&mut self, limit: u32) -> Option<Vec<Effect>> {
        for _ in 0..limit {
            let effects = self.deadline();
            let quiet = |effect: &Effect| *effect == Effect::Ping || *effect == Effect::Send(wire::heartbeat());
            if !effects.iter().all(quiet) {
                return Some(effects);
            }
            self.on(Event::Ponged);
            self.hear(r#"{"event":"heartbeat","status":"ok"}"#);
        }
        None
    }
}

fn down(cause: &str) -> Effect {
    Effect::Tell(LinkChange::Down {
        cause: cause.to_owned(),
    })
}

#[test]
fn a_link_connects_asks_is_confirmed_and_tells() {
    let mut bench = Bench::both();
    assert_eq!(bench.on(Event::Started), [Effect::Connect]);
    assert_eq!(bench.state(), "connecting");
    assert_eq!(
        bench.on(Event::Opened),
        [Effect::Send(wire::subscribe(&[eurusd(), Symbol::usdcop()]))]
    );
    assert_eq!(bench.state(), "confirming");
    let up = Effect::Tell(LinkChange::Up {
        symbols: vec![eurusd(), Symbol::usdcop()],
    });
    assert_eq!(bench.hear(OK), [up]);
    assert_eq!((bench.state(), bench.link.view(NOON).connections_total), ("live", 1));
}

#[test]
fn every_end_of_a_link_reconnects_a_clean_close_like_any_other() {
    for cause in [
        "upstream_close_1000",
        "upstream_close_1006",
        "upstream_reset",
        "garbage",
    ] {
        let mut bench = Bench::live();
        assert_eq!(bench.lose(cause), [Effect::Disconnect, down(cause)]);
        let lost_at = bench.now;
        assert_eq!(bench.deadline(), [Effect::Connect], "{cause}");
        assert!(bench.now.since(lost_at) <= Duration::from_millis(250), "{cause}");
    }
}

#[test]
fn ends_at_every_step_of_the_handshake_reconnect_without_limit() {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    for step in 0..300 {
        if step % 3 > 0 {
            bench.on(Event::Opened);
        }
        if step % 3 > 1 {
            bench.hear(OK);
        }
        bench.lose("upstream_close_1006");
        assert_eq!(bench.state(), "waiting", "{step}");
        assert_eq!(bench.deadline(), [Effect::Connect], "{step}");
    }
}

/// The wait after one more loss of a link that is confirmed at once.
fn wait_after_loss(bench: &mut Bench) -> Duration {
    bench.lose("upstream_close_1006");
    let from = bench.now;
    bench.deadline();
    bench.on(Event::Opened);
    bench.hear(OK);
    bench.now.since(from)
}

#[test]
fn only_an_accepted_price_shortens_the_next_wait() {
    let mut bench = Bench::live();
    let mut waits = Vec::new();
    for _ in 0..7 {
        waits.push(wait_after_loss(&mut bench));
        bench.unjudged_price(Symbol::usdcop()); // heard, and set aside
    }
    assert!(
        waits[1..].windows(2).all(|pair| pair[0] < pair[1]),
        "{waits:?}: confirmed, with prices, and none accepted"
    );
    bench.price(eurusd());
    assert_eq!(wait_after_loss(&mut bench), Duration::from_millis(125));
}

#[test]
fn a_price_that_is_judged_after_the_links_end_shortens_the_wait_all_the_same() {
    let mut bench = Bench::live();
    for _ in 0..6 {
        wait_after_loss(&mut bench);
    }
    bench.now = bench.now + SECOND;
    bench.unjudged_price(eurusd());
    let arrived = bench.now;
    bench.now = bench.now + Duration::from_millis(10);
    bench.lose("upstream_close_1006");
    let long = bench.link.next_deadline(bench.now).unwrap();
    let judged = |accepted_at| Judged {
        accepted: 1,
        accepted_at: Some(accepted_at),
        in_vain: false,
    };
    bench.on(Event::Judged(eurusd(), judged(NOON))); // of a connection long before
    assert_eq!(bench.link.next_deadline(bench.now), Some(long));
    bench.on(Event::Judged(
        eurusd(),
        Judged {
            accepted: 2,
            ..judged(arrived)
        },
    ));
    assert_eq!(
        bench.link.next_deadline(bench.now),
        Some(bench.now + Duration::from_millis(125))
    );
}

#[test]
fn a_price_that_is_not_ours_or_not_positive_proves_nothing() {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    bench.on(Event::Opened);
    assert_eq!(bench.price("GBP/USD".parse().unwrap()), []);
    assert_eq!(bench.hear(r#"{"event":"price","symbol":"USD/COP","price":-1}"#), []);
    assert!(!bench.link.priced && bench.state() == "confirming");
}

#[test]
fn a_refused_pair_is_dropped_and_not_asked_for_again_until_the_next_start() {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    bench.on(Event::Opened);
    let part = r#"{"event":"subscribe-status","status":"warning","success":[{"symbol":"EUR/USD"}],"fails":[{"symbol":"USD/COP"}]}"#;
    let effects = bench.hear(part);
    assert_eq!(effects[0], Effect::SymbolsRefused(vec![Symbol::usdcop()]));
    assert_eq!(
        effects[1],
        Effect::Tell(LinkChange::Up {
            symbols: vec![eurusd()]
        })
    );
    bench.lose("upstream_close_1000");
    bench.deadline();
    assert_eq!(bench.on(Event::Opened), [Effect::Send(wire::subscribe(&[eurusd()]))]);
    bench.on(Event::Stopped);
    bench.on(Event::Started);
    assert_eq!(
        bench.on(Event::Opened),
        [Effect::Send(wire::subscribe(&[eurusd(), Symbol::usdcop()]))]
    );
}

#[test]
fn a_plan_that_streams_nothing_is_told_and_another_key_is_tried() {
    for fails in [r#"[{"symbol":"USD/COP"},{"symbol":"EUR/USD"}]"#, "null", "[]"] {
        let mut bench = Bench::both();
        bench.on(Event::Started);
        bench.on(Event::Opened);
        let json = format!(r#"{{"event":"subscribe-status","status":"error","success":null,"fails":{fails}}}"#);
        let effects = bench.hear(&json);
        let refused = Effect::SymbolsRefused(vec![eurusd(), Symbol::usdcop()]);
        let key = Effect::KeyFailed(Trouble::PlanRefused);
        assert_eq!(
            effects,
            [refused, key, Effect::Disconnect, down("plan_refused")],
            "{fails}"
        );
        assert_eq!(bench.deadline(), [Effect::Connect]);
        bench.on(Event::NoKey(bench.now + limits::RECONNECT_REFUSED));
        assert!(
            bench.link.view(bench.now).refused_all,
            "also while no key is left to try"
        );
        bench.deadline();
        bench.on(Event::Opened);
        bench.hear(OK);
        assert!(!bench.link.view(bench.now).refused_all);
    }
}

#[test]
fn a_status_without_lists_is_believed_and_a_price_confirms_what_no_status_did() {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    bench.on(Event::Opened);
    assert_eq!(bench.hear(r#"{"event":"subscribe-status","status":"ok"}"#).len(), 1);
    assert_eq!(bench.state(), "live");
    let mut bench = Bench::both();
    bench.on(Event::Started);
    bench.on(Event::Opened);
    assert_eq!(bench.hear(r#"{"event":"subscribe-status","status":"warning"}"#), []);
    assert_eq!(
        bench.price(eurusd()),
        [Effect::Tell(LinkChange::Up {
            symbols: vec![eurusd()]
        })]
    );
}

#[test]
fn a_refused_key_is_reported_and_the_next_one_tried() {
    let bad = Trouble::BadKey;
    let forbidden = Trouble::PlanRefused;
    for (code, message, told) in [
        (401, "**apikey** is incorrect", bad),
        (403, "", forbidden),
        (200, "", bad),
    ] {
        let mut bench = Bench::both();
        bench.on(Event::Started);
        let trouble = if code == 200 {
            Trouble::BadKey
        } else {
            classify(code, message)
        };
        let refusal = Refusal {
            trouble,
            code,
            message: message.to_owned(),
            retry_after: None,
        };
        let effects = bench.on(Event::Refused(&refusal));
        assert_eq!(
            effects,
            [
                Effect::KeyFailed(told),
                Effect::Disconnect,
                down(&format!("refused_{code}"))
            ]
        );
        assert_eq!(bench.deadline(), [Effect::Connect]);
    }
    let mut bench = Bench::live();
    let effects = bench.hear(r#"{"event":"error","code":401,"message":"apikey"}"#);
    assert_eq!(effects[0], Effect::KeyFailed(Trouble::BadKey));
}

#[test]
fn a_vendor_that_asks_to_be_left_alone_is_and_the_next_key_is_tried() {
    let minute = Duration::from_secs(20);
    for (code, trouble, wait) in [
        (429, Trouble::MinuteSpent, None),
        (429, Trouble::MinuteSpent, Some(minute)),
        (429, Trouble::DaySpent, None),
        (503, Trouble::ServerFault, Some(minute)),
    ] {
        let mut bench = Bench::both();
        bench.on(Event::Started);
        let refusal = Refusal {
            trouble,
            code,
            message: String::new(),
            retry_after: wait,
        };
        let stay_away = Effect::StayAway { trouble, wait };
        assert_eq!(
            bench.on(Event::Refused(&refusal)),
            [stay_away, Effect::Disconnect, down(&format!("refused_{code}"))]
        );
        assert_eq!(bench.deadline(), [Effect::Connect]);
    }
}

#[test]
fn a_refusal_that_is_not_about_the_key_keeps_the_key() {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    let refusal = Refusal {
        trouble: Trouble::ServerFault,
        code: 503,
        message: String::new(),
        retry_after: None,
    };
    assert_eq!(
        bench.on(Event::Refused(&refusal)),
        [Effect::Disconnect, down("refused_503")]
    );
    assert_eq!(bench.deadline(), [Effect::Connect]);
}

#[test]
fn a_handshake_and_a_confirmation_have_an_end() {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    assert_eq!(bench.deadline(), [Effect::Disconnect, down("connect_timeout")]);
    bench.deadline();
    bench.on(Event::Opened);
    assert_eq!(bench.deadline(), [Effect::Disconnect], "down was told already");
    assert_eq!(bench.link.view(bench.now).last_cause.as_deref(), Some("unconfirmed"));
}

#[test]
fn without_a_key_it_waits_until_there_is_one() {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    assert_eq!(bench.on(Event::NoKey(NOON + SECOND * 60)), [down("no_key")]);
    bench.deadline();
    assert_eq!(bench.now, NOON + SECOND * 60);
}

#[test]
fn a_half_open_socket_is_noticed_by_the_missing_pong() {
    let mut bench = Bench::live();
    assert_eq!(bench.deadline(), [Effect::Ping, Effect::Send(wire::heartbeat())]);
    let doubt = LinkChange::Doubt {
        since: NOON,
        cause: "pong_timeout".to_owned(),
    };
    assert_eq!(
        bench.deadline(),
        [Effect::Disconnect, Effect::Tell(doubt), down("pong_timeout")]
    );
    assert_eq!(bench.now.since(NOON), SECOND * 15);
}

#[test]
fn a_dead_program_behind_a_live_socket_is_noticed_by_the_missing_echo() {
    let mut bench = Bench::live();
    bench.hear(r#"{"event":"heartbeat","status":"ok"}"#);
    let last = (0..5).map(|_| {
        let effects = bench.deadline();
        bench.on(Event::Ponged);
        effects
    });
    assert!(
        last.into_iter()
            .any(|effects| effects.contains(&down("heartbeat_unanswered")))
    );
}

#[test]
fn a_silent_stall_is_given_up_and_each_fruitless_new_link_is_given_more_time() {
    let mut bench = Bench::live();
    for _ in 0..200 {
        bench.now = bench.now + SECOND * 2;
        bench.price(Symbol::usdcop());
    }
    let stalled_at = bench.now;
    let effects = bench.until_something_else(20).expect("given up");
    assert!(effects.contains(&down("silent")), "{effects:?}");
    assert!(
        bench.now.since(stalled_at) <= limits::SILENCE_ACT + SECOND,
        "{:?}",
        bench.now.since(stalled_at)
    );
    bench.deadline();
    bench.on(Event::Opened);
    bench.hear(OK);
    let reopened_at = bench.now;
    assert!(bench.until_something_else(100).is_some());
    assert!(bench.now.since(reopened_at) >= SECOND * 8, "twice the patience");
}

#[test]
fn a_pair_that_is_silent_while_another_speaks_is_asked_for_again_and_the_link_is_kept() {
    let mut bench = Bench::live();
    for tick in 0..2_000 {
        bench.now = bench.now + Duration::from_millis(200);
        bench.price(Symbol::usdcop());
        if tick < 500 {
            bench.price(eurusd());
        }
        if bench.link.next_deadline(bench.now).is_some_and(|at| at <= bench.now) {
            for effect in bench.on(Event::Deadline) {
                assert_ne!(effect, Effect::Disconnect);
                if effect == Effect::Send(wire::subscribe(&[eurusd()])) {
                    let view = bench.link.view(bench.now);
                    assert_eq!(
                        (view.state, view.symbols[0].silent, view.symbols[1].silent),
                        ("silent", true, false)
                    );
                    return;
                }
            }
            bench.on(Event::Ponged);
            bench.hear(r#"{"event":"heartbeat","status":"ok"}"#);
        }
    }
    panic!("the silent pair was not asked for again");
}

#[test]
fn a_pair_whose_prices_are_all_set_aside_is_not_silent_on_the_link_and_is_not_brought_by_it() {
    let mut bench = Bench::live();
    for _ in 0..400 {
        bench.now = bench.now + SECOND;
        bench.price(eurusd());
        bench.price(Symbol::usdcop());
    }
    for i in 0..100_u32 {
        bench.now = bench.now + SECOND;
        bench.price(Symbol::usdcop());
        bench.unjudged_price(eurusd());
        let judged = Judged {
            accepted: 400,
            accepted_at: Some(bench.now - SECOND * (i + 1)),
            in_vain: i == 20, // a price that was polled is accepted then: the streak ends, and the link still brings none
        };
        bench.on(Event::Judged(eurusd(), judged));
        bench.on(Event::Ponged);
        bench.hear(r#"{"event":"heartbeat","status":"ok"}"#);
        let effects = bench.on(Event::Deadline);
        assert!(!effects.contains(&Effect::Disconnect), "the link is kept");
        assert!(
            !effects.contains(&Effect::Send(wire::subscribe(&[eurusd()]))),
            "{effects:?}"
        );
        let view = bench.link.view(bench.now);
        let line = &view.symbols[0];
        assert_eq!((view.state, line.unaccepted), ("live", i >= 20), "{i}");
        assert_eq!(
            line.silent,
            i >= 1,
            "{i}: accepted prices are overdue by their own rhythm"
        );
        assert_eq!(line.gap_p99, Some(SECOND), "what is set aside teaches nothing");
    }
    bench.price(eurusd());
    let line = &bench.link.view(bench.now).symbols[0];
    assert!(
        !line.unaccepted && !line.silent,
        "one accepted price of the link ends it"
    );
}

#[test]
fn a_link_that_only_sends_garbage_is_given_up_and_a_single_bad_frame_is_not_enough() {
    let mut bench = Bench::live();
    for _ in 0..100 {
        assert_eq!(bench.on(Event::Garbled), []);
        bench.price(Symbol::usdcop());
    }
    let effects: Vec<Effect> = (0..limits::GARBLED_IN_A_ROW)
        .flat_map(|_| bench.on(Event::Garbled))
        .collect();
    assert_eq!(effects, [Effect::Disconnect, down("garbage")]);
}

#[test]
fn one_pairs_unreadable_prices_cost_nobody_the_link() {
    let mut bench = Bench::live();
    for price in ["null", "NaN", "1e99", r#""-""#, "0.000000249", "1,08", ".5", "nan"]
        .iter()
        .cycle()
        .take(50)
    {
        let json = format!(r#"{{"event":"price","symbol":"EUR/USD","timestamp":1772352540,"price":{price}}}"#);
        let effects = bench.hear(&json);
        assert_eq!(effects, [], "{json}");
    }
    assert_eq!(bench.on(Event::Garbled), []);
}

#[test]
fn a_stop_is_final_until_the_next_start() {
    let mut bench = Bench::live();
    assert_eq!(bench.on(Event::Stopped), [Effect::Disconnect, down("stopped")]);
    assert_eq!((bench.state(), bench.link.next_deadline(NOON)), ("idle", None));
    assert_eq!(bench.lose("late news"), []);
    assert_eq!(bench.on(Event::Started), [Effect::Connect]);
}

#[test]
fn a_vendor_without_echo_is_told_to_be_alive_by_its_pong() {
    let mut bench = Bench::live();
    bench.deadline();
    assert_eq!(bench.on(Event::Ponged), [], "a price came just now");
    bench.deadline();
    assert_eq!(bench.on(Event::Ponged), [Effect::Tell(LinkChange::Alive)]);
}

/// Plays random events. A connect is always answered with open or lost, so the machine must never get stuck.
fn play(steps: &[(u8, u16)]) {
    let mut bench = Bench::both();
    bench.on(Event::Started);
    let refusal = Refusal {
        trouble: Trouble::BadKey,
        code: 401,
        message: String::new(),
        retry_after: None,
    };
    let mut told = None;
    for (event, millis) in steps {
        bench.now = bench.now + Duration::from_millis(u64::from(*millis));
        let effects = match event % 12 {
            0 => bench.on(Event::Opened),
            1 => bench.hear(OK),
            2 => bench.price(Symbol::usdcop()),
            3 => bench.price(eurusd()),
            4 => bench.lose("upstream_close_1006"),
            5 => bench.on(Event::Refused(&refusal)),
            6 => bench.on(Event::Ponged),
            7 => bench.hear(r#"{"event":"heartbeat"}"#),
            8 => bench.on(Event::Garbled),
            9 => bench.hear(r#"{"event":"subscribe-status","status":"error","fails":[{"symbol":"USD/COP"}]}"#),
            _ => bench.deadline(),
        };
        for effect in effects {
            if let Effect::Tell(LinkChange::Down { .. }) = effect {
                assert_ne!(told, Some(false), "down was told twice");
                told = Some(false);
            } else if let Effect::Tell(LinkChange::Up { symbols }) = effect {
                assert!(!symbols.is_empty());
                told = Some(true);
            }
        }
        assert!(
            bench.link.next_deadline(bench.now).is_some(),
            "stuck in {}",
            bench.state()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_it_is_never_stuck_and_never_tells_down_twice(steps in proptest::collection::vec((any::<u8>(), any::<u16>()), 0..120)) {
        play(&steps);
    }
}

#[test]
fn a_pause_of_ours_kills_no_link_before_the_vendor_was_asked() {
    let mut bench = Bench::live();
    bench.deadline(); // a ping is out
    bench.now = bench.now + SECOND * 600;
    assert_eq!(bench.on(Event::Broken), []);
    let asked = bench.deadline();
    assert!(asked.contains(&Effect::Ping), "{asked:?}");
    assert_eq!(bench.link.state, State::Live);
    assert_eq!(bench.price(eurusd()), [], "what waited in the socket is read");
    let mut dead = Vec::new();
    for _ in 0..4 {
        dead = bench.deadline();
        if dead.contains(&Effect::Disconnect) {
            break;
        }
    }
    assert!(
        dead.contains(&Effect::Disconnect),
        "and a vendor that is gone is found dead"
    );
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_makes_no_hour_of_waiting() {
    let back = SECOND * 3_600;
    let mut bench = Bench::live();
    bench.now = bench.now - back;
    bench.on(Event::Broken);
    let next = bench.link.next_deadline(bench.now).unwrap();
    assert!(
        next <= bench.now + limits::HEARTBEAT,
        "a live link goes on with its heartbeats"
    );
    assert_eq!(bench.link.state, State::Live);

    let mut bench = Bench::live();
    bench.lose("upstream_reset");
    bench.now = bench.now - back;
    bench.on(Event::Broken);
    assert!(bench.link.next_deadline(bench.now).unwrap() <= bench.now + limits::RECONNECT_LONGEST);
}
