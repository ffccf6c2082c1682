//! Rows a second into the stores, beside plain COPY in the same run, and round trips to the cache. `DATABASE_URL` names a
//! PostgreSQL, `REDIS_URL` a Redis that may be written to; what is not named is not measured.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark prints what it measured and may panic"
)]

use candela::cache::{Cache, News, Redis, StreamAdd, price_json, update_json};
use candela::domain::followers::StreamId;
use candela::domain::model::{
    AcceptedTick, Channel, Epoch, Event, Head, Position, Price, Provenance, Sequenced, Symbol, Tick, Timestamp,
};
use candela::store::{Batch, Postgres, Sqlite, Store};
use rust_decimal::Decimal;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls};

const ROWS: u64 = 60_000;
const BULK: usize = 5_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
        let rate = write(&sqlite, 100, 1).await;
        println!("sqlite, 100 a commit: {:.0} rows/s; {}", rate.rows, rate.latency);
        match std::env::var("DATABASE_URL") {
            Ok(url) => postgres(&url).await,
            Err(_) => println!("postgresql: skipped, DATABASE_URL is not set"),
        }
        match std::env::var("REDIS_URL") {
            Ok(url) => redis(&url).await,
            Err(_) => println!("redis: skipped, REDIS_URL is not set"),
        }
    });
}

async fn postgres(url: &str) {
    let store = Store::Postgres(Postgres::new(&url.to_owned().into(), 2).unwrap());
    store.migrate_schema().await.unwrap();
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let floor = "DROP TABLE IF EXISTS floor; CREATE TABLE floor (LIKE realtime_market_data INCLUDING ALL)";
    client.batch_execute(floor).await.unwrap();
    // Alternating, because a machine that others use changes while it is measured.
    for round in 0..3_u64 {
        for size in [100, BULK] {
            let copied = copy(&client, size, round).await;
            let written = write(&store, size, 10 + round).await;
            println!(
                "postgresql, {size} a commit: COPY {copied:.0} rows/s, candela {:.0} rows/s = {:.2} x COPY; {}",
                written.rows,
                written.rows / copied,
                written.latency
            );
        }
    }
    client.batch_execute("DROP TABLE floor").await.unwrap();
}

/// One tick a round trip, as a quiet market sends them: latest price, publication and stream together.
async fn redis(url: &str) {
    let cache = Cache::Redis(Redis::new(&url.to_owned().into()).unwrap());
    let (symbol, channel, epoch) = (
        Symbol::usdcop(),
        Channel::ticks(Symbol::usdcop()),
        Epoch::from_random(1),
    );
    // As candela's first entry after a start: ids above those of an earlier run.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let generation = u64::try_from(now.as_millis()).unwrap();
    let mut times = Vec::new();
    for seq in 1..=5_000 {
        let Event::Tick(accepted) = event(seq).event else {
            unreachable!()
        };
        let price = price_json(&accepted);
        let news = News {
            updates: vec![update_json(&price)],
            entries: vec![StreamAdd {
                channel,
                id: StreamId { generation, seq },
                epoch,
                message: price.clone(),
            }],
            latest: vec![(symbol, accepted.received_at, price)],
        };
        let one = Instant::now();
        let refused = cache.tell(news, accepted.received_at).await.unwrap();
        times.push(one.elapsed());
        assert!(refused.is_empty(), "the stream takes each entry");
    }
    times.sort_unstable();
    println!("redis, a tick a round trip: {}", shown(&times));
}

/// Of sorted times.
fn shown(times: &[Duration]) -> String {
    let part = |share: usize| times[(times.len() - 1) * share / 100];
    format!("p50 {:?}, p99 {:?}", part(50), part(99))
}

struct Rate {
    rows: f64,
    latency: String,
}

