//! What of each receiver's line goes to which track.
//!
//! The facts are gathered here and the choice is carried out here; the choice itself is made by [`crate::media::allocation`].
//! Entry point: `Shard::share_out`.

use super::event::{Event, Happening, StreamState};
use super::line::{Line, UNHEARD};
use super::shard::Shard;
use super::tracks::{RouteState, Track};
use crate::media::MAX_LAYERS;
use crate::media::allocation::{self, Budget, Choice, Class, Favour, Layer, MAX_STEPS};
use crate::media::bwe::Need;
use crate::media::codec::MAX_TEMPORAL;
use crate::media::layers::{Cap, LayerTarget};
use crate::media::rate::Bitrate;
use crate::model::Instant;
use crate::model::MediaKind;
use crate::model::roster::{Source, Track as TrackRecord};
use std::time::Duration;

/// Bits per second taken for the layers of a stream of which nothing is known yet, lowest first.
const ASSUMED: [Bitrate; MAX_LAYERS] = [Bitrate::from_kbps(150), Bitrate::from_kbps(500), Bitrate::from_kbps(1_700)];
/// The estimate is below the least of everything for so long before anything is paused: it dips whenever a queue has built up, and what
/// is paused comes back with a key frame, which fills the next queue.
const SHORT_FOR: Duration = Duration::from_millis(1_500);
/// An estimate of so many times the least of everything bears what was paused.
const ROOM: f64 = 1.15;
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
#[derive(Debug)]
pub(super) struct Gathered {
    key: u32,
    class: Class,
    wanted: Option<u8>,
    floor: u8,
    costs: Costs,
}

/// What the layers of a track take of a line.
#[derive(Debug, Default)]
struct Costs {
    layers: [Layer; MAX_STEPS],
    len: usize,
}

impl Costs {
    fn push(&mut self, spatial: u8, temporal: u8, bitrate: Bitrate, packets: u16) {
        if let Some(slot) = self.layers.get_mut(self.len) {
            *slot = Layer { spatial, temporal, bitrate, packets };
            self.len += 1;
        }
    }

    /// Every packet carries earlier ones along.
    fn repeat(&mut self, times: u8) {
        for layer in &mut self.layers {
            layer.bitrate = layer.bitrate.scale(f64::from(times));
        }
    }

    fn as_slice(&self) -> &[Layer] {
        self.layers.get(..self.len).unwrap_or_default()
    }

    /// The limit that stands for a step.
    fn cap(&self, spatial: u8, temporal: u8) -> Cap {
        let above = self.as_slice().iter().any(|layer| layer.spatial == spatial && layer.temporal > temporal);
        if above { Cap::Layers(spatial, temporal) } else { Cap::UpTo(spatial) }
    }
}

impl Track {
    pub(super) fn is_video(&self) -> bool {
        self.codec.kind() == MediaKind::Video
    }

    /// Bits per second a receiver gets with a target, as measured lately and with the headers of datagrams; nothing where that is
    /// not known.
    pub(super) fn rate(&self, target: LayerTarget, now: Instant) -> Option<Bitrate> {
        let layer = self.layers.get(usize::from(target.stream)).filter(|layer| layer.stream.is_some())?;
        let bits = layer.rates.rate(target.spatial, target.temporal, now);
        (bits > 0).then(|| Bitrate::from_bps(u64::from(bits)))
    }

    /// The layers as measured, or as announced while nobody asks for them; of each the temporal ones up to `most`.
    fn costs(&self, most: u8, now: Instant) -> Costs {
        let mut costs = Costs::default();
        let asked = self.demand.told().map(|told| told.map_or(0, |quality| self.set.of_quality(quality) + 1));
        for index in 0..self.set.count() {
            let live = !self.is_video() || self.activity.is_live(index, now);
            let whole = self.rate(self.set.target(index, most), now).filter(|_| live);
            match whole {
                Some(whole) => self.push_measured(&mut costs, index, whole, now),
                None if !self.is_video() => {}
                // Not sent because nobody asks: it would come.
                None if live || asked.is_some_and(|asked| index >= asked) => {
                    let (bitrate, packets) = self.assumed(index);
                    costs.push(index, 0, bitrate, packets);
                }
                None => {}
            }
        }
        costs
    }

