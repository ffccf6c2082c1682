//! A cluster that loses parts of itself, on real servers: which node may tell and write is decided as docs/cluster.md says, clients that
//! hop from node to node see one history, `candela protocol-check` that hops finds nothing, and the database has what the vendor told, once.

use crate::child::{Candela, spawn, wait_until};
use crate::clients_guarantees::reconnects;
use crate::cluster::{Client, Node, Seen, World, are_rows_once, come_to_tell_the_same};
use crate::process_time::Wall;
use crate::servers::{Manner, Postgres, Reach, Redis, Relay, free_port};
use crate::store_outages::SmallDisk;
use crate::witness::Witness;
use awc::ws::{Frame, Message};
use candela::clock::Stopwatch;
use candela::domain::protocol::Continuity;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A Monday, in a session of USD/COP, just after a bar has begun.
const BEGIN: &str = "2026-03-02T13:05:20Z";

/// Over TCP, so that a relay can stand before it.
const TCP: Reach = Reach {
    tcp: true,
    password: None,
    tls: false,
};

/// A leader and others, each behind relays of its own to PostgreSQL and Redis.
struct Cluster {
    world: World,
    postgres: Postgres,
    record: Witness,
    leader: Linked,
    standby: Linked,
    edges: Vec<Linked>,
    hopper: Hopper,
    checked: Checked,
}

/// A node and its ways.
struct Linked {
    node: Node,
    to_postgres: Relay,
    to_redis: Relay,
}

/// Whether a leader tells its own clients what the log does not take.
const ALONE: &str = "CANDELA__CLUSTER__ALONE";

/// Whatever is asked of a server by this way is cut off.
const NOTHING_TO_REDIS: Manner = Manner::CutRequest(b"\r\n");
const NOTHING_TO_POSTGRES: Manner = Manner::CutRequest(b"\0");

impl Cluster {
    fn new(edges: usize) -> Self {
        Self::of(World::with_rate(BEGIN, 100), edges, |world| {
            world.ingest_command("run", "ingest", "one")
        })
    }

    /// One whose leader is started by this command.
    fn of(mut world: World, edges: usize, leader: impl FnOnce(&mut World) -> Command) -> Self {
        let postgres = Postgres::start(TCP);
        world.database = postgres.database();
        world.redis = Redis::start(TCP);
        let record = Witness::of(&mut world.vendor);
        let mut command = leader(&mut world);
        let leader = Linked::of(&world, &postgres, &mut command);
        world.log_has(3);
        let mut command = world.ingest_command("run", "ingest", "two");
        let standby = Linked::of(&world, &postgres, &mut command);
        let edge = |number| {
            let mut command = world.node("edge", &format!("edge-{number}"));
            Linked::of(&world, &postgres, &mut command)
        };
        let edges: Vec<Linked> = (0..edges).map(edge).collect();
        for one in edges.iter().chain([&leader, &standby]) {
            one.node.comes_to("active");
        }
        let addresses = edges.iter().map(|edge| edge.node.address.clone()).collect();
        let ports = edges
            .iter()
            .map(|edge| edge.node.address.rsplit_once(':').unwrap().1.parse().unwrap());
        let checked = Checked::over(ports.collect());
        let hopper = Hopper::over(addresses);
        hopper.hears_more(100);
        // From then on a standby takes over in the same epochs: the ledger of the first leader was empty, and so was the log.
        let recorded = || postgres.sql(&world.database.name, "SELECT provable FROM candela_lease") == "t";
        wait_until("the leader to be recorded", || recorded().then_some(()));
        Self {
            world,
            postgres,
            record,
            leader,
            standby,
            edges,
            hopper,
            checked,
        }
    }

    fn term(&self) -> String {
        self.postgres
            .sql(&self.world.database.name, "SELECT term FROM candela_lease")
    }

    /// The client that hops was sent one history, and the server that has the rows now has all of it, once, as the vendor made it.
    fn has_one_history(&self, postgres: &Postgres) {
        self.hopper.hears_more(100);
        self.hopper.is_whole();
        let name = &self.world.database.name;
        are_rows_once(|sql| postgres.sql(name, sql), self.hopper.last_tick());
        let stored = "SELECT extract(epoch FROM event_time)::bigint, (last * 1000000)::bigint FROM realtime_market_data ORDER BY seq";
        let stored: Vec<(i64, String)> = postgres
            .sql(name, stored)
            .lines()
            .map(|line| {
                let (at, price) = line.split_once('|').unwrap();
                (at.parse().unwrap(), price.to_owned())
            })
            .collect();
        let stretches = self.record.stretches(&stored).unwrap();
        println!(
            "{} rows in stretches of the vendor's record of {stretches:?}",
            stored.len()
        );
    }
}

