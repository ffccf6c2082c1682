//! Sends requests to a running service over HTTP.

mod own_certificate;

use crate::actors::vendor;
use crate::domain::model::Symbol;
use crate::limits;
use crate::settings::Server;
use anyhow::Context;
use awc::ClientRequest;
use awc::error::SendRequestError;
use awc::http::header::AUTHORIZATION;
use awc::http::{StatusCode, Uri};
use clap::Args;
use futures_util::StreamExt;
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The token that a command presents.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenArg {
    /// The token to present, if the service requires one; other users of this machine see a command line, but not CANDELA_TOKEN.
    #[arg(
        long,
        env = "CANDELA_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        global = true
    )]
    token: Option<SecretString>,
}

/// The URL of the service with these settings: loopback, if it listens on every address.
fn usual_url(server: &Server) -> String {
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    let mut address = server.address;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("{scheme}://{address}")
}

impl TokenArg {
    /// The header with the token.
    pub fn authorization_header(&self) -> Option<(&'static str, String)> {
        let token = self.token.as_ref()?;
        Some((AUTHORIZATION.as_str(), format!("Bearer {}", token.expose_secret())))
    }
}

/// Why a text is no address of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not the address of a service: give one such as {example}")]
pub struct UrlError {
    given: String,
    example: &'static str,
}

/// Reads the address of a service's REST interface.
///
/// # Errors
/// [`UrlError`] when the text is no such address.
pub fn read_url(text: &str) -> Result<String, UrlError> {
    read_address(text, &["http", "https"], "http://127.0.0.1:8080")
}

/// Reads the address of a service's WebSocket.
///
/// # Errors
/// [`UrlError`] when the text is no such address.
pub fn read_ws_url(text: &str) -> Result<String, UrlError> {
    read_address(text, &["ws", "wss", "http", "https"], "ws://127.0.0.1:8080/ws")
}

fn read_address(text: &str, schemes: &[&str], example: &'static str) -> Result<String, UrlError> {
    let address: Option<Uri> = text.trim().parse().ok();
    let usable = address.filter(|address| {
        let scheme = address.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
        scheme && address.host().is_some_and(|host| !host.is_empty())
    });
    usable.map(|_| text.trim().to_owned()).ok_or_else(|| UrlError {
        given: text.chars().take(80).collect(),
        example,
    })
}

/// Why a path cannot be read as a file, or as a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {given}: give the path of one that is there")]
pub struct PathError {
    what: &'static str,
    given: String,
}

/// The path of an existing file.
///
/// # Errors
/// [`PathError`] when it does not exist, or is a folder.
pub fn read_file_path(text: &str) -> Result<PathBuf, PathError> {
    let path = PathBuf::from(text);
    let there = path.exists() && !path.is_dir();
    let given = text.to_owned();
    there.then_some(path).ok_or(PathError { what: "file", given })
}

/// The path of an existing folder.
///
/// # Errors
/// [`PathError`] when it does not exist or is no folder.
pub fn read_folder_path(text: &str) -> Result<PathBuf, PathError> {
    let path = PathBuf::from(text);
    let there = path.is_dir();
    let given = text.to_owned();
    there.then_some(path).ok_or(PathError { what: "folder", given })
}

/// The path of a file that will be written.
///
/// # Errors
/// When the folder of the file does not exist.
pub fn read_output_path(text: &str) -> Result<PathBuf, PathError> {
    let path = PathBuf::from(text);
    if let Some(folder) = path.parent().and_then(Path::to_str).filter(|folder| !folder.is_empty()) {
        read_folder_path(folder)?;
    }
    Ok(path)
}

/// A pair that is not in the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is none of the pairs that the settings name: give one of {known}{nearest}")]
pub struct UnknownPair {
    given: Symbol,
    known: String,
    nearest: String,
}

/// The requested pair; by default the first known one.
///
/// # Errors
/// [`UnknownPair`] when it is not known; a similar one is suggested.
pub fn known_pair(given: Option<Symbol>, known: &[Symbol]) -> Result<Symbol, UnknownPair> {
    let Some(given) = given else {
        return Ok(known.first().copied().unwrap_or_else(Symbol::usdcop));
    };
    if known.contains(&given) {
        return Ok(given);
    }
    Err(UnknownPair::new(given, known))
}

