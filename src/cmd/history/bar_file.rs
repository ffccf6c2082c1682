//! A file of bars that a command writes: CSV, or Parquet as the REST interface writes it.

use crate::cmd::ask::read_output_path;
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

/// The output for bars, and its format.
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
    #[arg(short, long, value_name = "FILE", value_parser = read_output_path)]
    pub(super) output: Option<PathBuf>,
}

/// A file to write.
pub(super) struct BarFile<'a> {
    args: &'a BarFileArgs,
    market: (Symbol, Tz),
    bars: Vec<StoredBar>,
}

impl BarFileArgs {
    /// Bars of one pair, with the zone of its market. The file is created when all of them are computed: an earlier error leaves an
    /// existing file unchanged.
    pub(super) const fn begin(&self, market: (Symbol, Tz)) -> BarFile<'_> {
        BarFile {
            args: self,
            market,
            bars: Vec::new(),
        }
    }

    /// The output for the bars.
    fn open(&self) -> anyhow::Result<Box<dyn Write>> {
        Ok(match &self.output {
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
            Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        })
    }
}

impl BarFile<'_> {
    /// Adds a bar. Bars of one session must be added together.
    pub(super) fn push(&mut self, bar: Bar) {
        self.bars.push(StoredBar {
            bar,
            source: "candela".to_owned(),
            seq: None,
            known_at: None,
        });
    }

    /// Writes the file. Returns how many bars it holds.
    pub(super) fn finish(mut self) -> anyhow::Result<usize> {
        let count = self.bars.len();
        let written = self.write();
        match &self.args.output {
            Some(path) => written.with_context(|| format!("write {}", path.display()))?,
            None => written?, // whoever reads it may have gone, which is no failure
        }
        Ok(count)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let (symbol, zone) = self.market;
        let mut out = self.args.open()?;
        match self.args.format {
            BarFormat::Csv => {
                let zones = Zones::new(vec![(symbol, zone)]);
                out.write_all(csv::page(&zones, &self.bars).as_bytes())?;
            }
            BarFormat::Parquet => {
                let mut file = parquet::BarFileWriter::new(symbol, self.args.interval, parquet::Prices::Decimal)?;
                out.write_all(&file.push(&self.bars.drain(..).collect())?)?;
                let said = vec![("symbol", symbol.to_string()), ("zone", zone.name().to_owned())];
                out.write_all(&file.finish(said)?)?;
            }
        }
        Ok(out.flush()?)
    }
}
