//! The packet path: open in place, find the compiled route, rewrite and seal into the outgoing batch.

use super::line::Waiting;
use super::link::{Attention, Inbound, Link};
use super::passes::{Elements, MAX_DESCRIPTOR};
use super::sections::Use;
use super::shard::Shard;
use super::sound::{Sound, SoundBuffer};
use super::tracks::{Layer, OutStream, RouteState, Track};
use crate::media::bwe::DATAGRAM_OVERHEAD;
use crate::media::codec::dependency::DependencyReader;
use crate::media::codec::{Facts, inspect};
use crate::media::guardian::{Begins, Forwarded, Repair};
use crate::media::inbound::InboundStream;
use crate::media::nacker::NackAction;
use crate::media::packet::{AudioLevel, OutgoingHeader, RtpHeader, set_first_element, write_header};
use crate::media::route::{Incoming, Patch, Rewrite, Verdict};
use crate::media::rtx::write_rtx_payload;
use crate::model::Instant;
use crate::model::counters::{DropReason, FreezeRepair};
use crate::model::{Codec, Extension, MediaKind, Path};
use crate::transport::outbox::Outbox;
use crate::transport::srtp::Datagram;
use std::time::Duration;

/// Round trip assumed before one was measured.
pub(super) const ASSUMED_RTT: Duration = Duration::from_millis(100);

/// What sealing adds to a packet (RFC 7714: 16 bytes; RFC 3711: 10).
pub(super) const TAG: usize = 16;
/// Header of an outgoing packet with its transport-wide number.
pub(super) const HEADER: usize = 20;

impl Shard {
    pub(super) fn handle_rtp(&mut self, link: usize, now: Instant, path: Path, datagram: &mut Datagram<'_>) {
        let Some(state) = self.links.get_mut(link) else { return };
        let opened = match state.peer.open_rtp(datagram) {
            Ok(opened) => opened,
            Err(reason) => return self.counters.drop(reason),
        };
        // Only what is the publisher's own counts: forgeries from its address must not use its rate up.
        let datagram = datagram.as_mut_slice();
        if !state.budget.take(datagram.len(), now) {
            return self.counters.drop(DropReason::RateLimit);
        }
        let moved = state.peer.on_authentic(now, path);
        let Some(packet) = datagram.get_mut(..opened.len) else { return };
        let header = opened.header;
        if let Some(id) = state.extensions.id(Extension::TransportCc)
            && let Some([high, low]) = header.extension(packet, id)
        {
            state.twcc.on_packet(u16::from_be_bytes([*high, *low]), now);
        }
        if moved {
            self.on_moved(link, now);
            self.mark_dirty(link);
        }
        match self.explain(link, &header, packet) {
            None => self.counters.drop(DropReason::UnknownSsrc),
            Some(inbound) if inbound.rtx => self.on_retransmission(link, inbound, &header, packet, now),
            Some(inbound) => self.on_media(link, inbound, &header, packet, false, now),
        }
        self.schedule_feedback(link, now);
    }

    /// What an SSRC carries: known, or explained by the packet's mid and rid, the SDP's SSRCs or its payload type.
    fn explain(&mut self, link: usize, header: &RtpHeader, packet: &[u8]) -> Option<Inbound> {
        let state = self.links.get_mut(link)?;
        if let Some(known) = state.inbound(header.ssrc) {
            return Some(known);
        }
        let text = |extension| {
            let id = state.extensions.id(extension)?;
            std::str::from_utf8(header.extension(packet, id)?).ok()
        };
        let named = text(Extension::Mid).and_then(|mid| state.sections.by_mid(mid));
        let signalled = || state.sections.list.iter().position(|section| section.ssrcs.contains(&header.ssrc));
        let section = state.sections.list.get(named.or_else(signalled)?)?;
        let Use::Receive(Some(track)) = section.used else { return None };
        let (codec, rtx) = section.codec(header.payload_type)?;
        let expected = self.tracks.get(track)?.codec;
        if codec.codec != expected && (codec.codec, expected) != (Codec::Red, Codec::Opus) {
            return None;
        }
        let rid = if rtx { text(Extension::RepairedRid) } else { text(Extension::Rid) };
        let layer = match rid {
            Some(rid) => section.rids.iter().position(|known| **known == *rid)?,
            None if section.rids.len() > 1 => return None,
            None => 0,
        };
        let inbound = Inbound { ssrc: header.ssrc, track, layer: u8::try_from(layer).ok()?, rtx };
        // A client that begins a stream anew takes a new SSRC; the old one is over.
        let same = |known: &mut Inbound| (known.track, known.layer, known.rtx) == (inbound.track, inbound.layer, inbound.rtx);
        for old in state.inbound.extract_if(.., same) {
            state.peer.forget_inbound(old.ssrc);
            self.ssrcs.remove(old.ssrc, link);
        }
        state.inbound.push(inbound);
        self.ssrcs.insert(inbound.ssrc, link);
        if !rtx {
            self.start_stream(inbound);
        }
        Some(inbound)
    }

