//! Tests of [`super`].

use super::*;
use crate::domain::calendar::CalendarSpec;
use crate::domain::model::Interval;
use std::sync::Arc;
use std::time::Duration;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// The rows in the order in which a store returns them.
fn sorted(rows: impl IntoIterator<Item = Timestamp>) -> Vec<Timestamp> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort();
    rows
}

fn slots(from: &str, to: &str) -> Vec<Timestamp> {
    let calendar = Calendar::usdcop();
    let sessions = calendar.sessions(date(from), date(to));
    sessions
        .flat_map(|session| calendar.slots(&session, Interval::M5))
        .collect()
}

fn moved(rows: Vec<Timestamp>, hours: i64) -> Vec<Timestamp> {
    rows.into_iter()
        .map(|at| Timestamp::from_secs(at.secs() + hours * HOUR))
        .collect()
}

#[test]
fn a_whole_history_has_no_trouble() {
    let survey = survey(&sorted(slots("2025-03-03", "2025-06-30")), &Calendar::usdcop());
    let nothing = Survey {
        expected: 79 * 59,
        present: 79 * 59,
        rows: 79 * 59,
        ..Survey::default()
    };
    assert_eq!(survey, nothing);
}

#[test]
fn whole_days_beside_their_session_are_a_shift_with_its_beginning() {
    for hours in [-5, 5, -1, 1] {
        let rows = [
            slots("2025-03-03", "2025-03-14"),
            moved(slots("2025-03-17", "2025-04-04"), hours),
        ]
        .concat();
        let shift = survey(&sorted(rows), &Calendar::usdcop()).shift.unwrap();
        assert_eq!(
            (shift.hours, shift.since, shift.lasting),
            (hours, Some(date("2025-03-17")), true),
            "{hours}"
        );
        assert_eq!(shift.shifted.len(), 14, "{hours}");
    }
}

#[test]
fn a_day_with_bars_inside_and_beside_is_mixed_and_clean_weeks_end_the_stretch() {
    let rows = [
        slots("2025-03-03", "2025-04-30"),
        moved(slots("2025-03-17", "2025-03-18"), -5)
            .into_iter()
            .take(70)
            .collect(),
        moved(slots("2025-05-02", "2025-05-02"), -5),
    ];
    let shift = survey(&sorted(rows.concat()), &Calendar::usdcop()).shift.unwrap();
    assert_eq!(shift.mixed, [date("2025-03-17"), date("2025-03-18")]);
    assert_eq!(
        (shift.rows, shift.shifted, shift.since),
        (129, vec![date("2025-05-02")], Some(date("2025-05-02")))
    );
}

#[test]
fn longer_hours_than_ours_are_not_a_shift() {
    let long = CalendarSpec {
        close: Some("14:00".to_owned()),
        ..CalendarSpec::default()
    };
    let long = Calendar::new(&long, Arc::default()).unwrap();
    let rows: Vec<_> = long.slots_on(date("2025-03-05"), Interval::M5);
    let survey = survey(&sorted(rows), &Calendar::usdcop());
    assert_eq!((survey.shift, survey.at_close), (None, 1));
    assert_eq!(survey.outside, [(date("2025-03-05"), 12)]);
}

#[test]
fn bars_of_closed_days_missing_bars_and_empty_sessions_are_named() {
    let mut rows = slots("2025-03-03", "2025-03-07");
    rows.retain(|at| Calendar::usdcop().local_date(*at) != date("2025-03-05"));
    rows.remove(3);
    rows.extend(moved(slots("2025-03-07", "2025-03-07"), 24).into_iter().take(7));
    let survey = survey(&sorted(rows), &Calendar::usdcop());
    assert_eq!(survey.empty, [date("2025-03-05")]);
    assert_eq!(survey.partial, [(date("2025-03-03"), 1)]);
    assert_eq!(survey.closed_days, [(date("2025-03-08"), 7)]);
    assert_eq!((survey.expected, survey.present, survey.shift), (295, 235, None));
}

#[test]
fn double_and_crooked_rows_are_named_and_fill_no_slot_more() {
    let mut rows = slots("2025-03-03", "2025-03-03");
    let (double, crooked) = (rows[12], rows[13] + Duration::from_secs(1));
    rows.extend([double, double, crooked]);
    let survey = survey(&sorted(rows), &Calendar::usdcop());
    assert_eq!((survey.rows, survey.present), (62, 59));
    assert_eq!(
        (survey.duplicates, survey.off_grid),
        (vec![double, double], vec![crooked])
    );
}
