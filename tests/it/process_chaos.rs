//! Chaos on the real thing: random faults of random parts in random order, one or two at once, while clients check the protocol. At the
//! end everything is compared: the rows with the ledger and with what the vendor told, what clients were told with the ledger, the streams
//! of Redis with its end; and the service holds no more memory and no more descriptors than at first.
//!
//! The seed decides the faults, and is printed; `CHAOS_SEED` names it. How the processes meet is not decided by it. The short form is half
//! a minute of faults; with `CANDELA_TEST_LONG` it is five minutes, or as many as its value names, with another seed in each run.

use crate::child::{Candela, PATIENCE, signal, wait_until};
use crate::clients_hostile::resident_kib;
use crate::equal::assert_equal;
use crate::process_cuts::{STREAM, compare_with_the_vendors, rows};
use crate::process_kills::{
    Client, World, assert_kept, condition, events, in_market, is_long, of_service, pass, status, ticks,
};
use crate::servers::{Manner, Relay};
use crate::witness::{Tick, Witness};
use candela::clock::{Clock, Stopwatch};
use candela::domain::model::{Event, ServiceEventKind};
use candela::ledger::Ledger;
use candela::limits;
use fastrand::Rng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Ticks a second.
const PER_SECOND: &str = "200";
/// Clients that check the protocol from the beginning to the end, and how many of them read nothing most of the time.
const CROWD: usize = 8;
const SLOW: usize = 2;
/// So many descriptors come and go by themselves: connections to servers, files that are read.
const SPARE_DESCRIPTORS: usize = 12;
/// So much the memory of a process may grow by.
const GROWTH_KIB: u64 = 64 * 1_024;
/// Seconds of a slot.
const SLOT: i64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Service,
    Database,
    Cache,
    Link,
    Crowd,
    Passerby,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ServiceKilled,
    ServiceStopped,
    DatabaseKilled,
    DatabaseStopped,
    CacheKilled,
    CacheStopped,
    CacheEmptied,
    LinkCut,
    LinkStalled,
    ClientsStopped,
    ClientKilled,
}

impl Fault {
    const ALL: [Self; 11] = [
        Self::ServiceKilled,
        Self::ServiceStopped,
        Self::DatabaseKilled,
        Self::DatabaseStopped,
        Self::CacheKilled,
        Self::CacheStopped,
        Self::CacheEmptied,
        Self::LinkCut,
        Self::LinkStalled,
        Self::ClientsStopped,
        Self::ClientKilled,
    ];

    const fn part(self) -> Part {
        match self {
            Self::ServiceKilled | Self::ServiceStopped => Part::Service,
            Self::DatabaseKilled | Self::DatabaseStopped => Part::Database,
            Self::CacheKilled | Self::CacheStopped | Self::CacheEmptied => Part::Cache,
            Self::LinkCut | Self::LinkStalled => Part::Link,
            Self::ClientsStopped => Part::Crowd,
            Self::ClientKilled => Part::Passerby,
        }
    }

    /// Whether the service may miss what the vendor tells meanwhile.
    const fn deafens(self) -> bool {
        matches!(self.part(), Part::Service | Part::Link)
    }
}

/// What a process held when it was first at rest.
struct Held {
    pid: u32,
    descriptors: usize,
    kib: u64,
}

