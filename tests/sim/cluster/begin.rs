//! How a follower begins, and how a new leader inherits and opens its ledger: `src/app/cluster.rs`, `peers.rs` and the start in
//! `src/app.rs`.

use crate::cluster::lease::{Kind, Leased, Why};
use crate::cluster::net::{Ask, Said, Server};
use crate::cluster::node::{Inherited, Phase, Purpose, Tick};
use crate::cluster::plan::S;
use crate::cluster::world::World;
use candela::domain::cluster::{
    EntryStep, LogAnswer, LogFound, LogPlace, Meeting, Start, is_behind, look_at_end, meet, start, why_unproven,
};
use candela::limits;
use std::time::Duration;

/// A node that begins with the cluster log.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// To lead: then it goes on to the end of the log.
    chases: bool,
    begins: Option<Start>,
    /// Nodes that may have what is missing.
    peers: Vec<usize>,
    place: LogPlace,
}

#[derive(Debug, Clone)]
pub(crate) enum Begin {
    Looked,
    Met,
    PeerLooked,
    PeerAsked(u64),
    Opened(u64),
}

impl World {
    /// `begin_edge`.
    pub(crate) fn begin_to_follow(&mut self, node: usize, chases: bool) {
        let (number, hash) = self.nodes[node].disk.folder.end();
        let process = self.nodes[node].process.as_mut().expect("a process");
        process.phase = Phase::Beginning(Beginning {
            chases,
            begins: None,
            peers: Vec::new(),
            place: LogPlace::at(number, hash),
        });
        self.begin_call(node, Server::Log, Ask::Near(number), limits::LOG_START, Begin::Looked);
    }

    fn begin_call(&mut self, node: usize, server: Server, ask: Ask, patience: Duration, begin: Begin) {
        self.call(node, server, ask, patience, Purpose::Begin(begin));
    }

    fn beginning(&mut self, node: usize) -> Option<&mut Beginning> {
        match &mut self.nodes[node].process.as_mut()?.phase {
            Phase::Beginning(beginning) => Some(beginning),
            _ => None,
        }
    }

    fn find_start(&self, node: usize, found: &LogFound) -> Start {
        let folder = &self.nodes[node].disk.folder;
        let (number, hash) = folder.end();
        let chain = (!folder.kept.is_empty()).then_some((number, hash, folder.lineage.as_str()));
        start(chain, folder.led, found)
    }

    pub(crate) fn begin_answered(&mut self, node: usize, begin: Begin, said: Option<Said>) {
        if self.beginning(node).is_none() {
            return;
        }
        match (begin, said) {
            (Begin::Looked, Some(Said::Found(found))) => {
                let begins = self.find_start(node, &found);
                let folder = &self.nodes[node].disk.folder;
                let has = !folder.kept.is_empty();
                let behind = has && is_behind(folder.end().0, &folder.lineage, &found);
                self.beginning(node).expect("begins").begins = Some(begins);
                if begins != Start::GoOn && behind {
                    self.begin_call(node, Server::Log, Ask::Meet(false), limits::LOG_ANSWER, Begin::Met);
                } else {
                    self.go_on_with(node, begins);
                }
            }
            (Begin::Looked, _) if self.nodes[node].disk.folder.kept.is_empty() || self.nodes[node].disk.folder.led => {
                self.cannot_begin(node, "the log cannot be read, and it has nothing yet");
            }
            (Begin::Looked, _) => self.go_on_with(node, Start::GoOn),
            (Begin::Met, said) => {
                self.nodes[node].disk.open_followed(None);
                if let Some(Said::Nodes(nodes)) = said {
                    let others = nodes.into_iter().filter(|other| *other != node).collect();
                    self.beginning(node).expect("begins").peers = others;
                }
                self.look_for_peer(node);
            }
            (begin @ (Begin::PeerLooked | Begin::PeerAsked(_)), said) => self.peer_answered(node, &begin, said),
            (Begin::Opened(number), Some(Said::Entries(entries))) => {
                let opening = entries
                    .into_iter()
                    .map(|entry| entry.parcel)
                    .find(|parcel| parcel.number == number);
                let Some(opening) = opening else {
                    return self.cannot_begin(node, "its opening was removed at this moment");
                };
                let disk = &mut self.nodes[node].disk;
                if !disk.folder.kept.is_empty() {
                    disk.set_aside(&mut self.names);
                    self.reach.see("a node put its ledger aside and began anew");
                }
                self.nodes[node].disk.open_followed(Some(&opening));
                self.say(|| format!("node {node} begins with parcel {number}"));
                self.begun(node);
            }
            (Begin::Opened(_), _) => self.cannot_begin(node, "the log does not answer"),
        }
    }

