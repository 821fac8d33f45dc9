//! Participants, tracks, rooms and permissions as protobuf records.

use crate::model::roster::{
    Encryption, LeaveReason, Participant, ParticipantKind, ParticipantState, Permissions, Quality, RoomFacts, Source, Text,
    Track, VideoLayer,
};
use crate::model::{Codec, MediaKind};
use crate::relay::command::RoomSettings;
use livekit_protocol as proto;
use std::sync::Arc;

/// A participant's whole record.
#[must_use]
pub fn participant(record: &Participant) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: record.sid.as_str().to_owned(),
        identity: record.identity.as_str().to_owned(),
        state: match record.state {
            ParticipantState::Joined => proto::participant_info::State::Joined,
            ParticipantState::Active => proto::participant_info::State::Active,
            ParticipantState::Disconnected => proto::participant_info::State::Disconnected,
        } as i32,
        tracks: record.tracks.iter().map(|published| track(published)).collect(),
        metadata: record.metadata.as_ref().to_owned(),
        joined_at: seconds(record.joined_at_ms),
        joined_at_ms: signed(record.joined_at_ms),
        name: record.name.as_ref().to_owned(),
        version: record.version,
        permission: Some(permission(&record.permissions)),
        is_publisher: !record.tracks.is_empty(),
        kind: match record.kind {
            ParticipantKind::Standard => proto::participant_info::Kind::Standard,
            ParticipantKind::Ingress => proto::participant_info::Kind::Ingress,
            ParticipantKind::Sip => proto::participant_info::Kind::Sip,
            ParticipantKind::Agent => proto::participant_info::Kind::Agent,
        } as i32,
        attributes: record.attributes.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        disconnect_reason: record.left.map_or(proto::DisconnectReason::UnknownReason, reason) as i32,
        client_protocol: record.client.client_protocol,
        capabilities: record.client.capabilities.clone(),
        ..proto::ParticipantInfo::default()
    }
}

/// A set of permissions; `hidden` and `recorder` stay false.
#[must_use]
pub fn permission(permissions: &Permissions) -> proto::ParticipantPermission {
    proto::ParticipantPermission {
        can_subscribe: permissions.subscribe,
        can_publish: permissions.publish,
        can_publish_data: permissions.publish_data,
        can_publish_sources: permissions.sources.iter().map(|from| source(*from) as i32).collect(),
        can_update_metadata: permissions.update_own_metadata,
        ..proto::ParticipantPermission::default()
    }
}

/// The whole set a platform asks for: absent flags are off.
#[must_use]
pub fn permissions(asked: &proto::ParticipantPermission) -> Permissions {
    Permissions {
        subscribe: asked.can_subscribe,
        publish: asked.can_publish,
        publish_data: asked.can_publish_data,
        sources: asked.can_publish_sources.iter().map(|number| source_of(*number)).collect(),
        update_own_metadata: asked.can_update_metadata,
    }
}

/// A track's whole record.
#[must_use]
#[expect(deprecated, reason = "older clients still read these fields")]
pub fn track(record: &Track) -> proto::TrackInfo {
    let layers: Vec<_> = record.layers.iter().zip(0..).map(|(layer, place)| video_layer(layer, place)).collect();
    let mime_type = record.codec.map_or_else(String::new, |codec| codec.mime().to_owned());
    let mid = record.mid.as_deref().unwrap_or_default().to_owned();
    let codecs = record.codec.map(|_| proto::SimulcastCodecInfo {
        mime_type: mime_type.clone(),
        mid: mid.clone(),
        cid: record.cid.as_str().to_owned(),
        layers: layers.clone(),
        video_layer_mode: layer_mode(record) as i32,
        sdp_cid: record.sdp_cid.as_ref().map_or_else(String::new, |cid| cid.as_str().to_owned()),
    });
    proto::TrackInfo {
        sid: record.sid.as_str().to_owned(),
        r#type: track_type(record.kind) as i32,
        name: record.name.as_ref().to_owned(),
        muted: record.muted,
        width: record.width,
        height: record.height,
        simulcast: record.simulcast,
        disable_dtx: record.disable_dtx,
        source: source(record.source) as i32,
        layers,
        mime_type,
        mid,
        codecs: codecs.into_iter().collect(),
        stereo: record.stereo,
        disable_red: record.disable_red,
        encryption: encryption(record.encryption) as i32,
        stream: record.stream.as_ref().to_owned(),
        version: Some(proto::TimedVersion { unix_micro: signed(record.version), ticks: 0 }),
        audio_features: record.audio_features.clone(),
        ..proto::TrackInfo::default()
    }
}

