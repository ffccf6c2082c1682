//! What documents and comments name is there, and where they say.

use super::names::types_of;
use super::{File, SUB_ARROWS, files, none, read, root, rust, sources, words};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where paths begin that documents and comments name.
const ROOTS: [&str; 10] = [
    "src/",
    "tests/",
    "docs/",
    "scripts/",
    "migrations/",
    "deploy/",
    "examples/",
    "benches/",
    "scenarios/",
    "clients/",
];

/// The documents of the repository.
fn documents() -> Vec<File> {
    let mut found = files("docs", &[".md"]);
    for path in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "SECURITY.md"] {
        found.extend(read(path).map(|text| File {
            path: path.to_owned(),
            text,
        }));
    }
    found
}

/// What stands in back ticks, without white space.
fn named_in(document: &str) -> BTreeSet<String> {
    let ticks = document.split('`').skip(1).step_by(2);
    ticks
        .filter(|name| !name.contains(char::is_whitespace))
        .map(str::to_owned)
        .collect()
}

/// Whether `code` has a function of this name.
fn has_function(code: &str, name: &str) -> bool {
    [format!("fn {name}("), format!("fn {name}<")]
        .iter()
        .any(|form| code.contains(form))
}

#[test]
fn paths_and_tests_that_documents_name_exist() {
    let mut findings = Vec::new();
    let all: String = rust().iter().fold(String::new(), |all, file| all + &file.text);
    for document in documents() {
        for name in named_in(&document.text) {
            let path = name.split("::").next().unwrap_or(&name);
            let in_src = format!("src/{path}");
            let looks_like_path = ROOTS.iter().any(|root| path.starts_with(root)) || path.ends_with(".rs");
            if looks_like_path
                && !path.contains(['*', '…', '<', '{'])
                && !root().join(path).exists()
                && !root().join(in_src).exists()
            {
                findings.push(format!("{}: `{path}` does not exist", document.path));
            }
            let sentence = name.matches('_').count() >= 4 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let known = || has_function(&all, &name) || all.contains(&format!("\"{name}\""));
            if sentence && !name.starts_with("candela_") && !known() {
                findings.push(format!("{}: no test and no code is called `{name}`", document.path));
            }
        }
        for link in document
            .text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            let folder = root()
                .join(&document.path)
                .parent()
                .map(Path::to_path_buf)
                .unwrap_or_default();
            if !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:") && !folder.join(link).exists()
            {
                findings.push(format!("{}: the link to {link} leads nowhere", document.path));
            }
        }
    }
    none(findings);
}