    fn start_stream(&mut self, inbound: Inbound) {
        let Some(track) = self.tracks.get_mut(inbound.track) else { return };
        let clock_rate = track.codec.clock_rate();
        if let Some(layer) = track.layers.get_mut(usize::from(inbound.layer)) {
            layer.stream = Some(match &layer.stream {
                Some(previous) => InboundStream::following(inbound.ssrc, clock_rate, previous),
                None => InboundStream::new(inbound.ssrc, clock_rate),
            });
            layer.cache.clear();
            layer.dependencies = DependencyReader::default();
        }
        if let Some(publisher) = self.links.get_mut(track.publisher)
            && publisher.timing.report_at.is_none()
        {
            publisher.timing.report_at = publisher.timing.connected_at.map(|at| at + super::feedback::TICK);
        }
    }

    /// Turns a retransmission back into the packet it repeats (RFC 4588, section 4).
    fn on_retransmission(&mut self, link: usize, inbound: Inbound, header: &RtpHeader, packet: &mut [u8], now: Instant) {
        let Ok(payload) = header.payload(packet) else { return self.counters.drop(DropReason::Malformed) };
        // Without a payload it only probed the line.
        let Some([high, low]) = payload.first_chunk() else { return };
        let sequence = u16::from_be_bytes([*high, *low]);
        let end = header.header_len + payload.len();
        let state = self.links.get(link);
        let original = state.and_then(|state| {
            let section = state.sections.list.iter().find(|section| section.used == Use::Receive(Some(inbound.track)))?;
            Some(section.codec(header.payload_type)?.0.payload_type)
        });
        let ssrc = self
            .tracks
            .get(inbound.track)
            .and_then(|track| Some(track.layers.get(usize::from(inbound.layer))?.stream.as_ref()?.ssrc()));
        let (Some(payload_type), Some(ssrc)) = (original, ssrc) else { return };
        packet.copy_within(header.header_len + 2..end, header.header_len);
        let Some(packet) = packet.get_mut(..end - 2) else { return };
        if let Some([flags, second, high, low, _, _, _, _, ssrc_bytes @ ..]) = packet.first_chunk_mut::<12>() {
            *flags &= !0x20;
            *second = (*second & 0x80) | payload_type;
            [*high, *low] = sequence.to_be_bytes();
            *ssrc_bytes = ssrc.to_be_bytes();
        }
        if let Ok(header) = RtpHeader::parse(packet) {
            self.on_media(link, Inbound { ssrc, rtx: false, ..inbound }, &header, packet, true, now);
        }
    }

    pub(super) fn on_media(
        &mut self,
        link: usize,
        inbound: Inbound,
        header: &RtpHeader,
        packet: &[u8],
        repaired: bool,
        now: Instant,
    ) {
        let Ok(payload) = header.payload(packet) else { return self.counters.drop(DropReason::Malformed) };
        let Some(state) = self.links.get_mut(link) else { return };
        let extensions = state.extensions;
        let Some(track) = self.tracks.get_mut(inbound.track) else { return };
        let descriptor = extensions.id(Extension::DependencyDescriptor).and_then(|id| header.extension(packet, id));
        // Only what some receiver gets, or is about to get, can be asked for again, and only where repetitions have a stream.
        let wanted = track.routes.iter().any(|route| route.may_repeat(inbound.layer));
        let Some(layer) = track.layers.get_mut(usize::from(inbound.layer)) else { return };
        let Some((sequence, lost_too_much)) = layer.note(header, repaired, now) else { return };
        let facts = layer.look_into(track.codec, sequence, payload, descriptor, now);
        layer.rates.on_packet(&facts, header.timestamp, packet.len() + TAG + DATAGRAM_OVERHEAD, now);
        let repair_at = layer.stream.as_ref().and_then(InboundStream::nack_deadline);
        if let Some(at) = repair_at {
            state.timing.repair_by(at);
        }
        let woke = track.on_layer_packet(inbound.layer, facts.spatial, now);
        let muted = track.muted;
        let redundant = track.red == Some(header.payload_type);
        let incoming = Incoming {
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            facts: &facts,
            payload_len: payload.len(),
            now,
        };
        if woke {
            self.retarget(inbound.track, now);
        }
        self.fan_out(inbound, header, packet, payload, &incoming);
        if redundant && !repaired {
            self.recover_sound(link, inbound, header, payload, now);
        }
        if wanted && !payload.is_empty() {
            self.keep(inbound, sequence, packet, now);
        }
        if lost_too_much {
            self.lost_too_much(inbound.track, inbound.layer, now);
        }
        if !muted && let Some(id) = extensions.id(Extension::AudioLevel) {
            self.hear(inbound.track, header.extension(packet, id).and_then(AudioLevel::parse), now);
        }
    }

