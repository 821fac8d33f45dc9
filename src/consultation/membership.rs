//! Coming, staying and going: seats, records and permissions.

use super::room::Member;
use super::subscription::Unsettled;
use super::{By, Effect, Effects, Fact, MemberId, Refusal, Room, Seat, SubscriptionPermission, To};
use crate::model::Now;
use crate::model::roster::{Attributes, LeaveAction, LeaveReason, Participant, ParticipantState, Permissions, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Attributes with this prefix belong to the relay and to tokens; clients cannot change them.
pub(super) const RELAY_ATTRIBUTES: &str = "consultation.";

/// Sum of keys and values of a member's attributes, in bytes: what LiveKit's reference allows.
const MAX_ATTRIBUTE_BYTES: usize = 64 * 1024;

/// Bytes of a member's metadata: what LiveKit's reference allows.
const MAX_METADATA_BYTES: usize = 512 * 1024;

/// Bytes of a display name.
const MAX_NAME_BYTES: usize = 256;

impl Room {
    pub(super) fn join(&mut self, mut seat: Seat, now: Now, effects: &mut Effects) -> Result<(), Refusal> {
        self.check_seat(&seat, now)?;
        let previous = self.id_of(&seat.identity);
        let taken = self.members.len() - usize::from(previous.is_some());
        if self.facts.max_participants != 0 && taken >= self.facts.max_participants as usize {
            return Err(Refusal::RoomFull);
        }
        let place = self.take_seat(&mut seat, now)?;
        let id = self.new_member_id();
        if let Some(previous) = previous {
            // The newcomer must not hear of it: a client takes a record of its own identity for its own.
            self.depart(previous, LeaveReason::DuplicateIdentity, LeaveAction::Disconnect, To::AllBut(id), now, effects)?;
        }
        let record = Arc::new(Participant {
            sid: seat.sid,
            identity: seat.identity,
            name: seat.name.0,
            metadata: seat.metadata.0,
            attributes: seat.attributes.0,
            state: ParticipantState::Joined,
            permissions: seat.permissions,
            tracks: Vec::new(),
            joined_at_ms: now.wall_ms,
            version: 1,
            kind: seat.kind,
            client: seat.client,
            left: None,
        });
        self.members.push(Member {
            id,
            record: record.clone(),
            auto_subscribe: seat.auto_subscribe,
            wishes: BTreeMap::new(),
            audience: SubscriptionPermission { all_participants: true, participants: Vec::new() },
            pending: Vec::new(),
            queued: Vec::new(),
            unexplained: Vec::new(),
            spent: Vec::new(),
            receives: BTreeSet::new(),
            rests: BTreeSet::new(),
            withheld: BTreeSet::new(),
            place,
        });
        self.unsettled.push(Unsettled::Receiver(id));
        effects.push(Effect::Joined(id));
        // The others learn of the newcomer before any route towards it can open: the roster cannot lie.
        effects.push(Effect::Roster { to: To::AllBut(id), records: vec![record] });
        Ok(())
    }

    pub(super) fn connected(&mut self, member: MemberId, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(member)?;
        if member.record.state == ParticipantState::Joined {
            member.edit(|record| record.state = ParticipantState::Active);
            effects.push(Effect::Roster { to: To::All, records: vec![member.record.clone()] });
        }
        Ok(())
    }

    pub(super) fn depart(
        &mut self,
        id: MemberId,
        reason: LeaveReason,
        action: LeaveAction,
        told: To,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let index = self.members.iter().position(|member| member.id == id).ok_or(Refusal::NoSuchParticipant)?;
        let mut member = self.members.remove(index);
        // What reduces access happens first: routes and tracks go before anybody is told.
        for track in &member.receives {
            effects.push(Effect::Unroute { receiver: id, track: track.clone(), rests: false });
        }
        let sids: Vec<_> = member.record.tracks.iter().map(|track| track.sid.clone()).collect();
        for track in sids {
            self.drop_track_routes(&track, effects);
            effects.push(Effect::TrackClosed { member: id, track, withdrawn: false });
        }
        member.edit(|record| {
            record.state = ParticipantState::Disconnected;
            record.left = Some(reason);
            record.tracks.clear();
        });
        effects.push(Effect::Gone { member: id, reason, action });
        effects.push(Effect::Roster { to: told, records: vec![member.record.clone()] });
        let stayed_s = now.wall_ms.saturating_sub(member.place.came_at_ms) / 1_000;
        if let Some(consultation) = &mut self.consultation {
            consultation.noted.push(Fact::Left { seat: member.record.identity.clone(), why: reason, stayed_s });
            consultation.departed.push((id, member.record));
        }
        if member.place.apart {
            self.note_aside_changed();
        }
        Ok(())
    }

    pub(super) fn update_record(
        &mut self,
        member: MemberId,
        metadata: &Text,
        name: &Text,
        Attributes(attributes): Attributes,
        by_owner: bool,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let consultation = self.consultation.is_some();
        let member = self.member_mut(member)?;
        let reserved = attributes.keys().any(|key| key.starts_with(RELAY_ATTRIBUTES));
        if by_owner && (reserved || !member.record.permissions.update_own_metadata) || reserved && consultation {
            return Err(Refusal::NotAllowed);
        }
        let mut merged = member.record.attributes.clone();
        for (key, value) in attributes {
            if value.is_empty() {
                merged.remove(&key);
            } else {
                merged.insert(key, value);
            }
        }
        let attribute_bytes: usize = merged.iter().map(|(key, value)| key.len() + value.len()).sum();
        if attribute_bytes > MAX_ATTRIBUTE_BYTES || metadata.0.len() > MAX_METADATA_BYTES || name.0.len() > MAX_NAME_BYTES {
            return Err(Refusal::LimitExceeded);
        }
        member.edit(|record| {
            record.attributes = merged;
            if !metadata.0.is_empty() {
                record.metadata = metadata.0.clone();
            }
            if !name.0.is_empty() {
                record.name = name.0.clone();
            }
        });
        effects.push(Effect::Roster { to: To::All, records: vec![member.record.clone()] });
        Ok(())
    }

    pub(super) fn permit(&mut self, id: MemberId, permissions: Permissions, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        let lost: Vec<_> = member.record.tracks.iter().filter(|track| !permissions.may_publish(track.source)).cloned().collect();
        member.pending.retain(|pending| permissions.may_publish(pending.track.source));
        member.queued.retain(|queued| permissions.may_publish(queued.track.source));
        let seat = member.record.identity.clone();
        let widened = widens(&member.record.permissions, &permissions);
        member.edit(|record| {
            record.permissions = permissions;
            record.tracks.retain(|track| lost.iter().all(|lost| lost.sid != track.sid));
        });
        member.spend(&lost);
        let record = member.record.clone();
        self.unsettled.push(Unsettled::Receiver(id));
        for track in lost {
            self.drop_track_routes(&track.sid, effects);
            effects.push(Effect::TrackClosed { member: id, track: track.sid.clone(), withdrawn: true });
        }
        effects.push(Effect::Roster { to: To::All, records: vec![record] });
        self.note(Fact::PermissionChanged { seat, widened, by: By::Platform });
        Ok(())
    }
}

/// Whether a set of permissions allows anything the one before did not.
fn widens(before: &Permissions, after: &Permissions) -> bool {
    let flags = [
        (before.subscribe, after.subscribe),
        (before.publish, after.publish),
        (before.publish_data, after.publish_data),
        (before.update_own_metadata, after.update_own_metadata),
    ];
    let sources = !before.sources.is_empty()
        && (after.sources.is_empty() || after.sources.iter().any(|source| !before.sources.contains(source)));
    sources || flags.into_iter().any(|(before, after)| after && !before)
}
