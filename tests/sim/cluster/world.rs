//! The world: one clock, one queue of what happens next, and everything in it. All that is random comes from the plan's seed.

use crate::cluster::base::Base;
use crate::cluster::clients::{Client, Sent};
use crate::cluster::disk::{Disk, Names, whole};
use crate::cluster::log::Log;
use crate::cluster::net::{Call, Said, Waiter};
use crate::cluster::node::{Node, Tick};
use crate::cluster::plan::{Fault, MS, Plan, Planned, S};
use crate::cluster::reach::Reach;
use crate::cluster::witness::Witness;
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Something that happens at an instant.
#[derive(Debug)]
pub(crate) enum Happens {
    /// The fault with this number begins, or ends.
    Begins(usize),
    Ends(usize),
    /// The node starts, unless it was started meanwhile.
    Start(usize, u64),
    /// A call reaches its server.
    Arrives(Call),
    /// A process is answered, or has waited long enough.
    Answer(usize, u64, u64, Option<Said>),
    /// A reader has waited long enough for entries.
    WaitOver(u64),
    /// A deadline of a process.
    Tick(usize, u64, Tick),
    /// The vendor makes the next price.
    Price,
    /// A client goes elsewhere, is there, gets something.
    Hop(usize),
    Greeted(usize, u64, u8),
    Delivered(usize, u64, Rc<Sent>),
    /// What had to be true by now.
    Expected(usize),
    /// Looks whether all is well.
    Check,
}

/// A node, and what it does.
pub(crate) type Operation = (usize, &'static str);

/// What must be true some time after a fault that came alone.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) fault: Fault,
    /// The last price that was made before.
    pub(crate) price: u64,
    /// Lives of the edges, and the names of the ledger.
    pub(crate) lives: Vec<(usize, u64)>,
    pub(crate) lineage: String,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    /// True time, microseconds since the run began.
    pub(crate) now: i64,
    queue: BTreeMap<(i64, u64), Happens>,
    order: u64,
    pub(crate) names: Names,
    pub(crate) ids: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) log: Log,
    pub(crate) base: Base,
    pub(crate) waiters: BTreeMap<u64, Waiter>,
    pub(crate) tickets: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) witness: Witness,
    pub(crate) promises: Vec<Promise>,
    pub(crate) reach: Reach,
    /// Planned faults that last now, by number.
    pub(crate) lasting: BTreeSet<usize>,
    /// What each planned fault changed: on which node, and which operation. What is tried again under the same fault is there once.
    acts: RefCell<BTreeSet<(usize, usize, &'static str)>>,
    pub(crate) trace: bool,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) reach: Reach,
    pub(crate) faults: usize,
    pub(crate) told: u64,
    pub(crate) received: u64,
}

/// After so many violations a run ends.
const ENOUGH: usize = 3;

/// Runs a plan to its end.
pub(crate) fn run(plan: Plan, trace: bool) -> Outcome {
    let mut world = World::new(plan, trace);
    world.live();
    world.close();
    let mut last = None;
    for (i, _, _) in world.acts.borrow().iter() {
        world
            .reach
            .act(world.plan.faults[*i].fault, last.replace(*i) != Some(*i));
    }
    Outcome {
        faults: world.plan.faults.len(),
        told: world.witness.told,
        received: world.clients.iter().map(|client| client.received).sum(),
        wrong: world.witness.wrong,
        reach: world.reach,
    }
}

impl World {
    fn new(plan: Plan, trace: bool) -> Self {
        let mut names = Names::default();
        let count = plan.ingests + plan.edges;
        let nodes = (0..count).map(|at| Node::new(at < plan.ingests, Disk::new(whole(at) + 1, &mut names)));
        let mut world = Self {
            rng: Rng::with_seed(plan.seed),
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            nodes: nodes.collect(),
            names,
            ids: whole(count) + 1,
            log: Log::new(plan.keep),
            base: Base::default(),
            waiters: BTreeMap::new(),
            tickets: 0,
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            witness: Witness::new(plan.holds),
            promises: Vec::new(),
            reach: Reach::default(),
            lasting: BTreeSet::new(),
            acts: RefCell::default(),
            trace,
            plan,
        };
        for node in 0..count {
            world.after((1, 3_000), Happens::Start(node, 0));
        }
        for client in 0..world.plan.clients {
            world.after((500, 3_000), Happens::Hop(client));
        }
        for (i, planned) in world.plan.faults.clone().iter().enumerate() {
            world.at(planned.from, Happens::Begins(i));
            world.at(planned.to, Happens::Ends(i));
        }
        world.at(S, Happens::Price);
        for at in [world.plan.calm - 1, world.plan.ends - 6 * S, world.plan.ends - 1] {
            world.at(at, Happens::Check);
        }
        world
    }

