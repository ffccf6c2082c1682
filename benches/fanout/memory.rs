//! Memory for each idle client: of the server's process, and of the kernel.

use super::peers;
use super::reader;
use super::report::{Section, less};
use super::server::Server;
use std::time::Duration;

pub(super) fn section(short: bool) -> Section {
    let mut section = Section::new(
        "Memory for each idle client",
        &[less("resident KiB"), less("kernel KiB, both ends")],
    );
    let mut contenders = vec!["floor", "candela", "actix"];
    contenders.extend(peers::present());
    for clients in [1_000, 10_000, 20_000] {
        if rlimit::Resource::NOFILE.get_soft().unwrap() < clients as u64 + 200 {
            section.note(format!(
                "{clients} clients: skipped, the limit of descriptors is lower (ulimit -n)"
            ));
            continue;
        }
        let rounds = if short || clients > 1_000 { 1 } else { 3 };
        let all = if clients == 1_000 {
            &contenders[..]
        } else {
            &contenders[..3]
        };
        section.compare(&format!("{clients} clients"), rounds, all, |which| {
            measure(which, clients)
        });
    }
    section.note("kernel: what slabs and socket buffers of the whole machine grew by, so the client's end counts too");
    section
}

fn measure(which: &str, clients: usize) -> Vec<f64> {
    let mut server = Server::start(which);
    let warm = reader::connect(&server.address, 50, server.wire); // the code's pages are not the clients' memory
    server.wait_for("clients", 50);
    drop(warm);
    if which == "floor" {
        server.tell("forget");
    } else if which != "nats" {
        server.wait_for_at_most("clients", 0);
    }
    let before = (server.resident_kib(), kernel_kib());
    let held = reader::connect(&server.address, clients, server.wire);
    server.wait_for("clients", clients);
    std::thread::sleep(Duration::from_millis(600));
    let after = (server.resident_kib(), kernel_kib());
    drop(held);
    server.end();
    let each = |after: f64, before: f64| (after - before) / clients as f64;
    vec![each(after.0, before.0), each(after.1, before.1)]
}

/// Slabs and socket buffers of this machine.
fn kernel_kib() -> f64 {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let slab = memory.lines().find_map(|line| line.strip_prefix("Slab:")).unwrap();
    let slab: f64 = slab.trim().trim_end_matches(" kB").parse().unwrap();
    let sockets = std::fs::read_to_string("/proc/net/sockstat").unwrap();
    let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap();
    let pages = tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1).unwrap();
    slab + pages.parse::<f64>().unwrap() * 4.0
}
