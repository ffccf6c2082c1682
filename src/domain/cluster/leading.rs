//! Decides for a leader what it appends to the cluster log, and up to where readers may be sent what its ledger has.
//!
//! ```text
//!  ledger ──► waiting ──► cluster log has it, and another node cannot have the lease yet ──► told
//!                │
//!                └──► cluster log away for a second, the database records it (`provable = false`), the lease runs ──► told alone
//! ```
//!
//! Instants are durations since any fixed one.

use crate::domain::cluster::{Contact, LogAnswer, LogHead, ParcelHash, contact};
use crate::domain::model::Position;
use crate::limits;
use std::time::Duration;

/// Whether events may be passed on that the cluster log does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TellsAlone {
    No,
    /// The change is being written to the database, for the next leader.
    Asked,
    /// The database records it.
    Yes,
}

/// What one append begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Append {
    /// The number that the cluster log takes next; `None`: its end must be looked up.
    pub next: Option<u64>,
    /// The term of the lease, if this process has it.
    pub term: Option<u64>,
    /// The cluster log's last number when this process began its chain behind it.
    begun_after: Option<u64>,
    /// Whether the lease cannot have run out.
    leased: bool,
    /// Whether the cluster log took a parcel lately.
    sure: bool,
}

/// The outcome of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendStep {
    /// The cluster log takes this number next.
    Has {
        /// The number.
        next: u64,
        /// The cluster log has everything up to this position.
        upto: Position,
        /// There may be more to append.
        more: bool,
        /// When the append was sent; `None` if there was none.
        sent: Option<Duration>,
    },
    /// The end of the cluster log must be looked up again.
    Look,
    /// The cluster log is another's: this process no longer leads.
    Foreign(String),
    /// The cluster log takes nothing now.
    Away(String),
}

impl Append {
    /// The term to append under.
    ///
    /// # Errors
    /// [`AppendStep::Away`] without the lease.
    pub fn term(&self) -> Result<u64, AppendStep> {
        let none = || {
            AppendStep::Away("this process has not had the lease of the database yet, and so has no term".to_owned())
        };
        self.term.ok_or_else(none)
    }

    /// The number that the cluster log takes next, which ends with `head`. `own` is the ledger's hash of the parcel with that number, `begin`
    /// and `last` are the ledger's ends.
    ///
    /// # Errors
    /// The outcome of the append, where nothing can be appended.
    pub fn continue_after(
        &self,
        head: Option<&LogHead>,
        own: Option<ParcelHash>,
        (begin, last): (u64, u64),
    ) -> Result<u64, AppendStep> {
        let number = head.map_or(0, |head| head.number);
        if head.is_some() && self.begun_after == Some(number) {
            return Ok(begin.max(number.saturating_add(1))); // what stands between in the ledger is of an earlier chain
        }
        match contact(head, last, own) {
            Contact::GoOn { next } => Ok(next),
            // An empty log does not say who leads.
            Contact::Fill if !self.leased => Err(AppendStep::Away(
                "it is empty, and nothing proves that this process still leads".to_owned(),
            )),
            Contact::Fill => Ok(begin),
            Contact::Foreign => Err(AppendStep::Foreign(format!(
                "it ends with parcel {number}, which this ledger does not have"
            ))),
        }
    }

    /// The outcome if the cluster log takes the parcels from `next` on, of which `last` is number and position of the last. `head` is where
    /// the ledger ended before they were read.
    pub fn expect(&self, next: u64, head: Position, last: Option<(u64, Position)>, now: Duration) -> AppendStep {
        match last {
            // Where there is nothing to append, it only says whether this leader is still the last.
            None => AppendStep::Has {
                next,
                upto: head,
                more: false,
                sent: (!self.leased && !self.sure).then_some(now),
            },
            Some((number, position)) => AppendStep::Has {
                next: number.saturating_add(1),
                upto: position,
                more: true,
                sent: Some(now),
            },
        }
    }
}

impl AppendStep {
    /// Whether the cluster log has to be asked for this outcome.
    pub const fn is_asked(&self) -> bool {
        matches!(self, Self::Has { sent: Some(_), .. })
    }

    /// The outcome after the cluster log's answer; `self` if it took everything.
    #[must_use]
    pub fn answered(self, answer: LogAnswer) -> Self {
        match answer {
            LogAnswer::Taken => self,
            LogAnswer::Hole { .. } => Self::Look,
            LogAnswer::Stale { term } => Self::Foreign(format!("a leader of term {term} has written to it")),
            LogAnswer::Differs { number } => Self::Foreign(format!("it has another parcel {number}")),
            LogAnswer::Full(cause) | LogAnswer::Away(cause) => Self::Away(cause),
        }
    }
}

/// Whether a lease that was renewed, or a parcel that was taken, so long ago shows that no other process leads yet.
pub fn is_young(age: Duration) -> bool {
    age < limits::LEADER_TTL
}

