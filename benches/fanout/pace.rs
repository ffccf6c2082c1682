//! Delays at a steady rate beside the floor's, and the highest rate that is held.

use super::reader::{self, Seen};
use super::{Server, load};
use std::time::Duration;

/// Clients, ticks a second, seconds.
const PACES: [(usize, usize, usize); 2] = [(1_000, 50, 10), (5_000, 10, 10)];

/// Ticks a second to 1,000 clients.
const RATES: [usize; 7] = [100, 250, 500, 1_000, 1_500, 2_000, 3_000];

pub(super) fn table() {
    println!(
        "{:>8} {:>8} {:>10} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "clients", "ticks/s", "who", "p50 ms", "p99 ms", "max ms", "µs/delivery", "received"
    );
    for (clients, rate, seconds) in PACES {
        row("floor", clients, rate, seconds);
        row("candela", clients, rate, seconds);
    }
    for rate in RATES {
        row("candela", 1_000, rate, 4);
    }
}

fn row(which: &str, clients: usize, rate: usize, seconds: usize) {
    let (seen, cpu_us) = at(which, clients, rate, seconds);
    println!(
        "{clients:>8} {rate:>8} {which:>10} {:>10.2} {:>10.2} {:>10.2} {cpu_us:>12.3} {:>9.2}%",
        seen.delay_ms(0.5),
        seen.delay_ms(0.01),
        seen.delay_ms(0.0),
        100.0 * seen.received as f64 / (clients * rate * seconds) as f64
    );
}

/// One run: what was seen, and the server's CPU time for each delivery.
fn at(which: &str, clients: usize, rate: usize, seconds: usize) -> (Seen, f64) {
    let pause = Duration::from_secs(1) / u32::try_from(rate).unwrap();
    let load = load(clients, 1, rate * seconds, u64::try_from(pause.as_micros()).unwrap());
    let mut server = Server::start(which);
    let readers = reader::connect(&server.address, clients, which == "candela");
    server.wait_for("clients", clients);
    let expected = clients * load.bursts;
    let patience = Duration::from_secs(u64::try_from(seconds).unwrap() + 10);
    let before = server.ask("cpu");
    let reading = std::thread::spawn(move || reader::count(readers, expected, patience, true));
    server.send(1, load.bursts, load.pause);
    let seen = reading.join().unwrap();
    let cpu = server.ask("cpu") - before;
    server.end();
    let received = seen.received.max(1);
    (seen, cpu / 1_000.0 / received as f64)
}
