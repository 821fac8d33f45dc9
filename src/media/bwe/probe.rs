//! Short bursts above the estimate that find out whether the line bears more.
//!
//! A probe is everything sent from its start until its bytes are out: media, and padding where media is not enough. One is
//! under way at a time. Entry points: [`Prober::poll`], [`Prober::on_sent`], [`Prober::on_result`], [`Prober::conclude`].

use std::time::Duration;

use super::sent::PacketResult;
use crate::media::rate::Bitrate;

/// A probe the caller is to send: media counts, padding fills up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its number, 1 to 255; wraps.
    pub cluster: u8,
    /// The rate to send at until `until`.
    pub bitrate: Bitrate,
    /// Bytes on the wire to send in all.
    pub bytes: u64,
    /// When to stop whatever was sent.
    pub until: crate::model::Instant,
}

/// Length of a probe; a queue it makes on a line half as wide is as long.
const LENGTH: Duration = Duration::from_millis(25);
/// Below [`SLOW`] it is longer: six packets of voice size are needed to measure anything.
const SLOW_LENGTH: Duration = Duration::from_millis(40);
const SLOW: Bitrate = Bitrate::from_kbps(600);
const FEWEST_BYTES: u64 = 1_200;
/// Whatever was not sent after this many lengths is not.
const PATIENCE: u32 = 3;
/// Packets that must be back to judge.
const FEWEST_PACKETS: u32 = 4;
/// Share of the packets that must be back, apart from the line's own loss.
const MOST_BACK: f64 = 0.8;
/// What arrives slower than this share of how it was sent has filled the line.
const BORNE: f64 = 0.9;
/// Then this share of what arrived is taken.
const OF_FULL: f64 = 0.95;
/// A probe that reached this share of its rate is followed by the next at once.
const PASSED: f64 = 0.7;

/// Steps: the first of all, after one that passed, and while nothing is known.
const FIRST_STEP: f64 = 3.0;
const NEXT_STEP: f64 = 2.0;
/// Twice in a row it passed after a fall: the old line is back.
const RECOVERY_STEP: f64 = 3.0;

/// Times between probes that fail, in microseconds: at first, and at most while a lost rate is sought, and otherwise.
const SOON: u64 = 1_500_000;
const RECOVERY_LATEST: u64 = 4_000_000;
const LATEST: u64 = 10_000_000;
/// Time between probes when more is wanted than before, so that a wish that comes and goes does not fill the line.
const SOONEST: u64 = 500_000;
/// A first probe that filled the line is asked again at once: what comes next depends on it.
const SECOND: u64 = 150_000;
/// The first time between probes when nothing was lost.
const IDLE_FIRST: u64 = 4_000_000;
/// A lost rate is sought this long.
const SEEK: u64 = 90_000_000;
/// How far beyond what is wanted a probe goes.
const BEYOND: f64 = 1.05;
/// A fall below this share of the rate of late is a loss to be sought.
const FALL: f64 = 0.66;
/// No probe while the queue is longer than this, in microseconds.
const QUEUE: u64 = 50_000;

/// What decides on the next probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) estimate: Bitrate,
    pub(crate) max: Bitrate,
    /// What the next step of the allocation costs, and all that is wanted.
    pub(crate) next: Bitrate,
    pub(crate) all: Bitrate,
    /// Queues grow, or are too long.
    pub(crate) congested: bool,
    pub(crate) queue: u64,
    /// Less is sent than the estimate allows, so that it cannot grow by itself.
    pub(crate) limited: bool,
    /// Until feedback of a packet sent now, in microseconds.
    pub(crate) lag: u64,
    /// Feedback has come at all; without it a probe finds nothing.
    pub(crate) heard: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cluster {
    id: u8,
    rate: Bitrate,
    bytes: u64,
    until: u64,
    sending: bool,
    deadline: u64,
    sent: u64,
    packets: u32,
    first_sent: u64,
    last_sent: u64,
    last_size: u64,
    arrived: u64,
    arrived_packets: u32,
    lost: u32,
    arrivals: Option<(i64, i64)>,
    first_size: u64,
}

