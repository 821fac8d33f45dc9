//! The named profiles: one table with all their numbers.
//!
//! The numbers are chosen to look like the networks of home visits and small practices, not measured in one of them.

use super::profile::{Direction, Outage, Profile, RateStep};

/// The names [`profile`] knows.
pub const NAMES: &[&str] = &[
    "clean",
    "home-wifi",
    "mobile",
    "island",
    "care-home",
    "loss-5",
    "loss-10",
    "loss-30",
    "bursts",
    "cap-and-release",
    "bufferbloat",
    "handover",
];

/// The profile of this name.
#[must_use]
pub fn profile(name: &str) -> Option<Profile> {
    table().into_iter().find(|profile| profile.name == name)
}

/// All named profiles, in the order of [`NAMES`].
fn table() -> Vec<Profile> {
    let plain = Direction::default;
    vec![
        both("clean", "Nothing happens to the datagrams.", plain()),
        ways(
            "home-wifi",
            "A home behind cable or DSL with a busy Wi-Fi: some jitter, a rare short burst, 20/5 Mbit/s.",
            wifi().with_rate(5_000_000),
            wifi().with_rate(20_000_000),
        ),
        ways(
            "mobile",
            "A phone on the move: 60 ms there and back, jitter, 1 % loss in bursts, 3/1 Mbit/s that come and go.",
            Direction { rates: steps(&[(0.0, 1_000_000), (12.0, 600_000), (20.0, 1_200_000)]), ..cell() },
            Direction { rates: steps(&[(0.0, 3_000_000), (12.0, 1_500_000), (20.0, 3_500_000)]), ..cell() },
        ),
        both(
            "island",
            "A satellite link: 600 ms there and back, little loss, 4 Mbit/s.",
            Direction { delay_ms: 300.0, jitter_ms: 4.0, loss: 0.002, queue_ms: 400.0, ..plain() }.with_rate(4_000_000),
        ),
        Profile {
            shared: true,
            ..ways(
                "care-home",
                "A care home where all share one old line: 300 kbit/s down, 200 kbit/s up.",
                Direction { delay_ms: 20.0, jitter_ms: 3.0, queue_ms: 400.0, ..plain() }.with_rate(200_000),
                Direction { delay_ms: 20.0, jitter_ms: 3.0, queue_ms: 400.0, ..plain() }.with_rate(300_000),
            )
        },
        both("loss-5", "Every twentieth datagram is lost, by chance.", Direction { loss: 0.05, delay_ms: 20.0, ..plain() }),
        both("loss-10", "Every tenth datagram is lost, by chance.", Direction { loss: 0.10, delay_ms: 20.0, ..plain() }),
        both("loss-30", "Three of ten datagrams are lost, by chance.", Direction { loss: 0.30, delay_ms: 20.0, ..plain() }),
        both(
            "bursts",
            "Loss comes in bursts of ten datagrams, 4 % altogether.",
            Direction { burst_loss: 0.04, burst_packets: 10.0, delay_ms: 20.0, ..plain() },
        ),
        both(
            "cap-and-release",
            "2 Mbit/s; after 15 s 150 kbit/s; after 45 s 2 Mbit/s again.",
            Direction {
                delay_ms: 20.0,
                rates: steps(&[(0.0, 2_000_000), (15.0, 150_000), (45.0, 2_000_000)]),
                queue_ms: 300.0,
                ..plain()
            },
        ),
        both(
            "bufferbloat",
            "1 Mbit/s behind a queue of two seconds that drops nothing before it is full.",
            Direction { delay_ms: 10.0, queue_ms: 2_000.0, ..plain() }.with_rate(1_000_000),
        ),
        both(
            "handover",
            "Wi-Fi is left for the mobile network: silence from 10 s to 13 s, and again from 40 s to 48 s.",
            Direction {
                delay_ms: 25.0,
                jitter_ms: 4.0,
                outages: vec![Outage { from_s: 10.0, to_s: 13.0 }, Outage { from_s: 40.0, to_s: 48.0 }],
                ..plain()
            },
        ),
    ]
}

fn wifi() -> Direction {
    Direction {
        delay_ms: 12.0,
        jitter_ms: 3.0,
        jitter_memory_ms: 15.0,
        burst_loss: 0.002,
        burst_packets: 4.0,
        ..Direction::default()
    }
}

fn cell() -> Direction {
    Direction {
        delay_ms: 30.0,
        jitter_ms: 8.0,
        jitter_memory_ms: 40.0,
        burst_loss: 0.01,
        burst_packets: 5.0,
        rates_repeat_s: 30.0,
        queue_ms: 500.0,
        ..Direction::default()
    }
}

fn both(name: &str, doc: &str, direction: Direction) -> Profile {
    ways(name, doc, direction.clone(), direction)
}

fn ways(name: &str, doc: &str, up: Direction, down: Direction) -> Profile {
    Profile { name: name.to_owned(), doc: doc.to_owned(), up, down, shared: false }
}

fn steps(steps: &[(f64, u64)]) -> Vec<RateStep> {
    steps.iter().map(|(from_s, rate)| RateStep { from_s: *from_s, bits_per_s: Some(*rate) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_the_names_say() {
        let names: Vec<String> = table().into_iter().map(|profile| profile.name).collect();
        assert_eq!(names, NAMES);
        for one in table() {
            assert_eq!((one.up.check(), one.down.check()), (Ok(()), Ok(())), "{}", one.name);
            assert!(one.doc.ends_with('.'), "{}", one.name);
        }
        assert_eq!(profile("nowhere"), None);
    }
}
