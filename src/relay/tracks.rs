//! Published tracks and the routes compiled for them: what the packet path needs, and no more.

use super::allocation::class_of;
use super::command::TrackSetting;
use super::event::Event;
use super::feedback::TICK;
use super::link::{Attention, Link};
use super::passes::Passes;
use super::sections::Use;
use super::shard::Shard;
use super::sound::Echo;
use crate::consultation::MemberId;
use crate::media::allocation::Class;
use crate::media::cache::{CacheLimits, PacketCache};
use crate::media::codec::dependency::DependencyReader;
use crate::media::guardian::FreezeGuardian;
use crate::media::inbound::InboundStream;
use crate::media::keyframe::KeyFrameThrottle;
use crate::media::layers::{LayerActivity, LayerChoice, LayerSet, LayerTarget, Wish};
use crate::media::outbound::OutboundStream;
use crate::media::rates::LayerRates;
use crate::media::red::Redundancy;
use crate::media::route::{Route, RouteConfig};
use crate::model::Instant;
use crate::model::roster::{Quality, Track as TrackRecord};
use crate::model::{Codec, MediaKind, TrackSid};
use std::time::Duration;

/// A published track on the packet path.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) room: usize,
    pub(super) member: MemberId,
    /// Slot of the publisher's link.
    pub(super) publisher: usize,
    pub(super) sid: TrackSid,
    pub(super) codec: Codec,
    /// Payload type of the publisher's redundant packets, where it may send such.
    pub(super) red: Option<u8>,
    /// Its sound goes out plain only.
    pub(super) disable_red: bool,
    /// Format parameters of the publisher's codec, for choosing the receivers' payload type.
    pub(super) fmtp: Option<String>,
    pub(super) muted: bool,
    /// What it is to the consultation while nobody speaks.
    pub(super) class: Class,
    pub(super) set: LayerSet,
    pub(super) activity: LayerActivity,
    /// Layers that were live when targets were last chosen, one bit each.
    pub(super) live: u8,
    pub(super) layers: Vec<Layer>,
    pub(super) demand: Demand,
    pub(super) routes: Vec<RouteState>,
}

/// What the receivers of a video track want of its publisher, as last told: layers nobody shows need not be sent.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// The highest quality asked for; the outer `None` means that nothing was told yet.
    told: Option<Option<Quality>>,
    /// Since when less is wanted than was told.
    less_since: Option<Instant>,
}

impl Demand {
    /// What to tell the publisher now, if anything: more at once, less only when it stays less for [`LESS_AFTER`].
    fn poll(&mut self, wanted: Option<Quality>, now: Instant) -> Option<Option<Quality>> {
        let told = self.told.unwrap_or(Some(Quality::High));
        if wanted >= told {
            self.less_since = None;
        } else if now.saturating_duration_since(*self.less_since.get_or_insert(now)) < LESS_AFTER {
            return None;
        }
        if self.told == Some(wanted) {
            return None;
        }
        self.less_since = None;
        self.told = Some(wanted);
        Some(wanted)
    }

    /// What the publisher was told last, if anything.
    pub(super) fn told(&self) -> Option<Option<Quality>> {
        self.told
    }

    /// Nothing counts as told: the client has a new session and may have forgotten.
    pub(super) fn forget(&mut self) {
        self.told = None;
    }
}

/// Routes of a track that are made room for one by one: in a room of three, room for four would be half empty.
const FEW_ROUTES: usize = 4;

/// How long less must be wanted before the publisher is told: a tile that is resized or scrolled by should not stop an encoder.
const LESS_AFTER: Duration = Duration::from_secs(2);

/// One received stream of a track.
///
/// In this order: what each packet touches comes first.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Layer {
    /// Present from its first packet on.
    pub(super) stream: Option<InboundStream>,
    pub(super) cache: PacketCache,
    /// RTP timestamp of the newest packet.
    pub(super) newest: u32,
    /// What it takes of a line, datagrams' headers included.
    pub(super) rates: LayerRates,
    pub(super) key_frames: KeyFrameThrottle,
    pub(super) dependencies: DependencyReader,
}

/// A track on its way to one receiver.
///
/// In this order: what each packet touches comes first, then what only pictures need.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct RouteState {
    /// Slot of the receiver's link.
    pub(super) receiver: usize,
    /// Present while a media section carries it.
    pub(super) out: Option<OutStream>,
    pub(super) route: Route,
    pub(super) guardian: FreezeGuardian,
    pub(super) choice: LayerChoice,
    /// The receiver cannot decode it.
    pub(super) refused: bool,
}

