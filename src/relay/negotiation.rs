//! Offers in, answers out: which media section carries which track, and when the client must be asked for a new offer.
//!
//! What a client with two peer connections receives is offered by the relay: see `downlink`.

use super::command::Offer as OfferMessage;
use super::event::{Event, Sdp};
use super::link::{Half, Outbound};
use super::passes::Passes;
use super::sections::{Change, Use};
use super::shard::Shard;
use super::tracks::OutStream;
use crate::consultation as rules;
use crate::media::layers::Cap;
use crate::model::Instant;
use crate::model::roster::{LeaveAction, LeaveReason};
use crate::model::{Codec, MediaKind, Now, TrackCid, TrackSid};
use crate::transport::peer::MAX_MESSAGE_SIZE;
use crate::transport::sdp::{AnswerSection, Offer, ReceiveCodecs, ReceiveSection, Role, SectionKind, SendSection, write_answer};
use std::sync::Arc;
use std::time::Duration;

/// How long changes are gathered before the client is asked for an offer: a join brings several tracks within one moment.
pub(super) const GATHER: Duration = Duration::from_millis(10);

/// The same when the client was asked a moment ago.
pub(super) const GATHER_AGAIN: Duration = Duration::from_millis(150);

/// How long a running client gets to apply an answer before media it announces is sent: what comes earlier, Firefox may take for
/// another section's for good. A client that joins needs none: it connects only once it has applied its first answer.
const APPLY_ANSWER: Duration = Duration::from_millis(250);

/// How long to wait for an offer before asking again: an offer takes a client far less, and its own time-out is 15 s.
const ASK_AGAIN: Duration = Duration::from_secs(4);

/// A track that has found its media section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// Place of the section.
    pub(super) index: usize,
    /// Slot of the track.
    pub(super) track: usize,
    pub(super) payload_type: u8,
    /// Payload type of its retransmissions.
    pub(super) rtx: Option<u8>,
    /// Its SSRC, and that of its retransmissions.
    pub(super) ssrcs: (u32, u32),
    /// Nothing is sent before.
    pub(super) opens_at: Instant,
}

impl Shard {
    /// Answers a client's offer, whatever changed in it.
    pub(super) fn on_offer(&mut self, link: usize, message: &OfferMessage, now: Now) {
        let Ok(offer) = Offer::parse(&message.sdp) else { return self.refuse_offer(link) };
        let Some(state) = self.links.get_mut(link) else { return };
        let Ok(fresh_ufrag) = state.peer.on_remote_description(&offer) else {
            return self.refuse_offer(link);
        };
        state.timing.asked_at = None;
        state.extensions = offer.extensions();
        if let Some(ufrag) = fresh_ufrag {
            self.learn_ufrag(link, ufrag);
        }
        let Some(state) = self.links.get_mut(link) else { return };
        let changes = state.sections.on_offer(&offer);
        state.sections.offer = Some(Box::new(offer));
        self.carry_out_changes(link, changes, now);
        self.assign_sections(link, now.mono);
        self.send_answer(link, message.id);
        self.ask_for_offer_if_needed(link, now.mono);
        self.mark_dirty(link);
    }

    pub(super) fn refuse_offer(&mut self, link: usize) {
        // A client whose description cannot be read starts over; it will come with a fresh one.
        let event = Event::Leave { action: LeaveAction::Reconnect, reason: LeaveReason::MediaFailure };
        self.tell(link, event);
    }

    pub(super) fn learn_ufrag(&mut self, link: usize, ufrag: Box<str>) {
        let Some(state) = self.links.get_mut(link) else { return };
        let stale: Vec<Box<str>> = state.ufrags.extract_if(.., |known| !state.peer.answers_to(known)).collect();
        state.ufrags.push(ufrag.clone());
        for known in stale {
            self.ufrags.remove(&known);
        }
        self.ufrags.insert(ufrag, link);
    }

    fn carry_out_changes(&mut self, link: usize, changes: Vec<Change>, now: Now) {
        for change in changes {
            let Some(state) = self.links.get(link) else { return };
            let (room, member) = (state.room, state.member);
            let command = match change {
                Change::Started(index) => {
                    let Some(section) = self.offered_section(link, index) else { continue };
                    rules::Command::Bind { member, section }
                }
                Change::Stopped(index) => {
                    let Some(mid) = state.sections.list.get(index).map(|section| section.mid.clone()) else { continue };
                    rules::Command::Unbind { member, mid }
                }
                Change::Detached(track) => {
                    self.close_stream(link, track);
                    continue;
                }
            };
            // A member without the permission has nothing announced that could be bound.
            let _ = self.apply(room, command, now);
        }
    }

