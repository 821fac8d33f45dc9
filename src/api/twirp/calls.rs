//! The calls themselves: grant, command, reply.

use super::form::Form;
use super::{Code, REPLY_DEADLINE, RoomService, TwirpError};
use crate::api::scribe::{self, NotMade, Note, Op, What};
use crate::auth::{AuthError, Grants, RoomPolicy, touches_owned};
use crate::model::roster::{Attributes, Message};
use crate::model::roster::{RoomFacts, Text};
use crate::model::{Identity, RoomKey, RoomName, TrackSid};
use crate::relay::command::{AdminAction, AdminReply, Command, Policy, Reply, RoomsReply};
use crate::relay::event::Refusal;
use crate::wire::{MAX_ATTRIBUTES, MAX_METADATA, MAX_NAME, attributes_size, people};
use livekit_protocol as proto;
use prost::Message as _;
use std::sync::{Arc, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Largest payload of `SendData`, in bytes: what fits a data message beside its envelope.
const MAX_DATA: usize = 60_000;

/// Receivers `SendData` may name.
const MAX_RECEIVERS: usize = 256;

/// Parts of a room list that may wait; one per shard.
const MAX_SHARDS: usize = 256;

/// What a call is about.
fn op(method: &str) -> Option<Op> {
    Some(match method {
        "CreateRoom" => Op::RoomCreate,
        "ListRooms" => Op::RoomRead,
        "DeleteRoom" => Op::RoomEnd,
        "ListParticipants" | "GetParticipant" => Op::SeatRead,
        "RemoveParticipant" => Op::SeatRemove,
        "MutePublishedTrack" => Op::TrackMute,
        "UpdateParticipant" | "UpdateSubscriptions" => Op::SeatUpdate,
        "SendData" => Op::DataSend,
        "UpdateRoomMetadata" => Op::RoomUpdate,
        _ => return None,
    })
}

impl RoomService {
    /// Carries out a call, and notes it where it was refused.
    pub(super) async fn noted(&self, method: &str, grants: &Grants, form: Form, body: &[u8]) -> Result<Vec<u8>, TwirpError> {
        let answer = self.call(method, grants, form, body).await;
        if let Some((error, op)) = answer.as_ref().err().zip(op(method)) {
            let unrecorded = || self.relay.check_record(None).is_err();
            let what = if op != Op::RoomCreate {
                What::Refused(op)
            } else if !self.relay.ready() {
                What::NotMade(NotMade::Draining)
            } else if error.code == Code::Unavailable && unrecorded() {
                What::NotMade(NotMade::Unrecorded)
            } else {
                What::NotMade(error.not_made())
            };
            scribe::leave(&*self.scribe, Note::of(grants, what));
        }
        answer
    }

    /// Puts a call on record before it is carried out, or before its answer where it only reads.
    async fn note(&self, grants: &Grants, what: What, room: Option<&RoomKey>, seat: Option<&Identity>) -> Result<(), TwirpError> {
        let note = Note { room: room.cloned(), seat: seat.cloned(), ..Note::of(grants, what) };
        if scribe::durable(&*self.scribe, note).await { Ok(()) } else { Err(Refusal::AuditUnavailable.into()) }
    }

    /// Puts on record what has taken something away.
    fn note_after(&self, grants: &Grants, what: What, room: &RoomKey, seat: Option<&Identity>) {
        scribe::leave(&*self.scribe, Note { seat: seat.cloned(), ..Note::of(grants, what).in_room(room) });
    }

    async fn call(&self, method: &str, grants: &Grants, form: Form, body: &[u8]) -> Result<Vec<u8>, TwirpError> {
        match method {
            "CreateRoom" => form.encode(&self.create_room(grants, form.decode(body)?).await?),
            "ListRooms" => form.encode(&self.list_rooms(grants, form.decode(body)?).await?),
            "DeleteRoom" => form.encode(&self.delete_room(grants, form.decode(body)?).await?),
            "ListParticipants" => form.encode(&self.list_participants(grants, form.decode(body)?).await?),
            "GetParticipant" => form.encode(&self.show_participant(grants, form.decode(body)?).await?),
            "RemoveParticipant" => form.encode(&self.remove_participant(grants, form.decode(body)?).await?),
            "MutePublishedTrack" => form.encode(&self.mute_track(grants, form.decode(body)?).await?),
            "UpdateParticipant" => form.encode(&self.update_participant(grants, form.decode(body)?).await?),
            "UpdateSubscriptions" => form.encode(&self.update_subscriptions(grants, form.decode(body)?).await?),
            "SendData" => form.encode(&self.send_data(grants, form.decode(body)?).await?),
            "UpdateRoomMetadata" => form.encode(&self.update_room_metadata(grants, form.decode(body)?).await?),
            "ForwardParticipant" | "MoveParticipant" | "PerformRpc" => {
                Err(TwirpError::new(Code::Unimplemented, "this method is not part of the relay"))
            }
            _ => Err(TwirpError::new(Code::BadRoute, "no such method")),
        }
    }

    async fn create_room(&self, grants: &Grants, asked: proto::CreateRoomRequest) -> Result<proto::Room, TwirpError> {
        granted(grants.video.room_create)?;
        fits("metadata", asked.metadata.len(), MAX_METADATA)?;
        let settings = people::settings(asked.empty_timeout, asked.departure_timeout, asked.max_participants, &asked.metadata);
        let policy = match grants.policy {
            RoomPolicy::Open => Policy::Open,
            RoomPolicy::Consultation => Policy::Consultation,
        };
        let key = key(grants, asked.name)?;
        self.note(grants, What::Change(Op::RoomCreate), Some(&key), None).await?;
        room(self.admin(key, AdminAction::CreateRoom(settings, policy)).await?)
    }

    async fn list_rooms(&self, grants: &Grants, asked: proto::ListRoomsRequest) -> Result<proto::ListRoomsResponse, TwirpError> {
        granted(grants.video.room_list)?;
        // The list is complete when every shard has let go of its copy of the sender.
        let (sender, mut parts) = mpsc::channel::<Vec<RoomFacts>>(MAX_SHARDS);
        let reply = RoomsReply(Arc::new(move |rooms| {
            let _ = sender.try_send(rooms);
        }));
        let names = asked.names.into_iter().map(RoomName::new).collect();
        self.relay.send(Command::ListRooms { tenant: grants.tenant.clone(), names, reply }).map_err(|_| Refusal::Busy)?;
        let collect = async {
            let mut rooms = Vec::new();
            while let Some(part) = parts.recv().await {
                rooms.extend(part.iter().map(people::room));
            }
            rooms
        };
        let mut rooms = timeout(REPLY_DEADLINE, collect).await.map_err(|_| late())?;
        rooms.sort_by_key(|room| room.creation_time_ms);
        self.note(grants, What::Read(Op::RoomRead), None, None).await?;
        Ok(proto::ListRoomsResponse { rooms })
    }

    async fn delete_room(
        &self,
        grants: &Grants,
        asked: proto::DeleteRoomRequest,
    ) -> Result<proto::DeleteRoomResponse, TwirpError> {
        granted(grants.video.room_create)?;
        let room = key(grants, asked.room)?;
        // The end of a consultation is its own to tell.
        let told = self.scribe.follows(&room);
        self.admin(room.clone(), AdminAction::DeleteRoom).await?;
        if !told {
            self.note_after(grants, What::Change(Op::RoomEnd), &room, None);
        }
        Ok(proto::DeleteRoomResponse::default())
    }

    async fn list_participants(
        &self,
        grants: &Grants,
        asked: proto::ListParticipantsRequest,
    ) -> Result<proto::ListParticipantsResponse, TwirpError> {
        let room = admin_key(grants, asked.room)?;
        match self.admin(room.clone(), AdminAction::ListParticipants).await? {
            AdminReply::Participants(list) => {
                self.note(grants, What::Read(Op::SeatRead), Some(&room), None).await?;
                let participants = list.iter().map(|record| people::participant(record)).collect();
                Ok(proto::ListParticipantsResponse { participants })
            }
            AdminReply::Done
            | AdminReply::Room(_)
            | AdminReply::Participant(_)
            | AdminReply::Track(_)
            | AdminReply::Consultation(_) => Err(odd()),
        }
    }

    async fn show_participant(
        &self,
        grants: &Grants,
        asked: proto::RoomParticipantIdentity,
    ) -> Result<proto::ParticipantInfo, TwirpError> {
        let (room, identity) = seat(grants, asked.room, asked.identity)?;
        let shown = participant(self.admin(room.clone(), AdminAction::GetParticipant(identity.clone())).await?)?;
        self.note(grants, What::Read(Op::SeatRead), Some(&room), Some(&identity)).await?;
        Ok(shown)
    }

    async fn remove_participant(
        &self,
        grants: &Grants,
        asked: proto::RoomParticipantIdentity,
    ) -> Result<proto::RemoveParticipantResponse, TwirpError> {
        let (room, identity) = seat(grants, asked.room, asked.identity)?;
        let asked_at = u64::try_from(asked.revoke_token_ts).unwrap_or(0);
        let revoke = || {
            let at = asked_at.max((self.wall_ms)() / 1_000);
            self.revocations.lock().unwrap_or_else(PoisonError::into_inner).revoke(room.clone(), identity.clone(), at);
        };
        // Before, so that nobody comes back in between, even to a seat that is empty now; and after, for the refresh token
        // the seat may have been given meanwhile.
        revoke();
        let told = self.scribe.follows(&room);
        let removed = self.admin(room.clone(), AdminAction::RemoveParticipant(identity.clone())).await;
        revoke();
        // Who is taken out of a consultation is its own to tell, tokens included.
        if removed.is_err() || !told {
            self.note_after(grants, What::Revoked, &room, Some(&identity));
        }
        removed?;
        if !told {
            self.note_after(grants, What::Change(Op::SeatRemove), &room, Some(&identity));
        }
        self.register.on_removed(&room, &identity, (self.wall_ms)() / 1_000);
        Ok(proto::RemoveParticipantResponse::default())
    }

    async fn mute_track(
        &self,
        grants: &Grants,
        asked: proto::MuteRoomTrackRequest,
    ) -> Result<proto::MuteRoomTrackResponse, TwirpError> {
        let (room, identity) = seat(grants, asked.room, asked.identity)?;
        if !asked.muted {
            return Err(Refusal::RemoteUnmute.into());
        }
        let told = self.scribe.follows(&room);
        let action = AdminAction::MuteTrack { identity: identity.clone(), track: TrackSid::new(asked.track_sid), muted: true };
        match self.admin(room.clone(), action).await? {
            AdminReply::Track(track) => {
                if !told {
                    self.note_after(grants, What::Change(Op::TrackMute), &room, Some(&identity));
                }
                Ok(proto::MuteRoomTrackResponse { track: Some(people::track(&track)) })
            }
            AdminReply::Done
            | AdminReply::Room(_)
            | AdminReply::Participant(_)
            | AdminReply::Participants(_)
            | AdminReply::Consultation(_) => Err(odd()),
        }
    }

    async fn update_participant(
        &self,
        grants: &Grants,
        asked: proto::UpdateParticipantRequest,
    ) -> Result<proto::ParticipantInfo, TwirpError> {
        let (room, identity) = seat(grants, asked.room, asked.identity)?;
        fits("name", asked.name.len(), MAX_NAME)?;
        fits("metadata", asked.metadata.len(), MAX_METADATA)?;
        fits("attributes", attributes_size(&asked.attributes), MAX_ATTRIBUTES)?;
        if touches_owned(asked.attributes.keys()) {
            return Err(invalid("attributes beginning with consultation. come from tokens only"));
        }
        if asked.permission.as_ref().is_some_and(|permission| permission.hidden) {
            return Err(invalid(AuthError::Hidden.to_string()));
        }
        // A consultation holds back what widens until that is on record, and what narrows waits for nothing.
        let narrows =
            asked.permission.as_ref().is_some_and(|may| !(may.can_subscribe && may.can_publish && may.can_publish_data));
        let first = narrows || self.scribe.follows(&room);
        if !first {
            self.note(grants, What::Change(Op::SeatUpdate), Some(&room), Some(&identity)).await?;
        }
        let action = AdminAction::UpdateParticipant {
            identity: identity.clone(),
            metadata: Text(asked.metadata.into()),
            name: Text(asked.name.into()),
            permissions: asked.permission.as_ref().map(people::permissions),
            attributes: Attributes(asked.attributes.into_iter().collect()),
        };
        let changed = participant(self.admin(room.clone(), action).await?)?;
        if first {
            self.note_after(grants, What::Change(Op::SeatUpdate), &room, Some(&identity));
        }
        Ok(changed)
    }

    async fn update_subscriptions(
        &self,
        grants: &Grants,
        asked: proto::UpdateSubscriptionsRequest,
    ) -> Result<proto::UpdateSubscriptionsResponse, TwirpError> {
        let (room, identity) = seat(grants, asked.room, asked.identity)?;
        let listed = asked.participant_tracks.into_iter().flat_map(|tracks| tracks.track_sids);
        let mut tracks: Vec<_> = asked.track_sids.into_iter().chain(listed).map(TrackSid::new).collect();
        tracks.sort_unstable();
        tracks.dedup();
        let first = !asked.subscribe || self.scribe.follows(&room);
        if !first {
            self.note(grants, What::Change(Op::SeatUpdate), Some(&room), Some(&identity)).await?;
        }
        let action = AdminAction::UpdateSubscriptions { identity: identity.clone(), tracks, subscribe: asked.subscribe };
        self.admin(room.clone(), action).await?;
        if first {
            self.note_after(grants, What::Change(Op::SeatUpdate), &room, Some(&identity));
        }
        Ok(proto::UpdateSubscriptionsResponse::default())
    }

    async fn send_data(&self, grants: &Grants, asked: proto::SendDataRequest) -> Result<proto::SendDataResponse, TwirpError> {
        let room = admin_key(grants, asked.room.clone())?;
        fits("data", asked.data.len(), MAX_DATA)?;
        fits("destination_identities", asked.destination_identities.len(), MAX_RECEIVERS)?;
        fits("topic", asked.topic.as_deref().unwrap_or_default().len(), MAX_NAME)?;
        let action = data_action(asked)?;
        self.note(grants, What::Change(Op::DataSend), Some(&room), None).await?;
        self.admin(room, action).await?;
        Ok(proto::SendDataResponse::default())
    }

    async fn update_room_metadata(
        &self,
        grants: &Grants,
        asked: proto::UpdateRoomMetadataRequest,
    ) -> Result<proto::Room, TwirpError> {
        fits("metadata", asked.metadata.len(), MAX_METADATA)?;
        let action = AdminAction::UpdateRoomMetadata(Text(asked.metadata.into()));
        let key = admin_key(grants, asked.room)?;
        self.note(grants, What::Change(Op::RoomUpdate), Some(&key), None).await?;
        room(self.admin(key, action).await?)
    }

    async fn admin(&self, room: RoomKey, action: AdminAction) -> Result<AdminReply, TwirpError> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply(Box::new(move |answer| {
            // The caller may have given up.
            let _ = sender.send(answer);
        }));
        self.relay.send(Command::Admin { room, action, reply }).map_err(|_| Refusal::Busy)?;
        match timeout(REPLY_DEADLINE, receiver).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(Refusal::Busy.into()),
            Err(_) => Err(late()),
        }
    }
}

