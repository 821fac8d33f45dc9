//! What platforms arranged: consultations, their invited seats and consents, links, and the log of events.
//!
//! Kept in memory by the node, and beyond its life where it has a keeper. A room opens with its plan when the first person comes,
//! so a consultation that was arranged weeks ahead costs no worker anything. Nobody else's room ever answers: everything is found by
//! tenant and name.

use super::events::{Event, Events, Log};
use super::kept::{Changes, Keeper};
use super::links::{Hash, Link, Links};
use super::problem::{Code, Problem};
use super::words::NewConsultation;
use crate::model::roster::{Role, Text};
use crate::model::{Identity, RoomKey, RoomName, TenantId};
use crate::relay::command::{
    Act, Arranged, Channel, Consent, ConsultationPolicy, Invitation, LONGEST, MOST_SEATS, Plan, Plans, TenantRules,
};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Consultations kept at most: some kilobytes each, and a month of a large hospital.
const MAX_CONSULTATIONS: usize = 16_384;

/// How long one is remembered after it was over, so that no token of it opens a room of the same name.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// An invited seat.
#[derive(Clone)]
pub(super) struct Invited {
    pub(super) role: Role,
    pub(super) name: Option<Text>,
    pub(super) auth: Option<String>,
    pub(super) legal_representative: bool,
    /// Seconds since the Unix epoch.
    pub(super) opens_at: u64,
    /// Seconds since the Unix epoch.
    pub(super) closes_at: u64,
    pub(super) admitted: bool,
    pub(super) link: Option<Hash>,
    /// Its tokens are issued in this second or later.
    pub(super) issued_from: u64,
    /// The key the platform invited with: it, or a sister of it, signs the seat's tokens.
    pub(super) key: Arc<str>,
}

impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invited").field("role", &self.role).finish_non_exhaustive()
    }
}

/// An arranged consultation.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) asked: NewConsultation,
    pub(super) policy: ConsultationPolicy,
    pub(super) seats: BTreeMap<Identity, Invited>,
    pub(super) consents: BTreeMap<Identity, Consent>,
    pub(super) created_at: u64,
    /// When a seat was last taken out: a seat that is invited again gets a token issued after that.
    pub(super) removed_at: u64,
    pub(super) ended: bool,
}

impl Entry {
    /// The last second in which somebody may join.
    pub(super) fn closes_at(&self) -> u64 {
        let end = self.policy.ends_at_ms.map_or_else(
            // Without an end it may begin within a day and then last as long as any.
            || self.policy.starts_at_ms.map_or(self.created_at, |ms| ms / 1_000).saturating_add((REMEMBERED + LONGEST).as_secs()),
            |ms| ms / 1_000,
        );
        end.saturating_add(self.policy.grace.as_secs())
    }

    /// The first second in which somebody may join.
    pub(super) fn opens_at(&self) -> u64 {
        self.policy.starts_at_ms.map_or(self.created_at, |ms| (ms / 1_000).saturating_sub(self.policy.early.as_secs()))
    }

    /// What a seat agreed to.
    pub(super) fn consent(&self, seat: &Identity) -> Option<&Consent> {
        self.consents.get(seat)
    }

    /// It has been over for so long that nothing of it counts any more.
    pub(super) fn is_past(&self, now_s: u64) -> bool {
        self.closes_at().saturating_add(REMEMBERED.as_secs()) <= now_s
    }

    fn plan(&self) -> Plan {
        let invite = |(seat, invited): (&Identity, &Invited)| {
            Act::Invite(Invitation {
                seat: seat.clone(),
                role: invited.role,
                from_ms: Some(super::words::ms(invited.opens_at)),
                until_ms: Some(super::words::ms(invited.closes_at)),
                admitted: invited.admitted,
            })
        };
        let consents = self.consents.values().cloned().map(Act::Consent);
        Plan { policy: self.policy.clone(), acts: self.seats.iter().map(invite).chain(consents).collect() }
    }
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) consultations: HashMap<RoomKey, Entry>,
    pub(super) links: Links,
    /// As many rooms at most as there are consultations, and those that were just forgotten.
    pub(super) changes: Changes,
    log: Log,
}

/// The register of a node.
pub struct Register {
    inner: Mutex<Inner>,
    news: Notify,
    pub(super) keeper: Option<Arc<dyn Keeper>>,
    /// Tells the events of this start from those of an earlier one.
    log: String,
    /// What tenants say of their consultations; set when the node starts.
    rules: HashMap<TenantId, TenantRules>,
    no_rules: TenantRules,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Register")
    }
}

