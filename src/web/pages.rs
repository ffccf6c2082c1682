//! Pages and documents that are compiled in: nothing here needs the network.

use crate::web::problem::Trouble;
use actix_web::HttpResponse;
use actix_web::http::header;

const DASHBOARD: &str = include_str!("assets/dashboard.html");
const DOCS: &str = include_str!("assets/docs.html");

/// `GET /`: the dashboard.
pub(super) async fn dashboard() -> Result<HttpResponse, Trouble> {
    Ok(page(DASHBOARD))
}

/// `GET /docs`: both documents for people.
pub(super) async fn docs() -> Result<HttpResponse, Trouble> {
    Ok(page(DOCS))
}

fn page(text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(text)
}