/// The RTP stream a receiver gets.
#[derive(Debug)]
pub(super) struct OutStream {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    /// Nothing is sent before.
    pub(super) opens_at: Instant,
    pub(super) rtx: Option<RtxStream>,
    pub(super) passes: Passes,
    pub(super) stats: OutboundStream,
    /// Payload type the receiver takes redundant sound with.
    pub(super) red: Option<u8>,
    /// How much redundant sound its line needs.
    pub(super) redundancy: Redundancy,
    /// The last packet of sound, where each goes out twice.
    pub(super) echo: Option<Box<Echo>>,
}

/// The retransmission stream beside it (RFC 4588).
#[derive(Debug)]
pub(super) struct RtxStream {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
}

impl OutStream {
    pub(super) fn new(
        ssrc: u32,
        rtx: Option<(u8, u32)>,
        payload_type: u8,
        clock_rate: u32,
        passes: Passes,
        opens_at: Instant,
    ) -> Self {
        let rtx = rtx.map(|(payload_type, ssrc)| RtxStream { ssrc, payload_type, sequence: 1 });
        Self {
            ssrc,
            payload_type,
            opens_at,
            rtx,
            passes,
            stats: OutboundStream::new(ssrc, clock_rate),
            red: None,
            redundancy: Redundancy::default(),
            echo: None,
        }
    }
}

impl RouteState {
    /// Whether packets of a layer may have to be sent again on it, by themselves or within later ones.
    pub(super) fn may_repeat(&self, layer: u8) -> bool {
        let repeats = self.out.as_ref().is_some_and(|out| out.rtx.is_some() || out.red.is_some());
        repeats && [self.route.current(), self.route.target()].contains(&Some(layer))
    }

    /// How many earlier packets of sound go out with each, since its receiver's line loses some, where it bears them.
    pub(super) fn generations(&self, borne: bool) -> u8 {
        self.out.as_ref().filter(|out| borne && out.red.is_some()).map_or(0, |out| out.redundancy.generations())
    }

    /// Forwards these layers from now on.
    pub(super) fn aim(&mut self, target: Option<LayerTarget>) {
        if target.is_none() {
            self.guardian.rest();
        }
        self.route.set_layers(target);
    }

    /// Sends nothing from now on, and nothing again.
    pub(super) fn stop(&mut self) {
        self.aim(None);
        self.forget_sent();
    }

    /// Forgets what was sent, so that nothing of it is sent again.
    pub(super) fn forget_sent(&mut self) {
        self.route.forget_sent();
        if let Some(out) = &mut self.out {
            out.echo = None;
        }
    }

    /// Whether padding may be sent beside it.
    pub(super) fn can_pad(&self, now: Instant) -> bool {
        let out = self.out.as_ref().filter(|out| out.opens_at <= now && out.passes.transport_cc != 0);
        out.is_some_and(|out| out.rtx.is_some() && out.stats.last_timestamp().is_some())
    }
}

impl Track {
    /// Tells a route what sender reports have said of the layers' clocks.
    pub(super) fn set_clocks(&self, route: &mut Route) {
        for (layer, stream) in (0u8..).zip(&self.layers) {
            if let Some((ntp, rtp)) = stream.stream.as_ref().and_then(InboundStream::sender_clock) {
                route.set_layer_clock(layer, ntp, rtp);
            }
        }
    }

    pub(super) fn route_to(&mut self, link: usize) -> Option<&mut RouteState> {
        self.routes.iter_mut().find(|route| route.receiver == link)
    }

    /// A packet of a stream and one of its spatial layers came in; whether that layer was silent when targets were last chosen.
    pub(super) fn on_layer_packet(&mut self, stream: u8, spatial: Option<u8>, now: Instant) -> bool {
        let layer = if self.set.is_scalable() { spatial.unwrap_or(0).min(self.set.count() - 1) } else { stream };
        self.activity.on_layer_packet(layer, now);
        self.live & 1u8.checked_shl(u32::from(layer)).unwrap_or(0) == 0
    }

    /// Which layers are live now, one bit each.
    pub(super) fn live_layers(&self, now: Instant) -> u8 {
        (0..self.set.count()).filter(|layer| self.activity.is_live(*layer, now)).fold(0, |live, layer| live | 1 << layer)
    }
}

