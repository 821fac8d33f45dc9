//! A tenant's numbered events, pushed to an address of the tenant's own and signed as LiveKit signs webhooks, so that the
//! receivers in its server SDKs check them.
//!
//! One task for each address reads the tenant's log, as `GET /v1/events` does, and sends one event after the other. The log is the
//! queue: it is bounded, it never waits for a receiver, and what falls out of it is told by the next event's number. No call hears
//! of any of this. Addresses, keys and bodies reach no log and no metric.
//!
//! Entry point: [`Pusher::push`].

mod post;

use super::events::Event;
use super::register::Register;
use crate::auth::{Claims, KeyRing};
use crate::model::TenantId;
use crate::telemetry::metrics::Doors;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, Uri};
use post::Line;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use post::{NoTrust, Trust, trust};

/// Where a tenant's events go.
#[derive(Clone)]
pub struct Address {
    /// Whose events.
    pub tenant: TenantId,
    /// `http` or `https`, with a host.
    pub url: Uri,
    /// The tenant's key that signs; it must hold a secret.
    pub key: Arc<str>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// First pause after a failed attempt; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause: a receiver that is back hears of it within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a signature is good: for the attempt, and clocks that differ by minutes.
const SIGNED_FOR_S: u64 = 300;

/// How long to sleep when nothing happens; then the log is looked at anyway.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// What pushing needs of the node.
#[derive(Clone)]
pub struct Pusher {
    /// The logs.
    pub register: Arc<Register>,
    /// Signs.
    pub keys: Arc<KeyRing>,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Counts, without saying whose.
    pub counts: Arc<Doors>,
    /// Who vouches for receivers behind https.
    pub trust: Trust,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pusher")
    }
}

/// An event as it is sent: that of `GET /v1/events` with the fields of a LiveKit webhook beside it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    /// The same as `type`.
    event: &'a str,
    /// The same in every attempt.
    id: String,
    /// Seconds since the Unix epoch; protobuf's JSON writes 64 bits as text.
    created_at: String,
    /// Events between the last one sent and this one that will never be.
    #[serde(skip_serializing_if = "is_zero")]
    num_dropped: u64,
    room: Named<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<Seated<'a>>,
    log: &'a str,
    #[serde(flatten)]
    told: &'a Event,
}

#[derive(Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    name: &'a str,
}

#[derive(Serialize)]
struct Seated<'a> {
    identity: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls it with")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl<'a> Message<'a> {
    fn of(event: &'a Event, log: &'a str, num_dropped: u64) -> Self {
        let sid = event.facts.as_ref().and_then(|facts| facts.get("sid")).and_then(serde_json::Value::as_str);
        Self {
            event: event.kind,
            id: format!("EV_{log}_{}", event.number),
            created_at: (event.at_ms / 1_000).to_string(),
            num_dropped,
            room: Named { sid, name: &event.consultation },
            participant: event.seat.as_deref().map(|identity| Seated { identity }),
            log,
            told: event,
        }
    }
}

/// What an answer means for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It was taken.
    Taken,
    /// It will be: again after a pause.
    Later,
    /// It never will.
    Never,
}

fn verdict(status: StatusCode) -> Verdict {
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    match status {
        _ if status.is_success() => Verdict::Taken,
        _ if status.is_server_error() || later.contains(&status) => Verdict::Later,
        _ => Verdict::Never,
    }
}

impl Pusher {
    /// Pushes a tenant's events to one address, in order, for as long as it is polled.
    pub async fn push(self, to: Address) {
        let mut line = Line::new(to.url.clone(), self.trust.clone());
        let (mut after, mut lost) = (0, 0);
        loop {
            let told = self.register.events(&to.tenant, after, LOOK_EVERY).await;
            for event in &told.events {
                lost += event.number.saturating_sub(after.saturating_add(1));
                let message = Message::of(event, &told.log, lost);
                // Only plain values are in it.
                if let Ok(body) = serde_json::to_vec(&message) {
                    self.counts.webhooks_lost.add(lost);
                    self.deliver(&mut line, &to.key, &body).await;
                }
                (after, lost) = (event.number, 0);
            }
            lost += told.next.saturating_sub(after);
            after = told.next;
        }
    }

    /// Sends one event until it is taken or refused for good.
    async fn deliver(&self, line: &mut Line, key: &str, body: &[u8]) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(token) = self.sign(key, body) else { return self.counts.webhooks_refused.up() };
            let answer = line.post(body, &token).await;
            match answer.map_or(Verdict::Later, verdict) {
                Verdict::Taken => return self.counts.webhooks_delivered.up(),
                Verdict::Never => {
                    tracing::warn!("a webhook receiver refused an event; it is not sent again, GET /v1/events has it");
                    return self.counts.webhooks_refused.up();
                }
                Verdict::Later => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!("a webhook receiver did not take an event; it and those behind it wait");
                    }
                    self.counts.webhooks_retried.up();
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// A token over the body, as LiveKit's receivers ask for it: `sha256` of the body in base64.
    fn sign(&self, key: &str, body: &[u8]) -> Option<String> {
        let now = (self.wall_ms)() / 1_000;
        let sha256 = STANDARD.encode(digest::digest(&digest::SHA256, body));
        let claims = Claims {
            nbf: Some(now),
            iat: Some(now),
            exp: Some(now.saturating_add(SIGNED_FOR_S)),
            sha256: Some(sha256),
            ..Claims::default()
        };
        self.keys.find(key)?.mint(&claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str, seat: Option<&str>) -> Event {
        let facts = Some(serde_json::json!({ "sid": "RM_1" }));
        Event { number: 7, at_ms: 1_795_310_613_250, kind, consultation: "c-1".into(), seat: seat.map(Into::into), facts }
    }

    #[test]
    fn a_message_is_the_event_and_a_livekit_webhook() {
        let event = event("consultation.opened", Some("d"));
        let told = serde_json::to_value(Message::of(&event, "log", 0)).expect("plain values");
        let wanted = serde_json::json!({
            "event": "consultation.opened", "id": "EV_log_7", "createdAt": "1795310613",
            "room": { "sid": "RM_1", "name": "c-1" }, "participant": { "identity": "d" }, "log": "log",
            "number": 7, "at_ms": 1_795_310_613_250_u64, "type": "consultation.opened", "consultation": "c-1", "seat": "d",
            "facts": { "sid": "RM_1" },
        });
        assert_eq!(told, wanted);
        assert_eq!(serde_json::to_value(Message::of(&event, "log", 3)).expect("plain values")["numDropped"], 3);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, wanted) in [
            (200, Verdict::Taken),
            (204, Verdict::Taken),
            (301, Verdict::Never),
            (401, Verdict::Never),
            (404, Verdict::Never),
            (408, Verdict::Later),
            (429, Verdict::Later),
            (500, Verdict::Later),
            (503, Verdict::Later),
        ] {
            assert_eq!(verdict(StatusCode::from_u16(status).expect("a status")), wanted, "{status}");
        }
    }
}
