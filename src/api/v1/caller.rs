//! Who calls: the platform with one of its keys, or a seat with its own token.
//!
//! A token that joins a room is a seat's, whatever else it grants: what the platform may do never hangs on a token that sits in
//! somebody's browser. Everything of another tenant, or of another room than the token's, is "not found".

use super::V1;
use super::noting::Calling;
use super::problem::{Code, Problem};
use crate::auth::{AuthError, Grants, RefusedToken, Why, bearer};
use crate::model::{Identity, RoomKey, RoomName};
use crate::wire::MAX_NAME;
use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use std::net::IpAddr;
use std::sync::PoisonError;

/// A verified caller.
#[derive(Debug)]
pub(super) enum Caller {
    /// The platform.
    Platform(Grants),
    /// A person in a seat.
    Seat(Grants),
}

impl Caller {
    fn grants(&self) -> &Grants {
        match self {
            Self::Platform(grants) | Self::Seat(grants) => grants,
        }
    }

    /// The consultation a call names, where this caller may know of it.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a seat of another consultation, [`Code::Invalid`] for an id no room can have.
    fn consultation(&self, id: &str) -> Result<RoomKey, Problem> {
        check_id("the consultation's id", id)?;
        let grants = self.grants();
        let elsewhere = match self {
            Self::Platform(_) => false,
            Self::Seat(_) => grants.video.room.as_str() != id,
        };
        if elsewhere {
            return Err(Problem::no_consultation());
        }
        Ok(RoomKey { tenant: grants.tenant.clone(), name: RoomName::new(id) })
    }

    /// The same for calls that a room decides about: the platform's, or a seat's in its own room.
    ///
    /// # Errors
    /// Those of [`platform`](Self::platform) for the platform, those of [`consultation`](Self::consultation) for a seat.
    pub(super) fn acting(&self, id: &str) -> Result<RoomKey, Problem> {
        match self {
            Self::Platform(_) => self.platform(id).map(|(room, _)| room),
            Self::Seat(_) => self.consultation(id),
        }
    }

    /// The seat a request names; a seat's own token may leave it out.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub(super) fn seat_or_own(&self, named: Option<String>) -> Result<Identity, Problem> {
        match (named, self) {
            (Some(seat), _) => check_id("seat", &seat).map(|()| Identity::new(seat)),
            (None, Self::Seat(grants)) => Ok(grants.identity.clone()),
            (None, Self::Platform(_)) => Err(Problem::invalid("seat is missing: name the seat this is about")),
        }
    }

    /// The same for calls of the platform only.
    ///
    /// # Errors
    /// [`Code::Forbidden`] without the grant of a platform.
    pub(super) fn platform(&self, id: &str) -> Result<(RoomKey, &Grants), Problem> {
        let room = self.consultation(id)?;
        let grants = self.grants();
        let administers = grants.video.room_admin && [id, ""].contains(&grants.video.room.as_str());
        match self {
            Self::Platform(_) if grants.video.room_create || administers => Ok((room, grants)),
            Self::Platform(_) | Self::Seat(_) => Err(platform_only()),
        }
    }

    /// The same for calls that concern no single consultation.
    ///
    /// # Errors
    /// [`Code::Forbidden`] without the grant of a platform.
    pub(super) fn tenant(&self) -> Result<&Grants, Problem> {
        match self {
            Self::Platform(grants) if grants.video.room_create => Ok(grants),
            Self::Platform(_) | Self::Seat(_) => Err(platform_only()),
        }
    }
}

fn platform_only() -> Problem {
    Problem::new(
        Code::Forbidden,
        "only the platform may: sign a token without roomJoin, with roomCreate, or with roomAdmin and the consultation's id as room",
    )
}

/// Ids and references travel in paths, tokens and roster updates.
pub(super) fn check_id(what: &str, id: &str) -> Result<(), Problem> {
    if id.is_empty() || id.len() > MAX_NAME || id.chars().any(char::is_control) {
        return Err(Problem::invalid(format!("{what} must have 1 to {MAX_NAME} bytes and no control characters")));
    }
    Ok(())
}

impl FromRequestParts<V1> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, v1: &V1) -> Result<Self, Problem> {
        let from = parts.extensions.get::<IpAddr>().copied();
        let told = |error: AuthError, grants: Option<&Grants>| {
            if let Some((from, why)) = from.zip(Why::of(error)) {
                v1.witness.token_refused(&RefusedToken::new(from, why, grants));
            }
            Problem::from(error)
        };
        let value = parts.headers.get(header::AUTHORIZATION).ok_or(AuthError::Missing)?;
        let token = value.to_str().map_err(|_| AuthError::Header).and_then(bearer).map_err(|error| told(error, None))?;
        let grants = v1.keys.verify(token, v1.now_s()).map_err(|error| told(error, None))?;
        if !grants.video.room_join {
            if let Some(calling) = parts.extensions.get::<Calling>() {
                calling.is(&grants);
            }
            return Ok(Self::Platform(grants));
        }
        if grants.identity.as_str().is_empty() || grants.video.room.as_str().is_empty() {
            return Err(Problem::new(Code::Forbidden, "a seat's token needs `sub` and `video.room`"));
        }
        let checked = v1.revocations.lock().unwrap_or_else(PoisonError::into_inner).check(&grants);
        checked.map_err(|error| told(error, Some(&grants)))?;
        Ok(Self::Seat(grants))
    }
}