/// A function that is named behind a file, in the same line or paragraph, is a function of that file: `src/app.rs` `stop()`.
#[test]
fn a_function_that_a_document_names_with_a_file_is_in_that_file() {
    let mut findings = Vec::new();
    let all: String = rust().iter().fold(String::new(), |all, file| all + &file.text);
    for document in documents() {
        let mut file: Option<String> = None;
        let mut fenced = false;
        for line in document.text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced || line.trim().is_empty() || line.starts_with(['|', '#', '*', '-']) {
                file = None;
            }
            if fenced {
                continue;
            }
            for name in line.split('`').skip(1).step_by(2) {
                if name.ends_with(".rs") {
                    file = Some(name.to_owned());
                } else if let Some(function) = name.strip_suffix("()") {
                    let function = function.rsplit([':', '.']).next().unwrap_or_default();
                    match &file {
                        Some(path) if !read(path).is_some_and(|code| has_function(&code, function)) => {
                            findings.push(format!("{}: {path} has no `{function}()`", document.path));
                        }
                        None if document.path == "ARCHITECTURE.md" && !has_function(&all, function) => {
                            findings.push(format!("{}: `{function}()` does not exist", document.path));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    none(findings);
}

/// The code map of ARCHITECTURE.md has a line for each folder of code, and says of each what SUB_ARROWS says.
#[test]
fn the_code_map_names_each_sub_room_and_what_it_may_import() {
    let document = read("ARCHITECTURE.md").unwrap_or_default();
    let mut told: BTreeMap<&str, &str> = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| `src/")) {
        let mut cells = line.trim_matches('|').split(" |").map(str::trim);
        let folder = cells
            .next()
            .and_then(|cell| cell.strip_prefix("`src/")?.strip_suffix("/`"));
        if let (Some(folder), Some(imports)) = (folder, cells.nth(1)) {
            told.insert(folder, imports);
        }
    }
    let mut findings = Vec::new();
    let mut folders = BTreeSet::new();
    for file in sources() {
        if let Some((folder, _)) = file.path.strip_prefix("src/").and_then(|path| path.rsplit_once('/')) {
            folders.insert(folder.to_owned());
        }
    }
    let divided = |room: &str| SUB_ARROWS.iter().any(|(name, _)| name.starts_with(&format!("{room}/")));
    folders.retain(|folder| !divided(folder));
    for folder in folders.iter().filter(|folder| !told.contains_key(folder.as_str())) {
        findings.push(format!("ARCHITECTURE.md: the code map has no line for src/{folder}/"));
    }
    for (folder, imports) in told {
        let Some((_, may)) = SUB_ARROWS.iter().find(|(name, _)| *name == folder) else {
            continue;
        };
        let room = folder.split('/').next().unwrap_or_default();
        let expected = if *may == ["*"] {
            format!("all of `{room}`")
        } else {
            may.join(", ")
        };
        if imports != expected {
            findings.push(format!(
                "ARCHITECTURE.md: src/{folder}/ imports \"{expected}\" by SUB_ARROWS, not \"{imports}\""
            ));
        }
    }
    none(findings);
}

/// The words that are ours name the types that stand for them today.
#[test]
fn the_types_of_the_glossary_exist() {
    let document = read("ARCHITECTURE.md").unwrap_or_default();
    let glossary = document
        .split("\n## ")
        .find(|part| part.starts_with("Words"))
        .unwrap_or_default();
    let code = sources()
        .iter()
        .fold(String::new(), |all, file| all + &file.production());
    let types: BTreeSet<&str> = types_of(&code).collect();
    let rows = glossary.lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | ").map(|(_, cell)| cell));
    let named: BTreeSet<&str> = last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 10, "the glossary is not found: {named:?}");
    none(
        named
            .difference(&types)
            .map(|name| format!("ARCHITECTURE.md: the glossary names the type `{name}`, which is not there"))
            .collect(),
    );
}

/// The comments of a file, each with its line number.
fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(i, line)| {
        let trimmed = line.trim_start();
        let comment = if trimmed.starts_with("//") {
            trimmed
        } else {
            line.split_once(" // ").map(|(_, comment)| comment)?
        };
        Some((i.saturating_add(1), comment))
    })
}

/// The words of a comment that may be paths of files or of modules.
fn path_words(comment: &str) -> impl Iterator<Item = &str> {
    let apart = |c: char| !c.is_ascii_alphanumeric() && !"_./:-".contains(c);
    comment.split(apart).map(|word| word.trim_matches(['.', ':', '-']))
}

#[test]
fn files_that_source_comments_name_exist() {
    let mut findings = Vec::new();
    let names: BTreeSet<String> = [
        "src",
        "tests",
        "docs",
        "scripts",
        "migrations",
        "deploy",
        "benches",
        "examples",
    ]
    .iter()
    .flat_map(|folder| files(folder, &[""]))
    .filter_map(|file| file.path.rsplit('/').next().map(str::to_owned))
    .collect();
    for file in rust() {
        for (line, comment) in comments(&file.text) {
            for word in
                path_words(comment).filter(|word| !word.contains("::") && !comment.contains(&format!("/{word}")))
            {
                let there = if word.ends_with("NAME") {
                    continue; // stands for one of several
                } else if ROOTS.iter().any(|root| word.starts_with(root)) {
                    root().join(word).exists()
                } else if word.ends_with(".rs") || word.ends_with(".md") {
                    root().join(word).exists() || names.contains(word)
                } else {
                    continue;
                };
                if !there {
                    findings.push(format!("{}:{line}: {word} does not exist", file.path));
                }
            }
        }
    }
    none(findings);
}

/// `domain::vendor::Link` in a comment: the modules are there, and the last of them defines or shows the name.
#[test]
fn modules_that_source_comments_name_exist() {
    let rooms: BTreeSet<String> = sources().iter().map(|file| file.room().to_owned()).collect();
    let mut findings = Vec::new();
    for file in rust() {
        for (line, comment) in comments(&file.text) {
            for word in path_words(comment) {
                let path = word.trim_start_matches("crate::").trim_start_matches("candela::");
                let mut segments = path.split("::");
                let Some(room) = segments
                    .next()
                    .filter(|room| rooms.contains(*room) && path.contains("::"))
                else {
                    continue;
                };
                if let Some(missing) = missing_segment(room, segments) {
                    findings.push(format!("{}:{line}: {word}: there is no {missing}", file.path));
                }
            }
        }
    }
    none(findings);
}

/// The first segment that is neither a module below those before it nor a word of their code.
fn missing_segment<'a>(room: &str, segments: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut place = format!("src/{room}");
    for segment in segments {
        let below = format!("{place}/{segment}");
        if root().join(&below).is_dir() || root().join(format!("{below}.rs")).exists() {
            place = below;
            continue;
        }
        let mut code = read(&format!("{place}.rs")).unwrap_or_default();
        for file in files(&place, &[".rs"]) {
            code.push_str(&file.production());
        }
        let forms = [
            "fn ",
            "struct ",
            "enum ",
            "trait ",
            "type ",
            "const ",
            "mod ",
            "static ",
            "macro_rules! ",
        ];
        let defined = forms.iter().any(|form| words(&code, form).contains(segment));
        return (!defined).then_some(segment);
    }
    None
}

/// FNV-1a, 64 bits: small enough to write here, good enough to notice a change.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// ARCHITECTURE.md ends with a line such as `<!-- read with src/actors/tree.rs 0123456789abcdef -->` for each file whose
/// change must make its author read the document again.
#[test]
fn the_architecture_was_read_again_after_its_key_files_changed() {
    let document = read("ARCHITECTURE.md").unwrap_or_default();
    let mut findings = Vec::new();
    for line in document.lines() {
        let Some((path, seen)) = line
            .strip_prefix("<!-- read with ")
            .and_then(|rest| rest.strip_suffix(" -->")?.split_once(' '))
        else {
            continue;
        };
        let now = format!("{:016x}", hash(&read(path).unwrap_or_default()));
        if now != seen {
            findings.push(format!(
                "{path} has changed: read ARCHITECTURE.md again, mend it, and write\n<!-- read with {path} {now} -->"
            ));
        }
    }
    none(findings);
}

#[test]
fn metrics_in_code_and_in_the_operations_guide_are_the_same() {
    let Some(guide) = read("docs/operations.md") else {
        return;
    };
    let code = sources()
        .iter()
        .fold(String::new(), |all, file| all + &file.production());
    let tables = read("src/store/postgres/relied.txt").unwrap_or_default();
    let mut quoted = words(&code, "\"candela_");
    quoted.extend(words(&tables, "candela_"));
    let told = words(&guide, "`candela_");
    let mut findings = Vec::new();
    findings.extend(
        words(&code, "\"candela_")
            .difference(&told)
            .map(|name| format!("docs/operations.md does not explain the metric candela_{name}")),
    );
    findings.extend(
        told.difference(&quoted)
            .map(|name| format!("docs/operations.md explains candela_{name}, which no code counts")),
    );
    none(findings);
}
