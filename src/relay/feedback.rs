//! Control packets: reports, requests for packets and key frames, transport feedback - taken in and sent out.

use super::media::ASSUMED_RTT;
use super::shard::Shard;
use crate::media::rtcp::{Compound, ReportBlock, Rtcp, SenderInfo, packets};
use crate::model::Instant;
use crate::model::counters::DropReason;
use crate::model::{MediaKind, ParticipantSid, Path};
use crate::transport::outbox::MAX_DATAGRAM;
use std::time::Duration;

/// How often a link with media looks after itself: live layers, overdue key frames, and every second time its reports.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// Packets asked for again in one message at most; what is left over follows with the next.
const MAX_NACKS: usize = 64;

/// Kept free behind a control packet for its index and tag (RFC 3711, section 3.4: 4 + 10 bytes; RFC 7714: 4 + 16), and a path of
/// 1,280 bytes is never exceeded.
const TAG_ROOM: usize = 300;

/// Report blocks one report holds (RFC 3550, section 6.4: a 5-bit count).
const MAX_BLOCKS: usize = 31;

/// Requests for packets answered per message: what a receiver could miss in half a second of video.
const MAX_RETRANSMISSIONS: usize = 128;

/// Round trip that a line may have as long as none was measured: packets are kept for a second then.
const UNTOLD_RTT: Duration = Duration::from_millis(225);

impl Shard {
    pub(super) fn handle_rtcp(&mut self, link: usize, now: Instant, path: Path, datagram: &mut [u8]) {
        let Some(state) = self.links.get_mut(link) else { return };
        let len = match state.peer.open_rtcp(datagram) {
            Ok(len) => len,
            Err(reason) => return self.counters.drop(reason),
        };
        if !state.budget.take(datagram.len(), now) {
            return self.counters.drop(DropReason::RateLimit);
        }
        if state.peer.on_authentic(now, path) {
            self.on_moved(link, now);
            self.mark_dirty(link);
        }
        self.note_control_ssrc(link, datagram);
        let mut covered = (0, 0);
        for packet in packets(datagram.get(..len).unwrap_or_default()) {
            match packet {
                Ok(packet) => self.on_control(link, packet, &mut covered, now),
                Err(_) => self.counters.drop(DropReason::BadRtcp),
            }
        }
        if covered.0 > 0 {
            self.on_line(link, |line| line.on_reports(covered, now));
        }
    }

    fn on_control(&mut self, link: usize, packet: Rtcp<'_>, covered: &mut (u32, u32), now: Instant) {
        match packet {
            Rtcp::SenderReport { sender, blocks } => {
                self.on_sender_report(link, &sender, now);
                blocks.for_each(|block| self.on_report_block(link, &block, covered, now));
            }
            Rtcp::ReceiverReport { blocks, .. } => blocks.for_each(|block| self.on_report_block(link, &block, covered, now)),
            Rtcp::Nack { media, sequences, .. } => {
                let Some(track) = self.sent_track(link, media) else { return };
                let mut lost = false;
                for sequence in sequences.take(MAX_RETRANSMISSIONS) {
                    self.counters.nack_in += 1;
                    lost |= !self.retransmit(link, track, sequence, now);
                }
                // A receiver waits seconds for what it has asked for before it asks for a key frame itself.
                if lost && self.tracks.get(track).is_some_and(|track| track.codec.kind() == MediaKind::Video) {
                    self.want_key_frame(track, link, now);
                }
            }
            Rtcp::Pli { media, .. } => self.on_key_frame_request(link, media, now),
            Rtcp::Fir { entries, .. } => entries.for_each(|(media, _)| self.on_key_frame_request(link, media, now)),
            Rtcp::Remb { bitrate, .. } => self.on_line(link, |line| line.on_remb(bitrate, now)),
            Rtcp::TransportFeedback(feedback) => self.on_line(link, |line| line.on_feedback(&feedback, now)),
            // Goodbyes are said in signalling.
            Rtcp::Bye { .. } | Rtcp::Sdes | Rtcp::Other { .. } => {}
        }
    }

