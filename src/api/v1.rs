//! `/v1`: the consultation API, in JSON, described by the OpenAPI document it serves.
//!
//! A platform arranges a consultation, invites seats and records consent; it or a doctor lets people in. Calls on a room become
//! acts of `relay`, which decides about them; what was arranged before anybody came is kept here and opens with the room. Errors
//! are problem details (RFC 9457) with a stable code. Never logs bodies, paths or tokens.
//!
//! Entry points: [`routes`] and [`Register`].

mod accounts;
mod asides;
mod body;
mod caller;
mod consents;
mod consultations;
mod demo;
mod events;
mod facts;
mod feed;
mod joining;
mod kept;
mod links;
mod noting;
mod openapi;
mod problem;
mod register;
mod seats;
pub mod webhooks;
mod words;

pub use accounts::{Attested, Ledger, NoLedger, Unattested};
pub use kept::{Keeper, Kept, Unread};
pub use openapi::document;
pub use register::Register;

use crate::api::scribe::Scribe;
use crate::auth::{KeyRing, Revocations, Witness};
use crate::model::RoomKey;
use crate::relay::command::{Act, AdminAction, AdminReply, By, Command, Relay, Reply};
use crate::relay::event::Refusal;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, get, post};
use caller::Caller;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use problem::{Code, Problem};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a room may take to answer; an act that gives access waits for the disk.
const REPLY_DEADLINE: Duration = Duration::from_secs(5);

/// The consultation API.
#[derive(Clone)]
pub struct V1 {
    /// Takes the commands.
    pub relay: Arc<dyn Relay>,
    /// Verifies the callers and signs seats' tokens.
    pub keys: Arc<KeyRing>,
    /// Removed seats, shared with the signalling doors.
    pub revocations: Arc<Mutex<Revocations>>,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// What was arranged.
    pub register: Arc<Register>,
    /// What can be told of consultations.
    pub ledger: Arc<dyn Ledger>,
    /// Hears of refused tokens.
    pub witness: Arc<dyn Witness>,
    /// Puts calls on record.
    pub scribe: Arc<dyn Scribe>,
    /// The address people open, without a slash at its end; without it that of the request.
    pub public_url: Option<Arc<str>>,
}

impl fmt::Debug for V1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("V1")
    }
}

/// Every path with its methods; the description is held against it by a test.
fn table() -> Vec<(&'static str, MethodRouter<V1>)> {
    vec![
        ("/v1/consultations", post(consultations::create)),
        ("/v1/consultations/{id}", get(consultations::show).delete(consultations::end)),
        ("/v1/consultations/{id}/lock", post(consultations::lock).delete(consultations::unlock)),
        ("/v1/consultations/{id}/extend", post(consultations::extend)),
        ("/v1/consultations/{id}/override", post(consents::go_on)),
        ("/v1/consultations/{id}/seats", post(seats::invite)),
        ("/v1/consultations/{id}/seats/{seat}/admit", post(seats::admit)),
        ("/v1/consultations/{id}/seats/{seat}/refuse", post(seats::refuse)),
        ("/v1/consultations/{id}/seats/{seat}/remove", post(seats::remove)),
        ("/v1/consultations/{id}/seats/{seat}/mute", post(seats::mute)),
        ("/v1/consultations/{id}/seats/{seat}/identity", post(seats::attest_identity)),
        ("/v1/consultations/{id}/presences", post(seats::declare)),
        ("/v1/consultations/{id}/presences/{seat}/{kind}", delete(seats::withdraw)),
        ("/v1/consultations/{id}/consents", post(consents::give)),
        ("/v1/consultations/{id}/consents/{seat}", delete(consents::withdraw)),
        ("/v1/consultations/{id}/refusals", post(consents::refuse)),
        ("/v1/consultations/{id}/aside", post(asides::start).delete(asides::end)),
        ("/v1/consultations/{id}/aside/renew", post(asides::renew)),
        ("/v1/consultations/{id}/attestation", get(accounts::attestation)),
        ("/v1/consultations/{id}/timeline", get(accounts::timeline)),
        ("/v1/consultations/{id}/support", get(accounts::support)),
        ("/v1/timelines/{code}", get(accounts::timeline_of)),
        ("/v1/attestation-key", get(accounts::key)),
        ("/v1/links", post(joining::swap)),
        ("/v1/events", get(feed::events)),
        ("/v1/problems/{code}", get(openapi::explain)),
        ("/v1/openapi.json", get(openapi::serve)),
    ]
}

