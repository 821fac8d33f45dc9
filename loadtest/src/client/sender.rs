//! A track of one's own: when its packets are due, what they carry, what is repeated.

use super::adapt::Adapt;
use super::batch::Batch;
use super::sdp::{self, Answered};
use super::shape::{self, Picture, STAMP, Stamp};
use super::srtp::Srtp;
use super::{Codec, MediaKind};
use crate::measure::{Stream, note};
use crate::random::Random;
use crate::swarm::{Audio, LayerShape, Video};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Packets of a layer that can be repeated: two seconds of 250 a second.
const HISTORY: usize = 512;
/// Mid and rid are written until a receiver report comes, and no longer than this.
const NAMED_FOR: Duration = Duration::from_secs(10);
/// Rids of simulcast layers, lowest first.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];
/// A key frame is this many times as big as others.
const KEY_FRAME: f64 = 4.0;
/// A key frame is made for requests at most this often, as encoders do.
const KEY_FRAME_EVERY: Duration = Duration::from_millis(250);
/// Most packets of a frame.
const MOST_PACKETS: usize = 400;
/// An encoder that could not run skips what it missed rather than send it all at once.
const SKIP: Duration = Duration::from_millis(500);

/// One layer of a track, a stream of its own.
pub(crate) struct Layer {
    pub(crate) ssrc: u32,
    pub(crate) rtx: u32,
    rid: Option<&'static str>,
    shape: Option<LayerShape>,
    /// Somebody looks at it.
    pub(crate) wanted: bool,
    /// 64 bits wide, so that the rollover counter is its middle.
    sequence: u64,
    rtx_sequence: u64,
    timestamp: u32,
    number: u32,
    frame: u32,
    picture: Picture,
    key_wanted: bool,
    key_at: Option<Instant>,
    named_until: Option<Instant>,
    /// The frame that is leaving.
    leaving: Option<Leaving>,
    history: Vec<Option<Sent>>,
    packets: u32,
    bytes: u32,
}

#[derive(Clone, Copy)]
struct Leaving {
    key: bool,
    next: u16,
    count: u16,
    len: usize,
    due: Instant,
    gap: Duration,
}

/// What a packet is made of; its payload follows from it.
#[derive(Clone, Copy)]
struct Sent {
    sequence: u16,
    timestamp: u32,
    stamp: Stamp,
    picture: Picture,
    len: usize,
}

/// What a turn of a sender needs of its client.
pub(crate) struct Way<'a> {
    pub(crate) srtp: &'a Srtp,
    pub(crate) remote: SocketAddr,
    pub(crate) batch: &'a mut Batch,
    /// ns of the wall clock.
    pub(crate) wall: u64,
    /// The transport-wide number of the last packet.
    pub(crate) transport: &'a mut u16,
    /// Told of every transport-wide number when its packet leaves.
    pub(crate) adapt: Option<&'a mut Adapt>,
}

/// A track and its layers.
pub(crate) struct Sender {
    pub(crate) kind: MediaKind,
    pub(crate) codec: Option<Codec>,
    pub(crate) cid: String,
    pub(crate) sid: Option<String>,
    pub(crate) muted: bool,
    pub(crate) mid: usize,
    pub(crate) layers: Vec<Layer>,
    source: u32,
    interval: Duration,
    spread: f32,
    packet_bytes: usize,
    /// What the bit rate is multiplied by.
    pub(crate) scale: f64,
    extensions: u16,
    next_frame: Option<Instant>,
    random: Random,
}

impl Sender {
    pub(crate) fn voice(source: u32, cid: String, audio: Audio, mut random: Random) -> Self {
        let layer = Layer::new(&mut random, None, None);
        let interval = Duration::from_secs(1) / u32::from(audio.per_second.max(1));
        let bytes = usize::from(audio.packet_bytes);
        Self::new(source, MediaKind::Audio, None, cid, vec![layer], interval, 0.0, bytes, random)
    }

    pub(crate) fn camera(source: u32, cid: String, video: &Video, mut random: Random) -> Self {
        let many = video.layers.len() > 1;
        let shapes = video.layers.iter().take(RIDS.len()).zip(RIDS);
        let layers: Vec<Layer> = shapes.map(|(shape, rid)| Layer::new(&mut random, many.then_some(rid), Some(shape))).collect();
        let fastest = video.layers.iter().map(|layer| layer.frames_per_s).max().unwrap_or(25).max(1);
        let interval = Duration::from_secs(1) / u32::from(fastest);
        Self::new(source, MediaKind::Video, Some(video.codec), cid, layers, interval, video.spread.clamp(0.0, 1.0), 0, random)
    }

