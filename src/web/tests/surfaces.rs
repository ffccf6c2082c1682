//! Formats of other programs: Parquet files, and the feed of a charting library.

use crate::domain::calendar::Calendar;
use crate::domain::model::{Channel, Event, Gap, GapStatus, Head, Interval, Sequenced, Symbol, Timestamp};
use crate::limits;
use crate::store::{Batch, Sqlite, Store};
use crate::web::WebParts;
use crate::web::tests::{
    guarded::with_tokens,
    memory_ledger::epoch,
    stage::{Stage, bar},
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// Midnight UTC of 2025-10-20, a Monday.
pub(super) const MONDAY: i64 = 1_760_918_400;

/// A server with a bar at each of these instants, and a gap.
async fn with(opens: &[i64], gap: Option<(i64, i64)>) -> (tempfile::TempDir, Stage) {
    with_parts(opens, gap, |_| {}).await
}

/// The same with other parts.
pub(super) async fn with_parts(
    opens: &[i64],
    gap: Option<(i64, i64)>,
    change: impl FnOnce(&mut WebParts),
) -> (tempfile::TempDir, Stage) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
    let (kept, asked) = (store.clone(), store);
    let stage = Stage::with(move |parts| {
        parts.extras.store = Some(asked);
        parts.extras.calendars = vec![(Symbol::usdcop(), Arc::new(Calendar::usdcop()))];
        parts.intervals = vec![Interval::M5, Interval::D1];
        change(parts);
    });
    let (bars, quality) = (
        Channel::bars(Interval::M5, Symbol::usdcop()),
        Channel::quality(Symbol::usdcop()),
    );
    let mut events: Vec<Sequenced> = Vec::new();
    for at in opens {
        let mut bar = bar(Timestamp::from_secs(*at));
        bar.session_date = bar.key.opens_at.datetime().date_naive();
        events.push(stage.number(Some(bars), Event::Bar(bar)));
    }
    if let Some((from, to)) = gap {
        let gap = Gap {
            id: 19,
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: Timestamp::from_secs(from),
            to: Timestamp::from_secs(to),
            bars: u32::try_from((to - from) / 300).unwrap(),
            status: GapStatus::Open,
            cause: "upstream_close_1006".to_owned(),
        };
        events.push(stage.number(Some(quality), Event::Gap(gap)));
    }
    let head = |count: usize| Head {
        epoch: epoch(),
        seq: u64::try_from(count).unwrap(),
    };
    let heads = BTreeMap::from([(bars, head(opens.len())), (quality, head(1))]);
    let batch = Batch {
        reader: "test",
        lineage: "test".to_owned(),
        events,
        heads: Arc::new(heads),
    };
    kept.write(batch).await.unwrap();
    (folder, stage)
}

/// A body that is not JSON.
pub(super) async fn bytes(stage: &Stage, path: &str) -> (String, bytes::Bytes) {
    let mut client = stage.send(&format!("GET {path} HTTP/1.0\r\n\r\n")).await;
    let head = client.head().await;
    let mut body = client.bytes.to_vec();
    client.stream.read_to_end(&mut body).await.unwrap();
    (head.to_ascii_lowercase(), body.into())
}

/// Sixty bars of each of three days.
pub(super) fn three_days() -> Vec<i64> {
    let of_day = |day: i64| (0..60).map(move |i| MONDAY + day * 86_400 + 46_800 + i * 300);
    (0..3).flat_map(of_day).collect()
}

#[actix_rt::test]
async fn a_parquet_file_has_the_bars_in_a_row_group_a_session_and_says_what_is_missing() {
    let opens = three_days();
    let end = opens.last().unwrap() + 300;
    let (_folder, stage) = with(&opens, Some((end, end + 600))).await;
    let (head, body) = bytes(&stage, "/market/bars?format=parquet&from=2025-10-19&as_of=2100-01-01").await;
    assert!(head.contains("application/vnd.apache.parquet"), "{head}");
    let file = SerializedFileReader::new(body).unwrap();
    let groups: Vec<i64> = file
        .metadata()
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .collect();
    assert_eq!(groups, [60, 60, 60]);
    let said = file.metadata().file_metadata().key_value_metadata().unwrap();
    let said: BTreeMap<&str, &str> = said
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.as_deref().unwrap()))
        .collect();
    assert_eq!((said["zone"], said["symbol"]), ("America/Bogota", "USD/COP"));
    assert!(
        said["as_of"].starts_with("2100-01-01") && said["gaps"].contains("g-19"),
        "{said:?}"
    );
    let (_, page) = stage.get("/market/bars?from=2025-10-19&limit=10000").await;
    let bars = page["bars"].as_array().unwrap();
    let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!((rows.len(), bars.len()), (180, 180));
    for (row, bar) in rows.iter().zip(bars) {
        let cells: BTreeMap<&String, String> = row
            .get_column_iter()
            .map(|(name, cell)| (name, cell.to_string()))
            .collect();
        for same in [
            "symbol",
            "interval",
            "ticks",
            "state",
            "revision",
            "provenance",
            "session_type",
            "volume",
        ] {
            assert_eq!(cells[&same.to_owned()], bar[same].to_string(), "{same}: {row} {bar}");
        }
    }
}

