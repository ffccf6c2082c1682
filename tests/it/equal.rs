//! Whether PostgreSQL holds what the ledger holds.

use crate::servers::{Database, Postgres};
use candela::domain::model::Event;
use candela::ledger::Ledger;
use std::collections::BTreeMap;

/// Ticks and bars in the database are those of the ledger: no one missing, no one twice.
pub(crate) fn assert_equal(server: &Postgres, database: &Database, ledger: &Ledger) {
    let (mut ticks, mut bars) = (Vec::new(), BTreeMap::new());
    let mut reader = ledger.reader();
    let mut from = reader.first_position();
    loop {
        let events = reader.read(from, 5_000).unwrap();
        let Some(last) = events.last() else { break };
        from = last.position.next();
        for event in &events {
            match &event.event {
                Event::Tick(tick) => {
                    ticks.push(format!(
                        "{}|{}|{}",
                        tick.tick.symbol.compact(),
                        event.seq,
                        tick.tick.price.micros()
                    ));
                }
                Event::Bar(bar) => {
                    bars.insert(
                        (
                            bar.key.symbol.compact(),
                            bar.key.interval.name(),
                            bar.key.opens_at.micros(),
                        ),
                        bar.revision,
                    );
                }
                _ => {}
            }
        }
    }
    ticks.sort();
    let stored = server.sql(
        &database.name,
        "SELECT symbol, seq, (last * 1000000)::bigint FROM realtime_market_data",
    );
    let mut stored: Vec<&str> = stored.lines().collect();
    stored.sort_unstable();
    assert_eq!(stored, ticks);
    let sql =
        "SELECT symbol, \"interval\", (extract(epoch FROM datetime) * 1000000)::bigint, revision FROM market_bars";
    let stored = server.sql(&database.name, sql);
    let mut stored: Vec<&str> = stored.lines().collect();
    stored.sort_unstable();
    let mut expect: Vec<String> = bars
        .iter()
        .map(|((symbol, interval, at), revision)| format!("{symbol}|{interval}|{at}|{revision}"))
        .collect();
    expect.sort();
    let missing: Vec<&String> = expect.iter().filter(|row| !stored.contains(&row.as_str())).collect();
    let strange: Vec<&&str> = stored
        .iter()
        .filter(|row| !expect.iter().any(|known| known == **row))
        .collect();
    let reached = server.sql(&database.name, "SELECT reader, position FROM reader_positions");
    let aside = server.sql(&database.name, "SELECT position, reason, event FROM rejected_events");
    assert!(
        stored == expect && aside.is_empty(),
        "bars that are missing {missing:?}, that are strange {strange:?}, set aside {aside:?}; the ledger's end is {:?}, reached {reached:?}",
        ledger.head()
    );
}
