//! [`Event`] to `SignalResponse`.

use crate::model::roster::{LeaveAction, LeaveReason, Participant, Quality};
use crate::model::{Codec, TrackSid};
use crate::relay::command::{AddTrack, RefusedRequest};
use crate::relay::event::{Event, Grade, Joined, LineQuality, Refusal, Sdp, Speaker, StreamState};
use crate::signal::livekit::http::IceServer;
use crate::wire::people;
use livekit_protocol as proto;
use proto::request_response::{Reason, Request as Copy_};
use proto::signal_response::Message as Case;
use std::sync::Arc;

/// The level of the LiveKit protocol that clients may count on: RPC needs 1.8.0, and the JS client wants plain semver.
const SERVER_VERSION: &str = "1.9.0";

/// 17, because 18 means pre-negotiated data channels (fixed stream ids), which the relay does not have.
const SERVER_PROTOCOL: i32 = 17;

/// Seconds between the client's pings.
pub(in crate::signal::livekit) const PING_INTERVAL_S: i32 = 5;

/// Seconds without a message after which the client resumes: three intervals.
const PING_TIMEOUT_S: i32 = 15;

/// What every session is told of this node when it starts.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// STUN and TURN servers; may be empty, the relay itself has a public address.
    pub ice_servers: Vec<IceServer>,
    /// Shown to support only.
    pub region: String,
    /// Shown to support only.
    pub node: String,
}

impl Greeting {
    fn server_info(&self) -> proto::ServerInfo {
        proto::ServerInfo {
            edition: proto::server_info::Edition::Standard as i32,
            version: SERVER_VERSION.into(),
            protocol: SERVER_PROTOCOL,
            region: self.region.clone(),
            node_id: self.node.clone(),
            ..proto::ServerInfo::default()
        }
    }

    fn ice_servers(&self) -> Vec<proto::IceServer> {
        let one = |server: &IceServer| proto::IceServer {
            urls: server.urls.clone(),
            username: server.username.clone(),
            credential: server.credential.to_string(),
        };
        self.ice_servers.iter().map(one).collect()
    }

    fn join(&self, joined: &Joined) -> proto::JoinResponse {
        proto::JoinResponse {
            room: Some(people::room(&joined.room)),
            participant: Some(people::participant(&joined.participant)),
            other_participants: records(&joined.others),
            server_version: SERVER_VERSION.into(),
            ice_servers: self.ice_servers(),
            subscriber_primary: joined.receives_first,
            server_region: self.region.clone(),
            ping_timeout: PING_TIMEOUT_S,
            ping_interval: PING_INTERVAL_S,
            server_info: Some(self.server_info()),
            enabled_publish_codecs: people::codecs(),
            fast_publish: joined.offers_now,
            ..proto::JoinResponse::default()
        }
    }
}

