//! Output: a command's standard output is written by a thread of its own.
//!
//! A reader that stops reading costs lines, which are counted and reported; it delays neither the command's work nor its end.

use crate::limits;
use crate::log_queue::LogQueue;
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

/// Whether colours are wanted.
#[derive(Debug, Clone, Default, Args)]
pub struct ColourArg {
    /// Show no colours; the same as NO_COLOR with any text in the environment.
    #[arg(long)]
    no_color: bool,
    /// What the environment says; by the convention of NO_COLOR an empty text is none.
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color_said: Option<String>,
}

impl ColourArg {
    /// Whether output may have colours, if it is a terminal.
    pub fn allows(&self) -> bool {
        !self.no_color && self.no_color_said.as_deref().is_none_or(str::is_empty)
    }
}

/// Standard output. Written bytes are sent with each flush.
#[derive(Debug)]
pub struct Output {
    queue: LogQueue,
    /// The error of the first line that could not be written.
    failed: Arc<OnceLock<io::Error>>,
    pending: Vec<u8>,
}

impl Output {
    /// Starts the thread. `lost` formats the line that reports how many lines were lost.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn start(lost: impl Fn(u64) -> String + Send + 'static) -> io::Result<Self> {
        // A handle of its own: a write that blocks must not hold the lock of `std::io::stdout()`.
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let failed = Arc::default();
        let noted = Noted {
            out: stdout,
            failed: Arc::clone(&failed),
        };
        let queue = LogQueue::spawn(noted, move |count| format!("{}\n", lost(count)).into_bytes())?;
        Ok(Self {
            queue,
            failed,
            pending: Vec::new(),
        })
    }

    /// Writes a line.
    pub fn write_line(&self, text: &str) {
        self.queue.push(format!("{text}\n").into_bytes());
    }

    /// Waits until every line is written, at most [`limits::OUTPUT_FLUSH`].
    ///
    /// # Errors
    /// Why a line could not be written.
    pub fn finish_writing(&self) -> io::Result<()> {
        self.queue.flush(limits::OUTPUT_FLUSH);
        self.take_failure()
    }

    fn take_failure(&self) -> io::Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(copy_error(error)))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.queue.push(std::mem::take(&mut self.pending));
        self.take_failure()
    }
}

/// A command that ends with an error may have written lines before.
impl Drop for Output {
    fn drop(&mut self) {
        self.queue.flush(limits::OUTPUT_FLUSH);
    }
}

/// Stores the first error: the queue only counts lines.
struct Noted {
    out: File,
    failed: Arc<OnceLock<io::Error>>,
}

impl Write for Noted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).inspect_err(|error| {
            if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) {
                self.failed.get_or_init(|| copy_error(error));
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The message about lines that were never written.
pub(super) fn lines_lost(json: bool, count: u64) -> String {
    if json {
        return json!({"event": "lines_lost", "count": count}).to_string();
    }
    format!("{count} lines were lost: no program read them")
}

fn copy_error(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
