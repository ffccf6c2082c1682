//! The ready flag: the file by which the upstream history pipeline ("L0") reports that it has finished.
//!
//! The caller reads the file and passes what it [`Found`]; this module decides whether that is a valid flag for the *gate window*, the time
//! from the close of the last session to now.

use crate::domain::model::Timestamp;
use crate::limits;
use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A valid ready flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// When L0 was ready: the time in the file, else the file's modification time.
    pub at: Timestamp,
    /// The other members of the file.
    pub manifest: Manifest,
}

/// What the flag says about the run that wrote it. All members are optional: an empty file is a flag.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The identifier of the run.
    pub run_id: Option<String>,
    /// The last trading date that it loaded, or the coming one.
    pub trading_date: Option<NaiveDate>,
    /// The number of rows of the history.
    pub rows: Option<u64>,
    /// A checksum of the rows; shown, not verified.
    pub checksum: Option<String>,
}

/// What was found at the flag's path, with symbolic links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file.
    File {
        /// Its content, up to one byte more than the allowed size.
        bytes: Vec<u8>,
        /// When it was last written.
        modified: Timestamp,
    },
    /// A folder.
    Folder,
    /// A pipe, socket or device.
    Special,
    /// A symbolic link to nothing, or in a cycle.
    DanglingLink,
    /// Permission denied.
    Denied,
    /// Any other failure, in the system's words.
    Failed(String),
}

/// Why there is no valid flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum FlagTrouble {
    #[error("there is no ready flag")]
    Missing,
    /// Written before the last session closed: it belongs to an earlier day.
    #[error("the ready flag is of {at}, before the last session closed at {since}: it is left from an earlier run")]
    Stale { at: Timestamp, since: Timestamp },
    #[error(
        "the ready flag is of {at}, which is in the future: the clock of this machine or of the flag's writer is wrong"
    )]
    FromTheFuture { at: Timestamp },
    /// Empty and just created: its writer may be about to fill it.
    #[error("the ready flag is empty and was written a moment ago; it counts when it stays so until {until}")]
    Settling { until: Timestamp },
    #[error("the ready flag is half-written: its JSON ends too early")]
    HalfWritten,
    #[error("the ready flag is neither empty nor a JSON object with the member ready: {0}")]
    Malformed(String),
    #[error("the ready flag says ready = false")]
    NotReady,
    #[error("the ready flag is for trading date {date}; it must be from {first} to {last}")]
    OtherDay {
        date: NaiveDate,
        first: NaiveDate,
        last: NaiveDate,
    },
    #[error("the ready flag is larger than {} bytes", limits::FLAG_BYTES)]
    TooLarge,
    #[error("a folder is in the place of the ready flag: remove it")]
    IsFolder,
    /// A pipe, socket or device is in its place.
    #[error("the ready flag is not a regular file: remove it")]
    NotAFile,
    #[error("the ready flag is a symbolic link that leads to no file")]
    DanglingLink,
    #[error("the ready flag may not be read: give the service's user permission to read it and to enter its folder")]
    Denied,
    #[error("the ready flag cannot be read: {0}")]
    Unreadable(String),
}

impl FlagTrouble {
    /// Its name in conditions, logs and `/status`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Missing => "flag_missing",
            Self::Stale { .. } => "flag_stale",
            Self::FromTheFuture { .. } => "flag_from_the_future",
            Self::Settling { .. } => "flag_settling",
            Self::HalfWritten => "flag_half_written",
            Self::Malformed(_) => "flag_malformed",
            Self::NotReady => "flag_not_ready",
            Self::OtherDay { .. } => "flag_of_another_day",
            Self::TooLarge => "flag_too_large",
            Self::IsFolder => "flag_is_a_folder",
            Self::NotAFile => "flag_is_not_a_file",
            Self::DanglingLink => "flag_is_a_dangling_link",
            Self::Denied => "flag_denied",
            Self::Unreadable(_) => "flag_unreadable",
        }
    }

    /// Whether the flag was valid once and has only become too old.
    pub const fn only_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// When to look again without a change of the file; `None` to wait for the next change or poll.
    pub fn look_again_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Settling { until } => Some(*until),
            Self::HalfWritten => Some(now + limits::FLAG_SETTLES),
            _ => None,
        }
    }
}

