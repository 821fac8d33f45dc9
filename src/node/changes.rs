//! What changed in the configuration since the node's last start, for the record: names of settings, never values.
//!
//! Beside the logs lies a file with a hash for each setting, the tenants and the ids of their keys. Comparing it with the
//! configuration of now is pure; [`Seen::changes`] says what the record is to hold before anything new is active.

use crate::audit::event::Event;
use crate::audit::tree::sha256;
use crate::audit::types::{Hash, Word};
use crate::audit::words::KeyUse;
use crate::config::{Config, Tenant, rule_lines};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Name of the file in the audit folder.
pub(super) const FILE: &str = "configuration";

/// Settings named in one event; an entry has room for some two hundred of the usual length.
const MOST_NAMED: usize = 64;

/// A configuration as far as the record knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Hash of the value by name, without the tenants.
    settings: BTreeMap<String, String>,
    tenants: BTreeMap<String, TenantSeen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TenantSeen {
    settings: BTreeMap<String, String>,
    keys: BTreeSet<String>,
}

impl Seen {
    /// The configuration of now.
    pub(super) fn now(config: &Config) -> Self {
        let (mut settings, mut section) = (BTreeMap::new(), None);
        for line in config.render().lines() {
            if let Some(head) = line.strip_prefix('[') {
                // Lists of tenants and servers have no names of settings to tell.
                let named = |head: &&str| !head.starts_with('[') && !head.starts_with("tenants");
                section = head.strip_suffix(']').filter(named).map(str::to_owned);
            } else if let (Some(section), Some((key, value))) = (&section, line.split_once(" = ")) {
                settings.insert(format!("{section}.{key}"), short(value));
            }
        }
        let servers: Vec<_> = config.ice_servers.iter().map(|server| (&server.urls, &server.username)).collect();
        settings.insert("ice_servers".to_owned(), short(&format!("{servers:?}")));
        let tenants = config.tenants.iter().map(|tenant| (tenant.id.as_str().to_owned(), TenantSeen::now(tenant))).collect();
        Self { settings, tenants }
    }

    /// Reads the file; lines of a later version are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut seen = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["setting", name, hash] => {
                    seen.settings.insert((*name).to_owned(), (*hash).to_owned());
                }
                ["tenant", tenant, name, hash] => {
                    let tenant = seen.tenants.entry((*tenant).to_owned()).or_default();
                    tenant.settings.insert((*name).to_owned(), (*hash).to_owned());
                }
                ["key", tenant, id] => {
                    seen.tenants.entry((*tenant).to_owned()).or_default().keys.insert((*id).to_owned());
                }
                _ => {}
            }
        }
        seen
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, hash) in &self.settings {
            let _infallible = writeln!(text, "setting {name} {hash}");
        }
        for (tenant, seen) in &self.tenants {
            for (name, hash) in &seen.settings {
                let _infallible = writeln!(text, "tenant {tenant} {name} {hash}");
            }
            for id in &seen.keys {
                let _infallible = writeln!(text, "key {tenant} {id}");
            }
        }
        text
    }

    /// What the record is to hold of a change from `before`, and of whose tenant it is.
    pub(super) fn changes(&self, before: &Self) -> Vec<(Option<Word>, Event)> {
        let mut events = Vec::new();
        // At the very first start there is nothing that could have changed.
        if !before.settings.is_empty() && before.settings != self.settings {
            let keys_changed = changed(&before.settings, &self.settings);
            let (old_hash, new_hash) = (hash_of(&before.settings), hash_of(&self.settings));
            events.push((None, Event::NodeConfigChanged { keys_changed, new_hash, old_hash }));
        }
        for (name, seen) in &self.tenants {
            let Ok(tenant) = Word::new(name) else { continue };
            let new_hash = hash_of(&seen.settings);
            let Some(known) = before.tenants.get(name) else {
                events.push((Some(tenant), Event::TenantRegistered { policy_hash: new_hash }));
                continue;
            };
            if known.settings != seen.settings {
                let keys_changed = changed(&known.settings, &seen.settings);
                let event = Event::TenantPolicyChanged { keys_changed, new_hash, old_hash: hash_of(&known.settings) };
                events.push((Some(tenant.clone()), event));
            }
            events.extend(rotations(&known.keys, &seen.keys).into_iter().map(|event| (Some(tenant.clone()), event)));
        }
        for name in before.tenants.keys().filter(|name| !self.tenants.contains_key(*name)) {
            // Its log is no longer written on this node: the node's own says it.
            let keys_changed = Word::new(&format!("tenants.{name}")).into_iter().collect();
            let (old_hash, new_hash) = (hash_of(&before.settings), hash_of(&self.settings));
            events.push((None, Event::NodeConfigChanged { keys_changed, new_hash, old_hash }));
        }
        events
    }
}

