//! Seats: invite, let in, send away, take out, mute; and people beside a participant.

use super::V1;
use super::body::Json;
use super::caller::{Caller, check_id};
use super::joining::mint;
use super::problem::{Code, Problem, json};
use super::register::{self, Entry, random};
use super::words::{self, Muting, NewIdentityCheck, NewPresence, NewSeat, RoleWord, Seat, ms};
use crate::api::scribe::{Op, What};
use crate::model::roster::{Role, Text};
use crate::model::{Identity, RoomKey, TrackSid};
use crate::relay::command::{Act, Assurance, IdentityCheck, Invitation};
use crate::wire::MAX_NAME;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap};
use std::sync::PoisonError;

/// Invites a seat: answers a token, and a link for the person.
///
/// The same seat again gets a new token and a new link; its earlier link stops working.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/seats",
    operation_id = "invite_seat",
    tag = "seats",
    params(("id" = String, Path, description = "The consultation's id")),
    request_body = NewSeat,
    responses(
        (status = 201, description = "Invited", body = words::Invited),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = [])),
)]
pub(super) async fn invite(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(asked): Json<NewSeat>,
) -> Result<Response, Problem> {
    let (room, grants) = caller.platform(&id)?;
    let entry = v1.register.find(&room).ok_or_else(Problem::no_consultation)?;
    let seat = match &asked.seat {
        Some(seat) => seat.clone(),
        None => format!("s-{}", random::<12>()?),
    };
    check_id("seat", &seat)?;
    let seat = Identity::new(seat);
    let invited = invitation(&asked, &entry, grants.key.clone(), v1.now_s())?;
    let open = Invitation {
        seat: seat.clone(),
        role: invited.role,
        from_ms: Some(ms(invited.opens_at)),
        until_ms: Some(ms(invited.closes_at)),
        admitted: invited.admitted,
    };
    let mints = v1.keys.minting(&grants.key).is_some();
    v1.act(&caller, &room, Act::Invite(open)).await?;
    v1.note(&caller, Op::SeatInvite, &room, Some(&seat)).await?;
    let (invited, code) = v1.register.invite(&room, &seat, invited, mints, v1.now_s())?;
    v1.register.settle().await?;
    let (role, now) = (RoleWord::from(invited.role), v1.now_s());
    v1.register.tell(&room, v1.now_ms(), "seat.invited", Some(&seat), Some(serde_json::json!({ "role": role })));
    let is_open = (invited.opens_at..invited.closes_at).contains(&now);
    let token = if is_open { mint(&v1, &room, &seat, &invited) } else { None };
    let (token, token_expires_at) = token.unzip();
    let answer = words::Invited {
        seat: Seat::invited(&seat, invited.role, entry.consent(&seat)),
        token,
        token_expires_at,
        link: code.map(|code| format!("{}/#code={code}", address(&v1, &headers))),
        opens_at: invited.opens_at,
        closes_at: invited.closes_at,
    };
    Ok(json(StatusCode::CREATED, &answer))
}

/// What a platform asked for, inside what the consultation allows.
fn invitation(asked: &NewSeat, entry: &Entry, key: std::sync::Arc<str>, now_s: u64) -> Result<register::Invited, Problem> {
    if asked.name.as_ref().is_some_and(|name| name.len() > MAX_NAME || name.chars().any(char::is_control)) {
        return Err(Problem::invalid(format!("name must have at most {MAX_NAME} bytes and no control characters")));
    }
    if asked.auth.as_ref().is_some_and(|auth| Assurance::parse(auth).is_none()) {
        return Err(Problem::invalid("auth is method:level, for example psc:2; the methods are in the documentation of tokens"));
    }
    let opens_at = asked.opens_at.unwrap_or(0).max(entry.opens_at());
    let closes_at = asked.closes_at.unwrap_or(u64::MAX).min(entry.closes_at());
    if closes_at <= now_s || closes_at <= opens_at {
        return Err(Problem::invalid("the seat's window is over or empty; check opens_at and closes_at, in seconds since 1970"));
    }
    Ok(register::Invited {
        role: asked.role.into(),
        name: asked.name.as_deref().map(|name| Text(name.into())),
        auth: asked.auth.clone(),
        legal_representative: asked.legal_representative,
        opens_at,
        closes_at,
        admitted: asked.admitted,
        link: None,
        issued_from: 0,
        key,
    })
}

