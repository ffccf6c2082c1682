//! Public holidays of Colombia and bank holidays of the United States, computed by rule for any year of [`YEARS`].
//!
//! A rule that a law dates cites the law; nothing here is a list of dates.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use std::fmt;
use std::ops::RangeInclusive;

/// The years for which the rules hold: Ley 51 of 1983 was first observed in 1984.
pub const YEARS: RangeInclusive<i32> = 1984..=2100;

/// How the date of a holiday is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Always this day of the year, weekends included.
    Fixed(u32, u32),
    /// Ley 51 of 1983 (Ley Emiliani): this day, or the following Monday if it is not a Monday.
    MovedToMonday(u32, u32),
    /// This number of days after Easter Sunday; negative before it. For movable feasts of Ley 51 the number already includes the move to
    /// Monday.
    Easter(i64),
    /// Reserve Banks of the United States: this day, or the Monday after it when it is a Sunday. When it is a Saturday, the banks keep the
    /// Friday before it open (unlike federal offices), dollars settle that Friday, and it is a spot day in Bogota.
    SundayToMonday(u32, u32),
    /// The nth such weekday of a month.
    Nth(u8, Weekday, u32),
    /// The last such weekday of a month.
    Last(Weekday, u32),
    /// The last day of the year from Monday to Friday: the exchange (and with it the spot market) declares it closed.
    LastBusinessDayOfYear,
}

/// A day on which a market is closed or settles differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holiday {
    /// Its name.
    pub name: &'static str,
    /// How its date is computed.
    pub rule: Rule,
    /// The first year in which it is observed.
    pub since: i32,
}

const fn holiday(name: &'static str, rule: Rule) -> Holiday {
    Holiday {
        name,
        rule,
        since: *YEARS.start(),
    }
}

const fn holiday_since(since: i32, name: &'static str, rule: Rule) -> Holiday {
    Holiday { name, rule, since }
}

/// Days without a spot market in Colombia: the public holidays (Ley 51 of 1983, Ley 2578 of 2026) and the year-end day.
pub const COLOMBIA: [Holiday; 20] = [
    holiday("New Year's Day", Rule::Fixed(1, 1)),
    holiday("Epiphany", Rule::MovedToMonday(1, 6)),
    holiday("Saint Joseph", Rule::MovedToMonday(3, 19)),
    holiday("Maundy Thursday", Rule::Easter(-3)),
    holiday("Good Friday", Rule::Easter(-2)),
    holiday("Labour Day", Rule::Fixed(5, 1)),
    holiday("Ascension", Rule::Easter(43)),
    holiday("Corpus Christi", Rule::Easter(64)),
    holiday("Sacred Heart", Rule::Easter(71)),
    holiday("Saint Peter and Saint Paul", Rule::MovedToMonday(6, 29)),
    // Ley 2578 of 1 June 2026, article 6; first observed on Monday 13 July 2026.
    holiday_since(2026, "Our Lady of Chiquinquira", Rule::MovedToMonday(7, 9)),
    holiday("Independence Day", Rule::Fixed(7, 20)),
    holiday("Battle of Boyaca", Rule::Fixed(8, 7)),
    holiday("Assumption", Rule::MovedToMonday(8, 15)),
    holiday("Dia de la Raza", Rule::MovedToMonday(10, 12)),
    holiday("All Saints", Rule::MovedToMonday(11, 1)),
    holiday("Independence of Cartagena", Rule::MovedToMonday(11, 11)),
    holiday("Immaculate Conception", Rule::Fixed(12, 8)),
    holiday("Christmas Day", Rule::Fixed(12, 25)),
    holiday("Year-end closing", Rule::LastBusinessDayOfYear),
];

/// Days on which dollars do not settle: holidays of the United States as the Federal Reserve Banks keep them.
pub const UNITED_STATES: [Holiday; 11] = [
    holiday("New Year's Day", Rule::SundayToMonday(1, 1)),
    holiday_since(1986, "Martin Luther King Jr. Day", Rule::Nth(3, Weekday::Mon, 1)),
    holiday("Washington's Birthday", Rule::Nth(3, Weekday::Mon, 2)),
    holiday("Memorial Day", Rule::Last(Weekday::Mon, 5)),
    // Public Law 117-17 of 17 June 2021; the first on a bank day was Monday 20 June 2022.
    holiday_since(2021, "Juneteenth", Rule::SundayToMonday(6, 19)),
    holiday("Independence Day", Rule::SundayToMonday(7, 4)),
    holiday("Labor Day", Rule::Nth(1, Weekday::Mon, 9)),
    holiday("Columbus Day", Rule::Nth(2, Weekday::Mon, 10)),
    holiday("Veterans Day", Rule::SundayToMonday(11, 11)),
    holiday("Thanksgiving Day", Rule::Nth(4, Weekday::Thu, 11)),
    holiday("Christmas Day", Rule::SundayToMonday(12, 25)),
];

