//! Recent packets of one layer, in plaintext, for retransmission to its receivers.
//!
//! Packets lie one behind the other in chunks; the oldest chunks are used again for the newest packets, so a steady stream
//! allocates nothing, a quiet one holds little, and an idle one nothing. A chunk is let go of as a whole while packets come,
//! so that a packet taken in does not touch an old one. It knows no receivers and rewrites nothing.
//! Entry points: [`PacketCache::insert`], [`PacketCache::find`], [`PacketCache::expire`].

use super::ahead::{self, LINE};
use crate::model::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// How much a cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Packets at most.
    pub packets: usize,
    /// Age at most, until [`PacketCache::set_age`] says another.
    pub age: Duration,
    /// Packet bytes at most, in whole chunks; the list of chunks and a few spare ones come on top.
    pub bytes: usize,
    /// Bytes of one chunk; a packet larger than this is not kept.
    pub chunk: usize,
}

impl CacheLimits {
    /// Video: 448 KiB is a second at about 3.5 Mbit/s; a request later than a second comes after the
    /// receiver's jitter buffer has given up, unless its line is a long one. A chunk of 4 KiB
    /// wastes a tenth at its end; larger ones would waste more at both ends of the row.
    pub const VIDEO: Self = Self { packets: 1_000, age: Duration::from_secs(1), bytes: 448 * 1024, chunk: 4 * 1024 };
    /// Audio: a second of 20 ms packets at 128 kbit/s is 16 KiB; redundant and stereo sound may take a few times that.
    pub const AUDIO: Self = Self { packets: 200, age: Duration::from_secs(1), bytes: 64 * 1024, chunk: 2 * 1024 };
}

/// Emptied chunks kept for the next packets: pictures come in bursts of a few chunks and are let go of in such.
const MAX_SPARES: usize = 8;
/// So many of them are kept even if they were not needed of late: less would be asked for again with the next large picture.
const FEW_SPARES: usize = 2;
/// A list of so many chunks is not worth making shorter.
const FEW_CHUNKS: usize = 16;

/// Recent packets of one layer, found by extended sequence number.
#[derive(Debug)]
pub struct PacketCache {
    /// The chunk that takes the next packet. This and all else a packet touches lies here; the others lie apart.
    open: Chunk,
    limits: CacheLimits,
    packets: usize,
    highest: Option<u64>,
    /// The full ones, oldest first.
    closed: VecDeque<Chunk>,
    /// Emptied chunks, kept for the next packets while the stream runs.
    spares: Vec<Chunk>,
    /// The fewest there were since the last look.
    unneeded: usize,
}

impl PacketCache {
    /// An empty cache; it allocates with its first packet.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        // Offsets within a chunk have 16 bits.
        let limits =
            CacheLimits { chunk: limits.chunk.clamp(HEADER, usize::from(u16::MAX)), packets: limits.packets.max(1), ..limits };
        Self {
            open: Chunk::default(),
            limits,
            packets: 0,
            highest: None,
            closed: VecDeque::new(),
            spares: Vec::new(),
            unneeded: 0,
        }
    }

    /// Keeps a copy of a packet. A number that is already kept, and a packet larger than a chunk, are ignored.
    pub fn insert(&mut self, sequence: u64, packet: &[u8], now: Instant) {
        if HEADER + packet.len() > self.limits.chunk {
            return;
        }
        // Only a late packet can be a copy, so the search costs nothing in the common case.
        if self.highest.is_some_and(|highest| sequence <= highest) && self.find(sequence).is_some() {
            return;
        }
        while self.packets >= self.limits.packets {
            self.drop_oldest();
        }
        if !self.open.push(sequence, packet, now) {
            self.open_chunk(now);
            self.open.push(sequence, packet, now);
        }
        self.packets += 1;
        self.highest = self.highest.max(Some(sequence));
    }

    /// Sets how old a packet may become: what is asked for again comes within a few round trips of the receivers' lines.
    pub fn set_age(&mut self, age: Duration) {
        self.limits.age = age;
    }

    /// The packet of an extended sequence number.
    #[must_use]
    pub fn find(&self, sequence: u64) -> Option<&[u8]> {
        std::iter::once(&self.open).chain(self.closed.iter().rev()).find_map(|chunk| chunk.find(sequence))
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
        if self.closed.capacity() > 4 * self.closed.len() + FEW_CHUNKS {
            self.closed.shrink_to(2 * self.closed.len());
        }
    }

    /// Lets go of everything and frees the memory.
    pub fn clear(&mut self) {
        self.open = Chunk::default();
        self.closed = VecDeque::new();
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
        let lists = self.closed.capacity() + self.spares.capacity();
        let chunks = std::iter::once(&self.open).chain(&self.closed).chain(&self.spares);
        chunks.map(|chunk| chunk.bytes.len()).sum::<usize>() + lists * size_of::<Chunk>()
    }

    /// Asks for the memory the next so many bytes of packets go to, and for what is looked at when a chunk is full.
    pub fn warm(&self, bytes: usize) {
        ahead::fetch_slice(self.open.room(), bytes.div_ceil(LINE));
        self.closed.front().inspect(|chunk| ahead::fetch(*chunk));
        self.closed.back().inspect(|chunk| ahead::fetch(*chunk));
        self.spares.last().inspect(|chunk| ahead::fetch(*chunk));
    }

    /// Asks for what of it follows when the open chunk is full, as far as the next chunk holds it.
    pub fn warm_next(&self, bytes: usize) {
        let behind = bytes.saturating_sub(self.open.room().len());
        if behind > 0
            && let Some(next) = self.spares.last().or_else(|| self.closed.front())
        {
            ahead::fetch_slice(&next.bytes, behind.div_ceil(LINE));
        }
    }

    fn open_chunk(&mut self, now: Instant) {
        while self.closed.front().is_some_and(|chunk| chunk.newest_age(now).is_none_or(|age| age > self.limits.age))
            && let Some(chunk) = self.closed.pop_front()
        {
            self.packets -= chunk.len();
            self.keep_spare(chunk);
        }
        let most = (self.limits.bytes / self.limits.chunk).max(1);
        while self.closed.len() + 1 >= most && !self.closed.is_empty() {
            self.drop_oldest();
        }
        let mut chunk = self.spares.pop().unwrap_or_else(|| Chunk::new(self.limits.chunk));
        self.unneeded = self.unneeded.min(self.spares.len());
        chunk.opened = Some(now);
        let full = std::mem::replace(&mut self.open, chunk);
        if full.len() > 0 {
            self.closed.push_back(full);
        } else if !full.bytes.is_empty() {
            self.keep_spare(full);
        }
    }

    fn drop_aged(&mut self, now: Instant) {
        while self.packets > 0 && self.oldest().oldest_age(now).is_none_or(|age| age > self.limits.age) {
            self.drop_oldest();
        }
    }

    fn oldest(&self) -> &Chunk {
        self.closed.front().unwrap_or(&self.open)
    }

    /// Lets go of the oldest packet, and of its chunk with the last one.
    fn drop_oldest(&mut self) {
        let chunk = self.closed.front_mut().unwrap_or(&mut self.open);
        if chunk.let_go() {
            self.packets -= 1;
        }
        if chunk.len() > 0 {
            return;
        }
        match self.closed.pop_front() {
            Some(chunk) => self.keep_spare(chunk),
            None => self.open.reset(),
        }
    }

    fn keep_spare(&mut self, mut chunk: Chunk) {
        if self.spares.len() < MAX_SPARES {
            chunk.reset();
            self.spares.push(chunk);
        }
    }
}

