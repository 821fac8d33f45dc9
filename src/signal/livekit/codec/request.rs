//! `SignalRequest` to [`Request`].

use super::BadMessage;
use crate::model::roster::Attributes;
use crate::model::roster::{LeaveReason, Text};
use crate::model::{Codec, Identity, ParticipantSid, TrackCid, TrackSid};
use crate::relay::command::{
    AddTrack, Answer, Offer, RefusedRequest, Request, Simulation, SubscriptionPermission, SyncState, TrackPermission,
    TrackSetting,
};
use crate::wire::{fields, people};
use livekit_protocol as proto;
use prost::Message;
use proto::signal_request::Message as Case;
use std::fmt;

/// Fields of one message on all its levels; a client with hundreds of tracks stays far below.
const MAX_FIELDS: usize = 16_384;

/// What a client's message asks of whom.
pub enum Incoming {
    /// Old keep-alive; the door answers.
    Ping,
    /// Keep-alive; the door answers with this timestamp.
    PingRequest(i64),
    /// For the shard.
    Request(Request),
    /// An announced track that is neither audio nor video; the door answers with a copy.
    UnsupportedTrack(Box<proto::AddTrackRequest>),
    /// Deprecated or unknown: tolerated without effect.
    Ignored,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ping => "Ping",
            Self::PingRequest(_) => "PingRequest",
            Self::Request(_) => "Request",
            Self::UnsupportedTrack(_) => "UnsupportedTrack",
            Self::Ignored => "Ignored",
        })
    }
}

/// Reads one binary message.
///
/// # Errors
/// [`BadMessage`] when it does not parse or has too many fields.
#[expect(deprecated, reason = "old clients still send update_layers")]
pub fn decode(message: &[u8]) -> Result<Incoming, BadMessage> {
    if !fields::within(message, MAX_FIELDS) {
        return Err(BadMessage);
    }
    let request = proto::SignalRequest::decode(message).map_err(|_| BadMessage)?;
    let Some(case) = request.message else { return Ok(Incoming::Ignored) };
    let request = match case {
        Case::Ping(_) => return Ok(Incoming::Ping),
        Case::PingReq(ping) => return Ok(Incoming::PingRequest(ping.timestamp)),
        Case::Offer(offer) => Request::Offer(Offer { id: offer.id, sdp: offer.sdp }),
        Case::Answer(answer) => Request::Answer(Answer { id: answer.id, sdp: answer.sdp }),
        Case::Trickle(_) => Request::Trickle,
        Case::AddTrack(track) => return Ok(add_track_request(track)),
        Case::Mute(mute) => Request::Mute { track: TrackSid::new(mute.sid), muted: mute.muted },
        Case::Subscription(wish) => Request::Subscribe { subscribe: wish.subscribe, tracks: subscribed(wish) },
        Case::TrackSetting(wish) => track_setting(wish),
        Case::Leave(_) => Request::Leave(LeaveReason::ClientInitiated),
        Case::SubscriptionPermission(wish) => Request::SubscriptionPermission(subscription_permission(wish)),
        Case::SyncState(state) => Request::SyncState(sync_state(state)),
        Case::UpdateMetadata(wish) => Request::UpdateMetadata {
            request_id: wish.request_id,
            metadata: Text(wish.metadata.into()),
            name: Text(wish.name.into()),
            attributes: Attributes(wish.attributes.into_iter().collect()),
        },
        Case::UpdateAudioTrack(wish) => {
            Request::UpdateAudioTrack { track: TrackSid::new(wish.track_sid), features: wish.features }
        }
        Case::UpdateVideoTrack(wish) => {
            Request::UpdateVideoTrack { track: TrackSid::new(wish.track_sid), width: wish.width, height: wish.height }
        }
        Case::PublishDataTrackRequest(wish) => {
            Request::Unsupported(RefusedRequest::PublishDataTrack { handle: wish.pub_handle, name: Text(wish.name.into()) })
        }
        Case::Simulate(wish) => match simulation(wish) {
            Some(fault) => Request::Simulate(fault),
            None => return Ok(Incoming::Ignored),
        },
        // These belong to data tracks and older protocols.
        Case::UpdateLayers(_)
        | Case::UnpublishDataTrackRequest(_)
        | Case::UpdateDataSubscription(_)
        | Case::StoreDataBlobRequest(_)
        | Case::GetDataBlobRequest(_) => return Ok(Incoming::Ignored),
    };
    Ok(Incoming::Request(request))
}

