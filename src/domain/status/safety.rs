//! Decides whether a strategy may act on a pair now: a pure function from evidence to an answer with every reason against it.
//!
//! The answer is yes only if everything is *known* to be good. Evidence that was never published, or is older than its limit, is unknown,
//! and unknown is a reason.

use crate::domain::model::{Provenance, Session, Timestamp};
use crate::domain::pipeline::{AcceptedPrice, LagReading};
use crate::domain::vendor::{Status, Suspicion};
use crate::limits;
use std::time::Duration;

/// Why a strategy should not act on a pair.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnsafeReason {
    /// The pair's market is closed.
    MarketClosed,
    /// The service is starting, waiting for its gate, stopping, or in error.
    NotActive,
    /// The pair's own history did not pass the gate for this session.
    HistoryUnverified,
    /// The link is down, and polling does not deliver the pair.
    FeedDown,
    /// The link is up, the vendor has not confirmed the pair on it, and polling does not deliver the pair either.
    LineUnconfirmed,
    /// The vendor refuses the pair on the link, and polling does not deliver it.
    SymbolRefused,
    /// No price of this session was accepted yet.
    NoAcceptedPrice,
    /// The last accepted price is older than the pair's cadence allows.
    PriceOverdue,
    /// The newest prices were all rejected.
    TicksRejected,
    /// The timestamps of the pair's prices differ from our clock by more than the limit.
    StampsLagging,
    /// The price has been the same for suspiciously long.
    FeedFrozen,
    /// Far fewer prices come than usual.
    FeedRateCollapsed,
    /// A bar of this session is missing or flawed, may still be filled, and the market is not proved silent.
    OpenGap,
    /// An actor between the vendor and the clients has no fresh pulse.
    ActorUnresponsive,
    /// The wall clock jumped and is not trusted yet.
    ClockStepped,
    /// Our clock and the vendor's timestamps differ by more than the limit.
    ClockSkewed,
    /// The ledger cannot be written.
    LedgerUnwritable,
    /// Another candela writes to this one's database or Redis, or may do so by now.
    AnotherWriter,
    /// Evidence was never published, or is older than its limit.
    StatusUnknown,
}

impl UnsafeReason {
    /// All reasons, in the order in which they are shown.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its name in every protocol.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// When it ends, as a sentence for people.
    pub const fn clears_when(self) -> &'static str {
        match self {
            Self::MarketClosed => "the pair's session opens",
            Self::NotActive => "the service's state is `active`",
            Self::HistoryUnverified => "a good ready flag is there and the pair's history passes its check",
            Self::FeedDown => "the link is up, or a poll for the pair succeeds",
            Self::LineUnconfirmed => "the vendor confirms the pair on the link, or a poll for it succeeds",
            Self::SymbolRefused => "the vendor confirms the pair, or a poll for it succeeds",
            Self::NoAcceptedPrice | Self::PriceOverdue | Self::TicksRejected => "a price of the pair is accepted",
            Self::StampsLagging => "a price is received with a stamp within the limit",
            Self::FeedFrozen => "a different price is received",
            Self::FeedRateCollapsed => "prices are received as often as usual",
            Self::OpenGap => {
                "the missing bars were received, the vendor has none for them, or prices before and after prove that the market was silent"
            }
            Self::ActorUnresponsive => "every part between the vendor and the clients handles its messages again",
            Self::ClockStepped => "the wall clock has kept pace with the machine's steady clock for a minute",
            Self::ClockSkewed => "the machine's clock and the vendor's stamps agree within the limit",
            Self::LedgerUnwritable => "the ledger's disk can be written again",
            Self::AnotherWriter => "the other candela has stopped, or writes elsewhere",
            Self::StatusUnknown => "the service publishes its status again",
        }
    }
}

/// How a pair's prices arrive.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceFeed {
    /// Over the link; the last accepted price is recent enough.
    Live,
    /// By polling; the last accepted price is recent enough.
    Polled,
    /// Over link or polling, but no accepted price is recent enough; or nothing is known.
    Stale,
    /// Neither the link nor polling delivers the pair.
    Down,
    /// The market is closed.
    Closed,
}

