//! The API in front of a relay in which no room is open, or one that answers as told.

use super::*;
use crate::api::scribe;
use crate::auth::{Claims, Key, RoomPolicy, VideoClaims};
use crate::model::{Identity, TenantId};
use crate::relay::command::{Arranged, Busy, Plans, TenantRules};
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use zeroize::Zeroizing;

const NOW_S: u64 = 1_795_310_613;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Every act that reached a room: who, and what.
type Acts = Arc<Mutex<Vec<(By, String)>>>;

/// Answers acts with what is written down for them; without it no room is open.
#[derive(Default)]
struct Rooms {
    answer: Mutex<Option<Result<(), Refusal>>>,
    acts: Acts,
}

impl Relay for Rooms {
    fn send(&self, command: Command) -> Result<(), Busy> {
        let Command::Admin { action, reply, .. } = command else { return Err(Busy) };
        let answer = *self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let AdminAction::Consult { by, act, .. } = &action
            && answer.is_some()
        {
            self.acts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((by.clone(), format!("{act:?}")));
        }
        (reply.0)(match answer {
            None => Err(Refusal::NoSuchRoom),
            Some(Ok(())) => Ok(AdminReply::Done),
            Some(Err(refusal)) => Err(refusal),
        });
        Ok(())
    }

    fn ready(&self) -> bool {
        true
    }

    fn shards(&self) -> usize {
        1
    }
}

/// Keeps notes, and says of them what it is told to.
#[derive(Default)]
struct Notes {
    fails: std::sync::atomic::AtomicBool,
    kept: Mutex<Vec<String>>,
}

impl Scribe for Notes {
    fn note(&self, note: scribe::Note, done: scribe::Done) {
        let seat = note.seat.as_ref().map_or("", Identity::as_str);
        let room = note.room.as_ref().map_or("", |room| room.name.as_str());
        let what = format!("{:?}", note.what);
        let words = [&*note.key, room, seat, &what];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        self.kept.lock().expect("no panic").push(words.join(" "));
        done(!self.fails.load(std::sync::atomic::Ordering::Relaxed));
    }

    fn follows(&self, _: &RoomKey) -> bool {
        false
    }
}

struct Api {
    notes: Arc<Notes>,
    v1: V1,
    rooms: Arc<Rooms>,
}

fn key(id: &str, tenant: &str) -> Key {
    let secret = Zeroizing::new(SECRET.to_owned());
    Key::shared(id, TenantId::new(tenant), RoomPolicy::Consultation, &secret).expect("a good key")
}

fn api() -> Api {
    let rooms = Arc::new(Rooms::default());
    let notes = Arc::new(Notes::default());
    let v1 = V1 {
        witness: Arc::new(crate::auth::Nobody),
        scribe: notes.clone(),
        relay: rooms.clone(),
        keys: Arc::new(KeyRing::new([key("a", "clinic-a"), key("b", "clinic-b")]).expect("different ids")),
        revocations: Arc::default(),
        wall_ms: Arc::new(|| NOW_S * 1_000),
        register: Arc::default(),
        ledger: Arc::new(NoLedger),
        public_url: Some("https://visit.example".into()),
    };
    Api { v1, rooms, notes }
}

/// A token of the platform for everything of its tenant.
fn platform(id: &str) -> String {
    sign(id, Claims { video: Some(VideoClaims { room_create: Some(true), ..VideoClaims::default() }), ..Claims::default() })
}

fn seat(room: &str, identity: &str, role: &str) -> String {
    let video = VideoClaims { room_join: Some(true), room_admin: Some(true), room: Some(room.into()), ..VideoClaims::default() };
    let attributes = BTreeMap::from([("consultation.role".to_owned(), role.to_owned())]);
    sign("a", Claims { sub: Some(identity.into()), video: Some(video), attributes: Some(attributes), ..Claims::default() })
}

fn sign(id: &str, claims: Claims) -> String {
    let claims = Claims { nbf: Some(NOW_S), exp: Some(NOW_S + 600), ..claims };
    key(id, "").mint(&claims).expect("a shared key")
}

