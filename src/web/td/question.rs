//! A request of a vendor's client: its parameters, the pairs that they name, and what its key allows.

use crate::domain::model::{Interval, Sessions, Symbol, Timestamp};
use crate::domain::vendor::{ApiError, Params, SeriesInterval, SeriesQuestion};
use crate::limits;
use crate::store::{BarQuery, StoreError};
use crate::web::shared::{Access, EVER, Thread, layers};
use crate::web::td::compose::Bars;
use crate::web::td::long_bars::{LongBar, LongBars};
use actix_web::{HttpRequest, web};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One request.
pub(crate) struct TdQuestion {
    pub(super) thread: Rc<Thread>,
    pub(super) params: Params,
    pub(super) access: Access,
}

impl TdQuestion {
    /// Reads the request, and checks its key.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let thread = Thread::of(request).map_err(|trouble| ApiError::new(503, trouble.to_string()))?;
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|error| ApiError::new(400, format!("the query string cannot be read: {error}")))?;
        let params = Params::new(pairs.into_inner());
        let access = Access::of(&thread, shown_key(request, &params).as_deref());
        if matches!(access, Access::Awaited | Access::Refused) {
            let message = "**apikey** parameter is incorrect or not specified: it is a token of this service";
            return Err(ApiError::new(401, message));
        }
        Ok(Self { thread, params, access })
    }

    /// The pairs that its key allows.
    pub(super) fn open(&self) -> impl Iterator<Item = Symbol> + '_ {
        let all = self.thread.common.symbols.iter().copied();
        all.filter(|symbol| self.access.may(*symbol))
    }

    /// The names in `symbol`.
    pub(super) fn names(&self) -> Result<Vec<&str>, ApiError> {
        let list = self.params.get("symbol").unwrap_or_default();
        let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        match names.len() {
            0 => Err(ApiError::unknown_symbol("nothing")),
            many if many > limits::TD_BATCH => {
                let message = format!(
                    "{many} symbols are requested; one request may name {}",
                    limits::TD_BATCH
                );
                Err(ApiError::new(414, message))
            }
            _ => Ok(names),
        }
    }

    /// Whether what the request says of the exchange and the kind of symbol fits pairs of currencies, and this pair.
    pub(super) fn is_exchange_of_pairs(&self, pair: Option<&Symbol>) -> bool {
        let name = pair.map_or("", Symbol::as_str);
        self.is_one_of("exchange", &["PHYSICAL CURRENCY", "FOREX", name])
            && self.is_one_of("type", &["PHYSICAL CURRENCY", "FOREX"])
            && ["mic_code", "country"]
                .iter()
                .all(|name| self.params.get(name).is_none())
    }

    /// Whether a parameter is not given, or is one of these, with blanks or underscores.
    fn is_one_of(&self, name: &str, allowed: &[&str]) -> bool {
        let given = self.params.get(name).map(|given| given.replace('_', " "));
        given.is_none_or(|given| allowed.iter().any(|allowed| given.eq_ignore_ascii_case(allowed)))
    }

    /// A pair by its name.
    pub(super) fn symbol(&self, name: &str) -> Result<Symbol, ApiError> {
        if !self.is_exchange_of_pairs(None) {
            return Err(ApiError::unknown_symbol(&format!(
                "{name} with an exchange, type or country of no pair"
            )));
        }
        let symbol = self.thread.symbol(name).map_err(|_| ApiError::unknown_symbol(name))?;
        if self.access.may(symbol) {
            return Ok(symbol);
        }
        Err(ApiError::new(403, format!("this key does not give access to {symbol}")))
    }

    /// Our interval whose bars answer for this interval of the vendor's; `None` if they are made of five-minute bars.
    pub(super) fn ours(&self, asked: SeriesInterval) -> Result<Option<Interval>, ApiError> {
        let made = &self.thread.common.intervals;
        let Some(missing) = asked.ours().filter(|interval| !made.contains(interval)) else {
            return Ok(asked.ours());
        };
        let there = SeriesInterval::ALL.into_iter();
        let there = there.filter(|interval| interval.ours() != Some(missing));
        let names: Vec<&str> = there.map(SeriesInterval::name).collect();
        let message = format!(
            "Invalid **interval** provided: {} is not made here; there are {}",
            asked.name(),
            names.join(", ")
        );
        Err(ApiError::new(400, message))
    }

    /// The calendar of a pair.
    pub(super) fn calendar(&self, symbol: Symbol) -> Option<Arc<dyn Sessions>> {
        self.thread.calendar(symbol)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.thread.registry.clock().now()
    }

    /// The bars of a stretch, the earliest first.
    pub(super) async fn bars(&self, query: BarQuery) -> Result<Bars, ApiError> {
        let store = self.thread.common.store.as_ref();
        let store = store.ok_or_else(|| ApiError::new(503, "this process keeps no history"))?;
        let found = store.read_bars(query).await.map_err(|error: StoreError| {
            tracing::warn!(%error, "failed to read the store for a client");
            ApiError::new(503, "the database cannot be read now; live data continues")
        })?;
        Ok(found.into_iter().map(|stored| stored.bar).collect())
    }

    /// The latest bars.
    pub(super) async fn latest(&self, symbol: Symbol, interval: Interval, limit: u32) -> Result<Bars, ApiError> {
        let query = BarQuery::between(symbol, interval, EVER.0, EVER.1, limit);
        self.bars(BarQuery { latest: true, ..query }).await
    }

    /// Our bars that answer `/time_series`, the earliest first.
    pub(super) async fn series_bars(
        &self,
        asked: &SeriesQuestion,
        symbol: Symbol,
        interval: Interval,
    ) -> Result<Bars, ApiError> {
        let from = asked.from.clamp(EVER.0, EVER.1);
        let to = asked.to.clamp(EVER.0, EVER.1);
        let limit = u32::try_from(asked.count).unwrap_or(limits::REST_PAGE_MAX);
        let query = BarQuery::between(symbol, interval, from, to, limit);
        self.bars(BarQuery { latest: true, ..query }).await
    }

    /// The longer bars that answer `/time_series`, the earliest first.
    pub(super) async fn series_long_bars(
        &self,
        asked: &SeriesQuestion,
        symbol: Symbol,
    ) -> Result<Vec<LongBar>, ApiError> {
        let span = asked.interval.span();
        let from = asked.from.clamp(EVER.0, EVER.1);
        let to = asked.to.clamp(EVER.0, EVER.1);
        let within = span.floor(from);
        let from = if within == from { from } else { span.end(within) };
        let mut to = span.end(span.floor(to - Duration::from_micros(1)));
        let mut bars = LongBars::new(span, self.calendar(symbol), self.now());
        for _ in 0..limits::TD_PART_PAGES {
            let query = BarQuery::between(symbol, Interval::BASE, from, to, limits::REST_PAGE_MAX);
            let page = self.bars(BarQuery { latest: true, ..query }).await?;
            for part in page.iter().rev() {
                bars.add(part);
            }
            let full = u32::try_from(page.len()).is_ok_and(|rows| rows >= limits::REST_PAGE_MAX);
            match page.first() {
                Some(first) if full && !bars.has(asked.count) => to = first.key.opens_at,
                _ => return Ok(bars.finish(asked.count)),
            }
        }
        let message = "the answer would be made of more than a million bars of five minutes; request a shorter stretch with **start_date**, or for fewer bars with **outputsize**";
        Err(ApiError::new(400, message))
    }
}

/// The key: in the address, in a header of the vendor's, or as our own clients present it.
fn shown_key(request: &HttpRequest, params: &Params) -> Option<String> {
    let authorization = header_text(request, "authorization");
    let named = authorization.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("apikey").then_some(key.trim())
    });
    let shown = params
        .get("apikey")
        .or(named)
        .or_else(|| header_text(request, "x-td-apikey"));
    shown.or_else(|| layers::bearer(request)).map(str::to_owned)
}

fn header_text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}
