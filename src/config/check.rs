//! The rules a typed configuration keeps beyond its types.

use super::error::Fault;
use super::{Config, MOST_COALESCE_US, MOST_WORKERS};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

/// Longest name of a tenant or id of a key, in bytes: they are compared and printed, not stories.
const LONGEST_NAME: usize = 64;

impl Config {
    /// Finds the first rule that is broken.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.check_http()?;
        self.check_media()?;
        self.check_limits()?;
        self.check_rooms()?;
        self.audit.check()?;
        self.check_ice_servers()?;
        self.check_tenants()
    }

    fn check_http(&self) -> Result<(), Fault> {
        let http = &self.http;
        addresses("http.bind", &http.bind, true)?;
        ensure(http.port != 0, "http.port", || http.port.to_string())?;
        let url = http.public_url.as_str();
        let address = ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|host| !host.is_empty()));
        ensure((url.is_empty() || address) && !url.contains(['#', '?']), "http.public_url", || format!("{url:?}"))?;
        between("http.header_timeout_s", http.header_timeout, 1, 60)
    }

    fn check_media(&self) -> Result<(), Fault> {
        let media = &self.media;
        addresses("media.bind", &media.bind, true)?;
        addresses("media.advertise", &media.advertise, false)?;
        for address in &media.advertise {
            ensure(!address.is_unspecified() && !address.is_multicast(), "media.advertise", || address.to_string())?;
        }
        ensure(media.udp_port != 0, "media.udp_port", || media.udp_port.to_string())?;
        ensure(media.workers <= MOST_WORKERS, "media.workers", || media.workers.to_string())?;
        ensure(media.coalesce_us <= MOST_COALESCE_US, "media.coalesce_us", || media.coalesce_us.to_string())?;
        let ports = &media.udp_ports;
        let sound = !ports.contains(&0) && all_different(ports) && ports.len() <= usize::from(MOST_WORKERS);
        ensure(sound, "media.udp_ports", || format!("{ports:?}"))?;
        if media.workers != 0 && !ports.is_empty() && ports.len() != usize::from(media.workers) {
            return Err(Fault::new(
                "media.udp_ports",
                Some(format!("{ports:?}")),
                &format!("as many ports as media.workers ({})", media.workers),
                "list one port per worker, or write workers = 0",
            ));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Fault> {
        let limits = &self.limits;
        // Newcomers to running rooms are let in a little longer, which needs room below the whole.
        ensure(limits.max_busy_percent <= 95, "limits.max_busy_percent", || limits.max_busy_percent.to_string())?;
        ensure(limits.max_delay <= Duration::from_secs(1), "limits.max_delay_ms", || limits.max_delay.as_millis().to_string())
    }

    fn check_rooms(&self) -> Result<(), Fault> {
        between("rooms.empty_timeout_s", self.rooms.empty_timeout, 1, 86_400)?;
        between("rooms.departure_timeout_s", self.rooms.departure_timeout, 0, 86_400)?;
        between("rooms.resume_window_s", self.rooms.resume_window, 30, 600)
    }

    fn check_ice_servers(&self) -> Result<(), Fault> {
        for (at, server) in self.ice_servers.iter().enumerate() {
            let known = |url: &String| ["stun:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme));
            let sound = !server.urls.is_empty() && server.urls.iter().all(known);
            ensure(sound, format!("ice_servers[{at}].urls"), || format!("{:?}", server.urls))?;
        }
        Ok(())
    }

    fn check_tenants(&self) -> Result<(), Fault> {
        let (mut names, mut ids) = (HashSet::new(), HashSet::new());
        for (at, tenant) in self.tenants.iter().enumerate() {
            let name = tenant.id.as_str();
            ensure(is_name(name) && names.insert(name), format!("tenants[{at}].name"), || format!("{name:?}"))?;
            if tenant.keys.is_empty() {
                return Err(Fault::of(format!("tenants[{at}].keys"), None));
            }
            for (key_at, key) in tenant.keys.iter().enumerate() {
                let sound = is_name(&key.id) && ids.insert(key.id.as_str());
                ensure(sound, format!("tenants[{at}].keys[{key_at}].id"), || format!("{:?}", key.id))?;
            }
        }
        Ok(())
    }
}

pub(super) fn ensure(holds: bool, path: impl Into<String>, value: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::of(path, Some(value()))) }
}

fn between(path: &str, value: Duration, least: u64, most: u64) -> Result<(), Fault> {
    ensure((least..=most).contains(&value.as_secs()), path, || value.as_secs().to_string())
}

fn addresses(path: &str, list: &[IpAddr], needed: bool) -> Result<(), Fault> {
    ensure((!needed || !list.is_empty()) && all_different(list), path, || format!("{list:?}"))
}

fn all_different<T: std::hash::Hash + Eq>(list: &[T]) -> bool {
    list.iter().collect::<HashSet<_>>().len() == list.len()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != ':')
}
