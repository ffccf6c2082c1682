//! A real day out of the file of bars, replayed by the simulated upstream: every bar that comes out is the file's, exactly.

use crate::feed_day::{Play, live};
use candela::domain::model::Symbol;
use candela::sim::{Day, History, Market};
use chrono_tz::Tz;
use futures_util::future::join;
use std::path::Path;
use std::time::Duration;

/// The real file, where it lies beside the repository.
fn history() -> Option<History> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/usdcop_m5_2020_2026.csv.gz");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(History::read(&path).unwrap())
}

fn day(history: &History, date: &str, zone: Option<Tz>) -> Day {
    history.day(Symbol::usdcop(), date.parse().unwrap(), zone).unwrap()
}

async fn check_exact(day: Day, scenarios: &'static [&'static str]) {
    let play = Play {
        market: Market::replay(5, &day),
        opens: day.opens,
        minutes: 300,
        speed: 600.0,
        healing: Duration::from_secs(1_800),
        ..Play::walk(scenarios, 0)
    };
    let lived = live(&play).await;
    assert_eq!(lived.bars.len(), 60, "{}: {:?}", day.date, lived.gaps);
    for bar in &day.bars {
        assert_eq!(
            lived.bars.get(&bar.opens_at).map(|told| told.ohlc),
            Some(bar.ohlc),
            "{} {}",
            day.date,
            bar.opens_at
        );
    }
    assert!(
        lived.always_right(),
        "{}: the first word on each bar is right as well",
        day.date
    );
}

#[actix_rt::test]
async fn real_days_come_out_bar_by_bar_as_they_went_in_with_and_without_the_demo_outage() {
    let Some(history) = history() else { return };
    let utc = day(&history, "2025-10-22", None);
    let bogota = day(&history, "2026-01-14", Some(Tz::America__Bogota));
    join(check_exact(utc, &[]), check_exact(bogota, &["demo"])).await;
}
