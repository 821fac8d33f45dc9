//! Who may do what in a consultation. What only reduces is never refused for the state of anything else.

use super::act::{Act, By, Channel, Consent, Emergency, IdentityCheck, Invitation};
use super::fact::{Closing, Fact};
use super::policy::{ConsultationPolicy, Scope};
use super::room::Member;
use super::seats::{Consultation, File, millis};
use super::{Effect, Effects, MemberId, Recording, Refusal, Room, To};
use crate::model::roster::{LeaveAction, LeaveReason, Role};
use crate::model::{Identity, Instant, Now, TrackSid};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a consultation stays open after the last one left.
const EMPTY_FOR: Duration = Duration::from_secs(10 * 60);

/// People beside one participant, of one kind.
const MOST_BESIDE: u8 = 9;

impl Room {
    pub(super) fn open_consultation(&mut self, policy: ConsultationPolicy, now: Now) -> Result<(), Refusal> {
        policy.check()?;
        let consultation = self.consultation_mut()?;
        if consultation.opened_at_ms.is_some() {
            return Err(Refusal::NotAllowed);
        }
        let before = std::mem::replace(&mut consultation.policy, policy);
        if consultation.closes_at_ms() <= now.wall_ms {
            consultation.policy = before;
            return Err(Refusal::TooLate);
        }
        consultation.announce();
        // Nobody is here yet, and what was said of its seats must last until they come.
        let waits_s = consultation.closes_at_ms().saturating_sub(now.wall_ms) / 1_000;
        self.facts.empty_timeout_s = u32::try_from(waits_s).unwrap_or(u32::MAX);
        self.facts.departure_timeout_s = u32::try_from(EMPTY_FOR.as_secs()).unwrap_or(u32::MAX);
        Ok(())
    }

    pub(super) fn consult(
        &mut self,
        by: By,
        act: Act,
        asked_at: Instant,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        self.consultation_mut()?;
        // Gates shut in this very step, so it took as long as the wait for it.
        let waited = now.mono.saturating_duration_since(asked_at);
        if by == By::Policy {
            return Err(Refusal::NotAllowed);
        }
        match act {
            Act::Invite(invitation) => self.invite(&by, invitation),
            Act::Admit(seat) => self.admit(by, &seat, now),
            Act::Refuse(seat) => self.refuse(by, &seat, now, effects),
            Act::Remove(seat) => self.remove(by, &seat, now, effects),
            Act::Consent(consent) => self.give_consent(by, consent),
            Act::RefuseConsent { seat, scopes } => self.refuse_consent(by, &seat, scopes, waited),
            Act::WithdrawConsent { seat, scopes } => self.withdraw_consent(by, &seat, scopes, waited),
            Act::EmergencyOverride { seat, why } => self.override_consent(by, &seat, why),
            Act::StartAside(members) => self.start_aside(&members, by, now),
            Act::RenewAside => self.renew_aside(by, now),
            Act::EndAside => self.end_aside(by, now),
            Act::DeclarePresence { seat, kind, count } => self.declare_presence(&by, seat, kind, count),
            Act::WithdrawPresence { seat, kind } => self.withdraw_presence(&by, seat, kind),
            Act::AttestIdentity { seat, method } => self.attest_identity(by, seat, method),
            Act::Lock => self.lock(by, true),
            Act::Unlock => self.lock(by, false),
            Act::Extend { ends_at_ms } => self.extend(by, ends_at_ms, now),
            Act::Mute { seat, track } => self.mute_seat(&by, &seat, track.as_ref(), effects),
            Act::Close => {
                self.leads(&by)?;
                self.end(Closing::Ended, by, LeaveReason::RoomDeleted, now, effects);
                Ok(())
            }
        }
    }

    pub(super) fn consultation_mut(&mut self) -> Result<&mut Consultation, Refusal> {
        self.consultation.as_deref_mut().ok_or(Refusal::NotAConsultation)
    }

    fn file_mut(&mut self, seat: &Identity) -> Result<&mut File, Refusal> {
        self.consultation_mut()?.seats.get_mut(seat).ok_or(Refusal::NoSuchSeat)
    }

    fn role_of(&self, seat: &Identity) -> Result<Role, Refusal> {
        let consultation = self.consultation.as_ref().ok_or(Refusal::NotAConsultation)?;
        consultation.seats.get(seat).map(|file| file.role).ok_or(Refusal::NoSuchSeat)
    }