    fn peer_answered(&mut self, node: usize, begin: &Begin, said: Option<Said>) {
        match (begin, said) {
            (Begin::PeerLooked, Some(Said::Found(found))) => {
                let led = std::mem::take(&mut self.nodes[node].disk.folder.led);
                let goes_on = self.find_start(node, &found) == Start::GoOn;
                self.nodes[node].disk.folder.led = led;
                if goes_on {
                    self.reach.see("a node fetched from another what the log no longer had");
                    return self.begun(node);
                }
                let next = self.nodes[node].disk.folder.end().0 + 1;
                let Some(peer) = self
                    .beginning(node)
                    .and_then(|beginning| beginning.peers.first().copied())
                else {
                    return;
                };
                let (ask, then) = (Ask::Parcels(next), Begin::PeerAsked(found.first));
                self.begin_call(node, Server::Peer(peer), ask, limits::PEER_ANSWER, then);
            }
            (Begin::PeerAsked(first), Some(Said::Parcels(parcels))) => {
                let mut taken = false;
                for parcel in parcels.iter().filter(|parcel| parcel.number < *first) {
                    taken = matches!(self.nodes[node].disk.apply(parcel), Ok(true));
                    if !taken {
                        break;
                    }
                }
                if taken {
                    let own = self.nodes[node].disk.folder.end().0;
                    self.begin_call(node, Server::Log, Ask::Near(own), limits::LOG_ANSWER, Begin::PeerLooked);
                } else {
                    self.next_peer(node);
                }
            }
            _ => self.next_peer(node),
        }
    }

    fn look_for_peer(&mut self, node: usize) {
        let beginning = self.beginning(node).expect("begins");
        if beginning.peers.is_empty() {
            let begins = beginning.begins.expect("it was looked");
            return self.go_on_with(node, begins);
        }
        let own = self.nodes[node].disk.folder.end().0;
        self.begin_call(node, Server::Log, Ask::Near(own), limits::LOG_ANSWER, Begin::PeerLooked);
    }

    fn next_peer(&mut self, node: usize) {
        let beginning = self.beginning(node).expect("begins");
        if !beginning.peers.is_empty() {
            beginning.peers.remove(0);
        }
        self.look_for_peer(node);
    }

    fn go_on_with(&mut self, node: usize, begins: Start) {
        match begins {
            Start::GoOn => {
                self.nodes[node].disk.open_followed(None);
                self.begun(node);
            }
            Start::Nothing(why) => self.cannot_begin(node, why),
            Start::Anew { number } => {
                let (ask, then) = (Ask::Range(number - 1, 1), Begin::Opened(number));
                self.begin_call(node, Server::Log, ask, limits::LOG_START, then);
            }
        }
    }

    fn cannot_begin(&mut self, node: usize, why: &str) {
        self.say(|| format!("node {node} cannot begin: {why}"));
        if self.beginning(node).is_some_and(|beginning| beginning.chases) {
            return self.inherit(node, Some(why.to_owned()));
        }
        if !self.nodes[node].ingest {
            return self.exit(node, false, why);
        }
        let waits = i64::try_from(limits::LOG_START.as_micros()).expect("seconds");
        let process = self.nodes[node].process.as_mut().expect("a process");
        process.phase = Phase::Waiting {
            until: self.now + waits,
        };
        self.stand_by(node);
    }

    fn begun(&mut self, node: usize) {
        self.nodes[node].disk.folder.led = false;
        let (number, hash) = self.nodes[node].disk.folder.end();
        let beginning = self.beginning(node).expect("begins");
        beginning.place = LogPlace::at(number, hash);
        if beginning.chases {
            self.chase(node);
        } else {
            self.follow(node);
        }
    }

    /// The lease is here: `lead`, which renews it meanwhile.
    pub(crate) fn begin_to_lead(&mut self, node: usize) {
        let (own, led) = (self.nodes[node].disk.folder.id, self.nodes[node].disk.folder.led);
        let process = self.nodes[node].process.as_mut().expect("a process");
        process.phase = Phase::Opening(Inherited::default());
        let (term, from, _) = process.claim.succession;
        self.tick_in(node, limits::LEASE_RENEW, Tick::Keep);
        if from.is_none_or(|from| from == own && led) {
            return self.tick_in(node, Duration::from_millis(5), Tick::Open);
        }
        let ask = Ask::Append(u64::try_from(term).expect("a term"), [].into());
        self.call(node, Server::Log, ask, limits::LOG_ANSWER, Purpose::Fenced);
    }

    pub(crate) fn fenced(&mut self, node: usize, said: Option<Said>) {
        match said {
            Some(Said::Appended(LogAnswer::Taken)) => self.begin_to_follow(node, true),
            Some(Said::Appended(LogAnswer::Stale { .. })) => {
                self.exit(node, false, "a later leader has written to the log");
            }
            _ => self.inherit(node, Some("the log cannot be fenced".to_owned())),
        }
    }

    /// `follow_to_end`.
    fn chase(&mut self, node: usize) {
        let after = self.beginning(node).expect("begins").place.number();
        let ask = Ask::Range(after, limits::CLUSTER_READ);
        self.call(node, Server::Log, ask, limits::LOG_ANSWER, Purpose::Chased);
    }

