//! Seats are taken, kept over a lost socket, taken over and given up; what belonged to them goes with them.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::{Rules, Who, World, room};
use colloque::model::counters::FailureReason;
use colloque::model::roster::LeaveReason;
use colloque::model::{Identity, SessionId};
use colloque::relay::command::{AdminAction, AdminReply, Command, Request};
use colloque::relay::event::Event;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn pair(world: &mut World) -> (Who, Who) {
    let people = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    people
}

#[test]
fn a_new_socket_for_the_same_stay_keeps_the_media() {
    let mut world = World::new(70);
    let (doctor, patient) = pair(&mut world);
    let (sid, old_session) = (world.person(patient).sid.clone(), world.person(patient).session);
    world.lose_socket(patient);
    world.assert_flows(&[doctor, patient]);
    let third = world.seat("nurse", Coming::default());
    world.run(SECOND);

    world.resume(patient);
    let heard = &world.person(patient).heard;
    assert!(heard.iter().any(|event| matches!(event, Event::Resumed { .. })));
    assert_eq!(world.person(patient).sid, sid);
    world.run(3 * SECOND);
    world.assert_flows(&[doctor, patient, third]);
    assert_eq!(world.person(patient).roster.len(), 3, "it learnt of who came meanwhile");
    assert_eq!(world.counters().dtls_completed, 3, "without a new handshake");

    let participant = sid.expect("joined");
    let request = Request::Leave(LeaveReason::ClientInitiated);
    world.command(Command::Request { room: room("consultation"), participant, session: old_session, request });
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn a_resume_of_an_unknown_stay_is_refused() {
    let mut world = World::new(71);
    let (_, patient) = pair(&mut world);
    world.leave(patient);
    world.resume(patient);
    assert!(world.person(patient).refused);
}

#[test]
fn the_second_arrival_of_an_identity_takes_the_seat() {
    let mut world = World::new(72);
    let (doctor, first) = pair(&mut world);
    let second = world.seat("patient", Coming::default());
    world.run(3 * SECOND);
    assert_eq!(world.person(first).left, Some(LeaveReason::DuplicateIdentity));
    world.assert_flows(&[doctor, second]);
    assert_eq!(world.person(doctor).departures, 1);
    assert_eq!(world.person(second).departures, 0, "it would take the record of its own identity for its own");
    assert_eq!(world.counters().peers, 2);
    let mark = world.sent.len();
    world.run(SECOND);
    assert_eq!(world.media_to(world.person(first).address, mark), 0);
}

#[test]
fn whoever_leaves_leaves_nothing_behind() {
    let mut world = World::new(73);
    let (doctor, patient) = pair(&mut world);
    let address = world.person(patient).address;
    world.leave(patient);
    let mark = world.sent.len();
    assert_eq!(world.person(patient).left, Some(LeaveReason::ClientInitiated));
    assert_eq!((world.counters().peers, world.counters().tracks), (1, 2));
    world.run(5 * SECOND);
    assert_eq!(world.media_to(address, mark), 0);
    assert_eq!(world.person(doctor).roster.len(), 1);

    world.leave(doctor);
    let counters = world.counters();
    assert_eq!((counters.peers, counters.tracks, counters.rooms), (0, 0, 1));
}

#[test]
fn an_empty_room_closes_after_its_departure_timeout() {
    let mut world = World::with(74, Rules { departure_timeout_s: 7, ..Rules::default() });
    let (doctor, patient) = pair(&mut world);
    world.leave(doctor);
    world.run(10 * SECOND);
    assert_eq!(world.counters().rooms, 1, "somebody is still there");
    world.leave(patient);
    world.run(6 * SECOND);
    assert_eq!(world.counters().rooms, 1);
    world.run(2 * SECOND);
    assert_eq!((world.counters().rooms, world.closed_rooms), (0, 1));
    assert_eq!(world.shard.poll_timeout(), None, "an empty relay sleeps");
}

#[test]
fn a_return_before_the_timeout_keeps_the_room() {
    let mut world = World::with(75, Rules { departure_timeout_s: 7, ..Rules::default() });
    let (doctor, patient) = pair(&mut world);
    world.leave(doctor);
    world.leave(patient);
    world.run(5 * SECOND);
    world.seat("doctor", Coming::default());
    world.run(20 * SECOND);
    assert_eq!(world.counters().rooms, 1);
}

#[test]
fn thirty_silent_seconds_end_the_stay() {
    let mut world = World::new(76);
    let (doctor, patient) = pair(&mut world);
    world.line(patient).up = Weather::DEAD;
    world.run(25 * SECOND);
    assert_eq!(world.counters().peers, 2, "not yet");
    assert!(world.count(patient, doctor, Kind::Audio, world.now - SECOND) > 40, "consent is still fresh");
    world.run(10 * SECOND);
    assert_eq!(world.person(patient).left, Some(LeaveReason::ConnectionTimeout));
    assert_eq!(world.counters().failures(FailureReason::ConsentExpired), 1);
    let mark = world.sent.len();
    world.run(5 * SECOND);
    assert_eq!(world.media_to(world.person(patient).address, mark), 0);
    assert_eq!(world.person(doctor).roster.len(), 1);
}

#[test]
fn silence_costs_nothing_and_may_last_as_long_as_the_operator_allows() {
    let mut world = World::with(82, Rules { resume_window: 90 * SECOND, ..Rules::default() });
    let (doctor, patient) = pair(&mut world);
    world.leave(doctor);
    world.line(patient).up = Weather::DEAD;
    world.run(40 * SECOND);
    let (mark, wakeups) = (world.sent.len(), world.wakeups);
    world.run(45 * SECOND);
    assert_eq!(world.counters().peers, 1, "the window is not over");
    assert_eq!(world.media_to(world.person(patient).address, mark), 0, "nothing is sent without consent");
    let woken = world.wakeups - wakeups;
    assert!(woken <= 45, "at most once a second: {woken}");
    world.run(10 * SECOND);
    assert_eq!(world.counters().peers, 0);
}

#[test]
fn who_never_connects_is_sent_away() {
    let mut world = World::with(77, Rules { connect_within: 12 * SECOND, ..Rules::default() });
    let doctor = world.seat("doctor", Coming::default());
    let lost = world.join("patient", Coming { mute_line: true, ..Coming::default() });
    world.run(11 * SECOND);
    assert_eq!(world.counters().peers, 2);
    world.run(2 * SECOND);
    assert_eq!(world.person(lost).left, Some(LeaveReason::ConnectionTimeout));
    assert_eq!(world.counters().failures(FailureReason::IceTimeout), 1);
    assert_eq!(world.counters().peers, 1);
    assert!(world.person(doctor).left.is_none());
}

#[test]
fn a_socket_lost_before_media_came_up_ends_the_stay() {
    let mut world = World::new(78);
    let lost = world.join("patient", Coming { mute_line: true, ..Coming::default() });
    world.lose_socket(lost);
    assert_eq!(world.counters().peers, 0);
}

#[test]
fn a_room_that_is_deleted_sends_everybody_away() {
    let mut world = World::new(79);
    let (doctor, patient) = pair(&mut world);
    assert!(matches!(world.admin("consultation", AdminAction::DeleteRoom), Ok(AdminReply::Done)));
    let mark = world.sent.len();
    for who in [doctor, patient] {
        assert_eq!(world.person(who).left, Some(LeaveReason::RoomDeleted));
    }
    assert_eq!((world.counters().rooms, world.counters().peers, world.counters().tracks), (0, 0, 0));
    world.run(5 * SECOND);
    assert_eq!(world.sent.iter().skip(mark).filter(|left| left.is_media()).count(), 0);
}

#[test]
fn who_is_removed_is_gone_for_the_next_datagram() {
    let mut world = World::new(80);
    let (doctor, patient) = pair(&mut world);
    assert!(world.admin("consultation", AdminAction::RemoveParticipant(Identity::new("patient"))).is_ok());
    let mark = world.sent.len();
    world.run(3 * SECOND);
    assert_eq!(world.person(patient).left, Some(LeaveReason::ParticipantRemoved));
    assert_eq!(world.media_to(world.person(patient).address, mark), 0);
    let heard = world.person(doctor).received.iter().filter(|one| one.left > mark as u64).count();
    assert_eq!(heard, 0);
}

#[test]
fn a_goodbye_of_the_transport_is_a_leave() {
    let mut world = World::new(81);
    let (doctor, patient) = pair(&mut world);
    world.act(patient, |person| person.rtc.close().expect("closing is allowed"));
    world.run(SECOND);
    assert_eq!(world.counters().peers, 1);
    assert_eq!(world.counters().failures(FailureReason::DtlsClosed), 1);
    assert!(world.person(doctor).left.is_none());
}

#[test]
fn requests_with_another_session_do_nothing() {
    let mut world = World::new(82);
    let (doctor, patient) = pair(&mut world);
    let participant = world.person(patient).sid.clone().expect("joined");
    let request = Request::Leave(LeaveReason::ClientInitiated);
    world.command(Command::Request { room: room("consultation"), participant, session: SessionId(999), request });
    world.assert_flows(&[doctor, patient]);
}
