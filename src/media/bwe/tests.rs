//! The estimate on lines of all kinds, in virtual time. `cargo test --lib media::bwe::tests -- --nocapture` prints the figures.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::line::{Flow, Line, Source, World, elastic, voice};
use super::*;
use crate::media::allocation::{Allocator, Budget, Class, Favour, Layer, Track};
use crate::media::rtcp::{Compound, FeedbackHeader, Rtcp, packets};

/// The same line with other chances.
const SEEDS: std::ops::Range<u64> = 1..6;

/// The same story on each seed.
fn runs(story: impl Fn(u64) -> World) -> Vec<World> {
    SEEDS.map(story).collect()
}

/// Prints one figure over all runs and holds the worst against its limits.
fn figure(name: &str, worlds: &[World], value: impl Fn(&Flow) -> f64, least: f64, most: f64) {
    let values: Vec<_> = worlds.iter().map(|world| value(&world.flows[0])).collect();
    let (low, high) =
        values.iter().fold((f64::INFINITY, 0.0), |(low, high), value| (f64::min(low, *value), f64::max(high, *value)));
    println!("{name:<64} {low:>8.1} … {high:<8.1} (limits {least} … {most})");
    assert!(low >= least && high <= most, "{name}: {values:?} not within {least} to {most}");
}

fn one(line: Line, seed: u64) -> World {
    World::new(line, vec![elastic(5_000)], seed)
}

#[test]
fn a_steady_megabit_is_used_without_loss() {
    let worlds = runs(|seed| {
        let mut world = one(Line::new(1_000, 50), seed);
        world.run_to(60.0);
        world
    });
    figure("1 Mbit/s, 50 ms: 800 kbit/s reached after (s)", &worlds, |flow| flow.reaches(800, 0.0), 0.0, 3.0);
    figure("  used from 10 s on (kbit/s)", &worlds, |flow| flow.arrived(10.0, 60.0), 850.0, 1_000.0);
    figure("  loss from 10 s on (%)", &worlds, |flow| flow.lost(10.0, 60.0) * 100.0, 0.0, 0.5);
    figure("  queue, 95 of 100 (ms)", &worlds, |flow| flow.queue_95(10.0, 60.0), 0.0, 120.0);
}

#[test]
fn a_cap_is_obeyed_within_5_s_and_left_within_10() {
    let worlds = runs(|seed| {
        let mut world = one(Line::new(2_000, 50), seed);
        world.run_to(20.0);
        world.line.rate = Bitrate::from_kbps(150);
        world.run_to(50.0 + seed as f64 / 2.0);
        world.line.rate = Bitrate::from_kbps(2_000);
        world.run_to(90.0);
        world
    });
    figure("2 M -> 150 k -> 2 M: used before (kbit/s)", &worlds, |flow| flow.arrived(10.0, 20.0), 1_600.0, 2_000.0);
    figure("  queue 5 s after the fall (ms)", &worlds, |flow| flow.queue(25.0, 30.0), 0.0, 200.0);
    figure("  longest queue after that, probes included (ms)", &worlds, |flow| flow.queue(30.0, 50.0), 0.0, 250.0);
    figure("  used while capped (kbit/s)", &worlds, |flow| flow.arrived(25.0, 50.0), 90.0, 150.0);
    figure("  loss while capped (%)", &worlds, |flow| flow.lost(25.0, 50.0) * 100.0, 0.0, 1.0);
    figure("  1.6 Mbit/s again, from 50 s (s)", &worlds, |flow| flow.reaches(1_600, 50.0), 0.0, 10.0);
    figure("  used from 12 s on (kbit/s)", &worlds, |flow| flow.arrived(62.0, 90.0), 1_600.0, 2_000.0);
    figure("  queue from 5 s after the release (ms)", &worlds, |flow| flow.queue(57.5, 90.0), 0.0, 200.0);
}

