//! The WebSocket of one client: a task that turns messages into news for the client's thread.
//!
//! It answers to nothing but pings; what a message means is the client's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crossbeam_channel::{Sender, TrySendError};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as lk;
use livekit_protocol::signal_request::Message as Up;
use livekit_protocol::signal_response::Message as Down;
use mio::Waker;
use prost::Message as _;
use rustls::{ClientConfig, RootCertStore};
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, RETRY_AFTER};
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

/// As the browser SDK allows for the upgrade.
const UPGRADE: Duration = Duration::from_secs(15);
/// As the SDKs ping where the server names no interval.
const PING: Duration = Duration::from_secs(5);
/// Longest piece of a refusal's body in a report.
const TEXT: usize = 160;
/// Messages on their way up; a client sends a dozen at its join and then few.
pub(crate) const OUTWARD: usize = 256;

/// What the thread tells the task.
#[derive(Debug)]
pub(crate) enum Outward {
    Say(Box<Up>),
    /// Say it and close.
    Bye,
    /// Drop the connection without a word.
    Cut,
}

/// What the task tells the thread.
#[derive(Debug)]
pub(crate) enum News {
    Heard(Box<Down>),
    Refused(Refusal),
    Closed,
}

/// Why a connection was not had.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) text: String,
}

/// Where news go: the queue of a thread and what wakes it.
#[derive(Clone)]
pub(crate) struct Inbox {
    pub(crate) queue: Sender<Letter>,
    pub(crate) waker: Arc<Waker>,
}

/// News for a client; the generation tells those of an older connection.
pub(crate) struct Letter {
    pub(crate) slot: usize,
    pub(crate) generation: u32,
    pub(crate) news: News,
}

/// One connection to make.
pub(crate) struct Call {
    pub(crate) slot: usize,
    pub(crate) generation: u32,
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) join: lk::JoinRequest,
}

impl Call {
    fn address(&self) -> String {
        let base = self.url.trim_end_matches('/');
        let base = match base.split_once("://") {
            Some(("http", rest)) => format!("ws://{rest}"),
            Some(("https", rest)) => format!("wss://{rest}"),
            _ => base.to_owned(),
        };
        format!("{base}/rtc/v1?join_request={}", wrap(&self.join))
    }

    fn request(&self) -> Result<http::Request<()>, Refusal> {
        let unreadable = || Refusal { text: "unreadable URL".to_owned(), ..Refusal::default() };
        let mut request = self.address().into_client_request().map_err(|_| unreadable())?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", self.token));
        let bearer = bearer.map_err(|_| Refusal { text: "unreadable token".to_owned(), ..Refusal::default() })?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        Ok(request)
    }
}

fn wrap(join: &lk::JoinRequest) -> String {
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let packed = zip.write_all(&join.encode_to_vec()).and_then(|()| zip.finish()).unwrap_or_default();
    let compression = lk::wrapped_join_request::Compression::Gzip.into();
    URL_SAFE_NO_PAD.encode(lk::WrappedJoinRequest { compression, join_request: packed }.encode_to_vec())
}

/// Connects and carries messages until either side ends it.
pub(crate) async fn run(call: Call, mut commands: mpsc::Receiver<Outward>, inbox: Inbox) {
    let news = match connect(&call).await {
        Ok(socket) => {
            carry(&call, socket, &mut commands, &inbox).await;
            News::Closed
        }
        Err(refusal) => News::Refused(refusal),
    };
    tell(&call, &inbox, news).await;
}

async fn tell(call: &Call, inbox: &Inbox, news: News) {
    let mut letter = Letter { slot: call.slot, generation: call.generation, news };
    loop {
        match inbox.queue.try_send(letter) {
            Ok(()) => break,
            Err(TrySendError::Full(back)) => {
                letter = back;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
    // A thread that is gone needs no waking.
    let _ = inbox.waker.wake();
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// TLS with the roots of the system, which are read once; none leaves `wss` to the library's own.
fn connector() -> Option<Connector> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
        Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    };
    CONFIG.get_or_init(make).clone().map(Connector::Rustls)
}

async fn connect(call: &Call) -> Result<Socket, Refusal> {
    let request = call.request()?;
    match timeout(UPGRADE, connect_async_tls_with_config(request, None, false, connector())).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(refusal(error)),
        Err(_) => Err(Refusal { text: "no answer to the upgrade in 15 s".to_owned(), ..Refusal::default() }),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "errors of the library that need no words of their own")]
fn refusal(error: Error) -> Refusal {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let retry = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let body: String = body.trim().chars().filter(|letter| !letter.is_control()).take(TEXT).collect();
            let text = if body.is_empty() { status.to_string() } else { format!("{status}: {body}") };
            Refusal { status: Some(status.as_u16()), retry_after: retry.map(Duration::from_secs), text }
        }
        Error::Io(error) => Refusal { text: format!("not reachable: {}", error.kind()), ..Refusal::default() },
        Error::Url(error) => Refusal { text: format!("unusable URL: {error}"), ..Refusal::default() },
        Error::Tls(_) => Refusal { text: "TLS failed".to_owned(), ..Refusal::default() },
        _ => Refusal { text: "the WebSocket handshake failed".to_owned(), ..Refusal::default() },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most messages are the client's to read")]
async fn carry(call: &Call, mut socket: Socket, commands: &mut mpsc::Receiver<Outward>, inbox: &Inbox) {
    let mut ping = pings(PING);
    let started = Instant::now();
    let mut rtt = 0;
    loop {
        let up = tokio::select! {
            got = socket.next() => match got {
                Some(Ok(Message::Binary(bytes))) => {
                    let Some(down) = lk::SignalResponse::decode(bytes).ok().and_then(|response| response.message) else { continue };
                    match &down {
                        Down::Join(join) if join.ping_interval > 0 => ping = pings(Duration::from_secs(join.ping_interval as u64)),
                        Down::PongResp(pong) => {
                            rtt = started.elapsed().as_millis() as i64 - pong.last_ping_timestamp;
                            continue;
                        }
                        Down::Pong(_) => continue,
                        _ => {}
                    }
                    tell(call, inbox, News::Heard(Box::new(down))).await;
                    continue;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = ping.tick() => {
                let timestamp = started.elapsed().as_millis() as i64;
                if say(&mut socket, Up::Ping(timestamp)).await.is_err() {
                    return;
                }
                Up::PingReq(lk::Ping { timestamp, rtt })
            }
            command = commands.recv() => match command {
                Some(Outward::Say(up)) => *up,
                Some(Outward::Bye) => {
                    let reason = lk::DisconnectReason::ClientInitiated.into();
                    let _ = say(&mut socket, Up::Leave(lk::LeaveRequest { reason, ..Default::default() })).await;
                    let _ = timeout(Duration::from_secs(2), socket.close(None)).await;
                    return;
                }
                Some(Outward::Cut) | None => return,
            },
        };
        if say(&mut socket, up).await.is_err() {
            return;
        }
    }
}

fn pings(every: Duration) -> tokio::time::Interval {
    let mut ping = interval_at(Instant::now() + every, every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping
}

async fn say(socket: &mut Socket, up: Up) -> Result<(), Error> {
    socket.send(Message::Binary(lk::SignalRequest { message: Some(up) }.encode_to_vec().into())).await
}
