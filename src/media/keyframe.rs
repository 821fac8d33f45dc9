//! Key-frame requests of many receivers, merged into few towards the publisher.
//!
//! A key frame costs every receiver of its layer bandwidth, so one viewer who keeps asking must not be able to have them
//! made at will. One [`KeyFrameThrottle`] stands before each layer; it sends nothing itself.

use crate::model::Instant;
use std::time::Duration;

/// At most one request per layer in this time: a key frame needs about a round trip and an encoding to arrive, and asking
/// again sooner only doubles it.
pub const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Merges the key-frame requests for one layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFrameThrottle {
    asked: Option<Instant>,
    pending: bool,
}

impl KeyFrameThrottle {
    /// A receiver needs a key frame: whether to ask the publisher now. Otherwise the request is remembered until the
    /// window ends.
    pub fn request(&mut self, now: Instant) -> bool {
        self.pending = true;
        self.poll(now)
    }

    /// Whether a remembered request is due: ask the publisher now.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.next_deadline().is_some_and(|deadline| now >= deadline) || (self.pending && self.asked.is_none());
        if due {
            self.pending = false;
            self.asked = Some(now);
        }
        due
    }

    /// When to call [`poll`](Self::poll) next; `None` while nothing is remembered.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.asked.filter(|_| self.pending).map(|asked| asked + KEY_FRAME_INTERVAL)
    }

    /// A key frame arrived: everybody who asked before has it.
    pub fn on_key_frame(&mut self, _now: Instant) {
        self.pending = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_becomes_one_request_per_window() {
        let t0 = Instant::now();
        let mut throttle = KeyFrameThrottle::default();
        let sent = (0..2_000).filter(|ms| throttle.request(t0 + Duration::from_millis(*ms))).count();
        assert_eq!(sent, 4, "at 0, 500, 1000 and 1500 ms");
    }

    #[test]
    fn a_request_within_the_window_is_kept_until_its_end() {
        let t0 = Instant::now();
        let mut throttle = KeyFrameThrottle::default();
        assert_eq!(throttle.next_deadline(), None);
        assert!(throttle.request(t0));
        assert!(!throttle.poll(t0 + KEY_FRAME_INTERVAL), "nothing remembered, nothing fired");
        let mut throttle = KeyFrameThrottle::default();
        assert!(throttle.request(t0));
        assert!(!throttle.request(t0 + Duration::from_millis(100)));
        assert_eq!(throttle.next_deadline(), Some(t0 + KEY_FRAME_INTERVAL));
        assert!(!throttle.poll(t0 + Duration::from_millis(499)));
        assert!(throttle.poll(t0 + KEY_FRAME_INTERVAL));
        assert_eq!(throttle.next_deadline(), None);
    }

    #[test]
    fn an_arriving_key_frame_settles_what_was_remembered() {
        let t0 = Instant::now();
        let mut throttle = KeyFrameThrottle::default();
        assert!(throttle.request(t0));
        assert!(!throttle.request(t0 + Duration::from_millis(50)));
        throttle.on_key_frame(t0 + Duration::from_millis(120));
        assert!(!throttle.poll(t0 + Duration::from_secs(1)));
        assert!(throttle.request(t0 + Duration::from_secs(1)), "a later wish is a new one");
    }
}
