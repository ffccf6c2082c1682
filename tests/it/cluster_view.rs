//! What is said of a cluster as a whole: `candela cluster`, `/status` and `/metrics` of a leader, a standby and an edge.

use crate::child::{Candela, wait_until};
use crate::cluster::{Node, World};
use serde_json::Value;

fn roles(nodes: &Value) -> Vec<&str> {
    let nodes = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
    nodes.iter().filter_map(|node| node["role"].as_str()).collect()
}

/// `candela cluster` with the settings of an ingest: its code, and what it says.
fn asked(world: &mut World) -> (i32, Value) {
    let mut command = world.ingest_command("cluster", "ingest", "asked");
    let ended = Candela::of(command.arg("--json")).ended();
    let shown = serde_json::from_str(ended.stdout.trim()).unwrap_or_default();
    (ended.code(), shown)
}

fn says(world: &mut World, what: &str) {
    wait_until(what, || {
        let (code, shown) = asked(world);
        let obstacles = shown["obstacles"].to_string();
        (code == 1 && obstacles.contains(what)).then_some(())
    });
}

/// The page, or nothing while a standby that takes over does not listen.
fn metrics(node: &Node) -> String {
    let url = format!("http://{}/metrics", node.address);
    let asked = async {
        let mut answer = awc::Client::new().get(url).send().await.ok()?;
        String::from_utf8(answer.body().await.ok()?.to_vec()).ok()
    };
    actix_rt::System::new().block_on(asked).unwrap_or_default()
}

fn shows(node: &Node, line: &str) {
    wait_until(line, || metrics(node).lines().any(|known| known == line).then_some(()));
}

fn each_knows_all(nodes: [&Node; 3]) {
    for node in nodes {
        let known = wait_until("all to be known to each", || {
            let cluster = node.status()["cluster"].clone();
            (roles(&cluster["nodes"]) == ["leader", "standby", "edge"]).then_some(cluster)
        });
        assert_eq!(known["address"], node.address.as_str());
        shows(node, "candela_cluster_nodes{role=\"standby\"} 1");
        shows(node, "candela_cluster_term 1");
    }
}

fn what_is_not_there_is_a_sentence(world: &mut World) {
    // Without a cluster there is one sentence.
    world.redis.pause();
    let (code, shown) = asked(world);
    assert_eq!((code, shown["log"]["error"].is_string()), (1, true), "{shown}");
    world.redis.resume();
    let mut alone = world.command("cluster", "all", "asked");
    let ended = Candela::of(&mut alone).ended();
    assert_eq!((ended.code(), ended.stdout.as_str()), (64, ""));
    assert!(
        ended.stderr.contains("of a single node (cluster.role = \"all\")"),
        "{}",
        ended.stderr
    );
}

#[test]
fn every_node_and_the_command_say_who_leads_and_what_stands_in_the_way() {
    let mut world = World::new();
    let leader = world.ingest_on("one");
    world.log_has(3);
    let standby = world.ingest_on("two");
    let edge = world.edge("edge");
    leader.comes_to("active");
    standby.comes_to("active");
    edge.comes_to("active");
    each_knows_all([&leader, &standby, &edge]);
    shows(&edge, "candela_cluster_role{role=\"edge\"} 1");
    shows(&leader, "candela_cluster_takeovers_total 0");
    let by_node = Candela::run(&["cluster", "--url", &format!("http://{}", edge.address)]);
    let first = format!("{} leads under term 1.", leader.address);
    assert!(by_node.stdout.starts_with(&first), "{}", by_node.stdout);
    let shown = wait_until("nothing of the cluster to be in the way", || {
        let (_, shown) = asked(&mut world);
        // The test's world has no history, and its leader says so.
        let obstacles = shown["obstacles"].as_array().cloned().unwrap_or_default();
        let is_leaders = |said: &Value| {
            said.as_str()
                .is_some_and(|said| said.contains("leader") && said.contains("says: "))
        };
        (!obstacles.is_empty() && obstacles.iter().all(is_leaders)).then_some(shown)
    });
    assert_eq!(roles(&shown["nodes"]), ["leader", "standby", "edge"]);
    assert_eq!(
        (&shown["leader"], &shown["lease"]["term"]),
        (&shown["nodes"][0]["id"], &1.into())
    );
    assert!(
        shown["lease"]["left_ms"].as_u64().is_some_and(|left| left <= 3_000),
        "{shown}"
    );
    assert!(
        shown["log"]["parcel"].as_u64() > Some(2) && shown["notes"].as_array().unwrap().is_empty(),
        "{shown}"
    );
    // A node that does not run is named, and catches up when it does.
    edge.process.signal(libc::SIGSTOP);
    says(&mut world, "of the former edge");
    edge.process.signal(libc::SIGCONT);
    edge.comes_to("active");
    leader.kill();
    shows(&standby, "candela_cluster_takeovers_total 1");
    shows(&standby, "candela_cluster_role{role=\"leader\"} 1");
    shows(&edge, "candela_cluster_term 2");
    let shown = wait_until("the new leader to be named", || {
        let (_, shown) = asked(&mut world);
        (shown["leader"].is_string() && shown["lease"]["term"] == 2).then_some(shown)
    });
    let one = shown["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["id"] == shown["leader"]);
    assert_eq!(one.unwrap()["address"], standby.address.as_str());
    assert!(shown["notes"].to_string().contains("No standby"), "{shown}");
    what_is_not_there_is_a_sentence(&mut world);
}

fn listed(world: &World) -> i64 {
    match world.ask(&["HLEN", "{candela}:nodes"]) {
        redis::Value::Int(count) => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_is_stopped_is_not_listed_any_more_and_one_that_is_killed_is() {
    let mut world = World::new();
    let leader = world.ingest_on("one");
    world.log_has(3);
    let standby = world.ingest_on("two");
    let edge = world.edge("edge");
    let killed = world.edge("killed");
    wait_until("all to be listed", || (listed(&world) == 4).then_some(()));
    killed.kill();
    for (node, left) in [(edge, 3), (standby, 2), (leader, 1)] {
        node.process.signal(libc::SIGTERM);
        let ended = node.process.ended();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert_eq!(listed(&world), left);
    }
}
