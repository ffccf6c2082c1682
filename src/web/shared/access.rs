//! What one client may do: which pairs its token opens, and how often it may send.

use crate::domain::model::Symbol;
use crate::limits;
use crate::web::shared::{Grant, Thread, layers};
use actix_web::HttpRequest;
use actix_web::http::header;
use std::time::Duration;

/// What the client may see.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// No token is asked for.
    Open,
    /// A token was shown.
    Granted(Grant),
    /// A token is awaited.
    Awaited,
    /// A token was shown that is not valid.
    Refused,
}

impl Access {
    /// What a token opens, or its absence.
    pub(crate) fn of(thread: &Thread, shown: Option<&str>) -> Self {
        match (&thread.common.tokens, shown) {
            (None, _) => Self::Open,
            (Some(_), None) => Self::Awaited,
            (Some(tokens), Some(token)) => tokens.check(token).map_or(Self::Refused, Self::Granted),
        }
    }

    /// Whether the token that was shown is still one of ours, unchanged.
    pub(crate) fn still_stands(&self, thread: &Thread) -> bool {
        match (self, &thread.common.tokens) {
            (Self::Granted(grant), Some(tokens)) => tokens.still(grant),
            _ => true,
        }
    }

    /// Whose token was shown, if one was that is valid.
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

/// The token that a request shows: in a header, as a subprotocol (browsers cannot set headers), or in the address if allowed.
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
    /// Counts one message; returns how many are above the rate.
    pub(crate) fn over(&mut self, now: Duration) -> u32 {
        if now.saturating_sub(self.began) >= Duration::from_secs(1) {
            *self = Self { began: now, heard: 0 };
        }
        self.heard = self.heard.saturating_add(1);
        self.heard.saturating_sub(limits::CLIENT_INBOUND_PER_SECOND)
    }
}
