//! A node: its ledger's folder, and the process that runs on it, if one does.

use crate::cluster::begin::{Begin, Beginning};
use crate::cluster::disk::Disk;
use crate::cluster::follow::Following;
use crate::cluster::lead::Lead;
use crate::cluster::lease::{Claim, Leases, Stage};
use crate::cluster::net::Said;
use crate::cluster::plan::Fault;
use crate::cluster::world::{Happens, World};
use candela::domain::cluster::AppendStep;
use candela::domain::followers::lease::LeaseOutage;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Node {
    /// May lead.
    pub(crate) ingest: bool,
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    /// Counts processes.
    pub(crate) life: u64,
    /// Until when it is stopped by SIGSTOP or asleep, and by which fault.
    pub(crate) paused_until: i64,
    pub(crate) paused_by: Option<usize>,
    /// For how long its steady clock stood still.
    pub(crate) slept: i64,
    /// Its supervisor does not start it before this.
    pub(crate) off_until: i64,
    /// Its wall clock is ahead by so much.
    pub(crate) wall: i64,
}

/// What a process does.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Asks the database who leads.
    Turning,
    /// Begins to follow, or follows to the end as a new leader.
    Beginning(Beginning),
    /// Follows.
    Following(Following),
    /// There is nothing to follow yet: asks for the lease until then.
    Waiting {
        until: i64,
    },
    /// Has the lease, and inherits and opens its ledger.
    Opening(Inherited),
    Leading(Box<Lead>),
    /// Nothing more is to come of it.
    Ended,
}

/// What a leader inherits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inherited {
    pub(crate) unproven: Option<String>,
    /// What is shown at first is bounded by this position.
    pub(crate) bound: Option<u64>,
    pub(crate) begun_after: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) phase: Phase,
    pub(crate) pending: BTreeMap<u64, Purpose>,
    pub(crate) claim: Claim,
    pub(crate) leases: Leases,
    pub(crate) outage: LeaseOutage,
    /// Clients may be served up to this position.
    pub(crate) served: u64,
    /// Its clients: by client, the visit, and until when something is on its way.
    pub(crate) visits: BTreeMap<usize, (u64, i64)>,
    /// It takes clients.
    pub(crate) serves: bool,
    pub(crate) since: i64,
}

/// What an answer is for.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    Lease(u64, Stage),
    Begin(Begin),
    /// A new leader: the log is fenced, followed, its end compared, its leader's news read.
    Fenced,
    Chased,
    ChasedHead,
    Inherited,
    LookedAhead,
    Met,
    /// A follower.
    Read,
    HeardNews,
    Ignored,
    /// A leader.
    AppendHead(u64),
    Appended(u64, AppendStep),
    Located(String),
    Fence(u64, i64),
    Stored(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    Turn,
    Standby,
    /// Renews the lease, at the start and as a leader.
    Keep,
    LeaseLate(u64),
    TakeOver,
    Lead,
    Open,
    AppendLate(u64),
    Retry,
    Second,
    Store,
    ReadAgain,
    Hear,
    SayNode,
    Exit {
        rests: bool,
    },
    StopWriting,
    StopStoring,
}

impl Tick {
    /// What it is called when faults are counted.
    const fn name(&self) -> &'static str {
        match self {
            Self::Turn | Self::Standby | Self::TakeOver => "ask for the lease",
            Self::Keep => "renew",
            Self::LeaseLate(_) | Self::AppendLate(_) => "a deadline",
            Self::Lead | Self::Open => "open",
            Self::Retry | Self::ReadAgain | Self::Store => "try again",
            Self::Second | Self::Hear | Self::SayNode => "report",
            Self::Exit { .. } | Self::StopWriting | Self::StopStoring => "stop",
        }
    }
}

impl Node {
    pub(crate) const fn new(ingest: bool, disk: Disk) -> Self {
        Self {
            ingest,
            disk,
            process: None,
            life: 0,
            paused_until: 0,
            paused_by: None,
            slept: 0,
            off_until: 0,
            wall: 0,
        }
    }

    pub(crate) fn lead(&mut self) -> Option<&mut Lead> {
        match &mut self.process.as_mut()?.phase {
            Phase::Leading(lead) => Some(lead),
            _ => None,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(
            &self.process,
            Some(Process {
                phase: Phase::Leading(_),
                ..
            })
        )
    }

    pub(crate) fn follows(&self) -> bool {
        matches!(
            &self.process,
            Some(Process {
                phase: Phase::Following(_),
                ..
            })
        )
    }
}

impl World {
    pub(crate) fn start(&mut self, node: usize, life: u64) {
        if self.nodes[node].life != life || self.nodes[node].process.is_some() {
            return;
        }
        if self.now < self.nodes[node].off_until {
            return self.at(self.nodes[node].off_until, Happens::Start(node, life));
        }
        self.nodes[node].life += 1;
        self.nodes[node].process = Some(Process {
            phase: Phase::Turning,
            pending: BTreeMap::new(),
            claim: Claim::default(),
            leases: Leases::default(),
            outage: LeaseOutage::default(),
            served: 0,
            visits: BTreeMap::new(),
            serves: false,
            since: self.now,
        });
        self.say(|| format!("node {node} starts"));
        if self.nodes[node].ingest {
            self.turn(node);
        } else {
            self.begin_to_follow(node, false);
        }
    }

