//! Consultations on packets: who waits, who agreed, who speaks apart and who was taken out.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::{Who, World};
use colloque::model::roster::{LeaveReason, Role};
use colloque::relay::command::{
    Act, AdminAction, AdminReply, By, Channel, Consent, ConsultationPolicy, Fact, Gate, Overview, Refusal, Scope, SeatState,
    SecondUse, TextVersion,
};
use colloque::relay::event::Event;
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn coming(role: &str) -> Coming {
    Coming { attributes: vec![("role", role.to_owned())], ..Coming::default() }
}

/// Somebody whose token says that they agreed.
fn agreed(role: &str) -> Coming {
    let mut coming = coming(role);
    coming.attributes.push(("consent", "v1".to_owned()));
    coming
}

pub(super) fn consent(world: &World, who: Who, scopes: &[Scope]) -> Act {
    let text = TextVersion::parse("v2").expect("a code");
    let scopes = scopes.iter().copied().collect();
    Act::Consent(Consent { seat: world.seat_of(who), scopes, text, channel: Channel::InCall })
}

fn withdraw(world: &World, who: Who) -> Act {
    Act::WithdrawConsent { seat: world.seat_of(who), scopes: BTreeSet::new() }
}

fn overview(world: &mut World) -> Overview {
    match world.admin("consultation", AdminAction::ShowConsultation) {
        Ok(AdminReply::Consultation(overview)) => *overview,
        other => panic!("{other:?}"),
    }
}

fn open(world: &mut World, policy: ConsultationPolicy) {
    world.admin("consultation", AdminAction::OpenConsultation(Box::new(policy))).expect("a good policy");
}

fn say(world: &mut World, who: Who, text: &str) -> bool {
    let message = super::data::packet(text);
    world.act(who, |person| person.send_data("_reliable", &message))
}

/// Everything that reached somebody of somebody, from a number of sent datagrams on.
fn leaked(world: &World, to: Who, from: Who, since: usize) -> usize {
    let of = |mark: u8| usize::from(mark) == from.0;
    world.person(to).received.iter().filter(|one| one.left > since as u64 && of(one.mark.from)).count()
}

pub(super) fn attribute(world: &World, viewer: Who, of: Who, key: &str) -> Option<String> {
    let sid = world.person(of).sid.clone()?;
    world.person(viewer).roster.get(&sid)?.attributes.get(&format!("consultation.{key}")).cloned()
}

/// A doctor and a patient who agreed and was let in.
pub(super) fn in_call(seed: u64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    let doctor = world.seat("doctor", coming("doctor"));
    let patient = world.seat("patient", agreed("patient"));
    let seat = world.seat_of(patient);
    world.acts(doctor, Act::Admit(seat)).expect("a doctor may");
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
    (world, doctor, patient)
}

#[test]
fn who_waits_sends_and_receives_nothing_and_sees_nobody() {
    let mut world = World::new(100);
    let doctor = world.seat("doctor", coming("doctor"));
    let companion = world.seat("companion", coming("companion"));
    world.acts(doctor, Act::Admit(world.seat_of(companion))).expect("a doctor may");
    world.run(2 * SECOND);
    let mark = world.sent.len();
    let patient = world.seat("patient", agreed("patient"));
    world.run(2 * SECOND);
    assert!(say(&mut world, doctor, "for those inside") && say(&mut world, patient, "is anybody there?"));
    world.run(2 * SECOND);

    assert_eq!(world.media_to(world.person(patient).address, mark), 0);
    assert_eq!(leaked(&world, doctor, patient, mark) + leaked(&world, companion, patient, mark), 0);
    assert_eq!((world.person(patient).messages.len(), world.person(doctor).messages.len()), (0, 0));
    let sid = world.person(patient).sid.clone().expect("joined");
    assert!(world.person(patient).roster.keys().all(|seen| *seen == sid), "an empty room");
    assert!(!world.person(companion).roster.contains_key(&sid), "nobody sees it");
    let shown = &world.person(doctor).roster[&sid];
    assert!(shown.tracks.is_empty() && shown.metadata.is_empty(), "but that it waits, for the doctor");
    assert_eq!(attribute(&world, doctor, patient, "state").as_deref(), Some("waiting"));
    assert_eq!(attribute(&world, doctor, patient, "role").as_deref(), Some("patient"));
    let paused = |event: &Event| matches!(event, Event::WantedLayers { highest: None, .. });
    assert!(world.person(patient).heard.iter().any(paused), "its camera rests");

    world.acts(doctor, Act::Admit(world.seat_of(patient))).expect("a doctor may");
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
    assert_eq!(leaked(&world, companion, patient, mark), 0, "a third person to whom the patient has not agreed");
    assert_eq!(world.person(companion).messages.len(), 1, "said before");
    assert!(attribute(&world, patient, companion, "gate").as_deref() == Some("third_person"), "and the patient sees why");
    world.acts(patient, consent(&world, patient, &[Scope::ThirdPerson(Role::Companion)])).expect("its own");
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient, companion]);
    assert!(say(&mut world, patient, "hello"));
    world.run(SECOND);
    assert_eq!(world.person(companion).messages.len(), 2);
}

