//! A node that leads: the pipeline, in small; LogKeeper; LeaseKeeper; and how it hands on.

use crate::cluster::disk::whole;
use crate::cluster::lease::{Kind, Leased, Why};
use crate::cluster::net::{Ask, Said, Server};
use crate::cluster::node::{Phase, Process, Purpose, Tick};
use crate::cluster::plan::{Fault, MS, S};
use crate::cluster::world::World;
use candela::domain::cluster::{Append, AppendStep, Leading, LogAnswer, LogEntry, is_young};
use candela::domain::followers::lease::{LeaseChange, Standing, Tenure};
use candela::domain::model::Position;
use candela::limits;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Seconds of a bar.
pub(crate) const BAR: i64 = 2;
/// The channel of the journal.
const JOURNAL: usize = 2;

#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) leading: Leading,
    tenure: Tenure,
    /// When the last renewal that was granted was asked.
    renewed: Option<Duration>,
    asked: Duration,
    answered: Duration,
    asking: bool,
    /// Ends of batches that were written and not told yet.
    waiting: VecDeque<u64>,
    appending: Option<(u64, Append)>,
    appends: u64,
    retries: bool,
    said: u64,
    /// Decided, and not in the ledger yet.
    decided: Vec<(usize, u64)>,
    linked: i64,
    next_bar: i64,
    pub(crate) stored: Option<u64>,
    pub(crate) storing: bool,
    stopping: bool,
}

impl Lead {
    /// The term of the lease, if this process holds it.
    const fn term(&self, given_back: bool) -> Option<i64> {
        match self.tenure.standing() {
            Standing::Held { term } if !given_back => Some(*term),
            _ => None,
        }
    }

    fn is_leased(&self, now: Duration) -> bool {
        let held = matches!(self.tenure.standing(), Standing::Held { .. });
        held && self
            .renewed
            .is_some_and(|renewed| is_young(now.saturating_sub(renewed)))
    }
}

impl World {
    /// The tree of a leader runs.
    pub(crate) fn lead(&mut self, node: usize) {
        let Some(Process {
            phase: Phase::Opening(inherited),
            ..
        }) = &self.nodes[node].process
        else {
            return;
        };
        let (bound, begun_after) = (inherited.bound, inherited.begun_after);
        let folder = &self.nodes[node].disk.folder;
        let served = bound.unwrap_or(folder.head());
        let next_bar = folder
            .last_in(1)
            .map(|bar| i64::try_from(bar.what >> 32).expect("a slot") + 1);
        if next_bar.is_none() {
            self.witness.history_lost = true;
        }
        let term = self.nodes[node].process.as_ref().expect("a process").claim.succession.0;
        let now = self.steady(node);
        let holds = self.plan.holds;
        let links = self.rng.i64(100..500) * MS;
        let lead = Lead {
            leading: Leading::new(Position(served), begun_after, !holds),
            tenure: Tenure::default(),
            renewed: None,
            asked: now,
            answered: now,
            asking: false,
            waiting: VecDeque::new(),
            appending: None,
            appends: 0,
            retries: false,
            said: self.now.unsigned_abs(),
            decided: vec![(JOURNAL, (u64::try_from(term).expect("a term") << 8) | whole(node))],
            linked: self.now + links,
            next_bar: next_bar.unwrap_or(self.now / (BAR * S)),
            stored: None,
            storing: false,
            stopping: false,
        };
        let process = self.nodes[node].process.as_mut().expect("a process");
        process.phase = Phase::Leading(Box::new(lead));
        process.since = self.now;
        self.say(|| format!("node {node} leads under term {term}, shows up to {served}"));
        self.reach.see("a node leads");
        self.begin_to_serve(node, served);
        self.keep(node);
        self.append(node);
        self.write_ledger(node);
        self.second(node);
        self.store(node);
        self.say_node(node);
    }

    fn given_back(&self, node: usize) -> bool {
        self.nodes[node]
            .process
            .as_ref()
            .is_some_and(|process| process.claim.given_back)
    }

