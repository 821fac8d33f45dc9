//! Stories of one route.

use super::*;
use crate::media::codec::{Vp8Descriptor, inspect};

const MS: Duration = Duration::from_millis(1);

/// A VP8 payload with every field: 15-bit picture id, TL0PICIDX, TID, Y and KEYIDX.
pub(super) fn vp8(start: bool, key: bool, picture: u16, tl0: u8, temporal: u8, sync: bool, key_index: u8) -> [u8; 8] {
    let [high, low] = (picture & 0x7fff).to_be_bytes();
    let last = temporal << 6 | u8::from(sync) << 5 | key_index & 0x1f;
    [0x80 | u8::from(start) << 4, 0xf0, 0x80 | high, low, tl0, last, u8::from(!key), 0xaa]
}

struct Stage {
    route: Route,
    now: Instant,
}

impl Stage {
    fn new(codec: Codec) -> Self {
        let config = RouteConfig { codec, clock_rate: codec.clock_rate(), initial_sequence: 65_534, initial_timestamp: 1_000 };
        Self { route: Route::new(config), now: Instant::now() }
    }

    fn send(&mut self, codec: Codec, layer: u8, sequence: u64, timestamp: u32, payload: &[u8]) -> Verdict {
        let facts = inspect(codec, payload, None);
        let (payload_len, now) = (payload.len(), self.now);
        self.route.on_packet(layer, &Incoming { sequence, timestamp, marker: true, facts: &facts, payload_len, now })
    }

    /// One packet that is a whole VP8 frame.
    fn frame(&mut self, layer: u8, sequence: u64, timestamp: u32, key: bool) -> Option<Rewrite> {
        self.picture(layer, sequence, timestamp, vp8(true, key, sequence as u16, 0, 0, false, 0)).map(|(rewrite, _)| rewrite)
    }

    fn picture(&mut self, layer: u8, sequence: u64, timestamp: u32, mut payload: [u8; 8]) -> Option<(Rewrite, Vp8Descriptor)> {
        let rewrite = forwarded(self.send(Codec::Vp8, layer, sequence, timestamp, &payload))?;
        if let Some(Patch::Vp8(patch)) = rewrite.patch {
            patch.apply(&mut payload);
        }
        Vp8Descriptor::parse(&payload).map(|descriptor| (rewrite, descriptor))
    }
}

fn forwarded(verdict: Verdict) -> Option<Rewrite> {
    match verdict {
        Verdict::Forward(rewrite) => Some(rewrite),
        Verdict::Drop => None,
    }
}

#[test]
fn a_paused_route_forwards_nothing_and_asks_for_nothing() {
    let mut stage = Stage::new(Codec::Vp8);
    assert_eq!(stage.frame(0, 1, 0, true), None);
    assert_eq!(stage.route.wants_key_frame(), None);
}

#[test]
fn a_receiver_begins_at_a_key_frame() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(1));
    assert_eq!(stage.route.wants_key_frame(), Some(1));
    assert_eq!(stage.frame(1, 100, 9_000, false), None);
    assert_eq!(stage.frame(0, 7, 9_000, true), None, "of another layer");
    let first = stage.frame(1, 101, 12_000, true).unwrap();
    assert_eq!((first.sequence, first.timestamp), (65_534, 1_000), "as configured");
    assert_eq!((stage.route.wants_key_frame(), stage.route.current()), (None, Some(1)));
    let later: Vec<_> = (102..105).map(|n| stage.frame(1, n, 12_000 + 3_000 * n as u32, false).unwrap().sequence).collect();
    assert_eq!(later, [65_535, 0, 1], "over the wrap");
}

#[test]
fn voice_begins_at_once_and_never_asks_for_key_frames() {
    let mut stage = Stage::new(Codec::Opus);
    stage.route.set_target(Some(0));
    assert_eq!(stage.route.wants_key_frame(), None);
    let first = forwarded(stage.send(Codec::Opus, 0, 500, 960, &[0x78])).unwrap();
    assert_eq!((first.sequence, first.timestamp, first.patch), (65_534, 1_000, None));
    assert!(forwarded(stage.send(Codec::Opus, 0, 501, 1_920, &[])).is_none(), "padding");
    assert_eq!(forwarded(stage.send(Codec::Opus, 0, 502, 1_920, &[0x78])).unwrap().sequence, 65_535);
    stage.route.set_target(None);
    assert!(forwarded(stage.send(Codec::Opus, 0, 503, 2_880, &[0x78])).is_none());
    stage.now += 40 * MS;
    stage.route.set_target(Some(0));
    let resumed = forwarded(stage.send(Codec::Opus, 0, 504, 3_840, &[0x78])).unwrap();
    assert_eq!((resumed.sequence, resumed.timestamp), (0, 1_000 + 2_880), "no gap, and time has gone on");
}