    /// The process is gone at once.
    pub(crate) fn kill(&mut self, node: usize) -> bool {
        let was = self.nodes[node].process.take().is_some();
        self.nodes[node].life += u64::from(was);
        self.nodes[node].paused_until = self.nodes[node].paused_until.min(self.now);
        if was {
            self.send_away(node);
        }
        was
    }

    /// The supervisor starts a node again.
    pub(crate) fn start_again(&mut self, node: usize, within: (i64, i64)) {
        let life = self.nodes[node].life;
        self.after(within, Happens::Start(node, life));
    }

    /// The process ends in a moment; with `rests` it has closed its ledger.
    pub(crate) fn exit(&mut self, node: usize, rests: bool, why: &str) {
        self.say(|| format!("node {node} ends: {why}"));
        if let Some(process) = &mut self.nodes[node].process {
            process.phase = Phase::Ended;
            process.pending.clear();
        }
        let life = self.nodes[node].life;
        self.after((20, 800), Happens::Tick(node, life, Tick::Exit { rests }));
    }

    /// Up to there the ledger of a node is shown from now on: to clients that come, and by REST.
    pub(crate) fn begin_to_serve(&mut self, node: usize, upto: u64) {
        let folder = &self.nodes[node].disk.folder;
        let leads = self.terms_of(node).is_some();
        let seen = if leads { folder.shown } else { folder.followed };
        let events = folder.events(seen, upto);
        let (lineage, epochs) = (folder.lineage.clone(), folder.epochs);
        for event in &events {
            self.witness.shown(node, &lineage, &epochs, event);
            if !leads {
                self.witness.was_logged(node, &lineage, event, None);
            }
        }
        let folder = &mut self.nodes[node].disk.folder;
        folder.shown = folder.shown.max(upto);
        if !leads {
            folder.followed = folder.followed.max(upto);
        }
        if let Some(process) = &mut self.nodes[node].process {
            (process.served, process.serves) = (upto, true);
        }
    }

    /// The term under which a node shows what no log need have.
    pub(crate) fn terms_of(&self, node: usize) -> Option<i64> {
        let process = self.nodes[node].process.as_ref()?;
        matches!(process.phase, Phase::Leading(_)).then_some(process.claim.succession.0)
    }

    pub(crate) fn tick(&mut self, node: usize, life: u64, tick: Tick) {
        if self.nodes[node].life != life || self.nodes[node].process.is_none() {
            return;
        }
        if let Tick::Exit { rests } = tick {
            if rests {
                self.nodes[node].disk.rest();
            }
            self.kill(node);
            return self.start_again(node, (1_000, 2_000));
        }
        match tick {
            Tick::Turn => self.turn(node),
            Tick::Standby => self.stand_by(node),
            Tick::Keep => self.keep(node),
            Tick::LeaseLate(op) => self.lease_late(node, op),
            Tick::TakeOver => self.begin_to_lead(node),
            Tick::Lead => self.lead(node),
            Tick::Open => self.open_ledger(node),
            Tick::AppendLate(append) => self.append_late(node, append),
            Tick::Retry => self.retry(node),
            Tick::Second => self.second(node),
            Tick::Store => self.store_again(node),
            Tick::ReadAgain => self.read(node),
            Tick::Hear => self.hear_news(node),
            Tick::SayNode => self.say_node(node),
            Tick::StopWriting => self.stop_writing(node),
            Tick::StopStoring => self.stop_storing(node),
            Tick::Exit { .. } => {}
        }
    }

    pub(crate) fn answered(&mut self, node: usize, purpose: Purpose, said: Option<Said>) {
        match purpose {
            Purpose::Lease(op, stage) => self.lease_answered(node, op, stage, said),
            Purpose::Begin(begin) => self.begin_answered(node, begin, said),
            Purpose::Fenced => self.fenced(node, said),
            Purpose::Chased => self.chased(node, said),
            Purpose::ChasedHead => self.chased_head(node, said),
            Purpose::Inherited => self.open_ledger(node),
            Purpose::LookedAhead => self.looked_ahead(node, said),
            Purpose::Met => self.met(node, said),
            Purpose::Read => self.was_read(node, said),
            Purpose::HeardNews => self.news(node, said),
            Purpose::Ignored => {}
            Purpose::AppendHead(append) => self.append_head(node, append, said),
            Purpose::Appended(append, step) => self.appended(node, append, step, said),
            Purpose::Located(lineage) => self.located(node, &lineage, said),
            Purpose::Fence(upto, term) => self.store_fenced(node, (upto, term), said),
            Purpose::Stored(upto) => self.stored(node, upto, said),
        }
    }

    pub(crate) fn tick_in(&mut self, node: usize, within: std::time::Duration, tick: Tick) {
        let life = self.nodes[node].life;
        let mut waits = i64::try_from(within.as_micros()).expect("seconds");
        if let Some(skew) = self.acting(Fault::ClockSkew, Some(node), (node, tick.name())) {
            waits += waits * (i64::try_from(skew.roll % 11).expect("small") - 5) / 100;
        }
        self.at(self.now + waits, Happens::Tick(node, life, tick));
    }
}
