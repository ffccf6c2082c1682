//! The stage and its clock, shared by all who stand on it. One thread.

use crate::clock::Clock;
use crate::domain::model::Timestamp;
use crate::sim::engine::Stage;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// A handle on the stage. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Play {
    clock: Clock,
    stage: Rc<RefCell<Stage>>,
}

impl Play {
    pub(crate) fn new(clock: Clock, stage: Stage) -> Self {
        Self {
            clock,
            stage: Rc::new(RefCell::new(stage)),
        }
    }

    /// Tells the stage something. What was due before now has been played by then: a client never hears an answer from
    /// before an act that came first.
    pub(super) fn tell<T>(&self, what: impl FnOnce(&mut Stage, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut stage = self.stage.borrow_mut();
        stage.advance(now);
        what(&mut stage, now)
    }

    /// Plays what is due; how long until the next, in real time.
    pub(super) fn advance(&self) -> Duration {
        let next = self.stage.borrow_mut().advance(self.clock.now());
        self.clock.until(next)
    }

    /// Lets market time pass.
    pub(super) async fn pause(&self, span: Duration) {
        actix_rt::time::sleep(self.clock.real(span)).await;
    }
}
