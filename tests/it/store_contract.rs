//! What every store promises: one list of behaviours, run on SQLite and on PostgreSQL.

use crate::recorded::{Day, OPEN, SPAN, after_open, batch, part, symbols};
use crate::servers::{Database, postgres};
use candela::domain::model::{
    Bar, BarState, Certificate, Channel, Event, Gap, GapStatus, Interval, Position, Sequenced, SessionPhase, Symbol,
    Timestamp, Topic,
};
use candela::store::{
    BarQuery, Batch, CertificateQuery, GapQuery, HealthRow, LogQuery, LogSpan, Migrate, Postgres, Sqlite, Store,
    StoreError, StoredGap, StoredSession, TickQuery,
};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A store, and a way to look into it from outside.
pub(crate) struct Subject {
    pub(crate) store: Store,
    place: Place,
}

enum Place {
    File { _folder: tempfile::TempDir, path: PathBuf },
    Database(Database),
}

impl Subject {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Store::Sqlite(Sqlite::open(&path).unwrap());
        let place = Place::File { _folder: folder, path };
        Self { store, place }
    }

    pub(crate) fn postgres() -> Self {
        let database = postgres();
        let url = SecretString::from(database.url.clone());
        let store = Store::Postgres(Postgres::new(&url, 4).unwrap());
        let place = Place::Database(database);
        Self { store, place }
    }

    /// The same by a process that was started later.
    pub(crate) fn again(self) -> Self {
        let store = match &self.place {
            Place::File { path, .. } => Store::Sqlite(Sqlite::open(path).unwrap()),
            Place::Database(database) => {
                let url = SecretString::from(database.url.clone());
                Store::Postgres(Postgres::new(&url, 4).unwrap())
            }
        };
        Self { store, ..self }
    }

    pub(crate) async fn migrate(&self, what: Migrate) -> Result<Vec<String>, StoreError> {
        match (&self.place, &self.store) {
            (Place::File { path, .. }, _) => Sqlite::migrate_schema(path, what),
            (_, Store::Postgres(store)) => store.migrate_schema(what).await,
            (_, Store::Sqlite(_)) => unreachable!("it stands in a file"),
        }
    }

    /// One text a row, columns joined by `|`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        match &self.place {
            Place::File { path, .. } => {
                let db = rusqlite::Connection::open(path).unwrap();
                let mut statement = db.prepare(sql).unwrap();
                let columns = statement.column_count();
                let text = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
                    let cells: Vec<String> = (0..columns)
                        .map(|i| match row.get_ref(i).unwrap() {
                            rusqlite::types::ValueRef::Null => String::new(),
                            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                            other => other.as_str().unwrap().to_owned(),
                        })
                        .collect();
                    Ok(cells.join("|"))
                };
                statement
                    .query_map([], |row| text(row))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect()
            }
            Place::Database(database) => database.sql(sql).lines().map(str::to_owned).collect(),
        }
    }

    /// Every row of every table, but for what the clock or a counter put in.
    pub(crate) fn dump(&self) -> Vec<String> {
        let bars = "symbol, \"interval\", datetime, open, high, low, close, volume, source, revision, ticks, closes_at,
            first_tick_at, last_tick_at, provenance, flags, session_date, session_kind, epoch, seq, known_at";
        let tables = [
            format!("SELECT {bars} FROM market_data ORDER BY symbol, datetime"),
            format!("SELECT {bars} FROM interval_bars ORDER BY symbol, \"interval\", datetime"),
            "SELECT * FROM bar_revisions ORDER BY symbol, \"interval\", datetime, revision".to_owned(),
            "SELECT symbol, time, bid, ask, last, spread, volume, session_date, source, epoch, seq, event_time, provenance
             FROM realtime_market_data ORDER BY symbol, epoch, seq".to_owned(),
            "SELECT session_date, symbol, start_time, end_time, status, session_kind, ticks, bars, gaps FROM market_sessions
             ORDER BY session_date, symbol".to_owned(),
            "SELECT * FROM gaps ORDER BY symbol, id".to_owned(),
            "SELECT * FROM quality_log ORDER BY symbol, epoch, seq".to_owned(),
            "SELECT * FROM candela_events ORDER BY lineage, position".to_owned(),
            "SELECT * FROM candela_certificates ORDER BY symbol, session_date, revision".to_owned(),
            "SELECT * FROM rejected_events".to_owned(),
        ];
        tables.iter().flat_map(|sql| self.rows(sql)).collect()
    }
}

