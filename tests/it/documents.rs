//! The tables in the documents are those of the code.

use candela::domain::protocol::Close;
use candela::domain::status::{ConditionKind, UnsafeReason};
use std::path::Path;

/// The rows of a document's tables that begin so that `first` accepts their first cell.
fn rows(document: &str, first: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter(|cells| first(&cells[0]))
        .collect()
}

#[test]
fn closes_advise_what_the_protocol_advises() {
    for &close in Close::ALL {
        let row = rows("docs/api.md", |cell| cell == close.code().to_string());
        assert!(
            row.iter()
                .any(|row| row.last().is_some_and(|cell| cell == close.advice())),
            "{close:?}: {row:?}"
        );
    }
}

#[test]
fn conditions_are_explained_to_operators() {
    for &kind in ConditionKind::ALL {
        let row = rows("docs/operations.md", |cell| cell == kind.name());
        assert_eq!(row.len(), 1, "{} has {} rows", kind.name(), row.len());
        assert_eq!(row[0][2], kind.clears_when(), "{}", kind.name());
    }
}

#[test]
fn reasons_against_trading_are_explained_to_operators_and_to_clients() {
    for &reason in UnsafeReason::ALL {
        for document in ["docs/operations.md", "docs/api.md"] {
            let row = rows(document, |cell| cell == format!("`{}`", reason.name()));
            assert_eq!(row.len(), 1, "{} has {} rows in {document}", reason.name(), row.len());
            assert_eq!(row[0][2], reason.clears_when(), "{} in {document}", reason.name());
        }
    }
}
