//! A node's ledger on a disk that loses what was not synced: its parcels, its names, its mark. The rules for them are those of the product:
//! `find_doubt`, `begin_chain`, and the hash of each parcel.

use candela::domain::cluster::{ChainOpening, Parcel, ParcelHash, begin_chain};
use candela::domain::model::{Channel, Epoch, Head, Interval, Symbol};
use candela::ledger::{MarkText, find_doubt};
use candela::limits;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Ticks, bars, the journal.
pub(crate) const CHANNELS: usize = 3;

/// One event as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ev {
    pub(crate) position: u64,
    pub(crate) channel: usize,
    pub(crate) seq: u64,
    /// Which price, which bar with which prices, or whose entry.
    pub(crate) what: u64,
}

/// A parcel, and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) parcel: Parcel,
    pub(crate) events: Rc<[Ev]>,
    /// The last seq of each channel behind it.
    pub(crate) seqs: [u64; CHANNELS],
}

/// All that lies in a node's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// The identity of the folder.
    pub(crate) id: u64,
    pub(crate) lineage: String,
    pub(crate) epochs: [Epoch; CHANNELS],
    /// Earlier names, each with the last position that is shared with it.
    pub(crate) ancestors: Vec<(String, u64)>,
    /// The last position before the first parcel, and the seqs there.
    base: (u64, [u64; CHANNELS]),
    pub(crate) kept: Vec<Rc<Kept>>,
    /// The number of parcels that outlive a loss of power.
    synced: usize,
    opened: bool,
    /// Its end is what this node wrote as a leader.
    pub(crate) led: bool,
    mark: Option<MarkText>,
    /// Up to there the model has looked at it under its names, as what a process shows and as what a follower shows.
    pub(crate) shown: u64,
    pub(crate) followed: u64,
}

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) folder: Folder,
    boot: u64,
    inode: u64,
    pub(crate) full: bool,
    pub(crate) copy: Option<Folder>,
}

pub(crate) fn channels() -> [Channel; CHANNELS] {
    let pair = Symbol::usdcop();
    [
        Channel::ticks(pair),
        Channel::bars(Interval::M5, pair),
        Channel::events(),
    ]
}

/// A count as a number of the ledger.
pub(crate) fn whole(count: usize) -> u64 {
    u64::try_from(count).expect("a count")
}

fn body_of(events: &[Ev]) -> Vec<u8> {
    let mut body = Vec::with_capacity(events.len() * 17);
    for event in events {
        body.push(u8::try_from(event.channel).expect("few channels"));
        body.extend(event.seq.to_be_bytes());
        body.extend(event.what.to_be_bytes());
    }
    body
}

pub(crate) fn events_of(parcel: &Parcel) -> Vec<Ev> {
    if parcel.opens {
        return Vec::new();
    }
    let number = |part: &[u8]| u64::from_be_bytes(part.try_into().expect("eight bytes"));
    let rows: Vec<&[u8]> = parcel.body.chunks_exact(17).collect();
    let first = parcel.last + 1 - whole(rows.len());
    let event = |(i, row): (usize, &&[u8])| Ev {
        position: first + whole(i),
        channel: usize::from(row[0]),
        seq: number(&row[1..9]),
        what: number(&row[9..17]),
    };
    rows.iter().enumerate().map(event).collect()
}

impl Folder {
    fn new(id: u64, names: &mut Names) -> Self {
        let (lineage, epochs) = names.fresh();
        Self {
            id,
            lineage,
            epochs,
            ancestors: Vec::new(),
            base: (0, [0; CHANNELS]),
            kept: Vec::new(),
            synced: 0,
            opened: false,
            led: false,
            mark: None,
            shown: 0,
            followed: 0,
        }
    }

    pub(crate) fn head(&self) -> u64 {
        self.kept.last().map_or(self.base.0, |last| last.parcel.last)
    }

    fn seqs(&self) -> [u64; CHANNELS] {
        self.kept.last().map_or(self.base.1, |last| last.seqs)
    }