/// How many descriptors a process has.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Runs a command of Redis, and reads its answer.
fn ask<T: redis::FromRedisValue>(world: &World, command: &[&str]) -> T {
    let client = redis::Client::open(world.redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut built = redis::cmd(command[0]);
    built.arg(&command[1..]).query(&mut connection).unwrap()
}

struct Scene {
    world: World,
    record: Witness,
    link: Relay,
    service: Option<Candela>,
    follower: Client,
    /// Clients that check the protocol to the end, and one that is killed now and then.
    crowd: Candela,
    /// How long the crowd stays, from `began` on.
    stays: Duration,
    began: Stopwatch,
    passerby: Option<Candela>,
    random: Rng,
    /// The faults that are left of a shuffled list of all: each comes once before one comes again.
    left: Vec<Fault>,
    /// When the service may have missed something, in seconds of market time.
    deaf: Vec<(i64, i64)>,
    held: Option<Held>,
}

impl Scene {
    /// Everything runs, for so long.
    fn new(seed: u64, length: Duration) -> Self {
        let mut world = World::of(PER_SECOND);
        let record = Witness::at(&world.at.0);
        let vendor = world.at.0.rsplit_once(':').unwrap().1;
        let vendor = vendor.split('/').next().unwrap().parse().unwrap();
        let link = Relay::before(vendor);
        world.at.0 = link.of(&world.at.0);
        let service = world.service();
        let follower = of_service(&world);
        follower.saw(100);
        let stays = length + Duration::from_secs(if is_long() { 60 } else { 20 });
        let seconds = stays.as_secs().to_string();
        let (clients, slow) = (CROWD.to_string(), SLOW.to_string());
        let crowd = load(&world, &["--clients", &clients, "--slow", &slow, "--seconds", &seconds]);
        Self {
            world,
            record,
            link,
            service: Some(service),
            follower,
            crowd,
            stays,
            began: Stopwatch::start(),
            passerby: None,
            random: Rng::with_seed(seed),
            left: Vec::new(),
            deaf: Vec::new(),
            held: None,
        }
    }

    fn pid(&self) -> u32 {
        self.service.as_ref().unwrap().pid()
    }

    /// One or two faults at once, of different parts, and their end, in any order.
    fn round(&mut self) -> Vec<Fault> {
        if self.left.is_empty() {
            self.left = Fault::ALL.to_vec();
            self.random.shuffle(&mut self.left);
        }
        let mut faults = vec![self.left.swap_remove(0)];
        let second = self.left.iter().position(|fault| fault.part() != faults[0].part());
        faults.extend(
            second
                .filter(|_| self.random.u8(..3) > 0)
                .map(|at| self.left.remove(at)),
        );
        let most = if is_long() { 8_000 } else { 1_500 };
        let lasts = Duration::from_millis(self.random.u64(100..most));
        let began = self.world.now().timestamp() - 1;
        println!("{} {faults:?} for {lasts:?}", self.world.now().format("%H:%M:%S%.3f"));
        faults.iter().for_each(|fault| self.strike(*fault));
        pass(lasts);
        self.random.shuffle(&mut faults);
        faults.iter().for_each(|fault| self.mend(*fault));
        self.rests();
        if faults.iter().any(|fault| fault.deafens()) {
            self.deaf.push((began, self.world.now().timestamp() + 1));
        }
        faults
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::ServiceKilled => {
                let service = self.service.take().unwrap();
                service.signal(libc::SIGKILL);
                service.output_of_the_killed();
            }
            Fault::ServiceStopped => signal(self.pid(), libc::SIGSTOP),
            Fault::DatabaseKilled => self.world.postgres.kill(),
            Fault::DatabaseStopped => self.world.postgres.pause(),
            Fault::CacheKilled => self.world.redis.kill(),
            Fault::CacheStopped => self.world.redis.pause(),
            Fault::CacheEmptied => ask(&self.world, &["FLUSHALL"]),
            Fault::LinkCut => self.link.set(Manner::Cut),
            Fault::LinkStalled => self.link.set(Manner::Late(PATIENCE)),
            Fault::ClientsStopped => self.crowd.signal(libc::SIGSTOP),
            Fault::ClientKilled => {
                let passerby = self.passerby.take().unwrap();
                passerby.signal(libc::SIGKILL);
                passerby.output_of_the_killed();
            }
        }
    }

    fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::ServiceKilled => self.service = Some(self.world.service()),
            Fault::ServiceStopped => signal(self.pid(), libc::SIGCONT),
            Fault::DatabaseKilled => self.world.postgres.restart(),
            Fault::DatabaseStopped => self.world.postgres.resume(),
            Fault::CacheKilled => self.world.redis.restart(),
            Fault::CacheStopped => self.world.redis.resume(),
            Fault::LinkCut | Fault::LinkStalled => self.link.set(Manner::Pass),
            Fault::ClientsStopped => self.crowd.signal(libc::SIGCONT),
            Fault::CacheEmptied | Fault::ClientKilled => {} // another client comes when the service rests
        }
    }

    /// All is as it was: prices come, nothing is lost any more, every client is there, and the process holds no more than at first.
    fn rests(&mut self) {
        self.follower.saw(200);
        wait_until("every loss to be over", || {
            let now = status(self.world.port)?;
            let losses = ["feed_down", "store_behind", "cache_down", "ledger_unwritable"];
            losses.iter().all(|kind| condition(&now, kind).is_none()).then_some(())
        });
        if self.passerby.is_none() {
            self.passerby = Some(load(&self.world, &["--clients", "1", "--seconds", "3600"]));
        }
        wait_until("every client to be there", || {
            let now = status(self.world.port)?;
            (now["clients"]["connected"] == CROWD + 2).then_some(())
        });
        let pid = self.pid();
        let first = self.held.get_or_insert_with(|| Held::by(pid));
        if first.pid != pid {
            *first = Held::by(pid);
        }
        wait_until("descriptors to be given back", || {
            (descriptors(pid) <= first.descriptors + SPARE_DESCRIPTORS).then_some(())
        });
        let now = resident_kib(pid);
        assert!(now < first.kib + GROWTH_KIB, "from {} to {now} KiB", first.kib);
    }

    /// Ends everything, and compares all that is left.
    fn compare(self) {
        pass(self.stays.saturating_sub(self.began.elapsed()));
        let crowd = self.crowd.ended();
        let said: Value = serde_json::from_str(&crowd.stdout).unwrap_or_else(|_| panic!("{crowd:?}"));
        assert_eq!((crowd.code(), &said["breaks"]), (0, &0.into()), "{said}");
        assert_eq!(said["reported_losses"], 0, "{said}");
        drop(self.passerby);
        self.world.caught_up(&self.follower);
        let bars = compare_with_the_vendors(&self.world);
        let last = self.follower.seen.lock().unwrap().newest.clone().unwrap();
        wait_until("Redis to have what a client saw", || {
            let newest = stream(&self.world, STREAM, "+");
            newest.is_some_and(|(_, seq)| seq >= last.1).then_some(())
        });
        let seen = self.follower.end();
        let service = self.service.unwrap();
        service.signal(libc::SIGTERM);
        let ended = service.ended();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let ledger = self.world.ledger();
        assert!(seen.two_meanings.is_empty(), "{:#?}", seen.two_meanings);
        assert_kept(&ledger, &seen);
        assert_equal(&self.world.postgres, &self.world.database, &ledger);
        are_in_redis(&self.world, &ledger);
        let left_out = are_the_vendors(&self.world, &ledger, &self.record, &self.deaf);
        println!(
            "{} ticks told to the follower, {} delivered to the others, {} reconnects; {bars} whole bars; {left_out} ticks were missed in {} \
             stretches of time",
            seen.numbers.len(),
            said["delivered"],
            said["reconnects"],
            self.deaf.len()
        );
    }
}

