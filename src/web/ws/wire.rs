//! The session's side of a plain connection: reads messages from the socket, and writes what the socket did not take at once.
//!
//! An idle client has no buffer: bytes are read into the thread's buffer, and kept only while a message is incomplete. With the buffers of
//! an HTTP dispatcher an idle client would cost three times as much.

use crate::actors::fanout::{ClientRegistry, Connection};
use crate::domain::protocol::Close;
use crate::limits;
use crate::web::shared::Pass;
use crate::web::ws::{InboundMessage, Messages};
use bytes::BytesMut;
use futures_util::Stream;
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::net::TcpStream;

thread_local! {
    /// The read buffer of the thread.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::CLIENT_READ].into_boxed_slice());
}

/// One plain connection. Dropping it disconnects the client.
pub(crate) struct Wire {
    socket: Rc<TcpStream>,
    messages: Messages,
    connection: Rc<Connection>,
    registry: Rc<ClientRegistry>,
    /// Whether everything is written; further input is read and discarded, so that what was written arrives.
    done: bool,
    _pass: Pass,
}

impl Wire {
    /// `read` arrived with the request for the upgrade.
    pub(crate) fn new(
        socket: Rc<TcpStream>,
        read: BytesMut,
        connection: Rc<Connection>,
        registry: Rc<ClientRegistry>,
        pass: Pass,
    ) -> Self {
        Self {
            socket,
            messages: Messages::new(read, limits::CLIENT_MESSAGE),
            connection,
            registry,
            done: false,
            _pass: pass,
        }
    }

    /// Reads once. Returns whether the connection continues.
    fn poll_read(&mut self, task: &mut Context<'_>) -> Poll<bool> {
        loop {
            if ready!(self.socket.poll_read_ready(task)).is_err() {
                return Poll::Ready(false);
            }
            let read = READ.with_borrow_mut(|buffer| {
                let read = self.socket.try_read(buffer);
                if let Ok(read) = &read {
                    self.messages.push(buffer.get(..*read).unwrap_or_default());
                }
                read
            });
            match read {
                Ok(0) => return Poll::Ready(false),
                Ok(_) => return Poll::Ready(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(false),
            }
        }
    }
}

impl Stream for Wire {
    type Item = InboundMessage;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<InboundMessage>> {
        let this = &mut *self;
        match this.connection.poll_write(this.registry.now(), task) {
            Poll::Ready(Ok(())) if !this.done => {
                this.done = true;
                this.messages.deafen();
                if SockRef::from(this.socket.as_ref()).shutdown(Shutdown::Write).is_err() {
                    return Poll::Ready(None);
                }
            }
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            if let Some(said) = this.messages.next() {
                return Poll::Ready(Some(said));
            }
            if !ready!(this.poll_read(task)) {
                return Poll::Ready(None);
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "an internal error of the service ended this connection; resume";
            self.connection.close(Close::Internal, why, self.registry.now());
        }
        self.registry.disconnect_client(self.connection.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::fanout::Transport;
    use crate::clock::Clock;
    use crate::domain::model::Timestamp;
    use crate::domain::protocol::Window;
    use crate::web::DoorLimits;
    use crate::web::shared::Door;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[actix_rt::test]
    #[expect(clippy::disallowed_methods, reason = "a task that panics, as a session would")]
    async fn a_session_that_panics_says_that_it_was_our_mistake() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Rc::new(listener.accept().await.unwrap().0);
        let counts = Arc::default();
        let registry = ClientRegistry::new(
            0,
            Window::default(),
            Arc::clone(&counts),
            Clock::manual(Timestamp::from_secs(0)),
        );
        let connection = registry.connect_client(Transport::Plain(Rc::clone(&socket)));
        let limits = DoorLimits {
            connections: 1,
            per_address: 1,
            per_second: 1,
        };
        let pass = Door::new(limits).enter(None).unwrap();
        let wire = Wire::new(socket, BytesMut::new(), connection, registry, pass);
        let session = actix_rt::spawn(async move {
            let _wire = wire;
            panic!("a bug");
        });
        assert!(session.await.is_err());
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said.get(..4), Some([0x88, 64, 0x03, 0xf3].as_slice()), "{said:?}");
        assert_eq!(counts.connected.load(Ordering::Relaxed), 0);
        assert_eq!(counts.closed().get("internal"), Some(&1));
    }
}
