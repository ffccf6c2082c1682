//! The judgement of one pair's prices: the last accepted price, and counts of the rejected ones by reason.
//!
//! A price that is *heard* (any frame) proves the link; only an *accepted* price proves the pair.

use crate::domain::model::{Interval, Provenance, RejectReason, Session, Tick, Timestamp};
use crate::domain::pipeline::{LagReading, StampLag};
use crate::limits;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How one pair's prices were judged since the day's ledger file began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acceptance {
    accepted: u64,
    /// How many of them came over the link, and when the last of these arrived.
    live: u64,
    live_at: Option<Timestamp>,
    rejected: BTreeMap<RejectReason, u64>,
    /// The rejected prices that indicate trouble: neither repeats nor quotes outside the session.
    troubling: BTreeMap<RejectReason, u64>,
    last: Option<AcceptedPrice>,
    /// The periods of this session in which live prices were accepted without interruption, newest last.
    watched: VecDeque<Watched>,
    /// The two longest waits between live prices of this session, longest first, and the number of waits.
    longest: [Duration; 2],
    waits: u32,
    /// Whether the last accepted price ended a wait in which a slot may have stayed empty.
    waited: bool,
    streak: Option<Streak>,
    /// One bit for each of the newest judged prices, the newest lowest; set if the price was rejected.
    recent: u32,
    judged: u32,
    lag: StampLag,
    /// Minutes of our clock in which a price was rejected or held for confirmation, newest last.
    unaccepted_in: VecDeque<i64>,
}

/// Consecutive accepted live prices on one line: nothing interrupted the line, no streak was rejected, and no wait between two of them was
/// unusually long.
#[derive(Debug, Clone, Copy)]
struct Watched {
    line: u64,
    /// When the first of them arrived.
    since: Timestamp,
    /// The earliest and the latest instant for which one of them counts.
    first_place: Timestamp,
    last_place: Timestamp,
    last_received: Timestamp,
    /// Whether no more prices are added.
    ended: bool,
}

impl Watched {
    /// Whether a range of time lies between two of the prices.
    fn encloses(&self, from: Timestamp, to: Timestamp, lateness: Duration) -> bool {
        let before = self.first_place < from && self.since <= from + lateness;
        before && to <= self.last_place
    }
}

/// The last accepted price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedPrice {
    /// When it arrived.
    pub received: Timestamp,
    /// The instant that decides to which bar it belongs.
    pub place: Timestamp,
    /// Whether it was live or polled.
    pub provenance: Provenance,
}

/// Consecutive rejected prices, with none accepted between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    /// When the first arrived.
    pub since: Timestamp,
    /// When the newest arrived.
    pub newest: Timestamp,
    /// The number of prices.
    pub count: u32,
    /// Why the newest was rejected.
    pub reason: RejectReason,
    /// The line of the newest price that came over the link; `None` if all were polled. A polled price proves nothing about the link.
    pub line: Option<u64>,
}

/// The judgement of one pair's prices, as views show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptanceView {
    /// Accepted prices.
    pub accepted: u64,
    /// How many of them came over the link.
    pub live: u64,
    /// When the last of these arrived.
    pub live_at: Option<Timestamp>,
    /// Rejected prices, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// The rejected prices that indicate trouble: neither repeats nor quotes outside the session.
    pub troubling: BTreeMap<RejectReason, u64>,
    /// The last accepted price.
    pub last: Option<AcceptedPrice>,
    /// The newest prices, if all of them were rejected.
    pub streak: Option<Streak>,
    /// How many of the newest prices were rejected, and how many newest prices that is.
    pub recent: (u32, u32),
    /// How far the vendor's timestamps are from our clock.
    pub lag: Option<LagReading>,
    /// Since when prices are held for confirmation.
    pub held_since: Option<Timestamp>,
}

impl Acceptance {
    /// Begins a session. Evidence of the previous session does not count for it.
    pub(super) fn open_session(&mut self) {
        self.forget_watched();
        (self.longest, self.waits) = ([Duration::ZERO; 2], 0);
        self.end_session();
        self.unaccepted_in.clear();
    }

    /// Ends a session. No prices are expected any more.
    pub(super) fn end_session(&mut self) {
        self.streak = None;
        (self.recent, self.judged) = (0, 0);
        self.lag.clear();
    }