    #[expect(clippy::too_many_arguments, reason = "only the two constructors above call it")]
    fn new(
        source: u32,
        kind: MediaKind,
        codec: Option<Codec>,
        cid: String,
        layers: Vec<Layer>,
        interval: Duration,
        spread: f32,
        packet_bytes: usize,
        random: Random,
    ) -> Self {
        Self {
            kind,
            codec,
            cid,
            sid: None,
            muted: false,
            mid: 0,
            layers,
            source,
            interval,
            spread,
            packet_bytes,
            scale: 1.0,
            extensions: 0,
            next_frame: None,
            random,
        }
    }

    /// The section of an offer that sends this.
    pub(crate) fn own(&self) -> sdp::Own {
        sdp::Own {
            cid: self.cid.clone(),
            codec: self.codec,
            ssrcs: self.layers.iter().map(|layer| (layer.ssrc, layer.rtx)).collect(),
            rids: self.layers.iter().filter_map(|layer| layer.rid).collect(),
        }
    }

    /// The other end takes it: media begins, at a phase of its own.
    pub(crate) fn on_answered(&mut self, answered: &Answered, now: Instant) {
        self.extensions = answered.extensions;
        if !answered.takes {
            self.next_frame = None;
        } else if self.next_frame.is_none() {
            self.next_frame = Some(now + self.interval.mul_f64(self.random.unit()));
        }
    }

    /// Begins anew with the transport: mid and rid are written again, a key frame comes.
    pub(crate) fn on_up(&mut self, now: Instant) {
        for layer in &mut self.layers {
            layer.named_until = Some(now + NAMED_FOR);
            layer.key_wanted = true;
        }
        if let Some(next) = self.next_frame.as_mut() {
            *next = (*next).max(now);
        }
    }

