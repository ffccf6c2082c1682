//! LogQueue: takes log lines from any thread without blocking it, and writes them from a thread of its own.
//!
//! ```text
//!  any thread ── push ──► bounded queue ──► one thread ── write ──► standard error
//!                  full: the line is dropped and counted   error: the same; later "log lines were lost"
//! ```
//!
//! A reader that stands still, a full disk and a closed pipe therefore cost log lines, and nothing else. The process has one queue for its
//! log, because it has one standard error; what a command prints on standard output has a queue of its own.

use crate::clock::Stopwatch;
use crate::limits;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

static PROCESS: OnceLock<LogQueue> = OnceLock::new();

/// Log lines that were lost since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogLoss {
    /// How many.
    pub lost_total: u64,
    /// Whether lines are being lost: some were, and the line that reports it is not written yet.
    pub losing: bool,
}

/// The loss of the process's own queue; none before it is started.
pub fn loss() -> LogLoss {
    PROCESS.get().map(LogQueue::loss).unwrap_or_default()
}

/// Waits until all lines of the process are written, at most [`limits::LOG_FLUSH`]. Called before the process ends.
pub fn flush() {
    if let Some(queue) = PROCESS.get() {
        queue.flush(limits::LOG_FLUSH);
    }
}

/// The queue that [`start`] made, if it was called.
pub fn process() -> Option<LogQueue> {
    PROCESS.get().cloned()
}

/// Starts the process's queue in front of standard error. `report` formats the line that reports how many lines were lost.
///
/// # Errors
/// When the system gives no thread or no descriptor.
pub fn start(report: impl FnMut(u64) -> Vec<u8> + Send + 'static) -> io::Result<LogQueue> {
    // A handle of its own: a write that blocks must not hold the lock of `std::io::stderr()`.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let queue = LogQueue::spawn(stderr, report)?;
    Ok(PROCESS.get_or_init(|| queue).clone())
}

/// A queue of log lines. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    lost: AtomicU64,
    losing: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The writer is writing a line.
    writing: bool,
}

