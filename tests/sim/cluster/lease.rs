//! The lease in a process: what `Postgres` in `src/store/postgres/lease.rs` asks the database for, one request at a time, and who waits for
//! it.

use crate::cluster::base::Taken;
use crate::cluster::net::{Ask, Said, Server};
use crate::cluster::node::{Phase, Purpose, Tick};
use crate::cluster::world::World;
use candela::domain::followers::lease::{Answer, Held, Holder};
use candela::domain::model::Timestamp;
use candela::limits;
use std::collections::VecDeque;
use std::time::Duration;

/// The right to write, as the process knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim {
    /// The last term granted, unless it is known to have ended; 0 if none.
    pub(crate) term: i64,
    pub(crate) given_back: bool,
    /// Term, the last leader, and whether what that one published is provable.
    pub(crate) succession: (i64, Option<u64>, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes a lease that nobody has; one that has run out only if that is not left to its holder.
    Free {
        ownerless: bool,
    },
    Renew,
    Prove(bool),
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Turn,
    Standby,
    Keep,
    Open,
    Meet,
    Prove(bool),
    HandOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Looked,
    Renewed,
    LookedWho,
    Took,
    Done,
}

#[derive(Debug, Clone, Copy)]
struct Op {
    id: u64,
    kind: Kind,
    why: Why,
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    ops: VecDeque<Op>,
    count: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leased {
    Granted(i64),
    Held { by: u64, left: i64 },
    Done(bool),
    Failed,
}

impl Leased {
    /// The answer as the product reads it.
    pub(crate) fn answer(self) -> Option<Answer> {
        match self {
            Self::Granted(term) => Some(Answer::Granted(term)),
            Self::Held { by, left } => Some(Answer::Held(Held {
                by: Holder {
                    id: by.to_string(),
                    host: "simulated".to_owned(),
                    pid: 1,
                    since: Timestamp::from_secs(0),
                },
                left: Duration::from_micros(u64::try_from(left).unwrap_or(0)),
            })),
            Self::Done(_) | Self::Failed => None,
        }
    }
}

const LONG: Duration = Duration::from_secs(20);

impl World {
    pub(crate) fn ask_lease(&mut self, node: usize, kind: Kind, why: Why) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        process.leases.count += 1;
        let id = process.leases.count;
        if kind == Kind::Release {
            process.claim.given_back = true;
        }
        process.leases.ops.push_back(Op { id, kind, why });
        let alone = process.leases.ops.len() == 1;
        let patience = if kind == Kind::Release {
            limits::LEASE_RELEASE
        } else {
            limits::LEADER_ANSWER
        };
        self.tick_in(node, patience, Tick::LeaseLate(id));
        if alone {
            self.begin_lease(node);
        }
    }

    fn op(&self, node: usize) -> Option<Op> {
        self.nodes[node].process.as_ref()?.leases.ops.front().copied()
    }

    fn claim(&mut self, node: usize) -> &mut Claim {
        &mut self.nodes[node].process.as_mut().expect("a process").claim
    }

    fn lease_call(&mut self, node: usize, ask: Ask, stage: Stage) {
        let Some(op) = self.op(node) else { return };
        self.call(node, Server::Base, ask, LONG, Purpose::Lease(op.id, stage));
    }

    fn begin_lease(&mut self, node: usize) {
        let Some(op) = self.op(node) else { return };
        let claim = self.claim(node).clone();
        match op.kind {
            Kind::Release if claim.term == 0 => self.end_lease(node, Leased::Done(true)),
            Kind::Release => {
                self.claim(node).term = 0;
                self.lease_call(node, Ask::Release(claim.term), Stage::Done);
            }
            _ if claim.given_back => self.end_lease(node, Leased::Failed),
            Kind::Free { ownerless } => self.lease_call(node, Ask::Lease { expired: ownerless }, Stage::Looked),
            Kind::Renew => self.ask_for_lease(node),
            Kind::Prove(provable) => self.lease_call(node, Ask::Prove(claim.term, provable), Stage::Done),
        }
    }

    /// `Postgres::ask`.
    fn ask_for_lease(&mut self, node: usize) {
        let claim = self.claim(node).clone();
        if claim.term != 0 {
            self.lease_call(node, Ask::Renew(claim.term), Stage::Renewed);
        } else if claim.succession.0 != 0 {
            self.lease_call(node, Ask::Lease { expired: true }, Stage::LookedWho);
        } else {
            self.lease_call(node, Ask::Take, Stage::Took);
        }
    }

