//! What went wrong, as `application/problem+json` (RFC 9457) with a stable code of our own.

use crate::auth::AuthError;
use crate::relay::command::Loosened;
use crate::relay::event::Refusal;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of every error.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:ident, $title:literal;)*) => {
        /// Why a call was not carried out; the word never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word on the wire.
            #[must_use]
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The HTTP status it travels with.
            #[must_use]
            pub(super) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// A few words for a person who reads it.
            #[must_use]
            pub(super) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// No token, or one that proves nothing.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "The token is missing or not valid";
    /// The token is valid but not for this call.
    Forbidden = "forbidden", FORBIDDEN, "The token does not allow this call";
    /// No such consultation, seat, link or call; also for those of another tenant.
    NotFound = "not_found", NOT_FOUND, "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The call does not have this method";
    /// The body is not the JSON the call takes.
    BadBody = "bad_body", BAD_REQUEST, "The body is not what this call takes";
    /// The body is too large.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// A value is outside what it may be.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "A value is not possible";
    /// The rules of the tenant, written in the node's configuration, do not let a consultation have this.
    TenantRule = "tenant_rule", FORBIDDEN, "The tenant's rules do not allow it";
    /// The same id or reference exists with other facts.
    Conflict = "conflict", CONFLICT, "It exists with other facts";
    /// The consultation, or the seat's window, is not open yet; `opens_at` says when where it is known.
    Early = "early", FORBIDDEN, "It is too early";
    /// The consultation, or the seat's window, is over.
    Ended = "ended", GONE, "It is over";
    /// Nobody has come yet, so there is nothing to act on.
    NotOpen = "not_open", CONFLICT, "Nobody is in the consultation";
    /// Nobody else is let in.
    Locked = "locked", CONFLICT, "The consultation is locked";
    /// A doctor must be inside first.
    ProfessionalFirst = "professional_first", CONFLICT, "A doctor must be inside first";
    /// A patient has not agreed to this.
    ConsentMissing = "consent_missing", CONFLICT, "The patient's consent is missing";
    /// One aside runs already.
    AsideRunning = "aside_running", CONFLICT, "An aside is running";
    /// No aside runs.
    NoAside = "no_aside", CONFLICT, "No aside is running";
    /// The seat is expected in another role.
    WrongRole = "wrong_role", CONFLICT, "The seat has another role";
    /// The seat was removed or sent away.
    SeatRemoved = "seat_removed", CONFLICT, "The seat was removed";
    /// All seats are taken.
    Full = "full", CONFLICT, "All seats are taken";
    /// A bound of the node is reached.
    TooMany = "too_many", TOO_MANY_REQUESTS, "A bound is reached";
    /// Nothing can be attested of the consultation.
    Unattested = "unattested", NOT_FOUND, "There is no attestation";
    /// The node takes nothing new now.
    Busy = "busy", SERVICE_UNAVAILABLE, "The node is busy";
    /// The audit log takes nothing now, so nobody gets more than before.
    AuditUnavailable = "audit_unavailable", SERVICE_UNAVAILABLE, "The audit log is not available";
    /// What was arranged could not be written down.
    NotKept = "not_kept", SERVICE_UNAVAILABLE, "It could not be kept";
    /// The consultation did not answer in time.
    Late = "late", GATEWAY_TIMEOUT, "The consultation did not answer in time";
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "A fault of the relay";
}

/// An error answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Where the code is explained, relative to the relay.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The code in a few words.
    pub(super) title: &'static str,
    /// The HTTP status.
    pub(super) status: u16,
    /// What to do about this one.
    pub(super) detail: String,
    /// Stable, for programs.
    pub(super) code: Code,
    /// Seconds after which it is worth another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
    /// When it opens, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opens_at: Option<u64>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/v1/problems/{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: detail.into(),
            code,
            retry_after: None,
            opens_at: None,
        }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    /// What is not there and what belongs to somebody else look the same.
    pub(super) fn no_consultation() -> Self {
        Self::new(
            Code::NotFound,
            "no such consultation; create it with POST /v1/consultations, or check whose key signed the token",
        )
    }

    pub(super) fn no_seat() -> Self {
        Self::new(Code::NotFound, "no such seat; invite it with POST /v1/consultations/{id}/seats, or check its reference")
    }
}

