//! What a verified token grants.

use super::keys::{Key, RoomPolicy};
use super::{AuthError, Claims, OWNED_PREFIX, ROLE_ATTRIBUTE, VideoClaims};
use crate::model::roster::{Participant, ParticipantKind, Permissions, Role, Source, Text};
use crate::model::{Identity, RoomKey, RoomName, TenantId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Shortest validity of a refresh token, in seconds: two refresh intervals of five minutes.
const MIN_REFRESH_S: u64 = 10 * 60;

/// A verified token.
#[derive(Clone)]
pub struct Grants {
    /// Whose key signed it.
    pub tenant: TenantId,
    /// How that tenant's rooms behave.
    pub policy: RoomPolicy,
    /// The id of the key.
    pub key: Arc<str>,
    /// Who it is for; empty for the platform's own calls.
    pub identity: Identity,
    /// Display name.
    pub name: Text,
    /// Opaque to the relay.
    pub metadata: Text,
    /// Key-value pairs of the participant.
    pub attributes: BTreeMap<String, String>,
    /// What sits behind it.
    pub kind: ParticipantKind,
    /// What it allows.
    pub video: VideoGrant,
    /// Room settings, as protobuf-JSON, unread.
    pub room_config: Option<serde_json::Value>,
    /// Valid until, seconds since the Unix epoch.
    pub expires_at: u64,
    /// Issued at (`iat` or `nbf`, the later), 0 where the token does not say.
    pub issued_at: u64,
    /// The token's own id (`jti`), where it has one.
    pub token_id: Option<Arc<str>>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants").field("policy", &self.policy).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a token allows, defaults filled in.
#[derive(Clone, Debug)]
pub struct VideoGrant {
    /// May create and delete rooms.
    pub room_create: bool,
    /// May list the tenant's rooms.
    pub room_list: bool,
    /// May administer [`room`](Self::room).
    pub room_admin: bool,
    /// May join [`room`](Self::room).
    pub room_join: bool,
    /// The room it is for; may be empty.
    pub room: RoomName,
    /// What the participant may do in the room.
    pub permissions: Permissions,
}

impl Grants {
    pub(super) fn from_claims(claims: Claims, key: &Key) -> Result<Self, AuthError> {
        let issued_at = claims.issued().unwrap_or(0);
        let video = claims.video.unwrap_or_default();
        if video.hidden.unwrap_or(false) {
            return Err(AuthError::Hidden);
        }
        let token_id = claims.jti.as_deref().filter(|id| !id.is_empty()).map(Arc::from);
        let identity = claims.sub.filter(|sub| !sub.is_empty()).or(claims.jti).unwrap_or_default();
        Ok(Self {
            tenant: key.tenant().clone(),
            policy: key.policy(),
            key: key.shared_id(),
            identity: Identity::new(identity),
            name: Text(claims.name.unwrap_or_default().into()),
            metadata: Text(claims.metadata.unwrap_or_default().into()),
            attributes: claims.attributes.unwrap_or_default(),
            kind: kind(claims.kind.as_deref().unwrap_or_default())?,
            video: VideoGrant::from_claims(video),
            room_config: claims.room_config,
            expires_at: claims.exp.ok_or(AuthError::Malformed)?,
            issued_at,
            token_id,
        })
    }

    /// The room the token is for.
    #[must_use]
    pub fn room(&self) -> RoomKey {
        RoomKey { tenant: self.tenant.clone(), name: self.video.room.clone() }
    }

    /// The seat's role, where the token names a known one.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.attributes.get(ROLE_ATTRIBUTE).and_then(|word| Role::parse(word))
    }

    /// Whether the token administers a room.
    ///
    /// # Errors
    /// [`AuthError::Denied`] without the grant or for another room.
    pub fn admin_of(&self, room: &str) -> Result<(), AuthError> {
        let granted = self.video.room_admin && !room.is_empty() && self.video.room.as_str() == room;
        granted.then_some(()).ok_or(AuthError::Denied)
    }

    /// The claims of a token that continues this one with the participant's present record; `now` in seconds.
    #[must_use]
    pub fn refreshed(&self, record: &Participant, now: u64) -> Claims {
        let permissions = &record.permissions;
        Claims {
            sub: Some(self.identity.as_str().to_owned()),
            nbf: Some(now),
            iat: Some(now),
            exp: Some(self.expires_at.max(now.saturating_add(MIN_REFRESH_S))),
            name: some_text(&record.name),
            metadata: some_text(&record.metadata),
            attributes: Some(self.attributes_with(&record.attributes)).filter(|attributes| !attributes.is_empty()),
            kind: some_text(kind_word(self.kind)),
            video: Some(VideoClaims {
                room_join: Some(true),
                room: Some(self.video.room.as_str().to_owned()),
                room_admin: self.video.room_admin.then_some(true),
                can_publish: Some(permissions.publish),
                can_subscribe: Some(permissions.subscribe),
                can_publish_data: Some(permissions.publish_data),
                can_publish_sources: (!permissions.sources.is_empty())
                    .then(|| permissions.sources.iter().map(|source| source_word(*source).to_owned()).collect()),
                can_update_own_metadata: Some(permissions.update_own_metadata),
                ..VideoClaims::default()
            }),
            room_config: self.room_config.clone(),
            ..Claims::default()
        }
    }
}

impl Grants {
    /// The present attributes, but of the relay's own only what this token already said: what the relay added since (that the
    /// seat was admitted, say) must not come back as if the platform had signed it.
    fn attributes_with(&self, present: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let owned = |(key, _): &(&String, &String)| key.starts_with(OWNED_PREFIX);
        let signed = self.attributes.iter().filter(owned);
        let free = present.iter().filter(|entry| !owned(entry));
        free.chain(signed).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl VideoGrant {
    fn from_claims(claims: VideoClaims) -> Self {
        let publish = claims.can_publish.unwrap_or(true);
        let named = claims.can_publish_sources.unwrap_or_default();
        let sources: Vec<Source> = named.iter().filter_map(|word| source(word)).collect();
        // A list of unknown words only must not read as "all sources".
        let none_known = !named.is_empty() && sources.is_empty();
        Self {
            room_create: claims.room_create.unwrap_or(false),
            room_list: claims.room_list.unwrap_or(false),
            room_admin: claims.room_admin.unwrap_or(false),
            room_join: claims.room_join.unwrap_or(false),
            room: RoomName::new(claims.room.unwrap_or_default()),
            permissions: Permissions {
                subscribe: claims.can_subscribe.unwrap_or(true),
                publish: publish && !none_known,
                publish_data: claims.can_publish_data.unwrap_or(publish),
                sources,
                update_own_metadata: claims.can_update_own_metadata.unwrap_or(false),
            },
        }
    }
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// `egress` is a recorder, which does not exist here, and would be shown as a person if it were let in under another word.
fn kind(word: &str) -> Result<ParticipantKind, AuthError> {
    match word {
        "" | "standard" => Ok(ParticipantKind::Standard),
        "ingress" => Ok(ParticipantKind::Ingress),
        "sip" => Ok(ParticipantKind::Sip),
        "agent" => Ok(ParticipantKind::Agent),
        _ => Err(AuthError::Kind),
    }
}

fn kind_word(kind: ParticipantKind) -> &'static str {
    match kind {
        ParticipantKind::Standard => "",
        ParticipantKind::Ingress => "ingress",
        ParticipantKind::Sip => "sip",
        ParticipantKind::Agent => "agent",
    }
}

fn source(word: &str) -> Option<Source> {
    [Source::Camera, Source::Microphone, Source::ScreenShare, Source::ScreenShareAudio]
        .into_iter()
        .find(|source| source_word(*source) == word)
}

fn source_word(source: Source) -> &'static str {
    match source {
        Source::Unknown => "unknown",
        Source::Camera => "camera",
        Source::Microphone => "microphone",
        Source::ScreenShare => "screen_share",
        Source::ScreenShareAudio => "screen_share_audio",
    }
}
