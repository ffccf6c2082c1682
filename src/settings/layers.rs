//! Where settings come from, and in which order: defaults < file < environment < flags.
//!
//! The `config` crate lays one source over the other and keeps each value's origin. This file gives it the environment (with
//! the names of the service that candela replaces) and the flags, and takes the result apart into one flat table.

use crate::domain::symbol::Symbol;
use crate::settings::Problem;
use config::{Config, ConfigError, File, FileFormat, Map, Source, Value, ValueKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of the service that this one replaces, and the settings they are.
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

/// Every setting has this name in the environment: the prefix, section and name, joined by two underscores.
const PREFIX: &str = "CANDELA__";

/// The file that is read where there is one and no other is named.
const USUAL_FILE: &str = "candela.toml";

/// What settings are loaded from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must exist; without it `candela.toml` of the working folder, if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Settings given on the command line: name, value, and the flag as people know it.
    pub flags: Vec<(String, String, String)>,
}

impl Sources {
    /// This process's environment, with what the command line said.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String, String)>) -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Self {
            file,
            environment: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            flags,
        }
    }
}

/// One setting as it was given: texts where a list, else one text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// One text, or each of a list.
    pub(super) texts: Vec<String>,
    /// It was written as a list.
    pub(super) list: bool,
    /// `candela.toml line 3`, `environment variable PORT`, `flag --port`.
    pub(super) origin: String,
}

/// Reads all sources: settings by dotted name, each from the highest layer that gives it.
pub(super) fn read(sources: &Sources, problems: &mut Vec<Problem>) -> BTreeMap<String, Given> {
    let mut builder = Config::builder();
    let mut lines = Lines::default();
    let usual = Path::new(USUAL_FILE);
    let path = sources.file.as_deref().or_else(|| usual.exists().then_some(usual));
    if let Some(path) = path {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                lines = Lines::of(path, &text);
                problems.append(&mut lines.repeated);
                builder = builder.add_source(OnePairOneName(File::from_str(&text, FileFormat::Toml)));
            }
            Err(error) => problems.push(Problem::of_file(path, format!("cannot be read: {error}"))),
        }
    }
    let built = builder
        .add_source(Spoken(environment(&sources.environment, problems)))
        .add_source(Spoken(sources.flags.iter().map(Assignment::of_flag).collect()))
        .build();
    let mut flat = BTreeMap::new();
    match built {
        Ok(config) => flatten("", &config.cache, &lines, &mut flat),
        Err(error) => problems.push(Problem::of_file(path.unwrap_or(usual), syntax(&error))),
    }
    flat
}

/// What TOML's reader says of a file that is none, without the line it quotes, which may hold a secret.
fn syntax(error: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = error else {
        return error.to_string();
    };
    let said = cause.to_string();
    let plain: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains('|') && !line.trim().is_empty())
        .collect();
    format!("is not TOML: {}", plain.join(": "))
}

/// The sections whose tables are named by pairs.
const BY_PAIR: &str = "market.override.";

/// A setting's name with the pair in it spelled in one way, so that a higher layer wins however either spells it.
fn one_name(name: &str) -> String {
    let named = |rest: &str| {
        let (pair, setting) = rest.rsplit_once('.')?;
        let symbol: Symbol = pair.replace('_', "-").parse().ok()?;
        Some(format!("{BY_PAIR}{}.{setting}", symbol.compact()))
    };
    name.strip_prefix(BY_PAIR)
        .and_then(named)
        .unwrap_or_else(|| name.to_owned())
}

fn path_of(name: &str) -> Vec<String> {
    one_name(name).split('.').map(str::to_owned).collect()
}

/// A file whose tables of pairs are named in one way.
#[derive(Debug, Clone)]
struct OnePairOneName<T>(T);

impl<T: Source + Clone + Send + Sync + 'static> Source for OnePairOneName<T> {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut root = self.0.collect()?;
        let market = root.get_mut("market").and_then(table);
        if let Some(pairs) = market.and_then(|market| market.get_mut("override")).and_then(table) {
            for (pair, mut value) in std::mem::take(pairs) {
                let name = one_name(&format!("{BY_PAIR}{pair}.x"));
                let name = name.strip_prefix(BY_PAIR).and_then(|rest| rest.strip_suffix(".x"));
                let name = name.unwrap_or(&pair).to_owned();
                match (pairs.get_mut(&name).and_then(table), table(&mut value)) {
                    (Some(known), Some(more)) => known.extend(std::mem::take(more)),
                    _ => {
                        pairs.insert(name, value);
                    }
                }
            }
        }
        Ok(root)
    }
}

