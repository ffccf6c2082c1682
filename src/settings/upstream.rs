//! Section `upstream`: the vendor's addresses, the keys, and the credits that may be used.

use crate::domain::pipeline::OnMismatch;
use crate::settings::{
    keys::{self, Key},
    reader::Reader,
    server::parse_existing_path,
};
use std::path::PathBuf;
use std::time::Duration;

/// How the service reaches the vendor.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The vendor's WebSocket.
    pub ws_url: String,
    /// The vendor's REST interface, without a trailing slash.
    pub rest_url: String,
    /// The keys, in the order in which the old service rotated: G1, then G2.
    pub keys: Vec<Key>,
    /// Credits a minute that the plan allows each key.
    pub credits_per_minute: u32,
    /// Credits a UTC day that the plan allows each key.
    pub credits_per_day: u32,
    /// The least time between two calls on one key.
    pub spacing: Duration,
    /// How long the link may be down before it is replaced by polling.
    pub poll_after: Duration,
    /// What to do when the vendor's closed bar differs from ours.
    pub mismatch: OnMismatch,
    /// Authorities to trust in addition to the web's: a proxy that inspects TLS has its own.
    pub ca_file: Option<PathBuf>,
}

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn read(reader: &mut Reader, environment: &[(String, String)]) -> Upstream {
    Upstream {
        ws_url: reader.read_parsed(
            "upstream.ws_url",
            "wss://ws.twelvedata.com/v1/quotes/price",
            "the vendor's WebSocket",
            |text| parse_url(text, &["wss://", "ws://"]),
        ),
        rest_url: reader.read_parsed(
            "upstream.rest_url",
            "https://api.twelvedata.com",
            "the vendor's REST interface",
            |text| parse_url(text, &["https://", "http://"]),
        ),
        keys: keys::read(reader, environment),
        credits_per_minute: reader.read_number(
            "upstream.credits_per_minute",
            "8",
            1..=100_000,
            "calls a minute that one key may make",
        ),
        credits_per_day: reader.read_number(
            "upstream.credits_per_day",
            "800",
            1..=100_000_000,
            "calls a UTC day that one key may make",
        ),
        spacing: reader.read_duration(
            "upstream.spacing_seconds",
            "8",
            SECOND,
            0..=3_600,
            "seconds between two calls on one key",
        ),
        poll_after: reader.read_duration(
            "upstream.poll_after_seconds",
            "30",
            SECOND,
            1..=3_600,
            "a link that is down for longer is replaced by polling",
        ),
        mismatch: reader.read_choice(
            "upstream.mismatch",
            "flag",
            "where the vendor's closed bar differs from candela's: keep (compare nothing, keep candela's bar), flag (keep candela's bar and flag it) or replace (use the vendor's bar)",
            &[
                ("keep", OnMismatch::Keep),
                ("flag", OnMismatch::Flag),
                ("replace", OnMismatch::Replace),
            ],
        ),
        ca_file: reader.read_optional(
            "upstream.ca_file",
            "a PEM file with certificate authorities to trust besides the web's, such as that of a proxy",
            parse_existing_path,
        ),
    }
}

fn parse_url(text: &str, schemes: &[&str]) -> Result<String, String> {
    let host = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if host.contains('@') || text.contains("apikey=") => {
            Err("holds a credential: keys belong in upstream.keys_g1 or the key variables".to_owned())
        }
        Some(host) if !host.is_empty() && !host.starts_with('/') && !host.contains(' ') => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(format!("does not begin with {} and a host", schemes.join(" or "))),
    }
}
