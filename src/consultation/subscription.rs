//! Who receives what: wishes, permissions of publishers, and the idempotent comparison of wanted and existing routes.

use super::{Effect, Effects, MemberId, Refusal, Room, SubscriptionPermission};
use crate::model::TrackSid;
use crate::model::roster::Participant;
use std::collections::BTreeSet;

/// Explicit wishes kept per member: far above what a call of any size needs, low enough that ids from outside cannot pile up.
const MAX_WISHES: usize = 1_024;

impl Room {
    pub(super) fn subscribe(&mut self, id: MemberId, tracks: &[TrackSid], subscribe: bool) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        for track in tracks {
            if member.wishes.len() >= MAX_WISHES && !member.wishes.contains_key(track) {
                return Err(Refusal::LimitExceeded);
            }
            member.wishes.insert(track.clone(), subscribe);
        }
        Ok(())
    }

    pub(super) fn audience(&mut self, id: MemberId, permission: SubscriptionPermission) -> Result<(), Refusal> {
        self.member_mut(id)?.audience = permission;
        Ok(())
    }

    /// Compares what every member should receive with what it receives, and says the difference: closings first.
    pub(super) fn reconcile(&mut self, effects: &mut Effects) {
        let mut openings = Effects::new();
        for index in 0..self.members.len() {
            let Some(receiver) = self.members.get(index) else { continue };
            let (wanted, withheld) = self.wanted(receiver.id);
            for track in receiver.receives.iter().filter(|track| !wanted.contains(*track)) {
                effects.push(Effect::Unroute { receiver: receiver.id, track: track.clone() });
            }
            for track in wanted.iter().filter(|track| !receiver.receives.contains(*track)) {
                if let Some((publisher, _)) = self.track(track) {
                    openings.push(Effect::Route { receiver: receiver.id, publisher, track: track.clone() });
                }
            }
            for (track, allowed) in receiver
                .withheld
                .difference(&withheld)
                .map(|track| (track, true))
                .chain(withheld.difference(&receiver.withheld).map(|track| (track, false)))
            {
                if let Some(publisher) = self.track(track).and_then(|(id, _)| self.record(id)) {
                    openings.push(Effect::SubscriptionAllowed {
                        receiver: receiver.id,
                        publisher: publisher.sid.clone(),
                        track: track.clone(),
                        allowed,
                    });
                }
            }
            if let Some(receiver) = self.members.get_mut(index) {
                receiver.receives = wanted;
                receiver.withheld = withheld;
            }
        }
        effects.append(&mut openings);
    }

    /// Forgets a track that is being closed, so that its routes go before it does.
    pub(super) fn drop_track_routes(&mut self, track: &TrackSid, effects: &mut Effects) {
        for member in &mut self.members {
            if member.receives.remove(track) {
                effects.push(Effect::Unroute { receiver: member.id, track: track.clone() });
            }
            member.withheld.remove(track);
            member.wishes.remove(track);
        }
    }

    /// What a member should receive, and what publishers keep from it.
    fn wanted(&self, id: MemberId) -> (BTreeSet<TrackSid>, BTreeSet<TrackSid>) {
        let (mut wanted, mut withheld) = (BTreeSet::new(), BTreeSet::new());
        let Some(receiver) = self.member(id) else { return (wanted, withheld) };
        for publisher in self.members.iter().filter(|publisher| publisher.id != id) {
            for track in &publisher.record.tracks {
                let wish = receiver.wishes.get(&track.sid).copied().unwrap_or(receiver.auto_subscribe);
                if !wish || !receiver.record.permissions.subscribe {
                    continue;
                }
                if permits(&publisher.audience, &receiver.record, &track.sid) {
                    wanted.insert(track.sid.clone());
                } else {
                    withheld.insert(track.sid.clone());
                }
            }
        }
        (wanted, withheld)
    }
}

fn permits(audience: &SubscriptionPermission, receiver: &Participant, track: &TrackSid) -> bool {
    audience.all_participants
        || audience.participants.iter().any(|permission| {
            let named = permission.participant.as_ref().is_some_and(|sid| *sid == receiver.sid)
                || permission.identity.as_ref().is_some_and(|identity| *identity == receiver.identity);
            named && (permission.all_tracks || permission.tracks.contains(track))
        })
}
