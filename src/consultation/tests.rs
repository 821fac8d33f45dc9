//! The rules of consultations without packets: what is refused, what is recorded, and in which order.

use super::room::Defaults;
use super::*;
use crate::model::Instant;
use crate::model::roster::{ParticipantState, Role};
use crate::model::{Now, RoomKey, RoomName, RoomSid, TenantId};
use std::collections::BTreeSet;
use std::time::Duration;

struct Scene {
    room: Room,
    now: Now,
    stays: u32,
}

fn name(seat: &str) -> Identity {
    Identity::new(seat)
}

/// What a client announces before it sends a voice.
pub(super) fn microphone(cid: TrackCid) -> AddTrack {
    AddTrack {
        cid,
        codec_cids: Vec::new(),
        name: Text::default(),
        kind: MediaKind::Audio,
        source: Source::Microphone,
        muted: false,
        width: 0,
        height: 0,
        layers: Vec::new(),
        codec: None,
        stereo: false,
        disable_dtx: false,
        disable_red: false,
        encryption: Encryption::default(),
        stream: Text::default(),
        audio_features: Vec::new(),
        existing: None,
    }
}

fn platform(act: Act) -> Command {
    Command::Consult { by: By::Platform, act, asked_at: Instant::now() }
}

fn facts(effects: &Effects) -> Vec<&Fact> {
    effects.iter().filter_map(|effect| if let Effect::Record(fact) = effect { Some(&**fact) } else { None }).collect()
}

fn place(effects: &Effects, wanted: impl Fn(&Effect) -> bool) -> Option<usize> {
    effects.iter().position(wanted)
}

fn is_fact(effect: &Effect, wanted: impl Fn(&Fact) -> bool) -> bool {
    matches!(effect, Effect::Record(fact) if wanted(fact))
}

impl Scene {
    fn new(policy: ConsultationPolicy) -> Self {
        let now = Now { mono: Instant::now(), wall_ms: 1_800_000_000_000 };
        let key = RoomKey { tenant: TenantId::new("t"), name: RoomName::new("r") };
        let defaults = Defaults { empty_timeout_s: 300, departure_timeout_s: 20, max_participants: 0 };
        let mut room = Room::new(&key, RoomSid::new("RM_"), Policy::Consultation, &RoomSettings::default(), defaults, now);
        room.apply(Command::Open(Box::new(policy)), now).expect("a good policy");
        Self { room, now, stays: 0 }
    }

    fn later(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.now.wall_ms += seconds * 1_000;
    }

    fn apply(&mut self, command: Command) -> Result<Effects, Refusal> {
        self.room.apply(command, self.now)
    }

    fn act(&mut self, seat: &str, act: Act) -> Result<Effects, Refusal> {
        self.apply(Command::Consult { by: By::Seat(name(seat)), act, asked_at: self.now.mono })
    }

    fn try_join(&mut self, seat: &str, attributes: &[(&str, &str)]) -> Result<Effects, Refusal> {
        self.stays += 1;
        let attributes = attributes.iter().map(|(key, value)| (format!("consultation.{key}"), (*value).to_owned())).collect();
        self.apply(Command::Join(Box::new(Seat {
            sid: ParticipantSid::new(format!("PA_{}", self.stays)),
            identity: name(seat),
            name: Text("Somebody".into()),
            metadata: Text("about somebody".into()),
            attributes: Attributes(attributes),
            permissions: Permissions {
                subscribe: true,
                publish: true,
                publish_data: true,
                sources: Vec::new(),
                update_own_metadata: false,
            },
            kind: ParticipantKind::Standard,
            client: ClientFacts::default(),
            auto_subscribe: true,
            issued_at_s: self.now.wall_ms / 1_000,
            token: Default::default(),
        })))
    }

    fn join(&mut self, seat: &str, attributes: &[(&str, &str)]) -> Effects {
        self.try_join(seat, attributes).expect("it may come")
    }

