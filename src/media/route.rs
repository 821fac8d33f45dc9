//! One track on its way to one receiver: what goes out, under which number and time.
//!
//! A [`Route`] makes one seamless stream out of the simulcast layers of a track. It changes layers at key frames only, closes
//! the gaps it makes itself and keeps those the publisher's losses made, so that a packet that comes late finds its own
//! number. It holds no packet: [`Route::on_packet`] says what to write into the header, and [`Route::resolve`] says which
//! cached packet answers a NACK.

mod numbering;
mod pictures;
mod sent;
mod timeline;

#[cfg(test)]
mod observer;
#[cfg(test)]
mod tests;

use super::MAX_LAYERS;
use super::codec::{Facts, Vp8Patch};
use crate::model::{Codec, MediaKind};
use numbering::Numbering;
use pictures::Pictures;
use sent::{SentPacket, SentRing};
use std::time::{Duration, Instant};
use timeline::Timeline;

/// A forward jump in sequence numbers above this is a restart, not a loss (`MAX_DROPOUT` of RFC 3550 appendix A.1).
const MAX_DROPOUT: u64 = 3_000;
/// Frames left out by choice that are remembered, for packets of theirs that come late: half a second at 30 frames/s.
const DROPPED_FRAMES: usize = 16;

/// What a route carries and where its numbers begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Codec of the track.
    pub codec: Codec,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// First outgoing sequence number; random (RFC 3550 section 5.1).
    pub initial_sequence: u16,
    /// First outgoing timestamp; random (RFC 3550 section 5.1).
    pub initial_timestamp: u32,
}

/// A packet of one layer as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Extended sequence number of its layer's SSRC.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// What its payload descriptor says.
    pub facts: &'a Facts,
    /// Payload bytes without padding; 0 means that the packet is only padding.
    pub payload_len: usize,
    /// When it came in.
    pub now: Instant,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes out, rewritten.
    Forward(Rewrite),
    /// It does not; the receiver sees no gap.
    Drop,
}

/// The fields to write into an outgoing packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// The packet goes out without its payload. It came late, its number was kept free, and its frame has been left out
    /// meanwhile: an empty packet keeps the receiver from asking for it.
    pub empty: bool,
    /// What to write into the VP8 payload descriptor.
    pub vp8: Option<Vp8Patch>,
}

/// A packet sent before, as it must be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Layer it came from.
    pub layer: u8,
    /// Its extended sequence number there: the key to the layer's cache.
    pub sequence: u64,
    /// How it was rewritten.
    pub rewrite: Rewrite,
    /// How often it has been sent again, this time included.
    pub times_resent: u8,
}

/// The forwarding state of one track towards one receiver.
#[derive(Debug)]
pub struct Route {
    kind: MediaKind,
    target: Option<u8>,
    current: Option<u8>,
    /// A key frame of the current layer is asked for, for instance by the receiver's PLI.
    refresh: bool,
    layers: [Option<Heard>; MAX_LAYERS],
    numbering: Numbering,
    timeline: Timeline,
    pictures: Pictures,
    temporal: TemporalFilter,
    sent: SentRing,
}

/// The newest packet of a layer.
#[derive(Clone, Copy, Debug)]
struct Heard {
    sequence: u64,
    timestamp: u32,
    marker: bool,
}

impl Route {
    /// A paused route.
    #[must_use]
    pub fn new(config: RouteConfig) -> Self {
        let kind = config.codec.kind();
        Self {
            kind,
            target: None,
            current: None,
            refresh: false,
            layers: [None; MAX_LAYERS],
            numbering: Numbering::new(config.initial_sequence),
            timeline: Timeline::new(kind, config.clock_rate, config.initial_timestamp),
            pictures: Pictures::default(),
            temporal: TemporalFilter::default(),
            sent: SentRing::new(kind),
        }
    }

    /// Which layer to forward; `None` pauses at once. A new layer is taken up at its next key frame, the old one goes on
    /// until then. Layers above the highest possible mean the highest.
    pub fn set_target(&mut self, target: Option<u8>) {
        self.target = target.map(|layer| layer.min(MAX_LAYERS as u8 - 1));
        if self.target.is_none() {
            self.current = None;
            self.refresh = false;
        }
    }

    /// The layer to be forwarded.
    #[must_use]
    pub fn target(&self) -> Option<u8> {
        self.target
    }

    /// The layer that is being forwarded.
    #[must_use]
    pub fn current(&self) -> Option<u8> {
        self.current
    }

    /// Sets how long a packet may be asked for again.
    pub fn set_age(&mut self, age: Duration, now: Instant) {
        self.sent.set_age(age, now);
    }

    /// The highest temporal layer to forward; `None` forwards all. Fewer take effect with the next frame, more where the
    /// stream allows it.
    pub fn set_max_temporal(&mut self, highest: Option<u8>) {
        self.temporal.set_wanted(highest);
    }

