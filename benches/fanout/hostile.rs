//! What well-behaved clients notice of hostile ones: their delays alone, with the attack going to another server of the same
//! machine, and with it going to theirs. The second shows what is the machine's, the third what is the server's. The server
//! takes 250 clients from one address: ten thousand that may stay and follow everything would be a load, not an attack.

use super::attack::{Attack, wrong_answers};
use super::load::Load;
use super::reader::{self, Seen, Timing};
use super::server::Server;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CLIENTS: usize = 100;
const RATE: usize = 50;

pub(super) fn table(seconds: usize) {
    println!(
        "{:>20} {:>10} {:>10} {:>10} {:>10} {:>14}",
        "100 clients", "p50 ms", "p99 ms", "max ms", "received", "resident KiB"
    );
    row("alone", None, seconds);
    row("decoy attacked", Some(false), seconds);
    row("attacked", Some(true), seconds);
    row("alone again", None, seconds);
}

fn row(name: &str, attacked: Option<bool>, seconds: usize) {
    let (seen, resident) = run(attacked, seconds);
    println!(
        "{name:>20} {:>10.2} {:>10.2} {:>10.2} {:>9.2}% {resident:>14.0}",
        seen.delay_ms(0.5),
        seen.delay_ms(0.01),
        seen.delay_ms(0.0),
        100.0 * seen.received as f64 / (CLIENTS * RATE * seconds) as f64
    );
}

fn run(attacked: Option<bool>, seconds: usize) -> (Seen, f64) {
    let mut server = Server::start("guarded");
    let decoy = Server::start("guarded");
    let readers = reader::connect(&server.address, CLIENTS, server.wire);
    server.wait_for("clients", CLIENTS);
    let load = Load::steady(CLIENTS, RATE, seconds);
    let patience = Duration::from_secs(u64::try_from(seconds).unwrap() + 10);
    let expected = CLIENTS * load.bursts;
    let reading = std::thread::spawn(move || reader::count(readers, expected, patience, Timing::ALL));
    let target = attacked.map(|own| if own { &server.address } else { &decoy.address });
    let attack = target.map(|address| attacker(address));
    server.send(1, load.bursts, load.pause);
    let seen = reading.join().unwrap();
    let resident = server.resident_kib();
    if let Some(mut attack) = attack {
        drop(attack.stdin.take());
        assert!(attack.wait().unwrap().success());
    }
    server.end();
    decoy.end();
    (seen, resident)
}

/// The attack, as a process of its own that yields to the others: its work is not the server's.
fn attacker(address: &str) -> Child {
    Command::new("nice")
        .args(["-n", "19"])
        .arg(std::env::current_exe().unwrap())
        .args(["--attack", address])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The child: attacks until its standard input ends.
pub(super) fn attack(address: &str) {
    let attack = Attack::begin(address, 10_000, Duration::from_millis(20));
    drop(std::io::stdin().lines().next());
    let answers = attack.end();
    for wrong in wrong_answers(&answers) {
        println!("{:>20} {wrong}", "WRONG:");
    }
    println!(
        "{:>20} {} offences answered as they should be",
        "",
        answers.values().sum::<usize>()
    );
}
