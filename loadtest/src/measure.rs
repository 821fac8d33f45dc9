//! What clients saw, second by second.
//!
//! Counts and histograms that add up: over threads, over seconds. It reads no clock and sends nothing.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Longest delay told apart: 60 s in µs; above it the value counts as this.
const MOST: u64 = 60_000_000;

/// An empty histogram of µs or ms, 1 % wide steps up to 60,000,000.
///
/// # Panics
/// Never; the bounds are constants.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MOST, 2).expect("constant bounds are in order")
}

/// Notes a value; too large a one counts as the largest.
pub fn note(histogram: &mut Histogram<u64>, value: u64) {
    histogram.saturating_record(value.max(1));
}

/// What the clients of one thread saw in one second.
#[derive(Clone, Debug)]
pub struct Second {
    /// Which thread.
    pub thread: usize,
    /// Seconds since the swarm started.
    pub second: u32,
    /// Voices.
    pub audio: Stream,
    /// Cameras.
    pub video: Stream,
    /// Clients whose transport is up.
    pub clients_up: u32,
    /// Clients on their way in or back.
    pub clients_joining: u32,
    /// Join orders to the join response, ms.
    pub signalled: Histogram<u64>,
    /// Join orders to the transport being up, ms.
    pub joined: Histogram<u64>,
    /// Join orders to the first media of somebody else, ms.
    pub first_media: Histogram<u64>,
    /// CPU the thread used.
    pub cpu: Duration,
    /// How much later than due the thread's own packets left, µs.
    pub late: Histogram<u64>,
    /// How long datagrams waited in the thread's sockets, µs; from the kernel's arrival stamp to their being read.
    pub waited: Histogram<u64>,
    /// Datagrams the sockets of the thread lost for want of room or refused to take.
    pub socket_errors: u64,
}

impl Second {
    /// An empty second.
    #[must_use]
    pub fn new(thread: usize, second: u32) -> Self {
        Self {
            thread,
            second,
            audio: Stream::default(),
            video: Stream::default(),
            clients_up: 0,
            clients_joining: 0,
            signalled: histogram(),
            joined: histogram(),
            first_media: histogram(),
            cpu: Duration::ZERO,
            late: histogram(),
            waited: histogram(),
            socket_errors: 0,
        }
    }

    /// Adds what another thread saw in the same second, or the same thread in another.
    pub fn add(&mut self, other: &Self) {
        self.audio.add(&other.audio);
        self.video.add(&other.video);
        self.clients_up += other.clients_up;
        self.clients_joining += other.clients_joining;
        self.cpu += other.cpu;
        self.socket_errors += other.socket_errors;
        merge(&mut self.signalled, &other.signalled);
        merge(&mut self.joined, &other.joined);
        merge(&mut self.first_media, &other.first_media);
        merge(&mut self.late, &other.late);
        merge(&mut self.waited, &other.waited);
    }
}

/// What became of the packets of a kind.
#[derive(Clone, Debug)]
pub struct Stream {
    /// One way through the relay, µs; first sendings only.
    pub delay: Histogram<u64>,
    /// Packets that should have come.
    pub expected: u64,
    /// Packets that came, each counted once.
    pub received: u64,
    /// Packets that had not come a second after their successor.
    pub lost: u64,
    /// Packets that the relay left out and closed its own numbers over: pauses, thinned frames. Not expected, not lost.
    pub thinned: u64,
    /// Packets that came by a repetition.
    pub repaired: u64,
    /// Packets that came again, repetitions apart.
    pub duplicate: u64,
    /// Repetitions of packets that had come.
    pub needless: u64,
    /// Packets that came after their successor without being a repetition.
    pub reordered: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Pictures received whole.
    pub frames: u64,
    /// Times the picture stood still.
    pub freezes: u32,
    /// For how long.
    pub frozen: Duration,
    /// From a request for a key frame to its first packet, ms.
    pub key_frame_waits: Histogram<u64>,
    /// Requests for key frames that nothing answered within 5 s.
    pub key_frames_missed: u32,
    /// Media packets sent, repetitions apart.
    pub sent_packets: u64,
    /// Payload bytes sent.
    pub sent_bytes: u64,
    /// Packets that senders repeated when asked.
    pub repeated: u64,
    /// Requests for a key frame that came to senders.
    pub key_frame_requests: u32,
    /// Streams that were being received at the end of the second.
    pub streams: u32,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            delay: histogram(),
            expected: 0,
            received: 0,
            lost: 0,
            thinned: 0,
            repaired: 0,
            duplicate: 0,
            needless: 0,
            reordered: 0,
            bytes: 0,
            frames: 0,
            freezes: 0,
            frozen: Duration::ZERO,
            key_frame_waits: histogram(),
            key_frames_missed: 0,
            sent_packets: 0,
            sent_bytes: 0,
            repeated: 0,
            key_frame_requests: 0,
            streams: 0,
        }
    }
}

impl Stream {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        merge(&mut self.delay, &other.delay);
        merge(&mut self.key_frame_waits, &other.key_frame_waits);
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.thinned += other.thinned;
        self.repaired += other.repaired;
        self.duplicate += other.duplicate;
        self.needless += other.needless;
        self.reordered += other.reordered;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.freezes += other.freezes;
        self.frozen += other.frozen;
        self.key_frames_missed += other.key_frames_missed;
        self.sent_packets += other.sent_packets;
        self.sent_bytes += other.sent_bytes;
        self.repeated += other.repeated;
        self.key_frame_requests += other.key_frame_requests;
        self.streams += other.streams;
    }
}

fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from).expect("same bounds");
}
