use super::fake::{FakeDisk, Trouble};
use super::shared::Shared;
use super::writer::Writer;
use super::*;
use crate::audit::checkpoint::epoch_of;
use crate::audit::event::Event;
use crate::audit::field::Chance;
use crate::audit::log::Moment;
use crate::audit::note::PrivateKey;
use crate::audit::record::{Actor, Entry};
use crate::audit::types::{Boot, Build, Micros, Stamp};
use crate::audit::verify::{Report, Trust, verify};
use crate::audit::words::{Clock as ClockState, LeaveReason, RoomEnd};
use crate::audit::{ParticipantRef, segment};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const DAY: u64 = 20_800;

/// A clock that stands still until it is moved.
#[derive(Debug)]
struct Still(AtomicU64);

impl Still {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(DAY * Micros::DAY + Micros::DAY / 2)))
    }

    fn advance(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for Still {
    fn stamp(&self) -> Stamp {
        let ts = self.0.fetch_add(1, Ordering::Relaxed);
        Stamp { ts: Micros(ts), mono: (ts - DAY * Micros::DAY) * 1_000, clk: ClockState::Synced, clk_err_ms: 1 }
    }
}

fn word(text: &str) -> Word {
    Word::new(text).unwrap()
}

fn root() -> PrivateKey {
    PrivateKey::new(word("clinic.example/root"), [9; 32]).unwrap()
}

fn source() -> Source {
    Source { node: word("n1"), region: word("FR/par1"), build: Build([1; 8]), boot: Boot([2; 16]) }
}

fn settings(root: Root) -> Settings {
    let tenant = |name: &str| TenantLog { name: word(name), retention: Retention::DEFAULT };
    Settings {
        deployment: word("clinic.example/fr1"),
        node: word("n1"),
        root,
        tenants: vec![tenant("t-1"), tenant("t-2")],
        retention: Retention::DEFAULT,
        reserve: 64 << 10,
        grace: Duration::from_secs(900),
    }
}

/// What was acknowledged, by name.
type Answers = Arc<Mutex<Vec<(String, Result<(), Unavailable>)>>>;

/// A writer on a fake disk, driven by hand.
struct Desk {
    disk: FakeDisk,
    clock: Arc<Still>,
    shared: Arc<Shared>,
    writer: Writer,
    answers: Answers,
}

impl Desk {
    fn open(disk: FakeDisk, clock: Arc<Still>) -> Self {
        let shared = Arc::new(Shared::default());
        let opened = Writer::open(Box::new(disk.clone()), clock.clone(), settings(Root::Here(root())), source(), shared.clone());
        let writer = opened.unwrap_or_else(|fault| panic!("{fault}"));
        Self { disk, clock, shared, writer, answers: Arc::default() }
    }

    fn new() -> Self {
        Self::open(FakeDisk::default(), Still::new())
    }

    fn item(&self, name: &str, fact: Fact, waits: bool) -> (Fact, Moment, Option<Ack>) {
        let (disk, answers, name) = (self.disk.clone(), self.answers.clone(), name.to_owned());
        let ack: Ack = Box::new(move |result| {
            assert!(result.is_err() || disk.survives(&name), "{name} was acknowledged and is not durable");
            answers.lock().unwrap().push((name, result));
        });
        let random = keys::random().unwrap();
        (fact, Moment { stamp: self.clock.stamp(), random }, waits.then_some(ack))
    }

    /// Records that a token was accepted, which widens access.
    fn accept(&mut self, name: &str) -> Result<(), Unavailable> {
        self.record(name, accepted("t-1", name), true).unwrap()
    }

    fn record(&mut self, name: &str, fact: Fact, waits: bool) -> Option<Result<(), Unavailable>> {
        let item = self.item(name, fact, waits);
        self.writer.record(vec![item]);
        let mut answers = self.answers.lock().unwrap();
        answers.pop().map(|(of, result)| {
            assert_eq!(of, name);
            result
        })
    }

    fn check(&self, folder: &str) -> Report {
        check(&self.disk, folder)
    }
}

fn check(disk: &FakeDisk, folder: &str) -> Report {
    let mut files = disk.files(folder);
    files.retain(|name, _| name != "signed-head");
    verify(&files, &Trust::of(root().public().clone())).unwrap()
}

fn accepted(tenant: &str, kid: &str) -> Fact {
    let event = Event::TokenAccepted { auth: None, jti_ref: None, kid: word(kid), role: None, ttl_s: 60 };
    Fact::of_tenant(word(tenant), Actor::System, event)
}

fn left() -> Fact {
    Fact::of_tenant(word("t-1"), Actor::System, Event::ParticipantLeft { why: LeaveReason::User, dur_s: 7 })
}

fn events(disk: &FakeDisk, folder: &str) -> Vec<&'static str> {
    let files = disk.files(folder);
    let segments = files.iter().filter(|(name, _)| name.starts_with("seg-"));
    segments.flat_map(|(_, bytes)| segment::read(bytes).0).map(|entry| Entry::decode(entry).unwrap().fact.event.name()).collect()
}