    /// Number and hash of the last parcel.
    pub(crate) fn end(&self) -> (u64, ParcelHash) {
        self.kept
            .last()
            .map_or((0, ParcelHash::NONE), |last| (last.parcel.number, last.parcel.hash))
    }

    fn opening(&self) -> ChainOpening {
        let heads = channels().into_iter().enumerate().map(|(i, channel)| {
            let head = Head {
                epoch: self.epochs[i],
                seq: self.seqs()[i],
            };
            (channel, head)
        });
        ChainOpening {
            date: chrono::NaiveDate::default(),
            lineage: self.lineage.clone(),
            position: self.head(),
            heads: heads.collect(),
        }
    }

    fn push(&mut self, number: u64, previous: ParcelHash, opens: bool, events: Vec<Ev>, body: Vec<u8>) {
        let last = events.last().map_or(self.head(), |event| event.position);
        let parcel = Parcel {
            number,
            last,
            previous,
            hash: previous.then(number, &body),
            opens,
            body: body.into(),
        };
        self.keep(parcel, events);
    }

    /// A parcel whose hash is known to be right.
    fn keep(&mut self, parcel: Parcel, events: Vec<Ev>) {
        let mut seqs = self.seqs();
        for event in &events {
            seqs[event.channel] = event.seq;
        }
        self.kept.push(Rc::new(Kept {
            parcel,
            events: events.into(),
            seqs,
        }));
    }

    fn put_opening(&mut self, number: u64, previous: ParcelHash) {
        let body = self.opening().write().into_bytes();
        self.push(number, previous, true, Vec::new(), body);
        self.synced = self.kept.len();
    }

    /// Parcels from a number on.
    pub(crate) fn parcels(&self, from: u64, limit: usize) -> Vec<Parcel> {
        let first = self.kept.partition_point(|kept| kept.parcel.number < from);
        let kept = self.kept.iter().skip(first).take(limit);
        kept.map(|kept| kept.parcel.clone()).collect()
    }

    pub(crate) fn hash_of(&self, number: u64) -> Option<ParcelHash> {
        let found = self
            .kept
            .binary_search_by_key(&number, |kept| kept.parcel.number)
            .ok()?;
        Some(self.kept[found].parcel.hash)
    }

    /// The last position of a parcel.
    pub(crate) fn last_of(&self, number: u64) -> Option<u64> {
        let found = self
            .kept
            .binary_search_by_key(&number, |kept| kept.parcel.number)
            .ok()?;
        Some(self.kept[found].parcel.last)
    }

    /// The newest chain's first number, and the last number.
    pub(crate) fn ends(&self) -> (u64, u64) {
        let begin = self.kept.iter().rev().find(|kept| kept.parcel.begins_chain());
        let first = begin.or(self.kept.first());
        (first.map_or(0, |first| first.parcel.number), self.end().0)
    }

    /// Events after `from`, up to and with `to`.
    pub(crate) fn events(&self, from: u64, to: u64) -> Vec<Ev> {
        let first = self.kept.partition_point(|kept| kept.parcel.last <= from);
        let parcels = self.kept.iter().skip(first);
        let parcels = parcels
            .take_while(|kept| kept.parcel.last <= to || kept.events.first().is_some_and(|event| event.position <= to));
        let events = parcels.flat_map(|kept| kept.events.iter().copied());
        events
            .filter(|event| event.position > from && event.position <= to)
            .collect()
    }

    /// The last event of a channel.
    pub(crate) fn last_in(&self, channel: usize) -> Option<Ev> {
        let newest = self.kept.iter().rev().flat_map(|kept| kept.events.iter().rev());
        newest.copied().find(|event| event.channel == channel)
    }

    /// The position behind which a channel has all after this seq.
    pub(crate) fn position_after(&self, channel: usize, seq: u64) -> u64 {
        let first = self.kept.partition_point(|kept| kept.seqs[channel] <= seq);
        self.kept[..first].last().map_or(self.base.0, |kept| kept.parcel.last)
    }

    /// The lowest seq of a channel that is here.
    pub(crate) const fn first_seq(&self, channel: usize) -> u64 {
        self.base.1[channel] + 1
    }