    /// A member by its seat, if its gate is open.
    fn inside(&self, seat: &Identity) -> Option<&Member> {
        self.members.iter().find(|member| member.record.identity == *seat && member.place.open)
    }

    /// The platform, or a doctor inside.
    fn leads(&self, by: &By) -> Result<(), Refusal> {
        let leads = match by {
            By::Platform => true,
            By::Seat(seat) => self.inside(seat).is_some_and(|member| member.place.role == Some(Role::Doctor)),
            By::Policy => false,
        };
        leads.then_some(()).ok_or(Refusal::NotAllowed)
    }

    /// The platform, or the seat itself.
    fn speaks_for(&self, by: &By, seat: &Identity) -> bool {
        matches!(by, By::Platform) || matches!(by, By::Seat(own) if own == seat)
    }

    /// A legal representative who was let in and is here.
    fn represents(&self, by: &By) -> bool {
        let By::Seat(seat) = by else { return false };
        let file = self.consultation.as_ref().and_then(|consultation| consultation.seats.get(seat));
        file.is_some_and(|file| file.legal_rep && file.admitted && file.role != Role::Patient) && self.id_of(seat).is_some()
    }

    fn invite(&mut self, by: &By, invitation: Invitation) -> Result<(), Refusal> {
        self.leads(by)?;
        let Invitation { seat, role, from_ms, until_ms, admitted } = invitation;
        if from_ms.zip(until_ms).is_some_and(|(from, until)| from >= until) {
            return Err(Refusal::BadPolicy);
        }
        let present = self.id_of(&seat).is_some();
        let consultation = self.consultation_mut()?;
        let known = consultation.seats.get(&seat);
        let expected = consultation.seats.values().filter(|file| !file.came && !file.out).count();
        if known.is_some_and(|file| present && file.role != role) {
            return Err(Refusal::WrongRole);
        }
        if known.is_none() && expected >= consultation.policy.max_seats as usize {
            return Err(Refusal::RoomFull);
        }
        let file = consultation.file(&seat, role)?;
        let old = file.role;
        if old != role || file.out {
            *file = File { revoked_at_s: file.revoked_at_s, ..File::new(role) };
        }
        (file.from_ms, file.until_ms, file.welcome) = (from_ms, until_ms, admitted);
        if old != role {
            self.note(Fact::RoleChanged { seat, old, new: role, by: by.clone() });
        }
        Ok(())
    }

    fn admit(&mut self, by: By, seat: &Identity, now: Now) -> Result<(), Refusal> {
        self.leads(&by)?;
        let role = self.role_of(seat)?;
        let present = self.id_of(seat).is_some();
        let file = self.file_mut(seat)?;
        if file.out {
            return Err(Refusal::Removed);
        }
        if file.admitted {
            return Ok(());
        }
        if !present {
            file.welcome = true;
            return Ok(());
        }
        self.may_be_admitted(role)?;
        self.let_in(seat, by, now);
        Ok(())
    }

    fn refuse(&mut self, by: By, seat: &Identity, now: Now, effects: &mut Effects) -> Result<(), Refusal> {
        self.leads(&by)?;
        let present = self.id_of(seat);
        let file = self.file_mut(seat)?;
        if file.admitted {
            return Err(Refusal::NotAllowed);
        }
        revoke(file, now);
        if let Some(member) = present {
            self.depart(member, LeaveReason::NotAdmitted, LeaveAction::Disconnect, To::All, now, effects)?;
        }
        self.note(Fact::AdmitRefused { seat: seat.clone(), by });
        Ok(())
    }

    pub(super) fn remove(&mut self, by: By, seat: &Identity, now: Now, effects: &mut Effects) -> Result<(), Refusal> {
        let role = self.role_of(seat)?;
        let own_guest = matches!(role, Role::Companion | Role::Relative);
        let patient = |by: &By| match by {
            By::Seat(own) => self.inside(own).is_some_and(|member| member.place.role == Some(Role::Patient)),
            By::Platform | By::Policy => false,
        };
        if self.leads(&by).is_err() && !(own_guest && patient(&by)) {
            return Err(Refusal::NotAllowed);
        }
        let present = self.id_of(seat);
        revoke(self.file_mut(seat)?, now);
        if let Some(member) = present {
            self.depart(member, LeaveReason::ParticipantRemoved, LeaveAction::Disconnect, To::All, now, effects)?;
        }
        self.note(Fact::Removed { seat: seat.clone(), by });
        Ok(())
    }

