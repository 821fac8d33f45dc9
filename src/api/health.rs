//! Liveness, readiness and metrics.

use crate::relay::command::Relay;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use std::fmt;
use std::sync::Arc;

/// Renders all metrics in the Prometheus text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the handlers look at.
#[derive(Clone)]
pub struct Health {
    /// Asked whether the node takes new calls.
    pub relay: Arc<dyn Relay>,
    /// Rendered on `/metrics`; without it the path does not exist.
    pub metrics: Option<Metrics>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health")
    }
}

/// `/healthz` (the process answers), `/readyz` (it takes new rooms) and `/metrics`.
pub fn routes(health: Health) -> Router {
    let routes = Router::new().route("/healthz", get(async || "OK")).route("/readyz", get(ready));
    let routes = if health.metrics.is_some() { routes.route("/metrics", get(metrics)) } else { routes };
    routes.with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    answer(health.relay.as_ref())
}

/// `OK` while new rooms are taken; otherwise 503, why, and when to ask again. Calls that run go on either way.
pub fn answer(relay: &dyn Relay) -> Response {
    match relay.closed() {
        None => "OK".into_response(),
        Some(why) => {
            let seconds = relay.retry_after().as_secs();
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, seconds.to_string())], why).into_response()
        }
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let text = health.metrics.map_or_else(String::new, |render| render());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
