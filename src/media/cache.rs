//! Recent packets of one layer, in plaintext, for retransmission to its receivers.
//!
//! Packets lie one behind the other in chunks; the oldest chunks are used again for the newest packets, so a steady stream
//! allocates nothing, a quiet one holds little, and an idle one nothing. A chunk is let go of as a whole while packets come,
//! so that a packet taken in does not touch an old one. It knows no receivers and rewrites nothing.
//! Entry points: [`PacketCache::insert`], [`PacketCache::find`], [`PacketCache::expire`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much a cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Packets at most.
    pub packets: usize,
    /// Age at most, until [`PacketCache::set_age`] says another.
    pub age: Duration,
    /// Packet bytes at most, in whole chunks; the index and a few spare chunks come on top.
    pub bytes: usize,
    /// Bytes of one chunk; a packet larger than this is not kept.
    pub chunk: usize,
}

impl CacheLimits {
    /// Video: 512 KiB with its index is a second at about 3.5 Mbit/s; a request later than a second comes after the
    /// receiver's jitter buffer has given up, unless its line is a long one. A chunk of 4 KiB
    /// wastes a tenth at its end; larger ones would waste more at both ends of the row.
    pub const VIDEO: Self = Self { packets: 1_000, age: Duration::from_secs(1), bytes: 448 * 1024, chunk: 4 * 1024 };
    /// Audio: a second of 20 ms packets at 128 kbit/s is 16 KiB; redundant and stereo sound may take a few times that.
    pub const AUDIO: Self = Self { packets: 200, age: Duration::from_secs(1), bytes: 64 * 1024, chunk: 2 * 1024 };
}

/// Index entries a recycled chunk keeps room for: video packets of 256 bytes and more fit without growing it again.
const USUAL_ENTRIES: usize = 64;

/// Emptied chunks kept for the next packets: pictures come in bursts of a few chunks and are let go of in such.
const MAX_SPARES: usize = 8;
/// So many of them are kept even if they were not needed of late: less would be asked for again with the next large picture.
const FEW_SPARES: usize = 2;
/// A list of so many chunks is not worth making shorter.
const FEW_CHUNKS: usize = 16;

/// Recent packets of one layer, found by extended sequence number.
#[derive(Debug)]
pub struct PacketCache {
    limits: CacheLimits,
    /// Oldest first, by arrival.
    chunks: VecDeque<Chunk>,
    /// Emptied chunks, kept for the next packets while the stream runs.
    spares: Vec<Chunk>,
    /// The fewest there were since the last look.
    unneeded: usize,
    packets: usize,
    highest: Option<u64>,
}