impl Default for Register {
    fn default() -> Self {
        // Without random numbers the time a reader notices a restart is the first gap in the numbers.
        let log = random::<8>().unwrap_or_else(|_| "0".to_owned());
        let (rules, no_rules) = (HashMap::new(), TenantRules::default());
        Self { inner: Mutex::default(), news: Notify::new(), keeper: None, log, rules, no_rules }
    }
}

impl Register {
    /// One whose consultations outlive it.
    #[must_use]
    pub fn with_keeper(self, keeper: Arc<dyn Keeper>) -> Self {
        Self { keeper: Some(keeper), ..self }
    }

    /// A register of tenants with rules of their own.
    #[must_use]
    pub fn with_rules(mut self, rules: HashMap<TenantId, TenantRules>) -> Self {
        self.rules = rules;
        self
    }

    /// What a tenant says of its consultations.
    pub(super) fn rules(&self, tenant: &TenantId) -> &TenantRules {
        self.rules.get(tenant).unwrap_or(&self.no_rules)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Arranges a consultation; the same request for the same id again changes nothing.
    ///
    /// # Errors
    /// [`Code::Conflict`] when the id stands for another one, [`Code::TooMany`] when the node holds as many as it may.
    pub(super) fn arrange(
        &self,
        room: &RoomKey,
        asked: NewConsultation,
        policy: ConsultationPolicy,
        now_s: u64,
    ) -> Result<bool, Problem> {
        let mut inner = self.lock();
        if let Some(known) = inner.consultations.get(room) {
            if known.asked == asked && !known.ended {
                return Ok(false);
            }
            return Err(Problem::new(Code::Conflict, "this id stands for another consultation; choose another, or leave it out"));
        }
        if inner.consultations.len() >= MAX_CONSULTATIONS {
            inner.forget(now_s);
        }
        if inner.consultations.len() >= MAX_CONSULTATIONS {
            return Err(Problem::new(Code::TooMany, "the node holds as many consultations as it may; end some"));
        }
        let entry = Entry {
            asked,
            policy,
            seats: BTreeMap::new(),
            consents: BTreeMap::new(),
            created_at: now_s,
            removed_at: 0,
            ended: false,
        };
        if entry.closes_at() <= now_s {
            return Err(Problem::new(Code::Ended, "its end is past; check ends_at, in seconds since 1970"));
        }
        inner.consultations.insert(room.clone(), entry);
        inner.changes.note(room);
        Ok(true)
    }

    /// An arranged consultation, over or not.
    pub(super) fn find(&self, room: &RoomKey) -> Option<Entry> {
        self.lock().consultations.get(room).cloned()
    }

    /// Writes down an invited seat and makes its link; an earlier link of the seat stops working.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::Ended`], [`Code::Full`], [`Code::WrongRole`], or those of a link.
    pub(super) fn invite(
        &self,
        room: &RoomKey,
        seat: &Identity,
        mut invited: Invited,
        link: bool,
        now_s: u64,
    ) -> Result<(Invited, Option<String>), Problem> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let entry = inner.consultations.get_mut(room).ok_or_else(Problem::no_consultation)?;
        entry.check_running()?;
        invited.issued_from = entry.removed_at.saturating_add(1);
        let known = entry.seats.get(seat);
        if known.is_some_and(|known| known.role != invited.role) {
            return Err(Problem::new(Code::WrongRole, "the seat is invited in another role; remove it first"));
        }
        if known.is_none() && entry.seats.len() >= entry.policy.max_seats.min(MOST_SEATS) as usize {
            return Err(Problem::new(Code::Full, "all seats are invited; remove one, or arrange with a larger max_seats"));
        }
        let code = if link {
            let link = Link { room: room.clone(), seat: seat.clone(), closes_at: invited.closes_at };
            let (code, hash) = inner.links.make(link, now_s)?;
            invited.link = Some(hash);
            Some(code)
        } else {
            None
        };
        if let Some(old) = known.and_then(|known| known.link) {
            inner.links.revoke(&old);
        }
        entry.seats.insert(seat.clone(), invited.clone());
        inner.changes.note(room);
        Ok((invited, code))
    }

    /// Takes an invitation back, with its link.
    pub(super) fn uninvite(&self, room: &RoomKey, seat: &Identity, now_s: u64) -> bool {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(entry) = inner.consultations.get_mut(room) else { return false };
        inner.changes.note(room);
        entry.removed_at = now_s;
        entry.consents.remove(seat);
        let Some(invited) = entry.seats.remove(seat) else { return false };
        if let Some(hash) = invited.link {
            inner.links.revoke(&hash);
        }
        true
    }

