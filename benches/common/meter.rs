//! What a bench reads: the processor time of its thread, which other programs do not inflate as they do the time on the wall
//! (they still cost cache), and the allocations of the process.
#![allow(dead_code, reason = "each bench uses a part of it")]

use criterion::Criterion;
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Set where the clock cannot be read: under valgrind there is no vDSO.
static TIMELESS: AtomicBool = AtomicBool::new(false);

/// From now on no time passes; for counting something else.
pub(crate) fn forget_time() {
    TIMELESS.store(true, Ordering::Relaxed);
}

/// Processor time of this thread, its system calls included. Reading it takes about a quarter of a microsecond, so that what is
/// measured must be much longer: nothing is subtracted.
fn processor_time() -> Duration {
    if TIMELESS.load(Ordering::Relaxed) {
        return Duration::ZERO;
    }
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Allocations of the process so far.
pub(crate) fn allocations() -> usize {
    let stats = HEAP.stats();
    stats.allocations + stats.reallocations
}

/// What some work took so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) time: Duration,
    pub(crate) allocations: usize,
}

impl Spent {
    /// Does some work and adds what it took.
    pub(crate) fn on<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (allocations_before, before) = (allocations(), processor_time());
        let done = work();
        self.time += processor_time() - before;
        self.allocations += allocations() - allocations_before;
        done
    }

    /// Adds what other work took.
    pub(crate) fn add(&mut self, other: Self) {
        self.time += other.time;
        self.allocations += other.allocations;
    }

    /// Its time as if `did` units of work had been `asked`.
    pub(crate) fn scaled(&self, did: u64, asked: u64) -> Duration {
        self.time.mul_f64(asked as f64 / did as f64)
    }
}

/// Few short samples: all benches together are to take about three minutes.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}