const fn table(value: &mut Value) -> Option<&mut Map<String, Value>> {
    match &mut value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// One setting given in words.
#[derive(Debug, Clone)]
struct Assignment {
    path: Vec<String>,
    value: String,
    origin: String,
}

impl Assignment {
    fn of_flag((name, value, flag): &(String, String, String)) -> Self {
        Self {
            path: path_of(name),
            value: value.clone(),
            origin: format!("flag {flag}"),
        }
    }
}

/// Old names first, so that a new name beside an old one wins. An old name with an empty value counts as not given, as
/// compose files produce such.
fn environment(given: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Assignment> {
    let origin = |name: &str| format!("environment variable {name}");
    let mut spoken = Vec::new();
    for (old, name) in OLD_NAMES {
        let found = given
            .iter()
            .find(|(given, value)| given == old && !value.trim().is_empty());
        spoken.extend(found.map(|(_, value)| Assignment {
            path: name.split('.').map(str::to_owned).collect(),
            value: value.clone(),
            origin: origin(old),
        }));
    }
    for (name, value) in given {
        if let Some(path) = name.strip_prefix(PREFIX) {
            spoken.push(Assignment {
                path: path_of(&path.to_ascii_lowercase().replace("__", ".")),
                value: value.clone(),
                origin: origin(name),
            });
        } else if name.starts_with("CANDELA_") && name.matches('_').count() > 1 && !name.starts_with("CANDELA_TEST_") {
            let message = format!("is not read: settings are spelled {PREFIX}SECTION__NAME, with two underscores");
            problems.push(Problem::new(name, &origin(name), message));
        }
    }
    spoken
}

/// A source of the `config` crate that yields assignments.
#[derive(Debug, Clone)]
struct Spoken(Vec<Assignment>);

impl Source for Spoken {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut root = Map::new();
        for assignment in &self.0 {
            let leaf = Value::new(Some(&assignment.origin), ValueKind::String(assignment.value.clone()));
            insert(&mut root, &assignment.path, leaf);
        }
        Ok(root)
    }
}

fn insert(table: &mut Map<String, Value>, path: &[String], leaf: Value) {
    match path {
        [] => {}
        [name] => {
            table.insert(name.clone(), leaf);
        }
        [name, rest @ ..] => {
            let inner = table
                .entry(name.clone())
                .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            if !matches!(inner.kind, ValueKind::Table(_)) {
                inner.kind = ValueKind::Table(Map::new());
            }
            if let ValueKind::Table(inner) = &mut inner.kind {
                insert(inner, rest, leaf);
            }
        }
    }
}

fn flatten(name: &str, value: &Value, lines: &Lines, flat: &mut BTreeMap<String, Given>) {
    let given = |texts, list| Given {
        texts,
        list,
        origin: value.origin().map_or_else(|| lines.find(name), str::to_owned),
    };
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, inner) in table {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, inner, lines, flat);
            }
        }
        ValueKind::Array(items) => {
            flat.insert(
                name.to_owned(),
                given(items.iter().map(ToString::to_string).collect(), true),
            );
        }
        single => {
            flat.insert(name.to_owned(), given(vec![single.to_string()], false));
        }
    }
}

/// On which line of the file each setting stands. The TOML reader forgets; people should not have to search.
#[derive(Debug, Default)]
struct Lines {
    file: String,
    numbers: BTreeMap<String, usize>,
    /// Settings of one pair that are given twice, under two spellings of it.
    repeated: Vec<Problem>,
}

impl Lines {
    fn of(path: &Path, text: &str) -> Self {
        let plain = |name: &str| name.trim().replace(['"', '\''], "");
        let mut section = String::new();
        let mut numbers = BTreeMap::new();
        let mut repeated = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                section = plain(name) + ".";
            } else if let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                let name = one_name(&(section.clone() + &plain(name)));
                if let Some(first) = numbers.get(&name).filter(|_| name.starts_with(BY_PAIR)) {
                    let message =
                        format!("is given on line {first} as well, under another spelling of the pair: remove one");
                    let origin = format!("{} line {number}", path.display());
                    repeated.push(Problem::new(&name, &origin, message));
                }
                numbers.entry(name).or_insert(number);
            }
        }
        Self {
            file: path.display().to_string(),
            numbers,
            repeated,
        }
    }

    fn find(&self, name: &str) -> String {
        match self.numbers.get(name) {
            Some(number) => format!("{} line {number}", self.file),
            None => self.file.clone(),
        }
    }
}
