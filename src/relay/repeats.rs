//! Packets that go out later than they were decided on: repetitions, pictures that waited, and padding.
//!
//! The line to a receiver says when; what it holds is only a packet's number, and what is not kept any more is not sent. Entry
//! points: `Shard::retransmit`, `Shard::send_waiting` and `Shard::send_padding`.

use super::line::Waiting;
use super::link::{Attention, Link};
use super::media::{ASSUMED_RTT, Elements, HEADER, Source, TAG, want_reports, write_again, write_media};
use super::shard::Shard;
use super::tracks::RtxStream;
use crate::media::packet::{OutgoingHeader, RtpHeader, set_first_element, write_padding};
use crate::media::red::primary;
use crate::model::MediaKind;
use crate::model::counters::DropReason;
use std::time::Instant;

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
        let (Some(track), Some(receiver)) = (self.tracks.get_mut(item.track as usize), self.links.get_mut(link)) else { return };
        let urgent = track.codec.kind() == MediaKind::Audio;
        let Some(route) = track.routes.iter_mut().find(|route| route.receiver == link) else { return };
        let (Some(out), Some(sent)) = (route.out.as_mut(), route.route.find(item.sequence)) else { return };
        let Some(packet) = track.layers.get(usize::from(sent.layer)).and_then(|layer| layer.cache.find(sent.sequence)) else {
            return;
        };
        let Ok(header) = RtpHeader::parse(packet) else { return };
        let Ok(payload) = header.payload(packet) else { return };
        // A retransmission format repeats plain Opus only.
        let redundant = again && track.red == Some(header.payload_type);
        let Some(payload) = (if redundant { primary(payload) } else { Some(payload) }) else { return };
        let source = Source { header: &header, packet, payload, urgent, now };
        let rewrite = &sent.rewrite;
        if again {
            let copies = receiver.line.as_ref().map_or(1, |line| line.copies());
            for _ in 0..copies {
                self.counters.retransmitted += u64::from(write_again(out, receiver, &mut self.outbox, rewrite, source));
            }
            return;
        }
        let elements = Elements::of(&out.passes, &header, packet);
        if write_media(out, out.payload_type, receiver, &mut self.outbox, rewrite, source, &elements) {
            self.counters.forwarded += 1;
            out.stats.on_sent(rewrite.timestamp, payload.len(), now);
            want_reports(receiver, link, now, &mut self.dirty);
        }
    }

    /// Sends a packet of at most so many bytes that only fills the line, on a stream for repetitions; its bytes, or 0 where
    /// there is none.
    pub(super) fn send_padding(&mut self, link: usize, bytes: usize, now: Instant) -> usize {
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
            self.outbox.push_with(path, false, |slot| {
                let (header_len, len) = write_padding(slot, &outgoing, &[(out.passes.transport_cc, &[0, 0])], padding)?;
                if let Some(number) = line.on_sent(len + TAG, true, now) {
                    set_first_element(slot, number)?;
                }
                sent = peer.seal_rtp(slot, header_len, len)?;
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
