//! The database: the row of the lease, which only its own clock ends, and the rows that the leader writes. Each statement is that of
//! `src/store/postgres/lease.rs` or `write.rs`.

use crate::cluster::disk::Ev;
use crate::cluster::plan::S;
use crate::cluster::witness::Witness;
use candela::domain::model::Epoch;
use candela::limits;
use std::collections::{BTreeMap, HashMap};

/// The row of the lease.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) term: i64,
    pub(crate) holder: u64,
    led_by: Option<u64>,
    pub(crate) provable: bool,
    expires: i64,
}

/// All that is in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) lease: Option<Row>,
    /// Rows by epoch, channel and seq.
    pub(crate) rows: HashMap<(Epoch, usize, u64), u64>,
    positions: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Base {
    pub(crate) held: Rows,
    /// Its clock is ahead by so much.
    pub(crate) clock: i64,
    pub(crate) copy: Option<Rows>,
    /// Transactions that are open: of which holder under which term, and until when the server waits for its end.
    pub(crate) open: Vec<(u64, i64, i64)>,
}

/// What TAKE answers.
#[derive(Debug, Clone)]
pub(crate) enum Taken {
    Mine {
        term: i64,
        before: Option<i64>,
        led_by: Option<u64>,
        provable: Option<bool>,
    },
    Held {
        by: u64,
        left: i64,
    },
}

fn ttl() -> i64 {
    i64::try_from(limits::LEADER_TTL.as_micros()).expect("seconds")
}

impl Base {
    const fn time(&self, now: i64) -> i64 {
        now + self.clock
    }

    /// LOOK, or LAST with `expired`: the holder, and for how long.
    pub(crate) fn look(&self, expired: bool, now: i64) -> Option<(u64, i64)> {
        let row = self.held.lease.as_ref()?;
        let left = row.expires - self.time(now);
        (left > 0 || expired).then_some((row.holder, left.max(0)))
    }

    pub(crate) fn renew(&mut self, by: u64, term: i64, now: i64) -> bool {
        let expires = self.time(now) + ttl();
        let row = self
            .held
            .lease
            .as_mut()
            .filter(|row| row.holder == by && row.term == term);
        row.map(|row| row.expires = expires).is_some()
    }

    /// Until when a statement that changes the term has to wait: a transaction holds the row.
    pub(crate) fn locked_until(&mut self, now: i64) -> Option<i64> {
        self.open.retain(|(_, _, until)| *until > now);
        self.open.iter().map(|(_, _, until)| *until).max()
    }

    pub(crate) fn take(&mut self, by: u64, now: i64, witness: &mut Witness) -> Taken {
        let time = self.time(now);
        let earlier = self.held.lease.clone();
        if let Some(row) = earlier.as_ref().filter(|row| row.expires > time && row.holder != by) {
            return Taken::Held {
                by: row.holder,
                left: row.expires - time,
            };
        }
        let term = earlier.as_ref().map_or(1, |row| row.term + 1);
        self.held.lease = Some(Row {
            term,
            holder: by,
            led_by: earlier.as_ref().and_then(|row| row.led_by),
            provable: earlier.as_ref().is_none_or(|row| row.provable),
            expires: time + ttl(),
        });
        witness.took(term);
        Taken::Mine {
            term,
            before: earlier.as_ref().map(|row| row.term),
            led_by: earlier.as_ref().and_then(|row| row.led_by),
            provable: earlier.map(|row| row.provable),
        }
    }

    pub(crate) fn prove(&mut self, by: u64, term: i64, provable: bool, witness: &mut Witness) -> bool {
        let row = self
            .held
            .lease
            .as_mut()
            .filter(|row| row.holder == by && row.term == term);
        let Some(row) = row else { return false };
        (row.provable, row.led_by) = (provable, Some(by));
        if !provable {
            witness.alone(term);
        }
        true
    }

    pub(crate) fn release(&mut self, by: u64, term: i64, now: i64) {
        let time = self.time(now);
        if let Some(row) = self
            .held
            .lease
            .as_mut()
            .filter(|row| row.holder == by && row.term == term)
        {
            row.expires = time;
        }
    }

    /// The statement that lets a transaction write, and keeps the term until its end.
    pub(crate) fn fence(&mut self, by: u64, term: i64, now: i64) -> bool {
        let mine = self
            .held
            .lease
            .as_ref()
            .is_some_and(|row| row.holder == by && row.term == term);
        if mine {
            self.open.push((by, term, now + 2 * S));
        }
        mine
    }

    /// Writes what is new of these events, and how far the reader is, in a transaction that was fenced before; `false`: the server has ended
    /// it.
    pub(crate) fn commit(&mut self, (by, term): (u64, i64), batch: &Batch, now: i64, witness: &mut Witness) -> bool {
        let open = self
            .open
            .iter()
            .position(|(holder, of, until)| (*holder, *of) == (by, term) && *until > now);
        let Some(open) = open else { return false };
        self.open.remove(open);
        self.write(term, batch, witness);
        true
    }

    /// The same in one statement.
    pub(crate) fn write_fenced(&mut self, (by, term): (u64, i64), batch: &Batch, witness: &mut Witness) -> bool {
        let mine = self
            .held
            .lease
            .as_ref()
            .is_some_and(|row| row.holder == by && row.term == term);
        if mine {
            self.write(term, batch, witness);
        }
        mine
    }

    fn write(&mut self, term: i64, batch: &Batch, witness: &mut Witness) {
        let now_term = self.held.lease.as_ref().map_or(0, |row| row.term);
        for event in &batch.events {
            let key = (batch.epochs[event.channel], event.channel, event.seq);
            let known = self.held.rows.get(&key).copied();
            witness.stored((term, now_term), batch.epochs[event.channel], event, known);
            self.held.rows.entry(key).or_insert(event.what);
        }
        let place = self.held.positions.entry(batch.lineage.clone()).or_default();
        *place = (*place).max(batch.events.last().map_or(0, |event| event.position));
    }

    /// How far the reader is in a ledger with this name.
    pub(crate) fn position(&self, lineage: &str) -> u64 {
        self.held.positions.get(lineage).copied().unwrap_or(0)
    }
}

/// What the leader writes at once.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) lineage: String,
    pub(crate) epochs: [Epoch; crate::cluster::disk::CHANNELS],
    pub(crate) events: Vec<Ev>,
}
