//! Which layer of each track a receiver's line can carry.
//!
//! One budget for all tracks of a receiver: voice > instrument > screen > active face > other faces > thumbnails. Voice is
//! counted off first and never paused. Then everything shown gets its lowest worthwhile layer in order of priority, or a
//! pause where even that does not fit; what is left raises the tracks, again in order. Down at once; up only with room to
//! spare that lasts or was probed, and after a fall not for a while. It never switches anything: the route does, at a key
//! frame. The same input always gives the same choice.
//!
//! Entry point: [`Allocator::allocate`].

mod ladder;

#[cfg(test)]
mod tests;

use crate::model::Instant;
use std::time::Duration;

use self::ladder::{Ladder, Step};
use super::bwe::{DATAGRAM_OVERHEAD, Need};
use super::rate::Bitrate;

/// Layers of a track: three spatial ones with four temporal ones each.
pub const MAX_STEPS: usize = 12;
/// Tracks of a receiver: sound and picture of a hundred people, and some screens. Further ones get nothing.
pub const MAX_TRACKS: usize = 256;

/// A step up needs this much more than it costs: bitrates of encoders swing by about as much.
const HEADROOM: f64 = 1.15;
/// How long there must be room, where it was not probed.
const SUSTAINED: Duration = Duration::from_secs(2);
/// After a step down nothing goes up for this long; doubled when it had just gone up.
const DWELL: Duration = Duration::from_secs(3);
const LONGEST_DWELL: Duration = Duration::from_secs(30);
/// A step down so soon after one up was a step too far.
const TOO_FAR: Duration = Duration::from_secs(10);

/// What a track is to the consultation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Sound: never paused.
    Voice,
    /// The picture of a medical instrument.
    Instrument,
    /// A shared screen.
    Screen,
    /// Who speaks, or is pinned.
    ActiveFace,
    /// Another face.
    Face,
    /// A small picture at the side.
    Thumbnail,
}

impl Class {
    /// Its place in the usual order, 0 first; tenants may reorder all but voice.
    #[must_use]
    pub fn priority(self) -> u8 {
        self as u8
    }
}

/// What to give up last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Favour {
    /// Frames: a face.
    Motion,
    /// Pixels: a screen, an image.
    Detail,
}

/// One layer of a track as measured, or as announced while nobody receives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Simulcast stream or spatial layer, 0 lowest.
    pub spatial: u8,
    /// Temporal layer, 0 lowest.
    pub temporal: u8,
    /// All that is sent to show it, as UDP payload: with SVC the layers below too. Averaged over a second or more; nothing
    /// for a layer that is not sent.
    pub bitrate: Bitrate,
    /// Packets a second, whose headers are added.
    pub packets: u16,
}

impl Layer {
    /// What it takes of the line.
    #[must_use]
    pub fn cost(&self) -> Bitrate {
        self.bitrate + Bitrate::from_bps(u64::from(self.packets) * DATAGRAM_OVERHEAD as u64 * 8)
    }
}

/// One track a receiver is subscribed to.
#[derive(Clone, Copy, Debug)]
pub struct Track<'a> {
    /// The caller's name for it.
    pub key: u32,
    /// What it is.
    pub class: Class,
    /// Its place, 0 first; ties go by the order of the tracks.
    pub priority: u8,
    /// What to give up last.
    pub favour: Favour,
    /// Its layers, at most [`MAX_STEPS`].
    pub layers: &'a [Layer],
    /// The highest spatial layer of use to the viewer; `None` while it is not shown.
    pub wanted: Option<u8>,
    /// The lowest spatial layer that is worth sending: an instrument's picture that is too coarse misleads.
    pub floor: u8,
    /// Whether it may be paused; otherwise its lowest layer goes out whatever the line bears.
    pub pausable: bool,
}

/// The budget of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What may be sent now.
    pub rate: Bitrate,
    /// It was shown to pass by a probe of late, so a step up need not wait.
    pub probed: bool,
}

/// What one track gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The caller's name for the track.
    pub key: u32,
    /// Spatial and temporal layer, or nothing.
    pub layer: Option<(u8, u8)>,
    /// It is shown and sent, but the line does not bear it.
    pub paused: bool,
    /// The layer is another than before.
    pub changed: bool,
    /// `paused` is another than before: the receiver is to be told.
    pub state_changed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    priority: u8,
    voice: bool,
    pausable: bool,
    wanted: Option<u8>,
    ladder: Ladder,
    /// What it had after the round before.
    held: Option<Step>,
    was_paused: bool,
    /// It was not there the round before.
    fresh: bool,
    /// Level before this round on the present ladder, and as planned.
    before: Option<u8>,
    plan: Option<u8>,
    kept: Option<u8>,
    present: bool,
}

/// How far a plan may raise tracks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// As far as wanted.
    Free,
    /// No further than before; new tracks start at the bottom.
    Before,
}

