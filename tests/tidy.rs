//! Rules of this code base that no compiler checks. Standard library only. A rule about a file that does not exist yet
//! switches itself on when the file appears.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/ids.rs"]
mod ids;
#[path = "tidy/logs.rs"]
mod logs;
#[path = "tidy/mutations.rs"]
mod mutations;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/numbers.rs"]
mod numbers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines that a file may have, its unit tests aside and with them. Functions are measured by clippy.
const FILE_LINES: usize = 600; // but for limits.rs, which is one list on purpose
const FILE_AND_TEST_LINES: usize = 800;

/// Which rooms a room may import, besides itself. `main ► cmd ► app ► web, actors ► ledger, store, cache ► domain`.
const ARROWS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("domain", &["limits"]),
    ("clock", &["domain", "limits"]),
    ("schema", &[]),
    ("lock_file", &["clock", "domain"]),
    ("calendar_file", &["domain", "limits"]),
    ("exit", &[]),
    ("notify", &[]),
    ("settings", &["calendar_file", "domain", "limits"]),
    ("log_queue", &["clock", "limits"]),
    ("telemetry", &["clock", "domain", "limits", "log_queue", "settings"]),
    ("sim", &["clock", "domain", "limits"]),
    ("ledger", &["clock", "domain", "limits", "lock_file"]),
    ("tls", &[]),
    ("store", &["clock", "domain", "limits", "lock_file", "schema", "tls"]),
    ("cache", &["clock", "domain", "limits"]),
    ("carrier", &["cache", "clock", "domain", "limits"]),
    ("measures", &["domain", "limits"]),
    ("client_list", &["domain"]),
    ("views", &["clock", "domain", "limits"]),
    (
        "actors",
        &[
            "cache",
            "calendar_file",
            "carrier",
            "client_list",
            "clock",
            "domain",
            "exit",
            "ledger",
            "limits",
            "log_queue",
            "measures",
            "settings",
            "store",
            "views",
        ],
    ),
    (
        "web",
        &[
            "actors",
            "cache",
            "client_list",
            "clock",
            "domain",
            "ledger",
            "limits",
            "measures",
            "settings",
            "store",
            "views",
        ],
    ),
    (
        "app",
        &[
            "actors",
            "cache",
            "calendar_file",
            "carrier",
            "clock",
            "domain",
            "exit",
            "ledger",
            "limits",
            "lock_file",
            "settings",
            "store",
            "telemetry",
            "views",
            "web",
        ],
    ),
    ("cmd", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Which sub-rooms of its room a sub-room may import. A file that stands in the room itself, such as `messages.rs`, is a sub-room.
const SUB_ARROWS: &[(&str, &[&str])] = &[
    ("domain/model", &[]),
    ("domain/calendar", &["model"]),
    ("domain/vendor", &["model"]),
    ("domain/pipeline", &["model"]),
    ("domain/history", &["model", "calendar", "vendor", "pipeline"]),
    ("domain/status", &["model", "vendor", "pipeline"]),
    ("domain/lifecycle", &["model", "calendar", "history", "status"]),
    ("domain/protocol", &["model"]),
    ("domain/followers", &["model"]),
    ("domain/cluster", &["model", "vendor", "status", "followers"]),
    ("actors/repeat", &[]),
    ("actors/messages", &[]),
    ("actors/views", &[]),
    ("actors/services", &["messages", "views"]),
    ("actors/supervision", &["repeat", "messages"]),
    ("actors/core", &["repeat", "messages", "views", "services"]),
    ("actors/followers", &["repeat", "messages", "views", "services"]),
    (
        "actors/cluster",
        &[
            "repeat",
            "messages",
            "views",
            "services",
            "supervision",
            "core",
            "control",
        ],
    ),
    ("actors/vendor", &["repeat", "messages", "views", "services"]),
    ("actors/fanout", &["repeat", "messages"]),
    (
        "actors/control",
        &["repeat", "messages", "views", "services", "supervision"],
    ),
    ("actors/tree", &["*"]),
    ("web/shared", &[]),
    ("web/ws", &["shared"]),
    ("web/sse", &["shared", "ws"]),
    ("web/rest", &["shared"]),
    ("web/udf", &["shared"]),
    ("web/td", &["shared", "ws"]),
    ("web/admin", &["shared"]),
    ("web/api_docs", &["admin", "shared", "rest"]),
    ("web/server", &["*"]),
    ("sim/market", &[]),
    ("sim/vendor", &["market"]),
    ("sim/scenario", &["vendor"]),
    ("sim/engine", &["*"]),
];

/// Product files that one folder may hold, sub-folders aside.
const FOLDER_FILES: usize = 25;

/// What may be named only in certain places: the text, the places, and why.
const CONFINED: &[(&str, &[&str], &str)] = &[
    (
        "actix::",
        &["src/actors/", "src/web/", "src/app", "src/sim/"],
        "actors are shells: logic lives in domain",
    ),
    (
        "actix_rt::",
        &[
            "src/actors/",
            "src/web/",
            "src/app",
            "src/sim/",
            "src/cmd/",
            "src/main.rs",
        ],
        "runtimes are started at the rim",
    ),
    (
        "actix_web::",
        &["src/web/", "src/app", "src/sim/", "src/actors/vendor/vendor.rs"],
        "HTTP is spoken at the rim",
    ),
    (
        "actix_web_actors",
        &["src/web/ws/client.rs"],
        "deprecated upstream: one file knows it",
    ),
    (
        "Utc::now",
        &["src/clock.rs"],
        "time is an argument; clocks are read in one file",
    ),
    (
        "Local::now",
        &["src/clock.rs"],
        "time is an argument; clocks are read in one file",
    ),
    (
        "SystemTime::now",
        &["src/clock.rs"],
        "time is an argument; clocks are read in one file",
    ),
    (
        "Instant::now",
        &["src/clock.rs"],
        "time is an argument; clocks are read in one file",
    ),
    ("env::var", &["src/settings/"], "the environment is read in settings"),
    ("panic = \"abort\"", &[], "supervision catches panics"),
];

// --- reading the tree ------------------------------------------------------------------------------------------------

struct File {
    /// From the root of the repository, with forward slashes.
    path: String,
    text: String,
}

impl File {
    /// The text without its unit tests.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default()
    }

    /// The same with comments blanked, so that only what runs in production counts.
    fn production(&self) -> String {
        let code = self.code();
        let mut out = String::with_capacity(code.len());
        for line in code.lines() {
            out.push_str(if line.trim_start().starts_with("//") { "" } else { line });
            out.push('\n');
        }
        out
    }

    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// The sub-room as `room/sub-room`, where its room has any.
    fn sub_room(&self) -> Option<String> {
        let mut parts = self.path.strip_prefix("src/")?.split('/');
        let (room, sub) = (parts.next()?, parts.next()?.trim_end_matches(".rs"));
        let has_any = SUB_ARROWS.iter().any(|(name, _)| name.starts_with(&format!("{room}/")));
        (has_any && sub != "mod").then(|| format!("{room}/{sub}"))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// All files below `folder` whose name ends in one of `endings`.
fn files(folder: &str, endings: &[&str]) -> Vec<File> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    let wanted = |path: &PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
    let relative = |path: &Path| {
        path.strip_prefix(root())
            .unwrap_or(path)
            .to_string_lossy()
            .replace('\\', "/")
    };
    found
        .iter()
        .filter(|path| wanted(path))
        .filter_map(|path| {
            Some(File {
                path: relative(path),
                text: std::fs::read_to_string(path).ok()?,
            })
        })
        .collect()
}

/// What runs in production: without the files that only tests compile.
fn sources() -> Vec<File> {
    let all = files("src", &[".rs"]);
    let mut of_tests = BTreeSet::new();
    for file in &all {
        let folder = match file.path.strip_suffix("/mod.rs").or(file.path.strip_suffix("/lib.rs")) {
            Some(folder) => folder,
            None => file.path.trim_end_matches(".rs"),
        };
        for declared in file.text.split("#[cfg(test)]").skip(1) {
            let line = declared.trim_start().lines().next().unwrap_or_default();
            if let Some(name) = line.strip_suffix(';').and_then(|line| line.split("mod ").nth(1)) {
                of_tests.insert(format!("{folder}/{name}.rs"));
            }
        }
    }
    let named = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    let production = |file: &File| !of_tests.contains(&file.path) && !named(&file.path);
    let found: Vec<File> = all.into_iter().filter(production).collect();
    assert!(!found.is_empty(), "no sources found: tidy would pass on nothing");
    found
}

fn rust() -> Vec<File> {
    ["src", "tests", "benches", "examples"]
        .iter()
        .flat_map(|folder| files(folder, &[".rs"]))
        .collect()
}

/// Fails with all findings at once.
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// The words of `text` that start with `prefix` and go on with letters, digits and underscores.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let starts = text.match_indices(prefix).filter_map(|(at, _)| text.get(at..));
    let word = |rest: &'a str| {
        let after = rest.strip_prefix(prefix).unwrap_or(rest);
        let end = after
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(after.len());
        after.get(..end).unwrap_or_default()
    };
    starts.map(word).collect()
}

