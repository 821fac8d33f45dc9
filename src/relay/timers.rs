//! When to look at a link or room again: a wheel of wheels, so that a deadline costs the same however many others wait.
//!
//! Every owner has one deadline; setting it anew moves it, so nothing stale is left behind and nothing needs cancelling. A
//! deadline far away lies in a coarse slot and moves to finer ones as its time comes, at most once for each wheel. Deadlines
//! are kept to the millisecond: [`Timers::pop_due`] may be up to a millisecond late, never early.

use crate::model::Instant;
use std::time::Duration;

/// What a timer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A link, by slot and its generation.
    Link(usize, u32),
    /// A room, by slot and its generation.
    Room(usize, u32),
}

/// Bits of a tick that choose a slot of one wheel.
const BITS: u32 = 6;

/// Slots of one wheel: as many as a word has bits, so that the next one in use is found at once.
const SLOTS: usize = 1 << BITS;

/// Wheels of 64 ms, 4 s, 4.4 min and 4.7 h; a later deadline waits in the last wheel and is sorted again when it comes round.
const WHEELS: usize = 4;

/// Ticks the wheels span.
const SPAN: u64 = 1 << (BITS * WHEELS as u32);

/// No entry.
const NONE: u32 = u32::MAX;

/// One owner's deadline, linked with the others of its slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: Option<Deadline>,
    wheel: u8,
    slot: u8,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    generation: u32,
}

impl Entry {
    const IDLE: Self = Self { deadline: None, wheel: 0, slot: 0, previous: NONE, next: NONE };
}

#[derive(Clone, Copy, Debug)]
struct Wheel {
    /// One bit for each slot in use.
    used: u64,
    first: [u32; SLOTS],
}

/// The deadlines of all links and rooms, each slot's at most once.
#[derive(Debug)]
pub(super) struct Timers {
    /// By owner: links have even numbers, rooms odd ones. It grows with the slots of their slabs and no further.
    entries: Vec<Entry>,
    wheels: Box<[Wheel; WHEELS]>,
    /// When ticks began to be counted: with the first deadline.
    epoch: Option<Instant>,
    /// Ticks that have passed; every deadline up to here lies in the slot of this tick.
    passed: u64,
}

impl Default for Timers {
    fn default() -> Self {
        let wheels = Box::new([Wheel { used: 0, first: [NONE; SLOTS] }; WHEELS]);
        Self { entries: Vec::new(), wheels, epoch: None, passed: 0 }
    }
}

impl Timers {
    /// Sets an owner's deadline, whatever it was before. The owner of a slot is its latest one.
    pub(super) fn set(&mut self, now: Instant, at: Instant, owner: Owner) {
        self.epoch.get_or_insert(now);
        let (index, generation) = number(owner);
        let Ok(entry) = u32::try_from(index) else { return };
        if self.entries.len() <= index {
            self.entries.resize(index + 1, Entry::IDLE);
        }
        self.unlink(entry);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.deadline = Some(Deadline { at, generation });
        }
        self.link(entry);
    }

    /// When to call [`pop_due`](Self::pop_due): the next deadline, or a moment before it at which coarse slots are sorted.
    pub(super) fn next(&self) -> Option<Instant> {
        let (_, _, tick) = self.next_slot()?;
        Some(self.epoch? + Duration::from_millis(tick))
    }

    /// Takes out a deadline that has passed, with the moment it was set for.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Owner)> {
        let now = now.millis_since(self.epoch?);
        while let Some((wheel, slot, tick)) = self.next_slot().filter(|(_, _, tick)| *tick <= now) {
            self.passed = self.passed.max(tick);
            if wheel == 0 {
                let index = self.wheels.first().and_then(|wheel| wheel.first.get(slot)).copied()?;
                let deadline = self.unlink(index)?;
                return Some((deadline.at, owner(index, deadline.generation)));
            }
            self.sort(wheel, slot);
        }
        self.passed = self.passed.max(now);
        None
    }

    /// Gives memory back once no deadline is left.
    pub(super) fn shrink(&mut self) {
        if self.wheels.iter().all(|wheel| wheel.used == 0) {
            self.entries = Vec::new();
        }
    }

    /// The slot in use whose turn comes first, and its first tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        // What is in a finer wheel comes before anything in a coarser one.
        let (index, wheel) = self.wheels.iter().enumerate().find(|(_, wheel)| wheel.used != 0)?;
        let shift = BITS * index as u32;
        let at = (self.passed >> shift) as u32 % SLOTS as u32;
        let ahead = wheel.used.rotate_right(at).trailing_zeros();
        let turn = (self.passed >> shift) + u64::from(ahead);
        Some((index, (turn % SLOTS as u64) as usize, turn << shift))
    }

    /// Spreads a coarse slot over the finer wheels.
    fn sort(&mut self, wheel: usize, slot: usize) {
        let Some(from) = self.wheels.get_mut(wheel) else { return };
        from.used &= !(1 << slot);
        let Some(mut index) = from.first.get_mut(slot).map(|first| std::mem::replace(first, NONE)) else { return };
        while let Some(entry) = self.entries.get(index as usize).copied() {
            self.link(index);
            index = entry.next;
        }
    }

    /// Puts an entry into the slot of its deadline.
    fn link(&mut self, index: u32) {
        let Some(deadline) = self.entries.get(index as usize).and_then(|entry| entry.deadline) else { return };
        let Some(epoch) = self.epoch else { return };
        let tick = deadline.at.nanos_since(epoch).div_ceil(1_000_000);
        // The last wheel must not come round to the slot it stands at.
        let tick = tick.clamp(self.passed, (self.passed | (SPAN / 64 - 1)) + SPAN - SPAN / 64);
        let differing = (tick ^ self.passed) | (SLOTS as u64 - 1);
        let level = ((63 - differing.leading_zeros()) / BITS).min(WHEELS as u32 - 1);
        let slot = (tick >> (BITS * level)) as usize % SLOTS;
        let Some(wheel) = self.wheels.get_mut(level as usize) else { return };
        let Some(first) = wheel.first.get_mut(slot) else { return };
        let next = std::mem::replace(first, index);
        wheel.used |= 1 << slot;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = Entry { wheel: level as u8, slot: slot as u8, previous: NONE, next, ..*entry };
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = index;
        }
    }

    /// Takes an entry out of its slot.
    fn unlink(&mut self, index: u32) -> Option<Deadline> {
        let entry = self.entries.get_mut(index as usize)?;
        let deadline = entry.deadline.take()?;
        let Entry { wheel, slot, previous, next, .. } = *entry;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        if let Some(previous) = self.entries.get_mut(previous as usize) {
            previous.next = next;
        } else if let Some(wheel) = self.wheels.get_mut(usize::from(wheel)) {
            if let Some(first) = wheel.first.get_mut(usize::from(slot)) {
                *first = next;
            }
            if next == NONE {
                wheel.used &= !(1 << slot);
            }
        }
        Some(deadline)
    }
}

