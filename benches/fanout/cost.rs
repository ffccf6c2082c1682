//! Processor time of the server for each delivery, in user mode and in the kernel: the floor, candela, and peers.

use super::load::Load;
use super::peers;
use super::reader::{self, Timing, Wire};
use super::report::{Section, less, more};
use super::server::Server;
use super::whole::Whole;
use std::time::Duration;

pub(super) fn section(short: bool, clients: Option<usize>) -> Section {
    let columns = [
        less("user µs"),
        less("kernel µs"),
        less("µs a delivery"),
        more("received %"),
    ];
    let mut section = Section::new("Processor time for each delivery", &columns);
    let peers = peers::present();
    for load in Load::ALL {
        if clients.is_some_and(|clients| clients != load.clients) || (short && load.clients > 1_000) {
            continue;
        }
        let mut contenders = vec!["floor", "candela"];
        let mut rounds = if short {
            3
        } else {
            3 + 4 * usize::from(load.clients == 1_000)
        };
        if load.clients == 1_000 {
            contenders.extend((load.burst == 1).then_some("whole"));
            contenders.extend(&peers);
        } else if load.clients > 5_000 {
            rounds = 3;
        }
        section.compare(&load.name(), rounds, &contenders, |which| match which {
            "whole" => whole(load),
            which => measure(which, load),
        });
    }
    section.note(
        "candela: the fan-out alone, told as by the recorder. whole: the service with its feed, ledger and stores",
    );
    section
}

/// Starts a server, connects the clients, sends the load, and counts.
fn measure(which: &str, load: Load) -> Vec<f64> {
    let mut server = Server::start(which);
    let clients = reader::connect(&server.address, load.clients, server.wire);
    server.wait_for("clients", load.clients);
    std::thread::sleep(Duration::from_millis(600));
    let expected = load.clients * load.burst * load.bursts;
    let before = server.cpu();
    let reading =
        std::thread::spawn(move || reader::count(clients, expected, Duration::from_secs(60), Timing::Nothing));
    server.send(load.burst, load.bursts, load.pause);
    server.wait_for("sent", load.bursts);
    let received = reading.join().unwrap().received;
    let [user, kernel, both] = server.cpu().per(before, received);
    server.end();
    vec![user, kernel, both, 100.0 * received as f64 / expected as f64]
}

/// The whole service, whose vendor sends all the time: what it does before its history is there is not counted, and neither are ticks that
/// came while the clients did.
fn whole(load: Load) -> Vec<f64> {
    let rate = usize::try_from(Duration::from_secs(1).as_micros() / load.pause.as_micros()).unwrap();
    let service = Whole::start(rate);
    service.wait_for_history();
    let clients = reader::connect(&service.address, load.clients, Wire::Greeted);
    let time = load.pause * u32::try_from(load.bursts).unwrap();
    let (before, began) = (service.cpu(), reader::now_us());
    let delivered = reader::count(clients, usize::MAX, time, Timing::Made(began..u64::MAX))
        .delays_us
        .len();
    let [user, kernel, both] = service.cpu().per(before, delivered);
    let expected = (reader::now_us() - began) as f64 * 1e-6 * (load.clients * rate) as f64;
    vec![user, kernel, both, 100.0 * delivered as f64 / expected]
}
