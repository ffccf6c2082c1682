//! One question to the vendor's REST interface.

use crate::actors::messages::{KeyAnswered, Lease};
use crate::actors::vendor::{self, ConnectFailure};
use crate::domain::keys::Purpose;
use crate::domain::rest::KEY_HEADER;
use crate::domain::trouble::Trouble;
use crate::limits;
use actix::Recipient;
use awc::error::PayloadError;
use awc::{Client, Connector};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;

/// The vendor's REST interface.
#[derive(Clone)]
pub(crate) struct Rest {
    client: Client,
    base: String,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// Credits used this minute, as the vendor counts.
    pub(crate) used: Option<u32>,
    /// Credits left this minute, as the vendor counts.
    pub(crate) left: Option<u32>,
    /// How long it asks us to stay away.
    pub(crate) retry_after: Option<Duration>,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallFailure {
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    #[error("the answer of {host} broke off: {detail}")]
    Body { host: String, detail: String },
}

impl CallFailure {
    /// A name that stays the same while the failure does.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(failure) => failure.kind(),
            Self::Body { .. } => "broken_answer",
        }
    }
}

impl Rest {
    /// `base` is the address without a slash at its end.
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>, base: String) -> Self {
        let connector = Connector::new()
            .rustls_0_23(tls)
            .timeout(limits::HANDSHAKE)
            .handshake_timeout(limits::HANDSHAKE);
        let client = Client::builder()
            .connector(connector)
            .timeout(limits::REST_ANSWER)
            .disable_redirects() // a redirect would carry the key to a stranger
            .finish();
        Self { client, base }
    }

    pub(crate) async fn get(&self, path: &str, key: &SecretString) -> Result<Answer, CallFailure> {
        let (name, prefix) = KEY_HEADER;
        let asked = self
            .client
            .get(format!("{}{path}", self.base))
            .insert_header((name, format!("{prefix}{}", key.expose_secret())));
        let mut response = asked.send().await.map_err(|error| vendor::failed(&self.base, &error))?;
        let count = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        };
        let (used, left) = (count("api-credits-used"), count("api-credits-left"));
        let status = response.status().as_u16();
        let retry_after = vendor::retry_after(response.headers());
        let reading = response.body().limit(limits::ANSWER_BYTES);
        let body = tokio::time::timeout(limits::REST_ANSWER, reading)
            .await
            .unwrap_or(Err(PayloadError::Incomplete(None)));
        let body = body.map_err(|error| CallFailure::Body {
            host: vendor::host(&self.base),
            detail: error.to_string(),
        })?;
        Ok(Answer {
            status,
            body,
            used,
            left,
            retry_after,
        })
    }
}

/// Tells the pool that a leased key has done its work, and what the vendor said of it.
pub(super) async fn key_answered(
    pool: &Recipient<KeyAnswered>,
    lease: &Lease,
    purpose: Purpose,
    said: Option<(Option<Trouble>, &Answer)>,
) {
    let told = KeyAnswered {
        slot: lease.slot,
        purpose,
        trouble: said.and_then(|(trouble, _)| trouble),
        link_served: false,
        retry_after: said.and_then(|(_, answer)| answer.retry_after),
        used: said.and_then(|(_, answer)| answer.used),
        left: said.and_then(|(_, answer)| answer.left),
    };
    if let Err(error) = pool.send(told).await {
        tracing::error!(%error, "failed to tell the key pool how a key was answered");
    }
}
