//! Plans the next request to the vendor: which gap to fill, and when; and, if nothing is missing, which of our bars to compare.
//!
//! Newest bars first, because they are traded on. One request spans as many gaps of a pair as one answer can hold. After an answer the pair
//! rests a moment: the pipeline settles the answered slots, and what is left was too fresh. A gap that is longer than one answer is
//! requested in parts: the next request ends where the last answer began.
//!
//! A slot in which a watched pair had no accepted price is probably empty at the vendor too. It is requested once an empty answer would be
//! evidence, many such slots at a time, and at growing intervals while the answers are empty.

use crate::domain::model::{Fetched, Gap, Interval, Requested, SlotGrid, Symbol, Timestamp, backoff};
use crate::domain::pipeline::Unchecked;
use crate::domain::vendor::{Disposition, SeriesRequest, Trouble};
use crate::limits;
use std::collections::BTreeMap;
use std::time::Duration;

/// The next step of backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Request missing bars.
    Ask(SeriesRequest),
    /// Request bars for a comparison, if there are credits to spare.
    Compare(SeriesRequest),
    /// Call again at this instant.
    Wait(Timestamp),
    /// Nothing is missing or to be compared.
    Rest,
}

/// Plans requests, and keeps the results of earlier ones.
#[derive(Debug, Clone, Default)]
pub struct BackfillPlanner {
    pairs: BTreeMap<Symbol, Pair>,
    /// The part `[from, to)` that no answer has covered yet of gaps that were answered in part, by pair and gap id.
    unanswered: BTreeMap<(Symbol, u64), (Timestamp, Timestamp)>,
    /// Until when there are no credits for comparisons.
    poor_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    failures: u32,
    not_before: Timestamp,
    /// Consecutive answers without a bar for a quiet slot, and when the last one came.
    empty: u32,
    empty_at: Timestamp,
}

/// The causes of a gap in which the feed was up and no price was accepted. Which of the two it is turns out with the next price.
const QUIET: [&str; 2] = ["no_ticks", "no_accepted_price"];

impl BackfillPlanner {
    /// The next step, given the pending gaps and the bars that are still to be compared. Missing bars come first.
    pub fn next(&self, gaps: &[Gap], unchecked: &[Unchecked], now: Timestamp) -> Step {
        let gaps = gaps.iter().filter(|gap| gap.status.pending());
        let gaps: Vec<Gap> = gaps.map(|gap| self.narrow_gap(gap)).collect();
        if let Some(newest) = gaps
            .iter()
            .filter(|gap| self.ripe_at(gap) <= now)
            .max_by_key(|gap| (gap.to, gap.interval))
        {
            return Step::Ask(span_request(newest, gaps.iter()));
        }
        let comparisons = unchecked.iter().filter_map(|some| Some((self.due_at(some)?, some)));
        if let Some((_, due)) = comparisons.clone().find(|(at, _)| *at <= now) {
            return Step::Compare(comparison_request(due));
        }
        let comparing = comparisons.map(|(at, _)| at);
        gaps.iter()
            .map(|gap| self.ripe_at(gap))
            .chain(comparing)
            .min()
            .map_or(Step::Rest, Step::Wait)
    }

    /// From when the vendor may have the bars of a gap.
    fn ripe_at(&self, gap: &Gap) -> Timestamp {
        let (_, whole) = SlotGrid::of_interval(gap.asked_in()).vendor_span(gap.from, gap.to);
        let pair = self.pairs.get(&gap.symbol);
        let rested = pair.map_or(gap.to, |pair| pair.not_before);
        if !QUIET.contains(&gap.cause.as_str()) {
            return rested.max(whole + limits::BACKFILL_SETTLE);
        }
        let seldom = pair.filter(|pair| pair.empty > 0);
        let seldom = seldom.map_or(gap.to, |pair| pair.empty_at + quiet_wait(pair.empty));
        rested
            .max(whole + limits::VENDOR_SETTLES + limits::BACKFILL_SETTLE)
            .max(seldom)
    }

