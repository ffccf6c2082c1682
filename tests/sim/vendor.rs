//! The simulated vendor: the record of what the market did (the truth of the model), its frames and answers, and how it counts
//! the use of keys.

use crate::plan::{DAY, Kind, Plan, S};
use candela::domain::vendor::{KeySlot, Trouble};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One price that the market made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote {
    /// Seconds since 1970.
    pub(crate) at: i64,
    /// Millionths.
    pub(crate) price: i64,
}

/// Open, high, low, close in millionths.
pub(crate) type Prices = [i64; 4];

/// What the vendor counts of one key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) calls: Vec<(i64, u32)>,
    pub(crate) handshakes: Vec<i64>,
    pub(crate) refused_at: Option<i64>,
    /// The UTC day for which the vendor said that its credits are spent.
    pub(crate) spent_on: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Vendor {
    /// By pair, by time.
    pub(crate) record: Vec<Vec<Quote>>,
    pub(crate) accounts: BTreeMap<KeySlot, Account>,
    /// The clocks were moved: what was spaced by ours need not be by the vendor's.
    pub(crate) unspaced: bool,
}

impl Vendor {
    pub(crate) fn of(plan: &Plan) -> Self {
        let record = plan
            .pairs
            .iter()
            .enumerate()
            .map(|(i, pair)| {
                let mut rng = Rng::with_seed(plan.seed ^ (u64::try_from(i).unwrap_or(0) << 32) ^ 0xfeed);
                let mut quotes = Vec::new();
                let mut price = pair.price;
                for date in &plan.dates {
                    let (from, to) = match pair.kind {
                        Kind::Colombia => pair.session(*date).unwrap_or_default(),
                        Kind::Forex | Kind::Always => {
                            ((*date * DAY).max(plan.begins), ((*date + 1) * DAY).min(plan.calm))
                        }
                    };
                    let mut at = from;
                    while at < to {
                        let step = pair.price / 10_000;
                        price = (price + rng.i64(-step..=step)).clamp(pair.price - 90 * step, pair.price + 90 * step);
                        let quiet = rng.u8(..200) == 0;
                        quotes.push(Quote { at, price });
                        at += if quiet {
                            rng.i64(300..900)
                        } else {
                            rng.i64(1..=pair.every * 2)
                        };
                    }
                }
                quotes
            })
            .collect();
        Self {
            record,
            accounts: BTreeMap::new(),
            unspaced: false,
        }
    }

    /// The bar of a stretch as the record has it; `shifted`: a price of a whole minute belongs to the minute that is over.
    pub(crate) fn bar(&self, pair: usize, from: i64, to: i64) -> Option<Prices> {
        let quotes = &self.record[pair];
        let begin = quotes.partition_point(|quote| quote.at < from);
        fold(
            quotes[begin..]
                .iter()
                .take_while(|quote| quote.at < to)
                .map(|quote| quote.price),
        )
    }

    /// The newest price at an instant.
    pub(crate) fn last(&self, pair: usize, at: i64) -> Option<Quote> {
        let quotes = &self.record[pair];
        quotes
            .partition_point(|quote| quote.at <= at)
            .checked_sub(1)
            .map(|i| quotes[i])
    }

    /// An answer to `/time_series`, with all closed bars of `[from, to)`.
    pub(crate) fn series(&self, pair: usize, (from, to): (i64, i64), length: i64, now: i64) -> String {
        let mut values = String::new();
        let mut at = from - from.rem_euclid(length);
        while at < to && at + length <= now {
            if at >= from
                && let Some([open, high, low, close]) = self.bar(pair, at, at + length)
            {
                let when = chrono::DateTime::from_timestamp(at, 0)
                    .expect("a time")
                    .format("%Y-%m-%d %H:%M:%S");
                let comma = if values.is_empty() { "" } else { "," };
                let [open, high, low, close] = [open, high, low, close].map(decimal);
                write!(
                    values,
                    "{comma}{{\"datetime\":\"{when}\",\"open\":\"{open}\",\"high\":\"{high}\",\"low\":\"{low}\",\"close\":\"{close}\"}}"
                )
                .expect("writes");
            }
            at += length;
        }
        if values.is_empty() {
            return NO_DATA.to_owned();
        }
        format!("{{\"meta\":{{}},\"values\":[{values}],\"status\":\"ok\"}}")
    }