#[test]
fn only_a_doctor_inside_or_the_platform_lets_in() {
    let mut world = World::new(101);
    let patient = world.seat("patient", agreed("patient"));
    let relative = world.seat("relative", coming("relative"));
    let seat = world.seat_of(patient);
    for who in [patient, relative] {
        assert_eq!(world.acts(who, Act::Admit(seat.clone())), Err(Refusal::NotAllowed));
    }
    assert_eq!(world.consult(By::Policy, Act::Admit(seat.clone())), Err(Refusal::NotAllowed));
    assert_eq!(world.consult(By::Platform, Act::Admit(seat.clone())), Err(Refusal::ProfessionalFirst));
    let doctor = world.seat("doctor", coming("doctor"));
    assert_eq!(world.consult(By::Platform, Act::Admit(seat)), Ok(()));
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn withdrawn_consent_is_in_force_when_the_answer_comes_for_packets_repetitions_and_data() {
    let (mut world, doctor, patient) = in_call(102);
    world.line(patient).down = Weather::losing(0.3);
    world.line(doctor).down = Weather::losing(0.3);
    world.run(2 * SECOND);
    let again = world.counters().retransmitted;
    assert!(again > 10, "positive control: lost packets come again: {again}");
    assert!(say(&mut world, doctor, "a moment before"));
    // At a moment at which the patient misses something and has just asked for it.
    for _ in 0..100 {
        let before = world.person(patient).control.nack_out;
        world.run(Duration::from_millis(10));
        if world.person(patient).control.nack_out > before {
            break;
        }
    }
    let act = withdraw(&world, patient);
    world.acts(patient, act).expect("always");
    let (mark, retransmitted) = (world.sent.len(), world.counters().retransmitted);
    let (asked, heard) = (world.person(patient).control.nack_out, world.person(patient).messages.len());
    assert!(say(&mut world, doctor, "not for the patient") && say(&mut world, patient, "not for the doctor"));
    world.run(5 * SECOND);

    assert_eq!(world.media_to(world.person(patient).address, mark), 0);
    assert_eq!(leaked(&world, doctor, patient, mark), 0);
    assert_eq!(world.counters().retransmitted, retransmitted);
    assert!(world.person(patient).control.nack_out > asked, "positive control: it did ask");
    assert_eq!(world.person(patient).messages.len(), heard);
    assert_eq!(world.person(doctor).messages.len(), 0);
    assert!(world.person(patient).connected && world.person(patient).left.is_none(), "it may stay");
    let facts = world.facts();
    let closed = facts.iter().position(|fact| matches!(fact, Fact::GateClosed { why: Gate::Consent, .. }));
    let withdrawn = facts.iter().position(|fact| matches!(fact, Fact::ConsentWithdrawn { .. }));
    assert!(closed.is_some() && withdrawn.is_some());

    world.line(patient).down = Weather::FAIR;
    world.line(doctor).down = Weather::FAIR;
    world.acts(patient, consent(&world, patient, &[])).expect("as easy as before");
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
    let texts = format!("{:?}", world.person(doctor).messages);
    assert!(!texts.contains("not for the doctor"), "what was said before the gate is not for later");
}

#[test]
fn a_token_gives_no_consent_that_was_withdrawn() {
    let (mut world, doctor, patient) = in_call(103);
    let act = withdraw(&world, patient);
    world.acts(patient, act).expect("always");
    let mark = world.sent.len();
    let again = world.seat("patient", agreed("patient"));
    world.run(2 * SECOND);
    assert_eq!(world.media_to(world.person(again).address, mark), 0);
    assert_eq!(attribute(&world, doctor, again, "gate").as_deref(), Some("consent"));
}

#[test]
fn who_was_removed_does_not_come_back_with_what_it_had() {
    let (mut world, doctor, patient) = in_call(104);
    let issued = world.wall_s();
    let mark = world.sent.len();
    world.acts(doctor, Act::Remove(world.seat_of(patient))).expect("a doctor may");
    world.run(SECOND);
    assert_eq!(world.person(patient).left, Some(LeaveReason::ParticipantRemoved));
    world.resume(patient);
    world.run(SECOND);
    assert_eq!(world.person(patient).refusal, Some(Refusal::Removed));
    let rejoin = Coming { issued_at_s: issued, ..agreed("patient") };
    let again = world.join("patient", rejoin);
    world.run(2 * SECOND);
    assert_eq!(world.person(again).refusal, Some(Refusal::Removed));
    assert_eq!(leaked(&world, doctor, patient, mark) + leaked(&world, doctor, again, mark), 0);

    let anew = world.seat("patient", agreed("patient"));
    world.run(2 * SECOND);
    assert_eq!(attribute(&world, doctor, anew, "state").as_deref(), Some("waiting"), "a new token, and it waits again");
}

#[test]
fn a_removed_seat_of_which_nothing_says_when_it_was_issued_stays_out() {
    let (mut world, doctor, patient) = in_call(105);
    world.acts(doctor, Act::Remove(world.seat_of(patient))).expect("a doctor may");
    let again = world.join("patient", Coming { issued_at_s: 1, ..agreed("patient") });
    assert_eq!(world.person(again).refusal, Some(Refusal::Removed));
}

#[test]
fn an_aside_is_seen_by_all_and_heard_by_its_members_alone() {
    let mut world = World::new(106);
    let doctor = world.seat("doctor", coming("doctor"));
    let patient = world.seat("patient", agreed("patient"));
    let colleague = world.seat("colleague", coming("colleague"));
    for who in [patient, colleague] {
        world.acts(doctor, Act::Admit(world.seat_of(who))).expect("a doctor may");
    }
    world.acts(patient, consent(&world, patient, &[Scope::ThirdPerson(Role::Colleague)])).expect("its own");
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient, colleague]);
    world.line(patient).down = Weather::losing(0.3);
    world.run(SECOND);

    let members = vec![world.seat_of(doctor), world.seat_of(colleague)];
    let with_patient = vec![world.seat_of(colleague), world.seat_of(patient)];
    assert_eq!(world.acts(patient, Act::StartAside(members.clone())), Err(Refusal::NotAllowed));
    assert_eq!(world.acts(colleague, Act::StartAside(with_patient)), Err(Refusal::NotAllowed));
    world.acts(doctor, Act::StartAside(members.clone())).expect("a doctor may");
    let mark = world.sent.len();
    assert_eq!(world.acts(colleague, Act::StartAside(members)), Err(Refusal::AsideRunning));
    assert!(say(&mut world, doctor, "between us") && say(&mut world, patient, "to whom?"));
    world.run(5 * SECOND);

    assert_eq!(world.media_to(world.person(patient).address, mark), 0, "repetitions included");
    assert_eq!(leaked(&world, doctor, patient, mark) + leaked(&world, colleague, patient, mark), 0, "nor the other way");
    world.assert_flows(&[doctor, colleague]);
    assert_eq!((world.person(patient).messages.len(), world.person(doctor).messages.len()), (0, 0));
    assert_eq!(world.person(colleague).messages.len(), 1);
    assert!(
        attribute(&world, patient, doctor, "aside").is_some_and(|since| since.parse::<u64>().is_ok()),
        "it sees that it runs"
    );
    assert!(attribute(&world, patient, colleague, "aside").is_some());

    world.line(patient).down = Weather::FAIR;
    world.run(300 * SECOND);
    world.acts(colleague, Act::RenewAside).expect("a professional in it");
    world.run(500 * SECOND);
    assert!(overview(&mut world).aside.is_some(), "renewed for ten minutes");
    world.run(110 * SECOND);
    assert!(overview(&mut world).aside.is_none(), "its time is over");
    assert_eq!(attribute(&world, patient, doctor, "aside"), None);
    world.assert_flows(&[doctor, patient, colleague]);
    assert_eq!(world.person(patient).messages.len(), 0, "what was said apart is not for later");
}