const NODE: &str = "node/1/";
const TENANT: &str = "tenants/t-1/1/";

#[test]
fn an_event_is_acknowledged_when_it_would_survive_and_the_log_is_intact() {
    let mut desk = Desk::new();
    for number in 0..20 {
        assert_eq!(desk.accept(&format!("kid-{number}")), Ok(()));
    }
    assert_eq!(desk.record("left", left(), false), None);
    let unsigned = desk.check(TENANT);
    assert_eq!(unsigned.code().exit(), 7, "not signed yet: {}", unsigned.to_text());
    desk.clock.advance(10_000_000);
    desk.writer.tick();
    assert_eq!(desk.check(TENANT).code().exit(), 0, "{}", desk.check(TENANT).to_text());
    assert_eq!(desk.check(NODE).code().exit(), 0);
    assert_eq!(desk.check(TENANT).size, 2 + 21);
    assert_eq!(desk.shared.figures().lost, 0);
}

#[test]
fn the_end_of_a_room_is_signed_at_once() {
    let mut desk = Desk::new();
    let event = Event::RoomClosed { why: RoomEnd::ByProfessional, dur_s: 60, participants: 2, peak: 2 };
    desk.record("closed", Fact::of_tenant(word("t-1"), Actor::System, event), false);
    assert_eq!(desk.check(TENANT).code().exit(), 0);
}

#[test]
fn tenants_have_logs_of_their_own_and_both_hear_of_an_administrator() {
    let mut desk = Desk::new();
    desk.accept("kid-one").unwrap();
    desk.record("two", accepted("t-2", "kid-two"), false);
    let event = Event::AdminCall { done: true, op: crate::audit::words::AdminOp::RoomEnd };
    desk.record("call", Fact::of_tenant(word("t-2"), Actor::Platform(word("key")), event), false);
    assert_eq!(events(&desk.disk, TENANT), ["audit.log_opened", "audit.epoch_started", "token.accepted"]);
    assert_eq!(events(&desk.disk, "tenants/t-2/1/")[2..], ["token.accepted", "admin.call"]);
    assert_eq!(events(&desk.disk, NODE)[2..], ["admin.call"]);
}

#[test]
fn after_a_power_cut_everything_acknowledged_is_there() {
    let mut chance = Chance::new(5);
    for round in 0..60_u64 {
        let mut desk = Desk::new();
        let mut known = Vec::new();
        for number in 0..chance.below(40) {
            let name = format!("kid-{round}-{number}");
            desk.accept(&name).unwrap();
            known.push(name);
            if chance.below(8) == 0 {
                desk.clock.advance(Micros::DAY / 3);
            }
            desk.writer.tick();
        }
        // What nobody waited for: appended, and the power goes before the sync.
        desk.disk.platter().trouble = Trouble::Sync(u32::MAX);
        desk.record("left", left(), false);
        let disk = desk.disk.cut_power(&mut chance);
        for name in &known {
            assert!(disk.survives(name), "round {round}: {name} was acknowledged and is gone");
        }
        let before = check(&disk, TENANT).code().exit();
        assert!([0, 2, 7].contains(&before), "round {round}: {before}");
        let mut desk = Desk::open(disk, desk.clock);
        desk.accept("kid-after").unwrap();
        desk.clock.advance(10_000_000);
        desk.writer.tick();
        let report = desk.check(TENANT);
        assert_eq!(report.code().exit(), 0, "round {round}: {}", report.to_text());
        assert_eq!(before == 2, events(&desk.disk, TENANT).contains(&"audit.recovered"), "round {round}");
    }
}

