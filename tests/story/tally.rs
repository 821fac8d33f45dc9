//! What the relay says reached whom, held against what did.

use super::consultation::coming;
use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::model::roster::Source;
use colloque::relay::command::{Act, By, Scope};
use colloque::relay::event::{Happening, Tally};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Stretches no further apart are one, as in the account.
const TOGETHER: Duration = Duration::from_millis(1_500);

/// What an end may be off by: half a reading, and the way of feedback.
const CLOSE: Duration = Duration::from_millis(800);

fn agreed() -> Coming {
    let mut coming = coming("patient");
    coming.attributes.push(("consent", "v1".to_owned()));
    coming
}

struct Call {
    world: World,
    doctor: Who,
    patient: Who,
    tallies: Vec<Tally>,
}

impl Call {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let doctor = world.seat("doctor", coming("doctor"));
        let patient = world.seat("patient", agreed());
        let seat = world.seat_of(patient);
        world.acts(doctor, Act::Admit(seat)).expect("a doctor may");
        let mut call = Self { world, doctor, patient, tallies: Vec::new() };
        call.run(5 * SECOND);
        call
    }

    fn run(&mut self, time: Duration) {
        self.world.run(time);
        self.tallies.extend(self.world.shard.drain_tallies());
    }

    fn dead(&mut self, who: Who, weather: Weather) {
        (self.world.line(who).up, self.world.line(who).down) = (weather, weather);
    }

    /// What was said to have reached `to` of `from`, joined as an account joins it.
    fn said(&self, to: Who, from: Who, source: Source) -> Vec<(Instant, Instant)> {
        let (to, from) = (self.world.seat_of(to), self.world.seat_of(from));
        let all = self.tallies.iter().flat_map(|tally| &tally.delivered);
        let wanted = all.filter(|one| one.to == to && one.from == from && one.source == source);
        joined(wanted.map(|one| (one.since.into(), one.until.into())))
    }

    /// What did.
    fn seen(&self, to: Who, from: Who, kind: Kind) -> Vec<(Instant, Instant)> {
        joined(self.world.received(to, from, kind, self.world.start).map(|one| (one.at, one.at)))
    }

    /// Holds the one against the other, both ways, for sound and pictures.
    fn assert_honest(&self, count: usize) {
        for (to, from) in [(self.doctor, self.patient), (self.patient, self.doctor)] {
            for (kind, source) in [(Kind::Audio, Source::Microphone), (Kind::Video, Source::Camera)] {
                let (said, seen) = (self.said(to, from, source), self.seen(to, from, kind));
                let since = |at: &Instant| at.saturating_duration_since(self.world.start);
                let told: Vec<_> = said.iter().zip(&seen).map(|(a, b)| [&a.0, &b.0, &a.1, &b.1].map(since)).collect();
                assert_eq!((said.len(), seen.len()), (count, count), "{source:?} {said:?} {seen:?}");
                let now = self.world.now.saturating_duration_since(self.world.start);
                // What still flows is told a second later.
                let end = |d: Duration| if now - d < SECOND { CLOSE + SECOND } else { CLOSE };
                let close = |[a, b, c, d]: &[Duration; 4]| a.abs_diff(*b) <= CLOSE && c.abs_diff(*d) <= end(*d);
                assert!(told.iter().all(close), "{source:?} {told:?}");
            }
        }
    }
}

fn joined(stretches: impl Iterator<Item = (Instant, Instant)>) -> Vec<(Instant, Instant)> {
    let mut all: Vec<(Instant, Instant)> = Vec::new();
    for (since, until) in stretches {
        match all.last_mut() {
            Some(last) if since.saturating_duration_since(last.1) <= TOGETHER => last.1 = last.1.max(until),
            _ => all.push((since, until)),
        }
    }
    all
}

#[test]
fn a_line_that_is_dead_for_ten_seconds_delivers_nothing_in_them() {
    let mut call = Call::new(140);
    let patient = call.patient;
    call.run(5 * SECOND + 130 * MS);
    call.dead(patient, Weather::DEAD);
    call.run(10 * SECOND);
    call.dead(patient, Weather::FAIR);
    call.run(10 * SECOND);
    call.assert_honest(2);
}