    /// When the next packet is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let leaving = self.layers.iter().filter_map(|layer| layer.leaving.as_ref().map(|leaving| leaving.due));
        leaving.chain(self.next_frame).min()
    }

    pub(crate) fn layer_mut(&mut self, ssrc: u32) -> Option<&mut Layer> {
        self.layers.iter_mut().find(|layer| layer.ssrc == ssrc || layer.rtx == ssrc)
    }

    /// Writes what is due.
    pub(crate) fn on_time(
        &mut self,
        now: Instant,
        way: &mut Way<'_>,
        seen: &mut Stream,
        late: &mut hdrhistogram::Histogram<u64>,
    ) {
        while let Some(at) = self.next_frame.filter(|at| *at <= now) {
            self.begin_frame(at, now);
            let next = at + self.interval;
            self.next_frame = Some(if next + SKIP < now { now } else { next });
        }
        for index in 0..self.layers.len() {
            while let Some(leaving) = self.layers.get(index).and_then(|layer| layer.leaving).filter(|leaving| leaving.due <= now)
            {
                note(late, now.saturating_duration_since(leaving.due).as_micros() as u64);
                let len = self.send_next(index, leaving, now, way);
                seen.sent_packets += 1;
                seen.sent_bytes += len as u64;
            }
        }
    }

    fn begin_frame(&mut self, at: Instant, now: Instant) {
        let (muted, scale, interval, spread) = (self.muted, self.scale, self.interval, self.spread);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let step = if self.kind == MediaKind::Audio { 48_000.0 } else { 90_000.0 } * interval.as_secs_f64();
            layer.timestamp = layer.timestamp.wrapping_add(step.round() as u32);
            if muted || !layer.wanted || !fits(index, scale, self.codec.is_some()) {
                layer.leaving = None;
                layer.key_wanted = true;
                continue;
            }
            // A frame that has not left when the next begins leaves with it: nothing is thrown away on the sender's side.
            if layer.leaving.is_some() {
                continue;
            }
            let Some(shape) = &layer.shape else {
                layer.leaving =
                    Some(Leaving { key: false, next: 0, count: 1, len: self.packet_bytes, due: at, gap: Duration::ZERO });
                layer.frame = layer.frame.wrapping_add(1);
                continue;
            };
            let every = shape.key_every.is_some_and(|every| layer.key_at.is_none_or(|last| last + every <= now));
            let asked = layer.key_wanted && layer.key_at.is_none_or(|last| last + KEY_FRAME_EVERY <= now);
            let key = every || asked;
            if key {
                layer.key_wanted = false;
                layer.key_at = Some(now);
                layer.picture.key_index = layer.picture.key_index.wrapping_add(1);
            }
            let (count, len) = size(shape, key, scale, &mut self.random);
            let gap = interval.mul_f32(spread) / count as u32;
            layer.leaving = Some(Leaving { key, next: 0, count: count as u16, len, due: at, gap });
            layer.frame = layer.frame.wrapping_add(1);
            layer.picture.id = layer.picture.id.wrapping_add(1) & 0x7fff;
            layer.picture.base = layer.picture.base.wrapping_add(1);
        }
    }

    fn send_next(&mut self, index: usize, leaving: Leaving, now: Instant, way: &mut Way<'_>) -> usize {
        let (source, kind, codec) = (self.source, self.kind, self.codec);
        let Some(layer) = self.layers.get_mut(index) else { return 0 };
        layer.sequence += 1;
        layer.number = layer.number.wrapping_add(1);
        let stamp = Stamp {
            source,
            kind,
            layer: index as u8,
            key: leaving.key,
            number: layer.number,
            frame: layer.frame,
            index: leaving.next,
            count: leaving.count,
            at: way.wall,
        };
        let sent =
            Sent { sequence: layer.sequence as u16, timestamp: layer.timestamp, stamp, picture: layer.picture, len: leaving.len };
        if codec.is_some()
            && let Some(slot) = layer.history.get_mut(layer.sequence as usize % HISTORY)
        {
            *slot = Some(sent);
        }
        layer.leaving = (leaving.next + 1 < leaving.count).then(|| Leaving {
            next: leaving.next + 1,
            due: leaving.due + leaving.gap,
            ..leaving
        });
        layer.packets = layer.packets.wrapping_add(1);
        layer.bytes = layer.bytes.wrapping_add(leaving.len as u32);
        let named = layer.named_until.is_some_and(|until| now < until);
        let (pt, ssrc, index) = (codec.map_or(sdp::OPUS, Codec::payload_type), layer.ssrc, layer.sequence);
        let rid = layer.rid.filter(|_| named).map(|rid| (sdp::RID, rid));
        let mid = named.then_some(self.mid);
        let head = Head { extensions: self.extensions, pt, ssrc, index, mid, rid };
        write(way, &head, codec, &sent, None);
        leaving.len
    }

    /// Repeats a packet on the repair stream; `false` where it is forgotten or has none.
    pub(crate) fn repeat(&mut self, ssrc: u32, sequence: u16, way: &mut Way<'_>) -> bool {
        let (Some(codec), extensions, mid) = (self.codec, self.extensions, self.mid) else { return false };
        let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc == ssrc) else { return false };
        let sent = layer.history.get(usize::from(sequence) % HISTORY).copied().flatten();
        let Some(sent) = sent.filter(|sent| sent.sequence == sequence) else { return false };
        layer.rtx_sequence += 1;
        let rid = layer.rid.map(|rid| (sdp::REPAIRED_RID, rid));
        let head = Head { extensions, pt: codec.rtx_type(), ssrc: layer.rtx, index: layer.rtx_sequence, mid: Some(mid), rid };
        write(way, &head, Some(codec), &sent, Some(sequence));
        true
    }

    /// Packets and bytes so far by SSRC, with the time stamp of now.
    pub(crate) fn reports(&self) -> impl Iterator<Item = (u32, u32, u32, u32)> {
        let sent = self.layers.iter().filter(|layer| layer.packets > 0);
        sent.map(|layer| (layer.ssrc, layer.timestamp, layer.packets, layer.bytes))
    }
}

impl Layer {
    fn new(random: &mut Random, rid: Option<&'static str>, shape: Option<&LayerShape>) -> Self {
        Self {
            ssrc: random.bits() as u32 | 1,
            rtx: random.bits() as u32 & !1,
            rid,
            shape: shape.cloned(),
            wanted: true,
            sequence: random.bits() & 0x7fff,
            rtx_sequence: random.bits() & 0x7fff,
            timestamp: random.bits() as u32,
            number: 0,
            frame: 0,
            picture: Picture { id: random.bits() as u16 & 0x7fff, base: 0, key_index: 0 },
            key_wanted: true,
            key_at: None,
            named_until: None,
            leaving: None,
            history: if shape.is_some() { vec![None; HISTORY] } else { Vec::new() },
            packets: 0,
            bytes: 0,
        }
    }

    pub(crate) fn want_key_frame(&mut self) {
        self.key_wanted = true;
    }

