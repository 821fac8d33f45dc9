//! Who is speaking in a room, from the audio levels of RTP headers (RFC 6464).
//!
//! It never hears sound. Entry points: [`SpeakerDetector::on_level`] for each audio packet, [`SpeakerDetector::poll`]
//! for what changed, [`SpeakerDetector::next_deadline`] for when to come back: never while the room is silent.

use super::ahead;
use crate::model::Instant;
use std::time::Duration;

/// Sources watched; those beyond are not heard of. Larger rooms are webinars whose audience publishes nothing.
pub const MAX_SOURCES: usize = 128;

/// Time between two polls.
const WINDOW: Duration = Duration::from_millis(400);

/// A packet is loud above -35 dBov; the level on the wire is the negative of it.
const QUIET: u8 = 35;

/// A source speaks while more than this share of its packets is loud, taken over two windows.
const ACTIVE_SHARE: f32 = 0.4;

/// Steps of the reported level.
const STEPS: f32 = 8.0;

/// A source whose state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeakerChange {
    /// The source, as named by the caller.
    pub id: u32,
    /// Its level in eighths, 1 to 8; 0 once it has stopped.
    pub eighths: u8,
}

impl SpeakerChange {
    /// Whether the source speaks.
    #[must_use]
    pub fn active(self) -> bool {
        self.eighths > 0
    }

    /// Level from 0 to 1, linear in dB: 0 at -35 dBov, 1 at full scale.
    #[must_use]
    pub fn level(self) -> f32 {
        f32::from(self.eighths) / STEPS
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Share of loud packets.
    share: f32,
    /// Mean of the packets' levels, 0 to 1.
    level: f32,
}

#[derive(Debug)]
struct Source {
    id: u32,
    packets: u32,
    loud: u32,
    /// Sum of dB above the threshold over the loud packets.
    above: u32,
    /// Whether it ever marked a packet as voice: some senders never do, and are then judged by level alone.
    marks_voice: bool,
    before: Window,
    /// Eighths reported last.
    reported: u8,
}

impl Source {
    fn new(id: u32) -> Self {
        Self { id, packets: 0, loud: 0, above: 0, marks_voice: false, before: Window::default(), reported: 0 }
    }

    /// Ends the window and returns the smoothed level in eighths.
    fn end_window(&mut self) -> u8 {
        let packets = self.packets.max(1) as f32;
        let window = Window { share: self.loud as f32 / packets, level: self.above as f32 / packets / f32::from(QUIET) };
        let before = std::mem::replace(&mut self.before, window);
        (self.packets, self.loud, self.above) = (0, 0, 0);
        if (window.share + before.share) / 2.0 <= ACTIVE_SHARE {
            return 0;
        }
        let level = (window.level + before.level) / 2.0;
        (level * STEPS).ceil().clamp(1.0, STEPS) as u8
    }

    fn is_silent(&self) -> bool {
        self.reported == 0 && self.before.share == 0.0
    }
}

/// The audio sources of one room.
#[derive(Debug, Default)]
pub struct SpeakerDetector {
    /// Ascending by id; at most [`MAX_SOURCES`].
    sources: Vec<Source>,
    /// The result of a poll, kept for its memory.
    changes: Vec<SpeakerChange>,
    /// End of the running window; none in silence.
    window_end: Option<Instant>,
}

impl SpeakerDetector {
    /// Takes note of a packet's level: `level` is -dBov, 0 (loudest) to 127, `voice` its V bit.
    pub fn on_level(&mut self, id: u32, level: u8, voice: bool, now: Instant) {
        let index = match self.sources.binary_search_by_key(&id, |source| source.id) {
            Ok(index) => index,
            Err(_) if self.sources.len() >= MAX_SOURCES => return,
            Err(index) => {
                self.sources.insert(index, Source::new(id));
                index
            }
        };
        let Some(source) = self.sources.get_mut(index) else { return };
        source.marks_voice |= voice;
        let loud = level < QUIET && (voice || !source.marks_voice);
        if self.window_end.is_none() {
            if !loud {
                return;
            }
            self.window_end = Some(now + WINDOW);
        }
        source.packets = source.packets.saturating_add(1);
        if loud {
            source.loud = source.loud.saturating_add(1);
            source.above = source.above.saturating_add(u32::from(QUIET - level));
        }
    }

    /// Asks for the memory a packet's level goes to.
    pub fn warm(&self) {
        /// Those of six people.
        const LINES: usize = 4;
        ahead::fetch_slice(&self.sources, LINES);
    }

    /// Ends the window when its time has come; what changed since the last report, loudest first.
    pub fn poll(&mut self, now: Instant) -> Option<&[SpeakerChange]> {
        self.window_end.filter(|end| *end <= now)?;
        self.changes.clear();
        for source in &mut self.sources {
            let eighths = source.end_window();
            if eighths != source.reported {
                source.reported = eighths;
                self.changes.push(SpeakerChange { id: source.id, eighths });
            }
        }
        self.changes.sort_unstable_by_key(|change| (std::cmp::Reverse(change.eighths), change.id));
        let silent = self.sources.iter().all(Source::is_silent);
        // From now, not from the old end: a window shortened by a late poll would hold too few packets to judge.
        self.window_end = (!silent).then(|| now + WINDOW);
        (!self.changes.is_empty()).then_some(self.changes.as_slice())
    }

