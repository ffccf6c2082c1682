//! A cluster as a whole, seen from outside: who leads, until when, and what stands in the way.

use crate::domain::cluster::{NodeRole, NodeSeen};
use crate::domain::followers::lease::Holder;
use crate::limits;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// The row of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseFound {
    /// The term under which it was granted last.
    pub term: u64,
    /// To whom.
    pub by: Holder,
    /// How long it still runs, unless it is renewed; nothing: it has run out.
    pub left: Option<Duration>,
    /// Whether the cluster log has all that was told under it.
    pub provable: bool,
}

/// What was found; why not, where a server was asked in vain; nothing where none was asked.
pub type Inquiry<T> = Option<Result<T, String>>;

/// The cluster log, without its parcels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LogEnd {
    /// The number of its last parcel; 0: it is empty.
    pub parcel: u64,
    /// The highest term that wrote to it.
    pub term: u64,
}

/// Everything that is known of a cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterReport {
    /// Of PostgreSQL; `Ok(None)`: nobody ever led.
    pub lease: Inquiry<Option<LeaseFound>>,
    /// Of Redis.
    pub log: Inquiry<LogEnd>,
    /// The nodes, the leader first.
    pub nodes: Vec<NodeSeen>,
}

impl ClusterReport {
    /// The node that says it leads, and whom nothing contradicts.
    pub fn leader(&self) -> Option<&NodeSeen> {
        let mut leaders = self.nodes.iter().filter(|node| node.news.role == NodeRole::Leader);
        match &self.lease {
            Some(Ok(Some(lease))) => leaders.find(|node| node.news.id == lease.by.id && lease.left.is_some()),
            Some(Ok(None)) => None,
            Some(Err(_)) | None => leaders.filter(|node| is_heard(node)).max_by_key(|node| node.news.term),
        }
    }

    /// What keeps the cluster from being as it should be: sentences, the worst first.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        self.look_at_lease(&mut obstacles);
        self.look_at_log(&mut obstacles);
        for node in &self.nodes {
            look_at_node(node, &mut obstacles);
        }
        obstacles
    }

    /// What is worth knowing, and keeps nothing from working: sentences.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let heard = || self.nodes.iter().filter(|node| is_heard(node));
        if self.leader().is_some() && !heard().any(|node| node.news.role == NodeRole::Standby) {
            notes.push("No standby: when the leader is lost, no node takes over until it is started again.".to_owned());
        }
        let versions: BTreeSet<&str> = heard().map(|node| node.news.version.as_str()).collect();
        if versions.len() > 1 {
            let versions: Vec<&str> = versions.into_iter().collect();
            notes.push(format!("Nodes run different versions: {}.", versions.join(", ")));
        }
        notes
    }

    fn look_at_lease(&self, obstacles: &mut Vec<String>) {
        match &self.lease {
            None if self.leader().is_none() => obstacles.push("No node says that it leads.".to_owned()),
            None => {}
            Some(Err(why)) => obstacles.push(format!(
                "PostgreSQL does not report the leader, and no standby can take over until it does: {why}."
            )),
            Some(Ok(None)) => {
                obstacles.push("No process leads, and none ever did in this database: start an ingest.".to_owned());
            }
            Some(Ok(Some(lease))) => self.look_at_holder(lease, obstacles),
        }
    }

    fn look_at_holder(&self, lease: &LeaseFound, obstacles: &mut Vec<String>) {
        if lease.left.is_none() {
            obstacles.push(format!(
                "Nobody leads: the lease of {} has run out; start an ingest, or wait for a standby.",
                lease.by
            ));
        } else if self.leader().is_none() && matches!(self.log, Some(Ok(_))) {
            obstacles.push(format!(
                "The lease is held by {}, and no node says that it leads under it.",
                lease.by
            ));
        }
        if !lease.provable {
            obstacles.push(
                "The leader published what the cluster log does not have yet: a takeover now begins new epochs."
                    .to_owned(),
            );
        }
        if let Some(Ok(log)) = &self.log
            && log.term > lease.term
        {
            obstacles.push(format!(
                "The cluster log was written to under term {}, and the lease is of term {}: the database is an older one, or one of \
                 another cluster.",
                log.term, lease.term
            ));
        }
    }

    fn look_at_log(&self, obstacles: &mut Vec<String>) {
        match &self.log {
            Some(Err(why)) => {
                obstacles.push(format!(
                    "The cluster log does not answer, and edges receive nothing new: {why}."
                ));
            }
            Some(Ok(LogEnd { parcel: 0, .. })) => obstacles.push("The cluster log is empty.".to_owned()),
            Some(Ok(_)) | None => {}
        }
    }
}

/// Whether it said something lately.
pub fn is_heard(node: &NodeSeen) -> bool {
    node.age_ms <= millis(limits::LOG_AGE_MOST)
}

