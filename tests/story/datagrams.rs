//! Every datagram of a live call, cut at every length and changed in every byte: no panic, nothing moves, each is counted.

use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::model::counters::DropReason;
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [0..=3, ..] => "STUN",
        [20..=63, ..] => "DTLS",
        [128..=191, 192..=223, ..] => "SRTCP",
        [128..=191, ..] => "SRTP",
        _ => "other",
    }
}

fn call(seed: u64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    world.recording = true;
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    for _ in 0..10 {
        world.act(doctor, |person| person.send_data("_reliable", &super::data::packet("a line")));
        world.run(SECOND);
    }
    world.recording = false;
    (world, doctor, patient)
}

/// The shortest and the longest datagram of a kind, and some between.
fn samples(world: &World, wanted: &str) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut all: Vec<_> = world.recorded.iter().filter(|(_, bytes)| kind(bytes) == wanted).cloned().collect();
    all.sort_by_key(|(_, bytes)| bytes.len());
    all.dedup_by_key(|(_, bytes)| bytes.len());
    let step = (all.len() / 6).max(1);
    let last = all.last().cloned();
    let mut some: Vec<_> = all.into_iter().step_by(step).collect();
    some.extend(last);
    some
}

#[test]
fn a_call_whose_datagrams_come_in_batches_is_like_any_other() {
    let mut world = World::new(70);
    world.batching = true;
    // Both begin at one moment: checks and handshakes of two share batches, and so do their voices and pictures.
    let people = [world.seat("doctor", Coming::default()), world.seat("patient", Coming::default())];
    world.run(5 * SECOND);
    world.assert_flows(&people);
    let counters = world.counters();
    assert_eq!((counters.dtls_completed, counters.panics), (2, 0));
    assert!(counters.stun_answered > 2 && counters.forwarded > 400);
    let strangers = counters.drops(DropReason::UnknownAddress);
    world.inject_batch(&[
        (SocketAddr::from(([192, 0, 2, 1], 9)), vec![0x80; 40]),
        (world.person(people[0]).address, vec![0x80; 40]),
    ]);
    assert_eq!(world.counters().drops(DropReason::UnknownAddress), strangers + 1, "a stranger's, and only that one");
}

fn truncations(bytes: &[u8]) -> Vec<Vec<u8>> {
    (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect()
}

fn flips(bytes: &[u8]) -> Vec<Vec<u8>> {
    let flip = |at: usize, mask: u8| {
        let mut changed = bytes.to_vec();
        changed[at] ^= mask;
        changed
    };
    (0..bytes.len()).flat_map(|at| [0x01, 0x80, 0xff].map(|mask| flip(at, mask))).collect()
}

fn survive(seed: u64, wanted: &str) {
    let (mut world, doctor, patient) = call(seed);
    let samples = samples(&world, wanted);
    assert!(!samples.is_empty(), "positive control: the call had {wanted}");
    let (mut cut, mut changed) = (0u64, 0u64);
    let before = world.counters();
    let dropped = world.all_drops();
    for (from, bytes) in &samples {
        for bad in truncations(bytes) {
            cut += 1;
            world.inject(*from, bad);
        }
        for bad in flips(bytes) {
            changed += 1;
            world.inject(*from, bad);
        }
    }
    let after = world.counters();
    println!("{wanted}: {} datagrams, {cut} cut, {changed} changed", samples.len());
    assert_eq!(after.panics, 0);
    assert_eq!(after.forwarded, before.forwarded, "nothing goes through");
    assert_eq!(after.path_changes, before.path_changes);
    assert_eq!((after.peers, after.tracks, after.rooms), (before.peers, before.tracks, before.rooms));
    assert_eq!(after.packets_in - before.packets_in, cut + changed);
    // A handshake message that is whole may ask for the last flight again, a few times.
    let answered = if wanted == "DTLS" { 8 } else { 0 };
    let counted = world.all_drops() - dropped;
    assert!((cut + changed - answered..=cut + changed).contains(&counted), "each is counted: {counted} of {}", cut + changed);
    world.run(SECOND);
    world.assert_flows(&[doctor, patient]);
    assert!(world.act(doctor, |person| person.send_data("_reliable", &super::data::packet("still here"))));
    let before = world.person(patient).messages.len();
    world.run(SECOND);
    assert_eq!(world.person(patient).messages.len(), before + 1);
}

#[test]
fn stun_cut_at_every_length_and_changed_in_every_byte() {
    survive(120, "STUN");
}

#[test]
fn dtls_cut_at_every_length_and_changed_in_every_byte() {
    survive(121, "DTLS");
}

#[test]
fn srtp_cut_at_every_length_and_changed_in_every_byte() {
    survive(122, "SRTP");
}

#[test]
fn srtcp_cut_at_every_length_and_changed_in_every_byte() {
    survive(123, "SRTCP");
}

#[test]
fn every_length_from_nothing_to_a_hundred_of_every_first_byte_from_a_known_address() {
    let (mut world, doctor, patient) = call(124);
    let from = world.person(patient).address;
    let before = world.counters();
    for first in 0..=255u8 {
        for len in 0..=100usize {
            let mut bytes = vec![first; len];
            if let Some(second) = bytes.get_mut(1) {
                *second = 200;
            }
            world.inject(from, bytes);
        }
    }
    assert_eq!(world.counters().panics, 0);
    assert_eq!(world.counters().forwarded, before.forwarded);
    world.assert_flows(&[doctor, patient]);
}