#[test]
fn the_old_layer_goes_on_until_the_new_one_has_a_key_frame() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.frame(0, 10, 3_000, true).unwrap();
    stage.route.set_target(Some(2));
    assert_eq!(stage.route.wants_key_frame(), Some(2));
    assert_eq!(stage.frame(2, 900, 77_000, false), None);
    assert_eq!(stage.frame(0, 11, 6_000, false).unwrap().sequence, 65_535);
    assert_eq!(stage.frame(2, 901, 80_000, true).unwrap().sequence, 0);
    assert_eq!(stage.frame(0, 12, 9_000, false), None, "the old layer has ended");
    assert_eq!(stage.frame(2, 899, 74_000, false), None, "and what came before the switch");
    assert_eq!(stage.frame(2, 902, 83_000, false).unwrap().sequence, 1);
}

#[test]
fn what_is_broken_off_ends_with_its_picture_and_begins_again_without_a_gap() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.frame(0, 10, 3_000, true).unwrap();
    stage.route.break_off();
    assert!(stage.route.is_broken_off(0) && !stage.route.is_broken_off(1));
    let rest = forwarded(stage.send(Codec::Vp8, 0, 11, 3_000, &vp8(false, true, 10, 0, 0, false, 0))).unwrap();
    assert_eq!((rest.sequence, stage.route.wants_key_frame()), (65_535, None), "the picture goes out whole");
    assert_eq!(stage.frame(0, 12, 6_000, false), None);
    assert_eq!((stage.route.wants_key_frame(), stage.frame(0, 13, 9_000, false)), (Some(0), None));
    assert_eq!(stage.frame(0, 14, 12_000, true).unwrap().sequence, 0);
    assert_eq!(stage.frame(0, 15, 15_000, false).unwrap().sequence, 1);
    assert!(!stage.route.is_broken_off(0));
    stage.route.break_off();
    assert_eq!(stage.frame(0, 16, 18_000, true).unwrap().sequence, 2, "a key frame needs nothing before it");
    assert_eq!(stage.frame(0, 17, 21_000, false).unwrap().sequence, 3);
}

#[test]
fn losses_stay_gaps_and_a_late_packet_finds_its_own_number() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.frame(0, 10, 0, true).unwrap();
    assert_eq!(stage.frame(0, 13, 9_000, false).unwrap().sequence, 1, "11 and 12 are missing");
    assert_eq!(forwarded(stage.send(Codec::Vp8, 0, 14, 9_000, &[])), None, "padding closes its gap");
    assert_eq!(stage.frame(0, 15, 12_000, false).unwrap().sequence, 2);
    let late = stage.frame(0, 12, 6_000, false).unwrap();
    assert_eq!((late.sequence, late.timestamp), (0, 7_000));
    assert_eq!(stage.frame(0, 12, 6_000, false), None, "a number goes out once only");
    let padding = forwarded(stage.send(Codec::Vp8, 0, 11, 0, &[])).unwrap();
    assert!(padding.empty && !padding.marker && padding.sequence == 65_535, "fills the gap without a payload");
}

#[test]
fn a_restart_of_the_numbers_leaves_one_gap_and_asks_for_a_key_frame() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.frame(0, 10, 0, true).unwrap();
    assert_eq!(stage.frame(0, 50_000, 3_000, false).unwrap().sequence, 0, "65535 stays free");
    assert_eq!(stage.route.wants_key_frame(), Some(0));
    assert_eq!(stage.frame(0, 50_001, 6_000, true).unwrap().sequence, 1);
    assert_eq!(stage.route.wants_key_frame(), None);
}

