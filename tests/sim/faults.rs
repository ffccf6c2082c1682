//! Faults begin and end here; and what is compared when a process dies and when the run is over.

use crate::aim::is_crowded;
use crate::disk::Reader;
use crate::plan::{DAY, Fault, Kind, Planned, S};
use crate::reach::Phase;
use crate::service::Service;
use crate::stores::Step;
use crate::vendor;
use crate::world::{Delivery, Fate, Happens, World};
use candela::actors::core::rebuild::{rebuild, replay_session};
use candela::domain::calendar::Overrides;
use candela::domain::followers::Step as Pace;
use candela::domain::model::{Decoded, Gap, Inbound, InputKind, JournalEntry, Position, Timestamp};
use candela::domain::pipeline::{AcceptanceView, Pipeline, Unchecked};
use candela::domain::status::{
    Evidence, LinkEvidence, PollingEvidence, PriceEvidence, evident_conditions::clock_skew_us,
};
use candela::domain::vendor::wire;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

impl World {
    /// Where the market of a pair is, by the model's calendar.
    fn phase(&self, pair: usize) -> Phase {
        let now = self.now.div_euclid(S);
        let day = now.div_euclid(DAY);
        let sessions = (day - 1..=day + 1).filter_map(|day| self.plan.pairs[pair].session(day));
        let phase = |(opens, closes): (i64, i64)| match now {
            _ if (opens - 300..opens).contains(&now) => Phase::Opening,
            _ if (opens..opens + 300).contains(&now) => Phase::First,
            _ if (closes - 300..closes).contains(&now) => Phase::Last,
            _ if (opens..closes).contains(&now) => Phase::Open,
            _ if (closes..closes + 300).contains(&now) => Phase::Closed,
            _ => Phase::Between,
        };
        sessions.map(phase).max().unwrap_or(Phase::Between)
    }

    /// Which sessions run, by the model's calendar: of each pair the opening.
    fn running(&self) -> Vec<(usize, i64)> {
        let now = self.now.div_euclid(S);
        let day = now.div_euclid(DAY);
        let of = |(i, pair): (usize, &crate::plan::PairPlan)| {
            let mut sessions = (day - 1..=day + 1).filter_map(|day| pair.session(day));
            sessions
                .find(|(opens, closes)| *opens <= now && now < *closes)
                .map(|(opens, _)| (i, opens))
        };
        self.plan.pairs.iter().enumerate().filter_map(of).collect()
    }

    pub(crate) fn see_crash(&mut self, unwritten: usize) {
        self.died_in = self.running();
        self.reach.see(if unwritten > 0 {
            "the process dies with entries unwritten"
        } else {
            "the process dies with nothing unwritten"
        });
    }

    pub(crate) fn see_start(&mut self, renumbered: crate::disk::Renumbered) {
        let runs = self.running();
        if self.died_in.iter().any(|session| runs.contains(session)) {
            self.reach.see("the process is back in the session in which it died");
        }
        let rested = std::mem::take(&mut self.disk.borrow_mut().rested);
        match (rested, renumbered) {
            (true, None) => self.reach.see("the process goes on under the same names after a stop"),
            (true, Some(why)) => self.violated(format!("new names after a stop that was clean: {why:?}")),
            (false, _) => {}
        }
        if let Some(why) = renumbered {
            self.reach.see(match why {
                candela::ledger::Doubt::MarkMissing => "the mark of the ledger is missing",
                candela::ledger::Doubt::LostTail => "the end of the ledger is lost",
                candela::ledger::Doubt::Copied => "the ledger is a copy",
                candela::ledger::Doubt::StoreAhead => "the store is ahead of the ledger",
                _ => "the power was lost without a trace",
            });
        }
    }

    pub(crate) fn begin_fault(&mut self, i: usize) {
        let planned = self.plan.faults[i];
        let state = self
            .service
            .as_ref()
            .map_or("down", |service| service.lifecycle.state().name());
        let phase = self.phase(planned.whom % self.plan.pairs.len());
        if self.trace {
            println!(
                "{} fault {planned:?} in {state} {phase:?}",
                Timestamp::from_micros(self.now).datetime()
            );
        }
        let mut disk = self.disk.borrow_mut();
        if disk.copy.is_none() {
            disk.copy = Some(disk.state.clone());
        }
        drop(disk);
        let rows = self.store.rows.clone();
        let Some(acts) = self.strike(planned) else {
            return; // it was not met
        };
        if self.store.copy.is_none() {
            self.store.copy = Some(rows);
        }
        self.reach.hit(planned.fault, state, phase);
        if acts {
            self.reach.act(planned.fault);
        }
    }

