//! How the process ends: the one table of exit codes. `docs/operations.md` prints it, and a test compares the two.

use std::process::{ExitCode, Termination};

/// Why the process ends.
#[derive(strum::VariantArray, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It was asked to stop, or did what it was asked to do.
    Clean,
    /// A check or verification found a problem.
    Found,
    /// The command line is invalid.
    Usage,
    /// A dependency that the settings require is missing.
    Unavailable,
    /// Supervision gave up: a part failed more often than its budget allows.
    GaveUp,
    /// A file, folder or address cannot be used.
    Resource,
    /// Not possible now: try again later.
    TryAgain,
    /// The settings have problems.
    Settings,
}

impl Exit {
    /// Every way to end.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The number that the operating system sees; those from 64 on are those of `sysexits.h`.
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Found => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::GaveUp => 70,
            Self::Resource => 74,
            Self::TryAgain => 75,
            Self::Settings => 78,
        }
    }

    /// What it means, and what helps.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Clean => "a clean stop: a stop was requested, or the command finished",
            Self::Found => "a check ran and found a fault, which it printed",
            Self::Usage => "the command line is invalid; `candela help` shows valid ones",
            Self::Unavailable => "a dependency that the settings declare required is not available",
            Self::GaveUp => {
                "supervision gave up: a part failed more often than its budget allows; a restart starts clean"
            }
            Self::Resource => "a file, folder or address cannot be used; the message names it and the remedy",
            Self::TryAgain => "a temporary obstacle, such as another instance; try again later",
            Self::Settings => "the settings have problems; all of them were printed, with where each value came from",
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_guide_prints_this_table() {
        let guide = include_str!("../docs/operations.md");
        for &exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(guide.contains(&row), "docs/operations.md lacks:\n{row}");
        }
    }

    #[test]
    fn no_two_ways_to_end_share_a_code() {
        let mut codes: Vec<_> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
    }
}
