//! Eight faults, prepared, and a reader who knows nothing: what `candela explain` and the page say of the cause, since when it holds, and
//! what ends it.

use crate::child::{Candela, wait_until};
use crate::dashboard;
use crate::process_gate::{FLAG, World, prepare, raise_flag};
use crate::programs::run;
use crate::servers::free_port;
use candela::clock::Stopwatch;
use chrono::NaiveDate;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Before a Monday's session opens at 08:00 in Bogota.
const BEFORE: &str = "@2026-03-02 12:59:40";

/// What a condition says by then it goes on saying.
const SETTLED: Duration = Duration::from_secs(40);

/// A fault, and what a reader must be told of it.
struct Fault {
    name: &'static str,
    /// When the vendor's process begins, and the service's.
    begins: [&'static str; 2],
    /// What the vendor does wrong.
    scenario: &'static str,
    history: History,
    /// A setting that is part of the fault.
    setting: Option<(&'static str, String)>,
    /// A part that is made to hang once the pair is safe.
    hangs: Option<&'static str>,
    /// The condition that must hold.
    condition: &'static str,
    /// Words of its cause.
    cause: &'static [&'static str],
    /// Words of what ends it.
    cure: &'static str,
}

#[derive(PartialEq)]
enum History {
    Whole,
    WithoutADay,
    WithoutAFlag,
}

const fn fault(
    name: &'static str,
    condition: &'static str,
    cause: &'static [&'static str],
    cure: &'static str,
) -> Fault {
    Fault {
        name,
        begins: [BEFORE; 2],
        scenario: "",
        history: History::Whole,
        setting: None,
        hangs: None,
        condition,
        cause,
        cure,
    }
}

fn faults_of_history_and_vendor() -> Vec<Fault> {
    vec![
        Fault {
            history: History::WithoutAFlag,
            ..fault(
                "no_flag",
                "history_unverified",
                &["no ready flag"],
                "a good ready flag is there",
            )
        },
        Fault {
            history: History::WithoutADay,
            scenario: "at start rest empty\n",
            ..fault(
                "history_refused",
                "history_unverified",
                &["2026-02-26", "59"],
                "the history passes its check",
            )
        },
        Fault {
            history: History::WithoutADay, // the vendor is asked for it
            scenario: "at start exhaust key all day\n",
            ..fault(
                "keys_spent",
                "keys_exhausted",
                &["No API key can be used", "spent"],
                "at 00:00 UTC",
            )
        },
        Fault {
            scenario: "at start refuse connections\n",
            ..fault(
                "vendor_down",
                "feed_down",
                // Refused or reset, by the moment at which the simulator drops the connection.
                &["The link to the vendor is down: ", "connection"],
                "the link is up",
            )
        },
        Fault {
            begins: ["@2026-03-02 12:59:00 x10"; 2],
            scenario: "at 08:03:00 mute\n",
            ..fault(
                "vendor_silent",
                "feed_silent",
                &["The link is up", "no price has come"],
                "a price is accepted",
            )
        },
    ]
}

fn faults_of_the_machine() -> Vec<Fault> {
    vec![
        Fault {
            setting: Some((
                "DATABASE_URL",
                format!("postgresql://candela@127.0.0.1:{}/candela", free_port()),
            )),
            ..fault(
                "store_down",
                "store_behind",
                &["database"],
                "the database answers in time",
            )
        },
        Fault {
            begins: ["@2026-03-02 13:01:20", "@2026-03-02 13:00:10"],
            ..fault(
                "clock_slow",
                "clock_skewed",
                &["The machine's clock is slow", "s, the same for every pair"],
                "agree within 20 s",
            )
        },
        Fault {
            hangs: Some("recorder"),
            ..fault(
                "recorder_hangs",
                "actor_unresponsive",
                &["does not respond", "recorder"],
                "handles its messages again",
            )
        },
    ]
}