    /// A seat was taken out of its room by other ways than this API: its invitation goes, with its link.
    pub fn on_removed(&self, room: &RoomKey, seat: &Identity, now_s: u64) {
        // A seat that was never invited here has nothing to lose.
        let _ = self.uninvite(room, seat, now_s);
    }

    /// Keeps what somebody agreed to for the next time the room opens; one more thing does not undo what was agreed to before.
    pub(super) fn keep_consent(&self, room: &RoomKey, mut consent: Consent) -> bool {
        let mut inner = self.lock();
        let Inner { consultations, changes, .. } = &mut *inner;
        let Some(entry) = consultations.get_mut(room).filter(|entry| !entry.ended) else { return false };
        if !entry.seats.contains_key(&consent.seat) {
            return false;
        }
        if consent.scopes.is_empty() {
            consent.scopes = entry.policy.consent.clone();
        }
        if let Some(before) = entry.consents.get(&consent.seat) {
            consent.scopes.extend(before.scopes.iter().copied());
            if before.channel == Channel::Representative {
                consent.channel = before.channel;
            }
        }
        entry.consents.insert(consent.seat.clone(), consent);
        changes.note(room);
        true
    }

    /// Forgets what a seat agreed to.
    pub(super) fn drop_consent(&self, room: &RoomKey, seat: &Identity) -> bool {
        let mut inner = self.lock();
        let dropped = inner.consultations.get_mut(room).is_some_and(|entry| entry.consents.remove(seat).is_some());
        if dropped {
            inner.changes.note(room);
        }
        dropped
    }

    /// Lets an invited seat in as soon as it comes.
    pub(super) fn admit(&self, room: &RoomKey, seat: &Identity) -> bool {
        let mut inner = self.lock();
        let invited = inner.consultations.get_mut(room).and_then(|entry| entry.seats.get_mut(seat));
        let admitted = invited.map(|invited| invited.admitted = true).is_some();
        if admitted {
            inner.changes.note(room);
        }
        admitted
    }

    /// Moves the end, also of the seats that could come until then.
    pub(super) fn extend(&self, room: &RoomKey, ends_at: u64) -> bool {
        let mut inner = self.lock();
        let Some(entry) = inner.consultations.get_mut(room) else { return false };
        let before = entry.closes_at();
        entry.policy.ends_at_ms = Some(super::words::ms(ends_at));
        let after = entry.closes_at();
        entry.seats.values_mut().filter(|seat| seat.closes_at == before).for_each(|seat| seat.closes_at = after);
        inner.changes.note(room);
        true
    }

    /// Ends a consultation: no link and no token of it opens anything any more.
    pub(super) fn end(&self, room: &RoomKey) -> bool {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(entry) = inner.consultations.get_mut(room) else { return false };
        for hash in entry.seats.values_mut().filter_map(|seat| seat.link.take()) {
            inner.links.revoke(&hash);
        }
        let ended = std::mem::replace(&mut entry.ended, true);
        if !ended {
            inner.changes.note(room);
        }
        !ended
    }

    /// The seat a code opens now.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a code that opens nothing, [`Code::Early`] and [`Code::Ended`] outside the seat's window.
    pub(super) fn redeem(&self, code: &str, now_s: u64) -> Result<(RoomKey, Identity, Invited), Problem> {
        let inner = self.lock();
        let unknown = || Problem::new(Code::NotFound, "this link opens nothing, or no longer; ask for a new one");
        let link = inner.links.find(code).ok_or_else(unknown)?;
        let entry = inner.consultations.get(&link.room).ok_or_else(unknown)?;
        let invited = entry.seats.get(&link.seat).ok_or_else(unknown)?;
        if now_s < invited.opens_at {
            let opens_at = Some(invited.opens_at);
            return Err(Problem { opens_at, ..Problem::new(Code::Early, "the link does not work yet; come back at `opens_at`") });
        }
        if now_s >= invited.closes_at || entry.ended {
            return Err(Problem::new(Code::Ended, "the link has expired; ask for a new one"));
        }
        Ok((link.room.clone(), link.seat.clone(), invited.clone()))
    }

    /// Whether a code opens a seat now.
    #[cfg(test)]
    pub(crate) fn opens(&self, code: &str, now_s: u64) -> bool {
        self.redeem(code, now_s).is_ok()
    }

    /// Adds to a tenant's events.
    pub(super) fn tell(
        &self,
        room: &RoomKey,
        at_ms: u64,
        kind: &'static str,
        seat: Option<&Identity>,
        facts: Option<serde_json::Value>,
    ) {
        let event = Event {
            number: 0,
            at_ms,
            kind,
            consultation: room.name.as_str().to_owned(),
            seat: seat.map(|seat| seat.as_str().to_owned()),
            facts,
        };
        self.lock().log.push(&room.tenant, event);
        self.news.notify_waiters();
    }

