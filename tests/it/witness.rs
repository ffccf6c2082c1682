//! A witness beside the services: what the simulated vendor tells, to be compared with what a database holds.

use crate::child::{Candela, wait_until};
use crate::servers::Database;
use awc::ws::{Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A tick: its stamp in seconds, and its price in millionths.
pub(crate) type Tick = (i64, String);

/// All that the vendor tells from the beginning on, in its order.
pub(crate) struct Witness(Arc<Mutex<Vec<Tick>>>);

impl Witness {
    /// Hears a vendor that is about to say where it listens.
    pub(crate) fn of(vendor: &mut Candela) -> Self {
        let listening: Value = serde_json::from_str(&vendor.line("\"listening\"")).unwrap();
        Self::at(listening["ws_url"].as_str().unwrap())
    }

    /// Hears the vendor at this address in a thread of its own.
    pub(crate) fn at(ws_url: &str) -> Self {
        let url = format!("{ws_url}?apikey=witness");
        let record = Arc::new(Mutex::new(Vec::new()));
        let (shared, subscribed) = (Arc::clone(&record), Arc::new(AtomicBool::new(false)));
        let ready = Arc::clone(&subscribed);
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let (_, mut socket) = awc::Client::new().ws(url).connect().await.unwrap();
                let follow = json!({"action": "subscribe", "params": {"symbols": "USD/COP"}}).to_string();
                socket.send(Message::Text(follow.into())).await.unwrap();
                while let Some(Ok(frame)) = socket.next().await {
                    let Frame::Text(text) = frame else { continue };
                    let event: Value = serde_json::from_slice(&text).unwrap();
                    if event["event"] == "price" {
                        let tick = (
                            event["timestamp"].as_i64().unwrap(),
                            micros(&event["price"].to_string()),
                        );
                        shared.lock().unwrap().push(tick);
                    }
                    ready.store(true, Ordering::Relaxed);
                }
            });
        });
        wait_until("the witness to hear", || {
            subscribed.load(Ordering::Relaxed).then_some(())
        });
        Self(record)
    }

    /// The stretches of the vendor's record that ticks, in the order in which they are stored, are made of: how many ticks each has.
    /// A tick that is none of the vendor's, or does not come after the one before it, is an error.
    pub(crate) fn stretches(&self, stored: &[Tick]) -> Result<Vec<usize>, String> {
        Ok(self.walk(stored)?.0)
    }

    /// The ticks between the first and the last stored one that are not stored.
    pub(crate) fn left_out(&self, stored: &[Tick]) -> Result<Vec<Tick>, String> {
        Ok(self.walk(stored)?.1)
    }

    fn walk(&self, stored: &[Tick]) -> Result<(Vec<usize>, Vec<Tick>), String> {
        if let Some(last) = stored.last() {
            wait_until("the witness to have heard as much", || {
                self.0.lock().unwrap().contains(last).then_some(())
            });
        }
        let mut record = self.0.lock().unwrap().clone();
        record.dedup(); // an exact repeat is set aside
        let (mut next, mut stretches, mut left_out) = (0, Vec::<usize>::new(), Vec::new());
        for tick in stored {
            if let Some(run) = stretches.last_mut().filter(|_| record.get(next) == Some(tick)) {
                *run += 1;
                next += 1;
                continue;
            }
            let ahead = record[next.min(record.len())..].iter().position(|told| told == tick);
            let Some(ahead) = ahead else {
                let told = record.iter().filter(|told| *told == tick).count();
                return Err(format!(
                    "{tick:?} is stored, the vendor told it {told} times, none of them after {next}"
                ));
            };
            if !stretches.is_empty() {
                left_out.extend_from_slice(&record[next..next + ahead]);
            }
            stretches.push(1);
            next += ahead + 1;
        }
        Ok((stretches, left_out))
    }

    /// All that was heard, counted.
    fn counted(&self) -> BTreeMap<Tick, u64> {
        let mut counted = BTreeMap::new();
        for tick in self.0.lock().unwrap().iter() {
            *counted.entry(tick.clone()).or_insert(0) += 1;
        }
        counted
    }

    /// No tick is stored that the vendor did not tell, and none twice; more than so many are.
    pub(crate) fn has_all(&self, database: &Database, more_than: usize) {
        let stored = stored(database);
        wait_until("the witness to have heard as much", || {
            let record = self.counted();
            stored
                .iter()
                .all(|(tick, count)| record.get(tick).is_some_and(|told| told >= count))
                .then_some(())
        });
        assert!(stored.len() > more_than, "{}", stored.len());
    }

    /// The seconds in which the vendor told something, between the first and the last of which something is stored, and of which nothing is.
    pub(crate) fn missing(&self, database: &Database) -> Vec<i64> {
        let stored = stored(database);
        let first = stored.keys().next().unwrap().0;
        let last = stored.keys().next_back().unwrap().0;
        let record = self.counted();
        let between = record.iter().filter(|((stamp, _), _)| *stamp > first && *stamp < last);
        let known: BTreeSet<i64> = stored.keys().map(|(stamp, _)| *stamp).collect();
        let lacking = between.filter(|((stamp, _), _)| !known.contains(stamp));
        lacking.map(|((stamp, _), _)| *stamp).collect()
    }
}

/// What the database holds.
fn stored(database: &Database) -> BTreeMap<Tick, u64> {
    let sql = "SELECT extract(epoch FROM event_time)::bigint, (last * 1000000)::bigint, count(*) FROM realtime_market_data GROUP BY 1, 2";
    let rows = database.sql(sql);
    let row = |line: &str| {
        let mut parts = line.split('|');
        let mut next = || parts.next().unwrap().to_owned();
        ((next().parse().unwrap(), next()), next().parse().unwrap())
    };
    rows.lines().map(row).collect()
}

fn micros(price: &str) -> String {
    let price: rust_decimal::Decimal = price.parse().unwrap();
    (price * rust_decimal::Decimal::from(1_000_000)).normalize().to_string()
}