    /// The steps of one layer, lowest first, as far as each takes more than the one before.
    fn push_measured(&self, costs: &mut Costs, index: u8, whole: Bitrate, now: Instant) {
        for temporal in 0..MAX_TEMPORAL {
            let rate = self.rate(self.set.target(index, temporal), now).unwrap_or(whole).min(whole);
            // Headers are in what was measured.
            costs.push(index, temporal, rate, 0);
            if rate >= whole {
                break;
            }
        }
    }

    fn assumed(&self, layer: u8) -> (Bitrate, u16) {
        let place = if self.set.count() == 1 { 1 } else { usize::from(layer) };
        let announced = self.set.announced_bitrate(layer).map(|bits| Bitrate::from_bps(u64::from(bits)));
        let rate = announced.or_else(|| ASSUMED.get(place).copied()).unwrap_or(Bitrate::ZERO);
        (rate, u16::try_from(rate.bps() / 8_000).unwrap_or(u16::MAX).max(ASSUMED_PACKETS))
    }

    fn gather(&self, key: usize, route: &RouteState, line: &Line, speaks: bool, now: Instant) -> Gathered {
        let mut costs = self.costs(route.choice.wanted_temporal(), now);
        costs.repeat(1 + route.generations(line.bears_redundancy()));
        let count = self.set.count();
        let wanted = if !self.is_video() {
            Some(0)
        } else if self.muted || route.out.is_none() {
            None
        } else {
            route.choice.wanted(&self.set)
        };
        let class = if self.class != Class::Face {
            self.class
        } else if speaks {
            Class::ActiveFace
        } else if count > 1 && wanted == Some(0) {
            Class::Thumbnail
        } else {
            Class::Face
        };
        // Too coarse a picture of an instrument misleads.
        let floor = if class == Class::Instrument { (count - 1).min(1) } else { 0 };
        Gathered { key: u32::try_from(key).unwrap_or(u32::MAX), class, wanted, floor, costs }
    }
}

impl Gathered {
    /// What it takes at the least.
    fn lowest(&self) -> Bitrate {
        let worth = |layer: &&Layer| layer.spatial >= self.floor && layer.bitrate > Bitrate::ZERO;
        self.wanted.and_then(|_| self.costs.as_slice().iter().find(worth)).map_or(Bitrate::ZERO, Layer::cost)
    }

    /// The track as it is shared out; a face that hardly gets through whole is `smaller`, and whole more often.
    fn track(&self, pausable: bool, smaller: bool) -> allocation::Track<'_> {
        let favour = if matches!(self.class, Class::Screen | Class::Instrument) { Favour::Detail } else { Favour::Motion };
        let Self { key, class, wanted, floor, .. } = *self;
        let layers = self.costs.as_slice();
        let wanted = if smaller && favour == Favour::Motion { wanted.map(|layer| layer.saturating_sub(1)) } else { wanted };
        allocation::Track { key, class, priority: class.priority(), favour, layers, wanted, floor, pausable }
    }
}

/// Whether a line that bears less than the least of everything has shown it for long enough, and so that there is no doubt.
fn may_pause(line: &mut Line, lowest: Bitrate, now: Instant) -> bool {
    let short = line.short_for(lowest, now) >= SHORT_FOR;
    let rests = line.allocator.choices().iter().any(|choice| choice.paused) && line.estimate() < lowest.scale(ROOM);
    // What is short for so long and queues is too narrow, whatever it carried before.
    line.trust.may_pause(now) && (short || rests) || short && line.is_queued()
}

