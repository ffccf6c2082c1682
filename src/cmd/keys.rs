//! `candela keys`: the state of each API key, and the credits that it has used today. Never a key's text.

use crate::app;
use crate::clock::Clock;
use crate::cmd::ask::{Service, ServiceError, TokenArg, read_url};
use crate::domain::vendor::{KeyView, Pool};
use crate::exit::Exit;
use crate::ledger::KeyUseBook;
use crate::settings::{self, SettingsArgs, Valid};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;

/// Show the state of each API key, and the credits used today.
#[derive(Debug, Clone, Args)]
pub struct KeysArgs {
    /// Where the service is; by default the address that the settings name.
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

impl KeysArgs {
    /// Asks the running service, or reads the files that it left. Code 1 when no key may be used today.
    ///
    /// # Errors
    /// When the settings have problems, or the server that answers is no candela.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let service = Service::connect_to(self.url.as_deref(), &valid.server, &self.token)?;
        let asked = actix_rt::System::new().block_on(service.get("/status"));
        let shown = match asked {
            Ok(status) => json!({
                "running": true,
                "keys": status.get("keys"),
                "forecast": status.get("forecast"),
                "api_key_usage": status.get("api_key_usage"),
            }),
            Err(ServiceError::Unreachable { .. }) if self.url.is_none() => {
                json!({ "running": false, "keys": left_behind(&valid)? })
            }
            Err(error) => return Err(error.into()),
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{shown}")?;
        } else {
            print_table(&shown, &mut out)?;
        }
        let any = shown.get("keys").and_then(Value::as_array).is_some_and(|keys| {
            keys.iter()
                .any(|key: &Value| !matches!(text_member(key, "state"), "retired" | "spent"))
        });
        Ok(if any { Exit::Clean } else { Exit::Found })
    }
}

/// What the last service stored about today.
fn left_behind(valid: &Valid) -> anyhow::Result<Vec<Value>> {
    let now = Clock::system().now();
    let used = if valid.ledger.dir.join("keys.db").exists() {
        KeyUseBook::open(&valid.ledger.dir)?.newest_uses()?
    } else {
        Vec::new()
    };
    let slots = app::keys(valid).into_iter().map(|(slot, _)| slot).collect();
    let pool = Pool::new(slots, app::key_policy(valid), &used, now);
    Ok(pool
        .view(now)
        .into_iter()
        .map(|key: KeyView| {
            json!({
                "id": key.slot.to_string(), "group": format!("G{}", key.slot.group), "state": key.state.name(),
                "until": key.until.map(|until| until.to_string()), "used_minute": key.used_minute,
                "used_day": key.used_day, "left_day": key.left_day, "of_link": false,
            })
        })
        .collect())
}

fn print_table(shown: &Value, out: &mut impl Write) -> std::io::Result<()> {
    let none = Vec::new();
    let keys = shown.get("keys").and_then(Value::as_array).unwrap_or(&none);
    if shown.get("running") == Some(&Value::Bool(false)) {
        writeln!(out, "No service answers; this is what the last one recorded.")?;
    }
    if keys.is_empty() {
        return writeln!(out, "{}", settings::NO_KEY);
    }
    writeln!(
        out,
        "{:<12} {:<9} {:>6} {:>6} {:>6}  until",
        "key", "state", "minute", "today", "left"
    )?;
    for key in keys {
        let number = |name: &str| key.get(name).and_then(Value::as_u64).unwrap_or(0);
        let minute = number("used_minute");
        let day = number("used_day");
        let left = number("left_day");
        let link = if key.get("of_link") == Some(&Value::Bool(true)) {
            "  holds the link"
        } else {
            ""
        };
        let id = text_member(key, "id");
        let state = text_member(key, "state");
        let until = text_member(key, "until");
        let line = format!("{id:<12} {state:<9} {minute:>6} {day:>6} {left:>6}  {until}{link}");
        writeln!(out, "{}", line.trim_end())?;
    }
    let count = |name: &str| {
        shown
            .get("forecast")
            .and_then(|forecast| forecast.get(name))
            .and_then(Value::as_u64)
    };
    if let (Some(expected), Some(available)) = (count("expected"), count("available")) {
        let fits = shown.pointer("/forecast/fits") == Some(&Value::Bool(true));
        let fits = if fits { "fits" } else { "does not fit" };
        writeln!(
            out,
            "Today is expected to cost {expected} of {available} credits: it {fits}."
        )?;
    }
    Ok(())
}

fn text_member<'a>(key: &'a Value, name: &str) -> &'a str {
    key.get(name).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> String {
        let mut out = Vec::new();
        print_table(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_key_is_a_line_and_the_forecast_the_last() {
        let key = json!({"id": "G1_1 …a91f", "state": "spacing", "until": "2026-03-02T12:00:08Z", "used_minute": 1,
            "used_day": 37, "left_day": 763, "of_link": true});
        let page = shown(
            &json!({"running": true, "keys": [key], "forecast": {"expected": 900, "available": 800, "fits": false}}),
        );
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(
            lines[1],
            "G1_1 …a91f   spacing        1     37    763  2026-03-02T12:00:08Z  holds the link"
        );
        assert_eq!(
            lines[2],
            "Today is expected to cost 900 of 800 credits: it does not fit."
        );
    }

    #[test]
    fn without_keys_or_service_it_says_so() {
        let page = shown(&json!({"running": false, "keys": []}));
        assert!(
            page.contains("No service answers") && page.contains(settings::NO_KEY),
            "{page}"
        );
    }
}
