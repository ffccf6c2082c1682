//! The supervision mechanism: restarts an actor that panics or stops, keeping its address and its mailbox.
//!
//! `actix::Supervisor` dies with a panicking actor: the address closes for good and messages are lost silently (actix issues
//! 158 and 204). Here the actor's own future is polled inside `catch_unwind`; after a panic the same future is restarted, so
//! the address, and every message queued behind the panic, stay. The message that panicked is lost: before an actor does anything that may
//! fail, it stores what must survive where a restart does not reach.
//!
//! ```text
//!               panic or stop                             budget left
//!  Running ────────────────────────► Failed ───────────────────────────────► Sleeping(back-off)
//!     ▲                                │ budget spent                              │
//!     │                                ├─ Exit, FallBack ──► Parked ──resume()──┐  │
//!     │                                └─ KeepTrying ──► Sleeping(longest)      │  │
//!     └──────────────── ContextFut::restart() → Supervised::restarting() ◄──────┴──┘
//! ```
//! Root receives `GaveUp` when the budget is spent, and `Steady` when the child has then run for the window without a failure.

use crate::actors::messages::{Report, WhenSpent};
use crate::actors::repeat::RepeatEvery;
use crate::actors::supervision::Vitals;
use crate::clock::Stopwatch;
use crate::domain::model::backoff;
use crate::limits;
use crate::views::status::ActorStanding;
use actix::dev::ContextFut;
use actix::dev::channel::{AddressReceiver, channel};
use actix::{Actor, Addr, Context, Recipient, Supervised};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

/// One row of the supervision tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The child's name.
    pub name: &'static str,
    /// How many messages its mailbox holds.
    pub mailbox: usize,
    /// How many restarts within `window` are tolerated.
    pub restarts: usize,
    /// The window of the budget, real time.
    pub window: Duration,
    /// Real time before the first restart; doubled with each further failure within the window.
    pub backoff_first: Duration,
    /// The longest back-off, real time.
    pub backoff_longest: Duration,
    /// What happens when the budget is spent.
    pub when_spent: WhenSpent,
}

/// The receiving end of a mailbox that exists before its actor does.
pub struct Mail<A: Actor> {
    receiver: AddressReceiver<A>,
}

impl<A: Actor> std::fmt::Debug for Mail<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail")
    }
}

/// Makes a child's mailbox. The address is good for the life of the process.
pub fn mailbox<A: Actor<Context = Context<A>>>(row: &Row) -> (Addr<A>, Mail<A>) {
    let (sender, receiver) = channel(row.mailbox);
    (Addr::new(sender), Mail { receiver })
}

/// Runs `actor` on the current arbiter under supervision until the process ends. Reports go to `up`.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where supervised work is hung on an arbiter"
)]
pub fn supervise<A>(row: Row, mail: Mail<A>, actor: A, vitals: Vitals, up: Recipient<Report>)
where
    A: Actor<Context = Context<A>> + Supervised + Unpin + 'static,
{
    let future = Context::with_receiver(mail.receiver).into_future(actor);
    let random = fastrand::Rng::new();
    actix_rt::spawn(Guarded {
        span: tracing::error_span!("actor", actor = vitals.name()),
        future,
        row,
        vitals,
        up,
        random,
        recent: VecDeque::new(),
        failed_at: None,
        phase: Phase::Starting,
        owed: None,
    });
}

/// The actor's future with a guard around it.
struct Guarded<A: Actor<Context = Context<A>> + Supervised + Unpin> {
    span: tracing::Span,
    future: ContextFut<A, Context<A>>,
    row: Row,
    vitals: Vitals,
    up: Recipient<Report>,
    random: fastrand::Rng,
    /// When the restarts of the window happened.
    recent: VecDeque<Stopwatch>,
    /// When it last failed.
    failed_at: Option<Stopwatch>,
    phase: Phase,
    /// A report that found Root's mailbox full; retried at each poll.
    owed: Option<Report>,
}

