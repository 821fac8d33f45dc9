//! The HTTP face of a node: one router over the doors, the page, and the listener that serves them.
//!
//! It puts rooms together and sets the headers and limits they share; it decides nothing else. No TLS: a proxy does it, or a
//! later acceptor in front of [`serve()`].
//!
//! Entry points: [`router`] and [`serve()`].

pub mod pages;
pub mod serve;

pub use pages::Pages;
pub use serve::{HttpLimits, serve};

use crate::api::health::{self, Health};
use crate::api::twirp::{self, RoomService};
use crate::api::v1::{self, V1};
use crate::signal::livekit::{Door, http as livekit};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use std::fmt;
use std::sync::Arc;

/// What the router serves.
#[derive(Clone)]
pub struct HttpState {
    /// The LiveKit door.
    pub door: Arc<Door>,
    /// The room service.
    pub rooms: RoomService,
    /// The consultation API.
    pub v1: V1,
    /// Liveness, readiness, metrics.
    pub health: Health,
    /// The page; may be empty.
    pub pages: Arc<Pages>,
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpState")
    }
}

/// Everything the node answers over HTTP.
pub fn router(state: HttpState) -> Router {
    let signal = Router::new()
        .route("/rtc", any(livekit::handle))
        .route("/rtc/{*rest}", any(livekit::handle))
        .with_state(Arc::clone(&state.door));
    let (rooms, consultations, health) = (state.rooms.clone(), state.v1.clone(), state.health.clone());
    let rest = Router::new().fallback(fallback).with_state(state);
    rest.merge(signal).merge(twirp::routes(rooms)).merge(v1::routes(consultations)).merge(health::routes(health))
}

/// The page, the root's health answer, and signalling paths with a doubled slash, which no route matches.
async fn fallback(State(state): State<HttpState>, request: Request) -> Response {
    let path = request.uri().path();
    let single = path.trim_start_matches('/');
    if path.starts_with("//") && (single == "rtc" || single.starts_with("rtc/")) {
        return livekit::handle(State(state.door), request).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if path == "/" && !wants_page(&request) {
        return root(&state);
    }
    match state.pages.answer(path) {
        Some(response) => response,
        None if path == "/" => root(&state),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Load balancers and SDKs ask the root for `OK`; a browser asks for HTML.
fn wants_page(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn root(state: &HttpState) -> Response {
    let mut response = health::answer(state.health.relay.as_ref());
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

#[cfg(test)]
#[path = "web/tests.rs"]
mod tests;
