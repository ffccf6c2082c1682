//! Every capacity, deadline and size, with its reason. Grouped by the wire it guards; related ones are checked against each
//! other at compile time.

use std::time::Duration;

// --- bars -----------------------------------------------------------------------------------------------------------

/// How long after its interval a bar still waits for late ticks before it is closed. The vendor claims 170 ms mean latency.
pub const LATENESS: Duration = Duration::from_secs(2);

// --- supervision ----------------------------------------------------------------------------------------------------

/// How often a child shows that it still handles its messages, real time.
pub const PULSE: Duration = Duration::from_millis(500);

/// A pulse older than this is shown as not alive on `/status`, real time.
pub const PULSE_STALE: Duration = Duration::from_secs(5);
// --- the vendor -----------------------------------------------------------------------------------------------------

/// The longest frame of the vendor that is read. Real ones have about 200 bytes; a status that lists every pair, a few thousand.
pub const FRAME_BYTES: usize = 65_536;

/// How many complaints of one frame are kept.
pub const FRAME_MESSAGES: usize = 8;

/// How much of a stranger's text is shown in an error or a log line.
pub const QUOTE_CHARS: usize = 200;

/// How many pairs one process follows.
pub const SYMBOLS: usize = 64;

/// How many bars the vendor puts into one answer at most.
pub const SERIES_BARS: usize = 5_000;

/// The longest answer that is read: [`SERIES_BARS`] bars have about 650,000 bytes, and a question may name several pairs.
pub const ANSWER_BYTES: usize = 8 * 1_024 * 1_024;
