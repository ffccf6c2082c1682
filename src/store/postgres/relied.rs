//! What candela relies on in each table: the columns that it fills and reads, the key that `ON CONFLICT` names, the privileges.

use crate::store::postgres::layout::FoundColumn;
use std::sync::LazyLock;

/// The values that a column must be able to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A price: six digits before the point and six after it.
    Price,
    Instant,
    Date,
    /// A whole number with this many bytes.
    Whole(u8),
    /// Any number type, because only zero is written to it.
    Zero,
    Flag,
    /// A text with this many characters.
    Text(i32),
    Json,
}

/// One table: its columns, those that a migration adds, and the key that `ON CONFLICT` names.
pub(super) struct Relied {
    pub(super) table: &'static str,
    /// Whether another program may have created it.
    pub(super) old: bool,
    pub(super) columns: Vec<(&'static str, Need)>,
    pub(super) added: Vec<(&'static str, Need)>,
    pub(super) key: Vec<&'static str>,
    /// Whether a migration creates the index of the key.
    pub(super) key_added: bool,
    /// The privileges that the user needs.
    pub(super) rights: &'static [&'static str],
}

/// Every table.
pub(super) static RELIED: LazyLock<Vec<Relied>> = LazyLock::new(|| {
    let mut tables: Vec<Relied> = Vec::new();
    for line in include_str!("relied.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        match (words.as_slice(), tables.last_mut()) {
            (["has", columns @ ..], Some(table)) => {
                table.columns = columns.iter().filter_map(|text| column(text)).collect();
            }
            (["gets", columns @ ..], Some(table)) => {
                table.added = columns.iter().filter_map(|text| column(text)).collect();
            }
            ([table, whose, key, rights], _) => tables.push(Relied {
                table,
                old: *whose == "old",
                columns: Vec::new(),
                added: Vec::new(),
                key: key
                    .trim_matches(['+', '-'])
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .collect(),
                key_added: key.starts_with('+'),
                rights: match *rights {
                    "change" => &["SELECT", "INSERT", "UPDATE"],
                    "add" => &["SELECT", "INSERT"],
                    _ => &["INSERT"],
                },
            }),
            _ => {}
        }
    }
    tables
});

/// A column and what it must hold: `symbol:text10`.
fn column(text: &'static str) -> Option<(&'static str, Need)> {
    let (name, need) = text.split_once(':')?;
    let kind = need.trim_end_matches(|c: char| c.is_ascii_digit());
    let size = need.strip_prefix(kind).unwrap_or_default();
    let need = match kind {
        "price" => Need::Price,
        "instant" => Need::Instant,
        "date" => Need::Date,
        "whole" => Need::Whole(size.parse().ok()?),
        "zero" => Need::Zero,
        "flag" => Need::Flag,
        "text" => Need::Text(size.parse().ok()?),
        "json" => Need::Json,
        _ => return None,
    };
    Some((name, need))
}

/// Whether a column can hold the needed values.
pub(super) enum Fit {
    Fits,
    /// The reason, and the type to which it can be widened without loss.
    Not {
        why: &'static str,
        target: Option<String>,
    },
}