impl PacketCache {
    /// An empty cache; it allocates with its first packet.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        // Offsets within a chunk have 16 bits.
        let limits = CacheLimits { chunk: limits.chunk.clamp(1, usize::from(u16::MAX)), ..limits };
        Self { limits, chunks: VecDeque::new(), spares: Vec::new(), unneeded: 0, packets: 0, highest: None }
    }

    /// Keeps a copy of a packet. A number that is already kept, and a packet larger than a chunk, are ignored.
    pub fn insert(&mut self, sequence: u64, packet: &[u8], now: Instant) {
        if packet.len() > self.limits.chunk {
            return;
        }
        // Only a late packet can be a copy, so the search costs nothing in the common case.
        if self.highest.is_some_and(|highest| sequence <= highest) && self.find(sequence).is_some() {
            return;
        }
        while self.packets >= self.limits.packets {
            self.drop_oldest();
        }
        if self.chunks.back().is_none_or(|chunk| chunk.bytes.len() + packet.len() > self.limits.chunk) {
            self.open_chunk(now);
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(sequence, packet, now);
            self.packets += 1;
            self.highest = self.highest.max(Some(sequence));
        }
    }

    /// Sets how old a packet may become: what is asked for again comes within a few round trips of the receivers' lines.
    pub fn set_age(&mut self, age: Duration) {
        self.limits.age = age;
    }

    /// The packet of an extended sequence number.
    #[must_use]
    pub fn find(&self, sequence: u64) -> Option<&[u8]> {
        self.chunks.iter().rev().find_map(|chunk| chunk.find(sequence))
    }

    /// Lets go of packets past their age; frees all memory once none is left.
    pub fn expire(&mut self, now: Instant) {
        self.drop_aged(now);
        if self.packets == 0 {
            self.clear();
        }
        // Spares that half a dozen pictures did not need are too many.
        let kept = self.spares.len() - self.unneeded.saturating_sub(FEW_SPARES).min(self.spares.len());
        self.spares.truncate(kept);
        self.unneeded = kept;
        // A burst leaves no long list behind.
        if self.chunks.capacity() > 4 * self.chunks.len() + FEW_CHUNKS {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
    }

    /// Lets go of everything and frees the memory.
    pub fn clear(&mut self) {
        self.chunks = VecDeque::new();
        self.spares = Vec::new();
        self.unneeded = 0;
        self.packets = 0;
        self.highest = None;
    }

    /// Packets held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets
    }

    /// Whether no packet is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Heap bytes held, used or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = self.chunks.capacity() + self.spares.capacity();
        self.chunks.iter().chain(&self.spares).map(Chunk::heap_bytes).sum::<usize>() + lists * size_of::<Chunk>()
    }

    /// Reads a word of each part that the next packet needs.
    #[must_use]
    pub fn warm(&self) -> usize {
        let oldest = self.chunks.front().map_or(0, |chunk| chunk.newest_ms as usize & 1);
        let newest = self.chunks.back().map_or(0, |chunk| {
            usize::from(chunk.bytes.last().copied().unwrap_or(0)) + chunk.entries.last().map_or(0, |entry| usize::from(entry.len))
        });
        oldest + newest + self.spares.last().map_or(0, |chunk| chunk.newest_ms as usize & 1)
    }

    fn open_chunk(&mut self, now: Instant) {
        while self.chunks.front().is_some_and(|chunk| chunk.newest_age(now) > self.limits.age)
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.packets -= chunk.len();
            self.keep_spare(chunk);
        }
        let most = (self.limits.bytes / self.limits.chunk).max(1);
        while self.chunks.len() >= most {
            self.drop_oldest();
        }
        let mut chunk = self.spares.pop().unwrap_or_else(|| Chunk::new(self.limits.chunk, now));
        self.unneeded = self.unneeded.min(self.spares.len());
        chunk.opened = now;
        self.chunks.push_back(chunk);
    }

    fn drop_aged(&mut self, now: Instant) {
        while self.chunks.front().is_some_and(|chunk| chunk.oldest_age(now).is_none_or(|age| age > self.limits.age)) {
            self.drop_oldest();
        }
    }

    /// Lets go of the oldest packet, and of its chunk with the last one.
    fn drop_oldest(&mut self) {
        let Some(chunk) = self.chunks.front_mut() else { return };
        if chunk.gone < chunk.entries.len() {
            chunk.gone += 1;
            self.packets -= 1;
        }
        if chunk.gone == chunk.entries.len()
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.keep_spare(chunk);
        }
    }

    fn keep_spare(&mut self, mut chunk: Chunk) {
        if self.spares.len() < MAX_SPARES {
            chunk.reset();
            self.spares.push(chunk);
        }
    }
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many of the first entries are let go of.
    gone: usize,
    opened: Instant,
    /// When the newest packet came, in ms after the opening.
    newest_ms: u32,
}

/// Where a packet lies in its chunk and how long after the chunk's opening it came.
#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    at_ms: u32,
    offset: u16,
    len: u16,
}

impl Chunk {
    fn new(size: usize, now: Instant) -> Self {
        Self { bytes: Vec::with_capacity(size), entries: Vec::new(), gone: 0, opened: now, newest_ms: 0 }
    }

    fn push(&mut self, sequence: u64, packet: &[u8], now: Instant) {
        let at_ms = now.saturating_duration_since(self.opened).as_millis().try_into().unwrap_or(u32::MAX);
        self.entries.push(Entry { sequence, at_ms, offset: self.bytes.len() as u16, len: packet.len() as u16 });
        self.bytes.extend_from_slice(packet);
        self.newest_ms = at_ms;
    }

    fn find(&self, sequence: u64) -> Option<&[u8]> {
        let entry = self.entries.get(self.gone..)?.iter().rfind(|entry| entry.sequence == sequence)?;
        let start = usize::from(entry.offset);
        self.bytes.get(start..start + usize::from(entry.len))
    }

    fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    fn newest_age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened + Duration::from_millis(u64::from(self.newest_ms)))
    }

    fn oldest_age(&self, now: Instant) -> Option<Duration> {
        let entry = self.entries.get(self.gone)?;
        Some(now.saturating_duration_since(self.opened + Duration::from_millis(u64::from(entry.at_ms))))
    }

    fn reset(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        // A run of tiny packets must not leave every chunk with a large index.
        self.entries.shrink_to(USUAL_ENTRIES);
        self.gone = 0;
    }

    fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_packet_is_found_until_its_age_is_over() {
        let t0 = Instant::now();
        let mut cache = PacketCache::new(CacheLimits::VIDEO);
        assert_eq!(cache.bytes(), 0, "nothing before the first packet");
        cache.insert(70_000, &[1; 1_100], t0);
        cache.insert(70_002, &[2; 900], t0 + 400 * MS);
        assert_eq!(cache.find(70_000), Some(&[1; 1_100][..]));
        assert_eq!(cache.find(70_001), None);
        cache.expire(t0 + 1_001 * MS);
        assert_eq!((cache.find(70_000), cache.find(70_002)), (None, Some(&[2; 900][..])), "each by its own age");
        cache.expire(t0 + 1_401 * MS);
        assert_eq!((cache.len(), cache.bytes()), (0, 0), "idle: no memory");
    }

    #[test]
    fn a_shorter_age_frees_what_it_takes_away() {
        let t0 = Instant::now();
        let mut cache = PacketCache::new(CacheLimits::VIDEO);
        let mut held = |age: u32, range: std::ops::Range<u64>| {
            cache.set_age(age * MS);
            for sequence in range {
                let now = t0 + 7 * MS * sequence as u32;
                cache.insert(sequence, &[5; 1_150], now);
                if sequence % 10 == 9 {
                    cache.expire(now);
                }
            }
            (cache.len(), cache.bytes())
        };
        let (long, many) = held(1_000, 0..1_000);
        let (short, few) = held(300, 1_000..1_100);
        assert_eq!((long, short), (143, 43));
        assert!(few < 80 * 1024 && few < many / 2, "{few} of {many}");
        let (again, bytes) = held(1_000, 1_100..2_000);
        assert!(again == long && bytes.abs_diff(many) < 4 * 1024, "and back: {again}, {bytes}");
    }

    #[test]
    fn the_first_copy_of_a_number_stays() {
        let t0 = Instant::now();
        let mut cache = PacketCache::new(CacheLimits::AUDIO);
        cache.insert(5, b"first", t0);
        cache.insert(7, b"later", t0);
        cache.insert(5, b"again", t0);
        cache.insert(6, b"late", t0);
        assert_eq!((cache.find(5), cache.find(6), cache.len()), (Some(&b"first"[..]), Some(&b"late"[..]), 3));
    }

    #[test]
    fn bounds_hold_on_packets_and_bytes() {
        let t0 = Instant::now();
        let mut cache = PacketCache::new(CacheLimits::VIDEO);
        for sequence in 0..5_000 {
            cache.insert(sequence, &[3; 60], t0);
        }
        assert_eq!(cache.len(), 1_000);
        assert!(cache.find(4_000).is_some() && cache.find(3_999).is_none());
        for sequence in 5_000..7_000 {
            cache.insert(sequence, &[4; 1_200], t0);
        }
        let held = cache.bytes();
        assert!((400 * 1024..=512 * 1024).contains(&held), "{held}");
        assert!(cache.find(6_999).is_some());
        cache.insert(9_000, &[0; 20_000], t0);
        assert!(cache.find(9_000).is_none(), "larger than a chunk");
        cache.clear();
        assert_eq!((cache.bytes(), cache.find(6_999)), (0, None));
    }

    #[test]
    fn a_steady_stream_uses_its_chunks_again() {
        let t0 = Instant::now();
        let mut cache = PacketCache::new(CacheLimits::VIDEO);
        let mut at = |range: std::ops::Range<u64>| {
            for sequence in range {
                cache.insert(sequence, &[5; 1_150], t0 + 10 * MS * sequence as u32);
            }
            cache.bytes()
        };
        let warm = at(0..400);
        assert_eq!(at(400..4_000), warm, "100 packets a second: the same chunks for ever");
        assert!(warm < 150 * 1024, "{warm}");
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_map(steps in proptest::collection::vec((0u64..600, 0usize..1_400, 0u32..40), 1..400)) {
            let mut now = Instant::now();
            let mut cache = PacketCache::new(CacheLimits::VIDEO);
            let mut model: BTreeMap<u64, (Vec<u8>, Instant)> = BTreeMap::new();
            for (sequence, len, wait) in steps {
                now += MS * wait;
                let packet = vec![sequence as u8; len];
                model.retain(|_, (_, at)| now - *at <= Duration::from_secs(1));
                cache.expire(now);
                cache.insert(sequence, &packet, now);
                model.entry(sequence).or_insert((packet, now));
                prop_assert_eq!(cache.len(), model.len());
                for probe in [sequence, 0, 100, 599] {
                    prop_assert_eq!(cache.find(probe), model.get(&probe).map(|(packet, _)| &packet[..]));
                }
            }
        }
    }
}
