//! Tests of `day`.

use super::*;
use std::path::Path;

const BOGOTA: Option<Tz> = Some(Tz::America__Bogota);

/// A file with five-minute bars that open at these wall times of 2026-01-14, labelled UTC.
fn file(stretches: &[(u32, u32)]) -> History {
    let mut text = "time,symbol,open,high,low,close\n".to_owned();
    for (from, to) in stretches {
        for minute in (*from..*to).step_by(5) {
            text += &format!(
                "2026-01-14 {:02}:{:02}:00+00:00,USD/COP,2,4,1,3\n",
                minute / 60,
                minute % 60
            );
        }
    }
    History::parse(Path::new("bars.csv"), text.as_bytes()).unwrap()
}

fn read(stretches: &[(u32, u32)], zone: Option<Tz>) -> Result<Day, DayError> {
    let date = NaiveDate::from_ymd_opt(2026, 1, 14).unwrap();
    file(stretches).day(Symbol::usdcop(), date, zone)
}

fn check_refused(stretches: &[(u32, u32)], zone: Option<Tz>, expect: &str) {
    assert_eq!(read(stretches, zone).unwrap_err().to_string(), expect);
}

const BOGOTA_HOURS: (u32, u32) = (8 * 60, 13 * 60);
const UTC_HOURS: (u32, u32) = (13 * 60, 18 * 60);

#[test]
fn a_true_utc_day_is_read_as_labelled() {
    let day = read(&[UTC_HOURS], None).unwrap();
    assert_eq!((day.bars.len(), day.left_out), (60, 0));
    assert_eq!(day.bars[0].opens_at, day.opens);
    assert_eq!(day.opens.to_string(), "2026-01-14T13:00:00Z");
    assert_eq!(
        day.bar(day.opens).map(|bar| bar.close.to_string()).as_deref(),
        Some("3")
    );
}

#[test]
fn bogota_hours_labelled_utc_are_refused_with_the_shift_named() {
    check_refused(
        &[BOGOTA_HOURS],
        None,
        "60 bars of 2026-01-14 lie at 03:00–07:55 Bogota, 5 hours before the session: the file probably holds \
         America/Bogota wall time labelled UTC; pass --history-zone America/Bogota",
    );
    let day = read(&[BOGOTA_HOURS], BOGOTA).unwrap();
    assert_eq!(day.bars.len(), 60);
    assert_eq!(day.bars[0].opens_at, day.opens);
}

#[test]
fn a_true_utc_day_read_as_bogota_is_refused() {
    check_refused(
        &[UTC_HOURS],
        BOGOTA,
        "60 bars of 2026-01-14 lie at 13:00–17:55 Bogota, 5 hours after the session: the file probably holds true UTC \
         on this day; leave out --history-zone America/Bogota",
    );
}

#[test]
fn a_day_that_mixes_both_is_refused_in_either_reading() {
    let mixed = [BOGOTA_HOURS, (13 * 60 + 10, 14 * 60)];
    let naive = read(&mixed, None).unwrap_err().to_string();
    assert!(
        naive.starts_with(
            "60 bars of 2026-01-14 lie at 03:00–07:55 Bogota, 5 hours before the session, and 10 bars lie inside it: "
        ),
        "{naive}"
    );
    assert!(
        naive.contains("mixes America/Bogota wall time labelled UTC with true UTC"),
        "{naive}"
    );
    let zoned = read(&mixed, BOGOTA).unwrap_err().to_string();
    assert!(
        zoned.starts_with(
            "10 bars of 2026-01-14 lie at 13:10–13:55 Bogota, 5 hours after the session, and 60 bars lie inside it: "
        ),
        "{zoned}"
    );
    assert!(
        read(&[(12 * 60 + 55, 13 * 60), UTC_HOURS], None).is_err(),
        "one stray bar is enough"
    );
}

#[test]
fn a_dump_of_the_whole_day_needs_a_zone_and_then_gives_its_session() {
    let error = read(&[(5 * 60, 24 * 60)], None).unwrap_err().to_string();
    assert!(
        error.contains("outside the session 08:00–13:00, and 60 bars lie inside it"),
        "{error}"
    );
    assert!(error.contains("pass --history-zone UTC"), "{error}");
    let day = read(&[(0, 24 * 60)], BOGOTA).unwrap();
    assert_eq!((day.bars.len(), day.left_out), (60, 228));
}

#[test]
fn another_shift_is_named_in_hours() {
    let error = read(&[(5 * 60, 10 * 60)], None).unwrap_err().to_string();
    assert!(
        error.contains("lie at 00:00–04:55 Bogota, ") && error.contains("probably is wrong by 8 hours"),
        "{error}"
    );
}

#[test]
fn a_day_without_bars_says_which_days_there_are() {
    let date = NaiveDate::from_ymd_opt(2026, 2, 1).unwrap();
    let error = file(&[UTC_HOURS])
        .day(Symbol::usdcop(), date, None)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "history file bars.csv has no bars of USD/COP on 2026-02-01; it has days from 2026-01-14 to 2026-01-14"
    );
}

#[test]
fn a_slot_that_is_there_twice_is_named_with_both_lines() {
    let error = read(&[(13 * 60, 13 * 60 + 10), (13 * 60, 13 * 60 + 5)], None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("twice, on lines 2 and 4"), "{error}");
}

#[test]
fn missing_slots_stay_missing() {
    let day = read(&[(13 * 60 + 5, 13 * 60 + 20), (14 * 60, 15 * 60)], None).unwrap();
    assert_eq!(day.bars.len(), 15);
    assert_eq!(day.bar(day.opens), None);
}

/// The real file, if it exists beside the repository.
#[test]
fn real_days_are_read_or_refused_as_they_deserve() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/usdcop_m5_2020_2026.csv.gz");
    let Ok(history) = History::read(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let day = |text: &str, zone| history.day(Symbol::usdcop(), text.parse().unwrap(), zone);
    assert_eq!(history.len(), 91_157);
    assert_eq!(day("2025-10-22", None).unwrap().bars.len(), 60);
    assert!(day("2025-10-22", BOGOTA).is_err());
    let naive = day("2026-01-14", None).unwrap_err().to_string();
    assert!(
        naive.starts_with("60 bars of 2026-01-14 lie at 03:00–07:55 Bogota, 5 hours before the session: "),
        "{naive}"
    );
    assert_eq!(day("2026-01-14", BOGOTA).unwrap().bars.len(), 60);
    for zone in [None, BOGOTA] {
        let mixed = day("2025-10-28", zone).unwrap_err().to_string();
        assert!(mixed.contains("mixes"), "{mixed}");
    }
}