    /// When to compare bars: when there are enough for one request, or no more will come, and they are old enough to be final.
    fn due_at(&self, some: &Unchecked) -> Option<Timestamp> {
        let enough = some.over || some.bars >= limits::COMPARE_BARS;
        let rested = self.pairs.get(&some.symbol).map_or(some.to, |pair| pair.not_before);
        let settled = some.to + limits::VENDOR_SETTLES;
        enough.then(|| rested.max(settled).max(self.poor_until.unwrap_or(settled)))
    }

    /// The clock was set back to `now`: waits are cut to the length that they would have from now.
    pub fn set_back(&mut self, now: Timestamp) {
        for pair in self.pairs.values_mut() {
            pair.not_before = pair.not_before.min(now + limits::BACKFILL_AGAIN);
        }
        self.unanswered.clear(); // what was told of open slots is no evidence
        self.poor_until = None;
    }

    /// There are no credits for comparisons until `until`.
    pub const fn defer_comparisons(&mut self, until: Timestamp) {
        self.poor_until = Some(until);
    }

    /// The vendor answered. `quiet`: whether it had bars for slots in which the pair was quiet; `None` if it was not asked for any.
    pub fn note_answer(&mut self, symbol: Symbol, quiet: Option<bool>, now: Timestamp) {
        let before = self
            .pairs
            .get(&symbol)
            .map_or((0, now), |pair| (pair.empty, pair.empty_at));
        let (empty, empty_at) = match quiet {
            None => before,
            Some(true) => (0, now),
            Some(false) => (before.0.saturating_add(1), now),
        };
        let rested = Pair {
            failures: 0,
            not_before: now + limits::BACKFILL_AGAIN,
            empty,
            empty_at,
        };
        self.pairs.insert(symbol, rested);
    }

    /// The vendor's answer covered the range of `told`: the remainder of each gap is requested next. A gap without a remainder is requested
    /// anew if it is still pending.
    pub fn note_stretch(&mut self, gaps: &[Gap], told: &Requested) {
        self.unanswered.retain(|key, _| {
            let mut gaps = gaps.iter().filter(|gap| gap.status.pending());
            gaps.any(|gap| (gap.symbol, gap.id) == *key)
        });
        for gap in gaps.iter().filter(|gap| gap.symbol == told.symbol) {
            let left = self.narrow_gap(gap);
            if left.asked_in() != told.interval || told.to <= left.from || left.to <= told.from {
                continue;
            }
            let grid = SlotGrid::of_interval(gap.interval);
            let (from, to) = if left.to <= told.to {
                (left.from, grid.vendor_span(told.from, told.from).1) // a slot that is told in part is asked for again
            } else if told.from <= left.from {
                (grid.vendor_span(told.to, told.to).0, left.to)
            } else {
                continue; // its newest part was too fresh
            };
            if from < to {
                self.unanswered.insert((gap.symbol, gap.id), (from, to));
            } else {
                self.unanswered.remove(&(gap.symbol, gap.id));
            }
        }
    }

    /// The gap without the part that answers have covered.
    fn narrow_gap(&self, gap: &Gap) -> Gap {
        let left = self.unanswered.get(&(gap.symbol, gap.id));
        let (from, to) = left.map_or((gap.from, gap.to), |(from, to)| (gap.from.max(*from), gap.to.min(*to)));
        Gap {
            from,
            to,
            ..gap.clone()
        }
    }

    /// Whether an answer had bars for slots in which the pair was quiet; `None` if it was not asked for any.
    pub fn found_quiet(gaps: &[Gap], fetched: &Fetched) -> Option<bool> {
        gaps.iter()
            .filter(|gap: &&Gap| {
                QUIET.contains(&gap.cause.as_str())
                    && gap.symbol == fetched.symbol
                    && gap.from < fetched.to
                    && fetched.from < gap.to
            })
            .map(|gap: &Gap| {
                fetched
                    .bars
                    .iter()
                    .any(|bar| gap.from <= bar.opens_at && bar.opens_at < gap.to)
            })
            .reduce(|one, other| one || other)
    }

