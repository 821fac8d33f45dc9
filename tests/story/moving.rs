//! People change networks: media follows the first authenticated nomination, and nobody else's datagrams move it.

use crate::world::World;
use crate::world::media::Kind;
use crate::world::person::Coming;
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_phone_that_leaves_the_wireless_network_is_followed_at_once() {
    let mut world = World::new(40);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(3 * SECOND);
    let before = world.person(patient).address;
    let now_at = SocketAddr::from(([203, 0, 113, 77], 50_505));
    let moved = world.now;

    world.move_to(patient, now_at);
    let found = world.run_until(5 * SECOND, |world| world.counters().path_changes == 1);
    assert!(found, "the relay follows");
    let (followed, mark) = (world.now, world.sent.len());
    println!("followed after {:?}", followed - moved);
    world.run(5 * SECOND);

    assert_eq!(world.media_to(before, mark), 0, "the old address gets nothing more");
    assert!(world.media_to(now_at, mark) > 100);
    assert_eq!(world.counters().path_changes, 1);
    assert!(world.count(patient, doctor, Kind::Video, world.now - SECOND) > 40);
    assert!(world.count(doctor, patient, Kind::Video, world.now - SECOND) > 40);
    assert!(world.person(patient).left.is_none());
}

#[test]
fn fresh_credentials_after_an_ice_restart_carry_the_call_on() {
    let mut world = World::new(41);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(3 * SECOND);
    world.restart_ice(patient);
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
    world.run(40 * SECOND);
    world.assert_flows(&[doctor, patient]);
    assert_eq!(world.counters().dtls_completed, 2, "without a new handshake");
}

#[test]
fn an_ice_restart_from_another_network_moves_the_call() {
    let mut world = World::new(42);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(3 * SECOND);
    let now_at = SocketAddr::from(([203, 0, 113, 78], 50_506));
    world.act(patient, |person| person.move_to(now_at));
    world.restart_ice(patient);
    world.run(5 * SECOND);
    world.assert_flows(&[doctor, patient]);
    let mark = world.sent.len();
    world.run(SECOND);
    assert!(world.media_to(now_at, mark) > 50);
}