impl PriceFeed {
    /// Its name in every protocol.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The evidence on one pair. Each part comes from the actor that owns it.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The pair's open session, by the calendar.
    pub session: Option<Session>,
    /// Whether the life cycle's state is `active`.
    pub active: bool,
    /// Whether the pair's history passed the gate of this session.
    pub history_verified: bool,
    /// The state of the link and of the pair on it.
    pub link: LinkEvidence,
    /// The state of polling for the pair.
    pub polling: PollingEvidence,
    /// The accepted prices and the clock difference; `None` if the pipeline never published them, or not recently.
    pub prices: Option<PriceEvidence>,
    /// Whether an actor between the vendor and the clients has no fresh pulse.
    pub unresponsive: bool,
    /// Whether the wall clock jumped recently.
    pub clock_stepped: bool,
    /// Whether our clock and the vendor's timestamps differ.
    pub clock_skewed: bool,
    /// Whether the ledger can be written.
    pub ledger_writable: bool,
    /// Whether no other candela is known to write to the same place, or could do so by now unnoticed.
    pub sole_writer: bool,
    /// The delay that a busy machine may add to any age, in market time: zero, unless market time runs faster than real time.
    pub jitter: Duration,
}

/// The state of the link, and of one pair on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkEvidence {
    /// Whether it is connected and a pair is confirmed.
    pub up: bool,
    /// The status of the pair's subscription.
    pub line: Option<Status>,
    /// Whether the plan streams none of the pairs.
    pub refused_all: bool,
    /// Twice the 99th percentile of the waits between prices, once it is learned.
    pub patience: Option<Duration>,
    /// Why the prices that come look wrong.
    pub suspicion: Option<Suspicion>,
}

/// The state of polling for one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PollingEvidence {
    /// Whether the pair is polled.
    pub wanted: bool,
    /// The interval between two rounds.
    pub every: Option<Duration>,
    /// When polling last returned a price of it.
    pub answered_at: Option<Timestamp>,
}

/// The pipeline's evidence on one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PriceEvidence {
    /// The last accepted price.
    pub last: Option<AcceptedPrice>,
    /// Whether the newest prices were all rejected.
    pub rejected_in_row: bool,
    /// How far the vendor's timestamps are from our clock.
    pub lag: Option<LagReading>,
    /// Whether a bar of the open session is missing or flawed, may still be filled, and the market is not proved silent.
    pub open_gap: bool,
}

/// The result of the assessment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Safety {
    /// How prices arrive.
    pub feed: PriceFeed,
    /// Every reason not to act on the pair; if empty, it is safe to trade.
    pub reasons: Vec<UnsafeReason>,
}

