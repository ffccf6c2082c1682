//! The state that the routes of one HTTP worker thread share: its registry of clients, its fan-out shard, and the views.

use crate::actors::fanout::{self, ClientRegistry, Fanout};
use crate::actors::messages::{RunAction, Subscribe, Unsubscribe};
use crate::domain::model::{Interval, Sessions, Symbol};
use crate::domain::protocol::Close;
use crate::ledger::LedgerReader;
use crate::measures::Measures;
use crate::store::Store;
use crate::views::ServiceView;
use crate::web::shared::{Door, FileThread, HttpError, RememberedActions, Tokens, door::full, query::find_nearest};
use actix::{Addr, Recipient};
use actix_web::HttpRequest;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Starts the fan-out shard of worker thread number `n` on the current thread, and returns its address. The caller decides how the shard is
/// supervised and who sends it `Recorded`.
pub type StartShard = Arc<dyn Fn(usize, fanout::Deps) -> Addr<Fanout> + Send + Sync>;

/// A request to end all sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// The close code: going away or restarting.
    pub close: Close,
    /// Over how long the closes are spread.
    pub over: Duration,
    /// When the clients should reconnect.
    pub reconnect_after: Duration,
}

/// What all threads share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) symbols: Arc<[Symbol]>,
    pub(crate) intervals: Arc<[Interval]>,
    pub(crate) origins: Arc<[String]>,
    pub(crate) door: Arc<Door>,
    pub(crate) store: Option<Store>,
    pub(crate) journal: Option<Arc<Mutex<LedgerReader>>>,
    pub(crate) calendars: Arc<[(Symbol, Arc<dyn Sessions>)]>,
    pub(crate) tokens: Option<Arc<Tokens>>,
    pub(crate) query_tokens: bool,
    pub(crate) twelvedata: bool,
    pub(crate) pattern: bool,
    /// Event streams that one thread may hold.
    pub(crate) streams_a_worker: usize,
    pub(crate) view: watch::Receiver<Arc<ServiceView>>,
    pub(crate) drain: watch::Receiver<Option<Drain>>,
    pub(crate) measures: Measures,
    /// Makes long files for all threads.
    pub(crate) files: FileThread,
    /// Root, which runs the actions that operators request; `None` on an edge.
    pub(crate) run_action: Option<Recipient<RunAction>>,
    pub(crate) actions: Arc<RememberedActions>,
    #[cfg(feature = "test-hooks")]
    pub(crate) hooks: crate::web::shared::hooks::Hooks,
}

/// The state of one worker thread.
pub(crate) struct Thread {
    pub(crate) registry: Rc<ClientRegistry>,
    pub(crate) zones: crate::domain::protocol::Zones,
    pub(crate) subscribe: Recipient<Subscribe>,
    pub(crate) unsubscribe: Recipient<Unsubscribe>,
    pub(crate) common: Common,
    /// Event streams that are open now.
    pub(crate) streams: Cell<usize>,
}

/// A permit for one of a thread's event streams; given back when dropped.
pub(crate) struct StreamPlace(Rc<Thread>);

impl StreamPlace {
    /// Takes a permit, or fails if all are taken.
    pub(crate) fn take(thread: &Rc<Thread>) -> Result<Self, HttpError> {
        let held = thread.streams.get();
        if held >= thread.common.streams_a_worker {
            return Err(full(
                "no more event streams are accepted now: try again later, or use the WebSocket at /ws",
            ));
        }
        thread.streams.set(held.saturating_add(1));
        Ok(Self(Rc::clone(thread)))
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
    }
}

impl Thread {
    /// The thread that serves `request`.
    pub(crate) fn of(request: &HttpRequest) -> Result<Rc<Self>, HttpError> {
        let thread = request.app_data::<Rc<Self>>().map(Rc::clone);
        thread.ok_or_else(|| HttpError::unavailable("not_ready", "the service is starting"))
    }

    /// The published view of the service; a stale one is replaced by one that says so.
    pub(crate) fn view(&self) -> Arc<ServiceView> {
        let view = Arc::clone(&self.common.view.borrow());
        if view.fresh() {
            return view;
        }
        Arc::new(view.outdated(self.registry.clock().now()))
    }

    /// The calendar of a pair, if it has one here.
    pub(crate) fn calendar(&self, symbol: Symbol) -> Option<Arc<dyn Sessions>> {
        let mut calendars = self.common.calendars.iter();
        let found = calendars.find(|(known, _)| *known == symbol);
        found.map(|(_, sessions)| Arc::clone(sessions))
    }

    /// Reads a symbol in any spelling, if it is served here.
    pub(crate) fn symbol(&self, text: &str) -> Result<Symbol, HttpError> {
        let parsed = text.parse::<Symbol>().ok();
        let found = parsed.filter(|symbol| self.common.symbols.contains(symbol));
        found.ok_or_else(|| self.not_served(unknown_symbol(text, &self.common.symbols)))
    }

    /// The error that lists the pairs that are served.
    pub(crate) fn not_served(&self, message: String) -> HttpError {
        let names = self.common.symbols.iter();
        let names = names.map(|symbol| serde_json::json!(symbol.as_str())).collect();
        HttpError::not_found("unknown_symbol", message).with("symbols", serde_json::Value::Array(names))
    }
}

/// A sentence with the requested symbol, and the one that may have been meant.
pub(crate) fn unknown_symbol(text: &str, symbols: &[Symbol]) -> String {
    let asked: String = text.chars().take(20).collect();
    let upper = asked.to_ascii_uppercase();
    let shows = !asked.is_empty() && asked.chars().all(|letter| letter.is_ascii_graphic());
    let asked = if shows { asked } else { format!("{asked:?}") };
    match find_nearest(&upper, symbols.iter().map(Symbol::as_str), 2) {
        Some(symbol) => format!("{asked} is not served here; did you mean {symbol}?"),
        None => format!("{asked} is not served here"),
    }
}