// --- shape -----------------------------------------------------------------------------------------------------------

#[test]
fn rooms_import_only_along_the_arrows() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut findings = Vec::new();
    for file in sources() {
        let Some(may) = allowed.get(file.room()) else {
            findings.push(format!(
                "{}: room {} has no row in ARROWS of tests/tidy.rs",
                file.path,
                file.room()
            ));
            continue;
        };
        for room in words(&file.production(), "crate::") {
            if room != file.room() && !may.contains(&"*") && !may.contains(&room) && allowed.contains_key(room) {
                findings.push(format!("{}: {} may not import {room}", file.path, file.room()));
            }
        }
    }
    none(findings);
}

#[test]
fn sub_rooms_import_only_along_the_arrows() {
    let allowed: BTreeMap<_, _> = SUB_ARROWS.iter().copied().collect();
    let mut findings = Vec::new();
    for file in sources() {
        let Some(here) = file.sub_room() else { continue };
        let (room, own) = here.split_once('/').unwrap_or_default();
        let Some(may) = allowed.get(here.as_str()) else {
            findings.push(format!(
                "{}: {here} has no row in SUB_ARROWS of tests/tidy.rs",
                file.path
            ));
            continue;
        };
        let production = file.production();
        for other in words(&production, &format!("crate::{room}::")) {
            let known = allowed.contains_key(format!("{room}/{other}").as_str());
            if known && other != own && !may.contains(&"*") && !may.contains(&other) {
                findings.push(format!("{}: {here} may not import {room}/{other}", file.path));
            }
        }
    }
    none(findings);
}