#[test]
fn timestamps_follow_the_sender_reports_over_a_switch() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.route.set_layer_clock(0, 100 << 32, 90_000);
    stage.route.set_layer_clock(1, (100 << 32) + (1 << 31), 4_000_000_000);
    stage.frame(0, 1, 90_000 + 45_000, true).unwrap();
    stage.route.set_target(Some(1));
    // Captured 100 ms after the last frame, though it arrives 180 ms after it.
    stage.now += 180 * MS;
    assert_eq!(stage.frame(1, 50, 4_000_009_000, true).unwrap().timestamp, 1_000 + 9_000);
    assert_eq!(stage.route.timestamp_for(1, 4_000_012_000), Some(1_000 + 12_000));
    assert_eq!(stage.route.timestamp_for(0, 135_000), None, "not forwarded any more");
}

#[test]
fn without_sender_reports_the_elapsed_time_counts_and_at_least_a_frame() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.frame(0, 1, 0, true).unwrap();
    stage.route.set_target(Some(1));
    stage.now += 100 * MS;
    assert_eq!(stage.frame(1, 50, 5_555, true).unwrap().timestamp, 1_000 + 9_000);
    stage.route.set_target(Some(2));
    assert_eq!(stage.frame(2, 50, 1, true).unwrap().timestamp, 1_000 + 9_000 + 3_000, "the same instant");
}

#[test]
fn sender_reports_that_would_throw_the_clock_about_are_not_believed() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.route.set_layer_clock(0, 100 << 32, 0);
    stage.route.set_layer_clock(1, 5_000 << 32, 0);
    stage.frame(0, 1, 0, true).unwrap();
    stage.route.set_target(Some(1));
    stage.now += 50 * MS;
    assert_eq!(stage.frame(1, 50, 0, true).unwrap().timestamp, 1_000 + 4_500);
}

#[test]
fn two_layers_may_show_the_same_moment_and_time_does_not_drift() {
    let mut stage = Stage::new(Codec::Vp8);
    (0..2).for_each(|layer| stage.route.set_layer_clock(layer, 100 << 32, 0));
    let mut last = 0;
    for turn in 0..100u32 {
        // Each switch happens on a frame captured together with the last one of the old layer.
        let (layer, time) = ((turn % 2) as u8, turn * 30_000);
        stage.route.set_target(Some(layer));
        last = stage.frame(layer, 10 + u64::from(turn) * 2, time, true).unwrap().timestamp;
        stage.now += 333 * MS;
        last = stage.frame(layer, 11 + u64::from(turn) * 2, time + 30_000, false).unwrap().timestamp.max(last);
    }
    assert_eq!(last, 1_000 + 100 * 30_000);
}

#[test]
fn picture_numbers_continue_over_a_switch_and_a_pause() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    let (_, first) = stage.picture(0, 1, 0, vp8(true, true, 32_767, 255, 0, false, 31)).unwrap();
    assert_eq!((first.picture_id, first.tl0_picture_index, first.key_index), (Some(32_767), Some(255), Some(31)));
    stage.route.set_target(Some(1));
    let (_, switched) = stage.picture(1, 1, 0, vp8(true, true, 500, 20, 0, false, 7)).unwrap();
    assert_eq!((switched.picture_id, switched.tl0_picture_index, switched.key_index), (Some(0), Some(0), Some(0)));
    stage.route.set_target(None);
    stage.route.set_target(Some(1));
    assert!(stage.picture(1, 2, 3_000, vp8(true, false, 501, 21, 0, false, 7)).is_none(), "a pause ends at a key frame");
    let (_, resumed) = stage.picture(1, 9, 6_000, vp8(true, true, 508, 28, 0, false, 8)).unwrap();
    assert_eq!((resumed.picture_id, resumed.tl0_picture_index, resumed.key_index), (Some(1), Some(1), Some(1)));
}

#[test]
fn higher_temporal_layers_are_left_out_without_a_trace() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.route.set_max_temporal(Some(0));
    let mut out = Vec::new();
    for n in 0..8u64 {
        let temporal = [0, 2, 1, 2][n as usize % 4];
        let payload = vp8(true, n == 0, 40 + n as u16, n as u8 / 4, temporal, false, 0);
        out.extend(stage.picture(0, 10 + n, 3_000 * n as u32, payload));
    }
    let numbers: Vec<_> = out.iter().map(|(r, d)| (r.sequence, d.picture_id, r.timestamp)).collect();
    assert_eq!(numbers, [(65_534, Some(40), 1_000), (65_535, Some(41), 13_000)]);
}