impl Api {
    async fn send(&self, method: &str, path: &str, token: &str, body: Value) -> (u16, http::HeaderMap, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "relay.example");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body).expect("a request");
        let answer = TowerToHyperService::new(routes(self.v1.clone())).call(request).await.expect("never fails");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> (u16, Value) {
        let (status, _, answer) = self.send(method, path, token, body).await;
        (status, answer)
    }

    async fn arranged(&self) -> String {
        let asked = json!({ "id": "c1", "ends_at": NOW_S + 3_600 });
        let (status, answer) = self.call("POST", "/v1/consultations", &platform("a"), asked).await;
        assert_eq!(status, 201, "{answer}");
        platform("a")
    }

    async fn invited(&self, token: &str, seat: &str, role: &str) -> Value {
        let asked = json!({ "seat": seat, "role": role });
        let (status, answer) = self.call("POST", "/v1/consultations/c1/seats", token, asked).await;
        assert_eq!(status, 201, "{answer}");
        answer
    }

    fn plan(&self) -> Vec<String> {
        match self.v1.register.arranged(&register::room(&TenantId::new("clinic-a"), "c1")) {
            Arranged::Plan(plan) => plan.acts.iter().map(|act| format!("{act:?}")).collect(),
            Arranged::Nothing | Arranged::Over => Vec::new(),
        }
    }
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let api = api();
    let document = serde_json::to_value(document()).expect("plain values");
    let described: BTreeSet<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    let routed: BTreeSet<String> = table().iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(described, routed);
    let operations: Vec<_> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|path| path.as_object().expect("methods").values().filter_map(|operation| operation["operationId"].as_str()))
        .collect();
    assert_eq!(operations.iter().collect::<BTreeSet<_>>().len(), operations.len(), "names for generated clients");
    for path in &described {
        let methods = document["paths"][path].as_object().expect("methods");
        for method in ["get", "post", "delete", "put", "patch"] {
            let (status, answer) = api.call(&method.to_uppercase(), &path.replace(['{', '}'], ""), "", Value::Null).await;
            assert_eq!(methods.contains_key(method), status != 405, "{method} {path}: {status} {answer}");
        }
    }
}

#[tokio::test]
async fn every_error_is_a_problem_with_a_remedy() {
    let api = api();
    let token = api.arranged().await;
    let calls = [
        ("GET", "/v1/nothing", "", Value::Null, 404, "not_found"),
        ("PUT", "/v1/events", "", Value::Null, 405, "method_not_allowed"),
        ("GET", "/v1/events", "", Value::Null, 401, "unauthenticated"),
        ("GET", "/v1/events", "x.y.z", Value::Null, 401, "unauthenticated"),
        ("GET", "/v1/events?after=x", &token, Value::Null, 400, "bad_body"),
        ("POST", "/v1/consultations", &token, json!({ "recording": true }), 400, "bad_body"),
        ("POST", "/v1/consultations", &token, json!({ "id": "" }), 422, "invalid"),
        ("POST", "/v1/consultations", &token, json!({ "ends_at": 5 }), 410, "ended"),
        ("POST", "/v1/consultations", &token, json!({ "id": "c1" }), 409, "conflict"),
        ("GET", "/v1/consultations/other", &token, Value::Null, 404, "not_found"),
        ("POST", "/v1/consultations/c1/lock", &token, Value::Null, 409, "not_open"),
        ("POST", "/v1/consultations/c1/aside", &token, json!({ "members": ["a"] }), 422, "invalid"),
        ("POST", "/v1/consultations/c1/seats/x/admit", &token, Value::Null, 404, "not_found"),
        ("POST", "/v1/links", "", json!({ "code": "x" }), 404, "not_found"),
    ];
    for (method, path, token, body, status, code) in calls {
        let (got, headers, answer) = api.send(method, path, token, body).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{method} {path}: {answer}");
        assert_eq!(headers[header::CONTENT_TYPE], problem::MEDIA_TYPE);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer}");
        let (known, _) = api.call("GET", answer["type"].as_str().expect("a type"), "", Value::Null).await;
        assert_eq!(known, 200);
    }
    let (status, headers, _) = api.send("OPTIONS", "/v1/consultations", "", Value::Null).await;
    assert_eq!(status, 204);
    assert!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().expect("text").contains("Authorization"));
}

