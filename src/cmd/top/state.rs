//! The state of `candela top`: what the service answered, and how it is viewed.

use crate::cmd::top::list;
use crate::limits;
use chrono::DateTime;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// The answer of one request.
#[derive(Debug)]
pub(super) struct Heard {
    /// `/status`, or why there is none.
    pub(super) status: Result<Value, String>,
    /// Entries of the journal, if they were requested.
    pub(super) events: Vec<Value>,
}

/// A list that fills the lower part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Pairs,
    Conditions,
    Keys,
    Actors,
    Readers,
    Gaps,
    Journal,
}

impl Pane {
    pub(super) const ALL: [Self; 7] = [
        Self::Pairs,
        Self::Conditions,
        Self::Keys,
        Self::Actors,
        Self::Readers,
        Self::Gaps,
        Self::Journal,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::Conditions => "conditions",
            Self::Keys => "keys",
            Self::Actors => "actors",
            Self::Readers => "readers",
            Self::Gaps => "gaps",
            Self::Journal => "journal",
        }
    }

    /// The pane `by` places further, in a circle.
    pub(super) fn moved(self, by: usize) -> Self {
        let here = Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0);
        let there = here.saturating_add(by).checked_rem(Self::ALL.len());
        there.and_then(|place| Self::ALL.get(place).copied()).unwrap_or(self)
    }
}

/// How one pane is viewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PaneView {
    /// The selected row.
    pub(super) selected: usize,
    /// The column that rows are sorted by; `None`: the service's order.
    pub(super) sorted_by: Option<usize>,
    /// Whether the order is from high to low.
    pub(super) descending: bool,
}

/// Everything that the screen shows.
#[derive(Debug)]
pub(super) struct TopState {
    pub(super) url: String,
    pub(super) interval: Duration,
    pub(super) colours: bool,
    /// The last status.
    pub(super) status: Option<Value>,
    /// When it arrived, in real time since the start.
    pub(super) heard_at: Option<Duration>,
    /// Why the last request failed.
    pub(super) trouble: Option<String>,
    /// The newest entries of the journal, the newest last.
    pub(super) events: VecDeque<Value>,
    pub(super) pane: Pane,
    views: [PaneView; Pane::ALL.len()],
    /// Only rows that contain this text are shown.
    pub(super) filter: String,
    /// Whether keys are typed into the filter.
    pub(super) types_filter: bool,
    pub(super) paused: bool,
    pub(super) shows_help: bool,
    /// Whether every member of the selected row is shown.
    pub(super) shows_detail: bool,
    /// Rows that the pane had and could show when it was last drawn.
    pub(super) rows: usize,
    pub(super) page: usize,
    /// Columns that the pane had.
    pub(super) columns: usize,
    /// When the last request was sent; `None`: send one now.
    asked: Option<Duration>,
    /// Real and market time of past answers, the oldest first.
    times: VecDeque<(Duration, i64)>,
}

impl TopState {
    pub(super) fn new(url: &str, interval: Duration, colours: bool) -> Self {
        Self {
            url: url.to_owned(),
            interval,
            colours,
            status: None,
            heard_at: None,
            trouble: None,
            events: VecDeque::new(),
            pane: Pane::Pairs,
            views: [PaneView::default(); Pane::ALL.len()],
            filter: String::new(),
            types_filter: false,
            paused: false,
            shows_help: false,
            shows_detail: false,
            rows: 0,
            page: 1,
            columns: 0,
            asked: Some(Duration::ZERO),
            times: VecDeque::new(),
        }
    }

    /// Takes an answer. While the view is paused, nothing that is shown changes.
    pub(super) fn take(&mut self, heard: Heard, now: Duration) {
        if self.paused {
            return;
        }
        match heard.status {
            Ok(status) => {
                if let Some(market) = market_time(&status) {
                    self.times.push_back((now, market));
                    if self.times.len() > limits::TOP_TIMES {
                        self.times.pop_front();
                    }
                }
                self.status = Some(status);
                self.heard_at = Some(now);
                self.trouble = None;
            }
            Err(trouble) => {
                self.trouble = Some(trouble);
                self.times.clear(); // another start may have another clock
            }
        }
        let last = self.events.back().and_then(position);
        for event in heard.events {
            if position(&event) > last {
                self.events.push_back(event);
            }
        }
        while self.events.len() > limits::TOP_JOURNAL {
            self.events.pop_front();
        }
    }

