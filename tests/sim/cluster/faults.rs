//! What each fault does, what must be true after one that came alone, and what must be true at the end.

use crate::cluster::base::Base;
use crate::cluster::node::Phase;
use crate::cluster::plan::{Fault, MS, Planned, S};
use crate::cluster::world::{Happens, Promise, World, seconds};

impl World {
    fn leader(&self) -> Option<usize> {
        let awake = |node: &usize| self.nodes[*node].leads() && self.nodes[*node].paused_until < self.now;
        (0..self.plan.ingests).find(awake)
    }

    pub(crate) fn begin_fault(&mut self, i: usize) {
        let planned = self.plan.faults[i];
        let (fault, roll) = (planned.fault, planned.roll);
        let node = planned.whom % self.nodes.len();
        self.reach.begin(fault);
        self.lasting.insert(i);
        self.say(|| format!("FAULT {i} {fault:?} of node {node} until {}", seconds(planned.to)));
        let done = match fault {
            Fault::Kill => self.kill_and_start(node, (300, 3_000)),
            Fault::KillLeader => self.leader().is_some_and(|leader| {
                self.promise(fault, leader);
                self.kill_and_start(leader, (300, 3_000))
            }),
            Fault::HandOver => self.leader().is_some_and(|leader| {
                self.promise(fault, leader);
                self.hand_over(leader);
                true
            }),
            Fault::Stop if self.nodes[node].process.is_some() && !self.nodes[node].leads() => {
                self.exit(node, true, "it is stopped");
                true
            }
            Fault::Pause | Fault::Sleep => self.pause(i, node),
            Fault::PauseLeader => self.leader().is_some_and(|leader| self.pause(i, leader)),
            Fault::PowerLoss => {
                let was = self.kill_and_start(node, (1_000, 4_000));
                let lost = self.nodes[node].disk.lose_power(roll);
                was && lost
            }
            Fault::ClockStep => {
                self.nodes[node].wall = i64::try_from(roll % 7_200).expect("small") * S - 3_600 * S;
                false // counted where a price is stamped
            }
            Fault::DiskFull => {
                self.nodes[node].disk.full = true;
                false // counted where nothing is written
            }
            _ => self.begin_loss(planned, node),
        };
        if done {
            self.count(i, (node, "it came"));
        }
    }

    /// Something is lost, or comes back as it was.
    fn begin_loss(&mut self, planned: Planned, node: usize) -> bool {
        let roll = planned.roll;
        match planned.fault {
            Fault::FolderLost => {
                self.kill_and_start(node, (300, 3_000));
                self.ids += 1;
                let id = self.ids;
                self.nodes[node].disk.lose(id, &mut self.names);
                true
            }
            Fault::FolderRestored => {
                self.nodes[node].disk.take_copy();
                false // when it is put back
            }
            Fault::Off => {
                let was = self.kill_and_start(node, (300, 600));
                self.nodes[node].off_until = (planned.to + 30 * S).min(self.plan.calm);
                was
            }
            Fault::TwoStandbys => self.start_together(),
            Fault::LogEmptied => {
                let had = self.log.head().is_some();
                self.log.held = Default::default();
                had
            }
            Fault::LogTrimmed => self.log.trim(usize::try_from(roll % 6).expect("small") + 1),
            Fault::LogRestored => {
                self.log.copy = Some(self.log.held.clone());
                false
            }
            Fault::BaseRestored => {
                self.base.copy = Some(self.base.held.clone());
                false
            }
            Fault::BaseClock => {
                let range = if roll.is_multiple_of(2) { 3_600 * S } else { 4 * S };
                self.base.clock += i64::try_from(roll % (2 * range.unsigned_abs())).expect("hours") - range;
                true
            }
            _ => false, // it acts where it is met
        }
    }

    pub(crate) fn end_fault(&mut self, i: usize) {
        let planned = self.plan.faults[i];
        let node = planned.whom % self.nodes.len();
        self.lasting.remove(&i);
        match planned.fault {
            Fault::DiskFull => self.nodes[node].disk.full = false,
            Fault::ClockStep => self.nodes[node].wall = 0,
            Fault::FolderRestored => {
                self.kill_and_start(node, (300, 3_000));
                self.ids += 1;
                let inode = self.ids;
                if self.nodes[node].disk.restore(inode) {
                    self.count(i, (node, "it came"));
                }
            }
            Fault::LogRestored => {
                if let Some(copy) = self.log.copy.take() {
                    self.log.held = copy;
                    self.witness.log_restored();
                    self.count(i, (node, "it came"));
                }
            }
            Fault::BaseRestored => {
                if let Some(copy) = self.base.copy.take() {
                    let term = copy.lease.as_ref().map_or(0, |row| row.term);
                    let clock = self.base.clock;
                    self.base = Base {
                        held: copy,
                        clock,
                        ..Base::default()
                    };
                    self.witness.base_restored(term);
                    self.count(i, (node, "it came"));
                }
            }
            _ => {}
        }
    }

    fn kill_and_start(&mut self, node: usize, within: (i64, i64)) -> bool {
        let was = self.kill(node);
        if was {
            self.say(|| format!("node {node} is killed"));
            self.start_again(node, within);
        }
        was
    }

    /// All ingests start at the same moment, when the lease of the leader that is lost has run out or not.
    fn start_together(&mut self) -> bool {
        let leader = self.leader().is_some();
        let waits = self.rng.i64(200..4_000);
        for node in 0..self.plan.ingests {
            self.kill(node);
            self.start_again(node, (waits, waits));
        }
        leader
    }

