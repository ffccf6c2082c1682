//! Detects whether the vendor still answers on a link: heartbeats, pings, and the vendor's limit on messages from us.
//!
//! Three proofs of life, weakest first: a protocol pong (the address answers), a heartbeat's answer (the vendor's program answers), a
//! price. When heartbeats that used to be answered no longer are, the program behind the open socket is dead.

use crate::domain::model::Timestamp;
use crate::domain::vendor::{Frame, wire};
use crate::limits;
use std::collections::VecDeque;
use std::time::Duration;

/// The liveness of the current connection. Outlives connections: the vendor counts messages by key, not by connection.
#[derive(Debug, Clone)]
pub struct Liveness {
    patience: Duration,
    heartbeat_at: Timestamp,
    /// When a ping was sent that nothing has answered yet.
    pinged_at: Option<Timestamp>,
    last_heard_at: Option<Timestamp>,
    /// Whether the vendor has ever answered a heartbeat.
    echoes: bool,
    unanswered: u32,
    /// When the first of the unanswered heartbeats was sent.
    unanswered_since: Timestamp,
    /// When messages were sent within the last minute.
    said_at: VecDeque<Timestamp>,
    /// Messages that wait for the limit to allow them.
    held: VecDeque<String>,
    muted_until: Timestamp,
}