    /// What happens at the instant at which a fault begins: whether that changed anything, and nothing where the fault was not met.
    fn strike(&mut self, planned: Planned) -> Option<bool> {
        match planned.fault {
            Fault::LinkCut => {
                let socket = self.service.as_ref().map_or(0, |service| service.socket.number);
                self.cut(socket, "upstream_close_1006");
            }
            Fault::FrameOdd => self.odd_frame(planned.whom, planned.roll),
            Fault::ClockStep => {
                let size = i64::try_from(planned.roll % 14_400).unwrap_or(0) - 7_200;
                self.wall_offset = size * S;
                (self.told.clock_moved, self.vendor.unspaced) = (true, true);
            }
            Fault::ClockSkew => (self.told.clock_moved, self.vendor.unspaced) = (true, true),
            Fault::Pause => {
                if let Some(service) = self.service.as_mut() {
                    service.paused_until = Some(planned.to * S);
                }
            }
            Fault::Kill => self.crash(),
            Fault::Stop => self.stop(),
            Fault::PowerLoss => {
                self.crash();
                self.disk.borrow_mut().lose_power(planned.roll);
            }
            Fault::LogCut => {
                self.crash();
                self.disk.borrow_mut().cut_log(planned.roll);
            }
            Fault::Restore => {
                self.crash();
                let set_back = is_crowded(self.plan.seed) && planned.roll % 2 == 1;
                let stored = |lineage| self.store.position_in(lineage);
                if set_back && self.disk.borrow_mut().set_back(stored) || self.disk.borrow_mut().restore() {
                    let now = self.now.div_euclid(S);
                    let past = self.told.corrected.iter().filter(|(_, (_, closes))| *closes <= now);
                    self.told.unrecorded.extend(past.map(|(of, _)| *of));
                }
            }
            Fault::MarkLost => {
                self.crash();
                self.disk.borrow_mut().lose_mark();
            }
            Fault::StoreRestored if self.disk.borrow().set_back => return None, // both at once, and nothing knows of what is gone
            Fault::StoreRestored => {
                let Some(copy) = self.store.copy.take() else {
                    return Some(false);
                };
                self.store.rows = copy;
                self.store.unseen_restore = true;
            }
            Fault::CacheDisturbed => return Some(self.redis.disturb(planned.roll)),
            Fault::L0Withdrawn => self.withdraw_flag(),
            Fault::CalendarShort | Fault::CalendarLong => {
                if !self.correct_calendar(planned.fault, planned.whom, planned.roll) {
                    return None;
                }
                self.reach.see("the calendar is corrected");
            }
            Fault::ClientGone => {
                let i = planned.whom % self.clients.len();
                self.clients[i].disconnect();
                self.after((500, 40_000), Happens::Client(i));
            }
            _ => {}
        }
        let lasts = matches!(planned.fault, Fault::ClockStep | Fault::ClockSkew | Fault::Pause);
        Some(planned.fault.instant() || lasts)
    }

    pub(crate) fn end_fault(&mut self, i: usize) {
        match self.plan.faults[i].fault {
            Fault::ClockStep => self.wall_offset = 0,
            Fault::CacheDisturbed => self.survey_streams(),
            Fault::ClientStall => {
                for i in 0..self.clients.len() {
                    self.after((0, 100), Happens::Client(i));
                }
            }
            _ => {}
        }
    }

    /// A ledger without an input begins with now: it knows of no session that is over.
    pub(crate) fn forget_past_sessions(&mut self) {
        let now = self.now.div_euclid(S);
        for (i, pair) in self.plan.pairs.iter().enumerate() {
            let days = self.plan.dates.iter().copied();
            let over = days.filter(|day| pair.session(*day).is_some_and(|(_, closes)| closes <= now));
            self.told.unrecorded.extend(over.map(|day| (i, day)));
        }
    }

