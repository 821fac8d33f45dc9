//! A muted track is silent whatever its client sends.

use crate::world::World;
use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn mute_stops_the_packets_and_unmute_resumes_at_a_key_frame() {
    let mut world = World::new(2);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.assert_flows(&[doctor, patient]);

    world.mute(doctor, Kind::Video, true);
    let muted = world.sent.len() as u64;
    world.run(2 * SECOND);

    let late = world.person(patient).received.iter().filter(|one| one.left > muted && one.mark.from == doctor.0 as u8);
    let (voices, pictures): (Vec<_>, Vec<_>) = late.partition(|one| one.mark.kind == Kind::Audio);
    assert_eq!(pictures.len(), 0, "although the client goes on sending");
    assert!(voices.len() > 80, "the voice is another track");

    let unmuted = world.now;
    world.mute(doctor, Kind::Video, false);
    world.run(SECOND);

    let asked = world.person(doctor).key_frame_requests.iter().filter(|(at, _)| *at >= unmuted).count();
    assert!(asked >= 1, "the camera is asked for a key frame");
    let first = world.received(patient, doctor, Kind::Video, unmuted).next().expect("pictures again");
    assert!(first.mark.key && first.mark.part == 0, "{:?}", first.mark);
    assert!(first.at - unmuted < SECOND / 2);
}

#[test]
fn a_muted_voice_is_silent_from_the_next_packet_on() {
    let mut world = World::new(3);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.mute(patient, Kind::Audio, true);
    let muted = world.sent.len() as u64;
    world.run(SECOND);
    let late = |one: &&crate::world::person::Received| one.left > muted && one.mark.kind == Kind::Audio;
    assert_eq!(world.person(doctor).received.iter().filter(late).count(), 0);
    world.mute(patient, Kind::Audio, false);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn what_was_lost_before_the_mute_does_not_come_again_after_it() {
    let mut world = World::new(9);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.line(patient).down = Weather::losing(0.5);
    world.run(SECOND);
    let repeated = world.counters().retransmitted;
    assert!(repeated >= 5, "positive control: {repeated}");
    world.mute(doctor, Kind::Video, true);
    let mark = world.sent.len() as u64;
    let repeated = world.counters().retransmitted;
    world.line(patient).down = Weather::FAIR;
    world.run(2 * SECOND);
    let late = |one: &&crate::world::person::Received| one.left > mark && one.mark.kind == Kind::Video;
    assert_eq!(world.person(patient).received.iter().filter(late).count(), 0);
    assert_eq!(world.counters().retransmitted, repeated);

    world.mute(doctor, Kind::Video, false);
    world.run(SECOND);
    world.assert_flows(&[doctor, patient]);
}