fn event(seq: u64) -> Sequenced {
    let at = Timestamp::from_micros(1_761_138_000_000_000 + i64::try_from(seq).unwrap() * 1_000);
    let price = Price::from_micros(4_012_350_000 + i64::try_from(seq % 9_973).unwrap() * 100);
    let (bid, ask) = (Some(Price::from_micros(price.micros() - 250_000)), Some(price));
    let tick = Tick {
        symbol: Symbol::usdcop(),
        price,
        bid,
        ask,
        at,
        provenance: Provenance::Live,
    };
    Sequenced {
        position: Position(seq),
        channel: Some(Channel::ticks(Symbol::usdcop())),
        seq,
        at,
        event: Event::Tick(AcceptedTick { tick, received_at: at }),
    }
}

async fn write(store: &Store, size: usize, epoch: u64) -> Rate {
    let head = Head {
        epoch: Epoch::from_random(epoch),
        seq: ROWS,
    };
    let heads = Arc::new([(Channel::ticks(Symbol::usdcop()), head)].into());
    let events: Vec<Sequenced> = (1..=ROWS).map(event).collect();
    let batches: Vec<Batch> = events
        .chunks(size)
        .map(|events| Batch {
            reader: "bench",
            lineage: format!("{epoch}-{size}"),
            events: events.to_vec(),
            heads: Arc::clone(&heads),
        })
        .map(|batch| Batch {
            heads: shifted(&batch, size),
            ..batch
        })
        .collect();
    let (begun, mut times) = (Instant::now(), Vec::new());
    for batch in batches {
        let one = Instant::now();
        store.write(batch).await.unwrap();
        times.push(one.elapsed());
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    Rate {
        rows: 60_000.0 / seconds,
        latency: format!("a batch: {}", shown(&times)),
    }
}

/// Every size writes rows of its own: an epoch for each.
fn shifted(batch: &Batch, size: usize) -> Arc<std::collections::BTreeMap<Channel, Head>> {
    let mut heads = (*batch.heads).clone();
    let number = batch
        .lineage
        .bytes()
        .fold(u64::try_from(size).unwrap(), |sum, byte| sum * 31 + u64::from(byte));
    for head in heads.values_mut() {
        head.epoch = Epoch::from_random(number);
    }
    Arc::new(heads)
}

async fn copy(client: &Client, size: usize, round: u64) -> f64 {
    let sql =
        "COPY floor (symbol, time, bid, ask, last, spread, volume, session_date, trading_session, source, epoch, seq,
        event_time, provenance) FROM STDIN (FORMAT binary)";
    let kinds = [
        Type::VARCHAR,
        Type::TIMESTAMPTZ,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::INT4,
        Type::DATE,
        Type::BOOL,
        Type::VARCHAR,
        Type::VARCHAR,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::VARCHAR,
    ];
    let statement = client.prepare(sql).await.unwrap();
    let epoch = format!("{size}{round}").chars().rev().take(4).collect::<String>();
    let seqs: Vec<u64> = (1..=ROWS).collect();
    let begun = Instant::now();
    for chunk in seqs.chunks(size) {
        let mut writer = pin!(BinaryCopyInWriter::new(
            client.copy_in(&statement).await.unwrap(),
            &kinds
        ));
        for seq in chunk {
            let Event::Tick(accepted) = event(*seq).event else {
                unreachable!()
            };
            let at = accepted.received_at.datetime();
            let price = Decimal::new(accepted.tick.price.micros(), 6);
            let (bid, spread) = (price - Decimal::new(250_000, 6), Decimal::new(250_000, 6));
            let (date, number) = (at.date_naive(), i64::try_from(*seq).unwrap());
            let row: [&(dyn ToSql + Sync); 14] = [
                &"USDCOP", &at, &bid, &price, &price, &spread, &0_i32, &date, &true, &"candela", &epoch, &number, &at,
                &"live",
            ];
            writer.as_mut().write(&row).await.unwrap();
        }
        writer.finish().await.unwrap();
    }
    60_000.0 / begun.elapsed().max(Duration::from_millis(1)).as_secs_f64()
}
