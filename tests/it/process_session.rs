//! One session on the real binary, PostgreSQL and Redis, forty times as fast, in which much goes wrong: the first price is wrong by
//! a factor of ten, the link is cut while the vendor has no history, the session is closed early and reopened, the link is cut
//! again. It is played once; each test looks at one part of what came of it.

use crate::child::{Candela, wait_until};
use crate::process_gate::{FLAG, World, raise_flag};
use crate::servers::{Database, postgres, redis};
use candela::clock::Stopwatch;
use candela::domain::calendar::Calendar;
use candela::domain::model::{AcceptedTick, Bar, Channel, Event, Interval, Ohlc, Price, Symbol, Timestamp};
use candela::ledger::LedgerReader;
use candela::sim::Market;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

/// A time that all processes share, however late they start, and that runs so many times as fast.
pub(crate) struct HurriedTime {
    began: Stopwatch,
    begin: DateTime<Utc>,
    speed: u32,
}

impl HurriedTime {
    pub(crate) fn from(begin: &str, speed: u32) -> Self {
        Self {
            began: Stopwatch::start(),
            begin: begin.parse().unwrap(),
            speed,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.begin + TimeDelta::from_std(self.began.elapsed() * self.speed).unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        Candela::at(
            &format!("@{} x{}", self.now().format("%Y-%m-%d %H:%M:%S"), self.speed),
            args,
        )
    }
}

/// Brings the tables of a database up to date and stores one bar of this price for each slot of twelve days, as a history pipeline
/// does; and raises its flag.
pub(crate) fn prepare(sql: impl Fn(&str), url: &str, data: &Path, price: Price) {
    let migrated = Candela::of(Candela::command(&["migrate"]).env("DATABASE_URL", url)).ended();
    assert_eq!(migrated.code(), 0, "{}", migrated.stderr);
    let days = NaiveDate::from_ymd_opt(2026, 2, 18).unwrap().iter_days().take(12);
    let rows: Vec<String> = days
        .flat_map(|date| Calendar::usdcop().slots_on(date, Interval::M5))
        .map(|slot| {
            format!(
                "('USDCOP', to_timestamp({}), {price}, {price}, {price}, {price}, 'l0')",
                slot.secs()
            )
        })
        .collect();
    sql(&format!(
        "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) VALUES {}",
        rows.join(", ")
    ));
    raise_flag(data, FLAG);
}

/// Half past one in the afternoon is `13:30`, UTC.
fn at(time: &str) -> Timestamp {
    Timestamp::from_datetime(format!("2026-03-02T{time}:00Z").parse::<DateTime<Utc>>().unwrap())
}

/// The time of day in Bogota.
fn wall(at: Timestamp) -> String {
    at.rfc3339(chrono_tz::America::Bogota)
}

const M5: Duration = Duration::from_secs(300);

/// What came of the session.
struct Played {
    /// The last close of the verified history, and the wrong price.
    close: Price,
    wrong: Price,
    market: Market,
    /// What `/market/latest` showed in the first minutes.
    latest: Vec<String>,
    /// What REST showed at the end, by interval.
    bars: BTreeMap<&'static str, Vec<Value>>,
    gaps: BTreeMap<&'static str, Vec<Value>>,
    /// What was told: every revision of every five-minute bar, and every tick.
    told: Vec<Bar>,
    ticks: Vec<AcceptedTick>,
    /// The row of `market_sessions` while the session went on after its reopening.
    reopened_row: String,
    /// What `candela replay` makes of the ledger, and what it says when it compares.
    replayed: String,
    verified: (i32, String),
}

/// The intervals of the run.
const SETTING: (&str, &str) = ("CANDELA__MARKET__INTERVALS", "5m,1m,15m,30m,1h,session,1d");

static SESSION: LazyLock<Played> = LazyLock::new(play);

const INTERVALS: [&str; 7] = ["1m", "5m", "15m", "30m", "1h", "session", "1d"];

fn scenario(close: Price, wrong: Price) -> String {
    let right = |micros: i64| Price::from_micros(close.micros() + micros);
    let prices = [wrong, close, right(500_000), right(1_000_000), right(1_500_000)];
    let mut text = "at start mute for 5m\n".to_owned();
    for (price, at) in prices.iter().zip((1_772_456_410..).step_by(10)) {
        let second = at - 1_772_456_400;
        text.push_str(&format!(
            "at 08:00:{second:02} send text {{\"event\":\"price\",\"symbol\":\"USD/COP\",\"timestamp\":{at},\"price\":{price}}}\n"
        ));
    }
    text + "at 08:06:00 drop 1006\n\
            at 08:06:00 refuse connections for 90s\n\
            at 08:06:00 rest empty for 8m30s\n\
            at 08:16:00 drop 1006\n\
            at 08:16:00 refuse connections for 2m\n"
}

fn pages(world: &World, what: &str, interval: &str) -> Vec<Value> {
    let of_interval = match what {
        "bars" => format!("&interval={interval}"),
        _ => String::new(),
    };
    let page = world.get(&format!("/market/{what}?symbol=USDCOP&from=2026-03-02{of_interval}"));
    let all = page[what].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["interval"] == interval).collect()
}

