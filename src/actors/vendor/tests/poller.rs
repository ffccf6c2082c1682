//! The poller against a vendor that answers from a script.

use super::*;
use crate::actors::vendor::tests::upstream_stage::{Ground, rest_of};
use crate::clock::Clock;
use crate::clock::Stopwatch;
use crate::domain::model::{Always, Provenance};
use crate::domain::vendor::{FeedView, Status, SubscriptionView};
use tokio::sync::watch;

/// 2026-03-02T15:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_772_463_600);
const BOTH: &str = r#"{"USD/COP":{"price":"4012.35"},"EUR/USD":{"price":"1.08"}}"#;
const BAD_KEY: &str = r#"{"code":401,"message":"**apikey** is incorrect","status":"error"}"#;

fn eurusd() -> Symbol {
    "EUR/USD".parse().unwrap()
}

fn vendor_of(bodies: Vec<&'static str>) -> String {
    rest_of(bodies.into_iter().map(|body| ("200 OK", body)).collect()).0
}

struct Bench {
    ground: Ground,
    clock: Clock,
    feed: watch::Sender<FeedView>,
    shown: watch::Receiver<PollerView>,
    wanted: watch::Sender<bool>,
}

fn run(url: &str) -> Bench {
    let clock = Clock::manual(NOW);
    let keys = ["secret-1", "secret-2", "secret-3", "secret-4", "secret-5", "secret-6"];
    let ground = Ground::new(&keys, 80_000, clock.clone());
    let views = &ground.services.views;
    views.wanted.send_replace(true);
    let sessions: Arc<dyn Sessions> = Arc::new(Always);
    Poller::new(Deps {
        services: ground.services.clone(),
        vendor: ground.vendor(url),
        symbols: vec![(Symbol::usdcop(), Arc::clone(&sessions)), (eurusd(), sessions)],
        patience: Duration::from_secs(30),
        arrived: ground.arrived.clone(),
    })
    .start();
    Bench {
        clock,
        feed: views.feed.clone(),
        shown: views.poller.subscribe(),
        wanted: views.wanted.clone(),
        ground,
    }
}

impl Bench {
    fn link(&self, state: &'static str, usdcop: Status) {
        let line = |symbol, status| SubscriptionView {
            symbol,
            status,
            last_price_at: None,
            gap_p99: None,
            patience: Duration::from_secs(600),
            silent: false,
            unaccepted: false,
            suspicion: None,
        };
        let symbols = vec![line(Symbol::usdcop(), usdcop), line(eurusd(), Status::Confirmed)];
        self.feed.send_replace(FeedView {
            state,
            symbols,
            ..FeedView::idle(NOW)
        });
    }