/// What lies before each packet in its chunk: its extended number, how many ms after the chunk's opening it came, its length. It
/// lies there so that a packet taken in touches no memory beside its own.
const HEADER: usize = 8 + 4 + 2;

#[derive(Debug, Default)]
struct Chunk {
    bytes: Box<[u8]>,
    /// Bytes taken.
    used: u16,
    /// Bytes of the first packets, which are let go of.
    gone: u16,
    /// Packets that are not.
    kept: u16,
    /// When the newest packet came, in ms after the opening.
    newest_ms: u32,
    opened: Option<Instant>,
}

impl Chunk {
    fn new(size: usize) -> Self {
        Self { bytes: vec![0; size].into_boxed_slice(), ..Self::default() }
    }

    /// Takes a packet in, if there is room.
    fn push(&mut self, sequence: u64, packet: &[u8], now: Instant) -> bool {
        let (Some(opened), Ok(len)) = (self.opened, u16::try_from(packet.len())) else { return false };
        let Some(room) = self.bytes.get_mut(usize::from(self.used)..) else { return false };
        let Some((header, rest)) = room.split_first_chunk_mut::<HEADER>() else { return false };
        let Some(body) = rest.get_mut(..packet.len()) else { return false };
        let at_ms = now.millis_since(opened).try_into().unwrap_or(u32::MAX);
        let ([a, b, c, d, e, f, g, h], [i, j, k, l], [m, n]) = (sequence.to_ne_bytes(), at_ms.to_ne_bytes(), len.to_ne_bytes());
        *header = [a, b, c, d, e, f, g, h, i, j, k, l, m, n];
        body.copy_from_slice(packet);
        self.used += HEADER as u16 + len;
        self.kept += 1;
        self.newest_ms = at_ms;
        true
    }

    /// The kept packets, oldest first: number, ms after the opening, bytes.
    fn packets(&self) -> impl Iterator<Item = (u64, u32, &[u8])> {
        let mut rest = self.bytes.get(usize::from(self.gone)..usize::from(self.used)).unwrap_or_default();
        std::iter::from_fn(move || {
            let ([a, b, c, d, e, f, g, h, i, j, k, l, m, n], behind) = rest.split_first_chunk::<HEADER>()?;
            let len = u16::from_ne_bytes([*m, *n]);
            let (packet, behind) = behind.split_at_checked(usize::from(len))?;
            rest = behind;
            let sequence = u64::from_ne_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            Some((sequence, u32::from_ne_bytes([*i, *j, *k, *l]), packet))
        })
    }

    fn find(&self, sequence: u64) -> Option<&[u8]> {
        self.packets().find(|(number, _, _)| *number == sequence).map(|(_, _, packet)| packet)
    }

    /// Lets go of the oldest packet, if there is one.
    fn let_go(&mut self) -> bool {
        let Some(len) = self.packets().next().map(|(_, _, packet)| packet.len()) else { return false };
        // It fitted in when it came.
        self.gone += (HEADER + len) as u16;
        self.kept -= 1;
        true
    }

    fn len(&self) -> usize {
        usize::from(self.kept)
    }

    fn age(&self, at_ms: u32, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.opened? + Duration::from_millis(u64::from(at_ms))))
    }

    fn newest_age(&self, now: Instant) -> Option<Duration> {
        self.age(self.newest_ms, now)
    }

    fn oldest_age(&self, now: Instant) -> Option<Duration> {
        let (_, at_ms, _) = self.packets().next()?;
        self.age(at_ms, now)
    }

    fn reset(&mut self) {
        (self.used, self.gone, self.kept) = (0, 0, 0);
    }

    /// What is not taken.
    fn room(&self) -> &[u8] {
        self.bytes.get(usize::from(self.used)..).unwrap_or_default()
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
