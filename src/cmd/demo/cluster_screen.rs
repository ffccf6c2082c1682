//! The output of the demo's cluster: a line for each thing that happens, with the seconds since the start; an object a line for programs.

use super::edge_client::{ClusterTally, Sight};
use crate::clock::Stopwatch;
use crate::cmd::output::{Output, lines_lost};
use crate::limits;
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct ClusterScreen {
    json: bool,
    began: Stopwatch,
    out: Output,
}

impl ClusterScreen {
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn new(json: bool) -> io::Result<Self> {
        Ok(Self {
            json,
            began: Stopwatch::start(),
            out: Output::start(move |count| lines_lost(json, count))?,
        })
    }

    /// Waits until all output is written. A reader that is gone is no failure.
    ///
    /// # Errors
    /// Why some output could not be written.
    pub(super) fn finish_writing(&self) -> io::Result<()> {
        self.out.finish_writing().or_else(|error| match error.kind() {
            ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    }

    /// Prints an event: its kind and members for programs, a sentence for people.
    fn print(&self, kind: &str, mut members: Value, sentence: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        if !self.json {
            return self.out.write_line(&format!("{seconds:>7.1} s  {sentence}"));
        }
        if let Some(members) = members.as_object_mut() {
            members.insert("event".to_owned(), json!(kind));
            members.insert("seconds".to_owned(), json!((seconds * 1_000.0).round() / 1_000.0));
        }
        self.out.write_line(&members.to_string());
    }

    pub(super) fn show_servers(&self, postgres: &Path, redis: &Path, folder: &Path) {
        let sentence = format!(
            "PostgreSQL ({}) and Redis ({}) start in {}; the logs of all programs are there too until the demo ends",
            postgres.display(),
            redis.display(),
            folder.display()
        );
        let members = json!({"postgres": postgres, "redis": redis, "folder": folder, "logs": folder.join("logs")});
        self.print("starting", members, &sentence);
    }

    pub(super) fn show_node(&self, name: &str, address: &str, pid: Option<u32>) {
        let pid_text = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
        self.print(
            "node",
            json!({"node": name, "url": format!("http://{address}"), "pid": pid}),
            &format!("{name} serves http://{address}{pid_text}"),
        );
    }

    /// The edge serves the client and everybody else, and the session opens after this long.
    pub(super) fn show_listening(&self, address: &str, opens_in: Duration) {
        let url = format!("http://{address}");
        let ws = format!("ws://{address}/ws");
        let members = json!({"address": address, "url": url, "ws": ws, "opens_in_seconds": opens_in.as_secs()});
        let sentence = format!("dashboard of the edge: {url}/   its nodes: candela cluster --url {url}");
        self.print("listening", members, &sentence);
        if !self.json {
            let plan = format!(
                "a client of the edge reports what it sees; the market opens in {} s; {} s later the leader is killed, then about every {} s",
                opens_in.as_secs(),
                limits::DEMO_FIRST_KILL.as_secs(),
                limits::DEMO_START_AGAIN
                    .saturating_add(limits::DEMO_KILL_EVERY)
                    .as_secs()
            );
            self.print("", Value::Null, &plan);
        }
    }

    pub(super) fn show_stop(&self, why: &str) {
        let sentence = format!("{why}: all programs are stopped");
        self.print("stopping", json!({"why": why}), &sentence);
    }

    pub(super) fn show_standby(&self, name: &str) {
        self.print("standby", json!({"node": name}), &format!("{name} stands by"));
    }

    pub(super) fn show_kill(&self, name: &str, pid: u32, term: u64) {
        self.print(
            "killed",
            json!({"node": name, "pid": pid, "term": term}),
            &format!("KILL     {name}, which leads under term {term}, is killed with SIGKILL (process {pid})"),
        );
    }

    pub(super) fn show_restart(&self, name: &str, why: &str) {
        self.print(
            "started_again",
            json!({"node": name, "why": why}),
            &format!("{name} is started again ({why})"),
        );
    }

    pub(super) fn show_break(&self, what: &str) {
        self.print("break", json!({"what": what}), &format!("BREAK    {what}"));
    }

    /// Prints what the client saw; `name_of` names the node of a process.
    pub(super) fn show_sight(&self, sight: &Sight, name_of: impl Fn(u32) -> &'static str) {
        match sight {
            Sight::FirstPrice => self.print("first_price", json!({}), "prices   the first one arrives"),
            Sight::Leads { term, pid, after } => {
                let name = name_of(*pid);
                let members = json!({"node": name, "pid": pid, "term": term, "after_seconds": after.map(|after| after.as_secs_f64())});
                let late = after.map_or_else(String::new, |after| format!(", {} after the kill", in_seconds(after)));
                self.print(
                    "leader",
                    members,
                    &format!("LEADER   {name} leads under term {term}{late}"),
                );
            }
            Sight::PricesAgain { after } => self.print(
                "prices_again",
                json!({"after_seconds": after.as_secs_f64()}),
                &format!("prices   they arrive again, {} after the kill", in_seconds(*after)),
            ),
            Sight::Gap(gap) => self.print("gap", gap.clone(), &gap_sentence(gap)),
            Sight::Bar(bar) => self.print("bar", bar.clone(), &bar_sentence(bar)),
            Sight::Session(session) => {
                let phase = session["status"].as_str().unwrap_or("?").replace('_', " ");
                self.print("session", session.clone(), &format!("session  {phase}"));
            }
        }
    }

    /// Prints the summary, the last output: everything is stopped then.
    pub(super) fn show_summary(&self, tally: &ClusterTally) {
        if self.json {
            let members = serde_json::to_value(tally).unwrap_or_default();
            return self.print("summary", members, "");
        }
        let lasted = match (tally.shortest_takeover_seconds, tally.longest_takeover_seconds) {
            (Some(shortest), Some(longest)) if shortest < longest => {
                format!(": prices were back {shortest:.1} to {longest:.1} s after the kill")
            }
            (Some(only), _) => format!(": prices were back {only:.1} s after the kill"),
            _ => String::new(),
        };
        let connection = match tally.reconnects {
            0 => "the client kept its connection".to_owned(),
            count => format!("the client reconnected {count} times"),
        };
        for line in [
            String::new(),
            format!("Summary, {} s", self.began.elapsed().as_secs()),
            format!(
                "  leaders     {} killed, {} succeeded{lasted}",
                tally.kills, tally.takeovers
            ),
            format!(
                "  gaps        {} announced, {} healed",
                tally.gaps_announced, tally.gaps_healed
            ),
            format!(
                "  continuity  {} breaks in {} messages, {} of them prices; {connection}",
                tally.breaks, tally.messages, tally.prices
            ),
            "Everything is stopped, and its folder is removed.".to_owned(),
        ] {
            self.out.write_line(&line);
        }
    }
}

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Hours and minutes of an instant, as the market's clock shows them.
fn clock_time(instant: &Value) -> &str {
    instant.as_str().and_then(|text| text.get(11..16)).unwrap_or("?")
}

fn gap_sentence(gap: &Value) -> String {
    let what = match gap["status"].as_str() {
        Some("open") => "is announced",
        Some("filled") => "is healed: its bars are here",
        _ => "cannot be healed: the vendor has no bars of it",
    };
    let bars = match gap["bars"].as_u64() {
        Some(1) => "1 bar".to_owned(),
        count => format!("{} bars", count.unwrap_or(0)),
    };
    format!(
        "gap      {} {what} ({bars}, {} to {}, {})",
        gap["id"].as_str().unwrap_or("?"),
        clock_time(&gap["from"]),
        clock_time(&gap["to"]),
        gap["cause"].as_str().unwrap_or("?")
    )
}

fn bar_sentence(bar: &Value) -> String {
    format!(
        "bar      {} {}: {} at the close, {} ticks, {}",
        clock_time(&bar["open_time"]),
        bar["state"].as_str().unwrap_or("?"),
        bar["close"],
        bar["ticks"],
        bar["provenance"].as_str().unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_bars_are_sentences_with_the_market_s_time() {
        let gap = json!({"id": "g-1", "status": "open", "bars": 1, "from": "2025-10-22T08:10:00-05:00", "to": "2025-10-22T08:15:00-05:00",
            "cause": "process_down"});
        assert_eq!(
            gap_sentence(&gap),
            "gap      g-1 is announced (1 bar, 08:10 to 08:15, process_down)"
        );
        let bar = json!({"open_time": "2025-10-22T08:10:00-05:00", "state": "closed", "close": 3887.62, "ticks": 82, "provenance": "live"});
        assert_eq!(
            bar_sentence(&bar),
            "bar      08:10 closed: 3887.62 at the close, 82 ticks, live"
        );
    }
}
