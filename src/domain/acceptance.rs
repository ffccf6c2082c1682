//! What became of one pair's prices: the last that was accepted, and those that were set aside, by reason.
//!
//! *Heard* (any frame) proves the link; only *accepted* (judged good) proves the pair.

use crate::domain::session::Session;
use crate::domain::stamp_lag::{LagReading, StampLag};
use crate::domain::tick::{Provenance, SetAside, Tick};
use crate::domain::timestamp::Timestamp;
use crate::limits;
use std::collections::{BTreeMap, VecDeque};

/// The prices of one pair since the ledger file of the day began.
#[derive(Debug, Clone, Default)]
pub(super) struct Acceptance {
    accepted: u64,
    rejected: BTreeMap<SetAside, u64>,
    /// Those of them that are trouble: neither repeats nor quotes outside the session.
    troubling: BTreeMap<SetAside, u64>,
    last: Option<AcceptedPrice>,
    /// Where the first accepted price of this session belongs.
    first_place: Option<Timestamp>,
    streak: Option<Streak>,
    /// One bit for each of the newest judged prices, the newest lowest; set: it was set aside.
    recent: u32,
    judged: u32,
    lag: StampLag,
    /// Minutes of our clock in which a price was set aside, newest last.
    rejected_in: VecDeque<i64>,
}

/// The last accepted price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedPrice {
    /// When it arrived here.
    pub received: Timestamp,
    /// The instant by which it belongs to a bar.
    pub place: Timestamp,
    /// How it reached us.
    pub provenance: Provenance,
}

/// Prices set aside in a row, none accepted between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    /// When the first arrived.
    pub since: Timestamp,
    /// When the newest did.
    pub newest: Timestamp,
    /// How many.
    pub count: u32,
    /// Why the newest was set aside.
    pub reason: SetAside,
}

/// What is shown of one pair's prices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptanceView {
    /// Prices judged good.
    pub accepted: u64,
    /// Prices set aside, by reason.
    pub rejected: BTreeMap<SetAside, u64>,
    /// Those of them that are trouble: neither repeats nor quotes outside the session.
    pub troubling: BTreeMap<SetAside, u64>,
    /// The last that was accepted.
    pub last: Option<AcceptedPrice>,
    /// The newest prices were all set aside.
    pub streak: Option<Streak>,
    /// How many of the newest prices were set aside, of how many.
    pub recent: (u32, u32),
    /// How far stamps are from our clock.
    pub lag: Option<LagReading>,
    /// Since when prices wait to be confirmed.
    pub held_since: Option<Timestamp>,
}

impl Acceptance {
    /// A session begins: what was known of another one's prices says nothing of its own.
    pub(super) fn open_session(&mut self) {
        self.first_place = None;
        self.end_session();
        self.rejected_in.clear();
    }

    /// A session ended: nothing is expected any more.
    pub(super) fn end_session(&mut self) {
        self.streak = None;
        (self.recent, self.judged) = (0, 0);
        self.lag.clear();
    }

    /// A price was judged. `session` is the one that is open at `now`.
    pub(super) fn note(
        &mut self,
        tick: &Tick,
        place: Timestamp,
        session: Option<Session>,
        outcome: Result<(), SetAside>,
        now: Timestamp,
    ) {
        if session.is_some() && tick.provenance == Provenance::Live && outcome != Err(SetAside::ExactRepeat) {
            self.lag.note(tick.at, now);
        }
        match outcome {
            Ok(()) => self.accept(tick, place, now),
            Err(reason) => self.set_aside(reason, session, now),
        }
    }

    /// A price waits to be confirmed.
    pub(super) fn hold(&mut self, tick: &Tick, session: Option<Session>, now: Timestamp) {
        if session.is_some() && tick.provenance == Provenance::Live {
            self.lag.note(tick.at, now);
        }
    }

