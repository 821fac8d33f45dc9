//! What a tenant says of all its consultations: what holds where a call says nothing, and what a call can only make stricter.

use super::{AsideRules, ConsultationPolicy, LONGEST, Scope, SecondUse};
use crate::model::roster::Role;
use std::collections::BTreeSet;
use std::time::Duration;

/// A tenant's rules, by the keys of its configuration. A key without a value says nothing: the relay's default holds, and a call
/// may choose. A key with one binds, but for `early` and `grace`, which a call may always choose: they let nobody receive more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// How long before its start people may come.
    pub early: Option<Duration>,
    /// How long after its end it stays open.
    pub grace: Option<Duration>,
    /// The longest it may last from its opening, extensions included.
    pub max_length: Option<Duration>,
    /// What each patient must at least have agreed to.
    pub consent: Option<BTreeSet<Scope>>,
    /// Roles that need at least each patient's agreement to a third person.
    pub third_persons: Option<BTreeSet<Role>>,
    /// Roles that may at most be let in without being asked.
    pub auto_admit: Option<BTreeSet<Role>>,
    /// Nobody but professionals is let in before a doctor is inside.
    pub professional_first: Option<bool>,
    /// Whether there are asides.
    pub aside_allowed: Option<bool>,
    /// The longest an aside runs without being renewed.
    pub aside_max: Option<Duration>,
    /// Whether every patient inside must have agreed to asides.
    pub aside_needs_consent: Option<bool>,
    /// Whether a doctor may go on without consent in an emergency.
    pub emergency_override: Option<bool>,
    /// Whether consent counts only from a legal representative.
    pub representative_required: Option<bool>,
    /// Least assurance level of professionals.
    pub pro_min_acr: Option<u8>,
    /// What a second concurrent use of a seat does.
    pub second_use: Option<SecondUse>,
    /// Most seats.
    pub max_seats: Option<u32>,
    /// Whether a doctor inside sees who waits.
    pub doctor_sees_waiting: Option<bool>,
}

/// A call asked for less than the tenant's rules hold it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loosened {
    /// The key, as configuration and API write it.
    pub key: &'static str,
    /// What the call may ask for; completes the sentence "the tenant's rules …".
    pub allowed: String,
}

impl TenantRules {
    /// The rules of a consultation of which nothing else is said.
    #[must_use]
    pub fn usual(&self) -> ConsultationPolicy {
        let base = ConsultationPolicy::default();
        let max_length = self.max_length.unwrap_or(base.max_length);
        ConsultationPolicy {
            starts_at_ms: None,
            ends_at_ms: None,
            early: self.early.unwrap_or(base.early),
            grace: self.grace.unwrap_or(base.grace),
            max_length,
            longest: self.max_length.unwrap_or(LONGEST),
            consent: self.consent.clone().unwrap_or(base.consent),
            third_persons: self.third_persons.clone().unwrap_or(base.third_persons),
            auto_admit: self.auto_admit.clone().unwrap_or(base.auto_admit),
            professional_first: self.professional_first.unwrap_or(base.professional_first),
            aside: AsideRules {
                allowed: self.aside_allowed.unwrap_or(base.aside.allowed),
                max: self.aside_max.unwrap_or(base.aside.max),
                needs_consent: self.aside_needs_consent.unwrap_or(base.aside.needs_consent),
            },
            emergency_override: self.emergency_override.unwrap_or(base.emergency_override),
            representative_required: self.representative_required.unwrap_or(base.representative_required),
            pro_min_acr: self.pro_min_acr.unwrap_or(base.pro_min_acr),
            second_use: self.second_use.unwrap_or(base.second_use),
            max_seats: self.max_seats.unwrap_or(base.max_seats),
            doctor_sees_waiting: self.doctor_sees_waiting.unwrap_or(base.doctor_sees_waiting),
        }
    }

    /// Whether rules that were asked for keep to the tenant's.
    ///
    /// # Errors
    /// [`Loosened`] names the first key that does not.
    pub fn hold(&self, asked: &ConsultationPolicy) -> Result<(), Loosened> {
        let (aside, refuses) = (&asked.aside, |second: SecondUse| second == SecondUse::Refuse);
        at_most("max_length_s", self.max_length.map(|time| time.as_secs()), asked.max_length.as_secs())?;
        at_most("aside_max_s", self.aside_max.map(|time| time.as_secs()), aside.max.as_secs())?;
        at_most("max_seats", self.max_seats, asked.max_seats)?;
        keeps("consent", self.consent.as_ref(), &asked.consent, Scope::to_string)?;
        keeps("third_persons", self.third_persons.as_ref(), &asked.third_persons, |role| role.as_str().to_owned())?;
        adds_nothing("auto_admit", self.auto_admit.as_ref(), &asked.auto_admit)?;
        stays("professional_first", true, self.professional_first, asked.professional_first)?;
        stays("aside_allowed", false, self.aside_allowed, aside.allowed)?;
        stays("aside_needs_consent", true, self.aside_needs_consent, aside.needs_consent)?;
        stays("emergency_override", false, self.emergency_override, asked.emergency_override)?;
        stays("representative_required", true, self.representative_required, asked.representative_required)?;
        stays("refuse_second_use", true, self.second_use.map(refuses), refuses(asked.second_use))?;
        stays("doctor_sees_waiting", false, self.doctor_sees_waiting, asked.doctor_sees_waiting)?;
        match self.pro_min_acr {
            Some(least) if asked.pro_min_acr < least => Err(loosened("pro_min_acr", format!("ask for at least {least}"))),
            _ => Ok(()),
        }
    }
}

