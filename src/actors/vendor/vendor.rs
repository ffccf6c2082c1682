//! Connections to the vendor: TLS, the WebSocket handshake, and the reasons of failures, without a key in their text.
//!
//! A refused upgrade has a body that says why, under any status, even 200. The stock client discards it; a middleware around its connector
//! keeps it.

use crate::actors::vendor::GuardedCodec;
use crate::domain::vendor::{
    Refusal,
    trouble::{self, refusal},
};
use crate::limits;
use actix_codec::{AsyncRead, Framed};
use actix_http::StatusCode;
use actix_http::header::{DATE, HeaderMap, RETRY_AFTER};
use actix_web::dev::Service;
use awc::error::{ConnectError, SendRequestError, WsClientError};
use awc::middleware::Transform;
use awc::{BoxedSocket, Client, ConnectRequest, ConnectResponse, Connector};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// An open WebSocket whose frames pass through the guard.
pub(crate) type Socket = Framed<BoxedSocket, GuardedCodec>;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectFailure {
    /// The server answered, and refused.
    #[error("{host} refused the connection: {refusal}")]
    Refused { host: String, refusal: Refusal },
    /// No answer, or one that cannot be decoded.
    #[error("could not connect to {host}: {cause} ({detail})")]
    Failed {
        host: String,
        cause: &'static str,
        detail: String,
    },
}

impl ConnectFailure {
    /// Whether the vendor received the key: without a connection it did not.
    pub(crate) fn reached(&self) -> bool {
        const UNHEARD: [&str; 5] = [
            "connection_refused",
            "connect_timeout",
            "name_not_found",
            "tls_failed",
            "wrong_address",
        ];
        match self {
            Self::Refused { .. } => true,
            Self::Failed { cause, .. } => !UNHEARD.contains(cause),
        }
    }

    /// A name that equal failures share.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Refused { refusal, .. } => refusal.trouble.name(),
            Self::Failed { cause, .. } => cause,
        }
    }
}

/// Why the file of additional authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the authorities in {file} cannot be used: {what}; correct upstream.ca_file, a PEM file with certificates")]
pub struct RootsError {
    file: PathBuf,
    what: String,
}

/// Reads the authorities of a PEM file, which are trusted in addition to the web's.
///
/// # Errors
/// When the file cannot be read or holds no certificate that an authority could have.
pub fn roots(file: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    read_roots(file).map_err(|what| RootsError {
        file: file.to_owned(),
        what,
    })
}

fn read_roots(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        let mut alone = rustls::RootCertStore::empty();
        alone.add(certificate.clone()).map_err(|error| error.to_string())?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(found)
}

