//! What can be told of a consultation: a signed statement of what was delivered, and the story for whoever answers the telephone.

use super::V1;
use super::caller::Caller;
use super::problem::{Code, Problem, json};
use crate::api::scribe::{Note, What};
use crate::model::{RoomKey, TenantId};
use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::header::{self, HeaderValue};
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// A JWS in compact form (RFC 7515, section 9.2.1).
const JOSE: &str = "application/jose";

/// A key in PEM.
const PEM: &str = "application/x-pem-file";

/// What a node can tell of its consultations. Asked on threads that may wait for a disk.
pub trait Ledger: Send + Sync {
    /// Signs what can be stated of one opening of a consultation, 1 the first; without a number the latest.
    ///
    /// # Errors
    /// [`Unattested`] says why nothing can be.
    fn attestation(&self, room: &RoomKey, opening: Option<u32>) -> Result<Attested, Unattested>;
    /// The key that checks attestations, in PEM.
    fn public_key(&self) -> Option<String>;
    /// The story of a consultation's latest opening.
    fn story(&self, room: &RoomKey) -> Option<Value>;
    /// The story of a code, where it is of this tenant's.
    fn story_of(&self, tenant: &TenantId, code: &str) -> Option<Value>;
    /// The code of that story.
    fn code(&self, room: &RoomKey) -> Option<String>;
}

/// A signed statement.
#[derive(Clone, Debug)]
pub struct Attested {
    /// A JWS in compact form.
    pub jws: String,
    /// Which opening of the consultation.
    pub opening: u32,
    /// How many there are.
    pub openings: u32,
    /// Whether that opening is over, so that nothing is added any more.
    pub ended: bool,
}

/// Why nothing is attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattested {
    /// The node keeps no record for this tenant.
    NoRecord,
    /// Nothing is known of such a consultation.
    Unknown,
    /// It opened less often.
    NoSuchOpening {
        /// So often.
        openings: u32,
    },
    /// It just opened, and nothing stands in the record yet.
    NotRecorded,
    /// It was signed, and cannot be read any more.
    Unreadable,
}

/// Keeps nothing, for nodes and tests without one.
#[derive(Clone, Copy, Debug)]
pub struct NoLedger;

impl Ledger for NoLedger {
    fn attestation(&self, _: &RoomKey, _: Option<u32>) -> Result<Attested, Unattested> {
        Err(Unattested::NoRecord)
    }

    fn public_key(&self) -> Option<String> {
        None
    }

    fn story(&self, _: &RoomKey) -> Option<Value> {
        None
    }

    fn story_of(&self, _: &TenantId, _: &str) -> Option<Value> {
        None
    }

    fn code(&self, _: &RoomKey) -> Option<String> {
        None
    }
}

/// Which opening.
#[derive(Deserialize)]
pub(super) struct Which {
    opening: Option<u32>,
}

/// The code of a story.
#[derive(Serialize, ToSchema)]
pub(super) struct Support {
    /// Six digits to read out over the telephone.
    code: String,
}

impl From<Unattested> for Problem {
    fn from(why: Unattested) -> Self {
        match why {
            Unattested::NoRecord => Self::new(
                Code::Unattested,
                "this node keeps no audit record for the tenant, and without one it attests nothing; the operator sets audit.dir and makes its keys with colloque audit init",
            ),
            Unattested::Unknown => Self::new(
                Code::Unattested,
                "nothing is attested of this consultation: nobody has been let in yet, or it is older than audit.retention_days, or the node was killed while it ran; then the audit record alone tells of it (colloque audit report)",
            ),
            Unattested::NoSuchOpening { openings } => Self::new(
                Code::Unattested,
                format!(
                    "the consultation opened {openings} times; ask for opening 1 to {openings}, or leave it out for the latest"
                ),
            ),
            Unattested::NotRecorded => Self {
                retry_after: Some(1),
                ..Self::new(
                    Code::Unattested,
                    "the consultation just opened and nothing stands in the audit record yet; try again",
                )
            },
            Unattested::Unreadable => {
                Self::new(Code::Internal, "the attestation cannot be read; tell the operator to look at the folder of the record")
            }
        }
    }
}

impl V1 {
    /// Asks the ledger where waiting for a disk holds up nobody.
    async fn look<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Ledger) -> T + Send + 'static) -> Result<T, Problem> {
        let ledger: Arc<dyn Ledger> = self.ledger.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&*ledger)).await;
        asked.map_err(|_| Problem::new(Code::Internal, "try again, and tell the operator"))
    }
}

