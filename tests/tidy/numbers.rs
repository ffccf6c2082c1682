//! Numbers of this code base that may only fall. They measure how strange it is to a reader who does not know it; each has a goal.

use super::{FOLDER_FILES, File, none, sources};
use std::collections::BTreeMap;

const _: () = assert!(
    FOLDER_FILES == 25,
    "the goal below is the limit of `folders_fit_the_eye`"
);

/// A number, what it may be at the most, and what it should be.
struct Limit {
    what: &'static str,
    limit: f64,
    goal: &'static str,
    /// What lowers it.
    remedy: &'static str,
    measure: fn(&[File]) -> f64,
}

/// Today's values. A change that lowers one lowers its limit here; none is raised, but for the lines, with the reason in the
/// message of the commit that needs them.
const LIMITS: &[Limit] = &[
    Limit {
        what: "functions named with one word, of a hundred",
        limit: 53.0,
        goal: "55",
        remedy: "say verb and object: `write_to_clients`, not `tell`",
        measure: one_word_functions,
    },
    Limit {
        what: "product files in the fullest folder",
        limit: 25.0,
        goal: "25",
        remedy: "make sub-rooms",
        measure: fullest_folder,
    },
    Limit {
        what: "`use crate::` lines a file, in the median",
        limit: 3.0,
        goal: "3",
        remedy: "let a sub-room re-export its nouns, and import them in one line",
        measure: imports,
    },
    Limit {
        what: "closures with a name, in 1,000 lines",
        limit: 1.0,
        goal: "1",
        remedy: "write the closure where it is used, or a function",
        measure: named_closures,
    },
    Limit {
        what: "`let`s that take a tuple apart where it is made",
        limit: 5.0,
        goal: "0",
        remedy: "write a `let` for each name",
        measure: tuple_lets,
    },
    Limit {
        what: "`#[must_use]`",
        limit: 60.0,
        goal: "60",
        remedy: "keep it for results and effects that change what happens when they are dropped",
        measure: must_uses,
    },
    Limit {
        what: "lines of product code",
        limit: 83_000.0,
        goal: "70000", // with what is planned for this version
        remedy: "take out what nothing uses and what is written twice; a feature that needs more raises this",
        measure: lines,
    },
];

/// How far below its limit a number may be before the limit follows it, as a part of the limit.
const SLACK: f64 = 0.05;

#[test]
fn numbers_that_may_only_fall_do() {
    let files = sources();
    let mut findings = Vec::new();
    for Limit {
        what,
        limit,
        goal,
        remedy,
        measure,
    } in LIMITS
    {
        let now = (measure(&files) * 10.0).round() / 10.0;
        if now > *limit {
            findings.push(format!(
                "{what}: {now}, and {limit} is the limit (goal {goal}): {remedy}"
            ));
        }
        let reached = goal.parse::<f64>().is_ok_and(|goal| *limit <= goal);
        if !reached && now < limit * (1.0 - SLACK) {
            findings.push(format!(
                "{what}: {now}: take the gain, and write that as the limit in tests/tidy/numbers.rs"
            ));
        }
    }
    none(findings);
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

fn sum(files: &[File], of: impl Fn(&str) -> usize) -> f64 {
    count(files.iter().map(|file| of(&file.production())).sum())
}

/// The identifier that `text` begins with.
fn identifier(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// What follows each `word` that no letter stands before.
fn after<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code.get(..at)?.chars().next_back();
        let begins = before.is_none_or(|before| !before.is_alphanumeric() && before != '_');
        begins.then_some(code.get(at + word.len()..)?)
    })
}

fn one_word_functions(files: &[File]) -> f64 {
    let one = sum(files, |code| {
        let names = after(code, "fn ").map(identifier).filter(|name| !name.is_empty());
        names.filter(|name| !name.trim_matches('_').contains('_')).count()
    });
    let all = sum(files, |code| {
        after(code, "fn ").filter(|rest| !identifier(rest).is_empty()).count()
    });
    100.0 * one / all
}

fn fullest_folder(files: &[File]) -> f64 {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder).or_default() += 1;
    }
    count(folders.into_values().max().unwrap_or(0))
}

fn imports(files: &[File]) -> f64 {
    let of = |file: &File| {
        file.production()
            .lines()
            .filter(|line| line.starts_with("use crate::"))
            .count()
    };
    let mut found: Vec<usize> = files.iter().map(of).collect();
    found.sort_unstable();
    count(found.get(found.len() / 2).copied().unwrap_or(0))
}

/// `let name = |…|`, also with a type, `mut` and `move`.
fn is_named_closure(rest: &str) -> bool {
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("mut ").unwrap_or(rest).trim_start();
    let name = identifier(rest);
    let value = rest.get(name.len()..).unwrap_or_default().trim_start();
    let value = match value.strip_prefix(':') {
        Some(typed) => typed
            .find(['=', ';'])
            .and_then(|at| typed.get(at..))
            .unwrap_or_default(),
        None => value,
    };
    let Some(mut value) = value.strip_prefix('=').map(str::trim_start) else {
        return false;
    };
    for word in ["async", "move"] {
        value = value.strip_prefix(word).unwrap_or(value).trim_start();
    }
    !name.is_empty() && value.starts_with('|')
}

fn named_closures(files: &[File]) -> f64 {
    let closures = sum(files, |code| {
        after(code, "let ").filter(|rest| is_named_closure(rest)).count()
    });
    let written = files
        .iter()
        .map(|file| file.code().lines().filter(|line| !line.trim().is_empty()).count());
    1_000.0 * closures / count(written.sum())
}

fn tuple_lets(files: &[File]) -> f64 {
    let takes_apart = |rest: &&str| {
        let names = rest.split([')', '=']).next().unwrap_or_default();
        rest.get(names.len()..).is_some_and(|value| value.starts_with(") = ("))
    };
    sum(files, |code| after(code, "let (").filter(takes_apart).count())
}

fn must_uses(files: &[File]) -> f64 {
    sum(files, |code| code.matches("#[must_use]").count())
}

fn lines(files: &[File]) -> f64 {
    count(files.iter().map(|file| file.code().lines().count()).sum())
}
