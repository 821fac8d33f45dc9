//! Asks for the memory a batch will need before its packets are looked at.
//!
//! One thing leads to the next: a sender's link to its track, the track to its routes, a route to its receiver's link. The batch is
//! gone through once for each such step, so that the fetches of all its packets overlap, where one packet after the other
//! would wait for each of its own. Nothing is changed, and nothing is found out that the packets do not find out again.

use super::datagrams::{NOBODY, Received};
use super::shard::Shard;
use super::tracks::{Layer, Track};
use crate::media::ahead;
use crate::model::MediaKind;

/// Routes of a track that are looked at ahead: what many receivers need does not fit the nearest cache anyway.
const ROUTES: usize = 4;

/// Packets of one stream that came together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
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
        all.extend(bursts(bytes, batch, senders));
        for link in all.iter().filter_map(|burst| self.links.get(burst.link)) {
            link.warm();
        }
        for link in all.iter().filter_map(|burst| self.links.get(burst.link)) {
            link.warm_opening();
        }
        all.retain_mut(|burst| {
            let Some(inbound) = self.links.get(burst.link).and_then(|link| link.inbound(burst.ssrc)) else { return false };
            (burst.track, burst.layer) = (inbound.track, inbound.layer);
            ahead::fetch_some(self.tracks.get(burst.track), usize::MAX);
            true
        });
        for burst in &all {
            self.warm_track(burst);
        }
        for burst in &all {
            self.warm_receivers(burst);
        }
        for (track, layer) in all.iter().filter_map(|burst| self.track_and_layer(burst)) {
            layer.cache.warm_next();
            for receiver in track.routes.iter().take(ROUTES).filter_map(|route| self.links.get(route.receiver)) {
                receiver.peer.warm_sealing();
                receiver.line.iter().for_each(|line| line.warm());
            }
        }
        self.bursts = all;
    }

    fn track_and_layer(&self, burst: &Burst) -> Option<(&Track, &Layer)> {
        let track = self.tracks.get(burst.track)?;
        Some((track, track.layers.get(usize::from(burst.layer))?))
    }

    fn warm_track(&self, burst: &Burst) {
        let Some((track, layer)) = self.track_and_layer(burst) else { return };
        ahead::fetch(layer);
        for route in track.routes.iter().take(ROUTES) {
            ahead::fetch(route);
        }
        if track.codec.kind() == MediaKind::Audio {
            ahead::fetch_some(self.rooms.get(track.room).map(|room| &room.speakers), usize::MAX);
        }
    }

    fn warm_receivers(&self, burst: &Burst) {
        let Some((track, layer)) = self.track_and_layer(burst) else { return };
        layer.cache.warm();
        for route in track.routes.iter().take(ROUTES) {
            route.route.warm();
            if let Some(receiver) = self.links.get(route.receiver) {
                receiver.warm_receiver();
            }
        }
        if track.codec.kind() == MediaKind::Audio
            && let Some(room) = self.rooms.get(track.room)
        {
            room.speakers.warm();
        }
    }
}

/// The runs of one stream, as far as its packets are media.
fn bursts<'a>(bytes: &'a [u8], batch: &'a [Received], senders: &'a [usize]) -> impl Iterator<Item = Burst> + 'a {
    let mut last = None;
    batch.iter().zip(senders).filter(|(_, link)| **link != NOBODY).filter_map(move |(received, link)| {
        let ssrc = ssrc_of(bytes, received)?;
        (last.replace((*link, ssrc)) != Some((*link, ssrc))).then_some(Burst { link: *link, ssrc, track: NOBODY, layer: 0 })
    })
}

/// What lies where the source of an RTP packet is.
fn ssrc_of(bytes: &[u8], received: &Received) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(received.start + 8..)?.first_chunk()?))
}