    /// The clock was set back to `now`: instants from the wrong clock are dropped or moved back.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        self.forget_watched();
        self.lag.clear();
        let minute = now.secs().div_euclid(60);
        self.unaccepted_in
            .iter_mut()
            .for_each(|known| *known = minute.min(*known));
        if let Some(last) = &mut self.last {
            last.received = last.received.min(now);
        }
        if let Some(streak) = &mut self.streak {
            streak.since = streak.since.min(now);
            streak.newest = streak.newest.min(now);
        }
    }

    fn forget_watched(&mut self) {
        self.watched.clear();
        self.waited = false;
    }

    /// Notes the timestamp of a price that is not a repeat. `session` is the one that is open at `now`.
    pub(super) fn note_stamp(&mut self, tick: &Tick, session: Option<Session>, now: Timestamp) {
        if session.is_some() && tick.provenance == Provenance::Live {
            self.lag.note(tick.at, now);
        }
    }

    /// A price is held for confirmation.
    pub(super) fn hold(&mut self, tick: &Tick, session: Option<Session>, now: Timestamp) {
        self.note_stamp(tick, session, now);
        if session.is_some() {
            self.note_unaccepted(now);
        }
    }

    /// A price was accepted. `line` is the [`OutageLog::line`](crate::domain::pipeline::OutageLog::line) on which it came.
    pub(super) fn accept(&mut self, tick: &Tick, place: Timestamp, now: Timestamp, line: u64) {
        self.accepted = self.accepted.saturating_add(1);
        if tick.provenance == Provenance::Live {
            self.live = self.live.saturating_add(1);
            self.live_at = Some(now);
        }
        self.watch(tick, place, now, line);
        self.last = Some(AcceptedPrice {
            received: now,
            place,
            provenance: tick.provenance,
        });
        self.streak
            .take_if(|streak| tick.provenance == Provenance::Live || streak.line != Some(line));
        self.judge(false);
    }

    /// A price was rejected. `line` is the line on which it came; `None` if it was polled.
    pub(super) fn set_aside(
        &mut self,
        reason: RejectReason,
        session: Option<Session>,
        line: Option<u64>,
        now: Timestamp,
    ) {
        count(&mut self.rejected, reason);
        let expected = match reason {
            RejectReason::ExactRepeat => true, // a quiet market repeats its last price
            // The vendor quotes round the clock, and around the open timestamps still belong to the time before it.
            RejectReason::OffSession => session.is_none_or(|session| now < session.opens + limits::REJECTED_AFTER_OPEN),
            _ => session.is_none(),
        };
        if expected {
            return;
        }
        count(&mut self.troubling, reason);
        self.judge(true);
        let (since, in_row) = self.streak.map_or((now, 0), |streak| (streak.since, streak.count));
        let line = line.or_else(|| self.streak.and_then(|streak| streak.line));
        if in_row.saturating_add(1) >= limits::REJECTED_STREAK {
            self.end_watched();
        }
        self.streak = Some(Streak {
            since,
            newest: now,
            count: in_row.saturating_add(1),
            reason,
            line,
        });
        self.note_unaccepted(now);
    }

    fn note_unaccepted(&mut self, now: Timestamp) {
        let minute = now.secs().div_euclid(60);
        if self.unaccepted_in.back() != Some(&minute) {
            self.unaccepted_in.push_back(minute);
        }
        if self.unaccepted_in.len() > limits::REJECTED_MINUTES {
            self.unaccepted_in.pop_front();
        }
    }

    /// Extends the present watched period by an accepted price, or begins a new one. Polled prices are samples and prove nothing.
    fn watch(&mut self, tick: &Tick, place: Timestamp, now: Timestamp, line: u64) {
        if tick.provenance != Provenance::Live {
            return self.end_watched();
        }
        let before = self.watched.back().filter(|last| !last.ended && last.line == line);
        let wait = before.map(|last| now.since(last.last_received));
        let goes_on = wait.is_some_and(|wait| self.learn_wait(wait));
        if let Some(last) = self.watched.back_mut().filter(|_| goes_on) {
            self.waited |= place.since(last.last_place) >= Interval::M1.vendor_length();
            last.first_place = last.first_place.min(place);
            last.last_place = last.last_place.max(place);
            last.last_received = last.last_received.max(now);
            return;
        }
        if self.watched.len() >= limits::STRETCHES_WATCHED {
            self.watched.pop_front();
        }
        self.watched.push_back(Watched {
            line,
            since: now,
            first_place: place,
            last_place: place,
            last_received: now,
            ended: false,
        });
    }

    /// Whether a wait is usual for this pair. One that is far longer than all others may be a fault of the vendor's; two such waits are
    /// usual.
    fn learn_wait(&mut self, wait: Duration) -> bool {
        let [longest, second] = self.longest;
        if wait <= second {
            self.waits = self.waits.saturating_add(1);
            return true; // almost every price, so it is asked first
        }
        let usual = self.waits < limits::WAITS_LEARNED || wait <= second.saturating_mul(2).max(limits::PRICE_AGE_LEAST);
        self.waits = self.waits.saturating_add(1);
        self.longest = [longest.max(wait), second.max(wait.min(longest))];
        usual
    }

    fn end_watched(&mut self) {
        if let Some(last) = self.watched.back_mut() {
            last.ended = true;
        }
    }

    /// Whether a price ended a wait since the last call, so that gaps may be explained.
    pub(super) fn take_wait(&mut self) -> bool {
        std::mem::take(&mut self.waited)
    }

    const fn judge(&mut self, rejected: bool) {
        self.recent = (self.recent << 1) | if rejected { 1 } else { 0 };
        self.judged = self.judged.saturating_add(1);
    }

    /// Whether the market was silent in a range without accepted prices: prices were accepted before and after it on one uninterrupted
    /// line, no price came in it that was not accepted, and the vendor's timestamps agree with our clock. A price that arrives within
    /// `lateness` after the start of the range may be the one before it.
    pub(super) fn proves_silent(&self, from: Timestamp, to: Timestamp, lateness: Duration) -> bool {
        let enclosed = self.watched.iter().any(|watched| watched.encloses(from, to, lateness));
        let minutes = from.secs().div_euclid(60)..=to.secs().div_euclid(60);
        enclosed && !self.unaccepted_in.iter().any(|minute| minutes.contains(minute)) && !self.clock_doubtful()
    }

    /// Whether the vendor's timestamps differ from our clock so much, over so many prices, that our slots do not match the vendor's.
    pub(super) fn clock_doubtful(&self) -> bool {
        let reading = self.lag.read_lag().filter(LagReading::is_settled);
        reading.is_some_and(|reading| reading.ahead_us().is_some() || reading.behind_us().is_some())
    }

    pub(crate) fn view(&self) -> AcceptanceView {
        AcceptanceView {
            accepted: self.accepted,
            live: self.live,
            live_at: self.live_at,
            rejected: self.rejected.clone(),
            troubling: self.troubling.clone(),
            last: self.last,
            streak: self.streak,
            recent: (self.recent.count_ones(), self.judged.min(u32::BITS)),
            lag: self.lag.read_lag(),
            held_since: None,
        }
    }
}

