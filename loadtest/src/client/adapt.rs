//! A bit rate that follows what the transport-wide feedback says, far simpler than a browser's.

use std::time::{Duration, Instant};

/// Packets whose time of leaving is kept: a second of 1,000.
const KEPT: usize = 1_024;
/// So much more delay than at best is a queue.
const QUEUE: f64 = 40_000.0;
/// Less is no loss worth slowing down for (as in the loss-based part of browsers' control).
const LOSS: f64 = 0.10;
/// Between two steps down.
const PATIENCE: Duration = Duration::from_millis(300);
/// Never slower than this part of the wanted rate.
const LEAST: f64 = 0.05;

pub(crate) struct Adapt {
    sent: Vec<u64>,
    last: Option<(u64, f64)>,
    delay: f64,
    best: f64,
    came: u32,
    lost: u32,
    pub(crate) scale: f64,
    changed: Option<Instant>,
}

impl Adapt {
    pub(crate) fn new() -> Self {
        Self { sent: vec![0; KEPT], last: None, delay: 0.0, best: 0.0, came: 0, lost: 0, scale: 1.0, changed: None }
    }

    pub(crate) fn on_sent(&mut self, number: u16, wall: u64) {
        if let Some(slot) = self.sent.get_mut(usize::from(number) % KEPT) {
            *slot = wall;
        }
    }

    /// One packet of a feedback; µs since the packet reported before it.
    pub(crate) fn on_packet(&mut self, number: u16, delta: Option<i32>) {
        let Some(delta) = delta else {
            self.lost += 1;
            return;
        };
        self.came += 1;
        let sent = self.sent.get(usize::from(number) % KEPT).copied().unwrap_or(0);
        if let Some((before, _)) = self.last {
            let apart = sent as f64 / 1_000.0 - before as f64 / 1_000.0;
            self.delay += f64::from(delta) - apart;
            self.best = self.best.min(self.delay);
        }
        self.last = Some((sent, self.delay));
    }

    /// The first packet of a feedback counts from a reference of its own: its difference says nothing.
    pub(crate) fn on_first(&mut self, number: u16) {
        self.came += 1;
        self.last = Some((self.sent.get(usize::from(number) % KEPT).copied().unwrap_or(0), self.delay));
    }

    /// At the end of a feedback.
    pub(crate) fn on_feedback(&mut self, now: Instant) {
        let all = self.came + self.lost;
        if all == 0 {
            return;
        }
        let loss = f64::from(self.lost) / f64::from(all);
        (self.came, self.lost) = (0, 0);
        // The base may have risen with the way itself.
        self.best += (self.delay - self.best) * 0.01;
        let since = self.changed.map_or(PATIENCE, |at| now.saturating_duration_since(at));
        let queue = self.delay - self.best > QUEUE;
        if (loss > LOSS || queue) && since >= PATIENCE {
            let by = if queue { 0.85 } else { 1.0 - loss / 2.0 };
            self.scale = (self.scale * by).max(LEAST);
            self.best = self.delay.min(self.best + QUEUE / 2.0);
            self.changed = Some(now);
        } else if !queue && loss <= LOSS {
            self.scale = (self.scale * 1.008).min(1.0);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
mod tests {
    use super::*;

    #[test]
    fn loss_slows_down_and_its_end_speeds_up() {
        let t0 = Instant::now();
        let mut adapt = Adapt::new();
        for number in 0..100 {
            adapt.on_packet(number, (number % 2 == 0).then_some(0));
        }
        adapt.on_feedback(t0);
        let slow = adapt.scale;
        assert!(slow < 0.8);

        for round in 1..400 {
            adapt.on_first(1);
            adapt.on_feedback(t0 + Duration::from_millis(100) * round);
        }

        assert!((adapt.scale - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_growing_queue_slows_down() {
        let t0 = Instant::now();
        let mut adapt = Adapt::new();
        for number in 0..100_u16 {
            adapt.on_sent(number, u64::from(number) * 1_000_000);
            adapt.on_packet(number, Some(2_000));
        }
        adapt.on_feedback(t0);

        assert!(adapt.scale < 0.9);
    }
}