fn number(owner: Owner) -> (usize, u32) {
    match owner {
        Owner::Link(slot, generation) => (slot * 2, generation),
        Owner::Room(slot, generation) => (slot * 2 + 1, generation),
    }
}

fn owner(index: u32, generation: u32) -> Owner {
    let slot = index as usize / 2;
    if index.is_multiple_of(2) { Owner::Link(slot, generation) } else { Owner::Room(slot, generation) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MS: Duration = Duration::from_millis(1);

    fn pop_all(timers: &mut Timers, now: Instant) -> Vec<(Instant, Owner)> {
        std::iter::from_fn(|| timers.pop_due(now)).collect()
    }

    #[test]
    fn a_deadline_fires_once_and_not_early() {
        let t0 = Instant::now();
        let mut timers = Timers::default();
        assert_eq!((timers.next(), timers.pop_due(t0)), (None, None));
        timers.set(t0, t0 + 30_000 * MS, Owner::Link(7, 1));
        assert_eq!(pop_all(&mut timers, t0 + 29_999 * MS), []);
        assert_eq!(pop_all(&mut timers, t0 + 30_000 * MS), [(t0 + 30_000 * MS, Owner::Link(7, 1))]);
        assert_eq!((timers.next(), pop_all(&mut timers, t0 + 90_000 * MS)), (None, vec![]));
    }

    #[test]
    fn a_moved_deadline_leaves_nothing_behind() {
        let t0 = Instant::now();
        let mut timers = Timers::default();
        for n in 0..100_000 {
            timers.set(t0, t0 + MS * (n % 5_000), Owner::Link(3, n));
            timers.set(t0, t0 + MS * (n % 77), Owner::Room(3, n));
        }
        assert_eq!(timers.entries.len(), 8, "one entry for each slot");
        let fired = pop_all(&mut timers, t0 + 10_000 * MS);
        assert_eq!(fired, [(t0 + MS * (99_999 % 77), Owner::Room(3, 99_999)), (t0 + 4_999 * MS, Owner::Link(3, 99_999))]);
        timers.shrink();
        assert_eq!(timers.entries.capacity(), 0);
    }

    #[test]
    fn a_deadline_beyond_all_wheels_is_kept() {
        let t0 = Instant::now();
        let day = Duration::from_secs(86_400);
        let mut timers = Timers::default();
        timers.set(t0, t0, Owner::Link(0, 1));
        timers.set(t0, t0 + 3 * day, Owner::Room(0, 1));
        assert_eq!(timers.pop_due(t0), Some((t0, Owner::Link(0, 1))));
        assert_eq!(pop_all(&mut timers, t0 + 3 * day - MS), []);
        assert_eq!(pop_all(&mut timers, t0 + 3 * day), [(t0 + 3 * day, Owner::Room(0, 1))]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(steps in proptest::collection::vec((0usize..20, 0u64..400_000_000, 0u64..40_000, 0u64..9), 1..200)) {
            let t0 = Instant::now();
            let mut now = t0;
            let mut timers = Timers::default();
            let mut model: BTreeMap<usize, Instant> = BTreeMap::new();
            for (slot, micros, wait, magnitude) in steps {
                let at = now + Duration::from_micros(micros >> (3 * magnitude));
                timers.set(now, at, Owner::Link(slot, 0));
                model.insert(slot, at);
                let mut wakes = 0;
                let until = now + MS * (wait >> magnitude) as u32;
                // As a worker does: it sleeps until the next moment of interest.
                loop {
                    let next = timers.next();
                    prop_assert_eq!(next.is_none(), model.is_empty());
                    if let (Some(next), Some(first)) = (next, model.values().min()) {
                        prop_assert!(next <= (*first).max(now) + MS, "it would be late");
                    }
                    wakes += 1;
                    now = next.map_or(until, |next| next.max(now).min(until));
                    for (at, owner) in pop_all(&mut timers, now) {
                        let Owner::Link(slot, _) = owner else { panic!("only links") };
                        prop_assert_eq!(model.remove(&slot), Some(at));
                        prop_assert!(at <= now, "early");
                    }
                    prop_assert!(model.values().all(|at| *at + MS > now), "late");
                    if now == until {
                        break;
                    }
                }
                prop_assert!(wakes <= 2 + 20 * (WHEELS + 1), "{} wakes", wakes);
            }
        }
    }
}
