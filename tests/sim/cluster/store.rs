//! The Writer: it follows what was told, and writes each batch under the term's fence, in one statement or in a transaction.

use crate::cluster::base::Batch;
use crate::cluster::net::{Ask, Said, Server};
use crate::cluster::node::{Purpose, Tick};
use crate::cluster::world::World;
use std::rc::Rc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(500);

impl World {
    /// Writes what was told and is not in the database yet.
    pub(crate) fn store(&mut self, node: usize) {
        let Some(lead) = self.nodes[node].lead() else { return };
        if lead.storing {
            return;
        }
        lead.storing = true;
        let Some(stored) = lead.stored else {
            return self.locate(node);
        };
        let Some(batch) = self.batch(node, stored) else {
            self.nodes[node].lead().expect("leads").storing = false;
            return;
        };
        let term = self.nodes[node].process.as_ref().expect("a process").claim.term;
        let upto = batch.events.last().map_or(stored, |event| event.position);
        if term == 0 {
            self.reach.see("the Writer has no lease");
            return self.tick_in(node, AGAIN, Tick::Store); // nothing is written without it
        }
        if self.rng.bool() {
            let ask = Ask::Write(term, Rc::new(batch));
            self.call(node, Server::Base, ask, PATIENCE, Purpose::Stored(upto));
        } else {
            self.call(
                node,
                Server::Base,
                Ask::Fence(term),
                PATIENCE,
                Purpose::Fence(upto, term),
            );
        }
    }

    pub(crate) fn store_again(&mut self, node: usize) {
        if let Some(lead) = self.nodes[node].lead() {
            lead.storing = false;
        }
        self.store(node);
    }

    fn batch(&self, node: usize, after: u64) -> Option<Batch> {
        let folder = &self.nodes[node].disk.folder;
        let served = self.nodes[node].process.as_ref()?.served;
        let events = folder.events(after, served.min(after + 64));
        (!events.is_empty()).then(|| Batch {
            lineage: folder.lineage.clone(),
            epochs: folder.epochs,
            events,
        })
    }

    /// Where the database is in this ledger, under its name or an earlier one.
    fn locate(&mut self, node: usize) {
        let lineage = self.nodes[node].disk.folder.lineage.clone();
        let ask = Ask::Position(lineage.clone());
        self.call(node, Server::Base, ask, PATIENCE, Purpose::Located(lineage));
    }

    pub(crate) fn located(&mut self, node: usize, lineage: &str, said: Option<Said>) {
        let folder = &self.nodes[node].disk.folder;
        let (head, own) = (folder.head(), folder.lineage == lineage);
        let at = folder.ancestors.iter().position(|(name, _)| name == lineage);
        let before = match at {
            None if own => folder.ancestors.last().cloned(),
            None | Some(0) => None,
            Some(at) => folder.ancestors.get(at - 1).cloned(),
        };
        let shared = at.map(|at| folder.ancestors[at].1);
        let Some(lead) = self.nodes[node].lead() else { return };
        let Some(Said::Position(stored)) = said else {
            return self.tick_in(node, AGAIN, Tick::Store);
        };
        if own && stored > head {
            return self.exit(node, true, "the database is ahead of the ledger");
        }
        match before {
            Some((name, _)) if stored == 0 => {
                let ask = Ask::Position(name.clone());
                self.call(node, Server::Base, ask, PATIENCE, Purpose::Located(name));
            }
            _ => {
                lead.stored = Some(shared.map_or(stored, |shared| stored.min(shared)));
                lead.storing = false;
                self.store(node);
            }
        }
    }

    pub(crate) fn store_fenced(&mut self, node: usize, (upto, term): (u64, i64), said: Option<Said>) {
        let Some(lead) = self.nodes[node].lead() else { return };
        let stored = lead.stored.unwrap_or(0);
        match said {
            Some(Said::Yes(true)) => {
                let Some(batch) = self.batch(node, stored) else { return };
                let ask = Ask::Commit(term, Rc::new(batch));
                self.call(node, Server::Base, ask, PATIENCE, Purpose::Stored(upto));
            }
            said => self.stored(node, stored, said),
        }
    }

    pub(crate) fn stored(&mut self, node: usize, upto: u64, said: Option<Said>) {
        let written = matches!(said, Some(Said::Yes(true)));
        let refused = matches!(said, Some(Said::Yes(false)));
        let Some(lead) = self.nodes[node].lead() else { return };
        if written {
            lead.stored = Some(upto);
            lead.storing = false;
            return self.store(node);
        }
        if refused {
            self.reach.see("the database refused a stale leader");
            self.nodes[node].process.as_mut().expect("a process").claim.term = 0;
        }
        self.tick_in(node, AGAIN, Tick::Store);
    }
}
