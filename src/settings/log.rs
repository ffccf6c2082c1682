//! Section `log`: which lines are logged, and in which format.

use crate::settings::reader::Reader;

/// Which lines are logged, and in which format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Directives of `tracing_subscriber::EnvFilter`, such as `info` or `info,candela::actors=debug`.
    pub directives: String,
    /// Text or JSON.
    pub format: Format,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people: market time with its offset.
    Text,
    /// For machines: one object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            directives: "info".to_owned(),
            format: Format::Auto,
        }
    }
}

pub(super) fn read(reader: &mut Reader) -> Log {
    Log {
        directives: reader.read_parsed(
            "log.level",
            "info",
            "trace, debug, info, warn, error or off; also per part: info,candela::actors=debug",
            check_directives,
        ),
        format: reader.read_choice(
            "log.format",
            "auto",
            "text for people, json for machines, auto: text on a terminal, else json",
            &[("auto", Format::Auto), ("text", Format::Text), ("json", Format::Json)],
        ),
    }
}

/// Also accepts the level names of the service that candela replaces.
fn check_directives(text: &str) -> Result<String, String> {
    let parts: Option<Vec<String>> = text
        .split(',')
        .map(|part: &str| match part.split_once('=') {
            Some((target, name)) => level_of(name).map(|level| format!("{}={level}", target.trim())),
            None => level_of(part).map(str::to_owned),
        })
        .collect();
    parts.map(|parts| parts.join(",")).ok_or_else(|| {
        "is not trace, debug, info, warn, error or off, nor a list such as info,candela::actors=debug".to_owned()
    })
}

fn level_of(name: &str) -> Option<&'static str> {
    match name.trim().to_ascii_lowercase().as_str() {
        "trace" => Some("trace"),
        "debug" => Some("debug"),
        "info" => Some("info"),
        "warn" | "warning" => Some("warn"),
        "error" | "critical" | "fatal" => Some("error"),
        "off" => Some("off"),
        _ => None,
    }
}
