//! Outgoing RTP timestamps: one line, forward only, over layers whose clocks start anywhere.

use crate::media::MAX_LAYERS;
use crate::model::Instant;
use crate::model::MediaKind;

/// Sender reports that place a new layer further than this from where the elapsed time places it are not believed: a
/// publisher must not be able to throw its receivers' clocks about.
const MAX_DISAGREEMENT_S: u32 = 1;
/// A video frame at 30 frames/s: the least step where the capture time is not known.
const FRAMES_PER_SECOND: u32 = 30;
/// A push of 10 ms or less is shorter than any camera's frame interval.
const SMALL_PUSHES_PER_SECOND: u32 = 100;

#[derive(Debug)]
pub(super) struct Timeline {
    rate: u32,
    /// The least step over a layer change when only the time of arrival is known.
    least_step: u32,
    /// The same when the capture times are known: both layers may show the same moment.
    least_known_step: u32,
    initial: u32,
    layer: Option<u8>,
    /// The first frame of the layer: incoming and outgoing timestamp.
    first: Option<(u32, u32)>,
    /// What to take off incoming timestamps.
    shift: u32,
    /// The same without what a layer change had to add, so that such pushes do not add up.
    true_shift: u32,
    /// The newest outgoing timestamp and when its frame began to arrive.
    newest: Option<(u32, Instant)>,
    /// Apart, since only a layer change reads them; there from the first sender report on.
    clocks: Option<Box<[Option<LayerClock>; MAX_LAYERS]>>,
}

/// One moment on a layer's two clocks.
#[derive(Clone, Copy, Debug)]
struct LayerClock {
    ntp: u64,
    rtp: u32,
}

impl Timeline {
    pub(super) fn new(kind: MediaKind, clock_rate: u32, initial: u32) -> Self {
        let least_step = match kind {
            MediaKind::Audio => 1,
            MediaKind::Video => (clock_rate / FRAMES_PER_SECOND).max(1),
        };
        Self {
            rate: clock_rate,
            least_step,
            least_known_step: (clock_rate / 1_000).max(1).min(least_step),
            initial,
            layer: None,
            first: None,
            shift: 0,
            true_shift: 0,
            newest: None,
            clocks: None,
        }
    }

    pub(super) fn set_clock(&mut self, layer: u8, ntp: u64, rtp: u32) {
        if let Some(clock) = self.clocks.get_or_insert_default().get_mut(usize::from(layer)) {
            *clock = Some(LayerClock { ntp, rtp });
        }
    }

    /// A layer begins with a frame of this timestamp.
    pub(super) fn begin(&mut self, layer: u8, timestamp: u32, now: Instant) {
        let Some((newest, at)) = self.newest else {
            self.layer = Some(layer);
            self.shift = timestamp.wrapping_sub(self.initial);
            self.true_shift = self.shift;
            return;
        };
        let elapsed = now.saturating_duration_since(at).as_micros() * u128::from(self.rate) / 1_000_000;
        let by_arrival = newest.wrapping_add(elapsed as u32);
        let near = |guess: &u32| (guess.wrapping_sub(by_arrival) as i32).unsigned_abs() <= self.rate * MAX_DISAGREEMENT_S;
        let by_clocks = self.by_clocks(layer, timestamp).filter(near);
        let (guess, least_step) = by_clocks.map_or((by_arrival, self.least_step), |guess| (guess, self.least_known_step));
        let earliest = newest.wrapping_add(least_step);
        let pushed = (earliest.wrapping_sub(guess) as i32).max(0) as u32;
        self.layer = Some(layer);
        self.first = Some((timestamp, guess.wrapping_add(pushed)));
        let pushed_shift = timestamp.wrapping_sub(guess.wrapping_add(pushed));
        self.true_shift = by_clocks.map_or(pushed_shift, |guess| timestamp.wrapping_sub(guess));
        // The next frame comes later than a small push, so only the first one needs it.
        let small = pushed <= self.rate / SMALL_PUSHES_PER_SECOND;
        self.shift = if small { self.true_shift } else { pushed_shift };
    }

    /// The outgoing timestamp of a packet newer than all before it.
    pub(super) fn advance(&mut self, timestamp: u32, now: Instant) -> u32 {
        let outgoing = self.outgoing(timestamp);
        if self.newest.is_none_or(|(newest, _)| outgoing.wrapping_sub(newest) as i32 > 0) {
            self.newest = Some((outgoing, now));
        }
        outgoing
    }

    /// The outgoing timestamp so many ticks behind the newest, which it is from now on; nothing before the first packet.
    pub(super) fn append(&mut self, ticks: u32, now: Instant) -> Option<u32> {
        let timestamp = self.newest?.0.wrapping_add(ticks);
        self.newest = Some((timestamp, now));
        Some(timestamp)
    }

    /// The outgoing timestamp of an incoming one of the current layer.
    pub(super) fn outgoing(&self, timestamp: u32) -> u32 {
        match self.first {
            Some((first, outgoing)) if first == timestamp => outgoing,
            _ => timestamp.wrapping_sub(self.shift),
        }
    }

    /// Where the layer's own clock, or the sender reports of both layers, place a timestamp of a new layer.
    fn by_clocks(&self, layer: u8, timestamp: u32) -> Option<u32> {
        let old = self.layer?;
        if old == layer {
            return Some(timestamp.wrapping_sub(self.true_shift));
        }
        let clock = |layer: u8| self.clocks.as_ref()?.get(usize::from(layer)).copied().flatten();
        let (from, to) = (clock(layer)?, clock(old)?);
        // NTP time is in units of 2^-32 s.
        let apart = (i128::from(from.ntp.wrapping_sub(to.ntp) as i64) * i128::from(self.rate)) >> 32;
        let on_old = to.rtp.wrapping_add(apart as u32).wrapping_add(timestamp.wrapping_sub(from.rtp));
        Some(on_old.wrapping_sub(self.true_shift))
    }
}