    /// Forgets a source that left or was muted; whether it was speaking, so that the caller can say it stopped.
    pub fn remove(&mut self, id: u32) -> bool {
        let Ok(index) = self.sources.binary_search_by_key(&id, |source| source.id) else { return false };
        let spoke = self.sources.remove(index).reported > 0;
        if self.sources.is_empty() {
            self.window_end = None;
        }
        spoke
    }

    /// Sources that speak, with their level, as last reported; for someone who joins.
    pub fn speakers(&self) -> impl Iterator<Item = SpeakerChange> {
        let speaking = self.sources.iter().filter(|source| source.reported > 0);
        speaking.map(|source| SpeakerChange { id: source.id, eighths: source.reported })
    }

    /// When [`poll`](Self::poll) has something to do; never while nobody is loud and nothing is to be taken back.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.window_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays one window of 20 packets, `loud` of them at -20 dBov, and polls at its end.
    fn window(detector: &mut SpeakerDetector, id: u32, loud: u32, start: Instant) -> Vec<SpeakerChange> {
        for n in 0..20 {
            detector.on_level(id, if n < loud { 20 } else { 90 }, n < loud, start + Duration::from_millis(20) * n);
        }
        detector.poll(start + WINDOW).map(<[_]>::to_vec).unwrap_or_default()
    }

    #[test]
    fn a_silent_room_never_wakes() {
        let t0 = Instant::now();
        let mut detector = SpeakerDetector::default();
        assert_eq!(detector.next_deadline(), None);
        assert_eq!(window(&mut detector, 1, 0, t0), []);
        assert_eq!(detector.next_deadline(), None);
    }

    #[test]
    fn speech_is_reported_once_and_taken_back_once() {
        let t0 = Instant::now();
        let mut detector = SpeakerDetector::default();
        let at = |n: u32| t0 + WINDOW * n;
        let first = window(&mut detector, 1, 20, at(0));
        assert_eq!(first, [SpeakerChange { id: 1, eighths: 2 }], "15 dB over two windows");
        assert_eq!(window(&mut detector, 1, 20, at(1)), [SpeakerChange { id: 1, eighths: 4 }], "15 of 35 dB");
        assert_eq!(window(&mut detector, 1, 20, at(2)), [], "nothing changed");
        assert_eq!(detector.speakers().collect::<Vec<_>>(), [SpeakerChange { id: 1, eighths: 4 }]);
        assert_eq!(window(&mut detector, 1, 0, at(3)), [SpeakerChange { id: 1, eighths: 2 }], "smoothed over two windows");
        let stopped = window(&mut detector, 1, 0, at(4));
        assert_eq!(stopped, [SpeakerChange { id: 1, eighths: 0 }]);
        assert!(!stopped[0].active() && stopped[0].level() == 0.0);
        assert_eq!(detector.next_deadline(), None, "asleep again");
    }

    #[test]
    fn a_cough_is_not_speech_and_the_detector_sleeps_again() {
        let t0 = Instant::now();
        let mut detector = SpeakerDetector::default();
        assert_eq!(window(&mut detector, 1, 16, t0), [], "80 % of one window and none of the other is not more than 40 %");
        assert_eq!(detector.next_deadline(), Some(t0 + WINDOW * 2));
        assert_eq!(window(&mut detector, 1, 0, t0 + WINDOW), []);
        assert_eq!(detector.next_deadline(), None);
    }

    #[test]
    fn more_than_the_share_is_speech() {
        let mut detector = SpeakerDetector::default();
        assert_eq!(window(&mut detector, 1, 17, Instant::now()).len(), 1);
    }

    #[test]
    fn a_source_that_vanishes_stops_speaking() {
        let t0 = Instant::now();
        let mut detector = SpeakerDetector::default();
        window(&mut detector, 1, 20, t0);
        window(&mut detector, 1, 20, t0 + WINDOW);
        assert!(detector.poll(t0 + WINDOW * 3).is_some(), "level falls");
        let changes = detector.poll(t0 + WINDOW * 4).unwrap();
        assert_eq!(changes, [SpeakerChange { id: 1, eighths: 0 }]);
        assert_eq!(detector.next_deadline(), None);
    }

    #[test]
    fn loud_without_voice_counts_only_from_senders_that_never_mark_voice() {
        let t0 = Instant::now();
        let mut detector = SpeakerDetector::default();
        detector.on_level(2, 100, true, t0);
        for n in 0..20 {
            detector.on_level(1, 10, false, t0 + Duration::from_millis(20) * n);
            detector.on_level(2, 10, false, t0 + Duration::from_millis(20) * n);
        }
        let changes = detector.poll(t0 + WINDOW).unwrap();
        assert_eq!(changes.iter().map(|change| change.id).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn sources_are_bounded_removable_and_sorted_by_level() {
        let t0 = Instant::now();
        let mut detector = SpeakerDetector::default();
        for id in 0..200 {
            detector.on_level(id, if id == 5 { 0 } else { 30 }, true, t0);
        }
        let changes = detector.poll(t0 + WINDOW).unwrap();
        assert_eq!(changes.len(), MAX_SOURCES);
        assert_eq!(changes[0], SpeakerChange { id: 5, eighths: 4 });
        assert!(detector.remove(5));
        assert!(!detector.remove(5));
        for id in 0..200 {
            detector.remove(id);
        }
        assert_eq!(detector.next_deadline(), None);
    }
}
