//! Streams that an aside interrupts: they keep their section, SSRC and numbers, so that they go on without an offer.
//!
//! A route at rest lies with its receiver and not with its track, so that no packet can find it, first sent or repeated. To the client it is a
//! stream on which nothing comes; of a picture it is told that it is paused.

use super::event::{Event, StreamState};
use super::link::Link;
use super::media::{Source, write_media};
use super::passes::Elements;
use super::shard::Shard;
use super::tracks::RouteState;
use crate::consultation::MemberId;
use crate::media::layers::Cap;
use crate::media::packet::{FIXED_HEADER_LEN, RtpHeader};
use crate::media::route::Rewrite;
use crate::model::Instant;
use crate::model::{Codec, TrackSid};

/// 20 ms of silence in Opus (RFC 6716, section 3.1: fullband CELT in one frame), and how often it is sent: a tenth of a second
/// ends what a decoder would make up.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
const SILENCES: usize = 5;
const FRAMES_PER_SECOND: u32 = 50;
/// A header without any element, for packets that come from nobody.
const BARE: [u8; FIXED_HEADER_LEN] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A route that waits for the end of an aside.
#[derive(Debug)]
pub(super) struct Resting {
    /// Slot of the track.
    track: usize,
    route: Box<RouteState>,
}

impl Link {
    /// The route of a track that rests here.
    pub(super) fn at_rest(&self, track: usize) -> Option<&RouteState> {
        self.resting.iter().find(|resting| resting.track == track).map(|resting| &*resting.route)
    }

    pub(super) fn take_from_rest(&mut self, track: usize) -> Option<RouteState> {
        let at = self.resting.iter().position(|resting| resting.track == track)?;
        Some(*self.resting.swap_remove(at).route)
    }
}

impl Shard {
    /// A receiver gets a track no longer until an aside is over: nothing of it leaves from now on, retransmissions included.
    pub(super) fn rest_route(&mut self, room: usize, receiver: MemberId, sid: &TrackSid, now: Instant) {
        let Some(link) = self.link_of(room, receiver).map(|link| self.receiving(link)) else { return };
        let Some(track) = self.rooms.get(room).and_then(|room| room.tracks.get(sid)).copied() else { return };
        let Some(state) = self.tracks.get_mut(track) else { return };
        let placed = state.routes.iter().position(|route| route.receiver == link && route.out.is_some());
        // One without a section has no place to keep.
        let Some(at) = placed else { return self.close_route(room, receiver, sid, now) };
        let mut route = state.routes.remove(at);
        route.stop();
        if state.codec == Codec::Opus {
            self.end_in_silence(&mut route, now);
        }
        if let Some(state) = self.links.get_mut(link) {
            state.resting.push(Resting { track, route: Box::new(route) });
            if let Some(line) = &mut state.line {
                line.pacer.purge(|waiting| waiting.track as usize == track);
                line.wake(now);
            }
        }
        self.tell_paused(link, track, true);
    }

    /// Takes a track up where it rests; whether it did.
    pub(super) fn resume_route(&mut self, link: usize, track: usize, now: Instant) -> bool {
        let Some(mut route) = self.links.get_mut(link).and_then(|state| state.take_from_rest(track)) else { return false };
        let Some(state) = self.tracks.get_mut(track) else { return false };
        state.set_clocks(&mut route.route);
        if let Some(out) = &mut route.out {
            out.stats.resume();
        }
        // The lowest layer, until the line is shared out in a moment.
        route.choice.set_cap(Cap::UpTo(0));
        state.routes.push(route);
        self.tell_paused(link, track, false);
        self.open_line(link, now);
        self.retarget(track, now);
        true
    }

    /// A track ends: whoever waited for it needs no place for it any more.
    pub(super) fn give_up_rests(&mut self, members: &[usize], track: usize, now: Instant) {
        for member in members {
            let link = self.receiving(*member);
            if self.links.get(link).is_some_and(|state| state.at_rest(track).is_some()) {
                self.close_stream(link, track);
                self.ask_for_offer_if_needed(link, now);
            }
        }
    }

    /// Ends a voice with silence: a decoder that gets nothing more goes on with what it heard last, a tone for seconds.
    fn end_in_silence(&mut self, route: &mut RouteState, now: Instant) {
        let (Some(out), Some(receiver)) = (route.out.as_ref(), self.links.get_mut(route.receiver)) else { return };
        if !receiver.peer.is_connected() || now < out.opens_at {
            return;
        }
        let Ok(header) = RtpHeader::parse(&BARE) else { return };
        let elements = Elements::of(&out.passes, &header, &BARE);
        let source = Source { header: &header, packet: &BARE, payload: &SILENCE, urgent: true, now };
        for _ in 0..SILENCES {
            let Some((sequence, timestamp)) = route.route.append(Codec::Opus.clock_rate() / FRAMES_PER_SECOND, now) else {
                return;
            };
            let rewrite = Rewrite { sequence, timestamp, marker: false, empty: false, patch: None };
            write_media(out, out.payload_type, receiver, &mut self.outbox, &rewrite, source, &elements);
        }
    }

    fn tell_paused(&mut self, link: usize, track: usize, paused: bool) {
        let Some(state) = self.tracks.get(track).filter(|track| track.is_video()) else { return };
        let Some(publisher) = self.rooms.get(state.room).and_then(|room| room.rules.record(state.member)) else { return };
        let news = StreamState { publisher: publisher.sid.clone(), track: state.sid.clone(), paused };
        self.tell(link, Event::StreamState(vec![news]));
    }
}