#[test]
fn loss_that_is_not_ours_does_not_starve_the_line() {
    for (loss, mean, least) in [(0.05, 2_000.0, 1_200.0), (0.1, 2_000.0, 1_200.0), (0.3, 1_000.0, 250.0)] {
        let worlds = runs(|seed| {
            let mut world = one(Line { loss, ..Line::new(3_000, 50) }, seed);
            world.run_to(90.0);
            world
        });
        let name = format!("3 Mbit/s with {} % loss: mean estimate (kbit/s)", loss * 100.0);
        figure(&name, &worlds, |flow| flow.estimate(15.0, 90.0).1, mean, 3_600.0);
        figure("  lowest from 15 s on (kbit/s)", &worlds, |flow| flow.estimate(15.0, 90.0).0, least, 3_600.0);
    }
}

#[test]
fn a_policer_is_obeyed() {
    let worlds = runs(|seed| {
        let mut world = one(Line { queue: 4_000, ..Line::new(800, 50) }, seed);
        world.run_to(60.0);
        world
    });
    figure("800 kbit/s with a queue of 40 ms: used (kbit/s)", &worlds, |flow| flow.arrived(10.0, 60.0), 650.0, 800.0);
    figure("  loss (%)", &worlds, |flow| flow.lost(10.0, 60.0) * 100.0, 0.0, 3.0);
}

#[test]
fn a_deep_queue_is_not_filled() {
    let worlds = runs(|seed| {
        let mut world = one(Line { queue: 250_000, ..Line::new(1_000, 50) }, seed);
        world.run_to(60.0);
        world
    });
    figure("1 Mbit/s with a queue of 2 s: queue, 95 of 100 (ms)", &worlds, |flow| flow.queue_95(5.0, 60.0), 0.0, 120.0);
    figure("  longest queue (ms)", &worlds, |flow| flow.queue(5.0, 60.0), 0.0, 200.0);
    figure("  used (kbit/s)", &worlds, |flow| flow.arrived(10.0, 60.0), 800.0, 1_000.0);
}

#[test]
fn a_satellite_converges() {
    let worlds = runs(|seed| {
        let mut world = one(Line::new(1_000, 600), seed);
        world.run_to(90.0);
        world
    });
    figure("1 Mbit/s, 600 ms: 700 kbit/s reached after (s)", &worlds, |flow| flow.reaches(700, 0.0), 0.0, 5.0);
    figure("  used from 20 s on (kbit/s)", &worlds, |flow| flow.arrived(20.0, 90.0), 750.0, 1_000.0);
    figure("  queue, 95 of 100 (ms)", &worlds, |flow| flow.queue_95(20.0, 90.0), 0.0, 200.0);
    figure("  loss (%)", &worlds, |flow| flow.lost(20.0, 90.0) * 100.0, 0.0, 1.0);
}

#[test]
fn a_thin_line_is_found_from_above() {
    let worlds = runs(|seed| {
        let mut world = one(Line::new(120, 80), seed);
        world.run_to(40.0);
        world
    });
    figure("120 kbit/s: queue from 5 s on (ms)", &worlds, |flow| flow.queue(5.0, 40.0), 0.0, 300.0);
    figure("  used (kbit/s)", &worlds, |flow| flow.arrived(10.0, 40.0), 75.0, 120.0);
}

#[test]
fn two_flows_share() {
    let worlds = runs(|seed| {
        let mut world = World::new(Line::new(3_000, 60), vec![elastic(5_000), elastic(5_000)], seed);
        world.flows[1].starts_at = 10_000_000;
        world.run_to(120.0);
        world
    });
    figure("the first of two flows on 3 Mbit/s (kbit/s)", &worlds, |flow| flow.arrived(60.0, 120.0), 800.0, 2_200.0);
    for world in &worlds {
        let sum: f64 = world.flows.iter().map(|flow| flow.arrived(60.0, 120.0)).sum();
        assert!((2_300.0..3_000.0).contains(&sum), "{sum}");
    }
    figure("  queue, 95 of 100 (ms)", &worlds, |flow| flow.queue_95(30.0, 120.0), 0.0, 200.0);
}

#[test]
fn traffic_of_others_is_given_way_to() {
    let worlds = runs(|seed| {
        let mut world = one(Line::new(2_000, 50), seed);
        world.run_to(20.0);
        world.line.cross = Bitrate::from_kbps(1_200);
        world.run_to(40.0);
        world.line.cross = Bitrate::ZERO;
        world.run_to(60.0);
        world
    });
    figure("1.2 of 2 Mbit/s taken by others: used (kbit/s)", &worlds, |flow| flow.arrived(25.0, 40.0), 550.0, 850.0);
    figure("  queue from 5 s on (ms)", &worlds, |flow| flow.queue(25.0, 40.0), 0.0, 250.0);
    figure("  used from 10 s after they left (kbit/s)", &worlds, |flow| flow.arrived(50.0, 60.0), 1_500.0, 2_000.0);
}