    pub(super) fn accept(&mut self, tick: &Tick, place: Timestamp, now: Timestamp) {
        self.accepted = self.accepted.saturating_add(1);
        self.first_place = Some(self.first_place.map_or(place, |first| first.min(place)));
        self.last = Some(AcceptedPrice {
            received: now,
            place,
            provenance: tick.provenance,
        });
        self.streak = None;
        self.judge(false);
    }

    /// A price was set aside.
    pub(super) fn set_aside(&mut self, reason: SetAside, session: Option<Session>, now: Timestamp) {
        count(&mut self.rejected, reason);
        let expected = match reason {
            SetAside::ExactRepeat => true, // a quiet market says its last price again
            // The vendor quotes round the clock, and around the open stamps belong to the time before it.
            SetAside::OffSession => session.is_none_or(|session| now < session.opens + limits::REJECTED_AFTER_OPEN),
            _ => session.is_none(),
        };
        if expected {
            return;
        }
        count(&mut self.troubling, reason);
        self.judge(true);
        let (since, in_row) = self.streak.map_or((now, 0), |streak| (streak.since, streak.count));
        self.streak = Some(Streak {
            since,
            newest: now,
            count: in_row.saturating_add(1),
            reason,
        });
        let minute = now.secs().div_euclid(60);
        if self.rejected_in.back() != Some(&minute) {
            self.rejected_in.push_back(minute);
        }
        if self.rejected_in.len() > limits::REJECTED_MINUTES {
            self.rejected_in.pop_front();
        }
    }

    const fn judge(&mut self, rejected: bool) {
        self.recent = (self.recent << 1) | if rejected { 1 } else { 0 };
        self.judged = self.judged.saturating_add(1);
    }

    /// Whether accepted prices before and after a stretch without any, and none set aside in it, prove that it was watched.
    pub(super) fn proves_watched(&self, from: Timestamp, to: Timestamp) -> bool {
        let before = self.first_place.is_some_and(|first| first < from);
        let after = self.last.is_some_and(|last| to <= last.place);
        let (first, last) = (from.secs().div_euclid(60), to.secs().div_euclid(60));
        before && after && !self.rejected_in.iter().any(|minute| (first..=last).contains(minute))
    }

    /// Whether stamps and our clock differ so much, for so many prices, that our slots are not the vendor's.
    pub(super) fn clock_doubtful(&self) -> bool {
        let reading = self.lag.reading().filter(LagReading::settled);
        reading.is_some_and(|reading| reading.ahead_us().is_some() || reading.behind_us().is_some())
    }

    pub(super) fn view(&self) -> AcceptanceView {
        AcceptanceView {
            accepted: self.accepted,
            rejected: self.rejected.clone(),
            troubling: self.troubling.clone(),
            last: self.last,
            streak: self.streak,
            recent: (self.recent.count_ones(), self.judged.min(u32::BITS)),
            lag: self.lag.reading(),
            held_since: None,
        }
    }
}

fn count(counts: &mut BTreeMap<SetAside, u64>, reason: SetAside) {
    let count = counts.entry(reason).or_default();
    *count = count.saturating_add(1);
}

impl AcceptanceView {
    /// Why so many prices are set aside that it must be said: `streak`, `share`, or `unconfirmed` where they wait to be confirmed.
    #[must_use]
    pub fn rejection(&self, now: Timestamp) -> Option<&'static str> {
        let long = |streak: &Streak| {
            streak.count >= limits::REJECTED_STREAK
                && streak.newest.since(streak.since) >= limits::REJECTED_STREAK_LASTS
        };
        let (rejected, judged) = self.recent;
        if self.streak.as_ref().is_some_and(long) {
            return Some("streak");
        }
        if self
            .held_since
            .is_some_and(|since| now.since(since) >= limits::HELD_LONG)
        {
            return Some("unconfirmed");
        }
        let share = judged >= limits::REJECTED_SHARE_OF && rejected.saturating_mul(4) >= judged;
        share.then_some("share")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::SessionKind;
    use crate::domain::symbol::Symbol;

