//! An exact price: an integer count of millionths, the scale of the stores' `DECIMAL(12,6)`.
//!
//! A vendor number with more than six decimals is rounded half to even here, once, and [`Parsed::rounded`] reports it; no later code
//! rounds. No float ever holds a price.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A price or price difference in millionths of the quote currency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Price(i64);

/// A parsed number: the price, and whether digits beyond the sixth decimal were rounded away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// The price, exact to six decimals.
    pub price: Price,
    /// Digits beyond the sixth decimal were not all zero.
    pub rounded: bool,
}

/// The sources of prices with more digits than the scale holds.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundedSource {
    /// The vendor's WebSocket.
    Link,
    /// The vendor's prices over REST.
    Poll,
    /// The vendor's bars over REST.
    VendorBars,
    /// The table of prepared history.
    History,
}

impl RoundedSource {
    /// Its name in every protocol.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Parsed {
    /// Whether rounding removed a significant part of the price: the scale is too coarse for this pair.
    pub fn beyond_scale(self) -> bool {
        self.rounded && self.price.0.saturating_abs() < crate::limits::FINE_PRICE_MICROS
    }
}

/// Why a text is not a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Not a decimal number.
    #[error("{0:?} is not a decimal number")]
    NotANumber(String),
    /// Too large for `DECIMAL(12,6)`.
    #[error("{0} is beyond ±999999.999999, the largest price the tables hold")]
    OutOfRange(String),
}

impl Price {
    /// Digits after the decimal point.
    pub const DECIMALS: u32 = 6;
    /// Units in one whole.
    pub const UNIT: i64 = 1_000_000;
    /// The largest price that `DECIMAL(12,6)` holds.
    pub const MAX: Self = Self(999_999_999_999);

    /// The price of this many millionths, not checked against [`Price::MAX`].
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The number of millionths.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads a JSON number or plain decimal, exponents included (`4.01235e3`), rounding half to even at the sixth decimal.
    ///
    /// # Errors
    /// [`PriceError`] when the text is no finite decimal number, or does not fit `DECIMAL(12,6)`.
    pub fn parse(text: &str) -> Result<Parsed, PriceError> {
        let shown = || text.chars().take(40).collect::<String>();
        let not_a_number = || PriceError::NotANumber(shown());
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| not_a_number())?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || (digits.contains('.') && fraction.is_empty()) || digits.len() > 64 {
            return Err(not_a_number());
        }
        let scale = exponent.saturating_add(6); // where the last kept digit stands, counted from the point
        let mut kept: i64 = 0;
        let mut tail = Tail::default();
        let whole_len = i32::try_from(whole.len()).map_err(|_| not_a_number())?;
        for (place, byte) in whole.bytes().chain(fraction.bytes()).enumerate() {
            let digit = i64::from(byte.checked_sub(b'0').filter(|d| *d <= 9).ok_or_else(not_a_number)?);
            let place = i32::try_from(place).map_err(|_| not_a_number())?;
            if place < whole_len.saturating_add(scale) {
                kept = kept
                    .checked_mul(10)
                    .and_then(|k| k.checked_add(digit))
                    .ok_or_else(|| PriceError::OutOfRange(shown()))?;
            } else {
                tail.push(digit, place == whole_len.saturating_add(scale));
            }
        }
        let written = i32::try_from(whole.len().saturating_add(fraction.len())).map_err(|_| not_a_number())?;
        for _ in written..whole_len.saturating_add(scale).min(64) {
            kept = kept.checked_mul(10).ok_or_else(|| PriceError::OutOfRange(shown()))?;
        }
        kept = kept.saturating_add(i64::from(tail.rounds_up(kept)));
        if kept > Self::MAX.0 {
            return Err(PriceError::OutOfRange(shown()));
        }
        Ok(Parsed {
            price: Self(if negative { -kept } else { kept }),
            rounded: tail.any,
        })
    }

    /// This price less another. Saturates.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Appends the exact decimal text (`4012.35`, no trailing zeros) to `out`, as JSON carries it.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        if self.0 < 0 {
            out.push(b'-');
        }
        let whole = self.0.unsigned_abs() / Self::UNIT.unsigned_abs();
        let mut fraction = self.0.unsigned_abs() % Self::UNIT.unsigned_abs();
        out.extend_from_slice(digits.format(whole).as_bytes());
        if fraction == 0 {
            return;
        }
        out.push(b'.');
        let mut unit = Self::UNIT.unsigned_abs() / 10;
        while fraction > 0 {
            out.push(b'0'.saturating_add(u8::try_from(fraction / unit).unwrap_or(9)));
            fraction %= unit;
            unit /= 10;
        }
    }
}

