//! `candela cluster`: who leads, until when, how far behind each node is, and what stands in the way.

use crate::carrier::{Carry, RedisLog};
use crate::cmd::ask::{Service, TokenArg, read_url};
use crate::domain::cluster::{ClusterReport, LeaseFound, LogEnd, NodeSeen, NodesFound, name_of, role_of};
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, Role, SettingsArgs, Valid};
use crate::store::{Postgres, StoreError};
use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::io::Write;

/// Show the nodes of a cluster: who leads, until when, how far behind each is, and what stands in the way.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// A node, whose `/status` is asked; by default the PostgreSQL and the Redis that the settings name.
    #[arg(long, value_name = "URL", value_parser = read_url)]
    url: Option<String>,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum NoCluster {
    #[error(
        "these settings are of a single node (cluster.role = \"all\"): use the settings of a node of the cluster, or name one with --url"
    )]
    Settings,
    #[error("the candela at {url} is a single node (cluster.role = \"all\"): there is no cluster to show")]
    Service {
        /// Where it is.
        url: String,
    },
}

impl ClusterArgs {
    /// Asks and shows. Code 1 when something stands in the way.
    ///
    /// # Errors
    /// When the settings have problems, there is no cluster, or the node that is named does not answer.
    pub fn run(self) -> anyhow::Result<Exit> {
        let system = actix_rt::System::new();
        let report = match &self.url {
            Some(url) => system.block_on(ask_node(&Service::new(url, &self.token)))?,
            None => {
                let valid = settings::load(&self.settings.to_sources())?;
                if valid.cluster.role == Role::All {
                    return Err(NoCluster::Settings.into());
                }
                system.block_on(ask_servers(&valid))
            }
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", report_json(&report))?;
        } else {
            print_report(&report, &mut out)?;
        }
        Ok(if report.obstacles().is_empty() {
            Exit::Clean
        } else {
            Exit::Found
        })
    }
}

/// What a node says.
async fn ask_node(service: &Service) -> anyhow::Result<ClusterReport> {
    let status = service.get("/status").await?;
    let nodes = status.pointer("/cluster/nodes").cloned();
    let Some(nodes) = nodes else {
        let url = service.url().to_owned();
        return Err(NoCluster::Service { url }.into());
    };
    let trouble = status.pointer("/cluster/trouble").and_then(Value::as_str);
    Ok(ClusterReport {
        lease: None,
        log: trouble.map(|trouble| Err(trouble.to_owned())),
        nodes: serde_json::from_value(nodes)?,
    })
}

/// What PostgreSQL and Redis say.
async fn ask_servers(valid: &Valid) -> ClusterReport {
    let lease = async {
        match &valid.store.database_url {
            Some(url) => Some(ask_postgres(url).await.map_err(|error| error.to_string())),
            None => None,
        }
    };
    let log = async {
        match &valid.cache.redis_url {
            Some(url) => Some(ask_redis(url, valid.cluster.log_entries).await),
            None => None,
        }
    };
    let (lease, log) = tokio::join!(lease, log);
    let nodes = log.as_ref().and_then(|log| log.as_ref().ok().map(NodesFound::nodes));
    ClusterReport {
        lease,
        log: log.map(|log| {
            log.map(|found| LogEnd {
                parcel: found.head,
                term: found.term,
            })
        }),
        nodes: nodes.unwrap_or_default(),
    }
}

async fn ask_postgres(url: &SecretString) -> Result<Option<LeaseFound>, StoreError> {
    Postgres::new(url, 1)?.lease_report().await
}

