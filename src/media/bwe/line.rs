//! A line in virtual time for tests: one bottleneck with a queue, shared by flows, each with a sender of ours at one end and
//! real transport-wide feedback from the other.

use crate::model::Instant;
use std::collections::VecDeque;
use std::time::Duration;

use super::{Estimator, Limits, Need};
use crate::media::pacer::{Departure, Pacer};
use crate::media::rate::Bitrate;
use crate::media::rtcp::{Rtcp, packets};
use crate::media::twcc::TwccRecorder;

pub(crate) const MS: u64 = 1_000;
const PACKET: usize = 1_100;
const VOICE: usize = 80;
const OVERHEAD: usize = super::DATAGRAM_OVERHEAD;

/// What the line is like now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) rate: Bitrate,
    /// One way.
    pub(crate) delay: Duration,
    /// Bytes the queue holds; what comes beyond is dropped.
    pub(crate) queue: usize,
    pub(crate) loss: f64,
    pub(crate) feedback_loss: f64,
    /// Constant traffic of others.
    pub(crate) cross: Bitrate,
    /// Nothing passes for so many ms, ten times in eleven seconds or so: radio.
    pub(crate) stall: u64,
}

impl Line {
    /// A line with a round trip and a queue of 300 ms.
    pub(crate) fn new(kbps: u64, rtt_ms: u64) -> Self {
        let rate = Bitrate::from_kbps(kbps);
        let queue = rate.bytes_in(Duration::from_millis(300)) as usize;
        Self {
            rate,
            delay: Duration::from_millis(rtt_ms) / 2,
            queue,
            loss: 0.0,
            feedback_loss: 0.0,
            cross: Bitrate::ZERO,
            stall: 0,
        }
    }
}

/// What happened in a tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) estimate: u64,
    pub(crate) budget: u64,
    pub(crate) sent: u64,
    pub(crate) arrived: u64,
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    /// Longest wait in the queue of what was sent then, in microseconds.
    pub(crate) queue: u64,
    pub(crate) padding: u64,
}

/// Chooses the rate of video from what the estimator says.
pub(crate) type Source = Box<dyn FnMut(&mut Estimator, Instant) -> Bitrate>;

/// What the voice of every flow takes of the line.
pub(crate) fn voice() -> Bitrate {
    Bitrate::from_bps(50 * 8 * (VOICE + OVERHEAD) as u64)
}

/// Takes all it is given, up to a rate.
pub(crate) fn elastic(most_kbps: u64) -> Source {
    let most = Bitrate::from_kbps(most_kbps);
    Box::new(move |estimator, now| {
        estimator.set_need(Need { next: most, all: most });
        (estimator.budget(now).min(most) - voice()).scale(0.98)
    })
}

pub(crate) struct Flow {
    pub(crate) estimator: Estimator,
    pub(crate) samples: Vec<Sample>,
    pub(crate) starts_at: u64,
    pub(crate) with_feedback: bool,
    pacer: Pacer<usize>,
    source: Source,
    recorder: TwccRecorder,
    /// Bytes of video waiting at the publisher, and how fast it paces them.
    frame: f64,
    video: Bitrate,
    arrivals: VecDeque<(u64, u16)>,
    feedback: VecDeque<(u64, Vec<u8>)>,
}

struct Queued {
    /// Nothing for traffic of others.
    flow: Option<usize>,
    sequence: u16,
    bytes: usize,
    at: u64,
}

pub(crate) struct World {
    pub(crate) t0: Instant,
    pub(crate) line: Line,
    pub(crate) flows: Vec<Flow>,
    pub(crate) now: u64,
    queue: VecDeque<Queued>,
    queued: usize,
    free_at: u64,
    cross: f64,
    random: u64,
}