    fn publish(&mut self, seat: &str) -> Effects {
        let member = self.room.id_of(&name(seat)).expect("it is here");
        let add = microphone(TrackCid::new("cid"));
        self.apply(Command::AddTrack { member, sid: TrackSid::new(format!("TR_{seat}")), add: Box::new(add) }).expect("it may");
        let section = Section {
            mid: "0".into(),
            kind: MediaKind::Audio,
            track_id: Some(TrackCid::new("cid")),
            codecs: vec![Codec::Opus],
            rids: Vec::new(),
        };
        self.apply(Command::Bind { member, section }).expect("it was announced")
    }

    /// Everybody's socket takes what waits for it.
    fn read(&mut self) -> Effects {
        let ids: Vec<MemberId> = self.room.members().map(|(id, _)| id).collect();
        let written = |member| Command::Written { member, ticket: u64::MAX };
        ids.into_iter().flat_map(|id| self.apply(written(id)).expect("it is here")).collect()
    }

    fn gate(&self, seat: &str) -> Gate {
        let seats = self.room.overview().expect("a consultation").seats;
        seats.into_iter().find(|view| view.seat == name(seat)).expect("a seat").gate
    }

    fn state(&self, seat: &str) -> SeatState {
        let seats = self.room.overview().expect("a consultation").seats;
        seats.into_iter().find(|view| view.seat == name(seat)).expect("a seat").state
    }

    fn label(&self, seat: &str, key: &str) -> Option<String> {
        let record = self.room.record(self.room.id_of(&name(seat))?)?;
        record.attributes.get(&format!("consultation.{key}")).cloned()
    }
}

fn consent_of(seat: &str, scopes: &[Scope]) -> Act {
    let text = TextVersion::parse("2026-01").expect("a code");
    Act::Consent(Consent { seat: name(seat), scopes: scopes.iter().copied().collect(), text, channel: Channel::Token })
}

fn withdrawal(seat: &str) -> Act {
    Act::WithdrawConsent { seat: name(seat), scopes: BTreeSet::new() }
}

const DOCTOR: &[(&str, &str)] = &[("role", "doctor"), ("auth", "psc:2")];
const PATIENT: &[(&str, &str)] = &[("role", "patient")];
const AGREED: &[(&str, &str)] = &[("role", "patient"), ("consent", "v1")];

fn in_call() -> Scene {
    let mut scene = Scene::new(ConsultationPolicy::default());
    scene.join("d", DOCTOR);
    scene.join("p", AGREED);
    scene.publish("d");
    scene.publish("p");
    scene.act("d", Act::Admit(name("p"))).expect("a doctor may");
    scene.read();
    scene
}

#[test]
fn what_widens_is_on_record_before_anything_of_it() {
    let mut scene = Scene::new(ConsultationPolicy::default());
    scene.join("d", DOCTOR);
    scene.publish("d");
    scene.join("p", AGREED);
    scene.publish("p");
    let effects = scene.act("d", Act::Admit(name("p"))).expect("a doctor may");
    let admitted = place(&effects, |effect| is_fact(effect, |fact| matches!(fact, Fact::Admitted { .. }))).expect("recorded");
    let opened = place(&effects, |effect| is_fact(effect, |fact| matches!(fact, Fact::GateOpened { .. }))).expect("recorded");
    let roster = place(&effects, |effect| matches!(effect, Effect::Roster { .. })).expect("told");
    let gate = place(&effects, |effect| matches!(effect, Effect::Gate { open: true, .. })).expect("opened");
    assert!(admitted < opened && opened < roster && roster < gate, "{effects:?}");
    assert!(place(&effects, |effect| matches!(effect, Effect::Route { .. })).is_none(), "nobody has read the roster yet");
    let effects = scene.read();
    let subscribed = place(&effects, |effect| is_fact(effect, |fact| matches!(fact, Fact::Subscribed { .. }))).expect("recorded");
    let route = place(&effects, |effect| matches!(effect, Effect::Route { .. })).expect("both know each other");
    assert!(subscribed < route);
}

