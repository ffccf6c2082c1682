//! Explains from journal entries alone why the service is, or was, in its state. Pure.

use crate::domain::model::{JournalPlace, PlacedEntry, ServiceEvent, ServiceEventKind, Symbol, Timestamp};
use crate::domain::status::{ConditionKind, ConditionView};
use crate::limits;
use chrono_tz::Tz;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The explanation of one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The state of the service; `None` when the journal does not reach back so far.
    pub state: Option<String>,
    /// Whether no recorded condition or state makes the data bad.
    pub good: bool,
    /// The explanation, most important sentence first.
    pub sentences: Vec<String>,
    /// The entries that the sentences are based on, by position in the ledger.
    pub entries: Vec<u64>,
}

/// A row is a condition, whether the data is bad while it holds (else it is `mild`), and what it means for the data.
macro_rules! meanings {
    (@mild bad) => { false };
    (@mild mild) => { true };
    ($($kind:ident $weight:ident $meaning:literal),* $(,)?) => {
        [$((ConditionKind::$kind, meanings!(@mild $weight), $meaning)),*]
    };
}

/// Conditions with their consequence for the data, worst first.
const MEANINGS: [(ConditionKind, bool, &str); 28] = meanings![
    LedgerUnwritable bad "nothing new is published, because it cannot be written to the ledger",
    LogStale bad "this edge serves the data that it received last, which gets older",
    LogDiverged bad "this node stops, and starts again from the cluster log",
    LogDown bad "clients of edges receive nothing new",
    LeaseUnrenewable mild "data continues; if this leader is lost, no node takes over",
    AnotherWriter bad "this process writes nothing there, so that the data of two processes is not mixed",
    ClockStepped bad "bars are closed by the machine's steady clock, and no pair is safe to trade",
    ClockSkewed bad "ages and closes are wrong by that much, and no pair is safe to trade",
    KeysExhausted bad "no request can be sent to the vendor",
    ActorUnresponsive bad "prices may be stuck in that part, and no pair is safe to trade",
    FeedDown bad "no prices are received over the link; they are requested over REST while keys allow it",
    FeedSilent bad "the last price is older than it should be",
    SymbolRefused bad "no prices of the pair are received",
    TicksRejected bad "the newest prices of the pair are not published",
    StampsLagging bad "the stamps of the pair's prices are not those of this moment",
    HistoryUnverified bad "the pair's history is not known to be good, so it is not safe to trade",
    GateOverridden bad "an operator declared the history good",
    FlagWithdrawn bad "the history may be about to change",
    ActorParked bad "that part does not do its work, or does it with long pauses",
    ProcessPaused bad "nothing was received during that time",
    StoreAhead mild "the start begins new epochs; clients start again from a snapshot",
    LedgerRenumbered mild "clients start again from a snapshot",
    CalendarFileWrong mild "the days that were read last stay in force",
    Polling mild "prices are received, but less often",
    StoreBehind mild "live data continues from the ledger; history over REST is as old as the database",
    CacheDown mild "live data continues; readers of Redis see old values",
    StreamDisturbed mild "readers of that stream read it again",
    LogLinesLost mild "data continues; lines are missing in the log",
];