impl UnknownPair {
    /// An error with the given pair and the known ones.
    pub fn new(given: Symbol, known: &[Symbol]) -> Self {
        let names: Vec<&str> = known.iter().map(Symbol::as_str).collect();
        let far = |name: &str| strsim::damerau_levenshtein(given.as_str(), name);
        let nearest = names.iter().min_by_key(|name| far(name)).filter(|name| far(name) <= 2);
        let nearest = nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
        let known = names.join(", ");
        Self { given, known, nearest }
    }
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    url: String,
    token: TokenArg,
    /// How its certificate is verified.
    tls: Arc<ClientConfig>,
}

/// Why the service gave no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum ServiceError {
    #[error("candela does not answer at {url}: {why}; start it, or name its address with --url")]
    Unreachable { url: String, why: String },
    #[error("{url} requires a token: {why}; put one into CANDELA_TOKEN")]
    NoToken { url: String, why: String },
    #[error("the service at {url} refuses the request: {why}")]
    Refused { url: String, why: String },
    #[error("the server at {url} is not candela: {why}")]
    Strange { url: String, why: String },
}

impl Service {
    /// The service at this base URL.
    pub fn new(url: impl Into<String>, token: &TokenArg) -> Self {
        Self {
            url: url.into().trim_end_matches('/').to_owned(),
            token: token.clone(),
            tls: vendor::tls(&[]),
        }
    }

