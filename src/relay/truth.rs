//! What really reaches whom, told to everybody it concerns: a word for each line, and what each member receives of the others.
//!
//! A room is looked at every other second while something flows in it. Words go to those whose roster names the person, changes only.
//! In consultations the rest becomes the attribute `consultation.receives` of the one who receives, a list of tracks with what arrives:
//! `TR_1=720 TR_2=180/720@5 TR_3=clear`, that is lines of the picture, after a slash those wished for where they are fewer, after an
//! `@` pictures a second where they are few; `still` for a picture that stands still, `clear` or `gaps` for sound.
//! Entry points: `Shard::look_soon`, `Shard::poll_truth`.

use super::event::{Event, Grade, LineQuality};
use super::incidents::Incidents;
use super::link::Link;
use super::rooms::RoomState;
use super::shard::Shard;
use super::tracks::{RouteState, Track};
use crate::consultation::{self as rules, Fact, MemberId};
use crate::media::allocation::Class;
use crate::media::grade::{Measured, Steady, Word, judge, patience};
use crate::media::layers::Cap;
use crate::model::Instant;
use crate::model::{Now, SessionId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two looks, and so between two messages about one room.
const LOOK: Duration = Duration::from_secs(2);
/// Looks in which nothing flows before the room is left alone: by then a line that died is known to be lost.
const IDLE_LOOKS: u8 = 6;
/// Fewer packets than this since the last look say nothing of loss.
const FEW_PACKETS: u64 = 20;
/// In larger rooms members hear of their own line only: a word for everybody to everybody would be thousands.
const MOST_MEMBERS: usize = 32;
/// Tracks one attribute speaks of: what a page can show at once, and 40 bytes each.
const MOST_TRACKS: usize = 16;
/// Looks for which a member's reception must stay as it is before it is told.
const LASTING: u8 = 2;
/// Pictures a second from which a camera's motion is not worth a word.
const FLUENT: f64 = 10.0;
/// A picture that has not changed for so long stands still.
const STILL: Duration = Duration::from_secs(2);
/// Loss of sound that is heard: without redundancy, and with it.
const GAPS: (f32, f32) = (0.10, 0.30);

/// What a room's members were told.
#[derive(Debug, Default)]
pub(super) struct Truth {
    next: Option<Instant>,
    /// Looks since something flowed last.
    idle: u8,
    /// As many as there are members.
    views: BTreeMap<MemberId, View>,
}

/// What is known of one member.
#[derive(Debug, Default)]
struct View {
    looked: Option<Instant>,
    /// Packets its tracks should have brought and did bring, and packets it was sent, up to the last look.
    counted: (u64, u64, u64),
    word: Steady<Word>,
    score: f32,
    receives: Steady<String>,
    incidents: Incidents,
    /// Pictures sent to it of each track, up to the last look.
    pictures: BTreeMap<usize, u32>,
    /// The session that was told everything.
    greeted: Option<SessionId>,
}

impl Truth {
    /// When the room is to be looked at.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }
}

impl Shard {
    /// Something flows on a link: its room is looked at from now on.
    pub(super) fn look_soon(&mut self, link: usize, now: Instant) {
        let Some(room) = self.links.get(link).map(|state| state.room) else { return };
        let Some(state) = self.rooms.get_mut(room).filter(|state| state.truth.next.is_none()) else { return };
        (state.truth.next, state.truth.idle) = (Some(now + LOOK / 2), 0);
        self.check_room(room, now);
    }

    /// Looks at a room when it is time, and tells what has changed.
    pub(super) fn poll_truth(&mut self, room: usize, now: Now) {
        let Some(state) = self.rooms.get_mut(room).filter(|state| state.truth.next.is_some_and(|at| at <= now.mono)) else {
            return;
        };
        let mut views = std::mem::take(&mut state.truth.views);
        let consultation = state.rules.is_consultation();
        let members: Vec<(MemberId, usize)> = state.links.iter().map(|(member, link)| (*member, *link)).collect();
        views.retain(|member, _| members.iter().any(|(present, _)| present == member));
        let (mut changed, mut received, mut facts, mut flows) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (member, link) in &members {
            if self.links.get(self.primary(*link)).is_none_or(|state| state.timing.connected_at.is_none()) {
                continue;
            }
            let view = views.entry(*member).or_default();
            let (word_changed, flowed) = self.measure(*link, view, now.mono);
            changed.extend(word_changed.then_some(*member));
            flows |= flowed;
            let what = if consultation { self.received_by(*link, view, now.mono) } else { String::new() };
            if consultation {
                facts.extend(self.happened(room, (*member, *link), view, now.mono));
            }
            view.looked = Some(now.mono);
            if view.receives.see(what, |_, _| LASTING)
                && let Some(what) = view.receives.shown()
            {
                received.push((*member, what.as_str().into()));
            }
        }
        self.tell_words(room, &mut views, &changed);
        if let Some(state) = self.rooms.get_mut(room) {
            let idle = if flows { 0 } else { state.truth.idle.saturating_add(1) };
            state.truth = Truth { next: (idle < IDLE_LOOKS).then_some(now.mono + LOOK), idle, views };
        }
        for fact in facts {
            self.record(room, fact, None, now);
        }
        for (member, what) in received.into_iter().filter(|_| consultation) {
            // A member who has gone meanwhile receives nothing.
            let _ = self.apply(room, rules::Command::Receives { member, what }, now);
        }
    }

    /// What began and what is over for a member of a consultation.
    fn happened(&self, room: usize, (member, link): (MemberId, usize), view: &mut View, now: Instant) -> Vec<Fact> {
        let seen = self.rooms.get(room).and_then(|room| self.trouble(room, member, link, view.word.shown().copied(), now));
        let seen = seen.zip(self.links.get(link).map(|link| &link.identity));
        seen.map(|(seen, seat)| view.incidents.look(seat, &seen, now)).unwrap_or_default()
    }

    /// Judges a member's line. Whether its word changed, and whether anything flowed.
    fn measure(&mut self, link: usize, view: &mut View, now: Instant) -> (bool, bool) {
        let down = self.receiving(link);
        let (Some(up), Some(receiving)) = (self.links.get(link), self.links.get(down)) else { return (false, false) };
        let (mut expected, mut arrived) = (0, 0);
        for stream in up.published().filter_map(|track| self.tracks.get(track)).flat_map(|track| &track.layers) {
            let (should, did) = stream.stream.as_ref().map_or((0, 0), |stream| stream.arrived());
            (expected, arrived) = (expected + should, arrived + did);
        }
        let routes = self.routes_to(down);
        let (mut sent, mut reported, mut smaller, mut paused) = (0, 0.0_f32, false, false);
        for (track, route) in routes {
            let Some(out) = &route.out else { continue };
            sent += u64::from(out.stats.packets());
            reported = reported.max(out.stats.reception().map_or(0.0, |reception| reception.fraction_lost));
            let held = route.choice.held();
            let less = route.choice.cap() != Cap::Free && held.is_some() && held < route.choice.wanted(&track.set);
            smaller |= less && !track.muted;
            paused |= route.choice.cap() == Cap::Pause && !track.muted && route.choice.wanted(&track.set).is_some();
        }
        let figures = receiving.line.as_ref().filter(|line| line.is_heard()).map(|line| line.estimator.figures(now));
        let since = |before: u64, now: u64| now.saturating_sub(before);
        let (before, first) = (view.counted, view.looked.is_none());
        let (should, did) = (since(before.0, expected), since(before.1, arrived));
        let known = !first && should >= FEW_PACKETS;
        let last_heard = up.peer.last_heard().max(receiving.peer.last_heard());
        let measured = Measured {
            loss_up: if known { 1.0 - (did as f64 / should as f64).min(1.0) } else { 0.0 },
            loss_down: figures.as_ref().map_or_else(|| f64::from(reported), |figures| figures.loss),
            rtt: up.rtt.max(receiving.rtt),
            smaller,
            paused,
            silent: last_heard.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
        };
        if let Some(kbps) = figures.filter(|_| sent != before.2).map(|figures| figures.estimate.bps() / 1_000) {
            self.counters.estimate(kbps);
        }
        let (word, score) = judge(&measured);
        view.score = score as f32;
        view.counted = (expected, arrived, sent);
        (view.word.see(word, patience), first || (expected, sent) != (before.0, before.2))
    }

    /// Everything on its way to a link.
    pub(super) fn routes_to(&self, link: usize) -> impl Iterator<Item = (&Track, &RouteState)> {
        let sent = self.links.get(link).map(|state| state.outbound.as_slice()).unwrap_or_default();
        sent.iter().filter_map(move |sent| {
            let track = self.tracks.get(sent.track)?;
            Some((track, track.routes.iter().find(|route| route.receiver == link)?))
        })
    }

    /// What of the others' tracks reaches a member, in words.
    fn received_by(&self, link: usize, view: &mut View, now: Instant) -> String {
        let down = self.receiving(link);
        let Some(state) = self.links.get(down) else { return String::new() };
        let since = view.looked.map(|at| now.saturating_duration_since(at).as_secs_f64());
        let mut pictures = BTreeMap::new();
        let mut entries = Vec::new();
        for sent in state.outbound.iter().take(MOST_TRACKS) {
            let Some(track) = self.tracks.get(sent.track) else { continue };
            let Some(route) = track.routes.iter().find(|route| route.receiver == down) else { continue };
            let count = route.guardian.pictures();
            pictures.insert(sent.track, count);
            let rate = since.zip(view.pictures.get(&sent.track)).map(|(s, before)| f64::from(count.wrapping_sub(*before)) / s);
            let what = if track.is_video() { self.shown(track, route, rate, now) } else { heard(track, route, state, now) };
            entries.extend(what.map(|what| format!("{}={what}", track.sid.as_str())));
        }
        view.pictures = pictures;
        entries.sort_unstable();
        entries.join(" ")
    }

    /// What of a picture reaches its receiver; nothing where none is sent or none is wished for.
    fn shown(&self, track: &Track, route: &RouteState, rate: Option<f64>, now: Instant) -> Option<String> {
        let wanted = route.choice.wanted(&track.set)?;
        if track.muted || track.live_layers(now) == 0 {
            return None;
        }
        let whole = || {
            let (_, record) = self.rooms.get(track.room)?.rules.track(&track.sid)?;
            Some(record.width.min(record.height))
        };
        let lines = |layer: u8| track.set.lines(layer).or_else(whole).unwrap_or_default();
        if route.choice.cap() == Cap::Pause {
            return Some(format!("0/{}", lines(wanted)));
        }
        if route.guardian.still_for(now).is_some_and(|still| still >= STILL) {
            return Some("still".to_owned());
        }
        let layer = if track.set.is_scalable() { route.choice.held()? } else { route.route.current()? };
        let less = if layer < wanted { format!("/{}", lines(wanted)) } else { String::new() };
        let slow = rate.filter(|rate| *rate < FLUENT && track.class != Class::Screen);
        let slow = slow.map_or(String::new(), |rate| format!("@{}", coarse(rate)));
        Some(format!("{}{less}{slow}", lines(layer)))
    }

    /// Tells the members whose word has changed, and newcomers everybody's.
    fn tell_words(&mut self, room: usize, views: &mut BTreeMap<MemberId, View>, changed: &[MemberId]) {
        let Some(state) = self.rooms.get(room) else { return };
        let words: Vec<(MemberId, LineQuality)> =
            views.iter().filter_map(|(member, view)| Some((*member, view.word(state, *member)?))).collect();
        let crowded = state.links.len() > MOST_MEMBERS;
        for (viewer, link) in &state.links {
            let Some((session, listens)) = self.links.get(*link).map(|link| (link.session, link.events.is_some())) else {
                continue;
            };
            let Some(view) = views.get_mut(viewer).filter(|_| listens) else { continue };
            let new = view.greeted.replace(session) != Some(session);
            let due = |member: MemberId| (new || changed.contains(&member)) && (member == *viewer || !crowded);
            let due = |member: MemberId| due(member) && state.rules.shows(*viewer, member);
            let news: Vec<LineQuality> = words.iter().filter(|(member, _)| due(*member)).map(|(_, word)| word.clone()).collect();
            if let Some(link) = self.links.get_mut(*link).filter(|_| !news.is_empty()) {
                link.tell(Event::Quality(news));
            }
        }
    }
}

impl View {
    fn word(&self, room: &RoomState, member: MemberId) -> Option<LineQuality> {
        let participant = room.rules.record(member)?.sid.clone();
        let grade = match self.word.shown()? {
            Word::Lost => Grade::Lost,
            Word::Poor => Grade::Poor,
            Word::Good => Grade::Good,
            Word::Excellent => Grade::Excellent,
        };
        Some(LineQuality { participant, grade, score: self.score })
    }
}

/// How a voice reaches its receiver; nothing while it is silent.
fn heard(track: &Track, route: &RouteState, receiver: &Link, now: Instant) -> Option<String> {
    let out = route.out.as_ref().filter(|_| !track.muted && track.live_layers(now) != 0)?;
    let redundant = route.generations(receiver.bears_redundancy()) > 0;
    let lost = out.stats.reception().map_or(0.0, |reception| reception.fraction_lost);
    let gaps = lost > if redundant { GAPS.1 } else { GAPS.0 };
    Some(if gaps { "gaps" } else { "clear" }.to_owned())
}

/// Pictures a second in steps that a glance can tell apart.
fn coarse(rate: f64) -> u8 {
    match rate {
        rate if rate < 1.0 => 0,
        rate if rate < 2.5 => 2,
        rate if rate < 6.0 => 5,
        _ => 8,
    }
}