/// A leader's place in the cluster log.
#[derive(Debug, Clone)]
pub struct Leading {
    tells_alone: bool,
    begun_after: Option<u64>,
    /// The number that the cluster log takes next; `None` until its end was looked up.
    next: Option<u64>,
    /// The last position that the cluster log has.
    logged: Position,
    /// The last position that readers may read.
    told: Position,
    /// When the last append that the cluster log took under this term was sent.
    sure: Option<Duration>,
    /// Whether the cluster log had all of the ledger at the last append.
    has_all: bool,
    /// Whether it had at least everything that readers may read. A leader that is always busy never has all of its ledger there.
    has_told: bool,
    alone: TellsAlone,
    /// Whether the database says that the cluster log has everything that was published; `None` while unknown.
    provable: Option<bool>,
    /// A change of that is being written to the database.
    proving: bool,
    /// Since when the cluster log takes nothing.
    away: Option<Duration>,
}

impl Leading {
    /// A leader whose readers may read up to `told`. `begun_after`: the cluster log's last number when this ledger began its chain behind it;
    /// `tells_alone`: events are passed on while the cluster log is away.
    pub const fn new(told: Position, begun_after: Option<u64>, tells_alone: bool) -> Self {
        Self {
            tells_alone,
            begun_after,
            next: None,
            logged: Position(0),
            told,
            sure: None,
            has_all: false,
            has_told: false,
            alone: TellsAlone::No,
            provable: None,
            proving: false,
            away: None,
        }
    }

    /// An append that begins now. `leased`: the lease cannot have run out.
    pub fn begin_append(&self, term: Option<u64>, leased: bool, now: Duration) -> Append {
        Append {
            next: self.next,
            term,
            begun_after: self.begun_after,
            leased,
            sure: self.is_sure(now),
        }
    }

    /// What became of it.
    pub fn on(&mut self, step: &AppendStep, now: Duration) {
        match step {
            AppendStep::Has { next, upto, more, sent } => {
                self.next = Some(*next);
                self.logged = self.logged.max(*upto);
                self.sure = sent.or(self.sure);
                self.has_all = !more;
                self.has_told = *upto >= self.told;
                self.away = None;
                self.alone = TellsAlone::No;
            }
            AppendStep::Look | AppendStep::Foreign(_) => self.next = None,
            AppendStep::Away(_) => {
                self.has_all = false;
                self.has_told = false;
                self.away.get_or_insert(now);
            }
        }
    }

    /// Looks up whether the cluster log still ends where it did: one that was emptied meanwhile is filled again.
    pub const fn look_again(&mut self) {
        if self.has_all {
            self.next = None;
        }
    }

    /// Whether the cluster log takes nothing now.
    pub const fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Whether it has taken nothing for so long that others must be told.
    pub fn is_long_away(&self, now: Duration) -> bool {
        let patient = |since: Duration| now.saturating_sub(since) < limits::LOG_PATIENCE;
        self.away.is_some_and(|since| !patient(since))
    }

    /// Whether the database has to record now that events are told which the cluster log does not have. Before it is recorded, none are.
    pub fn go_alone(&mut self, leased: bool, now: Duration) -> bool {
        if !self.tells_alone || !leased || self.alone != TellsAlone::No || !self.is_long_away(now) {
            return false;
        }
        let begins = !std::mem::replace(&mut self.proving, true);
        if begins {
            self.alone = TellsAlone::Asked;
        }
        begins // else asked again with the next append
    }

    /// Whether the database has to record now that the cluster log has everything that is told.
    pub fn go_together(&mut self) -> bool {
        self.has_told && self.provable != Some(true) && !std::mem::replace(&mut self.proving, true)
    }

    /// Whether the database recorded it. Returns whether events may be told alone from now on.
    pub fn proved(&mut self, provable: bool, done: bool) -> bool {
        self.proving = false;
        self.provable = done.then_some(provable);
        if !provable && self.alone == TellsAlone::Asked {
            self.alone = if done { TellsAlone::Yes } else { TellsAlone::No };
            return done;
        }
        false
    }

    /// Whether events are told that the cluster log does not have.
    pub fn is_alone(&self, leased: bool) -> bool {
        leased && self.alone == TellsAlone::Yes
    }

    /// Up to where the cluster log has it, if anything may be told now; readers may read so far from now on.
    pub fn tell_logged(&mut self, leased: bool, now: Duration) -> Option<Position> {
        if !leased && !self.is_sure(now) {
            return None; // first it finds out whether it still leads
        }
        self.told = self.told.max(self.logged);
        Some(self.told)
    }

    /// Whether what ends at this position may be told, where something may be told at all.
    pub fn may_tell(&self, head: Position, leased: bool) -> bool {
        head <= self.logged || self.is_alone(leased)
    }

    /// Readers may read up to here.
    pub fn raise_told(&mut self, head: Position) {
        self.told = self.told.max(head);
    }

    /// The last position that readers may read.
    pub const fn told(&self) -> Position {
        self.told
    }

