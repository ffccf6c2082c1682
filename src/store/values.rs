//! Values as the columns of both stores hold them: PostgreSQL has `numeric`, `timestamptz` and `date`, SQLite whole numbers (millionths and
//! microseconds) and texts. Converted without a detour through text or a decimal library.
//!
//! A table that others created may hold a number in another type than candela would choose, so values from PostgreSQL are read by the type
//! that the server reports, not by the one in `src/schema`.

use crate::domain::model::{Price, Timestamp};
use bytes::{BufMut, BytesMut};
use chrono::NaiveDate;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output};
use diesel::sql_types::{BigInt, Date, Integer, Numeric as NumericType, SmallInt, Text, Timestamptz};
use diesel::sqlite::Sqlite;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Microseconds from 1970 to 2000, where PostgreSQL's instants begin.
const YEAR_2000_US: i64 = 946_684_800_000_000;
/// The base of the digits of `numeric`. A price of `DECIMAL(12,6)` has at most two digits before the point and two after it.
const BASE: u64 = 10_000;
/// The sign word of a negative `numeric`.
const NEGATIVE: u16 = 0x4000;

/// A price, exact: `numeric`, or millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromSqlRow)]
pub(super) struct Numeric(pub(super) Price);

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let micros = self.0.micros();
        let whole = micros.unsigned_abs() / 1_000_000;
        let fraction = micros.unsigned_abs() % 1_000_000 * 100;
        let digits = [
            whole / (BASE * BASE),
            whole / BASE % BASE,
            whole % BASE,
            fraction / BASE,
            fraction % BASE,
        ];
        let first = digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len());
        let last = digits
            .iter()
            .rposition(|digit| *digit != 0)
            .map_or(first, |last| last.saturating_add(1));
        let kept = digits.get(first..last).unwrap_or_default();
        out.put_i16(i16::try_from(kept.len())?);
        out.put_i16(2_i16.saturating_sub(i16::try_from(first)?)); // the power of the base that the first digit counts
        out.put_u16(if micros < 0 { NEGATIVE } else { 0 });
        out.put_i16(6);
        for digit in kept {
            out.put_u16(u16::try_from(*digit)?);
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }

    to_sql_checked!();
}

/// An instant: `timestamptz`, or microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = Timestamptz)]
#[diesel(sql_type = BigInt)]
pub(super) struct Instant(pub(super) Timestamp);

impl ToSql for Instant {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0.micros().saturating_sub(YEAR_2000_US));
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// A whole number, however many bytes its column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromSqlRow)]
pub(super) struct Whole(pub(super) i64);

/// A day: `date`, or `2025-10-22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromSqlRow)]
pub(super) struct Day(pub(super) NaiveDate);

/// Reads SQLite's columns, and PostgreSQL's columns that a statement written by hand converted: millionths, microseconds, numbers.
macro_rules! from_big_int {
    ($value:ident, $of:expr) => {
        impl<DB: Backend> FromSql<BigInt, DB> for $value
        where
            i64: FromSql<BigInt, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
                <i64 as FromSql<BigInt, DB>>::from_sql(bytes).map($of)
            }
        }
    };
}

from_big_int!(Numeric, |micros| Self(Price::from_micros(micros)));
from_big_int!(Instant, |micros| Self(Timestamp::from_micros(micros)));

impl FromSql<NumericType, Pg> for Numeric {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        decimal_from_bytes(value.as_bytes(), 6).map(|micros| Self(Price::from_micros(micros)))
    }
}

impl FromSql<Timestamptz, Pg> for Instant {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let since_2000 = i64::from_be_bytes(value.as_bytes().try_into()?);
        let micros = since_2000.saturating_add(YEAR_2000_US);
        Ok(Self(Timestamp::from_micros(micros)))
    }
}

impl serialize::ToSql<Timestamptz, Pg> for Instant {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let since_2000 = self.0.micros().saturating_sub(YEAR_2000_US);
        std::io::Write::write_all(out, &since_2000.to_be_bytes())?;
        Ok(serialize::IsNull::No)
    }
}

impl serialize::ToSql<BigInt, Sqlite> for Instant {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.micros());
        Ok(serialize::IsNull::No)
    }
}

/// A macro, because each width of PostgreSQL's integers is a type of its own.
macro_rules! from_whole {
    ($kind:ty) => {
        impl FromSql<$kind, Pg> for Whole {
            fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
                let bytes = value.as_bytes();
                if value.get_oid().get() == Type::NUMERIC.oid() {
                    return decimal_from_bytes(bytes, 0).map(Self);
                }
                let number = match bytes.len() {
                    2 => i64::from(i16::from_be_bytes(bytes.try_into()?)),
                    4 => i64::from(i32::from_be_bytes(bytes.try_into()?)),
                    _ => i64::from_be_bytes(bytes.try_into()?),
                };
                Ok(Self(number))
            }
        }
    };
}

from_whole!(SmallInt);
from_whole!(Integer);
from_whole!(BigInt);

impl FromSql<BigInt, Sqlite> for Whole {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <i64 as FromSql<BigInt, Sqlite>>::from_sql(value).map(Self)
    }
}

impl<DB: Backend> FromSql<Date, DB> for Day
where
    NaiveDate: FromSql<Date, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        <NaiveDate as FromSql<Date, DB>>::from_sql(value).map(Self)
    }
}

