//! What one client may do: which pairs its token allows, and how often it may send.

use crate::domain::model::Symbol;
use crate::limits;
use crate::web::shared::{Grant, Thread, layers};
use actix_web::HttpRequest;
use actix_web::http::header;
use std::time::Duration;

/// Which data a client may read.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// No token is required.
    Open,
    /// A valid token was presented.
    Granted(Grant),
    /// A token is required and was not presented yet.
    Awaited,
    /// An invalid token was presented.
    Refused,
}

impl Access {
    /// The access that the presented token gives, or none.
    pub(crate) fn of(thread: &Thread, shown: Option<&str>) -> Self {
        match (&thread.common.tokens, shown) {
            (None, _) => Self::Open,
            (Some(_), None) => Self::Awaited,
            (Some(tokens), Some(token)) => tokens.check(token).map_or(Self::Refused, Self::Granted),
        }
    }

    /// Whether the presented token is still valid and unchanged.
    pub(crate) fn still_stands(&self, thread: &Thread) -> bool {
        match (self, &thread.common.tokens) {
            (Self::Granted(grant), Some(tokens)) => tokens.still(grant),
            _ => true,
        }
    }

    /// The name of the presented token, if it is valid.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::Granted(grant) => Some(&grant.name),
            Self::Open | Self::Awaited | Self::Refused => None,
        }
    }

    pub(crate) fn may(&self, symbol: Symbol) -> bool {
        match self {
            Self::Granted(grant) => grant.allows(symbol),
            Self::Open => true,
            Self::Awaited | Self::Refused => false,
        }
    }
}

/// The token in a request: in a header, as a subprotocol (browsers cannot set headers), or in the address if that is allowed.
pub(crate) fn shown_token(request: &HttpRequest, thread: &Thread, query: Option<&str>) -> Option<String> {
    let protocols = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let protocols = protocols.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut entries = protocols.split(',').map(str::trim);
    let in_protocol = entries.find_map(|entry| entry.strip_prefix("bearer."));
    let in_query = query.filter(|_| thread.common.query_tokens);
    layers::bearer(request).or(in_protocol).or(in_query).map(str::to_owned)
}

/// Messages within the current second.
#[derive(Debug, Default)]
pub(crate) struct InboundWindow {
    began: Duration,
    heard: u32,
}

impl InboundWindow {
    /// Counts one message; returns how many are beyond the rate.
    pub(crate) fn over(&mut self, now: Duration) -> u32 {
        if now.saturating_sub(self.began) >= Duration::from_secs(1) {
            *self = Self { began: now, heard: 0 };
        }
        self.heard = self.heard.saturating_add(1);
        self.heard.saturating_sub(limits::CLIENT_INBOUND_PER_SECOND)
    }
}
