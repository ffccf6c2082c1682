//! The client of the vendor's REST interface: acquires a key, sends the request, and reports the answer to the pool. Poller,
//! Backfill and `candela backfill` use it.

use crate::actors::messages::{AcquireKey, AcquiredKey, KeyAnswered};
use crate::actors::vendor::{ConnectFailure, KeyPoolLink, vendor};
use crate::domain::vendor::{KEY_HEADER, NoKey, Purpose, Refusal, Trouble, trouble::refusal};
use crate::limits;
use awc::error::PayloadError;
use awc::{Client, Connector};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;

/// What a request to the vendor's REST interface needs.
#[derive(Debug, Clone)]
pub struct VendorAccess {
    /// The interface's address, without a trailing slash.
    pub rest_url: String,
    /// The trusted authorities: `actors::vendor::tls`.
    pub tls: Arc<rustls::ClientConfig>,
    /// The key pool.
    pub keys: KeyPoolLink,
}

/// The vendor's REST interface.
#[derive(Clone)]
struct Rest {
    client: Client,
    base: String,
}

/// The vendor's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// Credits used this minute, as the vendor counts.
    pub(crate) used: Option<u32>,
    /// Credits left this minute, as the vendor counts.
    pub(crate) left: Option<u32>,
    /// How long it asks us to wait.
    pub(crate) retry_after: Option<Duration>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallFailure {
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    #[error("the answer of {host} broke off: {detail}")]
    Body { host: String, detail: String },
}

impl CallFailure {
    /// A name that equal failures share.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(failure) => failure.kind(),
            Self::Body { .. } => "broken_answer",
        }
    }
}

impl Rest {
    fn new(tls: Arc<rustls::ClientConfig>, base: String) -> Self {
        let connector = Connector::new()
            .rustls_0_23(tls)
            .timeout(limits::HANDSHAKE)
            .handshake_timeout(limits::HANDSHAKE);
        let client = Client::builder()
            .connector(connector)
            .timeout(limits::REST_ANSWER)
            .disable_redirects() // a redirect would send the key to another host
            .finish();
        Self { client, base }
    }

    async fn get(&self, path: &str, key: &SecretString) -> Result<Answer, CallFailure> {
        let (name, prefix) = KEY_HEADER;
        let asked = self
            .client
            .get(format!("{}{path}", self.base))
            .insert_header((name, format!("{prefix}{}", key.expose_secret())));
        let mut response = asked.send().await.map_err(|error| vendor::failed(&self.base, &error))?;
        let [used, left] = ["api-credits-used", "api-credits-left"].map(|name| {
            let value = response.headers().get(name);
            value.and_then(|value| value.to_str().ok()?.trim().parse().ok())
        });
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

/// A source of keys.
pub(crate) trait KeySource {
    /// A key to use now.
    async fn acquire_key(&self, wanted: AcquireKey) -> Result<AcquiredKey, AskError>;

    /// Reports the vendor's answer. Without a report the key stays in use.
    async fn return_key(&self, said: KeyAnswered);
}

impl KeySource for KeyPoolLink {
    async fn acquire_key(&self, wanted: AcquireKey) -> Result<AcquiredKey, AskError> {
        match self.acquire.send(wanted).await {
            Ok(acquired) => acquired.map_err(AskError::NoKey),
            Err(error) => Err(AskError::NoPool(error.to_string())),
        }
    }

    async fn return_key(&self, said: KeyAnswered) {
        if let Err(error) = self.answered.send(said).await {
            tracing::error!(%error, "failed to report a key's answer to the key pool");
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    NoKey(#[from] NoKey),
    #[error("the key pool does not answer: {0}")]
    NoPool(String),
    #[error(transparent)]
    Unanswered(#[from] CallFailure),
    #[error("{0}")]
    Refused(Refusal),
}

impl AskError {
    /// A name that equal failures share.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::NoKey(refused) => refused.reason,
            Self::NoPool(_) => "no_key_pool",
            Self::Unanswered(failure) => failure.kind(),
            Self::Refused(refusal) => refusal.trouble.name(),
        }
    }

    /// What a refusal means; `None` for any other failure.
    pub(crate) const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Refused(refusal) => Some(refusal.trouble),
            Self::NoKey(_) | Self::NoPool(_) | Self::Unanswered(_) => None,
        }
    }
}

/// Sends requests to the vendor with the keys of one source.
#[derive(Clone)]
pub(crate) struct VendorClient<K> {
    rest: Rest,
    pub(crate) keys: K,
}

impl VendorClient<KeyPoolLink> {
    /// A client with the keys of the pool.
    pub(crate) fn open(access: &VendorAccess) -> Self {
        Self::new(Arc::clone(&access.tls), access.rest_url.clone(), access.keys.clone())
    }
}

impl<K: KeySource> VendorClient<K> {
    /// A client; `rest_url` is the address without a trailing slash.
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>, rest_url: String, keys: K) -> Self {
        let rest = Rest::new(tls, rest_url);
        Self { rest, keys }
    }

    /// A key to use now.
    pub(crate) async fn acquire(&self, purpose: Purpose, credits: u32) -> Result<AcquiredKey, AskError> {
        self.keys.acquire_key(AcquireKey { purpose, credits }).await
    }

    /// Sends a request with an acquired key. An answer without bars is an answer, too.
    pub(crate) async fn ask(&self, path: &str, acquired: &AcquiredKey, purpose: Purpose) -> Result<Answer, AskError> {
        let mut told = KeyAnswered::nothing(acquired.slot, purpose);
        let answer = match self.rest.get(path, &acquired.key).await {
            Ok(answer) => answer,
            Err(failure) => {
                self.keys.return_key(told).await;
                return Err(failure.into());
            }
        };
        // For every purpose but polling, "no data" is a valid answer.
        let refused = refusal(answer.status, &answer.body)
            .filter(|refusal| refusal.trouble != Trouble::NoData || purpose == Purpose::Poll);
        told.trouble = refused.as_ref().map(|refusal| refusal.trouble);
        (told.retry_after, told.used, told.left) = (answer.retry_after, answer.used, answer.left);
        self.keys.return_key(told).await;
        refused.map_or(Ok(answer), |refusal| Err(AskError::Refused(refusal)))
    }
}