#[test]
fn a_frame_is_left_out_whole_or_not_at_all() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.frame(0, 10, 0, true).unwrap();
    assert!(stage.picture(0, 11, 3_000, vp8(true, false, 11, 0, 1, false, 0)).is_some());
    stage.route.set_max_temporal(Some(0));
    assert!(stage.picture(0, 12, 3_000, vp8(false, false, 11, 0, 1, false, 0)).is_some(), "its frame has begun");
    assert!(stage.picture(0, 14, 6_000, vp8(false, false, 12, 0, 1, false, 0)).is_none());
    stage.route.set_max_temporal(None);
    assert!(stage.picture(0, 15, 6_000, vp8(false, false, 12, 0, 1, false, 0)).is_none(), "its frame is left out");
    let (late, _) = stage.picture(0, 13, 6_000, vp8(true, false, 12, 0, 1, false, 0)).unwrap();
    assert!(late.empty, "its number was kept free");
    assert!(stage.picture(0, 16, 9_000, vp8(true, false, 13, 0, 1, false, 0)).is_none(), "needs what was left out");
    let (_, sync) = stage.picture(0, 17, 12_000, vp8(true, false, 14, 0, 1, true, 0)).unwrap();
    assert_eq!(sync.picture_id, Some(12), "11 was the last; 12 and 13 left out");
}

#[test]
fn h264_without_parameter_sets_begins_only_behind_a_whole_frame() {
    let mut stage = Stage::new(Codec::H264);
    stage.route.set_target(Some(0));
    let idr = [0x65, 0x88, 0x00];
    assert!(forwarded(stage.send(Codec::H264, 0, 10, 0, &idr)).is_none(), "its beginning may be missing");
    assert!(forwarded(stage.send(Codec::H264, 0, 12, 3_000, &idr)).is_none(), "11 may have been the parameter set");
    assert!(forwarded(stage.send(Codec::H264, 0, 13, 6_000, &idr)).is_some());
}

#[test]
fn a_key_frame_that_comes_behind_its_own_packets_is_no_beginning() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    assert!(stage.picture(0, 11, 0, vp8(false, true, 1, 0, 0, false, 0)).is_none());
    assert_eq!(stage.frame(0, 10, 0, true), None);
    assert_eq!(stage.route.wants_key_frame(), Some(0));
}

#[test]
fn a_pli_asks_until_a_key_frame_passes_while_forwarding_goes_on() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.request_key_frame();
    stage.route.set_target(Some(0));
    stage.frame(0, 1, 0, true).unwrap();
    assert_eq!(stage.route.wants_key_frame(), None);
    stage.route.request_key_frame();
    assert!(stage.frame(0, 2, 3_000, false).is_some());
    assert_eq!(stage.route.wants_key_frame(), Some(0));
    stage.frame(0, 3, 6_000, true).unwrap();
    assert_eq!(stage.route.wants_key_frame(), None);
}

#[test]
fn a_nack_finds_the_packet_eight_times_and_not_twice_in_a_round_trip() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(1));
    let sent = stage.frame(1, 70_000, 0, true).unwrap();
    let rtt = 50 * MS;
    let mut ask = |wait: u32| stage.route.resolve(sent.sequence, stage.now + MS * wait, rtt);
    let first = ask(10).unwrap();
    assert_eq!((first.layer, first.sequence, first.rewrite, first.times_resent), (1, 70_000, sent, 1));
    assert_eq!(ask(46), None, "well within the round trip");
    assert_eq!(ask(50).map(|sent| sent.times_resent), Some(2));
    for times in 3..=8 {
        assert_eq!(ask(times * 50).map(|sent| sent.times_resent), Some(times as u8));
    }
    assert_eq!(ask(1_000), None, "enough");
    assert_eq!(stage.route.resolve(sent.sequence.wrapping_add(1), stage.now, rtt), None, "never sent");
    assert_eq!(stage.route.resolve(sent.sequence.wrapping_sub(1), stage.now, rtt), None, "never sent");
}

