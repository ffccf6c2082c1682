//! Settings: typed, layered (defaults < file < environment < flags), every problem reported at once with its origin.
//!
//! *Architecture invariant*: no other code reads the environment or a settings file. What [`load`] returned is valid: no other code checks
//! a setting again.

mod files;
mod layers;
mod reader;
mod server;
mod upstream;
mod keys;
mod market;
mod stores;
mod cluster;
mod log;
mod document;
mod args;

pub use args::SettingsArgs;
pub use cluster::{Alone, Cluster, Role, missing_settings};
pub use document::{example_toml, guide_markdown};
pub use keys::{Group, Key, NO_KEY};
pub use layers::{OLD_NAMES, Sources};
pub use log::{Format, Log};
pub use market::{Market, SymbolMarket};
pub use server::{Server, Tls};
pub use stores::{Cache, L0, Ledger, Store};
pub use upstream::Upstream;

use crate::calendar_file::{self, CalendarFileError};
use reader::Reader;
use secrecy::ExposeSecret as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::Path;

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Valid {
    /// How clients reach the service.
    pub server: Server,
    /// How the service reaches the vendor.
    pub upstream: Upstream,
    /// Which pairs are traded, and when.
    pub market: Market,
    /// The history that must exist before the service goes live.
    pub l0: L0,
    /// The database of bars and ticks.
    pub store: Store,
    /// The latest prices and streams.
    pub cache: Cache,
    /// The ledger.
    pub ledger: Ledger,
    /// The role of this node.
    pub cluster: Cluster,
    /// Which lines are logged, and in which format.
    pub log: Log,
    /// The origin of each setting that is not at its default.
    pub origins: BTreeMap<String, String>,
    /// The settings that were given, with their values masked where they may hold a secret.
    pub shown: BTreeMap<String, String>,
    /// A hash of each given setting's value.
    given: Fingerprints,
}

/// A hash of each given setting's value, to find changes. Secrets are among them, so nothing of it is shown.
#[derive(Clone, Default)]
struct Fingerprints(BTreeMap<String, u64>);

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprints")
    }
}

impl Valid {
    /// The names of the settings that differ between the two.
    pub fn changed_names(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.given.0.keys().chain(other.given.0.keys()).collect();
        names
            .into_iter()
            .filter(|name: &&String| self.given.0.get(*name) != other.given.0.get(*name))
            .cloned()
            .collect()
    }
}

/// One invalid setting or file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name of the setting or of the file.
    pub name: String,
    /// The origin of its value.
    pub origin: String,
    /// Why it is invalid, and what would be valid.
    pub message: String,
}

/// All problems of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    fn new(name: &str, origin: &str, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            origin: origin.to_owned(),
            message: message.into(),
        }
    }

    fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self::new(&path.display().to_string(), "file", message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.origin, self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("the settings are valid"),
            [one] => write!(f, "the settings have a problem:\n  {one}"),
            all => {
                write!(f, "the settings have {} problems:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}

/// Reads all sources and checks all settings.
///
/// # Errors
/// [`Problems`]: all of them, not only the first.
pub fn load(sources: &Sources) -> Result<Valid, Problems> {
    load_checked(sources, |_, _| {})
}

/// The same for the service itself, which also needs a key, unless it is an edge, and the settings that its role requires.
///
/// # Errors
/// [`Problems`]: all of them, not only the first.
pub fn load_for_service(sources: &Sources) -> Result<Valid, Problems> {
    load_checked(sources, |reader, valid| {
        for (name, message) in cluster::missing_settings(valid) {
            reader.report_problem(name, message);
        }
        if valid.upstream.keys.is_empty() && valid.cluster.role != Role::Edge {
            reader.report_problem("upstream.keys_g1", keys::NO_KEY);
        }
        read_calendar_file(reader, valid);
    })
}

/// Reports the problems of the calendar's override file with those of the settings.
fn read_calendar_file(reader: &mut Reader, valid: &Valid) {
    let Some(path) = &valid.market.calendar_file else {
        return;
    };
    match calendar_file::load(path) {
        Ok(_) => {}
        Err(CalendarFileError::Wrong { problems, .. }) => problems
            .iter()
            .for_each(|problem| reader.add_problem(Problem::of_file(path, problem.to_string()))),
        Err(error) => reader.add_problem(Problem::of_file(path, error.to_string())),
    }
}

fn load_checked(sources: &Sources, also: impl Fn(&mut Reader, &Valid)) -> Result<Valid, Problems> {
    let mut problems = Vec::new();
    let variables = files::resolve(&sources.environment, &mut problems);
    let flat = layers::read(sources, &variables, &mut problems);
    let mut given: BTreeMap<String, u64> = flat
        .iter()
        .map(|(name, given)| (name.clone(), hash_of(&given.texts)))
        .collect();
    let shown = flat
        .iter()
        .map(|(name, given)| (name.clone(), mask_secret(name, &given.texts)))
        .collect();
    let mut reader = Reader::new(flat, problems);
    let valid = read(&mut reader, &variables.all);
    let keys: Vec<&str> = valid
        .upstream
        .keys
        .iter()
        .map(|key| key.secret.expose_secret())
        .collect();
    given.insert("upstream.keys".to_owned(), hash_of(&keys));
    also(&mut reader, &valid);
    let (valid, origins) = reader.finish(valid)?;
    Ok(Valid {
        origins,
        shown,
        given: Fingerprints(given),
        ..valid
    })
}

/// A setting's value without secrets. Keys are only counted; in an address, parts that may hold a password or a key are left out.
fn mask_secret(name: &str, texts: &[String]) -> String {
    if name.starts_with("upstream.key") {
        return format!("{} set", texts.len());
    }
    texts
        .iter()
        .map(|text| without_secrets(text))
        .collect::<Vec<_>>()
        .join(", ")
}

/// An address without its user and without its query.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, None), |(host, path)| (host, Some(path)));
    // A password may hold a slash: the host begins only after the last at sign.
    if let Some((_, after)) = rest.rsplit_once('@') {
        return format!("{scheme}://…@{after}");
    }
    path.map_or_else(
        || format!("{scheme}://{host}"),
        |path| format!("{scheme}://{host}/{path}"),
    )
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Reads every section, in the order of the guide.
fn read(reader: &mut Reader, environment: &[(String, String)]) -> Valid {
    Valid {
        server: server::read(reader),
        upstream: upstream::read(reader, environment),
        market: market::read(reader),
        l0: stores::read_l0(reader),
        store: stores::read_store(reader),
        cache: stores::read_cache(reader),
        ledger: stores::read_ledger(reader),
        cluster: cluster::read(reader),
        log: log::read(reader),
        origins: BTreeMap::new(),
        shown: BTreeMap::new(),
        given: Fingerprints::default(),
    }
}

#[cfg(test)]
mod tests;