/// Decides on probes and reads their results.
#[derive(Debug, Default)]
pub(crate) struct Prober {
    cluster: Option<Cluster>,
    last_id: u8,
    next_at: u64,
    /// When the last one began.
    began_at: u64,
    wait: u64,
    passed_in_row: u32,
    /// Probes in a row that arrived far slower than they were sent, and the rate at which the last did.
    filled: (u32, Bitrate),
    started: bool,
    /// The rate of late, and the one lost with when.
    peak: Bitrate,
    sought: Option<(Bitrate, u64)>,
}

impl Prober {
    /// A probe when one is due. `now` in microseconds; `until` is measured from it.
    pub(crate) fn poll(&mut self, situation: &Situation, now: u64) -> Option<(u8, Bitrate, u64, u64)> {
        if self.cluster.is_some() || now < self.next_at {
            return None;
        }
        let rate = self.rate(situation)?;
        let length = if rate < SLOW { SLOW_LENGTH } else { LENGTH };
        let bytes = rate.bytes_in(length).max(FEWEST_BYTES);
        let length = u64::try_from(rate.time_for(bytes).as_micros()).unwrap_or(0);
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.began_at = now;
        let until = now + length * u64::from(PATIENCE);
        let deadline = until + situation.lag + 500_000;
        self.cluster = Some(Cluster { id: self.last_id, rate, bytes, until, sending: true, deadline, ..Cluster::default() });
        Some((self.last_id, rate, bytes, until))
    }

    fn rate(&self, situation: &Situation) -> Option<Bitrate> {
        let Situation { estimate, next, all, .. } = *situation;
        if !situation.heard || all <= estimate || situation.congested || situation.queue > QUEUE {
            return None;
        }
        let recovering = self.sought.is_some();
        // Only a rate that is asked for can be grown into; the rest comes by itself.
        let second = self.filled.0 == 1 && self.wait == 0;
        if self.started && !recovering && !situation.limited && self.passed_in_row == 0 && !second {
            return None;
        }
        let step = match (self.started, recovering, self.passed_in_row) {
            (false, ..) => FIRST_STEP,
            (true, true, 2..) => RECOVERY_STEP,
            _ => NEXT_STEP,
        };
        // At the start and while a lost rate is sought everything wanted is the limit, later the next step only.
        let most = if !self.started || recovering || self.passed_in_row > 0 && !situation.limited { all } else { next.min(all) };
        // A little beyond: a measured rate falls a little short, and what is just missed would never be probed for again.
        let rate = estimate.scale(step).min(most.scale(BEYOND)).min(situation.max);
        (rate > estimate.scale(1.02)).then_some(rate)
    }

    /// More is wanted than before: the next probe need not wait for its turn.
    pub(crate) fn hurry(&mut self) {
        self.next_at = self.next_at.min(self.began_at + SOONEST);
    }