    /// Seqs of the channels at a position.
    pub(crate) fn seqs_at(&self, position: u64) -> [u64; CHANNELS] {
        let first = self.kept.partition_point(|kept| kept.parcel.last <= position);
        let mut seqs = self.kept[..first].last().map_or(self.base.1, |kept| kept.seqs);
        if let Some(next) = self.kept.get(first) {
            for event in next.events.iter().filter(|event| event.position <= position) {
                seqs[event.channel] = event.seq;
            }
        }
        seqs
    }

    fn raise_mark(&mut self) {
        let head = self.head();
        if let Some(mark) = &mut self.mark {
            (mark.head, mark.clean) = (head, false);
        }
    }
}

/// Names that nobody had before.
#[derive(Debug, Default)]
pub(crate) struct Names(u64);

impl Names {
    pub(crate) fn fresh(&mut self) -> (String, [Epoch; CHANNELS]) {
        self.0 += 1;
        let first = self.0 * whole(CHANNELS);
        (
            format!("{:016x}", self.0),
            std::array::from_fn(|i| Epoch::from_random(first + whole(i))),
        )
    }
}

/// The disk takes nothing.
#[derive(Debug)]
pub(crate) struct Full;

impl Disk {
    pub(crate) fn new(id: u64, names: &mut Names) -> Self {
        Self {
            folder: Folder::new(id, names),
            boot: 1,
            inode: id,
            full: false,
            copy: None,
        }
    }

    fn begin_run(&mut self) {
        self.folder.mark = Some(MarkText {
            head: self.folder.head(),
            clean: false,
            boot: self.boot.to_string(),
            inode: self.inode,
        });
    }

    /// Opens the ledger to count parcels: with new names if it is not whole.
    pub(crate) fn open_counted(&mut self, names: &mut Names) -> bool {
        let boot = self.boot.to_string();
        let folder = &self.folder;
        let doubt = find_doubt(folder.mark.as_ref(), folder.head(), folder.opened, (&boot, self.inode));
        let named = folder.kept.iter().rev().find(|kept| kept.parcel.opens);
        let named = named.and_then(|kept| ChainOpening::read(&kept.parcel.body).ok());
        if doubt.is_some() {
            self.take_names(names);
        }
        self.begin_run();
        let folder = &mut self.folder;
        (folder.opened, folder.led) = (true, true);
        let same = named.is_some_and(|named| named.lineage == folder.lineage);
        let (number, hash) = folder.end();
        if let Some(next) = begin_chain(number, same, same) {
            folder.put_opening(next, ParcelHash::NONE);
        } else if number == 0 {
            folder.put_opening(1, hash);
        }
        doubt.is_some()
    }

    /// Opens the ledger of one that follows; an empty one begins with the opening.
    pub(crate) fn open_followed(&mut self, begin: Option<&Parcel>) {
        if let (true, Some(parcel)) = (self.folder.kept.is_empty(), begin) {
            let opening = ChainOpening::read(&parcel.body).expect("an opening");
            let folder = &mut self.folder;
            folder.lineage.clone_from(&opening.lineage);
            folder.base.0 = opening.position;
            for (i, channel) in channels().iter().enumerate() {
                (folder.epochs[i], folder.base.1[i]) = (opening.heads[channel].epoch, opening.heads[channel].seq);
            }
            folder.push(parcel.number, parcel.previous, true, Vec::new(), parcel.body.to_vec());
        }
        self.folder.opened = true;
        self.begin_run();
    }

    /// The ledger is put aside, and another begins.
    pub(crate) fn set_aside(&mut self, names: &mut Names) {
        let id = self.folder.id;
        self.folder = Folder::new(id, names);
    }

    fn take_names(&mut self, names: &mut Names) {
        let folder = &mut self.folder;
        folder.ancestors.push((folder.lineage.clone(), folder.head()));
        (folder.lineage, folder.epochs) = names.fresh();
        (folder.shown, folder.followed) = (0, 0);
    }