#[test]
fn what_reduces_is_done_before_it_is_on_record() {
    let mut scene = in_call();
    let effects = scene.act("p", withdrawal("p")).expect("always");
    let unroutes = effects.iter().filter(|effect| matches!(effect, Effect::Unroute { .. })).count();
    assert_eq!(unroutes, 2);
    let last = effects.iter().rposition(|effect| matches!(effect, Effect::Unroute { .. } | Effect::Gate { .. }));
    let first = place(&effects, |effect| matches!(effect, Effect::Record(_)));
    assert!(last < first, "{effects:?}");
    let given: Vec<_> = facts(&effects).into_iter().filter(|fact| fact.widens()).collect();
    assert!(given.is_empty(), "{given:?}");
    assert_eq!((scene.gate("p"), scene.state("p")), (Gate::Consent, SeatState::Admitted));
}

#[test]
fn a_withdrawal_says_how_long_it_took_until_gates_were_shut() {
    let waited_for = |act: Act| {
        let mut scene = in_call();
        let asked_at = scene.now.mono;
        scene.now.mono += Duration::from_micros(40_500);
        let effects = scene.apply(Command::Consult { by: By::Seat(name("p")), act, asked_at }).expect("always");
        let waited = |fact: &Fact| if let Fact::ConsentWithdrawn { waited, .. } = fact { Some(*waited) } else { None };
        facts(&effects).into_iter().find_map(waited)
    };
    let refusal = Act::RefuseConsent { seat: name("p"), scopes: BTreeSet::new() };
    for act in [withdrawal("p"), refusal] {
        assert_eq!(waited_for(act), Some(Duration::from_micros(40_500)));
    }
}

#[test]
fn everybody_learns_that_somebody_is_gone_who_withdrew() {
    let mut scene = in_call();
    let effects = scene.act("p", withdrawal("p")).expect("always");
    let patient = scene.room.id_of(&name("p")).expect("it stays");
    let told = effects.iter().filter_map(|effect| {
        let Effect::Roster { to, records } = effect else { return None };
        (*to == To::One(patient)).then_some(records)
    });
    let gone = told.flatten().find(|record| record.state == ParticipantState::Disconnected);
    assert_eq!(gone.map(|record| record.identity.clone()), Some(name("d")), "it sees nobody");
    assert!(scene.room.seen_by(patient).is_empty());
    let facts = scene.room.facts_for(patient);
    assert_eq!((facts.participants, facts.publishers), (1, 0));
}

#[test]
fn a_minor_needs_a_representative() {
    let policy = ConsultationPolicy { representative_required: true, ..ConsultationPolicy::default() };
    let mut scene = Scene::new(policy);
    scene.join("d", DOCTOR);
    scene.join("child", AGREED);
    scene.act("d", Act::Admit(name("child"))).expect("a doctor may");
    assert_eq!(scene.gate("child"), Gate::Consent, "its own does not count");
    scene.join("parent", &[("role", "relative"), ("legal_rep", "true")]);
    scene.join("aunt", &[("role", "relative")]);
    let consent = consent_of("child", &[Scope::Teleconsultation]);
    assert_eq!(scene.act("parent", consent.clone()).err(), Some(Refusal::NotAllowed), "it was not let in");
    scene.act("d", Act::Admit(name("parent"))).expect("a doctor may");
    scene.act("d", Act::Admit(name("aunt"))).expect("a doctor may");
    assert_eq!(scene.act("aunt", consent.clone()).err(), Some(Refusal::NotAllowed));
    let effects = scene.act("parent", consent).expect("a representative may");
    let channel = |fact: &&&Fact| matches!(fact, Fact::ConsentGiven { channel: Channel::Representative, .. });
    assert_eq!(facts(&effects).iter().filter(channel).count(), 1);
    assert_eq!((scene.gate("child"), scene.gate("parent"), scene.gate("aunt")), (Gate::Open, Gate::Open, Gate::ThirdPerson));
    scene.act("parent", withdrawal("child")).expect("a representative may");
    assert_eq!(scene.gate("child"), Gate::Consent);
}

