//! Datagrams of one client that leave together.

use std::net::SocketAddr;
use std::ops::Range;

/// An arena of datagrams; emptied after each flush, so it holds one turn of one client.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    items: Vec<(Range<usize>, SocketAddr)>,
}

impl Batch {
    pub(crate) fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.write(to, |bytes| bytes.extend_from_slice(datagram));
    }

    /// What `write` appends becomes a datagram; it is told where it starts by the length it finds.
    pub(crate) fn write(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() > start {
            self.items.push((start..self.bytes.len(), to));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.items.iter().map(|(range, to)| (self.bytes.get(range.clone()).unwrap_or_default(), *to))
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}