    /// The process is asked to stop: what is decided is written, and the ledger rests.
    fn stop(&mut self) {
        for _ in 0..200 {
            let Some(service) = &self.service else { return };
            if service.commit_queue.is_empty() {
                self.disk.borrow_mut().rest();
                break;
            }
            let written = self.disk.borrow().written();
            if self.acting_on(Fault::DiskFull, None, written).is_some() {
                break;
            }
            self.append(self.life);
        }
        self.crash();
    }

    fn odd_frame(&mut self, whom: usize, roll: u64) {
        let pair = whom % self.plan.pairs.len();
        let quote = self.vendor.last(pair, self.now.div_euclid(S));
        let (stamp, price) = quote.map_or((self.now.div_euclid(S), 1_000_000), |quote| (quote.at, quote.price));
        let text = vendor::odd(self.plan.pairs[pair].symbol.as_str(), stamp, price, roll);
        self.send(
            10,
            Delivery {
                text,
                pair,
                seen: None,
                fate: Fate::Bad,
            },
        );
    }

    /// The close of a session that is not over moves.
    fn correct_calendar(&mut self, fault: Fault, whom: usize, roll: u64) -> bool {
        let pair = whom % self.plan.pairs.len();
        let plan = self.plan.pairs[pair].clone();
        let now = self.now.div_euclid(S);
        let day = now.div_euclid(DAY);
        let open = plan.session(day).filter(|(_, closes)| now < *closes - 120);
        let Some((opens, closes)) = open.filter(|_| plan.kind == Kind::Colombia) else {
            return false;
        };
        let known = self.told.corrected.contains_key(&(pair, day));
        if known || self.told.clock_moved {
            return false;
        }
        let some = i64::try_from(roll % 20).unwrap_or(0) * 60;
        let next = if fault == Fault::CalendarLong {
            closes + 300 + some
        } else {
            (now.max(opens) + 60 + some).min(closes - 60)
        };
        let next = next - next.rem_euclid(60);
        if next <= now {
            return false;
        }
        let minute = |at: i64| {
            let minutes = (at - day * DAY) / 60 - 300;
            format!("{:02}:{:02}", minutes / 60, minutes % 60)
        };
        let date = Timestamp::from_secs(day * DAY).datetime().format("%Y-%m-%d");
        let text = format!(
            "[[day]]\ndate = {date}\naction = \"open\"\nopens = \"{}\"\ncloses = \"{}\"\nreason = \"corrected\"\n",
            minute(opens),
            minute(next)
        );
        let overrides = Overrides::read(&text).expect("a right entry");
        let calendar = self.calendars[pair].now().with_overrides(Arc::new(overrides));
        *self.calendars[pair].0.write().expect("one thread") = calendar.clone();
        if let Some(service) = self.service.as_mut() {
            service.watch.recalendar(plan.symbol, calendar);
            service.watch_due = None;
        }
        self.told.corrected.insert((pair, day), (opens, next));
        true
    }