#[test]
fn a_longer_way_is_not_a_queue() {
    let worlds = runs(|seed| {
        let mut world = one(Line::new(2_000, 50), seed);
        world.run_to(20.0);
        world.line.delay = Duration::from_millis(150);
        world.run_to(50.0);
        world
    });
    figure("250 ms longer round trip: used in the first 10 s (kbit/s)", &worlds, |flow| flow.arrived(20.0, 30.0), 600.0, 2_000.0);
    figure("  used after that (kbit/s)", &worlds, |flow| flow.arrived(30.0, 50.0), 1_300.0, 2_000.0);
    figure("  queue, 95 of 100 (ms)", &worlds, |flow| flow.queue_95(20.0, 50.0), 0.0, 200.0);
}

#[test]
fn a_radio_that_stalls_is_used() {
    for (stall, least) in [(40, 1_300.0), (100, 900.0)] {
        let worlds = runs(|seed| {
            let mut world = one(Line { stall, ..Line::new(2_000, 50) }, seed);
            world.run_to(60.0);
            world
        });
        let name = format!("2 Mbit/s that stalls for {stall} ms each second: used (kbit/s)");
        figure(&name, &worlds, |flow| flow.arrived(10.0, 60.0), least, 2_000.0);
        figure("  queue, 95 of 100 (ms)", &worlds, |flow| flow.queue_95(10.0, 60.0), 0.0, 250.0);
    }
}

#[test]
fn lost_feedback_is_borne() {
    let worlds = runs(|seed| {
        let mut world = one(Line { feedback_loss: 0.3, ..Line::new(1_000, 50) }, seed);
        world.run_to(60.0);
        world
    });
    figure("30 % of feedback lost on 1 Mbit/s: used (kbit/s)", &worlds, |flow| flow.arrived(15.0, 60.0), 750.0, 1_000.0);
}

#[test]
fn a_dead_line_is_sent_next_to_nothing_and_comes_back() {
    let worlds = runs(|seed| {
        let mut world = one(Line::new(2_000, 50), seed);
        world.run_to(20.0);
        world.line.loss = 1.0;
        world.run_to(25.0);
        world.line.loss = 0.0;
        world.run_to(50.0);
        world
    });
    let sent = |flow: &Flow| flow.samples[210..250].iter().map(|sample| sample.sent * 8).sum::<u64>() as f64 / 4_000.0;
    figure("nothing arrives for 5 s: sent after the first (kbit/s)", &worlds, sent, 0.0, 60.0);
    figure("  1.5 Mbit/s again after (s)", &worlds, |flow| flow.reaches(1_500, 25.0), 0.0, 8.0);
    figure("  used from 10 s after (kbit/s)", &worlds, |flow| flow.arrived(35.0, 50.0), 1_500.0, 2_000.0);
}

/// A voice and a camera of three layers, allocated ten times a second; counts the camera's changes.
fn consultation(changes: Rc<Cell<u32>>) -> Source {
    let layer = |spatial, kbps| Layer { spatial, temporal: 0, bitrate: Bitrate::from_kbps(kbps), packets: 0 };
    let sound = [Layer { bitrate: voice(), ..layer(0, 0) }];
    let camera = [layer(0, 160), layer(1, 450), layer(2, 1_700)];
    let mut allocator = Allocator::default();
    let mut trust: Option<(Trust, Instant)> = None;
    Box::new(move |estimator, now| {
        let (trust, looked) = trust.get_or_insert_with(|| (Trust::new(now), now));
        if now.saturating_duration_since(*looked) >= Duration::from_millis(80) {
            *looked = now;
            let figures = estimator.figures(now);
            trust.note(&Look { figures, totals: estimator.totals(), heard: figures.rtt.is_some() }, now);
        }
        let bounded = trust.is_bounded(estimator.estimate(now), allocator.need().all, now);
        if !bounded {
            allocator.forget_falls();
        }
        let of = |key, class: Class| (key, class, class.priority());
        let track = |(key, class, priority), layers| Track {
            key,
            class,
            priority,
            favour: Favour::Motion,
            layers,
            wanted: Some(2),
            floor: 0,
            pausable: true,
        };
        let tracks = [track(of(1, Class::Voice), &sound[..]), track(of(2, Class::ActiveFace), &camera[..])];
        let rate = if bounded { estimator.budget(now) } else { Limits::default().max };
        let budget = Budget { rate, probed: !bounded || estimator.is_probed(now) };
        let choice = allocator.allocate(tracks.iter().copied(), budget, now)[1];
        estimator.set_need(if bounded { allocator.need() } else { Need::default() });
        changes.set(changes.get() + u32::from(choice.changed));
        choice.layer.and_then(|(spatial, _)| camera.get(usize::from(spatial))).map_or(Bitrate::ZERO, |layer| layer.bitrate)
    })
}

