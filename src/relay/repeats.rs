//! Packets that go out later than they were decided on: repetitions, pictures that waited, and padding.
//!
//! The line to a receiver says when; what it holds is only a packet's number, and what is not kept any more is not sent. Entry
//! points: `Shard::retransmit`, `Shard::send_waiting` and `Shard::send_padding`.

use super::line::Waiting;
use super::link::{Attention, Link};
use super::media::{ASSUMED_RTT, HEADER, Source, TAG, want_reports, write_again, write_media};
use super::passes::Elements;
use super::shard::Shard;
use super::tracks::RtxStream;
use crate::media::pacer::Padding;
use crate::media::packet::{OutgoingHeader, RtpHeader, set_first_element, write_padding};
use crate::media::red::primary;
use crate::media::route::Sent;
use crate::model::Instant;
use crate::model::MediaKind;
use crate::model::counters::DropReason;
use std::time::Duration;

/// The number before the payload of a repeated packet (RFC 4588, section 4).
const RTX: usize = 2;

/// Packets of a route that are looked up for one that fits into a probe: those of a large picture are alike.
const TRIED: usize = 8;

impl Shard {
    /// Sends a packet again to a receiver that misses it, as soon as its line has room; `false` when it is too old to be had, and
    /// only a key frame helps.
    pub(super) fn retransmit(&mut self, link: usize, index: usize, sequence: u16, now: Instant) -> bool {
        let (Some(track), Some(receiver)) = (self.tracks.get_mut(index), self.links.get_mut(link)) else { return true };
        let Some(route) = track.routes.iter_mut().find(|route| route.receiver == link) else { return true };
        let Some(out) = route.out.as_mut() else { return true };
        let rtt = out.stats.rtt().unwrap_or(ASSUMED_RTT);
        let Some(sent) = route.route.resolve(sequence, now, rtt) else { return !route.route.is_forgotten(sequence) };
        let Some(layer) = track.layers.get(usize::from(sent.layer)) else { return true };
        let Some(packet) = layer.cache.find(sent.sequence) else { return false };
        if out.rtx.is_some()
            && let Some(line) = &mut receiver.line
        {
            let bytes = (packet.len() + TAG) * line.copies();
            if line.push_repair(Waiting::new(index, sent.rewrite.sequence), bytes, now) {
                receiver.timing.want(Attention::Feedback, link, &mut self.dirty);
            } else {
                self.counters.drop(DropReason::RateLimit);
            }
        }
        true
    }

    /// Sends a packet that has waited: a picture's own, or one that is sent `again`. What is not there any more is not sent.
    pub(super) fn send_waiting(&mut self, link: usize, item: Waiting, again: bool, now: Instant) {
        if again {
            let copies = self.links.get(link).and_then(|receiver| receiver.line.as_ref()).map_or(1, |line| line.copies());
            self.counters.retransmitted += self.send_kept(link, item, Some(copies), now);
        } else {
            self.counters.forwarded += self.send_kept(link, item, None, now);
        }
    }

    /// Sends a packet that is kept, the first time or so many copies of it again; how many packets went out.
    fn send_kept(&mut self, link: usize, item: Waiting, copies: Option<usize>, now: Instant) -> u64 {
        let (Some(track), Some(receiver)) = (self.tracks.get_mut(item.track as usize), self.links.get_mut(link)) else {
            return 0;
        };
        let urgent = track.codec.kind() == MediaKind::Audio;
        let Some(route) = track.routes.iter_mut().find(|route| route.receiver == link) else { return 0 };
        let (Some(out), Some(sent)) = (route.out.as_mut(), route.route.find(item.sequence)) else { return 0 };
        let Some(packet) = track.layers.get(usize::from(sent.layer)).and_then(|layer| layer.cache.find(sent.sequence)) else {
            return 0;
        };
        let Ok(header) = RtpHeader::parse(packet) else { return 0 };
        let Ok(payload) = header.payload(packet) else { return 0 };
        // A retransmission format repeats plain Opus only.
        let redundant = copies.is_some() && track.red == Some(header.payload_type);
        let Some(payload) = (if redundant { primary(payload) } else { Some(payload) }) else { return 0 };
        let source = Source { header: &header, packet, payload, urgent, now };
        let rewrite = &sent.rewrite;
        if let Some(copies) = copies {
            return (0..copies).map(|_| u64::from(write_again(out, receiver, &mut self.outbox, rewrite, source))).sum();
        }
        let elements = Elements::of(&out.passes, &header, packet);
        let written = write_media(out, out.payload_type, receiver, &mut self.outbox, rewrite, source, &elements);
        if written {
            out.stats.on_sent(rewrite.timestamp, payload.len(), now);
            want_reports(receiver, link, now, &mut self.dirty);
        }
        u64::from(written)
    }

