//! `/rtc/v1`, the older `/rtc`, and their validation: token, limits, join, and only then the upgrade.
//!
//! A browser cannot read the status of a failed upgrade; the client asks `…/validate` with the same query for it. Refusals
//! a person should read are 401 and 403 with a short text, on both. A busy node answers 503 with `Retry-After`, on both.
//! Query and headers are never logged: they hold the token.

use super::codec::Greeting;
use super::join::{BadJoin, Wish, decode};
use super::limits::{Addresses, ClientAddress, Place};
use super::{query, socket};
use crate::auth::{AuthError, Grants, KeyRing, Nobody, RefusedToken, Revocations, RoomPolicy, Why, Witness, bearer};
use crate::model::roster::Attributes;
use crate::model::{Identity, RoomKey, SessionId};
use crate::relay::command::{Arranged, Command, Join, Plan, Plans, Policy, Relay, Resume, RoomSettings, Token};
use crate::relay::event::{Event, EventSink, Refusal};
use crate::signal::session::{Session, queue};
use crate::telemetry::metrics::Doors;
use crate::wire::{self, MAX_NAME};
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use zeroize::Zeroizing;

/// How long a shard may take to accept a join; clients wait 15 s for the upgrade.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// How long a refusal is kept for the client's validation that follows it.
const REFUSAL_KEPT: Duration = Duration::from_secs(15);

/// Refusals kept at most; more than this in 15 s means a flood, and only the explanation is lost.
const MAX_REFUSALS: usize = 1_024;

/// A STUN or TURN server that clients may use.
#[derive(Clone, Default)]
pub struct IceServer {
    /// `stun:` and `turn:` addresses.
    pub urls: Vec<String>,
    /// For TURN.
    pub username: String,
    /// For TURN.
    pub credential: Zeroizing<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls.len()).finish_non_exhaustive()
    }
}

/// Settings of the door.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// What each client is told of this node.
    pub greeting: Greeting,
    /// Dev mode: clients may ask for simulated faults.
    pub dev: bool,
    /// Sockets one address may hold; a hospital's whole staff may share one.
    pub sockets_per_address: usize,
    /// Sockets in all.
    pub sockets: usize,
    /// What the door counts.
    pub counts: Arc<Doors>,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self { greeting: Greeting::default(), dev: false, sockets_per_address: 256, sockets: 16_384, counts: Arc::default() }
    }
}

/// Milliseconds since the Unix epoch.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The LiveKit door.
pub struct Door {
    pub(super) relay: Arc<dyn Relay>,
    pub(super) keys: Arc<KeyRing>,
    revocations: Arc<Mutex<Revocations>>,
    pub(super) config: DoorConfig,
    plans: Option<Arc<dyn Plans>>,
    witness: Arc<dyn Witness>,
    wall_ms: WallClock,
    sessions: AtomicU64,
    addresses: Addresses,
    refusals: Mutex<VecDeque<KeptRefusal>>,
}

struct KeptRefusal {
    until: Instant,
    room: RoomKey,
    identity: Identity,
    refusal: Refusal,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("config", &self.config).finish_non_exhaustive()
    }
}

/// An answer that is not an upgrade.
struct Fault {
    status: StatusCode,
    text: String,
    /// What the record says of the token.
    why: Option<Why>,
    /// Whose token it was.
    grants: Option<Box<Grants>>,
}

impl Fault {
    fn new(status: StatusCode, text: String) -> Self {
        Self { status, text, why: None, grants: None }
    }

    fn of(self, grants: &Grants) -> Self {
        Self { grants: Some(Box::new(grants.clone())), ..self }
    }
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        Self { why: Why::of(error), ..Self::new(StatusCode::UNAUTHORIZED, error.to_string()) }
    }
}