#[test]
fn a_consultation_climbs_its_layers_and_stays() {
    for (kbps, expected, within) in [(2_500, 1_700, 4.0), (1_200, 450, 4.0), (350, 160, 4.0)] {
        let changes: Vec<_> = SEEDS.map(|_| Rc::new(Cell::new(0))).collect();
        let worlds = runs(|seed| {
            let source = consultation(changes[seed as usize - 1].clone());
            let mut world = World::new(Line::new(kbps, 50), vec![source], seed);
            world.run_to(120.0);
            world
        });
        let reached = expected * 85 / 100;
        let name = format!("layers on {kbps} kbit/s: {expected} reached after (s)");
        figure(&name, &worlds, |flow| flow.reaches(reached, 0.0), 0.0, within);
        figure("  sent from 10 s on (kbit/s)", &worlds, |flow| flow.arrived(10.0, 120.0), reached as f64, kbps as f64);
        figure("  loss (%)", &worlds, |flow| flow.lost(10.0, 120.0) * 100.0, 0.0, 0.5);
        figure("  queue, 95 of 100 (ms)", &worlds, |flow| flow.queue_95(10.0, 120.0), 0.0, 100.0);
        let most = changes.iter().map(|count| count.get()).max();
        println!("  changes of layer at most {most:?}");
        assert!(most <= Some(8));
    }
}

#[test]
fn a_consultation_that_begins_on_a_narrow_line_does_not_flood_it() {
    let worlds = runs(|seed| {
        let mut world = World::new(Line::new(300, 50), vec![consultation(Rc::new(Cell::new(0)))], seed);
        world.run_to(20.0);
        world
    });
    figure("layers on 300 kbit/s from the start: loss (%)", &worlds, |flow| flow.lost(0.0, 20.0) * 100.0, 0.0, 2.0);
}

#[test]
fn a_consultation_on_a_line_that_loses_a_tenth_keeps_its_best_layer() {
    for loss in [0.02, 0.05, 0.1] {
        let changes: Vec<_> = SEEDS.map(|_| Rc::new(Cell::new(0))).collect();
        let worlds = runs(|seed| {
            let source = consultation(changes[seed as usize - 1].clone());
            let mut world = World::new(Line { loss, ..Line::new(5_000, 60) }, vec![source], seed);
            world.run_to(60.0);
            world
        });
        let least = 1_700.0 * (1.0 - loss) * 0.95;
        let name = format!("layers with {loss} lost: from 3 s on (kbit/s)");
        figure(&name, &worlds, |flow| flow.arrived(3.0, 60.0), least, 2_500.0);
        let most = changes.iter().map(|count| count.get()).max();
        println!("  changes of layer at most {most:?}");
        assert!(most <= Some(8), "the first moments");
    }
}

#[test]
fn a_consultation_survives_a_cap_and_returns_to_its_best_layer() {
    let changes = Rc::new(Cell::new(0));
    let worlds = runs(|seed| {
        let mut world = World::new(Line::new(2_500, 50), vec![consultation(changes.clone())], seed);
        world.run_to(20.0);
        world.line.rate = Bitrate::from_kbps(150);
        world.run_to(40.0 + seed as f64 / 2.0);
        world.line.rate = Bitrate::from_kbps(2_500);
        world.run_to(80.0);
        world
    });
    figure("layers, 2.5 M -> 150 k -> 2.5 M: queue 5 s after the fall (ms)", &worlds, |flow| flow.queue(25.0, 40.0), 0.0, 200.0);
    figure("  best layer again, from 40 s (s)", &worlds, |flow| flow.reaches(1_450, 40.0), 0.0, 11.0);
    println!("  changes of layer in all runs: {}", changes.get());
}

