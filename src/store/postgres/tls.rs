//! TLS to PostgreSQL, as `sslmode` requires.

use crate::store::{
    error::StoreError,
    postgres::url::{Address, Trust},
};
use crate::tls::{Believed, CertificateRule};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Makes the TLS connector for this address.
pub(super) fn make_connector(address: &Address) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::BadUrl(error.to_string()))?;
    let believed = match address.trust {
        Trust::VerifyHost => None,
        Trust::VerifyAuthority => Some(Believed::AnyName(
            WebPkiServerVerifier::builder_with_provider(Arc::new(load_roots(address)?), Arc::clone(&provider))
                .build()
                .map_err(|error| StoreError::BadUrl(format!("its sslrootcert is not usable: {error}")))?,
        )),
        // As in libpq, these modes check no certificate.
        Trust::Plain | Trust::Prefer | Trust::Require => Some(Believed::Anyone),
    };
    let config = match believed {
        Some(believed) => {
            let rule = CertificateRule { believed, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(rule))
        }
        None => builder.with_root_certificates(load_roots(address)?),
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

/// The authorities of `sslrootcert`, or the public ones.
fn load_roots(address: &Address) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &address.authorities else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let bad =
        |problem: String| StoreError::BadUrl(format!("its sslrootcert {} is not usable: {problem}", path.display()));
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    Ok(roots)
}