fn instant(value: &Value) -> Timestamp {
    Timestamp::from_datetime(DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap())
}

/// Whether a gap covers a slot.
fn covers(gap: &Value, slot: Timestamp) -> bool {
    instant(&gap["from"]) <= slot && slot < instant(&gap["to"])
}

fn is_pending(gap: &Value) -> bool {
    gap["status"] == "open" || gap["status"] == "filling"
}

/// The vendor with its play, and the service on these servers, with the file of corrected days.
fn start(time: &HurriedTime, data: &Path, servers: (&Database, &str), (days, play): (&str, &str)) -> World {
    let args = ["simulate", "--symbols", "USD/COP", "--json", "--scenario", play];
    let vendor = Candela::of(&mut time.command(&args));
    let settings = [
        ("DATABASE_URL", servers.0.url.as_str()),
        ("REDIS_URL", servers.1),
        ("CANDELA__MARKET__CALENDAR_FILE", days),
        SETTING,
        ("API_KEY_G1_2", "f00dfee2"),
    ];
    World::beside(vendor, time.command(&["run"]), data, &settings)
}

fn play() -> Played {
    let symbol = Symbol::usdcop();
    let market = Market::walk(1, &[symbol]);
    let before = market.bars(symbol, M5, at("12:50"), at("12:55"), at("12:55"), 1);
    let close = before[0].ohlc.close;
    let wrong = Price::from_micros(close.micros() / 10);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (database, redis) = (postgres(), redis());
    prepare(|sql| drop(database.sql(sql)), &database.url, data, close);
    std::fs::write(data.join("play.txt"), scenario(close, wrong)).unwrap();
    let (days, play) = (data.join("days.toml"), data.join("play.txt"));
    let (days, play) = (days.display().to_string(), play.display().to_string());

    let time = HurriedTime::from("2026-03-02T12:56:00Z", 40);
    let correct = |closes: &str, more: &[&str]| {
        let args = ["calendar", "open", "2026-03-02", "--reason", "a test", "--by", "a test"];
        let args = [&args[..], &["--opens", "08:00", "--closes", closes], more].concat();
        let done = Candela::of(time.command(&args).env("CANDELA__MARKET__CALENDAR_FILE", &days)).ended();
        assert_eq!(done.code(), 0, "{}", done.stderr);
    };
    correct("08:12", &[]);
    let world = start(&time, data, (&database, &redis.url()), (&days, &play));

    let mut latest = Vec::new();
    let shown = |status: &str| world.get("/market/session")["status"] == status;
    wait_until("the first bar", || {
        let now = world.get("/market/latest?symbol=USDCOP").to_string();
        if latest.last() != Some(&now) {
            latest.push(now);
        }
        (!pages(&world, "bars", "5m").is_empty()).then_some(())
    });
    wait_until("the early close", || shown("closed").then_some(()));
    correct("08:20", &["--replace"]);
    wait_until("the reopening", || shown("open").then_some(()));
    let row = "SELECT status, end_time IS NULL FROM market_sessions WHERE symbol = 'USDCOP'";
    wait_until("ticks after the reopening", || {
        let bars = pages(&world, "bars", "1m");
        let last = bars.last().map(|bar| instant(&bar["open_time"]));
        (last >= Some(at("13:14"))).then_some(())
    });
    let reopened_row = database.sql(row);
    wait_until("the last close", || shown("closed").then_some(()));
    settle(&world, &database);
    let of_all = |what: &str| -> BTreeMap<&'static str, Vec<Value>> {
        INTERVALS
            .map(|interval| (interval, pages(&world, what, interval)))
            .into()
    };
    let (bars, gaps) = (of_all("bars"), of_all("gaps"));
    world.stop();

    let (code, replayed) = replay(&time, (data, &days), &[]);
    assert_eq!(code, 0, "{replayed}");
    let verified = replay(&time, (data, &days), &["--verify"]);
    let (told, ticks) = read_ledger(data);
    Played {
        close,
        wrong,
        market,
        latest,
        bars,
        gaps,
        told,
        ticks,
        reopened_row,
        replayed,
        verified,
    }
}

