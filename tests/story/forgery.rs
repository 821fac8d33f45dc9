//! Datagrams of others: from elsewhere, from a borrowed address, replayed or changed. The call notices nothing.

use crate::world::media::Kind;
use crate::world::person::Coming;
use crate::world::{RELAY, Who, World};
use colloque::model::counters::{DropReason, FailureReason};
use colloque::model::roster::LeaveReason;
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A DTLS 1.2 ClientHello that offers the null cipher only.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![0xfe, 0xfd];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 0, 2, 0, 0, 1, 0]);
    let len = hello.len() as u8;
    let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, len + 12, 1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len];
    record.extend_from_slice(&hello);
    record
}

/// A fatal handshake_failure and a close_notify, both in clear.
fn alerts() -> [Vec<u8>; 2] {
    [[2, 40], [1, 0]].map(|alert| {
        let mut record = vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2];
        record.extend_from_slice(&alert);
        record
    })
}

fn rtp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.resize(100, 9);
    packet
}

fn is_media(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| (128..192).contains(first))
        && bytes.get(1).is_some_and(|second| !(192..=223).contains(second))
}

fn call(seed: u64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    world.recording = true;
    world.run(SECOND);
    world.recording = false;
    (world, doctor, patient)
}

#[test]
fn handshakes_alerts_and_media_from_an_address_that_passed_no_check_are_ignored() {
    let mut world = World::new(90);
    let doctor = world.seat("doctor", Coming::default());
    let stranger = SocketAddr::from(([203, 0, 113, 9], 9_999));
    let forged = |world: &mut World| {
        let mark = world.sent.len();
        for bytes in alerts().into_iter().chain([client_hello(), rtp(1), vec![0x80, 200, 0, 6, 0, 0, 0, 1], vec![0; 3], vec![]]) {
            world.inject(stranger, bytes);
        }
        assert_eq!(world.sent.iter().skip(mark).filter(|left| left.to == stranger).count(), 0, "not a byte in answer");
    };
    // Before, during and after the patient's handshake.
    forged(&mut world);
    let patient = world.join("patient", Coming::default());
    for _ in 0..20 {
        forged(&mut world);
        world.run(Duration::from_millis(5));
    }
    assert!(world.run_until(5 * SECOND, |world| world.person(patient).connected));
    world.run(2 * SECOND);
    forged(&mut world);
    world.assert_flows(&[doctor, patient]);
    assert!(world.drops(DropReason::UnknownAddress) >= 22 * 5, "all counted");
}

#[test]
fn plaintext_alerts_and_a_foreign_hello_from_a_borrowed_address_do_not_end_the_call() {
    let (mut world, doctor, patient) = call(91);
    let borrowed = world.person(patient).address;
    for _ in 0..50 {
        for bytes in alerts().into_iter().chain([client_hello()]) {
            world.inject(borrowed, bytes);
        }
    }
    world.run(SECOND);
    world.assert_flows(&[doctor, patient]);
    assert_eq!(world.counters().failures(FailureReason::DtlsClosed), 0);
    assert_eq!(world.counters().failures(FailureReason::DtlsHandshake), 0);
}