/// The address people open: as configured, else the one the platform called.
fn address(v1: &V1, headers: &HeaderMap) -> String {
    if let Some(url) = &v1.public_url {
        return url.to_string();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    format!("{scheme}://{}", text(header::HOST.as_str()).unwrap_or("localhost"))
}

fn seat_of(seat: String) -> Result<Identity, Problem> {
    check_id("seat", &seat)?;
    Ok(Identity::new(seat))
}

/// Lets a seat in, now or as soon as it comes.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/seats/{seat}/admit",
    operation_id = "admit_seat",
    tag = "seats",
    params(("id" = String, Path, description = "The consultation's id"), ("seat" = String, Path, description = "The seat's reference")),
    responses(
        (status = 204, description = "Let in"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn admit(
    State(v1): State<V1>,
    caller: Caller,
    Path((id, seat)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (room, seat) = (caller.acting(&id)?, seat_of(seat)?);
    if !v1.act(&caller, &room, Act::Admit(seat.clone())).await? {
        caller.platform(&id)?;
        v1.note(&caller, Op::SeatUpdate, &room, Some(&seat)).await?;
        if !v1.register.admit(&room, &seat) {
            return Err(Problem::no_seat());
        }
        v1.register.settle().await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Sends a waiting seat away; its tokens and its link open nothing any more.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/seats/{seat}/refuse",
    operation_id = "refuse_seat",
    tag = "seats",
    params(("id" = String, Path, description = "The consultation's id"), ("seat" = String, Path, description = "The seat's reference")),
    responses(
        (status = 204, description = "Sent away"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn refuse(
    State(v1): State<V1>,
    caller: Caller,
    Path((id, seat)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (room, seat) = (caller.acting(&id)?, seat_of(seat)?);
    take_out(&v1, &caller, &id, &room, &seat, Act::Refuse(seat.clone())).await
}

/// Takes a seat out of the room; its tokens and its link open nothing any more.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/seats/{seat}/remove",
    operation_id = "remove_seat",
    tag = "seats",
    params(("id" = String, Path, description = "The consultation's id"), ("seat" = String, Path, description = "The seat's reference")),
    responses(
        (status = 204, description = "Removed"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn remove(
    State(v1): State<V1>,
    caller: Caller,
    Path((id, seat)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (room, seat) = (caller.acting(&id)?, seat_of(seat)?);
    take_out(&v1, &caller, &id, &room, &seat, Act::Remove(seat.clone())).await
}

async fn take_out(v1: &V1, caller: &Caller, id: &str, room: &RoomKey, seat: &Identity, act: Act) -> Result<Response, Problem> {
    let inside = v1.act(caller, room, act).await?;
    if !inside {
        caller.platform(id)?;
    }
    // The room has refused the seat's tokens since before it answered; this holds when the room closes and opens again.
    let revoke = |at| v1.revocations.lock().unwrap_or_else(PoisonError::into_inner).revoke(room.clone(), seat.clone(), at);
    revoke(v1.now_s());
    let known = v1.register.uninvite(room, seat, v1.now_s());
    if !inside {
        if !known {
            return Err(Problem::no_seat());
        }
        v1.register.tell(room, v1.now_ms(), "seat.removed", Some(seat), Some(serde_json::json!({ "by": "platform" })));
        v1.note_after(caller, What::Change(Op::SeatRemove), room, Some(seat));
        v1.note_after(caller, What::Revoked, room, Some(seat));
    }
    v1.settle_after_end().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Mutes one or all tracks of a seat; only the person can unmute them.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/seats/{seat}/mute",
    operation_id = "mute_seat",
    tag = "seats",
    params(("id" = String, Path, description = "The consultation's id"), ("seat" = String, Path, description = "The seat's reference")),
    request_body = Muting,
    responses(
        (status = 204, description = "Muted"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn mute(
    State(v1): State<V1>,
    caller: Caller,
    Path((id, seat)): Path<(String, String)>,
    Json(asked): Json<Muting>,
) -> Result<Response, Problem> {
    let (room, seat) = (caller.acting(&id)?, seat_of(seat)?);
    if let Some(track) = &asked.track {
        check_id("track", track)?;
    }
    v1.act_inside(&caller, &room, Act::Mute { seat, track: asked.track.map(TrackSid::new) }).await
}

/// States that a patient's identity was checked, and how; a doctor inside may, or the platform. It is put on record.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/seats/{seat}/identity",
    operation_id = "attest_identity",
    tag = "seats",
    params(("id" = String, Path, description = "The consultation's id"), ("seat" = String, Path, description = "The patient's seat")),
    request_body = NewIdentityCheck,
    responses(
        (status = 204, description = "On record"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn attest_identity(
    State(v1): State<V1>,
    caller: Caller,
    Path((id, seat)): Path<(String, String)>,
    Json(asked): Json<NewIdentityCheck>,
) -> Result<Response, Problem> {
    let (room, seat) = (caller.acting(&id)?, seat_of(seat)?);
    let method = IdentityCheck::parse(&asked.method).ok_or_else(|| {
        Problem::invalid("method is seen_document, known_patient, ins_qualified_by_platform or other; never what was seen")
    })?;
    v1.act_inside(&caller, &room, Act::AttestIdentity { seat, method }).await
}

/// Says that somebody is beside a participant, off camera; everybody sees it.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/presences",
    operation_id = "declare_presence",
    tag = "seats",
    params(("id" = String, Path, description = "The consultation's id")),
    request_body = NewPresence,
    responses(
        (status = 204, description = "Declared"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn declare(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    Json(asked): Json<NewPresence>,
) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    let count = asked.count.unwrap_or(1);
    if !(1..=9).contains(&count) {
        return Err(Problem::invalid("count must be 1 to 9"));
    }
    let seat = caller.seat_or_own(asked.seat)?;
    v1.act_inside(&caller, &room, Act::DeclarePresence { seat, kind: asked.kind.into(), count }).await
}

/// Says that they are gone.
#[utoipa::path(
    delete,
    path = "/v1/consultations/{id}/presences/{seat}/{kind}",
    operation_id = "withdraw_presence",
    tag = "seats",
    params(
        ("id" = String, Path, description = "The consultation's id"),
        ("seat" = String, Path, description = "Beside whom"),
        ("kind" = RoleWord, Path, description = "What they were"),
    ),
    responses(
        (status = 204, description = "Withdrawn"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn withdraw(
    State(v1): State<V1>,
    caller: Caller,
    Path((id, seat, kind)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let (room, seat) = (caller.acting(&id)?, seat_of(seat)?);
    let kind = Role::parse(&kind).ok_or_else(|| Problem::new(Code::NotFound, "no such kind; it is a role"))?;
    v1.act_inside(&caller, &room, Act::WithdrawPresence { seat, kind }).await
}
