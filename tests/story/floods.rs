//! Too much of a good thing: key-frame requests, packets, repetitions.

use crate::world::media::Kind;
use crate::world::person::Coming;
use crate::world::{Rules, World};
use colloque::model::counters::DropReason;
use colloque::relay::link::Rate;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_viewer_that_keeps_asking_for_key_frames_gets_one_request_per_half_second_made() {
    let mut world = World::new(110);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    let viewer = world.seat("viewer", Coming::viewer());
    world.run(3 * SECOND);
    let (since, before) = (world.now, world.counters().pli_in);
    for _ in 0..200 {
        world.act(viewer, crate::world::person::Person::request_key_frames);
        world.run(SECOND / 40);
    }
    let asked = world.counters().pli_in - before;
    assert!(asked >= 100, "positive control: {asked} requests came in");
    let times: Vec<_> =
        world.person(doctor).key_frame_requests.iter().filter(|(at, _)| *at >= since).map(|(at, _)| *at).collect();
    assert!((2..=11).contains(&times.len()), "{} in five seconds", times.len());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= SECOND / 2 - Duration::from_millis(1)), "{times:?}");
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn an_authenticated_flood_is_cut_to_the_publishers_rate_while_the_others_talk() {
    let mut world = World::with(111, Rules { rate: Rate { packets: 400, bytes: 1_500_000 }, ..Rules::default() });
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::default());
    let flooder = world.seat("flooder", Coming::default());
    world.run(2 * SECOND);
    let track = world.person_mut(flooder).own_mut(Kind::Video);
    (track.packets_per_frame, track.packet_len) = (200, 100);
    let (forwarded, since) = (world.counters().forwarded, world.now);
    world.run(4 * SECOND);

    assert!(world.drops(DropReason::RateLimit) > 10_000, "{}", world.drops(DropReason::RateLimit));
    let from_flooder = world.count(doctor, flooder, Kind::Video, since);
    assert!(from_flooder <= 2_000 + 200, "a second's worth at once and 400 a second: {from_flooder}");
    assert!(world.counters().forwarded - forwarded < 2 * 2_400 + 4_000);
    world.assert_flows(&[doctor, patient]);
    assert!(world.person(flooder).left.is_none());
}

#[test]
fn what_is_asked_for_again_and_again_is_sent_a_few_times_only() {
    let mut world = World::new(112);
    let (doctor, viewer) = (world.seat("doctor", Coming::default()), world.seat("viewer", Coming::viewer()));
    world.run(2 * SECOND);
    // Everything towards the viewer is lost but one packet in ten: it asks for the rest as often as it can.
    world.line(viewer).down = crate::world::net::Weather::losing(0.9);
    let (forwarded, retransmitted) = (world.counters().forwarded, world.counters().retransmitted);
    world.run(10 * SECOND);
    let (forwarded, retransmitted) = (world.counters().forwarded - forwarded, world.counters().retransmitted - retransmitted);
    println!("{retransmitted} repetitions for {forwarded} packets");
    assert!(retransmitted <= 3 * forwarded);
    assert!(world.person(doctor).left.is_none());
}
