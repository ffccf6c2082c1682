//! What a feed is made of.

use crate::actors::messages::{Arrived, KeyAnswered, LeaseKey, Report};
use crate::clock::Clock;
use crate::domain::feed_view::FeedView;
use crate::domain::session::Sessions;
use crate::domain::symbol::Symbol;
use actix::Recipient;
use std::sync::Arc;
use tokio::sync::watch;

/// What the link needs from settings.
#[derive(Debug, Clone)]
pub struct FeedSettings {
    /// The vendor's WebSocket, without a key: `wss://ws.twelvedata.com/v1/quotes/price`.
    pub url: String,
    /// The pairs, each with its market's sessions.
    pub symbols: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// Whom to trust: `actors::vendor::tls`.
    pub tls: Arc<rustls::ClientConfig>,
}

/// Everything a feed is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct FeedParts {
    /// From settings.
    pub settings: FeedSettings,
    /// Market time.
    pub clock: Clock,
    /// Whether prices are wanted.
    pub wanted: watch::Receiver<bool>,
    /// To the key pool.
    pub lease: Recipient<LeaseKey>,
    /// To the key pool.
    pub answered: Recipient<KeyAnswered>,
    /// To the aggregator.
    pub arrived: Recipient<Arrived>,
    /// To Root.
    pub root: Recipient<Report>,
    /// What `/status` shows.
    pub view: Arc<watch::Sender<FeedView>>,
}