impl Holiday {
    /// Its date in `year`, if it is observed in that year.
    pub fn date(&self, year: i32) -> Option<NaiveDate> {
        (YEARS.contains(&year) && year >= self.since)
            .then(|| self.rule.date(year))
            .flatten()
    }
}

impl fmt::Display for Holiday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.rule)
    }
}

impl Rule {
    /// The date in `year`.
    pub fn date(self, year: i32) -> Option<NaiveDate> {
        match self {
            Self::Fixed(month, day) => NaiveDate::from_ymd_opt(year, month, day),
            Self::MovedToMonday(month, day) => {
                let date = NaiveDate::from_ymd_opt(year, month, day)?;
                let wait = (7 - date.weekday().num_days_from_monday()) % 7;
                date.checked_add_days(Days::new(u64::from(wait)))
            }
            Self::Easter(days) => easter(year)?.checked_add_signed(chrono::TimeDelta::days(days)),
            Self::SundayToMonday(month, day) => {
                let date = NaiveDate::from_ymd_opt(year, month, day)?;
                if date.weekday() == Weekday::Sun {
                    date.succ_opt()
                } else {
                    Some(date)
                }
            }
            Self::Nth(nth, weekday, month) => NaiveDate::from_weekday_of_month_opt(year, month, weekday, nth),
            Self::Last(weekday, month) => NaiveDate::from_weekday_of_month_opt(year, month, weekday, 5)
                .or_else(|| NaiveDate::from_weekday_of_month_opt(year, month, weekday, 4)),
            Self::LastBusinessDayOfYear => {
                let eve = NaiveDate::from_ymd_opt(year, 12, 31)?;
                let past_friday = eve.weekday().num_days_from_monday().saturating_sub(4);
                eve.checked_sub_days(Days::new(u64::from(past_friday)))
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(..) => f.write_str("fixed day"),
            Self::MovedToMonday(month, day) => write!(f, "{day} {}, moved to Monday", month_name(*month)),
            Self::Easter(days) => write!(f, "Easter {days:+} days"),
            Self::SundayToMonday(month, day) => write!(f, "{day} {}", month_name(*month)),
            Self::Nth(nth, weekday, month) => write!(f, "{weekday} no. {nth} of {}", month_name(*month)),
            Self::Last(weekday, month) => write!(f, "last {weekday} of {}", month_name(*month)),
            Self::LastBusinessDayOfYear => f.write_str("last weekday of the year"),
        }
    }
}

fn month_name(month: u32) -> &'static str {
    u8::try_from(month)
        .ok()
        .and_then(|month| chrono::Month::try_from(month).ok())
        .map_or("", |month| month.name())
}

/// Easter Sunday of the Gregorian calendar (the anonymous algorithm of 1876, as printed by Meeus).
pub fn easter(year: i32) -> Option<NaiveDate> {
    let golden = year % 19;
    let century = year / 100;
    let in_century = year % 100;
    let moon_orbit = (century - (century + 8) / 25 + 1) / 3;
    let epact = (19 * golden + century - century / 4 - moon_orbit + 15) % 30;
    let weekday = (32 + 2 * (century % 4) + 2 * (in_century / 4) - epact - in_century % 4) % 7;
    let late = (golden + 11 * epact + 22 * weekday) / 451;
    let month_and_day = epact + weekday - 7 * late + 114;
    NaiveDate::from_ymd_opt(
        year,
        u32::try_from(month_and_day / 31).ok()?,
        u32::try_from(month_and_day % 31 + 1).ok()?,
    )
}