    pub(crate) fn lease_answered(&mut self, node: usize, id: u64, stage: Stage, said: Option<Said>) {
        if self.op(node).is_none_or(|op| op.id != id) {
            return;
        }
        let own = self.nodes[node].disk.folder.id;
        match (stage, said) {
            (Stage::Looked, Some(Said::Lease(Some((by, left))))) if by != own => {
                self.end_lease(node, Leased::Held { by, left });
            }
            (Stage::Looked, Some(Said::Lease(_))) => self.ask_for_lease(node),
            (Stage::Renewed, Some(Said::Yes(true))) => {
                let term = self.claim(node).term;
                self.end_lease(node, Leased::Granted(term));
            }
            (Stage::Renewed, Some(Said::Yes(false))) => {
                self.claim(node).term = 0;
                self.ask_for_lease(node);
            }
            (Stage::LookedWho, Some(Said::Lease(Some((by, left))))) => self.end_lease(node, Leased::Held { by, left }),
            (Stage::Took, Some(Said::Taken(Taken::Held { by, left }))) => {
                self.end_lease(node, Leased::Held { by, left });
            }
            (
                Stage::Took,
                Some(Said::Taken(Taken::Mine {
                    term,
                    before,
                    led_by,
                    provable,
                })),
            ) => {
                let provable = provable.unwrap_or(true) && before.is_none_or(|before| before == term - 1);
                let claim = self.claim(node);
                (claim.succession, claim.term) = ((term, led_by, provable), term);
                self.say(|| format!("node {node} has the lease under term {term}"));
                self.end_lease(node, Leased::Granted(term));
            }
            (Stage::Done, Some(Said::Yes(done))) => self.end_lease(node, Leased::Done(done)),
            _ => self.end_lease(node, Leased::Failed),
        }
    }

    /// A request has waited long enough, for the server or for its turn.
    pub(crate) fn lease_late(&mut self, node: usize, id: u64) {
        let front = self.op(node).is_some_and(|op| op.id == id);
        if front {
            return self.end_lease(node, Leased::Failed);
        }
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        if let Some(at) = process.leases.ops.iter().position(|op| op.id == id) {
            let why = process.leases.ops.remove(at).map(|op| op.why);
            if let Some(why) = why {
                self.lease_done(node, why, Leased::Failed);
            }
        }
    }

    fn end_lease(&mut self, node: usize, leased: Leased) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let Some(op) = process.leases.ops.pop_front() else {
            return;
        };
        self.lease_done(node, op.why, leased);
        self.begin_lease(node);
    }

    fn lease_done(&mut self, node: usize, why: Why, leased: Leased) {
        if matches!(why, Why::Turn | Why::Standby) {
            let now = self.steady(node);
            if let Some(process) = &mut self.nodes[node].process {
                match leased {
                    Leased::Failed => process.outage.note_silence(),
                    _ => process.outage.note_answer(now),
                }
            }
        }
        match why {
            Why::Turn => self.turned(node, leased),
            Why::Standby => self.stood_by(node, leased),
            Why::Keep => self.kept(node, leased),
            Why::Open => self.open_asked(node, leased),
            Why::Meet if leased == Leased::Done(true) => {
                let rebuilds = self.rng.u64(50..200);
                self.tick_in(node, Duration::from_millis(rebuilds), Tick::Lead);
            }
            Why::Meet => self.exit(node, true, "the lease is not confirmed"),
            Why::Prove(provable) => self.proved(node, provable, leased == Leased::Done(true)),
            Why::HandOn => self.exit(node, true, "it has handed on"),
        }
    }

    fn request(&mut self, node: usize, why: Why) {
        let now = self.steady(node);
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let ownerless = process.outage.spares_holder(now);
        self.ask_lease(node, Kind::Free { ownerless }, why);
    }

    /// An ingest asks whose turn it is.
    pub(crate) fn turn(&mut self, node: usize) {
        self.request(node, Why::Turn);
    }

    fn turned(&mut self, node: usize, leased: Leased) {
        match leased {
            Leased::Granted(_) => self.begin_to_lead(node),
            Leased::Held { left, .. } if left > 0 => self.begin_to_follow(node, false),
            _ => self.tick_in(node, limits::LEASE_TRY, Tick::Turn), // nobody knows, or it is spared
        }
    }

    /// A standby asks for the lease, again and again.
    pub(crate) fn stand_by(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        match process.phase {
            Phase::Following(_) => self.request(node, Why::Standby),
            Phase::Waiting { until } if self.now < until => self.request(node, Why::Standby),
            Phase::Waiting { .. } => self.turn(node),
            _ => {}
        }
    }

    fn stood_by(&mut self, node: usize, leased: Leased) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let waits = matches!(process.phase, Phase::Waiting { .. });
        if !waits && !matches!(process.phase, Phase::Following(_)) {
            return;
        }
        if matches!(leased, Leased::Granted(_)) {
            if waits {
                return self.begin_to_lead(node);
            }
            // Its clients are sent away, and its tree ends.
            self.send_away(node);
            let process = self.nodes[node].process.as_mut().expect("a process");
            (process.serves, process.phase) = (false, Phase::Turning);
            process.pending.clear();
            let ends = self.rng.u64(20..100);
            return self.tick_in(node, Duration::from_millis(ends), Tick::TakeOver);
        }
        let jitter = Duration::from_millis(self.rng.u64(..limits::STANDBY_JITTER_MS));
        self.tick_in(node, limits::STANDBY_TRY + jitter, Tick::Standby);
    }
}
