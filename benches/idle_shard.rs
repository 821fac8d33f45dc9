//! What silent people cost: rooms of three in which everybody is connected, has published and sends nothing any more.
//!
//! First everybody is silent: one iteration is one step of the worker, timers and batch, of which there is one each millisecond of virtual
//! time. Then three rooms talk: what one delivered packet of theirs takes, its ratio to what it takes beside nobody, and
//! what timers take, of those who talk and of the silent. The checks that people send and their answers are in neither.
//!
//! Those who talk joined first, so that their memory lies alike beside few and many. Where they join last it lies in what is left between
//! that of the others, and a packet takes 3 to 8 % more beside 10,000.
#![expect(clippy::print_stdout, reason = "the numbers are the result")]

mod common;

use common::hall::{Datagram, Hall, is_media};
use common::meter::{self, Spent};
use common::socket::{BATCH, Socket};
use common::world::person::Coming;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(1);

/// Steps between two looks at the clock; people's checks wait as long for an answer.
const STEPS: u64 = 100;

/// People, those included who will talk.
const PEERS: [usize; 4] = [TALKERS, 100, 1_000, 10_000];

/// Batches prepared at a time, and how many of them only bring the relay's state back into the caches.
const ROUND: usize = 16;
const WARMING: usize = 8;

/// Packets delivered in one measurement beside silent people, and how many measurements; the least counts, the rest is noise.
const DELIVERED: u64 = 20_000;
const MEASUREMENTS: usize = 7;

/// People who talk beside the silent ones, three to a room; nobody joined before them.
const TALKERS: usize = 9;

fn silent_hall(peers: usize) -> Hall {
    let silent = peers - TALKERS;
    let mut hall = Hall::of(TALKERS / 3, 3, 0).filled(silent / 3, 3, 0);
    for _ in 0..silent % 3 {
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

fn alone(criterion: &mut Criterion) -> Vec<(usize, Hall)> {
    let mut halls = Vec::new();
    let mut group = criterion.benchmark_group("idle_shard");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for peers in PEERS {
        let mut hall = None;
        let (mut all, mut count) = (Spent::default(), 0);
        group.bench_function(BenchmarkId::new("step with silent peers", peers), |bencher| {
            let hall = hall.get_or_insert_with(|| silent_hall(peers));
            bencher.iter_custom(|iterations| {
                let mut spent = Spent::default();
                let rounds = iterations.div_ceil(STEPS);
                (0..rounds).for_each(|_| steps(hall, STEPS, &mut spent));
                all.time += spent.time;
                all.allocations += spent.allocations;
                count += rounds * STEPS;
                spent.scaled(rounds * STEPS, iterations)
            });
        });
        let Some(mut hall) = hall else { continue };
        assert_eq!(hall.shard.counters().peers, peers as u64, "everybody is still here");
        println!(
            "idle_shard/{peers}: {:.4} allocations per step; {:.3} % of a core at a step each millisecond",
            all.allocations as f64 / count as f64,
            all.time.as_secs_f64() * 1_000.0 / count as f64 * 100.0
        );
        halls.push((peers, hall));
    }
    group.finish();
    halls
}

/// What packets of those who talk took, and the timers that fell due meanwhile.
#[derive(Clone, Copy, Default)]
struct Took {
    packets: Spent,
    timers: Spent,
}

/// What so many packets of those who talk take, batch by batch as from a socket; and how many there were.
fn deliver(hall: &mut Hall, socket: &mut Socket, packets: u64) -> (Took, u64) {
    let (mut spent, mut delivered) = (Took::default(), 0);
    while delivered < packets {
        hall.let_people_act(hall.now + STEP * 700, ROUND * BATCH);
        let waiting: Vec<Datagram> = hall.up.drain(..).collect();
        // Those who are silent send checks, which are not to be measured.
        let (media, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|datagram| is_media(&datagram.bytes));
        let mut letters = Vec::new();
        for (number, batch) in media.chunks(BATCH).enumerate() {
            let before = hall.shard.counters().forwarded;
            let took = feed(hall, socket, batch);
            // The people's own stacks have just used the caches, and many people use more of them.
            if number >= WARMING {
                spent.packets.add(took.packets);
                spent.timers.add(took.timers);
                delivered += hall.shard.counters().forwarded - before;
            }
            letters.extend(hall.take_letters());
        }
        // Not before: no receiver runs where the relay runs.
        hall.deliver(letters);
        hall.up.extend(rest);
        hall.settle();
    }
    (spent, delivered)
}

fn feed(hall: &mut Hall, socket: &mut Socket, batch: &[Datagram]) -> Took {
    let mut spent = Took::default();
    let Some(now) = batch.last().map(|last| hall.time_at(last.at)) else { return spent };
    let (bytes, received) = socket.receive(batch);
    let shard = &mut hall.shard;
    spent.timers.on(|| shard.handle_timeout(now));
    spent.packets.on(|| {
        shard.handle_batch(now, bytes, received, |_, _, _| {});
        shard.finish_batch(now);
    });
    spent
}

/// The same halls with some people who talk; they are measured in turn, so that all see the same weather.
fn beside_others(mut halls: Vec<(usize, Hall)>) {
    let mut socket = Socket::new();
    for (_, hall) in &mut halls {
        hall.speak(6);
        let quiet = hall.people.iter_mut().skip(TALKERS);
        quiet.flat_map(|person| &mut person.tracks).for_each(|track| track.packets_per_frame = 0);
        deliver(hall, &mut socket, DELIVERED);
    }
    let mut least = vec![(f64::INFINITY, f64::INFINITY, 0.0); halls.len()];
    for _ in 0..MEASUREMENTS {
        for ((_, hall), least) in halls.iter_mut().zip(&mut least) {
            let (took, delivered) = deliver(hall, &mut socket, DELIVERED);
            let each = |spent: Spent| spent.time.as_secs_f64() * 1e9 / delivered as f64;
            let allocations = took.packets.allocations as f64 / delivered as f64;
            *least = (least.0.min(each(took.packets)), least.1.min(each(took.timers)), allocations);
        }
    }
    let Some((first, ..)) = least.first().copied() else { return };
    for ((peers, _), (time, timers, allocations)) in halls.iter().zip(least) {
        let ratio = time / first;
        println!(
            "idle_shard/{TALKERS} of {peers} talk: {time:.0} ns and {allocations:.4} allocations per delivered packet, {ratio:.3} of the first; \
             timers of all {timers:.0} ns"
        );
    }
}

fn main() {
    let mut criterion = meter::criterion();
    let halls = alone(&mut criterion);
    beside_others(halls);
    criterion.final_summary();
}
