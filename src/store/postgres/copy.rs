//! COPY in binary format: the fastest way into a table, for batches that catch up. It has no `ON CONFLICT`: a batch with a row that exists
//! is refused as a whole, and is then written by the statement that has.

use crate::domain::model::Price;
use crate::store::{
    rows::{SOURCE, TickRow},
    values::{Instant, Numeric},
};
use bytes::{BufMut, Bytes, BytesMut};
use chrono::NaiveDate;
use futures_util::SinkExt;
use std::pin::pin;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Statement};

/// The columns that [`encode_ticks`] fills, in its order.
pub(super) const COPY_TICKS: &str =
    "COPY realtime_market_data (symbol, time, bid, ask, last, spread, volume, session_date,
    trading_session, source, epoch, seq, event_time, provenance) FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 14;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: i16 = -1;
const NULL: i32 = -1;

/// Copies the rows; all of them or none.
pub(super) async fn copy_ticks(client: &Client, statement: &Statement, rows: &[TickRow]) -> Result<(), Error> {
    let mut sink = pin!(client.copy_in::<_, Bytes>(statement).await?);
    sink.send(encode_ticks(rows)).await?;
    sink.finish().await.map(drop)
}

fn encode_ticks(rows: &[TickRow]) -> Bytes {
    let mut out = BytesMut::with_capacity(rows.len().saturating_mul(200).saturating_add(32));
    out.put_slice(SIGNATURE);
    for row in rows {
        out.put_i16(COLUMNS);
        put_text(&mut out, &row.symbol);
        put_value(&mut out, &Instant(row.time), &Type::TIMESTAMPTZ);
        put_price(&mut out, row.bid);
        put_price(&mut out, row.ask);
        put_price(&mut out, Some(row.last));
        put_price(&mut out, row.spread());
        put_field(&mut out, &0_i32.to_be_bytes());
        put_field(&mut out, &days_since_2000(row.session_date).to_be_bytes());
        put_field(&mut out, &[1]);
        put_text(&mut out, SOURCE);
        put_text(&mut out, row.epoch.as_str());
        put_field(&mut out, &row.seq.to_be_bytes());
        put_value(&mut out, &Instant(row.event_time), &Type::TIMESTAMPTZ);
        put_text(&mut out, row.provenance);
    }
    out.put_i16(END);
    out.freeze()
}

fn put_field(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.put_slice(bytes);
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_field(out, text.as_bytes());
}

fn put_price(out: &mut BytesMut, price: Option<Price>) {
    match price {
        Some(price) => put_value(out, &Numeric(price), &Type::NUMERIC),
        None => out.put_i32(NULL),
    }
}

/// Writes a value in its binary form, after its length.
fn put_value(out: &mut BytesMut, value: &impl ToSql, kind: &Type) {
    let mut bytes = BytesMut::with_capacity(24);
    match value.to_sql(kind, &mut bytes) {
        Ok(_) => put_field(out, &bytes),
        Err(_) => out.put_i32(NULL), // ours cannot fail: their sizes are fixed
    }
}

/// Days since 2000-01-01.
fn days_since_2000(date: NaiveDate) -> i32 {
    let since_1970 = date.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(since_1970.saturating_sub(10_957)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_year_2000() {
        for (date, expect) in [("2000-01-01", 0), ("1999-12-31", -1), ("2025-10-22", 9_426)] {
            assert_eq!(days_since_2000(date.parse().unwrap()), expect, "{date}");
        }
    }
}
