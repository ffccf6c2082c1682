//! Sections `l0`, `store`, `cache` and `ledger`: where history comes from, and where data is kept and published.

use crate::domain::history::{OnTimeout, Spelling};
use crate::limits;
use crate::settings::{reader::Reader, server::parse_path};
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

/// The history that must exist before the service goes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L0 {
    /// The folder of `l0_ready.flag`.
    pub dir: PathBuf,
    /// How long to wait for the flag.
    pub timeout: Duration,
    /// What to do when that time has passed.
    pub on_timeout: OnTimeout,
    /// The table that holds the history; an SQL identifier, perhaps with a schema before it.
    pub table: String,
    /// Its column with the open of each bar; an SQL identifier.
    pub time_column: String,
    /// How its column `symbol` spells a pair.
    pub spelling: Spelling,
}

/// The database of bars and ticks.
#[derive(Debug, Clone)]
pub struct Store {
    /// PostgreSQL; `None` means the SQLite file.
    pub database_url: Option<SecretString>,
    /// The SQLite file, used without `database_url`.
    pub sqlite_file: PathBuf,
    /// The most connections to PostgreSQL.
    pub pool: u32,
    /// Ticks older than this are deleted; `None` keeps them. Bars are always kept.
    pub tick_retention: Option<Duration>,
}

/// The latest prices and streams.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Redis; `None` means memory.
    pub redis_url: Option<SecretString>,
}

/// The ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Its folder, created if needed.
    pub dir: PathBuf,
    /// Days that are kept, including the current one.
    pub days: usize,
    /// The folder to which days beyond that are moved; without it they are deleted.
    pub backup_dir: Option<PathBuf>,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn read_l0(reader: &mut Reader) -> L0 {
    L0 {
        dir: reader.read_parsed(
            "l0.dir",
            "/data/ready-signals",
            "the folder in which l0_ready.flag appears",
            parse_path,
        ),
        timeout: reader.read_duration(
            "l0.timeout_minutes",
            "60",
            MINUTE,
            0..=10_080,
            "how long to wait for the flag",
        ),
        on_timeout: reader.read_choice(
            "l0.on_timeout",
            "degrade",
            "after that wait: degrade (go live with unverified history, safe_to_trade false) or error (do not go live)",
            &[("degrade", OnTimeout::Degrade), ("error", OnTimeout::Error)],
        ),
        table: reader.read_parsed("l0.table", "market_data", "the table that holds the history", |text| {
            text.split('.').try_for_each(check_identifier).map(|()| text.to_owned())
        }),
        time_column: reader.read_parsed(
            "l0.time_column",
            "datetime",
            "its column with the open of each bar",
            |text| check_identifier(text).map(|()| text.to_owned()),
        ),
        spelling: reader.read_choice(
            "l0.symbol_spelling",
            "USDCOP",
            "how its column symbol spells a pair: USDCOP or USD/COP",
            &[("USDCOP", Spelling::Compact), ("USD/COP", Spelling::Slash)],
        ),
    }
}

pub(super) fn read_store(reader: &mut Reader) -> Store {
    Store {
        database_url: reader.read_secret(
            "store.database_url",
            "PostgreSQL, such as postgresql://user:password@host/name?sslmode=require; empty means the SQLite file",
            |text| check_scheme(text, &["postgresql://", "postgres://"]),
        ),
        sqlite_file: reader.read_parsed(
            "store.sqlite_file",
            "data/candela.sqlite",
            "the SQLite file that is used without a database_url",
            parse_path,
        ),
        pool: reader.read_number("store.pool", "8", 2..=100, "connections to PostgreSQL at the most"),
        tick_retention: Some(reader.read_duration(
            "store.tick_retention_days",
            "0",
            DAY,
            0..=36_500,
            "delete older ticks; 0 keeps all; bars are always kept",
        ))
        .filter(|retention| !retention.is_zero()),
    }
}

pub(super) fn read_cache(reader: &mut Reader) -> Cache {
    Cache {
        redis_url: reader.read_secret(
            "cache.redis_url",
            "Redis or Valkey, such as redis://:password@host:6379/0, rediss:// for TLS, redis+unix:// for a socket; empty means memory",
            |text| check_scheme(text, &["redis://", "rediss://", "redis+unix://", "unix://", "valkey://", "valkeys://"]),
        ),
    }
}

pub(super) fn read_ledger(reader: &mut Reader) -> Ledger {
    Ledger {
        dir: reader.read_parsed(
            "ledger.dir",
            "data/ledger",
            "the folder of the ledger, on a local disk",
            parse_path,
        ),
        days: reader.read_number(
            "ledger.days",
            "10",
            2..=3_650,
            "session days that are kept, the current one included",
        ),
        backup_dir: reader.read_optional(
            "ledger.backup_dir",
            "days that are no longer kept are moved here; empty deletes them",
            parse_path,
        ),
    }
}

/// Only plain names reach SQL text.
fn check_identifier(text: &str) -> Result<(), String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let starts = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if plain && starts && text.len() <= limits::IDENTIFIER {
        return Ok(());
    }
    Err("is not a plain SQL name of letters, digits and underscores".to_owned())
}

/// Checks the scheme of a URL without quoting the URL: it may hold a password.
fn check_scheme(text: &str, schemes: &[&str]) -> Result<(), String> {
    match schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) if !rest.trim_matches('/').is_empty() => Ok(()),
        Some(_) => Err("names no host (its value is not shown, as it may hold a password)".to_owned()),
        None if text.contains("sql+") => Err(
            "names a driver of another language: write postgresql:// alone (its value is not shown, as it may hold a password)"
                .to_owned(),
        ),
        None => Err(format!(
            "does not begin with {} (its value is not shown, as it may hold a password)",
            schemes.join(" or ")
        )),
    }
}
