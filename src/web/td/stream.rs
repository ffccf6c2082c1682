//! Admits the vendor's clients to the WebSocket: checks key, handshake, origin and room.

use crate::domain::vendor::ApiError;
use crate::web::shared::HttpError;
use crate::web::td::{TdOpening, TdQuestion, methods::refusal};
use crate::web::ws::{admit, handshake};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use std::rc::Rc;

/// `GET /td/quotes/price`.
pub(crate) fn stream(request: &HttpRequest, payload: web::Payload) -> HttpResponse {
    upgrade(request, payload).unwrap_or_else(|error| refusal(&error))
}

fn upgrade(request: &HttpRequest, payload: web::Payload) -> Result<HttpResponse, ApiError> {
    let question = TdQuestion::of(request)?;
    let thread = Rc::clone(&question.thread);
    handshake::check(request, &thread.common.origins).map_err(as_the_vendor)?;
    if thread.common.drain.borrow().is_some() {
        return Err(ApiError::new(503, "the service is shutting down"));
    }
    let address = request.peer_addr().map(|address| address.ip());
    let pass = thread.common.door.enter(address).map_err(as_the_vendor)?;
    admit::begin(request, payload, &thread, pass, TdOpening::new(question)).map_err(as_the_vendor)
}

/// Our refusal in the vendor's format. The vendor's only code for a request that is no handshake is 400.
fn as_the_vendor(trouble: HttpError) -> ApiError {
    let code = match trouble.status_code() {
        StatusCode::UPGRADE_REQUIRED => StatusCode::BAD_REQUEST,
        status => status,
    };
    ApiError::new(code.as_u16(), trouble.to_string())
}
