//! Clients that come, stall, go and come back, and what each checks by itself: continuity with one integer a channel.

use crate::disk::Disk;
use crate::model::Told;
use crate::plan::{Fault, Plan};
use crate::reach::Reach;
use crate::service::channels;
use crate::world::{Happens, World};
use bytes::Bytes;
use candela::domain::model::{Channel, Epoch, Event, InputKind, JournalEntry, Sequenced, Timestamp, Topic};
use candela::domain::protocol::replay_start;
use candela::domain::protocol::{Offered, Options, Out, Outbox, Window, Zones, frames};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a client is in a channel.
#[derive(Debug, Clone, Copy)]
struct Place {
    epoch: Epoch,
    seq: u64,
}

#[derive(Debug)]
pub(crate) struct Client {
    wanted: Vec<Channel>,
    options: Options,
    outbox: Option<Outbox>,
    places: BTreeMap<Channel, Place>,
    /// Opens of the closed bars of each channel on this connection, with the last revision of each.
    closed: BTreeMap<Channel, BTreeMap<String, u64>>,
    pub(crate) wrong: Vec<String>,
}

/// What a client looks at in a message.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    channel: Option<&'a str>,
    seq: Option<u64>,
    from: Option<u64>,
    #[serde(borrow, default)]
    data: Data<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data<'a> {
    open_time: Option<&'a str>,
    state: Option<&'a str>,
    revision: Option<u64>,
}

impl Client {
    pub(crate) fn new(plan: &Plan, i: usize) -> Self {
        let all = channels(plan);
        let wanted = match i {
            0 => all,
            1 => all
                .into_iter()
                .filter(|channel| channel.topic != Topic::Ticks)
                .collect(),
            _ => all
                .into_iter()
                .filter(|channel| matches!(channel.topic, Topic::Ticks | Topic::Session))
                .collect(),
        };
        Self {
            wanted,
            options: Options {
                spacing: (i == 2).then(|| Duration::from_secs(5)),
                ..Options::default()
            },
            outbox: None,
            places: BTreeMap::new(),
            closed: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    pub(crate) fn disconnect(&mut self) {
        self.outbox = None;
    }

    /// Comes back with its positions; what cannot be recovered is told, and it begins at the head.
    fn connect(&mut self, disk: &Disk, reach: &mut Reach) {
        let mut outbox = Outbox::new(Window {
            control: 64,
            data: 24,
            age: Duration::from_secs(10),
        });
        self.closed.clear();
        for channel in &self.wanted {
            let head = disk.heads().get(channel).copied();
            let last = head.map_or(0, |head| head.seq);
            let after = match self.places.get(channel) {
                None => last,
                Some(place) => {
                    let asked = (Some(place.epoch), place.seq);
                    let found = replay_start::after_position(asked, head, |_| if last > 0 { 1 } else { last + 1 });
                    if let Ok(after) = found
                        && (after != place.seq || head.is_none_or(|head| head.epoch != place.epoch))
                    {
                        self.wrong.push(format!(
                            "C1: {channel} goes on after {after}, and the client is at {place:?} of {head:?}"
                        ));
                    }
                    reach.see(match found {
                        Ok(after) if after == last => "a client goes on where it was",
                        Ok(_) => "a client goes on behind the head",
                        Err(_) => "a client hears that its epoch is over",
                    });
                    found.unwrap_or(last)
                }
            };
            if let Some(head) = head {
                self.places.insert(
                    *channel,
                    Place {
                        epoch: head.epoch,
                        seq: after,
                    },
                );
            }
            outbox.follow(*channel, after, self.options);
            outbox.hold(*channel, last, true);
        }
        self.outbox = Some(outbox);
    }

    /// A message arrives: the one integer, and that it is what was told.
    fn read(&mut self, payload: &[u8], disk: &Disk, told: &Told) {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(payload) else {
            return self
                .wrong
                .push(format!("not JSON: {}", String::from_utf8_lossy(payload)));
        };
        let Some(channel) = message.channel.and_then(|name| name.parse::<Channel>().ok()) else {
            return;
        };
        let opens = message.data.open_time.unwrap_or_default().to_owned();
        let partial = message.data.state == Some("partial");
        let out_of_order = told.clock_moved;
        let Some(seq) = message.seq else {
            let closed = self.closed.entry(channel).or_default();
            let told = closed.get(&opens).copied();
            let newest = closed.last_key_value().map(|(opens, _)| opens);
            // A bar that is open again goes on from the revision that was told.
            let stale = match told {
                Some(told) => message.data.revision <= Some(told),
                None => newest.is_some_and(|newest| opens <= *newest) && !out_of_order,
            };
            if partial && stale {
                self.wrong
                    .push(format!("{channel}: the bar of {opens} still forms after it was closed"));
            }
            return;
        };
        let Some(place) = self.places.get_mut(&channel) else {
            return self
                .wrong
                .push(format!("{channel}: a message of a channel that nobody asked for"));
        };
        let from = message.from.unwrap_or(seq);
        if from != place.seq + 1 || from > seq {
            self.wrong
                .push(format!("C1: {channel}: [{from}, {seq}] came after {}", place.seq));
        }
        place.seq = seq;
        if message.kind == "bar" {
            let revision = message.data.revision.unwrap_or_default();
            self.closed.entry(channel).or_default().insert(opens, revision);
        }
        let known = told.frames.get(&(channel, place.epoch, seq));
        let plain = |payload: &[u8]| {
            let mut plain = serde_json::from_slice::<Value>(payload).ok()?;
            plain.as_object_mut()?.remove("from");
            Some(plain)
        };
        let same = known.is_some_and(|known| known.as_ref() == payload || plain(known) == plain(payload));
        if !same {
            let text = String::from_utf8_lossy(payload).into_owned();
            self.wrong.push(format!(
                "C1: {channel} {seq} is not what was told: {text} for {known:?} ({:?})",
                disk.heads().get(&channel)
            ));
        }
    }

    /// At the end it has everything up to the head of every channel that it follows.
    pub(crate) fn check(&self, disk: &Disk, _told: &Told) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        for (channel, place) in &self.places {
            let head = disk.heads().get(channel).map_or(0, |head| head.seq);
            if self.outbox.is_some() && place.seq != head {
                wrong.push(format!(
                    "C1: a client that is drained is at {} of {channel}, which ends at {head}",
                    place.seq
                ));
            }
        }
        wrong.truncate(3);
        wrong
    }
}

impl World {
    pub(crate) fn zones(&self) -> Zones {
        let zone = |(i, pair): (usize, &crate::plan::PairPlan)| {
            (pair.symbol, candela::domain::model::Sessions::zone(&self.calendars[i]))
        };
        Zones::new(self.plan.pairs.iter().enumerate().map(zone).collect())
    }