impl Held {
    fn by(pid: u32) -> Self {
        Self {
            pid,
            descriptors: descriptors(pid),
            kib: resident_kib(pid),
        }
    }
}

/// Clients that check the protocol and come back when they are cut off; returns when the first of them is there.
fn load(world: &World, args: &[&str]) -> Candela {
    let url = format!("ws://127.0.0.1:{}/ws", world.port);
    let channels = "ticks:*,bars.5m:*,quality:*,session:*";
    let line = [&["load", &url, "--json", "--channels", channels], args].concat();
    Candela::of(&mut in_market(&world.began, &line))
}

/// The first number of a stream from this end on, with its epoch: `-` is the oldest, `+` the newest.
fn stream(world: &World, key: &str, end: &str) -> Option<(String, u64)> {
    let other = if end == "+" { "-" } else { "+" };
    let command = if end == "+" { "XREVRANGE" } else { "XRANGE" };
    let found: Vec<(String, BTreeMap<String, String>)> = ask(world, &[command, key, end, other, "COUNT", "1"]);
    let (_, entry) = found.into_iter().next()?;
    Some((entry["epoch"].clone(), entry["seq"].parse().unwrap()))
}

/// Each stream of Redis has the newest messages of its channel, without a hole, and the last price is the last tick.
fn are_in_redis(world: &World, ledger: &Ledger) {
    let told = ticks(ledger);
    for (channel, head) in ledger.reader().heads() {
        let name = channel.to_string();
        if head.seq == 0 || !name.ends_with(":USD/COP") {
            continue;
        }
        let key = format!("candela:stream:{name}");
        let entries: Vec<(String, BTreeMap<String, String>)> = ask(world, &["XRANGE", &key, "-", "+"]);
        let seqs: Vec<u64> = entries.iter().map(|(_, entry)| entry["seq"].parse().unwrap()).collect();
        let first = head.seq + 1 - u64::try_from(seqs.len()).unwrap();
        assert_eq!(seqs, (first..=head.seq).collect::<Vec<_>>(), "{name}");
        assert!(
            first == 1 || seqs.len() >= usize::try_from(limits::STREAM_ENTRIES).unwrap(),
            "{name} from {first}"
        );
        for (_, entry) in &entries {
            assert_eq!(entry["epoch"], head.epoch.to_string(), "{name}");
            let message: Value = serde_json::from_str(&entry["message"]).unwrap();
            if message["type"] == "market_data" {
                let seq = message["seq"].as_u64().unwrap();
                assert_eq!(told.get(&seq), Some(&message["data"]["price"].to_string()), "{message}");
            }
        }
    }
    let latest: String = ask(world, &["GET", "usdcop:latest_price"]);
    let latest: Value = serde_json::from_str(&latest).unwrap();
    assert_eq!(
        told.values().next_back(),
        Some(&latest["price"].to_string()),
        "{latest}"
    );
}