/// The time in which a flag counts for the coming session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateWindow {
    /// When the last session closed; `None` when there was none.
    pub since: Option<Timestamp>,
    /// The dates of the last and the coming (or present) session.
    pub dates: Option<(NaiveDate, NaiveDate)>,
}

/// The members of a JSON flag. Unknown members are ignored.
#[derive(Deserialize)]
struct FlagText {
    ready: Option<bool>,
    timestamp: Option<String>,
    #[serde(flatten)]
    manifest: Manifest,
}

/// Judges what was found at the flag's path.
pub fn judge(found: &Found, window: GateWindow, now: Timestamp) -> Result<Flag, FlagTrouble> {
    let (bytes, modified) = match found {
        Found::File { bytes, modified } => (bytes, *modified),
        Found::Nothing => return Err(FlagTrouble::Missing),
        Found::Folder => return Err(FlagTrouble::IsFolder),
        Found::Special => return Err(FlagTrouble::NotAFile),
        Found::DanglingLink => return Err(FlagTrouble::DanglingLink),
        Found::Denied => return Err(FlagTrouble::Denied),
        Found::Failed(why) => return Err(FlagTrouble::Unreadable(why.clone())),
    };
    let flag = if bytes.trim_ascii().is_empty() {
        let until = modified + limits::FLAG_SETTLES;
        if now < until && modified <= now {
            return Err(FlagTrouble::Settling { until });
        }
        Flag {
            at: modified,
            manifest: Manifest::default(),
        }
    } else {
        parse_flag(bytes, modified)?
    };
    in_window(flag, window, now)
}

fn parse_flag(bytes: &[u8], modified: Timestamp) -> Result<Flag, FlagTrouble> {
    if bytes.len() > limits::FLAG_BYTES {
        return Err(FlagTrouble::TooLarge);
    }
    let said: FlagText = serde_json::from_slice(bytes).map_err(|error| match error.is_eof() {
        true => FlagTrouble::HalfWritten,
        false => FlagTrouble::Malformed(error.to_string()),
    })?;
    match said.ready {
        Some(true) => {}
        Some(false) => return Err(FlagTrouble::NotReady),
        None => return Err(FlagTrouble::Malformed("it has no member ready".to_owned())),
    }
    let at = match said.timestamp {
        None => modified,
        Some(text) => DateTime::parse_from_rfc3339(&text)
            .map(Timestamp::from_datetime)
            .map_err(|_| {
                let shown: String = text.chars().take(40).collect();
                FlagTrouble::Malformed(format!(
                    "timestamp {shown:?} is not RFC 3339 with an offset, such as 2026-01-15T07:45:00-05:00"
                ))
            })?,
    };
    Ok(Flag {
        at,
        manifest: said.manifest,
    })
}

fn in_window(flag: Flag, window: GateWindow, now: Timestamp) -> Result<Flag, FlagTrouble> {
    if flag.at > now + limits::FLAG_SKEW {
        return Err(FlagTrouble::FromTheFuture { at: flag.at });
    }
    if let Some(since) = window.since.filter(|since| flag.at < *since) {
        return Err(FlagTrouble::Stale { at: flag.at, since });
    }
    if let (Some(date), Some((first, last))) = (flag.manifest.trading_date, window.dates)
        && !(first..=last).contains(&date)
    {
        return Err(FlagTrouble::OtherDay { date, first, last });
    }
    Ok(flag)
}

/// What the watcher last found, as it reports it to Root.
pub type Sighting = Result<Flag, FlagTrouble>;

/// How long to wait for L0, and what to do then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Setting `STARTUP_TIMEOUT_MINUTES`.
    pub wait_max: Duration,
    /// Setting `l0.on_timeout`; also applies to history that fails its check.
    pub on_timeout: OnTimeout,
}

/// What to do when L0 does not finish, or its history fails the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// Go on, and report the history as unverified.
    #[default]
    Degrade,
    /// Stay in `error` until L0 finishes.
    Error,
}

