//! Parses `DATABASE_URL` as PostgreSQL's own tools do, with short timeouts where it has none. Errors never show its text, which may contain
//! a password.

use crate::limits;
use crate::store::error::StoreError;
use std::path::PathBuf;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

/// How much of TLS is required: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// `disable`: never TLS.
    Plain,
    /// `allow`, `prefer`: TLS if the server offers it, with any certificate.
    Prefer,
    /// `require`: TLS, with any certificate, unless `sslrootcert` names an authority.
    Require,
    /// `verify-ca`: TLS, with a certificate of a known authority.
    VerifyAuthority,
    /// `verify-full`: that, and for this host.
    VerifyHost,
}

/// The server's address and how to connect to it.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) trust: Trust,
    /// `sslrootcert`: the authorities to trust instead of the public ones.
    pub(super) authorities: Option<PathBuf>,
}

impl Address {
    /// Parses the URL.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] with a description of the problem.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut kept: Vec<&str> = Vec::new();
        let mut trust = Trust::Prefer;
        let mut authorities = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => trust = trust_named(mode)?,
                Some(("sslrootcert", path)) => authorities = Some(PathBuf::from(path.replace("%2F", "/"))),
                Some(_) => kept.push(pair),
                None => return Err(StoreError::BadUrl("a parameter after ? has no value".to_owned())),
            }
        }
        let rest = if kept.is_empty() {
            base.to_owned()
        } else {
            format!("{base}?{}", kept.join("&"))
        };
        let mut config: Config = rest
            .parse()
            .map_err(|error| StoreError::BadUrl(explain_error(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(StoreError::BadUrl("it names no host".to_owned()));
        }
        if trust == Trust::Require && authorities.is_some() {
            trust = Trust::VerifyAuthority; // as libpq does
        }
        config.ssl_mode(match trust {
            Trust::Plain => SslMode::Disable,
            Trust::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(limits::POSTGRES_CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(limits::POSTGRES_UNANSWERED);
        }
        if !query.contains("keepalives_idle") {
            config.keepalives_idle(limits::POSTGRES_UNANSWERED);
        }
        if config.get_application_name().is_none() {
            config.application_name("candela");
        }
        Ok(Self {
            config,
            trust,
            authorities,
        })
    }
}

fn trust_named(mode: &str) -> Result<Trust, StoreError> {
    Ok(match mode {
        "disable" => Trust::Plain,
        "allow" | "prefer" => Trust::Prefer,
        "require" => Trust::Require,
        "verify-ca" => Trust::VerifyAuthority,
        "verify-full" => Trust::VerifyHost,
        _ => {
            let modes = "disable, allow, prefer, require, verify-ca, verify-full";
            return Err(StoreError::BadUrl(format!("its sslmode is none of {modes}")));
        }
    })
}

/// The parser's message without its own prefix. It names options, never values.
fn explain_error(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    let text = source.map_or_else(|| error.to_string(), ToString::to_string);
    if text.contains("port") {
        return format!("{text}; in a user or password / @ : ? # are written %2F %40 %3A %3F %23");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        Address::parse(url)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn sslmode_means_what_libpq_means_by_it() {
        for (mode, expect, wire) in [
            ("", Trust::Prefer, SslMode::Prefer),
            ("?sslmode=disable", Trust::Plain, SslMode::Disable),
            ("?sslmode=prefer", Trust::Prefer, SslMode::Prefer),
            ("?sslmode=require", Trust::Require, SslMode::Require),
            (
                "?sslmode=require&sslrootcert=%2Fca.pem",
                Trust::VerifyAuthority,
                SslMode::Require,
            ),
            ("?sslmode=verify-ca", Trust::VerifyAuthority, SslMode::Require),
            (
                "?connect_timeout=9&sslmode=verify-full",
                Trust::VerifyHost,
                SslMode::Require,
            ),
        ] {
            let address = Address::parse(&format!("postgresql://u:p@db:5432/x{mode}")).unwrap();
            assert_eq!((address.trust, address.config.get_ssl_mode()), (expect, wire), "{mode}");
        }
    }

    #[test]
    fn timeouts_are_short_unless_the_url_says_otherwise() {
        let address = Address::parse("postgres://u@db/x").unwrap();
        assert_eq!(address.config.get_connect_timeout(), Some(&limits::POSTGRES_CONNECT));
        let address = Address::parse("postgres://u@db/x?connect_timeout=9").unwrap();
        assert_eq!(
            address.config.get_connect_timeout(),
            Some(&std::time::Duration::from_secs(9))
        );
    }

    #[test]
    fn a_bad_url_is_one_sentence_without_the_password() {
        for (url, part) in [
            ("postgresql://u:hunter2@db:port/x", "port"),
            ("postgresql://u:p@w:hunter2@db/x", "%40"),
            ("postgresql://u:hunter2@db/x?sslmode=maybe", "sslmode"),
            ("postgresql://u:hunter2@db/x?colour=red", "colour"),
            ("postgresql://u:hunter2@db/x?lonely", "no value"),
            ("postgresql://", "no host"),
            ("hunter2", ""),
        ] {
            let text = problem(url);
            assert!(text.starts_with("DATABASE_URL is not usable: "), "{url}: {text}");
            assert!(text.contains(part) && !text.contains("hunter2"), "{url}: {text}");
        }
    }
}
