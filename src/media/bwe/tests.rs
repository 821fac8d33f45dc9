//! The estimate on lines of all kinds, in virtual time. `cargo test -- --nocapture media::bwe::tests` prints the figures.

use super::line::{Flow, Line, World, elastic};
use super::*;

/// Prints one figure and holds it against its limits.
fn figure(name: &str, value: f64, least: f64, most: f64) {
    println!("{name:<72} {value:>9.2}   ({least} to {most})");
    assert!((least..=most).contains(&value), "{name}: {value} is not within {least} to {most}");
}

fn one(line: Line, most_kbps: u64) -> World {
    World::new(line, vec![elastic(most_kbps)])
}

fn trace(world: &World) {
    if std::env::var("TRACE_LINE").is_ok() {
        for (flow, state) in world.flows.iter().enumerate() {
            for (n, s) in state.samples.iter().enumerate() {
                let rate = |bytes: u64| bytes * 80 / 1_000;
                println!(
                    "{flow} {:>6.1} est {:>6} bud {:>6} sent {:>6} arr {:>6} lost {:>3} q {:>5} pad {}",
                    n as f64 / 10.0, s.estimate / 1_000, s.budget / 1_000, rate(s.sent), rate(s.arrived), s.lost,
                    s.queue / 1_000, s.padding
                );
            }
        }
    }
}

#[test]
fn a_steady_megabit_is_used_without_loss() {
    let mut world = one(Line::new(1_000, 50), 5_000);
    world.run_to(60.0);
    trace(&world);
    let flow = &world.flows[0];
    figure("1 Mbit/s, 50 ms: 800 kbit/s reached after (s)", flow.reaches(800, 0.0).unwrap(), 0.0, 10.0);
    figure("  used from 10 s on (kbit/s)", flow.arrived(10.0, 60.0), 800.0, 1_000.0);
    figure("  loss from 10 s on (%)", flow.lost(10.0, 60.0) * 100.0, 0.0, 1.0);
    figure("  queue, 95 of 100 (ms)", flow.queue_95(10.0, 60.0), 0.0, 150.0);
}

#[test]
fn a_cap_is_obeyed_within_5_s_and_left_within_10() {
    let mut world = one(Line::new(2_000, 50), 5_000);
    world.run_to(20.0);
    world.line.rate = Bitrate::from_kbps(150);
    world.run_to(50.0);
    world.line.rate = Bitrate::from_kbps(2_000);
    world.run_to(80.0);
    trace(&world);
    let flow = &world.flows[0];
    figure("2 M -> 150 k -> 2 M: used before (kbit/s)", flow.arrived(10.0, 20.0), 1_600.0, 2_000.0);
    figure("  queue from 5 s after the fall (ms)", flow.queue(25.0, 50.0), 0.0, 200.0);
    figure("  used while capped (kbit/s)", flow.arrived(25.0, 50.0), 90.0, 150.0);
    figure("  loss while capped (%)", flow.lost(25.0, 50.0) * 100.0, 0.0, 1.0);
    figure("  1.6 Mbit/s again after (s)", flow.reaches(1_600, 50.0).unwrap() - 50.0, 0.0, 10.0);
    figure("  used from 10 s after the release (kbit/s)", flow.arrived(60.0, 80.0), 1_600.0, 2_000.0);
    figure("  queue from 5 s after the release (ms)", flow.queue(55.0, 80.0), 0.0, 200.0);
}

#[test]
fn loss_that_is_not_ours_does_not_starve_the_line() {
    for (loss, least) in [(0.05, 1_200.0), (0.1, 1_200.0), (0.3, 250.0)] {
        let mut world = one(Line { loss, ..Line::new(3_000, 50) }, 5_000);
        world.run_to(90.0);
        trace(&world);
        let (lowest, mean) = world.flows[0].estimate(15.0, 90.0);
        figure(&format!("3 Mbit/s with {} % loss: mean estimate (kbit/s)", loss * 100.0), mean, least * 1.2, 3_600.0);
        figure("  lowest estimate from 15 s on (kbit/s)", lowest, least, 3_600.0);
    }
}

#[test]
fn a_policer_is_obeyed() {
    let line = Line { queue: 4_000, ..Line::new(800, 50) };
    let mut world = one(line, 5_000);
    world.run_to(60.0);
    trace(&world);
    let flow = &world.flows[0];
    figure("800 kbit/s with a queue of 40 ms: used (kbit/s)", flow.arrived(10.0, 60.0), 480.0, 800.0);
    figure("  loss (%)", flow.lost(10.0, 60.0) * 100.0, 0.0, 5.0);
}

