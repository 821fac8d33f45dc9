//! The JSON of requests and answers, and how it becomes the relay's own words.
//!
//! Times are seconds since the Unix epoch unless a name ends in `_ms`.

use super::problem::Problem;
use crate::model::roster::Role;
use crate::relay::command::{
    AsideRules, AsideView, ConsultationPolicy, Emergency, Overview, Scope, SeatView, SecondUse, TenantRules,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use utoipa::ToSchema;

/// `doctor`, `colleague`, `companion`, `patient`, `relative`, `interpreter`, `trainee` or `support`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RoleWord {
    Doctor,
    Colleague,
    Companion,
    Patient,
    Relative,
    Interpreter,
    Trainee,
    Support,
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::Doctor => Self::Doctor,
            Role::Colleague => Self::Colleague,
            Role::Companion => Self::Companion,
            Role::Patient => Self::Patient,
            Role::Relative => Self::Relative,
            Role::Interpreter => Self::Interpreter,
            Role::Trainee => Self::Trainee,
            Role::Support => Self::Support,
        }
    }
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Doctor => Self::Doctor,
            RoleWord::Colleague => Self::Colleague,
            RoleWord::Companion => Self::Companion,
            RoleWord::Patient => Self::Patient,
            RoleWord::Relative => Self::Relative,
            RoleWord::Interpreter => Self::Interpreter,
            RoleWord::Trainee => Self::Trainee,
            RoleWord::Support => Self::Support,
        }
    }
}

/// A consultation to create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewConsultation {
    /// Its id, which is also its room's name: 1 to 256 bytes, of no meaning to anybody else; made up where it is missing.
    pub(super) id: Option<String>,
    /// When it begins; without it at once.
    pub(super) starts_at: Option<u64>,
    /// When it should end.
    pub(super) ends_at: Option<u64>,
    /// Its rules, fixed once somebody has come.
    #[serde(default)]
    pub(super) rules: Rules,
}

/// The rules of a consultation; what is missing takes the tenant's rule or the relay's default, which answers show. What the
/// tenant's configuration writes can only be made stricter (`tenant_rule`), but for `early_s` and `grace_s`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// Seconds before its start from which people may come, at most 86400.
    pub(super) early_s: Option<u64>,
    /// Seconds after its end for which it stays open, at most 86400.
    pub(super) grace_s: Option<u64>,
    /// Seconds it may last from its opening, at most 14400.
    pub(super) max_length_s: Option<u64>,
    /// What each patient must have agreed to before anything crosses: `teleconsultation`, `third_person:ROLE`, `file_exchange`,
    /// `aside`.
    #[schema(max_items = 16)]
    pub(super) consent: Option<Vec<String>>,
    /// Roles that come in only once every patient inside has agreed to a third person of that role.
    pub(super) third_persons: Option<BTreeSet<RoleWord>>,
    /// Roles that are let in without being asked; a doctor always is.
    pub(super) auto_admit: Option<BTreeSet<RoleWord>>,
    /// Nobody but professionals is let in before a doctor is inside.
    pub(super) professional_first: Option<bool>,
    /// Whether some may speak apart.
    pub(super) aside_allowed: Option<bool>,
    /// Seconds an aside runs without being renewed, at most 3600.
    pub(super) aside_max_s: Option<u64>,
    /// Every patient inside must have agreed to `aside` first.
    pub(super) aside_needs_consent: Option<bool>,
    /// A doctor may go on without consent in an emergency.
    pub(super) emergency_override: Option<bool>,
    /// A patient's consent counts only from a legal representative.
    pub(super) representative_required: Option<bool>,
    /// Least level in `consultation.auth` of professionals, 0 to 9.
    #[schema(maximum = 9)]
    pub(super) pro_min_acr: Option<u8>,
    /// A second connection of a seat is refused while the first one holds; otherwise it takes its place.
    pub(super) refuse_second_use: Option<bool>,
    /// Seats, 1 to 64.
    pub(super) max_seats: Option<u32>,
    /// A doctor inside sees who waits.
    pub(super) doctor_sees_waiting: Option<bool>,
}

