//! One track as one receiver gets it: gaps, delay, pictures, freezes, key frames.

use super::MediaKind;
use super::shape::Stamp;
use crate::measure::{Second, Stream, note};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A packet this long after its successor is lost.
const LOST: Duration = Duration::from_secs(1);
/// Gaps remembered; more at once is a stream that broke, and the oldest are lost at once.
const MOST_MISSING: usize = 2_048;
/// Frames that wait for their packets.
const FRAMES: usize = 64;
/// Without a picture that can be decoded for this long a key frame is asked for.
const STUCK: Duration = Duration::from_millis(300);
/// And again after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// A request that nothing answers for this long was in vain.
const IN_VAIN: Duration = Duration::from_secs(5);
/// A track without packets for this long has gone.
const GONE: Duration = Duration::from_secs(60);
/// Added to the mean gap of pictures before it counts as a freeze (W3C WebRTC statistics, `freezeCount`).
const FREEZE: f64 = 0.150;

/// A track of somebody else.
pub(crate) struct Incoming {
    pub(crate) source: u32,
    pub(crate) kind: MediaKind,
    pub(crate) ssrc: u32,
    layer: u8,
    /// Of the stamps of the layer.
    highest: Option<u32>,
    run_from: u32,
    missing: VecDeque<(u32, Instant)>,
    last_packet: Option<Instant>,
    frames: VecDeque<Frame>,
    decoded: Option<Decoded>,
    /// Seconds between pictures, smoothed.
    mean_gap: Option<f64>,
    asked: Option<Asked>,
    next_ask: Option<Instant>,
    waits_since: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Frame {
    number: u32,
    key: bool,
    left: u16,
    sent: u64,
    /// Left out on purpose by the relay.
    skipped: bool,
}

#[derive(Clone, Copy)]
struct Decoded {
    layer: u8,
    frame: u32,
    at: Instant,
    sent: u64,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    wall: u64,
}

fn side(second: &mut Second, kind: MediaKind) -> &mut Stream {
    match kind {
        MediaKind::Audio => &mut second.audio,
        MediaKind::Video => &mut second.video,
    }
}

impl Incoming {
    pub(crate) fn new(stamp: &Stamp) -> Self {
        Self {
            source: stamp.source,
            kind: stamp.kind,
            ssrc: 0,
            layer: stamp.layer,
            highest: None,
            run_from: stamp.number,
            missing: VecDeque::new(),
            last_packet: None,
            frames: VecDeque::new(),
            decoded: None,
            mean_gap: None,
            asked: None,
            next_ask: None,
            waits_since: None,
        }
    }

    /// Takes a packet; `jumped` says that the RTP sequence number left a gap before it.
    #[expect(clippy::too_many_arguments, reason = "what a packet is and when it came")]
    pub(crate) fn handle(
        &mut self,
        stamp: &Stamp,
        len: usize,
        repeated: bool,
        jumped: bool,
        now: Instant,
        arrived: u64,
        second: &mut Second,
    ) {
        let seen = side(second, self.kind);
        let starts = stamp.key && stamp.index == 0;
        if stamp.layer != self.layer {
            // A straggler of the layer before, or the new layer's key frame out of order: neither opens a run.
            if !starts || repeated {
                return;
            }
            self.begin(stamp);
        }
        if !self.number(stamp, repeated, jumped, now, seen) {
            return;
        }
        self.last_packet = Some(now);
        seen.received += 1;
        seen.bytes += len as u64;
        if !repeated {
            note(&mut seen.delay, arrived.saturating_sub(stamp.at) / 1_000);
        }
        if self.kind == MediaKind::Video {
            if starts && self.asked.is_some_and(|asked| stamp.at >= asked.wall) {
                let asked = self.asked.take();
                note(
                    &mut seen.key_frame_waits,
                    asked.map_or(0, |asked| now.saturating_duration_since(asked.at).as_millis() as u64),
                );
            }
            self.assemble(stamp, now, seen);
        }
    }

    /// A new run: another layer, or the same after a pause.
    fn begin(&mut self, stamp: &Stamp) {
        self.layer = stamp.layer;
        self.highest = None;
        self.missing.clear();
        self.frames.clear();
    }