#[tokio::test]
async fn who_may_call_is_decided_by_the_kind_of_token() {
    let api = api();
    let token = api.arranged().await;
    // A seat's token is no platform's, whatever it grants; and another tenant finds nothing.
    let doctor = seat("c1", "d", "doctor");
    let one_room = sign(
        "a",
        Claims {
            video: Some(VideoClaims { room_admin: Some(true), room: Some("c1".into()), ..VideoClaims::default() }),
            ..Claims::default()
        },
    );
    let show = async |token: String| api.call("GET", "/v1/consultations/c1", &token, Value::Null).await.0;
    let shown = [
        show(token).await,
        show(one_room.clone()).await,
        show(doctor.clone()).await,
        show(platform("b")).await,
        show(seat("c2", "d", "doctor")).await,
    ];
    assert_eq!(shown, [200, 200, 403, 404, 404]);
    assert_eq!(api.call("POST", "/v1/consultations", &one_room, Value::Null).await.0, 403);
    assert_eq!(api.call("GET", "/v1/events", &one_room, Value::Null).await.0, 403);
    // In a room that is not open a seat has nothing to say.
    for path in ["seats/p/admit", "seats/p/remove", "lock"] {
        let status = api.call("POST", &format!("/v1/consultations/c1/{path}"), &doctor, Value::Null).await.0;
        assert!([403, 409].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_arranges_one_consultation() {
    let api = api();
    let create = async |key: &str, body: Value| {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/consultations")
            .header(header::AUTHORIZATION, format!("Bearer {}", platform("a")))
            .header("idempotency-key", key)
            .body(Body::from(body.to_string()))
            .expect("a request");
        let answer = TowerToHyperService::new(routes(api.v1.clone())).call(request).await.expect("never fails");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let id = serde_json::from_slice::<Value>(&bytes).expect("JSON")["id"].as_str().map(str::to_owned);
        (parts.status.as_u16(), id)
    };
    let first = create("order-1", json!({})).await;
    let again = create("order-1", json!({})).await;
    let other = create("order-2", json!({})).await;
    assert_eq!((first.0, again.0, other.0), (201, 200, 201));
    assert_eq!(first.1, again.1);
    assert_ne!(first.1, other.1);
    assert_eq!(create("order-1", json!({ "starts_at": NOW_S + 60 })).await.0, 409);
}

#[tokio::test]
async fn an_invitation_is_worth_a_token_by_its_link() {
    let api = api();
    let token = api.arranged().await;
    let invited = api.invited(&token, "p", "patient").await;
    let link = invited["link"].as_str().expect("a link");
    let code = link.strip_prefix("https://visit.example/#code=").expect("the configured address");
    let (status, joining) = api.call("POST", "/v1/links", "", json!({ "code": code })).await;
    assert_eq!((status, joining["seat"].as_str(), joining["role"].as_str()), (200, Some("p"), Some("patient")));
    for token in [&joining["token"], &invited["token"]] {
        let grants = api.v1.keys.verify(token.as_str().expect("a token"), NOW_S).expect("it verifies");
        assert_eq!((grants.identity.as_str(), grants.room().name.as_str()), ("p", "c1"));
        assert_eq!(grants.role(), Some(crate::model::roster::Role::Patient));
        assert!(grants.video.room_join && !grants.video.room_admin && !grants.video.room_create);
    }
    let again = api.invited(&token, "p", "patient").await;
    assert_ne!(again["link"], invited["link"]);
    assert_eq!(api.call("POST", "/v1/links", "", json!({ "code": code })).await.0, 404, "the earlier link");
    assert_eq!(api.call("POST", "/v1/consultations/c1/seats/p/remove", &token, Value::Null).await.0, 204);
    let old = joining["token"].as_str().expect("a token");
    assert_eq!(api.call("POST", "/v1/consultations/c1/lock", old, Value::Null).await.0, 401, "its tokens are revoked");
    let code = again["link"].as_str().and_then(|link| link.split('=').next_back()).expect("a code");
    assert_eq!(api.call("POST", "/v1/links", "", json!({ "code": code })).await.0, 404, "and its link");
}

#[tokio::test]
async fn what_is_done_before_anybody_comes_opens_with_the_room() {
    let api = api();
    let token = api.arranged().await;
    api.invited(&token, "p", "patient").await;
    let consent = json!({ "seat": "p", "text": "v2026-01" });
    assert_eq!(api.call("POST", "/v1/consultations/c1/consents", &token, consent.clone()).await.0, 204);
    assert_eq!(api.call("POST", "/v1/consultations/c1/seats/p/admit", &token, Value::Null).await.0, 204);
    let plan = api.plan();
    assert_eq!(plan.len(), 2, "{plan:?}");
    assert!(plan[0].starts_with("Invite") && plan[0].contains("admitted: true") && plan[1].starts_with("Consent"));
    let (_, shown) = api.call("GET", "/v1/consultations/c1", &token, Value::Null).await;
    assert_eq!((shown["state"].as_str(), shown["seats"][0]["text"].as_str()), (Some("planned"), Some("v2026-01")));
    assert_eq!(api.call("DELETE", "/v1/consultations/c1/consents/p", &token, Value::Null).await.0, 204);
    assert_eq!(api.plan().len(), 1);
    assert_eq!(api.call("DELETE", "/v1/consultations/c1", &token, Value::Null).await.0, 204);
    assert_eq!(api.call("POST", "/v1/consultations/c1/consents", &token, consent).await.0, 410);
    assert!(matches!(api.v1.register.arranged(&register::room(&TenantId::new("clinic-a"), "c1")), Arranged::Over));
    let (_, told) = api.call("GET", "/v1/events", &token, Value::Null).await;
    let kinds: Vec<_> = told["events"].as_array().expect("events").iter().filter_map(|event| event["type"].as_str()).collect();
    let expected = ["consultation.created", "seat.invited", "consent.given", "consent.withdrawn", "consultation.ended"];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn an_open_room_decides_by_itself_and_is_told_who_asks() {
    let api = api();
    let token = api.arranged().await;
    *api.rooms.answer.lock().unwrap() = Some(Ok(()));
    api.invited(&token, "p", "patient").await;
    let (doctor, patient) = (seat("c1", "d", "doctor"), seat("c1", "p", "patient"));
    let calls = [
        ("POST", "seats/p/admit", &doctor, Value::Null),
        ("POST", "consents", &patient, json!({ "text": "v1", "channel": "representative" })),
        ("POST", "aside", &doctor, json!({ "members": ["d", "n"] })),
        ("DELETE", "aside", &doctor, Value::Null),
        ("POST", "presences", &patient, json!({ "kind": "relative" })),
        ("DELETE", "presences/p/relative", &patient, Value::Null),
        ("POST", "override", &doctor, json!({ "seat": "p", "why": "life_threat" })),
        ("POST", "extend", &doctor, json!({ "ends_at": NOW_S + 7_200 })),
        ("DELETE", "consents/p", &patient, Value::Null),
    ];
    for (method, path, token, body) in calls {
        let (status, answer) = api.call(method, &format!("/v1/consultations/c1/{path}"), token, body).await;
        assert_eq!(status, 204, "{method} {path}: {answer}");
    }
    let acts = api.rooms.acts.lock().unwrap().clone();
    let by: Vec<_> = acts
        .iter()
        .map(|(by, _)| match by {
            By::Platform => "platform",
            By::Policy => "policy",
            By::Seat(seat) => seat.as_str(),
        })
        .collect();
    assert_eq!(by, ["platform", "d", "p", "d", "d", "p", "p", "d", "d", "p"]);
    assert!(acts[2].1.contains("InCall"), "{}", acts[2].1);
    // What a room refuses changes nothing here.
    *api.rooms.answer.lock().unwrap() = Some(Err(Refusal::NotAllowed));
    assert_eq!(api.call("POST", "/v1/consultations/c1/seats/p/remove", &patient, Value::Null).await.0, 403);
    assert!(api.plan().iter().any(|act| act.starts_with("Invite")), "still invited");
    *api.rooms.answer.lock().unwrap() = Some(Err(Refusal::AsideRunning));
    let (status, answer) = api.call("POST", "/v1/consultations/c1/aside", &doctor, json!({ "members": ["d", "n"] })).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("aside_running")));
}

/// Knows one consultation.
struct OneCall;

impl Ledger for OneCall {
    fn attestation(&self, room: &RoomKey, opening: Option<u32>) -> Result<Attested, Unattested> {
        match (room.name.as_str(), opening) {
            ("c1", None | Some(2)) => Ok(Attested { jws: "a.b.c".to_owned(), opening: 2, openings: 2, ended: true }),
            ("c1", _) => Err(Unattested::NoSuchOpening { openings: 2 }),
            _ => Err(Unattested::Unknown),
        }
    }

    fn public_key(&self) -> Option<String> {
        Some("-----BEGIN PUBLIC KEY-----".to_owned())
    }

    fn story(&self, room: &RoomKey) -> Option<Value> {
        (room.name.as_str() == "c1").then(|| json!({ "code": "123456" }))
    }

    fn story_of(&self, tenant: &TenantId, code: &str) -> Option<Value> {
        (tenant.as_str() == "clinic-a" && code == "123456").then(|| json!({ "code": "123456" }))
    }

    fn code(&self, room: &RoomKey) -> Option<String> {
        self.story(room).map(|_| "123456".to_owned())
    }
}

#[tokio::test]
async fn an_attestation_is_the_platforms_and_says_which_opening_it_is_of() {
    let mut api = api();
    api.v1.ledger = Arc::new(OneCall);
    let token = platform("a");
    let (status, headers, _) = api.send("GET", "/v1/consultations/c1/attestation", &token, Value::Null).await;
    assert_eq!((status, &headers[header::CONTENT_TYPE]), (200, &HeaderValue::from_static("application/jose")));
    assert_eq!((&headers["colloque-opening"], &headers["colloque-openings"]), (&HeaderValue::from(2), &HeaderValue::from(2)));
    let (status, answer) = api.call("GET", "/v1/consultations/c1/attestation?opening=3", &token, Value::Null).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("unattested")));
    let (status, answer) = api.call("GET", "/v1/consultations/c1/attestation?opening=x", &token, Value::Null).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("bad_body")));
    let seat = seat("c1", "p", "patient");
    assert_eq!(api.call("GET", "/v1/consultations/c1/attestation", &seat, Value::Null).await.0, 403);
    // Arranged, and nobody came; neither arranged.
    api.arranged().await;
    let (status, answer) = api.call("GET", "/v1/consultations/c2/attestation", &token, Value::Null).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("not_found")));
    assert_eq!(api.call("GET", "/v1/attestation-key", "", Value::Null).await.0, 200);

    api.v1.ledger = Arc::new(NoLedger);
    let (status, answer) = api.call("GET", "/v1/consultations/c1/attestation", &token, Value::Null).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("unattested")));
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("audit.dir")), "{answer}");
    assert_eq!(api.call("GET", "/v1/attestation-key", "", Value::Null).await.1["code"], "unattested");
}

