//! The gate and the market's hours, on the real binary, in a world in which time flies (libfaketime; candela does not know).

use crate::child::{Candela, wait_until};
use candela::domain::calendar::Calendar;
use candela::domain::model::{Channel, Event, Interval, Symbol, Timestamp};
use candela::ledger::LedgerReader;
use candela::store::Sqlite;
use chrono::NaiveDate;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// The flag of that morning; an empty file would be of another time than these processes live in.
pub(crate) const FLAG: &str = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;

/// The simulated vendor beside a service whose data lies in a folder, both in the same hurried world.
pub(crate) struct World {
    _vendor: Candela,
    pub(crate) service: Candela,
    pub(crate) url: String,
}

impl World {
    pub(crate) fn new(at: &str, data: &Path, settings: &[(&str, &str)]) -> Self {
        let simulate = Candela::at(at, &["simulate", "--symbols", "USD/COP", "--json"]);
        Self::of(simulate, Candela::at(at, &["run"]), data, settings)
    }

    /// The same of commands that know their time already.
    pub(crate) fn of(mut simulate: Command, command: Command, data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::beside(Candela::of(&mut simulate), command, data, settings)
    }

    /// The service beside a vendor that runs.
    pub(crate) fn beside(mut vendor: Candela, mut command: Command, data: &Path, settings: &[(&str, &str)]) -> Self {
        let listening: Value = serde_json::from_str(&vendor.line("\"listening\"")).unwrap();
        command.env("READY_SIGNALS_DIR", data.join("signals"));
        command.env("CANDELA__STORE__SQLITE_FILE", data.join("candela.db"));
        command.env("CANDELA__LEDGER__DIR", data.join("ledger"));
        command.env("CANDELA__UPSTREAM__WS_URL", listening["ws_url"].as_str().unwrap());
        command.env("CANDELA__UPSTREAM__REST_URL", listening["rest_url"].as_str().unwrap());
        command.envs([("PORT", "0"), ("LOG_LEVEL", "INFO"), ("API_KEY_G1_1", "f00dfeed")]);
        command.envs(settings.iter().copied());
        let service = Candela::of(&mut command);
        let line = wait_until("the service to listen", || service.stderr.find("candela listens"));
        let line: Value = serde_json::from_str(&line).unwrap();
        Self {
            _vendor: vendor,
            service,
            url: format!("http://{}", line["address"].as_str().unwrap()),
        }
    }

    /// Null where it does not answer: on a loaded machine the deadlines of a service that lives forty times as fast are over
    /// before anybody could ask.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask(path).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }

    /// Asks a test hook for something; it must be there.
    pub(crate) fn hook(&self, path: &str) {
        let answer = self.say("POST", path).unwrap_or_default();
        assert!(answer.contains("202 Accepted"), "{path}: {answer}");
    }

    fn ask(&self, path: &str) -> std::io::Result<String> {
        self.say("GET", path)
    }

    fn say(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://"))?;
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    }