impl NewConsultation {
    /// The relay's words for it.
    ///
    /// # Errors
    /// A problem that names the field; [`Code::TenantRule`](super::problem::Code::TenantRule) for what the tenant does not allow.
    pub(super) fn policy(&self, tenant: &TenantRules) -> Result<ConsultationPolicy, Problem> {
        let base = tenant.usual();
        let rules = &self.rules;
        let seconds = |given: Option<u64>, usual| given.map_or(usual, Duration::from_secs);
        let roles = |given: &Option<BTreeSet<RoleWord>>, usual: BTreeSet<Role>| match given {
            Some(words) => words.iter().map(|word| Role::from(*word)).collect(),
            None => usual,
        };
        let consent = match &rules.consent {
            Some(words) => scopes(words)?,
            None => base.consent,
        };
        let policy = ConsultationPolicy {
            starts_at_ms: self.starts_at.map(ms),
            ends_at_ms: self.ends_at.map(ms),
            early: seconds(rules.early_s, base.early),
            grace: seconds(rules.grace_s, base.grace),
            max_length: seconds(rules.max_length_s, base.max_length),
            longest: base.longest,
            consent,
            third_persons: roles(&rules.third_persons, base.third_persons),
            auto_admit: roles(&rules.auto_admit, base.auto_admit),
            professional_first: rules.professional_first.unwrap_or(base.professional_first),
            aside: AsideRules {
                allowed: rules.aside_allowed.unwrap_or(base.aside.allowed),
                max: seconds(rules.aside_max_s, base.aside.max),
                needs_consent: rules.aside_needs_consent.unwrap_or(base.aside.needs_consent),
            },
            emergency_override: rules.emergency_override.unwrap_or(base.emergency_override),
            representative_required: rules.representative_required.unwrap_or(base.representative_required),
            pro_min_acr: rules.pro_min_acr.unwrap_or(base.pro_min_acr),
            second_use: match rules.refuse_second_use {
                Some(true) => SecondUse::Refuse,
                Some(false) => SecondUse::Replace,
                None => base.second_use,
            },
            max_seats: rules.max_seats.unwrap_or(base.max_seats),
            doctor_sees_waiting: rules.doctor_sees_waiting.unwrap_or(base.doctor_sees_waiting),
        };
        // First what the tenant allows: its bounds are narrower and its answer names the key.
        tenant.hold(&policy)?;
        policy.check()?;
        Ok(policy)
    }
}

impl From<&ConsultationPolicy> for Rules {
    fn from(policy: &ConsultationPolicy) -> Self {
        let roles = |set: &BTreeSet<Role>| Some(set.iter().map(|role| RoleWord::from(*role)).collect());
        Self {
            early_s: Some(policy.early.as_secs()),
            grace_s: Some(policy.grace.as_secs()),
            max_length_s: Some(policy.max_length.as_secs()),
            consent: Some(policy.consent.iter().map(Scope::to_string).collect()),
            third_persons: roles(&policy.third_persons),
            auto_admit: roles(&policy.auto_admit),
            professional_first: Some(policy.professional_first),
            aside_allowed: Some(policy.aside.allowed),
            aside_max_s: Some(policy.aside.max.as_secs()),
            aside_needs_consent: Some(policy.aside.needs_consent),
            emergency_override: Some(policy.emergency_override),
            representative_required: Some(policy.representative_required),
            pro_min_acr: Some(policy.pro_min_acr),
            refuse_second_use: Some(policy.second_use == SecondUse::Refuse),
            max_seats: Some(policy.max_seats),
            doctor_sees_waiting: Some(policy.doctor_sees_waiting),
        }
    }
}

/// What somebody agrees to, read from its words.
pub(super) fn scopes(words: &[String]) -> Result<BTreeSet<Scope>, Problem> {
    let known = |word: &String| {
        Scope::parse(word)
            .ok_or_else(|| Problem::invalid("a scope is one of teleconsultation, third_person:ROLE, file_exchange and aside"))
    };
    words.iter().map(known).collect()
}

/// Milliseconds of seconds.
pub(super) fn ms(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000)
}

/// Where a consultation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Nobody has come yet.
    Planned,
    /// Its room is open.
    Open,
    /// It is over.
    Ended,
}

/// A consultation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Consultation {
    /// Its id.
    pub(super) id: String,
    /// Its room's name for client SDKs and the room service; the same as the id.
    pub(super) room: String,
    /// Where it stands.
    pub(super) state: State,
    /// When it begins.
    pub(super) starts_at: Option<u64>,
    /// When it should end.
    pub(super) ends_at: Option<u64>,
    /// When its room opened.
    pub(super) opened_at: Option<u64>,
    /// When its room closes at the latest.
    pub(super) closes_at: Option<u64>,
    /// Nobody else is let in.
    pub(super) locked: bool,
    /// The aside that runs.
    pub(super) aside: Option<Aside>,
    /// Its rules.
    pub(super) rules: Rules,
    /// Its seats.
    pub(super) seats: Vec<Seat>,
}

