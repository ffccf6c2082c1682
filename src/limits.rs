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
