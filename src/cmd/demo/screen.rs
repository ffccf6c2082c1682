//! The output of the demo: a line a bar for people, an object a line for programs.

use crate::app::{App, Stopped};
use crate::cmd::output::{Output, lines_lost};
use crate::domain::lifecycle::{Change, State};
use crate::domain::model::{
    Bar, BarState, Event, Flags, Gap, GapStatus, Price, SeamFound, Sequenced, SessionChange, SessionPhase, Timestamp,
};
use crate::domain::protocol::{Zones, frames};
use crate::domain::status::{Condition, ConditionKind};
use crate::views::Overall;
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;
use tokio::sync::mpsc;

/// Prints events. Colours only on a terminal, and not when `NO_COLOR` is set.
#[derive(Debug)]
pub struct Screen {
    json: bool,
    colours: bool,
    zone: Tz,
    zones: Zones,
    out: Output,
}

/// The part of the life cycle that was printed already.
#[derive(Debug, Default)]
struct Told {
    changes: usize,
    conditions: BTreeMap<ConditionKind, bool>,
}

/// The counts at the end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// The market's date.
    pub session_date: NaiveDate,
    /// Ticks accepted.
    pub ticks_accepted: u64,
    /// Ticks set aside, by reason.
    pub ticks_set_aside: BTreeMap<String, u64>,
    /// Bars closed.
    pub bars_closed: u64,
    /// Bars corrected afterwards.
    pub bars_revised: u64,
    /// Gaps opened.
    pub gaps_opened: u64,
    /// Gaps filled.
    pub gaps_filled: u64,
    /// Gaps for which the vendor has no bars.
    pub gaps_unfillable: u64,
    /// WebSocket clients that connected.
    pub clients: u64,
    /// Actors restarted.
    pub restarts: u64,
    /// The last position of the ledger.
    pub position: u64,
    /// Real seconds from start to stop.
    pub seconds: u64,
}

impl Summary {
    /// The counts of a stopped service.
    pub fn from_stopped(stopped: &Stopped, session_date: NaiveDate) -> Self {
        let counts = &stopped.pipeline.counts;
        let set_aside = counts
            .ticks_set_aside
            .iter()
            .map(|(reason, count)| (reason.name().to_owned(), *count));
        Self {
            session_date,
            ticks_accepted: counts.ticks_accepted,
            ticks_set_aside: set_aside.collect(),
            bars_closed: counts.bars_closed,
            bars_revised: counts.bars_revised,
            gaps_opened: counts.gaps_opened,
            gaps_filled: counts.gaps_filled,
            gaps_unfillable: counts.gaps_unfillable,
            clients: stopped.clients,
            restarts: stopped.restarts,
            position: stopped.head.0,
            seconds: stopped.ran.as_secs(),
        }
    }
}

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const FAINT: &str = "2";