#[test]
fn a_failed_sync_is_never_tried_again_on_the_same_file() {
    for trouble in [Trouble::Sync(1), Trouble::Io(1)] {
        let mut desk = Desk::new();
        desk.accept("kid-0").unwrap();
        desk.disk.platter().trouble = trouble;
        assert_eq!(desk.accept("kid-1"), Ok(()), "another segment took it");
        assert_eq!(desk.shared.health(), Health::Writing);
        desk.accept("kid-2").unwrap();
        desk.clock.advance(10_000_000);
        desk.writer.tick();
        assert_eq!(desk.disk.platter().retried, Vec::<String>::new());
        let report = desk.check(TENANT);
        assert_eq!(report.code().exit(), 0, "{trouble:?}: {}", report.to_text());
        let told = desk.disk.files(TENANT);
        let last = segment::read(told.iter().rfind(|(name, _)| name.starts_with("seg-")).unwrap().1).0;
        assert!(last.iter().any(|entry| Entry::decode(entry).unwrap().fact.event.name() == "audit.write_degraded"));
        let again = Desk::open(desk.disk.cut_power(&mut Chance::new(1)), desk.clock);
        assert_eq!(again.check(TENANT).code().exit(), 0, "{}", again.check(TENANT).to_text());
    }
}

#[test]
fn while_nothing_can_be_written_access_only_narrows_and_nothing_is_lost() {
    for trouble in [Trouble::Io(u32::MAX), Trouble::Full, Trouble::Sync(u32::MAX)] {
        let mut desk = Desk::new();
        desk.accept("kid-0").unwrap();
        desk.disk.platter().trouble = trouble;
        assert_eq!(desk.accept("kid-1"), Err(Unavailable::Degraded), "{trouble:?}");
        assert_eq!(desk.shared.health(), Health::Degraded);
        assert!(desk.shared.figures().degraded_since.is_some());
        let published = Event::MediaPublished {
            kind: crate::audit::words::TrackKind::Audio,
            track: crate::audit::types::TrackRef::parse("t-00000000000000000000000000").unwrap(),
        };
        let actor =
            Actor::Participant { who: ParticipantRef::parse("p-00000000000000000000000000").unwrap(), role: None, auth: None };
        let ack = {
            let (answers, disk) = (desk.answers.clone(), desk.disk.clone());
            let ack: Ack = Box::new(move |result| answers.lock().unwrap().push((String::new(), result)));
            drop(disk);
            ack
        };
        let moment = Moment { stamp: desk.clock.stamp(), random: [0; 10] };
        desk.writer.record(vec![(Fact::of_tenant(word("t-1"), actor, published), moment, Some(ack))]);
        assert_eq!(desk.answers.lock().unwrap().pop().unwrap().1, Ok(()), "somebody who is in may publish");
        for _ in 0..10 {
            desk.record("left", left(), false);
        }
        desk.clock.advance(60_000_000);
        desk.writer.tick();
        assert_eq!(desk.shared.health(), Health::Degraded, "still nothing can be written");
        desk.disk.platter().trouble = Trouble::None;
        desk.clock.advance(60_000_000);
        desk.writer.tick();
        assert_eq!(desk.shared.health(), Health::Writing, "{trouble:?}");
        desk.accept("kid-2").unwrap();
        desk.clock.advance(10_000_000);
        desk.writer.tick();
        let report = desk.check(TENANT);
        assert_eq!(report.code().exit(), 0, "{trouble:?}: {}", report.to_text());
        assert_eq!(desk.disk.platter().retried, Vec::<String>::new());
        let told: Vec<_> = whole_log(&desk.disk).into_iter().map(|entry| entry.fact.event.name()).collect();
        assert_eq!(told.iter().filter(|name| **name == "participant.left").count(), 10, "{told:?}");
        assert_eq!(told.iter().filter(|name| **name == "media.published").count(), 1);
        assert!(told.contains(&"audit.write_degraded") && told.contains(&"audit.write_restored"));
        assert_eq!(desk.shared.figures().lost, 0);
    }
}

