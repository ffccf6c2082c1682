//! The vendor behind TLS: with an authority of its own it is reached when `upstream.ca_file` names that, and an error names the
//! host and the cause, and never the key.

use crate::certificate::Certificate;
use candela::actors::vendor;
use candela::clock::Clock;
use candela::domain::model::Symbol;
use candela::sim::start;
use candela::sim::{Market, SimConfig, SimHandle};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const KEY: &str = "sesame-open-0001";

/// Takes TLS connections and passes what is in them on to `plain`. Lives as long as the test process.
fn behind_tls(folder: &Path, plain: SocketAddr) -> SocketAddr {
    let chain = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    if let Ok(mut outer) = acceptor.accept(stream).await {
                        let mut inner = TcpStream::connect(plain).await.unwrap();
                        drop(tokio::io::copy_bidirectional(&mut outer, &mut inner).await);
                    }
                });
            }
        });
    });
    address.recv().unwrap()
}

fn vendor_of() -> SimHandle {
    let mut config = SimConfig::new(Clock::system(), Market::walk(3, &[Symbol::usdcop()]));
    config.keys = vec![KEY.to_owned()];
    start(config).unwrap()
}

/// What a command said, and its code.
fn candela(folder: &Path, ws: &str, rest: &str, ca: Option<&Path>, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candela"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("CANDELA__UPSTREAM__WS_URL", ws)
        .env("CANDELA__UPSTREAM__REST_URL", rest)
        .env("CANDELA__LEDGER__DIR", folder.join("ledger"))
        .env("CANDELA__STORE__SQLITE_FILE", folder.join("candela.db"))
        .env("TWELVEDATA_API_KEY_G1_1", KEY);
    if let Some(ca) = ca {
        command.env("CANDELA__UPSTREAM__CA_FILE", ca);
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_vendor_with_an_authority_of_its_own_is_reached_when_the_settings_name_it_and_refused_by_name_when_not() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), vendor_of());
    Certificate::issue().write_to(folder.path(), None);
    let address = behind_tls(
        folder.path(),
        sim.rest_url().trim_start_matches("http://").parse().unwrap(),
    );
    let (ws, rest) = (
        format!("wss://localhost:{}/v1/quotes/price", address.port()),
        format!("https://localhost:{}", address.port()),
    );
    let backfill = ["backfill", "--from", "2026-03-02", "--to", "2026-03-02"];
    let (code, said) = candela(folder.path(), &ws, &rest, None, &backfill);
    assert_ne!(code, Some(0), "{said}");
    for expect in [
        &format!("localhost:{}", address.port()),
        "tls_failed",
        "UnknownIssuer",
        "upstream.ca_file",
    ] {
        assert!(said.contains(expect), "{expect}: {said}");
    }
    assert!(!said.contains("sesame"), "{said}");
    let ca = folder.path().join("ca.pem");
    let (code, said) = candela(folder.path(), &ws, &rest, Some(&ca), &backfill);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("59 bars expected, 59 were missing: 59 written"), "{said}");
    let (_, said) = candela(folder.path(), &ws, &rest, Some(&ca), &["check"]);
    assert!(said.contains(&format!("{rest} answers after")), "{said}");
}

#[actix_rt::test]
async fn a_file_of_authorities_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    Certificate::issue().write_to(folder.path(), None);
    assert_eq!(vendor::roots(&folder.path().join("ca.pem")).unwrap().len(), 1);
    std::fs::write(folder.path().join("empty.pem"), "no certificate\n").unwrap();
    for (file, expect) in [
        ("away.pem", "No such file"),
        ("empty.pem", "there is no certificate in it"),
        ("server.key", "there is no certificate in it"),
    ] {
        let said = vendor::roots(&folder.path().join(file)).unwrap_err().to_string();
        assert!(
            said.contains(file) && said.contains(expect) && said.contains("upstream.ca_file"),
            "{said}"
        );
    }
}