/// What `candela replay` makes of the ledger: its exit code, and what it prints.
fn replay(time: &HurriedTime, (data, days): (&Path, &str), more: &[&str]) -> (i32, String) {
    let ledger = data.join("ledger").display().to_string();
    let mut command = time.command(&[&["replay", &ledger], more].concat());
    command
        .env("CANDELA__MARKET__CALENDAR_FILE", days)
        .env(SETTING.0, SETTING.1);
    let ended = Candela::of(&mut command).ended();
    (ended.code(), ended.stdout + &ended.stderr)
}

/// Every revision of every five-minute bar, and every tick.
fn read_ledger(data: &Path) -> (Vec<Bar>, Vec<AcceptedTick>) {
    let symbol = Symbol::usdcop();
    let mut reader = LedgerReader::open(&data.join("ledger")).unwrap();
    let mut read = |channel| reader.read_channel(channel, 1, u64::MAX, 5_000).unwrap();
    let told = read(Channel::bars(Interval::M5, symbol)).into_iter();
    let ticks = read(Channel::ticks(symbol)).into_iter();
    let bars = told.filter_map(|numbered| match numbered.event {
        Event::Bar(bar) => Some(bar),
        _ => None,
    });
    let accepted = ticks.filter_map(|numbered| match numbered.event {
        Event::Tick(tick) => Some(tick),
        _ => None,
    });
    (bars.collect(), accepted.collect())
}

/// Waits until nothing is asked for any more and the store has it all.
fn settle(world: &World, database: &Database) {
    wait_until("every minute to have a bar or a settled gap", || {
        let (bars, gaps) = (pages(world, "bars", "1m"), pages(world, "gaps", "1m"));
        let five = pages(world, "gaps", "5m");
        let explained = unexplained(&bars, &gaps).is_empty();
        (explained && !gaps.iter().chain(&five).any(is_pending)).then_some(())
    });
    wait_until("the store to have it all", || {
        let status = world.get("/status");
        let readers = status["readers"].as_array()?;
        readers.iter().all(|reader| reader["distance"] == 0).then_some(())
    });
    assert_eq!(database.sql("SELECT count(*) FROM rejected_events"), "0");
}

/// The minutes of the session that have neither a bar nor a gap.
fn unexplained(bars: &[Value], gaps: &[Value]) -> Vec<Timestamp> {
    let minutes = (0..20).map(|minute| at("13:00") + Duration::from_secs(60) * minute);
    let has_bar = |slot: Timestamp| bars.iter().any(|bar| instant(&bar["open_time"]) == slot);
    minutes
        .filter(|slot| !has_bar(*slot) && !gaps.iter().any(|gap| covers(gap, *slot)))
        .collect()
}

