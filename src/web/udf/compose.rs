//! The answers of the data feed, from bars, gaps and sessions.
//!
//! The library reads `{"s":"error","errmsg":…}` as a refusal, and `no_data` with `nextTime` as "continue before that": without it, it
//! requests ever older stretches.

use crate::domain::model::{AcceptedTick, Bar, Flags, Gap, GapStatus, Interval, Price, Symbol, Timestamp};
use crate::views::status::SeamStatus;
use chrono::{NaiveDate, NaiveTime, TimeZone};
use serde_json::{Value, json};

/// A refusal.
pub(super) fn error(message: &str) -> Value {
    json!({"s": "error", "errmsg": message})
}

/// The library's name of an interval; the session's bar has none.
pub(super) const fn resolution(interval: Interval) -> Option<&'static str> {
    match interval {
        Interval::M1 => Some("1"),
        Interval::M5 => Some("5"),
        Interval::M15 => Some("15"),
        Interval::M30 => Some("30"),
        Interval::H1 => Some("60"),
        Interval::D1 => Some("1D"),
        Interval::Session => None,
    }
}

/// The interval with the library's name, if such bars are made.
pub(super) fn interval(text: &str, made: &[Interval]) -> Option<Interval> {
    let name = if text == "D" { "1D" } else { text };
    made.iter()
        .copied()
        .find(|interval| resolution(*interval) == Some(name))
}

/// The library's names of the intervals.
pub(super) fn resolutions(made: &[Interval]) -> Vec<&'static str> {
    made.iter().filter_map(|interval| resolution(*interval)).collect()
}

/// `/config`.
pub(super) fn config(made: &[Interval]) -> Value {
    json!({
        "supported_resolutions": resolutions(made),
        "supports_group_request": false,
        "supports_marks": true,
        "supports_timescale_marks": true,
        "supports_search": true,
        "supports_time": true,
        "exchanges": [{"value": "", "name": "All", "desc": ""}, {"value": "candela", "name": "candela", "desc": "candela"}],
        "symbols_types": [{"name": "All", "value": ""}, {"name": "Forex", "value": "forex"}],
    })
}

/// A pair that a search found.
pub(super) fn found(symbol: Symbol) -> Value {
    json!({"symbol": symbol.compact(), "full_name": format!("candela:{}", symbol.compact()), "description": symbol.as_str(),
        "exchange": "candela", "ticker": symbol.compact(), "type": "forex"})
}

/// The time of a bar on the time axis: that of a daily bar is midnight UTC of its date, as the library counts days.
pub(super) fn time(bar: &Bar) -> i64 {
    match bar.key.interval {
        Interval::D1 => chrono::Utc
            .from_utc_datetime(&bar.session_date.and_time(NaiveTime::MIN))
            .timestamp(),
        _ => bar.key.opens_at.secs(),
    }
}

/// The range of opens whose bars lie within `[from, to)` on the time axis.
pub(super) fn opens(interval: Interval, from: Timestamp, to: Timestamp, zone: chrono_tz::Tz) -> (Timestamp, Timestamp) {
    if interval != Interval::D1 {
        return (from, to);
    }
    (next_midnight(from, zone), next_midnight(to, zone))
}

/// Midnight in the zone, on the UTC date of `at` if `at` is midnight UTC, else on the next date.
fn next_midnight(at: Timestamp, zone: chrono_tz::Tz) -> Timestamp {
    let date = at.datetime().date_naive();
    let begins = date.and_time(NaiveTime::MIN).and_utc().timestamp() == at.secs();
    let date = if begins { date } else { date + chrono::Days::new(1) };
    crate::domain::model::Moment::Day(date).in_zone(zone)
}

/// `/history`: the bars, or the time of the last bar before them.
pub(super) fn history(bars: &[Bar], before: Option<&Bar>) -> Value {
    if bars.is_empty() {
        return match before {
            Some(bar) => json!({"s": "no_data", "nextTime": time(bar)}),
            None => json!({"s": "no_data"}),
        };
    }
    json!({
        "s": "ok",
        "t": bars.iter().map(time).collect::<Vec<i64>>(),
        "o": bars.iter().map(|bar| bar.ohlc.open).collect::<Vec<Price>>(),
        "h": bars.iter().map(|bar| bar.ohlc.high).collect::<Vec<Price>>(),
        "l": bars.iter().map(|bar| bar.ohlc.low).collect::<Vec<Price>>(),
        "c": bars.iter().map(|bar| bar.ohlc.close).collect::<Vec<Price>>(),
    })
}

/// A mark on the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChartMark {
    id: String,
    time: i64,
    color: &'static str,
    label: &'static str,
    text: String,
}