impl World {
    pub(crate) fn new(line: Line, sources: Vec<Source>, seed: u64) -> Self {
        let t0 = Instant::now();
        let flows = sources.into_iter().map(|source| Flow::new(source, t0)).collect();
        let (queue, random) = (VecDeque::new(), seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self { t0, line, flows, now: 0, queue, queued: 0, free_at: 0, cross: 0.0, random }
    }

    /// Runs until so many seconds after the start.
    pub(crate) fn run_to(&mut self, seconds: f64) {
        while self.now < (seconds * 1e6) as u64 {
            self.step();
        }
    }

    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn step(&mut self) {
        let at = self.now;
        self.cross += self.line.cross.bps() as f64 / 8_000.0;
        while self.cross >= 1_228.0 {
            self.cross -= 1_228.0;
            self.enqueue(Queued { flow: None, sequence: 0, bytes: 1_228, at });
        }
        for index in 0..self.flows.len() {
            if self.flows[index].starts_at > at {
                continue;
            }
            for (sequence, bytes) in self.send(index) {
                self.enqueue(Queued { flow: Some(index), sequence, bytes: bytes + OVERHEAD, at });
            }
        }
        self.drain();
        for index in 0..self.flows.len() {
            self.receive(index);
        }
        self.now += MS;
    }

    fn sample(&mut self, flow: usize, at: u64) -> &mut Sample {
        let slot = (at / (100 * MS)) as usize;
        let samples = &mut self.flows[flow].samples;
        if samples.len() <= slot {
            samples.resize(slot + 1, Sample::default());
        }
        &mut samples[slot]
    }

    fn send(&mut self, index: usize) -> Vec<(u16, usize)> {
        let (at, noise) = (self.now, self.chance());
        let now = self.t0 + Duration::from_micros(at);
        let (sent, padding) = self.flows[index].tick(at, now, noise);
        let (estimate, budget) = (self.flows[index].estimator.estimate(now), self.flows[index].estimator.budget(now));
        let sample = self.sample(index, at);
        (sample.estimate, sample.budget) = (estimate.bps(), budget.bps());
        sample.padding += padding as u64;
        sent
    }

    fn enqueue(&mut self, packet: Queued) {
        let lost_by_chance = packet.flow.is_some() && self.chance() < self.line.loss;
        let lost = lost_by_chance || self.queued + packet.bytes > self.line.queue.max(2 * PACKET);
        if let Some(flow) = packet.flow {
            let sample = self.sample(flow, packet.at);
            sample.sent += packet.bytes as u64;
            sample.packets += 1;
            sample.lost += u64::from(lost);
        }
        if !lost {
            self.queued += packet.bytes;
            self.queue.push_back(packet);
        }
    }

    fn drain(&mut self) {
        if self.now.is_multiple_of(1_117 * MS) {
            self.free_at = self.free_at.max(self.now + self.line.stall * MS);
        }
        while let Some(packet) = self.queue.front() {
            let start = self.free_at.max(packet.at);
            if start >= self.now + MS {
                break;
            }
            let packet = self.queue.pop_front().unwrap();
            self.queued -= packet.bytes;
            self.free_at = start + self.line.rate.time_for(packet.bytes as u64).as_micros() as u64;
            let Some(flow) = packet.flow else { continue };
            let arrival = self.free_at + self.line.delay.as_micros() as u64;
            self.flows[flow].arrivals.push_back((arrival, packet.sequence));
            self.sample(flow, self.now).arrived += packet.bytes as u64;
            let sample = self.sample(flow, packet.at);
            sample.queue = sample.queue.max(start - packet.at);
        }
    }

    fn receive(&mut self, index: usize) {
        let (at, back) = (self.now, self.line.delay.as_micros() as u64);
        let now = self.t0 + Duration::from_micros(at);
        let mut out = [0; 1_200];
        let mut written = Vec::new();
        let flow = &mut self.flows[index];
        while let Some((arrival, sequence)) = flow.arrivals.front().copied().filter(|(arrival, _)| *arrival <= at) {
            flow.arrivals.pop_front();
            flow.recorder.on_packet(sequence, self.t0 + Duration::from_micros(arrival));
        }
        while let Some(length) = flow.recorder.poll_feedback(now, &mut out, 1, 2) {
            written.push(out[..length].to_vec());
        }
        for feedback in written {
            if self.flows[index].with_feedback && self.chance() >= self.line.feedback_loss {
                self.flows[index].feedback.push_back((at + back, feedback));
            }
        }
    }
}

impl Flow {
    fn new(source: Source, t0: Instant) -> Self {
        let estimator = Estimator::new(Limits::default(), t0);
        Self {
            pacer: Pacer::new(estimator.budget(t0), t0),
            estimator,
            samples: Vec::new(),
            starts_at: 0,
            with_feedback: true,
            source,
            recorder: TwccRecorder::default(),
            frame: 0.0,
            video: Bitrate::ZERO,
            arrivals: VecDeque::new(),
            feedback: VecDeque::new(),
        }
    }