/// What the journal shows at one instant.
#[derive(Debug, Default)]
struct Known<'e> {
    started: Option<&'e PlacedEntry>,
    state: Option<&'e PlacedEntry>,
    link: Option<&'e PlacedEntry>,
    gate: Option<&'e PlacedEntry>,
    verdicts: BTreeMap<Option<Symbol>, &'e PlacedEntry>,
    conditions: BTreeMap<(&'e str, Option<Symbol>), &'e PlacedEntry>,
    keys_out: BTreeMap<&'e str, &'e PlacedEntry>,
    gaps: BTreeMap<(Option<Symbol>, &'e str), &'e PlacedEntry>,
    sessions: BTreeMap<Option<Symbol>, &'e PlacedEntry>,
    failures: Vec<&'e PlacedEntry>,
    actions: Vec<&'e PlacedEntry>,
}

impl<'e> Known<'e> {
    fn learn(&mut self, placed: &'e PlacedEntry) {
        let entry = &placed.entry;
        match entry.kind {
            ServiceEventKind::Started => {
                let gaps = std::mem::take(&mut self.gaps);
                let sessions = std::mem::take(&mut self.sessions);
                let actions = std::mem::take(&mut self.actions);
                *self = Self {
                    started: Some(placed),
                    gaps,
                    sessions,
                    actions,
                    ..Self::default()
                };
            }
            ServiceEventKind::State => self.state = Some(placed),
            ServiceEventKind::LinkUp | ServiceEventKind::LinkDown => self.link = Some(placed),
            ServiceEventKind::Gate => self.gate = Some(placed),
            ServiceEventKind::Verdict => drop(self.verdicts.insert(entry.symbol, placed)),
            ServiceEventKind::ConditionRaised => {
                self.conditions.insert((&entry.subject, entry.symbol), placed);
            }
            ServiceEventKind::ConditionCleared => {
                self.conditions.remove(&(entry.subject.as_str(), entry.symbol));
            }
            ServiceEventKind::Key if entry.cause == "usable" => drop(self.keys_out.remove(entry.subject.as_str())),
            ServiceEventKind::Key => drop(self.keys_out.insert(&entry.subject, placed)),
            ServiceEventKind::Gap if matches!(entry.detail("status"), Some("open" | "filling")) => {
                self.gaps.insert((entry.symbol, &entry.subject), placed);
            }
            ServiceEventKind::Gap => drop(self.gaps.remove(&(entry.symbol, entry.subject.as_str()))),
            ServiceEventKind::Session => drop(self.sessions.insert(entry.symbol, placed)),
            ServiceEventKind::Restarted | ServiceEventKind::GaveUp => self.failures.push(placed),
            ServiceEventKind::Action => self.actions.push(placed),
            ServiceEventKind::Settings | ServiceEventKind::LeftOut | ServiceEventKind::Seam => {}
        }
    }
}

impl Explanation {
    /// The explanation from the entries up to `at`, in order. If `symbol` is given, entries on other pairs are skipped. Instants are
    /// written in `zone`.
    pub fn of(entries: &[PlacedEntry], symbol: Option<Symbol>, at: Timestamp, zone: Tz) -> Self {
        let mut known = Known::default();
        for placed in entries.iter().filter(|placed| placed.entry.at <= at) {
            let of = placed.entry.symbol;
            if symbol.is_none() || of.is_none() || of == symbol {
                known.learn(placed);
            }
        }
        let mut told = Telling {
            at,
            zone,
            sentences: Vec::new(),
            entries: Vec::new(),
        };
        let good = told.tell(&known);
        Self {
            state: known.state.map(|placed| placed.entry.subject.clone()),
            good,
            sentences: told.sentences,
            entries: told.entries,
        }
    }
}

/// The conditions that hold and are not in the journal yet, as entries without a position. A part that hangs, or a ledger that cannot be
/// written, may be what keeps them out of it.
pub fn unwritten_conditions(entries: &[PlacedEntry], conditions: &[ConditionView]) -> Vec<PlacedEntry> {
    conditions
        .iter()
        .filter(|held| held.status && !is_written(entries, held))
        .map(|held| {
            let at = held.since.timestamp();
            let message = format!("{}, which is not in the journal yet.", plain(&held.message));
            let entry = ServiceEvent::new(ServiceEventKind::ConditionRaised, at, held.kind.as_ref(), message);
            let entry = entry
                .with_cause(&held.reason)
                .with("clears_when", held.clears_when.as_ref());
            PlacedEntry {
                place: JournalPlace { at, position: 0 },
                entry: entry.on(held.symbol),
            }
        })
        .collect()
}

/// Whether the last change of the condition in the journal is its beginning.
fn is_written(entries: &[PlacedEntry], held: &ConditionView) -> bool {
    let last = entries.iter().rfind(|placed| {
        let entry = &placed.entry;
        let kinds = [ServiceEventKind::ConditionRaised, ServiceEventKind::ConditionCleared];
        kinds.contains(&entry.kind) && entry.subject == held.kind && entry.symbol == held.symbol
    });
    last.is_some_and(|placed| placed.entry.kind == ServiceEventKind::ConditionRaised)
}

/// The sentences that were written so far.
struct Telling {
    at: Timestamp,
    zone: Tz,
    sentences: Vec<String>,
    entries: Vec<u64>,
}

impl Telling {
    /// Writes all sentences. Returns whether the data is good.
    fn tell(&mut self, known: &Known<'_>) -> bool {
        let Some(state) = known.state else {
            let at = self.at.rfc3339(self.zone);
            self.sentences
                .push(format!("The journal has no state of the service before {at}."));
            return false;
        };
        if state.entry.subject == "shutdown" {
            let when = self.when(state);
            self.say(state, format!("candela does not run: it was stopped at {when}."));
            return false;
        }
        let bad = self.conditions(known, false);
        let running = state.entry.subject == "active";
        let since = self.since(state);
        let name = &state.entry.subject;
        let sentence = format!("The state is {name} {since}: {}.", plain(&state.entry.cause));
        self.say(state, sentence);
        self.reasons(known, bad > 0);
        self.conditions(known, true);
        if bad == 0 {
            let nothing = if running {
                "Nothing in the journal makes data bad."
            } else {
                "No condition makes data bad; prices are received when a session is open and the state is active."
            };
            self.sentences.push(nothing.to_owned());
        }
        self.rest(known);
        bad == 0 && running
    }

    /// Writes the conditions that hold and make the data bad, or (`harmless`) do not. Returns how many there are.
    fn conditions(&mut self, known: &Known<'_>, harmless: bool) -> usize {
        let mut count = 0_usize;
        for (kind, mild, meaning) in MEANINGS {
            let all = known.conditions.iter();
            for ((_, symbol), placed) in all.filter(|((name, _), _)| *name == kind.name()) {
                if mild != harmless {
                    continue;
                }
                count = count.saturating_add(1);
                let pair = symbol.map_or_else(String::new, |symbol| format!(" {symbol}"));
                let begins = match (harmless, count) {
                    (false, 1) => "Data is not good: ",
                    (false, _) => "Also: ",
                    (true, _) => "Besides: ",
                };
                let since = self.since(placed);
                let message = plain(&placed.entry.message);
                let clears = placed.entry.detail("clears_when").unwrap_or(kind.clears_when());
                let name = kind.name();
                let sentence =
                    format!("{begins}{message} ({name}{pair}, {since}). It means: {meaning}. It clears when {clears}.");
                self.say(placed, sentence);
            }
        }
        count
    }

    /// Writes the causes behind the conditions: keys, link, gate, checks, failures of actors.
    fn reasons(&mut self, known: &Known<'_>, bad: bool) {
        for placed in known.keys_out.values() {
            self.say_message(placed);
        }
        if let Some(placed) = known
            .link
            .filter(|placed| bad && placed.entry.kind == ServiceEventKind::LinkDown)
        {
            self.say_message(placed);
        }
        if let Some(placed) = known.gate.filter(|placed| placed.entry.cause != "flag_good") {
            self.say_message(placed);
        }
        for placed in known.verdicts.values() {
            if placed.entry.cause != "passed" {
                self.say_message(placed);
            }
        }
        let failures: Vec<&&PlacedEntry> = known
            .failures
            .iter()
            .filter(|placed: &&&PlacedEntry| self.at.since(placed.entry.at) <= limits::EXPLAINED_FAILURES)
            .collect();
        if let Some(last) = failures.last() {
            let count = match failures.len() {
                1 => "One failure of a part".to_owned(),
                count => format!("{count} failures of parts"),
            };
            let sentence = format!("{count} in the last hour; the last: {}", last.entry.message);
            self.say(last, sentence);
        }
    }

    /// Writes gaps, sessions, operators' actions, and the start.
    fn rest(&mut self, known: &Known<'_>) {
        if let Some(first) = known.gaps.values().min_by_key(|placed| placed.entry.at) {
            let count = match known.gaps.len() {
                1 => "One gap is open".to_owned(),
                count => format!("{count} gaps are open"),
            };
            let sentence = format!(
                "{count}; the first: {} Its cause: {}.",
                first.entry.message, first.entry.cause
            );
            self.say(first, sentence);
        }
        for placed in known.sessions.values() {
            self.say_message(placed);
        }
        let actions: Vec<&PlacedEntry> = known
            .actions
            .iter()
            .filter(|placed: &&&PlacedEntry| self.at.since(placed.entry.at) <= limits::EXPLAINED_ACTIONS)
            .copied()
            .collect();
        for placed in actions {
            let by = placed.entry.by.as_deref().unwrap_or("an unknown caller");
            let when = self.when(placed);
            let sentence = format!("{by} acted at {when}: {}", placed.entry.message);
            self.say(placed, sentence);
        }
        if let Some(placed) = known.started {
            let sentence = format!("{} ({})", placed.entry.message, self.when(placed));
            self.say(placed, sentence);
        }
    }

    fn say_message(&mut self, placed: &PlacedEntry) {
        let since = self.since(placed);
        self.say(placed, format!("{} ({since})", placed.entry.message));
    }

    fn say(&mut self, placed: &PlacedEntry, sentence: String) {
        self.sentences.push(sentence);
        let position = Some(placed.place.position).filter(|position| *position > 0);
        self.entries.extend(position);
    }

    /// The instant of an entry, and how long before the explained instant it was.
    fn when(&self, placed: &PlacedEntry) -> String {
        let at = placed.entry.at;
        format!("{}, {} before", at.rfc3339(self.zone), lasted(self.at.since(at)))
    }

    fn since(&self, placed: &PlacedEntry) -> String {
        let at = placed.entry.at;
        format!("since {}, for {}", at.rfc3339(self.zone), lasted(self.at.since(at)))
    }
}

/// A sentence without its full stop, so that it can be continued.
fn plain(sentence: &str) -> &str {
    sentence.trim_end_matches('.')
}

/// A duration as people say it.
fn lasted(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
#[path = "tests/explanation.rs"]
mod tests;