impl From<BadJoin> for Fault {
    fn from(error: BadJoin) -> Self {
        let status = match error {
            BadJoin::Malformed | BadJoin::TooLarge | BadJoin::PublishOnly => StatusCode::BAD_REQUEST,
            BadJoin::Denied => StatusCode::UNAUTHORIZED,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let status = status_of(refusal).unwrap_or(StatusCode::FORBIDDEN);
        Self { why: why(refusal), ..Self::new(status, refusal.to_string()) }
    }
}

fn bad_request(text: &str) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, text.to_owned())
}

#[derive(Deserialize)]
struct Parameters {
    access_token: Option<String>,
    join_request: Option<String>,
}

/// Which signalling a path is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// Two peer connections, and parameters one by one; unless there is a `join_request`.
    Zero,
    /// One peer connection, and a `join_request`.
    One,
}

/// Answers every request below `/rtc`; a doubled leading slash is tolerated, some clients produce it.
pub async fn handle(State(door): State<Arc<Door>>, request: Request) -> Response {
    let path = format!("/{}", request.uri().path().trim_start_matches('/'));
    let from = request.extensions().get::<ClientAddress>().map(|address| address.0);
    // Clients ask again for the reason of a failed upgrade, which is no second attempt.
    let from = from.filter(|_| !path.ends_with("/validate"));
    let answer = match (request.method(), path.as_str()) {
        (&Method::GET, "/rtc/v1") => Arc::clone(&door).connect(request, Version::One).await,
        (&Method::GET, "/rtc") => Arc::clone(&door).connect(request, Version::Zero).await,
        (&Method::GET, "/rtc/v1/validate") => door.validate(&request, Version::One),
        (&Method::GET, "/rtc/validate") => door.validate(&request, Version::Zero),
        (&Method::GET, _) => Err(Fault::new(StatusCode::NOT_FOUND, String::new())),
        _ => Err(Fault::new(StatusCode::METHOD_NOT_ALLOWED, String::new())),
    };
    answer.unwrap_or_else(|Fault { status, text, why, grants }| {
        if let Some((from, why)) = from.zip(why) {
            door.witness.token_refused(&RefusedToken::new(from, why, grants.as_deref()));
        }
        match status {
            StatusCode::UNAUTHORIZED => door.config.counts.tokens_refused.up(),
            StatusCode::SERVICE_UNAVAILABLE => {
                door.config.counts.busy.up();
                return busy(&text, door.relay.retry_after().as_secs());
            }
            _ => {}
        }
        closing(status, text)
    })
}

/// Names the time to come back in words and, for programs, in the header; pages of other origins may read it.
fn busy(text: &str, seconds: u64) -> Response {
    let mut response = closing(StatusCode::SERVICE_UNAVAILABLE, format!("{text} in {seconds} s"));
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
    response
}