    /// The receiver needs a key frame though nothing changes here: it sent a PLI, or the publisher unmuted. Forwarding
    /// goes on meanwhile.
    pub fn request_key_frame(&mut self) {
        self.refresh = self.target.is_some();
    }

    /// The layer of which this route waits for a key frame.
    #[must_use]
    pub fn wants_key_frame(&self) -> Option<u8> {
        if self.kind == MediaKind::Audio {
            return None;
        }
        self.target.filter(|target| self.refresh || self.current != Some(*target))
    }

    /// A sender report of a layer: its NTP time (RFC 3550 section 4, 64 bits) and the RTP timestamp of the same moment.
    pub fn set_layer_clock(&mut self, layer: u8, ntp: u64, rtp: u32) {
        self.timeline.set_clock(layer, ntp, rtp);
    }

    /// The outgoing timestamp of an incoming one, for sender reports; `None` unless the layer is being forwarded.
    #[must_use]
    pub fn timestamp_for(&self, layer: u8, rtp: u32) -> Option<u32> {
        (self.current == Some(layer)).then(|| self.timeline.outgoing(rtp))
    }

    /// Decides on a packet of a layer. Packets of every layer that may become the target must pass through here, in the
    /// order of their arrival.
    pub fn on_packet(&mut self, layer: u8, packet: &Incoming<'_>) -> Verdict {
        let Some(heard) = self.layers.get_mut(usize::from(layer)) else { return Verdict::Drop };
        let newest = heard.is_none_or(|heard| packet.sequence > heard.sequence);
        // A frame begins where its packet says so, or behind the end of the frame before it.
        let frame_start = packet.facts.frame_start || heard.is_some_and(|heard| heard.is_followed_by_frame(packet));
        if newest {
            *heard = Some(Heard { sequence: packet.sequence, timestamp: packet.timestamp, marker: packet.marker });
        }
        let key_frame_start = packet.facts.key_frame_start && frame_start && packet.payload_len > 0;
        let wanted = self.target == Some(layer);
        if self.current != Some(layer) {
            // A key frame that arrives behind its own later packets is no beginning: those have been let go.
            if !wanted || !newest || !key_frame_start {
                return Verdict::Drop;
            }
            self.begin(layer, packet);
        }
        if key_frame_start && wanted {
            self.refresh = false;
        }
        let late = self.numbering.is_late(packet.sequence);
        let rewrite = if late { self.fill(packet) } else { self.follow(packet) };
        let Some((outgoing, rewrite)) = rewrite else { return Verdict::Drop };
        self.sent.record(SentPacket { outgoing, layer, sequence: packet.sequence, rewrite }, packet.now);
        Verdict::Forward(rewrite)
    }

    /// The packet behind an outgoing sequence number that a receiver misses, counted as sent again. `None` where it was
    /// never sent or no longer is known, was sent again three times, or less than a round trip (`rtt`) ago.
    pub fn resolve(&mut self, outgoing: u16, now: Instant, rtt: Duration) -> Option<Sent> {
        self.sent.resend(outgoing, now, rtt)
    }

    /// The packet behind an outgoing sequence number, for one that goes out later than it was decided on; nothing is counted.
    #[must_use]
    pub fn find(&self, outgoing: u16) -> Option<Sent> {
        self.sent.find(outgoing)
    }

    /// Whether an outgoing sequence number lies further back than what is remembered: nobody can send it again.
    #[must_use]
    pub fn is_forgotten(&self, outgoing: u16) -> bool {
        self.sent.is_forgotten(outgoing)
    }

    /// Forgets what was sent: nothing from before can be sent again. For a gate that shuts (consent withdrawn, aside).
    pub fn forget_sent(&mut self) {
        self.sent.forget();
    }

    /// Reads a word of each part that a packet needs, so that they are fetched together before it is there.
    #[must_use]
    pub fn warm(&self) -> usize {
        let parts = [
            self.current.is_some(),
            self.layers.last().is_some_and(Option::is_some),
            self.temporal.frame.is_some(),
            self.temporal.next > 0,
            self.numbering.is_late(0),
            self.timeline.outgoing(0) > 0,
        ];
        parts.into_iter().map(usize::from).sum()
    }

    /// The same for where the next packet is noted, a step further away.
    #[must_use]
    pub fn warm_sent(&self) -> usize {
        self.sent.warm()
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.sent.heap_bytes() + self.numbering.heap_bytes()
    }

    /// Takes up a layer with this packet, right behind what went out before.
    fn begin(&mut self, layer: u8, packet: &Incoming<'_>) {
        self.current = Some(layer);
        self.timeline.begin(layer, packet.timestamp, packet.now);
        let pictures = packet.facts.vp8.map_or(0, |descriptor| self.pictures.begin(&descriptor));
        self.numbering.begin(packet.sequence, 0, pictures);
        self.temporal.begin();
    }

