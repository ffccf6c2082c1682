//! Ends the process when a required child is parked or stuck. It has a thread of its own, because a stuck arbiter cannot be restarted from
//! inside.
//!
//! It counts only time in which it ran itself: after a pause of the process every pulse is old, but no child is stuck. It also reads the
//! clock continually, so that such a pause is noticed (`Clock::watched`).

use crate::actors::messages::WhenSpent;
use crate::actors::supervision::{Row, Stuck, Vitals};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::limits;
use crate::log_queue;
use crate::views::status::ActorStanding;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Keeps the watchdog running; dropping it ends the watchdog.
#[derive(Debug)]
pub struct WatchdogHold {
    _alive: Arc<()>,
}

/// Watches the children whose row says `Exit`, until the returned value is dropped.
///
/// # Errors
/// When the system gives no thread.
pub fn watch(children: Vec<(Row, Vitals)>, clock: Clock) -> std::io::Result<WatchdogHold> {
    let mut vital: Vec<(Vitals, Stuck)> = children
        .into_iter()
        .filter(|(row, _)| row.when_spent == WhenSpent::Exit)
        .map(|(_, vitals)| (vitals, Stuck::default()))
        .collect();
    clock.watched();
    let alive = Arc::new(());
    let watched = Arc::downgrade(&alive);
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || watch_children(&mut vital, &clock, &watched))
        .map(|_| WatchdogHold { _alive: alive })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, on which nothing else waits"
)]
fn watch_children(children: &mut [(Vitals, Stuck)], clock: &Clock, watched: &Weak<()>) {
    let mut parked_for = Duration::ZERO;
    loop {
        std::thread::sleep(limits::PULSE);
        if watched.strong_count() == 0 {
            return; // these children have ended in order
        }
        clock.beat();
        for (child, stuck) in children.iter_mut() {
            let stuck_for = stuck.note_pulse(child.pulse_age(), limits::PULSE);
            if stuck_for > limits::WEDGED_EXIT && child.standing() == ActorStanding::Alive {
                end(child, "handles no messages any more");
            }
        }
        match children
            .iter()
            .find(|(child, _)| child.standing() == ActorStanding::Parked)
        {
            // Root ends the process in order; the watchdog does it only when Root has not done so within the grace period.
            Some((child, _)) if parked_for >= limits::EXIT_GRACE => {
                end(child, "failed more often than its budget allows")
            }
            Some(_) => parked_for += limits::PULSE,
            None => parked_for = Duration::ZERO,
        }
    }
}

fn end(child: &Vitals, why: &str) -> ! {
    tracing::error!(
        actor = child.name(),
        why,
        code = Exit::GaveUp.code(),
        "the process ends"
    );
    log_queue::flush();
    std::process::exit(i32::from(Exit::GaveUp.code()))
}