    /// Whether the cluster log took a parcel lately.
    fn is_sure(&self, now: Duration) -> bool {
        self.sure.is_some_and(|sent| is_young(now.saturating_sub(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn has(upto: u64, more: bool, sent: Option<Duration>) -> AppendStep {
        AppendStep::Has {
            next: upto + 1,
            upto: Position(upto),
            more,
            sent,
        }
    }

    fn away() -> AppendStep {
        AppendStep::Away("refused".to_owned())
    }

    #[test]
    fn what_the_log_has_is_told_while_no_other_can_lead() {
        let mut leading = Leading::new(Position(3), None, true);
        assert_eq!(leading.tell_logged(false, SECOND), None, "without a lease");
        assert_eq!(leading.tell_logged(true, SECOND), Some(Position(3)));
        assert!(!leading.may_tell(Position(4), true));
        leading.on(&has(5, true, Some(SECOND)), SECOND);
        assert!(leading.may_tell(Position(5), true) && !leading.may_tell(Position(6), true));
        let late = SECOND + limits::LEADER_TTL;
        let moment = Duration::from_millis(1);
        assert_eq!(
            leading.tell_logged(false, late - moment),
            Some(Position(5)),
            "it took one"
        );
        assert_eq!(leading.tell_logged(false, late), None);
    }

    #[test]
    fn nothing_is_told_alone_before_the_database_records_it_or_after_the_lease() {
        let mut leading = Leading::new(Position(3), None, true);
        leading.on(&away(), SECOND);
        assert!(!leading.go_alone(true, SECOND * 3 / 2), "a moment");
        assert!(!leading.go_alone(false, SECOND * 2), "without a lease");
        assert!(leading.go_alone(true, SECOND * 2));
        assert!(!leading.go_alone(true, SECOND * 2), "it is asked");
        assert!(!leading.may_tell(Position(4), true));
        assert!(!leading.proved(false, false), "it was not recorded");
        assert!(leading.go_alone(true, SECOND * 2) && leading.proved(false, true));
        assert!(leading.may_tell(Position(4), true) && !leading.may_tell(Position(4), false));
        leading.on(&has(4, false, Some(SECOND)), SECOND);
        assert!(!leading.may_tell(Position(5), true), "the log is back");
        assert!(leading.go_together() && !leading.go_together());
        leading.proved(true, true);
        assert!(!leading.go_together(), "it is recorded");
        let mut patient = Leading::new(Position(3), None, false);
        patient.on(&away(), SECOND);
        assert!(patient.is_long_away(SECOND * 9) && !patient.go_alone(true, SECOND * 9));
    }

    #[test]
    fn a_leader_that_always_has_more_to_append_is_recorded_too_once_the_log_has_what_was_told() {
        let mut leading = Leading::new(Position(3), None, false);
        leading.on(&has(2, true, Some(SECOND)), SECOND);
        assert!(!leading.go_together(), "the third is told and not there");
        leading.on(&has(3, true, Some(SECOND)), SECOND);
        assert!(leading.go_together());
        leading.proved(true, false);
        leading.on(&away(), SECOND);
        assert!(!leading.go_together(), "it may have lost what it had");
    }

    #[test]
    fn an_append_goes_on_where_the_log_ends() {
        let leading = Leading::new(Position(0), Some(40), false);
        let append = leading.begin_append(Some(2), false, SECOND);
        let hash = ParcelHash::NONE.then(7, b"seven");
        let head = |number| LogHead {
            number,
            hash,
            term: 1,
            lineage: "a".to_owned(),
        };
        assert_eq!(
            append.continue_after(Some(&head(40)), None, (1, 9)),
            Ok(41),
            "its own chain"
        );
        assert_eq!(
            append.continue_after(Some(&head(40)), None, (90, 99)),
            Ok(90),
            "none of an earlier chain"
        );
        assert_eq!(append.continue_after(Some(&head(7)), Some(hash), (1, 9)), Ok(8));
        assert!(matches!(
            append.continue_after(Some(&head(7)), None, (1, 9)),
            Err(AppendStep::Foreign(_))
        ));
        assert!(matches!(
            append.continue_after(None, None, (1, 9)),
            Err(AppendStep::Away(_))
        ));
        let leased = leading.begin_append(Some(2), true, SECOND);
        assert_eq!(
            leased.continue_after(None, None, (1, 9)),
            Ok(1),
            "an empty one is filled"
        );
        assert!(leading.begin_append(None, true, SECOND).term().is_err());
        assert!(
            append.expect(8, Position(3), None, SECOND).is_asked(),
            "does it still lead?"
        );
        assert!(!leased.expect(8, Position(3), None, SECOND).is_asked());
        let step = leased.expect(8, Position(3), Some((9, Position(5))), SECOND);
        assert_eq!(step.clone().answered(LogAnswer::Taken), step);
        assert_eq!(step.clone().answered(LogAnswer::Hole { head: 3 }), AppendStep::Look);
        assert!(matches!(
            step.answered(LogAnswer::Stale { term: 3 }),
            AppendStep::Foreign(_)
        ));
    }
}
