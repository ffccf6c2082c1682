//! Validator: checks the prepared history when Root asks, one check at a time.
//!
//! owns   the check that runs, the last question that came meanwhile, the session whose seam is looked for
//! hears  Validate, MarkSeam (Root)
//! says   Report::Judged → Root · the seam → views · one row of `system_health` for each verdict and each change of the seam
//! fails  never on what it finds: a database that does not answer is a verdict. A panic forgets the check; Root asks again when
//!        no verdict comes

use crate::actors::messages::{MarkSeam, Report, Validate};
use crate::clock::{Clock, Stopwatch};
use crate::domain::calendar::Calendar;
use crate::domain::l0::Flag;
use crate::domain::l0_table::L0Table;
use crate::domain::seam::Seam;
use crate::domain::session::Session;
use crate::domain::symbol::Symbol;
use crate::domain::verdict::Verdict;
use crate::limits;
use crate::store::{HealthRow, HistoryQuery, Store};
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::watch;

/// Everything the validator is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct ValidatorParts {
    /// Where the history lies.
    pub store: Store,
    /// In which table.
    pub table: L0Table,
    /// The pair whose history opens the gate: the first of the settings.
    pub symbol: Symbol,
    /// Its calendar; watched, because it may be corrected.
    pub calendar: watch::Receiver<Calendar>,
    /// Market time.
    pub clock: Clock,
    /// To Root.
    pub root: Recipient<Report>,
    /// The seam of the present or last session.
    pub seam: watch::Sender<Option<Seam>>,
}

/// The actor.
#[derive(Debug)]
pub struct Validator {
    parts: ValidatorParts,
    checking: bool,
    next: Option<Validate>,
    seam_timer: Option<SpawnHandle>,
}

impl Validator {
    /// A validator that waits to be asked.
    #[must_use]
    pub const fn new(parts: ValidatorParts) -> Self {
        Self {
            parts,
            checking: false,
            next: None,
            seam_timer: None,
        }
    }

    /// Looks once a minute until the session is over: bars of the history may come later, and be compared.
    fn look_for_seam(&mut self, session: Session, ctx: &mut Context<Self>) {
        if let Some(timer) = self.seam_timer.take() {
            ctx.cancel_future(timer);
        }
        ctx.spawn(find_seam(self.parts.clone(), session).into_actor(self));
        if self.parts.clock.now() < session.closes + limits::SEAM_LOOK {
            let pause = self.parts.clock.real(limits::SEAM_LOOK);
            self.seam_timer = Some(ctx.run_later(pause, move |actor, ctx| actor.look_for_seam(session, ctx)));
        }
    }

    fn check(&mut self, ask: Validate, ctx: &mut Context<Self>) {
        self.checking = true;
        let checked = check(self.parts.clone(), ask.flag)
            .into_actor(self)
            .map(|(), actor, ctx| {
                actor.checking = false;
                if let Some(next) = actor.next.take() {
                    actor.check(next, ctx);
                }
            });
        ctx.spawn(checked);
    }
}

/// One check, from the question to the row that keeps its verdict.
async fn check(parts: ValidatorParts, flag: Option<Flag>) {
    let watch = Stopwatch::start();
    let verdict = Arc::new(judge(&parts, flag).await);
    let took_ms = u32::try_from(watch.elapsed().as_millis()).unwrap_or(u32::MAX);
    let passed = verdict.passed();
    tracing::info!(
        verdict.passed = passed,
        verdict.reason = verdict.reason(),
        rows = verdict.rows,
        took_ms,
        "history was checked"
    );
    if parts.root.send(Report::Judged(Arc::clone(&verdict))).await.is_err() {
        return; // Root is gone: the process ends
    }
    let row = HealthRow {
        status: if passed { "l0_passed" } else { "l0_failed" }.to_owned(),
        details: serde_json::json!({ "verdict": *verdict }),
        response_ms: Some(took_ms),
        error: (!passed).then(|| verdict.message()),
        at: verdict.at,
    };
    if let Err(error) = parts.store.record_health(row).await {
        tracing::warn!(%error, "the verdict could not be kept in system_health");
    }
}

