//! The simulated disk: a ledger that commits, syncs, tears, fills up, and is restored from a copy. It keeps what the real one
//! promises and no more; whether it is believed after a crash is decided by the real `ledger::find_doubt`.

use candela::actors::core::Record;
use candela::domain::model::{Channel, Epoch, Head, Input, JournalEntry, Position, Sequenced};
use candela::ledger::{Doubt, MarkText, find_doubt, needs_sync};
use chrono::NaiveDate;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Why nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskError {
    /// Nothing was written.
    Full,
    /// All of it was written, and the answer was lost.
    Unsure,
    /// The entries do not continue what is written.
    Hole(String),
}

/// Names of this ledger before, each with the last position that both have, and its channels' ends then.
pub(crate) type Ancestor = (u64, u64, BTreeMap<Channel, Head>);

/// All that lies on the disk.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Inputs and events, in order.
    lines: Vec<JournalEntry>,
    /// Session dates, each with its first position, its first line, and where the channels ended before it.
    dates: Vec<(NaiveDate, u64, usize, BTreeMap<Channel, Head>)>,
    head: u64,
    heads: BTreeMap<Channel, Head>,
    /// Lines by position (from 1), and by channel.
    events: Vec<usize>,
    channels: HashMap<Channel, Vec<usize>>,
    /// How many lines each commit reached.
    commits: Vec<usize>,
    pub(crate) lineage: u64,
    pub(crate) ancestors: Vec<Ancestor>,
    mark: Option<MarkText>,
    /// A process had it open: the file says so, whatever is cut off.
    opened: bool,
}

impl State {
    fn new(lineage: u64, date: NaiveDate) -> Self {
        Self {
            lines: Vec::new(),
            dates: vec![(date, 1, 0, BTreeMap::new())],
            head: 0,
            heads: BTreeMap::new(),
            events: Vec::new(),
            channels: HashMap::new(),
            commits: Vec::new(),
            lineage,
            ancestors: Vec::new(),
            mark: None,
            opened: false,
        }
    }

    fn push(&mut self, entry: &JournalEntry) -> Result<(), DiskError> {
        if let JournalEntry::Event(numbered) = entry {
            let next = self.head + 1;
            if numbered.position.0 != next {
                return Err(DiskError::Hole(format!(
                    "position {} where {next} is next",
                    numbered.position.0
                )));
            }
            if let Some(channel) = numbered.channel {
                let head = self
                    .heads
                    .get_mut(&channel)
                    .expect("channels are established at the start");
                if numbered.seq != head.seq + 1 {
                    return Err(DiskError::Hole(format!(
                        "{channel} {} after {}",
                        numbered.seq, head.seq
                    )));
                }
                head.seq = numbered.seq;
                self.channels.entry(channel).or_default().push(self.lines.len());
            }
            self.head = next;
            self.events.push(self.lines.len());
        }
        self.lines.push(entry.clone());
        Ok(())
    }

    /// What is left when only the first `lines` are there.
    fn cut(&self, lines: usize) -> Self {
        let mut cut = Self {
            ancestors: self.ancestors.clone(),
            mark: self.mark.clone(),
            opened: self.opened,
            ..Self::new(self.lineage, self.dates[0].0)
        };
        cut.heads = self
            .heads
            .iter()
            .map(|(channel, head)| (*channel, Head { seq: 0, ..*head }))
            .collect();
        for (i, entry) in self.lines.iter().take(lines).enumerate() {
            for (date, first, _, _) in self.dates.iter().skip(1).filter(|date| date.2 == i) {
                cut.dates.push((*date, *first, i, cut.heads.clone()));
            }
            cut.push(entry).expect("a part of a whole ledger");
        }
        cut.commits = self
            .commits
            .iter()
            .copied()
            .filter(|reached| *reached <= lines)
            .collect();
        cut
    }
}

