//! Renders the example file and the settings guide from the declarations that the code reads settings by.

use crate::settings::{
    OLD_NAMES,
    reader::{Declared, Reader},
};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Every setting, with its default, in the order in which it is read.
fn declared_settings() -> Vec<Declared> {
    let mut reader = Reader::new(BTreeMap::new(), Vec::new());
    super::read(&mut reader, &[]);
    reader.into_declared()
}

/// Section and name of a setting.
fn split_name(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("", name))
}

/// `settings.example.toml`: every setting at its default.
pub fn example_toml() -> String {
    let mut out = String::from(
        "# Every setting of candela at its default. Copy what you change to candela.toml.\n\
         # In the environment a setting is spelled CANDELA__SECTION__NAME; docs/settings.md says more.\n",
    );
    let mut section = "";
    for declared in declared_settings() {
        let (of, name) = split_name(declared.name);
        if of != section {
            section = of;
            writeln!(out, "\n[{section}]").ok();
        }
        writeln!(out, "# {}\n{name} = {}", declared.meaning, declared.default).ok();
    }
    out.push_str("\n# One pair may have a calendar of its own, for each setting of its calendar:\n# [market.override.USDMXN]\n# calendar = \"forex\"\n");
    out
}

/// The table of `docs/settings.md`.
pub fn guide_markdown() -> String {
    let mut out = String::from("| setting | default | meaning |\n|---|---|---|\n");
    for declared in declared_settings() {
        let old = OLD_NAMES.iter().find(|(_, name)| *name == declared.name);
        let old = old.map(|(old, _)| format!(" Also `{old}`.")).unwrap_or_default();
        writeln!(
            out,
            "| `{}` | `{}` | {}.{old} |",
            declared.name, declared.default, declared.meaning
        )
        .ok();
    }
    out
}
