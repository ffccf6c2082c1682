//! The world: one clock, one queue of what happens next, and everything in it. All that is random comes from the plan's seed.

use crate::acts::Acts;
use crate::client::Client;
use crate::disk::Disk;
use crate::gate::History;
use crate::model::{self, Told};
use crate::plan::{Fault, Plan, Planned, S};
use crate::reach::Reach;
use crate::service::{self, Service, Shared};
use crate::stores::{Redis, Store};
use crate::vendor::Vendor;
use candela::domain::lifecycle::{Break, BreakCause, Event as LifeEvent};
use candela::domain::model::{Decoded, Input, InputKind, Timestamp, Unwatched};
use candela::domain::vendor::{Event as LinkEvent, KeySlot, KeyUse};
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Something that happens at an instant.
#[derive(Debug, Clone)]
pub(crate) enum Happens {
    /// The fault with this number begins, or ends.
    Begins(usize),
    Ends(usize),
    /// The process starts.
    Start,
    /// Deadlines of the process may have come.
    Wake,
    /// The vendor makes the next price of a pair.
    Quote(usize, usize),
    /// A frame reaches the socket with this number.
    Frame(u64, Delivery),
    /// What the vendor makes of a handshake.
    Handshake(u64, Option<(u16, &'static str)>),
    /// A pong comes.
    Pong(u64),
    /// An answer of the REST interface.
    Answer(u64, crate::rest::Asked),
    /// The recorder appends.
    Append(u64),
    /// The store, the cache, the history check answer.
    Wrote(u64, crate::stores::Step),
    Published(u64, crate::stores::Step),
    Judged(u64),
    Filled(
        u64,
        Vec<(candela::domain::model::Symbol, Vec<candela::domain::history::Stretch>)>,
    ),
    /// L0 writes its flag, or it is looked at.
    Flag(usize),
    LookAtFlag(u64),
    /// A client does something.
    Client(usize),
}

/// A frame, and what the model knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) text: String,
    pub(crate) pair: usize,
    /// The price that it carries, where that may be counted.
    pub(crate) seen: Option<model::Seen>,
    pub(crate) fate: Fate,
}

/// What has to become of a frame's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It must be accepted at once.
    Good,
    /// It must never be told.
    Bad,
    /// The same until this second has come.
    Ahead(i64),
    /// Either.
    Open,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    /// True time, microseconds since 1970.
    pub(crate) now: i64,
    /// The wall clock is ahead by so much.
    pub(crate) wall_offset: i64,
    queue: BTreeMap<(i64, u64), Happens>,
    order: u64,
    pub(crate) vendor: Vendor,
    pub(crate) calendars: Vec<Shared>,
    pub(crate) disk: Rc<RefCell<Disk>>,
    pub(crate) used: BTreeMap<KeySlot, KeyUse>,
    pub(crate) service: Option<Service>,
    /// Counts starts: what an earlier process asked is not answered to a later one.
    pub(crate) life: u64,
    pub(crate) sockets: u64,
    pub(crate) history: History,
    pub(crate) store: Store,
    pub(crate) redis: Redis,
    pub(crate) clients: Vec<Client>,
    pub(crate) told: Told,
    pub(crate) reach: Reach,
    /// What lasting faults changed.
    acts: RefCell<Acts>,
    pub(crate) wrong: Vec<String>,
    /// Which pairs the vendor streams on the socket that is open.
    pub(crate) streaming: Vec<bool>,
    woken_at: Option<i64>,
    /// The sessions in which the process died last.
    pub(crate) died_in: Vec<(usize, i64)>,
    /// When safety is looked at next.
    pub(crate) safety_at: i64,
    /// The same of what is verified.
    pub(crate) gate_at: i64,
    pub(crate) trace: bool,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) reach: Reach,
    pub(crate) faults: usize,
    pub(crate) sessions: u64,
    pub(crate) ticks: u64,
    pub(crate) bars: u64,
    pub(crate) gaps: u64,
    pub(crate) safe: u64,
}

/// Runs a plan to its end.
pub(crate) fn run(plan: Plan, trace: bool) -> Outcome {
    let mut world = World::new(plan, trace);
    world.live();
    world.close();
    world.reach.acted(&world.acts.borrow().counts);
    if world.told.safe > 0 {
        world.reach.see("a pair is called safe to trade");
    }
    Outcome {
        faults: world.plan.faults.len(),
        sessions: world.told.sessions,
        ticks: world.told.ticks,
        bars: world.told.bars,
        gaps: world.told.gaps,
        safe: world.told.safe,
        wrong: world.wrong,
        reach: world.reach,
    }
}

/// After so many violations a run ends.
const ENOUGH: usize = 5;

