//! Bars in one stream: every bar that is read is sent.

use crate::store::{
    Sqlite, Store,
    probe::{execute_sql, query_count},
};
use crate::web::tests::stage::Stage;
use tokio::io::AsyncReadExt;

/// More than ten pages of bars, of which the kernel's buffers hold a part.
const BARS: usize = 100_000;

#[actix_rt::test]
async fn the_first_bytes_of_a_stream_leave_before_its_last_row_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let store = Store::Sqlite(Sqlite::open(&file).unwrap());
    let mut stage = Stage::with(|parts| parts.extras.store = Some(store));
    stage.receive_buffer = 16 * 1_024;
    execute_sql(
        &file,
        &format!(
            "INSERT INTO market_data (symbol, datetime, open, high, low, close, source)
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {BARS} - 1)
             SELECT 'USDCOP', 1577836800000000 + i * 300000000, 4000000000, 4000000000, 4000000000, 4000000000, 'l0' FROM n"
        ),
    );
    let mut client = stage
        .send("GET /market/bars?format=csv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("chunked"), "{head}");
    let mut text = client.bytes.to_vec();
    text.resize(4_096, 0);
    let held = client.bytes.len();
    client.stream.read_exact(&mut text[held..]).await.unwrap();
    // Bars deleted now were not read yet: they are not sent.
    execute_sql(
        &file,
        "DELETE FROM market_data WHERE id > (SELECT max(id) - 10000 FROM market_data)",
    );
    assert_eq!(query_count(&file, "SELECT count(*) FROM market_data"), 90_000);
    client.stream.read_to_end(&mut text).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("0\r\n\r\n"), "it ends as a whole stream does");
    let rows = without_chunks(&text);
    assert_eq!(rows.matches("USD/COP,5m,").count(), 90_000);
}

/// The content of a chunked body: each chunk is its length in hexadecimal, and so many bytes, each on a line.
fn without_chunks(body: &str) -> String {
    let mut content = String::new();
    let mut left = body;
    while let Some((length, rest)) = left.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        let (chunk, next) = rest.split_at(length);
        content.push_str(chunk);
        left = next.strip_prefix("\r\n").unwrap();
    }
    content
}