    /// The service at `url`, or else the one with these settings, recognized by its certificate, whichever names that has.
    ///
    /// # Errors
    /// [`ServiceError`] when the certificate of the settings cannot be read.
    pub fn connect_to(url: Option<&str>, server: &Server, token: &TokenArg) -> Result<Self, ServiceError> {
        let mut service = Self::new(url.map_or_else(|| usual_url(server), str::to_owned), token);
        if let (None, Some(files)) = (url, &server.tls) {
            let tls = own_certificate::trust_file(&files.cert);
            service.tls = tls.map_err(|why| ServiceError::Unreachable {
                url: service.url.clone(),
                why,
            })?;
        }
        Ok(service)
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the service serves clients as it should.
    ///
    /// # Errors
    /// [`ServiceError`] when it does not answer, or with neither yes nor no.
    pub async fn is_ready(&self) -> Result<bool, ServiceError> {
        let (status, answer) = self.fetch_json("/health/ready").await?;
        match answer.get("status").and_then(Value::as_str) {
            Some("ready") => Ok(true),
            Some("not_ready") => Ok(false),
            _ => Err(self.unexpected_answer("/health/ready", format!("it answers {status}"))),
        }
    }

    /// The JSON object at `path`.
    ///
    /// # Errors
    /// [`ServiceError`] when the service does not answer, or not with JSON.
    pub async fn get(&self, path: &str) -> Result<Value, ServiceError> {
        let (status, answer) = self.fetch_json(path).await?;
        self.check_answer(path, status, answer)
    }

    /// The answer, or the error that it means.
    fn check_answer(&self, path: &str, status: StatusCode, answer: Value) -> Result<Value, ServiceError> {
        let url = self.url.clone();
        match answer.get("detail").and_then(Value::as_str).map(str::to_owned) {
            _ if answer.is_null() => {
                Err(self.unexpected_answer(path, format!("it answers {status}, which is not JSON")))
            }
            _ if status.is_success() => Ok(answer),
            Some(why) if status == StatusCode::UNAUTHORIZED => Err(ServiceError::NoToken { url, why }),
            Some(why) => Err(ServiceError::Refused { url, why }),
            None => Err(self.unexpected_answer(path, format!("it answers {status}"))),
        }
    }

    /// Requests an action and returns the answer. The request has an idempotency key: if it arrives twice, it runs once.
    ///
    /// # Errors
    /// [`ServiceError`] when the service does not answer, or refuses.
    pub async fn request_action(&self, path: &str, body: &Value) -> Result<Value, ServiceError> {
        let url = format!("{}{path}", self.url);
        let key = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let client = self.build_client(limits::REST_ANSWER);
        let request = client.post(url.as_str()).insert_header(("idempotency-key", key));
        let asked = self.shows_token(request).send_json(body).await;
        let mut answer = asked.map_err(|error| unreachable_at(url, &error))?;
        let said: Value = answer.json().await.unwrap_or_default();
        self.check_answer(path, answer.status(), said)
    }

    /// Writes the answer of `path` to `out` as it arrives.
    ///
    /// # Errors
    /// [`ServiceError`] when the service refuses the request or the answer is cut short; else why it cannot be written.
    pub async fn download_to(&self, path: &str, out: &mut impl Write) -> anyhow::Result<()> {
        let url = format!("{}{path}", self.url);
        let asked = self.build_request(&url, limits::REST_ANSWER).send().await;
        let mut answer = asked.map_err(|error| unreachable_at(url, &error))?;
        if !answer.status().is_success() {
            let why: Value = answer.json().await.unwrap_or_default();
            let why = why.get("detail").and_then(Value::as_str).map(str::to_owned);
            let url = self.url.clone();
            return Err(match why {
                Some(why) if answer.status() == StatusCode::UNAUTHORIZED => ServiceError::NoToken { url, why },
                Some(why) => ServiceError::Refused { url, why },
                None => self.unexpected_answer(path, format!("it answers {}", answer.status())),
            }
            .into());
        }
        loop {
            let why = match tokio::time::timeout(limits::REST_ANSWER, answer.next()).await {
                Ok(Some(Ok(bytes))) => {
                    out.write_all(&bytes).context("write the answer")?;
                    continue;
                }
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => error.to_string(),
                Err(_) => "no more data was received in time".to_owned(),
            };
            let url = self.url.clone();
            let why = format!("its answer ended before its end: {why}");
            return Err(ServiceError::Unreachable { url, why }.into());
        }
    }

    /// The status and the JSON of the answer at `path`; null if the body is no JSON.
    async fn fetch_json(&self, path: &str) -> Result<(StatusCode, Value), ServiceError> {
        const LONGEST: Duration = Duration::from_secs(5);
        const LARGEST: usize = 16 * 1_024 * 1_024;
        let url = format!("{}{path}", self.url);
        let asked = self.build_request(&url, LONGEST).send().await;
        let mut answer = asked.map_err(|error| unreachable_at(url, &error))?;
        let said = answer.json().limit(LARGEST).await.unwrap_or_default();
        Ok((answer.status(), said))
    }

    /// A request whose answer must begin within `longest`.
    fn build_request(&self, url: &str, longest: Duration) -> ClientRequest {
        self.shows_token(self.build_client(longest).get(url))
    }

    fn build_client(&self, longest: Duration) -> awc::Client {
        let tls = Arc::clone(&self.tls);
        let connector = awc::Connector::new().rustls_0_23(tls).timeout(longest);
        awc::Client::builder().connector(connector).timeout(longest).finish()
    }

    fn shows_token(&self, request: ClientRequest) -> ClientRequest {
        match self.token.authorization_header() {
            Some(header) => request.insert_header(header),
            None => request,
        }
    }

    fn unexpected_answer(&self, path: &str, why: String) -> ServiceError {
        let url = format!("{}{path}", self.url);
        ServiceError::Strange { url, why }
    }
}

fn unreachable_at(url: String, error: &SendRequestError) -> ServiceError {
    let why = error.to_string();
    ServiceError::Unreachable { url, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Sources, load};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// The request that reaches a service which gives this answer, and the outcome of `ask`.
    async fn asked<T>(answer: &str, ask: impl AsyncFnOnce(Service) -> T) -> (String, T) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let token = TokenArg {
            token: Some("hush".into()),
        };
        let service = Service::new(format!("http://{}/", listener.local_addr().unwrap()), &token);
        assert!(!format!("{service:?}").contains("hush"));
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4_096];
            let read = socket.read(&mut head).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..read]).to_ascii_lowercase()
        };
        tokio::join!(serve, ask(service))
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[actix_rt::test]
    async fn the_token_is_shown_and_its_refusal_is_named() {
        let good = answer("200 OK", "{\"a\":1}");
        let (head, said) = asked(&good, async |service| service.get("/status").await).await;
        assert!(head.contains("authorization: bearer hush"), "{head}");
        assert_eq!(said.unwrap()["a"], 1);
        let bad = answer("401 Unauthorized", "{\"detail\":\"the token is not valid\"}");
        let (_, said) = asked(&bad, async |service| service.get("/status").await).await;
        let said = said.unwrap_err().to_string();
        assert!(
            said.ends_with("the token is not valid; put one into CANDELA_TOKEN"),
            "{said}"
        );
        assert!(!said.contains("hush"), "{said}");
    }

    #[actix_rt::test]
    async fn who_is_not_ready_is_a_candela_all_the_same() {
        for (status, body, ready) in [
            ("200 OK", "{\"status\":\"ready\"}", Some(true)),
            ("503 Service Unavailable", "{\"status\":\"not_ready\"}", Some(false)),
            ("503 Service Unavailable", "down", None),
        ] {
            let answer = answer(status, body);
            let (_, said) = asked(&answer, async |service| service.is_ready().await).await;
            assert_eq!(said.ok(), ready, "{body}");
        }
    }

    #[test]
    fn what_is_no_address_path_or_pair_is_refused_with_what_is_allowed() {
        for bad in [
            "nonsense",
            "ftp://x",
            "http://",
            "http://a b",
            "127.0.0.1:8080",
            "ws://x",
        ] {
            let said = read_url(bad).unwrap_err().to_string();
            assert!(
                said.contains(bad) && said.ends_with("such as http://127.0.0.1:8080"),
                "{said}"
            );
        }
        assert_eq!(
            read_url("https://x.example:8443/a").unwrap(),
            "https://x.example:8443/a"
        );
        assert!(read_ws_url("wss://x/ws").is_ok() && read_ws_url("nonsense").is_err());
        let said = read_file_path("/nope.csv").unwrap_err().to_string();
        assert_eq!(said, "there is no file /nope.csv: give the path of one that is there");
        assert!(read_file_path("/").is_err() && read_file_path("/dev/null").is_ok());
        assert!(read_folder_path("/nope").is_err() && read_folder_path("/").is_ok());
        let said = read_output_path("/nope/bars.csv").unwrap_err().to_string();
        assert_eq!(said, "there is no folder /nope: give the path of one that is there");
        assert!(read_output_path("bars.csv").is_ok() && read_output_path("/bars.csv").is_ok());
        let known = [Symbol::usdcop()];
        let said = known_pair(Some("USD/COB".parse().unwrap()), &known)
            .unwrap_err()
            .to_string();
        assert!(said.ends_with("give one of USD/COP (did you mean USD/COP?)"), "{said}");
        let said = known_pair(Some("EUR/CHF".parse().unwrap()), &known)
            .unwrap_err()
            .to_string();
        assert!(said.ends_with("give one of USD/COP"), "{said}");
        assert_eq!(known_pair(None, &known), Ok(Symbol::usdcop()));
    }

    #[test]
    fn a_service_that_listens_everywhere_is_asked_at_loopback() {
        let asked = |bind: &str| {
            let flags = vec![
                ("server.bind".into(), bind.into(), "--bind".into()),
                ("server.allow_open".into(), "yes".into(), "--set".into()),
            ];
            let file = Some("/dev/null".into());
            usual_url(
                &load(&Sources {
                    file,
                    flags,
                    ..Sources::default()
                })
                .unwrap()
                .server,
            )
        };
        assert_eq!(asked("0.0.0.0"), "http://127.0.0.1:8080");
        assert_eq!(asked("::"), "http://[::1]:8080");
        assert_eq!(asked("10.0.0.7"), "http://10.0.0.7:8080");
    }
}
