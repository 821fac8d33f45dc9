//! A camera in three sizes: each receiver gets the one it shows, and changes at key frames only.

use crate::world::media::Kind;
use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::model::roster::Quality;
use colloque::relay::command::{Request, TrackSetting};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn wish(world: &mut World, who: Who, of: Who, setting: TrackSetting) {
    let tracks = vec![world.track(of, Kind::Video)];
    world.request(who, Request::TrackSetting { tracks, setting });
}

fn layers(world: &World, who: Who, of: Who) -> Vec<u8> {
    let mut layers: Vec<u8> = world.received(who, of, Kind::Video, world.now - SECOND).map(|one| one.mark.layer).collect();
    layers.dedup();
    layers
}

#[test]
fn each_receiver_gets_the_layer_it_shows_and_changes_at_a_key_frame() {
    let mut world = World::new(60);
    let doctor = world.seat("doctor", Coming { video: 3, ..Coming::default() });
    let (patient, nurse) = (world.seat("patient", Coming::viewer()), world.seat("nurse", Coming::viewer()));
    world.run(4 * SECOND);
    assert_eq!((layers(&world, patient, doctor), layers(&world, nurse, doctor)), (vec![2], vec![2]), "the best by default");

    wish(&mut world, nurse, doctor, TrackSetting { quality: Some(Quality::Low), ..TrackSetting::default() });
    world.run(3 * SECOND);
    assert_eq!((layers(&world, patient, doctor), layers(&world, nurse, doctor)), (vec![2], vec![0]));

    wish(&mut world, nurse, doctor, TrackSetting { width: 640, height: 360, ..TrackSetting::default() });
    world.run(3 * SECOND);
    assert_eq!(layers(&world, nurse, doctor), [1]);

    wish(&mut world, nurse, doctor, TrackSetting { disabled: true, ..TrackSetting::default() });
    world.run(2 * SECOND);
    assert_eq!((layers(&world, patient, doctor), layers(&world, nurse, doctor)), (vec![2], vec![]));

    wish(&mut world, nurse, doctor, TrackSetting::default());
    world.run(3 * SECOND);
    assert_eq!(layers(&world, nurse, doctor), [2]);

    let seen: Vec<_> = world.received(nurse, doctor, Kind::Video, world.start).collect();
    for pair in seen.windows(2) {
        if pair[0].mark.layer != pair[1].mark.layer {
            assert!(pair[1].mark.key && pair[1].mark.part == 0, "{:?} then {:?}", pair[0].mark, pair[1].mark);
        }
        let step = pair[1].sequence as i64 - pair[0].sequence as i64;
        assert_eq!(step, 1, "one unbroken row of numbers over every change: {:?} then {:?}", pair[0], pair[1]);
    }
}
