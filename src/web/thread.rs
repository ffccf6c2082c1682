//! What the routes of one HTTP worker thread share: its deck of clients, its fan-out shard, and the views.

use crate::actors::deck::Deck;
use crate::actors::fanout::{Fanout, Parts};
use crate::actors::messages::{Attach, Detach};
use crate::domain::interval::Interval;
use crate::domain::session::Sessions;
use crate::domain::symbol::Symbol;
use crate::store::Store;
use crate::views::ServiceView;
use crate::web::door::Door;
use crate::web::problem::Trouble;
use crate::web::server::Drain;
use crate::web::tokens::Tokens;
use actix::{Addr, Recipient};
use actix_web::HttpRequest;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;

/// Starts the fan-out shard of worker thread number `n` on the current thread, and gives its address. The caller decides who
/// supervises it and who tells it what was recorded.
pub type StartShard = Arc<dyn Fn(usize, Parts) -> Addr<Fanout> + Send + Sync>;

/// What does not differ between threads.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) symbols: Arc<[Symbol]>,
    pub(super) intervals: Arc<[Interval]>,
    pub(super) origins: Arc<[String]>,
    pub(super) door: Arc<Door>,
    pub(super) store: Option<Store>,
    pub(super) calendars: Arc<[(Symbol, Arc<dyn Sessions>)]>,
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) query_tokens: bool,
    pub(super) pattern: bool,
    pub(super) view: watch::Receiver<Arc<ServiceView>>,
    pub(super) drain: watch::Receiver<Option<Drain>>,
    #[cfg(feature = "test-hooks")]
    pub(super) hooks: crate::web::hooks::Hooks,
}

/// One worker thread.
pub(super) struct Thread {
    pub(super) deck: Rc<Deck>,
    pub(super) zones: crate::domain::frames::Zones,
    pub(super) attach: Recipient<Attach>,
    pub(super) detach: Recipient<Detach>,
    pub(super) common: Common,
}

impl Thread {
    /// The thread that serves `request`.
    pub(super) fn of(request: &HttpRequest) -> Result<Rc<Self>, Trouble> {
        let thread = request.app_data::<Rc<Self>>().map(Rc::clone);
        thread.ok_or_else(|| Trouble::unavailable("not_ready", "the service is starting"))
    }

    /// The published view of the service; one that is too old says so of itself.
    pub(super) fn view(&self) -> Arc<ServiceView> {
        let view = Arc::clone(&self.common.view.borrow());
        if view.fresh() {
            return view;
        }
        Arc::new(view.outdated(self.deck.clock().now()))
    }

    /// Reads a symbol in any spelling, if it is served here.
    pub(super) fn symbol(&self, text: &str) -> Result<Symbol, Trouble> {
        let parsed = text.parse::<Symbol>().ok();
        let found = parsed.filter(|symbol| self.common.symbols.contains(symbol));
        found.ok_or_else(|| self.not_served(unknown_symbol(text, &self.common.symbols)))
    }

    /// An answer that lists what is served.
    pub(super) fn not_served(&self, message: String) -> Trouble {
        let names = self.common.symbols.iter();
        let names = names.map(|symbol| serde_json::json!(symbol.as_str())).collect();
        Trouble::not_found("unknown_symbol", message).with("symbols", serde_json::Value::Array(names))
    }
}

/// A sentence that names what was asked for, and what may have been meant.
pub(super) fn unknown_symbol(text: &str, symbols: &[Symbol]) -> String {
    let asked: String = text.chars().take(20).collect();
    let upper = asked.to_ascii_uppercase();
    let shows = !asked.is_empty() && asked.chars().all(|letter| letter.is_ascii_graphic());
    let asked = if shows { asked } else { format!("{asked:?}") };
    let near = |symbol: &&Symbol| strsim::damerau_levenshtein(&upper, symbol.as_str());
    match symbols.iter().min_by_key(near).filter(|symbol| near(symbol) <= 2) {
        Some(symbol) => format!("{asked} is not served here; did you mean {symbol}?"),
        None => format!("{asked} is not served here"),
    }
}
