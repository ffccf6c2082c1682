//! What deploys candela: images, compose file, chart, unit, packages, alerts and the book. Each test is a script of `tests/deploy`
//! on the real tool, which says by code 77 that this machine lacks it, and what that is.

use crate::child::Candela;
use crate::programs::skip;
use std::path::Path;
use std::process::Command;

/// Runs `tests/deploy/NAME` with the candela under test as `$CANDELA`.
fn run(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candela = Candela::command(&[]);
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(root.join("tests/deploy").join(name))
        .env("CANDELA", candela.get_program())
        .env("SCRATCH", scratch.path())
        .current_dir(root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    match output.status.code() {
        Some(0) => println!("{said}"),
        Some(77) => skip(name, said.trim().lines().last().unwrap_or_default()),
        _ => panic!("{name} ended with {}:\n{said}", output.status),
    }
}

#[test]
fn each_alert_is_silent_while_all_is_well_fires_and_has_a_runbook() {
    run("alerts");
}

/// The long form only: it takes some minutes, and market time runs twenty times as fast meanwhile.
#[test]
fn alerts_are_fired_by_real_faults() {
    if std::env::var_os("CANDELA_TEST_LONG").is_some() {
        run("firing.py");
    }
}

#[test]
fn each_command_of_a_runbook_answers_on_a_running_service() {
    run("runbooks");
}

#[test]
fn the_unit_is_accepted_and_exposes_little() {
    run("systemd");
}

#[test]
fn the_chart_renders_as_the_plain_file_and_fits_the_schemas() {
    run("chart");
}

#[test]
fn the_image_runs_without_root_shell_or_a_writable_file_system() {
    run("image");
}

#[test]
fn compose_serves_loses_nothing_by_a_kill_and_stops_in_time() {
    run("compose");
}

#[test]
fn clients_of_the_proxy_go_on_over_the_kill_of_an_edge_and_of_the_ingest() {
    run("ha");
}

#[test]
fn a_restored_database_gets_what_it_lacks_and_an_older_ledger_begins_new_epochs() {
    run("backup");
}

#[test]
fn each_difference_from_the_python_service_beside_has_a_known_cause() {
    run("side-by-side");
}

#[test]
fn the_deployment_script_names_what_is_missing_and_is_clean() {
    run("script");
}

#[test]
fn the_book_has_every_document_and_its_commands_run() {
    run("book");
}

#[test]
fn the_package_installs_in_a_clean_root() {
    run("package");
}

#[test]
fn a_bill_of_materials_lists_every_crate_that_is_shipped() {
    run("supply");
}

#[test]
fn a_script_that_is_not_there_fails_its_test() {
    assert!(std::panic::catch_unwind(|| run("nothing")).is_err());
}
