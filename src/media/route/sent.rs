//! What went out lately, to answer NACKs and to send no number twice.

use super::{Rewrite, Sent};
use crate::media::ahead;
use crate::model::Instant;
use crate::model::MediaKind;
use std::time::Duration;

/// A packet is sent again at most this often: of ten thousand packets on a line that loses three of ten, one is lost nine times.
/// A key frame is many packets there, and helps less.
const MAX_RESENDS: u8 = 8;
/// Entries remembered at most: a second of video at 4 Mbit/s; two and a half seconds of 20 ms audio packets.
const MAX_VIDEO: usize = 512;
const MAX_AUDIO: usize = 128;
/// Entries at first: a small layer or a voice needs no more for a second.
const FIRST_STEP: usize = 64;
/// The youngest entries among which one is sought that was not sent again: 200 ms of video at 3 Mbit/s.
const LOOKED_AT: u64 = 64;
/// The ring grows when it would overwrite an entry younger than this, until the age is told; packets do not stay longer in the
/// cache.
const WANTED_AGE_MS: u32 = 1_000;

/// A packet as it went out.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentPacket {
    pub(super) outgoing: u64,
    pub(super) layer: u8,
    pub(super) sequence: u64,
    pub(super) rewrite: Rewrite,
}

/// A ring by outgoing number, a power of two long.
#[derive(Debug)]
pub(super) struct SentRing {
    entries: Vec<Entry>,
    most: usize,
    newest: Option<u64>,
    /// Nothing is known below this number.
    known_from: u64,
    wanted_age_ms: u32,
    epoch: Option<Instant>,
}

/// A packet as it is remembered, in half a cache line: there are two rings of them for each two people who see each other.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its outgoing number to 32 bits; the ring is far shorter.
    outgoing: u32,
    /// When it was sent last, in ms since the ring's first packet.
    at_ms: u32,
    /// Its number in its layer to 48 bits: the lower 32 and the upper 16, apart so that nothing is padded.
    sequence: u32,
    sequence_high: u16,
    /// [`VACANT`] in an entry never written.
    layer: u8,
    resent: u8,
    rewrite: Rewrite,
}

/// A layer that does not exist.
const VACANT: u8 = u8::MAX;

const EMPTY: Entry = Entry {
    outgoing: 0,
    at_ms: 0,
    sequence: 0,
    sequence_high: 0,
    layer: VACANT,
    resent: 0,
    rewrite: Rewrite { sequence: 0, timestamp: 0, marker: false, empty: false, patch: None },
};

impl Entry {
    fn new(packet: &SentPacket, at_ms: u32) -> Self {
        let SentPacket { outgoing, layer, sequence, rewrite } = *packet;
        let (outgoing, sequence_high) = (outgoing as u32, (sequence >> 32) as u16);
        Self { outgoing, at_ms, sequence: sequence as u32, sequence_high, layer, resent: 0, rewrite }
    }

    fn sent(&self) -> Sent {
        let sequence = u64::from(self.sequence_high) << 32 | u64::from(self.sequence);
        Sent { layer: self.layer, sequence, rewrite: self.rewrite, times_resent: self.resent }
    }

    fn is(&self, outgoing: u64) -> bool {
        self.layer != VACANT && self.outgoing == outgoing as u32
    }
}

impl SentRing {
    pub(super) fn new(kind: MediaKind) -> Self {
        let most = match kind {
            MediaKind::Audio => MAX_AUDIO,
            MediaKind::Video => MAX_VIDEO,
        };
        Self { entries: Vec::new(), most, newest: None, known_from: 0, wanted_age_ms: WANTED_AGE_MS, epoch: None }
    }

    pub(super) fn record(&mut self, packet: SentPacket, now: Instant) {
        let at_ms = self.elapsed_ms(now);
        if self.entries.is_empty() {
            self.entries = vec![EMPTY; FIRST_STEP];
            self.known_from = packet.outgoing;
        }
        while self.entries.len() < self.most && self.would_lose_a_young_one(packet.outgoing, at_ms) {
            self.resize((self.entries.len() * 2).min(self.most));
        }
        self.newest = self.newest.max(Some(packet.outgoing));
        if let Some(entry) = self.entry_mut(packet.outgoing) {
            *entry = Entry::new(&packet, at_ms);
        }
    }

    /// Whether a number certainly has not gone out yet.
    pub(super) fn is_free(&self, outgoing: u64) -> bool {
        let Some(newest) = self.newest else { return false };
        let oldest = self.known_from.max((newest + 1).saturating_sub(self.entries.len() as u64));
        outgoing >= oldest && self.entry(outgoing).is_some_and(|entry| !entry.is(outgoing))
    }

    /// Whether a number went out, or was kept free, so long ago that nothing is known of it any more.
    pub(super) fn is_forgotten(&self, outgoing: u16) -> bool {
        let Some(newest) = self.newest else { return false };
        let behind = u64::from((newest as u16).wrapping_sub(outgoing));
        let oldest = self.known_from.max((newest + 1).saturating_sub(self.entries.len() as u64));
        // Half the number space: what lies beyond is ahead, not behind.
        behind < 1 << 15 && newest.checked_sub(behind).is_some_and(|wanted| wanted < oldest)
    }