    /// Lets market time pass until the view is as expected.
    async fn until(&self, what: &str, met: impl Fn(&PollerView) -> bool) {
        let since = Stopwatch::start();
        while !met(&self.shown.borrow()) {
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "never {what}: {:?}",
                self.shown.borrow()
            );
            self.clock.advance(Duration::from_millis(400));
            self.feed.send_modify(|_| {});
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn prices(&self) -> Vec<Symbol> {
        let price = |arrival: &Inbound| match &arrival.says {
            Decoded::Price(tick) if tick.provenance == Provenance::Polled => Some(tick.symbol),
            _ => None,
        };
        self.ground.heap.arrivals().iter().filter_map(price).collect()
    }
}

#[actix_rt::test]
async fn a_link_that_stays_down_is_replaced_and_hands_back() {
    let bench = run(&vendor_of(vec![BOTH]));
    bench.link("waiting", Status::Confirmed);
    bench.until("polled twice", |view| view.prices_total >= 4).await;
    let first = bench.ground.heap.arrivals()[0].clone();
    assert_eq!(
        first.heard.what,
        InputKind::Link(LinkChange::Up {
            symbols: vec![Symbol::usdcop(), eurusd()]
        })
    );
    assert!(
        first.heard.at.since(NOW) >= Duration::from_secs(30),
        "not before the limit"
    );
    for arrival in &bench.ground.heap.arrivals() {
        assert_eq!(
            crate::domain::vendor::wire::says(&arrival.heard).as_ref(),
            Ok(&arrival.says),
            "a replay says the same"
        );
    }
    bench.link("live", Status::Confirmed);
    bench.until("handed back", |view| view.polled.is_empty()).await;
    let before = bench.prices().len();
    bench.clock.advance(Duration::from_secs(60));
    bench.until("a look later", |view| view.every.is_none()).await;
    assert_eq!(bench.prices().len(), before);
    let both = vec![Symbol::usdcop(), eurusd()];
    assert_eq!(
        bench.ground.heap.reports(),
        [Report::Polling(both), Report::PollingOver]
    );
}

#[actix_rt::test]
async fn a_pair_that_is_heard_and_never_accepted_is_polled_though_the_link_has_it() {
    let bench = run(&vendor_of(vec![r#"{"price":"4012.35"}"#]));
    bench.link("live", Status::Confirmed);
    bench.feed.send_modify(|view| view.symbols[0].unaccepted = true);
    bench.until("priced", |view| view.prices_total >= 2).await;
    assert!(bench.prices().iter().all(|symbol| *symbol == Symbol::usdcop()));
    assert_eq!(bench.shown.borrow().polled, [Symbol::usdcop()]);
    bench.feed.send_modify(|view| view.symbols[0].unaccepted = false);
    bench.until("handed back", |view| view.polled.is_empty()).await;
}

#[actix_rt::test]
async fn a_pair_the_plan_refuses_is_polled_alone_with_keys_that_work() {
    let bench = run(&vendor_of(vec![BAD_KEY, BAD_KEY, r#"{"price":"4012.35"}"#]));
    bench.link("live", Status::Refused);
    bench.until("a price", |view| view.prices_total >= 2).await;
    assert!(bench.prices().iter().all(|symbol| *symbol == Symbol::usdcop()));
    assert_eq!(bench.shown.borrow().polled, [Symbol::usdcop()]);
    assert!(bench.shown.borrow().forecast.unwrap().fits());
}

#[actix_rt::test]
async fn when_polling_fails_as_well_the_pairs_are_called_lost() {
    let bench = run(&vendor_of(vec![r#"{"code":500,"message":"oh","status":"error"}"#]));
    bench.link("waiting", Status::Confirmed);
    let lost = |arrival: &Inbound| matches!(&arrival.heard.what, InputKind::Link(LinkChange::Lost { cause, .. }) if cause == "poll_failed");
    let heap = bench.ground.heap.clone();
    bench.until("lost", |_| heap.arrivals().iter().any(lost)).await;
    assert!(bench.shown.borrow().failed_total >= 2 && bench.prices().is_empty());
}

#[actix_rt::test]
async fn nothing_is_polled_while_no_prices_are_wanted() {
    let bench = run(&vendor_of(vec![BOTH]));
    bench.wanted.send_replace(false);
    bench.link("idle", Status::Pending);
    for _ in 0..20 {
        bench.clock.advance(Duration::from_secs(60));
        bench.feed.send_modify(|_| {});
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(bench.prices().is_empty());
}

#[actix_rt::test]
async fn one_pairs_unreadable_price_is_told_of_that_pair_and_the_other_is_priced() {
    for odd in [r#"{"price":null}"#, "null", r#"{"price":NaN}"#] {
        let body = format!(r#"{{"USD/COP":{{"price":"4012.35"}},"EUR/USD":{odd}}}"#);
        let body: &'static str = Box::leak(body.into_boxed_str());
        let bench = run(&vendor_of(vec![body]));
        bench.link("waiting", Status::Confirmed);
        bench.until("priced", |view| view.prices_total >= 2).await;
        assert!(bench.prices().iter().all(|symbol| *symbol == Symbol::usdcop()), "{odd}");
        let unusable = bench
            .ground
            .heap
            .arrivals()
            .into_iter()
            .find_map(|arrival| match arrival.says {
                Decoded::Unusable(unusable) => Some((unusable.symbol, unusable.reason.name())),
                _ => None,
            });
        assert_eq!(unusable, Some((Some(eurusd()), "unreadable_price")), "{odd}");
    }
}
