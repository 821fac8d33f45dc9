//! One track on its way to one receiver: what goes out, under which number and time.
//!
//! A [`Route`] makes one seamless stream out of the simulcast layers of a track. It changes layers at key frames only, closes
//! the gaps it makes itself and keeps those the publisher's losses made, so that a packet that comes late finds its own
//! number. It holds no packet: [`Route::on_packet`] says what to write into the header, and [`Route::resolve`] says which
//! cached packet answers a NACK.

mod filter;
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
use super::layers::LayerTarget;
use crate::model::Instant;
use crate::model::{Codec, MediaKind};
use filter::{Admission, Filter};
use numbering::Numbering;
use pictures::Pictures;
use sent::{SentPacket, SentRing};
use std::time::Duration;
use timeline::Timeline;

/// A forward jump in sequence numbers above this is a restart, not a loss (`MAX_DROPOUT` of RFC 3550 appendix A.1).
const MAX_DROPOUT: u64 = 3_000;

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
    /// What else to write.
    pub patch: Option<Patch>,
}

/// A change to a packet beyond its header's fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// To the VP8 payload descriptor.
    Vp8(Vp8Patch),
    /// To the dependency descriptor: how many decode targets there are, and which of them can be decoded.
    Targets {
        /// Decode targets of the stream.
        count: u8,
        /// One bit for each that the receiver can decode.
        active: u16,
    },
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
    /// The layer of which nothing goes out beyond the picture that does, until its next key frame.
    broken_off: Option<u8>,
    layers: [Option<Heard>; MAX_LAYERS],
    numbering: Numbering,
    timeline: Timeline,
    pictures: Pictures,
    filter: Filter,
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
            broken_off: None,
            layers: [None; MAX_LAYERS],
            numbering: Numbering::new(config.initial_sequence),
            timeline: Timeline::new(kind, config.clock_rate, config.initial_timestamp),
            pictures: Pictures::default(),
            filter: Filter::default(),
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
        self.filter.set_wanted(u8::MAX, highest.unwrap_or(u8::MAX));
    }

    /// What to forward: a stream, and of its layers up to a spatial and a temporal one; `None` pauses at once.
    ///
    /// Fewer layers of the stream take effect as soon as it allows, more where a frame refers to nothing that was left out, and at
    /// a key frame at the latest, which [`wants_key_frame`](Self::wants_key_frame) then asks for.
    pub fn set_layers(&mut self, target: Option<LayerTarget>) {
        if let Some(target) = target {
            self.filter.set_wanted(target.spatial, target.temporal);
        }
        self.set_target(target.map(|target| target.stream));
    }

    /// The receiver needs a key frame though nothing changes here: it sent a PLI, or the publisher unmuted. Forwarding
    /// goes on meanwhile.
    pub fn request_key_frame(&mut self) {
        self.refresh = self.target.is_some();
    }

    /// Ends what goes out with the picture that does now; it begins again with a key frame. The receiver sees no gap.
    pub fn break_off(&mut self) {
        self.broken_off = self.current;
    }

    /// Whether that has ended, or is about to end, what goes out of a layer.
    #[must_use]
    pub fn is_broken_off(&self, layer: u8) -> bool {
        self.broken_off == Some(layer)
    }

    /// The layer of which this route waits for a key frame.
    #[must_use]
    pub fn wants_key_frame(&self) -> Option<u8> {
        if self.kind == MediaKind::Audio {
            return None;
        }
        self.target.filter(|target| self.refresh || self.filter.needs_key_frame() || self.current != Some(*target))
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
        let ends = self.broken_off == Some(layer) && newest && heard.is_none_or(|heard| packet.timestamp != heard.timestamp);
        // A frame begins where its packet says so, or behind the end of the frame before it.
        let frame_start = packet.facts.frame_start || heard.is_some_and(|heard| heard.is_followed_by_frame(packet));
        if newest {
            *heard = Some(Heard { sequence: packet.sequence, timestamp: packet.timestamp, marker: packet.marker });
        }
        let key_frame_start = packet.facts.key_frame_start && frame_start && packet.payload_len > 0;
        let wanted = self.target == Some(layer);
        if ends && !key_frame_start && self.current == Some(layer) {
            self.current = None;
        }
        if self.current != Some(layer) {
            // A key frame that arrives behind its own later packets is no beginning: those have been let go.
            if !wanted || !newest || !key_frame_start {
                return Verdict::Drop;
            }
            self.begin(layer, packet);
        }
        if key_frame_start && wanted {
            (self.refresh, self.broken_off) = (false, None);
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

    /// Packets that may be asked for again and were not sent again yet, the youngest first, each with its age; none while nothing is
    /// forwarded. What goes out again unasked is counted by [`resolve`](Self::resolve) as well.
    pub fn unrepeated(&self, now: Instant) -> impl Iterator<Item = (Duration, Sent)> {
        self.current.into_iter().flat_map(move |_| self.sent.unrepeated(now))
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

    /// Number and timestamp of a packet that comes from nobody and ends what went out, so many ticks behind it; nothing unless the route is
    /// paused and something went out.
    pub fn append(&mut self, ticks: u32, now: Instant) -> Option<(u16, u32)> {
        let timestamp = self.timeline.append(ticks, now).filter(|_| self.current.is_none())?;
        Some((self.numbering.append() as u16, timestamp))
    }

    /// Asks for the memory in which the next so many packets are noted.
    pub fn warm(&self, packets: usize) {
        self.sent.warm(packets);
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
        self.filter.begin();
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
        let (ends_picture, targets) = match self.filter.admit(packet) {
            Admission::Take { ends_picture, targets } => (ends_picture, targets),
            Admission::Leave { new_frame } => {
                self.numbering.close(packet.sequence, new_frame);
                return None;
            }
        };
        let outgoing = self.numbering.take(packet.sequence);
        let timestamp = self.timeline.advance(packet.timestamp, packet.now);
        let mut rewrite = self.rewrite(packet, outgoing, timestamp, self.numbering.pictures(), false);
        // Where higher layers of the picture are left out, the picture ends here.
        rewrite.marker |= ends_picture;
        if let Some((count, active)) = targets {
            rewrite.patch = Some(Patch::Targets { count, active });
        }
        Some((outgoing, rewrite))
    }

    /// A packet that comes behind newer ones: it goes into the number kept free for it.
    fn fill(&mut self, packet: &Incoming<'_>) -> Option<(u64, Rewrite)> {
        let (outgoing, pictures) = self.numbering.late(packet.sequence)?;
        // A number goes out once only: a second time would reuse an SRTP nonce.
        if !self.sent.is_free(outgoing) {
            return None;
        }
        let empty = packet.payload_len == 0 || self.filter.has_left_out(packet);
        // It may be the newest that went out, where those behind it were left out.
        self.numbering.filled(outgoing);
        let timestamp = self.timeline.advance(packet.timestamp, packet.now);
        Some((outgoing, self.rewrite(packet, outgoing, timestamp, pictures, empty)))
    }

    fn rewrite(&mut self, packet: &Incoming<'_>, outgoing: u64, timestamp: u32, pictures: u16, empty: bool) -> Rewrite {
        let patch = if empty {
            None
        } else {
            packet.facts.vp8.and_then(|descriptor| self.pictures.patch(&descriptor, pictures)).map(Patch::Vp8)
        };
        Rewrite { sequence: outgoing as u16, timestamp, marker: packet.marker && !empty, empty, patch }
    }
}

impl Heard {
    fn is_followed_by_frame(&self, packet: &Incoming<'_>) -> bool {
        packet.sequence == self.sequence.wrapping_add(1) && (self.marker || packet.timestamp != self.timestamp)
    }
}
