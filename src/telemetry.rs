//! Logs: for people on a terminal, as JSON for machines. Always on standard error; standard output is for results. A thread that logs never
//! waits for the log's reader: [`crate::log_queue`] stands between them.
//!
//! Levels: see docs/logging.md.

use crate::clock::Clock;
use crate::log_queue::{self, LogLine};
use crate::settings::{Format, Log};
use chrono::SecondsFormat;
use chrono_tz::Tz;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Crates that log their own workings at INFO: shown from WARN on, unless the directives name them. One of them logs everything from a
/// client that is no HTTP as an ERROR: no operator must act on that, and strangers could fill a disk with it.
const CHATTY: &str =
    "actix_server=warn,actix_http=warn,actix_http::h1::dispatcher=off,mio=warn,rustls=warn,tokio_postgres=warn";

/// Changes what is logged from now on.
type SetLevel = Box<dyn Fn(&Log) -> Result<(), String> + Send + Sync>;

/// The function that changes the level of the process's log.
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Sends the logs of the whole process to standard error, panics included. A second call changes nothing.
///
/// # Errors
/// When the system gives no thread to write from.
pub fn start(log: &Log, zone: Tz, clock: Clock) -> std::io::Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let report = {
        let log = log.clone();
        let clock = clock.clone();
        move |lost| loss_line(lost, &log, zone, clock.clone(), terminal)
    };
    let queue = log_queue::start(report)?;
    let (subscriber, set_level) = subscriber(log, zone, clock, terminal, move || LogLine(queue.clone()));
    if tracing::dispatcher::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(log_panic));
        SET_LEVEL.get_or_init(|| set_level);
    }
    Ok(())
}

/// Changes what is logged from now on; the format stays that of the start.
///
/// # Errors
/// Why the log stays unchanged.
pub fn set_level(log: &Log) -> Result<(), String> {
    let set_level = SET_LEVEL.get().ok_or("nothing is logged")?;
    set_level(log)
}

/// Prints a sentence for the person who started the command on standard error, after what was logged before.
pub fn tell(sentence: &str) {
    match log_queue::process() {
        Some(queue) => queue.push(format!("{sentence}\n").into_bytes()),
        None => drop(writeln!(std::io::stderr().lock(), "{sentence}")), // nobody may read it
    }
}

/// The line that reports how many lines were lost, whatever levels are logged.
fn loss_line(lost: u64, log: &Log, zone: Tz, clock: Clock, terminal: bool) -> Vec<u8> {
    let line = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&line);
    let directives = "warn".to_owned();
    let format = log.format;
    let log = Log { directives, format };
    let (subscriber, _) = subscriber(&log, zone, clock, terminal, move || Page(Arc::clone(&sink)));
    tracing::dispatcher::with_default(&subscriber, || {
        tracing::warn!(
            lost,
            "log lines were lost: the log reader was too slow, not connected, or out of space"
        );
    });
    std::mem::take(&mut *line.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Collects what is written to it.
#[derive(Debug)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn filter(log: &Log) -> EnvFilter {
    EnvFilter::new(format!("{CHATTY},{}", log.directives))
}

/// The subscriber that [`start`] installs, with `writer` as its output, and the function that changes its level.
fn subscriber<W>(log: &Log, zone: Tz, clock: Clock, terminal: bool, writer: W) -> (Dispatch, SetLevel)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let json = match log.format {
        Format::Json => true,
        Format::Text => false,
        Format::Auto => !terminal,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(log))
        .with_timer(MarketTime { clock, zone })
        .log_internal_errors(false) // it would print, and a print that fails panics
        .with_writer(writer);
    if json {
        let lines = lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_filter_reloading();
        let handle = lines.reload_handle();
        (
            Dispatch::new(lines.finish()),
            Box::new(move |log: &Log| handle.reload(filter(log)).map_err(|error| error.to_string())),
        )
    } else {
        let lines = lines.with_ansi(terminal).with_filter_reloading();
        let handle = lines.reload_handle();
        (
            Dispatch::new(lines.finish()),
            Box::new(move |log: &Log| handle.reload(filter(log)).map_err(|error| error.to_string())),
        )
    }
}

/// Market time in the market's zone, with its offset.
#[derive(Debug, Clone)]
struct MarketTime {
    clock: Clock,
    zone: Tz,
}

impl FormatTime for MarketTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let now = self.clock.now().datetime().with_timezone(&self.zone);
        out.write_str(&now.to_rfc3339_opts(SecondsFormat::Millis, false))
    }
}

/// A panic is a bug: logs its place and thread. The span around it, which the log line carries, names the actor.
fn log_panic(info: &PanicHookInfo<'_>) {
    let text = info.payload().downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| info.payload().downcast_ref::<String>().cloned());
    let location = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| ours(&backtrace.to_string()));
    tracing::error!(
        panic.message = message.as_deref().unwrap_or("(no text)"),
        panic.location = location.as_deref().unwrap_or("(unknown)"),
        panic.thread = std::thread::current().name().unwrap_or("(unnamed)"),
        panic.backtrace = backtrace,
        "a panic: this is a bug"
    );
}