fn all_of(interval: Interval, symbol: Symbol) -> BarQuery {
    BarQuery::between(symbol, interval, OPEN - SPAN, OPEN + SPAN * 2, 1_000)
}

/// The last revision of each bar, by open.
fn current(batch: &Batch, interval: Interval, symbol: Symbol) -> Vec<Bar> {
    let mut bars = BTreeMap::new();
    for event in &batch.events {
        if let Event::Bar(bar) = &event.event
            && (bar.key.interval, bar.key.symbol) == (interval, symbol)
        {
            bars.insert(bar.key.opens_at, *bar);
        }
    }
    bars.into_values().collect()
}

async fn bars(subject: &Subject, query: BarQuery) -> Vec<Bar> {
    let bars = subject.store.read_bars(query).await.unwrap();
    bars.into_iter().map(|stored| stored.bar).collect()
}

async fn what_is_written_is_read_back(subject: Subject) {
    let all = batch(&Day::recorded());
    let written = subject.store.write(all.clone()).await.unwrap();
    assert_eq!(written.position, all.events.last().unwrap().position);
    for symbol in symbols() {
        for interval in [Interval::M5, Interval::M15, Interval::Session] {
            let expect = current(&all, interval, symbol);
            assert!(!expect.is_empty());
            assert_eq!(
                bars(&subject, all_of(interval, symbol)).await,
                expect,
                "{symbol} {interval}"
            );
        }
        let (from, to) = (OPEN, OPEN + SPAN);
        let asked = TickQuery {
            symbol,
            from,
            to,
            after_seq: None,
            cursor: None,
            limit: 5_000,
        };
        let ticks = subject.store.read_ticks(asked.clone()).await.unwrap();
        let expect: Vec<_> = all
            .events
            .iter()
            .filter_map(|event| match &event.event {
                Event::Tick(tick) if tick.tick.symbol == symbol => Some((event.seq, *tick)),
                _ => None,
            })
            .collect();
        assert_eq!(
            ticks.iter().map(|stored| (stored.seq, stored.tick)).collect::<Vec<_>>(),
            expect
        );
        let later = subject
            .store
            .read_ticks(TickQuery {
                after_seq: Some(7),
                limit: 3,
                ..asked
            })
            .await
            .unwrap();
        assert_eq!(later.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [8, 9, 10]);
        assert_eq!(subject.store.latest_tick(symbol).await.unwrap(), ticks.last().cloned());
    }
}

/// A walk in pages of one brings each gap once, the latest first.
async fn walked_in_pages_of_one(subject: &Subject, asked: &GapQuery, gaps: &[StoredGap]) {
    let mut page = GapQuery {
        limit: 1,
        ..asked.clone()
    };
    let mut walked = Vec::new();
    while let Some(last) = subject.store.read_gaps(page.clone()).await.unwrap().pop() {
        page.cursor = Some(last.place());
        walked.push(last);
    }
    assert!(gaps.is_sorted_by_key(|stored| std::cmp::Reverse(stored.gap.from)));
    assert_eq!(walked, gaps);
}

