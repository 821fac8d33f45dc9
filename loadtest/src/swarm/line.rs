//! The impaired line between one client and its socket: both directions of a profile.

use crate::client::Batch;
use crate::impair::{Link, Profile};
use std::net::SocketAddr;
use std::time::Instant;

pub(crate) struct Line {
    up: Link<(SocketAddr, Vec<u8>)>,
    down: Link<(SocketAddr, Vec<u8>)>,
}

impl Line {
    pub(crate) fn new(profile: &Profile, seed: u64) -> Self {
        Self { up: Link::new(&profile.up, seed), down: Link::new(&profile.down, seed ^ 1) }
    }

    pub(crate) fn change(&mut self, now: Instant, profile: &Profile) {
        self.up.change(now, &profile.up);
        self.down.change(now, &profile.down);
    }

    /// Takes a batch from the client in, and leaves in it what has come through.
    pub(crate) fn pass_up(&mut self, now: Instant, batch: &mut Batch) {
        for (bytes, to) in batch.iter() {
            self.up.push(now, (to, bytes.to_vec()), bytes.len());
        }
        batch.clear();
        while let Some((to, bytes)) = self.up.poll(now) {
            batch.push(to, &bytes);
        }
    }

    pub(crate) fn push_down(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.down.push(now, (from, bytes.to_vec()), bytes.len());
    }

    /// The next datagram that has come through to the client.
    pub(crate) fn poll_down(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        self.down.poll(now)
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.up.next_at().into_iter().chain(self.down.next_at()).min()
    }
}
