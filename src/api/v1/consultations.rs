//! Consultations themselves: arrange, show, lock, extend, end.

use super::V1;
use super::body::Json;
use super::caller::{Caller, check_id};
use super::problem::{Code, Problem, json};
use super::register::{Entry, random, room};
use super::words::{Consultation, Extension, NewConsultation, Seat, State as Stage, ms};
use crate::api::scribe::{Op, What};
use crate::model::roster::Role;
use crate::model::{Identity, RoomKey};
use crate::relay::command::{Act, AdminAction, AdminReply, Consent, Gate, SeatState, TenantRules};
use crate::relay::event::Refusal;
use aws_lc_rs::digest;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode};

/// Longest key of a repeated request, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Bytes of the hash that names a consultation after its key.
const KEYED_BYTES: usize = 16;

/// Arranges a consultation.
///
/// The same request with the same `id`, or with the same `Idempotency-Key` and no `id`, arranges it once.
#[utoipa::path(
    post,
    path = "/v1/consultations",
    operation_id = "create_consultation",
    tag = "consultations",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the request, so that it can be sent again; 1 to 255 bytes")),
    request_body = NewConsultation,
    responses(
        (status = 201, description = "Arranged", body = Consultation),
        (status = 200, description = "Was arranged before by the same request", body = Consultation),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = [])),
)]
pub(super) async fn create(
    State(v1): State<V1>,
    caller: Caller,
    headers: HeaderMap,
    Json(asked): Json<NewConsultation>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?.tenant.clone();
    let id = match (&asked.id, headers.get("idempotency-key")) {
        (Some(id), _) => id.clone(),
        (None, Some(key)) => keyed(tenant.as_str(), key.as_bytes())?,
        (None, None) => format!("c-{}", random::<12>()?),
    };
    check_id("id", &id)?;
    let room = room(&tenant, &id);
    v1.check_record(Some(&room))?;
    let policy = asked.policy(v1.register.rules(&tenant))?;
    // Somebody who came before it was arranged came under other rules.
    if v1.register.find(&room).is_none() && is_taken(&v1, &room).await? {
        return Err(Problem::new(Code::Conflict, "people are in a room of this name already; choose another id"));
    }
    if v1.register.find(&room).is_none() {
        v1.note(&caller, Op::RoomCreate, &room, None).await?;
    }
    let status = if v1.register.arrange(&room, asked, policy.clone(), v1.now_s())? {
        v1.register.tell(&room, v1.now_ms(), "consultation.created", None, None);
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    v1.register.settle().await?;
    Ok(json(status, &Consultation::planned(&id, &policy)))
}

/// Whether a consultation of this name runs, or people are in a plain room of it.
async fn is_taken(v1: &V1, room: &RoomKey) -> Result<bool, Problem> {
    if v1.ask(room.clone(), AdminAction::ShowConsultation).await?.is_ok() {
        return Ok(true);
    }
    let inside = v1.ask(room.clone(), AdminAction::ListParticipants).await?;
    Ok(matches!(inside, Ok(AdminReply::Participants(list)) if !list.is_empty()))
}

/// The id of a request that names itself instead of its consultation: the same for the same tenant and key.
fn keyed(tenant: &str, key: &[u8]) -> Result<String, Problem> {
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        return Err(Problem::invalid("Idempotency-Key must have 1 to 255 bytes"));
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(tenant.as_bytes());
    context.update(&[0]);
    context.update(key);
    let hash = context.finish();
    let (short, _) = hash.as_ref().split_at_checked(KEYED_BYTES).unwrap_or_else(|| (hash.as_ref(), &[]));
    Ok(format!("k-{}", URL_SAFE_NO_PAD.encode(short)))
}

/// Shows a consultation with its seats.
#[utoipa::path(
    get,
    path = "/v1/consultations/{id}",
    operation_id = "show_consultation",
    tag = "consultations",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 200, description = "How it stands", body = Consultation),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = [])),
)]
pub(super) async fn show(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let (room, _) = caller.platform(&id)?;
    let arranged = v1.register.find(&room);
    let shown = match v1.ask(room, AdminAction::ShowConsultation).await? {
        Ok(AdminReply::Consultation(overview)) => {
            let mut shown = Consultation::open(&id, &overview);
            if let Some(entry) = &arranged {
                add_absent(&mut shown, entry);
            }
            shown
        }
        Ok(_) => return Err(Problem::new(Code::Internal, "the room answered something else; try again")),
        Err(Refusal::NoSuchRoom | Refusal::NotAConsultation) => {
            let entry = arranged.ok_or_else(Problem::no_consultation)?;
            let mut shown = Consultation::planned(&id, &entry.policy);
            if entry.ended || entry.closes_at() <= v1.now_s() {
                shown.state = Stage::Ended;
            }
            add_absent(&mut shown, &entry);
            shown
        }
        Err(refusal) => return Err(v1.told(refusal)),
    };
    Ok(json(StatusCode::OK, &shown))
}

