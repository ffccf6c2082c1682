//! A day without the vendor's WebSocket: prices are asked for over REST, within what the keys may spend.

use crate::feed_day::{Lived, Play, live};
use candela::domain::model::{Provenance, Timestamp};
use futures_util::future::join;
use std::time::Duration;

/// An hour; in the long form the whole session of fifty-nine bars.
fn minutes() -> u64 {
    if std::env::var_os("CANDELA_TEST_LONG").is_some() {
        295
    } else {
        60
    }
}

async fn polled(scenarios: &'static [&'static str], keys: u8) -> Lived {
    let play = Play {
        keys,
        speed: 100.0,
        polling: Some(Duration::from_secs(60)),
        ..Play::walk(scenarios, minutes())
    };
    live(&play).await
}

fn check_polled(name: &str, lived: &Lived) {
    assert_eq!(lived.unaccounted(), [], "{name}: neither bar nor gap");
    let expected = usize::try_from(minutes() / 5).unwrap();
    assert_eq!(
        lived.bars.len(),
        expected,
        "{name}: every bar is there; {:?}",
        lived.gaps
    );
    let from: Vec<Provenance> = lived.bars.values().map(|bar| bar.provenance).collect();
    let asked = |from: &Provenance| matches!(from, Provenance::Polled | Provenance::Backfill | Provenance::Mixed);
    assert!(
        from.iter().all(asked) && from.iter().filter(|from| **from == Provenance::Polled).count() >= expected - 2,
        "{name}: {from:?}"
    );
    let violations = lived.report.violations();
    assert!(violations.is_empty(), "{name}: {violations:?}");
}

/// Whether what was forecast once the pace was known is what the session then cost, within five percent and two calls.
fn check_forecast(name: &str, lived: &Lived) {
    let spent: u64 = lived.report.keys.iter().map(|key| key.used.credits_total).sum();
    let halfway = lived
        .forecasts
        .get(lived.forecasts.len() / 2)
        .unwrap_or_else(|| panic!("{name}: no forecast"));
    let expected = u64::from(halfway.expected);
    assert!(
        expected.abs_diff(spent) <= spent / 20 + 2,
        "{name}: {expected} forecast, {spent} spent"
    );
}

#[actix_rt::test]
async fn without_a_websocket_every_bar_is_polled_within_the_budget_and_the_forecast_holds() {
    let (all_keys, some_keys) = join(polled(&["no-websocket"], 16), polled(&["no-upgrades", "dead-keys"], 16)).await;
    for (name, lived) in [("no-websocket", all_keys), ("no-upgrades and dead-keys", some_keys)] {
        check_polled(name, &lived);
        check_forecast(name, &lived);
    }
}

/// Sixteen keys of which two are not known and four have spent their day; outages that need REST while the link is away.
#[actix_rt::test]
async fn a_streamed_session_on_sixteen_keys_two_dead_and_four_spent_misses_no_bar_and_breaks_no_rule() {
    let play = Play {
        keys: 16,
        polling: Some(Duration::from_secs(60)),
        compares: true,
        ..Play::walk(&["dead-keys", "two-outages"], minutes())
    };
    let lived = live(&play).await;
    // A polled bar is a sample, and says so: it may differ.
    let exact = |at: &Timestamp| matches!(lived.bars[at].provenance, Provenance::Live | Provenance::Backfill);
    let wrong: Vec<Timestamp> = lived.silently_wrong().into_iter().filter(exact).collect();
    assert_eq!((lived.unaccounted(), wrong), (vec![], vec![]));
    let expected = usize::try_from(minutes() / 5).unwrap();
    assert_eq!(lived.bars.len(), expected, "{:?}", lived.gaps);
    let violations = lived.report.violations();
    assert!(violations.is_empty(), "{violations:?}");
    let live = lived
        .bars
        .values()
        .filter(|bar| bar.provenance == Provenance::Live)
        .count();
    assert!(live >= expected - 5, "{live} of {expected} bars are the link's own");
}
