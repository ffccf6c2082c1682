//! `candela gaps`: which bars are missing, why, and what became of it.

use crate::cmd::ask::{Service, TokenArg};
use crate::domain::symbol::Symbol;
use crate::exit::Exit;
use crate::settings::{self, SettingsArgs};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;

/// Show which bars are missing, why, and what became of it.
#[derive(Debug, Clone, Args)]
pub struct GapsArgs {
    /// Where the service is; by default the address that the settings name.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Only this pair; by default every pair that the settings name.
    #[arg(long, value_name = "PAIR")]
    symbol: Option<Symbol>,
    /// Only open, filling, filled or unfillable ones.
    #[arg(long, value_name = "STATUS", value_parser = ["open", "filling", "filled", "unfillable"])]
    status: Option<String>,
    /// Only those that end after this day or instant.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Only those that begin before this day or instant.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl GapsArgs {
    /// Asks the running service. Code 1 when bars are missing that may yet come.
    ///
    /// # Errors
    /// When the settings have problems, or the service does not answer.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.sources())?;
        let service = Service::at(self.url.as_deref(), &valid.server, &self.token)?;
        let symbols: Vec<Symbol> = match self.symbol {
            Some(only) => vec![only],
            None => valid.market.symbols.iter().map(|pair| pair.symbol).collect(),
        };
        let gaps = actix_rt::System::new().block_on(async {
            let mut gaps = Vec::new();
            for symbol in symbols {
                let answer = service.get(&self.path(symbol)).await?;
                let found = answer.get("gaps").and_then(Value::as_array).cloned();
                gaps.extend(found.unwrap_or_default());
            }
            anyhow::Ok(gaps)
        })?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json!({ "gaps": gaps }))?;
        } else {
            table(&gaps, &mut out)?;
        }
        let pending = |gap: &Value| matches!(text(gap, "status"), "open" | "filling");
        Ok(if gaps.iter().any(pending) {
            Exit::Found
        } else {
            Exit::Clean
        })
    }

    fn path(&self, symbol: Symbol) -> String {
        let mut path = format!("/market/gaps?symbol={}", symbol.compact());
        for (name, value) in [("status", &self.status), ("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", value.replace('+', "%2B")));
            }
        }
        path
    }
}

fn table(gaps: &[Value], out: &mut impl Write) -> std::io::Result<()> {
    if gaps.is_empty() {
        return writeln!(out, "No bars are missing.");
    }
    writeln!(
        out,
        "{:<8} {:<8} {:<11} {:>4}  {:<25}  {:<25}  why",
        "pair", "gap", "status", "bars", "from", "to"
    )?;
    for gap in gaps {
        let (symbol, status, cause) = (text(gap, "symbol"), text(gap, "status"), text(gap, "cause"));
        let id = text(gap, "id");
        let bars = gap.get("bars").and_then(Value::as_u64).unwrap_or(0);
        let (from, to) = (text(gap, "from"), text(gap, "to"));
        writeln!(
            out,
            "{symbol:<8} {id:<8} {status:<11} {bars:>4}  {from:<25}  {to:<25}  {cause}"
        )?;
    }
    Ok(())
}

fn text<'a>(gap: &'a Value, name: &str) -> &'a str {
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
        let path = Line::try_parse_from(line).unwrap().gaps.path(Symbol::usdcop());
        assert_eq!(
            path,
            "/market/gaps?symbol=USDCOP&status=open&from=2026-03-02T08:00:00%2B01:00"
        );
        assert!(Line::try_parse_from(["x", "--status", "lost"]).is_err());
    }

    #[test]
    fn each_gap_is_a_line_with_its_reason() {
        let gap = json!({"symbol": "USD/COP", "id": "g-19", "status": "unfillable", "bars": 3, "from": "2026-03-02T08:00:00-05:00",
            "to": "2026-03-02T08:15:00-05:00", "cause": "silent; the vendor has no bar"});
        let mut out = Vec::new();
        table(&[gap], &mut out).unwrap();
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
