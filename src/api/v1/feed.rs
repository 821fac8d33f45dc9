//! The tenant's events, as a log that is read from where one left off.

use super::V1;
use super::caller::Caller;
use super::events::Events;
use super::noting::Nothing;
use super::problem::{Problem, json};
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use std::time::Duration;

/// Longest wait for an event, in seconds: below the patience of common proxies.
const LONGEST_WAIT_S: u64 = 50;

/// Where to read from.
#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
}

/// Events of the tenant after a number, at most 500; the node keeps the last 4096.
///
/// Store `next` with what you did about the events, and ask for `after` that number. When `gap` is true some are gone, or the
/// node was restarted (`log` differs): fetch the state of your consultations and go on from `next`.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "read_events",
    tag = "events",
    params(
        ("after" = Option<u64>, Query, description = "The last number seen; 0 where it is missing"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for an event, at most 50"),
    ),
    responses(
        (status = 200, description = "Events, oldest first", body = Events),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = [])),
)]
pub(super) async fn events(State(v1): State<V1>, caller: Caller, Query(from): Query<From>) -> Result<Response, Problem> {
    let tenant = caller.tenant()?.tenant.clone();
    let patience = Duration::from_secs(from.wait.min(LONGEST_WAIT_S));
    let told = v1.register.events(&tenant, from.after, patience).await;
    let mut response = json(StatusCode::OK, &told);
    if told.events.is_empty() {
        response.extensions_mut().insert(Nothing);
    }
    Ok(response)
}