    /// New names for a ledger that is open, and a chain with them.
    pub(crate) fn renumber(&mut self, names: &mut Names) {
        self.take_names(names);
        self.begin_chain_after(0);
    }

    pub(crate) fn begin_chain_after(&mut self, number: u64) {
        let own = self.folder.end().0;
        let next = number.max(own + limits::PARCELS_SKIPPED) + 1;
        self.folder.put_opening(next, ParcelHash::NONE);
    }

    /// Appends one parcel of these channels and contents.
    pub(crate) fn append(&mut self, whats: &[(usize, u64)], opening_every: usize) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        let folder = &mut self.folder;
        let since = folder.kept.iter().rev().take_while(|kept| !kept.parcel.opens).count();
        if since >= opening_every {
            let (number, hash) = folder.end();
            folder.put_opening(number + 1, hash);
        }
        let (mut seqs, head) = (folder.seqs(), folder.head());
        let mut events = Vec::with_capacity(whats.len());
        for (i, (channel, what)) in whats.iter().enumerate() {
            seqs[*channel] += 1;
            events.push(Ev {
                position: head + 1 + whole(i),
                channel: *channel,
                seq: seqs[*channel],
                what: *what,
            });
        }
        let (number, hash) = folder.end();
        let body = body_of(&events);
        folder.push(number + 1, hash, false, events, body);
        if whats.iter().any(|(channel, _)| *channel != 0) {
            folder.synced = folder.kept.len(); // all but ticks is synced before it is told
        }
        folder.raise_mark();
        Ok(())
    }

    /// Appends a parcel of the ledger that is followed; `false`: it does not continue this one.
    pub(crate) fn apply(&mut self, parcel: &Parcel) -> Result<bool, Full> {
        if self.full {
            return Err(Full);
        }
        let (number, hash) = self.folder.end();
        if parcel.number != number + 1 || parcel.previous != hash || !parcel.is_whole() {
            return Ok(false);
        }
        if parcel.opens {
            let opening = ChainOpening::read(&parcel.body).expect("an opening");
            let known: BTreeMap<Channel, Head> = self.folder.opening().heads;
            if opening.position != self.folder.head() || opening.heads != known {
                return Ok(false);
            }
        }
        let events = events_of(parcel);
        self.folder.keep(parcel.clone(), events);
        if self.folder.kept.len().is_multiple_of(64) {
            self.folder.synced = self.folder.kept.len(); // now and then the log is moved into the file
        }
        self.folder.raise_mark();
        Ok(true)
    }

    /// The power is lost: of what was not synced, some is there. Says whether anything is lost.
    pub(crate) fn lose_power(&mut self, roll: u64) -> bool {
        self.boot += 1;
        self.full = false;
        let folder = &mut self.folder;
        let loose = folder.kept.len().saturating_sub(folder.synced);
        let lost = usize::try_from(roll % (whole(loose) + 1)).expect("small");
        folder.kept.truncate(folder.kept.len() - lost);
        let head = folder.head();
        (folder.shown, folder.followed) = (folder.shown.min(head), folder.followed.min(head));
        if let Some(mark) = folder.mark.as_mut().filter(|_| roll.is_multiple_of(3)) {
            mark.head = mark.head.min(head);
        }
        lost > 0
    }

    /// A stop in order.
    pub(crate) fn rest(&mut self) {
        let folder = &mut self.folder;
        folder.synced = folder.kept.len();
        let head = folder.head();
        if let Some(mark) = &mut folder.mark {
            (mark.head, mark.clean) = (head, true);
        }
    }

    pub(crate) fn take_copy(&mut self) {
        self.copy = Some(self.folder.clone());
    }

    /// The folder is gone.
    pub(crate) fn lose(&mut self, id: u64, names: &mut Names) {
        self.folder = Folder::new(id, names);
        self.inode = id;
    }

    /// The folder is replaced by its copy.
    pub(crate) fn restore(&mut self, inode: u64) -> bool {
        let Some(copy) = self.copy.take() else { return false };
        self.folder = copy;
        self.folder.synced = self.folder.kept.len();
        self.inode = inode;
        true
    }
}
