//! The supervisor's view of one child, shared with `/status`, the watchdog and the test hooks.

use crate::clock::Stopwatch;
use crate::views::status::{ActorStanding, ActorStatus};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The state and history of one child. Clones share it.
#[derive(Debug, Clone)]
pub struct Vitals(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    mailbox: usize,
    standing: AtomicU8,
    restarts: AtomicU32,
    failures: AtomicU32,
    overspent: AtomicBool,
    last_cause: Mutex<Option<String>>,
    since_start: Stopwatch,
    pulse_ms: AtomicU64,
    resume: Notify,
    /// Who requested a restart, until it is done.
    restart_for: Mutex<Option<String>>,
    #[cfg(any(test, feature = "test-hooks"))]
    asked: Asked,
}

/// What test hooks requested and the child has not done yet.
#[cfg(any(test, feature = "test-hooks"))]
#[derive(Debug, Default)]
struct Asked {
    panic: AtomicBool,
    hang_ms: AtomicU64,
}

/// How long a child's pulse has been missing, counting only time in which the observer ran: after a pause of the whole process
/// every pulse is old, and none is missing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stuck {
    missing: Duration,
}

impl Stuck {
    /// Checks a pulse, once each `every`. Returns how long it has been missing.
    pub(crate) fn note_pulse(&mut self, pulse_age: Duration, every: Duration) -> Duration {
        self.missing = if pulse_age > every * 2 {
            self.missing + every
        } else {
            Duration::ZERO
        };
        self.missing
    }
}

impl Vitals {
    /// For a child that is about to start.
    pub fn new(name: impl Into<String>, mailbox: usize) -> Self {
        Self(Arc::new(Shared {
            name: name.into(),
            mailbox,
            standing: AtomicU8::new(0),
            restarts: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            overspent: AtomicBool::new(false),
            last_cause: Mutex::new(None),
            since_start: Stopwatch::start(),
            pulse_ms: AtomicU64::new(0),
            resume: Notify::new(),
            restart_for: Mutex::default(),
            #[cfg(any(test, feature = "test-hooks"))]
            asked: Asked::default(),
        }))
    }

    /// The child's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Restarts since the process started.
    pub fn restarts(&self) -> u32 {
        self.0.restarts.load(Ordering::Relaxed)
    }

    /// Failures since the process started, without the restarts that an operator requested.
    pub fn failures(&self) -> u32 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Whether it failed more often than its budget allows, and has not since run for the window without a failure.
    pub fn overspent(&self) -> bool {
        self.0.overspent.load(Ordering::Relaxed)
    }

    pub(super) fn set_overspent(&self, overspent: bool) {
        self.0.overspent.store(overspent, Ordering::Relaxed);
    }

    /// Real time since the child last showed that it handles its messages.
    pub fn pulse_age(&self) -> Duration {
        let pulse = Duration::from_millis(self.0.pulse_ms.load(Ordering::Relaxed));
        self.0.since_start.elapsed().saturating_sub(pulse)
    }

    /// The state of the child.
    pub fn standing(&self) -> ActorStanding {
        match self.0.standing.load(Ordering::Relaxed) {
            0 => ActorStanding::Alive,
            1 => ActorStanding::Restarting,
            _ => ActorStanding::Parked,
        }
    }

    /// A snapshot for `/status`. A child with a pulse older than `stale` is not alive.
    pub fn signs(&self, stale: Duration) -> ActorStatus {
        let age = self.pulse_age();
        ActorStatus {
            name: self.0.name.clone(),
            standing: self.standing(),
            alive: self.standing() == ActorStanding::Alive && age <= stale,
            restarts: self.restarts(),
            last_cause: self.0.last_cause.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            mailbox: self.0.mailbox,
            pulse_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Requests a restart: a running child restarts within a pulse, a parked one at once and with a fresh budget; one in back-off restarts
    /// anyway. It does not help a thread that hangs.
    pub fn request_restart(&self, by: &str) {
        match self.standing() {
            ActorStanding::Alive => {
                *self.0.restart_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(by.to_owned());
            }
            ActorStanding::Parked => self.resume(),
            ActorStanding::Restarting => {}
        }
    }

    /// Takes the requested restart: the name of the operator who requested it.
    pub(super) fn take_restart(&self) -> Option<String> {
        self.0.restart_for.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets a parked child try again, with a fresh budget.
    pub fn resume(&self) {
        self.0.resume.notify_one();
    }

    /// Waits until [`Vitals::resume`].
    pub(super) fn resumed(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.0);
        async move { shared.resume.notified().await }
    }

    pub(crate) fn set(&self, standing: ActorStanding) {
        let number = match standing {
            ActorStanding::Alive => 0,
            ActorStanding::Restarting => 1,
            ActorStanding::Parked => 2,
        };
        self.0.standing.store(number, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, cause: &str) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        self.note_cause(cause);
    }

    /// Records why the child stops or restarts.
    pub(super) fn note_cause(&self, cause: &str) {
        *self.0.last_cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_owned());
    }

    pub(super) fn restarted(&self) {
        self.0.restarts.fetch_add(1, Ordering::Relaxed);
        self.set(ActorStanding::Alive);
        self.beat();
    }

    pub(super) fn beat(&self) {
        let ms = u64::try_from(self.0.since_start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.pulse_ms.store(ms, Ordering::Relaxed);
    }

    /// Test hook: the child panics at its next turn (within a pulse).
    #[cfg(any(test, feature = "test-hooks"))]
    pub fn ask_to_panic(&self) {
        self.0.asked.panic.store(true, Ordering::Relaxed);
    }

    /// Test hook: the child blocks its thread for this long at its next turn.
    #[cfg(any(test, feature = "test-hooks"))]
    pub fn ask_to_hang(&self, for_ms: u64) {
        self.0.asked.hang_ms.store(for_ms, Ordering::Relaxed);
    }

    /// Performs what a test hook requested. Called where the child's own panics are caught.
    #[cfg(any(test, feature = "test-hooks"))]
    #[expect(clippy::disallowed_methods, reason = "blocking the thread is what the hook is for")]
    pub(super) fn obey_hooks(&self) {
        let ms = self.0.asked.hang_ms.swap(0, Ordering::Relaxed);
        if ms > 0 {
            std::thread::sleep(Duration::from_millis(ms));
        }
        assert!(
            !self.0.asked.panic.swap(false, Ordering::Relaxed),
            "asked to panic by a test hook"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PULSE;

    #[test]
    fn a_pulse_is_missing_only_as_long_as_whoever_looks_ran() {
        let mut stuck = Stuck::default();
        assert_eq!(stuck.note_pulse(PULSE, PULSE), Duration::ZERO);
        assert_eq!(
            stuck.note_pulse(Duration::from_secs(600), PULSE),
            PULSE,
            "both stood for ten minutes"
        );
        assert_eq!(stuck.note_pulse(Duration::from_millis(100), PULSE), Duration::ZERO);
        for looks in 1..=200 {
            assert_eq!(stuck.note_pulse(Duration::from_secs(60), PULSE), PULSE * looks);
        }
    }
}
