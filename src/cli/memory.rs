//! Large pages for the state of calls.
//!
//! With hundreds of rooms nearly every packet finds its state in slow memory, and where that lies costs nearly as much to find out
//! as to fetch it: with large pages a delivered packet took 1.06 us instead of 1.30 in the bench of 1,000 rooms, and 4.3 instead of
//! 4.7 us of the whole process with 80 rooms, for 2 to 3 MiB of memory. The C library asks for such pages only if its environment says so
//! before it starts, and in its first arena only, so the process starts itself once more. Whoever sets `GLIBC_TUNABLES`, be it to
//! nothing, decides for himself.
//!
//! Entry point: [`use_large_pages`].

/// What the C library reads (glibc manual, "Memory Allocation Tunables").
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const VARIABLE: &str = "GLIBC_TUNABLES";

/// Large pages where they fit, and one arena for all threads: the others get none. Threads keep what they free for themselves, and
/// packets allocate nothing, so that they do not wait for each other.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const WORDS: &str = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1";

/// Starts this process anew with large pages where the machine gives them to who asks. Returns where that is not to be had: everything works
/// without them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn use_large_pages() {
    use std::os::unix::process::CommandExt;

    #[expect(clippy::disallowed_methods, reason = "no setting of ours: whether the C library was told already")]
    let told = std::env::var_os(VARIABLE).is_some();
    if told || !are_given_on_request() {
        return;
    }
    let mut words = std::env::args_os();
    let (Some(name), Ok(program)) = (words.next(), std::env::current_exe()) else { return };
    let error = std::process::Command::new(program).arg0(name).args(words).env(VARIABLE, WORDS).exec();
    tracing::info!(kind = ?error.kind(), "no large pages: the process cannot be started anew");
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn use_large_pages() {}

/// Where they are always given, or never, nothing is to be asked for.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn are_given_on_request() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").is_ok_and(|words| words.contains("[madvise]"))
}
