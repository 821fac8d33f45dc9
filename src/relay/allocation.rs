//! What of each receiver's line goes to which track.
//!
//! The facts are gathered here and the choice is carried out here; the choice itself is made by [`crate::media::allocation`].
//! Entry point: `Shard::share_out`.

use super::downlink::{Line, UNHEARD};
use super::event::{Event, StreamState};
use super::shard::Shard;
use super::tracks::{RouteState, Track};
use crate::media::MAX_LAYERS;
use crate::media::allocation::{self, Budget, Choice, Class, Favour, Layer};
use crate::media::layers::Cap;
use crate::media::rate::Bitrate;
use crate::model::MediaKind;
use crate::model::roster::{Source, Track as TrackRecord};
use std::time::Instant;

/// Bits per second taken for the layers of a stream of which nothing is known yet, lowest first.
const ASSUMED: [Bitrate; MAX_LAYERS] = [Bitrate::from_kbps(150), Bitrate::from_kbps(500), Bitrate::from_kbps(1_700)];
/// Packets a second taken for a layer that is not measured, of a kilobyte each at that rate and no fewer than this.
const ASSUMED_PACKETS: u16 = 20;

/// What a track is to the consultation, before anybody speaks.
pub(super) fn class_of(record: &TrackRecord) -> Class {
    let named = record.name.get(..INSTRUMENT.len()).is_some_and(|start| start.eq_ignore_ascii_case(INSTRUMENT));
    match (record.kind, record.source) {
        (MediaKind::Audio, _) => Class::Voice,
        _ if named => Class::Instrument,
        (MediaKind::Video, Source::ScreenShare) => Class::Screen,
        (MediaKind::Video, _) => Class::Face,
    }
}

/// How names of tracks of medical instruments begin: `instrument.stethoscope`, `instrument.otoscope`.
const INSTRUMENT: &str = "instrument";

/// One track as gathered for sharing out.
struct Gathered {
    key: u32,
    class: Class,
    wanted: Option<u8>,
    floor: u8,
    layers: [Layer; MAX_LAYERS],
}

impl Track {
    pub(super) fn is_video(&self) -> bool {
        self.codec.kind() == MediaKind::Video
    }

    /// The layers as measured, or as announced while nobody asks for them.
    fn costs(&self, now: Instant) -> [Layer; MAX_LAYERS] {
        let mut costs = [Layer { spatial: 0, temporal: 0, bitrate: Bitrate::ZERO, packets: 0 }; MAX_LAYERS];
        let asked = self.demand.told().map(|told| told.map_or(0, |quality| self.set.of_quality(quality) + 1));
        for (index, (cost, layer)) in (0u8..).zip(costs.iter_mut().zip(&self.layers)) {
            cost.spatial = index;
            let live = !self.is_video() || self.activity.is_live(index, now);
            let known = if live { layer.stream.as_ref().and_then(|_| layer.meter.rate()) } else { None };
            (cost.bitrate, cost.packets) = match known {
                Some(measured) => measured,
                None if !self.is_video() => (Bitrate::ZERO, 0),
                None if live => self.assumed(index),
                // Not sent because nobody asks: it would come.
                None if asked.is_some_and(|asked| index >= asked) => self.assumed(index),
                None => (Bitrate::ZERO, 0),
            };
        }
        costs
    }

    fn assumed(&self, layer: u8) -> (Bitrate, u16) {
        let place = if self.set.count() == 1 { 1 } else { usize::from(layer) };
        let announced = self.announced.get(usize::from(layer)).filter(|bits| **bits > 0);
        let rate = announced
            .map_or_else(|| ASSUMED.get(place).copied().unwrap_or(Bitrate::ZERO), |bits| Bitrate::from_bps(u64::from(*bits)));
        (rate, u16::try_from(rate.bps() / 8_000).unwrap_or(u16::MAX).max(ASSUMED_PACKETS))
    }

    fn gather(&self, key: usize, route: &RouteState, speaks: bool, now: Instant) -> Gathered {
        let layers = self.costs(now);
        let count = self.set.count();
        let wanted = if !self.is_video() {
            Some(0)
        } else if self.muted || route.out.is_none() {
            None
        } else {
            route.choice.wanted(&self.set)
        };
        let class = match self.class {
            Class::Face if speaks => Class::ActiveFace,
            Class::Face if count > 1 && wanted == Some(0) => Class::Thumbnail,
            class => class,
        };
        // Too coarse a picture of an instrument misleads.
        let floor = if class == Class::Instrument { (count - 1).min(1) } else { 0 };
        Gathered { key: u32::try_from(key).unwrap_or(u32::MAX), class, wanted, floor, layers }
    }
}

