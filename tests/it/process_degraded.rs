//! What an operator and a strategy see of each loss: the condition with its reason, what clears it, its runbook, the metric that the alert
//! watches, and the journal's entry; and that all of it ends when what was lost is back. A slow client is the subject of
//! `clients_hostile`, a killed process of `process_kills`, the bars that are healed of `process_session`.

use crate::child::wait_until;
use crate::process_kills::{Client, World, condition, of_service, pass, status};
use crate::store_outages::SmallDisk;
use candela::clock::Stopwatch;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PER_SECOND: &str = "200";

/// How long all of it may take to be seen.
const AT_MOST: Duration = Duration::from_secs(5);

fn get(world: &World, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", world.port)).ok()?;
    write!(socket, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// How many entries the journal has of the condition: that it was raised, or cleared.
fn entries(world: &World, kind: &str, happened: &str) -> usize {
    let page = get(world, &format!("/status/events?type={happened}")).unwrap_or_default();
    let page: Value = serde_json::from_str(&page).unwrap_or_default();
    let all = page["events"].as_array().cloned().unwrap_or_default();
    all.iter().filter(|entry| entry["subject"] == kind).count()
}

/// The value of the metric that the alerts watch.
fn metric(world: &World, kind: &str) -> Option<f64> {
    let metrics = get(world, "/metrics")?;
    let of_it = format!("candela_condition{{type=\"{kind}\"");
    let line = metrics.lines().find(|line| line.starts_with(&of_it))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until the journal has that the condition was raised.
fn journalled(world: &World, kind: &str) {
    wait_until(&format!("the journal to have {kind}"), || {
        (entries(world, kind, "condition_raised") > 0).then_some(())
    });
}

/// Waits until the condition is on every page, and returns it as `/status` shows it, with all of `/status`.
fn shown(world: &World, kind: &str, reason: &str, at_most: Duration) -> (Value, Value) {
    let watch = Stopwatch::start();
    let (found, now) = wait_until(&format!("{kind} to hold"), || {
        let now = status(world.port)?;
        Some((condition(&now, kind)?, now))
    });
    assert!(watch.elapsed() < at_most, "{kind} was seen after {:?}", watch.elapsed());
    let watch = Stopwatch::start();
    wait_until(&format!("the metric of {kind}"), || {
        (metric(world, kind)? == 1.0).then_some(())
    });
    if kind != "ledger_unwritable" {
        journalled(world, kind); // the journal is in the ledger
    }
    assert!(
        watch.elapsed() < AT_MOST,
        "{kind} was everywhere after {:?}",
        watch.elapsed()
    );
    assert_eq!(found["reason"], reason, "{found}");
    for member in ["message", "clears_when", "since"] {
        assert!(
            found[member].as_str().is_some_and(|text| !text.is_empty()),
            "{member} in {found}"
        );
    }
    let runbook = found["runbook"].as_str().unwrap();
    assert!(get(world, runbook).is_some_and(|page| page.contains(kind)), "{runbook}");
    (found, now)
}

/// Waits until nothing shows the condition any more.
fn ended(world: &World, kind: &str) {
    wait_until(&format!("{kind} to clear"), || {
        let now = status(world.port)?;
        condition(&now, kind).is_none().then_some(())
    });
    let watch = Stopwatch::start();
    wait_until(&format!("the metric of {kind} to fall"), || {
        (metric(world, kind).unwrap_or_default() == 0.0).then_some(())
    });
    wait_until(&format!("the journal to have the end of {kind}"), || {
        (entries(world, kind, "condition_cleared") > 0).then_some(())
    });
    assert!(
        watch.elapsed() < AT_MOST,
        "the end of {kind} was seen after {:?}",
        watch.elapsed()
    );
}

/// Waits until a pair's state is as it should be.
fn pair(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, || {
        let pair = status(world.port)?["symbols"]["USD/COP"].clone();
        holds(&pair).then_some(pair)
    })
}

fn is_unsafe_for(pair: &Value, reason: &str) -> bool {
    let reasons = pair["reasons"].as_array();
    pair["safe_to_trade"] == false && reasons.is_some_and(|all| all.iter().any(|one| one == reason))
}

/// What the client saw has no hole and nothing twice.
fn saw_all(client: Client) {
    let seen = client.end();
    assert!(seen.two_meanings.is_empty(), "{:#?}", seen.two_meanings);
    assert!(seen.holes.is_empty(), "{:#?}", seen.holes);
}

#[test]
fn each_lost_server_and_a_full_disk_is_shown_everywhere_and_ends_everywhere() {
    let mut world = World::of(PER_SECOND);
    let disk = SmallDisk::on(&world.folder.path().join("ledger"));
    let service = world.service();
    let client = of_service(&world);
    client.saw(100);

    world.postgres.kill();
    let (_, now) = shown(&world, "store_behind", "unreachable", AT_MOST);
    client.saw(200); // live data goes on
    let behind = now["readers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|reader| reader["name"] == "writer")
        .cloned();
    assert!(behind.is_some(), "{}", now["readers"]);
    world.postgres.restart();
    ended(&world, "store_behind");

    world.redis.kill();
    shown(&world, "cache_down", "unreachable", AT_MOST);
    client.saw(200);
    world.redis.restart();
    ended(&world, "cache_down");

    if let Some(disk) = disk {
        let filler = disk.fill();
        // The log of the ledger has some room of its own.
        let (_, now) = shown(&world, "ledger_unwritable", "disk_full", Duration::from_secs(60));
        assert_eq!(now["state"]["name"], "error", "{}", now["state"]);
        pair(&world, "the pair to be unsafe", |pair| {
            is_unsafe_for(pair, "ledger_unwritable")
        });
        let told = client.seen.lock().unwrap().newest.clone();
        pass(Duration::from_secs(1));
        assert_eq!(
            client.seen.lock().unwrap().newest,
            told,
            "something was published that is not written"
        );
        std::fs::remove_file(filler).unwrap();
        ended(&world, "ledger_unwritable");
        journalled(&world, "ledger_unwritable");
        client.saw(200);
    } else {
        println!("skipped: only root may mount the small disk that this test fills");
    }
    saw_all(client);
    service.signal(libc::SIGTERM);
    assert_eq!(service.ended().code(), 0);
}

/// The link is lost for half a minute; a minute later the link and REST.
const LOSSES: &str = "at 08:05:20 refuse connections for 30s
at 08:05:20 drop 1006
at 08:06:30 refuse connections for 30s
at 08:06:30 rest reset for 30s
at 08:06:30 drop 1006
";

#[test]
fn a_lost_link_and_a_lost_vendor_are_shown_everywhere_and_end_everywhere() {
    let world = World::playing("1", LOSSES);
    let service = world.service();
    let client = of_service(&world);
    client.saw(5);

    let (_, now) = shown(&world, "feed_down", "upstream_close_1006", Duration::from_secs(60));
    assert_eq!(now["feed"]["connected"], false, "{}", now["feed"]);
    let seen = now["timestamp"].as_str().unwrap().get(11..19).unwrap();
    assert!(
        ("08:05:19".."08:05:25").contains(&seen),
        "the loss of 08:05:20 was seen at {seen}"
    );
    pair(&world, "the pair to be polled", |pair| pair["feed"] == "polled");
    shown(&world, "polling", "link_without", Duration::from_secs(30));
    client.saw(3); // polled prices are published
    ended(&world, "feed_down");
    ended(&world, "polling");
    pair(&world, "the pair to be live", |pair| pair["feed"] == "live");

    wait_until("both to be lost", || {
        let now = status(world.port)?;
        condition(&now, "feed_down")
    });
    pair(&world, "the pair to be unsafe", |pair| {
        pair["feed"] == "down" && is_unsafe_for(pair, "feed_down")
    });
    ended(&world, "feed_down");
    let is_back = |pair: &Value| pair["feed"] == "live" && !is_unsafe_for(pair, "feed_down");
    pair(&world, "the pair to be live again", is_back);
    saw_all(client);
    service.signal(libc::SIGTERM);
    assert_eq!(service.ended().code(), 0);
}
