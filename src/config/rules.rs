//! `[tenants.consultation]`: what a tenant says of its consultations.

use super::error::Fault;
use super::render::{list, quoted};
use crate::model::roster::Role;
use crate::relay::command::{LONGEST, LONGEST_ASIDE, MOST_SEATS, Scope, SecondUse, TenantRules};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest time before the start and after the end, in seconds: a day, as calls are held to.
const LONGEST_MARGIN_S: u32 = 86_400;

/// Highest assurance level there is a digit for in `consultation.auth`.
const HIGHEST_ACR: u32 = 9;

/// The table as the file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRules {
    early_s: Option<u32>,
    grace_s: Option<u32>,
    max_length_s: Option<u32>,
    consent: Option<Vec<String>>,
    third_persons: Option<Vec<String>>,
    auto_admit: Option<Vec<String>>,
    professional_first: Option<bool>,
    aside_allowed: Option<bool>,
    aside_max_s: Option<u32>,
    aside_needs_consent: Option<bool>,
    emergency_override: Option<bool>,
    representative_required: Option<bool>,
    pro_min_acr: Option<u32>,
    refuse_second_use: Option<bool>,
    max_seats: Option<u32>,
    doctor_sees_waiting: Option<bool>,
}

/// Turns the table into rules; `path` is what its keys are called in errors.
pub(super) fn resolve(raw: RawRules, path: &str) -> Result<TenantRules, Fault> {
    let number = |key: &str, given: Option<u32>, least: u32, most: u32| match given {
        Some(number) if !(least..=most).contains(&number) => Err(Fault::of(format!("{path}.{key}"), Some(number.to_string()))),
        other => Ok(other),
    };
    let seconds = |key, given, least, most: u32| {
        number(key, given, least, most).map(|given| given.map(|seconds| Duration::from_secs(seconds.into())))
    };
    let whole = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let roles = |key, given| words(&format!("{path}.{key}"), given, Role::parse);
    let second = |refuse| if refuse { SecondUse::Refuse } else { SecondUse::Replace };
    Ok(TenantRules {
        early: seconds("early_s", raw.early_s, 0, LONGEST_MARGIN_S)?,
        grace: seconds("grace_s", raw.grace_s, 0, LONGEST_MARGIN_S)?,
        max_length: seconds("max_length_s", raw.max_length_s, 1, whole(LONGEST))?,
        consent: words(&format!("{path}.consent"), raw.consent, Scope::parse)?,
        third_persons: roles("third_persons", raw.third_persons)?,
        auto_admit: roles("auto_admit", raw.auto_admit)?,
        professional_first: raw.professional_first,
        aside_allowed: raw.aside_allowed,
        aside_max: seconds("aside_max_s", raw.aside_max_s, 1, whole(LONGEST_ASIDE))?,
        aside_needs_consent: raw.aside_needs_consent,
        emergency_override: raw.emergency_override,
        representative_required: raw.representative_required,
        pro_min_acr: number("pro_min_acr", raw.pro_min_acr, 0, HIGHEST_ACR)?.and_then(|level| u8::try_from(level).ok()),
        second_use: raw.refuse_second_use.map(second),
        max_seats: number("max_seats", raw.max_seats, 1, MOST_SEATS)?,
        doctor_sees_waiting: raw.doctor_sees_waiting,
    })
}

/// A list of words of a closed set; the first unknown one is named with its place.
fn words<T: Ord>(path: &str, given: Option<Vec<String>>, read: fn(&str) -> Option<T>) -> Result<Option<BTreeSet<T>>, Fault> {
    let Some(given) = given else { return Ok(None) };
    let read = |(at, word): (usize, &String)| read(word).ok_or_else(|| Fault::of(format!("{path}[{at}]"), Some(quoted(word))));
    given.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
}

/// One rule as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLine {
    /// Its key in the table.
    pub key: &'static str,
    /// Its value in TOML.
    pub value: String,
    /// The file says it, so it binds; otherwise it is the relay's default.
    pub written: bool,
}

/// Every rule of a tenant, in the order of the documentation.
#[must_use]
pub fn rule_lines(rules: &TenantRules) -> Vec<RuleLine> {
    let usual = rules.usual();
    let line = |key, value: String, written| RuleLine { key, value, written };
    let seconds = |time: Duration| time.as_secs().to_string();
    let roles = |roles: &BTreeSet<Role>| list(roles.iter().map(|role| quoted(role.as_str())));
    vec![
        line("early_s", seconds(usual.early), rules.early.is_some()),
        line("grace_s", seconds(usual.grace), rules.grace.is_some()),
        line("max_length_s", seconds(usual.max_length), rules.max_length.is_some()),
        line("consent", list(usual.consent.iter().map(quoted)), rules.consent.is_some()),
        line("third_persons", roles(&usual.third_persons), rules.third_persons.is_some()),
        line("auto_admit", roles(&usual.auto_admit), rules.auto_admit.is_some()),
        line("professional_first", usual.professional_first.to_string(), rules.professional_first.is_some()),
        line("aside_allowed", usual.aside.allowed.to_string(), rules.aside_allowed.is_some()),
        line("aside_max_s", seconds(usual.aside.max), rules.aside_max.is_some()),
        line("aside_needs_consent", usual.aside.needs_consent.to_string(), rules.aside_needs_consent.is_some()),
        line("emergency_override", usual.emergency_override.to_string(), rules.emergency_override.is_some()),
        line("representative_required", usual.representative_required.to_string(), rules.representative_required.is_some()),
        line("pro_min_acr", usual.pro_min_acr.to_string(), rules.pro_min_acr.is_some()),
        line("refuse_second_use", (usual.second_use == SecondUse::Refuse).to_string(), rules.second_use.is_some()),
        line("max_seats", usual.max_seats.to_string(), rules.max_seats.is_some()),
        line("doctor_sees_waiting", usual.doctor_sees_waiting.to_string(), rules.doctor_sees_waiting.is_some()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_says_nothing() {
        let rules = resolve(RawRules::default(), "tenants[0].consultation").expect("nothing to refuse");
        assert_eq!(rules, TenantRules::default());
        assert!(rule_lines(&rules).iter().all(|line| !line.written));
    }

    #[test]
    fn what_is_printed_reads_back() {
        let strict = |value: &RuleLine| format!("{} = {}\n", value.key, value.value);
        let text: String = rule_lines(&TenantRules::default()).iter().map(strict).collect();
        let rules = resolve(toml::from_str(&text).expect("TOML"), "t").expect("the defaults are within their bounds");
        assert_eq!(rules.usual(), TenantRules::default().usual());
        assert!(rule_lines(&rules).iter().all(|line| line.written), "{text}");
    }
}