/// The result of a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtDeadline {
    /// The vendor does not answer, with the cause.
    Dead(&'static str),
    /// The link goes on; send this.
    Fine(ToSend),
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToSend {
    /// A protocol ping.
    pub ping: bool,
    /// Text frames.
    pub texts: Vec<String>,
}

impl Liveness {
    /// `patience` is how long a pong may take.
    pub const fn new(patience: Duration) -> Self {
        Self {
            patience,
            heartbeat_at: Timestamp::from_micros(0),
            pinged_at: None,
            last_heard_at: None,
            echoes: false,
            unanswered: 0,
            unanswered_since: Timestamp::from_micros(0),
            said_at: VecDeque::new(),
            held: VecDeque::new(),
            muted_until: Timestamp::from_micros(0),
        }
    }

    /// A connection opened. Returns when the first message may be sent: now, unless the limit of this minute is used up.
    pub fn open(&mut self, now: Timestamp) -> Timestamp {
        self.heartbeat_at = now + limits::HEARTBEAT;
        self.pinged_at = None;
        self.unanswered = 0;
        self.held.clear();
        self.may_speak_at(now)
    }

    /// Returns the text if the vendor's limit allows sending it now. Otherwise holds it for later; when too many wait, the oldest is
    /// dropped.
    #[must_use]
    pub fn say(&mut self, text: String, now: Timestamp) -> Option<String> {
        if self.may_speak_at(now) > now {
            self.held.push_back(text);
            if self.held.len() > limits::EVENTS_A_MINUTE {
                self.held.pop_front();
            }
            return None;
        }
        self.said_at.push_back(now);
        Some(text)
    }

    /// A frame was received.
    pub fn heard(&mut self, frame: &Frame, now: Timestamp) {
        self.last_heard_at = Some(now);
        self.pinged_at = None;
        match frame {
            Frame::Heartbeat => {
                self.echoes = true;
                self.unanswered = 0;
            }
            Frame::Price(_) | Frame::Rounded(_) | Frame::Unusable(_) => self.unanswered = 0,
            Frame::Processing { too_many: true, .. } => self.muted_until = now.floor(MINUTE) + MINUTE,
            _ => {}
        }
    }

    /// A pong was received. Returns whether it is the only proof of life since the last heartbeat.
    pub fn ponged(&mut self, now: Timestamp) -> bool {
        self.pinged_at = None;
        let silent = self.last_heard_at.is_none_or(|at| at + limits::HEARTBEAT < now);
        silent && !self.echoes
    }

    /// When [`Liveness::on_deadline`] is due.
    pub fn next_deadline(&self) -> Timestamp {
        let pong_due = self.pinged_at.map(|at| at + self.patience);
        let held = self
            .held
            .front()
            .and_then(|_| self.said_at.front())
            .map(|oldest| (*oldest + MINUTE).max(self.muted_until));
        [pong_due, held]
            .into_iter()
            .flatten()
            .fold(self.heartbeat_at, Timestamp::min)
    }

    /// Checks answers, and decides what to send.
    #[must_use]
    pub fn on_deadline(&mut self, now: Timestamp) -> AtDeadline {
        if self.pinged_at.is_some_and(|at| at + self.patience <= now) {
            return AtDeadline::Dead("pong_timeout");
        }
        let mut said = ToSend::default();
        while self.may_speak_at(now) <= now
            && let Some(text) = self.held.pop_front()
        {
            self.said_at.push_back(now);
            said.texts.push(text);
        }
        if self.heartbeat_at <= now {
            let waited = now.since(self.unanswered_since) >= self.patience;
            if self.echoes && self.unanswered >= limits::HEARTBEATS_UNANSWERED && waited {
                return AtDeadline::Dead("heartbeat_unanswered");
            }
            self.heartbeat_at = now + limits::HEARTBEAT;
            self.pinged_at = self.pinged_at.or(Some(now));
            said.ping = true;
            if self.may_speak_at(now) <= now {
                if self.unanswered == 0 {
                    self.unanswered_since = now;
                }
                self.unanswered = self.unanswered.saturating_add(1);
                self.said_at.push_back(now);
                said.texts.push(wire::heartbeat());
            }
        }
        AtDeadline::Fine(said)
    }

    /// The earliest instant at which one more message keeps within the vendor's limit.
    fn may_speak_at(&mut self, now: Timestamp) -> Timestamp {
        while self.said_at.front().is_some_and(|at| now.since(*at) >= MINUTE) {
            self.said_at.pop_front();
        }
        let full = self.said_at.len() >= limits::EVENTS_A_MINUTE;
        let free_at = self
            .said_at
            .front()
            .filter(|_| full)
            .map_or(now, |oldest| *oldest + MINUTE);
        free_at.max(self.muted_until)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(1_772_460_000);

    fn liveness() -> Liveness {
        let mut liveness = Liveness::new(Duration::from_secs(5));
        assert_eq!(liveness.open(NOON), NOON);
        liveness
    }

    fn beat(liveness: &mut Liveness) -> (Timestamp, AtDeadline) {
        let at = liveness.next_deadline();
        (at, liveness.on_deadline(at))
    }

    #[test]
    fn a_heartbeat_and_a_ping_go_out_every_ten_seconds() {
        let mut liveness = liveness();
        for beats in 1..=5 {
            let (at, verdict) = beat(&mut liveness);
            assert_eq!(at, NOON + Duration::from_secs(10) * beats);
            assert_eq!(
                verdict,
                AtDeadline::Fine(ToSend {
                    ping: true,
                    texts: vec![wire::heartbeat()]
                })
            );
            assert!(liveness.ponged(at), "nothing else proves life");
        }
    }

    #[test]
    fn a_ping_that_nothing_answers_means_death_after_the_patience() {
        let mut liveness = liveness();
        let (sent, _) = beat(&mut liveness);
        assert_eq!(
            beat(&mut liveness),
            (sent + Duration::from_secs(5), AtDeadline::Dead("pong_timeout"))
        );
    }

    #[test]
    fn any_frame_answers_a_ping() {
        let mut liveness = liveness();
        let (sent, _) = beat(&mut liveness);
        liveness.heard(&Frame::UnsubscribeStatus, sent);
        assert_eq!(liveness.next_deadline(), sent + Duration::from_secs(10));
    }

    #[test]
    fn heartbeats_that_used_to_be_answered_and_are_not_any_more_mean_death() {
        let mut liveness = liveness();
        liveness.heard(&Frame::Heartbeat, NOON);
        let verdicts: Vec<AtDeadline> = (0..4)
            .map(|_| {
                let (at, verdict) = beat(&mut liveness);
                assert!(!liveness.ponged(at), "an echoing vendor is not alive by its pong alone");
                verdict
            })
            .collect();
        assert!(matches!(verdicts[2], AtDeadline::Fine(_)));
        assert_eq!(verdicts[3], AtDeadline::Dead("heartbeat_unanswered"));
    }

    #[test]
    fn where_market_time_runs_fast_unanswered_heartbeats_are_given_the_patience_of_the_network() {
        let mut liveness = Liveness::new(Duration::from_secs(500));
        liveness.open(NOON);
        liveness.heard(&Frame::Heartbeat, NOON);
        let died = (0..100).find_map(|_| match beat(&mut liveness) {
            (at, AtDeadline::Dead(cause)) => Some((at.since(NOON), cause)),
            (at, AtDeadline::Fine(_)) => {
                liveness.ponged(at);
                None
            }
        });
        assert_eq!(died, Some((Duration::from_secs(510), "heartbeat_unanswered")));
    }

    #[test]
    fn a_vendor_that_never_echoed_is_not_dead_for_it() {
        let mut liveness = liveness();
        for _ in 0..50 {
            let (at, verdict) = beat(&mut liveness);
            assert!(matches!(verdict, AtDeadline::Fine(_)));
            liveness.ponged(at);
        }
    }

    #[test]
    fn no_minute_has_more_events_than_the_vendor_allows() {
        let mut liveness = liveness();
        let said = (0..300).filter(|_| liveness.say(wire::reset(), NOON).is_some()).count();
        assert_eq!(said, limits::EVENTS_A_MINUTE);
        assert_eq!(
            liveness.held.len(),
            limits::EVENTS_A_MINUTE,
            "what waits is bounded as well"
        );
        let mut spoken = 0;
        for second in 1..=60 {
            let now = NOON + Duration::from_secs(second);
            if let AtDeadline::Fine(said) = liveness.on_deadline(now) {
                spoken += said.texts.len();
            }
            liveness.ponged(now);
        }
        assert_eq!(
            spoken,
            limits::EVENTS_A_MINUTE,
            "a minute later as many again, and no more"
        );
    }

    #[test]
    fn told_that_we_talk_too_much_we_are_quiet_until_the_next_minute() {
        let mut liveness = liveness();
        liveness.heard(
            &Frame::Processing {
                too_many: true,
                messages: vec![],
            },
            NOON,
        );
        assert_eq!(liveness.say(wire::reset(), NOON + Duration::from_secs(59)), None);
        assert!(liveness.say(wire::reset(), NOON + MINUTE).is_some());
    }
}