#[test]
fn a_third_person_who_is_there_first_waits_from_the_moment_the_patient_comes() {
    let mut scene = Scene::new(ConsultationPolicy::default());
    scene.join("d", DOCTOR);
    scene.join("n", &[("role", "companion")]);
    scene.act("d", Act::Admit(name("n"))).expect("a doctor may");
    assert_eq!(scene.gate("n"), Gate::Open, "there is nobody to ask");
    scene.join("p", AGREED);
    let effects = scene.act("d", Act::Admit(name("p"))).expect("a doctor may");
    assert_eq!((scene.gate("n"), scene.gate("p")), (Gate::ThirdPerson, Gate::Open));
    let shut = place(&effects, |effect| matches!(effect, Effect::Gate { open: false, .. }));
    let opened = place(&effects, |effect| matches!(effect, Effect::Gate { open: true, .. }));
    assert!(shut.is_some() && shut < opened, "first it is shut");
    scene.act("p", consent_of("p", &[Scope::ThirdPerson(Role::Companion)])).expect("its own");
    assert_eq!(scene.gate("n"), Gate::Open);
}

#[test]
fn an_emergency_is_the_doctors_and_ends_with_a_word_of_the_patient() {
    let mut scene = Scene::new(ConsultationPolicy::default());
    scene.join("d", DOCTOR);
    scene.join("p", PATIENT);
    scene.act("d", Act::Admit(name("p"))).expect("a doctor may");
    let act = Act::EmergencyOverride { seat: name("p"), why: Emergency::UnableToConsent };
    assert_eq!(scene.apply(platform(act.clone())).err(), Some(Refusal::NotAllowed));
    assert_eq!(scene.act("p", act.clone()).err(), Some(Refusal::NotAllowed));
    scene.act("d", act.clone()).expect("the policy allows it");
    assert_eq!(scene.gate("p"), Gate::Open);
    assert_eq!(scene.label("p", "emergency").as_deref(), Some("unable_to_consent"));
    scene.act("p", withdrawal("p")).expect("always");
    assert_eq!(scene.gate("p"), Gate::Consent);

    let mut scene = Scene::new(ConsultationPolicy { emergency_override: false, ..ConsultationPolicy::default() });
    scene.join("d", DOCTOR);
    scene.join("p", PATIENT);
    assert_eq!(scene.act("d", act).err(), Some(Refusal::NotAllowed));
}

#[test]
fn invited_seats_have_a_role_a_window_and_perhaps_a_welcome() {
    let mut scene = Scene::new(ConsultationPolicy { professional_first: false, ..ConsultationPolicy::default() });
    let at = scene.now.wall_ms;
    let invite = |seat: &str, role, from_s: u64, admitted| {
        let (from_ms, until_ms) = (Some(at + from_s * 1_000), Some(at + 600_000));
        platform(Act::Invite(Invitation { seat: name(seat), role, from_ms, until_ms, admitted }))
    };
    scene.apply(invite("p", Role::Patient, 60, true)).expect("the platform may");
    assert_eq!((scene.state("p"), scene.gate("p")), (SeatState::Invited, Gate::Absent));
    assert_eq!(scene.try_join("p", AGREED).err(), Some(Refusal::TooEarly));
    scene.later(60);
    assert_eq!(scene.try_join("p", DOCTOR).err(), Some(Refusal::WrongRole));
    scene.join("p", AGREED);
    assert_eq!((scene.state("p"), scene.gate("p")), (SeatState::Admitted, Gate::Open));
    scene.later(600);
    assert_eq!(scene.try_join("p", AGREED).err(), Some(Refusal::TooLate));
    let stranger = Command::Consult {
        by: By::Seat(name("p")),
        act: Act::Invite(Invitation { seat: name("x"), role: Role::Doctor, from_ms: None, until_ms: None, admitted: true }),
        asked_at: scene.now.mono,
    };
    assert_eq!(scene.apply(stranger).err(), Some(Refusal::NotAllowed));
}

#[test]
fn who_is_refused_at_the_gate_is_told_and_does_not_come_back() {
    let mut scene = in_call();
    scene.join("r", &[("role", "relative")]);
    let effects = scene.act("d", Act::Refuse(name("r"))).expect("a doctor may");
    let gone = |effect: &Effect| matches!(effect, Effect::Gone { reason: LeaveReason::NotAdmitted, .. });
    assert!(effects.iter().any(gone));
    assert_eq!(scene.try_join("r", &[("role", "relative")]).err(), Some(Refusal::Removed));
    assert_eq!(scene.act("d", Act::Refuse(name("p"))).err(), Some(Refusal::NotAllowed), "it is inside");
}

