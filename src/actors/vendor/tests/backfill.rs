//! Backfill against a vendor that answers from a script.

use super::*;
use crate::actors::vendor::tests::upstream_stage::{Ground, rest_of, until};
use crate::actors::views::PipelineView;
use crate::clock::Clock;
use crate::domain::model::{Gap, GapStatus, Interval};
use crate::domain::pipeline::Unchecked;
use crate::domain::vendor::{KeyState, KeysView};
use std::time::Duration;
use tokio::sync::watch;

/// 2026-03-02T15:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_772_463_600);
const BARS: &str =
    r#"{"values":[{"datetime":"2026-03-02 14:00:00","open":"1","high":"3","low":"1","close":"2"}],"status":"ok"}"#;
const NONE: &str = r#"{"code":400,"message":"No data is available on the specified dates.","status":"error"}"#;
const SPENT: &str = r#"{"code":429,"message":"You have run out of API credits for the day.","status":"error"}"#;

struct Bench {
    ground: Ground,
    clock: Clock,
    pipeline: watch::Sender<PipelineView>,
    shown: watch::Receiver<BackfillView>,
    keys: watch::Receiver<KeysView>,
}

fn run(url: &str, per_day: u32) -> Bench {
    let clock = Clock::manual(NOW);
    let ground = Ground::new(&["secret-1", "secret-2"], per_day, clock.clone());
    Backfill::new(Deps {
        services: ground.services.clone(),
        vendor: ground.vendor(url),
        arrived: ground.arrived.clone(),
    })
    .start();
    let views = &ground.services.views;
    Bench {
        clock,
        pipeline: views.pipeline.clone(),
        shown: views.backfill.subscribe(),
        keys: views.keys.subscribe(),
        ground,
    }
}

fn gap() -> Gap {
    let opens = NOW - Duration::from_secs(3_600);
    Gap {
        id: 1,
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: opens,
        to: opens + Duration::from_secs(600),
        bars: 2,
        status: GapStatus::Open,
        cause: "upstream_close_1006".to_owned(),
    }
}

impl Bench {
    fn open_gap(&self) {
        self.pipeline.send_modify(|view| view.gaps = vec![gap()]);
    }

    /// An hour of bars that are old enough to be compared and are not.
    fn uncompared(&self) {
        let unchecked = Unchecked {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: gap().from,
            to: gap().to,
            bars: 2,
            over: true,
        };
        self.pipeline.send_modify(|view| view.unchecked = vec![unchecked]);
    }

    async fn until(&self, met: impl Fn(&BackfillView) -> bool) {
        until(&format!("as wished: {:?}", self.shown.borrow()), || {
            met(&self.shown.borrow())
        })
        .await;
    }
}

#[actix_rt::test]
async fn an_open_gap_is_asked_about_and_the_answer_handed_on() {
    let (url, heads) = rest_of(vec![("200 OK\r\napi-credits-used: 3\r\napi-credits-left: 5", BARS)]);
    let bench = run(&url, 800);
    bench.open_gap();
    bench.until(|view| view.answered_total == 1).await;
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("GET /time_series?symbol=USD/COP&interval=5min&start_date=2026-03-02T14:00:00&end_date=2026-03-02T14:10:00&timezone=UTC"), "{}", heads[0]);
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains("authorization: apikey secret-1") && !heads[0].lines().next().unwrap().contains("secret"));
    let arrivals = bench.ground.heap.arrivals();
    let asked = Requested {
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: gap().from,
        to: gap().to,
    };
    assert_eq!(arrivals[0].heard.what, InputKind::Requested(asked));
    let Decoded::Bars(fetched) = &arrivals[1].says else {
        panic!("{:?}", arrivals[1])
    };
    assert_eq!(
        (fetched.bars.len(), fetched.from, fetched.to),
        (1, gap().from, gap().to)
    );
    assert_eq!(
        crate::domain::vendor::wire::says(&arrivals[1].heard).as_ref(),
        Ok(&arrivals[1].says)
    );
    assert_eq!(
        bench.keys.borrow().keys[0].0.used_minute,
        3,
        "the vendor's count is believed"
    );
}