/// The table itself has no circle, so that a reader can begin at the bottom.
#[test]
fn the_arrows_between_sub_rooms_make_no_circle() {
    let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, may) in SUB_ARROWS {
        let room = name.split('/').next().unwrap_or_default();
        let all = |prefix: &str| {
            let others = SUB_ARROWS.iter().map(|(other, _)| (*other).to_owned());
            others
                .filter(|other| other.starts_with(prefix) && other != name)
                .collect()
        };
        let to = match may {
            ["*"] => all(&format!("{room}/")),
            _ => may.iter().map(|other| format!("{room}/{other}")).collect(),
        };
        left.insert((*name).to_owned(), to);
    }
    while let Some(bottom) = left
        .iter()
        .find(|(_, to)| to.iter().all(|other| !left.contains_key(other)))
    {
        let name = bottom.0.clone();
        left.remove(&name);
    }
    assert!(left.is_empty(), "a circle: {left:?}");
}

#[test]
fn folders_fit_the_eye() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for file in sources() {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    let full = folders.iter().filter(|(_, files)| **files > FOLDER_FILES);
    none(
        full.map(|(folder, files)| format!("{folder}: {files} files; at most {FOLDER_FILES}: make sub-rooms"))
            .collect(),
    );
}

#[test]
fn what_is_confined_stays_where_it_belongs() {
    let mut findings = Vec::new();
    let cargo = File {
        path: "Cargo.toml".into(),
        text: read("Cargo.toml").unwrap_or_default(),
    };
    for file in sources().into_iter().chain([cargo]) {
        let production = file.production();
        for (text, places, why) in CONFINED {
            let named = production.match_indices(text).any(|(at, _)| {
                let before = production.get(..at).unwrap_or_default().chars().next_back();
                before.is_none_or(|before| !before.is_ascii_alphanumeric() && before != '_')
            });
            if named && !places.iter().any(|place| file.path.starts_with(place)) {
                findings.push(format!("{}: {text} belongs in {places:?}: {why}", file.path));
            }
        }
    }
    none(findings);
}

#[test]
fn files_fit_the_eye() {
    let mut findings = Vec::new();
    for file in rust() {
        let lines = file.text.lines().count();
        let tests_only = file.path.ends_with("tests.rs") || file.path.contains("tests/");
        if file.path == "src/limits.rs" {
            continue;
        }
        let code = if tests_only {
            0
        } else {
            file.production().lines().count()
        };
        let fits = code <= FILE_LINES && lines <= FILE_AND_TEST_LINES;
        if !fits {
            findings.push(format!(
                "{}: {code} lines and {lines} with tests; at most {FILE_LINES} and {FILE_AND_TEST_LINES}",
                file.path
            ));
        }
    }
    none(findings);
}

// --- actors and messages ---------------------------------------------------------------------------------------------