fn add_track_request(track: proto::AddTrackRequest) -> Incoming {
    match add_track(&track) {
        Some(track) => Incoming::Request(Request::AddTrack(track)),
        None => Incoming::UnsupportedTrack(Box::new(track)),
    }
}

/// Reads an announced track; `None` when it is neither audio nor video.
#[expect(deprecated, reason = "older clients still send these fields")]
pub(in crate::signal::livekit) fn add_track(track: &proto::AddTrackRequest) -> Option<AddTrack> {
    let kind = people::kind_of(track.r#type)?;
    let first = track.simulcast_codecs.first();
    let layers = match first {
        Some(codec) if track.layers.is_empty() => &codec.layers,
        _ => &track.layers,
    };
    let stereo = proto::AudioTrackFeature::TfStereo as i32;
    let no_dtx = proto::AudioTrackFeature::TfNoDtx as i32;
    Some(AddTrack {
        cid: TrackCid::new(track.cid.as_str()),
        codec_cids: track
            .simulcast_codecs
            .iter()
            .filter(|codec| !codec.cid.is_empty())
            .map(|codec| TrackCid::new(codec.cid.as_str()))
            .collect(),
        name: Text(track.name.as_str().into()),
        kind,
        source: people::source_of(track.source),
        muted: track.muted,
        width: track.width,
        height: track.height,
        layers: people::layers(layers),
        codec: first.and_then(|codec| Codec::from_name(&codec.codec)).filter(|codec| codec.kind() == kind),
        stereo: track.stereo || track.audio_features.contains(&stereo),
        disable_dtx: track.disable_dtx || track.audio_features.contains(&no_dtx),
        disable_red: track.disable_red,
        encryption: people::encryption_of(track.encryption),
        stream: Text(track.stream.as_str().into()),
        audio_features: track.audio_features.clone(),
        existing: (!track.sid.is_empty()).then(|| TrackSid::new(track.sid.as_str())),
    })
}

/// Both lists, each track once: some SDKs fill both with the same ids.
fn subscribed(wish: proto::UpdateSubscription) -> Vec<TrackSid> {
    let listed = wish.participant_tracks.into_iter().flat_map(|tracks| tracks.track_sids);
    let mut tracks: Vec<_> = wish.track_sids.into_iter().chain(listed).map(TrackSid::new).collect();
    tracks.sort_unstable();
    tracks.dedup();
    tracks
}

fn sids(texts: Vec<String>) -> Vec<TrackSid> {
    texts.into_iter().map(TrackSid::new).collect()
}

fn track_setting(wish: proto::UpdateTrackSettings) -> Request {
    let off = wish.quality == proto::VideoQuality::Off as i32;
    Request::TrackSetting {
        setting: TrackSetting {
            disabled: wish.disabled || off,
            quality: people::quality_of(wish.quality),
            width: wish.width,
            height: wish.height,
            fps: wish.fps,
            priority: wish.priority,
        },
        tracks: sids(wish.track_sids),
    }
}

fn subscription_permission(wish: proto::SubscriptionPermission) -> SubscriptionPermission {
    let one = |permission: proto::TrackPermission| TrackPermission {
        participant: (!permission.participant_sid.is_empty()).then(|| ParticipantSid::new(permission.participant_sid)),
        identity: (!permission.participant_identity.is_empty()).then(|| Identity::new(permission.participant_identity)),
        all_tracks: permission.all_tracks,
        tracks: sids(permission.track_sids),
    };
    SubscriptionPermission {
        all_participants: wish.all_participants,
        participants: wish.track_permissions.into_iter().map(one).collect(),
    }
}

/// Reads what a client holds after a resume; descriptions in it are of no use, the relay keeps its own.
pub(in crate::signal::livekit) fn sync_state(state: proto::SyncState) -> SyncState {
    let published = state.publish_tracks.into_iter().filter_map(|published| published.track);
    let (subscribe, subscription_tracks) = match state.subscription {
        Some(wish) => (wish.subscribe, subscribed(wish)),
        None => (false, Vec::new()),
    };
    SyncState {
        published: published.map(|track| TrackSid::new(track.sid)).collect(),
        subscription_tracks,
        subscribe,
        disabled: sids(state.track_sids_disabled),
        data_received: state
            .datachannel_receive_states
            .into_iter()
            .map(|seen| (ParticipantSid::new(seen.publisher_sid), seen.last_seq))
            .collect(),
    }
}

fn simulation(wish: proto::SimulateScenario) -> Option<Simulation> {
    use proto::simulate_scenario::Scenario;
    match wish.scenario? {
        Scenario::NodeFailure(_) | Scenario::DisconnectSignalOnResume(_) | Scenario::DisconnectSignalOnResumeNoMessages(_) => {
            Some(Simulation::CloseSocket)
        }
        Scenario::ServerLeave(_) | Scenario::LeaveRequestFullReconnect(_) => Some(Simulation::FullReconnect),
        Scenario::SpeakerUpdate(_)
        | Scenario::Migration(_)
        | Scenario::SwitchCandidateProtocol(_)
        | Scenario::SubscriberBandwidth(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(case: Case) -> Vec<u8> {
        proto::SignalRequest { message: Some(case) }.encode_to_vec()
    }

    fn camera() -> proto::AddTrackRequest {
        proto::AddTrackRequest {
            cid: "cid-1".into(),
            r#type: proto::TrackType::Video as i32,
            source: proto::TrackSource::Camera as i32,
            simulcast_codecs: vec![proto::SimulcastCodec { codec: "vp8".into(), cid: "cid-1".into(), ..Default::default() }],
            layers: [2, 0, 3, 1].map(|quality| proto::VideoLayer { quality, ..Default::default() }).to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn announced_layers_come_lowest_first_and_off_is_no_layer() {
        let Ok(Incoming::Request(Request::AddTrack(track))) = decode(&encoded(Case::AddTrack(camera()))) else { panic!() };
        assert_eq!(track.layers.iter().map(|layer| layer.quality as u8).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(track.codec, Some(Codec::Vp8));
    }

    #[test]
    fn a_data_track_announced_as_media_is_answered_by_the_door() {
        let odd = proto::AddTrackRequest { r#type: proto::TrackType::Data as i32, ..camera() };
        assert!(matches!(decode(&encoded(Case::AddTrack(odd))), Ok(Incoming::UnsupportedTrack(_))));
    }

    #[test]
    fn tracks_named_in_both_lists_count_once() {
        let wish = proto::UpdateSubscription {
            track_sids: vec!["TR_b".into(), "TR_a".into()],
            subscribe: true,
            participant_tracks: vec![proto::ParticipantTracks { track_sids: vec!["TR_a".into()], ..Default::default() }],
        };
        let Ok(Incoming::Request(Request::Subscribe { tracks, .. })) = decode(&encoded(Case::Subscription(wish))) else {
            panic!()
        };
        assert_eq!(tracks.iter().map(TrackSid::as_str).collect::<Vec<_>>(), ["TR_a", "TR_b"]);
    }

    #[test]
    fn unknown_cases_are_tolerated_and_garbage_is_not() {
        let mut newer = Vec::new();
        fields::put_bytes(&mut newer, 200, b"x");
        assert!(matches!(decode(&newer), Ok(Incoming::Ignored)));
        assert_eq!(decode(&[0xff; 16]).err(), Some(BadMessage));
    }

    #[test]
    fn a_bomb_of_empty_records_and_deep_nesting_are_refused() {
        let mut bomb = Vec::new();
        fields::put_bytes(&mut bomb, 12, &[0x1a, 0x00].repeat(MAX_FIELDS));
        assert_eq!(decode(&bomb).err(), Some(BadMessage));
        let mut nested = Vec::new();
        for _ in 0..5_000 {
            let mut outer = Vec::new();
            fields::put_bytes(&mut outer, 12, &nested);
            nested = outer;
        }
        let _ = decode(&nested);
    }

    proptest! {
        #[test]
        fn cut_and_flipped_requests_never_panic(at in 0_usize..80, bit in 0_u8..8) {
            let mut message = encoded(Case::AddTrack(camera()));
            let _ = decode(message.get(..at).unwrap_or(&message));
            if let Some(byte) = message.get_mut(at) { *byte ^= 1 << bit; }
            let _ = decode(&message);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
