//! Asides: some hear and see each other, the others see that it runs and receive nothing of it.

use super::act::{AsideView, By};
use super::fact::Fact;
use super::policy::Scope;
use super::room::Member;
use super::seats::{is_professional, millis};
use super::subscription::Unsettled;
use super::{MemberId, Refusal, Room};
use crate::model::roster::Role;
use crate::model::{Identity, Now};
use std::collections::BTreeSet;

/// The aside that runs; who is in it stands with the members.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) since_ms: u64,
    pub(super) until_ms: u64,
}

impl Room {
    pub(super) fn start_aside(&mut self, members: &[Identity], by: By, now: Now) -> Result<(), Refusal> {
        let consultation = self.consultation.as_ref().ok_or(Refusal::NotAConsultation)?;
        if !consultation.policy.aside.allowed {
            return Err(Refusal::NotAllowed);
        }
        if consultation.aside.is_some() {
            return Err(Refusal::AsideRunning);
        }
        let mut apart = BTreeSet::new();
        for seat in members {
            let member = self.members.iter().find(|member| member.record.identity == *seat && member.place.open);
            apart.insert(member.ok_or(Refusal::NoSuchParticipant)?.id);
        }
        if apart.len() < 2 || !self.may_speak_apart(&apart, &by) {
            return Err(Refusal::NotAllowed);
        }
        let patient = |member: &&Member| member.place.open && member.place.role == Some(Role::Patient);
        let agreed = |member: &Member| {
            let file = consultation.seats.get(&member.record.identity);
            file.is_some_and(|file| file.agreed(Scope::Aside))
        };
        if consultation.policy.aside.needs_consent && !self.members.iter().filter(patient).all(agreed) {
            return Err(Refusal::ConsentMissing);
        }
        let until_ms = now.wall_ms.saturating_add(millis(consultation.policy.aside.max));
        self.set_apart(&apart);
        let (members, left_out) = self.parted();
        if let Some(consultation) = &mut self.consultation {
            consultation.aside = Some(Aside { since_ms: now.wall_ms, until_ms });
            consultation.noted.push(Fact::AsideOpened { members, left_out, by });
        }
        Ok(())
    }

    /// Professionals may speak apart, and a doctor with whomever.
    fn may_speak_apart(&self, apart: &BTreeSet<MemberId>, by: &By) -> bool {
        let role = |id: &MemberId| self.member(*id).and_then(|member| member.place.role);
        let professionals = apart.iter().all(|id| role(id).is_some_and(is_professional));
        let with_doctor = apart.iter().any(|id| role(id) == Some(Role::Doctor));
        let nobody_deaf = apart.iter().all(|id| role(id) != Some(Role::Support));
        nobody_deaf
            && match by {
                By::Platform => professionals || with_doctor,
                By::Seat(seat) => {
                    let starter = self.id_of(seat).filter(|id| apart.contains(id)).and_then(|id| role(&id));
                    starter == Some(Role::Doctor) || starter == Some(Role::Colleague) && professionals
                }
                By::Policy => false,
            }
    }

    pub(super) fn renew_aside(&mut self, by: By, now: Now) -> Result<(), Refusal> {
        let in_it = |seat: &Identity| self.members.iter().find(|member| member.record.identity == *seat && member.place.apart);
        let may = match &by {
            By::Platform => true,
            By::Seat(seat) => in_it(seat).and_then(|member| member.place.role).is_some_and(is_professional),
            By::Policy => false,
        };
        let (members, left_out) = self.parted();
        let consultation = self.consultation.as_mut().ok_or(Refusal::NotAConsultation)?;
        let aside = consultation.aside.as_mut().ok_or(Refusal::NoAside)?;
        if !may {
            return Err(Refusal::NotAllowed);
        }
        aside.until_ms = now.wall_ms.saturating_add(millis(consultation.policy.aside.max));
        consultation.noted.push(Fact::AsideChanged { members, left_out, by });
        Ok(())
    }

    pub(super) fn end_aside(&mut self, by: By, now: Now) -> Result<(), Refusal> {
        let may = match &by {
            By::Platform | By::Policy => true,
            By::Seat(seat) => self.members.iter().any(|member| {
                let concerned = member.place.apart || member.place.role == Some(Role::Doctor);
                member.record.identity == *seat && member.place.open && concerned
            }),
        };
        let consultation = self.consultation.as_mut().ok_or(Refusal::NotAConsultation)?;
        let aside = consultation.aside.as_ref().ok_or(Refusal::NoAside)?;
        if !may {
            return Err(Refusal::NotAllowed);
        }
        let lasted_s = now.wall_ms.saturating_sub(aside.since_ms) / 1_000;
        consultation.aside = None;
        consultation.noted.push(Fact::AsideClosed { lasted_s, by });
        self.set_apart(&BTreeSet::new());
        Ok(())
    }

    /// Takes those out of the aside whose gate is shut, and ends it when fewer than two are left or its time is over.
    pub(super) fn mend_aside(&mut self, now: Now) {
        let Some(aside) = self.consultation.as_ref().and_then(|consultation| consultation.aside.as_ref()) else { return };
        let over = aside.until_ms <= now.wall_ms;
        let before = self.members.iter().filter(|member| member.place.apart).count();
        let apart: BTreeSet<_> =
            self.members.iter().filter(|member| member.place.apart && member.place.open).map(|member| member.id).collect();
        if over || apart.len() < 2 {
            // It runs: a line above.
            let _ = self.end_aside(By::Policy, now);
        } else if apart.len() < before {
            self.set_apart(&apart);
            self.note_aside_changed();
        }
    }

    /// Puts on record who is left in the aside.
    pub(super) fn note_aside_changed(&mut self) {
        let (members, left_out) = self.parted();
        if let Some(consultation) = self.consultation.as_mut().filter(|consultation| consultation.aside.is_some()) {
            consultation.noted.push(Fact::AsideChanged { members, left_out, by: By::Policy });
        }
    }

    fn set_apart(&mut self, apart: &BTreeSet<MemberId>) {
        for member in &mut self.members {
            let now = apart.contains(&member.id);
            if member.place.apart != now {
                member.place.apart = now;
                self.unsettled.extend([Unsettled::Receiver(member.id), Unsettled::Publisher(member.id)]);
            }
        }
    }

    /// Who is inside and in the aside, and who is inside and not.
    fn parted(&self) -> (Vec<Identity>, Vec<Identity>) {
        let inside = self.members.iter().filter(|member| member.place.open);
        let (apart, left_out): (Vec<_>, Vec<_>) = inside.partition(|member| member.place.apart);
        let names = |members: Vec<&Member>| members.iter().map(|member| member.record.identity.clone()).collect();
        (names(apart), names(left_out))
    }

    pub(super) fn aside_view(&self) -> Option<AsideView> {
        let aside = self.consultation.as_ref()?.aside.as_ref()?;
        let (members, _) = self.parted();
        Some(AsideView { members, since_ms: aside.since_ms, until_ms: aside.until_ms })
    }
}