#[tokio::test]
async fn a_call_keeps_to_its_tenants_rules_and_is_told_which_key_it_broke() {
    let mut api = api();
    let rules = TenantRules { emergency_override: Some(false), max_seats: Some(3), ..TenantRules::default() };
    api.v1.register = Arc::new(Register::default().with_rules(HashMap::from([(TenantId::new("clinic-a"), rules)])));
    let (ours, theirs) = (platform("a"), platform("b"));
    let create = async |token: &str, rules: Value| api.call("POST", "/v1/consultations", token, json!({ "rules": rules })).await;

    let (status, shown) = create(&ours, json!({})).await;
    assert_eq!((status, &shown["rules"]["max_seats"], &shown["rules"]["emergency_override"]), (201, &json!(3), &json!(false)));
    assert_eq!(create(&ours, json!({ "max_seats": 2, "early_s": 86_400 })).await.0, 201, "stricter, and what is free to choose");
    for (key, asked) in [("emergency_override", json!(true)), ("max_seats", json!(4))] {
        let (status, told) = create(&ours, json!({ key: asked })).await;
        assert_eq!((status, told["code"].as_str()), (403, Some("tenant_rule")), "{told}");
        let detail = told["detail"].as_str().expect("a detail");
        assert!(detail.contains(&format!("rules.{key}")) && detail.contains("leave it out"), "{detail}");
    }
    assert_eq!(create(&theirs, json!({ "emergency_override": true, "max_seats": 64 })).await.0, 201, "another tenant's");
}

