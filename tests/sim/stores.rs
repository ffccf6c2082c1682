//! The store and the cache, and the readers of the ledger that keep them up: by the real pacers and the real plan of streams.

use crate::disk::Disk;
use crate::plan::Fault;
use crate::reach::Reach;
use crate::world::{Happens, World};
use candela::domain::followers::{
    ChannelLog, Clear, FoundStream, Next, StreamEntry, StreamId, StreamState, batch, stream::plan_stream,
};
use candela::domain::lifecycle::Event as LifeEvent;
use candela::domain::model::{BarKey, Channel, Epoch, Event, Position, Sequenced, Symbol, Timestamp};
use candela::ledger::{Ancestor, surviving_range};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

pub(crate) type Step = batch::Step;

/// What the store holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    ticks: HashMap<(Symbol, Epoch, u64), (i64, i64)>,
    bars: BTreeMap<(BarKey, u32), [i64; 4]>,
    positions: BTreeMap<u64, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) rows: Rows,
    pub(crate) copy: Option<Rows>,
    /// It took events that a ledger has lost since: bars of them are nobody's.
    pub(crate) ahead: bool,
    /// It was restored from a copy, and no event was written since: the next one shows that.
    pub(crate) unseen_restore: bool,
    /// The last write failed.
    failed: bool,
}

/// What Redis holds under one key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    entries: VecDeque<StreamEntry>,
    last_id: StreamId,
}

#[derive(Debug, Default)]
pub(crate) struct Redis {
    streams: BTreeMap<Channel, Stream>,
    /// Keys under which somebody else put a value of another type.
    strange: BTreeSet<Channel>,
}

/// As many entries as a stream holds at least.
const KEPT: usize = 2_000;

impl Store {
    /// The last event that it has of a ledger with this name.
    pub(crate) fn position_in(&self, lineage: u64) -> u64 {
        self.rows.positions.get(&lineage).copied().unwrap_or(0)
    }

    /// One transaction. Rows that are there stay; the position moves with them.
    fn write(&mut self, disk: &Disk, from: Position, limit: usize) -> Result<Position, &'static str> {
        self.unseen_restore = false;
        let position = self.position_in(disk.state.lineage);
        if position + 1 < from.0 {
            return Err("behind");
        }
        let mut last = from.0.saturating_sub(1);
        for i in 0..u64::try_from(limit).unwrap_or(0) {
            let Some(numbered) = disk.event(Position(from.0 + i)) else {
                break;
            };
            self.rows.insert(disk, numbered);
            last = numbered.position.0;
        }
        let place = self.rows.positions.entry(disk.state.lineage).or_default();
        *place = (*place).max(last);
        Ok(Position(*place))
    }

    /// At the end the store has what the ledger has: nothing is missing, nothing is doubled.
    pub(crate) fn check(&self, disk: &Disk) -> Vec<String> {
        let mut wrong = Vec::new();
        let epochs = |channel: &Channel| {
            let before = disk
                .state
                .ancestors
                .iter()
                .filter_map(|(_, _, heads)| heads.get(channel));
            before
                .chain(disk.heads().get(channel))
                .map(|head| head.epoch)
                .collect::<Vec<_>>()
        };
        for numbered in disk.events() {
            match &numbered.event {
                Event::Tick(accepted) => {
                    let channel = Channel::ticks(accepted.tick.symbol);
                    let row = (accepted.tick.price.micros(), accepted.tick.at.micros());
                    let key = |epoch| (accepted.tick.symbol, epoch, numbered.seq);
                    if !epochs(&channel)
                        .into_iter()
                        .any(|epoch| self.rows.ticks.get(&key(epoch)) == Some(&row))
                    {
                        wrong.push(format!("S2: the store lacks a tick: {numbered:?}"));
                    }
                }
                Event::Bar(bar) if !self.ahead && self.rows.bars.get(&(bar.key, bar.revision)) != Some(&ohlc(bar)) => {
                    wrong.push(format!("S2: the store lacks a bar, or has another: {bar:?}"));
                }
                _ => {}
            }
        }
        for ((symbol, epoch, seq), row) in &self.rows.ticks {
            let channel = Channel::ticks(*symbol);
            if disk.heads().get(&channel).is_some_and(|head| head.epoch == *epoch) {
                let event = disk.channel(channel, *seq, *seq, 1);
                let same = event.first().is_some_and(|numbered| match &numbered.event {
                    Event::Tick(accepted) => (accepted.tick.price.micros(), accepted.tick.at.micros()) == *row,
                    _ => false,
                });
                if !same {
                    wrong.push(format!(
                        "S1: the store has a tick that the ledger has not: {channel} {epoch} {seq}"
                    ));
                }
            }
        }
        wrong.truncate(3);
        wrong
    }
}