    fn is_leased(&mut self, node: usize) -> bool {
        let now = self.steady(node);
        self.nodes[node].lead().is_some_and(|lead| lead.is_leased(now))
    }

    // The pipeline.

    pub(crate) fn hear_price(&mut self, node: usize) {
        let (now, price) = (self.now, self.witness.price);
        if now < self.nodes[node].paused_until {
            return;
        }
        if self.nodes[node].wall != 0 && self.nodes[node].leads() {
            self.acting(Fault::ClockStep, Some(node), (node, "stamp"));
        }
        let Some(lead) = self.nodes[node].lead() else { return };
        if lead.stopping || now < lead.linked {
            return;
        }
        lead.decided.push((0, price));
        while (lead.next_bar + 1) * BAR * S + 100 * MS <= now {
            lead.decided.push((1, self.witness.bar(lead.next_bar)));
            lead.next_bar += 1;
        }
        self.write_ledger(node);
    }

    /// The Recorder.
    fn write_ledger(&mut self, node: usize) {
        let every = self.plan.opening_every;
        let Some(lead) = self.nodes[node].lead() else { return };
        let decided = std::mem::take(&mut lead.decided);
        if decided.is_empty() {
            return;
        }
        for batch in decided.chunks(24) {
            if self.nodes[node].disk.append(batch, every).is_err() {
                self.acting(Fault::DiskFull, Some(node), (node, "append"));
                let rest = batch.as_ptr_range().start;
                let done = decided.iter().take_while(|one| !std::ptr::eq(*one, rest)).count();
                let lead = self.nodes[node].lead().expect("leads");
                lead.decided = decided[done..].to_vec();
                return;
            }
            let head = self.nodes[node].disk.folder.head();
            self.nodes[node].lead().expect("leads").waiting.push_back(head);
        }
        if self.nodes[node].lead().is_some_and(|lead| lead.waiting.len() > 1) {
            self.reach.see("a leader waits for the log");
        }
        let leased = self.is_leased(node);
        let lead = self.nodes[node].lead().expect("leads");
        if lead.leading.is_alone(leased) {
            self.pass_on(node);
        }
        let lead = self.nodes[node].lead().expect("leads");
        if !lead.leading.is_away() || !lead.retries {
            self.append(node);
        }
    }

    // LogKeeper.

    fn append(&mut self, node: usize) {
        let (now, given_back) = (self.steady(node), self.given_back(node));
        let Some(lead) = self.nodes[node].lead() else { return };
        if lead.appending.is_some() || given_back {
            return;
        }
        let term = lead.term(given_back).and_then(|term| u64::try_from(term).ok());
        let begins = lead.leading.begin_append(term, lead.is_leased(now), now);
        lead.appends += 1;
        let append = lead.appends;
        lead.appending = Some((append, begins));
        self.tick_in(node, limits::LOG_ANSWER, Tick::AppendLate(append));
        match (begins.term(), begins.next) {
            (Err(step), _) => self.append_ends(node, &step),
            (Ok(_), Some(next)) => self.send(node, append, next),
            (Ok(_), None) => {
                let purpose = Purpose::AppendHead(append);
                self.call(node, Server::Log, Ask::Head, Duration::from_secs(10), purpose);
            }
        }
    }

    fn begins(&mut self, node: usize, append: u64) -> Option<Append> {
        let lead = self.nodes[node].lead()?;
        lead.appending
            .filter(|(current, _)| *current == append)
            .map(|(_, begins)| begins)
    }

    pub(crate) fn append_head(&mut self, node: usize, append: u64, said: Option<Said>) {
        let Some(begins) = self.begins(node, append) else {
            return;
        };
        let Some(Said::Head(head)) = said else {
            return self.append_ends(node, &AppendStep::Away("no answer".to_owned()));
        };
        let folder = &self.nodes[node].disk.folder;
        let number = head.as_ref().map_or(0, |head| head.number);
        match begins.continue_after(head.as_ref(), folder.hash_of(number), folder.ends()) {
            Ok(next) => self.send(node, append, next),
            Err(step) => self.append_ends(node, &step),
        }
    }

