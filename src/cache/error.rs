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
    /// It only reads, or the user may not do this.
    #[error("Redis does not allow it: {0}; name the primary in REDIS_URL, or grant its user the commands")]
    NotAllowed(String),
    /// Its memory is full and it evicts nothing, or it cannot save.
    #[error("Redis has no room left: {0}; raise its maxmemory, or let its maxmemory-policy evict keys")]
    Full(String),
    /// The URL's number is none of its databases.
    #[error("Redis does not have the database: {0}; correct the number in REDIS_URL")]
    NoSuchDatabase(String),
    /// The setting names no server.
    #[error("REDIS_URL is not usable: {0}")]
    BadUrl(String),
    /// Anything else that the server says.
    #[error("Redis says: {0}")]
    Other(String),
}

impl CacheError {
    /// Its name, for programs: the reason of the condition `cache_down`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::LoginRefused(_) => "login_refused",
            Self::NotAllowed(_) => "not_allowed",
            Self::Full(_) => "full",
            Self::NoSuchDatabase(_) => "no_such_database",
            Self::BadUrl(_) => "bad_url",
            Self::Other(_) => "refused",
        }
    }

    pub(super) fn sort(error: &redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        // A transaction is discarded because a command of it was refused: that error says why.
        if let Some((_, cause)) = error.clone().into_server_errors().as_deref().and_then(<[_]>::first)
            && error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort)
            && cause.kind() != Some(ServerErrorKind::ExecAbort)
        {
            return Self::sort(&cause.clone().into());
        }
        let text = error.to_string();
        match (error.code(), error.kind()) {
            (Some("NOAUTH" | "WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => Self::LoginRefused(text),
            (Some("NOPERM" | "READONLY"), _) => Self::NotAllowed(text),
            (Some("OOM" | "MISCONF"), _) => Self::Full(text),
            _ if text.contains("Authentication required") => Self::LoginRefused(text),
            _ if text.contains("switch database") => Self::NoSuchDatabase(text),
            (_, ErrorKind::InvalidClientConfig) => Self::BadUrl(text),
            (_, ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain)) => Self::Unreachable(text),
            (_, ErrorKind::Io) => Self::Unreachable(text),
            _ => Self::Other(text),
        }
    }
}