    pub(crate) fn on_reported(&mut self) {
        self.named_until = None;
    }
}

/// With less than half the bit rate the highest layer is left out, with less than a fifth the middle one too.
fn fits(layer: usize, scale: f64, video: bool) -> bool {
    !video || layer == 0 || (layer == 1 && scale >= 0.2) || scale >= 0.5
}

/// Packets of a frame and payload bytes of each.
fn size(shape: &LayerShape, key: bool, scale: f64, random: &mut Random) -> (usize, usize) {
    if let Some((packets, bytes)) = shape.fixed {
        return (usize::from(packets.max(1)), usize::from(bytes).clamp(STAMP + 16, shape::MOST));
    }
    let mean = f64::from(shape.bits_per_s) * scale / 8.0 / f64::from(shape.frames_per_s.max(1));
    let bytes = mean * (0.7 + 0.6 * random.unit()) * if key { KEY_FRAME } else { 1.0 };
    let bytes = (bytes as usize).max(STAMP + 16);
    let count = bytes.div_ceil(shape::MOST).clamp(1, MOST_PACKETS);
    (count, (bytes / count).clamp(STAMP + 16, shape::MOST))
}

struct Head {
    extensions: u16,
    pt: u8,
    ssrc: u32,
    index: u64,
    mid: Option<usize>,
    rid: Option<(u8, &'static str)>,
}

/// Writes a packet, seals it, and leaves it in the batch.
fn write(way: &mut Way<'_>, head: &Head, codec: Option<Codec>, sent: &Sent, repeats: Option<u16>) {
    let has = |id: u8| head.extensions & (1 << id) != 0;
    let srtp = way.srtp;
    let transport = has(sdp::TRANSPORT_CC).then(|| {
        *way.transport = way.transport.wrapping_add(1);
        if let Some(adapt) = way.adapt.as_deref_mut() {
            adapt.on_sent(*way.transport, way.wall);
        }
        *way.transport
    });
    way.batch.write(way.remote, |out| {
        let start = out.len();
        let marker = u8::from(codec.is_some() && sent.stamp.last()) << 7;
        out.extend_from_slice(&[0x80, marker | head.pt]);
        out.extend_from_slice(&(head.index as u16).to_be_bytes());
        out.extend_from_slice(&sent.timestamp.to_be_bytes());
        out.extend_from_slice(&head.ssrc.to_be_bytes());
        let extended = out.len();
        out.extend_from_slice(&[0xbe, 0xde, 0, 0]);
        if let Some(number) = transport {
            let [high, low] = number.to_be_bytes();
            out.extend_from_slice(&[sdp::TRANSPORT_CC << 4 | 1, high, low]);
        }
        if codec.is_none() && has(sdp::AUDIO_LEVEL) {
            // A quiet voice, -50 dBov, so that who speaks does not change all the time.
            out.extend_from_slice(&[sdp::AUDIO_LEVEL << 4, 50]);
        }
        if let Some(mid) = head.mid.filter(|_| has(sdp::MID)) {
            extend(out, sdp::MID, mid.to_string().as_bytes());
        }
        if let Some((id, rid)) = head.rid.filter(|(id, _)| has(*id)) {
            extend(out, id, rid.as_bytes());
        }
        if codec == Some(Codec::Av1) && has(sdp::DEPENDENCY) {
            let (bytes, len) = shape::dependency(&sent.stamp);
            extend(out, sdp::DEPENDENCY, bytes.get(..len).unwrap_or_default());
        }
        let words = (out.len() - extended - 4).div_ceil(4);
        if words == 0 {
            out.truncate(extended);
        } else {
            out.resize(extended + 4 + words * 4, 0);
            if let (Some(flags), Some(length)) = (out.get(start).copied(), out.get_mut(extended + 3)) {
                *length = words as u8;
                if let Some(first) = out.get_mut(start) {
                    *first = flags | 0x10;
                }
            }
        }
        let header = out.len() - start;
        if let Some(original) = repeats {
            out.extend_from_slice(&original.to_be_bytes());
        }
        shape::payload(out, codec, &sent.stamp, sent.picture, sent.len);
        srtp.seal_rtp(out, start, header, head.ssrc, head.index);
    });
}

/// A header extension element of 1 to 16 bytes (RFC 8285 section 4.2).
fn extend(out: &mut Vec<u8>, id: u8, value: &[u8]) {
    out.push(id << 4 | (value.len() as u8).wrapping_sub(1) & 0x0f);
    out.extend_from_slice(value);
}
