//! Which frames of a layered stream go out: temporal layers (VP8, VP9), spatial ones (VP9), decode targets (dependency descriptor).
//!
//! Whole frames only. Down at the next frame that allows it; up where everything a frame refers to has gone out, and otherwise at a
//! key frame, which is then asked for.

use super::Incoming;
use crate::media::codec::dependency::{Dependencies, Indication};
use crate::media::codec::{Facts, MAX_SPATIAL};

/// Frames left out by choice that are remembered, for packets of theirs that come late: half a second at 30 frames/s.
const DROPPED_FRAMES: usize = 16;

/// Leaves out the frames of higher layers.
#[derive(Debug)]
pub(super) struct Filter {
    wanted: (u8, u8),
    /// The highest temporal layer that goes out now.
    temporal: u8,
    /// The highest spatial layer that goes out now, where the payload descriptor names one.
    spatial: u8,
    /// The newest frame, and whether it is left out.
    frame: Option<(u32, bool)>,
    /// Apart, since most streams leave nothing out and every packet reads the rest; there from the first frame left out.
    left_out: Option<Box<LeftOut>>,
    targets: Targets,
    needs_key_frame: bool,
}

/// The last frames left out, as a ring.
#[derive(Debug, Default)]
struct LeftOut {
    frames: [Option<u32>; DROPPED_FRAMES],
    next: usize,
}

/// What goes out of a stream with dependency descriptors.
#[derive(Clone, Copy, Debug, Default)]
struct Targets {
    /// The decode target that goes out; none before the first descriptor.
    now: Option<u8>,
    /// The newest frame number.
    newest: u16,
    /// Which frames went out: bit n stands for the one n before the newest.
    sent: u64,
}

impl LeftOut {
    fn push(&mut self, name: u32) {
        if let Some(slot) = self.frames.get_mut(self.next) {
            *slot = Some(name);
        }
        self.next = (self.next + 1) % DROPPED_FRAMES;
    }
}

pub(super) enum Admission {
    Take {
        /// The packet is the last of its picture, as far as the picture goes out.
        ends_picture: bool,
        /// Decode targets the receiver can still decode and how many there are, where that is to be said.
        targets: Option<(u8, u16)>,
    },
    Leave {
        new_frame: bool,
    },
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            wanted: (u8::MAX, u8::MAX),
            temporal: u8::MAX,
            spatial: u8::MAX,
            frame: None,
            left_out: None,
            targets: Targets::default(),
            needs_key_frame: false,
        }
    }
}

/// Names a frame: by its number where it has one, otherwise by its time and spatial layer.
fn name(packet: &Incoming<'_>) -> u32 {
    match &packet.facts.dependencies {
        Some(dependencies) => u32::from(dependencies.frame),
        None => packet.timestamp << 2 | u32::from(packet.facts.spatial.unwrap_or(0).min(MAX_SPATIAL - 1)),
    }
}

impl Filter {
    pub(super) fn set_wanted(&mut self, spatial: u8, temporal: u8) {
        self.wanted = (spatial, temporal);
        if self.targets.now.is_none() && spatial <= self.spatial {
            self.needs_key_frame = false;
        }
    }

    /// Whether the wanted layers can only be had behind a key frame.
    pub(super) fn needs_key_frame(&self) -> bool {
        self.needs_key_frame
    }

    pub(super) fn begin(&mut self) {
        (self.spatial, self.temporal) = self.wanted;
        self.frame = None;
        if let Some(left_out) = &mut self.left_out {
            **left_out = LeftOut::default();
        }
        self.targets = Targets::default();
        self.needs_key_frame = false;
    }

    pub(super) fn admit(&mut self, packet: &Incoming<'_>) -> Admission {
        let name = name(packet);
        if let Some((newest, left_out)) = self.frame
            && newest == name
        {
            return if left_out { Admission::Leave { new_frame: false } } else { self.take(packet.facts) };
        }
        let left_out = match &packet.facts.dependencies {
            Some(dependencies) => !self.admit_described(packet.facts, dependencies),
            None => !self.admit_layers(packet),
        };
        self.frame = Some((name, left_out));
        if !left_out {
            return self.take(packet.facts);
        }
        self.left_out.get_or_insert_default().push(name);
        Admission::Leave { new_frame: true }
    }

