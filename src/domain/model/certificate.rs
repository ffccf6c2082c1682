//! The certificate of a session: what its bars are and where they came from, sealed by a hash that continues that of the session before.
//! `domain::history::certifier` computes it.

use crate::domain::model::{Bar, Interval, Position, Seam, Symbol, Timestamp};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What is certified of one session of a pair, once no bar of it is pending any more. A later correction of the session has a certificate
/// of its own, with the next revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The pair.
    pub symbol: Symbol,
    /// The market's date of the session.
    pub date: NaiveDate,
    /// 1 for the first certificate of the session; each correction adds one.
    pub revision: u32,
    /// The interval of the bars.
    pub interval: Interval,
    /// First instant of the session.
    pub opens: Timestamp,
    /// First instant after it.
    pub closes: Timestamp,
    /// How many bars the session should have.
    pub expected: u32,
    /// How many it has, by provenance.
    pub present: BTreeMap<String, u32>,
    /// How many it lacks: each lies in one of [`Certificate::unfillable`].
    pub missing: u32,
    /// How many were corrected since they were first published.
    pub revised: u32,
    /// How many differ from the vendor's, of those that were compared.
    pub mismatched: u32,
    /// The gaps that the vendor cannot fill, earliest first.
    pub unfillable: Vec<Unfillable>,
    /// The seam, if it lies in the session.
    pub seam: Option<Seam>,
    /// The certificate of the session before, whose hash the hash continues; `None` where a chain begins.
    pub previous: Option<Predecessor>,
    /// The hash of the previous certificate's hash and of the session's bars in order ([`seal`]).
    pub hash: String,
    /// The position in the ledger up to which it was computed.
    pub through: Position,
}

/// A gap of a session that the vendor cannot fill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfillable {
    /// Open of the first bar.
    pub from: Timestamp,
    /// Close of the last bar.
    pub to: Timestamp,
    /// How many bars it has.
    pub bars: u32,
    /// Why the bars are missing or flawed, and then the vendor's evidence.
    pub cause: String,
}

/// The certificate that another one continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// The date of its session.
    pub date: NaiveDate,
    /// Its revision.
    pub revision: u32,
    /// Its hash.
    pub hash: String,
}

impl Certificate {
    /// How a later certificate names this one.
    pub fn as_predecessor(&self) -> Predecessor {
        Predecessor {
            date: self.date,
            revision: self.revision,
            hash: self.hash.clone(),
        }
    }

    /// Whether both certify the same, whatever their revisions, and up to wherever they were computed.
    pub fn certifies_same(&self, other: &Self) -> bool {
        let other = Self {
            revision: self.revision,
            through: self.through,
            ..other.clone()
        };
        *self == other
    }

    /// The name of the first member in which the two differ, with its values here and there.
    pub fn first_difference(&self, other: &Self) -> Option<(String, String, String)> {
        let [one, two] = [self, other].map(|certificate| serde_json::to_value(certificate).unwrap_or_default());
        let members = one.as_object()?.iter();
        members
            .map(|(name, value)| (name, value, two.get(name)))
            .find(|(_, value, there)| Some(*value) != *there)
            .map(|(name, value, there)| {
                let there = there.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                (name.clone(), value.to_string(), there)
            })
    }
}

/// The SHA-256 hash of a session's bars, earliest first, in hexadecimal digits. It is taken over one line with the previous hash, one with
/// pair, date and interval, and one with each bar: its open and close in microseconds since 1970, its four prices in millionths, and its
/// ticks, revision, provenance, flags and kind of session, each pair of fields with a blank between.
pub fn seal<'b>(
    previous: Option<&str>,
    (symbol, date, interval): (Symbol, NaiveDate, Interval),
    bars: impl IntoIterator<Item = &'b Bar>,
) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "{}\n{symbol} {date} {interval}\n",
        previous.unwrap_or("begins a chain")
    ));
    for bar in bars {
        let ohlc = [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close].map(|price| price.micros());
        let [open, high, low, close] = ohlc;
        hash.update(format!(
            "{} {} {open} {high} {low} {close} {} {} {} {} {}\n",
            bar.key.opens_at.micros(),
            bar.closes_at.micros(),
            bar.ticks,
            bar.revision,
            bar.provenance.name(),
            bar.flags.bits(),
            bar.session_kind.name(),
        ));
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{BarKey, BarState, Flags, Ohlc, Price, Provenance, SessionKind};

    /// 2026-03-02T13:00:00Z.
    const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);

    fn bar() -> Bar {
        Bar {
            key: BarKey {
                symbol: Symbol::usdcop(),
                interval: Interval::M5,
                opens_at: OPEN,
            },
            closes_at: OPEN + std::time::Duration::from_secs(300),
            ohlc: Ohlc::flat_at(Price::from_micros(4_012_350_000)),
            ticks: 3,
            first_tick_at: None,
            last_tick_at: None,
            state: BarState::Closed,
            revision: 0,
            provenance: Provenance::Live,
            flags: Flags::default(),
            session_date: OPEN.datetime().date_naive(),
            session_kind: SessionKind::Spot,
        }
    }

    fn sealed(previous: Option<&str>, bars: &[Bar]) -> String {
        let session = (Symbol::usdcop(), OPEN.datetime().date_naive(), Interval::M5);
        seal(previous, session, bars)
    }

    #[test]
    fn the_hash_is_that_of_the_text_that_is_documented() {
        let text = "ab\nUSD/COP 2026-03-02 5m\n1772456400000000 1772456700000000 4012350000 4012350000 4012350000 4012350000 3 0 live 0 spot\n";
        let digest = Sha256::digest(text);
        let expect: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sealed(Some("ab"), &[bar()]), expect);
    }

    #[test]
    fn the_hash_changes_with_the_predecessor_and_with_each_value_of_a_bar() {
        let whole = sealed(Some("ab"), &[bar()]);
        let changes: [fn(&mut Bar); 6] = [
            |bar| bar.ohlc.close = Price::from_micros(4_012_350_001),
            |bar| bar.ticks += 1,
            |bar| bar.revision += 1,
            |bar| bar.provenance = Provenance::Polled,
            |bar| bar.flags = Flags::VENDOR_MISMATCH,
            |bar| bar.closes_at = OPEN,
        ];
        for change in changes {
            let mut other = bar();
            change(&mut other);
            assert_ne!(sealed(Some("ab"), &[other]), whole);
        }
        for other in [
            sealed(None, &[bar()]),
            sealed(Some("ac"), &[bar()]),
            sealed(Some("ab"), &[bar(), bar()]),
        ] {
            assert_ne!(other, whole);
        }
    }
}
