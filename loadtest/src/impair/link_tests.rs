use super::super::{NAMES, Outage, profile};
use super::*;

const LEN: usize = 972; // with headers 1000 bytes
const MS: Duration = Duration::from_millis(1);

/// Offers `count` numbered datagrams, one every `gap`, and returns who arrived when, counted from the first.
fn run(link: &mut Link<u32>, t0: Instant, count: u32, gap: Duration) -> Vec<(u32, Duration)> {
    let mut seen = Vec::new();
    for number in 0..count {
        let now = t0 + gap * number;
        drain(link, t0, now, &mut seen);
        link.push(now, number, LEN);
    }
    drain(link, t0, t0 + Duration::from_secs(1_000_000), &mut seen);
    assert_eq!(link.next_at(), None);
    seen
}

/// Polls at the times the link asks for, up to `end`.
fn drain(link: &mut Link<u32>, t0: Instant, end: Instant, seen: &mut Vec<(u32, Duration)>) {
    while let Some(at) = link.next_at().filter(|at| *at <= end) {
        while let Some(number) = link.poll(at) {
            seen.push((number, at - t0));
        }
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a beginning for virtual time")]
    Instant::now()
}

#[test]
fn every_profile_loses_what_it_says() {
    for name in NAMES {
        let named = profile(name).expect("named");
        for direction in [named.up, named.down] {
            // Only chance: queues and outages have their own tests.
            let direction = Direction { rates: Vec::new(), rates_repeat_s: 0.0, outages: Vec::new(), ..direction };
            let mut link = Link::new(&direction, 7);
            let seen = run(&mut link, now(), 100_000, MS);
            let measured = 1.0 - seen.len() as f64 / 100_000.0;
            // Four deviations of the mean; datagrams of one burst share their fate.
            let expected = direction.mean_loss();
            let one_fate = if direction.burst_loss > 0.0 { 2.0 * direction.burst_packets } else { 1.0 };
            let slack = 4.0 * (expected * (1.0 - expected) * one_fate / 100_000.0).sqrt();
            assert!((measured - expected).abs() <= slack, "{name}: {measured} for {expected}");
            assert_eq!(link.counts().offered, 100_000);
            let counts = link.counts();
            assert_eq!(counts.delivered + counts.lost + counts.lost_in_burst, 100_000);
        }
    }
}

#[test]
fn bursts_have_their_mean_length() {
    let mut link = Link::new(&Direction { burst_loss: 0.04, burst_packets: 10.0, ..Direction::default() }, 7);
    let seen = run(&mut link, now(), 100_000, MS);
    let gaps: Vec<u32> = seen.windows(2).map(|two| two[1].0 - two[0].0 - 1).filter(|gap| *gap > 0).collect();
    let mean = f64::from(gaps.iter().sum::<u32>()) / gaps.len() as f64;
    assert!((8.5..11.5).contains(&mean), "{mean}");
}

#[test]
fn order_stays_in_every_profile() {
    for name in NAMES {
        let named = profile(name).expect("named");
        let mut link = Link::new(&named.down, 3);
        let seen = run(&mut link, now(), 20_000, Duration::from_micros(700));
        assert!(seen.len() > 400, "{name}");
        assert!(seen.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{name}");
        assert_eq!(link.counts().dropped_overflow, 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_fate() {
    let mobile = profile("mobile").expect("named").down;
    let fate = |seed| run(&mut Link::new(&mobile, seed), now(), 5_000, MS);
    assert_eq!(fate(7), fate(7));
    assert_ne!(fate(7), fate(8));
    // Chance does not depend on time.
    let chance = Direction { loss: 0.1, ..Direction::default() };
    let lost = |gap| run(&mut Link::new(&chance, 7), now(), 5_000, gap).into_iter().map(|one| one.0).collect::<Vec<_>>();
    assert_eq!(lost(MS), lost(MS * 17));
    // Fates known by heart: a change here changes every scenario's runs.
    let first: Vec<u32> = (0..5_000).filter(|number| !lost(MS).contains(number)).take(5).collect();
    assert_eq!(first, FIRST_LOST);
}

/// The first datagrams that seed 7 loses at 10 %.
const FIRST_LOST: [u32; 5] = [1, 5, 7, 17, 26];

#[test]
fn the_bottleneck_sends_at_its_rate() {
    // 1 Mbit/s carries 125 datagrams of 1000 bytes a second; offered are 1000.
    let mut link = Link::new(&Direction::default().with_rate(1_000_000), 7);
    let seen = run(&mut link, now(), 20_000, MS);
    let within = seen.iter().filter(|one| one.1 <= Duration::from_secs(20)).count();
    assert!((2_475..=2_525).contains(&within), "{within}");
    assert!(seen.windows(2).all(|two| two[1].1 - two[0].1 == MS * 8));
    assert_eq!(link.counts().dropped_queue, 20_000 - seen.len() as u64);
}

#[test]
fn the_wait_is_what_is_left_to_send() {
    let mut link = Link::new(&Direction::default().with_rate(1_000_000), 7);
    let t0 = now();
    assert_eq!((link.wait(t0), link.rate(t0)), (Duration::ZERO, Some(1_000_000)));
    for number in 0..10 {
        link.push(t0, number, LEN);
    }
    assert_eq!(link.wait(t0), MS * 80);
    assert_eq!(link.wait(t0 + MS * 39), MS * 41);
    assert_eq!(link.wait(t0 + MS * 90), Duration::ZERO);
    link.change(t0 + MS * 91, &Direction::default());
    link.push(t0 + MS * 91, 10, LEN);
    assert_eq!((link.wait(t0 + MS * 91), link.rate(t0 + MS * 91)), (Duration::ZERO, None));
}

#[test]
fn the_queue_keeps_its_bound_in_time_and_in_bytes() {
    let bloated = profile("bufferbloat").expect("named").up;
    let mut link = Link::new(&Direction { delay_ms: 0.0, ..bloated }, 7);
    let waits = |seen: &[(u32, Duration)]| seen.iter().map(|one| one.1 - MS * one.0).max().expect("some");
    // Two seconds, then its own 8 ms.
    let longest = waits(&run(&mut link, now(), 10_000, MS));
    assert!(longest > MS * 1_990 && longest <= MS * 2_008, "{longest:?}");
    let delay = link.queue_delay();
    assert!(delay.p50_us > 900_000 && delay.p99_us <= 2_008_000, "{delay:?}");

    let short = Direction { queue_bytes: Some(5_000), ..Direction::default() }.with_rate(1_000_000);
    let mut link = Link::new(&short, 7);
    let t0 = now();
    for number in 0..100 {
        link.push(t0, number, LEN);
        assert!(link.backlog() <= 5_000);
    }
    let mut seen = Vec::new();
    drain(&mut link, t0, t0 + Duration::from_secs(9), &mut seen);
    assert_eq!((seen.len(), seen[4].1, link.counts().dropped_queue), (5, MS * 40, 95));
}

#[test]
fn steps_come_at_their_times() {
    let capped = profile("cap-and-release").expect("named").down;
    let seen = run(&mut Link::new(&capped, 7), now(), 60_000, MS);
    let mbits = |from: u64, to: u64| {
        let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
        let count = seen.iter().filter(|one| (from..to).contains(&(one.1 - MS * 20))).count();
        count as f64 * 8_000.0 / (to - from).as_secs_f64() / 1e6
    };
    for (from, to, rate) in [(5, 15, 2.0), (15, 45, 0.15), (45, 55, 2.0)] {
        assert!((mbits(from, to) / rate - 1.0).abs() < 0.01, "{from}..{to}: {}", mbits(from, to));
    }
}

#[test]
fn steps_repeat_and_an_unfinished_datagram_goes_on_at_the_new_rate() {
    let rates = [(0.0, Some(8_000)), (0.5, None), (1.0, Some(16_000))];
    let rates = rates.into_iter().map(|(from_s, bits_per_s)| RateStep { from_s, bits_per_s }).collect();
    let mut link = Link::new(&Direction { rates, rates_repeat_s: 2.0, queue_ms: 9_000.0, ..Direction::default() }, 7);
    let t0 = now();
    let mut seen = Vec::new();
    // At 0 half a datagram is sent when the limit goes; at 1.75 half of one when the second round begins.
    for (number, at) in [(0, 0), (1, 1_750), (2, 2_100)] {
        drain(&mut link, t0, t0 + MS * at, &mut seen);
        link.push(t0 + MS * at, number, LEN);
    }
    drain(&mut link, t0, t0 + MS * 9_000, &mut seen);
    assert_eq!(seen, [(0, MS * 500), (1, MS * 2_500), (2, MS * 2_500)]);
}

#[test]
fn delay_and_jitter_have_their_measure() {
    let island = profile("island").expect("named");
    for direction in [island.up, island.down] {
        let seen = run(&mut Link::new(&direction, 7), now(), 20_000, MS * 20);
        let mean = seen.iter().map(|one| (one.1 - MS * 20 * one.0).as_secs_f64()).sum::<f64>() / seen.len() as f64;
        assert!((0.300..0.306).contains(&mean), "{mean}");
    }
    let jitter = Direction { delay_ms: 60.0, jitter_ms: 10.0, jitter_memory_ms: 0.0, ..Direction::default() };
    let seen = run(&mut Link::new(&jitter, 7), now(), 20_000, MS * 100);
    let delays: Vec<f64> = seen.iter().map(|one| (one.1 - MS * 100 * one.0).as_secs_f64() * 1e3).collect();
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / delays.len() as f64).sqrt();
    assert!((mean - 60.0).abs() < 0.5 && (deviation - 10.0).abs() < 0.3, "{mean} {deviation}");
}

#[test]
fn the_delay_remembers_what_it_was() {
    let swing = |memory| {
        let profile = Direction { delay_ms: 60.0, jitter_ms: 10.0, jitter_memory_ms: memory, ..Direction::default() };
        let seen = run(&mut Link::new(&profile, 7), now(), 5_000, MS * 20);
        let delays: Vec<f64> = seen.iter().map(|one| (one.1 - MS * 20 * one.0).as_secs_f64()).collect();
        delays.windows(2).map(|two| (two[1] - two[0]).abs()).sum::<f64>()
    };
    assert!(swing(400.0) < swing(0.0) / 2.0);
}

#[test]
fn asked_for_datagrams_change_places_and_come_twice() {
    let odd = Direction { reorder: 0.1, reorder_ms: 5.0, duplicate: 0.05, delay_ms: 10.0, ..Direction::default() };
    let mut link = Link::new(&odd, 7);
    let seen = run(&mut link, now(), 20_000, MS);
    let counts = link.counts();
    assert!((1_850..2_150).contains(&counts.reordered) && (900..1_100).contains(&counts.duplicated), "{counts:?}");
    assert_eq!(seen.len() as u64, 20_000 + counts.duplicated);
    let backwards = seen.windows(2).filter(|two| two[1].0 < two[0].0).count();
    assert!(backwards > 1_500, "{backwards}");
}

#[test]
fn nothing_passes_in_an_outage() {
    let outages = vec![Outage { from_s: 1.0, to_s: 2.0 }];
    let mut link = Link::new(&Direction { outages, ..Direction::default() }, 7);
    let seen = run(&mut link, now(), 3_000, MS);
    assert_eq!((seen.len(), link.counts().dropped_outage), (2_000, 1_000));
    assert!(seen.iter().all(|one| !(1_000..2_000).contains(&one.0)));

    let mut link = Link::new(&Direction::default(), 7);
    let t0 = now();
    link.silence(t0, MS * 5);
    let seen = run(&mut link, t0, 10, MS);
    assert_eq!(seen.first().expect("some").0, 5);
}

#[test]
fn another_profile_holds_from_now_on_without_changing_the_order() {
    let bloated = profile("bufferbloat").expect("named").up;
    let mut link = Link::new(&bloated, 7);
    let t0 = now();
    (0..200).for_each(|number| link.push(t0, number, LEN));
    let mut seen = Vec::new();
    drain(&mut link, t0, t0 + MS * 500, &mut seen);
    link.change(t0 + MS * 500, &Direction::default());
    link.push(t0 + MS * 500, 200, LEN);
    drain(&mut link, t0, t0 + MS * 600, &mut seen);

    assert_eq!(seen.iter().map(|one| one.0).collect::<Vec<_>>(), (0..=200).collect::<Vec<_>>());
    // The one under way keeps its delay of 10 ms; the rest waits for nothing any more.
    assert_eq!((seen[61].1, seen[200].1), (MS * 506, MS * 506));
}

#[test]
fn memory_is_bounded() {
    let far = Direction { delay_ms: 60_000.0, ..Direction::default() };
    let mut link = Link::new(&far, 7);
    let t0 = now();
    for number in 0..100_000 {
        link.push(t0, number, 1);
    }
    assert_eq!(link.counts().dropped_overflow, 100_000 - MAX_IN_FLIGHT as u64);

    let slow = Direction { queue_ms: 60_000.0, ..Direction::default() }.with_rate(1_000_000_000);
    let mut link = Link::new(&slow, 7);
    (0..100_000).for_each(|number| link.push(t0, number, 1_000));
    assert_eq!(link.counts().dropped_queue, 100_000 - MAX_QUEUED as u64);
}
