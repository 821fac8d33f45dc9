//! A route under random weather, judged by a reference observer that knows what the publisher sent.

use super::tests::vp8;
use super::*;
use crate::media::codec::{Vp8Descriptor, inspect};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const FRAME_TIME: Duration = Duration::from_millis(33);
const FRAME_TICKS: u32 = 2_970;
const FIRST_OUTGOING: u16 = 65_500;

#[derive(Clone)]
struct Packet {
    layer: u8,
    sequence: u64,
    timestamp: u32,
    marker: bool,
    /// Counts the layer's frames; padding belongs to none.
    frame: Option<u64>,
    payload: Vec<u8>,
    key_start: bool,
    /// A second copy of one that was delivered.
    copy: bool,
}

/// What the observer saw happen to a delivered packet.
struct Outcome {
    packet: Packet,
    /// Its descriptor as it came in.
    came: Option<Vp8Descriptor>,
    forwarded: Option<(Rewrite, Option<Vp8Descriptor>)>,
}

/// A stretch on one layer without a break.
struct Era {
    outcomes: BTreeMap<u64, Outcome>,
}

/// One simulcast layer of the publisher; every counter begins just before its wrap.
struct Source {
    layer: u8,
    sequence: u64,
    timestamp: u32,
    picture: u16,
    tl0: u8,
    key_index: u8,
    frame: u64,
    pattern: usize,
}

impl Source {
    fn new(layer: u8) -> Self {
        let n = u64::from(layer);
        Self {
            layer,
            sequence: 0x1_FFF0 + n,
            timestamp: u32::MAX - 20_000 * (u32::from(layer) + 1),
            picture: 32_750 + u16::from(layer),
            tl0: 250,
            key_index: 29,
            frame: 0,
            pattern: 0,
        }
    }

    fn emit(&mut self, key: bool, dice: &mut Dice, out: &mut Vec<Packet>) {
        // Temporal layers 0 2 1 2; the first of each higher layer needs base frames only.
        self.pattern = if key { 0 } else { (self.pattern + 1) % 4 };
        let (temporal, sync) = [(0, false), (2, true), (1, true), (2, false)][self.pattern];
        self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
        self.picture = self.picture.wrapping_add(1);
        self.frame += 1;
        self.tl0 = self.tl0.wrapping_add(u8::from(temporal == 0));
        self.key_index = self.key_index.wrapping_add(u8::from(key));
        let packets = 1 + dice.below(4);
        for n in 0..packets {
            let start = n == 0;
            let payload = vp8(start, key, self.picture, self.tl0, temporal, sync, self.key_index).to_vec();
            out.push(self.packet(Some(self.frame), payload, n + 1 == packets, key && start));
        }
        if dice.below(10) == 0 {
            out.push(self.packet(None, Vec::new(), false, false));
        }
    }

    fn packet(&mut self, frame: Option<u64>, payload: Vec<u8>, marker: bool, key_start: bool) -> Packet {
        self.sequence += 1;
        let (layer, sequence, timestamp) = (self.layer, self.sequence, self.timestamp);
        Packet { layer, sequence, timestamp, marker, frame, payload, key_start, copy: false }
    }
}

/// A small generator of numbers (xorshift), so that one seed is one story.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// How often something interesting happened: a story without weather proves nothing.
#[derive(Default, Debug)]
struct Tally {
    eras: usize,
    closed: usize,
    filled: usize,
    emptied: usize,
    missing: usize,
    copies: usize,
}

struct Story {
    route: Route,
    now: Instant,
    dice: Dice,
    current: Option<u8>,
    eras: Vec<Era>,
    tally: Tally,
}

impl Story {
    fn new(seed: u64) -> Self {
        let route = Route::new(RouteConfig {
            codec: Codec::Vp8,
            clock_rate: 90_000,
            initial_sequence: FIRST_OUTGOING,
            initial_timestamp: u32::MAX - 5_000,
        });
        Self { route, now: Instant::now(), dice: Dice(seed | 1), current: None, eras: Vec::new(), tally: Tally::default() }
    }