    fn give_consent(&mut self, by: By, consent: Consent) -> Result<(), Refusal> {
        let Consent { seat, mut scopes, text, channel } = consent;
        let represents = self.represents(&by);
        if !self.speaks_for(&by, &seat) && !represents || self.role_of(&seat)? != Role::Patient {
            return Err(Refusal::NotAllowed);
        }
        let channel = match &by {
            By::Platform => channel,
            By::Seat(_) if represents => Channel::Representative,
            By::Seat(_) | By::Policy => Channel::InCall,
        };
        let required = self.consultation_mut()?.policy.consent.clone();
        let file = self.file_mut(&seat)?;
        if file.out {
            return Err(Refusal::Removed);
        }
        if scopes.is_empty() {
            scopes = required;
        }
        file.consent.extend(scopes.iter().copied());
        file.declined.retain(|scope| !scopes.contains(scope));
        file.text = Some(text.clone());
        // A patient who agrees to one more thing does not undo what a representative agreed to.
        if file.channel != Some(Channel::Representative) {
            file.channel = Some(channel);
        }
        self.note(Fact::ConsentGiven { seat, scopes, text, channel, by });
        Ok(())
    }

    /// A no shuts whatever was open: what was agreed to, or gone on without in an emergency, is taken back.
    fn refuse_consent(&mut self, by: By, seat: &Identity, mut scopes: BTreeSet<Scope>, waited: Duration) -> Result<(), Refusal> {
        if !self.speaks_for(&by, seat) && !self.represents(&by) || self.role_of(seat)? != Role::Patient {
            return Err(Refusal::NotAllowed);
        }
        let required = self.consultation_mut()?.policy.consent.clone();
        if scopes.is_empty() {
            scopes.clone_from(&required);
        }
        let agreed: BTreeSet<_> = scopes.intersection(&self.file_mut(seat)?.consent).copied().collect();
        let overridden = !scopes.is_disjoint(&required) && self.file_mut(seat)?.emergency.is_some();
        if !agreed.is_empty() {
            self.withdraw_consent(by.clone(), seat, agreed, waited)?;
        }
        let file = self.file_mut(seat)?;
        if !scopes.is_disjoint(&required) {
            (file.emergency, file.withdrew) = (None, true);
        }
        let before = file.declined.len();
        file.declined.extend(scopes.iter().copied());
        // The same answer again is no news.
        if overridden || file.declined.len() > before {
            self.note(Fact::ConsentRefused { seat: seat.clone(), scopes, by });
        }
        Ok(())
    }

    fn withdraw_consent(
        &mut self,
        by: By,
        seat: &Identity,
        mut scopes: BTreeSet<Scope>,
        waited: Duration,
    ) -> Result<(), Refusal> {
        if !self.speaks_for(&by, seat) && !self.represents(&by) {
            return Err(Refusal::NotAllowed);
        }
        let file = self.file_mut(seat)?;
        if scopes.is_empty() {
            scopes = file.consent.clone();
        }
        file.consent.retain(|scope| !scopes.contains(scope));
        (file.emergency, file.withdrew) = (None, true);
        if file.consent.is_empty() {
            (file.text, file.channel) = (None, None);
        }
        self.note(Fact::ConsentWithdrawn { seat: seat.clone(), scopes, by, waited });
        Ok(())
    }

    fn override_consent(&mut self, by: By, seat: &Identity, why: Emergency) -> Result<(), Refusal> {
        let allowed = self.consultation_mut()?.policy.emergency_override && matches!(by, By::Seat(_));
        if !allowed || self.role_of(seat)? != Role::Patient {
            return Err(Refusal::NotAllowed);
        }
        self.leads(&by)?;
        let file = self.file_mut(seat)?;
        if file.out {
            return Err(Refusal::Removed);
        }
        file.emergency = Some(why);
        self.note(Fact::EmergencyOverride { seat: seat.clone(), why, by });
        Ok(())
    }

    fn declare_presence(&mut self, by: &By, seat: Identity, kind: Role, count: u8) -> Result<(), Refusal> {
        if !self.speaks_for(by, &seat) {
            return Err(Refusal::NotAllowed);
        }
        let file = self.file_mut(&seat)?;
        if !(1..=MOST_BESIDE).contains(&count) {
            return Err(Refusal::LimitExceeded);
        }
        if file.beside.insert(kind, count) != Some(count) {
            self.note(Fact::PresenceDeclared { seat, kind, count });
        }
        Ok(())
    }

