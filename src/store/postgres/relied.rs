//! What candela relies on in each table: the columns that it fills and reads, the key that `ON CONFLICT` names, the privileges.

use crate::store::postgres::layout::FoundColumn;

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
    pub(super) columns: &'static [(&'static str, Need)],
    pub(super) added: &'static [(&'static str, Need)],
    pub(super) key: &'static [&'static str],
    /// Whether a migration creates the index of the key.
    pub(super) key_added: bool,
    /// The privileges that the user needs.
    pub(super) rights: &'static [&'static str],
}

/// Privileges on tables whose rows change, and on those to which rows are only added.
const CHANGE: &[&str] = &["SELECT", "INSERT", "UPDATE"];
const ADD: &[&str] = &["SELECT", "INSERT"];

/// The longest texts that candela writes: a pair without its slash, `session`, `backfill`, `next_day`, an epoch.
const PAIR: Need = Need::Text(10);
const SOURCE: Need = Need::Text(7);
const BAR: [(&str, Need); 13] = [
    ("interval", Need::Text(7)),
    ("revision", Need::Whole(4)),
    ("ticks", Need::Whole(4)),
    ("closes_at", Need::Instant),
    ("first_tick_at", Need::Instant),
    ("last_tick_at", Need::Instant),
    ("provenance", Need::Text(8)),
    ("flags", Need::Whole(2)),
    ("session_date", Need::Date),
    ("session_kind", Need::Text(8)),
    ("epoch", Need::Text(4)),
    ("seq", Need::Whole(8)),
    ("known_at", Need::Instant),
];

pub(super) const RELIED: [Relied; 14] = [
    Relied {
        table: "market_data",
        old: true,
        columns: &[
            ("symbol", PAIR),
            ("datetime", Need::Instant),
            ("open", Need::Price),
            ("high", Need::Price),
            ("low", Need::Price),
            ("close", Need::Price),
            ("volume", Need::Zero),
            ("source", SOURCE),
            ("created_at", Need::Instant),
            ("updated_at", Need::Instant),
        ],
        added: &BAR,
        key: &["symbol", "datetime", "source"],
        key_added: false,
        rights: CHANGE,
    },
    Relied {
        table: "realtime_market_data",
        old: true,
        columns: &[
            ("symbol", PAIR),
            ("time", Need::Instant),
            ("bid", Need::Price),
            ("ask", Need::Price),
            ("last", Need::Price),
            ("spread", Need::Price),
            ("volume", Need::Zero),
            ("session_date", Need::Date),
            ("trading_session", Need::Flag),
            ("source", SOURCE),
        ],
        added: &[
            ("epoch", Need::Text(4)),
            ("seq", Need::Whole(8)),
            ("event_time", Need::Instant),
            ("provenance", Need::Text(8)),
        ],
        key: &["symbol", "epoch", "seq"],
        key_added: true,
        rights: ADD,
    },
    Relied {
        table: "system_health",
        old: true,
        columns: &[
            ("service_name", Need::Text(7)),
            ("status", Need::Text(13)),
            ("details", Need::Json),
            ("response_time_ms", Need::Whole(4)),
            ("error_message", Need::Text(255)),
            ("created_at", Need::Instant),
        ],
        added: &[],
        key: &[],
        key_added: false,
        rights: &["INSERT"],
    },
    Relied {
        table: "market_sessions",
        old: true,
        columns: &[
            ("session_date", Need::Date),
            ("start_time", Need::Instant),
            ("end_time", Need::Instant),
            ("status", Need::Text(6)),
            ("updated_at", Need::Instant),
        ],
        added: &[
            ("symbol", PAIR),
            ("session_kind", Need::Text(8)),
            ("ticks", Need::Whole(4)),
            ("bars", Need::Whole(4)),
            ("gaps", Need::Whole(4)),
        ],
        key: &["session_date"],
        key_added: false,
        rights: CHANGE,
    },
    own_table("market_sessions_of_pairs", &["session_date", "symbol"], CHANGE),
    own_table("interval_bars", &["symbol", "interval", "datetime", "source"], CHANGE),
    own_table("bar_revisions", &["symbol", "interval", "datetime", "revision"], ADD),
    own_table("gaps", &["symbol", "epoch", "id"], CHANGE),
    own_table("reader_positions", &["reader", "lineage"], CHANGE),
    own_table("rejected_events", &["lineage", "position"], ADD),
    own_table("candela_lease", &["name"], CHANGE),
    own_table("quality_log", &["symbol", "epoch", "seq"], ADD),
    own_table("candela_events", &["lineage", "position"], ADD),
    own_table(
        "candela_certificates",
        &["symbol", "session_date", "revision", "epoch"],
        ADD,
    ),
];

const fn own_table(table: &'static str, key: &'static [&'static str], rights: &'static [&'static str]) -> Relied {
    Relied {
        table,
        old: false,
        columns: &[],
        added: &[],
        key,
        key_added: true,
        rights,
    }
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
