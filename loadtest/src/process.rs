//! Processes seen from outside: CPU, memory and handles of the relay and of this program; what machine this is.
//!
//! Linux only: it reads `/proc`. CPU time comes in nanoseconds from `schedstat` of each task; where the kernel has none,
//! in hundredths of a second from `stat`.

use crate::report::Machine;
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

/// Length of a clock tick in `/proc/PID/stat`; Linux shows user space 100 a second on every platform.
const TICK: Duration = Duration::from_millis(10);

/// What a process had used at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// CPU since the watch began.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub memory: u64,
    /// Open handles.
    pub handles: u32,
}

/// Watches one process.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    /// Last reading of each task; tasks that ended leave at the next sample.
    tasks: HashMap<u32, u64>,
    used: Duration,
    first: bool,
}

impl Watch {
    /// Begins to watch; its CPU counts from the first sample on.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, tasks: HashMap::new(), used: Duration::ZERO, first: true }
    }

    /// Reads the process; nothing when it is gone.
    pub fn sample(&mut self) -> Option<Sample> {
        let folder = format!("/proc/{}", self.pid);
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        // A zombie has a status without memory.
        let memory = kib(&status, "VmRSS:")? * 1_024;
        let now = by_task(&folder).or_else(|| by_stat(&folder))?;
        let spent: u64 = now.iter().map(|(task, ns)| ns.saturating_sub(self.tasks.get(task).copied().unwrap_or(0))).sum();
        if !self.first {
            self.used += Duration::from_nanos(spent);
        }
        self.first = false;
        self.tasks = now;
        let handles = fs::read_dir(format!("{folder}/fd")).map_or(0, |entries| entries.count() as u32);
        Some(Sample { cpu: self.used, memory, handles })
    }
}

fn by_task(folder: &str) -> Option<HashMap<u32, u64>> {
    let mut tasks = HashMap::new();
    for entry in fs::read_dir(format!("{folder}/task")).ok()?.flatten() {
        let Some(task) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A task may end between the two readings.
        let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let Some(ns) = text.split_whitespace().next().and_then(|word| word.parse().ok()) else { continue };
        tasks.insert(task, ns);
    }
    // Kernels without the statistics show zeros.
    (tasks.values().any(|ns| *ns > 0)).then_some(tasks)
}

fn by_stat(folder: &str) -> Option<HashMap<u32, u64>> {
    let text = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let ticks = ticks(&text)?;
    Some(HashMap::from([(0, ticks * TICK.as_nanos() as u64)]))
}

/// utime and stime, fields 14 and 15; the name before them may hold spaces and brackets (proc(5)).
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    Some(words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?)
}

fn kib(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// The process on this machine that listens on a TCP address; nothing when it is another user's or another machine's.
#[must_use]
pub fn listener(address: SocketAddr) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address.port()))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let handles = fs::read_dir(entry.path().join("fd")).ok()?;
        let mut targets = handles.flatten().filter_map(|handle| fs::read_link(handle.path()).ok());
        targets.any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str())).then_some(pid)
    })
}

fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    /// `TCP_LISTEN` of the kernel.
    const LISTEN: &str = "0A";
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let local = words.get(1)?.rsplit_once(':')?.1;
        let here = u16::from_str_radix(local, 16).ok()? == port && *words.get(3)? == LISTEN;
        here.then(|| words.get(9).map(|inode| (*inode).to_owned())).flatten()
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// The machine this program runs on.
#[must_use]
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    Machine {
        processor,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: kib(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) / 1_024,
        kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        load: read("/proc/loadavg").split_whitespace().next().unwrap_or("?").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn this_process_uses_cpu_memory_and_handles() {
        let mut watch = Watch::new(std::process::id());
        let before = watch.sample().unwrap();
        let mut sum = 0_u64;
        // Work until the clock of the kernel has moved; how long that takes does not matter.
        let after = loop {
            sum = (0..200_000_u64).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
            let after = watch.sample().unwrap();
            if after.cpu > Duration::ZERO {
                break after;
            }
        };

        assert_eq!(before.cpu, Duration::ZERO, "counted from the first sample ({sum})");
        assert!(after.memory > 1 << 20 && after.handles >= 3, "{after:?}");
    }

    #[test]
    fn a_process_that_is_gone_has_no_sample() {
        // Above the largest pid a kernel gives (2^22).
        assert_eq!(Watch::new(4_194_305).sample(), None);
    }

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4194304 10 0 0 0 250 50 0 0 20 0 1 0 1 1 1";

        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn who_listens_on_a_port_is_found() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();

        assert_eq!(listener(address), Some(std::process::id()));
        drop(socket);
        assert_ne!(listener(address), Some(std::process::id()));
    }
}
