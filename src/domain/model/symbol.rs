//! A currency pair: one spelling inside the service, three that are accepted from outside.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A pair such as `USD/COP`: upper case, base and quote joined by a slash. Twelve bytes, copied; compared as they are, because every price
/// and every delivery compares pairs. No byte of a spelling is zero, so the order is that of the spellings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symbol {
    /// ASCII, then zeros.
    bytes: [u8; Self::MAX_LEN],
    length: u8,
}

/// The text is not a symbol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("symbol {given:?} is not a pair such as USD/COP (also accepted: USDCOP, USD-COP)")]
pub struct SymbolError {
    /// The text, cut to a length that is safe to show.
    pub given: String,
}

impl Symbol {
    /// The longest spelling, slash included.
    pub const MAX_LEN: usize = 11;

    /// The pair this service exists for.
    pub const fn usdcop() -> Self {
        Self {
            bytes: *b"USD/COP\0\0\0\0",
            length: 7,
        }
    }

    /// The pair of this spelling, if it fits.
    fn spelled(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        let length = u8::try_from(text.len()).ok()?;
        Some(Self { bytes, length })
    }

    /// `USD/COP`.
    #[expect(clippy::expect_used, reason = "both constructors take the bytes of a text")]
    pub fn as_str(&self) -> &str {
        let spelling = self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes);
        std::str::from_utf8(spelling).expect("the bytes are those of a text")
    }

    /// `USDCOP`: the spelling of the old tables, Redis keys and paths.
    pub fn compact(&self) -> String {
        self.as_str().replace('/', "")
    }
}

impl FromStr for Symbol {
    type Err = SymbolError;

    /// Parses `USD/COP`, `USD-COP`, `USD%2FCOP` and, for six letters, `USDCOP`, in any case; surrounding blanks are ignored.
    fn from_str(text: &str) -> Result<Self, SymbolError> {
        let error = || SymbolError {
            given: text.chars().take(40).collect(),
        };
        let upper = text.trim().to_ascii_uppercase().replace("%2F", "/").replace('-', "/");
        let joined = match upper.split_once('/') {
            Some(_) => upper,
            None if upper.len() == 6 && upper.is_ascii() => {
                let (base, quote) = upper.split_at(3);
                format!("{base}/{quote}")
            }
            None => return Err(error()),
        };
        let (base, quote) = joined.split_once('/').ok_or_else(error)?;
        if !is_currency(base) || !is_currency(quote) {
            return Err(error());
        }
        Self::spelled(&joined).ok_or_else(error)
    }
}

impl TryFrom<String> for Symbol {
    type Error = SymbolError;
    fn try_from(text: String) -> Result<Self, SymbolError> {
        text.parse()
    }
}

impl From<Symbol> for String {
    fn from(symbol: Symbol) -> Self {
        symbol.as_str().to_owned()
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_currency(part: &str) -> bool {
    (3..=5).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_names_the_same_pair() {
        for text in [
            "USD/COP",
            "usd/cop",
            "USDCOP",
            "USD-COP",
            "USD%2FCOP",
            "usd%2fcop",
            " USDCOP ",
        ] {
            assert_eq!(text.parse::<Symbol>().unwrap(), Symbol::usdcop(), "{text}");
        }
        assert_eq!(Symbol::usdcop().compact(), "USDCOP");
        assert_eq!("TEST/USD".parse::<Symbol>().unwrap().as_str(), "TEST/USD");
    }

    #[test]
    fn what_is_no_pair_is_refused_with_a_sentence() {
        for text in [
            "",
            "USD",
            "USD/",
            "/COP",
            "USD/COP/X",
            "U D/COP",
            "USD/COPCOPCOP",
            "ÜSDCOP",
            "'; drop",
            "USDCO",
        ] {
            let error = text.parse::<Symbol>().unwrap_err();
            assert!(error.to_string().contains("is not a pair such as USD/COP"), "{text}");
        }
    }
}