/// The disk, and the end that appends to it.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) state: State,
    /// Lines that survive a loss of power.
    synced: usize,
    boot: u64,
    inode: u64,
    pub(crate) full: bool,
    /// The answer to the next append is lost.
    pub(crate) unsure: bool,
    /// The answer to the last append was lost: the same batch comes again.
    unanswered: bool,
    /// The process stopped and left all of it on the disk, and nothing was done to it since.
    pub(crate) rested: bool,
    /// An older copy.
    pub(crate) copy: Option<State>,
    /// All that was there after the last clean stop, as an image of the whole disk has it.
    image: Option<State>,
    /// The image took the disk's place, and no process has started since.
    pub(crate) set_back: bool,
}

/// Why this start took new names.
pub(crate) type Renumbered = Option<Doubt>;

impl Disk {
    pub(crate) fn new(random: u64, date: NaiveDate) -> Self {
        Self {
            state: State::new(random, date),
            synced: 0,
            boot: 1,
            inode: 7,
            full: false,
            unsure: false,
            unanswered: false,
            rested: false,
            copy: None,
            image: None,
            set_back: false,
        }
    }

    /// Opens the ledger: decides by the real rule whether it is whole, and takes new names if it is not.
    /// `stored`: up to which event the store has those of this ledger.
    pub(crate) fn open(&mut self, channels: &[Channel], random: u64, stored: u64) -> Renumbered {
        (self.unanswered, self.set_back) = (false, false);
        let epoch = |channel: Channel, random: u64| {
            let text = channel.to_string();
            let hash = text.bytes().fold(random ^ 0xcbf2_9ce4, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            Epoch::from_random(hash)
        };
        for channel in channels {
            self.state.heads.entry(*channel).or_insert(Head {
                epoch: epoch(*channel, random),
                seq: 0,
            });
        }
        let boot = self.boot.to_string();
        let known = self.state.mark.clone();
        let why = find_doubt(
            known.as_ref(),
            self.state.head,
            std::mem::replace(&mut self.state.opened, true),
            (&boot, self.inode),
        );
        let why = why.or_else(|| (stored > self.state.head).then_some(Doubt::StoreAhead));
        if why.is_some() {
            let then = self.state.heads.clone();
            self.state.ancestors.push((self.state.lineage, self.state.head, then));
            self.state.lineage = random;
            for (channel, head) in &mut self.state.heads {
                head.epoch = epoch(*channel, random.rotate_left(17));
            }
        }
        self.state.mark = Some(MarkText {
            head: self.state.head,
            clean: false,
            boot,
            inode: self.inode,
        });
        why
    }

    /// One commit. Events that are written already are skipped, with the inputs around them.
    pub(crate) fn append(&mut self, batch: &[JournalEntry]) -> Result<Position, DiskError> {
        if self.full {
            return Err(DiskError::Full);
        }
        if std::mem::take(&mut self.unanswered) {
            self.acknowledge(); // the same batch again: it is known
            return Ok(Position(self.state.head));
        }
        let fresh: Vec<&JournalEntry> = batch.iter().collect();
        let date = fresh.iter().find_map(|entry| entry.opens_session());
        if let Some(date) = date.filter(|date| self.state.dates.last().is_none_or(|last| last.0 < *date)) {
            self.synced = self.state.lines.len();
            let (first, line) = (self.state.head + 1, self.state.lines.len());
            self.state.dates.push((date, first, line, self.state.heads.clone()));
        }
        for entry in &fresh {
            if !matches!(entry, JournalEntry::Partial { .. }) {
                self.state.push(entry)?;
            }
        }
        if fresh.iter().any(|entry| needs_sync(entry)) {
            self.synced = self.state.lines.len();
        }
        if !fresh.is_empty() {
            self.state.commits.push(self.state.lines.len());
        }
        if std::mem::take(&mut self.unsure) {
            self.unanswered = true;
            return Err(DiskError::Unsure);
        }
        self.acknowledge();
        Ok(Position(self.state.head))
    }

    /// Nothing is on it.
    pub(crate) const fn is_blank(&self) -> bool {
        self.state.lines.is_empty()
    }

    /// Entries are written, and whoever wrote them does not know it yet: they are not told, and nobody is shown them.
    pub(crate) const fn is_unsure(&self) -> bool {
        self.unanswered
    }

    fn acknowledge(&mut self) {
        if let Some(mark) = &mut self.state.mark {
            mark.head = self.state.head;
        }
    }

    /// The machine loses power: of what was not synced, some commits are there, by `roll`.
    pub(crate) fn lose_power(&mut self, roll: u64) {
        self.boot += 1;
        let kept: Vec<usize> = self
            .state
            .commits
            .iter()
            .copied()
            .filter(|reached| *reached > self.synced)
            .collect();
        let choice = usize::try_from(roll).unwrap_or(0) % (kept.len() + 1);
        let lines = kept.get(choice).copied().unwrap_or(self.synced).max(self.synced);
        if lines < self.state.lines.len() {
            self.state = self.state.cut(lines);
        }
        if roll.is_multiple_of(3)
            && let Some(mark) = &mut self.state.mark
        {
            mark.head = mark.head.min(self.state.head);
        }
    }

    /// Somebody cuts the end of the log off, without a loss of power: some of the newest commits are gone, synced or not.
    pub(crate) fn cut_log(&mut self, roll: u64) {
        self.rested = false;
        let commits = &self.state.commits;
        let gone = usize::try_from(roll % 40).unwrap_or(0);
        let kept = commits.len().saturating_sub(gone).checked_sub(1);
        let lines = kept.and_then(|last| commits.get(last)).copied().unwrap_or(0);
        if lines < self.state.lines.len() {
            self.state = self.state.cut(lines);
            self.synced = self.synced.min(lines);
        }
    }

    /// A stop: everything is synced, and the mark says so.
    pub(crate) fn rest(&mut self) {
        self.synced = self.state.lines.len();
        self.rested = true;
        if let Some(mark) = &mut self.state.mark {
            (mark.head, mark.clean) = (self.state.head, true);
        }
        self.image = Some(self.state.clone());
    }

    /// The whole disk is set back to its image: the ledger and its mark agree, and nothing on it shows what is gone. Only where the
    /// store has more of the same ledger is there anything that could show it.
    pub(crate) fn set_back(&mut self, stored: impl Fn(u64) -> u64) -> bool {
        let shows = |image: &mut State| stored(image.lineage) > image.head;
        let Some(image) = self.image.take_if(shows) else {
            return false;
        };
        self.state = image;
        self.rested = false;
        self.synced = self.state.lines.len();
        self.set_back = true;
        true
    }

    /// How much is written: what is appended next comes after that.
    pub(crate) fn written(&self) -> u64 {
        u64::try_from(self.state.lines.len()).unwrap_or(0)
    }

    /// The mark is deleted or damaged.
    pub(crate) fn lose_mark(&mut self) {
        self.rested = false;
        self.state.mark = None;
    }

    /// The folder is replaced by its copy.
    pub(crate) fn restore(&mut self) -> bool {
        let Some(copy) = self.copy.take() else { return false };
        self.state = copy;
        self.rested = false;
        self.synced = self.state.lines.len();
        self.inode += 1;
        true
    }

    /// A position is on the disk whatever becomes of the power.
    pub(crate) fn synced_to(&self, position: Position) -> bool {
        let line = position
            .0
            .checked_sub(1)
            .and_then(|i| self.state.events.get(usize::try_from(i).ok()?));
        line.is_some_and(|line| *line < self.synced)
    }

    pub(crate) fn head(&self) -> Position {
        Position(self.state.head)
    }

    pub(crate) fn heads(&self) -> &BTreeMap<Channel, Head> {
        &self.state.heads
    }

    /// The event at a position.
    pub(crate) fn event(&self, position: Position) -> Option<&Sequenced> {
        let i = usize::try_from(position.0.checked_sub(1)?).ok()?;
        match self.state.lines.get(*self.state.events.get(i)?)? {
            JournalEntry::Event(numbered) => Some(numbered),
            _ => None,
        }
    }

    /// All events, in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Sequenced> {
        self.state.lines.iter().filter_map(|entry| match entry {
            JournalEntry::Event(numbered) => Some(numbered),
            _ => None,
        })
    }