/// Marks of gaps. A gap that began before the stretch is marked at the stretch's beginning.
pub(super) fn gap_marks(gaps: &[Gap], from: Timestamp) -> Vec<ChartMark> {
    gaps.iter()
        .map(|gap: &Gap| ChartMark {
            id: format!("g-{}", gap.id),
            time: gap.from.max(from).secs(),
            color: match gap.status {
                GapStatus::Open | GapStatus::Filling => "red",
                GapStatus::Filled => "green",
                GapStatus::Unfillable => "blue",
            },
            label: "G",
            text: format!("{} of {} bars: {}", gap.status.name(), gap.bars, gap.cause),
        })
        .collect()
}

/// Marks of bars that were revised, or that differ from the vendor's own bar.
pub(super) fn bar_marks(bars: &[Bar]) -> Vec<ChartMark> {
    bars.iter()
        .filter_map(|bar: &Bar| {
            let differs = bar.flags.contains(Flags::VENDOR_MISMATCH);
            let (label, color, text) = match (differs, bar.revision) {
                (true, _) => ("V", "red", "the vendor's bar differs".to_owned()),
                (false, 0) => return None,
                (false, revision) => ("R", "yellow", format!("revision {revision}, {}", bar.provenance.name())),
            };
            let id = format!("b-{}-{}", time(bar), bar.revision);
            Some(ChartMark {
                id,
                time: time(bar),
                color,
                label,
                text,
            })
        })
        .collect()
}

/// The mark of the seam, where history ends and live bars begin.
pub(super) fn seam_mark(seam: &SeamStatus, from: Timestamp, to: Timestamp) -> Option<ChartMark> {
    let at = seam.first_live_bar.timestamp();
    (from <= at && at < to).then(|| ChartMark {
        id: format!("seam-{}", at.secs()),
        time: at.secs(),
        color: "blue",
        label: "S",
        text: format!(
            "history ends and live bars begin: {} missing, {} differing",
            seam.missing, seam.differing
        ),
    })
}

/// `/marks`.
pub(super) fn marks(marks: Vec<ChartMark>) -> Value {
    let shown = marks.into_iter().map(|mark| {
        json!({"id": mark.id, "time": mark.time, "color": mark.color, "label": mark.label, "text": mark.text,
            "labelFontColor": "white", "minSize": 14})
    });
    shown.collect()
}

/// `/timescale_marks`.
pub(super) fn timescale_marks(marks: Vec<ChartMark>) -> Value {
    let shown = marks.into_iter().map(|mark| {
        json!({"id": mark.id, "time": mark.time, "color": mark.color, "label": mark.label, "tooltip": [mark.text]})
    });
    shown.collect()
}

