//! The scenario files can be played, and their words are documented.

use candela::sim::Scenario;
use candela::sim::scenario::{odd_frames, script};
use std::path::{Path, PathBuf};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root("scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_scenario_file_can_be_played_and_says_what_it_shows() {
    assert!(files().len() > 20);
    for file in files() {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(!scenario.lines.is_empty(), "{}", file.display());
        assert!(
            std::fs::read_to_string(&file).unwrap().starts_with("# "),
            "{}",
            file.display()
        );
    }
}

#[test]
fn the_demo_file_is_the_outage_of_the_demo() {
    let acts = |scenario: Scenario| {
        scenario
            .lines
            .into_iter()
            .map(|line| (line.cue, line.act))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        acts(Scenario::read(&root("scenarios/demo.txt")).unwrap()),
        acts(Scenario::demo())
    );
}

#[test]
fn every_word_is_documented_and_played_by_some_file() {
    let document = std::fs::read_to_string(root("docs/scenarios.md")).unwrap();
    let played: String = files()
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    for act in script::ACTS.split(", ") {
        assert!(
            document.contains(&format!("`{act}")),
            "docs/scenarios.md does not explain {act}"
        );
        assert!(played.contains(&format!(" {act}")), "no file in scenarios/ plays {act}");
    }
    for name in odd_frames::NAMES.split(' ') {
        assert!(
            document.contains(&format!("`{name}`")),
            "docs/scenarios.md does not list {name}"
        );
        assert!(
            played.contains(&format!("send {name}\n")),
            "no file in scenarios/ sends {name}"
        );
    }
}
