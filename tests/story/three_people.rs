//! Three people join, and each receives the other two.

use crate::world::World;
use crate::world::media::Kind;
use crate::world::person::Coming;
use std::time::Duration;

#[test]
fn three_people_join_and_each_receives_the_voice_and_picture_of_the_other_two() {
    let mut world = World::new(1);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::default());
    let interpreter = world.seat("interpreter", Coming::default());
    world.run(Duration::from_secs(2));

    world.assert_flows(&[doctor, patient, interpreter]);

    let counters = world.counters();
    assert_eq!((counters.rooms, counters.peers, counters.tracks), (1, 3, 6));
    assert_eq!(counters.srtp_gcm, 3);
    for who in [doctor, patient, interpreter] {
        let person = world.person(who);
        assert!(!person.received.iter().any(|one| one.mark.from == who.0 as u8), "nobody hears itself");
        assert_eq!(person.roster.len(), 3);
        let first = person.received.iter().find(|one| one.mark.kind == Kind::Video).expect("pictures");
        assert!(first.mark.key && first.mark.part == 0, "a picture begins with a key frame: {:?}", first.mark);
    }
}