/// A plain answer after which the connection is closed, so that nothing can be pipelined behind a failed upgrade.
fn closing(status: StatusCode, text: String) -> Response {
    let mut response = plain(status, text);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Door {
    /// Opens the door to a relay.
    #[must_use]
    pub fn new(
        relay: Arc<dyn Relay>,
        keys: Arc<KeyRing>,
        revocations: Arc<Mutex<Revocations>>,
        config: DoorConfig,
        wall_ms: WallClock,
    ) -> Self {
        Self {
            relay,
            keys,
            revocations,
            config,
            plans: None,
            witness: Arc::new(Nobody),
            wall_ms,
            sessions: AtomicU64::new(1),
            addresses: Addresses::default(),
            refusals: Mutex::new(VecDeque::new()),
        }
    }

    /// Lets rooms open as they were arranged.
    #[must_use]
    pub fn with_plans(self, plans: Arc<dyn Plans>) -> Self {
        Self { plans: Some(plans), ..self }
    }

    /// Lets somebody hear of refused tokens.
    #[must_use]
    pub fn with_witness(self, witness: Arc<dyn Witness>) -> Self {
        Self { witness, ..self }
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.wall_ms)()
    }

    fn validate(&self, request: &Request, version: Version) -> Result<Response, Fault> {
        let (grants, _) = self.check(request, version)?;
        if let Some(refusal) = self.kept_refusal(&grants) {
            return Err(refusal.into());
        }
        Ok(plain(StatusCode::OK, "success".to_owned()))
    }

    async fn connect(self: Arc<Self>, mut request: Request, version: Version) -> Result<Response, Fault> {
        if !request.headers().contains_key(header::UPGRADE) {
            return Err(Fault::new(StatusCode::NOT_FOUND, String::new()));
        }
        let (grants, mut wish) = self.check(&request, version)?;
        let accept = upgrade_key(request.headers())?;
        let place = self.place(&request)?;
        let (session, first) = self.open(&grants, &mut wish).await.map_err(|fault| fault.of(&grants))?;
        let upgrade = hyper::upgrade::on(&mut request);
        let door = Arc::clone(&self);
        tokio::spawn(socket::serve(upgrade, socket::Start { door, session, first, sync_state: wish.sync_state, place }));
        Ok(switching(&accept))
    }

    fn place(&self, request: &Request) -> Result<Option<Place>, Fault> {
        // Without an address (a test, a Unix socket) only the listener's own limits hold.
        let Some(address) = request.extensions().get::<ClientAddress>() else { return Ok(None) };
        let place = self.addresses.enter(*address, self.config.sockets_per_address, self.config.sockets);
        place.map(Some).ok_or_else(|| Fault::new(StatusCode::TOO_MANY_REQUESTS, "too many connections".to_owned()))
    }

    /// Everything that can be decided without the shard.
    fn check(&self, request: &Request, version: Version) -> Result<(Grants, Wish), Fault> {
        let Query(parameters): Query<Parameters> =
            Query::try_from_uri(request.uri()).map_err(|_| bad_request("invalid query"))?;
        let grants = self.authenticate(request.headers(), parameters.access_token.as_deref())?;
        let wish = self.allow(request, version, parameters.join_request, &grants).map_err(|fault| fault.of(&grants))?;
        Ok((grants, wish))
    }

    /// The same for a token that is good: what it is for.
    fn allow(&self, request: &Request, version: Version, join_request: Option<String>, grants: &Grants) -> Result<Wish, Fault> {
        self.may_join(grants)?;
        let mut wish = match join_request {
            Some(parameter) => decode(&parameter)?,
            None if version == Version::Zero => query::read(request.uri())?,
            None => return Err(BadJoin::Malformed.into()),
        };
        // A resume keeps the record it has; and while the node drains, its sessions may still move to a new socket.
        if !wish.reconnect {
            wish.merge(grants)?;
            if !self.relay.ready() {
                return Err(Refusal::Busy.into());
            }
            let planned = self.arranged(grants)?.is_some();
            if planned || grants.policy == RoomPolicy::Consultation {
                self.relay.check_record(Some(&grants.room()))?;
            }
        }
        Ok(wish)
    }

    /// How the room of a join opens. An arranged consultation asks for a role, whatever its tenant's other rooms do.
    fn arranged(&self, grants: &Grants) -> Result<Option<Box<Plan>>, Refusal> {
        match self.plans.as_ref().map(|plans| plans.arranged(&grants.room())) {
            None | Some(Arranged::Nothing) => Ok(None),
            Some(Arranged::Over) => Err(Refusal::TooLate),
            Some(Arranged::Plan(_)) if grants.role().is_none() => Err(Refusal::RoleRequired),
            Some(Arranged::Plan(plan)) => Ok(Some(plan)),
        }
    }

    fn authenticate(&self, headers: &HeaderMap, parameter: Option<&str>) -> Result<Grants, Fault> {
        let token = match headers.get(header::AUTHORIZATION) {
            Some(value) => bearer(value.to_str().map_err(|_| AuthError::Header)?)?,
            None => parameter.filter(|token| !token.is_empty()).ok_or(AuthError::Missing)?,
        };
        Ok(self.keys.verify(token, self.now_ms() / 1_000)?)
    }

    fn may_join(&self, grants: &Grants) -> Result<(), Fault> {
        if !grants.video.room_join {
            return Err(AuthError::Denied.into());
        }
        if grants.identity.as_str().is_empty() {
            return Err(bad_request("identity cannot be empty"));
        }
        if grants.video.room.as_str().is_empty() {
            return Err(bad_request("no room name"));
        }
        let texts = [grants.identity.as_str(), grants.video.room.as_str(), &grants.name.0];
        if texts.iter().any(|text| text.len() > MAX_NAME) {
            return Err(bad_request("identity, name or room name too long"));
        }
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner).check_join(grants)?;
        if grants.policy == RoomPolicy::Consultation && grants.role().is_none() {
            return Err(Refusal::RoleRequired.into());
        }
        Ok(())
    }

    /// Hands the session to its shard and waits for the first event.
    async fn open(&self, grants: &Grants, wish: &mut Wish) -> Result<(Session, Event), Fault> {
        let id = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        let (events, receiver) = queue();
        let command = if wish.reconnect {
            Command::Resume(Box::new(Resume {
                room: grants.room(),
                identity: grants.identity.clone(),
                participant: wish.participant.take(),
                issued_at_s: grants.issued_at,
                session: id,
                events,
            }))
        } else {
            Command::Join(Box::new(join(grants, wish, self.arranged(grants)?, id, events, self.now_ms() / 1_000)))
        };
        let (relay, keys) = (Arc::clone(&self.relay), Arc::clone(&self.keys));
        let now = Instant::now().into_std().into();
        let mut session = Session::new(id, grants.clone(), relay, keys, receiver, now).with_dev(self.config.dev);
        self.relay.send(command).map_err(|_| self.busy(grants))?;
        let first = timeout(JOIN_DEADLINE, session.next_event()).await.ok().flatten().ok_or_else(|| self.busy(grants))?;
        if let Event::Rejected(refusal) = first
            && status_of(refusal).is_some()
        {
            self.keep_refusal(grants, refusal);
            return Err(refusal.into());
        }
        Ok((session, first))
    }

    /// The client asks for the reason in a moment, and may find the node less busy by then.
    fn busy(&self, grants: &Grants) -> Refusal {
        self.keep_refusal(grants, Refusal::Busy);
        Refusal::Busy
    }

    fn keep_refusal(&self, grants: &Grants, refusal: Refusal) {
        let mut kept = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_REFUSALS {
            kept.pop_front();
        }
        let until = Instant::now() + REFUSAL_KEPT;
        kept.push_back(KeptRefusal { until, room: grants.room(), identity: grants.identity.clone(), refusal });
    }

    fn kept_refusal(&self, grants: &Grants) -> Option<Refusal> {
        let mut kept = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while kept.front().is_some_and(|oldest| oldest.until <= now) {
            kept.pop_front();
        }
        let room = grants.room();
        kept.iter().rev().find(|kept| kept.room == room && kept.identity == grants.identity).map(|kept| kept.refusal)
    }
}

