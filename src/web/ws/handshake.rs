//! Checks before a connection is upgraded: RFC 6455 in full, and the page's origin.
//!
//! The check in `actix_web_actors` accepts short keys, version 8 and HTTP/1.0, and no middleware covers the origin of an upgrade: any page
//! on the web could open a socket in its visitor's name.

use crate::web::shared::HttpError;
use actix_web::HttpRequest;
use actix_web::http::{Version, header};

/// Checks that this request may become a WebSocket.
///
/// # Errors
/// The response to send instead.
pub(crate) fn check(request: &HttpRequest, origins: &[String]) -> Result<(), HttpError> {
    if request.version() != Version::HTTP_11 {
        return Err(HttpError::bad_request("a WebSocket handshake is made over HTTP/1.1"));
    }
    if !has_word(request, header::UPGRADE, "websocket") || !has_word(request, header::CONNECTION, "upgrade") {
        return Err(HttpError::upgrade_required(
            "this address is a WebSocket endpoint: send Upgrade: websocket",
        ));
    }
    if text_of(request, header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(HttpError::upgrade_required(
            "only Sec-WebSocket-Version 13 is supported",
        ));
    }
    if !text_of(request, header::SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err(HttpError::bad_request(
            "Sec-WebSocket-Key is not the Base64 text of 16 bytes",
        ));
    }
    check_origin(request, origins)
}

/// Checks that the page that the request comes from, if any, may connect.
///
/// # Errors
/// The response to send instead.
pub(crate) fn check_origin(request: &HttpRequest, origins: &[String]) -> Result<(), HttpError> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(()); // not a browser
    };
    let host = text_of(request, header::HOST).unwrap_or_default();
    match origin.to_str() {
        Ok(origin) if may(origin, host, origins) => Ok(()),
        _ => Err(HttpError::forbidden(
            "pages of this origin may not connect: add it to CORS_ORIGINS",
        )),
    }
}

fn text_of(request: &HttpRequest, name: header::HeaderName) -> Option<&str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn has_word(request: &HttpRequest, name: header::HeaderName, word: &str) -> bool {
    text_of(request, name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
}

/// Whether `key` is Base64 of 16 bytes: 22 digits, the last with two bits, and two padding signs.
fn is_key(key: &str) -> bool {
    let Some(digits) = key.strip_suffix("==") else {
        return false;
    };
    digits.len() == 22
        && digits
            .bytes()
            .all(|byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
        && digits.ends_with(['A', 'Q', 'g', 'w'])
}

/// Whether a page may connect: it is listed, or this server served it.
fn may(origin: &str, host: &str, origins: &[String]) -> bool {
    let own = origin
        .split_once("://")
        .is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
    own || origins
        .iter()
        .any(|listed| listed == "*" || listed.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes() {
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
        for key in [
            "",
            "abc",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25j!Q==",
        ] {
            assert!(!is_key(key), "{key}");
        }
    }

    #[test]
    fn a_page_connects_from_where_it_is_listed_or_served() {
        let listed = vec!["http://localhost:3000".to_owned(), "https://desk.example/".to_owned()];
        for (origin, may_connect) in [
            ("http://localhost:3000", true),
            ("https://desk.example", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:3001", false),
            ("https://evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(may(origin, "127.0.0.1:8080", &listed), may_connect, "{origin}");
        }
        assert!(may("https://anything.example", "x", &["*".to_owned()]));
    }
}
