//! The `join_request` in the URL: base64, perhaps gzip, protobuf; and what it may override of the token.

use super::codec;
use crate::auth::{Grants, touches_owned};
use crate::model::ParticipantSid;
use crate::model::roster::{ClientFacts, Text};
use crate::relay::command::{AddTrack, Offer, SyncState};
use crate::wire::{self, MAX_ATTRIBUTES, MAX_METADATA, fields};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use livekit_protocol as proto;
use prost::Message;
use proto::wrapped_join_request::Compression;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

/// Largest `join_request` after decompression, in bytes, as the reference server has it.
const MAX_REQUEST: usize = 1024 * 1024;

/// Fields of it on all levels.
const MAX_FIELDS: usize = 16_384;

/// Tracks announced with the join; the reference keeps 20 pending.
const MAX_TRACKS: usize = 20;

/// Capabilities mirrored to others; two exist.
pub(super) const MAX_CAPABILITIES: usize = 32;

pub(super) const BASE64: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Why a join cannot be tried; the text is shown to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJoin {
    /// It does not decode.
    #[error("invalid join request")]
    Malformed,
    /// It is too large once decompressed, or holds too much.
    #[error("join request too large")]
    TooLarge,
    /// It asks for a connection beside one that receives.
    #[error("connections that only publish are not supported")]
    PublishOnly,
    /// It overrides what the token does not let it.
    #[error("permissions denied")]
    Denied,
}

/// What a client asks when it connects.
#[derive(Default)]
pub struct Wish {
    /// What it says of itself.
    pub client: ClientFacts,
    /// Subscribe to everything without being asked.
    pub auto_subscribe: bool,
    /// It sends `track_setting` for what it shows.
    pub adaptive_stream: bool,
    /// Replaces the token's metadata, where not empty.
    pub metadata: Text,
    /// Merged into the token's attributes.
    pub attributes: BTreeMap<String, String>,
    /// It publishes on one peer connection and receives on another.
    pub two_connections: bool,
    /// First offer.
    pub offer: Option<Offer>,
    /// Tracks to publish right away.
    pub tracks: Vec<AddTrack>,
    /// It resumes a stay.
    pub reconnect: bool,
    /// Which stay, where it says so.
    pub participant: Option<ParticipantSid>,
    /// What it holds, where a resume says so at once.
    pub sync_state: Option<SyncState>,
}

/// Decodes the parameter.
///
/// # Errors
/// [`BadJoin::Malformed`] or [`BadJoin::TooLarge`].
pub fn decode(parameter: &str) -> Result<Wish, BadJoin> {
    let wrapped = BASE64.decode(parameter).map_err(|_| BadJoin::Malformed)?;
    let wrapped = proto::WrappedJoinRequest::decode(wrapped.as_slice()).map_err(|_| BadJoin::Malformed)?;
    let bytes = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => gunzip(&wrapped.join_request)?,
        Err(_) => return Err(BadJoin::Malformed),
    };
    if bytes.len() > MAX_REQUEST || !fields::within(&bytes, MAX_FIELDS) {
        return Err(BadJoin::TooLarge);
    }
    let request = proto::JoinRequest::decode(bytes.as_slice()).map_err(|_| BadJoin::Malformed)?;
    read(request)
}

fn gunzip(compressed: &[u8]) -> Result<Vec<u8>, BadJoin> {
    let limit = MAX_REQUEST as u64 + 1;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(compressed).take(limit).read_to_end(&mut bytes).map_err(|_| BadJoin::Malformed)?;
    Ok(bytes)
}

fn read(request: proto::JoinRequest) -> Result<Wish, BadJoin> {
    if request.add_track_requests.len() > MAX_TRACKS {
        return Err(BadJoin::TooLarge);
    }
    let settings = request.connection_settings.unwrap_or_default();
    Ok(Wish {
        client: client(request.client_info.unwrap_or_default())?,
        auto_subscribe: settings.auto_subscribe,
        adaptive_stream: settings.adaptive_stream,
        metadata: Text(request.metadata.into()),
        // An empty value does not delete here.
        attributes: request.participant_attributes.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        two_connections: false,
        offer: request.publisher_offer.map(|offer| Offer { id: offer.id, sdp: offer.sdp }),
        tracks: request.add_track_requests.iter().filter_map(codec::add_track).collect(),
        reconnect: request.reconnect,
        participant: (!request.participant_sid.is_empty()).then(|| ParticipantSid::new(request.participant_sid)),
        sync_state: request.sync_state.map(codec::sync_state),
    })
}

