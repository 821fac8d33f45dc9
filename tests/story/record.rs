//! What gives access is on disk before the access is there; what takes it away never waits.

use super::consultation::{coming, consent};
use crate::world::person::Coming;
use crate::world::{Log, Rules, Who, World};
use colloque::model::roster::LeaveReason;
use colloque::relay::command::{Act, AdminAction, By, Closing, Command, Fact, Recording, Refusal};
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn agreed() -> Coming {
    let mut coming = coming("patient");
    coming.attributes.push(("consent", "v1".to_owned()));
    coming
}

/// A doctor inside, and a patient who waits.
fn waiting(seed: u64) -> (World, Who, Who) {
    let mut world = World::with(seed, Rules { audit: true, ..Rules::default() });
    world.log = Log::Prompt(SECOND / 50);
    let doctor = world.seat("doctor", coming("doctor"));
    let patient = world.seat("patient", agreed());
    world.run(2 * SECOND);
    (world, doctor, patient)
}

fn admit(world: &World, who: Who) -> AdminAction {
    AdminAction::Consult { by: By::Platform, act: Box::new(Act::Admit(world.seat_of(who))), asked_at: world.now.into() }
}

fn named(world: &World, viewer: Who, of: Who) -> bool {
    let sid = world.person(of).sid.clone().expect("joined");
    world.person(viewer).roster.get(&sid).is_some_and(|record| !record.tracks.is_empty())
}

fn received(world: &World, who: Who) -> usize {
    world.person(who).received.len()
}

