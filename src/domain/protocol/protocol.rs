//! The table of error codes and close codes for WebSocket clients. Documents are generated from it and checked against it.

/// An error in a client's request, answered with an error and no close.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// The message is not JSON, or not an object.
    BadJson,
    /// A field is missing or of the wrong kind.
    BadMessage,
    /// The action is unknown.
    UnknownAction,
    /// A token is required first.
    Unauthenticated,
    /// The token is not valid.
    AuthFailed,
    /// The channel does not exist.
    UnknownChannel,
    /// The symbol is not served.
    UnknownSymbol,
    /// Too many messages.
    RateLimited,
    /// Too many channels.
    ChannelLimit,
    /// Too many connections.
    ConnectionLimit,
    /// A message larger than the limit.
    MessageTooLarge,
    /// The replay is larger than the limit.
    ReplayTooLarge,
    /// The position is older than the stored messages.
    PositionExpired,
    /// The service cannot answer yet.
    NotReady,
}

impl Problem {
    /// All problems, by code.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its code on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::BadJson => 1001,
            Self::BadMessage => 1002,
            Self::UnknownAction => 1003,
            Self::Unauthenticated => 1100,
            Self::AuthFailed => 1101,
            Self::UnknownChannel => 1104,
            Self::UnknownSymbol => 1105,
            Self::RateLimited => 1201,
            Self::ChannelLimit => 1202,
            Self::ConnectionLimit => 1203,
            Self::MessageTooLarge => 1204,
            Self::ReplayTooLarge => 1301,
            Self::PositionExpired => 1302,
            Self::NotReady => 1402,
        }
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the same message may succeed later.
    pub const fn temporary(self) -> bool {
        matches!(self, Self::RateLimited | Self::ConnectionLimit | Self::NotReady)
    }
}

/// Why a connection is closed.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Close {
    /// The client requested it.
    Normal,
    /// The service is stopping.
    GoingAway,
    /// A violation of RFC 6455.
    #[strum(serialize = "protocol_violation")]
    Protocol,
    /// A kind of message that is not supported.
    #[strum(serialize = "unsupported_data")]
    Unsupported,
    /// A text that is not UTF-8.
    BadText,
    /// A message larger than the limit.
    #[strum(serialize = "message_too_large")]
    TooLarge,
    /// A fault of the service.
    Internal,
    /// The service is restarting.
    Restarting,
    /// The service is busy; the client may retry later.
    TryLater,
    /// The service is not ready.
    NotReady,
    /// The client subscribed to nothing.
    Idle,
    /// The client reads too slowly.
    SlowConsumer,
    /// Continuity was lost on this connection.
    ContinuityLost,
    /// Too many requests.
    TooManyRequests,
    /// No token, or not in time.
    Unauthenticated,
    /// The token does not allow this.
    Forbidden,
    /// The token is no longer valid.
    TokenRevoked,
}

impl Close {
    /// All closes, by code.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its code on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::BadText => 1007,
            Self::TooLarge => 1009,
            Self::Internal => 1011,
            Self::Restarting => 1012,
            Self::TryLater => 1013,
            Self::NotReady => 4003,
            Self::Idle => 4008,
            Self::SlowConsumer => 4010,
            Self::ContinuityLost => 4011,
            Self::TooManyRequests => 4029,
            Self::Unauthenticated => 4501,
            Self::Forbidden => 4503,
            Self::TokenRevoked => 4510,
        }
    }

    /// Its name in counters and documents.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What the client should do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Normal => "stop",
            Self::GoingAway | Self::Restarting => "reconnect after the delay and resume",
            Self::Protocol | Self::Unsupported | Self::BadText | Self::TooLarge => "fix",
            Self::Internal | Self::TryLater => "back off",
            Self::NotReady | Self::Idle | Self::SlowConsumer | Self::ContinuityLost | Self::TooManyRequests => {
                "back off and resume"
            }
            Self::Unauthenticated | Self::Forbidden | Self::TokenRevoked => "not retry without a change",
        }
    }

    /// Whether the client may reconnect unchanged.
    pub const fn invites(self) -> bool {
        !matches!(
            self,
            Self::Normal
                | Self::Protocol
                | Self::Unsupported
                | Self::BadText
                | Self::TooLarge
                | Self::Unauthenticated
                | Self::Forbidden
                | Self::TokenRevoked
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_and_names_are_unique_and_in_order() {
        let codes: Vec<u16> = Problem::ALL.iter().map(|problem| problem.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b));
        let closes: Vec<u16> = Close::ALL.iter().map(|close| close.code()).collect();
        assert!(closes.is_sorted_by(|a, b| a < b));
        let names: BTreeSet<&str> = Problem::ALL.iter().map(|problem| problem.name()).collect();
        assert_eq!(names.len(), Problem::ALL.len());
        let names: BTreeSet<&str> = Close::ALL.iter().map(|close| close.name()).collect();
        assert_eq!(names.len(), Close::ALL.len());
    }
    #[test]
    fn a_client_may_come_back_where_the_advice_says_so() {
        for &close in Close::ALL {
            let advice = close.advice();
            assert_eq!(
                close.invites(),
                advice.starts_with("reconnect") || advice.starts_with("back off"),
                "{close:?}"
            );
        }
    }
}
