//! The sources of settings, and their order: defaults < file < environment < flags.
//!
//! Every source becomes one flat table, by dotted name; a higher layer replaces the value of a lower one. The environment also has the
//! names of the service that candela replaces.

use crate::domain::model::Symbol;
use crate::settings::{Problem, files::Variables};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Names of the service that candela replaces, and the settings that they stand for.
pub const OLD_NAMES: [(&str, &str); 10] = [
    ("DATABASE_URL", "store.database_url"),
    ("REDIS_URL", "cache.redis_url"),
    ("PORT", "server.port"),
    ("LOG_LEVEL", "log.level"),
    ("CORS_ORIGINS", "server.cors_origins"),
    ("STARTUP_TIMEOUT_MINUTES", "l0.timeout_minutes"),
    ("READY_SIGNALS_DIR", "l0.dir"),
    ("BACKUP_DIR", "ledger.backup_dir"),
    ("SSL_CERT_PATH", "server.tls_cert"),
    ("SSL_KEY_PATH", "server.tls_key"),
];

/// The prefix of every setting's name in the environment: prefix, section and name are joined by two underscores.
const PREFIX: &str = "CANDELA__";

/// The file that is read if it exists and no other is named.
const USUAL_FILE: &str = "candela.toml";

/// The sources that settings are loaded from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must exist; without it `candela.toml` in the working folder, if it exists.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Settings given on the command line: name, value, and the flag, for messages.
    pub flags: Vec<(String, String, String)>,
}

impl Sources {
    /// This process's environment, with the file and the flags of the command line.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String, String)>) -> Self {
        Self {
            file,
            environment: std::env::vars_os()
                .map(|(name, value)| (lossy_text(name), lossy_text(value)))
                .collect(),
            flags,
        }
    }
}

/// One setting as it was given: several texts for a list, else one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// The text, or the items of the list.
    pub(super) texts: Vec<String>,
    /// Whether it was written as a list.
    pub(super) list: bool,
    /// `candela.toml line 3`, `environment variable PORT`, `flag --port`.
    pub(super) origin: String,
}

impl Given {
    fn from_text(value: &str, origin: String) -> Self {
        Self {
            texts: vec![value.to_owned()],
            list: false,
            origin,
        }
    }
}

/// Reads all sources: the settings by dotted name, each from the highest layer that gives it.
pub(super) fn read(sources: &Sources, variables: &Variables, problems: &mut Vec<Problem>) -> BTreeMap<String, Given> {
    let usual = Path::new(USUAL_FILE);
    let path = sources.file.as_deref().or_else(|| usual.exists().then_some(usual));
    let mut flat = path.map_or_else(BTreeMap::new, |path| read_file(path, problems));
    flat.extend(given_in_environment(variables, problems));
    for (name, value, flag) in &sources.flags {
        flat.insert(one_name(name), Given::from_text(value, format!("flag {flag}")));
    }
    flat
}

fn read_file(path: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, Given> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::of_file(path, format!("cannot be read: {error}")));
            return BTreeMap::new();
        }
    };
    let mut settings = Vec::new();
    match DeTable::parse(&text) {
        Ok(table) => flatten_table("", table.get_ref(), &text, &mut settings),
        Err(error) => problems.push(Problem::of_file(path, syntax_message(&error))),
    }
    settings.sort_by_key(|setting| setting.line);
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut flat = BTreeMap::new();
    for InFile {
        name,
        line,
        texts,
        list,
    } in settings
    {
        let origin = format!("{} line {line}", path.display());
        if let Some(first) = lines.get(&name) {
            let message = format!("is given on line {first} as well, under another spelling of the pair: remove one");
            problems.push(Problem::new(&name, &origin, message));
        }
        lines.entry(name.clone()).or_insert(line);
        flat.insert(name, Given { texts, list, origin });
    }
    flat
}

/// The TOML parser's error, without the line that it quotes, which may hold a secret.
fn syntax_message(error: &toml::de::Error) -> String {
    let said = error.to_string();
    let plain: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains('|') && !line.trim().is_empty())
        .collect();
    format!("is not TOML: {}", plain.join(": "))
}

/// The sections whose tables are named by pairs.
const BY_PAIR: &str = "market.override.";

/// Spells the pair in a setting's name in one way, so that a higher layer wins whichever spelling is used.
fn one_name(name: &str) -> String {
    name.strip_prefix(BY_PAIR)
        .and_then(|rest: &str| {
            let (pair, setting) = rest.rsplit_once('.')?;
            let symbol: Symbol = pair.replace('_', "-").parse().ok()?;
            Some(format!("{BY_PAIR}{}.{setting}", symbol.compact()))
        })
        .unwrap_or_else(|| name.to_owned())
}

/// Old names first, so that a new name overrides an old one. An old name with an empty value counts as not given, because compose files
/// produce such values.
fn given_in_environment(variables: &Variables, problems: &mut Vec<Problem>) -> Vec<(String, Given)> {
    let given = &variables.all;
    let mut settings = Vec::new();
    for (old, name) in OLD_NAMES {
        let found = given
            .iter()
            .find(|(given, value)| given == old && !value.trim().is_empty());
        settings.extend(found.map(|(_, value)| (name.to_owned(), Given::from_text(value, variables.origin_of(old)))));
    }
    for (name, value) in given {
        if let Some(path) = name.strip_prefix(PREFIX) {
            let setting = one_name(&path.to_ascii_lowercase().replace("__", "."));
            settings.push((setting, Given::from_text(value, variables.origin_of(name))));
        } else if name.starts_with("CANDELA_") && name.matches('_').count() > 1 && !name.starts_with("CANDELA_TEST_") {
            let message = format!("is not read: settings are spelled {PREFIX}SECTION__NAME, with two underscores");
            problems.push(Problem::new(name, &variables.origin_of(name), message));
        }
    }
    settings
}

/// A setting in a file.
struct InFile {
    name: String,
    line: usize,
    texts: Vec<String>,
    list: bool,
}

fn flatten_table(prefix: &str, table: &DeTable<'_>, text: &str, settings: &mut Vec<InFile>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let (texts, list) = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten_table(&format!("{name}."), inner, text, settings);
                continue;
            }
            DeValue::Array(items) => (items.iter().map(|item| plain_text(item.get_ref())).collect(), true),
            single => (vec![plain_text(single)], false),
        };
        let before = text.bytes().take(key.span().start);
        settings.push(InFile {
            name: one_name(&name),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
            texts,
            list,
        });
    }
}

/// A value as the environment would spell it.
fn plain_text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.to_string(), |number| number.to_string()),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(instant) => instant.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => format!("{value:?}"),
    }
}

fn lossy_text(value: std::ffi::OsString) -> String {
    value.to_string_lossy().into_owned()
}