    /// Whether every pair may be called safe to trade, looked at once in a while.
    pub(crate) fn judge_safety(&mut self, now: Timestamp) {
        if self.now < self.safety_at {
            return;
        }
        self.safety_at = self.now + 17 * S;
        let service = self.service.as_mut().expect("it runs");
        let view = service.link.view(now);
        let shown: BTreeMap<_, AcceptanceView> = service.pipeline.prices().collect();
        let lags: Vec<_> = shown.values().filter_map(|prices| prices.lag).collect();
        let skewed = clock_skew_us(&lags).is_some();
        let verified = service.lifecycle.verified();
        let polled = if service.wanted {
            service.poll.polled(now)
        } else {
            Vec::new()
        };
        let gaps: Vec<Gap> = service.pipeline.pending_gaps().cloned().collect();
        let mut safe = Vec::new();
        for (i, market) in service.markets.iter().enumerate() {
            let symbol = market.symbol;
            let session = market.sessions.at(now);
            let line = view.symbols.iter().find(|line| line.symbol == symbol);
            let pending = |session: candela::domain::model::Session| {
                gaps.iter().any(|gap| {
                    gap.is_hole() && gap.symbol == symbol && session.opens < gap.to && gap.from < session.closes
                })
            };
            let prices = &shown[&symbol];
            let evidence = Evidence {
                session,
                active: service.lifecycle.state().name() == "active",
                history_verified: verified.contains(&symbol),
                link: LinkEvidence {
                    up: matches!(view.state, "live" | "silent"),
                    line: line.map(|line| line.status),
                    refused_all: view.refused_all,
                    patience: line.map(|line| line.patience),
                    suspicion: line.and_then(|line| line.suspicion),
                },
                polling: PollingEvidence {
                    wanted: polled.contains(&symbol),
                    every: service.poll.every(),
                    answered_at: service.answered.get(&symbol).copied(),
                },
                prices: Some(PriceEvidence {
                    last: prices.last,
                    rejected_in_row: prices.rejection_reason(now) == Some("streak"),
                    lag: prices.lag,
                    open_gap: session.is_some_and(pending),
                }),
                unresponsive: false,
                sole_writer: true,
                clock_stepped: service.time.distrust().is_some(),
                clock_skewed: skewed,
                ledger_writable: !service.unwritable,
                jitter: Duration::ZERO,
            };
            if evidence.assess(now).safe() {
                safe.push((i, symbol));
            }
        }
        if service.markets.iter().any(|market| market.sessions.at(now).is_some()) && safe.is_empty() {
            self.reach.see("a pair whose session is open is not called safe");
        }
        for (i, symbol) in safe {
            self.told.safe += 1;
            for wrong in self.unsafe_because(i) {
                self.violated(format!("{symbol} is called safe to trade, and {wrong}"));
            }
        }
    }