#[actix_rt::test]
async fn a_page_of_parquet_says_where_the_next_begins_and_an_empty_file_is_a_file() {
    let (_folder, stage) = with(&three_days(), None).await;
    let (head, body) = bytes(&stage, "/market/bars?format=parquet&limit=7&price=float64").await;
    assert!(head.contains("x-next-cursor: before:"), "{head}");
    let file = SerializedFileReader::new(body).unwrap();
    assert_eq!(file.metadata().file_metadata().num_rows(), 7);
    let first = file.get_row_iter(None).unwrap().next().unwrap().unwrap();
    let open = first.get_column_iter().find(|(name, _)| *name == "open").unwrap().1;
    assert_eq!(open, &parquet::record::Field::Double(4_000.0), "{first}");
    for path in [
        "/market/bars?format=parquet&to=1990-01-01",
        "/market/ticks?format=parquet",
    ] {
        let (head, body) = bytes(&stage, path).await;
        assert!(head.contains(" 200 "), "{path}: {head}");
        let file = SerializedFileReader::new(body).unwrap();
        assert_eq!(file.metadata().file_metadata().num_rows(), 0, "{path}");
    }
    for path in [
        "/market/bars?price=float64",
        "/market/ticks?format=csv",
        "/market/bars?format=parquet&price=money",
    ] {
        let (status, body) = stage.get(path).await;
        assert!(
            status.contains("400") && body["parameter"].is_string(),
            "{path}: {status} {body}"
        );
    }
}

/// Reads history as the charting library does: windows towards the past, until the answer names no earlier bars.
async fn walk(stage: &Stage, mut to: i64, window: i64) -> (Vec<i64>, Vec<(i64, i64)>) {
    let (mut found, mut empty) = (Vec::new(), Vec::new());
    loop {
        let from = to - window;
        let path = format!("/udf/history?symbol=USDCOP&resolution=5&from={from}&to={to}");
        let (status, said) = stage.get(&path).await;
        assert!(status.contains("200"), "{status}");
        match said["s"].as_str().unwrap() {
            "ok" => {
                let times: Vec<i64> = said["t"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|t| t.as_i64().unwrap())
                    .collect();
                assert!(
                    times.is_sorted() && times.iter().all(|at| (from..to).contains(at)),
                    "{said}"
                );
                found.splice(0..0, times);
                to = from;
            }
            "no_data" => {
                assert!(!empty.contains(&(from, to)), "the same nothing twice: {from} to {to}");
                empty.push((from, to));
                match said["nextTime"].as_i64() {
                    Some(next) => {
                        assert!(next < from, "{said}");
                        to = next + 1;
                    }
                    None => return (found, empty),
                }
            }
            other => panic!("{other}: {said}"),
        }
    }
}

#[actix_rt::test]
async fn a_chart_that_goes_into_the_past_never_asks_twice_for_the_same_nothing() {
    let opens = three_days();
    let (_folder, stage) = with(&opens, None).await;
    for path in [
        "/udf/config",
        "/udf/symbols?symbol=USDCOP",
        "/udf/search?query=usd&limit=10",
    ] {
        let (status, said) = stage.get(path).await;
        assert!(status.contains("200") && said["s"] != "error", "{path}: {said}");
    }
    let (head, body) = bytes(&stage, "/udf/time").await;
    assert!(head.contains("text/plain"), "{head}");
    assert!(std::str::from_utf8(&body).unwrap().parse::<i64>().is_ok());
    let (found, empty) = walk(&stage, MONDAY + 4 * 86_400, 7_200).await;
    assert_eq!(found, opens);
    assert_eq!(empty.len(), 4, "one for each stretch without bars: {empty:?}");
    // A count of bars overrides the beginning of the window.
    let to = opens[100];
    let path = format!(
        "/udf/history?symbol=candela:USDCOP&resolution=5&from={}&to={to}&countback=70",
        to - 300
    );
    let (_, said) = stage.get(&path).await;
    assert_eq!(said["t"].as_array().unwrap().len(), 70, "{said}");
    assert_eq!(said["t"][69], opens[99]);
    let (_, said) = stage
        .get(&format!(
            "/udf/history?symbol=USDCOP&resolution=5&to={MONDAY}&countback=5"
        ))
        .await;
    assert_eq!(said, serde_json::json!({"s": "no_data"}));
}

