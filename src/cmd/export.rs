//! `candela export`: writes the bars of a running service into files, one a session.
//!
//! A file gets its name when it is complete, so an interrupted run continues with the first session without a file. A file that was written
//! before the last bar of its session was stored is written again, and so is one that cannot be read to its end. A file's time of
//! modification is the service's time, which for a demo is not this machine's.

use crate::cmd::ask::{Service, ServiceError, TokenArg, read_url};
use crate::domain::model::moment::read_date;
use crate::domain::model::{Interval, Moment, Symbol, Timestamp};
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, SettingsArgs};
use anyhow::Context;
use chrono::{DateTime, Days, NaiveDate};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Write bars of a running service into files.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Where the service is; by default the address that the settings name.
    #[arg(long, value_name = "URL", value_parser = read_url)]
    url: Option<String>,
    /// The pair.
    #[arg(long, value_name = "PAIR")]
    symbol: Symbol,
    /// The interval of the bars.
    #[arg(long, default_value = "5m")]
    interval: Interval,
    /// The first day.
    #[arg(long, value_name = "DATE", value_parser = read_date)]
    from: NaiveDate,
    /// The last day, included; by default today.
    #[arg(long, value_name = "DATE", value_parser = read_date)]
    to: Option<NaiveDate>,
    /// Bars as they were known at this instant.
    #[arg(long, value_name = "WHEN")]
    as_of: Option<Moment>,
    /// What the files are.
    #[arg(long, value_enum, default_value = "parquet")]
    format: FileFormat,
    /// How the bars are divided: a file a session, or one file.
    #[arg(long, value_enum, default_value = "session")]
    partition: Partition,
    /// The folder, created if it does not exist.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// The kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values.
    Csv,
}

/// How bars are divided into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Partition {
    /// A file a session.
    Session,
    /// One file.
    None,
}

/// Why bars cannot be exported.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum ExportError {
    #[error("--to {to} is before --from {from}: give the earlier one first")]
    Backwards { from: NaiveDate, to: NaiveDate },
    #[error("{file} belongs to an export of {other}; give another folder")]
    OtherExport { file: PathBuf, other: String },
    #[error("another export writes to {folder} now; wait until it is over, or give another folder")]
    Busy { folder: PathBuf },
    #[error("{file} ends within a line")]
    CutShort { file: PathBuf },
}

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ExportedFile {
    file: String,
    /// The request for its bars.
    path: String,
    /// When its bars are final, in seconds UTC.
    over: i64,
}

