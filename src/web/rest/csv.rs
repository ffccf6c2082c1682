//! Bars as comma-separated values: one page, or all of them in a stream that holds one page in memory.

use crate::domain::protocol::Zones;
use crate::limits;
use crate::store::{BarQuery, StoredBar};
use crate::web::rest::stream::FileError;
use crate::web::shared::{BarHistory, Thread};
use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use futures_util::{Stream, stream};

/// The content type.
pub(super) const KIND: &str = "text/csv; charset=utf-8";

const HEAD: &str =
    "symbol,interval,open_time,close_time,open,high,low,close,volume,ticks,state,revision,provenance,flags,source\n";

/// One page, with a header line.
pub(crate) fn page(zones: &Zones, bars: &[StoredBar]) -> String {
    let mut text = String::from(HEAD);
    bars.iter().for_each(|bar| line(&mut text, zones, bar));
    text
}

/// All bars of a stretch. If the store fails midway the connection ends: a truncated stream must not look complete.
pub(crate) fn stream(thread: &Thread, history: BarHistory, asked: BarQuery) -> HttpResponse {
    let first = BarQuery {
        limit: limits::CSV_PAGE,
        latest: false,
        ..asked
    };
    let zones = thread.zones.clone();
    HttpResponse::Ok()
        .content_type(KIND)
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .streaming(thread.common.files.make_file(move || pages(zones, history, first)))
}

fn pages(zones: Zones, history: BarHistory, first: BarQuery) -> impl Stream<Item = Result<Bytes, FileError>> {
    stream::try_unfold(Some((first, true)), move |at| {
        let history = history.clone();
        let zones = zones.clone();
        async move {
            let Some((asked, begins)) = at else {
                return Ok::<_, FileError>(None);
            };
            let (found, more) = history.read_page(asked.clone()).await.inspect_err(|error| {
                tracing::warn!(%error, "failed to read the store for a client");
            })?;
            let mut text = if begins { HEAD.to_owned() } else { String::new() };
            found.iter().for_each(|bar| line(&mut text, &zones, bar));
            let next = found.last().filter(|_| more).map(|last| BarQuery {
                cursor: Some(last.bar.key.opens_at),
                ..asked
            });
            Ok(Some((Bytes::from(text), next.map(|next| (next, false)))))
        }
    })
}

fn line(text: &mut String, zones: &Zones, stored: &StoredBar) {
    let bar = &stored.bar;
    let zone = zones.of(bar.key.symbol);
    let flags: Vec<&str> = bar.flags.names().collect();
    let source = stored.source.replace(['"', ',', '\n', '\r'], " ");
    let line = format!(
        "{},{},{},{},{},{},{},{},,{},{},{},{},{},{source}\n",
        bar.key.symbol,
        bar.key.interval,
        bar.key.opens_at.rfc3339(zone),
        bar.closes_at.rfc3339(zone),
        bar.ohlc.open,
        bar.ohlc.high,
        bar.ohlc.low,
        bar.ohlc.close,
        bar.ticks,
        bar.state.name(),
        bar.revision,
        bar.provenance.name(),
        flags.join("|"),
    );
    text.push_str(&line);
}