impl Track {
    /// Whether it wants looking after: packets come, some are kept, or the publisher will have to be told of less demand.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.live_layers(now) != 0 || self.demand.less_since.is_some() || self.layers.iter().any(|layer| !layer.cache.is_empty())
    }
}

impl Shard {
    /// A track met its media section: from now on its packets are taken in.
    pub(super) fn open_track(&mut self, room: usize, member: MemberId, record: &TrackRecord) {
        let Some(link) = self.link_of(room, member) else { return };
        let (Some(state), Some(mid), Some(codec)) = (self.links.get_mut(link), record.mid.as_deref(), record.codec) else {
            return;
        };
        let Some(index) = state.sections.by_mid(mid) else { return };
        let Some(section) = state.sections.list.get(index) else { return };
        let streams = section.rids.len().clamp(1, crate::media::MAX_LAYERS);
        let fmtp = state.sections.offer.as_ref().and_then(|offer| {
            let offered = offer.sections.get(index)?;
            Some(offered.codecs.iter().find(|offered| offered.codec == Some(codec))?.fmtp.clone())
        });
        let red = section.codecs.iter().find(|known| known.codec == Codec::Red).map(|known| known.payload_type);
        let limits = if codec.kind() == MediaKind::Video { CacheLimits::VIDEO } else { CacheLimits::AUDIO };
        let layer = || Layer {
            stream: None,
            cache: PacketCache::new(limits),
            key_frames: KeyFrameThrottle::default(),
            newest: 0,
            dependencies: DependencyReader::default(),
            rates: LayerRates::default(),
        };
        let scalable = streams == 1 && matches!(codec, Codec::Vp9 | Codec::Av1);
        let set = if scalable { LayerSet::scalable(&record.layers) } else { LayerSet::new(&record.layers, streams) };
        let track = self.tracks.insert(Track {
            room,
            member,
            publisher: link,
            sid: record.sid.clone(),
            codec,
            red,
            disable_red: record.disable_red,
            fmtp,
            muted: record.muted,
            class: class_of(record),
            set,
            activity: LayerActivity::default(),
            live: 0,
            layers: (0..streams).map(|_| layer()).collect(),
            demand: Demand::default(),
            routes: Vec::new(),
        });
        if let Some(section) = state.sections.list.get_mut(index) {
            section.used = Use::Receive(Some(track));
        }
        if let Some(room) = self.rooms.get_mut(room) {
            room.tracks.insert(record.sid.clone(), track);
        }
    }