    /// What was written of the first session date: for a replay.
    pub(crate) fn first_date(&self) -> &[JournalEntry] {
        let end = self
            .state
            .dates
            .get(1)
            .map_or(self.state.lines.len(), |second| second.2);
        &self.state.lines[..end]
    }

    /// What was told on each date after the first, in order.
    pub(crate) fn later_dates(&self) -> Vec<(NaiveDate, Vec<Sequenced>)> {
        let ends = self.state.dates.iter().skip(2).map(|next| next.2);
        let ends = ends.chain([self.state.lines.len()]);
        let events = |begin: usize, end: usize| {
            let event = |entry: &JournalEntry| match entry {
                JournalEntry::Event(numbered) => Some(numbered.clone()),
                _ => None,
            };
            self.state.lines[begin..end].iter().filter_map(event).collect()
        };
        let later = self.state.dates.iter().skip(1).zip(ends);
        later.map(|(date, end)| (date.0, events(date.2, end))).collect()
    }

    pub(crate) fn channel(&self, channel: Channel, from: u64, to: u64, limit: usize) -> Vec<Sequenced> {
        let Some(lines) = self.state.channels.get(&channel) else {
            return Vec::new();
        };
        let skip = usize::try_from(from.max(1) - 1).unwrap_or(usize::MAX);
        let some = lines
            .iter()
            .skip(skip)
            .take(limit)
            .filter_map(|line| match &self.state.lines[*line] {
                JournalEntry::Event(numbered) => Some(numbered),
                _ => None,
            });
        some.take_while(|numbered| numbered.seq <= to).cloned().collect()
    }
}

