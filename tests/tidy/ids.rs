//! Ids of invariants and traps: each is defined once, and what is named is defined.

use super::{files, none, read, rust};
use std::collections::BTreeMap;

/// The first letters of ids.
const LETTERS: &str = "TBKSCVX";

/// The ids in the first column of a document's tables.
fn defined(path: &str) -> Vec<String> {
    let text = read(path).unwrap_or_default();
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next().map(str::to_owned));
    cells.filter(|cell| is_id(cell)).collect()
}

fn is_id(word: &str) -> bool {
    let mut chars = word.chars();
    let letter = chars.next().is_some_and(|first| LETTERS.contains(first));
    let digits = chars.as_str();
    letter && (1..=2).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit())
}

/// Ids as words of their own, and whatever stands behind "invariant" as one.
fn ids_in(text: &str) -> impl Iterator<Item = &str> {
    let words = |text| str::split(text, |c: char| !c.is_ascii_alphanumeric() && c != '_');
    let called = text
        .split("invariant ")
        .skip(1)
        .filter_map(move |rest| words(rest).next());
    let numbered =
        |word: &&str| word.len() <= 3 && word.starts_with(char::is_uppercase) && word.ends_with(char::is_numeric);
    words(text).filter(|word| is_id(word)).chain(called.filter(numbered))
}

/// What a line of code says to people: its comment, and a text that begins with an id, as in `"T1: told twice"`.
fn said(line: &str) -> String {
    let comment = match line.find("//") {
        Some(at) => line.get(at..).unwrap_or_default(),
        None => "",
    };
    let texts = line.split('"').skip(1).step_by(2);
    let ids = texts.filter_map(|text| match text.split_once(':') {
        Some((id, after)) => after.starts_with(' ').then_some(id),
        None => Some(text),
    });
    ids.filter(|id| is_id(id))
        .fold(comment.to_owned(), |all, id| format!("{all} {id}"))
}

#[test]
fn ids_of_invariants_and_traps_are_unique_and_those_that_are_named_exist() {
    let invariants = defined("ARCHITECTURE.md");
    let traps = defined("docs/traps.md");
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for id in invariants.iter().chain(&traps) {
        let count = times.entry(id).or_default();
        *count = count.saturating_add(1);
    }
    let mut findings = Vec::new();
    for (id, _) in times.iter().filter(|(_, count)| **count > 1) {
        findings.push(format!("{id} is defined twice, in ARCHITECTURE.md or docs/traps.md"));
    }
    let promised = read("docs/guarantees.md").unwrap_or_default();
    for id in invariants
        .iter()
        .filter(|id| !ids_in(&promised).any(|named| named == *id))
    {
        findings.push(format!("docs/guarantees.md names no test of {id}"));
    }
    let mut check = |path: &str, line: usize, text: &str| {
        for id in ids_in(text).filter(|id| !times.contains_key(id)) {
            findings.push(format!(
                "{path}:{line}: {id} is no invariant of ARCHITECTURE.md and no trap of docs/traps.md"
            ));
        }
    };
    for file in rust() {
        for (i, line) in file.text.lines().enumerate() {
            check(&file.path, i.saturating_add(1), &said(line));
        }
    }
    for document in files("docs", &[".md"]) {
        for (i, line) in document.text.lines().enumerate() {
            check(&document.path, i.saturating_add(1), line);
        }
    }
    assert!(invariants.len() >= 12 && traps.len() >= 12, "{invariants:?} {traps:?}");
    none(findings);
}
