//! The doors over real sockets on loopback, with a recorder in the relay's place.
#![expect(clippy::unwrap_in_result, clippy::wildcard_enum_match_arm, reason = "a recorder names only what it looks at")]

use super::*;
use crate::auth::{Claims, Key, KeyRing, Revocations, RoomPolicy, VideoClaims};
use crate::model::roster::{ClientFacts, LeaveAction, LeaveReason, Participant, ParticipantState, RoomFacts, Text};
use crate::model::{ParticipantSid, RoomSid, TenantId};
use crate::relay::command::{AdminAction, AdminReply, Busy, Command, Join, Relay, Request as Asked};
use crate::relay::event::{Event, EventSink, Joined, Refusal};
use crate::signal::livekit::DoorConfig;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use prost::Message as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};
use zeroize::Zeroizing;

const NOW_S: u64 = 1_795_310_613;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Writes down what it is sent; accepts or refuses joins as told.
struct Recorder {
    seen: mpsc::UnboundedSender<Command>,
    refusal: Mutex<Option<Refusal>>,
    sinks: Mutex<Vec<Box<dyn EventSink>>>,
    ready: AtomicBool,
}

impl Relay for Recorder {
    fn send(&self, command: Command) -> Result<(), Busy> {
        let command = match command {
            Command::Join(mut join) => {
                let event = match *self.refusal.lock().unwrap() {
                    Some(refusal) => Event::Rejected(refusal),
                    None => accepted(&join),
                };
                join.events.push(event).expect("an empty queue");
                let events = std::mem::replace(&mut join.events, Box::new(Nowhere));
                self.sinks.lock().unwrap().push(events);
                Command::Join(join)
            }
            Command::Resume(mut resume) => {
                resume.events.push(Event::Rejected(Refusal::UnknownSession)).expect("an empty queue");
                Command::Resume(resume)
            }
            Command::Admin { room, action, reply } => {
                let answer = match action {
                    AdminAction::CreateRoom(..) => Ok(AdminReply::Room(facts())),
                    AdminAction::DeleteRoom => Err(Refusal::NoSuchRoom),
                    _ => Ok(AdminReply::Done),
                };
                (reply.0)(answer);
                Command::Admin { room, action, reply: crate::relay::command::Reply(Box::new(|_| {})) }
            }
            Command::ListRooms { tenant, names, reply } => {
                (reply.0)(vec![facts()]);
                (reply.0)(vec![facts()]);
                return self.seen.send(Command::Shutdown).map_err(|_| drop((tenant, names))).map_err(|()| Busy);
            }
            other => other,
        };
        self.seen.send(command).map_err(|_| Busy)
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn shards(&self) -> usize {
        1
    }
}

#[derive(Debug)]
struct Nowhere;

impl EventSink for Nowhere {
    fn push(&mut self, _: Event) -> Result<(), crate::relay::event::Gone> {
        Err(crate::relay::event::Gone)
    }
}

fn facts() -> RoomFacts {
    RoomFacts {
        sid: RoomSid::new("RM_1"),
        name: crate::model::RoomName::new("consult-1"),
        metadata: Text::default(),
        opened_at_ms: NOW_S * 1_000,
        participants: 1,
        publishers: 0,
        max_participants: 0,
        empty_timeout_s: 300,
        departure_timeout_s: 20,
    }
}

fn accepted(join: &Join) -> Event {
    let participant = Participant {
        sid: ParticipantSid::new("PA_1"),
        identity: join.identity.clone(),
        name: join.name.0.clone(),
        metadata: join.metadata.0.clone(),
        attributes: join.attributes.0.clone(),
        state: ParticipantState::Joined,
        permissions: join.permissions.clone(),
        tracks: Vec::new(),
        joined_at_ms: NOW_S * 1_000,
        version: 1,
        kind: join.kind,
        client: ClientFacts::default(),
        left: None,
    };
    Event::Joined(Box::new(Joined {
        participant: Arc::new(participant),
        others: Vec::new(),
        room: facts(),
        receives_first: false,
        offers_now: true,
    }))
}

struct Node {
    address: SocketAddr,
    relay: Arc<Recorder>,
    seen: mpsc::UnboundedReceiver<Command>,
}

fn key(id: &str, policy: RoomPolicy) -> Key {
    Key::shared(id, TenantId::new("clinic"), policy, &Zeroizing::new(SECRET.to_owned())).expect("a good key")
}

async fn node() -> Node {
    node_with(HttpLimits::default(), DoorConfig::default()).await
}

async fn node_with(limits: HttpLimits, config: DoorConfig) -> Node {
    node_at(limits, config, Arc::new(|| NOW_S * 1_000)).await
}

async fn node_at(limits: HttpLimits, config: DoorConfig, wall_ms: Arc<dyn Fn() -> u64 + Send + Sync>) -> Node {
    let (sender, seen) = mpsc::unbounded_channel();
    let (refusal, sinks) = (Mutex::new(None), Mutex::new(Vec::new()));
    let relay = Arc::new(Recorder { seen: sender, refusal, sinks, ready: AtomicBool::new(true) });
    let keys = Arc::new(KeyRing::new([key("open", RoomPolicy::Open), key("strict", RoomPolicy::Consultation)]).unwrap());
    let revocations = Arc::new(Mutex::new(Revocations::default()));
    let as_relay: Arc<dyn Relay> = relay.clone();
    let door = Door::new(as_relay.clone(), keys.clone(), revocations.clone(), config, wall_ms.clone());
    let state = HttpState {
        door: Arc::new(door),
        v1: V1 {
            relay: as_relay.clone(),
            keys: keys.clone(),
            revocations: revocations.clone(),
            wall_ms: wall_ms.clone(),
            register: Arc::default(),
            ledger: Arc::new(v1::NoLedger),
            witness: Arc::new(crate::auth::Nobody),
            scribe: Arc::new(crate::api::scribe::NoScribe),
            public_url: None,
        },
        rooms: RoomService {
            relay: as_relay.clone(),
            keys,
            revocations,
            register: Arc::default(),
            wall_ms,
            witness: Arc::new(crate::auth::Nobody),
            scribe: Arc::new(crate::api::scribe::NoScribe),
        },
        health: Health { relay: as_relay, metrics: Some(Arc::new(|| "colloque_up 1\n".to_owned())) },
        pages: Arc::new(Pages::default()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router(state), limits, std::future::pending()));
    Node { address, relay, seen }
}

fn claims() -> Claims {
    let video = VideoClaims { room_join: Some(true), room: Some("consult-1".into()), ..VideoClaims::default() };
    Claims { sub: Some("seat".into()), exp: Some(NOW_S + 600), nbf: Some(NOW_S), video: Some(video), ..Claims::default() }
}

fn admin() -> Claims {
    let video = VideoClaims {
        room_admin: Some(true),
        room_create: Some(true),
        room_list: Some(true),
        room: Some("consult-1".into()),
        ..VideoClaims::default()
    };
    Claims { sub: None, video: Some(video), ..claims() }
}

fn token(id: &str, claims: &Claims) -> String {
    key(id, RoomPolicy::Open).mint(claims).expect("a shared key")
}

fn join_request(request: &proto::JoinRequest) -> String {
    let wrapped = proto::WrappedJoinRequest { compression: 0, join_request: request.encode_to_vec() };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

fn rtc(path: &str, token: &str, join: &str) -> String {
    format!("{path}?access_token={token}&join_request={join}")
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends one request and reads until the server closes.
async fn ask(address: SocketAddr, target: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), answer.to_lowercase())
}

async fn open(node: &Node, target: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(node.address).await.unwrap();
    client_async(format!("ws://{}{target}", node.address), stream).await.expect("an upgrade").0
}

async fn message(socket: &mut WebSocketStream<TcpStream>) -> proto::signal_response::Message {
    loop {
        match socket.next().await.expect("a message").expect("a good frame") {
            Message::Binary(bytes) => return proto::SignalResponse::decode(bytes).unwrap().message.unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn close_code(socket: &mut WebSocketStream<TcpStream>) -> CloseCode {
    loop {
        if let Message::Close(Some(frame)) = socket.next().await.expect("a close").expect("a good frame") {
            return frame.code;
        }
    }
}

async fn asks(socket: &mut WebSocketStream<TcpStream>, case: proto::signal_request::Message) {
    let bytes = proto::SignalRequest { message: Some(case) }.encode_to_vec();
    socket.send(Message::Binary(bytes.into())).await.unwrap();
}

#[tokio::test]
async fn refusals_come_with_status_text_and_cors_before_the_upgrade() {
    let node = node().await;
    let good = join_request(&proto::JoinRequest::default());
    let owned = join_request(&proto::JoinRequest {
        participant_attributes: [("consultation.role".to_owned(), "doctor".to_owned())].into(),
        ..Default::default()
    });
    let own_metadata = VideoClaims { can_update_own_metadata: Some(true), ..claims().video.unwrap() };
    let may_update = token("open", &Claims { video: Some(own_metadata), ..claims() });
    let seat = token("open", &claims());
    let no_room = token("open", &Claims { video: Some(VideoClaims { room_join: Some(true), ..Default::default() }), ..claims() });
    let nobody = token("open", &Claims { sub: None, ..claims() });
    let cases = [
        ("no token", rtc("/rtc/v1", "", &good), 401, "permissions denied"),
        ("garbage token", rtc("/rtc/v1", "a.b.c", &good), 401, "invalid authorization token"),
        ("not a joining token", rtc("/rtc/v1", &token("open", &admin()), &good), 401, "permissions denied"),
        ("nobody", rtc("/rtc/v1", &nobody, &good), 400, "identity cannot be empty"),
        ("no room", rtc("/rtc/v1", &no_room, &good), 400, "no room name"),
        ("garbage join", rtc("/rtc/v1", &seat, "%25%25"), 400, "invalid join request"),
        ("no join", format!("/rtc/v1?access_token={seat}"), 400, "invalid join request"),
        ("owned attribute", rtc("/rtc/v1", &may_update, &owned), 401, "permissions denied"),
        ("no role", rtc("/rtc/v1", &token("strict", &claims()), &good), 403, "requires a role"),
        ("publish only", format!("/rtc?access_token={seat}&publish=screen"), 400, "only publish"),
        ("elsewhere", rtc("/rtc/v2", &seat, &good), 404, ""),
    ];
    for (name, target, status, text) in cases {
        for path in ["", "/validate"] {
            let target = target.replacen('?', &format!("{path}?"), 1);
            let (seen, answer) = ask(node.address, &target, UPGRADE).await;
            assert_eq!(seen, status, "{name}{path}");
            assert!(answer.contains(text), "{name}{path}: {answer}");
            assert!(answer.contains("access-control-allow-origin: *"), "{name}{path}");
        }
    }
    let (status, answer) = ask(node.address, &rtc("/rtc/v1/validate", &seat, &good), "Connection: close\r\n").await;
    assert_eq!((status, answer.ends_with("success")), (200, true), "positive control");
    let (status, _) = ask(node.address, &rtc("/rtc/v1", &seat, &good), "Authorization: Basic x\r\n").await;
    assert_eq!(status, 404, "not an upgrade");
    let bad_header = format!("Authorization: Basic x\r\n{UPGRADE}");
    assert_eq!(ask(node.address, &rtc("/rtc/v1", &seat, &good), &bad_header).await.0, 401, "the header wins");
    let odd = UPGRADE.replace("13", "8");
    assert_eq!(ask(node.address, &rtc("/rtc/v1", &seat, &good), &odd).await.0, 426);
}

#[tokio::test]
async fn a_full_room_is_told_before_the_upgrade_and_again_by_validation() {
    let node = node().await;
    let (seat, join) = (token("open", &claims()), join_request(&proto::JoinRequest::default()));
    *node.relay.refusal.lock().unwrap() = Some(Refusal::RoomFull);
    for path in ["/rtc/v1", "/rtc/v1/validate"] {
        let (status, answer) = ask(node.address, &rtc(path, &seat, &join), UPGRADE).await;
        assert_eq!((status, answer.ends_with("the room is full")), (403, true), "{path}");
    }
    node.relay.ready.store(false, Ordering::Relaxed);
    assert_eq!(ask(node.address, &rtc("/rtc/v1", &seat, &join), UPGRADE).await.0, 503);
}

#[tokio::test]
async fn a_session_joins_talks_and_is_missed_when_its_socket_drops() {
    let mut node = node().await;
    let offer = proto::SessionDescription { id: 0, sdp: "v=0".into(), ..Default::default() };
    let join = join_request(&proto::JoinRequest { publisher_offer: Some(offer), ..Default::default() });
    let mut socket = open(&node, &rtc("//rtc/v1", &token("open", &claims()), &join)).await;
    let proto::signal_response::Message::Join(joined) = message(&mut socket).await else { panic!("join comes first") };
    assert_eq!(joined.participant.unwrap().identity, "seat");
    let proto::signal_response::Message::RefreshToken(fresh) = message(&mut socket).await else { panic!("then a token") };
    let ring = KeyRing::new([key("open", RoomPolicy::Open)]).unwrap();
    assert!(ring.verify(&fresh, NOW_S).unwrap().video.room_join);
    let Some(Command::Join(sent)) = node.seen.recv().await else { panic!("a join") };
    assert_eq!(sent.offer.map(|offer| offer.id), Some(0));

    asks(&mut socket, proto::signal_request::Message::PingReq(proto::Ping { timestamp: 42, rtt: 1 })).await;
    let proto::signal_response::Message::PongResp(pong) = message(&mut socket).await else { panic!("a pong") };
    assert_eq!((pong.last_ping_timestamp, pong.timestamp), (42, (NOW_S * 1_000) as i64));

    let attributes = [("consultation.role".to_owned(), "doctor".to_owned())].into();
    let wish = proto::UpdateParticipantMetadata { attributes, request_id: 7, ..Default::default() };
    asks(&mut socket, proto::signal_request::Message::UpdateMetadata(wish)).await;
    let proto::signal_response::Message::RequestResponse(refused) = message(&mut socket).await else { panic!("an answer") };
    assert_eq!((refused.request_id, refused.reason), (7, proto::request_response::Reason::NotAllowed as i32));

    asks(&mut socket, proto::signal_request::Message::Mute(proto::MuteTrackRequest { sid: "TR_1".into(), muted: true })).await;
    let Some(Command::Request { request, .. }) = node.seen.recv().await else { panic!("a request") };
    assert!(matches!(request, Asked::Mute { muted: true, .. }), "the refused one never reached the shard");

    drop(socket);
    assert!(matches!(node.seen.recv().await, Some(Command::SocketClosed { .. })));
}

#[tokio::test]
async fn an_unknown_session_is_told_by_leave_after_the_upgrade() {
    let node = node().await;
    let join = join_request(&proto::JoinRequest { reconnect: true, ..Default::default() });
    let mut socket = open(&node, &rtc("/rtc/v1", &token("open", &claims()), &join)).await;
    let proto::signal_response::Message::Leave(leave) = message(&mut socket).await else { panic!("leave") };
    assert_eq!(leave.action, proto::leave_request::Action::Reconnect as i32);
    assert_eq!(close_code(&mut socket).await, CloseCode::Normal);
}

#[tokio::test]
async fn a_goodbye_is_out_before_the_socket_closes() {
    let mut node = node().await;
    let target = rtc("/rtc/v1", &token("open", &claims()), &join_request(&proto::JoinRequest::default()));
    let mut socket = open(&node, &target).await;
    message(&mut socket).await;
    message(&mut socket).await;
    let goodbye = Event::Leave { action: LeaveAction::Disconnect, reason: LeaveReason::RoomDeleted };
    node.relay.sinks.lock().unwrap()[0].push(goodbye).expect("a living session");
    let proto::signal_response::Message::Leave(leave) = message(&mut socket).await else { panic!("leave") };
    assert_eq!(leave.reason, proto::DisconnectReason::RoomDeleted as i32);
    assert_eq!(close_code(&mut socket).await, CloseCode::Normal);
    assert!(matches!(node.seen.recv().await, Some(Command::Join(_))));
    drop(node.relay);
    assert!(node.seen.try_recv().is_err(), "the shard ended it and is told nothing");
}

#[tokio::test]
async fn text_garbage_and_huge_frames_close_with_their_codes() {
    let node = node().await;
    let target = rtc("/rtc/v1", &token("open", &claims()), &join_request(&proto::JoinRequest::default()));
    let cases = [
        (Message::Text("{}".into()), CloseCode::Unsupported),
        (Message::Binary(vec![0xff; 64].into()), CloseCode::Protocol),
        (Message::Binary(vec![0; 16 * 1024 * 1024].into()), CloseCode::Size),
    ];
    for (bad, code) in cases {
        let mut socket = open(&node, &target).await;
        message(&mut socket).await;
        // The server may answer before it has read all of it.
        let _ = socket.send(bad).await;
        assert_eq!(close_code(&mut socket).await, code);
    }
}

#[tokio::test]
async fn a_request_line_of_64_kb_is_read() {
    let node = node().await;
    let sdp = "v=0\r\n".repeat(9_200);
    let offer = proto::SessionDescription { sdp, ..Default::default() };
    let target = rtc(
        "/rtc/v1",
        &token("open", &claims()),
        &join_request(&proto::JoinRequest { publisher_offer: Some(offer), ..Default::default() }),
    );
    assert!((61_000..65_000).contains(&target.len()), "{}", target.len());
    let padded = format!("{target}&x={}", "y".repeat(64_000 - target.len().min(63_990)));
    assert_eq!(ask(node.address, &padded.replace("/rtc/v1", "/rtc/v1/validate"), "Connection: close\r\n").await.0, 200);
}

#[tokio::test]
async fn nothing_is_read_behind_a_failed_upgrade() {
    let node = node().await;
    let smuggled = format!("{UPGRADE}\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let (status, answer) = ask(node.address, "/rtc/v1?access_token=x", &smuggled).await;
    assert_eq!((status, answer.matches("http/1.1").count()), (401, 1), "one answer, then the end");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let limits = HttpLimits { header_timeout: Duration::from_millis(50), ..HttpLimits::default() };
    let node = node_with(limits, DoorConfig::default()).await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn sockets_of_one_address_have_a_bound() {
    let config = DoorConfig { sockets_per_address: 1, ..DoorConfig::default() };
    let node = node_with(HttpLimits::default(), config).await;
    let target = rtc("/rtc/v1", &token("open", &claims()), &join_request(&proto::JoinRequest::default()));
    let mut first = open(&node, &target).await;
    message(&mut first).await;
    assert_eq!(ask(node.address, &target, UPGRADE).await.0, 429);
}

async fn twirp(node: &Node, method: &str, token: &str, content_type: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "POST /twirp/livekit.RoomService/{method} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, answer[end + 4..].to_vec())
}

#[tokio::test]
async fn the_room_service_speaks_both_forms() {
    let node = node().await;
    let admin = token("open", &admin());
    let (status, head, body) = twirp(
        &node,
        "CreateRoom",
        &admin,
        "application/json;charset=UTF-8",
        br#"{"name":"consult-1","emptyTimeout":60,"novel":1}"#,
    )
    .await;
    assert_eq!((status, head.contains("content-type: application/json")), (200, true));
    let room: proto::Room = serde_json::from_slice(&body).unwrap();
    assert_eq!(room.name, "consult-1");
    let (status, _, body) = twirp(&node, "ListRooms", &admin, "application/protobuf", &[]).await;
    assert_eq!((status, proto::ListRoomsResponse::decode(body.as_slice()).unwrap().rooms.len()), (200, 2), "every shard's part");
    let ask = proto::DeleteRoomRequest { room: "consult-1".into() }.encode_to_vec();
    let (status, head, body) = twirp(&node, "DeleteRoom", &admin, "application/protobuf", &ask).await;
    assert!(head.contains("content-type: application/json\r\n") || head.ends_with("application/json"), "{head}");
    assert_eq!((status, String::from_utf8(body).unwrap().contains("requested room does not exist")), (404, true));
}

#[tokio::test]
async fn the_room_service_refuses_what_is_not_granted_or_not_sound() {
    let mut node = node().await;
    let (admin, seat) = (token("open", &admin()), token("open", &claims()));
    let json = "application/json";
    let cases: [(&str, &str, &str, &[u8], u16); 11] = [
        ("CreateRoom", &seat, json, br#"{"name":"x"}"#, 401),
        ("ListParticipants", &admin, json, br#"{"room":"another"}"#, 401),
        ("ListParticipants", "", json, br#"{"room":"consult-1"}"#, 401),
        ("CreateRoom", &admin, json, b"{", 400),
        ("CreateRoom", &admin, json, b"{}", 400),
        ("CreateRoom", &admin, "text/plain", b"{}", 404),
        ("Explode", &admin, json, b"{}", 404),
        ("PerformRpc", &admin, json, b"{}", 501),
        ("MutePublishedTrack", &admin, json, br#"{"room":"consult-1","identity":"a","trackSid":"TR_1"}"#, 412),
        (
            "UpdateParticipant",
            &admin,
            json,
            br#"{"room":"consult-1","identity":"a","attributes":{"consultation.role":"doctor"}}"#,
            400,
        ),
        ("UpdateParticipant", &admin, json, br#"{"room":"consult-1","identity":"a","permission":{"hidden":true}}"#, 400),
    ];
    for (method, token, content_type, body, status) in cases {
        assert_eq!(twirp(&node, method, token, content_type, body).await.0, status, "{method} {}", String::from_utf8_lossy(body));
    }
    assert_eq!(twirp(&node, "CreateRoom", &admin, json, &vec![b' '; 10 * 1024 * 1024 + 1]).await.0, 413);
    assert!(node.seen.try_recv().is_err(), "nothing of it reached the relay");
}

#[tokio::test]
async fn a_removed_seat_does_not_come_back_with_its_token() {
    let node = node().await;
    let target = rtc("/rtc/v1/validate", &token("open", &claims()), &join_request(&proto::JoinRequest::default()));
    assert_eq!(ask(node.address, &target, "Connection: close\r\n").await.0, 200, "positive control");
    let body = br#"{"room":"consult-1","identity":"seat"}"#;
    assert_eq!(twirp(&node, "RemoveParticipant", &token("open", &admin()), "application/json", body).await.0, 200);
    assert_eq!(ask(node.address, &target, "Connection: close\r\n").await.0, 401);
}

#[tokio::test]
async fn a_busy_relay_names_the_time_to_come_back() {
    let mut node = node().await;
    let (seat, join) = (token("open", &claims()), join_request(&proto::JoinRequest::default()));
    node.seen.close();
    let (status, answer) = ask(node.address, &rtc("/rtc/v1", &seat, &join), UPGRADE).await;
    assert_eq!(status, 503, "the relay is open and takes nobody: {answer}");
    let (status, answer) = ask(node.address, &rtc("/rtc/v1/validate", &seat, ""), "Connection: close\r\n").await;
    assert_eq!((status, answer.ends_with("busy, try again in 5 s")), (503, true), "{answer}");
    assert!(answer.contains("\r\nretry-after: 5\r\n") && answer.contains("access-control-expose-headers: retry-after"));
    let other = Claims { sub: Some("another".into()), ..claims() };
    let target = rtc("/rtc/v1/validate", &token("open", &other), "");
    assert_eq!(ask(node.address, &target, "Connection: close\r\n").await.0, 200, "only who was refused is told so");

    let admin = token("open", &admin());
    let (status, head, body) = twirp(&node, "ListRooms", &admin, "application/protobuf", &[]).await;
    assert_eq!((status, String::from_utf8_lossy(&body).contains("\"code\":\"unavailable\"")), (503, true));
    assert!(head.contains("\r\nretry-after: 5"), "{head}");
}

#[tokio::test]
async fn health_metrics_and_the_page_have_their_answers() {
    let node = node().await;
    let close = "Connection: close\r\n";
    for (path, text) in [("/", "ok"), ("/healthz", "ok"), ("/readyz", "ok"), ("/metrics", "colloque_up 1\n")] {
        let (status, answer) = ask(node.address, path, close).await;
        assert_eq!((status, answer.ends_with(text)), (200, true), "{path}");
    }
    assert_eq!(ask(node.address, "/settings/regions", close).await.0, 404);
    node.relay.ready.store(false, Ordering::Relaxed);
    for path in ["/", "/readyz"] {
        let (status, answer) = ask(node.address, path, close).await;
        assert_eq!((status, answer.contains("\r\nretry-after: 5\r\n"), answer.ends_with("not ready")), (503, true, true));
    }
    assert_eq!(ask(node.address, "/healthz", close).await.0, 200);
}

#[test]
fn the_page_is_looked_up_and_sent_with_strict_headers() {
    let folder = std::env::temp_dir().join(format!("colloque-pages-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("assets")).unwrap();
    std::fs::write(folder.join("index.html"), "<!doctype html>").unwrap();
    std::fs::write(folder.join("assets/app-1.js"), "1").unwrap();
    let pages = Pages::read(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let index = pages.answer("/").expect("the page");
    let policy = index.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("object-src 'none'"));
    assert_eq!(index.headers()[header::CACHE_CONTROL], "no-cache");
    let script = pages.answer("/assets/app-1.js").expect("the script");
    assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
    assert!(pages.answer("/../Cargo.toml").is_none() && pages.answer("/assets").is_none());
}
