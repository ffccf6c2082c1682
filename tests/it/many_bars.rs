//! Many one-minute bars in a store, as the service writes them. `benches/parquet.rs` has this file as well.

use candela::domain::calendar::Calendar;
use candela::domain::model::Interval;
use chrono::NaiveDate;

/// Bars of a session.
const MINUTES: usize = 295;

/// The opens of so many whole sessions, the first in 2010, in seconds.
pub(crate) fn sessions(count: usize) -> Vec<i64> {
    let calendar = Calendar::usdcop();
    NaiveDate::from_ymd_opt(2010, 1, 1)
        .unwrap()
        .iter_days()
        .map(|date| calendar.slots_on(date, Interval::M1))
        .filter(|slots| slots.len() == MINUTES)
        .take(count)
        .map(|slots| slots[0].secs())
        .collect()
}

/// How many bars these sessions have.
pub(crate) fn bars_of(opens: &[i64]) -> u64 {
    u64::try_from(opens.len() * MINUTES).unwrap()
}

/// The statement that writes the bars of these sessions into SQLite.
pub(crate) fn for_sqlite(opens: &[i64]) -> String {
    fill(
        &format!("(SELECT value AS n FROM json_each('{opens:?}'))"),
        "(WITH RECURSIVE m (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM m WHERE n < 294) SELECT n FROM m)",
        "date(s.n, 'unixepoch')",
        |seconds| format!("({seconds}) * 1000000"),
        |price| format!("({price}) * 1000000"),
    )
}

/// The same for PostgreSQL.
pub(crate) fn for_postgres(opens: &[i64]) -> String {
    let opens: Vec<String> = opens.iter().map(ToString::to_string).collect();
    fill(
        &format!("(SELECT unnest('{{{}}}'::bigint[]) AS n)", opens.join(",")),
        "(SELECT generate_series(0, 294) AS n)",
        "to_timestamp(s.n)::date",
        |seconds| format!("to_timestamp({seconds})"),
        str::to_owned,
    )
}

/// The bars as the service writes them, where `instant` makes an instant of seconds and `price` a price of whole units. `sessions`
/// and `minutes` are tables of one column `n`.
fn fill(
    sessions: &str,
    minutes: &str,
    date: &str,
    instant: impl Fn(&str) -> String,
    price: impl Fn(&str) -> String,
) -> String {
    let at = "s.n + m.n * 60";
    format!(
        "INSERT INTO interval_bars (symbol, \"interval\", datetime, open, high, low, close, source, ticks, closes_at, first_tick_at,
            last_tick_at, provenance, session_date, session_kind, epoch, seq, known_at)
         SELECT 'USDCOP', '1m', {}, {}, {}, {}, {}, 'candela', 12, {}, {}, {}, 'live', {date}, 'spot', 'aaaa', s.n / 60 + m.n, {}
         FROM {sessions} s, {minutes} m",
        instant(at),
        price("4000 + m.n % 7"),
        price("4009 + m.n % 11"),
        price("3999 - m.n % 5"),
        price("4001 + m.n % 7"),
        instant(&format!("{at} + 60")),
        instant(&format!("{at} + 1")),
        instant(&format!("{at} + 58")),
        instant(&format!("{at} + 61")),
    )
}
