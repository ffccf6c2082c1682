//! The one table of the embedded store that is written row by row, as diesel sees it: its statement is prepared once and
//! kept. Everything else goes through the SQL that both stores share (`store::sql`).

diesel::table! {
    /// Ticks. Prices in millionths, instants in microseconds since 1970 UTC.
    realtime_market_data (id) {
        /// Given by SQLite.
        id -> BigInt,
        /// `USDCOP`.
        symbol -> Text,
        /// When it arrived.
        time -> BigInt,
        /// Best bid.
        bid -> Nullable<BigInt>,
        /// Best ask.
        ask -> Nullable<BigInt>,
        /// The price.
        last -> BigInt,
        /// Ask less bid.
        spread -> Nullable<BigInt>,
        /// The day in Bogota.
        session_date -> Text,
        /// `candela`.
        source -> Text,
        /// The incarnation of its channel.
        epoch -> Text,
        /// Its number in its channel.
        seq -> BigInt,
        /// The vendor's stamp.
        event_time -> BigInt,
        /// How it reached us.
        provenance -> Text,
    }
}
