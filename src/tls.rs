//! Which certificates a TLS client accepts where the rule is not the web's: the database's `sslmode`, and the service's own certificate.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// The certificates that are accepted.
#[derive(Debug)]
pub enum Believed {
    /// Any certificate: the connection is encrypted, no more.
    Anyone,
    /// Those that a known authority signed, for any name.
    AnyName(Arc<WebPkiServerVerifier>),
    /// This certificate only, for any name.
    Only(CertificateDer<'static>),
}

/// Accepts certificates by this rule; signatures are always checked.
#[derive(Debug)]
pub struct CertificateRule {
    /// The rule.
    pub believed: Believed,
    /// Checks signatures.
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for CertificateRule {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.believed {
            Believed::Anyone => Ok(ServerCertVerified::assertion()),
            Believed::Only(certificate) if end_entity == certificate => Ok(ServerCertVerified::assertion()),
            Believed::Only(_) => Err(Error::General(
                "it shows another certificate than server.tls_cert".to_owned(),
            )),
            Believed::AnyName(known) => {
                match known.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                    )) => Ok(ServerCertVerified::assertion()),
                    other => other,
                }
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
