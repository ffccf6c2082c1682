//! SessionClock: tells Root every turn of every pair's session within a fraction of a second of its instant.
//!
//! owns   `domain::session_watch::SessionWatch`, one timer at its next deadline, one that looks whether the wall clock is trusted,
//!        the mark of the calendar's override file
//! hears  nothing but time
//! says   Report::SessionTurned, Report::ClockStepped, Report::ClockTrusted, Report::ClockSet, Report::ProcessPaused,
//!        Report::CalendarRead → Root · the corrected calendars → views
//! fails  a broken override file is told and the last good calendar holds. A panic restarts it: turns that happened meanwhile
//!        are told by the first look, a session that runs is told as open once more

use crate::actors::messages::Report;
use crate::calendar_file::{self, FileMark};
use crate::clock::Clock;
use crate::domain::calendar::Calendar;
use crate::domain::market_time::{BreakCause, Distrust};
use crate::domain::session_watch::SessionWatch;
use crate::domain::symbol::Symbol;
use crate::limits;
use actix::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Everything the session clock is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct SessionClockParts {
    /// The pairs with their calendars, to follow and to correct; the first one's bounds the gate.
    pub calendars: Vec<(Symbol, Arc<watch::Sender<Calendar>>)>,
    /// The override file, when there is one.
    pub calendar_file: Option<PathBuf>,
    /// How long before the open the gate begins to wait: the flag's timeout.
    pub lead: Duration,
    /// Market time.
    pub clock: Clock,
    /// To Root.
    pub root: Recipient<Report>,
}

/// The actor.
#[derive(Debug)]
pub struct SessionClock {
    parts: SessionClockParts,
    watch: SessionWatch,
    /// What was told of the wall clock.
    distrust: Option<Distrust>,
    /// How many breaks of market time were told.
    breaks: u64,
    mark: FileMark,
    timer: Option<SpawnHandle>,
}

impl SessionClock {
    /// A clock that looks as soon as it runs.
    #[must_use]
    pub fn new(parts: SessionClockParts) -> Self {
        let markets = parts
            .calendars
            .iter()
            .map(|(symbol, calendar)| (*symbol, calendar.borrow().clone()));
        Self {
            watch: SessionWatch::new(markets, parts.lead),
            distrust: None,
            breaks: parts.clock.breaks(),
            mark: parts.calendar_file.as_deref().and_then(calendar_file::mark),
            timer: None,
            parts,
        }
    }

    /// Tells what has turned by now, and sleeps until the next turn.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        for turn in self.watch.look(now) {
            self.tell(Report::SessionTurned(turn), ctx);
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(next) = self.watch.next_deadline(now) {
            self.timer = Some(ctx.run_later(self.parts.clock.until(next), |actor, ctx| actor.look(ctx)));
        }
    }

    /// Every half second: is the wall clock trusted, was time broken, did the file change.
    fn check(&mut self, ctx: &mut Context<Self>) {
        self.look_at_the_wall_clock(ctx);
        self.reread(ctx);
        self.look(ctx);
    }

    fn look_at_the_wall_clock(&mut self, ctx: &mut Context<Self>) {
        let steps = |told: &Distrust, now: &Distrust| {
            let moved = told.ahead_ms.abs_diff(now.ahead_ms);
            told.reason != now.reason || u128::from(moved) > limits::CLOCK_STEP.as_millis()
        };
        match (self.distrust, self.parts.clock.distrust()) {
            (Some(_), None) => {
                self.distrust = None;
                self.tell(Report::ClockTrusted, ctx);
            }
            (told, Some(now)) if told.is_none_or(|told| steps(&told, &now)) => {
                self.distrust = Some(now);
                self.tell(Report::ClockStepped(now), ctx);
            }
            _ => {}
        }
        for found in self.parts.clock.breaks_after(&mut self.breaks) {
            match found.cause {
                BreakCause::ProcessPaused => self.tell(Report::ProcessPaused(found), ctx),
                BreakCause::ClockStepped => self.tell(Report::ClockSet(found), ctx),
            }
        }
    }

    fn reread(&mut self, ctx: &mut Context<Self>) {
        let Some(path) = self.parts.calendar_file.clone() else {
            return;
        };
        let mark = calendar_file::mark(&path);
        if std::mem::replace(&mut self.mark, mark) == mark {
            return;
        }
        let read = calendar_file::load(&path).map_err(|error| error.to_string());
        let said = read.map(|overrides| {
            let overrides = Arc::new(overrides);
            for (symbol, shared) in &self.parts.calendars {
                let calendar = shared.borrow().with_overrides(Arc::clone(&overrides));
                self.watch.recalendar(*symbol, calendar.clone());
                shared.send_replace(calendar);
            }
        });
        self.tell(Report::CalendarRead(said), ctx);
    }

    fn tell(&self, report: Report, ctx: &mut Context<Self>) {
        let told = self.parts.root.send(report);
        ctx.wait(told.into_actor(self).map(|_, _, _| ()));
    }
}

impl Actor for SessionClock {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(limits::CLOCK_LOOK, |actor, ctx| actor.check(ctx));
        self.look(ctx);
    }
}

impl Supervised for SessionClock {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

#[cfg(test)]
#[path = "session_clock_tests.rs"]
mod tests;