async fn gaps_and_sessions_are_read_back(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let mut current: BTreeMap<u64, Gap> = BTreeMap::new();
    for event in &all.events {
        if let Event::Gap(gap) = &event.event
            && gap.symbol == Symbol::usdcop()
        {
            current.insert(gap.id, gap.clone());
        }
    }
    let asked = GapQuery {
        symbol: Symbol::usdcop(),
        from: OPEN,
        to: OPEN + SPAN,
        status: None,
        cursor: None,
        limit: 100,
    };
    let gaps = subject.store.read_gaps(asked.clone()).await.unwrap();
    walked_in_pages_of_one(&subject, &asked, &gaps).await;
    let by_id: BTreeMap<u64, Gap> = gaps.iter().map(|stored| (stored.gap.id, stored.gap.clone())).collect();
    assert_eq!(by_id, current);
    assert!(gaps.iter().all(|stored| stored.opened_at <= stored.updated_at));
    assert!(
        gaps.iter().any(|stored| stored.gap.status == GapStatus::Filled),
        "{gaps:?}"
    );
    let open = subject
        .store
        .read_gaps(GapQuery {
            status: Some(GapStatus::Filled),
            ..asked.clone()
        })
        .await
        .unwrap();
    assert!(open.iter().all(|stored| stored.gap.status == GapStatus::Filled));
    assert!(
        subject
            .store
            .read_gaps(GapQuery {
                from: OPEN + SPAN,
                to: OPEN + SPAN * 2,
                ..asked
            })
            .await
            .unwrap()
            .is_empty()
    );
    let sessions = subject.store.read_sessions(10).await.unwrap();
    let closed = all
        .events
        .iter()
        .any(|event| matches!(&event.event, Event::Session(s) if s.phase == SessionPhase::Closed));
    assert!(closed);
    each_pair_has_its_row(&sessions, &all);
}

fn each_pair_has_its_row(sessions: &[StoredSession], all: &Batch) {
    let mut pairs: Vec<Symbol> = symbols().into_iter().collect();
    pairs.sort_unstable();
    let told: Vec<Symbol> = sessions.iter().map(|session| session.symbol).collect();
    assert_eq!(told, pairs, "one row a pair");
    for session in sessions {
        assert_eq!(
            (session.start, session.end, session.status.as_str()),
            (Some(OPEN), Some(OPEN + SPAN), "closed")
        );
        let of_pair = |event: &&Sequenced| {
            event
                .channel
                .is_some_and(|channel| channel.pair() == Some(session.symbol))
        };
        let in_session = |at: Timestamp| OPEN <= at && at < OPEN + SPAN;
        let ticks = all.events.iter().filter(of_pair).filter(|event| match &event.event {
            Event::Tick(tick) => in_session(tick.received_at),
            _ => false,
        });
        assert_eq!(session.ticks, u64::try_from(ticks.count()).ok(), "{session:?}");
        assert!(session.bars.unwrap() >= 4, "{session:?}");
    }
    assert!(sessions.iter().filter_map(|session| session.gaps).sum::<u64>() >= 1);
}

async fn any_stretch_written_again_changes_nothing(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let before = subject.dump();
    let length = all.events.len();
    for (from, to) in [
        (0, length),
        (0, 1),
        (0, length / 2),
        (length / 3, length),
        (length - 1, length),
        (0, 37),
    ] {
        subject.store.write(part(&all, from, to)).await.unwrap();
        assert_eq!(subject.dump(), before, "{from}..{to}");
    }
    let position = subject
        .store
        .reader_position("writer", all.lineage.clone())
        .await
        .unwrap();
    assert_eq!(
        position,
        all.events.last().unwrap().position,
        "a position never runs backwards"
    );
}

async fn any_cut_into_batches_leaves_the_same_rows(subject: Subject, other: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let mut begin = 0;
    for size in [1, 100, 3, 250, 17, 64, 5].iter().cycle() {
        if begin == all.events.len() {
            break;
        }
        let end = (begin + size).min(all.events.len());
        other.store.write(part(&all, begin, end)).await.unwrap();
        begin = end;
    }
    assert_eq!(subject.dump(), other.dump());
}

async fn bars_can_be_asked_for_as_they_were_known(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let symbol = Symbol::usdcop();
    let told: Vec<_> = all
        .events
        .iter()
        .filter_map(|event| match &event.event {
            Event::Bar(bar) if bar.key.symbol == symbol && bar.key.interval == Interval::M5 => Some((event.at, *bar)),
            _ => None,
        })
        .collect();
    let revised = told
        .iter()
        .find(|(_, bar)| bar.state == BarState::Revised)
        .expect("a bar was revised")
        .0;
    for as_of in [revised, revised - Duration::from_micros(1), after_open(700), OPEN] {
        let mut expect = BTreeMap::new();
        for (_, bar) in told.iter().filter(|(at, _)| *at <= as_of) {
            expect.insert(bar.key.opens_at, *bar);
        }
        let asked = BarQuery {
            as_of: Some(as_of),
            ..all_of(Interval::M5, symbol)
        };
        assert_eq!(
            bars(&subject, asked).await,
            expect.into_values().collect::<Vec<_>>(),
            "as of {as_of}"
        );
    }
}

