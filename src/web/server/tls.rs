//! TLS for clients: a certificate and its key in two PEM files, read again when they change, so that a renewal needs no restart.

use crate::clock::Stopwatch;
use crate::limits;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// The files of certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, own certificate first; PEM.
    pub cert: PathBuf,
    /// Its private key; PEM.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Checks that certificate and key can be used.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot.
    pub fn check(&self) -> Result<(), TlsError> {
        read(self).map(drop)
    }
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum TlsError {
    #[error("the certificate {file} cannot be used: {what}; correct server.tls_cert (SSL_CERT_PATH)")]
    Cert { file: PathBuf, what: String },
    #[error("the private key {file} cannot be used: {what}; correct server.tls_key (SSL_KEY_PATH)")]
    Key { file: PathBuf, what: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] Error),
}

#[derive(Debug)]
struct Renewing {
    files: TlsFiles,
    state: RwLock<State>,
    since: Stopwatch,
}

#[derive(Debug)]
struct State {
    key: Arc<CertifiedKey>,
    changed: [Option<SystemTime>; 2],
    looked: Duration,
}

/// A TLS configuration that follows changes of the files.
///
/// # Errors
/// [`TlsError`] when they cannot be used now.
pub(crate) fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let key = read(files)?;
    let resolver = Renewing {
        files: files.clone(),
        state: RwLock::new(State {
            key: Arc::new(key),
            changed: changed(files),
            looked: Duration::ZERO,
        }),
        since: Stopwatch::start(),
    };
    let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(versions.with_no_client_auth().with_cert_resolver(Arc::new(resolver)))
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(&files.cert).map_err(|what| TlsError::Cert {
        file: files.cert.clone(),
        what,
    })?;
    certify(&files.key, chain).map_err(|what| TlsError::Key {
        file: files.key.clone(),
        what,
    })
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    let chain = chain
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(chain)
}

fn certify(file: &Path, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, String> {
    let key = PrivateKeyDer::from_pem_file(file).map_err(|error| error.to_string())?;
    let signing = ring::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| error.to_string())?;
    Ok(certified)
}

fn changed(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.cert, &files.key].map(|file| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok())
}

impl Renewing {
    fn current(&self) -> Arc<CertifiedKey> {
        let now = self.since.elapsed();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(state.looked) < limits::TLS_LOOK {
            return Arc::clone(&state.key);
        }
        drop(state);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.looked = now;
        let modified = changed(&self.files);
        if modified != state.changed {
            match read(&self.files) {
                Ok(key) => {
                    state.key = Arc::new(key);
                    state.changed = modified;
                    tracing::info!("the certificate was renewed");
                }
                Err(error) => {
                    tracing::error!(%error, "failed to read the certificate again; the last good one stays in use");
                }
            }
        }
        Arc::clone(&state.key)
    }
}

impl ResolvesServerCert for Renewing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}