    fn run(&mut self, ticks: u64) {
        let mut sources = [0, 1, 2].map(Source::new);
        let mut under_way: BTreeMap<u64, Vec<Packet>> = BTreeMap::new();
        for tick in 0..ticks {
            self.change_something(&sources, tick);
            for source in &mut sources {
                let asked = self.route.wants_key_frame() == Some(source.layer);
                let key = self.dice.below(60) == 0 || (asked && self.dice.below(3) == 0);
                let mut packets = Vec::new();
                source.emit(key, &mut self.dice, &mut packets);
                for packet in packets {
                    match self.dice.below(100) {
                        0..5 => {}
                        5..12 => under_way.entry(tick + 1 + self.dice.below(4)).or_default().push(packet),
                        12..15 => {
                            let copy = Packet { copy: true, ..packet.clone() };
                            under_way.entry(tick).or_default().push(packet);
                            under_way.entry(tick + 1 + self.dice.below(3)).or_default().push(copy);
                        }
                        _ => under_way.entry(tick).or_default().push(packet),
                    }
                }
            }
            let mut due = under_way.remove(&tick).unwrap_or_default();
            if self.dice.below(4) == 0 && due.len() > 1 {
                let at = self.dice.below(due.len() as u64 - 1) as usize;
                due.swap(at, at + 1);
            }
            for packet in due {
                self.deliver(packet);
            }
            self.now += FRAME_TIME;
        }
    }

    fn change_something(&mut self, sources: &[Source; 3], tick: u64) {
        match self.dice.below(40) {
            0 => {
                self.route.set_target(None);
                self.current = None;
            }
            1..4 => self.route.set_target(Some(self.dice.below(3) as u8)),
            4 => self.route.set_max_temporal(Some(self.dice.below(3) as u8)),
            5 => self.route.set_max_temporal(None),
            6 => {
                let source = &sources[self.dice.below(3) as usize];
                let ntp = (1_000 << 32) + ((tick * 33) << 32) / 1_000;
                self.route.set_layer_clock(source.layer, ntp, source.timestamp);
            }
            7 => self.route.request_key_frame(),
            _ if tick == 0 => self.route.set_target(Some(0)),
            _ => {}
        }
    }

    fn deliver(&mut self, mut packet: Packet) {
        let facts = inspect(Codec::Vp8, &packet.payload, None);
        let incoming = Incoming {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            facts: &facts,
            payload_len: packet.payload.len(),
            now: self.now,
        };
        let verdict = self.route.on_packet(packet.layer, &incoming);
        if packet.copy
            && self
                .eras
                .last()
                .is_some_and(|era| self.current == Some(packet.layer) && era.outcomes.contains_key(&packet.sequence))
        {
            assert_eq!(verdict, Verdict::Drop, "a copy goes out a second time");
            self.tally.copies += 1;
            return;
        }
        if self.route.current() != self.current {
            self.current = self.route.current();
            self.eras.push(Era { outcomes: BTreeMap::new() });
        }
        let forwarded = match verdict {
            Verdict::Drop => None,
            Verdict::Forward(rewrite) => {
                if let Some(Patch::Vp8(patch)) = rewrite.patch {
                    patch.apply(&mut packet.payload);
                }
                Some((rewrite, Vp8Descriptor::parse(&packet.payload)))
            }
        };
        let Some(era) = self.eras.last_mut().filter(|_| self.current == Some(packet.layer)) else {
            assert_eq!(forwarded, None, "only the current layer goes out");
            return;
        };
        let (Some(first), Some(newest)) = (era.outcomes.keys().next(), era.outcomes.keys().next_back()) else {
            assert!(packet.key_start && forwarded.is_some(), "a layer begins at a key frame");
            era.outcomes.insert(packet.sequence, Outcome { packet, came: facts.vp8, forwarded });
            return;
        };
        if packet.sequence < *first {
            assert_eq!(forwarded, None, "from before the switch");
            return;
        }
        if packet.sequence < *newest {
            let (rewrite, _) = forwarded.expect("a late packet finds its number");
            self.tally.filled += 1;
            self.tally.emptied += usize::from(rewrite.empty);
        } else if forwarded.is_none() {
            self.tally.closed += 1;
        }
        era.outcomes.insert(packet.sequence, Outcome { packet, came: facts.vp8, forwarded });
    }

