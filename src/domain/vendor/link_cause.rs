//! Why the link to the vendor is down, in words.

/// Describes the cause of an outage, such as `connection_refused` or `upstream_close_1006`, and names it. An unknown cause is only named.
pub fn describe_cause(cause: &str) -> String {
    let words = match cause {
        "connection_refused" => "its server refuses connections",
        "connection_reset" => "its server resets connections",
        "connect_failed" => "no connection to its server can be made",
        "connect_timeout" => "its server did not answer in time",
        "name_not_found" => "the name of its server is not found",
        "tls_failed" => "the TLS handshake with its server failed",
        "wrong_address" => "the address in upstream.ws_url cannot be used",
        "bad_handshake" | "not_a_websocket" => "its server does not answer as a WebSocket server does",
        "silent" => "no price came for longer than usual",
        "no_key" => "no API key can be used now",
        "heartbeat_unanswered" => "it stopped answering heartbeats",
        "pong_timeout" => "it did not answer a ping",
        "garbage" => "it sent frames that cannot be read",
        "frame_too_long" | "protocol_error" => "it broke the WebSocket protocol",
        "plan_refused" => "it streams none of the pairs with these keys",
        "unconfirmed" => "it confirmed no pair in time",
        "upstream_reset" => "it reset the connection",
        "upstream_close_1006" => "the connection ended without a close frame",
        close if close.starts_with("upstream_close_") => "it closed the connection",
        refused if refused.starts_with("refused_") => "it refused the connection",
        error if error.starts_with("error_") => "it reported an error",
        unknown => return unknown.to_owned(),
    };
    format!("{words} ({cause})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_described_and_named_and_an_unknown_one_is_named() {
        for (cause, described) in [
            (
                "connection_refused",
                "its server refuses connections (connection_refused)",
            ),
            (
                "upstream_close_1006",
                "the connection ended without a close frame (upstream_close_1006)",
            ),
            ("upstream_close_1001", "it closed the connection (upstream_close_1001)"),
            ("refused_401", "it refused the connection (refused_401)"),
            ("of_another_version", "of_another_version"),
        ] {
            assert_eq!(describe_cause(cause), described);
        }
    }
}
