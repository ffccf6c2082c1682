//! The upstream killed in every way at every step of the handshake, in mid-session: each time prices flow again, and afterwards
//! every bar is the one of an undisturbed run, the missing ones backfilled and announced.

use crate::feed_day::{Lived, Play, live};
use candela::domain::model::{GapStatus, Ohlc, Provenance, Timestamp};
use futures_util::future::{join, join_all};
use std::collections::BTreeMap;
use std::time::Duration;

/// The steps, in their order: nothing read, the upgrade read, the upgrade granted, the subscribe read, its answer sent, the
/// first price sent.
const STEPS: [&str; 6] = ["connect", "upgrade", "open", "subscribe", "status", "price"];

/// A way to be killed, and the steps at which it can happen.
struct Kind {
    name: &'static str,
    act: &'static str,
    steps: &'static [&'static str],
}

/// A link that works is lost in this way after seven minutes; then each attempt gets one step further before it is lost as well.
fn play(kind: &Kind, minutes: u64) -> Play {
    let mut script = format!(
        "at +7m {}\n",
        if kind.act.starts_with("refuse") {
            "drop 1006"
        } else {
            kind.act
        }
    );
    for step in kind.steps {
        // The link that worked came here first; attempts that failed at an earlier step did not.
        script.push_str(&format!("on {step} #2 {}\n", kind.act));
    }
    Play {
        script,
        ..Play::walk(&[], minutes)
    }
}

fn bars(lived: &Lived) -> BTreeMap<Timestamp, Ohlc> {
    lived.bars.iter().map(|(at, bar)| (*at, bar.ohlc)).collect()
}

fn check(kind: &Kind, lived: &Lived, undisturbed: &BTreeMap<Timestamp, Ohlc>) {
    let name = kind.name;
    let counters = &lived.report.counters;
    assert_eq!(
        counters.played.len(),
        kind.steps.len() + 1,
        "{name}: every kill happened: {:?}",
        counters.played
    );
    let mut same = undisturbed.clone();
    same.retain(|at, _| lived.bars.contains_key(at));
    assert_eq!(bars(lived), same, "{name}: {:?}", lived.gaps);
    assert_eq!(lived.bars.len(), lived.truth.len(), "{name}: {:?}", lived.gaps);
    assert_eq!(lived.silently_wrong(), [], "{name}");
    assert!(
        lived.gaps.values().all(|gap| gap.status == GapStatus::Filled),
        "{name}: {:?}",
        lived.gaps
    );
    let backfilled = lived.bars.values().filter(|bar| bar.provenance == Provenance::Backfill);
    for bar in backfilled {
        let at = bar.key.opens_at;
        let announced = lived.gaps.values().any(|gap| gap.from <= at && at < gap.to);
        assert!(announced, "{name}: {at} was filled and never missed");
    }
    let last = lived.bars.values().last().unwrap();
    assert!(
        last.ticks > 0 && last.provenance == Provenance::Live,
        "{name}: prices flow in the end: {last:?}"
    );
    let violations = lived.report.violations();
    assert!(violations.is_empty(), "{name}: {violations:?}");
}

async fn check_all(kinds: &[Kind], minutes: u64) {
    let plays = kinds.iter().map(|kind| play(kind, minutes));
    let (undisturbed, lived) = join(
        live(&Play::walk(&[], minutes)),
        join_all(plays.map(async |play| live(&play).await)),
    )
    .await;
    assert!(undisturbed.gaps.is_empty() && undisturbed.different().is_empty());
    for (kind, lived) in kinds.iter().zip(&lived) {
        check(kind, lived, &bars(&undisturbed));
    }
}

#[actix_rt::test]
async fn killed_at_once_at_every_step_the_bars_are_those_of_an_undisturbed_run() {
    let upgraded = &["open", "subscribe", "status", "price"];
    let kinds = [
        Kind {
            name: "close 1000",
            act: "drop 1000",
            steps: upgraded,
        },
        Kind {
            name: "close 1006",
            act: "drop 1006",
            steps: &STEPS,
        },
        Kind {
            name: "reset",
            act: "drop rst",
            steps: &STEPS,
        },
        Kind {
            name: "garbage",
            act: "send bad-frame",
            steps: upgraded,
        },
        Kind {
            name: "refused upgrade",
            act: "refuse upgrades 503 for 1s",
            steps: &["upgrade"],
        },
        Kind {
            name: "refused for the key",
            act: "refuse upgrades 200 for 1s",
            steps: &["upgrade"],
        },
    ];
    check_all(&kinds, 20).await;
}

/// Nothing comes and nothing ends: each step costs the patience of a handshake, which does not shrink when market time runs fast.
#[actix_rt::test]
async fn left_hanging_at_every_step_the_bars_are_those_of_an_undisturbed_run() {
    let kinds = [
        Kind {
            name: "half-open, early",
            act: "half-open",
            steps: &["connect", "upgrade", "open"],
        },
        Kind {
            name: "half-open, late",
            act: "half-open",
            steps: &["subscribe", "status", "price"],
        },
        Kind {
            name: "stall, early",
            act: "stall",
            steps: &["open", "subscribe"],
        },
        Kind {
            name: "stall, late",
            act: "stall",
            steps: &["status", "price"],
        },
    ];
    let patience = Duration::from_secs(5 * 4).mul_f64(Play::walk(&[], 0).speed);
    check_all(&kinds, patience.as_secs() / 60 + 20).await;
}
