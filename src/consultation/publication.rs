//! Tracks: announced, matched with their media section, muted, taken down.

use super::room::Member;
use super::subscription::Unsettled;
use super::{AddTrack, By, Effect, Effects, Fact, MemberId, Refusal, Room, Section, To};
use crate::model::roster::{Quality, Source, Track};
use crate::model::{Identity, MediaKind, TrackCid, TrackSid};
use std::sync::Arc;

/// Announced tracks a member may have waiting for their section; what LiveKit's reference allows.
const MAX_PENDING: usize = 20;

/// Announcements of a track that is already there (a quick republish) that may wait for it to go.
const MAX_QUEUED: usize = 3;

/// Tracks one member may publish: two cameras, a screen, a microphone and a cart of instruments fit well within it.
const MAX_TRACKS: usize = 32;

/// Sections without an announcement a member may have; the announcement normally comes within the same moment.
const MAX_UNEXPLAINED: usize = 32;

/// An announced track that waits for its media section.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) track: Arc<Track>,
    codec_cids: Vec<TrackCid>,
}

impl Room {
    pub(super) fn add_track(&mut self, id: MemberId, sid: TrackSid, add: AddTrack, effects: &mut Effects) -> Result<(), Refusal> {
        match self.announce(id, sid, &add, effects) {
            Ok(()) => Ok(()),
            Err(Refusal::NoSuchParticipant) => Err(Refusal::NoSuchParticipant),
            Err(refusal) => {
                effects.push(Effect::TrackRefused { member: id, refusal, add: Box::new(add) });
                Ok(())
            }
        }
    }

    fn announce(&mut self, id: MemberId, sid: TrackSid, add: &AddTrack, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        if !member.record.permissions.may_publish(add.source) {
            return Err(Refusal::NotAllowed);
        }
        if let Some(existing) = &add.existing {
            // One codec per track for now: a further codec is acknowledged with the track as it is.
            let track = member.track(existing).ok_or(Refusal::NoSuchTrack)?.clone();
            effects.push(Effect::TrackAccepted { member: id, cid: add.cid.clone(), track });
            return Ok(());
        }
        if member.pending.len() >= MAX_PENDING || member.record.tracks.len() >= MAX_TRACKS {
            return Err(Refusal::LimitExceeded);
        }
        let pending = Pending { track: Arc::new(track_of(add, sid)), codec_cids: add.codec_cids.clone() };
        let twin = member.pending.iter().any(|other| other.track.cid == add.cid)
            || member.record.tracks.iter().any(|track| track.cid == add.cid);
        if twin {
            if member.queued.len() >= MAX_QUEUED {
                return Err(Refusal::LimitExceeded);
            }
            member.queued.push(pending);
            return Err(Refusal::Queued);
        }
        self.accept(id, pending, effects)
    }

    fn accept(&mut self, id: MemberId, pending: Pending, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        let track = pending.track.clone();
        effects.push(Effect::TrackAccepted { member: id, cid: track.cid.clone(), track: track.clone() });
        member.pending.push(pending);
        // The offer may have overtaken the announcement.
        let waiting = member
            .unexplained
            .iter()
            .position(|section| section.kind == track.kind && section.track_id.as_ref().is_none_or(|id| *id == track.cid));
        let waiting = waiting.or_else(|| member.unexplained.iter().position(|section| section.kind == track.kind));
        if let Some(index) = waiting {
            let section = member.unexplained.remove(index);
            self.bind(id, section, effects)?;
        }
        Ok(())
    }

    pub(super) fn bind(&mut self, id: MemberId, section: Section, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        let known = |track: &Arc<Track>| track.mid.as_deref() == Some(&*section.mid);
        if member.record.tracks.iter().any(known) {
            return Ok(());
        }
        let same_id = |pending: &Pending| {
            section.track_id.as_ref().is_some_and(|id| pending.track.cid == *id || pending.codec_cids.contains(id))
        };
        let found = member.pending.iter().position(same_id);
        // Firefox names the track in its SDP differently from its announcement: then the oldest one of the kind is meant.
        let spent = found.is_none() && member.is_spent(&section);
        let found = found.or_else(|| member.pending.iter().position(|pending| !spent && pending.track.kind == section.kind));
        let Some(index) = found else {
            if spent {
                return Ok(());
            }
            member.unexplained.retain(|other| other.mid != section.mid);
            if member.unexplained.len() < MAX_UNEXPLAINED {
                member.unexplained.push(section);
            }
            return Ok(());
        };
        member.spent.retain(|(mid, _)| *mid != section.mid);
        let mut track = member.pending.remove(index).track;
        let bound = Arc::make_mut(&mut track);
        bound.sdp_cid = section.track_id.filter(|id| *id != bound.cid);
        bound.codec = bound.codec.filter(|asked| section.codecs.contains(asked)).or_else(|| section.codecs.first().copied());
        bound.simulcast = section.rids.len() > 1;
        bound.mid = Some(section.mid);
        for (layer, rid) in bound.layers.iter_mut().zip(&section.rids) {
            layer.rid = Some(rid.clone());
        }
        member.edit(|record| record.tracks.push(track.clone()));
        effects.push(Effect::TrackOpened { member: id, track: track.clone() });
        effects.push(Effect::Roster { to: To::All, records: vec![member.record.clone()] });
        self.unsettled.push(Unsettled::Track(id, track.sid.clone()));
        Ok(())
    }