#[test]
fn a_patient_sends_its_guests_away_and_nobody_else() {
    let mut scene = in_call();
    scene.join("r", &[("role", "relative")]);
    assert_eq!(scene.act("p", Act::Remove(name("d"))).err(), Some(Refusal::NotAllowed));
    assert_eq!(scene.act("r", Act::Remove(name("p"))).err(), Some(Refusal::NotAllowed));
    scene.act("p", Act::Remove(name("r"))).expect("its own guest");
    assert_eq!(scene.state("r"), SeatState::Removed);
}

#[test]
fn people_beside_a_participant_are_declared_by_it_and_seen_by_all() {
    let mut scene = in_call();
    let declare = |seat: &str, count| Act::DeclarePresence { seat: name(seat), kind: Role::Relative, count };
    assert_eq!(scene.act("d", declare("p", 1)).err(), Some(Refusal::NotAllowed));
    assert_eq!(scene.act("p", declare("p", 0)).err(), Some(Refusal::LimitExceeded));
    scene.act("p", declare("p", 2)).expect("its own");
    assert_eq!(scene.label("p", "beside").as_deref(), Some("relative:2"));
    scene.act("p", Act::WithdrawPresence { seat: name("p"), kind: Role::Relative }).expect("its own");
    assert_eq!(scene.label("p", "beside"), None);
}

#[test]
fn muting_is_possible_from_outside_and_unmuting_is_not() {
    let mut scene = in_call();
    let mute = |seat: &str| Act::Mute { seat: name(seat), track: None };
    assert_eq!(scene.act("p", mute("d")).err(), Some(Refusal::NotAllowed));
    let effects = scene.act("d", mute("p")).expect("a doctor may");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::TrackMuted { muted: true, .. })));
    assert!(facts(&effects).iter().any(|fact| matches!(fact, Fact::Muted { .. })));
    let unmute = Command::MuteRemotely { identity: name("p"), track: TrackSid::new("TR_p"), muted: false };
    assert_eq!(scene.apply(unmute).err(), Some(Refusal::RemoteUnmute));
}

#[test]
fn an_aside_that_needs_consent_waits_for_it() {
    let aside = AsideRules { needs_consent: true, ..AsideRules::default() };
    let mut scene = Scene::new(ConsultationPolicy { aside, ..ConsultationPolicy::default() });
    scene.join("d", DOCTOR);
    scene.join("p", AGREED);
    scene.join("c", &[("role", "colleague")]);
    for seat in ["p", "c"] {
        scene.act("d", Act::Admit(name(seat))).expect("a doctor may");
    }
    scene.act("p", consent_of("p", &[Scope::ThirdPerson(Role::Colleague)])).expect("its own");
    let start = || Act::StartAside(vec![name("d"), name("c")]);
    assert_eq!(scene.act("d", start()).err(), Some(Refusal::ConsentMissing));
    scene.act("p", consent_of("p", &[Scope::Aside])).expect("its own");
    scene.act("d", start()).expect("it agreed");
    assert!(scene.label("d", "aside").is_some() && scene.label("p", "aside").is_none());
    assert_eq!(scene.act("p", Act::EndAside).err(), Some(Refusal::NotAllowed));
    scene.act("c", Act::EndAside).expect("it is in it");
    assert_eq!(scene.act("d", Act::EndAside).err(), Some(Refusal::NoAside));
}

#[test]
fn a_policy_out_of_bounds_is_refused() {
    let good = ConsultationPolicy::default();
    let bad = [
        ConsultationPolicy { starts_at_ms: Some(5), ends_at_ms: Some(5), ..good.clone() },
        ConsultationPolicy { max_length: LONGEST + Duration::from_secs(1), ..good.clone() },
        ConsultationPolicy { max_seats: 0, ..good.clone() },
        ConsultationPolicy { max_seats: MOST_SEATS + 1, ..good.clone() },
        ConsultationPolicy { aside: AsideRules { max: Duration::ZERO, ..AsideRules::default() }, ..good.clone() },
        ConsultationPolicy { grace: Duration::MAX, ..good.clone() },
    ];
    assert_eq!(good.check(), Ok(()));
    for policy in bad {
        assert_eq!(policy.check(), Err(Refusal::BadPolicy));
    }
}

