//! `candela admin`: requests an action from a running service. Needs a token with the scope `operate`.

use crate::client_list::ClientNumber;
use crate::cmd::ask::{Service, TokenArg, read_url};
use crate::domain::model::{Moment, Symbol};
use crate::domain::vendor::KeySlot;
use crate::exit::Exit;
use crate::settings::{self, SettingsArgs};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;

/// Request an action of a running service; the token needs the scope `operate`.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    #[command(subcommand)]
    action: AdminAction,
    /// The reason; the journal keeps it with the name of the token.
    #[arg(long, value_name = "TEXT", global = true)]
    reason: Option<String>,
    /// Where the service is; by default the address that the settings name.
    #[arg(long, value_name = "URL", value_parser = read_url, global = true)]
    url: Option<String>,
    /// For programs: one JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Clone, Subcommand)]
enum AdminAction {
    /// Restart an actor; `/status` lists their names.
    RestartActor {
        /// Its name, such as feed.
        actor: String,
    },
    /// Request bars from the vendor that neither the history nor candela has.
    Backfill {
        /// The pair.
        #[arg(long, value_name = "PAIR")]
        symbol: Symbol,
        /// The first day or instant, in the market's time where no offset is given.
        #[arg(long, value_name = "WHEN")]
        from: Moment,
        /// The day or instant to end with, a day included; by default now.
        #[arg(long, value_name = "WHEN")]
        to: Option<Moment>,
    },
    /// Count a pair's history as verified for a while.
    OverrideGate {
        /// The pair.
        #[arg(long, value_name = "PAIR")]
        symbol: Symbol,
        /// When the gate decides again, within a day.
        #[arg(long, value_name = "WHEN")]
        until: Moment,
    },
    /// Take a key out of use, until it is revived or the service restarts.
    RetireKey {
        /// Its group and number, such as G1_3.
        key: KeySlot,
    },
    /// Use a key again that was refused or retired.
    ReviveKey {
        /// Its group and number, such as G1_3.
        key: KeySlot,
    },
    /// Close the connection of one client; it may reconnect.
    CloseClient {
        /// Its number, as `candela admin clients` lists it, such as c-1f.
        client: ClientNumber,
    },
    /// List the connected clients, slow ones first; needs no reason.
    Clients,
    /// Stop in order, as SIGTERM does.
    Drain,
}

/// No reason was given.
#[derive(Debug, thiserror::Error)]
#[error("give the reason with --reason: the journal keeps it")]
pub struct NoReason;

impl AdminArgs {
    /// Sends the request and shows the answer.
    ///
    /// # Errors
    /// When no reason is given, the settings have problems, or the service does not answer or refuses the action.
    pub fn run(self) -> anyhow::Result<Exit> {
        let lists = matches!(self.action, AdminAction::Clients);
        let reason = self
            .reason
            .clone()
            .or_else(|| lists.then(String::new))
            .ok_or(NoReason)?;
        let valid = settings::load(&self.settings.to_sources())?;
        let service = Service::connect_to(self.url.as_deref(), &valid.server, &self.token)?;
        if lists {
            return self.list_clients(&service);
        }
        let (name, body) = self.action.to_request(&reason);
        let path = format!("/admin/{name}");
        let answer = actix_rt::System::new().block_on(service.request_action(&path, &body))?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{answer}")?;
        } else {
            let [at, message, by] =
                ["at", "message", "by"].map(|name| answer.get(name).and_then(Value::as_str).unwrap_or_default());
            writeln!(out, "{at}: {message} (by {by})")?;
        }
        Ok(Exit::Clean)
    }
}

impl AdminArgs {
    fn list_clients(&self, service: &Service) -> anyhow::Result<Exit> {
        let answer = &actix_rt::System::new().block_on(service.get("/admin/clients"))?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{answer}")?;
            return Ok(Exit::Clean);
        }
        let clients = answer["clients"].as_array().map_or(&[][..], Vec::as_slice);
        writeln!(out, "{} connected, {} listed", answer["connected"], clients.len())?;
        for client in clients {
            let [id, address, since, token] =
                ["id", "address", "since", "token"].map(|member| client[member].as_str().unwrap_or("-"));
            let slow = if client["slow"] == true { "  slow" } else { "" };
            writeln!(out, "{id}  {address}  since {since}  token {token}{slow}")?;
        }
        Ok(Exit::Clean)
    }
}

impl AdminAction {
    /// The action's name in the request, and the request's body.
    fn to_request(&self, reason: &str) -> (&'static str, Value) {
        match self {
            Self::RestartActor { actor } => ("restart_actor", json!({"actor": actor, "reason": reason})),
            Self::Backfill { symbol, from, to } => {
                let mut body = json!({"symbol": symbol, "from": from.to_string(), "reason": reason});
                if let (Some(to), Some(members)) = (to, body.as_object_mut()) {
                    members.insert("to".to_owned(), json!(to.to_string()));
                }
                ("backfill", body)
            }
            Self::OverrideGate { symbol, until } => {
                let body = json!({"symbol": symbol, "until": until.to_string(), "reason": reason});
                ("override_gate", body)
            }
            Self::RetireKey { key } => ("retire_key", json!({"key": key.to_string(), "reason": reason})),
            Self::ReviveKey { key } => ("revive_key", json!({"key": key.to_string(), "reason": reason})),
            Self::CloseClient { client } => ("close_client", json!({"client": client.to_string(), "reason": reason})),
            Self::Clients => ("clients", json!({})),
            Self::Drain => ("drain", json!({"reason": reason})),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        admin: AdminArgs,
    }

    fn request(line: &[&str]) -> (&'static str, Value) {
        let line = ["x"].iter().chain(line);
        let admin = Line::try_parse_from(line).unwrap().admin;
        admin.action.to_request(admin.reason.as_deref().unwrap_or_default())
    }

    #[test]
    fn each_command_is_one_request() {
        assert_eq!(
            request(&["restart-actor", "feed", "--reason", "stuck"]),
            ("restart_actor", json!({"actor": "feed", "reason": "stuck"}))
        );
        assert_eq!(
            request(&[
                "--reason",
                "late",
                "override-gate",
                "--symbol",
                "usdcop",
                "--until",
                "2026-03-02 09:00"
            ]),
            (
                "override_gate",
                json!({"symbol": "USD/COP", "until": "2026-03-02T09:00:00", "reason": "late"})
            )
        );
        assert_eq!(
            request(&[
                "backfill",
                "--symbol",
                "USD/COP",
                "--from",
                "2026-03-02",
                "--reason",
                "x"
            ]),
            (
                "backfill",
                json!({"symbol": "USD/COP", "from": "2026-03-02", "reason": "x"})
            )
        );
        assert_eq!(request(&["retire-key", "g1_3", "--reason", "x"]).1["key"], "G1_3");
        let wrong = Line::try_parse_from(["x", "revive-key", "3"])
            .err()
            .unwrap()
            .to_string();
        assert!(wrong.contains("write its group and number, such as G1_3"), "{wrong}");
    }
}
