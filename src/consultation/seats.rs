//! The seats of a consultation: who was let in, whose gate is open, and what the records say of it.
//!
//! After every command `Room::align` brings admission, gates and labels into line with the rules; nothing else opens a gate.

use super::act::{By, Channel, Emergency, Gate, Overview, SeatState, SeatView, TextVersion};
use super::aside::Aside;
use super::fact::{Assurance, Fact};
use super::policy::{ConsultationPolicy, Scope, SecondUse};
use super::room::Member;
use super::subscription::Unsettled;
use super::{Effect, Effects, MemberId, Recording, Refusal, Room, Seat};
use crate::model::roster::{Participant, Role};
use crate::model::{Identity, Now, TrackSid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Seats a consultation remembers, those that left included; far above what a policy allows at once.
const MOST_REMEMBERED: usize = 256;

/// How long before the end those inside are told of it.
const WARNED_BEFORE: Duration = Duration::from_secs(5 * 60);

/// How long a consultation without an end waits for the first to come.
const UNVISITED: Duration = Duration::from_secs(24 * 3600);

/// Attributes of a token that stay on the record; all others of the relay's own are the relay's to set.
const OF_TOKEN: [&str; 4] = ["consultation.role", "consultation.auth", "consultation.legal_rep", "consultation.max_minutes"];

/// What a consultation knows beyond its members.
#[derive(Debug)]
pub(super) struct Consultation {
    pub(super) policy: ConsultationPolicy,
    pub(super) locked: bool,
    /// End and length before the last extension.
    pub(super) before_extension: Option<(Option<u64>, Duration)>,
    pub(super) aside: Option<Aside>,
    pub(super) seats: BTreeMap<Identity, File>,
    created_at_ms: u64,
    /// Its creation is on record.
    pub(super) announced: bool,
    /// When the first came.
    pub(super) opened_at_ms: Option<u64>,
    pub(super) peak: u32,
    /// The last ticket given out.
    pub(super) ticket: u64,
    /// What the command being applied puts on record.
    pub(super) noted: Vec<Fact>,
    /// Who receives whose track, for the record.
    pub(super) streams: BTreeMap<(MemberId, TrackSid), (Identity, Identity)>,
    /// Last records of those the command being applied took out.
    pub(super) departed: Vec<(MemberId, Arc<Participant>)>,
    /// The consultation is over.
    pub(super) over: bool,
    /// Whether the audit log can be written.
    pub(super) recording: Recording,
    /// The end that was warned of, ms since the Unix epoch.
    pub(super) warned_of_ms: Option<u64>,
}

/// What is known of a seat, whether somebody sits in it or not.
#[derive(Debug)]
pub(super) struct File {
    pub(super) role: Role,
    pub(super) from_ms: Option<u64>,
    pub(super) until_ms: Option<u64>,
    /// It need not wait.
    pub(super) welcome: bool,
    pub(super) admitted: bool,
    pub(super) came: bool,
    /// Taken out or sent away.
    pub(super) out: bool,
    /// Tokens issued up to then open nothing, seconds since the Unix epoch.
    pub(super) revoked_at_s: Option<u64>,
    pub(super) legal_rep: bool,
    pub(super) consent: BTreeSet<Scope>,
    pub(super) text: Option<TextVersion>,
    pub(super) channel: Option<Channel>,
    /// What was asked and answered with no.
    pub(super) declined: BTreeSet<Scope>,
    /// What the token says of consent no longer counts.
    pub(super) withdrew: bool,
    pub(super) emergency: Option<Emergency>,
    pub(super) beside: BTreeMap<Role, u8>,
    /// The seat's share of the time.
    pub(super) max_length: Option<Duration>,
    pub(super) expires_at_ms: Option<u64>,
}

/// A member as the consultation sees it; unused in open rooms.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) role: Option<Role>,
    /// Its gate is open.
    pub(super) open: bool,
    /// Its gate was open before during this stay.
    joined: bool,
    /// That it waits is on record.
    waited: bool,
    /// It is in the aside that runs.
    pub(super) apart: bool,
    pub(super) came_at_ms: u64,
    /// Since when it has no signalling socket.
    pub(super) away_since_ms: Option<u64>,
    /// Whom its roster names as inside, each with the ticket of that news.
    pub(super) named: BTreeMap<MemberId, u64>,
    /// The last ticket that was written to its socket.
    pub(super) written: u64,
    /// What it was last shown of whom: the record's version, and whether the whole of it.
    pub(super) shown: BTreeMap<MemberId, (u32, bool)>,
    /// What really reaches it of whom, in the words of [`Command::Receives`](super::Command::Receives).
    pub(super) receives: Box<str>,
}

