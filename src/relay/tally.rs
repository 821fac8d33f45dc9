//! What reached whom in a consultation, second by second: for its attestation, and for whoever answers the telephone.
//!
//! Counters that are there anyway are read twice a second, by the room's timer; no packet pays for it. That media was sent is not
//! enough: it counts once the receiver's line shows that packets arrive. Entry points: [`Shard::poll_tally`],
//! [`Shard::read_tally`] before something ends, [`Shard::drain_tallies`].

use super::event::{Delivered, Figures, Happened, Happening, Tally};
use super::link::Link;
use super::shard::Shard;
use super::tracks::{OutStream, Track};
use crate::consultation::{Effect, MemberId};
use crate::model::Instant;
use crate::model::counters::FailureReason;
use crate::model::roster::Source;
use crate::model::{Identity, MediaKind, Now, TrackSid};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often counters are read. Media begins and ends between two readings, so half of this is the error of either end.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How often the node is told, unless something ends.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A line with numbered packets whose receiver never spoke of one within this never will; then its own packets are the word.
const NUMBERS_UNHEARD: Duration = Duration::from_secs(3);

/// A receiver that publishes sound is heard at least every 400 ms, in silence too (Opus DTX); this is five times as long.
const PATIENCE_TALKING: Duration = Duration::from_secs(2);

/// Of others come checks and reports only: browsers check every 2.5 to 6 s (RFC 7675, section 5.1).
const PATIENCE: Duration = Duration::from_secs(7);

/// A receiver that misses more than this share of a stream gets nothing of use.
const ALL_LOST: f32 = 0.9;

/// Stretches of one stream that wait for word of their receiver: the longest patience, and a second more.
const MOST_WAITING: usize = 16;

/// Stretches no further apart are one; slides have a picture a second.
const TOGETHER: Duration = Duration::from_millis(1_500);

/// Things that happen in a room within a second, at most; beyond it the rest is left out.
const MOST_HAPPENED: usize = 64;

/// Tallies that wait for the worker: it takes them after every batch.
const MOST_TALLIES: usize = 8_192;

/// What a room keeps for its tally.
#[derive(Debug, Default)]
pub(super) struct Tallying {
    due: Option<Instant>,
    read_at: Option<Instant>,
    told_at: Option<Instant>,
    /// By SSRC and how often it was taken up again: as many as there are routes, and those that just ended.
    streams: BTreeMap<(u32, u32), Stream>,
    /// One for each member that is there.
    lines: BTreeMap<MemberId, LineState>,
    happened: Vec<Happened>,
}

/// One stream to one receiver.
#[derive(Debug)]
struct Stream {
    receiver: MemberId,
    from: Identity,
    to: Identity,
    source: Source,
    /// Packets at the last reading.
    packets: u32,
    /// Packets the receiver reported as lost at the last reading.
    lost: i32,
    /// Sent, and no word of the receiver yet.
    waiting: Vec<(Instant, Instant)>,
    /// Arrived, and not told yet.
    arrived: Vec<(Instant, Instant)>,
    /// Whether its route was there at this reading.
    there: bool,
}

/// What a member's line said at the last reading.
#[derive(Debug, Default)]
struct LineState {
    generation: u32,
    /// Numbered bytes sent, and known to have arrived.
    totals: (u64, u64),
    /// When the second of them last grew, as of a reading.
    arrived_at: Option<Instant>,
    /// Since when numbered packets go out.
    numbered_since: Option<Instant>,
    heard: Option<Instant>,
    verdict: Verdict,
    /// Packets that came and are missing, and those sent and missed, at the last telling.
    told: [u64; 2],
    sent: u32,
    missed: u32,
}

/// What is known of a receiver since the last reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verdict {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Packets arrive.
    Reached,
    /// They arrive again, after they did not.
    Again,
    /// Nothing arrives.
    Lost,
}

/// Whether an effect ends what some receiver gets, so that counters are read before.
pub(super) fn ends_media(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::TrackClosed { .. } | Effect::TrackMuted { .. } | Effect::Unroute { .. } | Effect::Gone { .. } | Effect::Closed
    )
}