/// Allocates one receiver's budget.
#[derive(Debug, Default)]
pub struct Allocator {
    entries: Vec<Entry>,
    /// Indices of `entries` in order of priority.
    order: Vec<u16>,
    choices: Vec<Choice>,
    total: Bitrate,
    need: Need,
    room_since: Option<Instant>,
    hold_until: Option<Instant>,
    dwell: Duration,
    last_up: Option<Instant>,
}

impl Allocator {
    /// Chooses a layer or a pause for each track; the choices are in the order of the tracks. To be called a few times a
    /// second, and at once when the budget falls or a wish changes.
    pub fn allocate<'a>(&mut self, tracks: impl IntoIterator<Item = Track<'a>>, budget: Budget, now: Instant) -> &[Choice] {
        let changed = self.refresh(tracks);
        self.plan(budget.rate, Reach::Before);
        let fell = self.entries.iter().any(|entry| entry.plan < entry.before);
        if fell {
            self.on_fall(now);
        }
        for entry in &mut self.entries {
            entry.kept = entry.plan;
        }
        self.plan(budget.rate.scale(1.0 / HEADROOM), Reach::Free);
        let better = self.is_better();
        let held = self.hold_until.is_some_and(|until| now < until);
        let room_since = if better { *self.room_since.get_or_insert(now) } else { now };
        let sustained = now.saturating_duration_since(room_since) >= SUSTAINED;
        if better && !held && (budget.probed || changed || sustained) {
            // What is new was not a step too far when the line falls.
            self.last_up = if changed { self.last_up } else { Some(now) };
            self.room_since = None;
        } else {
            for entry in &mut self.entries {
                entry.plan = entry.kept;
            }
            if !better {
                self.room_since = None;
            }
        }
        self.settle();
        &self.choices
    }

    /// Nothing is held against the line any more: the next step up need not wait for the last fall to be over.
    pub fn forget_falls(&mut self) {
        (self.hold_until, self.last_up) = (None, None);
    }

    /// The choices of the last round.
    #[must_use]
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// What the choices of the last round take of the line.
    #[must_use]
    pub fn total(&self) -> Bitrate {
        self.total
    }

    /// The budgets that would bring the next step and everything wanted; for [`super::bwe::Estimator::set_need`].
    #[must_use]
    pub fn need(&self) -> Need {
        self.need
    }

    /// When a step up that waits may be taken.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let since = self.room_since?;
        Some(self.hold_until.map_or(since + SUSTAINED, |until| until.max(since + SUSTAINED)))
    }

    /// Takes the tracks over, keeping what each had. Answers whether something else is wanted than before.
    fn refresh<'a>(&mut self, tracks: impl IntoIterator<Item = Track<'a>>) -> bool {
        let mut changed = false;
        let mut count = 0;
        for entry in &mut self.entries {
            entry.present = false;
        }
        for (index, track) in tracks.into_iter().take(MAX_TRACKS).enumerate() {
            count = index + 1;
            // The caller's order seldom changes.
            let same = |entry: &Entry| !entry.present && entry.key == track.key;
            let found = self.entries.iter().skip(index).position(same).map(|offset| index + offset);
            match found {
                Some(found) => self.entries.swap(index, found),
                None => {
                    self.entries.push(Entry::new(track.key));
                    let last = self.entries.len() - 1;
                    self.entries.swap(index, last);
                }
            }
            if let Some(entry) = self.entries.get_mut(index) {
                changed |= entry.take(&track);
            }
        }
        changed |= self.entries.iter().any(|entry| !entry.present);
        self.entries.truncate(count);
        self.order.clear();
        self.order.extend(0..self.entries.len() as u16);
        let entries = &self.entries;
        let priority = |index: &u16| entries.get(usize::from(*index)).map_or(u8::MAX, |entry| entry.priority);
        self.order.sort_unstable_by_key(|index| (priority(index), *index));
        changed
    }

    /// Plans for a budget: the lowest layers in order of priority, then steps up in the same order.
    fn plan(&mut self, budget: Bitrate, reach: Reach) {
        let forced: Bitrate = self.entries.iter().filter(|entry| entry.forced()).map(Entry::lowest).sum();
        let mut left = budget - forced;
        let Self { entries, order, .. } = self;
        for index in order.iter() {
            let Some(entry) = entries.get_mut(usize::from(*index)) else { continue };
            let allowed = entry.ladder.top().is_some() && (reach == Reach::Free || entry.fresh || entry.before.is_some());
            let fits = entry.lowest() <= left;
            entry.plan = (entry.forced() || allowed && fits).then_some(0).filter(|_| entry.ladder.top().is_some());
            if !entry.forced() && entry.plan.is_some() {
                left = left - entry.lowest();
            }
        }
        for index in order.iter() {
            let Some(entry) = entries.get_mut(usize::from(*index)).filter(|entry| entry.plan.is_some()) else { continue };
            let most = if reach == Reach::Free { entry.ladder.top() } else { entry.before.or(Some(0)) };
            let most = if entry.voice { entry.ladder.top() } else { most };
            let level = entry.ladder.level_within(entry.lowest() + left).max(Some(0)).min(most);
            left = left - (entry.ladder.cost(level) - entry.lowest());
            entry.plan = level;
        }
    }

    /// Whether the plan serves more, in order of priority, than what is kept: first by who is seen at all, then by how well.
    fn is_better(&self) -> bool {
        let pairs = || self.order.iter().filter_map(|index| self.entries.get(usize::from(*index))).map(|e| (e.plan, e.kept));
        let seen = pairs().map(|(plan, _)| plan.is_some()).cmp(pairs().map(|(_, kept)| kept.is_some()));
        seen.then(pairs().map(|(plan, _)| plan).cmp(pairs().map(|(_, kept)| kept))).is_gt()
    }

    fn on_fall(&mut self, now: Instant) {
        let too_far = self.last_up.is_some_and(|up| now.saturating_duration_since(up) < TOO_FAR);
        let held = self.hold_until.is_some_and(|until| now < until);
        self.dwell = match (held, too_far) {
            // Further steps of one fall are not held against it.
            (true, _) => self.dwell.max(DWELL),
            (false, true) => (self.dwell * 2).clamp(DWELL * 2, LONGEST_DWELL),
            (false, false) => DWELL,
        };
        self.hold_until = Some(now + self.dwell);
        self.room_since = None;
    }

    /// Writes the choices and what they take and lack.
    fn settle(&mut self) {
        self.choices.clear();
        self.total = Bitrate::ZERO;
        for entry in &mut self.entries {
            self.total = self.total + entry.ladder.cost(entry.plan);
            let step = entry.plan.and_then(|level| entry.ladder.steps().get(usize::from(level))).copied();
            let layer = |step: Option<Step>| step.map(|step| (step.spatial, step.temporal));
            let paused = step.is_none() && entry.ladder.top().is_some();
            self.choices.push(Choice {
                key: entry.key,
                layer: layer(step),
                paused,
                changed: layer(step) != layer(entry.held),
                state_changed: paused != entry.was_paused,
            });
            (entry.held, entry.was_paused, entry.fresh) = (step, paused, false);
        }
        self.need = self.lacking();
    }

    /// The least budget that brings a step, and the one that brings all.
    fn lacking(&self) -> Need {
        let all: Bitrate = self.entries.iter().map(|entry| entry.ladder.cost(entry.ladder.top())).sum();
        let served = self.entries.iter().filter(|entry| entry.plan.is_some());
        let lowest: Bitrate = served.map(Entry::lowest).sum();
        let mut next = all;
        let mut raised = Bitrate::ZERO;
        for entry in self.order.iter().filter_map(|index| self.entries.get(usize::from(*index))) {
            if entry.plan >= entry.ladder.top() {
                raised = raised + (entry.ladder.cost(entry.plan) - entry.lowest());
                continue;
            }
            let cost = match entry.plan {
                None => lowest + entry.lowest(),
                Some(level) => lowest + raised + (entry.ladder.cost(Some(level + 1)) - entry.lowest()),
            };
            next = next.min(cost);
            if entry.plan.is_some() {
                raised = raised + (entry.ladder.cost(entry.plan) - entry.lowest());
            }
        }
        // A little more than the headroom, which is divided off with rounding.
        let with_headroom = |rate: Bitrate| rate.scale(HEADROOM * 1.001) + Bitrate::from_bps(2);
        Need { next: with_headroom(next), all: with_headroom(all) }
    }
}

