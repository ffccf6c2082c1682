//! Linux's numbers about this process, under the names that Prometheus' own clients use.

use std::fs;
use std::time::Duration;

/// A clock tick in `/proc`, in milliseconds: the same on every Linux, whatever the kernel's own clock.
const TICK_MS: u64 = 10;

/// Read once for a page; numbers that cannot be read are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProcessNumbers {
    /// When the process started, in Unix time.
    pub(crate) started: Option<f64>,
    /// Processor time.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
}

impl ProcessNumbers {
    pub(crate) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").ok();
        Self {
            open_fds: open.and_then(|entries| u64::try_from(entries.count()).ok()),
            max_fds: rlimit::Resource::NOFILE.get().ok().map(|(soft, _)| soft),
            ..Self::parse(&stat, &status, &boot)
        }
    }

    /// Parses the one line of `/proc/self/stat`, the lines `VmSize` and `VmRSS` of `/proc/self/status`, which do not depend on the page
    /// size, and the line `btime` of `/proc/stat`.
    fn parse(stat: &str, status: &str, boot: &str) -> Self {
        // The process's name is in parentheses and may contain blanks: the third field follows it.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let number = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<u64>().ok();
        let seconds = |field: usize| {
            let ticks = number(field)?;
            Some(Duration::from_millis(ticks.saturating_mul(TICK_MS)).as_secs_f64())
        };
        let kilobytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            let number = value.strip_prefix(':')?.trim().strip_suffix("kB")?.trim_end();
            number.parse::<u64>().ok()?.checked_mul(1_024)
        };
        let booted = boot.lines().find_map(|line| line.strip_prefix("btime "));
        let booted = booted.and_then(|at| at.trim().parse::<u32>().ok()).map(f64::from);
        let cpu = seconds(14).zip(seconds(15));
        Self {
            started: booted.zip(seconds(22)).map(|(booted, after)| booted + after),
            cpu_seconds: cpu.map(|(user, system)| user + system),
            virtual_bytes: kilobytes("VmSize"),
            resident_bytes: kilobytes("VmRSS"),
            open_fds: None,
            max_fds: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 8 0 12345 1048576 7 18446744073709551615";
        let status = "Name:\ta) b\nVmPeak:\t  9999 kB\nVmSize:\t  1024 kB\nVmRSS:\t    28 kB\n";
        let numbers = ProcessNumbers::parse(stat, status, "cpu 1 2\nbtime 1700000000\n");
        assert_eq!(numbers.cpu_seconds, Some(3.0));
        assert_eq!(numbers.started, Some(1_700_000_123.45));
        assert_eq!(
            (numbers.virtual_bytes, numbers.resident_bytes),
            (Some(1_048_576), Some(28 * 1_024))
        );
        assert_eq!(ProcessNumbers::parse("", "", ""), ProcessNumbers::default());
    }

    #[test]
    fn this_process_has_all_of_them() {
        let numbers = ProcessNumbers::read();
        assert!(
            numbers.started.is_some() && numbers.cpu_seconds.is_some(),
            "{numbers:?}"
        );
        assert!(
            numbers.resident_bytes > Some(1 << 20) && numbers.virtual_bytes > numbers.resident_bytes,
            "{numbers:?}"
        );
        assert!(
            numbers.open_fds > Some(2) && numbers.max_fds > numbers.open_fds,
            "{numbers:?}"
        );
    }
}