/// The entries that count, in order: of an abandoned segment only those before the next one.
fn whole_log(disk: &FakeDisk) -> Vec<Entry> {
    let files = disk.files(TENANT);
    let mut entries: std::collections::BTreeMap<u64, Entry> = std::collections::BTreeMap::new();
    for (_, bytes) in files.iter().filter(|(name, _)| name.starts_with("seg-")) {
        for entry in segment::read(bytes).0 {
            let entry = Entry::decode(entry).unwrap();
            entries.insert(entry.seq, entry);
        }
    }
    entries.into_values().collect()
}

#[test]
fn what_the_reserve_kept_survives_the_process() {
    let mut desk = Desk::new();
    desk.disk.platter().trouble = Trouble::Full;
    assert_eq!(desk.accept("kid-1"), Err(Unavailable::Degraded));
    for _ in 0..5 {
        desk.record("left", left(), false);
    }
    let mut again = Desk::open(desk.disk.cut_power(&mut Chance::new(2)), desk.clock);
    again.clock.advance(10_000_000);
    again.writer.tick();
    assert_eq!(again.shared.health(), Health::Writing);
    let told: Vec<_> = whole_log(&again.disk).into_iter().map(|entry| entry.fact.event.name()).collect();
    assert_eq!(told.iter().filter(|name| **name == "participant.left").count(), 5);
    assert_eq!(again.check(TENANT).code().exit(), 0, "{}", again.check(TENANT).to_text());
}

#[test]
fn a_full_disk_is_told_before_it_is_full() {
    let mut desk = Desk::new();
    for (used, health) in
        [(80, Health::Low), (91, Health::Critical), (96, Health::Degraded), (96, Health::Degraded), (50, Health::Writing)]
    {
        desk.disk.platter().used = used;
        desk.clock.advance(5_000_001);
        desk.writer.tick();
        assert_eq!(desk.shared.health(), health, "{used} percent");
    }
    let told = events(&desk.disk, NODE);
    for name in ["storage.low", "storage.critical", "audit.write_degraded", "audit.write_restored"] {
        assert!(told.contains(&name), "{name} in {told:?}");
    }
    assert_eq!(desk.check(NODE).code().exit(), 0, "{}", desk.check(NODE).to_text());
}

#[test]
fn a_days_key_is_gone_when_its_day_is_over() {
    let mut desk = Desk::new();
    desk.accept("kid-0").unwrap();
    let today = epoch_of(desk.clock.stamp().ts);
    let key = |desk: &Desk, epoch: u32| desk.disk.files(TENANT).contains_key(&format!("epochs/{epoch:06}.key"));
    assert!(key(&desk, today));
    desk.clock.advance(Micros::DAY);
    desk.writer.tick();
    assert!(!key(&desk, today) && key(&desk, today + 1));
    desk.accept("kid-1").unwrap();
    desk.clock.advance(3 * Micros::DAY);
    let mut desk = Desk::open(desk.disk.cut_power(&mut Chance::new(3)), desk.clock);
    assert!(!key(&desk, today + 1), "the day ended while the node was down");
    desk.accept("kid-2").unwrap();
    desk.clock.advance(10_000_000);
    desk.writer.tick();
    let report = desk.check(TENANT);
    assert_eq!((report.code().exit(), report.epochs.len()), (0, 3), "{}", report.to_text());
    assert!(events(&desk.disk, TENANT).contains(&"audit.epoch_destroyed"));
}