    pub(super) fn unbind(&mut self, id: MemberId, mid: &str, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        member.unexplained.retain(|section| &*section.mid != mid);
        member.spent.retain(|(spent, _)| &**spent != mid);
        let bound = |track: &&Arc<Track>| track.mid.as_deref() == Some(mid);
        let Some(track) = member.record.tracks.iter().find(bound).cloned() else {
            return Ok(());
        };
        member.edit(|record| record.tracks.retain(|other| other.sid != track.sid));
        let record = member.record.clone();
        let queued = member.queued.iter().position(|queued| queued.track.cid == track.cid);
        let queued = queued.map(|index| member.queued.remove(index));
        self.drop_track_routes(&track.sid, effects);
        effects.push(Effect::TrackClosed { member: id, track: track.sid.clone(), withdrawn: false });
        effects.push(Effect::Roster { to: To::All, records: vec![record] });
        if let Some(queued) = queued {
            self.accept(id, queued, effects)?;
        }
        Ok(())
    }

    pub(super) fn mute(&mut self, id: MemberId, sid: &TrackSid, muted: bool, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        if let Some(pending) = member.pending.iter_mut().chain(&mut member.queued).find(|pending| pending.track.sid == *sid) {
            Arc::make_mut(&mut pending.track).muted = muted;
            return Ok(());
        }
        let current = member.track(sid).ok_or(Refusal::NoSuchTrack)?.muted;
        if current == muted {
            return Ok(());
        }
        // Silence first, news after.
        effects.push(Effect::TrackMuted { track: sid.clone(), muted });
        self.edit_track(id, sid, |track| track.muted = muted, effects)
    }

    pub(super) fn mute_remotely(
        &mut self,
        identity: &Identity,
        sid: &TrackSid,
        muted: bool,
        by: &By,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        if !muted {
            return Err(Refusal::RemoteUnmute);
        }
        let id = self.id_of(identity).ok_or(Refusal::NoSuchParticipant)?;
        self.mute(id, sid, true, effects)?;
        effects.push(Effect::MuteRequested { member: id, track: sid.clone() });
        self.note(Fact::Muted { seat: identity.clone(), track: sid.clone(), by: by.clone() });
        Ok(())
    }

    pub(super) fn edit_track(
        &mut self,
        id: MemberId,
        sid: &TrackSid,
        change: impl FnOnce(&mut Track),
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        if member.track(sid).is_none() {
            return Err(Refusal::NoSuchTrack);
        }
        member.edit(|record| {
            if let Some(track) = record.tracks.iter_mut().find(|track| track.sid == *sid) {
                let track = Arc::make_mut(track);
                change(track);
                track.version += 1;
            }
        });
        effects.push(Effect::Roster { to: To::All, records: vec![member.record.clone()] });
        Ok(())
    }
}

impl Member {
    /// Remembers the sections of withdrawn tracks: a client may go on sending on them, and not every client heeds the withdrawal.
    pub(super) fn spend(&mut self, withdrawn: &[Arc<Track>]) {
        for track in withdrawn {
            let Some(mid) = &track.mid else { continue };
            self.spent.retain(|(spent, _)| spent != mid);
            self.spent.push((mid.clone(), track.sdp_cid.as_ref().unwrap_or(&track.cid).clone()));
        }
    }

    /// Whether a section still carries a withdrawn track.
    fn is_spent(&self, section: &Section) -> bool {
        self.spent.iter().any(|(mid, carried)| *mid == section.mid && section.track_id.as_ref().is_none_or(|id| id == carried))
    }
}

fn track_of(add: &AddTrack, sid: TrackSid) -> Track {
    let mut layers = add.layers.clone();
    layers.sort_by_key(|layer| layer.quality);
    if add.kind == MediaKind::Video && layers.is_empty() {
        layers.push(crate::model::roster::VideoLayer {
            quality: Quality::High,
            width: add.width,
            height: add.height,
            bitrate: 0,
            rid: None,
        });
    }
    let stream: Arc<str> = match add.source {
        _ if !add.stream.0.is_empty() => add.stream.0.clone(),
        Source::Camera | Source::Microphone => "camera".into(),
        Source::ScreenShare | Source::ScreenShareAudio => "screen".into(),
        Source::Unknown => "unknown".into(),
    };
    Track {
        sid,
        cid: add.cid.clone(),
        sdp_cid: None,
        kind: add.kind,
        source: add.source,
        name: add.name.0.clone(),
        muted: add.muted,
        width: add.width,
        height: add.height,
        codec: add.codec,
        mid: None,
        layers,
        simulcast: false,
        stereo: add.stereo,
        disable_dtx: add.disable_dtx,
        disable_red: add.disable_red,
        encryption: add.encryption,
        stream,
        audio_features: add.audio_features.clone(),
        version: 1,
    }
}
