//! What can go wrong with the cache. No text here ever holds a password.

/// Why the cache could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The server is not there, went away, or answers too late.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// User or password.
    #[error("Redis refused the login: {0}; correct the user or password in REDIS_URL")]
    LoginRefused(String),
    /// The setting names no server.
    #[error("REDIS_URL is not usable: {0}")]
    BadUrl(String),
    /// Anything else that the server says, such as that it has no room left.
    #[error("Redis says: {0}")]
    Other(String),
}

impl CacheError {
    pub(super) fn sort(error: &redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        let text = error.to_string();
        let refused = ["NOAUTH", "WRONGPASS", "NOPERM"];
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::LoginRefused(text),
            _ if error.code().is_some_and(|code| refused.contains(&code)) => Self::LoginRefused(text),
            ErrorKind::InvalidClientConfig => Self::BadUrl(text),
            ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain) => Self::Unreachable(text),
            ErrorKind::Io => Self::Unreachable(text),
            _ => Self::Other(text),
        }
    }
}