/// An aside that runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Aside {
    /// Seats in it.
    pub(super) members: Vec<String>,
    /// Since when.
    pub(super) since: u64,
    /// Until when, unless renewed.
    pub(super) until: u64,
}

impl From<&AsideView> for Aside {
    fn from(view: &AsideView) -> Self {
        Self {
            members: view.members.iter().map(|seat| seat.as_str().to_owned()).collect(),
            since: view.since_ms / 1_000,
            until: view.until_ms / 1_000,
        }
    }
}

/// A seat.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Seat {
    /// Its reference: `sub` of its tokens.
    pub(super) seat: String,
    /// Its role.
    pub(super) role: RoleWord,
    /// `invited`, `waiting`, `admitted`, `left` or `removed`.
    pub(super) state: &'static str,
    /// What must happen before anything crosses: `open`, `admission`, `consent`, `third_person` or `absent`.
    pub(super) gate: &'static str,
    /// What was agreed to.
    pub(super) consent: Vec<String>,
    /// Which text was agreed to.
    pub(super) text: Option<String>,
    /// Why a doctor went on without consent.
    pub(super) emergency: Option<&'static str>,
    /// Who is beside the person, off camera.
    pub(super) beside: Vec<Beside>,
}

/// People beside a participant, off camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Beside {
    /// What they are.
    pub(super) kind: RoleWord,
    /// How many.
    pub(super) count: u8,
}

impl From<&SeatView> for Seat {
    fn from(view: &SeatView) -> Self {
        Self {
            seat: view.seat.as_str().to_owned(),
            role: view.role.into(),
            state: view.state.as_str(),
            gate: view.gate.as_str(),
            consent: view.consent.iter().map(Scope::to_string).collect(),
            text: view.text.as_ref().map(|text| text.as_str().to_owned()),
            emergency: view.emergency.map(Emergency::as_str),
            beside: view.beside.iter().map(|(kind, count)| Beside { kind: (*kind).into(), count: *count }).collect(),
        }
    }
}

impl Consultation {
    /// A room that is open.
    pub(super) fn open(id: &str, overview: &Overview) -> Self {
        Self {
            state: State::Open,
            opened_at: overview.opened_at_ms.map(|ms| ms / 1_000),
            closes_at: Some(overview.closes_at_ms / 1_000),
            locked: overview.locked,
            aside: overview.aside.as_ref().map(Aside::from),
            seats: overview.seats.iter().map(Seat::from).collect(),
            ..Self::planned(id, &overview.policy)
        }
    }

    /// One to which nobody has come yet.
    pub(super) fn planned(id: &str, policy: &ConsultationPolicy) -> Self {
        Self {
            id: id.to_owned(),
            room: id.to_owned(),
            state: State::Planned,
            starts_at: policy.starts_at_ms.map(|ms| ms / 1_000),
            ends_at: policy.ends_at_ms.map(|ms| ms / 1_000),
            opened_at: None,
            closes_at: None,
            locked: false,
            aside: None,
            rules: Rules::from(policy),
            seats: Vec::new(),
        }
    }
}

/// A seat to invite.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSeat {
    /// Its opaque reference, 1 to 256 bytes; it becomes `sub` of its tokens and must not be a name. Made up where it is missing.
    pub(super) seat: Option<String>,
    /// Its role.
    pub(super) role: RoleWord,
    /// Name shown to the others, at most 256 bytes; passes through memory only.
    pub(super) name: Option<String>,
    /// From when it may join; without it as early as the consultation allows.
    pub(super) opens_at: Option<u64>,
    /// Until when it may join; without it as late as the consultation allows.
    pub(super) closes_at: Option<u64>,
    /// It need not wait to be let in.
    #[serde(default)]
    pub(super) admitted: bool,
    /// How the person proved who it is, as `method:level`, for example `psc:2`.
    pub(super) auth: Option<String>,
    /// It may give consent for the patient.
    #[serde(default)]
    pub(super) legal_representative: bool,
}

/// An invited seat, with what opens it. Only this answer holds the link: the relay keeps no more than a hash of its code.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Invited {
    /// The seat.
    pub(super) seat: Seat,
    /// A token that joins now; missing while the seat's window is closed, and where the relay holds only the public half of the
    /// tenant's keys (sign one yourself then).
    pub(super) token: Option<String>,
    /// When the token expires.
    pub(super) token_expires_at: Option<u64>,
    /// A link to the consultation page, for the person only; missing where the relay cannot sign tokens for the tenant. An
    /// earlier link of the same seat stops working.
    pub(super) link: Option<String>,
    /// From when the link works.
    pub(super) opens_at: u64,
    /// Until when the link works.
    pub(super) closes_at: u64,
}

