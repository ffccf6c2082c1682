//! Calls of a process to the cluster log, the database, another node: each arrives once, late or never, and its answer too.

use crate::cluster::base::{Batch, Taken};
use crate::cluster::log::Near;
use crate::cluster::node::Purpose;
use crate::cluster::plan::{Fault, MS, S};
use crate::cluster::world::{Happens, Operation, World};
use candela::domain::cluster::{LogAnswer, LogEntry, LogFound, LogHead, Parcel};
use candela::limits;
use std::rc::Rc;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Log,
    Base,
    Peer(usize),
}

#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Head,
    Append(u64, Rc<[LogEntry]>),
    /// Entries after a number; waits while there are none.
    Follow(u64),
    Range(u64, usize),
    Near(u64),
    Rest(Near),
    Hear,
    Say(u64, u64),
    Meet(bool),
    Lease {
        expired: bool,
    },
    Renew(i64),
    Take,
    Prove(i64, bool),
    Release(i64),
    Position(String),
    Fence(i64),
    Commit(i64, Rc<Batch>),
    Write(i64, Rc<Batch>),
    Parcels(u64),
}

impl Ask {
    /// What it is called when faults are counted.
    fn name(&self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Append(_, entries) if entries.is_empty() => "fence the log",
            Self::Append(..) => "append",
            Self::Follow(_) => "follow",
            Self::Range(..) => "range",
            Self::Near(_) | Self::Rest(_) => "near",
            Self::Hear => "hear",
            Self::Say(..) => "say",
            Self::Meet(_) => "meet",
            Self::Lease { .. } => "look",
            Self::Renew(_) => "renew",
            Self::Take => "take",
            Self::Prove(..) => "prove",
            Self::Release(_) => "release",
            Self::Position(_) => "position",
            Self::Fence(_) => "fence",
            Self::Commit(..) => "commit",
            Self::Write(..) => "write",
            Self::Parcels(_) => "parcels",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Said {
    Head(Option<LogHead>),
    Appended(LogAnswer),
    Entries(Vec<LogEntry>),
    Found(LogFound),
    Heard(Option<u64>),
    Nodes(Vec<usize>),
    Lease(Option<(u64, i64)>),
    Taken(Taken),
    Yes(bool),
    Position(u64),
    Parcels(Vec<Parcel>),
    Refused,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    node: usize,
    life: u64,
    ticket: u64,
    server: Server,
    what: &'static str,
    ask: Ask,
    by: u64,
}

/// A reader that waits for entries.
#[derive(Debug)]
pub(crate) struct Waiter {
    call: Call,
    after: u64,
}

impl World {
    /// Sends a call; the process hears of it once, at the latest when its patience ends.
    pub(crate) fn call(&mut self, node: usize, server: Server, ask: Ask, patience: Duration, purpose: Purpose) {
        self.tickets += 1;
        let ticket = self.tickets;
        let by = self.nodes[node].disk.folder.id;
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        process.pending.insert(ticket, purpose);
        let waits = i64::try_from(patience.as_micros()).expect("seconds");
        self.at(self.now + waits, Happens::Answer(node, life, ticket, None));
        let call = Call {
            node,
            life,
            ticket,
            server,
            what: ask.name(),
            ask,
            by,
        };
        let doing = (node, call.what);
        if let Some(until) = self.cut(server, doing) {
            if self.rng.u8(..) < 64 {
                let late = self.rng.i64(0..300 * MS); // sent again when the way is open
                self.at(until + late, Happens::Arrives(call));
            }
            return;
        }
        let mut takes = self.rng.i64(100..900);
        let slow = match server {
            Server::Log => self.acting(Fault::LogSlow, None, doing),
            Server::Base => self.acting(Fault::BaseSlow, None, doing),
            Server::Peer(_) => None,
        };
        if slow.is_some() {
            takes += self.rng.i64(0..4 * S);
        }
        self.at(self.now + takes, Happens::Arrives(call));
    }

    /// Until when a node is cut off from a server.
    fn cut(&self, server: Server, doing: Operation) -> Option<i64> {
        let node = Some(doing.0);
        let cut = match server {
            Server::Log => self.acting(Fault::CutLog, node, doing),
            Server::Base => self.acting(Fault::CutBase, node, doing),
            Server::Peer(peer) => self
                .acting(Fault::CutPeers, node, doing)
                .or_else(|| self.acting(Fault::CutPeers, Some(peer), doing)),
        };
        cut.map(|cut| cut.to)
    }

    fn is_away(&self, call: &Call) -> bool {
        let doing = (call.node, call.what);
        match call.server {
            Server::Log => self.acting(Fault::LogAway, None, doing).is_some(),
            Server::Base => self.acting(Fault::BaseAway, None, doing).is_some(),
            Server::Peer(peer) => self.nodes[peer].process.is_none() || self.now < self.nodes[peer].paused_until,
        }
    }

    pub(crate) fn arrive(&mut self, mut call: Call) {
        if self.is_away(&call) {
            if self.rng.bool() {
                self.reply(&call, Said::Refused);
            }
            return;
        }
        let said = match std::mem::replace(&mut call.ask, Ask::Hear) {
            Ask::Head => Said::Head(self.log.head()),
            Ask::Append(term, entries) => {
                let answer = self.log.append(term, &entries, &mut self.witness);
                self.wake_waiters();
                Said::Appended(answer)
            }
            Ask::Follow(after) => {
                let entries = self.log.entries_after(after, limits::CLUSTER_READ);
                if entries.is_empty() {
                    let ticket = call.ticket;
                    let waits = i64::try_from(limits::LOG_READ_WAIT.as_micros()).expect("seconds");
                    self.waiters.insert(ticket, Waiter { call, after });
                    return self.at(self.now + waits, Happens::WaitOver(ticket));
                }
                Said::Entries(entries)
            }
            Ask::Range(after, limit) => Said::Entries(self.log.entries_after(after, limit)),
            Ask::Near(own) => {
                call.ask = Ask::Rest(self.log.near(own));
                let takes = self.rng.i64(100..3_000);
                return self.at(self.now + takes, Happens::Arrives(call));
            }
            Ask::Rest(near) => Said::Found(self.log.found(&near)),
            Ask::Hear => Said::Heard(self.log.hear(self.now)),
            Ask::Say(term, count) => {
                self.log.say(term, count, self.now);
                Said::Yes(true)
            }
            Ask::Meet(says) => Said::Nodes(self.log.meet(says.then_some(call.node), self.now)),
            Ask::Parcels(from) => Said::Parcels(self.parcels_of(call.server, from)),
            ask => match self.ask_base(&mut call, ask) {
                Some(said) => said,
                None => return,
            },
        };
        self.reply(&call, said);
    }

    fn ask_base(&mut self, call: &mut Call, ask: Ask) -> Option<Said> {
        let doing = (call.node, call.what);
        if matches!(ask, Ask::Renew(_)) && self.acting(Fault::RenewalsLost, None, doing).is_some() {
            return None;
        }
        let (by, now, witness) = (call.by, self.now, &mut self.witness);
        Some(match ask {
            Ask::Lease { expired } => Said::Lease(self.base.look(expired, now)),
            Ask::Renew(term) => Said::Yes(self.base.renew(by, term, now)),
            Ask::Take => {
                if let Some(until) = self.base.locked_until(now) {
                    call.ask = Ask::Take;
                    self.at(until.min(now + 20 * MS), Happens::Arrives(call.clone()));
                    return None;
                }
                Said::Taken(self.base.take(by, now, witness))
            }
            Ask::Prove(term, provable) => Said::Yes(self.base.prove(by, term, provable, witness)),
            Ask::Release(term) => {
                self.base.release(by, term, now);
                Said::Yes(true)
            }
            Ask::Position(lineage) => Said::Position(self.base.position(&lineage)),
            Ask::Fence(term) => Said::Yes(self.base.fence(by, term, now)),
            Ask::Commit(term, batch) => Said::Yes(self.base.commit((by, term), &batch, now, witness)),
            Ask::Write(term, batch) => Said::Yes(self.base.write_fenced((by, term), &batch, witness)),
            _ => return None,
        })
    }

    /// What a node shows another: no more than its clients.
    fn parcels_of(&self, server: Server, from: u64) -> Vec<Parcel> {
        let Server::Peer(peer) = server else { return Vec::new() };
        let Some(process) = &self.nodes[peer].process else {
            return Vec::new();
        };
        let parcels = self.nodes[peer].disk.folder.parcels(from, 64);
        parcels
            .into_iter()
            .filter(|parcel| parcel.last <= process.served)
            .collect()
    }

    fn reply(&mut self, call: &Call, said: Said) {
        if self.cut(call.server, (call.node, call.what)).is_some() {
            return;
        }
        let lost = match call.server {
            Server::Log => self.find_lasting(Fault::LogAnswersLost, None),
            Server::Base => self.find_lasting(Fault::BaseAnswersLost, None),
            Server::Peer(_) => None,
        };
        if let Some((lost, _)) = lost.filter(|_| self.rng.u8(..) < 160) {
            self.count(lost, (call.node, call.what));
            return;
        }
        let takes = self.rng.i64(100..900);
        self.at(
            self.now + takes,
            Happens::Answer(call.node, call.life, call.ticket, Some(said)),
        );
    }

    fn wake_waiters(&mut self) {
        let head = self.log.head().map_or(0, |head| head.number);
        let ready: Vec<u64> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.after < head)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in ready {
            self.wait_over(ticket);
        }
    }

    pub(crate) fn wait_over(&mut self, ticket: u64) {
        if let Some(waiter) = self.waiters.remove(&ticket) {
            if self.is_away(&waiter.call) {
                return;
            }
            let entries = self.log.entries_after(waiter.after, limits::CLUSTER_READ);
            self.reply(&waiter.call, Said::Entries(entries));
        }
    }

    /// An answer, or that none came in time.
    pub(crate) fn answer(&mut self, node: usize, life: u64, ticket: u64, said: Option<Said>) {
        if self.nodes[node].life != life {
            return;
        }
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let Some(purpose) = process.pending.remove(&ticket) else {
            return;
        };
        let said = said.filter(|said| !matches!(said, Said::Refused));
        self.answered(node, purpose, said);
    }
}
