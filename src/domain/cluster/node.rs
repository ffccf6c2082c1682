//! What each node says of itself to all others, and how far behind it is.

use crate::domain::status::ConditionKind;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// What a node does now.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// An ingest that has the lease.
    Leader,
    /// An ingest without the lease.
    Standby,
    /// Follows the cluster log, and never leads.
    #[default]
    Edge,
}

impl NodeRole {
    /// Every role.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its name on `/status` and in metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a node says of itself each second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct NodeNews {
    /// The name of its ledger folder: the same after a restart.
    pub id: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Where it serves clients, once it does: `host:port`.
    pub address: Option<String>,
    /// The version of candela.
    pub version: String,
    /// What it does.
    pub role: NodeRole,
    /// The highest term that it knows.
    pub term: u64,
    /// The last parcel of its ledger.
    pub parcel: u64,
    /// Parcels that the cluster log has and this node lacks; on the leader, those that the cluster log lacks.
    pub lag_parcels: u64,
    /// For how long the first of them is lacking, in real milliseconds.
    pub lag_ms: u64,
    /// Whether it tells its own clients what the cluster log does not have.
    pub alone: bool,
    /// The state of the service on it.
    pub state: String,
    /// The names of its own conditions that hold.
    pub conditions: Vec<String>,
}

/// A node as the cluster log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct NodeSeen {
    /// What it said last.
    #[serde(flatten)]
    pub news: NodeNews,
    /// How long ago, in milliseconds of the Redis.
    pub age_ms: u64,
}

/// What stands beside the cluster log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodesFound {
    /// The number of the cluster log's last parcel; 0 when it is empty.
    pub head: u64,
    /// The highest term that wrote to it.
    pub term: u64,
    /// What each node said, and how many milliseconds ago.
    pub said: Vec<(u64, String)>,
}

impl NodesFound {
    /// The nodes: the leader first, then standbys and edges, each by its name. What another version says that cannot be read is left
    /// out.
    pub fn nodes(&self) -> Vec<NodeSeen> {
        let read = self.said.iter().filter_map(|(age_ms, text)| {
            let news = serde_json::from_str(text).ok()?;
            Some(NodeSeen { news, age_ms: *age_ms })
        });
        let mut nodes: Vec<NodeSeen> = read.collect();
        nodes.sort_by(|one, other| {
            let place = |node: &NodeSeen| NodeRole::ALL.iter().position(|role| *role == node.news.role);
            let name = |node: &NodeSeen| (node.news.host.clone(), node.news.address.clone(), node.news.id.clone());
            (place(one), name(one)).cmp(&(place(other), name(other)))
        });
        nodes
    }
}

/// What a node shows of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct ClusterView {
    /// What it says of itself.
    #[serde(flatten)]
    pub own: NodeNews,
    /// How long ago the leader was heard; nothing on the leader, and where it was not heard yet.
    pub leader_age_ms: Option<u64>,
    /// How often this process took over from another leader.
    pub takeovers_total: u64,
    /// Why the cluster log did not answer last.
    pub trouble: Option<String>,
    /// All nodes, this one too, the leader first.
    pub nodes: Vec<NodeSeen>,
}

impl ClusterView {
    /// A standby that could take this leader's place: it reported lately, has all of the cluster log, and can write its ledger.
    pub fn successor(&self) -> Option<&NodeSeen> {
        let unwritable = ConditionKind::LedgerUnwritable.name();
        let is_able = |node: &&NodeSeen| {
            node.news.role == NodeRole::Standby
                && Duration::from_millis(node.age_ms) <= limits::LOG_AGE_MOST
                && node.news.lag_parcels == 0
                && node.news.conditions.iter().all(|condition| condition != unwritable)
        };
        self.nodes
            .iter()
            .find(is_able)
            .filter(|_| self.own.role == NodeRole::Leader)
    }
}

/// How far one number is behind another, and for how long. Instants are durations since any fixed one.
#[derive(Debug, Clone, Default)]
pub struct LagMeter {
    /// Numbers that were not reached yet, and when each was first wanted.
    marks: VecDeque<(u64, Duration)>,
    wanted: u64,
    reached: u64,
}

impl LagMeter {
    /// There is this number now. A lower one than before is of a log that lost its end.
    pub fn want(&mut self, number: u64, at: Duration) {
        if number < self.wanted {
            self.marks.retain(|(mark, _)| *mark <= number);
        }
        let news = number > self.reached && self.marks.back().is_none_or(|(mark, _)| *mark < number);
        if news && self.marks.len() < limits::LAG_MARKS {
            self.marks.push_back((number, at));
        }
        self.wanted = number;
    }