/// The lines of a backtrace in candela's own files, the innermost first: the runtime below is the same every time.
fn ours(backtrace: &str) -> String {
    let places = backtrace.lines().filter_map(|line| line.trim().strip_prefix("at ./"));
    places.collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Timestamp;

    /// The log of `work` under these settings, at 2026-01-02 13:40:04.250 UTC.
    fn logged(directives: &str, format: Format, work: impl FnOnce()) -> String {
        let page = Arc::<Mutex<Vec<u8>>>::default();
        let log = Log {
            directives: directives.to_owned(),
            format,
        };
        let clock = Clock::manual(Timestamp::from_micros(1_767_361_204_250_000));
        let sink = Arc::clone(&page);
        let (subscriber, _) = subscriber(&log, Tz::America__Bogota, clock, false, move || Page(Arc::clone(&sink)));
        tracing::dispatcher::with_default(&subscriber, work);
        let bytes = page.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn people_read_times_of_the_market_with_their_offset() {
        let line = logged("info", Format::Text, || tracing::info!(bars = 59, "session closed"));
        assert_eq!(
            line,
            "2026-01-02T08:40:04.250-05:00  INFO candela::telemetry::tests: session closed bars=59\n"
        );
    }

    #[test]
    fn machines_read_one_object_a_line_with_the_actor_it_is_about() {
        let line = logged("info", Format::Auto, || {
            tracing::error_span!("actor", actor = "feed").in_scope(|| tracing::warn!("link lost"));
        });
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["timestamp"], "2026-01-02T08:40:04.250-05:00");
        assert_eq!(
            (&object["level"], &object["message"]),
            (&"WARN".into(), &"link lost".into())
        );
        assert_eq!(object["span"]["actor"], "feed");
    }

    #[test]
    fn lost_lines_are_reported_in_the_log_s_own_format_also_where_only_errors_are_logged() {
        let log = Log {
            directives: "off".to_owned(),
            format: Format::Json,
        };
        let clock = Clock::manual(Timestamp::from_micros(1_767_361_204_250_000));
        let line = String::from_utf8(loss_line(7, &log, Tz::America__Bogota, clock, false)).unwrap();
        let object: serde_json::Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!((&object["level"], &object["lost"]), (&"WARN".into(), &7.into()));
        assert!(object["message"].as_str().unwrap().starts_with("log lines were lost"));
    }

    #[test]
    fn what_strangers_send_is_no_error_of_ours() {
        let garbage = || tracing::error!(target: "actix_http::h1::dispatcher", "stream error: request parse error");
        assert_eq!(logged("info", Format::Text, garbage), "");
        assert_ne!(
            logged("info,actix_http::h1::dispatcher=error", Format::Text, garbage),
            ""
        );
    }

    #[test]
    fn directives_choose_and_chatty_crates_are_quiet_unless_named() {
        let chat = || tracing::info!(target: "actix_server", "starting workers");
        assert_eq!(logged("info", Format::Text, chat), "");
        assert!(logged("info,actix_server=info", Format::Text, chat).contains("starting workers"));
        let detail = || tracing::debug!("detail");
        assert_eq!(logged("info", Format::Text, detail), "");
        assert!(logged("debug", Format::Text, detail).contains("detail"));
    }

    #[test]
    fn the_level_changes_while_lines_are_written() {
        for format in [Format::Json, Format::Text] {
            let page = Arc::<Mutex<Vec<u8>>>::default();
            let log = |directives: &str| Log {
                directives: directives.to_owned(),
                format,
            };
            let clock = Clock::manual(Timestamp::from_micros(1_767_361_204_250_000));
            let sink = Arc::clone(&page);
            let writer = move || Page(Arc::clone(&sink));
            let (subscriber, set_level) = subscriber(&log("info"), Tz::America__Bogota, clock, false, writer);
            tracing::dispatcher::with_default(&subscriber, || {
                tracing::debug!("before");
                set_level(&log("debug")).unwrap();
                tracing::debug!("after");
            });
            let text = String::from_utf8(page.lock().unwrap().clone()).unwrap();
            assert!(text.contains("after") && !text.contains("before"), "{text}");
        }
    }

    #[test]
    fn a_backtrace_shows_our_own_places() {
        let text = "   0: core::panicking::panic_fmt\n             at /rustc/59/library/core/src/panicking.rs:80:14\n   1: a::b\n             at ./src/actors/vendor/feed.rs:18:9\n   2: c\n             at ./src/actors/supervision/supervise.rs:175:20\n";
        assert_eq!(
            ours(text),
            "src/actors/vendor/feed.rs:18:9 < src/actors/supervision/supervise.rs:175:20"
        );
    }

    #[test]
    fn a_panic_is_logged_with_its_place_and_thread() {
        let line = logged("error", Format::Json, || {
            std::thread::scope(|scope| {
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                let panicking = move || {
                    tracing::dispatcher::with_default(&dispatch, || {
                        let previous = std::panic::take_hook();
                        std::panic::set_hook(Box::new(log_panic));
                        let outcome = std::panic::catch_unwind(|| panic!("on purpose"));
                        std::panic::set_hook(previous);
                        assert!(outcome.is_err());
                    });
                };
                std::thread::Builder::new()
                    .name("worker-7".into())
                    .spawn_scoped(scope, panicking)
                    .unwrap();
            });
        });
        let object: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        assert_eq!(object["panic.message"], "on purpose");
        assert_eq!(object["panic.thread"], "worker-7");
        assert!(
            object["panic.location"]
                .as_str()
                .unwrap()
                .starts_with("src/telemetry.rs:")
        );
    }
}
