//! The steps one track can take, cheapest first.

use super::{Favour, Layer, MAX_STEPS, Track};
use crate::media::rate::Bitrate;

/// One step of a ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    /// It was all there is of its spatial layer.
    pub(super) whole: bool,
    pub(super) cost: Bitrate,
}

/// Steps of rising quality and strictly rising cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ladder {
    steps: [Step; MAX_STEPS],
    len: usize,
}

impl Ladder {
    /// The steps a receiver may be given of a track: alive, no larger than wanted, not below the floor.
    pub(super) fn new(track: &Track<'_>) -> Self {
        let mut ladder = Self::default();
        let Some(wanted) = track.wanted else { return ladder };
        let live = || track.layers.iter().take(MAX_STEPS).filter(|layer| layer.bitrate > Bitrate::ZERO);
        let lowest = live().map(|layer| layer.spatial).min().unwrap_or(0);
        // A larger picture than wanted is better than none.
        let wanted = wanted.max(lowest);
        let highest = live().map(|layer| layer.spatial).filter(|spatial| *spatial <= wanted).max().unwrap_or(lowest);
        // A floor that nobody sends is no reason to send nothing.
        let floor = track.floor.min(highest);
        for spatial in floor..=highest {
            let most = live().filter(|layer| layer.spatial == spatial).map(|layer| layer.temporal).max().unwrap_or(0);
            for temporal in 0..=most {
                let first = ladder.len == 0;
                let worth = match track.favour {
                    // A larger picture at a quarter of the frames is no step up for a face.
                    Favour::Motion => first || spatial == lowest.max(floor) || temporal + 1 >= most,
                    // Text is read, not watched: frames come last.
                    Favour::Detail => first || temporal == 0 || spatial == highest,
                };
                let layer = live().find(|layer| (layer.spatial, layer.temporal) == (spatial, temporal));
                if let Some(layer) = layer.filter(|_| worth) {
                    ladder.push(layer, temporal == most);
                }
            }
        }
        ladder
    }

    /// Adds a better step; what costs as much or more is no step any longer.
    fn push(&mut self, layer: &Layer, whole: bool) {
        let cost = layer.cost();
        while self.steps().last().is_some_and(|step| step.cost >= cost) {
            self.len -= 1;
        }
        if let Some(slot) = self.steps.get_mut(self.len) {
            *slot = Step { spatial: layer.spatial, temporal: layer.temporal, whole, cost };
            self.len += 1;
        }
    }

    pub(super) fn steps(&self) -> &[Step] {
        self.steps.get(..self.len).unwrap_or_default()
    }

    /// Cost of a level, counted from 0; nothing for none.
    pub(super) fn cost(&self, level: Option<u8>) -> Bitrate {
        level.and_then(|level| self.steps().get(usize::from(level))).map_or(Bitrate::ZERO, |step| step.cost)
    }

    /// The highest level of at most this cost, if any.
    pub(super) fn level_within(&self, cost: Bitrate) -> Option<u8> {
        let fitting = self.steps().iter().take_while(|step| step.cost <= cost).count();
        fitting.checked_sub(1).map(|level| level as u8)
    }

    /// The highest level.
    pub(super) fn top(&self) -> Option<u8> {
        self.len.checked_sub(1).map(|level| level as u8)
    }

    /// The level nearest to a step of an earlier ladder from below, or the lowest.
    pub(super) fn level_of(&self, step: Step) -> Option<u8> {
        // Temporal layers that were not told apart then were in it.
        let temporal = if step.whole { u8::MAX } else { step.temporal };
        let at_most = |other: &&Step| (other.spatial, other.temporal) <= (step.spatial, temporal);
        let count = self.steps().iter().filter(at_most).count();
        self.top().map(|top| (count.max(1) - 1).min(usize::from(top)) as u8)
    }
}