#[actix_rt::test]
async fn marks_are_the_gaps_that_rest_tells() {
    let opens = three_days();
    let end = opens[59] + 300;
    let (_folder, stage) = with(&opens, Some((end, end + 900))).await;
    let (_, gaps) = stage.get("/market/gaps").await;
    let stretch = format!("symbol=USDCOP&resolution=5&from={MONDAY}&to={}", MONDAY + 4 * 86_400);
    for path in ["marks", "timescale_marks"] {
        let (_, marks) = stage.get(&format!("/udf/{path}?{stretch}")).await;
        let ids: Vec<&Value> = marks.as_array().unwrap().iter().map(|mark| &mark["id"]).collect();
        assert_eq!(ids, [&gaps["gaps"][0]["id"]], "{path}: {marks}");
        assert_eq!(marks[0]["time"], end);
    }
    let (_, none) = stage
        .get(&format!(
            "/udf/marks?symbol=USDCOP&resolution=5&from={MONDAY}&to={}",
            MONDAY + 60
        ))
        .await;
    assert_eq!(none, serde_json::json!([]));
    let (_, quotes) = stage.get("/udf/quotes?symbols=USDCOP,NOPE").await;
    assert_eq!(
        (&quotes["d"][0]["s"], &quotes["d"][1]["s"]),
        (&"ok".into(), &"error".into()),
        "{quotes}"
    );
    assert_eq!(quotes["d"][0]["v"]["lp"], 4000, "{quotes}");
}

#[actix_rt::test]
async fn a_stretch_of_more_bars_than_a_page_comes_whole() {
    let count = i64::from(limits::REST_PAGE_MAX) + 50;
    let opens: Vec<i64> = (0..count).map(|number| MONDAY + number * 300).collect();
    let (_folder, stage) = with(&opens, None).await;
    let to = MONDAY + count * 300;
    let asked = format!("/udf/history?symbol=USDCOP&resolution=5&from={MONDAY}&to={to}");
    let (_, said) = stage.get(&asked).await;
    let times: Vec<i64> = serde_json::from_value(said["t"].clone()).unwrap();
    assert_eq!(times, opens, "none is left out, and none is there twice");
}

#[actix_rt::test]
async fn a_chart_without_a_token_is_refused_in_the_words_of_its_feed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stage = Stage::with(with_tokens(&file));
    for (path, more, says) in [
        ("/udf/config", "", "a token is needed"),
        ("/udf/time", "Authorization: Bearer wrong\r\n", "not valid"),
    ] {
        let (head, said) = stage.get_with(path, more).await;
        assert!(head.contains("401"), "{path}: {head}");
        assert!(
            said["s"] == "error" && said["errmsg"].as_str().unwrap().contains(says),
            "{path}: {said}"
        );
    }
    let (_, elsewhere) = stage.get("/market/latest").await;
    assert!(elsewhere.get("errmsg").is_none(), "{elsewhere}");
}

#[actix_rt::test]
async fn the_feed_refuses_in_its_own_words() {
    let (_folder, stage) = with(&[], None).await;
    for path in [
        "/udf/history",
        "/udf/history?symbol=USDCPO&resolution=5&from=1&to=2",
        "/udf/history?symbol=USDCOP&resolution=7&from=1&to=2",
        "/udf/history?symbol=USDCOP&resolution=5&from=x&to=2",
        "/udf/history?symbol=USDCOP&resolution=5&from=3&to=2",
        "/udf/history?symbol=USDCOP&resolution=5&to=2&countback=0",
        "/udf/marks?symbol=USDCOP&resolution=5&from=99999999999999999999&to=2",
        "/udf/symbols",
        "/udf/symbols?symbol=EURUSD",
        "/udf/search?query=usd&limit=-1",
        "/udf/quotes",
        &format!(
            "/udf/quotes?symbols={}",
            vec!["USDCOP"; limits::CLIENT_CHANNELS + 1].join(",")
        ),
        "/udf/symbol_info?group=candela",
        "/udf",
    ] {
        let (status, said) = stage.get(path).await;
        let is_unknown = path.contains("symbol_info") || path == "/udf";
        let expected = if is_unknown { "404" } else { "200" };
        assert!(status.contains(expected), "{path}: {status}");
        assert_eq!(said["s"], "error", "{path}: {said}");
        assert!(
            said["errmsg"].as_str().is_some_and(|text| text.len() > 8),
            "{path}: {said}"
        );
    }
    let elsewhere = stage.get("/udf/search?query=cop&exchange=NASDAQ").await.1;
    assert_eq!(
        elsewhere,
        serde_json::json!([]),
        "a pair of another exchange is not ours"
    );
    let far = "/udf/history?symbol=USDCOP&resolution=5&from=-9223372036854775808&to=9223372036854775807";
    assert_eq!(stage.get(far).await.1, serde_json::json!({"s": "no_data"}));
}