    /// A packet newer than all before it.
    fn follow(&mut self, packet: &Incoming<'_>) -> Option<(u64, Rewrite)> {
        if self.numbering.jump(packet.sequence) > MAX_DROPOUT {
            // One number stays free, so that the receiver notices; more would only make it ask for what is gone.
            self.numbering.begin(packet.sequence, 1, self.numbering.pictures());
            self.refresh = true;
        }
        if packet.payload_len == 0 {
            self.numbering.close(packet.sequence, false);
            return None;
        }
        match self.temporal.admit(packet) {
            Admission::Take => {}
            Admission::Leave { new_frame } => {
                self.numbering.close(packet.sequence, new_frame);
                return None;
            }
        }
        let outgoing = self.numbering.take(packet.sequence);
        let timestamp = self.timeline.advance(packet.timestamp, packet.now);
        Some((outgoing, self.rewrite(packet, outgoing, timestamp, self.numbering.pictures(), false)))
    }

    /// A packet that comes behind newer ones: it goes into the number kept free for it.
    fn fill(&mut self, packet: &Incoming<'_>) -> Option<(u64, Rewrite)> {
        let (outgoing, pictures) = self.numbering.late(packet.sequence)?;
        // A number goes out once only: a second time would reuse an SRTP nonce.
        if !self.sent.is_free(outgoing) {
            return None;
        }
        let empty = packet.payload_len == 0 || self.temporal.has_left_out(packet.timestamp);
        // It may be the newest that went out, where those behind it were left out.
        self.numbering.filled(outgoing);
        let timestamp = self.timeline.advance(packet.timestamp, packet.now);
        Some((outgoing, self.rewrite(packet, outgoing, timestamp, pictures, empty)))
    }

    fn rewrite(&mut self, packet: &Incoming<'_>, outgoing: u64, timestamp: u32, pictures: u16, empty: bool) -> Rewrite {
        let vp8 = packet.facts.vp8.filter(|_| !empty).and_then(|descriptor| self.pictures.patch(&descriptor, pictures));
        Rewrite { sequence: outgoing as u16, timestamp, marker: packet.marker && !empty, empty, vp8 }
    }
}

impl Heard {
    fn is_followed_by_frame(&self, packet: &Incoming<'_>) -> bool {
        packet.sequence == self.sequence.wrapping_add(1) && (self.marker || packet.timestamp != self.timestamp)
    }
}

/// Leaves out the frames of higher temporal layers, whole frames only.
#[derive(Debug)]
struct TemporalFilter {
    wanted: u8,
    /// The highest layer that goes out now.
    now: u8,
    /// Timestamp of the newest frame, and whether it is left out.
    frame: Option<(u32, bool)>,
    /// Timestamps of the last frames left out, as a ring.
    left_out: [Option<u32>; DROPPED_FRAMES],
    next: usize,
}

enum Admission {
    Take,
    Leave { new_frame: bool },
}

impl Default for TemporalFilter {
    fn default() -> Self {
        Self { wanted: u8::MAX, now: u8::MAX, frame: None, left_out: [None; DROPPED_FRAMES], next: 0 }
    }
}

impl TemporalFilter {
    fn set_wanted(&mut self, highest: Option<u8>) {
        self.wanted = highest.unwrap_or(u8::MAX);
    }

    fn begin(&mut self) {
        self.now = self.wanted;
        self.frame = None;
        self.left_out = [None; DROPPED_FRAMES];
    }

    fn admit(&mut self, packet: &Incoming<'_>) -> Admission {
        if let Some((timestamp, left_out)) = self.frame
            && timestamp == packet.timestamp
        {
            return if left_out { Admission::Leave { new_frame: false } } else { Admission::Take };
        }
        self.move_towards_wanted(packet.facts);
        let left_out = packet.facts.temporal.is_some_and(|temporal| temporal > self.now);
        self.frame = Some((packet.timestamp, left_out));
        if !left_out {
            return Admission::Take;
        }
        if let Some(slot) = self.left_out.get_mut(self.next) {
            *slot = Some(packet.timestamp);
        }
        self.next = (self.next + 1) % DROPPED_FRAMES;
        Admission::Leave { new_frame: true }
    }

    fn has_left_out(&self, timestamp: u32) -> bool {
        self.left_out.contains(&Some(timestamp))
    }

    /// Down at any frame; up one layer at a time, at a frame that needs none of those left out.
    fn move_towards_wanted(&mut self, facts: &Facts) {
        if self.now > self.wanted || facts.key_frame_start {
            self.now = self.wanted;
        } else if facts.frame_start && facts.switching_point && facts.temporal == self.now.checked_add(1) {
            self.now = self.now.saturating_add(1).min(self.wanted);
        }
    }
}
