//! One name means one thing: a type name that stands twice has a reason.

use super::{none, sources};
use std::collections::BTreeMap;

/// What an actor is made of.
const ACTOR: &str = "written with its module: `feed::Deps`";
/// What goes into a pure machine and comes out of it.
const MACHINE: &str = "of one pure machine each: only its own actor imports it, or by its module";
/// A type of `src/settings` and what it sets up.
const SECTION: &str = "a section of settings, and the part that it sets up";
/// The simulator stands for others.
const SIM: &str = "the simulator's own: it imports nothing of the service, and only commands import it";
/// At most one of them can be named outside its file.
const PRIVATE: &str = "all but one are private to their file, or to their sub-room";

/// Type names of product code with several meanings: how often each stands, and why. May only shrink; a new entry needs a reason
/// that another word would not mend.
const TWICE: &[(&str, usize, &str)] = &[
    (
        "Answer",
        2,
        "what the vendor answered, and what a lease did: no file sees both",
    ),
    ("Asked", 2, PRIVATE),
    ("Cache", 2, SECTION),
    ("Command", 2, PRIVATE),
    ("Day", 3, "of a market, of a simulated market, and a column of a store"),
    ("Deps", 17, ACTOR),
    (
        "Disposition",
        3,
        "what the caller does about an error: one a boundary, as STYLE asks for",
    ),
    ("Effect", 2, MACHINE),
    ("Ending", 2, SIM),
    ("Event", 3, MACHINE),
    ("Finding", 2, PRIVATE),
    ("Flush", 2, PRIVATE),
    ("Held", 2, PRIVATE),
    ("History", 2, SIM),
    ("Kept", 2, PRIVATE),
    ("Key", 2, SECTION),
    ("KeyUse", 2, SIM),
    ("Known", 2, PRIVATE),
    ("Ledger", 2, SECTION),
    ("Look", 2, PRIVATE),
    (
        "Market",
        3,
        "a section of settings, a simulated market, and a private part of the session clock",
    ),
    ("MarketTime", 2, PRIVATE),
    ("Moment", 2, SIM),
    ("Next", 2, SIM),
    ("Outbox", 2, SIM),
    ("Outcome", 2, PRIVATE),
    ("Page", 2, PRIVATE),
    ("Pair", 2, PRIVATE),
    ("Phase", 2, PRIVATE),
    ("Plan", 2, SIM),
    (
        "Problem",
        2,
        "a code for clients, and what is wrong with a setting: no file sees both",
    ),
    ("Quote", 2, SIM),
    (
        "Reader",
        2,
        "reads settings, and reads what a client says: no file sees both",
    ),
    ("Report", 2, SIM),
    ("Round", 2, PRIVATE),
    ("Row", 2, SIM),
    ("Sample", 2, PRIVATE),
    ("Server", 2, PRIVATE),
    ("Shared", 4, PRIVATE),
    ("Socket", 2, SIM),
    ("Source", 2, PRIVATE),
    ("Spelling", 2, SIM),
    ("State", 6, MACHINE),
    ("Step", 3, MACHINE),
    ("Store", 2, SECTION),
    ("Summary", 2, PRIVATE),
    ("Tail", 2, PRIVATE),
    ("Tls", 2, PRIVATE),
    ("Told", 2, PRIVATE),
    ("Wanted", 2, PRIVATE),
    ("Window", 2, PRIVATE),
    ("Writer", 2, PRIVATE),
];

/// The names of the types that a file defines at its own level.
pub(super) fn types_of(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let line = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(") ").map_or("", |(_, rest)| rest),
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
        let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
    })
}

#[test]
fn a_type_name_that_stands_twice_has_a_reason() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources().iter().filter(|file| !file.path.starts_with("src/schema/")) {
        for name in types_of(&file.production()) {
            places.entry(name.to_owned()).or_default().push(file.path.clone());
        }
    }
    let mut findings = Vec::new();
    for (name, files) in places.iter().filter(|(_, files)| files.len() > 1) {
        let allowed = TWICE
            .iter()
            .find(|(known, ..)| known == name)
            .map_or(1, |(_, times, _)| *times);
        if files.len() > allowed {
            findings.push(format!(
                "{name} names {} types, {allowed} allowed: take another word ({})",
                files.len(),
                files.join(", ")
            ));
        }
    }
    for (name, times, _) in TWICE {
        let found = places.get(*name).map_or(0, Vec::len);
        if found < *times {
            findings.push(format!(
                "tests/tidy/names.rs: {name} names {found} types, not {times}: {}",
                match found {
                    0 | 1 => "take it off the list".to_owned(),
                    _ => format!("write {found}"),
                }
            ));
        }
    }
    none(findings);
}