impl From<Loosened> for Problem {
    fn from(loosened: Loosened) -> Self {
        let Loosened { key, allowed } = loosened;
        let remedy = "ask for that or leave it out, or have `tenants.consultation` in the node's configuration changed";
        Self::new(Code::TenantRule, format!("rules.{key}: the tenant's rules {allowed}; {remedy}"))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (code, remedy) = match refusal {
            Refusal::NotAllowed => {
                (Code::Forbidden, "this role, or this seat, may not do that; ask a doctor or use a platform token")
            }
            Refusal::NoSuchRoom | Refusal::NotAConsultation => return Self::no_consultation(),
            Refusal::NoSuchSeat | Refusal::NoSuchParticipant => return Self::no_seat(),
            Refusal::NoSuchTrack => (Code::NotFound, "no such track; its id is in the roster"),
            Refusal::BadPolicy => {
                (Code::Invalid, "these rules do not fit together or pass a bound; the bounds are in /v1/openapi.json")
            }
            Refusal::LimitExceeded => (Code::Invalid, "too many or too large; the bounds are in /v1/openapi.json"),
            Refusal::TooEarly => (Code::Early, "the consultation is not open yet; come back when it is"),
            Refusal::TooLate => (Code::Ended, "the consultation is over; create another"),
            Refusal::Locked => (Code::Locked, "nobody else is let in; unlock it with DELETE …/lock"),
            Refusal::ProfessionalFirst => (Code::ProfessionalFirst, "a doctor must join before others are let in"),
            Refusal::ConsentMissing => (Code::ConsentMissing, "record the patient's consent with POST …/consents first"),
            Refusal::AsideRunning => (Code::AsideRunning, "one aside at a time; end it with DELETE …/aside first"),
            Refusal::NoAside => (Code::NoAside, "there is no aside; start one with POST …/aside"),
            Refusal::WrongRole | Refusal::RoleRequired | Refusal::WeakAuthentication => {
                (Code::WrongRole, "the seat's role or its authentication does not allow it; invite it again with what it needs")
            }
            Refusal::Removed | Refusal::SecondUse | Refusal::UnknownSession => {
                (Code::SeatRemoved, "the seat was removed, or another connection holds it; invite it again")
            }
            Refusal::RoomFull => (Code::Full, "all seats are taken; create the consultation with a larger max_seats"),
            Refusal::AuditUnavailable => (
                Code::AuditUnavailable,
                "the audit log takes nothing now, so nobody is given access; running calls go on; try again after `retry_after` seconds",
            ),
            Refusal::Busy | Refusal::Queued => (Code::Busy, "the node is busy; try again after `retry_after` seconds"),
            Refusal::Unsupported | Refusal::RemoteUnmute | Refusal::BadOffer => {
                (Code::Forbidden, "the relay does not do this for anybody")
            }
        };
        Self::new(code, remedy)
    }
}

/// What to do is said by the kind of fault; the token itself is never repeated.
impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let (code, remedy) = match error {
            AuthError::Missing | AuthError::Header => {
                (Code::Unauthenticated, "send `Authorization: Bearer` and a token signed with one of the tenant's keys")
            }
            AuthError::Expired => (Code::Unauthenticated, "the token has expired; sign or fetch a new one"),
            AuthError::NotYet => (Code::Unauthenticated, "the token is not valid yet; check `nbf` and the clocks"),
            AuthError::Lifetime => {
                (Code::Unauthenticated, "the token is valid for longer than the tenant allows; sign a shorter one")
            }
            AuthError::Revoked => (Code::Unauthenticated, "the seat was removed after the token was issued; invite it again"),
            AuthError::Ended => (Code::Ended, "the consultation ended after the token was issued; create another"),
            AuthError::UnknownKey => (Code::Unauthenticated, "`iss` names no key of this node; check the key id"),
            AuthError::Malformed | AuthError::Algorithm | AuthError::Signature => (
                Code::Unauthenticated,
                "the token cannot be verified; sign it with the key that `iss` names and that key's algorithm",
            ),
            AuthError::Denied => (Code::Forbidden, "the token lacks the grant this call needs"),
            AuthError::Hidden | AuthError::Kind => (Code::Forbidden, "the token asks for a participant the relay does not have"),
        };
        Self::new(code, remedy)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.code.status(), &self);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.extensions_mut().insert(self.code);
        if self.code == Code::Unauthenticated {
            // RFC 9110 section 11.6.1: a 401 names the scheme.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let Ok(bytes) = serde_json::to_vec(value) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_in_every_place() {
        for code in Code::ALL {
            let told = serde_json::to_value(Problem::new(*code, "what to do")).expect("plain values");
            assert_eq!(told["code"], code.as_str());
            assert_eq!(told["type"], format!("/v1/problems/{}", code.as_str()));
            assert_eq!(told["status"], code.status().as_u16());
            assert!(code.status().as_u16() >= 400 && !code.title().is_empty());
        }
    }

    #[test]
    fn an_unauthenticated_answer_names_its_scheme_and_media_type() {
        let response = Problem::from(AuthError::Missing).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