#[test]
fn an_aside_ends_when_one_of_two_goes() {
    let mut world = World::new(107);
    let doctor = world.seat("doctor", coming("doctor"));
    let patient = world.seat("patient", agreed("patient"));
    let companion = world.seat("companion", coming("companion"));
    for who in [patient, companion] {
        world.acts(doctor, Act::Admit(world.seat_of(who))).expect("a doctor may");
    }
    world.acts(patient, consent(&world, patient, &[Scope::ThirdPerson(Role::Companion)])).expect("its own");
    world.run(3 * SECOND);
    let members = vec![world.seat_of(doctor), world.seat_of(patient)];
    world.acts(doctor, Act::StartAside(members)).expect("with the patient");
    world.run(2 * SECOND);
    world.assert_flows(&[doctor, patient]);
    world.leave(patient);
    world.run(2 * SECOND);
    world.assert_flows(&[doctor, companion]);
    let facts = world.facts();
    let opened = facts.iter().position(|fact| matches!(fact, Fact::AsideOpened { left_out, .. } if left_out.len() == 1));
    let closed = facts.iter().position(|fact| matches!(fact, Fact::AsideClosed { by: By::Policy, .. }));
    assert!(opened.zip(closed).is_some_and(|(opened, closed)| opened < closed));
}

