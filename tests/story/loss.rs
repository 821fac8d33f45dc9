//! Packets get lost on the way, and come again.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::{Who, World};
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Share of the packets sent between two frames that arrived.
fn share(world: &World, who: Who, from: Who, frames: std::ops::Range<u32>) -> f64 {
    let received = world.person(who).received.iter();
    let of = received.filter(|one| one.mark.from == from.0 as u8 && one.mark.kind == Kind::Video);
    let different: BTreeSet<_> =
        of.map(|one| (one.mark.frame, one.mark.part)).filter(|(frame, _)| frames.contains(frame)).collect();
    different.len() as f64 / f64::from(2 * (frames.end - frames.start))
}

#[test]
fn what_a_viewer_misses_comes_again_from_the_relay() {
    let mut world = World::new(30);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(2 * SECOND);
    world.line(patient).down = Weather { jitter: SECOND / 100, ..Weather::losing(0.05) };
    let since = world.received(patient, doctor, Kind::Video, world.now - SECOND).last().expect("pictures").mark.frame;
    world.run(10 * SECOND);

    let counters = world.counters();
    assert!(world.person(patient).control.nack_out > 0 && counters.nack_in > 0);
    assert!(counters.retransmitted >= 20, "{}", counters.retransmitted);
    let share = share(&world, patient, doctor, since..since + 200);
    assert!(share > 0.99, "{share}");
    assert_eq!(world.person(doctor).control.nack_in, 0, "the publisher's line is well");
}

#[test]
fn what_the_relay_misses_comes_again_from_the_publisher() {
    let mut world = World::new(31);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(2 * SECOND);
    world.line(doctor).up = Weather::losing(0.05);
    let since = world.received(patient, doctor, Kind::Video, world.now - SECOND).last().expect("pictures").mark.frame;
    world.run(10 * SECOND);

    assert!(world.counters().nack_out > 0);
    let control = world.person(doctor).control.clone();
    assert!(control.nack_in > 0 && control.rtx_out > 0, "{control:?}");
    let share = share(&world, patient, doctor, since..since + 200);
    assert!(share > 0.99, "{share}");
}

#[test]
fn what_fills_probes_heals_losses_nobody_has_asked_about() {
    let mut world = World::new(34);
    let doctor = crate::lines::camera(&mut world, "doctor");
    let patient = world.seat("patient", Coming::viewer());
    world.narrow(patient, 1_000_000);
    world.line(patient).down = Weather::losing(0.1);
    world.run(SECOND);
    world.act(patient, |person| person.ask_for_nothing());
    let before = (world.person(patient).control.nack_out, world.counters());
    let since = world.now;
    world.run(120 * SECOND);

    let counters = world.counters();
    assert_eq!((world.person(patient).control.nack_out, counters.retransmitted), (before.0, before.1.retransmitted));
    let repeats = counters.padding_repeats - before.1.padding_repeats;
    let packets: Vec<_> = world.received(patient, doctor, Kind::Video, since).collect();
    // The line keeps packets in order, and this stack tells each once: one behind its followers was lost, and came as padding.
    let mut newest = 0;
    let healed = packets.iter().filter(|one| {
        let late = one.sequence < newest;
        newest = newest.max(one.sequence);
        late
    });
    let healed = healed.count();
    println!(
        "{} probes, {} bytes of padding, {repeats} packets among it, {healed} healed of {}",
        counters.probes,
        counters.padding_bytes,
        packets.len()
    );
    assert!(repeats >= 20 && healed >= 1, "{repeats} sent unasked, {healed} of them missing");
    assert!(healed as u64 <= repeats);
    // Each is the packet whose number it has: within its layer, in order, between its neighbours.
    let mut in_order = packets;
    in_order.sort_by_key(|one| one.sequence);
    for pair in in_order.windows(2) {
        let of = |at: usize| (pair[at].mark.frame, pair[at].mark.part);
        assert!(pair[0].mark.layer != pair[1].mark.layer || of(0) < of(1), "{pair:?}");
    }
}

#[test]
fn a_call_stays_up_in_very_bad_weather_and_recovers_after_it() {
    let mut world = World::new(32);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    let storm = Weather { delay: SECOND / 5, jitter: SECOND / 10, loss: 0.3, twice: 0.1 };
    for who in [doctor, patient] {
        (world.line(who).up, world.line(who).down) = (storm, storm);
    }
    world.run(20 * SECOND);
    for who in [doctor, patient] {
        (world.line(who).up, world.line(who).down) = (Weather::FAIR, Weather::FAIR);
    }
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
    assert_eq!(world.counters().panics, 0);
}

#[test]
fn publishers_get_transport_feedback_and_receivers_get_sender_reports() {
    let mut world = World::new(33);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::viewer()));
    world.run(10 * SECOND);
    let doctor = world.person(doctor).control.clone();
    assert!(doctor.twcc_in >= 50, "{doctor:?}");
    assert!(doctor.receiver_reports_in >= 5, "{doctor:?}");
    let patient = world.person(patient).control.clone();
    assert!(patient.sender_reports_in >= 2, "{patient:?}");
}