impl World {
    fn new(plan: Plan, trace: bool) -> Self {
        let calendars: Vec<Shared> = plan
            .pairs
            .iter()
            .map(|pair| Shared(Arc::new(RwLock::new(service::calendar(pair)))))
            .collect();
        let date = Timestamp::from_secs(plan.begins).datetime().date_naive();
        let mut world = Self {
            rng: Rng::with_seed(plan.seed),
            now: plan.begins * S,
            wall_offset: 0,
            queue: BTreeMap::new(),
            order: 0,
            vendor: Vendor::of(&plan),
            disk: Rc::new(RefCell::new(Disk::new(plan.seed ^ 0xd15c, date))),
            used: BTreeMap::new(),
            service: None,
            life: 0,
            sockets: 0,
            history: History::of(&plan),
            store: Store::default(),
            redis: Redis::default(),
            clients: (0..plan.clients).map(|i| Client::new(&plan, i)).collect(),
            told: Told::default(),
            reach: Reach::default(),
            acts: RefCell::default(),
            wrong: Vec::new(),
            streaming: Vec::new(),
            woken_at: None,
            died_in: Vec::new(),
            safety_at: 0,
            gate_at: 0,
            calendars,
            trace,
            plan,
        };
        world.at(world.now, Happens::Start);
        for (i, planned) in world.plan.faults.clone().iter().enumerate() {
            world.at(planned.from * S, Happens::Begins(i));
            if !planned.fault.instant() {
                world.at(planned.to * S, Happens::Ends(i));
            }
        }
        for pair in 0..world.plan.pairs.len() {
            let first = world.vendor.record[pair].partition_point(|quote| quote.at * S < world.now);
            if let Some(quote) = world.vendor.record[pair].get(first) {
                world.at(quote.at * S, Happens::Quote(pair, first));
            }
        }
        world.plan_flags();
        world
    }

    pub(crate) fn at(&mut self, at: i64, what: Happens) {
        self.order += 1;
        self.queue.insert((at.max(self.now), self.order), what);
    }

    /// After a random delay between these two, in milliseconds.
    pub(crate) fn after(&mut self, (least, most): (i64, i64), what: Happens) {
        let delay = self.rng.i64(least..=most) * 1_000;
        self.at(self.now + delay, what);
    }

    pub(crate) fn violated(&mut self, what: String) {
        if self.trace {
            println!("{} VIOLATED {what}", Timestamp::from_micros(self.now).datetime());
        }
        self.wrong.push(what);
    }

    /// The fault of this kind that acts now on this pair or client; asked where it is about to change what happens. Asked again, it
    /// is the same act.
    pub(crate) fn acting(&self, fault: Fault, whom: Option<usize>) -> Option<Planned> {
        self.acting_on(fault, whom, 0)
    }

    /// The same, where each thing that it changes is an act of its own.
    pub(crate) fn acting_on(&self, fault: Fault, whom: Option<usize>, thing: u64) -> Option<Planned> {
        let (number, found) = self.find_lasting(fault, whom)?;
        self.acts.borrow_mut().note(number, fault, thing);
        Some(found)
    }

    /// The same, without an act.
    pub(crate) fn lasting(&self, fault: Fault, whom: Option<usize>) -> Option<Planned> {
        self.find_lasting(fault, whom).map(|(_, found)| found)
    }

    fn find_lasting(&self, fault: Fault, whom: Option<usize>) -> Option<(usize, Planned)> {
        let acts = |(_, planned): &(usize, &Planned)| {
            let of = |count: usize| planned.whom % count.max(1);
            let whose = whom.is_none_or(|whom| of(self.plan.pairs.len()) == whom || planned.whom > 3);
            planned.fault == fault && planned.from * S <= self.now && self.now < planned.to * S && whose
        };
        let found = self.plan.faults.iter().enumerate().find(acts);
        found.map(|(number, planned)| (number, *planned))
    }