/// One look for the seam of a session; what it says anew is shown and kept.
async fn find_seam(parts: ValidatorParts, session: Session) {
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol: parts.symbol,
        since: session.opens - limits::SEAM_REACH,
    };
    let bars = match parts.store.seam_bars(query).await {
        Ok(bars) => bars,
        Err(error) => return tracing::debug!(%error, "the seam cannot be looked for now"),
    };
    let seam = Seam::of(&bars, session.opens, &parts.calendar.borrow());
    let Some(seam) = seam.filter(|seam| parts.seam.borrow().as_ref() != Some(seam)) else {
        return;
    };
    tracing::info!(first_live_bar = %seam.first_live_bar, missing = seam.missing, differing = seam.differing, "the seam was found");
    let row = HealthRow {
        status: "seam".to_owned(),
        details: serde_json::json!({ "seam": seam }),
        response_ms: None,
        error: None,
        at: parts.clock.now(),
    };
    parts.seam.send_replace(Some(seam));
    if let Err(error) = parts.store.record_health(row).await {
        tracing::warn!(%error, "the seam could not be kept in system_health");
    }
}

async fn judge(parts: &ValidatorParts, flag: Option<Flag>) -> Verdict {
    let now = parts.clock.now();
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol: parts.symbol,
        since: now - limits::VERDICT_FETCHED,
    };
    let history = match parts.store.history(query).await {
        Ok(history) => history,
        Err(error) => return Verdict::unreachable(&error.to_string(), flag, now),
    };
    let calendar = parts.calendar.borrow().clone();
    let kept = flag.clone();
    // Six years are compared with the calendar in milliseconds, but not on the thread of the ticks.
    let judged = tokio::task::spawn_blocking(move || Verdict::on(&history, flag, &calendar, now));
    judged
        .await
        .unwrap_or_else(|error| Verdict::unreachable(&format!("the check failed: {error}"), kept, now))
}

impl Actor for Validator {
    type Context = Context<Self>;
}

impl Supervised for Validator {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Validate> for Validator {
    type Result = ();

    fn handle(&mut self, ask: Validate, ctx: &mut Context<Self>) {
        if self.checking {
            self.next = Some(ask);
            return;
        }
        self.check(ask, ctx);
    }
}

impl Handler<MarkSeam> for Validator {
    type Result = ();