    fn withdraw_presence(&mut self, by: &By, seat: Identity, kind: Role) -> Result<(), Refusal> {
        if !self.speaks_for(by, &seat) {
            return Err(Refusal::NotAllowed);
        }
        if self.file_mut(&seat)?.beside.remove(&kind).is_some() {
            self.note(Fact::PresenceWithdrawn { seat, kind });
        }
        Ok(())
    }

    fn attest_identity(&mut self, by: By, seat: Identity, method: IdentityCheck) -> Result<(), Refusal> {
        self.leads(&by)?;
        if self.role_of(&seat)? != Role::Patient {
            return Err(Refusal::WrongRole);
        }
        self.note(Fact::IdentityAttested { seat, method, by });
        Ok(())
    }

    fn lock(&mut self, by: By, locked: bool) -> Result<(), Refusal> {
        self.leads(&by)?;
        let consultation = self.consultation_mut()?;
        if std::mem::replace(&mut consultation.locked, locked) != locked {
            self.note(if locked { Fact::RoomLocked { by } } else { Fact::RoomUnlocked { by } });
        }
        Ok(())
    }

    fn extend(&mut self, by: By, ends_at_ms: u64, now: Now) -> Result<(), Refusal> {
        self.leads(&by)?;
        let consultation = self.consultation_mut()?;
        let latest = consultation.opened_at_ms.unwrap_or(now.wall_ms).saturating_add(millis(consultation.policy.longest));
        if ends_at_ms <= now.wall_ms || ends_at_ms > latest {
            return Err(Refusal::BadPolicy);
        }
        consultation.before_extension = Some((consultation.policy.ends_at_ms, consultation.policy.max_length));
        consultation.policy.ends_at_ms = Some(ends_at_ms);
        if let Some(opened) = consultation.opened_at_ms {
            let length = Duration::from_millis(ends_at_ms.saturating_sub(opened));
            consultation.policy.max_length = consultation.policy.max_length.max(length);
        }
        self.note(Fact::RoomExtended { ends_at_ms, by });
        Ok(())
    }

    fn mute_seat(&mut self, by: &By, seat: &Identity, track: Option<&TrackSid>, effects: &mut Effects) -> Result<(), Refusal> {
        self.leads(by)?;
        let member = self.members.iter().find(|member| member.record.identity == *seat).ok_or(Refusal::NoSuchParticipant)?;
        let named = |sid: &&TrackSid| track.is_none_or(|track| track == *sid);
        let tracks: Vec<_> = member.record.tracks.iter().map(|track| &track.sid).filter(named).cloned().collect();
        if tracks.is_empty() && track.is_some() {
            return Err(Refusal::NoSuchTrack);
        }
        for track in tracks {
            self.mute_remotely(seat, &track, true, by, effects)?;
        }
        Ok(())
    }

    /// Ends the consultation for everybody.
    pub(super) fn end(&mut self, why: Closing, by: By, reason: LeaveReason, now: Now, effects: &mut Effects) {
        let ids: Vec<MemberId> = self.members.iter().map(|member| member.id).collect();
        for id in ids {
            // Every id was just read from the list.
            let _ = self.depart(id, reason, LeaveAction::Disconnect, To::All, now, effects);
        }
        let Some(consultation) = self.consultation.as_mut().filter(|consultation| !consultation.over) else { return };
        consultation.over = true;
        let opened = consultation.opened_at_ms.unwrap_or(now.wall_ms);
        let came = consultation.seats.values().filter(|file| file.came).count();
        let (seats, peak) = (u32::try_from(came).unwrap_or(u32::MAX), consultation.peak);
        let lasted_s = now.wall_ms.saturating_sub(opened) / 1_000;
        consultation.noted.push(Fact::RoomClosed { why, by, lasted_s, seats, peak });
        effects.push(Effect::Closed);
    }

    pub(super) fn tick(&mut self, now: Now, effects: &mut Effects) {
        if self.consultation.as_ref().is_some_and(|consultation| consultation.closes_at_ms() <= now.wall_ms) {
            return self.end(Closing::TimeLimit, By::Policy, LeaveReason::TimeLimit, now, effects);
        }
        if self.unrecorded_until_ms().is_some_and(|at| at <= now.wall_ms) {
            return self.end(Closing::Unrecorded, By::Policy, LeaveReason::RoomDeleted, now, effects);
        }
        self.warn(now);
        for member in self.expired(now) {
            // It was just found among the members.
            let _ = self.depart(member, LeaveReason::TimeLimit, LeaveAction::Disconnect, To::All, now, effects);
        }
    }