#[test]
fn a_year_later_old_segments_and_their_keys_are_gone_and_the_rest_verifies() {
    let mut desk = Desk::new();
    desk.accept("kid-old").unwrap();
    let keys = |desk: &Desk| desk.disk.files("tenants/t-1/keys/").len();
    let before = keys(&desk);
    for _ in 0..3 {
        desk.clock.advance(Micros::DAY);
        desk.writer.tick();
    }
    assert!(desk.disk.survives("kid-old"));
    desk.clock.advance(363 * Micros::DAY);
    desk.writer.tick();
    assert!(!desk.disk.survives("kid-old"), "older than a year");
    desk.clock.advance(10_000_000);
    desk.writer.tick();
    let report = desk.check(TENANT);
    assert_eq!(report.code().exit(), 0, "{}", report.to_text());
    assert!(report.first.unwrap() > 0);
    assert_eq!(keys(&desk), before + 1, "December's key names people of days that are still kept");
    desk.clock.advance(40 * Micros::DAY);
    desk.writer.tick();
    assert!(!desk.disk.files("tenants/t-1/keys/").contains_key("2026-12.key"), "the month's key is gone with its last day");
    desk.clock.advance(10_000_000);
    desk.writer.tick();
    let desk = Desk::open(desk.disk.cut_power(&mut Chance::new(4)), desk.clock);
    assert_eq!(desk.check(TENANT).code().exit(), 0, "{}", desk.check(TENANT).to_text());
}

#[test]
fn a_held_log_is_not_purged() {
    let mut desk = Desk::new();
    desk.accept("kid-old").unwrap();
    let until = Micros(desk.clock.stamp().ts.0 + 800 * Micros::DAY).to_text();
    desk.disk.clone().replace("tenants/t-1/hold", until.as_bytes(), false).unwrap();
    desk.clock.advance(400 * Micros::DAY);
    desk.writer.tick();
    assert!(desk.disk.survives("kid-old"));
    desk.clock.advance(800 * Micros::DAY);
    desk.writer.tick();
    assert!(!desk.disk.survives("kid-old"), "the hold has ended");
}

#[test]
fn a_damaged_tenant_is_closed_and_the_others_go_on() {
    let mut desk = Desk::new();
    desk.accept("kid-1").unwrap();
    desk.record("two", accepted("t-2", "kid-two"), false);
    desk.clock.advance(10_000_000);
    desk.writer.tick();
    let name = desk.disk.files(TENANT).into_keys().find(|name| name.starts_with("seg-")).unwrap();
    desk.disk.damage(&format!("{TENANT}{name}"), 60);
    let mut desk = Desk::open(desk.disk, desk.clock);
    assert_eq!(desk.shared.figures().damaged, 1);
    assert!(events(&desk.disk, NODE).contains(&"audit.integrity_failed"));
    assert_eq!(desk.accept("kid-2"), Err(Unavailable::Damaged));
    assert_eq!(desk.shared.health(), Health::Writing);
    assert_eq!(desk.record("kid-3", accepted("t-2", "kid-3"), true), Some(Ok(())), "the other tenant is served");
}

#[test]
fn without_an_epoch_for_today_the_node_does_not_start() {
    let disk = FakeDisk::default();
    let away = Root::Away(root().public().clone());
    let fault = start(settings(away), source(), Box::new(disk.clone()), Still::new()).unwrap_err();
    assert!(fault.to_string().contains("audit init"), "{fault}");
    // Prepared ahead, as the operator does with the root key at hand.
    let clock = Still::new();
    let today = epoch_of(clock.stamp().ts);
    for (folder, origin) in [("node", "n1"), ("tenants/t-1", "t-1"), ("tenants/t-2", "t-2")] {
        let origin = word(&format!("clinic.example/fr1/{origin}/n1/1"));
        keys::make_epoch(&mut disk.clone(), &format!("{folder}/1"), &origin, today, &root()).unwrap();
    }
    let (recorder, running) =
        start(settings(Root::Away(root().public().clone())), source(), Box::new(disk.clone()), clock).unwrap();
    let (tell, told) = bounded(1);
    recorder.record_durable(accepted("t-1", "kid-1"), move |result| tell.send(result).unwrap());
    assert_eq!(told.recv().unwrap(), Ok(()));
    recorder.record(left()).unwrap();
    running.stop();
    assert_eq!(check(&disk, TENANT).code().exit(), 0);
    assert_eq!(events(&disk, TENANT)[2..], ["token.accepted", "participant.left"]);
    assert_eq!(recorder.record(left()), Err(Unavailable::Closed));
}

