//! Tests of `engine`.

use super::*;
use crate::clock::Clock;
use crate::domain::vendor::events;
use crate::sim::engine::Next;
use crate::sim::scenario::Scenario;
use futures_util::task::noop_waker;
use std::task::Context;

const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);

/// An engine at the open with one subscriber, under a scenario.
struct Theatre {
    engine: Engine,
    outbox: Rc<Outbox>,
    id: u64,
}

impl Theatre {
    fn new(scenario: &str) -> Self {
        let market = Market::walk(1, &[Symbol::usdcop(), "EUR/USD".parse().unwrap()]);
        let mut config = SimConfig::new(Clock::manual(OPEN), market);
        config.scenario = scenario.parse().unwrap();
        let mut theatre = Self {
            engine: Engine::new(&config, OPEN),
            outbox: Rc::default(),
            id: 0,
        };
        theatre.connect();
        theatre
    }

    fn connect(&mut self) {
        let key = self.engine.accounts.find_key("key").unwrap();
        self.outbox = Rc::default();
        self.id = self.engine.next_socket();
        let socket = Socket {
            key,
            symbols: BTreeSet::new(),
            outbox: Rc::clone(&self.outbox),
            control: ConnectionControl::new(),
            silent_until: None,
            priced: false,
        };
        self.engine.sockets.insert(self.id, socket);
    }

    fn say(&mut self, text: &str, after: u64) {
        let now = OPEN + Duration::from_secs(after);
        self.engine.run_until(now);
        self.engine.handle_text(self.id, text, now);
    }

    fn subscribe(&mut self, after: u64) {
        self.say(r#"{"action":"subscribe","params":{"symbols":"USD/COP"}}"#, after);
    }

    /// The texts sent until so many seconds after the open, and `END` if the connection is to end.
    fn until(&mut self, after: u64) -> Vec<String> {
        self.engine.run_until(OPEN + Duration::from_secs(after));
        let waker = noop_waker();
        let mut texts = Vec::new();
        loop {
            match self.outbox.next(&Context::from_waker(&waker)) {
                Next::Bytes(mut bytes) => {
                    while !bytes.is_empty() {
                        let short = usize::from(bytes[1]);
                        let (head, length) = if short == 126 {
                            (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]])))
                        } else {
                            (2, short)
                        };
                        let frame = bytes.split_to(head + length);
                        texts.push(String::from_utf8_lossy(&frame[head..]).into_owned());
                    }
                }
                Next::End(ending) => {
                    texts.push(format!("END {ending:?}"));
                    return texts;
                }
                Next::Nothing => return texts,
            }
        }
    }

    /// The stamps, in seconds after the open, of the prices sent until then.
    fn stamps(&mut self, after: u64) -> Vec<i64> {
        let texts = self.until(after);
        let stamp = |text: &String| {
            serde_json::from_str::<serde_json::Value>(text)
                .ok()?
                .get("timestamp")?
                .as_i64()
        };
        texts
            .iter()
            .filter_map(stamp)
            .map(|stamp| stamp - OPEN.secs())
            .collect()
    }
}

fn market_stamps(from: u64, to: u64) -> Vec<i64> {
    let market = Market::walk(1, &[Symbol::usdcop()]);
    let [from, to] = [from, to].map(|secs| OPEN + Duration::from_secs(secs));
    market
        .ticks(Symbol::usdcop(), from, to, to)
        .iter()
        .map(|tick| tick.at.secs() - OPEN.secs())
        .collect()
}