#[tokio::test]
async fn a_story_is_the_tenants_and_its_code_every_seats() {
    let mut api = api();
    api.v1.ledger = Arc::new(OneCall);
    let (ours, theirs, seat) = (platform("a"), platform("b"), seat("c1", "p", "patient"));
    for path in ["/v1/timelines/123456", "/v1/consultations/c1/timeline", "/v1/consultations/c1/support"] {
        assert_eq!(api.call("GET", path, &ours, Value::Null).await, (200, json!({ "code": "123456" })), "{path}");
    }
    assert_eq!(api.call("GET", "/v1/consultations/c1/support", &seat, Value::Null).await.0, 200);
    for (path, token, status) in [
        ("/v1/timelines/123456", &theirs, 404),
        ("/v1/timelines/123457", &ours, 404),
        ("/v1/timelines/123456", &seat, 403),
        ("/v1/consultations/c1/timeline", &seat, 403),
        ("/v1/consultations/c2/timeline", &ours, 404),
        ("/v1/consultations/c2/support", &seat, 404),
    ] {
        assert_eq!(api.call("GET", path, token, Value::Null).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_platforms_calls_are_noted_once_and_a_seats_are_not() {
    let api = api();
    let token = api.arranged().await;
    let noted = || std::mem::take(&mut *api.notes.kept.lock().expect("no panic"));
    assert_eq!(noted(), ["a c1 Change(RoomCreate)"]);
    let again = json!({ "id": "c1", "ends_at": NOW_S + 3_600 });
    assert_eq!(api.call("POST", "/v1/consultations", &token, again).await.0, 200);
    assert_eq!(noted(), Vec::<String>::new(), "nothing was made");
    api.invited(&token, "p", "patient").await;
    assert_eq!(noted(), ["a c1 p Change(SeatInvite)"]);
    for (method, path, body, expected) in [
        ("GET", "/v1/consultations/c1", Value::Null, vec!["a c1 Read(RoomRead)"]),
        ("GET", "/v1/events?after=0", Value::Null, vec!["a Read(EventsRead)"]),
        ("GET", "/v1/events?after=2", Value::Null, vec![]),
        ("GET", "/v1/consultations/c9", Value::Null, vec!["a c9 Refused(RoomRead)"]),
        ("GET", "/v1/timelines/123456", Value::Null, vec!["a Refused(TimelineRead)"]),
        ("POST", "/v1/consultations", json!({ "recording": true }), vec!["a NotMade(Malformed)"]),
        ("POST", "/v1/consultations", json!({ "id": "c1" }), vec!["a NotMade(Policy)"]),
        ("POST", "/v1/consultations/c1/seats/p/admit", Value::Null, vec!["a c1 p Change(SeatUpdate)"]),
        ("POST", "/v1/consultations/c1/refusals", json!({ "seat": "p" }), vec!["a c1 Refused(ConsentWrite)"]),
        ("POST", "/v1/consultations/c1/seats/p/remove", Value::Null, vec!["a c1 p Change(SeatRemove)", "a c1 p Revoked"]),
        ("DELETE", "/v1/consultations/c1", Value::Null, vec!["a c1 Change(RoomEnd)", "a c1 Revoked"]),
    ] {
        let _ = api.call(method, path, &token, body).await;
        assert_eq!(noted(), expected, "{method} {path}");
    }
    let doctor = seat("c1", "d", "doctor");
    let _ = api.call("GET", "/v1/consultations/c1", &doctor, Value::Null).await;
    let _ = api.call("GET", "/v1/events", "x.y.z", Value::Null).await;
    assert_eq!(noted(), Vec::<String>::new(), "neither a seat nor somebody unknown is a platform");
}

#[tokio::test]
async fn nothing_is_handed_out_that_cannot_be_noted() {
    let api = api();
    let token = api.arranged().await;
    api.notes.fails.store(true, std::sync::atomic::Ordering::Relaxed);
    for (method, path, body) in [
        ("GET", "/v1/consultations/c1", Value::Null),
        ("GET", "/v1/events", Value::Null),
        ("POST", "/v1/consultations", json!({ "id": "c2" })),
        ("POST", "/v1/consultations/c1/seats", json!({ "seat": "p", "role": "patient" })),
    ] {
        let (status, headers, answer) = api.send(method, path, &token, body).await;
        assert_eq!((status, answer["code"].as_str()), (503, Some("audit_unavailable")), "{method} {path}: {answer}");
        assert!(headers.contains_key(header::RETRY_AFTER));
    }
    assert!(api.v1.register.find(&register::room(&TenantId::new("clinic-a"), "c2")).is_none(), "nothing was made");
    assert_eq!(api.call("DELETE", "/v1/consultations/c1", &token, Value::Null).await.0, 204, "what narrows works");
}
