//! What systemd sees of the service: it is ready, it lives, how it is, that it reads its settings again, that it stops. Here the
//! tests are systemd: a socket, signals, and a folder of credentials.

use crate::child::{Candela, wait_until};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

/// What the service said so far.
struct Systemd {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Systemd {
    /// Waits for a message with `text`.
    fn hear(&mut self, text: &str) -> String {
        wait_until(&format!("systemd to hear {text:?}"), || {
            let mut bytes = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut bytes) {
                self.said.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
            let at = self.said.iter().position(|said| said.contains(text))?;
            self.said.drain(..=at).next_back()
        })
    }
}

/// A service that finds nothing of what it needs, with the settings file `candela.toml` in `folder`.
fn service(folder: &std::path::Path, settings: &str) -> Command {
    let file = folder.join("candela.toml");
    std::fs::write(&file, settings).unwrap();
    let mut command = Candela::command(&["run", "--port", "0", "--config", file.to_str().unwrap()]);
    command.env("READY_SIGNALS_DIR", folder);
    command
        .env("CANDELA__UPSTREAM__WS_URL", "ws://127.0.0.1:9/")
        .env("CANDELA__UPSTREAM__REST_URL", "http://127.0.0.1:9");
    command
}

#[test]
fn systemd_is_told_when_it_is_ready_lives_reads_its_settings_again_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut systemd = Systemd {
        socket,
        said: Vec::new(),
    };
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("candela_TWELVEDATA_API_KEY_G1_1"), "f00dfeed\n").unwrap();

    let mut command = service(folder.path(), "[log]\nlevel = \"info\"\n");
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "900000");
    let service = Candela::of(&mut command);
    systemd.hear("READY=1");
    wait_until("a log line that it listens", || service.stderr.find("candela listens"));
    for _ in 0..3 {
        systemd.hear("WATCHDOG=1");
    }
    systemd.hear("USD/COP not safe");

    let again = |text: &str, line: &str| {
        std::fs::write(folder.path().join("candela.toml"), text).unwrap();
        service.signal(libc::SIGHUP);
        wait_until(line, || service.stderr.find(line))
    };
    let refused = again("[log]\nlevel = \"loud\"\n", "nothing is changed");
    assert!(refused.contains("log.level") && refused.contains("line 2"), "{refused}");
    systemd.hear("RELOADING=1");
    systemd.hear("READY=1");
    let waiting = again(
        "[log]\nlevel = \"debug\"\n[server]\nconnections = 7\n",
        "wait for a restart",
    );
    assert!(
        waiting.contains("server.connections") && !waiting.contains("log.level"),
        "{waiting}"
    );
    wait_until("a line of the new level", || service.stderr.find("\"DEBUG\""));
    systemd.hear("READY=1");

    service.signal(libc::SIGTERM);
    systemd.hear("STOPPING=1");
    let ended = service.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("f00dfeed"), "a key is logged");
}

#[test]
fn secrets_that_stand_in_files_are_read_and_named_by_their_file_when_they_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "f00dfeed\nf00dfeed\n").unwrap();
    let mut command = service(folder.path(), "");
    command
        .env("CANDELA__UPSTREAM__KEYS_G1_FILE", &keys)
        .env("DATABASE_URL_FILE", "/nowhere/url");
    let ended = Candela::of(&mut command).ended();
    assert_eq!(ended.code(), 78, "{}", ended.stderr);
    for part in [
        "key G1_2",
        "the same as key G1_1",
        "/nowhere/url, named by DATABASE_URL_FILE",
        "cannot be read",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("f00dfeed"), "a key is shown");
}

#[test]
fn a_package_gets_version_completions_and_manual_pages_from_the_binary() {
    let version = Candela::run(&["--version"]).stdout;
    let number = env!("CARGO_PKG_VERSION");
    assert!(version.starts_with(&format!("candela {number} (commit ")), "{version}");
    for shell in ["bash", "zsh", "fish"] {
        let completions = Candela::run(&["completions", shell]).stdout;
        assert!(completions.contains("protocol-check"), "{shell}");
    }
    assert!(Candela::run(&["man"]).stdout.contains(".TH candela 1"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    assert_eq!(Candela::run(&["man", pages.to_str().unwrap()]).code(), 0);
    for page in ["candela.1", "candela-run.1", "candela-backfill.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
    assert_eq!(Candela::run(&["man", "/proc/nothing"]).code(), 74);
}
