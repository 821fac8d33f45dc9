//! Asks for the memory a batch will need before its packets are looked at.
//!
//! One thing leads to the next: a sender's link to its track, the track to its routes, a route to its receiver's link. These are the
//! steps; a burst of packets takes one of them each time a burst before it is done, so that its memory arrives while others are worked
//! on, where it would wait for each of its own fetches. It is close enough by then for the nearest cache: what a whole batch needs is not.
//! Nothing is changed, and nothing is found out that the packets do not find out again. The same is done, step by step for all of them, for
//! timers that fall due together, and for the links whose feedback is looked at when the batch ends.

use super::datagrams::{NOBODY, Received};
use super::link::Link;
use super::shard::Shard;
use super::timers::Owner;
use super::tracks::{Layer, RouteState, Track};
use crate::media::ahead;
use crate::model::{Instant, MediaKind};

/// Routes of a track that are looked at ahead: what many receivers need does not fit the nearest cache anyway.
const ROUTES: usize = 4;

/// Packets of one stream that came together, and their bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    /// Of its first packet in the batch.
    place: usize,
    packets: usize,
    bytes: usize,
    link: usize,
    ssrc: u32,
    track: usize,
    layer: u8,
}

/// What has been asked for of a batch.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    bursts: Vec<Burst>,
    /// Steps taken by the first burst; the one behind it is one step behind, and so on.
    taken: usize,
}

/// Steps from a sender to all that its packets need.
const STEPS: usize = 7;

impl Shard {
    /// Finds what a batch consists of, and asks for what its first packets need.
    pub(super) fn look_ahead(&self, lookout: &mut Lookout, bytes: &[u8], batch: &[Received], senders: &[usize]) {
        lookout.bursts.clear();
        lookout.taken = 0;
        // One alone would only wait for its hints.
        if batch.len() < 2 {
            return;
        }
        find_bursts(bytes, batch, senders, &mut lookout.bursts);
        for _ in 0..STEPS {
            self.step(lookout);
        }
    }

    /// The packet at a place of the batch is about to be looked at: asks for more where it begins a burst.
    pub(super) fn look_further(&self, lookout: &mut Lookout, place: usize) {
        let next = |lookout: &Lookout| lookout.bursts.get(lookout.taken.checked_sub(STEPS)?).map(|burst| burst.place);
        while next(lookout).is_some_and(|begins| begins <= place) {
            self.step(lookout);
        }
    }

    /// Each burst takes its next step, as far as it has one.
    fn step(&self, lookout: &mut Lookout) {
        let Lookout { bursts, taken } = lookout;
        for step in 0..STEPS {
            if let Some(burst) = taken.checked_sub(step).and_then(|index| bursts.get_mut(index)) {
                self.warm(step, burst);
            }
        }
        *taken += 1;
    }

    fn warm(&self, step: usize, burst: &mut Burst) {
        if step < 3 {
            let Some(link) = self.links.get(burst.link) else { return };
            match step {
                0 => link.warm(),
                1 => link.warm_opening(),
                _ => {
                    let Some(inbound) = link.inbound(burst.ssrc) else { return };
                    (burst.track, burst.layer) = (inbound.track, inbound.layer);
                    self.tracks.get(burst.track).into_iter().for_each(ahead::fetch);
                }
            }
            return;
        }
        let Some(track) = self.tracks.get(burst.track) else { return };
        match step {
            3 => self.warm_track(burst, track),
            4 => {
                self.warm_places(burst, track);
                self.receivers(track).for_each(Link::warm_receiver);
            }
            5 => self.receivers(track).for_each(Link::warm_sealing),
            _ => self.receivers(track).filter_map(|link| link.line.as_ref()).for_each(|line| line.warm(burst.packets)),
        }
    }

    /// Asks for what those whose time has come are asked first.
    pub(super) fn warm_due(&self, due: &[(Instant, Owner)]) {
        for (_, owner) in due {
            match owner {
                Owner::Link(link, _) => self.links.get(*link).into_iter().for_each(Link::warm_timing),
                Owner::Room(room, _) => self.rooms.get(*room).into_iter().for_each(|room| ahead::fetch(&room.scheduled)),
            }
        }
    }

    /// Asks for what the links that were touched need for their feedback: most are looked at for their line, and for the tracks that
    /// share it.
    pub(super) fn warm_touched(&self, now: Instant) {
        let links = || self.dirty.iter().filter_map(|link| self.links.get(*link));
        links().for_each(Link::warm_feedback);
        links().for_each(|link| link.warm_look(now));
        let looked_at = || links().filter(|link| link.line.as_ref().is_some_and(|line| line.is_due(now)));
        let tracks = || looked_at().flat_map(|link| &link.outbound).filter_map(|sent| self.tracks.get(sent.track));
        tracks().for_each(ahead::fetch);
        for track in tracks() {
            track.routes.iter().take(ROUTES).for_each(RouteState::warm_choice);
            track.layers.iter().for_each(|layer| ahead::fetch(&layer.rates));
        }
    }

    fn receivers<'a>(&'a self, track: &'a Track) -> impl Iterator<Item = &'a Link> {
        track.routes.iter().take(ROUTES).filter_map(|route| self.links.get(route.receiver))
    }

    fn warm_track(&self, burst: &Burst, track: &Track) {
        let pictures = track.codec.kind() == MediaKind::Video;
        if let Some(layer) = burst.layer_of(track) {
            layer.rates.warm(&layer.stream);
        }
        for route in track.routes.iter().take(ROUTES) {
            if pictures {
                ahead::fetch_span(&route.receiver, &route.guardian);
            } else {
                ahead::fetch_span(&route.receiver, &route.route);
            }
        }
        if !pictures && let Some(room) = self.rooms.get(track.room) {
            ahead::fetch(&room.speakers);
            ahead::fetch(&room.scheduled);
        }
    }

    fn warm_places(&self, burst: &Burst, track: &Track) {
        if let Some(layer) = burst.layer_of(track) {
            layer.cache.warm(burst.bytes);
            layer.cache.warm_next(burst.bytes);
        }
        track.routes.iter().take(ROUTES).for_each(|route| route.route.warm(burst.packets));
        if track.codec.kind() == MediaKind::Audio
            && let Some(room) = self.rooms.get(track.room)
        {
            room.speakers.warm();
        }
    }
}

impl RouteState {
    /// Asks for whose it is and which layer was chosen.
    fn warm_choice(&self) {
        ahead::fetch(&self.receiver);
        ahead::fetch(&self.choice);
    }
}

impl Burst {
    fn layer_of<'a>(&self, track: &'a Track) -> Option<&'a Layer> {
        track.layers.get(usize::from(self.layer))
    }
}

/// Finds the runs of one stream, as far as its packets are media.
fn find_bursts(bytes: &[u8], batch: &[Received], senders: &[usize], bursts: &mut Vec<Burst>) {
    for (place, (received, link)) in batch.iter().zip(senders).enumerate().filter(|(_, (_, link))| **link != NOBODY) {
        let Some(ssrc) = ssrc_of(bytes, received) else { continue };
        match bursts.last_mut() {
            Some(last) if (last.link, last.ssrc) == (*link, ssrc) => {
                last.packets += 1;
                last.bytes += received.len;
            }
            _ => bursts.push(Burst { place, packets: 1, bytes: received.len, link: *link, ssrc, track: NOBODY, layer: 0 }),
        }
    }
}

/// What lies where the source of an RTP packet is.
fn ssrc_of(bytes: &[u8], received: &Received) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(received.start + 8..)?.first_chunk()?))
}
