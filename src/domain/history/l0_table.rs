//! The names of the prepared history: table, time column, spelling of pairs. The names come from people and go into SQL.

use crate::domain::model::Symbol;
use std::fmt;

/// A table of five-minute bars with columns `symbol`, `open`, `high`, `low`, `close`, `source` and a time column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L0Table {
    table: Vec<Name>,
    time_column: Name,
    spelling: Spelling,
}

/// How a table spells a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// `USDCOP`.
    Compact,
    /// `USD/COP`.
    Slash,
}

/// A plain SQL name: letters, digits and underscores, not beginning with a digit, at most 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name(String);

/// The text is not the name of a table or column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a plain SQL name of letters, digits and underscores (a table may have a schema before a dot)"
)]
pub struct NameError {
    /// The text, cut to a length that is safe to show.
    pub given: String,
}

impl Name {
    fn new(text: &str) -> Result<Self, NameError> {
        let plain = text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit());
        if !plain || !text.bytes().next().is_some_and(is_letter) || text.len() > 63 {
            return Err(NameError {
                given: text.chars().take(80).collect(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl L0Table {
    /// A table by its names.
    ///
    /// # Errors
    /// [`NameError`] for the first name that is not a plain SQL name.
    pub fn new(table: &str, time_column: &str, spelling: Spelling) -> Result<Self, NameError> {
        let parts: Vec<_> = table.split('.').map(Name::new).collect::<Result<_, _>>()?;
        if parts.len() > 2 {
            return Err(NameError {
                given: table.chars().take(80).collect(),
            });
        }
        Ok(Self {
            table: parts,
            time_column: Name::new(time_column)?,
            spelling,
        })
    }

    /// The quoted table name for SQL.
    pub fn table(&self) -> String {
        self.table.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
    }

    /// The quoted name of the column with each bar's open, for SQL.
    pub fn time_column(&self) -> String {
        self.time_column.to_string()
    }

    /// The unquoted name of that column, as in the catalog.
    pub fn time_name(&self) -> &str {
        &self.time_column.0
    }

    /// A pair as the table spells it.
    pub fn symbol(&self, symbol: Symbol) -> String {
        match self.spelling {
            Spelling::Compact => symbol.compact(),
            Spelling::Slash => symbol.as_str().to_owned(),
        }
    }
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_pairs_spelled() {
        let new = L0Table::new("public.usdcop_m5_ohlcv", "time", Spelling::Slash).unwrap();
        assert_eq!(
            (new.table(), new.time_column()),
            (r#""public"."usdcop_m5_ohlcv""#.to_owned(), r#""time""#.to_owned())
        );
        assert_eq!(new.symbol(Symbol::usdcop()), "USD/COP");
        let old = L0Table::new("market_data", "datetime", Spelling::Compact).unwrap();
        assert_eq!(old.symbol(Symbol::usdcop()), "USDCOP");
    }

    #[test]
    fn what_is_no_plain_name_is_refused() {
        for name in [
            "",
            "a b",
            "a;drop table b",
            "a\"b",
            "1a",
            "a.b.c",
            ".a",
            "a.",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(L0Table::new(name, "time", Spelling::Slash).is_err(), "{name}");
            assert!(L0Table::new("bars", name, Spelling::Slash).is_err(), "{name}");
        }
    }
}