    /// A call came with a key; what is wrong with that, if anything.
    pub(crate) fn called(&mut self, key: KeySlot, credits: u32, now: i64) -> Option<String> {
        let account = self.accounts.entry(key).or_default();
        account.calls.push((now, credits));
        if self.unspaced {
            return None;
        }
        let mut calls = account.calls.iter().rev().skip(1);
        let spaced = calls.next().is_none_or(|(before, _)| now - before >= 8 * S - S / 2);
        let minute: u32 = account
            .calls
            .iter()
            .filter(|(at, _)| now - at < 60 * S - S / 2)
            .map(|(_, credits)| credits)
            .sum();
        let day: u32 = account
            .calls
            .iter()
            .filter(|(at, _)| at.div_euclid(DAY * S) == now.div_euclid(DAY * S))
            .map(|(_, credits)| credits)
            .sum();
        let forbidden = account.refused_at.is_some_and(|at| {
            let same_day = at.div_euclid(DAY * S) == now.div_euclid(DAY * S);
            same_day && now - at < 890 * S
        });
        match (spaced, minute <= 8, day <= 800, forbidden) {
            (false, ..) => Some(format!("K1: {key} was used twice within its spacing")),
            (_, false, ..) => Some(format!("K1: {key} was used for {minute} credits in a minute")),
            (_, _, false, _) => Some(format!("K1: {key} was used for {day} credits in a day")),
            (.., true) => Some(format!("K1: {key} was used again after it was refused for good")),
            _ => None,
        }
    }

    /// Whether the vendor said of each of so many keys that its credits of that day are spent: nothing is asked before the next.
    pub(crate) fn all_spent(&self, keys: u8, day: i64) -> bool {
        let spent = self.accounts.values().filter(|account| account.spent_on == Some(day));
        spent.count() == usize::from(keys)
    }

    /// A handshake came with a key.
    pub(crate) fn handshake(&mut self, key: KeySlot, now: i64) {
        self.accounts.entry(key).or_default().handshakes.push(now);
    }
}

/// What the vendor says where it has nothing.
pub(crate) const NO_DATA: &str = r#"{"code":400,"message":"No data is available on the specified dates. Try setting different start/end dates.","status":"error"}"#;

pub(crate) fn fold(prices: impl Iterator<Item = i64>) -> Option<Prices> {
    let mut bar: Option<Prices> = None;
    for price in prices {
        bar = Some(match bar {
            None => [price; 4],
            Some([open, high, low, _]) => [open, high.max(price), low.min(price), price],
        });
    }
    bar
}

/// Millionths as people write them.
pub(crate) fn decimal(micros: i64) -> String {
    format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000))
}

/// A price event.
pub(crate) fn frame(symbol: &str, stamp: i64, price: &str) -> String {
    format!(r#"{{"event":"price","symbol":"{symbol}","type":"Physical Currency","timestamp":{stamp},"price":{price}}}"#)
}

/// Every cause of trouble, with words in which the vendor says it.
pub(crate) const TROUBLES: [(Trouble, u16, &str); 9] = [
    (
        Trouble::MinuteSpent,
        429,
        "You have run out of API credits for the current minute. 9 API credits were used, with the current limit being 8.",
    ),
    (
        Trouble::DaySpent,
        429,
        "You have run out of API credits for the day. 801 API credits were used, with the current limit being 800.",
    ),
    (
        Trouble::BadKey,
        401,
        "**apikey** parameter is incorrect or not specified.",
    ),
    (
        Trouble::PlanRefused,
        403,
        "/time_series is available exclusively with ultra plans",
    ),
    (
        Trouble::UnknownSymbol,
        404,
        "**symbol** or **figi** parameter is missing or invalid.",
    ),
    (Trouble::NoData, 400, "No data is available on the specified dates."),
    (Trouble::BadRequest, 400, "**interval** is invalid"),
    (Trouble::WrongAddress, 404, ""),
    (Trouble::ServerFault, 500, "internal"),
];

/// A refusal's body.
pub(crate) fn refusal(code: u16, message: &str) -> String {
    format!(r#"{{"code":{code},"message":"{message}","status":"error"}}"#)
}

/// Frames that are odd: none of them may become a price.
pub(crate) fn odd(symbol: &str, stamp: i64, price: i64, roll: u64) -> String {
    let price_text = |text: &str| frame(symbol, stamp, text);
    match roll % 16 {
        0 => "<html>502</html>".to_owned(),
        1 => String::new(),
        2 => "null".to_owned(),
        3 => "[]".to_owned(),
        4 => r#"{"event":"maintenance","status":"ok"}"#.to_owned(),
        5 => r#"{"status":"ok"}"#.to_owned(),
        6 => r#"{"event":"error","code":500,"message":"Internal error"}"#.to_owned(),
        7 => r#"{"event":"message-processing","status":"error","messages":["Too many events per minute"]}"#.to_owned(),
        8 => price_text("null"),
        9 => price_text("\"abc\""),
        10 => price_text("NaN"),
        11 => price_text("0"),
        12 => price_text(&format!("-{}", decimal(price))),
        13 => frame("XX/YY", stamp, &decimal(price)),
        14 => price_text("99999999999"),
        _ => format!(r#"{{"event":"price","symbol":"{symbol}","timestamp":{stamp},"pri"#),
    }
}
