//! Channels as a stream of events over plain HTTP: what the socket tells, with the client's positions as `Last-Event-ID`.

mod admit;
mod body;

pub(crate) use admit::events;
pub(crate) use body::EventBody;
