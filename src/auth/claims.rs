//! The claims of a token as they stand in its JSON.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The claims the relay reads and writes; unknown ones are ignored. Times are seconds since the Unix epoch.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// The id of the signing key; filled in by minting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The seat's opaque reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Older tokens carry the identity here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Not valid before.
    #[serde(default, deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Not valid after; obligatory.
    #[serde(default, deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// When it was issued.
    #[serde(default, deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Opaque to the relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Key-value pairs of the participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
    /// What sits behind the participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What the token allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoClaims>,
    /// Checksum of a body, for webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Settings for the room if this participant opens it; passed on unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<serde_json::Value>,
}

impl Claims {
    /// When the token was issued, as far as it says.
    pub(super) fn issued(&self) -> Option<u64> {
        self.iat.into_iter().chain(self.nbf).filter(|date| *date > 0).max()
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims(…)")
    }
}

/// The video grant as it stands in a token; what is absent has the default of the LiveKit token.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names of the claims; VideoGrant documents their meaning")]
pub struct VideoClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_create: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_list: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_admin: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_join: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_sources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
}

impl fmt::Debug for VideoClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VideoClaims(…)")
    }
}

/// RFC 7519 NumericDate: a JSON number, a fraction is dropped; negative and absurd dates are refused.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    /// Year 9999: larger numbers are usually milliseconds, and sums with them must not overflow.
    const LAST: u64 = 253_402_300_799;
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let whole = number.as_u64().or_else(|| {
        let float = number.as_f64().filter(|float| (0.0..=LAST as f64).contains(float))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        Some(float as u64)
    });
    whole.filter(|date| *date <= LAST).map(Some).ok_or_else(|| serde::de::Error::custom("date"))
}
