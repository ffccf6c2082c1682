//! `/market/certificates`: what the bars of each finished session are, and where they came from.

use crate::domain::protocol::frames;
use crate::limits;
use crate::store::{CertificateQuery, StoredCertificate};
use crate::web::rest::history::{failed, page, store};
use crate::web::shared::{EVER, HttpError, Query, Thread, query::wrong};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

/// `GET /market/certificates`.
pub(crate) async fn certificates(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let query = Query::of(&request, &["symbol", "from", "to", "cursor", "limit"])?;
    let symbol = query.symbol(&thread)?;
    let zone = thread.zones.of(symbol);
    let from = query.date("from")?.unwrap_or_else(|| EVER.0.datetime().date_naive());
    let to = query.date("to")?.unwrap_or_else(|| EVER.1.datetime().date_naive());
    if to < from {
        return Err(wrong("to", &to.to_string(), "a date at or after from"));
    }
    let limit = query.number("limit", limits::REST_PAGE, limits::REST_PAGE_MAX)?;
    let asked = CertificateQuery {
        symbol,
        from,
        to,
        cursor: query.certificate_place("cursor")?,
        limit,
    };
    let found = store(&thread)?.read_certificates(asked).await;
    let found = found.map_err(|error| failed(&error))?;
    let whole_page = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found.last().filter(|_| whole_page).map(|last| last.place().to_string());
    let certificates: Vec<Value> = found
        .iter()
        .map(|stored: &StoredCertificate| {
            let mut shown = frames::certificate_json(&thread.zones, &stored.certificate);
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("issued_at".to_owned(), json!(stored.told_at.rfc3339(zone)));
            }
            shown
        })
        .collect();
    page(
        &request,
        &json!({"symbol": symbol.as_str(), "count": certificates.len(), "certificates": certificates, "next_cursor": next}),
    )
}