impl Entry {
    fn new(key: u32) -> Self {
        Self {
            key,
            priority: 0,
            voice: false,
            pausable: true,
            wanted: None,
            ladder: Ladder::default(),
            held: None,
            was_paused: false,
            fresh: true,
            before: None,
            plan: None,
            kept: None,
            present: false,
        }
    }

    /// Takes a track's state over; answers whether something else is wanted.
    fn take(&mut self, track: &Track<'_>) -> bool {
        self.present = true;
        self.voice = track.class == Class::Voice;
        // Nothing goes before voice, whatever the tenant's order.
        let priority = if self.voice { 0 } else { track.priority.max(1) };
        let changed = self.fresh || self.priority != priority || self.wanted != track.wanted;
        // What was hidden and is shown again starts like a new track.
        self.fresh |= self.wanted.is_none() && track.wanted.is_some();
        (self.priority, self.wanted, self.pausable) = (priority, track.wanted, track.pausable);
        self.ladder = Ladder::new(track);
        self.before = self.held.and_then(|step| self.ladder.level_of(step));
        changed
    }

    /// Goes out whatever the line bears.
    fn forced(&self) -> bool {
        self.voice || !self.pausable
    }

    fn lowest(&self) -> Bitrate {
        self.ladder.cost(Some(0))
    }
}