    /// The vendor refused, or did not answer (`None`). `jitter` from 0 to below 1.
    pub fn note_failure(&mut self, symbol: Symbol, trouble: Option<Trouble>, now: Timestamp, jitter: f64) {
        let before = self.pairs.get(&symbol);
        let failures = before.map_or(0, |pair| pair.failures).saturating_add(1);
        let (empty, empty_at) = before.map_or((0, now), |pair| (pair.empty, pair.empty_at));
        let wait = match trouble.map_or(Disposition::Retry, Trouble::disposition) {
            Disposition::NextKey => Duration::ZERO, // the pool says when there is one
            Disposition::Retry => retry_delay(failures, jitter),
            Disposition::Final => limits::BACKFILL_HOPELESS,
        };
        self.pairs.insert(
            symbol,
            Pair {
                failures,
                not_before: now + wait,
                empty,
                empty_at,
            },
        );
    }
}

/// How long to wait before quiet slots are requested again, after `empty` empty answers.
fn quiet_wait(empty: u32) -> Duration {
    backoff::delay(
        limits::BACKFILL_QUIET,
        empty.saturating_sub(1),
        limits::BACKFILL_QUIET_LONGEST,
    )
}

/// A wait that doubles with each failure, half of it jittered.
fn retry_delay(failures: u32, jitter: f64) -> Duration {
    let failures = failures.saturating_sub(1);
    let ceiling = backoff::delay(limits::BACKFILL_RETRY, failures, limits::BACKFILL_RETRY_LONGEST);
    ceiling.mul_f64(0.5 + if (0.0..1.0).contains(&jitter) { jitter } else { 0.0 } / 2.0)
}

/// A request for the gap and as many older gaps of the same pair as one answer can hold.
fn span_request<'a>(newest: &Gap, gaps: impl Iterator<Item = &'a Gap>) -> SeriesRequest {
    let interval = newest.asked_in();
    let earliest = newest.to - longest_span(interval);
    let same = gaps.filter(|gap| gap.symbol == newest.symbol && gap.asked_in() == interval && gap.from >= earliest);
    let from = same.map(|gap| gap.from).fold(newest.from, Timestamp::min).max(earliest);
    let (from, to) = SlotGrid::of_interval(interval).vendor_span(from, newest.to);
    SeriesRequest {
        symbols: vec![newest.symbol],
        interval,
        from,
        to,
    }
}

/// A request for the first part of the range, as long as one answer can hold; the rest is requested later.
fn comparison_request(some: &Unchecked) -> SeriesRequest {
    SeriesRequest {
        symbols: vec![some.symbol],
        interval: some.interval,
        from: some.from,
        to: some.to.min(some.from + longest_span(some.interval)),
    }
}

