//! Data messages in the real envelope: to all or some, with the true sender on them.

use crate::world::World;
use crate::world::net::Weather;
use crate::world::person::Coming;
use colloque::relay::command::{AdminAction, AdminReply};
use livekit_protocol::data_packet::Value;
use livekit_protocol::{DataPacket, UserPacket};
use prost::Message;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A user's message; it claims to come from somebody else.
pub(crate) fn packet(text: &str) -> Vec<u8> {
    let user = UserPacket { payload: text.as_bytes().to_vec(), ..UserPacket::default() };
    let claimed = "somebody-else".to_owned();
    DataPacket { participant_identity: claimed, value: Some(Value::User(user)), ..DataPacket::default() }.encode_to_vec()
}

fn to(text: &str, destination: &str) -> Vec<u8> {
    let mut whole = DataPacket::decode(packet(text).as_slice()).expect("our own");
    whole.destination_identities = vec![destination.to_owned()];
    whole.encode_to_vec()
}

/// Channel, sender and text of everything a person got.
fn heard(world: &World, who: crate::world::Who) -> Vec<(String, String, String)> {
    let read = |(label, bytes): &(String, Vec<u8>)| {
        let packet = DataPacket::decode(bytes.as_slice()).expect("a data packet");
        let Some(Value::User(user)) = packet.value else { panic!("a user's message") };
        (label.clone(), packet.participant_identity, String::from_utf8(user.payload).expect("text"))
    };
    world.person(who).messages.iter().map(read).collect()
}

fn line(label: &str, from: &str, text: &str) -> (String, String, String) {
    (label.to_owned(), from.to_owned(), text.to_owned())
}

#[test]
fn messages_reach_the_others_on_both_channels_with_the_true_sender() {
    let mut world = World::new(20);
    let doctor = world.seat("doctor", Coming::default());
    let patient = world.seat("patient", Coming::default());
    let nurse = world.seat("nurse", Coming::viewer());
    world.run(2 * SECOND);
    assert!(world.act(doctor, |person| person.send_data("_reliable", &packet("certain"))));
    assert!(world.act(doctor, |person| person.send_data("_lossy", &packet("perhaps"))));
    assert!(world.act(nurse, |person| person.send_data("_reliable", &to("between us", "doctor"))));
    world.run(SECOND);

    let both = [line("_reliable", "doctor", "certain"), line("_lossy", "doctor", "perhaps")];
    for who in [patient, nurse] {
        let mut heard = heard(&world, who);
        heard.sort_by_key(|(label, ..)| label == "_lossy");
        assert_eq!(heard, both);
    }
    assert_eq!(heard(&world, doctor), [line("_reliable", "nurse", "between us")]);
}

#[test]
fn reliable_messages_survive_a_bad_line_in_order() {
    let mut world = World::new(21);
    let (doctor, patient) = (world.seat("doctor", Coming::viewer()), world.seat("patient", Coming::viewer()));
    world.run(2 * SECOND);
    world.line(patient).down = Weather::losing(0.2);
    world.line(doctor).up = Weather { jitter: SECOND / 50, twice: 0.1, ..Weather::losing(0.1) };
    let texts: Vec<String> = (0..40).map(|n| format!("line {n}")).collect();
    for text in &texts {
        assert!(world.act(doctor, |person| person.send_data("_reliable", &packet(text))));
        world.run(SECOND / 10);
    }
    world.run(20 * SECOND);
    let heard: Vec<String> = heard(&world, patient).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(heard, texts);
}

#[test]
fn what_is_no_envelope_is_dropped_and_the_call_goes_on() {
    let mut world = World::new(22);
    let (doctor, patient) = (world.seat("doctor", Coming::default()), world.seat("patient", Coming::default()));
    world.run(2 * SECOND);
    for message in [&[0xff; 40][..], b"\x12", b"\x12\xff\xff\xff\xff\x0f", b"\x00"] {
        assert!(world.act(doctor, |person| person.send_data("_reliable", message)));
    }
    world.run(SECOND);
    assert_eq!(heard(&world, patient), []);
    assert_eq!(world.drops(colloque::model::counters::DropReason::BadData), 4);
    world.assert_flows(&[doctor, patient]);
}

#[test]
fn a_newcomer_hears_what_was_said_since_it_came_and_nothing_from_before() {
    let mut world = World::new(27);
    let doctor = world.seat("doctor", Coming::viewer());
    world.run(2 * SECOND);
    assert!(world.act(doctor, |person| person.send_data("_reliable", &packet("before"))));
    world.run(SECOND / 5);
    let patient = world.seat("patient", Coming::viewer());
    assert!(world.act(doctor, |person| person.send_data("_reliable", &packet("while the channel opens"))));
    world.run(3 * SECOND);
    assert_eq!(heard(&world, patient), [line("_reliable", "doctor", "while the channel opens")]);
}

#[test]
fn a_message_the_platform_repeats_is_read_once() {
    let mut world = World::new(28);
    let patient = world.seat("patient", Coming::viewer());
    world.run(2 * SECOND);
    let send = |nonce| AdminAction::SendData {
        message: colloque::model::roster::Message(packet("please wait").into()),
        reliable: true,
        destinations: Vec::new(),
        nonce,
    };
    for nonce in [Some([1; 16]), Some([1; 16]), Some([2; 16]), None, None] {
        assert!(matches!(world.admin("consultation", send(nonce)), Ok(AdminReply::Done)));
    }
    world.run(SECOND);
    assert_eq!(heard(&world, patient).len(), 4);
    world.run(31 * SECOND);
    assert!(world.admin("consultation", send(Some([1; 16]))).is_ok());
    world.run(SECOND);
    assert_eq!(heard(&world, patient).len(), 5, "after half a minute it is a new message");
}
