//! What silent people cost: rooms of three in which everybody is connected, has published and sends nothing any more. One
//! iteration is one step of the worker, timers and batch, of which there is one each millisecond of virtual time; the checks
//! that people send and their answers are not in it.
#![expect(clippy::print_stdout, reason = "the numbers are the result")]

mod common;

use common::hall::Hall;
use common::meter::{self, Spent};
use common::world::person::Coming;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(1);

/// Steps between two looks at the clock; people's checks wait as long for an answer.
const STEPS: u64 = 100;

const PEERS: [usize; 3] = [0, 100, 1_000];

fn silent_hall(peers: usize) -> Hall {
    let mut hall = Hall::of(peers / 3, 3, 0);
    for _ in 0..peers % 3 {
        hall.join("the rest", &Coming::default());
    }
    hall.connect();
    hall.speak(1);
    hall.run(Duration::from_millis(600));
    hall.be_silent();
    hall.run(Duration::from_secs(5));
    hall
}

/// Some steps in which nobody sends anything, then what people had to say meanwhile.
fn steps(hall: &mut Hall, count: u64, spent: &mut Spent) {
    let times: Vec<_> = (1..=count as u32).map(|step| hall.time_at(hall.now + STEP * step)).collect();
    let shard = &mut hall.shard;
    spent.on(|| {
        for now in &times {
            shard.handle_timeout(*now);
            shard.finish_batch(*now);
        }
    });
    let letters = hall.take_letters();
    hall.deliver(letters);
    hall.let_people_act(hall.now + STEP * count as u32, usize::MAX);
    hall.settle();
}

fn idle_shard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("idle_shard");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for peers in PEERS {
        // Before criterion looks at the clock: it plans its samples by what the first iterations take.
        let mut hall = silent_hall(peers);
        let (mut all, mut count) = (Spent::default(), 0);
        group.bench_function(BenchmarkId::new("step with silent peers", peers), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Spent::default();
                let rounds = iterations.div_ceil(STEPS);
                (0..rounds).for_each(|_| steps(&mut hall, STEPS, &mut spent));
                all.time += spent.time;
                all.allocations += spent.allocations;
                count += rounds * STEPS;
                spent.scaled(rounds * STEPS, iterations)
            });
        });
        if count == 0 {
            continue;
        }
        assert_eq!(hall.shard.counters().peers, peers as u64, "everybody is still here");
        println!(
            "idle_shard/{peers}: {:.4} allocations per step; {:.3} % of a core at a step each millisecond",
            all.allocations as f64 / count as f64,
            all.time.as_secs_f64() * 1_000.0 / count as f64 * 100.0
        );
    }
    group.finish();
}

fn main() {
    let mut criterion = meter::criterion();
    idle_shard(&mut criterion);
    criterion.final_summary();
}
