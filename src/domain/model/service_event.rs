//! One entry of the journal: what the service did or found, when, and why. The entries alone suffice to explain later why the service was
//! in a given state.

use crate::domain::model::{
    Event, Gap, GapStatus, SeamFound, Sequenced, SessionChange, SessionPhase, Symbol, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a journal entry is about.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceEventKind {
    /// The process started.
    Started,
    /// The settings in force at the start, without secrets.
    Settings,
    /// The state of the service changed.
    State,
    /// A valid ready flag was found, or there is none (any more).
    Gate,
    /// A pair's history was checked.
    Verdict,
    /// A condition was raised, or its reason changed.
    ConditionRaised,
    /// A condition was cleared.
    ConditionCleared,
    /// The link to the vendor is up.
    LinkUp,
    /// The link to the vendor is down.
    LinkDown,
    /// An actor failed and was restarted.
    Restarted,
    /// An actor failed more often than its budget allows.
    GaveUp,
    /// A key became usable or unusable.
    Key,
    /// An operator acted.
    Action,
    /// Entries were dropped because there were too many.
    LeftOut,
    /// A gap was opened or changed its status.
    Gap,
    /// A session opened or closed, or soon will.
    Session,
    /// The seam between prepared history and our own bars was found.
    Seam,
}

impl ServiceEventKind {
    /// All kinds.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its name in every protocol and table.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ServiceEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ServiceEventKind,
    /// When it happened (market time); it may be written a little later.
    pub at: Timestamp,
    /// The pair that it concerns; `None` for the service as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// The state, condition, actor, key, gap or action that it concerns.
    pub subject: String,
    /// The cause, as a name for programs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// What happened, as a sentence for people.
    pub message: String,
    /// The operator who acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Further details, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl ServiceEvent {
    /// An entry that concerns the service as a whole.
    pub fn new(kind: ServiceEventKind, at: Timestamp, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            at,
            symbol: None,
            subject: subject.into(),
            cause: String::new(),
            message: message.into(),
            by: None,
            details: BTreeMap::new(),
        }
    }

    /// Sets the cause.
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// Sets the pair, if there is one.
    pub const fn on(mut self, symbol: Option<Symbol>) -> Self {
        self.symbol = symbol;
        self
    }

    /// Adds a detail.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The detail with this name.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.get(name).map(String::as_str)
    }

    /// The journal entry that an event of the ledger is shown as. Gaps, sessions and seams are events already and are not written a second
    /// time as entries.
    pub fn of(numbered: &Sequenced) -> Option<Self> {
        match &numbered.event {
            Event::Journal(entry) => Some(entry.as_ref().clone()),
            Event::Gap(gap) => Some(of_gap(gap, numbered.at)),
            Event::Session(change) => Some(of_session(change, numbered.at)),
            Event::Seam(found) => Some(of_seam(found, numbered.at)),
            Event::Tick(_) | Event::Bar(_) | Event::BarEnd(_) | Event::Certificate(_) => None,
        }
    }
}

fn of_gap(gap: &Gap, at: Timestamp) -> ServiceEvent {
    let bars = if gap.bars == 1 {
        "1 bar".to_owned()
    } else {
        format!("{} bars", gap.bars)
    };
    let what = match gap.status {
        GapStatus::Open => "missing",
        GapStatus::Filling => "asked for",
        GapStatus::Filled => "there now",
        GapStatus::Unfillable => "cannot be filled: the vendor has none",
    };
    let message = format!(
        "{bars} of {} {} from {} to {}: {what}.",
        gap.symbol, gap.interval, gap.from, gap.to
    );
    ServiceEvent::new(ServiceEventKind::Gap, at, format!("g-{}", gap.id), message)
        .with_cause(gap.cause.clone())
        .on(Some(gap.symbol))
        .with("status", gap.status.name())
        .with("interval", gap.interval.name())
        .with("bars", gap.bars.to_string())
        .with("from", gap.from.to_string())
        .with("to", gap.to.to_string())
}

