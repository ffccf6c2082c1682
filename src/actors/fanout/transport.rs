//! How bytes reach a client: the socket of a plain connection, or the body of a response.

use crate::domain::protocol::{Framing, Out, frames};
use bytes::{Bytes, BytesMut};
use socket2::{SockRef, Socket};
use std::net::Shutdown;
use std::rc::Rc;
use tokio::net::TcpStream;

/// How bytes reach a client.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP, written to directly.
    Plain(Rc<TcpStream>),
    /// The body of a response; the duplicated descriptor is only for shutting it.
    Body(Option<Socket>),
    /// The connection has ended.
    Cut,
}

/// Ends a socket in both directions.
pub(super) fn shut_socket<'a>(socket: impl Into<SockRef<'a>>) {
    drop(socket.into().shutdown(Shutdown::Both)); // an error means that it is shut already
}

/// Joins outputs into one piece of bytes for one write. `None` when there is nothing to write.
pub(crate) fn join_outputs(outs: &[Out], framing: Option<&mut dyn Framing>) -> Option<Bytes> {
    match (outs, framing) {
        ([], _) => None,
        ([Out::Frame(frame)], None) => Some(frame.clone()),
        (many, mut framing) => {
            let mut bytes = BytesMut::with_capacity(many.iter().map(Out::bytes).sum());
            for out in many {
                let frame = match out {
                    Out::Frame(frame) => frame.clone(),
                    Out::Covering { frame, from } => frames::covering(frame, *from),
                    Out::Slow { warn, conflated } => frames::slow(*warn, *conflated),
                };
                match framing.as_mut() {
                    None => bytes.extend_from_slice(&frame),
                    Some(framing) => framing.encode(&frame, &mut bytes),
                }
            }
            (!bytes.is_empty()).then(|| bytes.freeze())
        }
    }
}
