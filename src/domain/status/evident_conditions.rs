//! Conditions that follow from evidence alone, and hold as long as the evidence shows them. Health holds them, so that they are reported
//! even when Root hangs.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::pipeline::{AcceptanceView, LagReading};
use crate::domain::status::{Condition, ConditionKind, Conditions, Evidence};
use crate::limits;
use std::collections::BTreeMap;

/// One pair's evidence, with details for its conditions.
#[derive(Debug, Clone)]
pub struct PairEvidence {
    /// The pair.
    pub symbol: Symbol,
    /// The evidence for the safety assessment.
    pub evidence: Evidence,
    /// The judgement of its prices.
    pub prices: Option<AcceptanceView>,
    /// The vendor's text, if polling was tried and returned nothing.
    pub poll_error: Option<String>,
}

/// All evidence of one instant.
#[derive(Debug, Clone, Default)]
pub struct AllEvidence {
    /// The evidence of each pair.
    pub pairs: Vec<PairEvidence>,
    /// How far our clock is off, in microseconds ([`clock_skew_us`]).
    pub skew_us: Option<i64>,
    /// The actors between the vendor and the clients that have no fresh pulse.
    pub unresponsive: Vec<String>,
}

/// The conditions, and the sizes in their messages.
#[derive(Debug, Clone, Default)]
pub struct EvidentConditions {
    conditions: Conditions,
    /// The reported sizes, whole seconds: a change within the accuracy of the measurement is not reported.
    told: BTreeMap<(ConditionKind, Option<Symbol>), i64>,
}

/// How far our clock is off, microseconds; negative if it is slow. `None` unless every pair with a settled reading shows the same.
pub fn clock_skew_us(readings: &[LagReading]) -> Option<i64> {
    let settled: Vec<&LagReading> = readings.iter().filter(|reading| reading.is_settled()).collect();
    if settled.is_empty() {
        return None;
    }
    let ahead: Option<Vec<i64>> = settled.iter().map(|reading| reading.ahead_us()).collect();
    if let Some(ahead) = ahead {
        let least = ahead
            .into_iter()
            .min()
            .filter(|us| *us <= micros(limits::CLOCK_SKEW_AHEAD_MOST));
        return least.map(|us| -us);
    }
    let behind: Option<Vec<i64>> = settled.iter().map(|reading| reading.behind_us()).collect();
    let behind = behind?;
    let least = behind.iter().min()?;
    let most = behind.iter().max()?;
    let minutes = settled.iter().any(|reading| reading.whole_minutes);
    let tolerance = micros(limits::LAG) + if minutes { micros(limits::LAG_MINUTE) } else { 0 };
    // An older timestamp is a fault of the vendor's: no maintained clock is so wrong.
    (most - least <= tolerance && *most <= micros(limits::CLOCK_SKEW_MOST)).then_some(*least)
}

impl EvidentConditions {
    /// Updates the conditions by all evidence.
    pub fn update(&mut self, evidence: &AllEvidence, now: Timestamp) {
        self.clock(evidence.skew_us, now);
        for pair in &evidence.pairs {
            self.stamps(pair, now);
            self.rejections(pair, now);
            self.refusal(pair, now);
        }
        let names = evidence.unresponsive.join(", ");
        let who = match evidence.unresponsive.len() {
            1 => "A part between the vendor and the clients does not respond",
            _ => "Parts between the vendor and the clients do not respond",
        };
        let message = format!("{who}: {names}.");
        let holds = (!names.is_empty()).then_some((names.as_str(), message.as_str()));
        self.set(ConditionKind::ActorUnresponsive, None, holds, now);
    }

    /// All conditions, those that hold first.
    pub fn list(&self) -> Vec<Condition> {
        self.conditions.list()
    }

    /// Whether a condition holds for this pair, or (`None`) for the service as a whole.
    pub fn holds(&self, kind: ConditionKind, symbol: Option<Symbol>) -> bool {
        self.conditions.holds(kind, symbol)
    }

    fn clock(&mut self, skew_us: Option<i64>, now: Timestamp) {
        let kind = ConditionKind::ClockSkewed;
        let told = skew_us.map(|us| self.steady(kind, None, us));
        let said = told.map(|secs| {
            let (reason, what) = if secs < 0 {
                ("clock_slow", "The machine's clock is slow")
            } else {
                (
                    "clock_fast",
                    "The machine's clock is fast, or the vendor delays every price",
                )
            };
            let message =
                format!("{what}: it differs from the vendor's stamps by {secs:+} s, the same for every pair.");
            (reason, message)
        });
        self.set(
            kind,
            None,
            said.as_ref().map(|(reason, message)| (*reason, message.as_str())),
            now,
        );
    }

    fn stamps(&mut self, pair: &PairEvidence, now: Timestamp) {
        let kind = ConditionKind::StampsLagging;
        let lag = pair.prices.as_ref().and_then(|prices| prices.lag);
        let lag = lag.filter(|lag| lag.is_settled() && pair.evidence.session.is_some());
        let behind = lag.and_then(|lag| lag.behind_us());
        let ahead = lag.and_then(|lag| lag.ahead_us());
        let symbol = pair.symbol;
        let said = match (behind, ahead) {
            (Some(us), _) => {
                let secs = self.steady(kind, Some(symbol), us);
                Some((
                    "old",
                    format!("Even the newest prices of {symbol} are stamped {secs} s before they arrive."),
                ))
            }
            (None, Some(us)) if us > micros(limits::STAMP_NO_SECONDS) => {
                let said = format!(
                    "Prices of {symbol} have stamps that are not seconds since 1970; perhaps they are milliseconds."
                );
                Some(("unit", said))
            }
            (None, Some(us)) => {
                let secs = self.steady(kind, Some(symbol), us);
                Some((
                    "ahead",
                    format!("Prices of {symbol} are stamped {secs} s ahead of the machine's clock."),
                ))
            }
            (None, None) => None,
        };
        self.set(
            kind,
            Some(symbol),
            said.as_ref().map(|(reason, message)| (*reason, message.as_str())),
            now,
        );
    }

