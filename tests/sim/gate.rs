//! The gate: L0's history and flag, the check, and the life cycle that waits for them.

use crate::aim::is_crowded;
use crate::plan::{DAY, Fault, Kind, Plan, S};
use crate::world::{Happens, World};
use candela::domain::calendar::Phase;
use candela::domain::history::{Found, GateWindow, History as Rows, Stretch, Verdict, Verdicts, l0::judge};
use candela::domain::lifecycle::{Effect, Event};
use candela::domain::model::{Decoded, Input, InputKind, LastClose, Price, Symbol, Timestamp};
use candela::domain::vendor::{Event as LinkEvent, Purpose};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What L0 has made, and what it should have.
#[derive(Debug)]
pub(crate) struct History {
    /// By pair: slots (seconds) that the vendor has, those that L0 stored, those that candela fetched.
    pub(crate) whole: Vec<BTreeSet<i64>>,
    pub(crate) stored: Vec<BTreeSet<i64>>,
    pub(crate) fetched: Vec<BTreeSet<i64>>,
    /// The flag's content and the time of its file.
    pub(crate) flag: Option<(String, i64)>,
    /// When a good flag was last there (the model's own mark, true seconds).
    pub(crate) good_since: Option<i64>,
    /// The same of the flag that vanished last, where its time was over: the sessions that opened by it run on.
    served_since: Option<i64>,
}

/// As long as a slow store takes at most for the check of the history, in milliseconds.
const LONGEST_CHECK: i64 = 250_000;

/// What one writing of the flag does.
#[derive(Debug, Clone, Copy)]
enum Writing {
    Good,
    Wrong(u64),
}

impl History {
    pub(crate) fn of(plan: &Plan) -> Self {
        let first = plan.dates[0];
        let slots = |pair: &crate::plan::PairPlan| {
            let mut slots = BTreeSet::new();
            for day in first - 12..=first {
                if let Some((opens, closes)) = pair.session(day).filter(|(opens, _)| *opens < plan.begins) {
                    slots.extend((opens..closes.min(plan.begins - 300)).step_by(300));
                }
            }
            slots
        };
        let whole: Vec<_> = plan.pairs.iter().map(slots).collect();
        Self {
            stored: whole.clone(),
            fetched: vec![BTreeSet::new(); whole.len()],
            whole,
            flag: None,
            good_since: None,
            served_since: None,
        }
    }

    /// Whether a naive count finds the history of a pair complete enough: all but one in twenty of the last seven days' slots.
    /// `corrected`: sessions of which the calendar says something else by now.
    fn complete(&self, pair: usize, now: i64, corrected: &[(i64, i64)]) -> bool {
        if self.stored[pair].len() == self.whole[pair].len() {
            return true; // what is stored is a part of the whole
        }
        let held = |slot: &&i64| {
            !corrected
                .iter()
                .any(|(opens, closes)| *opens <= **slot && **slot < *closes)
        };
        let wanted = self.whole[pair].range(now - 7 * DAY..).filter(held);
        let there = wanted
            .clone()
            .filter(|slot| self.stored[pair].contains(slot) || self.fetched[pair].contains(slot));
        there.count() * 100 >= wanted.count() * 94
    }
}

impl World {
    /// L0 writes its flag before each session of the first pair, unless a fault says otherwise.
    pub(crate) fn plan_flags(&mut self) {
        let pair = self.plan.pairs[0].clone();
        for (i, day) in self.plan.dates.clone().into_iter().enumerate() {
            let Some((opens, _)) = pair.session(day) else { continue };
            let early = self.rng.i64(60..2_400);
            self.at((opens - early) * S, Happens::Flag(i));
        }
        if pair.kind != Kind::Colombia {
            self.at((self.plan.begins + 5) * S, Happens::Flag(0));
        }
        for at in self.plan.flags.clone() {
            self.at(at * S, Happens::Flag(0));
        }
    }

