//! The errors of the cache. No text here ever contains a password.

use crate::domain::followers::lease::AnotherWriter;

/// Why a request of the cache failed.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum CacheError {
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    #[error("Redis refused the login: {0}; correct the user or password in REDIS_URL")]
    LoginRefused(String),
    #[error("Redis does not allow it: {0}; name the primary in REDIS_URL, or grant its user the commands")]
    NotAllowed(String),
    #[error("Redis has no room left: {0}; raise its maxmemory, or let its maxmemory-policy evict keys")]
    Full(String),
    #[error("Redis does not have the database: {0}; correct the number in REDIS_URL")]
    NoSuchDatabase(String),
    /// Another candela holds the lease.
    #[error(transparent)]
    AnotherWriter(#[from] AnotherWriter),
    #[error("REDIS_URL is not usable: {0}")]
    BadUrl(String),
    #[error("Redis reports: {0}")]
    #[strum(serialize = "refused")]
    Other(String),
}

impl CacheError {
    /// Its name for programs, which is the reason of the condition `cache_down`.
    pub fn reason(&self) -> &'static str {
        self.into()
    }

    /// Classifies the error of a command in a script: a code and a text, which older servers put after its place in the script.
    pub(super) fn of_script(said: &str) -> Self {
        let said = match said.split_once(": -") {
            Some((place, said)) if place.starts_with('@') => said,
            _ => said,
        };
        let code = said.split(' ').next().unwrap_or_default();
        Self::by_code(code, said).unwrap_or_else(|| Self::Other(said.to_owned()))
    }

    fn by_code(code: &str, text: &str) -> Option<Self> {
        let text = text.to_owned();
        Some(match code {
            "NOAUTH" | "WRONGPASS" => Self::LoginRefused(text),
            "NOPERM" | "READONLY" => Self::NotAllowed(text),
            "OOM" | "MISCONF" => Self::Full(text),
            _ => return None,
        })
    }

    pub(crate) fn sort(error: &redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        // A transaction is discarded because one of its commands was refused: that command's error is the cause.
        if let Some((_, cause)) = error.clone().into_server_errors().as_deref().and_then(<[_]>::first)
            && error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort)
            && cause.kind() != Some(ServerErrorKind::ExecAbort)
        {
            return Self::sort(&cause.clone().into());
        }
        let text = error.to_string();
        if let Some(known) = error.code().and_then(|code| Self::by_code(code, &text)) {
            return known;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::LoginRefused(text),
            _ if text.contains("Authentication required") => Self::LoginRefused(text),
            _ if text.contains("switch database") => Self::NoSuchDatabase(text),
            ErrorKind::InvalidClientConfig => Self::BadUrl(text),
            ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain) | ErrorKind::Io => {
                Self::Unreachable(text)
            }
            _ => Self::Other(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_in_a_script_was_refused_for_is_known_on_old_servers_too() {
        for (said, reason) in [
            ("READONLY You can't write against a read only replica.", "not_allowed"),
            (
                "@user_script: 1: -READONLY You can't write against a read only replica.",
                "not_allowed",
            ),
            (
                "@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
                "full",
            ),
            (
                "NOPERM The user executing the script can't run this command or subcommand",
                "not_allowed",
            ),
            ("ERR wrong number of arguments", "refused"),
        ] {
            assert_eq!(CacheError::of_script(said).reason(), reason, "{said}");
        }
    }
}
