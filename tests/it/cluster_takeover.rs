//! A leader that is killed, stopped or told to end, and the standby that takes its place: edges keep their clients, nothing that was
//! told is missing or different afterwards, and the database has what the vendor told, once.
//!
//! The short form is one takeover of each kind; with `CANDELA_TEST_LONG` the stopped leader sleeps for 30 s, and takeovers must be as
//! quick as CLUSTER asks for.

use crate::child::{Candela, wait_until};
use crate::cluster::{Client, Node, World, are_rows_once, come_to_tell_the_same, is_gapless, tell_the_same};
use crate::servers::{Postgres, Reach};
use crate::witness::Witness;
use candela::clock::Stopwatch;
use serde_json::{Value, json};
use std::time::Duration;

fn is_long() -> bool {
    std::env::var_os("CANDELA_TEST_LONG").is_some()
}

/// How soon edges must tell again after a leader was lost. The short form runs beside others on a busy machine.
fn within(quick: Duration) -> Duration {
    if is_long() { quick } else { quick * 4 }
}

/// A leader, a standby and an edge, all up.
struct Cluster {
    world: World,
    record: Witness,
    leader: Node,
    standby: Node,
    edge: Node,
    at_leader: Client,
    at_edge: Client,
}

impl Cluster {
    fn new(begin: &str) -> Self {
        Self::of(World::beginning(begin))
    }

    fn of(mut world: World) -> Self {
        let record = Witness::of(&mut world.vendor);
        let leader = world.ingest_on("one");
        world.log_has(3);
        let standby = world.ingest_on("two");
        let edge = world.edge("edge");
        leader.comes_to("active");
        edge.comes_to("active");
        standby.comes_to("active"); // as its leader says
        assert_eq!(leader.status()["leader"], true);
        assert_eq!(standby.status()["leader"], false);
        let start = json!("session_start");
        let at_leader = Client::of(&leader, start.clone());
        let at_edge = Client::of(&edge, start);
        at_edge.hears_more(100);
        Self {
            world,
            record,
            leader,
            standby,
            edge,
            at_leader,
            at_edge,
        }
    }

    /// The standby leads now.
    fn is_taken_over(&self) -> Value {
        wait_until("the standby to lead", || {
            self.standby.process.stderr.find("this candela leads").map(drop)
        });
        let status = wait_until("the new leader to say so", || {
            Some(self.standby.status()).filter(|status| status["leader"] == true)
        });
        let term = self.world.database.sql("SELECT term FROM candela_lease");
        assert_eq!(term, "2");
        status
    }

    /// Ticks that were told are rows, once, and are the vendor's; what is missing is of the time without a leader.
    fn rows_are_the_vendors(&self, (from, to): (i64, i64)) {
        are_rows_once(|sql| self.world.database.sql(sql), self.at_edge.last_tick().1);
        self.record.has_all(&self.world.database, 100);
        let missing = self.record.missing(&self.world.database);
        let odd: Vec<&i64> = missing.iter().filter(|stamp| !(from..=to).contains(*stamp)).collect();
        assert!(odd.is_empty(), "missing outside {from} to {to}: {odd:?}");
    }

    /// Entries of the log have terms in order, and the last are of this one.
    fn log_is_of(&self, term: &str) {
        let redis::Value::Array(entries) = self.world.ask(&["XRANGE", "{candela}:log", "-", "+"]) else {
            panic!("no log")
        };
        let terms: Vec<String> = entries.into_iter().map(term_of).collect();
        assert!(terms.is_sorted(), "{terms:?}");
        assert_eq!(terms.last().map(String::as_str), Some(term));
    }
}

fn term_of(entry: redis::Value) -> String {
    let (_, fields): (String, std::collections::BTreeMap<String, redis::Value>) =
        redis::from_redis_value(entry).unwrap();
    redis::from_redis_value(fields["term"].clone()).unwrap()
}

