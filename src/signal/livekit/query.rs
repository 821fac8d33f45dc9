//! The parameters of the older `/rtc`: what a client with two peer connections asks, one by one and all of them optional.

use super::join::{BASE64, BadJoin, MAX_CAPABILITIES, Wish};
use crate::model::ParticipantSid;
use crate::model::roster::ClientFacts;
use axum::extract::Query;
use base64::Engine;
use http::Uri;
use livekit_protocol as proto;
use serde::Deserialize;
use std::collections::BTreeMap;

/// As texts: an odd value is no reason to refuse, LiveKit's own server takes it for the default.
#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    client_protocol: String,
    #[serde(default)]
    browser: String,
    #[serde(default)]
    capabilities: String,
    auto_subscribe: Option<String>,
    #[serde(default)]
    adaptive_stream: String,
    #[serde(default)]
    reconnect: String,
    #[serde(default)]
    sid: String,
    #[serde(default)]
    publish: String,
    #[serde(default)]
    attributes: String,
}

/// Reads them; those that are unknown or say nothing here are left out.
///
/// # Errors
/// [`BadJoin::Malformed`] for attributes that do not decode, [`BadJoin::TooLarge`] for too many capabilities,
/// [`BadJoin::PublishOnly`] for a second connection of the same participant.
pub(super) fn read(uri: &Uri) -> Result<Wish, BadJoin> {
    let Query(asked): Query<Parameters> = Query::try_from_uri(uri).map_err(|_| BadJoin::Malformed)?;
    if !asked.publish.is_empty() {
        return Err(BadJoin::PublishOnly);
    }
    let mut capabilities = Vec::new();
    for name in asked.capabilities.split(',').filter(|name| !name.is_empty()) {
        if capabilities.len() == MAX_CAPABILITIES {
            return Err(BadJoin::TooLarge);
        }
        // One that is newer than this server means nothing to it.
        capabilities.extend(proto::client_info::Capability::from_str_name(name).map(|known| known as i32));
    }
    Ok(Wish {
        client: ClientFacts {
            protocol: asked.protocol.parse().unwrap_or(0),
            client_protocol: asked.client_protocol.parse().unwrap_or(0),
            capabilities,
            firefox: asked.browser.eq_ignore_ascii_case("firefox"),
        },
        auto_subscribe: asked.auto_subscribe.is_none_or(|value| is_true(&value)),
        adaptive_stream: is_true(&asked.adaptive_stream),
        attributes: attributes(&asked.attributes)?,
        two_connections: true,
        reconnect: is_true(&asked.reconnect),
        participant: (!asked.sid.is_empty()).then(|| ParticipantSid::new(asked.sid)),
        ..Wish::default()
    })
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "true")
}

/// A JSON object in base64; an empty value does not delete.
fn attributes(parameter: &str) -> Result<BTreeMap<String, String>, BadJoin> {
    if parameter.is_empty() {
        return Ok(BTreeMap::new());
    }
    let json = BASE64.decode(parameter).map_err(|_| BadJoin::Malformed)?;
    let mut attributes: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| BadJoin::Malformed)?;
    attributes.retain(|_, value| !value.is_empty());
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Wish, BadJoin> {
        let path = format!("/rtc?access_token=x&{query}").parse();
        read(&path.map_err(|_| BadJoin::Malformed)?)
    }

    #[test]
    fn what_is_missing_means_the_default() {
        let wish = asked("").expect("nothing is needed");
        assert!(wish.auto_subscribe, "unlike in a join request");
        assert!(wish.two_connections && !wish.reconnect && !wish.adaptive_stream && wish.participant.is_none());
        assert_eq!(wish.client.protocol, 0);
    }

    #[test]
    fn a_browsers_own_parameters_are_read() {
        let wish = asked(
            "auto_subscribe=0&sdk=js&version=2.23.0&protocol=17&client_protocol=2&browser=Firefox&adaptive_stream=1&reconnect=1\
             &sid=PA_x&reconnect_reason=1&capabilities=CAP_PACKET_TRAILER,CAP_FROM_TOMORROW",
        )
        .expect("a good query");
        assert!(!wish.auto_subscribe && wish.adaptive_stream && wish.reconnect && wish.client.firefox);
        assert_eq!((wish.client.protocol, wish.client.client_protocol), (17, 2));
        assert_eq!(wish.participant, Some(ParticipantSid::new("PA_x")));
        assert_eq!(wish.client.capabilities.len(), 1);
    }

    #[test]
    fn attributes_decode_or_the_join_is_refused() {
        let encoded = BASE64.encode(br#"{"lang":"fr","gone":""}"#);
        let wish = asked(&format!("attributes={encoded}")).expect("good attributes");
        assert_eq!(wish.attributes, BTreeMap::from([("lang".to_owned(), "fr".to_owned())]));
        assert_eq!(asked("attributes=%%25").err(), Some(BadJoin::Malformed));
        assert_eq!(asked(&format!("attributes={}", BASE64.encode("[1]"))).err(), Some(BadJoin::Malformed));
    }

    #[test]
    fn a_second_connection_for_publishing_is_refused_by_name() {
        assert_eq!(asked("publish=screen").err(), Some(BadJoin::PublishOnly));
    }
}