/// The routes of the API; browsers of any origin may call, the token decides.
pub fn routes(v1: V1) -> Router {
    let routes = table().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    let unknown = any(async || Problem::new(Code::NotFound, "no such call; they are listed in /v1/openapi.json"));
    let on_record = middleware::from_fn_with_state(v1.clone(), noting::on_record);
    routes.route("/v1/{*rest}", unknown).layer(on_record).layer(middleware::from_fn(frame)).with_state(v1)
}

/// What every answer has: who may read it, and problem details for whatever went wrong.
async fn frame(request: Request, next: Next) -> Response {
    let preflight = *request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let told = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem::MEDIA_TYPE);
    let status = response.status();
    if (status.is_client_error() || status.is_server_error()) && !told {
        let own = match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                Problem::new(Code::MethodNotAllowed, "see `Allow` for the methods of this call, and /v1/openapi.json")
            }
            StatusCode::NOT_FOUND => Problem::new(Code::NotFound, "no such call; they are listed in /v1/openapi.json"),
            _ if status.is_client_error() => {
                Problem::new(Code::BadBody, "the path or the query does not fit; see /v1/openapi.json")
            }
            _ => Problem::new(Code::Internal, "try again, and tell the operator"),
        };
        let allow = response.headers_mut().remove(header::ALLOW);
        response = own.into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("OPTIONS, GET, POST, DELETE"));
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type, Idempotency-Key"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

impl V1 {
    fn now_ms(&self) -> u64 {
        (self.wall_ms)()
    }

    fn now_s(&self) -> u64 {
        self.now_ms() / 1_000
    }

    /// Asks a room; what it refuses is a normal answer.
    async fn ask(&self, room: RoomKey, action: AdminAction) -> Result<Result<AdminReply, Refusal>, Problem> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply(Box::new(move |answer| {
            // The caller may have given up.
            let _ = sender.send(answer);
        }));
        self.relay.send(Command::Admin { room, action, reply }).map_err(|_| self.told(Refusal::Busy))?;
        match timeout(REPLY_DEADLINE, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.told(Refusal::Busy)),
            Err(_) => Err(Problem::new(Code::Late, "it may have been carried out; look before you try again")),
        }
    }

    /// Nobody is given anything that cannot be put on record.
    fn check_record(&self, opening: Option<&RoomKey>) -> Result<(), Problem> {
        self.relay.check_record(opening).map_err(|refusal| self.told(refusal))
    }

    /// Lets a caller act in a room. `Ok(false)` when the room is not open but arranged: then nobody is there to act on.
    ///
    /// # Errors
    /// What the room refuses; [`Code::NotFound`] where nothing was arranged either.
    async fn act(&self, caller: &Caller, room: &RoomKey, act: Act) -> Result<bool, Problem> {
        let by = match caller {
            Caller::Platform(_) => By::Platform,
            Caller::Seat(grants) => By::Seat(grants.identity.clone()),
        };
        #[expect(clippy::disallowed_methods, reason = "an act is measured from where it comes in")]
        let asked_at = std::time::Instant::now().into();
        if act.gives() {
            self.check_record(None)?;
        }
        match self.ask(room.clone(), AdminAction::Consult { by, act: Box::new(act), asked_at }).await? {
            Ok(_) => Ok(true),
            // A plain room of the name of an arranged consultation gives way when somebody comes.
            Err(refusal @ (Refusal::NoSuchRoom | Refusal::NotAConsultation)) => match self.register.find(room) {
                Some(entry) if entry.ended => Err(Problem::from(Refusal::TooLate)),
                Some(_) => Ok(false),
                None => Err(self.told(refusal)),
            },
            Err(refusal) => Err(self.told(refusal)),
        }
    }

    /// The same where there is nothing to do without a room.
    async fn act_inside(&self, caller: &Caller, room: &RoomKey, act: Act) -> Result<Response, Problem> {
        if self.act(caller, room, act).await? {
            Ok(StatusCode::NO_CONTENT.into_response())
        } else {
            Err(Problem::new(Code::NotOpen, "nobody has come yet; try again when somebody is in the room"))
        }
    }

    /// Waits until what took something from somebody is kept. It has happened either way, so a failing disk is no failing call: the
    /// keeper tries again, and says so in the log.
    async fn settle_after_end(&self) {
        let _ = self.register.settle().await;
    }

    fn told(&self, refusal: Refusal) -> Problem {
        let retry_after =
            matches!(refusal, Refusal::Busy | Refusal::AuditUnavailable).then(|| self.relay.retry_after().as_secs());
        Problem { retry_after, ..Problem::from(refusal) }
    }
}

#[cfg(test)]
#[path = "v1/tests.rs"]
mod tests;
