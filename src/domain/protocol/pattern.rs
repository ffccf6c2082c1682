//! A known pattern for authors of clients: ticks and one-minute bars of `TEST/USD`, repeating forever, with a missing bar and a revised one
//! in every ten minutes. A function of time: nothing is stored, and any part can be computed again.
//!
//! ```text
//!  minute        0     1     2     3     4     5     6     7     8     9
//!  ticks         60    60    60    60    none  60    60    60    60    60      one a second: 100 + 0.1 × minute + 0.001 × second
//!  bar           ●     ●     ●     ●     –     ●     ●     ●     ●     ●       published when its minute ends
//!  revision                                                └──────► at 8:30, with a higher high
//! ```

use crate::domain::model::{
    AcceptedTick, Bar, BarEnd, BarKey, BarState, Channel, Epoch, Event, Flags, Head, Interval, Ohlc, Position, Price,
    Provenance, Sequenced, SessionKind, Symbol, Tick, Timestamp,
};
use std::time::Duration;

/// When the pattern began: 2025-01-01T00:00:00Z.
const BEGAN: i64 = 1_735_689_600;
/// The length of a cycle in seconds.
const CYCLE: u64 = 600;
const MINUTE: u64 = 60;
/// The minute of each cycle without ticks.
const SILENT: u64 = 4;
const TICKS: u64 = 540;
/// The minute whose bar is revised.
const REVISED: u64 = 6;
/// When each minute's bar is published, in seconds of the cycle; the second entry for one minute is its revision.
const TOLD: [(u64, u64); 10] = [
    (60, 0),
    (120, 1),
    (180, 2),
    (240, 3),
    (360, 5),
    (420, 6),
    (480, 7),
    (510, REVISED),
    (540, 8),
    (600, 9),
];

/// `TEST/USD`.
pub fn symbol() -> Option<Symbol> {
    "TEST/USD".parse().ok()
}

/// The two channels of the pattern.
pub fn channels() -> Vec<Channel> {
    symbol()
        .map(|symbol| [Channel::ticks(symbol), Channel::bars(Interval::M1, symbol)])
        .into_iter()
        .flatten()
        .collect()
}

/// Whether a channel belongs to the pattern.
pub fn carries(channel: Channel) -> bool {
    channels().contains(&channel)
}

/// The head of one of its channels at `now`. Restarts do not affect it, so its epoch is always the same.
pub fn head(channel: Channel, now: Timestamp) -> Option<Head> {
    let epoch: Epoch = "test".parse().ok()?;
    let (cycles, second) = cycle_and_second(now)?;
    let seq = if channel == *channels().first()? {
        let minute = second / MINUTE;
        let second = second % MINUTE;
        let whole = minute.saturating_sub(u64::from(minute > SILENT)) * MINUTE;
        let begun = if minute == SILENT { 0 } else { second + 1 };
        cycles * TICKS + whole + begun
    } else {
        let told = TOLD.iter().filter(|(at, _)| *at <= second).count();
        cycles * bars_a_cycle() + u64::try_from(told).unwrap_or(0)
    };
    carries(channel).then_some(Head { epoch, seq })
}

/// One message of one of its channels.
pub fn message(channel: Channel, seq: u64) -> Option<Sequenced> {
    let nth = seq.checked_sub(1)?;
    let ticks = *channels().first()?;
    if channel == ticks {
        let cycle = nth / TICKS;
        let nth = nth % TICKS;
        let minute = nth / MINUTE;
        let minute = minute + u64::from(minute >= SILENT);
        return Some(tick_at(
            channel,
            channel.pair()?,
            seq,
            cycle * CYCLE + minute * MINUTE + nth % MINUTE,
        ));
    }
    let cycle = nth / bars_a_cycle();
    let nth = nth % bars_a_cycle();
    let (told, minute) = *TOLD.get(usize::try_from(nth).ok()?)?;
    let revised = minute == REVISED && told > (REVISED + 1) * MINUTE;
    let opens = cycle * CYCLE + minute * MINUTE;
    let state = if revised { BarState::Revised } else { BarState::Closed };
    let bar = bar_of_minute(channel.pair()?, opens, MINUTE - 1, state);
    carries(channel).then(|| Sequenced {
        position: Position(0),
        channel: Some(channel),
        seq,
        at: instant_of(cycle * CYCLE + told),
        event: Event::Bar(bar),
    })
}

