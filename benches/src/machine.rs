//! What the system reports about a process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads of this process so far. Unlike [`cpu_seconds`] it counts nanoseconds, which a block of some milliseconds needs.
pub(crate) fn own_cpu() -> Duration {
    // The clock begins at zero with the process, so no reading of it is out of range.
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// CPU time of a process, in seconds.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    // The kernel counts hundredths for those who ask through /proc.
    ticks / 100.0
}

/// Resident memory of a process in KiB, where the system tells.
pub(crate) fn resident_kib(process: u32) -> f64 {
    kib(process, "status", "VmRSS:")
}

/// The same with shared pages divided by their users.
pub(crate) fn proportional_kib(process: u32) -> f64 {
    kib(process, "smaps_rollup", "Pss:")
}

fn kib(process: u32, file: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(f64::NAN)
}
