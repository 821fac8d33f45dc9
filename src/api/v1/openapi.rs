//! The OpenAPI document, generated from the handlers, and what each problem code means.

use super::problem::{Code, Problem, json};
use super::{accounts, asides, consents, consultations, feed, joining, seats};
use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderValue};
use std::sync::LazyLock;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The whole API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Colloque",
        description = "Arrange video consultations, let people in, record consent, speak apart, and follow what happens. Times are \
                       seconds since 1970 (UTC) unless a name ends in `_ms`. Errors are problem details (RFC 9457); programs go by `code`.",
    ),
    paths(
        consultations::create, consultations::show, consultations::end, consultations::lock, consultations::unlock,
        consultations::extend, consents::go_on, seats::invite, seats::admit, seats::refuse, seats::remove, seats::mute,
        seats::attest_identity,
        seats::declare, seats::withdraw, consents::give, consents::refuse, consents::withdraw, asides::start, asides::renew, asides::end,
        joining::swap, feed::events, accounts::attestation, accounts::timeline, accounts::support, accounts::timeline_of,
        accounts::key, explain, serve,
    ),
    tags(
        (name = "consultations", description = "Arrange them and end them"),
        (name = "seats", description = "Who may come, and who is there"),
        (name = "consent", description = "What the patient agreed to"),
        (name = "aside", description = "Speaking apart"),
        (name = "joining", description = "What the consultation page calls"),
        (name = "events", description = "What happened"),
        (name = "afterwards", description = "What was delivered, and what went wrong"),
        (name = "about", description = "This document"),
    ),
    modifiers(&Callers),
)]
struct Described;

/// The two kinds of callers.
struct Callers;

impl Modify for Callers {
    fn modify(&self, document: &mut Document) {
        let bearer = |text: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(text)).build();
            SecurityScheme::Http(scheme)
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "platform",
            bearer("A LiveKit access token signed with the tenant's key: `video.roomCreate`, or `video.roomAdmin` with the consultation's id as `video.room`; without `video.roomJoin`."),
        );
        components.add_security_scheme("seat", bearer("The seat's own join token, as the relay last renewed it."));
    }
}

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());

/// The OpenAPI document.
#[must_use]
pub fn document() -> Document {
    Described::openapi()
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "read_openapi",
    tag = "about",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value)),
    security(()),
)]
pub(super) async fn serve() -> Response {
    let mut response = Response::new(Body::from(TEXT.as_str()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What a problem's code means; the `type` of a problem leads here.
#[utoipa::path(
    get,
    path = "/v1/problems/{code}",
    operation_id = "explain_problem",
    tag = "about",
    params(("code" = String, Path, description = "The code")),
    responses(
        (status = 200, description = "The code in words", body = serde_json::Value),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
pub(super) async fn explain(Path(word): Path<String>) -> Result<Response, Problem> {
    let code = Code::ALL.iter().find(|code| code.as_str() == word);
    let code = code.ok_or_else(|| Problem::new(Code::NotFound, "no such code; they are listed in /v1/openapi.json"))?;
    let told = serde_json::json!({ "code": code.as_str(), "title": code.title(), "status": code.status().as_u16() });
    Ok(json(StatusCode::OK, &told))
}
