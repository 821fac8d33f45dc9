//! Consent: give, refuse, withdraw, and a doctor's way past a missing one in an emergency.

use super::V1;
use super::body::Json;
use super::caller::{Caller, check_id};
use super::problem::{Code, Problem};
use super::words::{NewConsent, NewRefusal, Override, scopes};
use crate::api::scribe::{Op, What};
use crate::model::Identity;
use crate::relay::command::{Act, Channel, Consent, Emergency, Scope, TextVersion};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;

/// Records consent: the platform for what a patient agreed to beforehand, or the patient, or a legal representative, in the call.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/consents",
    operation_id = "give_consent",
    tag = "consent",
    params(("id" = String, Path, description = "The consultation's id")),
    request_body = NewConsent,
    responses(
        (status = 204, description = "Recorded; where the gate waited for it, it is open"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn give(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    Json(asked): Json<NewConsent>,
) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    let seat = caller.seat_or_own(asked.seat)?;
    let channel = match (&caller, asked.channel.as_deref()) {
        (Caller::Platform(_), None) => Channel::Token,
        (Caller::Platform(_), Some(word)) => {
            Channel::parse(word).ok_or_else(|| Problem::invalid("channel is token, in_call or representative"))?
        }
        // What a person says of the channel proves nothing; the room has checked who may speak for the seat.
        (Caller::Seat(grants), _) if grants.identity == seat => Channel::InCall,
        (Caller::Seat(_), _) => Channel::Representative,
    };
    let text = TextVersion::parse(&asked.text)
        .ok_or_else(|| Problem::invalid("text is the version of what was agreed to: 1 to 64 letters, digits and ._:/+=-"))?;
    let consent = Consent { seat, scopes: scopes(&asked.scopes)?, text, channel };
    if v1.act(&caller, &room, Act::Consent(consent.clone())).await? {
        v1.register.keep_consent(&room, consent);
        v1.register.settle().await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    // Nobody has come yet: what the platform records is in force when somebody does.
    caller.platform(&id)?;
    let seat = consent.seat.clone();
    v1.note(&caller, Op::ConsentWrite, &room, Some(&seat)).await?;
    if !v1.register.keep_consent(&room, consent) {
        return Err(Problem::no_seat());
    }
    let facts = serde_json::json!({ "channel": channel.as_str(), "by": "platform" });
    v1.register.settle().await?;
    v1.register.tell(&room, v1.now_ms(), "consent.given", Some(&seat), Some(facts));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which consent is taken back.
#[derive(Deserialize)]
pub(super) struct Which {
    scopes: Option<String>,
}

/// Takes consent back; when this answers, no packet of the patient's or towards the patient crosses any more.
#[utoipa::path(
    delete,
    path = "/v1/consultations/{id}/consents/{seat}",
    operation_id = "withdraw_consent",
    tag = "consent",
    params(
        ("id" = String, Path, description = "The consultation's id"),
        ("seat" = String, Path, description = "The patient's seat"),
        ("scopes" = Option<String>, Query, description = "What is taken back, with commas between; everything where it is missing"),
    ),
    responses(
        (status = 204, description = "Taken back"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn withdraw(
    State(v1): State<V1>,
    caller: Caller,
    Path((id, seat)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    check_id("seat", &seat)?;
    let seat = Identity::new(seat);
    let words: Vec<_> = which.scopes.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    let act = Act::WithdrawConsent { seat: seat.clone(), scopes: scopes(&words)? };
    let inside = v1.act(&caller, &room, act).await?;
    if !inside {
        caller.platform(&id)?;
    }
    // What is left of it counts again once it is given again: a room that opens anew must not know more than was kept.
    let known = v1.register.drop_consent(&room, &seat);
    if !inside {
        if !known {
            return Err(Problem::new(Code::NotFound, "this seat has agreed to nothing"));
        }
        v1.register.tell(&room, v1.now_ms(), "consent.withdrawn", Some(&seat), Some(serde_json::json!({ "by": "platform" })));
        v1.note_after(&caller, What::Change(Op::ConsentWrite), &room, Some(&seat));
    }
    v1.settle_after_end().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Records that a patient was asked and said no: the gate stays shut, or is shut, and everybody concerned is told
/// (`consultation.declined` of the patient, and of a third person who waits for the answer).
///
/// The patient, a legal representative or the platform may. Consent may be given afterwards all the same.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/refusals",
    operation_id = "refuse_consent",
    tag = "consent",
    params(("id" = String, Path, description = "The consultation's id")),
    request_body = NewRefusal,
    responses(
        (status = 204, description = "On record; no packet of the patient's, or of the third person's, crosses"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn refuse(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    Json(asked): Json<NewRefusal>,
) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    let (seat, scopes) = (caller.seat_or_own(asked.seat)?, scopes(&asked.scopes)?);
    // A room that opens anew must not know of a consent that came before the no; a no to a third person takes none of it back.
    let whole = !scopes.iter().any(|scope| matches!(scope, Scope::ThirdPerson(_)));
    let answer = v1.act_inside(&caller, &room, Act::RefuseConsent { seat: seat.clone(), scopes }).await?;
    if whole {
        v1.register.drop_consent(&room, &seat);
    }
    Ok(answer)
}

/// Goes on without a patient's consent in an emergency, where the consultation allows it; a doctor inside may, with a reason.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/override",
    operation_id = "override_consent",
    tag = "consent",
    params(("id" = String, Path, description = "The consultation's id")),
    request_body = Override,
    responses(
        (status = 204, description = "The consultation goes on; everybody is told"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("seat" = [])),
)]
pub(super) async fn go_on(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    Json(asked): Json<Override>,
) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    check_id("seat", &asked.seat)?;
    let why =
        Emergency::parse(&asked.why).ok_or_else(|| Problem::invalid("why is life_threat, unable_to_consent or legal_order"))?;
    v1.act_inside(&caller, &room, Act::EmergencyOverride { seat: Identity::new(asked.seat), why }).await
}
