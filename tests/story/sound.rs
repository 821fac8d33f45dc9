//! Voices on bad lines: redundant sound where both sides know it, packets asked for again where they can be in time.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::{Who, World};
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Share of the packets of a voice that somebody has, of those sent between the first and the last of the last seconds.
fn share(world: &World, who: Who, from: Who, seconds: u32) -> f64 {
    let heard: BTreeSet<u32> =
        world.received(who, from, Kind::Audio, world.now - SECOND * seconds).map(|one| one.mark.frame).collect();
    let (first, last) = (heard.first().copied().expect("a voice"), heard.last().copied().expect("a voice"));
    heard.len() as f64 / f64::from(last - first + 1)
}

fn viewer(redundant: bool) -> Coming {
    Coming { redundant, ..Coming::viewer() }
}

#[test]
fn a_lossy_line_gets_each_packet_twice_in_the_next_or_by_itself() {
    let mut world = World::new(81);
    let doctor = world.seat("doctor", Coming::default());
    let (plain, redundant) = (world.seat("patient", viewer(false)), world.seat("nurse", viewer(true)));
    world.run(4 * SECOND);
    for who in [plain, redundant] {
        world.line(who).down = Weather::losing(0.08);
    }
    world.run(30 * SECOND);
    let (plain, redundant) = (share(&world, plain, doctor, 15), share(&world, redundant, doctor, 15));
    // Of packets sent once 0.92 come, of those sent twice 0.99; it takes some seconds to see the need.
    assert!(plain > 0.975, "{plain}");
    assert!(redundant > 0.975, "{redundant}");
}

#[test]
fn what_a_redundant_packet_brings_back_serves_those_who_cannot_read_it() {
    let mut world = World::new(82);
    let doctor = world.seat("doctor", Coming { redundant: true, ..Coming::default() });
    let (plain, redundant) = (world.seat("patient", viewer(false)), world.seat("nurse", viewer(true)));
    world.run(4 * SECOND);
    world.line(doctor).up = Weather::losing(0.08);
    world.run(15 * SECOND);
    assert!(world.counters().recovered > 20, "{}", world.counters().recovered);
    for who in [plain, redundant] {
        let share = share(&world, who, doctor, 10);
        assert!(share > 0.98, "{share}");
    }
}