#[test]
fn nobody_is_heard_by_a_newcomer_its_own_roster_does_not_name_yet() {
    let (mut world, doctor, patient) = in_call(108);
    world.lose_socket(patient);
    let companion = world.seat("companion", coming("companion"));
    world.acts(doctor, Act::Admit(world.seat_of(companion))).expect("a doctor may");
    world.acts(patient, consent(&world, patient, &[Scope::ThirdPerson(Role::Companion)])).expect("its own");
    let mark = world.sent.len();
    world.run(3 * SECOND);
    assert!(world.count(companion, doctor, Kind::Video, world.now - SECOND) > 20, "the doctor was told");
    assert_eq!(leaked(&world, companion, patient, mark), 0, "the patient was not");
    world.resume(patient);
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient, companion]);
}

#[test]
fn time_opens_and_closes_the_room() {
    let mut world = World::new(109);
    let start = world.wall_ms() + 3_600_000;
    let policy = ConsultationPolicy {
        starts_at_ms: Some(start),
        ends_at_ms: Some(start + 1_200_000),
        grace: 300 * SECOND,
        ..ConsultationPolicy::default()
    };
    open(&mut world, policy);
    let early = world.join("doctor", coming("doctor"));
    assert_eq!(world.person(early).refusal, Some(Refusal::TooEarly));
    world.run(2_701 * SECOND);
    let doctor = world.seat("doctor", coming("doctor"));
    world.acts(doctor, Act::Extend { ends_at_ms: start + 1_800_000 }).expect("a doctor may");
    world.run(900 * SECOND + 2_050 * SECOND);
    assert!(world.person(doctor).left.is_none());
    world.run(60 * SECOND);
    assert_eq!(world.person(doctor).left, Some(LeaveReason::TimeLimit));
    assert!(world.facts().iter().any(|fact| matches!(fact, Fact::RoomClosed { .. })));
    assert_eq!(world.closed_rooms, 1);
}

#[test]
fn a_seats_share_of_the_time_ends_its_stay() {
    let mut world = World::new(110);
    let mut short = coming("doctor");
    short.attributes.push(("max_minutes", "2".to_owned()));
    let doctor = world.seat("doctor", short.clone());
    world.run(130 * SECOND);
    assert_eq!(world.person(doctor).left, Some(LeaveReason::TimeLimit));
    let again = world.join("doctor", short);
    assert_eq!(world.person(again).refusal, Some(Refusal::TooLate));
}