#[test]
fn a_shut_gate_forgets_what_went_out_but_not_the_numbers() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    let sent = stage.frame(0, 10, 0, true).unwrap();
    stage.frame(0, 12, 6_000, false).unwrap();
    stage.route.forget_sent();
    assert_eq!((stage.route.resolve(sent.sequence, stage.now, MS), stage.route.heap_bytes()), (None, 0));
    assert_eq!(stage.frame(0, 10, 0, true), None);
    assert_eq!(stage.frame(0, 11, 3_000, false), None, "whether it went out is no longer known");
    assert_eq!(stage.frame(0, 13, 9_000, false).unwrap().sequence, 1);
}

#[test]
fn memory_follows_the_rate() {
    let mut stage = Stage::new(Codec::Vp8);
    assert_eq!(stage.route.heap_bytes(), 0);
    stage.route.set_target(Some(0));
    let mut run = |packets: std::ops::Range<u64>, spacing: u32| {
        for n in packets {
            stage.now += MS * spacing;
            stage.frame(0, n, n as u32 * 90 * spacing, n == 1).unwrap();
        }
        stage.route.heap_bytes()
    };
    let slow = run(1..500, 33);
    assert!(slow <= 64 * 64, "{slow}");
    let fast = run(500..5_000, 1);
    assert!(fast > slow && fast <= 512 * 64, "{fast}");
    assert_eq!(run(5_000..9_000, 1), fast);
    // Across every growth the newest packets are still found.
    let newest = 65_534u16.wrapping_add((8_999 - 1) as u16);
    let found = stage.route.resolve(newest.wrapping_sub(500), stage.now, MS).unwrap();
    assert_eq!(found.sequence, 8_999 - 500);
}

#[test]
fn a_layer_placed_well_before_the_last_frame_stays_behind_it_for_good() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    (0..2).for_each(|layer| stage.route.set_layer_clock(layer, 100 << 32, 0));
    stage.frame(0, 1, 90_000, true).unwrap();
    stage.route.set_target(Some(1));
    stage.now += 60 * MS;
    let out: Vec<_> = (0..3).map(|n| stage.frame(1, 7 + u64::from(n), 83_000 + 3_000 * n, n == 0).unwrap().timestamp).collect();
    assert_eq!(out, [1_000 + 90, 1_000 + 90 + 3_000, 1_000 + 90 + 6_000]);
    assert_eq!(stage.route.timestamp_for(1, 86_000), Some(out[1]), "sender reports say the same");
}

#[test]
fn a_packet_later_than_all_remembered_gaps_is_dropped_and_one_within_finds_its_number() {
    let mut stage = Stage::new(Codec::Vp8);
    stage.route.set_target(Some(0));
    stage.frame(0, 10, 0, true).unwrap();
    // Padding and media by turns, two more runs of padding than are remembered; 12, 14 and 16 are lost.
    for n in 0..34u64 {
        assert_eq!(forwarded(stage.send(Codec::Vp8, 0, 11 + 2 * n, 0, &[])), None);
        if n > 2 {
            let sent = stage.frame(0, 12 + 2 * n, 3_000 * n as u32, false).unwrap();
            assert_eq!(sent.sequence, 65_535u16.wrapping_add(n as u16));
        }
    }
    assert_eq!(stage.frame(0, 12, 0, false), None, "older than the oldest remembered");
    assert_eq!(stage.frame(0, 14, 0, false).unwrap().sequence, 0, "right behind the last forgotten run");
    assert_eq!(stage.frame(0, 16, 0, false).unwrap().sequence, 1);
}

#[test]
fn a_room_of_three_fits_a_mebibyte() {
    use crate::media::cache::{CacheLimits, PacketCache};
    let mut heap = 0;
    // Each publishes a camera at 1.7 Mbit/s, its forwarded layer cached, and a voice; the two others receive both.
    for (codec, limits, size, per_second) in
        [(Codec::Vp8, CacheLimits::VIDEO, 1_150, 185u64), (Codec::Opus, CacheLimits::AUDIO, 120, 50)]
    {
        let mut cache = PacketCache::new(limits);
        let mut stage = Stage::new(codec);
        stage.route.set_target(Some(0));
        for n in 1..per_second * 10 {
            stage.now += Duration::from_secs(1) / per_second as u32;
            cache.insert(n, &vec![0; size], stage.now);
            let payload = vp8(true, n == 1, n as u16, 0, 0, false, 0);
            forwarded(stage.send(codec, 0, n, n as u32 * 500, &payload)).unwrap();
        }
        heap += 3 * cache.bytes() + 6 * (stage.route.heap_bytes() + size_of::<Route>());
    }
    assert!((600 * 1024..1024 * 1024).contains(&heap), "{heap}");
}