fn join(
    grants: &Grants,
    wish: &mut Wish,
    plan: Option<Box<Plan>>,
    session: SessionId,
    events: Box<dyn EventSink>,
    now_s: u64,
) -> Join {
    Join {
        room: grants.room(),
        policy: match grants.policy {
            RoomPolicy::Open if plan.is_none() => Policy::Open,
            RoomPolicy::Open | RoomPolicy::Consultation => Policy::Consultation,
        },
        room_settings: grants.room_config.as_ref().map_or_else(RoomSettings::default, wire::room_settings),
        identity: grants.identity.clone(),
        name: grants.name.clone(),
        metadata: wish.metadata.clone(),
        attributes: Attributes(std::mem::take(&mut wish.attributes)),
        permissions: grants.video.permissions.clone(),
        kind: grants.kind,
        client: wish.client.clone(),
        auto_subscribe: wish.auto_subscribe,
        adaptive_stream: wish.adaptive_stream,
        two_connections: wish.two_connections,
        offer: wish.offer.take(),
        tracks: std::mem::take(&mut wish.tracks),
        issued_at_s: grants.issued_at,
        token: Token {
            key: grants.key.clone(),
            id: grants.token_id.clone(),
            lifetime_s: grants.expires_at.saturating_sub(if grants.issued_at == 0 { now_s } else { grants.issued_at }),
        },
        plan,
        session,
        events,
    }
}