    fn on_key_frame_request(&mut self, link: usize, media: u32, now: Instant) {
        self.counters.pli_in += 1;
        if let Some(track) = self.sent_track(link, media) {
            self.want_key_frame(track, link, now);
        }
    }

    fn sent_track(&self, link: usize, ssrc: u32) -> Option<usize> {
        self.links.get(link)?.outbound.iter().find(|outbound| outbound.ssrc == ssrc).map(|outbound| outbound.track)
    }

    fn on_sender_report(&mut self, link: usize, report: &SenderInfo, now: Instant) {
        let Some(inbound) = self.links.get(link).and_then(|state| state.inbound(report.ssrc)).filter(|inbound| !inbound.rtx)
        else {
            return;
        };
        let Some(track) = self.tracks.get_mut(inbound.track) else { return };
        for route in &mut track.routes {
            route.route.set_layer_clock(inbound.layer, report.ntp, report.rtp);
        }
        if let Some(stream) = track.layers.get_mut(usize::from(inbound.layer)).and_then(|layer| layer.stream.as_mut()) {
            stream.on_sender_report(report, now);
        }
    }

    fn on_report_block(&mut self, link: usize, block: &ReportBlock, covered: &mut (u32, u32), now: Instant) {
        let Some(track) = self.sent_track(link, block.ssrc) else { return };
        if let Some(out) = self.tracks.get_mut(track).and_then(|track| track.route_to(link)?.out.as_mut()) {
            let reception = out.stats.on_report_block(block, now);
            out.redundancy.on_loss(reception.fraction_lost, now);
            let (packets, lost) = out.stats.covered(block);
            *covered = (covered.0.saturating_add(packets), covered.1.saturating_add(lost));
            if let Some(state) = self.links.get_mut(link) {
                state.rtt = reception.rtt.or(state.rtt);
            }
        }
    }

    /// Sends what a link owes: transport feedback, requests for packets and key frames, reports.
    pub(super) fn poll_feedback(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        if !state.peer.is_connected() {
            return;
        }
        let mut buffer = [0u8; MAX_DATAGRAM - TAG_ROOM];
        let media = state.inbound.first().map_or(0, |inbound| inbound.ssrc);
        while let Some(len) = state.twcc.poll_feedback(now, &mut buffer, state.own_ssrc, media) {
            state.peer.send_rtcp(buffer.get(..len).unwrap_or_default(), &mut self.outbox);
        }
        self.poll_line(link, now);
        let Some(state) = self.links.get(link) else { return };
        if state.timing.repair_at.is_some_and(|at| at <= now) {
            self.each_published(link, |shard, track| shard.poll_repairs(track, now));
            let repair_at = self.repair_deadline(link);
            if let Some(state) = self.links.get_mut(link) {
                state.timing.repair_at = repair_at;
            }
        }
        let report_at = self.links.get(link).and_then(|state| state.timing.report_at);
        if report_at.is_some_and(|at| at <= now) {
            self.each_published(link, |shard, track| shard.look_after(track, now));
            self.send_reports(link, now);
            self.look_soon(link, now);
            // Who neither sends nor receives has nothing to report and is not looked at again: the next packet begins anew.
            let busy = self.is_busy(link, now);
            if let Some(state) = self.links.get_mut(link) {
                state.timing.report_at = busy.then_some(now + TICK);
            }
        }
    }

    /// Whether a link's media wants looking after: something comes in, or is sent and no report has told of it.
    fn is_busy(&self, link: usize, now: Instant) -> bool {
        let Some(state) = self.links.get(link) else { return false };
        let mut published = state.published().filter_map(|track| self.tracks.get(track));
        let unreported = |track: usize| {
            let track = self.tracks.get(track).filter(|track| track.is_busy(now))?;
            track.routes.iter().find(|route| route.receiver == link)?.out.as_ref()?.stats.next_report()
        };
        published.any(|track| track.is_busy(now)) || state.outbound.iter().any(|sent| unreported(sent.track).is_some())
    }

    /// Visits the tracks of a link, without a list of them: this happens several times a second.
    fn each_published(&mut self, link: usize, mut visit: impl FnMut(&mut Self, usize)) {
        let sections = self.links.get(link).map_or(0, |state| state.sections.list.len());
        for section in 0..sections {
            if let Some(track) = self.links.get(link).and_then(|state| state.sections.list.get(section)?.published()) {
                visit(self, track);
            }
        }
    }