fn look_at_node(node: &NodeSeen, obstacles: &mut Vec<String>) {
    let news = &node.news;
    let name = format!("{} {}", role_of(node), name_of(node));
    if !is_heard(node) {
        return obstacles.push(format!(
            "The last report of the {name} was received {} s ago.",
            node.age_ms / 1_000
        ));
    }
    if news.lag_ms > millis(limits::LOG_AGE_MOST) {
        let lacking = if news.role == NodeRole::Leader {
            "has parcels that the cluster log lacks"
        } else {
            "is behind the cluster log"
        };
        obstacles.push(format!(
            "The {name} {lacking}: {} parcels, for {} s.",
            news.lag_parcels,
            news.lag_ms / 1_000
        ));
    }
    if !news.conditions.is_empty() {
        obstacles.push(format!("The {name} says: {}.", news.conditions.join(", ")));
    }
}

/// What a node is; what it was, where it is not heard any more: another may be it by now.
pub fn role_of(node: &NodeSeen) -> String {
    let role = node.news.role.name();
    if is_heard(node) {
        role.to_owned()
    } else {
        format!("former {role}")
    }
}

/// What people call a node: where it serves, or its process.
pub fn name_of(node: &NodeSeen) -> String {
    let news = &node.news;
    news.address
        .clone()
        .unwrap_or_else(|| format!("{} (process {})", news.host, news.pid))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::NodeNews;
    use crate::domain::model::Timestamp;

    fn node(role: NodeRole, id: &str) -> NodeSeen {
        let news = NodeNews {
            id: id.to_owned(),
            address: Some(format!("{id}:8080")),
            version: "0.1.0".to_owned(),
            role,
            term: 3,
            ..NodeNews::default()
        };
        NodeSeen { news, age_ms: 400 }
    }

    fn lease(id: &str, left: Option<u64>) -> LeaseFound {
        LeaseFound {
            term: 3,
            by: Holder {
                id: id.to_owned(),
                host: "trading-1".to_owned(),
                pid: 7,
                since: Timestamp::from_secs(1_772_456_400),
            },
            left: left.map(Duration::from_millis),
            provable: true,
        }
    }

    fn sound() -> ClusterReport {
        ClusterReport {
            lease: Some(Ok(Some(lease("one", Some(2_100))))),
            log: Some(Ok(LogEnd { parcel: 9, term: 3 })),
            nodes: vec![
                node(NodeRole::Leader, "one"),
                node(NodeRole::Standby, "two"),
                node(NodeRole::Edge, "edge"),
            ],
        }
    }

    fn check(report: &ClusterReport, leader: Option<&str>, obstacles: &[&str]) {
        assert_eq!(report.leader().map(|node| node.news.id.as_str()), leader);
        let said = report.obstacles();
        assert_eq!(said.len(), obstacles.len(), "{said:?}");
        for (said, part) in said.iter().zip(obstacles) {
            assert!(said.contains(part), "{said:?} {part:?}");
        }
    }

    #[test]
    fn a_sound_cluster_has_a_leader_and_nothing_in_its_way() {
        check(&sound(), Some("one"), &[]);
        assert_eq!(sound().notes(), Vec::<String>::new());
    }

    #[test]
    fn who_has_the_lease_leads_whatever_another_says() {
        let mut report = sound();
        let mut old = node(NodeRole::Leader, "old");
        old.news.term = 2;
        report.nodes.insert(0, old);
        check(&report, Some("one"), &[]);
        report.lease = Some(Ok(Some(lease("one", None))));
        check(&report, None, &["Nobody leads: the lease of process 7 on trading-1"]);
        report.lease = Some(Ok(Some(lease("nobody", Some(900)))));
        check(&report, None, &["no node says that it leads under it"]);
        report.lease = Some(Ok(None));
        check(&report, None, &["none ever did"]);
        report.lease = Some(Err("connection refused".to_owned()));
        check(&report, Some("one"), &["no standby can take over"]);
        report.lease = None;
        check(&report, Some("one"), &[]);
        report.nodes.clear();
        check(&report, None, &["No node says that it leads."]);
    }

    #[test]
    fn each_thing_in_the_way_is_a_sentence() {
        let mut report = sound();
        report.lease = Some(Ok(Some(LeaseFound {
            provable: false,
            ..lease("one", Some(10))
        })));
        report.log = Some(Ok(LogEnd { parcel: 0, term: 5 }));
        report.nodes[0].news.conditions = vec!["log_down".to_owned(), "store_behind".to_owned()];
        report.nodes[1].age_ms = 61_000;
        (report.nodes[2].news.lag_parcels, report.nodes[2].news.lag_ms) = (812, 9_400);
        check(
            &report,
            Some("one"),
            &[
                "begins new epochs",
                "under term 5, and the lease is of term 3",
                "The cluster log is empty.",
                "The leader one:8080 says: log_down, store_behind.",
                "The last report of the former standby two:8080 was received 61 s ago.",
                "The edge edge:8080 is behind the cluster log: 812 parcels, for 9 s.",
            ],
        );
        report.log = Some(Err("connection refused".to_owned()));
        assert!(report.obstacles()[1].contains("edges receive nothing new: connection refused"));
        assert_eq!(
            report.notes().len(),
            1,
            "the standby is not heard: {:?}",
            report.notes()
        );
        report.nodes[2].news.version = "0.2.0".to_owned();
        assert!(report.notes()[1].ends_with("0.1.0, 0.2.0."), "{:?}", report.notes());
    }
}