fn count(counts: &mut BTreeMap<RejectReason, u64>, reason: RejectReason) {
    let count = counts.entry(reason).or_default();
    *count = count.saturating_add(1);
}

impl AcceptanceView {
    /// Whether the newest prices were all rejected, or have been held too long.
    pub fn is_in_vain(&self, now: Timestamp) -> bool {
        matches!(self.rejection_reason(now), Some("streak" | "unconfirmed"))
    }

    /// Why the rejected prices raise a condition: `streak`, `share`, or `unconfirmed` when prices have been held too long.
    pub fn rejection_reason(&self, now: Timestamp) -> Option<&'static str> {
        let (rejected, judged) = self.recent;
        if self.streak.as_ref().is_some_and(|streak: &Streak| {
            streak.count >= limits::REJECTED_STREAK
                && streak.newest.since(streak.since) >= limits::REJECTED_STREAK_LASTS
        }) {
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
    use crate::domain::model::{SessionKind, Symbol};

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

    fn tick(secs: i64, provenance: Provenance) -> Tick {
        Tick {
            symbol: Symbol::usdcop(),
            price: "4000".parse().unwrap(),
            bid: None,
            ask: None,
            at: at(secs),
            provenance,
        }
    }

    fn note_on(prices: &mut Acceptance, secs: i64, outcome: Result<(), RejectReason>, line: u64) {
        let open = Some(session()).filter(|session| session.contains(at(secs)));
        let tick = tick(secs, Provenance::Live);
        match outcome {
            Ok(()) => prices.accept(&tick, at(secs), at(secs), line),
            Err(reason) => prices.set_aside(reason, open, Some(line), at(secs)),
        }
    }

    fn note(prices: &mut Acceptance, secs: i64, outcome: Result<(), RejectReason>) {
        note_on(prices, secs, outcome, 1);
    }

    #[test]
    fn a_streak_of_rejections_is_told_and_one_accepted_price_ends_it() {
        let mut prices = Acceptance::default();
        note(&mut prices, 100, Ok(()));
        for i in 1..=5 {
            assert_eq!(prices.view().rejection_reason(at(130)), None, "{i}");
            note(&mut prices, 100 + i * 5, Err(RejectReason::FromTheFuture));
        }
        let view = prices.view();
        assert_eq!((view.rejection_reason(at(130)), view.accepted), (Some("streak"), 1));
        assert_eq!(view.rejected, BTreeMap::from([(RejectReason::FromTheFuture, 5)]));
        assert_eq!(
            view.streak.map(|streak| (streak.since, streak.count)),
            Some((at(105), 5))
        );
        note(&mut prices, 130, Ok(()));
        assert_eq!(prices.view().rejection_reason(at(130)), None);
    }

    #[test]
    fn what_is_polled_beside_a_link_whose_prices_are_set_aside_ends_no_streak_of_the_links() {
        let mut prices = Acceptance::default();
        let in_vain = |prices: &Acceptance, secs| prices.view().rejection_reason(at(secs)) == Some("streak");
        for i in 0..5 {
            note(&mut prices, 100 + i * 5, Err(RejectReason::FromTheFuture));
        }
        for secs in [125, 135, 145] {
            prices.accept(&tick(secs, Provenance::Polled), at(secs), at(secs), 1);
            assert!(in_vain(&prices, secs), "the link still brings none: {secs}");
            prices.set_aside(RejectReason::UnreadablePrice, Some(session()), None, at(secs + 2));
            prices.accept(&tick(secs + 3, Provenance::Polled), at(secs + 3), at(secs + 3), 1);
            assert!(
                in_vain(&prices, secs + 3),
                "one that was polled is none of the link's: {secs}"
            );
            note(&mut prices, secs + 5, Err(RejectReason::FromTheFuture));
        }
        prices.accept(&tick(160, Provenance::Polled), at(160), at(160), 2);
        assert!(!in_vain(&prices, 160), "the link that brought them is gone");
        for i in 0..5 {
            prices.set_aside(RejectReason::UnreadablePrice, Some(session()), None, at(170 + i * 5));
        }
        assert!(in_vain(&prices, 190));
        prices.accept(&tick(195, Provenance::Polled), at(195), at(195), 2);
        assert!(!in_vain(&prices, 195), "who polled them polls a good one");
    }

    #[test]
    fn a_share_of_rejections_is_told_while_it_lasts() {
        let mut prices = Acceptance::default();
        for i in 0..40 {
            note(
                &mut prices,
                200 + i,
                if i % 3 == 0 {
                    Err(RejectReason::CrossedQuote)
                } else {
                    Ok(())
                },
            );
        }
        assert_eq!(prices.view().rejection_reason(at(130)), Some("share"));
        for i in 40..72 {
            note(&mut prices, 200 + i, Ok(()));
        }
        assert_eq!(prices.view().rejection_reason(at(130)), None);
    }

    #[test]
    fn repeats_and_quotes_outside_the_session_are_counted_and_no_trouble() {
        let mut prices = Acceptance::default();
        for i in 0..50 {
            note(&mut prices, -300 + i, Err(RejectReason::OffSession)); // before the open
            note(&mut prices, 1 + i, Err(RejectReason::OffSession)); // stamps of whole minutes still name the time before it
            note(&mut prices, 1_000 + i * 10, Err(RejectReason::ExactRepeat));
        }
        let view = prices.view();
        assert_eq!(
            (view.rejection_reason(at(130)), view.streak, view.troubling.len()),
            (None, None, 0)
        );
        assert_eq!(view.rejected[&RejectReason::OffSession], 100);
        assert_eq!(view.rejected[&RejectReason::ExactRepeat], 50);
        for i in 0..20 {
            note(&mut prices, 2_000 + i, Err(RejectReason::OffSession)); // stamps of another day in the middle of the session
        }
        assert_eq!(prices.view().rejection_reason(at(130)), Some("streak"));
    }

    fn proven(prices: &Acceptance) -> bool {
        prices.proves_silent(at(300), at(600), limits::LATENESS)
    }

    #[test]
    fn only_accepted_prices_on_both_sides_prove_that_a_stretch_was_silent() {
        let mut prices = Acceptance::default();
        assert!(!proven(&prices));
        note(&mut prices, 290, Ok(()));
        assert!(!proven(&prices), "nothing after it");
        note(&mut prices, 610, Ok(()));
        assert!(proven(&prices) && prices.take_wait());
        assert!(
            !prices.proves_silent(at(0), at(300), limits::LATENESS),
            "nothing before it"
        );
        prices.open_session();
        assert!(!proven(&prices), "another session's prices prove nothing");
    }

    #[test]
    fn what_comes_between_the_two_prices_and_is_no_accepted_live_price_takes_the_proof() {
        let between = |what: fn(&mut Acceptance)| {
            let mut prices = Acceptance::default();
            note(&mut prices, 100, Ok(()));
            what(&mut prices);
            note(&mut prices, 610, Ok(()));
            proven(&prices)
        };
        assert!(between(|prices| note(prices, 400, Err(RejectReason::ExactRepeat))));
        assert!(
            !between(|prices| note(prices, 400, Err(RejectReason::FromTheFuture))),
            "set aside in it"
        );
        assert!(
            between(|prices| note(prices, 200, Err(RejectReason::FromTheFuture))),
            "one before it"
        );
        assert!(
            !between(|prices| (200..205).for_each(|secs| note(prices, secs, Err(RejectReason::FromTheFuture)))),
            "a streak before it"
        );
        assert!(
            !between(|prices| prices.hold(&tick(400, Provenance::Live), Some(session()), at(400))),
            "one waited in it to be confirmed"
        );
        assert!(
            !between(|prices| prices.accept(&tick(200, Provenance::Polled), at(200), at(200), 1)),
            "who polls hears samples"
        );
        let mut prices = Acceptance::default();
        note_on(&mut prices, 100, Ok(()), 1);
        note_on(&mut prices, 610, Ok(()), 2);
        assert!(
            !proven(&prices) && !prices.take_wait(),
            "the line was interrupted before it"
        );
        note_on(&mut prices, 640, Ok(()), 2);
        assert!(!proven(&prices));
    }

    #[test]
    fn an_old_stamp_that_comes_after_a_slot_is_no_price_before_it() {
        let mut prices = Acceptance::default();
        prices.accept(&tick(290, Provenance::Live), at(290), at(605), 1);
        note(&mut prices, 610, Ok(()));
        assert!(!proven(&prices));
    }

    #[test]
    fn a_silence_much_longer_than_usual_is_no_quiet_market_until_it_is_usual() {
        let mut prices = Acceptance::default();
        (0..290).step_by(5).for_each(|secs| note(&mut prices, secs, Ok(())));
        note(&mut prices, 610, Ok(()));
        assert!(
            !proven(&prices),
            "a pair of a price each five seconds was mute for five minutes"
        );
        let mut quiet = Acceptance::default();
        (0..3_600).step_by(420).for_each(|secs| note(&mut quiet, secs, Ok(())));
        assert!(quiet.proves_silent(at(3_000), at(3_300), limits::LATENESS));
        let empty = |prices: &Acceptance, from| prices.proves_silent(at(from), at(from + 300), limits::LATENESS);
        note(&mut prices, 1_210, Ok(()));
        assert!(!empty(&prices, 900), "twice may be a fault");
        note(&mut prices, 1_810, Ok(()));
        assert!(empty(&prices, 1_500), "it has become quiet");
    }

    #[test]
    fn what_is_remembered_of_lines_is_bounded_and_ends_where_the_clock_is_set_back() {
        let mut prices = Acceptance::default();
        (0..10_000).for_each(|line| note_on(&mut prices, 100, Ok(()), line));
        assert_eq!(prices.watched.len(), limits::STRETCHES_WATCHED);
        note_on(&mut prices, 610, Ok(()), 9_999);
        assert!(proven(&prices));
        prices.forget_watched();
        assert!(!proven(&prices));
    }
}
