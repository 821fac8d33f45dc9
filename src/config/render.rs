//! Prints what would run, as TOML without its secrets.

use super::Config;
use super::rules::{RuleLine, rule_lines};
use super::tenants::{IceServer, KeyMaterial, Tenant};
use crate::relay::command::Policy;
use std::fmt::{Display, Write as _};

/// What stands where a secret would.
const REDACTED: &str = "\"(redacted)\"";

impl Config {
    /// The whole configuration as it would run, every default filled in and every secret left out.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { http, media, limits, rooms, log, audit, ice_servers, tenants } = self;
        let mut page = Page::default();
        page.head("[http]");
        page.line("bind", list(http.bind.iter().map(quoted)));
        page.line("port", http.port);
        page.line("page_dir", quoted(http.page_dir.display()));
        page.line("public_url", quoted(&http.public_url));
        page.line("max_connections_per_address", http.max_connections_per_address);
        page.line("max_connections", http.max_connections);
        page.line("header_timeout_s", http.header_timeout.as_secs());
        page.head("[media]");
        page.line("bind", list(media.bind.iter().map(quoted)));
        page.line("udp_port", media.udp_port);
        page.line("udp_ports", list(media.udp_ports.iter()));
        page.line("advertise", list(media.advertise.iter().map(quoted)));
        page.line("workers", media.workers);
        page.line("pin_workers", media.pin_workers);
        page.line("gso", quoted(media.gso.as_str()));
        page.line("gro", quoted(media.gro.as_str()));
        page.line("adapt", media.adapt);
        page.line("coalesce_us", media.coalesce_us);
        page.head("[limits]");
        page.line("participants_per_room", limits.participants_per_room);
        page.line("max_participants", limits.max_participants);
        page.line("max_rooms", limits.max_rooms);
        page.line("max_joins_per_s", limits.max_joins_per_s);
        page.line("max_busy_percent", limits.max_busy_percent);
        page.line("max_delay_ms", limits.max_delay.as_millis());
        page.line("max_memory_mib", limits.max_memory_mib);
        page.line("publisher_packets_per_s", limits.publisher_packets_per_s);
        page.line("publisher_bytes_per_s", limits.publisher_bytes_per_s);
        page.head("[rooms]");
        page.line("empty_timeout_s", rooms.empty_timeout.as_secs());
        page.line("departure_timeout_s", rooms.departure_timeout.as_secs());
        page.line("resume_window_s", rooms.resume_window.as_secs());
        page.line("state_dir", quoted(rooms.state_dir.display()));
        page.head("[log]");
        page.line("level", quoted(log.level.as_str()));
        page.line("format", quoted(log.format.as_str()));
        page.head("[audit]");
        page.line("dir", quoted(audit.dir.display()));
        page.line("deployment", quoted(&audit.deployment));
        page.line("node", quoted(&audit.node));
        page.line("region", quoted(&audit.region));
        page.line("root_key_file", quoted(audit.root_key_file.display()));
        page.line("attestation_key_file", quoted(audit.attestation_key_file.display()));
        page.line("retention_days", audit.retention_days);
        page.line("reserve_mib", audit.reserve_mib);
        page.line("grace_min", audit.grace.as_secs() / 60);
        page.line("clock_file", quoted(audit.clock_file.display()));
        page.line("after_grace", quoted(audit.after_grace.as_str()));
        ice_servers.iter().for_each(|server| page.ice_server(server));
        tenants.iter().for_each(|tenant| page.tenant(tenant));
        page.0
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, head: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _infallible = writeln!(self.0, "{gap}{head}");
    }

    fn line(&mut self, key: &str, value: impl Display) {
        let _infallible = writeln!(self.0, "{key} = {value}");
    }

    fn ice_server(&mut self, server: &IceServer) {
        self.head("[[ice_servers]]");
        self.line("urls", list(server.urls.iter().map(quoted)));
        self.line("username", quoted(&server.username));
        if server.credential.is_some() {
            self.line("credential", REDACTED);
        }
    }

    fn tenant(&mut self, tenant: &Tenant) {
        self.head("[[tenants]]");
        self.line("name", quoted(tenant.id.as_str()));
        let policy = match tenant.policy {
            Policy::Open => "open",
            Policy::Consultation => "consultation",
        };
        self.line("policy", quoted(policy));
        self.line("join_lifetime_s", tenant.join_lifetime.map_or(0, |lifetime| lifetime.as_secs()));
        for webhook in &tenant.webhooks {
            self.head("[[tenants.webhooks]]");
            self.line("url", quoted(webhook.shown()));
            self.line("key", quoted(&webhook.key));
        }
        for key in &tenant.keys {
            self.head("[[tenants.keys]]");
            self.line("id", quoted(&key.id));
            self.line("algorithm", quoted(key.material.algorithm().as_str()));
            match &key.material {
                KeyMaterial::Hs256(_) => self.line("secret", REDACTED),
                KeyMaterial::EdDsa(_) | KeyMaterial::Es256(_) => self.line("public_key_file", "\"(read)\""),
            }
        }
        self.head("[tenants.consultation]");
        for RuleLine { key, value, written } in rule_lines(&tenant.rules) {
            match written {
                true => self.line(key, value),
                // As a comment, so that what is printed reads back as what was written.
                false => self.line(&format!("# {key}"), format!("{value} (not written: a call may choose)")),
            }
        }
    }
}

/// A TOML basic string; a TOML escape is the same as Rust's for what it shares, and `\u{…}` is not shared.
pub(super) fn quoted(value: impl Display) -> String {
    let mut out = String::from("\"");
    for character in value.to_string().chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if character.is_control() => {
                let _infallible = write!(out, "\\u{:04X}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

pub(super) fn list(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}