#[test]
fn the_words_of_tokens_are_read_back() {
    for role in Role::ALL {
        let scope = Scope::ThirdPerson(role);
        assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
    }
    for scope in [Scope::Teleconsultation, Scope::FileExchange, Scope::Aside] {
        assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
    }
    assert_eq!(Scope::parse("third_person:spy"), None);
    assert_eq!(Assurance::parse("psc:2"), Some(Assurance { method: Method::Psc, acr: 2 }));
    for odd in ["psc", "psc:10", "psc:-1", "face:2", ":", "psc:2:3"] {
        assert_eq!(Assurance::parse(odd), None, "{odd}");
    }
    for odd in ["", "two words", "é", &"x".repeat(65)] {
        assert!(TextVersion::parse(odd).is_none(), "{odd}");
    }
}

#[test]
fn the_end_is_announced_once_and_again_where_it_is_moved() {
    let minutes = |count: u64| count * 60;
    let mut scene = Scene::new(ConsultationPolicy { grace: Duration::ZERO, ..ConsultationPolicy::default() });
    scene.join("d", &[("role", "doctor")]);
    let warned = |effects: &Effects| facts(effects).iter().filter(|fact| matches!(fact, Fact::EndsSoon { .. })).count();
    let extend = |scene: &mut Scene, seconds: u64| {
        let ends_at_ms = scene.now.wall_ms + seconds * 1_000;
        scene.apply(platform(Act::Extend { ends_at_ms })).expect("the platform may");
        ends_at_ms
    };
    let ends_at_ms = extend(&mut scene, minutes(20));
    assert_eq!(scene.room.next_deadline_ms(), Some(ends_at_ms - minutes(5) * 1_000));
    scene.later(minutes(15));
    let told = scene.apply(Command::Tick).expect("time is never refused");
    assert_eq!(warned(&told), 1);
    assert_eq!(scene.label("d", "closes_at"), Some(ends_at_ms.to_string()), "those inside see it");
    scene.later(60);
    assert_eq!(warned(&scene.apply(Command::Tick).expect("time")), 0, "once");
    extend(&mut scene, minutes(20));
    assert_eq!(scene.label("d", "closes_at"), None);
    scene.later(minutes(16));
    assert_eq!(warned(&scene.apply(Command::Tick).expect("time")), 1, "the new end");
}

#[test]
fn only_a_doctor_inside_vouches_for_a_patient_and_only_for_a_patient() {
    let mut scene = Scene::new(ConsultationPolicy::default());
    scene.join("d", &[("role", "doctor")]);
    scene.join("p", &[("role", "patient")]);
    let vouch = |seat: &str| Act::AttestIdentity { seat: name(seat), method: IdentityCheck::KnownPatient };
    assert!(matches!(scene.act("p", vouch("p")), Err(Refusal::NotAllowed)));
    assert!(matches!(scene.act("d", vouch("d")), Err(Refusal::WrongRole)));
    let effects = scene.act("d", vouch("p")).expect("a doctor inside may");
    assert!(matches!(facts(&effects)[..], [Fact::IdentityAttested { by: By::Seat(_), .. }]));
    assert!(!vouch("p").gives(), "it works while nothing can be recorded");
}

#[test]
fn another_role_for_a_seat_is_on_record_before_it_can_be_taken() {
    let mut scene = Scene::new(ConsultationPolicy::default());
    scene.join("d", &[("role", "doctor")]);
    let invite =
        |role| platform(Act::Invite(Invitation { seat: name("c"), role, from_ms: None, until_ms: None, admitted: false }));
    assert!(facts(&scene.apply(invite(Role::Companion)).expect("the platform may")).is_empty(), "nothing changed");
    let effects = scene.apply(invite(Role::Interpreter)).expect("nobody sits there");
    let changed = facts(&effects).into_iter().find(|fact| matches!(fact, Fact::RoleChanged { .. })).expect("on record").clone();
    assert!(changed.widens(), "so its effects wait for the disk");
    scene.apply(Command::Undo(vec![changed])).expect("never refused");
    assert!(matches!(scene.try_join("c", &[("role", "interpreter")]), Err(Refusal::WrongRole | Refusal::Removed)));
}

