//! The dashboard: its modules by themselves, and the page in headless Chromium during a demo that is killed meanwhile.

use crate::child::Candela;
use crate::programs::{folder, run, skip};
use std::path::{Path, PathBuf};
use std::process::Command;

const PLAYWRIGHT: &str = "playwright-core@1.65.1";
const AXE: &str = "axe-core@4.14.1";

fn source(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_javascript_client_and_the_pure_modules_of_the_page_do_what_they_say() {
    let tests = ["clients/js/test/candela.test.mjs", "tests/dashboard/pure.test.mjs"].map(source);
    let said = run(Command::new("node").arg("--test").args(tests)).unwrap();
    assert!(said.contains("# fail 0") && !said.contains("# pass 0"), "{said}");
}

/// The folder with Playwright and axe, and the browser they drive; nothing, with a word why, where one of them cannot be had.
pub(crate) fn browser() -> Option<(PathBuf, String)> {
    let home = folder("dashboard");
    if !home.join("node_modules/axe-core").exists() {
        let mut install = Command::new("npm");
        install.current_dir(&home).args([
            "install",
            "--silent",
            "--no-audit",
            "--ignore-scripts",
            "--no-package-lock",
            PLAYWRIGHT,
            AXE,
        ]);
        if let Err(why) = run(&mut install) {
            skip("the page in a browser", &why);
            return None;
        }
    }
    let found = run(Command::new("sh").args([
        "-c",
        "command -v chromium || command -v chromium-browser || command -v google-chrome",
    ]));
    let Ok(browser) = found else {
        skip("the page in a browser", "there is no Chromium");
        return None;
    };
    Some((home, browser.trim().to_owned()))
}

/// The long form only: it takes two minutes, and a browser that draws in software misses its waits on a busy machine.
#[test]
fn the_page_shows_an_outage_that_heals_and_goes_on_over_a_kill_without_a_hole() {
    if std::env::var_os("CANDELA_TEST_LONG").is_none() {
        return;
    }
    let Some((home, browser)) = browser() else { return };
    let binary = Candela::command(&[]).get_program().to_owned();
    let said = run(Command::new("timeout")
        .args(["170", "node"])
        .arg(source("tests/dashboard/page.mjs"))
        .arg(binary)
        .arg(&home)
        .env("CHROMIUM", browser));
    let said = said.unwrap_or_else(|why| panic!("{why}\npictures are in {}", home.join("pictures").display()));
    println!("{said}");
}
