//! Parquet files as answers: one page, or a whole range in a stream that holds one session in memory.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::protocol::frames;
use crate::limits;
use crate::store::{BarQuery, GapQuery, Store, StoreError, TickQuery};
use crate::web::rest::parquet::{self, ParquetFile, Prices};
use crate::web::shared::Thread;
use ::parquet::errors::ParquetError;
use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use std::pin::Pin;

/// Why a file cannot be completed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The rows cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They cannot be written.
    #[error("a Parquet file cannot be written: {0}")]
    Parquet(#[from] ParquetError),
}

/// A page that is being read, and whether more follow it.
type PageOf<R> = Pin<Box<dyn Future<Output = Result<(Vec<R>, bool), StoreError>>>>;

/// A query that is read page by page.
pub(super) trait Pages: Clone + 'static {
    /// What a page holds.
    type Row: 'static;

    /// The first page of all.
    fn first(self) -> Self;
    /// Reads a page.
    fn read(self, store: Store) -> PageOf<Self::Row>;
    /// The page after one that more follow and that ended with `last`.
    fn after(self, last: &Self::Row) -> Self;
    /// Of which pair, and of which stretch.
    fn stretch(&self) -> (Symbol, Timestamp, Timestamp);
    /// As of when.
    fn as_of(&self) -> Option<Timestamp>;
    /// The file.
    fn table(&self, zone: chrono_tz::Tz, prices: Prices) -> Result<ParquetFile<Self::Row>, ParquetError>;
}

impl Pages for BarQuery {
    type Row = crate::store::StoredBar;

    fn first(self) -> Self {
        Self {
            limit: limits::CSV_PAGE,
            latest: false,
            ..self
        }
    }

    fn read(self, store: Store) -> PageOf<Self::Row> {
        Box::pin(async move { store.bars_in_turn(self).await })
    }

    fn after(self, last: &Self::Row) -> Self {
        Self {
            cursor: Some(last.bar.key.opens_at),
            ..self
        }
    }

    fn stretch(&self) -> (Symbol, Timestamp, Timestamp) {
        (self.symbol, self.from, self.to)
    }

    fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    fn table(&self, zone: chrono_tz::Tz, prices: Prices) -> Result<ParquetFile<Self::Row>, ParquetError> {
        parquet::bars(self.interval, zone, prices)
    }
}

impl Pages for TickQuery {
    type Row = crate::store::StoredTick;

    fn first(self) -> Self {
        Self {
            limit: limits::CSV_PAGE,
            ..self
        }
    }

    fn read(self, store: Store) -> PageOf<Self::Row> {
        Box::pin(async move {
            let limit = self.limit;
            let ticks = store.read_ticks(self).await?;
            let more = u32::try_from(ticks.len()).is_ok_and(|ticks| ticks >= limit);
            Ok((ticks, more))
        })
    }

    fn after(self, last: &Self::Row) -> Self {
        Self {
            cursor: Some(last.place()),
            ..self
        }
    }

    fn stretch(&self) -> (Symbol, Timestamp, Timestamp) {
        (self.symbol, self.from, self.to)
    }

    fn as_of(&self) -> Option<Timestamp> {
        None
    }

    fn table(&self, zone: chrono_tz::Tz, prices: Prices) -> Result<ParquetFile<Self::Row>, ParquetError> {
        parquet::ticks(zone, prices)
    }
}

/// What a footer says of the rows.
async fn footer<Q: Pages>(
    asked: &Q,
    store: &Store,
    zones: &crate::domain::protocol::Zones,
) -> Result<Vec<(&'static str, String)>, StoreError> {
    let (symbol, from, to) = asked.stretch();
    let zone = zones.of(symbol);
    let gaps = GapQuery {
        symbol,
        from,
        to,
        status: None,
        cursor: None,
        limit: limits::REST_PAGE_MAX,
    };
    let gaps = store.read_gaps(gaps).await?;
    let gaps: Vec<serde_json::Value> = gaps
        .iter()
        .map(|gap: &crate::store::StoredGap| {
            serde_json::from_str(&frames::gap_json(zones, &gap.gap)).unwrap_or(serde_json::Value::Null)
        })
        .collect();
    let mut said = vec![
        ("symbol", symbol.to_string()),
        ("zone", zone.name().to_owned()),
        ("gaps", json!(gaps).to_string()),
    ];
    said.extend(asked.as_of().map(|as_of| ("as_of", as_of.rfc3339(zone))));
    Ok(said)
}

fn answer() -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(parquet::KIND)
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    answer
}

/// A file of these rows, which were read already.
pub(super) async fn page<Q: Pages>(
    thread: &Thread,
    store: &Store,
    asked: &Q,
    rows: Vec<Q::Row>,
    prices: Prices,
) -> Result<HttpResponse, FileError> {
    let zone = thread.zones.of(asked.stretch().0);
    let mut table = asked.table(zone, prices)?;
    let rows = table.push(rows)?;
    let rest = table.finish(footer(asked, store, &thread.zones).await?)?;
    Ok(answer().body([rows, rest].concat()))
}

/// A file of all rows of a stretch. A store that fails midway ends the connection: a file cut short has no footer.
pub(super) fn file<Q: Pages>(
    thread: &Thread,
    store: Store,
    asked: Q,
    prices: Prices,
) -> Result<HttpResponse, FileError> {
    let zones = thread.zones.clone();
    let asked = asked.first();
    let table = asked.table(zones.of(asked.stretch().0), prices)?;
    let pages = stream::try_unfold((Some((Some(asked.clone()), table)), store), move |(at, store)| {
        let zones = zones.clone();
        let asked = asked.clone();
        async move {
            let Some((mut next, mut table)) = at else {
                return Ok::<_, FileError>(None);
            };
            while let Some(page) = next.take() {
                let (rows, more) = page.clone().read(store.clone()).await?;
                next = rows.last().filter(|_| more).map(|last| page.after(last));
                let bytes = table.push(rows)?;
                if !bytes.is_empty() {
                    return Ok(Some((bytes, (Some((next, table)), store)))); // an empty chunk would end the answer
                }
            }
            let said = footer(&asked, &store, &zones).await?;
            let bytes: Bytes = table.finish(said)?;
            Ok(Some((bytes, (None, store))))
        }
    });
    let noted = futures_util::TryStreamExt::inspect_err(pages, |error: &FileError| {
        tracing::warn!(%error, "failed to write a file for a client");
    });
    Ok(answer().streaming(noted))
}
