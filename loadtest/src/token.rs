//! Join tokens: JWT signed with HMAC-SHA256, claims as the LiveKit SDKs write them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;

/// A token that lets `identity` join `room` and publish, subscribe and send data there.
///
/// `now` is the time since the Unix epoch; the token is good for an hour from then.
#[must_use]
pub fn join(key: &str, secret: &str, room: &str, identity: &str, now: Duration) -> String {
    let now = now.as_secs();
    let claims = serde_json::json!({
        "iss": key, "sub": identity, "name": identity, "nbf": now.saturating_sub(5), "exp": now + 3_600,
        "video": { "roomJoin": true, "room": room, "canPublish": true, "canSubscribe": true, "canPublishData": true },
    });
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_and_its_claims() {
        let token = join("key", "secret", "room", "anna", Duration::from_secs(1_000));

        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(claims["exp"], 4_600);
        assert_eq!(claims["video"]["room"], "room");
    }

    #[test]
    fn another_secret_signs_otherwise() {
        let one = join("key", "secret", "room", "anna", Duration::ZERO);
        let other = join("key", "other", "room", "anna", Duration::ZERO);

        assert_ne!(one.rsplit('.').next(), other.rsplit('.').next());
    }
}