    fn rejections(&mut self, pair: &PairEvidence, now: Timestamp) {
        let prices = pair.prices.as_ref().filter(|_| pair.evidence.session.is_some());
        let said = prices.and_then(|prices| {
            let names: Vec<&str> = prices.troubling.keys().map(|reason| reason.name()).collect();
            let reason = prices.rejection_reason(now)?;
            if reason == "unconfirmed" {
                let message = format!(
                    "Prices of {} wait to be confirmed: they are far from the last good one, or none is known.",
                    pair.symbol
                );
                return Some((reason, message));
            }
            let which = if reason == "streak" {
                "All of the newest"
            } else {
                "Many of the newest"
            };
            let message = format!(
                "{which} prices of {} were set aside ({}).",
                pair.symbol,
                names.join(", ")
            );
            Some((reason, message))
        });
        let said = said.as_ref().map(|(reason, message)| (*reason, message.as_str()));
        self.set(ConditionKind::TicksRejected, Some(pair.symbol), said, now);
    }

    fn refusal(&mut self, pair: &PairEvidence, now: Timestamp) {
        let refused = pair.evidence.session.is_some() && pair.evidence.refused(now);
        let said = pair.poll_error.as_ref().filter(|_| refused).map(|error| {
            format!(
                "The vendor does not stream {}, and polling for it fails: {error}.",
                pair.symbol
            )
        });
        let said = said.as_ref().map(|message| ("refused", message.as_str()));
        self.set(ConditionKind::SymbolRefused, Some(pair.symbol), said, now);
    }

    fn set(&mut self, kind: ConditionKind, symbol: Option<Symbol>, said: Option<(&str, &str)>, now: Timestamp) {
        match said {
            Some((reason, message)) => self.conditions.raise(kind, symbol, reason, message, now),
            None => {
                self.told.remove(&(kind, symbol));
                self.conditions.clear(kind, symbol, now)
            }
        };
    }

    /// The size in whole seconds as reported before, until it differs by more than the accuracy of the measurement.
    fn steady(&mut self, kind: ConditionKind, symbol: Option<Symbol>, us: i64) -> i64 {
        let secs = (us + 500_000 * us.signum()) / 1_000_000;
        let told = self.told.entry((kind, symbol)).or_insert(secs);
        if told.abs_diff(secs) > limits::LAG.as_secs() / 4 {
            *told = secs;
        }
        *told
    }
}

fn micros(of: std::time::Duration) -> i64 {
    i64::try_from(of.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(secs: i64) -> LagReading {
        let us = secs * 1_000_000;
        LagReading {
            samples: 10,
            least_us: us,
            median_us: us,
            whole_minutes: false,
        }
    }

    #[test]
    fn a_difference_that_every_pair_shows_is_the_clocks() {
        assert_eq!(clock_skew_us(&[]), None);
        assert_eq!(clock_skew_us(&[reading(-70), reading(-69)]), Some(-69_000_000));
        assert_eq!(clock_skew_us(&[reading(90), reading(91)]), Some(90_000_000));
        assert_eq!(
            clock_skew_us(&[reading(-70), reading(0)]),
            None,
            "one pair is right: so is the clock"
        );
        assert_eq!(
            clock_skew_us(&[reading(90), reading(300)]),
            None,
            "they are late by different times"
        );
        assert_eq!(
            clock_skew_us(&[reading(7_200)]),
            None,
            "two hours are the vendor's affair"
        );
        assert_eq!(
            clock_skew_us(&[reading(-1_700_000_000_000)]),
            None,
            "no clock is so wrong"
        );
        let unsettled = LagReading {
            samples: 2,
            ..reading(-70)
        };
        assert_eq!(clock_skew_us(&[unsettled]), None);
    }

    #[test]
    fn a_size_is_told_anew_only_when_it_has_changed() {
        let mut conditions = EvidentConditions::default();
        let mut message = |us| {
            let skewed = AllEvidence {
                skew_us: Some(us),
                ..AllEvidence::default()
            };
            conditions.update(&skewed, Timestamp::from_secs(1));
            conditions.list()[0].message.clone()
        };
        let first = message(-69_700_000);
        assert!(first.contains("-70 s"), "{first}");
        assert_eq!(message(-71_200_000), first);
        assert!(message(-80_000_000).contains("-80 s"));
        let hung = AllEvidence {
            unresponsive: vec!["aggregator".to_owned()],
            ..AllEvidence::default()
        };
        conditions.update(&hung, Timestamp::from_secs(2));
        let held: Vec<_> = conditions.list().iter().map(|one| (one.kind, one.status)).collect();
        assert_eq!(
            held,
            [
                (ConditionKind::ActorUnresponsive, true),
                (ConditionKind::ClockSkewed, false)
            ]
        );
        assert_eq!(conditions.list()[0].reason, "aggregator");
    }
}