fn price(value: &Value) -> Price {
    value.to_string().trim_matches('"').parse().unwrap()
}

fn ohlc(bar: &Value) -> Ohlc {
    let [open, high, low, close] = ["open", "high", "low", "close"].map(|name| price(&bar[name]));
    Ohlc { open, high, low, close }
}

/// What bars make together, in order.
fn composed(parts: &[Ohlc]) -> Ohlc {
    Ohlc {
        open: parts.first().unwrap().open,
        high: parts.iter().map(|part| part.high).max().unwrap(),
        low: parts.iter().map(|part| part.low).min().unwrap(),
        close: parts.last().unwrap().close,
    }
}

impl Played {
    /// The five-minute bar that opens then, as REST has it.
    fn bar(&self, time: &str) -> &Value {
        let bars = &self.bars["5m"];
        let found = bars.iter().find(|bar| instant(&bar["open_time"]) == at(time));
        found.unwrap_or_else(|| panic!("no bar at {time}: {bars:?}"))
    }

    /// The gaps of five-minute bars that cover a slot.
    fn gaps_at(&self, time: &str) -> Vec<&Value> {
        let slot = at(time);
        self.gaps["5m"].iter().filter(|gap| covers(gap, slot)).collect()
    }

    /// The vendor's own bar.
    fn vendors(&self, time: &str) -> Ohlc {
        let from = at(time);
        self.market.bars(Symbol::usdcop(), M5, from, from + M5, from + M5, 1)[0].ohlc
    }

    /// The accepted ticks that are stamped in a slot.
    fn ticks_in(&self, time: &str) -> Vec<Price> {
        let from = at(time);
        let inside = |tick: &&AcceptedTick| from <= tick.tick.at && tick.tick.at < from + M5;
        self.ticks.iter().filter(inside).map(|tick| tick.tick.price).collect()
    }
}

#[test]
fn a_first_price_of_another_magnitude_is_neither_open_nor_low_nor_latest_and_the_right_ones_after_it_count() {
    let Played {
        close, wrong, latest, ..
    } = &*SESSION;
    let first = SESSION.bar("13:00");
    assert_eq!(price(&first["open"]), *close, "{first}");
    for (interval, bars) in &SESSION.bars {
        for bar in bars {
            assert!(price(&bar["low"]).micros() > close.micros() / 2, "{interval}: {bar}");
        }
    }
    let of_wrong = format!("\"price\":{wrong}");
    assert!(latest.iter().any(|shown| shown.contains("\"price\":")), "{latest:?}");
    assert!(!latest.iter().any(|shown| shown.contains(&of_wrong)), "{latest:?}");
    let accepted: Vec<i64> = SESSION.ticks.iter().map(|tick| tick.tick.price.micros()).collect();
    let right = [0, 500_000, 1_000_000, 1_500_000].map(|more| close.micros() + more);
    assert_eq!(accepted[..4], right, "none of them is refused");
}

#[test]
fn a_flawed_bar_for_which_the_vendor_has_nothing_stands_and_its_gap_is_not_filled() {
    let bar = SESSION.bar("13:05");
    assert!(bar["flags"].to_string().contains("feed_gap"), "{bar}");
    let gaps = SESSION.gaps_at("13:05");
    assert!(!gaps.is_empty(), "{:?}", SESSION.gaps["5m"]);
    for gap in gaps {
        assert_eq!(gap["status"], "unfillable", "{gap}");
        assert!(
            gap["cause"].as_str().unwrap().ends_with("candela's bar stays flawed"),
            "{gap}"
        );
    }
}

