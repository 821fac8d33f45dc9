//! What a socket does between people and relay: it copies datagrams into the one buffer that the relay opens them in.
#![allow(dead_code, reason = "each bench uses a part of it")]

use super::hall::Datagram;
use colloque::model::Path;
use colloque::relay::Received;

/// Datagrams one call to the kernel brings at most.
pub(crate) const BATCH: usize = 64;

/// Room for one datagram in the receive buffer.
const SLOT: usize = 2_048;

/// The receive buffer of a worker, and what lies in it.
pub(crate) struct Socket {
    buffer: Vec<u8>,
    received: Vec<Received>,
}

impl Socket {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; BATCH * SLOT], received: Vec::new() }
    }

    /// The kernel's copy of at most [`BATCH`] datagrams: what has just been received is in the cache, wherever it was made.
    pub(crate) fn receive(&mut self, batch: &[Datagram]) -> (&mut [u8], &[Received]) {
        self.received.clear();
        for (index, (slot, datagram)) in self.buffer.chunks_mut(SLOT).zip(batch).enumerate() {
            slot[..datagram.bytes.len()].copy_from_slice(&datagram.bytes);
            let path = Path { socket: 0, local: None, remote: datagram.from };
            self.received.push(Received { path, start: index * SLOT, len: datagram.bytes.len() });
        }
        (&mut self.buffer, &self.received)
    }
}