    fn handle(&mut self, MarkSeam(session): MarkSeam, ctx: &mut Context<Self>) {
        self.look_for_seam(session, ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar_spec::CalendarSpec;
    use crate::domain::l0_table::Spelling;
    use crate::domain::timestamp::Timestamp;
    use crate::store::Sqlite;
    use std::time::Duration;
    use tokio::sync::mpsc;

    /// Keeps what Root would hear.
    struct Probe(mpsc::UnboundedSender<Report>);

    impl Actor for Probe {
        type Context = Context<Self>;
    }

    impl Handler<Report> for Probe {
        type Result = ();
        fn handle(&mut self, report: Report, _: &mut Context<Self>) {
            drop(self.0.send(report));
        }
    }

    const NOON: Timestamp = Timestamp::from_secs(1_768_478_400); // Thursday 15 January 2026, 12:00 UTC

    /// A validator over a store whose table holds a bar every five minutes of the last days.
    fn start(table: &str) -> (Addr<Validator>, mpsc::UnboundedReceiver<Report>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Store::Sqlite(Sqlite::open(&path).unwrap());
        let mut db = rusqlite::Connection::open(&path).unwrap();
        let rows = db.transaction().unwrap();
        let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) VALUES ('USDCOP', ?1, 2, 3, 1, 2, 'l0')";
        for back in 1..=8 * 288 {
            rows.execute(insert, [NOON.micros() - back * 300_000_000]).unwrap();
        }
        rows.commit().unwrap();
        let spec = CalendarSpec {
            calendar: "always".to_owned(),
            ..CalendarSpec::default()
        };
        let (probe, reports) = mpsc::unbounded_channel();
        let parts = ValidatorParts {
            store,
            table: L0Table::new(table, "datetime", Spelling::Compact).unwrap(),
            symbol: Symbol::usdcop(),
            calendar: watch::channel(Calendar::new(&spec, Arc::default()).unwrap()).1,
            clock: Clock::manual(NOON),
            root: Probe(probe).start().recipient(),
            seam: watch::Sender::new(None),
        };
        (Validator::new(parts).start(), reports, folder)
    }

    async fn verdict(reports: &mut mpsc::UnboundedReceiver<Report>) -> Arc<Verdict> {
        let report = tokio::time::timeout(Duration::from_secs(10), reports.recv()).await;
        match report.expect("a verdict in ten seconds") {
            Some(Report::Judged(verdict)) => verdict,
            other => panic!("{other:?}"),
        }
    }

    #[actix_rt::test]
    async fn a_verdict_is_told_and_kept() {
        let (validator, mut reports, folder) = start("market_data");
        validator.send(Validate { flag: None }).await.unwrap();
        let verdict = verdict(&mut reports).await;
        assert!(verdict.passed(), "{verdict:?}");
        assert_eq!(
            (verdict.expected, verdict.present, verdict.rows),
            (7 * 288, 7 * 288, 8 * 288)
        );
        let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        let kept = async {
            loop {
                let row = db.query_row("SELECT status, details FROM system_health", [], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                });
                match row {
                    Ok(row) => return row,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let (status, details) = tokio::time::timeout(Duration::from_secs(10), kept).await.unwrap();
        assert_eq!(status, "l0_passed");
        assert!(details.contains("\"present\":2016"), "{details}");
    }

    #[actix_rt::test]
    async fn the_seam_is_found_when_the_first_live_bar_is_there() {
        let (validator, _reports, folder) = start("market_data");
        let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source, provenance) \
                      VALUES ('USDCOP', ?1, 2, 3, 1, 2, 'candela', 'live')";
        db.execute(insert, [NOON.micros() + 600_000_000]).unwrap();
        let session = Session {
            date: NOON.datetime().date_naive(),
            opens: NOON,
            closes: NOON + Duration::from_secs(3_600),
            kind: crate::domain::session::SessionKind::Spot,
        };
        validator.send(MarkSeam(session)).await.unwrap();
        let kept = async {
            loop {
                let row = db.query_row("SELECT details FROM system_health WHERE status = 'seam'", [], |row| {
                    row.get(0)
                });
                match row {
                    Ok(row) => return row,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let details: String = tokio::time::timeout(Duration::from_secs(10), kept).await.unwrap();
        assert!(
            details.contains("\"last_history_bar\":\"2026-01-15T11:55:00Z\""),
            "{details}"
        );
        assert!(details.contains("\"missing\":2"), "{details}");
    }

    #[actix_rt::test]
    async fn a_table_that_is_not_there_is_a_verdict_and_the_last_question_is_answered_last() {
        let (validator, mut reports, _folder) = start("no_such_table");
        for rows in [None, Some(7), Some(8)] {
            let manifest = crate::domain::l0::Manifest {
                rows,
                ..Default::default()
            };
            validator
                .send(Validate {
                    flag: Some(Flag { at: NOON, manifest }),
                })
                .await
                .unwrap();
        }
        let first = verdict(&mut reports).await;
        assert_eq!((first.reason(), first.passed()), ("database_unreachable", false));
        assert!(first.message().contains("no_such_table"), "{}", first.message());
        let mut last = verdict(&mut reports).await;
        while last.flag.as_ref().and_then(|flag| flag.manifest.rows) != Some(8) {
            last = verdict(&mut reports).await;
        }
    }
}