/// A batch with a certificate of each of these sessions and revisions.
fn certified(sessions: &[(&str, u32)]) -> (Batch, Vec<Certificate>) {
    let mut batch = batch(&Day::recorded());
    let symbol = Symbol::usdcop();
    let channel = Channel::quality(symbol);
    let mut certificates = Vec::new();
    for (date, revision) in sessions {
        let certificate = Certificate {
            symbol,
            date: date.parse().unwrap(),
            revision: *revision,
            interval: Interval::M5,
            opens: OPEN,
            closes: OPEN + SPAN,
            expected: 6,
            present: BTreeMap::from([("live".to_owned(), 6)]),
            missing: 0,
            revised: 0,
            mismatched: 0,
            unfillable: Vec::new(),
            seam: None,
            previous: None,
            hash: format!("{revision:064x}"),
            through: Position(1),
        };
        let last = batch.events.last().unwrap();
        let head = Arc::make_mut(&mut batch.heads).get_mut(&channel).unwrap();
        head.seq += 1;
        let event = Sequenced {
            position: last.position.next(),
            channel: Some(channel),
            seq: head.seq,
            at: last.at,
            event: Event::Certificate(Box::new(certificate.clone())),
        };
        batch.events.push(event);
        certificates.push(certificate);
    }
    (batch, certificates)
}

async fn certificates_are_read_back_the_latest_first_in_pages(subject: Subject) {
    let (all, certificates) = certified(&[
        ("2025-10-21", 1),
        ("2025-10-22", 1),
        ("2025-10-21", 2),
        ("2025-10-23", 1),
    ]);
    let (last, earlier) = all.events.split_last().unwrap();
    let earlier = Batch {
        events: earlier.to_vec(),
        ..all.clone()
    };
    let alone = Batch {
        events: vec![last.clone()],
        ..all.clone()
    };
    for part in [&earlier, &alone] {
        subject.store.write(part.clone()).await.unwrap();
    }
    let rows = subject.rows("SELECT count(*) FROM candela_certificates");
    assert_eq!(rows, ["4"], "the last came alone");
    subject.store.write(all.clone()).await.unwrap();
    let asked = CertificateQuery {
        symbol: Symbol::usdcop(),
        from: "2025-10-01".parse().unwrap(),
        to: "2025-10-31".parse().unwrap(),
        cursor: None,
        limit: 100,
    };
    let found = subject.store.read_certificates(asked.clone()).await.unwrap();
    let expect = [3, 1, 2, 0].map(|i: usize| certificates[i].clone());
    let shown: Vec<Certificate> = found.iter().map(|stored| stored.certificate.clone()).collect();
    assert_eq!(shown, expect);
    let mut paged = Vec::new();
    let mut cursor = None;
    loop {
        let asked = CertificateQuery {
            cursor,
            limit: 1,
            ..asked.clone()
        };
        let page = subject.store.read_certificates(asked).await.unwrap();
        let Some(one) = page.into_iter().next() else { break };
        cursor = Some(one.place().to_string().parse().unwrap());
        paged.push(one);
    }
    assert_eq!(paged, found);
    let one_day = CertificateQuery {
        from: "2025-10-21".parse().unwrap(),
        to: "2025-10-21".parse().unwrap(),
        ..asked.clone()
    };
    assert_eq!(subject.store.read_certificates(one_day).await.unwrap().len(), 2);
    let none = CertificateQuery {
        symbol: symbols()[1],
        ..asked
    };
    assert_eq!(subject.store.read_certificates(none).await.unwrap(), []);
    let channel = Channel::quality(Symbol::usdcop());
    let log = LogQuery {
        channel,
        epoch: all.heads[&channel].epoch,
        from: 1,
        to: all.heads[&channel].seq,
    };
    let logged = subject.store.read_log(log, 10_000).await.unwrap();
    assert_eq!(logged, told(&all.events, channel), "and from the log of quality");
}