fn client(info: proto::ClientInfo) -> Result<ClientFacts, BadJoin> {
    if info.capabilities.len() > MAX_CAPABILITIES {
        return Err(BadJoin::TooLarge);
    }
    Ok(ClientFacts {
        protocol: info.protocol,
        client_protocol: info.client_protocol,
        capabilities: info.capabilities,
        firefox: info.browser.eq_ignore_ascii_case("firefox"),
    })
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish").field("reconnect", &self.reconnect).finish_non_exhaustive()
    }
}

impl Wish {
    /// Checks what the client overrides against its token and merges both, so that metadata and attributes are those to join with.
    ///
    /// # Errors
    /// [`BadJoin::Denied`] without the permission or for an attribute of the relay's own; [`BadJoin::TooLarge`].
    pub fn merge(&mut self, grants: &Grants) -> Result<(), BadJoin> {
        let overrides = !self.metadata.0.is_empty() || !self.attributes.is_empty();
        if overrides && !grants.video.permissions.update_own_metadata || touches_owned(self.attributes.keys()) {
            return Err(BadJoin::Denied);
        }
        if self.metadata.0.is_empty() {
            self.metadata = grants.metadata.clone();
        }
        for (key, value) in &grants.attributes {
            self.attributes.entry(key.clone()).or_insert_with(|| value.clone());
        }
        if self.metadata.0.len() > MAX_METADATA || wire::attributes_size(&self.attributes) > MAX_ATTRIBUTES {
            return Err(BadJoin::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression as Level;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn request() -> proto::JoinRequest {
        proto::JoinRequest {
            client_info: Some(proto::ClientInfo { protocol: 17, browser: "Firefox".into(), ..Default::default() }),
            connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
            publisher_offer: Some(proto::SessionDescription { id: 1, sdp: "v=0\r\n".repeat(800), ..Default::default() }),
            participant_sid: "PA_x".into(),
            ..Default::default()
        }
    }

    fn wrap(bytes: &[u8], gzip: bool) -> Vec<u8> {
        let join_request = if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Level::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            bytes.to_vec()
        };
        proto::WrappedJoinRequest { compression: i32::from(gzip), join_request }.encode_to_vec()
    }

    #[test]
    fn padding_and_compression_are_the_clients_choice() {
        let bytes = request().encode_to_vec();
        for gzip in [false, true] {
            let wrapped = wrap(&bytes, gzip);
            for text in [base64::engine::general_purpose::URL_SAFE.encode(&wrapped), BASE64.encode(&wrapped).replace('=', "")] {
                let wish = decode(&text).expect("a good request");
                assert_eq!((wish.client.protocol, wish.client.firefox, wish.auto_subscribe), (17, true, true));
                assert_eq!(wish.offer.map(|offer| offer.id), Some(1));
            }
        }
    }

    #[test]
    fn a_gzip_bomb_is_refused_at_its_limit() {
        let bomb = BASE64.encode(wrap(&vec![0; 64 * 1024 * 1024], true));
        assert!(bomb.len() < 128 * 1024, "positive control: it is small on the wire");
        assert_eq!(decode(&bomb).err(), Some(BadJoin::TooLarge));
    }

    #[test]
    fn missing_settings_mean_no_automatic_subscription() {
        let wish = decode(&BASE64.encode(wrap(&[], false))).expect("an empty request");
        assert!(!wish.auto_subscribe && !wish.reconnect && wish.offer.is_none());
    }

    #[test]
    fn garbage_is_malformed() {
        for text in ["", "%%%", "AAAA", "_____w"] {
            match decode(text) {
                Ok(wish) => assert!(text.is_empty() && wish.offer.is_none()),
                Err(error) => assert_eq!(error, BadJoin::Malformed, "{text}"),
            }
        }
    }

    proptest! {
        #[test]
        fn cut_and_flipped_requests_never_panic(at in 0_usize..400, bit in 0_u8..8, gzip: bool) {
            let mut wrapped = wrap(&request().encode_to_vec(), gzip);
            let _ = decode(&BASE64.encode(wrapped.get(..at).unwrap_or(&wrapped)));
            if let Some(byte) = wrapped.get_mut(at) { *byte ^= 1 << bit; }
            let _ = decode(&BASE64.encode(&wrapped));
        }
    }
}