#[test]
fn a_session_that_is_closed_early_and_reopened_loses_no_tick_tells_nothing_twice_and_declares_nothing() {
    let mut revisions = BTreeMap::<Timestamp, Vec<u32>>::new();
    for bar in &SESSION.told {
        revisions.entry(bar.key.opens_at).or_default().push(bar.revision);
    }
    for (opens_at, revisions) in &revisions {
        let rising: Vec<u32> = (0..).take(revisions.len()).collect();
        assert_eq!(revisions, &rising, "{}", wall(*opens_at));
    }
    assert_eq!(revisions.len(), 4, "{revisions:?}");
    // The slot that was cut by the early close: ticks came all the time.
    let cut = SESSION.bar("13:10");
    assert_eq!(ohlc(cut), SESSION.vendors("13:10"), "{cut}");
    let ticks = SESSION.ticks_in("13:10");
    assert_eq!(cut["ticks"].as_u64(), u64::try_from(ticks.len()).ok(), "{cut}");
    assert_eq!(price(&cut["open"]), ticks[0], "{cut}");
    assert_eq!(cut["flags"].as_array().map(Vec::len), Some(0), "{cut}");
    assert!(
        SESSION.gaps_at("13:10").is_empty(),
        "a gap over a bar: {:?}",
        SESSION.gaps
    );
    for told in &SESSION.told {
        let last = SESSION.told.iter().rfind(|bar| bar.key == told.key).unwrap();
        let shown = SESSION.bar(&last.key.opens_at.datetime().format("%H:%M").to_string());
        assert_eq!(
            (ohlc(shown), shown["revision"].as_u64()),
            (last.ohlc, Some(u64::from(last.revision))),
            "REST and what was told differ: {shown}"
        );
    }
    assert_eq!(
        SESSION.reopened_row, "active|t",
        "the row of a session that goes on is active"
    );
}

#[test]
fn what_the_session_captured_gives_each_event_and_bar_again() {
    let session = &*SESSION;
    let (code, said) = &session.verified;
    assert!(
        *code == 0 && said.contains("events, each as it was published"),
        "{code}: {said}"
    );
    let again: Vec<String> = session
        .replayed
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            format!("{} {} {}", fields[2], fields[4..8].join(" "), fields[11])
        })
        .collect();
    let told = session.told.iter().map(|bar| {
        let ohlc = bar.ohlc;
        let opens = bar.key.opens_at.rfc3339(chrono_tz::America::Bogota);
        format!(
            "{opens} {} {} {} {} {}",
            ohlc.open, ohlc.high, ohlc.low, ohlc.close, bar.revision
        )
    });
    assert_eq!(again, told.collect::<Vec<_>>());
}

#[test]
fn a_cut_link_is_healed_in_every_interval_and_each_missing_minute_is_explained() {
    let healed = SESSION.bar("13:15");
    assert_eq!(ohlc(healed), SESSION.vendors("13:15"), "{healed}");
    assert_eq!(healed["provenance"], "backfill", "{healed}");
    let parts: Vec<(Timestamp, Ohlc)> = SESSION.bars["5m"]
        .iter()
        .map(|bar| (instant(&bar["open_time"]), ohlc(bar)))
        .collect();
    for interval in ["15m", "30m", "1h", "session", "1d"] {
        let bars = &SESSION.bars[interval];
        assert!(!bars.is_empty(), "{interval}");
        for bar in bars {
            let (from, to) = (instant(&bar["open_time"]), instant(&bar["close_time"]));
            let inside: Vec<Ohlc> = parts
                .iter()
                .filter(|(at, _)| from <= *at && *at < to)
                .map(|(_, part)| *part)
                .collect();
            assert_eq!(ohlc(bar), composed(&inside), "{interval}: {bar}");
        }
    }
    let (bars, gaps) = (&SESSION.bars["1m"], &SESSION.gaps["1m"]);
    let unexplained: Vec<String> = unexplained(bars, gaps).into_iter().map(wall).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}: {gaps:?}");
    let minutes = bars.iter().map(|bar| instant(&bar["open_time"]));
    let cut = minutes
        .filter(|slot| at("13:16") <= *slot && *slot < at("13:18"))
        .count();
    assert_eq!(cut, 2, "the minutes without a link were fetched: {gaps:?}");
}
