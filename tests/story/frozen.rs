//! Pictures that stand still: the relay sees it, repairs it and counts it.

use crate::world::World;
use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use colloque::model::counters::{FreezeCause, FreezeRepair};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_call_in_fair_weather_has_no_freezes_and_a_muted_or_quiet_one_neither() {
    let mut world = World::new(90);
    let (doctor, _patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(5 * SECOND);
    world.person_mut(doctor).own_mut(Kind::Video).sending = false;
    world.run(5 * SECOND);
    world.person_mut(doctor).own_mut(Kind::Video).sending = true;
    world.run(5 * SECOND);
    let counters = world.counters();
    let relays = FreezeCause::ALL.iter().filter(|cause| **cause != FreezeCause::Source);
    let freezes: u64 = relays.map(|cause| counters.freezes(*cause)).sum();
    assert_eq!(counters.freezes(FreezeCause::Source), 1, "the quiet time itself");
    let repairs: u64 = FreezeRepair::ALL.iter().map(|kind| counters.repairs(*kind)).sum();
    assert_eq!((freezes, repairs), (0, 0));
}

#[test]
fn a_picture_stopped_by_losses_moves_again_and_is_counted() {
    let mut world = World::new(91);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(3 * SECOND);
    world.line(doctor).up = Weather::losing(0.5);
    world.run(6 * SECOND);
    world.line(doctor).up = Weather::FAIR;
    world.run(3 * SECOND);
    let counters = world.counters();
    assert!(counters.freezes(FreezeCause::Loss) > 0, "counted");
    assert!(counters.repairs(FreezeRepair::KeyFrame) > 0, "repaired");
    world.assert_flows(&[doctor, patient]);
}