    /// When a link's tracks next want packets or key frames to be asked for.
    pub(super) fn repair_deadline(&self, link: usize) -> Option<Instant> {
        let state = self.links.get(link)?;
        let layers = state.published().filter_map(|track| self.tracks.get(track)).flat_map(|track| &track.layers);
        layers.filter_map(super::tracks::Layer::next_deadline).min()
    }

    fn poll_repairs(&mut self, track: usize, now: Instant) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        let Some(publisher) = self.links.get_mut(state.publisher) else { return };
        let (mut plis, mut given_up) = (0u8, 0u8);
        for (index, layer) in state.layers.iter_mut().enumerate() {
            let Some(stream) = &mut layer.stream else { continue };
            let ssrc = stream.ssrc();
            let mut missing = [0u16; MAX_NACKS];
            let count = stream.nacker().poll_nacks(now, publisher.rtt.unwrap_or(ASSUMED_RTT), &mut missing);
            if count > 0 && !state.routes.is_empty() {
                let mut buffer = [0u8; MAX_DATAGRAM - TAG_ROOM];
                let mut compound = Compound::new(&mut buffer);
                if compound.nack(publisher.own_ssrc, ssrc, missing.get(..count).unwrap_or_default()) {
                    let len = compound.len();
                    publisher.peer.send_rtcp(buffer.get(..len).unwrap_or_default(), &mut self.outbox);
                    self.counters.nack_out += count as u64;
                }
            }
            given_up |= u8::from(stream.nacker().take_given_up()) << index;
            if layer.key_frames.poll(now) {
                plis |= 1 << index;
            }
        }
        for layer in (0..8u8).filter(|layer| given_up & (1 << layer) != 0) {
            self.lost_too_much(track, layer, now);
        }
        for layer in (0..8u8).filter(|layer| plis & (1 << layer) != 0) {
            self.send_pli(track, layer);
        }
    }

    /// Asks a publisher for a key frame of a layer.
    pub(super) fn send_pli(&mut self, track: usize, layer: u8) {
        let Some(state) = self.tracks.get(track) else { return };
        let Some(ssrc) = state.layers.get(usize::from(layer)).and_then(|layer| Some(layer.stream.as_ref()?.ssrc())) else {
            return;
        };
        let Some(publisher) = self.links.get_mut(state.publisher) else { return };
        let mut buffer = [0u8; MAX_DATAGRAM - TAG_ROOM];
        let mut compound = Compound::new(&mut buffer);
        if compound.pli(publisher.own_ssrc, ssrc) {
            let len = compound.len();
            publisher.peer.send_rtcp(buffer.get(..len).unwrap_or_default(), &mut self.outbox);
            self.counters.pli_out += 1;
        }
    }

    /// Looks whether a track's layers came or went, whether a wanted key frame is overdue, and what its caches may forget.
    fn look_after(&mut self, track: usize, now: Instant) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        let receivers = state.routes.iter().filter(|route| route.out.is_some());
        let lines = receivers.filter_map(|route| self.links.get(route.receiver));
        let age =
            asked_again_within(lines.map(|link| (link.rtt, link.line.as_ref().map_or(Duration::ZERO, |line| line.keeps_for()))));
        for layer in &mut state.layers {
            layer.cache.set_age(age);
            layer.cache.expire(now);
        }
        state.routes.iter_mut().for_each(|route| route.route.set_age(age, now));
        let mut again = false;
        for route in &mut state.routes {
            again |= route.choice.avoids_no_longer(now);
        }
        if state.live_layers(now) == state.live && !again {
            self.request_wanted_key_frames(track, now);
            self.poll_demand(track, now);
        } else {
            self.retarget(track, now);
        }
    }

    fn send_reports(&mut self, link: usize, now: Instant) {
        let mut blocks = [ReportBlock::default(); MAX_BLOCKS];
        let mut count = 0;
        let Some(state) = self.links.get(link) else { return };
        let own_ssrc = state.own_ssrc;
        for inbound in state.inbound.iter().filter(|inbound| !inbound.rtx) {
            let stream = self
                .tracks
                .get_mut(inbound.track)
                .and_then(|track| track.layers.get_mut(usize::from(inbound.layer))?.stream.as_mut());
            if let Some(block) = stream.and_then(|stream| stream.report_block(now))
                && let Some(slot) = blocks.get_mut(count)
            {
                *slot = block;
                count += 1;
            }
        }
        let mut buffer = [0u8; MAX_DATAGRAM - TAG_ROOM];
        let mut compound = Compound::new(&mut buffer);
        let mut any = false;
        let mut sent = 0;
        while let Some(outbound) = self.links.get(link).and_then(|state| state.outbound.get(sent)).copied() {
            sent += 1;
            if let Some((report, cname)) = self.sender_report(link, outbound.track, now) {
                any |= compound.sender_report(&report, &[]) && compound.cname(report.ssrc, cname.as_str());
            }
        }
        if count > 0 || !any {
            any |= compound.receiver_report(own_ssrc, blocks.get(..count).unwrap_or_default());
        }
        let len = compound.len();
        if any && let Some(state) = self.links.get_mut(link) {
            state.peer.send_rtcp(buffer.get(..len).unwrap_or_default(), &mut self.outbox);
        }
    }

    /// The report of one sent stream, when it is due: the publisher's own clock on the outgoing timeline, so that voice and
    /// picture of one person stay together.
    fn sender_report(&mut self, link: usize, track: usize, now: Instant) -> Option<(SenderInfo, ParticipantSid)> {
        let state = self.tracks.get_mut(track)?;
        let member = state.member;
        let room = state.room;
        let route = state.routes.iter_mut().find(|route| route.receiver == link)?;
        let out = route.out.as_mut()?;
        if out.stats.next_report()? > now {
            return None;
        }
        let current = route.route.current()?;
        let layer = state.layers.get(usize::from(current))?;
        let ntp = layer.stream.as_ref()?.rtp_to_ntp(layer.newest)?;
        let rtp = route.route.timestamp_for(current, layer.newest)?;
        let report = out.stats.sender_report(ntp, rtp, now);
        let cname = self.rooms.get(room)?.rules.record(member)?.sid.clone();
        Some((report, cname))
    }
}