impl ExportArgs {
    /// Requests each file from the running service.
    ///
    /// # Errors
    /// When the settings have problems, the service does not answer, or a file cannot be written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let service = Service::connect_to(self.url.as_deref(), &valid.server, &self.token)?;
        let system = actix_rt::System::new();
        let to = match self.to {
            Some(to) => to,
            None => system.block_on(self.market_today(&service))?,
        };
        if to < self.from {
            return Err(ExportError::Backwards { from: self.from, to }.into());
        }
        std::fs::create_dir_all(&self.output).with_context(|| format!("write {}", self.output.display()))?;
        let _claim = self.claim_folder()?;
        let (written, kept, empty) = system.block_on(async {
            let now = service_now(&service).await?;
            let parts = self.list_parts(&service, to).await?;
            let bar = progress_bar(parts.len(), self.symbol);
            let mut written = 0_usize;
            let mut kept = 0_usize;
            let mut empty = Vec::new();
            for part in &parts {
                let file = self.output.join(&part.file);
                if is_final(&file, part.over) && self.is_empty(&file).is_ok() {
                    kept = kept.saturating_add(1);
                } else {
                    save_file(&service, &part.path, &file, now).await?;
                    written = written.saturating_add(1);
                }
                if self.is_empty(&file)? {
                    empty.push(part.file.as_str());
                }
                bar.inc(1);
            }
            bar.finish_and_clear();
            let without = if parts.is_empty() { NO_SESSION } else { "" };
            anyhow::Ok((written, kept, emptiness(&empty) + without))
        })?;
        let folder = self.output.display();
        writeln!(
            std::io::stdout(),
            "{written} files written to {folder}, {kept} were there already{empty}"
        )?;
        Ok(Exit::Clean)
    }

    /// Records what the folder holds, or fails if it holds another export. While the file is open, no other process exports into the folder.
    fn claim_folder(&self) -> anyhow::Result<File> {
        let path = self.output.join(format!("{}.export.json", self.file_stem()));
        let opened = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let mut file = opened.with_context(|| writing(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let folder = self.output.clone();
                return Err(ExportError::Busy { folder }.into());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| writing(&path)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| writing(&path))?;
        let ours = self.description();
        if text.trim().is_empty() {
            // New, or its process was killed before it was written.
            writeln!(file, "{ours}")
                .and_then(|()| file.sync_all())
                .with_context(|| writing(&path))?;
            return Ok(file);
        }
        let mut theirs: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(theirs) = theirs.as_object_mut() {
            // Folders of earlier versions do not name it.
            theirs
                .entry("partition")
                .or_insert_with(|| ours.get("partition").cloned().unwrap_or_default());
        }
        if theirs == ours {
            return Ok(file);
        }
        let other = text.trim().to_owned();
        Err(ExportError::OtherExport { file: path, other }.into())
    }

    /// What the folder holds: files of another export would be read as a part of this one.
    fn description(&self) -> Value {
        let as_of = self.as_of.map(|as_of| as_of.to_string());
        let partition = match self.partition {
            Partition::Session => "session",
            Partition::None => "none",
        };
        json!({"symbol": self.symbol.as_str(), "interval": self.interval.name(), "format": self.extension(), "as_of": as_of,
            "partition": partition})
    }

    /// Whether an existing file holds no bar.
    ///
    /// # Errors
    /// When the file cannot be read to its end.
    fn is_empty(&self, file: &Path) -> anyhow::Result<bool> {
        let mut opened = File::open(file).with_context(|| reading(file))?;
        match self.format {
            FileFormat::Parquet => {
                let reader = SerializedFileReader::new(opened).with_context(|| reading(file))?;
                Ok(reader.metadata().file_metadata().num_rows() == 0)
            }
            FileFormat::Csv => {
                let mut last = [0];
                opened
                    .seek(SeekFrom::End(-1))
                    .and_then(|_| opened.read_exact(&mut last))
                    .with_context(|| reading(file))?;
                if last != *b"\n" {
                    let file = file.to_owned();
                    return Err(ExportError::CutShort { file }.into());
                }
                opened.rewind().with_context(|| reading(file))?;
                Ok(BufReader::new(opened).lines().nth(1).is_none())
            }
        }
    }

    /// Today's date in the market, with which the answer of its calendar begins.
    async fn market_today(&self, service: &Service) -> Result<NaiveDate, ServiceError> {
        let path = format!("/market/calendar?symbol={}", self.symbol.compact());
        let answer = service.get(&path).await?;
        let today = answer.pointer("/days/0/date").and_then(Value::as_str);
        let today = today.and_then(|date| date.parse().ok());
        today.ok_or_else(|| ServiceError::Strange {
            url: format!("{}{path}", service.url()),
            why: "its calendar has no day".to_owned(),
        })
    }

    fn file_stem(&self) -> String {
        format!("{}-{}", self.symbol.compact(), self.interval.name())
    }

    const fn extension(&self) -> &'static str {
        match self.format {
            FileFormat::Parquet => "parquet",
            FileFormat::Csv => "csv",
        }
    }

    /// The files, earliest session first.
    async fn list_parts(&self, service: &Service, to: NaiveDate) -> Result<Vec<ExportedFile>, ServiceError> {
        if self.partition == Partition::None {
            let name = format!("{}-{to}", self.from);
            let after = to + Days::new(1);
            return Ok(vec![self.part_file(
                &name,
                &self.from.to_string(),
                &after.to_string(),
                i64::MAX,
            )]);
        }
        let mut parts = Vec::new();
        let mut from = self.from;
        let year = Days::new(limits::REST_CALENDAR_DAYS.unsigned_abs());
        while from <= to {
            let last = to.min(from + year);
            let path = format!(
                "/market/calendar?symbol={}&from={from}&to={last}",
                self.symbol.compact()
            );
            let answer = service.get(&path).await?;
            let days = answer.get("days").and_then(Value::as_array);
            parts.extend(days.into_iter().flatten().filter_map(|day| self.session_file(day)));
            from = last + Days::new(1);
        }
        Ok(parts)
    }

    /// The file of a day of the calendar, if the day has a session.
    fn session_file(&self, day: &Value) -> Option<ExportedFile> {
        let date = day.get("date").and_then(Value::as_str)?;
        let opens = day.get("opens").and_then(Value::as_str)?;
        let closes = day.get("closes").and_then(Value::as_str)?;
        let closed = Timestamp::from_datetime(DateTime::parse_from_rfc3339(closes).ok()?);
        let over = (closed + limits::BAR_STORED).secs(); // the last bar is stored a moment after its close
        if self.interval.length().is_some() {
            return Some(self.part_file(date, opens, closes, over));
        }
        // Bars as long as the session may open before it, at midnight of its day.
        let after = date.parse::<NaiveDate>().ok()? + Days::new(1);
        Some(self.part_file(date, date, &after.to_string(), over))
    }

    fn part_file(&self, name: &str, from: &str, to: &str, over: i64) -> ExportedFile {
        let mut path = format!(
            "/market/bars?symbol={}&interval={}&format={}&from={}&to={}",
            self.symbol.compact(),
            self.interval.name(),
            self.extension(),
            escape_plus(from),
            escape_plus(to)
        );
        if let Some(as_of) = self.as_of {
            path.push_str(&format!("&as_of={}", escape_plus(&as_of.to_string())));
        }
        ExportedFile {
            file: format!("{}-{name}.{}", self.file_stem(), self.extension()),
            path,
            over,
        }
    }
}

