//! The estimate for receivers that send no transport-wide feedback: what they say they can receive (REMB), and the loss in
//! their receiver reports.

use std::time::Duration;

use super::loss::{LossControl, Verdict};
use crate::media::rate::Bitrate;

/// What a receiver said last holds this long, in microseconds; it is repeated each second or so.
const REMB_HOLDS: u64 = 10_000_000;
/// Growth of a second while nothing is lost.
const GROWTH: f64 = 1.08;
/// Without REMB nobody watches the queues: no further than this beyond what is sent, or than the next step.
const BEYOND_SENT: f64 = 1.5;
const BEYOND_SENT_FIXED: Bitrate = Bitrate::from_kbps(10);

/// Estimate by REMB and receiver reports.
#[derive(Debug)]
pub(crate) struct Fallback {
    rate: Bitrate,
    remb: Option<(Bitrate, u64)>,
    loss: LossControl,
    last: Option<u64>,
    rest_until: u64,
}

impl Fallback {
    pub(crate) fn new(start: Bitrate) -> Self {
        Self { rate: start, remb: None, loss: LossControl::default(), last: None, rest_until: 0 }
    }

    pub(crate) fn on_remb(&mut self, bitrate: Bitrate, now: u64) {
        self.remb = Some((bitrate, now));
        // The receiver estimates by arrival times; only loss, which it may not heed, keeps us below it.
        if now >= self.rest_until {
            self.rate = bitrate;
        }
    }

    pub(crate) fn on_report(&mut self, packets: u32, lost: u32, sent: Bitrate, next: Bitrate, now: u64) {
        self.loss.on_report(packets, lost);
        let elapsed = Duration::from_micros(now.saturating_sub(self.last.replace(now).unwrap_or(now))).as_secs_f64();
        match self.loss.update(sent, 0, false, now) {
            Verdict::Cut { share, rest } => {
                self.rate = self.rate.min(sent).scale(share);
                self.rest_until = now + rest.as_micros() as u64;
            }
            Verdict::Inherent { before } => {
                self.rate = self.rate.max(before);
                self.rest_until = 0;
            }
            Verdict::Fine if now >= self.rest_until => {
                // Nothing can be probed for, so the next step has to be tried.
                let most = next.max(sent.scale(BEYOND_SENT) + BEYOND_SENT_FIXED);
                self.rate = self.rate.scale(GROWTH.powf(elapsed.min(5.0))).min(most.max(self.rate));
            }
            Verdict::Fine => {}
        }
    }

    pub(crate) fn loss(&self) -> f64 {
        self.loss.loss()
    }

    /// Whether the receiver has said of late what it can receive.
    pub(crate) fn is_told(&self, now: u64) -> bool {
        self.remb.is_some_and(|(_, at)| now.saturating_sub(at) <= REMB_HOLDS)
    }

    pub(crate) fn estimate(&self, now: u64) -> Bitrate {
        let remb = self.remb.filter(|(_, at)| now.saturating_sub(*at) <= REMB_HOLDS);
        remb.map_or(self.rate, |(remb, _)| remb.min(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KBPS: fn(u64) -> Bitrate = Bitrate::from_kbps;
    const S: u64 = 1_000_000;

    #[test]
    fn what_the_receiver_says_is_the_estimate_and_loss_goes_below_it() {
        let mut fallback = Fallback::new(KBPS(300));
        fallback.on_remb(KBPS(2_000), S);
        assert_eq!(fallback.estimate(S), KBPS(2_000));
        for n in 1..4 {
            fallback.on_report(200, 40, KBPS(1_900), KBPS(0), n * S);
        }
        assert!(fallback.estimate(3 * S) < KBPS(1_600));
        fallback.on_remb(KBPS(400), 4 * S);
        assert_eq!(fallback.estimate(4 * S), KBPS(400));
    }

    #[test]
    fn reports_alone_grow_slowly_and_no_further_than_what_is_sent_bears() {
        let mut fallback = Fallback::new(KBPS(300));
        for n in 0..60 {
            fallback.on_report(100, 0, KBPS(400), KBPS(0), n * S);
        }
        assert_eq!(fallback.estimate(60 * S), KBPS(610));
        for n in 60..90 {
            fallback.on_report(100, 0, KBPS(400), KBPS(900), n * S);
        }
        assert_eq!(fallback.estimate(90 * S), KBPS(900), "up to the next step");
        let mut lossy = Fallback::new(KBPS(1_000));
        for n in 0..60 {
            let sent = lossy.estimate(n * S);
            lossy.on_report(100, 10, sent, KBPS(0), n * S);
        }
        assert!(lossy.estimate(60 * S) > KBPS(700), "loss at any rate is the line's own");
    }
}
