//! What a call costs the relay in heap, and that all of it comes back.
//!
//! The allocator counts every byte of the process, so the relay's part is told by difference: what is freed when the shard is
//! dropped, or what stays when everything else is. Memory of the C library behind the cryptography is not seen here.
#![allow(clippy::print_stdout, reason = "the numbers are the result")]

mod world;

use colloque::model::Path;
use colloque::relay::outbox::Outbox;
use colloque::worker::udp::{Offload, UdpPort, bind_shared};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};
use std::alloc::System;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use world::person::Coming;
use world::{Call, Rules, World};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SECOND: Duration = Duration::from_secs(1);
const KIB: isize = 1024;

/// One measurement at a time: the counters are the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    settle();
    alone
}

/// Lets the runner of the tests come to rest: on threads of its own it still notes how the test before ended, and begins the next.
#[expect(clippy::disallowed_methods, reason = "nothing tells when the runner has nothing more to do")]
fn settle() {
    let touched = || {
        let stats = HEAP.stats();
        stats.allocations + stats.reallocations + stats.deallocations
    };
    let mut before = touched();
    // A second at most: whatever still allocates then is no runner's.
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(20));
        let now = touched();
        if now == before {
            break;
        }
        before = now;
    }
}

fn live(stats: &Stats) -> isize {
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

fn heap() -> isize {
    live(&HEAP.stats())
}

/// A room of three with voices and small pictures: 320x180 at 25 frames a second and about 150 kbit/s.
fn room_of_three(world: &mut World) -> Vec<world::Who> {
    let names = ["doctor", "patient", "interpreter"];
    let people: Vec<_> = names.iter().map(|name| world.seat(name, Coming::default())).collect();
    for who in &people {
        let track = world.person_mut(*who).own_mut(world::media::Kind::Video);
        (track.packets_per_frame, track.packet_len) = (1, 750);
    }
    people
}

/// Forgets everything that is not the relay's.
fn only_the_relay(world: &mut World) -> isize {
    world.people = Vec::new();
    world.lines = Vec::new();
    world.sent = Vec::new();
    world.net = world::net::Net::new(0);
    heap()
}

#[test]
fn a_room_of_three_fits_a_mebibyte_and_is_given_back_when_it_ends() {
    let _alone = alone();
    let rules = Rules { departure_timeout_s: 5, ..Rules::default() };
    // What is made once per process and once per shard is there before.
    for warm in [true, false] {
        let mut world = World::with(200, rules);
        let empty = only_the_relay(&mut world);
        let people = room_of_three(&mut world);
        world.run(10 * SECOND);
        world.assert_flows(&people);
        if !warm {
            let mut measured = World::with(201, rules);
            let people = room_of_three(&mut measured);
            measured.run(20 * SECOND);
            measured.assert_flows(&people);
            let with = heap();
            drop(std::mem::replace(&mut measured.shard, World::with(0, rules).shard));
            let room = with - heap();
            println!("a room of three in a call: {} KiB", room / KIB);
            assert!(room > 100 * KIB, "positive control: {room}");
            assert!(room <= 1024 * KIB, "{room}");
        }
        people.iter().for_each(|who| world.leave(*who));
        world.run(10 * SECOND);
        assert_eq!((world.counters().rooms, world.counters().peers), (0, 0));
        let left = only_the_relay(&mut world) - empty;
        println!("left ten seconds after its end: {left} bytes");
        if !warm {
            assert!(left <= 64 * KIB, "the outgoing buffer, at most: {left}");
        }
    }
}

/// What a seat may hold while three people see and hear each other at 1.2 Mbit/s. The largest part is what may be asked for again; 8 KiB
/// are for what is known of its line.
const SEAT: isize = 144 * KIB;

#[test]
fn a_seat_with_a_good_picture_stays_within_its_share() {
    let _alone = alone();
    let mut world = World::new(204);
    let mut people = Vec::new();
    for n in 0..4 {
        let room = format!("room-{n}");
        people.push(["doctor", "patient", "interpreter"].map(|name| world.join_room(&room, name, Coming::default())));
    }
    for who in people.iter().flatten() {
        // 25 pictures a second of six packets: 1.2 Mbit/s.
        let track = world.person_mut(*who).own_mut(world::media::Kind::Video);
        (track.packets_per_frame, track.packet_len) = (6, 1_000);
    }
    world.run(12 * SECOND);
    let before = world.counters().forwarded;
    world.run(SECOND);
    let forwarded = world.counters().forwarded - before;
    assert!(forwarded >= 12 * 2 * 190, "positive control: {forwarded} packets in a second");
    let seats = people.as_flattened().len() as isize;
    let with = heap();
    // The shard's own memory is not the seats'.
    drop(std::mem::replace(&mut world.shard, World::with(0, Rules::default()).shard));
    let seat = (with - heap()) / seats;
    println!("live heap per seat in rooms of three at 1.2 Mbit/s: {} KiB", seat / KIB);
    assert!(seat <= SEAT, "{seat}");
}

#[test]
fn heap_is_flat_over_hundreds_of_visits() {
    let _alone = alone();
    // The room outlives its visitors: what it and the shard keep of them is what is looked for.
    let mut world = World::with(205, Rules { departure_timeout_s: 3_600, ..Rules::default() });
    let mut after = Vec::new();
    for _ in 0..10 {
        let mut here = VecDeque::new();
        for n in 0..30 {
            // Some with sound and picture, some who only watch, some who never get that far.
            let coming = match n % 3 {
                0 => Coming::default(),
                1 => Coming::viewer(),
                _ => Coming { mute_line: true, ..Coming::default() },
            };
            here.push_back(world.join(&format!("visitor-{n}"), coming));
            world.run(SECOND / 5);
            if here.len() > 3 {
                here.pop_front().into_iter().for_each(|who| world.leave(who));
            }
        }
        here.into_iter().for_each(|who| world.leave(who));
        world.run(5 * SECOND);
        assert_eq!((world.counters().peers, world.counters().rooms, world.counters().tracks), (0, 1, 0));
        after.push(only_the_relay(&mut world));
    }
    assert!(world.counters().joins >= 300 && world.counters().dtls_completed >= 190, "positive control: calls came up");
    println!("heap after each thirty visits, against the first: {:?}", after.iter().map(|n| n - after[0]).collect::<Vec<_>>());
    let growth = after.last().expect("ten") - after[1];
    assert!(growth < 4 * KIB, "{growth} bytes in two hundred and forty visits");
}

#[test]
fn heap_is_flat_over_a_thousand_rooms() {
    let _alone = alone();
    let mut world = World::with(202, Rules { departure_timeout_s: 0, ..Rules::default() });
    let mut after = Vec::new();
    for n in 1..=1_000usize {
        let room = format!("room-{n}");
        // Every tenth with a call in it, the others with people who never get that far.
        let coming = Coming { mute_line: n % 10 != 0, ..Coming::default() };
        let people = ["doctor", "patient"].map(|name| world.join_room(&room, name, coming.clone()));
        world.run(if n % 10 == 0 { SECOND } else { SECOND / 20 });
        assert_eq!(world.counters().peers, 2);
        people.into_iter().for_each(|who| world.leave(who));
        world.run(SECOND);
        assert_eq!(world.counters().rooms, 0);
        let now = only_the_relay(&mut world);
        if n % 100 == 0 {
            after.push(now);
        }
    }
    assert_eq!(world.closed_rooms, 1_000);
    assert!(world.counters().dtls_completed >= 190, "positive control: calls came up");
    println!("heap after each hundred rooms, against the first: {:?}", after.iter().map(|n| n - after[0]).collect::<Vec<_>>());
    let growth = after.last().expect("ten") - after[1];
    assert!(growth < 4 * KIB, "{growth} bytes in eight hundred rooms");
}

static ALLOCATIONS: [AtomicUsize; 7] = [const { AtomicUsize::new(0) }; 7];
static BEFORE: AtomicUsize = AtomicUsize::new(0);

fn count(call: Call, begins: bool) {
    let stats = HEAP.stats();
    let total = stats.allocations + stats.reallocations;
    if begins {
        BEFORE.store(total, Ordering::Relaxed);
    } else {
        let made = total - BEFORE.load(Ordering::Relaxed);
        ALLOCATIONS[call as usize].fetch_add(made, Ordering::Relaxed);
    }
}

#[test]
fn a_warm_relay_forwards_without_allocating() {
    let _alone = alone();
    let mut world = World::new(203);
    let people = room_of_three(&mut world);
    world.run(10 * SECOND);
    world.around = Some(count);
    ALLOCATIONS.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    let before = world.counters();
    world.run(20 * SECOND);
    world.around = None;
    let after = world.counters();
    let packets = after.forwarded - before.forwarded;
    world.assert_flows(&people);
    let kinds = [Call::Command, Call::Timers, Call::Media, Call::Control, Call::Stun, Call::Dtls, Call::Batch];
    let made = kinds.map(|call| (call, ALLOCATIONS[call as usize].load(Ordering::Relaxed)));
    println!("{packets} packets forwarded; allocations by call: {made:?}");
    let on_the_path = made.iter().find(|(call, _)| *call == Call::Media).expect("listed").1;
    let all: usize = made.iter().map(|(_, count)| count).sum();
    println!(
        "per forwarded packet: {:.4} on the packet path, {:.4} in all",
        on_the_path as f64 / packets as f64,
        all as f64 / packets as f64
    );
    assert!(packets >= 8_900, "positive control: {packets}");
    assert_eq!(on_the_path, 0);
    assert!(all * 5 <= packets as usize, "reports and checks, not packets: {all}");
}

#[test]
fn a_warm_port_moves_bursts_without_allocating() {
    let _alone = alone();
    let socket = || bind_shared(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let to = socket();
    let path = Path { socket: 0, local: None, remote: to.local_addr().expect("bound") };
    let mut sender = UdpPort::new(vec![socket()], Offload::default()).expect("options");
    let mut receiver = UdpPort::new(vec![to], Offload::default()).expect("options");
    let mut outbox = Outbox::default();
    let (mut arrived, mut before) = (0, 0);
    for round in 0..60 {
        if round == 10 {
            let stats = HEAP.stats();
            before = stats.allocations + stats.reallocations;
        }
        for len in [1_100, 1_100, 700, 90, 1_150, 1_150, 33] {
            assert!(outbox.push(path, len < 100, &[1; 1_200][..len]));
        }
        assert_eq!(sender.send(outbox.finish()).datagrams, 7);
        outbox.clear();
        receiver.mark_all_readable();
        while receiver.is_readable() {
            arrived += receiver.receive(|_, _| {});
        }
    }
    let stats = HEAP.stats();
    assert_eq!(arrived, 60 * 7);
    assert_eq!(stats.allocations + stats.reallocations - before, 0);
}
