//! `candela explain`: why the service is, or was, in its state, as sentences from its journal alone.

use crate::app;
use crate::cmd::ask::{Service, ServiceError, TokenArg, known_pair, read_url};
use crate::domain::model::{JournalQuery, Moment, Sessions, Symbol};
use crate::domain::status::Explanation;
use crate::exit::Exit;
use crate::ledger::LedgerReader;
use crate::limits;
use crate::settings::{self, SettingsArgs, Valid};
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// Explain why the service is, or was, in its state: from its journal, even if it is not running.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Only what concerns this pair or the service as a whole.
    #[arg(value_name = "PAIR")]
    symbol: Option<Symbol>,
    /// At this instant, in the market's time where no offset is given; now by default.
    #[arg(long, value_name = "WHEN")]
    at: Option<Moment>,
    /// Where the service is; by default the address that the settings name, or its ledger if it does not answer.
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

impl ExplainArgs {
    /// Asks the service, or reads its ledger if it does not answer. Code 1 when data is not good.
    ///
    /// # Errors
    /// When the settings have problems, or neither service nor ledger can be read.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let service = Service::connect_to(self.url.as_deref(), &valid.server, &self.token)?;
        let asked = actix_rt::System::new().block_on(service.get(&self.request_path()));
        let mut out = std::io::stdout().lock();
        let answer = match asked {
            Ok(answer) => answer,
            Err(ServiceError::Unreachable { url, .. }) if self.url.is_none() => {
                let mut answer = self.read_ledger(&valid, service.url())?;
                if let Some(answer) = answer.as_object_mut() {
                    answer.insert("source".to_owned(), json!("ledger"));
                    answer.insert("unreachable".to_owned(), json!(url));
                }
                answer
            }
            Err(error) => return Err(error.into()),
        };
        if self.json {
            writeln!(out, "{answer}")?;
        } else {
            print_answer(&answer, &mut out)?;
        }
        let good = answer.get("good") == Some(&Value::Bool(true)) && answer.get("unreachable").is_none();
        Ok(if good { Exit::Clean } else { Exit::Found })
    }

    fn request_path(&self) -> String {
        let symbol = self.symbol.map(|symbol| format!("symbol={}", symbol.compact()));
        let at = self.at.map(|at| format!("at={at}"));
        let query: Vec<String> = symbol.into_iter().chain(at).collect();
        match query.join("&") {
            none if none.is_empty() => "/status/explain".to_owned(),
            query => format!("/status/explain?{}", query.replace('+', "%2B")),
        }
    }

    /// The same answer from the files of a service that is not running.
    fn read_ledger(&self, valid: &Valid, url: &str) -> anyhow::Result<Value> {
        let calendars = app::calendars(valid)?;
        if self.symbol.is_some() {
            let known: Vec<Symbol> = calendars.iter().map(|(pair, _)| *pair).collect();
            known_pair(self.symbol, &known)?;
        }
        let calendar = calendars
            .iter()
            .find(|(pair, _)| self.symbol.is_none_or(|symbol| symbol == *pair));
        let zone = calendar.map_or(chrono_tz::Tz::UTC, |(_, calendar)| calendar.borrow().zone());
        let folder = valid.ledger.dir.display();
        let mut ledger = LedgerReader::open(&valid.ledger.dir).with_context(|| {
            format!("no candela answers at {url}, and its ledger in {folder} cannot be read instead: give --url or --set ledger.dir=FOLDER")
        })?;
        let last = ledger
            .last_noted()?
            .map(|placed| placed.place.at + Duration::from_secs(1));
        let Some(at) = self.at.map(|at| at.in_zone(zone)).or(last) else {
            let folder = valid.ledger.dir.display();
            let sentence = format!("The ledger in {folder} holds no journal: no candela has run with it.");
            return Ok(
                json!({"at": null, "symbol": self.symbol, "state": null, "good": false, "sentences": [sentence], "entries": []}),
            );
        };
        let query = JournalQuery {
            from: at - limits::EXPLAINED,
            to: at + Duration::from_hours(24),
            kind: None,
            symbol: self.symbol,
            after: None,
            limit: limits::EXPLAINED_ENTRIES,
        };
        let explanation = Explanation::of(&ledger.read_journal(&query)?, self.symbol, at, zone);
        let mut answer = serde_json::to_value(explanation)?;
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("at".to_owned(), json!(at.rfc3339(zone)));
            answer.insert("symbol".to_owned(), json!(self.symbol));
        }
        Ok(answer)
    }
}

fn print_answer(answer: &Value, out: &mut impl Write) -> std::io::Result<()> {
    if let Some(url) = answer.get("unreachable").and_then(Value::as_str) {
        writeln!(
            out,
            "candela does not answer at {url}. Its ledger reports, as far as it was written:"
        )?;
    }
    if let Some(at) = answer.get("at").and_then(Value::as_str) {
        writeln!(out, "At {at}:")?;
    }
    let sentences = answer.get("sentences").and_then(Value::as_array);
    for sentence in sentences.into_iter().flatten().filter_map(Value::as_str) {
        writeln!(out, "* {sentence}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        explain: ExplainArgs,
    }

    fn path(line: &[&str]) -> String {
        let line = ["x"].iter().chain(line);
        Line::try_parse_from(line).unwrap().explain.request_path()
    }

    #[test]
    fn the_question_names_pair_and_instant() {
        assert_eq!(path(&[]), "/status/explain");
        assert_eq!(path(&["usd/cop"]), "/status/explain?symbol=USDCOP");
        assert_eq!(
            path(&["USDCOP", "--at", "2026-03-02 08:30"]),
            "/status/explain?symbol=USDCOP&at=2026-03-02T08:30:00"
        );
        assert!(Line::try_parse_from(["x", "--at", "lately"]).is_err());
    }

    #[test]
    fn who_reads_the_ledger_is_told_so() {
        let answer = json!({"at": "2026-03-02T08:30:00-05:00", "unreachable": "http://127.0.0.1:8080", "sentences": ["One.", "Two."]});
        let mut out = Vec::new();
        print_answer(&answer, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("candela does not answer at http://127.0.0.1:8080."),
            "{text}"
        );
        assert!(
            text.ends_with("At 2026-03-02T08:30:00-05:00:\n* One.\n* Two.\n"),
            "{text}"
        );
    }
}