/// The status of a refusal that is better said before the upgrade; `None` for those a `leave` explains better.
fn status_of(refusal: Refusal) -> Option<StatusCode> {
    match refusal {
        Refusal::RoomFull
        | Refusal::RoleRequired
        | Refusal::NotAllowed
        | Refusal::WrongRole
        | Refusal::WeakAuthentication
        | Refusal::TooEarly
        | Refusal::TooLate
        | Refusal::Removed
        | Refusal::SecondUse
        | Refusal::Locked => Some(StatusCode::FORBIDDEN),
        Refusal::NoSuchRoom => Some(StatusCode::NOT_FOUND),
        Refusal::Busy | Refusal::AuditUnavailable => Some(StatusCode::SERVICE_UNAVAILABLE),
        Refusal::NoSuchParticipant
        | Refusal::NoSuchTrack
        | Refusal::LimitExceeded
        | Refusal::Queued
        | Refusal::Unsupported
        | Refusal::UnknownSession
        | Refusal::RemoteUnmute
        | Refusal::BadOffer
        | Refusal::NotAConsultation
        | Refusal::BadPolicy
        | Refusal::NoSuchSeat
        | Refusal::ProfessionalFirst
        | Refusal::ConsentMissing
        | Refusal::AsideRunning
        | Refusal::NoAside => None,
    }
}

/// What the record says of a token that a rule refused; nothing where the token was not the reason.
fn why(refusal: Refusal) -> Option<Why> {
    match refusal {
        Refusal::RoomFull => Some(Why::Full),
        Refusal::RoleRequired | Refusal::WrongRole | Refusal::WeakAuthentication => Some(Why::Role),
        Refusal::NotAllowed => Some(Why::Room),
        Refusal::TooEarly => Some(Why::Early),
        Refusal::TooLate => Some(Why::Over),
        Refusal::Removed => Some(Why::Revoked),
        Refusal::SecondUse => Some(Why::InUse),
        Refusal::AuditUnavailable => Some(Why::Unrecorded),
        Refusal::Busy
        | Refusal::Locked
        | Refusal::NoSuchRoom
        | Refusal::NoSuchParticipant
        | Refusal::NoSuchTrack
        | Refusal::LimitExceeded
        | Refusal::Queued
        | Refusal::Unsupported
        | Refusal::UnknownSession
        | Refusal::RemoteUnmute
        | Refusal::BadOffer
        | Refusal::NotAConsultation
        | Refusal::BadPolicy
        | Refusal::NoSuchSeat
        | Refusal::ProfessionalFirst
        | Refusal::ConsentMissing
        | Refusal::AsideRunning
        | Refusal::NoAside => None,
    }
}

/// RFC 6455 section 4.2.1: what an opening handshake must hold; answers the accept key.
fn upgrade_key(headers: &HeaderMap) -> Result<String, Fault> {
    let upgrades = lists(headers, &header::CONNECTION, "upgrade") && lists(headers, &header::UPGRADE, "websocket");
    if !upgrades {
        return Err(bad_request("not a WebSocket upgrade"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13") {
        return Err(Fault::new(StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is needed".to_owned()));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        Ok(derive_accept_key(key))
    } else {
        Err(bad_request("invalid WebSocket key"))
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn switching(accept: &str) -> Response {
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(accept).expect("an accept key is base64");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}