fn of_session(change: &SessionChange, at: Timestamp) -> ServiceEvent {
    let symbol = change.symbol;
    let date = change.date;
    let what = match change.phase {
        SessionPhase::OpeningSoon => ("opening_soon", "opens soon"),
        SessionPhase::Open => ("open", "is open"),
        SessionPhase::ClosingSoon => ("closing_soon", "closes soon"),
        SessionPhase::Closed => ("closed", "is closed"),
    };
    ServiceEvent::new(
        ServiceEventKind::Session,
        at,
        what.0,
        format!("The session of {symbol} of {date} {}.", what.1),
    )
    .with_cause(change.kind.name())
    .on(Some(symbol))
    .with("opens", change.opens.to_string())
    .with("closes", change.closes.to_string())
}

fn of_seam(found: &SeamFound, at: Timestamp) -> ServiceEvent {
    let SeamFound { symbol, seam } = found;
    let last = match seam.last_history_bar {
        Some(last) => format!("the prepared history of {symbol} ends with the bar of {last}"),
        None => format!("{symbol} has no prepared history"),
    };
    let message = format!(
        "candela's bars begin with that of {}; {last}; {} between are missing, {} of {} that both have differ.",
        seam.first_live_bar, seam.missing, seam.differing, seam.overlapping
    );
    ServiceEvent::new(ServiceEventKind::Seam, at, "seam", message)
        .on(Some(*symbol))
        .with("missing", seam.missing.to_string())
        .with("differing", seam.differing.to_string())
}

/// The place of an entry in the journal, ordered as the entries are. Written `1767361204000000-4711`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPlace {
    /// When it was written.
    pub at: Timestamp,
    /// Its position in the ledger.
    pub position: u64,
}

impl fmt::Display for JournalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.micros(), self.position)
    }
}

impl FromStr for JournalPlace {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, position) = text.rsplit_once('-').ok_or(())?;
        Ok(Self {
            at: Timestamp::from_micros(at.parse().map_err(|_| ())?),
            position: position.parse().map_err(|_| ())?,
        })
    }
}

/// An entry with its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedEntry {
    /// The place of the entry.
    pub place: JournalPlace,
    /// The entry.
    pub entry: ServiceEvent,
}

/// Which entries to return, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalQuery {
    /// Written at or after this instant.
    pub from: Timestamp,
    /// Written before this instant.
    pub to: Timestamp,
    /// Only entries of this kind.
    pub kind: Option<ServiceEventKind>,
    /// Only entries that concern this pair or the service as a whole.
    pub symbol: Option<Symbol>,
    /// Only entries after this place.
    pub after: Option<JournalPlace>,
    /// The maximum number of entries.
    pub limit: u32,
}

impl JournalQuery {
    /// Whether the query selects an entry by its kind and pair. Its place is not compared.
    pub fn wants(&self, entry: &ServiceEvent) -> bool {
        self.kind.is_none_or(|kind| kind == entry.kind)
            && (self.symbol.is_none() || entry.symbol.is_none() || entry.symbol == self.symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Interval, Position};

    #[test]
    fn kinds_and_places_are_read_back() {
        for &kind in ServiceEventKind::ALL {
            assert_eq!(ServiceEventKind::named(kind.name()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for at in [-5, 0, 1_767_361_204_000_000] {
            let place = JournalPlace {
                at: Timestamp::from_micros(at),
                position: 4_711,
            };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in ["", "5", "a-1", "1-b", "1-"] {
            assert!(text.parse::<JournalPlace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_gap_is_an_entry_as_it_stands_in_the_ledger() {
        let gap = Gap {
            id: 19,
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: Timestamp::from_secs(300),
            to: Timestamp::from_secs(900),
            bars: 2,
            status: GapStatus::Unfillable,
            cause: "upstream_close_1006".to_owned(),
        };
        let numbered = Sequenced {
            position: Position(7),
            channel: None,
            seq: 0,
            at: Timestamp::from_secs(1_000),
            event: Event::Gap(gap),
        };
        let entry = ServiceEvent::of(&numbered).unwrap();
        assert_eq!(
            (entry.subject.as_str(), entry.cause.as_str()),
            ("g-19", "upstream_close_1006")
        );
        assert_eq!(entry.detail("status"), Some("unfillable"));
        assert_eq!(
            entry.message,
            "2 bars of USD/COP 5m from 1970-01-01T00:05:00Z to 1970-01-01T00:15:00Z: cannot be filled: the vendor has none."
        );
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<ServiceEvent>(&text).unwrap(), entry);
    }
}