#[test]
fn a_line_that_widens_is_noticed() {
    let worlds = runs(|seed| {
        let mut world = World::new(Line::new(1_200, 50), vec![consultation(Rc::default())], seed);
        world.run_to(30.0);
        world.line.rate = Bitrate::from_kbps(2_500);
        world.run_to(60.0);
        world
    });
    figure("layers, 1.2 M -> 2.5 M: before (kbit/s)", &worlds, |flow| flow.arrived(10.0, 30.0), 400.0, 600.0);
    figure("  loss from the probes (%)", &worlds, |flow| flow.lost(10.0, 30.0) * 100.0, 0.0, 0.5);
    figure("  longest queue from the probes (ms)", &worlds, |flow| flow.queue(10.0, 30.0), 0.0, 100.0);
    figure("  best layer after (s)", &worlds, |flow| flow.reaches(1_450, 30.0), 0.0, 15.0);
}

#[test]
fn without_feedback_what_the_receiver_says_counts() {
    let t0 = Instant::now();
    let mut estimator = Estimator::new(Limits::default(), t0);
    estimator.on_sent(1_000, t0);
    estimator.set_need(Need { next: Bitrate::from_kbps(900), all: Bitrate::from_kbps(900) });
    assert_eq!(estimator.poll_probe(t0), None, "nothing to measure a probe by");
    assert_eq!(estimator.budget(t0), Limits::default().start);
    estimator.on_remb(Bitrate::from_kbps(1_234), t0);
    assert_eq!(estimator.budget(t0 + Duration::from_secs(1)), Bitrate::from_kbps(1_234));
    estimator.on_remb(Bitrate::from_bps(1), t0);
    assert_eq!(estimator.budget(t0 + Duration::from_secs(1)), Limits::default().min);
}

proptest! {
    #[test]
    fn whatever_feedback_says_the_estimate_stays_within_its_limits(
        feedback in prop::collection::vec(
            (any::<u16>(), -0x80_0000_i32..0x7F_FFFF, prop::collection::vec(prop::option::of(any::<i16>()), 1..60)),
            1..40,
        ),
        near in any::<bool>(),
        steps in prop::collection::vec(0_u64..3_000, 40),
    ) {
        let (t0, limits) = (Instant::now(), Limits::default());
        let mut estimator = Estimator::new(limits, t0);
        estimator.set_need(Need { next: limits.max, all: limits.max });
        let (mut now, mut out) = (t0, [0; 400]);
        for ((base, reference, statuses), step) in feedback.iter().zip(steps) {
            for _ in 0..30 {
                estimator.on_sent(1_100, now);
            }
            now += Duration::from_millis(step);
            // Half of the runs talk of what was really sent.
            let (base_sequence, reference_time) = if near { (base % 1_200, reference % 50) } else { (*base, *reference) };
            let header = FeedbackHeader { base_sequence, reference_time, ..FeedbackHeader::default() };
            let mut compound = Compound::new(&mut out);
            assert!(compound.transport_feedback(&header, statuses.iter().copied()));
            let length = compound.len();
            let Some(Ok(Rtcp::TransportFeedback(read))) = packets(&out[..length]).next() else { panic!("feedback") };
            estimator.on_feedback(&read, now);
            estimator.on_reports(u32::from(*base), u32::from(*base) / 2, now);
            let probe = estimator.poll_probe(now);
            prop_assert!(probe.is_none_or(|probe| probe.bitrate <= limits.max && probe.until > now));
            for rate in [estimator.estimate(now), estimator.budget(now)] {
                prop_assert!((limits.min..=limits.max).contains(&rate));
            }
            let figures = estimator.figures(now);
            prop_assert!((0.0..=1.0).contains(&figures.loss));
            prop_assert!(estimator.next_deadline(now).is_none_or(|deadline| deadline > now));
        }
    }
}
