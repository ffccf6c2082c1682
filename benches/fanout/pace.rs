//! Delays at a steady rate beside the floor's, the highest rate that is held, and the same of the whole service.

use super::reader::{self, Seen};
use super::whole::Whole;
use super::{Server, load};
use std::time::Duration;

/// Clients, ticks a second, seconds.
const PACES: [(usize, usize, usize); 2] = [(1_000, 50, 10), (5_000, 10, 10)];

/// Ticks a second to 1,000 clients.
const RATES: [usize; 7] = [100, 250, 500, 1_000, 1_500, 2_000, 3_000];

/// How often a row that is compared with the floor is measured, in turns: a machine that others use changes meanwhile.
const ROUNDS: usize = 3;

pub(super) fn table() {
    head();
    for (clients, rate, seconds) in PACES {
        for _ in 0..ROUNDS {
            row("floor", clients, rate, seconds);
            row("candela", clients, rate, seconds);
        }
    }
    for rate in RATES {
        row("floor", 1_000, rate, 4);
        row("candela", 1_000, rate, 4);
    }
}

fn head() {
    println!(
        "{:>8} {:>8} {:>10} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "clients", "ticks/s", "who", "p50 ms", "p99 ms", "max ms", "µs/delivery", "received"
    );
}

/// The whole service beside the floor.
pub(super) fn whole() {
    println!("the whole service, with {}", Whole::stores());
    head();
    for _ in 0..ROUNDS {
        row("floor", 1_000, 50, 10);
        whole_row(1_000, 50, 10);
    }
    for rate in [500, 1_000, 1_500] {
        whole_row(1_000, rate, 10);
    }
}

/// One run of the whole service, whose vendor sends all the time: what was made before all clients were there is not counted.
fn whole_row(clients: usize, rate: usize, seconds: usize) {
    let service = Whole::start(rate);
    let readers = reader::connect(&service.address, clients, true);
    let warm = reader::now_us() + 1_000_000;
    let time = Duration::from_secs(u64::try_from(seconds).unwrap());
    let timed = warm..warm + u64::try_from(time.as_micros()).unwrap();
    let before = service.cpu_ns();
    let seen = reader::count(readers, usize::MAX, time + Duration::from_secs(2), timed);
    let cpu_us = (service.cpu_ns() - before) / 1_000.0 / seen.received.max(1) as f64;
    let received = seen.delays_us.len() as f64 / (clients * rate * seconds) as f64;
    print_row("whole", clients, rate, &seen, cpu_us, received);
}

fn row(which: &str, clients: usize, rate: usize, seconds: usize) {
    let (seen, cpu_us) = at(which, clients, rate, seconds);
    let received = seen.received as f64 / (clients * rate * seconds) as f64;
    print_row(which, clients, rate, &seen, cpu_us, received);
}

fn print_row(which: &str, clients: usize, rate: usize, seen: &Seen, cpu_us: f64, received: f64) {
    println!(
        "{clients:>8} {rate:>8} {which:>10} {:>10.2} {:>10.2} {:>10.2} {cpu_us:>12.3} {:>9.2}%",
        seen.delay_ms(0.5),
        seen.delay_ms(0.01),
        seen.delay_ms(0.0),
        100.0 * received
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
    let reading = std::thread::spawn(move || reader::count(readers, expected, patience, 0..u64::MAX));
    server.send(1, load.bursts, load.pause);
    let seen = reading.join().unwrap();
    let cpu = server.ask("cpu") - before;
    server.end();
    let received = seen.received.max(1);
    (seen, cpu / 1_000.0 / received as f64)
}