async fn bars_come_in_pages(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let whole = current(&all, Interval::M5, Symbol::usdcop());
    let page = BarQuery {
        limit: 2,
        ..all_of(Interval::M5, Symbol::usdcop())
    };
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let bars = bars(&subject, BarQuery { cursor, ..page.clone() }).await;
        let Some(last) = bars.last() else { break };
        assert!(bars.len() <= 2);
        cursor = Some(last.key.opens_at);
        seen.extend(bars);
    }
    assert_eq!(seen, whole);
    let latest = bars(&subject, BarQuery { latest: true, ..page }).await;
    assert_eq!(latest, whole[whole.len() - 2..]);
    let empty = BarQuery {
        to: OPEN,
        ..all_of(Interval::M5, Symbol::usdcop())
    };
    assert!(bars(&subject, empty).await.is_empty());
}

async fn a_position_belongs_to_one_reader_of_one_ledger(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(part(&all, 0, 50)).await.unwrap();
    let other = Batch {
        lineage: "another".to_owned(),
        ..part(&all, 0, 9)
    };
    subject.store.write(other).await.unwrap();
    assert_eq!(
        subject
            .store
            .reader_position("writer", all.lineage.clone())
            .await
            .unwrap(),
        Position(50)
    );
    assert_eq!(
        subject
            .store
            .reader_position("writer", "another".to_owned())
            .await
            .unwrap(),
        Position(9)
    );
    assert_eq!(
        subject.store.reader_position("other", all.lineage).await.unwrap(),
        Position(0)
    );
}

async fn old_ticks_are_forgotten_some_at_a_time_and_bars_never(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let count = || {
        subject.rows("SELECT count(*) FROM realtime_market_data")[0]
            .parse::<usize>()
            .unwrap()
    };
    let (before, bars) = (count(), subject.rows("SELECT count(*) FROM market_data"));
    let half = after_open(400);
    assert_eq!(subject.store.forget_ticks(half, 50).await.unwrap(), 50);
    let rest = subject.store.forget_ticks(half, 100_000).await.unwrap();
    assert_eq!(subject.store.forget_ticks(half, 100_000).await.unwrap(), 0);
    assert_eq!(count() + rest + 50, before);
    assert!(count() > 100 && rest > 50);
    assert_eq!(subject.rows("SELECT count(*) FROM market_data"), bars);
}

async fn health_is_kept_and_a_ping_is_answered(subject: Subject) {
    subject.store.migrate_schema().await.unwrap();
    let row = HealthRow {
        status: "active".to_owned(),
        details: serde_json::json!({"clients": 3}),
        response_ms: Some(2),
        error: None,
        at: OPEN,
    };
    subject.store.record_health(row).await.unwrap();
    assert_eq!(
        subject.rows("SELECT service_name, status, response_time_ms FROM system_health"),
        ["candela|active|2"]
    );
    assert!(subject.store.ping().await.unwrap() < Duration::from_secs(5));
}