const NO_SESSION: &str = "\nthe calendar has no session on these days";

/// What failed, for a message.
fn writing(path: &Path) -> String {
    format!("write {}", path.display())
}

fn reading(path: &Path) -> String {
    format!("read {}", path.display())
}

/// Escapes plus signs for a URL, where they mean a blank.
fn escape_plus(text: &str) -> String {
    text.replace('+', "%2B")
}

/// The message about files without bars, so that they are not taken for a closed market.
fn emptiness(files: &[&str]) -> String {
    let Some(first) = files.get(..files.len().min(limits::EXPORT_EMPTY_SHOWN)) else {
        return String::new();
    };
    let more = match files.len() - first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match files.len() {
        0 => String::new(),
        count => format!(
            "\n{count} of them have no bar, though the calendar has sessions there: {}{more}",
            first.join(", ")
        ),
    }
}

/// Whether the file exists and was written after its bars were final.
fn is_final(file: &Path, over: i64) -> bool {
    let written = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    let since = written.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default());
    since.is_ok_and(|since| i64::try_from(since.as_secs()).unwrap_or(0) >= over)
}

/// The service's time, in seconds UTC.
async fn service_now(service: &Service) -> Result<u64, ServiceError> {
    let status = service.get("/status").await?;
    let said = status.get("timestamp").and_then(Value::as_str);
    let now = said.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let now = now.and_then(|now| u64::try_from(now.timestamp()).ok());
    now.ok_or_else(|| ServiceError::Strange {
        url: format!("{}/status", service.url()),
        why: "its answer has no time".to_owned(),
    })
}

/// Writes an answer under a temporary name, and renames the file when it is complete.
async fn save_file(service: &Service, path: &str, file: &Path, now: u64) -> anyhow::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let what = || format!("write {}", beside.display());
    let mut out = BufWriter::new(File::create(&beside).with_context(what)?);
    service.download_to(path, &mut out).await?;
    let whole = out
        .into_inner()
        .map_err(|error| error.into_error())
        .with_context(what)?;
    whole
        .set_modified(UNIX_EPOCH + Duration::from_secs(now))
        .with_context(what)?;
    whole.sync_all().with_context(what)?;
    std::fs::rename(&beside, file).with_context(|| format!("write {}", file.display()))
}