fn layer_mode(record: &Track) -> proto::video_layer::Mode {
    match (record.kind, record.simulcast) {
        (MediaKind::Audio, _) => proto::video_layer::Mode::Unused,
        (MediaKind::Video, true) => proto::video_layer::Mode::OneSpatialLayerPerStream,
        (MediaKind::Video, false) if record.layers.len() > 1 => proto::video_layer::Mode::MultipleSpatialLayersPerStream,
        (MediaKind::Video, false) => proto::video_layer::Mode::OneSpatialLayerPerStream,
    }
}

fn video_layer(layer: &VideoLayer, place: i32) -> proto::VideoLayer {
    proto::VideoLayer {
        quality: quality(layer.quality) as i32,
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
        spatial_layer: place,
        rid: layer.rid.as_deref().unwrap_or_default().to_owned(),
        ..proto::VideoLayer::default()
    }
}

/// Announced layers in the order of their quality; "off" is no layer.
#[must_use]
pub fn layers(announced: &[proto::VideoLayer]) -> Vec<VideoLayer> {
    let mut layers: Vec<_> = announced
        .iter()
        .filter_map(|layer| {
            Some(VideoLayer {
                quality: quality_of(layer.quality)?,
                width: layer.width,
                height: layer.height,
                bitrate: layer.bitrate,
                rid: (!layer.rid.is_empty()).then(|| Arc::from(layer.rid.as_str())),
            })
        })
        .collect();
    layers.sort_by_key(|layer| layer.quality);
    layers
}

/// A layer as a client announces it.
#[must_use]
pub fn announced_layer(layer: &VideoLayer) -> proto::VideoLayer {
    video_layer(layer, 0)
}

/// A room.
#[must_use]
pub fn room(facts: &RoomFacts) -> proto::Room {
    proto::Room {
        sid: facts.sid.as_str().to_owned(),
        name: facts.name.as_str().to_owned(),
        empty_timeout: facts.empty_timeout_s,
        departure_timeout: facts.departure_timeout_s,
        max_participants: facts.max_participants,
        creation_time: seconds(facts.opened_at_ms),
        creation_time_ms: signed(facts.opened_at_ms),
        enabled_codecs: codecs(),
        metadata: facts.metadata.0.as_ref().to_owned(),
        num_participants: facts.participants,
        num_publishers: facts.publishers,
        ..proto::Room::default()
    }
}

/// The codecs the relay carries.
#[must_use]
pub fn codecs() -> Vec<proto::Codec> {
    super::ANNOUNCED.iter().map(|codec| proto::Codec { mime: codec.mime().to_owned(), fmtp_line: String::new() }).collect()
}

/// Room settings; zero and empty take the relay's default.
#[must_use]
pub fn settings(empty_timeout: u32, departure_timeout: u32, max_participants: u32, metadata: &str) -> RoomSettings {
    let said = |number: u32| (number > 0).then_some(number);
    RoomSettings {
        empty_timeout_s: said(empty_timeout),
        departure_timeout_s: said(departure_timeout),
        max_participants: said(max_participants),
        metadata: (!metadata.is_empty()).then(|| Text(metadata.into())),
    }
}

/// Why somebody left.
#[must_use]
pub fn reason(reason: LeaveReason) -> proto::DisconnectReason {
    match reason {
        LeaveReason::ClientInitiated => proto::DisconnectReason::ClientInitiated,
        LeaveReason::DuplicateIdentity => proto::DisconnectReason::DuplicateIdentity,
        LeaveReason::ServerShutdown => proto::DisconnectReason::ServerShutdown,
        LeaveReason::ParticipantRemoved => proto::DisconnectReason::ParticipantRemoved,
        LeaveReason::RoomDeleted => proto::DisconnectReason::RoomDeleted,
        LeaveReason::StateMismatch => proto::DisconnectReason::StateMismatch,
        LeaveReason::JoinFailure => proto::DisconnectReason::JoinFailure,
        LeaveReason::SignalClose => proto::DisconnectReason::SignalClose,
        LeaveReason::ConnectionTimeout => proto::DisconnectReason::ConnectionTimeout,
        LeaveReason::MediaFailure => proto::DisconnectReason::MediaFailure,
        LeaveReason::NotAdmitted => proto::DisconnectReason::UserRejected,
        LeaveReason::TimeLimit => proto::DisconnectReason::RoomClosed,
    }
}