fn plain(kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A signed statement of who was there and what was delivered to whom, without content.
///
/// While the consultation runs it says what can be said so far (`"ended": false`); once it is over, the same bytes are answered
/// each time. A room that closed and opened again is another opening with a statement of its own. Check it offline with
/// `colloque attestation verify`, or with any JWS library: EdDSA, the key of `GET /v1/attestation-key`.
#[utoipa::path(
    get,
    path = "/v1/consultations/{id}/attestation",
    operation_id = "read_attestation",
    tag = "afterwards",
    params(
        ("id" = String, Path, description = "The consultation's id"),
        ("opening" = Option<u32>, Query, description = "Which opening, 1 the first; the latest where it is missing"),
    ),
    responses(
        (status = 200, description = "A JWS in compact form; `colloque-opening` and `colloque-openings` say which of how many openings", body = String, content_type = "application/jose"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = [])),
)]
pub(super) async fn attestation(
    State(v1): State<V1>,
    caller: Caller,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let (room, grants) = caller.platform(&id)?;
    let asked = room.clone();
    let signed = v1.look(move |ledger| ledger.attestation(&asked, which.opening)).await?;
    let signed = match signed {
        Err(Unattested::Unknown) if v1.register.find(&room).is_none() => return Err(Problem::no_attestation()),
        other => other?,
    };
    let Some(sha256) = digest::digest(&digest::SHA256, signed.jws.as_bytes()).as_ref().first_chunk().copied() else {
        return Err(Problem::new(Code::Internal, "try again, and tell the operator"));
    };
    v1.put(Note::of(grants, What::Report(sha256)).in_room(&room)).await?;
    let mut response = plain(JOSE, signed.jws);
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("colloque-opening"), HeaderValue::from(signed.opening));
    headers.insert(HeaderName::from_static("colloque-openings"), HeaderValue::from(signed.openings));
    Ok(response)
}

/// The public key that checks attestations, in PEM.
#[utoipa::path(
    get,
    path = "/v1/attestation-key",
    operation_id = "read_attestation_key",
    tag = "afterwards",
    responses(
        (status = 200, description = "An Ed25519 public key", body = String, content_type = "application/x-pem-file"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
pub(super) async fn key(State(v1): State<V1>) -> Result<Response, Problem> {
    let key = v1.look(|ledger| ledger.public_key()).await?;
    key.map(|pem| plain(PEM, pem)).ok_or_else(|| Unattested::NoRecord.into())
}

/// The story of a call for whoever answers the telephone: what happened to each seat, whose matter it was, and the figures.
///
/// It holds roles and figures, never a name, an address, a reference or anything that was said. It is kept for a day after the
/// call ended.
#[utoipa::path(
    get,
    path = "/v1/consultations/{id}/timeline",
    operation_id = "read_timeline",
    tag = "afterwards",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 200, description = "The story of the latest opening, with its code", body = Value),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = [])),
)]
pub(super) async fn timeline(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let (room, _) = caller.platform(&id)?;
    let story = v1.look(move |ledger| ledger.story(&room)).await?;
    story.map(|story| json(StatusCode::OK, &story)).ok_or_else(Problem::no_story)
}

/// The same by the code that somebody reads out.
#[utoipa::path(
    get,
    path = "/v1/timelines/{code}",
    operation_id = "read_timeline_by_code",
    tag = "afterwards",
    params(("code" = String, Path, description = "Six digits; blanks and dashes between them do not matter")),
    responses(
        (status = 200, description = "The story", body = Value),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = [])),
)]
pub(super) async fn timeline_of(State(v1): State<V1>, caller: Caller, Path(code): Path<String>) -> Result<Response, Problem> {
    let tenant = caller.tenant()?.tenant.clone();
    let story = v1.look(move |ledger| ledger.story_of(&tenant, &code)).await?;
    story.map(|story| json(StatusCode::OK, &story)).ok_or_else(Problem::no_story)
}

/// The code to read out when somebody rings up for help; the platform may ask for it, and each seat with its own token.
#[utoipa::path(
    get,
    path = "/v1/consultations/{id}/support",
    operation_id = "read_support_code",
    tag = "afterwards",
    params(("id" = String, Path, description = "The consultation's id")),
    responses(
        (status = 200, description = "The code of the latest opening", body = Support),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("platform" = []), ("seat" = [])),
)]
pub(super) async fn support(State(v1): State<V1>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let room = caller.acting(&id)?;
    let code = v1.look(move |ledger| ledger.code(&room)).await?;
    code.map(|code| json(StatusCode::OK, &Support { code })).ok_or_else(Problem::no_story)
}

impl Problem {
    fn no_attestation() -> Self {
        Self::new(
            Code::NotFound,
            "no such consultation, or nothing is kept of it: check whose key signed the token; it may be older than audit.retention_days, or the node was killed while it ran, and then the audit record alone tells of it (colloque audit report)",
        )
    }

    fn no_story() -> Self {
        Self::new(
            Code::NotFound,
            "no such story: nobody has come yet, its call ended more than a day ago, the node was restarted since, or the code is of another tenant",
        )
    }
}
