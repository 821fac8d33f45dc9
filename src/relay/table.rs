//! What a shard holds many of, by slot.
//!
//! Each value has a box of its own: the table itself stays short enough for the caches, so that finding a value among thousands touches no
//! slow memory, and a value can begin a cache line. Entry points: those of `slab::Slab`.

use slab::Slab;

#[derive(Debug)]
pub(super) struct Table<T>(Slab<Box<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Slab::new())
    }
}

impl<T> Table<T> {
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        self.0.get(slot).map(|value| &**value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.0.get_mut(slot).map(|value| &mut **value)
    }

    /// Takes a value in and answers its slot.
    pub(super) fn insert(&mut self, value: T) -> usize {
        self.0.insert(Box::new(value))
    }

    pub(super) fn try_remove(&mut self, slot: usize) -> Option<T> {
        self.0.try_remove(slot).map(|value| *value)
    }

    pub(super) fn contains(&self, slot: usize) -> bool {
        self.0.contains(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.0.iter().map(|(slot, value)| (slot, &**value))
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }
}
