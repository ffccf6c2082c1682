//! `candela status`: the `/status` page of a running service, for a terminal.

use crate::cmd::{
    ask::{Service, TokenArg, read_url},
    output::ColourArg,
    page::status_page,
    top,
};
use crate::exit::Exit;
use crate::settings::{self, SettingsArgs};
use clap::Args;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Show how a running service is: is it healthy, and if not, why.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Where the service is, such as https://candela.example:8443; by default the address that the settings name.
    #[arg(long, value_name = "URL", value_parser = read_url)]
    url: Option<String>,
    /// Follow it until interrupted: on a terminal as `candela top`, else the page again every two seconds.
    #[arg(long)]
    watch: bool,
    /// Show nothing; exit code 0 when clients are served as they should be, for container health checks.
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    ready: bool,
    /// For programs: the page as the service gives it, one line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    colour: ColourArg,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

const AGAIN: Duration = Duration::from_secs(2);

impl StatusArgs {
    /// Requests the status and prints it. Code 1 when the service is not as it should be.
    ///
    /// # Errors
    /// When the service does not answer; with `--watch` that is shown, and the request is repeated.
    pub fn run(self) -> anyhow::Result<Exit> {
        let service = match &self.url {
            Some(url) => Service::new(url, &self.token),
            None => Service::connect_to(None, &settings::load(&self.settings.to_sources())?.server, &self.token)?,
        };
        if self.watch && !self.json && std::io::stdout().is_terminal() {
            return actix_rt::System::new().block_on(top::follow(&service, AGAIN, self.colour.allows()));
        }
        let mut out = std::io::stdout().lock();
        actix_rt::System::new().block_on(self.ask_once(&service, &mut out))
    }

    async fn ask_once(&self, service: &Service, out: &mut impl Write) -> anyhow::Result<Exit> {
        if self.ready {
            let ready = service.is_ready().await?;
            return Ok(if ready { Exit::Clean } else { Exit::Found });
        }
        let colours = std::io::stdout().is_terminal() && self.colour.allows();
        loop {
            let asked = service.get("/status").await;
            if !self.watch {
                let status = asked?;
                self.print_status(&status, colours, out)?;
                return Ok(if is_well(&status) { Exit::Clean } else { Exit::Found });
            }
            match asked {
                Ok(status) => self.print_status(&status, colours, out)?,
                Err(error) => writeln!(out, "{error}")?,
            }
            out.flush()?;
            actix_rt::time::sleep(AGAIN).await;
        }
    }

    fn print_status(&self, status: &Value, colours: bool, out: &mut impl Write) -> std::io::Result<()> {
        if self.json {
            return writeln!(out, "{status}");
        }
        write!(out, "{}", status_page(status, colours))
    }
}

/// Whether the state is no error, and no condition holds.
pub(super) fn is_well(status: &Value) -> bool {
    let conditions = status.pointer("/conditions").and_then(Value::as_array);
    let state = status.pointer("/state/name").and_then(Value::as_str);
    state.is_some_and(|name| name != "error")
        && !conditions.is_some_and(|all| {
            all.iter()
                .any(|condition: &Value| condition.get("status") == Some(&Value::Bool(true)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_state_without_error_and_conditions_is_well() {
        let status = |name: &str, holds: bool| json!({"state": {"name": name}, "conditions": [{"status": holds}]});
        assert!(is_well(&status("active", false)));
        assert!(!is_well(&status("error", false)));
        assert!(!is_well(&status("active", true)));
    }
}
