//! The loads under which costs are measured.

use std::time::Duration;

/// Ticks for clients of one pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) clients: usize,
    /// Ticks sent at one instant.
    pub(super) burst: usize,
    pub(super) bursts: usize,
    pub(super) pause: Duration,
}

impl Load {
    pub(super) const ALL: [Self; 6] = [
        Self::of(1_000, 1, 150, 20_000),
        Self::of(1_000, 20, 50, 60_000),
        Self::of(5_000, 1, 30, 120_000),
        Self::of(5_000, 20, 10, 250_000),
        Self::of(10_000, 1, 15, 250_000),
        Self::of(10_000, 20, 6, 500_000),
    ];

    pub(super) const fn of(clients: usize, burst: usize, bursts: usize, pause_us: u64) -> Self {
        Self {
            clients,
            burst,
            bursts,
            pause: Duration::from_micros(pause_us),
        }
    }

    /// So many ticks a second for so long.
    pub(super) fn steady(clients: usize, rate: usize, seconds: usize) -> Self {
        let pause = Duration::from_secs(1) / u32::try_from(rate).unwrap();
        Self::of(clients, 1, rate * seconds, u64::try_from(pause.as_micros()).unwrap())
    }

    pub(super) fn name(self) -> String {
        let a_second = self.burst as f64 / self.pause.as_secs_f64();
        match self.burst {
            1 => format!("{} × {a_second:.0}/s", self.clients),
            burst => format!("{} × bursts of {burst}", self.clients),
        }
    }
}