impl LogQueue {
    /// A queue in front of `out`, which may block. `report` formats the line that reports how many lines were lost.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(
        out: impl Write + Send + 'static,
        report: impl FnMut(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let writer = Writer {
            queue: queue.clone(),
            out,
            report,
            torn: false,
            reported: 0,
            seen: 0,
            since_loss: Stopwatch::start(),
            since_try: Stopwatch::start(),
        };
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || writer.run()).map(drop)?;
        Ok(queue)
    }

    /// Appends a line, which ends with its line feed. A line that finds no room is dropped and counted.
    pub fn push(&self, line: Vec<u8>) {
        let mut waiting = self.waiting();
        if waiting.bytes.saturating_add(line.len()) > limits::LOG_QUEUE_BYTES {
            drop(waiting);
            self.count_lost();
            return;
        }
        waiting.bytes = waiting.bytes.saturating_add(line.len());
        waiting.lines.push_back(line);
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// The losses so far.
    pub fn loss(&self) -> LogLoss {
        LogLoss {
            lost_total: self.0.lost.load(Ordering::Relaxed),
            losing: self.0.losing.load(Ordering::Relaxed),
        }
    }

    /// Waits until every line is written, at most `longest`. Returns whether every line is.
    pub fn flush(&self, longest: Duration) -> bool {
        let waited = Stopwatch::start();
        while !self.is_written() {
            if waited.elapsed() >= longest {
                return false;
            }
            pause();
        }
        true
    }

    fn is_written(&self) -> bool {
        let waiting = self.waiting();
        waiting.lines.is_empty() && !waiting.writing
    }

    fn count_lost(&self) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
        self.0.losing.store(true, Ordering::Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next line, and whether few lines wait behind it. Waits for a line; while a loss is to be reported, only for a moment.
    fn next(&self) -> (Option<Vec<u8>>, bool) {
        let mut waiting = self.waiting();
        waiting.writing = false;
        if waiting.lines.is_empty() && self.loss().losing {
            drop(waiting);
            pause();
            waiting = self.waiting();
        } else if waiting.lines.is_empty() {
            waiting = self.0.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let line = waiting.lines.pop_front();
        waiting.bytes = waiting.bytes.saturating_sub(line.as_ref().map_or(0, Vec::len));
        waiting.writing = line.is_some();
        (line, waiting.bytes < limits::LOG_QUEUE_BYTES / 2)
    }
}

/// One line on its way into the queue: the log's formatter writes to it.
#[derive(Debug)]
pub struct LogLine(pub LogQueue);

impl Write for LogLine {
    /// The formatter writes a whole line at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sleeps a moment. A timed wait on a lock would wait for an instant of the kernel's clock, which under libfaketime differs from the
/// process's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "on the log's own thread, or at the end of the process"
)]
fn pause() {
    std::thread::sleep(limits::LOG_WAIT);
}

/// The writing thread.
struct Writer<W, R> {
    queue: LogQueue,
    out: W,
    report: R,
    /// The last line was written only in part.
    torn: bool,
    /// How many lost lines were reported so far.
    reported: u64,
    /// How many lines were lost at the writer's last check, the time since the last loss, and the time since the last try to report.
    seen: u64,
    since_loss: Stopwatch,
    since_try: Stopwatch,
}

impl<W: Write, R: FnMut(u64) -> Vec<u8>> Writer<W, R> {
    fn run(mut self) {
        loop {
            let (line, roomy) = self.queue.next();
            if line.is_some_and(|line| !self.write(&line)) {
                self.queue.count_lost();
            }
            self.report_loss(roomy);
        }
    }

    /// Reports how many lines were lost, once no more are being lost. If nothing can be written, it tries again later.
    fn report_loss(&mut self, roomy: bool) {
        let lost = self.queue.loss().lost_total;
        if lost != self.seen {
            self.seen = lost;
            self.since_loss = Stopwatch::start();
        }
        let calm = roomy && self.since_loss.elapsed() >= limits::LOG_CALM;
        if lost == self.reported || !calm || self.since_try.elapsed() < limits::LOG_CALM {
            return;
        }
        self.since_try = Stopwatch::start();
        let line = (self.report)(lost.saturating_sub(self.reported));
        if self.write(&line) {
            self.reported = lost;
            let more = self.queue.loss().lost_total != lost;
            self.queue.0.losing.store(more, Ordering::Relaxed);
        }
    }

    /// Writes one line; returns whether all of it was taken. After a line that was cut short, it begins a new line first.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.torn && !self.write_all(b"\n") {
            return false;
        }
        let whole = self.write_all(line);
        self.torn = self.torn || !whole;
        whole
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return false,
                Ok(taken) => {
                    bytes = bytes.get(taken..).unwrap_or_default();
                    self.torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares standard error made it non-blocking: its reader is waited for all the same.
                Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// An output that a test controls.
    #[derive(Debug, Clone, Default)]
    struct Page(Arc<Mutex<Written>>);

    #[derive(Debug, Default)]
    struct Written {
        text: String,
        /// How many more bytes it takes.
        room: Option<usize>,
    }

    impl Page {
        fn text(&self) -> String {
            self.0.lock().unwrap().text.clone()
        }

        fn set_room(&self, room: Option<usize>) {
            self.0.lock().unwrap().room = room;
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut page = self.0.lock().unwrap();
            let taken = page.room.map_or(bytes.len(), |room| room.min(bytes.len()));
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            page.room = page.room.map(|room| room - taken);
            page.text.push_str(std::str::from_utf8(&bytes[..taken]).unwrap());
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that takes nothing until it is released.
    struct Pipe {
        gate: mpsc::Receiver<()>,
        open: bool,
        page: Page,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.open {
                self.gate.recv().ok();
                self.open = true;
            }
            self.page.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn report(lost: u64) -> Vec<u8> {
        format!("{lost} lost\n").into_bytes()
    }

    fn wait(what: &str, mut done: impl FnMut() -> bool) {
        let waited = Stopwatch::start();
        while !done() {
            assert!(waited.elapsed() < Duration::from_secs(30), "waited for {what}");
            pause();
        }
    }

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let page = Page::default();
        let queue = LogQueue::spawn(page.clone(), report).unwrap();
        for i in 0..100 {
            queue.push(format!("{i}\n").into_bytes());
        }
        assert!(queue.flush(Duration::from_secs(30)));
        let expect: String = (0..100).map(|i| format!("{i}\n")).collect();
        assert_eq!((page.text(), queue.loss()), (expect, LogLoss::default()));
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_that_are_counted_and_no_caller_waits() {
        let page = Page::default();
        let (open, gate) = mpsc::channel();
        let pipe = Pipe {
            gate,
            open: false,
            page: page.clone(),
        };
        let queue = LogQueue::spawn(pipe, report).unwrap();
        let line = vec![b'x'; limits::LOG_QUEUE_BYTES / 4];
        for _ in 0..12 {
            queue.push(line.clone());
        }
        assert!(!queue.flush(Duration::from_millis(20)), "its reader stands still");
        let loss = queue.loss();
        assert!(loss.losing && (7..=8).contains(&loss.lost_total), "{loss:?}");
        open.send(()).unwrap();
        wait("the report", || !queue.loss().losing);
        assert!(page.text().ends_with(&format!("{} lost\n", loss.lost_total)));
        assert_eq!(queue.loss().lost_total, loss.lost_total);
    }

    #[test]
    fn a_full_disk_costs_lines_and_the_first_line_after_it_is_whole() {
        let page = Page::default();
        page.set_room(Some(8));
        let queue = LogQueue::spawn(page.clone(), report).unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            queue.push(line.as_bytes().to_vec());
        }
        wait("the loss", || queue.loss().lost_total == 2);
        assert!(queue.loss().losing);
        page.set_room(None);
        wait("the report", || !queue.loss().losing);
        assert_eq!(page.text(), "first\nse\n2 lost\n");
    }
}
