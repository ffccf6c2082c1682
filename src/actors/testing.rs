//! Test doubles and fixtures of actors.

use crate::actors::cluster::NodeName;
use crate::actors::messages::Report;
use crate::actors::services::Services;
use crate::cache::{Cache, Memory};
use crate::clock::Clock;
use crate::domain::cluster::NodeRole;
use crate::ledger::{Ledger, LedgerOptions};
use crate::store::{Sqlite, Store};
use actix::dev::ToEnvelope;
use actix::{Actor, Context, Handler, Message, Recipient};
use std::path::Path;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Stands in for an actor and forwards the messages that it receives.
pub(crate) struct Listener<M>(UnboundedSender<M>);

impl<M: Unpin + 'static> Actor for Listener<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Unpin + 'static> Handler<M> for Listener<M> {
    type Result = ();
    fn handle(&mut self, heard: M, _: &mut Context<Self>) {
        drop(self.0.send(heard)); // the test has ended
    }
}

/// An address, and the messages sent to it, in order.
pub(crate) fn listen<M>() -> (Recipient<M>, UnboundedReceiver<M>)
where
    M: Message<Result = ()> + Send + Unpin + 'static,
    Context<Listener<M>>: ToEnvelope<Listener<M>, M>,
{
    let (heard, said) = unbounded_channel();
    (Listener(heard).start().recipient(), said)
}

/// All messages received so far.
pub(crate) async fn heard<M>(said: &mut UnboundedReceiver<M>) -> Vec<M> {
    for _ in 0..8 {
        tokio::task::yield_now().await; // the listener takes what is in its mailbox
    }
    std::iter::from_fn(|| said.try_recv().ok()).collect()
}

/// What other nodes know a node as.
pub(crate) fn node_name(ledger: &Ledger, role: NodeRole) -> NodeName {
    NodeName {
        by: ledger.holder().clone(),
        role,
        took_over: false,
    }
}

/// Services over an existing ledger and store; the cache is in memory.
pub(crate) fn services(clock: Clock, ledger: &Ledger, store: Store, root: Recipient<Report>) -> Services {
    Services::new(
        clock,
        ledger.reader(),
        (store, Cache::Memory(Memory::default())),
        std::sync::Arc::default(),
        root,
    )
}

/// Services over the given store and a new ledger in `folder`.
pub(crate) fn services_over(folder: &Path, clock: Clock, store: Store, root: Recipient<Report>) -> Services {
    let options = LedgerOptions::new(clock.now().datetime().date_naive(), 7);
    let ledger = Ledger::open(&folder.join("ledger"), options).unwrap();
    services(clock, &ledger, store, root)
}

/// Services over a new ledger and a new store in `folder`.
pub(crate) fn services_in(folder: &Path, clock: Clock, root: Recipient<Report>) -> Services {
    let store = Store::Sqlite(Sqlite::open(&folder.join("services.db")).unwrap());
    services_over(folder, clock, store, root)
}