    /// Requests the status at once, or as soon as the request under way is answered.
    pub(super) fn ask_now(&mut self) {
        self.asked = None;
    }

    /// Notes that a request was sent.
    pub(super) fn note_asked(&mut self, now: Duration) {
        self.asked = Some(now);
    }

    /// How long to wait before the screen is drawn again, or the next request is due. `is_asking`: a request is under way.
    pub(super) fn next_wait(&self, is_asking: bool, now: Duration) -> Duration {
        if is_asking || self.paused {
            return limits::TOP_REDRAW;
        }
        let due = self.asked.map_or(now, |asked| asked.saturating_add(self.interval));
        due.saturating_sub(now).min(limits::TOP_REDRAW)
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        !self.paused
            && self
                .asked
                .is_none_or(|asked| asked.saturating_add(self.interval) <= now)
    }

    /// The request for the next entries of the journal, while that pane is shown.
    pub(super) fn journal_path(&self) -> Option<String> {
        if self.pane != Pane::Journal {
            return None;
        }
        let newest = self.events.back().and_then(|event| event["at"].as_str());
        let from = newest.map_or_else(String::new, |at| format!("&from={}", at.replace('+', "%2B")));
        Some(format!("/status/events?limit={}{from}", limits::TOP_JOURNAL))
    }

    /// The age of the shown status, if it is too old to be the present state.
    pub(super) fn stale_for(&self, now: Duration) -> Option<Duration> {
        let age = now.saturating_sub(self.heard_at?);
        let late = self.interval.saturating_mul(3).max(limits::TOP_STALE);
        (self.trouble.is_some() || age > late).then_some(age)
    }

    /// How many times faster than real time market time runs, if that was measured for long enough.
    pub(super) fn speed(&self) -> Option<f64> {
        let (first_real, first_market) = *self.times.front()?;
        let (last_real, last_market) = *self.times.back()?;
        let real = last_real.saturating_sub(first_real);
        if real < limits::TOP_SPEED_SEEN {
            return None;
        }
        let market = u64::try_from(last_market.saturating_sub(first_market)).ok()?;
        Some(Duration::from_micros(market).as_secs_f64() / real.as_secs_f64())
    }

    /// Whether market time differs from real time, as in a demo.
    pub(super) fn is_simulated(&self) -> bool {
        self.speed().is_some_and(|speed| (speed - 1.0).abs() > 0.25)
    }

    /// Market time of the shown status.
    pub(super) fn market_now(&self) -> Option<i64> {
        market_time(self.status.as_ref()?)
    }

    pub(super) fn view(&self) -> PaneView {
        let here = Pane::ALL.iter().position(|pane| *pane == self.pane);
        here.and_then(|place| self.views.get(place).copied())
            .unwrap_or_default()
    }

    pub(super) fn change_view(&mut self, change: impl FnOnce(&mut PaneView)) {
        let here = Pane::ALL.iter().position(|pane| *pane == self.pane);
        if let Some(view) = here.and_then(|place| self.views.get_mut(place)) {
            change(view);
        }
    }

    /// The conditions that hold.
    pub(super) fn holding(&self) -> Vec<&Value> {
        let conditions = self
            .status
            .as_ref()
            .map_or(&[][..], |status| list(&status["conditions"]));
        conditions.iter().filter(|one| one["status"] == true).collect()
    }
}

/// When the service made the status.
fn market_time(status: &Value) -> Option<i64> {
    micros_of(&status["timestamp"])
}

/// The position of a journal entry in the ledger.
fn position(event: &Value) -> Option<u64> {
    event["position"].as_u64()
}

/// The page of the journal after the one at `path`.
pub(super) fn journal_page(path: &str, cursor: &str) -> String {
    let path = path.split("&cursor=").next().unwrap_or(path);
    format!("{path}&cursor={cursor}")
}

/// An instant of RFC 3339 as microseconds since 1970.
pub(super) fn micros_of(value: &Value) -> Option<i64> {
    let at = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    Some(at.timestamp_micros())
}