/// Each bar of five minutes that the client was told, by its number, is the same for all who were told it.
fn epoch_of(client: &Client) -> String {
    client.last_tick().0
}

/// The market time in seconds, a moment before the bar of five minutes ends.
fn wait_for_the_end_of_a_bar(world: &World) {
    let began = Stopwatch::start();
    loop {
        let left = 300 - world.began.now().timestamp().rem_euclid(300);
        if (1..=2).contains(&left) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(320), "{left}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the end of a bar is a matter of time alone")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn a_killed_leader_is_succeeded_in_seconds_and_edges_keep_their_clients_and_epochs() {
    let mut cluster = Cluster::new("2026-03-02T13:04:00Z");
    let mut mistaken = cluster.world.ingest_command("run", "all", "mistaken");
    let refused = Candela::of(&mut mistaken).ended();
    assert_eq!(refused.code(), 75, "{}", refused.stderr);
    assert!(refused.stderr.contains("another candela writes to the database"));
    wait_for_the_end_of_a_bar(&cluster.world);
    let epoch = epoch_of(&cluster.at_edge);
    let last = cluster.world.began.now().timestamp() - 2;
    cluster.leader.process.signal(libc::SIGKILL);
    let lost = Stopwatch::start();
    wait_until("the client of the dead to notice", || {
        cluster.at_leader.0.lock().unwrap().ended.then_some(())
    });
    assert!(tell_the_same(&cluster.at_leader, &cluster.at_edge) > 100);
    let (_, before) = cluster.at_edge.last_tick();
    wait_until("data at the edge again", || {
        let (_, seq) = cluster.at_edge.last_tick();
        (seq > before && cluster.standby.process.stderr.find("this candela leads").is_some()).then_some(())
    });
    let took = lost.elapsed();
    println!("data at the edge {took:?} after SIGKILL");
    assert!(took < within(Duration::from_secs(5)), "{took:?}");
    let again = cluster.world.began.now().timestamp() + 2;
    cluster.is_taken_over();
    cluster.at_edge.hears_more(100);
    assert_eq!(epoch_of(&cluster.at_edge), epoch);
    is_gapless(&cluster.at_edge);
    // All that the dead one told, and what it told its own clients, is told by the new one too.
    let at_new = Client::of(&cluster.standby, json!("session_start"));
    at_new.hears_more(20);
    come_to_tell_the_same(&at_new, &cluster.at_edge, 200);
    let dead = cluster.at_leader.0.lock().unwrap().told.clone();
    let known = at_new.0.lock().unwrap().told.clone();
    assert!(
        dead.iter()
            .all(|(place, text)| known.get(place).is_none_or(|other| other == text))
    );
    // The gap of the time without a leader: what its slot lacked before may be its cause.
    let told = |status: &str| {
        let seen = cluster.at_edge.0.lock().unwrap();
        let is_it = |text: &String| {
            let gap: Value = serde_json::from_str(text).unwrap();
            let second = |end: &str| {
                chrono::DateTime::parse_from_rfc3339(gap["data"][end].as_str().unwrap())
                    .unwrap()
                    .timestamp()
            };
            gap["type"] == "gap" && gap["data"]["status"] == status && second("from") <= again && last < second("to")
        };
        let mut quality = seen
            .told
            .iter()
            .filter(|((channel, ..), _)| channel.starts_with("quality:"));
        quality.any(|(_, text)| is_it(text)).then_some(())
    };
    wait_until("the gap to be announced", || told("open"));
    let announced = Stopwatch::start(); // the vendor's bars are asked for when they are settled
    while is_long() && told("filled").is_none() {
        assert!(announced.elapsed() < Duration::from_secs(300), "the gap is not healed");
        pause();
    }
    let took_over =
        |((channel, ..), text): (&(String, String, u64), &String)| channel == "events" && text.contains("took_over");
    let told = cluster.at_edge.0.lock().unwrap().told.clone();
    assert!(told.iter().any(took_over), "the journal tells of it");
    assert!(!cluster.at_edge.0.lock().unwrap().ended);
    cluster.rows_are_the_vendors((last, again));
    cluster.log_is_of("2");
    cluster.edge.comes_to("active");
}

#[test]
fn a_leader_that_was_stopped_beyond_its_lease_tells_and_writes_nothing_when_it_goes_on() {
    let cluster = Cluster::new("2026-03-02T13:05:20Z");
    let last = cluster.world.began.now().timestamp() - 2;
    cluster.leader.process.signal(libc::SIGSTOP);
    let stopped = Stopwatch::start();
    cluster.is_taken_over();
    cluster.at_edge.hears_more(50);
    let again = cluster.world.began.now().timestamp() + 2;
    while is_long() && stopped.elapsed() < Duration::from_secs(30) {
        pause();
    }
    let health = "SELECT count(*) FROM system_health";
    let checks: u64 = cluster.world.database.sql(health).parse().unwrap();
    cluster.leader.process.signal(libc::SIGCONT);
    let woken = Stopwatch::start();
    let pid = cluster.standby.process.pid();
    wait_until("the client of the old one to be sent away", || {
        cluster.at_leader.0.lock().unwrap().ended.then_some(())
    });
    let Cluster {
        world,
        record,
        leader,
        standby,
        edge,
        at_leader,
        at_edge,
    } = cluster;
    let ended = leader.process.ended();
    assert_eq!(ended.code(), 75, "{}", ended.stderr);
    assert!(woken.elapsed() < Duration::from_secs(30), "{:?}", woken.elapsed());
    at_edge.hears_more(50);
    // Whatever the old one told, also after it went on, is what the others were told under that number.
    come_to_tell_the_same(&at_leader, &at_edge, 100);
    let old = at_leader.0.lock().unwrap();
    let others = at_edge.0.lock().unwrap();
    let alone: Vec<_> = old
        .told
        .keys()
        .filter(|place| !others.told.contains_key(place))
        .collect();
    assert!(alone.is_empty(), "told by the old leader alone: {alone:?}");
    drop((old, others));
    let redis::Value::BulkString(line) = world.ask(&["GET", "candela:writer"]) else {
        panic!("nobody has Redis")
    };
    assert!(String::from_utf8(line).unwrap().contains(&format!(" {pid} ")));
    let written: u64 = world.database.sql(health).parse().unwrap();
    assert!(written <= checks + 2, "{checks} {written}");
    is_gapless(&at_edge);
    let at_leader = Client::of(&standby, json!("session_start"));
    let leader = world.edge("after");
    let cluster = Cluster {
        world,
        record,
        leader,
        standby,
        edge,
        at_leader,
        at_edge,
    };
    cluster.rows_are_the_vendors((last, again));
    cluster.log_is_of("2");
}

#[test]
fn a_leader_that_is_told_to_end_hands_on_in_a_moment() {
    let cluster = Cluster::new("2026-03-02T13:05:20Z");
    let epoch = epoch_of(&cluster.at_edge);
    let last = cluster.world.began.now().timestamp() - 2;
    cluster.leader.process.signal(libc::SIGTERM);
    let told = Stopwatch::start();
    wait_until("the standby to lead", || {
        cluster.standby.process.stderr.find("this candela leads").map(drop)
    });
    let (_, before) = cluster.at_edge.last_tick();
    wait_until("data at the edge again", || {
        (cluster.at_edge.last_tick().1 > before).then_some(())
    });
    let took = told.elapsed();
    println!("data at the edge {took:?} after SIGTERM");
    let logs = || {
        format!(
            "{}\n\n{}",
            cluster.leader.process.stderr.text(),
            cluster.standby.process.stderr.text()
        )
    };
    assert!(took < within(Duration::from_millis(1_500)), "{took:?}\n{}", logs());
    let again = cluster.world.began.now().timestamp() + 2;
    cluster.is_taken_over();
    cluster.at_edge.hears_more(100);
    assert_eq!(epoch_of(&cluster.at_edge), epoch);
    is_gapless(&cluster.at_edge);
    assert!(!cluster.at_edge.0.lock().unwrap().ended);
    cluster.rows_are_the_vendors((last, again));
    cluster.log_is_of("2");
    let ended = cluster.leader.process.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("ERROR"),
        "it hands on, which is no error: {}",
        ended.stderr
    );
}

