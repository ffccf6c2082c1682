//! A leader's report beside the cluster log, and for how long a node may believe it.

use crate::domain::model::{Gap, Symbol};
use crate::domain::status::{ConditionView, SymbolView};
use crate::domain::vendor::{KeySlot, KeyUse};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A leader's report, sent each second. An edge shows it as its own state while it is recent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct LeaderNews {
    /// Incremented with each report: an unchanged number means that there was no new report.
    pub said: u64,
    /// The state of its life cycle.
    pub state: String,
    /// Since when it is in that state; microseconds since 1970.
    pub since_us: i64,
    /// The reason for that state.
    pub reason: String,
    /// The view of each pair.
    pub pairs: BTreeMap<Symbol, SymbolView>,
    /// The conditions, as `/status` shows them.
    pub conditions: Vec<ConditionView>,
    /// Pending gaps.
    pub gaps: Vec<Gap>,
    /// Today's use of each API key.
    #[serde(default)]
    pub keys: Vec<KeyUse>,
    /// The API key of its link to the vendor.
    #[serde(default)]
    pub link_key: Option<KeySlot>,
}

/// What a follower knows about the cluster log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogNews {
    /// How long ago anything came from the leader; `None` if nothing ever did.
    pub age: Option<Duration>,
    /// For how long this node has lacked what the cluster log has.
    pub lag: Duration,
    /// The leader's last report.
    pub leader: Option<LeaderNews>,
    /// Why the cluster log does not answer.
    pub trouble: Option<String>,
}

impl LogNews {
    /// The leader's report, if it is recent enough to be believed, and this node is not behind the cluster log.
    pub fn believed(&self) -> Option<&LeaderNews> {
        let young = self.lag <= limits::LOG_AGE_MOST && self.age.is_some_and(|age| age <= limits::LOG_AGE_MOST);
        self.leader.as_ref().filter(|_| young)
    }

    /// Why no report of the leader is believed, as a name and a sentence; `None` if one is.
    pub fn stale(&self) -> Option<(&'static str, String)> {
        if self.believed().is_some() {
            return None;
        }
        if let Some(trouble) = &self.trouble {
            return Some(("log_away", format!("The cluster log cannot be read: {trouble}.")));
        }
        if self.lag > limits::LOG_AGE_MOST {
            let seconds = self.lag.as_secs();
            let message = format!("This node has been behind the cluster log for {seconds} s: what is shown is old.");
            return Some(("behind", message));
        }
        let since = match self.age {
            Some(age) => format!("for {} s", age.as_secs()),
            None => "since this node started".to_owned(),
        };
        Some((
            "leader_silent",
            format!("No report of the leader was received {since}: the data that is shown may be old."),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_heard_lately_is_believed() {
        let fresh = LogNews {
            age: Some(limits::LOG_AGE_MOST),
            leader: Some(LeaderNews::default()),
            ..LogNews::default()
        };
        assert_eq!((fresh.believed().is_some(), fresh.stale()), (true, None));
        let old = LogNews {
            age: Some(limits::LOG_AGE_MOST + Duration::from_secs(1)),
            ..fresh.clone()
        };
        assert_eq!(old.stale().unwrap().0, "leader_silent");
        let behind = LogNews {
            lag: limits::LOG_AGE_MOST + Duration::from_secs(1),
            ..fresh.clone()
        };
        assert!(
            behind.believed().is_none(),
            "the leader is well, and its ticks do not come"
        );
        assert_eq!(behind.stale().unwrap().0, "behind");
        let away = LogNews {
            trouble: Some("connection refused".to_owned()),
            ..old
        };
        assert_eq!(away.stale().unwrap().0, "log_away");
        let silent = LogNews {
            leader: None,
            ..fresh.clone()
        };
        assert!(silent.stale().is_some(), "its parcels come, and nothing says how it is");
        assert!(
            LogNews::default()
                .stale()
                .unwrap()
                .1
                .contains("since this node started")
        );
        let trouble = LogNews {
            trouble: Some("reset".to_owned()),
            ..fresh
        };
        assert_eq!(trouble.stale(), None, "a moment without an answer changes nothing");
    }

    #[test]
    fn what_a_leader_says_is_read_back() {
        let mut news = LeaderNews {
            said: 7,
            state: "active".to_owned(),
            ..LeaderNews::default()
        };
        news.pairs.insert(Symbol::usdcop(), SymbolView::default());
        let text = serde_json::to_string(&news).unwrap();
        assert_eq!(serde_json::from_str::<LeaderNews>(&text).unwrap(), news);
    }
}