async fn ask_redis(url: &SecretString, keep: u64) -> Result<NodesFound, String> {
    let log = RedisLog::new(url, keep).map_err(|error| error.to_string())?;
    let asked = tokio::time::timeout(limits::LOG_START, log.nodes(None)).await;
    match asked {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn report_json(report: &ClusterReport) -> Value {
    let lease = match &report.lease {
        Some(Ok(Some(lease))) => json!({
            "term": lease.term, "holder": lease.by.id, "host": lease.by.host, "pid": lease.by.pid,
            "since": lease.by.since.to_string(), "left_ms": lease.left.and_then(|left| u64::try_from(left.as_millis()).ok()),
            "provable": lease.provable,
        }),
        Some(Err(why)) => json!({ "error": why }),
        Some(Ok(None)) | None => Value::Null,
    };
    let log = match &report.log {
        Some(Ok(log)) => json!(log),
        Some(Err(why)) => json!({ "error": why }),
        None => Value::Null,
    };
    json!({
        "leader": report.leader().map(|node| node.news.id.as_str()),
        "lease": lease,
        "log": log,
        "nodes": report.nodes,
        "obstacles": report.obstacles(),
        "notes": report.notes(),
    })
}

fn print_report(report: &ClusterReport, out: &mut impl Write) -> std::io::Result<()> {
    match report.leader() {
        Some(leader) => writeln!(out, "{} leads under term {}.", name_of(leader), leader.news.term)?,
        None => writeln!(out, "Nobody is known to lead.")?,
    }
    match &report.lease {
        Some(Ok(Some(lease))) => {
            let until = match lease.left {
                Some(left) => format!("runs out in {:.1} s unless it is renewed", left.as_secs_f64()),
                None => "has run out".to_owned(),
            };
            writeln!(out, "lease: term {}, {}; it {until}", lease.term, lease.by)?;
        }
        Some(Ok(None)) => writeln!(out, "lease: no process ever had it")?,
        Some(Err(_)) => writeln!(out, "lease: not known")?,
        None => writeln!(out, "lease: not requested; DATABASE_URL names the database that has it")?,
    }
    if let Some(Ok(log)) = &report.log {
        writeln!(out, "log: parcel {}, term {}", log.parcel, log.term)?;
    }
    if !report.nodes.is_empty() {
        print_nodes(&report.nodes, out)?;
    }
    for obstacle in report.obstacles() {
        writeln!(out, "! {obstacle}")?;
    }
    for note in report.notes() {
        writeln!(out, "  {note}")?;
    }
    Ok(())
}

fn print_nodes(nodes: &[NodeSeen], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\n{:<14} {:<24} {:<14} {:>5} {:>10} {:>8} {:>8} {:>6}  version",
        "role", "node", "state", "term", "parcel", "behind", "for", "report"
    )?;
    for node in nodes {
        let news = &node.news;
        let behind = news.lag_parcels;
        let lasts = format!("{} ms", news.lag_ms);
        let heard = format!("{:.1} s", std::time::Duration::from_millis(node.age_ms).as_secs_f64());
        let role = role_of(node);
        let name = name_of(node);
        writeln!(
            out,
            "{role:<14} {name:<24} {:<14} {:>5} {:>10} {behind:>8} {lasts:>8} {heard:>6}  {}",
            news.state, news.term, news.parcel, news.version
        )?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::{NodeNews, NodeRole};
    use crate::domain::followers::lease::Holder;
    use crate::domain::model::Timestamp;
    use std::time::Duration;

    fn report() -> ClusterReport {
        let news = NodeNews {
            id: "one".to_owned(),
            address: Some("trading-1:8080".to_owned()),
            version: "0.1.0".to_owned(),
            role: NodeRole::Leader,
            term: 3,
            parcel: 4_711,
            state: "active".to_owned(),
            ..NodeNews::default()
        };
        let edge = NodeNews {
            id: "edge".to_owned(),
            role: NodeRole::Edge,
            host: "edge-1".to_owned(),
            pid: 9,
            address: None,
            lag_parcels: 12,
            lag_ms: 340,
            ..news.clone()
        };
        ClusterReport {
            lease: Some(Ok(Some(LeaseFound {
                term: 3,
                by: Holder {
                    id: "one".to_owned(),
                    host: "trading-1".to_owned(),
                    pid: 7,
                    since: Timestamp::from_secs(1_772_456_400),
                },
                left: Some(Duration::from_millis(2_140)),
                provable: true,
            }))),
            log: Some(Ok(LogEnd { parcel: 4_711, term: 3 })),
            nodes: vec![
                NodeSeen { news, age_ms: 300 },
                NodeSeen {
                    news: edge,
                    age_ms: 1_240,
                },
            ],
        }
    }

    fn page(report: &ClusterReport) -> String {
        let mut out = Vec::new();
        print_report(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_page_says_who_leads_until_when_and_how_far_each_is_behind() {
        let page = page(&report());
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines[0], "trading-1:8080 leads under term 3.");
        assert_eq!(
            lines[1],
            "lease: term 3, process 7 on trading-1, since 2026-03-02T13:00:00Z; it runs out in 2.1 s unless it is renewed"
        );
        assert_eq!(lines[2], "log: parcel 4711, term 3");
        assert_eq!(
            lines[6],
            "edge           edge-1 (process 9)       active             3       4711       12   340 ms  1.2 s  0.1.0"
        );
        assert!(
            page.ends_with("  No standby: when the leader is lost, no node takes over until it is started again.\n"),
            "{page}"
        );
    }

    #[test]
    fn what_does_not_answer_is_said_and_so_it_is_to_programs() {
        let silent = ClusterReport {
            lease: Some(Err("connection refused".to_owned())),
            log: Some(Err("no answer in time".to_owned())),
            nodes: Vec::new(),
        };
        let page = page(&silent);
        assert!(
            page.starts_with("Nobody is known to lead.\nlease: not known\n! PostgreSQL does not report the leader"),
            "{page}"
        );
        let shown = report_json(&silent);
        assert_eq!(
            (&shown["leader"], &shown["log"]["error"]),
            (&Value::Null, &json!("no answer in time"))
        );
        assert_eq!(shown["obstacles"].as_array().unwrap().len(), 2);
        let shown = report_json(&report());
        assert_eq!(
            (&shown["leader"], &shown["lease"]["left_ms"]),
            (&json!("one"), &json!(2_140))
        );
        assert_eq!(
            (&shown["nodes"][1]["role"], &shown["nodes"][1]["age_ms"]),
            (&json!("edge"), &json!(1_240))
        );
    }
}
