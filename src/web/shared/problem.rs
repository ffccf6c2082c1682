//! Errors of the REST interface: `application/problem+json`, with the old service's member `error`.

use crate::limits;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError, body::BoxBody};
use serde_json::{Map, Value, json};
use std::fmt;

/// An error response.
#[derive(Debug, Clone)]
pub(crate) struct HttpError {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    more: Map<String, Value>,
    /// It is said as the vendor says its errors, to the vendor's own clients.
    vendors: bool,
}

impl HttpError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            more: Map::new(),
            vendors: false,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "auth_failed", detail)
    }

    pub(crate) fn upgrade_required(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    }

    pub(crate) fn not_found(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, kind, detail)
    }

    pub(crate) fn unavailable(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail)
    }

    /// Adds a member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl HttpError {
    /// Under `/udf/`, adds the members by which a charting library recognizes an error; under `/td/`, the error takes the vendor's form.
    pub(crate) fn of_path(self, path: &str) -> Self {
        if path == "/td" || path.starts_with("/td/") {
            return Self { vendors: true, ..self };
        }
        if path != "/udf" && !path.starts_with("/udf/") {
            return self;
        }
        let detail = self.detail.clone();
        self.with("s", "error").with("errmsg", detail)
    }

    /// The body, and its media type.
    fn body(&self) -> (Value, &'static str) {
        if self.vendors {
            let body = json!({"code": self.status.as_u16(), "message": self.detail, "status": "error"});
            return (body, "application/json; charset=utf-8");
        }
        let mut body = self.more.clone();
        let members = json!({
            "type": format!("urn:candela:problem:{}", self.kind),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "error": self.detail,
        });
        if let Value::Object(members) = members {
            body.extend(members);
        }
        (Value::Object(body), "application/problem+json")
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let (body, media_type) = self.body();
        let mut response = HttpResponse::build(self.status);
        response.content_type(media_type);
        if self.status == StatusCode::UPGRADE_REQUIRED {
            response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
            response.insert_header((header::UPGRADE, "websocket"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"candela\""));
        }
        if self.kind == "connection_limit" {
            response.insert_header((header::RETRY_AFTER, limits::EVENTS_BACK_OFF.as_secs().to_string()));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.insert_header((header::ALLOW, "GET, HEAD, OPTIONS"));
        }
        response.body(body.to_string())
    }
}