#[expect(deprecated, reason = "older server SDKs fill destination_sids")]
fn data_action(asked: proto::SendDataRequest) -> Result<AdminAction, TwirpError> {
    if !asked.destination_sids.is_empty() {
        // Ignoring them would send to everybody what was meant for one.
        return Err(invalid("destination_sids is not supported, use destination_identities"));
    }
    let nonce = match asked.nonce.as_slice() {
        [] => None,
        bytes => Some(bytes.try_into().map_err(|_| invalid("nonce must be 16 bytes"))?),
    };
    let packet = proto::DataPacket {
        kind: asked.kind,
        destination_identities: asked.destination_identities.clone(),
        value: Some(proto::data_packet::Value::User(proto::UserPacket {
            payload: asked.data,
            destination_identities: asked.destination_identities.clone(),
            topic: asked.topic,
            nonce: asked.nonce,
            ..proto::UserPacket::default()
        })),
        ..proto::DataPacket::default()
    };
    Ok(AdminAction::SendData {
        message: Message(packet.encode_to_vec().into()),
        reliable: asked.kind == proto::data_packet::Kind::Reliable as i32,
        destinations: asked.destination_identities.into_iter().map(Identity::new).collect(),
        nonce,
    })
}

fn granted(grant: bool) -> Result<(), TwirpError> {
    if grant { Ok(()) } else { Err(AuthError::Denied.into()) }
}

