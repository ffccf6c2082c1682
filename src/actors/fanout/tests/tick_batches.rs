//! Passes over real sockets: what each client reads, and in how many writes.

use super::*;
use crate::actors::fanout::{ClientCounts, Transport};
use crate::clock::Clock;
use crate::domain::model::{Symbol, Timestamp};
use crate::domain::protocol::{Options, Window};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

fn usdcop() -> Channel {
    Channel::ticks(Symbol::usdcop())
}

fn frame(seq: u64) -> Bytes {
    Bytes::from(format!("{seq};"))
}

fn batch(seqs: std::ops::RangeInclusive<u64>) -> TickBatch {
    let mut batches = TickBatches::default();
    seqs.for_each(|seq| batches.push(usdcop(), seq, &frame(seq)));
    let mut taken = batches.take();
    assert_eq!(taken.len(), 1);
    taken.remove(0)
}

/// A registry with clients subscribed from `after` on, and the other ends of their sockets.
async fn registry(after: &[u64]) -> (Rc<ClientRegistry>, Vec<TcpStream>) {
    let clock = Clock::manual(Timestamp::from_secs(0));
    let registry = ClientRegistry::new(0, Window::default(), Arc::new(ClientCounts::default()), clock);
    let mut readers = Vec::new();
    for last in after {
        readers.push(join(&registry, *last).await);
    }
    (registry, readers)
}

/// One more client, subscribed from `after` on.
async fn join(registry: &ClientRegistry, after: u64) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket.writable().await.unwrap();
    let connection = registry.connect_client(Transport::Plain(Rc::new(socket)));
    assert!(
        connection
            .outbox
            .borrow_mut()
            .follow(usdcop(), after, Options::default())
    );
    registry.add_to_audience(usdcop(), &connection);
    reader
}

async fn read(reader: &TcpStream) -> String {
    let mut bytes = [0; 256];
    reader.readable().await.unwrap();
    let read = reader.try_read(&mut bytes).unwrap();
    String::from_utf8_lossy(bytes.get(..read).unwrap()).into_owned()
}

fn write_to_clients(batch: &mut TickBatch, registry: &ClientRegistry, budget: usize) -> usize {
    let mut others = Vec::new();
    let visited = batch.write_to_clients(registry, budget, registry.now(), &mut others);
    assert!(others.is_empty());
    visited
}

#[test]
fn what_follows_is_joined_and_what_does_not_begins_anew() {
    let (one, two) = (usdcop(), Channel::ticks("EUR/USD".parse().unwrap()));
    let mut batches = TickBatches::default();
    for (channel, seq) in [(one, 1), (two, 7), (one, 2), (one, 4)] {
        batches.push(channel, seq, &frame(seq));
    }
    assert_eq!(batches.longest(), 2);
    let seqs = |batch: &TickBatch| (batch.channel, batch.frames().map(|(seq, _)| seq).collect::<Vec<_>>());
    let taken: Vec<_> = batches.take().iter().map(seqs).collect();
    assert_eq!(taken, [(one, vec![1, 2]), (two, vec![7]), (one, vec![4])]);
    assert!(batches.take().is_empty());
}

#[actix_rt::test]
async fn who_is_visited_later_gets_what_came_meanwhile_in_the_same_write() {
    let (registry, readers) = registry(&[0, 0, 0]).await;
    let mut batch = batch(1..=1);
    assert_eq!(write_to_clients(&mut batch, &registry, 1), 1);
    batch.push(&frame(2));
    assert_eq!(write_to_clients(&mut batch, &registry, 9), 3);
    assert!(batch.is_over());
    assert_eq!(read(&readers[0]).await, "1;2;"); // two writes, already together in the kernel
    assert_eq!(read(&readers[1]).await, "1;2;");
    assert_eq!(read(&readers[2]).await, "1;2;");
    assert_eq!(
        batch.joined.len(),
        2,
        "one write from 1 on for two clients, one from 2 on for the first"
    );
}

#[actix_rt::test]
async fn a_client_gets_only_what_it_does_not_have() {
    let (registry, readers) = registry(&[3, 1]).await;
    let mut batch = batch(1..=3);
    write_to_clients(&mut batch, &registry, 9);
    assert!(batch.is_over());
    assert_eq!(read(&readers[1]).await, "2;3;");
    let mut nothing = [0; 8];
    assert_eq!(
        readers[0].try_read(&mut nothing).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[actix_rt::test]
async fn nobody_is_skipped_when_a_client_comes_while_the_round_goes_on() {
    let (registry, mut readers) = registry(&[0, 0, 0]).await;
    let mut batch = batch(1..=1);
    write_to_clients(&mut batch, &registry, 2);
    batch.push(&frame(2)); // everyone is visited once more, the third first
    write_to_clients(&mut batch, &registry, 1);
    readers.push(join(&registry, 2).await);
    write_to_clients(&mut batch, &registry, 9);
    assert!(batch.is_over());
    for reader in readers.iter().take(3) {
        assert_eq!(read(reader).await, "1;2;");
    }
}

#[actix_rt::test]
async fn a_round_begins_anew_when_somebody_left_and_nobody_is_skipped() {
    let (registry, readers) = registry(&[0, 0, 0]).await;
    let mut batch = batch(1..=1);
    write_to_clients(&mut batch, &registry, 2);
    let first = registry.connections()[0].id();
    registry.remove_from_audience(usdcop(), first);
    write_to_clients(&mut batch, &registry, 9);
    assert!(batch.is_over());
    for reader in &readers {
        assert_eq!(read(reader).await, "1;", "once each");
    }
}

#[actix_rt::test]
async fn a_run_without_an_audience_is_over_at_once() {
    let (registry, _readers) = registry(&[]).await;
    let mut batch = batch(1..=2);
    assert_eq!(write_to_clients(&mut batch, &registry, 5), 0);
    assert!(batch.is_over());
}
