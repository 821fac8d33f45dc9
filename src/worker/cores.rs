//! One core for each worker, where there are as many.

/// The cores workers may be pinned to: as many as there are workers, spread over those this process may use; `None` where there are
/// fewer, where a quota says that the cores are shared (two such processes would choose the same), or the system does not tell.
pub(super) fn spread(workers: usize) -> Option<Vec<usize>> {
    let allowed = allowed()?;
    let shared = std::thread::available_parallelism().is_ok_and(|granted| granted.get() < allowed.len());
    if shared { None } else { choose(&allowed, workers) }
}

fn choose(allowed: &[usize], workers: usize) -> Option<Vec<usize>> {
    if workers == 0 || allowed.len() < workers {
        return None;
    }
    // Neighbours in the list are often two threads of one core: leave them to the rest of the process while there are enough.
    (0..workers).map(|worker| allowed.get(worker * allowed.len() / workers).copied()).collect()
}

#[cfg(target_os = "linux")]
fn allowed() -> Option<Vec<usize>> {
    let mask = rustix::thread::sched_getaffinity(None).ok()?;
    Some((0..rustix::thread::CpuSet::MAX_CPU).filter(|core| mask.is_set(*core)).collect())
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Option<Vec<usize>> {
    None
}

/// Pins this thread to a core; answers whether that was granted.
#[cfg(target_os = "linux")]
pub(super) fn pin(core: usize) -> bool {
    let mut mask = rustix::thread::CpuSet::new();
    mask.set(core);
    rustix::thread::sched_setaffinity(None, &mask).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_core: usize) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_a_core_of_its_own_or_none_gets_one() {
        assert_eq!(choose(&[0, 1, 2, 3], 2), Some(vec![0, 2]));
        assert_eq!(choose(&[4, 6, 7], 3), Some(vec![4, 6, 7]));
        assert_eq!(choose(&[4, 6, 7], 4), None);
        assert_eq!(choose(&[0], 0), None);
        let all = choose(&(0..7).collect::<Vec<_>>(), 5).expect("enough");
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pinned_thread_may_use_one_core() {
        let core = *allowed().expect("told").first().expect("at least one");
        std::thread::spawn(move || {
            assert!(pin(core));
            assert_eq!(allowed(), Some(vec![core]));
            assert_eq!(std::thread::available_parallelism().map_or(0, std::num::NonZero::get), 1);
        })
        .join()
        .expect("a thread of its own, so that no other test is pinned");
    }
}
