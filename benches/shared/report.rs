//! Tables of what was measured side by side: every contender once a round, in turns, because a machine that others use changes meanwhile.
//! A value is the median of its rounds with the least and the most; ratios are those within a round. The same as a plot: `plot.rs`.

use std::fmt::Write;

/// What one column of a section shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) more_is_better: bool,
}

/// A column whose small values are the good ones.
pub(crate) const fn less(name: &'static str) -> Column {
    Column {
        name,
        more_is_better: false,
    }
}

/// A column whose large values are the good ones.
pub(crate) const fn more(name: &'static str) -> Column {
    Column {
        name,
        more_is_better: true,
    }
}

/// What the rounds of one value gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            least: *sorted.first()?,
            median: sorted[sorted.len() / 2],
            most: *sorted.last()?,
        })
    }

    /// The median as it is shown.
    pub(crate) fn text(self) -> String {
        number(self.median)
    }
}

/// Three significant digits.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// One contender under one load: a value of each column for each round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) load: String,
    pub(crate) who: &'static str,
    rounds: Vec<Vec<f64>>,
}

impl Row {
    pub(crate) fn spread(&self, column: usize) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|values| values[column]))
    }
}

/// One table.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    notes: Vec<String>,
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, columns: &[Column]) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Measures every contender under one load, `rounds` times in turns. The first is what the others are compared with.
    pub(crate) fn compare(
        &mut self,
        load: &str,
        rounds: usize,
        contenders: &[&'static str],
        mut run: impl FnMut(&'static str) -> Vec<f64>,
    ) {
        let row = |who: &&'static str| Row {
            load: load.to_owned(),
            who,
            rounds: Vec::new(),
        };
        let mut rows: Vec<Row> = contenders.iter().map(row).collect();
        for _ in 0..rounds {
            for row in &mut rows {
                row.rounds.push(run(row.who));
            }
        }
        self.rows.append(&mut rows);
    }

    /// Adds a line below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints the table, and below it every column in which candela is behind.
    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        let mut head = format!("{:>22} {:>12}", "load", "who");
        for column in &self.columns {
            write!(head, " {:>32}", column.name).unwrap();
        }
        println!("{head}");
        for row in &self.rows {
            let mut line = format!("{:>22} {:>12}", row.load, row.who);
            for column in 0..self.columns.len() {
                write!(line, " {:>32}", self.cell(row, column)).unwrap();
            }
            println!("{line}");
        }
        self.losses()
            .iter()
            .chain(&self.notes)
            .for_each(|note| println!("  {note}"));
    }

    /// The median with its spread, and as a multiple of the first contender's.
    fn cell(&self, row: &Row, column: usize) -> String {
        let Some(spread) = row.spread(column) else {
            return "–".to_owned();
        };
        let mut text = format!("{} ({}–{})", spread.text(), number(spread.least), number(spread.most));
        let first = self.rows.iter().find(|first| first.load == row.load);
        if let Some(ratio) = first
            .filter(|first| first.who != row.who)
            .and_then(|first| ratio(row, first, column))
        {
            write!(text, " {:>5}×", number(ratio.median)).unwrap();
        }
        text
    }

    /// Where candela is behind another contender, and in how many rounds.
    fn losses(&self) -> Vec<String> {
        let mut losses = Vec::new();
        for own in self.rows.iter().filter(|row| is_candela(row.who)) {
            for other in self
                .rows
                .iter()
                .filter(|row| row.load == own.load && !is_candela(row.who))
            {
                for (i, column) in self.columns.iter().enumerate() {
                    let behind = |ratio: f64| {
                        if column.more_is_better {
                            ratio < 1.0
                        } else {
                            ratio > 1.0
                        }
                    };
                    let Some(ratio) = ratio(own, other, i).filter(|ratio| behind(ratio.median)) else {
                        continue;
                    };
                    let rounds = own.rounds.iter().zip(&other.rounds);
                    let lost = rounds.clone().filter(|(own, other)| behind(own[i] / other[i])).count();
                    losses.push(format!(
                        "{} behind {} in {}: {}, {} × in {lost} rounds of {}",
                        own.who,
                        other.who,
                        column.name,
                        own.load,
                        number(ratio.median),
                        rounds.count()
                    ));
                }
            }
        }
        losses
    }
}

/// Whether a contender is ours: the fan-out alone, the whole service, or one of its paths.
pub(crate) fn is_candela(who: &str) -> bool {
    who.starts_with("candela") || who == "whole"
}

fn ratio(row: &Row, first: &Row, column: usize) -> Option<Spread> {
    let rounds = row.rounds.iter().zip(&first.rounds);
    Spread::of(rounds.map(|(own, first)| own[column] / first[column]))
}