impl File {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            from_ms: None,
            until_ms: None,
            welcome: false,
            admitted: false,
            came: false,
            out: false,
            revoked_at_s: None,
            legal_rep: false,
            consent: BTreeSet::new(),
            text: None,
            channel: None,
            declined: BTreeSet::new(),
            withdrew: false,
            emergency: None,
            beside: BTreeMap::new(),
            max_length: None,
            expires_at_ms: None,
        }
    }

    pub(super) fn agreed(&self, scope: Scope) -> bool {
        self.emergency.is_some() || self.consent.contains(&scope)
    }

    fn state(&self, present: bool) -> SeatState {
        match (self.out, present, self.admitted, self.came) {
            (true, ..) => SeatState::Removed,
            (_, true, true, _) => SeatState::Admitted,
            (_, true, false, _) => SeatState::Waiting,
            (_, false, _, true) => SeatState::Left,
            (_, false, _, false) => SeatState::Invited,
        }
    }
}

impl Consultation {
    pub(super) fn new(policy: ConsultationPolicy, now: Now) -> Self {
        Self {
            policy,
            locked: false,
            before_extension: None,
            aside: None,
            seats: BTreeMap::new(),
            created_at_ms: now.wall_ms,
            announced: false,
            opened_at_ms: None,
            peak: 0,
            ticket: 0,
            noted: Vec::new(),
            streams: BTreeMap::new(),
            departed: Vec::new(),
            over: false,
            recording: Recording::Works,
            warned_of_ms: None,
        }
    }

    /// When those inside are told that the end is near; nobody needs to be told of an end nobody came for.
    fn warns_at_ms(&self) -> Option<u64> {
        self.opened_at_ms?;
        Some(self.closes_at_ms().saturating_sub(millis(WARNED_BEFORE)))
    }

    /// When it closes at the latest.
    pub(super) fn closes_at_ms(&self) -> u64 {
        let ends = self.policy.ends_at_ms.map(|ends| ends.saturating_add(millis(self.policy.grace)));
        let longest = self.opened_at_ms.map(|opened| opened.saturating_add(millis(self.policy.max_length)));
        let known = [ends, longest].into_iter().flatten().min();
        known.unwrap_or_else(|| self.created_at_ms.saturating_add(millis(UNVISITED)))
    }

    fn opens_at_ms(&self) -> u64 {
        self.policy.starts_at_ms.map_or(0, |starts| starts.saturating_sub(millis(self.policy.early)))
    }

    pub(super) fn announce(&mut self) {
        self.announced = true;
        self.noted.push(Fact::RoomCreated { policy: Box::new(self.policy.clone()) });
    }

    /// A seat's file, made where there is none yet.
    pub(super) fn file(&mut self, seat: &Identity, role: Role) -> Result<&mut File, Refusal> {
        if !self.seats.contains_key(seat) && self.seats.len() >= MOST_REMEMBERED {
            return Err(Refusal::LimitExceeded);
        }
        Ok(self.seats.entry(seat.clone()).or_insert_with(|| File::new(role)))
    }

    fn consented(&self, file: &File) -> bool {
        let represented = !self.policy.representative_required || file.channel == Some(Channel::Representative);
        file.emergency.is_some() || represented && self.policy.consent.is_subset(&file.consent)
    }
}