impl Screen {
    /// Output for people, or, with `json`, for programs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(json: bool, zones: Zones) -> io::Result<Self> {
        let colours = !json && io::stdout().is_terminal();
        Ok(Self {
            json,
            colours,
            zone: zones.first(),
            zones,
            out: Output::start(move |count| lines_lost(json, count))?,
        })
    }

    /// Waits until all output is written. A reader that is gone (`candela demo | head`) is no failure: the service has other clients.
    ///
    /// # Errors
    /// Why some output could not be written.
    pub fn finish_writing(&self) -> io::Result<()> {
        self.out.finish_writing().or_else(|error| match error.kind() {
            ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    }

    /// Prints the addresses of the service.
    pub fn show_listening(&mut self, app: &App, folder: &Path, kept: bool) {
        let address = app.address();
        if self.json {
            return self.print_object(json!({
                "event": "listening", "address": address.to_string(), "url": format!("http://{address}"),
                "ws": format!("ws://{address}/ws"), "data": folder,
            }));
        }
        self.print_line(&format!(
            "candela listens on http://{address}   (status: /status   WebSocket: ws://{address}/ws)"
        ));
        let until = if kept {
            "and stays there"
        } else {
            "and is removed with the demo"
        };
        self.print_line(&self.paint_text(FAINT, &format!("its data is in {} {until}", folder.display())));
    }

    /// Prints every event until the service sends no more.
    pub async fn follow_events(&mut self, app: &App, mut events: mpsc::Receiver<Sequenced>) {
        let mut states = app.states();
        let mut told = Told::default();
        self.show_state(&states.borrow_and_update().clone(), &mut told);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(numbered) => self.show_event(&numbered),
                    None => return,
                },
                changed = states.changed() => {
                    if changed.is_err() { return }
                    let state = states.borrow_and_update().clone();
                    self.show_state(&state, &mut told);
                }
            }
        }
    }

    /// Prints the changes of the life cycle and of its conditions since the last call.
    fn show_state(&self, state: &Overall, told: &mut Told) {
        let news = state.changes_total.saturating_sub(told.changes);
        for change in state.changes.iter().skip(state.changes.len().saturating_sub(news)) {
            self.show_change(change);
        }
        told.changes = state.changes_total;
        for condition in &state.conditions {
            let known = told.conditions.insert(condition.kind, condition.status);
            if known.unwrap_or(false) != condition.status {
                self.show_condition(condition);
            }
        }
    }

    fn show_change(&self, change: &Change) {
        if self.json {
            return self.print_object(json!({
                "event": "state", "state": change.to.name(), "since": change.at.rfc3339(self.zone), "reason": change.reason,
                "from": change.from.name(), "lasted_seconds": change.lasted.as_secs(),
            }));
        }
        let colour = if change.to == State::Error { RED } else { GREEN };
        let spent = format!("(after {} s {})", change.lasted.as_secs(), change.from);
        self.print_at(
            change.at,
            &format!(
                "{:<14} {} {}",
                self.paint_text(colour, change.to.name()),
                change.reason,
                self.paint_text(FAINT, &spent)
            ),
        );
    }

    fn show_condition(&self, condition: &Condition) {
        if self.json {
            let mut object = serde_json::to_value(condition).unwrap_or_default();
            if let Some(fields) = object.as_object_mut() {
                fields.insert("event".to_owned(), json!("condition"));
            }
            return self.print_object(object);
        }
        let (colour, what) = if condition.status {
            (YELLOW, condition.message.as_str())
        } else {
            (GREEN, "over")
        };
        let kind = self.paint_text(colour, condition.kind.name());
        self.print_line(&format!("{:12} {kind}: {what}", ""));
    }

    fn show_event(&self, numbered: &Sequenced) {
        match &numbered.event {
            Event::Bar(bar) => self.show_bar(numbered, bar),
            Event::Gap(gap) => self.show_gap(numbered, gap),
            Event::Seam(found) => self.show_seam(numbered, found),
            Event::Session(change) if !self.json => self.show_session(change),
            Event::Session(_) | Event::Tick(_) | Event::BarEnd(_) | Event::Journal(_) | Event::Certificate(_) => {}
        }
    }

    fn show_bar(&self, numbered: &Sequenced, bar: &Bar) {
        if self.json {
            let data: Value = serde_json::from_str(&frames::bar_json(&self.zones, bar)).unwrap_or_default();
            return self.print_object(merge_event("bar", numbered, data));
        }
        let flags = bar.flags.names().collect::<Vec<_>>().join(" ");
        let (colour, mark) = match bar.state {
            BarState::Revised => (YELLOW, format!("revised, revision {}", bar.revision)),
            BarState::Closed | BarState::Partial if bar.flags != Flags::default() => (YELLOW, "closed".to_owned()),
            BarState::Closed | BarState::Partial => (GREEN, "closed".to_owned()),
        };
        let prices = align_prices([bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close]);
        let from = format!("{:>4} ticks  {:<8}", bar.ticks, bar.provenance.name());
        let line = format!(
            "{} {} {prices}  {from} {} {flags}",
            bar.key.symbol,
            bar.key.interval,
            self.paint_text(colour, &mark)
        );
        self.print_at(bar.key.opens_at, line.trim_end());
    }

    fn show_gap(&self, numbered: &Sequenced, gap: &Gap) {
        if self.json {
            let data: Value = serde_json::from_str(&frames::gap_json(&self.zones, gap)).unwrap_or_default();
            return self.print_object(merge_event("gap", numbered, data));
        }
        let colour = match gap.status {
            GapStatus::Filled => GREEN,
            GapStatus::Open | GapStatus::Filling => YELLOW,
            GapStatus::Unfillable => RED,
        };
        let bars = if gap.bars == 1 {
            "1 bar".to_owned()
        } else {
            format!("{} bars", gap.bars)
        };
        let status = self.paint_text(colour, gap.status.name());
        let date = gap.from.datetime().with_timezone(&self.zone).date_naive();
        self.print_at(
            gap.from,
            &format!(
                "{} gap g-{} {status}: {bars} of {date}, {}",
                gap.symbol, gap.id, gap.cause
            ),
        );
    }

    fn show_seam(&self, numbered: &Sequenced, found: &SeamFound) {
        if self.json {
            let mut told: Value =
                serde_json::from_slice(&frames::event_json(&self.zones, numbered)).unwrap_or_default();
            let data = told.get_mut("data").map(Value::take).unwrap_or_default();
            return self.print_object(merge_event("seam", numbered, data));
        }
        let seam = &found.seam;
        let last = seam.last_history_bar.map_or_else(
            || "there is no history".to_owned(),
            |at| format!("history ends with the bar of {}", at.rfc3339(self.zone)),
        );
        let between = format!("{} bars of ours between, {} missing", seam.ours, seam.missing);
        let overlap = format!("{} of {} bars that both have differ", seam.differing, seam.overlapping);
        let colour = if seam.missing + seam.differing > 0 {
            YELLOW
        } else {
            GREEN
        };
        let what = self.paint_text(colour, "seam");
        self.print_at(
            seam.first_live_bar,
            &format!("{} {what}: {last}; {between}; {overlap}", found.symbol),
        );
    }

    fn show_session(&self, change: &SessionChange) {
        let (at, what) = match change.phase {
            SessionPhase::Open => (change.opens, "the session is open"),
            SessionPhase::Closed => (change.closes, "the session is closed"),
            SessionPhase::OpeningSoon | SessionPhase::ClosingSoon => return,
        };
        self.print_at(
            at,
            &format!("{} {what} ({} {})", change.symbol, change.date, change.kind.name()),
        );
    }

    /// Prints the summary, the last output.
    pub fn show_summary(&self, summary: &Summary) {
        if self.json {
            let mut object = serde_json::to_value(summary).unwrap_or_default();
            if let Some(fields) = object.as_object_mut() {
                fields.insert("event".to_owned(), json!("summary"));
            }
            return self.print_object(object);
        }
        let aside: u64 = summary.ticks_set_aside.values().sum();
        let reasons: Vec<String> = summary
            .ticks_set_aside
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", reasons.join(", "))
        };
        self.print_line("");
        self.print_line(&format!("Summary of {}, {} s", summary.session_date, summary.seconds));
        self.print_line(&format!(
            "  ticks     {} accepted, {aside} set aside{reasons}",
            summary.ticks_accepted
        ));
        self.print_line(&format!(
            "  bars      {} closed, {} revised",
            summary.bars_closed, summary.bars_revised
        ));
        self.print_line(&format!(
            "  gaps      {} opened, {} filled, {} unfillable",
            summary.gaps_opened, summary.gaps_filled, summary.gaps_unfillable
        ));
        self.print_line(&format!("  clients   {}", summary.clients));
        self.print_line(&format!("  restarts  {}", summary.restarts));
        self.print_line(&format!("  ledger    {} events", summary.position));
    }

    fn print_at(&self, at: Timestamp, text: &str) {
        let time = at.datetime().with_timezone(&self.zone).format("%H:%M:%S%:::z");
        self.print_line(&format!("{}  {text}", self.paint_text(FAINT, &time.to_string())));
    }

    fn paint_text(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn print_object(&self, object: Value) {
        self.print_line(&object.to_string());
    }

    /// The service continues whether or not a line can be written; at its end the demo reports what could not be written.
    fn print_line(&self, text: &str) {
        self.out.write_line(text);
    }
}

fn merge_event(kind: &str, numbered: &Sequenced, data: Value) -> Value {
    let mut object = json!({"event": kind, "position": numbered.position.0, "seq": numbered.seq});
    if let (Some(fields), Value::Object(data)) = (object.as_object_mut(), data) {
        fields.extend(data);
    }
    object
}
/// Prices in columns, all with as many decimals as the longest of them, and at least two.
fn align_prices(prices: [Price; 4]) -> String {
    let texts = prices.map(|price| price.to_string());
    let parts = texts
        .each_ref()
        .map(|text| text.split_once('.').unwrap_or((text.as_str(), "")));
    let places = parts.iter().map(|(_, part)| part.len()).fold(2, usize::max);
    let columns = parts.map(|(whole, part)| format!("{:>11}", format!("{whole}.{part:0<places$}")));
    columns.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_stand_in_columns() {
        let prices = ["3887.62", "3888.3", "3888", "4012.3505"].map(|text| text.parse().unwrap());
        assert_eq!(align_prices(prices), "  3887.6200   3888.3000   3888.0000   4012.3505");
        assert_eq!(
            align_prices([Price::from_micros(3_900_000_000); 4]),
            ["    3900.00"; 4].join(" ")
        );
    }
}
