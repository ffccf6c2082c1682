//! How large a cluster may be on this machine: many clients over two edges, what an edge adds to the delay of a tick, and what a delivery costs
//! there beside a single node. Only with `CANDELA_TEST_LONG`, on a machine that does nothing else, and with a release build as
//! `CANDELA_TEST_BINARY`.

use crate::child::Candela;
use crate::cluster::{Node, World, in_market};
use serde_json::Value;

/// A Monday, in a session of USD/COP, just after a bar has begun.
const BEGIN: &str = "2026-03-02T13:05:20Z";

fn is_long() -> bool {
    std::env::var_os("CANDELA_TEST_LONG").is_some()
}

/// `candela load` at each of these addresses at once, with so many clients each; what each reports.
fn loads(world: &World, addresses: &[&str], clients: u32, seconds: u32) -> Vec<Value> {
    let running: Vec<Candela> = addresses
        .iter()
        .map(|address| {
            let url = format!("ws://{address}/ws");
            let numbers = [clients, seconds].map(|number| number.to_string());
            let args = [
                "load",
                &url,
                "--json",
                "--clients",
                &numbers[0],
                "--seconds",
                &numbers[1],
            ];
            Candela::of(&mut in_market(&world.began, &args))
        })
        .collect();
    let report = |load: Candela| {
        let ended = load.ended();
        let said: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(said["breaks"], 0, "{said}");
        assert_eq!(said["clients"]["connected"], clients, "{said}");
        said
    };
    running.into_iter().map(report).collect()
}

/// A leader and edges that deliver.
fn cluster(per_second: u32, edges: usize) -> (World, Node, Vec<Node>) {
    let mut world = World::with_rate(BEGIN, per_second);
    let leader = world.ingest();
    world.log_has(3);
    let edges: Vec<Node> = (0..edges).map(|number| world.edge(&format!("edge-{number}"))).collect();
    for node in edges.iter().chain([&leader]) {
        node.comes_to("active");
    }
    (world, leader, edges)
}

#[test]
fn two_edges_serve_twenty_thousand_clients() {
    if !is_long() {
        return;
    }
    let (world, _leader, edges) = cluster(2, 2);
    let addresses: Vec<&str> = edges.iter().map(|edge| edge.address.as_str()).collect();
    let said = loads(&world, &addresses, 10_000, 20);
    for (edge, said) in edges.iter().zip(&said) {
        println!("{said}\n{} kB at most", edge.process.most_memory());
        assert!(said["delivered"].as_u64() > Some(200_000), "{said}");
        assert_eq!(
            (&said["evicted"], &said["without_connection"]),
            (&0.into(), &0.into()),
            "{said}"
        );
    }
}

#[test]
fn an_edge_adds_a_few_milliseconds_to_the_delay_of_a_tick() {
    if !is_long() {
        return;
    }
    let (world, leader, edges) = cluster(1_000, 1);
    let mut added = Vec::new();
    for _ in 0..5 {
        let said = loads(&world, &[&leader.address, &edges[0].address], 2, 10);
        let p99 = |said: &Value| said["delay"]["p99_us"].as_i64().unwrap();
        println!("leader {} edge {}", said[0]["delay"], said[1]["delay"]);
        added.push(p99(&said[1]) - p99(&said[0]));
    }
    added.sort_unstable();
    println!("p99 at the edge is later by µs: {added:?}");
    assert!(added[2] <= 5_000, "{added:?}");
}

#[test]
fn a_delivery_costs_an_edge_what_it_costs_a_single_node() {
    if !is_long() {
        return;
    }
    let cost = |world: &World, node: &Node| {
        let before = node.process.processor_seconds();
        let said = loads(world, &[&node.address], 1_000, 20).remove(0);
        let micros = (node.process.processor_seconds() - before) * 1e6 / said["delivered"].as_f64().unwrap();
        println!("{micros:.2} µs a delivery, of {} deliveries", said["delivered"]);
        micros
    };
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let single = {
            let mut world = World::with_rate(BEGIN, 50);
            let mut command = world.ingest_command("run", "all", "single");
            let node = Node::of(&mut command);
            node.comes_to("active");
            cost(&world, &node)
        };
        let (world, _leader, edges) = cluster(50, 1);
        ratios.push(cost(&world, &edges[0]) / single);
    }
    ratios.sort_by(f64::total_cmp);
    println!("edge to single node: {ratios:.2?}");
    assert!(ratios[1] <= 1.1, "{ratios:?}");
}
