//! What a client of the demo's edge sees: prices, bars, gaps, and which node leads.

use crate::clock::Stopwatch;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Something worth showing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sight {
    FirstPrice,
    /// A node leads under a new term; how long after the last leader was killed.
    Leads {
        term: u64,
        pid: u32,
        after: Option<Duration>,
    },
    /// The first price after a takeover; how long after the kill.
    PricesAgain {
        after: Duration,
    },
    /// A gap was announced, or changed.
    Gap(Value),
    /// A bar closed, or was revised.
    Bar(Value),
    /// The session opened or closed.
    Session(Value),
}

/// The counts at the end.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct ClusterTally {
    /// Leaders that were killed.
    pub(super) kills: u64,
    /// Takeovers that the client saw.
    pub(super) takeovers: u64,
    /// From a kill to the next price, in seconds: the shortest.
    pub(super) shortest_takeover_seconds: Option<f64>,
    /// And the longest.
    pub(super) longest_takeover_seconds: Option<f64>,
    /// The last leader's term.
    pub(super) term: u64,
    /// Gaps that were announced.
    pub(super) gaps_announced: u64,
    /// Gaps that were filled.
    pub(super) gaps_healed: u64,
    /// Prices that the client received.
    pub(super) prices: u64,
    /// Messages that the client received.
    pub(super) messages: u64,
    /// Breaks of continuity: numbers that were missing, repeated or out of order.
    pub(super) breaks: u64,
    /// How often the client had to reconnect.
    pub(super) reconnects: u64,
}

/// The client's memory.
#[derive(Debug, Default)]
pub(super) struct Observer {
    pub(super) tally: ClusterTally,
    pub(super) leader: Option<u32>,
    killed: Option<Stopwatch>,
    taken_over: bool,
}

impl Observer {
    /// The leader is killed at this moment.
    pub(super) fn note_kill(&mut self) {
        self.tally.kills = self.tally.kills.saturating_add(1);
        self.killed = Some(Stopwatch::start());
        self.taken_over = false;
    }

    /// Whether prices are awaited from the successor of a leader that was killed.
    pub(super) const fn awaits_prices(&self) -> bool {
        self.killed.is_some()
    }

    /// Another node leads, by whichever way the client learns it.
    pub(super) fn note_leader(&mut self, term: u64, pid: u32) -> Option<Sight> {
        if term <= self.tally.term {
            return None;
        }
        self.tally.term = term;
        self.leader = Some(pid);
        self.taken_over = true;
        let after = self.killed.as_ref().map(Stopwatch::elapsed);
        Some(Sight::Leads { term, pid, after })
    }

    /// Takes a message of the edge.
    pub(super) fn hear(&mut self, message: &Value) -> Option<Sight> {
        let data = &message["data"];
        match message["type"].as_str()? {
            "market_data" => self.note_price(),
            "event" if data["type"] == "started" => {
                let details = &data["details"];
                let term = details["term"].as_str()?.parse().ok()?;
                let pid = details["pid"].as_str()?.parse().ok()?;
                self.note_leader(term, pid)
            }
            "gap" => self.note_gap(data),
            "bar" if data["state"] == "closed" || data["state"] == "revised" => Some(Sight::Bar(data.clone())),
            "session" => Some(Sight::Session(data.clone())),
            _ => None,
        }
    }

    fn note_price(&mut self) -> Option<Sight> {
        self.tally.prices = self.tally.prices.saturating_add(1);
        if self.tally.prices == 1 {
            return Some(Sight::FirstPrice);
        }
        let after = self.killed.as_ref().filter(|_| self.taken_over)?.elapsed();
        self.killed = None;
        let tally = &mut self.tally;
        tally.takeovers = tally.takeovers.saturating_add(1);
        let seconds = after.as_secs_f64();
        let shortest = tally.shortest_takeover_seconds.get_or_insert(seconds);
        *shortest = shortest.min(seconds);
        let longest = tally.longest_takeover_seconds.get_or_insert(seconds);
        *longest = longest.max(seconds);
        Some(Sight::PricesAgain { after })
    }

    fn note_gap(&mut self, gap: &Value) -> Option<Sight> {
        match gap["status"].as_str()? {
            "open" => self.tally.gaps_announced = self.tally.gaps_announced.saturating_add(1),
            "filled" => self.tally.gaps_healed = self.tally.gaps_healed.saturating_add(1),
            "unfillable" => {}
            _ => return None,
        }
        Some(Sight::Gap(gap.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn price() -> Value {
        json!({"type": "market_data", "channel": "ticks:USD/COP", "seq": 1, "data": {}})
    }

    fn started(term: &str) -> Value {
        json!({"type": "event", "data": {"type": "started", "cause": "took_over", "details": {"term": term, "pid": "77"}}})
    }

    #[tokio::test(start_paused = true)]
    async fn a_takeover_lasts_from_the_kill_to_the_first_price_of_the_next_leader() {
        let mut observer = Observer::default();
        assert_eq!(observer.hear(&price()), Some(Sight::FirstPrice));
        assert_eq!(
            observer.note_leader(1, 70),
            Some(Sight::Leads {
                term: 1,
                pid: 70,
                after: None
            })
        );
        observer.note_kill();
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(
            observer.hear(&price()),
            None,
            "it was under way when the leader was killed"
        );
        tokio::time::advance(Duration::from_millis(2_990)).await;
        let after = Some(Duration::from_secs(3));
        assert_eq!(
            observer.hear(&started("2")),
            Some(Sight::Leads {
                term: 2,
                pid: 77,
                after
            })
        );
        assert_eq!(observer.note_leader(2, 77), None, "shown once");
        tokio::time::advance(Duration::from_millis(500)).await;
        let after = Duration::from_millis(3_500);
        assert_eq!(observer.hear(&price()), Some(Sight::PricesAgain { after }));
        assert_eq!(observer.hear(&price()), None);
        observer.note_kill();
        tokio::time::advance(Duration::from_secs(4)).await;
        observer.hear(&started("3"));
        observer.hear(&price());
        let tally = &observer.tally;
        assert_eq!((tally.kills, tally.takeovers, tally.term, tally.prices), (2, 2, 3, 5));
        assert_eq!(
            (tally.shortest_takeover_seconds, tally.longest_takeover_seconds),
            (Some(3.5), Some(4.0))
        );
    }

    #[test]
    fn gaps_are_counted_when_they_are_announced_and_when_they_are_filled() {
        let mut observer = Observer::default();
        let seen: Vec<bool> = ["open", "filling", "filled", "unfillable"]
            .iter()
            .map(|status| {
                observer
                    .hear(&json!({"type": "gap", "data": {"id": "g-1", "status": status}}))
                    .is_some()
            })
            .collect();
        assert_eq!(seen, [true, false, true, true]);
        assert_eq!((observer.tally.gaps_announced, observer.tally.gaps_healed), (1, 1));
    }
}
