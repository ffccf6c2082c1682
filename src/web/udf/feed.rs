//! The routes of the data feed: each reads the request and answers in the library's format, also when it refuses.

use crate::domain::model::{Bar, Interval, Symbol, Timestamp};
use crate::limits;
use crate::store::{BarQuery, GapQuery, Store, StoreError};
use crate::web::shared::{Access, BarHistory, EVER, Thread};
use crate::web::udf::{compose, market};
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use chrono::{Datelike, NaiveDate};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// A refusal, in a sentence.
type Refused = String;

/// One request of the library.
struct ChartQuestion {
    thread: Rc<Thread>,
    given: BTreeMap<String, String>,
    access: Access,
}

impl ChartQuestion {
    fn of(request: &HttpRequest) -> Result<Self, Refused> {
        let thread = Thread::of(request).map_err(|trouble| trouble.to_string())?;
        let given = web::Query::<BTreeMap<String, String>>::from_query(request.query_string());
        let given = given.map_err(|error| format!("the query string cannot be read: {error}"))?;
        let access = request.extensions().get::<Access>().cloned();
        Ok(Self {
            thread,
            given: given.into_inner(),
            access: access.unwrap_or(Access::Refused),
        })
    }

    fn text(&self, name: &str) -> Result<&str, Refused> {
        let text = self.given.get(name).map(String::as_str);
        text.ok_or_else(|| format!("{name} is missing"))
    }

    /// The pairs that this client may request.
    fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        let all = self.thread.common.symbols.iter().copied();
        all.filter(|symbol| self.access.may(*symbol))
    }

    /// A pair by its name, with or without the exchange before it.
    fn named(&self, text: &str) -> Result<Symbol, Refused> {
        let name = text.rsplit_once(':').map_or(text, |(_, name)| name);
        let symbol = self.thread.symbol(name).map_err(|trouble| trouble.to_string())?;
        self.access
            .may(symbol)
            .then_some(symbol)
            .ok_or_else(|| format!("this token does not give access to {symbol}"))
    }

    fn symbol(&self) -> Result<Symbol, Refused> {
        self.named(self.text("symbol")?)
    }

    fn interval(&self) -> Result<Interval, Refused> {
        let text = self.text("resolution")?;
        let made = &self.thread.common.intervals;
        compose::interval(text, made).ok_or_else(|| {
            let there = compose::resolutions(made).join(", ");
            format!("resolution: {:?} is not one of {there}", cut(text))
        })
    }

    /// An instant in Unix seconds.
    fn instant(&self, name: &str) -> Result<Timestamp, Refused> {
        let text = self.text(name)?;
        let secs: Option<i64> = text.parse().ok();
        secs.map(|secs: i64| Timestamp::from_secs(secs.clamp(EVER.0.secs(), EVER.1.secs())))
            .ok_or_else(|| format!("{name}: {:?} is not a whole number of seconds", cut(text)))
    }

    /// `from` and `to`.
    fn stretch(&self) -> Result<(Timestamp, Timestamp), Refused> {
        let from = self.instant("from")?;
        let to = self.instant("to")?;
        (from <= to)
            .then_some((from, to))
            .ok_or_else(|| "to is before from".to_owned())
    }

    /// The requested number of bars, at most a page.
    fn count(&self, name: &str) -> Result<Option<u32>, Refused> {
        self.given
            .get(name)
            .map(|text: &String| {
                let count: Option<u32> = text.parse().ok().filter(|count| *count > 0);
                count
                    .map(|count| count.min(limits::REST_PAGE_MAX))
                    .ok_or_else(|| format!("{name}: {:?} is not a whole number above 0", cut(text)))
            })
            .transpose()
    }

    fn store(&self) -> Result<&Store, Refused> {
        let store = self.thread.common.store.as_ref();
        store.ok_or_else(|| "this process keeps no history".to_owned())
    }

    async fn bars(&self, query: BarQuery) -> Result<Vec<Bar>, Refused> {
        let history = BarHistory::of(&self.thread, self.store()?.clone(), query.symbol);
        let found = history.read(query).await.map_err(|error| unread(&error))?;
        Ok(found.into_iter().map(|stored| stored.bar).collect())
    }

    /// Every bar of a stretch: the library takes a missing bar for a time without bars.
    async fn whole(
        &self,
        symbol: Symbol,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, Refused> {
        let mut bars = Vec::new();
        for _ in 0..limits::UDF_PAGES {
            let from = bars
                .last()
                .map_or(from, |bar: &Bar| bar.key.opens_at + Duration::from_micros(1));
            let page = BarQuery::between(symbol, interval, from, to, limits::REST_PAGE_MAX);
            let page = self.bars(page).await?;
            let full = u32::try_from(page.len()).is_ok_and(|rows| rows >= limits::REST_PAGE_MAX);
            bars.extend(page);
            if !full {
                return Ok(bars);
            }
        }
        let most = limits::UDF_PAGES * usize::try_from(limits::REST_PAGE_MAX).unwrap_or(usize::MAX);
        Err(format!(
            "from: the stretch has more than {most} bars; request a shorter one, or use countback"
        ))
    }

    /// The latest bars before `to`.
    async fn latest(&self, symbol: Symbol, interval: Interval, to: Timestamp, limit: u32) -> Result<Vec<Bar>, Refused> {
        let latest = BarQuery {
            latest: true,
            ..BarQuery::between(symbol, interval, EVER.0, to, limit)
        };
        self.bars(latest).await
    }
}