/// All holidays of a list over [`YEARS`], by date: computed once, looked up by binary search.
#[derive(Debug, Clone)]
pub struct Almanac(Vec<(NaiveDate, &'static Holiday)>);

impl Almanac {
    /// Computes every date of the list.
    pub fn of(list: &'static [Holiday]) -> Self {
        let mut days: Vec<_> = YEARS
            .flat_map(|year| list.iter().filter_map(move |h| Some((h.date(year)?, h))))
            .collect();
        days.sort_by_key(|(date, _)| *date);
        Self(days)
    }

    /// The holidays on `date`; two may coincide.
    pub fn on(&self, date: NaiveDate) -> impl Iterator<Item = &'static Holiday> {
        let first = self.0.partition_point(|(day, _)| *day < date);
        self.0
            .iter()
            .skip(first)
            .take_while(move |(day, _)| *day == date)
            .map(|(_, holiday)| *holiday)
    }

    /// Whether `date` is a holiday.
    pub fn contains(&self, date: NaiveDate) -> bool {
        self.on(date).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// Holidays that independent libraries publish; the file names the libraries and their versions.
    const PUBLISHED: &str = include_str!("../../../tests/fixtures/published_holidays_2000_2050.txt");

    fn published(source: &str) -> BTreeSet<NaiveDate> {
        let lines = PUBLISHED
            .lines()
            .filter_map(|line| line.strip_prefix(source)?.strip_prefix(' '));
        let dates: BTreeSet<_> = lines
            .flat_map(|line| {
                let (year, days) = line.split_once(' ').unwrap();
                days.split(' ')
                    .map(move |day| NaiveDate::parse_from_str(&format!("{year}{day}"), "%Y%m%d").unwrap())
            })
            .collect();
        assert!(dates.len() > 400, "{source}: {} dates", dates.len());
        dates
    }

    /// Computed dates from Monday to Friday in the published years.
    fn computed(list: &'static [Holiday]) -> BTreeSet<NaiveDate> {
        (2000..=2050)
            .flat_map(|year| list.iter().filter_map(move |h| h.date(year)))
            .filter(|date| date.weekday().num_days_from_monday() < 5)
            .collect()
    }

    /// Counts differences by the rule that explains them; an unexplained one fails.
    fn explain(
        ours: &BTreeSet<NaiveDate>,
        theirs: &BTreeSet<NaiveDate>,
        why: impl Fn(NaiveDate) -> Option<&'static str>,
    ) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for date in ours.symmetric_difference(theirs) {
            let rule = why(*date).unwrap_or_else(|| panic!("no rule explains {date}: ours {}", ours.contains(date)));
            *counts.entry(rule).or_default() += 1;
        }
        counts
    }

    fn is(list: &'static [Holiday], name: &str, date: NaiveDate) -> bool {
        list.iter().any(|h| h.name == name && h.date(date.year()) == Some(date))
    }

    #[test]
    fn colombia_differs_from_the_published_holidays_only_by_the_year_end_closing() {
        let counts = explain(&computed(&COLOMBIA), &published("CO"), |date| {
            is(&COLOMBIA, "Year-end closing", date).then_some("LastBusinessDayOfYear")
        });
        assert_eq!(counts, BTreeMap::from([("LastBusinessDayOfYear", 51)]));
    }

    #[test]
    fn the_exchange_differs_only_by_the_holiday_added_in_2026() {
        let ours = computed(&COLOMBIA);
        let counts = explain(&ours, &published("XBOG"), |date| {
            (is(&COLOMBIA, "Our Lady of Chiquinquira", date) && date.year() >= 2026).then_some("Ley 2578 of 2026")
        });
        assert_eq!(counts, BTreeMap::from([("Ley 2578 of 2026", 25)]));
    }

    #[test]
    fn the_reserve_banks_differ_from_federal_offices_only_on_fridays_before_saturday_holidays() {
        let counts = explain(&computed(&UNITED_STATES), &published("USFED"), |date| {
            let next = date.succ_opt()?;
            let saturday = UNITED_STATES
                .iter()
                .any(|h| matches!(h.rule, Rule::SundayToMonday(..)) && h.date(next.year()) == Some(next));
            (date.weekday() == Weekday::Fri && saturday).then_some("SundayToMonday")
        });
        assert_eq!(counts, BTreeMap::from([("SundayToMonday", 33)]));
    }

    #[test]
    fn easter_stays_within_its_bounds_and_on_a_sunday() {
        for year in YEARS {
            let date = easter(year).unwrap();
            assert_eq!(date.weekday(), Weekday::Sun, "{year}");
            let (first, last) = (
                NaiveDate::from_ymd_opt(year, 3, 22),
                NaiveDate::from_ymd_opt(year, 4, 25),
            );
            assert!(Some(date) >= first && Some(date) <= last, "{date}");
        }
        assert_eq!(easter(2026), NaiveDate::from_ymd_opt(2026, 4, 5));
        assert_eq!(easter(2038), NaiveDate::from_ymd_opt(2038, 4, 25));
    }

    #[test]
    fn two_holidays_may_share_a_day() {
        let almanac = Almanac::of(&COLOMBIA);
        let names = |y, m, d| -> Vec<_> {
            let date = NaiveDate::from_ymd_opt(y, m, d).unwrap();
            almanac.on(date).map(|h| h.name).collect()
        };
        assert_eq!(names(2025, 6, 30), ["Sacred Heart", "Saint Peter and Saint Paul"]);
        assert_eq!(names(2026, 7, 13), ["Our Lady of Chiquinquira"]);
        assert!(names(2025, 7, 14).is_empty());
    }

    #[test]
    fn before_the_law_and_after_the_table_there_are_no_holidays() {
        for h in COLOMBIA.iter().chain(&UNITED_STATES) {
            assert_eq!((h.date(1983), h.date(2101)), (None, None), "{h}");
            assert!(h.date(2099).is_some(), "{h}");
        }
    }
}
