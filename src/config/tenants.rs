//! Tenants, their keys and the secrets behind them.

use super::error::{ConfigError, Fault};
use super::rules::{self, RawRules};
use super::webhooks::{self, RawWebhook, Webhook};
use super::{Mode, SHORTEST_SECRET};
use crate::model::TenantId;
use crate::relay::command::{Policy, TenantRules};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Default lifetime limit of a join token in consultation tenants: a person opens the link within a quarter of an hour.
const CONSULTATION_JOIN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Longest secret or public key file read, in bytes; a PEM public key of P-256 has under 200.
const LONGEST_SECRET_FILE: u64 = 16 * 1024;

/// SPKI of an Ed25519 key up to its 32 bytes (RFC 8410 section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// SPKI of a P-256 key up to its uncompressed point (RFC 5480 section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Bytes that are wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for signing and checking only.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Reads a secret from a file; line ends after it do not count.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let bytes = read_short(file).map_err(|reason| ConfigError::unreadable(&file.display().to_string(), &reason))?;
        Ok(Self::new(bytes.trim_ascii_end().to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(text.into_bytes()))
    }
}

/// A STUN or TURN server told to clients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` addresses.
    #[serde(default)]
    pub urls: Vec<String>,
    /// User name for TURN.
    #[serde(default)]
    pub username: String,
    /// Password for TURN.
    #[serde(default)]
    pub credential: Option<Secret>,
}

/// A customer of the node: its rooms, its rules, its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// How its rooms behave.
    pub policy: Policy,
    /// Longest lifetime of a join token it may use; `None` is unlimited.
    pub join_lifetime: Option<Duration>,
    /// What it says of its consultations.
    pub rules: TenantRules,
    /// Where its events are pushed.
    pub webhooks: Vec<Webhook>,
    /// Keys that sign its tokens.
    pub keys: Vec<Key>,
}

impl Tenant {
    pub(super) fn open(name: &str) -> Self {
        Self {
            id: TenantId::new(name),
            policy: Policy::Open,
            join_lifetime: None,
            rules: TenantRules::default(),
            webhooks: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// A key of a tenant; its algorithm is bound to it and never taken from a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The `iss` of tokens it signs.
    pub id: String,
    /// What checks them.
    pub material: KeyMaterial,
}

/// What checks a token's signature.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// A shared secret for HMAC-SHA256.
    Hs256(Secret),
    /// The 32 bytes of an Ed25519 public key.
    EdDsa(Vec<u8>),
    /// The uncompressed point of a P-256 public key, 65 bytes.
    Es256(Vec<u8>),
}

impl KeyMaterial {
    /// The algorithm it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::Hs256,
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Es256(_) => Algorithm::Es256,
        }
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(…)", self.algorithm().as_str())
    }
}

/// How tokens of a key are signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC-SHA256 with a shared secret.
    #[default]
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519; the node holds the public key only.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256; the node holds the public key only.
    #[serde(rename = "ES256")]
    Es256,
}

impl Algorithm {
    /// The name in tokens and in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }
}

#[derive(Deserialize)]
#[serde(remote = "Policy", rename_all = "lowercase")]
enum PolicyName {
    Open,
    Consultation,
}

/// A tenant as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTenant {
    #[serde(default)]
    name: String,
    #[serde(default, with = "PolicyName")]
    policy: Policy,
    join_lifetime_s: Option<u32>,
    #[serde(default)]
    consultation: RawRules,
    #[serde(default)]
    webhooks: Vec<RawWebhook>,
    #[serde(default)]
    keys: Vec<RawKey>,
}

/// A key as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    #[serde(default)]
    id: String,
    #[serde(default)]
    algorithm: Algorithm,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    public_key_file: Option<PathBuf>,
}

/// Turns tenants of the file into typed ones and reads the files their keys name.
pub(super) fn resolve(raw: Vec<RawTenant>, folder: &Path, mode: Mode) -> Result<Vec<Tenant>, Fault> {
    let mut tenants = Vec::with_capacity(raw.len());
    for (at, tenant) in raw.into_iter().enumerate() {
        let mut keys = Vec::with_capacity(tenant.keys.len());
        for (key_at, key) in tenant.keys.into_iter().enumerate() {
            keys.push(resolve_key(key, folder, mode, &format!("tenants[{at}].keys[{key_at}]"))?);
        }
        let join_lifetime = match tenant.join_lifetime_s {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(u64::from(seconds))),
            None => (tenant.policy == Policy::Consultation).then_some(CONSULTATION_JOIN_LIFETIME),
        };
        let rules = rules::resolve(tenant.consultation, &format!("tenants[{at}].consultation"))?;
        let webhooks = webhooks::resolve(tenant.webhooks, &keys, &format!("tenants[{at}]"))?;
        tenants.push(Tenant { id: TenantId::new(tenant.name), policy: tenant.policy, join_lifetime, rules, webhooks, keys });
    }
    Ok(tenants)
}