    const OPEN: i64 = 1_761_138_000;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(OPEN + secs)
    }

    fn session() -> Session {
        Session {
            date: at(0).datetime().date_naive(),
            opens: at(0),
            closes: at(3_600),
            kind: SessionKind::Spot,
        }
    }

    fn note(prices: &mut Acceptance, secs: i64, outcome: Result<(), SetAside>) {
        let tick = Tick {
            symbol: Symbol::usdcop(),
            price: "4000".parse().unwrap(),
            bid: None,
            ask: None,
            at: at(secs),
            provenance: Provenance::Live,
        };
        let open = Some(session()).filter(|session| session.contains(at(secs)));
        prices.note(&tick, at(secs), open, outcome, at(secs));
    }

    #[test]
    fn a_streak_of_rejections_is_told_and_one_accepted_price_ends_it() {
        let mut prices = Acceptance::default();
        note(&mut prices, 100, Ok(()));
        for i in 1..=5 {
            assert_eq!(prices.view().rejection(at(130)), None, "{i}");
            note(&mut prices, 100 + i * 5, Err(SetAside::FromTheFuture));
        }
        let view = prices.view();
        assert_eq!((view.rejection(at(130)), view.accepted), (Some("streak"), 1));
        assert_eq!(view.rejected, BTreeMap::from([(SetAside::FromTheFuture, 5)]));
        assert_eq!(
            view.streak.map(|streak| (streak.since, streak.count)),
            Some((at(105), 5))
        );
        note(&mut prices, 130, Ok(()));
        assert_eq!(prices.view().rejection(at(130)), None);
    }

    #[test]
    fn a_share_of_rejections_is_told_while_it_lasts() {
        let mut prices = Acceptance::default();
        for i in 0..40 {
            note(
                &mut prices,
                200 + i,
                if i % 3 == 0 {
                    Err(SetAside::CrossedQuote)
                } else {
                    Ok(())
                },
            );
        }
        assert_eq!(prices.view().rejection(at(130)), Some("share"));
        for i in 40..72 {
            note(&mut prices, 200 + i, Ok(()));
        }
        assert_eq!(prices.view().rejection(at(130)), None);
    }

    #[test]
    fn repeats_and_quotes_outside_the_session_are_counted_and_no_trouble() {
        let mut prices = Acceptance::default();
        for i in 0..50 {
            note(&mut prices, -300 + i, Err(SetAside::OffSession)); // before the open
            note(&mut prices, 1 + i, Err(SetAside::OffSession)); // stamps of whole minutes still name the time before it
            note(&mut prices, 1_000 + i * 10, Err(SetAside::ExactRepeat));
        }
        let view = prices.view();
        assert_eq!(
            (view.rejection(at(130)), view.streak, view.troubling.len()),
            (None, None, 0)
        );
        assert_eq!(view.rejected[&SetAside::OffSession], 100);
        assert_eq!(view.rejected[&SetAside::ExactRepeat], 50);
        for i in 0..20 {
            note(&mut prices, 2_000 + i, Err(SetAside::OffSession)); // stamps of another day in the middle of the session
        }
        assert_eq!(prices.view().rejection(at(130)), Some("streak"));
    }

    #[test]
    fn only_accepted_prices_on_both_sides_prove_that_a_stretch_was_watched() {
        let mut prices = Acceptance::default();
        let proven = |prices: &Acceptance| prices.proves_watched(at(300), at(600));
        assert!(!proven(&prices));
        note(&mut prices, 290, Ok(()));
        assert!(!proven(&prices), "nothing after it");
        note(&mut prices, 610, Ok(()));
        assert!(proven(&prices));
        assert!(!prices.proves_watched(at(0), at(300)), "nothing before it");
        let mut refused = Acceptance::default();
        note(&mut refused, 290, Ok(()));
        note(&mut refused, 400, Err(SetAside::FromTheFuture));
        note(&mut refused, 610, Ok(()));
        assert!(!proven(&refused), "a price came, and was set aside");
        prices.open_session();
        assert!(!proven(&prices), "another session's prices prove nothing");
    }
}