    /// A track is gone; its routes went before.
    pub(super) fn close_track(&mut self, room: usize, sid: &TrackSid, now: Instant) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let Some(track) = room.tracks.remove(sid) else { return };
        room.speakers.remove(track as u32);
        let members: Vec<usize> = room.links.values().copied().collect();
        self.give_up_rests(&members, track, now);
        let Some(closed) = self.tracks.try_remove(track) else { return };
        let Some(state) = self.links.get_mut(closed.publisher) else { return };
        for inbound in state.inbound.extract_if(.., |inbound| inbound.track == track) {
            state.peer.forget_inbound(inbound.ssrc);
            self.ssrcs.remove(inbound.ssrc, closed.publisher);
        }
        for section in state.sections.list.iter_mut().filter(|section| section.used == Use::Receive(Some(track))) {
            section.used = Use::Receive(None);
        }
    }

    /// A receiver gets a track: the route waits for a media section, unless it is there already.
    pub(super) fn open_route(&mut self, room: usize, receiver: MemberId, sid: &TrackSid, now: Instant) {
        let Some(link) = self.link_of(room, receiver) else { return };
        let link = self.open_downlink(link, now);
        let Some(track) = self.rooms.get(room).and_then(|room| room.tracks.get(sid)).copied() else { return };
        if self.resume_route(link, track, now) {
            return;
        }
        let mut random = [0u8; 6];
        self.config.transport.fill_random(&mut random);
        let [s0, s1, timestamp @ ..] = random;
        let Some(state) = self.tracks.get_mut(track) else { return };
        let mut route = Route::new(RouteConfig {
            codec: state.codec,
            clock_rate: state.codec.clock_rate(),
            // Below 2^15, so that a receiver which misses the first packets still guesses the rollover counter right.
            initial_sequence: u16::from_be_bytes([s0, s1]) & 0x3fff,
            initial_timestamp: u32::from_be_bytes(timestamp),
        });
        state.set_clocks(&mut route);
        if state.routes.len() < FEW_ROUTES {
            state.routes.reserve_exact(1);
        }
        state.routes.push(RouteState {
            receiver: link,
            route,
            choice: LayerChoice::default(),
            guardian: FreezeGuardian::default(),
            out: None,
            refused: false,
        });
        self.poll_demand(track, now);
        if let Some(state) = self.links.get_mut(link) {
            state.waiting.push(track);
        }
        self.ask_for_offer_if_needed(link, now);
    }

    /// A receiver gets a track no longer: nothing of it leaves from now on, retransmissions included.
    pub(super) fn close_route(&mut self, room: usize, receiver: MemberId, sid: &TrackSid, now: Instant) {
        let Some(link) = self.link_of(room, receiver).map(|link| self.receiving(link)) else { return };
        let Some(track) = self.rooms.get(room).and_then(|room| room.tracks.get(sid)).copied() else { return };
        self.close_stream(link, track);
        if let Some(state) = self.tracks.get_mut(track) {
            state.routes.retain(|route| route.receiver != link);
        }
        self.waits_no_longer(link, track);
        self.ask_for_offer_if_needed(link, now);
    }

    pub(super) fn set_muted(&mut self, room: usize, sid: &TrackSid, muted: bool, now: Instant) {
        let Some(track) = self.rooms.get(room).and_then(|room| room.tracks.get(sid)).copied() else { return };
        if let Some(state) = self.tracks.get_mut(track) {
            state.muted = muted;
            if muted {
                // Silence means repetitions too: what a receiver missed before is not sent after.
                state.routes.iter_mut().for_each(RouteState::forget_sent);
            }
        }
        self.retarget(track, now);
    }

    pub(super) fn on_track_setting(&mut self, link: usize, sids: &[TrackSid], setting: TrackSetting, now: Instant) {
        let Some(room) = self.links.get(link).and_then(|state| self.rooms.get(state.room)) else { return };
        let tracks: Vec<usize> = sids.iter().filter_map(|sid| room.tracks.get(sid).copied()).collect();
        let link = self.receiving(link);
        for track in tracks {
            if let Some(route) = self.tracks.get_mut(track).and_then(|track| track.route_to(link)) {
                let TrackSetting { disabled, quality, width, height, fps, .. } = setting;
                route.choice.set_wish(Wish { disabled, quality, width, height, fps });
            }
            self.on_line(link, |line| line.wake(now));
            self.retarget(track, now);
        }
    }

    /// Chooses the layer of every route of a track anew, and asks for the key frames that takes.
    pub(super) fn retarget(&mut self, track: usize, now: Instant) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        let slept = state.live == 0;
        state.live = state.live_layers(now);
        for route in &mut state.routes {
            let flows = route.out.is_some() && !state.muted;
            let target = if flows { route.choice.target(&state.set, &state.activity, now) } else { None };
            route.aim(target);
        }
        let (live, publisher) = (state.live != 0, state.publisher);
        if live && slept && state.is_video() {
            self.wake_lines(track, now);
        }
        if live && let Some(state) = self.links.get_mut(publisher).filter(|state| state.timing.report_at.is_none()) {
            // It was silent, and is not any more.
            state.timing.report_at = state.timing.connected_at.map(|_| now + TICK);
            self.mark_dirty(publisher);
        }
        self.request_wanted_key_frames(track, now);
        self.poll_demand(track, now);
    }

    /// A track came to life: its receivers' lines are shared out anew.
    fn wake_lines(&mut self, track: usize, now: Instant) {
        let Self { tracks, links, dirty, .. } = self;
        for route in tracks.get(track).map(|track| track.routes.as_slice()).unwrap_or_default() {
            if let Some(state) = links.get_mut(route.receiver)
                && let Some(line) = &mut state.line
            {
                line.wake(now);
                state.timing.want(Attention::Feedback, route.receiver, dirty);
            }
        }
    }

    /// Tells the publisher which layers are wanted, when that has changed.
    pub(super) fn poll_demand(&mut self, track: usize, now: Instant) {
        let Some(state) = self.tracks.get_mut(track).filter(|track| track.codec.kind() == MediaKind::Video) else { return };
        let routes = state.routes.iter().filter(|route| !route.refused);
        let highest = routes.filter_map(|route| route.choice.wanted(&state.set)).max();
        let wanted = highest.map(|layer| match layer {
            // The rids of two layers are those of the lower two qualities; the highest there is always means all of them.
            layer if layer + 1 >= state.set.count() => Quality::High,
            0 => Quality::Low,
            _ => Quality::Medium,
        });
        let Some(highest) = state.demand.poll(wanted, now) else { return };
        let event = Event::WantedLayers { track: state.sid.clone(), codec: state.codec, highest };
        let publisher = state.publisher;
        self.tell(publisher, event);
    }

    /// Asks the publisher for a key frame of every layer a route waits for; the throttle of each layer merges them.
    pub(super) fn request_wanted_key_frames(&mut self, track: usize, now: Instant) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        // A key frame that comes before its receiver is connected is lost, and the throttle would hold the next one back.
        let links = &self.links;
        let connected = |route: &&RouteState| {
            let open = route.out.as_ref().is_some_and(|out| out.opens_at <= now);
            open && links.get(route.receiver).is_some_and(|link| link.peer.is_connected())
        };
        let waiting = state.routes.iter().filter(connected).filter_map(|route| route.route.wants_key_frame());
        let wanted = waiting.fold(0u8, |mask, layer| mask | 1 << layer);
        for layer in 0..crate::media::MAX_LAYERS as u8 {
            let asked = wanted & (1 << layer) != 0
                && self
                    .tracks
                    .get_mut(track)
                    .and_then(|track| track.layers.get_mut(usize::from(layer)))
                    .is_some_and(|layer| layer.stream.is_some() && layer.key_frames.request(now));
            if asked {
                self.send_pli(track, layer);
            }
        }
        // What was asked too soon is asked again by the publisher's own timer.
        if wanted != 0
            && let Some(publisher) = self.tracks.get(track).map(|track| track.publisher)
        {
            self.mark_dirty(publisher);
        }
    }

    /// A receiver needs a key frame of a track.
    pub(super) fn want_key_frame(&mut self, track: usize, link: usize, now: Instant) {
        if let Some(route) = self.tracks.get_mut(track).and_then(|track| track.route_to(link)) {
            route.route.request_key_frame();
            self.request_wanted_key_frames(track, now);
        }
    }

    /// A receiver's transport came up: everything it receives begins with a key frame.
    pub(super) fn request_key_frames_for(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get(link) else { return };
        let tracks: Vec<usize> = state.outbound.iter().map(|outbound| outbound.track).collect();
        for track in tracks {
            self.want_key_frame(track, link, now);
        }
    }

    /// Tells members who speaks.
    pub(super) fn poll_speakers(&mut self, room: usize, now: Instant) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        let Some(changes) = state.speakers.poll(now) else { return };
        let news: Vec<_> = changes
            .iter()
            .filter_map(|change| {
                let track = self.tracks.get(change.id as usize)?;
                let participant = state.rules.record(track.member)?.sid.clone();
                Some((
                    change.id as usize,
                    track.member,
                    super::event::Speaker { participant, level: change.level(), active: change.active() },
                ))
            })
            .collect();
        for (member, link) in &state.links {
            let receiving = self.links.get(*link).and_then(Link::down).unwrap_or(*link);
            // A member hears of the voices it receives, and of its own.
            let heard: Vec<_> = news
                .iter()
                .filter(|(track, speaker, _)| {
                    *speaker == *member
                        || self
                            .tracks
                            .get(*track)
                            .is_some_and(|track| track.routes.iter().any(|route| route.receiver == receiving))
                })
                .map(|(_, _, speaker)| speaker.clone())
                .collect();
            if let Some(link) = self.links.get_mut(*link).filter(|_| !heard.is_empty()) {
                link.tell(Event::Speakers(heard));
            }
        }
    }
}

impl Link {
    /// Slots of the tracks this member publishes.
    pub(super) fn published(&self) -> impl Iterator<Item = usize> + '_ {
        self.sections.list.iter().filter_map(super::sections::SectionState::published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_told_at_once_and_less_only_when_it_lasts() {
        let t0 = Instant::now();
        let mut demand = Demand::default();
        assert_eq!(demand.poll(Some(Quality::High), t0), Some(Some(Quality::High)));
        assert_eq!(demand.poll(Some(Quality::Low), t0), None);
        assert_eq!(demand.poll(Some(Quality::High), t0 + LESS_AFTER / 2), None, "it was only a moment");
        assert_eq!(demand.poll(None, t0 + LESS_AFTER), None);
        assert_eq!(demand.poll(None, t0 + 2 * LESS_AFTER), Some(None), "nobody watches");
        assert_eq!(demand.poll(Some(Quality::Low), t0 + 2 * LESS_AFTER), Some(Some(Quality::Low)));
    }
}