/// Seats the room does not know yet, because they were invited before it opened.
fn add_absent(shown: &mut Consultation, entry: &Entry) {
    for (seat, invited) in &entry.seats {
        if shown.seats.iter().all(|known| known.seat != seat.as_str()) {
            shown.seats.push(Seat::invited(seat, invited.role, entry.consent(seat)));
        }
    }
}

/// Ends a consultation for everybody; its links and tokens open nothing any more. A doctor may do it as well.
#[utoipa::path(
    delete,
    path = "/v1/consultations/{id}",
    operation_id = "end_consultation",
    tag = "consultations",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 204, description = "It is over"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn end(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    let was_open = v1.act(&caller, &room, Act::Close).await?;
    if !was_open && matches!(caller, Caller::Seat(_)) {
        return Err(Problem::new(Code::NotOpen, "nobody has come yet; only the platform can end it now"));
    }
    if v1.register.end(&room) && !was_open {
        // An open room tells of its end itself.
        v1.register.tell(&room, v1.now_ms(), "consultation.ended", None, None);
        v1.note_after(&caller, What::Change(Op::RoomEnd), &room, None);
        v1.note_after(&caller, What::Revoked, &room, None);
    }
    v1.settle_after_end().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lets nobody else in.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/lock",
    operation_id = "lock_consultation",
    tag = "consultations",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 204, description = "Locked"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn lock(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    v1.act_inside(&caller, &room, Act::Lock).await
}

/// Lets people in again.
#[utoipa::path(
    delete,
    path = "/v1/consultations/{id}/lock",
    operation_id = "unlock_consultation",
    tag = "consultations",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 204, description = "Unlocked"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn unlock(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    v1.act_inside(&caller, &room, Act::Unlock).await
}

/// Moves the end.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/extend",
    operation_id = "extend_consultation",
    tag = "consultations",
    params(("id" = String, Path, description = "The consultation's id")),
    request_body = Extension,
    responses(
        (status = 204, description = "It ends later"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn extend(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    Json(asked): Json<Extension>,
) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    if asked.ends_at <= v1.now_s() {
        return Err(Problem::invalid("ends_at must be later than now, in seconds since 1970"));
    }
    let extended = v1.act(&caller, &room, Act::Extend { ends_at_ms: ms(asked.ends_at) }).await;
    let open = extended.map_err(|problem| too_long(problem, v1.register.rules(&room.tenant)))?;
    if !open && matches!(caller, Caller::Seat(_)) {
        return Err(Problem::new(Code::NotOpen, "nobody has come yet; only the platform can change it now"));
    }
    if !open {
        v1.note(&caller, Op::RoomUpdate, &room, None).await?;
    }
    v1.register.extend(&room, asked.ends_at);
    if !open {
        let facts = serde_json::json!({ "ends_at": asked.ends_at, "by": "platform" });
        v1.register.tell(&room, v1.now_ms(), "consultation.extended", None, Some(facts));
    }
    v1.register.settle().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An extension past what the tenant allows is told so.
fn too_long(problem: Problem, tenant: &TenantRules) -> Problem {
    match tenant.max_length {
        Some(most) if problem.code == Code::Invalid => {
            let most = most.as_secs();
            let what = format!("ends_at: the tenant's rules let a consultation last {most} s from its opening (max_length_s)");
            Problem::new(Code::TenantRule, format!("{what}; choose an earlier end, or have `tenants.consultation` changed"))
        }
        _ => problem,
    }
}

impl Seat {
    /// A seat nobody has taken yet.
    pub(super) fn invited(seat: &Identity, role: Role, consent: Option<&Consent>) -> Self {
        Self {
            seat: seat.as_str().to_owned(),
            role: role.into(),
            state: SeatState::Invited.as_str(),
            gate: Gate::Absent.as_str(),
            consent: consent.map(|consent| consent.scopes.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            text: consent.map(|consent| consent.text.as_str().to_owned()),
            emergency: None,
            beside: Vec::new(),
        }
    }
}
