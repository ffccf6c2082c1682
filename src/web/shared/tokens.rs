//! The tokens that clients must present, if any are configured. Hashed at rest, compared in constant time, and read again when their file
//! changes, so that a token can be revoked without a restart.
//!
//! ```text
//! # name : SHA-256 of the token in hex [ : symbols [ : scopes ] ]        printf %s "$TOKEN" | sha256sum
//! research:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! partner:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752:USD/COP
//! ops:1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014:*:operate
//! ```

use crate::clock::Stopwatch;
use crate::domain::model::Symbol;
use crate::limits;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The token's name.
    pub(crate) name: String,
    digest: [u8; 32],
    /// The pairs that it allows; `None` for all.
    symbols: Option<Vec<Symbol>>,
    /// Whether it allows operators' actions.
    pub(crate) operates: bool,
}

impl Grant {
    /// Whether it allows every pair.
    pub(crate) const fn is_for_all(&self) -> bool {
        self.symbols.is_none()
    }

    pub(crate) fn allows(&self, symbol: Symbol) -> bool {
        self.symbols.as_ref().is_none_or(|symbols| symbols.contains(&symbol))
    }
}

/// Why the tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum TokensError {
    #[error("the tokens file {file} cannot be read: {source}; correct server.tokens_file or the file's rights")]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("the tokens file {file} is wrong in line {line}: {what}")]
    Wrong {
        file: PathBuf,
        line: usize,
        what: &'static str,
    },
}

/// The tokens of one file.
#[derive(Debug)]
pub struct Tokens {
    file: PathBuf,
    known: RwLock<Known>,
    since: Stopwatch,
}

#[derive(Debug, Default)]
struct Known {
    grants: Vec<Grant>,
    changed: Option<SystemTime>,
    looked: Duration,
}

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// [`TokensError`] when the file cannot be read or a line of it is invalid.
    pub fn open(file: &Path) -> Result<Self, TokensError> {
        let grants = read(file)?;
        Ok(Self {
            file: file.to_owned(),
            known: RwLock::new(Known {
                grants,
                changed: changed(file),
                looked: Duration::ZERO,
            }),
            since: Stopwatch::start(),
        })
    }

    /// What `token` allows, if it is a known token.
    pub(crate) fn check(&self, token: &str) -> Option<Grant> {
        self.look_again();
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for grant in &known.grants {
            if same(&grant.digest, &digest) {
                found = Some(grant.clone()); // the others are compared as well, so that the time reveals nothing
            }
        }
        found
    }

    /// Whether a grant given earlier is still valid and unchanged.
    pub(crate) fn still(&self, grant: &Grant) -> bool {
        self.look_again();
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .grants
            .contains(grant)
    }

    /// Reads the file again when it changed. If the changed file is invalid, the last good one stays in force.
    fn look_again(&self) {
        let now = self.since.elapsed();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(known.looked) < limits::TOKENS_LOOK {
            return;
        }
        known.looked = now;
        drop(known);
        self.reload();
    }

    fn reload(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let modified = changed(&self.file);
        if modified == known.changed {
            return;
        }
        known.changed = modified;
        match read(&self.file) {
            Ok(grants) => known.grants = grants,
            Err(error) => tracing::error!(%error, "failed to read the tokens again; the last good ones stay in use"),
        }
    }
}

fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn read(file: &Path) -> Result<Vec<Grant>, TokensError> {
    let text = std::fs::read_to_string(file).map_err(|source| TokensError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    let lines = text
        .lines()
        .enumerate()
        .map(|(i, line)| (i, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(i, line): (usize, &str)| {
            parse(line).map_err(|what| TokensError::Wrong {
                file: file.to_owned(),
                line: i.saturating_add(1),
                what,
            })
        })
        .collect()
}

fn parse(line: &str) -> Result<Grant, &'static str> {
    let mut parts = line.splitn(4, ':').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty()).ok_or("it has no name")?;
    let hex = parts.next().ok_or("it has no hash: write name:hash")?;
    let digest = unhex(hex).ok_or("its hash is not 64 hexadecimal digits: the SHA-256 of the token")?;
    let symbols = match parts.next() {
        None | Some("" | "*") => None,
        Some(list) => {
            let symbols = list
                .split(',')
                .map(|symbol| symbol.parse().map_err(|_| "its symbols are not pairs such as USD/COP"));
            Some(symbols.collect::<Result<Vec<Symbol>, _>>()?)
        }
    };
    let operates = match parts.next() {
        None | Some("") => false,
        Some("operate") => true,
        Some(_) => return Err("its scope is unknown: the only one is operate"),
    };
    Ok(Grant {
        name: name.to_owned(),
        digest,
        symbols,
        operates,
    })
}

fn unhex(hex: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    let bytes = digits.chunks_exact(2).filter_map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    bytes.collect::<Vec<u8>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(token: &str) -> String {
        Sha256::digest(token.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    #[test]
    fn a_token_opens_what_its_line_says() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "  # people\nall : {}\n\n one:{}: usdcop , USD/MXN\r\nops:{}: * : operate\n",
            hash("secret"),
            hash("other"),
            hash("ops")
        );
        std::fs::write(file.path(), text).unwrap();
        let tokens = Tokens::open(file.path()).unwrap();
        let eurusd: Symbol = "EUR/USD".parse().unwrap();
        assert!(tokens.check("secret").unwrap().allows(eurusd));
        let one = tokens.check("other").unwrap();
        assert!(one.allows(Symbol::usdcop()) && !one.allows(eurusd));
        assert_eq!(tokens.check("wrong"), None);
        let ops = tokens.check("ops").unwrap();
        assert!(ops.operates && ops.is_for_all() && !one.operates && !one.is_for_all());
        assert!(!format!("{tokens:?}").contains("secret"));
    }

    #[test]
    fn a_revoked_token_no_longer_stands_and_a_broken_file_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("a:{}\n", hash("secret"))).unwrap();
        let tokens = Tokens::open(file.path()).unwrap();
        let grant = tokens.check("secret").unwrap();
        let stands_after = |text: String| {
            std::fs::write(file.path(), text).unwrap();
            tokens.known.write().unwrap().changed = None;
            tokens.reload();
            tokens.still(&grant)
        };
        assert!(stands_after("nonsense".to_owned()));
        assert!(!stands_after(format!("a:{}\n", hash("new"))));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (line, what) in [
            ("x", "no hash"),
            (":00", "no name"),
            ("x:zz", "64 hexadecimal"),
            (&format!("x:{}:USD", hash("t")), "pairs"),
            (&format!("x:{}:*:admin", hash("t")), "scope is unknown"),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("# first\n{line}\n")).unwrap();
            let error = Tokens::open(file.path()).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(what), "{error}");
        }
        assert!(
            Tokens::open(Path::new("nowhere/at/all"))
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
    }
}