    pub(super) fn find(&self, outgoing: u16) -> Option<Sent> {
        let newest = self.newest?;
        let wanted = newest.checked_sub(u64::from((newest as u16).wrapping_sub(outgoing)))?;
        let entry = self.entry(wanted).filter(|entry| entry.is(wanted) && wanted >= self.known_from)?;
        Some(entry.sent())
    }

    /// What went out and was not sent again, the youngest first, each with its age.
    pub(super) fn unrepeated(&self, now: Instant) -> impl Iterator<Item = (Duration, Sent)> {
        let now_ms = self.epoch.map_or(0, |epoch| now.millis_since(epoch) as u32);
        let numbers =
            self.newest.into_iter().flat_map(|newest| (0..LOOKED_AT).map_while(move |behind| newest.checked_sub(behind)));
        let numbers = numbers.take_while(|number| *number >= self.known_from);
        let entries = numbers.filter_map(|number| self.entry(number).filter(|entry| entry.is(number)));
        let aged = entries.map(move |entry| (now_ms.wrapping_sub(entry.at_ms), entry));
        let young = aged.take_while(|(age_ms, _)| *age_ms <= self.wanted_age_ms);
        let unrepeated = young.filter(|(_, entry)| entry.resent == 0 && !entry.rewrite.empty);
        unrepeated.map(|(age_ms, entry)| (Duration::from_millis(age_ms.into()), entry.sent()))
    }

    pub(super) fn resend(&mut self, outgoing: u16, now: Instant, rtt: Duration) -> Option<Sent> {
        let newest = self.newest?;
        let behind = u64::from((newest as u16).wrapping_sub(outgoing));
        let wanted = newest.checked_sub(behind)?;
        let now_ms = self.elapsed_ms(now);
        let known_from = self.known_from;
        let entry = self.entry_mut(wanted).filter(|entry| entry.is(wanted) && wanted >= known_from)?;
        // Receivers ask again after their own idea of the round trip, which may be a little shorter than ours.
        let too_soon = entry.resent > 0 && u128::from(now_ms.wrapping_sub(entry.at_ms)) < rtt.as_millis() * 3 / 4;
        if entry.resent >= MAX_RESENDS || too_soon {
            return None;
        }
        entry.resent += 1;
        entry.at_ms = now_ms;
        Some(entry.sent())
    }

    /// Sets how long a packet may be asked for again; a ring that is far too long for that becomes half as long.
    pub(super) fn set_age(&mut self, age: Duration, now: Instant) {
        self.wanted_age_ms = age.as_millis().try_into().unwrap_or(u32::MAX);
        let half = self.entries.len() / 2;
        let now_ms = self.elapsed_ms(now);
        // Twice the age, so that it does not change to and fro.
        let spare = self.newest.and_then(|newest| self.entry(newest.checked_sub(half as u64)?)).is_some_and(|entry| {
            entry.layer != VACANT && now_ms.wrapping_sub(entry.at_ms) > self.wanted_age_ms.saturating_mul(2)
        });
        if half >= FIRST_STEP && spare {
            self.resize(half);
        }
    }

    /// Forgets the packets, but not that their numbers are used.
    pub(super) fn forget(&mut self) {
        self.entries = Vec::new();
        self.known_from = self.newest.map_or(0, |newest| newest + 1);
    }