macro_rules! contract {
    ($($name:ident($($subject:ident),*);)*) => {
        mod sqlite {
            use crate::store_contract::Subject;
            $(#[tokio::test] async fn $name() { super::$name($({ stringify!($subject); Subject::sqlite() }),*).await; })*
        }
        mod postgresql {
            use crate::store_contract::Subject;
            $(#[tokio::test] async fn $name() { super::$name($({ stringify!($subject); Subject::postgres() }),*).await; })*
        }
    };
}
pub(crate) use contract;

/// Everything but the position, which is the ledger's.
fn told(events: &[Sequenced], channel: Channel) -> Vec<Sequenced> {
    let of = events.iter().filter(|event| event.channel == Some(channel));
    let unplaced = |event: &Sequenced| Sequenced {
        position: Position(0),
        ..event.clone()
    };
    of.map(unplaced).collect()
}

async fn logs_are_read_back_as_they_were_told(subject: Subject) {
    let all = batch(&Day::recorded());
    subject.store.write(all.clone()).await.unwrap();
    let kept = all.heads.iter().filter(|(channel, _)| LogQuery::is_kept(channel.topic));
    let mut seen = std::collections::HashMap::new();
    for (channel, head) in kept {
        let expect = told(&all.events, *channel);
        *seen.entry(channel.topic).or_insert(0) += expect.len();
        let whole = LogQuery {
            channel: *channel,
            epoch: head.epoch,
            from: 1,
            to: head.seq,
        };
        assert_eq!(
            subject.store.read_log(whole, 10_000).await.unwrap(),
            expect,
            "{channel}"
        );
        let (Some(middle), Some(last)) = (expect.get(expect.len() / 2), expect.last()) else {
            continue;
        };
        let page = LogQuery {
            from: middle.seq,
            ..whole
        };
        assert_eq!(
            subject.store.read_log(page, 2).await.unwrap(),
            expect[expect.len() / 2..].iter().take(2).cloned().collect::<Vec<_>>()
        );
        let before = expect
            .iter()
            .rev()
            .find(|event| event.at < middle.at)
            .map(|event| event.seq);
        let span = subject.store.log_span(whole, Some(middle.at)).await.unwrap();
        assert_eq!((span.first, span.before), (Some(1), before), "{channel}");
        let beyond = LogQuery {
            to: last.seq + 1,
            ..whole
        };
        assert_eq!(subject.store.log_span(beyond, None).await.unwrap().first, None);
        let strange = LogQuery {
            epoch: "zzzz".parse().unwrap(),
            ..whole
        };
        assert_eq!(subject.store.log_span(strange, None).await.unwrap(), LogSpan::default());
    }
    assert!(
        seen[&Topic::Quality] > 1 && seen[&Topic::Bars(Interval::M5)] > 9,
        "{seen:?}"
    );
}

async fn a_log_with_a_hole_is_whole_only_after_it(subject: Subject) {
    let all = batch(&Day::recorded());
    let channel = Channel::bars(Interval::M5, symbols()[0]);
    let epoch = all.heads[&channel].epoch;
    let told = told(&all.events, channel);
    let (Event::Bar(fifth), last) = (&told[4].event, u64::try_from(told.len()).unwrap()) else {
        panic!("not a bar");
    };
    subject.store.write(all.clone()).await.unwrap();
    let sql = format!(
        "DELETE FROM bar_revisions WHERE seq = 5 AND symbol = '{}' AND \"interval\" = '5m'",
        fifth.key.symbol.compact()
    );
    subject.rows(&sql);
    let query = |from, to| LogQuery {
        channel,
        epoch,
        from,
        to,
    };
    let first = async |from, to| subject.store.log_span(query(from, to), None).await.unwrap().first;
    assert_eq!(first(1, last).await, Some(6));
    assert_eq!(first(8, last).await, Some(8));
    assert_eq!(first(1, 4).await, Some(1));
    assert_eq!(first(1, 5).await, None);
}

contract! {
    logs_are_read_back_as_they_were_told(one);
    a_log_with_a_hole_is_whole_only_after_it(one);
    what_is_written_is_read_back(one);
    gaps_and_sessions_are_read_back(one);
    any_stretch_written_again_changes_nothing(one);
    any_cut_into_batches_leaves_the_same_rows(one, other);
    bars_can_be_asked_for_as_they_were_known(one);
    bars_come_in_pages(one);
    certificates_are_read_back_the_latest_first_in_pages(one);
    a_position_belongs_to_one_reader_of_one_ledger(one);
    old_ticks_are_forgotten_some_at_a_time_and_bars_never(one);
    health_is_kept_and_a_ping_is_answered(one);
}

#[tokio::test]
async fn both_stores_have_the_same_tables_and_columns() {
    let (sqlite, postgres) = (Subject::sqlite(), Subject::postgres());
    postgres.store.migrate_schema().await.unwrap();
    let here = sqlite.rows(
        "SELECT t.name || '.' || c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '\\_\\_%' ESCAPE '\\' ORDER BY 1",
    );
    // The others are what only a database has: the old service's table, its sessions by pair, and the lease (SQLite has a file's lock).
    let there = postgres.rows(
        "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'
         AND table_name NOT IN ('market_bars', 'market_sessions_of_pairs', 'candela_lease') AND table_name NOT LIKE '\\_\\_%' ORDER BY (table_name || '.' || column_name) COLLATE \"C\"",
    );
    assert_eq!(here, there);
}
