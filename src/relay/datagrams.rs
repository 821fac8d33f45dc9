//! What the socket received: whose it is, and which part of the transport it is for.
//!
//! The senders of a batch are looked up, and then the work is done, while the memory that later packets will need is asked for. Entry points: [`Shard::handle_batch`], and [`Shard::handle_datagram`] for one alone.

use super::shard::{Disposition, Shard};
use crate::media::packet::{Class, classify};
use crate::model::counters::{DropReason, FailureReason};
use crate::model::{Now, Path};
use crate::transport::ice::{parse_username, shard_of_ufrag};
use crate::transport::peer::Outcome;
use crate::transport::srtp::{Coming, Datagram, Proofs};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One received datagram, by its place in the batch's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where it came from and to.
    pub path: Path,
    /// Where it starts.
    pub start: usize,
    /// Its length in bytes.
    pub len: usize,
}

/// A remote address as a key: quick to hash and to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    ip: u128,
    /// Port, scope of a link-local address, and whether the address is of version 4.
    rest: u64,
}

impl Endpoint {
    pub(super) fn of(address: SocketAddr) -> Self {
        let port = u64::from(address.port());
        match address {
            SocketAddr::V4(address) => Self { ip: u128::from(u32::from(*address.ip())), rest: 1 << 63 | port },
            SocketAddr::V6(address) => Self { ip: u128::from(*address.ip()), rest: u64::from(address.scope_id()) << 16 | port },
        }
    }
}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.ip as u64 ^ self.rest.rotate_left(32));
        if self.ip >> 64 != 0 {
            state.write_u64((self.ip >> 64) as u64);
        }
    }
}

/// Links by authenticated address. The hash is quick and keyed at random: only who passed a check gets in, and yet nobody can
/// choose addresses that collide.
pub(super) type Addresses = HashMap<Endpoint, usize, foldhash::fast::RandomState>;

/// Packets whose tags are made together at most: eight times what the widest processor hashes at once, so that nearly all of them are of
/// one length with their neighbours; their bytes stay in the second-level cache until their turn.
const TOGETHER: usize = 128;

/// No sender is known.
pub(super) const NOBODY: usize = usize::MAX;

impl Shard {
    /// Takes one datagram in; it is decrypted in place.
    pub fn handle_datagram(&mut self, now: Now, path: Path, datagram: &mut [u8]) -> Disposition {
        let mut disposition = Disposition::Taken;
        let alone = [Received { path, start: 0, len: datagram.len() }];
        self.handle_batch(now, datagram, &alone, |_, _, elsewhere| disposition = elsewhere);
        disposition
    }

    /// Takes datagrams in that lie in `bytes`; they are decrypted in place. What is not for this shard goes to `elsewhere`.
    pub fn handle_batch(
        &mut self,
        now: Now,
        bytes: &mut [u8],
        batch: &[Received],
        mut elsewhere: impl FnMut(&Received, &mut [u8], Disposition),
    ) {
        let mut senders = std::mem::take(&mut self.senders);
        senders.clear();
        self.find_senders(batch, &mut senders);
        let mut lookout = std::mem::take(&mut self.lookout);
        self.look_ahead(&mut lookout, bytes, batch, &senders);
        self.moved_addresses = false;
        let mut proofs = std::mem::take(&mut self.proofs);
        let mut next = 0;
        while next < batch.len() {
            // A fault in one member's packet must end that member, not the worker: nothing of it is shared with the others but
            // what the maps' owners clean up.
            let guarded = catch_unwind(AssertUnwindSafe(|| {
                while next < batch.len() {
                    let together = || batch.iter().zip(&senders).skip(next).take(TOGETHER);
                    let mut coming = self.foresee(together(), bytes, &mut proofs);
                    for (received, sender) in together() {
                        self.look_further(&mut lookout, next);
                        next += 1;
                        let Some(mut datagram) = coming.datagram(received.start, received.len) else { continue };
                        let disposition = self.handle(now, received.path, *sender, &mut datagram);
                        if disposition != Disposition::Taken {
                            elsewhere(received, datagram.as_mut_slice(), disposition);
                        }
                    }
                }
            }));
            if guarded.is_err() {
                self.counters.panics += 1;
                self.fail(self.serving, FailureReason::Internal, now);
                self.moved_addresses = true;
            }
        }
        proofs.clear();
        self.proofs = proofs;
        self.lookout = lookout;
        self.senders = senders;
    }

    /// Looks up who sent what; packets of one sender come one behind the other.
    fn find_senders(&self, batch: &[Received], senders: &mut Vec<usize>) {
        let mut last = None;
        for received in batch {
            let remote = received.path.remote;
            let sender = match last {
                Some((address, sender)) if address == remote => sender,
                _ => self.addresses.get(&Endpoint::of(remote)).copied().unwrap_or(NOBODY),
            };
            last = Some((remote, sender));
            senders.push(sender);
        }
    }

