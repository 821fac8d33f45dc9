//! Somebody with two peer connections: what it receives is offered by the relay, and its stack answers.

use crate::world::media::Kind;
use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::model::roster::{LeaveReason, ParticipantState};
use colloque::relay::event::Event;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn ufrags(world: &World, who: Who) -> Vec<String> {
    let offers = world.person(who).heard.iter().filter_map(|event| match event {
        Event::Offer { sdp, .. } => Some(sdp.0.clone()),
        _ => None,
    });
    offers.filter_map(|sdp| Some(sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"))?.to_owned())).collect()
}

fn call() -> (World, Who, Who) {
    let mut world = World::new(11);
    let doctor = world.seat("doctor", Coming::default());
    let viewer = world.seat("viewer", Coming::offered());
    world.run(SECOND);
    (world, doctor, viewer)
}

#[test]
fn what_it_receives_comes_on_the_connection_the_relay_offers() {
    let (mut world, doctor, viewer) = call();
    world.assert_flows(&[viewer, doctor]);
    let record = &world.person(doctor).roster[world.person(viewer).sid.as_ref().expect("joined")];
    assert_eq!(record.state, ParticipantState::Active);
    let counters = world.counters();
    assert_eq!((counters.participants, counters.peers), (2, 3));
    let first = world.person(viewer).received.iter().find(|one| one.mark.kind == Kind::Video).expect("pictures");
    assert!(first.mark.key, "a picture begins with a key frame");

    for label in ["_reliable", "_lossy"] {
        assert!(world.act(doctor, |person| person.send_data(label, b"\x12\x03\x12\x01x")));
    }
    world.run(SECOND);
    let labels: Vec<_> = world.person(viewer).messages.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["_reliable", "_lossy"], "on channels the relay opened");

    // The connection on which it would publish never came, and need not.
    world.run(60 * SECOND);
    world.assert_flows(&[viewer, doctor]);
    world.leave(viewer);
    world.run(SECOND);
    let counters = world.counters();
    assert_eq!((counters.participants, counters.peers), (1, 1), "both of its lines are gone");
}

#[test]
fn a_subscription_goes_and_comes_and_newcomers_are_offered() {
    let (mut world, doctor, viewer) = call();
    for _ in 0..3 {
        world.subscribe(viewer, doctor, Kind::Video, false);
        world.run(SECOND / 2);
        let since = world.now;
        world.run(SECOND);
        assert_eq!(world.count(viewer, doctor, Kind::Video, since), 0);
        assert!(world.count(viewer, doctor, Kind::Audio, since) > 40);
        world.subscribe(viewer, doctor, Kind::Video, true);
        world.run(SECOND);
        world.assert_flows(&[viewer, doctor]);
    }
    let patient = world.seat("patient", Coming::default());
    world.run(SECOND);
    world.assert_flows(&[viewer, doctor, patient]);
    world.leave(doctor);
    let nurse = world.seat("nurse", Coming::default());
    world.run(SECOND);
    world.assert_flows(&[viewer, patient, nurse]);
    assert_eq!(world.person(viewer).by_mid.len(), 4);
}

#[test]
fn a_resume_restarts_ice_and_brings_what_changed_meanwhile() {
    let (mut world, doctor, viewer) = call();
    let before = ufrags(&world, viewer);
    world.lose_socket(viewer);
    world.run(2 * SECOND);
    let patient = world.seat("patient", Coming::default());
    world.assert_flows(&[viewer, doctor]);
    assert_eq!(world.count(viewer, patient, Kind::Audio, world.start), 0, "nothing can be offered meanwhile");
    world.resume(viewer);
    world.run(2 * SECOND);
    let after = ufrags(&world, viewer);
    assert_ne!(before.last(), after.last(), "the first offer after the resume restarts ICE");
    world.assert_flows(&[viewer, doctor, patient]);
    // Longer than consent lasts: the checks go on with the new credentials.
    world.run(40 * SECOND);
    world.assert_flows(&[viewer, doctor, patient]);
}

#[test]
fn one_who_does_not_answer_is_told_to_start_over() {
    let (mut world, _, viewer) = call();
    world.person_mut(viewer).is_deaf = true;
    world.seat("patient", Coming::default());
    world.run(14 * SECOND);
    assert_eq!(world.person(viewer).left, None);
    world.run(2 * SECOND);
    assert_eq!(world.person(viewer).left, Some(LeaveReason::MediaFailure));
}