    /// Whether a late packet belongs to a frame that is not sent.
    pub(super) fn has_left_out(&self, packet: &Incoming<'_>) -> bool {
        let unwanted = packet.facts.dependencies.as_ref().zip(self.targets.now);
        unwanted.is_some_and(|(known, target)| known.indication(target) == Indication::NotPresent)
            || self.left_out.as_ref().is_some_and(|left_out| left_out.frames.contains(&Some(name(packet))))
    }

    fn take(&self, facts: &Facts) -> Admission {
        let highest = match (&facts.dependencies, self.targets.now) {
            (Some(dependencies), Some(target)) => dependencies.spatial(target),
            _ => self.spatial,
        };
        let ends_picture = facts.frame_end && facts.spatial == Some(highest);
        Admission::Take { ends_picture, targets: self.said_targets(facts) }
    }

    /// What to say of the decode targets, with packets from which a receiver may take them: those that bring the structure, say so
    /// already, or open a target.
    fn said_targets(&self, facts: &Facts) -> Option<(u8, u16)> {
        let (dependencies, target) = facts.dependencies.as_ref().zip(self.targets.now)?;
        let decodable = dependencies.decodable_with(target);
        let all = ((1u32 << dependencies.targets) - 1) as u16;
        let to_say = dependencies.says_active
            || (decodable != all && (dependencies.opens_structure || dependencies.indication(target) == Indication::Switch));
        to_say.then_some((dependencies.targets, decodable))
    }

    /// By decode target.
    fn admit_described(&mut self, facts: &Facts, dependencies: &Dependencies) -> bool {
        let ahead = u32::from(dependencies.frame.wrapping_sub(self.targets.newest));
        if self.targets.now.is_some() && ahead < 1 << 15 {
            self.targets.sent = self.targets.sent.checked_shl(ahead).unwrap_or(0);
            self.targets.newest = dependencies.frame;
        }
        let wanted = dependencies.target_for(self.wanted.0, self.wanted.1);
        let Some(now) = self.targets.now else {
            self.targets = Targets { now: Some(wanted), newest: dependencies.frame, sent: 1 };
            return true;
        };
        // Bit 0 is the frame itself; what it refers to begins with the one before it.
        let has_all = dependencies.refers_only_to(self.targets.sent >> 1);
        let mut target = now;
        if wanted == now && !facts.key_frame_start {
            self.needs_key_frame = false;
        } else if dependencies.indication(wanted) == Indication::Switch && facts.frame_start {
            if has_all {
                target = wanted;
                self.needs_key_frame = false;
            } else {
                // It refers to frames that were left out: only a key frame brings the receiver there.
                self.needs_key_frame = true;
            }
        }
        self.targets.now = Some(target);
        let goes = dependencies.indication(target) != Indication::NotPresent;
        self.targets.sent |= u64::from(goes);
        goes
    }

    /// By what the payload descriptor says.
    fn admit_layers(&mut self, packet: &Incoming<'_>) -> bool {
        let facts = packet.facts;
        self.move_temporal(facts);
        if let Some(spatial) = facts.spatial {
            self.move_spatial(spatial, facts);
        }
        let above = |layer: Option<u8>, highest: u8| layer.is_some_and(|layer| layer > highest);
        !above(facts.temporal, self.temporal) && !above(facts.spatial, self.spatial)
    }

    /// Down at any frame; up one layer at a time, at a frame that needs none of those left out.
    fn move_temporal(&mut self, facts: &Facts) {
        let wanted = self.wanted.1;
        if self.temporal > wanted || facts.key_frame_start {
            self.temporal = wanted;
        } else if facts.frame_start && facts.switching_point && facts.temporal == self.temporal.checked_add(1) {
            self.temporal = self.temporal.saturating_add(1).min(wanted);
        }
    }

    /// Down with any picture, because lower layers always go out; up with a frame that is predicted from its own picture only.
    fn move_spatial(&mut self, spatial: u8, facts: &Facts) {
        let wanted = self.wanted.0;
        if facts.key_frame_start || (self.spatial > wanted && spatial == 0 && facts.frame_start) {
            self.spatial = wanted;
            self.needs_key_frame = false;
        } else if self.spatial < wanted && spatial > self.spatial && facts.frame_start {
            if facts.intra && spatial == self.spatial + 1 {
                self.spatial += 1;
                self.needs_key_frame &= self.spatial < wanted;
            } else {
                self.needs_key_frame = true;
            }
        }
    }
}
