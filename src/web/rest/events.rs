//! `/status/events` and `/status/explain`: the journal, from the ledger as far back as it reaches, and from the store before that.

use crate::domain::model::{JournalQuery, PlacedEntry, ServiceEventKind, Symbol, Timestamp};
use crate::domain::protocol::{Zones, frames};
use crate::domain::status::{Explanation, unwritten_conditions};
use crate::ledger::LedgerError;
use crate::limits;
use crate::web::rest::history::page;
use crate::web::shared::{HttpError, Query, Thread, query::wrong};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// `GET /status/events`: the last day by default, in the order of writing.
pub(crate) async fn events(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let query = Query::of(&request, &["from", "to", "type", "symbol", "cursor", "limit"])?;
    let symbol = one_symbol(&thread, &query)?;
    let zone = symbol.map_or_else(|| thread.zones.first(), |symbol| thread.zones.of(symbol));
    let (from, to) = query.stretch(zone)?;
    let limit = query.number("limit", limits::REST_PAGE, limits::REST_PAGE_MAX)?;
    let kind = kind(&query)?;
    let to = to.unwrap_or_else(|| thread.registry.clock().now() + DAY);
    let from = from.unwrap_or(to - DAY * 2);
    let days = to.since(from).as_secs().div_ceil(DAY.as_secs());
    if days > limits::JOURNAL_DAYS {
        let most = limits::JOURNAL_DAYS;
        let detail =
            format!("from and to are {days} days apart, and one request may span at most {most}: send several");
        return Err(HttpError::bad_request(detail));
    }
    let asked = JournalQuery {
        from,
        to,
        kind,
        symbol,
        after: query.journal_place("cursor")?,
        limit,
    };
    let FoundEntries { entries: found, lacks } = read(&thread, asked).await?;
    let whole_page = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found.last().filter(|_| whole_page).map(|last| last.place.to_string());
    let open = found
        .iter()
        .filter(|placed| placed.entry.symbol.is_none_or(|symbol| query.may(symbol)));
    let events: Vec<Box<RawValue>> = open.filter_map(|placed| shown(&thread.zones, placed)).collect();
    page(
        &request,
        &json!({"count": events.len(), "events": events, "next_cursor": next, "lacks_before": lacks.map(|at| at.rfc3339(zone))}),
    )
}

/// `GET /status/explain`: why the service is, or was, in its state.
pub(crate) async fn explain(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    #[derive(Serialize)]
    struct Shown {
        at: String,
        symbol: Option<Symbol>,
        #[serde(flatten)]
        explanation: Explanation,
    }
    let thread = Thread::of(&request)?;
    let query = Query::of(&request, &["symbol", "at"])?;
    let symbol = one_symbol(&thread, &query)?;
    let zone = symbol.map_or_else(|| thread.zones.first(), |symbol| thread.zones.of(symbol));
    let now = thread.registry.clock().now();
    let at = query.instant("at", zone)?.unwrap_or(now);
    let asked = JournalQuery {
        from: at - limits::EXPLAINED,
        to: at + DAY, // an entry may be written down later than it happened
        kind: None,
        symbol,
        after: None,
        limit: limits::EXPLAINED_ENTRIES,
    };
    let FoundEntries {
        entries: mut found,
        lacks,
    } = read(&thread, asked).await?;
    found.retain(|placed| placed.entry.symbol.is_none_or(|symbol| query.may(symbol)));
    if query.text("at").is_none() {
        let mut held = thread.view().conditions.clone();
        held.retain(|one| symbol.is_none() || one.symbol.is_none() || one.symbol == symbol);
        held.retain(|one| one.symbol.is_none_or(|symbol| query.may(symbol)));
        found.extend(unwritten_conditions(&found, &held));
    }
    let mut explanation = Explanation::of(&found, symbol, at, zone);
    if let Some(lacks) = lacks {
        let lacks = lacks.rfc3339(zone);
        let sentence =
            format!("Entries of the journal from before {lacks} are in the database, which cannot be read now.");
        explanation.sentences.push(sentence);
    }
    let at = at.rfc3339(zone);
    page(
        &request,
        &Shown {
            at,
            symbol,
            explanation,
        },
    )
}

