use std::path::Path;

/// What this machine has, as far as the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory, or this process's share of it where a control group bounds it.
    pub memory_bytes: u64,
    /// Bytes that the disk of a directory has left for this user.
    pub disk_free_bytes: u64,
}

impl Machine {
    /// Looks.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        // The directory may not be there yet.
        let existing = data_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
        let disk = rustix::fs::statvfs(existing).ok();
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            memory_bytes: memory_bytes(),
            disk_free_bytes: disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        }
    }

    /// Resident memory of this process; 0 where the system does not tell.
    #[must_use]
    pub fn resident_bytes() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
        pages * rustix::param::page_size() as u64
    }
}

fn memory_bytes() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    // Where the system does not tell: what a small machine has.
    let total = total.unwrap_or(4 << 30);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    group.map_or(total, |group| group.min(total))
}
