//! Starts the children of the tree, each on a thread of its own.

use crate::actors::fanout::{self, Fanout};
use crate::actors::messages::{
    Recorded, Report,
    WhenSpent::{self, Exit},
};
use crate::actors::supervision::{
    Mail, Row, Vitals,
    supervise::{mailbox, supervise},
};
use crate::actors::tree::rows;
use actix::{Actor, Addr, Arbiter, Context, Recipient, Supervised};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Starts children and keeps the row and vitals of each.
pub(super) struct Spawner {
    pub(super) up: Recipient<Report>,
    pub(super) rows: Vec<(Row, Vitals)>,
    pub(super) arbiters: Vec<Arbiter>,
}

impl Spawner {
    /// Makes a child's mailbox and starts the child on a thread of its own.
    pub(super) fn start<A, D>(&mut self, row: Row, new: impl FnOnce(D) -> A + Send + 'static, deps: D) -> Addr<A>
    where
        A: Actor<Context = Context<A>> + Supervised + Unpin + 'static,
        D: Send + 'static,
    {
        let (address, mail) = mailbox::<A>(&row);
        self.supervise(row, mail, new, deps);
        address
    }

    /// Starts a child whose mailbox exists already.
    pub(super) fn supervise<A, D>(
        &mut self,
        row: Row,
        mail: Mail<A>,
        new: impl FnOnce(D) -> A + Send + 'static,
        deps: D,
    ) where
        A: Actor<Context = Context<A>> + Supervised + Unpin + 'static,
        D: Send + 'static,
    {
        let vitals = self.enrol(row, row.name);
        let arbiter = Arbiter::new();
        let up = self.up.clone();
        arbiter.spawn_fn(move || supervise(row, mail, new(deps), vitals, up));
        self.arbiters.push(arbiter);
    }

    /// The vitals of every child that is enrolled by now.
    pub(super) fn vitals(&self) -> Vec<Vitals> {
        self.rows.iter().map(|(_, vitals)| vitals.clone()).collect()
    }

    /// A child's vitals by name, created on first use: a child that shows all vitals may start before the last child.
    pub(super) fn enrol(&mut self, row: Row, name: &str) -> Vitals {
        if let Some((_, vitals)) = self.rows.iter().find(|(_, vitals)| vitals.name() == name) {
            return vitals.clone();
        }
        let vitals = Vitals::new(name, row.mailbox);
        self.rows.push((row, vitals.clone()));
        vitals
    }

    /// Makes the mailboxes of the fan-out shards, and returns the function that starts each shard on its HTTP thread.
    pub(super) fn shards(
        &mut self,
        count: usize,
        readers: &mut Vec<(String, Recipient<Recorded>)>,
    ) -> Arc<dyn Fn(usize, fanout::Deps) -> Addr<Fanout> + Send + Sync> {
        let mut waiting = Vec::new();
        for number in 0..count {
            let name = if count == 1 {
                "fanout".to_owned()
            } else {
                format!("fanout-{number}")
            };
            let (shard, mail) = mailbox::<Fanout>(&rows::FANOUT);
            readers.push((name.clone(), shard.clone().recipient()));
            let vitals = self.enrol(rows::FANOUT, &name);
            waiting.push(Some((shard, mail, vitals)));
        }
        let waiting = Mutex::new(waiting);
        let up = self.up.clone();
        Arc::new(move |number, parts| {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((shard, mail, vitals)) = waiting.get_mut(number).and_then(Option::take) else {
                // An HTTP thread died and was started again: no reader sends to its shard any more, so the process must restart.
                let (shard, _) = mailbox::<Fanout>(&rows::FANOUT);
                drop(up.try_send(Report::GaveUp {
                    child: format!("fanout-{number}"),
                    then: Exit,
                }));
                return shard;
            };
            supervise(rows::FANOUT, mail, Fanout::new(parts), vitals, up.clone());
            shard
        })
    }
}

/// One row of the tree's table, in the order of its columns.
pub(super) const fn row(
    name: &'static str,
    mailbox: usize,
    restarts: usize,
    window: Duration,
    first_ms: u64,
    longest_ms: u64,
    when_spent: WhenSpent,
) -> Row {
    let backoff_first = Duration::from_millis(first_ms);
    let backoff_longest = Duration::from_millis(longest_ms);
    Row {
        name,
        mailbox,
        restarts,
        window,
        backoff_first,
        backoff_longest,
        when_spent,
    }
}