    fn live(&mut self) {
        let mut steps = 0_u64;
        let ends = self.plan.ends * S;
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 > ends || self.wrong.len() >= ENOUGH {
                break;
            }
            let ((at, _), what) = next.remove_entry();
            steps += 1;
            if steps > 3_000_000 {
                self.violated("the world does not come to an end".to_owned());
                break;
            }
            self.now = at;
            if let Some(until) = self.service.as_ref().and_then(|service| service.paused_until)
                && self.now < until
                && concerns_process(&what)
            {
                if matches!(what, Happens::Wake) {
                    self.woken_at = Some(until + 1);
                }
                self.at(until + 1, what);
                continue;
            }
            if matches!(what, Happens::Wake) && self.woken_at != Some(self.now) {
                continue; // another one took its place
            }
            self.mind_pause();
            self.happen(what);
            self.settle();
        }
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Begins(i) => self.begin_fault(i),
            Happens::Ends(i) => self.end_fault(i),
            Happens::Start => self.start(),
            Happens::Wake => self.woken_at = None,
            Happens::Quote(pair, i) => self.quote(pair, i),
            Happens::Frame(socket, delivery) => self.frame(socket, &delivery),
            Happens::Handshake(socket, refused) => self.handshaken(socket, refused),
            Happens::Pong(socket) => self.link_of(socket, LinkEvent::Ponged),
            Happens::Answer(life, asked) => self.answered(life, asked),
            Happens::Append(life) => self.append(life),
            Happens::Wrote(life, step) => self.wrote(life, step),
            Happens::Published(life, step) => self.published(life, step),
            Happens::Judged(life) => self.judged(life),
            Happens::Filled(life, missing) => self.filled(life, missing),
            Happens::Flag(i) => self.flag(i),
            Happens::LookAtFlag(life) => self.look_at_flag(life),
            Happens::Client(i) => self.client(i),
        }
    }

    /// What both clocks of the machine show.
    pub(crate) fn clocks(&self) -> (Timestamp, Duration) {
        let skew = self.lasting(Fault::ClockSkew, None).map_or(0, |planned| {
            let size = i64::try_from(planned.roll % 180).unwrap_or(0) - 90;
            size * S
        });
        let wall = Timestamp::from_micros(self.now + self.wall_offset + skew);
        let steady = u64::try_from(self.now - self.plan.begins * S).unwrap_or(0);
        (wall, Duration::from_micros(steady))
    }

    /// Market time, as the service has it.
    pub(crate) fn market(&mut self) -> Timestamp {
        let (wall, steady) = self.clocks();
        let Some(service) = &mut self.service else { return wall };
        let (now, found) = service.time.read(wall, steady);
        service.breaks.extend(found);
        now
    }

    fn start(&mut self) {
        if self.service.is_some() {
            return;
        }
        let stored = self.stored();
        if self.disk.borrow().set_back && self.lasting(Fault::StoreDown, None).is_some() {
            return self.at(self.now + S, Happens::Start); // only the store shows that, and it does not answer
        }
        self.life += 1;
        // A restart asks at once with keys that were refused.
        let accounts = self.vendor.accounts.values_mut();
        accounts.for_each(|account| account.refused_at = None);
        if self.disk.borrow().is_blank() {
            self.forget_past_sessions();
        }
        let random = self.rng.u64(..);
        let channels = service::channels(&self.plan);
        let renumbered = self.disk.borrow_mut().open(&channels, random, stored);
        self.see_start(renumbered);
        let clocks = self.clocks();
        let service = Service::start(&self.plan, &self.calendars, &self.disk, &self.used, clocks);
        if self.trace {
            println!(
                "{} started, head {}, {renumbered:?}",
                Timestamp::from_micros(self.now).datetime(),
                self.disk.borrow().head().0
            );
        }
        self.service = Some(service);
        self.told.pending = model::pending(&self.disk.borrow());
        let zones = self.zones();
        self.told.find_untold(&self.disk.borrow(), &zones);
        let now = self.market();
        self.learn_closes(now);
        self.life_on(LifeEvent::Started);
        for i in 0..self.clients.len() {
            self.after((20, 3_000), Happens::Client(i));
        }
    }

    /// The process is gone, with all that it had not written.
    pub(crate) fn crash(&mut self) {
        let Some(service) = self.service.take() else { return };
        let unwritten = service.commit_queue.len();
        self.see_crash(unwritten);
        if self.trace {
            println!(
                "{} crashed with {unwritten} entries unwritten",
                Timestamp::from_micros(self.now).datetime()
            );
        }
        if unwritten == 0 {
            self.check_rebuild(&service);
        }
        for client in &mut self.clients {
            client.disconnect();
        }
        self.woken_at = None;
        let again = self.rng.i64(200..90_000);
        self.after((again, again), Happens::Start);
    }

    /// A pause is noticed by the first reading after it.
    fn mind_pause(&mut self) {
        let Some(service) = &mut self.service else { return };
        let Some(until) = service.paused_until.filter(|until| *until <= self.now) else {
            return;
        };
        service.paused_until = None;
        let now = self.market();
        let (from, planned) = (self.plan.faults.iter(), until);
        let began = from
            .filter(|fault| fault.fault == Fault::Pause && fault.to * S == planned)
            .map(|fault| fault.from)
            .max();
        let Some(began) = began else { return };
        let lasted = Duration::from_micros(u64::try_from(self.now - began * S).unwrap_or(0));
        if lasted >= Duration::from_secs(10)
            && let Some(service) = &mut self.service
        {
            service.breaks.push(Break {
                since: now - lasted,
                until: now,
                cause: BreakCause::ProcessPaused,
            });
        }
    }

    /// Everything that is due at this instant, then the next deadline.
    fn settle(&mut self) {
        if self.service.is_none()
            || self
                .service
                .as_ref()
                .is_some_and(|service| service.paused_until.is_some())
        {
            return;
        }
        let now = self.market();
        self.mind_breaks(now);
        let service = self.service.as_mut().expect("it runs");
        service.pipeline.advance(now, &mut service.decided);
        service.commit_queue.push_all(&mut service.decided);
        self.turn_sessions(now);
        self.turn_link(now);
        self.turn_life(now);
        self.turn_rest(now);
        self.turn_readers(now);
        self.schedule_append();
        self.judge_safety(now);
        self.check_gate();
        self.arm(now);
    }

    fn mind_breaks(&mut self, now: Timestamp) {
        let service = self.service.as_mut().expect("it runs");
        let mut breaks = std::mem::take(&mut service.breaks);
        let behind = now + Duration::from_secs(2) < service.pipeline.at();
        if breaks.is_empty() && behind && service.time.distrust().is_none() {
            breaks.push(Break {
                since: service.pipeline.at(),
                until: now,
                cause: BreakCause::ClockStepped,
            });
        }
        if breaks.is_empty() {
            return;
        }
        for found in breaks {
            self.reach.see(match found.cause {
                BreakCause::ProcessPaused => "the process was paused",
                BreakCause::ClockStepped if found.by_ms() < 0 => "market time was set back",
                BreakCause::ClockStepped => "market time was set forth",
            });
            let unwatched = Unwatched {
                until: found.until,
                cause: found.cause.name().to_owned(),
            };
            service.decide(
                Input {
                    at: found.since,
                    what: InputKind::Unwatched(unwatched),
                },
                Decoded::Nothing,
            );
            if found.cause == BreakCause::ClockStepped {
                service.lifecycle.set(&found);
            }
            if found.by_ms() < 0 {
                service.planner.set_back(now);
            }
        }
        service.heal_signature = u64::MAX; // gaps that were settled may be open again, which no count shows
        self.link_on(LinkEvent::Broken);
    }

    /// Wakes the process at its next deadline, by the market time that it has.
    fn arm(&mut self, now: Timestamp) {
        let uneasy = self.wall_offset != 0 || self.told.clock_moved && self.now < self.plan.calm * S;
        let service = self.service.as_mut().expect("it runs");
        let dues = [
            service.pipeline.next_deadline(),
            service.link.next_deadline(now),
            service.lifecycle.next_deadline(),
            service.watch_due,
            service.writer.next_deadline(),
            service.publisher.next_deadline(),
            self.heal_due(),
        ];
        let due = dues.into_iter().flatten().min();
        let wait = due.map_or(3_600 * S, |due| (due.micros() - now.micros()).clamp(1_000, 3_600 * S));
        let wait = if uneasy { wait.min(S) } else { wait };
        let at = self.now + wait;
        if self.woken_at.is_none_or(|armed| at < armed) {
            self.woken_at = Some(at);
            self.at(at, Happens::Wake);
        }
    }

    /// What store and cache were asked is answered, also when that is after the end.
    fn answer_readers(&mut self) {
        for what in std::mem::take(&mut self.queue).into_values() {
            match what {
                Happens::Wrote(life, step) => self.wrote(life, step),
                Happens::Published(life, step) => self.published(life, step),
                _ => {}
            }
        }
    }

    /// The run is over: everything is compared.
    fn close(&mut self) {
        if self.wrong.len() >= ENOUGH {
            return;
        }
        self.answer_readers();
        self.write_all();
        self.drain_clients();
        let settled = self.service.is_some();
        let disk = self.disk.borrow();
        let mut wrong = model::check_log(&self.plan, &self.vendor, &self.told, &disk, settled, &mut self.reach);
        wrong.extend(self.store.check(&disk));
        wrong.extend(self.redis.check(&disk));
        for client in &self.clients {
            wrong.extend(client.check(&disk, &self.told));
        }
        drop(disk);
        self.wrong.extend(wrong);
        self.check_replay();
    }
}

/// What a stopped process does not do; the world around it goes on.
const fn concerns_process(what: &Happens) -> bool {
    !matches!(
        what,
        Happens::Begins(_) | Happens::Ends(_) | Happens::Quote(..) | Happens::Flag(_) | Happens::Start
    )
}
