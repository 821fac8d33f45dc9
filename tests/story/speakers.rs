//! Who speaks is told to those who hear it.

use crate::world::World;
use crate::world::person::Coming;
use colloque::relay::event::Event;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_voice_that_is_heard_is_named_and_so_is_its_end() {
    let mut world = World::new(50);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::default());
    let trainee = world.seat("trainee", Coming { auto_subscribe: false, ..Coming::viewer() });
    world.run(3 * SECOND);
    let speaks = |world: &World, who: crate::world::Who| {
        let sid = world.person(doctor).sid.clone().expect("joined");
        let last = |event: &Event| match event {
            Event::Speakers(speakers) => speakers.iter().find(|speaker| speaker.participant == sid).map(|one| one.active),
            _ => None,
        };
        world.person(who).heard.iter().rev().find_map(last)
    };
    assert_eq!(speaks(&world, patient), None);

    world.person_mut(doctor).voice_level = -15;
    world.run(2 * SECOND);
    assert_eq!((speaks(&world, patient), speaks(&world, doctor)), (Some(true), Some(true)));

    world.person_mut(doctor).voice_level = -127;
    world.run(3 * SECOND);
    assert_eq!(speaks(&world, patient), Some(false));
    assert_eq!(speaks(&world, trainee), None, "who does not receive the voice is not told of it");
}

#[test]
fn who_leaves_while_speaking_speaks_no_more() {
    let mut world = World::new(51);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.person_mut(doctor).voice_level = -15;
    world.run(3 * SECOND);
    world.leave(doctor);
    world.run(3 * SECOND);
    assert_eq!(world.counters().panics, 0);
    assert!(world.person(patient).left.is_none());
}