impl Linked {
    fn of(world: &World, postgres: &Postgres, command: &mut Command) -> Self {
        let to_postgres = Relay::before(postgres.port());
        let to_redis = Relay::before(world.redis.port());
        command
            .env("DATABASE_URL", to_postgres.of(&world.database.url))
            .env("REDIS_URL", to_redis.of(&world.redis.url()));
        // A leader that told its own clients alone for a moment, as a busy machine makes it do, is not succeeded in its epochs.
        if !command.get_envs().any(|(name, _)| name == ALONE) {
            command.env(ALONE, "hold");
        }
        Self {
            node: Node::of(command),
            to_postgres,
            to_redis,
        }
    }

    fn leads(&self) -> bool {
        self.node.process.stderr.find("this candela leads").is_some()
    }
}

/// `candela protocol-check`, whose connection is cut each second and made again to the next node.
struct Checked {
    process: Candela,
    over: Arc<Relay>,
}

impl Checked {
    /// How long it follows live data, in seconds.
    const SECONDS: u64 = 12;

    fn over(nodes: Vec<u16>) -> Self {
        let relay = Arc::new(Relay::before(nodes[0]));
        let url = relay.of(&format!("ws://127.0.0.1:{}/ws", nodes[0]));
        let process = Candela::start(&["protocol-check", &url, "--seconds", &Self::SECONDS.to_string()]);
        let began = Stopwatch::start();
        let over = Arc::downgrade(&relay);
        std::thread::spawn(move || {
            for node in nodes.iter().cycle() {
                let stay = Stopwatch::start();
                wait_until("a second", || (stay.elapsed() > Duration::from_secs(1)).then_some(()));
                let Some(relay) = over.upgrade() else { return };
                // What it checks on one connection, before and after that, needs one.
                if began.elapsed() > Duration::from_secs(Self::SECONDS - 3) {
                    return;
                }
                relay.lead_to(*node);
                let cuts = relay.cuts();
                relay.set(Manner::Cut);
                wait_until("the cut", || {
                    let waited = stay.elapsed() > Duration::from_secs(3); // nothing passes through it now
                    (relay.cuts() > cuts || waited).then_some(())
                });
                relay.set(Manner::Pass);
            }
        });
        Self { process, over: relay }
    }

    fn finds_nothing(self) {
        let ended = self.process.ended();
        drop(self.over);
        assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
        println!("{}", ended.stdout);
        assert!(reconnects(&ended.stdout) >= 2, "{}", ended.stdout);
    }
}

/// A client that goes from one node to the next each second, and continues there.
struct Hopper(Arc<Mutex<Hops>>);

#[derive(Debug, Default)]
struct Hops {
    seen: Seen,
    /// Answers of nodes that continue where another node ended.
    continued: usize,
    /// How often a server said that it could not replay everything.
    breaks: u64,
}

impl Hopper {
    fn over(addresses: Vec<String>) -> Self {
        let hops = Arc::new(Mutex::new(Hops::default()));
        let shared = Arc::clone(&hops);
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let mut continuity = Continuity::default();
                for address in addresses.iter().cycle() {
                    if Arc::strong_count(&shared) == 1 {
                        return; // the test is over
                    }
                    stay(address, &shared, &mut continuity).await;
                    continuity.reconnected();
                }
            });
        });
        Self(hops)
    }

    /// Waits until the ticks of its channel have so many numbers more; on a busy machine one message stands for several.
    fn hears_more(&self, count: u64) {
        let before = self.last_tick();
        let began = Stopwatch::start();
        wait_until("more ticks", || {
            let last = self.last_tick();
            let hops = self.0.lock().unwrap();
            let state = (last, hops.continued, hops.breaks, &hops.seen.wrong);
            assert!(began.elapsed() < Duration::from_secs(50), "after {before}: {state:?}");
            (last >= before + count).then_some(())
        });
    }

    fn last_tick(&self) -> u64 {
        let hops = self.0.lock().unwrap();
        let last = hops
            .seen
            .told
            .keys()
            .rfind(|(channel, ..)| channel.starts_with("ticks:"));
        last.map_or(0, |(.., seq)| *seq)
    }

    /// Every message came once, in order, with one content, in one epoch, wherever it was sent from; or `from` says which it stands for.
    fn is_whole(&self) {
        let hops = self.0.lock().unwrap();
        assert_eq!((&hops.seen.wrong, hops.breaks), (&vec![], 0));
        assert!(hops.continued > 0, "it never hopped");
    }
}

