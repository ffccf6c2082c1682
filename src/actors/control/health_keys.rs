//! The keys on `/status`: the old service's fields, and the forecast of today's credits.

use crate::actors::views::PollerView;
use crate::domain::model::{Timestamp, ZonedInstant};
use crate::domain::vendor::{Forecast, KeysView, Spendable};
use crate::views::KeyUsageView;
use crate::views::status::{ForecastStatus, KeyStatus};
use chrono_tz::Tz;
use std::time::Duration;

/// The status of each key.
pub(super) fn key_statuses(keys: &KeysView, zone: Tz) -> Vec<KeyStatus> {
    let keys = keys.keys.iter();
    keys.map(|(key, tail)| KeyStatus::new(key, tail, zone)).collect()
}

/// The credits that will be used by the end of today; without polling, those used so far.
pub(crate) fn forecast(keys: &KeysView, poller: &PollerView, now: Timestamp, zone: Tz) -> ForecastStatus {
    let Spendable { used, available, .. } = keys.spendable;
    let today = Forecast {
        at: now,
        used,
        expected: used,
        available,
        starved: false,
    };
    let forecast = poller.forecast.filter(|_| !poller.polled.is_empty()).unwrap_or(today);
    ForecastStatus {
        at: ZonedInstant::new(forecast.at, zone),
        used,
        expected: forecast.expected.max(used),
        available,
        fits: forecast.fits(),
        polled: poller.polled.clone(),
        every_seconds: poller.every.map(|every| every.as_secs_f64()),
    }
}

/// The old service's fields about keys.
pub(super) fn key_usage(keys: &KeysView, spacing: Duration) -> KeyUsageView {
    let calls = keys.keys.iter().map(|(key, _)| key.calls_total);
    let last = (1..)
        .zip(&keys.keys)
        .find(|(_, (key, _))| key.of_link)
        .map_or(1, |(place, _)| place);
    KeyUsageView {
        total_keys: u64::try_from(keys.keys.len()).unwrap_or(u64::MAX),
        current_key_index: last,
        total_calls: calls.clone().sum(),
        calls_per_key: (1_u32..)
            .zip(calls)
            .map(|(place, calls)| (format!("key_{place}"), calls))
            .collect(),
        rate_limit_delay: spacing.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Symbol;

    const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);

    fn spent(used: u32) -> KeysView {
        let spendable = Spendable {
            used,
            available: 800,
            ..Spendable::default()
        };
        KeysView {
            keys: Vec::new(),
            spendable,
        }
    }

    #[test]
    fn without_polling_today_costs_what_it_has() {
        let told = forecast(&spent(7), &PollerView::default(), NOON, Tz::UTC);
        let spent = ForecastStatus {
            at: ZonedInstant::new(NOON, Tz::UTC),
            used: 7,
            expected: 7,
            available: 800,
            fits: true,
            polled: Vec::new(),
            every_seconds: None,
        };
        assert_eq!(told, spent);
    }

    #[test]
    fn with_polling_it_is_what_the_poller_plans_and_says_when_that_does_not_fit() {
        let poller = PollerView {
            polled: vec![Symbol::usdcop()],
            every: Some(Duration::from_millis(12_500)),
            forecast: Some(Forecast {
                at: NOON,
                used: 7,
                expected: 900,
                available: 800,
                starved: false,
            }),
            ..PollerView::default()
        };
        let told = forecast(&spent(9), &poller, NOON, Tz::UTC);
        assert_eq!(
            (told.expected, told.used, told.fits, told.every_seconds),
            (900, 9, false, Some(12.5))
        );
    }
}