/// When the link was down, as the ledger's journal has it, in seconds of market time. A link that is silent is down from the last tick on: on
/// a busy machine that happens without a fault of ours.
fn link_was_down(ledger: &Ledger, live: &[Tick]) -> Vec<(i64, i64)> {
    let (mut since, mut stretches) = (None, Vec::new());
    for event in events(ledger) {
        let Event::Journal(entry) = event.event else { continue };
        let at = entry.at.secs();
        match entry.kind {
            ServiceEventKind::LinkDown => {
                let heard = live.iter().map(|(stamp, _)| *stamp).filter(|stamp| *stamp <= at).max();
                since.get_or_insert(heard.unwrap_or(at));
            }
            ServiceEventKind::LinkUp => stretches.extend(since.take().map(|since| (since, at + 1))),
            _ => {}
        }
    }
    stretches.extend(since.map(|since| (since, i64::MAX)));
    stretches
}

/// The rows are what the vendor told, in its order, each tick once; what is missing was told while the service could not hear, in a slot
/// that says so or that the vendor's own bar has filled. Returns how many are missing.
fn are_the_vendors(world: &World, ledger: &Ledger, record: &Witness, deaf: &[(i64, i64)]) -> usize {
    let stored = rows(world);
    let epochs: BTreeSet<&str> = stored.iter().map(|row| row.epoch.as_str()).collect();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
    let live = stored.iter().filter(|row| row.provenance == "live");
    let live: Vec<_> = live.map(|row| (row.stamp, row.micros.to_string())).collect();
    let left_out = record.left_out(&live).unwrap();
    let numbers = |sql: &str| -> Vec<(i64, i64)> {
        let said = world.postgres.sql(&world.database.name, sql);
        let pair = |line: &str| {
            let (one, other) = line.split_once('|').unwrap();
            (one.parse().unwrap(), other.parse().unwrap())
        };
        said.lines().map(pair).collect()
    };
    let instant = |name: &str| format!("extract(epoch FROM {name})::bigint");
    let gaps = numbers(&format!(
        "SELECT {}, {} FROM gaps",
        instant("from_at"),
        instant("to_at")
    ));
    let own = "FROM market_data WHERE source = 'candela'";
    let closed: BTreeSet<i64> = numbers(&format!("SELECT {}, 0 {own}", instant("datetime")))
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    let excused = format!(
        "SELECT {}, flags {own} AND (flags <> 0 OR provenance <> 'live')",
        instant("datetime")
    );
    let excused: BTreeSet<i64> = numbers(&excused).into_iter().map(|(at, _)| at).collect();
    let down = link_was_down(ledger, &live);
    for (stamp, price) in &left_out {
        let heard = !deaf.iter().chain(&down).any(|(from, to)| (from..=to).contains(&stamp));
        assert!(
            !heard,
            "{price} of {stamp} is missing, and the service could hear: {deaf:?}, {down:?}"
        );
        let slot = stamp - stamp.rem_euclid(SLOT);
        let said = gaps.iter().any(|(from, to)| (from..to).contains(&stamp)) || excused.contains(&slot);
        assert!(
            said || !closed.contains(&slot),
            "{price} of {stamp} is missing, and the bar of {slot} does not say so"
        );
    }
    left_out.len()
}

#[test]
fn random_faults_of_every_part_lose_and_double_nothing_that_is_not_told_as_missing() {
    let number = |name: &str| std::env::var_os(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
    let minutes = number("CANDELA_TEST_LONG").filter(|minutes| *minutes > 1).unwrap_or(5);
    let length = Duration::from_secs(if is_long() { minutes * 60 } else { 20 });
    let other = if is_long() {
        Clock::system().now().micros().unsigned_abs() % 1_000_000
    } else {
        3
    };
    let seed = number("CHAOS_SEED").unwrap_or(other);
    println!("CHAOS_SEED={seed}");
    let mut scene = Scene::new(seed, length);
    scene.rests();
    let watch = Stopwatch::start();
    let mut struck = BTreeMap::<String, u64>::new();
    while watch.elapsed() < length {
        for fault in scene.round() {
            *struck.entry(format!("{fault:?}")).or_default() += 1;
        }
    }
    scene.compare();
    println!("{struck:?}");
}
