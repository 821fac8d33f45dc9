//! What is not permitted does not leave the relay: from the next datagram on, repetitions and data included.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::{Coming, announcement};
use crate::world::{Who, World};
use colloque::model::roster::ParticipantState;
use colloque::relay::command::Request;
use colloque::relay::event::Event;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn say(world: &mut World, who: Who, text: &str) {
    let message = super::data::packet(text);
    assert!(world.act(who, |person| person.send_data("_reliable", &message)));
}

#[test]
fn who_waits_at_the_gate_is_connected_and_gets_neither_media_nor_data() {
    let mut world = World::new(10);
    let doctor = world.seat("doctor", Coming::default());
    let mut at_the_gate = Coming::default();
    at_the_gate.permissions.subscribe = false;
    let mark = world.sent.len();
    let patient = world.seat("patient", at_the_gate);
    world.run(2 * SECOND);
    say(&mut world, doctor, "for those inside");
    world.run(2 * SECOND);

    assert!(world.person(patient).connected);
    let sid = world.person(patient).sid.clone().expect("joined");
    assert_eq!(world.person(doctor).roster[&sid].state, ParticipantState::Active);
    assert_eq!(world.media_to(world.person(patient).address, mark), 0);
    assert_eq!(world.person(patient).messages.len(), 0);
    assert!(world.count(doctor, patient, Kind::Video, world.now - SECOND) > 40, "the doctor sees who waits");

    world.permit(patient, |_| {});
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
    say(&mut world, doctor, "welcome");
    world.run(SECOND);
    assert_eq!(world.person(patient).messages.len(), 1);
}

#[test]
fn a_revoked_permission_is_in_force_for_the_next_datagram_even_for_packets_asked_again() {
    let mut world = World::new(11);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    // Not so much that pictures pause.
    world.line(patient).down = Weather::losing(0.05);
    world.run(12 * SECOND);
    let counters = world.counters();
    let (asked, again) = (counters.nack_in, counters.retransmitted);
    assert!(asked > 5 && again > 5, "positive control: lost packets come again: {asked}, {again}");
    world.line(patient).down = Weather::losing(0.6);
    world.run(SECOND / 5);

    world.permit(patient, |permissions| permissions.subscribe = false);
    let mark = world.sent.len();
    let (asked, retransmitted) = (world.person(patient).control.nack_out, world.counters().retransmitted);
    say(&mut world, doctor, "not for the patient");
    world.run(5 * SECOND);

    assert_eq!(world.media_to(world.person(patient).address, mark), 0);
    assert_eq!(world.counters().retransmitted, retransmitted);
    assert!(world.person(patient).control.nack_out > asked, "positive control: it did ask");
    assert_eq!(world.person(patient).messages.len(), 0);
    assert!(world.person(patient).connected && world.person(patient).left.is_none());
    assert!(world.count(doctor, patient, Kind::Audio, world.now - SECOND) > 40, "it may still speak");
}

#[test]
fn data_that_waits_for_a_lost_acknowledgement_is_not_repeated_to_who_may_no_longer_receive() {
    let mut world = World::new(12);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.line(patient).down = Weather::DEAD;
    say(&mut world, doctor, "said a moment before");
    world.run(SECOND / 20);
    world.permit(patient, |permissions| permissions.subscribe = false);
    world.line(patient).down = Weather::FAIR;
    world.run(10 * SECOND);
    assert_eq!(world.person(patient).messages.len(), 0);

    // It was sent to somebody who might receive it then, and may again.
    world.permit(patient, |_| {});
    say(&mut world, doctor, "welcome back");
    world.run(60 * SECOND);
    assert_eq!(world.person(patient).messages.len(), 2, "data flows again");
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn who_may_not_publish_any_longer_is_taken_off_the_air_and_told() {
    let mut world = World::new(13);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.permit(patient, |permissions| permissions.publish = false);
    let mark = world.sent.len() as u64;
    world.run(2 * SECOND);
    let late = world.person(doctor).received.iter().filter(|one| one.left > mark).count();
    assert_eq!(late, 0);
    let withdrawn = world.person(patient).heard.iter().filter(|event| matches!(event, Event::TrackWithdrawn(_))).count();
    assert_eq!(withdrawn, 2);
    assert!(world.count(patient, doctor, Kind::Video, world.now - SECOND) > 40, "it still receives");
}

#[test]
fn a_withdrawn_camera_that_goes_on_sending_does_not_pass_for_the_next_track() {
    let mut world = World::new(15);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.permit(patient, |permissions| permissions.publish = false);
    world.permit(patient, |_| {});
    let (mark, since) = (world.sent.len() as u64, world.now);
    world.request(patient, Request::AddTrack(announcement("screen", Kind::Video, 1)));
    world.restart_ice(patient);
    world.run(3 * SECOND);
    let late = world.person(doctor).received.iter().filter(|one| one.left > mark).count();
    assert_eq!(late, 0, "the old section names another track");
    assert!(
        world
            .person(patient)
            .heard
            .iter()
            .any(|event| matches!(event, Event::TrackAccepted { cid, .. } if cid.as_str() == "screen"))
    );
    assert!(world.count(patient, doctor, Kind::Video, since + SECOND) > 40, "positive control: the line is up");
}

#[test]
fn who_may_not_send_data_is_not_heard() {
    let mut world = World::new(14);
    let mut silent = Coming::default();
    silent.permissions.publish_data = false;
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", silent));
    world.run(2 * SECOND);
    say(&mut world, patient, "hello?");
    world.run(SECOND);
    assert_eq!(world.person(doctor).messages.len(), 0);
    assert_eq!(world.drops(colloque::model::counters::DropReason::DataRefused), 1);
}