    fn send(&mut self, node: usize, append: u64, next: u64) {
        let now = self.steady(node);
        let Some(begins) = self.begins(node, append) else {
            return;
        };
        let folder = &self.nodes[node].disk.folder;
        let parcels = folder.parcels(next, limits::CLUSTER_APPEND);
        let last = parcels.last().map(|last| (last.number, Position(last.last)));
        let step = begins.expect(next, Position(folder.head()), last, now);
        let (true, Some(term)) = (step.is_asked(), begins.term) else {
            return self.append_ends(node, &step);
        };
        let lineage = folder.lineage.clone();
        let entries: Rc<[LogEntry]> = parcels
            .into_iter()
            .map(|parcel| LogEntry {
                term,
                lineage: lineage.clone(),
                parcel,
            })
            .collect();
        let purpose = Purpose::Appended(append, step);
        self.call(
            node,
            Server::Log,
            Ask::Append(term, entries),
            Duration::from_secs(10),
            purpose,
        );
    }

    pub(crate) fn appended(&mut self, node: usize, append: u64, step: AppendStep, said: Option<Said>) {
        if self.begins(node, append).is_none() {
            return;
        }
        let answer = match said {
            Some(Said::Appended(answer)) => answer,
            _ => LogAnswer::Away("no answer".to_owned()),
        };
        if matches!(answer, LogAnswer::Stale { .. }) {
            self.reach.see("the log refused a stale leader");
        }
        self.append_ends(node, &step.answered(answer));
    }

    pub(crate) fn append_late(&mut self, node: usize, append: u64) {
        if self.begins(node, append).is_some() {
            self.append_ends(node, &AppendStep::Away("no answer in time".to_owned()));
        }
    }

    fn append_ends(&mut self, node: usize, step: &AppendStep) {
        let (now, given_back) = (self.steady(node), self.given_back(node));
        let leased = self.is_leased(node);
        let Some(lead) = self.nodes[node].lead() else { return };
        lead.appending = None;
        lead.leading.on(step, now);
        match step {
            AppendStep::Has { more, .. } => {
                let more = *more;
                self.pass_on(node);
                if more {
                    self.append(node);
                }
            }
            AppendStep::Look => self.try_later(node),
            AppendStep::Foreign(_) if given_back => {}
            AppendStep::Foreign(why) => {
                let why = why.clone();
                self.try_later(node);
                self.exit(node, true, &why);
            }
            AppendStep::Away(_) => {
                if lead.leading.go_alone(leased, now) {
                    self.ask_lease(node, Kind::Prove(false), Why::Prove(false));
                }
                self.pass_on(node);
                self.try_later(node);
            }
        }
    }

    fn try_later(&mut self, node: usize) {
        let Some(lead) = self.nodes[node].lead() else { return };
        if !std::mem::replace(&mut lead.retries, true) {
            self.tick_in(node, limits::LOG_RETRY, Tick::Retry);
        }
    }

    pub(crate) fn retry(&mut self, node: usize) {
        let Some(lead) = self.nodes[node].lead() else { return };
        lead.retries = false;
        self.append(node);
    }

    pub(crate) fn proved(&mut self, node: usize, provable: bool, done: bool) {
        let Some(lead) = self.nodes[node].lead() else { return };
        if lead.leading.proved(provable, done) {
            self.reach.see("a leader tells alone");
            self.pass_on(node);
        }
    }

    fn pass_on(&mut self, node: usize) {
        let (now, leased) = (self.steady(node), self.is_leased(node));
        let Some(lead) = self.nodes[node].lead() else { return };
        if lead.leading.tell_logged(leased, now).is_some() {
            while let Some(head) = lead
                .waiting
                .pop_front_if(|head| lead.leading.may_tell(Position(*head), leased))
            {
                lead.leading.raise_told(Position(head));
            }
            let told = lead.leading.told().0;
            let served = self.nodes[node].process.as_ref().expect("a process").served;
            if served < told {
                self.tell(node, served, told);
                self.store(node);
            }
        }
    }