fn loosened(key: &'static str, allowed: String) -> Loosened {
    Loosened { key, allowed }
}

fn at_most<T: PartialOrd + std::fmt::Display>(key: &'static str, most: Option<T>, asked: T) -> Result<(), Loosened> {
    match most {
        Some(most) if asked > most => Err(loosened(key, format!("allow at most {most}"))),
        _ => Ok(()),
    }
}

/// A rule that has its strict value keeps it.
fn stays(key: &'static str, strict: bool, rule: Option<bool>, asked: bool) -> Result<(), Loosened> {
    if rule == Some(strict) && asked != strict { Err(loosened(key, format!("keep it {strict}"))) } else { Ok(()) }
}

fn keeps<T: Ord>(
    key: &'static str,
    rule: Option<&BTreeSet<T>>,
    asked: &BTreeSet<T>,
    word: impl Fn(&T) -> String,
) -> Result<(), Loosened> {
    match rule.and_then(|rule| rule.difference(asked).next()) {
        Some(missing) => Err(loosened(key, format!("require {} in it", word(missing)))),
        None => Ok(()),
    }
}

fn adds_nothing(key: &'static str, rule: Option<&BTreeSet<Role>>, asked: &BTreeSet<Role>) -> Result<(), Loosened> {
    match rule.and_then(|rule| asked.difference(rule).next()) {
        Some(more) => Err(loosened(key, format!("do not let {} in without being asked", more.as_str()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut ConsultationPolicy);

    /// Every key that binds at its strictest but one, with a way to be stricter and a way to be laxer.
    fn strict() -> TenantRules {
        TenantRules {
            early: Some(Duration::from_secs(60)),
            grace: Some(Duration::from_secs(60)),
            max_length: Some(Duration::from_secs(1_800)),
            consent: Some(BTreeSet::from([Scope::Teleconsultation])),
            third_persons: Some(BTreeSet::from([Role::Interpreter])),
            auto_admit: Some(BTreeSet::from([Role::Companion])),
            professional_first: Some(true),
            aside_allowed: Some(false),
            aside_max: Some(Duration::from_secs(60)),
            aside_needs_consent: Some(true),
            emergency_override: Some(false),
            representative_required: Some(true),
            pro_min_acr: Some(2),
            second_use: Some(SecondUse::Refuse),
            max_seats: Some(4),
            doctor_sees_waiting: Some(false),
        }
    }

    const LAXER: [(&str, Change); 14] = [
        ("max_length_s", |policy| policy.max_length = Duration::from_secs(1_801)),
        ("aside_max_s", |policy| policy.aside.max = Duration::from_secs(61)),
        ("max_seats", |policy| policy.max_seats = 5),
        ("consent", |policy| policy.consent = BTreeSet::from([Scope::Aside])),
        ("third_persons", |policy| policy.third_persons.clear()),
        ("auto_admit", |policy| policy.auto_admit.extend([Role::Patient])),
        ("professional_first", |policy| policy.professional_first = false),
        ("aside_allowed", |policy| policy.aside.allowed = true),
        ("aside_needs_consent", |policy| policy.aside.needs_consent = false),
        ("emergency_override", |policy| policy.emergency_override = true),
        ("representative_required", |policy| policy.representative_required = false),
        ("refuse_second_use", |policy| policy.second_use = SecondUse::Replace),
        ("doctor_sees_waiting", |policy| policy.doctor_sees_waiting = true),
        ("pro_min_acr", |policy| policy.pro_min_acr = 1),
    ];

    #[test]
    fn a_call_cannot_loosen_what_is_written_and_is_told_which_key() {
        let rules = strict();
        assert_eq!(rules.hold(&rules.usual()), Ok(()));
        for (key, change) in LAXER {
            let mut asked = rules.usual();
            change(&mut asked);
            assert_eq!(rules.hold(&asked).map_err(|loosened| loosened.key), Err(key));
            assert_eq!(TenantRules::default().hold(&asked), Ok(()), "{key} unwritten binds nobody");
        }
    }

    #[test]
    fn a_call_may_be_stricter_and_may_choose_how_early_and_how_late() {
        let rules = strict();
        let mut asked = rules.usual();
        asked.consent.insert(Scope::FileExchange);
        asked.third_persons.insert(Role::Trainee);
        asked.auto_admit.clear();
        (asked.max_seats, asked.pro_min_acr) = (2, 3);
        (asked.max_length, asked.early, asked.grace) = (Duration::from_secs(60), LONGEST, LONGEST);
        assert_eq!(rules.hold(&asked), Ok(()));
    }

    #[test]
    fn nothing_written_is_the_relays_default() {
        assert_eq!(TenantRules::default().usual(), ConsultationPolicy::default());
        assert_eq!(strict().usual().longest, Duration::from_secs(1_800), "extensions end there too");
        assert_eq!(strict().usual().check(), Ok(()));
    }
}
