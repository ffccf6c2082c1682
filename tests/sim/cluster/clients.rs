//! Clients that go from node to node with their positions, and check what comes.

use crate::cluster::disk::{CHANNELS, Ev, channels};
use crate::cluster::plan::{Fault, MS};
use crate::cluster::world::{Happens, World};
use candela::domain::model::{Epoch, Head, Timestamp};
use candela::domain::protocol::{HeldLog, LogSpan, ReplayQuestion, Since, Unreadable};
use std::rc::Rc;

#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Counts visits: what comes of an earlier one is not heard.
    visit: u64,
    at: Option<usize>,
    /// Epoch and seq of each channel.
    places: [Option<(Epoch, u64)>; CHANNELS],
    pub(crate) received: u64,
}

/// What a node sends a client at once.
#[derive(Debug)]
pub(crate) struct Sent {
    epochs: [Epoch; CHANNELS],
    events: Vec<Ev>,
}

/// What a node has of a channel: all from this seq on.
struct Kept(u64);

impl HeldLog for Kept {
    fn first_in_memory(&self) -> Option<u64> {
        None
    }

    fn first_in_ledger(&mut self) -> Result<Option<u64>, Unreadable> {
        Ok(Some(self.0))
    }

    fn told_at(&mut self, _: u64) -> Option<Timestamp> {
        None
    }

    fn complete_since(&mut self) -> Option<Timestamp> {
        None
    }
}

/// A position that has not arrived yet is waited for: so often.
const TRIES: u8 = 10;

impl World {
    /// A client goes to any node that takes clients.
    pub(crate) fn hop(&mut self, client: usize) {
        self.leave(client);
        let open = |node: &usize| {
            let node = &self.nodes[*node];
            node.process.as_ref().is_some_and(|process| process.serves) && node.paused_until < self.now
        };
        let nodes: Vec<usize> = (0..self.nodes.len()).filter(open).collect();
        if nodes.is_empty() {
            return self.after((200, 800), Happens::Hop(client));
        }
        let node = nodes[self.rng.usize(..nodes.len())];
        if self.acting(Fault::CutClients, Some(node), (node, "connect")).is_some() {
            return self.after((200, 800), Happens::Hop(client));
        }
        self.clients[client].at = Some(node);
        let visit = self.clients[client].visit;
        self.after((1, 20), Happens::Greeted(client, visit, 0));
        let stays = if self.rng.bool() { (300, 1_500) } else { (1_000, 9_000) };
        self.after(stays, Happens::Hop(client));
    }

    fn leave(&mut self, client: usize) {
        let one = &mut self.clients[client];
        one.visit += 1;
        if let Some(process) = one.at.take().and_then(|node| self.nodes[node].process.as_mut()) {
            process.visits.remove(&client);
        }
    }

    /// All clients of a node are sent away, and go elsewhere.
    pub(crate) fn send_away(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.visits.clear();
        }
        for client in 0..self.clients.len() {
            if self.clients[client].at == Some(node) {
                self.clients[client].visit += 1;
                self.clients[client].at = None;
            }
        }
    }

    /// The node answers where the replay begins.
    pub(crate) fn greet(&mut self, client: usize, visit: u64, tries: u8) {
        let one = &self.clients[client];
        let Some(node) = one.at.filter(|_| one.visit == visit) else {
            return;
        };
        let folder = &self.nodes[node].disk.folder;
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let seqs = folder.seqs_at(process.served);
        let mut places = one.places;
        let mut from = process.served;
        let mut broken = false;
        for channel in 0..CHANNELS {
            let head = Head {
                epoch: folder.epochs[channel],
                seq: seqs[channel],
            };
            let question = |(epoch, seq)| ReplayQuestion {
                since: Since::Position {
                    epoch: Some(epoch),
                    seq,
                },
                head: Some(head),
                instant: None,
            };
            let mut log = Kept(folder.first_seq(channel));
            let found = places[channel].map(|place| question(place).find_start(&mut log, LogSpan::default()));
            match found.map(|found| found.recovered.map_or(Ok(found.after), |can| can.map(|()| found.after))) {
                Some(Ok(seq)) => {
                    places[channel] = Some((head.epoch, seq));
                    from = from.min(folder.position_after(channel, seq));
                }
                Some(Err("position_ahead")) if tries < TRIES => {
                    return self.after((150, 220), Happens::Greeted(client, visit, tries + 1));
                }
                _ => {
                    broken |= found.is_some();
                    places[channel] = Some((head.epoch, head.seq)); // it is told that it cannot go on
                }
            }
        }
        let events = folder.events(from, process.served);
        let missing = |event: &Ev| places[event.channel].is_some_and(|(_, seq)| event.seq > seq);
        let sent = Sent {
            epochs: folder.epochs,
            events: events.into_iter().filter(missing).collect(),
        };
        self.clients[client].places = places;
        self.reach.see(if broken {
            "a client is told that it cannot go on"
        } else {
            "a client goes on at another node"
        });
        let process = self.nodes[node].process.as_mut().expect("a process");
        process.visits.insert(client, (visit, self.now));
        self.send_to(node, client, Rc::new(sent));
    }

    fn send_to(&mut self, node: usize, client: usize, sent: Rc<Sent>) {
        let takes = self.rng.i64(50..2 * MS);
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let Some((visit, last)) = process.visits.get_mut(&client) else {
            return;
        };
        *last = (*last + 1).max(self.now + takes); // in order
        let (visit, at) = (*visit, *last);
        self.at(at, Happens::Delivered(client, visit, sent));
    }

    /// A node tells what is new in its ledger, up to and with `to`.
    pub(crate) fn tell(&mut self, node: usize, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let folder = &self.nodes[node].disk.folder;
        let (lineage, epochs) = (folder.lineage.clone(), folder.epochs);
        let events = folder.events(from, to);
        let alone = self.terms_of(node);
        for event in &events {
            self.witness.tells(node, &lineage, &epochs, event, alone);
        }
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        process.served = to;
        let clients: Vec<usize> = process.visits.keys().copied().collect();
        let sent = Rc::new(Sent { epochs, events });
        for client in clients {
            if self
                .acting(Fault::CutClients, Some(node), (client, "a connection"))
                .is_some()
            {
                self.leave(client); // its connection breaks
            } else {
                self.send_to(node, client, Rc::clone(&sent));
            }
        }
    }

    pub(crate) fn deliver(&mut self, client: usize, visit: u64, sent: &Sent) {
        if self.clients[client].visit != visit {
            return;
        }
        for event in &sent.events {
            let one = &mut self.clients[client];
            one.received += 1;
            let epoch = sent.epochs[event.channel];
            let place = &mut one.places[event.channel];
            let next = place.is_none_or(|(at, seq)| (at, seq + 1) == (epoch, event.seq));
            if !next {
                let name = channels()[event.channel];
                let at = place.map(|(epoch, seq)| format!("{epoch} {seq}")).unwrap_or_default();
                let what = format!("C1: client {client} gets {epoch} {} of {name} after {at}", event.seq);
                return self.violated(what);
            }
            *place = Some((epoch, event.seq));
        }
    }
}
