//! `token create`: finds the key and checks the words; the signing itself is done elsewhere, behind [`Mint`].

use super::args::TokenArgs;
use super::{Failure, load};
use crate::auth;
use crate::config::{Config, Key, KeyMaterial, Mode, Secret};
use crate::model::TenantId;
use crate::model::roster::Role;
use crate::relay::command::Policy;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Longest identity, room and name a token takes, in bytes: they travel in every roster update.
const LONGEST_WORD: usize = 256;

/// Everything a join token says.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The key that signs; its id is the issuer.
    pub key: Key,
    /// The room it joins.
    pub room: String,
    /// The seat's reference.
    pub identity: String,
    /// Name shown to the others.
    pub name: Option<String>,
    /// Role in a consultation, for the `consultation.role` attribute.
    pub role: Option<Role>,
    /// Time of issue.
    pub issued: SystemTime,
    /// Lifetime.
    pub valid_for: Duration,
}

/// Signs a join token; the error text is one line.
pub type Mint = fn(&TokenRequest) -> Result<String, String>;

/// The seam to `crate::auth`.
pub(super) fn mint(request: &TokenRequest) -> Result<String, String> {
    let KeyMaterial::Hs256(secret) = &request.key.material else {
        return Err("the key is a public key; only its owner can make tokens with it".to_owned());
    };
    // Only the signature matters here: which tenant a token opens is decided by the relay that verifies it.
    let key = auth::Key::checked(
        &request.key.id,
        TenantId::new("token"),
        auth::RoomPolicy::Open,
        auth::KeyBytes::Hs256(secret.expose()),
    )
    .map_err(|error| error.to_string())?;
    let issued =
        request.issued.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "the clock is before 1970".to_owned())?.as_secs();
    let role = request.role.map(|role| BTreeMap::from([("consultation.role".to_owned(), role.as_str().to_owned())]));
    let claims = auth::Claims {
        sub: Some(request.identity.clone()),
        name: request.name.clone(),
        nbf: Some(issued),
        exp: Some(issued + request.valid_for.as_secs()),
        attributes: role,
        video: Some(auth::VideoClaims {
            room_join: Some(true),
            room: Some(request.room.clone()),
            ..auth::VideoClaims::default()
        }),
        ..auth::Claims::default()
    };
    key.mint(&claims).ok_or_else(|| "the token could not be signed".to_owned())
}

/// Makes a token.
pub(super) fn create(args: &TokenArgs, mint: Mint, issued: SystemTime) -> Result<String, Failure> {
    let role = args.role.as_deref().map(role).transpose()?;
    for (flag, word) in [("--room", Some(&args.room)), ("--identity", Some(&args.identity)), ("--name", args.name.as_ref())] {
        if word.is_some_and(|word| word.is_empty() || word.len() > LONGEST_WORD || word.chars().any(char::is_control)) {
            return Err(Failure::Usage(format!("{flag}: expected 1 to {LONGEST_WORD} bytes without control characters")));
        }
    }
    let key = signing_key(args, role)?;
    let request = TokenRequest {
        key,
        room: args.room.clone(),
        identity: args.identity.clone(),
        name: args.name.clone(),
        role,
        issued,
        valid_for: args.valid_for,
    };
    mint(&request).map_err(Failure::Internal)
}

fn role(word: &str) -> Result<Role, Failure> {
    Role::parse(word).ok_or_else(|| {
        let known: Vec<_> = Role::ALL.into_iter().map(Role::as_str).collect();
        Failure::Usage(format!("--role {word}: expected one of {}", known.join(", ")))
    })
}

fn signing_key(args: &TokenArgs, role: Option<Role>) -> Result<Key, Failure> {
    if let (Some(id), Some(file)) = (&args.key, &args.secret_file) {
        let mut bare = Config::default();
        bare.add_key(id, Secret::from_file(file)?, Mode::Production)?;
        return bare.key(id).map(|(_, key)| key.clone()).ok_or_else(|| Failure::Internal("a key just added is gone".to_owned()));
    }
    if args.config.is_none() && !args.dev {
        return Err(Failure::Usage(
            "no key to sign with; pass --config FILE, or --key KEY with --secret-file FILE, or --dev".to_owned(),
        ));
    }
    let mode = if args.dev { Mode::Dev } else { Mode::Production };
    let (mut config, place) = load(args.config.as_deref(), mode)?;
    if args.dev {
        config = config.with_dev_tenants()?;
    }
    config.require_keys(&place)?;
    let id = match (&args.key, args.dev) {
        (Some(id), _) => id,
        (None, true) => "devkey",
        (None, false) => only_key(&config)?,
    };
    // Its secret is new with every start of a node, so a token signed here would fit none.
    if args.dev && id == "clinic" {
        return Err(Failure::Usage(
            "--key clinic: its secret lives in the running node only; use the links it prints".to_owned(),
        ));
    }
    let (tenant, key) = config.key(id).ok_or_else(|| Failure::Usage(format!("--key {id}: no such key in {place}")))?;
    if tenant.policy == Policy::Consultation && role.is_none() {
        return Err(Failure::Usage("--role is missing; the key's tenant has the consultation policy".to_owned()));
    }
    if tenant.join_lifetime.is_some_and(|most| args.valid_for > most) {
        let most = tenant.join_lifetime.unwrap_or_default().as_secs();
        return Err(Failure::Usage(format!("--valid-for: the key's tenant takes join tokens of at most {most}s")));
    }
    if !matches!(key.material, KeyMaterial::Hs256(_)) {
        return Err(Failure::Usage(format!("--key {id}: the node has its public half only; sign where the private key is")));
    }
    Ok(key.clone())
}

fn only_key(config: &Config) -> Result<&str, Failure> {
    let mut ids = config.tenants.iter().flat_map(|tenant| &tenant.keys).map(|key| key.id.as_str());
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        _ => Err(Failure::Usage("--key is missing; the configuration has more than one".to_owned())),
    }
}