#[actix_rt::test]
async fn an_empty_window_is_an_answer() {
    let (url, _) = rest_of(vec![("400 Bad Request", NONE)]);
    let bench = run(&url, 800);
    bench.open_gap();
    bench.until(|view| view.answered_total == 1).await;
    assert!(
        matches!(&bench.ground.heap.arrivals()[1].says, Decoded::Bars(fetched) if fetched.bars.is_empty() && fetched.to == gap().to)
    );
}

#[actix_rt::test]
async fn a_spent_key_is_put_aside_and_the_next_one_asks_at_once() {
    let (url, heads) = rest_of(vec![("200 OK", SPENT), ("200 OK", BARS)]);
    let bench = run(&url, 800);
    bench.open_gap();
    bench.until(|view| view.answered_total == 1).await;
    assert!(heads.lock().unwrap()[1].contains("secret-2"));
    assert_eq!(bench.keys.borrow().keys[0].0.state, KeyState::Spent);
    assert_eq!(bench.shown.borrow().failed_total, 1);
}

#[actix_rt::test]
async fn a_vendor_in_trouble_is_asked_again_later() {
    let (url, heads) = rest_of(vec![
        ("503 Service Unavailable", ""),
        ("200 OK", "<html>"),
        ("200 OK", BARS),
    ]);
    let bench = run(&url, 800);
    bench.open_gap();
    bench.until(|view| view.failed_total == 1).await;
    assert_eq!(heads.lock().unwrap().len(), 1);
    bench.clock.advance(Duration::from_secs(10));
    bench.open_gap();
    bench.until(|view| view.failed_total == 2).await;
    bench.clock.advance(Duration::from_secs(20));
    bench.open_gap();
    bench.until(|view| view.answered_total == 1).await;
}

#[actix_rt::test]
async fn bars_that_were_not_compared_are_asked_for_like_missing_ones() {
    let (url, heads) = rest_of(vec![("200 OK", BARS)]);
    let bench = run(&url, 800);
    bench.uncompared();
    bench.until(|view| view.answered_total == 1).await;
    assert!(heads.lock().unwrap()[0].contains("start_date=2026-03-02T14:00:00&end_date=2026-03-02T14:10:00"));
    assert!(matches!(&bench.ground.heap.arrivals()[1].says, Decoded::Bars(fetched) if fetched.bars.len() == 1));
}

#[actix_rt::test]
async fn comparisons_leave_the_reserve_alone_and_missing_bars_do_not_wait_for_them() {
    // Two keys of eleven credits: two are reserved for missing bars, and twenty are used.
    let (url, heads) = rest_of(vec![("200 OK", BARS)]);
    let bench = run(&url, 11);
    for spent in 1..=20 {
        bench.open_gap();
        bench.until(|view| view.answered_total == spent).await;
        bench.pipeline.send_modify(|view| view.gaps.clear());
        bench.clock.advance(Duration::from_secs(61));
    }
    bench.uncompared();
    bench
        .until(|view| view.next_at.is_some_and(|at| at > NOW + Duration::from_secs(7_200)))
        .await;
    assert_eq!(heads.lock().unwrap().len(), 20, "no comparison was asked for");
    bench.open_gap();
    bench.until(|view| view.answered_total == 21).await;
}

#[actix_rt::test]
async fn the_second_question_about_a_long_gap_ends_where_the_first_began() {
    let (url, heads) = rest_of(vec![("400 Bad Request", NONE), ("400 Bad Request", NONE)]);
    let bench = run(&url, 800);
    let long = Gap {
        from: gap().to - Duration::from_secs(300) * 6_000,
        bars: 6_000,
        ..gap()
    };
    for asked in 1..=2 {
        bench.pipeline.send_modify(|view| view.gaps = vec![long.clone()]);
        bench.until(|view| view.answered_total == asked).await;
        bench.clock.advance(limits::BACKFILL_AGAIN);
    }
    let heads = heads.lock().unwrap();
    let value = |head: &str, name: &str| {
        let rest = head.split_once(name).unwrap().1;
        rest.split(['&', ' ']).next().unwrap().to_owned()
    };
    assert_eq!(value(&heads[1], "end_date="), value(&heads[0], "start_date="));
    assert_eq!(value(&heads[1], "start_date="), "2026-02-09T18:10:00");
}