    pub(crate) fn stop(self) {
        self.service.signal(libc::SIGTERM);
        let ended = self.service.ended();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// One bar for each slot of these dates, as a history pipeline stores them.
pub(crate) fn prepare(data: &Path, dates: impl Iterator<Item = NaiveDate>) {
    let path = data.join("candela.db");
    drop(Sqlite::open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) \
                  VALUES ('USDCOP', ?1, 3700000000, 3701000000, 3699000000, 3700000000, 'twelvedata')";
    for slot in dates.flat_map(|date| Calendar::usdcop().slots_on(date, Interval::M5)) {
        db.execute(insert, [slot.micros()]).unwrap();
    }
}

pub(crate) fn raise_flag(data: &Path, content: &str) {
    std::fs::create_dir_all(data.join("signals")).unwrap();
    std::fs::write(data.join("signals/l0_ready.flag"), content).unwrap();
}

fn count(data: &Path, sql: &str) -> i64 {
    let db = rusqlite::Connection::open(data.join("candela.db")).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap_or(0)
}

/// Everything told on `quality:USD/COP`.
fn quality(data: &Path) -> Vec<Event> {
    let channel = Channel::quality(Symbol::usdcop());
    let Ok(mut reader) = LedgerReader::open(&data.join("ledger")) else {
        return Vec::new();
    };
    let events = reader.read_channel(channel, 1, u64::MAX, 1_000).unwrap_or_default();
    events.into_iter().map(|numbered| numbered.event).collect()
}

#[test]
fn missing_history_is_fetched_and_checked_again_and_the_seam_is_told() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let days = date("2026-02-18").iter_days().take(12);
    prepare(data, days.filter(|day| *day != date("2026-02-26"))); // a Thursday is missing
    raise_flag(data, FLAG);
    let world = World::new("@2026-03-02 12:55:00 x40", data, &[]);

    let fetched = "SELECT count(*) FROM market_data WHERE source = 'candela' AND provenance = 'backfill' \
                   AND session_date = '2026-02-26'";
    wait_until("the missing session", || (count(data, fetched) == 59).then_some(()));
    let passed = "SELECT count(*) FROM system_health WHERE status = 'l0_passed'";
    wait_until("a verdict that passes", || (count(data, passed) > 0).then_some(()));
    let failed = "SELECT count(*) FROM system_health WHERE status = 'l0_failed'";
    assert!(count(data, failed) > 0);
    let settled = "SELECT count(*) FROM gaps WHERE cause = 'history' AND status = 'filled' AND bars = 59";
    wait_until("the gap to be settled", || (count(data, settled) == 1).then_some(()));
    let holds = wait_until("the session", || {
        let health = world.get("/status");
        (health["state"]["name"] == "active").then_some(health)
    });
    let held: Vec<&Value> = holds["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|held| held["status"] == true)
        .collect();
    assert!(
        !held.iter().any(|held| held["type"] == "history_unverified"),
        "{held:?}"
    );

    let seam = wait_until("the seam", || {
        quality(data).into_iter().find_map(|event| match event {
            Event::Seam(found) => Some(found.seam),
            _ => None,
        })
    });
    let at = |text: &str| Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap());
    assert_eq!(seam.last_history_bar, Some(at("2026-02-27T12:50:00-05:00")));
    assert_eq!(
        (seam.first_live_bar, seam.missing),
        (at("2026-03-02T08:00:00-05:00"), 0)
    );
    let told = wait_until("the seam on /status", || {
        let seam = world.get("/status")["seam"].take();
        seam.is_object().then_some(seam)
    });
    assert_eq!(
        at(told["last_history_bar"].as_str().unwrap()),
        at("2026-02-27T12:50:00-05:00")
    );
    world.stop();
}

#[test]
fn an_expired_wait_for_the_history_leaves_health_degraded_and_not_healthy() {
    let data = tempfile::tempdir().unwrap();
    let world = World::new(
        "@2026-03-02 13:04:00 x30",
        data.path(),
        &[("STARTUP_TIMEOUT_MINUTES", "1")],
    );
    let health = wait_until("the session to run without the history", || {
        let health = world.get("/health");
        (health["service_info"]["status"] == "active").then_some(health)
    });
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["metrics"]["l0_ready"], false);
    world.stop();
}

#[test]
fn a_session_has_its_row_from_open_to_close_and_market_session_says_where_it_stands() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    prepare(data, date("2026-02-18").iter_days().take(12));
    raise_flag(data, FLAG);
    let short = [("CANDELA__MARKET__CLOSE", "08:10"), ("STARTUP_TIMEOUT_MINUTES", "1")];
    let world = World::new("@2026-03-02 12:58:30 x30", data, &short);
    let shown = |status: &str| {
        wait_until(&format!("/market/session to be {status}"), || {
            let session = world.get("/market/session");
            (session["status"] == status).then_some(session)
        })
    };
    let closed = shown("closed");
    assert_eq!(closed["next_open"], "2026-03-02T08:00:00-05:00", "{closed}");
    assert_eq!(
        (&closed["next"]["type"], &closed["next"]["expected_bars"]),
        (&"spot".into(), &2.into())
    );
    assert!(
        closed["minutes_until_open"].is_u64() && closed["reason"].is_string(),
        "{closed}"
    );
    let open = shown("open");
    assert_eq!(open["current_session_start"], "2026-03-02T08:00:00-05:00", "{open}");
    assert_eq!(open["current_session_end"], "2026-03-02T08:10:00-05:00");
    assert_eq!((&open["type"], &open["expected_bars"]), (&"spot".into(), &2.into()));
    assert_eq!(open["reason"], "business day");
    let active = "SELECT count(*) FROM market_sessions WHERE session_date = '2026-03-02' AND status = 'active' AND end_time IS NULL";
    wait_until("the row of the open session", || {
        (count(data, active) == 1).then_some(())
    });
    let done = "SELECT count(*) FROM market_sessions WHERE session_date = '2026-03-02' AND status = 'closed' AND end_time - start_time = 600000000 AND ticks > 0 \
                AND bars = (SELECT count(*) FROM market_data WHERE source = 'candela') \
                AND EXISTS (SELECT 1 FROM market_data WHERE source = 'candela' AND datetime = end_time - 300000000)";
    wait_until("the row of the closed session with all its bars", || {
        (count(data, done) == 1).then_some(())
    });
    // That no prices come any more is as it should be: nothing is wrong with the night.
    let night = wait_until("the link to be closed", || {
        let status = world.get("/status");
        (status["feed"]["state"] == "idle").then_some(status)
    });
    let held: Vec<&Value> = night["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["status"] == true)
        .collect();
    assert!(
        held.iter()
            .all(|one| one["type"] != "feed_down" && one["type"] != "feed_silent"),
        "{held:?}"
    );
    let again = shown("closed");
    assert_eq!(again["next_open"], "2026-03-03T08:00:00-05:00", "{again}");
    world.stop();
}
