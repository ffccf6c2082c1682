//! Channels as an event stream over plain HTTP: the messages of the socket, with the client's positions as `Last-Event-ID`.

mod admit;
mod body;

pub(crate) use admit::events;
pub(crate) use body::EventBody;
