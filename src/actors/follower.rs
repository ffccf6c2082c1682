//! How a reader of the ledger stands towards the server that it keeps up with: what Writer and Publisher have in common.

use crate::actors::messages::Report;
use crate::clock::{Clock, Stopwatch};
use crate::domain::batch::{Pacer, ReaderView, Step};
use crate::domain::event::Position;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use actix::Recipient;
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::watch;

/// What a follower says when its server is lost, and when it is back.
#[derive(Debug)]
pub(super) struct Words {
    /// The error's name for programs, and its sentence for people.
    pub(super) lost: fn(&'static str, String) -> Report,
    pub(super) back: Report,
    /// The log's sentences for the same.
    pub(super) lost_log: &'static str,
    pub(super) back_log: &'static str,
}

/// Paces a reader, and says when what it writes to is lost and when it is back: once each.
#[derive(Debug)]
pub(super) struct Follower {
    pacer: Pacer,
    clock: Clock,
    up: Recipient<Report>,
    view: watch::Sender<ReaderView>,
    words: Words,
    /// Root was told that the server is lost, for this reason.
    lost: Option<&'static str>,
    /// Shows no more than this as written, though it was: somebody else changed it.
    at_most: Option<Position>,
}

impl Follower {
    pub(super) const fn new(
        pacer: Pacer,
        clock: Clock,
        up: Recipient<Report>,
        view: watch::Sender<ReaderView>,
        words: Words,
    ) -> Self {
        Self {
            pacer,
            clock,
            up,
            view,
            words,
            lost: None,
            at_most: None,
        }
    }

    /// The ledger goes this far.
    pub(super) fn heard(&mut self, head: Position) {
        self.pacer.heard(head, self.clock.now());
    }

    /// All of the ledger up to `head` is to be written without delay.
    pub(super) fn flush(&mut self, head: Position) {
        self.heard(head);
        self.pacer.flush();
    }

    /// What to do now, if anything.
    pub(super) fn step(&mut self) -> Option<Step> {
        self.pacer.step(self.clock.now())
    }

    /// How long to wait for the next step, in real time.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.pacer.next_deadline().map(|due| self.clock.until(due))
    }

    /// A step was done: written up to `position`, `rejected` events of it set aside.
    pub(super) fn wrote(&mut self, position: Position, rejected: usize, took: &Stopwatch) {
        self.pacer.wrote(position, self.clock.now());
        self.view.send_modify(|view| {
            view.rejected_total = view
                .rejected_total
                .saturating_add(u64::try_from(rejected).unwrap_or(u64::MAX));
            view.last_write_us = micros(took.elapsed());
            view.lost = false;
        });
        if took.elapsed() < limits::FOLLOWER_SLOW && self.caught_up() {
            self.back();
        }
    }

    /// The server stands at `position`. Only writing to it shows that all is well.
    pub(super) fn located(&mut self, position: Position) {
        self.pacer.located(position, self.clock.now());
    }

    /// A step failed.
    pub(super) fn failed(&mut self, reason: &'static str, cause: &impl Display) {
        self.pacer.failed(self.clock.now(), fastrand::f64());
        self.lost(reason, cause.to_string());
    }

    /// A step takes too long, and is still waited for.
    pub(super) fn slow(&mut self) {
        let text = format!("no answer for {:?}; still waiting", limits::FOLLOWER_SLOW);
        self.trouble("slow", text);
    }

    /// The server did not do what it was asked.
    fn lost(&mut self, reason: &'static str, cause: String) {
        self.view.send_modify(|view| view.lost = true);
        self.trouble(reason, cause);
    }

    /// Something is wrong with the server, for this cause.
    fn trouble(&mut self, reason: &'static str, cause: String) {
        let now = self.clock.now();
        self.view.send_modify(|view| match &mut view.trouble {
            Some((_, said)) => said.clone_from(&cause),
            none => *none = Some((now, cause.clone())),
        });
        if self.lost != Some(reason) {
            tracing::warn!(reason, error = %cause, "{}", self.words.lost_log);
            if self.up.try_send((self.words.lost)(reason, cause)).is_ok() {
                self.lost = Some(reason);
            }
        }
    }

    /// The server answered a look, so fast. Where something waits, only writing it shows that all is well.
    pub(super) fn answered(&mut self, took: Duration) {
        self.view.send_modify(|view| view.answer_us = micros(took));
        if took >= limits::FOLLOWER_SLOW {
            self.trouble("slow", format!("a trivial question took {took:.1?}"));
        } else if self.pacer.written().is_some() && self.pacer.distance() == 0 {
            self.back();
        }
    }

    /// The server did not answer a look.
    pub(super) fn unanswered(&mut self, reason: &'static str, cause: &impl Display) {
        self.lost(reason, cause.to_string());
    }

    /// What is left fits into one step: under way there is always something that waits.
    fn caught_up(&self) -> bool {
        usize::try_from(self.pacer.distance()).is_ok_and(|distance| distance <= limits::WRITER_CATCH_UP)
    }

    fn back(&mut self) {
        self.view.send_if_modified(|view| {
            let lost = std::mem::take(&mut view.lost);
            view.trouble.take().is_some() || lost
        });
        if self.lost.is_some() && self.up.try_send(self.words.back.clone()).is_ok() {
            tracing::info!("{}", self.words.back_log);
            self.lost = None;
        }
    }

    /// What was written after `position` may not be there any more; `None`: it is.
    pub(super) const fn show_at_most(&mut self, position: Option<Position>) {
        self.at_most = position;
    }

    /// Shows where it stands.
    pub(super) fn show(&self, kind: &'static str) {
        let now = self.clock.now();
        let (written, head) = (self.pacer.written().unwrap_or_default(), self.pacer.head());
        let position = self.at_most.map_or(written, |most| most.min(written));
        let waiting_since: Option<Timestamp> = (head > position).then(|| now - self.pacer.age(now));
        self.view.send_modify(|view| {
            view.kind = kind;
            (view.position, view.head, view.waiting_since) = (position, head, waiting_since);
        });
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
