//! What was sent under which transport-wide sequence number, and what feedback says became of it.

use crate::media::ahead;
use crate::model::Instant;
use std::collections::VecDeque;
use std::time::Duration;

use crate::media::rtcp::TransportFeedback;

/// Packets remembered: 2 s at 1,000 packets/s (some 10 Mbit/s), a round trip of 600 ms, a queue of 1 s and two feedback
/// intervals; 32 KiB a receiver at most, and only while it is sent that much.
pub const MAX_SENT: usize = 2_048;
/// Packets are forgotten after this long: a round trip of 1 s behind a queue of 4 s still finds its packets.
const KEEP: Duration = Duration::from_secs(6);
/// One told as lost that has not come after this long does not come any more.
const KEEP_LOST: Duration = Duration::from_secs(2);
/// Packets between two looks at the oldest.
const LOOK_BACK: u16 = 16;
/// A log with room for so many is not worth making smaller.
const FEW_SENT: usize = 256;

/// IPv4 and UDP headers of a datagram, which share the line with the media; IPv6 has 20 more.
pub const DATAGRAM_OVERHEAD: usize = 28;

/// One unit of the reference time, in microseconds.
const REFERENCE_MICROS: i64 = 64_000;
/// One unit of a delta, in microseconds.
const DELTA_MICROS: i64 = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Lost,
    Arrived,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Microseconds since the epoch.
    at: u64,
    /// Bytes sent up to and with this one; wraps.
    total: u32,
    bytes: u16,
    cluster: u8,
    fate: Fate,
}

/// What became of one packet; each is told once when lost and once when it arrived, also when that came late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PacketResult {
    /// Send time in microseconds since the log's epoch.
    pub(crate) sent_at: u64,
    /// Bytes on the wire.
    pub(crate) bytes: u16,
    /// The probe it belongs to; 0 for none.
    pub(crate) cluster: u8,
    /// Arrival on the receiver's clock in microseconds; nothing where it was lost.
    pub(crate) arrival: Option<i64>,
    /// It had been told as lost before.
    pub(crate) was_lost: bool,
}

/// Sent packets of one receiver by transport-wide sequence number.
#[derive(Debug)]
pub struct SentLog {
    epoch: Instant,
    /// The last reading of the clock and its microseconds: the packets of a batch share one.
    ticked: (Instant, u64),
    /// Extended number of the oldest packet kept.
    first: u64,
    sent: VecDeque<Sent>,
    total: u32,
    /// Total at the newest packet that arrived, and its extended number.
    arrived_total: u32,
    highest_arrived: u64,
    /// The last reference time, unwrapped.
    reference: Option<i64>,
}