#[test]
fn sound_alone_is_followed_just_as_well() {
    let mut call = Call::new(141);
    for who in [call.doctor, call.patient] {
        call.world.mute(who, Kind::Video, true);
    }
    call.run(5 * SECOND);
    let patient = call.patient;
    call.dead(patient, Weather::DEAD);
    call.run(10 * SECOND + 270 * MS);
    call.dead(patient, Weather::FAIR);
    call.run(8 * SECOND);
    for (to, from) in [(call.doctor, call.patient), (call.patient, call.doctor)] {
        assert_eq!(call.said(to, from, Source::Microphone).len(), 2);
        assert_eq!(call.said(to, from, Source::Camera).len(), 1);
    }
    for who in [call.doctor, call.patient] {
        call.world.mute(who, Kind::Video, false);
    }
    call.run(5 * SECOND);
    call.assert_honest(2);
}

#[test]
fn what_is_shut_for_a_moment_is_told_to_the_moment() {
    let mut call = Call::new(142);
    let (doctor, patient) = (call.doctor, call.patient);
    let companion = call.world.seat("companion", coming("companion"));
    let seat = call.world.seat_of(companion);
    call.world.acts(doctor, Act::Admit(seat)).expect("a doctor may");
    let scopes = [Scope::Aside, Scope::ThirdPerson(colloque::model::roster::Role::Companion)];
    let consent = super::consultation::consent(&call.world, patient, &scopes);
    call.world.acts(patient, consent).expect("its own");
    call.run(4 * SECOND);
    let apart = vec![call.world.seat_of(doctor), call.world.seat_of(companion)];
    call.world.acts(doctor, Act::StartAside(apart)).expect("a doctor may");
    let began = call.world.now;
    call.run(5 * SECOND);
    call.world.acts(doctor, Act::EndAside).expect("a doctor may");
    let ended = call.world.now;
    call.run(5 * SECOND);
    let withdrawn = Act::WithdrawConsent { seat: call.world.seat_of(patient), scopes: BTreeSet::new() };
    call.world.consult(By::Platform, withdrawn).expect("the platform may");
    let shut = call.world.now;
    call.run(4 * SECOND);

    for source in [Source::Microphone, Source::Camera] {
        let said = call.said(patient, doctor, source);
        assert_eq!(said.len(), 2, "{source:?}");
        assert!(said[0].1 <= began && began - said[0].1 < 100 * MS, "read when it ends");
        assert!(said[1].0 + 10 * MS >= ended && said[1].0 - ended < 2 * SECOND);
        assert!(said[1].1 <= shut && shut - said[1].1 < 100 * MS);
        assert_eq!(call.said(companion, doctor, source).len(), 1, "who was in it lost nothing");
    }
    call.world.leave(patient);
    call.run(SECOND);
    let told: Vec<_> = call.tallies.iter().flat_map(|tally| &tally.happened).collect();
    assert!(told.iter().any(|one| one.what == Happening::Connected && one.seat == call.world.seat_of(patient)));
}

#[test]
fn a_plain_room_is_not_watched() {
    let mut world = World::new(143);
    world.seat("a", Coming::default());
    world.seat("b", Coming::default());
    world.run(5 * SECOND);
    assert_eq!(world.shard.drain_tallies().count(), 0);
}

#[test]
fn figures_come_once_a_second_and_say_how_the_line_is() {
    let mut call = Call::new(144);
    let patient = call.patient;
    call.dead(patient, Weather::losing(0.1));
    call.tallies.clear();
    call.run(20 * SECOND);
    let seat = call.world.seat_of(patient);
    let lines = call.tallies.iter().flat_map(|tally| &tally.lines).filter(|(of, _)| *of == seat);
    let lines: Vec<_> = lines.map(|(_, figures)| *figures).collect();
    assert!((19..=21).contains(&lines.len()), "{}", lines.len());
    let sum = |of: fn(&colloque::relay::event::Figures) -> u32| lines.iter().map(of).sum::<u32>();
    let (up, down) = (sum(|one| one.received) + sum(|one| one.lost), sum(|one| one.sent));
    assert!(up > 600 && down > 600, "{up} {down}");
    let share = |missed: u32, all: u32| f64::from(missed) / f64::from(all);
    // Pictures that were sent again are missing no more, nor is sound that went out twice.
    for lost in [share(sum(|one| one.lost), up), share(sum(|one| one.sent_lost), down)] {
        assert!((0.004..0.16).contains(&lost), "{lost}");
    }
    assert!(lines.iter().all(|one| one.expects_media && one.signalling_alive));
}