    pub(super) fn set_recording(&mut self, recording: Recording) {
        if let Some(consultation) = &mut self.consultation {
            consultation.recording = recording;
        }
    }

    /// Takes back what could not be put on record. Who cannot be sent back to wait is asked to come again.
    #[expect(clippy::wildcard_enum_match_arm, reason = "facts that give nothing need no undoing")]
    pub(super) fn undo(&mut self, facts: Vec<Fact>, now: Now, effects: &mut Effects) {
        let mut doubtful: BTreeSet<Identity> = facts.iter().filter_map(|fact| self.undo_one(fact, now, effects)).collect();
        let opened = facts.iter().filter_map(|fact| match fact {
            Fact::Joined { seat, .. } | Fact::GateOpened { seat } | Fact::Subscribed { seat, .. } => Some(seat),
            _ => None,
        });
        doubtful.extend(opened.filter(|seat| self.opens(seat)).cloned());
        for member in doubtful.iter().filter_map(|seat| self.id_of(seat)).collect::<Vec<_>>() {
            // It was just found among the members.
            let _ = self.depart(member, LeaveReason::JoinFailure, LeaveAction::Reconnect, To::All, now, effects);
        }
    }

    /// Takes one back; answers whose stay must end for it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "facts that give nothing need no undoing")]
    fn undo_one(&mut self, fact: &Fact, now: Now, effects: &mut Effects) -> Option<Identity> {
        match fact {
            Fact::ConsentGiven { seat, scopes, .. } => {
                if let Ok(file) = self.file_mut(seat) {
                    file.consent.retain(|scope| !scopes.contains(scope));
                }
            }
            Fact::RoleChanged { seat, old, .. } => {
                if let Ok(file) = self.file_mut(seat) {
                    *file = File { out: true, revoked_at_s: Some(now.wall_ms / 1_000), ..File::new(*old) };
                }
                return Some(seat.clone());
            }
            Fact::EmergencyOverride { seat, .. } => {
                if let Ok(file) = self.file_mut(seat) {
                    file.emergency = None;
                }
            }
            Fact::Admitted { seat, by, .. } => {
                if let Ok(file) = self.file_mut(seat) {
                    (file.admitted, file.welcome) = (false, file.welcome && *by == By::Policy);
                }
                if *by == By::Policy {
                    return Some(seat.clone());
                }
            }
            Fact::TokenAccepted { seat, .. } | Fact::PermissionChanged { seat, .. } => {
                return Some(seat.clone());
            }
            Fact::RoomCreated { .. } if self.members.is_empty() => {
                self.end(Closing::Ended, By::Policy, LeaveReason::RoomDeleted, now, effects);
            }
            Fact::RoomUnlocked { .. } => {
                if let Ok(consultation) = self.consultation_mut() {
                    consultation.locked = true;
                }
            }
            Fact::RoomExtended { .. } => {
                if let Ok(consultation) = self.consultation_mut()
                    && let Some((ends_at_ms, max_length)) = consultation.before_extension.take()
                {
                    (consultation.policy.ends_at_ms, consultation.policy.max_length) = (ends_at_ms, max_length);
                }
            }
            Fact::AsideOpened { .. } => {
                // It may have ended since.
                let _ = self.end_aside(By::Policy, now);
            }
            _ => {}
        }
        None
    }

    pub(super) fn away(&mut self, member: MemberId, now: Now) -> Result<(), Refusal> {
        self.member_mut(member)?.place.away_since_ms.get_or_insert(now.wall_ms);
        Ok(())
    }

    pub(super) fn back(&mut self, id: MemberId, now: Now, effects: &mut Effects) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        let (away, seat) = (member.place.away_since_ms.take(), member.record.identity.clone());
        let Some(consultation) = &mut self.consultation else { return Ok(()) };
        // The whole roster was just written again: whom it names, the client knows once it has it.
        consultation.ticket += 1;
        effects.push(Effect::Receipt { member: id, ticket: consultation.ticket });
        let gap_s = away.map_or(0, |since| now.wall_ms.saturating_sub(since) / 1_000);
        self.note(Fact::Resumed { seat, gap_s });
        Ok(())
    }
}

fn revoke(file: &mut File, now: Now) {
    (file.out, file.admitted, file.welcome) = (true, false, false);
    file.revoked_at_s = Some(now.wall_ms / 1_000);
}