    /// Compares everything that went out with what the source numbers demand.
    fn judge(&mut self) {
        self.tally.eras = self.eras.len();
        let mut outgoing = 0x1_0000 + u64::from(FIRST_OUTGOING) - 1;
        let mut last: Option<(u32, Vp8Descriptor)> = None;
        let mut sent: BTreeMap<u64, (u8, u64, Rewrite)> = BTreeMap::new();
        for era in &self.eras {
            let left_out: BTreeSet<u64> =
                era.outcomes.values().filter(|o| o.forwarded.is_none()).filter_map(|o| o.packet.frame).collect();
            let (&first, opening) = era.outcomes.first_key_value().unwrap();
            let base = outgoing + 1;
            let (opening_rewrite, opening_vp8) = opening.forwarded.unwrap();
            let opening_vp8 = opening_vp8.unwrap();
            if let Some((timestamp, vp8)) = last {
                assert!(opening_rewrite.timestamp.wrapping_sub(timestamp) as i32 > 0, "time goes on");
                assert_eq!(opening_vp8.picture_id, vp8.picture_id.map(|id| (id + 1) & 0x7fff));
                assert_eq!(opening_vp8.tl0_picture_index, vp8.tl0_picture_index.map(|index| index.wrapping_add(1)));
                assert_eq!(opening_vp8.key_index, vp8.key_index.map(|index| (index + 1) & 0x1f));
            }
            let shifts = |came: &Vp8Descriptor, went: &Vp8Descriptor| {
                let tl0 = came.tl0_picture_index.unwrap().wrapping_sub(went.tl0_picture_index.unwrap());
                (tl0, came.key_index.unwrap().wrapping_sub(went.key_index.unwrap()) & 0x1f)
            };
            let era_shifts = shifts(&opening.came.unwrap(), &opening_vp8);
            let mut closed = 0;
            let mut before: Option<(Option<u64>, u32)> = None;
            for (&sequence, outcome) in &era.outcomes {
                let Some((rewrite, vp8)) = &outcome.forwarded else {
                    closed += 1;
                    continue;
                };
                let expected = base + (sequence - first) - closed;
                assert_eq!(rewrite.sequence, expected as u16, "no gap but the publisher's");
                assert!(sent.insert(expected, (outcome.packet.layer, sequence, *rewrite)).is_none(), "sent once");
                outgoing = outgoing.max(expected);
                if let Some((frame, timestamp)) = before {
                    let step = rewrite.timestamp.wrapping_sub(timestamp) as i32;
                    let same = outcome.packet.frame.is_none() || frame == outcome.packet.frame;
                    assert!(if same { step >= 0 } else { step > 0 }, "time goes on: {step}");
                }
                let frame_or_before = outcome.packet.frame.or_else(|| before.and_then(|(frame, _)| frame));
                before = Some((frame_or_before, rewrite.timestamp));
                let Some(frame) = outcome.packet.frame.filter(|_| !rewrite.empty) else { continue };
                assert!(!left_out.contains(&frame), "a frame goes out whole");
                let vp8 = vp8.unwrap();
                let first_frame = opening.packet.frame.unwrap();
                let between = frame - first_frame - left_out.range(..frame).count() as u64;
                let expected = u64::from(opening_vp8.picture_id.unwrap()) + between;
                assert_eq!(vp8.picture_id, Some(expected as u16 & 0x7fff), "picture ids without a jump");
                let came = outcome.came.unwrap();
                assert_eq!(shifts(&came, &vp8), era_shifts, "TL0PICIDX and KEYIDX follow the source");
                assert_eq!((vp8.temporal, vp8.layer_sync), (came.temporal, came.layer_sync));
                last = Some((rewrite.timestamp, vp8));
            }
            if let (Some((_, timestamp)), Some(last)) = (before, last.as_mut()) {
                last.0 = timestamp;
            }
        }
        self.judge_repair(&sent);
    }

    fn judge_repair(&mut self, sent: &BTreeMap<u64, (u8, u64, Rewrite)>) {
        let Some((&newest, _)) = sent.last_key_value() else { return };
        for outgoing in (newest - 50)..=newest {
            let found = self.route.resolve(outgoing as u16, self.now, FRAME_TIME);
            self.tally.missing += usize::from(!sent.contains_key(&outgoing));
            assert_eq!(found.map(|sent| (sent.layer, sent.sequence, sent.rewrite)), sent.get(&outgoing).copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_receiver_sees_one_stream_in_any_weather(seed in any::<u64>(), ticks in 1u64..900) {
        let mut story = Story::new(seed);
        story.run(ticks);
        story.judge();
    }
}

#[test]
fn the_weather_is_rough_enough() {
    let mut story = Story::new(0x5eed_0fc0_1100);
    story.run(6_000);
    story.judge();
    let tally = &story.tally;
    assert!(tally.eras > 50 && tally.closed > 1_000 && tally.filled > 300, "{tally:?}");
    assert!(tally.emptied > 20 && tally.copies > 100 && tally.missing > 0, "{tally:?}");
}