    /// Makes the tags of some packets together, where a profile needs that.
    fn foresee<'a>(
        &self,
        packets: impl ExactSizeIterator<Item = (&'a Received, &'a usize)>,
        bytes: &'a mut [u8],
        proofs: &'a mut Proofs,
    ) -> Coming<'a> {
        proofs.clear();
        // Where nobody ever came with AES-CM, nothing is looked at.
        if self.counters.srtp_cm_sha1 == 0 || packets.len() < 2 {
            return proofs.make(bytes);
        }
        for (received, sender) in packets {
            let packet = bytes.get(received.start..).and_then(|rest| rest.get(..received.len));
            if let (Some(packet), Some(link)) = (packet, self.links.get(*sender))
                && classify(packet) == Class::Rtp
            {
                link.peer.foresee_rtp(proofs, received.start, packet);
            }
        }
        proofs.make(bytes)
    }

    fn handle(&mut self, now: Now, path: Path, sender: usize, datagram: &mut Datagram<'_>) -> Disposition {
        self.counters.packets_in += 1;
        self.counters.bytes_in += datagram.as_slice().len() as u64;
        self.serving = NOBODY;
        let class = classify(datagram.as_slice());
        if class == Class::Stun {
            return self.handle_stun(now, path, datagram.as_slice());
        }
        let mut link = sender;
        if self.moved_addresses {
            // A check or a fault in this very batch may have changed who is where.
            link = self.addresses.get(&Endpoint::of(path.remote)).copied().unwrap_or(NOBODY);
        }
        if link == NOBODY {
            return self.handle_stray(class, now, path, datagram.as_mut_slice());
        }
        self.serving = link;
        match class {
            Class::Rtp => self.handle_rtp(link, now.mono, path, datagram),
            Class::Rtcp => self.handle_rtcp(link, now.mono, path, datagram.as_mut_slice()),
            Class::Dtls => self.handle_dtls(link, now, datagram.as_slice()),
            Class::Stun | Class::Unknown => self.counters.drop(DropReason::Malformed),
        }
        Disposition::Taken
    }

    fn handle_stun(&mut self, now: Now, path: Path, datagram: &[u8]) -> Disposition {
        if let Some(disposition) = self.handle_answer(now.mono, path, datagram) {
            return disposition;
        }
        let Some((ufrag, _)) = parse_username(datagram) else {
            self.counters.drop(DropReason::Malformed);
            return Disposition::Taken;
        };
        if let Some(shard) = shard_of_ufrag(ufrag).filter(|shard| *shard != self.config.id) {
            return Disposition::Elsewhere(shard);
        }
        let Some(link) = self.ufrags.get(ufrag).copied() else {
            self.counters.drop(DropReason::UnknownUfrag);
            return Disposition::Taken;
        };
        self.serving = link;
        let Some(state) = self.links.get_mut(link) else { return Disposition::Taken };
        match state.peer.handle_stun(now.mono, path, datagram, &mut self.outbox) {
            Err(reason) => self.counters.drop(reason),
            Ok(outcome) => {
                self.counters.stun_answered += 1;
                if outcome == Outcome::Moved {
                    self.on_moved(link, now.mono);
                }
                self.learn_address(link, path.remote);
                self.mark_dirty(link);
            }
        }
        Disposition::Taken
    }

    /// An authenticated address leads to this link from now on, whoever had it before (a NAT may reuse a port).
    pub(super) fn learn_address(&mut self, link: usize, address: SocketAddr) {
        let Some(state) = self.links.get_mut(link) else { return };
        if !state.addresses.contains(&address) {
            state.addresses.push(address);
        }
        // An empty vector: nothing is allocated but in the rare case.
        let forgotten: Vec<SocketAddr> =
            state.addresses.extract_if(.., |known| *known != address && !state.peer.knows(*known)).collect();
        for old in forgotten {
            self.addresses.remove(&Endpoint::of(old));
            self.address_changes.push((old, false));
            self.moved_addresses = true;
        }
        let before = self.addresses.insert(Endpoint::of(address), link);
        self.moved_addresses |= before != Some(link);
        if let Some(previous) = before.filter(|previous| *previous != link)
            && let Some(previous) = self.links.get_mut(previous)
        {
            previous.addresses.retain(|known| *known != address);
        }
        if before.is_none() {
            self.address_changes.push((address, true));
        }
    }

    fn handle_dtls(&mut self, link: usize, now: Now, datagram: &[u8]) {
        let Some(state) = self.links.get_mut(link) else { return };
        if let Err(reason) = state.peer.handle_dtls(now.mono, datagram) {
            self.counters.drop(reason);
        }
        self.mark_dirty(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn addresses_of_one_number_and_two_versions_are_two() {
        let of = |ip: IpAddr, port| Endpoint::of(SocketAddr::new(ip, port));
        let four = IpAddr::from([10, 0, 0, 1]);
        let six = IpAddr::from(0x0a00_0001_u128.to_be_bytes());
        assert_ne!(of(four, 1), of(six, 1));
        assert_ne!(of(four, 1), of(four, 2));
        assert_eq!(of(six, 7), of(six, 7));
    }
}