impl Rows {
    fn insert(&mut self, disk: &Disk, numbered: &Sequenced) {
        match &numbered.event {
            Event::Tick(accepted) => {
                let epoch = disk.heads()[&Channel::ticks(accepted.tick.symbol)].epoch;
                let row = (accepted.tick.price.micros(), accepted.tick.at.micros());
                self.ticks
                    .entry((accepted.tick.symbol, epoch, numbered.seq))
                    .or_insert(row);
            }
            Event::Bar(bar) => {
                self.bars.entry((bar.key, bar.revision)).or_insert(ohlc(bar));
            }
            _ => {}
        }
    }
}

fn ohlc(bar: &candela::domain::model::Bar) -> [i64; 4] {
    [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close].map(candela::domain::model::Price::micros)
}

impl Redis {
    fn inspect(&self, channel: Channel) -> FoundStream {
        if self.strange.contains(&channel) {
            return FoundStream::OtherType;
        }
        match self.streams.get(&channel) {
            None => FoundStream::Absent,
            Some(stream) => FoundStream::Stream {
                length: u64::try_from(stream.entries.len()).unwrap_or(0),
                last_id: stream.last_id,
                ends: stream.entries.front().cloned().zip(stream.entries.back().cloned()),
            },
        }
    }

    /// XADD: refused where the id does not rise, and where the key is no stream.
    fn add(&mut self, channel: Channel, entry: StreamEntry) -> bool {
        if self.strange.contains(&channel) {
            return false;
        }
        let stream = self.streams.entry(channel).or_default();
        if entry.id <= stream.last_id {
            return false;
        }
        stream.last_id = entry.id;
        stream.entries.push_back(entry);
        while stream.entries.len() > KEPT {
            stream.entries.pop_front();
        }
        true
    }

    /// Somebody else does something to a stream, if there is one.
    pub(crate) fn disturb(&mut self, roll: u64) -> bool {
        let Some(channel) = self
            .streams
            .keys()
            .nth(usize::try_from(roll).unwrap_or(0) % self.streams.len().max(1))
            .copied()
        else {
            return false;
        };
        let stream = self.streams.entry(channel).or_default();
        match roll % 5 {
            4 if roll % 8 == 7 => {
                self.streams.remove(&channel);
                self.strange.insert(channel);
            }
            0 => drop(self.streams.remove(&channel)),
            1 => {
                let id = StreamId {
                    generation: stream.last_id.generation + 5,
                    seq: 0,
                };
                let stranger = StreamEntry {
                    id,
                    epoch: None,
                    seq: None,
                    message: "x".to_owned(),
                };
                self.add(channel, stranger);
            }
            2 => drop(stream.entries.pop_front()),
            3 => stream.last_id.generation += 7,
            _ => drop(stream.entries.pop_back()),
        }
        true
    }

    /// At the end each stream has the newest of its channel, in order, under rising ids.
    pub(crate) fn check(&self, disk: &Disk) -> Vec<String> {
        let mut wrong = Vec::new();
        for (channel, head) in disk.heads().iter().filter(|(_, head)| head.seq > 0) {
            let Some(stream) = self.streams.get(channel) else {
                wrong.push(format!("the cache has no stream of {channel}"));
                continue;
            };
            let seqs: Vec<Option<u64>> = stream.entries.iter().map(|entry| entry.seq).collect();
            let first = head.seq.saturating_sub(u64::try_from(seqs.len()).unwrap_or(0)) + 1;
            let expect: Vec<Option<u64>> = (first..=head.seq).map(Some).collect();
            let epochs = stream.entries.iter().all(|entry| entry.epoch == Some(head.epoch));
            let rises = stream
                .entries
                .iter()
                .zip(stream.entries.iter().skip(1))
                .all(|(one, next)| one.id < next.id);
            let enough = seqs.len() >= KEPT.min(usize::try_from(head.seq).unwrap_or(0));
            if seqs != expect || !epochs || !rises || !enough {
                wrong.push(format!(
                    "the stream of {channel} ({head:?}) has {} entries, {:?} to {:?}",
                    seqs.len(),
                    seqs.first(),
                    seqs.last()
                ));
            }
        }
        wrong
    }
}