/// Where a track comes from.
#[must_use]
pub fn source(source: Source) -> proto::TrackSource {
    match source {
        Source::Unknown => proto::TrackSource::Unknown,
        Source::Camera => proto::TrackSource::Camera,
        Source::Microphone => proto::TrackSource::Microphone,
        Source::ScreenShare => proto::TrackSource::ScreenShare,
        Source::ScreenShareAudio => proto::TrackSource::ScreenShareAudio,
    }
}

/// Reads a source's number; unknown numbers are [`Source::Unknown`].
#[must_use]
pub fn source_of(number: i32) -> Source {
    match proto::TrackSource::try_from(number) {
        Ok(proto::TrackSource::Camera) => Source::Camera,
        Ok(proto::TrackSource::Microphone) => Source::Microphone,
        Ok(proto::TrackSource::ScreenShare) => Source::ScreenShare,
        Ok(proto::TrackSource::ScreenShareAudio) => Source::ScreenShareAudio,
        Ok(proto::TrackSource::Unknown) | Err(_) => Source::Unknown,
    }
}

/// Audio or video.
#[must_use]
pub fn track_type(kind: MediaKind) -> proto::TrackType {
    match kind {
        MediaKind::Audio => proto::TrackType::Audio,
        MediaKind::Video => proto::TrackType::Video,
    }
}

/// Reads a track type's number; data and unknown numbers are none of ours.
#[must_use]
pub fn kind_of(number: i32) -> Option<MediaKind> {
    match proto::TrackType::try_from(number) {
        Ok(proto::TrackType::Audio) => Some(MediaKind::Audio),
        Ok(proto::TrackType::Video) => Some(MediaKind::Video),
        Ok(proto::TrackType::Data) | Err(_) => None,
    }
}

/// A quality.
#[must_use]
pub fn quality(quality: Quality) -> proto::VideoQuality {
    match quality {
        Quality::Low => proto::VideoQuality::Low,
        Quality::Medium => proto::VideoQuality::Medium,
        Quality::High => proto::VideoQuality::High,
    }
}

/// Reads a quality's number; "off" and unknown numbers are none.
#[must_use]
pub fn quality_of(number: i32) -> Option<Quality> {
    match proto::VideoQuality::try_from(number) {
        Ok(proto::VideoQuality::Low) => Some(Quality::Low),
        Ok(proto::VideoQuality::Medium) => Some(Quality::Medium),
        Ok(proto::VideoQuality::High) => Some(Quality::High),
        Ok(proto::VideoQuality::Off) | Err(_) => None,
    }
}

/// How frames are encrypted end to end.
#[must_use]
pub fn encryption(encryption: Encryption) -> proto::encryption::Type {
    match encryption {
        Encryption::None => proto::encryption::Type::None,
        Encryption::Gcm => proto::encryption::Type::Gcm,
        Encryption::Custom => proto::encryption::Type::Custom,
    }
}

/// Reads an encryption's number; unknown numbers are a scheme of the application's own.
#[must_use]
pub fn encryption_of(number: i32) -> Encryption {
    match proto::encryption::Type::try_from(number) {
        Ok(proto::encryption::Type::None) => Encryption::None,
        Ok(proto::encryption::Type::Gcm) => Encryption::Gcm,
        Ok(proto::encryption::Type::Custom) | Err(_) => Encryption::Custom,
    }
}

/// A codec's bare lower-case name, the only form the JS client takes in `subscribed_quality_update`.
#[must_use]
pub fn bare_codec(codec: Codec) -> String {
    codec.name().to_owned()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seconds(ms: u64) -> i64 {
    signed(ms / 1_000)
}
