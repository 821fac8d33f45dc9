//! Asks for the memory a batch will need before its packets are looked at.
//!
//! One thing leads to the next: a sender's link to its track, the track to its routes, a route to its receiver's link. The batch is
//! gone through once for each such step, so that the fetches of all its packets overlap, where one packet after the other
//! would wait for each of its own. Nothing is changed, and nothing is found out that the packets do not find out again. The same is done
//! for timers that fall due together, and for the links whose feedback is looked at when the batch ends.

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
    packets: usize,
    bytes: usize,
    link: usize,
    ssrc: u32,
    track: usize,
    layer: u8,
}

impl Shard {
    /// Asks for what the packets of a batch will need.
    pub(super) fn warm(&mut self, bytes: &[u8], batch: &[Received], senders: &[usize]) {
        if batch.len() < 2 {
            return;
        }
        let mut all = std::mem::take(&mut self.bursts);
        all.clear();
        find_bursts(bytes, batch, senders, &mut all);
        for link in all.iter().filter_map(|burst| self.links.get(burst.link)) {
            link.warm();
        }
        for link in all.iter().filter_map(|burst| self.links.get(burst.link)) {
            link.warm_opening();
        }
        all.retain_mut(|burst| {
            let Some(inbound) = self.links.get(burst.link).and_then(|link| link.inbound(burst.ssrc)) else { return false };
            (burst.track, burst.layer) = (inbound.track, inbound.layer);
            self.tracks.get(burst.track).inspect(|track| ahead::fetch(*track));
            true
        });
        for (burst, track) in self.tracks_of(&all) {
            self.warm_track(burst, track);
        }
        for (burst, track) in self.tracks_of(&all) {
            self.warm_places(burst, track);
            self.receivers(track).for_each(Link::warm_receiver);
        }
        for (_, track) in self.tracks_of(&all) {
            self.receivers(track).for_each(Link::warm_sealing);
        }
        for (burst, track) in self.tracks_of(&all) {
            self.receivers(track).filter_map(|receiver| receiver.line.as_ref()).for_each(|line| line.warm(burst.packets));
        }
        self.bursts = all;
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

    fn tracks_of<'a>(&'a self, bursts: &'a [Burst]) -> impl Iterator<Item = (&'a Burst, &'a Track)> {
        bursts.iter().filter_map(|burst| Some((burst, self.tracks.get(burst.track)?)))
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
    for (received, link) in batch.iter().zip(senders).filter(|(_, link)| **link != NOBODY) {
        let Some(ssrc) = ssrc_of(bytes, received) else { continue };
        match bursts.last_mut() {
            Some(last) if (last.link, last.ssrc) == (*link, ssrc) => {
                last.packets += 1;
                last.bytes += received.len;
            }
            _ => bursts.push(Burst { packets: 1, bytes: received.len, link: *link, ssrc, track: NOBODY, layer: 0 }),
        }
    }
}

/// What lies where the source of an RTP packet is.
fn ssrc_of(bytes: &[u8], received: &Received) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(received.start + 8..)?.first_chunk()?))
}