#[test]
fn a_subscriber_gets_every_tick_of_its_pair_from_then_on() {
    let mut theatre = Theatre::new("");
    theatre.subscribe(60);
    assert!(theatre.until(60)[0].starts_with(r#"{"event":"subscribe-status","status":"ok","success":[{"exch"#));
    assert_eq!(theatre.stamps(599), market_stamps(61, 600));
}

#[test]
fn an_act_at_a_boundary_falls_between_two_bars() {
    let mut theatre = Theatre::new("at bar 2 drop 1006");
    theatre.subscribe(0);
    let texts = theatre.until(1_000);
    assert_eq!(texts.last().unwrap(), "END Vanish");
    assert_eq!(
        texts.len(),
        2 + market_stamps(1, 300).len(),
        "status, every tick of the first bar, the end"
    );
}

#[test]
fn the_demo_outage_swallows_exactly_one_bar() {
    let mut theatre = Theatre::new("");
    theatre.engine = {
        let mut config = SimConfig::new(Clock::manual(OPEN), theatre.engine.market.clone());
        config.scenario = Scenario::demo();
        Engine::new(&config, OPEN)
    };
    theatre.connect();
    theatre.subscribe(0);
    assert_eq!(theatre.stamps(700), market_stamps(1, 600));
    let refused = |engine: &Engine, after| {
        engine
            .faults
            .is_active(&Fault::RefuseUpgrades(503), OPEN + Duration::from_secs(after))
    };
    assert!(refused(&theatre.engine, 779) && !refused(&theatre.engine, 780));
    theatre.connect();
    theatre.subscribe(781);
    let stamps = theatre.stamps(1_500);
    let (repeated, fresh): (Vec<i64>, Vec<i64>) = stamps.iter().partition(|stamp| **stamp < 600);
    assert_eq!(fresh, market_stamps(900, 1_501));
    assert!(
        repeated.len() > 10 && repeated.iter().all(|stamp| Some(stamp) == market_stamps(1, 600).last()),
        "{repeated:?}"
    );
}

#[test]
fn mute_late_frozen_and_stamped_prices() {
    let mut mute = Theatre::new("at +60s mute for 1m");
    mute.subscribe(0);
    assert_eq!(
        mute.stamps(299),
        [market_stamps(1, 60), market_stamps(120, 300)].concat()
    );
    let mut late = Theatre::new("at +60s late 30s for 10s");
    late.subscribe(0);
    let stamps = late.stamps(299);
    let mut sorted = stamps.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, market_stamps(1, 300));
    assert_ne!(stamps, sorted, "some came after younger ones");
    let mut rounded = Theatre::new("at +0s minute-stamps");
    rounded.subscribe(0);
    assert!(rounded.stamps(299).iter().all(|stamp| stamp % 60 == 0));
    let mut frozen = Theatre::new("at +60s frozen");
    frozen.subscribe(60);
    let texts = frozen.until(400);
    let prices: BTreeSet<&str> = texts[1..]
        .iter()
        .filter_map(|text| text.split_once("\"price\":").map(|(_, price)| price))
        .collect();
    assert_eq!(prices.len(), 1);
}

#[test]
fn a_stalled_connection_says_nothing_not_even_to_heartbeats() {
    let mut theatre = Theatre::new("at +60s stall for 1m");
    theatre.subscribe(0);
    theatre.until(59);
    theatre.say(r#"{"action":"heartbeat"}"#, 70);
    assert!(theatre.until(119).is_empty());
    theatre.say(r#"{"action":"heartbeat"}"#, 120);
    assert!(theatre.until(120).contains(&events::HEARTBEAT.to_owned()));
}

#[test]
fn events_are_answered_as_documented() {
    let mut theatre = Theatre::new("at +0s null-lists");
    theatre.say(r#"{"action":"subscribe","params":{"symbols":"USD/COP,ABC/DEF"}}"#, 0);
    let texts = theatre.until(0);
    assert!(
        texts[0].contains(r#""status":"warning""#) && texts[0].contains(r#""fails":[{"symbol":"ABC/DEF"}]"#),
        "{texts:?}"
    );
    theatre.say(r#"{"action":"unsubscribe","params":{"symbols":"USD/COP"}}"#, 0);
    assert!(theatre.until(0)[0].starts_with(r#"{"event":"unsubscribe-status","status":"ok""#));
    theatre.say(r#"{"action":"reset"}"#, 0);
    assert_eq!(theatre.until(0), [events::RESET]);
    assert!(theatre.stamps(100).is_empty(), "nothing is subscribed any more");
    for nonsense in ["", "{}", "[1]", r#"{"action":"dance"}"#] {
        theatre.say(nonsense, 100);
        assert!(theatre.until(100)[0].contains("message-processing"), "{nonsense}");
    }
}

#[test]
fn too_many_events_are_refused_with_the_vendors_words() {
    let mut theatre = Theatre::new("");
    for _ in 0..100 {
        theatre.say(r#"{"action":"heartbeat"}"#, 1);
    }
    theatre.until(1);
    theatre.say(r#"{"action":"heartbeat"}"#, 1);
    assert!(
        theatre.until(1)[0]
            .contains("The server received 101 events from you, which exceeds the limit of 100 events per minute.")
    );
    assert_eq!(
        theatre.engine.report().violations(),
        ["key …y: 1 events beyond those of a minute"]
    );
}

#[test]
fn cues_are_counted_and_reach_the_connection_that_gave_them() {
    let mut theatre =
        Theatre::new("on subscribe #2 drop rst\non price #1 send unknown-event\non heartbeat #2-3 stall for 1s");
    theatre.subscribe(0);
    let texts = theatre.until(30);
    assert!(texts[2].contains("maintenance"), "after the first price: {texts:?}");
    let heartbeats: Vec<usize> = [31, 32, 34]
        .map(|at| {
            theatre.say(r#"{"action":"heartbeat"}"#, at);
            theatre
                .until(at)
                .iter()
                .filter(|text| *text == events::HEARTBEAT)
                .count()
        })
        .to_vec();
    assert_eq!(heartbeats, [1, 0, 0]);
    theatre.until(60);
    theatre.subscribe(61);
    assert_eq!(theatre.until(100).last().unwrap(), "END Reset");
}

#[test]
fn a_refused_pair_is_a_failed_subscription() {
    let mut theatre = Theatre::new("at +0s refuse symbol USD/COP\nat +0s no-lists");
    theatre.subscribe(0);
    assert_eq!(
        theatre.until(200),
        [r#"{"event":"subscribe-status","status":"error","fails":[{"symbol":"USD/COP"}]}"#]
    );
}

#[test]
fn a_clock_cue_is_the_next_time_the_markets_clock_shows_it() {
    let time = NaiveTime::from_hms_opt(8, 17, 0).unwrap();
    assert_eq!(next_time(time, OPEN), OPEN + Duration::from_secs(17 * 60));
    assert_eq!(
        next_time(time, OPEN + Duration::from_secs(18 * 60)),
        OPEN + Duration::from_secs(86_400 + 17 * 60)
    );
}

#[test]
fn a_clock_that_leaps_loses_no_tick() {
    let mut theatre = Theatre::new("");
    theatre.subscribe(0);
    assert_eq!(theatre.stamps(7_199), market_stamps(1, 7_200));
}