    /// Keeps a packet to be sent again. Last of all: it goes to slow memory, and what was written before must not wait for that.
    fn keep(&mut self, inbound: Inbound, sequence: u64, packet: &[u8], now: Instant) {
        let track = self.tracks.get_mut(inbound.track);
        if let Some(layer) = track.and_then(|track| track.layers.get_mut(usize::from(inbound.layer))) {
            layer.cache.insert(sequence, packet, now);
        }
    }

    fn fan_out(&mut self, inbound: Inbound, header: &RtpHeader, packet: &[u8], payload: &[u8], incoming: &Incoming<'_>) {
        let Some(track) = self.tracks.get_mut(inbound.track) else { return };
        if track.codec.kind() == MediaKind::Audio {
            return self.fan_out_sound(inbound, header, packet, payload, incoming);
        }
        let now = incoming.now;
        let source = Source { header, packet, payload, urgent: false, now };
        let mut elements = Elements::default();
        let mut frozen = None;
        for route in &mut track.routes {
            let (Some(out), Some(receiver)) = (route.out.as_mut(), self.links.get_mut(route.receiver)) else { continue };
            if !receiver.peer.is_connected() || now < out.opens_at {
                continue;
            }
            let begins_again = incoming.facts.key_frame_start && route.route.is_broken_off(inbound.layer);
            let verdict = if begins_again && receiver.is_backed_up(now) {
                Verdict::Drop
            } else {
                route.route.on_packet(inbound.layer, incoming)
            };
            if route.route.target().is_some()
                && let Some(repair) = route.guardian.poll(|| route.route.wants_key_frame().is_some(), now)
            {
                // There may be no other layer, and the other may be the broken one that goes out still.
                route.route.request_key_frame();
                if repair == Repair::OtherLayer {
                    route.choice.avoid(now);
                }
                frozen = frozen.max(Some(repair));
            }
            let Verdict::Forward(rewrite) = verdict else { continue };
            // What waits goes out in order and soon, or the guardian will see that nothing follows it.
            let Rewrite { sequence, timestamp, marker, .. } = rewrite;
            let key_frame_start = incoming.facts.key_frame_start;
            let begins = Begins::of(incoming.facts);
            let forwarded = Forwarded { sequence, timestamp, marker, key_frame_start, begins };
            if let Some(cause) = route.guardian.on_forwarded(forwarded, now) {
                self.counters.freeze(cause);
            }
            // Only what is kept can go out later.
            let item = (out.rtx.is_some() && !payload.is_empty()).then(|| Waiting::new(inbound.track, sequence));
            if !receiver.admits(route.receiver, item, payload.len() + HEADER + TAG, now, &mut self.dirty) {
                if receiver.is_backed_up(now) {
                    route.route.break_off();
                }
                continue;
            }
            elements.gather(&out.passes, header, packet);
            if write_media(out, out.payload_type, receiver, &mut self.outbox, &rewrite, source, &elements) {
                self.counters.forwarded += 1;
                out.stats.on_sent(rewrite.timestamp, payload.len(), now);
                want_reports(receiver, route.receiver, now, &mut self.dirty);
            }
        }
        if let Some(repair) = frozen {
            self.unfreeze(inbound.track, repair, now);
        }
    }