/// How long a packet may be asked for again on lines of these round trips, each with what it needs in any case; a round trip that
/// nobody has told counts as long.
///
/// Receivers ask when they see a gap and again each round trip, and the fourth answer comes too late for most of them. The
/// bounds are a packet that came late anyway, and two seconds, beyond which no picture waits. Where much is lost the fourth
/// answer is lost too, and where pictures wait for the line they have not even left.
fn asked_again_within(lines: impl Iterator<Item = (Option<Duration>, Duration)>) -> Duration {
    let within = |(rtt, least): (Option<Duration>, Duration)| {
        let usual = rtt.unwrap_or(UNTOLD_RTT) * 4 + Duration::from_millis(100);
        usual.max(least)
    };
    let longest = lines.map(within).max().unwrap_or_else(|| within((None, Duration::ZERO)));
    longest.clamp(Duration::from_millis(250), Duration::from_secs(2))
}

impl super::tracks::Layer {
    fn next_deadline(&self) -> Option<Instant> {
        let nacks = self.stream.as_ref().and_then(|stream| stream.nack_deadline());
        [nacks, self.key_frames.next_deadline()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_kept_as_long_as_the_longest_line_asks_for_them() {
        let ms = Duration::from_millis;
        let within =
            |lines: &[(Option<u64>, u64)]| asked_again_within(lines.iter().map(|(rtt, least)| (rtt.map(ms), ms(*least))));
        assert_eq!(within(&[]), ms(1_000));
        assert_eq!(within(&[(Some(20), 0), (None, 0)]), ms(1_000));
        assert_eq!(within(&[(Some(20), 0), (Some(5), 0)]), ms(250));
        assert_eq!(within(&[(Some(20), 0), (Some(80), 0)]), ms(420));
        assert_eq!(within(&[(Some(20), 1_000), (Some(80), 0)]), ms(1_000));
        assert_eq!(within(&[(Some(3_000), 1_000)]), ms(2_000));
    }
}