    /// A node stands still; counted when something has to wait for it.
    fn pause(&mut self, i: usize, node: usize) -> bool {
        let planned = self.plan.faults[i];
        let paused = &mut self.nodes[node];
        if paused.process.is_some() && paused.paused_until <= self.now {
            (paused.paused_until, paused.paused_by) = (planned.to, Some(i));
            if planned.fault == Fault::Sleep {
                paused.slept += planned.to - self.now;
            }
        }
        false
    }

    /// A fault that comes alone, to a cluster that is well, has a bound.
    fn promise(&mut self, fault: Fault, leader: usize) {
        let alone = self.plan.faults.iter().filter(|planned| {
            let near = planned.from < self.now + 8 * S && planned.to > self.now - 12 * S;
            near && planned.from != planned.to
        });
        if !self.plan.seed.is_multiple_of(4)
            || alone.count() > 1
            || !self.is_well()
            || self.base.held.lease.as_ref().is_none_or(|row| !row.provable)
        {
            return;
        }
        let edges = self.plan.ingests..self.nodes.len();
        self.promises.push(Promise {
            fault,
            price: self.witness.price,
            lives: edges.map(|edge| (edge, self.nodes[edge].life)).collect(),
            lineage: self.nodes[leader].disk.folder.lineage.clone(),
        });
        let bound = match fault {
            Fault::HandOver => 1_500 * MS + self.plan.every * MS,
            _ => 5 * S,
        };
        let number = self.promises.len() - 1;
        self.at(self.now + bound, Happens::Expected(number));
    }

    pub(crate) fn expect(&mut self, number: usize) {
        let promise = self.promises[number].clone();
        for (edge, life) in &promise.lives {
            let newest = self.witness.newest.get(edge).copied().unwrap_or(0);
            if newest <= promise.price {
                self.violated(format!(
                    "H1: edge {edge} has no data again in time after {:?}",
                    promise.fault
                ));
            }
            if self.nodes[*edge].life != *life {
                self.violated(format!("H2: edge {edge} had to start again after {:?}", promise.fault));
            }
            if self.nodes[*edge].disk.folder.lineage != promise.lineage {
                self.violated(format!("H3: epochs were not kept after {:?}", promise.fault));
            }
        }
        self.reach.see(match promise.fault {
            Fault::HandOver => "a leader handed on in time",
            _ => "a killed leader was succeeded in time",
        });
    }

    /// Why the cluster is not as it should be.
    fn ills(&self) -> Vec<String> {
        let mut ills = Vec::new();
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].leads()).collect();
        let [leader] = leaders[..] else {
            return vec![format!("there are leaders {leaders:?}")];
        };
        let own = &self.nodes[leader].disk.folder;
        if self.base.held.lease.as_ref().is_none_or(|row| row.holder != own.id) {
            ills.push(format!("node {leader} leads, and the lease is another's"));
        }
        let wanted = self.witness.price_at(self.now - 3 * S);
        for (at, node) in self.nodes.iter().enumerate() {
            let folder = &node.disk.folder;
            if !self.is_settled(at) {
                ills.push(format!("node {at} neither leads nor follows for a while"));
                continue;
            }
            let (number, hash) = folder.end();
            if own.hash_of(number) != Some(hash) || own.end().0 > number + 20 {
                ills.push(format!(
                    "node {at} ends with parcel {number}, the leader with {}",
                    own.end().0
                ));
            }
            if (&folder.lineage, &folder.epochs) != (&own.lineage, &own.epochs) {
                ills.push(format!("node {at} has other names than the leader"));
            }
            if self.witness.newest.get(&at).is_none_or(|newest| *newest < wanted) {
                ills.push(format!("node {at} tells nothing new"));
            }
            if let Some(Phase::Following(following)) = node.process.as_ref().map(|process| &process.phase)
                && let Some((why, _)) = following.news.stale()
            {
                ills.push(format!("node {at} does not believe the leader: {why}"));
            }
        }
        ills
    }

    fn is_well(&self) -> bool {
        self.ills().is_empty()
    }

    /// After the faults everything has to be well.
    pub(crate) fn check(&mut self) {
        if self.now < self.plan.calm {
            return;
        }
        for ill in self.ills() {
            self.violated(format!("H4: {ill}"));
        }
    }

    /// What must be true at the end of a run.
    pub(crate) fn close(&mut self) {
        if !self.witness.wrong.is_empty() || self.witness.history_lost && self.base.held.rows.is_empty() {
            return;
        }
        if self.plan.faults.iter().all(|planned| !planned.fault.loses_history()) {
            let stored: std::collections::BTreeSet<u64> = self
                .base
                .held
                .rows
                .iter()
                .filter(|(key, _)| key.1 == 1)
                .map(|(_, what)| *what)
                .collect();
            let first = stored.first().copied().unwrap_or(0);
            let last = self.now / (crate::cluster::lead::BAR * S) - 4;
            let missing: Vec<u64> = self
                .witness
                .bars_until(last)
                .filter(|bar| *bar > first && !stored.contains(bar))
                .map(|bar| bar >> 32)
                .collect();
            if !missing.is_empty() {
                self.violated(format!("W6: bars {missing:?} are not in the database"));
            }
        }
    }
}
