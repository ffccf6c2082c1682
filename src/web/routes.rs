//! Every address that answers, on one page.

use crate::domain::symbol::Symbol;
use crate::web::admit::{self, Plan};
use crate::web::problem::Trouble;
use crate::web::query::{twice, unknown};
use crate::web::thread::Thread;
use crate::web::{asyncapi, health, history, layers, market, metrics, openapi, pages};
use actix_web::dev::Handler;
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Resource, Responder, ResponseError, web};

/// Registers them.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(open("/ws", ws_all))
        .service(open("/ws/{symbol:.*}", ws_symbol))
        .service(open("/", pages::dashboard))
        .service(open("/docs", pages::docs))
        .service(open("/openapi.json", openapi::openapi))
        .service(open("/asyncapi.json", asyncapi::asyncapi))
        .service(open("/health", health::health))
        .service(open("/health/live", health::live))
        .service(open("/health/ready", health::ready));
    #[cfg(feature = "test-hooks")]
    config
        .route("/test/panic/{actor}", web::post().to(crate::web::hooks::panic))
        .route("/test/hang/{actor}", web::post().to(crate::web::hooks::hang))
        .route("/test/echo", web::get().to(crate::web::hooks::echo));
    config.service(
        web::scope("")
            .wrap(from_fn(layers::authorize))
            .wrap(Compress::default())
            .wrap(from_fn(layers::may_be_compressed))
            .service(open("/status", health::status))
            .service(open("/metrics", metrics::metrics))
            .service(open("/market/latest", market::latest))
            .service(open("/market/session", market::session))
            .service(open("/market/bars", history::bars))
            .service(open("/market/ticks", history::ticks))
            .service(open("/market/gaps", history::gaps))
            .service(open("/market/symbols", history::symbols))
            .service(open("/market/calendar", history::calendar))
            .default_service(web::to(nowhere)),
    );
}

/// A resource that is read and nothing else.
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

/// What a resource that is read allows.
const READS_ALONE: &str = "GET, HEAD, OPTIONS";

async fn options() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ALLOW, READS_ALONE))
        .finish()
}

async fn only_reading(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} is only read: GET or HEAD", request.path());
    let refusal = Trouble::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    let mut answer = refusal.error_response();
    let allowed = header::HeaderValue::from_static(READS_ALONE);
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

/// What the address of a WebSocket asks for. A parameter that is not known is refused: passed over, `?symbol=` would follow
/// every pair.
fn plan(request: &HttpRequest, symbol: Option<Symbol>) -> Result<Plan, Trouble> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|error| Trouble::bad_request(format!("the query string cannot be read: {error}")))?;
    let (mut channels, mut token) = (None, None);
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

async fn ws_all(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Trouble> {
    admit::upgrade(&request, payload, plan(&request, None)?)
}

async fn ws_symbol(
    request: HttpRequest,
    payload: web::Payload,
    symbol: web::Path<String>,
) -> Result<HttpResponse, Trouble> {
    let symbol = Thread::of(&request)?.symbol(&symbol)?;
    admit::upgrade(&request, payload, plan(&request, Some(symbol))?)
}

async fn nowhere(request: HttpRequest) -> Result<HttpResponse, Trouble> {
    let path: String = request.path().chars().take(100).collect();
    let detail = format!("there is nothing at {path}");
    Err(Trouble::not_found("no_such_path", detail))
}