/// One pair of `/quotes`: the last price, and the bars so far of its session `date`, with the close before them.
pub(super) fn quote(symbol: Symbol, last: Option<&AcceptedTick>, date: Option<NaiveDate>, bars: &[Bar]) -> Value {
    let name = symbol.compact();
    let close = bars.last().map(|bar| bar.ohlc.close);
    let Some(price) = last.map(|last| last.tick.price).or(close) else {
        return json!({"s": "error", "n": name, "v": {}, "errmsg": "there is no price yet"});
    };
    let date = date.max(bars.last().map(|bar| bar.session_date));
    let of_session = bars.iter().filter(|bar| Some(bar.session_date) == date);
    let before = bars.iter().rev().find(|bar| Some(bar.session_date) != date);
    let before = before.map(|bar| bar.ohlc.close);
    let change = before.map(|before| price.minus(before));
    let bid = last.and_then(|last| last.tick.bid);
    let ask = last.and_then(|last| last.tick.ask);
    let spread = bid.zip(ask).map(|(bid, ask)| ask.minus(bid));
    json!({"s": "ok", "n": name, "v": {
        "short_name": name, "exchange": "candela", "description": symbol.as_str(), "original_name": name,
        "lp": price, "bid": bid, "ask": ask, "spread": spread,
        "ch": change, "chp": before.map(|before: Price| {
        let hundredths = i128::from(price.minus(before).micros()) * 10_000 / i128::from(before.micros().max(1));
        Price::from_micros(i64::try_from(hundredths).unwrap_or(0).saturating_mul(10_000))
    }),
        "open_price": of_session.clone().next().map(|bar| bar.ohlc.open),
        "high_price": of_session.clone().map(|bar| bar.ohlc.high).max().map(|high| high.max(price)),
        "low_price": of_session.map(|bar| bar.ohlc.low).min().map(|low| low.min(price)),
        "prev_close_price": before, "volume": 0}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Event, Seam};
    use crate::web::tests::stage::{bar, tick_event};

    fn at(secs: i64) -> Bar {
        bar(Timestamp::from_secs(secs))
    }

    #[test]
    fn an_empty_stretch_says_where_the_last_bar_before_it_is() {
        assert_eq!(history(&[], Some(&at(300))), json!({"s": "no_data", "nextTime": 300}));
        assert_eq!(history(&[], None), json!({"s": "no_data"}));
        let two = history(&[at(300), at(600)], None);
        assert_eq!((&two["s"], &two["t"]), (&json!("ok"), &json!([300, 600])));
        assert_eq!(two["c"], json!([4000, 4000]));
    }

    #[test]
    fn a_day_stands_at_midnight_utc_of_its_date() {
        let mut day = at(1_761_138_000);
        day.key.interval = Interval::D1;
        assert_eq!(time(&day), 1_761_091_200); // 2025-10-22
        let (from, to) = (Timestamp::from_secs(1_761_091_200), Timestamp::from_secs(1_761_177_600));
        let zone = chrono_tz::America::Bogota;
        let (opens_from, opens_to) = opens(Interval::D1, from, to, zone);
        assert!(opens_from <= day.key.opens_at && day.key.opens_at < opens_to);
        let (later, _) = opens(Interval::D1, from + std::time::Duration::from_secs(1), to, zone);
        assert!(later > day.key.opens_at);
        assert_eq!(opens(Interval::M5, from, to, zone), (from, to));
    }

    #[test]
    fn revised_and_differing_bars_are_marked_and_others_are_not() {
        let (plain, mut revised, mut differs) = (at(300), at(600), at(900));
        revised.revise();
        differs.flags = Flags::VENDOR_MISMATCH;
        let labels: Vec<&str> = bar_marks(&[plain, revised, differs])
            .iter()
            .map(|mark| mark.label)
            .collect();
        assert_eq!(labels, ["R", "V"]);
    }

    #[test]
    fn the_seam_is_marked_within_its_stretch() {
        let seam = Seam {
            last_history_bar: None,
            first_live_bar: Timestamp::from_secs(1_761_138_000),
            ours: 0,
            missing: 2,
            overlapping: 0,
            differing: 0,
            examples: Vec::new(),
        };
        let seam = SeamStatus::new(&seam, chrono_tz::America::Bogota);
        let (from, to) = (Timestamp::from_secs(1_761_138_000), Timestamp::from_secs(1_761_138_001));
        assert_eq!(seam_mark(&seam, from, to).unwrap().time, 1_761_138_000);
        assert_eq!(seam_mark(&seam, to, to + std::time::Duration::from_secs(9)), None);
    }

    #[test]
    fn a_quote_compares_with_the_close_before_the_session() {
        let (mut before, now) = (at(1_761_051_600), at(1_761_138_000));
        before.session_date = before.session_date.pred_opt().unwrap();
        before.ohlc = crate::domain::model::Ohlc::flat_at(Price::from_micros(3_200_000_000));
        let quote = quote(Symbol::usdcop(), None, None, &[before, now]);
        assert_eq!(
            (&quote["v"]["ch"], &quote["v"]["chp"]),
            (&json!(800), &json!(25)),
            "{quote}"
        );
        assert_eq!(super::quote(Symbol::usdcop(), None, None, &[])["s"], "error");
        let Event::Tick(mut tick) = tick_event(Symbol::usdcop(), 1, now.closes_at) else {
            panic!("no tick");
        };
        tick.tick.price = Price::from_micros(4_100_000_000);
        let quote = super::quote(Symbol::usdcop(), Some(&tick), None, &[before, now]);
        assert_eq!(
            (&quote["v"]["lp"], &quote["v"]["high_price"], &quote["v"]["low_price"]),
            (&json!(4100), &json!(4100), &json!(4000)),
            "the last price is the highest"
        );
        let next = now.session_date.succ_opt();
        let quote = super::quote(Symbol::usdcop(), Some(&tick), next, &[before, now]);
        assert_eq!(
            (
                &quote["v"]["open_price"],
                &quote["v"]["high_price"],
                &quote["v"]["prev_close_price"],
                &quote["v"]["ch"]
            ),
            (&Value::Null, &Value::Null, &json!(4000), &json!(100)),
            "a session without a bar has nothing of the one before but its close"
        );
    }

    #[test]
    fn intervals_have_the_names_of_the_library() {
        let made = [Interval::M5, Interval::Session, Interval::D1];
        assert_eq!(resolutions(&made), ["5", "1D"]);
        assert_eq!(interval("D", &made), Some(Interval::D1));
        assert_eq!((interval("1", &made), interval("5m", &made)), (None, None));
    }
}
