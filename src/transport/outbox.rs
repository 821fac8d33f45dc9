//! The outgoing batch: datagrams, contiguous in one buffer that is reused for every batch.
//!
//! A packet may be sealed but for its tag: the tags of a batch are made together, see [`srtp`](super::srtp). So what is being
//! collected cannot be looked at. [`Outbox::finish`] writes what is missing and shows the [`Batch`], and there is no other way to
//! one: no datagram without its tag can be sent.

pub use super::srtp::debt::Debt;
use super::srtp::debt::Debts;
use crate::model::Path;
use std::collections::HashMap;

/// Room one datagram may take: an Ethernet frame's worth, since media packets are at most 1,200 to 1,300 bytes.
pub const MAX_DATAGRAM: usize = 1_500;

/// Collects datagrams until [`finish`](Self::finish) shows them, or [`gather`](Self::gather), which brings those of one path together.
#[derive(Debug, Default)]
pub struct Outbox {
    batch: Batch,
    debts: Debts,
    gathering: Gathering,
}

/// Finished datagrams in the order they were made, or gathered by their paths.
#[derive(Debug, Default)]
pub struct Batch {
    /// Longer than what is in use: a slot is not cleared before it is written.
    bytes: Vec<u8>,
    used: usize,
    datagrams: Vec<Outgoing>,
}

/// What gathering needs, kept for its memory.
#[derive(Debug, Default)]
struct Gathering {
    /// The groups by path, numbered as they come up.
    groups: HashMap<Path, usize, foldhash::fast::RandomState>,
    /// The group of each datagram.
    group_of: Vec<usize>,
    /// How many datagrams each group has, and then where its next one goes.
    places: Vec<usize>,
    gathered: Vec<Outgoing>,
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
        self.push_sealed(path, urgent, |slot, _| write(slot))
    }

    /// The same for a packet whose tag may be owed.
    pub fn push_sealed(&mut self, path: Path, urgent: bool, write: impl FnOnce(&mut [u8], Debt<'_>) -> Option<usize>) -> bool {
        let Self { batch, debts, .. } = self;
        // Whoever gave a packet up, or failed in the middle of it, owes nothing.
        debts.forget_from(batch.used);
        if debts.is_full() {
            debts.pay(&mut batch.bytes);
        }
        let (start, end) = (batch.used, batch.used + MAX_DATAGRAM);
        if batch.bytes.len() < end {
            batch.bytes.resize(end, 0);
        }
        let slot = batch.bytes.get_mut(start..end);
        let written = slot.and_then(|slot| write(slot, debts.lend(start))).filter(|len| *len > 0 && *len <= MAX_DATAGRAM);
        if let Some(len) = written {
            batch.used += len;
            batch.datagrams.push(Outgoing { path, start, len, urgent });
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

    /// Writes the tags that are owed, and shows what is collected.
    pub fn finish(&mut self) -> &Batch {
        let Self { batch, debts, .. } = self;
        debts.forget_from(batch.used);
        debts.pay(&mut batch.bytes);
        batch
    }

    /// The datagram that was made last, its tag written.
    pub fn last(&mut self) -> Option<&[u8]> {
        let Self { batch, debts, .. } = self;
        let Outgoing { start, len, .. } = *batch.datagrams.last()?;
        debts.forget_from(batch.used);
        debts.pay_last(start, &mut batch.bytes);
        batch.bytes.get(start..start + len)
    }

    /// Bytes collected.
    #[must_use]
    pub fn size(&self) -> usize {
        self.batch.used
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.datagrams.is_empty()
    }

    /// Finishes the batch, and brings the datagrams of one path together, in their order: a packet of a room goes to one after the other,
    /// and only neighbours can leave as one train. The bytes stay where they are.
    pub fn gather(&mut self) -> &Batch {
        self.gathering.gather(&mut self.batch.datagrams);
        self.finish()
    }

    /// Forgets the batch and keeps the memory, unless a burst made it larger than `KEEP`.
    pub fn clear(&mut self) {
        /// Memory kept between batches: 64 received packets to three receivers each.
        const KEEP: usize = 64 * 3 * MAX_DATAGRAM;
        self.debts.forget_from(0);
        let batch = &mut self.batch;
        batch.used = 0;
        batch.datagrams.clear();
        if batch.bytes.capacity() > 4 * KEEP {
            batch.bytes.truncate(KEEP);
            batch.bytes.shrink_to_fit();
            batch.datagrams = Vec::new();
            self.gathering = Gathering::default();
        }
    }
}

impl Batch {
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
}

impl Gathering {
    fn gather(&mut self, datagrams: &mut Vec<Outgoing>) {
        let Self { groups, group_of, places, gathered } = self;
        // Three datagrams are the fewest of which two can stand apart.
        if datagrams.len() < 3 {
            return;
        }
        groups.clear();
        group_of.clear();
        places.clear();
        let mut last: Option<(&Path, usize)> = None;
        for datagram in &*datagrams {
            let group = match last {
                Some((path, group)) if *path == datagram.path => group,
                _ => *groups.entry(datagram.path).or_insert(places.len()),
            };
            last = Some((&datagram.path, group));
            group_of.push(group);
            match places.get_mut(group) {
                Some(count) => *count += 1,
                None => places.push(1),
            }
        }
        let mut start = 0;
        for place in places.iter_mut() {
            start += std::mem::replace(place, start);
        }
        gathered.clear();
        gathered.extend_from_slice(datagrams);
        for (datagram, group) in datagrams.iter().zip(group_of) {
            if let Some(place) = places.get_mut(*group) {
                if let Some(slot) = gathered.get_mut(*place) {
                    *slot = *datagram;
                }
                *place += 1;
            }
        }
        std::mem::swap(datagrams, gathered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    proptest! {
        #[test]
        fn gathering_keeps_each_path_in_its_order(ports in proptest::collection::vec(1u16..6, 0..40)) {
            let mut outbox = Outbox::default();
            for _ in 0..2 {
                outbox.clear();
                for (mark, port) in (0u8..).zip(&ports) {
                    let path = Path { socket: 0, local: None, remote: SocketAddr::from(([127, 0, 0, 1], *port)) };
                    prop_assert!(outbox.push(path, false, &[mark]));
                }
                let batch = outbox.gather();
                let mark = |datagram: &Outgoing| (datagram.path.remote.port(), batch.bytes()[datagram.start]);
                let gathered: Vec<_> = batch.datagrams().iter().map(mark).collect();
                let mut first_seen: Vec<u16> = Vec::new();
                ports.iter().for_each(|port| if !first_seen.contains(port) { first_seen.push(*port) });
                let expected: Vec<_> = first_seen
                    .iter()
                    .flat_map(|wanted| (0u8..).zip(&ports).filter(move |(_, port)| *port == wanted).map(|(mark, port)| (*port, mark)))
                    .collect();
                prop_assert_eq!(gathered, expected);
            }
        }
    }
}
