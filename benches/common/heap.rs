//! Two heaps: what the relay asks for comes from the C library, as in a node, and what people ask for lies elsewhere.
//!
//! A thousand rooms of synthetic people are some gigabytes. In one heap with them, each part of the relay's state would lie on a page
//! of its own between theirs, and finding that page would cost more than the state itself; no node looks like that.
//!
//! Memory for people comes in classes of sizes from one large reserve, and goes back to its class.

#![expect(unsafe_code, reason = "an allocator is: with both in one heap, a node's memory would be measured as it never is")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Address space for people: 3,000 take about 4 GiB. What is not used costs nothing; what does not fit comes from the C library.
const RESERVE: usize = 12 << 30;
/// Larger pieces are rare, and come from the C library.
const LARGEST: usize = 1 << 20;
/// Classes: four for each doubling, from 16 bytes on.
const CLASSES: usize = 68;
/// What all pieces are aligned to.
const ALIGN: usize = 16;

thread_local! {
    static OF_RELAY: Cell<bool> = const { Cell::new(false) };
}

/// Does something as the relay: what it asks for comes from the relay's heap.
pub(crate) fn as_relay<T>(act: impl FnOnce() -> T) -> T {
    let before = OF_RELAY.replace(true);
    let done = act();
    OF_RELAY.set(before);
    done
}

/// Both heaps as one allocator.
pub(crate) struct Heaps {
    people: Mutex<Reserve>,
    /// What the relay has asked for so far, and how often it has asked for more of the same.
    allocations: AtomicUsize,
}

struct Reserve {
    start: usize,
    /// Handed out at some time.
    used: usize,
    /// Where the first free piece of each class is; each begins with where the next is.
    free: [usize; CLASSES],
}

/// The class of a size, and how large its pieces are.
fn class_of(size: usize) -> (usize, usize) {
    let steps = size.max(ALIGN).div_ceil(ALIGN);
    if steps <= 4 {
        return (steps - 1, steps * ALIGN);
    }
    // Four classes between two powers of two.
    let power = (steps - 1).ilog2() as usize;
    let quarter = 1 << (power - 2);
    let quarters = steps.div_ceil(quarter);
    (4 * (power - 2) + quarters - 1, quarters * quarter * ALIGN)
}

impl Heaps {
    pub(crate) const fn new() -> Self {
        let people = Mutex::new(Reserve { start: 0, used: 0, free: [0; CLASSES] });
        Self { people, allocations: AtomicUsize::new(0) }
    }

    /// How often the relay has asked for memory.
    pub(crate) fn allocations(&self) -> usize {
        self.allocations.load(Ordering::Relaxed)
    }

    fn people(&self) -> MutexGuard<'_, Reserve> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        if OF_RELAY.get() {
            self.allocations.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Reserve {
    fn take(&mut self, size: usize) -> *mut u8 {
        if self.start == 0 {
            // SAFETY: the layout is not empty.
            self.start = unsafe { System.alloc(Layout::from_size_align_unchecked(RESERVE, ALIGN)) }.expose_provenance();
        }
        let (class, size) = class_of(size);
        let Some(first) = self.free.get_mut(class).filter(|_| self.start != 0) else { return null_mut() };
        if *first != 0 {
            let piece = std::ptr::with_exposed_provenance_mut::<u8>(*first);
            // SAFETY: `give` put it there, and wrote where the next one is; nobody else has it.
            *first = unsafe { piece.cast::<usize>().read() };
            return piece;
        }
        if self.used + size > RESERVE {
            return null_mut();
        }
        self.used += size;
        std::ptr::with_exposed_provenance_mut(self.start + self.used - size)
    }

    fn has(&self, piece: *mut u8) -> bool {
        self.start != 0 && (self.start..self.start + RESERVE).contains(&piece.addr())
    }

    /// Takes a piece back, if it is one of these.
    fn give(&mut self, piece: *mut u8, size: usize) -> bool {
        if !self.has(piece) {
            return false;
        }
        if let Some(first) = self.free.get_mut(class_of(size).0) {
            // SAFETY: it came from `take` with the same size, has 16 bytes at least, and its owner is done with it.
            unsafe { piece.cast::<usize>().write(*first) };
            *first = piece.expose_provenance();
        }
        true
    }
}

// SAFETY: pieces of the reserve do not overlap, are as large and as aligned as asked for, and only those go back there; all else is the
// C library's.
unsafe impl GlobalAlloc for Heaps {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        if !OF_RELAY.get() && layout.size() <= LARGEST && layout.align() <= ALIGN {
            let piece = self.people().take(layout.size());
            if !piece.is_null() {
                return piece;
            }
        }
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if !self.people().give(piece, layout.size()) {
            // SAFETY: it is none of the reserve, so it came from there with this layout.
            unsafe { System.dealloc(piece, layout) };
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.people().has(piece) {
            self.count();
            // SAFETY: it is none of the reserve, so it came from there with this layout; the rest is the caller's word.
            return unsafe { System.realloc(piece, layout, size) };
        }
        // SAFETY: the caller's word on piece and size; the alignment is one that was good before.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(piece, new, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            new
        }
    }
}