impl Shard {
    /// Shares a receiver's line out among the tracks it gets, and carries the outcome out.
    pub(super) fn share_out(&mut self, link: usize, line: &mut Line, now: Instant) {
        let rate = line.take_budget(self.config.adapt, now);
        if !self.config.adapt || !line.is_heard() && line.trust.age(now) >= UNHEARD {
            return self.let_everything_pass(link, line, now);
        }
        line.free = false;
        let mut gathered = std::mem::take(&mut self.gathered);
        self.gather(link, line, &mut gathered, now);
        // A queue that drains is no reason to pause what the line bears.
        let lowest: Bitrate = gathered.iter().map(Gathered::lowest).sum();
        let pausable = line.is_bounded() && may_pause(line, lowest, now);
        if !line.is_bounded() {
            line.allocator.forget_falls();
        }
        let smaller = line.is_very_lossy();
        let tracks = gathered.iter().map(|track| track.track(pausable, smaller));
        let budget = Budget { rate, probed: !line.is_bounded() || line.estimator.is_probed(now) };
        let mut news = Vec::new();
        for (choice, track) in line.allocator.allocate(tracks, budget, now).iter().zip(&gathered) {
            if track.class != Class::Voice {
                self.carry_out_choice(link, choice, &track.costs, &mut news, now);
            }
        }
        self.gathered = gathered;
        // What goes out anyway need not be probed for.
        line.estimator.set_need(if line.is_bounded() { line.allocator.need() } else { Need::default() });
        if pausable && line.allocator.choices().iter().any(|choice| choice.paused) {
            line.trust.on_pause(now);
        }
        if !news.is_empty() {
            self.tell(link, Event::StreamState(news));
        }
    }

    fn gather(&self, link: usize, line: &Line, gathered: &mut Vec<Gathered>, now: Instant) {
        gathered.clear();
        let Some(state) = self.links.get(link) else { return };
        let speaking = |track: &Track| {
            let speakers = self.rooms.get(track.room).map(|room| room.speakers.speakers());
            let mut members = speakers.into_iter().flatten().filter_map(|speaker| self.tracks.get(speaker.id as usize));
            members.any(|voice| voice.member == track.member)
        };
        gathered.extend(state.outbound.iter().filter_map(|sent| {
            let track = self.tracks.get(sent.track)?;
            let route = track.routes.iter().find(|route| route.receiver == link)?;
            Some(track.gather(sent.track, route, line, track.class == Class::Face && speaking(track), now))
        }));
    }

    fn carry_out_choice(&mut self, link: usize, choice: &Choice, costs: &Costs, news: &mut Vec<StreamState>, now: Instant) {
        let track = choice.key as usize;
        let cap = match choice.layer {
            Some((spatial, temporal)) => costs.cap(spatial, temporal),
            None if choice.paused => Cap::Pause,
            // Hidden or silent: nothing to choose until it is seen.
            None => return,
        };
        self.cap_route(track, link, cap, now);
        if choice.state_changed
            && let Some(state) = self.tracks.get(track)
            && let Some(publisher) = self.rooms.get(state.room).and_then(|room| room.rules.record(state.member))
        {
            let from = publisher.identity.clone();
            let what = if choice.paused { Happening::Paused { from } } else { Happening::Resumed { from } };
            news.push(StreamState { publisher: publisher.sid.clone(), track: state.sid.clone(), paused: choice.paused });
            if choice.paused {
                self.counters.tracks_paused += 1;
            } else {
                self.counters.tracks_resumed += 1;
            }
            self.happen(link, what, now);
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
        let before = route.choice.held();
        route.choice.set_cap(cap);
        let flows = route.out.is_some() && !muted;
        let target = if flows { route.choice.target(&state.set, &state.activity, now) } else { None };
        route.aim(target);
        if target.is_some() && route.choice.held() < before {
            self.counters.layer_downs += 1;
        }
        if route.route.wants_key_frame().is_some() {
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
