//! How bytes reach a client: the socket of a plain connection, or the body of a response.

use crate::domain::delivery::Out;
use crate::domain::frames;
use bytes::{Bytes, BytesMut};
use socket2::{SockRef, Socket};
use std::net::Shutdown;
use std::rc::Rc;
use tokio::net::TcpStream;

/// How bytes reach a client.
#[derive(Debug)]
pub enum Line {
    /// Plain TCP: they are written to it.
    Plain(Rc<TcpStream>),
    /// Through the body of a response; the duplicated descriptor is there to shut it.
    Body(Option<Socket>),
    /// The connection is no more.
    Cut,
}

/// Ends a socket in both directions.
pub(super) fn shut<'a>(socket: impl Into<SockRef<'a>>) {
    drop(socket.into().shutdown(Shutdown::Both)); // an error means that it is shut already
}

/// What waits, as one piece of bytes: what goes together goes in one write.
pub(super) fn join(outs: &[Out]) -> Option<Bytes> {
    match outs {
        [] => None,
        [Out::Frame(frame)] => Some(frame.clone()),
        many => {
            let mut bytes = BytesMut::with_capacity(many.iter().map(Out::bytes).sum());
            for out in many {
                match out {
                    Out::Frame(frame) => bytes.extend_from_slice(frame),
                    Out::Covering { frame, from } => bytes.extend_from_slice(&frames::covering(frame, *from)),
                    Out::Slow { warn, conflated } => bytes.extend_from_slice(&frames::slow(*warn, *conflated)),
                }
            }
            Some(bytes.freeze())
        }
    }
}