#[test]
fn every_actor_says_what_it_owns_hears_says_and_how_it_fails() {
    let mut findings = Vec::new();
    let with_actor = |file: &File| file.path.starts_with("src/actors/") && file.production().contains("impl Actor for");
    for file in sources().into_iter().filter(with_actor) {
        for part in ["owns", "hears", "says", "fails"] {
            let told = file.text.lines().any(|line| {
                line.strip_prefix("//! ")
                    .is_some_and(|doc| doc.trim_start().starts_with(part))
            });
            if !told {
                findings.push(format!("{}: its header has no line \"//! {part} …\"", file.path));
            }
        }
    }
    none(findings);
}

#[test]
fn every_message_states_its_edge() {
    let mut findings = Vec::new();
    let text = read("src/actors/messages.rs").unwrap_or_default();
    let mut doc = String::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("///") {
            doc.push_str(words);
        } else if line.starts_with("#[derive(") && line.contains("Message") && !doc.contains('→') {
            findings.push(format!(
                "src/actors/messages.rs: a message says no \"sender → receiver\": {}",
                doc.trim()
            ));
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
    none(findings);
}

#[test]
fn every_limit_is_used() {
    let limits = read("src/limits.rs").unwrap_or_default();
    let elsewhere: String = rust()
        .iter()
        .filter(|file| file.path != "src/limits.rs")
        .fold(String::new(), |all, file| all + &file.text);
    let names = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let unused = |name: &str| !elsewhere.contains(name) && limits.matches(name).count() < 2;
    none(
        names
            .filter(|name| *name != "_" && unused(name))
            .map(|name| format!("src/limits.rs: {name} is used nowhere"))
            .collect(),
    );
}

// --- the rest --------------------------------------------------------------------------------------------------------

#[test]
fn no_loose_end_is_without_an_issue() {
    let mut findings = Vec::new();
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    for file in rust()
        .into_iter()
        .chain(files("docs", &[".md"]))
        .chain(files("scripts", &[""]))
    {
        for (number, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) && !line.contains('#') {
                findings.push(format!(
                    "{}:{}: a loose end without an issue number",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    none(findings);
}

#[test]
fn every_migration_has_a_way_back() {
    let mut findings = Vec::new();
    for up in files("migrations", &["up.sql"]) {
        let down = up.path.replace("up.sql", "down.sql");
        if read(&down).is_none_or(|text| text.trim().is_empty()) {
            findings.push(format!("{} has no {down}", up.path));
        }
    }
    none(findings);
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent = rust()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! ") && !file.path.starts_with("src/schema/"));
    none(
        silent
            .map(|file| format!("{}: its first line is no module documentation", file.path))
            .collect(),
    );
}

#[test]
fn a_release_has_no_test_hooks() {
    let cargo = read("Cargo.toml").unwrap_or_default();
    let default = cargo.lines().find(|line| line.starts_with("default ="));
    assert!(
        default.is_none_or(|line| !line.contains("test-hooks")),
        "test-hooks are on by default"
    );
    let image = read("deploy/Dockerfile").unwrap_or_default();
    assert!(
        image.contains(r#"cargo build --profile "${PROFILE}" --locked &&"#),
        "the image is built with features: {image}"
    );
    let router = read("src/web/server/routes.rs").unwrap_or_default();
    let before = router.split("/test/").next().unwrap_or_default().trim_end();
    let gate = before.rfind("#[cfg(feature = \"test-hooks\")]");
    let distance = gate
        .and_then(|at| before.get(at..))
        .map_or(usize::MAX, |gated| gated.lines().count());
    assert!(distance <= 3, "the test routes are not behind the feature");
}

/// A setting that nothing reads is a promise that nothing keeps.
#[test]
fn every_setting_is_used() {
    let mut code = String::new();
    for file in sources()
        .iter()
        .filter(|file| file.room() != "settings" && !file.path.starts_with("src/cmd/check"))
    {
        code.push_str(&file.production());
    }
    let used = words(&code, ".");
    let mut findings = Vec::new();
    for section in ["server", "upstream", "market", "stores", "log"] {
        let text = read(&format!("src/settings/{section}.rs")).unwrap_or_default();
        let fields = text
            .lines()
            .filter_map(|line| line.strip_prefix("    pub ")?.split_once(':'));
        for (field, _) in fields.filter(|(field, _)| !field.contains([' ', '('])) {
            if !used.contains(field) {
                findings.push(format!("src/settings/{section}.rs: {field} is read nowhere"));
            }
        }
    }
    none(findings);
}
