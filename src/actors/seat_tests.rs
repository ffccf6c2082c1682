//! The clocks of a seat, and its ways to the socket.

use super::*;
use crate::domain::delivery::Options;
use crate::domain::symbol::Symbol;
use std::rc::Rc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn seat(line: Line) -> Seat {
    Seat::new(ClientId(1), line, Window::default(), Duration::ZERO)
}

#[test]
fn who_follows_nothing_for_thirty_seconds_idles() {
    let seat = seat(Line::Cut);
    assert!(!seat.idles(secs(100)), "an echo is not expected to follow anything");
    seat.expect_wishes(secs(100));
    assert!(!seat.idles(secs(129)));
    assert!(seat.idles(secs(130)));
    let ticks = Channel::ticks(Symbol::usdcop());
    assert!(seat.outbox.borrow_mut().follow(ticks, 0, Options::default()));
    assert!(!seat.idles(secs(500)));
    assert!(seat.outbox.borrow_mut().unfollow(ticks));
    assert!(!seat.idles(secs(529)), "it began to idle when it left its last channel");
    assert!(seat.idles(secs(530)));
}

#[test]
fn a_ping_goes_to_who_was_silent_and_must_be_answered() {
    let seat = seat(Line::Cut);
    assert!(!seat.ping_due(secs(19)));
    assert!(seat.ping_due(secs(20)));
    assert!(!seat.ping_due(secs(60)), "one at a time");
    assert!(!seat.silent(secs(30)));
    assert!(seat.silent(secs(31)));
    seat.pardon(secs(600)); // we stood still: the pong waits in the socket
    assert!(!seat.silent(secs(610)) && seat.silent(secs(611)));
    seat.pardon(secs(20));
    seat.heard(secs(31));
    assert!(!seat.silent(secs(45)) && !seat.ping_due(secs(50)));
    assert!(seat.ping_due(secs(51)));
}

#[actix_rt::test]
async fn what_a_full_socket_does_not_take_is_written_later_and_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket.writable().await.unwrap();
    let seat = Rc::new(seat(Line::Plain(Rc::new(socket))));
    let part = |i: u8| Bytes::from(vec![i; 1_000_000]);
    for i in 0..8 {
        seat.outbox.borrow_mut().say(&part(i), secs(0));
        seat.flush(secs(0), &mut Vec::new());
    }
    assert!(
        !seat.left.borrow().is_empty(),
        "eight megabytes fill a socket that nobody reads"
    );
    seat.end(secs(0));
    let writer = Rc::clone(&seat);
    let written = std::future::poll_fn(move |task| writer.poll_write(secs(1), task));
    let mut read = vec![0; 8_000_000];
    let (written, whole) = futures_util::future::join(written, reader.read_exact(&mut read)).await;
    assert!(written.is_ok() && whole.is_ok());
    assert!(read.is_sorted(), "the parts came in order");
    assert_eq!(read.iter().filter(|byte| **byte == 7).count(), 1_000_000);
}