#[test]
fn nothing_of_an_admission_is_seen_before_it_is_on_disk() {
    let (mut world, doctor, patient) = waiting(130);
    world.log = Log::Prompt(SECOND);
    let answer = world.ask("consultation", admit(&world, patient));
    world.run(SECOND * 9 / 10);
    assert_eq!((received(&world, doctor), received(&world, patient)), (0, 0));
    assert!(!named(&world, doctor, patient) && !named(&world, patient, doctor));
    assert!(answer.try_recv().is_err(), "nor does the platform hear that it is done");
    world.run(SECOND / 5);
    assert!(matches!(answer.try_recv(), Ok(Ok(_))));
    assert!(named(&world, doctor, patient) && named(&world, patient, doctor));
    world.log = Log::Prompt(SECOND / 50);
    world.run(4 * SECOND);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn what_takes_away_does_not_wait_and_stays_in_force_when_the_rest_is_on_disk() {
    let (mut world, doctor, patient) = waiting(131);
    world.log = Log::Prompt(SECOND);
    let admitted = world.ask("consultation", admit(&world, patient));
    world.run(SECOND / 2);
    let act = Act::WithdrawConsent { seat: world.seat_of(patient), scopes: BTreeSet::new() };
    let by = By::Seat(world.seat_of(patient));
    let withdrawn = world.ask("consultation", AdminAction::Consult { by, act: Box::new(act), asked_at: world.now.into() });
    assert!(matches!(withdrawn.try_recv(), Ok(Ok(_))), "at once");
    world.run(5 * SECOND);
    assert!(matches!(admitted.try_recv(), Ok(Ok(_))));
    assert_eq!((received(&world, doctor), received(&world, patient)), (0, 0));
    assert!(!named(&world, doctor, patient) && !named(&world, patient, doctor));
    world.log = Log::Prompt(SECOND / 50);
    world.consult(By::Seat(world.seat_of(patient)), consent(&world, patient, &[])).expect("its own");
    world.run(4 * SECOND);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn who_left_while_it_waited_is_never_named() {
    let (mut world, doctor, patient) = waiting(132);
    world.log = Log::Prompt(SECOND);
    let _answer = world.ask("consultation", admit(&world, patient));
    world.run(SECOND / 2);
    world.leave(patient);
    world.run(5 * SECOND);
    let sid = world.person(patient).sid.clone().expect("joined");
    assert!(!world.person(doctor).roster.contains_key(&sid));
    assert!(world.person(doctor).rosters.iter().all(|(_, seen)| seen.len() <= 2), "the stub of who waits, at most");
    assert_eq!(received(&world, doctor), 0);
}

#[test]
fn what_cannot_be_written_is_taken_back_and_refused_for_a_moment() {
    for log in [Log::Broken, Log::Silent] {
        let (mut world, doctor, patient) = waiting(133);
        world.log = log;
        let act = |world: &World| Act::Admit(world.seat_of(patient));
        let act_again = act(&world);
        assert_eq!(world.consult(By::Platform, act_again), Err(Refusal::AuditUnavailable), "{log:?}");
        assert_eq!((received(&world, doctor), received(&world, patient)), (0, 0));
        assert!(!named(&world, doctor, patient) && world.person(patient).left.is_none(), "it waits again");

        let again = act(&world);
        assert_eq!(world.consult(By::Platform, again), Err(Refusal::AuditUnavailable), "nobody tries for a moment");
        let other = world.join("relative", coming("relative"));
        assert_eq!(world.person(other).refusal, Some(Refusal::AuditUnavailable));
        world.leave(patient);
        assert_eq!(world.consult(By::Platform, Act::Lock), Ok(()), "what takes away goes on");
        assert_eq!(world.consult(By::Platform, Act::Remove(world.seat_of(patient))), Ok(()));

        world.run(3 * SECOND);
        world.log = Log::Prompt(SECOND / 50);
        assert_eq!(world.consult(By::Platform, Act::Unlock), Ok(()));
        let anew = world.seat("patient", agreed());
        assert_eq!(world.consult(By::Platform, Act::Admit(world.seat_of(anew))), Ok(()));
        world.run(4 * SECOND);
        world.assert_flows(&[doctor, anew]);
        assert!(world.counters().facts_refused > 0 && world.counters().facts_lost == 0);
    }
}

#[test]
fn who_joins_while_nothing_can_be_written_is_asked_to_come_again() {
    let (mut world, doctor, _) = waiting(134);
    world.log = Log::Broken;
    let colleague = world.join("colleague", coming("colleague"));
    world.run(SECOND);
    assert_eq!(world.person(colleague).left, Some(LeaveReason::JoinFailure));
    assert!(world.person(doctor).left.is_none(), "a call that runs goes on");
}

#[test]
fn an_aside_that_is_not_on_record_ends_at_once() {
    let (mut world, doctor, patient) = waiting(135);
    world.consult(By::Platform, Act::Admit(world.seat_of(patient))).expect("the platform may");
    world.run(4 * SECOND);
    world.assert_flows(&[doctor, patient]);
    world.log = Log::Broken;
    let apart = vec![world.seat_of(doctor), world.seat_of(patient)];
    assert_eq!(world.acts(doctor, Act::StartAside(apart)), Err(Refusal::AuditUnavailable));
    world.log = Log::Prompt(SECOND / 50);
    world.run(SECOND);
    world.assert_flows(&[doctor, patient]);
    assert!(world.facts().iter().any(|fact| matches!(fact, Fact::AsideClosed { .. })));
}

/// A doctor and a patient in their call, with the log just lost until `closes_in`.
fn unrecorded(seed: u64, closes_in: Option<Duration>) -> (World, Who, Who) {
    let (mut world, doctor, patient) = waiting(seed);
    world.consult(By::Platform, Act::Admit(world.seat_of(patient))).expect("the platform may");
    world.run(4 * SECOND);
    world.assert_flows(&[doctor, patient]);
    let closes_at_ms = closes_in.map(|time| world.wall_ms() + u64::try_from(time.as_millis()).expect("soon"));
    world.command(Command::Recording(Recording::Fails { closes_at_ms }));
    (world, doctor, patient)
}

fn label(world: &World, who: Who, key: &str) -> Option<String> {
    let sid = world.person(who).sid.clone()?;
    world.person(who).roster.get(&sid)?.attributes.get(&format!("consultation.{key}")).cloned()
}

#[test]
fn a_call_that_cannot_be_recorded_says_so_and_ends_after_its_grace_time() {
    let (mut world, doctor, patient) = unrecorded(136, Some(20 * SECOND));
    world.run(SECOND);
    let until = label(&world, patient, "unrecorded_until").expect("everybody is told until when");
    assert!(until.parse::<u64>().expect("a time") > world.wall_ms());
    assert_eq!(label(&world, doctor, "unrecorded").as_deref(), Some("true"));
    world.run(16 * SECOND);
    world.assert_flows(&[doctor, patient]);
    world.run(5 * SECOND);
    for who in [doctor, patient] {
        assert_eq!(world.person(who).left, Some(LeaveReason::RoomDeleted));
    }
    let closed =
        world.facts().into_iter().find_map(|fact| if let Fact::RoomClosed { why, .. } = fact { Some(why) } else { None });
    assert_eq!(closed, Some(Closing::Unrecorded));
}

#[test]
fn a_call_goes_on_where_the_log_comes_back_in_time_or_is_not_to_end_it() {
    for closes_in in [Some(20 * SECOND), None] {
        let (mut world, doctor, patient) = unrecorded(137, closes_in);
        world.run(10 * SECOND);
        if closes_in.is_some() {
            world.command(Command::Recording(Recording::Works));
            world.run(SECOND);
            assert_eq!(label(&world, doctor, "unrecorded"), None);
        }
        world.run(20 * SECOND);
        world.assert_flows(&[doctor, patient]);
    }
}

#[test]
fn a_token_is_on_record_before_its_bearer_waits() {
    let (mut world, ..) = waiting(138);
    let facts = world.facts();
    let at = |wanted: fn(&Fact) -> bool| facts.iter().rposition(wanted).expect("on record");
    let accepted = at(|fact| matches!(fact, Fact::TokenAccepted { .. }));
    let waits = at(|fact| matches!(fact, Fact::Waiting { .. }));
    assert!(accepted < waits, "{facts:?}");
}
