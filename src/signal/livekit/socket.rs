//! One WebSocket after its upgrade: messages in and out, keep-alive, and an orderly end.
//!
//! The loop waits for the client, the shard and the clock at once. A client that asks too much is simply not read for a
//! while; one that does not read for ten seconds, or says nothing for thirty, has lost its socket and may resume.

use super::codec::{self, Incoming};
use super::http::Door;
use super::limits::Place;
use crate::relay::command::{Request, SyncState};
use crate::relay::event::Event;
use crate::signal::session::{Session, Step};
use crate::telemetry::metrics::Held;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use livekit_protocol as proto;
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Largest message of a client, in bytes, as the reference server has it.
/// Bytes read from a socket at a time.
const READ_BUFFER: usize = 4 * 1024;

const MAX_MESSAGE: usize = 2 * 1024 * 1024;

/// How long the upgrade may take once it is granted.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(10);

/// Between WebSocket pings, which keep proxies from closing an idle connection.
const PING: Duration = Duration::from_secs(10);

/// Silence after which the socket is dead: three of our pings unanswered.
const DEAD: Duration = Duration::from_secs(30);

/// How long one write may wait for the client to read.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long the client may take to answer a close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Events written with one flush.
const BATCH: usize = 32;

/// What a socket starts with.
pub(super) struct Start {
    pub(super) door: Arc<Door>,
    pub(super) session: Session,
    /// The event that accepted the session, or refuses it.
    pub(super) first: Event,
    pub(super) sync_state: Option<SyncState>,
    /// Held as long as the socket lives.
    pub(super) place: Option<Place>,
}

/// Why a socket ends.
enum End {
    /// The session is over; say goodbye properly.
    Close(CloseCode),
    /// The client broke the protocol; what it still sends is not parsed.
    Abort(CloseCode),
    /// Nobody is there any more.
    Lost,
}

/// Carries one socket from its upgrade to its end.
pub(super) async fn serve(upgrade: OnUpgrade, start: Start) {
    if let Ok(Ok(upgraded)) = timeout(UPGRADE_DEADLINE, upgrade).await {
        run(TokioIo::new(upgraded), start).await;
    }
}

/// Carries one socket over any byte stream.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(stream: S, start: Start) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .max_write_buffer_size(4 * MAX_MESSAGE)
        // The library's own 128 KiB each would be most of what a seat costs; messages are a few hundred bytes, a longer one grows it.
        .read_buffer_size(READ_BUFFER)
        // Nothing is held back: each message is flushed anyway.
        .write_buffer_size(0);
    let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let Start { door, session, first, sync_state, place } = start;
    let now = Instant::now();
    let counts = door.config.counts.clone();
    let held = Held::new(&counts, |doors| &doors.signal_sessions);
    let mut socket = Socket { stream, door, session, heard: now, ping_due: now + PING };
    let end = match socket.begin(first, sync_state).await {
        Ok(()) => socket.turn().await,
        Err(end) => end,
    };
    if matches!(end, End::Abort(_)) {
        counts.signal_refused.up();
    }
    socket.finish(end).await;
    drop((place, held));
}

struct Socket<S> {
    stream: WebSocketStream<S>,
    door: Arc<Door>,
    session: Session,
    heard: Instant,
    ping_due: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Sends the first message before anything of the client is read: nothing may come before `join` or `reconnect`.
    async fn begin(&mut self, first: Event, sync_state: Option<SyncState>) -> Result<(), End> {
        self.write_events(first).await?;
        if let Some(state) = sync_state {
            self.on_request(Request::SyncState(state)).await?;
        }
        Ok(())
    }

    async fn turn(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.on_time(now).await?;
        let throttled = self.session.throttled_until(now.into_std().into()).map(on_runtime);
        let refresh = self.session.refresh_due().map(on_runtime);
        let wake = [throttled, refresh].into_iter().flatten().fold(self.ping_due.min(self.heard + DEAD), Instant::min);
        tokio::select! {
            event = self.session.next_event() => match event {
                Some(event) => self.write_events(event).await,
                // The shard gave up on a session that did not read; the client resumes.
                None => Err(End::Close(CloseCode::Again)),
            },
            message = self.stream.next(), if throttled.is_none() => self.on_message(message).await,
            () = sleep_until(wake) => Ok(()),
        }
    }