    /// Each second.
    pub(crate) fn second(&mut self, node: usize) {
        let given_back = self.given_back(node);
        let Some(lead) = self.nodes[node].lead() else { return };
        if let Some(term) = lead.term(given_back) {
            lead.said += 1;
            let ask = Ask::Say(u64::try_from(term).expect("a term"), lead.said);
            self.call(node, Server::Log, ask, limits::LOG_ANSWER, Purpose::Ignored);
        }
        let lead = self.nodes[node].lead().expect("leads");
        lead.leading.look_again();
        self.append(node);
        self.write_ledger(node); // what a full disk did not take
        let Some(lead) = self.nodes[node].lead() else { return };
        if lead.leading.go_together() {
            self.ask_lease(node, Kind::Prove(true), Why::Prove(true));
        }
        self.tick_in(node, limits::LEADER_SAYS, Tick::Second);
    }

    // LeaseKeeper, and before it `keep_while`.

    pub(crate) fn keep(&mut self, node: usize) {
        let now = self.steady(node);
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        match &mut process.phase {
            Phase::Leading(lead) => {
                if !std::mem::replace(&mut lead.asking, true) {
                    lead.asked = now;
                    self.ask_lease(node, Kind::Renew, Why::Keep);
                }
            }
            Phase::Opening(_) | Phase::Beginning(_) => self.ask_lease(node, Kind::Renew, Why::Keep),
            _ => return,
        }
        // The tick of the start goes on as that of the leader.
        let starting = !self.nodes[node].leads();
        let first = self.nodes[node]
            .process
            .as_ref()
            .is_some_and(|process| process.since == self.now);
        if starting || !first {
            self.tick_in(node, limits::LEASE_RENEW, Tick::Keep);
        }
    }

    pub(crate) fn kept(&mut self, node: usize, leased: Leased) {
        let now = self.steady(node);
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let Phase::Leading(lead) = &mut process.phase else {
            if matches!(leased, Leased::Held { .. }) {
                self.exit(node, false, "another has taken the lease");
            }
            return;
        };
        let since_last = now.saturating_sub(lead.answered);
        (lead.answered, lead.asking) = (now, false);
        let Some(answer) = leased.answer() else { return };
        if matches!(leased, Leased::Granted(_)) {
            lead.renewed = Some(lead.asked);
        }
        if let Some(LeaseChange::Lost(_)) = lead.tenure.on(answer, since_last) {
            self.reach.see("a leader saw that another has the lease");
            return self.exit(node, true, "another candela writes to the database");
        }
        if matches!(leased, Leased::Granted(_)) {
            self.append(node); // it was waited for
        }
    }

    // Hand-over.

    /// SIGTERM on a leader.
    pub(crate) fn hand_over(&mut self, node: usize) {
        let Some(lead) = self.nodes[node].lead() else { return };
        lead.stopping = true;
        self.say(|| format!("node {node} hands on"));
        let telling = limits::STOP_TELLING + Duration::from_millis(20);
        self.tick_in(node, telling, Tick::StopWriting);
    }

    pub(crate) fn stop_writing(&mut self, node: usize) {
        let head = self.nodes[node].disk.folder.head();
        let served = self.nodes[node].process.as_ref().map_or(0, |process| process.served);
        let waits = if served >= head {
            Duration::from_millis(20)
        } else {
            limits::STOP_LOGGING
        };
        self.tick_in(node, waits, Tick::StopStoring);
    }

    pub(crate) fn stop_storing(&mut self, node: usize) {
        if self.nodes[node].leads() {
            self.ask_lease(node, Kind::Release, Why::HandOn);
        }
    }
}
