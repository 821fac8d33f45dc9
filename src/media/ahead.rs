//! Asks the processor for memory before it is needed, so that the fetches of many values overlap.
//!
//! A relay with a thousand rooms finds the state of nearly every packet in slow memory. A load would do as well, but a processor
//! waits for the oldest of its loads before it looks further ahead, and guesses wrongly at branches on what is not there yet.
//! A hint to fetch does neither. The language offers that hint only behind `unsafe`, so it lies here
//! (`tests/architecture` holds that): `make bench ARGS=fanout` with 1,000 rooms took 1.45 us of processor time per delivered packet with loads and 1.21 with
//! hints. Where the processor has no such hint, nothing happens.
//!
//! The hint is for the first cache: the relay asks for a burst of packets shortly before it looks at it, so little is under way at a time.
//! When a whole batch was asked for at once, that did not fit there, and the second was better (1.07 us instead of 1.11).
//!
//! Entry points: [`fetch`], [`fetch_slice`], [`fetch_span`].

#![expect(unsafe_code, reason = "hints to fetch memory: 1.21 us of processor time per delivered packet instead of 1.45")]

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// Asks for all of a value.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    lines(std::ptr::from_ref(value).cast(), size_of::<T>());
}

/// Asks for the beginning of a slice, so many cache lines of it.
#[inline(always)]
pub fn fetch_slice<T>(values: &[T], most: usize) {
    lines(values.as_ptr().cast(), size_of_val(values).min(most * LINE));
}

/// Asks for all from one value to another that lies behind it, both included, and for nothing where it does not.
#[inline(always)]
pub fn fetch_span<T, U>(first: &T, last: &U) {
    let start = std::ptr::from_ref(first).cast::<u8>();
    let end = std::ptr::from_ref(last).addr() + size_of::<U>();
    lines(start, end.saturating_sub(start.addr()));
}

#[inline(always)]
fn lines(start: *const u8, len: usize) {
    let count = if len == 0 { 0 } else { (start.addr() % LINE + len).div_ceil(LINE) };
    for line in 0..count {
        hint(start.wrapping_add(line * LINE));
    }
}

#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn hint(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 processor has the instruction; it reads nothing into the program and no address makes it fail.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[inline(always)]
#[cfg(target_arch = "aarch64")]
fn hint(at: *const u8) {
    // SAFETY: every AArch64 processor has the instruction; it changes no register or memory and no address makes it fail.
    unsafe { std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly)) };
}

#[inline(always)]
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn hint(_at: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_and_length_will_do() {
        let values: Vec<[u8; 100]> = vec![[7; 100]; 50];
        values.iter().for_each(fetch);
        for from in 0..values.len() {
            fetch_slice(&values[from..], 3);
            fetch_span(&values[from], &values[values.len() - 1]);
            fetch_span(&values[from], &values[0]);
        }
        fetch_slice::<[u8; 100]>(&[], 9);
        fetch::<()>(&());
        assert!(values.iter().flatten().all(|byte| *byte == 7));
    }
}