impl Safety {
    /// Whether a strategy may act on the pair.
    pub const fn safe(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl PollingEvidence {
    /// Whether polling delivers the pair.
    pub fn answers(&self, jitter: Duration, now: Timestamp) -> bool {
        let limit = self.every.unwrap_or_default().saturating_mul(2) + limits::REST_ANSWER + jitter;
        self.wanted && self.answered_at.is_some_and(|at| now.since(at) <= limit)
    }
}

impl Evidence {
    /// Whether the vendor refuses the pair on the link, and polling does not deliver it.
    pub fn refused(&self, now: Timestamp) -> bool {
        let on_link = self.link.line == Some(Status::Refused) || self.link.refused_all;
        on_link && !self.polling.answers(self.jitter, now)
    }

    /// The allowed age of the last accepted price.
    pub fn price_age_limit(&self) -> Duration {
        let usual = self.link.patience.unwrap_or(limits::SILENCE_UNLEARNED);
        let polled = self.polling.every.filter(|_| self.polling.wanted).unwrap_or_default();
        let polled = polled.saturating_mul(2);
        usual.clamp(limits::PRICE_AGE_LEAST, limits::PRICE_AGE_MOST).max(polled) + self.jitter
    }

    /// Assesses the evidence.
    pub fn assess(&self, now: Timestamp) -> Safety {
        let mut reasons = Vec::new();
        let mut note = |holds: bool, reason| {
            if holds {
                reasons.push(reason);
            }
        };
        let feed = match self.session {
            None => {
                note(true, UnsafeReason::MarketClosed);
                PriceFeed::Closed
            }
            Some(session) => self.assess_session(&session, now, &mut note),
        };
        note(self.unresponsive, UnsafeReason::ActorUnresponsive);
        note(self.clock_stepped, UnsafeReason::ClockStepped);
        note(self.clock_skewed, UnsafeReason::ClockSkewed);
        note(!self.ledger_writable, UnsafeReason::LedgerUnwritable);
        note(!self.sole_writer, UnsafeReason::AnotherWriter);
        note(self.prices.is_none(), UnsafeReason::StatusUnknown);
        Safety { feed, reasons }
    }

    /// Assesses the evidence that matters only while the market is open.
    fn assess_session(
        &self,
        session: &Session,
        now: Timestamp,
        note: &mut impl FnMut(bool, UnsafeReason),
    ) -> PriceFeed {
        note(!self.active, UnsafeReason::NotActive);
        note(!self.history_verified, UnsafeReason::HistoryUnverified);
        let confirmed = self.is_confirmed();
        let polled = self.polling.answers(self.jitter, now);
        if !confirmed && !polled {
            let reason = match (self.refused(now), self.link.up) {
                (true, _) => UnsafeReason::SymbolRefused,
                (false, true) => UnsafeReason::LineUnconfirmed,
                (false, false) => UnsafeReason::FeedDown,
            };
            note(true, reason);
        }
        let young = self
            .prices
            .is_some_and(|prices| self.assess_prices(&prices, session, now, note));
        if confirmed {
            note(self.link.suspicion == Some(Suspicion::Frozen), UnsafeReason::FeedFrozen);
            note(
                self.link.suspicion == Some(Suspicion::Collapsed),
                UnsafeReason::FeedRateCollapsed,
            );
        }
        match (young, confirmed, polled) {
            (true, _, true) => PriceFeed::Polled,
            (true, true, false) => PriceFeed::Live,
            (false, true, _) | (false, _, true) => PriceFeed::Stale,
            (_, false, false) => PriceFeed::Down,
        }
    }

    /// Whether the link is up and the vendor has confirmed the pair on it.
    fn is_confirmed(&self) -> bool {
        self.link.up && self.link.line == Some(Status::Confirmed)
    }

    /// Returns whether the last accepted price is recent enough.
    fn assess_prices(
        &self,
        prices: &PriceEvidence,
        session: &Session,
        now: Timestamp,
        note: &mut impl FnMut(bool, UnsafeReason),
    ) -> bool {
        let last = prices.last.filter(|last| session.contains(last.place));
        let young = last.is_some_and(|last| now.since(last.received) <= self.price_age_limit());
        note(last.is_none(), UnsafeReason::NoAcceptedPrice);
        note(last.is_some() && !young, UnsafeReason::PriceOverdue);
        note(prices.rejected_in_row, UnsafeReason::TicksRejected);
        // Polled prices have no timestamp of the vendor's. Timestamps may lag so far that none of the live prices is accepted, and the pair
        // is polled although the link delivers it: then the vendor contradicts itself.
        let polled = last.is_some_and(|last| last.provenance != Provenance::Live);
        let lagging = match prices.lag {
            Some(lag) => lag.behind_us().or(lag.ahead_us()).is_some() && (!polled || self.is_confirmed()),
            None => last.is_some() && !polled,
        };
        note(lagging, UnsafeReason::StampsLagging);
        note(prices.open_gap, UnsafeReason::OpenGap);
        young
    }
}

#[cfg(test)]
#[path = "tests/safety.rs"]
mod tests;
