//! Which calls of a platform go on record, and when.
//!
//! What is read is noted before its first byte leaves; what is refused is noted after; what is changed is noted by the calls themselves,
//! where the consultation does not tell it.

use super::V1;
use super::caller::Caller;
use super::problem::{Code, Problem};
use crate::api::scribe::{self, NotMade, Note, Op, What};
use crate::auth::Grants;
use crate::model::{Identity, RoomKey, RoomName, TenantId};
use crate::relay::event::Refusal;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use std::sync::{Arc, OnceLock};

/// Which platform calls: filled in once its token is verified.
#[derive(Clone, Default)]
pub(super) struct Calling(Arc<OnceLock<(TenantId, Arc<str>)>>);

/// An answer that hands nothing out.
#[derive(Clone, Copy)]
pub(super) struct Nothing;

impl Calling {
    pub(super) fn is(&self, grants: &Grants) {
        // Once for each request.
        let _ = self.0.set((grants.tenant.clone(), grants.key.clone()));
    }

    /// A note about this call, where it is a platform's.
    fn note(&self, params: &[(String, String)], what: What) -> Option<Note> {
        let (tenant, key) = self.0.get()?.clone();
        let named = |wanted: &str| params.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let room = named("id").map(|id| RoomKey { tenant: tenant.clone(), name: RoomName::new(id) });
        Some(Note { tenant, key, room, seat: named("seat").map(Identity::new), what })
    }
}

/// What a call is about; nothing for calls that are nobody's.
fn op(method: &Method, path: &str) -> Option<Op> {
    let path = path.strip_prefix("/v1/")?;
    Some(match (method.as_str(), path.strip_prefix("consultations").unwrap_or(path)) {
        ("POST", "") => Op::RoomCreate,
        ("GET", "/{id}") => Op::RoomRead,
        ("DELETE", "/{id}") => Op::RoomEnd,
        (_, "/{id}/lock" | "/{id}/extend" | "/{id}/aside" | "/{id}/aside/renew") => Op::RoomUpdate,
        (_, "/{id}/override" | "/{id}/consents" | "/{id}/consents/{seat}" | "/{id}/refusals") => Op::ConsentWrite,
        ("POST", "/{id}/seats") => Op::SeatInvite,
        (_, "/{id}/seats/{seat}/admit" | "/{id}/seats/{seat}/identity") => Op::SeatUpdate,
        (_, "/{id}/presences" | "/{id}/presences/{seat}/{kind}") => Op::SeatUpdate,
        (_, "/{id}/seats/{seat}/refuse" | "/{id}/seats/{seat}/remove") => Op::SeatRemove,
        (_, "/{id}/seats/{seat}/mute") => Op::TrackMute,
        ("GET", "/{id}/attestation") => Op::AttestationRead,
        ("GET", "/{id}/timeline" | "/{id}/support" | "timelines/{code}") => Op::TimelineRead,
        ("GET", "events") => Op::EventsRead,
        _ => return None,
    })
}

/// Why something was not made, from the problem that was answered.
fn not_made(v1: &V1, code: Option<Code>) -> NotMade {
    match code {
        Some(Code::AuditUnavailable) => NotMade::Unrecorded,
        _ if !v1.relay.ready() => NotMade::Draining,
        Some(Code::Busy | Code::TooMany | Code::Full | Code::Late | Code::Internal) => NotMade::Full,
        Some(Code::BadBody | Code::TooLarge | Code::Invalid) => NotMade::Malformed,
        _ => NotMade::Policy,
    }
}

/// Notes what is read and what is refused.
pub(super) async fn on_record(State(v1): State<V1>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let Some(op) = path.and_then(|path| op(request.method(), path.as_str())) else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params: Vec<_> =
        params.iter().flat_map(RawPathParams::iter).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let calling = Calling::default();
    parts.extensions.insert(calling.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let code = response.extensions().get::<Code>().copied();
        let what = if op == Op::RoomCreate { What::NotMade(not_made(&v1, code)) } else { What::Refused(op) };
        if let Some(note) = calling.note(&params, what) {
            scribe::leave(&*v1.scribe, note);
        }
        return response;
    }
    let reads =
        matches!(op, Op::RoomRead | Op::TimelineRead | Op::EventsRead) && response.extensions().get::<Nothing>().is_none();
    let Some(note) = calling.note(&params, What::Read(op)).filter(|_| reads) else { return response };
    match v1.put(note).await {
        Ok(()) => response,
        Err(problem) => problem.into_response(),
    }
}

impl V1 {
    /// Puts a call of the platform that changes something on record before it is carried out; a seat's acts are its consultation's
    /// to tell.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`].
    pub(super) async fn note(&self, caller: &Caller, op: Op, room: &RoomKey, seat: Option<&Identity>) -> Result<(), Problem> {
        let Some(note) = note(caller, What::Change(op), room, seat) else { return Ok(()) };
        self.put(note).await
    }

    /// Puts something on record before it is carried out or answered.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`].
    pub(super) async fn put(&self, note: Note) -> Result<(), Problem> {
        if scribe::durable(&*self.scribe, note).await { Ok(()) } else { Err(self.told(Refusal::AuditUnavailable)) }
    }

    /// Puts a call of the platform that takes something away on record: that it was carried out came first.
    pub(super) fn note_after(&self, caller: &Caller, what: What, room: &RoomKey, seat: Option<&Identity>) {
        if let Some(note) = note(caller, what, room, seat) {
            scribe::leave(&*self.scribe, note);
        }
    }
}

fn note(caller: &Caller, what: What, room: &RoomKey, seat: Option<&Identity>) -> Option<Note> {
    let Caller::Platform(grants) = caller else { return None };
    Some(Note { seat: seat.cloned(), ..Note::of(grants, what).in_room(room) })
}