/// The message that tells a client of an event; `None` when there is none to send.
#[must_use]
pub fn encode(event: &Event, greeting: &Greeting) -> Option<proto::SignalResponse> {
    let case = match event {
        Event::Joined(joined) => Case::Join(greeting.join(joined)),
        Event::Resumed { last_data_sequence, .. } => Case::Reconnect(proto::ReconnectResponse {
            ice_servers: greeting.ice_servers(),
            client_configuration: None,
            server_info: Some(greeting.server_info()),
            last_message_seq: *last_data_sequence,
        }),
        Event::Rejected(refusal) => rejected(*refusal),
        Event::Answer { id, sdp, tracks_by_mid } => Case::Answer(description("answer", *id, sdp, tracks_by_mid)),
        Event::Offer { id, sdp, tracks_by_mid } => Case::Offer(description("offer", *id, sdp, tracks_by_mid)),
        Event::SectionsWanted { audio, video } => {
            Case::MediaSectionsRequirement(proto::MediaSectionsRequirement { num_audios: *audio, num_videos: *video })
        }
        Event::Roster(changed) => Case::Update(proto::ParticipantUpdate { participants: records(changed) }),
        Event::Room(room) => Case::RoomUpdate(proto::RoomUpdate { room: Some(people::room(room)) }),
        Event::TrackAccepted { cid, track } => Case::TrackPublished(proto::TrackPublishedResponse {
            cid: cid.as_str().to_owned(),
            track: Some(people::track(track)),
        }),
        Event::TrackSubscribed(track) => Case::TrackSubscribed(proto::TrackSubscribed { track_sid: text(track) }),
        Event::TrackWithdrawn(track) => Case::TrackUnpublished(proto::TrackUnpublishedResponse { track_sid: text(track) }),
        Event::MuteRequested(track) => Case::Mute(proto::MuteTrackRequest { sid: text(track), muted: true }),
        Event::Refused { request_id, refusal, request } => Case::RequestResponse(refused(*request_id, *refusal, request)),
        Event::Acknowledged { request_id } => {
            Case::RequestResponse(proto::RequestResponse { request_id: *request_id, ..proto::RequestResponse::default() })
        }
        Event::Speakers(speakers) => {
            Case::SpeakersChanged(proto::SpeakersChanged { speakers: speakers.iter().map(speaker).collect() })
        }
        Event::Quality(lines) => {
            Case::ConnectionQuality(proto::ConnectionQualityUpdate { updates: lines.iter().map(line_quality).collect() })
        }
        Event::WantedLayers { track, codec, highest } => Case::SubscribedQualityUpdate(wanted(track, *codec, *highest)),
        Event::StreamState(states) => {
            Case::StreamStateUpdate(proto::StreamStateUpdate { stream_states: states.iter().map(stream_state).collect() })
        }
        Event::SubscriptionAllowed { publisher, track, allowed } => {
            Case::SubscriptionPermissionUpdate(proto::SubscriptionPermissionUpdate {
                participant_sid: publisher.as_str().to_owned(),
                track_sid: text(track),
                allowed: *allowed,
            })
        }
        Event::SubscriptionFailed(track) => Case::SubscriptionResponse(proto::SubscriptionResponse {
            track_sid: text(track),
            err: proto::SubscriptionError::SeTrackNotfound as i32,
        }),
        Event::Leave { action, reason } => leave(*action, people::reason(*reason)),
        Event::Close | Event::Receipt(_) => return None,
    };
    Some(response(case))
}

/// A new token for reconnects.
#[must_use]
pub fn refresh(token: String) -> proto::SignalResponse {
    response(Case::RefreshToken(token))
}

/// Answers both keep-alives: the old one with the time alone.
pub(in crate::signal::livekit) fn pong(now_ms: u64) -> proto::SignalResponse {
    response(Case::Pong(i64::try_from(now_ms).unwrap_or(i64::MAX)))
}

pub(in crate::signal::livekit) fn pong_response(asked: i64, now_ms: u64) -> proto::SignalResponse {
    let timestamp = i64::try_from(now_ms).unwrap_or(i64::MAX);
    response(Case::PongResp(proto::Pong { last_ping_timestamp: asked, timestamp }))
}

/// Refuses an announced track that is neither audio nor video, with the copy of it that clients match.
#[must_use]
pub fn unsupported_track(track: proto::AddTrackRequest) -> proto::SignalResponse {
    response(Case::RequestResponse(proto::RequestResponse {
        reason: Reason::UnsupportedType as i32,
        message: Refusal::Unsupported.to_string(),
        request: Some(Copy_::AddTrack(track)),
        ..proto::RequestResponse::default()
    }))
}

fn response(case: Case) -> proto::SignalResponse {
    proto::SignalResponse { message: Some(case) }
}

