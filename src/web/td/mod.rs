//! The vendor's interface, served by us: the vendor's clients read our bars and prices, unchanged. REST reads the store and the registry,
//! the WebSocket sends our own ticks; the vendor is never asked.

mod compose;
mod long_bars;
mod question;
mod methods;
mod price_stream;
mod client;
mod stream;

pub(crate) use client::TdOpening;
pub(crate) use methods::answer;
pub(crate) use price_stream::PriceStream;
pub(crate) use question::TdQuestion;
pub(crate) use stream::stream;
