//! `candela gaps`: which bars are missing, why, and how each gap stands.

use crate::cmd::ask::{Service, TokenArg, read_url};
use crate::domain::model::{Moment, Symbol};
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, SettingsArgs};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;

/// Show which bars are missing, why, and how each gap stands.
#[derive(Debug, Clone, Args)]
pub struct GapsArgs {
    /// Where the service is; by default the address that the settings name.
    #[arg(long, value_name = "URL", value_parser = read_url)]
    url: Option<String>,
    /// Only this pair; by default every pair that the settings name.
    #[arg(long, value_name = "PAIR")]
    symbol: Option<Symbol>,
    /// Only open, filling, filled or unfillable ones.
    #[arg(long, value_name = "STATUS", value_parser = ["open", "filling", "filled", "unfillable"])]
    status: Option<String>,
    /// Only those that end after this day or instant, in the market's time where no offset is given.
    #[arg(long, value_name = "WHEN")]
    from: Option<Moment>,
    /// Only those that begin before this day or instant.
    #[arg(long, value_name = "WHEN")]
    to: Option<Moment>,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl GapsArgs {
    /// Asks the running service. Code 1 when bars are missing that may still be filled.
    ///
    /// # Errors
    /// When the settings have problems, or the service does not answer.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let service = Service::connect_to(self.url.as_deref(), &valid.server, &self.token)?;
        let symbols: Vec<Symbol> = match self.symbol {
            Some(only) => vec![only],
            None => valid.market.symbols.iter().map(|pair| pair.symbol).collect(),
        };
        let gaps = actix_rt::System::new().block_on(async {
            let mut gaps = Vec::new();
            for symbol in symbols {
                let mut cursor = String::new();
                loop {
                    let answer = service.get(&self.request_path(symbol, &cursor)).await?;
                    let found = answer.get("gaps").and_then(Value::as_array).cloned();
                    gaps.extend(found.unwrap_or_default());
                    match answer.get("next_cursor").and_then(Value::as_str) {
                        Some(next) if next != cursor => next.clone_into(&mut cursor),
                        _ => break,
                    }
                }
            }
            anyhow::Ok(gaps)
        })?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json!({ "gaps": gaps }))?;
        } else {
            print_table(&gaps, &mut out)?;
        }
        Ok(
            if gaps
                .iter()
                .any(|gap: &Value| matches!(text_member(gap, "status"), "open" | "filling"))
            {
                Exit::Found
            } else {
                Exit::Clean
            },
        )
    }

    /// The request for one page; with an empty cursor, for the first.
    fn request_path(&self, symbol: Symbol, cursor: &str) -> String {
        let mut path = format!(
            "/market/gaps?limit={}&symbol={}",
            limits::REST_PAGE_MAX,
            symbol.compact()
        );
        let cursor = (!cursor.is_empty()).then(|| cursor.to_owned());
        let given = [
            ("status", self.status.clone()),
            ("from", self.from.map(|moment| moment.to_string())),
            ("to", self.to.map(|moment| moment.to_string())),
            ("cursor", cursor),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={value}"));
            }
        }
        path
    }
}

fn print_table(gaps: &[Value], out: &mut impl Write) -> std::io::Result<()> {
    if gaps.is_empty() {
        return writeln!(out, "No bars are missing.");
    }
    writeln!(
        out,
        "{:<8} {:<8} {:<11} {:>4}  {:<25}  {:<25}  why",
        "pair", "gap", "status", "bars", "from", "to"
    )?;
    for gap in gaps {
        let symbol = text_member(gap, "symbol");
        let status = text_member(gap, "status");
        let cause = text_member(gap, "cause");
        let id = text_member(gap, "id");
        let bars = gap.get("bars").and_then(Value::as_u64).unwrap_or(0);
        let from = text_member(gap, "from");
        let to = text_member(gap, "to");
        writeln!(
            out,
            "{symbol:<8} {id:<8} {status:<11} {bars:>4}  {from:<25}  {to:<25}  {cause}"
        )?;
    }
    Ok(())
}

fn text_member<'a>(gap: &'a Value, name: &str) -> &'a str {
    gap.get(name).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        gaps: GapsArgs,
    }

    #[test]
    fn the_question_names_what_was_asked_for() {
        let line = ["x", "--status", "open", "--from", "2026-03-02T08:00:00+01:00"];
        let gaps = Line::try_parse_from(line).unwrap().gaps;
        assert_eq!(
            gaps.request_path(Symbol::usdcop(), ""),
            "/market/gaps?limit=10000&symbol=USDCOP&status=open&from=2026-03-02T07:00:00Z"
        );
        assert!(
            gaps.request_path(Symbol::usdcop(), "5-1-k3v9")
                .ends_with("&cursor=5-1-k3v9")
        );
        let local = Line::try_parse_from(["x", "--from", "2026-03-02 08:00", "--to", "2026-03-03"]).unwrap();
        assert!(
            local
                .gaps
                .request_path(Symbol::usdcop(), "")
                .ends_with("&from=2026-03-02T08:00:00&to=2026-03-03")
        );
        assert!(Line::try_parse_from(["x", "--status", "lost"]).is_err());
        let wrong = Line::try_parse_from(["x", "--from", "yesterday"])
            .err()
            .unwrap()
            .to_string();
        assert!(wrong.contains("or a date such as 2026-01-02"), "{wrong}");
    }

    #[test]
    fn each_gap_is_a_line_with_its_reason() {
        let gap = json!({"symbol": "USD/COP", "id": "g-19", "status": "unfillable", "bars": 3, "from": "2026-03-02T08:00:00-05:00",
            "to": "2026-03-02T08:15:00-05:00", "cause": "silent; the vendor has no bar"});
        let mut out = Vec::new();
        print_table(&[gap], &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        assert!(
            page.lines()
                .nth(1)
                .unwrap()
                .starts_with("USD/COP  g-19     unfillable     3  2026-03-02T08:00:00-05:00"),
            "{page}"
        );
        assert!(page.contains("silent; the vendor has no bar"));
    }
}
