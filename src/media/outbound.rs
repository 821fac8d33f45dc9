//! One sent stream: what has been sent, when to report it, and what the receiver says of it.
//!
//! It never reads the wall clock: the NTP time of a report is the publisher's, mapped by the caller, so that sound and
//! pictures of one person stay together. Entry points: [`OutboundStream::on_sent`], [`OutboundStream::sender_report`],
//! [`OutboundStream::on_report_block`], [`OutboundStream::next_report`].

use crate::model::Instant;
use std::time::Duration;

use super::rtcp::{ReportBlock, SenderInfo};

/// Time between sender reports at first: receivers cannot align sound and pictures before they have one of each.
const EARLY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the first pace lasts.
const EARLY: Duration = Duration::from_secs(5);
/// Time between sender reports later; clocks drift apart by less than 1 ms in it.
const INTERVAL: Duration = Duration::from_secs(3);

/// Sender reports remembered for round trips; receivers answer with the last one, at most two reports late.
const REMEMBERED: usize = 4;

/// A longer round trip is a mistake or a lie of the far end.
const MAX_RTT: Duration = Duration::from_secs(10);

/// What a receiver said of the stream last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reception {
    /// Share of packets lost since the report before, 0 to 1.
    pub fraction_lost: f32,
    /// Packets lost since the stream began.
    pub cumulative_lost: i32,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// Round trip, where the receiver answered one of our recent sender reports.
    pub rtt: Option<Duration>,
}

/// One sent SSRC.
#[derive(Debug)]
pub struct OutboundStream {
    ssrc: u32,
    clock_rate: u32,
    packets: u32,
    octets: u32,
    /// RTP timestamp of the last packet.
    timestamp: u32,
    /// Packets before it was taken up again, and how often that was.
    before: (u32, u32),
    /// Whether a packet went out since the last report.
    unreported: bool,
    first_sent: Option<Instant>,
    /// Apart, so that what each packet writes is one cache line.
    reports: Box<Reports>,
}

/// What was told of a stream, and what the receiver answered.
#[derive(Debug, Default)]
struct Reports {
    last: Option<Instant>,
    /// Middle 32 bits of the NTP time of recent reports, and when they went out.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    reception: Option<Reception>,
    /// Highest number and losses of the block before.
    covered: Option<(u32, i32)>,
}

