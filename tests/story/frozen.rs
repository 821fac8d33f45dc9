//! Pictures that stand still: the relay sees it, repairs it and counts it.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::rng::Rng;
use crate::world::{Who, World};
use colloque::model::counters::{FreezeCause, FreezeRepair};
use colloque::model::roster::Quality;
use colloque::relay::command::{Request, TrackSetting};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_call_in_fair_weather_has_no_freezes_and_a_muted_or_quiet_one_neither() {
    let mut world = World::new(90);
    let (doctor, _patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(5 * SECOND);
    world.person_mut(doctor).own_mut(Kind::Video).sending = false;
    world.run(5 * SECOND);
    world.person_mut(doctor).own_mut(Kind::Video).sending = true;
    world.run(5 * SECOND);
    let counters = world.counters();
    let relays = FreezeCause::ALL.iter().filter(|cause| **cause != FreezeCause::Source);
    let freezes: u64 = relays.map(|cause| counters.freezes(*cause)).sum();
    assert_eq!(counters.freezes(FreezeCause::Source), 1, "the quiet time itself");
    let repairs: u64 = FreezeRepair::ALL.iter().map(|kind| counters.repairs(*kind)).sum();
    assert_eq!((freezes, repairs), (0, 0));
}

#[test]
fn a_picture_stopped_by_losses_moves_again_and_is_counted() {
    let mut world = World::new(91);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(3 * SECOND);
    world.line(doctor).up = Weather::losing(0.5);
    world.run(6 * SECOND);
    world.line(doctor).up = Weather::FAIR;
    world.run(3 * SECOND);
    let counters = world.counters();
    assert!(counters.freezes(FreezeCause::Loss) > 0, "counted");
    assert!(counters.repairs(FreezeRepair::KeyFrame) > 0, "repaired");
    world.assert_flows(&[doctor, patient]);
}

/// When each picture of somebody could be decoded by a viewer, and its number: whole, with the one before it decoded or a key frame.
pub(crate) fn decoded(world: &World, who: Who, of: Who) -> Vec<(Instant, u32)> {
    type Parts = (BTreeSet<u8>, Option<u8>, bool);
    let mut pictures: BTreeMap<(u32, u8), Parts> = BTreeMap::new();
    let (mut last, mut times) = (None, Vec::new());
    for one in world.received(who, of, Kind::Video, world.start) {
        let (parts, end, key) = pictures.entry((one.mark.frame, one.mark.layer)).or_default();
        parts.insert(one.mark.part);
        *key |= one.mark.key;
        *end = end.or(one.marker.then_some(one.mark.part));
        let whole = |(parts, end, _): &Parts| end.is_some_and(|end| parts.len() == usize::from(end) + 1);
        loop {
            let following = last.map(|(frame, layer)| (frame + 1, layer)).filter(|next| pictures.get(next).is_some_and(whole));
            // The layer taken up may begin with the picture that the one before it has just ended with.
            let newest = last.map_or(0, |(frame, _)| frame);
            let key = || pictures.range((newest, 0)..).find(|(_, picture)| whole(picture) && picture.2).map(|(at, _)| *at);
            let Some(next) = following.or_else(key) else { break };
            pictures.remove(&next);
            last = Some(next);
            times.push((one.at, next.0));
        }
        let done = last.map_or(0, |(frame, _)| frame);
        pictures.retain(|(frame, _), _| *frame + 100 > done);
    }
    times
}

/// When they are shown: by their own clock, 25 a second, 40 ms after the quickest came, or when they can be.
fn shown(pictures: &[(Instant, u32)]) -> Vec<Instant> {
    let clock = |number: u32| Duration::from_millis(40) * number;
    let quickest = pictures.iter().filter_map(|(at, number)| at.checked_sub(clock(*number))).min();
    pictures.iter().map(|(at, number)| quickest.map_or(*at, |from| (*at).max(from + clock(number + 1)))).collect()
}

/// Freezes as W3C webrtc-stats defines them and browsers count them, over all gaps between pictures.
fn freezes(times: &[Instant]) -> u64 {
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect();
    let counted = (4..gaps.len()).filter(|at| {
        let window = &gaps[(at + 1_usize).saturating_sub(30)..=*at];
        let average = window.iter().sum::<f64>() / window.len() as f64;
        gaps[*at] >= (3.0 * average).max(average + 150.0)
    });
    counted.count() as u64
}

fn setting(rng: &mut Rng) -> TrackSetting {
    let quality = [Quality::Low, Quality::Medium, Quality::High][rng.below(3)];
    let size = [(320, 180), (640, 360), (1_280, 720)][rng.below(3)];
    if rng.chance(0.5) {
        TrackSetting { quality: Some(quality), ..TrackSetting::default() }
    } else {
        TrackSetting { width: size.0, height: size.1, ..TrackSetting::default() }
    }
}

#[test]
fn the_count_of_freezes_is_that_of_the_one_who_looks() {
    let mut world = World::new(92);
    let doctor = world.seat("doctor", Coming { video: 3, ..Coming::default() });
    let patient = world.seat("patient", Coming::viewer());
    world.run(5 * SECOND);
    let mut rng = Rng::new(92);
    for _ in 0..60 {
        // A slow line up, whose repairs take long enough to be seen.
        world.line(doctor).up = Weather { delay: Duration::from_millis(80), ..Weather::losing(0.08) };
        let tracks = vec![world.track(doctor, Kind::Video)];
        world.request(patient, Request::TrackSetting { tracks, setting: setting(&mut rng) });
        world.run(Duration::from_millis(500 + rng.below(2_000) as u64));
    }
    world.line(doctor).up = Weather::FAIR;
    world.run(3 * SECOND);
    let seen = freezes(&shown(&decoded(&world, patient, doctor)));
    let counters = world.counters();
    let counted: u64 = FreezeCause::ALL.iter().map(|cause| counters.freezes(*cause)).sum();
    println!("{counted} counted, {seen} seen");
    assert!(seen >= 20, "the line was too good: {seen}");
    assert!(counted.abs_diff(seen) * 10 <= seen, "{counted} counted, {seen} seen");
}

#[test]
fn a_thousand_changes_under_loss_leave_no_picture_still_for_long() {
    let longest = (93..96).map(longest_still).max();
    assert!(longest.is_some_and(|longest| longest <= 2 * SECOND), "{longest:?}");
}

fn longest_still(seed: u64) -> Duration {
    let mut world = World::new(seed);
    let doctor = world.seat("doctor", Coming { video: 3, ..Coming::default() });
    let patient = world.seat("patient", Coming::viewer());
    world.run(5 * SECOND);
    world.line(doctor).up = Weather::losing(0.05);
    // Nothing is lost behind the relay: the stack of these people asks for no key frame of its own.
    let mut rng = Rng::new(seed);
    // What keeps the picture still on purpose: muted, not shown, not subscribed to; and the times of it.
    let (mut held, mut since, mut holds) = ([false; 3], None, Vec::new());
    for _ in 0..1_000 {
        let tracks = vec![world.track(doctor, Kind::Video)];
        let what = if held.contains(&true) && rng.chance(0.6) { held.iter().position(|held| *held) } else { None };
        match what.or_else(|| rng.chance(0.2).then(|| rng.below(3))) {
            None => {
                let setting = TrackSetting { disabled: held[1], ..setting(&mut rng) };
                world.request(patient, Request::TrackSetting { tracks, setting });
            }
            Some(hold) => {
                held[hold] = !held[hold];
                match hold {
                    0 => world.mute(doctor, Kind::Video, held[0]),
                    1 => {
                        let setting = TrackSetting { disabled: held[1], ..TrackSetting::default() };
                        world.request(patient, Request::TrackSetting { tracks, setting });
                    }
                    _ => world.request(patient, Request::Subscribe { tracks, subscribe: !held[2] }),
                }
            }
        }
        match (held.contains(&true), since) {
            (true, None) => since = Some(world.now),
            (false, Some(from)) => holds.extend(since.take().map(|_| (from, world.now))),
            _ => {}
        }
        world.run(Duration::from_millis(100 + rng.below(300) as u64));
    }
    let end = since.unwrap_or(world.now);
    let times: Vec<Instant> = decoded(&world, patient, doctor).into_iter().map(|(at, _)| at).collect();
    let mut longest = Duration::ZERO;
    for pair in times.windows(2).filter(|pair| pair[1] <= end) {
        let asked_for = holds.iter().filter(|(from, to)| *from < pair[1] && *to > pair[0]);
        let still =
            asked_for.fold(pair[1] - pair[0], |gap, (from, to)| gap.saturating_sub(*to.min(&pair[1]) - *from.max(&pair[0])));
        longest = longest.max(still);
    }
    println!("{} pictures, {} pauses on purpose, longest standstill {longest:?}", times.len(), holds.len());
    assert!(times.len() > 2_000 && holds.len() > 50, "{} pictures, {} pauses", times.len(), holds.len());
    longest
}
