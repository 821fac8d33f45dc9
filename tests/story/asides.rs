//! Hundreds of asides on bad lines: nothing of them reaches who is left out, then or later, and speaking apart begins at once.

use super::consultation::{coming, consent};
use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::rng::Rng;
use crate::world::{Log, Rules, Who, World};
use colloque::model::counters::Counters;
use colloque::model::roster::Role;
use colloque::relay::command::{Act, By, Scope};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Asides one after the other.
const ROUNDS: usize = 500;

/// What a packet may take from its sender to the relay on the lines below, repetition asked for once included.
const ON_ITS_WAY: Duration = Duration::from_millis(120);

/// One aside, by the relay's count of datagrams sent, and by what its members had made when each answer came.
struct Apart {
    members: Vec<Who>,
    began: u64,
    ended: u64,
    /// Of each person: first sound made inside, first made after it, less what was still on its way.
    made: BTreeMap<Who, (u32, u32)>,
}

fn scene(seed: u64) -> (World, Vec<Who>) {
    let mut world = World::with(seed, Rules { audit: true, ..Rules::default() });
    world.log = Log::Prompt(Duration::from_millis(5));
    let people: Vec<Who> = ["doctor", "colleague", "patient", "companion"].map(|role| world.seat(role, coming(role))).into();
    for who in &people[1..] {
        world.consult(By::Platform, Act::Admit(world.seat_of(*who))).expect("the platform may");
    }
    let scopes = [Scope::Teleconsultation, Scope::ThirdPerson(Role::Colleague), Scope::ThirdPerson(Role::Companion)];
    let agreed = consent(&world, people[2], &scopes);
    world.acts(people[2], agreed).expect("its own");
    world.run(Duration::from_secs(3));
    world.assert_flows(&people);
    for who in &people {
        let bad = Weather { jitter: Duration::from_millis(15), ..Weather::losing(0.1) };
        (world.line(*who).up, world.line(*who).down) = (bad, bad);
    }
    // Lines that bear a little less than everything are probed for more again and again.
    for who in &people[2..] {
        world.narrow(*who, 700_000);
    }
    world.run(Duration::from_secs(2));
    (world, people)
}

/// Members of an aside: the doctor, and some but not all of the others.
fn some(dice: &mut Rng, people: &[Who]) -> Vec<Who> {
    let left_out = 1 + dice.below(people.len() - 1);
    let others = people.iter().enumerate().skip(1);
    let mut members = vec![people[0]];
    members.extend(others.filter(|(at, _)| *at != left_out && (people.len() == 3 || dice.chance(0.6))).map(|(_, who)| *who));
    if members.len() == 1 {
        members.push(people[if left_out == 1 { 2 } else { 1 }]);
    }
    members
}

fn made(world: &World, people: &[Who]) -> BTreeMap<Who, u32> {
    people.iter().map(|who| (*who, world.person(*who).next_frame(Kind::Audio))).collect()
}

/// The first sound of each who was apart that reaches one who was not.
fn heard_again(world: &World, apart: &Apart, people: &[Who], since: Instant) -> Vec<Duration> {
    let outside = people.iter().filter(|who| !apart.members.contains(who));
    let pairs = outside.flat_map(|who| apart.members.iter().map(move |from| (*who, *from)));
    let first = |(who, from)| world.received(who, from, Kind::Audio, since).next().map(|one| one.at - since);
    pairs.filter_map(first).collect()
}

/// Of all that came to somebody from somebody on the other side of an aside: what left the relay meanwhile, what was said meanwhile
/// and came at any time, and how much was looked at.
fn leaks(world: &World, people: &[Who], asides: &[Apart]) -> (usize, usize, u64) {
    let (mut during, mut later, mut checked) = (0, 0, 0_u64);
    for apart in asides {
        for who in people {
            let inside = apart.members.contains(who);
            for one in &world.person(*who).received {
                let from = Who(usize::from(one.mark.from));
                if apart.members.contains(&from) == inside {
                    continue;
                }
                checked += 1;
                // What left the relay while they were apart, sound or picture, first sent or repeated.
                during += usize::from(one.left > apart.began && one.left <= apart.ended);
                // What was said while they were apart, whenever it came.
                let said = apart.made.get(&from).is_some_and(|(first, last)| (*first..*last).contains(&one.mark.frame));
                later += usize::from(one.mark.kind == Kind::Audio && said);
            }
        }
    }
    (during, later, checked)
}

#[test]
fn hundreds_of_asides_on_bad_lines_leak_nothing_and_switch_at_once() {
    let (mut world, people) = asides(ROUNDS);
    for who in &people {
        (world.line(*who).up, world.line(*who).down) = (Weather::FAIR, Weather::FAIR);
        world.narrow(*who, 100_000_000);
    }
    // A line that was narrow for minutes is asked for more every ten seconds.
    world.run(Duration::from_secs(30));
    world.assert_flows(&people);
}

fn asides(rounds: usize) -> (World, Vec<Who>) {
    let (mut world, people) = scene(160);
    let mut dice = Rng::new(161);
    let (mut asides, mut answers, mut switches) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let members = some(&mut dice, &people);
        let seats = members.iter().map(|who| world.seat_of(*who)).collect();
        let asked = world.now;
        world.acts(people[0], Act::StartAside(seats)).expect("a doctor may");
        answers.push(world.now - asked);
        let (began, first) = (world.sent.len() as u64, made(&world, &people));
        world.run(Duration::from_millis(150 + dice.below(350) as u64));
        let on_its_way = (ON_ITS_WAY.as_millis() / 20) as u32;
        let asked = world.now;
        let last = made(&world, &people);
        let ended = world.sent.len() as u64;
        world.acts(people[0], Act::EndAside).expect("it runs");
        let made = first.into_iter().map(|(who, first)| (who, (first, last[&who].saturating_sub(on_its_way)))).collect();
        let apart = Apart { members, began, ended, made };
        world.run(Duration::from_millis(500 + dice.below(300) as u64));
        switches.extend(heard_again(&world, &apart, &people, asked));
        asides.push(apart);
    }
    world.run(Duration::from_secs(3));

    let (during, later, checked) = leaks(&world, &people, &asides);
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() * 95 / 100])
    };
    let (answer, switch) = (median(&mut answers), median(&mut switches));
    println!(
        "{rounds} asides: {during} leaked while apart, {later} of what was said apart came later, {checked} comparisons; \
         answer after {:?} (p95 {:?}), heard again after {:?} (p95 {:?}, {} of them)",
        answer.0,
        answer.1,
        switch.0,
        switch.1,
        switches.len(),
    );
    assert_eq!((during, later), (0, 0));
    let Counters { probes, padding_repeats, .. } = world.counters();
    println!("{probes} probes, filled with {padding_repeats} packets sent before");
    assert!(padding_repeats > 0, "what fills probes was put to the test, too");
    // Packets obey when the answer comes; on the way back the next sound is at most 20 ms away, jitter and losses beside.
    assert!(answer.0 <= Duration::from_millis(100), "{answer:?}");
    assert!(switches.len() > rounds, "those left out hear the others again");
    assert!(switch.0 <= Duration::from_millis(100), "{switch:?}");
    (world, people)
}
