//! The logs of channels in the store: every durable message of bars and quality, by epoch and seq. Replays use them when the ledger has
//! removed a day.

use crate::domain::model::{Channel, Epoch, Event, Position, Sequenced, Timestamp, Topic};
pub use crate::domain::protocol::LogSpan;
use crate::store::{
    answer::{BarOut, Damage, convert},
    error::StoreError,
    query::{BarQuery, StoredBar},
    sql::Dialect,
    values::Instant,
};
use diesel::sql_types::{BigInt, Nullable};
use diesel::{Queryable, QueryableByName};

/// An instant before every message.
const NEVER: Timestamp = Timestamp::from_secs(-2_208_988_800);

/// A range of one channel's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// The channel.
    pub channel: Channel,
    /// The channel's epoch.
    pub epoch: Epoch,
    /// The first seq.
    pub from: u64,
    /// The last seq.
    pub to: u64,
}

impl LogQuery {
    /// Whether stores keep the log of a topic.
    pub const fn is_kept(topic: Topic) -> bool {
        matches!(topic, Topic::Bars(_) | Topic::Quality)
    }

    /// The pair as the tables spell it.
    pub(super) fn symbol_text(&self) -> String {
        let pair = self.channel.pair();
        pair.map_or_else(String::new, |symbol| symbol.compact())
    }

    /// The second parameter of the statements: an interval's name, or `none` for a channel without an interval.
    pub(super) fn interval_text(&self) -> &'static str {
        match self.channel.topic {
            Topic::Bars(interval) => interval.name(),
            Topic::Quality | Topic::Ticks | Topic::Session | Topic::Events => "none",
        }
    }
}

/// The last parameter of a query for a span.
pub(super) const fn instant_before(before: Option<Timestamp>) -> i64 {
    match before {
        Some(at) => at.micros(),
        None => NEVER.micros(),
    }
}

impl Dialect {
    /// Selects the rows of a log. Parameters: symbol, interval, epoch, from, to.
    fn log_rows(self, topic: Topic) -> String {
        let (table, interval) = match topic {
            Topic::Bars(_) => ("bar_revisions", "\"interval\" ="),
            Topic::Quality | Topic::Ticks | Topic::Session | Topic::Events => ("quality_log", "'none' ="),
        };
        format!(
            "{table} WHERE symbol = {} AND {interval} {} AND epoch = {} AND seq BETWEEN {} AND {}",
            self.parameter(1),
            self.parameter(2),
            self.parameter(3),
            self.parameter(4),
            self.parameter(5),
        )
    }

    /// Parameters: those of the rows, and an instant. A text, because diesel has no subquery in `FROM`, and each seq is compared with the
    /// previous one (`lag`).
    pub(super) fn log_span(self, topic: Topic) -> String {
        let at = if matches!(topic, Topic::Bars(_)) {
            "known_at"
        } else {
            "told_at"
        };
        format!(
            "SELECT max(seq) AS last_seq, max(CASE WHEN prior IS NULL OR prior <> seq - 1 THEN seq END) AS first_seq,
                max(CASE WHEN told < {} THEN seq END) AS before_seq
             FROM (SELECT seq, {at} AS told, lag(seq) OVER (ORDER BY seq) AS prior FROM {}) log",
            self.instant_parameter(6),
            self.log_rows(topic),
        )
    }

    /// Parameters: symbol, epoch, seq, published at, kind, body.
    pub(super) fn insert_quality(self) -> String {
        format!(
            "INSERT INTO quality_log (symbol, epoch, seq, told_at, kind, body) VALUES ({}, {}, {}, {}, {}, {}) ON CONFLICT DO NOTHING",
            self.parameter(1),
            self.parameter(2),
            self.parameter(3),
            self.instant_parameter(4),
            self.parameter(5),
            self.parameter(6),
        )
    }
}

#[derive(Debug, Default, QueryableByName)]
pub(super) struct SpanOut {
    #[diesel(sql_type = Nullable<BigInt>)]
    last_seq: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    first_seq: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    before_seq: Option<i64>,
}

impl SpanOut {
    pub(super) fn into_span(self, query: &LogQuery) -> LogSpan {
        let whole = self.last_seq.and_then(to_seq) == Some(query.to);
        LogSpan {
            first: self.first_seq.and_then(to_seq).filter(|_| whole),
            before: self.before_seq.and_then(to_seq),
        }
    }
}

fn to_seq(stored: i64) -> Option<u64> {
    u64::try_from(stored).ok()
}

#[derive(Debug, Queryable)]
pub(super) struct QualityOut {
    seq: i64,
    told_at: Instant,
    kind: String,
    body: String,
}

impl QualityOut {
    fn into_numbered(self, query: &LogQuery) -> Result<Sequenced, Damage> {
        let event = match self.kind.as_str() {
            "gap" => serde_json::from_str(&self.body).map(Event::Gap),
            "seam" => serde_json::from_str(&self.body).map(Event::Seam),
            "certificate" => serde_json::from_str(&self.body).map(Event::Certificate),
            other => return Err(Damage::new(format!("{other:?} is not a kind of quality message"))),
        };
        let event = event.map_err(|error| Damage::new(format!("the body of {} {}: {error}", self.kind, self.seq)))?;
        let seq = u64::try_from(self.seq).unwrap_or(0);
        Ok(sequenced_row(query, seq, self.told_at.0, event))
    }
}

/// An event without a position, which only the ledger has.
const fn sequenced_row(query: &LogQuery, seq: u64, at: Timestamp, event: Event) -> Sequenced {
    Sequenced {
        position: Position(0),
        channel: Some(query.channel),
        seq,
        at,
        event,
    }
}

pub(super) fn bars_of(rows: Vec<BarOut>, query: &LogQuery) -> Result<Vec<Sequenced>, StoreError> {
    let (Topic::Bars(interval), Some(symbol)) = (query.channel.topic, query.channel.pair()) else {
        return Ok(Vec::new());
    };
    let asked = BarQuery::between(symbol, interval, NEVER, NEVER, 0);
    convert(rows, "bar_revisions", |row| {
        let StoredBar { bar, seq, known_at, .. } = row.into_bar(&asked)?;
        let (seq, known_at) = seq
            .zip(known_at)
            .ok_or_else(|| Damage::new("a revision has no number".to_owned()))?;
        Ok(sequenced_row(query, seq, known_at, Event::Bar(bar)))
    })
}

pub(super) fn quality_of(rows: Vec<QualityOut>, query: &LogQuery) -> Result<Vec<Sequenced>, StoreError> {
    convert(rows, "quality_log", |row| row.into_numbered(query))
}

/// Binds a [`LogQuery`] and the statement's last parameter.
macro_rules! bind_log {
    ($sql:expr, $query:expr, $last:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        let query = $query;
        use crate::store::reads::to_stored;
        diesel::sql_query($sql)
            .bind::<Text, _>(query.symbol_text())
            .bind::<Text, _>(query.interval_text())
            .bind::<Text, _>(query.epoch.to_string())
            .bind::<BigInt, _>(to_stored(query.from))
            .bind::<BigInt, _>(to_stored(query.to))
            .bind::<BigInt, _>($last)
    }};
}

pub(super) use bind_log;