    fn fan_out_sound(&mut self, inbound: Inbound, header: &RtpHeader, packet: &[u8], payload: &[u8], incoming: &Incoming<'_>) {
        let Some(Track { routes, layers, red, .. }) = self.tracks.get_mut(inbound.track) else { return };
        let redundant = *red == Some(header.payload_type) && !payload.is_empty();
        let mut elements = Elements::default();
        let Some(mut sound) = Sound::new(payload, redundant) else { return self.counters.drop(DropReason::Malformed) };
        let bears = |link: usize| self.links.get(link).is_some_and(Link::bears_redundancy);
        let lossy = |route: &RouteState| route.generations(true) > 0 && bears(route.receiver);
        let lossy = !redundant && routes.iter().any(lossy);
        if lossy && let Some(layer) = layers.get(usize::from(inbound.layer)) {
            sound.find_earlier(layer, *red, incoming.sequence, header.timestamp);
        }
        let mut buffer = (redundant || lossy).then(SoundBuffer::new);
        for route in routes {
            let (Some(out), Some(receiver)) = (route.out.as_mut(), self.links.get_mut(route.receiver)) else { continue };
            if !receiver.peer.is_connected() || incoming.now < out.opens_at {
                continue;
            }
            let Verdict::Forward(rewrite) = route.route.on_packet(inbound.layer, incoming) else { continue };
            elements.gather(&out.passes, header, packet);
            let (payload_type, payload) = match &mut buffer {
                Some(buffer) => sound.form(out, receiver, buffer),
                None => (out.payload_type, payload),
            };
            receiver.admits(route.receiver, None, payload.len() + HEADER + TAG, incoming.now, &mut self.dirty);
            let source = Source { header, packet, payload, urgent: true, now: incoming.now };
            out.echo(receiver, &mut self.outbox, incoming.now);
            if write_media(out, payload_type, receiver, &mut self.outbox, &rewrite, source, &elements) {
                out.keep_echo(&mut self.outbox);
                self.counters.forwarded += 1;
                out.stats.on_sent(rewrite.timestamp, payload.len(), incoming.now);
                want_reports(receiver, route.receiver, incoming.now, &mut self.dirty);
            }
        }
    }

    /// A receiver's picture has stood still while its publisher sent: a key frame, or another layer, makes it move again.
    fn unfreeze(&mut self, track: usize, repair: Repair, now: Instant) {
        match repair {
            Repair::KeyFrame => {
                self.counters.repair(FreezeRepair::KeyFrame);
                self.request_wanted_key_frames(track, now);
            }
            Repair::OtherLayer => {
                self.counters.repair(FreezeRepair::Layer);
                self.retarget(track, now);
            }
        }
    }

    /// More is missing than retransmissions could heal: a key frame starts afresh.
    pub(super) fn lost_too_much(&mut self, track: usize, layer: u8, now: Instant) {
        let Some(state) = self.tracks.get_mut(track).filter(|track| track.codec.kind() == MediaKind::Video) else {
            return;
        };
        for route in &mut state.routes {
            if route.route.current() == Some(layer) {
                route.route.request_key_frame();
            }
        }
        self.request_wanted_key_frames(track, now);
    }

    fn hear(&mut self, track: usize, level: Option<AudioLevel>, now: Instant) {
        let (Some(level), Some(room)) = (level, self.tracks.get(track).map(|track| track.room)) else { return };
        let Some(state) = self.rooms.get_mut(room) else { return };
        state.speakers.on_level(track as u32, level.level, level.voice, now);
        if state.scheduled.is_none() {
            self.check_room(room, now);
        }
    }
}

impl Layer {
    /// Takes note of a packet; its extended number unless it is to be dropped, and whether too much is missing by now.
    fn note(&mut self, header: &RtpHeader, repaired: bool, now: Instant) -> Option<(u64, bool)> {
        let stream = self.stream.as_mut()?;
        if repaired {
            return Some((stream.on_recovered(header.sequence)?, false));
        }
        let (arrival, action) = stream.on_packet(header.sequence, header.timestamp, now);
        let sequence = arrival.sequence()?;
        self.newest = header.timestamp;
        Some((sequence, action == NackAction::KeyFrame))
    }

