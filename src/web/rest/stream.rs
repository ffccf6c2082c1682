//! Parquet files as responses: one page, or a whole range in a stream that holds one session in memory.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::protocol::{Zones, frames};
use crate::limits;
use crate::store::{BarQuery, BarTable, GapQuery, Store, StoreError, StoredTick, TickQuery};
use crate::web::rest::parquet::{self, BarFileWriter, Prices, TickFileWriter};
use crate::web::shared::{BarHistory, FileThreadEnded, Thread};
use ::parquet::errors::ParquetError;
use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};
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
    /// Its thread ended.
    #[error(transparent)]
    Ended(#[from] FileThreadEnded),
}

/// A page, and the query of the next page if more may follow.
type PageOf<Q> = Pin<Box<dyn Future<Output = Result<(<Q as Pages>::Rows, Option<Q>), StoreError>>>>;

/// A query that is read page by page, and the file that it is written to.
pub(super) trait Pages: Clone + Send + 'static {
    /// A page.
    type Rows: Default + 'static;
    /// The file.
    type File: Send + 'static;

    /// The query of the first page.
    fn first(self) -> Self;
    /// Reads a page, into the memory of an earlier page that was written.
    fn read(self, history: BarHistory, into: Self::Rows) -> PageOf<Self>;
    /// The pair, and the stretch.
    fn stretch(&self) -> (Symbol, Timestamp, Timestamp);
    /// The instant that the rows are as of.
    fn as_of(&self) -> Option<Timestamp>;
    /// Begins the file.
    fn begin(&self, zone: chrono_tz::Tz, prices: Prices) -> Result<Self::File, ParquetError>;
    /// Adds a page to the file, and returns the bytes that are complete.
    fn push(file: &mut Self::File, rows: &Self::Rows) -> Result<Bytes, ParquetError>;
    /// The rest of the file.
    fn finish(file: &mut Self::File, said: Vec<(&str, String)>) -> Result<Bytes, ParquetError>;
}

impl Pages for BarQuery {
    type Rows = BarTable;
    type File = BarFileWriter;

    fn first(self) -> Self {
        Self {
            limit: limits::CSV_PAGE, // the first bytes are soon there
            latest: false,
            ..self
        }
    }

    fn read(self, history: BarHistory, mut into: BarTable) -> PageOf<Self> {
        Box::pin(async move {
            into.reserve(usize::try_from(limits::PARQUET_PAGE).unwrap_or_default());
            let (bars, more) = history.read_columns(self.clone(), into).await?;
            let last = bars.opens_at.last().filter(|_| more).copied();
            let next = last.map(|last| Self {
                cursor: Some(Timestamp::from_micros(last)),
                limit: limits::PARQUET_PAGE,
                ..self
            });
            Ok((bars, next))
        })
    }

    fn stretch(&self) -> (Symbol, Timestamp, Timestamp) {
        (self.symbol, self.from, self.to)
    }

    fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    fn begin(&self, _: chrono_tz::Tz, prices: Prices) -> Result<BarFileWriter, ParquetError> {
        BarFileWriter::new(self.symbol, self.interval, prices)
    }

    fn push(file: &mut BarFileWriter, rows: &BarTable) -> Result<Bytes, ParquetError> {
        file.push(rows)
    }

    fn finish(file: &mut BarFileWriter, said: Vec<(&str, String)>) -> Result<Bytes, ParquetError> {
        file.finish(said)
    }
}

impl Pages for TickQuery {
    type Rows = Vec<StoredTick>;
    type File = TickFileWriter;

    fn first(self) -> Self {
        Self {
            limit: limits::CSV_PAGE,
            ..self
        }
    }

    fn read(self, history: BarHistory, _: Vec<StoredTick>) -> PageOf<Self> {
        Box::pin(async move {
            let ticks = history.store.read_ticks(self.clone()).await?;
            let more = u32::try_from(ticks.len()).is_ok_and(|ticks| ticks >= self.limit);
            let next = ticks.last().filter(|_| more).map(|last| Self {
                cursor: Some(last.place()),
                ..self
            });
            Ok((ticks, next))
        })
    }

    fn stretch(&self) -> (Symbol, Timestamp, Timestamp) {
        (self.symbol, self.from, self.to)
    }

    fn as_of(&self) -> Option<Timestamp> {
        None
    }

    fn begin(&self, zone: chrono_tz::Tz, prices: Prices) -> Result<TickFileWriter, ParquetError> {
        TickFileWriter::new(zone, prices)
    }

    fn push(file: &mut TickFileWriter, rows: &Vec<StoredTick>) -> Result<Bytes, ParquetError> {
        file.push(rows)
    }

    fn finish(file: &mut TickFileWriter, said: Vec<(&str, String)>) -> Result<Bytes, ParquetError> {
        file.finish(said)
    }
}

/// What a footer says about the rows.
async fn footer<Q: Pages>(asked: &Q, store: &Store, zones: &Zones) -> Result<Vec<(&'static str, String)>, StoreError> {
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
    rows: Q::Rows,
    prices: Prices,
) -> Result<HttpResponse, FileError> {
    let zone = thread.zones.of(asked.stretch().0);
    let mut file = asked.begin(zone, prices)?;
    let rows = Q::push(&mut file, &rows)?;
    let rest = Q::finish(&mut file, footer(asked, store, &thread.zones).await?)?;
    Ok(answer().body([rows, rest].concat()))
}

/// A file of all rows of a stretch. If the store fails midway the connection ends: a truncated file has no footer.
pub(super) fn file<Q: Pages>(
    thread: &Thread,
    history: BarHistory,
    asked: Q,
    prices: Prices,
) -> Result<HttpResponse, FileError> {
    let zones = thread.zones.clone();
    let asked = asked.first();
    let file = asked.begin(zones.of(asked.stretch().0), prices)?;
    let pages = thread
        .common
        .files
        .make_file(move || pages(zones, history, asked, file));
    Ok(answer().streaming(pages))
}

/// The bytes of a file, a page of rows at a time.
fn pages<Q: Pages>(
    zones: Zones,
    history: BarHistory,
    asked: Q,
    file: Q::File,
) -> impl Stream<Item = Result<Bytes, FileError>> {
    let begun = (Some(asked.clone()), file, Q::Rows::default());
    let pages = stream::try_unfold((Some(begun), history), move |(at, history)| {
        let zones = zones.clone();
        let asked = asked.clone();
        async move {
            let Some((mut next, mut file, mut rows)) = at else {
                return Ok::<_, FileError>(None);
            };
            while let Some(page) = next.take() {
                (rows, next) = page.read(history.clone(), rows).await?;
                let bytes = Q::push(&mut file, &rows)?;
                if !bytes.is_empty() {
                    return Ok(Some((bytes, (Some((next, file, rows)), history)))); // an empty chunk would end the answer
                }
            }
            let said = footer(&asked, &history.store, &zones).await?;
            let bytes = Q::finish(&mut file, said)?;
            Ok(Some((bytes, (None, history))))
        }
    });
    pages.inspect_err(|error: &FileError| tracing::warn!(%error, "failed to write a file for a client"))
}
