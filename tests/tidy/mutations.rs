//! The mistakes that `scripts/mutations` plants: each finds the text that it replaces.

use super::{none, read};

/// File and text of each row, as Perl reads it.
fn rows(script: &str) -> Vec<(String, String)> {
    let rows = script.lines().skip_while(|line| *line != "mistakes=(");
    let rows = rows.skip(1).take_while(|line| *line != ")");
    let rows = rows.map(|row| row.trim().trim_matches(['\'', '"']));
    let cells = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        match cells.as_slice() {
            [_, file, old, _] => ((*file).to_owned(), old.replace("&#124;", "|").replace("\\n", "\n")),
            _ => panic!("a row has name, file, old text and new text: {row}"),
        }
    });
    cells.collect()
}

#[test]
fn each_planted_mistake_finds_its_text_exactly_once() {
    let rows = rows(&read("scripts/mutations").unwrap_or_default());
    assert!(
        rows.len() > 20,
        "the rows of scripts/mutations are not read: {}",
        rows.len()
    );
    let odd = rows.iter().filter_map(|(file, old)| {
        let count = read(file).unwrap_or_default().matches(old.as_str()).count();
        (count != 1).then(|| format!("{file}: stands {count} times, mend the row of scripts/mutations: {old}"))
    });
    none(odd.collect());
}