/// The digits beyond the last kept one.
#[derive(Default)]
struct Tail {
    first: i64,
    rest: bool,
    any: bool,
}

impl Tail {
    fn push(&mut self, digit: i64, first: bool) {
        if first {
            self.first = digit;
        } else {
            self.rest |= digit != 0;
        }
        self.any |= digit != 0;
    }

    /// Whether to round up: half to even, as decimal arithmetic standards do.
    const fn rounds_up(&self, kept: i64) -> bool {
        self.first > 5 || (self.first == 5 && (self.rest || kept % 2 == 1))
    }
}

impl FromStr for Price {
    type Err = PriceError;
    fn from_str(text: &str) -> Result<Self, PriceError> {
        Self::parse(text).map(|parsed| parsed.price)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(16);
        self.write_to(&mut text);
        f.pad(std::str::from_utf8(&text).unwrap_or("?"))
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Price {
    /// A JSON number with exact decimal text, never float noise.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::value::RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

/// Serializes a price as its millionths, exactly, inside the ledger's own records.
pub mod as_micros {
    use super::Price;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the millionths as a whole number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(price: &Price, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(price.micros())
    }

    /// Reads the millionths from a whole number.
    ///
    /// # Errors
    /// When the input is not a whole number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Price, D::Error> {
        i64::deserialize(deserializer).map(Price::from_micros)
    }
}

/// [`as_micros`] for a price that may be absent.
pub mod maybe_as_micros {
    use super::Price;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the millionths as a whole number, or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(price: &Option<Price>, serializer: S) -> Result<S::Ok, S::Error> {
        price.map(Price::micros).serialize(serializer)
    }

    /// Reads the millionths from a whole number, or null.
    ///
    /// # Errors
    /// When the input is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Price>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Price::from_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(text: &str) -> i64 {
        Price::parse(text).unwrap().price.micros()
    }

    #[test]
    fn reads_what_vendors_write() {
        assert_eq!(micros("4012.35"), 4_012_350_000);
        assert_eq!(micros("3270.26001"), 3_270_260_010);
        assert_eq!(micros("4.01235e3"), 4_012_350_000);
        assert_eq!(micros("401235E-2"), 4_012_350_000);
        assert_eq!(micros("4"), 4_000_000);
        assert_eq!(micros("0.000001"), 1);
        assert_eq!(micros("-1.5"), -1_500_000);
        assert_eq!(micros("0"), 0);
        assert_eq!(micros("1e-9"), 0);
    }

    #[test]
    fn rounds_half_to_even_once_and_says_so() {
        for (text, expect, rounded) in [
            ("3270.260009765625", 3_270_260_010, true),
            ("1.0000005", 1_000_000, true),
            ("1.0000015", 1_000_002, true),
            ("1.00000050000001", 1_000_001, true),
            ("1.0000000", 1_000_000, false),
            ("0.9999999", 1_000_000, true),
        ] {
            let parsed = Price::parse(text).unwrap();
            assert_eq!((parsed.price.micros(), parsed.rounded), (expect, rounded), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_number_and_what_does_not_fit() {
        for text in [
            "", "-", ".", "1.", ".5", "NaN", "inf", "1,5", "0x1", "1e", "1e1e1", "--1", "+1", "1 2", "١",
        ] {
            assert!(matches!(Price::parse(text), Err(PriceError::NotANumber(_))), "{text}");
        }
        for text in ["1000000", "1e6", "1e60", "99999999999999999999", "999999.9999999"] {
            assert!(matches!(Price::parse(text), Err(PriceError::OutOfRange(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_and_read_again_is_the_same(micros in -999_999_999_999_i64..=999_999_999_999) {
            let price = Price::from_micros(micros);
            prop_assert_eq!(Price::parse(&price.to_string()).unwrap(), Parsed { price, rounded: false });
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            drop(Price::parse(&text));
        }

        #[test]
        fn no_number_like_text_panics(text in "-?[0-9]{0,70}\\.?[0-9]{0,70}([eE]-?[0-9]{0,12})?") {
            drop(Price::parse(&text));
        }
    }
}