impl OutboundStream {
    /// Starts a stream nothing was sent on; `clock_rate` in Hz.
    #[must_use]
    pub fn new(ssrc: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate: clock_rate.max(1),
            packets: 0,
            octets: 0,
            timestamp: 0,
            before: (0, 0),
            unreported: false,
            first_sent: None,
            reports: Box::default(),
        }
    }

    /// The stream's id.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Takes note of a packet sent; `payload` in bytes, without header and padding.
    pub fn on_sent(&mut self, timestamp: u32, payload: usize, now: Instant) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        self.timestamp = timestamp;
        self.unreported = true;
        self.first_sent.get_or_insert(now);
    }

    /// Packets sent since it began or was taken up again; the count wraps.
    #[must_use]
    pub fn packets(&self) -> u32 {
        self.packets.wrapping_sub(self.before.0)
    }

    /// The stream rested and goes on: what is told of it from now on says nothing of before, but to the receiver, to whom it is one.
    pub fn resume(&mut self) {
        self.before = (self.packets, self.before.1 + 1);
        self.first_sent = None;
    }

    /// How often it was taken up again.
    #[must_use]
    pub fn resumptions(&self) -> u32 {
        self.before.1
    }

    /// When the first packet was sent since then.
    #[must_use]
    pub fn first_sent(&self) -> Option<Instant> {
        self.first_sent
    }

    /// RTP timestamp of the last packet sent; nothing before the first.
    #[must_use]
    pub fn last_timestamp(&self) -> Option<u32> {
        (self.first_sent.is_some() || self.before.0 > 0).then_some(self.timestamp)
    }

    /// The fields of a sender report that says `ntp` and `rtp` are the same moment, and remembers it for the round trip.
    pub fn sender_report(&mut self, ntp: u64, rtp: u32, now: Instant) -> SenderInfo {
        self.unreported = false;
        let reports = &mut *self.reports;
        reports.last = Some(now);
        reports.sent.rotate_right(1);
        if let Some(newest) = reports.sent.first_mut() {
            *newest = Some(((ntp >> 16) as u32, now));
        }
        SenderInfo { ssrc: self.ssrc, ntp, rtp, packets: self.packets, octets: self.octets }
    }

    /// When a sender report is due: with the first packet, every 1 s for 5 s, then every 3 s; never while nothing is sent.
    ///
    /// The caller adds jitter and gathers reports of one peer.
    #[must_use]
    pub fn next_report(&self) -> Option<Instant> {
        let first = self.first_sent.filter(|_| self.unreported)?;
        let Some(last) = self.reports.last else { return Some(first) };
        let early = last.saturating_duration_since(first) < EARLY;
        Some(last + if early { EARLY_INTERVAL } else { INTERVAL })
    }

    /// Takes note of a block about this stream.
    ///
    /// The round trip is measured between our own send time of the report it answers and now: an answer to a report we
    /// did not send gives none.
    pub fn on_report_block(&mut self, block: &ReportBlock, now: Instant) -> Reception {
        let sent = self.reports.sent.iter().flatten().find(|(ntp, _)| *ntp == block.last_sr && block.last_sr != 0);
        let held = Duration::from_secs_f64(f64::from(block.delay_since_last_sr) / 65_536.0);
        let rtt = sent
            // A receiver may round its delay up beyond the truth; the round trip is then next to nothing.
            .map(|(_, at)| now.saturating_duration_since(*at).saturating_sub(held))
            .filter(|rtt| *rtt <= MAX_RTT);
        let reception = Reception {
            fraction_lost: f32::from(block.fraction_lost) / 256.0,
            cumulative_lost: block.cumulative_lost,
            jitter: Duration::from_secs_f64(f64::from(block.jitter) / f64::from(self.clock_rate)),
            rtt: rtt.or_else(|| self.rtt()),
        };
        self.reports.reception = Some(reception);
        reception
    }

    /// Packets that a block covers beyond the one before it, and how many of these were lost; nothing for a stream's first.
    pub fn covered(&mut self, block: &ReportBlock) -> (u32, u32) {
        let now = (block.highest_sequence, block.cumulative_lost);
        let Some((highest, lost)) = self.reports.covered.replace(now) else { return (0, 0) };
        // A receiver that begins anew, or says nonsense, covers nothing.
        let packets = Some(now.0.wrapping_sub(highest)).filter(|packets| *packets < 1 << 16).unwrap_or(0);
        let lost = u32::try_from(now.1.saturating_sub(lost)).unwrap_or(0);
        (packets, lost.min(packets))
    }

    /// What the receiver said last.
    #[must_use]
    pub fn reception(&self) -> Option<Reception> {
        self.reports.reception
    }

    /// The last round trip measured.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.reports.reception.and_then(|reception| reception.rtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn counts_what_was_sent() {
        let t0 = Instant::now();
        let mut stream = OutboundStream::new(9, 90_000);
        assert_eq!(stream.last_timestamp(), None);
        stream.on_sent(100, 1_000, t0);
        stream.on_sent(200, 200, t0);
        let report = stream.sender_report(5 << 32, 250, t0);
        assert_eq!(report, SenderInfo { ssrc: 9, ntp: 5 << 32, rtp: 250, packets: 2, octets: 1_200 });
        assert_eq!(stream.last_timestamp(), Some(200));
    }

    #[test]
    fn reports_are_due_often_at_first_and_never_in_silence() {
        let t0 = Instant::now();
        let mut stream = OutboundStream::new(9, 90_000);
        assert_eq!(stream.next_report(), None);
        let mut reports = Vec::new();
        for at in (0..20_000).step_by(20) {
            let now = t0 + ms(at);
            stream.on_sent(0, 100, now);
            if stream.next_report().is_some_and(|due| due <= now) {
                stream.sender_report(0, 0, now);
                reports.push(at);
            }
        }
        assert_eq!(reports, [0, 1_000, 2_000, 3_000, 4_000, 5_000, 8_000, 11_000, 14_000, 17_000]);
        stream.sender_report(0, 0, t0 + ms(20_000));
        assert_eq!(stream.next_report(), None, "nothing sent since");
    }

    #[test]
    fn round_trip_comes_from_our_own_reports_only() {
        let t0 = Instant::now();
        let mut stream = OutboundStream::new(9, 48_000);
        stream.on_sent(0, 100, t0);
        let ntp = 0xAAAA_1234_5678_BBBB;
        stream.sender_report(ntp, 0, t0);
        let mut block = ReportBlock {
            ssrc: 9,
            fraction_lost: 64,
            cumulative_lost: 12,
            jitter: 480,
            last_sr: 0xDEAD_BEEF,
            delay_since_last_sr: 65_536 / 2,
            ..ReportBlock::default()
        };
        let reception = stream.on_report_block(&block, t0 + ms(580));
        assert_eq!((reception.fraction_lost, reception.jitter, reception.rtt), (0.25, ms(10), None), "not our report");
        block.last_sr = 0x1234_5678;
        assert_eq!(stream.on_report_block(&block, t0 + ms(580)).rtt, Some(ms(80)));
        block.delay_since_last_sr = u32::MAX;
        assert_eq!(stream.on_report_block(&block, t0 + ms(580)).rtt, Some(Duration::ZERO), "never below nothing");
        block.delay_since_last_sr = 0;
        assert_eq!(stream.on_report_block(&block, t0 + ms(11_000)).rtt, Some(Duration::ZERO), "too long: the last stays");
        for n in 0..4 {
            stream.sender_report(n << 32, 0, t0);
        }
        block.last_sr = 0;
        assert_eq!(stream.on_report_block(&block, t0 + ms(100)).rtt, Some(Duration::ZERO), "0 means no report");
    }
}
