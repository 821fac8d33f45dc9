//! Asks the processor for memory before it is needed, so that the fetches of many values overlap.
//!
//! A relay with a thousand rooms finds the state of nearly every packet in slow memory. A load would do as well, but a processor
//! waits for the oldest of its loads before it looks further ahead, and guesses wrongly at branches on what is not there yet.
//! A hint to fetch does neither. The language offers that hint only behind `unsafe`, so it lies here
//! (`tests/architecture` holds that): `make bench ARGS=fanout` with 1,000 rooms took 1.45 us of processor time per delivered packet with loads and 1.21 with
//! hints. Where the processor has no such hint, nothing happens.
//!
//! Entry points: [`fetch`], [`fetch_slice`], [`fetch_some`].

#![expect(unsafe_code, reason = "hints to fetch memory: 1.21 us of processor time per delivered packet instead of 1.45")]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for all of a value.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    lines(start, size_of::<T>(), usize::MAX);
}

/// Asks for the beginning of a slice, so many cache lines of it.
#[inline(always)]
pub fn fetch_slice<T>(values: &[T], most: usize) {
    lines(values.as_ptr().cast(), size_of_val(values), most);
}

/// Asks for the beginning of a value, where there is one, so many cache lines of it.
#[inline(always)]
pub fn fetch_some<T>(value: Option<&T>, most: usize) {
    if let Some(value) = value {
        lines(std::ptr::from_ref(value).cast(), size_of::<T>(), most);
    }
}

#[inline(always)]
fn lines(start: *const u8, len: usize, most: usize) {
    let count = (start.addr() % LINE + len).div_ceil(LINE).min(most);
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
            fetch_some(values.get(from), usize::MAX);
        }
        fetch_slice::<[u8; 100]>(&[], 9);
        fetch::<()>(&());
        fetch_some::<u8>(None, 1);
        assert!(values.iter().flatten().all(|byte| *byte == 7));
    }
}
