//! What LogKeeper and LogFollower have in common: each second a node says what it is and how far it is behind, and shows what all say. One
//! that stops removes what it said.

use crate::actors::services::Services;
use crate::carrier::{Carrier, Carry};
use crate::clock::Stopwatch;
use crate::domain::cluster::{ClusterView, LagMeter, NodeNews, NodeRole, NodesFound};
use crate::domain::followers::lease::Holder;
use crate::domain::lifecycle::State;
use crate::limits;
use crate::views::Overall;
use std::future::Future;
use std::time::Duration;

/// What a node is called, and what it does; the same for the life of a tree.
#[derive(Debug, Clone)]
pub struct NodeName {
    /// The ledger's folder and the process.
    pub by: Holder,
    /// What it does.
    pub role: NodeRole,
    /// Whether this process has the lease of another leader, which it took over from.
    pub took_over: bool,
}

/// What changes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeFacts {
    pub(super) term: u64,
    pub(super) alone: bool,
    pub(super) leader_age: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct NodeTeller {
    services: Services,
    carrier: Carrier,
    name: NodeName,
    meter: LagMeter,
    began: Stopwatch,
    /// The highest term that the cluster log knows.
    logged_term: u64,
    view: ClusterView,
}

impl NodeTeller {
    pub(super) fn new(services: Services, carrier: Carrier, name: NodeName) -> Self {
        let view = ClusterView {
            takeovers_total: u64::from(name.took_over),
            ..ClusterView::default()
        };
        Self {
            services,
            carrier,
            name,
            meter: LagMeter::default(),
            began: Stopwatch::start(),
            logged_term: 0,
            view,
        }
    }

    /// How long this node has been behind the cluster log.
    pub(super) fn lag(&self) -> Duration {
        self.meter.lasts(self.began.elapsed())
    }

    /// Waits until this node stops.
    pub(super) fn stops(&self) -> impl Future<Output = ()> + use<> {
        let mut overall = self.services.views.overall.subscribe();
        async move { drop(overall.wait_for(is_stopping).await) }
    }

    /// Whether this node stops, and so says nothing more.
    pub(super) fn is_stopping(&self) -> bool {
        is_stopping(&self.services.views.overall.borrow())
    }

    /// Removes what this node said. Where that fails, it is listed until it is forgotten.
    pub(super) fn leave(&self) -> impl Future<Output = ()> + use<> {
        let carrier = self.carrier.clone();
        let id = self.name.by.id.clone();
        async move {
            if let Ok(Err(error)) = tokio::time::timeout(limits::LOG_ANSWER, carrier.forget(&id)).await {
                tracing::debug!(%error, "other nodes are not told that this one stops");
            }
        }
    }

    /// Says how this node is, and hears how all are.
    pub(super) fn say(&mut self, facts: NodeFacts) -> impl Future<Output = Result<NodesFound, String>> + use<> {
        self.show(facts);
        let text = serde_json::to_string(&self.view.own);
        let carrier = self.carrier.clone();
        let id = self.name.by.id.clone();
        async move {
            let text = text.map_err(|error| error.to_string())?;
            let found = tokio::time::timeout(limits::LOG_ANSWER, carrier.nodes(Some((&id, &text)))).await;
            match found {
                Ok(found) => found.map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            }
        }
    }

    /// What became of that, with the last parcel of the own ledger.
    pub(super) fn heard(&mut self, found: Result<NodesFound, String>, parcel: u64, facts: NodeFacts) {
        match found {
            Ok(found) => {
                // Each other node is to have what the cluster log has, and that what the leader has.
                let leads = self.name.role == NodeRole::Leader;
                let wanted = if leads { parcel } else { found.head };
                self.meter.want(wanted, self.began.elapsed());
                self.meter.reach(if leads { found.head } else { parcel });
                self.logged_term = found.term;
                self.view.nodes = found.nodes();
                self.view.trouble = None;
            }
            Err(trouble) => self.view.trouble = Some(trouble),
        }
        self.view.own.parcel = parcel;
        self.show(facts);
    }

    /// The own ledger has come to this parcel.
    pub(super) fn reach(&mut self, parcel: u64) {
        self.view.own.parcel = parcel;
        self.meter.reach(parcel);
    }

    fn show(&mut self, facts: NodeFacts) {
        let views = &self.services.views;
        let overall = views.overall.borrow();
        let shown = views.service.borrow();
        let conditions = match self.name.role {
            NodeRole::Leader => shown.holding().map(|one| one.kind.to_string()).collect(),
            // Of the leader's, which an edge shows as well, the leader speaks.
            NodeRole::Standby | NodeRole::Edge => {
                let own = overall.conditions.iter().filter(|one| one.status);
                own.map(|one| one.kind.name().to_owned()).collect()
            }
        };
        self.view.own = NodeNews {
            id: self.name.by.id.clone(),
            host: self.name.by.host.clone(),
            pid: self.name.by.pid,
            address: address_of(&self.name.by.host, *views.address.borrow()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: self.name.role,
            term: match self.name.role {
                NodeRole::Leader => facts.term,
                NodeRole::Standby | NodeRole::Edge => facts.term.max(self.logged_term),
            },
            parcel: self.view.own.parcel,
            lag_parcels: self.meter.behind(),
            lag_ms: millis(self.lag()),
            alone: facts.alone,
            state: overall.name.clone(),
            conditions,
        };
        drop((overall, shown));
        self.view.leader_age_ms = facts.leader_age.map(millis);
        views.cluster.send_replace(Some(self.view.clone()));
    }
}

fn is_stopping(overall: &Overall) -> bool {
    overall.name == State::Shutdown.name()
}

/// Where others find it: one that listens everywhere is found by its machine's name.
fn address_of(host: &str, address: Option<std::net::SocketAddr>) -> Option<String> {
    address.map(|address| {
        if address.ip().is_unspecified() {
            format!("{host}:{}", address.port())
        } else {
            address.to_string()
        }
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_listens_everywhere_is_found_by_its_machine_s_name() {
        let address = |text: &str| address_of("trading-1", Some(text.parse().unwrap()));
        assert_eq!(address("0.0.0.0:8080").as_deref(), Some("trading-1:8080"));
        assert_eq!(address("[::]:8081").as_deref(), Some("trading-1:8081"));
        assert_eq!(address("10.0.0.7:8080").as_deref(), Some("10.0.0.7:8080"));
        assert_eq!(address_of("trading-1", None), None);
    }
}
