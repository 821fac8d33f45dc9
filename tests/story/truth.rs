//! What the relay tells of lines and of what arrives: words for everybody, and in consultations who receives what.

use crate::consultation::{attribute, in_call};
use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::model::roster::Quality;
use colloque::relay::command::{Request, TrackSetting};
use colloque::relay::event::{Event, Grade};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The words one member heard of another, in order.
fn words(world: &World, viewer: Who, of: Who) -> Vec<Grade> {
    let sid = world.person(of).sid.clone().expect("has joined");
    let updates = world.person(viewer).heard.iter().filter_map(|event| match event {
        Event::Quality(lines) => Some(lines),
        _ => None,
    });
    updates.flatten().filter(|line| line.participant == sid).map(|line| line.grade).collect()
}

#[test]
fn a_line_that_loses_becomes_poor_and_good_again_and_newcomers_hear_of_it() {
    let mut world = World::new(120);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(5 * SECOND);
    for viewer in [doctor, patient] {
        for of in [doctor, patient] {
            assert_eq!(words(&world, viewer, of), [Grade::Excellent]);
        }
    }
    world.line(patient).up = Weather::losing(0.15);
    world.run(10 * SECOND);
    assert_eq!(words(&world, doctor, patient).last(), Some(&Grade::Poor));
    assert_eq!(words(&world, patient, patient).last(), Some(&Grade::Poor), "and hears it of itself");
    assert_eq!(words(&world, patient, doctor).last(), Some(&Grade::Excellent), "the other's line is as it was");
    let nurse = world.seat("nurse", Coming::viewer());
    world.run(4 * SECOND);
    assert_eq!(words(&world, nurse, patient), [Grade::Poor]);
    assert_eq!(words(&world, nurse, doctor), [Grade::Excellent]);
    world.line(patient).up = Weather::FAIR;
    world.run(15 * SECOND);
    assert_eq!(words(&world, doctor, patient).last(), Some(&Grade::Excellent));
    assert!(words(&world, doctor, patient).len() <= 8, "it does not flicker: {:?}", words(&world, doctor, patient));
}

#[test]
fn who_falls_silent_is_lost_to_the_others_and_found_again() {
    let mut world = World::new(121);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(5 * SECOND);
    (world.line(patient).up, world.line(patient).down) = (Weather::losing(1.0), Weather::losing(1.0));
    world.run(12 * SECOND);
    assert_eq!(words(&world, doctor, patient).last(), Some(&Grade::Lost));
    assert_ne!(words(&world, doctor, doctor).last(), Some(&Grade::Lost));
    (world.line(patient).up, world.line(patient).down) = (Weather::FAIR, Weather::FAIR);
    world.run(15 * SECOND);
    assert_eq!(words(&world, doctor, patient).last(), Some(&Grade::Excellent));
}

#[test]
fn a_room_in_which_nothing_flows_is_left_alone() {
    let mut world = World::new(122);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::default());
    world.run(30 * SECOND);
    assert_eq!(words(&world, doctor, patient), [Grade::Excellent], "said once");
    assert_eq!(words(&world, patient, doctor), [Grade::Excellent]);
}

#[test]
fn in_a_consultation_everybody_reads_what_each_receives() {
    let (mut world, doctor, patient) = in_call(123);
    world.run(8 * SECOND);
    let (picture, voice) = (world.track(patient, Kind::Video), world.track(patient, Kind::Audio));
    let said = attribute(&world, patient, doctor, "receives").expect("what the doctor receives");
    assert!(said.contains(&format!("{}=", picture.as_str())), "{said}");
    assert!(said.split(' ').any(|word| word == format!("{}=clear", voice.as_str())), "{said}");
    assert!(!said.contains('/') && !said.contains("still") && !said.contains("gaps"), "all as wished: {said}");
    let own = attribute(&world, doctor, doctor, "receives");
    assert_eq!(own, Some(said), "it knows itself");

    // Sound goes out twice on a line that loses so much, and more than a third is missing all the same.
    world.line(doctor).down = Weather::losing(0.6);
    world.run(10 * SECOND);
    let said = attribute(&world, patient, doctor, "receives").unwrap_or_default();
    assert!(said.contains(&format!("{}=gaps", voice.as_str())), "{said}");
    world.line(doctor).down = Weather::FAIR;

    // Not shown is nothing received, and nothing to complain of.
    let setting = TrackSetting { disabled: true, ..TrackSetting::default() };
    world.request(doctor, Request::TrackSetting { tracks: vec![picture.clone()], setting });
    world.run(6 * SECOND);
    let said = attribute(&world, patient, doctor, "receives").unwrap_or_default();
    assert!(!said.contains(picture.as_str()), "{said}");
    let setting = TrackSetting { quality: Some(Quality::High), ..TrackSetting::default() };
    world.request(doctor, Request::TrackSetting { tracks: vec![picture.clone()], setting });
    world.run(6 * SECOND);
    let said = attribute(&world, patient, doctor, "receives").unwrap_or_default();
    assert!(said.contains(picture.as_str()), "{said}");
}