/// One bar less than an answer holds, because it is not documented whether the vendor includes the end.
fn longest_span(interval: Interval) -> Duration {
    interval
        .vendor_length()
        .saturating_mul(u32::try_from(limits::SERIES_BARS.saturating_sub(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::GapStatus;

    const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);
    const FIVE: Duration = Duration::from_secs(300);

    fn gap(id: u64, symbol: &str, from: u32, bars: u32) -> Gap {
        Gap {
            id,
            symbol: symbol.parse().unwrap(),
            interval: Interval::M5,
            from: NOON + FIVE * from,
            to: NOON + FIVE * (from + bars),
            bars,
            status: GapStatus::Open,
            cause: "upstream_close_1006".to_owned(),
        }
    }

    fn late() -> Timestamp {
        NOON + FIVE * 10_000
    }

    fn asked(step: Step) -> (String, u64, u64) {
        let Step::Ask(request) = step else {
            panic!("{step:?} asks nothing")
        };
        let slot = |at: Timestamp| at.since(NOON).as_secs() / 300;
        (request.symbols[0].to_string(), slot(request.from), slot(request.to))
    }

    #[test]
    fn a_slot_that_the_sessions_end_cuts_is_asked_for_in_minutes_and_the_others_in_bars_of_their_own() {
        let mut cut = gap(1, "USD/COP", 1, 2);
        cut.to = cut.from + Duration::from_secs(480);
        let planner = BackfillPlanner::default();
        let ripe = cut.to + limits::BACKFILL_SETTLE;
        let early = ripe - Duration::from_micros(1);
        assert_eq!(planner.next(&[cut.clone()], &[], early), Step::Wait(ripe));
        let earlier = gap(2, "USD/COP", 0, 1);
        let Step::Ask(request) = planner.next(&[earlier.clone(), cut.clone()], &[], ripe) else {
            panic!("it is ripe");
        };
        assert_eq!(
            (request.interval, request.from, request.to),
            (Interval::M1, cut.from, cut.to)
        );
        let Step::Ask(request) = planner.next(&[earlier], &[], ripe) else {
            panic!("it is ripe");
        };
        assert_eq!(
            (request.interval, request.from, request.to),
            (Interval::M5, NOON, NOON + FIVE)
        );
    }

    #[test]
    fn the_newest_gap_is_asked_first_together_with_older_ones_of_its_pair() {
        let gaps = [
            gap(1, "USD/COP", 3, 2),
            gap(2, "EUR/USD", 7, 1),
            gap(3, "USD/COP", 8, 4),
        ];
        assert_eq!(
            asked(BackfillPlanner::default().next(&gaps, &[], late())),
            ("USD/COP".to_owned(), 3, 12)
        );
    }

    #[test]
    fn one_question_spans_no_more_than_one_answer_holds() {
        let gaps = [gap(1, "USD/COP", 0, 2), gap(2, "USD/COP", 6_000, 1)];
        assert_eq!(
            asked(BackfillPlanner::default().next(&gaps, &[], late())),
            ("USD/COP".to_owned(), 6_000, 6_001)
        );
        let long = [gap(1, "USD/COP", 0, 6_000)];
        assert_eq!(
            asked(BackfillPlanner::default().next(&long, &[], late())),
            ("USD/COP".to_owned(), 1_001, 6_000)
        );
    }

    #[test]
    fn a_gap_that_is_longer_than_an_answer_is_asked_for_to_its_beginning() {
        let gaps = [gap(1, "USD/COP", 0, 12_000), gap(2, "EUR/USD", 0, 6_000)];
        let mut planner = BackfillPlanner::default();
        let mut now = late() + FIVE * 10_000;
        let mut stretches = Vec::new();
        for _ in 0..6 {
            let step = planner.next(&gaps, &[], now);
            let Step::Ask(request) = step.clone() else {
                panic!("{step:?} asks nothing")
            };
            stretches.push(asked(step));
            let told = Requested {
                symbol: request.symbols[0],
                interval: request.interval,
                from: request.from,
                to: request.to,
            };
            planner.note_stretch(&gaps, &told);
            planner.note_answer(told.symbol, None, now);
            now = now + limits::BACKFILL_AGAIN / 2;
        }
        let of = |symbol: &str| {
            let of = stretches.iter().filter(|(of, ..)| of == symbol);
            of.map(|(_, from, to)| (*from, *to)).collect::<Vec<_>>()
        };
        assert_eq!(of("USD/COP"), [(7_001, 12_000), (2_002, 7_001), (0, 2_002)]);
        // Nothing remains of it, and it is still pending: it is requested anew.
        assert_eq!(of("EUR/USD"), [(1_001, 6_000), (0, 1_001), (1_001, 6_000)]);
    }

    #[test]
    fn a_slot_that_an_answer_in_minutes_cuts_is_asked_for_again() {
        let mut cut = gap(1, "USD/COP", 0, 2_000);
        cut.to = cut.to - Duration::from_secs(120);
        let gaps = [cut];
        let mut planner = BackfillPlanner::default();
        let Step::Ask(request) = planner.next(&gaps, &[], late()) else {
            panic!("it is ripe");
        };
        let slots = request.from.since(NOON).as_secs_f64() / 300.0;
        assert_eq!((request.interval, slots), (Interval::M1, 999.8));
        let told = Requested {
            symbol: request.symbols[0],
            interval: request.interval,
            from: request.from,
            to: request.to,
        };
        planner.note_stretch(&gaps, &told);
        assert_eq!(
            asked(planner.next(&gaps, &[], late())),
            ("USD/COP".to_owned(), 0, 1_000)
        );
        planner.set_back(late());
        assert_eq!(planner.next(&gaps, &[], late()), Step::Ask(request));
    }

    #[test]
    fn a_bar_that_just_closed_is_given_a_moment() {
        let gaps = [gap(1, "USD/COP", 0, 1)];
        let closed = gaps[0].to;
        let ripe = closed + limits::BACKFILL_SETTLE;
        assert_eq!(BackfillPlanner::default().next(&gaps, &[], closed), Step::Wait(ripe));
        assert!(matches!(
            BackfillPlanner::default().next(&gaps, &[], ripe),
            Step::Ask(_)
        ));
    }

    #[test]
    fn a_quiet_pair_costs_a_handful_of_questions_and_not_three_for_each_empty_slot() {
        let mut planner = BackfillPlanner::default();
        let mut gaps: Vec<Gap> = Vec::new();
        let (mut asked, mut opened) = (0, 0);
        for minute in 0..180_u32 {
            let now = NOON + Duration::from_secs(60) * minute;
            if minute < 120 && minute % 14 == 5 {
                opened += 1; // one slot of three, roughly, has no tick
                let quiet = gap(opened, "USD/COP", minute / 5 - 1, 1);
                gaps.push(Gap {
                    cause: QUIET[1].to_owned(),
                    ..quiet
                });
            }
            if let Step::Ask(request) = planner.next(&gaps, &[], now) {
                asked += 1;
                let empty = Fetched {
                    symbol: request.symbols[0],
                    interval: request.interval,
                    from: request.from,
                    to: request.to,
                    bars: Vec::new(),
                    unusable: Vec::new(),
                };
                planner.note_answer(empty.symbol, BackfillPlanner::found_quiet(&gaps, &empty), now);
                gaps.retain(|gap| gap.to > request.to || gap.to + limits::VENDOR_SETTLES > now);
            }
        }
        assert!(opened >= 8 && gaps.is_empty(), "{opened} opened, {gaps:?} left");
        assert!(asked <= 5, "{asked} questions for {opened} empty slots");
    }

    #[test]
    fn a_bar_that_the_vendor_has_for_a_quiet_slot_brings_the_next_question_soon() {
        let mut planner = BackfillPlanner::default();
        let quiet = Gap {
            cause: QUIET[1].to_owned(),
            ..gap(1, "USD/COP", 0, 1)
        };
        let gaps = [quiet.clone()];
        let ripe = quiet.to + limits::VENDOR_SETTLES + limits::BACKFILL_SETTLE;
        assert_eq!(
            planner.next(&gaps, &[], quiet.to + limits::BACKFILL_SETTLE),
            Step::Wait(ripe)
        );
        planner.note_answer(quiet.symbol, Some(false), ripe);
        planner.note_answer(quiet.symbol, Some(false), ripe);
        let again = ripe + limits::BACKFILL_QUIET * 2;
        assert_eq!(planner.next(&gaps, &[], ripe), Step::Wait(again));
        planner.note_answer(quiet.symbol, Some(true), ripe);
        assert_eq!(
            planner.next(&gaps, &[], ripe),
            Step::Wait(ripe + limits::BACKFILL_AGAIN)
        );
        // A gap of an outage does not wait for that.
        let outage = [quiet, gap(2, "USD/COP", 9, 1)];
        planner.note_answer(outage[1].symbol, Some(false), NOON);
        assert!(matches!(
            planner.next(&outage, &[], outage[1].to + limits::BACKFILL_AGAIN),
            Step::Ask(_)
        ));
    }

    #[test]
    fn settled_gaps_are_nobodys_business() {
        let mut settled = gap(1, "USD/COP", 0, 1);
        settled.status = GapStatus::Unfillable;
        assert_eq!(BackfillPlanner::default().next(&[settled], &[], late()), Step::Rest);
        assert_eq!(BackfillPlanner::default().next(&[], &[], late()), Step::Rest);
    }

    #[test]
    fn an_answered_pair_rests_while_others_are_asked() {
        let gaps = [gap(1, "USD/COP", 3, 2), gap(2, "EUR/USD", 1, 1)];
        let mut planner = BackfillPlanner::default();
        planner.note_answer(gaps[0].symbol, None, late());
        assert_eq!(asked(planner.next(&gaps, &[], late())).0, "EUR/USD");
        planner.note_answer(gaps[1].symbol, None, late());
        assert_eq!(
            planner.next(&gaps, &[], late()),
            Step::Wait(late() + limits::BACKFILL_AGAIN)
        );
        assert_eq!(
            asked(planner.next(&gaps, &[], late() + limits::BACKFILL_AGAIN)).0,
            "USD/COP"
        );
    }

    #[test]
    fn failures_wait_longer_each_time_and_spent_keys_do_not() {
        let gaps = [gap(1, "USD/COP", 3, 2)];
        let mut planner = BackfillPlanner::default();
        let mut wait = |trouble| {
            planner.note_failure(gaps[0].symbol, trouble, late(), 0.0);
            match planner.next(&gaps, &[], late()) {
                Step::Wait(at) => at.since(late()),
                _ => Duration::ZERO,
            }
        };
        let waits: Vec<Duration> = (0..12).map(|_| wait(Some(Trouble::ServerFault))).collect();
        assert!(
            waits[0] < waits[1] && waits[1] < waits[2] && waits[11] <= limits::BACKFILL_RETRY_LONGEST,
            "{waits:?}"
        );
        assert_eq!(wait(Some(Trouble::DaySpent)), Duration::ZERO);
        assert_eq!(wait(Some(Trouble::UnknownSymbol)), limits::BACKFILL_HOPELESS);
    }

    fn unchecked(bars: usize, over: bool) -> Unchecked {
        Unchecked {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: NOON,
            to: NOON + FIVE * u32::try_from(bars).unwrap(),
            bars,
            over,
        }
    }

    #[test]
    fn an_hour_of_bars_is_compared_by_one_question_once_the_vendors_are_final() {
        let planner = BackfillPlanner::default();
        let hour = [unchecked(limits::COMPARE_BARS, false)];
        let settled = hour[0].to + limits::VENDOR_SETTLES;
        assert_eq!(planner.next(&[], &hour, hour[0].to), Step::Wait(settled));
        let Step::Compare(request) = planner.next(&[], &hour, settled) else {
            panic!("an hour is enough")
        };
        assert_eq!((request.from, request.to), (hour[0].from, hour[0].to));
        assert_eq!(
            planner.next(&[], &[unchecked(5, false)], late()),
            Step::Rest,
            "more will come"
        );
        assert!(
            matches!(planner.next(&[], &[unchecked(5, true)], late()), Step::Compare(_)),
            "no more will come"
        );
    }

    #[test]
    fn missing_bars_come_before_comparisons_and_these_wait_for_credits() {
        let mut planner = BackfillPlanner::default();
        let session = [unchecked(59, true)];
        assert_eq!(asked(planner.next(&[gap(1, "USD/COP", 3, 2)], &session, late())).1, 3);
        planner.defer_comparisons(late() + FIVE);
        assert_eq!(planner.next(&[], &session, late()), Step::Wait(late() + FIVE));
        assert!(matches!(
            planner.next(&[gap(1, "USD/COP", 3, 2)], &session, late()),
            Step::Ask(_)
        ));
    }

    #[test]
    fn weeks_of_bars_are_compared_from_their_beginning_as_far_as_an_answer_reaches() {
        let Step::Compare(request) = BackfillPlanner::default().next(&[], &[unchecked(6_000, true)], late()) else {
            panic!("it is due")
        };
        assert_eq!((request.from, request.to), (NOON, NOON + FIVE * 4_999));
    }
}
