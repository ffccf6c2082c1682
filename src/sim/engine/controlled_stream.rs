//! A TCP connection with a control: beneath HTTP or WebSocket it can be closed without a close frame, reset, cut after some bytes, or left
//! open and dead.

use crate::sim::scenario::Ending;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// Nothing is read and writes are dropped: TCP stays open, and the peer gets no answer.
    Dead,
    /// The connection ends now, in this way.
    Ended(Ending),
}

/// Controls a [`ControlledStream`]. One thread only.
#[derive(Debug)]
pub(crate) struct ConnectionControl {
    flow: Cell<Flow>,
    /// How the connection ends once everything is written.
    farewell: Cell<Option<Ending>>,
    /// Bytes that may still be written before the connection vanishes.
    ration: Cell<Option<usize>>,
    waker: RefCell<Option<Waker>>,
}

impl ConnectionControl {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            flow: Cell::new(Flow::Open),
            farewell: Cell::new(None),
            ration: Cell::new(None),
            waker: RefCell::new(None),
        })
    }

    /// Ends the connection now; bytes that were not written yet are lost.
    pub(crate) fn end_now(&self, ending: Ending) {
        self.set_flow(Flow::Ended(ending));
    }

    /// Makes the connection dead without ending it.
    pub(super) fn go_silent(&self) {
        self.set_flow(Flow::Dead);
    }

    /// Lets a dead connection read and write again.
    pub(super) fn revive(&self) {
        if self.is_silent() {
            self.set_flow(Flow::Open);
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.flow.get() == Flow::Dead
    }

    /// Sets how the connection ends when its writer shuts it down.
    pub(super) fn end_after_all(&self, ending: Ending) {
        self.farewell.set(Some(ending));
    }

    /// Makes the connection vanish after `bytes` more bytes.
    pub(super) fn vanish_after(&self, bytes: usize) {
        self.ration.set(Some(bytes));
    }

    fn set_flow(&self, flow: Flow) {
        self.flow.set(flow);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn register_waker(&self, context: &Context<'_>) {
        self.waker.replace(Some(context.waker().clone()));
    }
}

/// A TCP connection and its control.
#[derive(Debug)]
pub(crate) struct ControlledStream {
    stream: TcpStream,
    control: Rc<ConnectionControl>,
    /// Whether the socket was already shut down.
    let_go: bool,
}

impl ControlledStream {
    pub(crate) const fn new(stream: TcpStream, control: Rc<ConnectionControl>) -> Self {
        Self {
            stream,
            control,
            let_go: false,
        }
    }

    pub(super) fn control(&self) -> Rc<ConnectionControl> {
        Rc::clone(&self.control)
    }

    /// Makes the coming close of the descriptor a reset or a plain end; returns the error for any further use.
    #[expect(
        clippy::disallowed_methods,
        reason = "what still comes from a peer that was left is heard out beside, for a while, and no actor is there to do it"
    )]
    fn shut_down(&mut self, ending: Ending) -> io::Error {
        let socket = SockRef::from(&self.stream);
        let done = match ending {
            Ending::Reset => socket.set_linger(Some(Duration::ZERO)),
            Ending::Vanish | Ending::Close(_) if self.let_go => Ok(()),
            Ending::Vanish | Ending::Close(_) => socket
                .shutdown(std::net::Shutdown::Write)
                .and_then(|()| socket.try_clone())
                .and_then(|twin| TcpStream::from_std(twin.into()))
                .map(|twin| drop(actix_rt::spawn(heard_out(twin)))),
        };
        self.let_go = true;
        // A socket that cannot be shut down is gone already, as intended.
        done.err().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

/// How long a peer may go on sending after the connection ended.
const HEARD_OUT: Duration = Duration::from_secs(5);

/// Reads what the peer still sends, until it ends too. Closing a descriptor with unread bytes is a reset to the peer, and an end without a
/// close frame must not become a reset because a heartbeat happened to be under way.
async fn heard_out(mut stream: TcpStream) {
    let mut nowhere = tokio::io::sink();
    let ended = tokio::io::copy(&mut stream, &mut nowhere);
    let _ended_or_overdue = tokio::time::timeout(HEARD_OUT, ended).await;
}

impl AsyncRead for ControlledStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.control.register_waker(context);
        match self.control.flow.get() {
            Flow::Open => Pin::new(&mut self.stream).poll_read(context, buffer),
            Flow::Dead => Poll::Pending,
            Flow::Ended(ending) => Poll::Ready(Err(self.shut_down(ending))),
        }
    }
}

impl AsyncWrite for ControlledStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match (self.control.flow.get(), self.control.ration.get()) {
            (Flow::Ended(ending), _) => Poll::Ready(Err(self.shut_down(ending))),
            (Flow::Dead, _) => Poll::Ready(Ok(bytes.len())),
            (Flow::Open, None) => Pin::new(&mut self.stream).poll_write(context, bytes),
            (Flow::Open, Some(0)) => {
                self.control.end_now(Ending::Vanish);
                Poll::Ready(Err(self.shut_down(Ending::Vanish)))
            }
            (Flow::Open, Some(left)) => {
                let part = bytes.get(..left).unwrap_or(bytes);
                let written = Pin::new(&mut self.stream).poll_write(context, part);
                if let Poll::Ready(Ok(count)) = written {
                    self.control.ration.set(Some(left.saturating_sub(count)));
                }
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.control.flow.get() {
            Flow::Open => Pin::new(&mut self.stream).poll_flush(context),
            Flow::Dead => Poll::Ready(Ok(())),
            Flow::Ended(ending) => Poll::Ready(Err(self.shut_down(ending))),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self.control.flow.get(), self.control.farewell.get()) {
            (Flow::Ended(ending), _) | (Flow::Open, Some(ending)) => Poll::Ready(Err(self.shut_down(ending))),
            (Flow::Open, None) => Pin::new(&mut self.stream).poll_shutdown(context),
            (Flow::Dead, _) => {
                self.control.register_waker(context);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionControl, ControlledStream};
    use crate::sim::scenario::Ending;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// What a peer that sends all the while reads at the end.
    async fn end_seen(ending: Ending) -> std::io::Result<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut peer = TcpStream::connect(listener.local_addr()?).await?;
        let control = ConnectionControl::new();
        let mut pipe = ControlledStream::new(listener.accept().await?.0, control.clone());
        peer.write_all(b"on its way").await?;
        control.end_now(ending);
        assert!(pipe.read_u8().await.is_err());
        drop(pipe);
        if ending == Ending::Vanish {
            peer.write_all(b"not known yet").await?;
        }
        peer.read(&mut [0; 8]).await
    }

    #[actix_rt::test]
    async fn an_end_without_a_word_is_no_reset_whatever_the_peer_was_saying() {
        for _ in 0..20 {
            assert_eq!(end_seen(Ending::Vanish).await.unwrap(), 0);
        }
    }

    #[actix_rt::test]
    async fn a_reset_is_one() {
        let seen = end_seen(Ending::Reset).await.unwrap_err();
        assert_eq!(seen.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
