//! A camera in one stream of three sizes: each receiver gets the lower ones up to what it shows.

use crate::world::media::Kind;
use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::model::roster::Quality;
use colloque::relay::command::{Request, TrackSetting};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn wish(world: &mut World, who: Who, of: Who, quality: Quality) {
    let tracks = vec![world.track(of, Kind::Video)];
    let setting = TrackSetting { quality: Some(quality), ..TrackSetting::default() };
    world.request(who, Request::TrackSetting { tracks, setting });
}

fn layers(world: &World, who: Who, of: Who) -> Vec<u8> {
    let mut layers: Vec<u8> = world.received(who, of, Kind::Video, world.now - SECOND).map(|one| one.mark.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

#[test]
fn each_receiver_gets_the_sizes_it_needs_and_changes_without_a_gap() {
    let mut world = World::new(61);
    let doctor = world.seat("doctor", Coming { video: 3, scalable: true, ..Coming::default() });
    let (patient, nurse) = (world.seat("patient", Coming::viewer()), world.seat("nurse", Coming::viewer()));
    world.run(4 * SECOND);
    assert_eq!((layers(&world, patient, doctor), layers(&world, nurse, doctor)), (vec![0, 1, 2], vec![0, 1, 2]));

    let asked = world.person(doctor).key_frame_requests.len();
    wish(&mut world, nurse, doctor, Quality::Low);
    world.run(3 * SECOND);
    assert_eq!((layers(&world, patient, doctor), layers(&world, nurse, doctor)), (vec![0, 1, 2], vec![0]));
    assert_eq!(world.person(doctor).key_frame_requests.len(), asked, "down needs no key frame");

    wish(&mut world, nurse, doctor, Quality::Medium);
    world.run(3 * SECOND);
    assert_eq!(layers(&world, nurse, doctor), [0, 1]);
    assert!(world.person(doctor).key_frame_requests.len() > asked, "up does");

    let seen: Vec<_> = world.received(nurse, doctor, Kind::Video, world.start).collect();
    for pair in seen.windows(2) {
        let step = pair[1].sequence as i64 - pair[0].sequence as i64;
        assert_eq!(step, 1, "one unbroken row of numbers over every change: {:?} then {:?}", pair[0], pair[1]);
        let ends = pair[0].mark.frame != pair[1].mark.frame;
        assert_eq!(pair[0].marker, ends, "the picture ends with what goes out of it: {:?} then {:?}", pair[0], pair[1]);
    }
}
