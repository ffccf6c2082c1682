//! Tests of [`super`], on real folders.

use super::*;
use crate::actors::testing::{self, listen};
use crate::clock::Clock;
use crate::domain::calendar::CalendarSpec;
use std::os::unix::net::UnixListener;
use std::time::Duration;
use tokio::sync::mpsc;

struct Watched {
    folder: tempfile::TempDir,
    reports: mpsc::UnboundedReceiver<Report>,
    watcher: Addr<L0Watcher>,
}

impl Watched {
    /// A watcher over a folder that does not exist yet.
    fn start() -> Self {
        let spec = CalendarSpec {
            calendar: "always".to_owned(),
            ..CalendarSpec::default()
        };
        let calendar = Calendar::new(&spec, Arc::default()).unwrap();
        let (root, reports) = listen();
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps {
            services: testing::services_in(folder.path(), Clock::system(), root),
            folder: folder.path().join("made/signals"),
            calendar: watch::channel(calendar).1,
        };
        Self {
            folder,
            reports,
            watcher: L0Watcher::new(deps).start(),
        }
    }

    fn flag(&self) -> PathBuf {
        self.folder.path().join("made/signals").join(FLAG_NAME)
    }

    /// Waits for this sighting; others may come before it.
    async fn sees(&mut self, expect: &str) {
        let seen = async {
            while let Some(report) = self.reports.recv().await {
                if name_of(&report) == expect {
                    return;
                }
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(10), seen).await;
        assert!(seen.is_ok(), "{expect} was not seen");
    }
}

fn name_of(report: &Report) -> &'static str {
    match report {
        Report::Flag(Ok(_)) => "ready",
        Report::Flag(Err(trouble)) => trouble.name(),
        _ => "something else",
    }
}

fn ready() -> String {
    format!(r#"{{"ready": true, "timestamp": "{}"}}"#, Clock::system().now())
}

#[actix_rt::test]
async fn the_folder_is_made_and_a_flag_is_seen_without_waiting_for_the_poll() {
    let mut watched = Watched::start();
    watched.sees("flag_missing").await;
    let half = watched.flag().with_extension("tmp");
    fs::write(&half, ready()).unwrap();
    fs::rename(&half, watched.flag()).unwrap();
    watched.sees("ready").await;
    fs::remove_file(watched.flag()).unwrap();
    watched.sees("flag_missing").await;
}

#[actix_rt::test]
async fn a_flag_that_is_written_in_two_halves_is_read_again() {
    let mut watched = Watched::start();
    watched.sees("flag_missing").await;
    let text = ready();
    fs::write(watched.flag(), text.as_bytes().split_at(20).0).unwrap();
    watched.sees("flag_half_written").await;
    fs::write(watched.flag(), &text).unwrap();
    watched.sees("ready").await;
}

#[actix_rt::test]
async fn an_empty_flag_counts_after_it_has_settled() {
    let mut watched = Watched::start();
    watched.sees("flag_missing").await;
    fs::write(watched.flag(), "").unwrap();
    watched.sees("flag_settling").await;
    watched.sees("ready").await;
}

#[actix_rt::test]
async fn what_stands_in_its_place_is_named() {
    let mut watched = Watched::start();
    watched.sees("flag_missing").await;
    fs::create_dir(watched.flag()).unwrap();
    watched.sees("flag_is_a_folder").await;
    fs::remove_dir(watched.flag()).unwrap();
    let socket = UnixListener::bind(watched.flag()).unwrap();
    watched.sees("flag_is_not_a_file").await;
    drop(socket);
    fs::remove_file(watched.flag()).unwrap();
    std::os::unix::fs::symlink("nowhere", watched.flag()).unwrap();
    watched.sees("flag_is_a_dangling_link").await;
    fs::write(watched.flag().with_file_name("nowhere"), ready()).unwrap();
    watched.sees("ready").await; // a link to a file is as good as the file
    assert_eq!(refused(&io::ErrorKind::PermissionDenied.into()), Found::Denied);
}

#[actix_rt::test]
async fn a_folder_that_was_replaced_is_watched_again_and_an_unchanged_flag_is_told_when_asked() {
    let mut watched = Watched::start();
    watched.sees("flag_missing").await;
    fs::remove_dir(watched.flag().parent().unwrap()).unwrap();
    watched.watcher.send(LookAtFlag).await.unwrap();
    watched.sees("flag_missing").await;
    fs::write(watched.flag(), ready()).unwrap();
    watched.sees("ready").await;
    watched.watcher.send(LookAtFlag).await.unwrap();
    watched.sees("ready").await;
}

#[actix_rt::test]
async fn a_flag_that_says_something_else_than_ready_now_is_named() {
    let mut watched = Watched::start();
    watched.sees("flag_missing").await;
    for (content, name) in [
        (r#"{"ready": true, "timestamp": "2020-01-02T08:00:00Z"}"#, "flag_stale"),
        (
            r#"{"ready": true, "timestamp": "2999-01-02T08:00:00Z"}"#,
            "flag_from_the_future",
        ),
        (
            r#"{"ready": false, "timestamp": "2020-01-02T08:00:00Z"}"#,
            "flag_not_ready",
        ),
        (r#"{"ready": 7}"#, "flag_malformed"),
        ("done", "flag_malformed"),
    ] {
        fs::write(watched.flag(), content).unwrap();
        watched.sees(name).await;
    }
    fs::write(watched.flag(), "x".repeat(limits::FLAG_BYTES + 1)).unwrap();
    watched.sees("flag_too_large").await;
    fs::remove_file(watched.flag()).unwrap();
    // Not even root can read this: reading address 0 of a process's memory is an error.
    std::os::unix::fs::symlink("/proc/self/mem", watched.flag()).unwrap();
    watched.sees("flag_unreadable").await;
}

#[test]
fn the_gate_window_begins_when_the_last_session_closed() {
    let at = |text: &str| Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap());
    let calendar = Calendar::usdcop();
    for (now, since, dates) in [
        (
            "2026-01-16T07:30:00-05:00",
            "2026-01-15T12:55:00-05:00",
            "2026-01-15 2026-01-16",
        ),
        (
            "2026-01-16T10:00:00-05:00",
            "2026-01-15T12:55:00-05:00",
            "2026-01-15 2026-01-16",
        ),
        (
            "2026-01-18T10:00:00-05:00",
            "2026-01-16T12:55:00-05:00",
            "2026-01-16 2026-01-19",
        ),
    ] {
        let window = gate_window(&calendar, at(now));
        let (first, last) = window.dates.unwrap();
        assert_eq!(
            (window.since, format!("{first} {last}")),
            (Some(at(since)), dates.to_owned()),
            "{now}"
        );
    }
}
