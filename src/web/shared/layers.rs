//! Middleware of every request: a request id, security headers, CORS, and the token if one is required.

use crate::clock::Stopwatch;
use crate::web::shared::{Access, HttpError, Thread};
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, ResponseError};
use std::rc::Rc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Adds the request's id to each response, and headers that keep browsers from guessing types.
pub(crate) async fn identify<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let given = request
        .headers()
        .get(&REQUEST_ID)
        .filter(|value: &&HeaderValue| value.len() <= 64 && value.as_bytes().iter().all(u8::is_ascii_graphic))
        .cloned();
    let id = given.or_else(|| HeaderValue::from_str(&format!("{:016x}", fastrand::u64(..))).ok());
    let knows_chunks = request.version() >= Version::HTTP_11;
    let took = Stopwatch::start();
    let mut response = next.call(request).await?;
    if let Some(thread) = response.request().app_data::<Rc<Thread>>() {
        let route = response.request().match_pattern();
        thread.common.measures.count_request(route, took.elapsed());
    }
    if !knows_chunks && response.response().body().size() == BodySize::Stream {
        // For HTTP/1.0 the end of the connection is the end of a stream.
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        if let Some(id) = id {
            headers.insert(REQUEST_ID, id);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    Ok(response)
}

/// Lets pages of the listed origins read the responses.
pub(crate) async fn cors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let origin = allowed_origin(request.request());
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if preflight {
        let (request, _) = request.into_parts();
        let mut answer = HttpResponse::NoContent().finish();
        if let Some(origin) = origin {
            let headers = answer.headers_mut();
            let fixed = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "authorization, if-none-match, last-event-id, x-request-id",
                ),
                (header::ACCESS_CONTROL_MAX_AGE, "600"),
            ];
            for (name, value) in fixed {
                headers.insert(name, HeaderValue::from_static(value));
            }
            allow(headers, origin);
        }
        return Ok(ServiceResponse::new(request, answer).map_into_right_body());
    }
    let mut response = next.call(request).await?.map_into_left_body();
    if let Some(origin) = origin {
        allow(response.headers_mut(), origin);
    }
    // A cache must not serve one origin's response to another, nor a response without CORS to all.
    varies(response.headers_mut(), "Origin");
    Ok(response)
}

/// Marks the response as compressible for other clients, also if it is not compressed for this one.
pub(crate) async fn may_be_compressed<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    varies(response.headers_mut(), "Accept-Encoding");
    Ok(response)
}

/// Adds a request header to `Vary`, once.
fn varies(headers: &mut HeaderMap, by: &'static str) {
    if !headers
        .get_all(header::VARY)
        .any(|value: &HeaderValue| value.to_str().is_ok_and(|text| text.eq_ignore_ascii_case(by)))
    {
        headers.append(header::VARY, HeaderValue::from_static(by));
    }
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("etag, x-next-cursor, x-request-id"),
    );
}

fn allowed_origin(request: &HttpRequest) -> Option<HeaderValue> {
    let thread = request.app_data::<Rc<Thread>>()?;
    let origin = request.headers().get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    thread
        .common
        .origins
        .iter()
        .any(|known: &String| known == "*" || known.trim_end_matches('/').eq_ignore_ascii_case(text))
        .then(|| origin.clone())
}

/// Requires a token if tokens are configured.
pub(crate) async fn authorize(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let thread = request.request().app_data::<Rc<Thread>>();
    let access = thread.map_or(Access::Refused, |thread| Access::of(thread, bearer(request.request())));
    if matches!(access, Access::Open | Access::Granted(_)) {
        request.extensions_mut().insert(access); // which pairs may be requested
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let (request, _) = request.into_parts();
    let refusal = match access {
        Access::Refused => HttpError::unauthorized("the token is not valid"),
        _ => HttpError::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "a token is needed: Authorization: Bearer <token>",
        ),
    };
    let refusal = refusal.of_path(request.path());
    Ok(ServiceResponse::new(request, refusal.error_response()).map_into_right_body())
}

/// The token of the `Authorization` header.
pub(crate) fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
