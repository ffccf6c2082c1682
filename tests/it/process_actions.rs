//! Operators' actions on a real process, by `candela admin`: what is done, what the journal says of it, and what is refused.

use crate::child::{Candela, Ended, PATIENCE, wait_until};
use crate::process_gate::{World, prepare};
use candela::store::Sqlite;
use chrono::NaiveDate;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

struct Service {
    world: World,
}

impl Service {
    fn start(data: &Path) -> Self {
        let digest: String = Sha256::digest("hush")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let tokens = data.join("tokens");
        std::fs::write(&tokens, format!("ops:{digest}:*:operate\n")).unwrap();
        std::fs::create_dir_all(data.join("signals")).unwrap();
        let settings = [("CANDELA__SERVER__TOKENS_FILE", tokens.to_str().unwrap())];
        let world = World::new("@2026-03-02 13:10:00 x20", data, &settings);
        Self { world }
    }

    fn admin(&self, args: &[&str]) -> Ended {
        let mut line = vec!["admin"];
        line.extend(args);
        line.extend(["--url", &self.world.url]);
        Candela::of(Candela::command(&line).env("CANDELA_TOKEN", "hush")).ended()
    }

    fn done(&self, args: &[&str]) {
        let ended = self.admin(args);
        assert_eq!(ended.code(), 0, "{args:?}: {}", ended.stderr);
        assert!(ended.stdout.ends_with("(by ops)"), "{}", ended.stdout);
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.world.url.trim_start_matches("http://")).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nAuthorization: Bearer hush\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }

    /// Waits for an entry of the journal.
    fn entry(&self, kind: &str, subject: &str) -> Value {
        wait_until(&format!("{kind} of {subject}"), || {
            let answer = self.get(&format!("/status/events?type={kind}"));
            let entries = answer["events"].as_array().cloned().unwrap_or_default();
            entries.into_iter().rev().find(|entry| entry["subject"] == subject)
        })
    }

    fn holds(&self, kind: &str) -> bool {
        let status = self.get("/status");
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .any(|one| one["type"] == kind && one["status"] == true)
    }

    fn key_state(&self) -> String {
        self.get("/status")["keys"].as_array().unwrap()[0]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn takes_a_key_out_and_brings_it_back(service: &Service) {
    service.done(&["retire-key", "G1_1", "--reason", "leaked"]);
    wait_until("the key to be out", || (service.key_state() == "retired").then_some(()));
    service.entry("key", "G1_1");
    service.done(&["revive-key", "G1_1", "--reason", "was the wrong one"]);
    wait_until("the key to be back", || {
        (service.key_state() != "retired").then_some(())
    });
}

/// A client follows the service, is listed with the name of its token, and is closed.
fn closes_a_client(service: &Service) {
    let mut client = TcpStream::connect(service.world.url.trim_start_matches("http://")).unwrap();
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hush\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(upgrade.as_bytes()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = client.local_addr().unwrap().to_string();
    let listed = wait_until("the client to be listed", || {
        let listed = service.get("/admin/clients");
        let clients = listed["clients"].as_array().cloned().unwrap_or_default();
        clients.into_iter().find(|client| client["address"] == address.as_str())
    });
    assert_eq!(
        (&listed["token"], &listed["slow"]),
        (&"ops".into(), &false.into()),
        "{listed}"
    );
    let id = listed["id"].as_str().unwrap();
    let shown = service.admin(&["clients"]);
    assert!(
        shown.stdout.contains(&format!("{id}  {address}  since ")),
        "{}",
        shown.stdout
    );

    service.done(&["close-client", id, "--reason", "it asks for everything"]);
    let mut said = Vec::new();
    wait_until("the connection to end", || {
        let mut bytes = [0; 4_096];
        let count = client.read(&mut bytes).unwrap();
        said.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&said);
        text.contains("an operator closed this connection").then_some(())
    });
    let entry = service.entry("action", "close_client");
    assert_eq!(entry["details"]["outcome"], "done", "{entry}");
    assert!(entry["message"].as_str().unwrap().contains(id), "{entry}");
    let gone = wait_until("it to be gone", || {
        let ended = service.admin(&["close-client", id, "--reason", "again"]);
        (ended.code() != 0).then_some(ended)
    });
    assert!(
        gone.stderr.contains(&format!("there is no client {id} now")),
        "{}",
        gone.stderr
    );
}

fn refuses_with_a_sentence(service: &Service) {
    for (args, code, says) in [
        (
            vec!["restart-actor", "feeed", "--reason", "x"],
            64,
            "there is no actor feeed; there are",
        ),
        (
            vec!["retire-key", "G2_7", "--reason", "x"],
            64,
            "there is no key G2_7; there are G1_1",
        ),
        (
            vec!["revive-key", "G1_1", "--reason", "x"],
            64,
            "there is nothing to revive",
        ),
        (vec!["drain"], 64, "give the reason with --reason"),
    ] {
        let ended = service.admin(&args);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.code(), code, "{args:?}: {}", ended.stderr);
    }
    let refused = service.entry("action", "retire_key");
    assert_eq!(refused["details"]["outcome"], "refused", "{refused}");
}

#[test]
fn what_an_operator_requests_is_done_and_stands_in_the_journal_with_who_and_why() {
    let data = tempfile::tempdir().unwrap();
    let days = NaiveDate::from_ymd_opt(2026, 2, 18).unwrap().iter_days().take(12);
    prepare(
        data.path(),
        days.filter(|day| *day != NaiveDate::from_ymd_opt(2026, 2, 26).unwrap()),
    );
    let service = Service::start(data.path());

    service.done(&["restart-actor", "poller", "--reason", "looks stuck"]);
    let entry = service.entry("action", "restart_actor");
    assert_eq!(
        (&entry["by"], &entry["cause"]),
        (&"ops".into(), &"looks stuck".into()),
        "{entry}"
    );
    let restarted = service.entry("restarted", "poller");
    assert_eq!(restarted["cause"], "requested by ops", "{restarted}");

    takes_a_key_out_and_brings_it_back(&service);
    closes_a_client(&service);

    assert!(service.holds("history_unverified"), "no flag has come");
    let until = "2026-03-02 09:00";
    service.done(&[
        "override-gate",
        "--symbol",
        "USD/COP",
        "--until",
        until,
        "--reason",
        "L0 is late",
    ]);
    wait_until("the override", || {
        (service.holds("gate_overridden") && !service.holds("history_unverified")).then_some(())
    });
    wait_until("the session", || {
        (service.get("/status")["state"]["name"] == "active").then_some(())
    });

    // A Thursday that nobody has is fetched.
    service.done(&[
        "backfill",
        "--symbol",
        "USD/COP",
        "--from",
        "2026-02-26",
        "--to",
        "2026-02-26",
        "--reason",
        "hole",
    ]);
    let db = rusqlite::Connection::open(data.path().join("candela.db")).unwrap();
    let fetched = "SELECT count(*) FROM market_data WHERE source = 'candela' AND session_date = '2026-02-26'";
    wait_until("the missing day", || {
        let count: i64 = db.query_row(fetched, [], |row| row.get(0)).unwrap_or(0);
        (count == 59).then_some(())
    });

    refuses_with_a_sentence(&service);

    service.done(&["drain", "--reason", "new version"]);
    let ended = service.world.service.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("hush"), "a token is logged");
    drop(Sqlite::open(&data.path().join("candela.db")).unwrap());
}
