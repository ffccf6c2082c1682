//! The poller against a vendor that answers from a script.

use super::*;
use crate::actors::upstream_stage::{Heap, key_pool, rest_of};
use crate::actors::vendor;
use crate::clock::Stopwatch;
use crate::domain::feed_view::LineView;
use crate::domain::lines::Status;
use crate::domain::session::Always;
use crate::domain::tick::Provenance;

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
    heap: Heap,
    clock: Clock,
    feed: watch::Sender<FeedView>,
    shown: watch::Receiver<PollerView>,
    wanted: watch::Sender<bool>,
}

fn run(url: &str) -> Bench {
    let clock = Clock::manual(NOW);
    let heap = Heap::default();
    let told = heap.clone().start();
    let keys = ["secret-1", "secret-2", "secret-3", "secret-4", "secret-5", "secret-6"];
    let (pool, keys) = key_pool(&keys, 80_000, &clock, &told);
    let (feed, linked) = watch::channel(FeedView::idle(NOW));
    let (view, shown) = watch::channel(PollerView::default());
    let (wanted, want) = watch::channel(true);
    let sessions: Arc<dyn Sessions> = Arc::new(Always);
    Poller::new(Parts {
        rest_url: url.to_owned(),
        tls: vendor::tls(&[]),
        symbols: vec![(Symbol::usdcop(), Arc::clone(&sessions)), (eurusd(), sessions)],
        patience: Duration::from_secs(30),
        clock: clock.clone(),
        wanted: want,
        feed: linked,
        keys,
        lease: pool.clone().recipient(),
        answered: pool.recipient(),
        arrived: told.clone().recipient(),
        up: told.recipient(),
        view,
    })
    .start();
    Bench {
        heap,
        clock,
        feed,
        shown,
        wanted,
    }
}

impl Bench {
    fn link(&self, state: &'static str, usdcop: Status) {
        let line = |symbol, status| LineView {
            symbol,
            status,
            last_price_at: None,
            gap_p99: None,
            patience: Duration::from_secs(600),
            silent: false,
            suspicion: None,
        };
        let symbols = vec![line(Symbol::usdcop(), usdcop), line(eurusd(), Status::Confirmed)];
        self.feed.send_replace(FeedView {
            state,
            symbols,
            ..FeedView::idle(NOW)
        });
    }

    /// Lets market time pass until the view is as wished.
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
        let price = |arrival: &Arrival| match &arrival.says {
            Says::Price(tick) if tick.provenance == Provenance::Polled => Some(tick.symbol),
            _ => None,
        };
        self.heap.arrivals().iter().filter_map(price).collect()
    }
}

#[actix_rt::test]
async fn a_link_that_stays_down_is_replaced_and_hands_back() {
    let bench = run(&vendor_of(vec![BOTH]));
    bench.link("waiting", Status::Confirmed);
    bench.until("polled twice", |view| view.prices_total >= 4).await;
    let first = bench.heap.arrivals()[0].clone();
    assert_eq!(
        first.heard.what,
        HeardKind::Link(LinkChange::Up {
            symbols: vec![Symbol::usdcop(), eurusd()]
        })
    );
    assert!(
        first.heard.at.since(NOW) >= Duration::from_secs(30),
        "not before the limit"
    );
    for arrival in &bench.heap.arrivals() {
        assert_eq!(
            crate::domain::wire::says(&arrival.heard).as_ref(),
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
    assert_eq!(bench.heap.reports(), [Report::Polling(both), Report::PollingOver]);
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
    let lost = |arrival: &Arrival| matches!(&arrival.heard.what, HeardKind::Link(LinkChange::Lost { cause, .. }) if cause == "poll_failed");
    let heap = bench.heap.clone();
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
            .heap
            .arrivals()
            .into_iter()
            .find_map(|arrival| match arrival.says {
                Says::Unusable(unusable) => Some((unusable.symbol, unusable.reason.name())),
                _ => None,
            });
        assert_eq!(unusable, Some((Some(eurusd()), "unreadable_price")), "{odd}");
    }
}