mod layered {
    //! Scalable streams: each receiver gets whole frames of its layers, whose references it has.

    use super::*;
    use crate::media::codec::dependency::DependencyReader;
    use crate::media::codec::dependency::tests::{L2T1, L2T2_KEY, Row, descriptor};
    use crate::media::layers::LayerTarget;

    struct Scalable {
        codec: Codec,
        stage: Stage,
        rows: &'static [Row<'static>],
        reader: DependencyReader,
        sequence: u64,
        frame: u16,
        picture: u32,
    }

    /// What went out of a picture: its template rows and the last rewrite.
    type Out = (Vec<u8>, Option<Rewrite>);

    impl Scalable {
        fn new(rows: &'static [Row<'static>]) -> Self {
            Self::of(Codec::Av1, rows)
        }

        fn of(codec: Codec, rows: &'static [Row<'static>]) -> Self {
            let stage = Stage::new(codec);
            Self { codec, stage, rows, reader: DependencyReader::default(), sequence: 99, frame: 0, picture: 0 }
        }

        fn want(&mut self, spatial: u8, temporal: u8) {
            self.stage.route.set_layers(Some(LayerTarget { stream: 0, spatial, temporal }));
        }

        /// One picture of frames of two packets each, by the rows of their templates.
        fn picture(&mut self, rows: &[u8]) -> Out {
            let mut out = (Vec::new(), None);
            self.picture += 1;
            for (place, row) in rows.iter().enumerate() {
                self.frame += 1;
                for (start, end) in [(true, false), (false, true)] {
                    self.sequence += 1;
                    let structure = (*row == 0 && start).then_some(self.rows);
                    let bytes = descriptor(start, end, *row, self.frame, structure);
                    let described = self.reader.read(&bytes).unwrap();
                    // To VP8 the first octet says that a frame begins, the second that it is no key frame.
                    let first = if self.codec == Codec::Vp8 && !start { 0 } else { 0x10 };
                    let mut facts = inspect(self.codec, &[first, u8::from(*row != 0)], None);
                    if self.codec == Codec::Vp8 {
                        facts.describe_vp8(&described);
                    } else {
                        facts.describe(&described);
                    }
                    let marker = end && place + 1 == rows.len();
                    let timestamp = self.picture * 3_000;
                    let incoming = Incoming {
                        sequence: self.sequence,
                        timestamp,
                        marker,
                        facts: &facts,
                        payload_len: 2,
                        now: self.stage.now,
                    };
                    if let Verdict::Forward(rewrite) = self.stage.route.on_packet(0, &incoming) {
                        if start {
                            out.0.push(*row);
                        }
                        out.1 = Some(rewrite);
                    }
                }
            }
            out
        }
    }

    /// A key picture, then the pattern of `L2T2_KEY`.
    const KEY: &[u8] = &[0, 3];
    const BASE: &[u8] = &[1, 4];
    const BETWEEN: &[u8] = &[2, 5];

    #[test]
    fn the_lower_size_goes_out_alone_and_its_picture_ends_with_it() {
        let mut stream = Scalable::new(&L2T2_KEY);
        stream.want(0, 3);
        let pictures: Vec<Out> = [KEY, BETWEEN, BASE, BETWEEN].iter().map(|rows| stream.picture(rows)).collect();
        let rows: Vec<_> = pictures.iter().flat_map(|out| out.0.clone()).collect();
        assert_eq!(rows, [0, 2, 1, 2]);
        assert!(pictures.iter().all(|out| out.1.is_some_and(|last| last.marker)));
        let last: Vec<_> = pictures.iter().map(|out| out.1.unwrap().sequence).collect();
        assert_eq!(last, [65_535, 1, 3, 5], "two packets each, without a gap");
    }

    #[test]
    fn pictures_a_second_of_vp8_follow_the_descriptor_that_browsers_tell_them_by() {
        const L1T2: [Row<'static>; 3] = [(0, 0, "SS", &[]), (0, 0, "SS", &[2]), (0, 1, "-D", &[1])];
        let mut stream = Scalable::of(Codec::Vp8, &L1T2);
        stream.want(u8::MAX, 0);
        let pictures: Vec<Out> = [0, 2, 1, 2, 1].iter().map(|row| stream.picture(&[*row])).collect();
        assert_eq!(pictures.iter().flat_map(|out| out.0.clone()).collect::<Vec<_>>(), [0, 1, 1]);
        let sent: Vec<_> = pictures.iter().filter_map(|out| out.1).collect();
        assert_eq!(sent.iter().map(|last| last.sequence).collect::<Vec<_>>(), [65_535, 1, 3], "two packets each, without a gap");
        assert!(sent.iter().all(|last| last.marker));
        stream.want(u8::MAX, u8::MAX);
        let rows: Vec<_> = [2, 1, 2].iter().flat_map(|row| stream.picture(&[*row]).0).collect();
        assert_eq!(rows, [1, 2], "more again from the next base frame on, without a key frame");
        assert!(stream.stage.route.wants_key_frame().is_none());
    }

    #[test]
    fn vp8_that_names_its_own_layers_is_not_told_otherwise() {
        let mut reader = DependencyReader::default();
        let described = reader.read(&descriptor(true, true, 0, 1, Some(&L2T1))).unwrap();
        let mut facts = inspect(Codec::Vp8, &vp8(true, true, 5, 9, 1, false, 0), None);
        facts.describe_vp8(&described);
        assert_eq!((facts.temporal, facts.dependencies.is_some(), facts.needs.is_some()), (Some(1), false, true));
    }

    #[test]
    fn a_receiver_of_the_larger_size_gets_what_that_needs_and_no_more() {
        let mut stream = Scalable::new(&L2T2_KEY);
        stream.want(3, 0);
        let rows: Vec<_> = [KEY, BETWEEN, BASE, BETWEEN, BASE].iter().flat_map(|rows| stream.picture(rows).0).collect();
        assert_eq!(rows, [0, 3, 4, 4], "the lower size in the key picture only");
    }

    #[test]
    fn the_rate_of_pictures_changes_without_a_key_frame() {
        let mut stream = Scalable::new(&L2T2_KEY);
        stream.want(0, 3);
        let rows = |stream: &mut Scalable, pictures: &[&[u8]]| -> Vec<u8> {
            pictures.iter().flat_map(|rows| stream.picture(rows).0).collect()
        };
        assert_eq!(rows(&mut stream, &[KEY, BETWEEN]), [0, 2]);
        stream.want(0, 0);
        assert_eq!(rows(&mut stream, &[BASE, BETWEEN, BASE, BETWEEN]), [1, 1]);
        stream.want(0, 3);
        assert_eq!(rows(&mut stream, &[BASE, BETWEEN]), [1, 2], "from the next base picture on");
        assert_eq!(stream.stage.route.wants_key_frame(), None);
    }

    #[test]
    fn another_size_waits_for_the_key_frame_it_asks_for() {
        let mut stream = Scalable::new(&L2T2_KEY);
        stream.want(0, 3);
        stream.picture(KEY);
        stream.want(3, 3);
        assert_eq!(stream.picture(BETWEEN).0, [2]);
        assert_eq!(stream.picture(BASE).0, [1], "what was shown goes on");
        assert_eq!(stream.stage.route.wants_key_frame(), Some(0));
        stream.picture(BETWEEN);
        assert_eq!(stream.picture(KEY).0, [0, 3]);
        assert_eq!((stream.stage.route.wants_key_frame(), stream.picture(BETWEEN).0), (None, vec![5]));
        assert_eq!((stream.picture(BASE).0, stream.picture(BETWEEN).0), (vec![4], vec![5]));
        stream.want(0, 3);
        assert_eq!(stream.picture(BASE).0, [4], "the lower size was left out: it cannot be taken up");
        assert_eq!(stream.stage.route.wants_key_frame(), Some(0));
        stream.want(3, 3);
        stream.picture(BETWEEN);
        assert_eq!(stream.stage.route.wants_key_frame(), None, "wanted no more");
    }

    #[test]
    fn down_without_a_key_frame_while_the_lower_size_still_refers_to_what_went_out() {
        let mut stream = Scalable::new(&L2T2_KEY);
        stream.want(3, 3);
        assert_eq!([stream.picture(KEY).0, stream.picture(BETWEEN).0].concat(), [0, 3, 5]);
        stream.want(0, 3);
        assert_eq!((stream.picture(BASE).0, stream.stage.route.wants_key_frame()), (vec![1], None));
    }

    #[test]
    fn down_at_once_where_the_lower_size_went_out_all_the_time() {
        let mut stream = Scalable::new(&L2T1);
        stream.want(3, 3);
        assert_eq!([stream.picture(&[0, 2]).0, stream.picture(&[1, 3]).0].concat(), [0, 2, 1, 3]);
        stream.want(0, 3);
        let lower = stream.picture(&[1, 3]);
        assert_eq!((lower.0, lower.1.unwrap().marker, stream.stage.route.wants_key_frame()), (vec![1], true, None));
        stream.want(3, 3);
        stream.picture(&[1, 3]);
        assert_eq!(stream.stage.route.wants_key_frame(), Some(0), "up: the larger one refers to what was left out");
    }

    #[test]
    fn the_descriptor_says_what_the_receiver_can_decode() {
        let mut stream = Scalable::new(&L2T2_KEY);
        stream.want(0, 0);
        let patches: Vec<_> = [KEY, BETWEEN, BASE].iter().map(|rows| stream.picture(rows).1.map(|last| last.patch)).collect();
        let said = Some(Patch::Targets { count: 4, active: 0b0001 });
        assert_eq!(patches, [Some(said), None, Some(said)]);
        let mut whole = Scalable::new(&L2T1);
        whole.want(3, 3);
        assert_eq!(whole.picture(&[0, 2]).1.unwrap().patch, None, "all of it");
    }

    /// I, P, L, B, E as asked; long picture id; TID, U, SID; TL0PICIDX; data (RFC 9628, section 4.2).
    fn vp9(spatial: u8, temporal: u8, predicted: bool, start: bool, end: bool) -> [u8; 6] {
        let first = 0xa0 | u8::from(predicted) << 6 | u8::from(start) << 3 | u8::from(end) << 2;
        [first, 0x80, 1, temporal << 5 | 0x10 | spatial << 1, 0, 0xff]
    }

    fn vp9_picture(stage: &mut Stage, number: u64, temporal: u8, predicted: bool) -> Vec<(u8, bool)> {
        let mut out = Vec::new();
        for spatial in 0..3 {
            let facts = inspect(Codec::Vp9, &vp9(spatial, temporal, predicted, true, true), None);
            let (sequence, timestamp) = (number * 3 + u64::from(spatial), number as u32 * 3_000);
            let marker = spatial == 2;
            let incoming = Incoming { sequence, timestamp, marker, facts: &facts, payload_len: 6, now: stage.now };
            out.extend(forwarded(stage.route.on_packet(0, &incoming)).map(|rewrite| (spatial, rewrite.marker)));
        }
        out
    }

    #[test]
    fn vp9_without_dependency_descriptors_is_cut_by_its_own() {
        let mut stage = Stage::new(Codec::Vp9);
        let want =
            |stage: &mut Stage, spatial, temporal| stage.route.set_layers(Some(LayerTarget { stream: 0, spatial, temporal }));
        want(&mut stage, 1, 3);
        assert_eq!(vp9_picture(&mut stage, 1, 0, false), [(0, false), (1, true)]);
        want(&mut stage, 0, 3);
        assert_eq!(vp9_picture(&mut stage, 2, 1, true), [(0, true)], "down with the next picture");
        want(&mut stage, 2, 0);
        assert_eq!(vp9_picture(&mut stage, 3, 1, true), [], "of a higher temporal layer");
        assert_eq!(vp9_picture(&mut stage, 4, 0, true), [(0, true)], "the larger ones refer to what was left out");
        assert_eq!(stage.route.wants_key_frame(), Some(0));
        assert_eq!(vp9_picture(&mut stage, 5, 0, false), [(0, false), (1, false), (2, true)]);
        assert_eq!(stage.route.wants_key_frame(), None);
    }
}