/// Trusts the web's roots and the given ones; speaks HTTP/1.1 only, because a WebSocket cannot be opened over HTTP/2 here.
pub fn tls(extra_roots: &[CertificateDer<'static>]) -> Arc<rustls::ClientConfig> {
    // The provider that is installed first stays, and every caller wants this one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots.add_parsable_certificates(extra_roots.iter().cloned());
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Opens a WebSocket. The key is added to the address here and nowhere else.
pub(crate) async fn connect(
    tls: Arc<rustls::ClientConfig>,
    url: &str,
    key: &SecretString,
) -> Result<Socket, ConnectFailure> {
    let kept = Kept::default();
    let connector = Connector::new()
        .rustls_0_23(tls)
        .timeout(limits::HANDSHAKE)
        .handshake_timeout(limits::HANDSHAKE);
    let client = Client::builder()
        .connector(connector)
        .timeout(limits::HANDSHAKE)
        .disable_redirects()
        .wrap(KeepBody(kept.clone()))
        .finish();
    let joint = if url.contains('?') { '&' } else { '?' };
    let asked = client.ws(format!("{url}{joint}apikey={}", key.expose_secret()));
    match asked.connect().await {
        Ok((_, framed)) => Ok(framed.into_map_codec(|_| GuardedCodec::client())),
        Err(WsClientError::InvalidResponseStatus(status)) => Err(refused(url, status, &kept.0.take())),
        Err(WsClientError::SendRequest(error)) => Err(failed(url, &error)),
        Err(error) => Err(ConnectFailure::Failed {
            host: host(url),
            cause: "bad_handshake",
            detail: error.to_string(),
        }),
    }
}

/// How long the answer asks us to wait.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let [after, date] = [RETRY_AFTER, DATE].map(|name| headers.get(name).and_then(|value| value.to_str().ok()));
    trouble::retry_after(after?, date)
}

fn refused(url: &str, status: StatusCode, said: &RefusedUpgrade) -> ConnectFailure {
    let host = host(url);
    match refusal(status.as_u16(), &said.body) {
        Some(refusal) => ConnectFailure::Refused {
            host,
            refusal: Refusal {
                retry_after: said.retry_after,
                ..refusal
            },
        },
        None => ConnectFailure::Failed {
            host,
            cause: "not_a_websocket",
            detail: format!("it answered {status} and did not switch protocols"),
        },
    }
}

/// Names the cause of a failure.
pub(crate) fn failed(url: &str, error: &SendRequestError) -> ConnectFailure {
    let cause = match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => "connect_timeout",
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved) => {
            "name_not_found"
        }
        SendRequestError::Connect(ConnectError::Io(error))
            if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) =>
        {
            "tls_failed"
        }
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Send(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection_refused",
            std::io::ErrorKind::ConnectionReset => "connection_reset",
            _ => "connect_failed",
        },
        SendRequestError::Url(_) => "wrong_address",
        _ => "connect_failed",
    };
    let remedy = match cause {
        "tls_failed" if error.to_string().contains("UnknownIssuer") => {
            "; where its authority is not one of the web's, put it into upstream.ca_file"
        }
        _ => "",
    };
    ConnectFailure::Failed {
        host: host(url),
        cause,
        detail: format!("{error}{remedy}"),
    }
}

/// Host and port of an address: the only part that may be shown.
pub(super) fn host(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

/// The body of a refused upgrade, and how long it asks us to wait.
#[derive(Debug, Default)]
struct RefusedUpgrade {
    body: Vec<u8>,
    retry_after: Option<Duration>,
}

/// Shared with the middleware, which fills it before the stock client discards the body.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<RefusedUpgrade>>);

/// The middleware that keeps the body of a refused upgrade.
struct KeepBody(Kept);

struct KeepBodyService<S> {
    inner: S,
    kept: Kept,
}

impl<S> Transform<S, ConnectRequest> for KeepBody
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError> + 'static,
{
    type Transform = KeepBodyService<S>;

    fn new_transform(self, inner: S) -> Self::Transform {
        KeepBodyService { inner, kept: self.0 }
    }
}

impl<S> Service<ConnectRequest> for KeepBodyService<S>
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError> + 'static,
{
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendRequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let answer = self.inner.call(request);
        let kept = self.kept.clone();
        async move {
            match answer.await? {
                ConnectResponse::Tunnel(head, framed) if head.status != StatusCode::SWITCHING_PROTOCOLS => {
                    let mut parts = framed.into_parts();
                    let mut body = std::mem::take(&mut parts.read_buf).to_vec();
                    // A refusal is short and arrives at once; of one that does not end, the beginning is used.
                    drop(tokio::time::timeout(limits::REFUSAL_BODY_WAIT, read_on(&mut parts.io, &mut body)).await);
                    let retry_after = retry_after(&head.headers);
                    kept.0.replace(RefusedUpgrade { body, retry_after });
                    Ok(ConnectResponse::Tunnel(head, Framed::from_parts(parts)))
                }
                other => Ok(other),
            }
        }
        .boxed_local()
    }
}

/// Reads until the JSON value is complete, the peer closes, or [`limits::REFUSAL_BODY_BYTES`] are there.
async fn read_on(io: &mut BoxedSocket, body: &mut Vec<u8>) {
    while body.len() < limits::REFUSAL_BODY_BYTES && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        let mut space = [0; 1_024];
        let mut buffer = tokio::io::ReadBuf::new(&mut space);
        let read = std::future::poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buffer)).await;
        if read.is_err() || buffer.filled().is_empty() {
            return;
        }
        body.extend_from_slice(buffer.filled());
    }
}