fn description(kind: &str, id: u32, sdp: &Sdp, tracks_by_mid: &[(Arc<str>, TrackSid)]) -> proto::SessionDescription {
    let mid_to_track_id = tracks_by_mid.iter().map(|(mid, track)| (mid.to_string(), text(track))).collect();
    proto::SessionDescription { r#type: kind.into(), sdp: sdp.0.clone(), id, mid_to_track_id }
}

fn text(track: &TrackSid) -> String {
    track.as_str().to_owned()
}

fn records(list: &[Arc<Participant>]) -> Vec<proto::ParticipantInfo> {
    list.iter().map(|record| people::participant(record)).collect()
}

fn leave(action: LeaveAction, reason: proto::DisconnectReason) -> Case {
    use proto::leave_request::Action;
    let action = match action {
        LeaveAction::Disconnect => Action::Disconnect,
        LeaveAction::Resume => Action::Resume,
        LeaveAction::Reconnect => Action::Reconnect,
    };
    Case::Leave(proto::LeaveRequest {
        // Clients below protocol 13 read this flag instead of the action.
        can_reconnect: action != Action::Disconnect,
        reason: reason as i32,
        action: action as i32,
        regions: None,
    })
}

/// A refusal that comes after the upgrade: the first and only message.
fn rejected(refusal: Refusal) -> Case {
    match refusal {
        Refusal::UnknownSession | Refusal::NoSuchParticipant => {
            leave(LeaveAction::Reconnect, people::reason(LeaveReason::StateMismatch))
        }
        Refusal::Busy | Refusal::AuditUnavailable => leave(LeaveAction::Reconnect, people::reason(LeaveReason::JoinFailure)),
        Refusal::Removed => leave(LeaveAction::Disconnect, people::reason(LeaveReason::ParticipantRemoved)),
        Refusal::SecondUse => leave(LeaveAction::Disconnect, people::reason(LeaveReason::DuplicateIdentity)),
        Refusal::TooLate => leave(LeaveAction::Disconnect, people::reason(LeaveReason::TimeLimit)),
        Refusal::NoSuchRoom => leave(LeaveAction::Disconnect, people::reason(LeaveReason::RoomDeleted)),
        Refusal::NotAllowed
        | Refusal::NoSuchTrack
        | Refusal::LimitExceeded
        | Refusal::Queued
        | Refusal::Unsupported
        | Refusal::RoomFull
        | Refusal::RoleRequired
        | Refusal::RemoteUnmute
        | Refusal::BadOffer
        | Refusal::NotAConsultation
        | Refusal::BadPolicy
        | Refusal::NoSuchSeat
        | Refusal::WrongRole
        | Refusal::WeakAuthentication
        | Refusal::TooEarly
        | Refusal::Locked
        | Refusal::ProfessionalFirst
        | Refusal::ConsentMissing
        | Refusal::AsideRunning
        | Refusal::NoAside => leave(LeaveAction::Disconnect, people::reason(LeaveReason::JoinFailure)),
    }
}

fn refused(request_id: u32, refusal: Refusal, request: &RefusedRequest) -> proto::RequestResponse {
    let reason = match refusal {
        Refusal::NotAllowed
        | Refusal::RoleRequired
        | Refusal::RemoteUnmute
        | Refusal::WrongRole
        | Refusal::WeakAuthentication
        | Refusal::TooEarly
        | Refusal::TooLate
        | Refusal::Removed
        | Refusal::SecondUse
        | Refusal::Locked
        | Refusal::ProfessionalFirst
        | Refusal::ConsentMissing => Reason::NotAllowed,
        Refusal::NoSuchRoom
        | Refusal::NoSuchParticipant
        | Refusal::NoSuchTrack
        | Refusal::UnknownSession
        | Refusal::NoSuchSeat
        | Refusal::NoAside => Reason::NotFound,
        Refusal::LimitExceeded | Refusal::RoomFull => Reason::LimitExceeded,
        Refusal::Queued => Reason::Queued,
        Refusal::Unsupported => Reason::UnsupportedType,
        Refusal::Busy
        | Refusal::BadOffer
        | Refusal::NotAConsultation
        | Refusal::BadPolicy
        | Refusal::AsideRunning
        | Refusal::AuditUnavailable => Reason::UnclassifiedError,
    };
    let copy = match request {
        RefusedRequest::AddTrack(track) => Copy_::AddTrack(add_track(track)),
        RefusedRequest::Mute { track, muted } => Copy_::Mute(proto::MuteTrackRequest { sid: text(track), muted: *muted }),
        RefusedRequest::UpdateMetadata => {
            Copy_::UpdateMetadata(proto::UpdateParticipantMetadata { request_id, ..proto::UpdateParticipantMetadata::default() })
        }
        RefusedRequest::PublishDataTrack { handle, name } => Copy_::PublishDataTrack(proto::PublishDataTrackRequest {
            pub_handle: *handle,
            name: name.0.as_ref().to_owned(),
            ..proto::PublishDataTrackRequest::default()
        }),
    };
    proto::RequestResponse { request_id, reason: reason as i32, message: refusal.to_string(), request: Some(copy) }
}

/// The announced track as the client sent it, as far as the relay read it.
#[expect(deprecated, reason = "older clients still match on these fields")]
fn add_track(track: &AddTrack) -> proto::AddTrackRequest {
    let codec = |cid: String| proto::SimulcastCodec {
        codec: track.codec.map_or_else(String::new, people::bare_codec),
        cid,
        ..proto::SimulcastCodec::default()
    };
    proto::AddTrackRequest {
        cid: track.cid.as_str().to_owned(),
        name: track.name.0.as_ref().to_owned(),
        r#type: people::track_type(track.kind) as i32,
        width: track.width,
        height: track.height,
        muted: track.muted,
        disable_dtx: track.disable_dtx,
        source: people::source(track.source) as i32,
        layers: track.layers.iter().map(people::announced_layer).collect(),
        simulcast_codecs: track.codec_cids.iter().map(|cid| codec(cid.as_str().to_owned())).collect(),
        sid: track.existing.as_ref().map_or_else(String::new, text),
        stereo: track.stereo,
        disable_red: track.disable_red,
        encryption: people::encryption(track.encryption) as i32,
        stream: track.stream.0.as_ref().to_owned(),
        audio_features: track.audio_features.clone(),
        ..proto::AddTrackRequest::default()
    }
}

fn speaker(speaker: &Speaker) -> proto::SpeakerInfo {
    proto::SpeakerInfo { sid: speaker.participant.as_str().to_owned(), level: speaker.level, active: speaker.active }
}

fn line_quality(line: &LineQuality) -> proto::ConnectionQualityInfo {
    let quality = match line.grade {
        Grade::Lost => proto::ConnectionQuality::Lost,
        Grade::Poor => proto::ConnectionQuality::Poor,
        Grade::Good => proto::ConnectionQuality::Good,
        Grade::Excellent => proto::ConnectionQuality::Excellent,
    };
    proto::ConnectionQualityInfo {
        participant_sid: line.participant.as_str().to_owned(),
        quality: quality as i32,
        score: line.score,
    }
}

fn stream_state(state: &StreamState) -> proto::StreamStateInfo {
    let value = if state.paused { proto::StreamState::Paused } else { proto::StreamState::Active };
    proto::StreamStateInfo {
        participant_sid: state.publisher.as_str().to_owned(),
        track_sid: text(&state.track),
        state: value as i32,
    }
}

/// Every quality up to the highest wanted is on; nobody watching turns all off.
#[expect(deprecated, reason = "older clients read the list without codecs")]
fn wanted(track: &TrackSid, codec: Codec, highest: Option<Quality>) -> proto::SubscribedQualityUpdate {
    let qualities: Vec<_> = [Quality::Low, Quality::Medium, Quality::High]
        .into_iter()
        .map(|quality| proto::SubscribedQuality {
            quality: people::quality(quality) as i32,
            enabled: highest.is_some_and(|highest| quality <= highest),
        })
        .collect();
    proto::SubscribedQualityUpdate {
        track_sid: text(track),
        subscribed_qualities: qualities.clone(),
        subscribed_codecs: vec![proto::SubscribedCodec { codec: people::bare_codec(codec), qualities }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::roster::{ClientFacts, ParticipantKind, ParticipantState, Permissions, RoomFacts, Source, Text};
    use crate::model::{Identity, MediaKind, ParticipantSid, RoomName, RoomSid, TrackCid};

    fn person() -> Participant {
        Participant {
            sid: ParticipantSid::new("PA_1"),
            identity: Identity::new("seat"),
            name: "Jeanne".into(),
            metadata: "".into(),
            attributes: [("consultation.role".to_owned(), "patient".to_owned())].into(),
            state: ParticipantState::Joined,
            permissions: Permissions {
                subscribe: true,
                publish: true,
                publish_data: false,
                sources: vec![Source::Camera],
                update_own_metadata: false,
            },
            tracks: Vec::new(),
            joined_at_ms: 1_700_000_000_123,
            version: 1,
            kind: ParticipantKind::Standard,
            client: ClientFacts::default(),
            left: None,
        }
    }

    fn case(event: &Event) -> Case {
        encode(event, &Greeting::default()).and_then(|response| response.message).expect("a message")
    }

    fn joined() -> Event {
        let room = RoomFacts {
            sid: RoomSid::new("RM_1"),
            name: RoomName::new("consult-1"),
            metadata: Text::default(),
            opened_at_ms: 1_700_000_000_000,
            participants: 1,
            publishers: 0,
            max_participants: 0,
            empty_timeout_s: 300,
            departure_timeout_s: 20,
        };
        Event::Joined(Box::new(Joined {
            participant: Arc::new(person()),
            others: Vec::new(),
            room,
            receives_first: false,
            offers_now: true,
        }))
    }

    #[test]
    fn join_carries_what_clients_refuse_to_do_without() {
        let Case::Join(join) = case(&joined()) else { panic!() };
        let own = join.participant.expect("own record");
        let permission = own.permission.expect("without it the JS client publishes nothing");
        assert!(permission.can_publish && permission.can_subscribe && !permission.can_publish_data && !permission.hidden);
        assert_eq!(permission.can_publish_sources, [proto::TrackSource::Camera as i32]);
        assert_eq!((own.joined_at, own.version), (1_700_000_000, 1));
        assert_eq!((join.ping_interval, join.ping_timeout, join.subscriber_primary, join.fast_publish), (5, 15, false, true));
        let info = join.server_info.expect("server info");
        assert_eq!((info.version.as_str(), info.protocol), ("1.9.0", 17));
        let mimes: Vec<_> = join.enabled_publish_codecs.iter().map(|codec| codec.mime.as_str()).collect();
        assert_eq!(mimes, ["video/VP8", "video/H264", "video/VP9", "video/AV1", "audio/opus"]);
    }

    #[test]
    fn a_resume_repeats_the_server_version() {
        let Case::Reconnect(reconnect) = case(&Event::Resumed { participant: Arc::new(person()), last_data_sequence: 41 }) else {
            panic!()
        };
        assert_eq!((reconnect.server_info.expect("info").version.as_str(), reconnect.last_message_seq), ("1.9.0", 41));
    }

    #[test]
    fn an_unknown_session_is_told_to_join_anew() {
        let Case::Leave(leave) = case(&Event::Rejected(Refusal::UnknownSession)) else { panic!() };
        assert_eq!(leave.action, proto::leave_request::Action::Reconnect as i32);
        assert_eq!(leave.reason, proto::DisconnectReason::StateMismatch as i32);
        assert!(leave.can_reconnect);
    }

    #[test]
    fn removal_ends_the_session_for_good() {
        let event = Event::Leave { action: LeaveAction::Disconnect, reason: LeaveReason::ParticipantRemoved };
        let Case::Leave(leave) = case(&event) else { panic!() };
        assert_eq!((leave.action, leave.reason, leave.can_reconnect), (0, 4, false));
    }

    #[test]
    fn wanted_layers_use_the_bare_codec_name() {
        let event = Event::WantedLayers { track: TrackSid::new("TR_1"), codec: Codec::Vp8, highest: Some(Quality::Medium) };
        let Case::SubscribedQualityUpdate(update) = case(&event) else { panic!() };
        let codec = update.subscribed_codecs.first().expect("one codec");
        assert_eq!(codec.codec, "vp8");
        assert_eq!(codec.qualities.iter().map(|quality| quality.enabled).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn an_answer_echoes_its_number_also_zero() {
        let event = Event::Answer { id: 0, sdp: Sdp("v=0".into()), tracks_by_mid: vec![("3".into(), TrackSid::new("TR_9"))] };
        let Case::Answer(answer) = case(&event) else { panic!() };
        assert_eq!((answer.id, answer.r#type.as_str(), answer.mid_to_track_id["3"].as_str()), (0, "answer", "TR_9"));
    }

    #[test]
    fn a_refused_track_comes_back_with_its_cid() {
        let sent = proto::AddTrackRequest {
            cid: "cid-9".into(),
            r#type: people::track_type(MediaKind::Audio) as i32,
            ..Default::default()
        };
        let track = crate::signal::livekit::codec::request::add_track(&sent).expect("audio");
        assert_eq!(track.cid, TrackCid::new("cid-9"));
        let event =
            Event::Refused { request_id: 0, refusal: Refusal::NotAllowed, request: Box::new(RefusedRequest::AddTrack(track)) };
        let Case::RequestResponse(response) = case(&event) else { panic!() };
        assert_eq!(response.reason, Reason::NotAllowed as i32);
        assert_eq!(response.request, Some(Copy_::AddTrack(sent)));
    }
}