#[test]
fn going_past_a_rule_takes_two_persons_and_is_recorded() {
    use crate::audit::types::AdminRef;
    let mut desk = Desk::new();
    desk.accept("kid-1").unwrap();
    desk.clock.advance(Micros::DAY);
    desk.writer.tick();
    drop(desk.writer);
    let (clock, settings, source) = (desk.clock, settings(Root::Here(root())), source());
    let mut disk = desk.disk.clone();
    let mut console = console::Console { disk: &mut disk, clock: &*clock, settings: &settings, source: &source };
    let (one, two) = (AdminRef::new("adm-1").unwrap(), AdminRef::new("adm-2").unwrap());
    let tenant = word("t-1");
    clock.advance(100 * Micros::DAY);
    assert!(matches!(console.purge(Some(&tenant), 90, &one, None), Err(console::Fault::OnePerson)));
    assert!(matches!(console.purge(Some(&tenant), 90, &one, Some(&one)), Err(console::Fault::OnePerson)));
    console.hold(Some(&tenant), Some(Micros(clock.stamp().ts.0 + Micros::DAY)), &one).unwrap();
    assert_eq!(console.purge(Some(&tenant), 90, &one, Some(&two)).unwrap(), 0, "held");
    console.hold(Some(&tenant), None, &one).unwrap();
    assert!(console.purge(Some(&tenant), 90, &one, Some(&two)).unwrap() > 0);
    assert!(!desk.disk.survives("kid-1"));
    assert_eq!(check(&desk.disk, TENANT).code().exit(), 0, "{}", check(&desk.disk, TENANT).to_text());
    let told = events(&desk.disk, TENANT);
    for name in ["audit.purge_refused", "audit.hold_set", "audit.hold_released", "admin.break_glass", "audit.purged"] {
        assert!(told.contains(&name), "{name} in {told:?}");
    }
}

#[test]
fn a_held_consultation_keeps_its_segments_and_its_months_key() {
    use crate::audit::types::AdminRef;
    let mut desk = Desk::new();
    let (one, tenant) = (AdminRef::new("adm-1").unwrap(), word("t-1"));
    desk.accept("kid-before").unwrap();
    desk.clock.advance(40 * Micros::DAY);
    desk.writer.tick();
    // A month later a consultation, and after it another.
    let key = keys::pseudonyms(&mut desk.disk.clone(), "tenants/t-1", Period::of(desk.clock.stamp().ts)).unwrap();
    let held = key.consultation("c-1");
    let of = |kid: &str, consultation| Fact { consult: Some(consultation), ..accepted("t-1", kid) };
    desk.record("kid-held", of("kid-held", held), true);
    desk.clock.advance(40 * Micros::DAY);
    desk.writer.tick();
    desk.accept("kid-after").unwrap();
    desk.clock.advance(Micros::DAY);
    desk.writer.tick();
    drop(desk.writer);
    let (clock, settings, source) = (desk.clock, settings(Root::Here(root())), source());
    let mut disk = desk.disk.clone();
    let mut console = console::Console { disk: &mut disk, clock: &*clock, settings: &settings, source: &source };
    let until = Some(Micros(clock.stamp().ts.0 + 500 * Micros::DAY));
    let unknown = key.consultation("c-2");
    assert!(matches!(console.hold_consultation(Some(&tenant), unknown, until, &one), Err(console::Fault::Rule(_))));
    assert!(matches!(console.hold_consultation(Some(&tenant), held, None, &one), Err(console::Fault::Rule(_))), "not held yet");
    console.hold_consultation(Some(&tenant), held, until, &one).unwrap();
    assert!(events(&desk.disk, TENANT).contains(&"audit.hold_set"));
    let keys = |disk: &FakeDisk| disk.files("tenants/t-1/keys/").len();
    let before = keys(&desk.disk);
    clock.advance(450 * Micros::DAY);
    assert!(console.purge(Some(&tenant), 365, &one, None).unwrap() > 0, "what is older goes");
    assert!(!desk.disk.survives("kid-before") && desk.disk.survives("kid-held") && desk.disk.survives("kid-after"));
    assert!(keys(&desk.disk) < before, "the key of the month before has gone");
    let asked = || crate::audit::resolve::Asked { consultations: vec!["c-1".to_owned()], ..Default::default() };
    let (found, missing) = console.resolve(&tenant, asked(), &one).unwrap();
    assert!(found.iter().any(|row| row.reference == held.to_text()) && missing.is_empty(), "the held month's key is there");
    assert_eq!(check(&desk.disk, TENANT).code().exit(), 0, "{}", check(&desk.disk, TENANT).to_text());
    console.hold_consultation(Some(&tenant), held, None, &one).unwrap();
    assert!(console.purge(Some(&tenant), 365, &one, None).unwrap() > 0);
    assert!(!desk.disk.survives("kid-held"));
    assert_eq!(check(&desk.disk, TENANT).code().exit(), 0, "{}", check(&desk.disk, TENANT).to_text());
    let told = events(&desk.disk, TENANT);
    for name in ["audit.resolved", "audit.hold_released", "audit.purged"] {
        assert!(told.contains(&name), "{name} in {told:?}");
    }
}