impl Default for WaitPolicy {
    fn default() -> Self {
        Self {
            wait_max: limits::L0_WAIT,
            on_timeout: OnTimeout::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_datetime(DateTime::parse_from_rfc3339(text).unwrap())
    }

    /// Half an hour before the open of Friday 16 January 2026; the last session closed the day before.
    const NOW: &str = "2026-01-16T07:30:00-05:00";

    fn window() -> GateWindow {
        let date = |text: &str| text.parse().unwrap();
        GateWindow {
            since: Some(at("2026-01-15T12:55:00-05:00")),
            dates: Some((date("2026-01-15"), date("2026-01-16"))),
        }
    }

    fn file(content: &str, modified: &str) -> Found {
        Found::File {
            bytes: content.as_bytes().to_vec(),
            modified: at(modified),
        }
    }

    fn check(found: &Found, expect: Result<&str, &str>) {
        let judged = judge(found, window(), at(NOW));
        let said = judged.as_ref().map(|flag| flag.at).map_err(FlagTrouble::name);
        assert_eq!(said, expect.map(at), "{found:?}: {judged:?}");
    }

    #[test]
    fn an_empty_file_counts_by_its_own_time_once_it_has_settled() {
        check(&file("", "2026-01-16T07:25:00-05:00"), Ok("2026-01-16T07:25:00-05:00"));
        check(
            &file(" \n", "2026-01-16T07:25:00-05:00"),
            Ok("2026-01-16T07:25:00-05:00"),
        );
        check(&file("", "2026-01-16T07:29:59-05:00"), Err("flag_settling"));
    }

    #[test]
    fn json_counts_by_the_time_it_names() {
        let legacy = r#"{"ready": true, "timestamp": "2026-01-16T07:10:00-05:00"}"#;
        check(
            &file(legacy, "2026-01-16T07:20:00-05:00"),
            Ok("2026-01-16T07:10:00-05:00"),
        );
        check(
            &file(r#"{"ready":true}"#, "2026-01-16T07:20:00-05:00"),
            Ok("2026-01-16T07:20:00-05:00"),
        );
    }

    #[test]
    fn a_manifest_is_kept_and_its_day_checked() {
        let manifest = r#"{"ready":true,"timestamp":"2026-01-16T12:10:00Z","run_id":"r7","trading_date":"2026-01-15","rows":91157,"checksum":"ab","more":1}"#;
        let flag = judge(&file(manifest, NOW), window(), at(NOW)).unwrap();
        assert_eq!(
            (flag.manifest.run_id.as_deref(), flag.manifest.rows),
            (Some("r7"), Some(91_157))
        );
        check(
            &file(&manifest.replace("01-15", "01-14"), NOW),
            Err("flag_of_another_day"),
        );
    }

    #[test]
    fn a_flag_left_from_yesterday_is_stale_even_when_the_file_was_touched() {
        let yesterday = r#"{"ready":true,"timestamp":"2026-01-15T07:10:00-05:00"}"#;
        check(&file(yesterday, NOW), Err("flag_stale"));
        check(&file("", "2026-01-15T07:10:00-05:00"), Err("flag_stale"));
        check(&file("", "2026-01-16T08:30:00-05:00"), Err("flag_from_the_future"));
    }

    #[test]
    fn what_is_no_flag_has_a_named_reason() {
        for (content, reason) in [
            (r#"{"ready": true, "timest"#, "flag_half_written"),
            (r#"{"ready": true, "timestamp": "2026-01-16 07:10"}"#, "flag_malformed"),
            (r#"{"ready": "yes"}"#, "flag_malformed"),
            (r#"{"timestamp": "2026-01-16T07:10:00-05:00"}"#, "flag_malformed"),
            ("ready", "flag_malformed"),
            ("\u{0}", "flag_malformed"),
            (r#"{"ready": false}"#, "flag_not_ready"),
            (&"{".repeat(limits::FLAG_BYTES + 1), "flag_too_large"),
        ] {
            check(&file(content, NOW), Err(reason));
        }
        for (found, reason) in [
            (Found::Nothing, "flag_missing"),
            (Found::Folder, "flag_is_a_folder"),
            (Found::Special, "flag_is_not_a_file"),
            (Found::DanglingLink, "flag_is_a_dangling_link"),
            (Found::Denied, "flag_denied"),
            (Found::Failed("i/o error".to_owned()), "flag_unreadable"),
        ] {
            check(&found, Err(reason));
        }
    }

    #[test]
    fn a_flag_that_may_yet_be_written_is_looked_at_again_soon() {
        let now = at(NOW);
        assert_eq!(
            FlagTrouble::HalfWritten.look_again_at(now),
            Some(now + limits::FLAG_SETTLES)
        );
        assert_eq!(FlagTrouble::Settling { until: now }.look_again_at(now), Some(now));
        assert_eq!(FlagTrouble::Missing.look_again_at(now), None);
    }
}
