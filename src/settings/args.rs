//! The command-line flags that give settings; every command that reads settings has them.

use crate::settings::Sources;
use clap::Args;
use std::path::PathBuf;

/// Where settings come from, and what overrides them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// Read this file instead of candela.toml in the working folder.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Override any setting, such as --set market.close=13:00; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_assignment, global = true)]
    set: Vec<(String, String)>,
    /// The TCP port to listen on; 0 picks a free one.
    #[arg(long, global = true)]
    port: Option<u16>,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", global = true)]
    bind: Option<String>,
}

impl SettingsArgs {
    /// The sources of this process's settings.
    pub fn to_sources(&self) -> Sources {
        let mut flags: Vec<(String, String, String)> = Vec::new();
        for (name, value) in &self.set {
            flags.push((name.clone(), value.clone(), format!("--set {name}")));
        }
        if let Some(port) = self.port {
            flags.push(("server.port".to_owned(), port.to_string(), "--port".to_owned()));
        }
        if let Some(bind) = &self.bind {
            flags.push(("server.bind".to_owned(), bind.clone(), "--bind".to_owned()));
        }
        Sources::of_process(self.config.clone(), flags)
    }
}

fn parse_assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("give NAME=VALUE, such as market.close=13:00")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        settings: SettingsArgs,
    }

    #[test]
    fn flags_become_settings_that_know_their_flag() {
        let command = Command::try_parse_from(["x", "--port", "0", "--set", "market.close=13:00"]).unwrap();
        let flags = command.settings.to_sources().flags;
        let file = Some("/dev/null".into());
        let valid = crate::settings::load(&Sources {
            file,
            flags,
            ..Sources::default()
        })
        .unwrap();
        assert_eq!(valid.server.address.port(), 0);
        assert_eq!(valid.origins["server.port"], "flag --port");
        assert_eq!(valid.origins["market.close"], "flag --set market.close");
        assert!(Command::try_parse_from(["x", "--set", "market.close"]).is_err());
    }
}
