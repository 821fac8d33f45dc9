//! The outgoing batch: finished datagrams, contiguous in one buffer that is reused for every batch.

use crate::model::Path;

/// Room one datagram may take: an Ethernet frame's worth, since media packets are at most 1,200 to 1,300 bytes.
pub const MAX_DATAGRAM: usize = 1_500;

/// Finished datagrams in the order they were made; a run of equal lengths to one path is contiguous, so it can leave as one train.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Longer than what is in use: a slot is not cleared before it is written.
    bytes: Vec<u8>,
    used: usize,
    datagrams: Vec<Outgoing>,
}

/// One finished datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where it goes.
    pub path: Path,
    /// Where it starts in the batch's bytes.
    pub start: usize,
    /// Its length in bytes.
    pub len: usize,
    /// It leaves first when the socket takes no more: voice, checks, handshakes and control, against pictures and data.
    pub urgent: bool,
}

impl Outbox {
    /// Lets `write` fill a slot of [`MAX_DATAGRAM`] bytes, which hold anything before, and keeps as many as it answers; `None` keeps nothing.
    ///
    /// The buffer grows to the largest batch ever made and stays, so a warm batch allocates nothing.
    pub fn push_with(&mut self, path: Path, urgent: bool, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let (start, end) = (self.used, self.used + MAX_DATAGRAM);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let written = self.bytes.get_mut(start..end).and_then(write).filter(|len| *len > 0 && *len <= MAX_DATAGRAM);
        if let Some(len) = written {
            self.used += len;
            self.datagrams.push(Outgoing { path, start, len, urgent });
        }
        written.is_some()
    }

    /// Adds a copy of a datagram; one that is too long is left out.
    pub fn push(&mut self, path: Path, urgent: bool, datagram: &[u8]) -> bool {
        self.push_with(path, urgent, |slot| {
            slot.get_mut(..datagram.len())?.copy_from_slice(datagram);
            Some(datagram.len())
        })
    }

    /// The datagrams, in order.
    #[must_use]
    pub fn datagrams(&self) -> &[Outgoing] {
        &self.datagrams
    }

    /// The bytes that [`Outgoing::start`] and [`Outgoing::len`] point into.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Forgets the batch and keeps the memory, unless a burst made it larger than `KEEP`.
    pub fn clear(&mut self) {
        /// Memory kept between batches: 64 received packets to three receivers each.
        const KEEP: usize = 64 * 3 * MAX_DATAGRAM;
        self.used = 0;
        self.datagrams.clear();
        if self.bytes.capacity() > 4 * KEEP {
            self.bytes.truncate(KEEP);
            self.bytes.shrink_to_fit();
        }
    }
}
