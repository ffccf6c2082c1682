//! UDF at `/udf`: the data feed that TradingView's charting library requests, and OpenBB Workspace through it.

mod compose;
mod market;
pub(crate) mod feed;
pub(crate) mod openbb;