impl Tallying {
    /// Somebody came into a consultation.
    pub(super) fn begin(&mut self, consultation: bool, now: Instant) {
        if consultation && self.due.is_none() {
            self.due = Some(now + READ_EVERY);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Takes note of the packets of one stream since the last reading; `exact` when it ends just now.
    fn read(&mut self, out: &OutStream, (receiver, from, to): (MemberId, &Identity, &Identity), source: Source, span: Span) {
        let stream = self.streams.entry((out.ssrc, out.stats.resumptions())).or_insert_with(|| Stream {
            receiver,
            from: from.clone(),
            to: to.clone(),
            source,
            packets: 0,
            lost: 0,
            waiting: Vec::new(),
            arrived: Vec::new(),
            there: true,
        });
        stream.there = true;
        let first = if stream.packets == 0 { out.stats.first_sent() } else { None };
        let sent = out.stats.packets().wrapping_sub(stream.packets);
        stream.packets = out.stats.packets();
        let reception = out.stats.reception();
        let lost = reception.map_or(stream.lost, |reception| reception.cumulative_lost);
        let missed = lost.saturating_sub(std::mem::replace(&mut stream.lost, lost));
        if let Some(line) = self.lines.get_mut(&receiver) {
            line.sent = line.sent.saturating_add(sent);
            line.missed = line.missed.saturating_add(u32::try_from(missed).unwrap_or(0));
        }
        // Only the receiver can know when numbers do not tell; what it says may be some seconds old.
        let useless = reception.is_some_and(|reception| reception.fraction_lost > ALL_LOST);
        if sent > 0 && !(useless && out.passes.transport_cc == 0) {
            let until = span.until();
            let since = first.unwrap_or(until).min(until);
            if stream.waiting.len() >= MOST_WAITING {
                stream.waiting.remove(0);
            }
            stream.waiting.push((since, until));
        }
    }

    /// Counts what waits as arrived, or forgets it, as its receiver's line says.
    fn settle(&mut self) {
        for stream in self.streams.values_mut() {
            // Who has left said nothing to the contrary while it was there.
            let verdict = self.lines.get(&stream.receiver).map_or(Verdict::Reached, |line| line.verdict);
            match verdict {
                Verdict::Unknown => {}
                Verdict::Lost => stream.waiting.clear(),
                Verdict::Again => {
                    let current = stream.waiting.pop().filter(|_| stream.there);
                    stream.waiting.clear();
                    stream.arrived.extend(current);
                }
                Verdict::Reached => {
                    for (since, until) in stream.waiting.drain(..) {
                        match stream.arrived.last_mut() {
                            Some(last) if since.saturating_duration_since(last.1) <= TOGETHER => last.1 = until,
                            _ => stream.arrived.push((since, until)),
                        }
                    }
                }
            }
        }
    }

    /// What has arrived since the last telling; streams that are over and told are forgotten.
    fn take_delivered(&mut self) -> Vec<Delivered> {
        let mut delivered = Vec::new();
        self.streams.retain(|_, stream| {
            delivered.extend(stream.arrived.drain(..).map(|(since, until)| Delivered {
                from: stream.from.clone(),
                to: stream.to.clone(),
                source: stream.source,
                since,
                until,
            }));
            stream.there || !stream.waiting.is_empty()
        });
        delivered
    }
}

/// The time between two readings.
#[derive(Clone, Copy)]
struct Span {
    then: Instant,
    now: Instant,
    /// Something ends now.
    exact: bool,
}

impl Span {
    /// Up to when packets of this reading are taken to have come.
    fn until(self) -> Instant {
        if self.exact { self.now } else { self.then + self.now.saturating_duration_since(self.then) / 2 }
    }
}

impl LineState {
    /// Looks at a receiver's line; `heard` is when anything authentic last came from the member.
    fn look(&mut self, receiving: &Link, heard: Option<Instant>, talks: bool, now: Instant) {
        if self.generation != receiving.generation {
            *self = Self { generation: receiving.generation, sent: self.sent, missed: self.missed, ..Self::default() };
        }
        let totals = receiving.line.as_ref().map_or(self.totals, |line| line.estimator.totals());
        let before = std::mem::replace(&mut self.totals, totals);
        let (sent, arrived) = (totals.0 > before.0, totals.1 > before.1);
        let began = self.numbered_since;
        self.numbered_since = sent.then(|| began.unwrap_or(now));
        if arrived {
            self.arrived_at = Some(now);
        }
        let lately = self.arrived_at.is_some_and(|at| now.saturating_duration_since(at) < READ_EVERY);
        let speaks =
            totals.1 > 0 || self.numbered_since.is_some_and(|since| now.saturating_duration_since(since) < NUMBERS_UNHEARD);
        let patience = if talks { PATIENCE_TALKING } else { PATIENCE };
        let last = std::mem::replace(&mut self.heard, heard);
        self.verdict = match (heard, last) {
            _ if sent && speaks && lately => Verdict::Reached,
            // The first feedback may still be on its way.
            _ if sent && speaks && began.is_none() => Verdict::Unknown,
            _ if sent && speaks => Verdict::Lost,
            (None, _) => Verdict::Unknown,
            (Some(heard), Some(last)) if heard > last && heard.saturating_duration_since(last) > patience => Verdict::Again,
            (Some(heard), last) if last.is_none_or(|last| heard > last) => Verdict::Reached,
            (Some(heard), _) if now.saturating_duration_since(heard) > patience => Verdict::Lost,
            (Some(_), _) => Verdict::Unknown,
        };
    }
}

impl Shard {
    /// Reads the counters when it is time.
    pub(super) fn poll_tally(&mut self, room: usize, now: Now) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        if state.tally.due.take_if(|due| *due <= now.mono).is_none() {
            return;
        }
        state.tally.due = (!state.links.is_empty()).then(|| now.mono + READ_EVERY);
        self.read(room, false, now);
        let told_at = self.rooms.get(room).and_then(|state| state.tally.told_at);
        if told_at.is_none_or(|at| now.mono.saturating_duration_since(at) >= TELL_EVERY - READ_EVERY / 2) {
            self.tell_tally(room, true, now);
        }
    }

    /// Reads the counters because something ends now, and tells what there is to tell.
    pub(super) fn read_tally(&mut self, room: usize, now: Now) {
        if self.rooms.get(room).is_some_and(|state| state.rules.is_consultation() && state.tally.read_at.is_some()) {
            self.read(room, true, now);
            self.tell_tally(room, false, now);
        }
    }

    fn read(&mut self, room: usize, exact: bool, now: Now) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        let mut tally = std::mem::take(&mut state.tally);
        let then = tally.read_at.replace(now.mono).unwrap_or(now.mono);
        let span = Span { then, now: now.mono, exact };
        self.look_at_lines(room, &mut tally, now.mono);
        tally.streams.values_mut().for_each(|stream| stream.there = false);
        if let Some(state) = self.rooms.get(room) {
            for (sid, track) in &state.tracks {
                let Some(track) = self.tracks.get(*track) else { continue };
                let Some(from) = self.links.get(track.publisher).map(|link| &link.identity) else { continue };
                let mut source = None;
                for route in &track.routes {
                    let (Some(out), Some(link)) = (&route.out, self.links.get(route.receiver)) else { continue };
                    let source =
                        *source.get_or_insert_with(|| state.rules.track(sid).map_or(Source::Unknown, |(_, track)| track.source));
                    tally.read(out, (link.member, from, &link.identity), source, span);
                }
            }
        }
        tally.settle();
        if let Some(state) = self.rooms.get_mut(room) {
            state.tally = tally;
        }
    }

