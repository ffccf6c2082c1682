//! `candela check`: checks the settings, the machine and every dependency, and names a fix for each problem. Changes nothing.

mod local;
mod remote;

use crate::exit::Exit;
use crate::settings::{self, SettingsArgs, Valid};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::io::{IsTerminal, Write};

/// Check the settings and everything the service needs, with a fix for each problem.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Do not look at anything beyond this machine: databases, the vendor.
    #[arg(long)]
    offline: bool,
    /// For programs: one JSON object a line for each thing that was checked.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum CheckResult {
    /// As it should be.
    Ok,
    /// The service runs, but with restrictions.
    Warn,
    /// The service does not run.
    Fail,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: CheckResult,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self {
            check,
            verdict: CheckResult::Ok,
            says: says.into(),
            fix: None,
        }
    }

    fn warn(check: &'static str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: CheckResult::Warn,
            fix: Some(fix.into()),
            ..Self::ok(check, says)
        }
    }

    fn fail(check: &'static str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: CheckResult::Fail,
            ..Self::warn(check, says, fix)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            CheckResult::Ok => "ok",
            CheckResult::Warn => "warn",
            CheckResult::Fail => "FAIL",
        };
        write!(f, "{word:<5} {:<12} {}", self.check, self.says)?;
        match &self.fix {
            Some(fix) => write!(f, "\n                   fix: {fix}"),
            None => Ok(()),
        }
    }
}

impl CheckArgs {
    /// Checks and prints. Code 78 when the settings have problems, 1 when something else fails, else 0.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let mut out = std::io::stdout().lock();
        let colours = out.is_terminal() && !self.json;
        let settings = match settings::load(&self.settings.to_sources()) {
            Ok(settings) => settings,
            Err(problems) => {
                for problem in problems.0 {
                    let fix = "correct it there; docs/settings.md lists every setting";
                    self.print_finding(&Finding::fail("settings", problem.to_string(), fix), colours, &mut out)?;
                }
                return Ok(Exit::Settings);
            }
        };
        let mut worst = CheckResult::Ok;
        for finding in self.run_checks(&settings) {
            worst = worst.max(finding.verdict);
            self.print_finding(&finding, colours, &mut out)?;
        }
        Ok(if worst == CheckResult::Fail {
            Exit::Found
        } else {
            Exit::Clean
        })
    }

    fn run_checks(&self, settings: &Valid) -> Vec<Finding> {
        let mut findings = local::check_machine(settings);
        let system = actix_rt::System::new();
        findings.extend(if self.offline {
            system.block_on(remote::check_addresses(settings))
        } else {
            system.block_on(remote::check_dependencies(settings))
        });
        findings
    }

    fn print_finding(&self, finding: &Finding, colours: bool, out: &mut impl Write) -> std::io::Result<()> {
        if self.json {
            return writeln!(out, "{}", serde_json::to_string(finding)?);
        }
        let colour = match finding.verdict {
            CheckResult::Ok => 32,
            CheckResult::Warn => 33,
            CheckResult::Fail => 31,
        };
        if colours {
            writeln!(out, "\x1b[{colour}m{finding}\x1b[0m")
        } else {
            writeln!(out, "{finding}")
        }
    }
}