    pub(crate) fn at(&mut self, at: i64, what: Happens) {
        self.order += 1;
        self.queue.insert((at.max(self.now), self.order), what);
    }

    /// After a random delay between these two, in milliseconds.
    pub(crate) fn after(&mut self, (least, most): (i64, i64), what: Happens) {
        let delay = self.rng.i64(least * MS..=most * MS);
        self.at(self.now + delay, what);
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", seconds(self.now), what());
        }
    }

    pub(crate) fn violated(&mut self, what: String) {
        self.say(|| format!("VIOLATED {what}"));
        self.witness.wrong.push(what);
    }

    /// The fault of this kind that acts now on this node; asked where it is about to change this operation of that process.
    pub(crate) fn acting(&self, fault: Fault, node: Option<usize>, (by, what): Operation) -> Option<Planned> {
        let found = self.find_lasting(fault, node);
        if let Some((i, _)) = found {
            self.count(i, (by, what));
        }
        found.map(|(_, planned)| planned)
    }

    /// The fault with this number changed an operation of a node.
    pub(crate) fn count(&self, i: usize, (by, what): Operation) {
        self.acts.borrow_mut().insert((i, by, what));
    }

    /// The same, without changing anything.
    pub(crate) fn find_lasting(&self, fault: Fault, node: Option<usize>) -> Option<(usize, Planned)> {
        let lasting = self.lasting.iter().map(|i| (*i, self.plan.faults[*i]));
        let acts = |(_, planned): &(usize, Planned)| {
            let whose = node.is_none_or(|node| planned.whom % self.nodes.len() == node);
            planned.fault == fault && planned.from <= self.now && self.now < planned.to && whose
        };
        lasting.into_iter().find(acts)
    }

    fn live(&mut self) {
        let mut steps = 0_u64;
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 > self.plan.ends || self.witness.wrong.len() >= ENOUGH {
                break;
            }
            let ((at, _), what) = next.remove_entry();
            steps += 1;
            if steps > 2_000_000 {
                self.violated("the world does not come to an end".to_owned());
                break;
            }
            self.now = at;
            if let Some(node) = concerns(&what)
                && self.now < self.nodes[node].paused_until
            {
                if let Some(fault) = self.nodes[node].paused_by {
                    let waits = match &what {
                        Happens::Answer(.., None) => "a deadline",
                        Happens::Answer(..) => "an answer",
                        _ => "a timer",
                    };
                    self.count(fault, (node, waits));
                }
                let jitter = self.rng.i64(0..200); // what came meanwhile is found in any order
                self.at(self.nodes[node].paused_until + jitter, what);
                continue;
            }
            let before = self.witness.wrong.len();
            self.happen(what);
            if self.trace && self.witness.wrong.len() > before {
                println!("{} VIOLATED {:?}", seconds(self.now), &self.witness.wrong[before..]);
            }
        }
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Begins(i) => self.begin_fault(i),
            Happens::Ends(i) => self.end_fault(i),
            Happens::Start(node, life) => self.start(node, life),
            Happens::Arrives(call) => self.arrive(call),
            Happens::Answer(node, life, ticket, said) => self.answer(node, life, ticket, said),
            Happens::WaitOver(ticket) => self.wait_over(ticket),
            Happens::Tick(node, life, tick) => self.tick(node, life, tick),
            Happens::Price => self.price(),
            Happens::Hop(client) => self.hop(client),
            Happens::Greeted(client, visit, tries) => self.greet(client, visit, tries),
            Happens::Delivered(client, visit, sent) => self.deliver(client, visit, &sent),
            Happens::Expected(i) => self.expect(i),
            Happens::Check => self.check(),
        }
    }

    /// The steady clock of a node.
    pub(crate) fn steady(&self, node: usize) -> Duration {
        let since = self.now - self.nodes[node].slept + 1_000 * S;
        Duration::from_micros(u64::try_from(since).unwrap_or(0))
    }

    fn price(&mut self) {
        self.witness.make_price(self.now);
        for node in 0..self.plan.ingests {
            self.hear_price(node);
        }
        let next = self.rng.i64(self.plan.every / 8..=self.plan.every).max(5) * MS;
        self.at(self.now + next, Happens::Price);
    }
}

/// The process that has to run for this to happen.
const fn concerns(what: &Happens) -> Option<usize> {
    match what {
        Happens::Answer(node, ..) | Happens::Tick(node, ..) => Some(*node),
        _ => None,
    }
}

/// An instant for people.
pub(crate) fn seconds(at: i64) -> String {
    format!("{:>4}.{:06}", at / S, at % S)
}