    async fn on_time(&mut self, now: Instant) -> Result<(), End> {
        if now >= self.heard + DEAD {
            return Err(End::Lost);
        }
        if now >= self.ping_due {
            self.ping_due = now + PING;
            self.write([Message::Ping(bytes::Bytes::new())]).await?;
        }
        let now_s = self.door.now_ms() / 1_000;
        match self.session.poll_refresh(now.into_std().into(), now_s) {
            Some(token) => self.answer(&codec::refresh(token)).await,
            None => Ok(()),
        }
    }

    async fn on_message(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        self.heard = Instant::now();
        self.session.count_message();
        self.door.config.counts.signal_in.up();
        match message {
            Some(Ok(Message::Binary(bytes))) => match codec::decode(&bytes) {
                Ok(incoming) => self.on_incoming(incoming).await,
                Err(codec::BadMessage) => Err(End::Abort(CloseCode::Protocol)),
            },
            Some(Ok(Message::Text(_))) => Err(End::Abort(CloseCode::Unsupported)),
            Some(Ok(Message::Ping(_))) => self.write([]).await,
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Close(_))) => Err(End::Close(CloseCode::Normal)),
            Some(Err(Error::Capacity(_))) => Err(End::Abort(CloseCode::Size)),
            Some(Err(Error::Utf8(_))) => Err(End::Abort(CloseCode::Invalid)),
            Some(Err(Error::Protocol(_))) => Err(End::Abort(CloseCode::Protocol)),
            Some(Err(_)) | None => Err(End::Lost),
        }
    }

    async fn on_incoming(&mut self, incoming: Incoming) -> Result<(), End> {
        match incoming {
            Incoming::Ping => self.answer(&codec::pong(self.door.now_ms())).await,
            Incoming::PingRequest(timestamp) => self.answer(&codec::pong_response(timestamp, self.door.now_ms())).await,
            Incoming::UnsupportedTrack(track) => self.answer(&codec::unsupported_track(*track)).await,
            Incoming::Request(request) => self.on_request(request).await,
            Incoming::Ignored => Ok(()),
        }
    }

    async fn on_request(&mut self, request: Request) -> Result<(), End> {
        match self.session.on_request(request) {
            // A request that is lost would leave the client waiting; a new socket tells it to try again.
            Step::Send(command) => self.door.relay.send(command).map_err(|_| {
                self.door.config.counts.busy.up();
                End::Close(CloseCode::Again)
            }),
            Step::Answer(event) => self.write_event(&event).await,
            Step::Nothing => Ok(()),
        }
    }

    /// Writes an event and those that already wait behind it, with one flush.
    async fn write_events(&mut self, first: Event) -> Result<(), End> {
        let mut messages = Vec::new();
        let mut receipt = None;
        let mut next = Some(first);
        while let Some(event) = next {
            self.session.on_event(&event, Instant::now().into_std().into());
            if let Event::Receipt(ticket) = event {
                receipt = Some(ticket);
            }
            messages.extend(codec::encode(&event, &self.door.config.greeting).map(|response| binary(&response)));
            if matches!(event, Event::Leave { .. } | Event::Close | Event::Rejected(_)) {
                // The goodbye must be out before the close: a close alone makes clients resume.
                self.write(messages).await?;
                return Err(End::Close(CloseCode::Normal));
            }
            next = if messages.len() < BATCH { self.session.waiting_event() } else { None };
        }
        self.write(messages).await?;
        match receipt {
            Some(ticket) => self.on_request(Request::Written(ticket)).await,
            None => Ok(()),
        }
    }

    async fn write_event(&mut self, event: &Event) -> Result<(), End> {
        match codec::encode(event, &self.door.config.greeting) {
            Some(response) => self.answer(&response).await,
            None => Ok(()),
        }
    }

    async fn answer(&mut self, response: &proto::SignalResponse) -> Result<(), End> {
        self.write([binary(response)]).await
    }

    async fn write(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let writing = async {
            for message in messages {
                self.door.config.counts.signal_out.up();
                self.stream.feed(message).await?;
            }
            self.stream.flush().await
        };
        match timeout(WRITE_DEADLINE, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Lost),
        }
    }

    /// Ends the socket. The session is told first: the shard need not wait for a slow goodbye.
    async fn finish(self, end: End) {
        let Self { mut stream, session, .. } = self;
        drop(session);
        let (code, parse) = match end {
            End::Close(code) => (code, true),
            End::Abort(code) => (code, false),
            End::Lost => return,
        };
        let goodbye = async {
            // Fails when the client closed first, whose frame is then answered by the flush.
            let _ = stream.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
            let _ = stream.flush().await;
            if parse {
                while let Some(Ok(_)) = stream.next().await {}
            } else {
                // Closing with unread bytes would reset the connection and lose the close frame on its way.
                let mut scratch = [0; 16 * 1024];
                while stream.get_mut().read(&mut scratch).await.is_ok_and(|read| read > 0) {}
            }
        };
        let _ = timeout(CLOSE_DEADLINE, goodbye).await;
    }
}