    /// How long the process has run, for outboxes.
    fn uptime(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.now - self.plan.begins * crate::plan::S).unwrap_or(0))
    }

    pub(crate) fn schedule_append(&mut self) {
        let Some(service) = self.service.as_mut() else { return };
        if service.commit_queue.is_empty() || service.appending {
            return;
        }
        service.appending = true;
        let written = self.disk.borrow().written();
        let slow = self.acting_on(Fault::DiskSlow, None, written).is_some();
        self.after(if slow { (500, 4_000) } else { (0, 12) }, Happens::Append(self.life));
    }

    /// The recorder: append, and only then tell.
    pub(crate) fn append(&mut self, life: u64) {
        if life != self.life || self.service.is_none() {
            return;
        }
        let written = self.disk.borrow().written();
        let full = self.acting_on(Fault::DiskFull, None, written).is_some();
        self.disk.borrow_mut().full = full;
        if self.lasting(Fault::DiskUnsure, None).is_some() && self.rng.u8(..3) == 0 {
            let _felt = self.acting_on(Fault::DiskUnsure, None, written);
            self.disk.borrow_mut().unsure = true;
        }
        let service = self.service.as_mut().expect("it runs");
        service.appending = false;
        let disk = &self.disk;
        let done = service
            .commit_queue
            .append_next(64, |batch| disk.borrow_mut().append(batch));
        match &done {
            Some(Err(crate::disk::DiskError::Full)) => self.reach.see("the disk is full"),
            Some(Err(crate::disk::DiskError::Unsure)) => self.reach.see("the answer of the disk is lost"),
            _ => {}
        }
        match done {
            None => {}
            Some(Ok((batch, head))) => {
                if std::mem::take(&mut service.unwritable) {
                    self.life_on(candela::domain::lifecycle::Event::Healed { part: "ledger" });
                }
                self.tell(&batch);
                let now = self.market();
                if let Some(service) = self.service.as_mut() {
                    service.commit_queue.written();
                    service.writer.note_head(head, now);
                    service.publisher.note_head(head, now);
                }
            }
            Some(Err(crate::disk::DiskError::Hole(hole))) => self.violated(format!("T2: {hole}")),
            Some(Err(_)) => {
                service.appending = true;
                if !std::mem::replace(&mut service.unwritable, true) {
                    let reason = "no space left on device".to_owned();
                    self.life_on(candela::domain::lifecycle::Event::Failed { part: "ledger", reason });
                }
                self.after((250, 250), Happens::Append(life));
            }
        }
        self.schedule_append();
    }

    /// What is written, but for what is most of it: prices, deadlines, and answers as they came.
    fn show(&self, entry: &JournalEntry) {
        let plain = match entry {
            JournalEntry::Event(numbered) => matches!(numbered.event, Event::Tick(_) | Event::BarEnd(_)),
            JournalEntry::Input(heard) => matches!(
                heard.what,
                InputKind::Frame(_) | InputKind::Answer(_) | InputKind::Deadline
            ),
            JournalEntry::Partial { .. } => true,
        };
        if !plain {
            println!("{}   {entry:?}", Timestamp::from_micros(self.now).datetime());
        }
    }

    fn tell(&mut self, batch: &[JournalEntry]) {
        let zones = self.zones();
        for entry in batch {
            if self.trace {
                self.show(entry);
            }
            match entry {
                JournalEntry::Event(numbered) => {
                    let frame = frames::event(&zones, numbered);
                    let payload = Bytes::copy_from_slice(frames::payload(&frame));
                    let wrong = self.told.tell(&self.disk.borrow(), numbered, payload, self.now);
                    wrong.into_iter().for_each(|one| self.violated(one));
                    self.offer(numbered, &frame);
                }
                JournalEntry::Partial { bar, base } => {
                    let channel = Channel::bars(bar.key.interval, bar.key.symbol);
                    let frame = frames::partial(
                        &zones,
                        bar,
                        *base,
                        candela::domain::model::Timestamp::from_micros(self.now),
                    );
                    let now = self.uptime();
                    for client in &mut self.clients {
                        if let Some(outbox) = &mut client.outbox {
                            let _offered = outbox.offer_partial(channel, *base, &frame, now);
                        }
                    }
                }
                JournalEntry::Input(_) => {}
            }
        }
        for i in 0..self.clients.len() {
            if self.clients[i].outbox.is_some() && !self.is_stalled(i) {
                self.drain(i);
            }
        }
    }

    fn offer(&mut self, numbered: &Sequenced, frame: &Bytes) {
        let now = self.uptime();
        for client in &mut self.clients {
            let Some(outbox) = &mut client.outbox else { continue };
            match (numbered.channel, &numbered.event) {
                (Some(channel), _) => {
                    if let Offered::Hole { expected } = outbox.offer(channel, numbered.seq, frame, now) {
                        client.wrong.push(format!(
                            "{channel}: {} was offered where {expected} is next",
                            numbered.seq
                        ));
                    }
                }
                (None, Event::BarEnd(end)) => {
                    let _offered = outbox.offer_loose(end.interval, numbered.position, frame, now);
                }
                (None, _) => {}
            }
        }
    }

    /// A client reads what waits for it, replays first.
    fn drain(&mut self, i: usize) {
        let (zones, now) = (self.zones(), self.uptime());
        let disk = self.disk.borrow();
        let client = &mut self.clients[i];
        let Some(mut outbox) = client.outbox.take() else { return };
        for _ in 0..64 {
            while let Some((channel, from, to)) = outbox.replaying() {
                let room = outbox.room() / 2;
                if room < 4 {
                    break;
                }
                let mut done = None;
                for event in disk.channel(channel, from, to, room) {
                    let (seq, frame) = frames::numbered(&zones, &event);
                    done = outbox.replay(channel, seq, &frame, now);
                }
                if done.is_some() {
                    let head = disk.heads().get(&channel).map_or(0, |head| head.seq);
                    outbox.hold(channel, head, false);
                }
            }
            let mut outs = Vec::new();
            outbox.take(usize::MAX, now, &mut outs);
            for out in outs {
                let frame = match out {
                    Out::Frame(frame) => frame,
                    Out::Covering { frame, from } => {
                        self.reach.see("ticks of a client are conflated");
                        frames::covering(&frame, from)
                    }
                    Out::Slow { .. } => continue,
                };
                client.read(frames::payload(&frame), &disk, &self.told);
            }
            if outbox.is_empty() && outbox.replaying().is_none() {
                break;
            }
        }
        client.outbox = Some(outbox);
    }

    /// A client connects if it is not, reads, and is closed when it is too slow.
    pub(crate) fn client(&mut self, i: usize) {
        if self.service.is_none() {
            return; // it comes when the process does
        }
        if self.disk.borrow().is_unsure() {
            return self.after((250, 500), Happens::Client(i)); // what the process tells goes to where it was acknowledged
        }
        if self.clients[i].outbox.is_none() {
            let disk = self.disk.borrow();
            self.clients[i].connect(&disk, &mut self.reach);
        }
        let stalled = self.is_stalled(i);
        let now = self.uptime();
        let overdue = self.clients[i].outbox.as_ref().and_then(|outbox| outbox.overdue(now));
        if overdue.is_some() {
            self.reach.see("a client that is too slow is closed");
            self.clients[i].disconnect();
            return self.after((1_000, 9_000), Happens::Client(i));
        }
        if stalled {
            return self.after((500, 3_000), Happens::Client(i));
        }
        self.drain(i);
        let waits = self.clients[i]
            .outbox
            .as_ref()
            .is_some_and(|outbox| outbox.next_deadline().is_some());
        if waits {
            self.after((5_000, 6_000), Happens::Client(i));
        }
    }

    /// A client does not read.
    fn is_stalled(&self, i: usize) -> bool {
        let found = self.lasting(Fault::ClientStall, None);
        let stalled = found.is_some_and(|planned| planned.whom % self.clients.len() == i);
        stalled && self.acting(Fault::ClientStall, None).is_some()
    }

    /// Everybody reads to the end.
    pub(crate) fn drain_clients(&mut self) {
        if self.service.is_none() {
            return;
        }
        self.now += 60 * crate::plan::S;
        for i in 0..self.clients.len() {
            if self.clients[i].outbox.is_none() {
                let disk = self.disk.borrow();
                self.clients[i].connect(&disk, &mut self.reach);
            }
            self.drain(i);
        }
    }
}
