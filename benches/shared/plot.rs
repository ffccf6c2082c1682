//! The plot of a report: an SVG with one bar for each value, its spread as a line over the bar's end.

use super::report::{Column, Row, Section, is_candela, number};
use std::fmt::Write;
use std::path::PathBuf;

const WIDTH: f64 = 960.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 190.0;
const LONGEST: f64 = 600.0;
const LINE: f64 = 18.0;

/// Writes `target/bench/NAME.svg`; where it is.
pub(crate) fn write(name: &str, sections: &[Section]) -> PathBuf {
    let mut body = String::new();
    let mut y = 10.0;
    for section in sections {
        y += 2.0 * LINE;
        text(&mut body, 10.0, y, "bold", &section.title);
        for (i, column) in section.columns.iter().enumerate() {
            y = panel(&mut body, y, i, *column, &section.rows);
        }
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n",
        y + 2.0 * LINE
    );
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.svg"));
    std::fs::write(&file, svg).unwrap();
    file
}

/// One column: a bar for each row; returns where the next panel begins.
fn panel(body: &mut String, top: f64, i: usize, column: Column, rows: &[Row]) -> f64 {
    let most = rows.iter().filter_map(|row| row.spread(i)).map(|spread| spread.most);
    let scale = LONGEST / most.fold(f64::MIN_POSITIVE, f64::max);
    let better = if column.more_is_better {
        "more is better"
    } else {
        "less is better"
    };
    let mut y = top + 1.5 * LINE;
    text(body, LEFT, y, "normal", &format!("{} ({better})", column.name));
    let mut load = "";
    for row in rows {
        let Some(spread) = row.spread(i) else { continue };
        if row.load != load {
            load = &row.load;
            y += LINE;
            text(body, 20.0, y, "normal", load);
        }
        y += LINE;
        text(body, 40.0, y, "normal", row.who);
        let colour = if is_candela(row.who) { "#c2571a" } else { "#9aa5b1" };
        let (bar, from, to) = (spread.median * scale, spread.least * scale, spread.most * scale);
        let middle = y - 4.0;
        writeln!(
            body,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"11\" fill=\"{colour}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"black\"/>",
            y - 10.0,
            LEFT + from,
            LEFT + to
        )
        .unwrap();
        let shown = format!("{} ({}–{})", spread.text(), number(spread.least), number(spread.most));
        text(body, LEFT + to + 8.0, y, "normal", &shown);
    }
    y
}

fn text(body: &mut String, x: f64, y: f64, weight: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-weight=\"{weight}\">{text}</text>"
    )
    .unwrap();
}
