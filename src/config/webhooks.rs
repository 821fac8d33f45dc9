//! `webhooks` of a tenant: where its events are pushed, and which of its keys signs them.

use super::error::Fault;
use super::tenants::{Key, KeyMaterial};
use http::Uri;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;

/// Addresses of one tenant: each is a task, and reads the tenant's events for itself.
const MOST: usize = 4;

/// Longest address, in bytes: what a request line takes anywhere.
const LONGEST_URL: usize = 2_048;

/// Where a tenant's events are pushed. The address may hold a secret, so it is never printed.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// The address.
    pub url: Uri,
    /// The id of the tenant's key that signs.
    pub key: String,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook(…)")
    }
}

impl Webhook {
    /// The address without what may be secret in it.
    #[must_use]
    pub fn shown(&self) -> String {
        let (scheme, host) = (self.url.scheme_str().unwrap_or_default(), self.url.authority().map_or("", |host| host.as_str()));
        format!("{scheme}://{host}/(redacted)")
    }
}

/// A webhook as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebhook {
    #[serde(default)]
    url: Address,
    #[serde(default)]
    key: String,
}

/// An address that a complaint does not repeat.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Address(String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// Turns the list into typed ones; `path` is the tenant's, `keys` are its keys.
pub(super) fn resolve(raw: Vec<RawWebhook>, keys: &[Key], path: &str) -> Result<Vec<Webhook>, Fault> {
    if raw.len() > MOST {
        return Err(Fault::of(format!("{path}.webhooks"), Some(format!("{} addresses", raw.len()))));
    }
    let one = |(at, RawWebhook { url, key }): (usize, RawWebhook)| {
        let place = |name: &str| format!("{path}.webhooks[{at}].{name}");
        let url = address(&url.0).ok_or_else(|| Fault::of(place("url"), None))?;
        let signs = |known: &Key| known.id == key && matches!(known.material, KeyMaterial::Hs256(_));
        if !keys.iter().any(signs) {
            return Err(Fault::of(place("key"), Some(format!("{key:?}"))));
        }
        Ok(Webhook { url, key })
    };
    raw.into_iter().enumerate().map(one).collect()
}

/// https anywhere, http to names and to addresses inside a site; what a name resolves to is looked at when it is called.
fn address(text: &str) -> Option<Uri> {
    let url: Uri = Some(text).filter(|text| text.len() <= LONGEST_URL && !text.contains('#'))?.parse().ok()?;
    let host = url.host().filter(|host| !host.is_empty())?;
    // Who calls is said by the signature.
    let plain = !url.authority()?.as_str().contains('@');
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let inside = match literal.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Some(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        None => true,
    };
    let fits = match url.scheme_str() {
        Some("https") => true,
        Some("http") => inside,
        _ => false,
    };
    (fits && plain).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_goes_anywhere_and_http_stays_inside() {
        for good in ["https://platform.example/hook?t=1", "http://127.0.0.1:8080/h", "http://[::1]/h", "http://platform:80/"] {
            assert!(address(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "ftp://a/",
            "platform.example",
            "http://203.0.113.7/h",
            "http://[2001:db8::1]/",
            "https://",
            "https://u:p@a/",
            "https://a/#x",
        ] {
            assert!(address(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_has_neither_path_nor_query() {
        let hook = Webhook { url: Uri::from_static("https://platform.example:8443/a/b?token=x"), key: "k".to_owned() };
        assert_eq!(hook.shown(), "https://platform.example:8443/(redacted)");
        assert_eq!(format!("{hook:?}"), "Webhook(…)");
    }
}
