//! Asides: some hear and see each other, the others receive nothing of it and see that it runs.

use super::V1;
use super::body::Json;
use super::caller::{Caller, check_id};
use super::problem::Problem;
use super::words::NewAside;
use crate::model::Identity;
use crate::relay::command::{Act, MOST_SEATS};
use axum::extract::{Path, State};
use axum::response::Response;

/// Starts an aside; when this answers, the others receive nothing of its members any more.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/aside",
    operation_id = "start_aside",
    tag = "aside",
    params(("id" = String, Path, description = "The consultation's id")),
    request_body = NewAside,
    responses(
        (status = 204, description = "It runs"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn start(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    Json(asked): Json<NewAside>,
) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    if !(2..=MOST_SEATS as usize).contains(&asked.members.len()) {
        return Err(Problem::invalid(format!("members must name 2 to {MOST_SEATS} seats")));
    }
    asked.members.iter().try_for_each(|member| check_id("a member", member))?;
    let members = asked.members.into_iter().map(Identity::new).collect();
    v1.act_inside(&caller, &room, Act::StartAside(members)).await
}

/// Lets it run on for as long again, from now.
#[utoipa::path(
    post,
    path = "/v1/consultations/{id}/aside/renew",
    operation_id = "renew_aside",
    tag = "aside",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 204, description = "It runs on"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn renew(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    v1.act_inside(&caller, &room, Act::RenewAside).await
}

/// Ends it.
#[utoipa::path(
    delete,
    path = "/v1/consultations/{id}/aside",
    operation_id = "end_aside",
    tag = "aside",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 204, description = "Everybody hears everybody again"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn end(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    v1.act_inside(&caller, &room, Act::EndAside).await
}
