//! How log lines are written: docs/logging.md, as far as a program can check it.

use super::{none, read, sources};
use std::collections::BTreeSet;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Words that no argument of a log line has: what they name must not be in a log.
const SECRETS: [&str; 6] = ["expose_secret", "password", "passphrase", "secret", "api_key", "url"];

/// Names of others that a message may begin with in a capital.
const PROPER: [&str; 2] = ["Redis", "SIGHUP"];

/// A call of `tracing`: its fields, its message, and what the message is formatted with.
struct LogCall {
    place: String,
    fields: Vec<String>,
    message: String,
    formatted: String,
}

/// The text up to the parenthesis that closes the one before it.
fn arguments(rest: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth = depth.saturating_add(1),
            ')' if !quoted && depth == 0 => return rest.get(..at).unwrap_or_default(),
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    rest
}

/// The arguments, apart.
fn split(arguments: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut from) = (0_usize, false, false, 0);
    let mut parts = Vec::new();
    for (at, c) in arguments.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth = depth.saturating_add(1),
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.push(arguments.get(from..at).unwrap_or_default().trim());
                from = at.saturating_add(1);
            }
            _ => {}
        }
    }
    parts.push(arguments.get(from..).unwrap_or_default().trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn calls() -> Vec<LogCall> {
    let mut found = Vec::new();
    for file in sources() {
        let production = file.production();
        for level in LEVELS {
            let call = format!("tracing::{level}!(");
            for (at, _) in production.match_indices(&call) {
                let line = production.get(..at).unwrap_or_default().lines().count();
                let rest = production.get(at.saturating_add(call.len())..).unwrap_or_default();
                let parts = split(arguments(rest));
                let message = parts
                    .iter()
                    .position(|part| part.starts_with('"'))
                    .unwrap_or(parts.len());
                let (fields, said) = parts.split_at(message);
                found.push(LogCall {
                    place: format!("{}:{line}", file.path),
                    fields: fields.iter().map(|field| (*field).to_owned()).collect(),
                    message: said.first().map_or("", |said| said.trim_matches('"')).to_owned(),
                    formatted: said.get(1..).unwrap_or_default().join(", "),
                });
            }
        }
    }
    assert!(
        found.len() > 100,
        "{} log lines found: the check reads nothing",
        found.len()
    );
    found
}

/// `reason = error.reason()`, `%error`, `?symbols` are named `reason`, `error`, `symbols`.
fn name_of(field: &str) -> &str {
    let name = field.split_once(" = ").map_or(field, |(name, _)| name);
    name.trim_start_matches(['%', '?'])
}

#[test]
fn a_log_line_has_a_message_that_reads_alone() {
    let mut findings = Vec::new();
    for LogCall {
        place,
        message,
        formatted,
        ..
    } in calls()
    {
        let sentence = message == "{message}" || message == "{}" && !formatted.is_empty();
        let begins = message.chars().next().is_some_and(char::is_lowercase);
        if message.is_empty() {
            findings.push(format!("{place}: the log line has no message"));
        } else if !sentence && message.contains('{') {
            findings.push(format!(
                "{place}: a value is formatted into \"{message}\": make it a field"
            ));
        } else if !sentence && !begins && !PROPER.iter().any(|name| message.starts_with(name)) {
            findings.push(format!("{place}: \"{message}\" begins with a capital"));
        } else if message.ends_with(['.', '!']) {
            findings.push(format!("{place}: \"{message}\" ends with a full stop"));
        }
    }
    none(findings);
}

#[test]
fn fields_of_log_lines_are_those_of_the_guide() {
    let guide = read("docs/logging.md").unwrap_or_default();
    let rows = guide.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|line| line.split(" |").next());
    let told: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for call in calls() {
        for field in call.fields.iter().map(|field| name_of(field)) {
            used.insert(field.to_owned());
            if !told.contains(field) {
                findings.push(format!(
                    "{}: docs/logging.md has no field `{field}`: take one of its names, or add it",
                    call.place
                ));
            }
        }
    }
    for field in told.iter().filter(|field| !used.contains(**field)) {
        findings.push(format!("docs/logging.md explains `{field}`, which no log line has"));
    }
    none(findings);
}

#[test]
fn log_lines_hold_no_secrets() {
    let mut findings = Vec::new();
    for LogCall {
        place,
        fields,
        formatted,
        ..
    } in calls()
    {
        for part in fields.iter().chain([&formatted]) {
            let mut words = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| SECRETS.contains(word)) {
                findings.push(format!("{place}: {part} may show a secret ({word})"));
            }
        }
    }
    none(findings);
}

#[test]
fn log_lines_are_written_in_one_way_and_not_in_domain() {
    let mut findings = Vec::new();
    for file in sources() {
        let production = file.production();
        if file.room() == "domain" && production.contains("tracing::") {
            findings.push(format!("{}: domain logs nothing: return what happened", file.path));
        }
        if production.contains("use tracing::{")
            || LEVELS
                .iter()
                .any(|level| production.contains(&format!("use tracing::{level}")))
        {
            findings.push(format!(
                "{}: write tracing::info!(…) in full: a log line is found by one search",
                file.path
            ));
        }
    }
    for call in calls() {
        if call.fields.iter().any(|field| field.starts_with("target:")) {
            findings.push(format!(
                "{}: the target is the module, by which `log.level` selects",
                call.place
            ));
        }
    }
    none(findings);
}