fn unread(error: &StoreError) -> Refused {
    tracing::warn!(%error, "failed to read the store for a client");
    "the database cannot be read now; live data continues".to_owned()
}

/// A client's text, cut to a length that is safe to show.
fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The library reads the body whatever the status is; a refusal has its own format.
fn answer(found: Result<Value, Refused>) -> HttpResponse {
    let body = found.unwrap_or_else(|refused| compose::error(&refused));
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .json(body)
}

/// `GET /udf/config`.
pub(crate) async fn config(request: HttpRequest) -> HttpResponse {
    let question = ChartQuestion::of(&request);
    answer(question.map(|question| compose::config(&question.thread.common.intervals)))
}

/// `GET /udf/time`.
pub(crate) async fn time(request: HttpRequest) -> HttpResponse {
    match ChartQuestion::of(&request) {
        Ok(question) => HttpResponse::Ok()
            .content_type("text/plain")
            .body(question.thread.registry.clock().now().secs().to_string()),
        Err(refused) => answer(Err(refused)),
    }
}

/// `GET /udf/search`.
pub(crate) async fn search(request: HttpRequest) -> HttpResponse {
    let found = ChartQuestion::of(&request).and_then(|question| {
        let wanted = question
            .given
            .get("query")
            .map_or("", String::as_str)
            .to_ascii_uppercase();
        let wanted = wanted.rsplit(':').next().unwrap_or_default().replace('/', "");
        let kind = question.given.get("type").map_or("", String::as_str);
        let exchange = question.given.get("exchange").map_or("", String::as_str);
        let is_ours = exchange.is_empty() || exchange.eq_ignore_ascii_case("candela");
        let most = question.count("limit")?.unwrap_or(limits::REST_PAGE);
        let fitting = question
            .symbols()
            .filter(|symbol: &Symbol| symbol.compact().contains(&wanted) && is_ours && matches!(kind, "" | "forex"))
            .map(compose::found);
        Ok(fitting.take(usize::try_from(most).unwrap_or(usize::MAX)).collect())
    });
    answer(found)
}

/// `GET /udf/symbols`.
pub(crate) async fn symbols(request: HttpRequest) -> HttpResponse {
    answer(symbol_info(&request).await)
}

async fn symbol_info(request: &HttpRequest) -> Result<Value, Refused> {
    let question = ChartQuestion::of(request)?;
    let symbol = question.symbol()?;
    let thread = &question.thread;
    let calendar = thread.calendar(symbol);
    let calendar = calendar.ok_or_else(|| format!("{symbol} has no calendar here"))?;
    let zone = thread.zones.of(symbol);
    let bars = match thread.common.store {
        Some(_) => {
            question
                .latest(symbol, Interval::BASE, EVER.1, limits::REST_PAGE)
                .await?
        }
        None => Vec::new(),
    };
    let now = thread.registry.clock().now().datetime().with_timezone(&zone).year();
    let oldest = bars.first().map_or(now, |bar| bar.session_date.year());
    let first = NaiveDate::from_ymd_opt(oldest.min(now) - limits::UDF_CALENDAR_YEARS, 1, 1).unwrap_or_default();
    let last = NaiveDate::from_ymd_opt(now + 1, 12, 31).unwrap_or_default();
    let hours = market::TradedHours::of(calendar.as_ref(), first, last);
    let decimals = market::decimals(&bars);
    Ok(market::symbol(symbol, zone, &hours, decimals, &thread.common.intervals))
}