    /// The flag is written, late or wrong where a fault acts; then once more when the fault is over.
    pub(crate) fn flag(&mut self, i: usize) {
        if let Some(late) = self.acting(Fault::L0Late, None) {
            if late.roll % 2 == 1 {
                self.load_history(); // only its flag is late
            }
            return self.at((late.to + 1) * S, Happens::Flag(i));
        }
        self.load_history();
        let writing = match self.acting(Fault::L0Wrong, None) {
            Some(wrong) => {
                self.at((wrong.to + 1) * S, Happens::Flag(i));
                Writing::Wrong(wrong.roll)
            }
            None => Writing::Good,
        };
        let now = self.now.div_euclid(S);
        let instant = |secs: i64| {
            Timestamp::from_secs(secs)
                .datetime()
                .format("%Y-%m-%dT%H:%M:%SZ")
                .to_string()
        };
        let text = match writing {
            Writing::Good => format!(r#"{{"ready":true,"timestamp":"{}"}}"#, instant(now)),
            Writing::Wrong(roll) => match roll % 5 {
                0 => r#"{"ready":false}"#.to_owned(),
                1 => r#"{"ready":tr"#.to_owned(),
                2 => "not a flag".to_owned(),
                3 => format!(r#"{{"ready":true,"timestamp":"{}"}}"#, instant(now - 30 * DAY)),
                _ => format!(r#"{{"ready":true,"timestamp":"{}"}}"#, instant(now + DAY)),
            },
        };
        if matches!(writing, Writing::Good) {
            self.history.good_since = Some(now);
        }
        self.history.flag = Some((text, now));
        self.after((3_000, 6_000), Happens::LookAtFlag(self.life));
        self.look_at_flag(self.life);
    }

    /// The flag vanishes. Its time is over when a session of the first pair has closed since it was written.
    pub(crate) fn withdraw_flag(&mut self) {
        let now = self.now.div_euclid(S);
        let closes = |day: &i64| {
            let corrected = self.told.corrected.get(&(0, *day)).copied();
            corrected.or_else(|| self.plan.pairs[0].session(*day))
        };
        let since = self.history.good_since;
        let mut closes = self.plan.dates.iter().filter_map(closes).map(|(_, closes)| closes);
        self.history.served_since = since.filter(|since| closes.any(|closes| *since < closes && closes <= now));
        // Where sessions follow each other no gate is between them: what opened the first holds for the next, whether the flag is there.
        let follows = self.plan.pairs[0].kind != Kind::Colombia;
        if !(follows && self.history.served_since.is_some()) {
            self.history.good_since = None;
        }
        self.history.flag = None;
        self.look_at_flag(self.life);
    }

    /// L0 stores what the sessions before had.
    fn load_history(&mut self) {
        let now = self.now.div_euclid(S);
        let _felt = self.acting(Fault::L0Holes, None); // counted; its holes stay longer than it
        for (i, pair) in self.plan.pairs.iter().enumerate() {
            for day in &self.plan.dates {
                let over = pair.session(*day).filter(|(_, closes)| *closes < now);
                let Some((opens, closes)) = over else { continue };
                for at in (opens..closes).step_by(300) {
                    if self.vendor.bar(i, at, at + 300).is_some() {
                        self.history.whole[i].insert(at);
                    }
                }
            }
            if self
                .plan
                .faults
                .iter()
                .any(|planned| planned.fault == Fault::L0Holes && planned.from <= now && now < planned.to + 3_000)
            {
                let newest: Vec<i64> = self.history.whole[i].iter().rev().take(40).copied().collect();
                self.history.stored[i] = self.history.whole[i]
                    .iter()
                    .filter(|slot| !newest.contains(slot))
                    .copied()
                    .collect();
            } else {
                self.history.stored[i] = self.history.whole[i].clone();
            }
        }
    }

    /// The watcher looks at the flag, and tells what has changed.
    pub(crate) fn look_at_flag(&mut self, life: u64) {
        if life != self.life || self.service.is_none() {
            return;
        }
        let now = self.market();
        let calendar = self.calendars[0].now();
        let (previous, next) = match calendar.phase(now) {
            Phase::Open(session) => (calendar.before(session.opens), Some(session)),
            Phase::Closed { previous, next, .. } => (previous, next),
        };
        let window = GateWindow {
            since: previous.map(|session| session.closes),
            dates: previous.zip(next).map(|(previous, next)| (previous.date, next.date)),
        };
        let found = match &self.history.flag {
            None => Found::Nothing,
            Some((text, at)) => Found::File {
                bytes: text.clone().into_bytes(),
                modified: Timestamp::from_secs(*at),
            },
        };
        let sighting = judge(&found, window, now);
        let service = self.service.as_mut().expect("it runs");
        if service.sighted.as_ref() == Some(&sighting) {
            return;
        }
        service.sighted = Some(sighting.clone());
        self.life_on(match sighting {
            Ok(flag) => Event::L0Ready(flag),
            Err(trouble) => Event::L0Lost(trouble),
        });
    }

    /// Tells the life cycle, and does what it says.
    pub(crate) fn life_on(&mut self, event: Event) {
        let now = self.market();
        let Some(service) = self.service.as_mut() else { return };
        for effect in service.lifecycle.on(event, now) {
            self.life_act(effect);
        }
    }

    fn life_act(&mut self, effect: Effect) {
        let (life, trace) = (self.life, self.trace);
        let Some(service) = self.service.as_mut() else { return };
        match effect {
            Effect::LookForFlag => {
                service.sighted = None;
                self.after((1, 50), Happens::LookAtFlag(life));
            }
            Effect::Validate(flag) => {
                service.asked_with = flag;
                let slow = self.acting(Fault::StoreSlow, None);
                let delay = match slow {
                    Some(slow) if is_crowded(self.plan.seed) => {
                        let rest = ((slow.to * S - self.now) / 1_000).clamp(5_000, LONGEST_CHECK);
                        (rest, rest + 2_000)
                    }
                    Some(_) => (5_000, 60_000),
                    None => (50, 2_000),
                };
                self.after(delay, Happens::Judged(life));
            }
            Effect::FetchHistory(missing) => self.after((500, 9_000), Happens::Filled(life, missing)),
            Effect::OpenFeed => {
                service.wanted = true;
                self.link_on(LinkEvent::Started);
            }
            Effect::CloseFeed => {
                service.wanted = false;
                self.link_on(LinkEvent::Stopped);
            }
            Effect::Changed(change) => {
                if trace {
                    println!(
                        "{} {} to {}: {}",
                        change.at.datetime(),
                        change.from,
                        change.to,
                        change.reason
                    );
                }
            }
        }
    }

    pub(crate) fn turn_sessions(&mut self, now: Timestamp) {
        let service = self.service.as_mut().expect("it runs");
        if service.watch_due.is_some_and(|due| now < due) && !self.told.clock_moved {
            return;
        }
        let turns = service.watch.turns_until(now);
        service.watch_due = service.watch.next_deadline(now);
        let any = !turns.is_empty();
        for turn in turns {
            if let Some(event) = turn.event() {
                self.life_on(event);
            }
        }
        if any {
            self.look_at_flag(self.life);
        }
    }

    pub(crate) fn turn_life(&mut self, now: Timestamp) {
        for _ in 0..4 {
            let service = self.service.as_ref().expect("it runs");
            if service.lifecycle.next_deadline().is_none_or(|due| due > now) {
                return;
            }
            self.life_on(Event::Deadline);
        }
    }

    /// The history was read and judged.
    pub(crate) fn judged(&mut self, life: u64) {
        if life != self.life || self.service.is_none() {
            return;
        }
        let now = self.market();
        let flag = self.service.as_ref().and_then(|service| service.asked_with.clone());
        let down = self.store_is_down();
        let verdict = |i: usize| {
            if down {
                return Verdict::unreachable("connection refused", flag.clone(), now);
            }
            let rows = Rows {
                rows: self.history.stored[i]
                    .iter()
                    .map(|at| Timestamp::from_secs(*at))
                    .collect(),
                fetched: self.history.fetched[i]
                    .iter()
                    .map(|at| Timestamp::from_secs(*at))
                    .collect(),
                ..Rows::default()
            };
            let calendar = self.calendars[i].now();
            if i == 0 {
                Verdict::on(&rows, flag.clone(), &calendar, now)
            } else {
                Verdict::on_other_pair(&rows, flag.clone(), &calendar, now)
            }
        };
        let verdicts: Verdicts = self
            .plan
            .pairs
            .iter()
            .enumerate()
            .map(|(i, pair)| (pair.symbol, verdict(i)))
            .collect();
        self.life_on(Event::Judged(Arc::new(verdicts)));
        self.gate_at = self.now;
        self.check_gate();
        if !down {
            self.learn_closes(now);
        }
    }

    /// V1: no pair is verified whose history a naive count finds wanting, or without a flag that the model knows to be good.
    pub(crate) fn check_gate(&mut self) {
        if self.now < self.gate_at {
            return;
        }
        self.gate_at = self.now + 17 * S;
        let Some(service) = &self.service else { return };
        let verified = service.lifecycle.verified();
        if !verified.is_empty() {
            self.reach.see("a pair is verified");
        }
        if service.lifecycle.state().name() == "active" && verified.is_empty() {
            self.reach.see("a session runs with history that is not verified");
        }
        let withdrawn = candela::domain::status::ConditionKind::FlagWithdrawn;
        let withdrawn = service.lifecycle.conditions().holds(withdrawn, None);
        if withdrawn {
            self.reach.see("the flag that opened the gate is withdrawn");
        }
        let now = self.now.div_euclid(S);
        let mut wrong = Vec::new();
        for symbol in verified {
            let pair = self.pair_of(symbol);
            if self.told.clock_moved || withdrawn {
                continue;
            }
            let corrected = self.told.corrected.keys().filter(|(of, _)| *of == pair);
            let corrected: Vec<_> = corrected
                .filter_map(|(_, day)| self.plan.pairs[pair].session(*day))
                .collect();
            if !self.history.complete(pair, now, &corrected) {
                wrong.push(format!("V1: {symbol} is verified, and its history has holes"));
            }
            // A pair whose session runs passed its gate before it opened: what closed since says nothing.
            let (dates, pairs) = (&self.plan.dates, &self.plan.pairs);
            let corrected = &self.told.corrected;
            let session = |of: usize| {
                let held = move |day: &i64| corrected.get(&(of, *day)).copied().or_else(|| pairs[of].session(*day));
                dates.iter().filter_map(held)
            };
            let asked = session(pair)
                .find(|(opens, closes)| *opens <= now && now < *closes)
                .map_or(now, |(opens, _)| opens);
            let last_close = session(0)
                .map(|(_, closes)| closes)
                .filter(|closes| *closes < asked)
                .max()
                .unwrap_or(i64::MIN);
            let kept =
                self.plan.pairs[0].kind != Kind::Colombia || self.told.corrected.keys().any(|(pair, _)| *pair == 0);
            // Nor does it say anything that a flag vanished after its time.
            let served = session(0)
                .map(|(_, closes)| closes)
                .filter(|closes| *closes <= asked)
                .max()
                .is_none_or(|closed| self.history.served_since.is_some_and(|at| closed <= at));
            let served = served && asked < now && self.history.served_since.is_some();
            if self.history.good_since.is_none_or(|at| at < last_close && !kept)
                && !served
                && service.lifecycle.state().name() != "market_closed"
            {
                wrong.push(format!(
                    "V1: {symbol} is verified without a good flag since {last_close}"
                ));
            }
        }
        wrong.into_iter().for_each(|one| self.violated(one));
    }

    /// The store tells the last close of pairs that have none.
    pub(crate) fn learn_closes(&mut self, now: Timestamp) {
        let Some(service) = self.service.as_mut() else { return };
        for pair in &self.plan.pairs {
            if !service.pipeline.last_closes().any(|known| known.symbol == pair.symbol) {
                let close = LastClose::firm(
                    pair.symbol,
                    Price::from_micros(pair.price),
                    now - Duration::from_secs(40_000),
                );
                service.decide(
                    Input {
                        at: now,
                        what: InputKind::LastClose(close),
                    },
                    Decoded::Nothing,
                );
            }
        }
    }

    /// Missing history was asked for, and came where the vendor answered.
    pub(crate) fn filled(&mut self, life: u64, missing: Vec<(Symbol, Vec<Stretch>)>) {
        if life != self.life || self.service.is_none() {
            return;
        }
        let now = self.market();
        let down = [Fault::RestRefused, Fault::RestEmpty, Fault::RestGarbage]
            .iter()
            .any(|fault| self.acting(*fault, None).is_some());
        for (symbol, stretches) in missing {
            let pair = self.pair_of(symbol);
            if self.acquire(Purpose::Backfill, 1, now).is_ok_and(|key| {
                if let Some(service) = self.service.as_mut() {
                    service.pool.answered(key, now);
                }
                !down
            }) {
                self.reach.see("missing history is fetched");
                for (from, to) in stretches {
                    let some = self.history.whole[pair].range(from.secs()..to.secs()).copied();
                    self.history.fetched[pair].extend(some.collect::<Vec<_>>());
                }
            }
            self.life_on(Event::HistoryFetched(symbol));
        }
    }
}
