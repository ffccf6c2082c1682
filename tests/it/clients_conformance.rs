//! What others wrote to find fault with servers: the Autobahn suite against the WebSocket, schemathesis against REST.

use crate::child::{Candela, wait_until};
use crate::programs::{folder, python, run, skip};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// A demo that has seen a bar, and the address of its server without a scheme.
fn demo() -> (Candela, String) {
    let mut demo = Candela::start(&["demo", "--port", "0", "--json", "--speed", "300", "--seed", "7"]);
    let host = demo.address();
    demo.line("\"bar\"");
    (demo, host)
}

/// The suite's program. It runs on Python 2.7 alone, which few machines still have.
fn wstest() -> Result<PathBuf, String> {
    let home = folder("autobahn");
    let program = home.join("venv/bin/wstest");
    if program.exists() {
        return Ok(program);
    }
    let home_folder = std::env::home_dir().unwrap_or_default();
    let pyenv = home_folder.join(".pyenv/versions/2.7.18/bin/python2.7");
    let known = [PathBuf::from("python2.7"), PathBuf::from("python2"), pyenv];
    let has_pip = |python: &&PathBuf| run(Command::new(python).args(["-m", "pip", "--version"])).is_ok();
    let python = known.iter().find(has_pip).ok_or("there is no Python 2.7 with pip")?;
    let tool = home.join("tool");
    run(Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "virtualenv==20.15.1", "--target"])
        .arg(&tool))?;
    run(Command::new(python)
        .env("PYTHONPATH", &tool)
        .args(["-m", "virtualenv", "--quiet"])
        .arg(home.join("venv")))?;
    let pip = home.join("venv/bin/pip");
    run(Command::new(pip).args(["install", "--quiet", "autobahntestsuite==0.8.2"]))?;
    Ok(program)
}

#[test]
#[cfg(feature = "test-hooks")]
fn the_autobahn_suite_finds_all_247_cases_as_they_should_be() {
    let wstest = match wstest() {
        Ok(wstest) => wstest,
        Err(why) => return skip("the Autobahn suite", &why),
    };
    let (_demo, host) = demo();
    let work = tempfile::tempdir().unwrap();
    let spec = serde_json::json!({"outdir": work.path().join("reports"), "exclude-cases": [], "exclude-agent-cases": {},
        "servers": [{"agent": "candela", "url": format!("ws://{host}/test/echo")}],
        "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]});
    std::fs::write(work.path().join("spec.json"), spec.to_string()).unwrap();
    let said = run(Command::new(wstest)
        .current_dir(work.path())
        .args(["-m", "fuzzingclient", "-s", "spec.json"]));
    assert!(said.is_ok(), "{}", said.unwrap_err());
    let index = std::fs::read_to_string(work.path().join("reports/index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let cases = index["candela"].as_object().unwrap();
    let good = |case: &Value| {
        ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&case["behavior"].as_str().unwrap())
            && ["OK", "INFORMATIONAL"].contains(&case["behaviorClose"].as_str().unwrap())
    };
    let bad: Vec<_> = cases.iter().filter(|(_, case)| !good(case)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(cases.len(), 247);
    let strict = cases.values().filter(|case| case["behavior"] == "OK").count();
    println!("{strict} of 247 strictly, the others non-strictly or for information");
}

#[test]
fn requests_made_from_the_document_find_no_failure_and_no_answer_outside_it() {
    let bin = match python("schemathesis", "schemathesis", "schemathesis>=4.32,<5") {
        Ok(bin) => bin,
        Err(why) => return skip("schemathesis", &why),
    };
    let (demo, host) = demo();
    let examples = if std::env::var_os("CANDELA_TEST_LONG").is_some() {
        "300"
    } else {
        "10"
    };
    wait_until("a tick and a gap to ask for", || demo.stdout.find("\"filled\""));
    let work = tempfile::tempdir().unwrap();
    let said = run(Command::new(bin.join("st")).current_dir(work.path()).args([
        "run",
        &format!("http://{host}/openapi.json"),
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
         response_headers_conformance,negative_data_rejection,unsupported_method",
        "--max-examples",
        examples,
        "--seed",
        "7",
        "--no-color",
    ]));
    let said = said.unwrap_or_else(|why| panic!("{why}"));
    assert!(said.contains("generated"), "{said}");
}
