//! Rounds over real sockets: what each client reads, and in how many writes.

use super::*;
use crate::actors::deck::Counts;
use crate::actors::line::Line;
use crate::clock::Clock;
use crate::domain::delivery::{Options, Window};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

fn usdcop() -> Channel {
    Channel::ticks(Symbol::usdcop())
}

fn frame(seq: u64) -> Bytes {
    Bytes::from(format!("{seq};"))
}

fn run(seqs: std::ops::RangeInclusive<u64>) -> Run {
    let mut runs = Runs::default();
    seqs.for_each(|seq| runs.push(usdcop(), seq, &frame(seq)));
    let mut taken = runs.take();
    assert_eq!(taken.len(), 1);
    taken.remove(0)
}

/// A deck with clients that follow from `after` on, and the other ends of their sockets.
async fn deck(after: &[u64]) -> (Rc<Deck>, Vec<TcpStream>) {
    let clock = Clock::manual(Timestamp::from_secs(0));
    let deck = Deck::new(0, Window::default(), Arc::new(Counts::default()), clock);
    let mut readers = Vec::new();
    for last in after {
        readers.push(join(&deck, *last).await);
    }
    (deck, readers)
}

/// One more client, that follows from `after` on.
async fn join(deck: &Deck, after: u64) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket.writable().await.unwrap();
    let seat = deck.join(Line::Plain(Rc::new(socket)));
    assert!(seat.outbox.borrow_mut().follow(usdcop(), after, Options::default()));
    deck.listen(usdcop(), &seat);
    reader
}

async fn read(reader: &TcpStream) -> String {
    let mut bytes = [0; 256];
    reader.readable().await.unwrap();
    let read = reader.try_read(&mut bytes).unwrap();
    String::from_utf8_lossy(bytes.get(..read).unwrap()).into_owned()
}

fn visit(run: &mut Run, deck: &Deck, budget: usize) -> usize {
    let mut others = Vec::new();
    let visited = run.visit(deck, budget, deck.now(), &mut others);
    assert!(others.is_empty());
    visited
}

#[test]
fn what_follows_is_joined_and_what_does_not_begins_anew() {
    let (one, two) = (usdcop(), Channel::ticks("EUR/USD".parse().unwrap()));
    let mut runs = Runs::default();
    for (channel, seq) in [(one, 1), (two, 7), (one, 2), (one, 4)] {
        runs.push(channel, seq, &frame(seq));
    }
    assert_eq!(runs.longest(), 2);
    let seqs = |run: &Run| (run.channel, run.frames().map(|(seq, _)| seq).collect::<Vec<_>>());
    let taken: Vec<_> = runs.take().iter().map(seqs).collect();
    assert_eq!(taken, [(one, vec![1, 2]), (two, vec![7]), (one, vec![4])]);
    assert!(runs.take().is_empty());
}

#[actix_rt::test]
async fn who_is_visited_later_gets_what_came_meanwhile_in_the_same_write() {
    let (deck, readers) = deck(&[0, 0, 0]).await;
    let mut run = run(1..=1);
    assert_eq!(visit(&mut run, &deck, 1), 1);
    run.push(&frame(2));
    assert_eq!(visit(&mut run, &deck, 9), 3);
    assert!(run.over());
    assert_eq!(read(&readers[0]).await, "1;2;"); // two writes, already together in the kernel
    assert_eq!(read(&readers[1]).await, "1;2;");
    assert_eq!(read(&readers[2]).await, "1;2;");
    assert_eq!(
        run.joined.len(),
        2,
        "one write from 1 on for two clients, one from 2 on for the first"
    );
}

#[actix_rt::test]
async fn a_client_gets_only_what_it_does_not_have() {
    let (deck, readers) = deck(&[3, 1]).await;
    let mut run = run(1..=3);
    visit(&mut run, &deck, 9);
    assert!(run.over());
    assert_eq!(read(&readers[1]).await, "2;3;");
    let mut nothing = [0; 8];
    assert_eq!(
        readers[0].try_read(&mut nothing).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[actix_rt::test]
async fn nobody_is_skipped_when_a_client_comes_while_the_round_goes_on() {
    let (deck, mut readers) = deck(&[0, 0, 0]).await;
    let mut run = run(1..=1);
    visit(&mut run, &deck, 2);
    run.push(&frame(2)); // everyone is visited once more, the third first
    visit(&mut run, &deck, 1);
    readers.push(join(&deck, 2).await);
    visit(&mut run, &deck, 9);
    assert!(run.over());
    for reader in readers.iter().take(3) {
        assert_eq!(read(reader).await, "1;2;");
    }
}

#[actix_rt::test]
async fn a_round_begins_anew_when_somebody_left_and_nobody_is_skipped() {
    let (deck, readers) = deck(&[0, 0, 0]).await;
    let mut run = run(1..=1);
    visit(&mut run, &deck, 2);
    let first = deck.seats()[0].id();
    deck.unlisten(usdcop(), first);
    visit(&mut run, &deck, 9);
    assert!(run.over());
    for reader in &readers {
        assert_eq!(read(reader).await, "1;", "once each");
    }
}

#[actix_rt::test]
async fn a_run_without_an_audience_is_over_at_once() {
    let (deck, _readers) = deck(&[]).await;
    let mut run = run(1..=2);
    assert_eq!(visit(&mut run, &deck, 5), 0);
    assert!(run.over());
}