    /// What a client sends on a section, as the rules want to know it.
    fn offered_section(&self, link: usize, index: usize) -> Option<rules::Section> {
        let sections = &self.links.get(link)?.sections;
        let offered = sections.offer.as_ref()?.sections.get(index)?;
        let SectionKind::Media(kind) = offered.kind else { return None };
        let chosen = ReceiveCodecs::default().choose(offered, None);
        let codecs: Vec<Codec> = chosen.iter().filter_map(|payload_type| offered.codec(*payload_type)?.codec).collect();
        codecs.first()?;
        let track_id = offered.msid.as_ref().map(|msid| TrackCid::new(msid.track.clone()));
        Some(rules::Section { mid: offered.mid.clone(), kind, track_id, codecs, rids: offered.rids.clone() })
    }

    /// Gives waiting tracks the free sections of the last offer.
    fn assign_sections(&mut self, link: usize, now: Instant) {
        let waiting = self.links.get(link).map(|state| state.waiting.clone()).unwrap_or_default();
        for track in waiting {
            let Some(kind) = self.tracks.get(track).map(|track| track.codec.kind()) else { continue };
            let Some(index) = self.links.get(link).and_then(|state| state.sections.free(kind)) else { continue };
            match self.payload_types(link, index, track) {
                Some((payload_type, rtx)) => {
                    let ssrcs = (self.new_ssrc(), self.new_ssrc());
                    let running = self.links.get(link).is_some_and(|state| state.timing.connected_at.is_some());
                    let opens_at = if running { now + APPLY_ANSWER } else { now };
                    self.open_stream(link, Placed { index, track, payload_type, rtx, ssrcs, opens_at }, now);
                    if let Some(state) = self.links.get_mut(link).filter(|_| running) {
                        state.timing.opens_at = Some(opens_at);
                    }
                }
                None => self.refuse_subscription(link, track),
            }
        }
    }

    /// The payload type a client takes a track's codec with, and that of its retransmissions.
    pub(super) fn payload_types(&self, link: usize, index: usize, track: usize) -> Option<(u8, Option<u8>)> {
        let offered = self.links.get(link)?.sections.offer.as_ref()?.sections.get(index)?;
        let track = self.tracks.get(track)?;
        let picked = offered.pick(track.codec, track.fmtp.as_deref())?;
        Some((picked.payload_type, picked.rtx))
    }

    pub(super) fn refuse_subscription(&mut self, link: usize, waiting: usize) {
        let Some(track) = self.tracks.get_mut(waiting) else { return };
        let sid = track.sid.clone();
        if let Some(route) = track.routes.iter_mut().find(|route| route.receiver == link) {
            route.refused = true;
        }
        self.waits_no_longer(link, waiting);
        self.tell(link, Event::SubscriptionFailed(sid));
    }

    pub(super) fn open_stream(&mut self, link: usize, placed: Placed, now: Instant) {
        let Placed { index, track, payload_type, rtx, ssrcs: (ssrc, rtx_ssrc), opens_at } = placed;
        let (Some(state), Some(source)) = (self.links.get(link), self.tracks.get(track)) else { return };
        let Some(publisher) = self.links.get(source.publisher) else { return };
        let Some(offered) = state.sections.offer.as_ref().and_then(|offer| offer.sections.get(index)) else { return };
        let passes = Passes::between(&publisher.extensions, &offered.accepted_extensions(Role::Send));
        let first = source.routes.iter().all(|route| route.out.is_none());
        let (publisher, sid) = (source.publisher, source.sid.clone());
        let stream =
            OutStream::new(ssrc, rtx.map(|rtx| (rtx, rtx_ssrc)), payload_type, source.codec.clock_rate(), passes, opens_at);
        let red = offered.pick(Codec::Red, None).filter(|_| source.codec == Codec::Opus && !source.disable_red);
        let stream = OutStream { red: red.map(|red| red.payload_type), ..stream };
        let Some(route) = self.tracks.get_mut(track).and_then(|track| track.route_to(link)) else { return };
        // The lowest layer, until the line is shared out in a moment.
        route.choice.set_cap(Cap::UpTo(0));
        route.out = Some(stream);
        self.waits_no_longer(link, track);
        if let Some(state) = self.links.get_mut(link) {
            state.outbound.push(Outbound { ssrc, track });
            if let Some(section) = state.sections.list.get_mut(index) {
                section.used = Use::Send(track);
            }
        }
        if first {
            self.tell(publisher, Event::TrackSubscribed(sid));
        }
        self.open_line(link, now);
        self.retarget(track, now);
    }