fn resolve_key(raw: RawKey, folder: &Path, mode: Mode, path: &str) -> Result<Key, Fault> {
    let RawKey { id, algorithm, secret, secret_file, public_key_file } = raw;
    match (algorithm, secret, secret_file, public_key_file) {
        (Algorithm::Hs256, Some(secret), None, None) => hs256_key(&id, secret, mode, &format!("{path}.secret")),
        (Algorithm::Hs256, None, Some(file), None) => {
            let key = format!("{path}.secret_file");
            let bytes = read_short(&folder.join(&file)).map_err(|reason| unreadable(&key, &file, &reason))?;
            hs256_key(&id, Secret::new(bytes.trim_ascii_end().to_vec()), mode, &key)
        }
        (Algorithm::EdDsa | Algorithm::Es256, None, None, Some(file)) => {
            let key = format!("{path}.public_key_file");
            let pem = read_short(&folder.join(&file)).map_err(|reason| unreadable(&key, &file, &reason))?;
            let material = public_key(algorithm, &pem).ok_or_else(|| {
                let expected = format!("a PEM file with an {} public key", algorithm.as_str());
                Fault::new(key, Some(quoted(&file)), &expected, "write the output of openssl pkey -pubout into it")
            })?;
            Ok(Key { id, material })
        }
        (Algorithm::Hs256, ..) => Err(Fault::new(
            path,
            None,
            "exactly one of secret and secret_file for HS256",
            r#"write { id = "APIclinic", secret_file = "clinic.secret" }"#,
        )),
        (Algorithm::EdDsa | Algorithm::Es256, ..) => Err(Fault::new(
            path,
            None,
            "public_key_file and no secret for EdDSA and ES256",
            r#"write { id = "APIclinic", algorithm = "EdDSA", public_key_file = "clinic.pem" }"#,
        )),
    }
}

/// A key with a shared secret; a short one passes in dev mode only.
pub(super) fn hs256_key(id: &str, secret: Secret, mode: Mode, path: &str) -> Result<Key, Fault> {
    if secret.expose().is_empty() || (mode == Mode::Production && secret.expose().len() < SHORTEST_SECRET) {
        let expected = format!("a secret of at least {SHORTEST_SECRET} bytes, got {}", secret.expose().len());
        return Err(Fault::new(path, None, &expected, "make one with openssl rand -base64 32"));
    }
    Ok(Key { id: id.to_owned(), material: KeyMaterial::Hs256(secret) })
}

/// The two tenants of dev mode.
pub(super) fn dev_tenants() -> Result<[Tenant; 2], ConfigError> {
    let mut random = Zeroizing::new([0_u8; SHORTEST_SECRET]);
    aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| ConfigError::NoRandom)?;
    // Text, so that a developer's server SDK could take it as it is.
    let secret = URL_SAFE_NO_PAD.encode(random.as_slice());
    let key =
        |id: &str, secret: &str| Key { id: id.to_owned(), material: KeyMaterial::Hs256(Secret::new(secret.as_bytes().to_vec())) };
    Ok([
        Tenant { keys: vec![key("devkey", "secret")], ..Tenant::open("dev") },
        Tenant {
            id: TenantId::new("clinic"),
            policy: Policy::Consultation,
            join_lifetime: Some(CONSULTATION_JOIN_LIFETIME),
            rules: TenantRules::default(),
            webhooks: Vec::new(),
            keys: vec![key("clinic", &secret)],
        },
    ])
}

fn read_short(file: &Path) -> Result<Vec<u8>, String> {
    let facts = std::fs::metadata(file).map_err(|error| error.kind().to_string())?;
    if !facts.is_file() || facts.len() > LONGEST_SECRET_FILE {
        return Err("not a file of at most 16 KiB".to_owned());
    }
    std::fs::read(file).map_err(|error| error.kind().to_string())
}

fn unreadable(key: &str, file: &Path, reason: &str) -> Fault {
    let expected = format!("a readable file ({reason})");
    Fault::new(
        key,
        Some(quoted(file)),
        &expected,
        "check the path, which is relative to the configuration file, and its permissions",
    )
}

fn quoted(file: &Path) -> String {
    format!("\"{}\"", file.display())
}

fn public_key(algorithm: Algorithm, pem: &[u8]) -> Option<KeyMaterial> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    match algorithm {
        Algorithm::Hs256 => None,
        Algorithm::EdDsa => {
            der.strip_prefix(&ED25519_SPKI).filter(|key| key.len() == 32).map(|key| KeyMaterial::EdDsa(key.to_vec()))
        }
        Algorithm::Es256 => der
            .strip_prefix(&P256_SPKI)
            .filter(|point| point.len() == 65 && point.first() == Some(&4))
            .map(|point| KeyMaterial::Es256(point.to_vec())),
    }
}
