//! Clients that know no AES-GCM: the tags of their packets are made for a whole batch at once, and nobody notices.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::{Rules, Who, World};
use colloque::model::counters::DropReason;
use colloque::transport::srtp::Profile;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64) -> World {
    let mut world = World::with(seed, Rules { profiles: &[Profile::Aes128CmSha1_80], ..Rules::default() });
    world.batching = true;
    world
}

/// Share of somebody's packets that somebody has, of those of the last seconds.
fn share(world: &World, who: Who, from: Who, kind: Kind, seconds: u32) -> f64 {
    let since = world.now - SECOND * seconds;
    let had: BTreeSet<_> = world.received(who, from, kind, since).map(|one| (one.mark.frame, one.mark.part)).collect();
    let frames = had.iter().map(|(frame, _)| *frame);
    let (first, last) = (frames.clone().min().expect("media"), frames.max().expect("media"));
    had.len() as f64 / f64::from((last - first + 1) * if kind == Kind::Video { 2 } else { 1 })
}

#[test]
fn a_room_of_three_hears_and_sees_each_other() {
    let mut world = world(310);
    let people = ["doctor", "patient", "nurse"].map(|name| world.seat(name, Coming::default()));
    world.run(2 * SECOND);
    world.assert_flows(&people);
    assert_eq!(world.counters().srtp_cm_sha1, 3);
    for (who, from) in [(0, 1), (1, 2), (2, 0)].map(|(who, from)| (people[who], people[from])) {
        for kind in [Kind::Audio, Kind::Video] {
            let share = share(&world, who, from, kind, 1);
            assert!(share > 0.97, "{kind:?}: {share}");
        }
    }
    assert_eq!(world.all_drops(), 0);
}

#[test]
fn what_goes_out_twice_has_its_tag() {
    let mut world = world(311);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::viewer());
    world.run(4 * SECOND);
    world.line(patient).down = Weather::losing(0.08);
    world.run(30 * SECOND);
    // Of voice sent once 0.92 come, of voice sent twice 0.99; pictures are asked for again.
    let (voice, picture) = (share(&world, patient, doctor, Kind::Audio, 15), share(&world, patient, doctor, Kind::Video, 15));
    assert!(voice > 0.975, "{voice}");
    assert!(picture > 0.98, "{picture}");
    assert!(world.counters().retransmitted > 20, "positive control");
    assert_eq!(world.drops(DropReason::SrtpAuth), 0);
}

#[test]
fn forgeries_and_replays_among_genuine_packets_are_dropped_and_nothing_else() {
    let mut world = world(312);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(2 * SECOND);
    world.recording = true;
    world.run(SECOND);
    world.recording = false;
    let media = |bytes: &[u8]| matches!(bytes, [128..=191, second, ..] if !(192..=223).contains(second));
    let genuine: Vec<(SocketAddr, Vec<u8>)> = world.recorded.iter().filter(|(_, bytes)| media(bytes)).cloned().collect();
    assert!(genuine.len() > 80, "{}", genuine.len());
    let mut batch = Vec::new();
    for (from, bytes) in &genuine {
        // New to the window, and not the publisher's.
        let mut forged = bytes.clone();
        let sequence = u16::from_be_bytes([forged[2], forged[3]]).wrapping_add(900);
        forged[2..4].copy_from_slice(&sequence.to_be_bytes());
        batch.extend([(*from, bytes.clone()), (*from, forged)]);
    }
    let forwarded = world.counters().forwarded;
    world.inject_batch(&batch);
    let count = genuine.len() as u64;
    assert_eq!((world.drops(DropReason::Replay), world.drops(DropReason::SrtpAuth)), (count, count));
    assert_eq!(world.counters().forwarded, forwarded);
    world.assert_flows(&[doctor, patient]);
}
