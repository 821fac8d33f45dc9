//! The two forms of a body.

use super::{Code, TwirpError};
use crate::wire::fields;
use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Fields of one request on all its levels.
const MAX_FIELDS: usize = 65_536;

/// Protobuf-JSON or binary protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Protobuf,
}

impl Form {
    /// Reads the content type; parameters such as a charset do not matter.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let kind = value.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else if kind.eq_ignore_ascii_case("application/protobuf") {
            Some(Self::Protobuf)
        } else {
            None
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        }
    }

    pub(super) fn decode<T: Message + Default + DeserializeOwned>(self, body: &[u8]) -> Result<T, TwirpError> {
        let decoded = match self {
            Self::Json => serde_json::from_slice(body).ok(),
            Self::Protobuf => fields::within(body, MAX_FIELDS).then(|| T::decode(body).ok()).flatten(),
        };
        decoded.ok_or_else(|| TwirpError::new(Code::Malformed, "the request body does not parse"))
    }

    pub(super) fn encode<T: Message + Serialize>(self, answer: &T) -> Result<Vec<u8>, TwirpError> {
        match self {
            Self::Json => serde_json::to_vec(answer).map_err(|_| TwirpError::new(Code::Internal, "the answer does not encode")),
            Self::Protobuf => Ok(answer.encode_to_vec()),
        }
    }
}

pub(super) fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
