//! A node that follows: LogFollower and, on a standby, the request for the lease.

use crate::cluster::net::{Ask, Said, Server};
use crate::cluster::node::{Phase, Purpose, Tick};
use crate::cluster::plan::Fault;
use crate::cluster::world::World;
use candela::domain::cluster::{EntryStep, LeaderNews, LogNews, LogPlace};
use candela::limits;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Following {
    place: LogPlace,
    pub(crate) news: LogNews,
    heard: Option<Duration>,
}

impl World {
    /// The tree of an edge runs.
    pub(crate) fn follow(&mut self, node: usize) {
        let (number, hash) = self.nodes[node].disk.folder.end();
        let head = self.nodes[node].disk.folder.head();
        let process = self.nodes[node].process.as_mut().expect("a process");
        process.phase = Phase::Following(Following {
            place: LogPlace::at(number, hash),
            news: LogNews::default(),
            heard: None,
        });
        process.since = self.now;
        self.say(|| format!("node {node} follows from parcel {number}, position {head}"));
        self.begin_to_serve(node, head);
        self.read(node);
        self.hear_news(node);
        self.say_node(node);
        if self.nodes[node].ingest {
            self.stand_by(node);
        }
    }

    fn following(&mut self, node: usize) -> Option<&mut Following> {
        match &mut self.nodes[node].process.as_mut()?.phase {
            Phase::Following(following) => Some(following),
            _ => None,
        }
    }

    /// Waits for the next parcels.
    pub(crate) fn read(&mut self, node: usize) {
        let Some(following) = self.following(node) else { return };
        let ask = Ask::Follow(following.place.number());
        self.call(
            node,
            Server::Log,
            ask,
            limits::LOG_READ_WAIT + limits::LOG_ANSWER,
            Purpose::Read,
        );
    }

    pub(crate) fn was_read(&mut self, node: usize, said: Option<Said>) {
        let Some(following) = self.following(node) else { return };
        let Some(Said::Entries(entries)) = said else {
            following.news.trouble = Some("no answer".to_owned());
            return self.tick_in(node, limits::LOG_RETRY, Tick::ReadAgain);
        };
        following.news.trouble = None;
        let from = self.nodes[node].disk.folder.head();
        let mut ended = None;
        let mut written = true;
        for entry in &entries {
            match self.following(node).expect("follows").place.on(entry) {
                EntryStep::Take => {}
                EntryStep::Known => continue,
                step => {
                    ended = Some(format!("parcel {} is {step:?}", entry.parcel.number));
                    break;
                }
            }
            match self.nodes[node].disk.apply(&entry.parcel) {
                Ok(true) => self.following(node).expect("follows").place.taken(entry),
                Ok(false) => {
                    ended = Some(format!("the ledger refuses parcel {}", entry.parcel.number));
                    break;
                }
                Err(_) => {
                    self.acting(Fault::DiskFull, Some(node), (node, "apply"));
                    written = false;
                    break;
                }
            }
        }
        let head = self.nodes[node].disk.folder.head();
        self.tell(node, from, head);
        if let Some(why) = ended {
            self.reach.see("a follower could not go on with the log");
            return self.exit(node, true, &why);
        }
        if written {
            self.read(node);
        } else {
            self.tick_in(node, limits::APPEND_RETRY, Tick::ReadAgain);
        }
    }

    pub(crate) fn hear_news(&mut self, node: usize) {
        let now = self.steady(node);
        let Some(following) = self.following(node) else { return };
        following.news.age = following.heard.map(|heard| now.saturating_sub(heard));
        self.call(node, Server::Log, Ask::Hear, limits::LOG_ANSWER, Purpose::HeardNews);
        self.tick_in(node, limits::LEADER_HEARD, Tick::Hear);
    }

    pub(crate) fn news(&mut self, node: usize, said: Option<Said>) {
        let now = self.steady(node);
        let Some(following) = self.following(node) else { return };
        let Some(Said::Heard(Some(said))) = said else { return };
        let known = following.news.leader.as_ref().map(|known| known.said);
        if known.is_some_and(|known| known != said) {
            following.heard = Some(now);
        }
        if known != Some(said) {
            following.news.leader = Some(LeaderNews {
                said,
                ..LeaderNews::default()
            });
        }
    }

    /// Others can fetch from it.
    pub(crate) fn say_node(&mut self, node: usize) {
        let serves = self.nodes[node].leads() || self.nodes[node].follows();
        if serves {
            self.call(node, Server::Log, Ask::Meet(true), limits::LOG_ANSWER, Purpose::Ignored);
            self.tick_in(node, limits::NODE_SAYS, Tick::SayNode);
        }
    }
}