    /// Stops sending a track to a client whose section no longer takes it; the route waits for another section.
    pub(super) fn close_stream(&mut self, link: usize, track: usize) {
        let rested = self.links.get_mut(link).and_then(|state| state.take_from_rest(track));
        let mut repeats = rested.and_then(|route| Some(route.out?.rtx?.ssrc));
        if let Some(route) = self.tracks.get_mut(track).and_then(|track| track.route_to(link)) {
            repeats = route.out.take().and_then(|out| Some(out.rtx?.ssrc));
            route.stop();
            if let Some(state) = self.links.get_mut(link).filter(|state| !route.refused && !state.waiting.contains(&track)) {
                state.waiting.push(track);
            }
        }
        let Some(state) = self.links.get_mut(link) else { return };
        if let Some(line) = &mut state.line {
            line.pacer.purge(|waiting| waiting.track as usize == track);
        }
        let closed: Vec<Outbound> = state.outbound.extract_if(.., |outbound| outbound.track == track).collect();
        for ssrc in closed.into_iter().map(|outbound| outbound.ssrc).chain(repeats) {
            state.peer.forget_outbound(ssrc);
        }
        if let Some(section) = state.sections.sending(track) {
            section.used = Use::Idle;
        }
    }

    fn send_answer(&mut self, link: usize, id: u32) {
        let Some(sections) = self.answer_sections(link) else { return };
        let Some(state) = self.links.get_mut(link) else { return };
        state.sections.version += 1;
        let Some(offer) = &state.sections.offer else { return };
        let sdp = write_answer(offer, &state.local_end(&self.config.transport), &sections);
        let mut tracks_by_mid: Vec<(Arc<str>, TrackSid)> = Vec::new();
        for section in &mut state.sections.list {
            section.answered_send = matches!(section.used, Use::Send(_));
            if let Use::Send(track) = section.used
                && let Some(track) = self.tracks.get(track)
            {
                tracks_by_mid.push((section.mid.clone(), track.sid.clone()));
            }
        }
        state.tell(Event::Answer { id, sdp: Sdp(sdp), tracks_by_mid });
    }

    fn answer_sections(&self, link: usize) -> Option<Vec<AnswerSection>> {
        let state = self.links.get(link)?;
        let offer = state.sections.offer.as_ref()?;
        let answer = |(index, offered): (usize, &crate::transport::sdp::Section)| match state
            .sections
            .list
            .get(index)
            .map_or(Use::Rejected, |section| section.used)
        {
            Use::Idle => AnswerSection::Inactive,
            Use::Application => AnswerSection::Application { sctp_port: 5_000, max_message_size: MAX_MESSAGE_SIZE as u64 },
            Use::Rejected => AnswerSection::Reject,
            Use::Receive(track) => AnswerSection::Receive(self.receive_section(offered, track)),
            Use::Send(track) => self.send_section(link, track).map_or(AnswerSection::Inactive, AnswerSection::Send),
        };
        Some(offer.sections.iter().enumerate().map(answer).collect())
    }

    fn receive_section(&self, offered: &crate::transport::sdp::Section, track: Option<usize>) -> ReceiveSection {
        let track = track.and_then(|track| self.tracks.get(track));
        let record = track.and_then(|track| Some(self.rooms.get(track.room)?.rules.track(&track.sid)?.1));
        let stereo = record.is_some_and(|record| record.stereo);
        // Stereo is music or an instrument: what is quiet in it is meant to be heard.
        let dtx = record.is_some_and(|record| record.kind == MediaKind::Audio && !record.disable_dtx) && !stereo;
        let codec = record.and_then(|record| record.codec);
        // Redundant sound is taken from a client that prefers it itself: it is made here where a line needs it.
        let allow_red = offered.prefers_red() && record.is_some_and(|record| !record.disable_red);
        let first = if allow_red { Some(Codec::Red) } else { codec };
        ReceiveSection {
            payload_types: ReceiveCodecs { allow_red }.choose(offered, first),
            dtx,
            stereo,
            // Opus's own limit (RFC 7587, section 7.1): music and auscultation keep what the publisher gives.
            max_average_bitrate: stereo.then_some(510_000),
        }
    }

