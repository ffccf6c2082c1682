//! How a reader of the ledger stands towards the server that it keeps up with: what Writer and Publisher have in common.

use crate::actors::messages::Report;
use crate::clock::{Clock, Stopwatch};
use crate::domain::batch::{Pacer, ReaderView, Step};
use crate::domain::event::Position;
use crate::domain::timestamp::Timestamp;
use actix::Recipient;
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::watch;

/// What a follower says when its server is lost, and when it is back.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) lost: fn(String) -> Report,
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
    /// Root was told that the server is lost.
    lost: bool,
    /// The last look got no answer.
    unanswered: bool,
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
            lost: false,
            unanswered: false,
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
            view.trouble = None;
            view.rejected_total = view
                .rejected_total
                .saturating_add(u64::try_from(rejected).unwrap_or(u64::MAX));
            view.last_write_us = micros(took.elapsed());
        });
        self.back();
    }

    /// A step failed.
    pub(super) fn failed(&mut self, cause: &impl Display) {
        self.pacer.failed(self.clock.now(), fastrand::f64());
        self.trouble(cause.to_string());
    }

    /// Something is wrong with the server, for this cause.
    pub(super) fn trouble(&mut self, cause: String) {
        let now = self.clock.now();
        self.view.send_modify(|view| match &mut view.trouble {
            Some((_, said)) => said.clone_from(&cause),
            none => *none = Some((now, cause.clone())),
        });
        if !self.lost {
            tracing::warn!(error = %cause, "{}", self.words.lost_log);
            self.lost = self.up.try_send((self.words.lost)(cause)).is_ok();
        }
    }

    /// Whether the server answered a look, and how fast.
    pub(super) fn looked(&mut self, answer: Result<Duration, impl Display>) {
        match answer {
            Ok(took) => {
                self.view.send_modify(|view| view.answer_us = micros(took));
                if std::mem::take(&mut self.unanswered) {
                    self.view.send_modify(|view| view.trouble = None);
                    self.back();
                }
            }
            Err(error) => {
                self.unanswered = true;
                self.trouble(error.to_string());
            }
        }
    }

    fn back(&mut self) {
        if self.lost && self.up.try_send(self.words.back.clone()).is_ok() {
            tracing::info!("{}", self.words.back_log);
            self.lost = false;
        }
    }

    /// Shows where it stands.
    pub(super) fn show(&self, kind: &'static str) {
        let now = self.clock.now();
        let (position, head) = (self.pacer.written().unwrap_or_default(), self.pacer.head());
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