/// `GET /udf/history`.
pub(crate) async fn history(request: HttpRequest) -> HttpResponse {
    answer(bars_of(&request).await)
}

async fn bars_of(request: &HttpRequest) -> Result<Value, Refused> {
    let question = ChartQuestion::of(request)?;
    let symbol = question.symbol()?;
    let interval = question.interval()?;
    let zone = question.thread.zones.of(symbol);
    let countback = question.count("countback")?;
    let (from, to) = match countback {
        Some(_) => (EVER.0, question.instant("to")?), // a count of bars overrides `from`
        None => question.stretch()?,
    };
    let (from, to) = compose::opens(interval, from, to, zone);
    let found = match countback {
        Some(count) => question.latest(symbol, interval, to, count).await?,
        None => question.whole(symbol, interval, from, to).await?,
    };
    let before = if found.is_empty() {
        question.latest(symbol, interval, from, 1).await?
    } else {
        Vec::new()
    };
    Ok(compose::history(&found, before.last()))
}

/// The marks of a stretch: gaps, bars and the seam.
struct ChartMarks {
    gaps: Vec<compose::ChartMark>,
    bars: Vec<compose::ChartMark>,
    seam: Option<compose::ChartMark>,
}

async fn marked(request: &HttpRequest) -> Result<ChartMarks, Refused> {
    let question = ChartQuestion::of(request)?;
    let symbol = question.symbol()?;
    let interval = question.interval()?;
    let (from, to) = question.stretch()?;
    let gaps = GapQuery {
        symbol,
        from,
        to,
        status: None,
        cursor: None,
        limit: limits::REST_PAGE_MAX,
    };
    let gaps = question
        .store()?
        .read_gaps(gaps)
        .await
        .map_err(|error| unread(&error))?;
    let gaps: Vec<_> = gaps.into_iter().map(|stored| stored.gap).collect();
    let (opens, before) = compose::opens(interval, from, to, question.thread.zones.of(symbol));
    let bars = BarQuery {
        latest: true,
        ..BarQuery::between(symbol, interval, opens, before, limits::REST_PAGE_MAX)
    };
    let bars = question.bars(bars).await?;
    let view = question.thread.view();
    let seam = view.seams.get(&symbol);
    Ok(ChartMarks {
        gaps: compose::gap_marks(&gaps, from),
        bars: compose::bar_marks(&bars),
        seam: seam.and_then(|seam| compose::seam_mark(seam, from, to)),
    })
}

/// `GET /udf/marks`: marks on the bars.
pub(crate) async fn marks(request: HttpRequest) -> HttpResponse {
    let marked = marked(&request).await;
    answer(marked.map(|marked| compose::marks([marked.gaps, marked.bars].concat())))
}

/// `GET /udf/timescale_marks`: marks below the bars.
pub(crate) async fn timescale_marks(request: HttpRequest) -> HttpResponse {
    let marked = marked(&request).await;
    answer(marked.map(|marked| compose::timescale_marks(marked.gaps.into_iter().chain(marked.seam).collect())))
}

/// `GET /udf/quotes`.
pub(crate) async fn quotes(request: HttpRequest) -> HttpResponse {
    answer(quotes_of(&request).await)
}

async fn quotes_of(request: &HttpRequest) -> Result<Value, Refused> {
    let question = ChartQuestion::of(request)?;
    let mut quotes = Vec::new();
    let names: Vec<&str> = question.text("symbols")?.split(',').collect();
    if names.len() > limits::CLIENT_CHANNELS {
        let most = limits::CLIENT_CHANNELS;
        return Err(format!(
            "symbols: {} are named; one request may name {most}",
            names.len()
        ));
    }
    for name in names {
        let symbol = match question.named(name.trim()) {
            Ok(symbol) => symbol,
            Err(refused) => {
                quotes.push(json!({"s": "error", "n": cut(name), "v": {}, "errmsg": refused}));
                continue;
            }
        };
        let last = question.thread.registry.latest.borrow().get(&symbol).copied();
        let bars = match question.thread.common.store {
            Some(_) => {
                question
                    .latest(symbol, Interval::BASE, EVER.1, limits::REST_PAGE)
                    .await?
            }
            None => Vec::new(),
        };
        let sessions = question.thread.calendar(symbol);
        let begun = last.and_then(|last| sessions?.at(last.tick.at));
        quotes.push(compose::quote(
            symbol,
            last.as_ref(),
            begun.map(|begun| begun.date),
            &bars,
        ));
    }
    Ok(json!({"s": "ok", "d": quotes}))
}