#[test]
fn a_standby_that_takes_over_beside_a_redis_that_hangs_keeps_its_lease_meanwhile() {
    let cluster = Cluster::new("2026-03-02T13:05:20Z");
    cluster.world.redis.pause();
    cluster.leader.process.signal(libc::SIGKILL);
    let lease = || {
        let lease = "SELECT term, expires_at > clock_timestamp() FROM candela_lease";
        cluster.world.database.sql(lease)
    };
    wait_until("the standby to have the lease", || (lease() == "2|t").then_some(()));
    wait_until("the standby to lead", || {
        assert_eq!(lease(), "2|t", "it ran out while the new leader started");
        cluster.standby.process.stderr.find("this candela leads").map(drop)
    });
    cluster.world.redis.resume();
}

#[test]
fn a_leader_that_is_well_leads_on_after_an_outage_of_the_database_and_one_that_died_in_it_is_succeeded() {
    let mut postgres = Postgres::start(Reach::default());
    let mut world = World::beginning("2026-03-02T13:05:20Z");
    world.database = postgres.database();
    let leader = world.ingest_on("one");
    world.log_has(3);
    let standby = world.ingest_on("two");
    leader.comes_to("active");
    standby.comes_to("active");
    let term = |postgres: &Postgres| postgres.sql(&world.database.name, "SELECT term FROM candela_lease");
    for _ in 0..3 {
        postgres.kill();
        wait_until("the lease to run out", || {
            leader.holds("lease_unrenewable").then_some(())
        });
        postgres.restart();
        wait_until("the lease to be renewed, or taken", || {
            (!leader.holds("lease_unrenewable")).then_some(())
        });
        assert_eq!(term(&postgres), "1", "{}", standby.process.stderr.text());
    }
    postgres.kill();
    leader.process.signal(libc::SIGKILL);
    postgres.restart();
    wait_until("the standby to lead", || {
        standby.process.stderr.find("this candela leads").map(drop)
    });
    assert_eq!(term(&postgres), "2");
}