impl Room {
    /// Whether somebody may take a seat; changes nothing.
    pub(super) fn check_seat(&self, seat: &Seat, now: Now) -> Result<(), Refusal> {
        let Some(consultation) = &self.consultation else { return Ok(()) };
        let policy = &consultation.policy;
        let attribute = |key| seat.attributes.0.get(key).map(String::as_str);
        let role = attribute("consultation.role").and_then(Role::parse).ok_or(Refusal::RoleRequired)?;
        self.check_token(&seat.identity, seat.issued_at_s)?;
        let file = consultation.seats.get(&seat.identity);
        if file.is_some_and(|file| file.role != role) {
            return Err(Refusal::WrongRole);
        }
        let opens = consultation.opens_at_ms().max(file.and_then(|file| file.from_ms).unwrap_or(0));
        let ends = [file.and_then(|file| file.until_ms), file.and_then(|file| file.expires_at_ms)];
        let closes = ends.into_iter().flatten().fold(consultation.closes_at_ms(), u64::min);
        if now.wall_ms < opens {
            return Err(Refusal::TooEarly);
        }
        if now.wall_ms >= closes || consultation.over {
            return Err(Refusal::TooLate);
        }
        let level = attribute("consultation.auth").and_then(Assurance::parse).map_or(0, |auth| auth.acr);
        if is_professional(role) && level < policy.pro_min_acr {
            return Err(Refusal::WeakAuthentication);
        }
        let present = self.members.iter().find(|member| member.record.identity == seat.identity);
        if policy.second_use == SecondUse::Refuse && present.is_some_and(|member| member.place.away_since_ms.is_none()) {
            return Err(Refusal::SecondUse);
        }
        let others = self.members.len() - usize::from(present.is_some());
        let remembered = file.is_some() || consultation.seats.len() < MOST_REMEMBERED;
        (others < policy.max_seats as usize && remembered).then_some(()).ok_or(Refusal::RoomFull)
    }

    /// Whether a token still opens its seat.
    ///
    /// # Errors
    /// [`Refusal::Removed`] when it was issued before the seat was removed, or does not say when it was issued.
    pub fn check_token(&self, seat: &Identity, issued_at_s: u64) -> Result<(), Refusal> {
        let file = self.consultation.as_ref().and_then(|consultation| consultation.seats.get(seat));
        match file.and_then(|file| file.revoked_at_s) {
            Some(at) if issued_at_s <= at => Err(Refusal::Removed),
            _ => Ok(()),
        }
    }