type Timer = Pin<Box<tokio::time::Sleep>>;

enum Phase {
    /// Not polled yet.
    Starting,
    /// Polled; the timer checks the pulse.
    Running(Timer),
    /// Sleeps until the back-off is over.
    Sleeping(Timer),
    /// Waits for [`Vitals::resume`].
    Parked(Pin<Box<dyn Future<Output = ()>>>),
}

impl<A: Actor<Context = Context<A>> + Supervised + Unpin> Future for Guarded<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            this.pay_report();
            match &mut this.phase {
                Phase::Starting => this.phase = this.run(),
                Phase::Running(watch) => {
                    let look = watch.as_mut().poll(task).is_ready();
                    match this.turn(task) {
                        Some(cause) => this.fail(&cause),
                        None if look => this.check_pulse(),
                        None => return Poll::Pending,
                    }
                }
                Phase::Sleeping(timer) => {
                    if timer.as_mut().poll(task).is_pending() {
                        return Poll::Pending;
                    }
                    this.restart();
                }
                Phase::Parked(resumed) => {
                    if resumed.as_mut().poll(task).is_pending() {
                        return Poll::Pending;
                    }
                    this.recent.clear();
                    this.restart();
                }
            }
        }
    }
}

impl<A: Actor<Context = Context<A>> + Supervised + Unpin> Guarded<A> {
    /// Polls the actor. Returns the cause if it failed.
    fn turn(&mut self, task: &mut Task<'_>) -> Option<String> {
        let future = &mut self.future;
        let vitals = &self.vitals;
        let _span = self.span.enter(); // log lines of the actor, its panic included, carry its name
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(any(test, feature = "test-hooks"))]
            vitals.obey_hooks();
            let _ = &vitals;
            Pin::new(future).poll(task)
        }));
        match outcome {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(())) => Some("stopped by itself".to_owned()),
            Err(panic) => Some(format!("panicked: {}", panic_text(&*panic))),
        }
    }

    /// Starts the pulse inside the actor, where it stops when message handling stops, and the timer that checks it.
    fn run(&mut self) -> Phase {
        let vitals = self.vitals.clone();
        vitals.beat();
        self.future.ctx().repeat_every(limits::PULSE, move |_, _| vitals.beat());
        Phase::Running(Box::pin(tokio::time::sleep(limits::PULSE)))
    }

    /// Rearms the timer. A child whose budget was spent is reported as steady here once it has run for the window.
    fn check_pulse(&mut self) {
        self.forgive();
        if let Some(by) = self.vitals.take_restart() {
            // A requested restart is no failure and does not count against the budget.
            self.vitals.note_cause(&format!("requested by {by}"));
            return self.restart();
        }
        self.phase = Phase::Running(Box::pin(tokio::time::sleep(limits::PULSE)));
    }

    /// Reports a child that was out of budget as steady once it has run for the whole window.
    fn forgive(&mut self) {
        let long_ago = self.failed_at.is_none_or(|failed| failed.elapsed() > self.row.window);
        if self.vitals.overspent() && long_ago {
            self.vitals.set_overspent(false);
            tracing::info!(actor = self.vitals.name(), "an actor runs well again");
            self.owed = Some(Report::Steady {
                child: self.vitals.name().to_owned(),
            });
        }
    }

    fn fail(&mut self, cause: &str) {
        self.vitals.failed(cause);
        self.failed_at = Some(Stopwatch::start());
        self.recent.retain(|restart| restart.elapsed() <= self.row.window);
        let failures = self.recent.len();
        let spent = failures >= self.row.restarts;
        tracing::error!(actor = self.vitals.name(), cause, failures, spent, "an actor failed");
        if spent {
            self.vitals.set_overspent(true);
            self.owed = Some(Report::GaveUp {
                child: self.vitals.name().to_owned(),
                then: self.row.when_spent,
            });
        }
        self.phase = match (spent, self.row.when_spent) {
            (true, WhenSpent::Exit | WhenSpent::FallBack) => {
                self.vitals.set(ActorStanding::Parked);
                Phase::Parked(Box::pin(self.vitals.resumed()))
            }
            _ => {
                self.vitals.set(ActorStanding::Restarting);
                self.recent.push_back(Stopwatch::start());
                Phase::Sleeping(Box::pin(tokio::time::sleep(self.backoff(failures))))
            }
        };
    }

    /// Doubled with each failure in the window, plus up to a quarter at random so that children do not restart in step.
    fn backoff(&mut self, failures: usize) -> Duration {
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        let plain = backoff::delay(self.row.backoff_first, failures, self.row.backoff_longest);
        plain + plain.mul_f64(self.random.f64() / 4.0)
    }

    fn restart(&mut self) {
        // `restarting()` is the actor's own code, so it may panic as well.
        let future = &mut self.future;
        match catch_unwind(AssertUnwindSafe(|| future.restart())) {
            Ok(_) => {
                self.vitals.restarted();
                let restarts = self.vitals.restarts();
                tracing::warn!(actor = self.vitals.name(), restarts, "an actor was restarted");
                self.owed.get_or_insert(Report::Restarted {
                    child: self.vitals.name().to_owned(),
                    restarts,
                });
                self.phase = self.run();
            }
            Err(panic) => {
                let cause = format!("panicked while restarting: {}", panic_text(&*panic));
                self.fail(&cause);
            }
        }
    }

    /// Sends the pending report. Reports are few (the budget bounds them); one that finds Root's mailbox full is kept and
    /// retried.
    fn pay_report(&mut self) {
        if let Some(report) = self.owed.take()
            && let Err(actix::prelude::SendError::Full(report)) = self.up.try_send(report)
        {
            self.owed = Some(report);
        }
    }
}

