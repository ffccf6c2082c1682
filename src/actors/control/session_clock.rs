//! SessionClock: reports each change of each pair's session to Root, within a fraction of a second of its instant.
//!
//! owns   `domain::lifecycle::SessionWatch`, one timer at its next deadline, one that checks the wall clock, the mark of the calendar's
//!        override file
//! hears  its own timers
//! says   Report::SessionTurned, Report::ClockStepped, Report::ClockTrusted, Report::ClockSet, Report::ProcessPaused, Report::CalendarRead
//!        → Root · the corrected calendars → every part that watches them
//! fails  an invalid override file is reported, and the last good calendar stays in force. A panic restarts it: its first check reports the
//!        changes that it missed, and reports an open session once more

use crate::actors::messages::Report;
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::calendar_file::{self, FileMark};
use crate::domain::calendar::Calendar;
use crate::domain::lifecycle::{BreakCause, Distrust, SessionWatch};
use crate::domain::model::Symbol;
use crate::limits;
use actix::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The dependencies of a session clock; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The pairs with their calendars, to follow and to correct; the calendar of the first pair bounds the gate.
    pub calendars: Vec<(Symbol, Arc<watch::Sender<Calendar>>)>,
    /// The calendar's override file, if any.
    pub calendar_file: Option<PathBuf>,
    /// How long before the open the gate begins to wait: the flag's timeout.
    pub lead: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct SessionClock {
    deps: Deps,
    watch: SessionWatch,
    /// What was last reported about the wall clock.
    distrust: Option<Distrust>,
    /// How many breaks of market time were reported.
    breaks: u64,
    mark: FileMark,
    timer: Option<SpawnHandle>,
}

impl SessionClock {
    /// A clock that checks as soon as it runs.
    pub fn new(deps: Deps) -> Self {
        let markets = deps
            .calendars
            .iter()
            .map(|(symbol, calendar)| (*symbol, calendar.borrow().clone()));
        Self {
            watch: SessionWatch::new(markets, deps.lead),
            distrust: None,
            breaks: deps.services.clock.breaks(),
            mark: deps.calendar_file.as_deref().and_then(calendar_file::mark),
            timer: None,
            deps,
        }
    }

    /// Reports the changes that are due, and sleeps until the next.
    fn report_turns(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.services.clock.now();
        for turn in self.watch.turns_until(now) {
            self.tell(Report::SessionTurned(turn), ctx);
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(next) = self.watch.next_deadline(now) {
            self.timer = Some(ctx.run_later(self.deps.services.clock.until(next), |actor, ctx| {
                actor.report_turns(ctx);
            }));
        }
    }

    /// Each half second: checks the wall clock, breaks of market time, and the override file.
    fn check(&mut self, ctx: &mut Context<Self>) {
        self.check_wall_clock(ctx);
        self.reread(ctx);
        self.report_turns(ctx);
    }

    fn check_wall_clock(&mut self, ctx: &mut Context<Self>) {
        match (self.distrust, self.deps.services.clock.distrust()) {
            (Some(_), None) => {
                self.distrust = None;
                self.tell(Report::ClockTrusted, ctx);
            }
            (told, Some(now)) if told.is_none_or(|told| is_step(&told, &now)) => {
                self.distrust = Some(now);
                self.tell(Report::ClockStepped(now), ctx);
            }
            _ => {}
        }
        for found in self.deps.services.clock.breaks_after(&mut self.breaks) {
            match found.cause {
                BreakCause::ProcessPaused => self.tell(Report::ProcessPaused(found), ctx),
                BreakCause::ClockStepped => self.tell(Report::ClockSet(found), ctx),
            }
        }
    }

    fn reread(&mut self, ctx: &mut Context<Self>) {
        let Some(path) = self.deps.calendar_file.clone() else {
            return;
        };
        let mark = calendar_file::mark(&path);
        if std::mem::replace(&mut self.mark, mark) == mark {
            return;
        }
        let read = calendar_file::load(&path).map_err(|error| error.to_string());
        let said = read.map(|overrides| {
            let overrides = Arc::new(overrides);
            for (symbol, shared) in &self.deps.calendars {
                let calendar = shared.borrow().with_overrides(Arc::clone(&overrides));
                self.watch.recalendar(*symbol, calendar.clone());
                shared.send_replace(calendar);
            }
        });
        self.tell(Report::CalendarRead(said), ctx);
    }

    fn tell(&self, report: Report, ctx: &mut Context<Self>) {
        let told = self.deps.services.root.send(report);
        ctx.wait(told.into_actor(self).map(|_, _, _| ()));
    }
}

/// Whether the wall clock's distance from market time differs by a step from what was reported, or has another reason.
fn is_step(told: &Distrust, now: &Distrust) -> bool {
    let moved = told.ahead_ms.abs_diff(now.ahead_ms);
    told.reason != now.reason || u128::from(moved) > limits::CLOCK_STEP.as_millis()
}

impl Actor for SessionClock {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.repeat_every(limits::CLOCK_LOOK, |actor, ctx| actor.check(ctx));
        self.report_turns(ctx);
    }
}

impl Supervised for SessionClock {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

#[cfg(test)]
#[path = "tests/session_clock.rs"]
mod tests;
