//! Prices and instants as PostgreSQL sends them, without a detour through text or a decimal library.

use crate::domain::price::Price;
use crate::domain::timestamp::Timestamp;
use bytes::{BufMut, BytesMut};
use std::error::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const YEAR_2000_US: i64 = 946_684_800_000_000;
/// `numeric` is made of digits to the base of ten thousand; a price has two before the point and two after it at the most.
const BASE: u64 = 10_000;
/// The sign word of a negative `numeric`.
const NEGATIVE: u16 = 0x4000;

/// A price as `numeric`, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numeric(pub(super) Price);

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let micros = self.0.micros();
        let (whole, fraction) = (
            micros.unsigned_abs() / 1_000_000,
            micros.unsigned_abs() % 1_000_000 * 100,
        );
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

/// An instant as `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