fn binary(response: &proto::SignalResponse) -> Message {
    Message::Binary(response.encode_to_vec().into())
}

/// A moment of the house on the runtime's clock, which tests can stop.
fn on_runtime(at: crate::model::Instant) -> Instant {
    Instant::from_std(at.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Claims, Key, KeyRing, Revocations, RoomPolicy, VideoClaims};
    use crate::model::roster::{LeaveAction, LeaveReason};
    use crate::model::{SessionId, TenantId};
    use crate::relay::command::{Busy, Command, Relay};
    use crate::relay::event::EventSink;
    use crate::signal::livekit::DoorConfig;
    use crate::signal::session::queue;
    use std::sync::Mutex;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use zeroize::Zeroizing;

    struct Nobody;

    impl Relay for Nobody {
        fn send(&self, _: Command) -> Result<(), Busy> {
            Ok(())
        }

        fn ready(&self) -> bool {
            true
        }

        fn shards(&self) -> usize {
            1
        }
    }

    /// A socket in virtual time, its client's end and its shard's end.
    fn socket(buffer: usize) -> (impl Future<Output = ()>, DuplexStream, Box<dyn EventSink>) {
        let (relay, secret) = (Arc::new(Nobody), Zeroizing::new("0123456789abcdef0123456789abcdef".to_owned()));
        let key = Key::shared("k", TenantId::new("t"), RoomPolicy::Open, &secret).unwrap();
        let keys = Arc::new(KeyRing::new([key]).unwrap());
        let video = VideoClaims { room_join: Some(true), room: Some("r".into()), ..VideoClaims::default() };
        let claims = Claims { sub: Some("seat".into()), exp: Some(60), video: Some(video), ..Claims::default() };
        let grants = keys.verify(&keys.find("k").unwrap().mint(&claims).unwrap(), 0).unwrap();
        let (sink, events) = queue();
        let now = Instant::now().into_std();
        let session = Session::new(SessionId(1), grants, relay.clone(), keys.clone(), events, now.into());
        let revoked = Arc::new(Mutex::new(Revocations::default()));
        let door = Arc::new(Door::new(relay, keys, revoked, DoorConfig::default(), Arc::new(|| 0)));
        let first = Event::Acknowledged { request_id: 1 };
        let (ours, theirs) = duplex(buffer);
        (run(ours, Start { door, session, first, sync_state: None, place: None }), theirs, sink)
    }

    async fn read_all(mut client: DuplexStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_pinged_and_then_given_up() {
        let (running, client, _sink) = socket(4_096);
        let t0 = Instant::now();
        let (bytes, ()) = tokio::join!(read_all(client), running);
        assert_eq!(t0.elapsed(), DEAD);
        let pings = bytes.windows(2).filter(|frame| *frame == [0x89, 0x00]).count();
        assert_eq!(pings, 2, "at 10 and 20 seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_pings_stays() {
        let (running, mut client, mut sink) = socket(4_096);
        let t0 = Instant::now();
        let answering = async {
            for _ in 0..12 {
                tokio::time::sleep(PING).await;
                // A masked pong, as RFC 6455 section 5.5.3 has it.
                client.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
            }
            sink.push(Event::Leave { action: LeaveAction::Disconnect, reason: LeaveReason::RoomDeleted }).unwrap();
            read_all(client).await
        };
        let (_, ()) = tokio::join!(answering, running);
        assert!(t0.elapsed() >= 12 * PING && t0.elapsed() <= 12 * PING + CLOSE_DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_loses_its_socket() {
        let (running, client, mut sink) = socket(64);
        let t0 = Instant::now();
        for _ in 0..100 {
            sink.push(Event::Acknowledged { request_id: u32::MAX }).unwrap();
        }
        running.await;
        assert_eq!(t0.elapsed(), WRITE_DEADLINE);
        drop(client);
        assert!(sink.push(Event::Close).is_err(), "the shard learns of it");
    }
}