    /// Fills the line: with a packet sent before where there is one, which heals what nobody has missed yet, and otherwise with
    /// nothing. Answers its bytes, or 0 where there is no stream for it, and whether it was sent before.
    pub(super) fn send_padding(&mut self, link: usize, padding: Padding, now: Instant) -> (usize, bool) {
        match self.repeat_unasked(link, padding.repeat, now) {
            0 => (self.send_empty(link, padding.empty, now), false),
            sent => (sent, true),
        }
    }

    /// Sends the youngest packet of at most so many bytes that was not sent again yet; its bytes, or 0 where there is none. Should
    /// the receiver ask for it meanwhile, it has had its answer.
    fn repeat_unasked(&mut self, link: usize, most: usize, now: Instant) -> usize {
        if most == 0 {
            return 0;
        }
        let Some(item) = self.youngest_unrepeated(link, most, now) else { return 0 };
        let route = self.tracks.get_mut(item.track as usize).and_then(|track| track.route_to(link));
        if route.and_then(|route| route.route.resolve(item.sequence, now, Duration::ZERO)).is_none() {
            return 0;
        }
        let before = self.outbox.size();
        self.counters.padding_repeats += self.send_kept(link, item, Some(1), now);
        self.outbox.size() - before
    }

    /// Only what the route sent itself is there to be found: what is closed, muted, at rest or paused has nothing.
    fn youngest_unrepeated(&self, link: usize, most: usize, now: Instant) -> Option<Waiting> {
        let candidates = self.links.get(link)?.outbound.iter().filter_map(|outbound| {
            let track = self.tracks.get(outbound.track)?;
            let route = track.routes.iter().find(|route| route.receiver == link && route.can_pad(now))?;
            let fits = |sent: &Sent| {
                let packet = track.layers.get(usize::from(sent.layer)).and_then(|layer| layer.cache.find(sent.sequence));
                packet.is_some_and(|packet| packet.len() + RTX + TAG <= most)
            };
            let (age, sent) = route.route.unrepeated(now).take(TRIED).find(|(_, sent)| fits(sent))?;
            Some((age, Waiting::new(outbound.track, sent.rewrite.sequence)))
        });
        candidates.min_by_key(|(age, _)| *age).map(|(_, item)| item)
    }

    /// Sends a packet of at most so many bytes of padding, on a stream for repetitions; its bytes, or 0 where there is none.
    fn send_empty(&mut self, link: usize, bytes: usize, now: Instant) -> usize {
        let Some(receiver) = self.links.get_mut(link) else { return 0 };
        let Some(path) = receiver.peer.path() else { return 0 };
        let Link { outbound, peer, line, .. } = receiver;
        let tracks = &mut self.tracks;
        let mut sent = 0;
        for track in outbound.iter().map(|outbound| outbound.track) {
            let route = tracks.get_mut(track).and_then(|track| track.route_to(link));
            let Some(out) = route.filter(|route| route.can_pad(now)).and_then(|route| route.out.as_mut()) else { continue };
            let timestamp = out.stats.last_timestamp();
            let (Some(rtx), Some(timestamp), Some(line)) = (out.rtx.as_mut(), timestamp, line.as_mut()) else { continue };
            let RtxStream { ssrc, payload_type, sequence } = *rtx;
            let outgoing = OutgoingHeader { marker: false, payload_type, sequence, timestamp, ssrc };
            let padding = bytes.saturating_sub(HEADER + TAG).clamp(1, usize::from(u8::MAX)) as u8;
            self.outbox.push_sealed(path, false, |slot, debt| {
                let (header_len, len) = write_padding(slot, &outgoing, &[(out.passes.transport_cc, &[0, 0])], padding)?;
                if let Some(number) = line.on_sent(len + TAG, true, now) {
                    set_first_element(slot, number)?;
                }
                sent = peer.seal_rtp(slot, header_len, len, debt)?;
                Some(sent)
            });
            if sent > 0 {
                rtx.sequence = rtx.sequence.wrapping_add(1);
                break;
            }
        }
        sent
    }
}
