//! A connection's timers, and its ways of writing to the socket.

use super::*;
use crate::domain::model::Symbol;
use crate::domain::protocol::Options;
use std::rc::Rc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn connection(transport: Transport) -> Connection {
    Connection::new(ClientId(1), transport, Window::default(), Duration::ZERO)
}

#[test]
fn who_follows_nothing_for_thirty_seconds_idles() {
    let connection = connection(Transport::Cut);
    assert!(
        !connection.idles_too_long(secs(100)),
        "an echo is not expected to follow anything"
    );
    connection.expect_wishes(secs(100));
    assert!(!connection.idles_too_long(secs(129)));
    assert!(connection.idles_too_long(secs(130)));
    let ticks = Channel::ticks(Symbol::usdcop());
    assert!(connection.outbox.borrow_mut().follow(ticks, 0, Options::default()));
    assert!(!connection.idles_too_long(secs(500)));
    assert!(connection.outbox.borrow_mut().unfollow(ticks));
    assert!(
        !connection.idles_too_long(secs(529)),
        "it began to idle when it left its last channel"
    );
    assert!(connection.idles_too_long(secs(530)));
}

#[test]
fn a_ping_goes_to_who_was_silent_and_must_be_answered() {
    let connection = connection(Transport::Cut);
    assert!(!connection.ping_due(secs(19)));
    assert!(connection.ping_due(secs(20)));
    assert!(!connection.ping_due(secs(60)), "one at a time");
    assert!(!connection.missed_pong(secs(30)));
    assert!(connection.missed_pong(secs(31)));
    connection.extend_deadlines(secs(600)); // we stood still: the pong waits in the socket
    assert!(!connection.missed_pong(secs(610)) && connection.missed_pong(secs(611)));
    connection.extend_deadlines(secs(20));
    connection.mark_alive(secs(31));
    assert!(!connection.missed_pong(secs(45)) && !connection.ping_due(secs(50)));
    assert!(connection.ping_due(secs(51)));
}

#[actix_rt::test]
async fn what_a_full_socket_does_not_take_is_written_later_and_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket.writable().await.unwrap();
    let connection = Rc::new(connection(Transport::Plain(Rc::new(socket))));
    let part = |i: u8| Bytes::from(vec![i; 1_000_000]);
    for i in 0..8 {
        connection.outbox.borrow_mut().say(&part(i), secs(0));
        connection.flush(secs(0), &mut Vec::new());
    }
    assert!(
        !connection.left.borrow().is_empty(),
        "eight megabytes fill a socket that nobody reads"
    );
    connection.end(secs(0));
    let writer = Rc::clone(&connection);
    let written = std::future::poll_fn(move |task| writer.poll_write(secs(1), task));
    let mut read = vec![0; 8_000_000];
    let (written, whole) = futures_util::future::join(written, reader.read_exact(&mut read)).await;
    assert!(written.is_ok() && whole.is_ok());
    assert!(read.is_sorted(), "the parts came in order");
    assert_eq!(read.iter().filter(|byte| **byte == 7).count(), 1_000_000);
}