    /// One millisecond at the sender; numbers and lengths of what it sends, and how much of that is padding.
    fn tick(&mut self, at: u64, now: Instant, noise: f64) -> (Vec<(u16, usize)>, usize) {
        while let Some((_, bytes)) = self.feedback.pop_front_if(|(due, _)| *due <= at) {
            let Some(Ok(Rtcp::TransportFeedback(feedback))) = packets(&bytes).next() else { panic!("feedback") };
            self.estimator.on_feedback(&feedback, now);
        }
        self.estimator.handle_timeout(now);
        self.pacer.set_budget(self.estimator.budget(now).max(self.video), false, now);
        if let Some(probe) = self.estimator.poll_probe(now) {
            self.pacer.start_probe(probe, now);
        }
        let mut out = Vec::new();
        let mut padding_sent = 0;
        if at.is_multiple_of(20 * MS) {
            self.pacer.on_voice(VOICE, now);
            out.push(VOICE);
        }
        if at.is_multiple_of(33 * MS) {
            self.video = (self.source)(&mut self.estimator, now);
            let packets_share = PACKET as f64 / (PACKET + OVERHEAD) as f64;
            let frame = self.video.bytes_in(Duration::from_millis(33)) as f64 * packets_share;
            self.frame = (self.frame + frame * (0.7 + 0.6 * noise)).min((frame * 4.0).max(PACKET as f64));
        }
        // The publisher paces its frames at two and a half times their rate.
        let mut allowed = (self.video.bytes_in(Duration::from_millis(1)) as f64 * 2.5).max(PACKET as f64);
        while self.frame >= PACKET as f64 && allowed >= PACKET as f64 {
            self.frame -= PACKET as f64;
            allowed -= PACKET as f64;
            if self.pacer.on_video(PACKET, PACKET, now) {
                out.push(PACKET);
            }
        }
        while let Some(send) = self.pacer.poll(now) {
            match send {
                Departure::Padding(padding) => {
                    // Packets sent before wherever they fit, else nothing.
                    let is_repeat = padding.repeat >= PACKET;
                    let bytes = if is_repeat { PACKET } else { padding.empty.min(250) };
                    self.pacer.on_padding(bytes, is_repeat);
                    padding_sent += bytes;
                    out.push(bytes);
                }
                Departure::Held(bytes) | Departure::Repair(bytes) => out.push(bytes),
                Departure::Late(_) => {}
            }
        }
        (out.into_iter().map(|bytes| (self.estimator.on_sent(bytes, now), bytes)).collect(), padding_sent)
    }

    fn over(&self, from: f64, to: f64) -> &[Sample] {
        &self.samples[(from * 10.0) as usize..((to * 10.0) as usize).min(self.samples.len())]
    }

    /// Kilobits a second that arrived.
    pub(crate) fn arrived(&self, from: f64, to: f64) -> f64 {
        self.over(from, to).iter().map(|sample| sample.arrived as f64).sum::<f64>() * 8.0 / 1e3 / (to - from)
    }

    /// Share of packets lost.
    pub(crate) fn lost(&self, from: f64, to: f64) -> f64 {
        let (lost, packets) = self.over(from, to).iter().fold((0, 0), |sum, s| (sum.0 + s.lost, sum.1 + s.packets));
        lost as f64 / f64::max(packets as f64, 1.0)
    }

    /// Longest wait in the queue, in ms.
    pub(crate) fn queue(&self, from: f64, to: f64) -> f64 {
        self.over(from, to).iter().map(|sample| sample.queue as f64 / 1e3).fold(0.0, f64::max)
    }

    /// The wait in the queue below which 95 of 100 tenths of a second stay, in ms.
    pub(crate) fn queue_95(&self, from: f64, to: f64) -> f64 {
        let mut queues: Vec<_> = self.over(from, to).iter().map(|sample| sample.queue).collect();
        queues.sort_unstable();
        queues[queues.len() * 95 / 100] as f64 / 1e3
    }

    /// Least and mean estimate in kbit/s.
    pub(crate) fn estimate(&self, from: f64, to: f64) -> (f64, f64) {
        let kbps = self.over(from, to).iter().map(|sample| sample.estimate as f64 / 1e3);
        (kbps.clone().fold(f64::INFINITY, f64::min), kbps.sum::<f64>() / self.over(from, to).len() as f64)
    }

    /// How long it takes until so many kbit/s arrive over half a second; infinite where they never do.
    pub(crate) fn reaches(&self, kbps: u64, from: f64) -> f64 {
        let start = (from * 10.0) as usize;
        let windows = self.samples[start..].windows(5);
        let rate = |window: &[Sample]| window.iter().map(|sample| sample.arrived * 8).sum::<u64>() / 500;
        windows.map(rate).position(|rate| rate >= kbps).map_or(f64::INFINITY, |index| (index + 5) as f64 / 10.0)
    }
}
