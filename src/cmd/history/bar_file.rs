//! A file of bars that a command makes: CSV, or Parquet as the REST interface writes it.

use crate::domain::model::{Bar, Interval, Symbol};
use crate::domain::protocol::Zones;
use crate::store::StoredBar;
use crate::web::rest::{csv, parquet};
use anyhow::Context;
use chrono_tz::Tz;
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// The kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BarFormat {
    /// Comma-separated values.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// Where bars go, and as what.
#[derive(Debug, Clone, Args)]
pub(super) struct BarFileArgs {
    /// The pair; by default the first that the settings name.
    #[arg(long, value_name = "PAIR")]
    pub(super) symbol: Option<Symbol>,
    /// The interval of the bars.
    #[arg(long, default_value = "5m")]
    pub(super) interval: Interval,
    /// What is written.
    #[arg(long, value_enum, default_value = "csv")]
    format: BarFormat,
    /// The file; by default standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

/// A file that is being written.
pub(super) struct BarFile {
    out: Box<dyn Write>,
    /// Its name; standard output has none.
    name: Option<String>,
    format: BarFormat,
    interval: Interval,
    market: (Symbol, Tz),
    bars: Vec<StoredBar>,
}

impl BarFileArgs {
    /// Begins the file: bars of one pair, with the zone of its market.
    pub(super) fn begin(&self, market: (Symbol, Tz)) -> anyhow::Result<BarFile> {
        let name = self.output.as_ref().map(|path| path.display().to_string());
        let out: Box<dyn Write> = match &self.output {
            None => Box::new(std::io::stdout().lock()),
            Some(path) => Box::new(File::create(path).with_context(|| format!("write {}", path.display()))?),
        };
        Ok(BarFile {
            out: Box::new(BufWriter::new(out)),
            name,
            format: self.format,
            interval: self.interval,
            market,
            bars: Vec::new(),
        })
    }
}

impl BarFile {
    /// Adds a bar. Bars of one session follow each other.
    pub(super) fn push(&mut self, bar: Bar) {
        self.bars.push(StoredBar {
            bar,
            source: "candela".to_owned(),
            seq: None,
            known_at: None,
        });
    }

    /// Writes all of it. Returns how many bars there are.
    pub(super) fn finish(mut self) -> anyhow::Result<usize> {
        let count = self.bars.len();
        let written = self.write();
        match &self.name {
            Some(name) => written.with_context(|| format!("write {name}"))?,
            None => written?, // whoever reads it may have gone, which is no failure
        }
        Ok(count)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let (symbol, zone) = self.market;
        match self.format {
            BarFormat::Csv => {
                let zones = Zones::new(vec![(symbol, zone)]);
                self.out.write_all(csv::page(&zones, &self.bars).as_bytes())?;
            }
            BarFormat::Parquet => {
                let mut file = parquet::bars(self.interval, zone, parquet::Prices::Decimal)?;
                self.out.write_all(&file.push(self.bars.drain(..))?)?;
                self.out
                    .write_all(&file.finish(vec![("timezone", zone.name().to_owned())])?)?;
            }
        }
        Ok(self.out.flush()?)
    }
}
