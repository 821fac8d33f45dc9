//! Lines that become narrow and wide again: voice goes on, pictures give way and come back.

use crate::world::media::Kind;
use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::relay::event::Event;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Somebody with a voice and a camera in three sizes: 130, 400 and 1,320 kbit/s.
fn camera(world: &mut World, name: &str) -> Who {
    let who = world.seat(name, Coming { video: 3, ..Coming::default() });
    let track = world.person_mut(who).own_mut(Kind::Video);
    (track.layer_packets, track.packet_len) = (Some([1, 3, 10]), 620);
    who
}

/// The highest layer of the pictures that arrived in the last second, if any did.
fn layer(world: &World, who: Who, of: Who) -> Option<u8> {
    world.received(who, of, Kind::Video, world.now - SECOND).map(|one| one.mark.layer).max()
}

/// Lets time pass and looks ten times a second; when something was first so, after the beginning.
fn watch(world: &mut World, time: Duration, mut look: impl FnMut(&World, Duration)) {
    let start = world.now;
    while world.now < start + time {
        world.run(100 * MS);
        look(world, world.now - start);
    }
}

/// Packets of a voice that are missing between the first and the last that arrived since a moment.
fn voice_missing(world: &World, who: Who, of: Who, since: Instant) -> (usize, usize) {
    let frames: std::collections::BTreeSet<u32> = world.received(who, of, Kind::Audio, since).map(|one| one.mark.frame).collect();
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return (usize::MAX, 0) };
    ((last - first) as usize + 1 - frames.len(), frames.len())
}

fn paused(world: &World, who: Who) -> Vec<bool> {
    let states = world.person(who).heard.iter().filter_map(|event| match event {
        Event::StreamState(states) => Some(states),
        _ => None,
    });
    states.flatten().map(|state| state.paused).collect()
}

#[test]
fn a_line_that_falls_and_rises_keeps_its_voice_and_gets_its_picture_back() {
    let mut world = World::new(110);
    let doctor = camera(&mut world, "doctor");
    let (patient, nurse) = (world.seat("patient", Coming::viewer()), world.seat("nurse", Coming::viewer()));
    world.narrow(patient, 2_000_000);
    let mut first_top = None;
    watch(&mut world, 15 * SECOND, |world, after| {
        if layer(world, patient, doctor) == Some(2) {
            first_top.get_or_insert(after);
        }
    });
    println!("2 Mbit/s: top layer after {first_top:?}, estimate {} kbit/s", world.estimate(patient));
    assert_eq!(layer(&world, patient, doctor), Some(2));

    world.narrow(patient, 150_000);
    let fell = world.now;
    let (mut worst, mut worst_later, mut stopped) = (Duration::ZERO, Duration::ZERO, None);
    watch(&mut world, 30 * SECOND, |world, after| {
        worst = worst.max(world.queue(patient));
        if after > 5 * SECOND {
            worst_later = worst_later.max(world.queue(patient));
        }
        if layer(world, patient, doctor).is_none_or(|layer| layer < 2) {
            stopped.get_or_insert(after);
        }
    });
    let (missing, heard) = voice_missing(&world, patient, doctor, fell);
    println!(
        "150 kbit/s: left the top after {stopped:?}, queue at most {worst:?}, after 5 s {worst_later:?}; voice: {missing} missing of {}; layer {:?}, estimate {} kbit/s, paused {:?}",
        missing + heard,
        layer(&world, patient, doctor),
        world.estimate(patient),
        paused(&world, patient),
    );
    assert!(worst_later <= 200 * MS, "{worst_later:?}");
    assert!(heard >= 1_400, "{heard}");

    world.narrow(patient, 2_000_000);
    let rose = world.now;
    let (mut seen, mut top, mut worst) = (None, None, Duration::ZERO);
    watch(&mut world, 20 * SECOND, |world, after| {
        let layer = world.received(patient, doctor, Kind::Video, rose).map(|one| one.mark.layer).max();
        if layer.is_some() {
            seen.get_or_insert(after);
        }
        if layer == Some(2) {
            top.get_or_insert(after);
        }
        if after > 5 * SECOND {
            worst = worst.max(world.queue(patient));
        }
    });
    let (missing, heard) = voice_missing(&world, patient, doctor, rose);
    println!(
        "2 Mbit/s again: picture after {seen:?}, top after {top:?}, queue after 5 s {worst:?}, voice missing {missing} of {}, estimate {}, paused {:?}",
        missing + heard,
        world.estimate(patient),
        paused(&world, patient)
    );
    assert!(top.is_some_and(|top| top <= 10 * SECOND), "{top:?}");
    assert_eq!(missing, 0);
    assert!(worst <= 200 * MS, "{worst:?}");

    println!("estimate of the other receiver: {} kbit/s", world.estimate(nurse));
    let others: Vec<u8> = world.received(nurse, doctor, Kind::Video, fell).map(|one| one.mark.layer).collect();
    let (missing, heard) = voice_missing(&world, nurse, doctor, fell);
    println!(
        "the other receiver: {} packets, lowest layer {:?}, voice missing {missing} of {}",
        others.len(),
        others.iter().min(),
        missing + heard
    );
    assert_eq!((others.iter().min(), missing), (Some(&2), 0), "the other line is its own");
    assert!(others.len() >= 240 * 49, "{}", others.len());
    assert!(paused(&world, nurse).is_empty());
}

#[test]
fn a_steady_line_is_known_within_ten_seconds() {
    let mut world = World::new(111);
    let doctor = camera(&mut world, "doctor");
    let patient = world.seat("patient", Coming::viewer());
    world.narrow(patient, 1_000_000);
    world.run(10 * SECOND);
    let early = world.estimate(patient);
    let (mut least, mut most, mut worst) = (u64::MAX, 0, Duration::ZERO);
    watch(&mut world, 30 * SECOND, |world, _| {
        least = least.min(world.estimate(patient));
        most = most.max(world.estimate(patient));
        worst = worst.max(world.queue(patient));
    });
    let (missing, heard) = voice_missing(&world, patient, doctor, world.now - 35 * SECOND);
    println!(
        "1 Mbit/s: {early} kbit/s after 10 s, then {least} to {most}; queue at most {worst:?}; voice missing {missing} of {}; layer {:?}",
        missing + heard,
        layer(&world, patient, doctor)
    );
    assert!((800..=1_000).contains(&early), "{early}");
    assert_eq!(missing, 0);
    assert_eq!(layer(&world, patient, doctor), Some(1));
    let padding = world.counters().padding_bytes;
    println!("padding: {} KiB, probes {}", padding / 1_024, world.counters().probes);
}
