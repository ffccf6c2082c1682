//! Backfill against a vendor that answers from a script.

use super::*;
use crate::actors::key_pool::{self, KeyPool};
use crate::actors::vendor;
use crate::clock::Stopwatch;
use crate::domain::gap::{Gap, GapStatus};
use crate::domain::interval::Interval;
use crate::domain::keys::{KeyPolicy, KeySlot};
use crate::domain::keys_view::{KeyState, KeysView};
use crate::ledger::KeyUseBook;
use secrecy::SecretString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

/// 2026-03-02T15:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_772_463_600);
const BARS: &str =
    r#"{"values":[{"datetime":"2026-03-02 14:00:00","open":"1","high":"3","low":"1","close":"2"}],"status":"ok"}"#;
const NONE: &str = r#"{"code":400,"message":"No data is available on the specified dates.","status":"error"}"#;
const SPENT: &str = r#"{"code":429,"message":"You have run out of API credits for the day.","status":"error"}"#;

/// Answers each request with the next of `answers` (head and body), the last for good. Collects the requests' heads.
fn vendor_of(answers: Vec<(&'static str, &'static str)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&heads);
    std::thread::spawn(move || {
        for (stream, i) in listener.incoming().zip(0..) {
            let mut stream = stream.unwrap();
            let mut head = vec![0; 4_096];
            let len = stream.read(&mut head).unwrap();
            asked
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&head[..len]).into_owned());
            let (status, body) = answers.get(i).or(answers.last()).unwrap();
            let len = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    (url, heads)
}

#[derive(Clone, Default)]
struct Heap(Arc<Mutex<Vec<Arrival>>>);

impl Actor for Heap {
    type Context = Context<Self>;
}

impl Handler<Arrived> for Heap {
    type Result = ();
    fn handle(&mut self, arrived: Arrived, _: &mut Context<Self>) {
        self.0.lock().unwrap().extend(arrived.0);
    }
}

struct Bench {
    heap: Heap,
    clock: Clock,
    pipeline: watch::Sender<PipelineView>,
    shown: watch::Receiver<BackfillView>,
    keys: watch::Receiver<KeysView>,
}

fn run(url: &str) -> Bench {
    let clock = Clock::manual(NOW);
    let heap = Heap::default();
    let (keys_view, keys) = watch::channel(KeysView::default());
    let key = |number| {
        (
            KeySlot { group: 1, number },
            SecretString::from(format!("secret-{number}")),
        )
    };
    let pool = KeyPool::new(key_pool::Parts {
        keys: vec![key(1), key(2)],
        policy: KeyPolicy {
            spacing: Duration::from_secs(8),
            per_minute: 8,
            per_day: 800,
        },
        clock: clock.clone(),
        book: KeyUseBook::in_memory().unwrap(),
        retired: Arc::default(),
        view: keys_view,
    })
    .start();
    let (pipeline, watched) = watch::channel(PipelineView::default());
    let (view, shown) = watch::channel(BackfillView::default());
    Backfill::new(Parts {
        rest_url: url.to_owned(),
        tls: vendor::tls(&[]),
        clock: clock.clone(),
        pipeline: watched,
        lease: pool.clone().recipient(),
        answered: pool.recipient(),
        arrived: heap.clone().start().recipient(),
        view,
    })
    .start();
    Bench {
        heap,
        clock,
        pipeline,
        shown,
        keys,
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

    async fn until(&self, met: impl Fn(&BackfillView) -> bool) {
        let since = Stopwatch::start();
        while !met(&self.shown.borrow()) {
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "never: {:?}",
                self.shown.borrow()
            );
            actix_rt::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[actix_rt::test]
async fn an_open_gap_is_asked_about_and_the_answer_handed_on() {
    let (url, heads) = vendor_of(vec![("200 OK\r\napi-credits-used: 3\r\napi-credits-left: 5", BARS)]);
    let bench = run(&url);
    bench.open_gap();
    bench.until(|view| view.answered_total == 1).await;
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("GET /time_series?symbol=USD/COP&interval=5min&start_date=2026-03-02T14:00:00&end_date=2026-03-02T14:10:00&timezone=UTC"), "{}", heads[0]);
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains("authorization: apikey secret-1") && !heads[0].lines().next().unwrap().contains("secret"));
    let arrivals = bench.heap.0.lock().unwrap();
    let asked = Asked {
        symbol: Symbol::usdcop(),
        from: gap().from,
        to: gap().to,
    };
    assert_eq!(arrivals[0].heard.what, HeardKind::Asked(asked));
    let Says::Bars(fetched) = &arrivals[1].says else {
        panic!("{:?}", arrivals[1])
    };
    assert_eq!(
        (fetched.bars.len(), fetched.from, fetched.to),
        (1, gap().from, gap().to)
    );
    assert_eq!(
        crate::domain::wire::says(&arrivals[1].heard).as_ref(),
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
    let (url, _) = vendor_of(vec![("400 Bad Request", NONE)]);
    let bench = run(&url);
    bench.open_gap();
    bench.until(|view| view.answered_total == 1).await;
    assert!(
        matches!(&bench.heap.0.lock().unwrap()[1].says, Says::Bars(fetched) if fetched.bars.is_empty() && fetched.to == gap().to)
    );
}

#[actix_rt::test]
async fn a_spent_key_is_put_aside_and_the_next_one_asks_at_once() {
    let (url, heads) = vendor_of(vec![("200 OK", SPENT), ("200 OK", BARS)]);
    let bench = run(&url);
    bench.open_gap();
    bench.until(|view| view.answered_total == 1).await;
    assert!(heads.lock().unwrap()[1].contains("secret-2"));
    assert_eq!(bench.keys.borrow().keys[0].0.state, KeyState::Spent);
    assert_eq!(bench.shown.borrow().failed_total, 1);
}

#[actix_rt::test]
async fn a_vendor_in_trouble_is_asked_again_later() {
    let (url, heads) = vendor_of(vec![
        ("503 Service Unavailable", ""),
        ("200 OK", "<html>"),
        ("200 OK", BARS),
    ]);
    let bench = run(&url);
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