impl Gathered {
    fn track(&self, pausable: bool) -> allocation::Track<'_> {
        let favour = if matches!(self.class, Class::Screen | Class::Instrument) { Favour::Detail } else { Favour::Motion };
        let layers = if self.class == Class::Voice { self.layers.get(..1).unwrap_or_default() } else { &self.layers };
        let Self { key, class, wanted, floor, .. } = *self;
        allocation::Track { key, class, priority: class.priority(), favour, layers, wanted, floor, pausable }
    }
}

impl Shard {
    /// Shares a receiver's line out among the tracks it gets, and carries the outcome out.
    pub(super) fn share_out(&mut self, link: usize, line: &mut Line, now: Instant) {
        let rate = line.take_budget(now);
        if !line.is_heard() && line.age(now) >= UNHEARD {
            return self.let_everything_pass(link, line, now);
        }
        line.free = false;
        let gathered = self.gather(link, now);
        let pausable = line.may_pause(now);
        let tracks: Vec<_> = gathered.iter().map(|track| track.track(pausable)).collect();
        let budget = Budget { rate, probed: line.estimator.is_probed(now) };
        let mut news = Vec::new();
        for (choice, track) in line.allocator.allocate(&tracks, budget, now).iter().zip(&gathered) {
            if track.class != Class::Voice {
                self.carry_out_choice(link, choice, &mut news, now);
            }
        }
        line.estimator.set_need(line.allocator.need());
        if pausable && line.allocator.choices().iter().any(|choice| choice.paused) {
            line.on_pause(now);
        }
        if !news.is_empty() {
            self.tell(link, Event::StreamState(news));
        }
    }

    fn gather(&self, link: usize, now: Instant) -> Vec<Gathered> {
        let Some(state) = self.links.get(link) else { return Vec::new() };
        let speaking = |track: &Track| {
            let speakers = self.rooms.get(track.room).map(|room| room.speakers.speakers());
            let mut members = speakers.into_iter().flatten().filter_map(|speaker| self.tracks.get(speaker.id as usize));
            members.any(|voice| voice.member == track.member)
        };
        let gathered = state.outbound.iter().filter_map(|sent| {
            let track = self.tracks.get(sent.track)?;
            let route = track.routes.iter().find(|route| route.receiver == link)?;
            Some(track.gather(sent.track, route, track.class == Class::Face && speaking(track), now))
        });
        gathered.collect()
    }

    fn carry_out_choice(&mut self, link: usize, choice: &Choice, news: &mut Vec<StreamState>, now: Instant) {
        let track = choice.key as usize;
        let cap = match choice.layer {
            Some((spatial, _)) => Cap::UpTo(spatial),
            None if choice.paused => Cap::Pause,
            // Hidden or silent: nothing to choose until it is seen.
            None => return,
        };
        self.cap_route(track, link, cap, now);
        if choice.state_changed
            && let Some(state) = self.tracks.get(track)
            && let Some(publisher) = self.rooms.get(state.room).and_then(|room| room.rules.record(state.member))
        {
            news.push(StreamState { publisher: publisher.sid.clone(), track: state.sid.clone(), paused: choice.paused });
            if choice.paused {
                self.counters.tracks_paused += 1;
            } else {
                self.counters.tracks_resumed += 1;
            }
        }
    }

    /// Sets what the line allows of one route, and its layer with it.
    fn cap_route(&mut self, track: usize, link: usize, cap: Cap, now: Instant) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        let muted = state.muted;
        let Some(route) = state.routes.iter_mut().find(|route| route.receiver == link) else { return };
        if route.choice.cap() == cap {
            return;
        }
        route.choice.set_cap(cap);
        let flows = route.out.is_some() && !muted;
        let target = if flows { route.choice.target(&state.set, &state.activity, now) } else { None };
        if target != route.route.target() {
            route.route.set_target(target);
            self.request_wanted_key_frames(track, now);
        }
    }

    /// The receiver says nothing of its line, so nothing is known against what it asks for.
    fn let_everything_pass(&mut self, link: usize, line: &mut Line, now: Instant) {
        if std::mem::replace(&mut line.free, true) {
            return;
        }
        let tracks: Vec<usize> =
            self.links.get(link).map(|state| state.outbound.iter().map(|sent| sent.track).collect()).unwrap_or_default();
        for track in tracks {
            self.cap_route(track, link, Cap::Free, now);
        }
    }
}
