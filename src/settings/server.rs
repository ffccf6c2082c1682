//! Section `server`: the address for clients, and what they may do.

use crate::limits;
use crate::settings::reader::Reader;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// How clients reach the service.
#[derive(Debug, Clone)]
pub struct Server {
    /// The address to listen on; port 0 picks a free one.
    pub address: SocketAddr,
    /// Origins of browser pages that may connect; `*` allows any.
    pub cors_origins: Vec<String>,
    /// The file of tokens that clients must present; without it, any client that can reach the address may connect.
    pub tokens_file: Option<PathBuf>,
    /// Whether tokens are also accepted in `?token=`, where access logs record them.
    pub query_tokens: bool,
    /// Whether `ticks:TEST/USD` and `bars.1m:TEST/USD` are served: a known pattern for developers of clients.
    pub test_channels: bool,
    /// Whether `/td` answers the vendor's clients from our own data.
    pub twelvedata: bool,
    /// Certificate and key, if TLS is served.
    pub tls: Option<Tls>,
    /// Client connections at one time.
    pub connections: usize,
    /// Client connections at one time from one address.
    pub connections_per_address: usize,
    /// New connections in a second.
    pub accepts_per_second: u32,
    /// HTTP worker threads, each with the connections of its clients; `None` means `limits::HTTP_WORKERS`.
    pub workers: Option<usize>,
}

/// A certificate and its key, both PEM, read again when the files change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain, own certificate first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

pub(super) fn read(reader: &mut Reader) -> Server {
    let address = read_address(reader);
    let server = Server {
        address,
        cors_origins: reader.read_list(
            "server.cors_origins",
            &["http://localhost:3000"],
            "browser pages from these origins may connect; \"*\" lets any",
            parse_origin,
        ),
        tokens_file: reader.read_optional(
            "server.tokens_file",
            "a file of hashed tokens, one of which each client must present; read again when it changes",
            parse_path,
        ),
        query_tokens: reader.read_flag(
            "server.query_tokens",
            "false",
            "accept tokens from ?token= too, where access logs record them",
        ),
        test_channels: reader.read_flag(
            "server.test_channels",
            "false",
            "also publish ticks:TEST/USD and bars.1m:TEST/USD: a known pattern with a missing and a revised bar, for writing clients",
        ),
        twelvedata: reader.read_flag(
            "server.twelvedata",
            "false",
            "serve TwelveData's own clients at /td, from candela's data, with candela's tokens as their API keys (in the address, where access logs record them)",
        ),
        tls: read_tls(reader),
        connections: reader.read_number(
            "server.connections",
            "20000",
            1..=limits::CLIENTS,
            "client connections at one time",
        ),
        connections_per_address: reader.read_number(
            "server.connections_per_address",
            "20000",
            1..=limits::CLIENTS,
            "client connections at one time from one address",
        ),
        accepts_per_second: reader.read_number(
            "server.accepts_per_second",
            "5000",
            1..=100_000,
            "new connections in a second",
        ),
        workers: Some(reader.read_number(
            "server.workers",
            "0",
            0..=crate::limits::HTTP_WORKERS_MAX,
            "HTTP worker threads, at most 8; 0 means 2",
        ))
        .filter(|workers| *workers > 0),
    };
    guard_the_door(reader, &server);
    server
}

fn read_address(reader: &mut Reader) -> SocketAddr {
    let bind: IpAddr = reader.read_parsed("server.bind", "127.0.0.1", "the address to listen on", |text| {
        text.parse()
            .map_err(|_| "is not an IP address such as 127.0.0.1 or 0.0.0.0".to_owned())
    });
    let port = reader.read_number(
        "server.port",
        "8080",
        0..=u16::MAX,
        "the TCP port to listen on; 0 picks a free one",
    );
    SocketAddr::new(bind, port)
}

/// Listening on an address that strangers can reach needs an explicit setting.
fn guard_the_door(reader: &mut Reader, server: &Server) {
    let bind = server.address.ip();
    let open = reader.read_flag(
        "server.allow_open",
        "false",
        "listen on other than loopback addresses although no token is required",
    );
    if !bind.is_loopback() && server.tokens_file.is_none() && !open {
        reader.report_problem(
            "server.bind",
            format!("{bind} can be reached from outside and no token is required: set server.tokens_file, or server.allow_open = true"),
        );
    }
}

fn read_tls(reader: &mut Reader) -> Option<Tls> {
    let cert = reader.read_optional(
        "server.tls_cert",
        "a PEM file with the certificate chain: serve TLS",
        parse_existing_path,
    );
    let key = reader.read_optional(
        "server.tls_key",
        "a PEM file with the certificate's private key",
        parse_existing_path,
    );
    match (cert, key) {
        (Some(cert), Some(key)) => Some(Tls { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            reader.report_problem("server.tls_cert", "has no key beside it: set server.tls_key too");
            None
        }
        (None, Some(_)) => {
            reader.report_problem(
                "server.tls_key",
                "has no certificate beside it: set server.tls_cert too",
            );
            None
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every reader of a text")]
pub(super) fn parse_path(text: &str) -> Result<PathBuf, String> {
    let path: Result<PathBuf, Infallible> = text.parse();
    Ok(path.unwrap_or_default())
}

/// The path of an existing file.
pub(super) fn parse_existing_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_file() {
        Ok(path)
    } else {
        Err("is not a file that exists".to_owned())
    }
}

fn parse_origin(text: &str) -> Result<String, String> {
    let host = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '*', ' ']) => Ok(text.to_ascii_lowercase()),
        _ if text == "*" => Ok(text.to_owned()),
        _ => Err("is not an origin such as https://app.example.com (no path), nor \"*\"".to_owned()),
    }
}
