//! `/symbols`: when a pair is traded, and the format of its prices, as the library expects them.
//!
//! The library has a week and exceptions from it: `session` has the usual hours of each weekday, `corrections` are days with other hours,
//! `session_holidays` days of the week without any.

use crate::domain::model::{Bar, Interval, Price, Session, Sessions, Symbol};
use crate::web::udf::compose::resolutions;
use chrono::{Datelike, NaiveDate};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// When a pair is traded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TradedHours {
    session: String,
    holidays: String,
    corrections: String,
}

impl TradedHours {
    /// The hours of the days from `first` to `last`.
    pub(super) fn of(sessions: &dyn Sessions, first: NaiveDate, last: NaiveDate) -> Self {
        let zone = sessions.zone();
        let days = first.iter_days().take_while(|date| *date <= last);
        let days: Vec<(NaiveDate, Option<String>)> = days
            .map(|date| (date, sessions.on(date).0.map(|session| hours(&session, zone))))
            .collect();
        let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
        for hours in days.iter().filter_map(|(_, hours)| hours.as_deref()) {
            *counted.entry(hours).or_default() += 1;
        }
        let usual = counted.iter().max_by_key(|(_, count)| **count);
        let usual = usual.map_or("", |(hours, _)| *hours).to_owned();
        let mut week: Vec<u32> = Vec::new();
        for weekday in 1..=7 {
            let of_weekday = days.iter().filter(|(date, _)| number(*date) == weekday);
            let traded = of_weekday.clone().filter(|(_, hours)| hours.is_some());
            if traded.count() * 2 > of_weekday.count() {
                week.push(weekday);
            }
        }
        let names: String = week.iter().map(u32::to_string).collect();
        let mut holidays: Vec<String> = Vec::new();
        let mut others: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (date, hours) in &days {
            let listed = week.contains(&number(*date));
            let date = date.format("%Y%m%d").to_string();
            match hours {
                None if listed => holidays.push(date),
                Some(hours) if !listed || *hours != usual => others.entry(hours.as_str()).or_default().push(date),
                _ => {}
            }
        }
        let corrections: Vec<String> = others
            .into_iter()
            .map(|(hours, dates)| format!("{hours}:{}", dates.join(",")))
            .collect();
        let all_day = usual == "0000-0000" && names == "1234567";
        Self {
            session: if all_day {
                "24x7".to_owned()
            } else {
                format!("{usual}:{names}")
            },
            holidays: holidays.join(","),
            corrections: corrections.join(";"),
        }
    }
}

/// The library's number of a weekday: Sunday is 1.
fn number(date: NaiveDate) -> u32 {
    date.weekday().number_from_sunday()
}

fn hours(session: &Session, zone: chrono_tz::Tz) -> String {
    let [opens, closes] =
        [session.opens, session.closes].map(|at| at.datetime().with_timezone(&zone).format("%H%M").to_string());
    format!("{opens}-{closes}")
}

/// How many decimals these prices need, from two to six.
pub(super) fn decimals(bars: &[Bar]) -> u32 {
    let prices = bars
        .iter()
        .flat_map(|bar| [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close]);
    prices
        .map(|price: Price| {
            let text = price.to_string();
            let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            u32::try_from(fraction).unwrap_or(Price::DECIMALS)
        })
        .max()
        .unwrap_or(2)
        .clamp(2, Price::DECIMALS)
}

/// `/symbols`.
pub(super) fn symbol(
    symbol: Symbol,
    zone: chrono_tz::Tz,
    hours: &TradedHours,
    decimals: u32,
    made: &[Interval],
) -> Value {
    let minutes = ["1", "5", "15", "30", "60"];
    let names = resolutions(made);
    let multipliers: Vec<&&str> = names.iter().filter(|name| minutes.contains(name)).collect();
    json!({
        "name": symbol.compact(), "ticker": symbol.compact(), "full_name": format!("candela:{}", symbol.compact()),
        "description": symbol.as_str(), "type": "forex", "exchange": "candela", "listed_exchange": "candela",
        "timezone": zone_name(zone), "session": hours.session, "session_holidays": hours.holidays,
        "corrections": hours.corrections, "minmov": 1, "pricescale": 10_u32.pow(decimals), "format": "price",
        "has_intraday": !multipliers.is_empty(), "intraday_multipliers": multipliers,
        "has_daily": names.contains(&"1D"), "has_weekly_and_monthly": false,
        "supported_resolutions": names, "visible_plots_set": "ohlc", "has_no_volume": true,
        "data_status": "streaming",
    })
}

/// The library's name of a zone.
fn zone_name(zone: chrono_tz::Tz) -> &'static str {
    if zone == chrono_tz::UTC { "Etc/UTC" } else { zone.name() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::Calendar;
    use crate::domain::model::Always;
    use crate::web::tests::stage::bar;

    #[test]
    fn a_week_its_holidays_and_its_other_hours_are_told_apart() {
        let (first, last) = ("2026-01-01".parse().unwrap(), "2026-12-31".parse().unwrap());
        let hours = TradedHours::of(&Calendar::usdcop(), first, last);
        assert!(hours.session.ends_with(":23456"), "{hours:?}");
        assert_eq!(hours.holidays.split(',').count(), 20, "{hours:?}");
        assert!(hours.holidays.contains("20260713"), "{hours:?}");
        let always = TradedHours::of(&Always, first, last);
        assert_eq!((always.session.as_str(), always.holidays.as_str()), ("24x7", ""));
    }

    #[test]
    fn days_with_other_hours_are_corrections() {
        let day = |date: &str, opens: i64, closes: i64| Session {
            date: date.parse().unwrap(),
            opens: crate::domain::model::Timestamp::from_secs(opens),
            closes: crate::domain::model::Timestamp::from_secs(closes),
            kind: crate::domain::model::SessionKind::Spot,
        };
        let sessions = [
            ("2026-01-05", 1_767_571_200),
            ("2026-01-06", 1_767_657_600),
            ("2026-01-07", 1_767_744_000),
        ];
        let mut sessions: Vec<Session> = sessions
            .iter()
            .map(|(date, at)| day(date, at + 28_800, at + 46_800))
            .collect();
        sessions[2].closes = crate::domain::model::Timestamp::from_secs(1_767_744_000 + 36_000);
        let listed = crate::domain::model::Listed {
            sessions,
            zone: chrono_tz::UTC,
        };
        let hours = TradedHours::of(&listed, "2026-01-05".parse().unwrap(), "2026-01-07".parse().unwrap());
        assert_eq!(hours.corrections, "0800-1000:20260107");
    }

    #[test]
    fn a_price_scale_has_the_decimals_in_use() {
        let mut one = bar(crate::domain::model::Timestamp::from_secs(0));
        assert_eq!((decimals(&[]), decimals(&[one])), (2, 2));
        one.ohlc = crate::domain::model::Ohlc::flat_at(Price::from_micros(1_123_450));
        assert_eq!(decimals(&[one]), 5);
    }
}