#[test]
fn a_deep_queue_is_not_filled() {
    let line = Line { queue: 250_000, ..Line::new(1_000, 50) };
    let mut world = one(line, 5_000);
    world.run_to(60.0);
    trace(&world);
    let flow = &world.flows[0];
    figure("1 Mbit/s with a queue of 2 s: queue, 95 of 100 (ms)", flow.queue_95(5.0, 60.0), 0.0, 200.0);
    figure("  longest queue (ms)", flow.queue(5.0, 60.0), 0.0, 250.0);
    figure("  used (kbit/s)", flow.arrived(10.0, 60.0), 750.0, 1_000.0);
}

#[test]
fn a_satellite_converges() {
    let mut world = one(Line::new(1_000, 600), 5_000);
    world.run_to(90.0);
    trace(&world);
    let flow = &world.flows[0];
    figure("1 Mbit/s, 600 ms: 700 kbit/s reached after (s)", flow.reaches(700, 0.0).unwrap(), 0.0, 20.0);
    figure("  used from 20 s on (kbit/s)", flow.arrived(20.0, 90.0), 650.0, 1_000.0);
    figure("  queue, 95 of 100 (ms)", flow.queue_95(20.0, 90.0), 0.0, 300.0);
    figure("  loss (%)", flow.lost(20.0, 90.0) * 100.0, 0.0, 1.0);
}

#[test]
fn a_thin_line_is_found_from_above() {
    let mut world = one(Line::new(120, 80), 5_000);
    world.run_to(40.0);
    trace(&world);
    let flow = &world.flows[0];
    figure("120 kbit/s: queue from 5 s on (ms)", flow.queue(5.0, 40.0), 0.0, 250.0);
    figure("  used (kbit/s)", flow.arrived(10.0, 40.0), 75.0, 120.0);
}

#[test]
fn two_flows_share() {
    let mut world = World::new(Line::new(3_000, 60), vec![elastic(5_000), elastic(5_000)]);
    world.flows[1].starts_at = 10_000_000;
    world.run_to(120.0);
    trace(&world);
    let share = |flow: &Flow| flow.arrived(60.0, 120.0);
    let (first, second) = (share(&world.flows[0]), share(&world.flows[1]));
    figure("two flows on 3 Mbit/s: sum (kbit/s)", first + second, 2_300.0, 3_000.0);
    figure("  the smaller's share of half", first.min(second) / ((first + second) / 2.0), 0.5, 1.0);
    figure("  queue, 95 of 100 (ms)", world.flows[0].queue_95(30.0, 120.0), 0.0, 200.0);
}

#[test]
fn traffic_of_others_is_given_way_to() {
    let mut world = one(Line::new(2_000, 50), 5_000);
    world.run_to(20.0);
    world.line.cross = Bitrate::from_kbps(1_200);
    world.run_to(40.0);
    world.line.cross = Bitrate::ZERO;
    world.run_to(60.0);
    trace(&world);
    let flow = &world.flows[0];
    figure("1.2 of 2 Mbit/s taken by others: used (kbit/s)", flow.arrived(25.0, 40.0), 500.0, 800.0);
    figure("  queue from 5 s on (ms)", flow.queue(25.0, 40.0), 0.0, 200.0);
    figure("  used from 10 s after they left (kbit/s)", flow.arrived(50.0, 60.0), 1_500.0, 2_000.0);
}

#[test]
fn lost_feedback_is_borne() {
    let mut world = one(Line { feedback_loss: 0.3, ..Line::new(1_000, 50) }, 5_000);
    world.run_to(60.0);
    trace(&world);
    figure("30 % of feedback lost on 1 Mbit/s: used (kbit/s)", world.flows[0].arrived(15.0, 60.0), 700.0, 1_000.0);
}

#[test]
fn a_dead_line_is_sent_next_to_nothing_and_comes_back() {
    let mut world = one(Line::new(2_000, 50), 5_000);
    world.run_to(20.0);
    world.line.loss = 1.0;
    world.run_to(25.0);
    world.line.loss = 0.0;
    world.run_to(50.0);
    trace(&world);
    let flow = &world.flows[0];
    let sent = flow.samples[210..250].iter().map(|sample| sample.sent).sum::<u64>() * 8 / 4_000;
    figure("nothing arrives for 5 s: sent after the first (kbit/s)", sent as f64, 0.0, 60.0);
    figure("  1.5 Mbit/s again after (s)", flow.reaches(1_500, 25.0).unwrap() - 25.0, 0.0, 10.0);
    figure("  used from 10 s after (kbit/s)", flow.arrived(35.0, 50.0), 1_500.0, 2_000.0);
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
