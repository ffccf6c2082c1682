//! Every scenario of the link, lived by the feed and the pipeline: no bar may be silently wrong, none may be unaccounted for,
//! and once the vendor is asked, every bar is what an undisturbed watcher would have built.

use crate::feed_day::{Lived, live};
use futures_util::future::join_all;

/// Market seconds a second.
const SPEED: f64 = 150.0;

/// A scenario, how many minutes of it, and the reasons for which its link must have gone down, in order, among others.
type Case = (&'static str, u64, &'static [&'static str]);

async fn live_all(cases: &[Case]) -> Vec<(Case, Lived)> {
    let lived = join_all(cases.iter().map(|(name, minutes, _)| live(name, *minutes, SPEED))).await;
    cases.iter().copied().zip(lived).collect()
}

fn check_sound(((name, _, causes), lived): &(Case, Lived)) {
    let seen = (&lived.causes, &lived.set_aside);
    assert_eq!(
        lived.silently_wrong(),
        [],
        "{name}: told without a flag and wrong; {seen:?}"
    );
    assert_eq!(lived.unaccounted(), [], "{name}: neither bar nor gap; {seen:?}");
    assert!(
        lived.different().is_empty(),
        "{name}: minutes {:?} differ after healing; {:?}; {seen:?}",
        lived.different(),
        lived.gaps
    );
    let mut told = lived.causes.iter();
    for cause in *causes {
        assert!(
            told.any(|told| told == cause),
            "{name}: the link never went down by {cause} in turn: {seen:?}"
        );
    }
    let violations = lived.report.violations();
    assert!(violations.is_empty(), "{name}: {violations:?}");
}

#[actix_rt::test]
async fn whatever_ends_the_link_every_bar_is_right_or_announced() {
    let cases: [Case; 8] = [
        ("demo", 30, &["upstream_close_1006"]),
        (
            "close-1000",
            30,
            &["upstream_close_1000", "upstream_close_1001", "upstream_close_1011"],
        ),
        ("close-1006", 20, &["upstream_close_1006"]),
        ("reset", 30, &["upstream_reset", "upstream_reset"]),
        ("half-open", 30, &[]),
        ("silent-stall", 50, &[]),
        ("two-outages", 60, &["upstream_reset", "upstream_close_1000"]),
        ("flapping", 20, &["upstream_close_1006"]),
    ];
    for lived in live_all(&cases).await {
        check_sound(&lived);
    }
}

#[actix_rt::test]
async fn whatever_refuses_the_link_every_bar_is_right_or_announced() {
    let cases: [Case; 5] = [
        ("refused-keys", 25, &["upstream_close_1006", "upstream_close_1006"]),
        ("refused-upgrades", 55, &["upstream_close_1006"]),
        ("unreachable", 40, &["upstream_close_1006"]),
        ("odd-statuses", 45, &["upstream_close_1000"]),
        ("key-expires", 20, &["upstream_close_1000"]),
    ];
    let all = live_all(&cases).await;
    all.iter().for_each(check_sound);
    assert!(
        all[0].1.report.counters.refused_total >= 3,
        "three keys were refused, and others took their place"
    );
}

#[actix_rt::test]
async fn whatever_the_vendor_says_every_bar_is_right_or_announced() {
    let cases: [Case; 6] = [
        ("garbage", 30, &[]),
        ("odd-events", 30, &[]),
        ("odd-spellings", 30, &[]),
        ("late-and-repeated", 20, &[]),
        ("stamps", 20, &[]),
        ("deaf", 25, &["upstream_close_1006"]),
    ];
    let all = live_all(&cases).await;
    all.iter().for_each(check_sound);
    let lived = |name: &str| &all.iter().find(|((known, ..), _)| *known == name).unwrap().1;
    for name in ["odd-spellings", "odd-events"] {
        assert!(
            lived(name).causes.is_empty(),
            "{name} end nothing: {:?}",
            lived(name).causes
        );
    }
    for reason in [
        "unknown_symbol",
        "non_positive",
        "crossed_quote",
        "from_the_future",
        "absurd_jump",
    ] {
        assert!(
            lived("odd-events")
                .set_aside
                .get(reason)
                .is_some_and(|count| *count > 0),
            "{reason}: {:?}",
            lived("odd-events").set_aside
        );
    }
    let repeats = lived("late-and-repeated")
        .set_aside
        .get("exact_repeat")
        .copied()
        .unwrap_or(0);
    assert_eq!(repeats, 105, "each repeat is set aside and counted");
}