impl<DB: Backend> FromSql<Text, DB> for Day
where
    String: FromSql<Text, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, DB>>::from_sql(value)?;
        let date = text.parse().map_err(|_| format!("{text:?} is not a date"))?;
        Ok(Self(date))
    }
}

/// How many prices of the database had more than six decimals and were rounded when read.
static ROUNDED: AtomicU64 = AtomicU64::new(0);

/// How many prices of the database had more than six decimals and were rounded when read, since the process started.
pub fn rounded_reads() -> u64 {
    ROUNDED.load(Ordering::Relaxed)
}

/// Reads a `numeric` in units of ten to the minus `places`; smaller digits are rounded, as the server does.
fn decimal_from_bytes(bytes: &[u8], places: u32) -> deserialize::Result<i64> {
    /// Decimals that are read: three digits of base ten thousand.
    const KEPT: u32 = 12;
    let mut words = bytes.as_chunks::<2>().0.iter().map(|word| i16::from_be_bytes(*word));
    let [Some(_), Some(weight), Some(sign), Some(_)] = std::array::from_fn(|_| words.next()) else {
        return Err("a number is cut off".into());
    };
    let negative = match u16::from_be_bytes(sign.to_be_bytes()) {
        0 => false,
        NEGATIVE => true,
        _ => return Err("it is not a number".into()),
    };
    let mut total = 0_i128;
    let kept = usize::try_from(weight.saturating_add(4)).unwrap_or(0);
    let mut finer = false;
    for (index, (digit, power)) in words.zip((i16::MIN..=weight).rev()).enumerate() {
        if index >= kept {
            finer |= digit != 0;
            continue;
        }
        let power = u32::try_from(i32::from(power) * 4 + 12)?;
        let part = 10_i128
            .checked_pow(power)
            .and_then(|unit| unit.checked_mul(i128::from(digit)));
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or("a number is too large")?;
    }
    let unit = 10_i128.pow(KEPT.saturating_sub(places));
    if places > 0 && (total % unit != 0 || finer) {
        ROUNDED.fetch_add(1, Ordering::Relaxed);
    }
    let rounded = i64::try_from((total + unit / 2) / unit)?;
    Ok(if negative { -rounded } else { rounded })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(micros: i64) -> Vec<i16> {
        let mut out = BytesMut::new();
        Numeric(Price::from_micros(micros))
            .to_sql(&Type::NUMERIC, &mut out)
            .unwrap();
        out.chunks(2)
            .map(|word| i16::from_be_bytes([word[0], word[1]]))
            .collect()
    }

    #[test]
    fn a_number_is_read_as_the_server_rounds_it() {
        let bytes = |words: &[i16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        for (words, micros, whole) in [
            (vec![0, 0, 0, 0], 0, 0),
            (vec![2, 0, 0, 6, 4012, 3500], 4_012_350_000, 4012),
            (vec![2, 0, 0x4000, 6, 4012, 3500], -4_012_350_000, -4012),
            (vec![1, 1, 0, 0, 1], 10_000_000_000, 10_000),
            (vec![1, -2, 0, 6, 100], 1, 0),
            (vec![1, -2, 0, 7, 50], 1, 0),
            (vec![1, -2, 0, 8, 49], 0, 0),
            (vec![5, 0, 0, 16, 1, 5000, 0, 0, 9], 1_500_000, 2),
        ] {
            let bytes = bytes(&words);
            assert_eq!(decimal_from_bytes(&bytes, 6).unwrap(), micros, "{words:?}");
            assert_eq!(decimal_from_bytes(&bytes, 0).unwrap(), whole, "{words:?}");
        }
        let before = rounded_reads();
        for words in [
            vec![1, -2, 0, 7, 50],
            vec![5, 0, 0, 16, 1, 5000, 0, 0, 9],
            vec![5, 0, 0, 20, 1, 0, 0, 0, 9],
        ] {
            decimal_from_bytes(&bytes(&words), 6).unwrap();
        }
        decimal_from_bytes(&bytes(&[2, 0, 0, 6, 4012, 3500]), 6).unwrap();
        assert_eq!(rounded_reads() - before, 3, "what is rounded is counted");
        assert!(decimal_from_bytes(&bytes(&[0, 0, -0x4000, 0]), 6).is_err(), "NaN");
        assert!(decimal_from_bytes(&bytes(&[1, 12, 0, 0, 1]), 6).is_err(), "too large");
        assert!(decimal_from_bytes(&[0, 1], 6).is_err(), "cut off");
    }

    #[test]
    fn a_price_is_written_as_the_server_would_write_it() {
        for (micros, expect) in [
            (0, vec![0, -3, 0, 6]),
            (1, vec![1, -2, 0, 6, 100]),
            (4_012_350_000, vec![2, 0, 0, 6, 4012, 3500]),
            (-4_012_350_000, vec![2, 0, 0x4000, 6, 4012, 3500]),
            (10_000_000_000, vec![1, 1, 0, 6, 1]),
            (999_999_999_999, vec![4, 1, 0, 6, 99, 9999, 9999, 9900]),
        ] {
            assert_eq!(words(micros), expect, "{micros}");
        }
    }
}