    /// Counts the packet's number; `false` for one that was there before.
    fn number(&mut self, stamp: &Stamp, repeated: bool, jumped: bool, now: Instant, seen: &mut Stream) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(stamp.number);
            self.run_from = stamp.number;
            seen.expected += 1;
            return true;
        };
        if stamp.number > highest {
            let gap = stamp.number - highest - 1;
            if gap > 0 && !jumped && !repeated {
                // The relay closed its own numbers over the gap: it left these out on purpose.
                seen.thinned += u64::from(gap);
                self.skip_frames(stamp);
            } else if gap > 0 {
                seen.expected += u64::from(gap);
                (highest + 1..stamp.number).for_each(|number| self.missing.push_back((number, now)));
                while self.missing.len() > MOST_MISSING {
                    self.missing.pop_front();
                    seen.lost += 1;
                }
            }
            seen.expected += 1;
            self.highest = Some(stamp.number);
            return true;
        }
        if stamp.number < self.run_from {
            return false;
        }
        if let Some(at) = self.missing.iter().position(|(number, _)| *number == stamp.number) {
            self.missing.remove(at);
            if repeated {
                seen.repaired += 1;
            } else {
                seen.reordered += 1;
            }
            return true;
        }
        if repeated {
            seen.needless += 1;
        } else {
            seen.duplicate += 1;
        }
        false
    }

    /// Frames that a relay left out whole are no gap for a decoder.
    fn skip_frames(&mut self, stamp: &Stamp) {
        let last = self.frames.back().map(|frame| frame.number).or_else(|| self.decoded.map(|decoded| decoded.frame));
        let Some(last) = last.filter(|last| *last < stamp.frame && !stamp.key) else { return };
        for number in (last + 1..stamp.frame).take(FRAMES) {
            self.keep(Frame { number, key: false, left: 0, sent: stamp.at, skipped: true });
        }
    }

    fn keep(&mut self, frame: Frame) {
        if self.frames.len() >= FRAMES {
            self.frames.pop_front();
        }
        let at = self.frames.partition_point(|other| other.number < frame.number);
        self.frames.insert(at, frame);
    }

    fn assemble(&mut self, stamp: &Stamp, now: Instant, seen: &mut Stream) {
        let layer = self.layer;
        let old = self.decoded.is_some_and(|decoded| decoded.layer == layer && stamp.frame <= decoded.frame);
        if old && !self.frames.iter().any(|frame| frame.number == stamp.frame) {
            return;
        }
        match self.frames.iter_mut().find(|frame| frame.number == stamp.frame) {
            Some(frame) => frame.left = frame.left.saturating_sub(1),
            None => {
                self.keep(Frame { number: stamp.frame, key: stamp.key, left: stamp.count - 1, sent: stamp.at, skipped: false });
            }
        }
        if self.decoded.is_none() {
            self.waits_since.get_or_insert(now);
        }
        self.decode(now, seen);
    }

    /// Takes whole frames out in order: the next one, or a key frame.
    fn decode(&mut self, now: Instant, seen: &mut Stream) {
        loop {
            let layer = self.layer;
            let next = self.decoded.filter(|decoded| decoded.layer == layer).map(|decoded| decoded.frame.wrapping_add(1));
            let at = self.frames.iter().position(|frame| frame.left == 0 && (frame.key || Some(frame.number) == next));
            let Some(frame) = at.and_then(|at| self.frames.get(at).copied()) else { break };
            self.frames.retain(|other| other.number > frame.number);
            if frame.skipped {
                if let Some(decoded) = self.decoded.as_mut() {
                    decoded.frame = frame.number;
                }
                continue;
            }
            seen.frames += 1;
            if let Some(before) = self.decoded {
                let gap = now.saturating_duration_since(before.at).as_secs_f64();
                let sent = Duration::from_nanos(frame.sent.saturating_sub(before.sent)).as_secs_f64();
                let mean = self.mean_gap.unwrap_or(gap);
                let limit = (3.0 * mean).max(mean + FREEZE);
                // A sender that made no picture for that long froze nobody: its numbers go on without a gap.
                let idle = Some(frame.number) == next && sent >= limit;
                if gap > limit && self.mean_gap.is_some() && !idle {
                    seen.freezes += 1;
                    seen.frozen += Duration::from_secs_f64(gap);
                } else if gap <= limit {
                    self.mean_gap = Some(mean + (gap - mean) / 16.0);
                }
            }
            self.decoded = Some(Decoded { layer, frame: frame.number, at: now, sent: frame.sent });
            self.waits_since = None;
        }
        if self.frames.is_empty() {
            self.waits_since = None;
        } else {
            self.waits_since.get_or_insert(now);
        }
    }

    /// Whether to ask for a key frame now; `forced` asks without need.
    pub(crate) fn wants_key_frame(&mut self, now: Instant, wall: u64, forced: bool) -> bool {
        let first = self.decoded.is_none() && self.waits_since.is_some();
        let stuck = self.waits_since.is_some_and(|since| since + STUCK <= now);
        let may = self.next_ask.is_none_or(|at| at <= now);
        if !(forced || (first || stuck) && may) {
            return false;
        }
        self.next_ask = Some(now + ASK_AGAIN);
        if self.asked.is_none() || forced {
            self.asked = Some(Asked { at: now, wall });
        }
        true
    }

    /// The relay was told to send nothing of it for a while: no freeze, no loss.
    pub(crate) fn pause(&mut self) {
        self.decoded = None;
        self.mean_gap = None;
        self.waits_since = None;
        self.frames.clear();
        self.highest = None;
        self.missing.clear();
    }

    /// Gives up old gaps; `false` when the track has gone.
    pub(crate) fn every_second(&mut self, now: Instant, second: &mut Second) -> bool {
        let seen = side(second, self.kind);
        while self.missing.front().is_some_and(|(_, since)| *since + LOST <= now) {
            self.missing.pop_front();
            seen.lost += 1;
        }
        if self.asked.is_some_and(|asked| asked.at + IN_VAIN <= now) {
            self.asked = None;
            seen.key_frames_missed += 1;
        }
        let lives = self.last_packet.is_some_and(|last| now < last + GONE);
        seen.streams += u32::from(self.last_packet.is_some_and(|last| now < last + Duration::from_secs(1)));
        lives
    }
}
