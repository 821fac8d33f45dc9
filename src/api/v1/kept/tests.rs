//! What comes back after a restart, and what a caller hears while a disk takes nothing.

use super::*;
use crate::model::roster::Role;
use crate::relay::command::{Arranged, Plans, Scope};
use std::sync::{Arc, Mutex, MutexGuard};

const NOW: u64 = 1_000_000;

/// Keeps in memory what it is told to, or nothing.
#[derive(Default)]
struct Shelf {
    texts: Mutex<BTreeMap<RoomKey, Option<String>>>,
    broken: bool,
}

impl Keeper for Shelf {
    fn keep(&self, texts: Vec<Kept>) -> Option<oneshot::Receiver<bool>> {
        let (done, told) = oneshot::channel();
        self.lock().extend(texts.into_iter().map(|kept| (kept.room, kept.text)));
        // Whoever asked waits for it.
        let _ = done.send(!self.broken);
        Some(told)
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoomKey, Option<String>>> {
        self.texts.lock().expect("no panic")
    }

    fn text(&self) -> Option<String> {
        self.lock().get(&key()).cloned().flatten()
    }
}

fn key() -> RoomKey {
    room(&TenantId::new("clinic"), "c-1")
}

fn asked() -> NewConsultation {
    let rules =
        r#"{"consent": ["teleconsultation", "aside"], "auto_admit": ["interpreter"], "max_seats": 5, "aside_max_s": 120}"#;
    let text = format!(r#"{{"id": "c-1", "starts_at": {NOW}, "ends_at": {}, "rules": {rules}}}"#, NOW + 3_600);
    serde_json::from_str(&text).expect("a request")
}

fn seat(role: Role) -> Invited {
    Invited {
        role,
        name: Some(crate::model::roster::Text("Ada Lovelace".into())),
        auth: Some("psc:2".to_owned()),
        legal_representative: role == Role::Relative,
        opens_at: NOW,
        closes_at: NOW + 4_500,
        admitted: false,
        link: None,
        issued_from: 0,
        key: "k".into(),
    }
}

fn arranged(shelf: &Arc<Shelf>) -> (Register, String) {
    let register = Register::default().with_keeper(shelf.clone());
    register.arrange(&key(), asked(), asked().policy(&TenantRules::default()).expect("rules"), NOW).expect("room for it");
    let patient = Identity::new("p");
    register.uninvite(&key(), &Identity::new("gone"), NOW + 7);
    let (_, code) = register.invite(&key(), &patient, seat(Role::Patient), true, NOW).expect("invited");
    register.invite(&key(), &Identity::new("r"), seat(Role::Relative), false, NOW).expect("invited");
    assert!(register.admit(&key(), &Identity::new("r")));
    let text = TextVersion::parse("v1").expect("a text");
    let scopes = BTreeSet::from([Scope::Teleconsultation]);
    assert!(register.keep_consent(&key(), Consent { seat: patient, scopes, text, channel: Channel::Representative }));
    (register, code.expect("a link"))
}

fn plan(register: &Register) -> String {
    match register.arranged(&key()) {
        Arranged::Plan(plan) => format!("{plan:?}"),
        Arranged::Over => "over".to_owned(),
        Arranged::Nothing => "nothing".to_owned(),
    }
}

#[tokio::test]
async fn everything_but_names_comes_back() {
    let shelf = Arc::new(Shelf::default());
    let (before, code) = arranged(&shelf);
    assert!(shelf.text().is_none(), "nobody asked to keep it yet");
    before.settle().await.expect("the shelf is whole");
    let text = shelf.text().expect("kept");
    assert!(!text.contains("Ada"), "{text}");
    assert!(!text.contains(&code), "{text}");
    let after = Register::default();
    after.restore(&text, NOW).expect("its own text");
    assert_eq!(plan(&after), plan(&before));
    let (found, who, invited) = after.redeem(&code, NOW).expect("the link works");
    assert_eq!((found, who.as_str(), invited.issued_from, invited.name.is_none()), (key(), "p", NOW + 8, true));
    let relative = after.find(&key()).expect("arranged").seats[&Identity::new("r")].clone();
    assert!(relative.legal_representative && relative.admitted && relative.auth.as_deref() == Some("psc:2"));
    let same = after.arrange(&key(), asked(), asked().policy(&TenantRules::default()).expect("rules"), NOW);
    assert!(!same.expect("the same request"), "and it is still the same consultation");
}

#[tokio::test]
async fn what_was_taken_back_and_what_is_over_stay_so() {
    let shelf = Arc::new(Shelf::default());
    let (before, code) = arranged(&shelf);
    assert!(before.uninvite(&key(), &Identity::new("p"), NOW));
    assert!(before.flush().await);
    let after = Register::default();
    after.restore(&shelf.text().expect("kept"), NOW).expect("its own text");
    assert!(!after.opens(&code, NOW));
    assert!(before.end(&key()) && before.flush().await);
    let after = Register::default();
    after.restore(&shelf.text().expect("kept"), NOW).expect("its own text");
    assert_eq!(plan(&after), "over");
}

#[tokio::test]
async fn what_is_long_over_is_forgotten_here_and_there() {
    let shelf = Arc::new(Shelf::default());
    let (register, _) = arranged(&shelf);
    assert!(register.flush().await);
    let (text, later) = (shelf.text().expect("kept"), NOW + 4_500 + 24 * 3_600);
    register.forget(later - 1);
    assert!(register.flush().await && shelf.text().is_some());
    register.forget(later);
    assert!(register.flush().await && shelf.text().is_none());
    assert_eq!(Register::default().restore(&text, later), Err(Unread::Past));
}

#[tokio::test]
async fn other_texts_are_refused_whole() {
    let shelf = Arc::new(Shelf::default());
    let (before, _) = arranged(&shelf);
    assert!(before.flush().await);
    let text = shelf.text().expect("kept");
    let register = Register::default();
    for other in ["", "{}", &text.replace(r#""form":1"#, r#""form":2"#), &text.replace("v1", "v 1"), &text[..text.len() - 1]] {
        assert_eq!(register.restore(other, NOW), Err(Unread::Foreign), "{other}");
    }
    assert_eq!(plan(&register), "nothing");
}

#[tokio::test]
async fn a_caller_hears_of_a_disk_that_takes_nothing() {
    let (register, _) = arranged(&Arc::new(Shelf { broken: true, ..Shelf::default() }));
    assert_eq!(register.settle().await.map_err(|problem| problem.code), Err(Code::NotKept));
    assert!(Register::default().settle().await.is_ok(), "without a folder there is nothing to keep");
}