#[test]
fn holds_that_do_not_read_let_nothing_go() {
    let mut desk = Desk::new();
    desk.accept("kid-old").unwrap();
    desk.disk.clone().replace("tenants/t-1/holds", b"c-nonsense until later\n", false).unwrap();
    desk.clock.advance(400 * Micros::DAY);
    desk.writer.tick();
    assert!(desk.disk.survives("kid-old"));
}

#[test]
fn a_break_is_accepted_by_two_and_the_new_lineage_names_the_old_head() {
    use crate::audit::types::AdminRef;
    let mut desk = Desk::new();
    desk.accept("kid-1").unwrap();
    desk.clock.advance(10_000_000);
    desk.writer.tick();
    let old = desk.check(TENANT);
    let name = desk.disk.files(TENANT).into_keys().find(|name| name.starts_with("seg-")).unwrap();
    desk.disk.damage(&format!("{TENANT}{name}"), 60);
    let (settings, source) = (settings(Root::Here(root())), source());
    let mut disk = desk.disk.clone();
    let mut console = console::Console { disk: &mut disk, clock: &*desk.clock, settings: &settings, source: &source };
    let (one, two) = (AdminRef::new("adm-1").unwrap(), AdminRef::new("adm-2").unwrap());
    let tenant = word("t-1");
    assert!(matches!(console.accept_break(Some(&tenant), &one, &one, None), Err(console::Fault::OnePerson)));
    assert_eq!(console.accept_break(Some(&tenant), &one, &two, None).unwrap(), 2);
    let next = check(&desk.disk, "tenants/t-1/2/");
    assert_eq!(next.code().exit(), 0, "{}", next.to_text());
    assert_ne!(next.origin, old.origin);
    assert_eq!(check(&desk.disk, TENANT).code().exit(), 3, "the old lineage is left as it is");
    let files = desk.disk.files("tenants/t-1/2/");
    let first = files.iter().find(|(name, _)| name.starts_with("seg-")).unwrap().1;
    let first = Entry::decode(segment::read(first).0[0]).unwrap();
    let Event::AuditLogOpened { prev_lineage_size, prev_lineage_root, .. } = first.fact.event else { panic!("opened") };
    assert_eq!(prev_lineage_size, Some(old.signed));
    assert!(prev_lineage_root.is_some());
    let mut again = Desk::open(desk.disk, desk.clock);
    assert_eq!(again.accept("kid-2"), Ok(()), "the tenant is served again");
}

#[test]
fn references_are_ready_for_known_tenants_only() {
    let (recorder, running) = start(settings(Root::Here(root())), source(), Box::new(FakeDisk::default()), Still::new()).unwrap();
    let refs = recorder.pseudonyms("t-1").unwrap();
    assert_eq!(refs.room("RM_1").room(), recorder.pseudonyms("t-1").unwrap().room("RM_1").room());
    assert_ne!(refs.room("RM_1").room(), recorder.pseudonyms("t-2").unwrap().room("RM_1").room());
    assert!(recorder.pseudonyms("t-3").is_none());
    let address = "192.0.2.1".parse().unwrap();
    assert_eq!(recorder.address(address), recorder.address(address));
    running.stop();
}