#[test]
fn weak_authentication_wrong_roles_and_second_use_are_refused() {
    let mut world = World::new(111);
    let policy =
        ConsultationPolicy { pro_min_acr: 2, second_use: SecondUse::Refuse, max_seats: 2, ..ConsultationPolicy::default() };
    open(&mut world, policy);
    let mut strong = coming("doctor");
    strong.attributes.push(("auth", "psc:2".to_owned()));
    let weak = world.join("doctor", coming("doctor"));
    assert_eq!(world.person(weak).refusal, Some(Refusal::WeakAuthentication));
    let doctor = world.seat("doctor", strong.clone());
    let second = world.join("doctor", strong.clone());
    assert_eq!(world.person(second).refusal, Some(Refusal::SecondUse));
    world.seat("patient", agreed("patient"));
    let impostor = world.join("patient", coming("relative"));
    assert_eq!(world.person(impostor).refusal, Some(Refusal::WrongRole));
    let third = world.join("relative", coming("relative"));
    assert_eq!(world.person(third).refusal, Some(Refusal::RoomFull));
    world.lose_socket(doctor);
    let back = world.seat("doctor", strong);
    assert!(world.person(back).refusal.is_none(), "its first use is gone");
}

#[test]
fn clients_and_platforms_cannot_write_what_the_relay_owns() {
    let (mut world, doctor, patient) = in_call(112);
    let mut liar = coming("relative");
    liar.attributes.push(("state", "admitted".to_owned()));
    liar.attributes.push(("gate", "open".to_owned()));
    liar.attributes.push(("aside", "1".to_owned()));
    let relative = world.seat("relative", liar);
    world.run(SECOND);
    assert_eq!(attribute(&world, doctor, relative, "state").as_deref(), Some("waiting"));
    assert_eq!(attribute(&world, doctor, relative, "aside"), None);
    let attributes = [("consultation.role".to_owned(), "doctor".to_owned())].into_iter().collect();
    let action = AdminAction::UpdateParticipant {
        identity: world.seat_of(patient),
        metadata: colloque::model::roster::Text::default(),
        name: colloque::model::roster::Text::default(),
        permissions: None,
        attributes: colloque::model::roster::Attributes(attributes),
    };
    assert_eq!(world.admin("consultation", action).err(), Some(Refusal::NotAllowed));
}

#[test]
fn a_locked_room_lets_nobody_else_in_and_those_inside_come_back() {
    let (mut world, doctor, patient) = in_call(113);
    world.acts(doctor, Act::Lock).expect("a doctor may");
    let relative = world.seat("relative", coming("relative"));
    assert_eq!(world.acts(doctor, Act::Admit(world.seat_of(relative))), Err(Refusal::Locked));
    world.leave(patient);
    world.run(SECOND);
    let patient = world.seat("patient", agreed("patient"));
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient]);
    let seats = overview(&mut world).seats;
    let relative = seats.iter().find(|seat| seat.role == Role::Relative).expect("it is here");
    assert_eq!((relative.state, relative.gate), (SeatState::Waiting, Gate::Admission));
}

#[test]
fn support_sees_who_is_there_and_receives_nothing() {
    let (mut world, doctor, patient) = in_call(114);
    let support = world.seat("support", coming("support"));
    let mark = world.sent.len();
    world.acts(doctor, Act::Admit(world.seat_of(support))).expect("a doctor may");
    world.acts(patient, consent(&world, patient, &[Scope::ThirdPerson(Role::Support)])).expect("its own");
    assert!(say(&mut world, doctor, "not for support"));
    world.run(3 * SECOND);
    assert_eq!(world.media_to(world.person(support).address, mark), 0);
    assert_eq!(leaked(&world, doctor, support, mark), 0);
    assert_eq!(world.person(support).messages.len(), 0);
    assert_eq!(world.person(support).roster.len(), 3, "itself and two");
    let sid = world.person(support).sid.clone().expect("joined");
    assert!(world.person(patient).roster.contains_key(&sid), "and is seen");
}