/// All events in (`after`, `until`], in order: bars and `bar_end` before the ticks at the same instant.
pub fn between(after: Timestamp, until: Timestamp) -> Vec<Sequenced> {
    let mut all = Vec::new();
    for channel in channels() {
        let before = head(channel, after).map_or(0, |head| head.seq);
        let last = head(channel, until).map_or(0, |head| head.seq);
        all.extend((before + 1..=last).filter_map(|seq| message(channel, seq)));
    }
    let first_minute = seconds_since_start(after) / MINUTE + 1;
    let last_minute = seconds_since_start(until) / MINUTE;
    all.extend((first_minute..=last_minute).filter_map(bar_end));
    all.sort_by_key(|numbered| {
        let rank = match numbered.event {
            Event::Bar(_) => 0,
            Event::BarEnd(_) => 1,
            _ => 2,
        };
        (numbered.at, rank)
    });
    all
}

/// The forming bar, with the last seq before it; `None` in the silent minute.
pub fn forming(now: Timestamp) -> Option<(Bar, u64)> {
    let bars = *channels().last()?;
    let (_, second) = cycle_and_second(now)?;
    if second / MINUTE == SILENT {
        return None;
    }
    let opens = seconds_since_start(now) - second % MINUTE;
    let base = head(bars, now)?.seq;
    Some((
        bar_of_minute(bars.pair()?, opens, second % MINUTE, BarState::Partial),
        base,
    ))
}

const fn bars_a_cycle() -> u64 {
    10
}

fn seconds_since_start(now: Timestamp) -> u64 {
    now.since(instant_of(0)).as_secs()
}

/// The cycle, and the second in it; `None` before the pattern began.
fn cycle_and_second(now: Timestamp) -> Option<(u64, u64)> {
    let seconds = (now >= instant_of(0)).then(|| seconds_since_start(now))?;
    Some((seconds / CYCLE, seconds % CYCLE))
}

fn instant_of(second: u64) -> Timestamp {
    Timestamp::from_secs(BEGAN) + Duration::from_secs(second)
}

/// The price at a second of a cycle.
fn price_at(second: u64) -> Price {
    let micros = 100_000_000 + second / MINUTE * 100_000 + second % MINUTE * 1_000;
    Price::from_micros(i64::try_from(micros).unwrap_or(0))
}

fn tick_at(channel: Channel, symbol: Symbol, seq: u64, second: u64) -> Sequenced {
    let tick = Tick {
        symbol,
        price: price_at(second % CYCLE),
        bid: None,
        ask: None,
        at: instant_of(second),
        provenance: Provenance::Live,
    };
    Sequenced {
        position: Position(0),
        channel: Some(channel),
        seq,
        at: tick.at,
        event: Event::Tick(AcceptedTick {
            tick,
            received_at: tick.at,
        }),
    }
}

/// The bar that opens at second `opens`, with the ticks up to its second `last`.
fn bar_of_minute(symbol: Symbol, opens: u64, last: u64, state: BarState) -> Bar {
    let first = price_at(opens % CYCLE);
    let close = price_at(opens % CYCLE + last);
    let revised = state == BarState::Revised;
    let above = Price::from_micros(close.micros() + 5_000);
    Bar {
        key: BarKey {
            symbol,
            interval: Interval::M1,
            opens_at: instant_of(opens),
        },
        closes_at: instant_of(opens + MINUTE),
        ohlc: Ohlc {
            open: first,
            high: if revised { above } else { close },
            low: first,
            close,
        },
        ticks: u32::try_from(last + 1).unwrap_or(0) + u32::from(revised),
        first_tick_at: Some(instant_of(opens)),
        last_tick_at: Some(instant_of(opens + last)),
        state,
        revision: u32::from(revised),
        provenance: Provenance::Live,
        flags: Flags::default(),
        session_date: instant_of(opens).datetime().date_naive(),
        session_kind: SessionKind::Spot,
    }
}