impl TenantSeen {
    fn now(tenant: &Tenant) -> Self {
        let lifetime = tenant.join_lifetime.map_or(0, |lifetime| lifetime.as_secs());
        let settings = [("policy", format!("{:?}", tenant.policy)), ("join_lifetime_s", lifetime.to_string())];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        let rules = rule_lines(&tenant.rules).into_iter().filter(|line| line.written);
        let rules = rules.map(|line| (format!("consultation.{}", line.key), line.value));
        let hooks = tenant.webhooks.iter().map(|hook| format!("{} {}", hook.url, hook.key)).collect::<Vec<_>>().join("\n");
        let hooks = (!hooks.is_empty()).then(|| ("webhooks".to_owned(), hooks));
        Self {
            settings: settings.into_iter().chain(rules).chain(hooks).map(|(name, value)| (name, short(&value))).collect(),
            // An id with other letters cannot stand in the record.
            keys: tenant.keys.iter().map(|key| key.id.clone()).filter(|id| Word::new(id).is_ok()).collect(),
        }
    }
}

/// Every key that came, with one that went, or else one that was there before; and every key that only went.
fn rotations(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<Event> {
    let mut gone = before.difference(now);
    let word = |id: &String| Word::new(id).ok();
    let event = |new: &String, old: &String| {
        Some(Event::TenantKeyRotated { new_kid: word(new)?, old_kid: word(old)?, purpose: KeyUse::Token })
    };
    let mut events: Vec<_> =
        now.difference(before).filter_map(|new| event(new, gone.next().or_else(|| before.first()).unwrap_or(new))).collect();
    events.extend(gone.filter_map(|old| event(now.first().unwrap_or(old), old)));
    events
}

fn changed(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Word> {
    let names: BTreeSet<_> = before.keys().chain(now.keys()).filter(|name| before.get(*name) != now.get(*name)).collect();
    names.into_iter().filter_map(|name| Word::new(name).ok()).take(MOST_NAMED).collect()
}

fn hash_of(settings: &BTreeMap<String, String>) -> Hash {
    let text = settings.iter().fold(String::new(), |text, (name, hash)| format!("{text}{name} {hash}\n"));
    sha256(text.as_bytes())
}

/// Enough of a hash to see that a value is another one.
fn short(value: &str) -> String {
    let Hash(hash) = sha256(value.as_bytes());
    hash.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn seen(text: &str) -> Seen {
        let whole = format!("{text}\n[[tenants]]\nname = \"t\"\n[[tenants.keys]]\nid = \"k1\"\nsecret = \"{SECRET}\"\n");
        Seen::now(&Config::parse(&whole, "test", std::path::Path::new("."), Mode::Production).expect("a configuration"))
    }

    fn names(events: &[(Option<Word>, Event)]) -> Vec<&'static str> {
        events.iter().map(|(_, event)| event.name()).collect()
    }

    #[test]
    fn the_file_says_what_was_and_no_value() {
        let now = seen("[http]\nport = 7999");
        assert_eq!(Seen::parse(&now.text()), now);
        assert!(!now.text().contains("7999") && !now.text().contains(SECRET));
        assert!(now.changes(&now).is_empty());
        assert_eq!(names(&now.changes(&Seen::default())), ["tenant.registered"]);
    }

    #[test]
    fn a_changed_rule_of_a_tenant_is_a_change_of_its_policy_and_not_of_the_node() {
        let tenant = |rules: &str| {
            let keys = format!("keys = [{{ id = \"k\", secret = \"{SECRET}\" }}]");
            let whole = format!("[[tenants]]\nname = \"t\"\n{keys}\n[tenants.consultation]\n{rules}\n");
            Seen::now(&Config::parse(&whole, "test", std::path::Path::new("."), Mode::Production).expect("a configuration"))
        };
        let (free, strict) = (tenant(""), tenant("emergency_override = false\nmax_seats = 3"));
        let events = strict.changes(&free);
        let [(Some(whose), Event::TenantPolicyChanged { keys_changed, new_hash, old_hash })] = events.as_slice() else {
            panic!("{events:?}")
        };
        let named: Vec<_> = keys_changed.iter().map(Word::as_str).collect();
        assert_eq!((whose.as_str(), named), ("t", vec!["consultation.emergency_override", "consultation.max_seats"]));
        assert_ne!(new_hash, old_hash);
        assert_eq!(tenant("max_seats = 3").changes(&tenant("max_seats = 4")).len(), 1);
        assert!(strict.changes(&strict).is_empty());
    }

    #[test]
    fn a_changed_setting_is_named() {
        let events = seen("[http]\nport = 7999").changes(&seen("[http]\nport = 7998"));
        let [(None, Event::NodeConfigChanged { keys_changed, new_hash, old_hash })] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(keys_changed, &[Word::new("http.port").expect("a word")]);
        assert_ne!(new_hash, old_hash);
    }

    #[test]
    fn keys_that_come_and_go_are_named() {
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        let told = |before: &[&str], now: &[&str]| {
            let pair = |event: &Event| {
                let Event::TenantKeyRotated { new_kid, old_kid, .. } = event else { panic!("{event:?}") };
                (old_kid.as_str().to_owned(), new_kid.as_str().to_owned())
            };
            rotations(&set(before), &set(now)).iter().map(pair).collect::<Vec<_>>()
        };
        let pair = |old: &str, new: &str| (old.to_owned(), new.to_owned());
        assert_eq!(told(&["a"], &["b"]), [pair("a", "b")]);
        assert_eq!(told(&["a"], &["a", "b"]), [pair("a", "b")], "the old one still works");
        assert_eq!(told(&["a", "b"], &["b"]), [pair("a", "b")], "now it does not");
        assert_eq!(told(&["a", "b"], &["a", "b"]), []);
    }
}