    /// What a packet says of its frame, and what follows from that for the layer.
    fn look_into(&mut self, codec: Codec, sequence: u64, payload: &[u8], descriptor: Option<&[u8]>, now: Instant) -> Facts {
        let mut facts = inspect(codec, payload, descriptor);
        if codec.kind() == MediaKind::Audio {
            return facts;
        }
        if let Some(described) = descriptor.and_then(|descriptor| self.dependencies.read(descriptor)) {
            if codec == Codec::Vp8 { facts.describe_vp8(&described) } else { facts.describe(&described) }
        }
        if facts.key_frame_start {
            self.key_frames.on_key_frame(now);
            if let Some(stream) = &mut self.stream {
                stream.nacker().on_key_frame(sequence);
            }
        }
        facts
    }
}

/// A packet as it came in, to be written once for each receiver.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) header: &'a RtpHeader,
    pub(super) packet: &'a [u8],
    pub(super) payload: &'a [u8],
    /// Voice goes before pictures.
    pub(super) urgent: bool,
    pub(super) now: Instant,
}

/// Something was sent to a receiver: it is owed reports.
pub(super) fn want_reports(receiver: &mut Link, link: usize, now: Instant, dirty: &mut Vec<usize>) {
    if receiver.timing.report_at.is_none() {
        receiver.timing.report_at = Some(now);
        receiver.timing.want(Attention::Feedback, link, dirty);
    }
}

pub(super) fn write_media(
    out: &OutStream,
    payload_type: u8,
    receiver: &mut Link,
    outbox: &mut Outbox,
    rewrite: &Rewrite,
    source: Source<'_>,
    elements: &Elements<'_>,
) -> bool {
    let stream = (payload_type, rewrite.sequence, out.ssrc);
    write_packet(stream, None, elements, receiver, outbox, rewrite, source)
}

pub(super) fn write_again(
    out: &mut OutStream,
    receiver: &mut Link,
    outbox: &mut Outbox,
    rewrite: &Rewrite,
    source: Source<'_>,
) -> bool {
    let Some(rtx) = out.rtx.as_mut() else { return false };
    let stream = (rtx.payload_type, rtx.sequence, rtx.ssrc);
    let elements = Elements::of(&out.passes, source.header, source.packet);
    let written = write_packet(stream, Some(rewrite.sequence), &elements, receiver, outbox, rewrite, source);
    if written {
        rtx.sequence = rtx.sequence.wrapping_add(1);
    }
    written
}

/// Writes and seals one packet into the outgoing batch; one that repeats another carries the other's number before its payload.
fn write_packet(
    (payload_type, sequence, ssrc): (u8, u16, u32),
    repeats: Option<u16>,
    elements: &Elements<'_>,
    receiver: &mut Link,
    outbox: &mut Outbox,
    rewrite: &Rewrite,
    Source { payload, urgent, now, .. }: Source<'_>,
) -> bool {
    let Some(path) = receiver.peer.path() else { return false };
    let mut descriptor;
    let patched;
    let elements = if let Some(Patch::Targets { count, active }) = rewrite.patch {
        descriptor = [0; MAX_DESCRIPTOR];
        patched = elements.with_targets(count, active, &mut descriptor);
        &patched
    } else {
        elements
    };
    let outgoing = OutgoingHeader { marker: rewrite.marker, payload_type, sequence, timestamp: rewrite.timestamp, ssrc };
    let payload = if rewrite.empty { &[] } else { payload };
    let Link { peer, line, .. } = receiver;
    outbox.push_sealed(path, urgent, |slot, debt| {
        let header_len = write_header(slot, &outgoing, elements.as_slice())?;
        let body_len = payload.len() + if repeats.is_some() { 2 } else { 0 };
        if let Some(line) = line
            && let Some(number) = line.on_sent(header_len + body_len + TAG, elements.numbered(), now)
        {
            set_first_element(slot, number)?;
        }
        if repeats.is_none() && !matches!(rewrite.patch, Some(Patch::Vp8(_))) {
            return peer.seal_rtp_from(slot, header_len, payload, debt);
        }
        let body = slot.get_mut(header_len..header_len + body_len)?;
        match repeats {
            Some(original) => {
                write_rtx_payload(body, original, payload)?;
            }
            None => body.copy_from_slice(payload),
        }
        if let Some(Patch::Vp8(patch)) = rewrite.patch {
            patch.apply(body.get_mut(body_len - payload.len()..)?);
        }
        peer.seal_rtp(slot, header_len, header_len + body_len, debt)
    })
}
