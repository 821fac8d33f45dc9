//! `/twirp/livekit.RoomService/*`: the calls LiveKit server SDKs make, in JSON and protobuf.
//!
//! Conventions: <https://twitchtv.github.io/twirp/docs/spec_v7.html>. The answer comes in the form of the question; errors are
//! always JSON with exactly `application/json`, because the node SDK compares the string.

mod calls;
mod form;

use crate::api::scribe::{NotMade, Scribe};
use crate::api::v1::Register;
use crate::auth::{AuthError, Grants, KeyRing, RefusedToken, Revocations, Why, Witness, bearer};
use crate::relay::command::Relay;
use crate::relay::event::Refusal;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use form::Form;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Largest body, in bytes, as the reference server has it.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// How long a shard may take to answer; SDKs give up after ten seconds.
const REPLY_DEADLINE: Duration = Duration::from_secs(5);

/// The room service.
#[derive(Clone)]
pub struct RoomService {
    /// Takes the commands.
    pub relay: Arc<dyn Relay>,
    /// Verifies the callers.
    pub keys: Arc<KeyRing>,
    /// Removed seats, shared with the signalling doors.
    pub revocations: Arc<Mutex<Revocations>>,
    /// What was arranged by the other API: a removal takes back a seat's invitation, with its link.
    pub register: Arc<Register>,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Hears of refused tokens.
    pub witness: Arc<dyn Witness>,
    /// Puts calls on record.
    pub scribe: Arc<dyn Scribe>,
}

impl fmt::Debug for RoomService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomService")
    }
}

/// A Twirp error; the code decides the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwirpError {
    code: Code,
    message: String,
}

/// The codes this service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    InvalidArgument,
    Malformed,
    Unauthenticated,
    NotFound,
    BadRoute,
    DeadlineExceeded,
    FailedPrecondition,
    ResourceExhausted,
    Internal,
    Unimplemented,
    Unavailable,
}

impl Code {
    fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Self::InvalidArgument => ("invalid_argument", StatusCode::BAD_REQUEST),
            Self::Malformed => ("malformed", StatusCode::BAD_REQUEST),
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND),
            Self::BadRoute => ("bad_route", StatusCode::NOT_FOUND),
            Self::DeadlineExceeded => ("deadline_exceeded", StatusCode::REQUEST_TIMEOUT),
            Self::FailedPrecondition => ("failed_precondition", StatusCode::PRECONDITION_FAILED),
            Self::ResourceExhausted => ("resource_exhausted", StatusCode::TOO_MANY_REQUESTS),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unimplemented => ("unimplemented", StatusCode::NOT_IMPLEMENTED),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl TwirpError {
    /// Why something was not made, in the words of the record.
    fn not_made(&self) -> NotMade {
        match self.code {
            Code::InvalidArgument | Code::Malformed | Code::BadRoute | Code::NotFound | Code::Unimplemented => NotMade::Malformed,
            Code::Unauthenticated | Code::FailedPrecondition => NotMade::Policy,
            Code::DeadlineExceeded | Code::ResourceExhausted | Code::Internal | Code::Unavailable => NotMade::Full,
        }
    }

    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The reference server answers 401 also where a grant is missing.
impl From<AuthError> for TwirpError {
    fn from(error: AuthError) -> Self {
        Self::new(Code::Unauthenticated, error.to_string())
    }
}

impl From<Refusal> for TwirpError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoSuchRoom
            | Refusal::NoSuchParticipant
            | Refusal::NoSuchTrack
            | Refusal::UnknownSession
            | Refusal::NoSuchSeat => Code::NotFound,
            Refusal::RemoteUnmute => return Self::new(Code::FailedPrecondition, "remote unmute not enabled"),
            Refusal::NotAllowed
            | Refusal::RoleRequired
            | Refusal::NotAConsultation
            | Refusal::WrongRole
            | Refusal::WeakAuthentication
            | Refusal::TooEarly
            | Refusal::TooLate
            | Refusal::Removed
            | Refusal::SecondUse
            | Refusal::Locked
            | Refusal::ProfessionalFirst
            | Refusal::ConsentMissing
            | Refusal::AsideRunning
            | Refusal::NoAside => Code::FailedPrecondition,
            Refusal::LimitExceeded | Refusal::RoomFull | Refusal::Queued => Code::ResourceExhausted,
            Refusal::Unsupported => Code::Unimplemented,
            Refusal::Busy | Refusal::AuditUnavailable => Code::Unavailable,
            Refusal::BadOffer | Refusal::BadPolicy => Code::InvalidArgument,
        };
        Self::new(code, refusal.to_string())
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let (code, status) = self.code.parts();
        let body = serde_json::json!({ "code": code, "msg": self.message }).to_string();
        form::response(status, "application/json", body.into())
    }
}

/// The routes of the service; browsers of any origin may call, the token decides.
pub fn routes(service: RoomService) -> Router {
    Router::new().route("/twirp/{service}/{method}", any(handle)).with_state(service)
}

async fn handle(State(service): State<RoomService>, Path((name, method)): Path<(String, String)>, request: Request) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Method::POST if name == "livekit.RoomService" => service.answer(&method, request).await,
        Method::POST if name.starts_with("livekit.") => {
            TwirpError::new(Code::Unimplemented, "this service is not part of the relay").into_response()
        }
        _ => TwirpError::new(Code::BadRoute, "no such method").into_response(),
    };
    let busy = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    if busy {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(service.relay.retry_after().as_secs()));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("OPTIONS, HEAD, GET, POST, PATCH, DELETE"));
    // A wildcard does not cover `Authorization` (Fetch standard), so it is named.
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type, *"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

impl RoomService {
    async fn answer(&self, method: &str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let grants = match self.authenticate(&parts) {
            Ok(grants) => grants,
            // Before Twirp: plain text, as the reference server has it.
            Err(error) => return (StatusCode::UNAUTHORIZED, error.to_string()).into_response(),
        };
        let Some(form) = Form::of(&parts.headers) else {
            return TwirpError::new(Code::BadRoute, "unexpected Content-Type").into_response();
        };
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(status) => return closing(status),
        };
        match self.noted(method, &grants, form, &body).await {
            Ok(answer) => form::response(StatusCode::OK, form.content_type(), answer.into()),
            Err(error) => error.into_response(),
        }
    }

    fn authenticate(&self, parts: &Parts) -> Result<Grants, AuthError> {
        let told = |error: AuthError, grants: Option<&Grants>| {
            if let Some((from, why)) = parts.extensions.get::<IpAddr>().copied().zip(Why::of(error)) {
                self.witness.token_refused(&RefusedToken::new(from, why, grants));
            }
            error
        };
        let value = parts.headers.get(header::AUTHORIZATION).ok_or(AuthError::Missing)?;
        let token = value.to_str().map_err(|_| AuthError::Header).and_then(bearer).map_err(|error| told(error, None))?;
        let grants = self.keys.verify(token, (self.wall_ms)() / 1_000).map_err(|error| told(error, None))?;
        if !grants.identity.as_str().is_empty() {
            let checked = self.revocations.lock().unwrap_or_else(PoisonError::into_inner).check(&grants);
            checked.map_err(|error| told(error, Some(&grants)))?;
        }
        Ok(grants)
    }
}

async fn read_body(body: Body) -> Result<bytes::Bytes, StatusCode> {
    match timeout(BODY_DEADLINE, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// The rest of the body is not read, so the connection cannot go on.
fn closing(status: StatusCode) -> Response {
    (status, [(header::CONNECTION, "close")]).into_response()
}