    pub(crate) fn chased(&mut self, node: usize, said: Option<Said>) {
        let Some(Said::Entries(entries)) = said else {
            return self.inherit(node, Some("the log does not answer".to_owned()));
        };
        if entries.is_empty() {
            return self.call(node, Server::Log, Ask::Head, limits::LOG_ANSWER, Purpose::ChasedHead);
        }
        for entry in &entries {
            let Some(beginning) = self.beginning(node) else { return };
            match beginning.place.on(entry) {
                EntryStep::Take => match self.nodes[node].disk.apply(&entry.parcel) {
                    Ok(true) => self.beginning(node).expect("begins").place.taken(entry),
                    _ => return self.exit(node, false, "its ledger does not take a parcel"),
                },
                EntryStep::Known => {}
                step => return self.inherit(node, Some(format!("its parcel does not continue: {step:?}"))),
            }
        }
        self.chase(node);
    }

    pub(crate) fn chased_head(&mut self, node: usize, said: Option<Said>) {
        let Some(Said::Head(head)) = said else {
            return self.inherit(node, Some("the log does not answer".to_owned()));
        };
        self.inherit(node, look_at_end(head.as_ref(), self.nodes[node].disk.folder.end()));
    }

    fn inherit(&mut self, node: usize, followed: Option<String>) {
        let process = self.nodes[node].process.as_mut().expect("a process");
        let unproven = why_unproven(followed, process.claim.succession.2);
        process.phase = Phase::Opening(Inherited {
            unproven,
            ..Inherited::default()
        });
        self.call(node, Server::Log, Ask::Hear, limits::LOG_ANSWER, Purpose::Inherited);
    }

    fn opening(&mut self, node: usize) -> Option<&mut Inherited> {
        match &mut self.nodes[node].process.as_mut()?.phase {
            Phase::Opening(inherited) => Some(inherited),
            _ => None,
        }
    }

    pub(crate) fn open_ledger(&mut self, node: usize) {
        if self.opening(node).is_none() {
            return;
        }
        if self.nodes[node].disk.open_counted(&mut self.names) {
            self.reach.see("a ledger was not shown to be whole");
        }
        self.ask_lease(node, Kind::Renew, Why::Open);
    }

    pub(crate) fn open_asked(&mut self, node: usize, leased: Leased) {
        if self.opening(node).is_none() {
            return;
        }
        if matches!(leased, Leased::Held { .. }) {
            return self.exit(node, true, "another has the lease");
        }
        let lineage = self.nodes[node].disk.folder.lineage.clone();
        self.call(
            node,
            Server::Base,
            Ask::Position(lineage),
            Duration::from_secs(5),
            Purpose::LookedAhead,
        );
    }

    pub(crate) fn looked_ahead(&mut self, node: usize, said: Option<Said>) {
        let Some(inherited) = self.opening(node) else { return };
        let unproven = inherited.unproven.is_some();
        if let Some(Said::Position(stored)) = said
            && stored > self.nodes[node].disk.folder.head()
        {
            self.nodes[node].disk.renumber(&mut self.names);
            self.reach.see("the database was ahead of a ledger");
        }
        if unproven {
            self.nodes[node].disk.renumber(&mut self.names);
            self.reach.see("a takeover could not be proved");
        }
        self.call(node, Server::Log, Ask::Head, limits::LOG_START, Purpose::Met);
    }

    pub(crate) fn met(&mut self, node: usize, said: Option<Said>) {
        let Some(inherited) = self.opening(node) else { return };
        let unproven = inherited.unproven.is_some();
        let process = self.nodes[node].process.as_ref().expect("a process");
        let provable = unproven || process.claim.succession.2; // in new epochs nothing is told yet
        let disk = &mut self.nodes[node].disk;
        let folder = &disk.folder;
        let met = match &said {
            Some(Said::Head(head)) => {
                let number = head.as_ref().map_or(0, |head| head.number);
                let own = folder.hash_of(number);
                meet(head.as_ref(), (folder.end().0, own), &folder.lineage, provable)
            }
            _ => Meeting::AWAY,
        };
        let number = match &said {
            Some(Said::Head(Some(head))) if met.bounded => Some(head.number),
            _ => None,
        };
        let bound = number.and_then(|number| folder.last_of(number));
        if met.renumbers {
            disk.renumber(&mut self.names);
            self.reach.see("the log was ahead of a ledger");
        }
        if let Some(number) = met.begins_after {
            disk.begin_chain_after(number);
        }
        let inherited = self.opening(node).expect("opens");
        (inherited.bound, inherited.begun_after) = (bound, met.begins_after);
        self.ask_lease(node, Kind::Prove(met.provable), Why::Meet);
    }

    /// A node that follows or leads shows whether it has been there for a while.
    pub(crate) fn is_settled(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        let old = node
            .process
            .as_ref()
            .is_some_and(|process| self.now - process.since > 6 * S);
        old && (node.leads() || node.follows()) && node.paused_until < self.now
    }
}