fn key(grants: &Grants, room: String) -> Result<RoomKey, TwirpError> {
    if room.is_empty() {
        return Err(invalid("room name cannot be empty"));
    }
    fits("room name", room.len(), MAX_NAME)?;
    Ok(RoomKey { tenant: grants.tenant.clone(), name: RoomName::new(room) })
}

fn admin_key(grants: &Grants, room: String) -> Result<RoomKey, TwirpError> {
    grants.admin_of(&room)?;
    key(grants, room)
}

fn seat(grants: &Grants, room: String, identity: String) -> Result<(RoomKey, Identity), TwirpError> {
    let room = admin_key(grants, room)?;
    if identity.is_empty() {
        return Err(invalid("identity cannot be empty"));
    }
    fits("identity", identity.len(), MAX_NAME)?;
    Ok((room, Identity::new(identity)))
}

fn fits(what: &str, size: usize, limit: usize) -> Result<(), TwirpError> {
    if size <= limit { Ok(()) } else { Err(invalid(format!("{what} exceeds its limit of {limit}"))) }
}

fn invalid(message: impl Into<String>) -> TwirpError {
    TwirpError::new(Code::InvalidArgument, message)
}

fn late() -> TwirpError {
    TwirpError::new(Code::DeadlineExceeded, "the room did not answer in time")
}

/// The core answered with another kind of reply than the action has.
fn odd() -> TwirpError {
    TwirpError::new(Code::Internal, "unexpected reply")
}

fn room(reply: AdminReply) -> Result<proto::Room, TwirpError> {
    match reply {
        AdminReply::Room(facts) => Ok(people::room(&facts)),
        AdminReply::Done
        | AdminReply::Participant(_)
        | AdminReply::Participants(_)
        | AdminReply::Track(_)
        | AdminReply::Consultation(_) => Err(odd()),
    }
}

fn participant(reply: AdminReply) -> Result<proto::ParticipantInfo, TwirpError> {
    match reply {
        AdminReply::Participant(record) => Ok(people::participant(&record)),
        AdminReply::Done
        | AdminReply::Room(_)
        | AdminReply::Participants(_)
        | AdminReply::Track(_)
        | AdminReply::Consultation(_) => Err(odd()),
    }
}
