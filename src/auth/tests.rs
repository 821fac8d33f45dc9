use super::*;
use crate::model::TenantId;
use crate::model::roster::{Role, Source};
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Minted with the JS and Python server SDKs and with `jose`; the keys were made for this file.
const VECTORS: &str = include_str!("../../tests/vectors/tokens.txt");
const MINTED: u64 = 1_795_310_613;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn vector(name: &str) -> String {
    let line = VECTORS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a vector").replace('|', "\n")
}

fn shared(id: &str, secret: &str) -> Key {
    Key::shared(id, TenantId::new("clinic"), RoomPolicy::Open, &Zeroizing::new(secret.to_owned())).expect("a good key")
}

fn public(id: &str, pem: &str) -> Key {
    Key::public(id, TenantId::new("clinic"), RoomPolicy::Open, pem).expect("a good key")
}

fn ring() -> KeyRing {
    KeyRing::new([
        shared("APIkey1", SECRET),
        public("key-EdDSA", &vector("pem-EdDSA")),
        public("key-ES256", &vector("pem-ES256")),
        shared("key-RS256", &vector("pem-RS256")),
    ])
    .expect("four ids")
}

/// Signs any header and payload with HMAC, as an attacker with a secret of his own would.
fn forge(header: &Value, payload: &Value, secret: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn payload() -> Value {
    json!({ "iss": "APIkey1", "sub": "seat", "exp": MINTED + 600, "nbf": MINTED, "video": { "room": "r", "roomJoin": true } })
}

fn with(mut value: Value, key: &str, new: Value) -> Value {
    value[key] = new;
    value
}

fn verify(header: &Value, payload: &Value) -> Result<Grants, AuthError> {
    ring().verify(&forge(header, payload, SECRET), MINTED)
}

fn hs256() -> Value {
    json!({ "alg": "HS256", "typ": "JWT" })
}

#[test]
fn tokens_of_the_server_sdks_are_read() {
    let js = ring().verify(&vector("js-join"), MINTED).expect("JS");
    assert_eq!((js.identity.as_str(), &*js.name.0, &*js.metadata.0), ("seat-7", "Jeanne", r#"{"a":1}"#));
    assert_eq!((js.video.room.as_str(), js.role()), ("consult-1", Some(Role::Patient)));
    let may = &js.video.permissions;
    assert!(may.publish && may.subscribe && !may.publish_data && may.update_own_metadata);
    assert_eq!(may.sources, [Source::Microphone, Source::Camera]);
    assert!(js.issued_at > 0, "revocation needs a date");
    let admin = ring().verify(&vector("js-admin"), MINTED).expect("JS admin");
    assert!(admin.admin_of("consult-1").is_ok() && admin.admin_of("consult-2").is_err() && !admin.video.room_join);
    let python = ring().verify(&vector("py-join"), MINTED).expect("Python");
    assert_eq!(python.role(), Some(Role::Doctor));
}

#[test]
fn public_keys_verify_and_cannot_mint() {
    for algorithm in ["EdDSA", "ES256"] {
        let token = vector(&format!("jose-{algorithm}"));
        assert!(ring().verify(&token, MINTED).is_ok(), "{algorithm}");
        let id = format!("key-{algorithm}");
        assert!(ring().find(&id).expect("configured").mint(&Claims::default()).is_none());
        assert_eq!(ring().minting(&id).map(Key::id), Some("APIkey1"), "another key of the tenant signs refresh tokens");
    }
}

#[test]
fn bad_tokens_are_refused() {
    let good = vector("js-join");
    let (signed, tag) = good.rsplit_once('.').expect("three parts");
    let other_tag = vector("js-admin").rsplit_once('.').expect("three parts").1.to_owned();
    let alg = |name: &str| json!({ "alg": name });
    let cases = [
        ("none", forge(&alg("none"), &payload(), SECRET), AuthError::Algorithm),
        (
            "none, no signature",
            format!("{}.", forge(&alg("none"), &payload(), "").rsplit_once('.').unwrap().0),
            AuthError::Algorithm,
        ),
        ("RS256 with the public key as secret", vector("jose-RS256"), AuthError::Algorithm),
        ("HS256 under an ES256 key", forge(&hs256(), &with(payload(), "iss", json!("key-ES256")), SECRET), AuthError::Algorithm),
        ("HS512", forge(&alg("HS512"), &payload(), SECRET), AuthError::Algorithm),
        ("lower case", forge(&alg("hs256"), &payload(), SECRET), AuthError::Algorithm),
        ("embedded key", forge(&json!({ "alg": "HS256", "jwk": {} }), &payload(), SECRET), AuthError::Algorithm),
        ("critical", forge(&json!({ "alg": "HS256", "crit": ["b64"] }), &payload(), SECRET), AuthError::Algorithm),
        ("wrong secret", forge(&hs256(), &payload(), "another secret of thirty-two bytes"), AuthError::Signature),
        ("swapped signature", format!("{signed}.{other_tag}"), AuthError::Signature),
        ("stripped signature", format!("{signed}."), AuthError::Signature),
        ("padded", format!("{good}="), AuthError::Malformed),
        ("two parts", signed.to_owned(), AuthError::Malformed),
        ("four parts", format!("{good}.{tag}"), AuthError::Malformed),
        ("empty", String::new(), AuthError::Malformed),
        ("huge", "a".repeat(MAX_TOKEN + 1), AuthError::Malformed),
        ("unknown key", forge(&hs256(), &with(payload(), "iss", json!("APIkey2")), SECRET), AuthError::UnknownKey),
        ("no issuer", forge(&hs256(), &with(payload(), "iss", Value::Null), SECRET), AuthError::UnknownKey),
        ("no expiry", forge(&hs256(), &with(payload(), "exp", Value::Null), SECRET), AuthError::Malformed),
        ("expiry as text", forge(&hs256(), &with(payload(), "exp", json!("tomorrow")), SECRET), AuthError::Malformed),
        ("expiry in milliseconds", forge(&hs256(), &with(payload(), "exp", json!(u64::MAX)), SECRET), AuthError::Malformed),
        ("expired", forge(&hs256(), &with(payload(), "exp", json!(MINTED - LEEWAY_S - 1)), SECRET), AuthError::Expired),
        ("not yet", forge(&hs256(), &with(payload(), "nbf", json!(MINTED + LEEWAY_S + 1)), SECRET), AuthError::NotYet),
        ("hidden", forge(&hs256(), &with(payload(), "video", json!({ "hidden": true })), SECRET), AuthError::Hidden),
        ("recorder", forge(&hs256(), &with(payload(), "kind", json!("egress")), SECRET), AuthError::Kind),
    ];
    for (name, token, error) in cases {
        assert_eq!(ring().verify(&token, MINTED).err(), Some(error), "{name}");
    }
    assert!(verify(&hs256(), &payload()).is_ok(), "positive control");
}

#[test]
fn the_leeway_is_a_minute_both_ways() {
    assert!(verify(&hs256(), &with(payload(), "exp", json!(MINTED - LEEWAY_S))).is_ok());
    assert!(verify(&hs256(), &with(payload(), "nbf", json!(MINTED + LEEWAY_S))).is_ok());
}

#[test]
fn consultation_tokens_join_for_a_quarter_of_an_hour_only() {
    let key = |limit| {
        let secret = Zeroizing::new(SECRET.to_owned());
        let key = Key::shared("APIkey1", TenantId::new("clinic"), RoomPolicy::Consultation, &secret).expect("a good key");
        KeyRing::new([match limit {
            Some(limit) => key.with_join_lifetime(limit),
            None => key,
        }])
        .expect("one key")
    };
    let long = forge(&hs256(), &with(payload(), "exp", json!(MINTED + 6 * 3600)), SECRET);
    assert_eq!(key(None).verify(&long, MINTED).err(), Some(AuthError::Lifetime));
    assert_eq!(key(None).verify(&long, MINTED + 6 * 3600 - 60).err(), Some(AuthError::Lifetime), "its last minute is no better");
    assert!(key(Some(None)).verify(&long, MINTED).is_ok(), "positive control: lifted");
    assert!(key(None).verify(&vector("js-join"), MINTED).is_ok(), "ten minutes");
    assert!(key(None).verify(&vector("js-admin"), MINTED).is_ok(), "the platform's own calls are not joins");
}

#[test]
fn absent_permissions_have_the_defaults_of_the_format() {
    let may = verify(&hs256(), &payload()).expect("good").video.permissions;
    assert!(may.subscribe && may.publish && may.publish_data && !may.update_own_metadata && may.sources.is_empty());
    let silent = json!({ "room": "r", "roomJoin": true, "canPublish": false });
    let may = verify(&hs256(), &with(payload(), "video", silent)).expect("good").video.permissions;
    assert!(!may.publish && !may.publish_data, "data follows publishing");
    let odd = json!({ "room": "r", "roomJoin": true, "canPublishSources": ["telepathy"] });
    assert!(!verify(&hs256(), &with(payload(), "video", odd)).expect("good").video.permissions.publish, "unknown is not all");
}

#[test]
fn an_older_identity_claim_is_used_only_without_the_newer() {
    let old = with(with(payload(), "sub", Value::Null), "jti", json!("old-seat"));
    assert_eq!(verify(&hs256(), &old).expect("good").identity.as_str(), "old-seat");
    assert_eq!(verify(&hs256(), &with(payload(), "jti", json!("x"))).expect("good").identity.as_str(), "seat");
}

#[test]
fn what_is_minted_is_verified() {
    let claims = Claims { sub: Some("seat".into()), exp: Some(MINTED + 60), ..Claims::default() };
    let token = shared("APIkey1", SECRET).mint(&claims).expect("a shared key signs");
    assert_eq!(ring().verify(&token, MINTED).expect("good").identity.as_str(), "seat");
}

#[test]
fn a_removed_seat_needs_a_newer_token() {
    let grants = verify(&hs256(), &payload()).expect("good");
    let mut revoked = Revocations::default();
    revoked.revoke(grants.room(), crate::model::Identity::new("somebody-else"), MINTED);
    assert!(revoked.check(&grants).is_ok());
    revoked.revoke(grants.room(), grants.identity.clone(), MINTED);
    assert_eq!(revoked.check(&grants), Err(AuthError::Revoked));
    let later = verify(&hs256(), &with(payload(), "nbf", json!(MINTED + 1))).expect("good");
    assert!(revoked.check(&later).is_ok());
}

#[test]
fn weak_and_doubled_keys_are_refused() {
    let weak = Key::shared("k", TenantId::new("t"), RoomPolicy::Open, &Zeroizing::new("short".into()));
    assert_eq!(weak.err(), Some(BadKey::WeakSecret));
    assert_eq!(KeyRing::new([shared("k", SECRET), shared("k", SECRET)]).err(), Some(BadKey::Duplicate));
    let rsa = Key::public("k", TenantId::new("t"), RoomPolicy::Open, &vector("pem-RS256"));
    assert_eq!(rsa.err(), Some(BadKey::NotAPublicKey));
}

#[test]
fn nothing_of_a_token_is_printed() {
    let grants = verify(&hs256(), &payload()).expect("good");
    let printed = format!("{grants:?} {:?}", ring());
    assert!(!printed.contains("seat") && !printed.contains("APIkey1") && !printed.contains("clinic"), "{printed}");
    assert!(printed.contains("HS256"), "positive control");
}

proptest! {
    #[test]
    fn flipped_bits_never_verify(at in 0_usize..700, bit in 0_u8..8) {
        let token = vector("js-join");
        let mut bytes = token.clone().into_bytes();
        if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << bit; }
        if let Ok(changed) = String::from_utf8(bytes) && changed != token {
            prop_assert!(ring().verify(&changed, MINTED).is_err());
        }
    }
}
