//! The first price of a session, and unusable prices, through the whole pipeline.

use crate::domain::model::{
    Event, InputKind, Interval, JournalEntry, LastClose, Listed, Position, RejectReason, RoundedSource, Symbol,
};
use crate::domain::pipeline::{
    PairRules, Pipeline,
    tests::pipeline::{Day, arrival, at, fetched, known, markets, session, shown, up},
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The prices of the accepted ticks, in the order of their numbers.
fn accepted(entries: &[JournalEntry]) -> Vec<String> {
    let price = |entry: &JournalEntry| match entry {
        JournalEntry::Event(numbered) => match &numbered.event {
            Event::Tick(accepted) => Some(accepted.tick.price.to_string()),
            _ => None,
        },
        _ => None,
    };
    entries.iter().filter_map(price).collect()
}

fn replayed(from: Pipeline, entries: &[JournalEntry]) -> Vec<JournalEntry> {
    let mut again = Day {
        pipeline: from,
        entries: Vec::new(),
    };
    for entry in entries {
        if let JournalEntry::Input(heard) = entry {
            let arrival = arrival(heard.at, heard.what.clone());
            again.pipeline.replay(arrival, &mut again.entries);
        }
    }
    again.entries
}

#[test]
fn a_first_price_far_from_yesterdays_close_becomes_neither_open_nor_low_and_those_after_it_count() {
    let mut day = Day::begun();
    for (stamp, price) in [(1, "399.0"), (2, "3990.0"), (3, "3990.5"), (4, "3991.0"), (5, "3991.5")] {
        day.tick(stamp, price);
    }
    day.until(302);
    assert_eq!(accepted(&day.entries), ["3990", "3990.5", "3991", "3991.5"]);
    assert_eq!(
        shown(&day.bars(Interval::M5)[0]),
        "3990 3991.5 3990 3991.5 n4 r0 closed"
    );
    let aside = &day.pipeline.counts().ticks_set_aside;
    assert_eq!(aside.iter().collect::<Vec<_>>(), [(&RejectReason::AbsurdJump, &1)]);
}

#[test]
fn the_first_price_of_the_next_session_is_judged_by_the_last_of_this_one_also_in_a_replay_of_its_day_alone() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.until(86_400 - 1);
    let (before, head, heads) = (day.entries.len(), day.pipeline.head(), day.pipeline.heads().to_vec());
    for (stamp, price) in [(5, "400"), (9, "4010"), (100, "4011")] {
        day.tick(86_400 + stamp, price);
    }
    day.until(86_400 + 302);
    let today = &day.entries[before..];
    assert_eq!(accepted(today), ["4010", "4011"]);
    let JournalEntry::Input(first) = &today[0] else {
        panic!("a day begins with an input")
    };
    assert_eq!(replayed(Pipeline::new(&markets(), head, heads, first.at), today), today);
}

#[test]
fn a_close_from_the_store_is_an_input_and_a_replay_judges_by_it() {
    let empty = || Pipeline::new(&markets(), Position(0), [], at(-600));
    let mut day = Day {
        pipeline: empty(),
        entries: Vec::new(),
    };
    day.apply_input(-60, up());
    day.tick(1, "399");
    day.tick(2, "3991");
    assert_eq!(accepted(&day.entries), [""; 0]);
    day.apply_input(4, InputKind::LastClose(known(empty()).last_closes().next().unwrap()));
    assert_eq!(accepted(&day.entries), ["3991"]);
    day.tick(6, "3992");
    day.until(302);
    assert_eq!(shown(&day.bars(Interval::M5)[0]), "3991 3992 3991 3992 n2 r0 closed");
    assert_eq!(replayed(empty(), &day.entries), day.entries);
}

#[test]
fn without_any_close_the_vendors_own_bars_tell_where_the_market_is() {
    let mut day = Day {
        pipeline: Pipeline::new(&markets(), Position(0), [], at(-600)),
        entries: Vec::new(),
    };
    day.apply_input(-60, up());
    day.tick(1_000, "399");
    let bars = [(0, ["3990"; 4]), (300, ["399"; 4]), (600, ["3991"; 4])];
    let mut answer = fetched(0, 900, &bars);
    answer.heard.at = at(1_010);
    day.pipeline.accept(answer, &mut day.entries);
    day.tick(1_020, "3990.5");
    assert_eq!(accepted(&day.entries), ["3990.5"]);
}

#[test]
fn a_market_that_really_moved_is_believed_and_its_bar_opens_with_the_first_of_its_ticks() {
    let mut day = Day::begun();
    for (stamp, price) in [(1, "4990"), (120, "4991"), (290, "4989"), (295, "4992")] {
        day.tick(stamp, price);
    }
    day.until(302);
    assert_eq!(shown(&day.bars(Interval::M5)[0]), "4990 4992 4989 4992 n4 r0 closed");
}

#[test]
fn what_is_wrong_with_prices_is_counted_and_what_was_rounded_as_well() {
    let mut day = Day::begun();
    for price in ["null", r#""-""#, "1e9", "0.000249876", "0.00025", "3990.1234567"] {
        day.tick(10, price);
    }
    let counts = day.pipeline.counts();
    let aside: Vec<_> = counts
        .ticks_set_aside
        .iter()
        .map(|(reason, count)| (reason.name(), *count))
        .collect();
    assert_eq!(
        aside,
        [("unreadable_price", 2), ("out_of_range", 1), ("beyond_scale", 2)]
    );
    let from_link = BTreeMap::from([(RoundedSource::Link, 1)]);
    assert_eq!(counts.rounded, BTreeMap::from([(Symbol::usdcop(), from_link)]));
    assert_eq!(accepted(&day.entries), ["3990.123457"]);
}

#[test]
fn a_sessions_file_begins_with_the_last_good_price_of_every_pair_also_of_one_that_is_closed() {
    let euro: Symbol = "EUR/USD".parse().unwrap();
    let mut markets = markets();
    let sessions = Listed {
        sessions: vec![session(3)],
        zone: chrono_tz::America::Bogota,
    };
    markets.push(PairRules {
        symbol: euro,
        sessions: Arc::new(sessions),
        ..markets[0].clone()
    });
    let mut day = Day {
        pipeline: Pipeline::new(&markets, Position(0), [], at(-600)),
        entries: Vec::new(),
    };
    let close = LastClose::firm(euro, "1.0842".parse().unwrap(), at(-70_000));
    day.apply_input(-30, InputKind::LastClose(close));
    day.until(86_400 - 1);
    let first_day = day.entries.len();
    day.until(86_400 + 10);
    let file = &day.entries[first_day..];
    let opened = file.iter().position(|entry| entry.opens_session().is_some()).unwrap();
    let begins = (0..=opened).rev().find(|i| file[*i].begins_transaction()).unwrap();
    let JournalEntry::Input(first) = &file[begins] else {
        panic!("a transaction begins with an input")
    };
    let mut alone = Day {
        pipeline: Pipeline::new(&markets, Position(0), [], first.at),
        entries: Vec::new(),
    };
    for entry in &file[begins..] {
        if let JournalEntry::Input(heard) = entry {
            let arrival = arrival(heard.at, heard.what.clone());
            alone.pipeline.replay(arrival, &mut alone.entries);
        }
    }
    assert_eq!(alone.pipeline.last_closes().collect::<Vec<_>>(), [close]);
}
