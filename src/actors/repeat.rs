//! Work that an actor repeats. actix's `run_interval` catches up on every call that it missed: after a pause of the process, or on a
//! machine short of processor time, an actor would do nothing else.

use actix::prelude::*;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// The context of an actor that repeats work.
pub trait RepeatEvery<A: Actor<Context = Self>>: AsyncContext<A> {
    /// Calls `work` every `period`, first after one period. Missed calls are not made up for: after a late call the next one follows a
    /// whole period later.
    fn repeat_every(&mut self, period: Duration, work: impl FnMut(&mut A, &mut Self) + 'static) {
        let repeated = Repeated {
            work,
            period,
            timer: Box::pin(tokio::time::sleep(period)),
        };
        self.spawn(repeated.finish());
    }
}

impl<A: Actor<Context = C>, C: AsyncContext<A>> RepeatEvery<A> for C {}

struct Repeated<F> {
    work: F,
    period: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<F> Unpin for Repeated<F> {}

impl<A: Actor, F: FnMut(&mut A, &mut A::Context)> ActorStream<A> for Repeated<F> {
    type Item = ();

    fn poll_next(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut A::Context,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<()>> {
        loop {
            ready!(self.timer.as_mut().poll(task));
            (self.work)(actor, ctx);
            let next = tokio::time::sleep(self.period);
            self.timer.as_mut().set(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Counting(Arc<AtomicU32>);

    impl Actor for Counting {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Context<Self>) {
            ctx.repeat_every(Duration::from_millis(20), |actor: &mut Self, _| {
                actor.0.fetch_add(1, Ordering::Relaxed);
            });
        }
    }

    #[actix_rt::test]
    #[expect(clippy::disallowed_methods, reason = "the thread itself stands still")]
    async fn calls_that_were_missed_are_not_made_up_for() {
        let count = Arc::new(AtomicU32::new(0));
        let _counting = Counting(Arc::clone(&count)).start();
        while count.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = count.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1_000));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let made_up = count.load(Ordering::Relaxed) - before;
        assert!(made_up <= 5, "{made_up} calls at once");
        while count.load(Ordering::Relaxed) < before + 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
