//! `/cluster/parcels`: parcels of this node's ledger, for a node that was away for longer than the cluster log reaches.

use crate::limits;
use crate::web::rest::events::from_ledger;
use crate::web::shared::{
    HttpError, Thread,
    query::{Query, wrong},
};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

/// `GET /cluster/parcels?from=4712`: parcels from that number on, as many as one answer holds; none where this node has no more. Whoever reads
/// them reads everything, so a token must allow every pair.
pub(crate) async fn parcels(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let query = Query::of(&request, &["from"])?;
    if !thread.common.symbols.iter().all(|symbol| query.may(*symbol)) {
        let detail = "parcels hold every pair, and this token does not allow every pair";
        return Err(HttpError::forbidden(detail));
    }
    let text = query.text("from").unwrap_or_default();
    let from: u64 = text
        .parse()
        .map_err(|_| wrong("from", text, "the number of a parcel, such as 4712"))?;
    let found = from_ledger(&thread, move |ledger| {
        let told = ledger.head().0;
        let mut parcels = ledger.read_parcels(from, limits::CLUSTER_READ)?;
        parcels.retain(|parcel| parcel.last <= told);
        Ok(parcels)
    });
    let mut body = Vec::new();
    for parcel in found.await?.unwrap_or_default() {
        parcel.write_to(&mut body);
    }
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body))
}

#[cfg(test)]
mod tests {
    use crate::web::tests::stage::Stage;

    #[actix_rt::test]
    async fn a_node_without_parcels_has_none_and_a_number_that_is_none_is_refused() {
        let stage = Stage::new();
        for (path, code) in [
            ("/cluster/parcels?from=1", "200"),
            ("/cluster/parcels", "400"),
            ("/cluster/parcels?from=-1", "400"),
            ("/cluster/parcels?since=1", "400"),
        ] {
            let (status, _) = stage.get(path).await;
            assert!(status.contains(code), "{path}: {status}");
        }
    }
}