/// The reading end.
#[derive(Debug, Clone)]
pub(crate) struct Reader(pub(crate) Rc<RefCell<Disk>>);

impl Record for Reader {
    type Error = DiskError;
    type Inputs = std::vec::IntoIter<Result<Input, DiskError>>;

    fn dates(&self) -> Vec<(NaiveDate, Position)> {
        let disk = self.0.borrow();
        if disk.state.lines.is_empty() {
            return Vec::new();
        }
        disk.state
            .dates
            .iter()
            .map(|(date, first, ..)| (*date, Position(*first)))
            .collect()
    }

    fn heads_before(&self, date: NaiveDate) -> Result<BTreeMap<Channel, Head>, DiskError> {
        let disk = self.0.borrow();
        let found = disk.state.dates.iter().find(|known| known.0 == date);
        Ok(found.map(|found| found.3.clone()).unwrap_or_default())
    }

    fn inputs(&self, date: NaiveDate) -> Result<Self::Inputs, DiskError> {
        let disk = self.0.borrow();
        let at = disk.state.dates.iter().position(|known| known.0 == date).unwrap_or(0);
        let begin = disk.state.dates[at].2;
        let end = disk
            .state
            .dates
            .get(at + 1)
            .map_or(disk.state.lines.len(), |next| next.2);
        let heard = disk.state.lines[begin..end].iter().filter_map(|entry| match entry {
            JournalEntry::Input(heard) => Some(Ok(heard.clone())),
            _ => None,
        });
        Ok(heard.collect::<Vec<_>>().into_iter())
    }

    fn head(&self) -> Position {
        self.0.borrow().head()
    }

    fn heads(&self) -> BTreeMap<Channel, Head> {
        self.0.borrow().state.heads.clone()
    }

    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, DiskError> {
        Ok(self
            .0
            .borrow()
            .channel(channel, 1, u64::MAX, 1)
            .first()
            .map(|event| event.seq))
    }

    fn read_channel(
        &mut self,
        channel: Channel,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<Sequenced>, DiskError> {
        Ok(self.0.borrow().channel(channel, from, to, limit))
    }
}