/// The text of a panic, for logs and `/status`.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::prelude::*;
    use std::sync::{Arc, Mutex};

    /// Adds up the numbers that it receives, and records each sum outside itself.
    struct Adder {
        sum: u32,
        seen: Arc<Mutex<Vec<u32>>>,
    }
    impl Actor for Adder {
        type Context = Context<Self>;
    }
    impl Supervised for Adder {
        fn restarting(&mut self, _: &mut Context<Self>) {
            self.sum = 0;
        }
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    enum Do {
        Add(u32),
        Panic,
        PanicLater,
        Stop,
    }
    impl Handler<Do> for Adder {
        type Result = ();
        fn handle(&mut self, msg: Do, ctx: &mut Context<Self>) {
            match msg {
                Do::Add(n) => {
                    self.sum += n;
                    self.seen.lock().unwrap().push(self.sum);
                }
                Do::Panic => panic!("on purpose"),
                Do::PanicLater => drop(ctx.run_later(Duration::ZERO, |_, _| panic!("in a spawned future"))),
                Do::Stop => ctx.stop(),
            }
        }
    }

    /// Keeps the reports that Root would receive.
    struct Probe(Arc<Mutex<Vec<Report>>>);
    impl Actor for Probe {
        type Context = Context<Self>;
    }
    impl Handler<Report> for Probe {
        type Result = ();
        fn handle(&mut self, msg: Report, _: &mut Context<Self>) {
            self.0.lock().unwrap().push(msg);
        }
    }

    const ROW: Row = Row {
        name: "adder",
        mailbox: 8,
        restarts: 2,
        window: Duration::from_secs(60),
        backoff_first: Duration::from_secs(1),
        backoff_longest: Duration::from_secs(10),
        when_spent: WhenSpent::Exit,
    };

    struct Stage {
        adder: Addr<Adder>,
        vitals: Vitals,
        seen: Arc<Mutex<Vec<u32>>>,
        reports: Arc<Mutex<Vec<Report>>>,
    }

    fn stage(row: Row) -> Stage {
        tokio::time::pause();
        staged(row)
    }

    fn staged(row: Row) -> Stage {
        let (seen, reports) = (Arc::default(), Arc::default());
        let probe = Probe(Arc::clone(&reports)).start();
        let (adder, mail) = mailbox(&row);
        let vitals = Vitals::new(row.name, row.mailbox);
        supervise(
            row,
            mail,
            Adder {
                sum: 0,
                seen: Arc::clone(&seen),
            },
            vitals.clone(),
            probe.recipient(),
        );
        Stage {
            adder,
            vitals,
            seen,
            reports,
        }
    }

    impl Stage {
        async fn pass(&self, secs: u64) {
            for _ in 0..secs * 4 {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
        fn tell(&self, what: Do) {
            assert!(self.adder.try_send(what).is_ok());
        }
    }

    #[actix_rt::test]
    async fn a_panic_keeps_the_address_and_the_queue_and_starts_from_fresh_state() {
        let stage = stage(ROW);
        for what in [Do::Add(1), Do::Add(1), Do::Panic, Do::Add(1), Do::Add(1)] {
            stage.tell(what);
        }
        stage.pass(3).await;
        assert_eq!(*stage.seen.lock().unwrap(), [1, 2, 1, 2]);
        assert!(stage.adder.connected());
        assert_eq!(stage.vitals.restarts(), 1);
        assert_eq!(
            stage.vitals.signs(limits::PULSE_STALE).last_cause.unwrap(),
            "panicked: on purpose"
        );
        assert_eq!(
            *stage.reports.lock().unwrap(),
            [Report::Restarted {
                child: "adder".to_owned(),
                restarts: 1
            }]
        );
    }

    #[actix_rt::test]
    async fn a_panic_in_a_spawned_future_and_a_stop_restart_it_too() {
        let stage = stage(ROW);
        stage.tell(Do::PanicLater);
        stage.pass(3).await;
        stage.tell(Do::Stop);
        stage.pass(5).await;
        stage.tell(Do::Add(7));
        stage.pass(1).await;
        assert_eq!(stage.vitals.restarts(), 2);
        assert_eq!(*stage.seen.lock().unwrap(), [7]);
    }

    #[actix_rt::test]
    async fn restarts_wait_longer_each_time_and_never_spin() {
        let stage = stage(ROW);
        stage.tell(Do::Panic);
        stage.tell(Do::Panic);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(stage.vitals.restarts(), 0);
        stage.pass(1).await;
        assert_eq!(stage.vitals.restarts(), 1);
        assert_eq!(stage.vitals.standing(), ActorStanding::Restarting);
        stage.pass(3).await;
        assert_eq!(stage.vitals.restarts(), 2);
    }

    #[actix_rt::test]
    async fn a_spent_budget_parks_the_child_tells_root_and_a_resume_starts_afresh() {
        let stage = stage(ROW);
        for _ in 0..3 {
            stage.tell(Do::Panic);
            stage.pass(4).await;
        }
        assert_eq!(stage.vitals.standing(), ActorStanding::Parked);
        let gave_up = Report::GaveUp {
            child: "adder".to_owned(),
            then: WhenSpent::Exit,
        };
        assert_eq!(stage.reports.lock().unwrap().last(), Some(&gave_up));
        assert!(stage.adder.connected());
        while stage.adder.try_send(Do::Add(1)).is_ok() {}
        assert!(matches!(stage.adder.try_send(Do::Add(1)), Err(SendError::Full(_))));
        stage.vitals.resume();
        stage.pass(1).await;
        assert_eq!(stage.vitals.standing(), ActorStanding::Alive);
        assert!(!stage.seen.lock().unwrap().is_empty());
    }

    /// The real rows: each child is restarted as often as its row says, and then escalates as its row says.
    #[actix_rt::test]
    async fn every_row_of_the_tree_keeps_its_budget_and_escalates_as_it_says() {
        tokio::time::pause();
        for row in crate::actors::tree::CHILDREN {
            let stage = staged(row);
            for panics in 0..=u32::try_from(row.restarts).unwrap() {
                assert!(
                    stage.reports.lock().unwrap().len() <= row.restarts,
                    "{}: gave up early",
                    row.name
                );
                stage.tell(Do::Panic);
                while stage.vitals.restarts() == panics && stage.vitals.standing() != ActorStanding::Parked {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the last report is on its way
            let gave_up = Report::GaveUp {
                child: row.name.to_owned(),
                then: row.when_spent,
            };
            assert!(stage.reports.lock().unwrap().contains(&gave_up), "{}", row.name);
            let budget = u32::try_from(row.restarts).unwrap();
            let (standing, restarts) = match row.when_spent {
                WhenSpent::KeepTrying => (ActorStanding::Alive, budget + 1),
                WhenSpent::Exit | WhenSpent::FallBack => (ActorStanding::Parked, budget),
            };
            assert_eq!(
                (stage.vitals.standing(), stage.vitals.restarts()),
                (standing, restarts),
                "{}",
                row.name
            );
            assert!(stage.vitals.overspent() && stage.adder.connected());
        }
    }

    #[actix_rt::test]
    async fn a_child_that_runs_well_for_its_window_is_well_again() {
        let stage = stage(Row {
            when_spent: WhenSpent::KeepTrying,
            ..ROW
        });
        for _ in 0..3 {
            stage.tell(Do::Panic);
            stage.pass(6).await;
        }
        assert!(stage.vitals.overspent());
        stage.pass(45).await;
        assert!(stage.vitals.overspent(), "not yet a minute since it failed");
        stage.pass(20).await;
        let steady = Report::Steady {
            child: "adder".to_owned(),
        };
        assert_eq!(stage.reports.lock().unwrap().last(), Some(&steady));
        assert!(!stage.vitals.overspent());
    }

    #[actix_rt::test]
    async fn a_child_that_keeps_trying_is_never_parked() {
        let stage = stage(Row {
            when_spent: WhenSpent::KeepTrying,
            ..ROW
        });
        for _ in 0..5 {
            stage.tell(Do::Panic);
            stage.pass(15).await;
        }
        assert_eq!(stage.vitals.restarts(), 5);
        assert!(
            stage
                .reports
                .lock()
                .unwrap()
                .iter()
                .any(|report| matches!(report, Report::GaveUp { .. }))
        );
    }

    #[actix_rt::test]
    async fn a_requested_restart_begins_anew_and_costs_nothing_of_the_budget() {
        let stage = stage(ROW);
        stage.tell(Do::Add(3));
        stage.pass(1).await;
        for restarts in 1..=5 {
            stage.vitals.request_restart("ops");
            stage.pass(2).await;
            assert_eq!(stage.vitals.restarts(), restarts);
        }
        stage.tell(Do::Add(1));
        stage.pass(1).await;
        assert_eq!(*stage.seen.lock().unwrap(), [3, 1]);
        let signs = stage.vitals.signs(limits::PULSE_STALE);
        assert_eq!(
            (signs.last_cause.as_deref(), signs.alive),
            (Some("requested by ops"), true)
        );
        assert!(!stage.vitals.overspent());
        assert_eq!(stage.vitals.failures(), 0);
    }

    #[actix_rt::test]
    async fn a_requested_restart_brings_a_parked_child_back() {
        let stage = stage(ROW);
        for _ in 0..3 {
            stage.tell(Do::Panic);
            stage.pass(4).await;
        }
        assert_eq!(stage.vitals.standing(), ActorStanding::Parked);
        stage.vitals.request_restart("ops");
        stage.pass(3).await;
        assert_eq!(
            (stage.vitals.standing(), stage.vitals.restarts()),
            (ActorStanding::Alive, 3)
        );
        assert_eq!(stage.vitals.failures(), 3);
    }

    #[actix_rt::test]
    async fn the_test_hook_panics_it_within_a_pulse() {
        let stage = stage(ROW);
        stage.pass(1).await;
        stage.vitals.ask_to_panic();
        stage.pass(3).await;
        assert_eq!(stage.vitals.restarts(), 1);
    }
}