    /// Whether a probe is being sent.
    pub(crate) fn is_sending(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.sending)
    }

    /// The probe a packet belongs to; 0 for none.
    pub(crate) fn on_sent(&mut self, bytes: usize, now: u64) -> u8 {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.sending) else { return 0 };
        if now > cluster.until {
            cluster.sending = false;
            return 0;
        }
        if cluster.packets == 0 {
            cluster.first_sent = now;
        }
        cluster.packets += 1;
        cluster.sent += bytes as u64;
        (cluster.last_sent, cluster.last_size) = (now, bytes as u64);
        cluster.sending = cluster.sent < cluster.bytes;
        cluster.id
    }

    /// Takes note of what became of a packet.
    pub(crate) fn on_result(&mut self, result: &PacketResult) {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.id == result.cluster) else { return };
        let Some(arrival) = result.arrival else {
            cluster.lost += 1;
            return;
        };
        if result.was_lost {
            cluster.lost = cluster.lost.saturating_sub(1);
        }
        cluster.arrived_packets += 1;
        cluster.arrived += u64::from(result.bytes);
        let (first, last) = cluster.arrivals.unwrap_or((arrival, arrival));
        if cluster.arrivals.is_none() || arrival < first {
            cluster.first_size = u64::from(result.bytes);
        }
        cluster.arrivals = Some((first.min(arrival), last.max(arrival)));
    }

    /// The rate that was shown to pass, once a probe is decided.
    pub(crate) fn conclude(&mut self, estimate: Bitrate, inherent_loss: f64, now: u64) -> Option<Bitrate> {
        let cluster = self.cluster.as_mut()?;
        cluster.sending &= now <= cluster.until;
        let settled = !cluster.sending && cluster.arrived_packets + cluster.lost >= cluster.packets;
        if !settled && now < cluster.deadline {
            return None;
        }
        let cluster = self.cluster.take()?;
        let measured = cluster.measure(inherent_loss);
        let passed = measured.is_some_and(|rate| rate >= cluster.rate.scale(PASSED) && rate > estimate);
        if let Some(rate) = measured {
            self.filled = if rate < cluster.rate.scale(PASSED) { (self.filled.0 + 1, rate) } else { (0, rate) };
        }
        self.on_concluded(passed, now);
        measured
    }

    /// What the line bears at most by two probes in a row that filled it: one may have met a machine that was busy.
    pub(crate) fn filled(&self) -> Option<Bitrate> {
        Some(self.filled.1).filter(|_| self.filled.0 >= 2)
    }

    fn on_concluded(&mut self, passed: bool, now: u64) {
        let first = !std::mem::replace(&mut self.started, true);
        if passed {
            self.passed_in_row += 1;
            (self.wait, self.next_at) = (0, now);
            return;
        }
        self.passed_in_row = 0;
        if first && self.filled.0 == 1 {
            self.next_at = now + SECOND;
            return;
        }
        let (first, latest) = if self.sought.is_some() { (SOON, RECOVERY_LATEST) } else { (IDLE_FIRST, LATEST) };
        self.wait = (self.wait * 3 / 2).clamp(first, latest);
        self.next_at = now + self.wait;
    }

    /// Takes note of the estimate after each feedback.
    pub(crate) fn on_estimate(&mut self, estimate: Bitrate, now: u64) {
        if let Some((lost, since)) = self.sought {
            if estimate >= lost.scale(BORNE) || now.saturating_sub(since) > SEEK {
                (self.sought, self.peak) = (None, estimate);
            }
            return;
        }
        if estimate < self.peak.scale(FALL) {
            self.sought = Some((self.peak, now));
            (self.wait, self.next_at, self.passed_in_row) = (0, self.next_at.max(now + SOON), 0);
        }
        // The peak fades by a tenth or so in a second of feedback.
        self.peak = if estimate >= self.peak { estimate } else { self.peak - (self.peak - estimate).scale(0.01) };
    }

    /// Gives up the probe under way: its packets will not be heard of.
    pub(crate) fn give_up(&mut self, now: u64) {
        self.cluster = None;
        self.next_at = self.next_at.min(now + SOONEST);
    }

    /// Puts the next probe off: queues have just grown.
    pub(crate) fn on_decrease(&mut self, now: u64) {
        self.passed_in_row = 0;
        self.next_at = self.next_at.max(now + SOON);
    }

    /// When the next probe may be due, or the present one is given up.
    pub(crate) fn next_at(&self) -> u64 {
        self.cluster.map_or(self.next_at, |cluster| cluster.deadline)
    }
}

