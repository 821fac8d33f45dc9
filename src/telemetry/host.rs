//! How much of its memory and file descriptors this process uses; elsewhere than on Linux nothing is known.
//!
//! Entry points: [`Ceiling::find`] once, [`Ceiling::read`] from time to time. Reads a few small files of `/proc`; not for a worker.

use std::fs;
use std::path::{Path, PathBuf};

/// What is in use and what there is; a total of 0 is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Memory in use, in bytes.
    pub memory: u64,
    /// Memory there is, in bytes.
    pub memory_total: u64,
    /// Open file descriptors.
    pub handles: u64,
    /// How many may be open.
    pub handles_total: u64,
}

/// The bounds of this process, found once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Bytes this process may use, of the operator or its control group; without them the machine's memory counts.
    memory: Option<u64>,
    handles: u64,
}

impl Ceiling {
    /// Finds the bounds; `memory` is the operator's own in bytes, 0 for none.
    #[must_use]
    pub fn find(memory: u64) -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let group = group_limit(&groups, |file| fs::read_to_string(file).ok());
        Self { memory: (memory > 0).then_some(memory).into_iter().chain(group).min(), handles: open_files(&limits) }
    }

    /// Looks at what is in use now.
    #[must_use]
    pub fn read(&self) -> Host {
        let (memory, memory_total) = match self.memory {
            Some(total) => (fs::read_to_string("/proc/self/status").map_or(0, |status| kib(&status, "VmRSS:")), total),
            None => machine(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        };
        Host { memory, memory_total, handles: handles(), handles_total: self.handles }
    }
}

/// The smallest limit on the way from our control group to the root: version 2 first, else that of version 1.
fn group_limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let number = |file: &Path| read(file)?.trim().parse::<u64>().ok();
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(unified.trim_start_matches('/'));
    let above = own.ancestors().take_while(|folder| folder.starts_with(root));
    let version_2 = above.filter_map(|folder| number(&folder.join("memory.max"))).min();
    // Version 1 writes a number near 2^63 for no limit.
    let version_1 = || number(&PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes")).filter(|limit| *limit < 1 << 60);
    version_2.or_else(version_1)
}

/// Memory in use on the whole machine, and what it has.
fn machine(meminfo: &str) -> (u64, u64) {
    let total = kib(meminfo, "MemTotal:");
    (total.saturating_sub(kib(meminfo, "MemAvailable:")), total)
}

/// A line of `/proc` that is given in kB, in bytes; 0 where there is none.
fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1_024)
}

/// The soft limit of open files; 0 where it is unlimited or unknown.
fn open_files(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Since Linux 6.2 the size of the folder is the number of its entries; before, it is 0 and they are counted.
fn handles() -> u64 {
    let folder = Path::new("/proc/self/fd");
    match fs::metadata(folder).map_or(0, |facts| facts.len()) {
        0 => fs::read_dir(folder).map_or(0, |entries| entries.count() as u64),
        count => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_control_group_counts() {
        let files = |file: &Path| match file.to_str() {
            Some("/sys/fs/cgroup/a.slice/b.service/memory.max") => Some("max\n".to_owned()),
            Some("/sys/fs/cgroup/a.slice/memory.max") => Some("1048576\n".to_owned()),
            Some("/sys/fs/cgroup/memory.max") => Some("2097152\n".to_owned()),
            _ => None,
        };
        assert_eq!(group_limit("1:cpu:/x\n0::/a.slice/b.service\n", files), Some(1_048_576));
        assert_eq!(group_limit("0::/\n", files), Some(2_097_152));
        assert_eq!(group_limit("0::/../../etc\n", |_| None), None);
        let old = |limit: &'static str| move |file: &Path| file.ends_with("memory.limit_in_bytes").then(|| limit.to_owned());
        assert_eq!(group_limit("4:memory:/x\n", old("4096\n")), Some(4_096));
        assert_eq!(group_limit("4:memory:/x\n", old("9223372036854771712\n")), None, "no limit");
    }

    #[test]
    fn figures_are_read_in_bytes() {
        assert_eq!(machine("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n"), (61_440, 102_400));
        assert_eq!(machine(""), (0, 0));
        assert_eq!(open_files("Max processes  1 2 x\nMax open files            1024                 524288    files\n"), 1_024);
        assert_eq!(open_files("Max open files            unlimited            unlimited    files\n"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_some_of_what_it_may() {
        let gib = Ceiling::find(1 << 30).read();
        assert!(gib.memory > 0 && gib.memory_total <= 1 << 30 && gib.handles >= 1, "{gib:?}");
        let machine = Ceiling { memory: None, handles: 0 }.read();
        assert!(machine.memory > 0 && machine.memory < machine.memory_total, "{machine:?}");
    }
}
