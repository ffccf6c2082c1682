//! The stage of the tests of feed, poller and backfill: a key pool, a collection of all messages sent, and a REST interface with scripted
//! answers.

use crate::actors::messages::{Arrived, Report};
use crate::actors::services::Services;
use crate::actors::testing;
use crate::actors::vendor::{KeyPool, KeyPoolLink, VendorAccess, key_pool, vendor};
use crate::clock::{Clock, Stopwatch};
use crate::domain::model::Inbound;
use crate::domain::vendor::{KeyPolicy, KeySlot};
use crate::ledger::KeyUseBook;
use actix::{Actor, Context, Handler, Recipient};
use secrecy::SecretString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Every message to the Aggregator and to Root; each input with the time of its arrival.
#[derive(Clone, Default)]
pub(crate) struct Heap {
    pub(crate) stamped: Arc<Mutex<Vec<(Stopwatch, Inbound)>>>,
    pub(crate) reports: Arc<Mutex<Vec<Report>>>,
}

impl Heap {
    pub(crate) fn arrivals(&self) -> Vec<Inbound> {
        let stamped = self.stamped.lock().unwrap();
        stamped.iter().map(|(_, arrival)| arrival.clone()).collect()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap().clone()
    }
}

impl Actor for Heap {
    type Context = Context<Self>;
}

impl Handler<Arrived> for Heap {
    type Result = ();
    fn handle(&mut self, arrived: Arrived, _: &mut Context<Self>) {
        let stamped = arrived.0.into_iter().map(|arrival| (Stopwatch::start(), arrival));
        self.stamped.lock().unwrap().extend(stamped);
    }
}

impl Handler<Report> for Heap {
    type Result = ();
    fn handle(&mut self, report: Report, _: &mut Context<Self>) {
        self.reports.lock().unwrap().push(report);
    }
}

/// The services and the message collection of these tests; the services' folder is removed with it.
pub(crate) struct Ground {
    pub(crate) services: Services,
    pub(crate) heap: Heap,
    pub(crate) arrived: Recipient<Arrived>,
    pub(crate) keys: KeyPoolLink,
    _folder: tempfile::TempDir,
}

impl Ground {
    /// A pool of these keys on the free plan, with `per_day` credits a day.
    pub(crate) fn new(keys: &[&str], per_day: u32, clock: Clock) -> Self {
        let (heap, folder) = (Heap::default(), tempfile::tempdir().unwrap());
        let told = heap.clone().start();
        let services = testing::services_in(folder.path(), clock, told.clone().recipient());
        let slots = (1..).map(|number| KeySlot { group: 1, number });
        let pool = KeyPool::new(key_pool::Deps {
            away: None,
            services: services.clone(),
            keys: slots.zip(keys.iter().map(|key| SecretString::from(*key))).collect(),
            policy: KeyPolicy {
                spacing: Duration::from_secs(8),
                per_minute: 8,
                per_day,
            },
            book: KeyUseBook::in_memory().unwrap(),
            retired: Arc::default(),
            withdrawn: Arc::default(),
        })
        .start();
        Self {
            services,
            heap,
            arrived: told.recipient(),
            keys: KeyPoolLink {
                acquire: pool.clone().recipient(),
                answered: pool.recipient(),
            },
            _folder: folder,
        }
    }

    /// The vendor's REST interface at this address.
    pub(crate) fn vendor(&self, url: &str) -> VendorAccess {
        VendorAccess {
            rest_url: url.to_owned(),
            tls: vendor::tls(&[]),
            keys: self.keys.clone(),
        }
    }
}

/// Answers each request with the next of `answers` (status with headers, and body); the last one is repeated. Collects the heads of the
/// requests.
pub(crate) fn rest_of(answers: Vec<(&'static str, &'static str)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&heads);
    std::thread::spawn(move || {
        for (stream, i) in listener.incoming().zip(0..) {
            let mut stream = stream.unwrap();
            let mut head = vec![0; 4_096];
            let len = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..len]).into_owned();
            asked.lock().unwrap().push(head);
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

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let since = Stopwatch::start();
    while !met() {
        assert!(since.elapsed() < Duration::from_secs(20), "never: {what}");
        actix_rt::time::sleep(Duration::from_millis(2)).await;
    }
}
