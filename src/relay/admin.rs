//! What the platform asks of a room.

use super::command::{AdminAction, AdminReply, Reply};
use super::shard::Shard;
use crate::consultation::{self as rules, MemberId, Policy, Refusal, Room, RoomSettings};
use crate::model::roster::LeaveReason;
use crate::model::{Now, RoomKey};

impl Shard {
    pub(super) fn on_admin(&mut self, key: &RoomKey, action: AdminAction, reply: Reply, now: Now) {
        self.waiting = None;
        let answer = self.administer(key, action, now);
        self.answer(key, reply, answer);
    }

    fn create_room(&mut self, key: &RoomKey, settings: RoomSettings, policy: Policy, now: Now) -> Result<AdminReply, Refusal> {
        let room = self.open_room(key, policy, &settings, now);
        if let Some(state) = self.rooms.get_mut(room) {
            state.openings += 1;
        }
        self.apply(room, rules::Command::Settings(settings), now)?;
        self.check_room(room, now.mono);
        self.rooms.get(room).map(|room| AdminReply::Room(room.rules.facts().clone())).ok_or(Refusal::NoSuchRoom)
    }

    fn administer(&mut self, key: &RoomKey, action: AdminAction, now: Now) -> Result<AdminReply, Refusal> {
        if let AdminAction::CreateRoom(settings, policy) = action {
            return self.create_room(key, settings, policy, now);
        }
        if let AdminAction::OpenConsultation(policy) = action {
            return self.open_consultation(key, *policy, now);
        }
        let room = *self.room_index.get(key).ok_or(Refusal::NoSuchRoom)?;
        let rules = self.rooms.get(room).map(|room| &room.rules).ok_or(Refusal::NoSuchRoom)?;
        let member = |identity| rules.id_of(identity).ok_or(Refusal::NoSuchParticipant);
        match action {
            AdminAction::ListParticipants => {
                Ok(AdminReply::Participants(rules.members().map(|(_, record)| record.clone()).collect()))
            }
            AdminAction::GetParticipant(identity) => record_reply(rules, member(&identity)?),
            AdminAction::CreateRoom(..) | AdminAction::OpenConsultation(_) => Ok(AdminReply::Done),
            AdminAction::DeleteRoom => {
                self.apply(room, rules::Command::Close(LeaveReason::RoomDeleted), now)?;
                self.close_room(room);
                Ok(AdminReply::Done)
            }
            AdminAction::UpdateRoomMetadata(metadata) => {
                let settings = RoomSettings { metadata: Some(metadata), ..RoomSettings::default() };
                self.apply(room, rules::Command::Settings(settings), now)?;
                self.rooms.get(room).map(|room| AdminReply::Room(room.rules.facts().clone())).ok_or(Refusal::NoSuchRoom)
            }
            AdminAction::RemoveParticipant(identity) => {
                self.apply(room, rules::Command::Remove(identity), now)?;
                Ok(AdminReply::Done)
            }
            AdminAction::MuteTrack { identity, track, muted } => {
                self.apply(room, rules::Command::MuteRemotely { identity, track: track.clone(), muted }, now)?;
                let rules = self.rooms.get(room).map(|room| &room.rules).ok_or(Refusal::NoSuchRoom)?;
                rules.track(&track).map(|(_, track)| AdminReply::Track(track.clone())).ok_or(Refusal::NoSuchTrack)
            }
            AdminAction::UpdateParticipant { identity, metadata, name, permissions, attributes } => {
                let member = member(&identity)?;
                let update = rules::Command::UpdateRecord { member, metadata, name, attributes, by_owner: false };
                self.apply(room, update, now)?;
                if let Some(permissions) = permissions {
                    self.apply(room, rules::Command::Permit { member, permissions }, now)?;
                    self.gate_data(room, member);
                }
                let rules = self.rooms.get(room).map(|room| &room.rules).ok_or(Refusal::NoSuchRoom)?;
                record_reply(rules, member)
            }
            AdminAction::UpdateSubscriptions { identity, tracks, subscribe } => {
                let member = member(&identity)?;
                self.apply(room, rules::Command::Subscribe { member, tracks, subscribe }, now)?;
                Ok(AdminReply::Done)
            }
            AdminAction::SendData { message, reliable, destinations, nonce } => {
                self.send_from_platform(room, &message.0, reliable, &destinations, nonce, now.mono);
                Ok(AdminReply::Done)
            }
            AdminAction::Consult { by, act, asked_at } => self.consult(room, by, *act, asked_at, now),
            AdminAction::ShowConsultation => self.show_consultation(room),
        }
    }
}

fn record_reply(rules: &Room, member: MemberId) -> Result<AdminReply, Refusal> {
    rules.record(member).cloned().map(AdminReply::Participant).ok_or(Refusal::NoSuchParticipant)
}
