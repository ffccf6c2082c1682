//! UDF at `/udf`: the feed that TradingView's charting library asks, and OpenBB Workspace through it.

mod compose;
mod market;
pub(crate) mod feed;
pub(crate) mod openbb;