    /// What the model knows against trading a pair now.
    fn unsafe_because(&self, pair: usize) -> Vec<&'static str> {
        let service = self.service.as_ref().expect("it runs");
        let now = self.now.div_euclid(S);
        let day = now.div_euclid(DAY);
        let on = |pair: usize, day: i64| {
            self.told
                .corrected
                .get(&(pair, day))
                .copied()
                .or_else(|| self.plan.pairs[pair].session(day))
        };
        let session_of = |pair: usize| {
            (day - 1..=day + 1)
                .filter_map(|day| on(pair, day))
                .find(|(opens, closes)| *opens <= now && now < *closes)
        };
        let open = session_of(pair);
        let symbol = self.plan.pairs[pair].symbol;
        let mut against = Vec::new();
        let mut note = |holds: bool, why| {
            if holds {
                against.push(why);
            }
        };
        note(open.is_none() && !self.told.clock_moved, "its market is closed");
        let streamed = service.socket.open && self.streaming.get(pair).copied().unwrap_or(false);
        let polled = service
            .answered
            .get(&symbol)
            .is_some_and(|at| now - at.secs() < 900 || self.told.clock_moved);
        note(!streamed && !polled, "nobody brings its prices");
        let young = self
            .told
            .last_told
            .get(&symbol)
            .is_some_and(|at| self.now - at < 3_700 * S);
        note(
            !young && service.commit_queue.is_empty(),
            "no price of it was told for an hour",
        );
        let pending = self.told.pending.iter().any(|((of, _), (from, to))| {
            *of == symbol && open.is_some_and(|(opens, closes)| opens < *to && *from < closes)
        });
        note(
            pending && service.commit_queue.is_empty() && !self.told.clock_moved,
            "a gap of its session is open",
        );
        note(service.unwritable, "the ledger cannot be written");
        // The flag's time ends with the session of the first pair.
        let flagged = session_of(0).is_some_and(|(opens, closes)| opens <= now && now < closes);
        note(flagged && self.history.good_since.is_none(), "no flag of L0 is there");
        against
    }

    /// A rebuild of what is written knows what the process knew that wrote it.
    pub(crate) fn check_rebuild(&mut self, service: &Service) {
        if service.time.distrust().is_some() {
            return;
        }
        let again = rebuild(&Reader(Rc::clone(&self.disk)), &service.markets, service.pipeline.at())
            .expect("the simulated disk is read");
        let known = |pipeline: &Pipeline| {
            let gaps: Vec<Gap> = pipeline.pending_gaps().cloned().collect();
            let unchecked: Vec<Unchecked> = pipeline.unchecked_bars().collect();
            let heads: BTreeMap<_, _> = pipeline.heads().iter().copied().collect();
            // From when on a close is firm is carried into the day by its opening, so it is not compared before that.
            let closes: Vec<_> = pipeline
                .last_closes()
                .map(|close| (close.symbol, close.price, close.at))
                .collect();
            (pipeline.head(), heads, gaps, unchecked, closes)
        };
        let (live, rebuilt) = (known(&service.pipeline), known(&again));
        if live != rebuilt {
            self.violated(format!(
                "B4: a rebuild knows {rebuilt:?} where the process knew {live:?}"
            ));
        }
    }

    /// B4: what was heard on the first date gives what was told on it, byte for byte.
    pub(crate) fn check_replay(&mut self) {
        let Some(service) = &self.service else { return };
        let lines = self.disk.borrow().first_date().to_vec();
        let heard = |entry: &JournalEntry| match entry {
            JournalEntry::Input(heard) => Some(heard.clone()),
            _ => None,
        };
        let Some(begun) = lines.iter().find_map(heard) else {
            return;
        };
        let mut pipeline = Pipeline::new(&service.markets, Position(0), [], begun.at);
        for known in lines.iter().rev().filter_map(heard) {
            if let InputKind::Calendar(known) = known.what
                && known.carried
            {
                pipeline.restore_calendar(&known); // the first of each pair counts
            }
        }
        let mut again = Vec::new();
        for heard in lines.iter().filter_map(heard) {
            let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
            pipeline.replay(Inbound { heard, says }, &mut again);
        }
        again.retain(|entry| !matches!(entry, JournalEntry::Partial { .. }));
        let first = lines.iter().zip(&again).position(|(one, other)| one != other);
        let at = first.unwrap_or(lines.len().min(again.len()));
        if first.is_some() || lines.len() > again.len() {
            let (one, other) = (lines.get(at).cloned(), again.get(at).cloned());
            self.violated(format!(
                "B4: a replay gives {other:?} where the ledger has {one:?} (line {at} of {})",
                lines.len()
            ));
        }
        self.check_later_replays();
    }

    /// B4: what was heard on a later date gives what was told on it, although the replay begins with its file. When gaps of earlier
    /// days were decided is not in it, so a clock that is set back may open again what a replay does not.
    fn check_later_replays(&mut self) {
        let comparable = !self.told.clock_moved && self.told.unrecorded.is_empty();
        let Some(service) = self.service.as_ref().filter(|_| comparable) else {
            return;
        };
        let mut wrong = Vec::new();
        for (date, told) in self.disk.borrow().later_dates() {
            let mut again = Vec::new();
            let done = replay_session(&Reader(Rc::clone(&self.disk)), &service.markets, date, |entry| {
                if let JournalEntry::Event(numbered) = entry {
                    again.push(numbered);
                }
            });
            done.expect("the simulated disk is read");
            let first = told.iter().zip(&again).position(|(one, other)| one != other);
            let at = first.unwrap_or(told.len().min(again.len()));
            if first.is_some() || told.len() > again.len() {
                wrong.push(format!(
                    "B4: a replay of {date} alone gives {:?} where the ledger has {:?} (event {at} of {})",
                    again.get(at),
                    told.get(at),
                    told.len()
                ));
            }
        }
        wrong.into_iter().for_each(|one| self.violated(one));
    }

    /// What is decided is written, and the readers read it.
    pub(crate) fn write_all(&mut self) {
        for _ in 0..200 {
            let Some(service) = self.service.as_mut() else { return };
            if service.commit_queue.is_empty() {
                break;
            }
            service.appending = true;
            self.append(self.life);
        }
        if self.store.unseen_restore {
            let now = self.market();
            self.locate(now); // as the next event has the writer do
        }
        for _ in 0..200 {
            let now = self.market();
            let Some(service) = self.service.as_mut() else { return };
            service.writer.flush_all();
            let steps: (Option<Pace>, Option<Step>) = (service.writer.next_step(now), service.publisher.next_step(now));
            if steps == (None, None) {
                self.now += S;
                if self
                    .service
                    .as_ref()
                    .is_some_and(|service| service.writer.distance() == 0 && service.publisher.distance() == 0)
                {
                    break;
                }
            }
            if let Some(step) = steps.0 {
                self.wrote(self.life, step);
            }
            if let Some(step) = steps.1 {
                self.published(self.life, step);
            }
        }
        self.survey_streams();
    }
}