impl Need {
    /// The type that candela itself would create.
    pub(super) const fn target(self) -> &'static str {
        match self {
            Self::Price => "numeric(12,6)",
            Self::Instant => "timestamptz",
            Self::Date => "date",
            Self::Whole(..=4) => "integer NOT NULL DEFAULT 0",
            Self::Whole(_) => "bigint",
            Self::Zero => "integer DEFAULT 0",
            Self::Flag => "boolean DEFAULT true",
            Self::Text(_) => "varchar(50)",
            Self::Json => "jsonb",
        }
    }

    pub(super) fn check_column(self, found: &FoundColumn) -> Fit {
        match (self, found.kind.as_str()) {
            (Self::Price, "numeric") => numeric_fits(found.modifier),
            (Self::Price, "float4" | "float8") => Fit::Not {
                why: "prices are exact decimals and lose digits there",
                target: Some(format!("numeric USING \"{}\"::numeric", found.name)),
            },
            (Self::Price, "int2" | "int4" | "int8" | "money") => misfit(
                "prices have six digits after the point, which are rounded away there",
                Some("numeric"),
            ),
            (Self::Instant, "timestamptz") if (0..6).contains(&found.modifier) => {
                misfit("instants are rounded there", Some("timestamptz"))
            }
            (Self::Instant, "timestamptz")
            | (Self::Date, "date")
            | (Self::Flag, "bool")
            | (Self::Json, "json" | "jsonb" | "text") => Fit::Fits,
            (Self::Instant, "timestamp") => misfit(
                "it has no time zone, so instants move by hours with the server's setting",
                None,
            ),
            (Self::Zero, "int2" | "int4" | "int8" | "numeric" | "float4" | "float8") => Fit::Fits,
            (Self::Whole(bytes), "int2" | "int4" | "int8") => {
                let has = match found.kind.as_str() {
                    "int2" => 2,
                    "int4" => 4,
                    _ => 8,
                };
                if has >= bytes {
                    Fit::Fits
                } else {
                    misfit("numbers do not fit", Some("bigint"))
                }
            }
            (Self::Whole(_), "numeric") => Fit::Fits,
            (Self::Text(_), "text") => Fit::Fits,
            (Self::Text(length), "varchar") => match found.modifier.saturating_sub(4) {
                has if found.modifier >= 0 && has < length => Fit::Not {
                    why: "what candela writes does not fit",
                    target: Some(format!("varchar({})", length.max(50))),
                },
                _ => Fit::Fits,
            },
            (Self::Text(length), "bpchar") => Fit::Not {
                why: "texts are padded with blanks there",
                target: Some(format!(
                    "varchar({})",
                    length.max(50).max(found.modifier.saturating_sub(4))
                )),
            },
            _ => misfit("candela cannot write to it", None),
        }
    }
}

fn misfit(why: &'static str, target: Option<&str>) -> Fit {
    Fit::Not {
        why,
        target: target.map(ToOwned::to_owned),
    }
}

/// Checks `numeric(p,s)` by its modifier; without a modifier it holds everything.
fn numeric_fits(modifier: i32) -> Fit {
    const DIGITS: i32 = 6;
    if modifier < 4 {
        return Fit::Fits;
    }
    let (precision, scale) = numeric_modifier(modifier);
    let whole = precision.saturating_sub(scale);
    if scale >= DIGITS && whole >= DIGITS {
        return Fit::Fits;
    }
    let why = if scale < DIGITS {
        "prices have six digits after the point, and are rounded there in silence"
    } else {
        "prices have six digits before the point, and do not fit"
    };
    let whole = whole.max(DIGITS);
    let scale = scale.max(DIGITS);
    Fit::Not {
        why,
        target: Some(format!("numeric({},{scale})", whole.saturating_add(scale))),
    }
}

/// Precision and scale; the scale may be negative and has eleven bits.
const fn numeric_modifier(modifier: i32) -> (i32, i32) {
    let packed = modifier.saturating_sub(4);
    let scale = packed & 0x7ff;
    (packed >> 16 & 0xffff, (scale ^ 1024) - 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let text = include_str!("relied.txt").lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<&str> = text.collect();
        let columns = RELIED.iter().map(|table| table.columns.len() + table.added.len());
        let written: usize = lines.iter().map(|line| line.matches(':').count()).sum();
        assert_eq!(columns.sum::<usize>(), written, "a column is not read");
        let tables = lines.iter().filter(|line| !line.starts_with(' '));
        assert_eq!(RELIED.len(), tables.count(), "a table is not read");
        assert!(RELIED.iter().all(|table| table.old || !table.key.is_empty()));
    }
}