    /// All up to this number is there.
    pub fn reach(&mut self, number: u64) {
        self.reached = number;
        while self.marks.pop_front_if(|(mark, _)| *mark <= number).is_some() {}
    }

    /// How many are lacking.
    pub const fn behind(&self) -> u64 {
        self.wanted.saturating_sub(self.reached)
    }

    /// For how long.
    pub fn lasts(&self, now: Duration) -> Duration {
        self.marks
            .front()
            .filter(|_| self.behind() > 0)
            .map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_lag_lasts_since_the_first_number_that_is_lacking() {
        let mut meter = LagMeter::default();
        assert_eq!((meter.behind(), meter.lasts(secs(9))), (0, secs(0)));
        meter.reach(10);
        meter.want(10, secs(1));
        assert_eq!((meter.behind(), meter.lasts(secs(9))), (0, secs(0)));
        meter.want(15, secs(2));
        meter.want(20, secs(3));
        assert_eq!((meter.behind(), meter.lasts(secs(5))), (10, secs(3)));
        meter.reach(17);
        assert_eq!((meter.behind(), meter.lasts(secs(5))), (3, secs(2)));
        meter.want(20, secs(6));
        assert_eq!(meter.lasts(secs(7)), secs(4), "the same number is no news");
        meter.reach(22);
        assert_eq!((meter.behind(), meter.lasts(secs(9))), (0, secs(0)));
    }

    #[test]
    fn a_log_that_lost_its_end_wants_less() {
        let mut meter = LagMeter::default();
        meter.want(10, secs(1));
        meter.want(20, secs(2));
        meter.want(0, secs(3));
        assert_eq!((meter.behind(), meter.lasts(secs(9))), (0, secs(0)));
        meter.want(5, secs(4));
        assert_eq!((meter.behind(), meter.lasts(secs(9))), (5, secs(5)));
    }

    #[test]
    fn a_lag_of_hours_keeps_its_beginning_and_is_bounded() {
        let mut meter = LagMeter::default();
        for second in 1..10_000 {
            meter.want(second, secs(second));
        }
        assert_eq!(meter.marks.len(), limits::LAG_MARKS);
        assert_eq!((meter.behind(), meter.lasts(secs(10_000))), (9_999, secs(9_999)));
        meter.reach(5_000);
        meter.want(10_000, secs(10_001));
        assert_eq!(meter.lasts(secs(10_002)), secs(1), "looked at again");
    }

    #[test]
    fn only_a_standby_that_is_heard_has_everything_and_can_write_succeeds_a_leader() {
        let standby = NodeSeen {
            news: NodeNews {
                role: NodeRole::Standby,
                conditions: vec!["history_unverified".to_owned()],
                ..NodeNews::default()
            },
            age_ms: 900,
        };
        let seen_by = |role: NodeRole, node: NodeSeen| ClusterView {
            own: NodeNews {
                role,
                ..NodeNews::default()
            },
            nodes: vec![node],
            ..ClusterView::default()
        };
        let succeeds = |change: fn(&mut NodeSeen)| {
            let mut node = standby.clone();
            change(&mut node);
            seen_by(NodeRole::Leader, node).successor().is_some()
        };
        assert!(succeeds(|_| {}));
        assert!(!succeeds(|node| node.news.role = NodeRole::Edge));
        assert!(!succeeds(|node| node.age_ms = 6_000));
        assert!(!succeeds(|node| node.news.lag_parcels = 1));
        assert!(!succeeds(|node| node
            .news
            .conditions
            .push("ledger_unwritable".to_owned())));
        assert_eq!(seen_by(NodeRole::Standby, standby.clone()).successor(), None);
    }

    #[test]
    fn the_leader_is_first_and_what_cannot_be_read_is_left_out() {
        let said = |role: NodeRole, host: &str| {
            let news = NodeNews {
                role,
                host: host.to_owned(),
                ..NodeNews::default()
            };
            (7, serde_json::to_string(&news).unwrap())
        };
        let mut later = said(NodeRole::Edge, "c");
        later.1 = later.1.replace("\"host\"", "\"a_later_member\":1,\"host\"");
        let found = NodesFound {
            said: vec![
                later,
                (7, "nonsense".to_owned()),
                said(NodeRole::Edge, "b"),
                said(NodeRole::Standby, "a"),
                said(NodeRole::Leader, "z"),
            ],
            ..NodesFound::default()
        };
        let nodes = found.nodes();
        let hosts: Vec<&str> = nodes.iter().map(|node| node.news.host.as_str()).collect();
        assert_eq!((hosts, nodes[0].age_ms), (vec!["z", "a", "b", "c"], 7));
    }
}
