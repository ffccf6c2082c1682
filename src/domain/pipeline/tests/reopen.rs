//! Sessions whose calendar is corrected while they run, or after they were closed.

use crate::domain::model::{
    Bar, BarKey, Decoded, Event, Flags, Gap, GapStatus, Inbound, InputKind, Interval, JournalEntry, Listed, Ohlc,
    Position, Price, Session, SessionPhase, Sessions, Symbol, Tick, Timestamp,
};
use crate::domain::pipeline::{
    PairRules, Pipeline, ToldDays,
    tests::pipeline::{Day, arrival, at, bars, down, fetched, known, session, up},
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A calendar that is corrected while the service runs.
#[derive(Debug)]
struct Corrected(Mutex<(Vec<Session>, u64)>);

impl Corrected {
    fn listed(&self) -> Listed {
        Listed {
            sessions: self.0.lock().unwrap().0.clone(),
            zone: chrono_tz::America::Bogota,
        }
    }
}

impl Sessions for Corrected {
    fn at(&self, at: Timestamp) -> Option<Session> {
        self.listed().at(at)
    }
    fn after(&self, at: Timestamp) -> Option<Session> {
        self.listed().after(at)
    }
    fn zone(&self) -> chrono_tz::Tz {
        chrono_tz::America::Bogota
    }
    fn edition(&self) -> u64 {
        self.0.lock().unwrap().1
    }
}

/// A day of one session whose calendar is corrected, with bars of every interval.
pub(crate) struct CorrectedDay {
    pub(crate) day: Day,
    calendar: Arc<Corrected>,
}

/// Seconds from the open to the beginning and end of the day's session, if it has one.
pub(crate) type Hours = Option<(i64, i64)>;

fn sessions_of(hours: Hours) -> Vec<Session> {
    let today = hours.map(|(opens, closes)| Session {
        opens: at(opens),
        closes: at(closes),
        ..session(0)
    });
    today.into_iter().chain([session(1)]).collect()
}

impl CorrectedDay {
    pub(super) fn begun(hours: Hours) -> Self {
        let mut corrected = Self::waiting(hours);
        corrected.day.apply_input(-60, up());
        corrected
    }

    /// A restart with this calendar, which replays the inputs from the beginning of the file.
    fn restarted(entries: &[JournalEntry], hours: Hours) -> Self {
        let mut again = Self::waiting(hours);
        let inputs = || {
            entries.iter().filter_map(|entry| match entry {
                JournalEntry::Input(heard) => Some(heard.clone()),
                _ => None,
            })
        };
        let first = inputs().find_map(|heard| match heard.what {
            InputKind::Calendar(known) if known.carried => Some(known),
            _ => None,
        });
        again.day.pipeline.restore_calendar(&first.unwrap());
        for heard in inputs() {
            let arrival = arrival(heard.at, heard.what);
            again.day.pipeline.replay(arrival, &mut again.day.entries);
        }
        again
    }

    fn waiting(hours: Hours) -> Self {
        Self::made_at(-600, hours)
    }

    fn made_at(now: i64, hours: Hours) -> Self {
        let calendar = Arc::new(Corrected(Mutex::new((sessions_of(hours), 0))));
        let sessions: Arc<dyn Sessions> = calendar.clone();
        let market = PairRules {
            intervals: every_interval(),
            ..PairRules::new(Symbol::usdcop(), sessions)
        };
        let day = Day {
            pipeline: known(Pipeline::new(&[market], Position(0), [], at(now))),
            entries: Vec::new(),
        };
        Self { day, calendar }
    }

    fn correct_end(&mut self, now: i64, hours: Hours) {
        self.day.until(now);
        self.correct_unseen(hours);
        self.day.until(now);
    }

    fn correct_unseen(&self, hours: Hours) {
        let mut held = self.calendar.0.lock().unwrap();
        *held = (sessions_of(hours), held.1 + 1);
    }

    /// The sessions that were told as open, or as closed.
    fn told(&self, phase: SessionPhase) -> Vec<(Timestamp, Timestamp)> {
        let entries = self.day.entries.iter();
        let change = entries.filter_map(|entry| match entry.event().map(|told| &told.event) {
            Some(Event::Session(change)) if change.phase == phase => Some((change.opens, change.closes)),
            _ => None,
        });
        change.collect()
    }

    /// A tick every half minute, each with another price.
    fn ticks(&mut self, from: i64, to: i64) {
        for stamp in (from..to).filter(|stamp| stamp.rem_euclid(30) == 10) {
            self.day.tick(stamp, &(4_000 + stamp / 30).to_string());
        }
    }

    /// Checks that revisions of each bar rise by one from 0 (B2), and that its last revision is what the accepted ticks in its slot give.
    fn check_bars(&self) {
        let mut bars: BTreeMap<BarKey, Vec<Bar>> = BTreeMap::new();
        let mut ticks = Vec::new();
        for entry in &self.day.entries {
            let JournalEntry::Event(numbered) = entry else { continue };
            match &numbered.event {
                Event::Bar(bar) => bars.entry(bar.key).or_default().push(*bar),
                Event::Tick(accepted) => ticks.push(accepted.tick),
                _ => {}
            }
        }
        ticks.sort_by_key(|tick| tick.at);
        for told in bars.values() {
            let revisions: Vec<u32> = told.iter().map(|bar| bar.revision).collect();
            assert_eq!(revisions, (0..).take(revisions.len()).collect::<Vec<u32>>(), "{told:?}");
            let last = told[told.len() - 1];
            let inside = |tick: &&Tick| last.key.opens_at <= tick.at && tick.at < last.closes_at;
            let prices: Vec<Price> = ticks.iter().filter(inside).map(|tick| tick.price).collect();
            assert_eq!(usize::try_from(last.ticks).unwrap(), prices.len(), "{last:?}");
            let expect = Ohlc {
                open: prices[0],
                high: *prices.iter().max().unwrap(),
                low: *prices.iter().min().unwrap(),
                close: prices[prices.len() - 1],
            };
            assert_eq!(last.ohlc, expect, "{last:?}");
        }
    }

    fn revisions(&self, interval: Interval, opens: i64) -> Vec<(u32, u32, Flags)> {
        let bars = self.day.bars(interval).into_iter();
        let same = bars.filter(|bar| bar.key.opens_at == at(opens));
        same.map(|bar| (bar.revision, bar.ticks, bar.flags)).collect()
    }
}

#[test]
fn a_session_that_is_cut_and_extended_goes_on_without_a_gap_and_loses_no_tick() {
    let mut corrected = CorrectedDay::begun(Some((0, 1_800)));
    corrected.ticks(0, 300);
    corrected.correct_end(310, Some((0, 720)));
    corrected.ticks(310, 780);
    assert_eq!(corrected.revisions(Interval::M5, 600), [(0, 4, Flags::PARTIAL_SESSION)]);
    corrected.correct_end(780, Some((0, 1_800)));
    corrected.ticks(780, 1_800);
    corrected.day.until(1_810);
    corrected.check_bars();
    assert_eq!(corrected.day.gaps(), []);
    let whole = Flags::default();
    assert_eq!(
        corrected.revisions(Interval::M5, 600),
        [(0, 4, Flags::PARTIAL_SESSION), (1, 10, whole)]
    );
    assert_eq!(corrected.revisions(Interval::M5, 300), [(0, 10, whole)]);
    assert_eq!(
        corrected.revisions(Interval::M15, 0),
        [(0, 24, Flags::PARTIAL_SESSION), (1, 30, whole)]
    );
    assert_eq!(
        corrected.revisions(Interval::Session, 0),
        [(0, 24, whole), (1, 60, whole)]
    );
    let counts = corrected.day.pipeline.counts();
    assert_eq!((counts.ticks_accepted, counts.set_aside()), (60, 0));
}

#[test]
fn a_calendar_that_is_corrected_before_the_first_session_of_a_ledger_replays_as_it_was() {
    for later in [Some((900, 2_700)), Some((0, 1_500)), None] {
        let mut corrected = CorrectedDay::begun(Some((0, 1_800)));
        corrected.day.until(-55);
        corrected.correct_end(-50, later);
        corrected.ticks(0, 2_700);
        corrected.day.until(86_400 + 100);
        for says_now in [later, Some((0, 600)), None] {
            let again = CorrectedDay::restarted(&corrected.day.entries, says_now);
            assert!(again.day.entries == corrected.day.entries, "{later:?}, {says_now:?}");
        }
    }
}

#[test]
fn what_was_not_heard_while_a_session_was_closed_is_a_gap_that_heals_every_interval() {
    let mut corrected = CorrectedDay::begun(Some((0, 720)));
    corrected.ticks(0, 720);
    corrected.day.until(730);
    corrected.day.apply_input(730, down("stopped"));
    corrected.correct_end(780, Some((0, 1_800)));
    corrected.day.apply_input(800, up());
    corrected.ticks(800, 902);
    corrected.day.until(902);
    corrected.check_bars();
    let gap = corrected.day.gaps().last().cloned().unwrap();
    let base: Vec<Gap> = corrected.day.pipeline.pending_gaps().cloned().collect();
    assert_eq!(
        (base[0].from, base[0].to, base[0].cause.as_str()),
        (at(600), at(900), "stopped")
    );
    assert!(gap.interval == Interval::M5 || gap.interval == Interval::M1, "{gap:?}");
    let vendor = ["4600", "4999", "3001", "4890"];
    corrected
        .day
        .pipeline
        .accept(fetched(600, 900, &[(600, vendor)]), &mut corrected.day.entries);
    for interval in [Interval::M5, Interval::M15] {
        let last = *corrected.day.bars(interval).last().unwrap();
        assert_eq!(
            (last.ohlc.high.to_string(), last.ohlc.low.to_string(), last.flags),
            ("4999".to_owned(), "3001".to_owned(), Flags::default()),
            "{interval}"
        );
    }
    corrected.ticks(910, 1_800);
    corrected.day.until(1_810);
    let session = *corrected.day.bars(Interval::Session).last().unwrap();
    assert_eq!(
        (
            session.ohlc.high.to_string(),
            session.ohlc.low.to_string(),
            session.revision
        ),
        ("4999".to_owned(), "3001".to_owned(), 1)
    );
}

#[test]
fn a_session_that_is_cancelled_and_reinstated_goes_on() {
    let mut corrected = CorrectedDay::begun(Some((0, 1_800)));
    corrected.ticks(0, 707);
    corrected.correct_end(707, None);
    corrected.ticks(710, 800);
    corrected.correct_end(805, Some((0, 1_800)));
    corrected.ticks(810, 1_800);
    corrected.day.until(1_810);
    corrected.check_bars();
    assert_eq!(corrected.day.gaps(), []);
    assert_eq!(corrected.day.pipeline.counts().ticks_accepted, 60);
    let opened = corrected.day.entries.iter().filter_map(JournalEntry::opens_session);
    assert_eq!(opened.count(), 2);
}

#[test]
fn between_the_parts_of_a_day_that_opens_again_later_nothing_is_expected() {
    let mut corrected = CorrectedDay::begun(Some((0, 720)));
    corrected.ticks(0, 800);
    corrected.correct_end(800, Some((1_200, 1_800)));
    corrected.ticks(800, 1_800);
    corrected.day.until(1_810);
    corrected.check_bars();
    assert_eq!(corrected.day.gaps(), []);
    let opens: Vec<_> = corrected
        .day
        .bars(Interval::M5)
        .iter()
        .map(|bar| bar.key.opens_at)
        .collect();
    assert_eq!(opens, [0, 300, 600, 1_200, 1_500].map(at));
    assert_eq!(corrected.day.pipeline.counts().ticks_accepted, 24 + 20);
}

#[test]
fn an_open_that_is_moved_earlier_makes_missing_history_and_tells_nothing_anew() {
    let mut corrected = CorrectedDay::begun(Some((0, 1_800)));
    corrected.ticks(0, 700);
    corrected.correct_end(700, Some((-600, 1_800)));
    corrected.ticks(700, 1_800);
    corrected.day.until(1_810);
    corrected.check_bars();
    let gap = corrected.day.gaps().last().cloned().unwrap();
    assert_eq!(
        (gap.from, gap.to, gap.bars, gap.cause.as_str()),
        (at(-600), at(0), 2, "calendar_changed")
    );
    let flat = ["3999"; 4];
    let answer = fetched(-600, 0, &[(-600, flat), (-300, flat)]);
    corrected.day.pipeline.accept(answer, &mut corrected.day.entries);
    assert_eq!(corrected.day.gaps().last().unwrap().status, GapStatus::Filled);
    let told = corrected.day.bars(Interval::M5).into_iter().rev().take(2);
    let told: Vec<_> = told.map(|bar| (bar.key.opens_at, bar.revision)).collect();
    assert_eq!(told, [(at(-300), 0), (at(-600), 0)]);
}

#[test]
fn a_slot_that_was_missing_when_its_session_was_cut_is_filled_by_the_ticks_that_came_after() {
    let mut corrected = CorrectedDay::begun(Some((0, 720)));
    corrected.ticks(0, 600);
    corrected.day.until(725);
    let gap = corrected.day.pipeline.pending_gaps().next().cloned().unwrap();
    assert_eq!((gap.from, gap.to), (at(600), at(720)));
    corrected.correct_end(780, Some((0, 1_800)));
    corrected.ticks(780, 903);
    corrected.day.until(903);
    corrected.check_bars();
    let told = corrected.day.gaps();
    let last = told.iter().rev().find(|told| told.id == gap.id).unwrap();
    assert_eq!((last.status, last.to, last.bars), (GapStatus::Filled, at(900), 1));
}

#[test]
fn a_session_that_was_missed_is_told_as_the_calendar_has_it_by_the_time_of_the_restart() {
    for hours in [Some((0, 720)), Some((0, 600)), Some((300, 900)), None] {
        let mut missed = CorrectedDay::begun(Some((0, 720)));
        missed.correct_unseen(hours);
        if hours == Some((0, 720)) {
            missed.calendar.0.lock().unwrap().0[1].closes = at(86_400 + 600); // only tomorrow is another
        }
        missed.day.apply_input(86_400 - 400, InputKind::Started);
        let expect: Vec<_> = hours.iter().map(|(opens, closes)| (at(*opens), at(*closes))).collect();
        assert_eq!(missed.told(SessionPhase::Closed), expect, "{hours:?}");
        let slots: u32 = missed
            .day
            .pipeline
            .pending_gaps()
            .filter(|gap| gap.interval == Interval::M5)
            .map(|gap| gap.bars)
            .sum();
        let length = hours.map_or(0, |(opens, closes)| closes - opens);
        assert_eq!(i64::from(slots), (length + 299) / 300, "{hours:?}");
        let again = CorrectedDay::restarted(&missed.day.entries, None);
        assert!(again.day.entries == missed.day.entries, "{hours:?}");
    }
}

#[test]
fn a_session_that_was_cut_while_the_process_did_not_run_closes_when_the_calendar_says() {
    for closes in [420, 300, 1_200] {
        let mut cut = CorrectedDay::begun(Some((0, 1_800)));
        cut.ticks(0, 300);
        cut.day.apply_input(309, up());
        cut.correct_unseen(Some((0, closes)));
        cut.day.apply_input(700, InputKind::Started);
        cut.day.until(1_300);
        let expect = at(closes.max(309)); // what was heard is not unheard
        assert_eq!(cut.told(SessionPhase::Closed), [(at(0), expect)], "{closes}");
        cut.check_bars();
        let again = CorrectedDay::restarted(&cut.day.entries, Some((0, 1_800)));
        assert!(again.day.entries == cut.day.entries, "{closes}");
    }
}

/// A day that nobody heard, and the vendor's answers for the minutes of its last slot, and for the rest.
fn answers_of_a_cut_day() -> [Inbound; 2] {
    let price = ["4000", "4050", "3950", "4001"];
    let mut minutes = fetched(600, 720, &[(600, price), (660, price)]);
    if let Decoded::Bars(answer) = &mut minutes.says {
        answer.interval = Interval::M1;
    }
    let mut whole = fetched(0, 600, &[(0, price), (300, price)]);
    for answer in [&mut minutes, &mut whole] {
        answer.heard.at = at(86_400 + 200);
    }
    [minutes, whole]
}

#[test]
fn a_gap_that_was_told_has_the_slots_of_its_session_also_when_the_calendar_was_corrected_before_a_restart() {
    for says_now in [
        Some((0, 720)),
        Some((0, 1_800)),
        Some((0, 300)),
        Some((-300, 600)),
        None,
    ] {
        let mut lived = CorrectedDay::waiting(Some((0, 720)));
        lived.day.until(86_400 - 100);
        let gap = lived.day.gaps().into_iter().rfind(|gap| gap.interval == Interval::M5);
        let sessions = lived
            .day
            .entries
            .iter()
            .filter_map(|entry| match entry.event().map(|told| &told.event) {
                Some(Event::Session(change)) if change.phase == SessionPhase::Closed => Some(change.session()),
                _ => None,
            });
        let told = ToldDays {
            sessions: sessions.collect(),
            bars: Vec::new(),
        };
        assert_eq!(gap.as_ref().map(|gap| (gap.bars, gap.to)), Some((3, at(720))));
        let mut restarted = CorrectedDay::made_at(86_400 - 100, says_now);
        restarted.day.pipeline.restore_gap(gap.unwrap(), &told);
        let answered = |mut of: CorrectedDay| {
            let known = of.day.entries.len();
            for answer in answers_of_a_cut_day() {
                of.day.pipeline.accept(answer, &mut of.day.entries);
            }
            let bars = bars(&of.day.entries[known..], Interval::M5);
            let pending = of
                .day
                .pipeline
                .pending_gaps()
                .filter(|gap| gap.interval == Interval::M5);
            (bars, pending.cloned().collect::<Vec<_>>())
        };
        let expect = answered(lived);
        assert_eq!((expect.0.len(), expect.1.len()), (3, 0));
        assert_eq!(answered(restarted), expect, "{says_now:?}");
    }
}

fn every_interval() -> Vec<Interval> {
    let others = Interval::ALL
        .iter()
        .copied()
        .filter(|interval| *interval != Interval::M5);
    [Interval::M5].into_iter().chain(others).collect()
}

#[test]
fn bars_that_were_told_are_revised_from_there_when_a_replay_comes_to_others() {
    let mut corrected = CorrectedDay::begun(Some((0, 720)));
    corrected.ticks(0, 720);
    corrected.day.until(725);
    corrected.correct_end(780, Some((0, 1_800)));
    corrected.ticks(780, 870);
    let told = corrected.day.bars(Interval::M5);
    // A restart knows only the present calendar.
    let mut again = CorrectedDay::begun(Some((0, 1_800)));
    for entry in &corrected.day.entries {
        if let JournalEntry::Input(heard) = entry {
            let arrival = arrival(heard.at, heard.what.clone());
            again.day.pipeline.replay(arrival, &mut again.day.entries);
        }
    }
    again.day.pipeline.restore_told(Symbol::usdcop(), &told, 7);
    again.day.entries.clear();
    again.ticks(870, 900);
    again.day.until(905);
    let revised: Vec<_> = again
        .day
        .bars(Interval::M5)
        .iter()
        .map(|bar| (bar.revision, bar.ticks))
        .collect();
    assert_eq!(revised, [(1, 8)]);
}

#[test]
fn a_day_whose_calendar_was_corrected_replays_to_the_same_whatever_the_calendar_says_now() {
    let mut corrected = CorrectedDay::begun(Some((0, 1_800)));
    corrected.ticks(0, 300);
    corrected.correct_end(310, Some((0, 720)));
    corrected.ticks(310, 780);
    corrected.correct_end(780, Some((-600, 1_800)));
    corrected.ticks(780, 1_500);
    corrected.correct_end(1_500, None);
    corrected.day.until(2_400);
    let calendars = corrected.day.entries.iter().filter(|entry| {
        let JournalEntry::Input(heard) = entry else {
            return false;
        };
        matches!(&heard.what, InputKind::Calendar(known) if !known.carried)
    });
    assert_eq!(calendars.count(), 3);
    for hours in [None, Some((0, 1_800)), Some((600, 900))] {
        let again = CorrectedDay::restarted(&corrected.day.entries, hours);
        assert_eq!(again.day.entries, corrected.day.entries, "B4, {hours:?}");
    }
}

#[test]
fn a_calendar_that_was_corrected_while_the_service_did_not_run_is_recorded_and_applied_after_the_restart() {
    let mut corrected = CorrectedDay::begun(Some((0, 1_800)));
    corrected.ticks(0, 400);
    let mut again = CorrectedDay::restarted(&corrected.day.entries, Some((0, 720)));
    assert_eq!(
        again.day.entries, corrected.day.entries,
        "what it says now is not what was decided by"
    );
    again.day.apply_input(430, InputKind::Started);
    again.day.until(1_000);
    let opens: Vec<_> = again
        .day
        .bars(Interval::M5)
        .iter()
        .map(|bar| bar.key.opens_at)
        .collect();
    assert_eq!(opens, [at(0), at(300)]);
    let third = CorrectedDay::restarted(&again.day.entries, None);
    assert_eq!(third.day.entries, again.day.entries);
    // An unchanged calendar is not recorded again.
    let mut same = CorrectedDay::restarted(&corrected.day.entries, Some((0, 1_800)));
    let begun = same.day.entries.len();
    same.day.until(410);
    assert_eq!(same.day.entries.len(), begun);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// However often a session's end is moved, or the day cancelled and reinstated: revisions rise by one, every bar is what its ticks
    /// give, and no gap is left where a bar is.
    #[test]
    fn a_day_whose_calendar_is_corrected_at_random_stays_whole(
        corrections in prop::collection::vec((1_i64..400, prop::option::weighted(0.8, 1_i64..40)), 0..8),
    ) {
        let mut corrected = CorrectedDay::begun(Some((0, 1_800)));
        let mut now = 0;
        for (wait, closes) in corrections {
            corrected.ticks(now, now + wait);
            now += wait;
            corrected.correct_end(now, closes.map(|minutes| (0, minutes * 60)));
        }
        corrected.ticks(now, 2_400);
        corrected.day.until(90_000);
        corrected.check_bars();
        prop_assert_eq!(&CorrectedDay::restarted(&corrected.day.entries, None).day.entries, &corrected.day.entries);
        let told = corrected.day.gaps().into_iter().map(|gap| (gap.id, gap));
        for gap in told.collect::<BTreeMap<_, _>>().into_values() {
            let covers = |bar: &Bar| gap.from < bar.closes_at && bar.key.opens_at < gap.to;
            let bars = corrected.day.bars(gap.interval);
            let last: BTreeMap<_, _> = bars.iter().filter(|bar| covers(bar)).map(|bar| (bar.key, *bar)).collect();
            prop_assert!(last.values().all(|bar| bar.flags.contains(Flags::FEED_GAP) || gap.status == GapStatus::Filled), "{:?} {:?}", gap, last);
        }
    }
}
