//! The lease of a database: one row that its holder renews by the database's own clock, each time in one statement, so that it works behind
//! a pooler too.
//!
//! Every write is fenced: its transaction locks the row with the term that it relies on, and writes nothing if that row no longer exists.
//! The lock (`FOR KEY SHARE`) allows renewals and blocks a takeover, which changes the term, a part of a key.

use crate::domain::cluster::LeaseFound;
use crate::domain::followers::lease::{Answer, Held, Holder, Succession};
use crate::domain::model::Timestamp;
use crate::limits;
use crate::store::{
    error::StoreError,
    postgres::{
        Postgres,
        sort::sort_error,
        way::{BEGIN_WITH_LIMITS, Made},
        write::WriteConnection,
    },
};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, SimpleQueryMessage};

const RENEW: &str = "UPDATE candela_lease SET expires_at = clock_timestamp() + $3 * interval '1 millisecond'
    WHERE name = 'writer' AND holder = $1 AND term = $2 RETURNING term";

/// Takes a lease that nobody has, that has expired, or that this ledger folder has; otherwise returns the holder.
const TAKE: &str = "WITH earlier AS (SELECT term, led_by, provable FROM candela_lease WHERE name = 'writer'), taken AS (
        INSERT INTO candela_lease AS lease (name, term, holder, host, pid, since, expires_at)
        VALUES ('writer', 1, $1, $2, $4, clock_timestamp(), clock_timestamp() + $3 * interval '1 millisecond')
        ON CONFLICT (name) DO UPDATE SET term = lease.term + 1, holder = excluded.holder, host = excluded.host, pid = excluded.pid,
            since = clock_timestamp(), expires_at = clock_timestamp() + $3 * interval '1 millisecond'
        WHERE lease.expires_at <= clock_timestamp() OR lease.holder = excluded.holder
        RETURNING term, holder, host, pid, since, expires_at)
    SELECT true, taken.term, taken.holder, host, pid, (extract(epoch FROM since) * 1000000)::bigint,
        (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint, earlier.term, earlier.led_by, earlier.provable
        FROM taken LEFT JOIN earlier ON true
    UNION ALL
    SELECT false, term, holder, host, pid, (extract(epoch FROM since) * 1000000)::bigint,
        (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint, NULL, NULL, NULL FROM candela_lease
    WHERE name = 'writer' AND NOT EXISTS (SELECT 1 FROM taken)";

/// Limits how long a leader that is stopped inside a transaction blocks its successor. The leader of a cluster gives up a database that
/// answers so late anyway.
const HOLDS: &str = "SET LOCAL idle_in_transaction_session_timeout = '2s'; ";

/// Selects the holder of the lease, unless it has expired.
const LOOK: &str = "SELECT holder, host, pid, (extract(epoch FROM since) * 1000000)::bigint,
        (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint FROM candela_lease
    WHERE name = 'writer' AND expires_at > clock_timestamp()";

/// Selects the present or last holder of the lease.
const LAST: &str = "SELECT holder, host, pid, (extract(epoch FROM since) * 1000000)::bigint,
        (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint FROM candela_lease WHERE name = 'writer'";

/// The whole row, also where the lease has run out.
const REPORT: &str = "SELECT holder, host, pid, (extract(epoch FROM since) * 1000000)::bigint,
        (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint, term, provable FROM candela_lease WHERE name = 'writer'";

const PROVE: &str = "UPDATE candela_lease SET provable = $3, led_by = $1 WHERE name = 'writer' AND holder = $1 AND term = $2 RETURNING term";

const RELEASE: &str =
    "UPDATE candela_lease SET expires_at = clock_timestamp() WHERE name = 'writer' AND holder = $1 AND term = $2";

/// A store's right to write.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// The holder that it is requested for; if empty, it is not requested, and nothing is fenced.
    by: OnceLock<Holder>,
    /// The last term granted, unless it is known to have ended; 0 if none.
    term: AtomicI64,
    /// Whether the lease was released and is not requested again.
    given_back: AtomicBool,
    /// Whether a lost lease is not taken again, because this ledger lacks what another process wrote meanwhile.
    for_leader: AtomicBool,
    /// The previous holder.
    succession: Mutex<Succession>,
}

impl Fence {
    /// A statement that returns a row if this process may write, and keeps it so until the transaction ends.
    pub(super) fn sql(&self) -> Result<String, StoreError> {
        let Some(by) = self.by.get() else {
            return Ok("SELECT 1".to_owned());
        };
        match self.term.load(Ordering::Relaxed) {
            0 => Err(StoreError::NoLease),
            term => Ok(format!(
                "SELECT 1 FROM candela_lease WHERE name = 'writer' AND term = {term} AND holder = '{}' FOR KEY SHARE",
                by.id.replace('\'', "''")
            )),
        }
    }

    /// Ends the term: the database has the lease under another one.
    pub(super) fn end_term(&self) -> StoreError {
        self.term.store(0, Ordering::Relaxed);
        StoreError::NoLease
    }

    fn given_back(&self) -> bool {
        self.given_back.load(Ordering::Relaxed)
    }

    fn succession(&self) -> MutexGuard<'_, Succession> {
        self.succession.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the leader of a cluster, which waits less long for a slow database.
    fn is_leaders(&self) -> bool {
        self.for_leader.load(Ordering::Relaxed)
    }

    /// For how long the lease is granted.
    fn ttl(&self) -> Duration {
        if self.is_leaders() {
            limits::LEADER_TTL
        } else {
            limits::LEASE_TTL
        }
    }

    /// How long one request for it may take.
    fn patience(&self) -> Duration {
        if self.is_leaders() {
            limits::LEADER_ANSWER
        } else {
            limits::LEASE_ANSWER
        }
    }

    /// Whether a lease was lost that must not be taken again.
    fn is_spent(&self) -> bool {
        self.is_leaders() && self.succession().term != 0
    }

    fn lacks_term(&self) -> bool {
        self.by.get().is_some() && self.term.load(Ordering::Relaxed) == 0
    }
}

impl WriteConnection {
    /// Begins a transaction in which this process has the right to write until its end, or fails.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let fence = self.fence.sql()?;
        let begin = if self.pooled { BEGIN_WITH_LIMITS } else { "BEGIN" };
        let holds = if self.fence.is_leaders() { HOLDS } else { "" };
        let begun = self.client.simple_query(&format!("{begin}; {holds}{fence}")).await;
        let fenced = self
            .count_answer(begun)
            .map_err(|error| sort_error(&error))
            .and_then(|said| {
                if said
                    .iter()
                    .any(|message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_)))
                {
                    Ok(())
                } else {
                    Err(self.fence.end_term())
                }
            });
        if fenced.is_err() {
            self.execute_sql("ROLLBACK").await?;
        }
        fenced
    }

    /// Checks whether this process has the right to write.
    pub(super) async fn look_at_fence(&self) -> Result<(), StoreError> {
        self.begin().await?;
        self.execute_sql("COMMIT").await
    }

    pub(super) async fn end<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        let ended = self.execute_sql(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
        done.and_then(|done| ended.map(|()| done))
    }
}

/// Reads a lease from a row, from column `first` on.
fn held(row: &Row, first: usize) -> Held {
    let pid: i64 = row.get(first + 2);
    let left_ms: i64 = row.get(first + 4);
    let by = Holder {
        id: row.get(first),
        host: row.get(first + 1),
        pid: u32::try_from(pid).unwrap_or(0),
        since: Timestamp::from_micros(row.get(first + 3)),
    };
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
    Held { by, left }
}

fn lease_found(row: &Row) -> LeaseFound {
    let left_ms: i64 = row.get(4);
    let term: i64 = row.get(5);
    LeaseFound {
        term: u64::try_from(term).unwrap_or(0),
        left: u64::try_from(left_ms)
            .ok()
            .filter(|left| *left > 0)
            .map(Duration::from_millis),
        provable: row.get(6),
        by: held(row, 0).by,
    }
}

impl Postgres {
    pub(in crate::store) fn claim(&self, by: Holder) {
        if self.fence.by.set(by).is_err() {
            tracing::debug!("the lease of the database is already being requested");
        }
    }

    pub(in crate::store) fn claim_for_leader(&self) {
        self.fence.for_leader.store(true, Ordering::Relaxed);
    }

    pub(in crate::store) fn has_given_back(&self) -> bool {
        self.fence.given_back()
    }

    pub(in crate::store) fn is_leaders(&self) -> bool {
        self.fence.is_leaders()
    }

    pub(in crate::store) fn succession(&self) -> Succession {
        self.fence.succession().clone()
    }

    /// Takes the lease if nobody has it. The request locks nothing while another process has it, so writers are not blocked.
    pub(in crate::store) async fn take_free_lease(&self) -> Result<Answer, StoreError> {
        self.take_lease_unless(LOOK).await
    }

    /// The same, but one that has run out is left to its holder.
    pub(in crate::store) async fn take_ownerless_lease(&self) -> Result<Answer, StoreError> {
        self.take_lease_unless(LAST).await
    }

    /// Takes the lease unless that query finds another holder.
    async fn take_lease_unless(&self, held_by: &str) -> Result<Answer, StoreError> {
        let Some(by) = self.fence.by.get() else {
            return Ok(Answer::Granted(0));
        };
        let taking = async {
            let mut slot = self.leasing.lock().await;
            let made = self.leasing_connection(&mut slot).await?;
            let none: [(&(dyn ToSql + Sync), Type); 0] = [];
            let found = made.client.query_typed_opt(held_by, &none).await;
            let found = found.map_err(|error| sort_error(&error))?.map(|row| held(&row, 0));
            let answer = match found.filter(|held| held.by.id != by.id) {
                Some(held) => Answer::Held(held),
                None => self.ask(&made, by).await?,
            };
            *slot = Some(made);
            Ok(answer)
        };
        let in_time = tokio::time::timeout(self.fence.patience(), taking).await;
        in_time.unwrap_or_else(|_| {
            Err(StoreError::Slow(
                "the request for the lease was not answered".to_owned(),
            ))
        })
    }

    /// The connection that requests the lease; the caller puts it back into the slot after an answer.
    async fn leasing_connection(&self, slot: &mut Option<Made>) -> Result<Made, StoreError> {
        if self.fence.given_back() {
            return Err(StoreError::NoLease);
        }
        match slot.take() {
            Some(made) if !made.client.is_closed() && made.generation == self.way.generation() => Ok(made),
            _ => self.way.connect().await,
        }
    }

    /// Records that this process leads, and whether the cluster log has everything that is published under this lease; `false` when another
    /// process has the lease by now.
    pub(in crate::store) async fn set_provable(&self, provable: bool) -> Result<bool, StoreError> {
        let Some(by) = self.fence.by.get() else {
            return Ok(false);
        };
        let saying = async {
            let mut slot = self.leasing.lock().await;
            let made = self.leasing_connection(&mut slot).await?;
            let term = self.fence.term.load(Ordering::Relaxed);
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&by.id, Type::TEXT), (&term, Type::INT8), (&provable, Type::BOOL)];
            let said = made.client.query_typed_opt(PROVE, &values).await;
            let said = said.map_err(|error| sort_error(&error))?;
            *slot = Some(made);
            Ok(said.is_some())
        };
        let in_time = tokio::time::timeout(self.fence.patience(), saying).await;
        in_time.unwrap_or_else(|_| Err(StoreError::Slow("the write to the lease was not answered".to_owned())))
    }

    /// The present holder of the lease, without requesting it; `None` if nobody has it, or if its table does not exist yet.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer in time.
    pub async fn lease_holder(&self) -> Result<Option<Held>, StoreError> {
        let looking = async {
            let made = self.way.connect().await?;
            let none: [(&(dyn ToSql + Sync), Type); 0] = [];
            let found = made.client.query_typed_opt(LOOK, &none).await;
            match found.map_err(|error| sort_error(&error)) {
                Ok(row) => Ok(row.map(|row| held(&row, 0))),
                Err(StoreError::WrongTables(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let in_time = tokio::time::timeout(limits::LEASE_ANSWER, looking).await;
        in_time.unwrap_or_else(|_| Err(StoreError::Slow("the query of the lease was not answered".to_owned())))
    }

    /// The row of the lease, whoever has it and whether it has run out; `None` where nobody ever had it.
    ///
    /// # Errors
    /// [`StoreError`] when nobody answers in time.
    pub async fn lease_report(&self) -> Result<Option<LeaseFound>, StoreError> {
        let looking = async {
            let made = self.way.connect().await?;
            let none: [(&(dyn ToSql + Sync), Type); 0] = [];
            let found = made.client.query_typed_opt(REPORT, &none).await;
            match found.map_err(|error| sort_error(&error)) {
                Ok(row) => Ok(row.map(|row| lease_found(&row))),
                Err(StoreError::WrongTables(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let in_time = tokio::time::timeout(limits::LEASE_ANSWER, looking).await;
        in_time.unwrap_or_else(|_| Err(StoreError::Slow("the lease was looked at in vain".to_owned())))
    }

    /// Requests the lease, or renews it.
    pub(in crate::store) async fn renew_lease(&self) -> Result<Answer, StoreError> {
        let Some(by) = self.fence.by.get() else {
            return Ok(Answer::Granted(0));
        };
        let renewing = async {
            let mut slot = self.leasing.lock().await;
            let made = self.leasing_connection(&mut slot).await?;
            let answer = self.ask(&made, by).await?;
            *slot = Some(made);
            Ok(answer)
        };
        let in_time = tokio::time::timeout(self.fence.patience(), renewing).await;
        in_time.unwrap_or_else(|_| {
            Err(StoreError::Slow(
                "the request for the lease was not answered".to_owned(),
            ))
        })
    }

    /// Requests the lease before a write, if it was not granted yet.
    pub(super) async fn ensure_lease(&self) -> Result<(), StoreError> {
        if self.fence.lacks_term() {
            self.renew_lease().await?;
        }
        Ok(())
    }

    async fn ask(&self, made: &Made, by: &Holder) -> Result<Answer, StoreError> {
        let ttl = i64::try_from(self.fence.ttl().as_millis()).unwrap_or(i64::MAX);
        let term = self.fence.term.load(Ordering::Relaxed);
        if term != 0 {
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&by.id, Type::TEXT), (&term, Type::INT8), (&ttl, Type::INT8)];
            let renewed = made.client.query_typed_opt(RENEW, &values).await;
            if renewed.map_err(|error| sort_error(&error))?.is_some() {
                return Ok(Answer::Granted(term));
            }
            tracing::warn!(term, "the lease of the database was taken over");
            self.fence.end_term();
        }
        if self.fence.is_spent() {
            return self.look_who(made).await;
        }
        let pid = i64::from(by.pid);
        let values: [(&(dyn ToSql + Sync), Type); 4] = [
            (&by.id, Type::TEXT),
            (&by.host, Type::TEXT),
            (&ttl, Type::INT8),
            (&pid, Type::INT8),
        ];
        let taken = made.client.query_typed_opt(TAKE, &values).await;
        let Some(row) = taken.map_err(|error| sort_error(&error))? else {
            return Err(StoreError::Conflict(
                "another takes the lease at this moment".to_owned(),
            ));
        };
        let mine: bool = row.get(0);
        let term: i64 = row.get(1);
        if mine {
            let before: Option<i64> = row.get(7);
            *self.fence.succession() = Succession {
                term,
                from: row.get(8),
                // A process that held the lease in between may have left anything.
                provable: row.get::<_, Option<bool>>(9).unwrap_or(true)
                    && before.is_none_or(|before| before == term - 1),
            };
            self.fence.term.store(term, Ordering::Relaxed);
            tracing::info!(term, "this process writes to the database");
            return Ok(Answer::Granted(term));
        }
        Ok(Answer::Held(held(&row, 2)))
    }

    /// The holder of the lease that this process lost.
    async fn look_who(&self, made: &Made) -> Result<Answer, StoreError> {
        let none: [(&(dyn ToSql + Sync), Type); 0] = [];
        let found = made.client.query_typed_opt(LAST, &none).await;
        match found.map_err(|error| sort_error(&error))? {
            Some(row) => Ok(Answer::Held(held(&row, 0))),
            None => Err(StoreError::NoLease),
        }
    }

    /// Releases the lease, so that no process has to wait until it expires.
    pub(in crate::store) async fn release_lease(&self) {
        let Some(by) = self.fence.by.get() else { return };
        self.fence.given_back.store(true, Ordering::Relaxed);
        let releasing = async {
            let mut slot = self.leasing.lock().await;
            let term = self.fence.term.swap(0, Ordering::Relaxed);
            if term == 0 {
                return Ok(());
            }
            let made = match slot.take() {
                Some(made) => made,
                None => self.way.connect().await?,
            };
            let values: [(&(dyn ToSql + Sync), Type); 2] = [(&by.id, Type::TEXT), (&term, Type::INT8)];
            let done = made.client.execute_typed(RELEASE, &values).await;
            done.map(drop).map_err(|error| sort_error(&error))
        };
        match tokio::time::timeout(limits::LEASE_RELEASE, releasing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the lease of the database runs out by itself"),
            Err(_) => tracing::debug!("the lease of the database runs out by itself"),
        }
    }
}
