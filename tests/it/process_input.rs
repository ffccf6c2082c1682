//! Bad input gets one clear sentence that names the thing and the remedy, and an exit code that says whose fault it is:
//! never a panic.

use crate::child::{Candela, Ended};
use std::net::TcpListener;
use std::path::Path;

/// Runs candela and checks how it ends: the code, all the parts of what it says, and nothing of a panic.
fn check(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code(), code, "{}\n{}", ended.stdout, ended.stderr);
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    for part in parts {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    assert!(!said.contains("panicked at"), "{said}");
}

/// `candela ARGS` with these variables.
fn run_with(args: &[&str], variables: &[(&str, &str)]) -> Ended {
    Candela::of(Candela::command(args).envs(variables.iter().copied())).ended()
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn help_and_version_are_no_error() {
    check(&Candela::run(&["--version"]), 0, &[env!("CARGO_PKG_VERSION")]);
    check(
        &Candela::run(&["help"]),
        0,
        &["run", "demo", "check", "status", "calendar"],
    );
    check(&Candela::run(&["help", "demo"]), 0, &["--speed", "--for", "--json"]);
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_64() {
    check(&Candela::run(&["demo", "--sped", "5"]), 64, &["--sped", "--speed"]);
    check(
        &Candela::run(&["dmo"]),
        64,
        &[
            "candela: \"dmo\" is no command of candela: there are run, demo",
            "did you mean demo?",
        ],
    );
    check(
        &Candela::run(&["calendar", "2026"]),
        64,
        &["candela: \"2026\" is no command of candela calendar: there are close, open"],
    );
    check(&Candela::run(&["demo", "--for", "soon"]), 64, &["soon", "30s"]);
    check(&Candela::run(&["demo", "--speed", "-1"]), 64, &["-1"]);
    check(&Candela::run(&["run", "--set", "server.port"]), 64, &["NAME=VALUE"]);
    check(&Candela::run(&[]), 64, &["Usage"]);
}

#[test]
fn settings_with_problems_end_with_78_and_all_of_them() {
    let variables = [
        ("PORT", "http"),
        ("CANDELA__MARKET__ZONE", "Bogota"),
        ("DATABASE_URL", "mysql://u:hunter2@db"),
    ];
    for command in ["run", "check"] {
        let ended = run_with(&[command], &variables);
        check(
            &ended,
            78,
            &[
                "server.port (environment variable PORT)",
                "\"Bogota\" is not an IANA time zone",
                "store.database_url",
            ],
        );
        assert!(!format!("{ended:?}").contains("hunter2"), "a password is shown");
    }
    check(
        &Candela::run(&["run", "--config", "nowhere.toml"]),
        78,
        &["nowhere.toml (file): cannot be read"],
    );
}

#[test]
fn wrong_days_in_the_override_file_are_told_together_with_wrong_settings() {
    let folder = tempfile::tempdir().unwrap();
    let days = "[[day]]\ndate = 2026-13-05\naction = \"close\"\nreason = \"x\"\n\
                [[day]]\ndate = 2026-05-05\naction = \"close\"\nreason = \"strike\"\n\
                [[day]]\ndate = 2026-05-05\naction = \"open\"\nreason = \"no strike\"\n\
                [[day]]\ndate = 2026-05-06\naction = \"open\"\nopens = \"11:00\"\ncloses = \"08:00\"\nreason = \"late\"\n";
    let days = file(folder.path(), "days.toml", days.as_bytes());
    let variables = [
        ("CANDELA__MARKET__CALENDAR_FILE", days.as_str()),
        ("CANDELA__MARKET__OPEN", "13:00"),
        ("CANDELA__MARKET__ZONE", "America/Bogotta"),
        ("API_KEY_G1_1", "f00dfeed"),
    ];
    let all = [
        "days.toml (file): line 2",
        "2026-05-05",
        "11:00",
        "close before it opens (13:00",
        "America/Bogotta",
    ];
    check(&run_with(&["run", "--port", "0"], &variables), 78, &all);
}

#[test]
fn a_service_without_a_key_says_what_to_do() {
    check(&Candela::run(&["run", "--port", "0"]), 78, &["TWELVEDATA_API_KEY_G1_1"]);
    check(
        &Candela::run(&["check", "--offline"]),
        1,
        &["FAIL", "TWELVEDATA_API_KEY_G1_1"],
    );
}

#[test]
fn check_says_it_for_programs_too() {
    let ended = run_with(
        &["check", "--offline", "--json", "--port", "0"],
        &[("API_KEY_G1_1", "f00dfeed")],
    );
    check(&ended, 0, &[]);
    for line in ended.stdout.lines() {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(finding["check"].is_string() && finding["verdict"].is_string(), "{line}");
    }
    assert!(!ended.stdout.contains("f00dfeed"), "a key is shown");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    check(
        &Candela::run(&["demo", "--port", &port, "--for", "5s"]),
        74,
        &[&port, "--port 0"],
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let below_a_file = format!("{}/data", file(folder.path(), "plain", b"x"));
    check(
        &Candela::run(&["demo", "--port", "0", "--for", "5s", "--data", &below_a_file]),
        74,
        &[&below_a_file],
    );
}

#[test]
fn files_that_are_malformed_or_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |args: &[&str]| Candela::run(&[&["demo", "--port", "0", "--for", "5s"], args].concat());
    check(
        &demo(&["--history", "gone.csv.gz", "--date", "2025-10-22"]),
        74,
        &["gone.csv.gz"],
    );
    let noise = file(folder.path(), "noise.csv.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3]);
    check(
        &demo(&["--history", &noise, "--date", "2025-10-22"]),
        74,
        &["noise.csv.gz"],
    );
    let words = file(folder.path(), "words.csv", b"time,symbol\nhello,world\n");
    check(
        &demo(&["--history", &words, "--date", "2025-10-22"]),
        74,
        &["words.csv"],
    );
    let scenario = file(folder.path(), "broken.scenario", b"at noon explode\n");
    check(&demo(&["--scenario", &scenario]), 74, &["broken.scenario"]);
}

#[test]
fn status_of_nobody_says_that_nobody_answers() {
    let free = crate::servers::free_port();
    let url = format!("http://127.0.0.1:{free}");
    check(
        &Candela::run(&["status", "--url", &url]),
        69,
        &["candela does not answer at", &url],
    );
    check(&Candela::run(&["status", "--ready", "--url", &url]), 69, &[&url]);
}

#[test]
fn the_binary_believes_the_clock_of_the_machine() {
    let year_of = |at: &str| {
        let ended = Candela::of(&mut Candela::at(at, &["calendar", "--json"])).ended();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        ended.stdout
    };
    assert!(year_of("@2031-05-05 12:00:00").contains("2031-12-31"));
    assert!(year_of("@2027-05-05 12:00:00").contains("2027-12-31"));
}

#[test]
fn check_asks_every_dependency() {
    let database = crate::servers::postgres();
    let redis = crate::servers::redis();
    let nobody = format!("http://127.0.0.1:{}", crate::servers::free_port());
    let mut variables = vec![
        ("API_KEY_G1_1", "f00dfeed"),
        ("DATABASE_URL", database.url.as_str()),
        ("CANDELA__UPSTREAM__REST_URL", nobody.as_str()),
    ];
    let redis_url = redis.url();
    variables.push(("REDIS_URL", redis_url.as_str()));
    let all = [
        "PostgreSQL answers after",
        "migrations will be run at start",
        "Redis answers after",
        "FAIL  vendor",
        nobody.as_str(),
    ];
    check(&run_with(&["check", "--port", "0"], &variables), 1, &all);
    drop(redis);
    check(
        &run_with(&["check", "--port", "0"], &variables),
        1,
        &["warn  cache", "start Redis"],
    );
}

/// A shell with this limit, and candela in it.
fn limited(limit: &str, args: &str, variables: &[(&str, &str)]) -> Ended {
    let mut shell = std::process::Command::new("bash");
    let line = format!("ulimit {limit}; exec {} {args}", env!("CARGO_BIN_EXE_candela"));
    shell
        .args(["-c", &line])
        .env_clear()
        .env("CANDELA__STORE__SQLITE_FILE", "/dev/null/x");
    Candela::of(shell.envs(variables.iter().copied())).ended()
}

fn with_descriptors(most: u32, args: &str, variables: &[(&str, &str)]) -> Ended {
    limited(&format!("-n {most}"), args, variables)
}

#[test]
fn files_that_may_not_grow_are_a_sentence_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger").display().to_string();
    let store = folder.path().join("store.db").display().to_string();
    let variables = [
        ("API_KEY_G1_1", "f00dfeed"),
        ("PORT", "0"),
        ("CANDELA__LEDGER__DIR", &ledger),
        ("CANDELA__STORE__SQLITE_FILE", &store),
    ];
    check(&limited("-f 16", "run", &variables), 74, &["candela: "]);
}

#[test]
fn too_few_descriptors_are_a_sentence_with_the_remedy_and_no_panic() {
    let variables = [("API_KEY_G1_1", "f00dfeed"), ("PORT", "0")];
    for most in [16, 64, 199] {
        let ended = with_descriptors(most, "run", &variables);
        let said = format!("{most} files and sockets may be open at once, and candela needs 200");
        check(&ended, 74, &[&said, "ulimit -n 4096", "LimitNOFILE"]);
    }
    check(
        &with_descriptors(64, "check --offline", &variables),
        1,
        &["candela needs 200"],
    );
}

#[test]
fn a_key_in_quotes_and_a_pair_beyond_the_scale_are_named_at_check_and_start() {
    for command in ["run", "check"] {
        let ended = run_with(&[command], &[("TWELVEDATA_API_KEY_G1_1", "\"abcdef0123\"")]);
        check(&ended, 78, &["key G1_1", "TWELVEDATA_API_KEY_G1_1", "stands in quotes"]);
        assert!(!format!("{ended:?}").contains("abcdef"), "a key is shown");
        let pairs = [("API_KEY_G1_1", "f00dfeed"), ("CANDELA__MARKET__SYMBOLS", "COP/USD")];
        check(
            &run_with(&[command], &pairs),
            78,
            &["COP/USD costs about 0.00025", "serve USD/COP instead"],
        );
    }
}
