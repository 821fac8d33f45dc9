//! People change networks: media follows the first authenticated nomination, and nobody else's datagrams move it.

use crate::world::World;
use crate::world::media::Kind;
use crate::world::person::Coming;
use colloque::model::counters::DropReason;
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

#[test]
fn a_translator_that_gives_another_address_is_followed_within_a_round_trip() {
    let mut world = World::new(43);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(3 * SECOND);
    let before = world.person(patient).address;
    let outside = SocketAddr::from(([203, 0, 113, 79], 50_507));
    let moved = world.now;

    world.translate(patient, outside, true);
    assert!(world.run_until(SECOND, |world| world.counters().path_changes == 1), "the relay follows");
    println!("followed after {:?}", world.now - moved);
    assert!(world.now - moved < Duration::from_millis(200), "long before the client's own next check");
    let mark = world.sent.len();
    world.run(5 * SECOND);

    assert_eq!(world.media_to(before, mark), 0, "the old address gets nothing more");
    assert!(world.media_to(outside, mark) > 100);
    assert_eq!(world.drops(DropReason::UnknownAddress), 0, "what came from there before the answer was taken in");
    assert!((1..=3).contains(&world.counters().stun_sent));
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn an_address_that_does_not_answer_gets_a_few_checks_and_no_media() {
    let mut world = World::new(44);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(3 * SECOND);
    let own = world.person(doctor).address;
    let victim = SocketAddr::from(([203, 0, 113, 80], 53));
    let mark = world.sent.len();

    // Somebody on the way rewrites the sender of what the doctor sends, checks excepted.
    world.translate(doctor, victim, false);
    world.spares_checks = true;
    world.run(4 * SECOND);
    let to_victim: Vec<usize> = world.sent.iter().skip(mark).filter(|left| left.to == victim).map(|left| left.len).collect();
    assert_eq!(world.media_to(victim, mark), 0);
    assert!((1..=7).contains(&to_victim.len()), "{to_victim:?}");
    assert!(to_victim.iter().all(|len| *len <= 150), "{to_victim:?}");
    assert_eq!(world.counters().path_changes, 0);

    world.translated.clear();
    world.run(2 * SECOND);
    world.assert_flows(&[doctor, patient]);
    assert!(world.person(doctor).address == own && world.counters().path_changes == 0);
}

#[test]
fn copies_of_a_call_from_elsewhere_are_not_even_asked_about() {
    let mut world = World::new(45);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.recording = true;
    world.run(SECOND);
    world.recording = false;
    let stranger = SocketAddr::from(([203, 0, 113, 81], 9_999));
    let mark = world.sent.len();
    for (_, bytes) in world.recorded.clone() {
        let check = bytes.first().is_some_and(|first| *first < 4);
        if !check {
            world.inject(stranger, bytes);
        }
    }
    assert_eq!(world.sent.iter().skip(mark).filter(|left| left.to == stranger).count(), 0);
    assert!(world.drops(DropReason::Replay) > 50, "they were known for what they are");
    world.run(SECOND);
    world.assert_flows(&[doctor, patient]);
}