/// The `bar_end` of the minute before this one.
fn bar_end(minute: u64) -> Option<Sequenced> {
    let symbol = symbol()?;
    let before = minute.checked_sub(1)?;
    let silent = before % (CYCLE / MINUTE) == SILENT;
    Some(Sequenced {
        position: Position(0),
        channel: None,
        seq: 0,
        at: instant_of(minute * MINUTE),
        event: Event::BarEnd(BarEnd {
            interval: Interval::M1,
            opens_at: instant_of(before * MINUTE),
            complete: if silent { Vec::new() } else { vec![symbol] },
            incomplete: if silent {
                vec![(symbol, "no_ticks".to_owned())]
            } else {
                Vec::new()
            },
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of an arbitrary cycle.
    fn second(second: u64) -> Timestamp {
        instant_of(CYCLE * 7 + second)
    }

    #[test]
    fn a_channels_head_is_the_message_told_last() {
        for channel in channels() {
            for now in (0..1_200).map(second) {
                let seq = head(channel, now).unwrap().seq;
                assert!(message(channel, seq).unwrap().at <= now, "{channel} {seq}");
                assert!(message(channel, seq + 1).unwrap().at > now, "{channel} {seq}");
            }
        }
    }

    #[test]
    fn a_cycle_lacks_one_bar_and_revises_one() {
        let [_, bars] = channels().try_into().unwrap();
        let told = between(second(0), second(CYCLE));
        let bars: Vec<Bar> = told
            .iter()
            .filter(|numbered| numbered.channel == Some(bars))
            .map(|numbered| match numbered.event {
                Event::Bar(bar) => bar,
                _ => panic!("{numbered:?}"),
            })
            .collect();
        let minutes: Vec<u64> = bars
            .iter()
            .map(|bar| seconds_since_start(bar.key.opens_at) % CYCLE / MINUTE)
            .collect();
        assert_eq!(minutes, [0, 1, 2, 3, 5, 6, 7, 6, 8, 9]);
        assert_eq!((bars[5].revision, bars[7].revision), (0, 1));
        assert!(bars[7].ohlc.high > bars[5].ohlc.high);
        assert!(bars.iter().all(|bar| bar.ohlc.is_ordered()));
        let incomplete =
            |numbered: &Sequenced| matches!(&numbered.event, Event::BarEnd(end) if !end.incomplete.is_empty());
        assert_eq!(told.iter().filter(|numbered| incomplete(numbered)).count(), 1);
        assert_eq!(
            told.iter()
                .filter(|numbered| matches!(numbered.event, Event::Tick(_)))
                .count(),
            540
        );
    }

    #[test]
    fn any_cut_into_stretches_tells_the_same() {
        let whole = between(second(3), second(900));
        let cuts = [3, 4, 59, 60, 61, 239, 240, 299, 300, 510, 600, 899, 900];
        let parts = cuts.windows(2).flat_map(|cut| between(second(cut[0]), second(cut[1])));
        assert_eq!(parts.collect::<Vec<_>>(), whole);
        assert_eq!(between(instant_of(0), instant_of(0)), []);
    }

    #[test]
    fn a_forming_bar_stands_on_the_last_message_and_there_is_none_where_nobody_quotes() {
        let (bar, base) = forming(second(70)).unwrap();
        assert_eq!((bar.ticks, bar.state), (11, BarState::Partial));
        assert_eq!(base, head(*channels().last().unwrap(), second(70)).unwrap().seq);
        assert_eq!(forming(second(SILENT * MINUTE + 5)), None);
    }
}