/// `symbol`, if given. Entries of the whole service belong to no pair.
fn one_symbol(thread: &Thread, query: &Query) -> Result<Option<Symbol>, HttpError> {
    query.text("symbol").map(|_| query.symbol(thread)).transpose()
}

fn kind(query: &Query) -> Result<Option<ServiceEventKind>, HttpError> {
    let Some(text) = query.text("type") else {
        return Ok(None);
    };
    let names: Vec<&str> = ServiceEventKind::ALL.iter().map(|kind| kind.name()).collect();
    let found = ServiceEventKind::named(text);
    found
        .map(Some)
        .ok_or_else(|| wrong("type", text, &format!("one of {}", names.join(", "))))
}

fn shown(zones: &Zones, placed: &PlacedEntry) -> Option<Box<RawValue>> {
    RawValue::from_string(frames::journal_json(zones, placed.place.position, &placed.entry)).ok()
}

/// Entries of the journal.
struct FoundEntries {
    entries: Vec<PlacedEntry>,
    /// Where they begin, if the store could not be read for the entries before.
    lacks: Option<Timestamp>,
}

/// Reads the journal: entries that the ledger no longer keeps come from the store. If the store cannot be read, the ledger's entries are
/// returned alone: they say why it is away.
async fn read(thread: &Thread, query: JournalQuery) -> Result<FoundEntries, HttpError> {
    let begins = from_ledger(thread, |ledger| ledger.journal_begins()).await?;
    let begins = begins.flatten().unwrap_or(query.to).max(query.from).min(query.to);
    let mut entries = Vec::new();
    let mut lacks = None;
    if query.from < begins && query.after.is_none_or(|after| after.at < begins) {
        let older = JournalQuery {
            to: begins,
            ..query.clone()
        };
        match from_store(thread, older).await {
            Ok(found) => entries = found,
            Err(error) if begins >= query.to || query.after.is_some() => return Err(error),
            Err(_) => lacks = Some(begins),
        }
    }
    let room = query
        .limit
        .saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    if room > 0 {
        let rest = JournalQuery {
            from: begins,
            limit: room,
            ..query
        };
        let kept = from_ledger(thread, move |ledger| ledger.read_journal(&rest)).await?;
        entries.extend(kept.unwrap_or_default());
    }
    Ok(FoundEntries { entries, lacks })
}

async fn from_store(thread: &Thread, query: JournalQuery) -> Result<Vec<PlacedEntry>, HttpError> {
    let Some(store) = thread.common.store.clone() else {
        return Ok(Vec::new());
    };
    store.read_journal(query).await.map_err(|error| {
        tracing::warn!(%error, "failed to read the journal from the store for a client");
        let detail = "the database cannot be read now, and the ledger does not reach so far back: give a later from";
        HttpError::unavailable("store_unreachable", detail)
    })
}

/// Reads the ledger on a blocking thread; one query at a time.
pub(super) async fn from_ledger<T: Send + 'static>(
    thread: &Thread,
    read: impl FnOnce(&mut crate::ledger::LedgerReader) -> Result<T, LedgerError> + Send + 'static,
) -> Result<Option<T>, HttpError> {
    let Some(journal) = thread.common.journal.as_ref().map(Arc::clone) else {
        return Ok(None);
    };
    let answer = actix_web::web::block(move || read(&mut journal.lock().unwrap_or_else(PoisonError::into_inner)));
    match answer.await {
        Ok(Ok(found)) => return Ok(Some(found)),
        Ok(Err(error)) => tracing::warn!(%error, "failed to read the journal from the ledger for a client"),
        Err(_) => {} // the thread pool is shut down
    }
    Err(HttpError::unavailable(
        "ledger_unreadable",
        "the ledger cannot be read now",
    ))
}