/// Twenty takeovers of each kind in a row, at a thousand ticks a second; with `CANDELA_TEST_LONG` alone.
#[test]
fn one_takeover_after_the_other_is_quick() {
    if !is_long() {
        return;
    }
    let Cluster {
        mut world,
        mut leader,
        mut standby,
        at_edge,
        edge,
        ..
    } = Cluster::of(World::with_rate("2026-03-02T13:05:20Z", 1_000));
    let mut names = ["one", "two"];
    for (signal, most) in [
        (libc::SIGTERM, Duration::from_millis(1_500)),
        (libc::SIGKILL, Duration::from_secs(5)),
    ] {
        let mut took = Vec::new();
        for _ in 0..20 {
            leader.process.signal(signal);
            let lost = Stopwatch::start();
            wait_until("the standby to lead", || {
                standby.process.stderr.find("this candela leads").map(drop)
            });
            let (_, before) = at_edge.last_tick();
            wait_until("data at the edge again", || {
                (at_edge.last_tick().1 > before).then_some(())
            });
            took.push(lost.elapsed());
            println!("{took:?} after signal {signal}");
            drop(leader.process.output_of_the_killed()); // then its folder is free
            leader = standby;
            standby = world.ingest_on(names[0]);
            names.reverse();
            standby.comes_to("active");
            leader.comes_to("active");
        }
        assert!(took.iter().all(|one| *one < most), "{took:?}");
    }
    is_gapless(&at_edge);
    assert!(!at_edge.0.lock().unwrap().ended);
    edge.comes_to("active");
}