    fn send_section(&self, link: usize, track: usize) -> Option<SendSection> {
        let route = self.tracks.get(track)?.routes.iter().find(|route| route.receiver == link);
        let stream = route.or_else(|| self.links.get(link)?.at_rest(track))?.out.as_ref()?;
        let rtx = stream.rtx.as_ref().map(|rtx| rtx.payload_type);
        let payload_types = std::iter::once(stream.payload_type).chain(rtx).chain(stream.red).collect();
        self.described(track, stream.ssrc, stream.rtx.as_ref().map(|rtx| rtx.ssrc), payload_types)
    }

    /// How a track is described to who receives it.
    pub(super) fn described(
        &self,
        track: usize,
        ssrc: u32,
        rtx_ssrc: Option<u32>,
        payload_types: Vec<u8>,
    ) -> Option<SendSection> {
        let source = self.tracks.get(track)?;
        let room = self.rooms.get(source.room)?;
        let publisher = room.rules.record(source.member)?;
        Some(SendSection {
            stream_id: format!("{}|{}", publisher.sid.as_str(), source.sid.as_str()),
            track_id: source.sid.as_str().into(),
            cname: publisher.sid.as_str().into(),
            ssrc,
            rtx_ssrc,
            payload_types,
            stereo: self.is_stereo(track),
        })
    }

    /// Whether a track is sound in stereo.
    pub(super) fn is_stereo(&self, track: usize) -> bool {
        let Some(source) = self.tracks.get(track).filter(|source| source.codec == Codec::Opus) else { return false };
        let record = self.rooms.get(source.room).and_then(|room| room.rules.track(&source.sid));
        record.is_some_and(|(_, record)| record.stereo)
    }

    /// A track has found its section, or wants none.
    pub(super) fn waits_no_longer(&mut self, link: usize, track: usize) {
        if let Some(state) = self.links.get_mut(link) {
            state.waiting.retain(|waiting| *waiting != track);
        }
    }

    /// Sets the time at which the client is asked for an offer, if something waits for one.
    pub(super) fn ask_for_offer_if_needed(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        if matches!(state.half, Half::Down(_)) {
            return self.offer_if_needed(link, now);
        }
        let waiting = !state.waiting.is_empty();
        let stale = state.sections.list.iter().any(|section| section.answered_send && !matches!(section.used, Use::Send(_)));
        if state.sections.offer.is_none() || !(waiting || stale) {
            return;
        }
        let at = match state.timing.asked_at {
            None if waiting => now + GATHER,
            None => now + GATHER_AGAIN,
            Some(asked) => (asked + ASK_AGAIN).max(now + GATHER_AGAIN),
        };
        if state.timing.ask_offer_at.is_none_or(|planned| at < planned) {
            state.timing.ask_offer_at = Some(at);
        }
        self.mark_dirty(link);
    }

    /// Asks the client for an offer with as many further sections as the waiting tracks lack.
    pub(super) fn ask_for_offer(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get(link) else { return };
        if matches!(state.half, Half::Down(_)) {
            return self.send_offer(link, now);
        }
        let kinds = state.waiting.iter().filter_map(|track| self.tracks.get(*track).map(|track| track.codec.kind()));
        let video = kinds.clone().filter(|kind| *kind == MediaKind::Video).count();
        let audio = kinds.count() - video;
        let Some(state) = self.links.get_mut(link) else { return };
        state.timing.ask_offer_at = None;
        let missing =
            |wanted: usize, kind| u32::try_from(wanted.saturating_sub(state.sections.count_free(kind))).unwrap_or(u32::MAX);
        let event = Event::SectionsWanted { audio: missing(audio, MediaKind::Audio), video: missing(video, MediaKind::Video) };
        state.timing.asked_at = Some(now);
        state.tell(event);
        self.ask_for_offer_if_needed(link, now);
    }
}