    fn look_at_lines(&self, room: usize, tally: &mut Tallying, now: Instant) {
        let Some(state) = self.rooms.get(room) else { return };
        tally.lines.retain(|member, _| state.links.contains_key(member));
        for (member, up) in &state.links {
            let (Some(receiving), Some(up)) = (self.links.get(self.receiving(*up)), self.links.get(*up)) else { continue };
            let heard = receiving.peer.last_heard().max(up.peer.last_heard());
            tally.lines.entry(*member).or_default().look(receiving, heard, self.talks(up), now);
        }
    }

    /// Whether a member's microphone is on.
    fn talks(&self, up: &Link) -> bool {
        let mut tracks = up.published().filter_map(|track| self.tracks.get(track));
        tracks.any(|track| track.codec.kind() == MediaKind::Audio && !track.muted)
    }

    fn tell_tally(&mut self, room: usize, figures: bool, now: Now) {
        let lines = if figures { self.figures(room) } else { Vec::new() };
        let Some(state) = self.rooms.get_mut(room) else { return };
        let tally = &mut state.tally;
        if figures {
            tally.told_at = Some(now.mono);
        }
        let delivered = tally.take_delivered();
        let happened = std::mem::take(&mut tally.happened);
        if delivered.is_empty() && happened.is_empty() && lines.is_empty() {
            return;
        }
        let (room, sid) = (state.key.clone(), state.rules.facts().sid.clone());
        if self.tallies.len() >= MOST_TALLIES {
            self.tallies.pop_front();
            self.counters.facts_lost += 1;
        }
        self.tallies.push_back(Tally { room, sid, at: now, delivered, lines, happened });
    }