impl World {
    pub(crate) fn store_is_down(&self) -> bool {
        self.acting(Fault::StoreDown, None).is_some()
    }

    /// The readers of the ledger do their next step.
    pub(crate) fn turn_readers(&mut self, now: Timestamp) {
        let life = self.life;
        let service = self.service.as_mut().expect("it runs");
        let (writing, publishing) = (service.writer.next_step(now), service.publisher.next_step(now));
        let slow = writing
            .as_ref()
            .is_some_and(|step| self.acting_on(Fault::StoreSlow, None, thing(step)).is_some());
        if let Some(step) = writing {
            self.after(if slow { (800, 9_000) } else { (1, 60) }, Happens::Wrote(life, step));
        }
        if let Some(step) = publishing {
            self.after((1, 30), Happens::Published(life, step));
        }
    }

    pub(crate) fn wrote(&mut self, life: u64, step: Step) {
        if life != self.life || self.service.is_none() {
            return;
        }
        let now = self.market();
        let jitter = self.rng.f64();
        if self.store_is_down() {
            self.store.failed = true;
            return self.service.as_mut().expect("it runs").writer.note_failure(now, jitter);
        }
        let lies = self.lasting(Fault::StoreLies, None).is_some() && self.rng.bool();
        let _felt = lies.then(|| self.acting_on(Fault::StoreLies, None, thing(&step)));
        let disk = std::rc::Rc::clone(&self.disk);
        let Step::Write { from, limit } = step else {
            return self.locate(now);
        };
        let done = self.store.write(&disk.borrow(), from, limit);
        let service = self.service.as_mut().expect("it runs");
        match done {
            Err(_) => {
                self.reach.see("the store is behind its own past");
                self.locate(now);
            }
            Ok(_) if lies => service.writer.note_failure(now, jitter),
            Ok(position) => {
                service.writer.note_written(position, now);
                if std::mem::take(&mut self.store.failed) {
                    self.reach.see("the store fails and is written again");
                }
                self.life_on(LifeEvent::StoreBack);
            }
        }
    }

    /// Up to which event of this ledger the store has them.
    pub(crate) fn stored(&self) -> u64 {
        self.store.position_in(self.disk.borrow().state.lineage)
    }

    /// Where the store stands in this ledger, as the writer finds it.
    pub(crate) fn locate(&mut self, now: Timestamp) {
        let disk = self.disk.borrow();
        let mut stored = self.store.position_in(disk.state.lineage);
        let service = self.service.as_mut().expect("it runs");
        if stored > service.opened_at && !service.located {
            drop(disk);
            self.reach.see("the store is ahead of the ledger");
            self.store.ahead = true;
            self.disk.borrow_mut().lose_mark(); // it has the next start take new names
            return self.crash();
        }
        if stored == 0 {
            // Events under a name that this ledger does not know went with the ledger that was replaced by a copy.
            let names = || disk.state.ancestors.iter().map(|(name, ..)| *name);
            self.store.ahead |= self
                .store
                .rows
                .positions
                .keys()
                .any(|of| *of != disk.state.lineage && names().all(|name| name != *of));
            let ancestors: Vec<Ancestor> = disk
                .state
                .ancestors
                .iter()
                .map(|(name, upto, _)| {
                    let text = serde_json::json!({"lineage": format!("{name:016x}"), "upto": upto, "channels": []});
                    serde_json::from_value(text).expect("an ancestor")
                })
                .collect();
            for (name, _, _) in disk.state.ancestors.iter().rev() {
                let at = self.store.rows.positions.get(name).copied().unwrap_or(0);
                if let Some((position, ahead)) =
                    surviving_range(&ancestors, &format!("{name:016x}"), at).filter(|_| at > 0)
                {
                    stored = position;
                    self.store.ahead |= ahead > 0;
                    self.store.rows.positions.insert(disk.state.lineage, position);
                    break;
                }
            }
        }
        service.located = true;
        service.writer.note_located(Position(stored), now);
    }