#[test]
fn plaintext_alerts_during_the_handshake_do_not_stop_it() {
    let mut world = World::new(92);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.join("patient", Coming::default());
    let borrowed = world.person(patient).address;
    for _ in 0..40 {
        alerts().into_iter().for_each(|bytes| world.inject(borrowed, bytes));
        world.run(Duration::from_millis(5));
    }
    world.run(5 * SECOND);
    assert!(world.person(patient).connected);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn hundreds_of_packets_with_bad_tags_do_not_end_the_call() {
    let (mut world, doctor, patient) = call(93);
    let borrowed = world.person(patient).address;
    let media: Vec<Vec<u8>> = world
        .recorded
        .iter()
        .filter(|(from, bytes)| *from == borrowed && is_media(bytes))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    let before = world.drops(DropReason::SrtpAuth);
    for bytes in media.iter().cycle().take(500) {
        // A number that was not seen yet, or it would only be a replay.
        let mut forged = bytes.clone();
        let ahead = u16::from_be_bytes([forged[2], forged[3]]).wrapping_add(1_000);
        forged[2..4].copy_from_slice(&ahead.to_be_bytes());
        *forged.last_mut().expect("not empty") ^= 1;
        world.inject(borrowed, forged);
    }
    let after = world.drops(DropReason::SrtpAuth);
    assert_eq!(after - before, 500);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn forged_packets_do_not_use_up_the_publishers_own_budget() {
    let (mut world, doctor, patient) = call(94);
    let borrowed = world.person(patient).address;
    let forged = rtp(77);
    // Many times what one publisher may send, between any two of its own packets.
    for _ in 0..10_000 {
        for _ in 0..3 {
            world.inject(borrowed, forged.clone());
        }
        world.run(SECOND / 10_000);
    }
    let since = world.now - SECOND / 2;
    let count = world.count(doctor, patient, Kind::Audio, since);
    assert!(count >= 20, "the patient is still heard: {count}");
}

#[test]
fn a_replayed_packet_is_dropped_and_counted() {
    let (mut world, doctor, patient) = call(95);
    let mark = world.sent.len() as u64;
    let recorded: Vec<_> = world.recorded.iter().filter(|(_, bytes)| is_media(bytes)).cloned().collect();
    let (forwarded, before) = (world.counters().forwarded, world.drops(DropReason::Replay));
    for (from, bytes) in &recorded {
        world.inject(*from, bytes.clone());
    }
    assert_eq!(world.drops(DropReason::Replay) - before, recorded.len() as u64);
    assert_eq!(world.counters().forwarded, forwarded);
    let again = [doctor, patient].map(|who| world.person(who).received.iter().filter(|one| one.left > mark).count());
    assert_eq!(again, [0, 0]);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn media_from_the_other_members_address_is_not_taken_for_theirs() {
    let (mut world, doctor, patient) = call(96);
    let (theirs, other) = (world.person(patient).address, world.person(doctor).address);
    let recorded: Vec<_> = world
        .recorded
        .iter()
        .filter(|(from, bytes)| *from == theirs && is_media(bytes))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    let before = world.drops(DropReason::SrtpAuth);
    recorded.iter().for_each(|bytes| world.inject(other, bytes.clone()));
    assert_eq!(world.drops(DropReason::SrtpAuth) - before, recorded.len() as u64);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn a_spoofed_source_number_is_refused_and_leaves_nothing() {
    let (mut world, doctor, patient) = call(97);
    let borrowed = world.person(patient).address;
    let one = world.recorded.iter().find(|(from, bytes)| *from == borrowed && is_media(bytes)).expect("media").1.clone();
    let before = world.drops(DropReason::SrtpAuth);
    for ssrc in 0..1_000u32 {
        let mut forged = one.clone();
        forged[8..12].copy_from_slice(&ssrc.to_be_bytes());
        world.inject(borrowed, forged);
    }
    assert_eq!(world.drops(DropReason::SrtpAuth) - before, 1_000);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn a_jump_of_numbers_in_a_forged_packet_moves_nothing() {
    let (mut world, doctor, patient) = call(98);
    let borrowed = world.person(patient).address;
    let media: Vec<Vec<u8>> = world
        .recorded
        .iter()
        .filter(|(from, bytes)| *from == borrowed && is_media(bytes))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    for (index, bytes) in media.iter().enumerate() {
        let mut forged = bytes.clone();
        forged[2..4].copy_from_slice(&((index * 7_919) as u16).to_be_bytes());
        world.inject(borrowed, forged);
    }
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn another_certificate_than_the_signalled_one_ends_the_session_and_nothing_is_forwarded() {
    let mut world = World::new(99);
    let doctor = world.seat("doctor", Coming::default());
    let impostor = world.join("patient", Coming { wrong_fingerprint: true, ..Coming::default() });
    let address = world.person(impostor).address;
    world.run(10 * SECOND);
    assert_eq!(world.person(impostor).left, Some(LeaveReason::MediaFailure));
    assert_eq!(world.counters().failures(FailureReason::Fingerprint), 1);
    assert_eq!(world.media_to(address, 0), 0);
    assert_eq!(world.count(doctor, impostor, Kind::Audio, world.start), 0);
    assert_eq!(world.counters().peers, 1);
}

#[test]
fn checks_for_nobody_and_checks_without_the_password_get_no_answer() {
    let (mut world, doctor, patient) = call(100);
    let stranger = SocketAddr::from(([203, 0, 113, 9], 9_999));
    world.recording = true;
    world.run(10 * SECOND);
    world.recording = false;
    let checks: Vec<Vec<u8>> = world
        .recorded
        .iter()
        .filter(|(_, bytes)| bytes.first().is_some_and(|first| *first < 2))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    assert!(!checks.is_empty());
    let mark = world.sent.len();
    let moved = world.counters().path_changes;
    for check in &checks {
        // One byte of the integrity's value, which stands 8 bytes of fingerprint from the end.
        let mut wrong = check.clone();
        let at = wrong.len() - 12;
        wrong[at] ^= 1;
        world.inject(stranger, wrong);
        // Another user fragment.
        let mut unknown = check.clone();
        unknown[24] = if unknown[24] == b'A' { b'B' } else { b'A' };
        world.inject(stranger, unknown);
    }
    assert_eq!(world.sent.len(), mark, "nothing is reflected");
    let unanswered = world.drops(DropReason::StunAuth) + world.drops(DropReason::UnknownUfrag);
    assert!(unanswered >= checks.len() as u64);
    assert_eq!(world.counters().path_changes, moved);
    world.assert_flows(&[doctor, patient]);
    assert_eq!(RELAY.port(), 7_882);
}

#[test]
fn a_copied_check_from_elsewhere_does_not_take_the_call_along() {
    let (mut world, doctor, patient) = call(101);
    let thief = SocketAddr::from(([203, 0, 113, 66], 6_666));
    world.recording = true;
    world.run(10 * SECOND);
    world.recording = false;
    let theirs = world.person(patient).address;
    let checks: Vec<Vec<u8>> = world
        .recorded
        .iter()
        .filter(|(from, bytes)| *from == theirs && bytes.first().is_some_and(|first| *first < 2))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    let mark = world.sent.len();
    for check in &checks {
        world.inject(thief, check.clone());
        world.run(SECOND / 10);
    }
    world.run(SECOND);
    assert_eq!(world.media_to(thief, mark), 0);
    world.assert_flows(&[doctor, patient]);
}