    /// Some facts never came: every reader is told to look for itself.
    pub fn on_lost_facts(&self) {
        self.lock().log.lose();
        self.news.notify_waiters();
    }

    /// A tenant's events after a number; waits for one until `patience` is over.
    pub(super) async fn events(&self, tenant: &TenantId, after: u64, patience: Duration) -> Events {
        let waited = tokio::time::timeout(patience, async {
            loop {
                let news = self.news.notified();
                if self.lock().log.last(tenant) != after {
                    return;
                }
                news.await;
            }
        });
        // Nothing new is an answer too.
        let _ = waited.await;
        self.lock().log.after(tenant, &self.log, after)
    }
}

impl Inner {
    pub(super) fn forget(&mut self, now_s: u64) {
        let Self { consultations, links, changes, .. } = self;
        consultations.retain(|room, entry| {
            let keep = !entry.is_past(now_s);
            if !keep {
                changes.note(room);
                entry.seats.values().filter_map(|seat| seat.link.as_ref()).for_each(|hash| links.revoke(hash));
            }
            keep
        });
    }
}

impl Entry {
    fn check_running(&self) -> Result<(), Problem> {
        if self.ended { Err(Problem::new(Code::Ended, "the consultation is over; create another")) } else { Ok(()) }
    }
}

impl Plans for Register {
    fn arranged(&self, room: &RoomKey) -> Arranged {
        match self.lock().consultations.get(room) {
            None => Arranged::Nothing,
            Some(entry) if entry.ended => Arranged::Over,
            Some(entry) => Arranged::Plan(Box::new(entry.plan())),
        }
    }
}

