//! Converts events to rows of the stores: tables, columns and units. Pure; the same for both stores.

use crate::domain::model::{
    AcceptedTick, Bar, Channel, Epoch, Event, Gap, Head, Interval, Price, Sequenced, SessionChange, SessionPhase,
    Timestamp,
};
use crate::store::certificates::CertificateRow;
use crate::store::journal::JournalRow;
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet};

/// The value of the column `source` in our rows.
pub const SOURCE: &str = "candela";

/// The interval of the bars in `market_data`, where the old service's readers expect no other.
pub(super) const BASE: Interval = Interval::M5;

/// One row of `realtime_market_data`. `time` is when the tick arrived, as in the old service; `event_time` is the vendor's timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TickRow {
    pub(super) symbol: String,
    pub(super) time: Timestamp,
    pub(super) bid: Option<Price>,
    pub(super) ask: Option<Price>,
    pub(super) last: Price,
    pub(super) session_date: NaiveDate,
    pub(super) epoch: Epoch,
    pub(super) seq: i64,
    pub(super) event_time: Timestamp,
    pub(super) provenance: &'static str,
}

impl TickRow {
    pub(super) fn spread(&self) -> Option<Price> {
        Some(self.ask?.minus(self.bid?))
    }
}

/// One row of `market_data` or `interval_bars`, and of `bar_revisions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BarRow {
    pub(super) bar: Bar,
    pub(super) epoch: Epoch,
    pub(super) seq: i64,
    pub(super) known_at: Timestamp,
}

/// One row of `gaps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GapRow {
    pub(super) gap: Gap,
    pub(super) epoch: Epoch,
    pub(super) seq: i64,
    pub(super) at: Timestamp,
}

/// One row of `quality_log`: a message as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QualityRow {
    pub(super) symbol: String,
    pub(super) epoch: Epoch,
    pub(super) seq: i64,
    pub(super) at: Timestamp,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

/// The open or the close of a session for its row of `market_sessions`, and when it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionRow {
    pub(super) change: SessionChange,
    pub(super) at: Timestamp,
}

/// The rows of a batch of events, in order within each table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) ticks: Vec<TickRow>,
    pub(super) bars: Vec<BarRow>,
    pub(super) gaps: Vec<GapRow>,
    pub(super) quality: Vec<QualityRow>,
    pub(super) sessions: Vec<SessionRow>,
    pub(super) journal: Vec<JournalRow>,
    pub(super) certificates: Vec<CertificateRow>,
}

impl Rows {
    /// Sorts `events` of the ledger `lineage` by table. An event whose channel has no head cannot come from the ledger and is skipped.
    pub(super) fn from_events(events: &[Sequenced], heads: &BTreeMap<Channel, Head>, lineage: &str) -> Self {
        let mut rows = Self::default();
        for event in events {
            let epoch = event
                .channel
                .and_then(|channel| heads.get(&channel))
                .map(|head| head.epoch);
            if let Some(epoch) = epoch {
                rows.push(event, epoch);
                rows.journal.extend(JournalRow::from_event(event, lineage));
            }
        }
        rows
    }

    /// The dates of the sessions whose five-minute bars are in the batch.
    pub(super) fn session_dates(&self) -> BTreeSet<NaiveDate> {
        let base = self.bars.iter().filter(|row| row.bar.key.interval == BASE);
        base.map(|row| row.bar.session_date).collect()
    }

    fn push(&mut self, event: &Sequenced, epoch: Epoch) {
        let seq = i64::try_from(event.seq).unwrap_or(i64::MAX);
        self.quality.extend(quality_row(event, epoch, seq));
        match &event.event {
            Event::Tick(accepted) => self.ticks.push(tick_row(accepted, epoch, seq)),
            Event::Bar(bar) => self.bars.push(BarRow {
                bar: *bar,
                epoch,
                seq,
                known_at: event.at,
            }),
            Event::Gap(gap) => self.gaps.push(GapRow {
                gap: gap.clone(),
                epoch,
                seq,
                at: event.at,
            }),
            Event::Session(change) if matches!(change.phase, SessionPhase::Open | SessionPhase::Closed) => {
                self.sessions.push(SessionRow {
                    change: change.clone(),
                    at: event.at,
                });
            }
            Event::Certificate(certificate) => {
                let row = CertificateRow::from_certificate(certificate, epoch, seq, event.at);
                self.certificates.extend(row);
            }
            Event::Session(_) | Event::BarEnd(_) | Event::Journal(_) | Event::Seam(_) => {} // a seam stands in the log of quality
        }
    }
}

fn quality_row(event: &Sequenced, epoch: Epoch, seq: i64) -> Option<QualityRow> {
    let (symbol, kind, body) = match &event.event {
        Event::Gap(gap) => (gap.symbol, "gap", serde_json::to_string(gap)),
        Event::Seam(found) => (found.symbol, "seam", serde_json::to_string(found)),
        Event::Certificate(certificate) => (certificate.symbol, "certificate", serde_json::to_string(certificate)),
        Event::Tick(_) | Event::Bar(_) | Event::BarEnd(_) | Event::Session(_) | Event::Journal(_) => return None,
    };
    Some(QualityRow {
        symbol: symbol.compact(),
        epoch,
        seq,
        at: event.at,
        kind,
        body: body.ok()?, // these always encode; what did not could not be replayed and is missed there
    })
}

fn tick_row(accepted: &AcceptedTick, epoch: Epoch, seq: i64) -> TickRow {
    let tick = &accepted.tick;
    TickRow {
        symbol: tick.symbol.compact(),
        time: accepted.received_at,
        bid: tick.bid,
        ask: tick.ask,
        last: tick.price,
        session_date: bogota_date(accepted.received_at),
        epoch,
        seq,
        event_time: tick.at,
        provenance: tick.provenance.name(),
    }
}

/// The old service's `session_date`: the date in Bogota, for any symbol.
pub(super) fn bogota_date(at: Timestamp) -> NaiveDate {
    at.datetime().with_timezone(&chrono_tz::America::Bogota).date_naive()
}
