//! The engine with its clock, shared by the server and its connections. One thread.

use crate::clock::Clock;
use crate::domain::model::Timestamp;
use crate::sim::engine::Engine;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// A handle on the engine. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct EngineHandle {
    clock: Clock,
    engine: Rc<RefCell<Engine>>,
}

impl EngineHandle {
    pub(crate) fn new(clock: Clock, engine: Engine) -> Self {
        Self {
            clock,
            engine: Rc::new(RefCell::new(engine)),
        }
    }

    /// Calls the engine. Everything that was due before now is performed first: no answer to a client precedes an act that came first.
    pub(super) fn with_engine<T>(&self, what: impl FnOnce(&mut Engine, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut engine = self.engine.borrow_mut();
        engine.run_until(now);
        what(&mut engine, now)
    }

    /// Performs what is due; returns how long until the next call, in real time.
    pub(super) fn run_due(&self) -> Duration {
        let next = self.engine.borrow_mut().run_until(self.clock.now());
        self.clock.until(next)
    }

    /// Lets market time pass.
    pub(super) async fn pause(&self, span: Duration) {
        actix_rt::time::sleep(self.clock.real(span)).await;
    }
}
