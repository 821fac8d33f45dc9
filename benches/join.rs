//! What the relay spends on somebody who comes: reading the offer and answering it, connectivity checks, the DTLS handshake with its
//! certificate, and the further offers once there is something to receive. Only calls into the shard are timed; the client's
//! half, about as long, is not. One iteration is one person.
#![expect(clippy::print_stdout, reason = "the numbers are the result")]

mod common;

use common::hall::{Call, Hall};
use common::meter::{self, Spent};
use common::world::person::Coming;
use criterion::{Criterion, SamplingMode};
use std::time::Duration;

/// A room fills up, all at once; what was spent for it.
fn fill(hall: &mut Hall, seats: usize) -> [Spent; Call::ALL.len()] {
    hall.spent = Default::default();
    for _ in 0..seats {
        hall.join("room", &Coming::default());
    }
    hall.connect();
    let spent = hall.spent;
    hall.clear();
    spent
}

fn join(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for seats in [1_usize, 3] {
        let name = if seats == 1 { "alone".to_owned() } else { format!("room of {seats}") };
        let mut hall = None;
        let mut parts: [Spent; Call::ALL.len()] = Default::default();
        let mut count = 0;
        group.bench_function(&name, |bencher| {
            let hall = hall.get_or_insert_with(Hall::new);
            bencher.iter_custom(|people| {
                let rooms = people.div_ceil(seats as u64);
                let mut total = Duration::ZERO;
                for _ in 0..rooms {
                    for (part, spent) in parts.iter_mut().zip(fill(hall, seats)) {
                        total += spent.time;
                        part.time += spent.time;
                        part.allocations += spent.allocations;
                    }
                }
                count += rooms * seats as u64;
                total.mul_f64(people as f64 / (rooms * seats as u64) as f64)
            });
        });
        if hall.is_none() {
            continue;
        }
        for (call, part) in Call::ALL.into_iter().zip(parts) {
            let (time, allocations) = (part.time.as_secs_f64() * 1e6 / count as f64, part.allocations as f64 / count as f64);
            println!("join/{name}: {call:?} {time:.1} µs, {allocations:.0} allocations a person");
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = meter::criterion();
    join(&mut criterion);
    criterion.final_summary();
}
