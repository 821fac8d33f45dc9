//! What the system says of this process, from `/proc/self`; elsewhere than on Linux there is nothing.

use std::fs;

/// Clock ticks per second in `/proc`; the kernel fixes `USER_HZ` at 100 on every architecture we build for (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory, time and handles of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: f64,
    pub(super) cpu_seconds: f64,
    pub(super) threads: f64,
    pub(super) open_fds: f64,
}

/// Reads the figures; `None` where the system does not tell.
pub(super) fn read() -> Option<Process> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
    parse(&status, &stat, open_fds)
}

fn parse(status: &str, stat: &str, open_fds: usize) -> Option<Process> {
    let number = |field: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    // The command name stands in brackets and may hold spaces and brackets itself: count from the last one.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut times = after_name.split_ascii_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some(Process {
        resident_bytes: number("VmRSS:")? * 1024.0,
        cpu_seconds: (user + system) / TICKS_PER_SECOND,
        threads: number("Threads:")?,
        open_fds: u32::try_from(open_fds).ok().map(f64::from)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_past_a_name_with_brackets() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        let stat = "1 (a) b) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 7 0 1 1 1";
        let expected = Process { resident_bytes: 2_097_152.0, cpu_seconds: 3.0, threads: 7.0, open_fds: 9.0 };
        assert_eq!(parse(status, stat, 9), Some(expected));
        assert_eq!(parse("", stat, 9), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_threads() {
        let process = read().expect("Linux has /proc");
        assert!(process.resident_bytes > 0.0 && process.threads >= 1.0 && process.open_fds >= 1.0, "{process:?}");
    }
}