fn progress_bar(files: usize, symbol: Symbol) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(files).unwrap_or(0));
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} files, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(symbol.to_string());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        export: ExportArgs,
    }

    fn args(folder: &Path, more: &[&str]) -> ExportArgs {
        let folder = folder.display().to_string();
        let line = ["x", "--symbol", "usdcop", "--from", "2026-01-02", "-o", &folder];
        Line::try_parse_from([&line[..], more].concat()).unwrap().export
    }

    #[test]
    fn a_session_becomes_a_file_and_a_day_without_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let day =
            json!({"date": "2026-01-02", "opens": "2026-01-02T08:00:00-05:00", "closes": "2026-01-02T12:55:00-05:00"});
        let part = args(folder.path(), &[]).session_file(&day).unwrap();
        assert_eq!(part.file, "USDCOP-5m-2026-01-02.parquet");
        assert_eq!(part.over, 1_767_376_530, "the last bar is stored by then");
        assert!(
            part.path
                .ends_with("&from=2026-01-02T08:00:00-05:00&to=2026-01-02T12:55:00-05:00"),
            "{part:?}"
        );
        let days = args(folder.path(), &["--interval", "1d", "--format", "csv"])
            .session_file(&day)
            .unwrap();
        assert!(
            days.path.ends_with("&format=csv&from=2026-01-02&to=2026-01-03"),
            "{days:?}"
        );
        assert_eq!(
            args(folder.path(), &[]).session_file(&json!({"date": "2026-01-03", "opens": null, "closes": null})),
            None
        );
    }

    #[test]
    fn a_folder_goes_on_with_its_own_export_only() {
        let folder = tempfile::tempdir().unwrap();
        drop(args(folder.path(), &[]).claim_folder().unwrap());
        drop(args(folder.path(), &[]).claim_folder().unwrap());
        drop(args(folder.path(), &["--interval", "1d"]).claim_folder().unwrap());
        let refused = args(folder.path(), &["--as-of", "2026-01-05"])
            .claim_folder()
            .unwrap_err()
            .to_string();
        assert!(refused.contains("another folder"), "{refused}");
    }

    #[test]
    fn files_without_bars_are_named() {
        assert_eq!(emptiness(&[]), "");
        assert_eq!(
            emptiness(&["a", "b"]),
            "\n2 of them have no bar, though the calendar has sessions there: a, b"
        );
        let many = vec!["x"; limits::EXPORT_EMPTY_SHOWN + 7];
        assert!(emptiness(&many).ends_with("x, x and 7 more"), "{}", emptiness(&many));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bars.csv");
        for (text, is_empty) in [("open_time,open\n", true), ("open_time,open\n2026,1\n", false)] {
            std::fs::write(&file, text).unwrap();
            let args = args(folder.path(), &["--format", "csv"]);
            assert_eq!(args.is_empty(&file).unwrap(), is_empty, "{text}");
        }
    }

    #[test]
    fn a_file_is_final_when_it_was_written_after_its_session() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(is_final(file.path(), 0) && !is_final(file.path(), i64::MAX));
        assert!(!is_final(Path::new("nowhere"), 0));
    }

    #[test]
    fn a_file_that_is_cut_short_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bars");
        for (format, texts) in [("csv", ["", "open_time,op"]), ("parquet", ["", "PAR1 and no footer"])] {
            for text in texts {
                std::fs::write(&file, text).unwrap();
                let args = args(folder.path(), &["--format", format]);
                assert!(args.is_empty(&file).is_err(), "{format}: {text:?}");
            }
        }
    }

    #[test]
    fn a_folder_is_claimed_after_a_kill_and_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("USDCOP-5m.export.json");
        std::fs::write(&file, "").unwrap();
        let claim = args(folder.path(), &[]).claim_folder().unwrap();
        let refused = args(folder.path(), &[]).claim_folder().unwrap_err().to_string();
        assert!(refused.contains("another export writes to"), "{refused}");
        drop(claim);
        let refused = args(folder.path(), &["--partition", "none"])
            .claim_folder()
            .unwrap_err();
        assert!(refused.to_string().contains("another folder"), "{refused}");
        std::fs::write(
            &file,
            r#"{"as_of":null,"format":"parquet","interval":"5m","symbol":"USD/COP"}"#,
        )
        .unwrap();
        drop(args(folder.path(), &[]).claim_folder().unwrap());
        std::fs::write(&file, "{").unwrap();
        assert!(
            args(folder.path(), &[]).claim_folder().is_err(),
            "it may be another program's"
        );
    }
}