impl SentLog {
    /// Starts with number 0.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let sent = VecDeque::new();
        Self { epoch: now, ticked: (now, 0), first: 0, sent, total: 0, arrived_total: 0, highest_arrived: 0, reference: None }
    }

    /// Microseconds since the log began.
    #[must_use]
    pub fn micros(&self, now: Instant) -> u64 {
        now.micros_since(self.epoch)
    }

    /// The same for a packet.
    pub(crate) fn tick(&mut self, now: Instant) -> u64 {
        if self.ticked.0 != now {
            self.ticked = (now, self.micros(now));
        }
        self.ticked.1
    }

    /// Asks for the end, where the next so many packets are noted, and for the beginning if it is looked at meanwhile.
    pub(crate) fn warm(&self, packets: usize) {
        self.sent.back().inspect(|sent| ahead::fetch(*sent));
        let next = self.first + self.sent.len() as u64;
        let past_last_look = (next.wrapping_sub(1) % u64::from(LOOK_BACK)) as usize + packets;
        if past_last_look >= usize::from(LOOK_BACK) {
            self.sent.front().inspect(|sent| ahead::fetch(*sent));
        }
    }

    /// Remembers a packet of so many bytes on the wire, sent at a time in microseconds, and answers the number that goes into its header extension.
    pub(crate) fn on_sent(&mut self, bytes: usize, cluster: u8, at: u64) -> u16 {
        let sequence = (self.first + self.sent.len() as u64) as u16;
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        // What has arrived is told, so the log is as long as the round trip and no longer.
        let too_old = |sent: &Sent| match sent.fate {
            Fate::Arrived => true,
            Fate::Lost => at.saturating_sub(sent.at) > KEEP_LOST.as_micros() as u64,
            Fate::Unknown => at.saturating_sub(sent.at) > KEEP.as_micros() as u64,
        };
        if self.sent.len() >= MAX_SENT {
            self.sent.pop_front();
            self.first += 1;
        }
        // The far end of the log is slow memory: it is looked at once in so many packets. At most two go for one that comes, so that a
        // long silence is not paid for by one packet.
        if sequence.is_multiple_of(LOOK_BACK) {
            for _ in 0..2 * LOOK_BACK {
                let Some(_) = self.sent.pop_front_if(|sent| too_old(sent)) else { break };
                self.first += 1;
            }
        }
        self.total = self.total.wrapping_add(u32::from(bytes));
        self.sent.push_back(Sent { at, total: self.total, bytes, cluster, fate: Fate::Unknown });
        sequence
    }

    /// Gives back what a stall has grown.
    pub fn release_memory(&mut self) {
        if self.sent.capacity() > FEW_SENT.max(4 * self.sent.len()) {
            self.sent.shrink_to(2 * self.sent.len());
        }
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.sent.capacity() * size_of::<Sent>()
    }

    /// Bytes sent after the newest packet known to have arrived.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        u64::from(self.total.wrapping_sub(self.arrived_total))
    }

    /// When the oldest packet after the newest arrived one was sent, in microseconds.
    #[must_use]
    pub fn oldest_in_flight(&self) -> Option<u64> {
        let next = self.highest_arrived.checked_sub(self.first).map_or(0, |index| index + 1);
        let next = if self.arrived_total == 0 && self.highest_arrived == 0 { 0 } else { next };
        self.sent.get(usize::try_from(next).ok()?).map(|sent| sent.at)
    }

    /// Forgets what is under way, but not that its numbers are used.
    pub(crate) fn forget(&mut self) {
        self.first += self.sent.len() as u64;
        self.sent.clear();
        (self.arrived_total, self.highest_arrived) = (self.total, self.first.saturating_sub(1));
    }

    /// Reads a feedback packet; `on_result` gets what is new in it, in sending order. Answers whether anything was.
    pub(crate) fn on_feedback(&mut self, feedback: &TransportFeedback<'_>, mut on_result: impl FnMut(PacketResult)) -> bool {
        let mut at = self.unwrap_reference(feedback.header.reference_time).saturating_mul(REFERENCE_MICROS);
        let mut any = false;
        for (sequence, delta) in feedback.statuses() {
            if let Some(delta) = delta {
                at = at.saturating_add(i64::from(delta) * DELTA_MICROS);
            }
            if let Some(result) = self.settle(sequence, delta.map(|_| at)) {
                any = true;
                on_result(result);
            }
        }
        any
    }

    fn settle(&mut self, sequence: u16, arrival: Option<i64>) -> Option<PacketResult> {
        let next = self.first + self.sent.len() as u64;
        // The newest number below the next one; anything else was never sent or is forgotten.
        let distance = match (next as u16).wrapping_sub(sequence) {
            0 => u64::from(u16::MAX) + 1,
            distance => u64::from(distance),
        };
        let extended = next.checked_sub(distance)?;
        let index = usize::try_from(extended.checked_sub(self.first)?).ok()?;
        let sent = self.sent.get_mut(index)?;
        let fate = if arrival.is_some() { Fate::Arrived } else { Fate::Lost };
        if sent.fate == Fate::Arrived || sent.fate == fate {
            return None;
        }
        let was_lost = sent.fate == Fate::Lost;
        sent.fate = fate;
        let result = PacketResult { sent_at: sent.at, bytes: sent.bytes, cluster: sent.cluster, arrival, was_lost };
        if arrival.is_some() && extended >= self.highest_arrived {
            (self.highest_arrived, self.arrived_total) = (extended, sent.total);
        }
        Some(result)
    }

    /// 24 bits that wrap after twelve days; the nearest to the one before.
    fn unwrap_reference(&mut self, reference: i32) -> i64 {
        let unwrapped = match self.reference {
            None => i64::from(reference),
            Some(last) => {
                let step = (i64::from(reference) - last) & 0xFF_FFFF;
                last.saturating_add(if step >= 0x80_0000 { step - 0x100_0000 } else { step })
            }
        };
        self.reference = Some(unwrapped);
        unwrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtcp::{Compound, FeedbackHeader, Rtcp, packets};

    fn results(log: &mut SentLog, base: u16, reference: i32, statuses: &[Option<i16>]) -> Vec<PacketResult> {
        let mut bytes = [0; 600];
        let mut compound = Compound::new(&mut bytes);
        let header = FeedbackHeader { base_sequence: base, reference_time: reference, ..FeedbackHeader::default() };
        assert!(compound.transport_feedback(&header, statuses.iter().copied()));
        let length = compound.len();
        let Some(Ok(Rtcp::TransportFeedback(feedback))) = packets(&bytes[..length]).next() else { panic!("feedback") };
        let mut all = Vec::new();
        log.on_feedback(&feedback, |result| all.push(result));
        all
    }

    #[test]
    fn feedback_finds_what_was_sent_once() {
        let t0 = Instant::now();
        let mut log = SentLog::new(t0);
        for n in 0..4 {
            assert_eq!(log.on_sent(100 + n, 0, 1_000 * n as u64), n as u16);
        }
        assert_eq!(log.in_flight(), 406);
        let told = results(&mut log, 0, 10, &[Some(4), None, Some(8)]);
        let arrivals: Vec<_> = told.iter().map(|result| (result.bytes, result.arrival)).collect();
        assert_eq!(arrivals, [(100, Some(641_000)), (101, None), (102, Some(643_000))]);
        assert_eq!((log.in_flight(), log.oldest_in_flight()), (103, Some(3_000)));
        let late = results(&mut log, 0, 10, &[Some(4), Some(9), Some(0)]);
        assert_eq!(late.len(), 1, "told once");
        assert!(late[0].was_lost && late[0].arrival == Some(643_250));
        assert!(results(&mut log, 4, 10, &[Some(0), None]).is_empty(), "never sent");
    }

    #[test]
    fn the_log_is_bounded_and_survives_both_wraps() {
        let t0 = Instant::now();
        let mut log = SentLog::new(t0);
        for n in 0..70_000_u64 {
            log.on_sent(1_000, 0, 1_000 * n);
        }
        assert_eq!(log.sent.len(), MAX_SENT);
        let newest = 69_999_u32 as u16;
        assert_eq!(results(&mut log, newest, 0x7F_FFFF, &[Some(0)])[0].sent_at, 69_999_000);
        let before = results(&mut log, newest - 1, 0x7F_FFFF, &[Some(0)])[0].arrival.unwrap();
        let after = results(&mut log, newest - 2, -0x80_0000, &[Some(0)])[0].arrival.unwrap();
        assert_eq!(after - before, REFERENCE_MICROS);
        assert!(results(&mut log, newest.wrapping_sub(MAX_SENT as u16), 0, &[Some(0)]).is_empty(), "forgotten");
        for n in 0..MAX_SENT as u64 {
            log.on_sent(1_000, 0, 1_000 * (100_000 + 20 * n));
        }
        assert!(log.sent.len() <= 302 + usize::from(LOOK_BACK), "six seconds at 50 packets/s");
    }
}
