//! Who receives what: wishes of receivers, permissions of publishers, and people who come late.

use crate::world::World;
use crate::world::media::Kind;
use crate::world::person::Coming;
use colloque::model::Identity;
use colloque::relay::command::{Request, SubscriptionPermission, TrackPermission};
use colloque::relay::event::Event;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_unsubscribes_receives_no_more_and_who_subscribes_again_does() {
    let mut world = World::new(4);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.assert_flows(&[doctor, patient]);

    world.subscribe(patient, doctor, Kind::Video, false);
    let mark = world.sent.len() as u64;
    world.run(3 * SECOND);
    let late = world.person(patient).received.iter().filter(|one| one.left > mark && one.mark.kind == Kind::Video);
    assert_eq!(late.count(), 0);
    assert!(world.count(patient, doctor, Kind::Audio, world.now - SECOND) > 40, "the voice stays");

    world.subscribe(patient, doctor, Kind::Video, true);
    world.run(5 * SECOND);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn without_automatic_subscription_only_what_is_asked_for_comes() {
    let mut world = World::new(5);
    let doctor = world.seat("doctor", Coming::default());
    let trainee = world.seat("trainee", Coming { auto_subscribe: false, ..Coming::viewer() });
    world.run(2 * SECOND);
    assert_eq!(world.person(trainee).received.len(), 0);
    world.subscribe(trainee, doctor, Kind::Audio, true);
    world.run(2 * SECOND);
    assert!(world.count(trainee, doctor, Kind::Audio, world.now - SECOND) > 40);
    assert_eq!(world.count(trainee, doctor, Kind::Video, world.start), 0);
}

#[test]
fn a_publisher_may_keep_its_picture_from_one_person() {
    let mut world = World::new(6);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::default());
    let trainee = world.seat("trainee", Coming::viewer());
    world.run(2 * SECOND);
    let only =
        |tracks| TrackPermission { participant: None, identity: Some(Identity::new("trainee")), all_tracks: false, tracks };
    let everything =
        TrackPermission { participant: None, identity: Some(Identity::new("doctor")), all_tracks: true, tracks: Vec::new() };
    let voice = world.track(patient, Kind::Audio);
    let permission = SubscriptionPermission { all_participants: false, participants: vec![only(vec![voice]), everything] };
    world.request(patient, Request::SubscriptionPermission(permission));
    let mark = world.sent.len() as u64;
    world.run(3 * SECOND);

    let late = |one: &&crate::world::person::Received| {
        one.left > mark && one.mark.kind == Kind::Video && one.mark.from == patient.0 as u8
    };
    assert_eq!(world.person(trainee).received.iter().filter(late).count(), 0);
    assert!(world.person(doctor).received.iter().filter(late).count() > 100);
    assert!(world.count(trainee, patient, Kind::Audio, world.now - SECOND) > 40);
    let told =
        |allowed| move |event: &Event| matches!(event, Event::SubscriptionAllowed { allowed: told, .. } if *told == allowed);
    assert!(world.person(trainee).heard.iter().any(told(false)));

    let permission = SubscriptionPermission { all_participants: true, participants: Vec::new() };
    world.request(patient, Request::SubscriptionPermission(permission));
    world.run(5 * SECOND);
    assert!(world.count(trainee, patient, Kind::Video, world.now - SECOND) > 40);
    assert!(world.person(trainee).heard.iter().any(told(true)));
}

#[test]
fn a_late_joiner_first_gets_a_key_frame_asked_for_it() {
    let mut world = World::new(7);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::default());
    world.run(10 * SECOND);
    let came = world.now;
    let asked_before = world.person(doctor).key_frame_requests.len();
    let relative = world.seat("relative", Coming::viewer());
    world.run(2 * SECOND);

    assert!(world.person(doctor).key_frame_requests.len() > asked_before, "the camera is asked");
    for from in [doctor, patient] {
        let first = world.received(relative, from, Kind::Video, came).next().expect("pictures");
        assert!(first.mark.key && first.mark.part == 0, "{:?}", first.mark);
    }
    let asked = world.person(doctor).key_frame_requests.iter().filter(|(at, _)| *at >= came).count();
    assert!(asked <= 4, "one request per 500 ms at most: {asked}");
}

#[test]
fn the_first_subscriber_of_a_track_is_told_to_its_publisher() {
    let mut world = World::new(8);
    let doctor = world.seat("doctor", Coming::default());
    world.run(SECOND);
    let told = |event: &&Event| matches!(event, Event::TrackSubscribed(_));
    assert_eq!(world.person(doctor).heard.iter().filter(told).count(), 0);
    world.seat("patient", Coming::viewer());
    world.run(2 * SECOND);
    assert_eq!(world.person(doctor).heard.iter().filter(told).count(), 2, "voice and picture");
}