    pub(crate) fn published(&mut self, life: u64, step: Step) {
        if life != self.life || self.service.is_none() {
            return;
        }
        let now = self.market();
        let jitter = self.rng.f64();
        let down = self.acting(Fault::CacheDown, None).is_some();
        let service = self.service.as_mut().expect("it runs");
        if down {
            service.streams.doubt_all();
            return service.publisher.note_failure(now, jitter);
        }
        let disk = self.disk.borrow();
        match step {
            Step::Locate => {
                let all: Vec<Channel> = disk.heads().keys().copied().collect();
                survey(service, &mut self.redis, &disk, &all, now, &mut self.reach);
                let back = disk.head().0.saturating_sub(2_000);
                service.publisher.note_written(Position(back), now);
            }
            Step::Write { from, limit } => {
                let mut last = from.0.saturating_sub(1);
                let mut refused = BTreeSet::new();
                for i in 0..u64::try_from(limit).unwrap_or(0) {
                    let Some(numbered) = disk.event(Position(from.0 + i)) else {
                        break;
                    };
                    last = numbered.position.0;
                    let Some(channel) = numbered.channel else { continue };
                    let epoch = disk.heads()[&channel].epoch;
                    match service.streams.next(channel, epoch, numbered.seq) {
                        Next::Add(id) => {
                            service.streams.sent(channel, numbered.seq);
                            if !self.redis.add(channel, entry(id, epoch, numbered.seq)) {
                                refused.insert(channel);
                            }
                        }
                        Next::Has => {}
                        Next::Unknown => service.streams.doubt(channel),
                    }
                }
                service.streams.taken(&refused);
                let doubtful: Vec<Channel> = service.streams.doubtful().iter().copied().collect();
                survey(service, &mut self.redis, &disk, &doubtful, now, &mut self.reach);
                service.publisher.note_written(Position(last), now);
            }
        }
    }

    /// The look of every few seconds: whether the streams are as they were left.
    pub(crate) fn survey_streams(&mut self) {
        let now = self.market();
        let Some(service) = self.service.as_mut() else { return };
        let disk = self.disk.borrow();
        let all: Vec<Channel> = disk.heads().keys().copied().collect();
        survey(service, &mut self.redis, &disk, &all, now, &mut self.reach);
    }
}

/// What a step is for the count of acts: what is written from the same event on is written again.
const fn thing(step: &Step) -> u64 {
    match step {
        Step::Locate => 0,
        Step::Write { from, .. } => from.0,
    }
}

fn entry(id: StreamId, epoch: Epoch, seq: u64) -> StreamEntry {
    StreamEntry {
        id,
        epoch: Some(epoch),
        seq: Some(seq),
        message: String::new(),
    }
}

/// Compares streams with the ledger, and mends those that are not as they should be.
fn survey(
    service: &mut crate::service::Service,
    redis: &mut Redis,
    disk: &Disk,
    channels: &[Channel],
    now: Timestamp,
    reach: &mut Reach,
) {
    for channel in channels {
        let Some(head) = disk.heads().get(channel).copied() else {
            continue;
        };
        let found = redis.inspect(*channel);
        if service.streams.is_as_left(*channel, head.epoch, &found) {
            continue;
        }
        service.streams.doubt(*channel);
        let first = if head.seq == 0 {
            1
        } else {
            disk.channel(*channel, 1, u64::MAX, 1)
                .first()
                .map_or(head.seq + 1, |event| event.seq)
        };
        let log = ChannelLog {
            head,
            first,
            message: None,
            before: None,
        };
        let now_ms = u64::try_from(now.micros() / 1_000).unwrap_or(0);
        let plan = plan_stream(service.streams.state(*channel), &found, &log, now_ms);
        match plan.clear {
            Clear::Keep => {}
            Clear::Trim => {
                if let Some(stream) = redis.streams.get_mut(channel) {
                    stream.entries.clear();
                }
            }
            Clear::Delete => {
                reach.see("a stream of the cache is deleted");
                redis.streams.remove(channel);
                redis.strange.remove(channel);
            }
        }
        reach.see("a stream of the cache is filled again");
        let mut filled = true;
        for event in disk.channel(*channel, plan.from, head.seq, KEPT) {
            let id = StreamId {
                generation: plan.generation,
                seq: event.seq,
            };
            filled &= redis.add(*channel, entry(id, head.epoch, event.seq));
        }
        if filled {
            let state = StreamState {
                epoch: head.epoch,
                generation: plan.generation,
                first: plan.first,
                told: head.seq,
            };
            service.streams.made_whole(*channel, state);
        }
    }
}
