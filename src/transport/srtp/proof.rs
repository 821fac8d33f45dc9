//! Tags of received packets, made before the packets have their turn: those of a whole batch cost a quarter when they are made side
//! by side.
//!
//! A [`Datagram`] comes from [`Coming::datagram`] together with the tag that belongs to its bytes, and loses it as soon as somebody
//! may change them; between the making of the tags and that nobody can, since [`Coming`] keeps the bytes to itself. The tag holds for one key and one rollover counter; where a packet turns out to need another, or does not have that
//! tag, it is authenticated by itself, as without all this. GCM makes none and touches nothing here.
//!
//! Entry points: [`Proofs::foresee`], [`Proofs::make`], [`Coming::datagram`].

use super::SrtpReceiver;
use super::cm::TAG_LEN;
use super::hmac::{HmacKey, wipe};
use super::together::{Signed, make_tags};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::fmt;

/// The tags of packets that are about to be looked at.
#[derive(Default)]
pub struct Proofs {
    /// In the order of their places, none over another.
    packets: Vec<Signed>,
    /// Their tags, once they are made.
    tags: Vec<[u8; TAG_LEN]>,
    /// How many had their turn.
    passed: usize,
    order: Vec<u32>,
}

/// Datagrams that are about to be looked at, one behind the other.
pub struct Coming<'a> {
    proofs: &'a mut Proofs,
    bytes: &'a mut [u8],
    /// Behind the last of those that had their turn: from here on nobody has changed a byte since the tags were made.
    end: usize,
}

/// A received datagram, with the tag that it should have where that is known.
pub struct Datagram<'a> {
    bytes: &'a mut [u8],
    proof: Option<(Signed, [u8; TAG_LEN])>,
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").field("packets", &self.packets.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Coming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coming").field("proofs", &self.proofs).finish_non_exhaustive()
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Proofs {
    /// Makes what stands here void.
    pub fn clear(&mut self) {
        wipe(&mut self.packets);
        self.packets.clear();
        self.tags.clear();
        self.passed = 0;
    }

    /// Notes what the tag of an RTP packet is made of, as its index looks now, if the receiver's profile needs it.
    ///
    /// `start` is where the packet lies in the bytes that [`make`](Self::make) is given; each lies behind the one before.
    pub fn foresee(&mut self, receiver: &SrtpReceiver, start: usize, packet: &[u8]) {
        let behind = self.packets.last().is_none_or(|last| last.start + last.len + TAG_LEN <= start);
        if behind && let Some((key, rollover_counter, len)) = receiver.foresee(packet) {
            self.packets.push(Signed { start, len, rollover_counter, key });
        }
    }

    /// Makes the tags of what was foreseen, and keeps the bytes until the datagrams in them have had their turn.
    pub fn make<'a>(&'a mut self, bytes: &'a mut [u8]) -> Coming<'a> {
        let Self { packets, tags, order, .. } = self;
        tags.resize(packets.len(), [0; TAG_LEN]);
        make_tags(packets, order, bytes, |_, place, tag| {
            if let (Some(place), Some(tag)) = (tags.get_mut(place), tag.first_chunk()) {
                *place = *tag;
            }
        });
        Coming { proofs: self, bytes, end: 0 }
    }
}

impl Drop for Proofs {
    fn drop(&mut self) {
        wipe(&mut self.packets);
    }
}

impl Coming<'_> {
    /// The datagram that lies here, unless that is not within the bytes; of one that lies over one before it nothing is known.
    pub fn datagram(&mut self, start: usize, len: usize) -> Option<Datagram<'_>> {
        let Self { proofs: Proofs { packets, tags, passed, .. }, bytes, end } = self;
        while packets.get(*passed).is_some_and(|packet| packet.start < start) {
            *passed += 1;
        }
        let known = packets.get(*passed).zip(tags.get(*passed)).filter(|_| start >= *end);
        let proof = known.filter(|(packet, _)| packet.start == start && packet.len + TAG_LEN == len);
        let proof = proof.map(|(packet, tag)| (*packet, *tag));
        let bytes = bytes.get_mut(start..)?.get_mut(..len)?;
        *end = (*end).max(start + len);
        Some(Datagram { bytes, proof })
    }
}

impl<'a> Datagram<'a> {
    /// A datagram of which nothing is known.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, proof: None }
    }

    /// Its bytes as they are.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes
    }

    /// Its bytes to be changed: what was known of them holds no longer.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.proof = None;
        self.bytes
    }

    /// Whether its tag is the one that belongs to it under a key and with a rollover counter; `false` also where that is not known.
    pub(super) fn is_proven(&self, key: &HmacKey, rollover_counter: [u8; 4]) -> bool {
        let Some((packet, tag)) = &self.proof else { return false };
        let applies = packet.rollover_counter == rollover_counter && packet.key == *key;
        applies && self.bytes.last_chunk::<TAG_LEN>().is_some_and(|sent| verify_slices_are_equal(tag, sent).is_ok())
    }
}
