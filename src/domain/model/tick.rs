//! One price from upstream, before and after the filter judges it.

use crate::domain::model::{Price, Symbol, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a tick or bar came from.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// The vendor's WebSocket.
    Live,
    /// Polled over REST, price by price.
    Polled,
    /// Fetched over REST, as closed bars.
    Backfill,
    /// Prepared by the upstream history pipeline.
    L0,
    /// More than one of these in one bar.
    Mixed,
}

impl Provenance {
    /// Its name in every protocol and table.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Provenance::name`].
    pub fn named(name: &str) -> Option<Self> {
        [Self::Live, Self::Polled, Self::Backfill, Self::L0, Self::Mixed]
            .into_iter()
            .find(|p| p.name() == name)
    }

    /// The provenance of something made from both.
    pub fn with(self, other: Self) -> Self {
        if self == other { self } else { Self::Mixed }
    }
}

/// One price as the vendor sent it: decoded, not yet judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The pair.
    pub symbol: Symbol,
    /// The vendor's price.
    #[serde(with = "crate::domain::model::price::as_micros")]
    pub price: Price,
    /// Best bid, where the vendor sent one.
    #[serde(with = "crate::domain::model::price::maybe_as_micros")]
    pub bid: Option<Price>,
    /// Best ask, where the vendor sent one.
    #[serde(with = "crate::domain::model::price::maybe_as_micros")]
    pub ask: Option<Price>,
    /// The vendor's timestamp, in whole seconds and often whole minutes; many ticks share one.
    pub at: Timestamp,
    /// How it reached us.
    pub provenance: Provenance,
}

/// A tick that the filter accepted. Its numbers are in the [`crate::domain::model::Sequenced`] around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedTick {
    /// The tick.
    pub tick: Tick,
    /// When its frame arrived here.
    pub received_at: Timestamp,
}

/// Why a tick was not accepted. Each reason has its own counter.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The symbol was not subscribed.
    UnknownSymbol,
    /// Zero or negative.
    NonPositive,
    /// Bid above ask.
    CrossedQuote,
    /// The bid or ask differs from the tick's own price by more than two consecutive prices may differ.
    FarQuote,
    /// Timestamped further ahead of our clock than vendors are known to do.
    FromTheFuture,
    /// The same timestamp, price and quote as the tick before it.
    ExactRepeat,
    /// Too far from the last good price, and not confirmed by the ticks that followed.
    AbsurdJump,
    /// Belongs to a bar that can no longer be revised.
    TooLate,
    /// Timestamped outside the market's session.
    OffSession,
    /// No earlier price was known to compare it with, and the prices that followed did not confirm it.
    Unconfirmed,
    /// The price is missing, null or not a number.
    UnreadablePrice,
    /// The bid or ask is not a number.
    UnreadableQuote,
    /// The timestamp is not an instant.
    UnreadableStamp,
    /// Its price, bid or ask is larger than the tables hold.
    OutOfRange,
    /// Six decimals cannot hold the price: rounding would change it by more than [`crate::limits::FINE_PRICE_MICROS`] allows.
    BeyondScale,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its name in counters, logs and `/status`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