/// The code of a link.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkCode {
    /// What stands behind `#code=` in the link.
    pub(super) code: String,
}

/// What a code is worth.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Joining {
    /// A token that joins.
    pub(super) token: String,
    /// When it expires.
    pub(super) expires_at: u64,
    /// The consultation.
    pub(super) consultation: String,
    /// The seat.
    pub(super) seat: String,
    /// Its role.
    pub(super) role: RoleWord,
}

/// Consent to record.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewConsent {
    /// The patient's seat; a seat's own token may leave it out.
    pub(super) seat: Option<String>,
    /// What was agreed to; without it what the consultation requires.
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    /// Which text: a code of 1 to 64 letters, digits and `._:/+=-`.
    pub(super) text: String,
    /// From the platform: `token` (given to it beforehand, which is meant where this is missing), `in_call` or `representative`.
    /// A seat's own token need not say it.
    pub(super) channel: Option<String>,
}

/// A no to record.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRefusal {
    /// The patient's seat; a seat's own token may leave it out.
    pub(super) seat: Option<String>,
    /// What was refused; without it what the consultation requires.
    #[serde(default)]
    pub(super) scopes: Vec<String>,
}

/// Seats that speak apart.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAside {
    /// Who hears and sees each other, at least two; the others receive nothing of it.
    pub(super) members: Vec<String>,
}

/// People beside a participant.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPresence {
    /// Beside whom; a seat's own token may leave it out.
    pub(super) seat: Option<String>,
    /// What they are.
    pub(super) kind: RoleWord,
    /// How many, 1 to 9; 1 where it is missing.
    pub(super) count: Option<u8>,
}

/// A later end.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Extension {
    /// The new end.
    pub(super) ends_at: u64,
}

/// Why a doctor goes on without consent.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Override {
    /// The patient's seat.
    pub(super) seat: String,
    /// `life_threat`, `unable_to_consent` or `legal_order`.
    pub(super) why: String,
}

/// How a patient's identity was checked.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewIdentityCheck {
    /// `seen_document`, `known_patient`, `ins_qualified_by_platform` or `other`; never a number or a name.
    pub(super) method: String,
}

/// What to mute.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Muting {
    /// Which track; without it all of the seat's.
    pub(super) track: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> NewConsultation {
        serde_json::from_str(json).expect("a request")
    }

    #[test]
    fn nothing_asked_takes_the_defaults() {
        assert_eq!(asked("{}").policy(&TenantRules::default()).expect("the defaults"), ConsultationPolicy::default());
    }

    #[test]
    fn every_rule_comes_back_as_it_was_asked() {
        let policy = ConsultationPolicy {
            starts_at_ms: Some(1_000_000),
            ends_at_ms: Some(2_000_000),
            early: Duration::from_secs(60),
            grace: Duration::from_secs(61),
            max_length: Duration::from_secs(62),
            longest: crate::relay::command::LONGEST,
            consent: BTreeSet::from([Scope::Aside, Scope::ThirdPerson(Role::Trainee)]),
            third_persons: BTreeSet::from([Role::Interpreter]),
            auto_admit: BTreeSet::from([Role::Patient]),
            professional_first: false,
            aside: AsideRules { allowed: false, max: Duration::from_secs(63), needs_consent: true },
            emergency_override: false,
            representative_required: true,
            pro_min_acr: 2,
            second_use: SecondUse::Refuse,
            max_seats: 5,
            doctor_sees_waiting: false,
        };
        let shown = Consultation::planned("c", &policy);
        let again = NewConsultation { id: None, starts_at: shown.starts_at, ends_at: shown.ends_at, rules: shown.rules };
        assert_eq!(again.policy(&TenantRules::default()).expect("the same"), policy);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for json in [
            r#"{"starts_at": 20, "ends_at": 10}"#,
            r#"{"rules": {"consent": ["everything"]}}"#,
            r#"{"rules": {"max_seats": 0}}"#,
            r#"{"rules": {"max_length_s": 99999}}"#,
        ] {
            assert!(asked(json).policy(&TenantRules::default()).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<NewConsultation>(r#"{"recording": true}"#).is_err());
    }

    #[test]
    fn roles_are_the_words_of_the_house() {
        for role in Role::ALL {
            let word = RoleWord::from(role);
            assert_eq!(serde_json::to_value(word).expect("a word"), role.as_str());
            assert_eq!(Role::from(word), role);
        }
    }
}