/// Random bytes as text.
///
/// # Errors
/// [`Code::Internal`] without random numbers.
pub(super) fn random<const BYTES: usize>() -> Result<String, Problem> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| Problem::new(Code::Internal, "no random numbers; try again"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The key of a room.
pub(super) fn room(tenant: &TenantId, id: &str) -> RoomKey {
    RoomKey { tenant: tenant.clone(), name: RoomName::new(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn key() -> RoomKey {
        room(&TenantId::new("t"), "c")
    }

    fn asked() -> NewConsultation {
        serde_json::from_str(&format!(r#"{{"starts_at": {}, "ends_at": {}}}"#, NOW + 3_600, NOW + 7_200)).expect("a request")
    }

    fn arranged() -> Register {
        let register = Register::default();
        let policy = asked().policy(&TenantRules::default()).expect("a policy");
        assert!(register.arrange(&key(), asked(), policy, NOW).expect("room for it"));
        register
    }

    fn seat(role: Role) -> Invited {
        Invited {
            role,
            name: None,
            auth: None,
            legal_representative: false,
            opens_at: NOW + 2_700,
            closes_at: NOW + 8_100,
            admitted: false,
            link: None,
            issued_from: 0,
            key: "k".into(),
        }
    }

    fn code(problem: Problem) -> Code {
        problem.code
    }

    #[test]
    fn the_same_request_again_is_the_same_consultation() {
        let register = arranged();
        let policy = asked().policy(&TenantRules::default()).expect("a policy");
        assert!(!register.arrange(&key(), asked(), policy.clone(), NOW).expect("the same"));
        let other = NewConsultation { ends_at: Some(NOW + 9_000), ..asked() };
        assert_eq!(register.arrange(&key(), other, policy.clone(), NOW).map_err(code), Err(Code::Conflict));
        let elsewhere = room(&TenantId::new("u"), "c");
        assert!(register.find(&elsewhere).is_none(), "another tenant's");
        assert_eq!(register.arrange(&room(&key().tenant, "late"), asked(), policy, NOW + 90_000).map_err(code), Err(Code::Ended));
    }

    #[test]
    fn a_link_opens_its_seat_inside_its_window_only() {
        let register = arranged();
        let patient = Identity::new("p");
        let link = register.invite(&key(), &patient, seat(Role::Patient), true, NOW).expect("invited").1.expect("a link");
        let early = register.redeem(&link, NOW).expect_err("too early");
        assert_eq!((early.code, early.opens_at), (Code::Early, Some(NOW + 2_700)));
        let (found, who, _) = register.redeem(&link, NOW + 2_700).expect("open");
        assert_eq!((found, who), (key(), patient));
        assert_eq!(register.redeem(&link, NOW + 8_100).map(|_| ()).map_err(code), Err(Code::Ended));
        assert_eq!(register.redeem("nonsense", NOW + 2_700).map(|_| ()).map_err(code), Err(Code::NotFound));
    }

    #[test]
    fn a_new_link_a_removal_and_the_end_each_revoke_a_link() {
        let (register, patient, at) = (arranged(), Identity::new("p"), NOW + 3_000);
        let invite = || register.invite(&key(), &patient, seat(Role::Patient), true, NOW).expect("invited").1.expect("a link");
        let works = |link: &str| register.redeem(link, at).is_ok();
        let (first, second) = (invite(), invite());
        assert!(!works(&first) && works(&second));
        assert!(register.uninvite(&key(), &patient, NOW));
        assert!(!works(&second));
        let third = invite();
        assert!(works(&third) && register.end(&key()) && !register.end(&key()));
        assert!(!works(&third));
        assert!(matches!(register.arranged(&key()), Arranged::Over));
        assert_eq!(register.invite(&key(), &patient, seat(Role::Patient), true, NOW).map(|_| ()).map_err(code), Err(Code::Ended));
    }

    #[test]
    fn a_seat_keeps_its_role() {
        let register = arranged();
        let who = Identity::new("p");
        register.invite(&key(), &who, seat(Role::Patient), false, NOW).expect("invited");
        assert_eq!(register.invite(&key(), &who, seat(Role::Doctor), false, NOW).map(|_| ()).map_err(code), Err(Code::WrongRole));
        for index in 1..16 {
            register.invite(&key(), &Identity::new(format!("{index}")), seat(Role::Relative), false, NOW).expect("a seat");
        }
        assert_eq!(
            register.invite(&key(), &Identity::new("one more"), seat(Role::Relative), false, NOW).map(|_| ()).map_err(code),
            Err(Code::Full)
        );
    }

    #[test]
    fn the_plan_holds_what_was_arranged_before_anybody_came() {
        let register = arranged();
        let patient = Identity::new("p");
        let text = crate::relay::command::TextVersion::parse("v1").expect("a text");
        let consent = Consent { seat: patient.clone(), scopes: std::collections::BTreeSet::new(), text, channel: Channel::Token };
        assert!(!register.keep_consent(&key(), consent.clone()), "nobody is invited yet");
        register.invite(&key(), &patient, seat(Role::Patient), false, NOW).expect("invited");
        assert!(register.keep_consent(&key(), consent) && register.admit(&key(), &patient));
        let plan = |register: &Register| match register.arranged(&key()) {
            Arranged::Plan(plan) => plan.acts,
            Arranged::Nothing | Arranged::Over => panic!("it is arranged"),
        };
        let more = std::collections::BTreeSet::from([crate::relay::command::Scope::Aside]);
        let more = Consent {
            seat: patient.clone(),
            scopes: more,
            text: crate::relay::command::TextVersion::parse("v2").expect("a text"),
            channel: Channel::InCall,
        };
        assert!(register.keep_consent(&key(), more));
        let entry = register.find(&key()).expect("arranged");
        assert_eq!(entry.consent(&patient).expect("consent").scopes.len(), 2, "one more thing, and the one before");
        let acts = plan(&register);
        assert!(matches!(&acts[..], [Act::Invite(seat), Act::Consent(_)] if seat.admitted), "{acts:?}");
        assert!(register.drop_consent(&key(), &patient) && plan(&register).len() == 1);
    }

    #[test]
    fn an_extension_moves_seats_that_could_stay_to_the_end() {
        let register = arranged();
        register.invite(&key(), &Identity::new("p"), seat(Role::Patient), false, NOW).expect("invited");
        let short = Invited { closes_at: NOW + 4_000, ..seat(Role::Relative) };
        register.invite(&key(), &Identity::new("r"), short, false, NOW).expect("invited");
        assert!(register.extend(&key(), NOW + 10_800));
        let entry = register.find(&key()).expect("arranged");
        assert_eq!(entry.seats[&Identity::new("p")].closes_at, NOW + 10_800 + 900);
        assert_eq!(entry.seats[&Identity::new("r")].closes_at, NOW + 4_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_the_next_event_and_no_longer() {
        let register = Arc::new(Register::default());
        let tenant = key().tenant;
        assert!(register.events(&tenant, 0, Duration::from_secs(5)).await.events.is_empty());
        let waiting = tokio::spawn({
            let (register, tenant) = (register.clone(), tenant.clone());
            async move { register.events(&tenant, 0, Duration::from_secs(3_600)).await }
        });
        tokio::task::yield_now().await;
        register.tell(&key(), 1, "seat.invited", Some(&Identity::new("p")), None);
        let told = waiting.await.expect("no panic");
        assert_eq!((told.events.len(), told.next, told.gap), (1, 1, false));
    }
}