    /// Notes who takes a seat and what its token says, and leaves of the relay's own attributes only what a token may say.
    pub(super) fn take_seat(&mut self, seat: &mut Seat, now: Now) -> Result<Place, Refusal> {
        let Some(consultation) = &mut self.consultation else { return Ok(Place::default()) };
        let said = |key: &str| seat.attributes.0.get(key).map(String::as_str);
        let role = said("consultation.role").and_then(Role::parse).ok_or(Refusal::RoleRequired)?;
        let auth = said("consultation.auth").and_then(Assurance::parse);
        let legal_rep = said("consultation.legal_rep").is_some_and(|word| !matches!(word, "" | "false" | "0" | "no"));
        let text = said("consultation.consent").and_then(TextVersion::parse);
        let minutes = said("consultation.max_minutes").and_then(|word| word.parse::<u32>().ok());
        if consultation.opened_at_ms.is_none() {
            consultation.opened_at_ms = Some(now.wall_ms);
        }
        if !consultation.announced {
            consultation.announce();
        }
        let required = consultation.policy.consent.clone();
        let file = consultation.file(&seat.identity, role)?;
        if file.out {
            // A new invitation: nothing of before holds.
            *file = File { revoked_at_s: file.revoked_at_s, ..File::new(role) };
        }
        file.came = true;
        file.legal_rep = legal_rep;
        file.max_length = minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))).or(file.max_length);
        let mut facts = vec![Fact::TokenAccepted { seat: seat.identity.clone(), role, auth, token: seat.token.clone() }];
        let news = !file.withdrew && !required.is_subset(&file.consent);
        if let Some(text) = text.filter(|_| role == Role::Patient && news) {
            let channel = if legal_rep { Channel::Representative } else { Channel::Token };
            file.consent.extend(required.iter().copied());
            (file.text, file.channel) = (Some(text.clone()), Some(channel));
            facts.push(Fact::ConsentGiven { seat: seat.identity.clone(), scopes: required, text, channel, by: By::Platform });
        }
        consultation.noted.extend(facts);
        seat.attributes.0.retain(|key, _| !key.starts_with("consultation.") || OF_TOKEN.contains(&key.as_str()));
        if role == Role::Trainee {
            // Looks on, unless the platform lets it speak.
            (seat.permissions.publish, seat.permissions.publish_data) = (false, false);
        }
        Ok(Place { role: Some(role), came_at_ms: now.wall_ms, ..Place::default() })
    }

    /// Brings admission, gates, the aside and labels into line.
    pub(super) fn align(&mut self, now: Now, closings: &mut Effects, openings: &mut Effects) {
        self.admit_by_policy(now);
        self.note_waiting();
        self.turn_gates(closings, openings);
        self.mend_aside(now);
        self.label();
        if let Some(consultation) = &mut self.consultation {
            consultation.peak = consultation.peak.max(u32::try_from(self.members.len()).unwrap_or(u32::MAX));
        }
    }

    fn admit_by_policy(&mut self, now: Now) {
        let Some(consultation) = &self.consultation else { return };
        let mut waiting: Vec<(Identity, Role)> = Vec::new();
        for member in &self.members {
            let file = consultation.seats.get(&member.record.identity);
            if let Some(file) = file.filter(|file| !file.admitted) {
                waiting.push((member.record.identity.clone(), file.role));
            }
        }
        // Doctors first: others may be waiting for one.
        waiting.sort_by_key(|(_, role)| *role);
        for (seat, role) in waiting {
            let Some(consultation) = &self.consultation else { return };
            let welcome = consultation.seats.get(&seat).is_some_and(|file| file.welcome);
            let by_itself = role == Role::Doctor || consultation.policy.auto_admit.contains(&role);
            if (welcome || by_itself) && self.may_be_admitted(role).is_ok() {
                self.let_in(&seat, By::Policy, now);
            }
        }
    }

    /// Puts on record who came and is not let in.
    fn note_waiting(&mut self) {
        let Some(consultation) = &mut self.consultation else { return };
        for member in &mut self.members {
            let seat = &member.record.identity;
            let admitted = consultation.seats.get(seat).is_some_and(|file| file.admitted);
            if !admitted && !std::mem::replace(&mut member.place.waited, true) {
                let role = member.place.role.unwrap_or(Role::Support);
                consultation.noted.push(Fact::Waiting { seat: seat.clone(), role });
            }
        }
    }

    /// Whether somebody of a role may be let in now.
    pub(super) fn may_be_admitted(&self, role: Role) -> Result<(), Refusal> {
        let Some(consultation) = &self.consultation else { return Err(Refusal::NotAConsultation) };
        if consultation.locked {
            return Err(Refusal::Locked);
        }
        let inside = |member: &Member| {
            let file = consultation.seats.get(&member.record.identity);
            file.is_some_and(|file| file.role == Role::Doctor && file.admitted)
        };
        let needs_doctor = consultation.policy.professional_first && !is_professional(role);
        (!needs_doctor || self.members.iter().any(inside)).then_some(()).ok_or(Refusal::ProfessionalFirst)
    }

    pub(super) fn let_in(&mut self, seat: &Identity, by: By, now: Now) {
        let Some(consultation) = &mut self.consultation else { return };
        let Some(file) = consultation.seats.get_mut(seat) else { return };
        file.admitted = true;
        let expires = file.max_length.map(|length| now.wall_ms.saturating_add(millis(length)));
        file.expires_at_ms = file.expires_at_ms.or(expires);
        consultation.noted.push(Fact::Admitted { seat: seat.clone(), role: file.role, by });
    }

    fn turn_gates(&mut self, closings: &mut Effects, openings: &mut Effects) {
        let gates: Vec<Gate> = self.members.iter().map(|member| self.gate(member)).collect();
        let Some(consultation) = &mut self.consultation else { return };
        for (member, gate) in self.members.iter_mut().zip(gates) {
            let open = gate == Gate::Open;
            if open == member.place.open {
                continue;
            }
            member.place.open = open;
            let (id, seat) = (member.id, member.record.identity.clone());
            if open {
                let first = !std::mem::replace(&mut member.place.joined, true);
                let role = member.place.role.unwrap_or(Role::Support);
                consultation.noted.extend(first.then(|| Fact::Joined { seat: seat.clone(), role }));
                consultation.noted.push(Fact::GateOpened { seat });
                openings.push(Effect::Gate { member: id, open });
            } else {
                consultation.noted.push(Fact::GateClosed { seat, why: gate });
                closings.push(Effect::Gate { member: id, open });
            }
            self.unsettled.extend([Unsettled::Receiver(id), Unsettled::Publisher(id)]);
        }
    }

    /// What a member's gate waits for.
    fn gate(&self, member: &Member) -> Gate {
        let gate = self.own_gate(member);
        let role = member.place.role.unwrap_or(Role::Support);
        let Some(consultation) = self.consultation.as_ref().filter(|_| gate == Gate::Open) else { return gate };
        let file = consultation.seats.get(&member.record.identity);
        if !consultation.policy.third_persons.contains(&role) || file.is_some_and(|file| file.legal_rep) {
            return gate;
        }
        let agreed = |file: &File| file.agreed(Scope::ThirdPerson(role));
        if self.patients_inside(consultation).all(agreed) { Gate::Open } else { Gate::ThirdPerson }
    }

    fn patients_inside<'a>(&'a self, consultation: &'a Consultation) -> impl Iterator<Item = &'a File> {
        let inside = |other: &&Member| other.place.role == Some(Role::Patient) && self.own_gate(other) == Gate::Open;
        self.members.iter().filter(inside).filter_map(|other| consultation.seats.get(&other.record.identity))
    }

    /// What was answered with no and concerns a member: its own answers, or a patient's about it while it waits for one.
    fn declined(&self, consultation: &Consultation, member: &Member, file: &File) -> String {
        if self.gate(member) != Gate::ThirdPerson {
            return listed(file.declined.iter());
        }
        let about = Scope::ThirdPerson(file.role);
        let no = self.patients_inside(consultation).any(|patient| patient.declined.contains(&about));
        listed(no.then_some(about).iter())
    }

    /// Whether a seat's gate would open by the rules as they stand.
    pub(super) fn opens(&self, seat: &Identity) -> bool {
        self.members.iter().any(|member| member.record.identity == *seat && self.gate(member) == Gate::Open)
    }

    /// The same, as far as it does not depend on others.
    fn own_gate(&self, member: &Member) -> Gate {
        let Some(consultation) = &self.consultation else { return Gate::Open };
        let Some(file) = consultation.seats.get(&member.record.identity) else { return Gate::Admission };
        if !file.admitted || file.out {
            Gate::Admission
        } else if file.role == Role::Patient && !consultation.consented(file) {
            Gate::Consent
        } else {
            Gate::Open
        }
    }

    /// Whether packets and data of one member may reach another.
    #[must_use]
    pub fn may_reach(&self, from: MemberId, to: MemberId) -> bool {
        self.member(from).zip(self.member(to)).is_some_and(|(from, to)| self.exchange(from, to))
    }

    /// Whether a member's gate is open.
    #[must_use]
    pub fn is_open(&self, member: MemberId) -> bool {
        self.consultation.is_none() || self.member(member).is_some_and(|member| member.place.open)
    }

    pub(super) fn exchange(&self, from: &Member, to: &Member) -> bool {
        self.consultation.is_none() || self.acquainted(from, to) && from.place.apart == to.place.apart
    }

    /// Whether it is only an aside that keeps one from receiving the other.
    pub(super) fn parted_by_aside(&self, from: &Member, to: &Member) -> bool {
        self.consultation.is_some() && self.acquainted(from, to) && from.place.apart != to.place.apart
    }

    fn acquainted(&self, from: &Member, to: &Member) -> bool {
        let silent = |member: &Member| !member.place.open || member.place.role == Some(Role::Support);
        // A newcomer hears only those whose roster names it.
        let known = from.place.named.get(&to.id).is_some_and(|ticket| *ticket <= from.place.written);
        known && !silent(from) && !silent(to)
    }

    /// Writes what stands into the records, where everybody who may see them reads it.
    fn label(&mut self) {
        let Some(consultation) = &self.consultation else { return };
        let labels: Vec<_> = self.members.iter().map(|member| (member.id, self.labels(consultation, member))).collect();
        for (id, labels) in labels {
            let Ok(member) = self.member_mut(id) else { continue };
            let own = |key: &str| key.starts_with("consultation.") && !OF_TOKEN.contains(&key);
            let before = member.record.attributes.iter().filter(|(key, _)| own(key));
            if before.eq(labels.iter()) {
                continue;
            }
            member.edit(|record| {
                record.attributes.retain(|key, _| !own(key));
                record.attributes.extend(labels);
            });
        }
    }

    fn labels(&self, consultation: &Consultation, member: &Member) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut label = |key: &str, value: String| {
            if !value.is_empty() {
                labels.insert(format!("consultation.{key}"), value);
            }
        };
        let Some(file) = consultation.seats.get(&member.record.identity) else { return labels };
        label("state", file.state(true).as_str().to_owned());
        label("gate", self.gate(member).as_str().to_owned());
        label("consent", file.text.as_ref().map_or_else(String::new, |text| text.as_str().to_owned()));
        label("scopes", listed(file.consent.iter()));
        label("declined", self.declined(consultation, member, file));
        label("emergency", file.emergency.map_or_else(String::new, |why| why.as_str().to_owned()));
        label("beside", listed(file.beside.iter().map(|(role, count)| format!("{}:{count}", role.as_str()))));
        label("receives", if member.place.open { member.place.receives.to_string() } else { String::new() });
        label("locked", if consultation.locked { "true".to_owned() } else { String::new() });
        label("ends_at", consultation.policy.ends_at_ms.map_or_else(String::new, |ends| ends.to_string()));
        if consultation.warned_of_ms == Some(consultation.closes_at_ms()) {
            label("closes_at", consultation.closes_at_ms().to_string());
        }
        if let Recording::Fails { closes_at_ms } = consultation.recording {
            label("unrecorded", "true".to_owned());
            label("unrecorded_until", closes_at_ms.map_or_else(String::new, |closes| closes.to_string()));
        }
        if let Some(aside) = consultation.aside.as_ref().filter(|_| member.place.apart) {
            label("aside", aside.since_ms.to_string());
            label("aside_until", aside.until_ms.to_string());
        }
        labels
    }

    /// When [`Command::Tick`](super::Command::Tick) has something to do, ms since the Unix epoch.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let consultation = self.consultation.as_ref().filter(|consultation| !consultation.over)?;
        let shares = self.members.iter().filter_map(|member| consultation.seats.get(&member.record.identity)?.expires_at_ms);
        let aside = consultation.aside.as_ref().map(|aside| aside.until_ms);
        let warning =
            (consultation.warned_of_ms != Some(consultation.closes_at_ms())).then(|| consultation.warns_at_ms()).flatten();
        shares.chain(aside).chain(warning).chain(self.unrecorded_until_ms()).chain([consultation.closes_at_ms()]).min()
    }

    /// Says once that the end is near; where the end is moved, once more before the new one.
    pub(super) fn warn(&mut self, now: Now) {
        let Some(consultation) = &mut self.consultation else { return };
        let closes_at_ms = consultation.closes_at_ms();
        let due = consultation.warns_at_ms().is_some_and(|at| at <= now.wall_ms);
        if due && consultation.warned_of_ms != Some(closes_at_ms) {
            consultation.warned_of_ms = Some(closes_at_ms);
            consultation.noted.push(Fact::EndsSoon { closes_at_ms });
        }
    }

    /// When it ends because the audit log cannot be written.
    pub(super) fn unrecorded_until_ms(&self) -> Option<u64> {
        match self.consultation.as_ref()?.recording {
            Recording::Works => None,
            Recording::Fails { closes_at_ms } => closes_at_ms,
        }
    }

    /// Members whose share of the time is over.
    pub(super) fn expired(&self, now: Now) -> Vec<MemberId> {
        let Some(consultation) = &self.consultation else { return Vec::new() };
        let over = |member: &&Member| {
            let file = consultation.seats.get(&member.record.identity);
            file.and_then(|file| file.expires_at_ms).is_some_and(|at| at <= now.wall_ms)
        };
        self.members.iter().filter(over).map(|member| member.id).collect()
    }

    /// The consultation as the platform sees it; `None` for an open room.
    #[must_use]
    pub fn overview(&self) -> Option<Overview> {
        let consultation = self.consultation.as_ref()?;
        let seats = consultation.seats.iter().map(|(seat, file)| {
            let member = self.members.iter().find(|member| member.record.identity == *seat);
            SeatView {
                seat: seat.clone(),
                role: file.role,
                state: file.state(member.is_some()),
                gate: member.map_or(Gate::Absent, |member| self.gate(member)),
                consent: file.consent.clone(),
                text: file.text.clone(),
                emergency: file.emergency,
                beside: file.beside.iter().map(|(role, count)| (*role, *count)).collect(),
            }
        });
        Some(Overview {
            policy: consultation.policy.clone(),
            opened_at_ms: consultation.opened_at_ms,
            closes_at_ms: consultation.closes_at_ms(),
            locked: consultation.locked,
            aside: self.aside_view(),
            seats: seats.collect(),
        })
    }
}

fn listed(words: impl Iterator<Item = impl ToString>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(",")
}

pub(super) fn is_professional(role: Role) -> bool {
    matches!(role, Role::Doctor | Role::Colleague | Role::Companion)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
