//! What a tenant asks of one consultation: fixed when it opens.

mod tenant;

pub use tenant::{Loosened, TenantRules};

use super::Refusal;
use crate::model::roster::Role;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Longest a consultation may last, whatever its policy says.
pub const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// Most seats a consultation may have: a case conference, far above a consultation proper.
pub const MOST_SEATS: u32 = 64;

/// Longest an aside may run without being renewed.
pub const LONGEST_ASIDE: Duration = Duration::from_secs(3600);

/// Longest time before its start or after its end for which a room may be open.
const LONGEST_MARGIN: Duration = Duration::from_secs(24 * 3600);

/// The rules of one consultation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsultationPolicy {
    /// When it begins, ms since the Unix epoch; `None` for one without appointment.
    pub starts_at_ms: Option<u64>,
    /// When it should end, ms since the Unix epoch.
    pub ends_at_ms: Option<u64>,
    /// How long before its start people may come.
    pub early: Duration,
    /// How long after its end it stays open.
    pub grace: Duration,
    /// How long it may last from its opening, at most [`LONGEST`].
    pub max_length: Duration,
    /// How long it may last with extensions, at most [`LONGEST`].
    pub longest: Duration,
    /// What each patient must have agreed to before the patient's gate opens.
    pub consent: BTreeSet<Scope>,
    /// Roles whose gate opens only once every patient inside has agreed to a third person of that role.
    pub third_persons: BTreeSet<Role>,
    /// Roles that are let in without being asked; a doctor always is.
    pub auto_admit: BTreeSet<Role>,
    /// Nobody but professionals is let in before a doctor is inside.
    pub professional_first: bool,
    /// Asides.
    pub aside: AsideRules,
    /// A doctor may go on without consent in an emergency.
    pub emergency_override: bool,
    /// The patient's consent counts only from a legal representative.
    pub representative_required: bool,
    /// Least assurance level in `consultation.auth` of doctors, colleagues and companions; 0 asks for none.
    pub pro_min_acr: u8,
    /// What a second concurrent use of a seat does.
    pub second_use: SecondUse,
    /// Seats, at most [`MOST_SEATS`].
    pub max_seats: u32,
    /// A doctor inside sees who waits: role, name and nothing else.
    pub doctor_sees_waiting: bool,
}

/// When two or more may speak apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsideRules {
    /// Whether there are any.
    pub allowed: bool,
    /// How long one runs without being renewed, at most [`LONGEST_ASIDE`].
    pub max: Duration,
    /// Whether every patient inside must have agreed to [`Scope::Aside`].
    pub needs_consent: bool,
}

/// What a second concurrent use of a seat does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SecondUse {
    /// It takes the first one's place.
    #[default]
    Replace,
    /// It is refused while the first one is connected.
    Refuse,
}

/// What a patient agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The consultation at a distance itself.
    Teleconsultation,
    /// Somebody of this role takes part.
    ThirdPerson(Role),
    /// Files are exchanged.
    FileExchange,
    /// Others speak apart.
    Aside,
}

impl Scope {
    /// Reads `teleconsultation`, `third_person:<role>`, `file_exchange` or `aside`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "teleconsultation" => Some(Self::Teleconsultation),
            "file_exchange" => Some(Self::FileExchange),
            "aside" => Some(Self::Aside),
            _ => Role::parse(word.strip_prefix("third_person:")?).map(Self::ThirdPerson),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Teleconsultation => f.write_str("teleconsultation"),
            Self::ThirdPerson(role) => write!(f, "third_person:{}", role.as_str()),
            Self::FileExchange => f.write_str("file_exchange"),
            Self::Aside => f.write_str("aside"),
        }
    }
}

impl Default for AsideRules {
    fn default() -> Self {
        Self { allowed: true, max: Duration::from_secs(10 * 60), needs_consent: false }
    }
}

impl Default for ConsultationPolicy {
    fn default() -> Self {
        Self {
            starts_at_ms: None,
            ends_at_ms: None,
            early: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(15 * 60),
            max_length: LONGEST,
            longest: LONGEST,
            consent: BTreeSet::from([Scope::Teleconsultation]),
            third_persons: Role::ALL.into_iter().filter(|role| !matches!(role, Role::Doctor | Role::Patient)).collect(),
            auto_admit: BTreeSet::new(),
            professional_first: true,
            aside: AsideRules::default(),
            emergency_override: true,
            representative_required: false,
            pro_min_acr: 0,
            second_use: SecondUse::Replace,
            max_seats: 16,
            doctor_sees_waiting: true,
        }
    }
}

impl ConsultationPolicy {
    /// Whether its numbers make sense together.
    ///
    /// # Errors
    /// [`Refusal::BadPolicy`].
    pub fn check(&self) -> Result<(), Refusal> {
        let ordered = self.starts_at_ms.zip(self.ends_at_ms).is_none_or(|(starts, ends)| starts < ends);
        let margins = self.early <= LONGEST_MARGIN && self.grace <= LONGEST_MARGIN;
        let length = !self.max_length.is_zero() && self.max_length <= self.longest && self.longest <= LONGEST;
        let aside = !self.aside.max.is_zero() && self.aside.max <= LONGEST_ASIDE;
        let seats = (1..=MOST_SEATS).contains(&self.max_seats);
        (ordered && margins && length && aside && seats).then_some(()).ok_or(Refusal::BadPolicy)
    }
}
