//! The certificate of a session on the real binary, forty times as fast: it is issued when the session is closed and compared with the
//! vendor, again when the session continued, and `candela verify` finds a price that was changed in the store.

use crate::child::{Candela, Ended, wait_until};
use crate::process_gate::{FLAG, World, prepare, raise_flag};
use crate::process_session::HurriedTime;
use serde_json::Value;
use std::path::Path;

const DATE: &str = "2026-03-02";

struct Stage<'t> {
    time: HurriedTime,
    data: &'t Path,
    days: String,
}

impl Stage<'_> {
    /// The binary with the folders of the service, to its end.
    fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.time.command(args);
        command
            .env("CANDELA__STORE__SQLITE_FILE", self.data.join("candela.db"))
            .env("CANDELA__LEDGER__DIR", self.data.join("ledger"))
            .env("CANDELA__MARKET__CALENDAR_FILE", &self.days);
        Candela::of(&mut command).ended()
    }

    /// Corrects the session of the day to end then.
    fn close_at(&self, closes: &str, more: &[&str]) {
        let args = ["calendar", "open", DATE, "--reason", "a test", "--by", "a test"];
        let done = self.run(&[&args[..], &["--opens", "08:00", "--closes", closes], more].concat());
        assert_eq!(done.code(), 0, "{}", done.stderr);
    }

    fn verify(&self, more: &[&str]) -> (i32, String) {
        let ended = self.run(&[&["verify", "--date", DATE], more].concat());
        (ended.code(), ended.stdout + &ended.stderr)
    }
}

/// Waits for the certificate with this revision.
fn certificate(world: &World, revision: u64) -> Value {
    wait_until("a certificate", || {
        let page = world.get(&format!("/market/certificates?symbol=USDCOP&from={DATE}&to={DATE}"));
        let newest = page["certificates"].get(0)?.clone();
        (newest["revision"] == revision).then_some(newest)
    })
}

#[test]
fn a_session_is_certified_again_after_it_continued_and_a_price_that_was_changed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    prepare(
        data,
        "2026-02-18".parse::<chrono::NaiveDate>().unwrap().iter_days().take(12),
    );
    raise_flag(data, FLAG);
    let stage = Stage {
        time: HurriedTime::from("2026-03-02T12:57:00Z", 40),
        data,
        days: data.join("days.toml").display().to_string(),
    };
    stage.close_at("08:10", &[]);
    let vendor = Candela::of(&mut stage.time.command(&["simulate", "--symbols", "USD/COP", "--json"]));
    let settings = [("CANDELA__MARKET__CALENDAR_FILE", stage.days.as_str())];
    let world = World::beside(vendor, stage.time.command(&["run"]), data, &settings);

    let first = certificate(&world, 1);
    assert_eq!(
        (&first["expected"], &first["missing"]),
        (&2.into(), &0.into()),
        "{first}"
    );
    assert_eq!(first["previous"], Value::Null, "{first}");
    let hash = first["hash"].as_str().unwrap();
    assert_eq!(hash.len(), 64, "{first}");
    let (code, said) = stage.verify(&[]);
    assert!(
        code == 0 && said.contains(hash) && said.contains("equal in ledger and store"),
        "{code}: {said}"
    );

    stage.close_at("08:25", &["--replace"]);
    let second = certificate(&world, 2);
    assert!(second["expected"].as_u64() >= Some(3), "{second}");
    assert_ne!(second["hash"], first["hash"]);
    let page = world.get("/market/certificates?symbol=USDCOP&limit=1");
    let next = page["next_cursor"].as_str().unwrap();
    let page = world.get(&format!("/market/certificates?symbol=USDCOP&limit=1&cursor={next}"));
    assert_eq!(page["certificates"][0], first, "the first revision stays");
    world.stop();

    let ledger = data.join("ledger").display().to_string();
    let replayed = stage.run(&["replay", &ledger, "--verify"]);
    assert_eq!(replayed.code(), 0, "{}{}", replayed.stdout, replayed.stderr);
    let (code, said) = stage.verify(&["--json"]);
    let verified: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &verified["certificates"][0]["equal"]),
        (0, &Value::Bool(true)),
        "{said}"
    );
    let db = rusqlite::Connection::open(data.join("candela.db")).unwrap();
    let changed = db.execute(
        "UPDATE market_data SET close = close + 1 WHERE source = 'candela' AND datetime = unixepoch('2026-03-02 13:05:00') * 1000000",
        [],
    );
    assert_eq!(changed, Ok(1));
    let (code, said) = stage.verify(&["--symbol", "USDCOP"]);
    assert!(
        code == 1 && said.contains("differs: close of the bar of 2026-03-02T08:05:00-05:00"),
        "{code}: {said}"
    );
    let none = stage.run(&["verify", "--date", "2026-03-01"]);
    assert!(
        none.code() == 64 && none.stderr.contains("has a certificate of USD/COP for 2026-03-01"),
        "{}",
        none.stderr
    );
}
