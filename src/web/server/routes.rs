//! Every route, on one page.

use crate::domain::model::Symbol;
use crate::limits;
use crate::web::admin::actions;
use crate::web::api_docs::{asyncapi, openapi};
use crate::web::rest::{certificates, events, health, history, market, metrics, pages, parcels, runbooks, status};
#[cfg(feature = "test-hooks")]
use crate::web::server::test_routes;
use crate::web::shared::{
    HttpError, Thread, layers,
    query::{twice, unknown},
};
use crate::web::sse;
use crate::web::td;
use crate::web::udf::{feed, openbb};
use crate::web::ws::{Plan, admit};
use actix_web::dev::Handler;
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Resource, Responder, ResponseError, web};

/// Registers the routes.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(open("/ws", ws_all))
        .service(open("/ws/{symbol:.*}", ws_symbol))
        .service(open("/sse", sse::events))
        .service(open("/td/quotes/price", td_stream))
        .service(open("/td/v1/quotes/price", td_stream)) // its path at the vendor's
        .service(open("/td/{method:.*}", td_method))
        .service(open("/", pages::dashboard))
        .service(open("/docs", pages::docs))
        .service(open("/assets/{name:.*}", pages::asset))
        .service(open("/runbooks", runbooks::runbooks))
        .service(open("/openapi.json", openapi::openapi))
        .service(open("/asyncapi.json", asyncapi::asyncapi))
        .service(open("/health", health::health))
        .service(open("/health/live", health::live))
        .service(open("/health/ready", health::ready));
    #[cfg(feature = "test-hooks")]
    config
        .route("/test/panic/{actor}", web::post().to(test_routes::panic))
        .route("/test/hang/{actor}", web::post().to(test_routes::hang))
        .route("/test/echo", web::get().to(test_routes::echo));
    config.service(
        web::scope("")
            .wrap(from_fn(layers::authorize))
            .wrap(Compress::default())
            .wrap(from_fn(layers::may_be_compressed))
            .service(open("/status", status::status))
            .service(open("/status/events", events::events))
            .service(open("/status/explain", events::explain))
            .service(open("/cluster/parcels", parcels::parcels))
            .service(open("/metrics", metrics::metrics))
            .service(open("/market/latest", market::latest))
            .service(open("/market/session", market::session))
            .service(open("/market/bars", history::bars))
            .service(open("/market/ticks", history::ticks))
            .service(open("/market/gaps", history::gaps))
            .service(open("/market/certificates", certificates::certificates))
            .service(open("/market/symbols", history::symbols))
            .service(open("/market/calendar", history::calendar))
            .service(open("/widgets.json", openbb::widgets))
            .service(open("/apps.json", openbb::apps))
            .service(open("/udf/config", feed::config))
            .service(open("/udf/time", feed::time))
            .service(open("/udf/search", feed::search))
            .service(open("/udf/symbols", feed::symbols))
            .service(open("/udf/history", feed::history))
            .service(open("/udf/marks", feed::marks))
            .service(open("/udf/timescale_marks", feed::timescale_marks))
            .service(open("/udf/quotes", feed::quotes))
            .service(open("/admin", actions::allowed))
            .service(open("/admin/clients", actions::clients))
            .service(
                web::resource("/admin/{action}")
                    .app_data(web::PayloadConfig::new(limits::ACTION_BYTES))
                    .route(web::post().to(actions::run))
                    .default_service(web::to(actions::only_posting)),
            )
            .default_service(web::to(nowhere)),
    );
}

/// A read-only resource.
fn open<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .route(web::method(actix_web::http::Method::OPTIONS).to(options))
        .default_service(web::to(only_reading))
}

/// The methods of a read-only resource.
const READS_ALONE: &str = "GET, HEAD, OPTIONS";

async fn options() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ALLOW, READS_ALONE))
        .finish()
}

async fn only_reading(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} is read-only: use GET or HEAD", request.path());
    let refusal = HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    let refusal = refusal.of_path(request.path());
    let mut answer = refusal.error_response();
    let allowed = header::HeaderValue::from_static(READS_ALONE);
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

/// The parameters of a WebSocket's address. An unknown parameter is refused: if `?symbol=` were ignored, the client would get
/// every pair.
fn plan(request: &HttpRequest, symbol: Option<Symbol>) -> Result<Plan, HttpError> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|error| HttpError::bad_request(format!("the query string cannot be read: {error}")))?;
    let mut channels = None;
    let mut token = None;
    for (name, value) in pairs.into_inner() {
        let place = match name.as_str() {
            "channels" => &mut channels,
            "token" => &mut token,
            _ => {
                let hint = "; a pair is part of the path, as in /ws/USDCOP";
                return Err(unknown(&name, &value, &["channels", "token"], hint));
            }
        };
        if place.replace(value).is_some() {
            return Err(twice(&name, "two of them"));
        }
    }
    Ok(Plan {
        symbol,
        channels,
        token,
        echo: false,
    })
}

async fn ws_all(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, HttpError> {
    admit::upgrade(&request, payload, plan(&request, None)?)
}

async fn ws_symbol(
    request: HttpRequest,
    payload: web::Payload,
    symbol: web::Path<String>,
) -> Result<HttpResponse, HttpError> {
    let symbol = Thread::of(&request)?.symbol(&symbol)?;
    admit::upgrade(&request, payload, plan(&request, Some(symbol))?)
}

/// The vendor's methods, if the settings enable them.
async fn td_method(request: HttpRequest, method: web::Path<String>) -> Result<HttpResponse, HttpError> {
    if Thread::of(&request)?.common.twelvedata {
        return Ok(td::answer(request, method).await);
    }
    nowhere(request).await
}

/// The vendor's WebSocket, if the settings enable it.
async fn td_stream(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, HttpError> {
    if Thread::of(&request)?.common.twelvedata {
        return Ok(td::stream(&request, payload));
    }
    nowhere(request).await
}

async fn nowhere(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let path: String = request.path().chars().take(100).collect();
    let detail = format!("there is nothing at {path}");
    Err(HttpError::not_found("no_such_path", detail).of_path(request.path()))
}
