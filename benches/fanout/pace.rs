//! Delays: at a steady rate beside the floor's, the highest rate that is held, the first seconds after a start, and what the path through
//! the ledger costs.

use super::load::Load;
use super::reader::{self, Seen, Timing, Wire};
use super::report::{Section, less, more};
use super::server::Server;
use super::whole::Whole;
use std::time::Duration;

/// Ticks a second to 1,000 clients.
const RATES: [usize; 7] = [500, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000];

/// A rate is held when all but a hundredth of its ticks come within this.
const HELD_MS: f64 = 100.0;

/// Delays at a steady rate.
pub(super) fn steady(short: bool) -> Section {
    let mut section = Section::new(
        "Delay from the tick to the client",
        &[less("p50 ms"), less("p99 ms"), more("received %")],
    );
    for (clients, rate) in [(1_000, 50), (5_000, 10)] {
        let load = Load::steady(clients, rate, if short { 4 } else { 8 });
        section.compare(&load.name(), 3, &["floor", "candela", "whole"], |which| match which {
            "whole" => delays(&whole(load, true), load),
            which => delays(&alone(which, load), load),
        });
    }
    section
}

/// The highest rate whose p99 stays under 100 ms, with nothing lost.
pub(super) fn held(short: bool) -> Section {
    let mut section = Section::new(
        "Highest rate held at 1,000 clients: p99 under 100 ms",
        &[more("ticks/s"), less("p99 ms")],
    );
    let rounds = if short { 1 } else { 3 };
    section.compare("1000 clients", rounds, &["floor", "candela", "whole"], |which| {
        let mut held = vec![0.0, f64::NAN];
        for rate in RATES {
            let load = Load::steady(1_000, rate, 3);
            let seen = match which {
                "whole" => whole(load, true),
                which => alone(which, load),
            };
            let received = delays(&seen, load)[2];
            if seen.delay_ms(0.01) > HELD_MS || received < 99.0 {
                break;
            }
            held = vec![rate as f64, seen.delay_ms(0.01)];
        }
        held
    });
    section.note(format!("tried, in order until one is not held: {RATES:?}"));
    section
}

/// The first seconds after a start with all its history to fetch, beside the same service when that is there.
pub(super) fn after_a_start(short: bool) -> Section {
    let columns = [less("p50 ms"), less("p99 ms"), more("received %")];
    let mut section = Section::new("The first seconds after a start with history to fetch", &columns);
    let load = Load::steady(1_000, 50, if short { 5 } else { 8 });
    section.compare(
        &load.name(),
        3,
        &["floor", "whole, quiet", "whole, start"],
        |which| match which {
            "floor" => delays(&alone(which, load), load),
            which => delays(&whole(load, which == "whole, quiet"), load),
        },
    );
    section
}

/// From the arrival of a frame through judgement, ledger and fan-out to one client.
pub(super) fn told(short: bool) -> Section {
    let mut section = Section::new(
        "Heard, durable, told: one client",
        &[less("p50 ms"), less("p99 ms"), more("received %")],
    );
    let load = Load::steady(1, 1_000, if short { 3 } else { 6 });
    section.compare(&load.name(), 5, &["floor", "whole"], |which| match which {
        "floor" => delays(&alone(which, load), load),
        _ => delays(&whole(load, true), load),
    });
    section
}

fn delays(seen: &Seen, load: Load) -> Vec<f64> {
    let received = 100.0 * seen.delays_us.len() as f64 / (load.clients * load.bursts) as f64;
    vec![seen.delay_ms(0.5), seen.delay_ms(0.01), received]
}

/// One run of a server that does nothing but tell.
fn alone(which: &str, load: Load) -> Seen {
    let mut server = Server::start(which);
    let readers = reader::connect(&server.address, load.clients, server.wire);
    server.wait_for("clients", load.clients);
    let expected = load.clients * load.bursts;
    let patience = load.pause * u32::try_from(load.bursts).unwrap() + Duration::from_secs(10);
    let reading = std::thread::spawn(move || reader::count(readers, expected, patience, Timing::ALL));
    server.send(1, load.bursts, load.pause);
    let seen = reading.join().unwrap();
    server.end();
    seen
}

/// One run of the whole service, whose vendor sends all the time: what was made before all clients were there is not counted.
fn whole(load: Load, quiet: bool) -> Seen {
    let service = Whole::start(usize::try_from(1_000_000 / load.pause.as_micros()).unwrap());
    if quiet {
        service.wait_for_history();
    }
    let readers = reader::connect(&service.address, load.clients, Wire::Greeted);
    let warm = reader::now_us() + if quiet { 1_000_000 } else { 0 };
    let time = load.pause * u32::try_from(load.bursts).unwrap();
    let made = warm..warm + u64::try_from(time.as_micros()).unwrap();
    reader::count(readers, usize::MAX, time + Duration::from_secs(2), Timing::Made(made))
}
