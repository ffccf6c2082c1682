//! The way to the server: makes connections, and detects which server they lead to and whether it keeps a session.
//!
//! Two things may change while the service runs. After a failover the address leads to another server, while earlier connections still lead
//! to the old one, which may keep answering: so each new connection asks which server it reached, and if that is another one than before,
//! earlier connections are no longer used ([`Way::generation`]). And a pooler may hand each transaction to another connection: limits,
//! prepared statements and locks of a session then have no effect. That is detected by limits in the startup message that do not take
//! effect; see [`Way::keeps_no_session`].

use crate::limits;
use crate::store::{
    error::StoreError,
    postgres::{
        sort::{error_chain, sort_error},
        statement::Asking,
        tls,
        url::Address,
    },
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, SimpleQueryMessage, SimpleQueryRow, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Limits that the server enforces, even if this process fails.
const LIMITS: &str = "-c statement_timeout=25s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s";
/// The limit that shows whether they are in force.
const LIMIT_SHOWN: &str = "25s";
/// The same limits for one transaction, if no session keeps them.
pub(super) const BEGIN_WITH_LIMITS: &str = "BEGIN; SET LOCAL statement_timeout = '25s'; SET LOCAL lock_timeout = '5s'; \
    SET LOCAL idle_in_transaction_session_timeout = '30s'";
/// A server is identified by its start time, which no two share to the microsecond.
const WHO: &str = "SELECT pg_postmaster_start_time()::text, current_setting('statement_timeout')";

/// Makes connections to the server.
pub(super) struct Way {
    address: Address,
    tls: MakeRustlsConnect,
    /// Why the last connection failed; `None` if it succeeded.
    refusal: Mutex<Option<StoreError>>,
    /// Whether a pooler keeps no session. Never reset, because the cost is small.
    pooled: AtomicBool,
    /// The server that the newest connection leads to.
    server: Mutex<Option<String>>,
    /// The number of changes of the server.
    generation: AtomicU64,
}

/// A new connection.
pub(super) struct Made {
    pub(super) client: Client,
    pub(super) generation: u64,
    pub(super) pooled: bool,
}

type Tls = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

impl Way {
    pub(super) fn new(address: Address) -> Result<Self, StoreError> {
        let tls = tls::make_connector(&address)?;
        Ok(Self {
            address,
            tls,
            refusal: Mutex::default(),
            pooled: AtomicBool::new(false),
            server: Mutex::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// Makes a connection.
    pub(super) async fn connect(&self) -> Result<Made, StoreError> {
        let made = match tokio::time::timeout(limits::POSTGRES_GREETING, self.greet_server()).await {
            Ok(made) => made,
            Err(_) => Err(StoreError::Slow("the login took too long".to_owned())),
        };
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = made.as_ref().err().cloned();
        made
    }

    /// Makes a connection for queries.
    pub(super) async fn connect_to_read(&self) -> Result<Asking, StoreError> {
        let made = self.connect().await?;
        let begin = made.pooled.then_some(BEGIN_WITH_LIMITS);
        Ok(Asking::new(made.client, made.generation, begin))
    }

    /// Makes a connection for work that is a transaction of its own.
    pub(super) async fn connect_unlimited(&self) -> Result<Asking, StoreError> {
        let made = self.connect().await?;
        Ok(Asking::new(made.client, made.generation, None))
    }

    /// Why the last connection failed.
    pub(super) fn last_refusal(&self) -> Option<StoreError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Incremented when another server answers at the address. Earlier connections lead to a server that may have been demoted.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Relaxed)
    }

    /// From now on nothing relies on a session.
    pub(super) fn keeps_no_session(&self, because: &str) {
        if !self.pooled.swap(true, Ordering::Relaxed) {
            tracing::info!(
                because,
                "the database is reached by way of a pooler that keeps no session: each query is a transaction of its own, without \
                 prepared statements and COPY"
            );
        }
    }

    async fn greet_server(&self) -> Result<Made, StoreError> {
        let client = self.log_in().await?;
        let (server, limit) = match client.simple_query(WHO).await {
            Ok(answer) => server_and_limit(&answer),
            Err(error) if error.as_db_error().is_some() => (None, None),
            Err(error) => return Err(sort_error(&error)),
        };
        if limit.as_deref() != Some(LIMIT_SHOWN) {
            self.keeps_no_session("settings for the session do not take effect");
        }
        if self.is_pooled() {
            try_transaction(&client).await?;
        }
        Ok(Made {
            client,
            generation: self.note_server(server),
            pooled: self.is_pooled(),
        })
    }

    /// Logs in with limits for the session; without them if they are refused, as PgBouncer does.
    async fn log_in(&self) -> Result<Client, StoreError> {
        if !self.is_pooled() {
            match self.connect_client(&self.with_limits()).await {
                Err(error) if refuses_settings(&error) => {}
                made => return made.map_err(|error| sort_error(&error)),
            }
            let client = self
                .connect_client(&self.address.config)
                .await
                .map_err(|error| sort_error(&error))?;
            self.keeps_no_session("settings for the session are refused");
            return Ok(client);
        }
        self.connect_client(&self.address.config)
            .await
            .map_err(|error| sort_error(&error))
    }

    fn with_limits(&self) -> Config {
        let mut config = self.address.config.clone();
        let options = [config.get_options().unwrap_or_default(), LIMITS].join(" ");
        config.options(options.trim_start());
        config
    }

    async fn connect_client(&self, config: &Config) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = config.connect(self.tls.clone()).await?;
        spawn_connection(connection);
        Ok(client)
    }

    /// Notes which server the newest connection leads to. A server that does not report it counts as the previous one.
    fn note_server(&self, server: Option<String>) -> u64 {
        let mut known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = server
            && known.as_ref() != Some(&server)
        {
            if known.is_some() {
                self.generation.fetch_add(1, Ordering::Relaxed);
                tracing::info!(started = %server, "another database server answers: connections to the previous one are no longer used");
            }
            *known = Some(server);
        }
        self.generation()
    }
}

fn server_and_limit(answer: &[SimpleQueryMessage]) -> (Option<String>, Option<String>) {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    (text_at(row, 0), text_at(row, 1))
}

fn text_at(row: Option<&SimpleQueryRow>, at: usize) -> Option<String> {
    row.and_then(|row| row.try_get(at).ok().flatten())
        .map(ToOwned::to_owned)
}

/// PgBouncer in statement mode ends a connection that begins a transaction, with the state by which it says everything.
async fn try_transaction(client: &Client) -> Result<(), StoreError> {
    match client.simple_query("BEGIN").await {
        Err(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => {
            return Err(StoreError::NoTransaction(error_chain(&error)));
        }
        begun => begun.map_err(|error| sort_error(&error))?,
    };
    let ended = client.simple_query("ROLLBACK").await;
    ended.map(drop).map_err(|error| sort_error(&error))
}

/// A server accepts settings in the startup message; a refusal comes from something in between.
fn refuses_settings(error: &tokio_postgres::Error) -> bool {
    let class = error.code().and_then(|state| state.code().get(..2));
    matches!(class, Some("08" | "0A" | "22" | "42"))
}

/// Drives the socket of a connection until either side closes it.
#[expect(
    clippy::disallowed_methods,
    reason = "it ends with the client that owns it, and cannot panic on data"
)]
fn spawn_connection(connection: Connection<Socket, Tls>) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error_chain(&error), "the store's connection ended");
        }
    });
}
