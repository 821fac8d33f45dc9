#![expect(clippy::unwrap_in_result, reason = "a test that cannot lock has failed")]

use super::*;
use crate::auth::{Claims, Key, RoomPolicy, VideoClaims};
use crate::model::roster::Attributes;
use crate::model::roster::{ClientFacts, ParticipantKind, ParticipantState, Permissions, RoomFacts};
use crate::model::{Identity, RoomName, RoomSid, TenantId, TrackSid};
use crate::relay::command::{Busy, Simulation};
use crate::relay::event::Joined;
use std::sync::Mutex;
use zeroize::Zeroizing;

const NOW_S: u64 = 1_800_000_000;

#[derive(Default)]
struct Recorder(Mutex<Vec<Command>>);

impl Relay for Recorder {
    fn send(&self, command: Command) -> Result<(), Busy> {
        self.0.lock().unwrap().push(command);
        Ok(())
    }

    fn ready(&self) -> bool {
        true
    }

    fn shards(&self) -> usize {
        1
    }
}

fn ring() -> KeyRing {
    let secret = Zeroizing::new("0123456789abcdef0123456789abcdef".to_owned());
    KeyRing::new([Key::shared("k", TenantId::new("t"), RoomPolicy::Open, &secret).unwrap()]).unwrap()
}

fn session(t0: Instant) -> (Session, Box<dyn EventSink>, Arc<Recorder>) {
    let ring = Arc::new(ring());
    let video = VideoClaims { room_join: Some(true), room: Some("r".into()), ..VideoClaims::default() };
    let attributes = Some([("consultation.role".to_owned(), "patient".to_owned())].into());
    let claims = Claims { sub: Some("seat".into()), exp: Some(NOW_S + 60), video: Some(video), attributes, ..Claims::default() };
    let token = ring.find("k").unwrap().mint(&claims).unwrap();
    let grants = ring.verify(&token, NOW_S).unwrap();
    let (sink, receiver) = queue();
    let relay = Arc::new(Recorder::default());
    (Session::new(SessionId(1), grants, relay.clone(), ring, receiver, t0), sink, relay)
}

fn own(metadata: &str) -> Arc<Participant> {
    Arc::new(Participant {
        sid: ParticipantSid::new("PA_1"),
        identity: Identity::new("seat"),
        name: "".into(),
        metadata: metadata.into(),
        attributes: [("consultation.state", "admitted"), ("x", "y")].map(|(key, value)| (key.into(), value.into())).into(),
        state: ParticipantState::Joined,
        permissions: Permissions {
            subscribe: true,
            publish: false,
            publish_data: true,
            sources: Vec::new(),
            update_own_metadata: false,
        },
        tracks: Vec::new(),
        joined_at_ms: 0,
        version: 1,
        kind: ParticipantKind::Standard,
        client: ClientFacts::default(),
        left: None,
    })
}

fn joined() -> Event {
    let room = RoomFacts {
        sid: RoomSid::new("RM_1"),
        name: RoomName::new("r"),
        metadata: Text::default(),
        opened_at_ms: 0,
        participants: 1,
        publishers: 0,
        max_participants: 0,
        empty_timeout_s: 0,
        departure_timeout_s: 0,
    };
    Event::Joined(Box::new(Joined { participant: own(""), others: Vec::new(), room, receives_first: false, offers_now: true }))
}

#[test]
fn a_fresh_token_comes_at_once_every_five_minutes_and_after_own_changes() {
    let t0 = Instant::now();
    let (mut session, _sink, _) = session(t0);
    assert!(session.poll_refresh(t0, NOW_S).is_none(), "nothing before the join");
    session.on_event(&joined(), t0);
    let token = session.poll_refresh(t0, NOW_S).expect("at once");
    let grants = ring().verify(&token, NOW_S).unwrap();
    assert!(!grants.video.permissions.publish, "the present permissions, not the token's");
    assert_eq!(grants.expires_at, NOW_S + 600, "ten minutes at least");
    let attributes: Vec<_> = grants.attributes.keys().map(String::as_str).collect();
    assert_eq!(attributes, ["consultation.role", "x"], "what the relay added is not signed");
    assert!(session.poll_refresh(t0 + REFRESH - Duration::from_secs(1), NOW_S).is_none());
    assert!(session.poll_refresh(t0 + REFRESH, NOW_S).is_some());
    session.on_event(&Event::Roster(vec![own("")]), t0 + REFRESH);
    assert!(session.poll_refresh(t0 + REFRESH, NOW_S).is_none(), "nothing changed");
    session.on_event(&Event::Roster(vec![own("new")]), t0 + REFRESH);
    assert!(session.poll_refresh(t0 + REFRESH, NOW_S).is_some());
}

#[test]
fn a_burst_is_allowed_and_then_the_rate_holds() {
    let t0 = Instant::now();
    let (mut session, _sink, _) = session(t0);
    for _ in 0..BURST {
        assert!(session.throttled_until(t0).is_none());
        session.count_message();
    }
    let until = session.throttled_until(t0).expect("used up");
    assert_eq!(until, t0 + Duration::from_millis(10));
    assert!(session.throttled_until(until).is_none());
    session.count_message();
    assert!(session.throttled_until(until).is_some(), "one each ten milliseconds");
}

#[test]
fn a_dropped_session_is_reported_even_if_its_acceptance_was_never_read() {
    let t0 = Instant::now();
    let (session, mut sink, relay) = session(t0);
    sink.push(joined()).unwrap();
    drop(session);
    assert!(matches!(relay.0.lock().unwrap().as_slice(), [Command::SocketClosed { .. }]));
    assert_eq!(sink.push(Event::Close), Err(Gone));
}

#[test]
fn a_goodbye_is_not_followed_by_a_lost_socket() {
    let t0 = Instant::now();
    let (mut session, _sink, relay) = session(t0);
    session.on_event(&joined(), t0);
    let leave = Request::Leave(crate::model::roster::LeaveReason::ClientInitiated);
    assert!(matches!(session.on_request(leave), Step::Send(_)));
    drop(session);
    assert!(relay.0.lock().unwrap().is_empty());
}

#[test]
fn a_full_queue_is_a_gone_session() {
    let (session, mut sink, _) = session(Instant::now());
    for _ in 0..QUEUE {
        sink.push(Event::TrackSubscribed(TrackSid::new("TR_1"))).unwrap();
    }
    assert_eq!(sink.push(Event::Close), Err(Gone));
    drop(session);
}

#[test]
fn faults_are_simulated_in_dev_mode_only() {
    let t0 = Instant::now();
    let (mut session, _sink, _) = session(t0);
    session.on_event(&joined(), t0);
    assert!(matches!(session.on_request(Request::Simulate(Simulation::CloseSocket)), Step::Nothing));
    let mut session = session.with_dev(true);
    assert!(matches!(session.on_request(Request::Simulate(Simulation::CloseSocket)), Step::Send(_)));
}

#[test]
fn oversized_wishes_are_answered_here() {
    let t0 = Instant::now();
    let (mut session, _sink, _) = session(t0);
    session.on_event(&joined(), t0);
    let request = Request::UpdateMetadata {
        request_id: 3,
        metadata: Text::default(),
        name: Text("n".repeat(MAX_NAME + 1).into()),
        attributes: Attributes::default(),
    };
    let Step::Answer(Event::Refused { request_id, refusal, .. }) = session.on_request(request) else { panic!("refused") };
    assert_eq!((request_id, refusal), (3, Refusal::LimitExceeded));
}
