//! The clocks of the machine, and what is to be said of them.
//!
//! No safe call asks the kernel how good its clock is, so this goes by a file that whoever keeps the clock touches at each
//! synchronisation: `systemd-timesyncd` does by itself. Without the file nothing is claimed.
//!
//! Entry points: [`SystemClock`], [`Watch::look`].

use crate::audit::Micros;
use crate::audit::event::Event;
use crate::audit::types::Stamp;
use crate::audit::words::Clock as State;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// What a synchronised clock may be wrong by, in milliseconds: usual for time servers on the internet.
const ERROR_MS: u64 = 50;

/// How fast a clock that is left alone goes wrong, in microseconds a second (RFC 5905 section 4: PHI).
const DRIFT_PER_S: u64 = 15;

/// The most a clock may be wrong by and still counts as synchronised, or as held over, in milliseconds.
const SYNCED_MS: u64 = 100;
const HOLDOVER_MS: u64 = 1_000;

/// How long a clock may be without synchronisation before that is an event, in nanoseconds.
const PATIENCE: u64 = 5 * 60 * 1_000_000_000;

/// A jump of the wall clock that is an event, in microseconds.
const STEP: u64 = 100_000;

/// The clocks of a machine.
pub trait Clock: Send + Sync {
    /// The present time.
    fn stamp(&self) -> Stamp;

    /// Looks how good the clock is; called every few seconds, and may block as a disk does.
    fn look(&self) {}
}

/// The machine's own clocks.
#[derive(Debug, Default)]
pub struct SystemClock {
    file: PathBuf,
    /// When the clock was last synchronised, microseconds since 1970; 0 for never.
    synced_at: AtomicU64,
}

impl SystemClock {
    /// Goes by a file that is touched at each synchronisation.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        let clock = Self { file: file.to_owned(), synced_at: AtomicU64::new(0) };
        clock.look();
        clock
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the record's own clock is read where its events come in")]
    fn stamp(&self) -> Stamp {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let mono = u64::try_from(boot.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(boot.tv_nsec).unwrap_or(0);
        let ts = micros(SystemTime::now());
        let (clk, clk_err_ms) = quality(ts, self.synced_at.load(Ordering::Relaxed));
        Stamp { ts, mono, clk, clk_err_ms }
    }

    fn look(&self) {
        // Where nobody keeps the clock there is no such file.
        let touched = std::fs::metadata(&self.file).and_then(|file| file.modified()).map_or(Micros(0), micros);
        self.synced_at.store(touched.0, Ordering::Relaxed);
    }
}

fn micros(time: SystemTime) -> Micros {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// How good a clock is that was last synchronised then.
fn quality(now: Micros, synced_at: u64) -> (State, u32) {
    if synced_at == 0 {
        return (State::Unsynced, Stamp::LARGEST_ERROR_MS);
    }
    let alone_s = now.0.saturating_sub(synced_at) / 1_000_000;
    let error_ms = ERROR_MS.saturating_add(alone_s.saturating_mul(DRIFT_PER_S) / 1_000);
    let state = if error_ms <= SYNCED_MS {
        State::Synced
    } else if error_ms <= HOLDOVER_MS {
        State::Holdover
    } else {
        State::Unsynced
    };
    (state, u32::try_from(error_ms).unwrap_or(u32::MAX).min(Stamp::LARGEST_ERROR_MS))
}

/// What was last seen of the clock.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<Stamp>,
    /// Since when it is not synchronised, on the clock that never jumps.
    lost_since: Option<u64>,
    told: bool,
}

impl Watch {
    /// Looks at the clock; answers what is to be put on record.
    pub(super) fn look(&mut self, now: Stamp) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(last) = self.last.replace(now) {
            let wall = i64::try_from(now.ts.0).unwrap_or(i64::MAX).saturating_sub(i64::try_from(last.ts.0).unwrap_or(i64::MAX));
            let passed = i64::try_from(now.mono.saturating_sub(last.mono) / 1_000).unwrap_or(i64::MAX);
            let step = wall.saturating_sub(passed);
            if step.unsigned_abs() > STEP {
                events.push(Event::TimeStepped { delta_ms: step / 1_000 });
            }
        }
        if now.clk != State::Unsynced {
            self.lost_since = None;
            if std::mem::take(&mut self.told) {
                events.push(Event::TimeSyncRestored { clk: now.clk });
            }
            return events;
        }
        let since = *self.lost_since.get_or_insert(now.mono);
        if now.mono.saturating_sub(since) >= PATIENCE && !std::mem::replace(&mut self.told, true) {
            events.push(Event::TimeSyncLost { clk: now.clk });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn stamp(wall_s: u64, mono_s: u64, clk: State) -> Stamp {
        Stamp { ts: Micros(1_000_000 * SECOND + wall_s * SECOND), mono: mono_s * 1_000_000_000, clk, clk_err_ms: 1 }
    }

    #[test]
    fn a_clock_is_as_good_as_its_last_synchronisation_is_young() {
        let at = 1_000_000 * SECOND;
        let state = |hours: u64| quality(Micros(at + hours * 3_600 * SECOND), at);
        assert_eq!(state(0), (State::Synced, 50));
        assert_eq!(state(2).0, State::Holdover);
        assert_eq!(state(24).0, State::Unsynced);
        assert_eq!(quality(Micros(at), 0), (State::Unsynced, Stamp::LARGEST_ERROR_MS));
    }

    #[test]
    fn the_file_says_when() {
        let file = std::env::temp_dir().join(format!("colloque-clock-{}", std::process::id()));
        let clock = SystemClock::new(&file);
        assert_eq!(clock.stamp().clk, State::Unsynced, "nobody keeps it");
        std::fs::write(&file, "").expect("a file");
        clock.look();
        assert_eq!(clock.stamp().clk, State::Synced);
        std::fs::remove_file(&file).expect("it was there");
    }

    #[test]
    fn a_jump_is_told_and_time_that_passes_is_not() {
        let mut watch = Watch::default();
        assert!(watch.look(stamp(0, 0, State::Synced)).is_empty());
        assert!(watch.look(stamp(60, 60, State::Synced)).is_empty());
        assert_eq!(watch.look(stamp(59, 65, State::Synced)), [Event::TimeStepped { delta_ms: -6_000 }]);
        assert_eq!(watch.look(stamp(4_000, 70, State::Synced)), [Event::TimeStepped { delta_ms: 3_936_000 }]);
    }

    #[test]
    fn lost_synchronisation_is_told_after_a_while_and_once() {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for second in (0..900).step_by(5) {
            let clk = if (100..800).contains(&second) { State::Unsynced } else { State::Synced };
            told.extend(watch.look(stamp(second, second, clk)).into_iter().map(|event| (second, event.name())));
        }
        assert_eq!(told, [(400, "time.sync_lost"), (800, "time.sync_restored")]);
    }
}
