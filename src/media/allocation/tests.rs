//! What a receiver gets of a consultation on lines of all widths.

use proptest::prelude::*;

use super::*;

const KBPS: fn(u64) -> Bitrate = Bitrate::from_kbps;

/// A camera with the usual three layers, one temporal layer each; costs with headers are 160, 450 and 1,700 kbit/s.
const CAMERA: [Layer; 3] = [layer(0, 0, 160), layer(1, 0, 450), layer(2, 0, 1_700)];
const SOUND: [Layer; 1] = [layer(0, 0, 40)];

const fn layer(spatial: u8, temporal: u8, kbps: u64) -> Layer {
    Layer { spatial, temporal, bitrate: Bitrate::from_kbps(kbps), packets: 0 }
}

fn track(key: u32, class: Class, layers: &[Layer]) -> Track<'_> {
    let (favour, priority) = (Favour::Motion, class.priority());
    Track { key, class, priority, favour, layers, wanted: Some(2), floor: 0, pausable: true }
}

fn at(kbps: u64) -> Budget {
    Budget { rate: KBPS(kbps), probed: false }
}

/// Spatial layers of a first round.
fn first(tracks: &[Track<'_>], kbps: u64) -> Vec<Option<u8>> {
    let mut allocator = Allocator::default();
    spatial(allocator.allocate(tracks.iter().copied(), at(kbps), Instant::now()))
}

fn spatial(choices: &[Choice]) -> Vec<Option<u8>> {
    choices.iter().map(|choice| choice.layer.map(|(spatial, _)| spatial)).collect()
}

#[test]
fn voice_then_everyone_seen_then_in_order_of_priority() {
    let tracks = [
        track(1, Class::Thumbnail, &CAMERA),
        track(2, Class::ActiveFace, &CAMERA),
        track(3, Class::Voice, &SOUND),
        track(4, Class::Instrument, &CAMERA),
    ];
    let cases = [
        (10, [None, None, Some(0), None]),
        (300, [None, None, Some(0), Some(0)]),
        (450, [None, Some(0), Some(0), Some(0)]),
        (650, [Some(0), Some(0), Some(0), Some(0)]),
        (1_000, [Some(0), Some(0), Some(0), Some(1)]),
        (1_300, [Some(0), Some(1), Some(0), Some(1)]),
        (2_400, [Some(0), Some(0), Some(0), Some(2)]),
        (2_800, [Some(0), Some(1), Some(0), Some(2)]),
        (6_000, [Some(2), Some(2), Some(0), Some(2)]),
    ];
    for (kbps, expected) in cases {
        assert_eq!(first(&tracks, kbps), expected, "{kbps}");
    }
}

#[test]
fn headers_count() {
    let voice = [Layer { packets: 50, ..layer(0, 0, 40) }];
    let tracks = [track(1, Class::Voice, &voice)];
    let mut allocator = Allocator::default();
    allocator.allocate(tracks.iter().copied(), at(1_000), Instant::now());
    assert_eq!(allocator.total().bps(), 40_000 + 50 * 28 * 8);
}

#[test]
fn an_instrument_below_its_floor_is_paused_rather_than_misleading() {
    let instrument = Track { floor: 1, ..track(1, Class::Instrument, &CAMERA) };
    let tracks = [instrument, track(2, Class::Face, &CAMERA)];
    assert_eq!(first(&tracks, 400), [None, Some(0)]);
    assert_eq!(first(&tracks, 600), [Some(1), None], "before any face");
    let fixed = [Track { pausable: false, ..instrument }, tracks[1]];
    assert_eq!(first(&fixed, 100), [Some(1), None], "where pausing is not allowed");
}

#[test]
fn a_screen_gives_up_frames_and_a_face_pixels() {
    let layers = [layer(0, 0, 60), layer(0, 1, 120), layer(1, 0, 200), layer(1, 1, 400)];
    let choose = |favour, kbps| {
        let tracks = [Track { favour, ..track(1, Class::Screen, &layers) }];
        Allocator::default().allocate(tracks.iter().copied(), at(kbps), Instant::now())[0].layer
    };
    assert_eq!([70, 140, 240, 500].map(|kbps| choose(Favour::Motion, kbps)), [(0, 0), (0, 1), (1, 0), (1, 1)].map(Some));
    assert_eq!([70, 140, 240, 500].map(|kbps| choose(Favour::Detail, kbps)), [(0, 0), (0, 0), (1, 0), (1, 1)].map(Some));
}

#[test]
fn only_what_is_sent_and_shown_is_chosen() {
    let gone = [layer(0, 0, 160), layer(1, 0, 0), layer(2, 0, 1_700)];
    assert_eq!(first(&[track(1, Class::Face, &gone)], 1_000), [Some(0)]);
    let large = [layer(0, 0, 0), layer(1, 0, 0), layer(2, 0, 500)];
    let small = Track { wanted: Some(0), ..track(1, Class::Face, &large) };
    assert_eq!(first(&[small], 1_000), [Some(2)], "larger than wanted is better than none");
    let hidden = Track { wanted: None, ..track(1, Class::Face, &CAMERA) };
    let mut allocator = Allocator::default();
    let choices = allocator.allocate([hidden], at(1_000), Instant::now());
    assert!(!choices[0].paused && choices[0].layer.is_none(), "not shown is not paused by the line");
    assert_eq!(allocator.need(), Need { next: Bitrate::from_bps(2), all: Bitrate::from_bps(2) });
}

#[test]
fn down_at_once_and_up_with_room_that_lasts() {
    let t0 = Instant::now();
    let tracks = [track(1, Class::ActiveFace, &CAMERA)];
    let mut allocator = Allocator::default();
    let mut choose = |kbps, ms| spatial(allocator.allocate(tracks.iter().copied(), at(kbps), t0 + Duration::from_millis(ms)))[0];
    assert_eq!(choose(2_000, 0), Some(2));
    assert_eq!(choose(1_699, 100), Some(1), "at once");
    assert_eq!(choose(1_800, 20_000), Some(1), "no room to spare");
    assert_eq!(choose(2_000, 21_000), Some(1));
    assert_eq!(choose(2_000, 22_900), Some(1));
    assert_eq!(choose(2_000, 23_100), Some(2), "room for two seconds");
    assert_eq!(choose(1_000, 24_000), Some(1), "a step too far");
    assert_eq!(choose(2_000, 24_100), Some(1));
    assert_eq!(choose(2_000, 29_900), Some(1), "held twice as long");
    assert_eq!(choose(2_000, 30_100), Some(2));
}

#[test]
fn a_probe_saves_the_wait_and_states_are_told_once() {
    let t0 = Instant::now();
    let tracks = [track(1, Class::ActiveFace, &CAMERA)];
    let mut allocator = Allocator::default();
    let mut choose = |kbps, probed, ms| {
        let budget = Budget { rate: KBPS(kbps), probed };
        let choice = allocator.allocate(tracks.iter().copied(), budget, t0 + Duration::from_millis(ms))[0];
        (choice.layer.map(|(spatial, _)| spatial), choice.paused, choice.changed, choice.state_changed)
    };
    assert_eq!(choose(500, false, 0), (Some(0), false, true, false));
    assert_eq!(choose(600, true, 100), (Some(1), false, true, false));
    assert_eq!(choose(100, false, 200), (None, true, true, true));
    assert_eq!(choose(100, false, 300), (None, true, false, false));
    assert_eq!(choose(600, true, 400), (None, true, false, false), "not so soon after a fall");
    assert_eq!(choose(600, true, 10_000), (Some(1), false, true, true));
}

#[test]
fn the_next_step_is_what_a_probe_must_show() {
    let t0 = Instant::now();
    let tracks = [track(1, Class::Voice, &SOUND), track(2, Class::ActiveFace, &CAMERA), track(3, Class::Thumbnail, &CAMERA)];
    let mut allocator = Allocator::default();
    allocator.allocate(tracks.iter().copied(), at(300), t0);
    for (round, expected) in [360, 650, 940, 1_900].into_iter().enumerate() {
        let need = allocator.need();
        assert!(need.next.bps().abs_diff(expected * 1_150) < 5_000, "round {round}: {need:?}");
        assert!(need.all >= need.next);
        let before = allocator.total();
        let budget = Budget { rate: need.next, probed: true };
        allocator.allocate(tracks.iter().copied(), budget, t0 + Duration::from_secs(60 * (round as u64 + 1)));
        assert!(allocator.total() > before);
        assert!(allocator.total() <= need.next);
    }
}

/// Levels as (seen, layer) in order of priority.
fn ranked(tracks: &[Track<'_>], choices: &[Choice]) -> (Vec<bool>, Vec<Option<(u8, u8)>>) {
    let mut order: Vec<_> = (0..tracks.len()).collect();
    order.sort_by_key(|index| (if tracks[*index].class == Class::Voice { 0 } else { tracks[*index].priority.max(1) }, *index));
    order.iter().map(|index| (choices[*index].layer.is_some(), choices[*index].layer)).unzip()
}

fn any_layers() -> impl Strategy<Value = Vec<Layer>> {
    let layers = (1_u8..=3, 1_u8..=3, prop::collection::vec((0_u64..2_000, 0_u16..200), 9));
    layers.prop_map(|(spatial, temporal, rates)| {
        let places = (0..spatial).flat_map(|spatial| (0..temporal).map(move |temporal| (spatial, temporal)));
        places
            .zip(rates)
            .map(|((spatial, temporal), (kbps, packets))| Layer { spatial, temporal, bitrate: KBPS(kbps), packets })
            .collect()
    })
}

/// Class, layers, wanted layer, floor, and whether detail is favoured.
type Made = (u8, Vec<Layer>, Option<u8>, u8, bool);

fn any_tracks() -> impl Strategy<Value = Vec<Made>> {
    prop::collection::vec((0_u8..6, any_layers(), prop::option::of(0_u8..4), 0_u8..3, any::<bool>()), 0..8)
}

fn tracks_of(made: &[Made]) -> Vec<Track<'_>> {
    let classes = [Class::Voice, Class::Instrument, Class::Screen, Class::ActiveFace, Class::Face, Class::Thumbnail];
    let tracks = made.iter().enumerate().map(|(key, (class, layers, wanted, floor, detail))| {
        let class = classes[usize::from(*class)];
        let favour = if *detail { Favour::Detail } else { Favour::Motion };
        let layers = if class == Class::Voice { &layers[..1] } else { layers };
        Track { favour, wanted: *wanted, floor: *floor, ..track(key as u32, class, layers) }
    });
    tracks.collect()
}

/// What must go out whatever the line bears.
fn voices(tracks: &[Track<'_>]) -> Bitrate {
    let voices = tracks.iter().filter(|track| track.class == Class::Voice && track.wanted.is_some());
    voices.filter_map(|track| track.layers.first()).filter(|layer| layer.bitrate > Bitrate::ZERO).map(Layer::cost).sum()
}

proptest! {
    #[test]
    fn within_the_budget_and_better_with_more(made in any_tracks(), low in 0_u64..8_000, more in 0_u64..4_000) {
        let tracks = tracks_of(&made);
        let t0 = Instant::now();
        let (mut one, mut two) = (Allocator::default(), Allocator::default());
        let less = ranked(&tracks, one.allocate(tracks.iter().copied(), at(low), t0));
        let greater = ranked(&tracks, two.allocate(tracks.iter().copied(), at(low + more), t0));
        prop_assert!(one.total() <= KBPS(low).max(voices(&tracks)));
        prop_assert!(less <= greater, "{less:?} {greater:?}");
        prop_assert!(one.need().next <= one.need().all);
    }

    #[test]
    fn who_is_paused_would_not_fit_without_those_below(made in any_tracks(), kbps in 0_u64..8_000) {
        let tracks = tracks_of(&made);
        let mut allocator = Allocator::default();
        let choices = allocator.allocate(tracks.iter().copied(), at(kbps), Instant::now()).to_vec();
        for (track, choice) in tracks.iter().zip(&choices) {
            prop_assert!(track.class != Class::Voice || !choice.paused, "voice is never paused");
            if !choice.paused {
                continue;
            }
            let above: Vec<_> = tracks.iter().filter(|other| {
                other.class == Class::Voice || (other.priority, other.key) < (track.priority, track.key)
            }).copied().collect();
            let mut alone = above.clone();
            alone.push(*track);
            let without_those_below = first_choice(&alone, kbps, track.key);
            prop_assert!(without_those_below.paused);
        }
    }

    #[test]
    fn nothing_moves_while_nothing_changes_and_falls_are_obeyed(
        made in any_tracks(),
        budgets in prop::collection::vec((0_u64..8_000, 1_u64..40, any::<bool>()), 1..8),
    ) {
        let tracks = tracks_of(&made);
        let (t0, mut tick) = (Instant::now(), 0);
        let mut allocator = Allocator::default();
        for (kbps, rounds, probed) in budgets {
            let mut ups = 0;
            let mut last = Bitrate::ZERO;
            for round in 0..rounds {
                let budget = Budget { rate: KBPS(kbps), probed };
                let changed = allocator
                    .allocate(tracks.iter().copied(), budget, t0 + Duration::from_millis(250 * tick))
                    .iter()
                    .any(|choice| choice.changed || choice.state_changed);
                prop_assert!(allocator.total() <= KBPS(kbps).max(voices(&tracks)));
                ups += u32::from(changed && round > 0);
                last = allocator.total();
                tick += 1;
            }
            prop_assert!(ups <= 1, "one step after the first round, when there was room for long enough");
            prop_assert!(last <= KBPS(kbps).max(voices(&tracks)));
        }
    }
}

fn first_choice(tracks: &[Track<'_>], kbps: u64, key: u32) -> Choice {
    let mut allocator = Allocator::default();
    let choices = allocator.allocate(tracks.iter().copied(), at(kbps), Instant::now());
    *choices.iter().find(|choice| choice.key == key).unwrap()
}