impl Cluster {
    /// The rate that passed: how it was sent where it arrived like that, otherwise a little less than how it arrived.
    fn measure(&self, inherent_loss: f64) -> Option<Bitrate> {
        let back = f64::from(self.arrived_packets) / f64::from(self.packets.max(1));
        let (first, last) = self.arrivals?;
        if self.arrived_packets < FEWEST_PACKETS || back < MOST_BACK * (1.0 - inherent_loss) {
            return None;
        }
        let sent_in = Duration::from_micros(self.last_sent.saturating_sub(self.first_sent));
        let arrived_in = Duration::from_micros(u64::try_from(last - first).ok()?);
        // The interval ends with the last packet's start and begins with the first one's end.
        let sent = Bitrate::of(self.sent - self.last_size.min(self.sent), sent_in)?.min(self.rate.scale(1.2));
        // What was lost at random took no less room before it was lost.
        let arrived = self.arrived.saturating_sub(self.first_size) as f64 / (1.0 - inherent_loss);
        let arrived = Bitrate::of(arrived as u64, arrived_in).unwrap_or(sent);
        if arrived < sent.scale(BORNE) { Some(arrived.scale(OF_FULL)) } else { Some(sent.min(arrived)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KBPS: fn(u64) -> Bitrate = Bitrate::from_kbps;

    fn situation() -> Situation {
        Situation {
            estimate: KBPS(300),
            max: KBPS(10_000),
            next: KBPS(500),
            all: KBPS(5_000),
            congested: false,
            queue: 0,
            limited: true,
            lag: 150_000,
            heard: true,
        }
    }

    /// Sends and settles a probe over a line; answers its rate, the result, and when it was known.
    fn probe(prober: &mut Prober, situation: &Situation, line: Bitrate, at: u64) -> Option<(Bitrate, Option<Bitrate>)> {
        let (id, rate, bytes, _) = prober.poll(situation, at)?;
        let (mut sent, mut now, mut free) = (0, at, 0);
        let mut results = Vec::new();
        while prober.is_sending() {
            assert_eq!(prober.on_sent(250, now), id);
            free = u64::max(free, now) + line.time_for(250).as_micros() as u64;
            results.push(PacketResult { sent_at: now, bytes: 250, cluster: id, arrival: Some(free as i64), was_lost: false });
            sent += 250;
            now += rate.time_for(250).as_micros() as u64;
        }
        assert!(sent >= bytes && sent < bytes + 250);
        assert_eq!(prober.on_sent(250, now), 0);
        results.iter().for_each(|result| prober.on_result(result));
        Some((rate, prober.conclude(situation.estimate, 0.0, now + 100_000)))
    }

    #[test]
    fn the_start_goes_up_by_three_then_two_until_the_line_is_full() {
        let mut prober = Prober::default();
        let mut now = situation();
        let (first, result) = probe(&mut prober, &now, KBPS(1_500), 0).unwrap();
        assert_eq!(first, KBPS(900));
        assert!(result.is_some_and(|result| result.bps() > 890_000));
        (now.estimate, now.limited) = (KBPS(900), false);
        let (second, result) = probe(&mut prober, &now, KBPS(1_500), 200_000).unwrap();
        assert_eq!(second, KBPS(1_800));
        assert!(result.is_some_and(|result| (1_350_000..1_500_000).contains(&result.bps())), "{result:?}");
    }

    #[test]
    fn no_more_than_the_next_step_and_nothing_where_nothing_is_wanted() {
        let mut prober = Prober { started: true, ..Prober::default() };
        assert_eq!(probe(&mut prober, &situation(), KBPS(5_000), 0).unwrap().0, KBPS(525), "a little beyond it");
        let satisfied = Situation { all: KBPS(300), ..situation() };
        assert_eq!(prober.poll(&satisfied, 10_000_000), None);
        assert_eq!(prober.poll(&Situation { congested: true, ..situation() }, 10_000_000), None);
        assert_eq!(prober.poll(&Situation { queue: 60_000, ..situation() }, 10_000_000), None);
    }

    #[test]
    fn probes_that_fail_are_tried_less_and_less() {
        let mut prober = Prober { started: true, ..Prober::default() };
        let mut times = Vec::new();
        for n in 0..600 {
            if probe(&mut prober, &situation(), KBPS(300), n * 100_000).is_some() {
                times.push(n / 10);
            }
        }
        assert_eq!(times, [0, 4, 10, 19, 29, 40, 50]);
    }

    #[test]
    fn a_lost_rate_is_sought_soon() {
        let mut prober = Prober { started: true, ..Prober::default() };
        prober.on_estimate(KBPS(2_000), 0);
        prober.on_estimate(KBPS(150), 100_000);
        let low = Situation { estimate: KBPS(150), limited: false, ..situation() };
        assert_eq!(prober.poll(&low, 1_000_000), None);
        assert_eq!(probe(&mut prober, &low, KBPS(5_000), 1_600_000).unwrap().0, KBPS(300));
        let low = Situation { estimate: KBPS(300), limited: false, ..situation() };
        assert_eq!(probe(&mut prober, &low, KBPS(5_000), 1_900_000).unwrap().0, KBPS(600), "at once");
        prober.on_estimate(KBPS(1_900), 2_000_000);
        assert_eq!(prober.sought, None);
    }

    #[test]
    fn a_probe_whose_feedback_never_comes_is_given_up() {
        let mut prober = Prober::default();
        prober.poll(&situation(), 0).unwrap();
        prober.on_sent(250, 0);
        assert_eq!(prober.conclude(KBPS(300), 0.0, 200_000), None);
        let deadline = prober.next_at();
        assert_eq!(prober.conclude(KBPS(300), 0.0, deadline), None);
        assert!(prober.cluster.is_none());
    }
}