    /// Asks for the entries of the next so many packets.
    pub(super) fn warm(&self, packets: usize) {
        let Some(newest) = self.newest else { return };
        let entries = self.entries.get(self.place(newest + 1)..).unwrap_or_default();
        ahead::fetch_slice(entries.get(..packets).unwrap_or(entries), packets);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    fn entry(&self, outgoing: u64) -> Option<&Entry> {
        self.entries.get(self.place(outgoing))
    }

    fn entry_mut(&mut self, outgoing: u64) -> Option<&mut Entry> {
        let place = self.place(outgoing);
        self.entries.get_mut(place)
    }

    /// Without a division, which costs as much as all the rest of recording: the ring is a power of two long, or empty.
    fn place(&self, outgoing: u64) -> usize {
        outgoing as usize & self.entries.len().wrapping_sub(1)
    }

    fn would_lose_a_young_one(&self, outgoing: u64, at_ms: u32) -> bool {
        self.entry(outgoing).is_some_and(|entry| {
            entry.layer != VACANT && !entry.is(outgoing) && at_ms.wrapping_sub(entry.at_ms) < self.wanted_age_ms
        })
    }

    fn resize(&mut self, len: usize) {
        let kept = self.entries.len().min(len) as u64;
        let newest = self.newest.unwrap_or(0);
        // What the small ring has overwritten, or has no room for, stays unknown.
        self.known_from = self.known_from.max((newest + 1).saturating_sub(kept));
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; len]);
        for entry in old.into_iter().filter(|entry| entry.layer != VACANT) {
            let behind = u64::from((newest as u32).wrapping_sub(entry.outgoing));
            if let Some(slot) = newest.checked_sub(behind).filter(|_| behind < kept).and_then(|outgoing| self.entry_mut(outgoing))
            {
                *slot = entry;
            }
        }
    }

    fn elapsed_ms(&mut self, now: Instant) -> u32 {
        let epoch = *self.epoch.get_or_insert(now);
        now.millis_since(epoch) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(outgoing: u64) -> SentPacket {
        let rewrite = Rewrite { sequence: outgoing as u16, timestamp: 0, marker: false, empty: false, patch: None };
        SentPacket { outgoing, layer: 0, sequence: outgoing, rewrite }
    }

    #[test]
    fn a_larger_ring_does_not_take_overwritten_numbers_for_free_ones() {
        let t0 = Instant::now();
        let mut ring = SentRing::new(MediaKind::Video);
        // Slow at first: the small ring overwrites entries older than a second. Then a burst makes it grow.
        for n in 0..200 {
            ring.record(packet(1_000 + n), t0 + Duration::from_millis(50 * n));
        }
        for n in 200..260 {
            ring.record(packet(1_000 + n), t0 + Duration::from_millis(50 * 200));
        }
        assert!(ring.entries.len() > FIRST_STEP);
        assert!((900..1_260).all(|number| !ring.is_free(number)), "all of them went out, or were before the first");
        assert!(ring.is_free(1_261) && !ring.is_free(1_000));
    }

    #[test]
    fn a_shorter_age_makes_the_ring_shorter_and_loses_nothing_young() {
        let t0 = Instant::now();
        let at = |n: u64| t0 + Duration::from_millis(7 * n);
        let mut ring = SentRing::new(MediaKind::Video);
        (0..1_000).for_each(|n| ring.record(packet((1 << 32) - 500 + n), at(n)));
        assert_eq!(ring.heap_bytes(), 256 * 32);
        for n in 1_000..1_200 {
            ring.set_age(Duration::from_millis(200), at(n));
            ring.record(packet((1 << 32) - 500 + n), at(n));
        }
        assert_eq!(ring.heap_bytes(), 64 * 32);
        let (young, old) = ((1u64 << 32) - 500 + 1_199 - 28, (1u64 << 32) - 500 + 1_100);
        let resent = ring.resend(young as u16, at(1_200), Duration::ZERO);
        assert_eq!(resent.map(|sent| sent.sequence), Some(young), "numbers of more than 32 bits come back whole");
        assert!(ring.resend(old as u16, at(1_200), Duration::ZERO).is_none() && ring.is_forgotten(old as u16));
        assert!((1_000..1_200).all(|n| !ring.is_free((1 << 32) - 500 + n)), "none of the numbers is used twice");
    }

    #[test]
    fn after_forgetting_old_numbers_stay_used() {
        let now = Instant::now();
        let mut ring = SentRing::new(MediaKind::Audio);
        assert!(!ring.is_free(5), "nothing is known before the first packet");
        (100..110).for_each(|n| ring.record(packet(n), now));
        assert!(!ring.is_free(99), "before the first");
        ring.forget();
        assert!(!ring.is_free(105));
        ring.record(packet(110), now);
        assert!(!ring.is_free(105) && !ring.is_free(110) && ring.is_free(111));
        assert!(ring.resend(105, now, Duration::ZERO).is_none() && ring.resend(110, now, Duration::ZERO).is_some());
    }

    #[test]
    fn what_was_not_sent_again_comes_youngest_first_and_once() {
        let t0 = Instant::now();
        let at = |n: u64| t0 + Duration::from_millis(10 * n);
        let mut ring = SentRing::new(MediaKind::Video);
        let left = |ring: &SentRing, now| ring.unrepeated(now).map(|(_, sent)| sent.sequence).collect::<Vec<_>>();
        assert!(left(&ring, t0).is_empty());
        for n in 100..120 {
            let mut packet = packet(n);
            packet.rewrite.empty = n == 118;
            // Not every number goes out.
            if n != 116 {
                ring.record(packet, at(n - 100));
            }
        }
        let rtt = Duration::from_millis(80);
        assert!(ring.resend(117, at(19), rtt).is_some(), "asked for");
        assert_eq!(left(&ring, at(19))[..3], [119, 115, 114]);
        assert_eq!(ring.unrepeated(at(21)).next().map(|(age, _)| age), Some(Duration::from_millis(20)));

        ring.set_age(Duration::from_millis(100), at(20));
        assert_eq!(left(&ring, at(20)), [119, 115, 114, 113, 112, 111, 110], "none too old to be asked for");

        assert!(ring.resend(119, at(20), Duration::ZERO).is_some(), "unasked");
        assert_eq!(left(&ring, at(20))[0], 115);
        assert!(ring.resend(119, at(25), rtt).is_none(), "asked for before the answer can have arrived");
        assert!(ring.resend(119, at(28), rtt).is_some(), "and that was lost, too");

        ring.forget();
        ring.record(packet(120), at(28));
        assert_eq!(left(&ring, at(29)), [120]);
    }
}