fn refusal(seat: &str, scopes: &[Scope]) -> Act {
    Act::RefuseConsent { seat: name(seat), scopes: scopes.iter().copied().collect() }
}

#[test]
fn a_no_keeps_the_gate_shut_and_is_told_until_it_becomes_a_yes() {
    let mut scene = Scene::new(ConsultationPolicy::default());
    scene.join("d", DOCTOR);
    scene.join("p", PATIENT);
    scene.act("d", Act::Admit(name("p"))).expect("a doctor may");
    assert_eq!(scene.act("d", refusal("p", &[])).err(), Some(Refusal::NotAllowed), "nobody says no for a patient");
    assert_eq!(scene.act("d", refusal("d", &[])).err(), Some(Refusal::NotAllowed), "a doctor is not asked");
    let effects = scene.act("p", refusal("p", &[])).expect("its own");
    let refused = |fact: &&Fact| matches!(fact, Fact::ConsentRefused { scopes, .. } if scopes.contains(&Scope::Teleconsultation));
    assert_eq!(facts(&effects).into_iter().filter(refused).count(), 1);
    let doctor = scene.room.id_of(&name("d")).expect("it is here");
    let told = effects.iter().any(|effect| {
        let Effect::Roster { to, records } = effect else { return false };
        *to == To::One(doctor) && records.iter().any(|record| record.attributes.contains_key("consultation.declined"))
    });
    assert!(told, "the doctor learns of it: {effects:?}");
    assert_eq!((scene.gate("p"), scene.label("p", "declined").as_deref()), (Gate::Consent, Some("teleconsultation")));
    assert!(facts(&scene.act("p", refusal("p", &[])).expect("again")).is_empty(), "the same answer is no news");
    scene.act("p", consent_of("p", &[])).expect("still possible");
    assert_eq!((scene.gate("p"), scene.label("p", "declined")), (Gate::Open, None));
}

#[test]
fn a_no_after_a_yes_shuts_what_was_open_whatever_opened_it() {
    let mut scene = in_call();
    let effects = scene.act("p", refusal("p", &[])).expect("always");
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Unroute { .. })).count(), 2);
    let names: Vec<_> = facts(&effects).into_iter().map(|fact| format!("{fact:?}")).collect();
    let first = |word: &str| names.iter().position(|name| name.starts_with(word)).unwrap_or_else(|| panic!("{word}: {names:?}"));
    assert!(first("ConsentWithdrawn") < first("ConsentRefused"));
    assert_eq!(scene.gate("p"), Gate::Consent);
    scene.act("d", Act::EmergencyOverride { seat: name("p"), why: Emergency::LifeThreat }).expect("the policy allows it");
    assert_eq!(scene.gate("p"), Gate::Open);
    let effects = scene.act("p", refusal("p", &[])).expect("always");
    assert_eq!(scene.gate("p"), Gate::Consent, "nobody goes on against a no");
    assert!(facts(&effects).into_iter().any(|fact| matches!(fact, Fact::ConsentRefused { .. })));
    // Coming again with a token that says yes does not undo it.
    scene.join("p", AGREED);
    assert_eq!(scene.gate("p"), Gate::Consent);
}

#[test]
fn a_no_to_a_third_person_is_told_to_that_person_and_concerns_nobody_else() {
    let mut scene = in_call();
    scene.join("i", &[("role", "interpreter")]);
    scene.act("d", Act::Admit(name("i"))).expect("a doctor may");
    assert_eq!(scene.gate("i"), Gate::ThirdPerson);
    let about = Scope::ThirdPerson(Role::Interpreter);
    scene.act("p", refusal("p", &[about])).expect("its own");
    assert_eq!((scene.gate("i"), scene.gate("p")), (Gate::ThirdPerson, Gate::Open));
    let told = Some("third_person:interpreter".to_owned());
    assert_eq!((scene.label("p", "declined"), scene.label("i", "declined")), (told.clone(), told));
    scene.act("p", consent_of("p", &[about])).expect("its own");
    assert_eq!((scene.gate("i"), scene.label("i", "declined"), scene.label("p", "declined")), (Gate::Open, None, None));
}
