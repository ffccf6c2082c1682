//! How a command verifies the service of its own settings over TLS: by exactly the certificate in the settings. Names do not matter: the
//! certificate has the name that clients use, which is hardly ever 127.0.0.1.

use crate::tls::{Believed, CertificateRule};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;

/// Trusts the first certificate of this PEM file and no other.
///
/// # Errors
/// A sentence, when the file holds none.
pub(super) fn trust_file(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let unread = |error: &dyn std::fmt::Display| format!("the certificate {} cannot be read: {error}", file.display());
    let certificate = CertificateDer::from_pem_file(file).map_err(|error| unread(&error))?;
    let provider = Arc::new(ring::default_provider());
    let own = Arc::new(CertificateRule {
        believed: Believed::Only(certificate),
        provider: Arc::clone(&provider),
    });
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unread(&error))?;
    let verified = versions.dangerous().with_custom_certificate_verifier(own);
    Ok(Arc::new(verified.with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ServerConfig;
    use rustls::pki_types::ServerName;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    /// The outcome of a handshake at 127.0.0.1 with a server that presents `shown`, by a client that trusts `known`.
    async fn meets(shown: &rcgen::CertifiedKey<rcgen::KeyPair>, known: &Path) -> Result<(), String> {
        let key = rustls::pki_types::PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (socket, _) = listener.accept().await.unwrap();
            drop(TlsAcceptor::from(Arc::new(server)).accept(socket).await);
        };
        let connect = async {
            let socket = TcpStream::connect(address).await.unwrap();
            let name = ServerName::from(address.ip());
            let met = TlsConnector::from(trust_file(known)?).connect(name, socket).await;
            met.map(drop).map_err(|error| error.to_string())
        };
        tokio::join!(serve, connect).1
    }

    #[tokio::test]
    async fn the_certificate_of_the_settings_is_known_whatever_its_name_and_no_other_is() {
        let folder = tempfile::tempdir().unwrap();
        let make = || rcgen::generate_simple_self_signed(vec!["candela.example".to_owned()]).unwrap();
        let (own, strange) = (make(), make());
        let file = folder.path().join("cert.pem");
        std::fs::write(&file, own.cert.pem()).unwrap();
        assert_eq!(meets(&own, &file).await, Ok(()));
        let why = meets(&strange, &file).await.unwrap_err();
        assert!(why.contains("another certificate than server.tls_cert"), "{why}");
        let why = trust_file(&folder.path().join("none.pem")).unwrap_err();
        assert!(why.contains("none.pem cannot be read"), "{why}");
    }
}