/// Follows everything at a node for a second, from where the last node ended.
async fn stay(address: &str, hops: &Mutex<Hops>, continuity: &mut Continuity) {
    let stay = Stopwatch::start();
    let url = format!("http://{address}/ws?channels=status");
    let Ok((_, mut socket)) = awc::Client::new().ws(url).connect().await else {
        return actix_rt::time::sleep(Duration::from_millis(200)).await;
    };
    let since = continuity.since();
    let first = since.as_object().is_none_or(serde_json::Map::is_empty);
    let since = if first { json!("session_start") } else { since };
    let every = ["ticks:*", "bars.5m:*", "quality:*", "session:*", "events"];
    let follow = json!({"action": "subscribe", "id": 1, "channels": every, "since": since,
        "options": {"snapshot": false}});
    if socket.send(Message::Text(follow.to_string().into())).await.is_err() {
        return;
    }
    while let Some(left) = Duration::from_secs(1).checked_sub(stay.elapsed()) {
        match tokio::time::timeout(left, socket.next()).await {
            Ok(Some(Ok(Frame::Text(text)))) => {
                let mut hops = hops.lock().unwrap();
                let answers = hops.seen.answers.len();
                hops.seen.hear(&text, continuity);
                hops.continued += usize::from(!first && hops.seen.answers.len() > answers);
                hops.breaks = continuity.told();
            }
            Ok(Some(Ok(Frame::Ping(bytes)))) => drop(socket.send(Message::Pong(bytes)).await),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

#[test]
fn of_two_standbys_one_leads_after_each_loss_and_a_client_that_hops_over_three_edges_sees_one_history() {
    let mut cluster = Cluster::new(3);
    let mut command = cluster.world.ingest_command("run", "ingest", "three");
    let third = Linked::of(&cluster.world, &cluster.postgres, &mut command);
    third.node.comes_to("active");
    cluster.leader.node.process.signal(libc::SIGKILL);
    wait_until("one of two to lead", || {
        (cluster.standby.leads() || third.leads()).then_some(())
    });
    cluster.hopper.hears_more(200);
    assert_eq!(cluster.term(), "2");
    assert_ne!(cluster.standby.leads(), third.leads(), "one of them");
    let (now, next) = if third.leads() {
        (&third, &cluster.standby)
    } else {
        (&cluster.standby, &third)
    };
    now.node.process.signal(libc::SIGTERM);
    wait_until("the other to lead", || next.leads().then_some(()));
    cluster.hopper.hears_more(200);
    assert_eq!(cluster.term(), "3");
    cluster.has_one_history(&cluster.postgres);
    cluster.checked.finds_nothing();
}

#[test]
fn a_redis_that_stands_still_is_emptied_restarted_or_restored_costs_no_client_a_message() {
    let mut cluster = Cluster::new(2);
    cluster.world.redis.pause();
    let stopped = Stopwatch::start();
    wait_until("five seconds", || {
        (stopped.elapsed() > Duration::from_secs(5)).then_some(())
    });
    cluster.world.redis.resume();
    cluster.hopper.hears_more(100);
    cluster.world.ask(&["FLUSHALL"]);
    cluster.hopper.hears_more(100);
    cluster.world.redis.kill();
    cluster.world.redis.restart();
    cluster.hopper.hears_more(100);
    cluster.world.ask(&["SAVE"]);
    cluster.hopper.hears_more(100);
    cluster.world.redis.kill();
    cluster.world.redis.restart();
    cluster.hopper.hears_more(100);
    assert_eq!(cluster.term(), "1");
    cluster.has_one_history(&cluster.postgres);
    for node in cluster.edges.iter().chain([&cluster.leader]) {
        wait_until("a node without a condition of the log", || {
            let well =
                !node.node.holds("log_stale") && !node.node.holds("log_down") && !node.node.holds("log_diverged");
            well.then_some(())
        });
    }
    cluster.checked.finds_nothing();
}

/// A process that ends with its value.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

#[test]
fn a_redis_master_that_is_killed_in_a_burst_is_replaced_by_its_replica() {
    let world = World::with_rate(BEGIN, 300);
    let mut cluster = Cluster::of(world, 2, |world| world.ingest_command("run", "ingest", "one"));
    let mut replica = cluster.world.redis;
    cluster.world.redis = Redis::start(TCP);
    std::mem::swap(&mut replica, &mut cluster.world.redis);
    let master = cluster.world.redis.port().to_string();
    let ask = |redis: &Redis, words: &[&str]| {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        redis::cmd(words[0])
            .arg(&words[1..])
            .query::<redis::Value>(&mut connection)
            .unwrap()
    };
    ask(&replica, &["REPLICAOF", "127.0.0.1", &master]);
    wait_until("the replica to follow", || {
        let info: String = redis::from_redis_value(ask(&replica, &["INFO", "replication"])).unwrap();
        info.contains("master_link_status:up").then_some(())
    });
    // A sentinel watches the master; the relays lead where it says, as HAProxy does.
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let settings = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor log 127.0.0.1 {master} 1\nsentinel down-after-milliseconds log 500\n\
         sentinel failover-timeout log 5000\n"
    );
    std::fs::write(folder.path().join("sentinel.conf"), settings).unwrap();
    let mut command = Command::new("redis-server");
    command
        .arg(folder.path().join("sentinel.conf"))
        .arg("--sentinel")
        .current_dir(&folder);
    let _sentinel = Ends(spawn(command.stdout(Stdio::null()), libc::SIGKILL));
    let announced = || {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
        let mut connection = client.get_connection().ok()?;
        let mut ask = redis::cmd("SENTINEL");
        let (_, port): (String, String) = ask
            .arg("get-master-addr-by-name")
            .arg("log")
            .query(&mut connection)
            .ok()?;
        let known: redis::Value = redis::cmd("SENTINEL")
            .arg("replicas")
            .arg("log")
            .query(&mut connection)
            .ok()?;
        matches!(known, redis::Value::Array(known) if !known.is_empty() || port != master).then_some(port)
    };
    wait_until("the sentinel to know both", || {
        announced().filter(|port| *port == master)
    });
    cluster.hopper.hears_more(300);
    cluster.world.redis.kill();
    let promoted = wait_until("the sentinel to promote the replica", || {
        announced().filter(|port| *port != master)
    });
    assert_eq!(promoted, replica.port().to_string());
    for node in cluster.edges.iter().chain([&cluster.leader, &cluster.standby]) {
        node.to_redis.lead_to(replica.port());
    }
    cluster.hopper.hears_more(600);
    assert_eq!(cluster.term(), "1");
    cluster.has_one_history(&cluster.postgres);
    cluster.checked.finds_nothing();
}

#[test]
fn a_postgresql_that_is_lost_is_replaced_by_the_one_that_followed_it() {
    let mut cluster = Cluster::new(2);
    let follower = cluster.postgres.follower();
    cluster.hopper.hears_more(200);
    cluster.postgres.kill();
    cluster.hopper.hears_more(100);
    follower.sql("postgres", "SELECT pg_promote()");
    for node in cluster.edges.iter().chain([&cluster.leader, &cluster.standby]) {
        node.to_postgres.lead_to(follower.port());
    }
    cluster.hopper.hears_more(200);
    cluster.has_one_history(&follower);
    wait_until("the lease to be renewed there", || {
        (!cluster.leader.node.holds("lease_unrenewable")).then_some(())
    });
    let term = follower.sql(&cluster.world.database.name, "SELECT term FROM candela_lease");
    assert_eq!(term, "1");
    cluster.checked.finds_nothing();
}

#[test]
fn a_leader_that_loses_its_way_to_the_database_alone_is_succeeded_and_ends() {
    let mut cluster = Cluster::new(2);
    cluster.leader.to_postgres.set(NOTHING_TO_POSTGRES);
    wait_until("the standby to lead", || cluster.standby.leads().then_some(()));
    cluster.hopper.hears_more(200);
    assert_eq!(cluster.term(), "2");
    let mut after = cluster.world.node("edge", "after");
    let after = Linked::of(&cluster.world, &cluster.postgres, &mut after);
    let ended = std::mem::replace(&mut cluster.leader, after).node.process.ended();
    assert_eq!(ended.code(), 75, "{}", ended.stderr);
    cluster.has_one_history(&cluster.postgres);
    cluster.checked.finds_nothing();
}

#[test]
fn a_leader_that_loses_its_way_to_the_log_alone_leads_on_and_the_others_catch_up() {
    let cluster = Cluster::of(World::with_rate(BEGIN, 100), 2, |world| {
        let mut command = world.ingest_command("run", "ingest", "one");
        command.env(ALONE, "tell");
        command
    });
    let at_leader = Client::of(&cluster.leader.node, json!("session_start"));
    cluster.leader.to_redis.set(NOTHING_TO_REDIS);
    wait_until("the leader to say it", || {
        cluster.leader.node.holds("log_down").then_some(())
    });
    at_leader.hears_more(200);
    for edge in &cluster.edges {
        wait_until("the edges to say it", || edge.node.holds("log_stale").then_some(()));
        let shown = edge.node.status();
        assert_eq!(shown["symbols"]["USD/COP"]["safe_to_trade"], false, "{shown}");
    }
    assert_eq!(cluster.term(), "1");
    assert!(!cluster.standby.leads());
    cluster.leader.to_redis.set(Manner::Pass);
    cluster.hopper.hears_more(300);
    assert_eq!(cluster.term(), "1");
    let at_edge = Client::of(&cluster.edges[0].node, json!("session_start"));
    at_edge.hears_more(100);
    come_to_tell_the_same(&at_leader, &at_edge, 200);
    cluster.has_one_history(&cluster.postgres);
    cluster.checked.finds_nothing();
}

#[test]
fn a_leader_whose_clock_jumps_by_an_hour_leads_on() {
    let world = World::with_rate(BEGIN, 100);
    let wall = Wall::at(world.began.now().timestamp());
    let cluster = Cluster::of(world, 2, |world| {
        let mut command = world.ingest_command("run", "ingest", "one");
        let names = wall.command(&[]);
        command
            .env_remove("FAKETIME")
            .envs(names.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    });
    for jump in [3_600, -3_600] {
        wall.jump(jump);
        wait_until("the condition", || {
            cluster.leader.node.holds("clock_stepped").then_some(())
        });
        cluster.hopper.hears_more(200);
        assert_eq!(cluster.term(), "1");
        assert!(!cluster.standby.leads());
        wall.jump(0);
        wait_until("the clock to be back", || {
            let status = cluster.leader.node.status();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let back = |one: &Value| one["type"] == "clock_stepped" && one["reason"] == "stepped_back";
            conditions.iter().any(back).then_some(())
        });
    }
    cluster.has_one_history(&cluster.postgres);
    cluster.checked.finds_nothing();
}

#[test]
fn a_leader_whose_disk_is_full_for_a_moment_goes_on_and_one_whose_disk_stays_full_is_succeeded() {
    let world = World::with_rate(BEGIN, 100);
    let Some(disk) = SmallDisk::on(&world.folder.path().join("one")) else {
        println!("skipped: only root may mount the small disk that this test fills");
        return;
    };
    let cluster = Cluster::of(world, 2, |world| world.ingest_command("run", "ingest", "one"));
    let filler = disk.fill();
    wait_until("the leader to say it", || {
        cluster.leader.node.holds("ledger_unwritable").then_some(())
    });
    std::fs::remove_file(filler).unwrap();
    cluster.hopper.hears_more(200);
    assert_eq!(cluster.term(), "1", "a moment is no reason");
    disk.fill();
    wait_until("the standby to lead", || cluster.standby.leads().then_some(()));
    cluster.hopper.hears_more(200);
    assert_eq!(cluster.term(), "2");
    let log = cluster.leader.node.process.stderr.text();
    assert!(log.contains("this leader ends, and a standby takes over"), "{log}");
    cluster.has_one_history(&cluster.postgres);
    cluster.checked.finds_nothing();
}
