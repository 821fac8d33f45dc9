//! From an invitation to a token.

use super::V1;
use super::body::Json;
use super::problem::{Code, Problem, json};
use super::register::Invited;
use super::words::{Joining, LinkCode};
use crate::auth::{Claims, ROLE_ATTRIBUTE, VideoClaims};
use crate::model::roster::Text;
use crate::model::{Identity, RoomKey};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use std::collections::BTreeMap;

/// How long a token of a seat is valid where the tenant allows it, in seconds: a lobby with a look at the camera, no more. In the
/// call the relay renews it.
const TOKEN_LIFETIME_S: u64 = 10 * 60;

/// What a link alone proves about a person.
const LINK_ONLY: &str = "link_only:0";

/// Swaps the code of a link for a token.
///
/// The code is the whole proof, so it is in the body: paths stand in the logs of proxies.
#[utoipa::path(
    post,
    path = "/v1/links",
    operation_id = "swap_link",
    tag = "joining",
    request_body = LinkCode,
    responses(
        (status = 200, description = "A token that joins", body = Joining),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
pub(super) async fn swap(State(v1): State<V1>, Json(asked): Json<LinkCode>) -> Result<Response, Problem> {
    let (room, seat, invited) = v1.register.redeem(&asked.code, v1.now_s())?;
    v1.check_record(Some(&room))?;
    let by_link = Invited { auth: Some(invited.auth.clone().unwrap_or_else(|| LINK_ONLY.to_owned())), ..invited };
    let signed = mint(&v1, &room, &seat, &by_link);
    let (token, expires_at) =
        signed.ok_or_else(|| Problem::new(Code::NotFound, "this link opens nothing any more; ask for a new one"))?;
    let answer = Joining {
        token,
        expires_at,
        consultation: room.name.as_str().to_owned(),
        seat: seat.as_str().to_owned(),
        role: by_link.role.into(),
    };
    Ok(json(StatusCode::OK, &answer))
}

/// A token for a seat from now on and when it expires; `None` where the relay cannot sign for the tenant.
pub(super) fn mint(v1: &V1, room: &RoomKey, seat: &Identity, invited: &Invited) -> Option<(String, u64)> {
    let key = v1.keys.minting(&invited.key)?;
    let now = v1.now_s();
    let lifetime = key.join_lifetime_s().map_or(TOKEN_LIFETIME_S, |most| most.min(TOKEN_LIFETIME_S));
    let expires = now.saturating_add(lifetime);
    let mut attributes = BTreeMap::from([(ROLE_ATTRIBUTE.to_owned(), invited.role.as_str().to_owned())]);
    if let Some(auth) = &invited.auth {
        attributes.insert("consultation.auth".to_owned(), auth.clone());
    }
    if invited.legal_representative {
        attributes.insert("consultation.legal_rep".to_owned(), "true".to_owned());
    }
    let claims = Claims {
        sub: Some(seat.as_str().to_owned()),
        nbf: Some(now),
        iat: Some(now.max(invited.issued_from)),
        exp: Some(expires),
        name: invited.name.as_ref().map(|Text(name)| name.to_string()),
        attributes: Some(attributes),
        video: Some(VideoClaims { room_join: Some(true), room: Some(room.name.as_str().to_owned()), ..VideoClaims::default() }),
        ..Claims::default()
    };
    Some((key.mint(&claims)?, expires))
}
