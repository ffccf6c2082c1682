//! The vendor's side: its WebSocket and REST formats, the link to it, and the keys and credits that it grants.

pub mod wire;
pub mod rest;
pub mod series_interval;
pub mod series;
pub mod events;
pub mod trouble;
pub mod repeats;
pub mod backoff;
pub mod cadence;
pub mod liveness;
pub mod subscriptions;
pub mod feed_view;
pub mod link;
pub mod key;
pub mod keys;
pub mod keys_view;
pub mod budget;
pub mod poll;

pub use backoff::Backoff;
pub use budget::{Forecast, Spendable};
pub use cadence::{Cadence, Silence, Suspicion};
pub use feed_view::{FeedView, SilenceReport, SubscriptionView};
pub(crate) use key::{DAY, Key};
pub use key::{KeyPolicy, KeySlot, KeySlotError, KeyUse};
pub use keys::{NoLease, Pool, Purpose};
pub use keys_view::{KeyState, KeyView, KeysView};
pub use link::{Effect, Event, Link, LinkSettings};
pub use liveness::{AtDeadline, Liveness};
pub use poll::{Poll, Step};
pub use repeats::Repeats;
pub use rest::{AnswerError, KEY_HEADER, SeriesRequest, vendor_interval};
pub use series::{ApiError, Params, SeriesQuestion, SeriesRow, currencies, price_text};
pub use series_interval::{BarSpan, SeriesInterval};
pub use subscriptions::{Judged, Status, Subscriptions};
pub use trouble::{Disposition, Refusal, Trouble};
pub use wire::{Frame, SubscribeStatus};