    /// The figures of every seat whose media is or was up, since the last telling.
    fn figures(&mut self, room: usize) -> Vec<(Identity, Figures)> {
        let Some(state) = self.rooms.get_mut(room) else { return Vec::new() };
        let mut told = Vec::new();
        for (member, line) in &mut state.tally.lines {
            let Some(up) = state.links.get(member).and_then(|link| self.links.get(*link)) else { continue };
            if up.timing.connected_at.is_none() {
                continue;
            }
            let receiving = up.down().and_then(|down| self.links.get(down)).unwrap_or(up);
            let tracks = up.published().filter_map(|track| self.tracks.get(track));
            let mut figures = Figures { signalling_alive: up.events.is_some(), ..Figures::default() };
            let mut sums = [0; 2];
            for track in tracks {
                figures.expects_media |= track.codec.kind() == MediaKind::Audio && !track.muted && has_begun(track);
                for stream in track.layers.iter().filter_map(|layer| layer.stream.as_ref()) {
                    sums = [sums[0] + stream.received(), sums[1] + stream.lost()];
                }
            }
            let before = std::mem::replace(&mut line.told, sums);
            let since = |index: usize| {
                let grown = sums.get(index).zip(before.get(index)).map(|(now, then)| now.saturating_sub(*then));
                grown.and_then(|grown| u32::try_from(grown).ok()).unwrap_or(0)
            };
            (figures.received, figures.lost) = (since(0), since(1));
            (figures.sent, figures.sent_lost) = (std::mem::take(&mut line.sent), std::mem::take(&mut line.missed));
            figures.rtt_ms = receiving.rtt.or(up.rtt).and_then(|rtt| u32::try_from(rtt.as_millis()).ok());
            if let Some(line) = receiving.line.as_ref().filter(|line| line.is_heard()) {
                let kbps = |rate: crate::media::rate::Bitrate| u32::try_from(rate.bps() / 1_000).unwrap_or(u32::MAX);
                figures.estimate_kbps = Some(kbps(line.estimate()));
                figures.wanted_kbps = kbps(line.allocator.need().all);
            }
            told.push((up.identity.clone(), figures));
        }
        told
    }

    /// Something happened to the member behind a link of a consultation.
    pub(super) fn happen(&mut self, link: usize, what: Happening, now: Instant) {
        let Some(link) = self.links.get(link) else { return };
        let Some(state) = self.rooms.get_mut(link.room).filter(|state| state.rules.is_consultation()) else { return };
        if state.tally.happened.len() < MOST_HAPPENED {
            state.tally.happened.push(Happened { seat: link.identity.clone(), at: now, what });
        }
    }

    /// A track fell silent, or is not any more.
    pub(super) fn note_muted(&mut self, room: usize, sid: &TrackSid, muted: bool, now: Instant) {
        let Some(state) = self.rooms.get(room) else { return };
        let Some(publisher) = state.tracks.get(sid).and_then(|track| self.tracks.get(*track)).map(|track| track.publisher) else {
            return;
        };
        let Some(source) = state.rules.track(sid).map(|(_, track)| track.source) else { return };
        let what = if muted { Happening::Muted(source) } else { Happening::Unmuted(source) };
        self.happen(publisher, what, now);
    }

    /// Media could not come up.
    pub(super) fn note_obstacle(&mut self, link: usize, reason: FailureReason, now: Instant) {
        let what = match reason {
            FailureReason::IceTimeout => Happening::NoPath,
            FailureReason::DtlsHandshake | FailureReason::Fingerprint | FailureReason::NoSrtpProfile => Happening::NoHandshake,
            FailureReason::ConsentExpired | FailureReason::DtlsClosed | FailureReason::Internal => return,
        };
        self.happen(link, what, now);
    }

    /// Tallies since the last call, in order.
    pub fn drain_tallies(&mut self) -> impl Iterator<Item = Tally> + '_ {
        self.tallies.drain(..)
    }
}

fn has_begun(track: &Track) -> bool {
    track.layers.iter().any(|layer| layer.stream.is_some())
}