impl Fault {
    fn play(&self, data: &Path) -> World {
        let days = NaiveDate::from_ymd_opt(2026, 2, 18).unwrap().iter_days().take(12);
        let missing = NaiveDate::from_ymd_opt(2026, 2, 26).unwrap();
        prepare(
            data,
            days.filter(|day| self.history != History::WithoutADay || *day != missing),
        );
        std::fs::create_dir_all(data.join("signals")).unwrap();
        if self.history != History::WithoutAFlag {
            raise_flag(data, FLAG);
        }
        let play = data.join("play.txt").display().to_string();
        std::fs::write(&play, self.scenario).unwrap();
        let mut simulate = vec!["simulate", "--symbols", "USD/COP", "--json", "--scenario", &play];
        simulate.extend(["--keys", "f00dfeed", "--per-second", "1"]);
        let settings: Vec<(&str, &str)> = self
            .setting
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let [vendor, service] = self.begins;
        World::of(
            Candela::at(vendor, &simulate),
            Candela::at(service, &["run"]),
            data,
            &settings,
        )
    }

    /// The condition, once it holds.
    fn holds(&self, world: &World) -> Value {
        if let Some(part) = self.hangs {
            wait_until("the pair to be safe", || {
                (world.get("/status")["symbols"]["USD/COP"]["safe_to_trade"] == true).then_some(())
            });
            world.hook(&format!("/test/hang/{part}?ms=50000"));
        }
        let watch = Stopwatch::start();
        wait_until(&format!("{}: {}", self.name, self.condition), || {
            let status = world.get("/status");
            let holds = |one: &&Value| one["type"] == self.condition && one["status"] == true;
            let held = status["conditions"].as_array()?.iter().find(holds)?.clone();
            let told = self.is_told(&held.to_string()).is_empty() || watch.elapsed() > SETTLED;
            told.then_some(held)
        })
    }

    /// What a text does not tell of the cause and the cure.
    fn is_told(&self, text: &str) -> Vec<&'static str> {
        let parts = self.cause.iter().copied().chain([self.cure]);
        parts.filter(|part| !text.contains(part)).collect()
    }
}

fn explanation(world: &World) -> String {
    let ended = Candela::run(&["explain", "--url", &world.url]);
    ended.stdout
}

/// What the page shows of each service, by its address; nothing where there is no browser.
fn pages(worlds: &[(Fault, TempDir, World)]) -> Option<Vec<String>> {
    let (home, browser) = dashboard::browser()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard/read.mjs");
    let mut read = Command::new("node");
    read.arg(script).arg(&home).env("CHROMIUM", browser);
    // The last first: what hangs does not hang for long.
    read.args(
        worlds
            .iter()
            .rev()
            .flat_map(|(fault, _, world)| [fault.name, world.url.as_str()]),
    );
    let said = run(&mut read).unwrap_or_else(|why| panic!("{why}"));
    let mut texts: Vec<String> = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    texts.reverse();
    Some(texts)
}

#[test]
fn a_reader_who_knows_nothing_is_told_the_cause_the_time_and_the_cure_of_each_fault() {
    let worlds: Vec<(Fault, TempDir, World)> = faults_of_history_and_vendor()
        .into_iter()
        .chain(faults_of_the_machine())
        .map(|fault| {
            let data = tempfile::tempdir().unwrap();
            let world = fault.play(data.path());
            (fault, data, world)
        })
        .collect();
    let mut untold = Vec::new();
    let mut held = Vec::new();
    for (fault, _, world) in &worlds {
        let condition = fault.holds(world);
        let since = condition["since"].as_str().unwrap().get(..16).unwrap().to_owned();
        let told = wait_until(&format!("{}: an explanation", fault.name), || {
            let told = explanation(world);
            told.contains(fault.condition).then_some(told)
        });
        println!("--- {}\n{told}", fault.name);
        let missing = fault.is_told(&told);
        if !missing.is_empty() || !told.contains(&since) {
            untold.push(format!("explain, {}: {missing:?} {since}\n{told}", fault.name));
        }
        held.push(since);
    }
    for (page, ((fault, _, _), since)) in pages(&worlds).into_iter().flatten().zip(worlds.iter().zip(&held)) {
        println!("--- page, {}\n{page}", fault.name);
        let missing = fault.is_told(&page);
        let time = since.get(11..).unwrap();
        if !missing.is_empty() || !page.contains(time) {
            untold.push(format!("page, {}: {missing:?} {time}\n{page}", fault.name));
        }
    }
    assert!(untold.is_empty(), "{}", untold.join("\n\n"));
}
